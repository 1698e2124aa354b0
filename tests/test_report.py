"""zoo/report.py: what a network gets wrong; and the options that zoo.custom shares with its siblings."""

import numpy as np
import pytest

from tinygrad_mnist import mnist, train
from zoo.custom import Custom
from zoo.predict import main as predict
from zoo.report import confusion, table, worst
from zoo.training import Training, settings_of

from .helpers import write_data


def test_the_matrix_counts_every_image_once():
    rng = np.random.default_rng(0)
    labels, said = rng.integers(0, 10, 500), rng.integers(0, 10, 500)
    counts = confusion(labels, said, 10)
    assert counts.sum() == 500
    assert counts.trace() == (labels == said).sum()
    assert counts[3, 5] == ((labels == 3) & (said == 5)).sum()


def test_many_classes_are_a_list_of_confusions(monkeypatch):
    counts = np.diag(np.full(47, 100))
    counts[2, 5], counts[40, 3], counts[7] = 9, 12, 0
    monkeypatch.setenv("COLUMNS", "80")
    lines = table(counts).splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[-3:] == ["most often confused:", "   40 taken for 3: 12", "    2 taken for 5: 9"]
    assert "    7          -" in lines
    monkeypatch.setenv("COLUMNS", "120")
    assert "most often" in table(counts)


def test_the_most_surely_wrong_come_first():
    outputs = np.array([[0.1, 0.2, 0.9], [0.5, 0.6, 0.1], [0.9, 0.0, 0.0], [0.2, 0.8, 0.1]])
    assert worst(outputs, np.array([0, 0, 0, 2])) == [0, 3, 1]


def test_a_report_is_printed_at_the_end_in_80_columns(here, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    status, out, error = here("zoo.network2", "--epochs", 1, "--report", "--quiet")
    assert (status, error) == (0, "")
    lines = out.splitlines()
    assert max(map(len, lines)) <= 80
    start = next(i for i, line in enumerate(lines) if line.startswith("test images: "))
    right, n = (int(word.replace(",", "")) for word in lines[start].split() if word[0].isdigit())
    rows = [line.split() for line in lines[start + 2 : start + 12]]
    assert [row[0] for row in rows] == [*"0123456789"]
    assert n == sum(0 if cell == "." else int(cell) for row in rows for cell in row[1:11])
    assert right == sum(0 if row[1 + i] == "." else int(row[1 + i]) for i, row in enumerate(rows))
    assert out.count(": says ") == 3
    assert "█" in out


@pytest.mark.slow
def test_the_example_saves_goes_on_and_reports_as_its_siblings_do(here, tmp_path):
    common = ("zoo.custom", "--train-size", 100)
    assert here(*common, "--epochs", 1, "--save", "m.npz", "--history", "h.json", "--report")[0] == 0
    status, out, _ = here("zoo.custom", "--resume", "m.npz", "--epochs", 2, "--quiet")
    assert (status, len(train.load("m.npz").history)) == (0, 2)
    assert settings_of(train.load("m.npz")) == Custom(epochs=2)
    assert predict(["m.npz", "0"]) == 0
    status, out, _ = here(*common, "--epochs", 1, "--lr", 0.01, "--hidden", 5, "--cost", "quadratic")
    assert status == 0
    assert "hidden 5, init he, cost quadratic, batch-size 32, lr 0.01" in out


def test_the_example_needs_square_images(tmp_path):
    rng = np.random.default_rng(0)
    data = mnist.load(write_data(tmp_path / "d", rng.integers(0, 255, (60, 16, 20)), np.arange(60) % 3))
    with pytest.raises(ValueError, match=r"^zoo\.custom: expected square images, got 320 pixels; "):
        Training(Custom(), data)
