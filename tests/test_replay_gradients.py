"""Gradients before, in and after a compiled step: none is lost, and none is left behind."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tinygrad_mnist as tg
from tinygrad_mnist import Tensor, grad, losses, optim
from tinygrad_mnist.replay import compile

from .helpers import batch, bits, compiles, network, training_step

F = np.float32


def test_gradients_are_none_after_a_compiled_step() -> None:
    model = network()
    optimizer = optim.SGD(model.parameters(), lr=0.5)
    compiled = compile(training_step(model, optimizer))
    for _ in range(4):
        compiled(*batch(4))
        assert all(p.grad is None for p in model.parameters())
    compiles(compiled)


def test_gradients_from_before_the_step_count() -> None:
    def train(wrap: Callable[..., Any], zero: bool) -> Any:
        w = Tensor([1.0, 2.0], requires_grad=True)
        optimizer = optim.SGD([w], lr=0.5)

        def step(x: Any) -> None:
            if zero:
                optimizer.zero_grad()
            (w * x).sum().backward()
            optimizer.step()

        step, results = wrap(step), []
        for k in range(8):
            if k % 3 == 0:
                w.grad = Tensor([5.0, 6.0])
            else:
                w.grad = None
            step(np.full(2, k, F) if wrap is compile else Tensor(np.full(2, k, F)))
            results.append(bits(w))
        return results

    for zero in (True, False):
        assert train(compile, zero) == train(lambda step: step, zero)


def test_gradients_left_behind_make_the_step_run_eagerly(said: pytest.LogCaptureFixture) -> None:
    w = Tensor([1.0], requires_grad=True)
    compiled = compile(lambda x: (w * x).sum().backward())
    for k in range(4):
        compiled(np.ones(1, F))
        assert w.grad is not None
        assert w.grad.item() == k + 1
    assert "leaves gradients behind" in said.messages[0]


def test_an_argument_that_gets_a_gradient(said: pytest.LogCaptureFixture) -> None:
    step = compile(lambda x: (x * x).sum().backward())
    x = Tensor([3.0], requires_grad=True)
    for k in range(4):
        step(x)
        assert x.grad is not None
        assert x.grad.item() == 6.0 * (k + 1)
    assert "argument" in said.messages[0] or "before the step" in said.messages[0]


def test_a_gradient_left_in_what_the_step_makes_is_nobodys() -> None:
    def course(wrap: Callable[..., Any]) -> Any:
        model = network(sizes=(20, 8, 1))
        optimizer = optim.SGD(model.parameters(), lr=0.1)

        def step(x: Any) -> Any:
            at = Tensor(x, requires_grad=True)
            slope = grad(model(at).sum(), at, create_graph=True)
            penalty = ((slope * slope).sum() - 1) ** 2
            optimizer.zero_grad()
            penalty.backward()
            optimizer.step()
            return penalty

        run = wrap(step)
        found = [bits(run(Tensor(batch(4, seed)[0]))) for seed in range(10)]
        return found, bits(model.parameters()), getattr(run, "replays", 6)

    assert course(compile) == course(lambda step: step)


def test_a_step_that_leaves_gradients_behind_does_so_where_velocities_begin(said: pytest.LogCaptureFixture) -> None:
    def course(wrap: Callable[..., Any]) -> Any:
        model, other = network(sizes=(20, 10)), network(sizes=(10, 10))
        optimizer = optim.Momentum(model.parameters(), lr=0.1)
        run = wrap(training_step(lambda x: other(model(x)), optimizer))
        found = []
        for seed in range(4):
            run(*map(Tensor, batch(4, seed)))
            found.append([bits(p.grad) for p in (*model.parameters(), *other.parameters())])
        return found

    assert course(compile) == course(lambda step: step)
    assert "leaves gradients behind" in said.messages[0]


def test_gradients_can_be_clipped_in_the_step() -> None:
    def train(wrap: Callable[..., Any]) -> Any:
        model = network()
        optimizer = optim.SGD(model.parameters(), lr=0.5)

        def step(x: Any, y: Any) -> None:
            optimizer.zero_grad()
            losses.quadratic_cost(model(x), y).backward()
            for p in model.parameters():
                assert p.grad is not None
                p.grad = tg.clip(p.grad, -0.01, 0.01)
            optimizer.step()

        step = wrap(step)
        for k in range(5):
            step(*map(Tensor, batch(4, k)))
        return bits(model.parameters()), compiles(step) if wrap is compile else True

    assert train(compile) == train(lambda step: step)


def test_a_change_in_place_is_noticed_by_a_later_backward_pass() -> None:
    model = network()
    step = compile(training_step(model, optim.SGD(model.parameters(), lr=0.5)))
    for _ in range(3):
        step(*batch(4))
    x, y = batch(4)
    loss = losses.quadratic_cost(model(Tensor(x)), y)
    step(x, y)
    with pytest.raises(RuntimeError, match="was changed in place"):
        loss.backward()


def test_gradients_from_a_look_cost_a_step_that_clears_them_nothing() -> None:
    def course(wrap: Callable[..., Any], look: bool) -> Any:
        model = network()
        step = wrap(training_step(model, optim.SGD(model.parameters(), lr=0.5)))
        for k in range(12):
            if look and k > 4:
                losses.quadratic_cost(model(Tensor(batch(4)[0])), batch(4)[1]).backward()
            step(*map(Tensor, batch(4, k)))
        return bits(model.parameters()), step

    looked, step = course(compile, True)
    assert looked == course(lambda step: step, True)[0] == course(compile, False)[0]
    assert step.replays == 12 - 1 - step.audits
    bound = step._variants[0].binding
    model = network()
    assert step._last is bound.replay
    assert model.parameters()[0].grad is None


def test_a_step_that_clears_its_gradients_last_runs_itself_where_there_are_some_from_before() -> None:
    def course(wrap: Callable[..., Any]) -> Any:
        w = Tensor([1.0, 2.0], requires_grad=True)
        optimizer = optim.SGD([w], lr=0.1)

        def step(x: Any) -> None:
            (w * w * x).sum().backward()
            optimizer.step()
            optimizer.zero_grad()

        step, seen = wrap(step), []
        for k in range(14):
            if k % 5 == 4:
                (w * w).sum().backward()
            step(Tensor([1.0, 1.0]))
            seen.append(bits(w))
            assert w.grad is None
        return seen, step

    found, step = course(compile)
    assert found == course(lambda step: step)[0]
    assert step.replays == 14 - 1 - step.audits - 2
    assert len(step._variants) == 1
