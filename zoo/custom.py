"""A network of your own: convolutions, one of the framework's costs, and an optimizer written out.

    python -m zoo.custom

Use this file as a starting point for your own. `Convolutional` is the model: any Module with a `forward`. `Adam` is the
optimizer: one formula (Kingma and Ba, 2015; `optim.Adam` has more options). `Custom` puts them together, and has the
options of all networks.

Defaults. η 0.002, halved after every epoch, and mini-batches of 32, for 4 epochs. With seed 0 that comes to 98.5 % of
the validation and 98.6 % of the test digits.
"""

import itertools
import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from tinygrad_mnist import Tensor, nn, relu, sigmoid
from tinygrad_mnist.optim import Optimizer, State, StepLR

from .base import BaseNetwork, setting
from .limits import number, whole_number


class Convolutional(nn.Module):
    """Two layers of 5 x 5 kernels, each with ReLU and 2 x 2 max pooling, and a layer of weighted inputs ("logits").

    28 x 28 pixels become 8 maps of 12 x 12, then 16 maps of 4 x 4, then a number for each class. Nielsen's chapter 6
    builds networks of this kind.
    """

    def __init__(
        self,
        image_shape: tuple[int, int],
        n_classes: int,
        rng: np.random.Generator,
        hidden: tuple[int, ...] = (),
        init: str = "he",
    ) -> None:
        self.image_shape = image_shape
        self.first = nn.Conv2d(1, 8, 5, init=init, rng=rng)
        self.second = nn.Conv2d(8, 16, 5, init=init, rng=rng)
        self.pool, self.flatten = nn.MaxPool2d(2), nn.Flatten()
        rows, columns = (((side - 4) // 2 - 4) // 2 for side in image_shape)
        if min(rows, columns) < 1:
            raise ValueError(f"this network needs images of at least 16 x 16 pixels, got {image_shape}")
        sizes = [16 * rows * columns, *hidden]
        self.hidden = [nn.Linear(fan_in, n, init=init, rng=rng) for fan_in, n in itertools.pairwise(sizes)]
        self.output = nn.Linear(sizes[-1], n_classes, init=init, rng=rng)

    def forward(self, x: Tensor) -> Tensor:
        """The logits of images in rows of pixels, shape (n, pixels)."""
        x = x.reshape((len(x), 1, *self.image_shape))
        x = self.pool(relu(self.first(x)))
        x = self.pool(relu(self.second(x)))
        x = self.flatten(x)
        for layer in self.hidden:
            x = relu(layer(x))
        return self.output(x)


class Adam(Optimizer):
    """Steps of about the same length for every weight: m / √s, running means of the gradient and of its square.

    m <- 0.9 m + 0.1 g; s <- 0.999 s + 0.001 g²; both start at 0, which is made up for by 1 - 0.9^t and 1 - 0.999^t
    after t steps. `state` keeps m, s and t for each parameter.
    """

    def direction(self, gradient: Any, state: State, options: Mapping[str, Any]) -> Any:
        """The step m / √s."""
        state["m"] = 0.9 * state.get("m", 0) + 0.1 * gradient
        state["s"] = 0.999 * state.get("s", 0) + 0.001 * gradient**2
        state["t"] = state.get("t", 0) + 1
        m, s = state["m"] / (1 - 0.9 ** state["t"]), state["s"] / (1 - 0.999 ** state["t"])
        return m / (np.sqrt(s) + 1e-8)


@dataclass(frozen=True, kw_only=True)
class Custom(BaseNetwork):
    """Convolutions and Adam, with the options and files that all networks of the zoo have."""

    hidden: tuple[int, ...] = setting((), "neurons in each layer before the last, none here", whole_number(1), "N")
    init: str = "he"
    cost: str = "softmax"
    epochs: int = 4
    batch_size: int = 32
    lr_gamma: float = setting(
        0.5, "the factor that the learning rate is multiplied by after every epoch", number(0, open_low=True), "FACTOR"
    )

    RATES: ClassVar[dict[str, float]] = {"quadratic": 0.002, "cross-entropy": 0.002, "softmax": 0.002}

    def model(self, n_in: int, n_out: int, rng: np.random.Generator) -> nn.Module:
        """The kernels; with the quadratic and the cross-entropy cost, a sigmoid after them."""
        side = math.isqrt(n_in)
        if side * side != n_in:
            raise ValueError(f"zoo.custom: expected square images, got {n_in} pixels; pad them to a square")
        network = Convolutional((side, side), n_out, rng, self.hidden, self.init)
        return network if self.cost == "softmax" else nn.Sequential(network, sigmoid)

    def optimizer(self, model: nn.Module, n: int) -> Optimizer:
        """Adam."""
        return Adam(model.parameters(), self.rate)

    def schedule(self, optimizer: Optimizer) -> StepLR | None:
        """The learning rate steps down after every epoch."""
        return StepLR(optimizer, 1, self.lr_gamma)


if __name__ == "__main__":
    from .commandline import main

    sys.exit(main(Custom))
