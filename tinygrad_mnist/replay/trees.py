"""Arguments and results in tuples, lists and dicts; and when two values are the same."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeAlias

import numpy as np

from tinygrad_mnist.tensor import Tensor

PLAIN = (int, float, complex, bool, str, bytes, type(None), np.generic)
"""Values that are the same when they are equal."""

Form: TypeAlias = "tuple[type, tuple[Any, ...], tuple[Form, ...]] | None"
"""How an argument is made up: the container, its keys and the forms of its items; None for what is not taken apart."""


def same(a: Any, b: Any) -> bool:
    """Whether two values are one: the same object, or numbers and texts that are equal (0.0 is not -0.0)."""
    return a is b or (isinstance(a, PLAIN) and type(a) is type(b) and a == b and (a != 0 or str(a) == str(b)))


def items(container: Any) -> list[Any]:
    """What is in a list, a tuple or a dict, keys included."""
    return [*container, *container.values()] if isinstance(container, dict) else list(container)


def same_items(container: Any, were: list[Any]) -> bool:
    """Whether it holds what it held."""
    now = items(container)
    return len(now) == len(were) and all(map(same, now, were))


def taken_apart(x: Any) -> tuple[tuple[Any, ...], list[Any]] | None:
    """The keys and the items of a tuple, also a named one, a list or a dict; None for all else."""
    if type(x) is dict:
        return tuple(x), list(x.values())
    named = isinstance(x, tuple) and hasattr(x, "_fields")
    return (x._fields if named else tuple(range(len(x))), list(x)) if named or type(x) in (tuple, list) else None


def put_together(kind: type, keys: Iterable[Any], inside: Iterable[Any]) -> Any:
    """A container of a kind, with these items."""
    if kind is dict:
        return dict(zip(keys, inside, strict=True))
    return kind._make(inside) if hasattr(kind, "_make") else kind(inside)


def mapped(value: Any, kind: type, function: Callable[[Any], Any]) -> Any:
    """The same structure with the function's result for each thing of a kind."""
    if apart := taken_apart(value):
        return put_together(type(value), apart[0], [mapped(item, kind, function) for item in apart[1]])
    return function(value) if isinstance(value, kind) else value


def leaves(value: Any) -> list[Any]:
    """All that a structure holds, in order."""
    apart = taken_apart(value)
    return [value] if apart is None else [x for item in apart[1] for x in leaves(item)]


def _is_named(x: Any) -> bool:
    """Whether it is no dict of keys that are no texts: 1, 1.0 and True would be one."""
    return type(x) is not dict or all(type(key) is str for key in x)


def returnable(value: Any) -> bool:
    """Whether a replay can return it: Tensors and what is equal to itself, also in tuples, lists and dicts."""
    if apart := taken_apart(value):
        return _is_named(value) and all(map(returnable, apart[1]))
    return isinstance(value, (Tensor, *PLAIN))


def is_group(x: Any) -> bool:
    """Whether an argument is a group of arrays and perhaps numbers; not of parameters, which are changed in place."""
    return taken_apart(x) is not None and is_plain(x) and any(isinstance(y, Tensor | np.ndarray) for y in leaves(x))


def is_plain(x: Any) -> bool:
    """Whether it is a number, a text or an array, or made of them."""
    if apart := taken_apart(x):
        return _is_named(x) and all(map(is_plain, apart[1]))
    return isinstance(x, (*PLAIN, np.ndarray)) or (isinstance(x, Tensor) and not x.requires_grad)


def form(x: Any) -> Form:
    """How a group is made up."""
    apart = taken_apart(x)
    return None if apart is None else (type(x), apart[0], tuple(map(form, apart[1])))


def names(name: str, of: Form) -> Iterator[str]:
    """A name for each thing in an argument."""
    if of is None:
        yield name
    else:
        for key, inside in zip(of[1], of[2], strict=True):
            yield from names(f"{name}_{key}", inside)


class Regrouped:
    """Arguments made up as others are, of Tensors where those have arrays; what is done to them is done to the others.

    Args:
        values: the arguments.
        forms: how each is made up.
        parts: what they hold, in order, and what stands for it.
    """

    def __init__(self, values: Iterable[Any], forms: Iterable[Form], parts: Iterable[tuple[Any, Any]]) -> None:
        self.originals: dict[int, Any] = {}  # by the id of what stands for it
        self.made: list[tuple[Any, list[Any]]] = []  # lists and dicts, and what was put into them
        rest = iter(parts)
        self.arguments = [self._regroup(x, of, rest) for x, of in zip(values, forms, strict=True)]

    def _regroup(self, value: Any, of: Form, parts: Iterator[tuple[Any, Any]]) -> Any:
        if of is None:
            value, stands = next(parts)
        else:
            apart = taken_apart(value)
            assert apart is not None
            held = [self._regroup(x, form, parts) for x, form in zip(apart[1], of[2], strict=True)]
            stands = put_together(of[0], of[1], held)
            if of[0] in (list, dict):
                self.made.append((stands, items(stands)))
        self.originals[id(stands)] = value
        return stands

    def give_back(self) -> bool:
        """Do to the arguments what has been done to these; returns whether anything has."""
        changed = [stands for stands, were in self.made if not same_items(stands, were)]
        for stands in changed:
            original = self.originals[id(stands)]
            if isinstance(stands, dict):
                now = {key: self.originals.get(id(x), x) for key, x in stands.items()}
                original.clear()
                original.update(now)
            else:
                original[:] = [self.originals.get(id(x), x) for x in stands]
        return bool(changed)
