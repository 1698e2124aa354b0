"""How a large picture is made small: Modules as one node each, and what repeats drawn once."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import Any

from .nodes import Frame, Node, users_of
from .notation import shape_text


def within_limit(nodes: list[Node], collapse: int | Collection[str] | None, limit: int) -> list[Node]:
    """The nodes; with Modules collapsed and repeated layers drawn once, if that is asked or else as far as needed."""
    choices: list[Any] = [{collapse} if isinstance(collapse, str) else collapse]
    if collapse is None:
        deepest = max(len(node.frames) for node in nodes)
        choices = [None, *range(deepest, -1, -1)]  # first as it is, then ever more collapsed
    for chosen in choices:
        fitting = nodes if chosen is None else collapsed(nodes, chosen)
        if chosen is not None and not nodes[-1].beside:
            fitting = rolled(fitting)
        if len(fitting) <= limit:
            return fitting
    raise ValueError(
        f"graph: {len(fitting):,} nodes are too many to read (limit={limit}); compute it under visualize.trace(), so "
        "that Modules fold, begin at an earlier result, or pass a higher limit"
    )


def collapsed(nodes: list[Node], chosen: int | Collection[str]) -> list[Node]:
    """The nodes with some frames as one node each: those at depth `chosen`, or with names in it.

    The gradients in such a frame become one node beside it.
    """
    members: dict[Any, list[Node]] = {}
    for node in nodes:
        hits = (
            frame
            for i, frame in enumerate(node.frames)
            if (i == chosen if isinstance(chosen, int) else frame.name in chosen)
        )
        frame = next(hits, None)
        members.setdefault((frame, node.beside is None) if frame else node, []).append(node)
    whole: dict[Node, Node] = {}
    for key, inside in members.items():
        one = _folded(inside, *key) if isinstance(key, tuple) else replace(inside[0])
        whole |= dict.fromkeys(inside, one)
    for inside in members.values():
        one = whole[inside[0]]
        one.beside = whole[one.beside] if one.beside else None
        arrows = [(whole[x], text) for node in inside for x, text in node.inputs if whole[x] is not one]
        if one.kind == "gradient":
            arrows = list({x: (x, text) for x, text in arrows}.values())  # whatever shapes it needs, one arrow
        one.inputs = arrows if one.kind == "op" else list(dict.fromkeys(arrows))
    return list(dict.fromkeys(whole.values()))


def _folded(inside: list[Node], frame: Frame, forward: bool) -> Node:
    """One node for the values in a frame, or one for the gradients."""
    frames = inside[0].frames[: inside[0].frames.index(frame)]
    if not forward:
        notes = [f"{len(inside)} gradients"]
        return Node("gradient", f"∂ {frame.name or frame.kind}", "", notes, frames, beside=inside[0].beside)
    ops = [node for node in inside if node.kind == "op"]
    names = [node.tensor.op.name for node in ops if node.tensor is not None]
    size = sum(node.tensor.size for node in inside if node.kind == "parameter" and node.tensor is not None)
    counts = [" → ".join(names) if len(ops) < 4 else f"{len(ops)} ops"] * (len(ops) > 1)
    counts += [f"{size:,} parameters"] * (size > 0)
    gradient = [note.replace(" =", " of its output =") for note in ops[-1].notes if "∂" in note]
    notes = [f"output {shape_text(ops[-1].tensor)}", ", ".join(counts), *gradient]
    tensors = tuple(t for node in inside for t in node.stands_for)
    return Node("module", frame.name, frame.kind, notes, frames, style=ops[-1].style, stands_for=tensors)


def rolled(nodes: list[Node]) -> list[Node]:
    """The nodes with what repeats at least three times in a row drawn once, in a frame that says how often."""
    users = users_of(nodes)
    own = {node for node in nodes if node.kind in ("parameter", "constant") and len(users.get(node, ())) == 1}
    after: dict[Node, Node] = {}
    for node in nodes:
        through = [x for x, _ in node.inputs if x not in own]
        if len(through) == 1 and len(users[through[0]]) == 1 and through[0].frames == node.frames:
            after[through[0]] = node

    def look(node: Node) -> tuple[Any, ...]:
        inputs = [look(x) if x in own else None for x, _ in node.inputs]
        return node.kind, node.sign, *node.notes, *inputs

    again: dict[Node, Node] = {}  # of a repetition -> of the first time
    repeat: dict[Node, Frame] = {}
    later = set(after.values())
    for start in nodes:
        chain = [] if start in own or start in later else [start]
        while chain and chain[-1] in after:
            chain.append(after[chain[-1]])
        looks = [look(node) for node in chain]
        i = 0
        while i < len(chain):
            length, times = _repetition(looks, i)
            if times >= 3:
                repeat |= dict.fromkeys(
                    chain[i : i + length], Frame("", _repeats(chain[i : i + length * times], length, times))
                )
                again |= {chain[i + k]: chain[i + k % length] for k in range(length, length * times)}
            i += length * times if times >= 3 else 1
    new: dict[Node, Node] = {}
    for node in nodes:
        place = users[node][0] if node in own else node
        if place not in again:
            new[node] = replace(node, frames=(*place.frames, repeat[place]) if place in repeat else node.frames)
    for node, one in new.items():
        one.inputs = [(new[again.get(x, x)], text) for x, text in node.inputs]
    for node, first in again.items():
        new[first].stands_for += node.stands_for
        for (x, _), (one, _) in zip(node.inputs, new[first].inputs, strict=True):
            one.stands_for += x.stands_for if x in own else ()
    return list(new.values())


def _repeats(nodes: list[Node], length: int, times: int) -> str:
    """How often, and if they have names from which to which."""
    first, last = (next((node.name for node in part if node.name), "") for part in (nodes[:length], nodes[-length:]))
    return f"× {times}: {first} … {last}" if first and last else f"× {times}"


def _repetition(looks: list[Any], start: int) -> tuple[int, int]:
    """How long a part repeats from here on, and how often: the part that covers most, and of those the shortest."""
    found = []
    for length in range(1, min((len(looks) - start) // 3, 20) + 1):
        times = 1
        while looks[start + times * length : start + (times + 1) * length] == looks[start : start + length]:
            times += 1
        found.append((length, times))
    return max(found, key=lambda part: (part[0] * part[1] if part[1] >= 3 else 0, -part[0]), default=(1, 1))
