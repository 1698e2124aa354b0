"""What commands show: in 80 columns all of it, in every command that there is."""

import json
import pkgutil
import re
import runpy
import sys
import warnings
from pathlib import Path

import pytest

import graphs
import zoo
from graphs.commandline import last_accuracies
from tinygrad_mnist import installation
from zoo.options import commands

COMMANDS = [
    *commands(),
    "zoo",
    "graphs",
    "graphs.pictures",
    "graphs.speed",
    "graphs.step_decay",
    "graphs.vanishing",
    "tinygrad_mnist",
    "tinygrad_mnist.mnist",
]


UNTRAINED = ("neuron",)
"""Figures that tell of validation images in words of their own."""


@pytest.fixture
def shown(monkeypatch, capsys):
    """Run a command in this process: its status, and what it has printed."""

    def run(module, *arguments, columns=80):
        monkeypatch.setenv("COLUMNS", str(columns))
        monkeypatch.setattr(sys, "argv", [module, *arguments])
        with warnings.catch_warnings(action="ignore"), pytest.raises(SystemExit) as end:  # of what was imported before
            runpy.run_module(module, run_name="__main__")
        return end.value.code, capsys.readouterr()

    return run


@pytest.mark.parametrize("module", COMMANDS)
def test_help_fits_80_columns(module, shown):
    status, said = shown(module, "--help")
    assert (status or 0, said.err) == (0, "")
    assert said.out.startswith(f"usage: python -m {module}")
    assert [line for line in said.out.splitlines() if len(line) > 80] == []


@pytest.mark.parametrize("module", ["graphs", "tinygrad_mnist"])
def test_what_there_is_fits_80_columns(module, shown):
    status, said = shown(module)
    assert (status, said.err) == (0, "")
    assert [line for line in said.out.splitlines() if len(line) > 80] == []
    assert "python -m zoo.network2" in said.out or "python -m graphs.step_decay" in said.out


def test_what_an_image_shows_and_a_figure_found_fits_80_columns(shown, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    files = Path(zoo.__path__[0])
    status, said = shown("zoo.predict", str(files / "models/network3.npz"), str(files / "drawings/two.png"))
    assert status == 0
    assert " ".join(said.out.split()).count("2 0.740") == 1
    assert len(said.out.splitlines()) > 1
    lines = said.out.splitlines()
    record = {
        "seeds": [0],
        "runs": [{"label": "quadratic", "result": {"told": ["answers after epoch " + "0: 0.982  " * 6]}}],
    }
    monkeypatch.setenv("COLUMNS", "80")
    lines += last_accuracies(record).splitlines()
    assert lines[-2].startswith("quadratic  ")
    assert [line for line in lines if len(line) > 80 and "two.png" not in line] == []


def test_what_a_figure_found_is_told_under_what_it_is():
    epochs = [{"validation": 0.9, "test": None}]
    results = {
        "told alone": {"told": ["crosses 0 twice"]},
        "trained": {"epochs": epochs, "lost_classes": [5], "gradients": [[0.001, 0.25], [0.5, 0.75]]},
    }
    runs = {label: [{"label": label, "result": result}] for label, result in results.items()}
    told = last_accuracies({"seeds": [0], "runs": runs["told alone"]})
    assert told == f"{'told alone':<34} seed 0 crosses 0 twice"
    assert last_accuracies({"seeds": [0], "runs": [*runs["trained"], *runs["told alone"]]}).splitlines() == [
        "lowest / median / highest of the seeds, after the last epoch:",
        f"{'trained':<34} validation 90.00 / 90.00 / 90.00 %",
        "norm of dC/db by layer, before and after training (mean of the seeds):",
        f"{'trained':<34} before     0.001 0.25",
        f"{'trained':<34} after      0.5 0.75",
        f"{'trained':<34} seed 0 never answers 5",
        told,
    ]
    assert last_accuracies({"seeds": [0], "runs": [{"label": "nothing", "result": {}}]}) == ""


@pytest.mark.parametrize("file", sorted(Path(graphs.__path__[0]).glob("*.json")), ids=lambda file: file.stem)
def test_what_every_published_figure_found_can_be_told(file):
    text = last_accuracies(json.loads(file.read_text(encoding="utf-8")))
    assert text.startswith("lowest / median") == (" validation " in text and file.stem not in UNTRAINED)
    assert ("norm of dC/db" in text) == (file.stem in ("saturation", "vanishing"))


def test_the_zoo_lists_every_command_that_it_has(shown):
    _, said = shown("zoo", "--help")
    names = [m.name for m in pkgutil.iter_modules(zoo.__path__) if m.name.startswith(("network", "custom", "predict"))]
    assert all(f"python -m zoo.{name} " in said.out for name in names)
    assert "zoo.options" not in said.out


@pytest.mark.parametrize(("given", "meant"), [("stepdecay", "graphs.step_decay"), ("pictrues", "graphs.pictures")])
def test_figures_are_named_where_one_may_have_been_meant(given, meant, shown):
    status, said = shown("graphs", given)
    assert (status, said.out) == (2, "")
    assert f"unrecognized arguments: {given}; did you mean python -m {meant}? " in said.err


def test_another_word_is_refused(shown):
    assert [shown(module, "foo")[0] for module in ("graphs", "tinygrad_mnist", "zoo")] == [2, 2, 2]


def test_names_of_a_wheel_stand_in_a_column_of_their_own(shown, monkeypatch):
    monkeypatch.setattr(installation, "CHECKOUT", None)
    _, said = shown("graphs")
    lines = said.out.splitlines()
    assert [line for line in lines if len(line) > 80] == []
    name = re.compile(r"(python -m tinygrad_mnist\.graphs\.\w+)? +")
    begins = {match and match.end() for match in map(name.match, lines)}
    assert len(begins) == 1


def test_all_figures_are_listed(shown):
    _, said = shown("graphs")
    figures = [m.name for m in pkgutil.iter_modules(graphs.__path__) if m.name.endswith(("graph", "graph1", "graph2"))]
    assert all(f"graphs.{name} " in said.out for name in figures)
