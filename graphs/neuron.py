"""Where a lost digit's neuron sits on the sigmoid: seed 17 of the first network, and what `--init scaled` changes.

With weights from N(0, 1) this network never answers 8. Its neuron for 8 is not saturated from the start: on images of 8
the median of its weighted input z is 2.0, and σ' is 0.1 on average. But it answers nearly 1 to all digits, nine in ten
of which are not 8, and with η 3 the first steps throw it to the other side: z is -3.2 after two steps, -6.6 after five
and -9.7 after a hundred. What images of 8 might teach it is multiplied by σ', which is 0.0006 there. So it does not
come back: in the end z is -15.7, σ' 0.000004, and the network at 86.2 % of the validation digits.

With `--init scaled` z begins at 1.0, and a single step throws it to -4.3. But further it does not go, σ' is 0.01 there,
and it comes back: z is positive again after 200 steps, and 8.4 in the end; the network is at 96.0 %. So small weights
did not keep the neuron from being thrown, but from being thrown too far. (That is one seed and one digit;
`graphs.saturation` has more.)
"""

import sys
from typing import Any

import numpy as np

from tinygrad_mnist import Tensor, mnist, nn, no_grad

from .commandline import command
from .figure import Figure
from .networks import COSTS
from .panel import STYLES, Results
from .runs import training_of
from .sweep import Setting

EDGES = np.linspace(-25, 25, 101)
WHEN = (("before", "#D55E00", "//"), ("after", "#0072B2", ""))  # with the colour and the hatching of each
STEPS = (1, 2, 3, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000)


def run(setting: Setting, seed: int) -> dict[str, Any]:
    """For each digit its output neuron's weighted inputs, for the validation images of that digit, before and after.

    Returns:
        "before", "after" training: for each digit "z", the histogram in `EDGES`, "median" of z, and "slope", the mean
        of σ'(z); "lost": the digits never answered; "steps": the medians in the first epoch.
    """
    medians = first_epoch(training_of(setting, seed))
    training = training_of(setting, seed)
    before = neurons(training)
    validation = [epoch.validation for epoch in training.fit()]
    after, lost = neurons(training), training.lost_classes()
    told = [f"never answers {digit}" for digit in lost]
    told += [f"validation {validation[-1]:.2%}"] if validation and validation[-1] is not None else []
    for digit, (first, last) in enumerate(zip(before, after, strict=True)):
        told.append(f"{digit}: z {first['median']:.3g} -> {last['median']:.3g}  slope {first['slope']:.2g} -> "
                    f"{last['slope']:.2g}")  # fmt: skip
    return {"before": before, "after": after, "lost": lost, "steps": medians, "told": told}


def first_epoch(training: Any) -> dict[str, list[float]]:
    """The median of z for each digit, after some of the first epoch's steps, by their number; as `fit` takes them."""
    cost = COSTS[training.network.cost]
    found = {"0": [neuron["median"] for neuron in neurons(training)]}
    steps = mnist.batches(training.data.train, training.network.digits_a_step, training.rng)
    for step, (images, labels) in enumerate(steps, 1):
        training.optimizer.zero_grad()
        cost(training.model(images), labels).backward()
        training.optimizer.step()
        if step in STEPS:
            found[str(step)] = [neuron["median"] for neuron in neurons(training)]
    return found


def neurons(training: Any) -> list[dict[str, Any]]:
    """The output neurons, each on the images of its own digit."""
    split = training.data.validation
    with no_grad():
        inputs = nn.Sequential(*training.model.layers[:-1])(Tensor(split.images)).numpy().astype(float)
    found = []
    for digit in range(inputs.shape[1]):
        z = inputs[split.labels == digit, digit]
        slopes = 1 / (2 * np.cosh(np.clip(z, -300, 300) / 2)) ** 2  # σ' = σ (1 - σ), without rounding to 0
        shares = np.histogram(np.clip(z, EDGES[0], EDGES[-1]), EDGES)[0] / len(z)
        found.append({"z": np.round(shares, 4).tolist(), "median": float(f"{np.median(z):.4g}"),
                      "slope": float(f"{slopes.mean():.3g}")})  # fmt: skip
    return found


def lost_digit(results: Results) -> int:
    """The digit that is never answered; of a trial that loses none, the one whose neuron has the smallest slope."""
    first = next(iter(results.values()))[0]
    slopes = [neuron["slope"] for neuron in first["after"]]
    return int(first["lost"][0] if first["lost"] else np.argmin(slopes))


def draw(figure: Any, results: Results) -> None:
    """For each way to draw first weights σ, its slope, and below them where the neuron is; and how it came there."""
    digit = lost_digit(results)
    left, right = figure.subfigures(1, 2, width_ratios=(2, 1))
    columns = left.subplots(2, len(results), sharex=True, sharey="row", height_ratios=(1, 1.2))
    for (above, below), (label, runs) in zip(columns.T, results.items(), strict=True):
        _sigmoid(above, runs[0], digit)
        above.set_title(label, fontsize=14)
        for when, colour, hatch in WHEN:
            neuron = runs[0][when][digit]
            below.stairs(100 * np.array(neuron["z"]), EDGES, fill=not hatch, hatch=hatch, color=colour, alpha=0.8,
                         label=f"{when}: σ' {neuron['slope']:.1g} on average")  # fmt: skip
        below.set(xlabel=f"weighted input z of the neuron for {digit}", xlim=(EDGES[0], EDGES[-1]))
        below.legend(fontsize=10.5, loc="upper left")
        below.grid(alpha=0.3)
    columns[0, 0].legend(fontsize=10.5, loc="upper left")
    columns[0, 0].set_ylabel("σ(z)")
    columns[1, 0].set_ylabel(f"share of the images of {digit} (%)")
    path = right.subplots()
    for (label, runs), (colour, line, marker) in zip(results.items(), STYLES[2:], strict=False):
        steps = {int(step): medians[digit] for step, medians in runs[0]["steps"].items()}
        path.plot(steps.keys(), steps.values(), color=colour, linestyle=line, marker=marker, linewidth=2, label=label)
    path.set_xscale("symlog", linthresh=1)
    path.set(xlabel="steps of the first epoch", ylabel=f"median z on images of {digit}", xlim=(0, None))
    path.axhspan(-4, 4, color="#CC79A7", alpha=0.15, linewidth=0, label="σ'(z) above 0.018")
    path.legend(fontsize=10.5, loc="best")
    path.grid(alpha=0.3)


def _sigmoid(axis: Any, result: Any, digit: int) -> None:
    """σ and its slope, and on σ the medians of z."""
    z = np.linspace(EDGES[0], EDGES[-1], 501)
    sigma = 1 / (1 + np.exp(-z))
    axis.plot(z, sigma, color="black", linewidth=2, label="σ(z)")
    axis.plot(z, 4 * sigma * (1 - sigma), color="#CC79A7", linestyle="--", linewidth=2, label="4 σ'(z)")
    for when, colour, hatch in WHEN:
        point = result[when][digit]["median"]
        height = 1 / (1 + np.exp(-point))
        axis.plot(point, height, color=colour, marker="s" if hatch else "o", markersize=11)
        below, side = (-38, "left") if point > 0 else (12, "center")
        axis.annotate(f"{when}\n{point:.1f}", (point, height), xytext=(8, below), textcoords="offset points",
                      fontsize=11, color=colour, ha=side)  # fmt: skip
    axis.grid(alpha=0.3)


FIGURE = Figure(
    title="A lost digit: the first steps throw its neuron where the sigmoid has no slope",
    settings={
        "weights N(0, 1)": {"network": "network", "init": "normal", "epochs": 30},
        "--init scaled: N(0, 1/fan_in)": {"network": "network", "init": "scaled", "epochs": 30},
    },
    caption="network: 784-30-10, quadratic cost, η 3, batch 10, 50,000 digits, 30 epochs. Below: z for all validation "
    "images of the lost digit, before and after training; above, the medians of z on σ; right, medians in the first "
    "epoch.",
    draw=draw,
    run=run,
    seeds=(17,),
    size=(18, 9),
    shown="Seed 17.",
)

if __name__ == "__main__":
    sys.exit(command("neuron"))
