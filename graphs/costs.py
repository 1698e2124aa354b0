"""Why a cost matters: a sigmoid neuron that is badly wrong, with the quadratic cost and cross-entropy. Chapter 3.

The neuron is to answer 0 to the input 1. Its weight and bias both start at 2, so that it answers 0.982. With the
quadratic cost it learns slowest where it is most wrong, as its gradient has the factor σ'(z), which is 0.018 there:
after 0, 50, 100, 150 and 300 epochs it answers 0.982, 0.976, 0.964, 0.933 and 0.203. The gradient of cross-entropy is
the error itself, a - y: it answers 0.982, 0.099, 0.041, 0.026 and 0.012 after as many epochs.

So the book's claim holds, and its curves come out; but for cross-entropy the book took an η of 0.005, as the two costs'
gradients are of different sizes, and here both have 0.15: read how the curves bend, and not which comes first. Where
the neuron starts less wrong, at 0.818 (weight 0.6, bias 0.9), the quadratic cost learns from the start, and ends at
0.094 where cross-entropy ends at 0.012.
"""

import sys
from typing import Any

import numpy as np

from tinygrad_mnist import Tensor, sigmoid
from tinygrad_mnist.optim import SGD

from .commandline import command
from .figure import Figure
from .networks import COSTS
from .panel import Results, curves
from .sweep import Setting

TOLD = (0, 50, 100, 150, 300)
"""The epochs whose outputs are told."""


def run(setting: Setting, seed: int) -> dict[str, Any]:
    """What the neuron answers, and the gradient of its bias, at the start and after each epoch; there is no chance.

    Args:
        setting: "cost", one of the zoo's; "weight" and "bias", where they start; "lr"; "epochs".
        seed: of nothing.
    """
    x, target = np.ones((1, 1)), np.zeros((1, 1))
    weight, bias = (Tensor(np.array([[setting[name]]]), requires_grad=True) for name in ("weight", "bias"))
    optimizer = SGD([weight, bias], setting["lr"])
    outputs, gradients = [], []
    for _ in range(setting["epochs"] + 1):
        a = sigmoid(x @ weight + bias)
        optimizer.zero_grad()
        COSTS[setting["cost"]](a, target).backward()
        assert bias.grad is not None
        outputs.append(a.item())
        gradients.append(bias.grad.item())
        optimizer.step()
    told = "  ".join(f"{epoch}: {outputs[epoch]:.3f}" for epoch in TOLD if epoch < len(outputs))
    return {
        "outputs": [float(f"{a:.5g}") for a in outputs],
        "gradients": [float(f"{g:.5g}") for g in gradients],
        "told": [f"answers after epoch {told}"],
    }


def draw(figure: Any, results: Results) -> None:
    """What the neuron answers, and how fast it learns."""
    left, right = figure.subplots(1, 2)
    curves(left, results, lambda run: run["outputs"], first=0)
    left.set(ylabel="what the neuron answers (wanted: 0)", ylim=(-0.02, 1.02))
    left.legend(fontsize=10.5, handlelength=1.8, loc=(0.24, 0.45))  # where no curve is
    curves(right, results, lambda run: run["gradients"], first=0)
    right.set(ylabel="gradient dC/db", yscale="log")


FIGURE = Figure(
    title="Badly wrong, the quadratic cost learns slowest, and cross-entropy fastest",
    settings={
        f"{cost}, from {start}": {"cost": cost, "weight": weight, "bias": bias, "lr": 0.15, "epochs": 300}
        for start, weight, bias in (("0.98", 2.0, 2.0), ("0.82", 0.6, 0.9))
        for cost in ("quadratic", "cross-entropy")
    },
    caption="One sigmoid neuron with the input 1 and the target 0; η 0.15. From 0.98: weight and bias start at 2; "
    "from 0.82: at 0.6 and 0.9, as in the book's chapter 3.",
    draw=draw,
    run=run,
    seeds=(0,),
    size=(13, 5.6),
    shown="There is no chance in it: the seed does not matter.",
    of_digits=False,
    quick={"epochs": 150},
)

if __name__ == "__main__":
    sys.exit(command("costs"))
