"""What a step refers to: what must be as it was for a recording of the step to hold."""

from __future__ import annotations

import contextlib
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from tinygrad_mnist.files import PACKAGE
from tinygrad_mnist.nn import Module
from tinygrad_mnist.optim import Optimizer
from tinygrad_mnist.tensor import Tensor

from .program import layout

PLAIN = (int, float, complex, bool, str, bytes, type(None), np.generic)
"""Values that are the same when they are equal."""


@dataclass(frozen=True, eq=False, slots=True)
class Kind:
    """What an argument must be like for the same program.

    Attributes:
        layout: of an array; None for what is not one.
        tracked: whether it is a Tensor that requires gradients.
        value: what is not an array.
        plain: whether that is the same when it is equal.
    """

    layout: Any = None
    tracked: bool = False
    value: Any = None
    plain: bool = False

    @classmethod
    def of(cls, x: Any) -> Kind:
        """The kind of an argument."""
        if isinstance(x, Tensor):
            return cls(layout(x._data), x._requires_grad)
        return cls(layout(x)) if type(x) is np.ndarray else cls(value=x, plain=isinstance(x, PLAIN))

    def admits(self, other: Kind) -> bool:
        """Whether an argument of another kind is one of this."""
        if self.layout is not None or other.layout is not None:
            return self.layout == other.layout and self.tracked == other.tracked
        same = self.plain and type(self.value) is type(other.value) and self.value == other.value
        return self.value is other.value or bool(same)


class Opaque:
    """What is not looked into: a compiled step inside another looks after itself."""


@dataclass(eq=False, slots=True)
class Watch:
    """A value that the step refers to: `owner.key` or `owner[key]`."""

    owner: Any
    key: Any
    value: Any
    attribute: bool
    path: str

    def holds(self) -> bool:
        """Whether it is still the same."""
        try:
            now = getattr(self.owner, self.key) if self.attribute else self.owner[self.key]
        except (AttributeError, LookupError, ValueError):
            return False
        return now is self.value or (isinstance(now, PLAIN) and type(now) is type(self.value) and now == self.value)


def watched(step: Callable[..., Any]) -> tuple[list[Watch], dict[int, str], list[np.random.Generator]]:
    """All that a step refers to by name: closures, globals, the attributes of modules, the elements of containers.

    With it the path to each Tensor, by id, for names in the program; and the random number generators.
    """
    watches: list[Watch] = []
    names: dict[int, str] = {}
    generators: list[np.random.Generator] = []
    seen: dict[int, Any] = {}

    def note(owner: Any, key: Any, value: Any, attribute: bool, path: str) -> None:
        if isinstance(value, types.ModuleType | type | types.BuiltinFunctionType | np.ufunc):
            return
        watches.append(Watch(owner, key, value, attribute, path))
        walk(value, path)

    def walk(value: Any, path: str) -> None:
        if isinstance(value, PLAIN) or id(value) in seen or len(watches) > 2000:
            return
        seen[id(value)] = value
        if isinstance(value, Tensor):
            names[id(value)] = path.partition(".")[2] or path
        elif isinstance(value, np.random.Generator):
            generators.append(value)
        elif isinstance(value, types.FunctionType):
            function(value)
        elif isinstance(value, types.MethodType):
            walk(value.__self__, path)
            walk(value.__func__, path)
        elif isinstance(value, partial):
            walk([value.func, value.args, value.keywords], path)
        elif isinstance(value, list | tuple | dict):
            if len(value) <= 256:
                length = len(value)
                if not isinstance(value, tuple):
                    watches.append(Watch(_Sized(value), "length", length, True, path))
                for key, item in value.items() if isinstance(value, dict) else enumerate(value):
                    if isinstance(key, str | int):
                        note(value, key, item, False, f"{path}.{key}")
        elif isinstance(value, np.ndarray | Optimizer | np.random.BitGenerator | Opaque):
            pass
        elif hasattr(value, "__dict__"):
            if isinstance(value, Module):
                watches.append(Watch(value, "training", value.training, True, f"{path}.training"))
            for key, item in vars(value).items():
                note(value, key, item, True, f"{path}.{key}")
            for name in ("forward", "__call__"):
                walk(getattr(type(value), name, None), path)

    def function(value: types.FunctionType) -> None:
        if value.__code__.co_filename.startswith(PACKAGE):
            return
        for name, cell in zip(value.__code__.co_freevars, value.__closure__ or (), strict=True):
            with contextlib.suppress(ValueError):  # not assigned yet
                note(cell, "cell_contents", cell.cell_contents, True, name)
        for name in _global_names(value.__code__):
            if name in value.__globals__:
                note(value.__globals__, name, value.__globals__[name], False, name)

    walk(step, "")
    return watches, names, generators


class _Sized:
    """The length of a container as an attribute."""

    def __init__(self, value: Any) -> None:
        self.value = value

    @property
    def length(self) -> int:
        return len(self.value)


def _global_names(code: types.CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _global_names(constant)
