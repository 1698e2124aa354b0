"""One thread for BLAS while something trains: who holds it, who asks otherwise, and that what was there comes back."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tinygrad_mnist import Tensor, compile, mnist, nn, threads, train
from tinygrad_mnist.command import guarded
from tinygrad_mnist.losses import softmax_cross_entropy
from tinygrad_mnist.optim import SGD
from tinygrad_mnist.threads import ASKED, blas_threads, hold_for, one_thread

from .helpers import ROOT


class Library:
    """A BLAS that notes how it is told."""

    def __init__(self) -> None:
        self.number, self.told = 8, 0

    def clear_controlling_thread(self, force: bool) -> None:
        assert force


class Controller:
    """What threadpoolctl's does, for one library."""

    def __init__(self) -> None:
        self.lib_controllers = [Library()]

    def limit(self, *, limits: int) -> Any:
        library = self.lib_controllers[0]
        before = library.number
        library.number, library.told = limits, library.told + 1

        class Limiter:
            def restore_original_limits(self) -> None:
                library.number, library.told = before, library.told + 1

        return Limiter()


@pytest.fixture
def blas(monkeypatch: pytest.MonkeyPatch) -> Iterator[Library]:
    """A BLAS of 8 threads in NumPy's place, about which nobody has asked for anything."""
    for name in ASKED:
        monkeypatch.delenv(name, raising=False)
    limit = threads._Limit()
    limit.controller = Controller()
    monkeypatch.setattr(threads, "_limit", limit)
    yield limit.controller.lib_controllers[0]
    gc.collect()


def digits() -> mnist.Dataset:
    rng = np.random.default_rng(0)
    split = mnist.Split(rng.random((20, 4), dtype=np.float32), np.arange(20) % 3)
    return mnist.Dataset(train=split, validation=split[:5], test=None, n_classes=3, image_shape=(2, 2), source=Path())


def test_a_block_has_one_thread_and_what_was_there_comes_back(blas):
    with one_thread():
        assert blas.number == 1
        with one_thread():
            assert blas.number == 1
        assert blas.number == 1
    assert blas.number == 8
    with pytest.raises(ZeroDivisionError), one_thread():
        1 / 0  # noqa: B018
    assert blas.number == 8


@pytest.mark.parametrize("name", ASKED)
def test_a_variable_of_the_environment_asks_otherwise(blas, monkeypatch, name):
    monkeypatch.setenv(name, "4")
    with one_thread():
        assert (blas.number, blas.told) == (8, 0)


def test_blas_threads_asks_otherwise_wherever_it_stands(blas, monkeypatch):
    with blas_threads(4), one_thread():
        assert blas.number == 4
    with one_thread(), blas_threads(4):
        assert blas.number == 4
        with blas_threads(2):
            assert blas.number == 2
        assert blas.number == 4
    assert blas.number == 8
    monkeypatch.setenv("OMP_NUM_THREADS", "6")  # it speaks for the program, the block for itself
    with blas_threads(3):
        assert blas.number == 3


@pytest.mark.parametrize("number", [0, -1, 1.5, True, "4", None])
def test_what_is_no_number_of_threads_is_refused(number):
    with pytest.raises(ValueError, match=r"^blas_threads: expected a whole number of at least 1, got "):
        blas_threads(number).__enter__()


def test_holders_in_several_threads_come_and_go_in_any_order(blas):
    entered, leave = threading.Event(), threading.Event()

    def hold() -> None:
        with one_thread():
            entered.set()
            leave.wait(10)

    other = threading.Thread(target=hold)
    other.start()
    assert entered.wait(10)
    with one_thread():
        leave.set()
        other.join()
        assert blas.number == 1
    assert blas.number == 8


def test_it_is_held_until_its_owner_is_forgotten(blas):
    class Owner:
        pass

    owners = [Owner(), Owner()]
    for owner in owners:
        hold_for(owner)
    del owner, owners[0]
    assert blas.number == 1
    owners.clear()
    gc.collect()
    assert blas.number == 8


@pytest.mark.parametrize("backend", ["eager", "numpy"])
def test_fit_computes_with_one_thread_and_gives_it_back_between_epochs(blas, backend):
    found = []

    def cost(outputs: Any, targets: Any) -> Tensor:
        found.append(blas.number)
        return softmax_cross_entropy(outputs, targets)

    network = nn.Linear(4, 3, rng=np.random.default_rng(0))
    about = {"optimizer": SGD(network.parameters(), lr=0.1), "epochs": 2, "batch_size": 5, "backend": backend}
    for _ in train.fit(network, digits(), cost=cost, rng=np.random.default_rng(0), **about):
        assert blas.number == (8 if backend == "eager" else 1)  # a compiled step lives on
    assert found
    assert {*found} == {1}
    gc.collect()
    assert blas.number == 8


def test_a_compiled_step_holds_it_once_however_often_it_is_called(blas):
    w = Tensor([1.0], requires_grad=True)

    @compile
    def step(x: Any) -> Any:
        return (w * x).sum()

    assert blas.number == 8
    for size in (1, 1, 1, 1, 1, 2, 2, 2):
        step(np.ones(size, np.float32))
    assert step.replays > 0
    assert (blas.number, blas.told) == (1, 1)
    del step
    gc.collect()
    assert blas.number == 8


def test_commands_hold_it_while_they_run(blas):
    assert guarded(lambda: blas.number) == 1
    assert blas.number == 8


NUMBERS = """
from threadpoolctl import threadpool_info
from tinygrad_mnist.threads import blas_threads, one_thread
def numbers():
    return [library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"]
with blas_threads(2):
    two = numbers()
with one_thread():
    one = numbers()
    with blas_threads(2):
        assert numbers() == two
    assert numbers() == one
print({*one}, {*two})
"""


def test_numpys_own_blas_hears_of_it():
    clean = {name: value for name, value in os.environ.items() if name not in ASKED}
    for given, expected in ({}, "{1} {2}"), ({"OPENBLAS_NUM_THREADS": "2"}, "{2} {2}"):
        done = subprocess.run(
            [sys.executable, "-c", NUMBERS],
            env={**clean, **given, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
        )
        assert (done.stdout.strip(), done.stderr) == (expected, "")
