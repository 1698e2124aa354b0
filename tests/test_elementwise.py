"""Functions of one and two numbers: their values and slopes where textbook formulas fail, at kinks, ties and poles."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import tinygrad_mnist as tg
from tinygrad_mnist import OPS, Tensor, grad

from .helpers import FLOATS, refused, variable

INF, NAN = math.inf, math.nan
LN2, LN10 = math.log(2), math.log(10)
PI = math.pi


def slopes(function: Any, *values: Any, dtype: Any = np.float64) -> list[float]:
    """The derivative of a function of numbers with respect to each."""
    tensors = [variable(x, dtype) for x in values]
    return [g.item() for g in grad(function(*tensors), tensors)]


A = 0.375 * PI
SINC_AT = (
    (math.cos(A) - math.sin(A) / A) / 0.375,
    -PI * PI * math.sin(A) / A - 2 * (math.cos(A) - math.sin(A) / A) / 0.375**2,
)

# Of a name: a number, and the derivatives of orders 1 and 2 there as mathematics has them.
SLOPES: dict[str, list[tuple[float, float, float]]] = {
    "sin": [(0, 1, 0), (PI / 2, 0, -1), (1e9, math.cos(1e9), -math.sin(1e9))],
    "cos": [(0, 0, -1), (PI / 2, -1, 0)],
    "tan": [(0, 1, 0), (PI / 4, 2, 4)],
    "sinh": [(0, 1, 0), (-1, math.cosh(1), -math.sinh(1))],
    "cosh": [(0, 0, 1), (-1, -math.sinh(1), math.cosh(1))],
    "sinc": [(0, 0, -(PI**2) / 3), (1e-9, -1e-9 * PI**2 / 3, -(PI**2) / 3), (1, -1, 2), (0.375, *SINC_AT)],
    "arcsin": [(0, 1, 0), (0.6, 1.25, 0.6 / 0.512)],
    "arccos": [(0, -1, 0), (0.6, -1.25, -0.6 / 0.512)],
    "arctan": [(0, 1, 0), (1, 0.5, -0.5), (1e150, 1e-300, 0), (-1e200, 0, 0), (INF, 0, NAN)],
    "arcsinh": [(0, 1, 0), (0.75, 0.8, -0.75 * 0.512), (1e200, 1e-200, 0)],
    "arccosh": [(1.25, 4 / 3, -1.25 * 64 / 27), (1e200, 1e-200, 0)],
    "arctanh": [(0, 1, 0), (0.5, 4 / 3, 16 / 9)],
    "deg2rad": [(90, PI / 180, 0)],
    "rad2deg": [(1, 180 / PI, 0)],
    "log1p": [(0, 1, -1), (1e-300, 1, -1), (1, 0.5, -0.25)],
    "expm1": [(0, 1, 1), (-50, math.exp(-50), math.exp(-50)), (-1000, 0, 0)],
    "log2": [(2, 0.5 / LN2, -0.25 / LN2)],
    "log10": [(10, 0.1 / LN10, -0.01 / LN10)],
    "exp2": [(3, 8 * LN2, 8 * LN2**2), (-2000, 0, 0)],
    "square": [(0, 0, 2), (-3, -6, 2), (1e100, 2e100, 2)],
    "reciprocal": [(2, -0.25, 0.25), (-4, -1 / 16, -1 / 32)],
    "cbrt": [(8, 1 / 12, -1 / 144), (-8, 1 / 12, 1 / 144), (1e-300, 1e200 / 3, NAN)],
    "nan_to_num": [(2, 1, 0), (INF, 0, 0), (NAN, 0, 0)],
}


@pytest.mark.parametrize("name", SLOPES)
def test_slopes_are_those_of_mathematics(name):
    with np.errstate(all="raise", under="ignore"):
        for x, first, second in SLOPES[name]:
            t = variable(x)
            slope = grad(getattr(tg, name)(t), t, create_graph=True)
            assert_allclose(slope.item(), first, rtol=1e-14, atol=1e-15)
            if not math.isnan(second):
                assert_allclose(grad(slope, t).item(), second, rtol=1e-13, atol=1e-15)


SPECIAL = np.array([0.0, -0.0, 5e-324, -5e-324, 1e-310, 0.5, -0.5, 1.0, -1.0, 2.5, -2.5, 1e300, -1e300, INF, -INF, NAN])
ROOMS = tuple(f"tinygrad_mnist.ops.{room}" for room in ("trigonometry", "logarithms", "rounding", "choices"))
NEW = [name for name, op in OPS.items() if isinstance(op.forward, np.ufunc) and op.function.__module__ in ROOMS]


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("name", [name for name in NEW if "bitwise" not in name and name != "invert"])
def test_values_and_dtypes_are_numpys_and_numpys_function_is_served(name, dtype):
    op = OPS[name]
    with np.errstate(all="ignore"):
        x = SPECIAL.astype(dtype)
        arrays = [x] if op.arity == 1 else [x[:, None], x]
        expected = op.forward(*arrays)
        for function in (op.function, op.forward):
            result = function(*map(variable_of, arrays))
            assert isinstance(result, Tensor)
            assert result.dtype == expected.dtype
            assert_array_equal(result.data, expected)
        assert_array_equal(op.function(*arrays), expected)
        assert op.function(*[np.ones((2, 0), dtype)] * (op.arity or 1)).shape == (2, 0)
        assert op.function(*[variable(1.0, dtype)] * (op.arity or 1)).shape == ()


def variable_of(array: Any) -> Tensor:
    return Tensor(array, requires_grad=array.dtype.kind == "f")


@pytest.mark.parametrize("name", [name for name in NEW if OPS[name].differentiable])
def test_float32_stays_float32_backward_too(name):
    op = OPS[name]
    x = variable([0.5, 0.75], np.float32)
    arguments = [x + 1 if name == "arccosh" else x, np.float64(0.625)][: op.arity]
    result = op.function(*arguments)
    assert result.dtype == np.float32
    assert not result.requires_grad or grad(result.sum(), x).dtype == np.float32


@pytest.mark.parametrize(
    ("function", "x", "y", "expected"),
    [
        (np.hypot, 3, 4, [0.6, 0.8]),
        (np.hypot, 0, 0, [0, 0]),
        (np.hypot, 3e200, 4e200, [0.6, 0.8]),
        (np.hypot, 3e-200, -4e-200, [0.6, -0.8]),
        (np.arctan2, 0, 0, [0, 0]),
        (np.arctan2, 1, 1, [0.5, -0.5]),
        (np.arctan2, 3e200, 4e200, [4e-200 / 25, -3e-200 / 25]),
        (np.arctan2, 0, -2, [-0.5, 0]),
        (np.fmax, 1, 2, [0, 1]),
        (np.fmax, 2, 2, [0.5, 0.5]),
        (np.fmax, NAN, 2, [0, 1]),
        (np.fmin, 2, NAN, [1, 0]),
        (np.fmin, 1, 2, [1, 0]),
        (np.fmin, NAN, NAN, [0, 0]),
        (np.logaddexp, 0, 0, [0.5, 0.5]),
        (np.logaddexp, 1000, 0, [1, 0]),
        (np.logaddexp, -INF, 0, [0, 1]),
        (np.logaddexp, -INF, -INF, [0.5, 0.5]),
        (np.logaddexp, INF, INF, [0.5, 0.5]),
        (np.logaddexp2, 3, 4, [1 / 3, 2 / 3]),
        (np.logaddexp2, -INF, -INF, [0.5, 0.5]),
        (np.remainder, 7.5, 2, [1, -3]),
        (np.remainder, -7.5, 2, [1, 4]),
        (np.remainder, 7.5, -2, [1, 4]),
        (np.remainder, 8, 2, [1, -4]),
        (np.remainder, 7.5, INF, [1, 0]),
        (np.fmod, -7.5, 2, [1, 3]),
        (np.fmod, 7.5, -2, [1, 3]),
        (np.fmod, 1e17, 3, [1, -33333333333333333]),
    ],
)
def test_slopes_of_two_numbers(function, x, y, expected):
    with np.errstate(all="raise", under="ignore"):
        assert_allclose(slopes(function, float(x), float(y)), expected, rtol=1e-14)


def test_equal_operands_of_logaddexp_have_a_second_derivative():
    """Choosing 0 for x - y wherever x is y would lose it."""
    for function, scale in ((tg.logaddexp, 1), (tg.logaddexp2, LN2)):
        x, y = variable(1.5), variable(1.5)
        first = grad(function(x, y), x, create_graph=True)
        assert_allclose([g.item() for g in grad(first, [x, y])], [scale / 4, -scale / 4])


@pytest.mark.parametrize(
    ("function", "at", "expected"),
    [
        (tg.arcsin, 1.0, INF),
        (tg.arccos, -1.0, -INF),
        (tg.arctanh, 1.0, INF),
        (tg.arccosh, 1.0, INF),
        (tg.cbrt, 0.0, INF),
        (tg.log1p, -1.0, INF),
    ],
)
def test_slope_at_a_pole_is_infinite_as_documented(function, at, expected):
    with np.errstate(divide="ignore"):
        assert slopes(function, at) == [expected]
        assert slopes(function, at, dtype=np.float32) == [expected]
    assert "infinite" in function.__doc__ or function is tg.log1p


@pytest.mark.parametrize("function", [tg.hypot, tg.arctan2, lambda x, y: tg.norm(tg.stack([x, y]))])
def test_derivatives_at_the_origin_are_zero_of_every_order(function):
    """Not those of x / 1, of which the rule used to take one."""
    x, y = variable(0.0), variable(0.0)
    for first in grad(function(x, y), [x, y], create_graph=True):
        assert first.item() == 0
        assert [second.item() for second in grad(first, [x, y], retain_graph=True)] == [0, 0]


def test_parts_without_derivative_have_none():
    x = variable([-1.5, 0.0, 2.5])
    for function in (tg.floor, tg.ceil, tg.trunc, tg.rint, tg.round, np.fix, np.around, lambda t: t // 2):
        assert not function(x).requires_grad
    size, sign = grad(tg.copysign(x, s := variable([1.0, 1.0, -1.0])).sum(), [x, s])
    assert_array_equal(size.data, [-1, 0, -1])
    assert_array_equal(sign.data, [0, 0, 0])
    step, half = grad(tg.heaviside(x, h := variable(0.5)).sum(), [x, h])
    assert_array_equal(step.data, [0, 0, 0])
    assert half.item() == 1


def test_rounding_takes_decimals():
    x = variable([1.25, -2.345, 1250.0])
    for decimals in (0, 1, 2, -2):
        assert_array_equal(tg.round(x, decimals).data, np.round(x.data, decimals))
        assert_array_equal(np.round(x, decimals=decimals).data, np.round(x.data, decimals))


def test_numbers_in_place_of_what_is_none():
    values = np.array([NAN, INF, -INF, 1.5])
    for options in ({}, {"nan": 2.0}, {"posinf": 3.0, "neginf": -3.0}, {"nan": 1, "posinf": 4}):
        result = np.nan_to_num(variable(values), **options)
        assert_array_equal(result.data, np.nan_to_num(values, **options))
        assert_array_equal(tg.nan_to_num(variable(values, np.float32), **options).data.dtype, np.float32)
    with refused(TypeError, "nan_to_num", "copy"):
        np.nan_to_num(variable(values), copy=False)


def test_operands_that_do_not_broadcast_are_named():
    for function in (tg.arctan2, tg.hypot, tg.logaddexp, tg.remainder, tg.fmax, tg.copysign):
        with refused(ValueError, function.__name__, "do not broadcast"):
            function(variable([1.0, 2.0]), variable([1.0, 2.0, 3.0]))
    with refused(TypeError, "sin", "str"):
        tg.arctan2(variable(1.0), "sin")  # type: ignore[arg-type]


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.longdouble])
def test_the_sigmoid_never_overflows(dtype):
    """In float16 too, whose largest number's logarithm has to be taken in more digits than it has."""
    largest = np.log(np.longdouble(np.finfo(dtype).max))
    x = np.concatenate([np.linspace(-largest - 1, -largest + 1, 41), [-np.inf, np.inf, 0]]).astype(dtype)
    with np.errstate(all="raise", under="ignore"):
        y = tg.sigmoid(x)
    assert y.dtype == dtype
    assert np.all((y >= 0) & (y <= 1))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.longdouble])
@pytest.mark.parametrize("function", [tg.exp, tg.sigmoid, tg.softplus, tg.logsumexp])
def test_scalars_of_numpy_keep_their_dtype(function, dtype):
    assert function(dtype(0.5)).dtype == dtype
