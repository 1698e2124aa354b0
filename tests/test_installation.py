"""A checkout and a wheel: the same programs under their names there, each module once; NumPy alone at first."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
import tomllib
import types
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

import tinygrad_mnist as tg
from tinygrad_mnist import __main__ as listing
from tinygrad_mnist import installation
from tinygrad_mnist.installation import PROGRAMS, folder_of, module_of, told

from .helpers import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
WHEEL = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the package as a wheel has it, by the table that says so; `.ci/run` tries a real one."""
    folder = tmp_path_factory.mktemp("site-packages")
    for name in WHEEL["only-include"]:
        skipped = shutil.ignore_patterns("__pycache__", "*.json", "*.svg")
        shutil.copytree(ROOT / name, folder / WHEEL["sources"].get(name, name), ignore=skipped)
    return folder


def run(site: Path, *arguments: Any, cwd: Path, **more: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(site), "PYTHONIOENCODING": "utf-8", **more}
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, encoding="utf-8")


EACH_ONCE = """
import importlib, pkgutil, sys
import tinygrad_mnist
for module in pkgutil.walk_packages(tinygrad_mnist.__path__, "tinygrad_mnist."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
ours = [m for m in [*sys.modules.values()] if (getattr(m, "__file__", None) or "").startswith(SITE)]
assert "tinygrad_mnist.graphs.speed.picture" in sys.modules
print(sorted({m.__name__.partition(".")[0] for m in ours}), len(ours) - len({m.__file__ for m in ours}))
"""


def test_a_wheel_has_all_modules_under_one_name_once(site, tmp_path):
    for name in ("zoo", "graphs"):  # of other projects, which are not to be touched
        (tmp_path / f"{name}.py").write_text("raise AssertionError('the zoo or graphs of somebody else')")
    done = run(site, "-c", EACH_ONCE.replace("SITE", repr(str(site))), cwd=tmp_path)
    assert (done.stdout.strip(), done.stderr) == ("['tinygrad_mnist'] 0", "")


@pytest.mark.slow
def test_its_programs_run_and_name_their_commands(site, tmp_path, digits):
    data = {"TINYGRAD_MNIST_DATA": str(digits)}
    arguments = ("--epochs", 1, "--train-size", 50, "--save", "m.npz")
    done = run(site, "-m", "tinygrad_mnist.zoo.network1", *arguments, cwd=tmp_path, **data)
    assert (done.returncode, done.stderr) == (0, "")
    code = "import sys; from tinygrad_mnist.installation import main; sys.exit(main())"
    done = run(site, "-c", code, "zoo.network1", *arguments, cwd=tmp_path, **data)
    assert done.returncode == 1
    assert "`python -m tinygrad_mnist.zoo.network1 --resume m.npz --epochs N` goes on to N" in done.stderr
    done = run(site, "-m", "tinygrad_mnist.zoo.predict", "m.npz", "0", "--help", cwd=tmp_path)
    assert done.stdout.startswith("usage: python -m tinygrad_mnist.zoo.predict ")
    assert "    python -m tinygrad_mnist.zoo.network2 --save model.npz" in done.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["m.npz"]


@pytest.mark.slow
def test_its_figures_go_to_the_current_directory(site, tmp_path, digits):
    data = {"TINYGRAD_MNIST_DATA": str(digits)}
    figure = ("--epochs", 1, "--seeds", 0, "--jobs", 1)
    done = run(site, "-m", "tinygrad_mnist.graphs.hidden_weights", *figure, cwd=tmp_path, **data)
    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["hidden_weights.json", "hidden_weights.png"]


def test_it_looks_for_data_in_the_cache_and_not_in_site_packages(site, tmp_path):
    (site / "data").mkdir(exist_ok=True)
    empty = {"TINYGRAD_MNIST_DATA": "", "XDG_CACHE_HOME": str(tmp_path)}
    done = run(site, "-c", "from tinygrad_mnist import mnist; mnist.load()", cwd=tmp_path, **empty)
    last = done.stderr.splitlines()[-1]
    assert f"gzipped or not, in {tmp_path / 'tinygrad_mnist'} (not a directory); " in last
    assert str(site) not in last


def test_what_a_wheel_leaves_out_is_no_module():
    assert WHEEL["exclude"] == ["graphs/**/*.json", "graphs/**/*.png", "graphs/**/*.svg"]
    assert PROJECT["project"]["scripts"] == {"tinygrad-mnist": "tinygrad_mnist.installation:main"}


def test_in_a_checkout_the_names_are_those_at_the_top():
    assert installation.CHECKOUT == ROOT
    assert module_of("zoo.network") == "zoo.network"
    assert told("`python -m zoo.network --resume m.npz`") == "`python -m zoo.network --resume m.npz`"
    assert folder_of("/a/b.py") == Path("/a")


# --- the command tinygrad-mnist ---


def command(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["tinygrad-mnist", *arguments])
    monkeypatch.setattr(sys, "path", [*sys.path])
    return installation.main()


def test_in_a_checkout_the_command_runs_ours_and_no_other_zoo(tmp_path):
    (tmp_path / "zoo.py").write_text("raise AssertionError('the zoo of somebody else')")
    code = "import sys; from tinygrad_mnist.installation import main; sys.exit(main())"
    done = run(ROOT, "-c", code, "zoo.network1", "--version", cwd=tmp_path)
    assert (done.stdout, done.stderr) == (f"tinygrad_mnist {tg.__version__}\n", "")


@pytest.mark.parametrize("arguments", [(), ("--help",)])
def test_the_command_lists_what_there_is(monkeypatch, capsys, arguments):
    assert command(monkeypatch, *arguments) == 0
    output = capsys.readouterr().out
    assert all(f"\n  {name} " in output for name in PROGRAMS)
    assert max(map(len, output.splitlines())) <= 80


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (BrokenPipeError(errno.EPIPE, "Broken pipe"), ""),  # as of | head -1
        (
            OSError(errno.ENOSPC, "No space left on device"),
            "tinygrad-mnist: standard output: No space left on device\n",
        ),
    ],
)
@pytest.mark.parametrize("arguments", [(), ("--version",)])
def test_what_nobody_takes_is_no_traceback(monkeypatch, capsys, tmp_path, arguments, error, told):
    with open(tmp_path / "out", "w") as file:
        taker = mock.Mock(write=mock.Mock(side_effect=error), fileno=file.fileno)
        monkeypatch.setattr(sys, "stdout", taker)
        assert command(monkeypatch, *arguments) == 1
    assert capsys.readouterr().err == told


def test_the_command_lists_networks_of_ones_own(monkeypatch, capsys, tmp_path):
    (tmp_path / "zoo").mkdir()
    (tmp_path / "zoo" / "network4.py").write_text('"""Dropout, as it was proposed.\n\nAnd more."""\n')
    (tmp_path / "zoo" / "network5.py").write_text("def unfinished(")
    monkeypatch.setattr(installation, "CHECKOUT", tmp_path)
    assert command(monkeypatch) == 0
    output = capsys.readouterr().out
    assert "  zoo.network4  Dropout, as it was proposed.\n" in output
    assert "  zoo.network5  a network of your own\n" in output


@pytest.mark.filterwarnings("ignore:.*found in sys.modules")  # imported by tests before this one
@pytest.mark.parametrize("name", ["--version", "zoo", "zoo.network2", "zoo.predict", "graphs.learning", "mnist"])
def test_every_command_says_its_version(monkeypatch, capsys, name):
    if name == "--version":
        assert command(monkeypatch, name) == 0
    else:
        with pytest.raises(SystemExit, match=r"^0$"):
            command(monkeypatch, name, "--version")
    assert capsys.readouterr().out == f"tinygrad_mnist {tg.__version__}\n"


@pytest.mark.parametrize(
    ("name", "remedy"),
    [("network2", "did you mean zoo.network2?"), ("zoo.netwrok3", "did you mean zoo.network3?"),
     ("os.path", "`tinygrad-mnist` lists them"), ("zoo.nowhere.at", "lists them"), ("zoo..x", "did you mean zoo?")],
)  # fmt: skip
def test_what_is_no_program_is_refused(monkeypatch, capsys, name, remedy):
    assert command(monkeypatch, name) == 2
    output, error = capsys.readouterr()
    assert (output, error.count("\n")) == ("", 1)
    assert f"got {name!r}; " in error
    assert remedy in error


# --- the package ---

NUMPY_ALONE = """
import sys
class Nothing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] not in {*sys.stdlib_module_names, "numpy", "tinygrad_mnist"}:
            raise ImportError(f"{name} is not there")
sys.meta_path.insert(0, Nothing())
import tinygrad_mnist as tg
from tinygrad_mnist import __main__ as listing
assert not {"tinygrad_mnist.train", "tinygrad_mnist.visualize"} & {*sys.modules}
w = tg.Tensor([1.0], requires_grad=True)
optimizer = tg.optim.SGD([w], lr=0.25)
@tg.compile
def step(x):
    cost = ((w - x) ** 2).sum()
    optimizer.zero_grad()
    cost.backward()
    optimizer.step()
    return cost
for _ in range(5):
    step(tg.Tensor([0.0]))
assert step.replays
assert all(hasattr(tg, name) for name in dir(tg) if name != "testing")
print(tg.visualize.explain((w * w).sum()) != "")
"""


def test_numpy_alone_is_enough(tmp_path):
    done = run(ROOT, "-c", NUMPY_ALONE, cwd=tmp_path)
    assert (done.stdout, done.stderr) == ("True\n", "")


def test_modules_are_there_when_they_are_asked_for():
    assert tg.nn.Linear.__name__ == "Linear"
    assert tg.train.fit.__name__ == "fit"
    assert {"nn", "losses", "optim", "train", "visualize", "gradcheck", "Tensor", "__version__"} <= {*dir(tg)}
    assert all(isinstance(getattr(tg, name), types.ModuleType) for name in tg._MODULES)
    with pytest.raises(AttributeError, match=r"^module 'tinygrad_mnist' has no attribute 'optimizers'$"):
        tg.optimizers  # noqa: B018


def test_type_checkers_are_told_of_each():
    text = Path(tg.__file__).read_text(encoding="utf-8")
    assert [name for name in tg._MODULES if f"    from . import {name} as {name}\n" not in text] == []


def test_a_star_brings_what_one_computes_with():
    names: dict[str, Any] = {}
    exec("from tinygrad_mnist import *", names)
    del names["__builtins__"]
    assert {*names} == {*tg.__all__}
    assert {"Tensor", "grad", "no_grad", "sigmoid", "where", "unary", "OPS"} <= {*names}
    assert not [name for name, value in names.items() if isinstance(value, types.ModuleType)]
    assert not {"sum", "max", "abs", "compile"} & {*names}


@pytest.mark.parametrize("module", sorted({*tg._MODULES} - {"replay"}))  # which is compile
def test_a_star_of_a_module_leaves_what_python_has(module):
    names: dict[str, Any] = {}
    exec(f"from tinygrad_mnist.{module} import *", names)
    assert not {"sum", "max", "abs", "compile", "round"} & {*names}


@pytest.mark.parametrize(
    ("name", "meant"),
    [("zoo.netwrk2", "zoo.network2"), ("zoo.network3", "zoo.network3"), ("skecth", "zoo.sketch"), ("mnits", "mnist")],
)
def test_who_gives_a_program_to_the_package_is_told_how_it_is_called(name, meant, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["tinygrad_mnist", name])
    with pytest.raises(SystemExit) as usage:
        listing.main()
    assert usage.value.code == 2
    module = "tinygrad_mnist.mnist" if meant == "mnist" else meant
    assert f"unrecognized arguments: {name}; did you mean python -m {module}? (" in capsys.readouterr().err
