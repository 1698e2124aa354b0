"""What makes the comparison fair: the same first weights and mini-batches for all, and the same weights in the end."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from tinygrad_mnist.tensor import Array

from .contestant import Parameters
from .contestants import CONTESTANTS


def first_parameters(hidden: int, seed: int = 0) -> Parameters:
    """First parameters: N(0, 1/fan_in) weights, N(0, 1) biases."""
    rng = np.random.default_rng(seed)
    return [
        ((rng.standard_normal((a, b)) / math.sqrt(a)).astype(np.float32), rng.standard_normal(b).astype(np.float32))
        for a, b in ((784, hidden), (hidden, 10))
    ]


def random_batches(n: int, size: int, seed: int = 1) -> list[tuple[Array, Array]]:
    """Mini-batches of random images, of which as many pixels are ink as in MNIST, and targets."""
    rng = np.random.default_rng(seed)
    made = []
    for _ in range(n):
        x = rng.random((size, 784), dtype=np.float32) * (rng.random((size, 784)) < 0.19)
        made.append((x.astype(np.float32), np.eye(10, dtype=np.float32)[rng.integers(0, 10, size)]))
    return made


def largest_difference(names: Sequence[str], batch: int, hidden: int, steps: int = 5) -> float:
    """The largest difference between any contestant's parameters and the hand-written code's, after some steps.

    Raises:
        AssertionError: it is more than rounding explains.
    """
    data = random_batches(steps, batch)
    found = {}
    for name in dict.fromkeys(("numpy", *names)):
        contestant = CONTESTANTS[name](first_parameters(hidden))
        contestant.epoch(data)
        found[name] = [array for pair in contestant.parameters() for array in pair]
    worst = 0.0
    for name, arrays in found.items():
        for ours, theirs in zip(arrays, found["numpy"], strict=True):
            difference = float(np.max(np.abs(ours - theirs)))
            if ours.dtype != np.float32 or not difference < 2e-5:
                raise AssertionError(f"{name}: {ours.dtype} weights differ by {difference:g} at batch {batch}")
            worst = max(worst, difference)
    return worst
