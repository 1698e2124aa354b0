"""The four ways to learn, like with like; and the four networks of the zoo as they are.

The original claims that momentum and L2 improve on plain gradient descent. Momentum does not by itself, and L2 only
where first weights are large. From the same weights, in the same order and with steps that add up to the same length,
gradient descent, momentum and Nesterov end alike: 95.3, 95.3 and 95.4 % of the validation digits with weights from
N(0, 1), 96.2, 96.2 and 96.0 % with N(0, 1/fan_in); the seeds lie further apart. (All numbers are means of three seeds.)
Weight decay makes up for large first weights (96.1 %), which it shrinks, and hardly adds to small ones (96.3 %).

Where the networks of the zoo differ (right), it is by their first weights, and the rest by schedule and decay: 95.3,
96.2, 96.3 and 96.5 %. The original comparison was of single runs, in which every "batch" was a step for each digit.
"""

import sys
from typing import Any

from .commandline import command
from .figure import Figure
from .panel import Results, accuracy

# In the long run a step with momentum goes 1 / (1 - μ) times as far, so that η 1.5 with μ 0.5 stands against η 3.
WAYS: dict[str, dict[str, Any]] = {
    "gradient descent": {"network": "network", "lr": 3.0},
    "momentum": {"network": "network1", "lr": 1.5, "momentum": 0.5},
    "Nesterov": {"network": "network2", "lr": 1.5, "momentum": 0.5, "lr_gamma": 1.0},
    "L2, λ 1": {"network": "network3", "lr": 3.0, "lmbda": 1.0},
}
WEIGHTS = {"weights N(0, 1)": "normal", "weights N(0, 1/fan_in)": "scaled"}
OWN = "each with its own defaults"


def draw(figure: Any, results: Results) -> None:
    """A panel for each kind of first weights, and one for the networks' own defaults."""
    for axis, panel in zip(figure.subplots(1, 3, sharey=True), (*WEIGHTS, OWN), strict=True):
        accuracy(axis, {label.partition(": ")[2]: runs for label, runs in results.items()
                        if label.startswith(panel + ": ")}, lowest=90)  # fmt: skip
        axis.set_title(panel, fontsize=14)
        axis.label_outer()


FIGURE = Figure(
    title="First weights matter more than momentum",
    settings={
        **{
            f"{panel}: {way}": {**setting, "init": init, "batch_size": 10, "epochs": 30}
            for panel, init in WEIGHTS.items()
            for way, setting in WAYS.items()
        },
        **{
            f"{OWN}: {name}": {"network": name, "epochs": 30}
            for name in ("network", "network1", "network2", "network3")
        },
    },
    caption="784-30-10, quadratic cost, 50,000 digits. Left and middle: batch 10, η 3, or η 1.5 with μ 0.5, "
    "and the same first weights and orders for all.",
    draw=draw,
    size=(17, 5.8),
)

if __name__ == "__main__":
    sys.exit(command("compare"))
