"""How neurons start: histograms of weighted inputs z and activations σ(z), by layer, for each kind of first weights.

N(0, 1) saturates the first layer: its z have a standard deviation of 9.3, and 61 % of its activations are within 0.01
of 0 or 1, where hardly a gradient comes through. That is the book's claim (chapter 3), and it holds. With the three
smaller ways none is.

But what is not saturated need not say much. How far one neuron's z goes from digit to digit shrinks from layer to
layer: with N(0, 1/fan_in) from 0.26 to 0.0005 in five layers, a factor of nearly 5 each, as the slope of the sigmoid is
at most 1/4. (N(0, 2/fan_in), made for relu, ends at 0.004, N(0, 1) at 0.6.) The outputs of such a network are much the
same whatever the digit, so that little is learned at first: the forward side of what `graphs.vanishing` shows.
"""

import sys
from typing import Any

import numpy as np

from tinygrad_mnist import nn, no_grad, sigmoid

from .commandline import command
from .figure import Figure
from .panel import STYLES, Results
from .runs import training_of
from .sweep import Setting

DIGITS = 1000
BINS = {"z": np.linspace(-20, 20, 161), "a": np.linspace(0, 1, 51)}
MEASURED = ("spread", "by digit", "saturated")
SATURATED = 0.01  # of 0 or 1, as in graphs.saturation


def run(setting: Setting, seed: int) -> dict[str, Any]:
    """For each layer the histograms, the standard deviations of z, and the share of activations near 0 or 1.

    "spread" is the standard deviation of all z; "by digit" that of a neuron's z from digit to digit (root mean square
    over neurons), without which all digits look alike.
    """
    training = training_of(setting, seed)
    for _ in training.fit():
        pass
    layers = []
    a: Any = training.data.train.images[:DIGITS]
    with no_grad():
        for linear in [layer for layer in training.model.modules() if isinstance(layer, nn.Linear)]:
            z = linear(a)
            a = sigmoid(z)
            inputs, outputs = z.numpy(), a.numpy()
            counts = {name: np.histogram(np.clip(values, *BINS[name][[0, -1]]), BINS[name])[0] / values.size
                      for name, values in (("z", inputs), ("a", outputs))}  # fmt: skip
            measured = {
                "spread": inputs.std(),
                "by digit": np.sqrt(inputs.var(0).mean()),
                "saturated": ((outputs < SATURATED) | (outputs > 1 - SATURATED)).mean(),
            }
            layers.append(
                {name: np.round(share, 5).tolist() for name, share in counts.items()}
                | {name: float(f"{value:.3g}") for name, value in measured.items()}
            )
    return {"layers": layers, "told": [f"{name}: {[layer[name] for layer in layers]}" for name in MEASURED]}


def draw(figure: Any, results: Results) -> None:
    """A column for each way, weighted inputs above, activations below; in each a hill for each layer."""
    above, below = figure.subplots(2, len(results), sharey=True)
    for axis, lower, (label, runs) in zip(above, below, results.items(), strict=True):
        axis.set_title(label, fontsize=14)
        for n in range(len(runs[0]["layers"])):
            layers = [run["layers"][n] for run in runs]
            for name, panel in (("z", axis), ("a", lower)):
                _hill(panel, -n, BINS[name], np.mean([layer[name] for layer in layers], 0), STYLES[n % len(STYLES)][0])
            spread, digit, share = (np.mean([layer[name] for layer in layers]) for name in MEASURED)
            axis.text(20.5, 0.4 - n, f"{spread:.2g}\n({digit:.1g})", fontsize=11, va="center")
            lower.text(1.02, 0.4 - n, f"{100 * share:.0f} %", fontsize=11, va="center")
        axis.set(xlabel="weighted input z", xlim=(-20, 20))
        lower.set(xlabel="activation σ(z)", xlim=(0, 1), xticks=[0, 0.5, 1])
    for axis in (above[0], below[0]):
        axis.set_yticks([0.4 - i for i in range(n + 1)], [f"layer {i + 1}" for i in range(n + 1)])
        axis.set_ylim(-n - 0.05, 1.02)


def _hill(axis: Any, floor: float, edges: Any, shares: Any, colour: str) -> None:
    """A histogram on a floor of its own, as high as its highest bin is."""
    axis.stairs(floor + 0.9 * shares / shares.max(), edges, baseline=floor, fill=True, color=colour, alpha=0.75)
    axis.axhline(floor, color="0.6", linewidth=0.8)


FIGURE = Figure(
    title="Large first weights saturate the first layer; small ones tell the last one little of the digit",
    settings={
        label: {"network": "network", "init": init, "hidden": [30] * 4, "epochs": 0}
        for label, init in (
            ("normal: N(0, 1)", "normal"),
            ("scaled: N(0, 1/fan_in)", "scaled"),
            ("xavier: N(0, 2/(in + out))", "xavier"),
            ("he: N(0, 2/fan_in)", "he"),
        )
    },
    caption="network: 784-30-30-30-30-10 before training, 1,000 digits; biases N(0, 1) with normal and scaled, else 0. "
    "Each hill is as high as its highest bin; ±20 holds what is beyond. Beside it, above: "
    "the standard deviation of z, and in brackets that of one neuron from digit to digit; below: activations within "
    "0.01 of 0 or 1.",
    draw=draw,
    run=run,
    size=(16, 10.5),
    shown="All neurons of seeds 0, 1, 2.",
    quick={"train_size": 100},
)

if __name__ == "__main__":
    sys.exit(command("activations"))
