"""What is measured: a step, an epoch, an eager op, a node of a deep chain, memory; and on which machine.

Contestants take turns; of the ratios to the hand-written code the median counts, and the middle half of them is told.
"""

from __future__ import annotations

import importlib
import importlib.metadata
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

from .by_hand import HandWritten
from .contestant import Contestant
from .contestants import CONTESTANTS
from .convolution import STEPS
from .fairness import first_parameters, random_batches


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


def relative(seconds: dict[str, list[float]], steps: int, unit: float = 1e6, base: str = "numpy") -> dict[str, Any]:
    """For each contestant the median time per step and the least, and their ratios to the base's.

    Of the median one also the middle half of the turns' ratios.
    """
    result = {}
    for name, values in seconds.items():
        ratios = [a / b for a, b in zip(values, seconds[base], strict=True)]
        low, _, high = statistics.quantiles(ratios, n=4)
        result[name] = {
            "time": statistics.median(values) / steps * unit,
            "least": min(values) / steps * unit,
            "ratio": statistics.median(ratios),
            "least_ratio": min(values) / min(seconds[base]),
            "spread": [low, high],
        }
    return result


def step(names: Sequence[str], batch: int, hidden: int, repetitions: int, budget: float) -> dict[str, Any]:
    """Microseconds a step: many steps in each turn, for about `budget` seconds of the hand-written code."""
    probe, data = HandWritten(first_parameters(hidden)), random_batches(1, batch)
    probe.epoch(data * 3)
    begin = time.perf_counter()
    probe.epoch(data * 3)
    steps = max(1, min(500, round(budget * 3 / (time.perf_counter() - begin))))
    data = (random_batches(min(steps, 20), batch) * steps)[:steps]
    contestants = {name: CONTESTANTS[name](first_parameters(hidden)) for name in names}
    runs = {name: partial(c.epoch, data) for name, c in contestants.items()}
    some = max(1, steps // 10)
    if "book" in contestants:
        runs["book"] = partial(contestants["book"].epoch, data[:some])
    seconds = timed(runs, repetitions)
    if "book" in seconds:
        seconds["book"] = [value * steps / some for value in seconds["book"]]
    return relative(seconds, steps)


def epoch(names: Sequence[str], examples: int, repetitions: int) -> dict[str, Any]:
    """Seconds for an epoch of the zoo's network: a new order, mini-batches of 10 picked from all images, steps."""
    ((x, y),) = random_batches(1, examples)
    rng = np.random.default_rng(2)

    def train(contestant: Contestant) -> Any:
        return contestant.train_epoch(x, y, rng.permutation(examples), 10)

    contestants = {name: CONTESTANTS[name](first_parameters(30)) for name in names if name not in ("book", "whole")}
    return relative(timed({name: partial(train, c) for name, c in contestants.items()}, repetitions), 1, 1.0)


def convolution(names: Sequence[str], repetitions: int, batch: int = 32) -> dict[str, Any]:
    """Milliseconds of a step of a convolutional network, and the ratio to ours op by op."""
    x, y = random_batches(1, batch)[0]
    contestants = {name: STEPS[name]() for name in names if name in STEPS}
    costs = {name: [float(c.step(x, y)) for _ in range(4)][-1] for name, c in contestants.items()}
    if max(costs.values()) - min(costs.values()) > 1e-3 * min(costs.values()):
        raise AssertionError(f"the costs of a convolutional network differ after 4 steps: {costs}")
    runs = {name: partial(_repeated, c.step, x, y) for name, c in contestants.items()}
    return relative(timed(runs, repetitions), _STEPS, 1e3, "eager")


_STEPS = 4


def _repeated(step: Callable[..., Any], x: Any, y: Any) -> None:
    for _ in range(_STEPS):
        step(x, y)


def op(repetitions: int, shape: tuple[int, ...] = (10, 30), calls: int = 2000) -> dict[str, Any]:
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


def chain(names: Sequence[str], depth: int, repetitions: int) -> dict[str, Any]:
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


def memory(names: Sequence[str], batch: int, hidden: int) -> dict[str, float]:
    """Megabytes at the peak of a step, above what there was before: arrays and Python objects, NumPy's users only."""
    result = {}
    for name in ("numpy", "eager", "compiled", "c", "whole"):
        if name in names:
            data = random_batches(1, batch)
            contestant = CONTESTANTS[name](first_parameters(hidden))
            tracemalloc.start()
            before, _ = tracemalloc.get_traced_memory()
            contestant.epoch(data * 4)
            tracemalloc.reset_peak()
            contestant.epoch(data * 2)
            result[name] = (tracemalloc.get_traced_memory()[1] - before) / 1e6
            tracemalloc.stop()
    return result


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
