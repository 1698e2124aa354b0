"""A compiled step does what the step does, to the bit: every op, compositions, and epochs of training."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings

import tinygrad_mnist as tg
from tinygrad_mnist import OPS, Tensor, grad, losses, mnist, nn, optim
from tinygrad_mnist.replay import compile
from tinygrad_mnist.testing import Composition, compositions
from zoo.base import COSTS
from zoo.training import network_class

from .helpers import batch, bits, cases, compiles, network, training_step

EXAMPLES = settings().max_examples  # a property: 15, or in CI 50

F = np.float32


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
            for one, other in zip(found, expected, strict=True):
                assert not one.size or one._array.strides == other._array.strides


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
    for case in cases(name, EXAMPLES // 3):
        if any(isinstance(value, np.random.Generator) for value in case.params.values()):
            continue  # draws anew each time: see the tests of random numbers
        tensors = [i for i, x in enumerate(case.args) if isinstance(x, np.ndarray)]

        def function(*given: Any, case: Any = case, tensors: Any = tensors) -> Any:
            args = list(case.args)
            for i, t in zip(tensors, given, strict=True):
                args[i] = t
            return case.apply(*args)

        arrays = [case.args[i] for i in tensors]
        if arrays:
            check_same_bits(function, arrays, [shuffled(x) for x in arrays])


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


def test_integer_labels_are_recorded(said: pytest.LogCaptureFixture) -> None:
    def train(wrap: Callable[..., Any]) -> Any:
        model = network()
        step = wrap(training_step(model, optim.SGD(model.parameters(), lr=0.5)))
        x, y = batch(4)
        labels = [np.argmax(np.roll(y, k, 0), 1) for k in range(6)]
        return [bits(step(Tensor(x), Tensor(given))) for given in labels], bits(model.parameters())

    assert train(compile) == train(lambda step: step)
    assert not said.records


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


def test_what_is_computed_before_and_after_an_update_is_not_shared() -> None:
    """Of a parameter, of which a detached Tensor is a view: the same op of the same memory, and two results."""

    def course(wrap: Callable[..., Any]) -> Any:
        weight = Tensor(np.array([1, 2], F), requires_grad=True)
        view, optimizer = weight.detach(), optim.SGD([weight], lr=0.1)

        def step(x: Any) -> Any:
            before = (view + 1) * x
            optimizer.zero_grad()
            (weight * x).sum().backward()
            optimizer.step()
            return before, (view + 1) * x

        step = wrap(step)
        return [bits(step(Tensor(np.array([3, 5], F)))) for _ in range(8)], step

    found, step = course(compile)
    assert found == course(lambda step: step)[0]
    assert step.replays > 3
