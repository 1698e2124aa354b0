"""What the page looks at and trains: a network of the zoo with its settings, or any Module."""

from __future__ import annotations

import argparse
import copy
import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from tinygrad_mnist import mnist, nn, ops, train
from tinygrad_mnist.installation import told
from tinygrad_mnist.losses import cross_entropy as pytorch_cross_entropy
from tinygrad_mnist.losses import nll_loss, softmax_cross_entropy
from tinygrad_mnist.optim import SGD, Optimizer
from tinygrad_mnist.tensor import Array, Tensor
from tinygrad_mnist.train import Epoch

from ..base import COSTS, BaseNetwork, Option, options_of
from ..network import Network
from ..options import flag
from ..training import NAMES, Training, network_class, network_name, settings_of
from ..words import shown

ENDLESS = 1_000_000
"""How many epochs a training on the page has: it is ended by whoever looks at it. No step depends on that number."""

MOST_REMARKS = 4
"""How much is said of an address, one by one."""

SYMBOLS = {"lr": "η", "momentum": "μ", "lmbda": "λ"}
"""What the book calls settings, and with it the page."""

AT_ONCE = ("lr", "momentum", "lmbda", "weight_decay")
"""Settings that a training takes over between two steps; all others begin it anew."""


class Preset(NamedTuple):
    """Settings worth looking at.

    Attributes:
        text: what they are, in words.
        network: its name.
        settings: what is not that network's default, as the page's address has it.
        watch: what to look at.
    """

    text: str
    network: str
    settings: dict[str, str]
    watch: str


PRESETS = (
    Preset(
        "network: gradient descent", "network", {},
        "What the book begins with. Draw a digit, train an epoch, and see what is learned.",
    ),
    Preset(
        "network1: momentum", "network1", {},
        "Small first weights, and momentum. After an epoch its images show strokes and loops.",
    ),
    Preset(
        "network2: Nesterov, η steps down", "network2", {},
        "As network1, but it looks ahead; every ten epochs η becomes smaller, and the curves smoother.",
    ),
    Preset("network3: weight decay", "network3", {}, "Each step makes the weights a little smaller, by λ."),
    Preset(
        "momentum, 1: η 0.1 without it", "network1", {"eta": "0.1", "mu": "0.0"},
        "Train an epoch, and choose 2: this run's curves stay, faint, behind the new ones.",
    ),
    Preset(
        "momentum, 2: η 0.1 with μ 0.9", "network1", {"eta": "0.1", "mu": "0.9"},
        "As 1, but for μ: where gradients agree, steps add up to 1 / (1 − μ) = 10 of them.",
    ),
    Preset(
        "momentum that saturates", "network1", {"mu": "0.9"},
        "Steps add up to η / (1 − μ) = 30. Watch the saturated outputs, and the gradients.",
    ),
    Preset(
        "the digit that seed 17 loses", "network", {"seed": "17"},
        "Its first steps throw the output for 8 far down the sigmoid, where it is flat: it stays there.",
    ),
    Preset(
        "five layers, where gradients vanish", "network", {"hidden": "30 30 30 30", "init": "scaled"},
        "Take one step, and compare the sizes of the gradient, from the last layer to the first. Later they even out.",
    ),
)  # fmt: skip


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
        remarks = []
        try:
            kind = network_class(network)
        except ValueError as error:
            remarks.append(f"{error}; network is taken" if network else "no network is named; network is taken")
            network, kind = "network", Network
        taken, defaults = dict[str, str](), self._asked(network, {})
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


class OwnSubject:
    """Any Module, with a cost and an optimizer.

    Args:
        model: of a batch of images, a Tensor of shape (n, pixels); its outputs have the shape (n, n_classes).
        data: what to train on.
        cost: called as cost(outputs, targets).
        optimizer: of the model's parameters; None for SGD with a learning rate of 0.1.
        batch_size: digits a step.
        seed: of the order of the digits.
    """

    def __init__(
        self,
        model: nn.Module,
        data: mnist.Dataset,
        cost: Callable[[Any, Any], Tensor] = softmax_cross_entropy,
        optimizer: Optimizer | None = None,
        batch_size: int = 10,
        seed: int = 0,
    ) -> None:
        if not isinstance(model, nn.Module):
            raise TypeError(f"show: expected a Module, got {model!r:.60}; put functions into nn.Sequential")
        if not isinstance(data, mnist.Dataset):
            raise TypeError(f"show: expected a Dataset, got {type(data).__name__}; mnist.load() makes one")
        self.data, self.own_cost = data, cost
        self.training = OwnTraining(model, data, cost, optimizer or SGD(model.parameters(), 0.1), batch_size, seed)
        with np.errstate(all="ignore"):
            outputs = train.evaluate(model.eval(), data.train.images[:1])
        if outputs.shape != (1, data.n_classes):
            raise ValueError(
                f"show: expected outputs of shape (n, {data.n_classes}), a number for each class, got {outputs.shape} "
                "for one image"
            )
        self.first = copy.deepcopy((model.state_dict(), self.training.optimizer.state_dict()))

    def cost(self, outputs: Any, targets: Any) -> Tensor:
        """The cost that was given."""
        return self.own_cost(outputs, targets)

    def probabilities(self, outputs: Array) -> Array:
        """The softmax of the outputs, where the cost takes that itself, or their logarithms' exponentials."""
        if self.own_cost in (softmax_cross_entropy, pytorch_cross_entropy, nll_loss):
            return np.asarray(ops.softmax(outputs))
        return outputs

    def begin(self) -> None:
        """Put the parameters and the optimizer back to where they were when the page was made."""
        before = self.training
        parameters, state = copy.deepcopy(self.first)
        before.model.load_state_dict(parameters)
        before.optimizer.load_state_dict(state)
        self.training = replace(before)

    def change(self, network: str, given: Mapping[str, str]) -> bool:
        """Set options of all groups of the optimizer, as its "lr"."""
        groups = self.training.optimizer.groups
        wanted = {}
        for key, text in given.items():
            if key not in self._options():
                raise ValueError(f"there is no option {key!r:.40}; there are {', '.join(self._options())}")
            try:
                wanted[key] = float(text)
            except ValueError:
                raise ValueError(f"{key}: expected a number, got {text!r:.40}") from None
        for group in groups:
            group.update(wanted)  # which checks all of them first, and for all groups alike
        return False

    def read(self, network: str, given: Mapping[str, str], typed: bool) -> tuple[str | None, dict[str, str], list[str]]:
        """Nothing: a model of one's own has no address that holds its settings."""
        return None, {}, []

    def _options(self) -> dict[str, float]:
        """The numbers among the optimizer's options."""
        first = self.training.optimizer.groups[0]
        return {key: value for key, value in first.items() if type(value) in (int, float)}

    def described(self) -> dict[str, Any]:
        """The optimizer's options, as a form."""
        form = [
            {"name": key, "label": key, "value": f"{value:g}", "help": f"the optimizer's {key}", "choices": []}
            for key, value in self._options().items()
        ]
        about = [{**each, "at_once": True} for each in form]
        return {"networks": [], "fields": about, "presets": [], "address": {}, "command": "", "rate": "lr"}


@dataclass
class OwnTraining:
    """A Module in training by `train.fit`."""

    model: nn.Module
    data: mnist.Dataset
    cost: Callable[[Any, Any], Tensor]
    optimizer: Optimizer
    batch_size: int
    seed: int

    def __post_init__(self) -> None:
        self.history: list[Epoch] = []

    def fit(self, progress: Callable[..., Iterable[Any]] | None = None) -> Iterator[Epoch]:
        """Train, and yield a record for every epoch."""
        rng = np.random.default_rng(self.seed)
        for epoch in train.fit(
            self.model,
            self.data,
            cost=self.cost,
            optimizer=self.optimizer,
            epochs=ENDLESS,
            batch_size=self.batch_size,
            rng=rng,
            progress=progress,
        ):
            self.history.append(epoch)
            yield epoch


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
