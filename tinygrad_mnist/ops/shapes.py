"""The same values in another shape or order, side by side, or with a border."""

from __future__ import annotations

import builtins
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from tinygrad_mnist.composed import together
from tinygrad_mnist.convert import in_one_line
from tinygrad_mnist.op import OpFunction, publish, unary, variadic
from tinygrad_mnist.tensor import Array, Operand


def _broadcast_to(x: Array, shape: Any) -> Array:
    # A real array: filling one takes 0.8 µs, making np.broadcast_to's view of repeated memory 2.8 µs (10 x 30 values).
    result = np.empty(shape, np.asarray(x).dtype)
    if result.ndim < np.ndim(x):
        raise ValueError(f"shape {np.shape(x)} has more axes than {result.shape}")
    result[...] = x
    return result


def _join_place(arrays: Sequence[Any], position: int, axis: int) -> tuple[Any, ...]:
    start = builtins.sum(x.shape[axis] for x in arrays[:position])
    return (*[slice(None)] * (axis % arrays[0].ndim), slice(start, start + arrays[position].shape[axis]))


def _pad(x: Array, pad_width: Any, constant_values: float = 0) -> Array:
    if isinstance(pad_width, dict):
        raise TypeError("expected pad_width as numbers or pairs, one for each axis, got a dict")
    return np.pad(x, pad_width, "constant", constant_values=constant_values)


def _pad_widths(x: Any, pad_width: Any) -> list[tuple[int, int]]:
    return [(int(a), int(b)) for a, b in np.broadcast_to(pad_width, (x.ndim, 2))]


def _inverse(axes: Any, ndim: int) -> tuple[int, ...] | None:
    """The order of axes that undoes another."""
    return None if axes is None else tuple(np.argsort([a % ndim for a in np.atleast_1d(axes)]).tolist())


# fmt: off
reshape = unary("reshape", lambda x, shape: np.reshape(x, shape),
                lambda g, out, x, shape: g.reshape(x.shape),
                numpy=(np.reshape,), view=True, domain=None, doc="the same values in another shape")
transpose: OpFunction = unary("transpose", lambda x, axes=None: np.transpose(x, axes),
                  lambda g, out, x, axes: transpose(g, _inverse(axes, x.ndim)),
                  numpy=(np.transpose,), sign="T", view=True, domain=None, doc="the axes in another order")
broadcast_to: OpFunction = unary("broadcast_to", _broadcast_to,
                     lambda g, out, x, shape: g,
                     numpy=(np.broadcast_to,), domain=None, doc="x repeated to a larger shape")
_concatenate = variadic("concatenate", lambda *arrays, axis=0: np.concatenate(arrays, axis),
                        lambda g, out, *arrays, position, axis: g[_join_place(arrays, position, axis)],
                        doc="arrays joined along an axis")
_stack = variadic("stack", lambda *arrays, axis=0: np.stack(arrays, axis),
                  lambda g, out, *arrays, position, axis: g[(*[slice(None)] * (axis % g.ndim), position)],
                  doc="arrays joined along a new axis")
pad = unary("pad", _pad,
            lambda g, out, x, pad_width, constant_values:
                g[tuple(slice(a, a + n) for n, (a, _) in zip(x.shape, _pad_widths(x, pad_width), strict=True))],
            domain=None, doc="x with constant borders around it")
# fmt: on


def concatenate(arrays: Sequence[Operand], axis: int | None = 0) -> Any:
    """Join arrays along an axis they have; with None, flat."""
    arrays = _listed("concatenate", arrays)
    if axis is None:
        arrays, axis = [reshape(x, -1) for x in together(*arrays, caller="concatenate")], 0
    return _joined(_concatenate, arrays, axis)


def stack(arrays: Sequence[Operand], axis: int = 0) -> Any:
    """Join arrays of one shape along a new axis."""
    return _joined(_stack, _listed("stack", arrays), axis)


def _listed(name: str, arrays: Any) -> list[Any]:
    if isinstance(arrays, str | bytes | Mapping) or not isinstance(arrays, Iterable):
        raise TypeError(f"{name}: expected a list of arrays or Tensors, got {in_one_line(arrays)}")
    return list(arrays)


_MANY = 32


def _joined(join: OpFunction, given: list[Any], axis: int) -> Any:
    """Many arrays are joined in groups, and the groups likewise: a node of n inputs costs n² in its backward pass.

    (Each of its n rules is called with all of them, and each part of the gradient is put into a whole one when it is
    differentiated again.)
    """
    made = together(*given, caller=join.__name__)
    arrays = [a if a.dtype.kind in "biufc" else x for x, a in zip(given, made, strict=True)]  # the op names the others
    if len(arrays) <= _MANY:
        return join(*arrays, axis=axis)
    groups = [arrays[i : i + _MANY] for i in range(0, len(arrays), _MANY)]
    return concatenate([join(*group, axis=axis) for group in groups], axis)


publish(concatenate, np.concatenate)
publish(stack, np.stack)
