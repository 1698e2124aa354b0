"""Reductions over an axis, several (a tuple) or all (None)."""

from __future__ import annotations

import builtins
import math
from typing import Any

import numpy as np

from tinygrad_mnist.op import OpFunction, unary
from tinygrad_mnist.tensor import Array

from .choices import chosen, where
from .elementary import exp, floating
from .scans import product_of_others
from .shapes import broadcast_to


def _aligned(array: Any, x: Any, axis: Any, keepdims: bool) -> Any:
    """A result of reducing x, with the reduced axes kept as axes of size 1 so that it broadcasts against x."""
    if keepdims or axis is None:
        return array
    reduced = {a % builtins.max(x.ndim, 1) for a in (axis if isinstance(axis, tuple) else (axis,))}
    return array.reshape(tuple(1 if i in reduced else n for i, n in enumerate(x.shape)))


def _share(out: Any, x: Any) -> float:
    """1 / n, where each mean is of n elements."""
    return out.size / x.size if x.size else 1.0


def _extremum_dx(g: Any, out: Any, x: Any, axis: Any, keepdims: bool) -> Any:
    taken = chosen(x, _aligned(out, x, axis, keepdims))
    return where(taken, _aligned(g, x, axis, keepdims) / sum(taken, axis, True), 0)


def degrees_off(ddof: float, correction: float | None) -> float:
    """How much is taken off the count, which the Array API calls the correction."""
    if ddof != 0 and correction is not None:
        raise ValueError("expected ddof or correction, which are one, got both")
    return ddof if correction is None else correction


def _twice_by_degrees(x: Any, out: Any, ddof: float, correction: float | None) -> float:
    """2 / (n - ddof), where each variance is of n elements."""
    degrees = x.size / out.size - degrees_off(ddof, correction) if out.size else 0
    return 2 / degrees if degrees > 0 else math.nan


def _top(x: Array, axis: Any) -> Array:
    """The maximum, which is subtracted before exp so that nothing overflows; 0 instead of an infinite one, or none."""
    if not x.size:
        return np.sum(x, axis, keepdims=True)
    top = np.max(x, axis, keepdims=True)
    return np.where(np.isfinite(top), top, 0)


def _logsumexp(x: Array, axis: Any = None, keepdims: bool = False) -> Array:
    x = floating(x)
    top = _top(x, axis)
    total = np.sum(np.exp(x - top), axis, keepdims=True)  # 0 where all are -inf, or there are none
    result = np.where(total == 0, -np.inf, np.log(np.where(total == 0, 1, total))) + top
    return result if keepdims else np.squeeze(result, axis)


def _softmax(x: Array, axis: Any = -1) -> Array:
    x = floating(x)
    powers = np.exp(x - _top(x, axis))
    return powers / np.sum(powers, axis, keepdims=True)


def _log_softmax(x: Array, axis: Any = -1) -> Array:
    # x - logsumexp(x) would lose the digits of ln Σ when x is large: at 10^4 in float32 all but three.
    x = floating(x)
    shifted = x - _top(x, axis)
    if not x.size:
        return shifted
    return shifted - np.log(np.sum(np.exp(shifted), axis, keepdims=True))


# fmt: off
sum = unary("sum", lambda x, axis=None, keepdims=False: np.add.reduce(x, axis, keepdims=keepdims),
            lambda g, out, x, axis, keepdims: broadcast_to(_aligned(g, x, axis, keepdims), x.shape),
            numpy=(np.sum,), sign="Σ", domain=None, doc="the sum over the axes")
mean = unary("mean", lambda x, axis=None, keepdims=False: np.mean(x, axis, keepdims=keepdims),
             lambda g, out, x, axis, keepdims: broadcast_to(_aligned(g, x, axis, keepdims) * _share(out, x), x.shape),
             numpy=(np.mean,), domain=None, doc="the mean over the axes")
max = unary("max", lambda x, axis=None, keepdims=False: np.max(x, axis, keepdims=keepdims),
            _extremum_dx,
            numpy=(np.max, np.amax), domain=None,
            doc="the largest over the axes; ties split the gradient equally, and a NaN gets it")
min = unary("min", lambda x, axis=None, keepdims=False: np.min(x, axis, keepdims=keepdims),
            _extremum_dx,
            numpy=(np.min, np.amin), domain=None,
            doc="the smallest over the axes; ties split the gradient equally, and a NaN gets it")
prod = unary("prod", lambda x, axis=None, keepdims=False: np.prod(x, axis, keepdims=keepdims),
             lambda g, out, x, axis, keepdims: _aligned(g, x, axis, keepdims) * product_of_others(x, axis),
             numpy=(np.prod,), sign="Π", domain=None,
             doc="the product over the axes; its derivatives are right at 0 too")
var = unary("var", lambda x, axis=None, keepdims=False, ddof=0, correction=None:
                np.var(x, axis, ddof=degrees_off(ddof, correction), keepdims=keepdims),
            lambda g, out, x, axis, keepdims, ddof, correction:
                _aligned(g, x, axis, keepdims)
                * (x - mean(x, axis, True)) * _twice_by_degrees(x, out, ddof, correction),
            numpy=(np.var,), domain=None,
            doc="the variance over the axes, Σ (x - mean)² / (n - ddof); `correction` is `ddof`")
std = unary("std", lambda x, axis=None, keepdims=False, ddof=0, correction=None:
                np.std(x, axis, ddof=degrees_off(ddof, correction), keepdims=keepdims),
            lambda g, out, x, axis, keepdims, ddof, correction:
                _aligned(where(out == 0, 0, g / where(out == 0, 1, out)), x, axis, keepdims)
                * (x - mean(x, axis, True)) * (_twice_by_degrees(x, out, ddof, correction) / 2),
            numpy=(np.std,), domain=None, doc="√var over the axes; where all elements are equal its derivatives are 0")
logsumexp = unary("logsumexp", _logsumexp,
                  lambda g, out, x, axis, keepdims: _aligned(g, x, axis, keepdims) * softmax(x, axis),
                  domain=None, doc="ln Σ e^x over the axes, right for large x too; of nothing ln 0 = -inf")
softmax: OpFunction = unary("softmax", _softmax,
                lambda g, out, x, axis: out * (g - sum(g * out, axis, True)),
                domain=None, doc="e^x / Σ e^x along the axis")
log_softmax = unary("log_softmax", _log_softmax,
                    lambda g, out, x, axis: g - exp(out) * sum(g, axis, True),
                    domain=None, doc="ln(e^x / Σ e^x) along the axis")
