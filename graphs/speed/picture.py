"""The picture of the results: the step of the zoo as bars, and the ratios for all sizes as lines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..networks import require
from .contestants import CONTESTANTS

COLOURS = {"numpy": "#000000", "eager": "#E69F00", "compiled": "#D55E00", "c": "#8B0000", "whole": "#F0E442",
           "straight": "#555555", "book": "#999999", "torch": "#0072B2", "torchc": "#7A5195", "jax": "#009E73",
           "scan": "#56B4E9", "autograd": "#CC79A7"}  # fmt: skip
MARKERS = {"eager": "o", "compiled": "s", "c": "*", "whole": "h", "straight": "+", "torch": "^",
           "torchc": "<", "jax": "v", "scan": "D",
           "autograd": "P", "book": "X"}  # fmt: skip


def draw(results: Mapping[str, Any], path: Path) -> None:
    """Draw what `python -m graphs.speed` measured, into a file."""
    require("matplotlib").use("Agg")
    import matplotlib.pyplot as plt

    steps = results["steps"]
    widths = sorted({row["hidden"] for row in steps})
    with plt.rc_context({"font.size": 15, "axes.spines.top": False, "axes.spines.right": False}):
        figure, axes = plt.subplots(1, 1 + len(widths), figsize=(8.5 + 4.2 * len(widths), 6.2), layout="constrained",
                                    width_ratios=[1.5] + [1] * len(widths))  # fmt: skip
        _bars(axes[0], next((row for row in steps if (row["batch"], row["hidden"]) == (10, 30)), steps[0]))
        _ratios(axes[1:], steps, widths)
        every = {
            label: line for axis in axes[1:] for line, label in zip(*axis.get_legend_handles_labels(), strict=True)
        }
        figure.legend(every.values(), every.keys(), loc="outside right upper", fontsize=12.5, frameon=False)
        figure.suptitle("A training step against NumPy written by hand", fontsize=18)
        machine = ", ".join(f"{key} {value}" for key, value in results["machine"].items())
        figure.supxlabel(f"Sigmoid, quadratic cost, float32, SGD. Medians of {results['repetitions']} turns, "
                         f"of ratios too. {machine}", fontsize=11)  # fmt: skip
        figure.savefig(path, dpi=100)
        plt.close(figure)


def _bars(axis: Any, step: Mapping[str, Any]) -> None:
    """The time of a step of each contestant at one size, the slowest at the bottom."""
    ranked = sorted(step["contestants"].items(), key=lambda item: -item[1]["time"])
    longest = ranked[0][1]["time"]
    for place, (name, row) in enumerate(ranked):
        axis.barh(place, row["time"], color=COLOURS[name])
        axis.text(row["time"] + 0.02 * longest, place, f"{row['time']:.0f} µs, {row['ratio']:.2f} ×", va="center")
    axis.set_yticks(range(len(ranked)), [CONTESTANTS[name].name for name, _ in ranked])
    axis.set_xlim(0, 1.75 * longest)
    axis.set_xlabel("µs per step")
    axis.set_title(f"784-{step['hidden']}-10, batch {step['batch']}")


def _ratios(axes: Sequence[Any], steps: Sequence[Mapping[str, Any]], widths: Sequence[int]) -> None:
    """The ratio to the hand-written code over the size of the batch, a panel for each size of the hidden layer."""
    low = min(row["ratio"] for step in steps for row in step["contestants"].values())
    high = max(row["ratio"] for step in steps for row in step["contestants"].values())
    for axis, hidden in zip(axes, widths, strict=True):
        rows = sorted((row for row in steps if row["hidden"] == hidden), key=lambda row: row["batch"])
        for name, marker in MARKERS.items():
            points = [(r["batch"], r["contestants"][name]["ratio"]) for r in rows if name in r["contestants"]]
            if points:
                axis.plot(*zip(*points, strict=True), marker=marker, color=COLOURS[name], linewidth=2.2, markersize=8,
                          label=CONTESTANTS[name].name)  # fmt: skip
        axis.axhline(1, color="black", linewidth=1.6, linestyle="--")
        axis.set(xscale="log", yscale="log", ylim=(low / 1.3, high * 1.3), title=f"784-{hidden}-10")
        axis.set_xticks([row["batch"] for row in rows], [str(row["batch"]) for row in rows])
        ticks = [t for t in (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100) if low / 1.3 <= t <= high * 1.3]
        axis.set_yticks(ticks, [f"{t:g}" for t in ticks])
        axis.minorticks_off()
        axis.set_xlabel("batch")
    axes[0].set_ylabel("time per step / NumPy by hand (dashed)")
