"""A network of your own: convolutions, one of the framework's costs, and an optimizer written out.

    python -m zoo.custom

Use this file as a starting point for your own. `Convolutional` is the model: any Module with a `forward`. `Adam` is the
optimizer: one formula (Kingma and Ba, 2015; `optim.Adam` has more options). All else is `train.fit`, around which plain
Python keeps the best weights and stops early.

Defaults. η 0.002, halved after every epoch, and mini-batches of 32, for 4 epochs. With seeds 0, 1 and 2 that comes to
98.60, 98.93 and 98.85 % of the test digits.
"""

import argparse
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np

from tinygrad_mnist import Tensor, nn, relu, train
from tinygrad_mnist.command import guarded
from tinygrad_mnist.files import claimed
from tinygrad_mnist.losses import softmax_cross_entropy
from tinygrad_mnist.optim import Optimizer, State, StepLR

from .commandline import progress_bar, refuse_to_lose, refuse_unwritable
from .limits import whole_number
from .options import DATA, STOPPING, Run, add_backend, add_options, command_line, load_data
from .stopping import best_of, check_validation, stands_still, what_is_kept, why_stopped
from .words import line, sizes


class Convolutional(nn.Module):
    """Two layers of 5 x 5 kernels, each with ReLU and 2 x 2 max pooling, and a layer of weighted inputs ("logits").

    28 x 28 pixels become 8 maps of 12 x 12, then 16 maps of 4 x 4, then a number for each class. Nielsen's chapter 6
    builds networks of this kind.
    """

    def __init__(self, image_shape: tuple[int, int], n_classes: int, rng: np.random.Generator) -> None:
        self.image_shape = image_shape
        self.first = nn.Conv2d(1, 8, 5, rng=rng)
        self.second = nn.Conv2d(8, 16, 5, rng=rng)
        self.pool, self.flatten = nn.MaxPool2d(2), nn.Flatten()
        rows, columns = (((side - 4) // 2 - 4) // 2 for side in image_shape)
        if min(rows, columns) < 1:
            raise ValueError(f"this network needs images of at least 16 x 16 pixels, got {image_shape}")
        self.output = nn.Linear(16 * rows * columns, n_classes, rng=rng)

    def forward(self, x: Tensor) -> Tensor:
        """The logits of images in rows of pixels, shape (n, pixels)."""
        x = x.reshape((len(x), 1, *self.image_shape))
        x = self.pool(relu(self.first(x)))
        x = self.pool(relu(self.second(x)))
        return self.output(self.flatten(x))


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


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return its exit status. Wrong usage exits with 2."""
    return guarded(lambda: _run(_parser().parse_args(arguments)))


def _run(options: argparse.Namespace) -> int:
    with claimed(*filter(None, [options.page])):
        return _train(options)


def _train(options: argparse.Namespace) -> int:
    refuse_unwritable(options.page)
    if options.page and not options.overwrite:
        refuse_to_lose(options.page)
    data = load_data(options.data, options.train_size)
    print(sizes(data), flush=True)
    check_validation(data, options.patience, options.keep_best)
    rng = np.random.default_rng(options.seed)
    network = Convolutional(data.image_shape, data.n_classes, rng)
    optimizer = Adam(network.parameters(), lr=0.002)
    history: list[train.Epoch] = []
    if options.page:
        from . import pictures

        made = pictures.page(network, optimizer, softmax_cross_entropy, data, 32, options.page)
        print(f"{made}: a step of training on the first digits, to walk through in a browser", flush=True)
    for epoch in train.fit(
        network,
        data,
        cost=softmax_cross_entropy,
        optimizer=optimizer,
        schedule=StepLR(optimizer, step_size=1, gamma=0.5),
        epochs=options.epochs,
        batch_size=32,
        rng=rng,
        backend=options.backend or "numpy",
        progress=progress_bar(quiet=False),
    ):
        print(line(epoch, options.epochs), flush=True)
        history.append(epoch)
        if best_of(history) is epoch:
            best = network.state_dict()
        if stands_still(history, options.patience) and epoch.epoch < options.epochs:
            print(why_stopped(history, options.patience))
            break
    if options.keep_best:
        network.load_state_dict(best)  # for whatever you do with it from here on
        print(what_is_kept(history))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = command_line("zoo.custom", __doc__)
    learning = parser.add_argument_group("how it learns")
    learning.add_argument("--epochs", metavar="N", type=whole_number(1), default=4, help="default: 4")
    learning.add_argument("--seed", metavar="N", type=whole_number(0), default=0, help="default: 0")
    add_options(learning, Run, STOPPING)
    add_backend(learning)
    add_options(parser.add_argument_group("data"), Run, DATA)
    add_options(parser.add_argument_group("files"), Run, ["page", "overwrite"])
    return parser


if __name__ == "__main__":
    sys.exit(main())
