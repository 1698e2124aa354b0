"""What momentum does: paths down an elongated valley, C = ½ (w1² + 25 w2²), from (-9, 1), with η 0.01.

Along the valley's floor the slope is small, and plain descent is slow: after 100 steps 3.3 of the 9 are left. A step of
0.1 would do there, but across the valley it is too long: the path swings wider with each step, and diverges. Momentum
goes both ways at once: where gradients agree, its steps add up to η / (1 - μ), which is 0.1 here; where they change
sign, they cancel out. After 20 steps 1.1 of the 9 are left, where plain descent has 7.4. It overshoots and swings for a
while. Nesterov's steps add up to the same length, and it swings less across the valley, as it takes the slope where it
is about to be.

Where does each begin to swing? It depends on ηλ alone, the step times the curvature, and on μ. Measured: plain descent
above ηλ = 1, and it diverges above 2. Momentum swings above (1 - √μ)², which is 0.0026 with μ 0.9, and diverges only
above 2 (1 + μ). Nesterov swings above ((1 - μ) / (1 + μ))², and diverges above (2 + 2μ) / (1 + 2μ): its steps must be
shorter than those of momentum. All measured limits are within 1 % of these formulas, and so is the effective step.
"""

import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from tinygrad_mnist import Tensor
from tinygrad_mnist.optim import SGD, Momentum, Nesterov, Optimizer

from .commandline import command
from .figure import Figure
from .panel import STYLES, Results
from .sweep import Setting

CURVATURES = np.array([1.0, 25.0])
START = np.array([-9.0, 1.0])
MOMENTA = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
FAR = 20.0  # where a path that diverges is left

SWINGS: dict[str, Callable[[Any], Any]] = {
    "momentum": lambda mu: (1 - mu**0.5) ** 2,
    "Nesterov": lambda mu: ((1 - mu) / (1 + mu)) ** 2,
}
"""From which ηλ on a path swings: where the roots of its recurrence, z² - (1 + μ - ηλ) z + μ for momentum and
z² - (1 + μ)(1 - ηλ) z + μ (1 - ηλ) for Nesterov, become complex."""
DIVERGES: dict[str, Callable[[Any], Any]] = {
    "momentum": lambda mu: 2 * (1 + mu),
    "Nesterov": lambda mu: (2 + 2 * mu) / (1 + 2 * mu),
}
"""From which ηλ on it diverges: where one of these roots passes -1."""


def run(setting: Setting, seed: int) -> dict[str, Any]:
    """A path with its costs; or, of settings with "momenta", the limits for each. There is no chance in either."""
    if "momentum" in setting:
        return path(setting)
    return {"limits": [limits(setting["optimizer"], mu, setting["epochs"]) for mu in setting["momenta"]]}


def descend(kind: str, lr: float, momentum: float, w: Tensor, curvatures: Any, steps: int) -> Any:
    """Yield w after 0, 1, ... steps down ½ Σ λ w², an array each, by the library's own optimizers."""
    makers: dict[str, Callable[[], Optimizer]] = {
        "SGD": lambda: SGD([w], lr),
        "momentum": lambda: Momentum([w], lr, momentum),
        "Nesterov": lambda: Nesterov([w], lr, momentum),
    }
    optimizer = makers[kind]()
    for _ in range(steps + 1):
        yield w.numpy().copy()
        optimizer.zero_grad()
        (curvatures * w * w / 2).sum().backward()
        optimizer.step()


def path(setting: Setting) -> dict[str, Any]:
    """Where a path goes, and what it costs there, up to where it is far out."""
    points = []
    w = Tensor(START.copy(), requires_grad=True)
    for point in descend(setting["optimizer"], setting["lr"], setting["momentum"], w, CURVATURES, setting["epochs"]):
        points.append(point)
        if np.abs(point).max() > FAR:
            break
    costs = [float((CURVATURES * point**2).sum() / 2) for point in points]
    swings = [int((np.diff(np.sign(column)) != 0).sum()) for column in np.array(points).T]
    return {
        "path": np.round(points, 4).tolist(),
        "costs": [float(f"{cost:.5g}") for cost in costs],
        "told": [f"crosses w1 = 0 {swings[0]} times, w2 = 0 {swings[1]} times; C {costs[0]:.3g} -> {costs[-1]:.2g} "
                 f"in {len(costs) - 1} steps, where w1 is {points[-1][0]:.2f}"],
    }  # fmt: skip


def limits(kind: str, momentum: float, steps: int) -> dict[str, float]:
    """From which ηλ on a path swings and diverges, and how many η its steps come to on an even slope; measured.

    Many curvatures are tried at once: each element of w goes down a valley of its own.
    """
    products = np.geomspace(1e-4, 1.2, 2000)
    w = Tensor(np.ones_like(products), requires_grad=True)
    crossed = np.zeros(len(products), bool)
    for point in descend(kind, 1.0, momentum, w, products, steps):
        crossed |= point < -1e-250  # what is smaller may be rounding
    swings = products[crossed].min() if crossed.any() else np.nan

    products = np.linspace(1, 4, 601)
    w = Tensor(np.ones_like(products), requires_grad=True)
    sizes = np.abs([*descend(kind, 1.0, momentum, w, products, 160)])
    diverges = products[sizes[130:].max(0) > sizes[80:110].max(0)].min()

    w = Tensor(np.zeros(1), requires_grad=True)
    optimizer = (Momentum if kind == "momentum" else Nesterov)([w], 1.0, momentum)
    for _ in range(steps):
        before = w.item()
        optimizer.zero_grad()
        (-w).sum().backward()
        optimizer.step()
    found = {"momentum": momentum, "swings": swings, "diverges": diverges, "step": w.item() - before}
    return {name: float(f"{value:.5g}") for name, value in found.items()}


def draw(figure: Any, results: Results) -> None:
    """The paths, one above the other; what they cost, what steps add up to, and where swinging begins."""
    left, right = figure.subfigures(1, 2, width_ratios=(1.25, 1))
    paths = {label: runs[0] for label, runs in results.items() if "path" in runs[0]}
    axes = left.subplots(len(paths), 1, sharex=True, sharey=True)
    cost, step, swing = right.subplots(3, 1)
    for axis, (label, result), (colour, line, marker) in zip(axes, paths.items(), STYLES, strict=False):
        _valley(axis, label, result["path"], colour, marker)
        cost.plot(result["costs"], color=colour, linestyle=line, marker=marker, markevery=10, linewidth=2, label=label)
    axes[-1].set_xlabel("w1, along the valley")
    cost.set(yscale="log", ylim=(1e-6, 1e3), xlabel="steps", ylabel="cost")
    of = {label: runs[0]["limits"] for label, runs in results.items() if "limits" in runs[0]}
    _limits(step, swing, of)
    for axis in (cost, step, swing):
        axis.grid(alpha=0.3)
        axis.legend(fontsize=10.5, loc="upper left" if axis is step else "lower left")


def _valley(axis: Any, label: str, points: list[list[float]], colour: str, marker: str) -> None:
    """One path on lines of equal cost."""
    x, y = np.meshgrid(np.linspace(-10, 6, 161), np.linspace(-2.2, 2.2, 89))
    axis.contour(x, y, (CURVATURES[0] * x**2 + CURVATURES[1] * y**2) / 2, levels=[0.5, 2, 8, 20, 40, 60],
                 colors="0.75", linewidths=1)  # fmt: skip
    across = np.array(points)
    axis.plot(*across.T, color=colour, marker=marker, markersize=4, linewidth=1.5)
    axis.plot(0, 0, marker="+", color="black", markersize=14, markeredgewidth=2)
    axis.set(xlim=(-10, 6), ylim=(-2.2, 2.2), ylabel="w2")
    axis.set_title(label, fontsize=13, color=colour)


def _limits(step: Any, swing: Any, of: dict[str, list[dict[str, float]]]) -> None:
    """Measured limits as markers, on the curves of their formulas."""
    smooth = np.linspace(0, 0.96, 200)
    step.plot(smooth, 1 / (1 - smooth), color="black", linestyle=":", label="1 / (1 − μ)")
    for (label, rows), (colour, line, marker) in zip(of.items(), STYLES[2:], strict=False):
        kind = label.partition(": ")[2]
        momenta = [row["momentum"] for row in rows]
        face = colour if kind == "momentum" else "none"
        given = {"color": colour, "marker": marker, "markerfacecolor": face, "markersize": 7, "linestyle": ""}
        step.plot(momenta, [row["step"] for row in rows], label=kind, **given)
        for name, formula in (("swings", SWINGS[kind]), ("diverges", DIVERGES[kind])):
            swing.plot(smooth, [formula(mu) for mu in smooth], color=colour, linestyle=line, linewidth=1.5)
            swing.plot(momenta, [row[name] for row in rows], label=kind if name == "swings" else None, **given)
    step.set(yscale="log", xlabel="μ", ylabel="step, in η")
    swing.set(yscale="log", xlabel="μ", ylabel="η × curvature", ylim=(3e-4, 15))
    for place, text in (((0.2, 6), "diverges"), ((0.7, 0.3), "swings, and converges"), ((0.3, 0.02), "does not swing")):
        swing.text(*place, text, fontsize=11, ha="center")


FIGURE = Figure(
    title="Momentum's steps add up along the valley, where a step ten times as long diverges across it",
    settings={
        "gradient descent, η 0.01": {"optimizer": "SGD", "lr": 0.01, "momentum": 0.0, "epochs": 100},
        "gradient descent, η 0.1": {"optimizer": "SGD", "lr": 0.1, "momentum": 0.0, "epochs": 100},
        "momentum, η 0.01, μ 0.9": {"optimizer": "momentum", "lr": 0.01, "momentum": 0.9, "epochs": 100},
        "Nesterov, η 0.01, μ 0.9": {"optimizer": "Nesterov", "lr": 0.01, "momentum": 0.9, "epochs": 100},
        "limits: momentum": {"optimizer": "momentum", "momenta": MOMENTA, "epochs": 2000},
        "limits: Nesterov": {"optimizer": "Nesterov", "momenta": MOMENTA, "epochs": 2000},
    },
    caption="C = ½ (w1² + 25 w2²) from (-9, 1), 100 steps. Right, below: measured on single curvatures (markers) and "
    "from formulas (lines).",
    draw=draw,
    run=run,
    seeds=(0,),
    size=(15, 11),
    shown="There is no chance in it: the seed does not matter.",
    of_digits=False,
    quick={"momenta": (0.0, 0.5, 0.9)},
)

if __name__ == "__main__":
    sys.exit(command("ravine"))
