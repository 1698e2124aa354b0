"""The steps of a page, in words and numbers: what happens, and why now."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from tinygrad_mnist.tensor import Tensor, values
from tinygrad_mnist.visualize.notation import printable, shape_text

from .contents import SATURATED, SLOPES, Contents, Segments, slope_text
from .passing import passing
from .statements import FORWARD
from .tables import largest
from .updating import next_steps, updating
from .walk import forward_formula

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
            yield passing(self, part)
        yield self._summary()
        for update in self.walk.updates:
            yield updating(self, update)
        yield from next_steps(self)

    def _given(self) -> dict[str, Any]:
        leaves = [t for t in self.tensors if t.op is None]
        linked = [t for t in leaves if t.size > 1 or t.requires_grad or t.name is not None] or leaves
        count, name = sum(t.size for t in leaves if t.requires_grad), self.names[self.output]
        why = [
            "Nothing is computed yet. These are the leaves of the graph: parameters (squares), which training changes, "
            "and data (rounded), which it does not.",
            f"Training asks of each of the {count:,} numbers in the parameters: if it grew a little, by how much "
            f"would {name} grow? The answers are its gradient, ∂. Then it moves them so that {name} gets smaller.",
        ]
        cards = [self.card(self.names[t], t.data, t) for t in linked[:12]]
        return {"phase": "given", "title": "What is given", "why": why, "cards": cards, "items": self.numbers(linked)}

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
        words, pictures = self._looked_for(t)
        why += words
        cards = pictures + [self.card(self.names[x], x.data, x) for x in operands]
        cards.append(self.card(self.names[t], t.data, t, "result"))
        if t.op.name in SLOPES and t.size:
            slope = SLOPES[t.op.name](t.data)
            flat = int(np.sum(slope < SATURATED))
            cards.append(self.card(f"the slope {slope_text(t.op.name, self.names[t])}", slope, t, "slope"))
            why.insert(
                0,
                f"{flat:,} of these {t.size:,} activations are saturated: their slope is below {SATURATED}, so that "
                "going back hardly anything will pass through them (ringed below)."
                if flat
                else f"None of these {t.size:,} activations is saturated: every slope is {SATURATED} or more.",
            )
        return {
            "phase": "forward",
            "title": f"forward: {self._title(t)}",
            "formula": self.linked(formula, [t, *operands]),
            "note": printable((t.op.function.__doc__ or "").split(". ")[0][:160]),
            "why": why,
            "cards": cards,
            "item": self.number[t],
            "items": self.numbers([t]),
            "lines": self.program.at.get((FORWARD, t), []),
        }

    def _looked_for(self, t: Tensor) -> tuple[list[str], list[Any]]:
        """What a neuron looks for, whose inputs can be seen as a picture: at the largest weighted input of all."""
        place = largest(t.data)
        if t.op.name not in ("linear", "matmul") or t.ndim != 2 or place is None:
            return [], []
        x, weight = map(values, t.inputs[:2])
        side = math.isqrt(weight.shape[0])
        if x.ndim != 2 or side * side != weight.shape[0] or side < 8:
            return [], []
        n, j = (int(i) for i in np.unravel_index(int(t.data.argmax()), t.shape))
        name, data = self.called(t.inputs[1]), self.called(t.inputs[0])
        word = (
            f"What neuron {j} looks for is the picture of its weights, {name}[:, {j}]: ink where they are positive "
            "(vermilion) excites it, ink where they are negative (blue) inhibits it. Of all weighted inputs that of "
            f"example {n} is the largest, {self.names[t]}[{n}, {j}] = {t.data[n, j]:.4g}: the sum of pixel times "
            "weight, and the bias. (Weights that were never trained are noise; each step adds some of the images to "
            f"them, or takes some away: that is what their gradient, {data}.T @ ∂{self.names[t]}, does.)"
        )
        pictures = {f"{name}[:, {j}]": weight[:, j], f"{data}[{n}] × {name}[:, {j}]": x[n] * weight[:, j]}
        return [word], [self.card(label, array.reshape(side, side)) for label, array in pictures.items()]

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
            else "Here every .grad is None already, as at first. What comes without it is shown at the end.",
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
            "items": self.numbers(leaves),
            "about": "No statement: each call of the program writes its gradients over those of the call before.",
        }

    def _seed(self) -> dict[str, Any]:
        t, name = self.output, self.names[self.output]
        why = [
            f"∂x stands for d {name} / d x: how fast {name} grows with x. The backward pass begins with the one "
            f"gradient that is known without computing: {name} grows as fast as itself.",
            "From here it goes back, always to the youngest result whose gradient is known. All that was computed from "
            "it is younger still and has been handled: so its gradient is complete before it is passed on. (That is a "
            "topological order, reversed.)",
            "In the graph each gradient gets a bar and a number as it comes: its RMS, the size of a typical number.",
        ]
        return {
            "phase": "backward",
            "title": f"backward begins: ∂{name} = 1",
            "formula": [[f"∂{name}", self.number[t], True], " = 1"],
            "why": why,
            "cards": [self.card(f"∂{name}", self.walk.gradients[t], t, "gradient")],
            "item": self.number[t],
            "items": self.numbers([t]),
            "gradient": [self.number[t], self.array(self.walk.gradients[t]), 1, 1],
            "about": f"No statement: ∂{name} = 1 never changes, and what follows from it alone is computed once.",
        }

    def _summary(self) -> dict[str, Any]:
        tracked = [t for t in self.tensors if t in self.walk.gradients]
        return {
            "phase": "backward",
            "title": "The backward pass is done: how large the gradients are",
            "why": [
                "The RMS of every gradient, from the output back to the inputs, on a logarithmic scale: where bars "
                "become short, gradients vanish, and what lies before learns slowly. (The root mean square, √ of the "
                "mean of ∂², is the size of a typical number: so arrays of any sizes can be compared, whose norms grow "
                "with their sizes.)",
                "Each was computed once, from gradients that were known: one backward pass costs about as much as two "
                "forward passes, however many parameters there are.",
            ],
            "cards": [],
            "sizes": self.numbers(tracked[::-1]),
        }
