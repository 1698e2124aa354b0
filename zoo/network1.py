"""The network with momentum: steps that remember where they were going. Nielsen's chapter 3, "Momentum-based descent".

    python -m zoo.network1

Idea. The gradient changes not the weights but their velocity v, as a slope does with a rolling ball:

    v <- μ v + dC/dW        W <- W - η v

where μ (mu), from 0 to 1, is how much of the velocity is left after a step. What all gradients agree on adds up, to
1 / (1 - μ) times a single one; what changes from one mini-batch to the next cancels out.
(The book's v <- μ v - η dC/dW; W <- W + v is the same as long as η stays.)
"""

import sys
from dataclasses import dataclass
from typing import ClassVar

from tinygrad_mnist import nn
from tinygrad_mnist.optim import Momentum, Optimizer

from .network import Network


@dataclass(frozen=True, kw_only=True)
class Network1(Network):
    """`Network`, with momentum.

    Attributes:
        momentum: how much of the velocity is left after a step, μ.
    """

    init: str = "scaled"
    batch_size: int = 10
    momentum: float = 0.9

    RATES: ClassVar[dict[str, float]] = {"quadratic": 0.2, "cross-entropy": 0.05, "softmax": 0.05}
    ORIGINAL: ClassVar[dict[str, object]] = {"lr": 1.5, "batch_size": 32, "momentum": 0.9, "init": "normal"}

    def optimizer(self, model: nn.Module, n: int) -> Optimizer:
        """Classical momentum."""
        return Momentum(model.parameters(), self.rate, self.momentum)


if __name__ == "__main__":
    from .commandline import main

    sys.exit(main(Network1))
