"""The audit: a replay beside the step itself, from the same state; the step's own results and state are what stays.

A program in C has other bits than the step, so it is the same program in NumPy that is compared; what C gave stays.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tinygrad_mnist.mode import Observer, mode
from tinygrad_mnist.tensor import Array, Tensor

from .binding import MISS, Binding
from .chance import drawn_from, go_back, state
from .formula import Slot
from .guards import array_of
from .program import Buffer, identical, layout
from .recording import Recorder
from .trees import leaves, taken_apart


class Audit:
    """One call of a step: it is replayed, everything is put back, and the step itself is run.

    Args:
        binding: the program in NumPy, with arrays.
        kept: replays it in C, if that is what stays where the step agrees with the program.

    Attributes:
        difference: what the step gave otherwise than the replay, in words; empty if nothing.
        rounding: what differed no more than rounding does.
    """

    def __init__(self, binding: Binding, kept: Callable[[], Any] | None = None) -> None:
        self.recorder, self.kept = binding.recorder, kept
        self.difference = self.rounding = ""
        self.written = binding.written()
        self.sources = drawn_from(self.recorder.instructions)
        self.replayed: Any = MISS
        self.before: dict[Buffer, Array] = {}
        self.after: dict[Buffer, Array] = {}
        self.drawn: list[str] = []

    def run(self, replay: Callable[[], Any], step: Callable[[], Any]) -> Any:
        """What the step returns, or raises; it is run once, from the state that was there before."""
        failure, stays, after = None, MISS, {}
        if self.kept is not None:
            failure = self._replay(self.kept)
            stays, after = self.replayed, self.after
        failure = failure or self._replay(replay)
        gradients = [(b.source, b.source._grad) for b in self.recorder.sources if isinstance(b.source, Tensor)]
        settings = mode.observer = _Settings(self.recorder)  # for which compiled steps inside run their own step, too
        try:
            result = step()
        finally:
            mode.observer = None
        if failure is not None:
            self._differs(f"the replay raised {type(failure).__name__}, and the step did not")
        elif self.replayed is not MISS:
            self._compare(result)
        if any(t._grad is not was and t not in self.recorder.emptied for t, was in gradients):
            self._differs("a gradient is left behind")
        if what := settings.what or self.recorder.reads.moved():
            self._differs(f"it {what}" if settings.what else f"it changes {what}")
        self._adopt()
        if stays is MISS or self.replayed is MISS or self.difference:
            return result
        for b, array in after.items():
            self.written[b][...] = array
        return stays

    def _replay(self, replay: Callable[[], Any]) -> Exception | None:
        """Note what a replay gives and leaves of the state, which is then as it was, whatever happens."""
        gradients = [(t, t._grad) for t in self.recorder.emptied]
        chance = list(map(state, self.sources))
        try:
            for b, array in self.written.items():
                self.before[b] = array.copy(order="K")
            self.replayed = replay()
            self.after = {b: array.copy(order="K") for b, array in self.written.items()}
            self.drawn = [str(state(bits)) for bits in self.sources]
        except MemoryError:
            self.replayed = MISS  # then this call is the step's alone
        except Exception as error:
            self.replayed = MISS
            return error
        finally:
            for b, array in self.before.items():
                self.written[b][...] = array
            for bits, was in zip(self.sources, chance, strict=True):
                go_back(bits, was)
            for t, gradient in gradients:
                t._grad = gradient
        return None

    def _compare(self, result: Any) -> None:
        if _skeleton(result) != _skeleton(self.replayed):
            self._differs("the result is made up in another way")
            return
        for was, now in zip(leaves(self.replayed), leaves(result), strict=True):
            if isinstance(now, Tensor) and now is not was:
                self._match("the result", was._array, now._array, None)
        for b, was in self.after.items():
            self._match(b.name or "the state", was, array_of(b), self.before[b])
        if any(len(optimizer.state[p]) != count for optimizer, p, count in self.recorder.states):
            self._differs("the optimizer keeps something else")
        if [str(state(bits)) for bits in self.sources] != self.drawn:
            self._differs("other random numbers are drawn")

    def _match(self, name: str, was: Array, now: Array | None, before: Array | None) -> None:
        """Compare an array with what the replay made of it; of what is kept, by how much it has changed."""
        if now is None or layout(now)[:2] != layout(was)[:2]:
            self._differs(f"{name} is another")
        elif not identical(np.ascontiguousarray(was), np.ascontiguousarray(now)):
            gap = _gap(was, now, before)
            if gap > 1:
                self._differs(f"{name} is {_shown(now, was)}, and was to be {_shown(was, now)}")
            elif gap > 0:
                self.rounding = name

    def _differs(self, what: str) -> None:
        self.difference = self.difference or what

    def _adopt(self) -> None:
        """Let the program's own arrays hold what the step has put in their places."""
        arrays = {b: array_of(b) for b in self.written if isinstance(b.source, Slot)}
        moved = {b: x.copy(order="K") for b, x in arrays.items() if x is not None and x is not self.written[b]}
        for b, now in moved.items():  # copies, as a formula may have made two arrays change places
            if layout(now) == layout(own := self.written[b]):
                own[...] = now
                dict.__setitem__(b.source.optimizer.state[b.source.key], b.source.name, own)
        for t in self.recorder.emptied:
            t._grad = None


class _Settings(Observer):
    """Sees whether a step sets what its program depends on, as one does now and then that counts its calls.

    Args:
        recorder: of the program. What the step has made itself, and what it did not come to then, is nothing to it.

    Attributes:
        what: the first that is set, in words. (Attributes of Modules are compared afterwards.)
    """

    def __init__(self, recorder: Recorder) -> None:
        optimizers = {**recorder.optimizers, **recorder.looked_at}
        groups = (group for optimizer in optimizers for group in optimizer._groups)
        sources = (b.source for b in recorder.sources if isinstance(b.source, Tensor))
        self.known = set(map(id, (*optimizers, *groups, *sources, *recorder.ops)))
        self.what = ""

    def changing(self, what: str, owner: Any) -> None:
        """Something is set."""
        if id(owner) in self.known:
            self.what = self.what or what


def _skeleton(value: Any) -> Any:
    """How a result is made up, with all that is no Tensor."""
    if apart := taken_apart(value):
        return type(value), apart[0], tuple(map(_skeleton, apart[1]))
    return Tensor if isinstance(value, Tensor) else (type(value), repr(value))


def _gap(was: Array, now: Array, before: Array | None) -> float:
    """How far two arrays lie apart, in what another BLAS can do in a program; 0 if they are equal, NaN being NaN.

    That is 2 units in the last place of the largest number, and 100 of the largest change; or of a result.
    """
    if now.dtype.kind != "f":
        return 0 if np.array_equal(was, now) else np.inf
    equal = (was == now) | (np.isnan(was) & np.isnan(now))
    with np.errstate(all="ignore"):
        apart = np.where(equal, 0, np.abs(was - now)).max(initial=0)
        if apart == 0:  # but for zeros of another sign
            signs = np.signbit(was) != np.signbit(now)
            return np.inf if signs[~np.isnan(now)].any() else 0
        size = np.abs(now).max()
        change = size if before is None else np.abs(now - before).max()
        gap = float(apart / (np.finfo(now.dtype).eps * (2 * size + 100 * change)))
    return gap if np.isfinite(gap) else np.inf


def _shown(x: Array, other: Array) -> str:
    """The first number that is not the same in another array."""
    signs = np.signbit(x) != np.signbit(other) if x.dtype.kind == "f" else False
    place = np.flatnonzero(((x != other) | signs).ravel())[0]
    return f"{x.ravel()[place]:.6g}" if x.dtype.kind == "f" else str(x.ravel()[place])
