"""Formulas that give every weight a step length of its own: Adagrad, RMSProp, Adam, AdamW.

They divide the gradient by the root of a sum or of a running mean of its squares, so that weights whose gradients are
small learn as fast as others. A running mean is m <- beta m + (1 - beta) g. Names and defaults of the options are those
of torch.optim, and so are the numbers that come out.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

import numpy as np

from tinygrad_mnist.tensor import Array, Tensor

from .optimizer import Optimizer
from .state import State

Params = Iterable[Tensor] | Iterable[dict[str, Any]]


class Adagrad(Optimizer):
    """Steps that get shorter for weights that have had large gradients: s <- s + g²; w <- w - lr g / (√s + eps).

    Duchi, Hazan and Singer, "Adaptive Subgradient Methods for Online Learning and Stochastic Optimization", 2011.

    Args:
        params, lr, weight_decay: as for all optimizers.
        lr_decay: at step t the rate is lr / (1 + (t - 1) lr_decay).
        initial_accumulator_value: what the sum s of squares starts at.
        eps: keeps the division finite.
    """

    def __init__(
        self,
        params: Params,
        lr: float = 0.01,
        lr_decay: float = 0.0,
        weight_decay: float = 0.0,
        initial_accumulator_value: float = 0.0,
        eps: float = 1e-10,
    ) -> None:
        options = {"lr_decay": lr_decay, "initial_accumulator_value": initial_accumulator_value, "eps": eps}
        super().__init__(params, lr, weight_decay, options=options)

    def direction(self, gradient: Array, state: State, options: Mapping[str, Any]) -> Array:
        """The gradient divided by the root of the sum of its squares."""
        step = _count(state)
        s = state["sum"] = state.get("sum", options["initial_accumulator_value"]) + gradient**2
        direction = gradient / (np.sqrt(s) + options["eps"])
        return direction / (1 + (step - 1) * options["lr_decay"]) if options["lr_decay"] else direction


class RMSProp(Optimizer):
    """Steps of about the same length for every weight: s <- alpha s + (1 - alpha) g²; w <- w - lr g / (√s + eps).

    Tieleman and Hinton, "Lecture 6.5: RMSProp", 2012; centered and with momentum as in Graves, "Generating Sequences
    With Recurrent Neural Networks", 2013, but for eps, which is outside of the root.

    Args:
        params, lr, weight_decay: as for all optimizers.
        alpha: how much of the mean s of squares is left after a step, from 0 to below 1.
        eps: keeps the division finite.
        momentum: mu; if not 0, v <- mu v + g / (√s + eps); w <- w - lr v. From 0 to below 1.
        centered: divide by the root of the gradient's variance, s - m², with m a running mean of g as s is of g².
    """

    kinds: ClassVar[Mapping[str, str]] = {**Optimizer.kinds, "alpha": "share", "centered": "flag"}

    def __init__(
        self,
        params: Params,
        lr: float = 0.01,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        momentum: float = 0.0,
        centered: bool = False,
    ) -> None:
        options = {"alpha": alpha, "eps": eps, "momentum": momentum, "centered": centered}
        super().__init__(params, lr, weight_decay, options=options)

    def direction(self, gradient: Array, state: State, options: Mapping[str, Any]) -> Array:
        """The gradient divided by the root of the mean of its squares; or the velocity of that."""
        square = _mean(state, "mean_square", gradient**2, options["alpha"])
        if options["centered"]:
            # Equal gradients have the variance 0, which rounding makes -1e-17 of: PyTorch's weights become NaN.
            square = np.maximum(square - _mean(state, "mean", gradient, options["alpha"]) ** 2, 0)
        direction = gradient / (np.sqrt(square) + options["eps"])
        if options["momentum"]:
            direction = state["velocity"] = options["momentum"] * state.get("velocity", 0) + direction
        return direction


class Adam(Optimizer):
    """RMSProp with momentum, both as means that are not biased towards the 0 that they start at.

        m <- beta1 m + (1 - beta1) g        s <- beta2 s + (1 - beta2) g²
        w <- w - lr (m / (1 - beta1^t)) / (√(s / (1 - beta2^t)) + eps)        at step t

    Kingma and Ba, "Adam: A Method for Stochastic Optimization", 2015.

    Args:
        params, lr, weight_decay: as for all optimizers.
        betas: beta1 and beta2, each from 0 to below 1.
        eps: keeps the division finite.
        amsgrad: take the largest s so far in place of s (Reddi, Kale and Kumar, "On the Convergence of Adam and
            Beyond", 2018).

    >>> w = Tensor([1.0, 100.0], requires_grad=True, dtype=np.float64)
    >>> optimizer = Adam([w], lr=0.5, eps=0.0)
    >>> (w * w).sum().backward()
    >>> optimizer.step()  # the first step is lr long for every weight, whatever its gradient
    >>> w
    Tensor([ 0.5, 99.5], dtype=float64, requires_grad=True)
    """

    kinds: ClassVar[Mapping[str, str]] = {"betas": "shares", "amsgrad": "flag"}

    def __init__(
        self,
        params: Params,
        lr: float = 0.001,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        amsgrad: bool = False,
    ) -> None:
        super().__init__(params, lr, weight_decay, options={"betas": betas, "eps": eps, "amsgrad": amsgrad})

    def direction(self, gradient: Array, state: State, options: Mapping[str, Any]) -> Array:
        """The mean of the gradient divided by the root of the mean of its squares."""
        beta1, beta2 = options["betas"]
        step = _count(state)
        mean = _mean(state, "mean", gradient, beta1)
        square = _mean(state, "mean_square", gradient**2, beta2)
        if options["amsgrad"]:
            square = state["max_mean_square"] = np.maximum(state.get("max_mean_square", 0), square)
        return (mean / _weight(beta1, step)) / (np.sqrt(square / _weight(beta2, step)) + options["eps"])


class AdamW(Adam):
    """Adam with weight decay that is no part of the gradient, and so is not divided: w <- w - lr (Adam's + decay w).

    Loshchilov and Hutter, "Decoupled Weight Decay Regularization", 2019.
    """

    decouples_decay = True

    def __init__(
        self,
        params: Params,
        lr: float = 0.001,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.01,
        amsgrad: bool = False,
    ) -> None:
        super().__init__(params, lr, betas, eps, weight_decay, amsgrad)


def _count(state: State) -> Array:
    """The number of this step, from 1."""
    state["step"] = state.get("step", 0) + 1
    return state["step"]  # an array, where the sum may be a plain number, with which float32 would become float64


def _mean(state: State, name: str, value: Array, beta: float) -> Array:
    """The running mean of this name, with a new value in it; it starts at 0."""
    mean = state[name] = beta * state.get(name, 0) + (1 - beta) * value
    return mean


def _weight(beta: float, step: Array) -> Array:
    """1 - beta^t, what the weights in a running mean of t values add up to.

    As expm1(t log beta): in float32 the difference 1 - 0.999 would have four digits.
    """
    return -np.expm1(step * math.log(max(beta, 1e-300)))
