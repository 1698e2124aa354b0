"""Differences of neighbours along an axis, slopes, and the area under a curve."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_index, normalize_axis_tuple

from tinygrad_mnist.composed import composed, together
from tinygrad_mnist.convert import in_one_line
from tinygrad_mnist.tensor import Array, Operand, Tensor

from .reductions import sum
from .shapes import broadcast_to, concatenate, reshape


def _between(x: Any, start: int | None, stop: int | None, axis: int) -> Any:
    """The part of x from start to stop along an axis."""
    return x[(*[slice(None)] * (axis % x.ndim), slice(start, stop))]


@composed(np.diff)
def diff(a: Any, n: int = 1, axis: int = -1, prepend: Operand | None = None, append: Operand | None = None) -> Any:
    """Each element but the first less the one before it along the axis, n times over."""
    if n < 0:
        raise ValueError(f"expected n >= 0, got {n}")
    parts = together(*(x for x in (prepend, a, append) if x is not None))
    a = parts[0 if prepend is None else 1]
    axis = normalize_axis_index(axis, a.ndim)
    if n and len(parts) > 1:
        one = (*a.shape[:axis], 1, *a.shape[axis + 1 :])
        a = concatenate([x if x.ndim else broadcast_to(x, one) for x in parts], axis)
    for _ in range(n):
        a = _between(a, 1, None, axis) - _between(a, None, -1, axis)
    return a


@composed(np.ediff1d)
def ediff1d(ary: Any, to_end: Any = None, to_begin: Any = None) -> Any:
    """Each element but the first less the one before it, flat, between others that may be given."""
    (ary,) = together(ary)
    parts = [x for x in (to_begin, diff(reshape(ary, -1)), to_end) if x is not None]
    given = [x if isinstance(x, Tensor) else np.asarray(x).astype(ary.dtype, casting="same_kind") for x in parts]
    return concatenate([reshape(x, -1) for x in given])


@composed(np.trapezoid)
def trapezoid(y: Any, x: Any = None, dx: Operand = 1.0, axis: int = -1) -> Any:
    """The area under straight lines between the points (x, y), which are dx apart if there is no x."""
    y, *given = together(y) if x is None else together(y, x)
    axis = normalize_axis_index(axis, y.ndim)
    for x in given:
        dx = diff(x, axis=axis if np.ndim(x) > 1 else 0)
        if np.ndim(x) == 1:
            dx = reshape(dx, (-1, *[1] * (y.ndim - 1 - axis)))
    return sum(dx * (_between(y, 1, None, axis) + _between(y, None, -1, axis)) / 2.0, axis)


@composed(np.gradient)
def gradient(f: Any, *varargs: Any, axis: Any = None, edge_order: int = 1) -> Any:
    """The slopes along each axis by central differences; at the borders by one-sided ones of order 1 or 2.

    The distances are numbers, one for all axes or one each, or vectors of coordinates.
    """
    if not f.ndim:
        raise ValueError("expected at least one axis, got shape ()")
    axes = normalize_axis_tuple(range(f.ndim) if axis is None else axis, f.ndim)
    spacings = varargs * len(axes) if len(varargs) == 1 else varargs or (1.0,) * len(axes)
    if len(spacings) != len(axes) or edge_order not in (1, 2):
        raise TypeError(f"expected one distance, or one for each of {len(axes)} axes, and edge_order 1 or 2")
    slopes = tuple(_slopes(f, i, _distances(h, f.shape[i]), edge_order) for i, h in zip(axes, spacings, strict=True))
    return slopes[0] if len(slopes) == 1 else slopes


def _distances(h: Any, n: int) -> Array:
    """The distances of n points from one to the next."""
    if isinstance(h, Tensor) or np.ndim(h) > 1 or (np.ndim(h) == 1 and len(h) != n):
        raise TypeError(f"expected numbers or {n} coordinates as distances, got {in_one_line(h)}; pass t.numpy()")
    return np.diff(np.asarray(h, float)) if np.ndim(h) else np.full(max(n - 1, 0), float(h))


def _slopes(f: Any, axis: int, distances: Array, edge_order: int) -> Any:
    if f.shape[axis] < edge_order + 1:
        raise ValueError(f"expected at least {edge_order + 1} elements along the axes, got shape {f.shape}")
    column = distances.astype(f.dtype if f.dtype.kind == "f" else float).reshape(-1, *[1] * (f.ndim - 1 - axis))
    steps = diff(f, axis=axis) / column  # the slope between each two points

    def bent(i: int, j: int) -> Any:
        """The slope at an end of a parabola through three points: that of step i, away from step j."""
        near, far = _between(steps, i, i + 1 or None, axis), _between(steps, j, j + 1 or None, axis)
        return near + (near - far) * (column[i] / (column[i] + column[j]))

    left, right = column[:-1], column[1:]
    inner = (_between(steps, None, -1, axis) * right + _between(steps, 1, None, axis) * left) / (left + right)
    if edge_order == 2:
        return concatenate([bent(0, 1), inner, bent(-1, -2)], axis)
    return concatenate([_between(steps, 0, 1, axis), inner, _between(steps, -1, None, axis)], axis)
