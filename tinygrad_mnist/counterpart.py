"""NumPy's functions as counterparts of the table's, where they take parameters that ours do not."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Collection, Iterable
from typing import Any

import numpy as np

_OF_UFUNCS = frozenset("out where casting order dtype subok signature".split())  # which do not tell


@functools.cache
def parameters(function: Any) -> dict[str, Any] | None:
    """The parameters of a function with their defaults; None if it does not tell, as in NumPy 2.0 one written in C."""
    try:
        return {p.name: p.default for p in inspect.signature(function).parameters.values()}
    except ValueError:
        return None


@functools.cache
def _positional(function: Any) -> list[str]:
    """The names of what can be given by position alone, as the dtype of np.astype."""
    if parameters(function) is None:
        return []
    return [p.name for p in inspect.signature(function).parameters.values() if p.kind is p.POSITIONAL_ONLY]


@functools.cache
def takes_any_number(function: Any) -> bool:
    """Whether its operands are arguments of its own, as those of np.einsum and np.meshgrid."""
    return any(p.kind is p.VAR_POSITIONAL for p in inspect.signature(function).parameters.values())


def counterpart(numpy: Iterable[Callable[..., Any]], names: Collection[str]) -> Callable[..., Any] | None:
    """Of NumPy's functions the first that takes parameters of these names; of arrays alone it returns an array."""
    for function in numpy:
        known = {} if isinstance(function, np.ufunc) else parameters(function)
        if known is not None and (isinstance(function, np.ufunc) or "kwargs" in known):
            known = dict.fromkeys([*known, *_OF_UFUNCS])
        if known is None or set(names).issubset(known):
            return functools.partial(_called, function)
    return None


def _called(function: Callable[..., Any], *args: Any, **params: Any) -> Any:
    by_position = [params.pop(name) for name in _positional(function)[len(args) :] if name in params]
    answer = function(*args, *by_position, **params)
    return np.asarray(answer) if isinstance(answer, np.generic) else answer
