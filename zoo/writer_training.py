"""How the writer learns: its settings, its steps, what it costs on digits held out, and checkpoints to go on from."""

from __future__ import annotations

import functools
import math
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np

from tinygrad_mnist import Tensor, compile, mnist, train
from tinygrad_mnist.optim import Adam, LambdaLR
from tinygrad_mnist.replay import BACKENDS
from tinygrad_mnist.tensor import Array
from tinygrad_mnist.train import Checkpoint, CheckpointError

from .base import options_of, setting
from .limits import number, whole_number
from .patches import CODES, codebook_of, grid_of
from .training import describe
from .transformer import Writer, log_likelihood
from .words import of_data

EVERY = 100
"""After so many steps the cost on digits held out is measured, and the checkpoint written."""

HELD_OUT = 1000
"""How many validation digits that cost is measured on, the first ones."""

CODEBOOK_FROM = 3000
"""How many training digits the codebook is found on, the first ones."""


@dataclass(frozen=True, kw_only=True)
class WriterSettings:
    """The settings of the writer and of its training. ValueError: one has none of the values that it may have.

    The learning rate grows for `warm_up` steps, stays to the middle, and falls in a straight line to 0.
    """

    steps: int = setting(3126, "steps of training; of MNIST's digits the default is two epochs", whole_number(0), "N")
    batch_size: int = setting(32, "digits in a mini-batch", whole_number(1), "M")
    lr: float = setting(0.002, "learning rate, at its highest", number(0, open_low=True), "ETA")
    warm_up: int = setting(100, "steps in which it grows to that", whole_number(1), "N")
    size: int = setting(64, "of the vector at each place, d_model; divisible by the heads", whole_number(1), "D")
    heads: int = setting(4, "heads of the attention", whole_number(1), "H")
    blocks: int = setting(2, "blocks of attention and mlp", whole_number(1), "N")
    seed: int = setting(0, "of the codebook, the first weights, and the order of the digits", whole_number(0), "N")

    def __post_init__(self) -> None:
        for name, option in options_of(type(self)).items():
            option.check(name, getattr(self, name))
        if self.size % self.heads:
            raise ValueError(f"size: expected a multiple of the {self.heads} heads, got {self.size}; give --size")

    def model(self, image_shape: tuple[int, int], n_classes: int, rng: np.random.Generator) -> Writer:
        """The network that learns by these settings."""
        return Writer(image_shape, n_classes, self.size, self.heads, self.blocks, rng=rng)

    def rate(self, step: int) -> float:
        """What the learning rate is multiplied by at a step, counted from 0.

        >>> [round(WriterSettings(steps=1000, warm_up=100).rate(step), 2) for step in (0, 49, 99, 500, 750, 999)]
        [0.01, 0.5, 1.0, 1.0, 0.5, 0.0]
        """
        return max(0.0, min((step + 1) / self.warm_up, 1.0, 2 * (1 - step / max(self.steps, 1))))


@dataclass(frozen=True)
class Record:
    """What a hundred steps came to: the mean cost of the steps, the cost on digits held out, both in nats a patch."""

    step: int
    cost: float
    held_out: float
    lr: float
    seconds: float


class WriterTraining:
    """A writer with its data, ready to learn.

    Args:
        settings: the settings.
        data: what to learn from; it needs validation digits.
        source: where the data was looked for, to be kept in checkpoints; None for the usual places.
        backend: what a step is compiled to.

    Attributes:
        writer, optimizer, schedule: what the settings ask for.
        step: a step of training, compiled: of symbols, of which it returns the cost.
        done: how many steps are done.
        records: one for every hundred steps, and for the last.
    """

    def __init__(
        self, settings: WriterSettings, data: mnist.Dataset, source: str | None = None, backend: str = "numpy"
    ) -> None:
        if not len(data.validation):
            raise ValueError(f"{data.source}: there are no validation images to measure on; name larger data")
        self.settings, self.data, self.source, self.backend = settings, data, source, backend
        rng = np.random.default_rng([0, settings.seed])
        self.writer = settings.model(data.image_shape, data.n_classes, rng)
        codebook = codebook_of(data.train.images[:CODEBOOK_FROM], data.image_shape, rng)
        self.writer.load_state_dict({**self.writer.state_dict(), "codebook": codebook})
        self.optimizer = Adam(self.writer.parameters(), lr=settings.lr)
        self.schedule = LambdaLR(self.optimizer, settings.rate)
        self.step = compile(self._step, backend=backend)
        self.done = 0
        self.records: list[Record] = []
        self._order: tuple[int, Array] | None = None

    @property
    def steps_an_epoch(self) -> int:
        """After how many steps all training digits were seen."""
        return math.ceil(len(self.data.train) / self.settings.batch_size)

    def batch(self, step: int) -> Array:
        """The symbols of the digits of a step, counted from 0.

        Which they are follows from the seed and the step alone, so that a run that goes on needs no generator's state.
        """
        epoch, place = divmod(step, self.steps_an_epoch)
        if self._order is None or self._order[0] != epoch:
            self._order = epoch, np.random.default_rng([1, self.settings.seed, epoch]).permutation(len(self.data.train))
        rows = self._order[1][place * self.settings.batch_size :][: self.settings.batch_size]
        return self.writer.encoded(self.data.train.images[rows], self.data.train.labels[rows])

    def fit(self, progress: Callable[..., Iterable[Any]] | None = None) -> Iterator[Record]:
        """Train to the last step, and yield a record after every hundred steps.

        Raises:
            DivergedError: the cost is not a finite number any more.
        """
        steps: Iterable[int] = range(self.done, self.settings.steps)
        if progress is not None:
            steps = progress(steps, initial=self.done, total=self.settings.steps, desc="writer")
        costs: list[float] = []
        start = time.perf_counter()
        for number_of_step in steps:
            rate = self.optimizer.groups[0]["lr"]
            with np.errstate(over="ignore", invalid="ignore"):  # what overflows shows in the cost
                costs.append(self.step(self.batch(number_of_step)).item())
            if not math.isfinite(costs[-1]):
                raise train.DivergedError(
                    f"step {number_of_step + 1}: the cost is {costs[-1]}; try a learning rate below {rate:g}"
                )
            self.schedule.step()
            self.done = number_of_step + 1
            if self.done % EVERY == 0 or self.done == self.settings.steps:
                held_out, seconds = self.held_out(), time.perf_counter() - start
                self.records.append(Record(self.done, float(np.mean(costs)), held_out, rate, seconds))
                yield self.records[-1]
                costs, start = [], time.perf_counter()

    def _step(self, symbols: Tensor) -> Tensor:
        cost: Tensor = self.writer.cost(symbols)
        self.optimizer.zero_grad()
        cost.backward()
        self.optimizer.step()
        return cost

    def held_out(self) -> float:
        """The cost on validation digits, in nats a patch."""
        some = self.data.validation[:HELD_OUT]
        symbols = self.writer.encoded(some.images, some.labels)
        return float(-log_likelihood(self.writer, symbols).mean() / self.writer.length)

    # --- Nothing is lost ---

    def save(self, path: str | os.PathLike[str], weights_only: bool = False) -> None:
        """Write all that is needed to go on, whole or not at all; or the weights only, a third of that."""
        settings = {
            "network": "writer",
            "settings": asdict(self.settings),
            "data": self.about,
            "source": self.source,
            "numpy": np.__version__,
            "backend": self.backend,
            "done": self.done,
            "records": [asdict(record) for record in self.records],
            "weights_only": weights_only,
        }
        optimizer = Adam(self.writer.parameters()) if weights_only else self.optimizer  # a new one has no state
        train.save(path, self.writer, optimizer, schedule=None if weights_only else self.schedule, settings=settings)

    @functools.cached_property
    def about(self) -> dict[str, Any]:
        """What distinguishes the data from others."""
        return describe(self.data)

    @classmethod
    def resume(
        cls,
        checkpoint: Checkpoint,
        settings: WriterSettings,
        data: mnist.Dataset,
        source: str | None = None,
        backend: str = "numpy",
    ) -> Self:
        """Go on from a checkpoint, to the same bits as if it had never stopped.

        Args:
            checkpoint: from `train.load()`.
            settings: `settings_of_writer(checkpoint)`, perhaps with more steps.
            data: the same as before.
            source, backend: as for `WriterTraining`.

        Raises:
            CheckpointError: it is of other data, holds the weights only, or contradicts itself.
        """
        saved = checkpoint.settings
        if saved["weights_only"]:
            raise CheckpointError(f"{checkpoint.path}: holds the weights only, of which nothing goes on; train anew")
        if saved["data"] != (about := describe(data)):
            raise CheckpointError(
                f"{checkpoint.path}: was trained on other data ({of_data(saved['data'])}) than given "
                f"({of_data(about)}); name the same with --data and --train-size"
            )
        training = cls(settings, data, source, backend)
        checkpoint.restore(training.writer, training.optimizer, schedule=training.schedule)
        training.schedule.load_state_dict(training.schedule.state_dict())  # the rates of the settings' steps
        training.done = saved["done"]
        states = [dict(training.optimizer.state[p]) for p in training.writer.parameters()] if training.done else []
        if training.schedule.epoch != training.done or any(state.get("step") != training.done for state in states):
            raise CheckpointError(
                f"{checkpoint.path}: contradicts itself: {training.done} of its steps are done, and its optimizer or "
                "schedule has done others; name another, or train anew"
            )
        training.records = [Record(**record) for record in saved["records"]]
        return training


def settings_of_writer(checkpoint: Checkpoint) -> WriterSettings:
    """The settings that a writer was saved with; a CheckpointError if the file holds something else.

    Nothing that it says of sizes is believed that its arrays do not have.
    """
    saved, arrays = checkpoint.settings, checkpoint.model
    try:
        if saved["network"] != "writer":
            raise ValueError(f"it holds a zoo.{saved['network']}")
        settings, about = WriterSettings(**saved["settings"]), saved["data"]
        counts = [about["n"], about["n_classes"], *about["image_shape"], about["checksum"]]
        if len(counts) != 5 or any(type(count) is not int or count < 0 for count in counts):
            raise ValueError(f"it says of its data {about}")
        rows, columns = grid_of(tuple(about["image_shape"]))
        expected = {
            "symbols.weight": (CODES + about["n_classes"], settings.size),
            "places.weight": (rows * columns, settings.size),
            **{f"blocks.layers.{i}.attention.query.weight": (settings.size, settings.size) for i in _blocks(arrays)},
        }
        if len(_blocks(arrays)) != settings.blocks or any(arrays[name].shape != expected[name] for name in expected):
            raise ValueError("its arrays are not as large as its settings say")
        if not all(np.isfinite(array).all() for array in arrays.values()):
            raise ValueError("its weights are not finite numbers")
        if not (type(saved["done"]) is int and saved["done"] >= 0 and isinstance(saved["weights_only"], bool)):
            raise ValueError(f"it says that {saved['done']!r:.60} steps are done")
        if saved["backend"] not in BACKENDS or not isinstance(saved["source"], str | None):
            raise ValueError(f"it was trained with {saved['backend']!r:.60} on {saved['source']!r:.60}")
        for record in saved["records"]:
            if not all(isinstance(value, int | float) for value in asdict(Record(**record)).values()):
                raise ValueError(f"it has the record {record!r:.60}")
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise CheckpointError(
            f"{checkpoint.path}: expected a writer that zoo.writer saved, found another checkpoint ({error!s:.300})"
        ) from None
    return settings


def writer_of(checkpoint: Checkpoint) -> Writer:
    """The writer in a checkpoint; a CheckpointError if the file holds something else."""
    settings, about = settings_of_writer(checkpoint), checkpoint.settings["data"]
    writer = settings.model(tuple(about["image_shape"]), about["n_classes"], np.random.default_rng(0))
    checkpoint.restore(writer)
    return writer


def _blocks(arrays: Mapping[str, Array]) -> list[int]:
    """The numbers of the blocks that there are attention's weights of."""
    return [i for i in range(len(arrays)) if f"blocks.layers.{i}.attention.query.weight" in arrays]
