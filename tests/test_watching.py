"""replay/watching.py: whatever a step refers to may change between calls, and the next call computes with it."""

from __future__ import annotations

import copy
import dataclasses
import enum
import functools
import importlib
import itertools
import logging
import math
import pickle
import random
import sys
import types
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinygrad_mnist as tg
from tinygrad_mnist import Tensor, compile, nn, optim
from tinygrad_mnist.tensor import values

F = np.float32
X = np.arange(1, 4, dtype=F)
CASES: dict[str, Callable[[], tuple[Callable[..., Any], tuple[Any, ...], Callable[[], object]]]] = {}
"""By name: a step, its arguments, and what changes."""


def case(make: Callable[[], Any]) -> Callable[[], Any]:
    CASES[make.__name__] = make
    return make


SCALES = {"base": 2.0}


class Colour(enum.Enum):
    RED = 1


class Scaled(nn.Module):
    alpha = 1.0

    def __init__(self) -> None:
        self.linear = nn.Linear(3, 2, rng=np.random.default_rng(0))

    def helper(self, x: Any) -> Any:
        return self.linear(x) * self.alpha

    def forward(self, x: Any) -> Any:
        return self.helper(x)


class Config:
    scale = 2.0

    def __init__(self) -> None:
        self._hidden = 2.0

    @property
    def hidden(self) -> float:
        return self._hidden

    @classmethod
    def scaled(cls, x: Any) -> Any:
        return x * cls.scale


@dataclasses.dataclass(slots=True)
class Slots:
    k: float = 2.0


@case
def an_attribute_of_a_class() -> Any:
    local: Any = type("Local", (), {"scale": 2.0})
    return lambda x: x * local.scale, (X,), lambda: setattr(local, "scale", 3.0)


@case
def an_attribute_of_a_class_that_its_method_reads() -> Any:
    return Config.scaled, (X,), lambda: setattr(Config, "scale", Config.scale + 1)


@case
def a_default_of_a_class_on_the_instance() -> Any:
    network = Scaled()
    return lambda x: network(x), (X,), lambda: setattr(network, "alpha", 3.0)


@case
def a_default_of_a_class_on_the_class() -> Any:
    local = type("Local", (Scaled,), {"alpha": 2.0})
    return local(), (X,), lambda: setattr(local, "alpha", 4.0)


@case
def a_property() -> Any:
    config = Config()
    return lambda x: x * config.hidden, (X,), lambda: setattr(config, "_hidden", 3.0)


@case
def a_slot() -> Any:
    config = Slots()
    return lambda x: x * config.k, (X,), lambda: setattr(config, "k", 3.0)


@case
def a_variable_of_a_module() -> Any:
    module = types.ModuleType("configuration_of_the_user")
    sys.modules[module.__name__] = module
    module.scale = 2.0  # type: ignore[attr-defined]
    return lambda x: x * module.scale, (X,), lambda: setattr(module, "scale", 3.0)


@case
def a_module_as_an_argument() -> Any:
    dropout = nn.Dropout(0.9, rng=np.random.default_rng(0))
    return lambda module, x: module(x), (dropout, X), dropout.eval


@case
def a_dict_of_tensors_as_an_argument() -> Any:
    batch = {"x": Tensor(X)}
    return lambda batch: batch["x"] * 2, (batch,), lambda: batch.update(x=Tensor(5 * X))


@case
def an_object_as_an_argument() -> Any:
    config = types.SimpleNamespace(k=2.0)
    return lambda config, x: x * config.k, (config, X), lambda: setattr(config, "k", 3.0)


@case
def a_default_argument() -> Any:
    config = {"k": 2.0}

    def step(x: Any, own: Any = config, *, other: Any = config) -> Any:
        return x * own["k"] + other["k"]

    return step, (X,), lambda: config.update(k=3.0)


@case
def a_long_list() -> Any:
    numbers = [float(i) for i in range(300)]
    return lambda x: x * numbers[5], (X,), lambda: numbers.__setitem__(5, 77.0)


@case
def a_key_of_several_parts() -> Any:
    table = {(1, 2): 2.0, 1.5: 1.0}
    return lambda x: x * table[1, 2], (X,), lambda: table.__setitem__((1, 2), 3.0)


@case
def an_option_that_the_step_reads() -> Any:
    optimizer = optim.SGD([Tensor(X, requires_grad=True)], lr=0.5)
    return lambda x: x * optimizer.groups[0]["lr"], (X,), lambda: optimizer.groups[0].update(lr=0.25)


@case
def a_function_of_numpy() -> Any:
    config = types.SimpleNamespace(activation=np.tanh)
    return lambda x: config.activation(x), (X,), lambda: setattr(config, "activation", np.exp)


@case
def a_variable_of_a_compiled_step_inside() -> Any:
    config = {"k": 2.0}
    inner = compile(lambda x: x * config["k"])
    return lambda x: inner(x) + 1, (X,), lambda: config.update(k=3.0)


@case
def what_an_operator_of_an_object_reads() -> Any:
    config = {"k": 2.0}

    class Table:
        def __getitem__(self, key: int) -> float:
            return config["k"] * key

    table = Table()
    return lambda x: x * table[3], (X,), lambda: config.update(k=3.0)


@case
def what_a_base_class_reads_under_super() -> Any:
    class Base(nn.Module):
        def forward(self, x: Any) -> Any:
            return x * SCALES["base"]

    class Derived(Base):
        def forward(self, x: Any) -> Any:
            return super().forward(x) + 1

    return Derived(), (X,), lambda: SCALES.update(base=SCALES["base"] + 1)


@case
def an_attribute_of_a_function() -> Any:
    def step(x: Any) -> Any:
        return x * step.scale  # type: ignore[attr-defined]

    step.scale = 2.0  # type: ignore[attr-defined]
    return step, (X,), lambda: setattr(step, "scale", 3.0)


@case
def a_module_that_the_step_imports() -> Any:
    module = types.ModuleType("imported_in_the_step")
    sys.modules[module.__name__] = module
    module.scale = 2.0  # type: ignore[attr-defined]

    def step(x: Any) -> Any:
        from imported_in_the_step import scale  # type: ignore[import-not-found]

        return x * scale

    return step, (X,), lambda: setattr(module, "scale", 3.0)


@case
def the_order_of_a_dict() -> Any:
    layers = {"double": 2.0, "add": 1.0}

    def step(x: Any) -> Any:
        for name, k in layers.items():
            x = x * k if name == "double" else x + k
        return x

    return step, (X,), lambda: layers.update(double=layers.pop("double"))


@case
def an_attribute_whose_name_is_no_identifier() -> Any:
    config = types.SimpleNamespace(**{"the scale": 2.0, "class": 1.0})
    return lambda x: x * getattr(config, "the scale"), (X,), lambda: setattr(config, "the scale", 3.0)


@case
def a_key_that_is_an_enumeration() -> Any:
    table = {Colour.RED: 2.0, (1, Colour.RED): 1.0}
    return lambda x: x * table[Colour.RED], (X,), lambda: table.update({Colour.RED: 3.0})


@case
def the_sign_of_a_zero() -> Any:
    config = {"k": 0.0}
    return lambda x: x * config["k"], (X,), lambda: config.update(k=-0.0)


@case
def a_deque() -> Any:
    numbers = deque([2.0])
    return lambda x: x * numbers[0], (X,), lambda: numbers.__setitem__(0, 3.0)


@case
def a_set() -> Any:
    numbers = {2.0}
    return lambda x: x * max(numbers), (X,), lambda: numbers.add(3.0)


@case
def a_view_of_a_dict_cannot_be_watched() -> Any:
    numbers = {"k": 2.0}
    values = numbers.values()
    return lambda x: x * sum(values), (X,), lambda: numbers.update(k=3.0)


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
def a_method_of_a_class() -> Any:
    local = type("Local", (Scaled,), {"forward": lambda self, x: x * 2})
    return local(), (X,), lambda: setattr(local, "forward", lambda self, x: x * 3)


@case
def a_property_of_a_class() -> Any:
    local: Any = type("Local", (), {"k": property(lambda self: 2.0)})
    config = local()
    return lambda x: x * config.k, (X,), lambda: setattr(local, "k", property(lambda self: 3.0))


@case
def a_descriptor() -> Any:
    class Hyper:
        k = 2.0

        def __get__(self, instance: Any, owner: Any) -> float:
            return self.k

    hyper = Hyper()
    local: Any = type("Local", (), {"gain": hyper})
    config = local()
    return lambda x: x * config.gain, (X,), lambda: setattr(hyper, "k", 3.0)


@case
def what_an_object_made_in_the_step_reads() -> Any:
    config = {"k": 2.0}

    class Noise:
        def __init__(self) -> None:
            self.k = config["k"]

    return lambda x: x * Noise().k, (X,), lambda: config.update(k=3.0)


@case
def an_attribute_of_a_class_by_its_name_as_text() -> Any:
    local: Any = type("Local", (), {"gain": 2.0})
    return lambda x: x * getattr(local, "gain"), (X,), lambda: setattr(local, "gain", 3.0)  # noqa: B009


@case
def a_slot_by_its_name_as_text() -> Any:
    config = Slots()
    return lambda x: x * getattr(config, "k"), (X,), lambda: setattr(config, "k", 3.0)  # noqa: B009


@case
def an_attribute_that_was_none() -> Any:
    config = types.SimpleNamespace(scale=None)
    return lambda x: x * (config.scale or 1.0), (X,), lambda: setattr(config, "scale", 3.0)


@case
def an_attribute_of_a_list_of_a_class_of_its_own() -> Any:
    class Many(list):
        scale = 2.0

    many = Many([1.0])
    return lambda x: x * many.scale * many[0], (X,), lambda: setattr(many, "scale", 5.0)


@case
def a_method_that_a_subclass_overrides_now() -> Any:
    base: Any = type("Base", (), {"f": lambda self, x: x * 2})
    local: Any = type("Local", (base,), {})
    thing = local()
    return lambda x: thing.f(x), (X,), lambda: setattr(local, "f", lambda self, x: x * 5)


@case
def the_class_of_an_object() -> Any:
    first: Any = type("First", (), {"f": lambda self, x: x * 2})
    second: Any = type("Second", (), {"f": lambda self, x: x * 7})
    thing = first()
    return lambda x: thing.f(x), (X,), lambda: setattr(thing, "__class__", second)


@case
def a_partial_method() -> Any:
    class Local:
        def f(self, k: float, x: Any) -> Any:
            return x * k

        g = functools.partialmethod(f, 2.0)

    thing = Local()
    return lambda x: thing.g(x), (X,), lambda: setattr(Local, "g", functools.partialmethod(Local.f, 5.0))


@case
def what_a_rare_operator_reads() -> Any:
    config = {"k": 2.0}

    class Shift:
        def __rshift__(self, x: Any) -> Any:
            return x * config["k"]

    shift: Any = Shift()
    return lambda x: shift >> x, (X,), lambda: config.update(k=9.0)


@case
def the_level_of_a_logger() -> Any:
    log = logging.getLogger("another_of_a_user")
    log.setLevel(logging.WARNING)
    return lambda x: x * (2.0 if log.isEnabledFor(logging.INFO) else 1.0), (X,), lambda: log.setLevel(logging.INFO)


@case
def the_code_of_a_function() -> Any:
    def scaled(x: Any) -> Any:
        return x * 2

    def other(x: Any) -> Any:
        return x * 3

    return lambda x: scaled(x), (X,), lambda: setattr(scaled, "__code__", other.__code__)


@case
def more_than_can_be_watched() -> Any:
    numbers = [float(i) for i in range(3000)]
    return lambda x: x * numbers[2900], (X,), lambda: numbers.__setitem__(2900, 77.0)


def test_a_number_that_is_set_anew_to_the_same_value_is_no_change() -> None:
    config = {"k": 0.5, "many": [0.0] * 300}
    calls = np.zeros(1)

    def step(x: Any) -> Any:
        calls[0] += 1
        return x * config["k"] + config["many"][-1]  # type: ignore[index]

    compiled = compile(step)
    for i in range(6):
        config["k"] = float("0.5")
        config["many"][-1] = -0.0 if i == 5 else float("0")  # type: ignore[index]
        compiled(X)
    assert calls[0] == 3


def test_the_sign_of_a_zero_that_is_an_argument_counts() -> None:
    compiled = compile(lambda x, k: x * k)
    assert [np.signbit(compiled(X, 0.0 if i % 2 else -0.0)._array).all() for i in range(8)] == [True, False] * 4


def test_a_parameter_that_is_also_an_argument_is_updated_at_each_call() -> None:
    def make() -> Any:
        w = parameter()
        optimizer = optim.SGD([w], lr=0.1)

        step = training_step(optimizer, lambda p: (p * p).sum())

        return step, w

    courses = []
    for wrap in (lambda step: step, compile):
        step, w = make()
        run = wrap(step)
        courses.append([(as_bytes(run(w)), as_bytes(w)) for _ in range(5)])
    assert courses[0] == courses[1]


def as_bytes(result: Any) -> bytes:
    return values(result).tobytes()


@pytest.mark.parametrize("name", CASES)
def test_the_next_call_computes_with_what_has_changed(name: str) -> None:
    step, args, change = CASES[name]()
    compiled = compile(step)
    before = [as_bytes(compiled(*args)) for _ in range(4)][-1]
    change()
    expected = as_bytes(step(*(Tensor(x) if isinstance(x, np.ndarray) else x for x in args)))
    assert as_bytes(compiled(*args)) == expected != before
    assert ("eagerly" in compiled.source) == ("cannot_be" in name or "can_be" in name)


def test_what_a_step_keeps_for_others_is_that_of_each_call() -> None:
    network = Scaled()

    def step(x: Any) -> Any:
        network.kept = x * 2  # type: ignore[attr-defined]
        return network.kept  # type: ignore[attr-defined]

    compiled = compile(step)
    for i in range(20):
        compiled(X * i)
        assert as_bytes(network.kept) == as_bytes(X * i * 2)  # type: ignore[attr-defined]
    assert "step" in repr(compiled)


@pytest.mark.parametrize("make", [np.random.RandomState, random.Random, np.random.default_rng, np.random.PCG64])
def test_a_choice_by_chance_is_made_anew_by_all_generators(make: Callable[[int], Any]) -> None:
    def run(wrap: Callable[..., Any]) -> list[bytes]:
        chance = make(0)
        if isinstance(chance, np.random.BitGenerator):
            draw: Any = functools.partial(lambda bits: np.random.Generator(bits).random(), chance)
        else:
            draw = chance.rand if isinstance(chance, np.random.RandomState) else chance.random
        step = wrap(lambda x: x * 2.0 if draw() < 0.8 else x * 3.0)
        return [as_bytes(step(X)) for _ in range(30)]

    assert run(compile) == run(lambda step: step)


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
        run = wrap(training_step(optimizer, lambda parameters, x: (parameters[0] * x).sum()))
        values = [(as_bytes(run(parameters, Tensor(np.ones(2, F)))), as_bytes(parameters[0])) for _ in range(5)]
        return values, getattr(run, "source", "def step(").count("def step(")

    assert course(compile) == course(lambda step: step)


def test_a_velocity_that_two_optimizers_hold_is_not_written_by_both() -> None:
    def course(wrap: Callable[..., Any]) -> Any:
        ws = [parameter(), parameter()]
        optimizers = [optim.Momentum([w], lr=0.1, momentum=0.5) for w in ws]
        steps = [
            wrap(training_step(optimizer, lambda x, w=w: (w * x).sum()))
            for optimizer, w in zip(optimizers, ws, strict=True)
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

    step = training_step(optimizer, lambda x: (w * x).sum())

    compiled = compile(step)
    for _ in range(8):
        compiled(np.ones(2, F))
        schedule.step()
    assert len(compiled._variants) == 1


def test_a_global_called_like_a_method_is_no_change() -> None:
    space: dict[str, Any] = {"w": parameter(), "optim": optim, "compile": compile}
    exec(
        "optimizer = optim.SGD([w], lr=0.1)\n"
        "@compile\n"
        "def train(x):\n"
        "    loss = (w * x).sum()\n"
        "    optimizer.zero_grad()\n"
        "    loss.backward()\n"
        "    optimizer.step()\n"
        "    return loss\n",
        space,
    )
    for step in range(6):
        space["step"] = step
        space["train"](np.ones(2, F))
    assert space["train"].source.count("def step(") == 1


def test_a_users_module_called_like_one_of_pythons_is_watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sched.py").write_text("SCALE = 2.0\ndef scaled(x):\n    return x * SCALE\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "sched", raising=False)
    module = importlib.import_module("sched")
    assert module.__file__ == str(tmp_path / "sched.py")
    compiled = compile(lambda x: module.scaled(x))
    for scale in (2.0, 2.0, 2.0, 5.0):
        module.SCALE = scale  # type: ignore[attr-defined]
        assert as_bytes(compiled(X)) == as_bytes(X * F(scale))
    sys.modules.pop("sched")


def test_a_step_of_many_models_is_compiled_for_each(caplog: pytest.LogCaptureFixture) -> None:
    space: dict[str, Any] = {}
    compiled = compile(lambda x: space["network"](x))
    for _ in range(20):
        space["network"] = Scaled()
        for _ in range(4):
            compiled(X)
        assert compiled.source.count("def step(") >= 1
    assert not caplog.records


def test_a_step_with_keyword_only_arguments_says_that_it_runs_eagerly(caplog: pytest.LogCaptureFixture) -> None:
    compiled = compile(lambda x, *, k: x * k)
    assert as_bytes(compiled(X, k=2.0)) == as_bytes(X * F(2))
    assert "keyword-only" in caplog.text


def test_a_copy_of_a_compiled_step_is_one_too() -> None:
    network = Scaled()
    network.step = compile(len)  # type: ignore[attr-defined]
    twin: Any = copy.deepcopy(network)
    assert repr(twin.step) == "compile(len)"
    assert twin.step is not network.step  # type: ignore[attr-defined]


def test_an_iterator_is_not_replayed() -> None:
    numbers = itertools.count()
    compiled = compile(lambda x: x * next(numbers))
    assert [compiled(X)._array[0] for _ in range(4)] == [0, 1, 2, 3]


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


def training_step(optimizer: optim.Optimizer, cost: Callable[..., Any]) -> Callable[..., Any]:
    def step(*args: Any) -> Any:
        loss = cost(*args)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    return step


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

        step = training_step(optimizer, lambda: (w * u).sum())

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
        run = wrap(training_step(optimizer, lambda: (w * w).sum()))
        for k in range(12):
            optimizer.groups[0]["a"] = 0.5 if k < 6 else 0.25
            run()
        if wrap is compile:
            assert "def step(" in run.source
            assert "eagerly" not in run.source
        return as_bytes(w), {key: (array.dtype, array.tobytes()) for key, array in optimizer.state[w].items()}

    assert course(compile) == course(lambda step: step)


def test_classes_of_the_users_own_do_not_keep_a_step_from_being_compiled() -> None:
    compiled = compile(lambda x: x * Config.scale if isinstance(x, Tensor) and Slots().k else x)
    for _ in range(6):
        compiled(X)
    assert compiled.source.count("def step(") == 1


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

        step = training_step(optimizer, lambda: (w * w).sum())

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
        run = wrap(training_step(optimizer, lambda x: (first * x + second * x).sum()))
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


def test_a_step_that_counts_runs_eagerly_also_when_its_count_begins_anew() -> None:
    class Trainer:
        def __init__(self) -> None:
            self.w, self.count = parameter(), 0
            self.optimizer = optim.SGD([self.w], lr=0.1)

        def step(self, x: Any) -> Any:
            self.count += 1
            loss = (self.w * x).sum() * self.count
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            return loss

    courses = []
    for wrap in (lambda step: step, compile):
        trainer = Trainer()
        step = wrap(trainer.step)
        for _ in range(4):
            trainer.count = 0
            for _ in range(4):
                step(np.ones(2, F))
        courses.append(as_bytes(trainer.w))
    assert courses[0] == courses[1]
    assert "changes what it refers to" in step.source


def test_what_a_method_does_not_name_may_change() -> None:
    class Trainer:
        def __init__(self) -> None:
            self.k = 2.0
            self.history: list[int] = []
            self.batches = iter([1])

        def step(self, x: Any) -> Any:
            return x * self.k

    trainer = Trainer()
    compiled = compile(trainer.step)
    for i in range(6):
        compiled(X)
        trainer.history.append(i)
    assert compiled.source.count("def step(") == 1
    trainer.k = 5.0
    assert as_bytes(compiled(X)) == as_bytes(X * F(5))


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

    step = training_step(optimizer, lambda x: (w * x).sum())

    compiled = compile(step)
    array = np.ones((1, 2), F)
    if kind is np.memmap:
        array = np.memmap(tmp_path / "x", F, "w+", shape=(1, 2))
        array[:] = 1
    for i in range(5):
        value = compiled(array.view(kind)).item()
        assert value == pytest.approx(3 - 0.2 * i)
    assert compiled.source.count("def step(") == 1


def test_an_equal_parameter_in_a_set_is_another() -> None:
    first, second = (Tensor([0.0], requires_grad=True) for _ in range(2))
    optimizer = optim.SGD([first, second], lr=0.1)
    chosen = {first}

    step = training_step(optimizer, lambda x: sum(((p - x) ** 2).sum() for p in chosen))

    compiled = compile(step)
    for _ in range(3):
        compiled(np.zeros(1, F))
    chosen.clear()
    chosen.add(second)
    compiled(np.ones(1, F))
    assert (first.item(), second.item()) == (0, pytest.approx(0.2))


def test_momentum_is_replayed_for_batches_of_two_sizes() -> None:
    def make() -> Any:
        w = parameter()
        optimizer = optim.Momentum([w], lr=0.1, momentum=0.5)
        sizes = itertools.cycle([3, 4])
        data = Tensor(np.ones((4, 2), F))

        step = training_step(optimizer, lambda x: (w * x).sum())

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

    step = training_step(optimizer, lambda batch: (w * batch[0]).sum())

    compiled = compile(step)
    x = np.ones(2, F)
    compiled((x,)), compiled([x])
    assert len({id(ungrouped._lock) for ungrouped in compiled._ungrouped.values()} | {id(compiled._lock)}) == 1
