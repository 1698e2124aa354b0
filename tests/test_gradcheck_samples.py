"""gradcheck at awkward samples: near kinks and the ends of domains, at huge and tiny values, and of functions that
differentiate themselves. What is right is accepted there, and what is wrong is still found.
"""  # noqa: D205

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

import tinygrad_mnist as tg
from tinygrad_mnist import grad, no_grad
from tinygrad_mnist.gradcheck import GradientError, UnmeasurableError, check_gradients, check_second_derivatives

BOTH = pytest.mark.parametrize("check", [check_gradients, check_second_derivatives])


# --- functions that are much steeper, or turn much sooner, than steps are wide ---

STEEP: dict[str, Any] = {"exp": (np.exp, np.exp), "sin": (np.sin, np.cos), "square": (np.square, lambda x: 2 * x)}


@pytest.mark.parametrize("name", STEEP)
@pytest.mark.parametrize("scale", [1e-10, 1e-16])
def test_what_is_right_at_a_tiny_scale_is_accepted(name, scale, table):
    forward, slope = STEEP[name]
    op = tg.unary("steep", forward, lambda g, out, x: g * slope(x))
    for f in (op, forward):  # which have differences, and complex steps
        check_gradients(lambda x, f=f: f(x / scale), np.array([scale]))


def test_what_is_wrong_at_a_tiny_scale_is_found(table):
    steep = tg.unary("steep", np.exp, lambda g, out, x: 1.1 * g * out)
    with pytest.raises(GradientError, match="wrong in 1 of 1 entries"):
        check_gradients(lambda x: steep(x / 1e-6), np.array([1e-6]))


def test_narrow_steps_of_floor_are_told_from_a_slope():
    x, y = np.array([1.25730221e-07]), np.array([-1.32104863e-07])
    for f in (lambda x, y: x // y, lambda x, y: x % y, lambda x, y: np.floor(x / y) + 0 * y):
        check_gradients(f, x, y)


# --- functions that differentiate themselves ---


def penalized(x: Any) -> Any:
    cost = (x**3).sum()
    slope = grad(cost, x, create_graph=True)
    return cost + (slope * slope).sum()


@BOTH
def test_a_gradient_penalty_is_checked_like_any_function(check):
    assert check(penalized, np.array([1.0, -2.0])).method == "central differences"
    with no_grad():
        check(penalized, np.array([1.0, -2.0]))


def test_a_penalty_whose_graph_was_not_made_is_found():
    def forgotten(x: Any) -> Any:
        return x.sum() + (grad((x**3).sum(), x) ** 2).sum()

    with pytest.raises(GradientError, match="wrong in 2 of 2 entries"):
        check_gradients(forgotten, np.array([1.0, -2.0]))


# --- near kinks ---

KINKED: dict[str, Any] = {
    "relu": tg.relu,
    "abs": abs,
    "leaky_relu": tg.leaky_relu,
    "maximum": lambda x: tg.maximum(x, 0.0),
    "clip": lambda x: tg.clip(x, 0.0, 3.0),
    "composed": lambda x: tg.softplus(x) * tg.relu(x) + x * abs(x),
}


def test_seeds_do_not_decide_whether_a_near_tie_is_right():
    for seed in range(60):  # 92 of 300 were refused
        check_gradients(lambda t: t.min(1), np.array([[0.0, 1.6e-5]]), seed=seed)


@BOTH
@pytest.mark.parametrize("name", KINKED)
@pytest.mark.parametrize("distance", [1e-2, 1e-4, 1e-7, 1e-11])
def test_what_is_right_beside_a_kink_is_accepted(check, name, distance):
    for x in (distance, -distance):
        check(KINKED[name], np.array([1.0, x]))


@pytest.mark.parametrize("distance", [1e-3, 1e-5, 1e-9])
def test_what_is_wrong_beside_a_kink_is_found(table, distance):
    steep = tg.unary("steep", lambda x: np.maximum(x, 0), lambda g, out, x: tg.where(x > 0, 1.001 * g, 0))
    with pytest.raises(GradientError, match="wrong in"):
        check_gradients(lambda x: tg.softplus(steep(x)), np.array([distance]))


@pytest.mark.parametrize("f", [tg.sqrt, tg.log, lambda x: x**1.5, lambda x: abs(x) * tg.log(x)])
def test_what_is_right_near_the_end_of_a_domain_is_accepted(f):
    for x in (1e-3, 1e-5, 1e-10):
        check_gradients(f, np.array([x, 1.0]))


# --- huge and tiny values ---

FAR: dict[str, tuple[Any, float]] = {
    "twice": (lambda x: x * 2, 1e155),
    "neg": (lambda x: -x, 1e300),
    "div": (lambda x: x / 1e300, 1e300),
    "sqrt": (tg.sqrt, 1e300),
    "log": (tg.log, 1e300),
    "tanh": (tg.tanh, 1e300),
    "relu": (tg.relu, 1e300),
    "abs": (abs, -1e300),
    "softplus": (tg.softplus, 1e300),
    "mean": (lambda x: x.mean(), 1e300),
    "tiny": (lambda x: x * 3, 1e-300),
}


@pytest.mark.parametrize("name", FAR)
def test_what_is_right_at_huge_and_tiny_values_is_accepted(name):
    f, value = FAR[name]
    check_gradients(f, np.array([value]))
    check_gradients(f, np.array([value, 0.5]))


@pytest.mark.parametrize("large", [1e10, 1e155])
def test_a_mistake_beside_a_huge_value_is_found(large):
    def forgetful(x: Any) -> Any:
        return x * np.array([2.0, 1.0]) + x.detach() * np.array([0.0, 1.0])

    with pytest.raises(GradientError, match=r"x\[1\]"):
        check_gradients(forgetful, np.array([large, 0.5]))


# --- where no derivative can be measured ---


@pytest.mark.parametrize("f", [np.sign, lambda x: np.sign(x) * 3, np.floor, np.rint, lambda x: (x > 0) * 2.0])
def test_what_is_constant_between_its_jumps_has_gradients_of_zero(f):
    """NumPy's sign of a complex number is z / |z|, of which a complex step sees a slope."""
    assert check_gradients(f, np.array([1.6, -0.7, 2.2])).compared == 3


@pytest.mark.parametrize("factor", [-1.0, 0.0, 1.1, 1.001])
@pytest.mark.parametrize("large", [1e6, 1e8, 1e10, 1e12, 1e20])
def test_agreement_is_never_what_rounding_hides(table, factor, large):
    square = tg.unary("my_square", lambda x: x**2, lambda g, out, x: factor * 2 * g * x)
    for f in (lambda x: square(x).sum() + large, lambda x: square(x) / min(large, 1e12) + 1.0):
        with pytest.raises(GradientError, match=r"wrong in|cannot be checked: rounding hides slopes below"):
            check_gradients(f, np.array([0.5, 1.0]))


def test_agreement_is_never_what_a_complex_step_misses_beside_a_large_number():
    with pytest.raises(GradientError, match="cannot be checked: rounding hides"):
        check_gradients(lambda x: (x * x.numpy().real).sum() + 1e12, np.array([0.5, 1.0]))


@pytest.mark.parametrize("f", [lambda x: tg.hypot(x, 1.0), lambda x: 1e6 * tg.softmax(x).sum() + tg.hypot(x, 1.0), abs])
def test_a_slope_of_zero_is_no_slope_that_is_hidden(f):
    check_gradients(f, np.array([0.0, 1.0]))


@pytest.mark.parametrize("value", [20.0, 40.0])
def test_a_saturated_unit_among_others_is_accepted(value):
    check_gradients(lambda x: tg.hypot(tg.tanh(x), 1.0), np.array([value, 0.5]))


KINKS: dict[str, tuple[Any, float, str]] = {
    "clip": (lambda x: tg.clip(x, -1.0, 1.0), 1.0, "a kink, with slope 1 below and 0 above"),
    "relu": (tg.relu, 0.0, "a kink, with slope 0 below and 1 above"),
    "beside a steep slope": (lambda x: 1000 * x + tg.relu(x), 0.0, "a kink, with slope 1000 below and 1001 above"),
    "in a sum": (lambda x: (3 * tg.relu(x - 0.5)).sum(), 0.5, "a kink, with slope 0 below and 3 above"),
    "jump": (lambda x: (x > 1) * x, 1.0, "jumps there"),
    "step": (np.floor, 1.0, "jumps there"),
    "end of a domain": (tg.sqrt, 0.0, "is not finite right beside"),
}


@pytest.mark.parametrize("name", KINKS)
def test_at_a_kink_nobody_is_blamed(name):
    f, place, told = KINKS[name]
    with pytest.raises(UnmeasurableError) as caught:
        check_gradients(f, np.array([2.5, place]))
    text = str(caught.value)
    assert re.search(rf"has no derivative with respect to \S+( 0)?\[1\] here: it (has )?{told}", text)
    assert "move the inputs away from there" in text
    assert "cause" not in text
    assert "Every op" not in text


def test_a_mistake_elsewhere_is_told_before_a_kink(table):
    square = tg.unary("my_square", lambda x: x**2, lambda g, out, x: g * x)
    with pytest.raises(GradientError, match="the gradient is wrong in 1 of 2 entries"):
        check_gradients(lambda x, y: square(x) + tg.relu(y), np.array([1.0]), np.array([0.0]))


def test_two_values_that_are_equal_by_chance_do_not_hide_rounding():
    """The second derivative of a softmax's squares is 0 up to rounding, and the same on both sides of this place."""

    def second(x: Any) -> Any:
        out = tg.softmax(x, axis=0)
        first = grad((out * out).sum(), x, create_graph=True)
        return grad((first * np.linspace(0.5, 1, 9).reshape(3, 3)).sum(), x, create_graph=True).sum()

    check_gradients(second, np.array([[0.0, 1.0, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]]))
