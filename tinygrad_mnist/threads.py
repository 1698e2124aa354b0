"""One thread for NumPy's matrix products (its BLAS) while something trains, unless another number is asked for.

Matrices as small as these are multiplied no sooner by several threads, which wait for each other: on a busy machine an
epoch of a small network took up to ten times as long. And another number of threads gives other bits.

`train.fit` holds BLAS to one thread while it computes an epoch, a compiled step from its first call until it is
forgotten (which costs its calls nothing: to limit and restore takes 30 µs, half as long as a step), and a command of
the zoo or of the figures while it runs. What NumPy had before is restored. Who wants another number

- sets one of the variables in `ASKED` before Python starts: then nothing here touches it;
- or says `with blas_threads(4): ...` around the training.

threadpoolctl does it, for OpenBLAS, MKL, BLIS and FlexiBLAS on every platform. Apple's Accelerate it cannot speak to:
that listens to VECLIB_MAXIMUM_THREADS only.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

ASKED = (
    "OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS", "VECLIB_MAXIMUM_THREADS",
)  # fmt: skip
"""The variables of the environment by which a user says how many threads BLAS takes."""


class _Limit:
    """How many threads BLAS is held to: what was asked for last, else one if anything holds it, else its own number."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.asked: list[tuple[object, int]] = []
        self.holders = 0
        self.number: int | None = None
        self.controller: Any = None
        self.restore: Any = None

    def change(self, holders: int = 0) -> None:
        """Take note of holders that come and go, and put into effect what follows from all that is known."""
        with self.lock:
            self.holders += holders
            while (number := self.wanted()) != self.number:  # once more, if a holder was forgotten meanwhile
                if self.restore is not None:
                    self.own_it()
                    self.restore.restore_original_limits()
                    self.restore = None
                if number is not None:
                    self.own_it()
                    self.restore = self.controller.limit(limits=number)
                self.number = number

    def wanted(self) -> int | None:
        """The number that is to be in effect; None for what NumPy has by itself."""
        if self.asked:
            return self.asked[-1][1]
        return 1 if self.holders and not any(name in os.environ for name in ASKED) else None

    def own_it(self) -> None:
        """Find NumPy's BLAS, once, and make this thread the one that may tell it: threadpoolctl hears only one."""
        if self.controller is None:
            try:
                from threadpoolctl import ThreadpoolController  # 15 ms, for which `import tinygrad_mnist` need not wait
            except ImportError:  # who has NumPy alone trains all the same
                self.controller = _Nobody()
                return
            self.controller = ThreadpoolController().select(user_api="blas")
        for library in self.controller.lib_controllers:
            if hasattr(library, "clear_controlling_thread"):  # since 3.7
                library.clear_controlling_thread(force=True)


class _Nobody:
    """In place of what tells BLAS, where threadpoolctl is not installed."""

    lib_controllers = ()

    def limit(self, *, limits: int) -> _Nobody:
        return self

    def restore_original_limits(self) -> None:
        pass


_limit = _Limit()


@contextmanager
def one_thread() -> Iterator[None]:
    """Hold BLAS to one thread in a block, unless another number is asked for."""
    _limit.change(+1)
    try:
        yield
    finally:
        _limit.change(-1)


def hold_for(owner: object) -> None:
    """Hold BLAS to one thread, unless another number is asked for, until the owner is forgotten (garbage-collected)."""
    _limit.change(+1)
    weakref.finalize(owner, _limit.change, -1).atexit = False


@contextmanager
def blas_threads(number: int) -> Iterator[None]:
    """Have BLAS take so many threads in a block, also where `train.fit` and compiled steps would hold it to one.

    The number is one for the whole process: of blocks in several threads the last that was entered counts.

    >>> with blas_threads(2):
    ...     pass  # train.fit(...)

    Raises:
        ValueError: the number is no whole number of at least 1.
    """
    if not isinstance(number, int) or isinstance(number, bool) or number < 1:
        raise ValueError(f"blas_threads: expected a whole number of at least 1, got {number!r:.60}")
    entry = object(), number
    with _limit.lock:
        _limit.asked.append(entry)
        _limit.change()
    try:
        yield
    finally:
        with _limit.lock:
            _limit.asked.remove(entry)
            _limit.change()
