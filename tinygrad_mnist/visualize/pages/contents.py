"""What stands on the page of one training step; and `page`, which makes it."""

from __future__ import annotations

import linecache
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from tinygrad_mnist.files import PACKAGE
from tinygrad_mnist.nn import Module
from tinygrad_mnist.optim import Optimizer
from tinygrad_mnist.tensor import Array, Tensor
from tinygrad_mnist.visualize.folding import within_limit
from tinygrad_mnist.visualize.nodes import Node, frames_of, nodes_of
from tinygrad_mnist.visualize.notation import all_named, collect, names_of, printable, shape_text
from tinygrad_mnist.visualize.tracing import calls_around

from .arrays import DETAILS, Detail, described
from .document import HERE, Page, document
from .layout import layout
from .sources import sources
from .statements import BACKWARD, FORWARD, UPDATE, statements
from .walk import LR, Part, Update, Walk, forward_formula, walk

MOST_BYTES = 300_000
"""How large a page may be: arrays are shown in less detail until it is not larger, as far as that goes."""

SATURATED = 0.01
"""A sigmoid or tanh with a smaller slope is called saturated."""

SLOPES = {"sigmoid": lambda out: out * (1 - out), "tanh": lambda out: 1 - out * out}

STYLES, SCRIPTS = ("base.css", "step.css"), ("arrays.js", "graph.js", "listing.js", "step.js")

Segments = list[Any]


def page(
    output: Tensor,
    *,
    model: Module | None = None,
    optimizer: Optimizer | None = None,
    collapse: int | Collection[str] | None = None,
    limit: int = 300,
) -> Page:
    """One training step as a page for a browser, to walk through: a file without network, which notebooks show too.

    Forward, `zero_grad`, backward and the update, step by step, in linked views: your lines of code (of what was
    computed under `trace()`), the graph, the rule as a formula, the numbers, and the statements that `compile` makes of
    it. Nothing is changed: no `.grad`, parameter or state; the graph is kept.

    Args:
        output: the Tensor to begin at, such as a loss. Of one that is not one number that requires gradients, only the
            forward pass is shown.
        model: names its parameters, as in `hidden.weight`; after `trace()` not needed.
        optimizer: whose step is shown; by default a plain one, w - 0.1 ∂w.
        collapse, limit: as for `graph`.

    Raises:
        ValueError: more nodes than the limit.
        RuntimeError: the graph has been freed, or a parameter has changed since.

    >>> w = Tensor([1.0, 2.0], requires_grad=True, name="w")
    >>> made = page((w * w).sum())
    >>> made.html.startswith("<!DOCTYPE html>"), made.size < 100_000
    (True, True)
    """
    if not isinstance(output, Tensor):
        raise TypeError(f"page: expected a Tensor, as in page(loss), got {output!r:.60}")
    if model is not None and not isinstance(model, Module):
        raise TypeError(f"page: model: expected a Module, got {model!r:.60}")
    if optimizer is not None and not isinstance(optimizer, Optimizer):
        raise TypeError(f"page: optimizer: expected an Optimizer such as SGD, got {optimizer!r:.60}")
    contents = _Contents(output, model, optimizer, collapse, limit)
    body = (HERE / "step.html").read_text(encoding="utf-8")
    for detail in DETAILS:
        made = Page(document(contents.title, contents.written(detail), STYLES, SCRIPTS, body))
        if made.size <= MOST_BYTES:
            break
    return made


class _Contents:
    """All that the page tells; Tensors go by their numbers, arrays by theirs."""

    def __init__(
        self,
        output: Tensor,
        model: Module | None,
        optimizer: Optimizer | None,
        collapse: int | Collection[str] | None,
        limit: int,
    ) -> None:
        self.tensors = collect([output])
        self.names = all_named(self.tensors, names_of(self.tensors, model))
        self.number = {t: i for i, t in enumerate(self.tensors)}
        nodes = nodes_of(self.tensors, self.names, frames_of(self.tensors, model), False, False)
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
        self.rule = str(optimizer) if optimizer is not None else f"a plain step of length {LR}"
        self.code = sources(self.tensors, output)
        self.program = statements(self.tensors, output, self.names, optimizer)
        self.title = f"One training step: {self.names[output]}"
        self.arrays: list[Array] = []
        self.known: dict[Any, int] = {}
        self.users: dict[Tensor, list[Tensor]] = {}
        for t in self.tensors:
            for x in t.inputs:
                if isinstance(x, Tensor):
                    self.users.setdefault(x, []).append(t)
        self.items = [self._item(t) for t in self.tensors]
        self.steps = list(self._steps())
        self.drawing = self._drawing()

    def written(self, detail: Detail) -> Any:
        """All of it, as JSON can hold it."""
        return {
            "title": self.title,
            "items": self.items,
            "arrays": [described(array, detail) for array in self.arrays],
            "graph": self.drawing,
            "steps": self.steps,
            "marks": self.code.marks,
            "sources": [{"title": s.title, "first": s.first, "lines": s.lines} for s in self.code.functions],
            "program": {"lines": self.program.lines, "problem": self.program.problem},
            "saturated": SATURATED,
        }

    def _array(self, array: Any) -> int:
        """The number of an array; equal ones have one."""
        array = np.asarray(array)
        key = array.shape, array.dtype.str, array.tobytes()
        if key not in self.known:
            self.known[key] = len(self.arrays)
            self.arrays.append(array.copy())
        return self.known[key]

    # --- Tensors ---

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
            "value": self._array(t.data),
        }
        if t in self.walk.gradients:
            g = self.walk.gradients[t]
            with np.errstate(all="ignore"):
                norm = float(np.linalg.norm(g.astype(np.float64).ravel()))
            about |= {"gradient": self._array(g), "norm": repr(norm), "uses": self.walk.uses.get(t, 0)}
        if t.op is not None:
            about |= {"op": t.op.name, "doc": printable(t.op.function.__doc__ or "")}
            if t.op.name in SLOPES and t.size:
                slope = SLOPES[t.op.name](t.data)
                about |= {"slope": self._array(slope), "saturated": float(np.mean(slope < SATURATED))}
        if calls := calls_around(t):
            about["calls"] = [printable(repr(call.module))[:60] for call in calls[-1:]]
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

    def _linked(self, text: str, tensors: Iterable[Tensor]) -> Segments:
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

    # --- the steps ---

    def _steps(self) -> Iterable[dict[str, Any]]:
        yield self._given()
        for t in self.tensors:
            if t.op is not None:
                yield self._forward(t)
        if not self.walk.gradients:
            yield self._no_backward()
            return
        yield self._clear()
        yield self._seed()
        for part in self.walk.parts:
            yield self._part(part)
        yield self._summary()
        for update in self.walk.updates:
            yield self._updated(update)
        if self.walk.again is not None:
            yield self._next(*self.walk.again)

    def _card(self, label: str, array: Any, t: Tensor | None = None, kind: str = "") -> dict[str, Any]:
        card: dict[str, Any] = {"label": label, "array": self._array(array)}
        if t is not None:
            card["item"] = self.number[t]
        if kind:
            card["kind"] = kind
        return card

    def _given(self) -> dict[str, Any]:
        leaves = [t for t in self.tensors if t.op is None]
        linked = [t for t in leaves if t.size > 1 or t.requires_grad or t.name is not None] or leaves
        count = sum(t.size for t in leaves if t.requires_grad)
        why = [
            "Nothing is computed yet. These are the leaves of the graph: parameters (squares), which training changes, "
            "and data (rounded), which it does not.",
            f"Training asks of each of the {count:,} numbers in the parameters: if it grew a little, by how much "
            f"would {self.names[self.output]} grow? The answers are its gradient, ∂.",
        ]
        cards = [self._card(self.names[t], t.data, t) for t in linked[:12]]
        return {"phase": "given", "title": "What is given", "why": why, "cards": cards, "items": _numbers(self, linked)}

    def _forward(self, t: Tensor) -> dict[str, Any]:
        operands = list(dict.fromkeys(x for x in t.inputs if isinstance(x, Tensor)))
        formula = f"{self.names[t]} = {forward_formula(t, self.names)}"
        why = []
        if t is next(one for one in self.tensors if one.op is not None):
            why.append(
                "Each op runs once its operands are there, in the order of your code. The result remembers its op and "
                "its operands: these links are the graph, along which gradients will come back."
            )
        shapes = {x.shape for x in operands if x.size}
        if t.op.domain is not None and len(shapes) > 1:
            smaller = [x for x in operands if x.shape != t.shape]
            given = ", ".join(f"{self.names[x]} of shape {shape_text(x)}" for x in smaller)
            why.append(f"Broadcasting: {given} is repeated to fit {shape_text(t)}.")
        cards = [self._card(self.names[x], x.data, x) for x in operands]
        cards.append(self._card(self.names[t], t.data, t, "result"))
        if t.op.name in SLOPES and t.size:
            slope = SLOPES[t.op.name](t.data)
            share = float(np.mean(slope < SATURATED))
            cards.append(self._card(f"the slope {_slope_text(t.op.name, self.names[t])}", slope, t, "slope"))
            why.insert(
                0,
                f"{share:.0%} of these {t.size} neurons are saturated: their slope is below {SATURATED}, so that going "
                "back hardly anything will pass through them (ringed below)."
                if share
                else "None of these neurons is saturated: every slope is above 0.01.",
            )
        return {
            "phase": "forward",
            "title": f"forward: {self._title(t)}",
            "formula": self._linked(formula, [t, *operands]),
            "note": printable(t.op.function.__doc__ or "").split(". ")[0][:160],
            "why": why,
            "cards": cards,
            "item": self.number[t],
            "items": _numbers(self, [t]),
            "sources": [[self.number[x], self.number[t]] for x in operands],
        }

    def _title(self, t: Tensor) -> str:
        return f"{self.names[t]}, by {t.op.name}" if t.op is not None else self.names[t]

    def _no_backward(self) -> dict[str, Any]:
        output = self.output
        if not output.requires_grad:
            why = "Nothing here requires gradients: there is no backward pass. Tensor(..., requires_grad=True) asks."
        else:
            why = (
                f"A backward pass begins at one number, and {self.names[output]} has the shape {shape_text(output)}: "
                "reduce it first, as with .sum(), to see gradients flow back."
            )
        card = self._card(self.names[output], output.data, output)
        return {"phase": "given", "title": "No backward pass", "why": [why], "cards": [card], "item": None}

    def _clear(self) -> dict[str, Any]:
        leaves = [t for t in self.tensors if t.op is None and t.requires_grad]
        left = [t for t in leaves if t.grad is not None]
        cards = [self._card(f"{self.names[t]}.grad, left over", t.grad.data, t, "gradient") for t in left if t.grad]
        why = [
            "backward() adds to .grad, and does not set it: so that several backward passes can add up where that is "
            "wanted. What is left from the step before would count again: zero_grad() sets every .grad to None.",
            f"{len(left)} of {len(leaves)} parameters have something left in .grad, which is cleared now."
            if left
            else "Here every .grad is None already, as before the first step. The last page shows what else would be.",
        ]
        formula: Segments = []
        for t in leaves[:4]:
            formula += [*([", "] if formula else []), [f"{self.names[t]}.grad", self.number[t], True], " = None"]
        formula += [f", and {len(leaves) - 4} more"] if len(leaves) > 4 else []
        return {
            "phase": "clear",
            "title": "zero_grad: old gradients are cleared",
            "formula": formula,
            "why": why,
            "cards": cards,
            "items": _numbers(self, leaves),
        }

    def _seed(self) -> dict[str, Any]:
        t, name = self.output, self.names[self.output]
        why = [
            f"∂x stands for d {name} / d x: how fast {name} grows with x. The backward pass begins with the one "
            f"gradient that is known without computing: {name} grows as fast as itself.",
            "From here it goes back, always to the youngest result whose gradient is known. All that was computed from "
            "it is younger still and has been handled: so its gradient is complete before it is passed on. (That is a "
            "topological order, reversed.)",
        ]
        return {
            "phase": "backward",
            "title": f"backward begins: ∂{name} = 1",
            "formula": [[f"∂{name}", self.number[t], True], " = 1"],
            "why": why,
            "cards": [self._card(f"∂{name}", self.walk.gradients[t], t, "gradient")],
            "item": self.number[t],
            "items": _numbers(self, [t]),
            "gradient": [self.number[t], self._array(self.walk.gradients[t]), 1, 1],
        }

    def _part(self, p: Part) -> dict[str, Any]:
        node, x, names, uses = p.node, p.x, self.names, self.walk.uses.get(p.x, 1)
        g, several = f"∂{names[node]}", uses > 1
        operands = [node, *(t for t in node.inputs if isinstance(t, Tensor))]
        summed = p.raw.shape != x.shape
        text = f"∂{names[x]} {'=' if p.before is None else '+='} {p.formula}"
        if summed:
            text += f", summed to {shape_text(x)}"
        why = self._why_now(p)
        cards = [self._card(f"{g}, which arrives", self.walk.gradients[node], node, "gradient")]
        used = [t for t in dict.fromkeys(operands) if self._occurs(t, p.formula)]
        cards += [self._card(names[t], t.data, t) for t in used]
        if node.op.name in SLOPES and node.size:
            slope = SLOPES[node.op.name](node.data)
            cards.append(self._card(f"the slope {_slope_text(node.op.name, names[node])}", slope, node, "slope"))
            share = float(np.mean(slope < SATURATED))
            why.append(
                f"What arrives is multiplied by the slope of each neuron, at most "
                f"{'¼' if node.op.name == 'sigmoid' else '1'}: ‖{g}‖ = {_norm(self.walk.gradients[node]):.3g} becomes "
                f"{_norm(p.part):.3g}. {share:.0%} of the neurons are saturated, and let almost nothing through."
            )
        if summed:
            why.append(_of_broadcasting(names[x], p))
            cards.append(self._card(f"before: shape {shape_text(p.raw)}", p.raw, None, "gradient"))
            cards.append(self._card(f"after the sum: shape {shape_text(x)}", p.part, x, "gradient"))
        if p.before is not None:
            why.append(
                f"{names[x]} is used {uses} times, and each use is a path on which it acts on {names[self.output]}. "
                f"The gradients of all paths add up: this is part {p.number} of {uses}."
            )
            cards.append(self._card(f"∂{names[x]} so far", p.before, x, "gradient"))
            cards.append(self._card("+ this part", p.part, None, "gradient"))
        elif several:
            why.append(f"{names[x]} is used {uses} times: this is the first part of its gradient, and others will add.")
        if p.before is not None or not summed:
            cards.append(self._card(f"∂{names[x]}", p.total, x, "result gradient"))
        return {
            "phase": "backward",
            "title": f"backward through {node.op.name}: to {names[x]}",
            "formula": self._linked(text, operands),
            "note": _rule_text(node, p.position),
            "why": why,
            "cards": cards,
            "item": self.number[node],
            "items": _numbers(self, [x]),
            "gradient": [self.number[x], self._array(p.total), p.number, uses],
            "flow": [self.number[node], self.number[x], p.position],
            "waiting": [[self.number[t], parts, self.walk.uses.get(t, 1)] for t, parts in p.waiting[:8]],
        }

    def _occurs(self, t: Tensor, formula: str) -> bool:
        if t.op is None and not t.requires_grad and t.size == 1 and t.name is None:
            return False
        return re.search(rf"(?<![\w.∂]){re.escape(self.names[t])}(?!\w)", formula) is not None

    def _why_now(self, p: Part) -> list[str]:
        """Why this result is the next to pass its gradient on."""
        node, name = p.node, self.names[p.node]
        if node is self.output:
            return [f"∂{name} is known, so the rules of its op can pass it on to what it was computed from."]
        if p is not next(q for q in self.walk.parts if q.node is node):
            return [
                f"The same ∂{name}, passed on to another input of {node.op.name}: each input has a rule of its own."
            ]
        users = list(dict.fromkeys(t for t in self.users[node] if t in self.walk.gradients))
        uses = self.walk.uses.get(node, 1)
        how = "the only one to use it, has" if uses == 1 else f"all {uses} uses, have"
        return [
            f"Why now: ∂{name} is complete. {_listed(self, users)}, {how} passed on what was due. "
            f"Of the results with a gradient {name} is the youngest."
        ]

    def _summary(self) -> dict[str, Any]:
        tracked = [t for t in self.tensors if t in self.walk.gradients]
        return {
            "phase": "backward",
            "title": "The backward pass is done: how large the gradients are",
            "why": [
                "The norm ‖∂‖ of every gradient, from the output back to the inputs, on a logarithmic scale: where "
                "bars become short, gradients vanish, and what lies before learns slowly.",
                "Each was computed once, from gradients that were known: one backward pass costs about as much as two "
                "forward passes, however many parameters there are.",
            ],
            "cards": [],
            "norms": _numbers(self, tracked[::-1]),
        }

    def _updated(self, u: Update) -> dict[str, Any]:
        name = self.names[u.p]
        cards = [self._card(f"{name}, before", u.before, u.p)]
        cards += [self._card(f"∂{name}", self.walk.gradients[u.p], u.p, "gradient")]
        cards += [self._card(f"{name}: {key}, kept for the next step", array) for key, array in u.kept.items()]
        cards += [self._card("the change, which is taken away", u.change, None, "gradient")]
        cards += [self._card(f"{name}, after", u.after, u.p, "result")]
        ratio = _norm(u.change) / _norm(u.before) if _norm(u.before) else 0.0
        why = [
            f"Against the gradient, as {self.names[self.output]} is to become smaller: where ∂{name} is positive, "
            f"{name} shrinks.",
            f"The change is {ratio:.2g} of the parameter's own size (norms divided).",
        ]
        if self.optimizer is None:
            why.append(
                f"No optimizer was given: this is a plain step with the rate {LR}; page(..., optimizer=) shows yours."
            )
        return {
            "phase": "update",
            "title": f"update of {name}, by {self.rule}",
            "formula": self._linked(f"{name} ← {name} - {_bracketed(u.formula)}", [u.p]),
            "why": why,
            "cards": cards,
            "item": self.number[u.p],
            "items": _numbers(self, [u.p]),
        }

    def _next(self, output: Array, gradients: Mapping[Tensor, Array]) -> dict[str, Any]:
        before, after = self.output.data.item(), output.item()
        name = self.names[self.output]
        cards = [self._card(f"{name} before the step", self.output.data, self.output)]
        cards.append(self._card(f"{name} after it", output))
        for p, g in list(gradients.items())[:3]:
            old = self.walk.gradients[p]
            cards.append(self._card(f"∂{self.names[p]} of this step, still in .grad", old, p, "gradient"))
            cards.append(self._card(f"∂{self.names[p]} of the next, with zero_grad", g, None, "gradient"))
            cards.append(self._card("without zero_grad: the sum of both", old + g, None, "gradient"))
        verdict = "smaller" if after < before else "not smaller: the step was too long, or there was nothing to gain"
        return {
            "phase": "next",
            "title": "The next step: the same data again",
            "why": [
                f"Computed again with the new parameters, {name} is {after:.6g}; it was {before:.6g}. It is {verdict}.",
                "The gradients of this step are still in .grad. The next backward pass would add its own to them, and "
                "the update would follow both, also those of parameters that are gone: zero_grad() clears them.",
            ],
            "cards": cards,
            "item": self.number[self.output],
            "items": _numbers(self, list(gradients)),
        }


def _numbers(contents: _Contents, tensors: Iterable[Tensor]) -> list[int]:
    return [contents.number[t] for t in tensors]


def _listed(contents: _Contents, tensors: Sequence[Tensor]) -> str:
    return ", ".join(contents.names[t] for t in tensors[:4]) + (", ..." if len(tensors) > 4 else "")


def _norm(array: Array) -> float:
    with np.errstate(all="ignore"):
        return float(np.linalg.norm(array.astype(np.float64).ravel()))


def _bracketed(formula: str) -> str:
    return f"({formula})" if re.search(r" [+-] ", formula) and not formula.endswith(")") else formula


def _slope_text(op: str, name: str) -> str:
    return f"{name} (1 - {name})" if op == "sigmoid" else f"1 - {name}²"


def _of_broadcasting(name: str, p: Part) -> str:
    """What broadcasting means for a gradient."""
    new = p.raw.ndim - p.x.ndim
    axes = [*range(new), *(new + i for i, n in enumerate(p.x.shape) if n != p.raw.shape[new + i])]
    times = int(np.prod([p.raw.shape[axis] for axis in axes]))
    return (
        f"Broadcasting is undone: {name} of shape {shape_text(p.x)} was used {times} times along "
        f"{'axis' if len(axes) == 1 else 'axes'} {', '.join(map(str, axes))}. Each use passes a gradient back, and "
        f"they add up: the sum over {'that axis' if len(axes) == 1 else 'those axes'} makes {shape_text(p.x)} of "
        f"{shape_text(p.raw)}."
    )


def _rule_text(node: Tensor, position: int) -> str:
    """The rule as it stands in the table of derivatives, if it is one line."""
    for i, rule in enumerate(node.op.rules):
        if i == position:
            code = getattr(rule, "__code__", None)
            if code is None or code.co_name != "<lambda>":
                return ""
            line = linecache.getline(code.co_filename, code.co_firstlineno).strip()
            start = line.find("lambda g")
            text = line[start:].split("  #")[0].rstrip().rstrip(",") if start >= 0 else ""
            where = "the table's rule" if code.co_filename.startswith(PACKAGE) else "the rule"
            return f"{where}: {printable(text)}" if text.count("(") == text.count(")") else ""
    return ""
