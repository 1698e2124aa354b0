"""What stands in a picture of a graph: its nodes, the frames around them, and how a large graph is made small.

`visualize.graph` says what is drawn; here is how Tensors become nodes of a picture.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from itertools import takewhile
from textwrap import wrap
from typing import Any

from .explanation import NOTATION, collect, expression, module_names, params_text, shape_text, value_text
from .nn import Module, _named
from .tensor import Tensor
from .tracing import Call, calls_around


@dataclass(eq=False)
class Box:
    """A frame around nodes: one call of a Module, or layers that repeat."""

    name: str
    kind: str = ""
    holds: Collection[Tensor] = ()


@dataclass(eq=False)
class Node:
    """A node: its name, what it computes as a sign, small notes such as its shape, and what goes into it."""

    kind: str
    name: str = ""
    sign: str = ""
    notes: list[str] = field(default_factory=list)
    boxes: tuple[Box, ...] = ()  # the outermost first
    inputs: list[tuple[Node, str]] = field(default_factory=list)  # with the text on the arrow
    style: dict[str, str] = field(default_factory=dict)
    tensor: Tensor | None = None
    beside: Node | None = None  # of a gradient: its value


def draw(
    tensors: Iterable[Tensor], names: Mapping[Tensor, str], boxes: Mapping[Call, Box], values: bool, shapes: bool
) -> list[Node]:
    """A node for each Tensor, which come in order, and for each number that went into them."""
    nodes: dict[Any, Node] = {}
    held = {t for box in boxes.values() for t in box.holds}
    for t in tensors:
        node = Node("op", names.get(t, ""), tensor=t)
        for i, x in enumerate(t.inputs):
            number = None if isinstance(x, Tensor) else nodes.setdefault((t, i), Node("constant", sign=value_text(x)))
            node.inputs.append((number or nodes[x], shape_text(x) if shapes else ""))
        nodes[t] = node
        value = value_text(t) if values or t.op is None else ""
        if t.op is not None:
            node.boxes = tuple(boxes[call] for call in calls_around(t) if call in boxes)
            name = "" if t.op.name == t.op.sign or (t.op.name in NOTATION and len(t.op.sign) == 1) else t.op.name
            changed = all(x.dtype != t.dtype for x in t.inputs if isinstance(x, Tensor))
            details = [name, *params_text(t.op, t.params), shape_text(t), str(t.dtype) if changed else ""]
            node.sign, node.notes = t.op.sign, [" ".join(filter(None, details))]
        elif not (t.requires_grad or t in held) and (node.name in ("", value) and t.size <= 3):
            node.kind, node.name, node.sign, value = "constant", "", value, ""
        else:
            node.kind = "parameter" if t.requires_grad or t in held else "input"
            node.notes = [f"{node.kind} {shape_text(t)} {t.dtype}"]
        if values and value:
            node.notes.append(f"= {value}")
    for node, uses in _users(nodes.values()).items():
        if node.kind in ("parameter", "constant"):  # stands with what uses it, inside the Module that holds it
            levels = takewhile(lambda level: len(set(level)) == 1, zip(*(use.boxes for use in uses), strict=False))
            node.boxes = tuple(box for (box, *_) in levels if node.kind == "constant" or node.tensor in box.holds)
    return list(nodes.values())


def gradients_beside(
    nodes: list[Node], slopes: Mapping[Tensor, Tensor], names: Mapping[Tensor, str], values: bool, shapes: bool
) -> list[Node]:
    """A node for every gradient, with its recorded computation as a formula."""
    at = {node.tensor: node for node in nodes}
    made = [t for t in collect(slopes.values()) if t.op is not None and t not in at and t not in names]
    steps = {t: (t.op, t.inputs, t.params) for t in made}
    for t, g in slopes.items():
        formula = expression((g.op, g.inputs, g.params), names, steps)[0] if g.op else value_text(g) or "0"
        value = value_text(g) if values else ""
        notes = [*wrap(f"= {formula}", 44), *([f"= {value}"] if value not in ("", formula) else []), shape_text(g)]
        at[g] = Node("gradient", names[g], "", notes, at[t].boxes, tensor=g, beside=at[t])
    for g in slopes.values():
        seen = {x: None for x in g.inputs if isinstance(x, Tensor)}
        stack = list(seen)
        while stack:
            x = stack.pop()
            if x not in at:
                new = {y: None for y in x.inputs if isinstance(y, Tensor) and y not in seen}
                seen |= new
                stack.extend(new)
        at[g].inputs = [(at[x], shape_text(x) if shapes else "") for x in seen if x in at]
    return [at[g] for g in slopes.values()]


def frames(tensors: Iterable[Tensor], model: Module | None) -> dict[Call, Box]:
    """A box for every call of a Module in which one of the Tensors was made."""
    names = module_names(tensors, model)
    boxes: dict[Call, Box] = {}
    for t in tensors:
        for call in calls_around(t):
            if call not in boxes:
                holds = {held for _, held in _named(call.module, Tensor)}
                boxes[call] = Box(names.get(id(call.module), ""), type(call.module).__name__, holds)
    return boxes


def fit(nodes: list[Node], collapse: int | Collection[str] | None, limit: int) -> list[Node]:
    """The nodes; with Modules collapsed and repeated layers drawn once, if that is asked or else as far as needed."""
    deepest = max(len(node.boxes) for node in nodes)
    by_need = [None, *range(deepest, -1, -1)]
    for chosen in by_need if collapse is None else [{collapse} if isinstance(collapse, str) else collapse]:
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
    """The nodes with some boxes as one node each: those at depth `chosen`, or with names in it.

    The gradients in such a box become one node beside it.
    """
    members: dict[Any, list[Node]] = {}
    for node in nodes:
        hits = (
            box for i, box in enumerate(node.boxes) if (i == chosen if isinstance(chosen, int) else box.name in chosen)
        )
        box = next(hits, None)
        members.setdefault((box, node.beside is None) if box else node, []).append(node)
    whole: dict[Node, Node] = {}
    for key, inside in members.items():
        one = replace(inside[0])
        if isinstance(key, tuple):
            box, forward = key
            ops = [node for node in inside if node.kind == "op"]
            size = sum(node.tensor.size for node in inside if node.kind == "parameter" and node.tensor is not None)
            counts = [f"{len(ops)} ops"] * (len(ops) > 1) + [f"{size:,} parameters"] * (size > 0)
            boxes = inside[0].boxes[: inside[0].boxes.index(box)]
            if forward:
                notes = [shape_text(ops[-1].tensor), ", ".join(counts), *ops[-1].notes[1:]]
                one = Node("module", box.name, box.kind, notes, boxes, style=ops[-1].style)
            else:
                one = Node("gradient", f"∂ {box.name or box.kind}", "", [f"{len(inside)} gradients"], boxes)
                one.beside = inside[0].beside
        whole |= dict.fromkeys(inside, one)
    for inside in members.values():
        one = whole[inside[0]]
        one.beside = whole[one.beside] if one.beside else None
        arrows = [(whole[x], text) for node in inside for x, text in node.inputs if whole[x] is not one]
        if one.kind == "gradient":
            arrows = list({x: (x, text) for x, text in arrows}.values())  # whatever shapes it needs, one arrow
        one.inputs = arrows if one.kind == "op" else list(dict.fromkeys(arrows))
    return list(dict.fromkeys(whole.values()))


def rolled(nodes: list[Node]) -> list[Node]:
    """The nodes with what repeats at least three times in a row drawn once, in a box that says how often."""
    users = _users(nodes)
    own = {node for node in nodes if node.kind in ("parameter", "constant") and len(users.get(node, ())) == 1}
    after: dict[Node, Node] = {}
    for node in nodes:
        through = [x for x, _ in node.inputs if x not in own]
        if len(through) == 1 and len(users[through[0]]) == 1 and through[0].boxes == node.boxes:
            after[through[0]] = node

    def look(node: Node) -> tuple[Any, ...]:
        inputs = [look(x) if x in own else None for x, _ in node.inputs]
        return node.kind, node.sign, *node.notes, *inputs

    again: dict[Node, Node] = {}  # of a repetition -> of the first time
    repeat: dict[Node, Box] = {}
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
                repeat |= dict.fromkeys(chain[i : i + length], Box("", f"× {times}"))
                again |= {chain[i + k]: chain[i + k % length] for k in range(length, length * times)}
            i += length * times if times >= 3 else 1
    new: dict[Node, Node] = {}
    for node in nodes:
        place = users[node][0] if node in own else node
        if place not in again:
            new[node] = replace(node, boxes=(*place.boxes, repeat[place]) if place in repeat else node.boxes)
    for node, one in new.items():
        one.inputs = [(new[again.get(x, x)], text) for x, text in node.inputs]
    return list(new.values())


def _repetition(looks: list[Any], start: int) -> tuple[int, int]:
    """How long a part repeats from here on, and how often: the part that covers most, and of those the shortest."""
    found = []
    for length in range(1, min((len(looks) - start) // 3, 20) + 1):
        times = 1
        while looks[start + times * length : start + (times + 1) * length] == looks[start : start + length]:
            times += 1
        found.append((length, times))
    return max(found, key=lambda part: (part[0] * part[1] if part[1] >= 3 else 0, -part[0]), default=(1, 1))


def _users(nodes: Iterable[Node]) -> dict[Node, list[Node]]:
    users: dict[Node, list[Node]] = {}
    for node in nodes:
        for x, _ in node.inputs:
            users.setdefault(x, []).append(node)
    return users
