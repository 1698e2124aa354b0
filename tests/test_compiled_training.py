"""Random training programs, compiled and not: the same bits at every call, whatever changes between the calls."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from tinygrad_mnist import compile
from tinygrad_mnist.replay import Compiled

from .random_training import plain, run

replays: list[int] = []


# A training takes half a second, and a smaller seed is no simpler one.
@settings(max_examples=max(8, settings().max_examples // 4), phases=[Phase.explicit, Phase.generate])
@given(seed=st.integers(0, 2**32), audit=st.sampled_from([1, 2, 7, 1000]))
def check(seed: int, audit: int) -> None:
    with np.errstate(all="ignore"):
        expected, _ = run(seed, plain)
        found, steps = run(seed, lambda step: compile(step, audit=audit))
    for k, (a, b) in enumerate(zip(found, expected, strict=True)):
        assert a == b, f"call {k}"
    compiled: list[Compiled] = steps
    replays.append(sum(step.replays for step in compiled))
    assert not any("eagerly" in step.source for step in compiled)


def test_random_trainings_give_the_same_bits(caplog: Any) -> None:
    replays.clear()
    check()
    assert sum(map(bool, replays)) > len(replays) / 3
    assert sum(replays) > 4 * len(replays)
    assert not [r for r in caplog.records if "bit for bit" in r.getMessage()]
