"""Operands of an op, whoever made it: an op with what it is called with is a `Case`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import numpy as np
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from tinygrad_mnist.convert import in_one_line
from tinygrad_mnist.op import missing
from tinygrad_mnist.ops import OPS, Domain, Op

from .strategies import broadcastable


@dataclass(frozen=True, eq=False)
class Case:
    """An op with operands and parameters in its domain: one example to test it with.

    Args:
        args: the operands. Derivatives are checked for those that are floating arrays, if the op has a rule for them.
        params: the op's parameters.
        function: what to call with them, if it is not the op's own function.
        op: filled in by `operands`.
    """

    args: tuple[Any, ...]
    params: Mapping[str, Any] = field(default_factory=dict)
    function: Callable[..., Any] | None = None
    op: Op | None = None

    @property
    def places(self) -> list[int]:
        """The positions of the operands that have a derivative."""
        assert self.op is not None
        pairs = enumerate(zip(self.args, self.op.rules, strict=False))
        return [i for i, (x, rule) in pairs if rule and isinstance(x, np.ndarray) and x.dtype.kind == "f"]

    def __call__(self, *tensors: Any) -> Any:
        """The op applied, with these in place of the operands that have a derivative."""
        assert self.op is not None
        args = list(self.args)
        for i, tensor in zip(self.places, tensors, strict=True):
            args[i] = tensor
        return self.apply(*args)

    def apply(self, *args: Any) -> Any:
        """The op applied to these operands, all of them."""
        assert self.op is not None
        return (self.function or self.op.function)(*args, **self.params)

    @property
    def __name__(self) -> str:
        return self.op.name if self.op else "case"

    def __repr__(self) -> str:
        parts = [as_text(x) for x in self.args] + [f"{key}={as_text(value)}" for key, value in self.params.items()]
        return f"{self.__name__}({', '.join(parts)}){''.join(map(notes_on, self.args))}"

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text(repr(self))  # hypothesis would print all fields


def as_text(x: Any) -> str:
    """The value as Python writes it."""
    if isinstance(x, type):
        return x.__name__
    if isinstance(x, np.ndarray) and x.size == 0:
        return f"zeros({x.shape})" if x.dtype == float else f"zeros({x.shape}, {x.dtype})"
    return " ".join(repr(x).split())


def notes_on(x: Any) -> str:
    """A comment, if it is an array that lies in memory in an unusual way."""
    if not isinstance(x, np.ndarray) or (x.flags.c_contiguous and x.flags.writeable):
        return ""
    return f"  # strides {x.strides}" + ", read-only" * (not x.flags.writeable)


own_operands: dict[str, Callable[[], SearchStrategy[Case]]] = {}
CaseStrategy = TypeVar("CaseStrategy", bound=Callable[..., SearchStrategy[Case]])


def operands_of(*names: str) -> Callable[[CaseStrategy], CaseStrategy]:
    """Declare what ops are tested with: a decorator of a function without arguments that returns a strategy of `Case`.

    It is needed for ops that are not elementwise, or have required parameters. Elementwise ops need only `domain=` in
    the call that defines them.

    >>> from tinygrad_mnist import unary
    >>> from tinygrad_mnist.testing import check_op, shapes, arrays
    >>> double_rows = unary("double_rows", lambda x, row: np.where(np.arange(len(x)) == row, 2 * x.T, x.T).T,
    ...                     lambda g, out, x, row: double_rows(g, row=row), domain=None)
    >>> @operands_of("double_rows")
    ... @st.composite
    ... def double_rows_operands(draw):
    ...     x = draw(arrays(shapes(min_dims=1, min_side=1)))
    ...     return Case((x,), {"row": draw(st.integers(0, len(x) - 1))})
    >>> check_op(double_rows)
    >>> del OPS["double_rows"]
    """
    if not names or not all(isinstance(name, str) for name in names):
        given = ", ".join(map(in_one_line, names)) or "none"
        raise TypeError(f'operands_of: expected the names of ops, as in @operands_of("softsign"), got {given}')

    def register(strategy: CaseStrategy) -> CaseStrategy:
        for name in names:
            own_operands[name] = strategy
        return strategy

    return register


def op_of(op: Op | Callable[..., Any] | str) -> Op:
    """The row of the table: of the op itself, its function, NumPy's function of that name, or its name."""
    name = op if isinstance(op, str) else op.name if isinstance(op, Op) else getattr(op, "__name__", None)
    if name not in OPS:
        raise LookupError(
            f"operands: there is no op {name or op!r} in OPS; define it with unary, binary, ternary or variadic"
        )
    return OPS[name]


def operands(op: Op | Callable[..., Any] | str) -> SearchStrategy[Case]:
    """Operands in the domain of an op, ours or a user's: the op itself, its function or its name.

    Raises:
        LookupError: there is no such op, or it is not known what to test it with.
    """
    found = op_of(op)
    name = found.name
    strategy: SearchStrategy[Case]
    if name in own_operands:
        strategy = own_operands[name]()
    elif found.domain is None:
        raise LookupError(
            f"operands: nothing says what to test op {name!r} with; give domain= in the call that defines it if it is "
            f"elementwise, or declare a strategy with @testing.operands_of({name!r})"
        )
    elif missing(found.defaults):
        raise LookupError(
            f"operands: op {name!r} has required parameters; declare a strategy with @testing.operands_of({name!r})"
        )
    else:
        strategy = _with_params(elementwise(*found.domain), found.defaults)
    return strategy.map(lambda case: replace(case, op=found))


def _with_params(cases: SearchStrategy[Case], defaults: Mapping[str, Any]) -> SearchStrategy[Case]:
    """The same with other parameters too, where they are numbers: a rule may have forgotten them.

    They are so near to the defaults that no kink or pole which depends on them comes to lie among the operands.
    """
    numbers = {key: x for key, x in defaults.items() if type(x) is float and x}
    if not numbers:
        return cases
    others = {key: st.sampled_from((x, x * 63 / 64)) for key, x in numbers.items()}  # optional ones came too seldom

    def changed(case: Case, params: Mapping[str, float]) -> Case:
        return replace(case, params={key: x for key, x in params.items() if x != numbers[key]})

    return st.builds(changed, cases, st.fixed_dictionaries(others))


@st.composite
def elementwise(draw: st.DrawFn, *domains: Domain) -> Case:
    """Operands that broadcast together, no two ever equal; one of several may be a Python number."""
    args: tuple[Any, ...] = draw(broadcastable(*domains))
    if len(args) > 1 and draw(st.integers(0, 5)) == 5:
        i = draw(st.integers(0, len(args) - 1))
        if args[i].size:
            args = (*args[:i], args[i].flat[0].item(), *args[i + 1 :])
    return Case(args)
