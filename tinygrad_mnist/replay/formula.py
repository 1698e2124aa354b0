"""An optimizer's formula while it is recorded: its options and its state."""

from __future__ import annotations

import builtins
import operator
from typing import Any

import numpy as np

from tinygrad_mnist import ops
from tinygrad_mnist.optim import Optimizer, State
from tinygrad_mnist.tensor import Array, Tensor, leaf

from .program import Buffer, Number, layout

Recorder = Any
"""`recording.Recorder`, which imports this module."""


class Option:
    """An optimizer's option in the formula of its step: read at each replay where an op takes it as it is.

    It passes for a float, but is none, so that whatever is done with it comes by here. An op asks for +option. Whatever
    else needs the number makes it a constant of the program, which holds while the option keeps its value; a branch
    that depends on it makes a condition.
    """

    __slots__ = ("number", "recorder")

    def __init__(self, number: Number, recorder: Recorder) -> None:
        self.number, self.recorder = number, recorder

    @property  # type: ignore[misc]
    def __class__(self) -> Any:
        return float

    def constant(self) -> Any:
        """The plain number, out of the recorder's sight: from now on it is a constant."""
        if self.number not in self.recorder.frozen:
            self.recorder.frozen.append(self.number)
        return self.number.value

    def __pos__(self) -> float:
        """The plain number that an op is given, known to the recorder by its identity."""
        plain = self.number.value * 1.0
        self.recorder.plain[id(plain)] = plain, self.number
        return plain

    def __bool__(self) -> bool:
        value: bool = self.number.value != 0
        self.recorder.truths[self.number] = value
        return value

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        if any(isinstance(x, Tensor) for x in inputs):
            return NotImplemented  # to the Tensor it is an op
        result = getattr(ufunc, method)(*map(_plain, inputs), **kwargs)
        # NumPy's own float64 makes a float64 of an array of float32; an op would take it for a Python number.
        return np.asarray(result) if isinstance(result, np.generic) else result

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        return np.asarray(self.constant(), dtype)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self.constant(), name)


def _plain(x: Any) -> Any:
    return x.constant() if isinstance(x, Option) else x


def _constant(function: Any, *, swapped: bool = False) -> Any:
    """A method that does with the number what Python does; with a Tensor it is that one's op."""

    def method(self: Option, *others: Any) -> Any:
        if any(isinstance(x, Tensor) for x in others):
            return NotImplemented
        operands = [self.constant(), *map(_plain, others)]
        return function(*(operands[::-1] if swapped else operands))

    return method


for _name in "add sub mul truediv floordiv mod pow".split():
    setattr(Option, f"__{_name}__", _constant(getattr(operator, _name)))
    setattr(Option, f"__r{_name}__", _constant(getattr(operator, _name), swapped=True))
for _name in "eq ne lt le gt ge neg index".split():
    setattr(Option, f"__{_name}__", _constant(getattr(operator, _name)))
for _name in "abs float int round hash str repr format divmod complex".split():
    setattr(Option, f"__{_name}__", _constant(getattr(builtins, _name)))
for _name in "trunc floor ceil".split():
    setattr(Option, f"__{_name}__", _constant(lambda x, name=f"__{_name}__": getattr(x, name)()))
setattr(Option, "__rdivmod__", _constant(divmod, swapped=True))  # noqa: B010


class Options(dict[str, Any]):
    """The options of a group as a formula that is recorded gets them; what it sets is set in the group."""

    def __init__(self, group: dict[str, Any], recorder: Recorder) -> None:
        numbers = recorder.numbers
        for key, value in group.items():
            if key != "params":
                value = Option(numbers.setdefault((id(group), key), Number(group, key, value)), recorder)
            super().__setitem__(key, value)
        self.group = group

    def __setitem__(self, key: str, value: Any) -> None:
        self.group[key] = value  # which a replay would not do: the recorder is told
        super().__setitem__(key, self.group[key])


class Slot:
    """A place in an optimizer's state: what it keeps for a parameter under a name."""

    __slots__ = ("key", "name", "optimizer")

    def __init__(self, optimizer: Optimizer, key: Tensor, name: str) -> None:
        self.optimizer, self.key, self.name = optimizer, key, name

    @property
    def place(self) -> tuple[int, int, str]:
        """What tells it from others."""
        return id(self.optimizer), id(self.key), self.name

    @property
    def array(self) -> Array | None:
        """What is there now."""
        state: Any = self.optimizer.state.get(self.key, {})
        return state.get(self.name)


class RecordedState(State):
    """The state of a parameter in a formula that is recorded: Tensors in the place of its arrays.

    Attributes:
        slots: the Tensor and the buffer of each entry that was there before the step.
    """

    def __init__(self, recorder: Recorder, optimizer: Optimizer, p: Tensor, stem: str) -> None:
        super().__init__(p.dtype)
        self.slots: dict[str, tuple[Tensor, Buffer]] = {}
        for name, array in optimizer.state[p].items():
            source, tensor = Slot(optimizer, p, name), leaf(array)
            buffer = recorder.slots.get(source.place)
            if buffer is None:  # else another step of the optimizer has been there
                buffer = Buffer("outside", *layout(array), array, source=source, name=f"{name}_{stem}")
                recorder.slots[source.place] = buffer
                recorder.sources.append(buffer)
                recorder.outside[id(tensor)] = tensor, buffer
            self.slots[name] = tensor, buffer
            dict.__setitem__(self, name, tensor)  # type: ignore[misc]

    def __setitem__(self, name: str, value: Any) -> None:
        self.check(name, value._array if isinstance(value, Tensor) else value)
        if not isinstance(value, Tensor):
            value = leaf(np.asarray(value, self.dtype))
        elif value.dtype != self.dtype:
            value = ops.astype(value, dtype=self.dtype)
        dict.__setitem__(self, name, value)
