"""Where in a user's own code an error arose: what is said behind its one line."""

import dis
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

_RAISE = dis.opmap["RAISE_VARARGS"]


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
    """The command, with a TypeError by which ours say that they are used wrongly as a ValueError, told in a line.

    That is one which a `raise` of ours raises, below a line in a file of one's own. Others are mistakes of Python in
    that file, where the whole traceback tells most.
    """

    def run() -> int:
        try:
            return command()
        except TypeError as error:
            if not _is_said_by_ours(error):
                raise
            raise ValueError(str(error)).with_traceback(error.__traceback__) from None

    return run


def _is_said_by_ours(error: Exception) -> bool:
    own = said = False
    place = error.__traceback__
    while place is not None:
        code = place.tb_frame.f_code
        if _is_own(code.co_filename):
            own, said = True, False
        elif code.co_filename.startswith(PACKAGE) or HERE in Path(code.co_filename).parents:
            said = said or code.co_code[place.tb_lasti] == _RAISE
        place = place.tb_next
    return own and said


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
