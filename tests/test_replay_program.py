"""What the program of a compiled step says and computes, which memory it uses, and what it keeps alive."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import numpy as np
import pytest

import tinygrad_mnist as tg
from tinygrad_mnist import Tensor, losses, optim
from tinygrad_mnist.replay import compile

from .helpers import batch, bits, compiles, network, training_step

F = np.float32


def test_source_reads_like_backpropagation_written_by_hand() -> None:
    model = network()
    optimizer = optim.SGD(model.parameters(), lr=0.5)

    def train(x: Any, y: Any) -> Any:
        loss = losses.quadratic_cost(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    step = compile(train)
    for _ in range(3):
        step(*batch(4))
    source = step.source
    assert "# gradient of test_replay_program.py:" in source
    assert "loss = losses.quadratic_cost(model(x), y)" in source
    assert "add.reduce(d_linear, axis=0, out=d_layers_0_bias" in source
    assert "forward_" not in source  # the ops of such a network all have a form that writes into given memory
    assert "subtract(layers_0_weight, lr_d_layers_0_weight, out=layers_0_weight)" in source
    assert max(map(len, source.splitlines())) < 200


def test_what_nothing_reads_is_not_computed() -> None:
    def step(x: Any) -> Any:
        tg.exp(x).sum()
        return x * 2

    compiled = compile(step)
    for _ in range(3):
        assert bits(compiled(np.ones(3, F))) == bits(np.full(3, 2, F))
    assert "exp" not in compiled.source


def test_equal_constants_made_anew_are_constants() -> None:
    compiled = compile(lambda x: x @ np.eye(3, dtype=F) + Tensor([1.0, 2.0, 3.0]))
    for _ in range(4):
        assert bits(compiled(np.ones((1, 3), F))) == bits(np.array([[2, 3, 4]], F))
    assert compiles(compiled)


def test_memory_is_used_again() -> None:
    def step(x: Any) -> Any:
        for _ in range(50):
            x = tg.tanh(x) @ x
        return x.sum()

    compiled = compile(step)
    for _ in range(3):
        compiled(np.full((5, 5), 0.1, F))
    assert sum(line.startswith("#   100 bytes for") for line in compiled.source.splitlines()) <= 3


def test_results_kept_by_the_caller_are_not_overwritten() -> None:
    model = network()

    def step(x: Any) -> Any:
        out = model(x)
        return {"out": out, "view": out.T, "row": out[0], "both": [out, out * 2], "x": x, "none": None}

    compiled = compile(step)
    kept, expected = [], []
    for k in range(6):
        x, _ = batch(4, seed=k)
        result = compiled(x)
        kept.append(list(map(result.get, ("out", "view", "row", "x"))))
        expected.append(bits(step(Tensor(x))["out"]))
        assert not result["out"].requires_grad
        assert result["none"] is None
    assert compiles(compiled)
    for k, (out, view, row, x) in enumerate(kept):
        assert bits(out) == expected[k]
        assert bits(view) == bits(out.T)
        assert bits(row) == bits(out[0])
        assert bits(x) == bits(batch(4, seed=k)[0])


def test_a_parameter_that_is_returned_is_the_parameter() -> None:
    w = Tensor([1.0], requires_grad=True)
    compiled = compile(lambda x: (w, x * w))
    for _ in range(4):
        result = compiled(np.ones(1, F))
        assert result[0] is w


def test_what_is_detached_is_returned_detached() -> None:
    w = Tensor([1.0, 2.0], requires_grad=True)
    c = Tensor([3.0])
    step = compile(lambda x: (w.detach(), w, w.T, c, c.detach(), x))
    given = Tensor([1.0])
    for _ in range(6):
        detached, itself, view, constant, other, argument = step(given)
        assert itself is w
        assert constant is c
        assert detached is not w
        assert other is not c
        assert not detached.requires_grad
        assert not view.requires_grad
        assert np.shares_memory(detached._array, w._array)
        loss = (detached * Tensor([1.0, 1.0], requires_grad=True)).sum()
        w.data = w.data + 0
        w._array += 1
        tg.tensor.last_change(w)[0] = tg.tensor.tick()
        with pytest.raises(RuntimeError, match="was changed in place"):
            loss.backward()
        assert bits(argument) == bits(given)
    assert step.replays == 3


def test_the_time_to_compile_grows_with_the_number_of_parameters_and_not_with_their_values() -> None:
    parameters = [Tensor(np.ones((50, 50), F), requires_grad=True) for _ in range(60)]
    optimizer = optim.Momentum(parameters, lr=0.1)
    texts = []

    def step() -> None:
        optimizer.zero_grad()
        tg.sum(tg.stack([(p * p).sum() for p in parameters])).backward()
        optimizer.step()

    compiled = compile(step)
    shown = Tensor.__repr__
    Tensor.__repr__ = lambda self: (texts.append(1), shown(self))[1]  # type: ignore[method-assign, func-returns-value]
    try:
        for _ in range(5):
            compiled()
    finally:
        Tensor.__repr__ = shown  # type: ignore[method-assign]
    assert compiles(compiled)
    assert not texts


def test_programs_do_not_keep_recordings_alive() -> None:
    import weakref

    model = network()
    step = compile(training_step(model, optim.SGD(model.parameters(), lr=0.5)))
    array = batch(4)
    for _ in range(3):
        step(*array)
    watch = weakref.ref(model.parameters()[0])
    del model, step
    gc.collect()
    assert watch() is None


def test_a_program_keeps_no_velocity_of_its_recording() -> None:
    model = network()
    optimizer = optim.Momentum(model.parameters(), lr=0.1)
    compiled = compile(training_step(model, optimizer))
    compiled(*batch(4))
    kept = [weakref.ref(optimizer.state[p]["velocity"]) for p in model.parameters()]
    for _ in range(4):
        compiled(*batch(4))
    gc.collect()
    assert compiled.replays == 1
    assert not any(array() is not None for array in kept)


def test_a_step_that_runs_eagerly_keeps_nothing_of_its_recording() -> None:
    def step(x: Any) -> float:
        between = x * 2
        made.append(weakref.ref(between))
        return float(between.sum().item())

    made: list[Any] = []
    compiled = compile(step)
    assert compiled(np.ones(3, F)) == 6
    gc.collect()
    assert made[0]() is None


def test_recordings_leave_no_tensors_behind() -> None:
    w = Tensor(np.ones((4, 3), F), requires_grad=True)
    optimizer = optim.SGD([w], lr=0.1)

    def compiled() -> None:
        step = compile(training_step(lambda x: (x @ w).sum(0) + (x @ w).mean(0), optimizer))
        for _ in range(5):
            step(np.ones((2, 4), F), np.ones(3, F))
        assert step.replays > 0

    def alive() -> int:
        gc.collect()
        return sum(isinstance(x, Tensor) for x in gc.get_objects())

    compiled()
    before = alive()
    for _ in range(5):
        compiled()
    assert alive() <= before
