"""A row is all that it takes: appended to a room, it is exported, typed, listed, served, drawn, checked, compiled."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from .helpers import ROOT
from .write_list import LIST, functions, listed

ROW = """
nextafter = binary("nextafter", np.nextafter,
                   lambda g, out, x, y: g,
                   None,
                   doc="the number beside x towards y")
"""
PROGRAM = """
import numpy as np
from hypothesis import settings
import tinygrad_mnist as tg
from tinygrad_mnist import OPS, Tensor, compile, ops, visualize
from tinygrad_mnist.testing import check_op
from tests.count_numpy import works
from tests.write_list import listed
from tests.write_stub import stub

assert "nextafter" in OPS
assert tg.nextafter is ops.nextafter is OPS["nextafter"].function
assert "nextafter" in tg.__all__ and "nextafter" in ops.__all__
assert "def nextafter(x: Operand, y: Operand) -> Any: ..." in stub()
assert "| *`nextafter`* | the number beside x towards y | `np.nextafter` |" in listed()

x = Tensor(np.array([1.0, 2.0]), requires_grad=True, name="x")
y = np.nextafter(x, 3.0)
assert y.op is OPS["nextafter"] and y.data.tolist() == np.nextafter(x.data, 3.0).tolist()
assert works(np.nextafter)
assert "nextafter" in visualize.graph(y.sum()).source
assert "nextafter" in str(visualize.explain(y.sum()))
y.sum().backward()
assert x.grad.data.tolist() == [1, 1]

settings.register_profile("few", max_examples=15, derandomize=True, database=None, deadline=None)
settings.load_profile("few")
check_op("nextafter")


def step(x):
    return np.nextafter(x, 3.0) * 2


compiled = compile(step)
for k in range(5):
    assert compiled(x.data * k).data.tobytes() == step(Tensor(x.data * k)).data.tobytes()
assert compiled.replays > 0
print("all that it takes")
"""


def run_with(row: str, directory: Path) -> subprocess.CompletedProcess[str]:
    """Append a row to a copy of the package, in which the program then runs."""
    unneeded = shutil.ignore_patterns("__pycache__", "test_*", "reference")
    for name in ("tinygrad_mnist", "tests"):
        shutil.copytree(ROOT / name, directory / name, ignore=unneeded)
    with (directory / "tinygrad_mnist" / "ops" / "rounding.py").open("a", encoding="utf-8") as room:
        room.write(row)
    environment = os.environ | {"PYTHONPATH": str(directory)}
    run = [sys.executable, "-W", "error", "-c", PROGRAM]
    return subprocess.run(run, cwd=directory, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_a_row_is_all_that_it_takes(tmp_path):
    done = run_with(ROW, tmp_path)
    assert (done.stdout, done.stderr) == ("all that it takes\n", "")


def test_without_the_row_there_is_nothing(tmp_path):
    done = run_with("", tmp_path)
    assert done.returncode == 1
    assert 'assert "nextafter" in OPS' in done.stderr or "AssertionError" in done.stderr


def test_the_list_is_what_the_table_says():
    assert LIST.read_text(encoding="utf-8") == listed(), "the table has changed: python -m tests.write_list"
    assert sum(map(len, functions().values())) > 200
