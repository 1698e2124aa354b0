"""What a check raises."""

from __future__ import annotations

from typing import Any

import numpy as np

from .arguments import Names


class GradientError(AssertionError):
    """A gradient is not the derivative. The message says in which entries, what it is and what it should be."""

    __module__ = "tinygrad_mnist.gradcheck"


class UnmeasurableError(GradientError):
    """Nothing is said of the gradient: f has no value here, no derivative, or one that rounding hides."""

    __module__ = "tinygrad_mnist.gradcheck"


class VerdictError(GradientError):
    """The verdict of a comparison, before the cause is looked for."""


def expect_finite(value: Any, name: str, names: Names) -> None:
    """Refuse to check f where it has no value."""
    if not np.all(np.isfinite(value)):
        raise UnmeasurableError(f"{name} is not finite here; check it where it is defined{shown(names)}")


def shown(names: Names) -> str:
    """The Tensors by name, a line each, but large ones."""
    return "".join(f"\n{name} = {x.data!r}" for x, name in names.items() if x.size <= 16)
