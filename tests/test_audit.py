"""replay/audit.py: what no replay looks at is found when the step runs beside it, and told; its own state stays."""

from __future__ import annotations

import contextvars
import dataclasses
import enum
import functools
import itertools
import logging
import os
import sys
import threading
import types
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinygrad_mnist as tg
from tinygrad_mnist import Tensor, compile, nn, optim
from tinygrad_mnist.replay import Compiled
from tinygrad_mnist.tensor import values

F = np.float32
X = np.arange(1, 4, dtype=F)
SCALES = {"base": 2.0}
CASES: dict[str, Callable[[], tuple[Callable[..., Any], tuple[Any, ...], Callable[[], object]]]] = {}
"""By name: a step, its arguments, and what changes."""


def case(make: Callable[[], Any]) -> Callable[[], Any]:
    CASES[make.__name__] = make
    return make


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
def a_function_of_numpy() -> Any:
    config = types.SimpleNamespace(activation=np.tanh)
    return lambda x: config.activation(x), (X,), lambda: setattr(config, "activation", np.exp)


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


@case
def an_array_as_a_number() -> Any:
    t = np.array(2.0)
    return lambda x: x * float(t), (X,), lambda: t.__setitem__((), 3.0)


@case
def an_item_of_an_array() -> Any:
    s = np.array([2.0])
    return lambda x: x * s[0].item(), (X,), lambda: s.__setitem__(0, 3.0)


@case
def a_choice_by_an_array() -> Any:
    m = np.array([False, False])
    return lambda x: x * (3 if m.any() else 2), (X,), lambda: m.__setitem__(1, True)


@case
def what_numpy_computes_of_an_array() -> Any:
    s = np.array([1.0, 2.0, 3.0], F)
    return lambda x: x * (s / s.sum()), (X,), lambda: s.__setitem__(0, 5.0)


@case
def an_environment_variable() -> Any:
    os.environ["SCALE_OF_A_TEST"] = "2"
    return (
        lambda x: x * float(os.environ["SCALE_OF_A_TEST"]),
        (X,),
        lambda: os.environ.__setitem__("SCALE_OF_A_TEST", "3"),
    )


@case
def a_property_of_a_history() -> Any:
    history = [2.0]
    local = type("Local", (), {"last": property(lambda self: history[-1])})()
    return lambda x: x * local.last, (X,), lambda: history.append(3.0)


@case
def a_file() -> Any:
    path = Path(os.environ["TMP_OF_A_TEST"]) / "scale"
    path.write_text("2")
    return lambda x: x * float(path.read_text()), (X,), lambda: path.write_text("3")


@case
def an_attribute_by_vars() -> Any:
    config = types.SimpleNamespace(k=2.0)
    return lambda x: x * vars(config)["k"], (X,), lambda: setattr(config, "k", 3.0)


@case
def an_attribute_of_a_module_set_by_vars() -> Any:
    network = Scaled()
    network.alpha = 2.0
    return lambda x: network(x), (X,), lambda: vars(network).update(alpha=3.0)


@case
def a_class_attribute_of_a_module() -> Any:
    local = type("Local", (Scaled,), {"alpha": 2.0})
    return local(), (X,), lambda: setattr(local, "alpha", 3.0)


@case
def a_variable_of_the_context() -> Any:
    scale: Any = contextvars.ContextVar("scale", default=2.0)
    return lambda x: x * scale.get(), (X,), lambda: scale.set(3.0)


@case
def a_cache() -> Any:
    config = {"k": 2.0}

    @functools.cache
    def scale() -> float:
        return config["k"]

    def change() -> None:
        config["k"] = 3.0
        scale.cache_clear()

    return lambda x: x * scale(), (X,), change


@case
def a_global_by_globals() -> Any:
    globals()["scale_of_a_test"] = 2.0
    return lambda x: x * globals()["scale_of_a_test"], (X,), lambda: globals().update(scale_of_a_test=3.0)


@case
def a_closure() -> Any:
    k = 2.0

    def change() -> None:
        nonlocal k
        k = 3.0

    return lambda x: x * k, (X,), change


@case
def a_parameter_in_a_dict_that_is_no_modules() -> Any:
    space = {"w": Tensor(X, requires_grad=True)}
    return lambda x: x * space["w"], (X,), lambda: space.update(w=Tensor(3 * X, requires_grad=True))


@case
def a_module_in_a_dict_that_is_no_modules() -> Any:
    space: dict[str, Any] = {"network": nn.Linear(3, 2, rng=np.random.default_rng(0))}
    return (
        lambda x: space["network"](x),
        (X,),
        lambda: space.update(network=nn.Linear(3, 2, rng=np.random.default_rng(1))),
    )


@case
def the_length_of_what_is_returned() -> Any:
    many = [1]
    return lambda x: [x * 2] * len(many), (X,), lambda: many.append(1)


def flat(result: Any) -> list[bytes]:
    return [values(t).tobytes() for t in (result if isinstance(result, list) else [result])]


def run(compiled: Compiled, step: Any, args: Any, calls: int) -> list[bool]:
    """Whether each of so many calls returned what the step does."""
    right = []
    for _ in range(calls):
        found = flat(compiled(*args))
        right.append(found == flat(step(*(Tensor(x) if isinstance(x, np.ndarray) else x for x in args))))
    return right


@pytest.mark.parametrize(
    ("name", "before"),
    [*itertools.product(CASES, (2, 4, 8)), *itertools.product(("an_array_as_a_number", "a_closure"), (599, 1000))],
)
def test_what_changes_is_right_from_the_next_audit_on(
    name: str, before: int, caplog: pytest.LogCaptureFixture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMP_OF_A_TEST", str(tmp_path))
    step, args, change = CASES[name]()
    compiled: Compiled = compile(step)
    assert all(run(compiled, step, args, before))
    replays = compiled.replays
    assert replays == before - (1 + compiled.audits)  # the others ran the step
    change()
    audits = [n for n in (2, 4, 8, 16, 1000, 1024) if n > before]
    right = run(compiled, step, args, audits[0] + 6 - before)
    wrong_until = audits[0] - before - 1
    assert right == [False] * wrong_until + [True] * (len(right) - wrong_until)
    messages = [r.getMessage() for r in caplog.records]
    assert len(messages) == 1
    assert f"compile: at call {audits[0]} of" in messages[0]
    assert f"since call {max(n for n in (2, 4, 8, 512, 1000) if n <= before) + 1} results may be wrong" in messages[0]
    assert "\n" not in messages[0]
    assert compiled.replays > replays


# --- an audit is an eager call ---


def training(seed: int = 0, noise: Any = None) -> Any:
    """A step that trains with all that an audit has to put back; and what it leaves behind, as bytes."""
    rng = np.random.default_rng(seed)
    dropout = nn.Dropout(0.5, rng=np.random.default_rng(1))
    network = nn.Sequential(nn.Linear(4, 3, rng=rng), nn.Sigmoid(), dropout, nn.Linear(3, 2, rng=rng))
    network.mean = nn.Buffer(np.zeros(2, F))
    mean: Any = network.mean  # type: ignore[attr-defined]
    optimizer = optim.Nesterov(network.parameters(), lr=0.1, momentum=0.5, weight_decay=0.01)

    def step(x: Any, y: Any) -> Any:
        out = network(x) if noise is None else noise(network(x))
        mean.assign(0.9 * mean + 0.1 * out.mean(0))
        loss = ((out - mean - y) ** 2).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss, out

    def left() -> list[Any]:
        kept = [values(p).tobytes() for p in (*network.parameters(), mean)]
        states = [{name: x.tobytes() for name, x in optimizer.state[p].items()} for p in network.parameters()]
        return [kept, states, str(dropout.rng.bit_generator.state)]

    return step, left, network, optimizer


def batch(k: int, n: int = 5) -> tuple[Any, Any]:
    rng = np.random.default_rng(k)
    return rng.random((n, 4), dtype=F), rng.random((n, 2), dtype=F)


@pytest.mark.parametrize("audit", [1, 3, 1000])
def test_audited_or_not_a_training_has_the_same_bits(audit: int) -> None:
    step, left, _, _ = training()
    course = [(flat([*step(*map(Tensor, batch(k)))]), left()) for k in range(40)]
    step, left, network, _ = training()
    compiled: Compiled = compile(step, audit=audit)
    for k in range(40):
        assert (flat([*compiled(*batch(k))]), left()) == course[k]
        assert all(p.grad is None for p in network.parameters())
    assert compiled.audits == {1: 38, 3: 18, 1000: 5}[audit]
    assert compiled.replays == 40 - 2 - compiled.audits
    assert compiled.calls == 40


def test_a_programs_own_arrays_stay_its_own() -> None:
    step, _, network, optimizer = training()
    compiled: Compiled = compile(step, audit=2)
    for k in range(4):
        compiled(*batch(k))
    arrays = [optimizer.state[p]["velocity"] for p in network.parameters()]
    for k in range(9):
        compiled(*batch(k))
    assert all(optimizer.state[p]["velocity"] is a for p, a in zip(network.parameters(), arrays, strict=True))
    assert compiled.audits == 6


def test_what_a_step_does_besides_it_does_once_in_an_audit() -> None:
    seen: list[int] = []

    def step(x: Any) -> Any:
        seen.append(compiled.calls)
        return x * 2

    compiled: Compiled = compile(step)
    for _ in range(20):
        compiled(X)
    assert seen == [0, 1, 3, 7, 15]  # calls 1, 2, 4, 8, 16
    assert compiled.audits == 4


class FailsAt:
    """Raises at chosen calls; an op of it is called in a replay too."""

    def __init__(self, error: type[BaseException], *calls: int) -> None:
        self.error, self.at, self.calls = error, calls, 0

    def __call__(self, x: Any) -> Any:
        self.calls += 1
        if self.calls in self.at:
            raise self.error("as was to be")
        return x * 1


def test_a_step_that_raises_at_an_audit_raises_as_ever() -> None:
    def course(wrap: Callable[..., Any]) -> Any:
        step, left, _, _ = training()
        calls = itertools.count(1)
        run = wrap(lambda x, y: failing(next(calls), step(x, y)))
        seen: list[Any] = []
        for k in range(12):
            try:
                seen.append((flat([*run(*map(Tensor, batch(k)))]), left()))
            except ArithmeticError as error:
                seen.append((str(error), left()))
        return seen, run

    def failing(call: int, result: Any) -> Any:
        if call == 4:
            raise ArithmeticError("the fourth")
        return result

    found, run = course(lambda step: compile(step, audit=1))
    assert found == course(lambda step: step)[0]
    assert run.audits == 9  # all but the first two, which begin the state and are recorded, and the fourth


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError, FloatingPointError, ValueError])
def test_whatever_ends_the_replay_of_an_audit_all_is_put_back(
    error: type[BaseException], caplog: pytest.LogCaptureFixture, table: Any
) -> None:
    fails = FailsAt(error)
    noise = tg.unary("fails_in_a_test", fails, lambda g, out, x: g)
    step, left, network, _ = training(noise=noise)
    compiled: Compiled = compile(step)
    for k in range(4):
        compiled(*batch(k))
    fails.at = (fails.calls + 1,)  # the replay of the audit, after the Buffer was given its values
    gradients = [Tensor(np.ones(p.shape, F)) for p in network.parameters()]
    for p, g in zip(network.parameters(), gradients, strict=True):
        p.grad = g
    before, replays = left(), compiled.replays
    if error is KeyboardInterrupt:
        with pytest.raises(KeyboardInterrupt):
            compiled(*batch(4))
        assert left() == before
        assert all(p.grad is g for p, g in zip(network.parameters(), gradients, strict=True))
    else:
        expected = training(noise=tg.ops.copy)
        for k in range(5):
            result = expected[0](*map(Tensor, batch(k)))
        assert flat([*compiled(*batch(4))]) == flat([*result])
        assert left() == expected[1]()
        told = [r.getMessage() for r in caplog.records]
        assert (error is MemoryError and not told) or f"the replay raised {error.__name__}" in told[0]
    assert compiled.replays == replays


def test_an_interrupt_while_an_audit_puts_things_back_is_one_of_the_step(table: Any) -> None:
    fails = FailsAt(KeyboardInterrupt)
    noise = tg.unary("fails_in_a_test", fails, lambda g, out, x: g)
    step, left, _, _ = training(noise=noise)
    compiled: Compiled = compile(step)
    for k in range(4):
        compiled(*batch(k))
    before = left()
    fails.at = (fails.calls + 2,)  # the step itself, beside the replay
    with pytest.raises(KeyboardInterrupt):
        compiled(*batch(4))
    assert left()[0] == before[0]
    compiled(*batch(4))
    assert compiled.calls == 5


class Drifts:
    """Gives a little more at each call, as other hardware might."""

    def __init__(self, by: float) -> None:
        self.by, self.calls = by, 0

    def __call__(self, x: Any) -> Any:
        self.calls += 1
        return x * F(1 + self.by * (self.calls % 2))


@pytest.mark.parametrize(("by", "rounds"), [(2e-7, True), (1e-3, False)])
def test_rounding_is_told_once_and_no_difference(
    by: float, rounds: bool, caplog: pytest.LogCaptureFixture, table: Any
) -> None:
    drifting = tg.unary("drifts_in_a_test", Drifts(by), lambda g, out, x: g)
    compiled: Compiled = compile(lambda x: drifting(x * 2), audit=1)
    for _ in range(20):
        compiled(X)
    told = [r.getMessage() for r in caplog.records]
    assert len(told) == 1
    assert ("agrees with its replay, not bit for bit" in told[0]) is rounds
    assert ("def step(" in compiled.source) is rounds
    assert compiled.audits == (19 if rounds else 2)


def test_a_small_change_of_a_parameter_is_no_rounding(caplog: pytest.LogCaptureFixture) -> None:
    """Beside a parameter, what a small learning rate takes from it is little: it counts beside that."""
    w = Tensor(np.linspace(1, 2, 5, dtype=F), requires_grad=True)
    optimizer = optim.SGD([w], lr=1e-4)
    scale = np.array(1.0)

    def step() -> None:
        optimizer.zero_grad()
        (w * float(scale)).sum().backward()
        optimizer.step()

    compiled: Compiled = compile(step)
    for k in range(8):
        if k == 5:
            scale[()] = 1.1
        compiled()
    assert "at call 8 of step w is" in caplog.text
    assert "since call 5 results may be wrong" in caplog.text
    assert compiled.audits == 3


def test_nan_is_no_difference(caplog: pytest.LogCaptureFixture) -> None:
    compiled: Compiled = compile(lambda x: x * 2, audit=1)
    for _ in range(6):
        assert np.isnan(values(compiled(np.array([np.nan, 1], F)))[0])
    assert compiled.audits == 5
    assert not caplog.records


def test_after_three_differences_the_step_runs_eagerly_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    k = np.array(1.0)
    compiled: Compiled = compile(lambda x: x * float(k))
    for _ in range(3):
        for _ in range(3):
            compiled(X)
        k += 1
        found = compiled(X)
        assert values(found).tolist() == (X * F(k)).tolist()  # at the fourth call it is right
    told = [r.getMessage() for r in caplog.records]
    assert ["since call 3 " in told[0], "since call 7 " in told[1], "since call 11 " in told[2]] == [True] * 3
    assert told[3] == (
        "compile: <lambda> runs eagerly, as it has differed in 3 audits, at last as the result is 4, and was to be 3"
    )
    assert len(told) == 4
    calls, replays = compiled.calls, compiled.replays
    for _ in range(5):
        k += 1
        assert values(compiled(X)).tolist() == (X * F(k)).tolist()
    assert (compiled.calls, compiled.replays) == (calls + 5, replays)
    assert compiled.source.startswith("# <lambda>: runs eagerly")


@pytest.mark.parametrize(
    ("what", "told"),
    [
        ("lr", "it sets 'lr' of an optimizer"),
        ("requires_grad", "it sets requires_grad"),
        ("list", "it changes a list or a dict of a Module"),
        ("attribute", "it changes the attribute 'active' of a Sequential"),
        ("schedule", "it steps a StepLR"),
    ],
)
def test_what_a_step_sets_now_and_then_is_a_difference(what: str, told: str, caplog: pytest.LogCaptureFixture) -> None:
    """The replays in between do not set it, and so none of them is what the step would have been."""
    network: Any = nn.Sequential(nn.Linear(3, 2, rng=np.random.default_rng(0)), tg.sigmoid)
    network.active = True
    optimizer = optim.SGD(network.parameters(), lr=0.5)
    schedule = optim.StepLR(optimizer, 100, 0.5)
    bias = network.layers[0].bias
    acts: dict[str, Callable[[], Any]] = {
        "lr": lambda: optimizer.groups[0].update(lr=0.1),
        "requires_grad": lambda: setattr(bias, "requires_grad", False),
        "list": lambda: network.layers.append(tg.relu),
        "attribute": lambda: setattr(network, "active", False),
        "schedule": schedule.step,
    }
    runs = itertools.count(1)

    def step(x: Any) -> Any:
        cost = network(x).sum() if network.active else network(x).mean()
        optimizer.zero_grad()
        cost.backward()
        optimizer.step()
        if next(runs) == 4:  # at the third audit
            acts[what]()
        return cost

    compiled: Compiled = compile(step)
    for _ in range(12):
        compiled(X)
    assert [r.getMessage() for r in caplog.records] == [
        f"compile: at call 8 of step {told}; since call 5 results may be wrong. The step's own are kept, and it is "
        "recorded anew; pass what changes as an array"
    ]
    assert compiled.audits == 5
    assert compiled.replays == 5


def test_what_a_step_makes_for_itself_is_no_difference(caplog: pytest.LogCaptureFixture) -> None:
    def step(x: Any) -> Any:
        scale: Any = nn.Sequential(tg.sigmoid)
        scale.eval()
        scale.factor = 2.0
        return scale(x) * scale.factor

    compiled: Compiled = compile(step, audit=1)
    for _ in range(6):
        compiled(X)
    assert compiled.audits == 5
    assert not caplog.records


@pytest.mark.parametrize("audit", [0, -1, 2.5, True, "4", None])
def test_an_interval_is_a_whole_number(audit: Any) -> None:
    with pytest.raises(ValueError, match="compile: expected a whole number audit >= 1, of calls, got"):
        compile(lambda x: x, audit=audit)


def test_the_decorator_takes_an_interval() -> None:
    @compile(audit=2)
    def step(x: Any) -> Any:
        return x * 2

    for _ in range(9):
        step(X)
    assert step.audits == 4
    assert step.replays == 4


def test_the_next_call_can_be_audited() -> None:
    compiled: Compiled = compile(lambda x: x * 2)
    for _ in range(10):
        compiled(X)
    assert compiled.audits == 3
    compiled.audit_next()
    compiled(X)
    compiled(X)
    assert compiled.audits == 4
    assert compiled.calls == 12


def test_compiled_steps_inside_run_their_own_step_while_one_is_recorded_or_audited() -> None:
    inside: list[int] = []

    def doubled(x: Any) -> Any:
        inside.append(inner.replays)
        return x * 2

    inner: Compiled = compile(doubled)
    for _ in range(6):
        inner(X)
    inside.clear()
    replays = inner.replays
    outer: Compiled = compile(lambda x: inner(x) + 1)
    for k in range(16):
        assert values(outer(X)).tolist() == (X * 2 + 1).tolist()
        assert len(inside) == {0: 1, 1: 2, 2: 2, 3: 3}.get(k, len(inside))
    assert inner.replays == replays
    assert len(inside) == 1 + outer.audits
    assert outer.audits == 4


def test_others_wait_for_the_lock_through_an_audit() -> None:
    step, left, _, _ = training()
    compiled: Compiled = compile(step, audit=1)
    for k in range(3):
        compiled(*batch(k))
    torn: list[Any] = []
    done = threading.Event()

    def look() -> None:
        while not done.is_set():
            with compiled.lock:
                torn.append(left()[0])

    thread = threading.Thread(target=look)
    thread.start()
    known = {tuple(left()[0])}
    for k in range(60):
        compiled(*batch(k))
        known.add(tuple(left()[0]))
    done.set()
    thread.join()
    assert {tuple(x) for x in torn} <= known
    assert compiled.audits == 61


def test_a_schedule_in_a_step_makes_it_run_eagerly(said: pytest.LogCaptureFixture) -> None:
    def course(wrap: Callable[..., Any]) -> Any:
        step, left, _, optimizer = training()
        schedule = optim.StepLR(optimizer, 3, 0.5)

        def scheduled(x: Any, y: Any) -> Any:
            result = step(x, y)
            schedule.step()
            return result

        run = wrap(scheduled)
        return [(flat([*run(*map(Tensor, batch(k)))]), left(), optimizer.groups[0]["lr"]) for k in range(12)]

    assert course(compile) == course(lambda step: step)
    assert "steps a StepLR" in said.messages[0]
