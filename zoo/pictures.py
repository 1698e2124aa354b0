"""What the networks' commands draw: learning curves, a step of training as a graph, digits as text."""

import copy
from pathlib import Path
from typing import Any

import numpy as np

from tinygrad_mnist import Tensor, mnist, train, visualize
from tinygrad_mnist.files import whole
from tinygrad_mnist.nn import Module
from tinygrad_mnist.optim import Optimizer

from .base import COSTS
from .report import shown_split
from .training import Training, network_name
from .words import in_words

# Of Okabe and Ito's colours, which colour-blind people can tell apart; dashes tell the curves apart in grey.
STYLES = {"training": ("#0072B2", ":"), "validation": ("#D55E00", "-"), "test": ("#009E73", "--")}


def plot(training: Training, file: Path) -> None:
    """Draw accuracies and cost against epochs. Needs no display."""
    import matplotlib
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    history = training.history
    epochs = [epoch.epoch for epoch in history]
    figure = Figure(figsize=(10, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    for name, (colour, dashes) in STYLES.items():
        shares = [getattr(epoch, name) for epoch in history]
        if shares and None not in shares:
            label = f"{name} (sample)" if name == "training" and len(training.data.train) > train.SAMPLE else name
            left.plot(epochs, [100 * share for share in shares], dashes, color=colour, marker=".", label=label)
    left.set(xlabel="epoch", ylabel="accuracy (%)")
    left.legend()
    right.plot(epochs, [epoch.cost for epoch in history], color="black", marker=".")
    right.set(xlabel="epoch", ylabel=f"{training.network.cost} cost, mean over the epoch")
    for axes in (left, right):
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.grid(alpha=0.3)
    figure.suptitle(f"{network_name(training.network)}: {in_words(training.network)}", fontsize="medium")
    with whole(file) as part, matplotlib.rc_context({"svg.hashsalt": "zoo"}):
        figure.savefig(part, dpi=120)


def graph(training: Training, file: Path) -> Path:
    """Draw the graph of one step of training, from a mini-batch to its cost and the gradients back; return the file."""
    images, labels = next(mnist.batches(training.data.train, training.network.digits_a_step))
    targets = np.eye(training.data.n_classes, dtype=images.dtype)[labels]
    with visualize.trace():  # so that a network too large to read is folded by layers, and the mouse shows lines
        outputs = training.model(Tensor(images, name="images"))
        loss = COSTS[training.network.cost](outputs, Tensor(targets, name="targets"))
    loss.name = "C"
    return visualize.save(visualize.graph(loss, model=training.model, backward=True, shapes=True), file)


def page(training: Training, file: Path) -> Path:
    """Write the page of a step of training on the first digits. Nothing is trained by it: the step is of copies.

    It shows how the network's own class makes its model and its optimizer, and the step.
    """
    network, data = training.network, training.data
    images, labels = next(mnist.batches(data.train, network.digits_a_step))
    targets = np.eye(data.n_classes, dtype=images.dtype)[labels]
    model, optimizer = copy.deepcopy((training.model, training.optimizer))
    model.train()
    made = []

    def look(loss: Tensor) -> None:
        loss.name = "C"
        kind = type(network).__name__  # what is its own stands before what it has inherited
        functions: list[Any] = [network.model, network.optimizer]
        code = sorted(functions, key=lambda made: not made.__qualname__.startswith(f"{kind}."))
        made.append(visualize.page(loss, model=model, optimizer=optimizer, code=code))

    with visualize.trace():
        step(
            model, optimizer, COSTS[network.cost], Tensor(images, name="images"), Tensor(targets, name="targets"), look
        )
    return made[0].save(file)


def step(model: Module, optimizer: Optimizer, cost: Any, images: Tensor, targets: Tensor, look: Any) -> None:
    """A step of training, as `train.fit` takes them."""
    outputs = model(images)
    loss = cost(outputs, targets)
    look(loss)  # this page is made here
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


def draw(training: Training, some: int, wrong: int) -> None:
    """Print test images as text, with what the network says of them; or what there is in place of test images."""
    kind, split = shown_split(training)
    outputs = training.activations(split.images)
    said = outputs.argmax(1)
    missed = (said != split.labels).nonzero()[0]
    chosen = [*range(min(some, len(split))), *missed[:wrong].tolist()]
    for i in chosen:
        print(f"{kind} image {i}: says {said[i]}, is {split.labels[i]}")
        print(
            visualize.digit(
                split.images[i], training.data.image_shape, activations=outputs[i], label=int(split.labels[i])
            )
        )
    if len(missed) < wrong:
        print(f"only {len(missed):,} of {len(split):,} {kind} images are wrong")
