"""optim.py: PyTorch's trajectories, golden sequences by hand, and the bugs that other optimizers have had."""

import copy
import json
import math
import pickle
import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tinygrad_mnist import Tensor, optim
from tinygrad_mnist.nn import Linear
from tinygrad_mnist.optim import SGD, Momentum, Nesterov, Optimizer, StepLR

REFERENCE = json.loads((Path(__file__).parent / "reference" / "sgd_trajectories.json").read_text(encoding="utf-8"))
NAMES = ("weights", "biases")
KINDS = [
    lambda params, lr, weight_decay=0.0: SGD(params, lr, weight_decay),
    lambda params, lr, weight_decay=0.0: Momentum(params, lr, 0.9, weight_decay),
    lambda params, lr, weight_decay=0.0: Nesterov(params, lr, 0.9, weight_decay),
]
TEXT: Any = "0.1"
FRACTION: Any = 2.5
EACH_KIND = pytest.mark.parametrize("kind", KINDS, ids=["SGD", "Momentum", "Nesterov"])


def parameter(values, dtype=np.float64):
    return Tensor(np.array(values, dtype), requires_grad=True)


def give(p, gradient):
    """Leave a gradient where backward() would."""
    p.grad = None if gradient is None else Tensor(np.array(gradient, p.dtype))


def follow(optimizer, p, gradients):
    """The values of a parameter after each of the gradients."""
    values = []
    for gradient in gradients:
        give(p, gradient)
        optimizer.step()
        values.append(p.data.tolist())
    return values


# ---- As PyTorch


def make(settings, parameters):
    decay = {"weights": settings["weight_decay"], "biases": 0.0}
    groups: list[dict[str, Any]] = [
        {"params": [parameters[n]], "lr": settings["lr"][n], "weight_decay": decay[n]} for n in NAMES
    ]
    if settings["momentum"] == 0:
        return SGD(groups, lr=1.0)
    kind = Nesterov if settings["nesterov"] else Momentum
    return kind(groups, lr=1.0, momentum=settings["momentum"])


@pytest.mark.parametrize("case", REFERENCE["cases"], ids=lambda case: json.dumps(case["settings"]).replace('"', ""))
def test_trajectories_are_those_of_torch_optim_sgd(case):
    parameters = {name: parameter(REFERENCE["start"][name]) for name in NAMES}
    optimizer = make(case["settings"], parameters)
    schedule = StepLR(optimizer, **case["settings"]["schedule"]) if case["settings"]["schedule"] else None
    for step, gradients in enumerate(REFERENCE["gradients"]):
        for name in NAMES:
            give(parameters[name], gradients[name])
        optimizer.step()
        if schedule is not None:
            schedule.step()
        for name, group in zip(NAMES, optimizer.groups, strict=True):
            np.testing.assert_allclose(parameters[name].data, case["after"][name][step], rtol=2e-15, atol=0)
            assert group["lr"] == pytest.approx(case["after"]["lr"][name][step], rel=2e-15)


# ---- Golden sequences, computed by hand. Every number in them is exact in binary.


def test_three_steps_of_gradient_descent():
    p = parameter([1.0])
    # w - 0.5 g: 1 - 0.5 = 0.5; 0.5 - 1 = -0.5; -0.5 + 0.25 = -0.25
    assert follow(SGD([p], lr=0.5), p, [[1.0], [2.0], [-0.5]]) == [[0.5], [-0.5], [-0.25]]


def test_three_steps_of_momentum():
    p = parameter([1.0])
    # v: 1; 0.5 + 2 = 2.5; 1.25 - 0.25 = 1.    w - 0.5 v: 0.5; 0.5 - 1.25 = -0.75; -0.75 - 0.5 = -1.25
    assert follow(Momentum([p], lr=0.5, momentum=0.5), p, [[1.0], [2.0], [-0.25]]) == [[0.5], [-0.75], [-1.25]]


def test_three_steps_of_nesterov():
    p = parameter([1.0])
    # v: 1; 2.5; 1.    g + 0.5 v: 1.5; 3.25; 0.25.    w - 0.5 (g + 0.5 v): 0.25; -1.375; -1.5
    assert follow(Nesterov([p], lr=0.5, momentum=0.5), p, [[1.0], [2.0], [-0.25]]) == [[0.25], [-1.375], [-1.5]]


def test_three_steps_with_weight_decay():
    p = parameter([2.0])
    # g + 0.5 w: 1 + 1 = 2; 1 + 0.5 = 1.5; 0 + 0.125.    w - 0.5 of it: 1; 0.25; 0.1875
    assert follow(SGD([p], lr=0.5, weight_decay=0.5), p, [[1.0], [1.0], [0.0]]) == [[1.0], [0.25], [0.1875]]


def test_weight_decay_is_coupled_and_enters_the_velocity():
    p = parameter([2.0])
    # v: 0 + 0.5 * 2 = 1; 0.5 + 0.5 * 1.5 = 1.25.    w - 0.5 v: 1.5; 0.875
    assert follow(Momentum([p], 0.5, 0.5, weight_decay=0.5), p, [[0.0], [0.0]]) == [[1.5], [0.875]]


def test_a_lower_rate_acts_on_the_whole_velocity_at_once_unlike_the_textbook():
    p = parameter([0.0])
    optimizer = Momentum([p], lr=1.0, momentum=0.5)
    schedule = StepLR(optimizer, 1, 0.5)
    give(p, [1.0])
    optimizer.step()
    schedule.step()
    give(p, [0.0])
    optimizer.step()
    # v = 0.5, lr = 0.5: -1 - 0.25. The textbook's v <- 0.5 v - lr g; w <- w + v would come to -1.5.
    assert p.data.tolist() == [-1.25]


# ---- Bugs that others had


@EACH_KIND
def test_the_first_velocity_is_the_gradient_undamped(kind):
    p = parameter([0.0])
    optimizer = kind([p], 1.0)
    give(p, [3.0])
    optimizer.step()
    assert p.data.tolist() == ([-3.0 - 0.9 * 3.0] if isinstance(optimizer, Nesterov) else [-3.0])
    assert [v.tolist() for v in optimizer.state[p].values()] == ([] if type(optimizer) is SGD else [[3.0]])


def test_the_velocity_is_not_zeroed_between_steps():
    p = parameter([0.0])
    optimizer = Momentum([p], 1.0, 0.5)
    follow(optimizer, p, [[1.0], [0.0], [0.0]])
    assert p.data.tolist() == [-1.75]
    assert optimizer.state[p]["velocity"].tolist() == [0.25]


@EACH_KIND
def test_a_zero_gradient_with_decay_shrinks_weights_by_lr_times_lambda_over_n_and_leaves_biases(kind):
    eta, lmbda, n = 0.5, 0.1, 50_000
    weight, bias = parameter([[1.0, -2.0]]), parameter([3.0])
    optimizer = kind([{"params": [weight], "weight_decay": lmbda / n}, {"params": [bias]}], eta)
    give(weight, [[0.0, 0.0]])
    give(bias, [0.0])
    optimizer.step()
    ahead = 1.9 if isinstance(optimizer, Nesterov) else 1.0  # g + mu v, and v = g in the first step
    np.testing.assert_allclose(weight.data, np.array([[1.0, -2.0]]) * (1 - ahead * eta * lmbda / n), rtol=1e-15)
    assert bias.data.tolist() == [3.0]


@EACH_KIND
def test_decay_is_not_ignored_without_momentum_nor_with_it(kind):
    p = parameter([1.0])
    optimizer = kind([p], 0.5, 0.5)
    give(p, [0.0])
    optimizer.step()
    assert p.data[0] < 1


@EACH_KIND
def test_parameters_without_a_gradient_are_left_alone(kind):
    p, frozen = parameter([1.0]), parameter([1.0])
    optimizer = kind([p, frozen], 0.5, 0.5)
    give(p, [1.0])
    optimizer.step()
    assert p.data[0] != 1
    assert frozen.data.tolist() == [1.0]
    assert frozen not in optimizer.state


def test_the_velocity_of_a_parameter_that_has_no_gradient_for_a_step_waits():
    p = parameter([0.0])
    optimizer = Momentum([p], 1.0, 0.5)
    assert follow(optimizer, p, [[1.0], None, [0.0]]) == [[-1.0], [-1.0], [-1.5]]


@EACH_KIND
def test_no_gradient_is_changed_and_none_is_kept_as_the_velocity(kind):
    p = parameter([1.0, 2.0])
    optimizer = kind([p], 0.5, 0.5)
    give(p, [3.0, 4.0])
    gradient = p.grad
    optimizer.step()
    assert gradient.data.tolist() == [3.0, 4.0]
    kept = {k: v.copy() for k, v in optimizer.state[p].items()}
    gradient.data[:] = 99.0  # what a caller does with it afterwards must not reach the velocity
    assert all(np.array_equal(optimizer.state[p][k], kept[k]) for k in kept)


@pytest.mark.parametrize("kind", [Momentum, Nesterov])
def test_a_velocity_without_decay_is_no_gradient_of_the_caller(kind):
    p = parameter([1.0])
    optimizer = kind([p], 0.5)
    give(p, [3.0])
    gradient = p.grad
    optimizer.step()
    gradient.data[:] = 99.0
    give(p, [0.0])
    before = p.data.copy()
    optimizer.step()
    assert abs(p.data - before) < 3


@EACH_KIND
def test_the_dtype_of_a_parameter_stays(kind):
    p = parameter([1.0, 2.0], np.float32)
    optimizer = kind([p], np.float64(0.1), 0.25)
    follow(optimizer, p, [[1.0, 1.0], [1.0, 1.0]])
    assert p.data.dtype == np.float32
    assert all(array.dtype == np.float32 for array in optimizer.state[p].values())


def test_a_step_between_forward_and_backward_is_refused():
    p = parameter([2.0])
    loss = (p * p).sum()
    optimizer = SGD([p], 0.5)
    give(p, [1.0])
    optimizer.step()
    with pytest.raises(RuntimeError, match=r"changed in place .* call backward\(\) before optimizer\.step\(\)"):
        loss.backward()


def test_zero_grad_covers_every_group():
    p, q = parameter([1.0]), parameter([1.0])
    optimizer = SGD([{"params": [p]}, {"params": [q]}], 0.5)
    (p * q).sum().backward()
    optimizer.zero_grad()
    assert p.grad is None
    assert q.grad is None


@given(
    seed=st.integers(0, 999),
    order=st.permutations(range(4)),
    kind=st.sampled_from(KINDS),
    names=st.lists(st.text(max_size=5), min_size=4, max_size=4),
)
def test_steps_do_not_depend_on_the_order_or_the_names_of_parameters(seed, order, kind, names):
    numbers = np.random.default_rng(seed).uniform(-10, 10, (6, 4, 3))
    start, gradients = numbers[0], numbers[1:]

    def run(order, names):
        parameters = [Tensor(row.copy(), requires_grad=True, name=name) for row, name in zip(start, names, strict=True)]
        optimizer = kind([parameters[i] for i in order], 0.25, 0.125)
        for step in gradients:
            for p, row in zip(parameters, step, strict=True):
                give(p, row)
            optimizer.step()
        return np.stack([p.data for p in parameters])

    assert np.array_equal(run(range(4), "abcd"), run(order, names))


@given(
    start=arrays(np.float64, 3, elements=st.floats(-10, 10)), gradient=arrays(np.float64, 3, elements=st.floats(-9, 9))
)
def test_without_momentum_all_kinds_are_the_same(start, gradient):
    ends = []
    for kind in (SGD, Momentum, Nesterov):
        p = parameter(start)
        optimizer = SGD([p], 0.5) if kind is SGD else kind([p], 0.5, 0.0)
        ends.append(follow(optimizer, p, [gradient, -2 * gradient, gradient]))
    assert ends[0] == ends[1] == ends[2]


# ---- StepLR


def rates(step_size, gamma, n):
    optimizer = SGD([parameter([1.0])], 8.0)
    schedule = StepLR(optimizer, step_size, gamma)
    result = [optimizer.groups[0]["lr"]]
    for _ in range(n):
        schedule.step()
        result.append(optimizer.groups[0]["lr"])
    return result


@pytest.mark.parametrize("k", [1, 2, 3, 7])
def test_the_rate_steps_exactly_at_k_and_2k(k):
    assert rates(k, 0.5, 2 * k + 1) == [8.0] * k + [4.0] * k + [2.0] * 2 if k > 1 else rates(1, 0.5, 3) == [8, 4, 2, 1]


@given(k=st.integers(1, 9), gamma=st.floats(0.1, 1.5), n=st.integers(0, 30))
def test_the_rate_is_a_pure_function_of_the_epoch(k, gamma, n):
    stepped = rates(k, gamma, n)
    assert stepped == [8.0 * gamma ** (epoch // k) for epoch in range(n + 1)]  # no drift: not multiplied step by step
    schedule = StepLR(SGD([parameter([1.0])], 8.0), k, gamma)
    asked = [schedule.rate(8.0, epoch) for epoch in reversed(range(n + 1))]
    assert asked[::-1] == stepped
    assert schedule.epoch == 0
    assert schedule.optimizer.groups[0]["lr"] == 8.0


def test_making_a_schedule_is_no_step():
    optimizer = SGD([parameter([1.0])], 8.0)
    for _ in range(3):
        StepLR(optimizer, 1, 0.5)
    assert optimizer.groups[0]["lr"] == 8.0


def test_every_group_has_its_own_rate():
    groups: list[dict[str, Any]] = [{"params": [parameter([1.0])], "lr": 4.0}, {"params": [parameter([1.0])]}]
    optimizer = SGD(groups, 8.0)
    schedule = StepLR(optimizer, 2, 0.5)
    schedule.step()
    assert [group["lr"] for group in optimizer.groups] == [4.0, 8.0]
    schedule.step()
    assert [group["lr"] for group in optimizer.groups] == [2.0, 4.0]


def test_the_learning_rate_is_read_at_step_time():
    p = parameter([0.0])
    optimizer = SGD([p], 1.0)
    follow(optimizer, p, [[1.0]])
    optimizer.groups[0]["lr"] = 0.25
    assert follow(optimizer, p, [[1.0]]) == [[-1.25]]


# ---- State


@EACH_KIND
@pytest.mark.parametrize("done", [0, 1, 3])
def test_a_restored_optimizer_goes_on_to_the_same_bits(kind, done):
    rng = np.random.default_rng(0)
    gradients = rng.standard_normal((6, 5)).astype(np.float32)
    start = rng.standard_normal(5)
    p = parameter(start, np.float32)
    optimizer = kind([p], 0.3, 0.01)
    schedule = StepLR(optimizer, 2, 0.3)

    def go(optimizer, schedule, p, gradients):
        for gradient in gradients:
            give(p, gradient)
            optimizer.step()
            schedule.step()

    go(optimizer, schedule, p, gradients[:done])
    state = copy.deepcopy((optimizer.state_dict(), schedule.state_dict()))
    q = parameter(p.data, np.float32)
    go(optimizer, schedule, p, gradients[done:])

    other = kind([q], 99.0)
    other_schedule = StepLR(other, 2, 0.3)
    other.load_state_dict(state[0])
    other_schedule.load_state_dict(state[1])
    go(other, other_schedule, q, gradients[done:])
    assert np.array_equal(p.data, q.data)
    assert other.groups[0]["lr"] == optimizer.groups[0]["lr"]


def test_a_state_is_a_copy_both_ways():
    p = parameter([0.0])
    optimizer = Momentum([p], 1.0, 0.5)
    follow(optimizer, p, [[1.0]])
    state = optimizer.state_dict()
    follow(optimizer, p, [[1.0]])
    assert state["state"][0]["velocity"].tolist() == [1.0]
    optimizer.load_state_dict(state)
    follow(optimizer, p, [[1.0]])
    assert state["state"][0]["velocity"].tolist() == [1.0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda s: s["state"].update({0: {"velocity": np.zeros(7)}}),
            r"velocity 0, float64 of shape \(7,\), belongs to another network",
        ),
        (
            lambda s: s["state"].update({5: {"velocity": np.zeros(1)}}),
            r"velocity 5, float64 of shape \(1,\), belongs to another network",
        ),
        (lambda s: s["groups"][0].pop("momentum"), "belong to another optimizer"),
        (lambda s: s["groups"].append(dict(s["groups"][0])), "belong to another optimizer"),
    ],
)
def test_the_state_of_another_optimizer_is_refused_and_nothing_taken_over(change, message):
    p = parameter([0.0])
    optimizer = Momentum([p], 1.0, 0.5)
    follow(optimizer, p, [[1.0]])
    state = optimizer.state_dict()
    state["groups"][0]["lr"] = 77.0
    change(state)
    with pytest.raises(ValueError, match=message):
        optimizer.load_state_dict(state)
    assert optimizer.groups[0]["lr"] == 1.0
    assert optimizer.state[p]["velocity"].tolist() == [1.0]


def test_the_state_of_another_schedule_is_refused():
    schedule = StepLR(SGD([parameter([0.0])], 1.0), 1)
    with pytest.raises(ValueError, match="the saved schedule has 2 groups, expected 1"):
        schedule.load_state_dict({"epoch": 3, "first": [1.0, 2.0]})
    for damaged in ({"epoch": -1, "first": [1.0]}, {"epoch": 1, "first": [math.nan]}, {"epoch": 1, "first": [-1.0]}):
        with pytest.raises(ValueError, match="the saved schedule is damaged"):
            schedule.load_state_dict(damaged)
    assert schedule.state_dict() == {"epoch": 0, "first": [1.0], "step_size": 1, "gamma": 0.1}


@pytest.mark.parametrize("velocity", [np.array([1j]), np.ma.array([1.0], mask=[True]), [1.0], np.array([None])])
def test_a_velocity_that_is_no_array_of_real_numbers_is_refused(velocity):
    optimizer = Momentum([parameter([0.0])], 1.0, 0.5)
    groups = [{"lr": 1.0, "weight_decay": 0.0, "momentum": 0.5}]
    for saved in (
        {"state": {0: {"velocity": velocity}}},
        {"velocity": {0: velocity}},
    ):  # the latter by a former version
        with pytest.raises(ValueError, match="the saved velocity 0, "):
            optimizer.load_state_dict({"groups": groups, **saved})


@pytest.mark.parametrize(
    ("state", "words"),
    [
        (None, "got None"), (5, "got 5"), ([], r"got \[\]"), ({}, "groups and state, got only"),
        ({"state": {}}, "groups and state"), ({"groups": [{}]}, "groups and state"),
        ({"groups": 5, "state": {}}, "groups 5"),
        ({"groups": [5], "state": {}}, "hold dicts"), ({"groups": [{}], "state": []}, "state"),
        ({"groups": [{}], "state": {0: 5}}, "hold dicts"), ({"groups": [{}], "velocity": 5}, "velocity 5"),
        ({"groups": None, "state": {"x": {"velocity": np.zeros(1)}}}, "groups None"),
    ],
)  # fmt: skip
def test_what_is_no_state_of_an_optimizer_is_refused_in_one_line(state, words):
    optimizer = Momentum([parameter([0.0])], 1.0, 0.5)
    with pytest.raises((TypeError, ValueError), match=f"Momentum: expected .*{words}"):
        optimizer.load_state_dict(state)


@pytest.mark.parametrize("place", ["x", 0.5, -1, None])
def test_places_of_parameters_are_whole_numbers(place):
    optimizer = Momentum([parameter([0.0])], 1.0, 0.5)
    state = optimizer.state_dict() | {"state": {place: {"velocity": np.zeros(1)}}}
    with pytest.raises(ValueError, match=f"positions of parameters in the state, got {place!r}"):
        optimizer.load_state_dict(state)
    optimizer.load_state_dict(state | {"state": {"0": {"velocity": np.ones(1)}}})  # as JSON has them
    assert optimizer.state_dict()["state"][0]["velocity"].tolist() == [1.0]


@pytest.mark.parametrize("state", [None, 5, {}, {"epoch": 1}, {"first": [1.0]}, {"epoch": 1, "first": 5}])
def test_what_is_no_state_of_a_schedule_is_refused_in_one_line(state):
    optimizer = SGD([parameter([0.0])], 1.0)
    for schedule in (StepLR(optimizer, 1), optim.SequentialLR(optimizer, [StepLR(optimizer, 1)], [])):
        with pytest.raises((TypeError, ValueError), match=r"LR: expected what state_dict\(\) returned"):
            schedule.load_state_dict(state)


def test_a_number_of_too_many_digits_is_refused():
    huge = 10**400
    with pytest.raises(ValueError, match="expected 0 <= lr < inf, got 1000"):
        SGD([parameter([0.0])], huge)
    optimizer = SGD([parameter([0.0])], 1.0)
    with pytest.raises(ValueError, match="expected gamma > 0, got 1000"):
        StepLR(optimizer, 1, huge)
    with pytest.raises(ValueError, match="expected a number max_norm >= 0, got 1000"):
        optim.clip_grad_norm([parameter([0.0])], huge)


# ---- What is refused


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda p: SGD([p], -0.1), r"SGD: expected 0 <= lr < inf, got -0\.1"),
        (lambda p: SGD([p], float("nan")), "expected 0 <= lr < inf, got nan"),
        (lambda p: SGD([p], 10**400), "expected 0 <= lr < inf, got 1000000"),
        (lambda p: SGD([p], float("inf")), "expected 0 <= lr < inf, got inf"),
        (lambda p: SGD([p], TEXT), "expected 0 <= lr < inf, got '0.1'"),
        (lambda p: SGD([p], 0.1, -1), "SGD: expected 0 <= weight_decay < inf, got -1"),
        (lambda p: Momentum([p], 0.1, 1.0), r"Momentum: expected 0 <= momentum < 1, got 1\.0"),
        (lambda p: Nesterov([p], 0.1, -0.5), r"Nesterov: expected 0 <= momentum < 1, got -0\.5"),
        (lambda p: SGD([{"params": [p], "lr": -3}], 0.1), "expected 0 <= lr < inf, got -3"),
        (lambda p: SGD([], 0.1), "got no parameters"),
        (lambda p: SGD([p, p], 0.1), "twice"),
        (lambda p: SGD([{"params": [p]}, {"params": [p]}], 0.1), "twice"),
        (lambda p: StepLR(SGD([p], 0.1), 0), "step_size >= 1, got 0"),
        (lambda p: StepLR(SGD([p], 0.1), FRACTION), r"step_size >= 1, got 2\.5"),
        (lambda p: StepLR(SGD([p], 0.1), 2, 0.0), r"gamma > 0, got 0\.0"),
    ],
)
def test_values_out_of_range_are_named(make, message):
    with pytest.raises(ValueError, match=message) as caught:
        make(parameter([1.0]))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda p: SGD([p, np.ones(2)], 0.1), "Tensors that require gradients, got ndarray of shape"),
        (lambda p: SGD([Tensor([1.0])], 0.1), "Tensors that require gradients, got Tensor"),
        (lambda p: SGD([{"params": [p], "momentum": 0.9}], 0.1), "a group is a dict of 'params' and lr, weight_decay"),
        (lambda p: SGD([{"weights": [p]}], 0.1), "a group is a dict of 'params'"),
        (lambda p: SGD([{"params": [p]}, p], 0.1), "a group is a dict of 'params'"),
    ],
)
def test_what_is_no_parameter_is_named(make, message):
    with pytest.raises(TypeError, match=message) as caught:
        make(parameter([1.0]))
    assert "\n" not in str(caught.value)


def test_an_optimizer_without_a_formula_says_so():
    p = parameter([1.0])
    optimizer = Optimizer([p], 0.1)
    give(p, [1.0])
    with pytest.raises(TypeError, match=r"define direction\(\)"):
        optimizer.step()


def test_an_optimizer_of_ones_own_is_one_formula():
    class Sign(Optimizer):
        def direction(self, gradient, state, options):
            return np.sign(gradient)

    p = parameter([1.0, 1.0])
    assert follow(Sign([p], 0.5), p, [[7.0, -0.1]]) == [[0.5, 1.5]]


def test_the_reference_covers_what_it_should():
    settings = [case["settings"] for case in REFERENCE["cases"]]
    assert {(s["momentum"], s["nesterov"]) for s in settings} >= {(0.0, False), (0.5, True), (0.9, False), (0.9, True)}
    assert any(s["weight_decay"] for s in settings)
    assert any(s["schedule"] for s in settings)
    assert any(later != now for case in REFERENCE["cases"] for now, later in pairwise(case["after"]["lr"]["weights"]))
    assert any(step["biases"] is None for step in REFERENCE["gradients"])


def test_result_of_an_op_is_refused_as_a_parameter_that_would_never_train():
    with pytest.raises(TypeError, match="leaf Tensors that require gradients"):
        SGD([Tensor([1.0], requires_grad=True) * 2], lr=0.1)


def test_options_given_as_numpy_scalars_keep_float32_state():
    p = Tensor([1.0], requires_grad=True)
    optimizer = Momentum([{"params": [p], "weight_decay": np.float64(0.1)}], lr=0.1, momentum=np.float64(0.9))
    for _ in range(2):
        p.grad = Tensor([1.0])
        optimizer.step()
    assert optimizer.state[p]["velocity"].dtype == p.dtype == np.float32


def test_options_set_later_as_numpy_scalars_keep_float32():
    w = Tensor(np.ones(2, np.float32), requires_grad=True)
    optimizer = Momentum([w], lr=0.5, momentum=0.5)
    optimizer.groups[0]["momentum"] = np.float64(0.9)
    optimizer.groups[0]["lr"] = np.float64(0.1)
    for _ in range(2):
        w.grad = Tensor(np.ones(2, np.float32))
        optimizer.step()
    assert optimizer.state[w]["velocity"].dtype == w.dtype == np.float32
    assert [type(optimizer.groups[0][key]) for key in ("lr", "momentum")] == [float, float]


def test_a_state_with_options_out_of_range_is_refused_and_nothing_taken_over():
    optimizer = Momentum([Tensor([1.0], requires_grad=True)], lr=0.5)
    state = optimizer.state_dict()
    state["groups"][0] |= {"lr": 0.25, "momentum": 2.0}
    with pytest.raises(ValueError, match="expected 0 <= momentum < 1, got 2"):
        optimizer.load_state_dict(state)
    assert (optimizer.groups[0]["lr"], optimizer.groups[0]["momentum"]) == (0.5, 0.9)


def test_a_network_in_place_of_its_parameters_is_named_with_the_remedy():
    network = Linear(2, 1, rng=np.random.default_rng(0))
    with pytest.raises(TypeError, match=r"SGD: expected parameters, got Linear\(2, 1\); pass its \.parameters\(\)"):
        SGD(network, lr=1)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"SGD: expected parameters, got 5; pass a network's \.parameters\(\)"):
        SGD(5, lr=1)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="StepLR: expected an optimizer, got 5"):
        StepLR(5, 1)  # type: ignore[arg-type]


def test_a_schedule_takes_numpys_whole_numbers():
    schedule = StepLR(SGD([Tensor([1.0], requires_grad=True)], lr=1.0), np.int64(2), np.float64(0.5))
    schedule.step()
    schedule.step()
    assert schedule.optimizer.groups[0]["lr"] == 0.5
    assert type(schedule.step_size) is int


@pytest.mark.parametrize("unknown", [{"momentum": 0.9}, {"weight_deacy": 5.0}, {"nesterov": True}])
def test_options_that_an_optimizer_does_not_have_are_refused(unknown):
    with pytest.raises(TypeError, match=f"SGD: takes lr and weight_decay, got {next(iter(unknown))}; .*Momentum"):
        SGD([parameter([1.0])], lr=0.1, **unknown)


def test_a_network_in_place_of_its_parameters_is_refused_in_a_group_too():
    network = Linear(2, 1, rng=np.random.default_rng(0))
    with pytest.raises(TypeError, match=r"pass its \.parameters\(\)"):
        SGD([{"params": network}], lr=0.1)
    with pytest.raises(TypeError, match="a group is a dict of 'params' and lr, weight_decay; got one of params, beta"):
        SGD([{"params": network.parameters(), "beta": 1.0}], lr=0.1)


def own(formula):
    class Own(Optimizer):
        def direction(self, gradient, state, options):
            return formula(gradient, state)

    return Own


@pytest.mark.parametrize(
    ("formula", "got"),
    [
        (lambda g, s: None, "got a NoneType"),
        (lambda g, s: (g, None), "got a tuple"),
        (lambda g, s: g.sum(0), r"got one of shape \(2,\) for \(3, 2\)"),
        (lambda g, s: 1.0, "got a float"),
    ],
)
def test_what_a_formula_returns_is_checked(formula, got):
    p = parameter(np.ones((3, 2)))
    give(p, np.ones((3, 2)))
    with pytest.raises(TypeError, match=rf"Own: direction\(self, gradient, state, options\) returns .*{got}") as caught:
        own(formula)([p], lr=0.5).step()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", [Momentum, Nesterov])
def test_a_single_number_is_trained(kind):
    p = parameter(1.0)
    values = follow(kind([p], 0.5, weight_decay=0.5), p, [1.0, 1.0, 1.0])
    assert len(set(values)) == 3


def test_a_state_is_loaded_though_a_parameter_is_frozen_by_now():
    p, q = parameter([1.0]), parameter([1.0])
    optimizer = Momentum([p, q], lr=0.5, momentum=0.5)
    give(q, [1.0])
    follow(optimizer, p, [[1.0]])
    state = optimizer.state_dict()
    other = Momentum([p, q], lr=9.0)
    p.requires_grad = False
    other.load_state_dict(state)
    assert (other.groups[0]["lr"], other.groups[0]["momentum"]) == (0.5, 0.5)
    assert [other.state[each]["velocity"].tolist() for each in (p, q)] == [[1.0], [1.0]]
    give(p, None)
    q.data[:] = 0.0
    assert follow(other, q, [[0.0]]) == [[-0.25]]
    assert p.data.tolist() == [0.5]  # it stays as it is until it trains again, with its velocity
    p.requires_grad = True
    assert follow(other, p, [[0.0]]) == [[0.25]]


def test_options_that_are_updated_become_plain_numbers_too():
    optimizer = SGD([parameter([1.0])], lr=0.5)
    optimizer.groups[0].update(lr=np.float64(0.25))
    assert type(optimizer.groups[0]["lr"]) is float


# ---- What an optimizer keeps: arrays by name


def test_a_formula_keeps_arrays_and_numbers_by_name_in_the_dtype_of_the_parameter():
    def formula(g, s):
        s["mean"] = np.float64(0.5) * np.asarray(s.get("mean", 0), np.float64) + g
        s["steps"] = s.get("steps", 0) + 1
        s.setdefault("first", g.copy())
        s.update(rows=g.sum(1))
        s |= {"half": 0.5, "mask": g > 0}
        return s["mean"]

    p, alone = (parameter(np.ones((3, 2)), np.float32) for _ in range(2))
    optimizer = own(formula)([p, alone], lr=np.float64(0.5))
    follow(optimizer, p, [np.ones((3, 2)), np.full((3, 2), 2.0)])
    kept = optimizer.state[p]
    assert {name: (type(array), array.dtype.name, array.shape) for name, array in kept.items()} == {
        name: (np.ndarray, "float32", shape)
        for name, shape in {
            "mean": (3, 2), "steps": (), "first": (3, 2), "rows": (3,), "half": (), "mask": (3, 2)
        }.items()
    }  # fmt: skip
    assert (kept["steps"], kept["first"][0, 0], kept["mean"][0, 0]) == (2, 1, 2.5)
    assert p.data.dtype == np.float32
    assert not optimizer.state[alone]  # each parameter has a state of its own


@pytest.mark.parametrize(
    "value", [None, "1", [1.0], (1.0,), {}, 1j, np.array(["a"]), np.array([None]), np.array([1j]), 10**400,
              np.ma.array([1.0], mask=[True]), Tensor([1.0])],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
@pytest.mark.parametrize(
    "put",
    [
        lambda s, v: s.__setitem__("kept", v),
        lambda s, v: s.update(kept=v),
        lambda s, v: s.setdefault("kept", v),
        lambda s, v: s.__ior__({"kept": v}),
    ],
    ids=["[]", "update", "setdefault", "|="],
)
def test_nothing_but_arrays_and_numbers_is_kept(value, put):
    p = parameter([1.0])
    give(p, [1.0])
    optimizer = own(lambda g, s: (put(s, value), g)[1])([p], lr=0.5)
    with pytest.raises(
        TypeError, match=r"state: expected an array or a number as 'kept', got a .*; keep several"
    ) as caught:
        optimizer.step()
    assert "\n" not in str(caught.value)
    assert not optimizer.state[p]
    assert p.data.tolist() == [1.0]


def test_an_array_that_is_kept_under_two_names_is_two():
    state = optim.State(np.dtype(np.float32))
    state["mean"] = np.ones(2, np.float32)
    state["before"] = state["mean"]
    kept = state["mean"]
    state["mean"] *= 3
    assert state["mean"] is kept
    assert (state["mean"].tolist(), state["before"].tolist()) == ([3, 3], [1, 1])


def test_a_name_in_a_state_is_a_text():
    with pytest.raises(TypeError, match="state: expected a name, got 0"):
        optim.State(np.dtype(np.float32))[0] = np.ones(2)  # type: ignore[index]


def test_what_is_kept_can_be_removed_and_set_from_outside():
    p = parameter([0.0])
    optimizer: Any = Momentum([p], 1.0, 0.5)
    follow(optimizer, p, [[1.0]])
    del optimizer.state[p]["velocity"]
    assert follow(optimizer, p, [[0.0]]) == [[-1.0]]
    optimizer.state[p] = {"velocity": np.array([4.0])}
    assert follow(optimizer, p, [[0.0]]) == [[-3.0]]
    with pytest.raises(TypeError, match="expected an array or a number as 'velocity', got a list"):
        optimizer.state[p] = {"velocity": [4.0]}


def test_a_formula_runs_once_a_step_and_parameter():
    calls: list[int] = []
    p, q = parameter([1.0]), parameter([1.0])

    def formula(g, s):
        calls.append(1)
        return g

    optimizer = own(formula)([p, q], lr=0.5)
    give(p, [1.0])
    give(q, [1.0])
    for k in range(1, 4):
        optimizer.step()
        assert len(calls) == 2 * k


@pytest.mark.parametrize(
    "formula",
    [
        lambda self, gradient, velocity, options: (gradient, None),
        lambda self, gradient, velocity, options: (
            gradient if velocity is None else 0.9 * velocity + gradient,
            gradient,
        ),
        lambda self, gradient, velocity, options: (gradient, np.stack([*(velocity or (gradient,))])),
    ],
)
def test_a_formula_with_the_former_signature_is_shown_the_new_one(formula):
    kind: Any = type("Former", (Optimizer,), {"direction": formula})
    p = parameter([1.0])
    optimizer = kind([p], lr=0.5)
    give(p, [1.0])
    with pytest.raises(TypeError, match=r"^Former: direction\(self, gradient, state, options\) returns the ") as caught:
        optimizer.step()
    assert "\n" not in str(caught.value)
    assert p.data.tolist() == [1.0]


def test_an_error_in_a_formula_is_that_error():
    p = parameter([1.0])
    give(p, [1.0])
    with pytest.raises(ZeroDivisionError):
        own(lambda g, s: g / (1 // 0))([p], lr=0.5).step()


def test_a_state_of_several_arrays_is_saved_and_loaded_and_goes_on_to_the_same_bits():
    def formula(g, s):
        s["mean"] = 0.9 * s.get("mean", 0) + g
        s["steps"] = s.get("steps", 0) + 1
        return s["mean"] / s["steps"]

    p, q = parameter([1.0, 2.0], np.float32), parameter([1.0, 2.0], np.float32)
    optimizer, other = (own(formula)([each], lr=0.5) for each in (p, q))
    follow(optimizer, p, [[1.0, 3.0], [0.1, 0.2]])
    state = optimizer.state_dict()
    assert {name: array.shape for name, array in state["state"][0].items()} == {"mean": (2,), "steps": ()}
    other.load_state_dict(copy.deepcopy(state))
    q.data = p.data.copy()
    rest = [[0.3, 0.7], [1.5, 2.5]]
    assert follow(optimizer, p, rest) == follow(other, q, rest)
    assert state["state"][0]["steps"] == 2


def test_saved_states_share_no_memory_with_the_optimizer():
    p = parameter([0.0])
    optimizer = Momentum([p], 1.0, 0.5)
    follow(optimizer, p, [[1.0]])
    state = optimizer.state_dict()
    for _ in range(2):
        optimizer.state[p]["velocity"][:] = 7
        assert state["state"][0]["velocity"].tolist() == [1.0]
        optimizer.load_state_dict(state)


def test_a_state_of_parameters_of_other_shapes_is_refused():
    one, other = (own(lambda g, s: g)([parameter(np.ones(shape))], lr=0.5) for shape in ((2, 3), (3, 2)))
    with pytest.raises(ValueError, match=r"the saved parameters have the shapes \[\[2, 3\]\], these \[\[3, 2\]\]"):
        other.load_state_dict(one.state_dict())


@pytest.mark.parametrize("kind", [Momentum, Nesterov])
def test_a_state_of_a_former_version_is_a_velocity(kind):
    p = parameter([0.0])
    optimizer = kind([p], 1.0, 0.5)
    groups = [{"lr": 1.0, "weight_decay": 0.0, "momentum": 0.5}]
    optimizer.load_state_dict({"groups": groups, "velocity": {0: np.array([4.0])}})
    assert {name: array.tolist() for name, array in optimizer.state[p].items()} == {"velocity": [4.0]}


def test_a_state_of_a_former_version_without_names_is_refused_where_it_could_be_anything():
    p = parameter([0.0])
    optimizer = own(lambda g, s: g)([p], 1.0)
    groups = [{"lr": 0.5, "weight_decay": 0.0}]
    with pytest.raises(ValueError, match=r"Own: .* has no names; restore the model alone, or set"):
        optimizer.load_state_dict({"groups": groups, "velocity": {0: np.array([4.0])}})
    assert optimizer.groups[0]["lr"] == 1.0
    optimizer.load_state_dict({"groups": groups, "velocity": {}})  # nothing was kept
    assert optimizer.groups[0]["lr"] == 0.5


def test_an_optimizer_can_be_copied_and_pickled():
    p = parameter([0.0])
    optimizer = Momentum([{"params": [p], "lr": 0.25}], 1.0, 0.5)
    follow(optimizer, p, [[1.0]])
    for twin in (copy.deepcopy(optimizer), pickle.loads(pickle.dumps(optimizer))):
        (q,) = twin.groups[0]["params"]
        assert q is not p
        assert twin.state_dict().items() >= {"groups": optimizer.state_dict()["groups"]}.items()
        give(q, [0.0])
        give(p, [0.0])
        twin.step()
        assert twin.state[q]["velocity"].tolist() == [0.5]
        with pytest.raises(ValueError, match="expected 0 <= lr < inf, got -1"):
            twin.groups[0]["lr"] = -1
        with pytest.raises(ValueError, match="twice in one"):
            twin.add_group({"params": [q]})


# ---- Groups: no way in but by what is checked


SETTERS = {
    "[]": lambda group, name, value: group.__setitem__(name, value),
    "|=": lambda group, name, value: group.__ior__({name: value}),
    "update": lambda group, name, value: group.update({name: value}),
    "update with pairs": lambda group, name, value: group.update([(name, value)]),
    "update by name": lambda group, name, value: group.update(**{name: value}),
}


@pytest.mark.parametrize("setter", SETTERS)
@pytest.mark.parametrize(
    ("name", "value", "limit"),
    [
        ("lr", -1, "inf"),
        ("lr", math.nan, "inf"),
        ("lr", math.inf, "inf"),
        ("lr", TEXT, "inf"),
        ("lr", None, "inf"),
        ("lr", True, "inf"),
        ("lr", np.array(0.1), "inf"),
        ("lr", np.float64(-1), "inf"),
        ("weight_decay", -0.5, "inf"),
        ("momentum", 1.5, "1"),
        ("momentum", 1, "1"),
    ],
    ids=str,
)
def test_an_option_is_checked_whenever_it_is_set_in_the_words_of_the_constructor(setter, name, value, limit):
    p = parameter([1.0])
    optimizer = Momentum([p], lr=0.5, momentum=0.25)
    before = dict(optimizer.groups[0])
    with pytest.raises(ValueError, match=f"Momentum: expected 0 <= {name} < {limit}, got ") as caught:
        SETTERS[setter](optimizer.groups[0], name, value)
    with pytest.raises(ValueError, match=re.escape(str(caught.value))):
        Momentum([p], **{"lr": 0.5, name: value})
    assert optimizer.groups[0] == before


@pytest.mark.parametrize("setter", [*SETTERS, "setdefault"])
def test_an_option_that_there_is_none_of_is_refused(setter):
    group = SGD([parameter([1.0])], lr=0.5).groups[0]
    with pytest.raises(
        TypeError, match="SGD: a group is a dict of 'params' and lr, weight_decay; got one of weight_deacy"
    ):
        {**SETTERS, "setdefault": lambda group, name, value: group.setdefault(name, value)}[setter](
            group, "weight_deacy", 0.5
        )
    assert set(group) == {"params", "lr", "weight_decay"}
    assert group.setdefault("lr", -1) == 0.5


def test_of_several_values_that_are_set_at_once_all_or_none_are():
    group = SGD([parameter([1.0])], lr=0.5).groups[0]
    with pytest.raises(ValueError, match="weight_decay"):
        group.update(lr=0.25, params=[parameter([2.0])], weight_decay=-1)
    assert (group["lr"], group["params"][0].item()) == (0.5, 1.0)
    group |= {"lr": 0.25, "weight_decay": 0.125}
    assert (group["lr"], group["weight_decay"]) == (0.25, 0.125)


@pytest.mark.parametrize(
    "remove",
    [
        lambda group: group.__delitem__("lr"),
        lambda group: group.pop("lr"),
        lambda group: group.pop("lr", None),
        lambda group: group.popitem(),
        lambda group: group.clear(),
    ],
)
def test_nothing_can_be_removed_from_a_group(remove):
    group = SGD([parameter([1.0])], lr=0.5).groups[0]
    with pytest.raises(TypeError, match="SGD: a group keeps 'params' and lr, weight_decay; set a value"):
        remove(group)
    assert set(group) == {"params", "lr", "weight_decay"}


def test_the_parameters_of_a_group_are_checked_when_they_are_set():
    p, q, r = (parameter([1.0]) for _ in range(3))
    optimizer = SGD([{"params": [p]}, {"params": [q]}], lr=0.5)
    first = optimizer.groups[0]
    for wrong, error, message in (
        ([q], ValueError, "in two groups"),
        ([r, r], ValueError, "twice in one"),
        ([], ValueError, "got no parameters"),
        ([np.ones(1)], TypeError, "leaf Tensors"),
        ([q * 2], TypeError, "leaf Tensors"),
        ({p, r}, TypeError, "in their order, got a set; pass a list"),
        (5, TypeError, "expected parameters, got 5"),
    ):
        with pytest.raises(error, match=f"SGD: .*{message}"):
            first["params"] = wrong
        assert first["params"] == (p,)
    first["params"] = [r, p]
    assert first["params"] == (r, p)
    first["params"] = [r]
    optimizer.groups[1]["params"] = [q, p]  # which is free now
    assert [len(group["params"]) for group in optimizer.groups] == [1, 2]


def test_the_groups_and_their_parameters_cannot_be_edited_past_the_optimizer():
    p = parameter([1.0])
    optimizer: Any = SGD([p], lr=0.5)
    for sequence in (optimizer.groups, optimizer.groups[0]["params"]):
        assert not hasattr(sequence, "append")
        with pytest.raises(TypeError, match="does not support item assignment"):
            sequence[0] = p
    with pytest.raises(AttributeError):
        optimizer.groups = []


@pytest.mark.parametrize("kind", [set, frozenset])
def test_parameters_in_a_set_are_refused_as_their_order_is_unknown(kind):
    p, q = parameter([1.0]), parameter([2.0])
    for params in (kind([p, q]), [{"params": kind([p, q])}]):
        with pytest.raises(
            TypeError, match=f"SGD: expected parameters in their order, got a {kind.__name__}; pass a list"
        ):
            SGD(params, lr=0.5)
    assert SGD({p: 1, q: 2}.keys(), lr=0.5).groups[0]["params"] == (p, q)  # which have an order


def test_a_group_is_added():
    p, q = parameter([1.0]), parameter([1.0])
    optimizer = Momentum([p], lr=0.5, momentum=0.25)
    optimizer.add_group({"params": [q], "lr": np.float64(2.0)})
    assert [dict(group, params=len(group["params"])) for group in optimizer.groups] == [
        {"params": 1, "lr": 0.5, "weight_decay": 0.0, "momentum": 0.25},
        {"params": 1, "lr": 2.0, "weight_decay": 0.0, "momentum": 0.25},
    ]
    give(q, [0.25])
    optimizer.step()
    assert q.data.tolist() == [0.5]


@pytest.mark.parametrize(
    ("group", "error", "message"),
    [
        (lambda p, q: {"params": [p]}, ValueError, "in two groups"),
        (lambda p, q: {"params": [q, q]}, ValueError, "twice in one"),
        (lambda p, q: {"params": {q}}, TypeError, "got a set"),
        (lambda p, q: {"params": [q], "lr": -1}, ValueError, "expected 0 <= lr < inf, got -1"),
        (
            lambda p, q: {"params": [q], "momentum": 0.5},
            TypeError,
            "a group is a dict of 'params' and lr, weight_decay; ",
        ),
        (lambda p, q: {"lr": 1.0}, TypeError, "a group is a dict of 'params'"),
        (lambda p, q: [q], TypeError, "a group is a dict of .*; got list"),
    ],
)
def test_a_group_that_is_wrong_is_not_added(group, error, message):
    p, q = parameter([1.0]), parameter([1.0])
    optimizer = SGD([p], lr=0.5)
    with pytest.raises(error, match=f"SGD: .*{message}"):
        optimizer.add_group(group(p, q))
    assert len(optimizer.groups) == 1
    optimizer.add_group({"params": [q]})  # which nothing has taken


# ---- Schedules are restored whole


def test_a_schedule_that_is_restored_sets_the_rate():
    def pair():
        optimizer = SGD([parameter([1.0])], lr=8.0)
        return optimizer, StepLR(optimizer, 2, 0.5)

    _, schedule = pair()
    for _ in range(5):
        schedule.step()
    optimizer, fresh = pair()
    fresh.load_state_dict(schedule.state_dict())
    assert optimizer.groups[0]["lr"] == 2.0


def test_a_schedules_state_has_its_steps_which_replace_those_of_the_schedule():
    state = {"epoch": 5, "first": [1.0], "step_size": 2, "gamma": 0.5}
    optimizer = SGD([parameter([1.0])], lr=1.0)
    schedule = StepLR(optimizer, 350, 0.1)
    schedule.load_state_dict(json.loads(json.dumps(state)))
    assert optimizer.groups[0]["lr"] == 0.25
    schedule.step()
    assert optimizer.groups[0]["lr"] == 0.125
    assert schedule.state_dict() == {**state, "epoch": 6}


def test_a_schedules_state_of_a_former_version_leaves_its_steps():
    optimizer = SGD([parameter([1.0])], lr=1.0)
    schedule = StepLR(optimizer, 2, 0.5)
    schedule.load_state_dict({"epoch": 3, "first": [8.0]})
    assert optimizer.groups[0]["lr"] == 4.0
    schedule.step()
    assert optimizer.groups[0]["lr"] == 2.0


@pytest.mark.parametrize(
    "damage",
    [
        {"epoch": -1}, {"epoch": 2.5}, {"epoch": "3"}, {"epoch": True}, {"first": [math.inf]}, {"first": ["1"]},
        {"first": []}, {"step_size": 0}, {"step_size": None}, {"gamma": 0}, {"gamma": math.nan}, {"gamma": "x"},
        {"gamma": 10.0, "epoch": 10**6}, {"gamma": 10.0, "epoch": 600, "first": [1e300]},
    ],
    ids=str,
)  # fmt: skip
def test_a_schedules_state_that_is_damaged_changes_nothing(damage):
    optimizer = SGD([parameter([1.0])], lr=1.0)
    schedule = StepLR(optimizer, 3, 0.5)
    before = schedule.state_dict()
    with pytest.raises(ValueError, match=r"StepLR: |SGD: expected 0 <= lr < inf, got inf"):
        schedule.load_state_dict({**before, "epoch": 4, "step_size": 2, **damage})
    assert schedule.state_dict() == before
    assert optimizer.groups[0]["lr"] == 1.0


def test_a_schedule_takes_in_groups_that_are_added_later():
    p, q = parameter([1.0]), parameter([1.0])
    optimizer = SGD([p], lr=8.0)
    schedule = StepLR(optimizer, 2, 0.5)
    schedule.step()
    optimizer.add_group({"params": [q], "lr": 4.0})
    optimizer.groups[1]["lr"] = 100.0  # its first rate stays the one it was added with
    assert schedule.state_dict()["first"] == [8.0, 4.0]
    schedule.step()
    assert [group["lr"] for group in optimizer.groups] == [4.0, 2.0]
    fresh = SGD([{"params": [parameter([1.0])]}], lr=8.0)
    restored = StepLR(fresh, 7)
    fresh.add_group({"params": [parameter([1.0])]})
    restored.load_state_dict(schedule.state_dict())
    assert [group["lr"] for group in fresh.groups] == [4.0, 2.0]
    restored.step()
    restored.step()
    assert [group["lr"] for group in fresh.groups] == [2.0, 1.0]
