"""Write the list of the table's functions, room by room: `python -m tests.write_list`.

It is `tinygrad_mnist/ops/README.md`, made from the rows and functions themselves.
"""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

import numpy as np

from tinygrad_mnist import ops
from tinygrad_mnist.op import FUNCTIONS, NUMPY

LIST = Path(ops.__file__).with_name("README.md")
HEAD = """# The table's functions

Room by room, with those of NumPy's functions that each serves on Tensors. Names in italics are rows of the table, the
others functions made of rows. `help(tinygrad_mnist.norm)` tells more. (Written by `python -m tests.write_list`, not by
hand.)
"""
TAIL = """
## NumPy's alone

`np.bincount` (linear in the weights) and `np.full_like` (linear in the value), which have no other name here.
"""


def functions() -> dict[str, dict[str, Any]]:
    """The functions of each room, by the names under which they are defined."""
    rooms: dict[str, dict[str, Any]] = {}
    for name, function in FUNCTIONS.items():
        *package, room = function.__module__.split(".")
        if package == ["tinygrad_mnist", "ops"] and function.__name__ == name:
            rooms.setdefault(room, {})[name] = function
    return rooms


def listed() -> str:
    """The text of the list."""
    parts = [HEAD]
    for room, found in sorted(functions().items()):
        module = getattr(ops, room)
        first = (inspect.getdoc(module) or "").split("\n")[0]
        parts.append(f"\n## {room}\n\n{first}\n\n| | | NumPy's |\n|---|---|---|\n")
        parts += [f"| {_name(name, f)} | {_sentence(f)} | {_numpys(f)} |\n" for name, f in sorted(found.items())]
    return "".join([*parts, TAIL])


def _name(name: str, function: Any) -> str:
    return f"*`{name}`*" if hasattr(function, "op") else f"`{name}`"


def _sentence(function: Any) -> str:
    first = (inspect.getdoc(function) or "").split("\n")[0].removesuffix(".")
    return re.sub(r"([|*_])", r"\\\1", first)


def _numpys(function: Any) -> str:
    served = {_spelled(f) for f, ours in NUMPY.items() if function in (ours, FUNCTIONS.get(ours.__name__.strip("_")))}
    return " ".join(f"`{name}`" for name in sorted(served))


def _spelled(function: Any) -> str:
    prefix = "linalg." if getattr(np.linalg, function.__name__, None) is function else ""
    return f"np.{prefix if not hasattr(np, function.__name__) else ''}{function.__name__}"


if __name__ == "__main__":
    LIST.write_text(listed(), encoding="utf-8")
