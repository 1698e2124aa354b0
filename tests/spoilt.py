"""Checkpoints and command lines that nobody would write: what they come to is a line and an exit status, soon.

python -m tests.spoilt 500    # as many checkpoints and command lines, in minutes; the tests take a few of each
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import random
import sys
import tempfile
import time
import tracemalloc
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tinygrad_mnist import mnist
from tinygrad_mnist.command import Parser
from tinygrad_mnist.mnist import main as download
from zoo.__main__ import main as all_four
from zoo.__main__ import parser as all_parser
from zoo.commandline import main as train_one
from zoo.custom import Custom
from zoo.options import parser_of
from zoo.predict import main as predict
from zoo.predict import parser as predict_parser
from zoo.training import NAMES, network_class

from .helpers import write_data

BOUND = 300_000_000
"""Bytes that a command may take beyond what the honest one does."""

# fmt: off
ODD: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2, 7, 10**30, -(10**30), 2**63, 0.5, -0.0, 1e308, 1e-320, float("nan"), float("inf"),
    float("-inf"), "", "x", "x" * 3000, "\x00", "\n", "ü\udcff", [], {}, [0], [[]], [None, "x"], [[[[[[[[]]]]]]]],
    {"": 0}, {"state": {}}, [1] * 3000,
)
TEXTS = (
    "", " ", "--", "-", "-1", "0", "1", "2", "00", "1e3", "1e-400", "1e400", "nan", "inf", "-inf", "0x10", "1_000",
    "1,000", "9" * 30, "9" * 5000, "x", "x" * 300_000, "a\nb", "ü", "٣", "²", "\udcff", "[" * 9999, "%s%n{}", ".", "..",
    "/", "/dev/null", "/dev/zero", "nowhere/m.npz", "pipe", "m.npz", "m.npz/", "m.png", "none.gv", ".png", "~", "*",
    "network", "softmax",
)
# fmt: on


def rewritten(content: bytes, change: Callable[[dict[str, Any], dict[str, np.ndarray]], object]) -> bytes:
    """A checkpoint with its notes and arrays, by name, changed as `change` does."""
    with np.load(io.BytesIO(content)) as archive:
        arrays = dict(archive)
    notes = json.loads(str(arrays.pop("notes")))
    change(notes, arrays)
    file = io.BytesIO()
    np.savez(file, notes=np.array(json.dumps(notes)), **arrays)
    return file.getvalue()


def spoilt(content: bytes, draw: random.Random) -> bytes:
    """A checkpoint with something wrong with it."""
    return draw.choice((_bytes, _members, _arrays, _values, _values, _values))(content, draw)


def _bytes(content: bytes, draw: random.Random) -> bytes:
    """Bytes are flipped, or missing."""
    changed = bytearray(content)
    for _ in range(draw.choice((1, 1, 3, 30))):
        changed[draw.choice((draw.randrange(len(changed)), -draw.randrange(1, 600)))] = draw.randrange(256)
    return bytes(changed[: draw.randrange(len(changed))] if draw.random() < 0.2 else changed)


def _members(content: bytes, draw: random.Random) -> bytes:
    """Members are missing, doubled, packed, renamed, or in each other's place."""
    file = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as before, zipfile.ZipFile(file, "w") as after:
        names = before.namelist()
        for name in names:
            chosen, how = draw.random() < 0.3, draw.randrange(5)
            member = before.read(draw.choice(names) if chosen and how == 0 else name)
            if not chosen or how != 1:
                packed = zipfile.ZIP_DEFLATED if chosen and how == 2 else zipfile.ZIP_STORED
                after.writestr(name + "x" * (chosen and how == 3), member, packed)
            if chosen and how == 4:
                with contextlib.suppress(UserWarning):  # that a name is there twice
                    after.writestr(name, member)
    return file.getvalue()


def _arrays(content: bytes, draw: random.Random) -> bytes:
    """An array has another type, another shape, or values that are no numbers."""

    def change(notes: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
        for name in draw.sample(sorted(arrays), draw.choice((1, 1, 2))):
            array = arrays[name].copy()
            if draw.random() < 0.4:
                array.flat[draw.randrange(array.size)] = draw.choice((np.nan, np.inf, -np.inf, 1e38))
            elif draw.random() < 0.5:
                array = array.astype(draw.choice("? b i8 f2 f8 g c8 U9 S9 M8[s] V4".split()))
            else:
                array = draw.choice((array.T, array[..., None], array[:0], array.ravel()[0], array.ravel(), array[:-1]))
            arrays[name] = array

    with np.errstate(all="ignore"):
        return rewritten(content, change)


def _values(content: bytes, draw: random.Random) -> bytes:
    """What stands in the notes is something else, missing, or there twice."""

    def change(notes: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
        for _ in range(draw.choice((1, 1, 1, 3))):
            place: Any = notes
            while True:
                keys: Sequence[Any] = [*place] if isinstance(place, dict) else range(len(place))
                if not keys:
                    return
                key = draw.choice(keys)
                if not isinstance(place[key], dict | list) or draw.random() < 0.15:
                    break
                place = place[key]
            how = draw.randrange(8)
            if how == 0:
                del place[key]
            elif how == 1 and isinstance(place, list):
                place.append(place[key])
            elif how == 2 and isinstance(place, dict):
                place[draw.choice(("x", "", "velocity", "model", "0", "9"))] = place[key]
            else:
                place[key] = draw.choice(ODD)

    return rewritten(content, change)


def commands(file: str) -> list[tuple[Callable[[list[str]], int], list[str]]]:
    """What may be done with a checkpoint of network2."""

    def resume(arguments: list[str]) -> int:
        return train_one(network_class("network2"), arguments)

    return [
        (predict, [file, "0"]),
        (resume, ["--resume", file, "--epochs", "4", "--quiet"]),
        (resume, ["--save", file, "--epochs", "1", "--train-size", "50", "--quiet"]),
    ]


def lines(draw: random.Random) -> tuple[Callable[[list[str]], int], list[str]]:
    """A command, and options of its own with odd values."""
    short = ["--epochs", "1", "--train-size", "20"]
    kind = network_class(draw.choice(NAMES))
    command, arguments, parser = draw.choice(
        [
            *[(lambda given: train_one(kind, given), [*short, "--quiet"], parser_of(kind, ""))] * 4,
            (all_four, [*short, "--quiet"], all_parser()),
            (lambda given: train_one(Custom, given), short, parser_of(Custom, "")),
            (predict, ["m.npz", draw.choice(("0", *TEXTS))], predict_parser()),
            (download, [draw.choice(("there", *TEXTS)), "--mirror", "file:///nowhere"], Parser("download", None)),
        ]
    )
    known = [flag for flag in parser._option_string_actions if flag != "--epochs"]  # of which many take for ever
    odd = []
    for _ in range(draw.choice((1, 1, 2, 3))):
        flag, text = draw.choice(known), draw.choice(TEXTS)
        odd += draw.choice(([f"{flag}={text}"], [flag, text], [flag, text, draw.choice(TEXTS)], [flag], [f"{flag}x"]))
    return command, [*arguments, *odd] if draw.random() < 0.7 else [*odd, *arguments]


class Outcome(NamedTuple):
    """What a command came to; the peak of its memory in bytes, or 0 if that was not traced, which takes its time."""

    status: Any
    error: str
    peak: int
    seconds: float


def ended(command: Callable[[list[str]], int], arguments: list[str], traced: bool = False) -> Outcome:
    """Run a command in this process."""
    error, start = io.StringIO(), time.perf_counter()
    if traced:
        tracemalloc.start()
    try:
        with contextlib.redirect_stderr(error), contextlib.redirect_stdout(io.StringIO()):
            try:
                status: Any = command(arguments)
            except SystemExit as usage:
                status = usage.code
        peak = tracemalloc.get_traced_memory()[1] if traced else 0
        return Outcome(status, error.getvalue(), peak, time.perf_counter() - start)
    finally:
        tracemalloc.stop()


def checked(command: Callable[[list[str]], int], arguments: list[str], traced: bool = False) -> Outcome:
    """The same; an AssertionError if it is not a short line, and an exit status."""
    outcome = ended(command, arguments, traced)
    status, error = outcome.status, outcome.error
    what = f"{[text[:60] for text in arguments]}: {status} {error[:2000]}"
    assert status in (0, 1, 2), what
    assert len(error) < 3500, what
    assert status == 2 or error.count("\n") == status, what
    assert status == 2 or error.startswith("error: ") == bool(status), what
    return outcome


def prepare(folder: Path) -> bytes:
    """Make small data and a checkpoint in a directory, which becomes the current one; return the checkpoint."""
    os.chdir(folder)
    digits = mnist.load(Path(__file__).resolve().parent.parent / "data")
    assert digits.test is not None
    parts = []
    for split, n in ((digits.train, 240), (digits.test, 30)):
        parts += [np.rint(split.images[:n] * 255).astype(np.uint8).reshape(n, 28, 28), split.labels[:n]]
    os.environ["TINYGRAD_MNIST_DATA"] = str(write_data(folder / "digits", *parts))
    arguments = ["--epochs", "3", "--lr-step", "2", "--train-size", "50", "--save", "m.npz", "--quiet"]
    assert train_one(network_class("network2"), arguments) == 0
    if hasattr(os, "mkfifo"):
        os.mkfifo("pipe")
    return Path("m.npz").read_bytes()


def checkpoints(count: int, good: bytes, seed: object = 0, traced: bool = False) -> dict[str, Any]:
    """Try spoilt checkpoints; what they came to in figures."""
    Path("try.npz").write_bytes(good)
    honest = max(ended(*command, traced).peak for command in commands("try.npz")[:2])
    statuses, most, slowest = {0: 0, 1: 0}, 0, 0.0
    for i in range(count):
        content = spoilt(good, random.Random(f"{seed} {i}"))
        for command, arguments in commands("try.npz"):
            Path("try.npz").write_bytes(content)
            outcome = checked(command, arguments, traced)
            statuses[outcome.status] += 1
            most, slowest = max(most, outcome.peak - honest), max(slowest, outcome.seconds)
            assert most < BOUND, (i, arguments, most)
            left = [name for name in os.listdir() if name.startswith(".")]
            assert not left, (i, arguments, left)
    return {"checkpoints": count, "statuses": statuses, "most bytes beyond": most, "slowest": round(slowest, 2)}


def options(count: int, good: bytes, seed: object = 0) -> dict[str, Any]:
    """Try odd command lines; what they came to in figures."""
    statuses, slowest = {0: 0, 1: 0, 2: 0}, 0.0
    for i in range(count):
        Path("m.npz").write_bytes(good)
        command, arguments = lines(random.Random(f"{seed} {i}"))
        outcome = checked(command, arguments)
        statuses[outcome.status] += 1
        slowest = max(slowest, outcome.seconds)
    return {"command lines": count, "statuses": statuses, "slowest": round(slowest, 2)}


def run(count: int) -> None:
    """Both, in a directory of their own."""
    with tempfile.TemporaryDirectory() as folder:
        good = prepare(Path(folder))
        print(checkpoints(count, good, traced=True), flush=True)
        print(options(count, good), flush=True)


if __name__ == "__main__":
    run(int(sys.argv[1]))
