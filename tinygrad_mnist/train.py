"""Training: the loop, as a generator of records, and checkpoints that lose nothing.

    rng = np.random.default_rng(0)
    network = nn.Sequential(nn.Linear(784, 30, rng=rng), sigmoid, nn.Linear(30, 10, rng=rng), sigmoid)
    optimizer = optim.Momentum(network.parameters(), lr=1.5, momentum=0.5)
    data = mnist.load()
    for epoch in train.fit(network, data, cost=quadratic_cost, optimizer=optimizer, epochs=5, batch_size=10, rng=rng):
        print(epoch.epoch, epoch.cost, epoch.validation)

`fit` trains only as far as it is iterated over.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from . import mnist
from .files import whole
from .losses import softmax_cross_entropy
from .mode import no_grad
from .nn import Module
from .ops import softmax
from .optim import Optimizer, StepLR
from .replay import compile
from .tensor import Array, Tensor, leaf, values

SAMPLE = 10_000
"""On how many training examples, the first ones, the training accuracy and the saturation are measured."""


class DivergedError(ArithmeticError):
    """The cost is not a finite number any more: one line says where, and a remedy."""


@dataclass(frozen=True)
class Epoch:
    """What one epoch of training came to. Accuracies are shares, from 0 to 1.

    Attributes:
        epoch: its number, from 1.
        cost: the mean over its examples, each measured just before its mini-batch's update.
        training: the accuracy on the first `SAMPLE` training examples.
        validation: the accuracy on the validation examples; None if there are none.
        test: the accuracy on the test examples; None if there are none.
        lr: the learning rate, that of the optimizer's first group.
        saturated: the share of the sample's outputs within 0.01 of 0 or 1, where a sigmoid hardly learns (with
            `softmax_cross_entropy`, of their softmax); None if some are outside [0, 1], as without a last sigmoid.
        seconds: how long training and measuring took.
    """

    epoch: int
    cost: float
    training: float
    validation: float | None
    test: float | None
    lr: float
    saturated: float | None
    seconds: float


def fit(
    model: Callable[[Any], Any],
    data: mnist.Dataset,
    *,
    cost: Callable[[Any, Any], Tensor],
    optimizer: Optimizer,
    schedule: StepLR | None = None,
    epochs: int,
    batch_size: int,
    rng: np.random.Generator,
    done: int = 0,
    compiled: bool = False,
    progress: Callable[..., Iterable[Any]] | None = None,
) -> Iterator[Epoch]:
    """Train a model, and yield an `Epoch` after each.

    Args:
        model: a Module, or any function of a batch of images, a Tensor of shape (n, pixels).
        data: as returned by `mnist.load()`; it is not changed.
        cost: called as cost(outputs, targets) with Tensors: a row of targets for each example, 1 at its label, else 0.
        optimizer: of the model's parameters.
        schedule: stepped after every epoch.
        epochs: how many in all, those already done included.
        batch_size: examples per step; the last of an epoch may have fewer.
        rng: draws a new order for every epoch.
        done: how many epochs the model has behind it.
        compiled: train with `compile(step)`: the same bits, if the model is made of ops, in 0.6 to 0.8 of the time of
            an epoch for small networks.
        progress: called as progress(batches, total=steps, desc="epoch 1/30") at every epoch; what it returns is gone
            through in place of the batches, as with tqdm.

    Raises:
        DivergedError: the cost, or an output after the epoch, became infinite or not a number. The parameters are
            spoilt by then: make the model anew, or load a checkpoint.
    """
    _check(model, data, cost, optimizer, epochs)
    rows = np.eye(data.n_classes, dtype=optimizer.groups[0]["params"][0].dtype)

    def step(images: Tensor, targets: Tensor) -> Tensor:
        loss = cost(model(images), targets)
        if not isinstance(loss, Tensor) or loss.size != 1:
            raise TypeError(f"fit: expected a cost that is one number in a Tensor, got {loss!r:.60}; use .mean()")
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    train_on = compile(step) if compiled else step
    for number in range(done + 1, epochs + 1):
        start, lr = time.perf_counter(), optimizer.groups[0]["lr"]
        batches: Iterable[Any] = mnist.batches(data.train, batch_size, rng)
        if progress is not None:
            batches = progress(batches, total=math.ceil(len(data.train) / batch_size), desc=f"epoch {number}/{epochs}")
        total, steps = 0.0, 0
        if isinstance(model, Module):
            model.train()
        with np.errstate(over="ignore", invalid="ignore"):  # what overflows shows in the cost
            for images, labels in batches:
                steps += 1
                value = train_on(leaf(images), leaf(rows.take(labels, 0))).item()
                if not math.isfinite(value):
                    raise DivergedError(
                        f"epoch {number}, step {steps}: the cost is {value}; try a learning rate below {lr:g}"
                    )
                total += value * len(labels)
        if isinstance(model, Module):
            model.eval()
        record = _measure(model, data, cost, number, total / len(data.train), lr, start)
        if schedule is not None:
            schedule.step()
        yield record


def _check(model: Any, data: Any, cost: Any, optimizer: Any, epochs: Any) -> None:
    if not isinstance(data, mnist.Dataset):
        raise TypeError(f"fit: data: expected a Dataset, got {type(data).__name__}; mnist.load() makes one")
    if not isinstance(optimizer, Optimizer):
        raise TypeError(f"fit: optimizer: expected an Optimizer such as SGD, got {optimizer!r:.60}")
    if not callable(cost):
        raise TypeError(f"fit: cost: expected a function of outputs and targets, got {cost!r:.60}")
    if not isinstance(epochs, int | np.integer) or epochs < 0:
        raise ValueError(f"fit: epochs: expected a whole number of at least 0, got {epochs!r}")
    if len(data.train) == 0:
        raise ValueError("fit: data: there are no training images")
    if isinstance(model, Module):
        own = {id(p) for p in model.parameters()}
        if not any(id(p) in own for group in optimizer.groups for p in group["params"]):
            raise ValueError("fit: the optimizer has none of the model's parameters; pass it model.parameters()")


def _measure(model: Any, data: mnist.Dataset, cost: Any, number: int, mean: float, lr: float, start: float) -> Epoch:
    images, labels = data.train.images[:SAMPLE], data.train.labels[:SAMPLE]
    outputs = evaluate(model, images)
    if not np.isfinite(outputs).all():
        raise DivergedError(
            f"epoch {number}: after its last step the outputs are not finite; try a learning rate below {lr:g}"
        )
    a = softmax(outputs) if cost is softmax_cross_entropy else outputs
    return Epoch(
        epoch=number,
        cost=mean,
        training=float(np.mean(outputs.argmax(1) == labels)),
        validation=accuracy(model, data.validation),
        test=accuracy(model, data.test),
        lr=lr,
        saturated=float(np.mean((a < 0.01) | (a > 0.99))) if a.min() >= 0 and a.max() <= 1 else None,
        seconds=time.perf_counter() - start,
    )


def evaluate(model: Callable[[Any], Any], images: Array, chunk: int = 1000) -> Array:
    """The model's outputs for many images, without a graph, `chunk` images at a time."""
    with no_grad():
        starts = range(0, max(len(images), 1), chunk)
        return np.concatenate([values(model(leaf(images[i : i + chunk]))) for i in starts])


def accuracy(model: Callable[[Any], Any], split: mnist.Split | None) -> float | None:
    """The share of examples whose largest output is at their label; None if there are none."""
    if split is None or len(split) == 0:
        return None
    return float(np.mean(evaluate(model, split.images).argmax(1) == split.labels))


# ----------------------------------------------------------------------------------------------------------------------
# Checkpoints: .npz files that hold arrays, and all else as JSON

_FORMAT = "tinygrad_mnist checkpoint 1"


class CheckpointError(ValueError):
    """A file is not the checkpoint it should be: one line says which, what is wrong, and a remedy."""


@dataclass(frozen=True)
class Checkpoint:
    """What `load()` returns: all that training needs to go on to the same bits.

    Attributes:
        path: the file.
        model, optimizer, schedule, rng: the state of each; None for a schedule or generator that was not saved.
        history: a record for every epoch done.
        settings: what else the caller of `save()` wanted kept.
    """

    path: Path
    model: Mapping[str, Array]
    optimizer: Mapping[str, Any]
    schedule: Mapping[str, Any] | None
    rng: Mapping[str, Any] | None
    history: Sequence[Epoch]
    settings: Mapping[str, Any]

    def restore(
        self,
        model: Module,
        optimizer: Optimizer | None = None,
        *,
        schedule: StepLR | None = None,
        rng: np.random.Generator | None = None,
    ) -> None:
        """Put the saved state into what is given; if it does not fit, a CheckpointError, and nothing is changed."""
        for what, asked, saved in (("schedule", schedule, self.schedule), ("generator", rng, self.rng)):
            if asked is not None and saved is None:
                raise CheckpointError(f"{self.path}: was saved without a {what}; restore it without one")
        before = [(thing, thing.state_dict()) for thing in (model, optimizer, schedule) if thing is not None]
        try:
            model.load_state_dict(self.model)
            if optimizer is not None:
                optimizer.load_state_dict(self.optimizer)
            if schedule is not None:
                schedule.load_state_dict(self.schedule or {})
            if rng is not None:
                rng.bit_generator.state = dict(self.rng or {})
        except (ValueError, KeyError, TypeError, OverflowError) as error:
            for thing, state in before:
                thing.load_state_dict(state)
            raise CheckpointError(f"{self.path}: does not fit: {error}; restore into what it was saved from") from None


def save(
    path: str | os.PathLike[str],
    model: Module,
    optimizer: Optimizer,
    *,
    schedule: StepLR | None = None,
    rng: np.random.Generator | None = None,
    history: Sequence[Epoch] = (),
    settings: Mapping[str, Any] | None = None,
) -> None:
    """Write a checkpoint, whole or not at all. `settings` is whatever JSON can hold."""
    state = optimizer.state_dict()
    notes = {
        "format": _FORMAT,
        "groups": state["groups"],
        "schedule": schedule.state_dict() if schedule is not None else None,
        "rng": rng.bit_generator.state if rng is not None else None,
        "history": [asdict(epoch) for epoch in history],
        "settings": dict(settings or {}),
    }
    arrays = {f"model/{name}": array for name, array in model.state_dict().items()}
    for name in arrays:  # what the members of a .npz cannot be told apart by
        if name.endswith(".npy") or not name.isprintable():
            raise ValueError(
                f"save: a parameter cannot be named {name[6:]!r}; name it without .npy and control characters"
            )
    arrays |= {f"velocity/{i}": array for i, array in state["velocity"].items()}
    with whole(path) as part, open(part, "wb") as file:
        np.savez(file, allow_pickle=False, notes=np.array(json.dumps(notes, default=_as_lists)), **arrays)


def _as_lists(value: Any) -> Any:
    """The arrays in the state of some random number generators, as lists, which their setters take too."""
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    raise TypeError(f"save: settings are what JSON can hold, got {type(value).__name__} {str(value)[:40]!r}")


def _epoch(record: Mapping[str, Any]) -> Epoch:
    """A record of the history, of which all but what could not be measured are numbers."""
    epoch = Epoch(**record)
    missing = ("validation", "test", "saturated")
    numbers = {key: value for key, value in record.items() if value is not None or key not in missing}
    if any(type(value) not in (int, float) for value in numbers.values()):
        raise ValueError(record)
    return epoch


def load(path: str | os.PathLike[str]) -> Checkpoint:
    """Read a checkpoint; a CheckpointError if it is damaged or something else. Pickled objects are never loaded."""
    path = Path(path)
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        notes = json.loads(str(arrays.pop("notes")))
        if notes.pop("format") != _FORMAT:
            raise ValueError
        velocity = {int(name[9:]): array for name, array in arrays.items() if name.startswith("velocity/")}
        return Checkpoint(
            path=path,
            model={name[6:]: array for name, array in arrays.items() if name.startswith("model/")},
            optimizer={"groups": notes.pop("groups"), "velocity": velocity},
            history=[_epoch(epoch) for epoch in notes.pop("history")],
            **notes,
        )
    except OSError:
        raise
    except Exception:  # damaged or foreign files make NumPy, zipfile, zlib and json raise whatever they can
        raise CheckpointError(
            f"{path}: expected a checkpoint of tinygrad_mnist, found a file that is damaged, of another kind, or "
            "pickled (never loaded); name another"
        ) from None
