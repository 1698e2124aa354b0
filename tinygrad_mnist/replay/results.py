"""What a compiled step returns with a graph: it requires gradients, and says so when they are asked of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tinygrad_mnist.op import Op, Rule
from tinygrad_mnist.tensor import Tensor, tick

from .program import Buffer


class _Refused:
    """In place of rules: the graph that the step itself would have made."""

    def __iter__(self) -> Iterator[Rule]:
        raise RuntimeError(
            "backward: this result of a compiled step has no graph; call backward() or grad() inside the step, "
            "or let it return t.detach() if no gradient is to flow"
        )


_COMPILED = Op("compiled", lambda: None, (), {}, 0, "compiled", False, None, None)
_COMPILED.rules = _Refused()  # afterwards, as an op looks through its rules when it is made


class Graphed:
    """In what a step returned: a buffer whose Tensor had a graph, which a replay does not make."""

    def __init__(self, buffer: Buffer) -> None:
        self.buffer = buffer


def has_graph(t: Tensor) -> bool:
    """Whether gradients can flow through a result; not if a backward pass has freed its graph."""
    return t.requires_grad and t.op is not None and t.inputs is not None


def graphed(t: Tensor) -> Tensor:
    """The Tensor, whose gradient is refused: it would be lost."""
    t._requires_grad = True
    t._created = tick()
    t.op, t.inputs, t.params = _COMPILED, (), {}
    return t


def as_replayed(t: Tensor) -> Tensor:
    """What the step itself returned, as a replay returns it."""
    if t.op is None:
        return t
    return graphed(t.detach()) if has_graph(t) else t.detach()


def buffer_of(leaf: Any) -> Buffer | None:
    """The buffer in a place of what a step returned."""
    found = leaf.buffer if isinstance(leaf, Graphed) else leaf
    return found if isinstance(found, Buffer) else None
