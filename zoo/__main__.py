"""All four networks on the same data, and one table.

    python -m zoo
    python -m zoo --seeds 0 1 2 3 4

Each network trains with its own defaults; with one seed, networks of the same hidden layers and --init start with the
same weights. With several seeds the table shows the lowest, the median and the highest accuracy.
"""

import statistics
import sys
import textwrap
from pathlib import Path

from tinygrad_mnist.command import Parser, guarded
from tinygrad_mnist.files import claimed

from .base import BaseNetwork
from .commandline import progress_bar, refuse_to_lose, refuse_unwritable, write_json
from .limits import whole_number
from .options import (
    DATA,
    STOPPING,
    Run,
    add_backend,
    add_options,
    add_recipe,
    command_line,
    commands,
    listed,
    load_data,
    parse,
)
from .training import NAMES, Training, network_class, network_name
from .words import brief, in_words, never_said, percent, sizes, wrapped

COMMON = ("epochs", "hidden", "init", "cost")
"""The settings that all networks have, and that make sense for all of them at once."""


def parser() -> Parser:
    """The command line."""
    others = textwrap.indent(listed(commands()), "  ")
    result = command_line("zoo", __doc__, f"one by one, with more options, and what else there is:\n\n{others}")
    seed = whole_number(0)
    result.add_argument("--seeds", metavar="N", nargs="+", type=seed, default=[0], help="one run for each (default: 0)")
    learning = result.add_argument_group("for all networks, overriding their own defaults")
    add_options(learning, BaseNetwork, COMMON, told=False)
    add_recipe(learning, "see the help of each")
    add_options(learning, Run, STOPPING)
    add_backend(learning)
    add_options(result.add_argument_group("data"), Run, DATA)
    files = result.add_argument_group("files and what is shown")
    files.add_argument("--history", metavar="FILE.json", type=Path, help="every epoch of every run, as JSON")
    add_options(files, Run, ["overwrite"])
    files.add_argument("--quiet", action="store_true", help="the table only")
    return result


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return its exit status. Wrong usage exits with 2."""
    return guarded(lambda: _run(parse(parser(), BaseNetwork, arguments)))


def _run(asked: Run) -> int:
    with claimed(*asked.written):
        return _all(asked)


def _all(asked: Run) -> int:
    refuse_unwritable(asked.history)
    if asked.history and not asked.overwrite:
        refuse_to_lose(asked.history)
    data = load_data(asked.data, asked.train_size)
    print(wrapped(sizes(data)), flush=True)
    if not asked.quiet:
        print(wrapped(f"{', '.join(NAMES)}: each in turn; `python -m zoo --help` tells what else there is"), flush=True)
    runs: list[Training] = []
    try:
        for name in NAMES:
            for seed in dict.fromkeys(asked.seeds):
                network = asked.network(network_class(name), seed=seed)
                training = Training(
                    network,
                    data,
                    backend=asked.backend or "numpy",
                    patience=asked.patience,
                    keep_best=asked.keep_best,
                )
                runs.append(training)
                for _ in training.fit(progress_bar(asked.quiet)):
                    if asked.history:
                        write_json({"data": training.about, "runs": [run.record() for run in runs]}, asked.history)
                if not asked.quiet and training.history:
                    print(f"{name} seed {seed}  {brief(training.result)}", flush=True)
                training.use_best()
                if lost := training.lost_classes():
                    print(wrapped(f"{name} seed {seed}  {never_said(lost, network, training.sigmoids)}"), flush=True)
        if asked.history:
            print(f"{asked.history}: every epoch of every run")
    finally:
        print(table(runs))
    return 0


def table(runs: list[Training]) -> str:
    """One row per network: accuracies after the last epoch, or the best if it is kept; below it each one's settings."""
    rows, settings, spread = [("network", "validation", "test", "s/epoch")], [], False
    for name in NAMES:
        complete = [run for run in runs if network_name(run.network) == name and run.history]
        complete = [run for run in complete if len(run.history) == run.network.epochs or run.stopped]
        if not complete:
            continue
        last = [run.result for run in complete]
        spread = spread or len(complete) > 1
        seconds = statistics.median(epoch.seconds for run in complete for epoch in run.history)
        rows.append((name, _spread([e.validation for e in last]), _spread([e.test for e in last]), f"{seconds:.2f}"))
        seeds = " ".join(str(run.network.seed) for run in complete)
        network = complete[0].network
        text = f"{name}: {in_words(network)}, epochs {network.epochs}, seed {seeds}"
        if (patience := complete[0].patience) is not None:
            text += f", patience {patience}"
        settings.append(wrapped(text + ", best epoch kept" * complete[0].keep_best))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
    label = "accuracies: the lowest / the median / the highest of the seeds; " if spread else ""
    return "\n".join([*settings, wrapped(f"{label}s/epoch: the median"), *lines])


def _spread(shares: list[float | None]) -> str:
    """One accuracy; or the lowest / the median / the highest of several."""
    known = sorted(share for share in shares if share is not None)
    if len(known) < 2:
        return percent(known[0] if known else None)
    return " / ".join(f"{100 * share:.2f}" for share in (known[0], statistics.median(known), known[-1])) + " %"


if __name__ == "__main__":
    sys.exit(main())
