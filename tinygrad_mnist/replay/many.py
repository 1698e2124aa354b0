"""Many steps in a row, each with its rows of arrays: in one call of C, where a step is one piece of it."""

from __future__ import annotations

import ctypes
import math
import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from tinygrad_mnist.convert import in_one_line, is_whole
from tinygrad_mnist.native import pointers
from tinygrad_mnist.tensor import Array, Tensor

from .binding import MISS
from .call import Call

Compiled = Any
"""`compiled.Compiled`, which imports this module."""

_LONG = 0.04
"""Seconds: a call of C may take as long, as Ctrl-C is answered only after it."""


class Rows:
    """The arguments of many steps: an array for each, and the rows of it, one mini-batch after the other."""

    def __init__(self, parts: tuple[Any, ...], batch_size: Any) -> None:
        if not parts or not all(isinstance(part, tuple) and len(part) == 2 for part in parts):
            raise TypeError(
                f"epoch: expected pairs of an array and its rows, as (images, order), got {in_one_line(parts)}"
            )
        if not is_whole(batch_size, 1):
            raise ValueError(f"epoch: expected a whole number batch_size >= 1, got {in_one_line(batch_size)}")
        self.size = int(batch_size)
        self.data = [np.asarray(array) for array, _ in parts]
        for place, array in enumerate(self.data):
            if array.ndim == 0:
                raise TypeError(
                    f"epoch: argument {place}: expected an array of rows, got the number {array}; pass (n, ...)"
                )
        self.order = [_order(place, rows, len(self.data[place])) for place, (_, rows) in enumerate(parts)]
        if len({len(order) for order in self.order}) > 1:
            raise ValueError(f"epoch: expected as many rows of each, got {', '.join(str(len(o)) for o in self.order)}")
        self.whole = all(array.flags.c_contiguous and array.flags.aligned for array in self.data)

    def __len__(self) -> int:
        return len(self.order[0])

    def taken(self, at: int) -> tuple[Array, ...]:
        """The arguments of the step that begins with a row."""
        return tuple(
            array.take(order[at : at + self.size], 0) for array, order in zip(self.data, self.order, strict=True)
        )

    def pointers(self, at: int) -> tuple[Any, Any]:
        """Where the data is, and the numbers of the rows from one on."""
        return pointers(*self.data), pointers(*(order[at:] for order in self.order))


def _order(place: int, rows: Any, n: int) -> Array:
    order = np.asarray(rows)
    if order.ndim != 1 or order.dtype.kind not in "iu":
        raise TypeError(f"epoch: argument {place}: expected whole numbers of rows, got {in_one_line(rows)}")
    if order.size and not 0 <= order.min() <= order.max() < n:
        raise IndexError(
            f"epoch: argument {place}: expected rows from 0 to {n - 1}, got {order.min()} to {order.max()}"
        )
    return np.ascontiguousarray(order, np.int64)


def costs(step: Compiled, rows: Rows) -> Iterator[Array]:
    """What the steps return, some at a time; the last is one that is not finite, or that of the last rows."""
    at, most = 0, step.at_once
    while at < len(rows):
        begin = time.perf_counter()
        some = _of_c(step, rows, at, most)
        took = time.perf_counter() - begin
        if some is None:
            some = _of_one(step(*rows.taken(at)))
        elif took > _LONG:
            most = max(2, most // 2)
        elif len(some) == most and took < _LONG / 2:
            most *= 2
        step.at_once = most
        yield some
        if not math.isfinite(some[-1]):
            return
        at += len(some) * rows.size


def _of_one(result: Any) -> Array:
    if not isinstance(result, Tensor) or result.size != 1:
        raise TypeError(
            f"epoch: expected a step that returns its cost, one number in a Tensor, got {in_one_line(result)}"
        )
    return result.numpy().reshape(1)


def _of_c(step: Compiled, rows: Rows, at: int, most: int) -> Array | None:
    """The costs of steps that one call of C has taken; None if the next step is to be called by itself."""
    if (len(rows) - at) // rows.size < 2 or not rows.whole:
        return None
    first = rows.taken(at)
    with step.lock:
        variant = step.variant_for(Call(step.step, first, {}))
        if variant is None or variant.eager or variant.binding is None or variant.binding.replay_many is None:
            return None
        n = min(most, (len(rows) - at) // rows.size, variant.due[1] - variant.due[0])
        if n < 2:
            return None
        made = np.empty(n, variant.text.program.results[0].dtype)
        taken = variant.binding.replay_many((*rows.pointers(at), ctypes.c_void_p(made.ctypes.data), n), *first)
        return None if taken is MISS else made[:taken]
