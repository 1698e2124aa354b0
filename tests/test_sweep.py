"""The sweep engine: what is kept, what is named, what a killed worker costs; and that figures are drawn from files."""

import dataclasses
import functools
import itertools
import json
import os
import re
import signal
import subprocess
import sys
import time
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from threadpoolctl import threadpool_info

from graphs import activations, commandline, costs, neuron, ravine
from graphs.figure import picture
from graphs.runs import train_network
from graphs.sweep import SweepError, forget, processes, sweep
from tinygrad_mnist import mnist
from tinygrad_mnist.files import claimed
from tinygrad_mnist.threads import ASKED

from .spoilt import TEXTS

ROOT = Path(__file__).parent.parent
FIGURES = ("batches_graph", "eta_graph1", "eta_graph2", "L2_graph", "learning", "compare", "saturation",
           "initialization", "vanishing", "overfitting", "step_decay", "hidden_weights", "ravine", "costs",
           "activations", "neuron", "writer")  # fmt: skip


class Here(Executor):
    """Runs at once, in this process."""

    def submit(self, fn, /, *args, **kwargs):
        future: Future = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


def draws(setting, seed):
    """A run that notes that it was done."""
    with open(setting["log"], "a") as log:
        log.write(f"{setting['n']} {seed}\n")
    if setting.get("fails") == seed:
        raise ArithmeticError("no\nluck")
    return np.random.default_rng(seed).random(setting["n"]).tolist()


def deadly(setting, seed):
    """A run that kills its worker: always, or the first time only."""
    mark = Path(setting["folder"]) / f"started-{seed}"
    times = len(mark.read_text()) if mark.exists() else 0
    mark.write_text("x" * (times + 1))
    if times < setting["deaths"].get(str(seed), 0):
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(0.05)  # so that it is still running when another kills its worker
    return seed


def started(folder):
    return {int(mark.name[8:]): len(mark.read_text()) for mark in folder.glob("started-*")}


def settings_in(folder, **more):
    return {label: {"n": n, "log": str(folder / "log"), **more} for label, n in (("two", 2), ("three", 3))}


def test_results_come_by_label_and_seed_whatever_the_workers(tmp_path):
    expected = {label: [np.random.default_rng(s).random(n).tolist() for s in (4, 1)]
                for label, n in (("two", 2), ("three", 3))}  # fmt: skip
    for i, (executor, workers) in enumerate([(Here, 1), (lambda: ThreadPoolExecutor(1), 3), (processes, 2)]):
        found = sweep(
            draws, settings_in(tmp_path), [4, 1], folder=tmp_path / str(i), executor=executor, workers=workers
        )
        assert found == expected


def test_runs_that_are_kept_are_not_run_again_until_they_are_forgotten(tmp_path):
    settings, kept = settings_in(tmp_path), tmp_path / "kept"
    again = functools.partial(sweep, draws, settings, [0, 1], folder=kept, executor=Here)
    first = again()
    files = sorted(kept.iterdir())
    assert len(files) == 4
    files[0].unlink()
    files[1].write_text('{"result": [0.')  # as a crash of the machine could leave it
    told = []
    assert again(finished=lambda: told.append(1)) == first
    assert len(told) == 4
    assert len((tmp_path / "log").read_text().splitlines()) == 4 + 2
    forget(kept, draws, settings, [0, 1])
    assert not [*kept.iterdir()]


def test_a_run_that_raises_is_named_and_the_others_are_kept(tmp_path):
    settings = settings_in(tmp_path, fails=1)
    with pytest.raises(SweepError) as caught:
        sweep(draws, settings, [0, 1, 2], folder=tmp_path / "kept", executor=Here)
    assert sorted(str(caught.value).splitlines()) == [
        "three, seed 1: ArithmeticError: no luck",
        "two, seed 1: ArithmeticError: no luck",
    ]
    assert len([*(tmp_path / "kept").iterdir()]) == 4


@pytest.mark.slow
def test_a_killed_worker_costs_the_run_that_it_was_at(tmp_path):
    settings = {"all": {"folder": str(tmp_path), "deaths": {"1": 1}}}
    found = sweep(deadly, settings, range(6), folder=tmp_path / "kept", executor=processes, workers=2)
    assert found == {"all": [0, 1, 2, 3, 4, 5]}
    assert started(tmp_path) == {seed: 2 if seed == 1 else 1 for seed in range(6)}


@pytest.mark.slow
def test_a_run_that_kills_every_worker_is_named_and_the_others_are_kept(tmp_path):
    settings = {"all": {"folder": str(tmp_path), "deaths": {"2": 9}}}
    with pytest.raises(SweepError, match=r"^all, seed 2: RuntimeError: the worker was killed, and the one after it$"):
        sweep(deadly, settings, range(4), folder=tmp_path / "kept", executor=processes, workers=2)
    assert started(tmp_path) == {0: 1, 1: 1, 2: 2, 3: 1}
    assert len([*(tmp_path / "kept").iterdir()]) == 3


def numbers_of_threads():
    return [library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"]


@pytest.mark.slow
def test_workers_have_one_blas_thread(monkeypatch):
    for name in ASKED:
        monkeypatch.delenv(name, raising=False)
    with processes() as executor:
        assert executor.submit(numbers_of_threads).result() == [1]


SLOW = """
import pathlib, sys, time
from graphs.sweep import processes, sweep
from tinygrad_mnist.command import guarded

def run(setting, seed):
    pathlib.Path(setting["folder"], f"started-{seed}").write_text("x")
    time.sleep(0 if seed < 2 else 60)
    return seed

if __name__ == "__main__":
    folder = pathlib.Path(sys.argv[1])
    settings = {"all": {"folder": str(folder)}}
    sys.exit(guarded(lambda: sweep(run, settings, range(4), folder=folder / "kept", executor=processes, workers=2)))
"""


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_sweep_ends_at_once_and_keeps_what_was_done(tmp_path, number):
    script = tmp_path / "slow.py"
    script.write_text(SLOW)
    with subprocess.Popen([sys.executable, str(script), str(tmp_path)], env=os.environ | {"PYTHONPATH": str(ROOT)},
                          stderr=subprocess.PIPE, text=True) as process:  # fmt: skip
        for _ in range(2400):  # it ends as soon as all is as it should be, on a busy machine later
            if len(started(tmp_path)) == 4 and len([*(tmp_path / "kept").glob("[!.]*")]) == 2:  # whole ones
                break
            time.sleep(0.05)
        process.send_signal(number)
        _, errors = process.communicate(timeout=30)
    assert (process.returncode, errors) == (130 if number == signal.SIGINT else 143, "interrupted\n")
    assert len([*(tmp_path / "kept").iterdir()]) == 2


@pytest.mark.slow
def test_a_cluster_gives_the_same_numbers(tmp_path):
    distributed = pytest.importorskip("distributed")
    settings = {"small": {"network": "network2", "epochs": 2, "train_size": 100, "batch_size": 20}}
    run = functools.partial(sweep, train_network, settings, [0, 1])
    here = run(folder=tmp_path / "here", executor=Here)
    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
        commandline.on_cluster(cluster.scheduler_address) as (executor, workers),
    ):
        there = run(folder=tmp_path / "there", executor=executor, workers=workers)
    assert workers == 2
    for results in (here, there):
        for one in results["small"]:
            for epoch in one["epochs"]:
                del epoch["seconds"]
    assert json.loads(json.dumps(here)) == json.loads(json.dumps(there))


# --- the figures ---


# Each takes one or two seconds.
@pytest.mark.slow
@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_is_drawn_again_from_its_json(name, tmp_path):
    record = (ROOT / "graphs" / f"{name}.json").read_text()
    (tmp_path / f"{name}.json").write_text(record)
    assert commandline.command(name, ["--replot", "--output", str(tmp_path)]) == 0
    assert (tmp_path / f"{name}.png").read_bytes()[:4] == b"\x89PNG"
    assert sorted(file.name for file in tmp_path.iterdir()) == [f"{name}.json", f"{name}.png"]


@pytest.mark.slow
def test_a_figure_is_run_drawn_and_told(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(commandline, "HERE", tmp_path)
    arguments = ["--quick", "--epochs", "1", "--seeds", "3", "5", "--output", str(tmp_path)]
    assert commandline.command("L2_graph", arguments) == 0
    out, err = capsys.readouterr()
    assert err == ""
    told = [line.split("  ")[0] for line in out.splitlines()[1::2]]
    assert told == ["λ 0.1", "λ 1.5", "λ 3.0", f"written: {tmp_path}/L2_graph-quick.json"]
    record = json.loads((tmp_path / "L2_graph-quick.json").read_text())
    assert [(run["label"], run["seed"]) for run in record["runs"]][:3] == [("λ 0.1", 3), ("λ 0.1", 5), ("λ 1.5", 3)]
    assert record["versions"]["numpy"] == np.__version__
    assert record["trial"] == "1 epoch of 1,000 digits"
    assert not [*(tmp_path / ".runs").glob("*")]


@pytest.mark.parametrize("name", ["costs", "ravine"])
def test_figures_without_digits_need_no_data(name, monkeypatch, tmp_path):
    def no_data():
        raise ValueError("there is no data")

    monkeypatch.setattr(commandline, "digits", no_data)
    monkeypatch.setattr(commandline, "HERE", tmp_path)
    monkeypatch.setattr(commandline, "processes", Here)
    monkeypatch.setattr(commandline, "picture", lambda figure, record, drawing: drawing.touch())
    monkeypatch.chdir(tmp_path)
    assert commandline.command(name, ["--epochs", "2", "--jobs", "1"]) == 0
    assert json.loads((tmp_path / f"{name}.json").read_text())["digits"] == 50_000
    assert commandline.command("learning", ["--epochs", "1", "--jobs", "1"]) == 1


@pytest.mark.parametrize("cost", ["quadratic", "cross-entropy"])
def test_the_single_neuron_learns_as_in_the_book(cost):
    """Chapter 3's numbers, of the curves that start at 0.98."""
    outputs = costs.run(costs.FIGURE.settings[f"{cost}, from 0.98"], 0)["outputs"]
    expected = {"quadratic": [0.982, 0.976, 0.964, 0.933, 0.203], "cross-entropy": [0.982, 0.099, 0.041, 0.026, 0.012]}
    assert [round(outputs[epoch], 3) for epoch in costs.TOLD] == expected[cost]


@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.8])
@pytest.mark.parametrize("kind", ["momentum", "Nesterov"])
def test_where_paths_begin_to_swing_is_what_the_formulas_say(kind, momentum):
    found = ravine.limits(kind, momentum, 500)
    assert found["swings"] == pytest.approx(ravine.SWINGS[kind](momentum), rel=0.02)
    assert found["diverges"] == pytest.approx(ravine.DIVERGES[kind](momentum), rel=0.01)
    assert found["step"] == pytest.approx(1 / (1 - momentum), rel=1e-4)


def test_a_path_down_the_ravine_swings_with_momentum_and_diverges_with_long_steps():
    paths = {label: ravine.run(setting, 0) for label, setting in ravine.FIGURE.settings.items() if "lr" in setting}
    plain, long, momentum, nesterov = (np.array(found["path"]) for found in paths.values())
    assert plain[-1] == pytest.approx([-9 * 0.99**100, 0.75**100], abs=1e-4)  # the factors 1 - ηλ of a step
    assert abs(long[-1][1]) > ravine.FAR
    assert momentum[:, 0].max() > 1
    assert nesterov[:, 0].max() > 1
    assert max(abs(nesterov[10:, 1])) < max(abs(momentum[10:, 1])) / 2


def test_large_first_weights_saturate_and_small_ones_forget_the_digit():
    normal, scaled = (
        activations.run({"network": "network", "init": init, "hidden": [30] * 4, "epochs": 0, "train_size": 200}, 0)
        for init in ("normal", "scaled")
    )
    assert [len(found["layers"]) for found in (normal, scaled)] == [5, 5]
    assert normal["layers"][0]["saturated"] > 0.5 > 0.01 > scaled["layers"][0]["saturated"]
    spread = [layer["by digit"] for layer in scaled["layers"]]
    assert all(later < earlier / 3 for earlier, later in itertools.pairwise(spread))
    assert sum(scaled["layers"][0]["z"]) == pytest.approx(1, abs=1e-3)


@pytest.mark.slow
def test_seed_17_loses_its_digit_on_the_way():
    """Within five steps, from where the sigmoid has a slope."""
    setting = neuron.FIGURE.settings["weights N(0, 1)"]
    found = neuron.run({**setting, "epochs": 1}, 17)
    assert found["before"][8]["median"] > 1
    assert found["steps"]["5"][8] < -5
    assert found["steps"]["0"] == [each["median"] for each in found["before"]]


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["--replot", "--output", "."], 1, "there is no learning.json; run the command without --replot first"),
        (
            ["--output", "nowhere"],
            1,
            "nowhere is not a directory that can be written to; name another with --",
        ),
        (["--quick"], 1, "/here is not a directory that can be written to; name another with --output DIR"),
        (["--jobs", "0"], 2, "expected a whole number of at least 1, got '0'"),
        (["--seeds", "-1"], 2, "expected"),
    ],
)
def test_wrong_usage_is_one_line(arguments, status, message, tmp_path, capsys, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    Path("nowhere").write_text("a file")
    if arguments == ["--quick"]:
        monkeypatch.setattr(os, "access", lambda path, mode: False)
    found: object
    try:
        found = commandline.command("learning", arguments)
    except SystemExit as usage:
        found = usage.code
    error = capsys.readouterr().err.splitlines()
    assert found == status
    assert message in error[-1]
    assert status == 2 or len(error) == 1


def test_a_damaged_json_is_named(tmp_path, capsys):
    (tmp_path / "learning.json").write_text('{"runs": [1]}')
    assert commandline.command("learning", ["--replot", "--output", str(tmp_path)]) == 1
    assert "not the results of this figure" in capsys.readouterr().err


@pytest.mark.parametrize(
    "text", ["[" * 5000, '{"runs": {"a": 1}}', "[]", '{"figure": 5, "seeds": 5, "runs": [5]}', "\x00"]
)
@pytest.mark.parametrize("arguments", [["--replot"], ["--epochs", "1", "--seeds", "0"]])
def test_a_json_of_garbage_is_one_line(tmp_path, capsys, text, arguments):
    (tmp_path / "learning.json").write_text(text)
    assert commandline.command("learning", [*arguments, "--output", str(tmp_path)]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert error.startswith(f"graphs.learning: {tmp_path}/learning.json: ")
    assert (tmp_path / "learning.json").read_text() == text


# --- what took a user's time ---


def small_run(setting, seed):
    """In place of a training, as long ones are meant."""
    if seed == 77:
        raise ArithmeticError
    epoch = dict.fromkeys(("cost", "training", "validation", "test"), 0.5)
    return {"epochs": [epoch] * setting["epochs"], "lost_classes": [], "diverged": None}


@pytest.fixture
def drawn(tmp_path, monkeypatch, capsys):
    """Run the command of a figure that is published in `published`, from an empty directory."""
    from graphs import learning

    (tmp_path / "published").mkdir()
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setattr(commandline, "HERE", tmp_path / "published")
    monkeypatch.setattr(commandline, "processes", Here)
    monkeypatch.setattr(commandline, "picture", lambda figure, record, path: path.write_text("drawn"))
    monkeypatch.setattr(commandline, "describe", lambda data: len(data.train))  # which takes 0.1 s for all digits
    monkeypatch.setattr(learning, "FIGURE", dataclasses.replace(learning.FIGURE, run=small_run))

    def run(*arguments):
        try:
            status: object = commandline.command("learning", ["--jobs", "1", *map(str, arguments)])
        except SystemExit as usage:
            status = usage.code
        return status, *capsys.readouterr()

    assert run()[0] == 0
    assert contents(tmp_path / "published").keys() == {"learning.json", "learning.png"}
    return run


def contents(folder):
    return {file.name: file.read_bytes() for file in folder.iterdir() if file.is_file()}


@pytest.mark.parametrize(
    "arguments",
    [["--epochs", 1, "--seeds", 0], ["--epochs", 1], ["--seeds", 0], ["--seeds", 3, 4, 5], ["--quick"]],
)
def test_what_is_smaller_than_the_published_figure_goes_to_the_current_directory(drawn, tmp_path, arguments):
    before = contents(tmp_path / "published")
    status, output, _ = drawn(*arguments)
    stem = "learning-quick" if "--quick" in arguments else "learning"
    assert (status, output.splitlines()[-2:]) == (0, [f"written: {stem}.json", f"written: {stem}.png"])
    assert contents(tmp_path / "published") == before
    assert sorted(contents(Path())) == [f"{stem}.json", f"{stem}.png"]


def test_of_fewer_digits_it_is_smaller_too(drawn, tmp_path, monkeypatch):
    before = contents(tmp_path / "published")
    fewer = mnist.load().head(100)
    monkeypatch.setattr(commandline, "digits", lambda: fewer)
    for more in ((), ("--output", tmp_path / "published")):
        assert drawn(*more)[0] == (1 if more else 0)
        assert contents(tmp_path / "published") == before
    assert json.loads(Path("learning.json").read_text())["digits"] == 100


def test_the_whole_figure_is_published_and_larger_ones_are_not_overwritten_unasked(drawn, tmp_path, monkeypatch):
    assert drawn("--seeds", 0, 1, 2, 3)[0] == 0
    before = contents(tmp_path / "published")
    assert json.loads(before["learning.json"])["seeds"] == [0, 1, 2, 3]
    monkeypatch.chdir(tmp_path / "published")
    for arguments in ([], ["--seeds", 0], ["--epochs", 1, "--output", tmp_path / "published"], ["--seeds", 5, 6, 7, 8]):
        status, output, error = drawn(*arguments)
        assert (status, output, error.count("\n")) == (1, "", 1)
        assert "learning.json: already exists, and is more than, or other than, what these runs come to" in error
        assert contents(tmp_path / "published") == before
    assert drawn("--overwrite")[0] == 0
    assert contents(tmp_path / "published") != before


@pytest.mark.parametrize("option", ["--epochs", "--seeds", "--jobs", "--output", "--cluster", "--quick", "--replot"])
def test_odd_options_are_a_line_and_a_status(drawn, monkeypatch, option):
    def nobody(address):
        raise ValueError(f"no scheduler answers at {address}")

    monkeypatch.setattr(commandline, "on_cluster", nobody)
    for text in TEXTS:
        if (option == "--epochs" and text.isdecimal() and 9 < len(text) < 999) or text in ("/", ".."):
            continue  # epochs that nobody can wait for, and directories that are not the test's
        for arguments in ([f"{option}={text}"], [option, text]):
            status, _, error = drawn("--epochs", 1, "--seeds", 0, *arguments)
            assert status in (0, 1, 2)
            assert error.count("\n") == status or status == 2
            assert len(error) < 3000


def test_a_picture_of_something_else_is_not_overwritten(drawn):
    Path("learning.png").write_text("of days")
    assert "learning.png: already exists" in drawn("--seeds", 0)[2]
    assert contents(Path()) == {"learning.png": b"of days"}


def test_two_commands_do_not_write_one_figure_at_a_time(drawn, tmp_path):
    with claimed(tmp_path / "published" / "learning.json"):
        assert "learning.json: another run is writing it" in drawn()[2]
        assert drawn("--replot")[0] == 1


@pytest.mark.parametrize("text", ["[" * 9999, '{"result": 5}', '{"result": {"epochs": [5]}}', "{}", "5", "\udcff"])
def test_a_cache_of_garbage_is_run_anew_or_named_and_never_published(drawn, tmp_path, monkeypatch, text):
    monkeypatch.setattr(commandline, "picture", picture)
    before = contents(tmp_path / "published")
    assert drawn("--seeds", 0, 77)[0] == 1
    (kept,) = (tmp_path / "published" / ".runs").iterdir()
    kept.write_bytes(text.encode("utf-8", "surrogateescape"))
    status, _, error = drawn("--seeds", 0)
    if status:
        assert re.match(
            r"graphs.learning: .*/\.runs: holds results that are not of this figure \(.*\); remove it", error
        )
        assert error.count("\n") == 1
    assert status == ("result" in text)
    assert contents(tmp_path / "published") == before
    assert status == (not Path("learning.json").exists())


def test_results_for_other_data_are_not_taken_for_these(tmp_path):
    settings = {"one": {"n": 1, "log": str(tmp_path / "log")}}
    for context in ("a", "b", "a"):
        sweep(draws, settings, [0], folder=tmp_path / "kept", executor=Here, context=context)
    assert (tmp_path / "log").read_text().count("\n") == 2


def test_runs_are_kept_until_the_results_are_written(tmp_path, monkeypatch, capsys):
    def full(record, path):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(commandline, "HERE", tmp_path)
    monkeypatch.setattr(commandline, "write", full)
    arguments = ["--quick", "--epochs", "1", "--seeds", "3", "--output", str(tmp_path)]
    assert commandline.command("learning", arguments) == 1
    assert "No space left on device" in capsys.readouterr().err
    assert len([*(tmp_path / ".runs").iterdir()]) == 1


def sleeps(setting, seed):
    (Path(setting["folder"]) / f"{os.getpid()}").touch()
    time.sleep(60)


@pytest.mark.slow
def test_workers_end_with_the_process_that_started_them(tmp_path):
    text = (
        "from pathlib import Path\nfrom graphs.sweep import processes, sweep\nfrom tests.test_sweep import sleeps\n"
        f"folder = Path({str(tmp_path)!r})\n"
        "if __name__ == '__main__':\n"
        "    settings = {'a': {'folder': str(folder)}}\n"
        "    sweep(sleeps, settings, [0, 1], folder=folder / 'kept', executor=processes, workers=2)"
    )
    (tmp_path / "start.py").write_text(text)
    command = [sys.executable, str(tmp_path / "start.py")]
    started = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(ROOT)})

    def workers():
        return [int(path.name) for path in tmp_path.iterdir() if path.name.isdecimal()]

    def running(pid):
        state = Path(f"/proc/{pid}/stat")
        return state.exists() and state.read_text().rpartition(")")[2].split()[0] != "Z"

    def wait_for(condition):
        end = time.monotonic() + 60
        while not condition():
            assert time.monotonic() < end
            time.sleep(0.05)

    try:
        wait_for(lambda: len(workers()) == 2)
    finally:
        started.kill()
        started.wait()
    wait_for(lambda: not any(map(running, workers())))
