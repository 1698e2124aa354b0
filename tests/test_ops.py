"""The table of derivatives where it is hard: broadcasting, empty and odd arrays, kinks, ties, poles, large numbers."""

from __future__ import annotations

import array
import importlib
import math
import pickle
from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import tinygrad_mnist as tg
from tinygrad_mnist import OPS, Tensor, binary, grad, testing, unary, variadic
from tinygrad_mnist.op import FUNCTIONS
from tinygrad_mnist.replay.program import is_ours

from .helpers import FLOATS, constant, refused, variable


def slope(function: Callable[[Any], Any], x: Any, dtype: Any = np.float64) -> Any:
    """The gradient of the sum of function(x), as an array."""
    t = variable(x, dtype)
    function(t).sum().backward()
    return t.grad.data


def integers(*shape: int) -> Any:
    """Whole numbers, so that sums of products are exact in any order."""
    return np.random.default_rng(sum(shape)).integers(-4, 5, shape).astype(float)


# --- linear functions: the gradient is the transposed map, exactly ---

X, M = integers(2, 4), integers(4, 3)
MASK = np.array([[True, False, True, True], [False, False, True, False]])
LINEAR: dict[str, tuple[Any, Callable[[Any], Any]]] = {
    "add": (X, lambda x: x + X),
    "sub": (X, lambda x: X - x),
    "mul": (X, lambda x: x * X),
    "neg": (X, lambda x: -x),
    "where": (X, lambda x: np.where(MASK, x, 2 * x)),
    "sum": (X, lambda x: x.sum()),
    "sum -1": (X, lambda x: x.sum(-1)),
    "sum both": (integers(2, 3, 4), lambda x: x.sum((0, -1))),
    "sum keepdims": (integers(2, 3, 4), lambda x: x.sum((-2,), keepdims=True)),
    "sum nothing": (X, lambda x: x.sum(axis=())),
    "sum of 0-d": (np.array(2.0), lambda x: x.sum(axis=-1)),
    "mean": (X, lambda x: x.mean()),
    "mean 0": (X, lambda x: x.mean(axis=0)),
    "mean -1": (X, lambda x: x.mean(axis=(-1,), keepdims=True)),
    "mean of 0-d": (np.array(2.0), lambda x: x.mean(axis=())),
    "reshape": (X, lambda x: x.reshape(4, -1)),
    "reshape tuple": (X, lambda x: x.reshape((1, 8, 1))),
    "reshape list": (X, lambda x: x.reshape([8])),
    "reshape 0-d": (np.array([2.0]), lambda x: x.reshape(())),
    "T": (X, lambda x: x.T * M[:, :2]),
    "T of 3-d": (integers(2, 3, 4), lambda x: x.T),
    "mT": (integers(2, 3, 4), lambda x: x.mT),
    "transpose negative": (integers(2, 3, 4), lambda x: x.transpose(-1, 0, -2)),
    "transpose cycle": (integers(2, 3, 4), lambda x: x.transpose((1, 2, 0))),
    "transpose list": (integers(2, 3, 4), lambda x: np.transpose(x, [2, 0, 1])),
    "broadcast_to": (integers(2, 1), lambda x: np.broadcast_to(x, (3, 2, 4))),
    "broadcast_to from 0-d": (np.array(2.0), lambda x: np.broadcast_to(x, (3, 2))),
    "broadcast_to nothing": (integers(2, 1), lambda x: np.broadcast_to(x, (2, 0))),
    "integer": (X, lambda x: x[1]),
    "negative integer": (X, lambda x: x[-1, -2]),
    "np.int64": (X, lambda x: x[np.int64(1)]),
    "slice": (X, lambda x: x[:, 1:3]),
    "reversed": (X, lambda x: x[::-1, ::-2]),
    "empty slice": (X, lambda x: x[2:]),
    "None": (X, lambda x: x[None, ..., None]),
    "Ellipsis": (integers(2, 3, 4), lambda x: x[..., 1]),
    "()": (X, lambda x: x[()]),
    "repeated": (X, lambda x: x[[0, 0]]),
    "repeated array": (X, lambda x: x[:, np.array([[1, 1], [3, -3]])]),
    "repeated tuple": (X, lambda x: x[(0, 0, 1),]),
    "repeated range": (X, lambda x: x[:, range(0, 4, 2)]),
    "repeated pairs": (X, lambda x: x[[0, 1, 0], [2, 2, 2]]),
    "separated arrays": (integers(2, 3, 4), lambda x: x[[0, 0], :, [1, 1]]),
    "array and integer": (integers(2, 3, 4), lambda x: x[0, [1, 1], 2:]),
    "array and None": (X, lambda x: x[None, [1, 1]]),
    "mask": (X, lambda x: x[MASK]),
    "mask list": (X, lambda x: x[[True, False]]),
    "empty mask": (X, lambda x: x[np.zeros((2, 4), bool)]),
    "empty list": (X, lambda x: x[[]]),
    "0-d mask": (X, lambda x: x[np.True_]),
    "concatenate": (X, lambda x: np.concatenate([x, X, 2 * x], axis=-1)),
    "concatenate 0": (X, lambda x: np.concatenate((X, x))),
    "concatenate empty": (X, lambda x: np.concatenate([np.zeros((0, 4)), x])),
    "concatenate flat": (X, lambda x: np.concatenate([x, 2 * x], axis=None)),
    "stack": (X, lambda x: np.stack([x, X, x], axis=-1)),
    "stack -2": (X, lambda x: np.stack([X, x], -2)),
    "pad": (X, lambda x: np.pad(x, ((1, 0), (0, 2)))),
    "pad all": (X, lambda x: np.pad(x, 1, constant_values=0)),
    "pad pair": (X, lambda x: np.pad(x, (2, 1))),
    "clip inside": (X, lambda x: np.clip(x, -9, 9)),
    "vector @ vector": (integers(4), lambda x: x @ M[:, 0]),
    "vector @ vector, right": (integers(4), lambda x: X[0] @ x),
    "matrix @ vector": (X, lambda x: x @ M[:, 0]),
    "matrix @ vector, right": (integers(4), lambda x: X @ x),
    "vector @ matrix": (integers(4), lambda x: x @ M),
    "vector @ matrix, right": (M, lambda x: X[0] @ x),
    "matrix @ matrix": (X, lambda x: x @ M),
    "matrix @ matrix, right": (M, lambda x: X @ x),
    "stack @ matrix": (integers(3, 2, 4), lambda x: x @ M),
    "stack @ matrix, right": (M, lambda x: integers(3, 2, 4) @ x),
    "stack @ stack": (integers(3, 2, 4), lambda x: x @ integers(3, 4, 2)),
    "stack @ stack, right": (integers(1, 4, 2), lambda x: integers(3, 2, 4) @ x),
    "stack @ vector": (integers(3, 2, 4), lambda x: x @ M[:, 1]),
    "stack @ vector, right": (integers(4), lambda x: integers(3, 2, 4) @ x),
    "vector @ stack": (integers(4), lambda x: x @ integers(3, 4, 2)),
    "vector @ stack, right": (integers(3, 4, 2), lambda x: X[0] @ x),
    "empty @ matrix": (np.zeros((0, 4)), lambda x: x @ M),
    "matrix @ empty": (np.zeros((4, 0)), lambda x: X @ x),
    "matrix @ matrix over nothing": (np.zeros((2, 0)), lambda x: x @ np.zeros((0, 3))),
}


@pytest.mark.parametrize(("at", "function"), LINEAR.values(), ids=LINEAR)
def test_linear_function_gets_its_transpose(at, function):
    """Wrong where broadcasting is half undone, repeated places count once, or negative axes are taken literally."""
    out = function(np.asarray(at))
    weights = np.random.default_rng(0).integers(-3, 4, np.shape(out)).astype(float)
    zero = function(np.zeros_like(at))
    columns = []
    for i in range(np.size(at)):
        basis = np.zeros(np.size(at))
        basis[i] = 1
        columns.append(np.sum((function(basis.reshape(np.shape(at))) - zero) * weights))
    t = variable(at)
    result = function(t)
    assert_array_equal(result.data, out)
    result.backward(weights)
    assert_array_equal(t.grad.data, np.reshape(columns, np.shape(at)))


@pytest.mark.parametrize("bias", [(), (3,), (2, 3), (1, 3), (5, 3), (4, 2, 3)])
@pytest.mark.parametrize(("x", "weight"), [((2, 4), (4, 3)), ((1, 4), (4, 3)), ((4,), (4, 3)), ((5, 2, 4), (4, 3))])
def test_linear_is_matmul_and_add_for_any_shapes(x, weight, bias):
    """One node in the place of two must have the same gradients, or refuse what it cannot do."""
    tensors = [variable(integers(*shape)) for shape in (x, weight, bias)]
    try:
        expected = tensors[0] @ tensors[1] + tensors[2]
    except ValueError:
        with refused(ValueError, "linear"):
            tg.linear(*tensors)
        return
    weights = integers(*expected.shape)
    try:
        result = tg.linear(*tensors)
    except ValueError:
        assert expected.shape != np.matmul(tensors[0].data, tensors[1].data).shape
        return
    for a, b in zip(grad(result, tensors, weights), grad(expected, tensors, weights), strict=True):
        assert_array_equal(a.data, b.data)


@pytest.mark.parametrize("shape", [(), (1,), (4,), (1, 4), (3, 1), (3, 4), (1, 1, 1), (2, 1, 4), (2, 3, 1), (2, 3, 4)])
@pytest.mark.parametrize(
    "function",
    [
        lambda x, y: x + y,
        lambda x, y: y - x,
        lambda x, y: x * y,
        lambda x, y: y / x,
        lambda x, y: x**y,
        lambda x, y: tg.maximum(y, x),
        lambda x, y: tg.where(y > 1.5, x, y),
        lambda x, y: tg.clip(y, x, 9),
    ],
)
def test_broadcasting_is_undone_wholly(function, shape):
    """A gradient of the output's shape, or one summed over too few axes, is no gradient of the input."""
    rng = np.random.default_rng(1)
    x, y = variable(rng.uniform(1, 2, shape)), variable(rng.uniform(1, 2, (2, 3, 4)))
    whole = variable(np.broadcast_to(x.data, y.shape).copy())
    weights = integers(2, 3, 4)
    gx, gy = grad(function(x, y), [x, y], weights)
    each, same = grad(function(whole, y), [whole, y], weights)
    places = np.broadcast_to(np.arange(x.size).reshape(shape), y.shape)
    assert gx.shape == shape
    assert_allclose(gx.data.ravel(), np.bincount(places.ravel(), each.data.ravel()), rtol=1e-13, atol=1e-13)
    assert_array_equal(gy.data, same.data)


@pytest.mark.parametrize(
    ("left", "right"), [((4, 1), (4, 0)), ((1,), (0,)), ((), (0, 3)), ((0, 1), (1, 3)), ((2, 0), (2, 0))]
)
@pytest.mark.parametrize(
    "function", [lambda x, y: x + y, lambda x, y: x * y, lambda x, y: x / y, tg.maximum, lambda x, y: x**y]
)
def test_what_was_broadcast_to_nothing_gets_zeros(function, left, right):
    for shapes in ((left, right), (right, left)):
        x, y = (variable(np.ones(shape)) for shape in shapes)
        function(x, y).sum().backward()
        assert_array_equal(x.grad.data, np.zeros(x.shape))
        assert_array_equal(y.grad.data, np.zeros(y.shape))


@pytest.mark.parametrize(
    "function",
    [
        tg.exp,
        tg.relu,
        tg.sigmoid,
        tg.softplus,
        lambda x: x.sum(0),
        lambda x: x.mean(0),
        lambda x: x.max(0),
        lambda x: x.logsumexp(0),
        lambda x: tg.softmax(x, 0),
        lambda x: tg.log_softmax(x, axis=0),
        lambda x: x.reshape(0, 6),
        lambda x: x.T[[]],
        lambda x: tg.stack([x, x]),
        lambda x: x @ np.ones((0, 2)),
        lambda x: x**2,
    ],
)
def test_empty_tensors_have_empty_gradients(function):
    assert slope(function, np.ones((3, 0))).shape == (3, 0)


# --- arrays of every layout ---

LAYOUTS: dict[str, Callable[[Any], Any]] = {
    "transposed": lambda a: np.ascontiguousarray(a.T).T,
    "reversed": lambda a: np.ascontiguousarray(a[::-1, ::-1])[::-1, ::-1],
    "strided": lambda a: np.repeat(a, 2, axis=1)[:, ::2],
    "read-only": lambda a: np.frombuffer(a.tobytes(), a.dtype).reshape(a.shape),
    "unaligned": lambda a: np.frombuffer(b"." + a.tobytes(), a.dtype, offset=1).reshape(a.shape),
}
NONLINEAR: list[Callable[[Any, Any], Any]] = [
    lambda x, y: x * y + x / y - x**y,
    lambda x, y: tg.exp(x) + tg.sigmoid(y) + tg.tanh(x) * tg.sqrt(y),
    lambda x, y: tg.maximum(x, y) * tg.where(x > y, x, y) * x.clip(1.2, 1.8),
    lambda x, y: x @ y.T,
    lambda x, y: tg.softmax(x, 0) * tg.log_softmax(y) + x.max(1, keepdims=True) * y.mean(0),
    lambda x, y: tg.concatenate([x[::-1], y[[0, 0, 1]]]).reshape(2, -1).T,
    lambda x, y: tg.linear(x, y.T, y[:, 0]),
    lambda x, y: tg.conv2d(x[None, None], y[None, None, :2, :2]) + tg.max_pool2d(x[None, None], 2, 1),
]


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
@pytest.mark.parametrize("function", NONLINEAR)
def test_gradients_do_not_depend_on_the_layout_of_operands_or_upstream_gradient(function, layout):
    rng = np.random.default_rng(2)
    arrays = [rng.uniform(1, 2, (3, 3)) for _ in range(2)]
    tensors = [variable(0) for _ in arrays]
    for t, a in zip(tensors, arrays, strict=True):
        t.__init__(layout(a), True)
        assert_array_equal(t.data, a)
    plain = [variable(a) for a in arrays]
    out = function(*plain)
    weights = rng.uniform(1, 2, out.shape)
    given = weights if out.ndim != 2 else layout(weights)
    for a, b in zip(grad(function(*tensors), tensors, given), grad(out, plain, weights), strict=True):
        assert_allclose(a.data, b.data, rtol=1e-13)


@pytest.mark.parametrize("function", NONLINEAR)
def test_operands_and_upstream_gradient_of_repeated_memory(function):
    x = Tensor(np.broadcast_to(1.5, (3, 3)), requires_grad=True)
    y = Tensor(np.broadcast_to(np.array([1.25, 1.5, 1.75]), (3, 3)), requires_grad=True)
    plain = [variable(x.data.copy()), variable(y.data.copy())]
    out = function(x, y)
    given = np.broadcast_to(2.0, out.shape)
    for a, b in zip(grad(out, [x, y], given), grad(function(*plain), plain, given.copy()), strict=True):
        assert_allclose(a.data, b.data, rtol=1e-13)
        assert a.data.flags.writeable


# --- dtypes ---

SAME_DTYPE: dict[str, Callable[[Any], Any]] = {
    **{
        name: OPS[name].function
        for name in [
            "exp",
            "log",
            "sqrt",
            "tanh",
            "sigmoid",
            "softplus",
            "abs",
            "sign",
            "relu",
            "leaky_relu",
            "neg",
            "copy",
        ]
    },
    "number on the left": lambda x: 1 - 2 / x,
    "NumPy scalar": lambda x: np.float64(2) * x / np.float64(3) + np.int64(1),
    "power": lambda x: x**0.5 + 2.0**x + x ** np.float64(2),
    "choices": lambda x: tg.maximum(x, 1.0) + tg.where(x > 1, x, np.float64(0)) + tg.clip(x, np.float64(0.5), 2),
    "slope": lambda x: tg.leaky_relu(x, slope=np.float64(0.1)) + tg.leaky_relu(x, np.float64(0.1)),
    "reductions": lambda x: x.sum() + x.mean() + x.max() - x.min() + x.logsumexp(),
    "axis": lambda x: x.sum(0) + x.mean(0, True) + x.max(0) + tg.logsumexp(x, axis=0),
    "softmax": lambda x: tg.softmax(x) + tg.log_softmax(x),
    "places": lambda x: tg.pad(x[[0, 0]], 1, constant_values=np.float64(1)).reshape(-1),
    "product": lambda x: x @ x.T,
    "images": lambda x: tg.conv2d(x[None, None], x[None, None]) + tg.max_pool2d(x[None, None], 2),
}


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("function", SAME_DTYPE.values(), ids=SAME_DTYPE)
def test_dtype_in_is_dtype_out(function, dtype):
    """Promoted by a scalar, a mean or a constant of a rule, float32 would silently become float64."""
    x = variable([[0.5, 1.0], [2.0, 3.0]], dtype)
    y = function(x)
    assert y.dtype == dtype
    if y.requires_grad:
        slopes = grad(y.sum(), x, create_graph=True)
        assert slopes.dtype == dtype
        exact = variable(x.data, np.longdouble)
        expected = grad(function(exact).sum(), exact).data
        eps = float(np.finfo(dtype).eps)
        assert_allclose(slopes.data.astype(np.longdouble), expected, rtol=20 * eps, atol=4 * eps)


@pytest.mark.parametrize("name", [key for key, op in OPS.items() if op.differentiable and op.domain and op.arity != 1])
@pytest.mark.parametrize("number", [1, 0.75])
def test_number_in_any_place_leaves_float32_as_it_is(name, number):
    op = OPS[name]
    for place in range(op.arity or 0):
        operands: list[Any] = [constant([0.5, 1.5], np.float32)] * (op.arity or 0)
        operands[place] = number
        assert op.function(*operands).dtype == np.float32


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.int64, np.bool_])
@pytest.mark.parametrize("name", ["sigmoid", "softplus", "softmax", "log_softmax", "logsumexp", "tanh", "exp", "mean"])
def test_functions_of_integers_are_those_of_the_same_floats(name, dtype):
    """Pixels are uint8: -x and x - max(x) wrap around in them."""
    array = np.array([0, 1, 0, 1], dtype) if dtype == np.bool_ else np.array([0, 1, 5, 100], dtype) % 6
    with np.errstate(over="ignore"):
        result = OPS[name].function(Tensor(array))
    expected = OPS[name].function(array.astype(np.float64))
    assert not result.requires_grad
    assert_allclose(result.data.astype(np.float64), expected, rtol=2e-2 if result.dtype == np.float16 else 1e-6)


def test_integers_stay_integers_where_numpy_keeps_them():
    t = constant([6, 3], np.int64)
    for result in (t + 1, t * t, t**2, abs(-t), tg.maximum(t, 4), tg.relu(t), t.sum(), t.max(), t[[0]], t.clip(4), t.T):
        assert result.dtype == np.int64
        assert not result.requires_grad
    assert (t & 3).dtype != np.int64 or (t & 3).data.tolist() == [2, 3]


def test_integer_operand_beside_a_variable_gets_no_gradient():
    x, n = variable([1.5, 2.0]), constant([2, 3], np.int64)
    (x**n * n).sum().backward()
    assert_array_equal(x.grad.data, [6, 36])
    assert n.grad is None


def test_complex_results_with_gradients_are_refused():
    x = variable([1.0])
    for compute in (lambda: x * 1j, lambda: np.array([1j]) + x, lambda: x ** (1 + 1j)):
        with refused(TypeError, "complex", "real"):
            compute()
    assert (constant([1.0]) * 1j).dtype == np.complex128


# --- poles and powers ---


@pytest.mark.parametrize(
    ("x", "y", "dx", "dy"),
    [
        (0.0, 2.0, 0.0, 0.0),
        (0.0, 1.0, 1.0, 0.0),
        (0.0, 0.0, 0.0, 0.0),
        (2.0, 0.0, 0.0, math.log(2)),
        (-2.0, 0.0, 0.0, math.nan),
        (-2.0, 3.0, 12.0, math.nan),
        (-2.0, -1.0, -0.25, math.nan),
        (4.0, 0.5, 0.25, 2 * math.log(4)),
    ],
)
def test_power_at_its_corners(x, y, dx, dy):
    """0**0 and 0**2 in the exponent, x**0 in the base and negative bases: 0 * inf is not their derivative."""
    with np.errstate(over="raise", divide="raise"):
        for base, exponent in ((variable([x]), variable([y])), (variable(x), variable(y))):
            gx, gy = grad((base**exponent).sum(), [base, exponent])
            assert_allclose(gx.data, np.full(base.shape, dx))
            assert_allclose(gy.data, np.full(base.shape, dy))
        for number in (y, np.float64(y), *([int(y)] if y == int(y) else [])):
            t = variable([x])
            assert_allclose(grad((t**number).sum(), t).data, [dx])
        assert_allclose(slope(lambda t: x**t, [y]), [dy])
        assert_allclose(slope(lambda t: np.array([x]) ** t, [y]), [dy])


def test_mixed_powers_are_right_elementwise():
    x, y = variable([0.0, 2.0, -3.0]), variable([2.0, 0.0, 2.0])
    gx, gy = grad((x**y).sum(), [x, y])
    assert_array_equal(gx.data, [0, 0, -6])
    assert_allclose(gy.data, [0, math.log(2), math.nan])


def test_power_to_zero_of_everything_is_constant():
    with np.errstate(all="ignore"):
        assert_array_equal(slope(lambda t: t**0, [0.0, -1.0, 5.0, 1e300]), [0, 0, 0, 0])
        assert_array_equal(slope(lambda t: t**0.0, [0.0, -1.0]), [0, 0])


def test_second_derivatives_of_powers_at_zero():
    for n, expected in ((2, 2.0), (3, 0.0), (1, 0.0), (0, 0.0), (2.0, 2.0)):
        x = variable([0.0])
        assert_array_equal(grad(grad((x**n).sum(), x, create_graph=True), x).data if n else np.zeros(1), [expected])


@pytest.mark.parametrize(
    ("function", "at"), [(tg.sqrt, 0.0), (tg.log, 0.0), (lambda x: x**0.5, 0.0), (lambda x: 1 / x, 0.0)]
)
def test_slope_at_a_pole_is_infinite_not_nan(function, at):
    with np.errstate(divide="ignore"):
        assert np.isinf(slope(function, [at])[0])


def test_square_root_of_a_sum_of_squares_at_zero_is_documented():
    """The NaN of a norm at 0 is 0 * infinity: the docstrings say so, and what to do."""
    with np.errstate(all="ignore"):
        assert_array_equal(slope(lambda x: tg.sqrt((x * x).sum()), [0.0, 0.0]), [math.nan, math.nan])
    assert "infinite" in (tg.sqrt.__doc__ or "")


# --- choices: kinks, ties, borders ---


def test_branch_not_taken_contributes_exactly_zero():
    x, y = variable([1.0, 2.0]), variable([3.0, 4.0])
    gx, gy = grad(tg.where(np.array([True, False]), x, y), [x, y], np.array([np.inf, np.nan]))
    assert_array_equal(gx.data, [np.inf, 0])
    assert_array_equal(gy.data, [0, np.nan])


def test_nan_of_where_at_a_pole_is_explained_and_the_remedy_works():
    """0 from `where` times the infinite slope of the branch not taken is NaN: choose the operand first."""
    with np.errstate(all="ignore"):
        assert math.isnan(slope(lambda x: tg.where(x > 0, tg.sqrt(x), 0), [0.0])[0])
    assert_array_equal(slope(lambda x: tg.where(x > 0, tg.sqrt(tg.where(x > 0, x, 1)), 0), [0.0, 4.0]), [0, 0.25])
    explained = (tg.where.__doc__ or "").lower()
    assert "nan" in explained
    assert "where(x > 0, x, 1)" in explained


@pytest.mark.parametrize("create_graph", [False, True])
@pytest.mark.parametrize(
    ("function", "x", "expected"),
    [
        (lambda x: x.max(), [1, 1, 0], [0.5, 0.5, 0]),
        (lambda x: x.min(), [1, 1, 0, 0, 0, 0], [0, 0, 0.25, 0.25, 0.25, 0.25]),
        (lambda x: x.max(-1), [[1, 1], [2, 1]], [[0.5, 0.5], [1, 0]]),
        (lambda x: x.max((0, 1), keepdims=True), [[2, 1], [2, 2]], [[1 / 3, 0], [1 / 3, 1 / 3]]),
        (lambda x: tg.max(x, axis=0), 3.0, 1),
        (lambda x: x.min(axis=-1), 3.0, 1),
        (lambda x: tg.logsumexp(x, axis=-1), 3.0, 1),
        (lambda x: tg.maximum(x, 1), [0, 1, 2], [0, 0.5, 1]),
        (lambda x: tg.minimum(1, x), [0, 1, 2], [1, 0.5, 0]),
        (lambda x: tg.maximum(x, x), [1.0], [1]),
        (tg.relu, [-1, 0, -0.0, 1], [0, 0, 0, 1]),
        (tg.leaky_relu, [-1, 0, 1], [0.01, 0.01, 1]),
        (lambda x: tg.leaky_relu(x, 0.5), [-1, 0, 1], [0.5, 0.5, 1]),
        (abs, [-1, 0, -0.0, 1], [-1, 0, 0, 1]),
        (lambda x: x.clip(0, 1), [-1, 0, 0.5, 1, 2], [0, 1, 1, 1, 0]),
        (lambda x: tg.clip(x, a_max=1), [-1, 1, 2], [1, 1, 0]),
        (lambda x: tg.clip(x), [-1, 1], [1, 1]),
        (lambda x: tg.max_pool2d(x), [[[[1, 1], [0, 1]]]], [[[[1 / 3, 1 / 3], [0, 1 / 3]]]]),
    ],
)
def test_choices_at_kinks_and_ties(function, x, expected, create_graph):
    t = variable(x)
    result = grad(function(t).sum(), t, create_graph=create_graph)
    assert_allclose(result.data, expected, rtol=1e-15)


@pytest.mark.parametrize("x", [-1.0, 0.0, 0.5, 1.0, 2.0])
@pytest.mark.parametrize("bounds", [(0.0, 1.0), (0.5, 0.5), (1.0, 0.0)])
def test_shares_of_a_clip_add_up_to_one(x, bounds):
    """On a border two of its three operands are equal; none may get a share twice."""
    tensors = [variable([x]), variable([bounds[0]]), variable([bounds[1]])]
    out = tg.clip(*tensors)
    shares = [g.item() for g in grad(out.sum(), tensors)]
    assert sum(shares) == 1
    assert all(t.item() == out.item() for t, share in zip(tensors, shares, strict=True) if share)


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@pytest.mark.parametrize("function", [lambda x: x.max(), lambda x: x.mean(), lambda x: x.min(0, keepdims=True)])
def test_counting_many_elements_does_not_overflow(function, dtype):
    """A count kept in float16 is infinite from 65,520 on, and stands still at 2,048 when ones are added one by one."""
    n = 100_000
    result = slope(function, np.zeros(n), dtype)
    assert_array_equal(result, np.full(n, np.array(1 / n, dtype)))


# --- large numbers ---

LARGE = [-1e4, -1000.0, -20.0, 0.0, 20.0, 1000.0, 1e4]
E20 = math.exp(-20)
RAISE: dict[str, Any] = {"over": "raise", "invalid": "raise", "divide": "raise"}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("function", "values", "slopes"),
    [
        (
            tg.sigmoid,
            [0, 0, E20 / (1 + E20), 0.5, 1 / (1 + E20), 1, 1],
            [0, 0, E20 / (1 + E20) ** 2, 0.25, E20 / (1 + E20) ** 2, 0, 0],
        ),
        (
            tg.softplus,
            [0, 0, math.log1p(E20), math.log(2), 20 + math.log1p(E20), 1000, 1e4],
            [0, 0, E20 / (1 + E20), 0.5, 1 / (1 + E20), 1, 1],
        ),
        (tg.tanh, [-1, -1, math.tanh(-20), 0, math.tanh(20), 1, 1], [0, 0, 0, 1, 0, 0, 0]),
        (tg.logsumexp, 1e4, [0, 0, 0, 0, 0, 0, 1]),
        (tg.softmax, [0, 0, 0, 0, 0, 0, 1], [0] * 7),
        (
            tg.log_softmax,
            [-2e4, -1.1e4, -1.002e4, -1e4, -9980, -9000, 0],
            [1, 1, 1, 1, 1, 1, -6],
        ),
    ],
    ids=["sigmoid", "softplus", "tanh", "logsumexp", "softmax", "log_softmax"],
)
def test_large_arguments_raise_nothing_and_are_right(function, values, slopes, dtype):
    """1 / (1 + exp(-x)) has a NaN gradient at -1000 when composed of its parts, and exp(1000) overflows anywhere."""
    with np.errstate(**RAISE):
        x = variable(LARGE, dtype)
        y = function(x)
        assert_allclose(y.data, np.array(values, dtype), rtol=4 * float(np.finfo(dtype).eps))
        first = grad(y.sum(), x, create_graph=True)
        assert_allclose(first.data, slopes, rtol=1e-6, atol=4 * float(np.finfo(dtype).eps))
        assert np.all(np.isfinite(grad(first.sum(), x).data))


@pytest.mark.parametrize(("dtype", "x"), [(np.float32, 88.0), (np.float64, 709.0)])
def test_sigmoid_is_flat_where_its_exponent_is_held(dtype, x):
    """A slope of 1e-39 there would be a gradient of 0.5, where what is inside is as steep as e^88."""
    assert slope(lambda t: tg.sigmoid(-tg.exp(t)), x, dtype) == 0
    assert slope(lambda t: tg.sigmoid(t * -1e38), 1.0, np.float32) == 0
    assert np.isnan(tg.sigmoid(np.array([np.nan, 1.0], dtype))).tolist() == [True, False]


def test_sigmoid_keeps_its_digits_at_minus_20_in_float32():
    """(1 + tanh(x/2)) / 2 is exactly 0 there."""
    for x in (-10.0, -20.0, -80.0):
        y = tg.sigmoid(variable([x], np.float32))
        assert_allclose(y.data, [math.exp(x) / (1 + math.exp(x))], rtol=1e-5)
        assert_allclose(slope(tg.sigmoid, [x], np.float32), [math.exp(x)], rtol=1e-4)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("offset", [-1e4, 0.0, 1e4])
def test_cross_entropy_of_logits_keeps_its_digits_far_from_zero(offset, dtype):
    """X - logsumexp(x) at 10^4 in float32 leaves three digits; log(softmax(x)) is minus infinity."""
    logits = np.array([0.0, 1.0, 2.0, -3.0])
    with np.errstate(**RAISE):
        x = variable([logits + offset, np.full(4, offset)], dtype)
        y = tg.log_softmax(x)
        exact = logits - np.log(np.exp(logits).sum())
        assert_allclose(y.data, [exact, np.full(4, -math.log(4))], rtol=1e-6 if dtype == np.float32 else 1e-14)
        loss = -y[[0, 1], [2, 0]].mean()
        loss.backward()
        expected = (np.exp([exact, np.full(4, -math.log(4))]) - np.eye(4)[[2, 0]]) / 2
        assert_allclose(x.grad.data, expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rows_of_opposite_extremes(dtype):
    with np.errstate(**RAISE):
        x = variable([[1e4, -1e4], [-1e4, -1e4], [-1e4, 1e4]], dtype)
        assert_array_equal(tg.softmax(x).data, [[1, 0], [0.5, 0.5], [0, 1]])
        assert_allclose(tg.log_softmax(x).data, [[0, -2e4], [-math.log(2)] * 2, [-2e4, 0]], rtol=1e-6)
        loss = -tg.log_softmax(x)[[0, 1, 2], [1, 0, 0]].sum()
        loss.backward()
        assert_array_equal(x.grad.data, [[1, -1], [-0.5, 0.5], [-1, 1]])


def test_masked_logits_of_minus_infinity():
    x = variable([0.0, -np.inf, 0.0])
    with np.errstate(**RAISE):
        assert_array_equal(tg.softmax(x).data, [0.5, 0, 0.5])
        assert_array_equal(tg.log_softmax(x).data, [-math.log(2), -np.inf, -math.log(2)])
        assert tg.logsumexp(x).item() == math.log(2)
        assert_array_equal(slope(tg.logsumexp, x.data), [0.5, 0, 0.5])


def test_derivatives_at_zero_itself():
    """Zero is what random inputs never are."""
    for function, expected in (
        (tg.exp, 1),
        (tg.tanh, 1),
        (tg.sigmoid, 0.25),
        (tg.softplus, 0.5),
        (lambda x: x * x, 0),
        (lambda x: x * tg.sigmoid(x), 0.5),
        (lambda x: tg.softmax(x) * x, 1 / 3),
        (lambda x: x / (1 + abs(x)), 1),
    ):
        assert_allclose(slope(function, [0.0, -0.0, 0.0]), [expected] * 3)


# --- images ---


@pytest.mark.parametrize(("stride", "padding"), [(1, 0), (2, 1), ((1, 2), (2, 0)), (np.int64(2), np.int64(0)), (3, 0)])
def test_conv2d_is_the_cross_correlation_and_both_gradients_its_transposes(stride, padding):
    x, kernel = integers(2, 3, 5, 6), integers(4, 3, 2, 3)
    (sh, sw), (ph, pw) = (v if isinstance(v, tuple) else (int(v), int(v)) for v in (stride, padding))
    padded = np.pad(x, ((0, 0), (0, 0), (ph, ph), (pw, pw)))
    rows, columns = (padded.shape[2] - 2) // sh + 1, (padded.shape[3] - 3) // sw + 1
    expected = np.empty((2, 4, rows, columns))
    weights = integers(*expected.shape)
    dx, dkernel = np.zeros_like(padded), np.zeros_like(kernel)
    for n, k, i, j in np.ndindex(expected.shape):
        window = (n, slice(None), slice(i * sh, i * sh + 2), slice(j * sw, j * sw + 3))
        expected[n, k, i, j] = (padded[window] * kernel[k]).sum()
        dx[window] += weights[n, k, i, j] * kernel[k]
        dkernel[k] += weights[n, k, i, j] * padded[window]
    tensors = [variable(x), variable(kernel)]
    out = tg.conv2d(*tensors, stride=stride, padding=padding)  # type: ignore[misc]
    assert_array_equal(out.data, expected)
    gx, gkernel = grad(out, tensors, weights)
    assert_array_equal(gx.data, dx[:, :, ph : ph + 5, pw : pw + 6])
    assert_array_equal(gkernel.data, dkernel)


def test_max_pool2d_sends_each_gradient_to_its_largest():
    x = variable(np.arange(30.0).reshape(1, 1, 5, 6))
    out = tg.max_pool2d(x, 2)
    assert_array_equal(out.data, [[[[7, 9, 11], [19, 21, 23]]]])
    out.backward(np.array([[[[1.0, 2, 3], [4, 5, 6]]]]))
    assert_array_equal(np.flatnonzero(x.grad.data), [7, 9, 11, 19, 21, 23])
    x.zero_grad()
    tg.max_pool2d(x, (2, 3), stride=1).sum().backward()
    assert x.grad.data.sum() == 4 * 4
    assert x.grad.data[0, 0, 4, 5] == 1


# --- errors: one line with what was given, what was expected, the remedy ---


@pytest.mark.parametrize(
    ("compute", "message"),
    [
        (
            lambda: constant(np.ones((2, 3))) @ constant(np.ones((2, 3))),
            "matmul: shapes (2, 3) and (2, 3) do not align: 3 != 2; did you mean .T?",
        ),
        (
            lambda: constant(np.ones((2, 3))) @ np.ones(4),
            "matmul: shapes (2, 3) and (4,) do not align: 3 != 4",
        ),
        (
            lambda: tg.linear(constant(np.ones((2, 3))), constant(np.ones((5, 3))), 0.0),
            "linear: shapes (2, 3) and (5, 3) do not align: 3 != 5; did you mean .T?",
        ),
        (
            lambda: constant(np.ones((2, 3))) + constant(np.ones(4)),
            "add: shapes (2, 3) and (4,) do not broadcast: "
            "compared from the right, two sizes must be equal or one of them 1; reshape one of them",
        ),
    ],
)
def test_text_of_errors_about_shapes(compute, message):
    with pytest.raises(ValueError, match="shapes") as caught:
        compute()
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("kind", "compute", "words"),
    [
        (ValueError, lambda: np.ones(2) - constant(np.ones(3)), ["sub", "(2,)", "(3,)"]),
        (ValueError, lambda: tg.where(constant([True]), np.ones(2), np.ones(3)), ["where", "(2,)", "(3,)"]),
        (ValueError, lambda: constant(np.ones((2, 3, 4))) @ np.ones((5, 4, 2)), ["matmul", "(2, 3, 4)", "(5, 4, 2)"]),
        (ValueError, lambda: constant([1.0]) @ 2.0, ["matmul", "(1,)", "()", "use *"]),
        (ValueError, lambda: tg.linear(constant(np.ones((2, 3))), np.ones((3, 4)), np.ones(5)), ["linear", "(5,)"]),
        (ValueError, lambda: constant(np.ones(6)).reshape(4, 2), ["reshape", "(6,)", "(4,2)"]),
        (ValueError, lambda: constant(np.ones((2, 3))).sum(axis=2), ["sum", "axis 2", "(2, 3)"]),
        (ValueError, lambda: constant(np.ones((2, 3))).transpose(0, 0), ["transpose", "(2, 3)"]),
        (ValueError, lambda: np.broadcast_to(constant(np.ones(3)), (2,)), ["broadcast_to", "(3,)", "(2,)"]),
        (ValueError, lambda: tg.concatenate([constant([1.0]), np.ones((1, 1))]), ["concatenate", "(1,)", "(1, 1)"]),
        (ValueError, lambda: tg.stack([constant([1.0]), np.ones(2)]), ["stack", "(1,)", "(2,)"]),
        (ValueError, lambda: tg.pad(constant([1.0]), 1, mode="mean"), ["pad", "'constant'", "'mean'"]),
        (
            ValueError,
            lambda: tg.conv2d(constant(np.ones((1, 3, 4, 4))), np.ones((1, 2, 2, 2))),
            ["conv2d", "(1, 2, 2, 2)"],
        ),
        (ValueError, lambda: tg.max_pool2d(constant(np.ones((1, 1, 2, 2))), 3), ["max_pool2d", "(1, 1, 2, 2)"]),
        (ValueError, lambda: constant([2], np.int64) ** -1, ["pow", "-1"]),
        (IndexError, lambda: constant([1.0, 2.0])[2], ["getitem", "2"]),
        (IndexError, lambda: constant([1.0, 2.0])[[0, 5]], ["getitem", "5"]),
        (IndexError, lambda: constant([1.0, 2.0])[0.5], ["getitem"]),
        (IndexError, lambda: constant([1.0, 2.0])["a"], ["getitem"]),
        (TypeError, lambda: tg.sum(constant([1.0]), axes=0), ["sum", "axes", "axis=None"]),  # type: ignore[call-arg]
        (TypeError, lambda: tg.sum(constant([1.0]), 0, axis=0), ["sum", "axis"]),  # type: ignore[misc]
        (TypeError, lambda: tg.sum(constant([1.0]), 0, True, 3), ["sum"]),  # type: ignore[call-arg]
        (TypeError, lambda: tg.reshape(constant([1.0])), ["reshape", "shape"]),  # type: ignore[call-arg]
        (TypeError, lambda: tg.exp("a"), ["a"]),  # type: ignore[arg-type]
    ],
)
def test_errors_name_the_op_and_what_was_given(kind, compute, words):
    with refused(kind, *words):
        compute()


# --- an op of one's own ---


@pytest.mark.usefixtures("table")
class TestOwnOps:
    def test_one_call_makes_a_full_citizen(self):
        square = unary(
            "my_square", lambda x, factor=1.0: factor * x * x, lambda g, out, x, factor: g * (2 * factor * x)
        )
        x = variable([1.0, 2.0])
        y = square(x, factor=3.0)
        assert repr(y) == "Tensor([ 3., 12.], dtype=float64, op=my_square)"
        assert_array_equal(grad(y.sum(), x, create_graph=True).data, [6, 12])
        assert_array_equal(square(np.array([2.0])), [4])
        assert OPS["my_square"].function is square
        assert_array_equal(square(x, 3.0).data, y.data)

    def test_name_in_use_is_refused(self):
        with refused(ValueError, "'exp'", "another name"):
            unary("exp", np.exp, lambda g, out, x: g * out)

    def test_numpys_function_keeps_serving_the_op_that_had_it(self):
        """An op of a user over a ufunc must not take np.exp(t) away from the table's exp."""
        unary("my_exp", np.exp, None)
        assert np.exp(variable([1.0])).requires_grad

    def test_rule_of_wrong_signature_is_refused_when_the_op_is_made(self):
        with refused(TypeError, "'bad'", "rule(g, out, x, k)"):
            unary("bad", lambda x, k=1: x, lambda g, x: g)
        with refused(TypeError, "position"):
            variadic("bad", lambda *xs: xs[0], lambda g, out, *xs: g)
        assert "bad" not in OPS

    @pytest.mark.parametrize("wrong", [np.ones(3), np.ones((2, 1)), np.ones(()), None])
    @pytest.mark.parametrize("create_graph", [False, True])
    def test_rule_of_wrong_shape_or_without_answer_is_named(self, wrong, create_graph):
        bad = unary("bad", lambda x: x + 0, lambda g, out, x: wrong)
        x = variable([1.0, 2.0])
        with refused((ValueError, TypeError), "bad", "rule"):
            bad(x).sum().backward(create_graph=create_graph)
        assert x.grad is None

    def test_rule_that_returns_integers_or_numbers_gives_the_inputs_dtype(self):
        ones = unary("ones", lambda x: x + 0, lambda g, out, x: np.ones(x.shape, int))
        assert slope(ones, [1.0, 2.0], np.float32).dtype == np.float32
        one = unary("one", lambda x: x + 0, lambda g, out, x: 1)
        assert type(slope(one, 1.0)) is np.ndarray

    def test_parameter_whose_default_is_an_array(self):
        ones = np.ones(2)
        weigh = unary("weigh", lambda x, by=ones: x * by, lambda g, out, x, by: g * by)
        x = variable([1.0, 2.0])
        assert_array_equal(grad(weigh(x).sum(), x).data, [1, 1])
        assert_array_equal(grad(weigh(x, by=np.array([3.0, 4.0])).sum(), x).data, [3, 4])

    def test_pickle_of_an_op_is_its_name(self):
        assert pickle.loads(pickle.dumps(OPS["relu"])) is OPS["relu"]

    @pytest.mark.parametrize("create_graph", [False, True])
    def test_gradient_that_is_an_operand_gets_memory_of_its_own(self, create_graph):
        half_square = unary("half_square", lambda x: x * x / 2, lambda g, out, x: x)  # right where g is 1
        x = variable([1.0, 2.0])
        half_square(x).sum().backward(create_graph=create_graph)
        assert_array_equal(x.grad.data, [1, 2])
        assert not np.shares_memory(x.grad.data, x.data)
        assert x.grad is not x

    def test_view_op_of_two_operands_takes_arrays_and_numbers_first(self):
        scale = binary("scale", lambda x, y: x * y, lambda g, out, x, y: g * y, lambda g, out, x, y: g * x, view=True)
        for first in (np.array([2.0]), 2.0):
            y = variable([3.0])
            assert_array_equal(grad(scale(first, y).sum(), y).data, [2])

    def test_op_of_any_number_of_operands(self):
        total = variadic(
            "total", lambda *xs, factor=1: factor * sum(xs), lambda g, out, *xs, position, factor: factor * g
        )
        x = variable([1.0, 2.0])
        total(x, 1.0, np.ones(2), x, factor=3).sum().backward()
        assert_array_equal(x.grad.data, [6, 6])


def test_clip_of_integers_with_one_bound_stays_of_integers():
    for x in (5, np.array([5, 1]), Tensor(np.array([5, 1]))):
        assert tg.clip(x, None, 3).dtype == tg.clip(x, a_min=2).dtype == np.int64


def test_order_of_one_axis_may_be_a_number():
    x = variable([1.0, 2.0])
    assert_array_equal(grad((x.transpose(np.int64(0)) * 2).sum(), x).data, [2, 2])


def test_order_of_axes_may_be_an_array():
    x = variable(np.arange(6.0).reshape(1, 2, 3))
    order = np.array([2, 0, 1])
    slope = grad((x.transpose(order) * 2).sum(), x, create_graph=True)
    assert_array_equal(slope.data, np.full((1, 2, 3), 2))
    step = tg.compile(lambda x: x.transpose(order).reshape(np.array([3, 2])) * 2)
    for _ in range(4):
        assert_array_equal(step(x.data).data, x.data.transpose(order).reshape(3, 2) * 2)


@pytest.mark.parametrize(
    ("operand", "what"),
    [
        (np.array([1.0, 2.0], object), "array of dtype object"),
        (np.array(["a", "b"]), "array of dtype <U1"),
        (np.ma.array([1.0, 2.0], mask=[True, False]), "masked array, whose mask would be lost"),
        (np.timedelta64(3, "s"), "timedelta64"),
        (np.str_("3"), "str_"),
    ],
)
def test_operand_of_which_no_gradient_can_be_computed_is_refused(operand, what):
    for apply in (lambda x: x * operand, lambda x: tg.where(operand, x, 1), lambda x: tg.concatenate([x, operand])):
        with refused(TypeError, what):
            apply(variable([1.0, 2.0]))


@pytest.mark.parametrize("stride", [-1, 0, 1.5, (1, 2, 3)])
def test_impossible_strides_are_refused_not_computed(stride):
    images = constant(np.ones((1, 1, 4, 4)))
    with pytest.raises(ValueError, match="expected a stride"):
        tg.max_pool2d(images, 2, stride)
    with pytest.raises(ValueError, match="expected a stride"):
        tg.conv2d(images, np.ones((1, 1, 2, 2)), stride=stride)


def test_tensor_in_the_place_of_a_parameter_is_refused_not_silently_without_gradient():
    with pytest.raises(TypeError, match="slope is a parameter, to which no gradient flows"):
        tg.leaky_relu(variable([-1.0, 2.0]), slope=variable(0.1))


def test_rule_of_a_ufunc_that_cannot_be_called_is_refused_when_the_op_is_made():
    with pytest.raises(TypeError, match="a rule is called as"):
        tg.unary("miscounted", np.exp, lambda g: g)
    assert "miscounted" not in OPS


def test_clip_takes_numpys_newer_names():
    x = Tensor([-2.0, 0.5, 2.0], requires_grad=True)
    y = (np.clip if np.lib.NumpyVersion(np.__version__) >= "2.1.0" else tg.clip)(x, min=-1, max=1)
    y.sum().backward()
    np.testing.assert_array_equal(y.data, [-1, 0.5, 1])
    np.testing.assert_array_equal(x.grad, [0, 1, 0])
    with pytest.raises(TypeError, match="clip: a bound is given twice"):
        tg.clip(x, -1, min=-1)


def test_logsumexp_of_nothing_but_minus_infinity_is_minus_infinity():
    assert tg.logsumexp(np.full(3, -np.inf)) == -np.inf


@pytest.mark.parametrize("shape", [(0,), (2, 0), (0, 3), (2, 0, 3)])
def test_softmax_and_its_kin_of_nothing(shape):
    """As in PyTorch: softmax of nothing is nothing, logsumexp is ln 0; there is no warning, and there are gradients."""
    axis = shape.index(0)
    for op in (tg.softmax, tg.log_softmax):
        x = variable(np.zeros(shape))
        out = op(x, axis=axis)
        out.sum().backward()
        assert out.shape == x.grad.shape == shape
    x = variable(np.zeros(shape))
    for keepdims in (False, True):
        out = tg.logsumexp(x, axis=axis, keepdims=keepdims)
        assert out.shape == np.sum(x.data, axis, keepdims=keepdims).shape
        assert np.all(out.data == -np.inf)
        assert tg.logsumexp(np.zeros(shape), axis=axis, keepdims=keepdims).tolist() == out.data.tolist()
    assert grad(out.sum(), x).shape == shape
    assert tg.logsumexp(np.zeros(shape), axis=None) == -np.inf


NAN = math.nan
NAN_GETS_IT: dict[str, tuple[Any, list[Any], list[Any]]] = {
    "max": (lambda x: tg.max(x, axis=1), [[[1.0, NAN], [2.0, 3.0]]], [[[0, 1], [0, 1]]]),
    "min": (lambda x: tg.min(x, axis=1), [[[1.0, NAN], [2.0, 3.0]]], [[[0, 1], [1, 0]]]),
    "several": (tg.max, [[NAN, 9.0, NAN]], [[0.5, 0, 0.5]]),
    "maximum": (tg.maximum, [[NAN, 1.0, NAN, 2.0], [1.0, NAN, NAN, 2.0]], [[1, 0, 0.5, 0.5], [0, 1, 0.5, 0.5]]),
    "minimum": (tg.minimum, [[NAN, 1.0, NAN, 2.0], [1.0, NAN, NAN, 2.0]], [[1, 0, 0.5, 0.5], [0, 1, 0.5, 0.5]]),
    "a number": (lambda x: tg.maximum(x, 0.0), [[NAN, 1.0, -1.0]], [[1, 1, 0]]),
    "relu": (tg.relu, [[NAN, 1.0, -1.0, 0.0]], [[1, 1, 0, 0]]),
    "max_pool2d": (tg.max_pool2d, [[[[1.0, NAN, 3.0, 4.0], [5.0, 6.0, 7.0, 8.0]]]], [[[[0, 1, 0, 0], [0, 0, 0, 1]]]]),
}


@pytest.mark.parametrize("name", NAN_GETS_IT)
def test_the_gradient_of_an_extremum_goes_to_the_nan_that_it_is(name):
    op, values, expected = NAN_GETS_IT[name]
    tensors = [variable(x) for x in values]
    for create_graph in (False, True):
        gradients = grad(op(*tensors).sum(), tensors, create_graph=create_graph)
        for g, right in zip(gradients, expected, strict=True):
            assert_array_equal(g.data, right)


JOINS: dict[str, Any] = {
    "concatenate": lambda parts: tg.concatenate(parts, axis=-1),
    "stack": lambda parts: tg.stack(parts, axis=1),
    "numpy": np.stack,
    "flat": lambda parts: np.concatenate(parts, axis=None),
}


@pytest.mark.parametrize("join", JOINS.values(), ids=JOINS)
@pytest.mark.parametrize("n", [32, 33, 1025])
def test_many_tensors_are_joined_in_groups(join, n):
    """One node of all would take n² steps to differentiate: 40 s for 16,000 parts."""
    arrays = [np.array([[i, i + 0.5]]) for i in range(n)]
    parts = [variable(x) for x in arrays]
    joined = join(parts)
    assert_array_equal(joined.data, join(arrays))
    weights = np.arange(joined.size).reshape(joined.shape) / 8  # exact
    first = grad((joined**3 * weights).sum(), parts, create_graph=True)
    second = grad(tg.concatenate(first).sum(), parts, retain_graph=True)
    places = [join([np.full((1, 2), i == k) for i in range(n)]) for k in (0, n // 2, n - 1)]
    for k, place in zip((0, n // 2, n - 1), places, strict=True):
        assert_array_equal(first[k].data.ravel(), (3 * joined.data**2 * weights)[place])
        assert_array_equal(second[k].data.ravel(), (6 * joined.data * weights)[place])
    seen, pending = set(), [joined]
    while pending:
        node = pending.pop()
        if isinstance(node, Tensor) and node not in seen:
            seen.add(node)
            assert len(node.inputs) <= 32
            pending += node.inputs
    assert seen >= set(parts)


def test_clip_of_nan_sends_its_gradient_to_no_bound():
    x, low, high = (variable(v) for v in ([math.nan, 1.0, 9.0], -1.0, 5.0))
    tg.clip(x, low, high).sum().backward()
    assert [t.grad.data.tolist() for t in (x, low, high)] == [[0, 1, 0], 0, 1]


@pytest.mark.parametrize(
    "places", [array.array("l", [0, 0, 2]), memoryview(array.array("l", [0, 0, 2])), deque([0, 0, 2])]
)
def test_a_place_taken_twice_gets_both_gradients_whatever_kind_of_sequence_names_it(places):
    assert_array_equal(slope(lambda x: x[places] ** 2, [1.0, 2.0, 3.0]), [4, 0, 6])


@pytest.mark.parametrize("function", [tg.sum, tg.exp, tg.softmax, lambda x: tg.maximum(x, np.array([0.0, 1.0]))])
def test_a_list_of_tensors_does_not_lose_its_gradients(function):
    x = variable([1.0, 2.0])
    with refused(TypeError, "a list of Tensors", "stack()"):
        function([x[0], x[1]])


@pytest.mark.usefixtures("table")
class TestMistakesInOwnOps:
    @pytest.mark.parametrize("result", [None, "text"])
    def test_a_forward_that_returns_no_numbers_is_named(self, result):
        nothing = unary("my_nothing", lambda x: result, lambda g, out, x: g)
        with refused(TypeError, "my_nothing: forward returned", "expected an array of numbers"):
            nothing(variable(1.0))

    def test_a_rule_without_return_is_named(self):
        lost = unary("my_lost", lambda x: 2 * x, lambda g, out, x: None)
        with refused(TypeError, "my_lost: a rule returned NoneType", "did you forget return?"):
            lost(variable(1.0)).backward()

    def test_an_error_in_a_rule_says_in_which(self):
        broken = unary("my_broken", lambda x: 2 * x, lambda g, out, x: g @ x)
        with pytest.raises(ValueError, match="matmul") as caught:
            broken(variable(1.0)).backward()
        assert "a rule of the op my_broken" in caught.value.__notes__[0]

    @pytest.mark.parametrize("domain", [tg.Domain(), (-1, 1), (), [tg.Domain()]])
    def test_a_domain_that_is_none_is_refused_when_the_op_is_made(self, domain):
        with refused(TypeError, "my_odd", "a tuple of 1 Domain"):
            unary("my_odd", lambda x: x, lambda g, out, x: g, domain=domain)
        assert "my_odd" not in OPS

    def test_an_op_made_in_code_without_a_name_is_the_users(self):
        space = {"unary": unary, "np": np}
        exec("op = unary('my_nameless', np.spacing, lambda g, out, x: g)", space)
        assert not is_ours(OPS.pop("my_nameless"))

    def test_an_op_made_anew_serves_numpys_function_in_place_of_the_former(self):
        for factor in (1.0, 3.0):
            OPS.pop("my_spacing", None)
            unary("my_spacing", np.spacing, lambda g, out, x, factor=factor: g * factor)
            assert_array_equal(slope(np.spacing, [1.0, 8.0]), [factor, factor])
        del OPS["my_spacing"]
        with refused(TypeError, "np.linalg.eig is not in the table"):
            np.linalg.eig(variable([[1.0]]))
        with refused(TypeError, "np.spacing is not in the table"):
            np.spacing(variable([1.0]))


@pytest.mark.parametrize("function", [tg.relu, tg.sum, tg.conv2d, tg.concatenate])
def test_ops_can_be_pickled(function):
    assert pickle.loads(pickle.dumps(function)) is function


# --- an op that is defined again ---

CELL = """
from tinygrad_mnist import unary
swell = unary("swell", lambda x: {factor} * x * x, lambda g, out, x: g * {slope} * x, numpy=(np.i0,))
"""


def run_cell(module: str, factor: float, slope: float) -> Any:
    names: dict[str, Any] = {"__name__": module, "np": np}
    exec(CELL.format(factor=factor, slope=slope), names)
    return names["swell"]


def test_the_same_module_may_define_its_op_again(table):
    """As the cell of a notebook does that is run again with its rule corrected."""
    x = variable([1.0, 2.0])
    wrong = run_cell("notebook", 1.0, 3.0)
    earlier = wrong(x)
    right = run_cell("notebook", 2.0, 4.0)
    assert table["swell"] is right.op
    assert_array_equal(grad(right(x).sum(), x).data, [4, 8])
    assert_array_equal(grad(np.i0(x).sum(), x).data, [4, 8])
    assert_array_equal(grad(earlier.sum(), x).data, [3, 6])  # made before: with the rule that it was made with
    assert pickle.loads(pickle.dumps(right.op)) is right.op
    testing.check_op("swell")


def test_an_op_that_cannot_be_defined_again_leaves_the_row_as_it_was(table):
    first = run_cell("notebook", 1.0, 2.0)
    names = {"__name__": "notebook"}
    with pytest.raises(TypeError, match="a rule is called as"):
        exec('from tinygrad_mnist import unary\nunary("swell", lambda x: x, lambda g: g)', names)
    assert table["swell"] is first.op
    assert np.i0(variable(3.0)).item() == 9


@pytest.mark.parametrize("owner", ["another", "tinygrad_mnist.ops"])
def test_rows_of_other_modules_are_protected(table, owner):
    name = "swell" if owner == "another" else "exp"
    run_cell("another", 1.0, 2.0)
    with refused(ValueError, f"'{name}' is already in the table", f"made by {owner}", "choose another name"):
        exec(CELL.replace('"swell"', f'"{name}"').format(factor=1, slope=2), {"__name__": "notebook", "np": np})


def test_a_module_with_an_op_can_be_reloaded(table, tmp_path, monkeypatch):
    (tmp_path / "module_with_an_op.py").write_text("import numpy as np\n" + CELL.format(factor=1, slope=3))
    monkeypatch.syspath_prepend(tmp_path)
    module = importlib.import_module("module_with_an_op")
    (tmp_path / "module_with_an_op.py").write_text("import numpy as np\n" + CELL.format(factor=10.5, slope=21))
    importlib.invalidate_caches()
    module = importlib.reload(module)
    assert module.swell(variable(2.0)).item() == 42
    assert table["swell"] is module.swell.op


@pytest.mark.parametrize("name", ["flip", "dot", "flatten", "median"])
def test_an_op_of_ones_own_does_not_take_the_place_of_a_function_that_is_made_of_ops(name):
    before = FUNCTIONS[name]
    with refused(
        ValueError, f"op {name!r} is already in the table, made by tinygrad_mnist.ops.", "choose another name"
    ):
        unary(name, lambda x: x * 2, lambda g, out, x: g * 2)
    assert FUNCTIONS[name] is before
    assert name not in OPS
