"""What took a user's time is kept: nothing is overwritten unasked, by another run, or when a command is ended."""

import errno
import json
import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tinygrad_mnist import train
from tinygrad_mnist.files import claimed

from .helpers import environment, read_until, start

posix = pytest.mark.skipif(os.name != "posix", reason="needs POSIX's signals and locks")
ONCE = ("--epochs", 1, "--train-size", 50, "--quiet")


# ---- Files that are there


@pytest.mark.parametrize("name", ["network1", "network2"])
@pytest.mark.parametrize("option", ["--save", "--history"])
def test_a_finished_model_is_not_overwritten_unasked(here, name, option):
    assert here("zoo.network1", *ONCE, "--save", "m.npz")[0] == 0
    before = Path("m.npz").read_bytes()
    status, output, error = here(f"zoo.{name}", *ONCE, "--seed", 1, option, "m.npz")
    assert (status, output, error.count("\n")) == (1, "", 1)
    if (name, option) == ("network1", "--save"):
        assert error == (
            "error: m.npz: holds a finished network1 of 1 epoch; `python -m zoo.network1 --resume m.npz --epochs N` "
            "goes on to N; to begin anew, name another file or add --overwrite\n"
        )
    assert Path("m.npz").read_bytes() == before
    assert here("zoo.network1", *ONCE, "--resume", "m.npz", "--epochs", 2)[0] == 0
    assert len(train.load("m.npz").history) == 2


def test_going_on_in_another_file_keeps_what_is_there(here):
    for name in ("a.npz", "b.npz"):
        assert here("zoo.network1", *ONCE, "--save", name)[0] == 0
    os.symlink("b.npz", "link.npz")
    before = Path("b.npz").read_bytes()
    common = ("zoo.network1", "--resume", "a.npz", "--epochs", 2, "--quiet", "--save")
    for name in ("b.npz", "link.npz"):
        assert here(*common, name)[2].startswith(f"error: {name}: holds a finished network1 of 1 epoch; ")
        assert Path("b.npz").read_bytes() == before
    assert here(*common, "link.npz", "--overwrite")[0] == 0
    assert (len(train.load("a.npz").history), len(train.load("b.npz").history)) == (1, 2)


@pytest.mark.parametrize(
    ("option", "file"), [("--save", "m.npz"), ("--history", "h.json"), ("--plot", "p.png"), ("--graph", "g.gv")]
)
def test_whatever_is_there_stays_unless_overwriting_is_asked_for(here, option, file):
    Path(file).write_text("of days")
    status, output, error = here("zoo.network1", *ONCE, option, file)
    assert (status, output) == (1, "")
    assert re.match(rf"error: {file}: already exists.*; name another file.*\n\Z", error)
    assert Path(file).read_text() == "of days"
    assert here("zoo.network1", *ONCE, option, file, "--overwrite")[0] == 0
    assert Path(file).read_bytes() != b"of days"


def test_an_interrupted_model_is_overwritten_when_it_is_asked_for(here, monkeypatch):
    def full(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("zoo.commandline.line", full)
        assert here("zoo.network1", "--epochs", 9, "--train-size", 50, "--save", "m.npz")[0] == 130
    status, _, error = here("zoo.network1", *ONCE, "--save", "m.npz")
    assert status == 1
    assert "holds 1 of 9 epochs of network1; `python -m zoo.network1 --resume m.npz` goes on with them" in error
    assert here("zoo.network2", *ONCE, "--save", "m.npz", "--overwrite")[0] == 0


def test_the_table_of_all_networks_keeps_a_history_that_is_there(here):
    Path("all.json").write_text("of days")
    common = ("zoo", *ONCE, "--history", "all.json")
    assert here(*common)[::2] == (1, "error: all.json: already exists; name another file, or add --overwrite to "
                                     "replace it\n")  # fmt: skip
    assert here(*common, "--overwrite")[0] == 0
    assert len(json.loads(Path("all.json").read_text())["runs"]) == 4


@pytest.mark.slow
def test_a_run_goes_on_with_its_own_history_and_no_other(here):
    files = ("--save", "m.npz", "--history", "h.json")
    assert here("zoo.network1", *ONCE, *files)[0] == 0
    go_on = ("zoo.network1", "--resume", "m.npz", "--history", "h.json", "--quiet")
    assert here(*go_on, "--epochs", 3)[0] == 0
    record = json.loads(Path("h.json").read_text())
    assert [epoch["epoch"] for epoch in record["epochs"]] == [1, 2, 3]
    other = {**record, "settings": {**record["settings"], "lr": 9.0}}
    longer = {**record, "epochs": [*record["epochs"], *record["epochs"]]}
    for text in (json.dumps(other), json.dumps(longer), "{}", "[" * 9999, "5", "text"):
        Path("h.json").write_text(text)
        status, _, error = here(*go_on, "--epochs", 4)
        assert (status, error.count("\n")) == (1, 1)
        assert error.startswith("error: h.json: already exists; name another file")
        assert Path("h.json").read_text() == text
    assert here(*go_on, "--epochs", 4, "--overwrite")[0] == 0


# ---- Two runs and one file


@pytest.mark.parametrize("option", ["--save", "--resume", "--history", "--plot", "--graph"])
def test_a_file_that_another_run_is_writing_is_noticed(here, tmp_path, option):
    name = "g.gv" if option == "--graph" else "p.png"
    if option == "--resume":
        assert here("zoo.network1", *ONCE, "--save", name)[0] == 0
    with claimed(tmp_path / name):
        status, output, error = here("zoo.network1", *ONCE, option, name)
    assert (status, output) == (1, "")
    assert error == f"error: {name}: another run is writing it; wait until it has ended, or name another file\n"
    assert here("zoo.network1", *ONCE, option, name)[0] == 0
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.slow
@posix
def test_of_two_runs_the_second_notices_and_a_killed_one_does_not_block(here, digits, tmp_path):
    arguments = ("--epochs", 500, "--batch-size", 1, "--save", "m.npz")
    first = start("zoo.network", *arguments, data=digits, cwd=tmp_path)
    for command in (("zoo.network1", "--save", "m.npz", "--overwrite"), ("zoo.network", "--resume", "m.npz")):
        read_until(first, "epoch")
        status, _, error = here(*command)
        assert (status, error[:47]) == (1, "error: m.npz: another run is writing it; wait u")
    first.kill()
    first.communicate(timeout=60)
    epochs = len(train.load(tmp_path / "m.npz").history)
    assert here("zoo.network", "--resume", "m.npz", "--epochs", epochs + 1, "--quiet")[0] == 0
    assert [path.name for path in tmp_path.iterdir()] == ["m.npz"]


# ---- Signals


@posix
@pytest.mark.parametrize("name", ["SIGTERM", pytest.param("SIGHUP", marks=pytest.mark.slow)])
def test_what_ends_a_command_ends_it_as_ctrl_c_does(zoo_process, digits, tmp_path, name):
    arguments = ("--epochs", 500, "--batch-size", 1, "--save", "m.npz", "--history", "h.json")
    process = start("zoo.network2", *arguments, data=digits, cwd=tmp_path)
    read_until(process, "epoch   1/500")
    process.send_signal(getattr(signal, name))
    _, error = process.communicate(timeout=60)
    assert process.returncode == 143
    said = re.match(
        r"interrupted in epoch \d+ of 500; m\.npz holds the first (epoch|\d+ epochs); `(.*)` goes on\n\Z", error
    )
    assert said
    epochs = 1 if said[1] == "epoch" else int(said[1].split()[0])
    assert len(train.load(tmp_path / "m.npz").history) == len(json.loads((tmp_path / "h.json").read_text())["epochs"])
    assert len(train.load(tmp_path / "m.npz").history) == epochs
    module, *options = shlex.split(said[2])[2:]
    zoo_process(module, *options, "--epochs", epochs + 1)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["h.json", "m.npz"]


@posix
def test_a_run_under_nohup_goes_on_when_its_terminal_is_closed(digits, tmp_path):
    text = "import signal, sys\nsignal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
    text += "from zoo.commandline import main\nfrom zoo.network import Network\nfrom zoo import commandline\n"
    text += "said = commandline.line\n"
    text += "commandline.line = lambda *a: signal.raise_signal(signal.SIGHUP) or said(*a)\n"
    text += "sys.exit(main(Network, ['--epochs', '2', '--train-size', '50']))"
    done = subprocess.run([sys.executable, "-c", text], cwd=tmp_path, env=environment(digits), capture_output=True)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is always full")
def test_a_full_disk_is_said_of_the_file_that_could_not_be_written(here, monkeypatch):
    assert here("zoo.network1", *ONCE, "--save", "m.npz")[0] == 0
    write = Path.write_text

    def full(path, text, **options):
        if '"epoch": 2' in text:
            write(Path("/dev/full"), text, **options)
        return write(path, text, **options)

    monkeypatch.setattr(Path, "write_text", full)
    status, _, error = here("zoo.network1", "--resume", "m.npz", "--epochs", 3, "--history", "h.json", "--quiet")
    assert (status, error) == (
        1,
        f"error: h.json: {os.strerror(errno.ENOSPC)}; m.npz holds the first 2 epochs; "
        "`python -m zoo.network1 --resume m.npz` goes on\n",
    )
    assert sorted(path.name for path in Path().iterdir()) == ["h.json", "m.npz"]


def test_a_run_that_diverged_is_not_said_to_go_on(here):
    common = ("zoo.network2", "--train-size", 50, "--cost", "softmax", "--lr-step", 1, "--lr-gamma", 1e36)
    status, _, error = here(*common, "--epochs", 3, "--save", "m.npz", "--quiet")
    assert status == 1
    assert re.match(r"error: epoch 3, step \d: the cost is \S+; try a learning rate below", error)
    assert error.endswith("; m.npz holds the first 2 epochs\n")
    assert np.isfinite(train.load("m.npz").model["layers.0.weight"]).all()
