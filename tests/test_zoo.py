"""zoo/: the networks, and their real command lines on a small real subset of the digits."""

import dataclasses
import io
import json
import os
import re
import shutil
import signal
import struct
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tinygrad_mnist import Tensor, mnist, native, train
from zoo import pictures
from zoo.base import BaseNetwork, setting
from zoo.commandline import main
from zoo.custom import Adam, Convolutional
from zoo.limits import number
from zoo.network import Network
from zoo.network1 import Network1
from zoo.network2 import Network2
from zoo.network3 import Network3
from zoo.training import NAMES, Training, describe, network_class, settings_of
from zoo.words import in_words, line, rate, wrapped

from .helpers import environment, needs_compiler, read_until, start, write_data

ROOT = Path(__file__).resolve().parent.parent
NETWORKS = [Network, Network1, Network2, Network3]


@pytest.fixture(scope="session")
def small(digits):
    return mnist.load(digits)


def weights(file):
    return train.load(file).model


def same_bits(one, two):
    assert one.keys() == two.keys()
    return all(np.array_equal(one[name], two[name]) for name in one)


EPOCH = re.compile(
    r"^epoch +(\d+)/(\d+)  cost (\d+\.\d{4})  validation (\d+\.\d\d %|none)  test (\d+\.\d\d %|none)"
    r"  lr (\S+)  \d+\.\d\d s$",
    re.MULTILINE,
)


# ---- What they are


@pytest.mark.parametrize("kind", NETWORKS)
def test_each_learns_the_small_subset(kind, small):
    records = list(Training(kind(epochs=12, init="scaled"), small).fit())
    assert len(records) == 12
    assert records[-1].cost < records[0].cost / 2
    assert (records[-1].validation or 0) > 0.75


@pytest.mark.parametrize("sizes", [(30,), (20, 10)])
def test_with_one_seed_all_start_alike_and_epochs_do_not_matter(small, sizes):
    starts = [
        Training(kind(hidden=sizes, init="scaled", seed=4, epochs=epochs), small).model.state_dict()
        for kind, epochs in [*((kind, 3) for kind in NETWORKS), (Network, 7)]
    ]
    assert all(same_bits(starts[0], start) for start in starts[1:])
    other = Training(Network(hidden=sizes, init="scaled", seed=5), small).model.state_dict()
    assert not same_bits(starts[0], other)


def test_with_one_seed_all_see_the_digits_in_the_same_order(small):
    states = {str(Training(kind(seed=3), small).rng.bit_generator.state) for kind in NETWORKS}
    assert len(states) == 1


def test_the_same_settings_give_the_same_bits(small):
    ends = []
    for _ in range(2):
        training = Training(Network2(epochs=2, seed=9), small)
        list(training.fit())
        ends.append(training.model.state_dict())
    assert same_bits(*ends)


def test_only_weights_decay(small):
    training = Training(Network3(lmbda=5.0), small)
    groups = training.optimizer.groups
    assert [group["weight_decay"] for group in groups] == [5.0 / 1000, 0.0]
    assert [p.ndim for group in groups for p in group["params"]] == [2, 2, 1, 1]
    raw = Training(Network3(weight_decay=0.25), small).optimizer.groups
    assert [group["weight_decay"] for group in raw] == [0.25, 0.0]
    assert in_words(Network3(weight_decay=0.25)).endswith("lr 1.5, weight-decay 0.25")


def test_the_learning_rate_of_network2_steps_down(small):
    records = list(Training(Network2(epochs=5, lr=2.0, lr_step=2), small).fit())
    assert [record.lr for record in records] == [2.0, 2.0, 1.0, 1.0, 0.5]


def test_the_defaults_are_what_the_docstrings_promise():
    assert Network().init == "normal"
    assert Network3().init == "scaled"
    assert all(kind().hidden == (30,) and kind().epochs == 30 and kind().cost == "quadratic" for kind in NETWORKS)
    assert [network_class(name) for name in NAMES] == NETWORKS


def test_an_unknown_cost_is_named():
    with pytest.raises(ValueError, match="cost: expected one of quadratic, cross-entropy, softmax, got 'linear'"):
        Network(cost="linear")


@pytest.mark.slow
@pytest.mark.parametrize("kind", NETWORKS)
@pytest.mark.parametrize("cost", ["cross-entropy", "softmax"])
def test_the_other_costs_have_a_rate_of_their_own_and_learn(kind, cost, small):
    training = Training(kind(cost=cost, epochs=5, init="scaled"), small)
    assert training.network.lr == kind.RATES[cost]
    assert (list(training.fit())[-1].validation or 0) > 0.75
    outputs = training.activations(small.validation.images)
    assert 0 <= outputs.min() <= outputs.max() <= 1
    if cost == "softmax":
        np.testing.assert_allclose(outputs.sum(1), 1, rtol=1e-5)


# ---- The original recipe, against its own formulas


def by_its_own_formulas(network, data):
    """What the original networks computed in an epoch, in float64: an update after every digit, at eta / batch."""
    training = Training(network, data)
    w1, b1, w2, b2 = (p.data.astype(np.float64) for p in training.model.parameters())
    parameters = [w1, b1, w2, b2]
    velocity = [np.zeros_like(p) for p in parameters]
    eta, n, size = network.lr, len(data.train), network.batch_size
    mu = getattr(network, "momentum", 0.0)
    decay = 1 - eta * getattr(network, "lmbda", 0.0) / n
    for images, labels in mnist.batches(data.train, 1, training.rng):
        x, y = images.astype(np.float64), np.eye(10)[labels]
        w1, b1, w2, b2 = parameters
        h = 1 / (1 + np.exp(-(x @ w1 + b1)))
        a = 1 / (1 + np.exp(-(h @ w2 + b2)))
        d2 = (a - y) * a * (1 - a)
        d1 = (d2 @ w2.T) * h * (1 - h)
        gradients = [x.T @ d1, d1[0], h.T @ d2, d2[0]]
        velocity = [mu * v - eta / size * g for v, g in zip(velocity, gradients, strict=True)]
        parameters = [(decay if p.ndim == 2 else 1) * p + v for p, v in zip(parameters, velocity, strict=True)]
    return parameters


@pytest.mark.parametrize("kind", [Network, Network1, Network3])
def test_the_original_recipe_computes_what_the_original_did(kind, small):
    network = kind.original(epochs=1, seed=2)
    assert (network.per_example, network.digits_a_step) == (True, 1)
    training = Training(network, small)
    list(training.fit())
    for found, expected in zip(training.model.parameters(), by_its_own_formulas(network, small), strict=True):
        np.testing.assert_allclose(found.data, expected, rtol=0, atol=2e-3 * np.abs(expected).max())


def test_the_original_settings_are_those_published():
    assert (Network.original().lr, Network.original().batch_size) == (2.5, 10)
    for kind in (Network1, Network2):
        network = kind.original()
        assert (network.lr, network.batch_size, network.momentum, network.init) == (1.5, 32, 0.9, "normal")
    assert (Network3.original().lr, Network3.original().batch_size, Network3.original().lmbda) == (1.5, 10, 0.1)
    schedule = Training(Network2.original(), tiny()).schedule
    assert schedule is not None
    assert schedule.rate(1.5, 1000) == 1.5


def tiny():
    split = mnist.Split(np.eye(4, dtype=np.float32), np.arange(4))
    return mnist.Dataset(split, split, None, n_classes=4, image_shape=(2, 2), source=Path("made up"))


# ---- A neuron that is lost


def test_a_class_that_a_saturated_neuron_never_says_is_found(small):
    training = Training(Network(epochs=6, init="scaled"), small)
    list(training.fit())
    assert training.lost_classes() == []
    training.model.parameters()[3].data -= np.float32(40) * np.eye(10, dtype=np.float32)[4]
    assert training.lost_classes() == [4]


def test_a_class_is_lost_though_an_image_of_another_is_taken_for_it(small):
    training = Training(Network(epochs=1, init="scaled"), small)
    list(training.fit())
    silent = small.validation.labels == 4
    outputs = training.activations(small.validation.images)
    outputs[silent, 4] = 1e-7
    outputs[np.flatnonzero(~silent)[0]] = np.eye(10)[4]
    training.activations = lambda images: outputs  # type: ignore[method-assign]
    assert training.lost_classes() == [4]


@pytest.mark.slow
def test_a_run_that_loses_a_class_says_so_at_its_end_with_cause_and_remedy(zoo, tmp_path):
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 99, (600, 4, 4)), np.arange(600) % 3
    images[np.arange(600), labels, labels] = 255
    labels[::5] = 3
    labels[:500][labels[:500] == 3] = 0  # class 3 is among the validation images only: its neuron learns to be silent
    data = write_data(tmp_path / "lost", images, labels)
    done = zoo("zoo.network", "--epochs", 40, "--lr", 30, "--quiet", data=data)
    last = done.stdout.splitlines()[-1]
    assert re.match(r"the network hardly ever answers (1, 2 or )?3: .* saturated", last)
    assert "--init scaled" in last
    done = zoo("zoo.network", "--epochs", 40, "--lr", 30, "--init", "scaled", data=data)
    assert "remedy: a smaller --lr" in done.stdout


# ---- What is printed


def test_a_line_an_epoch(monkeypatch):
    epoch = train.Epoch(1, 0.04123, 0.99, 0.9431, 0.9396, 3.0, 0.5, 1.214)
    expected = "epoch  1/30  cost 0.0412  validation 94.31 %  test 93.96 %  lr 3.0  1.21 s"
    assert line(epoch, 30) == expected
    assert line(dataclasses.replace(epoch, test=None), 5) == expected.replace(" 1/30", "1/5").replace("93.96 %", "none")
    for columns in (40, 60):
        monkeypatch.setenv("COLUMNS", str(columns))
        lines = line(epoch, 30).split("\n  ")
        assert " ".join(lines) == expected.replace("  ", " ").replace("epoch 1", "epoch  1")
        assert max(map(len, lines)) + 2 <= columns
        assert not any(each.endswith(("cost", "validation", "test", "lr")) or each[0] in "%s" for each in lines)
    assert [rate(value) for value in (3.0, 0.375, 1.5 / 32, 1e-7, 250)] == ["3.0", "0.375", "0.04688", "1e-07", "250.0"]


@pytest.mark.parametrize("name", NAMES)
def test_each_command_trains_and_prints_a_line_an_epoch(zoo, name):
    done = zoo(f"zoo.{name}", "--epochs", 2, "--seed", 1)
    first, second, *epochs = done.stdout.splitlines()
    assert first.startswith(f"{name}: hidden 30, init ")
    assert first.endswith("seed 1")
    assert second.startswith("1,000 training, 200 validation and 200 test images of 28 x 28 in 10 classes from ")
    found = EPOCH.findall(done.stdout)
    assert [epoch[:2] for epoch in found] == [("1", "2"), ("2", "2")]
    assert len([line for line in epochs if "hardly ever answers" not in line]) == 2  # so early some classes may be
    assert float(found[1][2]) < float(found[0][2])


def test_quiet_prints_the_last_line_only(zoo):
    done = zoo("zoo.network3", "--epochs", 3, "--quiet")
    assert [epoch[0] for epoch in EPOCH.findall(done.stdout)] == ["3"]
    assert done.stdout.count("\n") == 1


def test_every_setting_can_be_given(zoo, tmp_path):
    zoo(
        *("zoo.network2", "--epochs", 1, "--batch-size", 25, "--lr", 0.3, "--momentum", 0.8, "--hidden", 12, 8),
        *("--init", "he", "--cost", "cross-entropy", "--seed", 7, "--lr-step", 3, "--lr-gamma", 0.1),
        *("--train-size", 500, "--save", "m.npz", "--quiet"),
    )
    checkpoint = train.load(tmp_path / "m.npz")
    assert settings_of(checkpoint) == Network2(
        epochs=1,
        batch_size=25,
        lr=0.3,
        momentum=0.8,
        hidden=(12, 8),
        init="he",
        cost="cross-entropy",
        seed=7,
        lr_step=3,
        lr_gamma=0.1,
    )
    assert checkpoint.settings["data"]["n"] == 500
    zoo("zoo.network3", "--epochs", 1, "--lmbda", 3, "--save", "3.npz", "--quiet")
    assert [group["weight_decay"] for group in train.load(tmp_path / "3.npz").optimizer["groups"]] == [0.003, 0]


def test_the_original_recipe_is_an_option(zoo, tmp_path):
    done = zoo("zoo.network1", "--recipe", "original", "--epochs", 1, "--save", "m.npz")
    assert "batch-size 32, lr 1.5, momentum 0.9, an update after every digit with η / m, seed 0" in done.stdout
    assert "lr 0.04688" in done.stdout
    assert settings_of(train.load(tmp_path / "m.npz")) == Network1.original(epochs=1)


@pytest.mark.slow
def test_all_four_make_one_table(zoo, tmp_path):
    done = zoo("zoo", "--epochs", 2, "--hidden", 10, "--seeds", 0, 1, "--history", "all.json")
    *_, settings, label = done.stdout.splitlines()[:-5]
    table = done.stdout.splitlines()[-5:]
    assert label == "accuracies: the lowest / the median / the highest of the seeds; s/epoch: the median"
    assert table[0].split() == ["network", "validation", "test", "s/epoch"]
    assert max(map(len, table)) < 80
    assert "all.json: every epoch of every run" in done.stdout
    assert [row.split()[0] for row in table[1:]] == list(NAMES)
    assert all(row.count(" / ") == 4 for row in table[1:])
    assert settings.endswith("lmbda 1.0, epochs 2, seed 0 1")
    record = json.loads((tmp_path / "all.json").read_text())
    assert [(run["network"], run["settings"]["seed"], len(run["epochs"])) for run in record["runs"]] == [
        (name, seed, 2) for name in NAMES for seed in (0, 1)
    ]
    one = zoo("zoo", "--epochs", 1, "--quiet", "--recipe", "original").stdout
    assert len([line for line in one.splitlines() if "hardly ever answers" not in line]) == 11
    assert one.count("an update after every digit") == 4


@pytest.mark.slow
def test_where_there_are_only_ascii_letters_others_are_replaced(digits, tmp_path):
    plain = environment(digits) | {"PYTHONIOENCODING": "ascii"}
    for arguments in (["--help"], ["--epochs", "1", "--recipe", "original", "--draw", "1"]):
        command = [sys.executable, "-m", "zoo.network2", *arguments]
        done = subprocess.run(command, cwd=tmp_path, env=plain, capture_output=True, text=True, timeout=60)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.isascii()


# ---- Help, and what is imported for it


@pytest.mark.parametrize("name", NAMES)
def test_help_tells_every_option_with_its_default_and_the_books_symbol(zoo, name):
    text = " ".join(zoo(f"zoo.{name}", "--help").stdout.split())
    options = (
        "epochs batch-size lr hidden init cost seed recipe data train-size save resume history plot graph page".split()
    )
    options += {"network1": ["momentum"], "network2": ["momentum", "lr-step", "lr-gamma"]}.get(name, [])
    options += ["lmbda", "weight-decay"] if name == "network3" else []
    for option in [*options, "draw", "draw-wrong", "quiet"]:
        assert re.search(rf"\w\W+--{option} [\w{{]", text), option
    assert "η (eta)" in text
    assert ("λ (lambda)" in text) == (name == "network3")
    assert ("μ (mu)" in text) == (name in ("network1", "network2"))
    assert ("--momentum" in text) == (name in ("network1", "network2"))
    for default in ("30", "quadratic", f"{network_class(name).RATES['quadratic']:g}"):
        assert f"(default: {default}" in text


@pytest.mark.parametrize(
    "arguments", [["zoo.network2", "--help"], ["zoo", "--help"], ["zoo.predict", "--help"], ["zoo.writer", "--help"]]
)
def test_nothing_heavy_is_imported_for_help(arguments, tmp_path):
    program = (
        "import atexit, runpy, sys\n"
        "heavy = ['matplotlib', 'PIL', 'graphviz', 'tqdm', 'hypothesis', 'urllib.request']\n"
        "atexit.register(lambda: print([name for name in heavy if name in sys.modules]))\n"
        "del sys.argv[0]\n"
        "runpy.run_module(sys.argv[0], run_name='__main__', alter_sys=True)\n"
    )
    command = [sys.executable, "-c", program, *arguments]
    done = subprocess.run(command, cwd=tmp_path, env=environment(tmp_path), capture_output=True, text=True, timeout=60)
    assert done.stdout.splitlines()[-1] == "[]"


# ---- Files


def test_history_plot_and_graph_are_written(zoo, tmp_path):
    files = ("--history", "h.json", "--plot", "p.png", "--graph", "g.gv", "--save", "m.npz")
    done = zoo("zoo.network2", "--epochs", 2, *files)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["g.gv", "h.json", "m.npz", "p.png"]
    assert "p.png: the learning curves" in done.stdout
    assert "m.npz: the trained network, 2 epochs" in done.stdout
    assert "h.json: settings and results, 2 epochs" in done.stdout
    assert "g.gv: the computation graph of one step" in done.stdout
    record = json.loads((tmp_path / "h.json").read_text())
    assert record["network"] == "network2"
    assert record["settings"]["lr"] == Network2().lr
    assert [epoch["epoch"] for epoch in record["epochs"]] == [1, 2]
    assert set(record["epochs"][0]) == {field.name for field in dataclasses.fields(train.Epoch)}
    assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")
    graph = (tmp_path / "g.gv").read_text()
    assert "digraph" in graph
    assert "layers.2.weight" in graph


def test_a_graph_that_nothing_can_draw_is_told_by_its_option(here, monkeypatch):
    monkeypatch.setattr("tinygrad_mnist.visualize.render.shutil.which", lambda *_, **__: None)
    status, _, error = here("zoo.network", "--graph", "g.svg", "--epochs", 0)
    assert (status, error.count("\n")) == (1, 1)
    assert error.startswith("error: --graph: g.svg is not drawn: no dot program was found; install Graphviz")
    assert error.endswith("; its DOT text is in g.gv\n")


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="elsewhere a display is always there")
def test_a_plot_needs_no_window(zoo_process, tmp_path, monkeypatch):
    monkeypatch.setenv("MPLBACKEND", "none-that-there-is")
    zoo_process("zoo.network", "--epochs", 1, "--quiet", "--plot", "p.png")
    assert (tmp_path / "p.png").stat().st_size > 10_000


def test_what_cannot_be_written_is_said_before_training(here, tmp_path):
    for option in ("--save", "--plot", "--graph", "--history"):
        status, output, error = here("zoo.network", option, "missing/file.png")
        assert (status, output) == (1, "")
        assert re.match(r"error: missing/file.png: .*missing is not a directory that can be written to.*\n\Z", error)
    assert "is a directory" in here("zoo.network", "--save", tmp_path)[2]


@pytest.mark.parametrize(
    "command", ["zoo.network --save", "zoo.network2 --history", "zoo.writer --save", "zoo --history"]
)
@pytest.mark.parametrize("directory", ["/", "."])
def test_a_directory_is_no_file_to_write(here, command, directory):
    done = here(*command.split(), directory)
    assert (done.status, done.stdout, done.stderr) == (1, "", f"error: {directory}: is a directory; name a file\n")


def test_what_is_interrupted_is_told_in_lines_that_fit_the_terminal(monkeypatch):
    command = "`python -m zoo.network1 --resume model.npz`"
    text = f"interrupted in epoch 3 of 30; model.npz holds the first 2 epochs; {command} goes on"
    assert wrapped(text, io.StringIO()) == text
    monkeypatch.setenv("COLUMNS", "80")
    lines = wrapped(text, io.StringIO()).split("\n")
    assert len(lines) == 2
    assert max(map(len, lines)) <= 80
    assert command in lines[1]


def test_digits_are_drawn_with_what_the_network_says(zoo):
    done = zoo("zoo.network2", "--epochs", 1, "--quiet", "--draw", 2, "--draw-wrong", 1)
    said = re.findall(r"^test image (\d+): says (\d), is (\d)$", done.stdout, re.MULTILINE)
    assert [index for index, _, _ in said[:2]] == ["0", "1"]
    assert [label for _, _, label in said[:2]] == ["7", "2"]
    assert said[2][1] != said[2][2]
    assert done.stdout.count("says") >= 6
    assert "█" in done.stdout


# ---- Nothing is lost


@pytest.mark.slow
def test_killed_in_mid_epoch_again_and_again_it_comes_to_the_same_bits(zoo_process, digits, tmp_path):
    settings: tuple[Any, ...] = ("--epochs", 6, "--batch-size", 2, "--lr", 0.5, "--lr-step", 2, "--seed", 3)
    zoo_process("zoo.network2", *settings, "--save", "whole.npz", "--history", "whole.json", "--quiet")

    arguments = (*settings, "--save", "killed.npz")
    for epoch in (1, 2, 4):
        process = start("zoo.network2", *arguments, data=digits, cwd=tmp_path)
        read_until(process, f"epoch {epoch}/6")
        process.send_signal(signal.SIGKILL)  # in the next epoch
        process.communicate(timeout=60)
        assert process.returncode == -signal.SIGKILL
        assert len(train.load(tmp_path / "killed.npz").history) in (epoch, epoch + 1)
        arguments = ("--resume", "killed.npz")
    zoo_process("zoo.network2", "--resume", "killed.npz", "--history", "killed.json", "--quiet")

    assert same_bits(weights(tmp_path / "whole.npz"), weights(tmp_path / "killed.npz"))
    one, two = (train.load(tmp_path / name) for name in ("whole.npz", "killed.npz"))
    assert one.rng == two.rng
    assert one.schedule == two.schedule
    assert one.optimizer["state"].keys() == two.optimizer["state"].keys()
    assert all(same_bits(arrays, two.optimizer["state"][i]) for i, arrays in one.optimizer["state"].items())
    records = [json.loads((tmp_path / name).read_text())["epochs"] for name in ("whole.json", "killed.json")]
    for record in (*records[0], *records[1]):
        del record["seconds"]
    assert records[0] == records[1]


@pytest.mark.parametrize("name", ["network", "network1", "network3"])
def test_every_network_goes_on_to_the_same_bits(name, small, tmp_path):
    kind = network_class(name)
    whole = Training(kind(epochs=3, seed=1), small)
    list(whole.fit())
    part = Training(kind(epochs=1, seed=1), small)
    list(part.fit())
    part.save(tmp_path / "m.npz")
    checkpoint = train.load(tmp_path / "m.npz")
    rest = Training.resume(checkpoint, dataclasses.replace(settings_of(checkpoint), epochs=3), small)
    assert [epoch.epoch for epoch in rest.fit()] == [2, 3]
    assert same_bits(whole.model.state_dict(), rest.model.state_dict())


def test_the_number_of_epochs_is_the_total_with_resume_too(zoo, tmp_path):
    zoo("zoo.network", "--epochs", 1, "--save", "m.npz", "--quiet")
    done = zoo("zoo.network", "--resume", "m.npz", "--epochs", 3)
    assert [epoch[:2] for epoch in EPOCH.findall(done.stdout)] == [("2", "3"), ("3", "3")]
    assert "m.npz: goes on after epoch 1" in done.stdout
    before = (tmp_path / "m.npz").read_bytes()
    done = zoo("zoo.network", "--resume", "m.npz", "--draw", 1)
    assert "m.npz: is already trained for 3 epochs; --epochs N continues" in done.stdout
    assert "test image 0: says" in done.stdout
    assert (tmp_path / "m.npz").read_bytes() == before


def test_resume_can_save_elsewhere(zoo, tmp_path):
    zoo("zoo.network", "--epochs", 1, "--save", "a.npz", "--quiet")
    before = (tmp_path / "a.npz").read_bytes()
    zoo("zoo.network", "--resume", "a.npz", "--epochs", 2, "--save", "b.npz", "--quiet")
    assert (tmp_path / "a.npz").read_bytes() == before
    assert len(train.load(tmp_path / "b.npz").history) == 2


def test_resume_finds_data_that_was_given_and_the_size(zoo, digits, tmp_path):
    zoo(
        "zoo.network",
        "--epochs",
        1,
        "--data",
        digits,
        "--train-size",
        300,
        "--save",
        "m.npz",
        "--quiet",
        data="/nowhere",
    )
    assert "epoch 2/2" in zoo("zoo.network", "--resume", "m.npz", "--epochs", 2, data="/nowhere").stdout


@pytest.mark.skipif(os.name != "posix", reason="Ctrl-C cannot be sent to one process here")
@pytest.mark.parametrize("saving", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_ctrl_c_says_what_was_saved_and_how_to_go_on(zoo, digits, tmp_path, saving):
    arguments = ("--epochs", 500, "--batch-size", 1, *(("--save", "my model.npz") if saving else ()))
    process = start("zoo.network", *arguments, data=digits, cwd=tmp_path, hearing=True)
    read_until(process, "epoch   2/500")
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130
    assert error.count("\n") == 1
    if not saving:
        assert re.match(r"interrupted in epoch \d+ of 500; nothing was saved: --save FILE would have kept", error)
        return
    said = re.match(
        r"interrupted in epoch \d+ of 500; my model\.npz holds the first (\d+) epochs; "
        r"`python -m zoo\.network --resume 'my model\.npz'` goes on\n",
        error,
    )
    assert said
    assert len(train.load(tmp_path / "my model.npz").history) == int(said[1])
    done = zoo("zoo.network", "--resume", "my model.npz", "--epochs", int(said[1]) + 1)
    assert f"epoch {int(said[1]) + 1}/" in done.stdout


def test_a_diverging_cost_stops_with_epoch_step_and_hint(zoo, tmp_path):
    done = zoo("zoo.network2", "--cost", "softmax", "--lr", 3e38, "--save", "m.npz", status=1)
    assert re.match(
        r"error: epoch 1, step \d+: the cost is \S+; try a learning rate below 3e\+38; nothing was saved in m\.npz",
        done.stderr,
    )
    assert not (tmp_path / "m.npz").exists()


def test_a_reader_that_goes_away_is_no_traceback(digits, tmp_path):
    with start("zoo.network", "--epochs", 50, data=digits, cwd=tmp_path) as process:
        read_until(process, "epoch  1/50")
        process.stdout.close()
        assert process.stderr.read() == ""
        assert process.wait(timeout=60) == 1


# ---- What is refused


def test_checkpoints_that_do_not_match_are_refused_in_one_line(zoo, here, tmp_path):
    zoo("zoo.network2", "--epochs", 1, "--save", "m.npz", "--quiet")
    (tmp_path / "damaged.npz").write_bytes((tmp_path / "m.npz").read_bytes()[:-99])
    np.savez(tmp_path / "foreign.npz", a=np.ones(3))
    cases = [
        (
            ("zoo.network", "--resume", "m.npz"),
            r"saved by zoo\.network2, not zoo\.network; `python -m zoo\.network2 --res",
        ),
        (("zoo.network2", "--resume", "m.npz", "--lr", 7), r"trained with --lr 3\.0, not 7\.0; leave --lr out"),
        (
            ("zoo.network2", "--resume", "m.npz", "--hidden", 9, 9),
            "trained with --hidden 30, not 9 9; leave --hidden out",
        ),
        (("zoo.network2", "--resume", "m.npz", "--recipe", "original"), "was not trained with --recipe original"),
        (
            ("zoo.network2", "--resume", "m.npz", "--train-size", 500),
            r"was trained on other data \(1000 images .* \(500 im",
        ),
        (("zoo.network2", "--resume", "damaged.npz"), r"damaged\.npz: expected a checkpoint of tinygrad_mnist"),
        (("zoo.network2", "--resume", "foreign.npz"), r"foreign\.npz: expected a checkpoint of tinygrad_mnist"),
        (("zoo.network2", "--resume", "none.npz"), r"none\.npz: No such file"),
    ]
    before = (tmp_path / "m.npz").read_bytes()
    for command, message in cases:
        status, _, error = here(*command)
        assert status == 1
        assert re.match(rf"error: .*{message}.*\n\Z", error), error
    assert "foreign.npz" in zoo("zoo.network", "--resume", "foreign.npz", status=1).stderr
    assert (tmp_path / "m.npz").read_bytes() == before


def test_a_checkpoint_of_another_program_is_no_network(tmp_path, small):
    training = Training(Network(), small)
    training.save(tmp_path / "m.npz")
    good = dict(train.load(tmp_path / "m.npz").settings)
    others: list[dict[str, Any]] = [
        {},
        {"network": "os"},
        good | {"data": None},
        good | {"settings": {"hidden": [30], "size": 3}},
    ]
    for settings in others:
        train.save(tmp_path / "m.npz", training.model, training.optimizer, settings=settings)
        with pytest.raises(train.CheckpointError, match=r"m\.npz: expected a network of the zoo"):
            settings_of(train.load(tmp_path / "m.npz"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["zoo.network", "--epochs", "many"], "--epochs: expected a whole number of at least 0, got 'many'"),
        (["zoo.network", "--batch-size", "0"], "--batch-size: expected a whole number of at least 1, got '0'"),
        (["zoo.network", "--lr", "-1"], "--lr/--eta: expected a number above 0, got '-1'"),
        (["zoo.network", "--lr", "nan"], "--lr/--eta: expected a number above 0, got 'nan'"),
        (["zoo.network", "--momentum", "0.5"], "unrecognized arguments: --momentum 0.5"),
        (["zoo.network", "--mu=0.5", "--x"], "--mu=0.5 --x (--mu is for zoo.network1, zoo.network2)"),
        (["zoo.network", "--epoch", "1"], "unrecognized arguments: --epoch 1; did you mean --epochs? (`python"),
        (["zoo.network", "--nonsense"], "unrecognized arguments: --nonsense (`python"),
        (["zoo.network1", "--momentum", "1"], "--momentum/--mu: expected a number of at least 0 and below 1, got '1'"),
        (
            ["zoo.network3", "--lmbda", "1", "--weight-decay", "0.1"],
            "--lmbda and --weight-decay are two ways to say one",
        ),
        (["zoo.network", "--init", "big"], "--init: expected one of normal, scaled, xavier, he, got 'big'"),
        (["zoo.network", "--save", ""], "--save: expected a file name, got ''"),
        (["zoo.network", "--plot", ""], "--plot: expected a file name that ends in .png, .svg, .pdf, got ''"),
        (["zoo.network", "--plot", "p.txt"], "--plot: expected a file name that ends in .png, .svg, .pdf, got 'p.txt'"),
        (
            ["zoo.network", "--graph", "g"],
            "--graph: expected a file name that ends in .svg, .png, .pdf, .gv, .dot, got 'g'",
        ),
        (["zoo", "--seeds"], "--seeds: expected at least one argument"),
        (["zoo.network", "--eager", "--backend", "c"], "--backend: not allowed with argument --eager"),
    ],
)
def test_wrong_usage_exits_with_2(here, arguments, message):
    status, output, error = here(*arguments)
    assert (status, output) == (2, "")
    assert message in error


def test_wrong_usage_of_the_real_command_exits_with_2_too(zoo_process):
    assert "unrecognized arguments: --momentum 0.5" in zoo_process("zoo.network", "--momentum", 0.5, status=2).stderr


def test_data_that_is_not_there_is_one_line(zoo_process, here, digits):
    done = zoo_process("zoo.network", "--data", "nowhere", status=1)
    assert done.stderr.startswith("error: no train-images-idx3-ubyte")
    status, _, error = here("zoo", "--train-size", 1001)
    assert status == 1
    assert error.startswith(f"error: 1001 training images asked for, {digits} has 1000")


# ---- Any data set in the format


@pytest.mark.slow
def test_other_sizes_and_classes_without_test_files(zoo, tmp_path):
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 99, (240, 5, 7)), np.arange(240) % 4
    images[np.arange(240), labels, labels] = 255
    data = write_data(tmp_path / "other", images, labels)
    done = zoo("zoo.network2", "--data", data, "--epochs", 9, "--draw", 1, "--save", "m.npz", "--plot", "p.png")
    assert "200 training, 40 validation and no test images of 5 x 7 in 4 classes" in done.stdout
    assert "there are no test files" in done.stdout
    assert {epoch[4] for epoch in EPOCH.findall(done.stdout)} == {"none"}
    assert float(EPOCH.findall(done.stdout)[-1][3].split()[0]) > 90
    assert "validation image 0: says" in done.stdout
    assert "no test images" in zoo("zoo.predict", "m.npz", "0", status=1).stderr
    table = zoo("zoo", "--data", data, "--epochs", 1, "--quiet").stdout
    assert table.count("none") == 4


@pytest.mark.parametrize("n_classes", [1, 255])
def test_one_class_or_255(n_classes, tmp_path):
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (300, 2, 3)), np.arange(300) % n_classes
    data = mnist.load(write_data(tmp_path / "data", images, labels, images[:9], labels[:9]))
    for kind in NETWORKS:
        training = Training(kind(epochs=1), data)
        record = next(training.fit())
        assert training.model(data.train.images[:2]).shape == (2, n_classes)
        if n_classes == 1:
            assert record.test == 1.0


def test_five_images_leave_none_to_validate(tmp_path, capsys):
    data = mnist.load(write_data(tmp_path / "data", np.full((5, 2, 2), 9), np.arange(5) % 2))
    training = Training(Network(epochs=1), data)
    record = next(training.fit())
    assert (record.validation, record.test) == (None, None)
    assert isinstance(training.lost_classes(), list)
    pictures.draw(training, 1, 0)
    assert capsys.readouterr().out.startswith("training image 0: says ")


# ---- On a terminal


@pytest.mark.skipif(os.name != "posix", reason="needs a pseudo-terminal")
def test_a_progress_bar_is_shown_on_a_terminal_only(digits, tmp_path):
    import fcntl
    import pty
    import termios

    controller, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("4H", 24, 80, 0, 0))
    process = subprocess.Popen(
        [sys.executable, "-m", "zoo.network", "--epochs", "2", "--batch-size", "1"],
        cwd=tmp_path,
        env=environment(digits),
        stdout=subprocess.PIPE,
        stderr=terminal,
    )
    os.close(terminal)
    shown = b""
    while True:
        try:
            part = os.read(controller, 4096)
        except OSError:  # how a terminal says that there is no more
            break
        if not part:
            break
        shown += part
    os.close(controller)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert b"epoch 1/2:" in shown
    assert re.search(rb"steps/s, cost 0\.\d+\]", shown)
    assert shown.rstrip(b"\r").endswith(b" ")  # it has been wiped out
    assert max(map(len, shown.decode().split("\r"))) == 77  # there is room for the ^C that a terminal writes behind it
    assert b"steps/s" in shown
    assert b"\x1b" not in output
    assert b"%|" not in output


def test_the_settings_in_words_are_those_of_the_command_line():
    assert in_words(Network3(lmbda=2.0, hidden=(30, 20))) == (
        "hidden 30 20, init scaled, cost quadratic, batch-size 10, lr 1.5, lmbda 2.0"
    )


@pytest.mark.parametrize("name", NAMES)
def test_eager_and_compiled_training_give_the_same_bits(here, name):
    common = (f"zoo.{name}", "--train-size", 500, "--batch-size", 32, "--epochs", 2)
    printed = []
    for option in ((), ("--eager",)):
        status, out, err = here(*common, *option, "--save", f"{len(option)}.npz")
        assert (status, err) == (0, "")
        printed.append(re.sub(r"\d+\.\d\d s\n|^\d.npz", "\n", out, flags=re.MULTILINE))
    assert printed[0] == printed[1]
    assert same_bits(weights("0.npz"), weights("1.npz"))


# ---- A network of one's own

NETWORK4 = '''"""A network that drops hidden neurons at random."""

import sys
from dataclasses import dataclass

from tinygrad_mnist import nn, ops

from .base import setting
from .limits import number
from .network1 import Network1


@dataclass(frozen=True, kw_only=True)
class Network4(Network1):
    """`Network1`, with dropout."""

    batch_size: int = 20
    dropout: float = setting(0.1, "the share of neurons, in 100 %, left out", number(0, 1), "P", book="--p")
    whole: bool = setting(False, "leave none out")

    def model(self, n_in, n_out, rng):
        layers = super().model(n_in, n_out, rng).layers
        return nn.Sequential(*layers[:2], nn.Dropout(0 if self.whole else self.dropout, rng=rng), *layers[2:])


if __name__ == "__main__":
    from .commandline import main

    sys.exit(main(Network4))
'''


@pytest.fixture
def with_network4(tmp_path):
    """The zoo with one more file, in the directory where commands run."""
    shutil.copytree(ROOT / "zoo", tmp_path / "zoo", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "zoo" / "network4.py").write_text(NETWORK4, encoding="utf-8")


@pytest.mark.slow
@pytest.mark.usefixtures("with_network4")
def test_a_network_of_ones_own_has_its_option_in_help_words_and_refusals(zoo_process, tmp_path):
    text = " ".join(zoo_process("zoo.network4", "--help").stdout.split())
    assert text.startswith("usage: python -m zoo.network4 [-h]")
    assert "A network that drops hidden neurons at random." in text
    assert "--dropout P, --p P the share of neurons, in 100 %, left out (default: 0.1)" in text
    assert "the book's m (default: 20)" in text
    assert "--whole leave none out" in text
    error = zoo_process("zoo.network4", "--dropout", 2, status=2).stderr.splitlines()[-1]
    assert "argument --dropout/--p: expected a number of at least 0 and below 1, got '2' (`python" in error
    assert "(--p is for zoo.network4)" in zoo_process("zoo.network1", "--p=0.2", status=2).stderr
    text = "from zoo.network4 import Network4; Network4(dropout=1.0)"
    done = subprocess.run(
        [sys.executable, "-c", text], cwd=tmp_path, capture_output=True, text=True, env=environment("")
    )
    assert done.stderr.endswith("ValueError: dropout: expected a number of at least 0 and below 1, got 1.0\n")
    table = zoo_process("zoo", "--epochs", 1, "--quiet").stdout  # goes on with the book's four
    assert [row.split()[0] for row in table.splitlines()[-5:]] == ["network", *NAMES]


@pytest.mark.slow
@pytest.mark.usefixtures("with_network4")
def test_a_network_of_ones_own_trains_saves_goes_on_and_predicts(zoo_process, small, tmp_path):
    done = zoo_process("zoo.network4", "--dropout", 0.2, "--epochs", 2, "--save", "m.npz", "--plot", "curves.svg")
    assert done.stdout.startswith("network4: hidden 30, init scaled, cost quadratic, batch-size 20, lr 3.0, ")
    assert "momentum 0.5, dropout 0.2, whole False, seed 0" in done.stdout
    zoo_process("zoo.network4", "--p", 0.2, "--epochs", 4, "--save", "whole.npz", "--history", "h.json", "--quiet")
    assert json.loads((tmp_path / "h.json").read_text())["settings"]["dropout"] == 0.2
    zoo_process("zoo.network4", "--resume", "m.npz", "--epochs", 4)
    assert same_bits(weights(tmp_path / "m.npz"), weights(tmp_path / "whole.npz"))  # what is dropped goes on as well
    refused = zoo_process("zoo.network4", "--resume", "m.npz", "--p", 0.3, status=1).stderr
    assert "was trained with --dropout 0.2, not 0.3" in refused
    said = zoo_process("zoo.predict", "m.npz", *range(9)).stdout.splitlines()
    w1, b1, w2, b2 = weights(tmp_path / "m.npz").values()  # with all hidden neurons
    outputs = 1 / (1 + np.exp(-(1 / (1 + np.exp(-(small.test.images[:9] @ w1 + b1))) @ w2 + b2)))
    for text, expected in zip(said, outputs, strict=True):
        for label, confidence in re.findall(r"(\d) (\d\.\d{3})[,)]", text):
            assert float(confidence) == pytest.approx(expected[int(label)], abs=0.001)
    zoo_process("zoo.network4", "--save", "m.npz", "--epochs", 1, "--quiet", "--overwrite")
    refused = zoo_process("zoo.network1", "--save", "m.npz", status=1).stderr
    assert refused == "error: m.npz: already exists and holds a zoo.network4; name another file\n"
    refused = zoo_process("zoo.network1", "--resume", "m.npz", status=1).stderr
    assert "was saved by zoo.network4, not zoo.network1; `python -m zoo.network4 --resume m.npz` goes on" in refused
    (tmp_path / "zoo" / "network4.py").unlink()
    assert "there is no network 'network4'" in zoo_process("zoo.predict", "m.npz", "0", status=1).stderr


@pytest.mark.parametrize(
    "name", ["evil", "json.tool", "..evil", "network1.sys", "", "base", "__main__", None, ["network"]]
)
def test_nothing_is_imported_for_a_name_but_networks_of_the_zoo(name, tmp_path, monkeypatch):
    (tmp_path / "evil.py").write_text("from zoo.network import Network\nclass Evil(Network): pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ValueError, match="there is no network"):
        network_class(name)
    assert "evil" not in sys.modules
    assert "json.tool" not in sys.modules


def test_a_network_that_could_not_be_found_again_does_not_train(capsys):
    class Other(Network1):
        __module__ = Network1.__module__

    assert main(Other, ["--epochs", "1"]) == 1
    expected = "error: Other: the network of zoo/network1.py is named Network1; rename it\n"
    assert capsys.readouterr() == ("", expected)


def test_a_network_without_an_optimizer_says_what_to_define(small):
    with pytest.raises(TypeError, match=r"BaseNetwork: define optimizer\(self, model, n\)"):
        Training(BaseNetwork(), small)


def test_a_checkpoint_is_read_once(here, monkeypatch):
    read, load = [], train.load

    def counted(path):
        read.append(path.name)
        return load(path)

    monkeypatch.setattr(train, "load", counted)
    common = ("zoo.network1", "--train-size", 50, "--quiet")
    for options, expected in {
        ("--epochs", 1, "--save", "m.npz"): [],
        ("--epochs", 1, "--save", "m.npz", "--history", "h.json", "--overwrite"): [],
        ("--epochs", 2, "--resume", "m.npz"): ["m.npz"],
        ("--epochs", 3, "--resume", "m.npz", "--save", "./m.npz"): ["m.npz"],
    }.items():
        assert here(*common, *options)[0] == 0
        assert read == expected
        read.clear()


def test_a_checkpoint_from_before_models_drew_anything_but_weights_goes_on(here):
    common = ("zoo.network1", "--train-size", 50, "--quiet")
    assert here(*common, "--epochs", 1, "--save", "m.npz")[0] == 0
    assert here(*common, "--epochs", 2, "--save", "whole.npz")[0] == 0
    checkpoint = train.load("m.npz")
    for drawn, status in ({"bit_generator": "MT19937"}, 1), (7, 1), (None, 0):
        settings = {**checkpoint.settings, "model_rng": drawn}
        model, optimizer = restored(checkpoint)
        checkpoint.restore(model, optimizer)
        rng = np.random.default_rng()
        rng.bit_generator.state = dict(checkpoint.rng or {})
        train.save("m.npz", model, optimizer, rng=rng, history=checkpoint.history, settings=settings)
        found, _, error = here(*common, "--epochs", 2, "--resume", "m.npz")
        assert (found, error.count("m.npz: does not fit"), error.count("\n")) == (status, status, status)
    assert same_bits(weights("m.npz"), weights("whole.npz"))


@pytest.mark.slow
def test_the_example_of_ones_own_network_trains(zoo):
    common = ("zoo.custom", "--epochs", 2, "--train-size", 300, "--seed", 3)
    eager, compiled = (zoo(*common, *options).stdout for options in (["--eager"], []))
    costs = re.findall(r"cost (\d\S+)", compiled)
    assert [line.split("  lr")[0] for line in eager.splitlines()] == [
        line.split("  lr")[0] for line in compiled.splitlines()
    ]
    assert float(costs[1]) < float(costs[0])


def test_adam_is_the_published_formula():
    rng = np.random.default_rng(0)
    start, gradients = rng.standard_normal((3, 2)), rng.standard_normal((4, 3, 2))
    w = Tensor(start.copy(), requires_grad=True)
    optimizer = Adam([w], lr=0.1)
    expected, m, s = start, 0.0, 0.0
    for t, gradient in enumerate(gradients, 1):
        w.grad = Tensor(gradient)
        optimizer.step()
        m, s = 0.9 * m + 0.1 * gradient, 0.999 * s + 0.001 * gradient**2
        expected = expected - 0.1 * (m / (1 - 0.9**t)) / (np.sqrt(s / (1 - 0.999**t)) + 1e-8)
        np.testing.assert_allclose(w.data, expected, rtol=1e-12)


def test_the_example_refuses_images_too_small_for_it():
    with pytest.raises(ValueError, match=r"needs images of at least 16 x 16 pixels, got \(12, 28\)"):
        Convolutional((12, 28), 10, np.random.default_rng(0))


# ---- What nobody should lose by a slip


@pytest.mark.parametrize(
    "arguments", [("--save", "m.npz", "--history", "m.npz"), ("--resume", "m.png", "--plot", "./m.png")]
)
def test_one_file_for_two_things_is_wrong_usage(zoo, tmp_path, arguments):
    (tmp_path / arguments[1]).write_text("as it was")
    done = zoo("zoo.network1", *arguments, status=2)
    assert f"{arguments[0]} and {arguments[2]} are one file" in done.stderr
    assert (tmp_path / arguments[1]).read_text() == "as it was"


def test_a_new_run_does_not_overwrite_one_that_was_interrupted(here):
    options = ("--train-size", 50, "--save", "m.npz")
    assert here("zoo.network1", "--epochs", 1, *options)[0] == 0
    checkpoint = train.load("m.npz")
    train.save(
        "m.npz",
        *restored(checkpoint),
        history=checkpoint.history,
        settings={**checkpoint.settings, "settings": {**checkpoint.settings["settings"], "epochs": 9}},
    )
    assert here("zoo.network1", "--epochs", 1, "--train-size", 50, "--history", "m.npz")[0] == 1
    status, _, error = here("zoo.network1", "--epochs", 1, *options)
    assert status == 1
    assert "m.npz: holds 1 of 9 epochs of network1; `python -m zoo.network1 --resume m.npz` goes on" in error


def test_a_checkpoint_does_not_replace_what_is_none(here, tmp_path):
    file = tmp_path / "thesis.txt"
    file.write_text("years of work")
    status, _, error = here("zoo.network1", "--epochs", 1, "--train-size", 50, "--save", file)
    assert (status, error) == (
        1,
        f"error: {file}: already exists and is not a checkpoint of the zoo; name another file\n",
    )
    assert file.read_text() == "years of work"


def test_a_network_does_not_replace_another(here):
    options = ("--epochs", 1, "--train-size", 50, "--save", "m.npz")
    assert [here(f"zoo.{name}", *options)[0] for name in ("network1", "network2")] == [0, 1]
    assert (
        here("zoo.network2", *options)[2]
        == "error: m.npz: already exists and holds a zoo.network1; name another file\n"
    )


def test_no_epoch_is_said_to_be_none(here):
    status, output, _ = here("zoo.network1", "--epochs", 0, "--train-size", 50, "--save", "m.npz", "--plot", "m.png")
    assert status == 0
    assert output.endswith("no epoch was asked for: nothing is saved or plotted\n")
    assert not list(Path().iterdir())


def test_a_checkpoint_that_cannot_be_written_to_is_gone_on_with_in_another_file(here, monkeypatch):
    assert here("zoo.network1", "--epochs", 1, "--train-size", 50, "--save", "m.npz")[0] == 0
    monkeypatch.setattr(os, "access", lambda *_: False)
    status, _, error = here("zoo.network1", "--resume", "m.npz", "--epochs", 2)
    assert status == 1
    assert error.endswith("can be written to; --save FILE keeps what comes in another file\n")
    assert here("zoo.network1", "--resume", "m.npz")[0] == 0  # no epoch is left, and nothing is written


def restored(checkpoint):
    network = settings_of(checkpoint)
    model = network.model(784, 10, np.random.default_rng(0))
    return model, network.optimizer(model, 50)


@pytest.mark.parametrize(
    ("data", "value"),
    [("image_shape", None), ("image_shape", [28]), ("n", "x"), ("n_classes", True), ("checksum", None)],
)
def test_settings_that_are_not_the_zoos_are_refused_in_a_line(here, data, value):
    assert here("zoo.network1", "--epochs", 1, "--train-size", 50, "--save", "m.npz")[0] == 0
    checkpoint = train.load("m.npz")
    settings = {**checkpoint.settings, "data": {**checkpoint.settings["data"], data: value}}
    train.save("m.npz", *restored(checkpoint), history=checkpoint.history, settings=settings)
    status, _, error = here("zoo.network1", "--resume", "m.npz", "--epochs", 2)
    assert status == 1
    assert "expected a network of the zoo, found another checkpoint" in error


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("epochs", None),
        ("epochs", "x"),
        ("seed", None),
        ("init", []),
        ("hidden", (True,)),
        ("hidden", [30]),
        ("cost", 1),
        ("lr", 0),
        ("lr", float("inf")),
        ("momentum", 1),
        ("momentum", True),
        ("momentum", None),
    ],
)
def test_a_network_of_impossible_settings_is_refused(name, value):
    with pytest.raises(ValueError, match=f"{name}: expected"):
        Network1(**{name: value})


def test_every_image_counts_in_what_is_said_of_a_data_set(small):
    images = small.train.images.copy()
    images[999, 400] += 0.5
    other = dataclasses.replace(small, train=mnist.Split(images, small.train.labels))
    assert describe(other) != describe(small)


def test_sizes_are_separated_by_spaces_and_the_books_names_are_options_too(here):
    assert "separate several by spaces" in here("zoo.network", "--hidden", "30,30")[2]
    status, output, _ = here("zoo.network1", "--eta", 0.5, "--mu", 0.25, "--epochs", 1, "--train-size", "1,00")
    assert status == 2
    status, output, _ = here("zoo.network1", "--eta", 0.5, "--mu", 0.25, "--epochs", 1, "--train-size", "1,000")
    assert "lr 0.5, " in output
    assert "momentum 0.25" in output
    assert "lmbda 2" in here("zoo.network3", "--lambda", 2, "--epochs", 1, "--train-size", 50)[1]


def test_a_network_without_its_decorator_says_so():
    class Undecorated(Network):
        dropout: float = setting(0.1, "left out", number(0, 1), "P")

    with pytest.raises(
        TypeError, match=r"Undecorated: decorate the class with @dataclass\(frozen=True, kw_only=True\)"
    ):
        Undecorated()


@pytest.mark.slow
def test_the_network_in_readme_is_whole(zoo_process, tmp_path):
    """README shows a whole zoo/network4.py: it runs as it stands."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    code = text.partition("This is a whole `zoo/network4.py`:\n")[2].partition("Nothing else is to be told of it")[0]
    shutil.copytree(ROOT / "zoo", tmp_path / "zoo", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "zoo" / "network4.py").write_text(textwrap.dedent(code), encoding="utf-8")
    assert "left out at each step (default: 0.1)" in " ".join(zoo_process("zoo.network4", "--help").stdout.split())
    zoo_process("zoo.network4", "--dropout", 0.2, "--epochs", 1, "--save", "m.npz")
    assert "dropout 0.2" in zoo_process("zoo.network4", "--resume", "m.npz", "--epochs", 2).stdout


# ---- What a step is compiled to


@pytest.mark.slow
def test_a_training_in_c_is_resumed_in_c_to_the_same_bits(here, tmp_path, monkeypatch):
    needs_compiler()

    def trained(*arguments):
        status, _, err = here("zoo.network2", *arguments, "--quiet")
        assert (status, err) == (0, "")
        return train.load(tmp_path / arguments[arguments.index("--epochs") + 3])

    options = ["--batch-size", "9", "--backend"]  # the last batch is smaller
    through = trained("--epochs", "3", "--save", "through.npz", *options, "c")
    trained("--epochs", "2", "--save", "stopped.npz", *options, "c")
    stopped = trained("--epochs", "3", "--resume", "stopped.npz")
    assert through.settings["backend"] == stopped.settings["backend"] == "c"
    assert all(np.array_equal(array, stopped.model[name]) for name, array in through.model.items())
    assert [epoch.cost for epoch in through.history] == [epoch.cost for epoch in stopped.history]
    plain = trained("--epochs", "3", "--save", "plain.npz", *options, "numpy")
    assert any(not np.array_equal(array, plain.model[name]) for name, array in through.model.items())

    def nothing():
        raise native.NativeError("no C compiler works here (there is no cc); install one")

    monkeypatch.setattr(native, "compiler", nothing)
    status, _, err = here("zoo.network2", "--resume", "stopped.npz", "--epochs", "4")
    assert status == 1
    assert "was trained with --backend c, but no C compiler works here" in err
    assert "--backend numpy goes on" in err
    assert trained("--epochs", "4", "--resume", "stopped.npz", "--backend", "numpy").settings["backend"] == "numpy"
