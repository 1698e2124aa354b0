"""The command `python -m graphs.speed`: measure, print, and write speed.json and speed.png."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

from tinygrad_mnist.command import Parser, guarded
from tinygrad_mnist.files import whole
from tinygrad_mnist.installation import folder_of

from . import __doc__ as about
from . import measure, report
from .contestants import CONTESTANTS, installed
from .fairness import largest_difference
from .picture import draw

BATCHES, HIDDEN, EXAMPLES = (1, 10, 32, 100, 1000), (30, 100, 1000), 10_000
HERE = folder_of(__file__)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark from the command line; returns the exit status."""
    parser = Parser("python -m graphs.speed", (about or "").partition("\n")[0])
    parser.add_argument("--only", nargs="+", metavar="NAME", choices=list(CONTESTANTS), default=list(CONTESTANTS),
                        help=f"contestants besides numpy: {', '.join(list(CONTESTANTS)[1:])}")  # fmt: skip
    parser.add_argument("--batch", nargs="+", type=int, default=list(BATCHES), help="sizes of the mini-batch")
    parser.add_argument("--hidden", nargs="+", type=int, default=list(HIDDEN), help="sizes of the hidden layer")
    parser.add_argument("--repetitions", type=int, default=40, help="turns of each contestant (default 40)")
    parser.add_argument("--examples", type=int, default=EXAMPLES, help="examples per epoch (default 10,000)")
    parser.add_argument(
        "--quick", action="store_true", help="only the size 784-30-10 at batch 10, in a few seconds; writes no files"
    )
    parser.add_argument(
        "--output",
        type=Path,
        help="directory for speed.json and speed.png (default: beside this file in a checkout; else, and of fewer "
        "contestants, sizes or turns than are there, the current directory)",
    )
    return guarded(lambda: _run(parser, parser.parse_args(arguments)))


def _run(parser: argparse.ArgumentParser, given: argparse.Namespace) -> int:
    if given.quick:
        given.batch, given.hidden, given.examples = [10], [30], 500
        given.repetitions = min(given.repetitions, 10)
    if given.repetitions < 2 or min(*given.batch, *given.hidden, given.examples) < 1:
        parser.error("expected at least 2 repetitions, and sizes of at least 1")
    names = [name for name in dict.fromkeys(["numpy", *given.only]) if installed(name)]
    directory = given.output or (Path() if _holds_more(HERE / "speed.json", names, given) else HERE)
    if given.output:
        given.output.mkdir(parents=True, exist_ok=True)
    if given.output or not given.quick:
        if not os.access(directory, os.W_OK):
            raise OSError(f"{directory} cannot be written to; name another directory with --output")
        if _holds_more(directory / "speed.json", names, given):
            raise OSError(
                f"{directory}: its speed.json holds more than this would; name another directory with --output"
            )
    missing = [CONTESTANTS[name].name for name in given.only if name not in names]
    if missing:
        print(f"not installed: {', '.join(missing)}\n")
    results = _measured(names, given)
    if given.output or not given.quick:
        _write(results, directory)
    return 0


def _holds_more(file: Path, names: Sequence[str], given: argparse.Namespace) -> bool:
    """Whether a file has contestants, sizes or turns that this run would not have, or is of something else."""
    try:
        record = json.loads(file.read_text(encoding="utf-8"))
        sizes = {(step["batch"], step["hidden"]) for step in record["steps"]}
        others = {name for step in record["steps"] for name in step["contestants"]} - {*names}
        fewer = record["repetitions"] > given.repetitions or record.get("examples", EXAMPLES) > given.examples
        return fewer or bool(others & {*CONTESTANTS}) or not sizes <= {*product(given.batch, given.hidden)}
    except FileNotFoundError:
        return False
    except (LookupError, TypeError, ValueError, AttributeError, RecursionError):
        return True


def _measured(names: Sequence[str], given: argparse.Namespace) -> dict[str, Any]:
    """All results; each is printed as soon as it is there."""
    results: dict[str, Any] = {"machine": measure.machine(), "repetitions": given.repetitions, "steps": []}
    results["examples"] = given.examples
    print(", ".join(f"{key} {value}" for key, value in results["machine"].items()))
    for hidden in given.hidden:
        for batch in given.batch:
            # The book's code takes 0.2 ms an example, and up to 10 ms with 1000 neurons.
            few = [name for name in names if name != "book" or batch * hidden <= 10_000]
            if hidden > 30 or batch not in (1, 10, 100):  # a size takes torch.compile 20 s to a minute
                few = [name for name in few if name != "torchc"]
            worst = largest_difference(few, batch, hidden)
            rows = measure.step(few, batch, hidden, given.repetitions, 0.005 if given.quick else 0.01)
            results["steps"].append({"batch": batch, "hidden": hidden, "difference": worst, "contestants": rows})
            print("\n" + report.times(f"784-{hidden}-10, batch {batch}", rows, "µs per step"), flush=True)
    epoch = results["epoch"] = measure.epoch(names, given.examples, min(given.repetitions, 10))
    print("\n" + report.times(f"an epoch of {given.examples:,} examples", epoch, "seconds"), flush=True)
    if "eager" in names:
        results["convolution"] = measure.convolution(names, min(given.repetitions, 20))
        title = "zoo.custom's network, batch 32"
        print("\n" + report.times(title, results["convolution"], "ms per step", "ours, eager"), flush=True)
    results["op"] = measure.op(given.repetitions)
    print("\n" + report.ops(results["op"]))
    depth, turns = (1000, 3) if given.quick else (100_000, 10)
    results["chain"] = measure.chain(names, depth, turns)
    print(report.chain(results["chain"]))
    batch, hidden = max(given.batch), max(given.hidden)
    megabytes = measure.memory(names, batch, hidden)
    results["memory"] = {"batch": batch, "hidden": hidden, "megabytes": megabytes}
    print(report.memory(results["memory"]))
    return results


def _write(results: Mapping[str, Any], directory: Path) -> None:
    """Write both files, each whole or not at all."""
    for path, write in (
        (directory / "speed.json", lambda p: p.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")),
        (directory / "speed.png", lambda p: draw(results, p)),
    ):
        with whole(path) as part:
            write(part)
        print(f"written: {path}")


if __name__ == "__main__":
    sys.exit(main())
