"""What several test files need: short ways to a Tensor, errors in one line, cases of an op, data in MNIST's format."""

from __future__ import annotations

import functools
import itertools
import os
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings

import tinygrad_mnist as tg
from tinygrad_mnist import Tensor, losses, native, nn, optim
from tinygrad_mnist.testing import operands

ROOT = Path(__file__).resolve().parent.parent
FLOATS = [np.float16, np.float32, np.float64, np.longdouble]


def variable(values: Any, dtype: Any = np.float64, **options: Any) -> Any:
    """A Tensor that requires gradients, typed Any: tests ask things of it that a type checker would refuse."""
    return Tensor(np.array(values, dtype), True, **options)


def constant(values: Any, dtype: Any = np.float64) -> Any:
    return Tensor(np.array(values, dtype))


def named(value: Any, name: str, requires_grad: bool = True) -> Tensor:
    return Tensor(value, requires_grad=requires_grad, name=name)


@contextmanager
def refused(kind: type[Exception] | tuple[type[Exception], ...], *words: str) -> Iterator[None]:
    """Expect an error of this kind, in one line that holds all the words."""
    with pytest.raises(kind) as caught:
        yield
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message


@functools.cache
def cases(name, most=60):
    """Return operands of an op, drawn once in a process: 60 take half a second, which is too long for every op."""
    found = []

    @settings(max_examples=most, derandomize=True, database=None)
    @given(operands(name))
    def collect(case):
        found.append(case)

    collect()
    return found


# --- a small training, eager or compiled ---


def network(seed: int = 0, sizes: tuple[int, ...] = (20, 15, 10), dropout: float = 0.0) -> nn.Sequential:
    """Linear layers with sigmoids, and with some dropout after the first if asked for."""
    rng = np.random.default_rng(seed)
    layers: list[Any] = []
    for a, b in itertools.pairwise(sizes):
        layers += [nn.Linear(a, b, rng=rng), tg.sigmoid]
    if dropout:
        layers.insert(2, nn.Dropout(dropout, rng=np.random.default_rng(5)))
    return nn.Sequential(*layers)


def batch(n: int, seed: int = 0, inputs: int = 20) -> tuple[Any, Any]:
    """Random inputs for that network, and rows of the identity as what it should give."""
    rng = np.random.default_rng(seed)
    return rng.random((n, inputs), dtype=np.float32), np.eye(10, dtype=np.float32)[rng.integers(0, 10, n)]


def descent(optimizer: optim.Optimizer, cost: Callable[..., Any]) -> Callable[..., Any]:
    """A step down the slope of a cost, which it returns: a function of what the cost is a function of."""

    def step(*args: Any) -> Any:
        loss = cost(*args)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    return step


def training_step(model: Any, optimizer: Any, cost: Any = losses.quadratic_cost) -> Callable[..., Any]:
    return descent(optimizer, lambda x, y: cost(model(x), y))


def compiles(step: Any) -> bool:
    return "def step(" in step.source


def bits(value: Any) -> Any:
    """What two results must have in common."""
    if isinstance(value, tuple | list):
        return [bits(item) for item in value]
    array = value._array if isinstance(value, Tensor) else value
    if array is None:
        return None
    long = array.dtype.char in "gG"  # whose bytes do not all mean something
    return array.shape, array.dtype, [x.astype(complex) for x in array.ravel()] if long else array.tobytes()


# --- data and commands ---


def write_idx(path: Path, array: Any) -> None:
    """Write an array as an IDX file."""
    header = struct.pack(f">{1 + array.ndim}I", 0x0800 | array.ndim, *array.shape)
    path.write_bytes(header + np.asarray(array, np.uint8).tobytes())


def write_data(directory: Path, images: Any, labels: Any, test_images: Any = None, test_labels: Any = None) -> Path:
    """Write a data set in MNIST's format, and return its directory."""
    directory.mkdir(exist_ok=True)
    write_idx(directory / "train-images-idx3-ubyte", images)
    write_idx(directory / "train-labels-idx1-ubyte", labels)
    if test_images is not None:
        write_idx(directory / "t10k-images-idx3-ubyte", test_images)
        write_idx(directory / "t10k-labels-idx1-ubyte", test_labels)
    return directory


def environment(data):
    chosen = {"PYTHONPATH": str(ROOT), "TINYGRAD_MNIST_DATA": str(data), "OPENBLAS_NUM_THREADS": "1"}
    plain = {name: value for name, value in os.environ.items() if name != "COLUMNS"}  # as without a terminal
    return plain | chosen | {"PYTHONIOENCODING": "utf-8"}


def start(module, *arguments, data, cwd, hearing=False):
    """Start a command whose output can be read line by line."""
    program = [
        "-c",
        "import runpy, signal, sys\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # a shell's background jobs are deaf to Ctrl-C
        "del sys.argv[0]\n"
        "runpy.run_module(sys.argv[0], run_name='__main__', alter_sys=True)\n",
        module,
    ]
    return subprocess.Popen(
        [sys.executable, *(program if hearing else ["-m", module]), *map(str, arguments)],
        cwd=cwd,
        env=environment(data),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
    )


def read_until(process, text):
    """Read lines up to one that starts with the text; what follows is done right after it was printed."""
    for found in process.stdout:
        if found.startswith(text):
            return
    pytest.fail(f"the command ended without {text!r}: {process.stderr.read()}")


def needs_compiler() -> None:
    """Fail where CI must have a C compiler; skip elsewhere, as a user may have none."""
    try:
        native.compiler()
    except native.NativeError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(error))
