"""The benchmark compares what computes the same: every contestant comes to the same weights. No timing is asserted."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from graphs.speed import __main__ as command
from graphs.speed.__main__ import main
from graphs.speed.by_hand import HandWritten
from graphs.speed.contestants import CONTESTANTS, installed
from graphs.speed.fairness import first_parameters, largest_difference, random_batches
from graphs.speed.ours import Compiled
from tinygrad_mnist.tensor import Array

INSTALLED = [name for name in CONTESTANTS if installed(name)]


@pytest.mark.parametrize("batch", [1, 7])
def test_all_contestants_come_to_the_same_weights(batch: int) -> None:
    assert {"numpy", "eager", "compiled", "book"} <= set(INSTALLED)
    assert largest_difference(INSTALLED, batch, hidden=12, steps=6) < 2e-5


def test_a_contestant_that_computes_something_else_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    class Wrong(HandWritten):
        def step(self, x: Array, y: Array) -> object:
            return super().step(x, np.roll(y, 1))

    monkeypatch.setitem(CONTESTANTS, "book", Wrong)
    with pytest.raises(AssertionError, match="book: float32 weights differ by"):
        largest_difference(["book"], batch=4, hidden=5)


def test_the_compiled_contestant_is_compiled() -> None:
    contestant = Compiled(first_parameters(5))
    contestant.epoch(random_batches(3, 4))
    assert "def step(" in contestant.compiled.source


@pytest.mark.slow
def test_a_quick_run_writes_its_results_where_it_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--quick", "--only", "eager", "compiled", "--repetitions", "2", "--output", str(tmp_path)]
    assert main(arguments) == 0
    results = json.loads((tmp_path / "speed.json").read_text(encoding="utf-8"))
    assert set(results["steps"][0]["contestants"]) == {"numpy", "eager", "compiled"}
    assert (tmp_path / "speed.png").stat().st_size > 10_000
    assert len(list(tmp_path.iterdir())) == 2
    assert "784-30-10, batch 10" in capsys.readouterr().out


def test_a_smaller_run_does_not_overwrite_the_published_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    results = {"repetitions": 40, "steps": [{"batch": 10, "hidden": 30, "contestants": {"numpy": 1, "eager": 1}}]}
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(command, "HERE", tmp_path / "published")
    monkeypatch.setattr(command, "_measured", lambda names, given: results)
    monkeypatch.setattr(command, "draw", lambda results, path: path.write_text("drawn"))
    (tmp_path / "published").mkdir()
    published = tmp_path / "published" / "speed.json"
    published.write_text(json.dumps(results))
    same = ["--only", "eager", "--batch", "10", "--hidden", "30"]
    smaller = (["--only", "numpy"], ["--repetitions", "2"], ["--batch", "5"], ["--hidden", "9"], ["--examples", "9"])
    for less in smaller:
        assert main([*same, *less]) == 0
        assert "written: speed.json" in capsys.readouterr().out
        assert main([*same, *less, "--output", "published"]) == 1
        assert "published: its speed.json holds more than this would" in capsys.readouterr().err
        (tmp_path / "speed.json").unlink()
        assert published.read_text() == json.dumps(results)
    for text in (None, json.dumps(results), "[" * 9999):
        if text:
            published.write_text(text)
        else:
            published.unlink()
        assert main(same) == 0
        assert (f"written: {published}" in capsys.readouterr().out) == (text != "[" * 9999)


def test_wrong_usage() -> None:
    with pytest.raises(SystemExit) as error:
        main(["--repetitions", "0"])
    assert error.value.code == 2
