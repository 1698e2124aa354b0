"""Where this copy has the zoo and the figures: beside the package in a checkout, inside of it in a wheel.

In a checkout they stand at the top, where one reads and changes them, and `python -m zoo.network2` runs them (from an
editable installation in any directory). In a wheel they are `tinygrad_mnist.zoo` and `tinygrad_mnist.graphs`, as other
projects are named `zoo` and `graphs`. Either way there is one name for each, so that no module is loaded twice: their
modules import each other relatively, and what `graphs` takes of the zoo it takes from `graphs/networks.py`.

`tinygrad-mnist zoo.network2 --epochs 3`, installed with the package, runs them under the same names everywhere.
"""

from __future__ import annotations

import importlib.util
import os
import re
import signal
import sys
from pathlib import Path

from .version import __version__

HERE = Path(__file__).resolve().parent
CHECKOUT = None if (HERE / "zoo").is_dir() else HERE.parent
"""The directory with README, data, zoo and graphs; None in an installation from a wheel."""

PROGRAMS = {
    "zoo.network": "stochastic gradient descent, the first of the book's networks",
    "zoo.network1": "momentum",
    "zoo.network2": "Nesterov's momentum, a learning rate that steps down",
    "zoo.network3": "L2 weight decay",
    "zoo": "all four on the same data, and one table",
    "zoo.custom": "convolutions, to start a network of your own from",
    "zoo.predict": "which digit an image shows",
    "zoo.writer": "a transformer that writes digits",
    "zoo.sketch": "a live page: draw a digit, look into a network, watch it learn",
    "graphs": "the figures, each made by one script: graphs.learning, ...",
    "graphs.speed": "a training step beside NumPy by hand and other frameworks",
    "mnist": "download MNIST, or convert another data set",
}


def module_of(program: str) -> str:
    """The module of a program here: "zoo.network2" -> "tinygrad_mnist.zoo.network2" where a wheel was installed.

    >>> module_of("mnist")
    'tinygrad_mnist.mnist'
    """
    return program if CHECKOUT and program != "mnist" else f"tinygrad_mnist.{program}"


def told(text: str) -> str:
    """A text with the commands that it names (`python -m zoo.network2`) as they are typed here."""
    return text if CHECKOUT else re.sub(r"python -m (zoo|graphs)\b", r"python -m tinygrad_mnist.\1", text)


def folder_of(file: str) -> Path:
    """Where a program in `file` writes what belongs beside it: there in a checkout, else the current directory."""
    return Path(file).parent if CHECKOUT else Path()


def main() -> int:
    """The command `tinygrad-mnist`: run a program by its name, or say which there are; return the exit status."""
    import difflib  # none of them is needed to import the package
    import runpy

    if CHECKOUT:
        sys.path.insert(0, str(CHECKOUT))  # before what else may be installed under the names zoo and graphs
    name, *arguments = sys.argv[1:] or ["--help"]
    if name in ("-h", "--help"):
        listed = "\n".join(f"  {program:<14}{what}" for program, what in {**PROGRAMS, **_own_networks()}.items())
        return _said(f"usage: tinygrad-mnist NAME ...\n\n{listed}\n\n`tinygrad-mnist NAME --help` tells of each.")
    if name == "--version":
        return _said(f"tinygrad_mnist {__version__}")
    known = name in PROGRAMS or (re.fullmatch(r"(zoo|graphs)(\.[A-Za-z]\w*)+", name) and _exists(module_of(name)))
    if not known:
        short = {program.rpartition(".")[2]: program for program in PROGRAMS}
        close = difflib.get_close_matches(name, [*PROGRAMS, *short], 1)
        remedy = f"did you mean {short.get(close[0], close[0])}?" if close else "`tinygrad-mnist` lists them"
        print(f"tinygrad-mnist: expected the name of a program, got {name!r:.60}; {remedy}", file=sys.stderr)
        return 2
    sys.argv = ["tinygrad-mnist", *arguments]
    runpy.run_module(module_of(name), run_name="__main__", alter_sys=True)
    return 0


def is_starting() -> bool:
    """Whether Python is about to run a program of ours: it imports the packages around it first."""
    if Path((sys.argv or [""])[0]).stem == "tinygrad-mnist":
        return True
    if sys.argv[:1] != ["-m"]:
        return False
    option = next((i for i, text in enumerate(sys.orig_argv) if text.startswith("-m")), 0)
    module = sys.orig_argv[option][2:] or "".join(sys.orig_argv[option + 1 : option + 2])
    return module.partition(".")[0] in ("tinygrad_mnist", "zoo", "graphs")


def _said(text: str) -> int:
    """Print what was asked for, and return the exit status: 1 where nobody takes it, with a line if a disk is full."""
    try:
        print(text, flush=True)
    except OSError as error:
        if not isinstance(error, BrokenPipeError):
            print(f"tinygrad-mnist: standard output: {error.strerror}", file=sys.stderr)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what Python still flushes when it ends
        return 1
    return 0


def _own_networks() -> dict[str, str]:
    """Networks of one's own beside ours, zoo/network4.py, each with the beginning of its docstring."""
    import ast

    found = {}
    for file in sorted(((CHECKOUT or HERE) / "zoo").glob("network*.py")):
        if (name := f"zoo.{file.stem}") not in PROGRAMS:
            try:
                text = ast.get_docstring(ast.parse(file.read_bytes())) or ""
            except (OSError, SyntaxError, ValueError):  # of a file that is being written
                text = ""
            found[name] = text.partition("\n")[0][:60] or "a network of your own"
    return found


def _exists(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ImportError:
        return False


if is_starting() and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # until a command begins, Ctrl-C ends it without a traceback
