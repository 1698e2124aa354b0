"""testing: the strategies give what they say, examples can be read, and a user's own op is tested in three lines."""

import itertools
import math
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import find, given, settings
from hypothesis import strategies as st

import tinygrad_mnist as tg
import tinygrad_mnist.nn
from tinygrad_mnist import OPS, Domain, Tensor, ops, testing
from tinygrad_mnist.gradcheck import GradientError
from tinygrad_mnist.ops import NONZERO, POSITIVE, REALS
from tinygrad_mnist.replay import c_forms
from tinygrad_mnist.testing import (
    LAYOUTS,
    Case,
    arrays,
    axes,
    broadcastable,
    broadcastable_shapes,
    check,
    check_derivatives,
    check_op,
    grid,
    indices,
    laid_out,
    matmul_operands,
    operands,
    operands_of,
    shapes,
)

from .helpers import cases

EXAMPLES = settings().max_examples  # a property: 15, or in CI 50


def examples(strategy, n=300):
    """Return what the strategy gives in one run."""
    found = []

    @settings(max_examples=n, derandomize=True, database=None)
    @given(strategy)
    def collect(value):
        found.append(value)

    collect()
    return found


# --- numbers ----------------------------------------------------------------------------------------------------------

DOMAINS = st.builds(
    lambda low, width, away: Domain(low, low + width, tuple(low + width * part for part in away)),
    st.floats(-100, 100),
    st.floats(0.01, 1000),
    st.lists(st.floats(0, 1), max_size=2),
)


@given(st.lists(DOMAINS, min_size=1, max_size=3))
def test_grid_numbers_are_short_distinct_in_the_domain_and_away(domains):
    dealt = grid(*domains)
    everything = [x for numbers in dealt for x in numbers]
    assert len(everything) == len(set(everything))
    gap = min(abs(x - y) for x, y in itertools.pairwise(sorted(everything)))
    for numbers, (low, high, away) in zip(dealt, domains, strict=True):
        assert 4 <= len(numbers) <= 65
        for x in numbers:
            assert low <= x <= high
            assert all(abs(x - point) >= gap / 4 for point in away)
            assert np.float32(x) == x


def test_grid_leaves_out_what_rounding_brings_below_the_domain():
    assert min(grid(Domain(5e-324, 65.0))[0]) > 0


def test_grid_starts_with_the_simplest_numbers():
    assert grid(REALS)[0][:6] == [0, 1, -1, 2, -2, 3]
    assert grid(POSITIVE)[0][:3] == [1, 2, 3]
    assert 0.0 not in grid(NONZERO)[0]
    assert grid(Domain(0, math.inf))[0][0] == 0
    assert max(grid(Domain(-math.inf, -2))[0]) == -2
    with pytest.raises(ValueError, match="expected a domain with low < high, got 1 and 1"):
        grid(Domain(1, 1))


# --- arrays -----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_shapes_keep_to_their_bounds_and_reach_them():
    found = set(examples(shapes()))
    assert {len(shape) for shape in found} == {0, 1, 2, 3}
    assert {n for shape in found for n in shape} == {0, 1, 2, 3}
    found = set(examples(shapes(min_dims=1, max_dims=2, min_side=2, max_side=4)))
    assert {len(shape) for shape in found} == {1, 2}
    assert {n for shape in found for n in shape} == {2, 3, 4}


@given(arrays(dtype=st.sampled_from([np.float64, np.int64, bool])), st.sampled_from(LAYOUTS))
def test_layouts_hold_the_same_values(array, layout):
    before = array.tobytes()
    other = laid_out(array, layout)
    assert (other.shape, other.dtype, other.tobytes(), array.tobytes()) == (array.shape, array.dtype, before, before)
    assert other.flags.writeable == (layout != "read-only") or other is array


def test_layouts_are_what_they_are_called():
    x = np.arange(6.0).reshape(2, 3)
    strides = {layout: laid_out(x, layout).strides for layout in LAYOUTS}
    assert strides == {
        "plain": (24, 8), "read-only": (24, 8), "transposed": (8, 16), "reversed": (-24, -8), "strided": (48, 16)
    }  # fmt: skip
    with pytest.raises(ValueError, match="expected one of plain, read-only, transposed, reversed, strided, got 'odd'"):
        laid_out(x, "odd")


@pytest.mark.slow
def test_arrays_come_in_every_shape_dtype_and_layout():
    dtypes = [np.float16, np.float32, np.float64, np.longdouble, np.int8, np.int64, np.uint8, np.bool_]
    seen: Counter[str] = Counter()
    for x in examples(arrays(dtype=st.sampled_from(dtypes)), 500):
        seen[x.dtype.name] += 1
        seen["0-d"] += x.ndim == 0
        seen["empty"] += x.size == 0
        seen["read-only"] += not x.flags.writeable
        seen["reversed"] += any(stride < 0 for stride in x.strides)
        seen["broadcast"] += x.size > 1 and any(s == 0 and n > 1 for s, n in zip(x.strides, x.shape, strict=True))
        seen["transposed"] += x.flags.f_contiguous and not x.flags.c_contiguous
        seen["strided"] += x.size > 1 and all(stride > x.itemsize for stride in x.strides)
        seen["plain"] += x.size > 1 and x.flags.c_contiguous and x.flags.writeable
    kinds = ["0-d", "empty", "read-only", "reversed", "broadcast", "transposed", "strided", "plain"]
    assert min(seen[kind] for kind in [*kinds, *(np.dtype(dtype).name for dtype in dtypes)]) >= 10


@given(arrays(distinct=True, dtype=st.sampled_from([np.float32, np.float64, np.int64])))
def test_distinct_arrays_have_no_ties(x):
    assert np.all(np.diff(np.sort(x, axis=None)) >= (1 / 8 if x.dtype.kind == "f" else 1))


@given(arrays((2, 3), values=[1.0, 2.0]), arrays(values=Domain(0.5, 0.75)))
def test_values_can_be_chosen(x, y):
    assert set(x.flat) <= {1, 2}
    assert np.all((y >= 0.5) & (y <= 0.75))


@given(broadcastable(REALS, POSITIVE, NONZERO))
def test_broadcastable_operands_broadcast_and_never_meet(found):
    np.broadcast_shapes(*(x.shape for x in found))
    for i, x in enumerate(found):
        assert all(not np.isin(x, y).any() for y in found[i + 1 :])
    assert np.all(found[1] >= 0.25)
    assert np.all(found[2] != 0)


@pytest.mark.slow
def test_every_operand_is_stretched_often_and_can_be_zero():
    stretched: Counter[int] = Counter()
    zero: Counter[int] = Counter()
    for found in examples(broadcastable(REALS, REALS)):
        whole = np.broadcast_shapes(*(x.shape for x in found))
        for i, x in enumerate(found):
            stretched[i] += 0 < x.size < math.prod(whole)
            zero[i] += 0 in x
    assert min(*stretched.values(), *zero.values()) >= 20


@given(st.data(), shapes())
def test_shapes_broadcast_to_the_one_given(data, whole):
    for narrow in data.draw(broadcastable_shapes(3, whole)):
        assert np.broadcast_shapes(narrow, whole) == whole


@pytest.mark.slow
def test_matmul_operands_align_in_every_combination():
    seen = set()
    for x, y in examples(matmul_operands()):
        product = np.matmul(x, y)
        seen.add((min(x.ndim, 3), min(y.ndim, 3), product.size == 0, x.shape[-1] == 0))
    assert {(m, n) for m, n, *_ in seen} == {(m, n) for m in (1, 2, 3) for n in (1, 2, 3)}
    assert {(empty, none) for *_, empty, none in seen} >= {(False, False), (True, False), (False, True)}


@given(st.data(), arrays())
def test_axes_can_be_reduced(data, x):
    np.sum(x, data.draw(axes(x.shape)))
    axis = data.draw(axes(x.shape, empty=False))
    reduced = range(x.ndim) if axis is None else np.atleast_1d(np.array(axis, int))
    assert all(x.shape[i] > 0 for i in reduced)


def test_axes_are_of_every_kind():
    found = examples(axes((2, 3, 4)), 500)
    assert {None, 0, -3, 2, -1, (), (1,)} <= {axis for axis in found if not isinstance(axis, tuple) or len(axis) < 2}
    assert {len(axis) for axis in found if isinstance(axis, tuple)} == {0, 1, 2, 3}


@given(st.data(), arrays())
def test_indices_can_be_taken(data, x):
    x[data.draw(indices(x.shape))]


@pytest.mark.slow
def test_indices_are_of_every_kind():
    parts, repeated = set(), 0
    for index in examples(indices((3, 2, 2)), 500):
        for part in index if isinstance(index, tuple) else (index,):
            parts.add(f"{part.dtype} array" if isinstance(part, np.ndarray) else type(part).__name__)
            repeated += isinstance(part, np.ndarray) and part.dtype.kind == "i" and len(set(part.tolist())) < part.size
    assert parts == {"bool array", "int64 array", "slice", "int", "NoneType", "ellipsis"}
    assert repeated > 20


def test_nothing_is_drawn_to_be_thrown_away():
    for file in Path(testing.__file__).parent.glob("*.py"):
        assert not re.search(r"\bassume\(|\.filter\(|reject\(", file.read_text(encoding="utf-8"))


# --- operands and cases -----------------------------------------------------------------------------------------------


OWN = "pow where astype bitwise_and bitwise_or bitwise_xor invert remainder fmod floor_divide".split()


@pytest.mark.parametrize("name", OPS)
def test_operands_are_in_the_domain(name):
    """So that the op computes finite numbers, without a warning."""
    for case in cases(name, EXAMPLES // 3):
        with np.errstate(all="raise", under="ignore"):
            out = case.apply(*case.args)
        assert np.all(np.isfinite(out))
        for domain, x in zip(OPS[name].domain or (), case.args, strict=False):
            if name not in OWN:
                assert np.all((np.asarray(x) >= domain.low) & (np.asarray(x) <= domain.high))


def test_operands_of_an_op_by_any_name():
    for op in (OPS["tanh"], tg.tanh, "tanh"):
        assert {case.op for case in examples(operands(op), 5)} == {OPS["tanh"]}
    assert {case.op for case in examples(operands(tg.concatenate), 5)} == {OPS["concatenate"]}
    with pytest.raises(LookupError, match="there is no op 'zeta' in OPS; define it with unary, binary"):
        operands("zeta")


@pytest.mark.slow
def test_some_operands_are_numbers():
    kinds = Counter(type(x) for case in examples(operands("mul")) for x in case.args)
    assert min(kinds[float], kinds[np.ndarray]) > 10


@pytest.mark.parametrize("name", ["mul", "pow", "sum", "getitem", "astype", "conv2d", "softmax_cross_entropy", "where"])
def test_a_case_prints_as_python_that_computes_the_same(name):
    functions = {**{op.name: op.function for op in OPS.values()}, "getitem": ops.getitem}
    names = {"array": np.array, "zeros": np.zeros, "bool": bool, "float64": float, "longdouble": np.longdouble}
    for case in cases(name, 30):
        result = eval(str(case), {**names, **functions})
        np.testing.assert_allclose(result, case.apply(*case.args), rtol=1e-14)  # memory layout decides the last bit
    assert any("# strides" in str(case) for case in cases(name, 30))
    assert any("read-only" in str(case) for case in cases(name, 30))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "wanted", "shown"),
    [
        ("exp", lambda case: case.args[0].size > 1, "exp(array([0., 0.]))"),
        ("mul", lambda case: all(np.size(x) > 1 for x in case.args), "mul(array([0., 0.]), array([0.25, 0.25]))"),
        ("log", lambda case: True, "log(array(1.))"),
        ("max", lambda case: case.params["axis"] == 0, "max(array([0.]), axis=0, keepdims=False)"),
        ("matmul", lambda case: case.args[0].ndim > 1 < case.args[1].size, "matmul(array([[0.]]), array([[0., 0.]]))"),
    ],
)  # fmt: skip
def test_examples_shrink_to_what_can_be_read(name, wanted, shown):
    assert str(find(operands(name), wanted, settings=settings(derandomize=True, database=None))) == shown


def test_a_failing_example_is_reported_in_words():
    tg.unary("double", lambda x: 2 * x, lambda g, out, x: g)
    try:
        with pytest.raises(GradientError) as caught:
            check_op("double")
    finally:
        del OPS["double"]
    assert str(caught.value).startswith("double: the gradient is wrong in 1 of 1 entries\n")
    assert any("case=double(array(0.))" in note for note in caught.value.__notes__)


# --- one's own ops ----------------------------------------------------------------------------------------------------


def check_some(name):
    """What `check_op` checks, without its search for the simplest example, which takes a second."""
    for case in examples(operands(name), EXAMPLES):
        check(case)


def test_an_op_of_ones_own_in_three_lines(table):
    softsign = tg.unary("softsign", lambda x: x / (1 + np.abs(x)), lambda g, out, x: g / (1 + abs(x)) ** 2)

    @given(operands(softsign))
    def test_softsign(case):
        check(case)

    test_softsign()


def test_its_domain_is_declared_where_it_is_defined(table):
    seen = []

    def artanh(x):
        seen.append(x)
        return np.arctanh(x)

    op = tg.unary("artanh", artanh, lambda g, out, x: g / (1 - x * x), domain=(Domain(-0.9, 0.9),))
    check_op(op)
    values = np.concatenate([np.ravel(np.real(x)) for x in seen])
    assert np.all(np.abs(values) < 0.91)
    assert values.size > 100


def test_or_beside_it(table):
    scale = tg.binary(
        "scale_rows", lambda x, row, by: np.where(np.arange(len(x))[:, None] == row, by * x, x),
        lambda g, out, x, row, by: scale(g, row, by=by), None, domain=None,
    )  # fmt: skip

    @operands_of("scale_rows")
    @st.composite
    def scale_rows_operands(draw):
        x = draw(arrays(shapes(min_dims=2, max_dims=2, min_side=1)))
        return Case((x, np.array(draw(st.integers(0, len(x) - 1)))), {"by": draw(st.sampled_from([2.0, -0.5]))})

    check_op(scale)
    assert examples(operands("scale_rows"), 5)[0].places == [0]


def test_a_kink_where_operands_meet_is_never_met(table):
    """The convention at equality is wrong on purpose: it is a convention, not a derivative."""

    def rule(sign):
        return lambda g, out, x, y: tg.where(x == y, 77 * g, sign * g * tg.where(x > y, 1, -1))

    op = tg.binary("distance", lambda x, y: np.abs(x - y), rule(1), rule(-1))
    for case in examples(operands(op), 2 * EXAMPLES):
        check_derivatives(case, *(case.args[i] for i in case.places))


WRONG_OPS = {
    "sign": (lambda g, out, x, y: -g * y, lambda g, out, x, y: g * x),
    "second input": (lambda g, out, x, y: g * y, lambda g, out, x, y: g * y),
    "stale": (lambda g, out, x, y: g * (out / 2 + y), lambda g, out, x, y: g * x),
    "only when recorded": (lambda g, out, x, y: g * (y.detach() if isinstance(y, Tensor) else y),
                           lambda g, out, x, y: g * x),
    "writes": (lambda g, out, x, y: g.__imul__(y) if isinstance(g, np.ndarray) and g.shape == y.shape else g * y,
               lambda g, out, x, y: g * x),
    "float64 in float32": (lambda g, out, x, y: g * (y + 1e-3 * (y.dtype == np.float32)), lambda g, out, x, y: g * x),
    "one Tensor twice": (lambda g, out, x, y: g * y + (x is y) * g, lambda g, out, x, y: g * x),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG_OPS)
def test_what_is_wrong_with_an_op_is_found(table, name):
    tg.binary("product", lambda x, y: x * y, *WRONG_OPS[name])
    with pytest.raises(GradientError, match="writes into an array that it was given" if name == "writes" else None):
        check_some("product")


@pytest.mark.parametrize("forward", [lambda x: x, lambda x: x[...], lambda x: x.T.T])
def test_memory_of_an_operand_must_be_said_to_be_a_view(table, forward):
    """Else nobody would notice that the operand was changed in place."""
    tg.unary("same", forward, lambda g, out, x: g)
    with pytest.raises(GradientError, match="forward returns memory of an operand; return a copy, or say view=True"):
        check_some("same")
    tg.unary("same", forward, lambda g, out, x: g, view=True)
    check_some("same")


def test_a_rule_that_forgets_a_parameter_is_found(table):
    def elu(x, alpha=1.0):
        return np.where(x > 0, x, alpha * np.expm1(x))

    kink = (Domain(away=(0.0,)),)
    check_op(tg.unary("elu", elu, lambda g, out, x, alpha: ops.where(x > 0, g, g * alpha * ops.exp(x)), domain=kink))
    for name, forward, rule, domain in (
        (
            "log_base",
            lambda x, base=2.0: np.log(x) / math.log(base),
            lambda g, out, x, base: g / (x * math.log(base)),
            POSITIVE,
        ),
        (
            "huber",
            lambda x, delta=1.0: np.where(abs(x) < delta, x * x / 2, delta * (abs(x) - delta / 2)),
            lambda g, out, x, delta: g * ops.clip(x, -delta, delta),
            Domain(away=(-1.0, 1.0)),
        ),
    ):
        check_op(tg.unary(name, forward, rule, domain=(domain,)))  # where they are right depends on the parameter
    forgets = tg.unary("forgets", elu, lambda g, out, x, alpha: ops.where(x > 0, g, g * ops.exp(x)), domain=kink)
    with pytest.raises(GradientError, match=r"alpha=0\.98"):
        check_op(forgets)


def test_an_op_without_rules_must_not_ask_for_gradients(table):
    tg.unary("whole", np.floor, None, domain=(Domain(away=(0.0, 1.0)),))
    check_op("whole")
    OPS["whole"].differentiable = False
    apply = OPS["whole"].function
    object.__setattr__(OPS["whole"], "function", lambda x: tg.exp(x))
    with pytest.raises(GradientError, match="whole has no rules, but its result requires gradients"):
        check_some("whole")
    object.__setattr__(OPS["whole"], "function", apply)


def test_derivatives_of_functions_of_ones_own():
    layer = tg.nn.Linear(2, 3, rng=np.random.default_rng(0))
    model = tg.nn.Sequential(layer, tg.tanh)
    check_derivatives(model, np.ones((4, 2)))
    check_derivatives(lambda x: model(x).sum(), Tensor(np.ones(2)), parameters=model)
    check_derivatives(lambda: model(np.ones(2, np.float32)).sum(), parameters=model.parameters())
    with pytest.raises(GradientError, match="wrong in 6 of 11 entries"):
        check_derivatives(lambda x: x @ layer.weight.detach(), np.ones(2), parameters=model)


def test_one_tensor_in_two_places_is_told(table):
    tg.binary("meet", lambda x, y: x * y, lambda g, out, x, y: g * (y + (x is y)), lambda g, out, x, y: g * x)
    with pytest.raises(GradientError, match="meet of one Tensor in 2 places: the gradient is wrong"):
        check_some("meet")


def test_a_case_without_its_op_is_refused():
    with pytest.raises(TypeError, match=r"expected a case drawn from operands\(op\)"):
        check(Case((np.ones(2),)))


def test_hypothesis_is_imported_by_testing_alone():
    code = "import sys, tinygrad_mnist.gradcheck, tinygrad_mnist.train; sys.exit('hypothesis' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, cwd=Path(tg.__file__).parents[1]).returncode == 0


@pytest.mark.parametrize(
    ("form", "message"),
    [
        ("{x} * 3", r"triple\(.*\): its form in C '\{x\} \* 3' gives .*, and the forward function .*, in float32"),
        ("many({x}", r"triple\(.*\): its form in C 'many\(\{x\}' is not compiled: .*error"),
    ],
)
def test_a_wrong_form_in_c_is_found(table: None, form: str, message: str) -> None:
    check_op(tg.unary("triple", lambda x: 2 * x, lambda g, out, x: 2 * g, c="2 * {x}"))
    with pytest.raises(GradientError, match=message) as caught:
        check_op(tg.unary("triple", lambda x: 2 * x, lambda g, out, x: 2 * g, c=form))
    assert "\n" not in str(caught.value)


def test_a_form_in_c_that_is_refused_is_tried_once(table: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """And not for each of the hundred examples among which hypothesis looks for the smallest: that took 80 s."""
    tried: list[str] = []

    def noted(c: str, operands: Any) -> Any:
        tried.append(c)
        return computed_in_c(c, operands)

    computed_in_c = c_forms.computed_in_c
    monkeypatch.setattr(c_forms, "computed_in_c", noted)
    with pytest.raises(GradientError, match="is not compiled"):
        check_op(tg.unary("triple", lambda x: 3 * x, lambda g, out, x: 3 * g, c="no C"))
    assert tried == ["no C"]


def test_a_form_in_c_of_an_op_with_parameters_is_left_to_numpy(table: None) -> None:
    leaky = tg.unary(
        "leaky",
        lambda x, slope=0.5: np.where(x > 0, x, slope * x),
        lambda g, out, x, slope: g * tg.where(x > 0, 1, slope),
        domain=(tg.Domain(away=(0,)),),
        c="no C",
    )
    check_op(leaky)
    step = tg.compile(lambda x: (leaky(x) + leaky(2 * x) + x).sum(), backend="c")
    assert [step(np.array([-1.0, 1.0])).item() for _ in range(5)] == [1.5] * 5
    assert step.replays == 2


# --- wrong use, and what users of other functions need ---


def drawn(strategy):
    return examples(strategy, 3)


wrongly: Any = testing  # with what a type checker would refuse
A_SHAPE = "a shape, a tuple such as (2, 3), got "


@pytest.mark.parametrize(
    ("use", "told"),
    [
        (lambda: drawn(broadcastable()), "broadcastable: expected a Domain for each array, such as REALS, got ()"),
        (lambda: drawn(wrongly.arrays(3)), "arrays: expected a shape such as (3,), or a strategy of shapes, got 3"),
        (lambda: drawn(shapes(min_side=5)), "got dims 0 to 3 and sides 5 to 3; give both bounds"),
        (lambda: drawn(arrays((2, 2), values=[1.0, 2.0], distinct=True)), "expected values with 4 distinct numbers"),
        (lambda: wrongly.check(np.exp), "check: expected a case drawn from operands(op), got <ufunc 'exp'>; for other"),
        (lambda: wrongly.operands(3), "operands: there is no op 3 in OPS"),
        (lambda: drawn(wrongly.arrays(values=3)), "or a list of numbers, got 3"),
        (lambda: drawn(wrongly.arrays(values=[])), "or a list of numbers, got []"),
        (lambda: drawn(wrongly.arrays(values="12", distinct=True)), "arrays: expected values"),
        (
            lambda: drawn(wrongly.arrays(values=wrongly.Domain("a", 3))),
            "grid: expected a domain of numbers, such as Domain(-4, 4,",
        ),
        (
            lambda: drawn(wrongly.arrays(values=wrongly.Domain(0, 1, away=0))),
            "grid: expected a domain of numbers, such as",
        ),
        (
            lambda: drawn(wrongly.arrays(dtype="text")),
            "arrays: expected a floating, integer or boolean dtype, or a strategy",
        ),
        (
            lambda: drawn(wrongly.arrays(dtype=None)),
            "arrays: expected a floating, integer or boolean dtype, or a strategy",
        ),
        (lambda: drawn(wrongly.arrays((-1,))), f"arrays: expected {A_SHAPE}(-1,)"),
        (lambda: drawn(wrongly.arrays(st.just(3))), f"arrays: expected {A_SHAPE}3"),
        (lambda: wrongly.axes(3), f"axes: expected {A_SHAPE}3"),
        (lambda: drawn(wrongly.indices([2])), f"indices: expected {A_SHAPE}[2]"),
        (lambda: drawn(wrongly.broadcastable_shapes(2, [3])), f"broadcastable_shapes: expected {A_SHAPE}[3]"),
        (lambda: drawn(wrongly.broadcastable_shapes(0)), "broadcastable_shapes: expected a whole number of at least 1"),
        (
            lambda: drawn(wrongly.shapes("a")),
            "shapes: expected whole numbers 0 <= min_dims <= max_dims and 0 <= min_side",
        ),
        (lambda: drawn(wrongly.compositions(0)), "compositions: expected a whole number of at least 1, of"),
        (lambda: wrongly.grid(3), "grid: expected a Domain, such as Domain(-4, 4, away=(0,)), got 3"),
        (
            lambda: wrongly.laid_out([1.0], "plain"),
            "laid_out: expected a NumPy array, got [1.0]; make one with np.array(...)",
        ),
        (lambda: wrongly.laid_out(np.ones(1), None), "laid_out: expected one of plain, read-only,"),
        (
            lambda: wrongly.operands_of(drawn),
            'operands_of: expected the names of ops, as in @operands_of("softsign"), got',
        ),
    ],
)
def test_wrong_use_is_told_in_one_line(use, told):
    with pytest.raises((TypeError, ValueError, LookupError)) as caught:
        use()
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


@given(arrays((2, 3), values=POSITIVE, distinct=True), arrays((2,), values=[3.0, 5.0], distinct=True))
def test_distinct_values_can_be_chosen(x, y):
    assert np.all(x > 0)
    assert len(set(x.flat)) == 6
    assert set(y) == {3, 5}


def test_a_slow_machine_is_no_mistake_of_an_op(monkeypatch):
    """As hypothesis has a deadline of 200 ms for an example, unless it is told otherwise."""
    seen = []

    def noted(**options):
        seen.extend([options] if options else [])  # without any they are read
        return settings(**options)

    monkeypatch.setattr(testing.checks, "settings", noted)
    check_op(np.floor)
    assert seen
    assert all(options.get("deadline", 200) is None for options in seen)


def test_domains_stand_beside_the_strategies_that_take_them():
    assert (testing.REALS, testing.POSITIVE, testing.NONZERO, testing.Domain) == (REALS, POSITIVE, NONZERO, Domain)


def test_derivatives_take_the_arguments_of_gradients():
    w = {"weight": np.ones((2, 2), np.float32), "bias": [np.zeros(2, np.float32)]}
    check_derivatives(lambda x, p: x @ p["weight"] + p["bias"][0], np.ones(2), w, rtol=1e-7, seed=3)
    mask = np.array([0.0, -np.inf])
    check_derivatives(lambda x, m: tg.exp(x + m), np.ones(2), mask, argnums=0)
    with pytest.raises(ValueError, match="m is not finite in 1 of 2 entries"):
        check_derivatives(lambda x, m: tg.exp(x + m), np.ones(2), mask)


def test_a_kink_is_kept_away_from_by_the_domain():
    def huber(x):
        return tg.where(abs(x) < 1, x * x / 2, abs(x) - 0.5) + tg.relu(x + 1)

    with pytest.raises(GradientError, match="a kink"):
        check_derivatives(huber, np.array([-1.0]))
    for x in examples(arrays(values=Domain(-4, 4, away=(-1.0, 0.0, 1.0))), 10):
        check_derivatives(huber, x)


def test_parameters_that_can_be_gone_through_once_are_checked_by_every_check(monkeypatch):
    w = Tensor(2.0, requires_grad=True)
    seen = []
    for name in ("check_gradients", "check_second_derivatives"):
        found = getattr(testing.checks, name)
        monkeypatch.setattr(
            testing.checks, name, lambda *args, check=found, **kwargs: seen.append(check(*args, **kwargs).compared)
        )
    check_derivatives(lambda x: x * w, 1.0, parameters=(p for p in [w]))
    assert seen == [2, 3]  # x and w; and the upstream gradient
