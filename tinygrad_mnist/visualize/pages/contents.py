"""What stands on the page of a training step, but for the steps: Tensors, arrays, the graph, code."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any

import numpy as np

from tinygrad_mnist.nn import Module
from tinygrad_mnist.optim import Optimizer
from tinygrad_mnist.tensor import Array, Tensor
from tinygrad_mnist.visualize.folding import within_limit
from tinygrad_mnist.visualize.nodes import Node, frames_of, nodes_of
from tinygrad_mnist.visualize.notation import all_named, collect, names_of, shape_text

from .arrays import Detail, described, rms
from .layout import layout
from .sources import sources
from .statements import BACKWARD, FORWARD, UPDATE, statements
from .walk import LR, Walk, walk

SATURATED = 0.01
"""A sigmoid or tanh with a smaller slope is called saturated."""

SLOPES = {"sigmoid": lambda out: out * (1 - out), "tanh": lambda out: 1 - out * out}

Segments = list[Any]


def slope_text(op: str, name: str) -> str:
    """The slope of a sigmoid or a tanh, by its result."""
    return f"{name} (1 - {name})" if op == "sigmoid" else f"1 - {name}²"


def _body(lines: Sequence[str]) -> list[ast.stmt]:
    """The statements of a function's text; none of no text."""
    return [statement for function in ast.parse("\n".join(lines)).body for statement in vars(function)["body"]]


class Contents:
    """What a page tells of a graph and its step. Tensors go by their numbers, and arrays by theirs."""

    def __init__(
        self,
        output: Tensor,
        model: Module | None,
        optimizer: Optimizer | None,
        collapse: int | Collection[str] | None,
        limit: int,
        code: Sequence[Callable[..., Any]] = (),
    ) -> None:
        self.tensors = collect([output])
        given = names_of(self.tensors, model)
        self.names = all_named(self.tensors, given)
        self.number = {t: i for i, t in enumerate(self.tensors)}
        nodes = nodes_of(self.tensors, given, frames_of(self.tensors, model), False, False)
        for node in nodes:
            if not node.stands_for and node.tensor is not None:
                node.stands_for = (node.tensor,)
        try:
            self.nodes = within_limit(nodes, collapse, limit)
        except ValueError as error:
            raise ValueError(str(error).replace("graph:", "page:", 1)) from None
        self.node_of = {t: i for i, node in enumerate(self.nodes) for t in node.stands_for}
        self.walk: Walk = walk(self.tensors, output, self.names, optimizer)
        self.output, self.optimizer = output, optimizer
        self.rule = type(optimizer).__name__ if optimizer is not None else f"plain SGD with η = {LR}"
        self.code = sources(self.tensors, output, code)
        self.program = statements(self.tensors, output, self.names, optimizer)
        self.title = f"One training step, slowed down: {self.names[output]}"
        self.arrays: list[Array] = []
        self.known: dict[Any, int] = {}
        self.users: dict[Tensor, list[Tensor]] = {}
        for t in self.tensors:
            for x in t.inputs:
                if isinstance(x, Tensor):
                    self.users.setdefault(x, []).append(t)
        self.items = [self._item(t) for t in self.tensors]
        self.drawing = self._drawing()

    def written(self, detail: Detail, steps: Any) -> Any:
        """All of it, with these steps, as JSON can hold it."""
        return {
            "title": self.title,
            "subtitle": f"{len(steps)} small steps",
            "items": self.items,
            "arrays": [described(array, detail) for array in self.arrays],
            "graph": self.drawing,
            "steps": steps,
            "marks": self.code.marks,
            "sources": [{"title": s.title, "first": s.first, "lines": s.lines} for s in self.code.functions],
            "program": {
                "about": self._about_compile(),
                "lines": self.program.lines,
                "legend": self.program.legend,
                "problem": self.program.problem,
            },
            "saturated": SATURATED,
        }

    def _about_compile(self) -> str:
        """What compile is, and what it made of this step."""
        ops = sum(t.op is not None for t in self.tensors)
        rules, updates = len(self.walk.parts), len(self.walk.updates)
        calls = sum(any(isinstance(node, ast.Call) for node in ast.walk(line)) for line in _body(self.program.lines))
        return (
            "compile(step) runs your step once, notes every NumPy call that its forward pass, its backward pass and "
            "its update make, and writes this function of them, which runs in its place from then on, to the same "
            f"bits. Here {ops} ops, {rules} rules and {updates} updates became {calls} calls. No Tensor and no graph "
            "is left: the order is fixed, what never changes is computed once, and memory is there beforehand. "
            "multiply(a, b, out=c) is c = a * b. What the other names stand for is said below."
        )

    def array(self, array: Any) -> int:
        """The number of an array; equal ones have one."""
        array = np.asarray(array)
        key = array.shape, array.dtype.str, array.tobytes()
        if key not in self.known:
            self.known[key] = len(self.arrays)
            self.arrays.append(array.copy())
        return self.known[key]

    # --- Tensors ---

    def numbers(self, tensors: Iterable[Tensor]) -> list[int]:
        """The numbers of Tensors."""
        return [self.number[t] for t in tensors]

    def called(self, x: Any) -> str:
        """What an input of an op is called, which may be an array."""
        return self.names[x] if isinstance(x, Tensor) else "array"

    def _item(self, t: Tensor) -> dict[str, Any]:
        about: dict[str, Any] = {
            "name": self.names[t],
            "kind": "op" if t.op is not None else "parameter" if t.requires_grad else "input",
            "shape": shape_text(t),
            "node": self.node_of.get(t),
            "lines": self.code.at.get(t, []),
            "program": {
                phase: self.program.at[phase, t]
                for phase in (FORWARD, BACKWARD, UPDATE)
                if (phase, t) in self.program.at
            },
            "value": self.array(t.data),
        }
        if t in self.walk.gradients:
            g = self.walk.gradients[t]
            about |= {"gradient": self.array(g), "rms": repr(rms(g)), "uses": self.walk.uses.get(t, 0)}
        if t.op is not None:
            about["op"] = t.op.name
            if t.op.name in SLOPES and t.size:
                slope = SLOPES[t.op.name](t.data)
                about |= {"slope": self.array(slope), "saturated": int(np.sum(slope < SATURATED))}
        return about

    # --- the graph ---

    def _drawing(self) -> Any:
        made = layout(self.nodes)
        index = {node: i for i, node in enumerate(self.nodes)}
        return {
            "width": round(made.width),
            "height": round(made.height),
            "nodes": [self._node(node, made.boxes[node]) for node in self.nodes],
            "arrows": [[index[a.source], index[a.target], a.position, a.path] for a in made.arrows],
            "frames": [
                [*map(round, box), f"{frame.name}: {frame.kind}" if frame.name else frame.kind]
                for frame, box in made.frames
            ],
        }

    def _node(self, node: Node, box: Sequence[float]) -> dict[str, Any]:
        stands_for = [self.number[t] for t in node.stands_for]
        folded = len(stands_for) > 1
        name = node.name or (self.names[node.tensor] if node.tensor is not None and node.kind != "constant" else "")
        sign = node.sign or node.name
        note = node.notes[0] if node.kind == "module" and node.notes else ""
        if not note and node.tensor is not None and node.kind != "constant":
            note = shape_text(node.tensor)
        return {
            "kind": node.kind,
            "items": stands_for,
            "x": round(box[0]),
            "y": round(box[1]),
            "name": name if node.kind in ("op", "module", "parameter", "input") else "",
            "sign": sign if node.kind in ("op", "module", "constant") else "",
            "note": f"{note} ×{len(stands_for)}" if folded and node.kind != "module" else note,
        }

    # --- formulas, of which the names are linked ---

    def linked(self, text: str, tensors: Iterable[Tensor]) -> Segments:
        """A formula in parts: texts, and [text, number of the Tensor, whether it is its gradient]."""
        known: dict[str, tuple[int, bool]] = {}
        for t in tensors:
            if t.op is not None or t.requires_grad or t.size > 1 or t.name is not None:
                known[self.names[t]] = self.number[t], False
                known[f"∂{self.names[t]}"] = self.number[t], True
        if not known:
            return [text]
        names = "|".join(map(re.escape, sorted(known, key=len, reverse=True)))
        parts: Segments = []
        for part in re.split(rf"(?<![\w.∂])({names})(?!\w)", text):
            parts.append([part, *known[part]] if part in known else part)
        return [part for part in parts if part]

    def card(self, label: str, array: Any, t: Tensor | None = None, kind: str = "") -> dict[str, Any]:
        """An array that a step shows: what it is called, the Tensor that it belongs to, and how it looks."""
        card: dict[str, Any] = {"label": label, "array": self.array(array)}
        if t is not None:
            card["item"] = self.number[t]
        if kind:
            card["kind"] = kind
        return card
