"""What changes between the calls of a compiled step is that of the call, or makes another program."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tinygrad_mnist as tg
from tinygrad_mnist import Tensor, nn, no_grad, optim
from tinygrad_mnist.replay import compile

from .helpers import batch, bits, compiles, network, training_step

F = np.float32


def test_parameters_assigned_replaced_and_loaded_between_calls() -> None:
    model = network()
    first: Any = model.layers[0]
    step = compile(lambda x: model(x))
    x, _ = batch(4)

    def check() -> None:
        for _ in range(3):
            assert bits(step(x)) == bits(model(Tensor(x)))

    check()
    first.weight.data = first.weight.data * 2
    check()
    first.weight.data -= 1
    check()
    first.weight.data = np.asfortranarray(first.weight.data)
    check()
    first.weight = Tensor(np.zeros((20, 15), F), requires_grad=True)
    check()
    model.layers[0] = nn.Linear(20, 15, rng=np.random.default_rng(3))
    check()
    model.load_state_dict(network(9).state_dict())
    check()
    model.layers.append(tg.exp)
    check()


def test_frozen_parameters_and_groups_are_noticed() -> None:
    def train(wrap: Callable[..., Any]) -> Any:
        model = network()
        parameters = model.parameters()
        optimizer = optim.SGD(parameters[:2], lr=0.5)
        step = wrap(training_step(model, optimizer))
        for k in range(12):
            if k == 3:
                parameters[0].requires_grad = False
            if k == 6:
                parameters[0].requires_grad = True
                optimizer.add_group({"params": parameters[2:], "weight_decay": 0.0})
            if k == 9:
                optimizer.groups[1]["weight_decay"] = 0.1
            step(*map(Tensor, batch(4, k)))
        return bits(parameters)

    assert train(compile) == train(lambda step: step)


def test_numbers_as_arguments_have_programs_of_their_own() -> None:
    step = compile(lambda x, scale, double=False: x * scale * (2 if double else 1))
    x = np.ones(3, F)
    for _ in range(3):
        for scale in (1.0, 2.0):
            assert bits(step(x, scale)) == bits(x * F(scale))
            assert bits(step(x, scale, double=True)) == bits(x * F(2 * scale))


def test_arguments_of_another_dtype_make_another_program() -> None:
    step = compile(lambda x: x / 3)
    for k in range(6):
        for dtype in (F, np.float64, np.int32, np.float16):
            x = np.arange(4).astype(dtype) + k
            assert bits(step(x)) == bits(Tensor(x) / 3)
    assert step.source.count("def step(") == 4
    assert step.replays > 4


def test_an_array_outside_is_read_at_each_call() -> None:
    table = np.arange(4, dtype=F)
    whole = Tensor(np.arange(4, dtype=F))
    step = compile(lambda x: x * table[1:3] + table[:2] + whole[2:])
    x = np.ones(2, F)
    for k in range(5):
        assert bits(step(x)) == bits(x * table[1:3] + table[:2] + whole._array[2:])
        table += k
        whole.data += 1


def test_a_parameter_of_an_op_that_is_an_array_is_that_of_the_call(table: Any) -> None:
    shifted = tg.unary("shifted_in_a_test", lambda x, by: x + by, lambda g, out, x, by: g)
    by = np.ones(3, F)

    def step(x: Any) -> Any:
        result = shifted(x, by=by)
        by[...] = 5  # after it was used
        return result

    compiled = compile(step)
    for _ in range(6):
        by[...] = 1
        assert bits(compiled(np.zeros(3, F))) == bits(np.ones(3, F))


def test_detached_and_wrapped_tensors_follow_their_source() -> None:
    w = Tensor([1.0, 2.0], requires_grad=True)
    c = Tensor([3.0, 4.0])
    step = compile(lambda x: x * w.detach() + Tensor(c))
    x = np.ones(2, F)
    for k in range(5):
        assert bits(step(x)) == bits(x * w._array + c._array)
        w.data = w.data * 2 if k % 2 else np.array([k, k], F)
        c.data = c.data + 1
    assert compiles(step)


def test_evaluation_and_training_are_kept_apart(said: pytest.LogCaptureFixture) -> None:
    model = network(dropout=0.5)
    step = compile(lambda x: model(x))
    x, _ = batch(4)
    model.eval()
    for _ in range(3):
        assert bits(step(x)) == bits(model(Tensor(x)))
    model.train()
    drawn = {bits(step(x))[2] for _ in range(6)}
    assert len(drawn) == 6
    model.eval()
    assert bits(step(x)) == bits(model(Tensor(x)))


def test_no_grad_around_the_call() -> None:
    w = Tensor([3.0], requires_grad=True)
    step = compile(lambda x: (x * w).sum())
    for _ in range(3):
        with no_grad():
            assert step(np.ones(1, F)).item() == 3
        assert step(np.ones(1, F)).item() == 3


def test_gradient_mode_makes_another_program() -> None:
    """What no_grad() keeps from recording is no part of a program with gradients, and the other way round."""
    w = Tensor([3.0], requires_grad=True)
    step = compile(lambda x: (x * w).requires_grad)
    for k in range(8):
        assert step(np.ones(1, F)) is True
        with no_grad():
            assert step(np.ones(1, F)) is False
        assert step.replays == max(0, 2 * (k - 1) - 2 * sum(n <= k + 1 for n in (4, 8)))
