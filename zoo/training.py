"""A network of the zoo in training on its data: made from settings, or gone on with from a file."""

import functools
import os
import shlex
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, replace
from typing import Any, Self

import numpy as np

from tinygrad_mnist import mnist, nn, ops, train
from tinygrad_mnist.convert import in_one_line
from tinygrad_mnist.installation import told
from tinygrad_mnist.optim import Optimizer, Schedule
from tinygrad_mnist.tensor import Array
from tinygrad_mnist.train import Checkpoint, CheckpointError, Epoch

from .base import COSTS, BaseNetwork
from .consistency import Expected, model_of
from .names import NAMES as NAMES
from .names import check_name, file_of, title
from .names import network_class as network_class
from .names import network_name as network_name
from .stopping import best_of, check_validation, stands_still
from .words import of_data


def settings_of(checkpoint: Checkpoint) -> BaseNetwork:
    """The network that a checkpoint of the zoo was made from; a CheckpointError if it is another one's."""
    saved = checkpoint.settings
    try:
        about = saved["data"]
        counts = [about["n"], about["n_classes"], *about["image_shape"]]
        if len(counts) != 4 or any(type(n) is not int or n < 1 for n in counts) or type(about["checksum"]) is not int:
            raise ValueError(f"it says of its data {about}")
        if not isinstance(saved["source"], str | None):
            raise ValueError(f"its data came from {saved['source']!r}")
        given: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in saved["settings"].items()
        }
        return _kind_of(checkpoint)(**given)
    except CheckpointError:
        raise
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise CheckpointError(
            f"{checkpoint.path}: expected a network of the zoo, found another checkpoint ({error!s:.300})"
        ) from None


def _kind_of(checkpoint: Checkpoint) -> type[BaseNetwork]:
    """The class of a checkpoint's network; a CheckpointError that says what to do if it is in a file of one's own."""
    saved = checkpoint.settings
    if saved["network"] == "writer":
        command = told(f"python -m zoo.writer {shlex.quote(str(checkpoint.path))}")
        raise ValueError(f"it holds a writer, which `{command} --write 7` takes")
    try:
        return network_class(saved["network"])
    except ValueError:
        if not isinstance(file := saved.get("file"), str):
            raise
    name, path = shlex.quote(in_one_line(file).strip("'\"")), shlex.quote(str(checkpoint.path))
    raise CheckpointError(
        f"{checkpoint.path}: was saved by a network in a file of your own, {name}: `python {name} --resume {path}` "
        f"goes on with it, and zoo.predict takes it with --network {name}"
    )


class Training:
    """A network with its data, ready to train.

    Args:
        network: the settings.
        data: what to train on.
        source: where the data was looked for, to be kept in checkpoints; None for the usual places.
        backend: what its step is compiled to.
        patience: after how many epochs without a better validation accuracy it stops; None for never.
        keep_best: whether the weights of the epoch with the best validation accuracy are kept.

    Attributes:
        model, optimizer, schedule: what the settings ask for.
        model_rng, rng: two generators: the model draws from one, its first weights and what is dropped, and the order
            of the digits is drawn from the other.
        history: a record for each epoch done.
        best: the weights that are kept, as from `model.state_dict()`; None before the first epoch.

    >>> network = network_class("network2")(epochs=1, seed=7)
    >>> training = Training(network, mnist.load().head(100))
    >>> [epoch.epoch for epoch in training.fit()]
    [1]
    """

    def __init__(
        self,
        network: BaseNetwork,
        data: mnist.Dataset,
        source: str | None = None,
        backend: str = "numpy",
        patience: int | None = None,
        keep_best: bool = False,
    ) -> None:
        check_validation(data, patience, keep_best)
        self.patience, self.keep_best = patience, keep_best
        self.best: dict[str, Array] | None = None
        self.network, self.data, self.source, self.backend = network, data, source, backend
        self.model_rng, self.rng = (np.random.default_rng([purpose, network.seed]) for purpose in (0, 1))
        self.model = network.model(data.train.images.shape[1], data.n_classes, self.model_rng)
        _check_part(network, "model", self.model, nn.Module)
        self.optimizer = network.optimizer(self.model, len(data.train))
        _check_part(network, "optimizer", self.optimizer, Optimizer)
        self.schedule = network.schedule(self.optimizer)
        if self.schedule is not None:
            _check_part(network, "schedule", self.schedule, Schedule)
        self.history: list[Epoch] = []

    @functools.cached_property
    def about(self) -> dict[str, Any]:
        """What distinguishes the data from others."""
        return describe(self.data)

    def fit(self, progress: Callable[..., Iterable[Any]] | None = None) -> Iterator[Epoch]:
        """Train up to `network.epochs`, and yield a record for every epoch: `train.fit` with these settings.

        Nothing is trained any more once the patience has run out.
        """
        if self.stopped:
            return
        for epoch in train.fit(
            self.model,
            self.data,
            cost=COSTS[self.network.cost],
            optimizer=self.optimizer,
            schedule=self.schedule,
            epochs=self.network.epochs,
            batch_size=self.network.digits_a_step,
            rng=self.rng,
            done=min(len(self.history), self.network.epochs),  # a checkpoint may have more behind it
            backend=self.backend,
            progress=progress,
        ):
            self.history.append(epoch)
            if self.keep_best and best_of(self.history) is epoch:
                self.best = self.model.state_dict()
            yield epoch
            if stands_still(self.history, self.patience):
                return

    @property
    def stopped(self) -> bool:
        """Whether the patience has run out before all epochs were done."""
        return len(self.history) < self.network.epochs and stands_still(self.history, self.patience)

    @property
    def result(self) -> Epoch:
        """The record of the epoch whose weights are the result: the best one if they are kept, else the last."""
        return (best_of(self.history) if self.keep_best else None) or self.history[-1]

    def use_best(self) -> None:
        """Put the weights that are kept into the model, to look at; what was saved goes on from the last ones."""
        if self.best is not None:
            self.model.load_state_dict(self.best)

    def activations(self, images: Array) -> Array:
        """What the network says of images: a number from 0 to 1 for every class."""
        return activations(self.network, self.model, images)

    def lost_classes(self) -> list[int]:
        """The classes that the network hardly ever answers for their own images, as their output neuron is saturated.

        Hardly ever: for less than one in twenty. Saturated: the median of its activations, on validation images of that
        class, is below 0.001; there a sigmoid's slope σ' = a (1 - a), to which its gradient is proportional, is too.
        """
        split = self.data.validation if len(self.data.validation) else self.data.train
        outputs = self.activations(split.images)
        lost = []
        for label in np.unique(split.labels).tolist():
            own = outputs[split.labels == label]
            if np.mean(own.argmax(1) == label) < 0.05 and np.median(own[:, label]) < 0.001:
                lost.append(label)
        return lost

    @property
    def sigmoids(self) -> bool:
        """Whether the model's outputs are those of sigmoid neurons, as far as can be seen."""
        layers = self.model.layers if isinstance(self.model, nn.Sequential) else [None]
        return layers[-1] is ops.sigmoid or isinstance(layers[-1], nn.Sigmoid)

    # --- Nothing is lost ---

    def record(self) -> dict[str, Any]:
        """Settings and the results of every epoch, as JSON can hold them."""
        epochs = [asdict(epoch) for epoch in self.history]
        more = {"patience": self.patience, "keep_best": self.keep_best}
        return {
            "network": network_name(self.network),
            "settings": asdict(self.network),
            **{name: value for name, value in more.items() if value},
            "epochs": epochs,
        }

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write all that is needed to go on, whole or not at all."""
        check_name(self.network)
        settings = {
            "network": network_name(self.network),
            "file": file_of(self.network),
            "settings": asdict(self.network),
            "data": self.about,
            "source": self.source,
            "model_rng": self.model_rng.bit_generator.state,
            "numpy": np.__version__,
            "backend": self.backend,
            "patience": self.patience,
            "keep_best": self.keep_best,
        }
        train.save(
            path,
            self.model,
            self.optimizer,
            schedule=self.schedule,
            rng=self.rng,
            history=self.history,
            settings=settings,
            best=self.best,
        )

    @classmethod
    def resume(
        cls,
        checkpoint: Checkpoint,
        network: BaseNetwork,
        data: mnist.Dataset,
        source: str | None = None,
        backend: str = "numpy",
        patience: int | None = None,
        keep_best: bool = False,
    ) -> Self:
        """Go on from a checkpoint, to the same bits as if it had never stopped.

        Args:
            checkpoint: from `train.load()`.
            network: `settings_of(checkpoint)`, perhaps with more epochs.
            data: the same as before; a CheckpointError if it is not.
            source, backend, patience, keep_best: as for `Training`.

        Raises:
            CheckpointError: it is of other data, larger than it holds arrays for, or contradicts itself; or the weights
                of its best epoch are to be kept, and were not.
        """
        if (saved := checkpoint.settings["data"]) != (about := describe(data)):
            raise CheckpointError(
                f"{checkpoint.path}: was trained on other data ({of_data(saved)}) than given "
                f"({of_data(about)}); name the same with --data and --train-size"
            )
        model_of(checkpoint, network)  # before it is made for training, as its settings may claim anything
        training = cls(network, data, source, backend, patience, keep_best)
        training.about = about
        expected = Expected(checkpoint, training.model, training.optimizer, training.schedule, training.rng)
        checkpoint.restore(training.model, training.optimizer, schedule=training.schedule, rng=training.rng)
        if drawn := checkpoint.settings.get("model_rng"):  # not in older ones, whose models drew their weights only
            replace(checkpoint, rng=drawn).restore(training.model, rng=training.model_rng)
        training.history = list(checkpoint.history)
        if wrong := expected.contradiction(training.optimizer):
            raise CheckpointError(f"{checkpoint.path}: contradicts itself: {wrong}; name another, or train anew")
        if keep_best and (best := best_of(training.history)):
            if checkpoint.best is None and best is not training.history[-1]:
                raise CheckpointError(
                    f"{checkpoint.path}: was trained without --keep-best, and the weights of its best epoch, "
                    f"{best.epoch}, are gone; leave --keep-best out, or train anew"
                )
            training.best = dict(checkpoint.best or training.model.state_dict())
        return training


def _check_part(network: BaseNetwork, method: str, made: object, kind: type) -> None:
    """Raise a ValueError unless a method of a network, perhaps one of the user's, has made what it is to make."""
    if not isinstance(made, kind):
        expected = f"expected a {kind.__name__} to be returned"
        raise ValueError(f"{title(network)}: {method}(): {expected}, got {in_one_line(made)}; return one")


def activations(network: BaseNetwork, model: nn.Module, images: Array) -> Array:
    """The outputs for images, in evaluation: numbers from 0 to 1, which those of the cost "softmax" are not yet."""
    outputs = train.evaluate(model.eval(), images)
    return ops.softmax(outputs) if network.cost == "softmax" else outputs


def describe(data: mnist.Dataset) -> dict[str, Any]:
    """What distinguishes a data set from others: sizes, and a checksum of all that is in it."""
    checksum = 0
    for split in (data.train, data.validation, data.test):
        for array in (split.images, split.labels) if split is not None else ():
            checksum = zlib.crc32(np.ascontiguousarray(array).data, checksum)  # 0.1 s for MNIST
    return {
        "n": len(data.train),
        "image_shape": list(data.image_shape),
        "n_classes": data.n_classes,
        "checksum": checksum,
    }
