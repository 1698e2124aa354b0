"""Why momentum with large weights dies: the outputs saturate, and hardly any gradient comes through them any more.

The original's settings, η 1.5 and μ 0.9 in batches of 32, are η 15 in the long run. In the first epoch 92 to 96 % of
the outputs come within 0.01 of 0 or 1, for some digits on the wrong side. In the end only 54 to 86 % of the validation
digits are recognized, and up to four of the ten digits are never answered.

Are large weights to blame? With such steps not alone: weights from N(0, 1/fan_in) die too. With η 0.25 they do not
(96.3 % on average, every seed above 96.1), while N(0, 1) still loses a digit in two seeds of three. A share of
saturated outputs is no fault in itself: accurate, confident networks reach 92 % too, but late; with η 1.5 it is there
after one epoch. What all dying runs have in common is a gradient of the hidden layer that is half as large.
"""

import sys
from functools import partial
from typing import Any

from .commandline import command
from .figure import Figure
from .panel import Results, accuracy, curves


def norms(layer: int, run: Any) -> list[float]:
    """The norms of a layer's gradient, before training and after each epoch."""
    return [max(epoch[layer], 1e-12) for epoch in run["gradients"]]


def draw(figure: Any, results: Results) -> None:
    """Accuracy, saturated outputs, and the gradients of both layers."""
    (left, right), lower = figure.subplots(2, 2)
    accuracy(left, results)
    left.legend(fontsize=11, loc="lower right")
    curves(right, results, lambda run: [100 * epoch["saturated"] for epoch in run["epochs"]])
    right.set(ylabel="outputs within 0.01 of 0 or 1 (%)")
    for layer, (axis, name) in enumerate(zip(lower, ("hidden", "output"), strict=True)):
        curves(axis, results, partial(norms, layer), first=0)
        axis.set(ylabel="norm of dC/db, 1,000 digits", yscale="log", title=f"{name} layer")


FIGURE = Figure(
    title="Steps too long: outputs saturate in the first epoch, and lost digits come back late or never",
    settings={
        f"{weights}, η {lr}": {
            "network": "network1",
            "init": init,
            "lr": lr,
            "momentum": 0.9,
            "batch_size": 32,
            "epochs": 30,
            "gradients": True,
        }
        for lr in (1.5, 0.25)
        for weights, init in (("N(0, 1)", "normal"), ("N(0, 1/fan_in)", "scaled"))
    },
    caption="network1: 784-30-10, quadratic cost, μ 0.9, batch 32, 50,000 digits. Before training: epoch 0.",
    draw=draw,
    size=(13, 10),
)

if __name__ == "__main__":
    sys.exit(command("saturation"))
