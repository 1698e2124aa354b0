"""What holds for every op and all its operands, as properties: linearity, shapes, memory, accumulation, permutation."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.testing import assert_allclose, assert_array_equal

import tinygrad_mnist as tg
from tinygrad_mnist import OPS, Tensor, grad, no_grad

from .helpers import cases, variable

DIFFERENTIABLE = [name for name, op in OPS.items() if op.differentiable]
every_op = pytest.mark.parametrize("name", DIFFERENTIABLE)
SOME = settings().max_examples // 3  # for each op and property: 5, or in CI 16


class Example:
    """An op with operands, as Tensors that require gradients, the result, and a gradient to pass to it."""

    def __init__(self, case: Any, dtype: Any, create_graph: bool) -> None:
        self.function, self.create_graph = case, create_graph
        self.arrays = [case.args[i].astype(dtype, order="K", copy=False)[...] for i in case.places]
        self.tensors: list[Any] = [Tensor(array, requires_grad=True) for array in self.arrays]
        self.out: Any = case(*self.tensors)
        self.gradient = self.upstream(0)

    def upstream(self, seed: int) -> Any:
        whole = np.random.default_rng(seed).integers(-24, 25, self.out.shape)
        return np.array(whole / 8, self.out.dtype)


def examples(name: str, *dtypes: Any) -> Iterator[Example]:
    """Some operands of an op, which all properties share as to draw them takes longer than to try them."""
    with_derivatives = [case for case in cases(name, SOME) if case.places]
    assert with_derivatives
    for i, case in enumerate(with_derivatives):
        yield Example(case, dtypes[i // 2 % len(dtypes)], create_graph=i % 2 == 1)


def close(actual: Any, expected: Any) -> None:
    """Equal to rounding, relative to the largest value."""
    assert_allclose(actual, expected, rtol=1e-11, atol=1e-11 * (1 + float(np.max(np.abs(expected), initial=0))))


def test_there_are_ops_to_test():
    assert {"add", "exp", "matmul", "getitem", "concatenate", "conv2d", "softmax"} <= set(DIFFERENTIABLE)


@every_op
def test_gradient_is_linear_in_the_upstream_gradient(name):
    a, b = 3, -5
    for e in examples(name, np.float64):
        g, h = e.upstream(1), e.upstream(2)
        parts = [grad(e.out, e.tensors, v, retain_graph=True) for v in (g, h, a * g + b * h)]
        for of_g, of_h, of_both in zip(*parts, strict=True):
            close(of_both.data, a * of_g.data + b * of_h.data)


@every_op
def test_gradient_has_its_inputs_shape_and_dtype(name):
    for e in examples(name, np.float64, np.float32):
        e.out.backward(e.gradient, create_graph=e.create_graph)
        for t in e.tensors:
            assert type(t.grad.data) is np.ndarray
            assert (t.grad.shape, t.grad.dtype) == (t.shape, t.dtype)
            t.zero_grad()


@every_op
def test_no_forward_and_no_rule_writes_into_what_it_is_given(name):
    """The array handed to one rule is handed to others too."""
    for e in examples(name, np.float64, np.float32):
        op, given_to_rules = e.out.op, [x.data if isinstance(x, Tensor) else x for x in e.out.inputs]
        arrays = [e.gradient, e.out.data, *e.arrays, *(x for x in given_to_rules if isinstance(x, np.ndarray))]
        kept = [array.copy() for array in arrays]
        for array in arrays:
            array.flags.writeable = False
        for _, rule in zip(given_to_rules, op.rules, strict=False):
            if rule is not None:
                rule(e.gradient, e.out.data, *given_to_rules, **e.out.params)
        e.out.backward(e.gradient)
        e.function(*e.tensors)
        for array, original in zip(arrays, kept, strict=True):
            assert_array_equal(array, original)


@every_op
def test_gradients_share_no_memory_with_anything(name):
    for e in examples(name, np.float64, np.float32):
        others = [e.gradient, e.out.data, *e.arrays]
        for g in grad(e.out, [*e.tensors, e.out, e.tensors[0]], e.gradient, create_graph=e.create_graph):
            assert not any(np.shares_memory(g.data, other) for other in others)
            assert g.data.flags.writeable
            others.append(g.data)


@every_op
def test_two_passes_add_up_and_leave_the_first_gradient_alone(name):
    for e in examples(name, np.float64, np.float32):
        e.out.backward(e.gradient, retain_graph=True, create_graph=e.create_graph)
        first = [t.grad for t in e.tensors]
        values = [g.data.copy() for g in first]
        e.out.backward(e.gradient, create_graph=e.create_graph)
        for t, g, value in zip(e.tensors, first, values, strict=True):
            assert_array_equal(g.data, value)
            assert_array_equal(t.grad.data, value + value)
            t.zero_grad()


@every_op
def test_recorded_pass_computes_the_same_bits_as_the_plain_one(name):
    for e in examples(name, np.float64, np.float32):
        plain = grad(e.out, e.tensors, e.gradient, retain_graph=True)
        recorded = grad(e.out, e.tensors, e.gradient, create_graph=True)
        for a, b in zip(plain, recorded, strict=True):
            assert_array_equal(a.data, b.data)


@every_op
def test_no_grad_computes_the_same_and_leaves_no_graph(name):
    for e in examples(name, np.float64, np.float32):
        with no_grad():
            out = e.function(*e.tensors)
        assert (out.requires_grad, out.op, out.inputs) == (False, None, ())
        assert_array_equal(out.data, e.out.data)
        assert e.function(*e.tensors).requires_grad


@every_op
def test_constants_give_the_same_values_and_dtype_as_variables(name):
    for e in examples(name, np.float64, np.float32):
        out = e.function(*[Tensor(array) for array in e.arrays])
        assert (out.requires_grad, out.op, out.dtype) == (False, None, e.out.dtype)
        assert_array_equal(out.data, e.out.data)
        if name != "getitem":  # which is Tensor's own
            plain = e.function(*e.arrays)
            assert type(plain) is np.ndarray
            assert_array_equal(plain, e.out.data)


@every_op
def test_gradient_of_a_sum_of_losses_is_the_sum_of_gradients(name):
    """The two losses share the result of the op and one of its operands."""
    for e in examples(name, np.float64):
        one = (e.out * e.upstream(1)).sum()
        two = (e.out * e.upstream(2)).sum() + (e.tensors[0] * e.tensors[0]).sum()
        separate = [grad(loss, e.tensors, retain_graph=True) for loss in (one, two)]
        together = grad(one + two, e.tensors, retain_graph=True)
        one.backward(retain_graph=True)
        two.backward()
        for t, a, b, both in zip(e.tensors, *separate, together, strict=True):
            close(both.data, a.data + b.data)
            close(t.grad.data, a.data + b.data)


@st.composite
def batches(draw: Any) -> tuple[Any, Any, Any, Any]:
    """Images, labels, weights and another order of the images."""
    quarters = st.integers(-12, 12).map(lambda i: i / 4)
    n = draw(st.integers(1, 6))
    x = draw(hnp.arrays(np.float64, (n, 3), elements=quarters, fill=st.nothing()))
    labels = draw(hnp.arrays(np.int64, n, elements=st.integers(0, 3)))
    weight = draw(hnp.arrays(np.float64, (3, 4), elements=quarters, fill=st.nothing()))
    return x, labels, weight, np.array(draw(st.permutations(range(n))))


@pytest.mark.parametrize("activation", ["sigmoid", "tanh", "relu", "softplus", "softmax", "abs"])
@given(batches())
def test_permuting_a_batch_permutes_its_gradients_and_leaves_the_weights(activation, batch):
    x, labels, weight, order = batch
    answers = []
    for images, digits in ((x, labels), (x[order], labels[order])):
        inputs, w = variable(images), variable(weight)
        hidden = OPS[activation].function(tg.linear(inputs, w, np.full(4, 0.125)))
        loss = -tg.log_softmax(hidden)[np.arange(len(digits)), digits].mean()
        answers.append([loss.data, *(g.data for g in grad(loss, [inputs, w]))])
    (loss, dx, dw), (loss_permuted, dx_permuted, dw_permuted) = answers
    close(loss_permuted, loss)
    close(dx_permuted, dx[order])
    close(dw_permuted, dw)
