"""zoo/stopping.py: early stopping and the best weights, on the command lines, in checkpoints, and after --resume."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tinygrad_mnist import mnist, train
from tinygrad_mnist.train import CheckpointError, Epoch
from zoo import __main__ as every
from zoo import custom, predict
from zoo.commandline import main
from zoo.network1 import Network1
from zoo.network2 import Network2
from zoo.stopping import best_of, stands_still
from zoo.training import Training, network_class, settings_of

from .helpers import refused

KIND = Network1
SETTINGS: dict[str, Any] = {"lr": 6.0, "hidden": (12,), "epochs": 40}
OPTIONS = ["--lr", "6", "--hidden", "12", "--epochs", "40"]


@pytest.fixture(scope="module")
def small(digits: Path) -> mnist.Dataset:
    return mnist.load(digits).head(500)


def records(*accuracies: float | None) -> list[Epoch]:
    return [Epoch(k, 1.0, 0.5, accuracy, None, 1.0, None, 0.1) for k, accuracy in enumerate(accuracies, 1)]


def same_bits(one: Mapping[str, Any], two: Mapping[str, Any]) -> bool:
    return one.keys() == two.keys() and all(np.array_equal(one[name], two[name]) for name in one)


@pytest.mark.parametrize(
    ("accuracies", "best", "patience"),
    [((0.5,), 1, 1), ((0.5, 0.6), 2, 1), ((0.6, 0.6, 0.5), 1, 3), ((0.2, 0.9, 0.8, 0.9, 0.7), 2, 4)],
)
def test_the_best_epoch_is_the_first_of_the_highest_accuracy(accuracies: Any, best: int, patience: int) -> None:
    history = records(*accuracies)
    found = best_of(history)
    assert found is history[best - 1]
    waited = len(history) - best
    assert [n for n in range(1, 9) if stands_still(history, n)] == list(range(1, waited + 1))
    assert not stands_still(history, None)
    assert patience > waited


def test_without_validation_nothing_is_best_and_nothing_stops() -> None:
    assert best_of([]) is None
    assert best_of(records(None, None)) is None
    assert not stands_still(records(None, None, None), 1)


def test_a_training_stops_and_keeps_the_weights_of_its_best_epoch(small: mnist.Dataset, tmp_path: Path) -> None:
    training = Training(KIND(**SETTINGS), small, patience=2, keep_best=True)
    weights = []
    for _ in training.fit():
        weights.append(training.model.state_dict())
    best = best_of(training.history)
    assert best is not None
    assert training.stopped
    assert 0 < best.epoch == len(training.history) - 2 < 37
    assert training.best is not None
    assert same_bits(training.best, weights[best.epoch - 1])
    assert training.result is best
    training.save(tmp_path / "m.npz")
    checkpoint = train.load(tmp_path / "m.npz")
    resumed = Training.resume(checkpoint, training.network, small, patience=2, keep_best=True)
    assert not list(resumed.fit())
    assert same_bits(resumed.best or {}, training.best)
    assert same_bits(resumed.model.state_dict(), weights[-1])
    training.use_best()
    assert same_bits(training.model.state_dict(), weights[best.epoch - 1])
    assert not list(training.fit())  # nothing more is trained
    plain = Training(KIND(**SETTINGS), small)
    for kept, _ in zip(weights, plain.fit(), strict=False):
        assert same_bits(plain.model.state_dict(), kept)  # with the bits of one that does not stop


@pytest.mark.slow
@pytest.mark.parametrize("cut", [1, 3])
def test_a_resumed_run_stops_where_one_that_was_not_stopped_does(
    digits: Path, tmp_path: Path, capsys: Any, cut: int
) -> None:
    data = ["--data", str(digits), "--train-size", "500"]
    whole, part = tmp_path / "whole.npz", tmp_path / "part.npz"
    wanted = ["--patience", "2", "--keep-best"]
    assert main(KIND, [*OPTIONS, *wanted, *data, "--save", str(whole)]) == 0
    said = capsys.readouterr().out.splitlines()
    done = len(train.load(whole).history)
    assert said[-3].startswith(
        f"stopped after {done} epochs: none of the last 2 was better than epoch {done - 2}, with "
    )
    assert said[-2].startswith(f"kept the weights of the best epoch, {done - 2}: validation ")

    begun = Training(
        KIND(**{**SETTINGS, "epochs": cut}), mnist.load(digits).head(500), str(digits), patience=2, keep_best=True
    )
    list(begun.fit())
    begun.network = KIND(**SETTINGS)
    begun.save(part)
    assert main(KIND, ["--resume", str(part)]) == 0
    assert capsys.readouterr().out.splitlines()[-3:-1] == said[-3:-1]
    one, other = train.load(whole), train.load(part)
    assert same_bits(one.model, other.model)
    assert one.best is not None
    assert other.best is not None
    assert same_bits(one.best, other.best)
    assert not same_bits(one.best, one.model)
    assert [e.validation for e in one.history] == [e.validation for e in other.history]

    assert main(KIND, ["--resume", str(whole)]) == 0
    assert f"had stopped after epoch {done}; --patience N goes on with a larger N" in capsys.readouterr().out
    assert same_bits(train.load(whole).model, one.model)
    assert main(KIND, [*OPTIONS, *data, "--save", str(whole)]) == 1
    error = capsys.readouterr().err
    assert f"holds a network1 that stopped after {done} epochs; `python -m zoo.network1 --resume" in error
    assert main(KIND, ["--resume", str(whole), "--patience", "4", "--quiet"]) == 0
    longer = train.load(whole)
    assert len(longer.history) > done
    assert longer.settings["patience"] == 4
    again = Training(KIND(**SETTINGS), mnist.load(digits).head(500))
    for epoch in again.fit():
        if epoch.epoch == len(longer.history):
            break
    assert same_bits(longer.model, again.model.state_dict())


def test_predict_takes_the_best_weights(small: mnist.Dataset, tmp_path: Path, capsys: Any) -> None:
    training = Training(KIND(**SETTINGS), small, patience=2, keep_best=True)
    list(training.fit())
    training.save(tmp_path / "best.npz")
    training.use_best()
    last, training.best = training.best, None
    assert last is not None
    training.save(tmp_path / "plain.npz")  # the best weights alone, as the model's
    answers = []
    for name in ("best.npz", "plain.npz"):
        assert predict.main([str(tmp_path / name), str(Path(predict.__file__).parent / "drawings" / "two.png")]) == 0
        answers.append(capsys.readouterr().out)
    assert answers[0] == answers[1]


def test_best_weights_that_were_not_kept_are_not_made_up(small: mnist.Dataset, tmp_path: Path) -> None:
    training = Training(KIND(**SETTINGS), small, patience=1)
    list(training.fit())
    assert training.best is None
    training.save(tmp_path / "m.npz")
    checkpoint = train.load(tmp_path / "m.npz")
    with refused(CheckpointError, "was trained without --keep-best", f"{len(training.history) - 1}, are gone"):
        Training.resume(checkpoint, settings_of(checkpoint), small, keep_best=True)
    first = Training(KIND(**{**SETTINGS, "epochs": 1}), small)
    list(first.fit())
    first.save(tmp_path / "first.npz")
    checkpoint = train.load(tmp_path / "first.npz")
    resumed = Training.resume(checkpoint, settings_of(checkpoint), small, keep_best=True)
    assert resumed.best is not None  # the last epoch was the best
    assert same_bits(resumed.best, first.model.state_dict())


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda c: {"best": None}, "no weights of a best epoch"),
        (lambda c: {"settings": {**c.settings, "keep_best": False}}, "weights of a best epoch"),
        (
            lambda c: {"best": {name: a + 1 for name, a in c.best.items()}},
            "its last epoch was its best, and has another",
        ),
        (lambda c: {"best": {name: a * np.nan for name, a in c.best.items()}}, "is not finite"),
    ],
)
def test_a_checkpoint_that_contradicts_itself_is_refused(
    small: mnist.Dataset, tmp_path: Path, spoil: Any, words: str
) -> None:
    training = Training(KIND(**{**SETTINGS, "epochs": 1}), small, keep_best=True)
    list(training.fit())
    training.save(tmp_path / "m.npz")
    checkpoint = train.load(tmp_path / "m.npz")
    Training.resume(checkpoint, settings_of(checkpoint), small, keep_best=True)
    spoilt = dataclasses.replace(checkpoint, **spoil(checkpoint))
    with refused(CheckpointError, words):
        Training.resume(spoilt, settings_of(spoilt), small, keep_best=True)


@pytest.mark.parametrize(("name", "value"), [("patience", 0), ("patience", "3"), ("patience", True), ("keep_best", 1)])
def test_settings_of_a_file_are_checked(
    small: mnist.Dataset, digits: Path, tmp_path: Path, capsys: Any, monkeypatch: Any, name: str, value: Any
) -> None:
    monkeypatch.setenv("TINYGRAD_MNIST_DATA", str(digits))
    training = Training(KIND(**{**SETTINGS, "epochs": 0}), small)
    settings = {**train.load(_saved(training, tmp_path)).settings, name: value}
    train.save(tmp_path / "m.npz", training.model, training.optimizer, rng=training.rng, history=training.history,
               settings=settings)  # fmt: skip
    assert main(KIND, ["--resume", str(tmp_path / "m.npz")]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "patience" in error or "keep-best" in error


def _saved(training: Training, directory: Path) -> Path:
    training.save(directory / "whole.npz")
    return directory / "whole.npz"


def test_best_weights_of_another_model_are_not_saved_or_loaded(small: mnist.Dataset, tmp_path: Path) -> None:
    training = Training(KIND(**SETTINGS), small)
    with refused(ValueError, "save: best: expected another state_dict() of the model"):
        train.save(tmp_path / "m.npz", training.model, training.optimizer, best={"w": np.ones(2)})
    assert not list(tmp_path.iterdir())


def test_without_validation_images_there_is_nothing_to_go_by(small: mnist.Dataset) -> None:
    none = dataclasses.replace(small, validation=small.validation[:0])
    for option, words in (({"patience": 3}, "--patience"), ({"keep_best": True}, "--keep-best")):
        with refused(ValueError, words, "goes by the validation accuracy", "leave it out"):
            Training(KIND(**SETTINGS), none, **option)


@pytest.mark.parametrize("wrong", ["0", "-1", "1.5", "x"])
def test_wrong_patience_is_wrong_usage_everywhere(wrong: str, capsys: Any) -> None:
    for run in (lambda o: main(KIND, o), every.main, lambda o: main(custom.Custom, o)):
        with pytest.raises(SystemExit) as stopped:
            run(["--patience", wrong])
        assert stopped.value.code == 2
        assert "argument --patience: expected a whole number of at least 1" in capsys.readouterr().err


def test_the_table_of_all_networks_tells_of_it(digits: Path, tmp_path: Path, capsys: Any) -> None:
    history = tmp_path / "h.json"
    options = ["--hidden", "5", "--epochs", "6", "--patience", "1", "--keep-best", "--quiet", "--history", str(history)]
    assert every.main([*options, "--data", str(digits), "--train-size", "100"]) == 0
    table = capsys.readouterr().out
    assert table.count("patience 1, best epoch kept") == 4
    runs = json.loads(history.read_text(encoding="utf-8"))["runs"]
    assert {(run["patience"], run["keep_best"]) for run in runs} == {(1, True)}
    for run in runs:
        best = max(epoch["validation"] for epoch in run["epochs"])
        (row,) = [row for row in table.splitlines()[-4:] if row.startswith(f"{run['network']} ")]
        assert f"{100 * best:.2f} %" in row


def test_custom_stops_early_too(digits: Path, capsys: Any) -> None:
    options = ["--epochs", "12", "--patience", "1", "--keep-best", "--data", str(digits), "--train-size", "60"]
    assert main(custom.Custom, options) == 0
    said = capsys.readouterr().out.splitlines()
    epochs = [row for row in said if row.startswith("epoch")]
    assert len(epochs) < 12
    assert said[-2].startswith(f"stopped after {len(epochs)} epochs: the last was not better than epoch ")
    assert said[-1].startswith("kept the weights of the best epoch, ")


def test_a_schedule_that_looks_at_the_records_is_resumed(
    small: mnist.Dataset, tmp_path: Path, monkeypatch: Any
) -> None:
    from tinygrad_mnist import optim

    def schedule(self: Any, optimizer: Any) -> Any:
        return optim.ReduceLROnPlateau(optimizer, patience=0, factor=0.5)

    monkeypatch.setattr(Network2, "schedule", schedule)
    assert network_class("network2") is Network2
    ends = []
    for parts in ([14], [5, 14]):
        file = tmp_path / f"{len(parts)}.npz"
        training = Training(Network2(**{**SETTINGS, "epochs": parts[0]}), small)
        list(training.fit())
        for more in parts[1:]:
            training.save(file)
            checkpoint = train.load(file)
            network = dataclasses.replace(settings_of(checkpoint), epochs=more)
            training = Training.resume(checkpoint, network, small)
            list(training.fit())
        ends.append((training.model.state_dict(), [epoch.lr for epoch in training.history]))
    assert same_bits(ends[0][0], ends[1][0])
    assert ends[0][1] == ends[1][1]
    assert len(set(ends[0][1])) > 1
