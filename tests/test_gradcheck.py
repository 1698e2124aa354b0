"""gradcheck: it accepts what is right, finds what is wrong and says where, and leaves everything as it was."""

import contextlib
import functools
import itertools
import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinygrad_mnist as tg
from tinygrad_mnist import OPS, Tensor, gradcheck, nn
from tinygrad_mnist.gradcheck import ANALYTIC, GradientError, check_gradients, check_second_derivatives
from tinygrad_mnist.losses import softmax_cross_entropy
from tinygrad_mnist.testing import arrays

from .helpers import cases

EXAMPLES = settings().max_examples  # a property: 15, or in CI 50

DIFFERENTIABLE = [name for name, op in OPS.items() if op.differentiable]
BOTH = pytest.mark.parametrize("check", [check_gradients, check_second_derivatives])


@contextlib.contextmanager
def op(name, forward, rule, **traits):
    """Put an op into the table, for a while."""
    try:
        yield tg.unary(name, forward, rule, **traits)
    finally:
        del OPS[name]


def network(*layers, seed=0):
    rng = np.random.default_rng(seed)
    sizes = itertools.pairwise(layers)
    return nn.Sequential(*(layer for n, m in sizes for layer in (nn.Linear(n, m, rng=rng), tg.sigmoid)))


def message(check, *args, **kwargs):
    with pytest.raises(GradientError) as caught:
        check(*args, **kwargs)
    return str(caught.value)


# --- what is right is accepted ----------------------------------------------------------------------------------------

RIGHT: dict[str, tuple[Any, ...]] = {
    "scalar": (lambda x: (x * x).sum(), np.array([1.0, -2.0])),
    "0-d": (lambda x: x**3, 2.0),
    "empty": (lambda x: x * 2, np.zeros((0, 3))),
    "several inputs": (lambda x, y, z: x @ y + z, np.ones((2, 3)), np.arange(3.0), 0.5),
    "one input twice": (lambda x: x * x + x @ x, np.array([1.0, 2.0, -1.0])),
    "unused input": (lambda x, y: x * 2, np.ones(2), np.ones(3)),
    "constant": (lambda x: Tensor(np.ones(3)), np.ones(2)),
    "linear": (lambda x: 3 * x, np.ones(2)),
    "zero gradient": (lambda x: tg.softmax(x).sum(), np.array([0.5, 1.0, -1.0])),
    "zero in value and slope": (lambda x: tg.log(tg.softmax(x).sum()), np.array([0.5, 1.0, -1.0])),
    "flat": (lambda x: x**5, np.zeros(2)),
    "flat, by differences": (lambda x: tg.softplus(x) * x**4, np.zeros(2)),
    "cancellation": (lambda x: tg.softplus(x) + 1e6 - 1e6, np.array([0.5, 1.0])),
    "saturated": (lambda x: tg.tanh(9 * x), np.array([1.0, 2.0, -3.0])),
    "tiny": (lambda x: 1e-30 * tg.exp(x), np.array([1.0, 2.0])),
    "huge": (lambda x: 1e30 * tg.exp(x), np.array([1.0, 2.0])),
    "large": (lambda x: tg.sigmoid(x @ x.T), np.random.default_rng(0).normal(size=(20, 30)) / 5),
    "labels": (softmax_cross_entropy, np.arange(6.0).reshape(2, 3), np.array([2, 0])),
    "options": (lambda x, axis, how: x.sum(axis) if how == "sum" else None, np.ones((2, 3)), (0, 1), "sum"),
    "choices": (lambda x: tg.where(x > 0, x * x, -x), np.array([1.0, -2.0])),
    "away from the graph": (lambda x: x * x.detach().numpy().shape[0], np.array([1.0, 2.0])),
}


@BOTH
@pytest.mark.parametrize("name", RIGHT)
def test_accepts(check, name):
    f, *inputs = RIGHT[name]
    floating = [np.size(x) for x in inputs if np.asarray(x).dtype.kind == "f"]
    assert check(f, *inputs).compared >= sum(size if size <= gradcheck.EVERY_ENTRY else 3 for size in floating)


def test_compares_every_entry_of_small_inputs_and_some_slopes_of_large_ones():
    assert check_gradients(tg.exp, np.ones((4, 8))) == ("complex step", 32)
    assert check_gradients(tg.exp, np.ones((3, 11))) == ("complex step", gradcheck.DIRECTIONS)
    assert check_second_derivatives(tg.exp, np.ones((2, 3))) == (
        "central differences",
        12,
    )  # with the upstream gradient


@pytest.mark.parametrize("name", DIFFERENTIABLE)
def test_complex_steps_are_taken_exactly_where_the_op_is_analytic(name):
    """So that an op cannot be listed in ANALYTIC for nothing, or in vain."""
    usable = [case for case in cases(name, EXAMPLES // 3) if any(case.args[i].size for i in case.places)]
    assert usable
    for case in usable:
        method, _ = check_gradients(case, *(case.args[i] for i in case.places))
        assert method == ("complex step" if name in ANALYTIC else "central differences")


def test_analytic_ops_are_ops():
    assert set(OPS) >= ANALYTIC


@pytest.mark.parametrize(
    "leak",
    [lambda x: np.abs(x.data), lambda x: x.data.real, lambda x: x.data.astype(float), lambda x: float(x.data[0])],
    ids=["abs", "real", "astype", "float"],
)
def test_complex_steps_are_not_taken_where_an_imaginary_part_gets_lost(leak):
    """Such a leak hides from complex steps: both sides would miss the same part."""
    text = message(check_gradients, lambda x: x * leak(x), np.array([1.5, 2.0]))
    assert "of 2 entries" in text
    assert "look for detach(), .data, .numpy(), .item(), float()" in text


# --- what is wrong is found -------------------------------------------------------------------------------------------

WRONG = {
    "sign": lambda g, out, x: -g * 3 * x**2,
    "factor": lambda g, out, x: g * 2 * x**2,
    "1e-7": lambda g, out, x: (1 + 1e-7) * g * 3 * x**2,
    "offset": lambda g, out, x: g * 3 * x**2 + 1e-6,
    "no chain rule": lambda g, out, x: 3 * x**2,
    "sum of g": lambda g, out, x: g.sum() * 3 * x**2,
    "nan": lambda g, out, x: g * np.nan,
    "infinite": lambda g, out, x: g * np.inf,
    "zero": lambda g, out, x: 0 * g,
    "moved": lambda g, out, x: (g * 3 * x**2)[::-1],
}


@pytest.mark.parametrize("size", [3, pytest.param(1000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", WRONG)
def test_finds_wrong_gradients(name, size):
    with op("cube", lambda x: x**3, WRONG[name]) as cube:
        assert message(check_gradients, cube, np.linspace(0.5, 2, size)).startswith("cube: the gradient is wrong in ")


def test_the_scale_of_a_function_does_not_hide_a_mistake():
    with op("cube", lambda x: x**3, lambda g, out, x: g * 2 * x**2) as cube:
        for scale in (np.array(s) for s in (1e-30, 1e-12, 1e12, 1e30)):
            x = np.array([1.0, 2.0])
            assert "wrong in 2 of 3" in message(check_gradients, lambda x, scale: scale * cube(x), x, scale)
            assert "wrong in 2 of 3" in message(
                check_gradients, lambda x, scale: scale * tg.softplus(cube(x)), x, scale
            )


def test_rtol_is_the_relative_error_that_is_let_pass():
    with op("cube", lambda x: x**3, lambda g, out, x: (1 + 1e-7) * g * 3 * x**2) as cube:
        x = np.array([1.0, 2.0])
        check_gradients(cube, x, rtol=2e-7)
        message(check_gradients, cube, x, rtol=0.5e-7)


def test_a_wrong_entry_of_a_large_input_is_named():
    def forgetful(x):
        weight = np.ones((30, 40))
        weight[17, 23] = 0
        return (x * weight).sum() + (x.detach() * (1 - weight)).sum()

    text = message(check_gradients, forgetful, np.ones((30, 40)))
    assert "wrong in 3 of 3 slopes (random directions for large inputs)" in text
    assert re.search(r"x\[17, 23\] +0 +1 +1\n", text)


def test_finds_what_only_second_derivatives_show():
    wrong = {
        "x": lambda g, out, x: g * 3 * x.detach() ** 2 if isinstance(x, Tensor) else g * 3 * x**2,
        "g": lambda g, out, x: (g.detach() if isinstance(g, Tensor) else g) * 3 * x**2,
        "factor": lambda g, out, x: g * (2 if isinstance(x, Tensor) else 3) * x**2,
    }
    for rule in wrong.values():
        with op("cube", lambda x: x**3, rule) as cube:
            check_gradients(cube, np.array([1.0, 2.0]))
            text = message(check_second_derivatives, cube, np.array([1.0, 2.0]))
        assert text.startswith(
            ("cube: the second derivative is wrong in ", "cube has other values when they are recorded")
        )
        assert ("  upstream gradient[0] " in text) == (rule is wrong["g"])


@BOTH
@pytest.mark.parametrize(
    ("change", "found"),
    [(lambda g: g.astype(np.float32), "float32(2,)"), (lambda g: g.reshape(2, 1), "float64(2, 1)")],
    ids=["dtype", "shape"],
)
def test_a_gradient_of_another_shape_or_dtype_is_a_mistake(check, change, found, monkeypatch):
    monkeypatch.setattr(gradcheck.slopes, "grad", lambda *args, **kwargs: [change(g) for g in tg.grad(*args, **kwargs)])
    assert f"float64(2,), is {found}" in message(check, tg.exp, np.ones(2))


def test_a_rule_that_writes_into_an_input_is_found_out():
    def rule(g, out, x):
        x *= g
        return x

    with (
        op("half_square", lambda x: x**2 / 2, rule) as half_square,
        pytest.raises(GradientError, match=r"rule of <op half_square> writes"),
    ):
        check_gradients(half_square, np.ones(2))


# --- the verdict ------------------------------------------------------------------------------------------------------


def test_verdict():
    """Which input, which entry, both values, the relative error; the worst first; the inputs; the op to blame."""
    with op("half_cube", lambda x: x**3, lambda g, out, x: g * np.array([1.5, 3, 3.03]) * x**2) as half_cube:

        def f(x, y):
            return (half_cube(x) * y).sum()

        line = f.__code__.co_firstlineno + 1
        text = message(check_gradients, f, np.array([1.0, 2.0, 3.0]), 2.0)
    assert text == (
        "f: the gradient is wrong in 2 of 4 entries\n"
        "  entry             backward() gives    it should be  relative error\n"
        "  x[0]                             3               6             0.5\n"
        "  x[2]                         54.54              54          0.0099\n"
        "x = array([1., 2., 3.])\n"
        "y = array(2.)\n"
        "The cause is <op half_cube>: the gradient is wrong in 2 of 3 entries\n"
        "  entry           of                backward() gives    it should be  relative error\n"
        "  input 0[0]      half_cube[0]                   1.5               3             0.5\n"
        f"It is called at test_gradcheck.py:{line}: return (half_cube(x) * y).sum()"
    )


def test_verdict_shows_the_five_worst():
    text = message(check_gradients, lambda x: (x * x.detach()).sum(), np.arange(1.0, 8))
    assert "wrong in 7 of 7 entries" in text
    assert text.count("  x[") == 5
    assert "Each of them is 0.5 times what it should be." in text


def test_verdict_uses_the_names_of_tensors_parameters_and_functions():
    def drop(w):
        return tg.relu(w).detach() + 0 * w

    w = Tensor([1.0], name="weight")
    assert re.search(r"^drop: .*\n.*\n  weight\[0\] ", message(check_gradients, drop, w))
    layer = nn.Linear(2, 1, rng=np.random.default_rng(0))

    def leaky(x):
        return x @ layer.weight.detach() + layer.bias

    assert "  weight[1, 0] " in message(check_gradients, leaky, np.ones((1, 2)), parameters=layer)
    p = Tensor([1.0, 2.0], requires_grad=True)
    assert "  parameter 0[1] " in message(check_gradients, lambda: p.detach().sum() + 0 * p.sum(), parameters=[p])


def test_verdict_on_a_mistake_outside_of_the_graph():
    text = message(check_gradients, lambda x: x * x.detach(), np.array([1.0, 2.0]))
    assert "Every op in f is right by itself; look for detach(), .data, .numpy(), .item(), float(), or a change" in text
    assert re.search(r", as at test_gradcheck.py:\d+: text = message\(.*x \* x.detach\(\)", text)


def test_verdict_near_kinks_and_poles():
    text = message(check_gradients, tg.relu, np.array([1.0, 0.0]))
    assert text.splitlines()[0] == (
        "relu[1] has no derivative with respect to x[1] here: it has a kink, with slope 0 below and 1 above; what ops "
        "give there (0) is a convention; move the inputs away from there"
    )
    text = message(check_gradients, lambda x: tg.relu(x).detach(), np.array([1.0]))
    assert "has no derivative" not in text
    assert "sqrt[0] has no derivative with respect to x[0] here: it is not finite right beside" in (
        message(check_gradients, tg.sqrt, np.array([0.0, 1.0]))
    )


@BOTH
def test_values_that_are_not_finite(check):
    text = message(check, lambda x: tg.log(x), np.array([1.0, -1.0]))
    assert text == "f is not finite here; check it where it is defined\nx = array([ 1., -1.])"


def test_the_same_seed_gives_the_same_verdict():
    once, again, other = (message(check_gradients, Tensor.detach, np.ones(100), seed=seed) for seed in (0, 0, 1))
    assert once == again != other


def test_the_random_output_weights_catch_what_a_plain_sum_hides():
    """The outputs of softmax add up to 1, so their sum has no gradient."""
    with op("wrong_softmax", OPS["softmax"].forward, lambda g, out, x, axis: 0 * g, domain=None) as wrong:
        assert "wrong in 3 of 3" in message(check_gradients, wrong, np.array([0.5, 1.0, -1.0]))


# --- Modules, costs, parameters ---------------------------------------------------------------------------------------


@BOTH
def test_checks_the_parameters_of_a_module(check):
    model = network(3, 4, 2)
    entries = 2 * 3 + 3 * 4 + 4 + 4 * 2 + 2
    assert check(model, np.ones((2, 3))).compared == entries + (4 if check is check_second_derivatives else 0)
    assert check(lambda x: model(x), np.ones((2, 3))).compared == 6 + (4 if check is check_second_derivatives else 0)


@BOTH
def test_checks_a_whole_training_cost(check):
    rng = np.random.default_rng(1)
    model = network(784, 30, 10)
    images, labels = rng.random((10, 784), np.float32), rng.integers(0, 10, 10)
    check(lambda: softmax_cross_entropy(model(images), labels), parameters=model)
    check(lambda: softmax_cross_entropy(model(images), labels), parameters=model.parameters())


def test_finds_a_mistake_in_one_parameter_of_a_network():
    model = network(20, 10, 5)
    true = model.layers[2].forward
    model.layers[2].forward = lambda x: true(x) - 0.01 * model.layers[2].weight[3].detach()
    text = message(check_gradients, model, np.random.default_rng(0).random((3, 20)))
    assert "wrong in 5 of 74 slopes" in text or "layers.2.weight[3" in text


@pytest.mark.parametrize("outcome", ["right", "wrong", "raises", "interrupted"])
@BOTH
def test_parameters_come_back_to_the_last_bit(check, outcome):
    model = network(3, 2)
    model.layers[0].bias.requires_grad = False
    weight, bias = model.layers[0].weight, model.layers[0].bias
    weight.grad = Tensor(np.full((3, 2), 7, np.float32))
    held, bits, grads = weight.data, weight.data.tobytes(), weight.grad
    calls = []

    def f(x):
        assert weight.dtype == np.float64
        assert bias.dtype == np.float32
        calls.append(1)
        if len(calls) == 9 and outcome == "raises":
            raise ZeroDivisionError
        if len(calls) == 9 and outcome == "interrupted":
            raise KeyboardInterrupt
        return wrong(weight) if outcome == "wrong" else model(x)

    def rule(g, out, x):
        return (3 if isinstance(g, Tensor) else 1) * g * x

    expected = {"wrong": GradientError, "raises": ZeroDivisionError, "interrupted": KeyboardInterrupt}
    raises = pytest.raises(expected[outcome]) if outcome in expected else contextlib.nullcontext()
    with op("my_square", lambda x: x**2, rule) as wrong, raises:
        check(f, np.ones((1, 3)), parameters=model)
    assert (weight.data is held, weight.data.tobytes(), weight.dtype) == (True, bits, np.float32)
    assert (weight.grad is grads, weight.data.flags.writeable) == (True, True)
    model(np.ones((1, 3), np.float32)).sum().backward()  # and no change in place is noted


@given(arrays(dtype=st.sampled_from([np.float16, np.float32, np.float64, np.longdouble])), st.booleans())
def test_inputs_are_checked_in_float64_and_left_alone(array, as_tensor):
    x = Tensor(array, name="x") if as_tensor else array
    before, seen = array.tobytes(), []

    def f(t):
        seen.append((type(t), t.dtype, t.shape))
        return tg.tanh(t)

    check_gradients(f, x)
    assert (array.tobytes(), as_tensor and x.requires_grad) == (before, False)
    assert {kind for kind in seen if kind[1] != np.complex128} == {(Tensor, np.dtype(float), array.shape)}


def test_layout_reaches_f():
    x = np.arange(6.0).reshape(2, 3).T[::-1]
    strides = []

    def f(t):
        strides.append(t.data.strides)
        return t * t

    check_gradients(f, x)
    assert strides[0] == x.strides


def test_what_is_not_floating_is_passed_on():
    given = (np.arange(3), np.array([True, False]), 2, True, None, "text", [1.0], Tensor(np.arange(2)))
    check_gradients(lambda x, *rest: x * int(rest == given and all(map(lambda a, b: a is b, rest, given))), 1.5)


# --- wrong use --------------------------------------------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize(
    ("f", "inputs", "parameters", "error"),
    [
        (tg.exp, [np.arange(3)], None, "nothing to check: pass floating arrays or Tensors, or parameters="),
        (tg.exp, [], [Tensor([1.0])], "nothing to check"),
        (lambda x: x.data, [1.0], None, "f returned ndarray, expected a Tensor"),
        (lambda x: x.item(), [1.0], None, "f returned float, expected a Tensor"),
        (lambda x: (x, x), [1.0], None, "f returned tuple, expected a Tensor"),
        (lambda x: x > 0, [1.0], None, "f returned bool for float64, too coarse to measure"),
        (lambda x: x.astype(np.float32), [1.0], None, "f returned float32 for float64, too coarse to measure"),
        (lambda: None, [], [Tensor([1.0], requires_grad=True) * 2], "expected leaves, got the result of mul"),
        (None, [1.0], None, "expected a function of Tensors or a Module, got None"),
        (nn.Linear, [1.0], None, "got <class 'tinygrad_mnist.nn.layers.Linear'>; make one: Linear(...)"),
        (tg.exp, [1.0], 3, "parameters: expected a Module or a list of Tensors, got 3; pass the network itself"),
        (tg.exp, [1.0], "ab", "parameters: expected a Module or a list of Tensors, got 'ab'"),
        (tg.exp, [1.0], {"w": Tensor([1.0])}, "parameters: expected a Module or a list of Tensors, got {'w'"),
        (tg.exp, [1.0], Tensor([1.0, 2.0]), "parameters: expected a Module or a list of Tensors, got Tensor([1., 2.]"),
        (tg.exp, [1.0], nn.Linear, "parameters: expected a Module or a list of Tensors, got <class"),
    ],
)
def test_wrong_use_is_one_line_with_the_remedy(check, f, inputs, parameters, error):
    with pytest.raises(TypeError) as caught:
        check(f, *inputs, parameters=parameters)
    assert error in str(caught.value)
    assert "\n" not in str(caught.value)


@BOTH
@pytest.mark.parametrize(
    ("option", "value", "error"),
    [("rtol", value, "expected a number rtol >= 0, got") for value in (np.nan, -1, None, "1", np.ones(2))]
    + [("seed", value, "expected a whole number seed >= 0, got") for value in (-1, 1.5, None, "1", True)],
)
def test_options_that_are_no_such_numbers_are_refused(check, option, value, error):
    with pytest.raises(ValueError, match=f"^{check.__name__}: {error}"):
        check(tg.exp, 1.0, **{option: value})


@BOTH
def test_f_must_be_repeatable(check):
    dropout = nn.Dropout(0.5, rng=np.random.default_rng(0))
    with pytest.raises(GradientError, match=r"^Dropout gives a different value on a second call; make"):
        check(dropout, np.ones(50))
    check(dropout.eval(), np.ones(50))


# --- properties -------------------------------------------------------------------------------------------------------


@functools.cache
def scaled(factor):
    return lambda x: tg.exp(x / 2) + (factor - 1) * tg.exp(x / 2).detach()


@given(arrays().filter(lambda x: x.size), st.sampled_from([0.5, 0.999, 1 + 1e-6, -1.0, 2.0]))
def test_a_factor_is_found_everywhere_and_told(x, factor):
    f = scaled(1 / factor)
    text = message(check_gradients, f, x)
    if x.size > 1:
        assert f"Each of them is {factor:.7g} times what it should be." in text
    message(check_gradients, f, x, seed=3)


def test_a_rule_that_ignores_the_gradient_it_is_given_is_found_in_a_sum_too(table):
    square = tg.unary("my_square", lambda x: x**2, lambda g, out, x: 2 * x)
    with pytest.raises(GradientError, match=r"0\.7273 times what it should be"):
        check_gradients(lambda x: square(x).sum(), np.array([1.0, 2.0, 3.0]))


def test_an_input_without_a_rule_is_told_from_one_with_a_wrong_rule(table):
    product = tg.binary("product", lambda x, y: x * y, lambda g, out, x, y: g * y, None)
    with pytest.raises(GradientError, match="No gradient gets there: an op on the way has no rule"):
        check_gradients(product, np.array([1.0, 2.0]), np.array([1.0, 2.0]))


# --- what is checked, and what a verdict says of it -------------------------------------------------------------------


@pytest.mark.parametrize("what", ["g", "out", "x"])
def test_a_rule_that_writes_into_what_it_is_given_is_found_in_a_graph(table, what):
    """Some other way through the graph needs it: backward() copies less than grad()."""

    def rule(g, out, x):
        given = {"g": g, "out": out, "x": x}[what]
        given *= 1
        return 2 * g * x

    square = tg.unary("my_square", lambda x: x**2, rule)
    with pytest.raises(GradientError, match="a rule of <op my_square> writes into an array that it was given"):
        check_gradients(lambda u: (np.sin(u) + square(1 * u)).sum(), np.array([0.5, 1.0]))


def test_what_is_frozen_for_rules_is_writeable_again():
    weight, operand = Tensor(np.ones(3), requires_grad=True), Tensor(np.ones(3))
    check_gradients(lambda x: x * weight * operand, np.ones(3), parameters=[weight])
    assert weight.data.flags.writeable
    assert operand.data.flags.writeable


def test_verdict_names_arguments_numbers_and_the_line_to_blame(table):
    cube = tg.unary("cube", lambda x: x**3, lambda g, out, x: g * 2 * x**2)

    def bell(x, sigma, **options):
        y = cube(sigma)
        return x * y

    text = message(check_gradients, bell, np.array([1.0, 2.0]), np.array([3.0, 1.0]))
    assert re.search(r"\n  sigma\[0\] +bell\[0\] +18 +27 +0\.333\n", text)  # entries of the Jacobian
    assert re.search(r"\n  sigma\[1\] +bell\[1\] +4 +6 +0\.333\n", text)
    assert text.endswith(f"It is called at test_gradcheck.py:{bell.__code__.co_firstlineno + 1}: y = cube(sigma)")
    text = message(check_second_derivatives, lambda x: x * x.detach() * x, np.array([1.0, 2.0]))
    assert "gradient of x[" in text


def test_verdict_has_digits_enough_for_small_mistakes(table):
    square = tg.unary("my_square", lambda x: x**2, lambda g, out, x: (1 + 1e-6) * 2 * g * x)
    assert "Each of them is 1.000001 times" in message(check_gradients, square, np.array([1.0, 2.0]))


@pytest.mark.parametrize("place", [-1.0, -0.5])
def test_verdict_on_a_value_that_is_not_used(place, recwarn):
    """The classic trap: 0 * nan is nan. No warning of NumPy's leaks from looking for it."""
    text = message(check_gradients, lambda x: tg.where(x > 0, tg.sqrt(x), 0.0), np.array([place, 4.0]))
    assert "The cause is <op sqrt>, which is not finite at or beside its operands" in text
    assert "as in sqrt(where(usable, x, 1))" in text
    assert not recwarn.list


@pytest.mark.parametrize(
    "leave",
    [lambda x: x.detach(), lambda x: x.data, lambda x: x.numpy(), lambda x: x[0].item(), lambda x: float(x[0])],
)
def test_the_line_that_leaves_the_graph_is_named(leave):
    def f(x):
        constant = leave(x)
        return x * constant

    text = message(check_gradients, f, np.array([1.0, 2.0]))
    assert re.search(r"as at test_gradcheck.py:\d+: ", text)


def test_lists_dicts_and_modules_are_checked_too():
    w, layer = np.ones((2, 2)), nn.Linear(2, 2, rng=np.random.default_rng(0))
    assert check_gradients(lambda x, p: x @ p["w"] + p["b"][0], np.ones(2), {"w": w, "b": (np.ones(2), 3)}) == (
        "complex step",
        8,
    )
    assert check_gradients(lambda layer, x: layer(x), layer, np.ones(2)).compared == 8
    text = message(check_gradients, lambda x, p: x @ p["w"].detach() + 0 * p["w"].sum(), np.ones(2), {"w": w})
    assert "p['w'][0, 0]" in text
    text = message(check_gradients, lambda x, p: x @ p[0].weight.detach() + 0 * p[0](x), np.ones(2), [layer])
    assert "p[0].weight[0, 0]" in text


@BOTH
def test_argnums_choose_what_is_checked(check):
    x, mask = np.ones(2), np.array([0.0, -np.inf])

    def f(x, mask):
        return tg.exp(x + mask)

    assert check(f, x, mask, argnums=0).compared >= 2
    assert check(lambda x, y: x * y[0], x, [2.0], argnums=(0, 1)).compared >= 3
    for argnums, kind, told in (
        (None, ValueError, "mask is not finite in 1 of 2 entries, where nothing can be measured; choose"),
        (2, ValueError, "argnums: expected places of the 2 arguments given, got 2"),
    ):
        with pytest.raises(kind) as caught:
            check(f, x, mask, argnums=argnums)
        assert told in str(caught.value)
    with pytest.raises(TypeError, match="argnums: expected labels to be floating, got ndarray of shape"):
        check(lambda x, labels: x, x, np.arange(2), argnums=(0, 1))


def test_a_tuple_is_to_be_taken_apart():
    with pytest.raises(TypeError, match="slogdet returned SlogdetResult, expected a Tensor; take one part of it"):
        check_gradients(np.linalg.slogdet, np.eye(2))


def test_nothing_is_compared_of_empty_arrays():
    assert check_gradients(tg.exp, np.zeros((0, 3))).compared == 0
