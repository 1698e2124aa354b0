"""The command line that all figures share: run what is missing, keep every run, draw."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from tinygrad_mnist.command import Parser, bar_size, guarded, one_line, status_of
from tinygrad_mnist.files import claimed
from tinygrad_mnist.installation import folder_of

from .figure import DIGITS, Figure, holds_more, picture, record_of, write
from .networks import counted, describe, whole_number, wrapped
from .panel import Results
from .runs import digits
from .sweep import Setting, SweepError, forget, processes, sweep

HERE = folder_of(__file__)
EPILOG = '"The original" is the collection of hand-coded networks that this project began as; its claims are checked.'


def command(name: str, arguments: Sequence[str] | None = None) -> int:
    """Run the command of a figure, `python -m graphs.NAME`; returns its exit status. Wrong usage exits with 2."""
    module = importlib.import_module(f"{__package__}.{name}")

    def run() -> int:
        options = _parser(name, module.__doc__ or "").parse_args(arguments)
        try:
            return _run(name, module.FIGURE, options)
        except KeyboardInterrupt as interruption:
            print("interrupted; finished runs are kept, the same command goes on with the others", file=sys.stderr)
            return status_of(interruption)
        except SweepError as error:  # a line for each run that failed
            print(*map(one_line, str(error).splitlines()), sep="\n", file=sys.stderr)
            return 1

    return guarded(run, f"graphs.{name}")


def _parser(name: str, text: str) -> argparse.ArgumentParser:
    positive, seed = whole_number(1), whole_number(0)
    parser = Parser(f"python -m graphs.{name}", text, EPILOG if "original" in text else None)
    parser.add_argument(
        "--quick",
        action="store_true",
        help="a small version in under a minute, into the current directory: NAME-quick.json and .png",
    )
    parser.add_argument("--replot", action="store_true", help="draw again from the JSON, without running anything")
    parser.add_argument("--epochs", type=positive, metavar="N", help="number of epochs, instead of the settings' own")
    parser.add_argument("--seeds", type=seed, nargs="+", metavar="N", help="seeds, instead of the figure's own")
    parser.add_argument(
        "--jobs",
        type=positive,
        metavar="N",
        default=os.cpu_count() or 1,
        help="runs at a time, each in a process of its own (default: one per core)",
    )
    parser.add_argument(
        "--cluster", metavar="ADDRESS", help="the scheduler of a dask.distributed cluster to run on, tcp://host:port"
    )
    parser.add_argument(
        "--output",
        type=Path,
        metavar="DIR",
        help="where JSON and PNG go (default: beside the script in a checkout; else, and of a smaller version, the "
        "current directory)",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace results of more epochs, digits or seeds")
    return parser


def _run(name: str, figure: Figure, options: argparse.Namespace) -> int:
    changed = {**(figure.quick if options.quick else {}), **({"epochs": options.epochs} if options.epochs else {})}
    seeds = tuple(dict.fromkeys(options.seeds or figure.seeds))
    published = not changed and {*figure.seeds} <= {*seeds}
    if published and not options.replot:
        published = _count(figure) >= DIGITS
    folder: Path = options.output or (HERE if published or (options.replot and not options.quick) else Path())
    if options.output and not options.replot and not folder.exists():
        folder.mkdir(parents=True)
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        where = options.output or folder.absolute()
        raise ValueError(f"{where} is not a directory that can be written to; name another with --output DIR")
    stem = f"{name}-quick" if options.quick else name
    file, drawing = folder / f"{stem}.json", folder / f"{stem}.png"
    with claimed(file, drawing):
        if options.replot:
            try:
                picture(figure, json.loads(file.read_text(encoding="utf-8")), drawing)
            except FileNotFoundError:
                raise ValueError(f"--replot: there is no {file}; run the command without --replot first") from None
            except (LookupError, TypeError, ValueError, AttributeError, RecursionError) as error:
                raise ValueError(f"{file}: not the results of this figure ({error}); run without --replot") from None
        else:
            if "train_size" in changed:
                changed["train_size"] = min(changed["train_size"], _count(figure))
            settings = {label: {**setting, **changed} for label, setting in figure.settings.items()}
            if not options.overwrite:
                _refuse_to_lose(file, drawing, settings, seeds, _count(figure))
            with _swept(name, figure, settings, seeds, options) as (results, seconds):
                record = record_of(name, results, settings, seeds, seconds, _trial(changed), _count(figure))
                picture(figure, record, drawing)  # first, as what cannot be drawn is not to replace what could
                text = last_accuracies(record)
                write(record, file)
            print(text)
            print(f"written: {file}")
    print(f"written: {drawing}")
    return 0


def _count(figure: Figure) -> int:
    """How many training digits there are; of a figure without any, as many as others are made with."""
    return len(digits().train) if figure.of_digits else DIGITS


def _refuse_to_lose(
    file: Path, drawing: Path, settings: Mapping[str, Setting], seeds: Sequence[int], count: int
) -> None:
    """Raise if there are results that these runs would not come to again, or something else."""
    try:
        more = holds_more(json.loads(file.read_text(encoding="utf-8")), settings, seeds, count)
    except FileNotFoundError:
        more, file = drawing.exists(), drawing
    except (LookupError, TypeError, ValueError, AttributeError, RecursionError):
        more = True
    if more:
        remedy = "name another directory with --output DIR, or add --overwrite"
        raise ValueError(f"{file}: already exists, and is more than, or other than, what these runs come to; {remedy}")


def _trial(changed: Mapping[str, Any]) -> str:
    """What is smaller than in the figure."""
    parts = {"epochs": "epoch", "train_size": "digit"}
    return " of ".join(counted(changed[key], what) for key, what in parts.items() if key in changed)


@contextlib.contextmanager
def _swept(
    name: str, figure: Figure, settings: Mapping[str, Setting], seeds: Sequence[int], options: argparse.Namespace
) -> Iterator[tuple[Results, float]]:
    """Give the results and how long they took; once the block is done they need not be kept run by run any more."""
    from tqdm import tqdm

    about = describe(digits()) if figure.of_digits else None  # without data, one error now instead of one per run
    start = time.perf_counter()
    places = (place for place in (HERE, Path.cwd()) if os.access(place, os.W_OK))
    kept = next(places, Path(tempfile.gettempdir())) / ".runs"
    with contextlib.ExitStack() as stack:
        make, workers = processes, options.jobs
        if options.cluster:
            make, workers = stack.enter_context(on_cluster(options.cluster))
        bar = stack.enter_context(
            tqdm(
                total=len(settings) * len(seeds),
                desc=name,
                unit=" runs",
                disable=None,
                leave=False,
                ncols=bar_size()[0],
            )
        )
        bar.dynamic_ncols = bar_size
        results = sweep(
            figure.run,
            settings,
            seeds,
            folder=kept,
            executor=make,
            workers=workers,
            finished=partial(bar.update, 1),
            context=about,
        )
    try:
        yield results, time.perf_counter() - start
    except (LookupError, TypeError, AttributeError) as error:
        what = f"{type(error).__name__}: {error}"
        raise ValueError(
            f"{kept}: holds results that are not of this figure ({what}); remove it, and begin anew"
        ) from None
    forget(kept, figure.run, settings, seeds, context=about)
    with contextlib.suppress(OSError):  # of another figure there are runs left
        kept.rmdir()


@contextlib.contextmanager
def on_cluster(address: str) -> Iterator[tuple[Callable[[], Any], int]]:
    """Give what makes executors on a dask.distributed cluster, and how many runs it does at a time.

    Its workers must find this repository and the data, and should have one BLAS thread each, as dask's own "nanny"
    arranges: two would give other bits.
    """
    try:
        from distributed import Client
    except ImportError:
        raise ValueError('--cluster needs dask.distributed: pip install "tinygrad_mnist[cluster]"') from None
    try:
        client = Client(address, timeout=10)
    except (OSError, ValueError) as error:
        raise ValueError(f"--cluster: no scheduler answers at {address} ({type(error).__name__}); start one") from None
    with client:
        workers = sum(client.nthreads().values())
        if not workers:
            raise ValueError(f"--cluster: the scheduler at {address} has no workers; start some")
        yield partial(client.get_executor, pure=False), workers


def last_accuracies(record: Any) -> str:
    """A line for each setting: the accuracies after the last epoch, lowest, median and highest of the seeds.

    Below them, of runs that have them, the gradients by layer, and what is to be told of a run besides: digits never
    answered, that it diverged, and the lines of its "told".
    """
    spreads, gradients, told = list[str](), list[str](), list[str]()
    for label in dict.fromkeys(run["label"] for run in record["runs"]):
        runs = [run["result"] for run in record["runs"] if run["label"] == label]
        trained = [run for run in runs if run.get("epochs")]
        last = [run["epochs"][-1] for run in trained]
        for key in ("validation", "test"):
            values = [100 * epoch[key] for epoch in last if epoch.get(key) is not None]
            if values:
                spread = f"{min(values):.2f} / {statistics.median(values):.2f} / {max(values):.2f} %"
                spreads.append(f"{label:<34} {key:<10} {spread}")
        for when, at in (("before", 0), ("after", -1)):
            if norms := [run["gradients"][at] for run in trained if run.get("gradients")]:
                means = " ".join(f"{statistics.fmean(layer):.2g}" for layer in zip(*norms, strict=True))
                gradients.append(f"{label:<34} {when:<10} {means}")
        notes = [f"seed {seed} {text}" for seed, run in zip(record["seeds"], runs, strict=True) for text in _notes(run)]
        told += [f"{label:<34} {note}" for note in notes]
    parts = {
        "lowest / median / highest of the seeds, after the last epoch:": spreads,
        "norm of dC/db by layer, before and after training (mean of the seeds):": gradients,
        "": told,
    }
    lines = [line for title, part in parts.items() if part for line in ([title] if title else []) + part]
    return "\n".join(map(wrapped, lines))


def _notes(run: Any) -> list[str]:
    lost = [f"never answers {digit}" for digit in run.get("lost_classes", ())]
    return [*lost, *([f"diverged: {run['diverged']}"] if run.get("diverged") else []), *run.get("told", ())]
