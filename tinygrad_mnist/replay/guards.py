"""What must be as it was when a program was recorded, for a replay to be what the step would do."""

from __future__ import annotations

from typing import Any

from tinygrad_mnist.mode import version
from tinygrad_mnist.op import OPS
from tinygrad_mnist.tensor import Tensor

from .formula import Slot
from .program import Buffer, Number, layout
from .recording import Recorder
from .trees import items, same, same_items


class Guards:
    """Parameters, optimizers, Modules and rows of the table, as they were.

    Most of that is compared only when `mode.version` has moved. (`binding.py` tests the rest at every call: arrays, and
    what is in the lists and dicts of Modules, which tell nobody that they are changed.)

    Attributes:
        seen: the version at which all was last found to be so.
    """

    def __init__(self, recorder: Recorder) -> None:
        self.sources = [b for b in recorder.sources if isinstance(b.source, Tensor | Slot)]
        self.states, self.reads = recorder.states, recorder.reads
        self.options = list(recorder.guards)
        self.groups = [(o, o._groups, [group["params"] for group in o._groups]) for o in recorder.optimizers]
        self.attributes = [(o, items(_attributes(o))) for o in recorder.optimizers]
        self.ops = list(recorder.ops)
        read = [group for optimizer in recorder.looked_at for group in optimizer._groups]
        self.dicts = [(d, items(d)) for d in (*map(vars, self.ops), *read)]
        self.seen = [version[0]]

    def hold(self) -> bool:
        """Whether all that is compared when the version has moved is as it was."""
        now = version[0]
        if now != self.seen[0] and not self._compare():
            return False
        self.seen[0] = now
        return True

    def fit(self) -> bool:
        """Whether what tells nobody of changes is as it was, and arrays are laid out so that the program fits them."""
        return (
            all(_fits(array_of(b), b) for b in self.sources)
            and all(len(optimizer.state.get(p, ())) == count for optimizer, p, count in self.states)
            and all(same_items(container, were) for container, were in self.reads.containers.values())
        )

    def _compare(self) -> bool:
        return (
            all(b.source._requires_grad == b.tracked for b in self.sources if isinstance(b.source, Tensor))
            and all(o._groups is groups for o, groups, _ in self.groups)
            and all(same_items(g["params"], p) for _, gs, ps in self.groups for g, p in zip(gs, ps, strict=True))
            and all(same_items(_attributes(o), were) for o, were in self.attributes)
            and all(_same_option(number, truth) for number, truth in self.options)
            and all(same_items(d, were) for d, were in self.dicts)
            and all(OPS.get(op.name) is op for op in self.ops)
            and not self.reads.moved()
        )


def array_of(b: Buffer) -> Any:
    """The array that is now in the place of a buffer outside the step."""
    source = b.source
    return source._array if isinstance(source, Tensor) else source.array if isinstance(source, Slot) else source


def _fits(array: Any, b: Buffer) -> bool:
    return array is not None and layout(array) == b.layout


def _attributes(optimizer: Any) -> dict[str, Any]:
    return {**vars(optimizer), "state": None}  # which is looked at more closely


def _same_option(number: Number, truth: bool) -> bool:
    now = number.now
    return bool(now) == bool(number.value) if truth else same(now, number.value)
