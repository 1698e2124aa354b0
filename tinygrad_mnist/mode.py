"""What the running thread does with the ops it calls: link their results to the graph, and tell whoever watches."""

from __future__ import annotations

import contextlib
import itertools
import threading
from collections.abc import Callable, Iterable, Mapping
from inspect import isasyncgenfunction, iscoroutinefunction, isgeneratorfunction
from typing import Any, TypeVar

Function = TypeVar("Function", bound=Callable[..., Any])


class Observer:
    """The interception point: what happens to Tensors in a thread is told to its `mode.observer`, if there is one.

    On the way of (x * y).sum().backward() are `applied`, `passing` and `arrived`; the others are for the rooms
    beside it, which draw, check and replay.
    """

    rules_take_tensors = False  # whether rules are called with Tensors, so that what they compute is told too

    def applied(self, result: Any, op: Any, inputs: tuple[Any, ...], params: Mapping[str, Any]) -> None:
        """An op has made a Tensor."""

    def read(self, tensor: Any) -> None:
        """Values are about to be looked at."""

    def shared(self, tensor: Any, source: Any) -> None:
        """A Tensor has been made for the array of another."""

    def cleared(self, tensors: Iterable[Any]) -> None:
        """Gradients are set to None."""

    def passing(self, gradient: Any, result: Any) -> None:
        """A backward pass comes to a result, whose gradient is complete."""

    def arrived(self, gradient: Any, leaf: Any) -> None:
        """A backward pass has ended at a leaf, whose gradient is complete."""

    def changing(self, what: str, owner: Any) -> None:
        """What steps are made of has been set, by other means than an optimizer's step (see `changed`)."""

    def assigning(self, buffer: Any, value: Any) -> None:
        """A Buffer is about to take the values of a Tensor, an array or a number."""

    def looking(self, optimizer: Any) -> None:
        """The groups of an optimizer are looked at."""

    def stepping(self, optimizer: Any) -> bool:
        """An optimizer is about to change its parameters; returns whether that is done already."""
        return False


class Mode(threading.local):
    """What the running thread does with the ops it calls."""

    grad_enabled = True  # whether results are linked to the graph
    observer: Observer | None = None

    def __init__(self) -> None:
        self.outer: list[bool] = []  # the values of grad_enabled to return to


mode = Mode()

version = [0]
"""Moves when what steps are made of is set: attributes of Modules and optimizers, members and options of groups,
`requires_grad`, rows of the table. Whoever has compared all that need not do so again until it has moved."""

_next = itertools.count(1).__next__


def changed(what: str, owner: Any = None) -> None:
    """Note that something of that has been set: what was done, in words, and to what."""
    version[0] = _next()
    if mode.observer is not None:
        mode.observer.changing(what, owner)


class GradMode(contextlib.ContextDecorator):
    """Switch recording on or off in this thread; the state before is restored at the end, after exceptions too."""

    def __init__(self, on: bool) -> None:
        self.on = on

    def __enter__(self) -> None:
        mode.outer.append(mode.grad_enabled)
        mode.grad_enabled = self.on

    def __exit__(self, *exception: object) -> None:
        mode.grad_enabled = mode.outer[-1]  # first, as Ctrl-C may come in between
        mode.outer.pop()

    def __call__(self, function: Function) -> Function:
        """Decorate a function, which then runs so."""
        name = "enable_grad" if self.on else "no_grad"
        if not callable(function):
            raise TypeError(f"{name}: expected a function to decorate, or nothing, got {function!r:.60}")
        if any(kind(function) for kind in (isgeneratorfunction, iscoroutinefunction, isasyncgenfunction)):
            raise TypeError(
                f"{name}: {function.__name__} is suspended and resumed, and others would run inside; "
                "use a with block without yield or await"
            )
        return super().__call__(function)


def no_grad(function: Any = None) -> Any:
    """Compute without recording a graph: `with no_grad():`, or `@no_grad()` or `@no_grad` before a function.

    Nests, holds for the running thread only, and restores the state before when it ends.

    >>> from tinygrad_mnist import Tensor
    >>> w = Tensor([2.0], requires_grad=True)
    >>> with no_grad():
    ...     (w * w).requires_grad
    False
    """
    off = GradMode(False)
    return off if function is None else off(function)


def enable_grad(function: Any = None) -> Any:
    """Record a graph inside `no_grad()`: its counterpart, used in the same ways.

    >>> from tinygrad_mnist import Tensor, grad
    >>> w = Tensor([2.0], requires_grad=True)
    >>> with no_grad():
    ...     with enable_grad():
    ...         slope = grad((w * w).sum(), w)
    >>> slope
    Tensor([4.], dtype=float32)
    """
    on = GradMode(True)
    return on if function is None else on(function)
