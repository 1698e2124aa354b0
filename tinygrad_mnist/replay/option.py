"""A number that an optimizer's formula is given while it is recorded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_mnist.tensor import Array

from .program import Number

if TYPE_CHECKING:
    from .recording import Recorder


class Option(float):
    """An optimizer's option in the formula of its step: read at each replay where an op takes it as it is.

    A branch that depends on it becomes a condition of the program.
    """

    number: Number
    recorder: Recorder

    def __bool__(self) -> bool:
        value = float(self) != 0
        self.recorder.truths[self.number] = value
        return value

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        """Let NumPy compute with the number itself: it would take a class of its own for a float64."""
        self.recorder.frozen.append(self.number)
        return getattr(ufunc, method)(*(float(x) if isinstance(x, Option) else x for x in inputs), **kwargs)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        self.recorder.frozen.append(self.number)
        return np.asarray(float(self), dtype)

    def __pos__(self) -> float:
        """The plain number that an op is given, known to the recorder by its identity."""
        plain = float.__add__(self, 0.0)
        self.recorder.plain[id(plain)] = plain, self.number
        return plain


def _frozen(name: str) -> Any:
    """A method of float that takes the number out of the recorder's sight: from then on it is a constant."""

    def method(self: Option, *others: Any) -> Any:
        self.recorder.frozen.append(self.number)
        return getattr(float(self), name)(*others)

    return method


for _name in """
    __eq__ __ne__ __lt__ __le__ __gt__ __ge__ __int__ __round__ __trunc__ __floor__ __ceil__ is_integer
    __floordiv__ __rfloordiv__ __mod__ __rmod__ __divmod__ __rdivmod__
    """.split():
    setattr(Option, _name, _frozen(_name))
