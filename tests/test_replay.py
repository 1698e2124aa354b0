"""A compiled step does what the step does, to the bit; and what cannot be replayed runs as ever."""

from __future__ import annotations

import contextlib
import gc
import itertools
import logging
import random
import sys
import threading
import weakref
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings

import tinygrad_mnist as tg
from tinygrad_mnist import OPS, Tensor, grad, losses, mnist, nn, no_grad, optim, visualize
from tinygrad_mnist.replay import compile
from tinygrad_mnist.testing import Composition, compositions, operands
from zoo.base import COSTS
from zoo.custom import Adam
from zoo.training import network_class

F = np.float32


def bits(value: Any) -> Any:
    """What two results must have in common."""
    if isinstance(value, tuple | list):
        return [bits(item) for item in value]
    array = value._array if isinstance(value, Tensor) else value
    if array is None:
        return None
    long = array.dtype.char in "gG"  # whose bytes do not all mean something
    return array.shape, array.dtype, [x.astype(complex) for x in array.ravel()] if long else array.tobytes()


def network(seed: int = 0, sizes: tuple[int, ...] = (20, 15, 10), dropout: float = 0.0) -> nn.Sequential:
    rng = np.random.default_rng(seed)
    layers: list[Any] = []
    for a, b in itertools.pairwise(sizes):
        layers += [nn.Linear(a, b, rng=rng), tg.sigmoid]
    if dropout:
        layers.insert(2, nn.Dropout(dropout, rng=np.random.default_rng(5)))
    return nn.Sequential(*layers)


def training_step(model: Any, optimizer: Any, cost: Any = losses.quadratic_cost) -> Callable[..., Any]:
    def step(x: Any, y: Any) -> Any:
        loss = cost(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    return step


def batch(n: int, seed: int = 0, inputs: int = 20) -> tuple[Any, Any]:
    rng = np.random.default_rng(seed)
    return rng.random((n, inputs), dtype=F), np.eye(10, dtype=F)[rng.integers(0, 10, n)]


def compiles(step: Any) -> bool:
    return "def step(" in step.source


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.WARNING, "tinygrad_mnist")
    return caplog


# --- the same bits ---


def check_same_bits(function: Callable[..., Any], arrays: list[Any], others: list[Any]) -> None:
    """Value and gradients, in four calls of which two are replays, with two sets of numbers in turn."""

    def step(*tensors: Any) -> Any:
        out = function(*tensors[:-1])
        places = [t for t in tensors[:-1] if t.requires_grad]
        if not out.requires_grad:
            return (out,)
        return (out, *grad(out, places, gradient=tensors[-1]))

    def given_as(values: list[Any]) -> list[Tensor]:
        return [Tensor(x, requires_grad=x.dtype.kind == "f") for x in values]

    with np.errstate(all="ignore"):
        out = function(*given_as(arrays))
        upstream = Tensor(
            np.linspace(0.5, 1.5, out.size, dtype=out.dtype if out.dtype.kind == "f" else None).reshape(out.shape)
        )
        upstream = upstream.detach()
        compiled = compile(step)
        for values in (arrays, others, arrays, others):
            expected = step(*given_as(values), upstream)
            found = compiled(*given_as(values), upstream)
            assert bits(found) == bits(expected)
            assert [t._array.strides for t in found] == [t._array.strides for t in expected]


def shuffled(x: Any) -> Any:
    """Other numbers in the same domain, in memory laid out in the same way."""
    if x.dtype.kind != "f" or 0 in x.strides:
        return x
    result = np.empty_like(x, subok=False) if x.flags.forc else x.copy("K")
    if result.strides != x.strides:
        return x
    result[...] = x.ravel()[::-1].reshape(x.shape)
    return result


@pytest.mark.parametrize("name", sorted(OPS))
def test_every_op_gives_the_same_bits(name: str) -> None:
    @settings(max_examples=8)
    @given(operands(name))
    def check(case: Any) -> None:
        tensors = [i for i, x in enumerate(case.args) if isinstance(x, np.ndarray)]

        def function(*given: Any) -> Any:
            args = list(case.args)
            for i, t in zip(tensors, given, strict=True):
                args[i] = t
            return case.apply(*args)

        if any(isinstance(value, np.random.Generator) for value in case.params.values()):
            return  # draws anew each time: see the tests of random numbers

        arrays = [case.args[i] for i in tensors]
        if arrays:
            check_same_bits(function, arrays, [shuffled(x) for x in arrays])

    check()


@given(compositions())
def test_random_compositions_give_the_same_bits(composition: Composition) -> None:
    arrays = [x.astype(F) if x.dtype.kind == "f" else x for x in composition.inputs]
    check_same_bits(composition, arrays, [shuffled(x) for x in arrays])


@pytest.mark.parametrize("cost", [losses.quadratic_cost, losses.cross_entropy_cost, losses.softmax_cross_entropy])
@pytest.mark.parametrize(
    "make",
    [
        lambda p: optim.SGD(p, lr=0.5),
        lambda p: optim.SGD([{"params": p[::2], "weight_decay": 0.01}, {"params": p[1::2]}], lr=0.5),
        lambda p: optim.Momentum(p, lr=0.1, momentum=0.9),
        lambda p: optim.Nesterov(p, lr=0.1, momentum=0.8, weight_decay=0.001),
    ],
)
def test_an_epoch_of_training_gives_the_same_bits(make: Any, cost: Any) -> None:
    def train(compiled: bool) -> Any:
        model = network()
        optimizer = make(model.parameters())
        schedule = optim.StepLR(optimizer, 1, 0.5)
        step = training_step(model, optimizer, cost)
        step = compile(step) if compiled else step
        results = []
        for epoch in range(3):
            for k in range(7):  # the last batch is smaller
                x, y = batch(8 if k < 6 else 3, seed=7 * epoch + k)
                results.append(bits(step(*(x, y) if compiled else (Tensor(x), Tensor(y)))))
            schedule.step()
        assert not compiled or compiles(step)
        return results, bits(model.parameters()), bits([[*optimizer.state[p].values()] for p in model.parameters()])

    assert train(True) == train(False)


@pytest.fixture(scope="module")
def digits() -> mnist.Split:
    return mnist.load().head(1005).train  # the last batch of 10 has 5


@pytest.mark.parametrize("name", ["network", "network1", "network2", "network3"])
def test_an_epoch_of_the_zoo_gives_the_same_bits(name: str, digits: mnist.Split) -> None:
    rows = np.eye(10, dtype=F)

    def train(wrap: Callable[..., Any]) -> Any:
        settings = network_class(name)()
        model = settings.model(784, 10, np.random.default_rng(0))
        optimizer = settings.optimizer(model, len(digits))
        schedule = settings.schedule(optimizer)
        step = wrap(training_step(model, optimizer, COSTS[settings.cost]))
        costs = []
        for _ in range(2):
            for images, labels in mnist.batches(digits, 10, np.random.default_rng(1)):
                costs.append(step(Tensor(images), Tensor(rows[labels])).item())
            if schedule is not None:
                schedule.step()
        assert wrap is not compile or compiles(step)
        return costs, bits(model.parameters())

    assert train(compile) == train(lambda step: step)


def test_a_convolutional_network_gives_the_same_bits() -> None:
    def train(wrap: Callable[..., Any]) -> Any:
        rng = np.random.default_rng(0)
        model = nn.Sequential(
            nn.Conv2d(1, 3, 3, rng=rng), tg.relu, nn.MaxPool2d(2), nn.Flatten(), nn.Linear(27, 10, rng=rng)
        )
        optimizer = optim.SGD(model.parameters(), lr=0.1)
        step = wrap(training_step(model, optimizer, losses.softmax_cross_entropy))
        x, y = rng.random((4, 1, 8, 8), dtype=F), batch(4)[1]
        return [bits(step(Tensor(x), Tensor(y))) for _ in range(5)], bits(model.parameters())

    assert train(compile) == train(lambda step: step)


def test_second_order_gradients_give_the_same_bits() -> None:
    def step(x: Any) -> Any:
        slope = grad((x**3 * tg.sigmoid(x)).sum(), x, create_graph=True)
        return slope, grad((slope * slope).sum(), x)

    compiled = compile(step)
    for k in range(4):
        x = Tensor(np.linspace(-1, 1, 7, dtype=F) + k, requires_grad=True)
        assert bits(compiled(x)) == bits(step(x))
    assert compiles(compiled)


@pytest.mark.parametrize("layout", [lambda x: x, lambda x: x.T.copy().T, lambda x: x[:, ::-1], lambda x: x[::2]])
def test_layouts_of_arguments_are_kept_apart(layout: Callable[[Any], Any]) -> None:
    w = Tensor(np.random.default_rng(1).standard_normal((33, 33)).astype(F), requires_grad=True)

    def step(x: Any) -> Any:
        out = tg.exp(x * 0.1) @ w
        return out, out.sum(0), out.mT @ out, grad(out.sum(), w)

    compiled = compile(step)
    for k in range(6):
        x = np.random.default_rng(k).standard_normal((66, 33)).astype(F)
        for array in (x, layout(x)):
            assert bits(compiled(array)) == bits(step(Tensor(array)))
    assert compiles(compiled)


def test_a_matrix_times_its_own_transpose() -> None:
    rng = np.random.default_rng(3)

    def step(a: Any, b: Any) -> Any:
        c = a * 2
        return a @ a.T, a @ b.T, c @ c.T, c @ tg.ops.copy(c).T, (a * 2) @ (c.T)

    compiled = compile(step)
    for _ in range(5):
        a = rng.standard_normal((37, 21)).astype(F)
        for b in (a, a.copy()):
            assert bits(compiled(a, b)) == bits(step(Tensor(a), Tensor(b)))


def test_a_learning_rate_is_a_python_number_at_each_replay() -> None:
    """In float64, 0.1 g would be rounded once less."""

    def train(wrap: Callable[..., Any]) -> Any:
        w = Tensor(np.random.default_rng(0).standard_normal(1000).astype(F), requires_grad=True)
        optimizer = optim.SGD([w], lr=0.1)

        def step() -> None:
            optimizer.zero_grad()
            (w * w * w).sum().backward()
            optimizer.step()

        step = wrap(step)
        for k in range(6):
            optimizer.groups[0]["lr"] = 0.1 / (k + 1)
            step()
        return bits(w)

    assert train(compile) == train(lambda step: step)


# --- the program ---


def test_source_reads_like_backpropagation_written_by_hand() -> None:
    model = network()
    step = compile(training_step(model, optim.SGD(model.parameters(), lr=0.5)))
    for _ in range(3):
        step(*batch(4))
    source = step.source
    assert "# gradient of test_replay.py:" in source
    assert "loss = cost(model(x), y)" in source
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


# --- what changes between calls ---


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


def test_velocity_can_be_loaded_and_reset() -> None:
    def train(wrap: Callable[..., Any]) -> Any:
        model = network()
        optimizer = optim.Momentum(model.parameters(), lr=0.1)
        step = wrap(training_step(model, optimizer))
        saved: Any = None
        for k in range(16):
            if k == 4:
                saved = optimizer.state_dict()
            if k == 8:
                optimizer.load_state_dict(saved)
            if k == 12:
                optimizer.state.clear()
            step(*map(Tensor, batch(4 if k % 4 else 3, k)))
        return bits(model.parameters()), bits([arrays["velocity"] for arrays in saved["state"].values()])

    assert train(compile) == train(lambda step: step)


def test_numbers_as_arguments_have_programs_of_their_own() -> None:
    step = compile(lambda x, scale, double=False: x * scale * (2 if double else 1))
    x = np.ones(3, F)
    for _ in range(3):
        for scale in (1.0, 2.0):
            assert bits(step(x, scale)) == bits(x * F(scale))
            assert bits(step(x, scale, double=True)) == bits(x * F(2 * scale))


def test_an_array_outside_is_read_at_each_call() -> None:
    table = np.arange(4, dtype=F)
    whole = Tensor(np.arange(4, dtype=F))
    step = compile(lambda x: x * table[1:3] + table[:2] + whole[2:])
    x = np.ones(2, F)
    for k in range(5):
        assert bits(step(x)) == bits(x * table[1:3] + table[:2] + whole._array[2:])
        table += k
        whole.data += 1


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


# --- random numbers ---


def test_dropout_draws_anew_at_each_call() -> None:
    def train(wrap: Callable[..., Any]) -> Any:
        model = network(dropout=0.5)
        step = wrap(training_step(model, optim.SGD(model.parameters(), lr=0.5)))
        return [bits(step(*map(Tensor, batch(4)))) for _ in range(6)], bits(model.parameters())

    assert train(compile) == train(lambda step: step)


def test_integer_labels_are_recorded(said: pytest.LogCaptureFixture) -> None:
    def train(wrap: Callable[..., Any]) -> Any:
        model = network()
        step = wrap(training_step(model, optim.SGD(model.parameters(), lr=0.5)))
        x, y = batch(4)
        labels = [np.argmax(np.roll(y, k, 0), 1) for k in range(6)]
        return [bits(step(Tensor(x), Tensor(given))) for given in labels], bits(model.parameters())

    assert train(compile) == train(lambda step: step)
    assert not said.records


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


# --- what cannot be replayed ---

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


def test_equal_constants_made_anew_are_constants() -> None:
    compiled = compile(lambda x: x @ np.eye(3, dtype=F) + Tensor([1.0, 2.0, 3.0]))
    for _ in range(4):
        assert bits(compiled(np.ones((1, 3), F))) == bits(np.array([[2, 3, 4]], F))
    assert compiles(compiled)


def test_an_array_that_the_step_writes_into_makes_it_run_eagerly(said: pytest.LogCaptureFixture) -> None:
    counter = np.zeros(3, F)

    def step(x: Any) -> Any:
        result = x + counter
        counter[...] += 1
        return result

    compiled = compile(step)
    assert [compiled(np.zeros(3, F)).sum().item() for _ in range(4)] == [0, 3, 6, 9]
    assert "in place" in said.messages[0]


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


# --- gradients ---


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


# --- optimizers of one's own ---


class Adaptive(optim.SGD):
    """Computes with its options, and branches on them."""

    def __init__(self, params: Any, lr: float, scale: float = 2.0) -> None:
        optim.Optimizer.__init__(self, params, lr, options={"scale": scale})

    def direction(self, gradient: Any, state: Any, options: Any) -> Any:
        strength = np.sqrt(options["scale"]) + 1
        return gradient * float(strength) if options["lr"] > 0.3 else gradient * options["scale"]


def test_options_that_an_optimizer_computes_with_are_not_frozen() -> None:
    def train(wrap: Callable[..., Any]) -> Any:
        model = network()
        optimizer = Adaptive(model.parameters(), lr=0.5)
        step = wrap(training_step(model, optimizer))
        for k in range(12):
            optimizer.groups[0]["scale"] = 2.0 if k < 4 else 3.0
            optimizer.groups[0]["lr"] = 0.5 if k < 8 else 0.1 + k / 100
            step(*map(Tensor, batch(4, k)))
        return bits(model.parameters())

    assert train(compile) == train(lambda step: step)


# --- exceptions, threads, nesting ---


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


def test_numbers_that_change_at_each_call_make_the_step_run_eagerly(said: pytest.LogCaptureFixture) -> None:
    compiled = compile(lambda x, k: x * k)
    for k in range(200):
        assert bits(compiled(np.ones(2, F), float(k))) == bits(np.full(2, k, F))
    assert ["ever other arguments" in text for text in said.messages] == [True]


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


def test_an_optimizer_that_is_not_made_of_ops_runs_eagerly(said: pytest.LogCaptureFixture) -> None:
    class Shorter(optim.SGD):
        def direction(self, gradient: Any, state: Any, options: Any) -> Any:
            return np.nextafter(gradient, 0.0)

    class Reading(optim.SGD):
        def direction(self, gradient: Any, state: Any, options: Any) -> Any:
            return gradient * (1.0 if np.max(np.abs(gradient)) < 1e9 and bool((gradient > 1e9).any()) else 2.0)

    def train(wrap: Callable[..., Any], kind: Any) -> Any:
        model = network()
        step = wrap(training_step(model, kind(model.parameters(), lr=0.1)))
        for k in range(4):
            step(*map(Tensor, batch(4, k)))
        return bits(model.parameters())

    for kind in (Shorter, Reading):
        assert train(compile, kind) == train(lambda step: step, kind)
    assert "whose formula is not made of ops" in said.messages[0]


def test_an_argument_that_gets_a_gradient(said: pytest.LogCaptureFixture) -> None:
    step = compile(lambda x: (x * x).sum().backward())
    x = Tensor([3.0], requires_grad=True)
    for k in range(4):
        step(x)
        assert x.grad is not None
        assert x.grad.item() == 6.0 * (k + 1)
    assert "argument" in said.messages[0] or "before the step" in said.messages[0]


def test_an_observer_sees_every_op() -> None:
    step = compile(lambda x: x.log())
    for _ in range(3):
        step(np.ones(2, F))
    with pytest.raises(FloatingPointError, match="log gave"), visualize.detect_anomaly():
        step(np.zeros(2, F))
    assert step(np.ones(2, F)).sum().item() == 0


# --- what optimizers keep ---


class Counting(optim.Optimizer):
    """Several arrays of several shapes, and a count."""

    def direction(self, gradient: Any, state: Any, options: Any) -> Any:
        state["steps"] = state.get("steps", 0) + 1
        state["previous"] = state.get("last", gradient)
        state["last"] = gradient
        state["rows"] = 0.9 * state.get("rows", 0) + (gradient**2).sum(-1, keepdims=True)
        state["same"] = state["rows"]
        state["wide"], state["up"] = gradient.astype(np.float64) / 3, gradient > 0
        state["a"], state["b"] = state.get("b", 1), state.get("a", 2)
        mean = 0.5 * (state["last"] + state["previous"]) / (1 - 0.9 ** state["steps"])
        return (mean * state["a"] + state["wide"]) * (1 + state["up"]) / (np.sqrt(state["rows"]) + 1e-3)


class RMSProp(optim.Optimizer):
    """README's."""

    def __init__(self, params: Any, lr: float, beta: float = 0.9) -> None:
        super().__init__(params, lr, options={"beta": beta})

    def direction(self, gradient: Any, state: Any, options: Any) -> Any:
        beta, square = options["beta"], gradient**2
        state["square"] = beta * state["square"] + (1 - beta) * square if "square" in state else square
        return gradient / (np.sqrt(state["square"]) + 1e-8)


class InPlace(optim.Optimizer):
    """A formula that changes what it keeps in place."""

    def direction(self, gradient: Any, state: Any, options: Any) -> Any:
        state.setdefault("mean", np.zeros_like(gradient))
        state["before"] = state["mean"]
        state["mean"] *= 0.9
        state["mean"] += gradient + 0.1 * state["before"]
        state["steps"] = state.setdefault("steps", 0) + 1
        return state["mean"] / state["steps"]


class Window(optim.Optimizer):
    """The mean of the last three gradients, at first of fewer."""

    def direction(self, gradient: Any, state: Any, options: Any) -> Any:
        new = gradient[None]
        state["window"] = np.concatenate([state["window"], new])[-3:] if "window" in state else new
        return state["window"].mean(0)


@pytest.mark.parametrize(
    "make",
    [
        lambda p: Adam(p, lr=0.01),
        lambda p: Window(p, lr=0.1),
        lambda p: RMSProp(p, lr=0.01),
        lambda p: Counting(p, lr=0.01, weight_decay=0.01),
        lambda p: InPlace(p, lr=0.01),
        lambda p: optim.Nesterov([{"params": p[:1], "momentum": 0.5}, {"params": p[1:]}], lr=0.1),
    ],
    ids=["Adam", "Window", "RMSProp", "Counting", "InPlace", "Nesterov"],
)
def test_200_compiled_steps_of_an_optimizer_are_200_eager_ones(make: Any) -> None:
    def train(wrap: Callable[..., Any]) -> Any:
        model = network()
        optimizer = make(model.parameters())
        step = wrap(training_step(model, optimizer))
        for k in range(200):
            step(*map(Tensor, batch(4, k)))
        assert wrap is not compile or compiles(step)
        kept = [{name: bits(array) for name, array in optimizer.state[p].items()} for p in model.parameters()]
        return bits(model.parameters()), kept

    assert train(compile) == train(lambda step: step)


@pytest.mark.parametrize("make", [lambda w: optim.Nesterov(w, lr=0.1), lambda w: Counting(w, lr=0.01)])
def test_two_steps_of_an_optimizer_in_one_keep_what_the_second_leaves(make: Any) -> None:
    def train(wrap: Callable[..., Any]) -> Any:
        w = Tensor([1.0, 2.0], requires_grad=True)
        optimizer = make([w])

        def step() -> None:
            for factor in (1.0, 3.0):
                optimizer.zero_grad()
                (w * w * factor).sum().backward()
                optimizer.step()

        step, course = wrap(step), []
        for _ in range(10):
            step()
            course.append((bits(w), {name: bits(array) for name, array in optimizer.state[w].items()}))
        assert wrap is not compile or compiles(step)
        return course

    assert train(compile) == train(lambda step: step)


def test_what_an_optimizer_keeps_can_be_added_removed_and_of_another_shape_at_any_step() -> None:
    class Own(optim.Optimizer):
        def direction(self, gradient: Any, state: Any, options: Any) -> Any:
            if "boost" in state:
                gradient = gradient * state["boost"]
            gradient = gradient + state.pop("once", 0)
            if options["forget"] and "mean" in state:
                del state["mean"]
            state["mean"] = 0.5 * state.get("mean", 0) + gradient
            if options["history"]:
                state["history"] = np.stack([gradient, gradient])
            return state["mean"]

    def train(wrap: Callable[..., Any]) -> Any:
        w = Tensor([1.0, 2.0], requires_grad=True)
        optimizer = Own([w], lr=0.1, options={"forget": 0, "history": 0})

        def step() -> None:
            optimizer.zero_grad()
            (w * w).sum().backward()
            optimizer.step()

        step, course = wrap(step), []
        for k in range(40):
            if k >= 30:
                optimizer.state[w]["once"] = np.array([k, -k])
            if k == 5:
                optimizer.state[w]["boost"] = np.array([2.0, 3.0])
            if k == 10:
                del optimizer.state[w]["boost"]
            if k == 15:
                optimizer.state[w]["mean"] = np.ones((3, 2))[:1, :][0]
            optimizer.groups[0].update(forget=int(18 <= k < 22), history=int(k >= 24))
            step()
            course.append((bits(w), {name: bits(array) for name, array in optimizer.state[w].items()}))
        assert wrap is not compile or compiles(step)
        return course

    assert train(compile) == train(lambda step: step)


@pytest.mark.parametrize("function", [np.cbrt, np.sqrt], ids=["eager", "compiled"])
def test_a_formula_runs_once_a_step_also_where_it_is_not_made_of_ops(function: Any) -> None:
    class Own(optim.Optimizer):
        steps = 0

        def direction(self, gradient: Any, state: Any, options: Any) -> Any:
            self.steps += 1
            return function(abs(gradient)) / (1 if self.steps < 3 else 2)

    def train(wrap: Callable[..., Any]) -> Any:
        w = Tensor([1.0, 2.0], requires_grad=True)
        optimizer = Own([w], lr=0.1)

        def step() -> None:
            optimizer.zero_grad()
            (w * w).sum().backward()
            optimizer.step()

        step = wrap(step)
        for _ in range(8):
            step()
        return bits(w), optimizer.steps

    assert train(compile) == train(lambda step: step)
    assert train(lambda step: step)[1] == 8


def test_a_formula_of_ops_runs_once_while_it_is_recorded_and_not_in_a_replay() -> None:
    model = network()
    compiled = compile(training_step(model, Adam(model.parameters(), lr=0.01)))
    calls: list[int] = []  # of what neither step nor formula refers to

    def profile(frame: Any, event: str, argument: Any) -> None:
        if event == "call" and frame.f_code is Adam.direction.__code__:
            calls[-1] += 1

    sys.setprofile(profile)
    try:
        for k in range(6):
            calls.append(0)
            compiled(*batch(4, k))
    finally:
        sys.setprofile(None)
    assert compiles(compiled)
    assert calls == [4, 4, 4, 0, 4, 0]  # the state begins, it is recorded, and audited at its 2nd and 4th call
    assert compiled.audits == 2


@pytest.mark.parametrize(
    "change",
    [
        lambda o, w, u: o.add_group({"params": [u], "lr": 0.25}),
        lambda o, w, u: o.groups[0].update(params=[w, u]),
        lambda o, w, u: o.groups[0].update(params=[u]),
        lambda o, w, u: o.groups[0].update(weight_decay=0.1),
        lambda o, w, u: o.groups[0].update(momentum=0.25),
        lambda o, w, u: o.groups[0].update(lr=1),
        lambda o, w, u: o.state[w].update(velocity=np.array([5.0, 6.0])),
        lambda o, w, u: o.state[w].clear(),
        lambda o, w, u: o.load_state_dict({"groups": o.state_dict()["groups"], "state": {}}),
    ],
)
def test_what_changes_in_an_optimizer_between_replays_is_that_of_the_call(change: Any) -> None:
    def train(wrap: Callable[..., Any]) -> Any:
        w, u = (Tensor([1.0, 2.0], requires_grad=True) for _ in range(2))
        optimizer = optim.Momentum([w], lr=0.1)

        def step() -> None:
            optimizer.zero_grad()
            w.grad = u.grad = None
            (w * w + u * u).sum().backward()
            optimizer.step()
            w.grad = u.grad = None

        step = wrap(step)
        for k in range(12):
            if k == 5:
                assert wrap is not compile or compiles(step)
                change(optimizer, w, u)
            step()
        assert wrap is not compile or compiles(step)
        return bits(w), bits(u)

    assert train(compile) == train(lambda step: step)


def test_a_formula_that_sets_an_option_sets_it_at_each_call(said: pytest.LogCaptureFixture) -> None:
    class Own(optim.Optimizer):
        def direction(self, gradient: Any, state: Any, options: Any) -> Any:
            options["lr"] = options["lr"] * 0.5
            return gradient

    def train(wrap: Callable[..., Any]) -> Any:
        w = Tensor([1.0, 2.0], requires_grad=True)
        optimizer = Own([w], lr=0.5)

        def step() -> None:
            optimizer.zero_grad()
            (w * w).sum().backward()
            optimizer.step()

        step = wrap(step)
        for _ in range(6):
            step()
        return bits(w), optimizer.groups[0]["lr"]

    assert train(compile) == train(lambda step: step)
    assert "sets 'lr' of an optimizer" in said.messages[0]


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


class Clipped(optim.Optimizer):
    """Takes one option as it is, and decides by another."""

    def __init__(self, params: Any) -> None:
        super().__init__(params, 0.1, options={"scale": 0.5, "most": 1.0})

    def direction(self, gradient: Any, state: Any, options: Any) -> Any:
        gradient = options["scale"] * gradient + state.get("drift", 0)
        return gradient if options["most"] > 0.5 else 0.5 * gradient


@pytest.mark.parametrize(
    ("change", "programs"),
    [
        (lambda o, w: o.groups[0].update(lr=0.2, scale=0.25), 1),  # which are read at each replay
        (lambda o, w: o.groups[0].update(most=0.25), 2),
        (lambda o, w: o.state[w].update(drift=1.0), 2),
    ],
)
def test_what_a_program_holds_for_makes_another_and_numbers_that_ops_take_do_not(change: Any, programs: int) -> None:
    w = Tensor([1.0, 2.0], requires_grad=True)
    optimizer = Clipped([w])

    def step() -> None:
        optimizer.zero_grad()
        (w * w).sum().backward()
        optimizer.step()

    compiled = compile(step)
    for k in range(8):
        if k == 4:
            change(optimizer, w)
        compiled()
    assert compiled.source.count("def step(") == programs


# --- what once was wrong without a word ---


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


def test_a_step_that_handles_floating_point_errors_itself_runs_eagerly(said: pytest.LogCaptureFixture) -> None:
    def step(x: Any) -> Any:
        with np.errstate(over="ignore"):
            return tg.exp(x * 1000)

    compiled = compile(step)
    for _ in range(6):
        assert np.isinf(compiled(np.ones(2, F))._array).all()
    assert compiled.replays == 0
    assert "use np.errstate around its calls" in said.messages[0]


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


class BatchNorm(nn.Module):
    """With running statistics, as a user would write it."""

    def __init__(self, n: int) -> None:
        self.scale, self.shift = Tensor(np.ones(n, F), requires_grad=True), Tensor(np.zeros(n, F), requires_grad=True)
        self.mean, self.variance = nn.Buffer(np.zeros(n, F)), nn.Buffer(np.ones(n, F))
        self.count = nn.Buffer(0, dtype=np.int64)

    def forward(self, x: Any) -> Any:
        mean, variance = self.mean, self.variance
        if self.training:
            mean = x.mean(0)
            variance = ((x - mean) ** 2).mean(0)
            self.mean.assign(0.9 * self.mean + 0.1 * mean)
            self.variance.assign(0.9 * self.variance + 0.1 * variance)
            self.count.assign(self.count + 1)
        return (x - mean) / tg.sqrt(variance + 1e-5) * self.scale + self.shift


def test_running_statistics_are_kept_by_a_compiled_step(said: pytest.LogCaptureFixture) -> None:
    def course(wrap: Callable[..., Any]) -> Any:
        rng = np.random.default_rng(0)
        norm = BatchNorm(15)
        model = nn.Sequential(nn.Linear(20, 15, rng=rng), norm, tg.relu, nn.Linear(15, 10, rng=rng))
        step = wrap(training_step(model, optim.Momentum(model.parameters(), lr=0.1), losses.softmax_cross_entropy))
        evaluate, seen = wrap(lambda x: model(x)), []
        for k in range(20):
            model.train()
            seen.append(bits(step(*map(Tensor, batch(4 if k % 4 else 7, k)))))
            model.eval()
            seen.append(bits(evaluate(Tensor(batch(4)[0]))))
            seen.append({name: x.tobytes() for name, x in model.state_dict().items()})
        assert norm.count.item() == 20
        return seen, step, evaluate

    found, step, evaluate = course(compile)
    assert found == course(lambda step: step)[0]
    assert step.replays > 8
    assert evaluate.replays > 8
    assert not said.records


def test_the_order_of_reading_and_assigning_a_buffer_is_kept() -> None:
    def course(wrap: Callable[..., Any]) -> Any:
        buffer = nn.Buffer([1.0, 2.0])
        view = buffer.detach()

        def step(x: Any) -> Any:
            before = buffer * 1
            buffer.assign(buffer + x)
            middle = 0.1 * view * buffer
            buffer.assign(middle.sum() * x)
            buffer.assign(buffer[::-1])
            return before, middle, buffer * 1, view + 0

        step = wrap(step)
        return [(bits(step(Tensor([0.5, 0.25]))), bits(buffer)) for _ in range(8)], step

    found, step = course(compile)
    assert found == course(lambda step: step)[0]
    assert step.replays > 3


@pytest.mark.parametrize("requires_grad", [False, True])
def test_an_optimizer_that_holds_a_tensor_is_compiled(requires_grad: bool, said: pytest.LogCaptureFixture) -> None:
    class Own(optim.Optimizer):
        def __init__(self, params: Any, lr: float) -> None:
            super().__init__(params, lr)
            self.scale = Tensor(2.0, requires_grad=requires_grad)

        def direction(self, gradient: Any, state: Any, options: Any) -> Any:
            state["sum"] = state.get("sum", 0) + gradient
            return state["sum"] * self.scale

    def course(wrap: Callable[..., Any]) -> Any:
        w = Tensor([1.0, 2.0], requires_grad=True)
        optimizer = Own([w], lr=0.01)
        step = wrap(training_step(lambda x: w * x, optimizer))
        for k in range(9):
            if k == 6:
                optimizer.scale.data = np.asarray(3.0, F)
            step(Tensor([1.0, 2.0]), Tensor([0.5, 0.5]))
        return bits(w), bits(optimizer.state[w]["sum"]), step

    *found, step = course(compile)
    assert found == list(course(lambda step: step)[:2])
    assert step.replays > 3
    assert not said.records


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


def test_arguments_of_another_dtype_make_another_program() -> None:
    step = compile(lambda x: x / 3)
    for k in range(6):
        for dtype in (F, np.float64, np.int32, np.float16):
            x = np.arange(4).astype(dtype) + k
            assert bits(step(x)) == bits(Tensor(x) / 3)
    assert step.source.count("def step(") == 4
    assert step.replays > 4


def test_gradient_mode_makes_another_program() -> None:
    """What no_grad() keeps from recording is no part of a program with gradients, and the other way round."""
    w = Tensor([3.0], requires_grad=True)
    step = compile(lambda x: (x * w).requires_grad)
    for k in range(8):
        assert step(np.ones(1, F)) is True
        with no_grad():
            assert step(np.ones(1, F)) is False
        assert step.replays == max(0, 2 * (k - 1) - 2 * sum(n <= k + 1 for n in (4, 8)))


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


def test_signs_of_zero_are_kept_apart_in_a_program() -> None:
    step = compile(lambda x: (x * 0.0, x * -0.0, x + 0.0, x + -0.0))
    for _ in range(5):
        results = step(np.array([1, -0.0], F))
        assert [np.signbit(t._array).tolist() for t in results] == [
            [False, True],
            [True, False],
            [False, False],
            [False, True],
        ]
    assert step.replays > 1


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


def test_keyword_only_arguments_are_arguments_like_others() -> None:
    step = compile(lambda x, *, k, scale=2.0: x * k * scale)
    for n in range(6):
        x, k = np.ones(2, F), np.full(2, n, F)
        assert bits(step(x, k=k)) == bits(np.full(2, 2 * n, F))
        assert bits(step(scale=3.0, k=k, x=x)) == bits(np.full(2, 3 * n, F))
    assert step.replays > 4
    with pytest.raises(TypeError, match="missing 1 required keyword-only argument"):
        step(np.ones(2, F))


def test_a_module_made_in_the_step_is_no_change_of_one() -> None:
    step = compile(lambda x: nn.MaxPool2d(2)(x) * 2)
    for k in range(5):
        x = np.random.default_rng(k).random((1, 1, 4, 4), dtype=F)
        assert bits(step(x)) == bits(tg.max_pool2d(Tensor(x), size=2) * 2)
    assert step.replays > 1


@pytest.mark.parametrize("what", ["attribute", "list", "optimizer", "requires_grad", "schedule"])
def test_a_step_that_sets_what_it_is_a_function_of_runs_eagerly_and_says_so(
    what: str, said: pytest.LogCaptureFixture
) -> None:
    def course(wrap: Callable[..., Any]) -> Any:
        model: Any = network()
        model.count, model.history = 0, []
        optimizer: Any = optim.SGD(model.parameters(), lr=0.5)
        schedule = optim.StepLR(optimizer, 1, 0.9)
        acts: dict[str, Callable[[], Any]] = {
            "attribute": lambda: setattr(model, "count", model.count + 1),
            "list": lambda: model.history.append(1),
            "optimizer": lambda: setattr(optimizer, "note", 1),
            "requires_grad": lambda: setattr(model.parameters()[0], "requires_grad", True),
            "schedule": schedule.step,
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
