"""What the page looks at and trains: a network of the zoo with its settings, or what does the same for another."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from tinygrad_mnist import mnist, ops, train
from tinygrad_mnist.installation import told
from tinygrad_mnist.optim import Optimizer
from tinygrad_mnist.tensor import Array, Tensor
from tinygrad_mnist.train import Epoch

from ..base import COSTS, BaseNetwork, Option, options_of
from ..network import Network
from ..options import flag
from ..training import NAMES, Training, network_class, network_name, settings_of
from ..words import shown
from .presets import PRESETS

ENDLESS = 1_000_000
"""How many epochs a training on the page has: it is ended by whoever looks at it. No step depends on that number."""

MOST_REMARKS = 4
"""How much is said of an address, one by one."""

SYMBOLS = {"lr": "η", "momentum": "μ", "lmbda": "λ"}
"""What the book calls settings, and with it the page."""

AT_ONCE = ("lr", "momentum", "lmbda", "weight_decay")
"""Settings that a training takes over between two steps; all others begin it anew."""


class Trainable(Protocol):
    """What is in training."""

    model: Any
    optimizer: Optimizer
    history: list[Epoch]

    def fit(self, progress: Callable[..., Iterable[Any]] | None = None) -> Iterator[Epoch]:
        """Train, and yield a record for every epoch."""


class Subject(Protocol):
    """What the page looks at."""

    data: mnist.Dataset
    training: Any  # `Trainable`

    def cost(self, outputs: Any, targets: Any) -> Tensor:
        """What training makes small."""

    def probabilities(self, outputs: Array) -> Array:
        """What is shown of the outputs."""

    def begin(self) -> None:
        """Begin the training anew, with the same settings."""

    def change(self, network: str, given: Mapping[str, str]) -> bool:
        """Take other settings over, texts by name; returns whether the training began anew for it.

        Raises:
            ValueError: a setting cannot have such a value; nothing has changed then.
        """

    def read(self, network: str, given: Mapping[str, str], typed: bool) -> tuple[str | None, dict[str, str], list[str]]:
        """What of an address can be had: the network and the settings; and in words what is taken in place of others.

        The network is None where none is to be taken.

        Args:
            network: a name, which may be none.
            given: settings, texts by name.
            typed: whether somebody has just written it, and not the page itself, once.
        """

    def described(self) -> dict[str, Any]:
        """What the page says of it: `network`, `fields`, `presets`, `address`, `command`, `rate`."""


class ZooSubject:
    """A network of the zoo: its training is that of the command line.

    Args:
        data: what to train on.
        network: the settings to begin with.
        source: where the data was looked for; None for the usual places.
        size: how many of its digits are trained on; None for all.
        training: one to go on with, as from a checkpoint.
        file: that of the checkpoint.
    """

    def __init__(
        self,
        data: mnist.Dataset,
        network: BaseNetwork,
        source: Path | None = None,
        size: int | None = None,
        training: Training | None = None,
        file: Path | None = None,
    ) -> None:
        self.data, self.network, self.source, self.size, self.file = data, network, source, size, file
        self.training = training or self._training(network)

    @classmethod
    def of_checkpoint(cls, path: Path, source: Path | None) -> ZooSubject:
        """A network that was saved, and goes on where it was. A CheckpointError if that cannot be."""
        checkpoint = train.load(path)
        network = settings_of(checkpoint)
        place = source or checkpoint.settings.get("source")
        data, size = mnist.load(place), checkpoint.settings["data"]["n"]
        less = size if size < len(data.train) else None
        data = data.head(min(size, len(data.train)))
        endless = replace(network, epochs=ENDLESS)
        training = Training.resume(checkpoint, endless, data, None if place is None else str(place), "eager")
        return cls(data, network, place, less, training, path)

    def _training(self, network: BaseNetwork) -> Training:
        source = None if self.source is None else str(self.source)
        return Training(replace(network, epochs=ENDLESS), self.data, source, "eager")  # op by op: the same bits

    def cost(self, outputs: Any, targets: Any) -> Tensor:
        """The network's cost."""
        result: Tensor = COSTS[self.network.cost](outputs, targets)
        return result

    def probabilities(self, outputs: Array) -> Array:
        """The outputs, or their softmax where the cost takes that itself."""
        return np.asarray(ops.softmax(outputs)) if self.network.cost == "softmax" else outputs

    def begin(self) -> None:
        """Begin anew, with the first weights of the seed."""
        self.training = self._training(self.network)

    def change(self, network: str, given: Mapping[str, str]) -> bool:
        """Take over settings; those in `AT_ONCE` between two steps, others in a new training."""
        wanted = self._asked(network, given)
        before = self.network
        differing = [] if type(wanted) is not type(before) else _differing(wanted, before)
        if type(wanted) is type(before) and not differing:
            return False
        if differing and set(differing) <= {*AT_ONCE, "epochs"}:
            self._take_over(wanted)
            self.network = wanted
            return False
        self.training = self._training(wanted)
        self.network, self.file = wanted, None
        return True

    def read(self, network: str, given: Mapping[str, str], typed: bool) -> tuple[str | None, dict[str, str], list[str]]:
        """What of an address can be had. A model that the program was given goes before what the page once wrote."""
        if self.file is not None and not typed:
            same = {"network": network, **given} == self.described()["address"]
            said = (
                f"The program was started with {self.file.name}: the address has other settings, which are not taken."
            )
            return None, {}, [] if same else [said]
        remarks: list[str] = []
        taken: dict[str, str] = {}
        try:
            kind = network_class(network)
        except ValueError as error:
            remarks.append(f"{error}; network is taken" if network else "no network is named; network is taken")
            network, kind = "network", Network
        defaults = self._asked(network, {})
        for key, text in given.items():
            try:
                self._asked(network, {key: text})
                taken[key] = text
            except ValueError as error:
                option = _setting(kind, key)
                instead = f"{shown(getattr(defaults, option))} is taken" if option in options_of(kind) else "left out"
                remarks.append(f"{error}; {instead}")
        try:
            self._asked(network, taken)
        except ValueError as error:
            taken = {}
            remarks.append(f"{error}; the defaults are taken")
        if len(remarks) > MOST_REMARKS:
            remarks[MOST_REMARKS:] = [f"{len(remarks) - MOST_REMARKS} more of the address cannot be taken"]
        return network, taken, remarks

    def _asked(self, name: str, given: Mapping[str, str]) -> BaseNetwork:
        """A network with settings given as texts, as on the command line."""
        kind, settings = network_class(name), dict[str, Any]()
        options = options_of(kind)
        recipe = given.get("recipe")
        if recipe not in (None, "original"):
            raise ValueError(f"recipe: expected original, got {recipe!r:.40}")
        for key, text in ((_setting(kind, key), text) for key, text in given.items()):
            if key == "recipe":
                continue
            option = options.get(key)
            if option is None or option.limit is None:
                known = ", ".join(_called(name, each) for name, each in options.items())
                raise ValueError(f"{name} has no setting {key!r:.40}; it has {known}")
            try:
                many = isinstance(option.default, tuple)
                settings[key] = tuple(map(option.limit, text.split())) if many else option.limit(text)
            except argparse.ArgumentTypeError as error:
                raise ValueError(f"{label(key)}: {error}") from None
        network = kind.original(**settings) if recipe else kind(**settings)
        if (size := sum(network.hidden)) > 2000 or len(network.hidden) > 20:
            raise ValueError(f"hidden: {size:,} neurons in {len(network.hidden)} layers are too many for a live page")
        return network

    def _take_over(self, network: BaseNetwork) -> None:
        """Give the running optimizer the options that it would have with these settings."""
        training = self.training
        assert isinstance(training, Training)
        fresh = network.optimizer(training.model, len(self.data.train))
        for group, new in zip(training.optimizer.groups, fresh.groups, strict=True):
            group.update({key: value for key, value in new.items() if key != "params"})
        if training.schedule is not None:  # its first rates; those of this epoch follow
            first = [group["lr"] for group in fresh.groups]
            training.schedule.load_state_dict({**training.schedule.state_dict(), "first": first})
        training.network = replace(network, epochs=ENDLESS)

    def described(self) -> dict[str, Any]:
        """Its settings, as a form and as a command."""
        kind = type(self.network)
        name, defaults = (
            network_name(kind),
            replace(kind(), lr=kind(cost=self.network.cost).lr),
        )  # each cost has its rate
        if self.network.per_example:
            defaults = kind.original()
        form, address = [], {"network": name, **({"recipe": "original"} if self.network.per_example else {})}
        for key, option in options_of(kind).items():
            value = getattr(self.network, key)
            if key == "epochs" or option.limit is None or option.instead_of is not None:
                continue
            called = _called(key, option)
            about = {
                "name": called,
                "label": label(key),
                "value": shown(value),
                "help": f"{option.help} ({flag(called)})",
            }
            form.append({**about, "choices": list(option.limit.choices or []), "at_once": key in AT_ONCE})
            if value != getattr(defaults, key):
                address[called] = shown(value)
        given = [x for key, text in list(address.items())[1:] for x in (flag(key), *text.split())]
        if self.source is not None:
            given += ["--data", str(self.source)]
        if self.size is not None:
            given += ["--train-size", str(self.size)]
        command = told(shlex.join(["python", "-m", f"zoo.{name}", *given]))
        presets = [
            {"text": preset.text, "watch": preset.watch, "settings": {"network": preset.network, **preset.settings}}
            for preset in PRESETS
        ]
        names = [*NAMES, *([name] if name not in NAMES else [])]
        return {
            "networks": names,
            "fields": form,
            "presets": presets,
            "address": address,
            "command": command,
            "rate": "η",
        }


def label(key: str) -> str:
    """What the page calls a setting: the book's letter, or its words.

    >>> [label(key) for key in ("lr", "lr_step", "batch_size")]
    ['η', 'η step', 'batch size']
    """
    return SYMBOLS.get(key) or key.replace("lr_", "η ").replace("_", " ")


def _called(key: str, option: Option) -> str:
    """A setting as the address and the command line have it: by the book's name, if that has one."""
    return (option.book or key).removeprefix("--")


def _setting(kind: type[BaseNetwork], called: str) -> str:
    """The setting of this name, or of this name in the book."""
    return next((key for key, option in options_of(kind).items() if called == _called(key, option)), called)


def _differing(one: BaseNetwork, other: BaseNetwork) -> list[str]:
    """The settings in which two networks of a kind differ."""
    return [f.name for f in fields(one) if getattr(one, f.name) != getattr(other, f.name)]
