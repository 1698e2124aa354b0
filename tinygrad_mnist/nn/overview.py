"""A network as a table: each layer with the shape of its output and the number of its parameters."""

from __future__ import annotations

import html
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np

from tinygrad_mnist.convert import in_one_line
from tinygrad_mnist.mode import no_grad
from tinygrad_mnist.tensor import Tensor

from .module import Module, named

WIDTH = 80  # of a terminal
HEADS = ("layer", "output", "parameters")


class Row(NamedTuple):
    """One module of a network: its name, its repr without what is inside, what it returned, and its own parameters."""

    name: str
    layer: str
    output: str
    parameters: int


class Summary:
    """What `summary` returns: its str and repr are a table of at most 80 columns, and in a notebook one of HTML.

    Attributes:
        rows: one for each module, in the order of their names.
        parameters: the number of all trainable numbers, each counted once.
        frozen: that of the Tensors that are none: frozen parameters and Buffers.
    """

    def __init__(self, rows: list[Row], parameters: int, frozen: int) -> None:
        self.rows, self.parameters, self.frozen = rows, parameters, frozen

    def _cells(self) -> list[tuple[str, str, str]]:
        """The rows as texts; what is inside a module is indented, and named as its attribute."""
        cells, around = [], [""]  # the names of the modules around the row, the outermost first
        for row in self.rows:
            while around[-1] and not row.name.startswith(f"{around[-1]}."):
                around.pop()
            name = row.name.removeprefix(f"{around[-1]}.")
            cells.append(
                (
                    "  " * (len(around) - 1) + (f"{name}: " if name else "") + row.layer,
                    row.output,
                    f"{row.parameters:,}" if row.parameters else "",
                )
            )
            if row.name:
                around.append(row.name)
        return cells

    def _total(self) -> str:
        return f"{self.parameters:,} parameters" + (
            f", {self.frozen:,} numbers that are not trained" * bool(self.frozen)
        )

    def __repr__(self) -> str:
        cells = [HEADS, *self._cells()]
        last, middle = (min(max(len(row[i]) for row in cells), limit) for i, limit in ((2, 12), (1, 24)))
        first = min(max(len(row[0]) for row in cells), WIDTH - 4 - middle - last)
        lines = [
            f"{_cut(layer, first):<{first}}  {_cut(output, middle):<{middle}}  {count:>{last}}".rstrip()
            for layer, output, count in cells
        ]
        return "\n".join([lines[0], "-" * (first + middle + last + 4), *lines[1:], self._total()])

    def _repr_html_(self) -> str:
        def line(tag: str, cells: tuple[str, str, str]) -> str:
            styles = ("text-align: left; white-space: pre", "text-align: left", "text-align: right")
            return "".join(
                f'<{tag} style="{style}">{html.escape(cell)}</{tag}>' for style, cell in zip(styles, cells, strict=True)
            )

        body = "".join(f"<tr>{line('td', cells)}</tr>" for cells in self._cells())
        return f"<table><tr>{line('th', HEADS)}</tr>{body}</table><p>{html.escape(self._total())}</p>"


def summary(model: Module, *inputs: Any) -> Summary:
    """The layers of a model with the shapes of their outputs and the numbers of their parameters.

    The model is called once, in evaluation and without gradients, and is afterwards as it was: no Buffer moves, no
    random number is drawn by a layer of this package. Functions in a Sequential are no Modules, and have no row.

    Args:
        model: a Module.
        *inputs: what it is called with: arrays or Tensors; or a shape, a tuple of whole numbers, for ones in float32.

    Raises:
        TypeError: the model is no Module, or there are no inputs.
        ValueError: a shape has a negative number, or the model cannot be called with the inputs.

    >>> from tinygrad_mnist import nn
    >>> rng = np.random.default_rng(0)
    >>> summary(nn.Sequential(nn.Linear(784, 30, rng=rng), nn.Sigmoid(), nn.Linear(30, 10, rng=rng)), (1, 784))
    layer                      output   parameters
    ----------------------------------------------
    Sequential                 (1, 10)
    layers.0: Linear(784, 30)  (1, 30)      23,550
    layers.1: Sigmoid()        (1, 30)
    layers.2: Linear(30, 10)   (1, 10)         310
    23,860 parameters
    """
    if not isinstance(model, Module):
        raise TypeError(f"summary: expected a Module, got {in_one_line(model)}; pass functions inside of nn.Sequential")
    if not inputs:
        raise TypeError("summary: expected what the model is called with, such as its shape: summary(model, (1, 784))")
    outputs: dict[int, str] = {}
    with _evaluating(model), _noting(outputs), no_grad():
        model(*map(_input, inputs))
    rows: list[Row] = []
    counted: set[int] = set()
    for name, module in named(model, Module):
        own = {id(t): t for _, t in _own(module) if t.requires_grad and id(t) not in counted}
        counted |= own.keys()
        layer = f"{type(module).__name__}({module.extra_repr()})" if not module.children() else type(module).__name__
        rows.append(Row(name, layer, outputs.get(id(module), "not called"), sum(t.size for t in own.values())))
    kept = [t for _, t in named(model, Tensor) if t.op is None]
    trained = sum(t.size for t in kept if t.requires_grad)
    return Summary(rows, trained, sum(t.size for t in kept) - trained)


def _input(given: Any) -> Any:
    """What the model is called with: ones where a shape is given."""
    if not isinstance(given, tuple) or not all(isinstance(n, int | np.integer) for n in given):
        return given
    if any(n < 0 for n in given):
        raise ValueError(
            f"summary: expected a shape of whole numbers of at least 0, got {given}; a batch of any size is 1"
        )
    return np.ones(given, np.float32)


def _own(module: Module) -> Iterator[tuple[str, Tensor]]:
    """The Tensors of a module that are in no module inside it."""
    inside = {id(t) for child in module.children() if child is not module for _, t in named(child, Tensor)}
    return ((name, t) for name, t in named(module, Tensor) if id(t) not in inside and t.op is None)


@contextmanager
def _evaluating(model: Module) -> Iterator[None]:
    """Every module in evaluation, and afterwards as it was."""
    before = [(module, vars(module).get("training")) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in before:
            if training is None:
                del module.training
            else:
                module.training = training


@contextmanager
def _noting(outputs: dict[int, str]) -> Iterator[None]:
    """Note the shape of what each module returns, by its id."""
    call = Module.__call__

    def noted(self: Module, *inputs: Any, **options: Any) -> Any:
        out = call(self, *inputs, **options)
        outputs[id(self)] = _shape(out)
        return out

    Module.__call__ = noted  # type: ignore[method-assign]
    try:
        yield
    finally:
        Module.__call__ = call  # type: ignore[method-assign]


def _shape(out: Any) -> str:
    if isinstance(out, Tensor | np.ndarray):
        return str(out.shape)
    if isinstance(out, list | tuple):
        return ", ".join(map(_shape, out))
    return type(out).__name__


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"
