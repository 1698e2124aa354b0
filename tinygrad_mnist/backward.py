"""The chain rule, applied to a graph: from an output back to everything it was computed from.

The gradient of the output with respect to itself is 1. From there on, the youngest result whose gradient is
known comes next. Everything computed from it is younger and has already been handled: its gradient is complete, and the
rules of its op pass it on: d output / d input += rule(d output / d result). (Without that order, which is a topological
one, a gradient could be passed on before it is complete, or once for each of exponentially many paths.)

All of it in fourteen lines. `propagate`, below, adds a heap (where `max` searches), who owns which memory, gradients of
results in between, freeing the graph or making another of this pass, whoever watches, and errors for what cannot be.

    def chain_rule(output):
        gradients, youngest_first = {output: np.ones(output.shape, output.dtype)}, {output} if output.op else set()
        while youngest_first:
            node = max(youngest_first, key=lambda t: t._created)
            youngest_first.remove(node)
            g = gradients[node]
            operands = [x.data if isinstance(x, Tensor) else x for x in (node, *node.inputs)]
            for x, rule in zip(node.inputs, node.op.rules):
                if rule is not None and isinstance(x, Tensor) and x.requires_grad:
                    part = fitted(rule(g, *operands, **node.params), x, node.op)  # summed where it was broadcast
                    gradients[x] = gradients[x] + part if x in gradients else part
                    if x.op is not None:
                        youngest_first.add(x)
        return gradients
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Collection, Iterable, Sequence
from heapq import heappop, heappush
from typing import Any

import numpy as np

from .convert import described
from .mode import GradMode, mode
from .op import Op
from .ops.arithmetic import astype, copy
from .ops.reductions import sum as sum_over
from .tensor import Array, Tensor, leaf, values

_NOTHING = contextlib.nullcontext()
_ndarray = np.ndarray
_GRADIENT_TYPES = (Tensor, np.ndarray, np.generic, float, int)
_adding = threading.Lock()
_NOTE_ON_RULES = (
    "in a rule of the op {}: rules are called with arrays, and with Tensors to differentiate or to show what they do; "
    "write them with operators, methods of arrays and ops, and write into nothing"
)


def backward(
    self: Tensor, gradient: Tensor | Array | None = None, *, retain_graph: bool = False, create_graph: bool = False
) -> None:
    """Add d self / d leaf to the `.grad` of every leaf that requires gradients. The method `Tensor.backward`.

    Args:
        gradient: the gradient of a final scalar with respect to this Tensor, of this Tensor's shape; may be left out
            for a Tensor with one element, where it is 1.
        retain_graph: keep the graph for another backward pass; by default it is freed by this one.
        create_graph: record this pass as a graph, so that the gradients can be differentiated again; the first graph,
            to which it refers, is kept too. (`.grad` then refers to its leaf: prefer `grad()`, which stores nothing.)

    Raises:
        RuntimeError: nothing here requires gradients, the graph has been freed, or a Tensor that a rule needs was
            changed in place after it was used.
        ValueError: a Tensor of several elements without `gradient`, or a gradient of another shape.
    """
    found = propagate(self, gradient, (), retain_graph or create_graph, create_graph)
    with _adding:  # two threads may add to one gradient
        for x, value in found.items():
            if x._grad is not None:
                with GradMode(create_graph):
                    value = x._grad + value
            x._grad = _handed_out(x, value, create_graph)


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
    if not isinstance(inputs, Iterable):
        raise TypeError(f"grad: expected a Tensor or a list of Tensors, got {described(inputs)}")
    wanted = [inputs] if isinstance(inputs, Tensor) else list(inputs)
    for x in wanted:
        if not isinstance(x, Tensor) or not x.requires_grad:
            raise ValueError(
                f"grad: expected inputs that require gradients, got {described(x)}; make it with requires_grad=True"
            )
    found = propagate(output, gradient, set(wanted), retain_graph or create_graph, create_graph)
    gradients: list[Tensor] = []
    given: set[Tensor] = set()
    for x in wanted:
        g = found[x] if x in found else np.zeros_like(x._array)
        if x in given:
            g = copy(g)
        given.add(x)
        gradients.append(_handed_out(x, g, create_graph))
    return gradients[0] if isinstance(inputs, Tensor) else gradients


def _handed_out(x: Tensor, gradient: Any, create_graph: bool) -> Tensor:
    """A gradient of x as a Tensor. One that can be differentiated requires gradients, even if it has become constant.

    Its derivatives are then zeros, as they should be: nothing tells a constant from what was computed in no_grad().
    """
    if gradient is x or gradient is x._array:  # a rule returned its operand
        gradient = copy(gradient)
    result = gradient if isinstance(gradient, Tensor) else leaf(np.asarray(gradient))
    if create_graph and not result._requires_grad:
        result._require()
    return result


def propagate(
    output: Tensor, gradient: Any, wanted: Collection[Tensor], retain_graph: bool, create_graph: bool
) -> dict[Tensor, Any]:
    """The gradients of all leaves and of the wanted results in between, each in memory of its own.

    They are arrays (or, after a sum of 0-d arrays, NumPy scalars); or Tensors, with a graph if `create_graph`, where
    rules are to be seen at work.
    """
    observer = mode.observer
    tensors = create_graph or (observer is not None and observer.rules_take_tensors)
    gradients = {output: _seed(output, gradient, tensors)}  # gradients to which parts may still be added
    found: dict[Tensor, Any] = {}
    visited: list[Tensor] = []
    youngest_first = [(-output._created, output)] if output.op is not None else []
    with GradMode(create_graph) if tensors else _NOTHING:
        while youngest_first:
            node = heappop(youngest_first)[1]
            g = gradients.pop(node)  # complete: all that was computed from the node is younger
            visited.append(node)
            if observer is not None:
                observer.passing(g, node)
            op, operands, params = node.op, _operands(node, tensors), node.params
            for x, rule in zip(node.inputs, op.rules):  # noqa: B905 (rules may be endless, or fewer than inputs)
                if rule is None or not isinstance(x, Tensor) or not x._requires_grad:
                    continue
                try:
                    part = rule(g, *operands, **params)
                except Exception as error:
                    _blame(error, op)
                    raise
                if tensors or type(part) is not _ndarray or part.dtype is not x._array.dtype:
                    part = fitted(part, x, op, tensors)
                elif part.shape != x._array.shape:
                    part = _unbroadcast(part, x._array.shape, op)
                if x in gradients:
                    gradients[x] = gradients[x] + part
                    continue
                if x.op is not None:
                    heappush(youngest_first, (-x._created, x))
                # g itself, or a view of it: others hold that memory too. What is handed out gets its own; what stays is
                # never written to, sums are made anew.
                if (x.op is None or wanted) and (part is g or (part._array if tensors else part).base is not None):
                    part = copy(part)
                gradients[x] = part
            if node in wanted:
                found[node] = g
    if not retain_graph:
        for node in visited:
            node.inputs = None
    if observer is not None:
        for x, g in gradients.items():
            observer.arrived(g, x)
    return found | gradients  # those that still wait are the leaves'


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
            changed = x._changed is not None and x._changed[0] > created
            if changed or (x._created > created and x._requires_grad):
                raise _too_late(node, x)
            operands.append(x if tensors else x._array)
        else:
            operands.append(x)
    return operands


def _blame(error: Exception, op: Op) -> None:
    """Add a word about rules to an error in one: its author may need it."""
    if not isinstance(error, FloatingPointError):
        error.add_note(_NOTE_ON_RULES.format(op.name))


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
        array = values(gradient)
        if array.dtype.kind not in "biuf":
            raise TypeError(f"backward: expected a gradient of real numbers, got {described(gradient)}")
        seed = np.array(array, dtype=output.dtype)
    return leaf(seed) if tensors else seed


def fitted(part: Any, x: Tensor, op: Op, tensors: bool = False) -> Any:
    """What a rule returned, as a gradient of x: broadcasting undone, and in the dtype of x."""
    if not isinstance(part, _GRADIENT_TYPES):
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
        return sum_over(part, 0) if isinstance(part, Tensor) else np.add.reduce(part, 0)
    new = part.ndim - len(shape)
    if new < 0 or any(n not in (1, m) for n, m in zip(shape, part.shape[new:], strict=True)):
        raise ValueError(
            f"{op.name}: a rule returned a gradient of shape {part.shape} for an input of shape {shape}; "
            "it must have the input's shape, or the one that broadcasting gave it"
        )
    stretched = [new + i for i, n in enumerate(shape) if n != part.shape[new + i]]
    return part.sum((*range(new), *stretched), keepdims=True).reshape(shape)


Tensor.backward = backward  # declared in tensor.py
