"""A compiled step: the programs recorded of it, and which of them a call is for."""

from __future__ import annotations

import logging
import threading
import types
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from tinygrad_mnist.convert import in_one_line
from tinygrad_mnist.display import Text
from tinygrad_mnist.mode import mode
from tinygrad_mnist.tensor import Array
from tinygrad_mnist.threads import hold_for

from .binding import MISS
from .call import Call
from .many import Rows, costs
from .numpy_text import comment
from .recording import Recorder
from .variant import Variant

_MOST = 64
"""How many variants of a step are kept."""

_MOST_IN_VAIN = 16
"""How often in a row it may be recorded in vain."""

_MOST_DROPPED = 100
"""How many make room for others, before the step runs eagerly."""

_MOST_DIFFERENCES = 3
"""How many audits may find a difference, before the step runs eagerly."""

_log = logging.getLogger("tinygrad_mnist")


BACKENDS = ("numpy", "c", "eager")
"""What a step can be compiled to."""


def compile(step: Callable[..., Any] | None = None, *, audit: int = 1000, backend: str = "numpy") -> Any:
    """Make a function that does what the step does, sooner: it records the first call and replays it from then on.

    The step is any function of arrays or Tensors that returns Tensors or nothing, arguments and results also in tuples,
    lists and dicts; arrays reach it as Tensors. Typically it is a whole training step: forward, `zero_grad`, `backward`
    and the optimizer's `step`. The same bits come out as from the step itself, given the same number of BLAS threads.

    What holds: **a step is a function of its array arguments and of the state it trains: Tensors, optimizers, random
    generators, and Modules. Everything else that it reads is taken to be as it was when it was recorded, and what it
    does besides (printing, appending, counting) happens only when the step itself runs.** At the 2nd, 4th, 8th,
    16th, ... call of each program and at every 1,000th the step itself runs beside the replay and is compared: where it
    differs, a warning tells what differs and since which call, the step's own result is kept, and it is recorded anew.

    - Looked at in every call: shapes, dtypes and strides of the arguments, and which of them are one object; the
      parameters and their `requires_grad`; an optimizer's groups, members and options; attributes of Modules that the
      step reads, with their lists and dicts; the rows of the table; `no_grad()`. What is new is recorded as another
      program. Learning rates and other options that ops take are read at each call, and are nothing new.
    - States of optimizers are written in place: whoever keeps one copies it, as `state_dict` does.
    - From the first call until the compiled step is forgotten NumPy's BLAS computes in one thread, unless another
      number is asked for (`threads.py` tells how, and why).
    - The results have no graph, and memory of their own: what is differentiated is so inside the step. A result whose
      graph the step leaves alive, as the outputs of a network, requires gradients, and a backward pass that comes to it
      raises an error, under `no_grad()` it does not. Afterwards `.grad` is None.
    - Random numbers are new at each call if an op draws them, from a generator that is one of its parameters or that
      its forward function refers to by name.
    - A step that reads values (`.item()`, `bool(t)`, `.data`, NumPy's functions of the values), draws random numbers by
      itself, leaves gradients behind or lets them add up, or sets attributes, options or `requires_grad` (a schedule's
      step does) runs eagerly, as if it were not compiled. That is logged once, as a warning of the logger
      `tinygrad_mnist`. If it does so now and then, it is an audit that finds it.

    Args:
        step: the step. Left out: `@compile(audit=100)` decorates.
        audit: between audits there are at most so many calls of a program; 1: all are audited.
        backend: "numpy", the same bits as the step's own; "c", which needs a C compiler and agrees with them within
            rounding (all that is kept, of recordings and audits too, is the program's, so that a run that is stopped
            and resumed has the bits of one that is not; np.errstate does not act inside C); "eager": the step itself.
            Without a compiler "c" is "numpy", which is logged.

    >>> from tinygrad_mnist import Tensor
    >>> from tinygrad_mnist.optim import SGD
    >>> w = Tensor([1.0, 2.0], requires_grad=True)
    >>> optimizer = SGD([w], lr=0.25)
    >>> @compile
    ... def step(x):
    ...     cost = ((w - x) ** 2).sum()
    ...     optimizer.zero_grad()
    ...     cost.backward()
    ...     optimizer.step()
    ...     return cost
    >>> [step(np.zeros(2, np.float32)).item() for _ in range(4)]
    [5.0, 1.25, 0.3125, 0.078125]
    >>> step.calls, step.replays, step.audits
    (4, 1, 2)
    """
    if step is None:
        return lambda step: Compiled(step, audit, backend)
    return Compiled(step, audit, backend)


class Compiled:
    """A step and what is recorded of it; made by `compile`.

    Attributes:
        step: the function itself.
        lock: held while a program or an audit runs: one thread at a time. Who reads parameters meanwhile takes it.
        audits: how many calls have been audited.
    """

    def __init__(self, step: Callable[..., Any], audit: int = 1000, backend: str = "numpy") -> None:
        if not callable(step):
            raise TypeError(f"compile: expected a function of arrays or Tensors, got {in_one_line(step)}")
        if backend not in BACKENDS:
            raise ValueError(f"compile: expected a backend of {', '.join(BACKENDS)}, got {in_one_line(backend)}")
        if not isinstance(audit, int | np.integer) or isinstance(audit, bool) or audit < 1:
            raise ValueError(f"compile: expected a whole number audit >= 1, of calls, got {in_one_line(audit)}")
        self.step, self.audit, self.backend = step, int(audit), backend
        self.lock = threading.RLock()
        self.audits = 0
        self.at_once = 2  # how many steps one call of C takes; see many.py
        self.__doc__ = step.__doc__
        self.__name__ = self.__qualname__ = getattr(step, "__name__", type(step).__name__)
        self.counts = [0, 0]  # of the calls; and of those that ran the step itself
        self._variants: list[Variant] = []
        self._last: Callable[..., Any] = _nothing
        self._dropped = self._in_vain = self._differences = self._unsettled = 0
        self._eager = "was asked to" if backend == "eager" else ""
        self._why = ""
        self._told: set[str] = set()
        self._held = False

    @property
    def calls(self) -> int:
        """How many calls there were, but for those that have raised."""
        return self.counts[0]

    @property
    def replays(self) -> int:
        """In how many of them a program ran in place of the step."""
        return self.counts[0] - self.counts[1]

    @property
    def source(self) -> Text:
        """The programs as Python text, one after the other; or why there is none. A notebook shows it in lines."""
        note = f"runs eagerly, as it {self._eager}" if self._eager else "no program yet; the first call is recorded"
        programs = "\n\n".join(v.source for v in self._variants)
        return Text(programs or comment(f"{self.__name__}: {note}") + "\n")

    def audit_next(self) -> None:
        """Let the next call be audited, as the last of a training."""
        with self.lock:
            for variant in self._variants:
                variant.due[1] = 0

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """What the step returns for these arguments."""
        if not kwargs:
            result = self._last(*args)
            if result is not MISS:
                return result
        call = Call(self.step, args, kwargs)
        if mode.observer is not None or self._eager:  # inside another step that is recorded or audited, for one
            return self.run(call)
        with self.lock:
            variant = self.variant_for(call)
            result = self._record(call) if variant is None else variant.call(call)
            binding = variant.binding if variant in self._variants and call.is_flat else None
            self._last = _nothing if binding is None else binding.replay
        return result

    def epoch(self, *parts: tuple[Array, Array], batch_size: int) -> Iterator[Array]:
        """Take many steps, each with the next rows of arrays; the costs that they return come in pieces.

        The same bits as `step(*(array[rows[i : i + batch_size]] for array, rows in parts))` for i = 0, batch_size, ...
        In C, where all of a step has a C form, rows are gathered and many steps are taken in one call, for at most
        0.05 s, so that Ctrl-C is answered; else each is a call. It ends after a cost that is not finite.

        Args:
            parts: for each argument of the step a pair: an array, and which rows of it, in order.
            batch_size: how many rows each step gets; the last may get fewer.

        >>> from tinygrad_mnist import Tensor, optim
        >>> w = Tensor([0.0, 0.0], requires_grad=True)
        >>> optimizer = optim.SGD([w], lr=0.5)
        >>> @compile
        ... def step(x):
        ...     cost = ((w - x) ** 2).sum()
        ...     optimizer.zero_grad()
        ...     cost.backward()
        ...     optimizer.step()
        ...     return cost
        >>> np.concatenate(list(step.epoch((np.eye(2, dtype=np.float32), [0, 1, 1]), batch_size=1)))
        array([1., 2., 0.], dtype=float32)
        """
        return costs(self, Rows(parts, batch_size))

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        """The step as a method."""
        return self if instance is None else types.MethodType(self, instance)

    def __repr__(self) -> str:
        return f"compile({self.__name__})"

    def __reduce__(self) -> tuple[Any, ...]:
        return Compiled, (self.step, self.audit, self.backend)  # copies record anew

    def run(self, call: Call) -> Any:
        """Run the step itself, as ever."""
        result, _ = call.run(self.step, call.tensors())
        self.ran()
        return result

    def ran(self) -> None:
        """A call has run the step itself."""
        self.counts[0] += 1
        self.counts[1] += 1

    def variant_for(self, call: Call) -> Variant | None:
        """What is recorded for a call; None if nothing is."""
        found = next((variant for variant in self._variants if variant.is_for(call)), None)
        if found is not None:
            self._variants.append(self._variants.pop(self._variants.index(found)))  # the last used is last
        return found

    def _record(self, call: Call) -> Any:
        if not self._held:  # before the first result, so that all have the bits of one BLAS thread
            self._held = True
            hold_for(self)
        if self._in_vain >= _MOST_IN_VAIN or self._dropped >= _MOST_DROPPED:
            new = "is called with ever other arguments or settings; pass numbers that change as arrays"
            self._stop(f"is recorded in vain, as it {self._why}" if self._in_vain >= _MOST_IN_VAIN else new)
            return self.run(call)
        tensors = call.tensors()
        recorder = Recorder(self.step, call.named(self.step), tensors, keep=self.backend == "c")
        result, changed = recorder.run(lambda: call.run(self.step, tensors))
        if changed:
            recorder.stop("changes a list or a dict that is its argument; return what is new")
        result, tree = recorder.finish(result)
        self.ran()
        self._in_vain, self._why = self._in_vain + 1 if recorder.once else 0, recorder.failed
        if not recorder.once:
            if len(self._variants) >= _MOST:
                del self._variants[0]
                self._dropped += 1
            self._variants.append(Variant(self, call, recorder, tree))
            result = self._variants[-1].of_the_program(call, result)
        if recorder.failed and not recorder.once:
            self._say(recorder.failed)
        return result

    def differs(self, variant: Variant, what: str, since: int) -> None:
        """An audit has found a difference since a call of the step."""
        if variant.due[0] == 2:  # right after it was recorded, so nothing was wrong
            self._unsettled += 1
            if self._unsettled > 1:
                variant.give_up(f"does not do the same twice ({what}); pass what changes as an argument")
                self._say(variant.eager)
            else:
                self._variants.remove(variant)
            return
        self._variants.remove(variant)
        self._differences += 1
        _log.warning(
            "compile: at call %d of %s %s; since call %d results may be wrong. The step's own are kept, and it is "
            "recorded anew; pass what changes as an array",
            *(self.calls, self.__name__, what, since),
        )
        if self._differences >= _MOST_DIFFERENCES:
            self._stop(f"has differed in {_MOST_DIFFERENCES} audits, at last as {what}")

    def agrees(self, rounding: str) -> None:
        """An audit has found nothing, or nothing but rounding in what is named."""
        self._unsettled = 0
        if rounding and self.backend != "c":
            self._tell(f"{self.__name__} agrees with its replay, not bit for bit ({rounding})", "rounding")

    def lacks_c(self, reason: str) -> None:
        """A program could not be compiled to C."""
        self._tell(f"{self.__name__} uses NumPy in place of C: {reason}", "c")

    def _stop(self, reason: str) -> None:
        """Run the step itself from now on."""
        self._eager = reason
        self._variants.clear()
        self._say(reason)

    def _say(self, reason: str) -> None:
        self._tell(f"{self.__name__} runs eagerly, as it {reason}", "eager")

    def _tell(self, text: str, kind: str) -> None:
        """Log something of a kind, once."""
        if kind not in self._told:
            self._told.add(kind)
            _log.warning("compile: %s", text)


def _nothing(*args: Any) -> Any:
    return MISS
