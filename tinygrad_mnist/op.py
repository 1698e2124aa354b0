"""An op: how it is made a row of the table, and how it is applied to Tensors, arrays and numbers."""

from __future__ import annotations

import inspect
import itertools
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, Protocol

import numpy as np

from .convert import computed, in_one_line, kept, kind_of, numbers, operand, shape_of
from .counterpart import counterpart
from .mode import changed, mode
from .tensor import ATTRIBUTES, NO_PARAMS, Tensor, has_tensors, last_change, leaf, tick

Rule = Callable[..., Any]


class Domain(NamedTuple):
    """Numbers that an input of an elementwise op can be tested with: low <= x <= high, not near a number in `away`."""

    low: float = -4.0
    high: float = 4.0
    away: tuple[float, ...] = ()  # kinks and poles, where no derivative exists


REALS, NONZERO, POSITIVE = Domain(), Domain(away=(0.0,)), Domain(low=0.25)


class OpFunction(Protocol):
    """What the factories return: a function of Tensors, arrays and numbers; given no Tensor, it returns an ndarray."""

    op: Op
    __name__: str

    def __call__(self, *inputs: Any, **params: Any) -> Any:
        """Apply the op."""


@dataclass(eq=False)
class Op:
    """One row of the table.

    Attributes:
        name: the key in `OPS`.
        forward: the NumPy function that computes the op.
        rules: for each input the rule of its gradient; None, or missing, where there is no derivative.
        defaults: the op's keyword parameters and their defaults, read off the signature of `forward`.
        arity: the number of inputs; None for any number.
        sign: how mathematics writes it, for pictures.
        view: whether the result may share memory with the first input.
        domain: what each input of an elementwise op can be tested with; None for ops of another kind.
        hint: what an error says of operands of these shapes, if it knows better than NumPy.
        c: an elementwise op in C, of operands {x}, {y} and {z}; empty if nobody has written it.
        differentiable: whether any input has a rule.
        function: the public function that applies the op.
    """

    name: str
    forward: Callable[..., Any]
    rules: Iterable[Rule | None]
    defaults: Mapping[str, Any]
    arity: int | None
    sign: str
    view: bool
    domain: tuple[Domain, ...] | None
    hint: Callable[..., str] | None
    c: str = ""
    function: Any = None

    def __post_init__(self) -> None:
        self.differentiable = any(rule is not None for rule in self.rules)

    def __setattr__(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)
        changed("changes a row of the table", self)

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


def apply(op: Op, inputs: tuple[Any, ...], params: Mapping[str, Any] = NO_PARAMS) -> Any:
    """Compute an op of inputs of which some are Tensors, and make a Tensor of the result; of arrays alone an array."""
    arrays: list[Any] = []
    tensors = tracked = False
    plain = True  # besides Tensors there are only Python's numbers
    for x in inputs:
        if isinstance(x, Tensor):
            tensors = True
            tracked = tracked or x._requires_grad
            arrays.append(x._array)
        else:
            plain = plain and type(x) in (float, int)
            arrays.append(x)
    if not tensors and any(map(has_tensors, inputs)):
        raise TypeError(f"{op.name}: got a list of Tensors; join them with stack() or concatenate() first")
    if tensors and not plain:
        inputs = tuple(x if isinstance(x, Tensor) else operand(op.name, x, arrays) for x in inputs)
        arrays = [x._array if isinstance(x, Tensor) else x for x in inputs]
    try:
        data = op.forward(*arrays, **params)
    except (AttributeError, TypeError, ValueError, IndexError) as error:
        raise _explained(op, inputs, error).with_traceback(error.__traceback__) from None
    if not tensors:
        return computed(op.name, data, inputs)
    result = leaf(data if type(data) is _ndarray else numbers(op.name, data))
    if tracked and op.differentiable and mode.grad_enabled:
        if result._array.dtype.kind == "f":
            result._requires_grad = True
            result._created = tick()
            result.op, result.inputs, result.params = op, inputs if plain else _copied(inputs), params
        elif result._array.dtype.kind == "c":
            raise TypeError(f"{op.name}: the result is complex, and has no gradient here; use real operands")
    shared = op.view or data is arrays[0]  # as of a user's own op that returns its operand
    if shared and isinstance(inputs[0], Tensor) and np.may_share_memory(result._array, inputs[0]._array):
        result._changed = last_change(inputs[0])
    if mode.observer is not None:
        mode.observer.applied(result, op, inputs, params)
    return result


def _copied(inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    """Inputs as they are kept for the backward pass, before which the caller may write into arrays."""
    return tuple(leaf(x.copy()) if isinstance(x, _ndarray) else x for x in inputs)


def _apply_with(op: Op, inputs: tuple[Any, ...], params: dict[str, Any]) -> Any:
    """Apply an op whose parameters may have been given by position too."""
    name, arity, defaults = op.name, op.arity, op.defaults
    if arity is not None and len(inputs) != arity:
        if not arity < len(inputs) <= arity + len(defaults):
            takes = f"{arity} operand{'s' * (arity != 1)}{f' and ({_listed(defaults)})' if defaults else ''}"
            raise TypeError(f"{name}: takes {takes}, got {len(inputs)}")
        positional = dict(zip(defaults, inputs[arity:], strict=False))
        if positional.keys() & params.keys():
            raise TypeError(f"{name}: {', '.join(positional.keys() & params.keys())} is given twice")
        params, inputs = positional | params, inputs[:arity]
    unknown = params.keys() - defaults.keys()  # as in sum(t, where=mask), which NumPy's function leads to interop.py
    if unknown and (numpys := counterpart([f for f, ours in NUMPY.items() if ours is op.function], unknown)):
        return numpys(*inputs, **params)
    complete = {**defaults, **params}
    if unknown or missing(complete):
        raise TypeError(f"{name}: takes the parameters ({_listed(defaults)}), got ({_listed(params)})")
    for key, value in params.items():
        if isinstance(value, Tensor) or has_tensors(value):
            raise TypeError(f"{name}: {key} is a parameter, to which no gradient flows; pass a number, or t.item()")
    return apply(op, inputs, {key: kept(value) for key, value in complete.items()})


def _listed(params: Mapping[str, Any]) -> str:
    return ", ".join(k if k in missing(params) else f"{k}={in_one_line(v)}" for k, v in params.items())


def missing(params: Mapping[str, Any]) -> list[str]:
    """Those of an op's parameters that have no value, as its `defaults` have none for required ones."""
    return [key for key, value in params.items() if value is inspect.Parameter.empty]


def _explained(op: Op, inputs: Sequence[Any], error: Exception) -> Exception:
    """NumPy's error again, in the words of the op, with the shapes and where possible the remedy."""
    shapes = [shape_of(x) for x in inputs]
    hint = op.hint(*shapes) if op.hint is not None else ""
    if op.domain is not None and len(shapes) > 1:
        try:
            np.broadcast_shapes(*shapes)
        except ValueError:
            hint = (
                f"shapes {' and '.join(map(str, shapes))} do not broadcast: "
                "compared from the right, two sizes must be equal or one of them 1; reshape one of them"
            )
    if hint:
        return ValueError(f"{op.name}: {hint}")
    given = ", ".join(f"{x.dtype}{x.shape}" if isinstance(x, Tensor | np.ndarray) else in_one_line(x) for x in inputs)
    return kind_of(error)(f"{op.name}: {error} (given {given})")


# ----------------------------------------------------------------------------------------------------------------------
# How an op is made

NUMPY: dict[Callable[..., Any], Callable[..., Any]] = {}
"""NumPy's functions, and what serves each for Tensors: `np.exp` -> `ops.exp`."""


def unary(name: str, forward: Callable[..., Any], rule: Rule | None, **traits: Any) -> OpFunction:
    """Define an op of one input, enter it in `OPS` and return its function.

    Args:
        name: unique in `OPS`; but the same module may define its op again, as a notebook's cell does that is run again.
        forward: the NumPy function, of an array that it leaves as it is. Its result has memory of its own, if the op is
            not a `view`. What else it takes becomes the op's parameters. If it is a ufunc which the table has not, such
            as scipy.special.erf, that then works on Tensors too; a ufunc that it has stays with the row it serves.
        rule: `rule(g, out, x, **params)`, the gradient with respect to x; None if there is no derivative. It is called
            with arrays, and with Tensors (for gradients of gradients, pictures and `compile`): so it is written with
            operators, methods of arrays and ops, and writes into nothing.
        **traits: `doc`; `sign`; `domain`, a tuple with a `Domain` for each input (default: all real numbers) or None
            for an op that is not elementwise; `view`; `numpy`, NumPy's functions that this op serves; `hint`; `c`.

    >>> from tinygrad_mnist import Tensor
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
    name: str, forward: Callable[..., Any], rule_x: Rule | None, rule_y: Rule | None, rule_z: Rule | None, **traits: Any
) -> OpFunction:
    """Define an op of three inputs with rules `rule(g, out, x, y, z, **params)`; for the rest see `unary`."""
    return _define(name, forward, (rule_x, rule_y, rule_z), **traits)


def variadic(name: str, forward: Callable[..., Any], rule: Rule | None, **traits: Any) -> OpFunction:
    """Define an op of any number of inputs with one rule, or None: `rule(g, out, *inputs, position, **params)`."""
    return _define(name, forward, Each(rule), **{"domain": None, **traits})


class Each:
    """The rules of an op with any number of inputs: one rule for all, told the input's `position`."""

    def __init__(self, rule: Any) -> None:
        self.rule = rule

    def __iter__(self) -> Iterator[Rule]:
        return (partial(self.rule, position=i) for i in (itertools.count() if self.rule else ()))


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
    hint: Callable[..., str] | None = None,
    c: str = "",
    **unknown: Any,
) -> OpFunction:
    if unknown or not (isinstance(name, str) and callable(forward) and isinstance(c, str)):
        given = ", ".join(unknown) or ", ".join(map(in_one_line, (name, forward, c)))
        raise TypeError(f"op {name!r}: takes a name, a function, doc, sign, view, domain, numpy, hint, c; got {given}")
    caller = sys._getframe(2).f_globals.get("__name__", "__main__")  # the module whose row it is, past unary()
    taken: Any = OPS[name].function if name in OPS else FUNCTIONS.get(name)
    if (name in OPS or hasattr(taken, "__wrapped__")) and taken.__module__ != caller:  # the others are made of ops
        remedy = f"another name{f', or del OPS[{name!r}] first' if name in OPS else ''}"
        raise ValueError(f"op {name!r} is already in the table, made by {taken.__module__}; choose {remedy}")
    arity = None if isinstance(rules, Each) else len(rules)
    is_ufunc = isinstance(forward, np.ufunc)
    defaults = {} if is_ufunc else _defaults(forward, arity)
    _check_rules(name, rules, arity, defaults)
    domains = domain[:arity] if isinstance(domain, tuple) else None
    good = all(type(d) is Domain and isinstance(d.away, tuple) for d in domains or ())
    if domain is not None and not (good and domains and len(domains) == arity):
        raise TypeError(f"op {name!r}: domain is a tuple of {arity} Domain(away=(0,)), got {domain!r}")
    op = Op(name, forward, rules, defaults, arity, sign or name, view, domains, hint, c)
    function = op.function = _function_of(op, caller)
    function.__doc__ = doc
    operands = [inspect.Parameter(x, inspect.Parameter.POSITIONAL_ONLY) for x in "xyz"[:arity]]
    function.__signature__ = inspect.Signature(operands) if is_ufunc else inspect.signature(forward)
    OPS[name] = op
    publish(function, *numpy, *([forward] if is_ufunc else []))
    return function


def _function_of(op: Op, module: str) -> Any:
    arity, defaults, complete = op.arity, op.defaults, not missing(op.defaults)

    def function(*inputs: Any, **params: Any) -> Any:
        if params or len(inputs) != arity or not complete:
            return _apply_with(op, inputs, params)
        return apply(op, inputs, defaults)

    function.__name__ = function.__qualname__ = op.name
    function.__module__ = module  # pickle looks for it there
    function.op = op  # type: ignore[attr-defined]
    return function


FUNCTIONS: dict[str, Any] = {}
"""The functions that the table offers, by name: those of its rows, or what is said in their place with `publish`."""


def publish(function: Any, *numpy: Callable[..., Any]) -> None:
    """Put a function of the table into its places: Tensor's operators and methods, and NumPy's functions."""
    FUNCTIONS[function.__name__] = function
    for attribute, wrap in ATTRIBUTES.get(function.__name__, ()):
        setattr(Tensor, attribute, wrap(function))
    for served in numpy:
        if serving(served) is None:
            NUMPY[served] = function


def serving(function: Callable[..., Any]) -> Callable[..., Any] | None:
    """What serves a function of NumPy for Tensors; None if nothing does, or no more since its op left the table."""
    found = NUMPY.get(function)
    op = getattr(found, "op", None)
    return found if op is None or OPS.get(op.name) is op else None


def _defaults(forward: Callable[..., Any], arity: int | None) -> dict[str, Any]:
    """The parameters of a forward function, which are what it takes besides its inputs, with their defaults."""
    parameters = list(inspect.signature(forward).parameters.values())
    chosen = [p for p in parameters if p.kind is p.KEYWORD_ONLY] if arity is None else parameters[arity:]
    return {p.name: p.default for p in chosen}


def _check_rules(
    name: str, rules: tuple[Rule | None, ...] | Each, arity: int | None, defaults: Mapping[str, Any]
) -> None:
    extra = {"position": 0} if isinstance(rules, Each) else {}
    inputs = ["*inputs"] if arity is None else list("xyz")[:arity]
    for rule in (rules.rule,) if isinstance(rules, Each) else rules:
        if rule is not None:
            try:
                inspect.signature(rule).bind(None, None, *[None] * len(inputs), **defaults, **extra)
            except TypeError as error:
                call = ", ".join(["g", "out", *inputs, *defaults, *extra])
                x = ", ".join(inputs)
                has = f", as forward is; to leave something out wrap it: lambda {x}: forward({x})" if defaults else ""
                raise TypeError(f"op {name!r}: a rule is called as rule({call}){has}; {error}") from None
