"""A panel of a figure: for each label the mean of its runs as a curve, in a band from the lowest to the highest."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

Results = dict[str, list[Any]]
"""For each label a list of what its runs returned, one for each seed."""

STYLES = (("#0072B2", "-", "o"), ("#D55E00", "--", "s"), ("#009E73", "-.", "^"), ("#000000", ":", "D"),
          ("#CC79A7", "-", "v"))  # fmt: skip
"""Colours, lines and markers that differ for the colour-blind, and in grey too."""


def curves(
    axis: Any,
    results: Results,
    values: Callable[[Any], Sequence[float]],
    *,
    label: Callable[[str, float], str] = "{}".format,
    styles: Sequence[tuple[str, str, str]] = STYLES,
    first: int = 1,
) -> None:
    """For each label the mean over the seeds as a line, and a band from the lowest to the highest.

    Args:
        axis: of matplotlib.
        results: what to draw.
        values: takes the values of a curve, one per epoch, out of what a run returned.
        label: makes the text of the legend of a label and the mean after the last epoch.
        styles: colour, line and marker of each.
        first: the epoch of the first value.
    """
    from matplotlib.ticker import MaxNLocator

    for (name, runs), (colour, line, marker) in zip(results.items(), styles, strict=False):
        rows = [values(run) for run in runs]
        length = min(map(len, rows))  # a run that diverged ends early
        if length == 0:
            continue
        matrix = np.array([row[:length] for row in rows], float)
        epochs = np.arange(first, first + length)
        mean = matrix.mean(0)
        axis.fill_between(epochs, matrix.min(0), matrix.max(0), color=colour, alpha=0.18, linewidth=0)
        axis.plot(epochs, mean, color=colour, linestyle=line, marker=marker, markersize=6, linewidth=2,
                  markevery=max(1, length // 10), label=label(name, mean[-1]))  # fmt: skip
    axis.set_xlabel("epoch")
    axis.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
    axis.grid(alpha=0.3)


def accuracy(
    axis: Any, results: Results, key: str = "validation", *, lowest: float | None = None, **given: Any
) -> None:
    """Curves of an accuracy in per cent; the legend has the mean after the last epoch."""
    if any(epoch[key] is None for runs in results.values() for run in runs for epoch in run["epochs"]):
        raise ValueError(f"this figure shows the {key} accuracy, and the data has no {key} images; name others")
    curves(axis, results, lambda run: [100 * epoch[key] for epoch in run["epochs"]],
           label=lambda name, last: f"{name}: {last:.1f} %", **given)  # fmt: skip
    axis.set_ylabel(f"{key} accuracy (%)")
    if lowest is not None and all(line.get_ydata()[-1] > lowest for line in axis.lines):  # a trial may stay below
        axis.set_ylim(bottom=lowest)
    axis.legend(loc="lower right", fontsize=12)


def draw_accuracy(figure: Any, results: Results, lowest: float | None = None) -> None:
    """One panel with the validation accuracy."""
    accuracy(figure.subplots(), results, lowest=lowest)
