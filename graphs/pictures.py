"""The pictures of computation graphs in README, as graphs/pictures/*.svg: `python -m graphs.pictures`.

step.svg: one training step of the first network, the forward pass and beside it the backward pass.
vanishing.svg: eight sigmoid layers with weights from N(0, 1/fan_in), coloured by the norm of the gradient.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tinygrad_mnist import Tensor, mnist, nn, sigmoid, visualize
from tinygrad_mnist.command import Parser, guarded
from tinygrad_mnist.installation import folder_of
from tinygrad_mnist.losses import quadratic_cost

HERE = folder_of(__file__) / "pictures"


class Network(nn.Module):
    """Thirty hidden neurons, as in the book's first chapter."""

    def __init__(self, n_in: int, n_out: int, rng: np.random.Generator) -> None:
        self.hidden = nn.Linear(n_in, 30, bias="normal", rng=rng)
        self.output = nn.Linear(30, n_out, bias="normal", rng=rng)

    def forward(self, x: Tensor) -> Tensor:
        """The ten output activations."""
        return sigmoid(self.output(sigmoid(self.hidden(x))))


class Layer(nn.Module):
    """σ(x W + b)."""

    def __init__(self, n_in: int, n_out: int, rng: np.random.Generator) -> None:
        self.linear = nn.Linear(n_in, n_out, bias="normal", rng=rng)

    def forward(self, x: Tensor) -> Tensor:
        """The layer's activations."""
        return sigmoid(self.linear(x))


def main(arguments: Sequence[str] | None = None) -> int:
    """Make both pictures; return the exit status of the command."""
    parser = Parser("python -m graphs.pictures", __doc__)
    parser.add_argument(
        "--output",
        type=Path,
        metavar="DIR",
        default=HERE,
        help="directory for the pictures (default: pictures, in a checkout graphs/pictures)",
    )

    def run() -> int:
        draw(parser.parse_args(arguments).output)
        return 0

    return guarded(run)


def draw(folder: Path) -> None:
    """Write both pictures into a folder."""
    data = mnist.load()
    n_in, n_out = data.train.images.shape[1], data.n_classes
    x = Tensor(data.train.images[:10], name="x")
    y = Tensor(np.eye(n_out, dtype=np.float32)[data.train.labels[:10]], name="y")
    folder.mkdir(exist_ok=True)

    network = Network(n_in, n_out, np.random.default_rng(0))
    with visualize.trace():
        cost = quadratic_cost(network(x), y)
    cost.name = "C"
    print(visualize.save(visualize.graph(cost, backward=True), folder / "step.svg"))

    rng = np.random.default_rng(0)
    deep = nn.Sequential(Layer(n_in, 30, rng), *(Layer(30, 30, rng) for _ in range(6)), Layer(30, n_out, rng))
    with visualize.trace():
        cost = quadratic_cost(deep(x), y)
    cost.name = "C"
    picture = visualize.graph(cost, gradients=True, collapse=1)
    picture.attr(ranksep="0.15")
    print(visualize.save(picture, folder / "vanishing.svg"))


if __name__ == "__main__":
    sys.exit(main())
