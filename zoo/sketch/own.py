"""A Module of one's own, as the page looks at it and trains it."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tinygrad_mnist import mnist, nn, ops, train
from tinygrad_mnist.losses import cross_entropy as pytorch_cross_entropy
from tinygrad_mnist.losses import nll_loss, softmax_cross_entropy
from tinygrad_mnist.optim import SGD, Optimizer
from tinygrad_mnist.tensor import Array, Tensor
from tinygrad_mnist.train import Epoch

from .subjects import ENDLESS


class OwnSubject:
    """Any Module, with a cost and an optimizer.

    The arguments are those of `sketch.show`, which checks nothing itself.
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
