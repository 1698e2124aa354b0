"""What a step refers to: what must be as it was for a recording of the step to hold."""

from __future__ import annotations

import contextlib
import dis
import inspect
import random
import sys
import sysconfig
import types
from array import array
from collections import deque
from collections.abc import Callable, Iterator, MappingView, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from io import IOBase
from logging import Logger
from pathlib import Path
from typing import Any, Literal
from weakref import ref

import numpy as np

from tinygrad_mnist.optim import Optimizer
from tinygrad_mnist.tensor import Tensor

from .program import layout

PLAIN = (int, float, complex, bool, str, bytes, type(None), np.generic)
"""Values that are the same when they are equal."""

MAKING = ("__init__", "__new__", "__post_init__")
"""What is called when an object is made."""

CALLED = ("forward", "training", "direction", "change", "__call__", *MAKING)
"""What is called although the user's code does not name it; as are methods of objects with two underscores."""

STATELESS = (*PLAIN, types.CodeType, np.ufunc, np.ndarray, IOBase)
"""What no op depends on, or what is looked after elsewhere: arrays that ops use are read at each replay."""

GENERATORS = (np.random.Generator, np.random.BitGenerator, np.random.RandomState, random.Random)

CONTAINERS = (list, tuple, dict, set, frozenset, deque)

UNWATCHED = (Iterator, MappingView, types.MappingProxyType, bytearray, memoryview, array, ref, ContextVar)
"""What may change without a sign."""

REFLECTION = {"vars", "getattr", "dir", "__dict__", "asdict", "astuple", "fields", "copy", "deepcopy", "eval", "exec"}
"""How code reaches attributes that it does not name."""

LOOKED_AFTER = ("groups", "state", "_groups", "_taken", "_defaults")
"""Attributes of an optimizer that the recorder looks after."""

STANDARD_LIBRARY = sysconfig.get_path("stdlib")

MOST = 2000
"""How many things are watched at the most: a replay looks at each, in some 0.05 µs."""


def same(a: Any, b: Any) -> bool:
    """Whether two values are one: the same object, or numbers and texts that are equal (0.0 is not -0.0)."""
    return a is b or (isinstance(a, PLAIN) and type(a) is type(b) and a == b and (a != 0 or str(a) == str(b)))


def same_keys(owner: Any, keys: list[Any]) -> bool:
    """Whether a dict or set holds these, in this order."""
    return len(owner) == len(keys) and all(map(same, owner, keys))


@dataclass(frozen=True, eq=False, slots=True)
class Kind:
    """What an argument must be like for the same program.

    Attributes:
        layout: of an array; None for what is not one.
        tracked: whether it is a Tensor that requires gradients.
        value: what is not an array.
    """

    layout: Any = None
    tracked: bool = False
    value: Any = None

    @classmethod
    def of(cls, x: Any) -> Kind:
        """The kind of an argument."""
        if isinstance(x, Tensor):
            return cls(layout(x._array), x._requires_grad)
        return cls(layout(x)) if type(x) is np.ndarray else cls(value=x)

    def admits(self, other: Kind) -> bool:
        """Whether an argument of another kind is one of this."""
        if self.layout is not None or other.layout is not None:
            return self.layout == other.layout and self.tracked == other.tracked
        return same(self.value, other.value)


class Wrapped:
    """A compiled step: inside another it is a part of that, and only its function counts."""

    step: Callable[..., Any]


@dataclass(eq=False, slots=True)
class Watch:
    """A value that the step refers to.

    Attributes:
        owner: what holds it.
        key: its place.
        value: what it was.
        how: an attribute owner.key; an item owner[key]; how many items there are, or which in which order.
        path: how the step comes to it.
    """

    owner: Any
    key: Any
    value: Any
    how: Literal["attribute", "item", "length", "order"]
    path: str

    def holds(self) -> bool:
        """Whether it is still the same."""
        try:
            if self.how == "length":
                return len(self.owner) == self.value
            if self.how == "order":
                return same_keys(self.owner, self.value)
            now = getattr(self.owner, self.key) if self.how == "attribute" else self.owner[self.key]
        except (AttributeError, LookupError, ValueError):
            return False
        return same(now, self.value)


class Watcher:
    """Finds all that a step refers to by name, from the function itself and its arguments that are not arrays.

    Closures, globals and default arguments; the attributes of objects, also those that their classes and the user's
    modules hold, as far as the code names them; the elements of containers; and all of these in turn.

    Attributes:
        watches: what must stay as it is.
        names: the path to each Tensor, by id, for names in the program.
        generators: the random number generators, NumPy's and Python's.
        blind: what cannot be watched; empty if there is nothing.
    """

    def __init__(self, step: Callable[..., Any], args: Sequence[Any]) -> None:
        self.watches: list[Watch] = []
        self.names: dict[int, str] = {}
        self.generators: list[Any] = []
        self.blind = ""
        self._seen: dict[int, Any] = {}
        self._classes: dict[int, type] = {}
        self._owners: list[tuple[Any, str]] = []  # whose attributes may be read
        self._words = dict.fromkeys(CALLED)  # names in the code
        if isinstance(step, types.FunctionType):
            self._function(step, own=True)  # that of train.fit holds the user's model
        else:
            self._walk(step, "")
        for i, value in enumerate(args):
            self._walk(value, f"argument {i}")
        done: set[tuple[int, str]] = set()
        while new := [(o, path, w) for o, path in self._owners for w in self._asked(o) if (id(o), w) not in done]:
            for owner, path, word in new:
                done.add((id(owner), word))
                self._attribute(owner, word, f"{path}.{word}")

    def _asked(self, owner: Any) -> Iterator[str]:
        """The names of attributes that an owner may be asked for."""
        if isinstance(owner, types.ModuleType | type):
            yield from self._words
            return
        yield from (word for word in self._words if word not in MAKING)  # it has been made
        if not self._words.keys().isdisjoint(REFLECTION) or any(
            _is_foreign(kind.__module__)
            for kind in type(owner).__mro__[:-1]  # what that code names is not known
        ):
            yield from getattr(owner, "__dict__", ())

    def _note(self, owner: Any, key: Any, value: Any, how: Any, path: str) -> None:
        if len(self.watches) >= MOST:
            self.blind = f"refers to more than {MOST} things"
            return
        self.watches.append(Watch(owner, key, value, how, path))
        if how in ("attribute", "item"):
            self._walk(value, path)

    def _walk(self, value: Any, path: str) -> None:
        if isinstance(value, types.BuiltinFunctionType):
            value = value.__self__  # of a method, as list.append; of a function its module
        if isinstance(value, STATELESS) or id(value) in self._seen:
            return
        self._seen[id(value)] = value
        if isinstance(value, Tensor):
            self.names[id(value)] = path.partition(".")[2] or path
        elif isinstance(value, GENERATORS):
            self.generators.append(value)
        elif isinstance(value, types.FunctionType):
            self._function(value)
        elif isinstance(value, types.MethodType):
            self._walk(value.__self__, path)
            self._walk(value.__func__, path)
        elif isinstance(value, partial):
            self._walk([value.func, value.args, value.keywords], path)
        elif isinstance(value, CONTAINERS):
            self._container(value, path)
            if type(value) not in CONTAINERS:
                self._object(value, path)
        elif isinstance(value, types.ModuleType | type):
            if not _is_foreign(getattr(value, "__module__", value.__name__)):
                self._owners.append((value, path))
        elif isinstance(value, UNWATCHED):
            self.blind = f"refers to a {type(value).__name__} ({path}), which cannot be watched"
        elif isinstance(value, Logger):
            self._note(value, "level", value.level, "attribute", path)
        elif isinstance(value, Wrapped):
            self._walk(value.step, path)
        else:
            self._object(value, path)

    def _object(self, value: Any, path: str) -> None:
        """Watch what its code is; its attributes as code asks for them (`_asked`)."""
        self._owners.append((value, path))
        self.watches.append(Watch(value, "__class__", type(value), "attribute", path))
        if attributes := getattr(value, "__dict__", None):
            self._note(attributes, None, len(attributes), "length", path)
        for kind in type(value).__mro__:
            if not _is_foreign(kind.__module__) and id(kind) not in self._classes:
                self._classes[id(kind)] = kind
                self._words.update((w, None) for w, item in vars(kind).items() if w[:2] == "__" and callable(item))

    def _container(self, value: Any, path: str) -> None:
        if isinstance(value, list | deque):
            self._note(value, None, len(value), "length", path)
        elif isinstance(value, dict | set):
            self._note(value, None, list(value), "order", path)
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            if isinstance(value, tuple | set | frozenset):
                self._walk(item, f"{path}.{key}")
            else:
                self._note(value, key, item, "item", f"{path}.{key!s}")
                self._walk(key, path)

    def _function(self, value: types.FunctionType, *, own: bool = False) -> None:
        if _is_foreign(value.__module__) and not own:
            return
        for name in ("__code__", "__defaults__", "__kwdefaults__"):
            if getattr(value, name):
                self._note(value, name, getattr(value, name), "attribute", f"{value.__name__}.{name}")
        for name, cell in zip(value.__code__.co_freevars, value.__closure__ or (), strict=True):
            with contextlib.suppress(ValueError):  # not assigned yet
                self._note(cell, "cell_contents", cell.cell_contents, "attribute", name)
        for name in _names_in(value.__code__):
            self._words[name] = None
            if name not in value.__globals__ and name in sys.modules:  # imported in the function
                self._walk(sys.modules[name], name)
        for name in dict.fromkeys(_globals_in(value.__code__)):
            if name in value.__globals__:
                self._note(value.__globals__, name, value.__globals__[name], "item", name)
        for name, item in vars(value).items():
            self._note(value, name, item, "attribute", f"{value.__name__}.{name}")

    def _attribute(self, owner: Any, name: str, path: str) -> None:
        """What `owner.name` is, if code may mean that by this name."""
        value = inspect.getattr_static(owner, name, _ABSENT)
        is_scope = isinstance(owner, types.ModuleType | type)
        if isinstance(owner, Optimizer) and name in LOOKED_AFTER:
            if name == "groups" and name in self._words:
                for i, group in enumerate(owner.groups):
                    for key in [key for key in group if key != "params"]:
                        self._note(group, key, group[key], "item", f"{path}.{i}.{key}")
        elif value is _ABSENT or (name[:2] == "__" and not isinstance(value, types.FunctionType)):
            return
        elif not is_scope and getattr(owner, "__dict__", {}).get(name, _ABSENT) is value:
            self._note(owner, name, value, "attribute", path)
        elif isinstance(value, _SLOTS) and not is_scope:
            now = getattr(owner, name, None)
            if isinstance(value, types.MemberDescriptorType) or isinstance(now, PLAIN):  # others may be made anew
                self._note(owner, name, now, "attribute", path)
        elif hasattr(value, "__get__") and not isinstance(owner, types.ModuleType):
            kind = owner if isinstance(owner, type) else type(owner)
            having = [base for base in kind.__mro__ if name in vars(base)]
            if having and isinstance(value, types.FunctionType | property) and not _is_foreign(kind.__module__):
                self.watches.append(Watch(kind, name, value, "attribute", path))  # a subclass may come to override it
            for base in having:  # super() reaches them all
                if not _is_foreign(base.__module__):
                    self._note(vars(base), name, vars(base)[name], "item", path)
                    self._walk(_function_of(vars(base)[name]), path)
            self._walk(_function_of(value), path)
        else:
            self._note(owner, name, value, "attribute", path)


_ABSENT = object()
_SLOTS = (types.MemberDescriptorType, types.GetSetDescriptorType, types.WrapperDescriptorType)


def _function_of(member: Any) -> Any:
    """The function behind a member of a class; other members as they are."""
    return member.fget if isinstance(member, property) else getattr(member, "__func__", member)


def _names_in(code: types.CodeType) -> Iterator[str]:
    """The names of globals and attributes in a function and in those defined inside it; for getattr(), texts too."""
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _names_in(constant)
        elif isinstance(constant, str) and constant.isidentifier():
            yield constant


def _globals_in(code: types.CodeType) -> Iterator[str]:
    """The names of globals alone: `step` in step(x), and not in optimizer.step()."""
    yield from (i.argval for i in dis.get_instructions(code) if i.opname in ("LOAD_GLOBAL", "LOAD_NAME"))
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _globals_in(constant)


def _is_foreign(module: str | None) -> bool:
    """Whether a module is not the user's, but this package's, Python's or installed: what is in it does not change."""
    root = (module or "builtins").partition(".")[0]
    file = getattr(sys.modules.get(root), "__file__", None) or ""
    installed = {"site-packages", "dist-packages"} & set(Path(file).parts)
    pythons = root in sys.stdlib_module_names and (not file or Path(file).is_relative_to(STANDARD_LIBRARY))
    return root == __name__.partition(".")[0] or bool(installed) or (pythons and root != "__main__")
