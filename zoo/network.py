"""The classical network: sigmoid neurons that learn by stochastic gradient descent. Nielsen's chapter 1.

    python -m zoo.network

Idea. Each layer computes a' = σ(a W + b), with σ(z) = 1 / (1 + e^-z). How wrong the outputs a are for the targets y is
the quadratic cost C = 1/n Σ ½ ||a - y||². A step of training estimates the gradient of C from a mini-batch of digits,
and goes against it:

    W <- W - η dC/dW        b <- b - η dC/db

where η (eta) is the learning rate. The gradients are what `loss.backward()` leaves; the book codes them by hand.

Weights and biases start as N(0, 1), as in the book. An output neuron may then be saturated from the start: its weighted
input z is so far below 0 that σ'(z) is almost 0, whatever the digit. It hardly learns, and the network never
answers its digit, so that accuracy stays at 86 % instead of 95 %, as with seed 17. The run says so at its end;
`--init scaled` (chapter 3: N(0, 1/fan_in)) is the remedy.

Defaults. η 3, mini-batches of 10 and 30 epochs are the book's. On the validation digits, with seeds 0 to 4, a larger η
is hardly better:
    η 3     94.7 to 95.3 %, median 95.2     <- the default
    η 5     95.0 to 95.6 %, median 95.2
    η 8     95.1 to 95.3 %, median 95.3
"""

import itertools
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np

from tinygrad_mnist import nn, ops
from tinygrad_mnist.losses import cross_entropy_cost, quadratic_cost, softmax_cross_entropy
from tinygrad_mnist.optim import SGD, Optimizer, StepLR

COSTS = {"quadratic": quadratic_cost, "cross-entropy": cross_entropy_cost, "softmax": softmax_cross_entropy}
"""The costs by name. With "softmax" the network's outputs are the weighted inputs of its last layer."""


@dataclass(frozen=True, kw_only=True)
class Network:
    """The settings of a network and of its training, and what they mean: model, optimizer, schedule.

    Attributes:
        hidden: the sizes of the hidden layers, in neurons.
        init: how weights start, a name in `nn.INITIALIZERS`.
        cost: a name in `COSTS`.
        epochs: how often training goes through all training digits.
        batch_size: digits per step.
        lr: the learning rate η; None takes the cost's rate in `RATES` (for the non-quadratic costs the best of
            0.25, 0.5, 1 and 2 after 12 epochs on the validation digits, or as good as it).
        seed: of the first weights and of the order of the digits, two generators: with one seed and the same sizes, all
            networks start alike.
        per_example: update after every digit with η / batch_size, as the networks in `original()` did.
    """

    hidden: tuple[int, ...] = (30,)
    init: str = "normal"
    cost: str = "quadratic"
    epochs: int = 30
    batch_size: int = 10
    lr: float | None = None
    seed: int = 0
    per_example: bool = False

    RATES: ClassVar[dict[str, float]] = {"quadratic": 3.0, "cross-entropy": 0.5, "softmax": 0.5}
    ORIGINAL: ClassVar[dict[str, object]] = {"lr": 2.5, "batch_size": 10}

    def __post_init__(self) -> None:
        for name, allowed in (("cost", COSTS), ("init", nn.INITIALIZERS)):
            if (value := getattr(self, name)) not in list(allowed):
                raise ValueError(f"{name}: expected one of {', '.join(allowed)}, got {value!r}")
        for name, low in (("epochs", 0), ("batch_size", 1), ("seed", 0)):
            if type(value := getattr(self, name)) is not int or value < low:
                raise ValueError(f"{name}: expected a whole number of at least {low}, got {value!r}")
        if not isinstance(self.hidden, tuple) or any(type(n) is not int or n < 1 for n in self.hidden):
            raise ValueError(f"hidden: expected a tuple of whole numbers of at least 1, got {self.hidden!r}")
        if self.lr is None:
            object.__setattr__(self, "lr", self.RATES[self.cost])

    @classmethod
    def original(cls, **settings: object) -> Self:
        """The network with the settings that it was first published with, as it really computed them.

        What it called a batch only divided the learning rate: the weights were changed after every single digit.
        """
        return cls(**{**cls.ORIGINAL, "per_example": True, **settings})  # type: ignore[arg-type]

    @property
    def digits_a_step(self) -> int:
        """How many digits a step of training sees."""
        return 1 if self.per_example else self.batch_size

    @property
    def rate(self) -> float:
        """The learning rate of a step."""
        assert self.lr is not None
        return self.lr / self.batch_size if self.per_example else self.lr

    def model(self, n_in: int, n_out: int, rng: np.random.Generator) -> nn.Sequential:
        """Layers of sigmoid neurons: n_in pixels, the hidden layers, n_out classes."""
        bias = "normal" if self.init in ("normal", "scaled") else "zeros"  # as in the book; and as in the papers
        layers: list[Callable[[Any], Any]] = []
        for fan_in, fan_out in itertools.pairwise((n_in, *self.hidden, n_out)):
            layers += [nn.Linear(fan_in, fan_out, init=self.init, bias=bias, rng=rng), ops.sigmoid]
        return nn.Sequential(*(layers[:-1] if self.cost == "softmax" else layers))

    def optimizer(self, model: nn.Module, n: int) -> Optimizer:
        """Plain gradient descent; `n` is the number of training digits."""
        return SGD(model.parameters(), self.rate)

    def schedule(self, optimizer: Optimizer) -> StepLR | None:
        """The learning rate stays."""
        return None


if __name__ == "__main__":
    from .commandline import main

    sys.exit(main(Network))
