"""A compiled step among all else that runs: its arguments, exceptions, threads, other compiled steps, who watches."""

from __future__ import annotations

import contextlib
import threading
from typing import Any, NamedTuple

import numpy as np
import pytest

import tinygrad_mnist as tg
from tinygrad_mnist import Tensor, nn, visualize
from tinygrad_mnist.replay import compile

from .helpers import batch, bits, compiles, network

F = np.float32


def test_keyword_only_arguments_are_arguments_like_others() -> None:
    step = compile(lambda x, *, k, scale=2.0: x * k * scale)
    for n in range(6):
        x, k = np.ones(2, F), np.full(2, n, F)
        assert bits(step(x, k=k)) == bits(np.full(2, 2 * n, F))
        assert bits(step(scale=3.0, k=k, x=x)) == bits(np.full(2, 3 * n, F))
    assert step.replays > 4
    with pytest.raises(TypeError, match="missing 1 required keyword-only argument"):
        step(np.ones(2, F))


class Pair(NamedTuple):
    x: Any
    y: Any


def test_batches_and_results_may_be_named_tuples(said: pytest.LogCaptureFixture) -> None:
    def step(batch: Pair) -> Any:
        assert type(batch) is Pair
        return Pair(batch.x * 2, {"sum": [batch.x + batch.y[0]], "none": ()})

    compiled = compile(step)
    for k in range(8):
        x, y = np.full(2, k, F), np.ones(2, F)
        result = compiled(Pair(x, (y,)))
        assert type(result) is Pair
        assert bits(result.x) == bits(x * 2)
        assert bits(result.y["sum"][0]) == bits(x + y)
        assert result.y["none"] == ()
    assert compiled.replays == 8 - 1 - compiled.audits
    assert not said.records


def test_many_shapes_in_turn_are_replayed() -> None:
    compiled = compile(lambda x: x * 2)
    for k in range(160):
        n = 1 + k % 40
        assert bits(compiled(np.ones(n, F))) == bits(np.full(n, 2, F))
    assert compiled.replays == 40


def test_exceptions_leave_everything_as_it_was() -> None:
    fail = True

    def step(x: Any) -> Any:
        y = x * 2
        if fail:
            raise ArithmeticError("no")
        return y

    compiled = compile(step)
    for _ in range(3):
        with pytest.raises(ArithmeticError):
            compiled(np.ones(1, F))
    assert tg.mode.mode.observer is None
    fail = False
    for _ in range(3):
        assert compiled(np.ones(1, F)).item() == 2
    with pytest.raises(ValueError, match="do not broadcast"):
        compile(lambda x: x * np.ones(2, F))(np.ones(3, F))
    with pytest.raises(TypeError, match="expected a function"):
        compile(3)  # type: ignore[arg-type]


def test_calls_that_raise_are_not_counted() -> None:
    compiled = compile(lambda x: 1 / x)
    for k in range(12):
        with np.errstate(divide="raise"), contextlib.suppress(FloatingPointError):
            compiled(np.full(3, k % 3, F))
    assert compiled.calls == 8


def test_a_step_handles_floating_point_errors_as_its_caller_does(said: pytest.LogCaptureFixture) -> None:
    step = compile(lambda x: tg.exp(x * 1000))
    for k in range(12):
        with np.errstate(over="ignore" if k % 2 else "raise"):
            if k % 2:
                assert np.isinf(step(np.ones(2, F))._array).all()
            else:
                with pytest.raises(FloatingPointError):
                    step(np.ones(2, F))
    assert step.replays > 2
    assert not said.records


def test_threads_wait_for_each_other() -> None:
    model = network()
    step = compile(lambda x: model(x))
    wrong: list[int] = []

    def work(k: int) -> None:
        x, _ = batch(50, seed=k)
        expected = bits(model(Tensor(x)))
        wrong.extend(k for _ in range(100) if bits(step(x)) != expected)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_a_compiled_function_in_a_compiled_step() -> None:
    model = network()
    inner = compile(lambda x: model(x))
    outer = compile(lambda x: inner(x).sum())
    x, _ = batch(4)
    for _ in range(3):
        inner(x)
        assert bits(outer(x)) == bits(model(Tensor(x)).sum())
    assert compiles(outer)


def test_a_module_made_in_the_step_is_no_change_of_one() -> None:
    step = compile(lambda x: nn.MaxPool2d(2)(x) * 2)
    for k in range(5):
        x = np.random.default_rng(k).random((1, 1, 4, 4), dtype=F)
        assert bits(step(x)) == bits(tg.max_pool2d(Tensor(x), size=2) * 2)
    assert step.replays > 1


def test_an_observer_sees_every_op() -> None:
    step = compile(lambda x: x.log())
    for _ in range(3):
        step(np.ones(2, F))
    with pytest.raises(FloatingPointError, match="log gave"), visualize.detect_anomaly():
        step(np.zeros(2, F))
    assert step(np.ones(2, F)).sum().item() == 0
