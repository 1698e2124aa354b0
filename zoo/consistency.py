"""Whether a checkpoint of the zoo is what it says: sizes before anything is made of them, and parts that go together.

A checkpoint may come from anywhere. What it claims costs no more than what it holds, and training does not go on from
one whose parts contradict each other, which would come to other numbers without a word.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from tinygrad_mnist import mnist, nn
from tinygrad_mnist.mnist import Split
from tinygrad_mnist.optim import Optimizer, Schedule, State
from tinygrad_mnist.tensor import Array
from tinygrad_mnist.train import Checkpoint, CheckpointError

from .base import BaseNetwork


class _Frugal(np.random.Generator):
    """A generator that draws no more than `left` numbers from N(0, 1), for the first weights of a model."""

    left = 0

    def standard_normal(self, size: Any = None, *args: Any, **kwargs: Any) -> Any:
        """Draw, if there are so many left."""
        sizes = () if size is None else (size,) if isinstance(size, int | np.integer) else size
        self.left -= math.prod(map(int, sizes))
        if self.left < 0:
            raise _TooLargeError
        return super().standard_normal(size, *args, **kwargs)


class _TooLargeError(Exception):
    """A model has more weights than its file."""


def model_of(checkpoint: Checkpoint, network: BaseNetwork) -> nn.Module:
    """The model of a checkpoint of the zoo, with its parameters.

    Raises:
        CheckpointError: it is larger than the file, or its parameters do not fit, or they are not finite.
    """
    about, file, arrays = checkpoint.settings["data"], checkpoint.path, checkpoint.model
    rng = _Frugal(np.random.PCG64(0))
    rng.left = 4 * sum(array.size for array in arrays.values()) + 1_000_000  # some models draw more than they have
    try:
        if len(network.hidden) > len(arrays):
            raise _TooLargeError
        model = network.model(math.prod(about["image_shape"]), about["n_classes"], rng)
    except _TooLargeError:
        raise CheckpointError(
            f"{file}: its settings are of a network that is larger than its {len(arrays):,} arrays; name another"
        ) from None
    checkpoint.restore(model)
    for name, array in arrays.items():
        if not np.isfinite(array).all():
            raise CheckpointError(f"{file}: {name} is not finite: it is of no use; train anew, with a smaller --lr")
    return model


class Expected:
    """What a checkpoint must agree with: a training with its settings, before anything is restored into it."""

    def __init__(
        self, model: nn.Module, optimizer: Optimizer, schedule: Schedule | None, rng: np.random.Generator
    ) -> None:
        self.parameters = {name: (p, p.data.copy()) for name, p in model.named_parameters()}
        self.groups = optimizer.state_dict()["groups"]
        self.schedule = schedule
        self.first = schedule.state_dict() if schedule else None
        self.rng = np.random.Generator(type(rng.bit_generator)())
        self.rng.bit_generator.state = rng.bit_generator.state

    def contradiction(self, checkpoint: Checkpoint, optimizer: Optimizer) -> str | None:
        """What of a checkpoint, as it has been restored, contradicts the rest; None if nothing does."""
        done = len(checkpoint.history)
        if [epoch.epoch for epoch in checkpoint.history] != list(range(1, done + 1)):
            return "the epochs of its history are not numbered from 1 on"
        now = self.schedule.state_dict() if self.schedule else checkpoint.schedule
        if now != (self.first and {**self.first, "epoch": done}):
            return f"its schedule is not that of its settings after {done} epochs"
        for group, own in zip(optimizer.groups, self.groups, strict=True):
            rate = self.schedule.rate(own["lr"], done) if self.schedule else own["lr"]
            for name, value in own.items():
                if not math.isclose(group[name], rate if name == "lr" else value):
                    return f"its optimizer has the {name} {group[name]}, not that of its settings after {done} epochs"
        return self._of_state(optimizer) or self._of_order(checkpoint)

    def _of_state(self, optimizer: Optimizer) -> str | None:
        """Whether the optimizer keeps what one step of its formula leaves, for each parameter that has changed."""
        names = {id(p): name for name, (p, _) in self.parameters.items()}
        for group in optimizer.groups:
            for p in group["params"]:
                expected, name = State(p.dtype), names.get(id(p), "a parameter")
                kept: Mapping[str, Array] = optimizer.state.get(p) or {}
                if any(not np.isfinite(array).all() for array in kept.values()):
                    return f"what its optimizer keeps of {name} is not finite"
                if id(p) in names and not np.array_equal(p.data, self.parameters[name][1]):
                    with np.errstate(all="ignore"):
                        optimizer.direction(np.zeros(p.shape, p.dtype), expected, group)
                for key, array in expected.items():
                    if key not in kept or kept[key].shape != array.shape:
                        return f"its optimizer lacks the {key} of {name}"
        return None

    def _of_order(self, checkpoint: Checkpoint) -> str | None:
        """Whether the generator is where its epochs, for each of which it drew an order, have left it."""
        if checkpoint.settings.get("numpy") != np.__version__:  # another version may draw otherwise
            return None
        n = checkpoint.settings["data"]["n"]
        split = Split(np.zeros((n, 0), np.float32), np.zeros(n, np.int64))
        for _ in checkpoint.history:
            mnist.batches(split, 1, self.rng)  # 0.6 ms for 50,000 digits
        done = len(checkpoint.history)
        same = self.rng.bit_generator.state == checkpoint.rng
        return None if same else f"its generator of orders is not where {done} epochs with its seed leave it"
