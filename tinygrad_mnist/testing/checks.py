"""What must hold of every op, at any operands; and of any function that is made of ops."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from hypothesis import Phase, given, settings

from tinygrad_mnist import native
from tinygrad_mnist.backward import grad
from tinygrad_mnist.convert import in_one_line
from tinygrad_mnist.gradcheck import GradientError, check_gradients, check_second_derivatives
from tinygrad_mnist.gradcheck.arguments import Argnums, opened
from tinygrad_mnist.ops import Op
from tinygrad_mnist.replay.c_forms import disagreement
from tinygrad_mnist.tensor import Array, Tensor, read_only

from .cases import Case, op_of, operands
from .strategies import in_domain


def check_derivatives(
    f: Callable[..., Any],
    *inputs: Any,
    parameters: Any = None,
    argnums: Argnums = None,
    rtol: float = 1e-8,
    seed: int = 0,
) -> None:
    """Check that first and second derivatives are right, and gradients the same bits when they are recorded as a graph.

    For properties of functions of your own. Arguments and errors are those of `check_gradients`.

    Where f has kinks, poles or ties, draw values away from them: `arrays(values=Domain(-4, 4, away=(-1, 1)))` for a
    Huber cost, `arrays(distinct=True)` for a maximum. On a busy machine a check may take longer than hypothesis allows
    an example: `deadline=None`.

    >>> from hypothesis import settings
    >>> from tinygrad_mnist import ops
    >>> from tinygrad_mnist.testing import arrays
    >>> @settings(deadline=None)
    ... @given(arrays((2, 3)))
    ... def test_swish(x):
    ...     check_derivatives(lambda x: x * ops.sigmoid(x), x)
    >>> test_swish()
    """
    if isinstance(parameters, Iterator):  # which could be gone through once only
        parameters = list(parameters)
    options: dict[str, Any] = {"parameters": parameters, "argnums": argnums, "rtol": rtol, "seed": seed}
    check_gradients(f, *inputs, **options)
    check_second_derivatives(f, *inputs, **options)
    arguments, names, modules = opened(f, inputs, argnums)  # in their own dtypes
    used = getattr(f, "parameters", list)() if parameters is None else parameters
    used = used.parameters() if hasattr(used, "parameters") else used
    used = [*used, *(p for _, module in modules for p in module.parameters())]
    wanted = list(dict.fromkeys([*names, *(p for p in used if p.requires_grad)]))
    out = f(*arguments)
    if out.requires_grad:
        v = _upstream(out)
        computed = grad(out, wanted, v, retain_graph=True)
        recorded = grad(out, wanted, v, create_graph=True)
        for x, a, b in zip(wanted, computed, recorded, strict=True):
            if (a.dtype, a.data.tobytes()) != (b.dtype, b.data.tobytes()):
                raise GradientError(
                    f"the gradient of {names.get(x, x)} is {a}, but {b} with create_graph=True; "
                    "rules must compute the same from Tensors as from arrays"
                )


def check(case: Case) -> None:
    """Check that all derivatives of an op are right at these operands: the property that every op must have.

    That is what `check_derivatives` checks, and f(x, x) too where x is in the domain of all operands; gradients in
    float32, which must have that dtype and the values that they have in float64; that the forward function returns
    memory of its own, if the op is no `view`, and no rule writes into what it is given; and for an op without rules,
    that its result requires no gradients.

    Raises:
        GradientError: one of these does not hold.
    """
    op = case.op if isinstance(case, Case) else None
    if op is None:
        raise TypeError(
            f"check: expected a case drawn from operands(op), got {in_one_line(case)}; "
            "for other functions there is check_derivatives(f, *inputs)"
        )
    variables = [case.args[i] for i in case.places]
    if not variables:
        args = [Tensor(x, requires_grad=_is_floating(x)) if isinstance(x, np.ndarray) else x for x in case.args]
        if not op.differentiable and case.apply(*args).requires_grad:
            raise GradientError(f"{op.name} has no rules, but its result requires gradients")
        return
    _check_memory(case, variables)
    check_derivatives(case, *variables)
    if op.domain is not None and len(variables) > 1:
        x, domains = variables[0], [op.domain[i] for i in case.places]
        if all(in_domain(x, domain) for domain in domains):

            def twice(x: Tensor) -> Any:
                return case(*[x] * len(domains))

            twice.__name__ = f"{op.name} of one Tensor in {len(domains)} places"
            check_derivatives(twice, x)
    _check_float32(case, variables)


def check_op(op: Op | Callable[..., Any] | str, max_examples: int | None = None) -> None:
    """Draw operands of an op and `check` it with them. Errors are those of `operands` and `check`.

    They are drawn as often as hypothesis is set to, 100 times by default, or `max_examples` times.

    If the op has a form in C, and there is a compiler, that must give what the forward function gives, within rounding.

    >>> check_op("tanh")
    """
    row = op_of(op)
    in_c = bool(row.c) and not row.defaults and _has_compiler()  # a form knows nothing of parameters: NumPy computes it
    refusals: dict[type[np.floating[Any]], str] = {}

    # A busy machine is no mistake of the op. What hypothesis explains are parts of an example, which a Case has not, in
    # as many trials as it takes to make it small, and more: 2 of the 3 s that a wrong rule took.
    @settings(
        report_multiple_bugs=False,
        deadline=None,
        max_examples=max_examples or settings().max_examples,
        phases=[phase for phase in settings().phases if phase is not Phase.explain],
    )
    @given(operands(op))
    def holds(case: Case) -> None:
        if in_c:
            _check_c(case, refusals)
        check(case)

    holds()


def _check_float32(case: Case, variables: Sequence[Array]) -> None:
    single, double = ([_variable(x.astype(dtype)) for x in variables] for dtype in (np.float32, np.float64))
    out, exact = case(*single), case(*double)
    assert case.op is not None
    # Of float32 and an array of integers, or of float64 as operands without derivative stay, NumPy makes float64.
    others = [x for i, x in enumerate(case.args) if i not in case.places and isinstance(x, np.ndarray)]
    promoted = case.op.domain is not None and any(x.dtype.kind in "iuf" for x in others)
    if out.dtype == exact.dtype and not promoted and "dtype" not in case.op.defaults:
        raise GradientError(
            f"{case}: the result is {out.dtype} for float32 operands; float32 must stay float32 "
            "(of a Python number NumPy's functions make float64)"
        )
    v = _upstream(exact)
    for i, (a, b) in enumerate(zip(grad(out, single, v), grad(exact, double, v), strict=True)):
        allowed = 1e-5 * np.max(np.abs(b.data), initial=1)
        if a.dtype != np.float32 or not np.all(np.abs(a.data - b.data) <= allowed):
            raise GradientError(f"{case}: the gradient of input {i} in float32 is {a!r}, in float64 {b!r}")


def _check_c(case: Case, refusals: dict[type[np.floating[Any]], str]) -> None:
    """Check that the op's form in C gives what its forward function gives.

    Why it is not compiled for a dtype is kept in `refusals`: an example is made small in a hundred trials, and each of
    them would call the compiler.
    """
    assert case.op is not None
    plain = [x for x in case.args if not isinstance(x, bool | np.bool) and np.asarray(x).dtype.kind in "fiu"]
    for dtype in (np.float32, np.float64) if len(plain) == len(case.args) else ():
        args = [np.ascontiguousarray(x, dtype) for x in np.broadcast_arrays(*plain)]
        wrong = refusals.get(dtype, "")
        if not wrong:
            try:
                wrong = disagreement(case.op, args)
            except native.NativeError as error:
                wrong = refusals[dtype] = f"its form in C {case.op.c!r} is not compiled: {error}"
        if wrong:
            raise GradientError(f"{case}: {wrong}")


def _has_compiler() -> bool:
    try:
        return bool(native.compiler())
    except native.NativeError:
        return False


def _check_memory(case: Case, variables: Sequence[Array]) -> None:
    result = case(*map(_variable, variables))
    assert case.op is not None
    out = next((t for t in (result, *result.inputs) if isinstance(t, Tensor) and t.op is case.op), None)
    if out is None:
        return
    if not case.op.view and any(np.may_share_memory(out.data, x.data) for x in out.inputs if isinstance(x, Tensor)):
        raise GradientError(f"{case}: forward returns memory of an operand; return a copy, or say view=True")
    inputs = [read_only(x.data) if isinstance(x, Tensor) else x for x in out.inputs]
    for i, (x, rule) in enumerate(zip(out.inputs, case.op.rules, strict=False)):
        if rule is not None and isinstance(x, Tensor) and x.requires_grad:
            try:
                rule(read_only(_upstream(out)), read_only(out.data), *inputs, **out.params)
            except ValueError as error:
                if "read-only" not in str(error):
                    raise
                raise GradientError(f"{case}: the rule of input {i} writes into an array that it was given") from error


def _is_floating(x: Any) -> bool:
    return isinstance(x, np.ndarray | Tensor) and x.dtype.kind == "f"


def _variable(x: Array) -> Tensor:
    return Tensor(x, requires_grad=True)


def _upstream(out: Tensor) -> Array:
    """A gradient to begin with, of numbers that differ."""
    return np.linspace(0.75, 1.25, out.size, dtype=out.dtype).reshape(out.shape)
