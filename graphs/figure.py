"""A figure: what is run for it, how that is drawn, and the record between the two, from which it can be drawn again."""

from __future__ import annotations

import json
import platform
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tinygrad_mnist.files import whole
from tinygrad_mnist.version import __version__

from .networks import require
from .panel import Results, draw_accuracy
from .runs import train_network
from .sweep import Run, Setting

DIGITS = 50_000
"""How many training digits the figures are made with, but for settings that take fewer."""


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
        of_digits: whether its runs are of digits, which must be there then.
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
    of_digits: bool = True


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
    n: int = DIGITS,
) -> Any:
    """All that a figure is drawn from, for its JSON file; of a `trial`, what it has less of; `n` digits there were."""
    versions = {"numpy": np.__version__, "tinygrad_mnist": __version__}
    return {
        "figure": name,
        "seeds": list(seeds),
        **({"trial": trial} if trial else {}),
        "digits": n,
        "seconds": round(seconds, 1),
        "versions": {"python": platform.python_version(), **versions},
        "runs": [
            {"label": label, "setting": dict(settings[label]), "seed": seed, "result": result}
            for label, runs in results.items()
            for seed, result in zip(seeds, runs, strict=True)
        ],
    }


def holds_more(record: Mapping[str, Any], settings: Mapping[str, Setting], seeds: Sequence[int], n: int) -> bool:
    """Whether a record is of seeds that these runs on n digits are not of, or of more epochs or digits."""
    for run in record["runs"]:
        before, now = run["setting"], settings.get(run["label"], run["setting"])
        digits = before.get("train_size", record.get("digits", DIGITS)), min(now.get("train_size", n), n)
        if run["seed"] not in seeds or before["epochs"] > now["epochs"] or digits[0] > digits[1]:
            return True
    return False


def write(record: Any, path: Path) -> None:
    """Write the record as JSON, a line per run."""
    head = {key: value for key, value in record.items() if key != "runs"}
    runs = ",\n".join(json.dumps(run, separators=(",", ":")) for run in record["runs"])
    with whole(path) as part:
        part.write_text(f'{json.dumps(head)[:-1]}, "runs": [\n{runs}\n]}}\n', encoding="utf-8")
