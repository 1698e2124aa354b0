"""losses.py: values by hand and by definition, gradients, saturated outputs, what is refused."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tinygrad_mnist import Tensor, grad, sigmoid
from tinygrad_mnist.losses import (
    cross_entropy,
    cross_entropy_cost,
    mse_loss,
    nll_loss,
    quadratic_cost,
    softmax_cross_entropy,
)

COSTS = [quadratic_cost, cross_entropy_cost, softmax_cross_entropy]
EACH_COST = pytest.mark.parametrize("cost", COSTS, ids=lambda cost: cost.__name__)
SHAPES = st.tuples(st.integers(1, 5), st.integers(1, 4))


@st.composite
def outputs_and_targets(draw):
    """Outputs within (0, 1), so that every cost can take them, and targets in [0, 1], of one shape."""
    shape = draw(SHAPES)
    inside = arrays(np.float64, shape, elements=st.floats(0.05, 0.95))
    return draw(inside), draw(arrays(np.float64, shape, elements=st.floats(0, 1)))


def gradient(x):
    assert x.grad is not None
    return x.grad.data


def by_definition(cost, a, y):
    """The cost, one example and one output after the other, in Python's numbers."""
    total = 0.0
    for row, wanted in zip(a.tolist(), y.tolist(), strict=True):
        if cost is quadratic_cost:
            total += math.fsum(0.5 * (p - t) ** 2 for p, t in zip(row, wanted, strict=True))
        elif cost is cross_entropy_cost:
            total -= math.fsum(t * math.log(p) + (1 - t) * math.log(1 - p) for p, t in zip(row, wanted, strict=True))
        else:
            log_of_sum = math.log(math.fsum(math.exp(z) for z in row))
            total -= math.fsum(t * (z - log_of_sum) for z, t in zip(row, wanted, strict=True))
    return total / len(a)


@EACH_COST
@given(pair=outputs_and_targets())
def test_values_are_those_of_the_definition(cost, pair):
    a, y = pair
    assert cost(Tensor(a), y).item() == pytest.approx(by_definition(cost, a, y), rel=1e-12, abs=1e-14)


@EACH_COST
@given(pair=outputs_and_targets(), seed=st.integers(0, 99))
def test_gradients_are_the_slopes(cost, pair, seed):
    a, y = pair
    direction = np.random.default_rng(seed).standard_normal((2, *a.shape))
    x, t = Tensor(a, requires_grad=True), Tensor(y, requires_grad=True)
    dx, dt = grad(cost(x, t), [x, t])
    h = 1e-5
    slope = [by_definition(cost, a + s * h * direction[0], y + s * h * direction[1]) for s in (1, -1)]
    expected = (slope[0] - slope[1]) / (2 * h)
    assert np.sum(dx.data * direction[0]) + np.sum(dt.data * direction[1]) == pytest.approx(
        expected, rel=1e-6, abs=1e-7
    )


@EACH_COST
def test_labels_stand_for_rows_with_a_one(cost):
    a = np.random.default_rng(0).uniform(0.1, 0.9, (6, 4))
    labels = np.array([0, 3, 1, 2, 2, 0])
    one_hot = np.eye(4)[labels]
    x = Tensor(a, requires_grad=True)
    cost(x, labels).backward()
    by_label = gradient(x)
    x.zero_grad()
    cost(x, one_hot).backward()
    assert np.array_equal(by_label, gradient(x))
    for kind in (np.uint8, np.int32, np.int64):
        assert cost(Tensor(a), labels.astype(kind)).item() == cost(Tensor(a), one_hot).item()
    assert cost(Tensor(a), labels.tolist()).item() == cost(Tensor(a), one_hot).item()


@EACH_COST
def test_rows_of_targets_may_be_a_list(cost):
    x = Tensor([[0.25, 0.75]], requires_grad=True)
    assert cost(x, [[0, 1]]).item() == cost(x, np.array([[0, 1]], np.float32)).item()
    assert cost(x, [[0, 1]]).dtype == np.float32
    with pytest.raises(TypeError, match="expected outputs that are a Tensor or an array, got list"):
        cost([[0.25, 0.75]], [[0, 1]])


@EACH_COST
@pytest.mark.parametrize(
    "targets",
    [
        [Tensor([0.0, 1.0], requires_grad=True)],
        [[None, 1]],
        [["0", "1"]],
        [[1j, 0]],
        np.ma.array([1], mask=[True]),
        np.array([[0, 1]], object),
    ],
)
def test_targets_that_would_lose_something_are_refused(cost, targets):
    with pytest.raises(TypeError, match="targets"):
        cost(Tensor([[0.25, 0.75]], requires_grad=True), targets)


def test_rows_in_a_list_stay_fractions_beside_integer_outputs():
    outputs: Any = np.eye(2, dtype=int)
    targets: Any = [[0.5, 0.5], [0.5, 0.5]]
    assert quadratic_cost(outputs, targets) == 0.25


@EACH_COST
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_dtype_stays(cost, dtype):
    x = Tensor(np.full((3, 2), 0.25, dtype), requires_grad=True)
    for targets in (np.array([0, 1, 1]), np.eye(2, dtype=dtype)[[0, 1, 1]]):
        loss = cost(x, targets)
        assert loss.dtype == dtype
        assert loss.shape == ()
        x.zero_grad()
        loss.backward()
        assert gradient(x).dtype == dtype


def test_the_quadratic_cost_of_the_book():
    # ½ ((0.5 - 1)² + (0.25 - 0)²) = 0.15625 and ½ (1 + 0) = 0.5; their mean
    assert quadratic_cost(Tensor([[0.5, 0.25], [1.0, 1.0]]), np.array([0, 1])).item() == (0.15625 + 0.5) / 2


def test_with_cross_entropy_the_gradient_of_a_weighted_input_is_a_minus_y():
    z = Tensor(np.array([[-3.0, 0.5, 2.0], [0.0, -1.0, 4.0]]), requires_grad=True)
    y = np.eye(3)[[2, 0]]
    a = sigmoid(z)
    cross_entropy_cost(a, y).backward()
    np.testing.assert_allclose(gradient(z), (a.data - y) / 2, rtol=1e-12)


def test_with_softmax_the_gradient_of_a_weighted_input_is_a_minus_y_too():
    z = Tensor(np.array([[-3.0, 0.5, 2.0], [0.0, -1.0, 4.0]]), requires_grad=True)
    y = np.eye(3)[[2, 0]]
    softmax_cross_entropy(z, y).backward()
    powers = np.exp(z.data)
    np.testing.assert_allclose(gradient(z), (powers / powers.sum(1, keepdims=True) - y) / 2, rtol=1e-12)


# ---- Where textbook formulas break


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_gradient_of_targets_at_saturated_outputs_is_that_of_the_cost(dtype):
    a, y = np.array([[0.0, 1.0, 1e-40, 0.25]], dtype), Tensor(np.full((1, 4), 0.5, dtype), requires_grad=True)
    cross_entropy_cost(Tensor(a), y).backward()
    logarithm = [
        [max(math.log(x), -100) if x > 0 else -100 for x in row] for row in (a[0].tolist(), (1 - a[0]).tolist())
    ]
    expected = [of_rest - of_output for of_output, of_rest in zip(*logarithm, strict=True)]
    np.testing.assert_allclose(gradient(y)[0], expected, rtol=1e-6)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("logits", [[1e4, 0.0], [-1e4, 1e4], [-1e4, -1e4], [1e4, 1e4]])
@pytest.mark.parametrize("label", [0, 1])
def test_softmax_cross_entropy_of_huge_logits(dtype, logits, label):
    z = Tensor(np.array([logits], dtype), requires_grad=True)
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        loss = softmax_cross_entropy(z, np.array([label]))
        loss.backward()
    a, b = logits[label], logits[1 - label]
    assert loss.item() == pytest.approx(math.log(2) if a == b else max(b - a, 0.0), rel=1e-6)
    expected = [0.5, 0.5] if a == b else [float(v == max(a, b)) for v in logits]
    expected[label] -= 1
    assert gradient(z).tolist() == [expected]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("z", [-1e4, -1000.0, 0.0, 1000.0, 1e4])
def test_cross_entropy_of_saturated_outputs_is_finite(dtype, z):
    x = Tensor(np.array([[z, -z]], dtype), requires_grad=True)
    for label in (0, 1):
        x.zero_grad()
        with np.errstate(over="raise", invalid="raise", divide="raise"):
            loss = cross_entropy_cost(sigmoid(x), np.array([label]))
            loss.backward()
        assert np.isfinite(loss.data)
        assert loss.item() <= 200
        assert np.isfinite(gradient(x)).all()


def test_an_output_that_is_exactly_wrong_costs_100():
    assert cross_entropy_cost(Tensor([[1.0]]), np.array([[0.0]])).item() == 100
    assert cross_entropy_cost(Tensor([[0.0]]), np.array([[1.0]])).item() == 100
    assert cross_entropy_cost(Tensor([[0.0, 1.0]]), np.array([[0.0, 1.0]])).item() == 0


# ---- What is refused


@EACH_COST
@pytest.mark.parametrize(
    ("targets", "message"),
    [
        (np.zeros((3, 3)), r"outputs of shape \(2, 3\) need .*, got float64 of shape \(3, 3\)"),
        (np.zeros((2, 1)), r"got float64 of shape \(2, 1\)"),  # would broadcast, silently
        (np.zeros(3), r"integer labels of shape \(2,\), got float64 of shape \(3,\)"),
        (np.array([0.0, 1.0]), r"integer labels of shape \(2,\), got float64 of shape \(2,\)"),
        (np.array([0, 1, 2]), r"got int64 of shape \(3,\)"),
        (np.array([0, 3]), "3 outputs need labels from 0 to 2, got 0 to 3"),
        (np.array([-1, 0]), "3 outputs need labels from 0 to 2, got -1 to 0"),
    ],
)
def test_targets_that_do_not_match_are_named(cost, targets, message):
    with pytest.raises(ValueError, match=message) as caught:
        cost(Tensor(np.full((2, 3), 0.5)), targets)
    assert str(caught.value).startswith(cost.__name__)
    assert "\n" not in str(caught.value)


@EACH_COST
def test_labels_of_two_classes_for_one_output_are_refused(cost):
    # Of 0 and 1 the 0 would be the label of the only output, and so a target of 1, in a batch of zeros without a word.
    with pytest.raises(ValueError, match=r"outputs of shape \(2, 1\) .* have no classes to label.*\[:, None\]"):
        cost(Tensor(np.full((2, 1), 0.5)), np.array([0, 0]))
    assert np.isfinite(cost(Tensor(np.full((2, 1), 0.5)), np.array([[0], [0]])).item())


@EACH_COST
def test_targets_are_not_changed(cost):
    y = np.eye(3)[[0, 2]]
    kept = y.copy()
    x = Tensor(np.full((2, 3), 0.5), requires_grad=True)
    cost(x, y).backward()
    assert np.array_equal(y, kept)


@EACH_COST
def test_an_empty_batch_is_refused(cost):
    with pytest.raises(ValueError, match=f"{cost.__name__}: got a batch of 0 examples, which has no mean"):
        cost(Tensor(np.zeros((0, 3))), np.zeros((0, 3)))


def test_a_class_that_is_ruled_out_costs_nothing_and_gets_no_gradient():
    logits = Tensor([[0.0, -np.inf, 0.0]], requires_grad=True)
    loss = softmax_cross_entropy(logits, np.array([2]))
    loss.backward()
    assert loss.item() == pytest.approx(np.log(2))
    assert logits.grad is not None
    np.testing.assert_allclose(logits.grad.data, [[0.5, 0, -0.5]])


@pytest.mark.parametrize(
    "targets", [np.array([1.0, 0.0, 0.0], "f"), [1, 0, 0], 0, np.int64(0), Tensor([1.0, 0.0, 0.0])]
)
def test_logits_without_a_batch_are_one_example(targets):
    logits = Tensor(np.array([2.0, 1.0, 0.0]), requires_grad=True)
    cost = softmax_cross_entropy(logits, targets)
    assert round(cost.item(), 6) == 0.407606
    cost.backward()
    np.testing.assert_allclose(gradient(logits), [-0.334759, 0.244728, 0.090031], rtol=1e-5)


def test_logits_without_a_batch_refuse_what_does_not_fit():
    for targets in (3, np.array([1.0, 0.0], "f"), np.array([0, 1]), 1.5):
        with pytest.raises((ValueError, TypeError), match="softmax_cross_entropy"):
            softmax_cross_entropy(Tensor([2.0, 1.0, 0.0]), targets)
    with pytest.raises(TypeError, match="list of Tensors"):
        softmax_cross_entropy(Tensor([2.0, 1.0]), [Tensor(1.0), Tensor(0.0)])  # type: ignore[arg-type]


# ---- More axes than rows of classes

OF_CLASSES = pytest.mark.parametrize("cost", [cross_entropy, nll_loss], ids=lambda cost: cost.__name__)


@OF_CLASSES
@pytest.mark.parametrize(
    "targets", [np.eye(3, dtype="f")[[[0, 1, 2, 0, 1]] * 2], np.zeros((2, 5), int), np.zeros(2, int)]
)
def test_costs_of_rows_of_classes_refuse_more_axes(cost, targets):
    with pytest.raises(ValueError, match=rf"^{cost.__name__}: .*got shape \(2, 5, 3\); .*reshape\(-1, 3\)"):
        cost(Tensor(np.zeros((2, 5, 3))), targets)


def test_their_remedy_is_the_mean_over_all_places():
    rng = np.random.default_rng(0)
    logits, labels = rng.standard_normal((2, 5, 3)), rng.integers(0, 3, (2, 5))
    terms = [math.log(sum(math.exp(z) for z in row)) - row[y]
             for row, y in zip(logits.reshape(-1, 3).tolist(), labels.ravel().tolist(), strict=True)]  # fmt: skip
    rows = Tensor(logits).reshape(-1, 3)
    assert cross_entropy(rows, labels.ravel()).item() == pytest.approx(math.fsum(terms) / 10, rel=1e-12)
    assert nll_loss(rows.log_softmax(), labels.ravel()).item() == pytest.approx(math.fsum(terms) / 10, rel=1e-12)
    of_examples = softmax_cross_entropy(Tensor(logits), np.eye(3)[labels])
    assert of_examples.item() == pytest.approx(math.fsum(terms) / 2, rel=1e-12)


@OF_CLASSES
@pytest.mark.parametrize("targets", [1, np.int64(1), [0, 1, 0], np.array([0.0, 1.0, 0.0])])
def test_a_row_alone_is_one_example(cost, targets):
    logarithms = np.log([0.25, 0.5, 0.25])
    assert cost(Tensor(logarithms), targets).item() == pytest.approx(math.log(2), rel=1e-12)


@EACH_COST
def test_labels_for_more_axes_name_the_remedy(cost):
    for labels in (np.zeros(2, int), np.zeros((2, 5), int)):
        with pytest.raises(ValueError, match=r"need targets of that shape, got .*reshape\(-1, 3\)") as caught:
            cost(Tensor(np.full((2, 5, 3), 0.5)), labels)
        assert "labels of shape" not in str(caught.value)


@pytest.mark.parametrize("cost", [*COSTS, cross_entropy, nll_loss, mse_loss])
def test_one_number_is_no_batch(cost):
    with pytest.raises(ValueError, match=r"outputs of shape \(\) are no batch .*reshape\(1, -1\)"):
        cost(Tensor(np.array(0.5)), np.array(0.5))
