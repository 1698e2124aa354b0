"""replay/many.py: many steps in one call of C have the bits of as many calls, and say so where they do not fit."""

from __future__ import annotations

import itertools
import re
from typing import Any

import numpy as np
import pytest

from tinygrad_mnist import Tensor, compile, nn, ops, optim, relu
from tinygrad_mnist.losses import quadratic_cost
from tinygrad_mnist.nn import Dropout
from tinygrad_mnist.optim import SGD

F = np.float32
RNG = np.random.default_rng(3)
IMAGES, LABELS, ROWS = RNG.random((64, 12), dtype=F), RNG.integers(0, 4, 64), np.eye(4, dtype=F)


def training(optimizer: Any, *between: Any, backend: str = "c") -> tuple[Any, nn.Module]:
    rng = np.random.default_rng(0)
    network = nn.Sequential(nn.Linear(12, 8, rng=rng), *between, ops.sigmoid, nn.Linear(8, 4, rng=rng), ops.sigmoid)
    chosen = optimizer(network.parameters())

    def step(images: Tensor, targets: Tensor) -> Tensor:
        cost = quadratic_cost(network(images), targets)
        chosen.zero_grad()
        cost.backward()
        chosen.step()
        return cost

    return compile(step, backend=backend, audit=50), network


def arguments(n: int = 333) -> tuple[Any, Any]:
    order = np.random.default_rng(1).integers(0, 64, n)
    return (IMAGES, order), (ROWS, LABELS[order])


def one_by_one(step: Any, parts: Any, size: int) -> list[Any]:
    (images, order), (rows, labels) = parts
    starts = range(0, len(order), size)
    return [step(images[order[i : i + size]], rows[labels[i : i + size]]).numpy() for i in starts]


def same_bits(a: nn.Module, b: nn.Module) -> bool:
    return all(p.data.tobytes() == q.data.tobytes() for p, q in zip(a.parameters(), b.parameters(), strict=True))


OPTIMIZERS: dict[str, Any] = {
    "SGD": lambda p: SGD(p, lr=0.5),
    "decay": lambda p: SGD(p, lr=0.5, weight_decay=0.01),
    "Momentum": lambda p: optim.Momentum(p, lr=0.1),
    "Nesterov": lambda p: optim.Nesterov(p, lr=0.1, momentum=0.5),
}


@pytest.mark.parametrize("backend", ["c", "numpy", "eager"])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_epoch_has_the_bits_of_its_steps(name: str, backend: str) -> None:
    parts = arguments()
    (step, one), (other, two) = (training(OPTIMIZERS[name], backend=backend) for _ in range(2))
    for _ in range(2):
        pieces = list(step.epoch(*parts, batch_size=5))
        assert np.concatenate(pieces).tobytes() == np.array(one_by_one(other, parts, 5)).tobytes()
    assert same_bits(one, two)
    assert (step.calls, step.replays, step.audits) == (other.calls, other.replays, other.audits)
    assert step.calls == 2 * 67
    assert (max(map(len, pieces)) > 8) == (backend == "c")  # in C there were fewer calls
    assert backend != "c" or step.audits > 5


def test_it_ends_after_a_cost_that_is_not_finite() -> None:
    step, _ = training(OPTIMIZERS["SGD"])
    parts = arguments(200)
    list(step.epoch(*parts, batch_size=2))
    images = IMAGES.copy()
    images[parts[0][1][90]] = np.nan
    (_, order), targets = parts
    calls = step.calls
    costs = np.concatenate(list(step.epoch((images, order), targets, batch_size=2)))
    first = np.flatnonzero(order == order[90])[0] // 2
    assert np.isfinite(costs[:-1]).all()
    assert not np.isfinite(costs[-1])
    assert len(costs) == first + 1 == step.calls - calls


def test_a_step_that_is_not_one_piece_of_c_is_called_each_time() -> None:
    rng = np.random.default_rng(5)
    step, _ = training(OPTIMIZERS["SGD"], Dropout(0.5, rng=rng))
    pieces = list(step.epoch(*arguments(100), batch_size=5))
    assert list(map(len, pieces)) == [1] * 20
    assert step.replays > 10
    step, _ = training(OPTIMIZERS["SGD"])
    (images, order), targets = arguments(100)
    assert {len(p) for p in step.epoch((images.T.copy().T, order), targets, batch_size=5)} == {1}  # columns, not rows


def linear(backend: str) -> tuple[Any, Any]:
    layer = nn.Linear(12, 4, rng=np.random.default_rng(0))
    optimizer = SGD(layer.parameters(), lr=0.5)

    def step(images: Tensor, targets: Tensor) -> Tensor:
        cost = quadratic_cost(ops.sigmoid(layer(images)), targets)
        optimizer.zero_grad()
        cost.backward()
        optimizer.step()
        return cost

    return compile(step, backend=backend), optimizer


def test_what_changes_between_two_pieces_counts() -> None:
    parts = arguments(400)
    step, optimizer = linear("c")
    pieces = []
    for piece in step.epoch(*parts, batch_size=5):
        pieces.append(piece)
        optimizer.groups[0]["lr"] *= 0.9
    assert max(map(len, pieces)) > 8
    single, optimizer = linear("c")
    (images, order), (rows, labels) = parts
    at = 0
    for piece in pieces:
        for cost in piece:
            assert single(images[order[at : at + 5]], rows[labels[at : at + 5]]).item() == cost
            at += 5
        optimizer.groups[0]["lr"] *= 0.9
    assert at == 400


@pytest.mark.parametrize(
    ("parts", "size", "error", "message"),
    [
        ((), 2, TypeError, r"epoch: expected pairs of an array and its rows, as \(images, order\), got \(\)"),
        ((IMAGES,), 2, TypeError, "epoch: expected pairs of an array and its rows"),
        (((IMAGES, [0, 64]),), 2, IndexError, "epoch: argument 0: expected rows from 0 to 63, got 0 to 64"),
        (((IMAGES, [-1, 3]),), 2, IndexError, "epoch: argument 0: expected rows from 0 to 63, got -1 to 3"),
        (((3.0, [0]),), 2, TypeError, "epoch: argument 0: expected an array of rows, got the number 3.0"),
        (((IMAGES, [0.5]),), 2, TypeError, "epoch: argument 0: expected whole numbers of rows"),
        (((IMAGES, [0]), (ROWS, [1, 2])), 2, ValueError, "epoch: expected as many rows of each, got 1, 2"),
        (((IMAGES, [0]),), 0, ValueError, "epoch: expected a whole number batch_size >= 1, got 0"),
        (((IMAGES, [0]),), 2.0, ValueError, "epoch: expected a whole number batch_size >= 1, got 2.0"),
    ],
)
def test_wrong_arguments_are_refused_before_anything_is_done(parts: Any, size: Any, error: Any, message: str) -> None:
    with pytest.raises(error, match=message) as caught:
        compile(lambda x: x.sum(), backend="c").epoch(*parts, batch_size=size)
    assert "\n" not in str(caught.value)


def test_a_step_returns_its_cost() -> None:
    with pytest.raises(TypeError, match=re.escape("epoch: expected a step that returns its cost, one number in a")):
        next(compile(lambda x: relu(x)).epoch((IMAGES, [0, 1]), batch_size=1))


def test_no_rows_are_no_steps() -> None:
    assert list(compile(lambda x: x.sum()).epoch((IMAGES, np.arange(0)), batch_size=1)) == []


def test_rounding_in_a_deep_network_is_not_taken_for_a_difference(caplog: pytest.LogCaptureFixture) -> None:
    rng = np.random.default_rng(0)
    sizes = [12, *(6 + i for i in range(7)), 4]
    layers: list[Any] = []
    for a, b in itertools.pairwise(sizes):
        layers += [nn.Linear(a, b, rng=rng), ops.sigmoid]
    network = nn.Sequential(*layers)
    optimizer = optim.Momentum(network.parameters(), lr=0.5, momentum=0.5)

    @compile(backend="c", audit=2)
    def step(images: Tensor, targets: Tensor) -> Tensor:
        cost = quadratic_cost(network(images), targets)
        optimizer.zero_grad()
        cost.backward()
        optimizer.step()
        return cost

    for _ in range(400):  # by then gradients are rounding for the most part
        step(IMAGES[:10], ROWS[LABELS[:10]])
    assert not caplog.records
    assert step.audits > 190
    assert "void piece(" in step.source
