"""Watching f compute: which lines of the user's are at work, and whether rules write into what they are given."""

from __future__ import annotations

import linecache
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np

from tinygrad_mnist.files import PACKAGE
from tinygrad_mnist.mode import Observer, mode
from tinygrad_mnist.tensor import Array, Tensor

from .errors import GradientError


class Place(NamedTuple):
    """A line of the user's code."""

    file: str
    line: int

    def __str__(self) -> str:
        code = linecache.getline(self.file, self.line).strip()[:80]
        cell = "ipykernel" in self.file or self.file.startswith("<ipython")
        return f"{'cell' if cell else os.path.basename(self.file)}:{self.line}" + f": {code}" * bool(code)


class Lines(Observer):
    """An observer that notes lines of the user's code.

    Attributes:
        made: for every result the line that called its op.
        leaving: the lines that take the values of a Tensor that requires gradients out of the graph.
    """

    def __init__(self) -> None:
        self.made: dict[Tensor, Place] = {}
        self.leaving: dict[Place, None] = {}

    def applied(self, result: Any, op: Any, inputs: tuple[Any, ...], params: Mapping[str, Any]) -> None:
        """Note where the op was called."""
        self.made[result] = _line_of_user()

    def read(self, tensor: Any) -> None:
        """Note who looks at values that have a gradient."""
        if tensor.requires_grad:
            self.leaving[_line_of_user()] = None

    def shared(self, tensor: Any, source: Any) -> None:
        """Note who takes them away, as detach() does."""
        self.read(source)


def _line_of_user() -> Place:
    """The innermost running line that is not the package's own."""
    frame = sys._getframe(2)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(PACKAGE):
        frame = frame.f_back
    return Place(frame.f_code.co_filename, frame.f_lineno)


@contextmanager
def watched_by(observer: Observer) -> Iterator[None]:
    """Tell this observer what happens."""
    before, mode.observer = mode.observer, observer
    try:
        yield
    finally:
        mode.observer = before


class Freezer(Observer):
    """Makes all that rules are given read-only, as they are to write into nothing."""

    def __init__(self) -> None:
        self.held: dict[int, Array] = {}
        self.op: Any = None

    def passing(self, gradient: Any, result: Any) -> None:
        """Freeze a gradient, and the operands of the op whose rules get it."""
        self.op = result.op
        for x in (gradient, result, *(result.inputs or ())):
            array = x._array if isinstance(x, Tensor) else x
            if isinstance(array, np.ndarray) and array.flags.writeable:
                self.held[id(array)] = array
                array.flags.writeable = False

    def thaw(self) -> None:
        """As it was: a view after the array that it is a view of."""
        for array in sorted(self.held.values(), key=lambda array: array.base is not None):
            array.flags.writeable = True


@contextmanager
def all_read_only(name: str) -> Iterator[None]:
    """Inside, a rule that writes into what it is given is found out: some other way through the graph needs it."""
    freezer = Freezer()
    try:
        with watched_by(freezer):
            yield
    except ValueError as error:
        if "read-only" not in str(error):
            raise
        raise GradientError(
            f"{name}: a rule of {freezer.op} writes into an array that it was given; make a new one: "
            "g * 2 in place of g *= 2"
        ) from error
    finally:
        freezer.thaw()


def graph(outputs: Sequence[Tensor]) -> list[Tensor]:
    """All results on the way to the outputs, the oldest first."""
    found: dict[Tensor, None] = {}
    pending: list[Any] = list(outputs)
    while pending:
        node = pending.pop()
        if isinstance(node, Tensor) and node.op is not None and node not in found:
            found[node] = None
            pending.extend(node.inputs or ())
    return sorted(found, key=lambda node: node._created)
