"""The learning curve of the first network: stochastic gradient descent, batch 10, η 2.5, weights N(0, 1).

(η is the original's; the book's and `zoo.network`'s is 3.)

Most of it is learned in five epochs; 30 come to 95.4 % on the validation and 95.0 % (94.9 to 95.3 %) on the test
digits, while the training digits go on to 97.4 %. The original claimed 95 % on the test digits, for one seed: it holds.
Its curve is smoother at the start, since what it called a batch only divided η: it took a step after every digit.
"""

import sys
from typing import Any

from .commandline import command
from .figure import Figure
from .panel import Results, accuracy, curves


def draw(figure: Any, results: Results) -> None:
    """Accuracies, and the cost they come from."""
    left, right = figure.subplots(1, 2)
    (runs,) = results.values()
    for key, style in (
        ("training", ("#0072B2", "-", "o")),
        ("validation", ("#D55E00", "--", "s")),
        ("test", ("#000000", ":", "D")),
    ):
        accuracy(left, {key: runs}, key, styles=[style])
    left.set_ylabel("accuracy (%)")
    curves(right, {"cost": runs}, lambda run: [epoch["cost"] for epoch in run["epochs"]])
    right.set(ylabel="mean cost of an epoch, ½ ||a - y||²", yscale="log")


FIGURE = Figure(
    title="The first network learns most of what it will in five epochs",
    settings={"network": {"network": "network", "batch_size": 10, "lr": 2.5, "epochs": 30}},
    caption="network: 784-30-10, quadratic cost, N(0, 1), batch 10, η 2.5, 50,000 digits.",
    draw=draw,
    size=(13, 5.6),
)

if __name__ == "__main__":
    sys.exit(command("learning"))
