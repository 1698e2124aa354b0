"""Random compositions over the table: their derivatives are right, recorded or not, and they print as what they are."""

from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import Phase, example, given, seed, settings

import tinygrad_mnist as tg
from tinygrad_mnist import OPS, Domain, Tensor, grad, ops
from tinygrad_mnist.testing import Composition, Line, check_derivatives, compositions

more = settings(max_examples=settings().max_examples * 3)
FUNCTIONS = {**{name: op.function for name, op in OPS.items()}, "getitem": ops.getitem}
FUNCTIONS |= {"concatenate": tg.concatenate, "stack": tg.stack}


def composition(*inputs, lines):
    return Composition(tuple(np.array(x, float) for x in inputs), tuple(Line(*line) for line in lines))


DIAMONDS = composition(
    2.0, lines=[("add", ("a", "a")), ("mul", ("t0", "t0")), ("add", ("t1", "t0")), ("mul", ("t2", "t1"))]
)
POWERS = composition([2.0, 0.5], [0.0, 0.0], lines=[("pow", ("a", "b")), ("mul", ("t0", "a"))])
REPEATED = composition(
    [1.0, 2.0], lines=[("getitem", ("a",), {"index": (np.array([0, 0, 1]),)}), ("mul", ("t0", "t0"))]
)
STRETCHED = composition([[1.0], [2.0]], [3.0, 4.0, 5.0], lines=[("mul", ("a", "b")), ("sum", ("t0",), {"axis": 0})])
SATURATED = composition(  # a second derivative of 4e-7 beside one of 0.1
    [0.0, 0.0, 0.0], [2.25, 3.25, 3.25], lines=[("cumsum", ("b",), {"axis": None}), ("tanh", ("t0",))]
)


@more
@given(compositions())
@example(DIAMONDS)
@example(POWERS)
@example(REPEATED)
@example(STRETCHED)
@example(SATURATED)
def test_derivatives_of_compositions(composition):
    check_derivatives(composition, *composition.inputs)


@given(compositions())
def test_backward_through_a_composition_leaves_what_grad_returns(composition):
    tensors = [Tensor(x, requires_grad=True) for x in composition.inputs]
    out = composition(*tensors)
    if not out.requires_grad:
        return
    v = np.linspace(-1, 2, out.size).reshape(out.shape)
    gradients = grad(out, tensors, v, retain_graph=True)
    out.backward(v)
    for t, g in zip(tensors, gradients, strict=True):
        left = np.zeros(t.shape) if t.grad is None else t.grad.data
        assert left.tobytes() == g.data.tobytes()


@given(compositions())
def test_a_composition_prints_as_python_that_computes_the_same(composition):
    values: dict[str, Any] = {"array": np.array, "zeros": np.zeros, "bool": bool, **FUNCTIONS}
    exec(str(composition), values)
    result = values[f"t{len(composition.lines) - 1}"]
    expected = composition(*composition.inputs)
    np.testing.assert_allclose(result, expected, rtol=1e-12)  # memory layout decides the last bits


@pytest.mark.slow
def test_compositions_use_the_whole_table_and_share_their_values():
    """Over the examples of one run: every kind of op, several inputs, empty and large values, views, repeated use."""
    functions: Counter[str] = Counter()
    seen: Counter[str] = Counter()

    @settings(max_examples=1500, derandomize=True, database=None)
    @given(compositions())
    def look(composition):
        functions.update(line.function for line in composition.lines)
        used = Counter(name for line in composition.lines for name in line.operands if isinstance(name, str))
        seen["shared"] += any(n > 1 for n in used.values())
        seen["long"] += len(composition.lines) >= 5
        seen["several inputs"] += len(used.keys() & set("abc")) > 1
        seen["several values"] += composition(*composition.inputs).size > 1
        seen["empty"] += composition(*composition.inputs).size == 0

    look()
    elementwise = {op.name for op in OPS.values() if op.differentiable and op.domain and op.name != "astype"}
    others = {"matmul", "sum", "mean", "max", "min", "logsumexp", "softmax", "log_softmax", "reshape", "transpose"}
    others |= {"prod", "cumsum", "cumprod", "broadcast_to", "getitem", "pad", "concatenate", "stack"}
    assert others <= set(functions)
    assert len(elementwise - set(functions)) <= len(elementwise) // 10  # by chance, of those with narrow domains
    assert min(seen[kind] for kind in ("shared", "long", "several inputs", "several values", "empty")) > 20


def test_an_op_of_ones_own_takes_part_and_is_found_if_wrong():
    def use(rule):
        tg.unary("softsign", lambda x: x / (1 + np.abs(x)), rule, domain=(Domain(away=(0.0,)),))
        used = []

        @seed(1)
        @settings(max_examples=200, derandomize=False, database=None, phases=[Phase.generate])
        @given(compositions(max_lines=2))
        def run(composition):
            if any(line.function == "softsign" for line in composition.lines):
                used.append(composition)
                check_derivatives(composition, *composition.inputs)

        try:
            run()
        finally:
            del OPS["softsign"]
        assert used

    use(lambda g, out, x: g / (1 + abs(x)) ** 2)
    with pytest.raises(AssertionError, match=r"The cause is <op softsign>: the gradient is wrong"):
        use(lambda g, out, x: g / (1 + x) ** 2)
