"""What a contestant is: a training step that is made with parameters, changes them, and shows them.

Parameters are weights of shape (n_in, n_out) and biases, for every layer; `step` returns the cost.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tinygrad_mnist.tensor import Array

Parameters = list[tuple[Array, Array]]
"""Weights and biases of each layer."""

LR = 0.5
"""The learning rate of all contestants."""


class Contestant:
    """One implementation of a training step."""

    name = ""
    needs: tuple[str, ...] = ()  # modules that must be installed

    def __init__(self, parameters: Parameters) -> None:
        self.weights = [w.copy() for w, _ in parameters]
        self.biases = [b.copy() for _, b in parameters]

    def step(self, x: Array, y: Array) -> Any:
        """Train with one mini-batch, and return its cost."""
        raise TypeError(f"{type(self).__name__}: define step()")

    def epoch(self, batches: Sequence[tuple[Array, Array]]) -> Any:
        """Train with many, and wait until it is done."""
        for x, y in batches:
            cost = self.step(x, y)
        return cost

    def train_epoch(self, x: Array, y: Array, order: Array, size: int) -> Any:
        """An epoch: mini-batches of `size` rows of all examples, in a new order."""
        rows = (order[i : i + size] for i in range(0, len(order), size))
        return self.epoch([(x[r], y[r]) for r in rows])

    def parameters(self) -> Parameters:
        """What the weights and biases are now."""
        return [(np.asarray(w), np.asarray(b)) for w, b in zip(self.weights, self.biases, strict=True)]
