"""Several arrays made one, and one made several."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tinygrad_mnist.composed import composed, plain, together
from tinygrad_mnist.tensor import Operand, Tensor

from .arithmetic import astype
from .moves import atleast_1d, atleast_2d, atleast_3d, gathered
from .shapes import concatenate, reshape


def _apart(arrays: Any) -> list[Any]:
    """The parts of a sequence of arrays; a Tensor is a sequence of its rows."""
    parts = list(arrays) if isinstance(arrays, Tensor) else together(*arrays)
    if not parts:
        raise ValueError("expected at least one array, got none")
    return parts


@composed(np.vstack)
def vstack(tup: Sequence[Operand]) -> Any:
    """Join arrays one below the other; vectors are rows."""
    return concatenate([atleast_2d(x) for x in _apart(tup)], 0)


@composed(np.hstack)
def hstack(tup: Sequence[Operand]) -> Any:
    """Join arrays side by side."""
    parts = [atleast_1d(x) for x in _apart(tup)]
    return concatenate(parts, 0 if parts[0].ndim == 1 else 1)


@composed(np.dstack)
def dstack(tup: Sequence[Operand]) -> Any:
    """Join arrays one behind the other, along the third axis."""
    return concatenate([atleast_3d(x) for x in _apart(tup)], 2)


@composed(np.column_stack)
def column_stack(tup: Sequence[Operand]) -> Any:
    """Join arrays side by side; vectors are columns."""
    return concatenate([x if x.ndim > 1 else reshape(x, (-1, 1)) for x in _apart(tup)], 1)


@composed(np.append)
def append(arr: Operand, values: Operand, axis: int | None = None) -> Any:
    """Join two arrays along an axis; with None, flat."""
    return concatenate(together(arr, values), axis)


@composed(np.insert)
def insert(arr: Operand, obj: Any, values: Operand, axis: int | None = None) -> Any:
    """An array with values put in before some places along an axis; with None, flat."""
    plain(obj)
    x, y = together(arr, values)
    if y.dtype != x.dtype and y.dtype.kind != "c":  # as NumPy does, which writes them into an array like x
        y = astype(y, x.dtype)
    return gathered([x, y], lambda x, y: np.insert(x, obj, y, axis))


@composed(np.block)
def block(arrays: Any) -> Any:
    """A matrix put together from blocks: nested lists, of which the innermost are joined along the last axis."""
    leaves = together(*_leaves(arrays))

    def joined(*numbered: Any) -> Any:
        rest = iter(numbered)

        def filled(part: Any) -> Any:
            return [filled(item) for item in part] if isinstance(part, list) else next(rest)

        return np.block(filled(arrays))

    return gathered(leaves, joined)


def _leaves(arrays: Any) -> list[Any]:
    return [leaf for part in arrays for leaf in _leaves(part)] if isinstance(arrays, list) else [arrays]


def _cut(ary: Any, function: Callable[..., list[Any]], indices_or_sections: Any, axis: int) -> list[Any]:
    """The parts of an array, where NumPy's function cuts the places along the axis."""
    plain(indices_or_sections)
    axis = np.lib.array_utils.normalize_axis_index(axis, ary.ndim)
    parts = function(np.arange(ary.shape[axis]), indices_or_sections)
    return [ary[(*[slice(None)] * axis, slice(*((p[0], p[-1] + 1) if p.size else (0, 0))))] for p in parts]


@composed(np.array_split)
def array_split(ary: Any, indices_or_sections: Any, axis: int = 0) -> list[Any]:
    """A list of parts along an axis: as many as told, or cut at some places."""
    return _cut(ary, np.array_split, indices_or_sections, axis)


@composed(np.split)
def split(ary: Any, indices_or_sections: Any, axis: int = 0) -> list[Any]:
    """A list of parts along an axis: as many equal ones as told, or cut at some places."""
    return _cut(ary, np.split, indices_or_sections, axis)


def _split_along(function: Callable[..., Any], doc: str, axis: int) -> Any:
    def along(ary: Any, indices_or_sections: Any) -> list[Any]:
        plain(indices_or_sections)
        function(np.broadcast_to(0, ary.shape), indices_or_sections)  # which knows what it cannot do
        return split(ary, indices_or_sections, axis)

    along.__name__ = along.__qualname__ = function.__name__
    along.__doc__ = doc
    return composed(function)(along)


vsplit = _split_along(np.vsplit, "a list of parts, one below the other", 0)
dsplit = _split_along(np.dsplit, "a list of parts along the third axis", 2)


@composed(np.hsplit)
def hsplit(ary: Any, indices_or_sections: Any) -> list[Any]:
    """A list of parts, side by side."""
    return split(ary, indices_or_sections, 0 if ary.ndim == 1 else 1)


@composed(getattr(np, "unstack", None))
def unstack(x: Any, *, axis: int = 0) -> tuple[Any, ...]:
    """The parts along an axis, without it: the reverse of stack."""
    places = np.lib.array_utils.normalize_axis_index(axis, x.ndim)
    return tuple(x[(*[slice(None)] * places, i)] for i in range(x.shape[axis]))
