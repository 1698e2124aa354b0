"""The benchmark compares what computes the same: every contestant comes to the same weights. No timing is asserted."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

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


def test_a_quick_run_writes_its_results_where_it_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--quick", "--only", "eager", "compiled", "--repetitions", "2", "--output", str(tmp_path)]
    assert main(arguments) == 0
    results = json.loads((tmp_path / "speed.json").read_text(encoding="utf-8"))
    assert set(results["steps"][0]["contestants"]) == {"numpy", "eager", "compiled"}
    assert (tmp_path / "speed.png").stat().st_size > 10_000
    assert len(list(tmp_path.iterdir())) == 2
    assert "784-30-10, batch 10" in capsys.readouterr().out


def test_wrong_usage() -> None:
    with pytest.raises(SystemExit) as error:
        main(["--repetitions", "0"])
    assert error.value.code == 2
