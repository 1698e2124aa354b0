"""Watching f compute: which line of the user's made each result, and by which lines values leave the graph."""

from __future__ import annotations

import linecache
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from tinygrad_mnist.files import PACKAGE
from tinygrad_mnist.mode import Observer, mode
from tinygrad_mnist.tensor import Tensor


class Lines(Observer):
    """An observer that notes lines of the user's code.

    Attributes:
        made: for every result the line that called its op.
        leaving: the lines that take the values of a Tensor that requires gradients out of the graph.
    """

    def __init__(self) -> None:
        self.made: dict[Tensor, str] = {}
        self.leaving: dict[str, None] = {}

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


def _line_of_user() -> str:
    """The innermost running line that is not the package's own: its file, its number, and what stands there."""
    frame = sys._getframe(2)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(PACKAGE):
        frame = frame.f_back
    file = frame.f_code.co_filename
    code = linecache.getline(file, frame.f_lineno).strip()[:80]
    name = "cell" if "ipykernel" in file or file.startswith("<ipython") else os.path.basename(file)
    return f"{name}:{frame.f_lineno}" + f": {code}" * bool(code)


@contextmanager
def watched_by(observer: Observer) -> Iterator[None]:
    """Tell this observer what happens."""
    before, mode.observer = mode.observer, observer
    try:
        yield
    finally:
        mode.observer = before


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
