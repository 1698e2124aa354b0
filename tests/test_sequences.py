"""Reductions, scans, sorting, statistics, differences: NumPy's values for all forms of arguments, and derivatives."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import tinygrad_mnist as tg
from tinygrad_mnist import Tensor, grad
from tinygrad_mnist.gradcheck import check_gradients
from tinygrad_mnist.tensor import values
from tinygrad_mnist.testing import check_derivatives

from .helpers import refused, variable

INF, NAN = math.inf, math.nan
A = np.array([[0.5, 2.0, -1.25, 3.0], [1.5, -0.75, 0.25, 4.0], [2.75, 1.0, -2.0, -3.5]])
B = np.stack([A, A[::-1] * 1.5 + 0.0625])
HOLES = np.array([[0.5, NAN, -1.25, 3.0], [NAN, NAN, NAN, NAN], [2.75, 1.0, -2.0, NAN]])
WEIGHTS = np.array([[1.0, 2.0, 0.5, 0.25], [0.75, 3.0, 1.5, 2.5], [0.125, 1.0, 2.0, 4.0]])
V, P = A[0], np.array([-2.0, 0.0, 1.0, 4.0])

METHODS = """inverted_cdf averaged_inverted_cdf closest_observation interpolated_inverted_cdf hazen weibull linear
median_unbiased normal_unbiased lower higher midpoint nearest""".split()

# NumPy's function, and arguments of which the first becomes a Tensor.
FORMS: list[tuple[Any, tuple[Any, ...], dict[str, Any]]] = [
    *[(f, (B,), {"axis": axis, "keepdims": keep}) for f in (np.prod, np.var, np.std, np.median, np.ptp, np.average)
      for axis, keep in ((None, False), (0, True), (-1, False), ((0, 2), True), ((2, -2), False))],
    *[(f, (A, axis), {}) for f in (np.cumsum, np.cumprod, np.nancumsum, np.nancumprod, np.sort)
      for axis in (None, 0, -1)],
    *[(f, (A,), {"ddof": ddof, "axis": axis}) for f in (np.var, np.std) for ddof in (0, 1, 1.5) for axis in (None, 1)],
    *[(f, (x,), {"axis": axis, "keepdims": keep}) for x in (A, HOLES[::2])
      for f in (np.nansum, np.nanprod, np.nanmax, np.nanmin, np.nanmean, np.nanvar, np.nanstd)
      for axis, keep in ((None, False), (1, True))],
    (np.prod, (A, 1, None, None, True), {}),
    (np.var, (A, 0, None, None, 1, True), {}),
    (np.sort, (A,), {"kind": "stable", "axis": 0}),
    (np.sort, (A,), {"stable": True}),
    (np.sort, (A, 1, "heapsort"), {}),
    (np.average, (A, 1, V), {}),
    (np.average, (A,), {"weights": WEIGHTS}),
    (np.average, (A,), {"weights": WEIGHTS, "axis": 0, "returned": True}),
    (np.average, (B,), {"weights": WEIGHTS, "axis": (1, 2)}),
    (np.average, (B,), {"weights": WEIGHTS.T, "axis": (2, 1), "keepdims": True}),
    (np.average, (A,), {"axis": 0, "returned": True}),
    *[(f, (A, q * scale), {"axis": axis}) for f, scale in ((np.quantile, 1), (np.percentile, 100))
      for q in (np.float64(0), 0.3, np.array([0.25, 1.0]), np.array([[0.5, 0.125]])) for axis in (None, 0, (0, 1))],
    (np.quantile, (B, [0.1, 0.9]), {"axis": (0, -1), "keepdims": True}),
    *[(np.quantile, (A, [0.0, 0.3, 0.5, 0.75, 1.0]), {"axis": 1, "method": method}) for method in METHODS],
    (np.percentile, (B, 30), {"method": "midpoint"}),
    *[(f, (x, q * scale), {"axis": axis}) for f, scale in ((np.nanquantile, 1), (np.nanpercentile, 100))
      for x in (A, HOLES[::2]) for q in (0.3, np.array([0.0, 0.5, 0.875, 1.0])) for axis in (None, 0, 1)],
    (np.nanquantile, (A, [[0.1, 0.9]]), {"axis": (1, 0), "keepdims": True}),
    *[(f, (A,), {"correction": 1, "axis": 1}) for f in (np.var, np.std, np.nanvar, np.nanstd)],
    (np.cumulative_sum, (V[0],), {}),
    (np.diff, (A,), {}),
    (np.diff, (A, 2), {"axis": 0}),
    (np.diff, (A, 0), {}),
    (np.diff, (A,), {"prepend": 0, "append": A[:, :2]}),
    (np.diff, (A,), {"axis": 0, "append": 1.5}),
    (np.ediff1d, (A,), {}),
    (np.ediff1d, (A, [1.0, 2.0], 7.0), {}),
    (np.trapezoid, (A,), {}),
    (np.trapezoid, (A,), {"dx": 0.5, "axis": 0}),
    (np.trapezoid, (A, P), {}),
    (np.trapezoid, (A, np.array([0.0, 1.0, 4.0])), {"axis": 0}),
    (np.trapezoid, (A, np.cumsum(A * A, 1)), {}),
    (np.gradient, (V,), {}),
    (np.gradient, (A,), {}),
    (np.gradient, (A, 0.5), {"edge_order": 2}),
    (np.gradient, (A, 0.5, P), {}),
    (np.gradient, (A, P), {"axis": 1, "edge_order": 2}),
    (np.gradient, (B,), {"axis": (-1, 0)}),
    (np.interp, (A + 0.03125, P, V), {}),
    (np.interp, (A + 0.03125, P, V), {"left": -7.0, "right": 9.0}),
    (np.interp, (A + 0.03125, P[::-1], V), {"period": 7.5}),
    (np.interp, (0.25, P, V), {}),
    (np.unique, (np.round(A),), {}),
    (np.unique, (np.array([2.0, 1.0, 2.0, NAN, NAN]),), {}),
    (np.unique, (np.round(A), True, True, True), {}),
    (np.unique, (A[[0, 1, 0]],), {"axis": 0, "return_counts": True}),
    (np.nan_to_num, (np.array([NAN, INF, -INF, 1.5]),), {}),
    *[(np.nanmedian, (x,), {"axis": axis}) for x in (A, HOLES[::2]) for axis in (None, 0, (0, 1))],
    (np.nanmedian, (A,), {"axis": 1, "keepdims": True}),
    (np.cov, (A,), {}),
    (np.cov, (A, A[:2] * A[1:]), {"bias": True}),
    (np.cov, (A,), {"rowvar": False, "ddof": 0}),
    (np.cov, (V, P), {}),
    (np.cov, (V,), {}),
    (np.corrcoef, (A,), {}),
    (np.corrcoef, (V, P), {}),
    (np.sinc, (A,), {}),
    *[(getattr(np, name), (x,), {"axis": axis, "include_initial": initial})
      for name in ("cumulative_sum", "cumulative_prod") if hasattr(np, name)
      for x, axis, initial in ((V, None, True), (A, 0, False), (A, 1, True), (A, -2, True))],
    (np.nan_to_num, (np.array([NAN, INF, -INF, 1.5]),), {"nan": 1.0, "posinf": 2.0, "neginf": -3.0}),
    (np.float_power, (A, 2), {}),
]  # fmt: skip


FIRST: dict[Any, dict[str, Any]] = {}
"""The first options of each function: with those second derivatives are checked too, which are the table's business."""
for _function, _, _options in FORMS:
    FIRST.setdefault(_function, _options)


def flat(answer: Any) -> list[Any]:
    return list(answer) if isinstance(answer, tuple) else [answer]


@pytest.mark.parametrize(("function", "args", "options"), FORMS)
def test_values_are_numpys_and_derivatives_right(function, args, options):
    ours = getattr(tg, function.__name__)
    own_order = any(value is None for value in args[2:])  # our third parameter is not NumPy's
    for dtype in (np.float64, np.float32):
        array = np.asarray(args[0], dtype)
        expected = flat(function(array, *args[1:], **options))
        for form in (function,) if own_order else (function, ours):
            answers = flat(form(variable(array, dtype), *args[1:], **options))
            assert isinstance(answers[0], Tensor)
            for answer, wanted in zip(answers, expected, strict=True):
                got, eps = values(answer), float(np.finfo(dtype).eps)
                assert got.dtype in (wanted.dtype, dtype)  # NumPy makes float64 of the 0 in prepend=0
                assert_allclose(got, wanted, rtol=8 * eps, atol=8 * eps)
        if not own_order:
            for answer, wanted in zip(flat(ours(array, *args[1:], **options)), expected, strict=True):
                assert_array_equal(answer, wanted)
    if not np.isnan(args[0]).any() and function is not np.unique:
        check = check_derivatives if options is FIRST[function] else check_gradients
        check(lambda x: flat(function(x, *args[1:], **options))[0], np.asarray(args[0]))


@pytest.mark.parametrize(
    ("function", "inputs"),
    [
        (lambda a, w: np.average(a, 1, w), (A, V + 2)),
        (lambda a, w: np.average(a, weights=w), (A, WEIGHTS)),
        (lambda y, x: np.trapezoid(y, x), (A, P)),
        (lambda y, x: np.trapezoid(y, x, axis=0), (A, WEIGHTS)),
        (lambda y, dx: np.trapezoid(y, dx=dx), (A, np.array(0.5))),
        (lambda a, p: np.diff(a, prepend=p), (A, A[:, :1] * 2)),
        (lambda a, p: np.diff(a, append=p), (A, np.array(0.5))),
        (lambda a, p: np.ediff1d(a, to_end=p), (A, V)),
        (lambda x, xp, fp: np.interp(x, xp, fp), (A + 0.03125, P, V)),
        (lambda x, xp, fp: np.interp(x, xp, fp, left=fp[0] * 2, right=fp.sum()), (A + 0.03125, P, V)),
        (lambda x, xp, fp: np.interp(x, xp, fp, period=7.0), (A + 0.03125, P, V)),
        (lambda x, n: np.nan_to_num(x / n, nan=2.0), (A, WEIGHTS)),
        (lambda x, y: np.float_power(x, y), (WEIGHTS, A)),
    ],
)
def test_every_operand_has_its_derivatives(function, inputs):
    check_derivatives(function, *inputs)


@pytest.mark.parametrize("zeros", [[], [1], [1, 3], [0, 1, 2, 3]])
def test_products_have_right_derivatives_of_all_orders_at_zeros(zeros):
    """Division of the product by x is NaN there."""
    x = np.array([1.5, -2.0, 0.5, 3.0, 0.25])
    x[zeros] = 0
    with np.errstate(all="raise"):
        check_derivatives(tg.prod, x)
        check_derivatives(tg.cumprod, x)
        t = variable(x)
        first = grad(tg.prod(t), t, create_graph=True)
        assert_allclose(first.data, [np.prod(np.delete(x, i)) for i in range(5)])
        second = grad(first[0], t, create_graph=True)
        assert_allclose(second.data, [0, *(np.prod(np.delete(x, [0, i])) for i in range(1, 5))])
        third = grad(second[1], t)
        assert_allclose(third.data, [0, 0, *(np.prod(np.delete(x, [0, 1, i])) for i in range(2, 5))])


def test_products_of_what_underflows_together_have_the_slopes_that_do_not():
    """The product of all is 0, and 0 / x too; that of the others is not."""
    t = variable([1e-200, 1e-200, 1e150])
    assert_allclose(grad(tg.prod(t), t).data, [1e-50, 1e-50, 0])


@pytest.mark.parametrize(
    ("function", "x", "expected"),
    [
        (tg.std, [2.0, 2.0, 2.0], [0, 0, 0]),
        (lambda x: tg.std(x, ddof=1), [1.0, 3.0], [-1 / math.sqrt(2), 1 / math.sqrt(2)]),
        (tg.nanstd, [2.0, 2.0, NAN], [0, 0, 0]),
        (tg.var, [5.0], [0]),
        (tg.var, 5.0, 0),
        (tg.median, [1.0, 2.0, 2.0, 2.0, 3.0], [0, 0, 1, 0, 0]),
        (tg.median, [4.0, 1.0, 3.0, 2.0], [0, 0, 0.5, 0.5]),
        (tg.ptp, [1.0, 1.0, 3.0], [-0.5, -0.5, 1]),
        (lambda x: tg.sort(x)[0], [1.0, 0.0, 0.0], [0, 1, 0]),
        (lambda x: tg.sort(x)[-1], [NAN, 1.0, 2.0], [1, 0, 0]),
        (lambda x: tg.unique(x)[1], [2.0, 1.0, 2.0], [1, 0, 0]),
        (lambda x: tg.quantile(x, 0.5), [1.0, 2.0, 2.0, 3.0], [0, 0.5, 0.5, 0]),
        (lambda x: tg.interp(x, P, V).sum(), [0.0, 4.0, -9.0, 9.0], [-3.25, 0, 0, 0]),
        (tg.nanmax, [NAN, 1.0, 1.0], [0, 0.5, 0.5]),
        (tg.nansum, [NAN, 1.0, -1.0], [0, 1, 1]),
        (lambda x: tg.nan_to_num(x).sum(), [NAN, INF, 1.0], [0, 0, 1]),
    ],
)
def test_slopes_at_kinks_and_ties_are_as_documented(function, x, expected):
    t = variable(x)
    assert_allclose(grad(function(t), t).data, expected)


def test_the_first_choice_whose_condition_holds_gets_the_gradient():
    x, y = variable([1.0, -2.0, 0.5]), variable([3.0, 4.0, 5.0])
    result = np.select([x > 0.75, x < 0, x > 0.25], [x * 2, y, 7.0], default=x)
    assert_array_equal(result.data, [2, 4, 7])
    assert [g.tolist() for g in grad(result.sum(), [x, y])] == [[2, 0, 0], [0, 1, 0]]
    with refused(TypeError, "select", "compare"):
        np.select([x], [x])
    with refused(ValueError, "select", "1 and 2"):
        np.select([x > 0, x < 0], [x])


def test_what_has_nan_has_no_middle():
    for function in (tg.median, lambda x: tg.quantile(x, 0.25)):
        assert np.isnan(function(variable([1.0, NAN, 2.0])).item())
        assert function(variable([[1.0, NAN], [2.0, 4.0]])).shape == ()
    assert_array_equal(tg.median(variable([[1.0, NAN], [2.0, 4.0]]), axis=1).data, [NAN, 3])
    assert_array_equal(tg.nanmax(variable(HOLES), 1).data, [3, NAN, 2.75])


def test_empty_and_0d():
    empty = variable(np.zeros((3, 0)))
    functions: list[Any] = [tg.cumsum, tg.cumprod, tg.sort, tg.prod, tg.nansum, tg.nanprod]
    for function in functions:
        result = function(empty, axis=1)
        assert result.shape in ((3, 0), (3,))
        assert grad(result.sum(), empty).shape == (3, 0)
    assert tg.prod(empty).item() == 1
    number = variable(2.0)
    functions = [
        tg.cumsum,
        tg.cumprod,
        tg.prod,
        tg.median,
        tg.unique,
        lambda x: tg.cumsum(x, -1),
        lambda x: tg.prod(x, 0),
    ]
    for function in functions:
        assert grad(function(number).sum(), number).item() == 1
    with refused(ValueError, "sort", "axis"):
        tg.sort(number)


def test_what_is_refused_is_named():
    x = variable(A)
    for words, call in {
        ("quantile", "from 0 to 1", "1.5"): lambda: np.quantile(x, 1.5),
        ("nanquantile", "linear", "nearest"): lambda: np.nanquantile(x, 0.5, method="nearest"),
        ("quantile", "numbers"): lambda: np.quantile(x, variable(0.5)),
        ("median", "out"): lambda: np.median(x, out=np.zeros(())),
        ("average", "axis"): lambda: np.average(x, weights=V),
        ("average", "(3,)", "(3, 4)"): lambda: np.average(x, axis=1, weights=np.ones(3)),
        ("diff", "n >= 0"): lambda: np.diff(x, -1),
        ("gradient", "distance"): lambda: np.gradient(x, 1, 2, 3),
        ("gradient", "at least 3"): lambda: np.gradient(x[:, :2], edge_order=2),
        ("gradient", "coordinates"): lambda: np.gradient(x, variable(1.0)),
        ("interp", "vectors"): lambda: np.interp(x, P, V[:2]),
        ("nan_to_num", "copy"): lambda: np.nan_to_num(x, copy=False),
        ("prod", "axis 5"): lambda: np.prod(x, 5),
        ("cumsum", "dtype"): lambda: np.cumsum(x, dtype=np.int64),
        ("sort", "order"): lambda: np.sort(x, order="a"),
    }.items():
        with refused((TypeError, ValueError, IndexError), *words):
            call()


def test_integers_are_reduced_as_numpy_does():
    x = np.array([[3, 1, 2], [2, 2, 5]])
    for function in (np.prod, np.cumsum, np.cumprod, np.var, np.std, np.median, np.sort, np.ptp, np.diff, np.unique,
                     np.average, np.nansum, np.nanmax, np.nanmean, np.trapezoid, np.nan_to_num):  # fmt: skip
        result: Any = function(Tensor(x))
        expected = function(x)
        assert result.dtype == expected.dtype, function
        assert_allclose(result.numpy(), expected)


def test_lists_take_the_dtype_of_the_tensors_beside_them():
    t = variable([0.5, 2.0, 1.5], np.float32)
    for call in (
        lambda: np.average(t, weights=[1, 2, 3]),
        lambda: np.trapezoid(t, [0, 1, 3]),
        lambda: np.trapezoid([0, 1, 3], t),
        lambda: np.interp(t, [0, 1, 3], [2, 3, 5]),
        lambda: np.interp([0.5, 1.75], [0, 1, 3], t),
        lambda: np.diff(t, prepend=[1, 2], append=0),
        lambda: np.diff([1, 2], prepend=t),
        lambda: np.cov(t, [1, 2, 3]),
        lambda: np.gradient(t, [0, 1, 3]),
        lambda: np.ediff1d(t, to_end=[1.0]),
    ):
        result: Any = call()
        assert result.requires_grad
        assert result.dtype == np.float32


def test_queries_answer_plainly():
    x = variable([3.0, 1.0, 2.0])
    assert np.argsort(x).tolist() == x.argsort().tolist() == [1, 2, 0]
    assert np.searchsorted(x[[1, 2, 0]], 2.5) == 2
    assert np.isin(x, [1.0, 2.0]).tolist() == [False, True, True]
    assert np.count_nonzero(x) == 3
    assert np.nanargmax(x) == 0
    assert np.isposinf(x / 0.5).tolist() == [False] * 3
    assert x.tolist() == [3.0, 1.0, 2.0]


def test_operators_and_methods():
    x = variable([7.5, -7.5, 3.25])
    assert_array_equal((x % 2).data, x.data % 2)
    assert_array_equal((10 % x).data, 10 % x.data)
    assert_array_equal((x // 2).data, x.data // 2)
    assert_array_equal((10 // x).data, 10 // x.data)
    assert_array_equal((np.ones(3) % x).data, 1 % x.data)
    for ours, numpys in ((divmod(x, 2), divmod(x.data, 2)), (divmod(10, x), divmod(10, x.data)),
                         (np.divmod(x, 2), np.divmod(x.data, 2))):  # fmt: skip
        for a, b in zip(ours, numpys, strict=True):
            assert_array_equal(a.data, b)
        assert [a.requires_grad for a in ours] == [False, True]
    assert_array_equal(round(x).data, [8, -8, 3])
    assert_array_equal(round(x, 1).data, x.round(1).data)
    for name, args in (("var", (0,)), ("std", ()), ("prod", ()), ("cumsum", (0,)), ("cumprod", ())):
        assert_allclose(getattr(x, name)(*args).data, getattr(x.data, name)(*args))
    with refused(RuntimeError, "in place"):
        x %= 2
    with refused(RuntimeError, "in place"):
        x //= 2


def test_other_names_are_the_same_functions():
    for name, known in {"absolute": "abs", "subtract": "sub", "mod": "remainder", "radians": "deg2rad", "amax": "max",
                        "acos": "arccos", "equal": "eq", "concat": "concatenate", "power": "pow"}.items():  # fmt: skip
        assert getattr(tg, name) is getattr(tg, known)
    x = variable([0.5, -0.25])
    for function in (np.fabs, np.radians, np.degrees, np.positive, np.fix, np.around, np.amax, np.absolute):
        assert_array_equal(function(x).data, function(x.data))


@pytest.mark.parametrize("function", [
    lambda x: np.sort(x), lambda x: np.median(x, 1), lambda x: np.cumprod(x, 0).sum(1), lambda x: np.prod(x, 0),
    lambda x: np.interp(x, P, V), lambda x: np.nanmean(x, 0), lambda x: np.nanquantile(x, 0.3, 1),
    lambda x: x % 0.75 + np.var(x) * np.arctan2(x, 2.0),
])  # fmt: skip
def test_a_compiled_step_follows_the_values(function):
    """Orders and places are computed anew at each call."""
    step = tg.compile(lambda x: function(x))
    for turn in range(3):
        x = Tensor(np.roll(A, turn) * (1 + turn))
        assert_array_equal(step(x).data, function(x).data)
    assert step.replays
