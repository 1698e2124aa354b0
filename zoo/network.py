"""The classical network: sigmoid neurons that learn by stochastic gradient descent. Nielsen's chapter 1.

    python -m zoo.network

Idea. Each layer computes a' = σ(a W + b), with σ(z) = 1 / (1 + e^-z). How wrong the outputs a are for the targets y is
the quadratic cost C = 1/n Σ ½ ||a - y||². A step of training estimates the gradient of C from a mini-batch of digits,
and goes against it:

    W <- W - η dC/dW        b <- b - η dC/db

where η (eta) is the learning rate. The gradients are what `loss.backward()` leaves; the book codes them by hand.

Weights and biases start as N(0, 1), as in the book. An output neuron may then be saturated, if not from the start then
after a few steps: its weighted input z is so far below 0 that σ'(z) is almost 0, whatever the digit. It hardly learns,
and the network hardly ever answers its digit, so that accuracy stays at 86 % instead of 95 %, as with seed 17. The run
says so at its end; `--init scaled` (chapter 3: N(0, 1/fan_in)) is the remedy. `python -m graphs.neuron` shows such a
neuron.

Defaults. η 3, mini-batches of 10 and 30 epochs are the book's. On the validation digits, with seeds 0 to 4, a larger η
is hardly better:
    η 3     94.7 to 95.3 %, median 95.2     <- the default
    η 5     95.0 to 95.6 %, median 95.2
    η 8     95.1 to 95.3 %, median 95.3
"""

import sys
from dataclasses import dataclass
from typing import ClassVar

from tinygrad_mnist import nn
from tinygrad_mnist.optim import SGD, Optimizer

from .base import BaseNetwork


@dataclass(frozen=True, kw_only=True)
class Network(BaseNetwork):
    """Stochastic gradient descent."""

    ORIGINAL: ClassVar[dict[str, object]] = {"lr": 2.5, "batch_size": 10}

    def optimizer(self, model: nn.Module, n: int) -> Optimizer:
        """Plain gradient descent."""
        return SGD(model.parameters(), self.rate)


if __name__ == "__main__":
    from .commandline import main

    sys.exit(main(Network))
