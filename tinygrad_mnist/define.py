"""How an op is made: its forward function and its rules become a row of the table and a function."""

from __future__ import annotations

import functools
import inspect
import itertools
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, Protocol

import numpy as np

from .op import OPS, REALS, UNROLLED, Domain, Op, Rule, general
from .tensor import Array


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


NUMPY: dict[Callable[..., Any], Callable[..., Any]] = {}
"""NumPy's functions, and what serves each for Tensors: `np.exp` -> `ops.exp`."""


def serving(function: Callable[..., Any]) -> Callable[..., Any] | None:
    """What serves a function of NumPy for Tensors; None if nothing does, or no more since its op left the table."""
    found = NUMPY.get(function)
    op = getattr(found, "op", None)
    return found if op is None or OPS.get(op.name) is op else None


def unary(name: str, forward: Callable[..., Any], rule: Rule | None, **traits: Any) -> OpFunction:
    """Define an op of one input, enter it in `OPS` and return its function.

    Args:
        name: unique in `OPS`; but the same module may define its op again, as a notebook's cell does that is run again.
        forward: the NumPy function, of an array that it leaves as it is. What else it takes becomes the op's
            parameters. If it is a ufunc such as np.cbrt, that then works on Tensors too: np.cbrt(t) is this op.
        rule: `rule(g, out, x, **params)`, the gradient with respect to x; None if there is no derivative. It is called
            with arrays, and with Tensors (for gradients of gradients, pictures and `compile`): so it is written with
            operators, methods of arrays and ops, and writes into nothing.
        **traits: `doc`; `sign`; `domain`, a tuple with a `Domain` for each input (default: all real numbers) or None
            for an op that is not elementwise; `view`; `numpy`, NumPy's functions that this op serves.

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
    caller = sys._getframe(2).f_globals.get("__name__", "__main__")
    if name in OPS and (owner := OPS[name].function.__module__) != caller:
        raise ValueError(
            f"op {name!r} is already in the table, made by {owner}; choose another name, or del OPS[{name!r}] first"
        )
    arity = None if isinstance(rules, Each) else len(rules)
    is_ufunc = isinstance(forward, np.ufunc)
    defaults = {} if is_ufunc else _defaults(forward, arity)
    _check_rules(name, rules, arity, defaults)
    _check_domain(name, domain, arity)
    ours = caller.partition(".")[0] == __name__.partition(".")[0]
    if not ours and not is_ufunc:
        forward = _guarded(forward, view)
    op = Op(
        name=name,
        forward=forward,
        rules=rules,
        defaults=defaults,
        sign=sign or name,
        view=view,
        domain=domain and domain[:arity],
        arity=arity,
        differentiable=arity is None or any(rule is not None for rule in rules),
        ours=ours,
    )
    simple = not defaults and not view
    function = op.function = (UNROLLED.get(arity, general) if simple else general)(op)
    function.__name__ = function.__qualname__ = name
    function.__module__ = caller  # pickle looks for it there
    function.__doc__ = doc
    function.op = op
    if not is_ufunc:
        function.__signature__ = inspect.signature(forward)
    OPS[name] = op  # the row of a cell that is run again replaces the one that it made before
    served: Any
    for served in (forward, *numpy) if is_ufunc else numpy:
        if serving(served) is None:
            NUMPY[served] = function
    return function


def _defaults(forward: Callable[..., Any], arity: int | None) -> dict[str, Any]:
    """The parameters of a forward function, which are what it takes besides its inputs, with their defaults."""
    parameters = list(inspect.signature(forward).parameters.values())
    chosen = [p for p in parameters if p.kind is p.KEYWORD_ONLY] if arity is None else parameters[arity:]
    return {p.name: p.default for p in chosen}


def _guarded(forward: Callable[..., Any], view: bool) -> Callable[..., Any]:
    """A forward function of the user's, whose result is an array of numbers, in memory of its own unless a `view`."""

    @functools.wraps(forward)
    def guarded(*arrays: Any, **params: Any) -> Array:
        result = np.asarray(forward(*arrays, **params))
        if result.dtype.kind not in "biufc":
            raise TypeError(f"forward returned {result.dtype} {str(result)[:40]!r}, expected an array of numbers")
        if not view and any(isinstance(x, np.ndarray) and np.may_share_memory(x, result) for x in arrays):
            return result.copy()
        return result

    return guarded


def _check_domain(name: str, domain: Any, arity: int | None) -> None:
    if domain is not None and (
        not isinstance(domain, tuple) or len(domain) < (arity or 0) or not all(isinstance(d, Domain) for d in domain)
    ):
        raise TypeError(f"op {name!r}: domain is a tuple with a Domain for each input ({arity}), got {domain!r}")


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
                has = f"; what its forward takes besides {', '.join(inputs)} are parameters" if defaults else ""
                raise TypeError(f"op {name!r}: a rule is called as rule({call}){has}; {error}") from None
