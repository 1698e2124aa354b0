"""The steps of a page, in words and numbers: what happens, and why now."""

from __future__ import annotations

import linecache
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from tinygrad_mnist.files import PACKAGE
from tinygrad_mnist.tensor import Array, Tensor
from tinygrad_mnist.visualize.notation import printable, shape_text

from .contents import SATURATED, SLOPES, Contents, Segments
from .walk import LR, Part, Update, forward_formula

MOST_STEPS = 400
"""Of a graph with more, only those are told that the drawing can show."""


class Events(Contents):
    """The contents of a page, and the steps through them."""

    def steps(self) -> list[dict[str, Any]]:
        """All of them, in order; where there are very many, of those inside of what is folded the last.

        So each node and each arrow of the drawing has a step.
        """
        every = list(self._every())
        if len(every) <= MOST_STEPS:
            return every
        last = {self._drawn(step): i for i, step in enumerate(every)}
        return [step for i, step in enumerate(every) if last[self._drawn(step)] == i]

    def _drawn(self, step: dict[str, Any]) -> tuple[Any, ...]:
        """What of the drawing a step is about."""
        numbers = step["flow"][:2] if "flow" in step else [step["item"]] if step.get("item") is not None else []
        return step["phase"], step["title"] if not numbers else "", *(self.items[i]["node"] for i in numbers)

    def _every(self) -> Iterator[dict[str, Any]]:
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
        cards = [self.card(self.names[t], t.data, t) for t in linked[:12]]
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
        cards = [self.card(self.names[x], x.data, x) for x in operands]
        cards.append(self.card(self.names[t], t.data, t, "result"))
        if t.op.name in SLOPES and t.size:
            slope = SLOPES[t.op.name](t.data)
            share = float(np.mean(slope < SATURATED))
            cards.append(self.card(f"the slope {_slope_text(t.op.name, self.names[t])}", slope, t, "slope"))
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
            "formula": self.linked(formula, [t, *operands]),
            "note": printable((t.op.function.__doc__ or "").split(". ")[0][:160]),
            "why": why,
            "cards": cards,
            "item": self.number[t],
            "items": _numbers(self, [t]),
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
        card = self.card(self.names[output], output.data, output)
        return {"phase": "given", "title": "No backward pass", "why": [why], "cards": [card], "item": None}

    def _clear(self) -> dict[str, Any]:
        leaves = [t for t in self.tensors if t.op is None and t.requires_grad]
        left: list[Any] = [t for t in leaves if t.grad is not None]
        cards = [self.card(f"{self.names[t]}.grad, left over", t.grad.data, t, "gradient") for t in left]
        why = [
            "backward() adds to .grad, and does not set it: so that several backward passes can add up where that is "
            "wanted. What is left from the step before would count again: zero_grad() sets every .grad to None.",
            f"{len(left)} of {len(leaves)} parameters have something left in .grad, which is cleared now."
            if left
            else "Here every .grad is None already, as at first. The last of these steps shows why it matters.",
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
            "cards": [self.card(f"∂{name}", self.walk.gradients[t], t, "gradient")],
            "item": self.number[t],
            "items": _numbers(self, [t]),
            "gradient": [self.number[t], self.array(self.walk.gradients[t]), 1, 1],
        }

    def _part(self, p: Part) -> dict[str, Any]:
        node, x, names, uses = p.node, p.x, self.names, self.walk.uses.get(p.x, 1)
        operands = [node, *(t for t in node.inputs if isinstance(t, Tensor))]
        summed = f", summed to {shape_text(x)}" if p.raw.shape != x.shape else ""
        text = f"∂{names[x]} {'=' if p.before is None else '+='} {p.formula}{summed}"
        cards = []
        if not (summed and self.array(p.raw) == self.array(self.walk.gradients[node])):
            cards.append(self.card(f"∂{names[node]}, which arrives", self.walk.gradients[node], node, "gradient"))
        used = [t for t in dict.fromkeys(operands) if self._occurs(t, p.formula)]
        cards += [self.card(names[t], t.data, t) for t in used]
        why = self._why_now(p)
        for tell in (self._slope, self._broadcasting, self._accumulation):
            words, shown = tell(p)
            why += words
            cards += shown
        if p.before is None and not summed:
            cards.append(self.card(f"∂{names[x]}", p.total, x, "result gradient"))
        return {
            "phase": "backward",
            "title": f"backward through {node.op.name}: to {names[x]}",
            "formula": self.linked(text, operands),
            "note": _rule_text(node, p.position),
            "why": why,
            "cards": cards,
            "item": self.number[node],
            "items": _numbers(self, [x]),
            "gradient": [self.number[x], self.array(p.total), p.number, uses],
            "flow": [self.number[node], self.number[x], p.position],
            "waiting": [[self.number[t], parts, self.walk.uses.get(t, 1)] for t, parts in p.waiting[:8]],
        }

    def _slope(self, p: Part) -> tuple[list[str], list[Any]]:
        """What a sigmoid or a tanh makes of a gradient."""
        op, out, g = p.node.op.name, p.node.data, f"∂{self.names[p.node]}"
        if op not in SLOPES or not out.size:
            return [], []
        slope = SLOPES[op](out)
        share = float(np.mean(slope < SATURATED))
        word = (
            f"What arrives is multiplied by the slope of each neuron, at most {'¼' if op == 'sigmoid' else '1'}: "
            f"‖{g}‖ = {_norm(self.walk.gradients[p.node]):.3g} becomes {_norm(p.part):.3g}."
        )
        if share:
            word += f" {share:.0%} of the neurons are saturated: they let almost nothing through, and hardly learn."
        return [word], [self.card(f"the slope {_slope_text(op, self.names[p.node])}", slope, p.node, "slope")]

    def _broadcasting(self, p: Part) -> tuple[list[str], list[Any]]:
        """How broadcasting is undone, if there was any: the gradient before and after."""
        if p.raw.shape == p.x.shape:
            return [], []
        kind = "gradient" if p.before is not None else "result gradient"
        passed = self.array(p.raw) == self.array(self.walk.gradients[p.node])
        name = f"∂{self.names[p.node]}, which arrives, " if passed else ""
        before = self.card(f"{name}before: shape {shape_text(p.raw)}", p.raw, None, "gradient")
        after = self.card(f"after the sum: shape {shape_text(p.x)}", p.part, p.x, kind)
        return [_of_broadcasting(self.names[p.x], p)], [before, after]

    def _accumulation(self, p: Part) -> tuple[list[str], list[Any]]:
        """How the gradients of several paths add up, if there are several."""
        name, uses = self.names[p.x], self.walk.uses.get(p.x, 1)
        if p.before is None:
            first = f"{name} is used {uses} times: this is the first part of its gradient, and others will add."
            return [first] if uses > 1 else [], []
        word = (
            f"{name} is used {uses} times, and each use is a path on which it acts on {self.names[self.output]}. "
            f"The gradients of all paths add up: this is part {p.number} of {uses}."
        )
        return [word], [
            self.card(f"∂{name} so far", p.before, p.x, "gradient"),
            self.card("+ this part", p.part, None, "gradient"),
            self.card(f"= ∂{name}{' by now' if p.number < uses else ''}", p.total, p.x, "result gradient"),
        ]

    def _occurs(self, t: Tensor, formula: str) -> bool:
        if t.op is None and not t.requires_grad and t.size == 1 and t.name is None:
            return False
        return re.search(rf"(?<![\w.∂]){re.escape(self.names[t])}(?!\w)", formula) is not None

    def _why_now(self, p: Part) -> list[str]:
        """Why this result is the next to pass its gradient on."""
        node, name = p.node, self.names[p.node]
        if node is self.output:
            known = f"∂{name} is known, so the rules of its op can pass it on to what it was computed from."
            return [known, *self._of_rules(p)]
        if not p.first:
            return [
                f"The same ∂{name}, passed on to another input of {node.op.name}: each input has a rule of its own."
            ]
        users = list(dict.fromkeys(t for t in self.users[node] if t in self.walk.gradients))
        uses = self.walk.uses.get(node, 1)
        how = "the only one to use it, has" if uses == 1 else f"all {uses} uses, have"
        return [
            f"Why now: ∂{name} is complete. {_listed(self, users)}, {how} passed on what was due. "
            f"Of the results with a gradient {name} is the youngest.",
            *self._of_rules(p),
        ]

    def _of_rules(self, p: Part) -> list[str]:
        """What a rule is, where there is more than one number."""
        if p.raw.size * p.node.size <= 1:
            return []
        return [
            f"A rule takes the gradient of the result, {shape_text(p.node)}, and returns that of an input, "
            f"{shape_text(p.raw)}: a vector-Jacobian product (vjp). The Jacobian itself, {p.node.size:,} × "
            f"{p.raw.size:,} slopes, is never made."
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
        cards = [self.card(f"{name}, before", u.before, u.p)]
        cards += [self.card(f"∂{name}", self.walk.gradients[u.p], u.p, "gradient")]
        cards += [self.card(f"{name}: {key}, kept for the next step", array) for key, array in u.kept.items()]
        cards += [self.card("the change, which is taken away", u.change, None, "gradient")]
        cards += [self.card(f"{name}, after", u.after, u.p, "result")]
        ratio = _norm(u.change) / _norm(u.before) if _norm(u.before) else 0.0
        why = [
            f"Against the gradient, as {self.names[self.output]} is to become smaller: what has a positive gradient is "
            "made smaller, and what has a negative one larger.",
            f"The change is {ratio:.2g} of the parameter's own size (norms divided).",
        ]
        if u.kept:
            why.append(
                f"The optimizer keeps {', '.join(u.kept)} for {name} from step to step: so gradients of earlier steps "
                "go on acting."
            )
        if self.optimizer is None:
            why.append(
                f"No optimizer was given: this is a plain step with the rate {LR}; page(..., optimizer=) shows yours."
            )
        return {
            "phase": "update",
            "title": f"update of {name}, by {self.rule}",
            "formula": self.linked(f"{name} ← {name} - {_bracketed(u.formula)}", [u.p]),
            "why": why,
            "cards": cards,
            "item": self.number[u.p],
            "items": _numbers(self, [u.p]),
        }

    def _next(self, output: Array, gradients: Mapping[Tensor, Array]) -> dict[str, Any]:
        before, after = self.output.data.item(), output.item()
        name = self.names[self.output]
        cards = [self.card(f"{name} before the step", self.output.data, self.output)]
        cards.append(self.card(f"{name} after it", output))
        for p, g in list(gradients.items())[:3]:
            old = self.walk.gradients[p]
            cards.append(self.card(f"∂{self.names[p]} of this step, still in .grad", old, p, "gradient"))
            cards.append(self.card(f"∂{self.names[p]} of the next, with zero_grad", g, None, "gradient"))
            cards.append(self.card("without zero_grad: the sum of both", old + g, None, "gradient"))
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


def _numbers(contents: Contents, tensors: Iterable[Tensor]) -> list[int]:
    return [contents.number[t] for t in tensors]


def _listed(contents: Contents, tensors: Sequence[Tensor]) -> str:
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
            where = "the table's rule" if code.co_filename.startswith(PACKAGE) else "the rule"
            text = _lambda(line, code.co_varnames[0])
            return f"{where}: {printable(text)}" if text else ""
    return ""


def _lambda(line: str, first: str) -> str:
    """The lambda in a line whose first parameter has this name; empty if it goes on in the next one."""
    start = line.find(f"lambda {first}")
    depth, body = 0, False
    for i, c in enumerate(line[start:] if start >= 0 else ""):
        depth += (c in "([{") - (c in ")]}")
        body = body or c == ":"
        if depth < 0 or (body and depth == 0 and c in ",#"):
            return line[start : start + i].rstrip()
    return ""
