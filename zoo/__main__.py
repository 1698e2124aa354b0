"""All four networks on the same data, and one table.

    python -m zoo
    python -m zoo --seeds 0 1 2 3 4

Each network trains with its own defaults; with one seed, networks of the same hidden layers and --init start with the
same weights. With several seeds the table shows the lowest, the median and the highest accuracy.
"""

import argparse
import json
import statistics
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tinygrad_mnist import mnist
from tinygrad_mnist.command import guarded
from tinygrad_mnist.files import whole
from tinygrad_mnist.train import Epoch

from . import options as commands
from .commandline import load, progress_bar, refuse_unwritable
from .network import Network
from .training import NAMES, Training, describe, network_class
from .words import in_words, line, never_said, percent, sizes

COMMON = ("epochs", "hidden", "init", "cost")
"""The settings that all networks have, and that make sense for all of them at once."""


def parser() -> argparse.ArgumentParser:
    """The command line."""
    result = argparse.ArgumentParser(
        prog="python -m zoo",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="Networks one by one, with more options: " + ", ".join(f"python -m zoo.{name}" for name in NAMES),
        allow_abbrev=False,
    )
    seed = commands.SETTINGS["seed"]
    result.add_argument(
        "--seeds", metavar="N", nargs="+", type=seed[1], default=[0], help="one run for each (default: 0)"
    )
    learning = result.add_argument_group("for all networks, overriding their own defaults")
    commands.add_settings(learning, Network, COMMON, defaults=False)
    commands.add_recipe(learning, "see the help of each")
    commands.add_eager(learning)
    commands.add_data(result.add_argument_group("data"))
    files = result.add_argument_group("files and what is shown")
    files.add_argument("--history", metavar="FILE.json", type=Path, help="every epoch of every run, as JSON")
    files.add_argument("--quiet", action="store_true", help="the table only")
    return result


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return its exit status. Wrong usage exits with 2."""
    return guarded(lambda: _run(*commands.parse(parser(), arguments)))


def _run(options: argparse.Namespace, given: dict[str, Any]) -> int:
    refuse_unwritable(options.history)
    data = load(options.data, options.train_size)
    print(sizes(data), flush=True)
    runs: list[tuple[str, Network, list[Epoch]]] = []
    try:
        for name in NAMES:
            kind = network_class(name)
            for seed in dict.fromkeys(options.seeds):
                network = (kind.original if options.recipe == "original" else kind)(**given, seed=seed)
                training = Training(network, data)
                runs.append((name, network, training.history))
                for _ in training.fit(progress_bar(options.quiet), compiled=not options.eager):
                    if options.history:
                        _write(options.history, data, runs)
                if not options.quiet and training.history:
                    print(f"{name} seed {seed}  {line(training.history[-1], network.epochs)}", flush=True)
                if lost := training.lost_classes():
                    print(f"{name} seed {seed}  {never_said(lost, network)}", flush=True)
    finally:
        print(table(runs))
    return 0


def table(runs: list[tuple[str, Network, list[Epoch]]]) -> str:
    """One row per network: accuracies after the last epoch, over the seeds, and the median of the seconds per epoch."""
    rows = [("network", "validation", "test", "s/epoch", "settings")]
    for name in NAMES:
        complete = [
            (network, history) for kind, network, history in runs if kind == name and _is_complete(network, history)
        ]
        if not complete:
            continue
        last = [history[-1] for _, history in complete]
        seconds = statistics.median(epoch.seconds for _, history in complete for epoch in history)
        seeds = " ".join(str(network.seed) for network, _ in complete)
        network = complete[0][0]
        settings = f"{in_words(network)}, epochs {network.epochs}, seed {seeds}"
        rows.append(
            (name, _spread([e.validation for e in last]), _spread([e.test for e in last]), f"{seconds:.2f}", settings)
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)


def _is_complete(network: Network, history: list[Epoch]) -> bool:
    return bool(history) and len(history) == network.epochs


def _spread(shares: list[float | None]) -> str:
    """One accuracy; or the lowest / the median / the highest of several."""
    known = sorted(share for share in shares if share is not None)
    if len(known) < 2:
        return percent(known[0] if known else None)
    return " / ".join(f"{100 * share:.2f}" for share in (known[0], statistics.median(known), known[-1])) + " %"


def _write(file: Path, data: mnist.Dataset, runs: list[tuple[str, Network, list[Epoch]]]) -> None:
    record = {
        "data": describe(data),
        "runs": [
            {"network": name, "settings": asdict(network), "epochs": [asdict(epoch) for epoch in history]}
            for name, network, history in runs
        ],
    }
    with whole(file) as part:
        part.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
