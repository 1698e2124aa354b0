"""What optimizers keep from step to step: for each parameter arrays by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from tinygrad_mnist.convert import in_one_line
from tinygrad_mnist.tensor import Array, Tensor

_set = dict.__setitem__  # found sooner than by super(), at every step of every parameter


class State(dict[str, Array]):
    """What an optimizer keeps for one parameter from step to step: arrays by name.

    They have the parameter's dtype, so that nothing promotes float32: what is put in is converted, and a number, such
    as a count of steps, becomes an array of shape (). Anything else is refused with a TypeError.

    >>> state = State(np.dtype(np.float32))
    >>> state["steps"] = state.get("steps", 0) + 1
    >>> state
    {'steps': array(1., dtype=float32)}
    """

    def __init__(self, dtype: np.dtype[Any]) -> None:
        self.dtype = dtype

    def __setitem__(self, name: str, value: Any) -> None:
        if type(value) is not np.ndarray or value.dtype is not self.dtype or type(name) is not str:
            self.check(name, value)
            value = np.asarray(value, self.dtype)
        if (len(self) > 1 or name not in self) and any(value is kept for kept in self.values()):
            value = value if self.get(name) is value else value.copy()  # two names, and two arrays to change in place
        _set(self, name, value)

    @staticmethod
    def check(name: Any, value: Any) -> None:
        """Raise a TypeError for what is no array of real numbers, and no number."""
        if type(name) is not str:
            raise TypeError(
                f"an optimizer's state: expected a name, got {in_one_line(name)}; write state['velocity'] = ..."
            )
        is_array = isinstance(value, np.ndarray | np.generic | int | float) and not isinstance(value, np.ma.MaskedArray)
        if not is_array or np.asarray(value).dtype.kind not in "biuf":
            what = f"{value.dtype} array" if isinstance(value, np.ndarray) else type(value).__name__
            raise TypeError(
                f"an optimizer's state: expected an array or a number as {name!r}, got a {what}; keep several arrays "
                "under several names"
            )

    def update(self, *args: Any, **kwargs: Any) -> None:
        """Set several entries."""
        for name, value in dict(*args, **kwargs).items():
            self[name] = value

    def __ior__(self, other: Any) -> State:  # type: ignore[override, misc]
        self.update(other)
        return self

    def setdefault(self, name: str, default: Any = None) -> Array:
        """The entry of this name; if there is none, it is set first."""
        if name not in self:
            self[name] = default
        return self[name]

    def __reduce__(self) -> tuple[Any, ...]:
        return State, (self.dtype,), None, None, iter(self.items())


def saved_parts(owner: str, state: Any, /, **kinds: Any) -> list[Any]:
    """What a saved state has by these names, each of its kind; else an error in one line, before anything is changed.

    Raises:
        TypeError: it is no mapping.
        ValueError: a part is missing, or of another kind.
    """
    expected = f"{owner}: expected what state_dict() returned, with {' and '.join(kinds)}"
    if not isinstance(state, Mapping):
        raise TypeError(f"{expected}, got {in_one_line(state)}")
    for name, kind in kinds.items():
        if name not in state or not isinstance(state[name], kind):
            got = f"{name} {in_one_line(state[name])}" if name in state else f"only {in_one_line(list(state))}"
            raise ValueError(f"{expected}, got {got}")
    return [state[name] for name in kinds]


class States(dict[Tensor, State]):
    """The state of each parameter, empty at first."""

    def __missing__(self, p: Tensor) -> State:
        state = State(p.dtype)
        super().__setitem__(p, state)
        return state

    def __setitem__(self, p: Tensor, entries: Mapping[str, Any]) -> None:
        state = State(p.dtype)
        state.update(entries)
        super().__setitem__(p, state)
