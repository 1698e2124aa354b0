"""An optimizer's formula while it is recorded: its options and its state."""

from __future__ import annotations

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
    else needs the number, a comparison, arithmetic between numbers or a function in C, makes it a guard: the program
    holds while the option keeps its value (or, after `if option:`, while it stays 0, or something else).
    """

    __slots__ = ("number", "recorder")

    def __init__(self, number: Number, recorder: Recorder) -> None:
        self.number, self.recorder = number, recorder

    @property  # type: ignore[misc]
    def __class__(self) -> Any:
        return float

    def constant(self) -> Any:
        """The plain number, out of the recorder's sight: from now on it is a guard."""
        self.recorder.guards[self.number, False] = None
        return self.number.value

    def __pos__(self) -> float:
        """The plain number that an op is given, known to the recorder by its identity."""
        plain = self.number.value * 1.0
        self.recorder.plain[id(plain)] = plain, self.number
        return plain

    def __bool__(self) -> bool:
        self.recorder.guards[self.number, True] = None
        return bool(self.number.value)

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


def _as_number(name: str) -> Any:
    """A method of numbers, which makes guards of the options that it is given; not where it leaves it to a Tensor."""

    def method(self: Option, *others: Any) -> Any:
        result = getattr(self.number.value, name)(*(x.number.value if isinstance(x, Option) else x for x in others))
        if result is not NotImplemented:
            self.constant(), *map(_plain, others)
        return result

    return method


for _name in (
    "abs add ceil divmod eq float floor floordiv format ge gt hash index int le lt mod mul ne neg pow radd rdivmod "
    "repr rfloordiv rmod rmul round rpow rsub rtruediv str sub truediv trunc"
).split():
    setattr(Option, f"__{_name}__", _as_number(f"__{_name}__"))


class Options(dict[str, Any]):
    """The options of a group as a formula that is recorded gets them; what it sets is set in the group."""

    def __init__(self, group: dict[str, Any], recorder: Recorder) -> None:
        def option(key: str, value: Any, place: int | None = None) -> Option:
            number = Number(group, key, value, place=place)
            return Option(recorder.numbers.setdefault((id(group), key, place), number), recorder)

        for key, value in group.items():
            if isinstance(value, tuple) and key != "params":
                value = tuple(option(key, each, place) for place, each in enumerate(value))
            elif key != "params":
                value = option(key, value)
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
                recorder.add_source(buffer, array)
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
