"""Every op in the table has right derivatives, first and second, whatever its operands: shapes, layouts and dtypes.

Adding an op to the table adds it here; without operands to test it with, it fails.
"""

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import example, given, settings

import tinygrad_mnist as tg
from tinygrad_mnist import OPS
from tinygrad_mnist.losses import quadratic_cost
from tinygrad_mnist.testing import Case, arrays, check, check_derivatives, check_op, operands, shapes

from .helpers import cases

EXAMPLES = settings().max_examples  # a property: 15, or in CI 50
DIFFERENTIABLE = [name for name, op in OPS.items() if op.differentiable]


@pytest.mark.parametrize("name", OPS)
def test_derivatives_of(name):
    """Where it is to be quick, elementwise ones with half as many operands: they have many numbers each."""
    check_op(name, 7 if OPS[name].domain and EXAMPLES == 15 else EXAMPLES)


def test_the_table_is_all_there():
    assert len(OPS) >= 50
    assert {"add", "pow", "where", "matmul", "max", "softmax", "getitem", "conv2d", "quadratic_cost"} <= set(
        DIFFERENTIABLE
    )


def test_an_op_without_operands_fails_by_its_absence():
    """It is in OPS, so it is among the ops tested above, and there is nothing to test it with."""
    tg.variadic("nameless", lambda *arrays: arrays[0] * 1, lambda g, out, *arrays, position: g)
    tg.unary("with_power", lambda x, n: x**n, lambda g, out, x, n: g * n * x ** (n - 1))
    try:
        assert "nameless" in OPS
        with pytest.raises(
            LookupError, match=r"nothing says what to test op 'nameless' with; give domain= .*operands_of"
        ):
            check_op("nameless")
        with pytest.raises(LookupError, match=r"'with_power' has required parameters; declare .*operands_of"):
            check_op("with_power")
    finally:
        del OPS["nameless"], OPS["with_power"]


@pytest.mark.slow
def test_operands_are_of_all_kinds():
    """So that nothing passes for want of a case."""
    seen: Counter[str] = Counter()
    for name in DIFFERENTIABLE:
        sizes = []
        for case in cases(name):
            variables = [case.args[i] for i in case.places]
            for x in variables:
                seen["read-only"] += not x.flags.writeable
                seen["transposed"] += x.flags.f_contiguous and not x.flags.c_contiguous
                seen["reversed"] += x.size > 1 and any(stride < 0 for stride in x.strides)
                seen["broadcast"] += any(stride == 0 and n > 1 for stride, n in zip(x.strides, x.shape, strict=True))
                seen["0-d"] += x.ndim == 0
                seen["empty"] += x.size == 0
            seen["stretched"] += (
                any(x.size < math.prod(np.broadcast_shapes(*(x.shape for x in variables))) for x in variables)
                if OPS[name].domain
                else 0
            )
            seen["with a number"] += any(isinstance(x, float) for x in case.args)
            seen["with parameters"] += bool(case.params)
            sizes += [x.size for x in variables]
        assert sum(size > 1 for size in sizes) >= 15, name
        assert {i for case in cases(name) for i in case.places} >= {i for i, rule in enumerate(rules(name)) if rule}
    assert min(seen.values()) >= 30
    assert len(seen) == 9


def rules(name):
    return OPS[name].rules if isinstance(OPS[name].rules, tuple) else ()


# --- one Tensor in two places (elementwise ops: see `check`) ----------------------------------------------------------


@given(arrays(shapes(min_dims=1)))
def test_matmul_of_a_tensor_with_itself(x):
    check_derivatives(lambda x: x @ x if x.ndim == 1 else x @ x.mT, x)


@given(arrays(shapes(min_dims=1, max_dims=1)))
def test_one_tensor_everywhere_in_an_op_that_is_not_elementwise(x):
    check_derivatives(lambda x: tg.concatenate([x, 2 * x, x]), x)
    check_derivatives(lambda x: tg.stack([x, x, x * x], axis=1), x)
    check_derivatives(lambda x: tg.linear(x[:, None], x[None], x), x)
    if x.size:
        check_derivatives(lambda x: quadratic_cost(x, x * x), x)


# --- cases that were found once ---------------------------------------------------------------------------------------


@given(operands("pow"))
@example(Case((np.array(2.0), np.array(0.0)), op=OPS["pow"]))  # ∂²(x^y)/∂x∂y at y = 0 is 1/x
@example(Case((np.array([0.0, -1.0]), 0), op=OPS["pow"]))
def test_powers(case):
    check(case)
