"""NumPy's functions with lists beside Tensors, and with arguments that change what is computed: as of arrays."""

from __future__ import annotations

import itertools
from collections import namedtuple
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import tinygrad_mnist as tg
from tinygrad_mnist import Tensor, grad
from tinygrad_mnist.gradcheck import check_gradients

from .helpers import refused, variable

V = np.array([0.5, -1.25, 2.0])
M = np.array([[0.25, 1.5, -2.0], [-0.5, 0.75, 1.25]])
W = np.array([True, False, True])
B = np.array([[True, False, True], [False, True, True]])
NAMES = {
    "np": np,
    "W": W,
    "B": B,
    "K": np.array([[True, False, True], [True, True, True]]),
    "U": np.array([0.5, 0.25, 2.0]),
}

LISTS = """
    np.concatenate([[0.0], v])
    np.concatenate([[0.0], v], axis=None)
    np.stack([[1.0, 2, 3], v])
    np.stack([v, (1, 2, 3)], axis=1)
    np.stack([[1, 2, 3]] * 40 + [v])
    np.where([True, False, True], v, [0, 0, 0])
    np.where(v > 0, v, [1.5, 2.5, 3.5])
    np.select([[True, False, True]], [v], [7, 8, 9])
    np.maximum(v, [0.0, 0.0, 5.0])
    np.minimum([0.0, 0.0, 5.0], v)
    np.hypot([1, 2, 3], v)
    np.clip(v, [0, 0, 0], [1, 1, 1])
    np.add(v, [[1], [2]])
    np.matmul(v, [[1, 2], [3, 4], [5, 6]])
    np.append(v, [1.0])
    np.average(v, weights=[1, 2, 3])
    v + [1, 2, 3]
    [1, 2, 3] + v
    (1.0, 2.0, 3.0) * v
    v / [2, 4, 8]
    [[1.0], [2.0]] - v
    v ** [1, 2, 3]
    v @ [1, 2, 3]
""".strip().splitlines()
KEYWORDS = """
    np.sum(m, where=B)
    np.sum(m, 1, where=W, keepdims=True)
    np.sum(m, axis=0, initial=2.5)
    np.sum(m, where=B, initial=1, axis=(0, 1))
    np.sum(m, None, np.float64)
    np.prod(m, where=B, initial=3)
    np.mean(m, 1, where=B)
    np.mean(m, dtype=np.float64)
    np.var(m, 1, where=B, ddof=1)
    np.var(m, axis=1, mean=np.mean(m, axis=1, keepdims=True))
    np.std(m, where=B, correction=1)
    np.max(m, 1, initial=1.375, where=B)
    np.max(m, initial=0.0)
    np.amin(m, 0, where=B, initial=5)
    np.min(m, initial=-9.0)
    np.nansum(np.where(K, m, np.nan), where=B)
    np.nanmean(np.where(K, m, np.nan), 1, where=B)
    np.nanmax(np.where(K, m, np.nan), 1, where=B, initial=-9)
    np.nanvar(np.where(K, m, np.nan), 1, where=B)
    np.cumsum(m, 1, dtype=np.float64)
    np.trace(m, dtype=np.float64)
    np.concatenate([m, m], dtype=np.float64)
    np.vstack([m, [1, 2, 3]], dtype=np.float64)
    np.exp(m, dtype=np.float64)
    np.multiply(m, [1, 2, 3], dtype=np.float64)
    np.einsum("ij->j", m, dtype=np.float64)
    np.cov(m, aweights=U)
    np.cov(m, fweights=[1, 3, 2])
    np.cov(m, fweights=[1, 3, 2], aweights=U, ddof=0)
    np.cov(m, bias=True, aweights=[1, 2, 3])
    np.reshape(m, (3, 2), order="F")
    np.reshape(m, -1, order="F")
    np.reshape(m, (3, -1), copy=True)
    np.take(m, [0, 9, -3], mode="clip")
    np.take(m, [[4, -4]], axis=1, mode="wrap")
    np.quantile(m, 0.5, 1, weights=[1, 2, 3], method="inverted_cdf")
    np.quantile(m, [0.1, 0.5], axis=0, weights=[2, 1], method="inverted_cdf", keepdims=True)
    np.percentile(m, [[20], [90]], weights=[[1, 2, 3], [3, 1, 1]], method="inverted_cdf")
    np.linalg.pinv(m[:, :2], hermitian=True)
    np.linalg.svd(m[:, :2], compute_uv=False, hermitian=True)
""".strip().splitlines()
CALLS = [call.strip() for call in LISTS + KEYWORDS]


def called(call: str, operand: Any) -> Any:
    return eval(call, {**NAMES, "v" if "v" in compile(call, call, "eval").co_names else "m": operand})


def array_of(call: str) -> Any:
    return V if "v" in compile(call, call, "eval").co_names else M


@pytest.mark.parametrize("call", CALLS)
def test_values_and_gradients_are_those_of_arrays(call):
    x = array_of(call)
    result = called(call, variable(x))
    assert isinstance(result, Tensor)
    assert_allclose(result.data, called(call, x), rtol=1e-14)
    assert result.requires_grad
    check_gradients(lambda x: called(call, x), x)


@pytest.mark.parametrize("call", CALLS)
def test_float32_stays_float32_unless_another_is_asked_for(call):
    result = called(call, variable(array_of(call), np.float32))
    others = "float64" in call or "U" in call
    assert result.dtype == (np.float64 if others else np.float32)


@pytest.mark.parametrize(
    "call", ["np.maximum(v, [0, 1, 2])", "np.sum(m, 1, where=m > 0)", "np.take(m, [7], mode='wrap')"]
)
def test_they_compile(call):
    step = tg.compile(lambda x: called(call, x) * 2)
    for k in range(6):
        x = array_of(call) * (k - 2.5)
        assert_array_equal(step(x).data, called(call, x) * 2)
    assert step.replays


def test_equal_elements_that_are_chosen_have_the_spread_0():
    x = variable([[1.0, 1.0, 5.0]])
    np.std(x, where=np.array([True, True, False])).backward()
    assert_array_equal(x.grad.data, np.zeros((1, 3)))


def test_an_extremum_of_nothing_is_the_initial_number():
    x = variable(np.zeros((0, 2)))
    assert_array_equal(np.max(x, 0, initial=3).data, np.max(x.data, 0, initial=3))


def test_what_is_not_chosen_does_no_harm():
    x = variable([1.0, np.nan, np.inf])
    for call in (np.sum, np.mean, np.var):
        result = call(x, where=np.array([True, False, False]))
        assert np.isfinite(grad(result, x).data).all()


def test_comparisons_take_lists_too():
    t = variable([10.0, 21.0])
    assert (t == [10.0, 20.0]).tolist() == [True, False]
    assert (t != (10.0, 20.0)).tolist() == [False, True]
    assert (t > [10, 20]).tolist() == [False, True]
    assert (t >= [10, 20]).tolist() == [True, True]
    assert (t == "text") is False
    assert (t == None) is False  # noqa: E711


def test_exclusive_or():
    a, b = np.array([5, 6, 7]), np.array([3, 3, 0])
    x: Any
    for x, y in itertools.product((a, Tensor(a)), (b, Tensor(b))):
        assert_array_equal(np.asarray(x ^ y), a ^ b)
    positive: Any = Tensor(V) > 0
    assert (positive ^ W).tolist() == [False, False, False]
    assert (6 ^ Tensor(a)).tolist() == [3, 0, 1]


def test_whole_numbers_are_promoted_as_numpy_does():
    n = np.array([1, 2], np.uint8)
    assert np.append(Tensor(n), [300, 4]).tolist() == [1, 2, 300, 4]
    assert np.add(Tensor(n), [300, 4]).tolist() == [301, 6]


Pair = namedtuple("Pair", "first second")


def test_named_tuples_among_the_arguments_of_a_query():
    assert np.array_equal(Pair(Tensor(V), Tensor(V)), [V, V])


@pytest.mark.parametrize(
    ("kind", "call", "words"),
    [
        (TypeError, "v + ['a']", ["add", "lists of numbers", "'a'"]),
        (TypeError, "v == [None]", ["eq", "lists of numbers"]),
        (TypeError, "v + [v, v]", ["add", "list of Tensors", "stack()"]),
        (TypeError, "v + (1, 2, v[0])", ["add", "list of Tensors", "stack()"]),
        (TypeError, "v + [v.detach()]", ["add", "list of Tensors", "stack()"]),
        (TypeError, "np.stack([v, [v, v]])", ["stack: ", "list of Tensors"]),
        (TypeError, "np.concatenate([v, [v[0]]], axis=None)", ["concatenate: ", "list of Tensors"]),
        (ValueError, "v + [1, 2]", ["add", "(3,) and (2,)"]),
        (ValueError, "v + [[1], [2, 3]]", ["add", "inhomogeneous"]),
        (TypeError, "np.exp(v, out=v)", ["np.exp", "out=", "use the result"]),
        (TypeError, "np.sum(m, out=m)", ["np.sum", "out=", "use the result"]),
        (TypeError, "np.exp(v, where=W)", ["np.exp", "where=", "np.where(mask"]),
        (TypeError, "np.sum(m, dtype=int)", ["np.sum", "floating", "int64", ".astype()"]),
        (TypeError, "np.sum(m, where=[1, 0, 1])", ["np.sum", "booleans", "t > 0"]),
        (ValueError, "np.max(m, where=B)", ["np.max", "initial="]),
        (ValueError, "np.reshape(m, -1, order='A')", ["np.reshape", "'C' or 'F'", "'A'"]),
        (ValueError, "np.take(m, 0, mode='near')", ["np.take", "'wrap'", "'near'"]),
        (ValueError, "np.cov(m, fweights=[1, 2, 0.5])", ["cov", "whole numbers"]),
        (ValueError, "np.cov(m, aweights=[1, 2])", ["cov", "3 numbers"]),
        (TypeError, "np.nanquantile(m, 0.5, weights=[1, 2, 3])", ["np.nanquantile", "weights=", "leave it out"]),
        (ValueError, "np.quantile(m, 0.5, 1, weights=[1, 2, 3])", ["np.quantile", "'inverted_cdf'", "'linear'"]),
        (TypeError, "np.quantile(m, 0.5, 1, weights=m[0], method='inverted_cdf')", ["np.quantile", "weights.numpy()"]),
        (TypeError, "np.frexp(v)", ["np.frexp is not in the table"]),
        (TypeError, "np.add.reduce(v)", ["np.add.reduce", "np.sum()"]),
    ],
)
def test_what_cannot_be_is_one_line_with_the_remedy(kind, call, words):
    with refused(kind, *words):
        called(call, variable(array_of(call)))


def test_arrays_take_what_has_no_gradient_in_place():
    w, g = np.ones(3), Tensor(V)
    w -= 0.5 * g
    np.multiply(g, 2, out=w)
    assert_array_equal(w, 2 * V)
    for lost in (variable(V), [variable(1.0)] * 3):
        with refused(TypeError, "out="):
            np.subtract(g, lost, out=w)
    m = M.copy()
    m @= Tensor(np.diag(V))
    np.multiply(g, 7, out=m, where=Tensor(B))
    assert_array_equal(m, np.where(B, 7 * V, M @ np.diag(V)))
    with refused(TypeError, "np.matmul: out= is not taken", "use the result"):
        m @= variable(np.diag(V))


def test_a_function_that_is_not_numpys_is_not_called_so():
    ours = np.frompyfunc(float, 1, 1)
    with refused(TypeError, "float"):
        ours(variable(V))
    with pytest.raises(TypeError) as caught:
        ours(variable(V))
    assert "np.float" not in str(caught.value)


METHODS = """
    sum(where=B) sum(1,where=W,keepdims=True) sum(axis=0,initial=2.5) sum(dtype=np.float64) prod(where=B,initial=3)
    mean(1,where=B) mean(dtype=np.float64) max(1,initial=1.375,where=B) min(initial=-9.0) var(1,where=B,ddof=1)
    std(where=B) cumsum(1,dtype=np.float64) trace(dtype=np.float64) take([0,9],mode='clip') take([4,-4],1,mode='wrap')
    reshape((3,2),order='F') reshape(-1,copy=True) clip(0,1,dtype=np.float64) dot(b=m.T) astype(np.float64,copy=False)
""".split()


@pytest.mark.parametrize("call", METHODS)
def test_methods_and_functions_take_what_numpys_do(call):
    name, _, arguments = call.partition("(")
    expected = eval(f"m.{call}", {**NAMES, "m": M})
    method = eval(f"t.{call}", {**NAMES, "m": M, "t": variable(M)})
    function = getattr(tg, name)
    ours = eval(f"function(t, {arguments}", {**NAMES, "m": M, "t": variable(M), "function": function})
    plain = eval(f"function(m, {arguments}", {**NAMES, "m": M, "function": function})
    assert method.requires_grad
    assert ours.requires_grad
    assert type(plain) is np.ndarray
    for found in (method.data, ours.data, plain):
        assert_allclose(found, expected, rtol=1e-14)
    check_gradients(lambda t: eval(f"t.{call}", {**NAMES, "m": M, "t": t}), M)


def test_methods_take_parameters_by_position_beside_numpys():
    assert_allclose(variable(M).sum(0, True, where=B).data, np.sum(M, 0, keepdims=True, where=B))
    assert_allclose(variable(M).reshape(3, 2, order="F").data, M.reshape(3, 2, order="F"))
    assert variable(M, np.float32).mean(1, dtype=np.float64).dtype == np.float64
    assert variable(M).transpose(axes=(1, 0)).shape == variable(M).transpose().shape == (3, 2)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        ("t.sum(out=m)", ["np.sum: out= is not taken", "use the result"]),
        ("t.exp(where=B)", ["np.exp: where= is not taken", "np.where(mask"]),
        ("t.take(0, out=m)", ["np.take: out= is not taken"]),
        ("t.sum(dtype=int)", ["np.sum", "floating dtype="]),
        ("t.sum(axes=0)", ["sum: takes the parameters (axis=None, keepdims=False), got (axes=0)"]),
        ("t.softmax(where=B)", ["softmax: takes the parameters (axis=-1)"]),
        ("t.reshape(3, 2, form=1)", ["reshape: takes the parameters (shape)"]),
        ("t.clip(0, 1, form=1)", ["clip", "form"]),
    ],
)
def test_methods_refuse_what_nobody_takes_in_one_line(call, words):
    with refused(TypeError, *words):
        eval(call, {**NAMES, "m": M.copy(), "t": variable(M)})


def test_methods_with_numpys_arguments_compile():
    step = tg.compile(lambda x: x.sum(1, where=x > 0) + x.max(1, initial=0.5))
    for k in range(6):
        x = M * (k - 2.5)
        assert_array_equal(step(x).data, x.sum(1, where=x > 0) + x.max(1, initial=0.5))
    assert step.replays


def test_an_own_row_in_the_place_of_numpys_is_not_passed_over(monkeypatch):
    """np.sum(t, where=mask) of a sum of one's own is not NumPy's."""
    table, numpy, functions = tg.OPS, tg.op.NUMPY, tg.op.FUNCTIONS
    monkeypatch.setitem(table, "sum", table["sum"])
    monkeypatch.setitem(numpy, np.sum, numpy[np.sum])
    monkeypatch.setitem(functions, "sum", functions["sum"])
    monkeypatch.setattr(Tensor, "sum", Tensor.sum)
    del table["sum"]
    tg.unary("sum", lambda x, axis=None: 2 * x.sum(axis), lambda g, out, x, axis: 2 * g, domain=None, numpy=(np.sum,))
    assert np.sum(Tensor(V)).item() == 2 * V.sum()
    with refused(TypeError, "np.sum: where= is not taken"):
        np.sum(Tensor(V), where=W)
