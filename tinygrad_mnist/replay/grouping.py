"""Arguments in groups: a batch that is a tuple, a list or a dict of arrays becomes so many arguments of a program."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import numpy as np

from tinygrad_mnist.tensor import Tensor

from .watching import PLAIN

Form: TypeAlias = "tuple[type, tuple[Any, ...], tuple[Form, ...]] | None"
"""How an argument is grouped: the container, its keys and the forms of its items; None for what is not taken apart."""


def is_group(x: Any) -> bool:
    """Whether it is a group of arrays, and perhaps numbers; not of parameters, which are changed in place."""
    return (
        type(x) in (tuple, list, dict) and _plain(x) and any(isinstance(leaf, _ARRAYS) for leaf in leaves(x, form(x)))
    )


_ARRAYS = (Tensor, np.ndarray)


def _plain(x: Any) -> bool:
    if type(x) in (tuple, list, dict):
        named = type(x) is not dict or all(type(key) is str for key in x)  # 1, 1.0 and True would be one
        return named and all(map(_plain, x.values() if type(x) is dict else x))
    return isinstance(x, (*PLAIN, np.ndarray)) or (isinstance(x, Tensor) and not x.requires_grad)


def form(x: Any) -> Form:
    """How a group is made up."""
    if type(x) is dict:
        return dict, tuple(x), tuple(map(form, x.values()))
    if type(x) in (tuple, list):
        return type(x), tuple(range(len(x))), tuple(map(form, x))
    return None


def leaves(x: Any, of: Form) -> Iterator[Any]:
    """What a group of this form holds, in order; or an argument itself."""
    if of is None:
        yield x
    else:
        for item, inside in zip(x.values() if of[0] is dict else x, of[2], strict=True):
            yield from leaves(item, inside)


def _regrouped(of: Form, parts: Iterator[Any]) -> Any:
    if of is None:
        return next(parts)
    kind, keys, inside = of
    items = [_regrouped(form, parts) for form in inside]
    return dict(zip(keys, items, strict=True)) if kind is dict else kind(items)


class Ungrouped:
    """A step as a function of what its arguments hold, given one by one.

    Attributes:
        step: the step.
        forms: of its arguments.
    """

    def __init__(self, step: Callable[..., Any], forms: tuple[Form, ...], names: list[str]) -> None:
        self.step, self.forms = step, forms
        self.__name__ = getattr(step, "__name__", type(step).__name__)
        parts = [part for name, of in zip(names, forms, strict=True) for part in _names(name, of)]
        if len(set(parts)) < len(parts) or not all(map(str.isidentifier, parts)):
            parts = [f"argument_{i}" for i in range(len(parts))]
        self.__signature__ = inspect.Signature([inspect.Parameter(n, inspect.Parameter.POSITIONAL_ONLY) for n in parts])

    def __call__(self, *parts: Any) -> Any:
        """What the step returns for the arguments that hold these."""
        rest = iter(parts)
        return self.step(*[_regrouped(of, rest) for of in self.forms])


def _names(name: str, of: Form) -> Iterator[str]:
    if of is None:
        yield name
    else:
        for key, inside in zip(of[1], of[2], strict=True):
            yield from _names(f"{name}_{key}", inside)
