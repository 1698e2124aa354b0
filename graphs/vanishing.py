"""Why deep networks of sigmoids learn slowly: the gradient by layer, for 1 to 5 hidden layers. The book's chapter 5.

The book's claim holds before training: the gradient shrinks by a factor of about 5 with each layer it goes back
through, since σ' is at most 1/4 and the weights are small; with 5 hidden layers the first gets a 1,900th to a
2,700th of what the last gets. After training no trace of it is left: then the gradients of all layers are within a
factor of 3 of each other.

What it costs: with 5 hidden layers nothing is learned for an epoch or two (21 % after the first). In the end 1 and 2
hidden layers are at 96.2 % of the validation digits, and 3, 4 and 5 at 95.8, 95.7 and 95.2 %: more layers are no help
here.
"""

import sys
from typing import Any

import numpy as np

from .commandline import command
from .figure import Figure
from .panel import STYLES, Results, accuracy


def draw(figure: Any, results: Results) -> None:
    """The gradients at the start and after the last epoch, and what accuracy comes of them."""
    start, end, right = figure.subplots(1, 3)
    for axis, when, text in ((start, 0, "before training"), (end, -1, "after training")):
        for (label, runs), (colour, line, marker) in zip(results.items(), STYLES, strict=True):
            norms = np.array([run["gradients"][when] for run in runs])
            layers = np.arange(1, norms.shape[1] + 1)
            axis.fill_between(layers, norms.min(0), norms.max(0), color=colour, alpha=0.18, linewidth=0)
            mean = np.exp(np.log(norms).mean(0))
            axis.plot(layers, mean, color=colour, linestyle=line, marker=marker, markersize=7, linewidth=2, label=label)
        axis.set(yscale="log", xlabel="layer, from the pixels to the outputs", title=text, xticks=range(1, 7))
        axis.set_ylabel("norm of dC/db, on 1,000 digits")
        axis.grid(alpha=0.3)
    start.legend(fontsize=11)
    accuracy(right, results, lowest=85)
    right.legend(fontsize=11, loc="lower right")


FIGURE = Figure(
    title="Before training, the gradient shrinks by a factor of 5 with every layer it goes back through",
    settings={
        f"{n} hidden layer{'s' * (n > 1)}": {
            "network": "network",
            "init": "scaled",
            "hidden": [30] * n,
            "batch_size": 10,
            "lr": 3.0,
            "epochs": 30,
            "gradients": True,
        }
        for n in (1, 2, 3, 4, 5)
    },
    caption="network with hidden layers of 30 neurons: quadratic cost, N(0, 1/fan_in), batch 10, η 3, 50,000 digits. "
    "Norms: geometric mean.",
    draw=draw,
    size=(17, 5.8),
)

if __name__ == "__main__":
    sys.exit(command("vanishing"))
