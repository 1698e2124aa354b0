"""The formulas: SGD, momentum, Nesterov's momentum."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from tinygrad_mnist.tensor import Array, Tensor

from .optimizer import Optimizer
from .state import State


class SGD(Optimizer):
    """Stochastic gradient descent, w <- w - lr g; Nielsen's chapter 1.

    >>> w = Tensor([1.0], requires_grad=True)
    >>> optimizer = SGD([w], lr=0.25)
    >>> (w * w).sum().backward()
    >>> optimizer.step()
    >>> w
    Tensor([0.5], dtype=float32, requires_grad=True)
    """

    def direction(self, gradient: Array, state: State, options: Mapping[str, Any]) -> Array:
        """The gradient itself."""
        return gradient


class Momentum(SGD):
    """Classical momentum, v <- mu v + g; w <- w - lr v; Nielsen's chapter 3. `momentum` is mu, 0 <= mu < 1."""

    keeps_velocity = True

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[dict[str, Any]],
        lr: float,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(params, lr, weight_decay, options={"momentum": momentum})

    def direction(self, gradient: Array, state: State, options: Mapping[str, Any]) -> Array:
        """The new velocity, mu v + g."""
        v = options["momentum"] * state["velocity"] + gradient if "velocity" in state else gradient.copy()
        state["velocity"] = v
        return v


class Nesterov(Momentum):
    """Nesterov momentum, v <- mu v + g; w <- w - lr (g + mu v): the gradient is that of where v leads."""

    def direction(self, gradient: Array, state: State, options: Mapping[str, Any]) -> Array:
        """The gradient plus mu times the new velocity: g + mu v."""
        return gradient + options["momentum"] * super().direction(gradient, state, options)
