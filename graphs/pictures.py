"""The pictures of computation graphs in README, in graphs/pictures: `python -m graphs.pictures`.

step.svg: one training step of the first network, the forward pass and beside it the backward pass.
vanishing.svg: eight sigmoid layers with weights from N(0, 1/fan_in), coloured by the norm of the gradient.
page.png: the page of a training step of that first network, as Chromium shows it.
sketch.png: the live page, with a digit drawn for network1 after two epochs.
The last two are left out where there is no Chromium, or no playwright to drive it.
"""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tinygrad_mnist import Tensor, mnist, nn, sigmoid, visualize
from tinygrad_mnist.command import Parser, guarded
from tinygrad_mnist.files import whole
from tinygrad_mnist.installation import folder_of
from tinygrad_mnist.losses import quadratic_cost
from tinygrad_mnist.optim import SGD

from .networks import Network1, ZooSubject, served

HERE = folder_of(__file__) / "pictures"

TWO = [(80, 90), (95, 68), (120, 52), (155, 50), (182, 70), (186, 100), (165, 135), (120, 180), (80, 220), (205, 220)]
"""A two, as it is drawn on the live page."""


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
    """Make the pictures; return the exit status of the command."""
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
    """Write the pictures into a folder."""
    data = mnist.load()
    n_in, n_out = data.train.images.shape[1], data.n_classes
    x = Tensor(data.train.images[:10], name="x")
    y = Tensor(np.eye(n_out, dtype=np.float32)[data.train.labels[:10]], name="y")
    folder.mkdir(parents=True, exist_ok=True)
    if not os.access(folder, os.W_OK):
        raise OSError(f"{folder} is not a directory that can be written to; name another with --output DIR")

    network = Network(n_in, n_out, np.random.default_rng(0))
    with visualize.trace():
        cost = quadratic_cost(network(x), y)
    cost.name = "C"
    print(visualize.save(visualize.graph(cost, backward=True), folder / "step.svg"))
    page = step(network, SGD(network.parameters(), lr=3.0), x, y)
    photograph(partial(walk, page), folder / "page.png")
    photograph(partial(sketch, data), folder / "sketch.png")

    rng = np.random.default_rng(0)
    deep = nn.Sequential(Layer(n_in, 30, rng), *(Layer(30, 30, rng) for _ in range(6)), Layer(30, n_out, rng))
    with visualize.trace():
        cost = quadratic_cost(deep(x), y)
    cost.name = "C"
    picture = visualize.graph(cost, gradients=True, collapse=1)
    picture.attr(ranksep="0.15")
    print(visualize.save(picture, folder / "vanishing.svg"))


def step(network: Network, optimizer: SGD, x: Tensor, y: Tensor) -> visualize.Page:
    """A step of training, and its page."""
    with visualize.trace():
        outputs = network(x)
        cost = quadratic_cost(outputs, y)
    cost.name = "C"
    page = visualize.page(cost, model=network, optimizer=optimizer)
    optimizer.zero_grad()
    cost.backward()
    optimizer.step()
    return page


def photograph(prepare: Callable[[Any], contextlib.AbstractContextManager[None]], path: Path) -> None:
    """Write a picture of a page, while `prepare` shows it in a tab, in 128 colours; or say why not."""
    program = shutil.which("chromium")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        program = None
    if program is None:
        print(f"{path}: left out; it takes chromium and playwright", file=sys.stderr)
        return
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        tab = browser.new_page(viewport={"width": 1280, "height": 800}, reduced_motion="reduce")
        with prepare(tab):
            shot = Image.open(io.BytesIO(tab.screenshot()))
        browser.close()
    with whole(path) as part:
        shot.convert("RGB").quantize(128).save(part, "PNG", optimize=True)
    print(path)


@contextlib.contextmanager
def walk(page: visualize.Page, tab: Any) -> Iterator[None]:
    """The page of a step, at the gradient of the last biases."""
    with tempfile.TemporaryDirectory() as folder:
        tab.goto(page.save(Path(folder) / "page.html").as_uri())
        headline = tab.locator("#headline", has_text="to output.bias")
        while not headline.count():
            tab.keyboard.press("ArrowRight")
        yield


@contextlib.contextmanager
def sketch(data: mnist.Dataset, tab: Any) -> Iterator[None]:
    """The live page, where a two is drawn for a network after two epochs."""
    with served(ZooSubject(data, Network1()), 0) as address:
        tab.goto(address)
        for epoch in ("1", "2"):
            tab.click("#epoch")
            tab.locator("#status", has_text=f"paused · step {1563 * int(epoch):,}").wait_for()
        box = tab.locator("#pad").bounding_box()
        for i, (x, y) in enumerate(TWO):
            tab.mouse.move(box["x"] + x, box["y"] + y, steps=4)
            if i == 0:
                tab.mouse.down()
        tab.mouse.up()
        tab.click("#labels button:nth-child(3)")
        tab.mouse.move(0, 0)
        tab.wait_for_timeout(1000)
        yield


if __name__ == "__main__":
    sys.exit(main())
