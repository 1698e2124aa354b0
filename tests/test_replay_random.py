"""Random numbers are drawn anew at each call of a compiled step, from the generators that the step draws from."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tinygrad_mnist as tg
from tinygrad_mnist import OPS, Tensor, grad, nn, optim
from tinygrad_mnist.replay import compile

from .helpers import batch, bits, compiles, network, training_step

F = np.float32


def test_dropout_draws_anew_at_each_call() -> None:
    def train(wrap: Callable[..., Any]) -> Any:
        model = network(dropout=0.5)
        step = wrap(training_step(model, optim.SGD(model.parameters(), lr=0.5)))
        return [bits(step(*map(Tensor, batch(4)))) for _ in range(6)], bits(model.parameters())

    assert train(compile) == train(lambda step: step)


def test_an_op_that_draws_is_replayed() -> None:
    noise = tg.unary("noise", lambda x, rng: rng.standard_normal(x.shape).astype(x.dtype), None, domain=None)
    try:

        def draw(wrap: Callable[..., Any]) -> Any:
            rng = np.random.default_rng(0)
            step = wrap(lambda x: (noise(x, rng=rng), x * 2)[1] + noise(x, rng=rng))
            return [bits(step(Tensor(np.ones(5, F)))) for _ in range(6)]

        assert draw(compile) == draw(lambda step: step)
        rng = np.random.default_rng(0)
        step = compile(lambda x: x + noise(x, rng=rng))
        for _ in range(3):
            step(np.ones(3, F))
        assert compiles(step)
    finally:
        del OPS["noise"]


@pytest.mark.parametrize("by", ["parameter", "name"])
@pytest.mark.parametrize("make", [np.random.default_rng, np.random.RandomState, random.Random])
def test_an_op_may_draw_from_any_generator(make: Any, by: str, table: Any) -> None:
    def course(wrap: Callable[..., Any]) -> Any:
        chance = make(3)
        if by == "parameter":
            noisy: Any = tg.unary("noisy_test", lambda x, rng: x * _drawn(rng), lambda g, out, x, rng: g)
            run = wrap(lambda x: noisy(x, rng=chance))
        else:
            noisy = tg.unary("noisy_test", lambda x: x * _drawn(chance), lambda g, out, x: g)
            run = wrap(lambda x: noisy(x) + 0 * noisy(x))  # the second of which is computed too
        return [bits(run(Tensor(np.ones(2, F)))) for _ in range(10)], getattr(run, "replays", 6)

    assert course(compile) == course(lambda step: step)


def _drawn(rng: Any) -> Any:
    return np.float32(rng.normal(0, 1) if isinstance(rng, np.random.RandomState) else rng.random())


def test_random_ops_of_constants_are_drawn_at_each_call(table: Any) -> None:
    noise = tg.unary("noise_in_a_test", lambda x, rng: x + rng.random(x.shape).astype(F), None, domain=None)

    def course(wrap: Callable[..., Any]) -> Any:
        rng, w = np.random.default_rng(0), Tensor([1.0, 2.0], requires_grad=True)
        # The gradient that a backward pass begins with is a constant of the program.
        step = wrap(lambda: noise(grad(w.sum() * 2, w), rng=rng))
        return [bits(step()) for _ in range(8)], step

    found, step = course(compile)
    assert found == course(lambda step: step)[0]
    assert step.replays > 3


@pytest.mark.parametrize("source", ["generator", "numpy", "python"])
def test_random_numbers_drawn_by_the_step_make_it_run_eagerly(source: str, said: pytest.LogCaptureFixture) -> None:
    import random

    rng = np.random.default_rng(0)
    draws: dict[str, Callable[[], float]] = {"numpy": np.random.random, "python": random.random}
    draw = draws.get(source, rng.random)

    def step(x: Any) -> Any:
        return x * 2 if draw() < 0.5 else x * 3

    if source == "generator":

        def step(x: Any) -> Any:
            return x * 2 if rng.random() < 0.5 else x * 3

    compiled = compile(step)
    results = {compiled(np.ones(1, F)).item() for _ in range(40)}
    assert results == {2.0, 3.0}
    assert len(said.messages) == 1
    assert "draws random numbers" in said.messages[0]


def test_a_choice_by_the_generator_that_dropout_draws_from_is_made_at_each_call() -> None:
    def course(wrap: Callable[..., Any]) -> Any:
        rng = np.random.default_rng(0)
        dropout = nn.Dropout(0.5, rng=rng)
        step = wrap(lambda x: dropout(x) * (2 if rng.random() < 0.5 else 3))
        return [bits(step(Tensor(np.ones(3, F)))) for _ in range(40)]

    assert course(compile) == course(lambda step: step)


@pytest.mark.parametrize("make", [np.random.RandomState, np.random.default_rng])
def test_a_choice_by_a_generator_that_the_step_names_is_made_at_each_call(make: Any) -> None:
    def course(wrap: Callable[..., Any]) -> Any:
        rng = make(0)
        step = wrap(lambda x: x * (2 if rng.uniform() < 0.8 else 3))
        return [bits(step(Tensor(np.ones(3, F)))) for _ in range(40)]

    assert course(compile) == course(lambda step: step)
