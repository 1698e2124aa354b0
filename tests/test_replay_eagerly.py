"""A step that cannot be replayed runs as ever, and says in one line why."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tinygrad_mnist as tg
from tinygrad_mnist import Tensor, losses, optim, visualize
from tinygrad_mnist.replay import compile

from .helpers import batch, bits, compiles, network, training_step

F = np.float32


W = Tensor([2.0], requires_grad=True, name="W")


READS: dict[str, Callable[[Any], Any]] = {
    "item": lambda t: t.sum().item(),
    "bool": lambda t: bool(t.sum() > 100),
    "float": lambda t: float(t.sum()),
    "int": lambda t: int(t.sum()),
    "data": lambda t: t.data,
    "numpy": lambda t: t.numpy(),
    "asarray": np.asarray,
    "argmax": np.argmax,
    "isnan": np.isnan,
    "repr": repr,
    "if": lambda t: 1 if t.sum() > 0 else 2,
    "parameter": lambda t: W.data,
    "parameter's item": lambda t: W.item(),
}


@pytest.mark.parametrize("name", READS)
def test_a_value_that_is_read_makes_the_step_run_eagerly(name: str, said: pytest.LogCaptureFixture) -> None:
    seen = []

    def step(x: Any) -> Any:
        seen.append(READS[name](x))
        return (x * W).sum()

    compiled = compile(step)
    for k in range(4):
        x = np.full(3, k, F)
        assert compiled(x).item() == 6.0 * k
        assert len(seen) == k + 1
    assert len(said.messages) == 1
    assert said.messages[0].startswith("compile: step runs eagerly, as it reads values")
    assert "\n" not in said.messages[0]
    assert "reads values" in compiled.source


def test_what_an_eager_step_leaves_behind_is_as_ever(said: pytest.LogCaptureFixture) -> None:
    def train(wrap: Callable[..., Any]) -> Any:
        model = network()
        optimizer = optim.Momentum(model.parameters(), lr=0.1)

        def step(x: Any, y: Any) -> Any:
            loss = losses.quadratic_cost(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            if loss.item() > 1e9:
                raise ArithmeticError
            optimizer.step()
            return loss

        step = wrap(step)
        costs = [bits(step(*map(Tensor, batch(4, k)))) for k in range(4)]
        return costs, bits(model.parameters()), bits([p.grad for p in model.parameters()])

    assert train(compile) == train(lambda step: step)


def test_shapes_are_not_values() -> None:
    def step(x: Any) -> Any:
        assert np.shape(x) == x.shape == (2, 3)
        assert len(x) == np.ndim(x) == 2
        return tg.where(x > 0, x, np.zeros_like(x)).reshape(x.size)

    compiled = compile(step)
    for _ in range(3):
        compiled(np.ones((2, 3), F))
    assert compiles(compiled)


def test_a_mask_as_index_makes_the_step_run_eagerly(said: pytest.LogCaptureFixture) -> None:
    compiled = compile(lambda x: x[x > 0] * 2)
    for k in range(4):
        x = np.arange(5, dtype=F) - k
        assert bits(compiled(x)) == bits(x[x > 0] * 2)
    assert "mask" in said.messages[0]


@pytest.mark.parametrize("kind", ["arrays", "numbers", "functions"])
def test_a_step_that_does_not_do_the_same_twice_runs_eagerly(kind: str, said: pytest.LogCaptureFixture) -> None:
    def make() -> Callable[..., Any]:
        rng = np.random.default_rng(0)
        drawn = iter(rng.random((40, 3)).astype(F)).__next__
        numbers = itertools.count().__next__
        functions = itertools.cycle([tg.exp, tg.tanh]).__next__
        steps = {
            "arrays": lambda x: x * drawn(),
            "numbers": lambda x: x * numbers(),
            "functions": lambda x: functions()(x),
        }
        return steps[kind]

    step, compiled = make(), compile(make())
    for _ in range(20):
        assert bits(compiled(np.ones(3, F))) == bits(step(Tensor(np.ones(3, F))))
    assert not compiles(compiled)
    assert len(said.messages) == 1
    assert "runs eagerly, as it does not do the same twice (the result is " in said.messages[0]


def test_something_that_changes_at_each_call(said: pytest.LogCaptureFixture) -> None:
    calls = 0

    def step(x: Any) -> Any:
        nonlocal calls
        calls += 1
        return x * calls

    compiled = compile(step)
    assert [compiled(np.ones(1, F)).item() for _ in range(30)] == list(range(1, 31))
    assert len(said.messages) == 1
    assert "does not do the same twice" in said.messages[0]


def test_numbers_that_change_at_each_call_make_the_step_run_eagerly(said: pytest.LogCaptureFixture) -> None:
    compiled = compile(lambda x, k: x * k)
    for k in range(200):
        assert bits(compiled(np.ones(2, F), float(k))) == bits(np.full(2, k, F))
    assert ["ever other arguments" in text for text in said.messages] == [True]


def test_an_array_that_the_step_writes_into_makes_it_run_eagerly(said: pytest.LogCaptureFixture) -> None:
    counter = np.zeros(3, F)

    def step(x: Any) -> Any:
        result = x + counter
        counter[...] += 1
        return result

    compiled = compile(step)
    assert [compiled(np.zeros(3, F)).sum().item() for _ in range(4)] == [0, 3, 6, 9]
    assert "in place" in said.messages[0]


@pytest.mark.parametrize("kind", [dict, list])
@pytest.mark.parametrize("held", [Tensor, np.asarray])
def test_what_a_step_does_to_its_batch_is_done_to_it(kind: Any, held: Any, said: pytest.LogCaptureFixture) -> None:
    def step(batch: Any) -> Any:
        first = 0 if kind is list else "x"
        batch[first] = batch[first] * 2
        if kind is list:
            batch.append(batch[0])
        else:
            batch["new"] = batch["x"]
        return batch[first]

    compiled = compile(step)
    for k in range(5):
        x, y = held(np.full(2, k, F)), held(np.ones(1, F))
        batch: Any = [x, y] if kind is list else {"x": x, "y": y}
        result = compiled(batch)
        inside = batch if kind is list else list(batch.values())
        assert len(inside) == 3
        assert inside[0] is inside[2]
        assert inside[1] is y
        assert bits(inside[0]) == bits(result) == bits(np.full(2, 2 * k, F))
    assert compiled.replays == 0
    assert "changes a list or a dict that is its argument" in said.messages[0]


@pytest.mark.parametrize("what", ["attribute", "list", "optimizer", "requires_grad", "schedule", "slow schedule"])
def test_a_step_that_sets_what_it_is_a_function_of_runs_eagerly_and_says_so(
    what: str, said: pytest.LogCaptureFixture
) -> None:
    def course(wrap: Callable[..., Any]) -> Any:
        model: Any = network()
        model.count, model.history = 0, []
        optimizer: Any = optim.SGD(model.parameters(), lr=0.5)
        schedule, slow = optim.StepLR(optimizer, 1, 0.9), optim.StepLR(optimizer, 3, 0.9)
        acts: dict[str, Callable[[], Any]] = {
            "attribute": lambda: setattr(model, "count", model.count + 1),
            "list": lambda: model.history.append(1),
            "optimizer": lambda: setattr(optimizer, "note", 1),
            "requires_grad": lambda: setattr(model.parameters()[0], "requires_grad", True),
            "schedule": schedule.step,
            "slow schedule": slow.step,  # which leaves the rate as it is while the step is recorded
        }
        inner = training_step(model, optimizer)

        def step(x: Any, y: Any) -> Any:
            acts[what]()
            return inner(x, y)

        step = wrap(step)
        for k in range(6):
            step(*map(Tensor, batch(4, k)))
        return bits(model.parameters()), model.count, len(model.history), step

    *found, step = course(compile)
    assert found == list(course(lambda step: step)[:3])
    assert step.replays == 0
    assert len(said.messages) == 1
    assert "which a replay would not; do that between the steps" in said.messages[0]


def test_a_step_that_handles_floating_point_errors_itself_runs_eagerly(said: pytest.LogCaptureFixture) -> None:
    def step(x: Any) -> Any:
        with np.errstate(over="ignore"):
            return tg.exp(x * 1000)

    compiled = compile(step)
    for _ in range(6):
        assert np.isinf(compiled(np.ones(2, F))._array).all()
    assert compiled.replays == 0
    assert "use np.errstate around its calls" in said.messages[0]


def test_a_long_line_is_told_by_its_beginning(said: pytest.LogCaptureFixture) -> None:
    # fmt: off
    compile(lambda x: x * x.sum().item() + 0 * (x + x + x + x + x + x + x + x + x + x + x + x + x + x + x + x + x + x + x + x))(np.ones(2, F))  # noqa: E501
    # fmt: on
    assert "compile(lambda x: x * x.sum().item() + 0 * " in said.messages[0]
    assert " ...); return the Tensor" in said.messages[0]


def test_who_watches_inside_a_step_makes_it_run_eagerly(said: pytest.LogCaptureFixture) -> None:
    def step(x: Any) -> Any:
        with visualize.detect_anomaly():
            return tg.log(x)

    compiled = compile(step)
    for _ in range(5):
        assert bits(compiled(np.ones(2, F))) == bits(np.zeros(2, F))
    with pytest.raises(FloatingPointError, match="log gave"):
        compiled(np.zeros(2, F))
    assert compiled.replays == 0
    assert "is watched inside" in said.messages[0]
