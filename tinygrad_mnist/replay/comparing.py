"""Whether two things are the same, for the purposes of a replay; and what a step returns, gone through."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np

from tinygrad_mnist.tensor import Array, Tensor

from .program import Buffer, Number
from .watching import PLAIN


def told_apart(x: Any) -> Any:
    """What must be equal in two recordings, for things that are not looked at closer."""
    if isinstance(x, Buffer):
        return x.layout
    return (id(x.owner), x.key) if isinstance(x, Number) else (type(x), repr(x))


def returnable(value: Any) -> bool:
    """Whether a replay can return it: Tensors and what is equal to itself, also in tuples, lists and dicts."""
    if type(value) in (tuple, list):
        return all(map(returnable, value))
    if type(value) is dict:
        return all(isinstance(key, str) and returnable(item) for key, item in value.items())
    return isinstance(value, (Tensor, *PLAIN))


def mapped(value: Any, kind: type, function: Callable[[Any], Any]) -> Any:
    """The same structure with the function's result for each thing of a kind."""
    if type(value) in (tuple, list):
        return type(value)(mapped(item, kind, function) for item in value)
    if type(value) is dict:
        return {key: mapped(item, kind, function) for key, item in value.items()}
    return function(value) if isinstance(value, kind) else value


def random_states(generators: list[Any]) -> Any:
    """The states of the random number generators in reach, to see whether a step draws from them."""
    return random.getstate(), str(np.random.get_state()), list(map(_state_of, generators))  # noqa: NPY002


def _state_of(generator: Any) -> str:
    """The state of a generator, NumPy's (new or old) or Python's."""
    if isinstance(generator, np.random.Generator):
        generator = generator.bit_generator
    if isinstance(generator, np.random.BitGenerator):
        return str(generator.state)
    return str(generator.getstate() if isinstance(generator, random.Random) else generator.get_state(legacy=False))


def identical(a: Array, b: Array) -> bool:
    """Whether two arrays of one shape and dtype hold the same bits."""
    if a.dtype.char in "gG":  # has bytes that mean nothing
        return np.array_equal(a, b, equal_nan=True)
    return a.tobytes() == b.tobytes()
