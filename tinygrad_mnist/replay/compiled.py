"""A compiled step: the programs recorded of it, and which of them a call is for."""

from __future__ import annotations

import inspect
import logging
import threading
import types
from collections.abc import Callable
from typing import Any

import numpy as np

from tinygrad_mnist.mode import mode
from tinygrad_mnist.tensor import Tensor, leaf

from .agreement import DiffersError, agree
from .binding import MISS, bind
from .comparing import mapped
from .formula import Slot
from .grouping import Ungrouped, form, is_group, leaves
from .numpy_text import NumPyText, writes
from .program import Buffer, Program, improve, layout
from .recording import Recorder
from .watching import Kind, Watcher, Wrapped

_MOST = 16  # variants of a step that are kept
_MOST_DROPPED = 160  # for others; then those kept stay, and the others run eagerly
_log = logging.getLogger("tinygrad_mnist")


def compile(step: Callable[..., Any]) -> Compiled:
    """Make a function that does what the step does, sooner: it records the first calls and replays them from then on.

    The step is any function of arrays or Tensors that returns Tensors or nothing, arguments and results also in tuples,
    lists and dicts; arrays reach it as Tensors. Typically it is a whole training step: forward, `zero_grad`, `backward`
    and the optimizer's `step`. The same bits come out as from the step itself, given the same number of BLAS threads.

    - Arguments of other shapes, dtypes or strides (the last, smaller batch) are recorded as programs of their own, and
      so is any change of what the step refers to by name: closures, globals, default arguments, objects as arguments,
      and their attributes and elements. (Installed packages and Python's own are taken not to change.)
    - Parameters, optimizer options (`lr`) and states are read at each call. So schedules work, and so does
      `load_state_dict`. States are written in place: whoever keeps one copies it, as `state_dict` does.
    - The results are outside any graph, and theirs is memory of their own. Afterwards `.grad` is None.
    - Random numbers are new at each call if an op draws them (from a `Generator` that is one of its parameters).
    - A step that reads values (`.item()`, `bool(t)`, `.data`, NumPy's functions of the values), draws random numbers
      by itself, leaves gradients behind or lets them add up, sets an optimizer's option, or refers to what cannot be
      watched (an iterator) runs eagerly, as if it were not compiled. That is logged once, as a warning of the logger
      `tinygrad_mnist`.
    - What else a step does besides ops (printing, counting, setting an attribute) it does only while it is recorded;
      and what it computes in NumPy or C of arrays that are no arguments, a number or an array, is a constant.
    - One thread at a time: others wait.

    Raises:
        RuntimeError: the first two calls do not agree, because the step makes an array or a number anew each time. What
            changes has to be an argument.

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
    """
    return Compiled(step)


class Compiled(Wrapped):
    """A step and the programs recorded of it; made by `compile`.

    Attributes:
        step: the function itself.
    """

    def __init__(self, step: Callable[..., Any]) -> None:
        if not callable(step):
            raise TypeError(f"compile: expected a function of arrays or Tensors, got {step!r:.60}")
        self.step = step
        self.__doc__ = step.__doc__
        self.__name__ = self.__qualname__ = getattr(step, "__name__", type(step).__name__)
        self._variants: list[_Variant] = []
        self._ungrouped: dict[Any, Compiled] = {}  # for arguments that hold arrays
        self._lock = threading.RLock()
        self._last: Callable[..., Any] = _no_program
        self._said = False
        self._dropped = 0  # variants that made room for others

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """What the step returns for these arguments."""
        if not kwargs:
            result = self._last(*args)
            if result is not MISS:
                return result
        return self._other(args, kwargs)

    @property
    def source(self) -> str:
        """The programs as Python text, one after the other; or why there is none."""
        texts = [
            v.text.source if v.text else f"# {self.__name__}: runs eagerly, as it {v.eager}\n"
            for v in self._variants
            if v.text or v.eager
        ]
        texts += [ungrouped.source for ungrouped in self._ungrouped.values()]
        return "\n\n".join(texts) or f"# {self.__name__}: no program yet; a step is recorded in its first two calls\n"

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        """The step as a method."""
        return self if instance is None else types.MethodType(self, instance)

    def __repr__(self) -> str:
        return f"compile({self.__name__})"

    def __reduce__(self) -> tuple[Any, ...]:
        return compile, (self.step,)  # copies record anew

    def _other(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """A call that the last program is not for."""
        if kwargs:
            bound = inspect.signature(self.step).bind(*args, **kwargs)
            args, kwargs = bound.args, bound.kwargs
        if kwargs:
            self._say("is called with keyword-only arguments; give them places")
            return self.step(*map(_as_tensor, args), **{key: _as_tensor(x) for key, x in kwargs.items()})
        if any(map(is_group, args)):
            return self._grouped(args)
        args = tuple(map(_plain_array, args))
        if mode.observer is not None:
            return self.step(*map(_as_tensor, args))
        result = self._last(*args)
        if result is not MISS:
            return result
        with self._lock:
            variant = self._variant(args)
            if variant is None:
                return self.step(*map(_as_tensor, args))
            try:
                return variant.call(args)
            finally:
                if variant.temporary:
                    self._variants.remove(variant)

    def _grouped(self, args: tuple[Any, ...]) -> Any:
        """A call with groups of arrays: for each form of groups there is a step of what they hold."""
        forms = tuple(form(x) if is_group(x) else None for x in args)
        with self._lock:
            step = self._ungrouped.pop(forms, None)
            if step is None:
                step = Compiled(Ungrouped(self.step, forms, _argument_names(self.step, len(args))))
                step._lock = self._lock
            self._ungrouped[forms] = step  # the last used is last
            if len(self._ungrouped) > _MOST:
                del self._ungrouped[next(iter(self._ungrouped))]
        return step(*(part for x, of in zip(args, forms, strict=True) for part in leaves(x, of)))

    def _variant(self, args: tuple[Any, ...]) -> _Variant | None:
        """The variant that a call is of, perhaps a new one; None if there are too many."""
        found = next((variant for variant in self._variants if not variant.changed(args)), None)
        if found is not None:
            self._variants.append(self._variants.pop(self._variants.index(found)))  # the last used is last
            return found
        if len(self._variants) >= _MOST:
            if self._dropped >= _MOST_DROPPED or not any(v.text for v in self._variants):
                self._say(f"refers to something that changes at every call ({self._variants[-1].changed(args)})")
                return None
            del self._variants[0]
            self._dropped += 1
        self._variants.append(_Variant(self, args))
        return self._variants[-1]

    def _say(self, reason: str) -> None:
        if not self._said:
            self._said = True
            _log.warning("compile: %s runs eagerly, as it %s", self.__name__, reason)


def _no_program(*args: Any) -> Any:
    return MISS


def _plain_array(x: Any) -> Any:
    """An array of a subclass, as a slice of a np.memmap, as an array."""
    subclass = isinstance(x, np.ndarray) and type(x) is not np.ndarray and not isinstance(x, np.ma.MaskedArray)
    return np.asarray(x) if subclass else x


def _as_tensor(x: Any) -> Any:
    return leaf(x) if type(x) is np.ndarray else x


# ----------------------------------------------------------------------------------------------------------------------
# Variants of a step


class _Variant:
    """The step for arguments of one kind, while nothing that it refers to changes: first recorded, then replayed."""

    def __init__(self, compiled: Compiled, args: tuple[Any, ...]) -> None:
        self.compiled = compiled
        self.linked = mode.grad_enabled
        self.arguments = list(map(Kind.of, args))
        kept = [x for x, kind in zip(args, self.arguments, strict=True) if kind.layout is None]
        watcher = Watcher(compiled.step, kept)
        self.watches, self.names, self.generators = watcher.watches, watcher.names, watcher.generators
        self.recorder: Recorder | None = None  # the first one
        self.tree: Any = None
        self.text: NumPyText | None = None
        self.replay: Callable[..., Any] = _no_program
        self.eager = watcher.blind  # why it is not replayed
        if self.eager:
            compiled._say(self.eager)
        self.refused = ""
        self.temporary = False

    def changed(self, args: tuple[Any, ...]) -> str:
        """What is not as it was; empty if all is, and the call is one of this variant."""
        if self.linked != mode.grad_enabled:
            return "no_grad()"
        if len(args) != len(self.arguments) or not all(map(Kind.admits, self.arguments, map(Kind.of, args))):
            return "the arguments"
        changed = next((w.path for w in self.watches if not w.holds()), "")
        if changed or self.recorder is None:
            return changed
        r = self.recorder
        for buffer in r.sources:
            source = buffer.source
            if isinstance(source, Tensor):
                if layout(source._array) != buffer.layout or source._requires_grad != buffer.tracked:
                    return buffer.name or "a Tensor"
            elif isinstance(source, Slot):
                array = source.array
                if array is None or layout(array) != buffer.layout:
                    return buffer.name
        for optimizer, groups in r.groups:
            now = [(group, group["params"]) for group in optimizer.groups]
            if len(now) != len(groups) or any(
                a is not b or list(map(id, p)) != list(map(id, q)) for (a, p), (b, q) in zip(now, groups, strict=True)
            ):
                return "the optimizer's groups"
        if any(len(optimizer.state.get(p, ())) != count for optimizer, p, count in r.states):
            return "an optimizer's state"
        for number in (*r.numbers.values(), *r.frozen):
            if type(number.owner.get(number.key)) is not type(number.value):
                return number.key
        if any(n.owner[n.key] != n.value for n in r.frozen):
            return "an option of the optimizer"
        if any((n.owner[n.key] != 0) != value for n, value in r.truths.items()):
            return "an option of the optimizer"
        return ""

    def call(self, args: tuple[Any, ...]) -> Any:
        """Replay, or record."""
        step = self.compiled.step
        if self.refused:
            raise RuntimeError(self.refused)
        if self.text is not None:
            result = self.replay(*args)
            if result is MISS:  # other arrays than before, or gradients from before
                self.replay = self._bind(self.text)
                result = self.replay(*args)
            self.compiled._last = self.replay
            return self._once(args) if result is MISS else result
        if self.eager:
            return step(*map(_as_tensor, args))
        recorder = Recorder(list(zip(_argument_names(step, len(args)), args, strict=True)), self.names, self.generators)
        try:
            result = recorder.run(step)
        except BaseException:
            self.temporary = self.recorder is None
            raise
        if not recorder.failed and (changed := next((w.path for w in self.watches if not w.holds()), "")):
            recorder.stop(f"changes what it refers to ({changed}), which a replay would not")
        result, tree = recorder.finish(result)
        if recorder.failed:
            self.eager = recorder.failed
            self.compiled._say(self.eager)
        elif recorder.first:
            self.temporary = True
        elif self.recorder is None:
            self.recorder, self.tree = recorder, tree
        else:
            self._compile(recorder, tree)
        return result

    def _once(self, args: tuple[Any, ...]) -> Any:
        """Run the step itself, as gradients are there from before."""
        result = self.compiled.step(*map(_as_tensor, args))
        assert self.recorder is not None
        for p in self.recorder.updated:
            p._grad = None
        return mapped(result, Tensor, lambda t: t if t.op is None else t.detach())

    def _compile(self, second: Recorder, tree: Any) -> None:
        first = self.recorder
        assert first is not None
        try:
            agree(first, second, self.tree, tree)
        except DiffersError as difference:
            self.refused = f"compile: {self.compiled.__name__} cannot be replayed: {difference}"
            raise RuntimeError(self.refused) from None
        tensors = {buffer: t for t, buffer in first.outside.values() if buffer.root.source is t}
        # A Tensor that was there before is returned itself.
        self.tree = mapped(self.tree, Buffer, lambda buffer: tensors.get(buffer, buffer))
        program = Program(first.arguments, first.instructions, _leaves(self.tree), first.stores, first.gradients)
        improve(program, writes)
        shown = ", ".join(f"{b.name} {b.dtype} {b.shape}" for b in first.arguments)
        self.text = NumPyText(program, f"{self.compiled.__name__}({shown})")
        for i in (*first.instructions, *program.instructions):
            if i.output.kind == "result":
                i.output.value = np.empty(0)  # the recording's arrays can go
        for b in first.arguments:
            b.value = np.empty(0)
        for kept in (first.outside, first.results, first.lines, first.plain, first.arrays, first.inputs, first.given):
            kept.clear()

    def _bind(self, text: NumPyText) -> Callable[..., Any]:
        assert self.recorder is not None
        lock, linked = self.compiled._lock, self.linked
        return bind(text, self.recorder, self.arguments, self.watches, linked=linked, tree=self.tree, lock=lock)


def _argument_names(step: Callable[..., Any], count: int) -> list[str]:
    try:
        names = list(inspect.signature(step).parameters)
    except (TypeError, ValueError):
        names = []
    return [names[i] if i < len(names) else f"argument_{i}" for i in range(count)]


def _leaves(tree: Any) -> list[Buffer]:
    if isinstance(tree, tuple | list | dict):
        return [b for item in (tree.values() if isinstance(tree, dict) else tree) for b in _leaves(item)]
    return [tree] if isinstance(tree, Buffer) else []
