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


def mapped(value: Any, kind: type, function: Callable[[Any], Any]) -> Any:
    """The same structure with the function's result for each thing of a kind."""
    if type(value) in (tuple, list):
        return type(value)(mapped(item, kind, function) for item in value)
    if type(value) is dict:
        return {key: mapped(item, kind, function) for key, item in value.items()}
    return function(value) if isinstance(value, kind) else value


def leaves(value: Any) -> list[Any]:
    """All that a structure holds, in order."""
    if type(value) in (tuple, list, dict):
        return [x for item in (value.values() if type(value) is dict else value) for x in leaves(item)]
    return [value]


def returnable(value: Any) -> bool:
    """Whether a replay can return it: Tensors and what is equal to itself, also in tuples, lists and dicts."""
    if type(value) is dict and not all(type(key) is str for key in value):
        return False
    if type(value) in (tuple, list, dict):
        return all(map(returnable, value.values() if type(value) is dict else value))
    return isinstance(value, (Tensor, *PLAIN))


def is_group(x: Any) -> bool:
    """Whether an argument is a group of arrays and perhaps numbers; not of parameters, which are changed in place."""
    return type(x) in (tuple, list, dict) and is_plain(x) and any(isinstance(y, Tensor | np.ndarray) for y in leaves(x))


def is_plain(x: Any) -> bool:
    """Whether it is a number, a text or an array, or made of them."""
    if type(x) in (tuple, list, dict):
        by_name = type(x) is not dict or all(type(key) is str for key in x)  # 1, 1.0 and True would be one
        return by_name and all(map(is_plain, x.values() if type(x) is dict else x))
    return isinstance(x, (*PLAIN, np.ndarray)) or (isinstance(x, Tensor) and not x.requires_grad)


def form(x: Any) -> Form:
    """How a group is made up."""
    if type(x) not in (tuple, list, dict):
        return None
    keys = tuple(x) if type(x) is dict else tuple(range(len(x)))
    return type(x), keys, tuple(map(form, x.values() if type(x) is dict else x))


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
            inside = value.values() if of[0] is dict else value
            held = [self._regroup(x, form, parts) for x, form in zip(inside, of[2], strict=True)]
            stands = dict(zip(of[1], held, strict=True)) if of[0] is dict else of[0](held)
            if of[0] is not tuple:
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
