"""A variant of a step: the program for calls of one kind, while nothing that the step is a function of changes."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_mnist import native
from tinygrad_mnist.tensor import Tensor

from .audit import Audit
from .binding import MISS, Binding, adding
from .c_text import CText
from .call import Call
from .chance import drawn_from, go_back, state
from .guards import Guards
from .numpy_text import NumPyText, comment, writes
from .program import Program, improve
from .recording import Recorder
from .results import as_replayed
from .trees import mapped

Compiled = Any
"""`compiled.Compiled`, which imports this module."""


class Variant:
    """The program of a step for calls of one kind, replayed and audited.

    Args:
        compiled: whose it is.
        call: the one that was recorded.
        recorder: of the recording.
        tree: what the step returned, with buffers for its Tensors.

    Attributes:
        eager: why there is no program; empty if there is one.
        source: the program as text.
        due: how many calls there were, and after how many the next is audited.
    """

    def __init__(self, compiled: Compiled, call: Call, recorder: Recorder, tree: Any) -> None:
        self.compiled = compiled
        self.key, self.kinds = call.key, call.kinds
        known = zip(call.parts, call.kinds, strict=True)
        self.constants = [None if kind.layout or isinstance(x, Tensor) else x for x, kind in known]
        self.due = [1, 1]
        self.right = compiled.calls  # up to this call of the step all is known to be right
        self.binding: Binding | None = None
        self.audited: Binding | None = None  # the same program in NumPy
        self.eager = recorder.failed
        if self.eager:
            return
        self.recorder, self.tree = recorder, tree
        self.pinned = {i: x for i, x in enumerate(call.parts) if any(x is t for t in recorder.pinned)}
        self.guards = Guards(recorder)
        program = recorder.program(tree)
        improve(program, writes, join=compiled.backend != "c")
        shown = ", ".join(f"{b.name} {b.dtype} {b.shape}" for b in program.arguments)
        title = f"{compiled.__name__}({shown})"
        self.in_numpy = NumPyText(program, title)  # first, as it names what both refer to
        self.text = self._in_c(program, title) if compiled.backend == "c" else self.in_numpy
        outputs = (i.output for i in (*recorder.instructions, *program.instructions))
        for b in (*program.arguments, *recorder.sources, *outputs):
            b.value = np.empty(0)  # the recording's arrays can go
        self.former = dict(recorder.former)
        recorder.forget()

    def _in_c(self, program: Program, title: str) -> NumPyText:
        """The program in C, if it can be compiled."""
        try:
            text = CText(program, title)
            native.load(text.c)
        except native.NativeError as error:
            self.compiled.lacks_c(str(error))
            return self.in_numpy
        return text

    def _bound(self, text: NumPyText) -> Binding:
        return Binding(self, text, self.compiled.lock, self.compiled.counts)

    def of_the_program(self, call: Call, result: Any) -> Any:
        """What the program returns and leaves for the call that was recorded, in place of what the step did.

        So all that is kept has its bits, and a training that is stopped and resumed, where it is recorded anew, has
        the bits of one that is not. The step's own stay if it drew from generators that nobody knew before.
        """
        if self.eager or not self.text.keeps_its_own:
            return result
        chance = [(bits, state(bits)) for bits in drawn_from(self.recorder.instructions)]
        known = self.recorder.draws.states
        if any(id(bits) not in known for bits, _ in chance):
            return result
        self.binding = self._bound(self.text)
        written, counts = self.binding.written(), list(self.compiled.counts)
        now = {b: array.copy(order="K") for b, array in written.items()}
        self.due[1] += 1
        replayed: Any = MISS
        try:
            for b, array in written.items():
                array[...] = self.former[b]
            for bits, _ in chance:
                go_back(bits, known[id(bits)][1])
            replayed = self.replay(*call.parts)
        finally:
            self.due[:] = 1, 1
            self.compiled.counts[:] = counts
            if replayed is MISS:
                for b, array in written.items():
                    array[...] = now[b]
                for bits, was in chance:
                    go_back(bits, was)
            self.former.clear()
        return result if replayed is MISS else replayed

    @property
    def source(self) -> str:
        """The program as text, or why there is none."""
        if self.eager:
            return comment(f"{self.compiled.__name__}: runs eagerly, as it {self.eager}") + "\n"
        return self.text.source

    def give_up(self, reason: str) -> None:
        """Run the step itself from now on."""
        self.eager, self.binding, self.audited = reason, None, None

    def is_for(self, call: Call) -> bool:
        """Whether a call is of this kind, and all that its program depends on is as it was."""
        if self.eager or self.key != call.key:
            return self.key == call.key
        return all(call.parts[i] is x for i, x in self.pinned.items()) and self.guards.fit() and self.guards.hold()

    def replay(self, *args: Any) -> Any:
        """What a replay returns; `MISS` if something is not as it was."""
        return self.binding.replay(*args) if self.binding is not None else MISS

    def call(self, call: Call) -> Any:
        """Replay, or audit, or run the step itself."""
        if self.eager:
            return self.compiled.run(call)
        if any(p._grad is not None for p in adding(self.recorder)):
            return self._detached(self.compiled.run(call))
        if self.binding is None or not self.binding.is_current():
            self.binding = self._bound(self.text)
        if self.due[0] >= self.due[1]:
            return self._audit(call)
        result = self.replay(*call.parts)
        return self._detached(self.compiled.run(call)) if result is MISS else result

    def _audit(self, call: Call) -> Any:
        compiled = self.compiled
        calls, number = compiled.calls, self.due[0] + 1
        if self.text is self.in_numpy:
            self.audited = self.binding
        elif self.audited is None or not self.audited.is_current():
            self.audited = self._bound(self.in_numpy)

        def replay(binding: Binding | None) -> Any:
            assert binding is not None
            self.due[:] = number - 1, number  # so that it replays now
            try:
                return binding.replay(*call.parts)
            finally:
                compiled.counts[0] = calls  # this call is the step's

        kept = (lambda: replay(self.binding)) if self.text.keeps_its_own else None
        assert self.audited is not None
        audit = Audit(self.audited, kept)
        try:
            result = audit.run(lambda: replay(self.audited), lambda: call.run(compiled.step, call.tensors())[0])
        finally:
            self.due[:] = number, _next_audit(number, compiled.audit) - 1
        compiled.ran()
        compiled.audits += 1
        if audit.difference:
            compiled.differs(self, audit.difference, self.right + 1)
        else:
            self.right = compiled.calls
            compiled.agrees(audit.rounding)
        return self._detached(result)

    def _detached(self, result: Any) -> Any:
        """What the step itself returned, as a replay leaves it: without a graph, and no gradients behind."""
        for t in self.recorder.emptied:
            t._grad = None
        return mapped(result, Tensor, as_replayed)


def _next_audit(number: int, most: int) -> int:
    """The number of the next call to be audited: a power of two, or a multiple."""
    return min(1 << number.bit_length(), (number // most + 1) * most)
