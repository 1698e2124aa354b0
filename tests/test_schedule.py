"""optim/schedule.py: PyTorch's rates, records that are looked at or not, states that are restored whole."""

from __future__ import annotations

import copy
import json
import math
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tinygrad_mnist import Tensor, mnist, nn, optim, train
from tinygrad_mnist.losses import softmax_cross_entropy
from tinygrad_mnist.optim import (
    SGD,
    CosineLR,
    LambdaLR,
    LinearLR,
    ReduceLROnPlateau,
    Schedule,
    SequentialLR,
    StepLR,
)
from tinygrad_mnist.train import Epoch

from .helpers import needs_compiler, refused
from .reference import schedule_rates

REFERENCE = json.loads(Path(__file__).with_name("reference").joinpath("schedule_rates.json").read_text("utf-8"))
OURS: Any = types.SimpleNamespace(**{**vars(optim), "CosineAnnealingLR": CosineLR})


def optimizer_of(*rates: float) -> SGD:
    groups = [{"params": [Tensor([1.0], requires_grad=True)], "lr": rate} for rate in rates or (8.0,)]
    return SGD(groups, lr=1.0)


def rates_of(optimizer: optim.Optimizer) -> list[float]:
    return [group["lr"] for group in optimizer.groups]


def record(epoch: int = 1, validation: float | None = 0.5, cost: float = 1.0) -> Epoch:
    return Epoch(epoch, cost, 0.5, validation, None, 8.0, None, 0.1)


# ---- As PyTorch


@pytest.mark.parametrize("number", range(len(REFERENCE["cases"])))
def test_rates_are_those_of_torch_optim(number: int) -> None:
    case = REFERENCE["cases"][number]
    optimizer = optimizer_of(*schedule_rates.FIRST)
    schedule = schedule_rates.made(OURS, case["kind"], optimizer, case["settings"])
    found = [rates_of(optimizer)]
    for value in case.get("given") or [None] * case["epochs"]:
        schedule.step(value)
        found.append(rates_of(optimizer))
    np.testing.assert_allclose(found, case["rates"], rtol=1e-12, atol=1e-17)


def test_the_reference_covers_what_it_should() -> None:
    plateaus = [case for case in REFERENCE["cases"] if case["kind"] == "ReduceLROnPlateau"]
    assert {case["settings"]["mode"] for case in plateaus} == {"min", "max"}
    assert {case["settings"]["threshold_mode"] for case in plateaus} == {"rel", "abs"}
    assert sum(len(set(map(tuple, case["rates"]))) > 2 for case in plateaus) > 6
    assert any(rates[-1][1] == case["settings"]["min_lr"] for case in plateaus for rates in [case["rates"]])
    assert {case["kind"] for case in REFERENCE["cases"]} >= {
        "CosineAnnealingLR",
        "LinearLR",
        "LambdaLR",
        "SequentialLR",
    }


# ---- Formulas


def test_the_cosine_ends_where_it_should_and_stays_there() -> None:
    optimizer = optimizer_of(8.0)
    schedule = CosineLR(optimizer, T_max=2, eta_min=1.0)
    found = []
    for _ in range(6):
        found += rates_of(optimizer)
        schedule.step()
    assert found == [8.0, 4.5, 1.0, 1.0, 1.0, 1.0]


def test_a_schedule_of_ones_own_is_one_formula() -> None:
    class Inverse(Schedule):
        def __init__(self, optimizer: optim.Optimizer, speed: float) -> None:
            super().__init__(optimizer, speed=speed)

        def rate(self, first: float, epoch: int) -> float:
            return first / (1 + self.speed * epoch)  # type: ignore[attr-defined]

    optimizer = optimizer_of(8.0)
    schedule = Inverse(optimizer, speed=1.0)
    schedule.step(record())
    assert rates_of(optimizer) == [4.0]
    assert schedule.state_dict() == {"epoch": 1, "first": [8.0], "speed": 1.0}
    assert repr(schedule) == "Inverse(SGD, speed=1; epoch 1, lr 4)"
    with refused(TypeError, "Schedule: define rate(self, first, epoch)"):
        Schedule(optimizer)


# ---- The book's rule


def test_the_rate_is_lowered_when_validation_no_longer_improves() -> None:
    optimizer = optimizer_of(8.0)
    schedule = ReduceLROnPlateau(optimizer, factor=0.5, patience=1, min_lr=2.0)
    found = []
    for k, accuracy in enumerate([0.5, 0.6, 0.6, 0.6, 0.7, 0.6, 0.6, 0.6, 0.6, 0.6, 0.6], 1):
        schedule.step(record(k, accuracy))
        found += rates_of(optimizer)
    assert found == [8.0, 8.0, 8.0, 4.0, 4.0, 4.0, 2.0, 2.0, 2.0, 2.0, 2.0]


def test_a_rate_that_begins_below_the_lowest_one_is_not_raised() -> None:
    optimizer = optimizer_of(1.0)
    schedule = ReduceLROnPlateau(optimizer, factor=0.5, patience=0, min_lr=2.0)
    for k in range(1, 5):
        schedule.step(record(k, 0.5))
        assert rates_of(optimizer) == [1.0]
    assert schedule.reductions == 3


def test_for_the_cost_smaller_is_better() -> None:
    optimizer = optimizer_of(8.0)
    schedule = ReduceLROnPlateau(optimizer, patience=0, factor=0.5, metric="cost")
    for cost in (1.0, 0.5, 0.25):
        schedule.step(record(cost=cost, validation=None))
    assert rates_of(optimizer) == [8.0]
    schedule.step(record(cost=0.3))
    assert rates_of(optimizer) == [4.0]


def test_a_rate_that_was_set_by_hand_stays_until_a_reduction() -> None:
    optimizer = optimizer_of(8.0)
    schedule = ReduceLROnPlateau(optimizer, patience=0, factor=0.5)
    schedule.step(record())
    optimizer.groups[0]["lr"] = 7.0
    schedule.step(record(validation=0.9))
    assert rates_of(optimizer) == [7.0]


def test_a_number_that_is_nan_is_named_as_what_was_given() -> None:
    with refused(ValueError, "ReduceLROnPlateau: the value is not a number"):
        ReduceLROnPlateau(optimizer_of(8.0), mode="min").step(math.nan)


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        ([], TypeError, ["ReduceLROnPlateau: step() needs the record of the epoch, got None; write step(epoch)"]),
        ([None], TypeError, ["write step(epoch)"]),
        (["0.5"], TypeError, ["write step(epoch)"]),
        ([0.5], ValueError, ["got the number 0.5; say mode='min' or 'max'"]),
        ([record(validation=None)], ValueError, ["has no validation", "metric='cost'"]),
        ([record(validation=math.nan)], ValueError, ["validation is not a number"]),
    ],
)
def test_what_is_no_record_is_refused_and_nothing_changes(given: Any, error: Any, words: list[str]) -> None:
    optimizer = optimizer_of(8.0)
    schedule = ReduceLROnPlateau(optimizer, patience=0)
    schedule.step(record())
    before = schedule.state_dict()
    with refused(error, *words):
        schedule.step(*given)
    assert schedule.state_dict() == before


@pytest.mark.parametrize(
    "make",
    [
        lambda o: StepLR(o, 2), lambda o: CosineLR(o, 3), lambda o: LinearLR(o), lambda o: LambdaLR(o, lambda e: 0.5),
        lambda o: SequentialLR(o, [LinearLR(o), CosineLR(o, 3)], [2]),
    ],
)  # fmt: skip
def test_schedules_that_do_not_look_at_the_record_ignore_it(make: Callable[[Any], Schedule]) -> None:
    course = []
    for arguments in ([], [record()], ["anything"]):
        optimizer = optimizer_of(8.0, 1.0)
        schedule = make(optimizer)
        found = []
        for _ in range(5):
            schedule.step(*arguments)
            found.append(rates_of(optimizer))
        course.append(found)
    assert course[0] == course[1] == course[2]


# ---- Composition


def test_a_sequence_begins_with_the_rates_from_before_its_parts_were_made_in_any_order() -> None:
    course = []
    for backwards in (False, True):
        optimizer = optimizer_of(8.0)
        parts = {}
        for name in ("down", "up") if backwards else ("up", "down"):
            make = {"up": lambda o: LinearLR(o, 0.25, total_iters=2), "down": lambda o: LinearLR(o, 1.0, 0.0, 2)}[name]
            parts[name] = make(optimizer)
        schedule = SequentialLR(optimizer, [parts["up"], parts["down"]], [2])
        found = []
        for _ in range(6):
            found += rates_of(optimizer)
            schedule.step()
        course.append(found)
    assert course[0] == course[1] == [2.0, 5.0, 8.0, 4.0, 0.0, 0.0]


def test_a_sequence_shows_its_parts_with_their_options() -> None:
    optimizer = optimizer_of(8.0)
    schedule = SequentialLR(optimizer, [LinearLR(optimizer, 0.25, total_iters=2), CosineLR(optimizer, 3)], [2])
    assert repr(schedule) == (
        "SequentialLR(SGD, LinearLR(start_factor=0.25, end_factor=1, total_iters=2), CosineLR(T_max=3, eta_min=0), "
        "milestones=[2]; epoch 0, lr 2)"
    )


def test_a_rate_set_by_hand_is_the_first_one_of_a_schedule_made_then() -> None:
    optimizer = optimizer_of(8.0)
    LinearLR(optimizer, 0.25)
    optimizer.groups[0]["lr"] = 4.0
    assert StepLR(optimizer, 1, 0.5).first == [4.0]
    later = StepLR(optimizer, 1, 0.5)
    later.step()
    assert StepLR(optimizer, 1).first == [2.0]  # what another has come to
    LambdaLR(optimizer, lambda epoch: 0.5).step()
    assert StepLR(optimizer, 1).first == [1.0]  # the same rate as when the other was made, but it has gone on


def test_a_step_that_fails_changes_nothing() -> None:
    optimizer = optimizer_of(8.0, 1.0)
    schedule = LambdaLR(optimizer, lambda epoch: 0.5 if epoch < 2 else math.nan)
    schedule.step()
    for _ in range(2):
        with refused(ValueError, "LambdaLR: expected lr_lambda(2) to be a number >= 0, got nan"):
            schedule.step()
        assert schedule.epoch == 1
        assert rates_of(optimizer) == [4.0, 0.5]


def test_warm_up_then_the_books_rule() -> None:
    optimizer = optimizer_of(8.0)
    plateau = ReduceLROnPlateau(optimizer, factor=0.5, patience=0)
    schedule = SequentialLR(optimizer, [LinearLR(optimizer, 0.5, total_iters=1), plateau], [1])
    found = rates_of(optimizer)
    for accuracy in (0.1, 0.5, 0.6, 0.6, 0.6):
        schedule.step(record(validation=accuracy))
        found += rates_of(optimizer)
    assert found == [4.0, 8.0, 8.0, 8.0, 4.0, 2.0]


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda o: SequentialLR(o, [], []), ValueError, "one schedule or more"),
        (lambda o: SequentialLR(o, [LinearLR(o), 5], [1]), TypeError, "expected schedules"),  # type: ignore[list-item]
        (lambda o: SequentialLR(o, [LinearLR(o), LinearLR(o)], []), ValueError, "1 rising milestones for 2 schedules"),
        (lambda o: SequentialLR(o, [LinearLR(o)] * 2, [1]), ValueError, "each once"),
        (lambda o: SequentialLR(o, [LinearLR(o), LinearLR(o)], [0]), ValueError, "milestones >= 1"),
        (lambda o: SequentialLR(o, [LinearLR(o), LinearLR(optimizer_of())], [1]), ValueError, "another optimizer"),
        (lambda o: CosineLR(o, 0), ValueError, "CosineLR: expected a whole number T_max >= 1, got 0"),
        (lambda o: CosineLR(o, 5, -1.0), ValueError, "eta_min >= 0, got -1"),
        (lambda o: LinearLR(o, -0.5), ValueError, "start_factor >= 0, got -0.5"),
        (lambda o: LinearLR(o, total_iters=0), ValueError, "total_iters >= 1, got 0"),
        (lambda o: LambdaLR(o, 0.9), TypeError, "LambdaLR: expected a function of the epoch"),  # type: ignore[arg-type]
        (lambda o: LambdaLR(o, lambda epoch: -1.0), ValueError, "lr_lambda(0) to be a number >= 0, got -1"),
        (lambda o: ReduceLROnPlateau(o, factor=1.0), ValueError, "factor > 0 and < 1, got 1.0"),
        (lambda o: ReduceLROnPlateau(o, patience=-1), ValueError, "patience >= 0, got -1"),
        (lambda o: ReduceLROnPlateau(o, "up"), ValueError, "mode to be one of (None, 'min', 'max'), got 'up'"),
        (lambda o: ReduceLROnPlateau(o, metric="loss"), ValueError, "metric to be one of ('validation'"),
        (lambda o: StepLR(o.groups, 1), TypeError, "StepLR: expected an optimizer"),
    ],
)
def test_wrong_settings_are_named_and_set_no_rate(make: Any, error: Any, words: str) -> None:
    optimizer = optimizer_of(8.0)
    with refused(error, words):
        make(optimizer)


# ---- States


SCHEDULES: list[Callable[[Any], Schedule]] = [
    lambda o: StepLR(o, 2, 0.5),
    lambda o: CosineLR(o, 5, 0.01),
    lambda o: LinearLR(o, 0.1),
    lambda o: LambdaLR(o, lambda epoch: 0.9**epoch),
    lambda o: ReduceLROnPlateau(o, factor=0.5, patience=1, cooldown=1),
    lambda o: SequentialLR(o, [LinearLR(o, 0.1, total_iters=2), ReduceLROnPlateau(o, patience=0)], [2]),
]
OTHERS: list[Callable[[Any], Schedule]] = [
    lambda o: StepLR(o, 9),
    lambda o: CosineLR(o, 50),
    lambda o: LinearLR(o),
    lambda o: LambdaLR(o, lambda epoch: 0.9**epoch),
    lambda o: ReduceLROnPlateau(o, "min", patience=7),
    lambda o: SequentialLR(o, [LinearLR(o), ReduceLROnPlateau(o)], [7]),
]
ACCURACIES = [0.1, 0.3, 0.3, 0.2, 0.2, 0.4, 0.4, 0.4, 0.3, 0.3]


@pytest.mark.parametrize("number", range(len(SCHEDULES)))
@pytest.mark.parametrize("done", [0, 1, 5])
def test_a_schedule_is_restored_whole_and_sets_the_rate(number: int, done: int) -> None:
    optimizer = optimizer_of(8.0, 1.0)
    schedule = SCHEDULES[number](optimizer)
    for k in range(done):
        schedule.step(record(k, ACCURACIES[k]))
    state = json.loads(json.dumps(schedule.state_dict()))
    fresh = optimizer_of(3.0, 3.0)
    restored = OTHERS[number](fresh)
    restored.load_state_dict(copy.deepcopy(state))
    assert rates_of(fresh) == rates_of(optimizer)
    assert json.loads(json.dumps(restored.state_dict())) == state
    fresh.load_state_dict(optimizer.state_dict())  # the schedule was restored before its optimizer
    for k in range(done, len(ACCURACIES)):
        schedule.step(record(k, ACCURACIES[k]))
        restored.step(record(k, ACCURACIES[k]))
        assert rates_of(fresh) == rates_of(optimizer)
    assert repr(restored) == repr(schedule)
    assert "0x" not in repr(schedule)


@pytest.mark.parametrize("number", range(len(SCHEDULES)))
@pytest.mark.parametrize(
    "damage",
    [{"epoch": -1}, {"first": [1.0]}, {"first": [1.0, math.nan]}, {"T_max": 0, "bad_epochs": -1, "gamma": 0}],
    ids=str,
)
def test_a_damaged_state_changes_nothing(number: int, damage: Any) -> None:
    optimizer = optimizer_of(8.0, 1.0)
    schedule = SCHEDULES[number](optimizer)
    for k in range(3):
        schedule.step(record(k, ACCURACIES[k]))
    before, rates = copy.deepcopy(schedule.state_dict()), rates_of(optimizer)
    state = {**copy.deepcopy(before), **damage}
    if "schedulers" in state:
        state["schedulers"][0]["total_iters"] = 9
    with refused(ValueError, type(schedule).__name__):
        schedule.load_state_dict(state)
    assert schedule.state_dict() == before
    assert rates_of(optimizer) == rates


def test_a_state_of_another_kind_is_refused() -> None:
    schedule = StepLR(optimizer_of(), 2)
    with refused(ValueError, "StepLR: the saved schedule has T_max, eta_min; it is of another kind"):
        schedule.load_state_dict(CosineLR(optimizer_of(), 3).state_dict())
    plain = optim.LambdaLR(optimizer_of(), lambda epoch: 1.0).state_dict()  # nothing but what all states have
    first = LinearLR(optimizer_of())
    others = {"has no T_max": CosineLR(optimizer_of(), 3), "with sched": SequentialLR(first.optimizer, [first], [])}
    for lacks, other in others.items():
        before = other.state_dict()
        with refused(ValueError, type(other).__name__, lacks):
            other.load_state_dict(plain)
        assert other.state_dict() == before
    with refused(ValueError, "StepLR: expected what state_dict() returned, with epoch and first"):
        schedule.load_state_dict({"last_epoch": 3})


# ---- In a training


def training(
    tmp_path: Path, make: Any, epochs: int, resume: Path | None = None, backend: str = "eager"
) -> tuple[list[float], Any, Path]:
    rng = np.random.default_rng(0)
    images = rng.random((60, 9)).astype("f")
    data = mnist.Dataset(
        mnist.Split(images[:40], np.arange(40) % 3),
        mnist.Split(images[40:], np.arange(20) % 3),
        None,
        3,
        (3, 3),
        Path("here"),
    )
    model = nn.Sequential(nn.Linear(9, 3, rng=rng))
    optimizer = optim.Adam(model.parameters(), lr=0.1)
    schedule = make(optimizer)
    history: list[Epoch] = []
    if resume:
        checkpoint = train.load(resume)
        checkpoint.restore(model, optimizer, schedule=schedule, rng=rng)
        history += checkpoint.history
    for epoch in train.fit(
        model, data, cost=softmax_cross_entropy, optimizer=optimizer, schedule=schedule, epochs=epochs, batch_size=10,
        rng=rng, done=len(history), max_norm=0.5, backend=backend,
    ):  # fmt: skip
        history.append(epoch)
    file = tmp_path / f"{epochs}.npz"
    train.save(file, model, optimizer, schedule=schedule, rng=rng, history=history)
    return [epoch.lr for epoch in history], model.state_dict(), file


@pytest.mark.parametrize("number", range(len(SCHEDULES)))
def test_a_training_hands_on_its_records_and_resumes_to_the_same_bits(number: int, tmp_path: Path) -> None:
    rates, weights, _ = training(tmp_path, SCHEDULES[number], 8)
    assert len(set(rates)) > 1
    _, _, file = training(tmp_path, SCHEDULES[number], 4)
    resumed, again, _ = training(tmp_path, OTHERS[number], 8, file)
    assert resumed == rates
    assert all(np.array_equal(weights[name], again[name]) for name in weights)


@pytest.mark.parametrize("backend", ["numpy", "c"])
def test_a_compiled_training_that_is_stopped_and_resumed_has_the_bits_of_one_that_is_not(
    backend: str, tmp_path: Path
) -> None:
    if backend == "c":
        needs_compiler()
    _, weights, _ = training(tmp_path, SCHEDULES[1], 6, backend=backend)
    _, _, file = training(tmp_path, SCHEDULES[1], 2, backend=backend)
    _, again, _ = training(tmp_path, SCHEDULES[1], 6, file, backend)
    assert all(np.array_equal(weights[name], again[name]) for name in weights)
    _, eager, _ = training(tmp_path, SCHEDULES[1], 6)
    for name, array in eager.items():
        np.testing.assert_allclose(weights[name], array, rtol=1e-4, atol=1e-6)
        assert backend == "c" or np.array_equal(weights[name], array)


def test_a_schedule_of_another_optimizer_is_refused(tmp_path: Path) -> None:
    with refused(ValueError, "fit: schedule: is of another optimizer"):
        training(tmp_path, lambda optimizer: StepLR(optimizer_of(), 1), 1)
    with refused(TypeError, "fit: schedule: expected a Schedule such as StepLR, got 5"):
        training(tmp_path, lambda optimizer: 5, 1)
