"""Watching ops while they are called: where in the program each was called, and the first NaN or infinity.

Nothing here costs anything until it is switched on: then the table of derivatives tells an observer of every result.
"""

from __future__ import annotations

import dataclasses
import linecache
import sys
import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from itertools import islice
from pathlib import PurePath
from types import FrameType
from typing import Any, NamedTuple

import numpy as np

from tinygrad_mnist.files import PACKAGE
from tinygrad_mnist.mode import Observer, mode
from tinygrad_mnist.nn import Module
from tinygrad_mnist.op import Op, Rule
from tinygrad_mnist.tensor import Tensor, values

_DEEPEST = 16
"""How many running lines are kept: each takes a microsecond, and notebooks and test runners have forty."""


class Call:
    """One call of a Module: two calls of the same module are two."""

    def __init__(self, module: Module) -> None:
        self.module = module


class Place(NamedTuple):
    """A line that was running, in a function that begins at the line `first` of its file."""

    file: str
    line: int
    function: str
    first: int


class Origin(NamedTuple):
    """Where a Tensor was made: inside which calls of Modules, the outermost first; and the line of the user's code.

    `stack` has the lines that were running, the outermost first: the user's, and those of Modules' `forward`; of very
    many the innermost.

    Of a result that is not linked to the graph, as that of a comparison or a mask, `untracked` has its op, what the op
    was applied to (Tensors and arrays as weak references, so that nothing lives longer for being watched) and its
    parameters.
    """

    calls: tuple[Call, ...]
    file: str
    line: int
    function: str
    stack: tuple[Place, ...] = ()
    untracked: tuple[Op, tuple[Any, ...], Mapping[str, Any]] | None = None

    def __str__(self) -> str:
        code = linecache.getline(self.file, self.line).strip()
        return f"{self.file}:{self.line} in {self.function}" + (f": {code}" if code else "")

    def briefly(self) -> str:
        """The file's name, the line and what stands there: nothing that is another on another machine."""
        code = " ".join(linecache.getline(self.file, self.line).split())
        file = "cell" if "ipykernel" in self.file or self.file.startswith("<ipython") else PurePath(self.file).name
        return f"{file}:{self.line}" + (f": {code}" if code else "")


def calls_around(t: Tensor) -> tuple[Call, ...]:
    """The calls of Modules that the Tensor was made in; none if nobody watched."""
    return t.origin.calls if hasattr(t, "origin") else ()


def computed(t: Tensor) -> tuple[Op, tuple[Any, ...], Mapping[str, Any]] | None:
    """The op, its inputs and its parameters of a result that is not in the graph; None where nobody watched.

    Of inputs that are gone there are none: then the tuple is empty.
    """
    found = t.origin.untracked if t.op is None and hasattr(t, "origin") else None
    if found is None:
        return None
    op, kept, params = found
    inputs = tuple(x() if isinstance(x, weakref.ref) else x for x in kept)
    return op, () if any(x is None for x in inputs) else inputs, params


@contextmanager
def trace() -> Iterator[None]:
    """Note of every result in which calls of Modules it was computed: pictures then have a frame for each.

    Also works as a decorator. Holds for the running thread; an op then takes some fifty microseconds more.

    >>> from tinygrad_mnist import nn
    >>> layer = nn.Linear(2, 1, rng=np.random.default_rng(0))
    >>> with trace():
    ...     y = layer(Tensor([[1.0, 2.0]]))
    >>> y.origin.calls[0].module
    Linear(2, 1)
    """
    with closing(_Tracer()) as tracer, observing(tracer):
        yield


@contextmanager
def detect_anomaly() -> Iterator[None]:
    """Raise at the first NaN or infinity that an op computes, or that a gradient becomes in a backward pass.

    The message names the op, its inputs and the line of code that called it. Covers the ops called in the block, and
    backward passes through them, later ones too. Every value is looked at, which costs time: for finding an error, not
    for training. Also works as a decorator; holds for the running thread.

    Raises:
        FloatingPointError: in the block, where NumPy would warn or say nothing.

    >>> x = Tensor([4.0, 0.0], requires_grad=True, name="x")
    >>> with detect_anomaly():
    ...     y = x.log()
    Traceback (most recent call last):
    ...
    FloatingPointError: log gave -inf in 1 of 2 values, from x (2,) float32; called at ...
    """
    with closing(_Detector()) as detector, observing(detector), np.errstate(all="ignore"):
        yield


@contextmanager
def observing(observer: Observer | None) -> Iterator[None]:
    """Tell this observer what happens, in place of the one before; None: tell nobody."""
    before, mode.observer = mode.observer, observer
    if before is not None:
        before.changing("is watched inside", None)
        mode.observer = observer
    try:
        yield
    finally:
        mode.observer = before


class _Tracer(Observer):
    """An observer that notes the origin of every Tensor in the graph."""

    def __init__(self) -> None:
        self.outer = mode.observer
        self.stack: list[tuple[FrameType, Call]] = []  # frames are kept, so that `is` tells one call from the next

    def applied(self, result: Tensor, op: Op, inputs: tuple[Any, ...], params: Mapping[str, Any]) -> None:
        """Note where the op was called."""
        if self.outer is not None:
            self.outer.applied(result, op, inputs, params)
        origin = self.origin()
        if result.op is None:
            kept = tuple(weakref.ref(x) if isinstance(x, Tensor | np.ndarray) else x for x in inputs)
            origin = origin._replace(untracked=(op, kept, params))
        result.origin = origin

    def close(self) -> None:
        """Let go of the frames, and so of what their variables hold."""
        self.stack.clear()

    def origin(self) -> Origin:
        """Where the running op was called, read off Python's stack."""
        frames = [frame := sys._getframe(1)]
        while frame.f_back is not None:
            frames.append(frame := frame.f_back)
        forwards = [frame for frame in reversed(frames) if frame.f_code.co_name == "forward"]
        modules = [(frame, module) for frame in forwards if isinstance(module := frame.f_locals.get("self"), Module)]
        for depth, (frame, module) in enumerate(modules):
            if len(self.stack) <= depth or self.stack[depth][0] is not frame:
                nested = depth > 0 and self.stack[depth - 1][1].module is module  # super().forward(): the same call
                self.stack[depth:] = [(frame, self.stack[depth - 1][1] if nested else Call(module))]
        calls = tuple(dict.fromkeys(call for _, call in self.stack[: len(modules)]))
        user = next((frame for frame in frames if not frame.f_code.co_filename.startswith(PACKAGE)), frames[-1])
        inside = {frame for frame, _ in modules}
        shown = (f for f in frames if f in inside or not f.f_code.co_filename.startswith(PACKAGE))
        stack = tuple(map(_place, islice(shown, _DEEPEST)))[::-1]
        return Origin(calls, user.f_code.co_filename, user.f_lineno, user.f_code.co_name, stack)


def _place(frame: FrameType) -> Place:
    code = frame.f_code
    return Place(code.co_filename, frame.f_lineno, code.co_name, code.co_firstlineno)


class _Detector(_Tracer):
    """An observer that refuses what is not finite, and sees to it that the op's rules do too."""

    inside_rule = False

    def applied(self, result: Tensor, op: Op, inputs: tuple[Any, ...], params: Mapping[str, Any]) -> None:
        """Refuse what is not finite."""
        super().applied(result, op, inputs, params)
        names = [getattr(x, "name", None) or "" for x in inputs]
        if not self.inside_rule:
            _refuse(result._array, f"{op.name} gave", names, inputs, result.origin)
        if result.op is not None:
            result.op = dataclasses.replace(op, rules=_CheckedRules(self, op, names, result.origin))

    def arrived(self, gradient: Any, leaf: Tensor) -> None:
        """Refuse a sum of finite parts that is not finite: no rule sees it."""
        _refuse(gradient, f"the sum of the gradients of {leaf.name or 'a leaf'} became", [""], [leaf], self.origin())


class _CheckedRules:
    """The rules of an op, each refusing to pass on a gradient that is not finite."""

    def __init__(self, detector: _Detector, op: Op, names: Sequence[str], origin: Origin) -> None:
        self.detector, self.op, self.names, self.origin = detector, op, names, origin

    def __iter__(self) -> Iterator[Rule | None]:
        return (rule and self.checked(rule, i) for i, rule in enumerate(self.op.rules))

    def checked(self, rule: Rule, position: int) -> Rule:
        def check(g: Any, out: Any, *inputs: Any, **params: Any) -> Any:
            name = self.op.name
            _refuse(g, f"the gradient of the result of {name} became", self.names, inputs, self.origin)
            before, self.detector.inside_rule = self.detector.inside_rule, True
            try:
                with np.errstate(all="ignore"):
                    part = rule(g, out, *inputs, **params)
            finally:
                self.detector.inside_rule = before
            what = f"the gradient of {self.names[position] or f'input {position + 1}'} became"
            _refuse(part, f"backward through {name}: {what}", self.names, inputs, self.origin)
            return part

        return check


def _refuse(value: Any, what: str, names: Sequence[str], inputs: Sequence[Any], origin: Origin) -> None:
    """Raise if the value has a NaN or an infinity."""
    array = values(value)
    bad = array[~_finite(array)]
    if bad.size:
        kinds = " and ".join(sorted({str(x) for x in bad}))
        given = " and ".join(f"{name} {_described(x)}".strip() for name, x in zip(names, inputs, strict=True))
        raise FloatingPointError(
            f"{what} {kinds} in {bad.size} of {array.size} values, from {given}; called at {origin}"
        )


def _finite(array: Any) -> Any:
    return np.isfinite(array) if array.dtype.kind in "fc" else np.full(array.shape, True)


def _described(x: Any) -> str:
    if not isinstance(x, Tensor | np.ndarray):
        return repr(x)
    array = values(x)
    held = "" if _finite(array).all() else " (which was not finite already)"
    return f"{array.shape} {array.dtype}{held}"
