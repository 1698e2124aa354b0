"""replay/guards.py: what a step is a function of may change between calls, and the next call computes with it."""

from __future__ import annotations

import contextlib
import copy
import itertools
import logging
import math
import pickle
import random
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinygrad_mnist as tg
from tinygrad_mnist import Tensor, compile, nn, optim
from tinygrad_mnist.op import Op
from tinygrad_mnist.replay import Compiled
from tinygrad_mnist.tensor import values

from .helpers import descent

F = np.float32
X = np.arange(1, 4, dtype=F)
CASES: dict[str, Callable[[], tuple[Callable[..., Any], tuple[Any, ...], Callable[[], object]]]] = {}
"""By name: a step, its arguments, and what changes."""


def case(make: Callable[[], Any]) -> Callable[[], Any]:
    CASES[make.__name__] = make
    return make


class Scaled(nn.Module):
    alpha = 1.0

    def __init__(self) -> None:
        self.linear = nn.Linear(3, 2, rng=np.random.default_rng(0))

    def forward(self, x: Any) -> Any:
        return self.linear(x) * self.alpha


class Holder(nn.Module):
    """Keeps what it is given, and is never called."""

    def __init__(self, **attributes: Any) -> None:
        for name, value in attributes.items():
            setattr(self, name, value)


def linear(seed: int) -> nn.Linear:
    return nn.Linear(3, 3, rng=np.random.default_rng(seed))


def as_bytes(result: Any) -> bytes:
    return values(result).tobytes()


@case
def a_default_of_a_class_on_the_instance() -> Any:
    network = Scaled()
    return lambda x: network(x), (X,), lambda: setattr(network, "alpha", 3.0)


@case
def a_module_as_an_argument() -> Any:
    dropout = nn.Dropout(0.9, rng=np.random.default_rng(0))
    return lambda module, x: x * (2.0 if module.training else 3.0), (dropout, X), dropout.eval


@case
def a_dict_of_tensors_as_an_argument() -> Any:
    batch = {"x": Tensor(X)}
    return lambda batch: batch["x"] * 2, (batch,), lambda: batch.update(x=Tensor(5 * X))


@case
def an_option_that_the_step_reads() -> Any:
    optimizer = optim.SGD([Tensor(X, requires_grad=True)], lr=0.5)
    return lambda x: x * optimizer.groups[0]["lr"], (X,), lambda: optimizer.groups[0].update(lr=0.25)


@case
def an_attribute_that_is_new() -> Any:
    network = Scaled()
    network.forward = lambda x: x * (network.new if hasattr(network, "new") else 1.0)  # type: ignore[method-assign]
    return lambda x: network(x), (X,), lambda: setattr(network, "new", 3.0)


@case
def a_default_of_getattr() -> Any:
    network = Scaled()
    return lambda x: x * getattr(network, "gain", 1.0), (X,), lambda: setattr(network, "gain", 3.0)


@case
def a_method_of_one_instance() -> Any:
    network = Scaled()
    return lambda x: network(x), (X,), lambda: setattr(network, "forward", lambda x: x * 3)


@case
def an_attribute_that_is_deleted() -> Any:
    network = Scaled()
    network.alpha = 3.0
    return lambda x: network(x), (X,), lambda: delattr(network, "alpha")


@case
def an_attribute_of_a_module_that_nobody_calls() -> Any:
    holder: Any = Holder(k=2.0)
    return lambda x: x * holder.k, (X,), lambda: setattr(holder, "k", 3.0)


@case
def a_module_of_a_module() -> Any:
    holder: Any = Holder(inner=Holder(net=linear(0)))
    return lambda x: holder.inner.net(x), (X,), lambda: setattr(holder.inner, "net", linear(1))


@case
def a_layer_in_a_list() -> Any:
    network = nn.Sequential(linear(0), tg.sigmoid)
    return lambda x: network(x), (X,), lambda: network.layers.__setitem__(1, tg.relu)


@case
def a_layer_that_is_appended() -> Any:
    network = nn.Sequential(linear(0), tg.sigmoid)
    return lambda x: network(x), (X,), lambda: network.layers.append(tg.exp)


@case
def a_layer_that_is_removed() -> Any:
    network = nn.Sequential(linear(0), tg.sigmoid)
    return lambda x: network(x), (X,), lambda: network.layers.pop()


@case
def layers_that_change_places() -> Any:
    network = nn.Sequential(linear(0), tg.sigmoid, linear(1))
    return lambda x: network(x), (X,), lambda: network.layers.reverse()


@case
def a_number_in_a_dict() -> Any:
    holder: Any = Holder(options={"k": 2.0, "deep": {"list": [1.0, 2.0]}})
    return lambda x: x * holder.options["k"], (X,), lambda: holder.options.update(k=3.0)


@case
def a_number_in_a_list_in_a_dict() -> Any:
    holder: Any = Holder(options={"deep": {"list": [1.0, 2.0]}})
    return (
        lambda x: x * holder.options["deep"]["list"][1],
        (X,),
        lambda: holder.options["deep"]["list"].__setitem__(1, 3.0),
    )


@case
def a_list_in_a_tuple() -> Any:
    holder: Any = Holder(options=([2.0],))
    return lambda x: x * holder.options[0][0], (X,), lambda: holder.options[0].__setitem__(0, 3.0)


@case
def the_order_of_a_dict() -> Any:
    holder: Any = Holder(steps={"double": 2.0, "add": 1.0})

    def step(x: Any) -> Any:
        for name, k in holder.steps.items():
            x = x * k if name == "double" else x + k
        return x

    return step, (X,), lambda: holder.steps.update(double=holder.steps.pop("double"))


@case
def a_long_list() -> Any:
    holder: Any = Holder(many=[float(i) for i in range(100)])
    return lambda x: x * holder.many[70], (X,), lambda: holder.many.__setitem__(70, 3.0)


@case
def the_sign_of_a_zero() -> Any:
    holder: Any = Holder(k=0.0)
    return lambda x: x * holder.k, (X,), lambda: setattr(holder, "k", -0.0)


@case
def a_number_of_another_type() -> Any:
    holder: Any = Holder(k=2)
    return lambda x: x**holder.k, (np.array([1, 2, 3]),), lambda: setattr(holder, "k", 2.0)


@case
def evaluation() -> Any:
    network = nn.Sequential(linear(0), nn.Dropout(0.9, rng=np.random.default_rng(0)))
    network.eval()
    return lambda x: network(x).shape and x * (3.0 if network.training else 2.0), (X,), network.train


@case
def requires_grad() -> Any:
    log_sigma = Tensor([0.5], name="log_sigma")
    every = [Tensor(X, requires_grad=True), log_sigma]

    def step(x: Any) -> Any:
        return sum(((p * x.sum()).sum() for p in every if p.requires_grad), start=0 * x.sum())

    return lambda x: (step(x), log_sigma * 1)[0], (X,), lambda: setattr(log_sigma, "requires_grad", True)


@case
def a_parameter_that_is_assigned() -> Any:
    network = linear(0)
    return lambda x: network(x), (X,), lambda: setattr(network.weight, "data", np.ones((3, 3), F))


@case
def a_parameter_that_is_laid_out_in_another_way() -> Any:
    network = linear(0)
    return (
        lambda x: network(x),
        (X,),
        lambda: setattr(network.weight, "data", np.asfortranarray(2 * network.weight.data)),
    )


@case
def a_parameter_that_is_another() -> Any:
    network = linear(0)
    return lambda x: network(x), (X,), lambda: setattr(network, "weight", Tensor(np.ones((3, 3), F), True))


@case
def values_in_place() -> Any:
    network = linear(0)
    return lambda x: network(x), (X,), lambda: network.weight.data.__setitem__(0, 5.0)


@case
def loaded_weights() -> Any:
    network = linear(0)
    return lambda x: network(x), (X,), lambda: network.load_state_dict(linear(3).state_dict())


@case
def a_buffer() -> Any:
    holder: Any = Holder(mean=nn.Buffer([1.0, 2.0, 3.0]))
    return lambda x: x - holder.mean, (X,), lambda: holder.mean.assign(5 * X)


@case
def an_array_that_ops_take() -> Any:
    table = X * 2
    return lambda x: x * table, (X,), lambda: table.__setitem__(1, 9.0)


@case
def a_view_of_an_array() -> Any:
    table = np.arange(6, dtype=F)
    return lambda x: x * table[1:4], (X,), lambda: table.__setitem__(2, 9.0)


@case
def the_formula_of_a_row() -> Any:
    op: Op = tg.unary("row_of_a_test", lambda x: x * 2, lambda g, out, x: g * 2).op
    function = op.function
    return lambda x: function(x), (X,), lambda: setattr(op, "forward", lambda x: x * 3)


@case
def the_rule_of_a_row() -> Any:
    op: Op = tg.unary("row_of_a_test", lambda x: x * 2, lambda g, out, x: g * 2).op
    function = op.function
    w = Tensor(X, requires_grad=True)
    return lambda x: tg.grad((function(w) * x).sum(), w), (X,), lambda: setattr(op, "rules", (lambda g, out, x: g * 3,))


@case
def a_row_that_is_defined_anew() -> Any:
    space = {"f": tg.unary("row_of_a_test", lambda x: x * 2, lambda g, out, x: g * 2)}

    def change() -> None:
        space["f"] = tg.unary("row_of_a_test", lambda x: x * 3, lambda g, out, x: g * 3)

    return lambda x: space["f"](x), (X,), change


@case
def which_arguments_are_one() -> Any:
    args = [X, X]
    return lambda a, b: a * (2.0 if a is b else 3.0) + b, args, lambda: args.__setitem__(1, X.copy())


@case
def which_tensors_are_one() -> Any:
    t = Tensor(X)
    args = [t, Tensor(2 * X), t]
    return lambda a, b, c: a * (2.0 if a is c else 3.0) + b, args, lambda: args.__setitem__(2, t.detach())


def tensors(args: Any) -> list[Any]:
    """The arguments as the step gets them."""
    made: dict[int, Any] = {}
    return [made.setdefault(id(x), Tensor(x)) if isinstance(x, np.ndarray) else x for x in args]


@pytest.mark.parametrize(
    ("name", "before"), [*itertools.product(CASES, (2, 4, 8)), *itertools.product(list(CASES)[::7], (599, 1000))]
)
def test_the_next_call_computes_with_what_has_changed(
    name: str, before: int, caplog: pytest.LogCaptureFixture, table: dict[str, Op]
) -> None:
    step, args, change = CASES[name]()
    compiled: Compiled = compile(step)

    def right(calls: int) -> None:
        replays = compiled.replays
        for _ in range(calls):
            assert as_bytes(compiled(*args)) == as_bytes(step(*tensors(args)))
        assert compiled.replays > replays or calls < 3

    right(before)
    was = as_bytes(compiled(*args))
    change()
    assert as_bytes(step(*tensors(args))) != was
    right(9)
    assert not caplog.records
    assert compiled.audits >= 3


def test_what_has_not_changed_is_recorded_no_more() -> None:
    """Only the hint has moved: all is compared, and found to be as it was."""
    network = nn.Sequential(linear(0), nn.Dropout(0.5, rng=np.random.default_rng(0)), linear(1))
    optimizer = optim.Momentum(network.parameters(), lr=0.01)
    step = descent(optimizer, lambda x: (network(x) ** 2).sum())
    compiled = compile(step)
    for k in range(30):
        network.eval()
        linear(0).k = 3
        optimizer.groups[0]["lr"] = 0.01 / (k + 1)
        network.train()
        compiled(X)
    assert compiled.replays == 30 - 2 - compiled.audits  # the velocities begin, and one recording
    assert compiled.source.count("def step(") == 1


def test_the_sign_of_a_zero_that_is_an_argument_counts() -> None:
    compiled = compile(lambda x, k: x * k)
    assert [np.signbit(compiled(X, 0.0 if i % 2 else -0.0)._array).all() for i in range(8)] == [True, False] * 4


def test_a_parameter_that_is_also_an_argument_is_updated_at_each_call() -> None:
    def make() -> Any:
        w = parameter()
        optimizer = optim.SGD([w], lr=0.1)

        step = descent(optimizer, lambda p: (p * p).sum())

        return step, w

    courses = []
    for wrap in (lambda step: step, compile):
        step, w = make()
        run = wrap(step)
        courses.append([(as_bytes(run(w)), as_bytes(w)) for _ in range(5)])
    assert courses[0] == courses[1]


def test_what_a_step_keeps_for_others_is_that_of_each_call() -> None:
    network = Scaled()

    def step(x: Any) -> Any:
        network.kept = x * 2
        return network.kept  # type: ignore[attr-defined]

    compiled = compile(step)
    for i in range(20):
        compiled(X * i)
        assert as_bytes(network.kept) == as_bytes(X * i * 2)  # type: ignore[attr-defined]
    assert "step" in repr(compiled)


def test_batches_in_containers_that_are_made_anew_are_arguments(caplog: pytest.LogCaptureFixture) -> None:
    def make() -> Any:
        w = parameter()
        optimizer = optim.SGD([w], lr=0.1)

        def step(batch: Any, scales: Any) -> Any:
            loss = ((w * batch["x"] - batch["y"][0]) ** 2).sum() * scales[0]
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            return {"loss": loss}

        return step, w

    courses = []
    for wrap in (lambda step: step, compile):
        step, w = make()
        run = wrap(step)
        course = []
        for i in range(8):
            batch = {"x": np.full(2, i, F), "y": [Tensor(np.ones(2, F))]}
            course.append((as_bytes(run(batch, (0.5,))["loss"]), as_bytes(w)))
        courses.append(course)
    assert courses[0] == courses[1]
    assert run.source.startswith("# step(batch_x float32 (2,), batch_y_0 float32 (2,))")
    assert run.source.count("def step(") == 1
    assert not caplog.records


def test_parameters_in_a_list_are_no_arguments() -> None:
    def course(wrap: Callable[..., Any]) -> Any:
        parameters = [parameter()]
        optimizer = optim.SGD(parameters, lr=0.1)
        run = wrap(descent(optimizer, lambda parameters, x: (parameters[0] * x).sum()))
        values = [(as_bytes(run(parameters, Tensor(np.ones(2, F)))), as_bytes(parameters[0])) for _ in range(5)]
        return values, getattr(run, "source", "def step(").count("def step(")

    assert course(compile) == course(lambda step: step)


def test_a_velocity_that_two_optimizers_hold_is_not_written_by_both() -> None:
    def course(wrap: Callable[..., Any]) -> Any:
        ws = [parameter(), parameter()]
        optimizers = [optim.Momentum([w], lr=0.1, momentum=0.5) for w in ws]
        steps = [
            wrap(descent(optimizer, lambda x, w=w: (w * x).sum())) for optimizer, w in zip(optimizers, ws, strict=True)
        ]
        for k in range(12):
            if k == 6:
                optimizers[0].state[ws[0]] = optimizers[1].state[ws[1]]
            for step, factor in zip(steps, (1, 3), strict=True):
                step(Tensor(np.full(2, factor, F)))
        return list(map(as_bytes, ws))

    assert course(compile) == course(lambda step: step)


def test_a_step_that_writes_and_logs_is_compiled() -> None:
    log, file = logging.getLogger("of_a_user"), sys.stderr

    def step(x: Any) -> Any:
        log.debug("a step")
        print("", end="", file=file)
        return x * 2

    compiled = compile(step)
    for _ in range(4):
        compiled(X)
    assert "def step(" in compiled.source


def test_a_learning_rate_that_steps_down_is_no_change() -> None:
    w = parameter()
    optimizer = optim.Nesterov([w], lr=0.5, momentum=0.5)
    schedule = optim.StepLR(optimizer, 1, 0.5)

    step = descent(optimizer, lambda x: (w * x).sum())

    compiled = compile(step)
    for _ in range(8):
        compiled(np.ones(2, F))
        schedule.step()
    assert len(compiled._variants) == 1


def test_a_learning_rate_is_a_number_of_whatever_type() -> None:
    """It is read at each call: 1 and 1.0 are no two programs, and give the same bits as the step itself."""
    courses = []
    for backend in ("eager", "numpy"):
        w = parameter()
        optimizer = optim.Momentum([w], lr=1, momentum=0.5)
        step: Compiled = compile(descent(optimizer, lambda x, w=w: (w * w * x).sum()), backend=backend)
        for lr in (1, 1, 1, 1, 1.0, 0.25, 1, 0, 0.5):
            optimizer.groups[0]["lr"] = lr
            step(np.full(2, 0.125, F))
        courses.append(w.data.tobytes())
    assert courses[0] == courses[1]
    assert len(step._variants) == 1
    assert step.replays >= 4


def test_a_copy_of_a_compiled_step_is_one_too() -> None:
    network = Scaled()
    network.step = compile(len)
    twin: Any = copy.deepcopy(network)
    assert repr(twin.step) == "compile(len)"
    assert twin.step is not network.step  # type: ignore[attr-defined]


def check_same_course(make: Callable[[], tuple[Callable[[], Any], Tensor]], reason: str = "") -> None:
    """The same costs, values and gradients, compiled and not."""
    courses = []
    for wrap in (lambda step: step, compile):
        step, w = make()
        run = wrap(step)
        courses.append([[as_bytes(run()) for _ in range(6)], as_bytes(w)])
    assert courses[0] == courses[1]
    assert reason in run.source
    assert reason or "def step(" in run.source


def parameter() -> Tensor:
    return Tensor([1.0, 2.0], requires_grad=True)


def test_an_option_that_the_step_sets_is_set_at_each_call() -> None:
    def make() -> Any:
        w = parameter()
        optimizer = optim.SGD([w], lr=0.5)

        def step() -> Any:
            loss = (w * w).sum()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            optimizer.groups[0]["lr"] *= 0.5
            return loss

        return step, w

    check_same_course(make, "sets 'lr' of an optimizer")


def test_gradients_of_what_no_optimizer_steps_are_kept() -> None:
    made = []

    def make() -> Any:
        w, u = parameter(), parameter()
        made.append(u)
        optimizer = optim.SGD([w], lr=0.5)

        step = descent(optimizer, lambda: (w * u).sum())

        return step, w

    check_same_course(make, "leaves gradients behind")
    assert as_bytes(made[0].grad) == as_bytes(made[1].grad)


def test_gradients_that_nobody_clears_add_up() -> None:
    def make() -> Any:
        w = parameter()
        optimizer = optim.SGD([w], lr=0.1)

        def step() -> Any:
            loss = (w * w).sum()
            loss.backward()
            optimizer.step()
            return loss

        return step, w

    check_same_course(make, "zero_grad() in it")


def test_a_cost_of_two_parts_and_two_steps_in_one_are_compiled() -> None:
    def make() -> Any:
        w = parameter()
        optimizer = optim.SGD([w], lr=0.1, weight_decay=0.1)

        def step() -> Any:
            for _ in range(2):
                loss = (w * w).sum() + 0.01 * (w**2).mean() + (w @ w)
                loss.backward()
                optimizer.step()
                optimizer.zero_grad()
            return loss

        return step, w

    check_same_course(make)


@pytest.mark.parametrize(
    "formula",
    [
        lambda g, s, o: (s.update(h=o["a"] * np.zeros_like(g) + g * g), g)[1],
        lambda g, s, o: np.asarray(o["a"], g.dtype) * g,
        lambda g, s, o: np.sqrt(o["a"]) * g,
        lambda g, s, o: math.sqrt(o["a"]) * g,
        lambda g, s, o: math.sqrt(o["a"]) * g * o["a"],
        lambda g, s, o: g * o["a"] if math.log(o["a"]) < -1 else g,
        lambda g, s, o: np.full(2, o["a"], "f") * g,
        lambda g, s, o: g * max(o["a"] / 10, 0.04),
        lambda g, s, o: (1 - o["a"]) * g + o["a"] * (0.25 - o["a"]),
        lambda g, s, o: g ** (1 + o["a"]) * abs(-o["a"]) * round(o["a"], 1) * (0.7 % o["a"]),
        lambda g, s, o: g * {0.5: 2.0, 0.25: 3.0}[o["a"]],
        lambda g, s, o: g * float(f"{o['a']:.2f}") * o["a"].real,
        lambda g, s, o: np.multiply(o["a"], g) if isinstance(o["a"], float) else g,
        lambda g, s, o: np.clip(g, -o["a"], o["a"]),
        lambda g, s, o: np.where(g > o["a"], o["a"], g),
        lambda g, s, o: tg.leaky_relu(g - 1, slope=o["a"]),
        lambda g, s, o: (s.update(a=o["a"]), s["a"] * g)[1],
        lambda g, s, o: (s.update(h=np.stack([g, g])), o["a"] * (s["h"][0] if "h" in s else g))[1],
    ],
)
def test_an_option_in_the_formula_of_an_optimizer_is_that_of_the_call(formula: Callable[..., Any]) -> None:
    class Own(optim.Optimizer):
        def direction(self, gradient: Any, state: Any, options: Any) -> Any:
            return formula(gradient, state, options)

    def course(wrap: Callable[..., Any]) -> Any:
        w = parameter()
        optimizer = Own([w], lr=0.5, options={"a": 0.5})
        run = wrap(descent(optimizer, lambda: (w * w).sum()))
        for k in range(12):
            optimizer.groups[0]["a"] = 0.5 if k < 6 else 0.25
            run()
        if wrap is compile:
            assert "def step(" in run.source
            assert "eagerly" not in run.source
        return as_bytes(w), {key: (array.dtype, array.tobytes()) for key, array in optimizer.state[w].items()}

    assert course(compile) == course(lambda step: step)


def test_gradients_that_a_compiled_evaluation_only_passes_by_stay() -> None:
    w = parameter()
    compiled = compile(lambda x: (w * x).sum())
    for _ in range(4):
        (w * w).sum().backward()
        compiled(np.ones(2, F))
    assert w.grad is not None
    assert w.grad.data.tolist() == [8, 16]


def test_what_a_formula_counts_it_counts_once_a_step() -> None:
    class Counting(optim.Optimizer):
        def __init__(self, params: Any, lr: float) -> None:
            super().__init__(params, lr)
            self.steps = [0]

        def direction(self, gradient: Any, state: Any, options: Any) -> Any:
            self.steps[0] += 1
            return gradient / self.steps[0]

    def make() -> Any:
        w = parameter()
        optimizer = Counting([w], lr=0.1)

        step = descent(optimizer, lambda: (w * w).sum())

        return step, w

    check_same_course(make, "#")


@pytest.mark.parametrize("name", ["x²", "µ", "step", "slice", "tuple", "1st", "a b"])
def test_any_name_of_a_tensor_becomes_one_of_the_program(name: str) -> None:
    w = Tensor([2.0, 3.0], requires_grad=True, name=name)
    compiled = compile(lambda x: (w * x)[::-1])
    assert [compiled(np.ones(2, F)).data.tolist() for _ in range(4)] == [[3, 2]] * 4
    assert "def step(" in compiled.source


def test_two_groups_that_look_alike_are_two() -> None:
    def course(wrap: Callable[..., Any]) -> Any:
        first, second = (Tensor(np.zeros(2, F), requires_grad=True) for _ in range(2))
        optimizer = optim.SGD([{"params": [first]}, {"params": [second]}], lr=0.5)
        run = wrap(descent(optimizer, lambda x: (first * x + second * x).sum()))
        for k in range(6):
            optimizer.groups[1]["lr"] = 0.5 if k < 3 else 0.1
            run(Tensor(np.ones(2, F)))
        return as_bytes(first), as_bytes(second)

    assert course(compile) == course(lambda step: step)


def test_a_choice_by_chance_is_made_anew_beside_an_op_that_draws() -> None:
    def run(wrap: Callable[..., Any]) -> list[bytes]:
        chance = np.random.default_rng(0)
        dropout = nn.Dropout(0.5, rng=np.random.default_rng(0))

        def step(x: Any) -> Any:
            y = dropout(x)
            return (y * 10 if chance.random() < 0.7 else y).sum()

        step = wrap(step)
        return [as_bytes(step(Tensor(X))) for _ in range(12)]

    assert run(compile) == run(lambda step: step)


# ---- What a step changes itself, and what is alike but not the same


def test_memory_that_is_a_parameters_under_another_name_is_read_again_after_its_update() -> None:
    w = parameter()
    before = w.detach()
    optimizer = optim.SGD([w], lr=0.1)

    def step(x: Any) -> Any:
        a = before * 2
        loss = (w * w * x).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return a + before * 2

    compiled = compile(step)
    results = []
    for run in (step, compiled, compiled, compiled):
        w.data[...] = [1, 2]
        results.append(as_bytes(run(Tensor(np.ones(2, F)))))
    assert len(set(results)) == 1


@pytest.mark.parametrize("kind", [np.recarray, np.matrix, np.memmap])
def test_arrays_of_other_classes_are_arguments_like_all(kind: Any, tmp_path: Path) -> None:
    w = parameter()
    optimizer = optim.SGD([w], lr=0.1)

    step = descent(optimizer, lambda x: (w * x).sum())

    compiled = compile(step)
    array = np.ones((1, 2), F)
    if kind is np.memmap:
        array = np.memmap(tmp_path / "x", F, "w+", shape=(1, 2))
        array[:] = 1
    for i in range(5):
        value = compiled(array.view(kind)).item()
        assert value == pytest.approx(3 - 0.2 * i)
    assert compiled.source.count("def step(") == 1


def test_momentum_is_replayed_for_batches_of_two_sizes() -> None:
    def make() -> Any:
        w = parameter()
        optimizer = optim.Momentum([w], lr=0.1, momentum=0.5)
        sizes = itertools.cycle([3, 4])
        data = Tensor(np.ones((4, 2), F))

        step = descent(optimizer, lambda x: (w * x).sum())

        return step, w, lambda: data._array[: next(sizes)]

    courses = []
    for wrap in (lambda step: step, compile):
        step, w, batch = make()
        run = wrap(step)
        courses.append([(as_bytes(run(Tensor(batch()))), as_bytes(w)) for _ in range(12)])
    assert courses[0] == courses[1]
    replays = [v.replay for v in run._variants]
    run(Tensor(batch()))
    run(Tensor(batch()))
    assert [v.replay for v in run._variants] == replays  # bound once, not anew at each change of size


def test_keyword_only_arrays_reach_the_step_as_tensors() -> None:
    assert compile(lambda *, x: x.sigmoid())(x=X).shape == (3,)


def test_an_array_that_was_unpickled_is_an_argument_like_others() -> None:
    compiled = compile(lambda x: x * 2)
    text = pickle.dumps(X)
    for _ in range(5):
        compiled(pickle.loads(text))
    replay = compiled._last
    assert as_bytes(compiled(X)) == as_bytes(X * 2)
    assert compiled._last is replay


def test_threads_share_one_lock_for_all_forms_of_arguments() -> None:
    w = parameter()
    optimizer = optim.SGD([w], lr=1.0)

    step = descent(optimizer, lambda batch: (w * batch[0]).sum())

    compiled = compile(step)
    x = np.ones(2, F)
    taken: list[bool] = []
    for batch in ((x,), [x]):
        with compiled.lock:
            thread = threading.Thread(target=lambda batch=batch: taken.append(compiled(batch) is not None))
            thread.start()
            thread.join(0.05)
            assert not taken
        thread.join()
        assert taken.pop()


# ---- Arguments that the step knows by another name, or changes


def sums_by_two_names(w: Tensor) -> Any:
    return lambda p, x: tg.grad((p * w * x).sum(), w)


def trains_by_two_names(w: Tensor) -> Any:
    return descent(optim.SGD([w], lr=0.1), lambda p, x: ((p - x) ** 2).sum() + (w**2).sum())


def trains_one_in_a_list(w: Tensor) -> Any:
    every = [w]
    return lambda p, x: tg.grad((p * every[0] * x).sum(), every)[0]


def trains_one_of_a_module(w: Tensor) -> Any:
    holder = Holder(w=w)
    return lambda p, x: tg.grad((p * holder.w * x).sum(), p)  # type: ignore[attr-defined]


@pytest.mark.parametrize("make", [sums_by_two_names, trains_by_two_names, trains_one_in_a_list, trains_one_of_a_module])
def test_a_parameter_under_two_names_is_one(make: Any) -> None:
    def course(wrap: Callable[..., Any]) -> Any:
        w = parameter()
        run = wrap(make(w))
        values = [(as_bytes(run(w, Tensor(np.full(2, i, F)))), as_bytes(w)) for i in range(10)]
        assert getattr(run, "replays", 6) == 6
        return [*values, as_bytes(run(parameter(), Tensor(np.ones(2, F)))), as_bytes(w)]

    assert course(compile) == course(lambda step: step)


def test_an_argument_is_changed_in_the_first_call_too() -> None:
    def assigned(p: Tensor) -> None:
        p.data = p.data - 0.5 * tg.grad((p * p).sum(), p).data

    def tracked(p: Tensor) -> None:
        p.requires_grad = True

    def raises(p: Tensor) -> None:
        (p * p).sum().backward()
        raise LookupError

    def course(step: Callable[..., Any], ps: list[Tensor]) -> Any:
        for p in ps:
            with contextlib.suppress(LookupError):
                step(p)
        return [(as_bytes(p), p.requires_grad, None if p.grad is None else as_bytes(p.grad)) for p in ps]

    for step in (assigned, tracked, raises):
        for of in (lambda: Tensor(X), lambda: Tensor(X, requires_grad=True)):
            if of().requires_grad or step is tracked:
                assert course(compile(step), [of(), of()]) == course(step, [of(), of()])


def test_gradients_flow_on_through_an_argument_that_is_a_result() -> None:
    w = parameter()

    def step(h: Any) -> Any:
        return tg.grad((h * h).sum(), w)

    compiled = compile(step)
    for i in range(6):
        x = Tensor(np.full(2, i, F))
        assert as_bytes(compiled(w * x)) == as_bytes(step(w * x))
    assert "graph" in compiled.source


@pytest.mark.parametrize("requires_grad", [False, True])
def test_an_argument_that_is_returned_is_the_argument(requires_grad: bool) -> None:
    compiled = compile(lambda x, y: {"same": x, "other": [y, x * 2]})
    for i in range(10):
        x, y = Tensor(i * X, requires_grad=requires_grad), Tensor(X)
        result = compiled(x, y)
        assert result["same"] is x
        assert result["other"][0] is y
    assert compiled.replays == 6


def test_gradients_with_respect_to_arguments_made_anew_are_replayed() -> None:
    compiled = compile(lambda x: tg.grad((x * x).sum(), x))
    for i in range(10):
        assert as_bytes(compiled(Tensor(i * X, requires_grad=True))) == as_bytes(2 * i * X)
    assert compiled.replays == 6


def test_numbers_in_lists_and_dicts_are_arguments_by_what_they_are() -> None:
    sizes = [1, 2]
    compiled = compile(lambda x, sizes, options: x * sizes[0] + sizes[1] * options["k"])
    for i in range(12):
        assert as_bytes(compiled(X, sizes, {"k": (2.0, 3.0)[i % 2]})) == as_bytes(
            X * sizes[0] + sizes[1] * (2.0 + i % 2)
        )
    assert compiled.replays == 12 - 2 - compiled.audits
    sizes[0] = 5
    assert as_bytes(compiled(X, sizes, {"k": 2.0})) == as_bytes(X * 5 + 4)


def test_a_buffer_that_is_an_argument_is_assigned() -> None:
    def step(x: Any, mean: Any) -> Any:
        mean.assign(0.5 * mean + 0.5 * x)
        return mean * 1

    compiled, (a, b) = compile(step), (nn.Buffer(np.zeros(3, F)), nn.Buffer(np.zeros(3, F)))
    for i in range(10):
        assert as_bytes(compiled(i * X, a)) == as_bytes(step(Tensor(i * X), b))
        assert as_bytes(a) == as_bytes(b)
    assert compiled.replays == 6


def test_a_source_of_random_numbers_without_a_state_does_no_harm() -> None:
    source = random.SystemRandom()
    compiled = compile(lambda x: x * 2 if source else x)
    assert as_bytes(compiled(X)) == as_bytes(2 * X)
