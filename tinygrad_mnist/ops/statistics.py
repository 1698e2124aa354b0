"""Averages, ranges, and reductions that leave NaN out."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_mnist.composed import composed, plain, together
from tinygrad_mnist.convert import described
from tinygrad_mnist.tensor import Operand, values

from .arithmetic import astype, copy
from .choices import maximum, where
from .elementary import sqrt
from .moves import diagonal
from .reductions import degrees_off, max, mean, min, prod, sum
from .scans import cumprod, cumsum, kept_and_reduced
from .shapes import broadcast_to, concatenate, reshape, transpose


@composed(np.average)
def average(a: Any, axis: Any = None, weights: Any = None, returned: bool = False, *, keepdims: bool = False) -> Any:
    """The mean over the axes, weighted; with `returned` the sum of the weights too. If that is 0: NaN or ±∞."""
    if weights is None:
        found = mean(a, axis, keepdims)
        total: Any = np.full(found.shape, a.size / found.size if found.size else 0, found.dtype)
    else:
        a, weights = together(a, weights)
        weights = _beside(a, axis, weights)
        total = sum(weights, axis, keepdims)
        found = sum(a * weights, axis, keepdims) / total
    return (found, broadcast_to(total, found.shape)) if returned else found


def _beside(a: Any, axis: Any, weights: Any) -> Any:
    """Weights of the axes averaged over, so that they broadcast against all of a."""
    if np.shape(weights) == a.shape:
        return weights
    if axis is None:
        raise TypeError(f"expected an axis, as a of shape {a.shape} and weights of {np.shape(weights)} differ")
    _, reduced = kept_and_reduced(a, axis)
    if np.shape(weights) != tuple(a.shape[i] for i in reduced):
        raise ValueError(f"expected weights of the shape of a along the axis, got {np.shape(weights)} for {a.shape}")
    ordered = transpose(weights, tuple(np.argsort(reduced).tolist()))
    return reshape(ordered, tuple(n if i in reduced else 1 for i, n in enumerate(a.shape)))


@composed(np.cov)
def cov(
    m: Any,
    y: Any = None,
    rowvar: bool = True,
    bias: bool = False,
    ddof: float | None = None,
    fweights: Any = None,
    aweights: Any = None,
) -> Any:
    """The covariances of variables, of which each is a row (or column) with an observation in each place.

    An observation may count several times (`fweights`, whole numbers), or have a weight (`aweights`).
    """
    if np.ndim(m) > 2 or np.ndim(y) > 2:
        raise ValueError(f"expected vectors or matrices, got shapes {np.shape(m)} and {np.shape(y)}")
    given = together(*(x for x in (m, y) if x is not None))
    x = concatenate([reshape(x, (1, x.size)) if x.ndim < 2 else x if rowvar else x.T for x in given])
    lost = (not bias) if ddof is None else ddof
    if fweights is None and aweights is None:
        deviations = x - mean(x, 1, True)
        degrees: Any = x.shape[1] - lost
        degrees = degrees if degrees > 0 else 0.0
        weighted = deviations
    else:
        weights, degrees = _weights(x, fweights, aweights, lost)
        deviations = x - sum(x * weights, 1, True) / sum(weights)
        weighted = deviations * weights
    products = weighted @ deviations.T / degrees  # NaN or ±∞, as NumPy has it
    return reshape(products, ()) if products.size == 1 else products


def _weights(x: Any, fweights: Any, aweights: Any, lost: float) -> tuple[Any, Any]:
    """The weights of the observations in the columns of x, and the degrees of freedom that they leave."""
    plain(fweights)
    counts = np.ones(x.shape[1], x.dtype) if fweights is None else np.asarray(fweights)
    if counts.shape != x.shape[1:] or (counts < 0).any() or (counts != np.round(counts)).any():
        raise ValueError(f"expected fweights that are {x.shape[1]} whole numbers >= 0, got {described(fweights)}")
    counts = counts.astype(x.dtype)
    if aweights is None:
        return counts, np.maximum(np.sum(counts) - lost, 0)
    _, given = together(x, aweights)
    if given.shape != x.shape[1:] or bool((values(given) < 0).any()):
        raise ValueError(f"expected aweights that are {x.shape[1]} numbers >= 0, got {described(aweights)}")
    weights = given * counts
    return weights, maximum(sum(weights) - lost * sum(weights * given) / sum(weights), 0)


@composed(np.corrcoef)
def corrcoef(x: Any, y: Any = None, rowvar: bool = True) -> Any:
    """The coefficients of correlation of variables, of which each is a row (or column)."""
    covariances = cov(x, y, rowvar)
    if covariances.ndim == 0:
        return covariances / covariances
    deviations = sqrt(diagonal(covariances))
    return covariances / deviations[:, None] / deviations


@composed(np.ptp)
def ptp(a: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """The largest less the smallest over the axes; ties split the gradient equally."""
    return max(a, axis, keepdims) - min(a, axis, keepdims)


@composed(np.nan_to_num)
def nan_to_num(
    x: Any, copy: bool = True, nan: Operand = 0.0, posinf: Operand | None = None, neginf: Operand | None = None
) -> Any:
    """Numbers in place of NaN and ±∞, which get no gradient: 0, and the largest there are."""
    if not copy:
        raise TypeError("expected copy=True: a Tensor is not changed in place")
    if x.dtype.kind != "f":
        return _copy(x)
    largest, lowest = float(np.finfo(x.dtype).max), float(np.finfo(x.dtype).min)
    finite = where(x == np.inf, largest if posinf is None else posinf, x)
    finite = where(x == -np.inf, lowest if neginf is None else neginf, finite)
    return where(x != x, nan, finite)


_copy = copy


def _or(a: Any, number: float) -> Any:
    """The same with a number in place of NaN, which gets no gradient."""
    return where(a == a, a, number) if a.dtype.kind == "f" else a


def _counted(a: Any, axis: Any, keepdims: bool) -> Any:
    """How many elements are no NaN."""
    counts = sum(a == a, axis, keepdims)
    return astype(counts, dtype=a.dtype) if a.dtype.kind == "f" else counts


def _unless_all(a: Any, found: Any, axis: Any, keepdims: bool) -> Any:
    """What was found; NaN where all elements are."""
    return where(_counted(a, axis, keepdims) == 0, np.nan, found) if a.dtype.kind == "f" else found


@composed(np.nansum)
def nansum(a: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """The sum over the axes without NaN."""
    return sum(_or(a, 0), axis, keepdims)


@composed(np.nanprod)
def nanprod(a: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """The product over the axes without NaN."""
    return prod(_or(a, 1), axis, keepdims)


@composed(np.nancumsum)
def nancumsum(a: Any, axis: int | None = None) -> Any:
    """The sums up to each element without NaN."""
    return cumsum(_or(a, 0), axis)


@composed(np.nancumprod)
def nancumprod(a: Any, axis: int | None = None) -> Any:
    """The products up to each element without NaN."""
    return cumprod(_or(a, 1), axis)


@composed(np.nanmax)
def nanmax(a: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """The largest over the axes without NaN; NaN where all are."""
    return _unless_all(a, max(_or(a, -np.inf), axis, keepdims), axis, keepdims)


@composed(np.nanmin)
def nanmin(a: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """The smallest over the axes without NaN; NaN where all are."""
    return _unless_all(a, min(_or(a, np.inf), axis, keepdims), axis, keepdims)


@composed(np.nanmean)
def nanmean(a: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """The mean over the axes without NaN."""
    return nansum(a, axis, keepdims) / _counted(a, axis, keepdims)


@composed(np.nanvar)
def nanvar(
    a: Any, axis: Any = None, ddof: float = 0, keepdims: bool = False, *, correction: float | None = None
) -> Any:
    """The variance over the axes without NaN."""
    deviations = a - nanmean(a, axis, True)
    deviations = where(a == a, deviations, 0)  # not where they are NaN, as they are of an infinity
    return sum(deviations * deviations, axis, keepdims) / (_counted(a, axis, keepdims) - degrees_off(ddof, correction))


@composed(np.nanstd)
def nanstd(
    a: Any, axis: Any = None, ddof: float = 0, keepdims: bool = False, *, correction: float | None = None
) -> Any:
    """√nanvar over the axes; where all elements are equal its derivatives are 0."""
    variance = nanvar(a, axis, degrees_off(ddof, correction), keepdims)
    return where(variance == 0, 0, sqrt(where(variance == 0, 1, variance)))
