"""Optimizers in a compiled step, of the framework and of one's own: options, formulas, and what they keep."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tinygrad_mnist import Tensor, optim
from tinygrad_mnist.replay import compile
from zoo.custom import Adam

from .helpers import batch, bits, compiles, needs_compiler, network, training_step

F = np.float32


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
    """A mean that begins with the first square."""

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


@pytest.mark.parametrize("backend", ["numpy", "c"])
def test_a_state_that_is_multiplied_by_a_matrix_is_not_written_while_it_is_read(backend: str) -> None:
    if backend == "c":
        needs_compiler()
    turn = np.random.default_rng(0).standard_normal((8, 8)).astype(F) / 3

    class Turned(optim.Optimizer):
        def direction(self, gradient: Any, state: Any, options: Any) -> Any:
            state["turned"] = turn @ state.get("turned", gradient)
            return gradient + state["turned"]

    def course(wrap: Any) -> Any:
        weight = Tensor(np.random.default_rng(1).standard_normal((8, 8)).astype(F), requires_grad=True)
        optimizer = Turned([weight], lr=0.01)

        def step(x: Any) -> Any:
            optimizer.zero_grad()
            loss = ((x @ weight) ** 2).sum()
            loss.backward()
            optimizer.step()
            return loss

        run = wrap(step)
        for k in range(12):
            run(np.random.default_rng(k).standard_normal((4, 8)).astype(F))
        return weight.data, optimizer.state[weight]["turned"], run

    expected = course(lambda step: step)
    found = course(lambda step: compile(step, backend=backend))
    assert found[2].replays >= 6
    for ours, theirs in zip(found[:2], expected[:2], strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0 if backend == "numpy" else 1e-4, atol=1e-6 * (backend == "c"))
