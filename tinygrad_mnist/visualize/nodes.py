"""What stands in a picture of a graph: its nodes, and the frames around them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Any

from tinygrad_mnist.nn import Module, named
from tinygrad_mnist.tensor import Tensor

from .notation import (
    NOTATION,
    collect,
    expression,
    in_lines,
    module_names,
    params_text,
    shape_text,
    untracked_formula,
    value_text,
)
from .tracing import Call, calls_around, computed


@dataclass(eq=False)
class Frame:
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
    frames: tuple[Frame, ...] = ()  # the outermost first
    inputs: list[tuple[Node, str]] = field(default_factory=list)  # with the text on the arrow
    style: dict[str, str] = field(default_factory=dict)
    tensor: Tensor | None = None
    beside: Node | None = None  # of a gradient: its value
    stands_for: tuple[Tensor, ...] = ()  # all Tensors that are drawn as this node
    more: str = ""  # what there is no room for, shown by the mouse

    @property
    def tooltip(self) -> str:
        """What the mouse shows: all of it, or what stands in the node."""
        return self.more or " ".join(filter(None, [self.name, self.sign, *self.notes]))


def nodes_of(
    tensors: Iterable[Tensor], names: Mapping[Tensor, str], frames: Mapping[Call, Frame], values: bool, shapes: bool
) -> list[Node]:
    """A node for each Tensor, which come in order, and for each number that went into them."""
    nodes: dict[Any, Node] = {}
    held = {t for frame in frames.values() for t in frame.holds}
    for t in tensors:
        node = Node("op", names.get(t, ""), tensor=t, stands_for=(t,))
        for i, x in enumerate(t.inputs):
            number = None if isinstance(x, Tensor) else nodes.setdefault((t, i), Node("constant", sign=value_text(x)))
            node.inputs.append((number or nodes[x], shape_text(x) if shapes else ""))
        nodes[t] = node
        value = value_text(t) if values or t.op is None else ""
        if t.op is not None:
            node.frames = tuple(frames[call] for call in calls_around(t) if call in frames)
            name = "" if t.op.name == t.op.sign or (t.op.name in NOTATION and len(t.op.sign) == 1) else t.op.name
            changed = all(x.dtype != t.dtype for x in t.inputs if isinstance(x, Tensor))
            params = {key: value for key, value in t.params.items() if key != "shape"}  # said by the result's
            details = [name, *params_text(t.op, params), shape_text(t), str(t.dtype) if changed else ""]
            formula = expression((t.op, t.inputs, t.params), names, {})[0]
            known = all(x in names for x in t.inputs if isinstance(x, Tensor)) and len(formula) <= 24
            node.sign, node.notes = t.op.sign, [*[f"= {formula}"] * known, " ".join(filter(None, details))]
        elif not (t.requires_grad or t in held) and (node.name in ("", value) and t.size <= 3):
            node.kind, node.name, node.sign, value = "constant", "", value, ""
        elif (found := computed(t)) is not None:  # a comparison, a mask: no gradient comes here
            node.kind, node.sign, node.style = "input", found[0].sign, {"shape": "ellipse"}
            node.frames = tuple(frames[call] for call in calls_around(t) if call in frames)
            formula = untracked_formula(t, names)
            node.notes = [f"= {formula}"] * (formula != found[0].name) + [f"{shape_text(t)} {t.dtype}"]
        else:
            node.kind = "parameter" if t.requires_grad or t in held else "input"
            node.notes = [f"{node.kind} {shape_text(t)} {t.dtype}"]
        if values and value:
            node.notes.append(f"= {value}")
    for node, uses in users_of(nodes.values()).items():
        if node.kind in ("parameter", "constant"):  # stands with what uses it, inside the Module that holds it
            levels = takewhile(lambda level: len(set(level)) == 1, zip(*(use.frames for use in uses), strict=False))
            node.frames = tuple(
                frame for (frame, *_) in levels if node.kind == "constant" or node.tensor in frame.holds
            )
    return list(nodes.values())


def gradients_beside(
    nodes: list[Node], gradient_of: Mapping[Tensor, Tensor], names: Mapping[Tensor, str], values: bool, shapes: bool
) -> list[Node]:
    """A node for every gradient, with its recorded computation as a formula."""
    at = {node.tensor: node for node in nodes}
    made = [t for t in collect(gradient_of.values()) if t.op is not None and t not in at and t not in names]
    applied = {t: (t.op, t.inputs, t.params) for t in made}
    for t, g in gradient_of.items():
        formula = expression((g.op, g.inputs, g.params), names, applied)[0] if g.op else value_text(g) or "0"
        value = value_text(g) if values else ""
        notes = [*in_lines(f"= {formula}"), *([f"= {value}"] if value not in ("", formula) else []), shape_text(g)]
        at[g] = Node("gradient", names[g], "", notes, at[t].frames, tensor=g, beside=at[t])
    for g in gradient_of.values():
        seen = {x: None for x in g.inputs if isinstance(x, Tensor)}
        stack = list(seen)
        while stack:
            x = stack.pop()
            if x not in at:
                new = {y: None for y in x.inputs if isinstance(y, Tensor) and y not in seen}
                seen |= new
                stack.extend(new)
        at[g].inputs = [(at[x], shape_text(x) if shapes else "") for x in seen if x in at]
    return [at[g] for g in gradient_of.values()]


def explain_all(nodes: Iterable[Node], names: Mapping[Tensor, str]) -> None:
    """Note for each op's node its formula, shape and dtype, and the line of the user's code that made it.

    The line is known of what was computed under `trace()`; the formula is that of the whole graph's names.
    """
    for node in nodes:
        t, of = node.tensor, node.beside.tensor if node.beside else node.tensor
        if t is None or of is None:
            continue
        where = [of.origin.briefly()] if hasattr(of, "origin") else []
        if node.kind == "op" and t.op is not None:
            formula = expression((t.op, t.inputs, t.params), names, {})[0]
            node.more = "\n".join([f"{names[t]} = {formula}", f"{t.op.name}: {shape_text(t)} {t.dtype}", *where])
        elif node.kind == "input" and (found := computed(t)) is not None:
            formula = f"{names[t]} = {untracked_formula(t, names)}"
            node.more = "\n".join([formula, f"{found[0].name}: {shape_text(t)} {t.dtype}, without gradient", *where])
        elif node.kind in ("parameter", "input"):
            value = [f"= {text}"] if (text := value_text(t)) else []
            node.more = "\n".join([f"{names[t]}: {node.kind} {shape_text(t)} {t.dtype}", *value])
        elif node.kind == "gradient":
            formula = " ".join([node.name, *node.notes[:-1]])
            node.more = "\n".join([formula, f"gradient of {names[of]}: {shape_text(t)} {t.dtype}", *where])


def frames_of(tensors: Iterable[Tensor], model: Module | None) -> dict[Call, Frame]:
    """A frame for every call of a Module in which one of the Tensors was made."""
    names = module_names(tensors, model)
    frames: dict[Call, Frame] = {}
    for t in tensors:
        for call in calls_around(t):
            if call not in frames:
                holds = {held for _, held in named(call.module, Tensor)}
                frames[call] = Frame(names.get(id(call.module), ""), type(call.module).__name__, holds)
    return frames


def users_of(nodes: Iterable[Node]) -> dict[Node, list[Node]]:
    """For each node those that it goes into."""
    users: dict[Node, list[Node]] = {}
    for node in nodes:
        for x, _ in node.inputs:
            users.setdefault(x, []).append(node)
    return users
