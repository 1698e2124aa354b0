"""Where in a user's own code an error arose: what is said behind its one line."""

import sys
import sysconfig
import traceback
from collections.abc import Callable
from pathlib import Path
from types import FrameType

from tinygrad_mnist.convert import in_one_line
from tinygrad_mnist.files import PACKAGE
from tinygrad_mnist.installation import PROGRAMS
from tinygrad_mnist.nn import Module, named

from .names import HERE

_INSTALLED = tuple({PACKAGE, *(sysconfig.get_path(kind) for kind in ("stdlib", "purelib", "platlib"))})


def place_of(error: Exception) -> str:
    """The line in a file of one's own, " (network9.py:12)"; else the layer, " (in layers.2, Linear(30, 10))"; or ""."""
    calls = list(traceback.walk_tb(error.__traceback__))
    for frame, line in reversed(calls):
        if _is_own(frame.f_code.co_filename):
            return f" ({Path(frame.f_code.co_filename).name}:{line})"
    layers = [module for frame, _ in calls if (module := _called(frame)) is not None]
    if not layers:
        return ""
    name = next((name for name, module in named(layers[0], Module) if module is layers[-1]), "")
    return f" (in {f'{name}, ' if name else ''}{in_one_line(layers[-1])})"


def in_a_line(command: Callable[[], int]) -> Callable[[], int]:
    """The command, where a TypeError of ours, to which a line in a file of one's own has led, is told in a line.

    One that arises in that file itself is a mistake of Python, where the whole traceback tells most.
    """

    def run() -> int:
        try:
            return command()
        except TypeError as error:
            files = [Path(frame.f_code.co_filename) for frame, _ in traceback.walk_tb(error.__traceback__)]
            own = [n for n, path in enumerate(files) if _is_own(str(path))]
            if not own or not any(
                Path(PACKAGE) in path.parents or HERE in path.parents for path in files[own[-1] + 1 :]
            ):
                raise
            raise ValueError(str(error)).with_traceback(error.__traceback__) from None

    return run


def _is_own(file: str) -> bool:
    """Whether it is neither Python's, nor installed, nor ours: a network of one's own in zoo/ is."""
    path = Path(file)
    if path.parent == HERE:
        is_network = path.name.startswith("network") or file == getattr(sys.modules["__main__"], "__file__", None)
        return is_network and f"zoo.{path.stem}" not in PROGRAMS
    return not file.startswith(("<", *_INSTALLED)) and HERE not in path.parents


def _called(frame: FrameType) -> Module | None:
    """The Module whose `forward` runs in a frame."""
    module = frame.f_locals.get("self") if frame.f_code.co_name == "forward" else None
    return module if isinstance(module, Module) else None
