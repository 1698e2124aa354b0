"""What the figures share: the runs of the zoo's networks, curves with their spread, files, the command line."""

from __future__ import annotations

import argparse
import contextlib
import functools
import importlib
import importlib.metadata
import json
import os
import platform
import sys
import textwrap
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from tinygrad_mnist import grad, mnist
from tinygrad_mnist.files import whole
from tinygrad_mnist.train import DivergedError
from zoo.network import COSTS
from zoo.training import Training, network_class

from .sweep import Run, Setting, SweepError, forget, processes, sweep

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
    """The data, with the first `size` training digits, None for all; read once a process."""
    return mnist.load() if size is None else digits().head(size)


def train_network(setting: Setting, seed: int) -> dict[str, Any]:
    """Train a network of the zoo, anew, and return what each epoch came to.

    Args:
        setting: "network", the name of its module; "train_size", the number of digits; "gradients", whether to measure
            the gradients by layer; all else is a setting of the network itself.
        seed: of weights and order.

    Returns:
        "epochs": a dict for each, the fields of `train.Epoch`; "lost_classes": digits never said in the end;
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
        values: takes the values of a curve, one an epoch, out of what a run returned.
        label: makes the text of the legend of a label and the mean after the last epoch.
        styles: colour, line and marker of each.
        first: the epoch of the first value.
    """
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
    axis.grid(alpha=0.3)


def accuracy(
    axis: Any, results: Results, key: str = "validation", *, lowest: float | None = None, **given: Any
) -> None:
    """Curves of an accuracy in per cent; the legend has the mean after the last epoch."""
    curves(axis, results, lambda run: [100 * epoch[key] for epoch in run["epochs"]],
           label=lambda name, last: f"{name}: {last:.1f} %", **given)  # fmt: skip
    axis.set_ylabel(f"{key} accuracy (%)")
    if lowest is not None:
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
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    with plt.rc_context({"font.size": 14, "axes.spines.top": False, "axes.spines.right": False}):
        drawn = plt.figure(figsize=figure.size, layout="constrained")
        results: Results = {}
        for run in record["runs"]:
            results.setdefault(run["label"], []).append(run["result"])
        figure.draw(drawn, results)
        drawn.suptitle(figure.title, fontsize=16)
        seeds = ", ".join(map(str, record["seeds"]))
        shown = figure.shown or f"Mean of seeds {seeds}; band from lowest to highest."
        text = textwrap.fill(f"{figure.caption} {shown}", int(12 * figure.size[0]))
        drawn.supxlabel(text, fontsize=10.5)
        with whole(path) as part:
            drawn.savefig(part, dpi=100, metadata={"Description": f"{figure.title}. {figure.caption} Seeds {seeds}."})
        plt.close(drawn)


def record_of(
    name: str, results: Results, settings: Mapping[str, Setting], seeds: Sequence[int], seconds: float
) -> Any:
    """All that a figure is drawn from, for its JSON file."""
    versions = {name: importlib.metadata.version(name) for name in ("tinygrad_mnist", "numpy")}
    return {
        "figure": name,
        "seeds": list(seeds),
        "seconds": round(seconds, 1),
        "versions": {"python": platform.python_version(), **versions},
        "runs": [
            {"label": label, "setting": dict(settings[label]), "seed": seed, "result": result}
            for label, runs in results.items()
            for seed, result in zip(seeds, runs, strict=True)
        ],
    }


def write(record: Any, path: Path) -> None:
    """Write the record as JSON, a line a run."""
    head = {key: value for key, value in record.items() if key != "runs"}
    runs = ",\n".join(json.dumps(run, separators=(",", ":")) for run in record["runs"])
    with whole(path) as part:
        part.write_text(f'{json.dumps(head)[:-1]}, "runs": [\n{runs}\n]}}\n', encoding="utf-8")


# ----------------------------------------------------------------------------------------------------------------------
# The command line


def command(name: str, arguments: Sequence[str] | None = None) -> int:
    """Run the command of a figure, `python -m graphs.NAME`; returns its exit status. Wrong usage exits with 2."""
    module = importlib.import_module(f"graphs.{name}")
    options = _parser(name, module.__doc__ or "").parse_args(arguments)
    try:
        return _run(name, module.FIGURE, options)
    except KeyboardInterrupt:
        print("interrupted; finished runs are kept, and the same command goes on with the others", file=sys.stderr)
        return 130
    except SweepError as error:
        print(error, file=sys.stderr)
        return 1
    except (OSError, ValueError, ImportError) as error:
        print(f"graphs.{name}: {error}", file=sys.stderr)
        return 1


def _parser(name: str, text: str) -> argparse.ArgumentParser:
    def positive(given: str) -> int:
        if not given.isdecimal() or int(given) < 1:
            raise argparse.ArgumentTypeError(f"expected a whole number of at least 1, got {given!r}")
        return int(given)

    def seed(given: str) -> int:
        if not given.isdecimal():
            raise argparse.ArgumentTypeError(f"expected a whole number of at least 0, got {given!r}")
        return int(given)

    parser = argparse.ArgumentParser(prog=f"python -m graphs.{name}", description=text, allow_abbrev=False,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    parser.add_argument(
        "--quick",
        action="store_true",
        help="a small version in under a minute, into the current directory: NAME-quick.json and .png",
    )
    parser.add_argument("--replot", action="store_true", help="draw again from the JSON, without running anything")
    parser.add_argument("--epochs", type=positive, metavar="N", help="in place of those of the settings")
    parser.add_argument("--seeds", type=seed, nargs="+", metavar="N", help="in place of those of the figure")
    parser.add_argument(
        "--jobs",
        type=positive,
        metavar="N",
        default=os.cpu_count() or 1,
        help="runs at a time, each in a process of its own (default: one a core)",
    )
    parser.add_argument(
        "--cluster", metavar="ADDRESS", help="the scheduler of a dask.distributed cluster to run on, tcp://host:port"
    )
    parser.add_argument("--output", type=Path, metavar="DIR", help="where JSON and PNG go (default: beside the script)")
    return parser  # fmt: skip


def _run(name: str, figure: Figure, options: argparse.Namespace) -> int:
    folder: Path = options.output or (Path() if options.quick else HERE)
    if not folder.is_dir():
        raise ValueError(f"--output: there is no directory {folder}; make it first")
    stem = f"{name}-quick" if options.quick else name
    file = folder / f"{stem}.json"
    if options.replot:
        try:
            record = json.loads(file.read_text(encoding="utf-8"))
            picture(figure, record, folder / f"{stem}.png")
        except FileNotFoundError:
            raise ValueError(f"--replot: there is no {file}; run the command without --replot first") from None
        except (LookupError, TypeError, ValueError) as error:
            raise ValueError(f"{file}: not the results of this figure ({error}); run without --replot") from None
    else:
        changed = {**(figure.quick if options.quick else {}), **({"epochs": options.epochs} if options.epochs else {})}
        settings = {label: {**setting, **changed} for label, setting in figure.settings.items()}
        record = _swept(name, figure, settings, tuple(dict.fromkeys(options.seeds or figure.seeds)), options)
        write(record, file)
        picture(figure, record, folder / f"{stem}.png")
        print(summary(record))
        print(f"written: {file}")
    print(f"written: {folder / f'{stem}.png'}")
    return 0


def _swept(
    name: str, figure: Figure, settings: Mapping[str, Setting], seeds: Sequence[int], options: argparse.Namespace
) -> Any:
    from tqdm import tqdm

    digits()  # without data, one error now instead of one a run
    kept, start = HERE / ".runs", time.perf_counter()
    if not os.access(HERE, os.W_OK):
        kept = Path(".runs").absolute()
    with contextlib.ExitStack() as stack:
        make, workers = processes, options.jobs
        if options.cluster:
            make, workers = stack.enter_context(on_cluster(options.cluster))
        bar = stack.enter_context(
            tqdm(total=len(settings) * len(seeds), desc=name, unit=" runs", disable=None, leave=False)
        )
        results = sweep(
            figure.run, settings, seeds, folder=kept, executor=make, workers=workers, finished=partial(bar.update, 1)
        )
    forget(kept, figure.run, settings, seeds)
    return record_of(name, results, settings, seeds, time.perf_counter() - start)


@contextlib.contextmanager
def on_cluster(address: str) -> Iterator[tuple[Callable[[], Any], int]]:
    """Give what makes executors on a dask.distributed cluster, and how many runs it does at a time.

    Its workers must find this repository and the data, and should have one BLAS thread each, as dask's own "nanny"
    arranges: two would give other bits.
    """
    try:
        from distributed import Client
    except ImportError:
        raise ValueError('--cluster needs dask.distributed: pip install -e ".[cluster]"') from None
    try:
        client = Client(address, timeout=10)
    except (OSError, ValueError) as error:
        raise ValueError(f"--cluster: no scheduler answers at {address} ({type(error).__name__}); start one") from None
    with client:
        workers = sum(client.nthreads().values())
        if not workers:
            raise ValueError(f"--cluster: the scheduler at {address} has no workers; start some")
        yield partial(client.get_executor, pure=False), workers


def summary(record: Any) -> str:
    """A line for each setting: the accuracies after the last epoch, lowest, mean and highest of the seeds."""
    lines = []
    for label in dict.fromkeys(run["label"] for run in record["runs"]):
        runs = [run["result"] for run in record["runs"] if run["label"] == label]
        last = [run["epochs"][-1] for run in runs if run.get("epochs")]
        for key in ("validation", "test"):
            values = [100 * epoch[key] for epoch in last if epoch.get(key) is not None]
            if values:
                spread = f"{min(values):.2f} / {sum(values) / len(values):.2f} / {max(values):.2f} %"
                lines.append(f"{label:<34} {key:<10} {spread}")
        notes = [f"seed {seed} {text}" for seed, run in zip(record["seeds"], runs, strict=True) for text in _notes(run)]
        lines += [f"{label:<34} {note}" for note in notes]
    return "\n".join(lines)


def _notes(run: Any) -> list[str]:
    lost = [f"never says {digit}" for digit in run.get("lost_classes", ())]
    return [*lost, *([f"diverged: {run['diverged']}"] if run.get("diverged") else [])]
