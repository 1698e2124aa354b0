"""Random numbers in a step: ops draw them anew in a replay; a step that draws some by itself is noticed."""

from __future__ import annotations

import copy
import random
from collections.abc import Iterable
from typing import Any

import numpy as np

from .program import Instruction

GENERATORS = (np.random.Generator, np.random.BitGenerator, np.random.RandomState, random.Random)


def source(generator: Any) -> Any:
    """What several generators may share: the source of their bits."""
    return generator.bit_generator if isinstance(generator, np.random.Generator) else generator


def state(source: Any) -> Any:
    """The state of a source, to compare as text and to go back to."""
    if isinstance(source, np.random.BitGenerator):
        return copy.deepcopy(source.state)
    if source is np.random:
        return np.random.get_state(legacy=False)  # noqa: NPY002 (somebody may draw from it)
    return source.get_state(legacy=False) if isinstance(source, np.random.RandomState) else source.getstate()


def drawn_from(instructions: Iterable[Instruction]) -> list[Any]:
    """The sources that ops draw from, each once."""
    params = [x for i in instructions for x in i.params.values() if isinstance(x, np.random.Generator)]
    return list({id(source(x)): source(x) for x in params}.values())


class Draws:
    """The generators that a step has names for, and whether the step draws from them.

    Those that ops draw from are left to the audit: a step that draws from one of them besides leaves it elsewhere.
    """

    def __init__(self, reach: Iterable[Any]) -> None:
        known = [source(x) for x in reach if not isinstance(x, random.SystemRandom)]  # which has no state
        self.states = [(x, str(state(x))) for x in (random, np.random, *known)]

    def by_others(self, instructions: Iterable[Instruction]) -> bool:
        """Whether anything but ops has drawn."""
        known = set(map(id, drawn_from(instructions)))
        return any(str(state(x)) != was for x, was in self.states if id(x) not in known)
