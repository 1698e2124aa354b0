"""README's Python, pasted block by block into one session; and the commands that answer learners' questions."""

import doctest
import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tinygrad_mnist import OPS, mnist
from tinygrad_mnist.replay import Compiled

from .helpers import environment

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
QUESTIONS = re.findall(
    r"^- \*\*(.*?)\*\*(.*?)(?=^- |\n\n)",
    README.partition("## Questions")[2].partition("\n## ")[0],
    re.DOTALL | re.MULTILINE,
)
COMMANDS = [command for _, answer in QUESTIONS for command in re.findall(r"`python -m (.*?)`", answer)]


@pytest.mark.slow
def test_all_blocks_run_in_reading_order(table, tmp_path, monkeypatch):
    small = mnist.load(ROOT / "data").head(500)
    monkeypatch.setattr(mnist, "load", lambda: small)
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    session: dict[str, object] = {"__name__": "__main__"}
    for block in blocks:
        statements = [example.source for example in doctest.DocTestParser().get_examples(block)]
        for statement in statements or [block]:
            exec(compile(statement, "<README>", "exec"), session)  # no file: hypothesis would read it as Python
    assert len(blocks) > 5
    assert "softsign" in OPS
    step = session["step"]
    assert isinstance(step, Compiled)
    assert "def step(" in step.source
    assert sorted(path.stem for path in tmp_path.iterdir()) == ["flow", "own", "step"]


def test_each_question_points_to_what_there_is():
    asked = " ".join(question for question, _ in QUESTIONS)
    for word in ("topological", "accumulate", "zero_grad", "vjp", "broadcasting", "saturation", "start", "momentum",
                 "vanish", "cost", "right", "compile", "attention"):  # fmt: skip
        assert word in asked
    for question, answer in QUESTIONS:
        files = re.findall(r"`([\w/]+\.py)`", answer)
        modules = [command.split()[0] for command in re.findall(r"`python -m (.*?)`", answer)]
        assert files or modules or "below" in answer, question
        assert all((ROOT / name).is_file() for name in files), question
        assert all(importlib.util.find_spec(name) for name in modules), question
    assert len(QUESTIONS) == 13
    assert len(COMMANDS) >= 8


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_the_command_that_answers_a_question_runs(command, digits, tmp_path):
    module, *arguments = command.split()
    place = ROOT if module == "pytest" else tmp_path  # pytest's paths are of the repository
    if module == "pytest":
        arguments += ["-p", "no:cacheprovider"]
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments],
        cwd=place,
        env=environment(digits) | {"PYTEST_ADDOPTS": ""},
        capture_output=True,
        text=True,
        encoding="utf-8",
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout
    if module.startswith("graphs."):
        name = module.partition(".")[2]
        assert {f"{name}-quick.json", f"{name}-quick.png"} == set(os.listdir(tmp_path))
