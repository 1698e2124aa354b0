"""An optimizer's formula, seen at work: as text, with a parameter's names or with its numbers."""

from __future__ import annotations

import copy as copying
from collections.abc import Mapping
from typing import Any

import numpy as np

from tinygrad_mnist.mode import no_grad
from tinygrad_mnist.optim import Momentum, Optimizer
from tinygrad_mnist.tensor import Array, Tensor, leaf
from tinygrad_mnist.visualize.explanation import Applications
from tinygrad_mnist.visualize.notation import operand_text
from tinygrad_mnist.visualize.tracing import observing

CHANGE = "change"
"""What the change is called among what a formula computes; the rest is what it keeps."""


class Formula:
    """What an optimizer computes for one parameter: what it keeps, and what it takes from the parameter.

    Where momentum has no velocity yet, it is shown with one of 0, which gives the same.

    Attributes:
        elementwise: whether each number of the result depends on the same place of the operands alone, so that the
            formula can be told with the numbers of one place.
    """

    def __init__(self, optimizer: Optimizer, p: Tensor, g: Array, state: Mapping[str, Array], group: Any) -> None:
        if isinstance(optimizer, Momentum) and not state:
            state = {"velocity": np.zeros_like(g)}
        self.optimizer, self.p, self.gradient = optimizer, p, leaf(g.copy())
        self.before = {name: leaf(array.copy()) for name, array in state.items()}
        after: Any = dict(self.before)
        self.seen = Applications()
        self.change: Any = None
        try:
            with observing(self.seen), no_grad():
                self.change = copying.copy(optimizer).change(p, self.gradient, after, group)
        except Exception:  # a formula that is written for arrays alone cannot be seen
            after = {}
        self.after: dict[str, Any] = after
        self.elementwise = self.change is not None and all(
            op.domain is not None for op, _, _ in self.seen.applications.values()
        )

    def lines(self, p: str, gradient: str, before: Mapping[str, str], after: Mapping[str, str]) -> dict[str, str]:
        """The right sides, where the operands are called so, by what they compute."""
        if self.change is None:
            return {CHANGE: f"the change of {type(self.optimizer).__name__}"}
        known = {self.p: p, self.gradient: gradient, **{t: before[name] for name, t in self.before.items()}}
        applied = self.seen.applications
        new = {name: t for name, t in self.after.items() if t is not self.before.get(name)}
        lines = {name: operand_text(t, known, applied)[0] for name, t in new.items()}
        known |= {t: after[name] for name, t in new.items() if isinstance(t, Tensor) and t not in known}
        return lines | {CHANGE: operand_text(self.change, known, applied)[0]}

    def named(self, p: str) -> dict[str, str]:
        """The right sides with names."""
        same = {name: name for name in (*self.before, *self.after)}
        return self.lines(p, f"∂{p}", same, same)
