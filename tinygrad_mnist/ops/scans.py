"""Running sums and products along an axis, and the products of others."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_tuple

from tinygrad_mnist.composed import composed
from tinygrad_mnist.op import OpFunction, unary

from .shapes import pad


def _last(x: Any, axis: int) -> Any:
    """The same with an axis and the last one exchanged."""
    order = list(range(x.ndim))
    order[axis], order[-1] = order[-1], order[axis]
    return x.transpose(tuple(order))


def _moved(x: Any, left: int, right: int, value: float = 0) -> Any:
    """The same with so many more of a value on the sides of the last axis, and fewer on the other sides."""
    padded = pad(x, [(0, 0)] * (x.ndim - 1) + [(left, right)], constant_values=value)
    return padded[..., right : right + x.shape[-1]]


def _reversed(x: Any, axis: int | None) -> Any:
    if x.ndim == 1:  # what is flat has been flattened, if there is no axis
        return x[::-1]
    return _last(_last(x, axis or 0)[..., ::-1], axis or 0)


def _cumprod_dx(g: Any, out: Any, x: Any, axis: int | None) -> Any:
    """Σ over k >= i of g_k and the product of all x_j up to k but x_i, without division: right at zeros.

    It is what comes before i, times h_i = g_i + x_(i+1) h_(i+1). The sums h reach 1, 2, 4, ... elements far.
    """
    if axis is None or x.ndim == 0:
        return _cumprod_dx(g, out, x.reshape(-1), 0).reshape(x.shape)
    x, h = _last(x, axis), _last(g, axis)
    before, factors, reach = _moved(cumprod(x, axis=-1), 1, 0, 1), _moved(x, 0, 1), 1
    while reach < x.shape[-1]:
        h = h + factors * _moved(h, 0, reach)
        factors = factors * _moved(factors, 0, reach)
        reach *= 2
    return _last(before * h, axis)


def kept_and_reduced(x: Any, axis: Any) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The axes that a reduction leaves, and those that it is over."""
    reduced = () if x.ndim == 0 else normalize_axis_tuple(range(x.ndim) if axis is None else axis, x.ndim)
    return tuple(i for i in range(x.ndim) if i not in reduced), reduced


def rows(x: Any, axis: Any) -> Any:
    """The same with the axes of a reduction as one axis, the last."""
    kept, reduced = kept_and_reduced(x, axis)
    size = math.prod(x.shape[i] for i in reduced)
    return x.transpose(kept + reduced).reshape((*(x.shape[i] for i in kept), size))


def product_of_others(x: Any, axis: Any) -> Any:
    """For each element the product of the others along the axes of a reduction, without division: right at zeros."""
    kept, reduced = kept_and_reduced(x, axis)
    order, flat = kept + reduced, rows(x, axis)
    before, after = (_moved(cumprod(part, axis=-1), 1, 0, 1) for part in (flat, flat[..., ::-1]))
    others = (before * after[..., ::-1]).reshape(tuple(x.shape[i] for i in order))
    return others.transpose(tuple(np.argsort(order).tolist()))


# fmt: off
cumsum: OpFunction = unary("cumsum", lambda x, axis=None: np.cumsum(x, axis),
               lambda g, out, x, axis: _reversed(cumsum(_reversed(g, axis), axis), axis).reshape(x.shape),
               numpy=(np.cumsum,), sign="Σ≤", domain=None, doc="the sums up to each element along the axis, or flat")
cumprod = unary("cumprod", lambda x, axis=None: np.cumprod(x, axis),
                _cumprod_dx,
                numpy=(np.cumprod,), sign="Π≤", domain=None,
                doc="the products up to each element along the axis, or flat; its derivatives are right at 0 too")
# fmt: on


@composed(getattr(np, "cumulative_sum", None))
def cumulative_sum(x: Any, *, axis: int | None = None, include_initial: bool = False) -> Any:
    """The sums up to each element along an axis, which a vector need not name; if wished with the 0 before them."""
    return _with_initial(cumsum, x, axis, include_initial, 0)


@composed(getattr(np, "cumulative_prod", None))
def cumulative_prod(x: Any, *, axis: int | None = None, include_initial: bool = False) -> Any:
    """The products up to each element along an axis, which a vector need not name; if wished with the 1 before them."""
    return _with_initial(cumprod, x, axis, include_initial, 1)


def _with_initial(scan: Any, x: Any, axis: int | None, include_initial: bool, initial: float) -> Any:
    x = x.reshape(1) if x.ndim == 0 else x
    if axis is None and x.ndim != 1:
        raise ValueError(f"expected an axis for shape {x.shape}")
    scanned = _last(scan(x, axis or 0), axis or 0)
    if include_initial:
        scanned = pad(scanned, [(0, 0)] * (x.ndim - 1) + [(1, 0)], constant_values=initial)
    return _last(scanned, axis or 0)
