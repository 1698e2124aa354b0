"""The chain rule, applied to a graph: from an output back to everything it was computed from.

The gradient of the output with respect to itself is 1. From there on, the newest result whose gradient is
known comes next. Everything computed from it is newer and has already been handled: its gradient is complete, and the
rules of its op pass it on: d output / d input += rule(d output / d result). (Without that order, which is a topological
one, a gradient could be passed on before it is complete, or once for each of exponentially many paths.)
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Collection, Sequence
from heapq import heappop, heappush
from inspect import isasyncgenfunction, iscoroutinefunction, isgeneratorfunction
from typing import Any, TypeVar

import numpy as np

from .op import Op
from .ops import astype, copy
from .ops import sum as sum_over
from .tensor import Array, Tensor, leaf, mode, values

Function = TypeVar("Function", bound=Callable[..., Any])

_NOTHING = contextlib.nullcontext()
_ndarray = np.ndarray
_GRADIENTS = (Tensor, np.ndarray, np.generic, float, int)
_adding = threading.Lock()
_WHERE = (
    "in a rule of the op {}: rules are called with arrays, and with Tensors for gradients of gradients, pictures and "
    "compile(); write them with operators, methods of arrays and ops, and write into nothing"
)


def backward(
    self: Tensor,
    gradient: Tensor | Array | None = None,
    *,
    retain_graph: bool = False,
    create_graph: bool = False,
) -> None:
    """Add d self / d leaf to the `.grad` of every leaf that requires gradients. The method `Tensor.backward`.

    Args:
        gradient: the gradient of a final scalar with respect to this Tensor, of this Tensor's shape; may be left out
            for a Tensor with one element, where it is 1.
        retain_graph: keep the graph for another backward pass; by default it is freed by this one.
        create_graph: record this pass as a graph, so that the gradients can be differentiated again. (`.grad` then
            refers to a graph that refers to its leaf: prefer `grad()`, which stores nothing.)

    Raises:
        RuntimeError: nothing here requires gradients, the graph has been freed, or a Tensor that a rule needs was
            changed in place after it was used.
        ValueError: a Tensor of several elements without `gradient`, or a gradient of another shape.
    """
    found = propagate(self, gradient, (), retain_graph or create_graph, create_graph)
    with _adding:  # two threads may add to one gradient
        for x, value in found.items():
            if x._grad is not None:
                with _Recording(create_graph):
                    value = x._grad + value
            x._grad = _kept(value, create_graph)


def grad(
    output: Tensor,
    inputs: Tensor | Sequence[Tensor],
    gradient: Tensor | Array | None = None,
    *,
    retain_graph: bool = False,
    create_graph: bool = False,
) -> Any:
    """Return d output / d input for an input or a sequence of them, and touch no `.grad`.

    Inputs may be leaves or results in between. One that `output` does not depend on gets zeros; so does one that its
    derivatives no longer depend on (the third derivative of x², say). The other arguments and errors are those of
    `Tensor.backward`.

    >>> x = Tensor([1.0, 2.0], requires_grad=True)
    >>> slope = grad((x**3).sum(), x, create_graph=True)
    >>> slope
    Tensor([ 3., 12.], dtype=float32, op=mul)
    >>> grad(slope.sum(), x)
    Tensor([ 6., 12.], dtype=float32)
    """
    if not isinstance(output, Tensor):
        raise TypeError(f"grad: expected a Tensor as the output, got {output!r:.60}; compute it from Tensors")
    if hasattr(inputs, "parameters"):
        raise TypeError(f"grad: expected a Tensor or a list of Tensors, got {inputs!r:.60}; pass its .parameters()")
    wanted = [inputs] if isinstance(inputs, Tensor) else list(inputs)
    for x in wanted:
        if not isinstance(x, Tensor) or not x.requires_grad:
            raise ValueError(
                f"grad: expected inputs that require gradients, got {x!r}; make it with requires_grad=True"
            )
    found = propagate(output, gradient, set(wanted), retain_graph or create_graph, create_graph)
    gradients: list[Tensor] = []
    given: set[Tensor] = set()
    for x in wanted:
        g = found[x] if x in found else np.zeros_like(x._array)
        if x in given:
            g = copy(g)
        given.add(x)
        gradients.append(_kept(g, create_graph))
    return gradients[0] if isinstance(inputs, Tensor) else gradients


def _kept(gradient: Any, create_graph: bool) -> Tensor:
    """A gradient as a Tensor. One that can be differentiated requires gradients, even if it has become constant.

    Its derivatives are then zeros, as they should be: nothing tells a constant from what was computed in no_grad().
    """
    result = gradient if isinstance(gradient, Tensor) else leaf(np.asarray(gradient))
    if create_graph and not result._requires_grad:
        result.requires_grad = True
    return result


def propagate(
    output: Tensor, gradient: Any, wanted: Collection[Tensor], retain_graph: bool, create_graph: bool
) -> dict[Tensor, Any]:
    """The gradients of all leaves and of the wanted results in between, each in memory of its own.

    They are arrays (or, after a sum of 0-d arrays, NumPy scalars), or Tensors with a graph if `create_graph`, or
    Tensors without one while a step is recorded.
    """
    tensors = create_graph or mode.recorder is not None
    waiting = {output: _seed(output, gradient, tensors)}  # gradients to which parts may still be added
    found: dict[Tensor, Any] = {}
    visited: list[Tensor] = []
    youngest_first = [(-output._created, output)] if output.op is not None else []
    with _Recording(create_graph) if tensors else _NOTHING:
        while youngest_first:
            node = heappop(youngest_first)[1]
            g = waiting.pop(node)  # (compile's recorder looks for `node` and `g` by these names)
            visited.append(node)
            op, inputs, params = node.op, node.inputs, node.params
            operands = _operands(node, tensors)
            if not op.ours and type(g) is _ndarray:
                g.setflags(write=False)  # other rules may be given it too
            for x, rule in zip(inputs, op.rules):  # noqa: B905 (rules may be endless, or fewer than inputs)
                if rule is None or not isinstance(x, Tensor) or not x._requires_grad:
                    continue
                try:
                    part = rule(g, *operands, **params)
                except Exception as error:
                    if not op.ours and not isinstance(error, FloatingPointError):
                        error.add_note(_WHERE.format(op.name))
                    raise
                if x.op is None and x._created > node._created:
                    raise _too_late(node, x)
                data = x._array
                if type(part) is not _ndarray or part.dtype is not data.dtype:
                    part = fitted(part, x, op, tensors)
                elif part.shape != data.shape:
                    part = _unbroadcast(part, data.shape, op)
                if not op.ours and id(part) in map(id, operands):
                    part = copy(part)
                if x in waiting:
                    part = waiting[x] + part
                else:
                    if x.op is not None:
                        heappush(youngest_first, (-x._created, x))
                    if (x.op is None or wanted) and (part is g or (part._array if tensors else part).base is not None):
                        # g itself or a view of it: others hold that memory too, and this one leaves the driver. (What
                        # stays in it may share memory: it is never written to, sums are made anew.)
                        part = copy(part)
                waiting[x] = part
            if node in wanted:
                if type(g) is _ndarray:
                    g.setflags(write=True)
                found[node] = g
    if not retain_graph:
        for node in visited:
            node.inputs = None
    if (observe := getattr(mode.observer, "gradient", None)) is not None:
        for x, g in waiting.items():
            observe(x, g)
    return found | waiting  # those that still wait are the leaves'


def _operands(node: Tensor, tensors: bool) -> list[Any]:
    """A result and its inputs, as its rules take them: arrays, or (the one difference) the Tensors that hold them."""
    if node.inputs is None:
        raise RuntimeError(
            f"backward: the graph of this {node.op.name} was freed by an earlier backward pass; pass retain_graph=True "
            "to the first one, or compute it again (a graph built before a loop can be used only once)"
        )
    operands, created = [], node._created
    for x in (node, *node.inputs):
        if isinstance(x, Tensor):
            if x._changed is not None and x._changed[0] > created:
                raise _too_late(node, x)
            operands.append(x if tensors else x._array)
        else:
            operands.append(x)
    return operands


def _too_late(node: Tensor, x: Tensor) -> RuntimeError:
    if x._created > node._created:
        what, remedy = "began to require gradients", "set requires_grad before it is used"
    else:
        what, remedy = "was changed in place", "call backward() before optimizer.step()"
    return RuntimeError(
        f"backward: {x.name or 'a Tensor'} of shape {x.shape} {what} after {node.op.name} used it; "
        f"{remedy}, or compute the output again"
    )


def _seed(output: Tensor, gradient: Any, tensors: bool) -> Any:
    """The gradient to begin with: the one given, or 1."""
    if not output._requires_grad:
        raise RuntimeError(
            "backward: nothing here requires gradients; "
            "was it computed under no_grad(), detached, or from constants alone (as the slope of a straight line is)?"
        )
    if gradient is None:
        if output.size != 1:
            raise ValueError(
                f"backward: an output of shape {output.shape} needs a gradient of that shape; "
                "reduce it to a scalar first, as with .sum(), or pass gradient="
            )
        seed = np.array(1, output.dtype).reshape(output.shape)
    elif np.shape(gradient) != output.shape:
        raise ValueError(f"backward: expected a gradient of shape {output.shape}, got {np.shape(gradient)}")
    elif tensors and isinstance(gradient, Tensor):
        return copy(astype(gradient, output.dtype))  # with its graph
    else:
        # Of a gradient with a graph of its own only the values are needed where no graph is made.
        seed = np.array(values(gradient), dtype=output.dtype)
    return leaf(seed) if tensors else seed


def fitted(part: Any, x: Tensor, op: Op, tensors: bool) -> Any:
    """What a rule returned, as a gradient of x: broadcasting undone, and in the dtype of x."""
    if not isinstance(part, _GRADIENTS):
        raise TypeError(f"{op.name}: a rule returned {type(part).__name__}, expected an array; did you forget return?")
    if tensors:
        if not isinstance(part, Tensor):
            part = leaf(np.asarray(part))
    elif type(part) is not _ndarray:
        part = np.asarray(part)
    shape = x._array.shape
    if part.shape != shape:
        part = _unbroadcast(part, shape, op)
    return part if part.dtype == x._array.dtype else astype(part, x._array.dtype)


def _unbroadcast(part: Any, shape: tuple[int, ...], op: Op) -> Any:
    """Sum over the axes along which broadcasting repeated an input of this shape."""
    if part.shape[1:] == shape:  # the common case, a bias: with the general way below it takes 2.8 µs instead of 1.5
        return np.add.reduce(part, 0) if isinstance(part, _ndarray) else sum_over(part, 0)
    new = part.ndim - len(shape)
    if new < 0 or any(n not in (1, m) for n, m in zip(shape, part.shape[new:], strict=True)):
        raise ValueError(
            f"{op.name}: a rule returned a gradient of shape {part.shape} for an input of shape {shape}; "
            "it must have the input's shape, or the one that broadcasting gave it"
        )
    stretched = [new + i for i, n in enumerate(shape) if n != part.shape[new + i]]
    return part.sum((*range(new), *stretched), keepdims=True).reshape(shape)


class _Recording(contextlib.ContextDecorator):
    """Switch recording on or off in this thread; the state before is restored at the end, after exceptions too."""

    def __init__(self, on: bool) -> None:
        self.on = on

    def __enter__(self) -> None:
        mode.outer.append(mode.recording)
        mode.recording = self.on

    def __exit__(self, *exception: object) -> None:
        mode.recording = mode.outer.pop()

    def __call__(self, function: Function) -> Function:
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

    >>> w = Tensor([2.0], requires_grad=True)
    >>> with no_grad():
    ...     (w * w).requires_grad
    False
    """
    off = _Recording(False)
    return off if function is None else off(function)


def enable_grad(function: Any = None) -> Any:
    """Record a graph inside `no_grad()`: its counterpart, used in the same ways.

    >>> w = Tensor([2.0], requires_grad=True)
    >>> with no_grad():
    ...     with enable_grad():
    ...         slope = grad((w * w).sum(), w)
    >>> slope
    Tensor([4.], dtype=float32)
    """
    on = _Recording(True)
    return on if function is None else on(function)


setattr(Tensor, "backward", backward)  # noqa: B010 (declared in methods.pyi)
