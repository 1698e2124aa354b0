"""Whether a checkpoint of the zoo is what it says: sizes before anything is made of them, and parts that go together.

A checkpoint may come from anywhere. What it claims costs no more than what it holds, and training does not go on from
one whose parts contradict each other, which would come to other numbers without a word.
"""

import json
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
from .stopping import best_of
from .words import counted


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
    """The model of a checkpoint of the zoo, with its parameters: those of its best epoch, if they were kept.

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
    for name, array in (*arrays.items(), *(checkpoint.best or {}).items()):
        if not np.isfinite(array).all():
            raise CheckpointError(f"{file}: {name} is not finite: it is of no use; train anew, with a smaller --lr")
    if checkpoint.best is not None:
        model.load_state_dict(checkpoint.best)
    return model


class Expected:
    """What a checkpoint must agree with: a training with its settings, before anything is restored into it."""

    def __init__(
        self,
        checkpoint: Checkpoint,
        model: nn.Module,
        optimizer: Optimizer,
        schedule: Schedule | None,
        rng: np.random.Generator,
    ) -> None:
        self.checkpoint = checkpoint
        self.parameters = {name: (p, p.data.copy()) for name, p in model.named_parameters()}
        self.rng = np.random.Generator(type(rng.bit_generator)())
        self.rng.bit_generator.state = rng.bit_generator.state
        try:
            for epoch in checkpoint.history:
                if schedule is not None:
                    schedule.step(epoch)
        except (TypeError, ValueError) as error:
            raise CheckpointError(f"{checkpoint.path}: its schedule cannot follow its history: {error}") from None
        self.groups = optimizer.state_dict()["groups"]
        self.schedule = schedule.state_dict() if schedule else None

    def contradiction(self, optimizer: Optimizer) -> str | None:
        """What of the checkpoint, as it has been restored, contradicts the rest; None if nothing does."""
        checkpoint, done = self.checkpoint, len(self.checkpoint.history)
        if [epoch.epoch for epoch in checkpoint.history] != list(range(1, done + 1)):
            return "the epochs of its history are not numbered from 1 on"
        if _plain(checkpoint.schedule) != _plain(self.schedule):
            return f"its schedule is not that of its settings after {counted(done, 'epoch')}"
        for group, own in zip(optimizer.groups, self.groups, strict=True):
            for name, value in own.items():
                if not np.allclose(group[name], value, rtol=1e-9, atol=0):
                    after = f"not that of its settings after {counted(done, 'epoch')}"
                    return f"its optimizer has the {name} {group[name]}, {after}"
        return self._of_best() or self._of_state(optimizer) or self._of_order(checkpoint)

    def _of_best(self) -> str | None:
        """Whether the weights of the best epoch are there if they are kept, and are the last if that was the last."""
        checkpoint, best = self.checkpoint, best_of(self.checkpoint.history)
        if (checkpoint.best is not None) != bool(checkpoint.settings.get("keep_best") and best):
            return "it has " + ("no weights" if checkpoint.best is None else "weights") + " of a best epoch"
        if checkpoint.best is not None and best is checkpoint.history[-1]:
            for name, array in checkpoint.best.items():
                if not np.array_equal(array, checkpoint.model[name]):
                    return f"its last epoch was its best, and has another {name}"
        return None

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
        return (
            None if same else f"its generator of orders is not where its seed leaves it after {counted(done, 'epoch')}"
        )


def _plain(state: Any) -> Any:
    """A state as JSON has it, with lists for tuples."""
    return json.loads(json.dumps(state))
