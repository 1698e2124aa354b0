"""Keyword arguments that NumPy's functions take and the table's rows do not: `where=`, `initial=`, and a few more.

Each function here is NumPy's with those arguments, made of the table's. `interop.py` calls it only where one is given:
to NumPy's function, to the table's, or to a method of a Tensor.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from . import ops
from .convert import described
from .op import NUMPY
from .ops.reductions import degrees_off
from .tensor import Tensor, values

WITH_KEYWORDS: dict[Callable[..., Any], Callable[..., Any]] = {}
"""For functions of the table what serves when NumPy's are given arguments that they do not take.

Not for NumPy's functions, as a user's own row may serve one of those.
"""


def _serves(*numpy: Any) -> Callable[[Any], Any]:
    def enter(function: Any) -> Any:
        WITH_KEYWORDS.update((NUMPY[served], function) for served in numpy)
        return function

    return enter


def _mask(a: Any, where: Any) -> Any:
    """`where=` as booleans of the shape of a; a Tensor's stay an op, which a compiled step computes anew."""
    mask = where if isinstance(where, Tensor) else np.asarray(where)
    if mask.dtype != bool:
        raise TypeError(f"expected where= as booleans, got {described(where)}; compare first, as in t > 0")
    return ops.broadcast_to(mask, a.shape)


@_serves(np.sum)
def _sum(a: Any, axis: Any = None, keepdims: bool = False, initial: Any = 0, where: Any = True) -> Any:
    return ops.sum(ops.where(_mask(a, where), a, 0), axis, keepdims) + initial


@_serves(np.prod)
def _prod(a: Any, axis: Any = None, keepdims: bool = False, initial: Any = 1, where: Any = True) -> Any:
    return ops.prod(ops.where(_mask(a, where), a, 1), axis, keepdims) * initial


def _extremum(extremum: Callable[..., Any], of_two: Callable[..., Any]) -> Callable[..., Any]:
    def with_keywords(a: Any, axis: Any = None, keepdims: bool = False, initial: Any = None, where: Any = True) -> Any:
        if initial is None:
            raise ValueError("expected initial= beside where=, which is the answer where nothing is chosen")
        if not a.size:  # then it is the answer everywhere
            over: Any = np.sum(values(a), axis, keepdims=keepdims)
            return ops.broadcast_to(ops.astype(Tensor(np.asarray(values(initial))), a.dtype), over.shape)
        return of_two(extremum(ops.where(_mask(a, where), a, initial), axis, keepdims), initial)

    return with_keywords


_max = _serves(np.max)(_extremum(ops.max, ops.maximum))
_min = _serves(np.min)(_extremum(ops.min, ops.minimum))


def _count(a: Any, axis: Any, keepdims: bool, where: Any) -> Any:
    dtype = a.dtype if a.dtype.kind == "f" else np.dtype(np.float64)
    return ops.astype(ops.sum(_mask(a, where), axis, keepdims), dtype)


@_serves(np.mean)
def _mean(a: Any, axis: Any = None, keepdims: bool = False, where: Any = True) -> Any:
    return _sum(a, axis, keepdims, where=where) / _count(a, axis, keepdims, where)


@_serves(np.var)
def _var(
    a: Any,
    axis: Any = None,
    keepdims: bool = False,
    ddof: float = 0,
    correction: float | None = None,
    where: Any = True,
    mean: Any = None,
) -> Any:
    deviations = ops.where(_mask(a, where), a - (_mean(a, axis, True, where) if mean is None else mean), 0)
    degrees = _count(a, axis, keepdims, where) - degrees_off(ddof, correction)
    return ops.sum(deviations * deviations, axis, keepdims) / ops.maximum(degrees, 0)


@_serves(np.std)
@functools.wraps(_var)
def _std(a: Any, *arguments: Any, **keywords: Any) -> Any:
    variance = _var(a, *arguments, **keywords)
    return ops.where(variance == 0, 0, ops.sqrt(ops.where(variance == 0, 1, variance)))  # as ops.std, 0 at the kink


def _without_nan(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def with_keywords(a: Any, *arguments: Any, where: Any = True, **keywords: Any) -> Any:
        return function(a, *arguments, where=_mask(a, where) & (a == a), **keywords)

    return with_keywords


for _numpy, _function in (
    (np.nansum, _sum), (np.nanprod, _prod), (np.nanmax, _max), (np.nanmin, _min),
    (np.nanmean, _mean), (np.nanvar, _var), (np.nanstd, _std),
):  # fmt: skip
    _serves(_numpy)(_without_nan(_function))


@_serves(np.reshape)
def _reshape(a: Any, shape: Any, order: str = "C", copy: bool | None = None) -> Any:
    if order not in ("C", "F") or copy is False:
        raise ValueError(f"expected order 'C' or 'F' and copy None or True, got {order!r} and {copy!r}")
    a = ops.copy(a) if copy else a
    if order == "C":
        return ops.reshape(a, shape)
    backwards = tuple(reversed(shape)) if isinstance(shape, tuple | list) else shape
    return ops.transpose(ops.reshape(ops.transpose(a), backwards))


@_serves(np.take)
def _take(a: Any, indices: Any, axis: int | None = None, mode: str = "raise") -> Any:
    size = a.size if axis is None else a.shape[axis]
    indices = indices if isinstance(indices, Tensor) else np.asarray(indices)
    if mode == "raise":
        return ops.take(a, indices, axis)
    if mode not in ("clip", "wrap"):
        raise ValueError(f"expected mode 'raise', 'clip' or 'wrap', got {mode!r}")
    return ops.take(a, np.clip(indices, 0, size - 1) if mode == "clip" else indices % size, axis)


def _astype(x: Any, dtype: Any, copy: bool = True) -> Any:
    return ops.astype(x, dtype=dtype)  # `copy` False allows the array itself, and asks for nothing


WITH_KEYWORDS[ops.astype] = _astype


def _mirrored(a: Any, hermitian: bool) -> Any:
    """Symmetric matrices, of which NumPy reads the lower triangle alone."""
    return ops.tril(a) + ops.swapaxes(ops.tril(a, -1), -1, -2) if hermitian else a


@_serves(np.linalg.pinv)
def _pinv(a: Any, rcond: Any = None, hermitian: bool = False, *, rtol: Any = None) -> Any:
    return ops.pinv(_mirrored(a, hermitian), rcond, rtol=rtol)


@_serves(np.linalg.svd)
def _svd(a: Any, full_matrices: bool = True, compute_uv: bool = True, hermitian: bool = False) -> Any:
    return ops.svd(_mirrored(a, hermitian), full_matrices, compute_uv)


def _chosen(a: Any, q: Any, axis: Any, method: str, keepdims: bool, weights: Any, quantile: Any) -> Any:
    """The elements at weighted quantiles: NumPy is asked which of the elements in order they are."""
    if isinstance(weights, Tensor):
        raise TypeError("weights= say which elements are taken, and have no gradient; pass weights.numpy()")
    x, along = (ops.reshape(a, -1), 0) if axis is None else (a, axis)
    if not isinstance(along, int | np.integer):
        raise TypeError(f"expected one axis, or none, beside weights=, got {axis!r}")
    along, array, weights = int(along), values(x), np.asarray(weights)
    if np.isnan(array).any():
        raise ValueError("expected no NaN beside weights=, whose place in the order is unknown")
    order = np.argsort(array, along, kind="stable")
    beside = weights.ravel() if axis is None else weights
    exact = array.dtype if array.dtype.kind == "f" and array.dtype.itemsize > 2 else np.float64  # NumPy's for q too
    ranks = np.argsort(order, along, kind="stable").astype(exact)
    places = quantile(ranks, values(q), along, weights=beside, method=method, keepdims=True).astype(np.intp)
    ordered = ops.take_along_axis(x, order, along)
    found = [ops.take_along_axis(ordered, place, along) for place in places.reshape(-1, *places.shape[np.ndim(q) :])]
    shape = np.shape(quantile(array, values(q), along, weights=beside, method=method))
    if keepdims:
        shape = (*np.shape(q), *([1] * a.ndim if axis is None else places.shape[np.ndim(q) :]))
    return ops.reshape(ops.stack(found), shape)


def _weighted(quantile: Callable[..., Any]) -> Callable[..., Any]:
    def with_weights(
        a: Any, q: Any, axis: Any = None, keepdims: bool = False, method: str = "linear", weights: Any = None
    ) -> Any:
        if method != "inverted_cdf":
            raise ValueError(f"expected method='inverted_cdf' beside weights=, the only one of NumPy's, got {method!r}")
        return _chosen(a, q, axis, method, keepdims, weights, quantile)

    return with_weights


for _quantile in (np.quantile, np.percentile):
    _serves(_quantile)(_weighted(_quantile))
