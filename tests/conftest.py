"""Hypothesis profiles, and what several files share.

`quick` (the default) and `ci` repeat the same cases, 15 and 50 a property; `explore` draws 2,000 new ones:

    pytest --hypothesis-profile=explore
"""

import gc
import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

from tinygrad_mnist import OPS, mnist
from tinygrad_mnist.op import Op
from tinygrad_mnist.testing.cases import own_operands
from zoo import predict, writer
from zoo.__main__ import main as all_four
from zoo.commandline import main
from zoo.training import network_class

os.environ.pop("COLUMNS", None)  # make sets it: what is tested is as without a terminal

# Containers set it; then every worker, and each of the hundred processes that tests start, compiles all modules anew.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

pytest.register_assert_rewrite("tests.helpers")  # so that its assertions show what they compared

from .helpers import ROOT, environment, write_data  # noqa: E402

settings.register_profile("ci", derandomize=True, deadline=None, database=None, print_blob=True, max_examples=50)
settings.register_profile("quick", settings.get_profile("ci"), max_examples=15)
settings.register_profile(
    "explore", derandomize=False, deadline=None, max_examples=2000, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("quick")


def pytest_collection_finish(session: pytest.Session) -> None:
    """Ten thousand tests are nothing that the garbage collector has to look through again and again."""
    gc.collect()
    gc.freeze()


@pytest.fixture
def table() -> Iterator[dict[str, Op]]:
    """The table of derivatives, out of which the ops of this test are taken again."""
    before = set(OPS)
    yield OPS
    for name in set(OPS) - before:
        del OPS[name]
        own_operands.pop(name, None)


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """What the framework tells, as a compiled step does that runs eagerly."""
    caplog.set_level(logging.WARNING, "tinygrad_mnist")
    return caplog


def pixels(split, n):
    return np.rint(split.images[:n] * 255).astype(np.uint8).reshape(n, 28, 28)


@pytest.fixture(scope="session")
def digits(tmp_path_factory):
    """A directory with 1,000 real digits to train on, 200 to validate and 200 to test on."""
    data = mnist.load(ROOT / "data")
    assert data.test is not None
    return write_data(
        tmp_path_factory.mktemp("digits"),
        pixels(data.train, 1200),
        data.train.labels[:1200],
        pixels(data.test, 200),
        data.test.labels[:200],
    )


class Done(NamedTuple):
    """What a command left behind."""

    status: int
    stdout: str
    stderr: str


def as_expected(done: Done, status: int) -> Done:
    """The same, if it ended with this status, and said no more than a line if that is an error."""
    assert done.status == status, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    if status != 2:
        assert done.stderr.count("\n") == (status != 0), done.stderr
    return done


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """A browser, in which nothing is kept. CI requires it, others may skip what needs it.

    Of one file, as until it is closed the thread runs playwright's event loop, in which other tests' cannot run.
    """
    program = shutil.which("chromium")
    if not os.environ.get("CI"):
        if program is None:
            pytest.skip("there is no chromium; Debian's package is chromium (apt-get install chromium)")
        pytest.importorskip("playwright", reason='playwright drives the browser: pip install -e ".[test]"')
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()


OTHER_COMMANDS = {"zoo": all_four, "zoo.predict": predict.main, "zoo.writer": writer.main}


@pytest.fixture
def zoo_process(digits, tmp_path):
    """What `zoo` does, in a process of its own: where that is the point, or where other files stand in zoo/."""

    def run(module, *arguments, status=0, data=digits, **options):
        done = subprocess.run(
            [sys.executable, "-m", module, *map(str, arguments)],
            cwd=tmp_path,
            env=environment(data),
            capture_output=True,
            text=True,
            timeout=120,
            encoding="utf-8",
            **options,
        )
        return as_expected(Done(done.returncode, done.stdout, done.stderr), status)

    return run


@pytest.fixture
def here(digits, tmp_path, monkeypatch, capsys):
    """Run a command in this process, where many runs are quick; return its status, output and error."""
    monkeypatch.setenv("TINYGRAD_MNIST_DATA", str(digits))
    monkeypatch.delenv("COLUMNS", raising=False)  # as without a terminal
    monkeypatch.chdir(tmp_path)

    def run(module, *arguments):
        texts = [str(argument) for argument in arguments]
        try:
            if module in OTHER_COMMANDS:
                status: Any = OTHER_COMMANDS[module](texts)
            else:
                status = main(network_class(module.removeprefix("zoo.")), texts)
        except SystemExit as usage:
            status = usage.code
        return Done(status, *capsys.readouterr())

    return run


@pytest.fixture
def zoo(here, digits, monkeypatch):
    """Run a command of the zoo in an empty directory, on the small subset, and expect that it ends with the status.

    It runs in this process: another one takes most of a second to begin.
    """

    def run(module, *arguments, status=0, data=digits):
        monkeypatch.setenv("TINYGRAD_MNIST_DATA", str(data))
        return as_expected(here(module, *arguments), status)

    return run
