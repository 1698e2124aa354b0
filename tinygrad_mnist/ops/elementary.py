"""Functions of one number, and powers."""

from __future__ import annotations

import functools
import math
import operator
from typing import Any

import numpy as np

from tinygrad_mnist.op import POSITIVE, REALS, binary, unary
from tinygrad_mnist.tensor import Array, Tensor

from .choices import where

# fmt: off
exp = unary("exp", np.exp,
            lambda g, out, x: g * out,
            c="EXP({x})", doc="e^x")
log = unary("log", np.log,
            lambda g, out, x: g / x,
            sign="ln", domain=(POSITIVE,), c="LOG({x})", doc="ln x, for x > 0")
sqrt = unary("sqrt", np.sqrt,
             lambda g, out, x: g * 0.5 / out,
             sign="√", domain=(POSITIVE,), c="SQRT({x})", doc="√x; its derivative at 0 is infinite")
tanh = unary("tanh", np.tanh,
             lambda g, out, x: g * (1 - out * out),
             c="TANH({x})", doc="tanh x")


_ARRAYS = (np.ndarray, Tensor, np.inexact)  # made once: writing them with | below would take 0.2 µs at each call


def floating(x: Any) -> Any:
    """x, with integers as float64: unsigned ones cannot be negated."""
    return x if isinstance(x, _ARRAYS) and x.dtype.kind in "fc" else np.asarray(x).astype(float, casting="same_kind")


@functools.cache
def _largest_exponent(dtype: np.dtype[Any]) -> Any:
    """Up to which x, to two decimals, e^x is finite: 88.72 in float32."""
    return dtype.type(math.floor(100 * float(np.log(np.longdouble(np.finfo(dtype).max)))) / 100)


def _sigmoid(x: Array) -> Array:
    # Where e^-x would overflow the result is 0, and the exponent is held, so that NumPy's error state is left alone.
    # The form with tanh would lose all digits at -20 in float32.
    x = floating(x)
    limit = _largest_exponent(x.dtype)
    return (x > -limit).astype(x.dtype) / (1 + np.exp(np.minimum(-x, limit)))  # NumPy would take 2 µs to cast it


sigmoid = unary("sigmoid", _sigmoid,
                lambda g, out, x: g * (out * (1 - out)),
                sign="σ", doc="1 / (1 + e^-x)")
softplus = unary("softplus", lambda x: np.logaddexp(0, x),
                 lambda g, out, x: g * sigmoid(x),
                 doc="ln(1 + e^x), right at ±1000 too")


def _pow_dx(g: Any, out: Any, x: Any, y: Any) -> Any:
    # y x^(y-1); at x = y = 0 with the exponent 0, since 0 * 0^-1 would be NaN where the derivative is 0.
    if isinstance(y, int | float):
        if y == 2:
            return g * (2 * x)
        return g * (y * x ** (y - 1 if y != 0 else 0))
    return g * (y * x ** where((x == 0) & (y == 0), 0, y - 1))


def _pow_dy(g: Any, out: Any, x: Any, y: Any) -> Any:
    # x^y ln x, for x > 0. At x = 0, y >= 0 by convention 0 (0 * ln 0 would be NaN); x < 0 has no derivative in y: NaN.
    if isinstance(x, int | float):
        return g * (out * (math.log(x) if x > 0 else 0.0 if x == 0 else math.nan))
    return g * (out * log(where(x > 0, x, where(x == 0, 1, math.nan))))


pow = binary("pow", operator.pow, _pow_dx, _pow_dy,
             numpy=(np.power,), sign="x ** y", domain=(POSITIVE, REALS), c="POW({x}, {y})", doc="x to the power of y")
