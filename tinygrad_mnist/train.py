"""Training: the loop, as a generator of records; and, from `checkpoint.py`, checkpoints that lose nothing.

    rng = np.random.default_rng(0)
    network = nn.Sequential(nn.Linear(784, 30, rng=rng), sigmoid, nn.Linear(30, 10, rng=rng), sigmoid)
    optimizer = optim.Momentum(network.parameters(), lr=1.5, momentum=0.5)
    data = mnist.load()
    for epoch in train.fit(network, data, cost=quadratic_cost, optimizer=optimizer, epochs=5, batch_size=10, rng=rng):
        print(epoch.epoch, epoch.cost, epoch.validation)

`fit` trains only as far as it is iterated over, and computes with one BLAS thread (`threads.py`).
"""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from . import mnist
from .batches import Watched, step_costs
from .checkpoint import Checkpoint as Checkpoint
from .checkpoint import CheckpointError as CheckpointError
from .checkpoint import Epoch as Epoch
from .checkpoint import load as load
from .checkpoint import save as save
from .convert import in_one_line, is_whole
from .dataset import check_finite, sorted_by_class
from .losses import softmax_cross_entropy
from .mode import no_grad
from .nn import Module
from .ops import softmax
from .optim import Optimizer, Schedule, clip_grad_norm
from .replay import compile
from .tensor import Array, Tensor, leaf, values
from .threads import one_thread

__all__ = [
    "SAMPLE",
    "Checkpoint",
    "CheckpointError",
    "DivergedError",
    "Epoch",
    "accuracy",
    "evaluate",
    "fit",
    "load",
    "save",
]

SAMPLE = 10_000
"""On how many training examples, the first ones, the training accuracy and the saturation are measured."""


class DivergedError(ArithmeticError):
    """The cost is not a finite number any more: one line says where, and a remedy."""


def fit(
    model: Callable[[Any], Any],
    data: mnist.Dataset,
    *,
    cost: Callable[[Any, Any], Tensor],
    optimizer: Optimizer,
    schedule: Schedule | None = None,
    epochs: int,
    batch_size: int,
    rng: np.random.Generator,
    done: int = 0,
    max_norm: float | None = None,
    backend: str = "eager",
    compiled: None = None,
    progress: Callable[..., Iterable[Any]] | None = None,
) -> Iterator[Epoch]:
    """Train a model, and yield an `Epoch` after each.

    Args:
        model: a Module, or any function of a batch of images, a Tensor of shape (n, pixels).
        data: as returned by `mnist.load()`; it is not changed.
        cost: called as cost(outputs, targets) with Tensors: a row of targets for each example, 1 at its label, else 0.
        optimizer: of the model's parameters.
        schedule: stepped after every epoch, with its record.
        epochs: how many in all, those already done included.
        batch_size: examples per step; the last of an epoch may have fewer.
        rng: draws a new order for every epoch.
        done: how many epochs the model has behind it, at most `epochs`.
        max_norm: gradients longer than this are scaled down to it before each step, by `optim.clip_grad_norm`.
        backend: "eager", every step op by op; "numpy" trains with `compile(step)`: the same bits, if the model is made
            of ops, in 0.6 to 0.8 of the time of an epoch for small networks; "c" with `compile(step, backend="c")`, in
            about half of that again. The last two steps of a compiled training are audited.
        compiled: was what `backend` is now.
        progress: called as progress(batches, total=steps, desc="epoch 1/30") at every epoch; what it returns is gone
            through in place of the batches, as with tqdm. It may hand on fewer or others: the epoch's cost is the mean
            over the examples that were trained on. Where it has `set_postfix_str`, as tqdm has, that is told the cost
            so far, and `close` is called at the epoch's end, however it ends.

    Warns, once, if data sorted by class has classes to validate on that are never trained on, or if pixels are whole
    numbers up to more than 1.

    Raises:
        ValueError: a label or a pixel of `data` is not what it should be; it says which and where.
        DivergedError: the cost, or an output after the epoch, became infinite or not a number. The parameters are
            spoilt by then: make the model anew, or load a checkpoint.
    """
    if compiled is not None:
        raise TypeError(
            f"fit: compiled={in_one_line(compiled)} is no option any more; pass backend='numpy', 'c' or 'eager'"
        )
    _check(model, data, cost, optimizer, schedule, epochs, done)
    for doubt in _doubts(data):
        warnings.warn(doubt, stacklevel=2)
    step = _step(model, cost, optimizer, max_norm)
    train_on = step if backend == "eager" else compile(step, backend=backend)
    rows = np.eye(data.n_classes, dtype=optimizer.groups[0]["params"][0].dtype)
    for number in range(done + 1, epochs + 1):
        start, lr = time.perf_counter(), optimizer.groups[0]["lr"]
        batches = Watched(data, batch_size, rng, progress, f"epoch {number}/{epochs}")
        if isinstance(model, Module):
            model.train()
        mean = _mean_cost(step_costs(train_on, batches, rows, last=number == epochs), batches, number, lr)
        if isinstance(model, Module):
            model.eval()
        record = _measure(model, data, cost, number, mean, lr, start)
        if schedule is not None:
            schedule.step(record)
        yield record


def _step(model: Any, cost: Any, optimizer: Optimizer, max_norm: float | None) -> Callable[[Tensor, Tensor], Tensor]:
    def step(images: Tensor, targets: Tensor) -> Tensor:
        loss = cost(model(images), targets)
        if not isinstance(loss, Tensor) or loss.size != 1:
            raise TypeError(
                f"fit: expected a cost that is one number in a Tensor, got {in_one_line(loss)}; {_as_cost(loss)}"
            )
        optimizer.zero_grad()
        loss.backward()
        if max_norm is not None:  # not of the groups' parameters: the step would depend on their options, too
            clip_grad_norm(optimizer._members(), max_norm)
        optimizer.step()
        return loss

    return step


def _mean_cost(costs: Iterator[tuple[float, Any, int]], batches: Watched, number: int, lr: float) -> float:
    """Go through an epoch's steps; the mean of their costs over the examples that were trained on."""
    total, seen = 0.0, 0
    with batches, one_thread(), np.errstate(over="ignore", invalid="ignore"):  # what overflows shows in the cost
        for steps, (value, batch, size) in enumerate(costs, 1):
            if not math.isfinite(value):
                check_finite(f"fit: epoch {number}, step {steps}: images", next(iter(batch)))
                raise DivergedError(f"epoch {number}, step {steps}: the cost is {value}; {_remedy(number, steps, lr)}")
            total += value * size
            seen += size
            if steps % 50 == 0:  # of which a bar shows one in a few hundred
                batches.tell(f"cost {total / seen:.4g}")
    if not seen:
        raise ValueError(f"fit: progress: handed on no batch of epoch {number}; return the batches that it is given")
    return total / seen


def _as_cost(loss: Any) -> str:
    """What makes one number in a Tensor of what a cost has returned."""
    if isinstance(loss, Tensor | np.ndarray) and loss.size != 1:
        return "use .mean()"
    if loss is None:
        return "end it with `return`"
    return "return the Tensor itself, without float(), .item() or .numpy(), which leave the graph"


def _remedy(epoch: int, step: int, lr: float) -> str:
    """What to do about a cost that is not finite: before the first step it is not the learning rate's doing."""
    if (epoch, step) == (1, 1):
        return "nothing was learned yet: `with visualize.detect_anomaly():` around one call of the cost names the op"
    return f"try a learning rate below {lr:g}"


def _check(model: Any, data: Any, cost: Any, optimizer: Any, schedule: Any, epochs: Any, done: Any) -> None:
    if not isinstance(data, mnist.Dataset):
        raise TypeError(f"fit: data: expected a Dataset, got {type(data).__name__}; mnist.load() makes one")
    _check_model("fit", model)
    if not isinstance(optimizer, Optimizer):
        raise TypeError(f"fit: optimizer: expected an Optimizer such as SGD, got {in_one_line(optimizer)}")
    if not isinstance(schedule, Schedule | None):
        raise TypeError(f"fit: schedule: expected a Schedule such as StepLR, got {in_one_line(schedule)}")
    if schedule is not None and schedule.optimizer is not optimizer:
        raise ValueError("fit: schedule: is of another optimizer, whose rates it would set; make one of this optimizer")
    if not callable(cost):
        raise TypeError(f"fit: cost: expected a function of outputs and targets, got {in_one_line(cost)}")
    if not is_whole(epochs, 0):
        raise ValueError(f"fit: epochs: expected a whole number of at least 0, got {epochs!r}")
    if not is_whole(done, 0) or done > epochs:
        raise ValueError(f"fit: done: expected a whole number from 0 to epochs, which is {epochs}, got {done!r}")
    if len(data.train) == 0:
        raise ValueError("fit: data: there are no training images")
    data.check()  # 25 ms for MNIST
    if isinstance(model, Module):
        own = {id(p) for p in model.parameters()}
        if not any(id(p) in own for group in optimizer.groups for p in group["params"]):
            raise ValueError("fit: the optimizer has none of the model's parameters; pass it model.parameters()")


def _check_model(name: str, model: Any) -> None:
    if not callable(model) or (isinstance(model, type) and issubclass(model, Module)):
        remedy = f"; make one: {model.__name__}(...)" if isinstance(model, type) else ""
        raise TypeError(f"{name}: expected a model, a Module or a function of images, got {in_one_line(model)}{remedy}")


def _doubts(data: mnist.Dataset) -> Iterator[str]:
    """What may be wrong with data that can be trained on all the same."""
    unseen = np.setdiff1d(data.validation.labels, data.train.labels)
    if len(unseen) and sorted_by_class(np.concatenate([data.train.labels, data.validation.labels])):
        yield (
            f"fit: data: sorted by class: {', '.join(map(str, unseen[:10]))} in validation but never in train; "
            "shuffle images and labels together before they are split"
        )
    images = data.train.images[:1000]
    largest = images.max()
    if images.dtype.kind in "fu" and 1 < largest < 2**16 and not (images % 1).any():
        yield f"fit: data: the pixels are whole numbers up to {largest:g}; divide them, as networks learn from 0 to 1"


@one_thread()
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
        training=_share_right(outputs, labels),
        validation=accuracy(model, data.validation),
        test=accuracy(model, data.test),
        lr=lr,
        saturated=float(np.mean((a < 0.01) | (a > 0.99))) if a.min() >= 0 and a.max() <= 1 else None,
        seconds=time.perf_counter() - start,
    )


def evaluate(model: Callable[[Any], Any], images: Array, chunk: int = 1000) -> Array:
    """The model's outputs for many images, without a graph, `chunk` images at a time."""
    _check_model("evaluate", model)
    if not isinstance(images, Tensor | np.ndarray) or images.ndim == 0:
        raise TypeError(
            f"evaluate: expected an array of images, (n, pixels), got {in_one_line(images)}; of data data.test.images"
        )
    with no_grad():
        starts = range(0, max(len(images), 1), chunk)
        return np.concatenate([values(model(leaf(images[i : i + chunk]))) for i in starts])


def accuracy(model: Callable[[Any], Any], split: mnist.Split | None) -> float | None:
    """The share of examples whose largest output is at their label; None if there are none."""
    if not isinstance(split, mnist.Split | None):
        raise TypeError(f"accuracy: expected a Split, got {type(split).__name__}; use mnist.Split(images, labels)")
    if split is None or len(split) == 0:
        return None
    return _share_right(evaluate(model, split.images), split.labels)


def _share_right(outputs: Array, labels: Array) -> float:
    if outputs.ndim != 2 or labels.shape != outputs.shape[:1]:  # (n, 1) would be compared each with each
        raise ValueError(f"accuracy: expected outputs of shape ({len(labels)}, classes), got {outputs.shape}")
    return float(np.mean(outputs.argmax(1) == labels))
