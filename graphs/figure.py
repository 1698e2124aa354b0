"""What the figures share: the runs of the zoo's networks, curves with their spread, the record that is drawn."""

from __future__ import annotations

import contextlib
import functools
import importlib
import importlib.metadata
import json
import platform
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tinygrad_mnist import grad, mnist
from tinygrad_mnist.files import whole
from tinygrad_mnist.train import DivergedError
from zoo.base import COSTS
from zoo.commandline import require
from zoo.training import Training, network_class

from .sweep import Run, Setting

HERE = Path(__file__).parent
Results = dict[str, list[Any]]
"""For each label a list of what its runs returned, one for each seed."""

STYLES = (("#0072B2", "-", "o"), ("#D55E00", "--", "s"), ("#009E73", "-.", "^"), ("#000000", ":", "D"),
          ("#CC79A7", "-", "v"))  # fmt: skip
"""Colours, lines and markers that differ for the colour-blind, and in grey too."""


# ----------------------------------------------------------------------------------------------------------------------
# The runs


@functools.cache
def digits(size: int | None = None) -> mnist.Dataset:
    """The data, with the first `size` training digits at most, None for all; read once a process.

    Raises:
        ValueError: there is nothing to validate on.
    """
    if size is not None:
        return digits().head(min(size, len(digits().train)))
    data = mnist.load()
    if len(data.validation) == 0:
        raise ValueError(f"figures need validation images, and {data.source} has fewer than 6 training images")
    return data


def train_network(setting: Setting, seed: int) -> dict[str, Any]:
    """Train a network of the zoo, anew, and return what each epoch came to.

    Args:
        setting: "network", the name of its module; "train_size", the number of digits; "gradients", whether to measure
            the gradients by layer; all else is a setting of the network itself.
        seed: of weights and order.

    Returns:
        "epochs": a dict for each, the fields of `train.Epoch`; "lost_classes": digits never answered in the end;
        "diverged": None, or how it failed; "gradients": at the start and after each epoch ||dC/db|| for each layer.
    """
    training = training_of(setting, seed)
    measured = [gradient_norms(training)] if setting.get("gradients") else []
    diverged = None
    try:
        for _ in training.fit():
            if setting.get("gradients"):
                measured.append(gradient_norms(training))
    except DivergedError as error:
        diverged = str(error)
    return {
        "epochs": [{k: round(v, 5) if isinstance(v, float) else v for k, v in asdict(epoch).items()}
                   for epoch in training.history],
        "lost_classes": [] if diverged else training.lost_classes(),
        "diverged": diverged,
        "gradients": measured,
    }  # fmt: skip


def training_of(setting: Setting, seed: int) -> Training:
    """The network of a setting with its data, ready to train."""
    own = {k: v for k, v in setting.items() if k not in ("network", "train_size", "gradients")}
    if "hidden" in own:
        own["hidden"] = tuple(own["hidden"])
    return Training(network_class(setting["network"])(**own, seed=seed), digits(setting.get("train_size")))


def gradient_norms(training: Training, n: int = 1000) -> list[float]:
    """||dC/db|| of each layer, the book's measure of how fast a layer learns (chapter 5), on n training digits."""
    split = training.data.train
    cost = COSTS[training.network.cost](training.model(split.images[:n]), split.labels[:n])
    biases = [p for name, p in training.model.named_parameters() if name.endswith("bias")]
    return [float(f"{np.linalg.norm(g.data):.5g}") for g in grad(cost, biases)]


# ----------------------------------------------------------------------------------------------------------------------
# The drawing


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
        table = np.array([row[:length] for row in rows], float)
        epochs = np.arange(first, first + length)
        mean = table.mean(0)
        axis.fill_between(epochs, table.min(0), table.max(0), color=colour, alpha=0.18, linewidth=0)
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


# ----------------------------------------------------------------------------------------------------------------------
# The figure


@dataclass(frozen=True)
class Figure:
    """A figure: what is run for it, and how that is drawn.

    Attributes:
        title: what is seen.
        settings: what to run, by the label of its curve.
        caption: the settings that all runs share, in words.
        draw: called with matplotlib's figure and the results.
        run: what to do for a setting and a seed.
        seeds: each setting is run with each.
        size: in inches.
        shown: how many seeds the picture is of, in words; "" for a mean and a band.
        quick: what a trial changes in the settings.
    """

    title: str
    settings: Mapping[str, Setting]
    caption: str
    draw: Callable[[Any, Results], None] = draw_accuracy
    run: Run = train_network
    seeds: tuple[int, ...] = (0, 1, 2)
    size: tuple[float, float] = (9.0, 5.6)
    shown: str = ""
    quick: Setting = field(default_factory=lambda: {"epochs": 2, "train_size": 1000})


def picture(figure: Figure, record: Mapping[str, Any], path: Path) -> None:
    """Draw a figure from its record: the results and the seeds."""
    require("matplotlib").use("Agg")
    import matplotlib.pyplot as plt

    with plt.rc_context({"font.size": 14, "axes.spines.top": False, "axes.spines.right": False}):
        drawn = plt.figure(figsize=figure.size, layout="constrained")
        results: Results = {}
        for run in record["runs"]:
            results.setdefault(run["label"], []).append(run["result"])
        figure.draw(drawn, results)
        seeds = ", ".join(map(str, record["seeds"]))
        shown = figure.shown or f"Mean of seeds {seeds}; band from lowest to highest."
        trial = record.get("trial", "")  # what its title claims is of the whole runs
        title = f"A trial of {record['figure']}, {trial}" if trial else figure.title
        caption = f"The whole figure: {figure.caption} This trial: {trial}." if trial else figure.caption
        drawn.suptitle(title, fontsize=16)
        drawn.supxlabel(textwrap.fill(f"{caption} {shown}", int(12 * figure.size[0])), fontsize=10.5)
        with whole(path) as part:
            drawn.savefig(part, dpi=100, metadata={"Description": f"{title}. {caption} Seeds {seeds}."})
        plt.close(drawn)


def record_of(
    name: str,
    results: Results,
    settings: Mapping[str, Setting],
    seeds: Sequence[int],
    seconds: float,
    trial: str = "",
) -> Any:
    """All that a figure is drawn from, for its JSON file; of a `trial`, what it has less of."""
    versions = {"numpy": np.__version__}
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):  # in a checkout that is not installed
        versions["tinygrad_mnist"] = importlib.metadata.version("tinygrad_mnist")
    return {
        "figure": name,
        "seeds": list(seeds),
        **({"trial": trial} if trial else {}),
        "seconds": round(seconds, 1),
        "versions": {"python": platform.python_version(), **versions},
        "runs": [
            {"label": label, "setting": dict(settings[label]), "seed": seed, "result": result}
            for label, runs in results.items()
            for seed, result in zip(seeds, runs, strict=True)
        ],
    }


def write(record: Any, path: Path) -> None:
    """Write the record as JSON, a line per run."""
    head = {key: value for key, value in record.items() if key != "runs"}
    runs = ",\n".join(json.dumps(run, separators=(",", ":")) for run in record["runs"])
    with whole(path) as part:
        part.write_text(f'{json.dumps(head)[:-1]}, "runs": [\n{runs}\n]}}\n', encoding="utf-8")
