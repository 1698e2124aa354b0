"""Buffer: values that a Module keeps and that are no parameter."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from tinygrad_mnist.convert import described
from tinygrad_mnist.mode import mode
from tinygrad_mnist.tensor import Array, Tensor, last_change, tick


class Buffer(Tensor):
    """Values that a Module keeps and that are no parameter, such as a running mean: in `state_dict`, without gradient.

    It has memory of its own. `assign` sets its values, in a compiled step too.

    >>> mean = Buffer([0.0, 0.0])
    >>> mean.assign(0.9 * mean + 0.1 * Tensor([5.0, 10.0]))
    >>> mean
    Tensor([0.5, 1. ], dtype=float32)
    """

    __slots__ = ()

    def __init__(self, data: Any, *, dtype: DTypeLike | None = None, name: str | None = None) -> None:
        super().__init__(data, dtype=dtype, name=name)
        self._array = self._array.copy()

    def assign(self, value: Tensor | Array | float) -> None:
        """Set the values, in place, in the Buffer's dtype; no gradient flows to where they come from.

        Raises:
            ValueError: they have another shape.
            TypeError: they are no real numbers, or the Buffer is of integers and they are not.
        """
        array = value._array if isinstance(value, Tensor) else np.asarray(value)
        if array.shape != self.shape:
            raise ValueError(f"Buffer.assign: expected values of shape {self.shape}, got {described(value)}")
        if array.dtype.kind not in "biuf" or not np.can_cast(array.dtype, self.dtype, "same_kind"):
            raise TypeError(f"Buffer.assign: expected values for {self.dtype}, got {described(value)}; convert them")
        if mode.observer is not None:
            mode.observer.assigning(self, value)
        np.copyto(self._array, array, casting="same_kind")
        last_change(self)[0] = tick()

    @property
    def requires_grad(self) -> bool:
        """False."""
        return False

    @requires_grad.setter
    def requires_grad(self, value: bool) -> None:
        if value:
            raise TypeError("requires_grad: a Buffer is no parameter; use a Tensor for what gradients flow to")

    def __copy__(self) -> Buffer:
        return Buffer(self._array, name=self.name)

    def __reduce__(self) -> tuple[Any, ...]:
        return _buffer_again, (self._read(), self.name)


def _buffer_again(data: Array, name: str | None) -> Buffer:
    return Buffer(data, name=name)
