"""An op: what the table knows of it, and how it is applied to Tensors, arrays and numbers."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from .tensor import NO_PARAMS, Array, Tensor, has_tensors, last_change, leaf, mode, tick

Rule = Callable[..., Any]


class Domain(NamedTuple):
    """Numbers that an input of an elementwise op can be tested with: low <= x <= high, not near a number in `away`."""

    low: float = -4.0
    high: float = 4.0
    away: tuple[float, ...] = ()  # kinks and poles, where no derivative exists


REALS = Domain()
NONZERO = Domain(away=(0.0,))
POSITIVE = Domain(low=0.25)


@dataclass(eq=False)
class Op:
    """One row of the table.

    Attributes:
        name: the key in `OPS`.
        forward: the NumPy function that computes the op.
        rules: for each input the rule of its gradient; None, or missing, where there is no derivative.
        defaults: the op's keyword parameters and their defaults, read off the signature of `forward`.
        sign: how mathematics writes it, for pictures.
        view: whether the result may share memory with the first input.
        domain: what each input of an elementwise op can be tested with; None for ops of another kind.
        arity: the number of inputs; None for any number.
        differentiable: whether any input has a rule.
        ours: whether it is one of this package, and so known to write into nothing.
        function: the public function that applies the op.
    """

    name: str
    forward: Callable[..., Any]
    rules: Iterable[Rule | None]
    defaults: Mapping[str, Any]
    sign: str
    view: bool
    domain: tuple[Domain, ...] | None
    arity: int | None
    differentiable: bool
    ours: bool
    function: Any = None

    def __repr__(self) -> str:
        return f"<op {self.name}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return _op_named, (self.name,)


def _op_named(name: str) -> Op:
    return OPS[name]


OPS: dict[str, Op] = {}
"""The table: every op by its name, the user's own included."""

# ----------------------------------------------------------------------------------------------------------------------
# How an op is applied

_ndarray = np.ndarray  # a global is found sooner than the attribute of a module
_NUMBERS = (float, int, complex)


def _apply(op: Op, inputs: tuple[Any, ...], params: Mapping[str, Any]) -> Any:
    """Compute an op of inputs of which some are Tensors, and make a Tensor of the result; of arrays alone an array."""
    arrays = []
    tensors = raw = tracked = False
    for x in inputs:
        if isinstance(x, Tensor):
            tensors = True
            tracked = tracked or x._requires_grad
            arrays.append(x._array)
        else:
            raw = True
            arrays.append(x)
    if not tensors:
        return _of_arrays(op, inputs, params)
    if raw:
        inputs = tuple(x if isinstance(x, Tensor) else _operand(op, x) for x in inputs)
        arrays = [x._array if isinstance(x, Tensor) else x for x in inputs]
    try:
        data = op.forward(*arrays, **params)
    except (TypeError, ValueError, IndexError) as error:
        raise _explained(op, inputs, error) from None
    result = _result(op, data, inputs, params, tracked)
    if op.view and isinstance(inputs[0], Tensor) and np.may_share_memory(result._array, inputs[0]._array):
        result._changed = last_change(inputs[0])
    return result


def _result(op: Op, data: Any, inputs: tuple[Any, ...], params: Mapping[str, Any], tracked: bool) -> Tensor:
    """A Tensor of what `forward` returned, linked to the graph if gradients will flow through it."""
    data = data if type(data) is _ndarray else np.asarray(data)
    result = leaf(data)
    if tracked and mode.recording and op.differentiable:
        if data.dtype.kind == "f":
            result._requires_grad = True
            result._created = tick()
            result.op, result.inputs, result.params = op, inputs, params
            for x in inputs:
                if type(x) is _ndarray:  # the caller may write into it before the backward pass: copies are kept
                    result.inputs = tuple(leaf(x.copy()) if isinstance(x, _ndarray) else x for x in inputs)
                    break
        elif data.dtype.kind == "c":
            raise TypeError(
                f"{op.name}: the result is complex, and complex numbers have no gradient here; use real operands"
            )
    if mode.observer is not None:
        mode.observer(result, op, inputs, params)
    return result


def _of_arrays(op: Op, inputs: tuple[Any, ...], params: Mapping[str, Any] = NO_PARAMS) -> Array:
    """What an op computes of no Tensor."""
    if any(has_tensors(x) for x in inputs):
        raise TypeError(f"{op.name}: got a list of Tensors; join them with stack() or concatenate() first")
    return np.asarray(op.forward(*inputs, **params))


def _operand(op: Op, x: Any) -> Any:
    """An operand that is not a Tensor. NumPy scalars become Python numbers, so that float32 stays float32."""
    if isinstance(x, np.generic) and x.dtype.kind in "biufc":
        x = x.item()
        return float(x) if isinstance(x, np.floating) else x  # longdouble's item is a longdouble
    if isinstance(x, float) and type(x) is not float:
        return +x  # NumPy would take a class of its own for a float64
    if isinstance(x, np.ndarray) and x.dtype.kind in "biufc" and not isinstance(x, np.ma.MaskedArray):
        return np.asarray(x)  # a subclass, as np.matrix, multiplies in its own way
    if isinstance(x, _NUMBERS):
        return x
    kind = type(x).__qualname__ if type(x).__module__ in ("builtins", "__main__") else _full_name(type(x))
    if isinstance(x, np.ma.MaskedArray):
        kind = "masked array, whose mask would be lost"
    elif isinstance(x, np.ndarray):
        kind = f"array of dtype {x.dtype}"
    raise TypeError(f"{op.name}: expected Tensors, arrays of numbers or numbers, got {kind} {str(x)[:40]!r}")


def _full_name(kind: type) -> str:
    """A type with its module, since others have a Tensor too: torch.Tensor."""
    return f"{kind.__module__}.{kind.__qualname__}"


def _frozen(value: Any) -> Any:
    """A parameter as nobody can change it before the backward pass: numbers plain, lists as tuples, arrays copied."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, list | tuple):
        return tuple(map(_frozen, value))
    return value.copy() if isinstance(value, np.ndarray) else value


# The functions of ops. `general` serves them all; for simple ops of one, two and three inputs what `_apply` does is
# written out, which saves 1 µs of 3.


def general(op: Op) -> Any:
    """The function of an op with parameters, of a view, or of any number of inputs."""
    name, defaults, arity = op.name, op.defaults, op.arity
    complete = not missing(defaults)

    def function(*inputs: Any, **params: Any) -> Any:
        if arity is not None and len(inputs) != arity:
            if not arity < len(inputs) <= arity + len(defaults):
                raise TypeError(f"{name}: takes {arity} operands and ({_listed(defaults)}), got {len(inputs)} operands")
            positional = dict(zip(defaults, inputs[arity:], strict=False))
            if positional.keys() & params.keys():
                raise TypeError(f"{name}: {', '.join(positional.keys() & params.keys())} is given twice")
            params, inputs = positional | params, inputs[:arity]
        if complete and not params:
            return _apply(op, inputs, defaults)
        given, params = params, {**defaults, **params}
        if len(params) > len(defaults) or missing(params):
            raise TypeError(f"{name}: takes the parameters ({_listed(defaults)}), got ({_listed(given)})")
        for key, value in params.items():
            if isinstance(value, Tensor):
                raise TypeError(f"{name}: {key} is a parameter, to which no gradient flows; pass a number, or t.item()")
        return _apply(op, inputs, {key: _frozen(value) for key, value in params.items()})

    return function


def _of_one(op: Op) -> Any:
    forward = op.forward

    def function(x: Any) -> Any:
        if not isinstance(x, Tensor):
            return _of_arrays(op, (x,))
        try:
            data = forward(x._array)
        except (TypeError, ValueError) as error:
            raise _explained(op, (x,), error) from None
        return _result(op, data, (x,), NO_PARAMS, x._requires_grad)

    return function


def _of_two(op: Op) -> Any:
    forward = op.forward

    def function(x: Any, y: Any) -> Any:
        if isinstance(x, Tensor):
            a, tracked = x._array, x._requires_grad
            if isinstance(y, Tensor):
                b, tracked = y._array, tracked or y._requires_grad
            else:
                y = b = _operand(op, y)
        elif isinstance(y, Tensor):
            b, tracked = y._array, y._requires_grad
            x = a = _operand(op, x)
        else:
            return _of_arrays(op, (x, y))
        try:
            data = forward(a, b)
        except (TypeError, ValueError) as error:
            raise _explained(op, (x, y), error) from None
        return _result(op, data, (x, y), NO_PARAMS, tracked)

    return function


def _of_three(op: Op) -> Any:
    forward = op.forward

    def function(x: Any, y: Any, z: Any) -> Any:
        if not (isinstance(x, Tensor) and isinstance(y, Tensor) and isinstance(z, Tensor)):
            return _apply(op, (x, y, z), NO_PARAMS)
        try:
            data = forward(x._array, y._array, z._array)
        except (TypeError, ValueError) as error:
            raise _explained(op, (x, y, z), error) from None
        return _result(op, data, (x, y, z), NO_PARAMS, x._requires_grad or y._requires_grad or z._requires_grad)

    return function


UNROLLED: dict[int | None, Callable[[Op], Any]] = {1: _of_one, 2: _of_two, 3: _of_three}

# ----------------------------------------------------------------------------------------------------------------------
# Errors


def _listed(params: Mapping[str, Any]) -> str:
    return ", ".join(k if k in missing(params) else f"{k}={v!r}" for k, v in params.items())


def missing(params: Mapping[str, Any]) -> list[str]:
    """Those of an op's parameters that have no value, as its `defaults` have none for required ones."""
    return [key for key, value in params.items() if value is inspect.Parameter.empty]


def _explained(op: Op, inputs: Sequence[Any], error: Exception) -> Exception:
    """NumPy's error again, in the words of the op, with the shapes and where possible the remedy."""
    shapes = [np.shape(x) for x in inputs]
    if op.name == "matmul" and not all(shapes):
        return ValueError(
            f"matmul: expected vectors or matrices, got shapes {shapes[0]} and {shapes[1]}; use * for numbers"
        )
    if op.name in ("matmul", "linear") and all(shapes[:2]) and shapes[0][-1] != shapes[1][-2:][0]:
        (*_, n), (m, *_) = x, y = shapes[0], shapes[1][-2:]
        hint = "; did you mean .T?" if (len(y) == 2 and n == y[1]) or (len(x) == 2 and m == x[0]) else ""
        return ValueError(f"{op.name}: shapes {x} and {shapes[1]} do not align: {n} != {m}{hint}")
    if op.domain is not None and len(shapes) > 1:
        try:
            np.broadcast_shapes(*shapes)
        except ValueError:
            return ValueError(
                f"{op.name}: shapes {' and '.join(map(str, shapes))} do not broadcast: "
                "compared from the right, two sizes must be equal or one of them 1; reshape one of them"
            )
    kind = TypeError if isinstance(error, TypeError) else ValueError if isinstance(error, ValueError) else IndexError
    given = ", ".join(f"{x.dtype}{x.shape}" if isinstance(x, Tensor | np.ndarray) else repr(x) for x in inputs)
    return kind(f"{op.name}: {error} (given {given})")
