"""What each hidden neuron looks for: its weights to the 784 pixels as a picture, before and after training.

Before training the weights are noise. After it, many neurons have become detectors of strokes: bright where ink
excites the neuron, dark where it inhibits it. At the border, where no digit has ink, weight decay has left nothing but
grey. No neuron stands for one digit or a nameable part of one: each contributes to all ten outputs.
"""

import sys
from typing import Any

import numpy as np

from .commandline import command
from .figure import Figure
from .panel import Results
from .runs import training_of
from .sweep import Setting


def run(setting: Setting, seed: int) -> dict[str, Any]:
    """The first layer's weights, a row for each neuron, before and after training; in units of 0.01."""

    def weights() -> list[list[int]]:
        return np.rint(100 * training.model.state_dict()["layers.0.weight"].T).astype(int).tolist()

    training = training_of(setting, seed)
    before = weights()
    last = [*training.fit()][-1]
    return {"before": before, "after": weights(), "validation": last.validation, "shape": training.data.image_shape}


def draw(figure: Any, results: Results) -> None:
    """One panel before, one after: 5 x 6 pictures each."""
    ((result, *_),) = results.values()
    halves = figure.subfigures(1, 2, wspace=0.04)
    for half, when in zip(halves, ("before", "after"), strict=True):
        weights = np.array(result[when]) / 100
        limit = float(np.percentile(np.abs(weights), 99.7))
        half.suptitle(f"{when} training", fontsize=14)
        for axis, row in zip(half.subplots(5, 6).flat, weights, strict=False):
            image = axis.imshow(row.reshape(result["shape"]), cmap="gray", vmin=-limit, vmax=limit)
            axis.set(xticks=[], yticks=[])
        half.colorbar(image, ax=half.axes, shrink=0.7, label="weight", extend="both")


FIGURE = Figure(
    title="What the 30 hidden neurons look for: nothing at first, then strokes",
    settings={"network3": {"network": "network3", "lmbda": 1.0, "epochs": 30}},
    caption="network3: 784-30-10, quadratic cost, N(0, 1/fan_in), η 1.5, batch 10, λ 1, 50,000 digits; "
    "28 x 28 pixels each. The two colour scales differ.",
    draw=draw,
    run=run,
    seeds=(0,),
    size=(13, 5.8),
    shown="Seed 0.",
)

if __name__ == "__main__":
    sys.exit(command("hidden_weights"))
