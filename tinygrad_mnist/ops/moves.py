"""Elements in other places: what NumPy's functions do that compute nothing, as they do it.

They are not written again, they are asked. A function that reorders axes is given an array whose sizes are the numbers
of its axes: the shape of what it returns is the new order. A function that moves elements is given their numbers: what
it returns tells where each came from.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tinygrad_mnist.composed import composed, plain, together
from tinygrad_mnist.convert import described
from tinygrad_mnist.op import OpFunction, unary
from tinygrad_mnist.tensor import Array, Operand, Tensor

from .arithmetic import copy
from .choices import where
from .indexing import ARRAY, getitem, scatter
from .reductions import sum as sum_over
from .shapes import broadcast_to, concatenate, reshape, transpose
from .shapes import pad as bordered


def _served(function: Callable[..., Any], doc: str, moved: Callable[..., Any]) -> Any:
    """A function with the name and the parameters of one of NumPy's, which it serves."""

    def move(x: Any, *args: Any, **params: Any) -> Any:
        plain(*args, *params.values())
        return moved(*together(x), *args, **params)

    move.__name__ = move.__qualname__ = function.__name__
    move.__doc__, move.__module__ = doc, __name__
    first, *others = inspect.signature(function).parameters.values()
    parameters = [first.replace(annotation="Operand"), *(p.replace(annotation="Any") for p in others)]
    either = inspect.Parameter.POSITIONAL_OR_KEYWORD
    move.__signature__ = inspect.Signature([p.replace(kind=either) for p in parameters])  # type: ignore[attr-defined]
    return composed(function)(move)


def _reordered(function: Callable[..., Any], doc: str) -> Any:
    def moved(x: Any, *args: Any, **params: Any) -> Any:
        return transpose(x, function(np.empty(range(x.ndim)), *args, **params).shape)

    return _served(function, doc, moved)


def _reshaped(function: Callable[..., Any], doc: str) -> Any:
    def moved(x: Any, *args: Any, **params: Any) -> Any:
        return reshape(x, function(np.broadcast_to(0, x.shape), *args, **params).shape)

    return _served(function, doc, moved)


def _rearranged(function: Callable[..., Any], doc: str) -> Any:
    return _served(function, doc, lambda x, *args, **params: gathered([x], lambda x: function(x, *args, **params)))


def gathered(arrays: Sequence[Any], function: Callable[..., Array]) -> Any:
    """What a function makes of arrays that only moves their elements, and zeros: it moves their numbers, from 1 on."""
    ends = np.cumsum([x.size for x in arrays])
    numbered = [np.arange(1 + end - x.size, 1 + end).reshape(x.shape) for x, end in zip(arrays, ends, strict=True)]
    places = function(*numbered)
    flat = [reshape(x, -1) for x in arrays]
    whole = flat[0] if len(flat) == 1 else concatenate(flat)
    return whole[places - 1] if places.all() else bordered(whole, (1, 0))[places]


def _to_diagonal(g: Any, shape: tuple[int, ...], offset: int, axis1: int, axis2: int) -> Any:
    size = int(np.prod(shape))
    places = np.diagonal(np.arange(size).reshape(shape), offset, axis1, axis2)
    return scatter(g, places, index=(ARRAY,), shape=(size,)).reshape(shape)


# fmt: off
swapaxes = _reordered(np.swapaxes, "two axes exchanged")
moveaxis = _reordered(np.moveaxis, "axes moved to other places, the others in their order")
rollaxis = _reordered(np.rollaxis, "an axis moved to before another")
matrix_transpose = _reordered(np.matrix_transpose, "the last two axes exchanged")
squeeze = _reshaped(np.squeeze, "without axes of size 1")
expand_dims = _reshaped(np.expand_dims, "with new axes of size 1")
tile = _rearranged(np.tile, "repeated side by side, as tiles are laid")
repeat = _rearranged(np.repeat, "every element repeated")
roll = _rearranged(np.roll, "shifted along axes; what leaves at the end comes in at the beginning")
diagflat = _rearranged(np.diagflat, "a matrix with these numbers on a diagonal, and zeros")
delete = _rearranged(np.delete, "without the elements at some places")
resize = _rearranged(np.resize, "the elements over and over again, until a shape is filled")
diagonal: OpFunction = unary("diagonal", lambda x, offset=0, axis1=0, axis2=1: np.diagonal(x, offset, axis1, axis2),
                 lambda g, out, x, offset, axis1, axis2: _to_diagonal(g, x.shape, offset, axis1, axis2),
                 numpy=(np.diagonal,), view=True, domain=None, doc="a diagonal of matrices, as the last axis")
# fmt: on


@composed(np.ravel)
def ravel(a: Operand, order: str = "C") -> Any:
    """All elements in one axis, row by row ("C") or column by column ("F")."""
    if order not in ("C", "F"):
        raise ValueError(f"expected order 'C' or 'F', got {order!r}, which depends on the memory; transpose it first")
    return reshape(a if order == "C" else transpose(a), -1)


@composed(None)
def flatten(a: Operand, order: str = "C") -> Any:
    """All elements in one axis, in memory of their own, row by row ("C") or column by column ("F")."""
    return copy(ravel(a, order))


@composed(np.flip)
def flip(m: Any, axis: Any = None) -> Any:
    """The elements along axes in the opposite order."""
    axes = np.lib.array_utils.normalize_axis_tuple(range(m.ndim) if axis is None else axis, m.ndim, "axis")
    return m[tuple(slice(None, None, -1 if i in axes else None) for i in range(m.ndim))]


@composed(np.fliplr)
def fliplr(m: Any) -> Any:
    """The elements of each row in the opposite order."""
    if m.ndim < 2:
        raise ValueError(f"expected at least 2 axes, got shape {m.shape}")
    return m[:, ::-1]


@composed(np.flipud)
def flipud(m: Any) -> Any:
    """The rows in the opposite order."""
    return flip(m, 0)


@composed(np.rot90)
def rot90(m: Any, k: int = 1, axes: Any = (0, 1)) -> Any:
    """Turned by k right angles, from the first of two axes towards the second."""
    plain(k)
    np.rot90(np.broadcast_to(0, m.shape), k, axes)  # which knows what is no rotation
    (first, second), quarters = axes, k % 4
    if quarters in (0, 2):
        return flip(m, axes) if quarters else m[...]
    return swapaxes(flip(m, second), first, second) if quarters == 1 else flip(swapaxes(m, first, second), second)


@composed(np.pad)
def pad(array: Any, pad_width: Any, mode: str = "constant", constant_values: Any = 0) -> Any:
    """An array with borders: constant ones, or of its own elements (mode "edge", "reflect", "symmetric", "wrap")."""
    plain(pad_width, constant_values)
    if mode == "constant":
        return bordered(array, pad_width, constant_values)
    if mode not in ("edge", "reflect", "symmetric", "wrap"):
        raise ValueError(f"expected mode 'constant', 'edge', 'reflect', 'symmetric' or 'wrap', got {mode!r}")
    asked: Any = np.pad
    return gathered([array], lambda x: asked(x, pad_width, mode))


@composed(np.diag)
def diag(v: Any, k: int = 0) -> Any:
    """The diagonal of a matrix; of a vector the matrix that has it there, and zeros."""
    if v.ndim not in (1, 2):
        raise ValueError(f"expected a vector or a matrix, got shape {v.shape}")
    return diagonal(v, k) if v.ndim == 2 else diagflat(v, k)


@composed(np.trace)
def trace(a: Any, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Any:
    """The sum of a diagonal of matrices."""
    return sum_over(diagonal(a, offset, axis1, axis2), -1)


@composed(np.tril)
def tril(m: Any, k: int = 0) -> Any:
    """The lower triangles of matrices, and zeros above a diagonal."""
    return where(_below(m, k), m, m.dtype.type(0))


@composed(np.triu)
def triu(m: Any, k: int = 0) -> Any:
    """The upper triangles of matrices, and zeros below a diagonal."""
    return where(_below(m, k - 1), m.dtype.type(0), m)


def _below(m: Any, k: int) -> Array:
    if not m.ndim:
        raise ValueError("expected at least one axis, got shape ()")
    return np.tri(m.shape[-2:][0], m.shape[-1], k, bool)


@composed(np.take)
def take(a: Any, indices: Any, axis: int | None = None) -> Any:
    """The elements at places along an axis, or of all; gradients of a place that is taken twice add up."""
    (x,) = together(a)
    if axis is None:
        return getitem(reshape(x, -1), _places(indices))
    before = np.lib.array_utils.normalize_axis_index(axis, x.ndim)
    return getitem(x, (*[slice(None)] * before, _places(indices)))


def _places(indices: Any) -> Any:
    places = indices if isinstance(indices, Tensor) else np.asarray(indices, int if np.size(indices) == 0 else None)
    if places.dtype.kind not in "iu":
        raise TypeError(f"expected integers as places, got {described(indices)}")
    return places


@composed(np.compress)
def compress(condition: Any, a: Any, axis: int | None = None) -> Any:
    """The elements along an axis, or of all, at whose places a condition holds."""
    return take(a, _where_it_holds(condition), axis)


@composed(np.extract)
def extract(condition: Any, arr: Any) -> Any:
    """The elements at whose places a condition holds, in one axis."""
    return take(arr, _where_it_holds(condition))


def _where_it_holds(condition: Any) -> Any:
    if isinstance(condition, Tensor) and condition.dtype.kind == "f":
        raise TypeError(
            "expected a condition, got numbers, which would lose their gradient; compare them, as in t != 0"
        )
    return np.flatnonzero(condition)


@composed(np.take_along_axis)
def take_along_axis(arr: Any, indices: Any, axis: int | None = -1) -> Any:
    """For each place along an axis the element there, as np.argsort and np.argmax with keepdims name them."""
    (x,), places = together(arr), _places(indices)
    if axis is None:
        return getitem(reshape(x, -1), places)
    if places.ndim != x.ndim:
        raise ValueError(f"expected as many axes of places as of elements, got shapes {places.shape} and {x.shape}")
    along = np.lib.array_utils.normalize_axis_index(axis, x.ndim)
    grid = np.ogrid[tuple(slice(n) for n in x.shape)]
    return getitem(x, tuple(places if i == along else grid[i] for i in range(x.ndim)))


@composed(np.broadcast_arrays)
def broadcast_arrays(*args: Any) -> tuple[Any, ...]:
    """Each of several arrays repeated to the shape that they broadcast to."""
    arrays = together(*args)
    shape = np.broadcast_shapes(*(x.shape for x in arrays))
    return tuple(broadcast_to(x, shape) for x in arrays)


@composed(np.meshgrid)
def meshgrid(*xi: Any, copy: bool = True, sparse: bool = False, indexing: str = "xy") -> tuple[Any, ...]:
    """Coordinates of the points of a grid, an array an axis; they are copies whatever `copy` says, unless sparse."""
    arrays = together(*xi)
    asked: Any = np.meshgrid
    points = asked(*[np.empty(x.size) for x in arrays], sparse=True, indexing=indexing)
    grids = tuple(reshape(x, at.shape) for x, at in zip(arrays, points, strict=True))
    return grids if sparse else broadcast_arrays(*grids)


def _at_least(function: Callable[..., Any], doc: str) -> Any:
    def each(*arys: Operand) -> Any:
        arrays = [reshape(x, function(np.broadcast_to(0, x.shape)).shape) for x in together(*arys)]
        return arrays[0] if len(arrays) == 1 else tuple(arrays)

    each.__name__ = each.__qualname__ = function.__name__
    each.__doc__ = doc
    return composed(function)(each)


atleast_1d = _at_least(np.atleast_1d, "an array, or several, with at least one axis")
atleast_2d = _at_least(np.atleast_2d, "an array, or several, with at least two axes; a vector is a row")
atleast_3d = _at_least(np.atleast_3d, "an array, or several, with at least three axes")
