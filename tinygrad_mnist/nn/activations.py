"""Functions between layers, and as layers: elementwise, without parameters."""

from __future__ import annotations

import math
from collections.abc import Callable
from numbers import Number
from typing import Any

import numpy as np

from tinygrad_mnist import ops
from tinygrad_mnist.convert import as_array, in_one_line, is_real
from tinygrad_mnist.op import unary
from tinygrad_mnist.ops.elementary import floating
from tinygrad_mnist.tensor import Array, Tensor

from .module import Module

_erf = np.frompyfunc(math.erf, 1, 1)


def _erf_of(x: Array) -> Array:
    # NumPy has no erf; Python's, element by element, takes 200 ns, where tanh takes 4.
    x = floating(x)
    return np.asarray(_erf(x), x.dtype)


erf = unary(
    "erf",
    _erf_of,
    lambda g, out, x: g * (2 / math.sqrt(math.pi)) * ops.exp(-x * x),
    doc="the error function, 2/√π ∫₀ˣ e^-t² dt",
)


def gelu(x: Any, approximate: str = "none") -> Any:
    """X Φ(x), with the probability Φ(x) = (1 + erf(x / √2)) / 2 that a number from N(0, 1) is below x.

    Hendrycks and Gimpel, 2016. With approximate="tanh", x (1 + tanh(√(2/π) (x + 0.044715 x³))) / 2, which differs from
    it by less than 0.0005, takes 7 ns an element in place of 200: NumPy has a tanh, but no erf.

    >>> gelu(np.array([-1.0, 0.0, 1.0])).round(4), gelu(np.array([-1.0, 0.0, 1.0]), "tanh").round(4)
    (array([-0.1587,  0.    ,  0.8413]), array([-0.1588,  0.    ,  0.8412]))
    """
    if not isinstance(x, Tensor | np.ndarray | Number):
        x = as_array(x, None)
    if approximate == "none":
        return x * (0.5 * (1 + erf(x * math.sqrt(0.5))))
    if approximate == "tanh":
        return x * (0.5 * (1 + ops.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * (x * x * x)))))
    raise ValueError(f"gelu: expected approximate='none' or 'tanh', got {approximate!r}")


def silu(x: Any) -> Any:
    """X σ(x), also called swish: Elfwing, Uchibe and Doya, 2017.

    >>> silu(np.array([-1.0, 0.0, 1.0])).round(4)
    array([-0.2689,  0.    ,  0.7311])
    """
    return x * ops.sigmoid(x)


class _Activation(Module):
    """A function as a layer without parameters."""

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


class SiLU(_Activation):
    """x σ(x): see `silu`."""

    function = silu


class Softplus(_Activation):
    """ln(1 + e^x)."""

    function = ops.softplus


class Softmax(_Activation):
    """e^x / Σ e^x along the last axis."""

    function = ops.softmax


class LogSoftmax(_Activation):
    """ln(e^x / Σ e^x) along the last axis."""

    function = ops.log_softmax


class LeakyReLU(Module):
    """x for x > 0, else slope x."""

    def __init__(self, slope: float = 0.01) -> None:
        if not is_real(slope):
            raise TypeError(f"LeakyReLU: expected a number as slope, got {in_one_line(slope)}")
        self.slope = slope

    def forward(self, x: Any) -> Any:
        """leaky_relu(x)."""
        return ops.leaky_relu(x, slope=self.slope)


class GELU(Module):
    """x Φ(x), or with approximate="tanh" nearly that, many times as fast: see `gelu`."""

    def __init__(self, approximate: str = "none") -> None:
        gelu(0.0, approximate)  # refuses other names
        self.approximate = approximate

    def forward(self, x: Any) -> Any:
        """The function, elementwise."""
        return gelu(x, self.approximate)
