"""Functions between layers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tinygrad_mnist import ops

from .module import Module


class _Activation(Module):
    """A function of the table as a layer without parameters."""

    function: Callable[..., Any]

    def forward(self, x: Any) -> Any:
        """The function, elementwise."""
        return type(self).function(x)


class Sigmoid(_Activation):
    """1 / (1 + e^-x)."""

    function = ops.sigmoid


class Tanh(_Activation):
    """tanh x."""

    function = ops.tanh


class ReLU(_Activation):
    """max(x, 0)."""

    function = ops.relu


class Softmax(_Activation):
    """e^x / Σ e^x along the last axis."""

    function = ops.softmax
