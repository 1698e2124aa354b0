"""Elements by their places: x[index], and the reverse."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tinygrad_mnist.convert import in_one_line
from tinygrad_mnist.op import OpFunction, publish, variadic
from tinygrad_mnist.tensor import Array, Tensor


def _getitem(x: Array, *arrays: Array, index: tuple[Any, ...]) -> Array:
    return x[_filled(index, arrays)]


def _scatter(x: Array, *arrays: Array, index: tuple[Any, ...], shape: tuple[int, ...]) -> Array:
    result = np.zeros(shape, x.dtype)
    if arrays:
        np.add.at(result, _filled(index, arrays), x)
    else:
        result[index] = x
    return result


class _Array:
    """The place of an array in an index, which is an input of the op: x[[0, 0], 1:] has the index (ARRAY, 1:)."""

    def __repr__(self) -> str:
        return "array"


ARRAY = _Array()


def _filled(index: tuple[Any, ...], arrays: Sequence[Any]) -> tuple[Any, ...]:
    """The index with the arrays put back into their places."""
    places = iter(arrays)
    return tuple(next(places) if part is ARRAY else part for part in index)


# fmt: off
_take = variadic("getitem", _getitem,
                 lambda g, out, x, *arrays, position, index: scatter(g, *arrays, index=index, shape=x.shape),
                 sign="[ ]", view=True, doc="x[index]")
scatter: OpFunction = variadic("scatter", _scatter,
                   lambda g, out, x, *arrays, position, index, shape: _take(g, *arrays, index=index),
                   doc="zeros of a shape with x added at the index, the reverse of getitem; repeated places add up")
# fmt: on


def getitem(x: Tensor, index: Any) -> Tensor:
    """x[index]: slices, integers, None, integer and boolean arrays; a place that is taken twice gets both gradients."""
    parts, arrays = [], []
    for part in index if isinstance(index, tuple) else (index,):
        if not (part is None or part is ... or isinstance(part, slice | int | np.integer | np.bool)):
            if not isinstance(part, np.ndarray | Tensor):  # a list, or whatever else NumPy takes for one
                part = np.asarray(part, dtype=int if isinstance(part, list | tuple) and np.size(part) == 0 else None)
            if part.dtype.kind not in "iub":
                raise IndexError(
                    "getitem: expected integers, slices, None, or arrays of integers or booleans, "
                    f"got {in_one_line(part)}"
                )
            arrays.append(part)
            part = ARRAY
        parts.append(part)
    return _take(x, *arrays, index=tuple(parts))


publish(getitem)
