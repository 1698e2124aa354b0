"""Random numbers in a step: ops draw them anew in a replay; a step that draws some by itself is noticed."""

from __future__ import annotations

import copy
import inspect
import random
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from .program import Instruction, is_ours

GENERATORS = (np.random.Generator, np.random.BitGenerator, np.random.RandomState, random.Random)


def surroundings(step: Callable[..., Any]) -> dict[str, Any]:
    """What a function refers to by name, to name Tensors as it does; empty if it does not tell."""
    try:
        around = inspect.getclosurevars(step)
    except (TypeError, ValueError):
        return {}
    return {**around.globals, **around.nonlocals}


def _sources(values: Iterable[Any]) -> list[Any]:
    """The sources of bits of the generators among these, which several of them may share, each once."""
    made = [x for x in values if isinstance(x, GENERATORS) and not isinstance(x, random.SystemRandom)]  # has no state
    sources = [x.bit_generator if isinstance(x, np.random.Generator) else x for x in made]
    return list({id(x): x for x in sources}.values())


def state(source: Any) -> Any:
    """The state of a source, to compare as text and to go back to."""
    if isinstance(source, np.random.BitGenerator):
        return copy.deepcopy(source.state)
    if source is np.random:
        return np.random.get_state(legacy=False)  # noqa: NPY002 (somebody may draw from it)
    return source.get_state(legacy=False) if isinstance(source, np.random.RandomState) else source.getstate()


def go_back(source: Any, was: Any) -> None:
    """Let a source be in a state again."""
    if isinstance(source, np.random.BitGenerator):
        source.state = was
    elif isinstance(source, np.random.RandomState):
        source.set_state(was)
    else:
        source.setstate(was)


def drawn_from(instructions: Iterable[Instruction]) -> list[Any]:
    """The sources that ops may draw from: their parameters, and what forward functions of a user's refer to by name."""
    every = list(instructions)
    ops = dict.fromkeys(i.op for i in every if not is_ours(i.op))
    params = [x for i in every for x in i.params.values()]
    return _sources([*params, *(x for op in ops for x in surroundings(op.forward).values())])


class Draws:
    """The generators among what a step has names for, and whether the step draws from them.

    Those that ops draw from are left to the audit: a step that draws from one of them besides leaves it elsewhere.
    """

    def __init__(self, reach: Iterable[Any]) -> None:
        self.states = {id(x): (x, state(x)) for x in (random, np.random, *_sources(reach))}

    def by_others(self, instructions: Iterable[Instruction]) -> bool:
        """Whether anything but ops has drawn."""
        known = set(map(id, drawn_from(instructions)))
        return any(str(state(x)) != str(was) for x, was in self.states.values() if id(x) not in known)

    def see(self, generator: Any) -> None:
        """The step comes to a generator."""
        for bits in _sources([generator]):
            self.states.setdefault(id(bits), (bits, state(bits)))
