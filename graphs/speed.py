"""How fast is a training step? Ours, eager and compiled, beside NumPy written by hand and other frameworks.

    python -m graphs.speed --quick

The step is the zoo's: 784 pixels, one hidden layer and 10 outputs of sigmoid neurons, quadratic cost, float32, gradient
descent. Every contestant starts from the same weights, and must come to the same weights before it is timed. They take
turns, so that a busy moment of the machine meets all of them; what counts is the ratio to the NumPy that a person
writes by hand, its median over the turns. Everything runs in one thread. PyTorch, JAX and HIPS autograd take part where
they are installed.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.metadata
import json
import math
import os
import platform
import statistics
import sys
import time
import tracemalloc
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from tinygrad_mnist import Tensor, ops
from tinygrad_mnist.command import guarded
from tinygrad_mnist.files import whole
from tinygrad_mnist.tensor import Array
from zoo.commandline import require

from .contestants import CONTESTANTS, Contestant, HandWritten, Parameters, installed

BATCHES, HIDDEN = (1, 10, 32, 100, 1000), (30, 100, 1000)
HERE = Path(__file__).parent

# ----------------------------------------------------------------------------------------------------------------------
# Measuring


def start(hidden: int, seed: int = 0) -> Parameters:
    """First parameters: N(0, 1/fan_in) weights, N(0, 1) biases."""
    rng = np.random.default_rng(seed)
    return [
        ((rng.standard_normal((a, b)) / math.sqrt(a)).astype(np.float32), rng.standard_normal(b).astype(np.float32))
        for a, b in ((784, hidden), (hidden, 10))
    ]


def batches(n: int, size: int, seed: int = 1) -> list[tuple[Array, Array]]:
    """Mini-batches of random images, of which as many pixels are ink as in MNIST, and targets."""
    rng = np.random.default_rng(seed)
    made = []
    for _ in range(n):
        x = rng.random((size, 784), dtype=np.float32) * (rng.random((size, 784)) < 0.19)
        made.append((x.astype(np.float32), np.eye(10, dtype=np.float32)[rng.integers(0, 10, size)]))
    return made


def check(names: Sequence[str], batch: int, hidden: int, steps: int = 5) -> float:
    """The largest difference between any contestant's parameters and the hand-written code's, after some steps.

    Raises:
        AssertionError: it is more than rounding explains.
    """
    data = batches(steps, batch)
    found = {}
    for name in dict.fromkeys(("numpy", *names)):
        contestant = CONTESTANTS[name](start(hidden))
        contestant.epoch(data)
        found[name] = [array for pair in contestant.parameters() for array in pair]
    worst = 0.0
    for name, arrays in found.items():
        for ours, theirs in zip(arrays, found["numpy"], strict=True):
            difference = float(np.max(np.abs(ours - theirs)))
            if ours.dtype != np.float32 or not difference < 2e-5:
                raise AssertionError(f"{name}: {ours.dtype} weights differ by {difference:g} at batch {batch}")
            worst = max(worst, difference)
    return worst


def timed(runs: Mapping[str, Callable[[], Any]], repetitions: int) -> dict[str, list[float]]:
    """Seconds of each function, in turns."""
    for run in runs.values():
        run()
        run()
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    order = list(runs)
    for turn in range(repetitions):
        for name in order if turn % 2 else reversed(order):
            begin = time.perf_counter()
            runs[name]()
            seconds[name].append(time.perf_counter() - begin)
    return seconds


def summary(seconds: dict[str, list[float]], steps: int, unit: float = 1e6, base: str = "numpy") -> dict[str, Any]:
    """For each contestant the median time per step, and the ratio to the base: median, and the middle half of them."""
    result = {}
    for name, values in seconds.items():
        ratios = [a / b for a, b in zip(values, seconds[base], strict=True)]
        low, _, high = statistics.quantiles(ratios, n=4)
        result[name] = {
            "time": statistics.median(values) / steps * unit,
            "ratio": statistics.median(ratios),
            "spread": [low, high],
        }
    return result


def measure_step(names: Sequence[str], batch: int, hidden: int, repetitions: int, budget: float) -> dict[str, Any]:
    """Microseconds a step: many steps in each turn, for about `budget` seconds of the hand-written code."""
    probe, data = HandWritten(start(hidden)), batches(1, batch)
    probe.epoch(data * 3)
    begin = time.perf_counter()
    probe.epoch(data * 3)
    steps = max(1, min(500, round(budget * 3 / (time.perf_counter() - begin))))
    data = (batches(min(steps, 20), batch) * steps)[:steps]
    contestants = {name: CONTESTANTS[name](start(hidden)) for name in names}
    runs = {name: partial(c.epoch, data) for name, c in contestants.items()}
    some = max(1, steps // 10)
    if "book" in contestants:
        runs["book"] = partial(contestants["book"].epoch, data[:some])
    seconds = timed(runs, repetitions)
    if "book" in seconds:
        seconds["book"] = [value * steps / some for value in seconds["book"]]
    return summary(seconds, steps)


def measure_epoch(names: Sequence[str], examples: int, repetitions: int) -> dict[str, Any]:
    """Seconds for an epoch of the zoo's network: a new order, mini-batches of 10 picked from all images, steps."""
    ((x, y),) = batches(1, examples)
    rng = np.random.default_rng(2)

    def epoch(contestant: Contestant) -> Any:
        order = rng.permutation(examples)
        picked = (order[i : i + 10] for i in range(0, examples, 10))
        return contestant.epoch([(x[rows], y[rows]) for rows in picked])

    contestants = {name: CONTESTANTS[name](start(30)) for name in names if name != "book"}
    return summary(timed({name: partial(epoch, c) for name, c in contestants.items()}, repetitions), 1, 1.0)


def measure_op(repetitions: int, shape: tuple[int, ...] = (10, 30), calls: int = 2000) -> dict[str, Any]:
    """Microseconds of eager ops above the NumPy calls in them."""
    a, b = (np.random.default_rng(i).random(shape, dtype=np.float32) for i in (0, 1))
    x, y = Tensor(a, requires_grad=True), Tensor(b)

    def repeat(function: Callable[..., Any], *operands: Any) -> Callable[[], None]:
        def run() -> None:
            for _ in range(calls):
                function(*operands)

        return run

    result = {}
    for name, function, plain, operands, arrays in (
        ("multiply", ops.mul, np.multiply, (x, y), (a, b)),
        ("exp", ops.exp, np.exp, (x,), (a,)),
        ("matmul", ops.matmul, np.matmul, (x, y.T), (a, b.T)),
    ):
        seconds = timed({"ours": repeat(function, *operands), "numpy": repeat(plain, *arrays)}, repetitions)
        extra = [(s - t) / calls * 1e6 for s, t in zip(seconds["ours"], seconds["numpy"], strict=True)]
        low, _, high = statistics.quantiles(extra, n=4)
        result[name] = {"extra": statistics.median(extra), "spread": [low, high]}
    return result


def measure_chain(names: Sequence[str], depth: int, repetitions: int) -> dict[str, Any]:
    """Microseconds a node of a chain x -> 1.0001 x, forward and backward."""

    def ours() -> None:
        leaf = Tensor([1.0], requires_grad=True)
        x = leaf
        for _ in range(depth):
            x = x * 1.0001
        x.sum().backward()

    runs = {"eager": ours}
    if "torch" in names:
        torch = importlib.import_module("torch")

        def pytorch() -> None:
            leaf = torch.ones(1, requires_grad=True)
            x = leaf
            for _ in range(depth):
                x = x * 1.0001
            x.sum().backward()

        runs["torch"] = pytorch
    seconds = timed(runs, repetitions)
    return {name: {"time": statistics.median(values) / depth * 1e6} for name, values in seconds.items()}


def measure_memory(names: Sequence[str], batch: int, hidden: int) -> dict[str, float]:
    """Megabytes at the peak of a step, above what there was before: arrays and Python objects, NumPy's users only."""
    result = {}
    for name in ("numpy", "eager", "compiled"):
        if name in names:
            data = batches(1, batch)
            contestant = CONTESTANTS[name](start(hidden))
            tracemalloc.start()
            before, _ = tracemalloc.get_traced_memory()
            contestant.epoch(data * 4)
            tracemalloc.reset_peak()
            contestant.epoch(data * 2)
            result[name] = (tracemalloc.get_traced_memory()[1] - before) / 1e6
            tracemalloc.stop()
    return result


# ----------------------------------------------------------------------------------------------------------------------
# Showing


def machine() -> dict[str, str]:
    """Where and with what this was measured."""
    processor = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        processor = next(line.partition(": ")[2] for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    result = {"processor": processor, "system": platform.system(), "Python": platform.python_version()}
    for package in ("numpy", "torch", "jax", "autograd"):
        if package == "numpy" or package in sys.modules:
            result[package] = importlib.metadata.version(package)
    return result


def table(title: str, rows: dict[str, Any], unit: str) -> str:
    """Lines for the terminal."""
    lines = [f"{title:<34}{unit:>10}  x NumPy by hand (middle half)"]
    for name, row in rows.items():
        low, high = row["spread"]
        lines.append(f"  {CONTESTANTS[name].name:<32}{row['time']:>10.4g}  {row['ratio']:.3g} ({low:.3g} - {high:.3g})")
    return "\n".join(lines)


COLOURS = {"numpy": "#000000", "eager": "#E69F00", "compiled": "#D55E00", "book": "#999999",
           "torch": "#0072B2", "jax": "#009E73", "scan": "#56B4E9", "autograd": "#CC79A7"}  # fmt: skip
MARKERS = {"eager": "o", "compiled": "s", "torch": "^", "jax": "v", "scan": "D", "autograd": "P", "book": "X"}


def draw(results: dict[str, Any], path: Path) -> None:
    """The picture: the step of the zoo as bars, and the ratios for all sizes as lines."""
    require("matplotlib").use("Agg")
    import matplotlib.pyplot as plt

    plt.rcParams.update({"font.size": 15, "axes.spines.top": False, "axes.spines.right": False})
    steps = results["steps"]
    widths = sorted({row["hidden"] for row in steps})
    figure, axes = plt.subplots(1, 1 + len(widths), figsize=(6 + 4.2 * len(widths), 6.2), layout="constrained",
                                width_ratios=[1.5] + [1] * len(widths))  # fmt: skip
    step = next((row for row in steps if (row["batch"], row["hidden"]) == (10, 30)), steps[0])
    ranked = sorted(step["contestants"].items(), key=lambda item: -item[1]["time"])
    longest = ranked[0][1]["time"]
    axis = axes[0]
    for place, (name, row) in enumerate(ranked):
        axis.barh(place, row["time"], color=COLOURS[name])
        axis.text(row["time"] + 0.02 * longest, place, f"{row['time']:.0f} µs, {row['ratio']:.2f} ×", va="center")
    axis.set_yticks(range(len(ranked)), [CONTESTANTS[name].name for name, _ in ranked])
    axis.set_xlim(0, 1.75 * longest)
    axis.set_xlabel("µs per step")
    axis.set_title(f"784-{step['hidden']}-10, batch {step['batch']}")
    low = min(row["ratio"] for step in steps for row in step["contestants"].values())
    high = max(row["ratio"] for step in steps for row in step["contestants"].values())
    for axis, hidden in zip(axes[1:], widths, strict=True):
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
    axes[1].set_ylabel("time per step / NumPy by hand (dashed)")
    if len(axes) > 2:
        axes[-1].legend(loc="upper right", fontsize=12.5, frameon=False)
    figure.suptitle("A training step against NumPy written by hand", fontsize=18)
    machine = ", ".join(f"{key} {value}" for key, value in results["machine"].items())
    figure.supxlabel(f"Sigmoid, quadratic cost, float32, SGD. Medians of {results['repetitions']} turns, "
                     f"of ratios too. {machine}", fontsize=11)  # fmt: skip
    figure.savefig(path, dpi=100)
    plt.close(figure)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark from the command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m graphs.speed", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--only", nargs="+", metavar="NAME", choices=list(CONTESTANTS), default=list(CONTESTANTS),
                        help=f"contestants besides numpy: {', '.join(list(CONTESTANTS)[1:])}")  # fmt: skip
    parser.add_argument("--batch", nargs="+", type=int, default=list(BATCHES), help="sizes of the mini-batch")
    parser.add_argument("--hidden", nargs="+", type=int, default=list(HIDDEN), help="sizes of the hidden layer")
    parser.add_argument("--repetitions", type=int, default=40, help="turns of each contestant (default 40)")
    parser.add_argument("--examples", type=int, default=10_000, help="examples per epoch (default 10,000)")
    parser.add_argument(
        "--quick", action="store_true", help="only the size 784-30-10 at batch 10, in a few seconds; writes no files"
    )
    parser.add_argument(
        "--output", type=Path, help="directory for speed.json and speed.png (default: beside this file)"
    )
    return guarded(lambda: _run(parser, parser.parse_args(arguments)))


def _run(parser: argparse.ArgumentParser, given: argparse.Namespace) -> int:
    directory = given.output or HERE
    if given.output:
        given.output.mkdir(parents=True, exist_ok=True)
    if not given.quick and not os.access(directory, os.W_OK):
        raise OSError(f"{directory} cannot be written to; name another directory with --output")
    if given.quick:
        given.batch, given.hidden, given.examples = [10], [30], 500
        given.repetitions = min(given.repetitions, 10)
    if given.repetitions < 2 or min(*given.batch, *given.hidden, given.examples) < 1:
        parser.error("expected at least 2 repetitions, and sizes of at least 1")
    names = [name for name in dict.fromkeys(["numpy", *given.only]) if installed(name)]
    missing = [CONTESTANTS[name].name for name in given.only if name not in names]
    if missing:
        print(f"not installed: {', '.join(missing)}\n")
    results: dict[str, Any] = {"machine": machine(), "repetitions": given.repetitions, "steps": []}
    print(", ".join(f"{key} {value}" for key, value in results["machine"].items()))
    for hidden in given.hidden:
        for batch in given.batch:
            # The book's code takes 0.2 ms an example, and up to 10 ms with 1000 neurons.
            few = [name for name in names if name != "book" or batch * hidden <= 10_000]
            worst = check(few, batch, hidden)
            rows = measure_step(few, batch, hidden, given.repetitions, 0.005 if given.quick else 0.01)
            results["steps"].append({"batch": batch, "hidden": hidden, "difference": worst, "contestants": rows})
            print("\n" + table(f"784-{hidden}-10, batch {batch}", rows, "µs per step"), flush=True)
    results["epoch"] = measure_epoch(names, given.examples, min(given.repetitions, 10))
    print("\n" + table(f"an epoch of {given.examples:,} examples", results["epoch"], "seconds"), flush=True)
    op = results["op"] = measure_op(given.repetitions)
    print(
        "\nan eager op, µs above its NumPy call:", ", ".join(f"{name} {row['extra']:.2f}" for name, row in op.items())
    )
    chain = results["chain"] = measure_chain(names, 1000 if given.quick else 100_000, 3 if given.quick else 10)
    shown = ", ".join(f"{CONTESTANTS[name].name} {row['time']:.2f}" for name, row in chain.items())
    print("a deep chain, µs per node, forward and backward:", shown)
    batch, hidden = max(given.batch), max(given.hidden)
    memory = measure_memory(names, batch, hidden)
    results["memory"] = {"batch": batch, "hidden": hidden, "megabytes": memory}
    shown = ", ".join(f"{CONTESTANTS[name].name} {mb:.1f}" for name, mb in memory.items())
    print(f"memory at the peak of a step, batch {batch}, hidden {hidden}, MB: {shown}")
    if given.output or not given.quick:
        for path, write in (
            (directory / "speed.json", lambda p: p.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")),
            (directory / "speed.png", lambda p: draw(results, p)),
        ):
            with whole(path) as part:
                write(part)
            print(f"written: {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
