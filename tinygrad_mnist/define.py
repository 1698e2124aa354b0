"""How an op is made, and how it is applied: the machinery under the table of derivatives in `ops.py`."""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, Protocol

import numpy as np

from .tensor import NO_PARAMS, Tensor, changes, leaf, mode, tick

Rule = Callable[..., Any]


class Domain(NamedTuple):
    """The numbers that an input of an elementwise op can be tested with: low <= x <= high, not near those in `away`."""

    low: float = -4.0
    high: float = 4.0
    away: tuple[float, ...] = ()  # kinks and poles, where no derivative exists


REALS = Domain()
NONZERO = Domain(away=(0.0,))
POSITIVE = Domain(low=0.25)


@dataclass(frozen=True, eq=False)
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
        function: the public function that applies the op.
        differentiable: whether any input has a rule.
    """

    name: str
    forward: Callable[..., Any]
    rules: Iterable[Rule | None]
    defaults: Mapping[str, Any]
    sign: str
    view: bool
    domain: tuple[Domain, ...] | None
    function: OpFunction
    differentiable: bool

    def __repr__(self) -> str:
        return f"<op {self.name}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return OPS.__getitem__, (self.name,)


class OpFunction(Protocol):
    """What the factories return: a function of Tensors, arrays and numbers; given no Tensor, it returns an ndarray."""

    op: Op
    __name__: str

    def __call__(self, *inputs: Any, **params: Any) -> Any:
        """Apply the op."""


class Each:
    """The rules of an op with any number of inputs: one rule for all, told the input's `position`."""

    def __init__(self, rule: Rule) -> None:
        self.rule = rule

    def __iter__(self) -> Iterator[Rule]:
        return (partial(self.rule, position=i) for i in itertools.count())


OPS: dict[str, Op] = {}
"""The table: every op by its name, the user's own included."""

NUMPY: dict[Callable[..., Any], Callable[..., Any]] = {}
"""NumPy's functions, and what serves each for Tensors: `np.exp` -> `ops.exp`."""


def unary(name: str, forward: Callable[..., Any], rule: Rule | None, **traits: Any) -> OpFunction:
    """Define an op of one input, enter it in `OPS` and return its function.

    Args:
        name: unique in `OPS`.
        forward: the NumPy function. Its keyword parameters become the op's.
        rule: `rule(g, out, x, **params)`, the gradient with respect to x; None if there is no derivative.
        **traits: `doc`; `sign`; `domain`, a tuple with a `Domain` for each input (default: all real numbers) or None
            for an op that is not elementwise; `view`; `numpy`, NumPy's functions that this op serves.

    >>> squash = unary("squash", lambda x: x / (1 + np.abs(x)), lambda g, out, x: g / (1 + abs(x)) ** 2)
    >>> x = Tensor([-1.0, 0.0, 3.0], requires_grad=True)
    >>> squash(x).sum().backward()
    >>> x.grad
    Tensor([0.25  , 1.    , 0.0625], dtype=float32)
    >>> del OPS["squash"]
    """
    return _define(name, forward, (rule,), **traits)


def binary(
    name: str, forward: Callable[..., Any], rule_x: Rule | None, rule_y: Rule | None, **traits: Any
) -> OpFunction:
    """Define an op of two inputs with rules `rule(g, out, x, y, **params)`; for the rest see `unary`."""
    return _define(name, forward, (rule_x, rule_y), **traits)


def ternary(
    name: str,
    forward: Callable[..., Any],
    rule_x: Rule | None,
    rule_y: Rule | None,
    rule_z: Rule | None,
    **traits: Any,
) -> OpFunction:
    """Define an op of three inputs with rules `rule(g, out, x, y, z, **params)`; for the rest see `unary`."""
    return _define(name, forward, (rule_x, rule_y, rule_z), **traits)


def variadic(name: str, forward: Callable[..., Any], rule: Rule, **traits: Any) -> OpFunction:
    """Define an op of any number of inputs with one rule for all, `rule(g, out, *inputs, position, **params)`."""
    return _define(name, forward, Each(rule), **{"domain": None, **traits})


def _define(
    name: str,
    forward: Callable[..., Any],
    rules: tuple[Rule | None, ...] | Each,
    *,
    doc: str = "",
    sign: str = "",
    view: bool = False,
    domain: tuple[Domain, ...] | None = (REALS, REALS, REALS),
    numpy: tuple[Callable[..., Any], ...] = (),
) -> OpFunction:
    if name in OPS:
        raise ValueError(f"op {name!r} is already in the table; choose another name, or del OPS[{name!r}] first")
    variable = isinstance(rules, Each)
    arity = 0 if variable else len(rules)  # type: ignore[arg-type]
    defaults: dict[str, Any] = {}
    if not isinstance(forward, np.ufunc):
        parameters = list(inspect.signature(forward).parameters.values())
        chosen = [p for p in parameters if p.kind is p.KEYWORD_ONLY] if variable else parameters[arity:]
        defaults = {p.name: p.default for p in chosen}
    _check_rules(name, rules, arity, defaults)
    required = inspect.Parameter.empty in defaults.values()

    def apply1(x: Any) -> Any:
        if isinstance(x, Tensor):
            try:
                data = forward(x._data)
            except (TypeError, ValueError) as error:
                raise _explained(op, (x,), error) from None
            return _result(op, data if data is not x._data else data.copy(), (x,), defaults, x._requires_grad)
        return np.asarray(forward(x))

    def apply2(x: Any, y: Any) -> Any:
        if isinstance(x, Tensor):
            a, tracked = x._data, x._requires_grad
            if isinstance(y, Tensor):
                b, tracked = y._data, tracked or y._requires_grad
            else:
                y = b = _operand(op, y)
        elif isinstance(y, Tensor):
            b, tracked = y._data, y._requires_grad
            x = a = _operand(op, x)
        else:
            return np.asarray(forward(x, y))
        try:
            data = forward(a, b)
        except (TypeError, ValueError) as error:
            raise _explained(op, (x, y), error) from None
        return _result(op, data, (x, y), defaults, tracked)

    def apply3(x: Any, y: Any, z: Any) -> Any:
        if not (isinstance(x, Tensor) and isinstance(y, Tensor) and isinstance(z, Tensor)):
            return _apply(op, (x, y, z), defaults)
        try:
            data = forward(x._data, y._data, z._data)
        except (TypeError, ValueError) as error:
            raise _explained(op, (x, y, z), error) from None
        tracked = x._requires_grad or y._requires_grad or z._requires_grad
        return _result(op, data, (x, y, z), defaults, tracked)

    def apply(*inputs: Any, **params: Any) -> Any:
        if len(inputs) != arity and not variable:
            if len(inputs) < arity or len(inputs) > arity + len(defaults):
                raise TypeError(f"{name}: takes {arity} operands and ({_listed(defaults)}), got {len(inputs)} operands")
            positional = dict(zip(defaults, inputs[arity:], strict=False))
            if positional.keys() & params.keys():
                raise TypeError(f"{name}: {', '.join(positional.keys() & params.keys())} is given twice")
            params, inputs = positional | params, inputs[:arity]
        if not params and not required:
            return _apply(op, inputs, defaults)
        given, params = params, {**defaults, **params}
        if len(params) > len(defaults) or any(value is inspect.Parameter.empty for value in params.values()):
            raise TypeError(f"{name}: takes the parameters ({_listed(defaults)}), got ({_listed(given)})")
        for key, value in params.items():
            if isinstance(value, Tensor):
                raise TypeError(f"{name}: {key} is a parameter, to which no gradient flows; pass a number, or t.item()")
        return _apply(op, inputs, {key: _frozen(value) for key, value in params.items()})

    # The general way takes 1 µs more than those for one, two and three operands.
    function: Any = apply if defaults or variable or view or arity > 3 else (apply1, apply2, apply3)[arity - 1]
    function.__name__ = function.__qualname__ = name
    function.__doc__ = doc
    if not isinstance(forward, np.ufunc):
        function.__signature__ = inspect.signature(forward)
    domain = domain if domain is None else domain[:arity]
    differentiable = variable or any(rule is not None for rule in rules)
    op = function.op = Op(name, forward, rules, defaults, sign or name, view, domain, function, differentiable)
    OPS[name] = op
    served: Any
    for served in (forward, *numpy) if isinstance(forward, np.ufunc) else numpy:
        NUMPY.setdefault(served, function)
    return function


def _check_rules(name: str, rules: tuple[Rule | None, ...] | Each, arity: int, defaults: Mapping[str, Any]) -> None:
    extra = {"position": 0} if isinstance(rules, Each) else {}
    for rule in (rules.rule,) if isinstance(rules, Each) else rules:
        if rule is not None:
            try:
                inspect.signature(rule).bind(None, None, *[None] * (arity or 1), **defaults, **extra)
            except TypeError as error:
                call = ", ".join(["g", "out", "*inputs", *defaults, *extra])
                raise TypeError(f"op {name!r}: a rule is called as rule({call}); {error}") from None


def _apply(op: Op, inputs: tuple[Any, ...], params: Mapping[str, Any]) -> Any:
    """The general way to apply an op: any number of inputs, with parameters."""
    arrays = []
    tensors = raw = tracked = False
    for x in inputs:
        if isinstance(x, Tensor):
            tensors = True
            tracked = tracked or x._requires_grad
            arrays.append(x._data)
        else:
            raw = True
            arrays.append(x)
    if not tensors:
        return np.asarray(op.forward(*arrays, **params))
    if raw:
        inputs = tuple(x if isinstance(x, Tensor) else _operand(op, x) for x in inputs)
        arrays = [x._data if isinstance(x, Tensor) else x for x in inputs]
    try:
        data = op.forward(*arrays, **params)
    except (TypeError, ValueError, IndexError) as error:
        raise _explained(op, inputs, error) from None
    if not op.view and any(data is array for array in arrays):
        data = data.copy()
    result = _result(op, data, inputs, params, tracked)
    if op.view and isinstance(inputs[0], Tensor) and np.may_share_memory(result._data, inputs[0]._data):
        result._changed = changes(inputs[0])
    return result


def _result(op: Op, data: Any, inputs: tuple[Any, ...], params: Mapping[str, Any], tracked: bool) -> Tensor:
    """A Tensor of what `forward` returned, linked to the graph if gradients will flow through it."""
    result = _new(Tensor)
    result._data = data = data if type(data) is _ndarray else np.asarray(data)
    result._grad = result._changed = result.name = None
    if tracked and mode.recording and op.differentiable and (data.dtype.kind == "f" or _integral(op, result)):
        result._requires_grad = True
        result._created = tick()
        result.op = op
        result.params = params
        result.inputs = inputs
        for x in inputs:
            if type(x) is _ndarray:
                # The caller may write into its array before the backward pass: keep a copy.
                result.inputs = tuple(leaf(x.copy()) if isinstance(x, _ndarray) else x for x in inputs)
                break
    else:
        result._requires_grad = False
        result._created = 0
        result.op, result.inputs, result.params = None, (), NO_PARAMS
    if mode.observer is not None:
        mode.observer(result, op, inputs, params)
    return result


def _integral(op: Op, result: Tensor) -> bool:
    """False, for results without derivative; complex ones are refused."""
    if result._data.dtype.kind == "c":
        raise TypeError(
            f"{op.name}: the result is complex, and complex numbers have no gradient here; use real operands"
        )
    return False


_ndarray = np.ndarray
_new = object.__new__
_NUMBERS = (float, int, complex)
_RAW = (np.ndarray, *_NUMBERS)


def _operand(op: Op, x: Any) -> Any:
    """An operand that is not a Tensor. NumPy scalars become Python numbers, so that float32 stays float32."""
    if isinstance(x, np.generic):
        x = x.item()
        return float(x) if isinstance(x, np.floating) else x  # longdouble's item is a longdouble
    if isinstance(x, float) and type(x) is not float:
        return +x  # NumPy would take a class of its own for a float64
    if isinstance(x, _RAW):
        return np.asarray(x) if isinstance(x, np.ndarray) else x  # a subclass, as np.matrix, multiplies in its own way
    raise TypeError(f"{op.name}: expected Tensors, arrays or numbers, got {type(x).__name__} {str(x)[:40]!r}")


def _frozen(value: Any) -> Any:
    """A parameter as nobody can change it before the backward pass: numbers plain, lists as tuples, arrays copied."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, list | tuple):
        return tuple(map(_frozen, value))
    return value.copy() if isinstance(value, np.ndarray) else value


def _listed(params: Mapping[str, Any]) -> str:
    required = inspect.Parameter.empty
    return ", ".join(k if v is required else f"{k}={v!r}" for k, v in params.items())


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
