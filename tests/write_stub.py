"""Write the types of the table's functions: `python -m tests.write_stub`.

They are made at run time, one for each row, which type checkers and editors cannot follow.
"""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import numpy as np

from tinygrad_mnist import ops
from tinygrad_mnist.op import FUNCTIONS, missing

STUB = Path(ops.__file__).with_suffix(".pyi")
HEAD = '''"""The types of the table's functions: written by `python -m tests.write_stub`, not by hand."""

from collections.abc import Sequence
from typing import Any

from tinygrad_mnist.op import NONZERO as NONZERO
from tinygrad_mnist.op import OPS as OPS
from tinygrad_mnist.op import POSITIVE as POSITIVE
from tinygrad_mnist.op import REALS as REALS
from tinygrad_mnist.op import Domain as Domain
from tinygrad_mnist.op import Op as Op
from tinygrad_mnist.op import OpFunction as OpFunction
from tinygrad_mnist.op import binary as binary
from tinygrad_mnist.op import ternary as ternary
from tinygrad_mnist.op import unary as unary
from tinygrad_mnist.op import variadic as variadic
from tinygrad_mnist.tensor import Operand, Tensor

from . import arithmetic as arithmetic
from . import choices as choices
from . import decompositions as decompositions
from . import differences as differences
from . import elementary as elementary
from . import images as images
from . import indexing as indexing
from . import joins as joins
from . import logarithms as logarithms
from . import matrices as matrices
from . import moves as moves
from . import names as names
from . import products as products
from . import reductions as reductions
from . import rounding as rounding
from . import scans as scans
from . import shapes as shapes
from . import sorting as sorting
from . import statistics as statistics
from . import trigonometry as trigonometry

'''


def stub() -> str:
    """The text of the stub."""
    functions = {name: f for name, f in FUNCTIONS.items() if f.__module__.startswith("tinygrad_mnist.ops.")}
    names = sorted(functions)
    listed = "".join(f"    {name!r},\n".replace("'", '"') for name in names)
    definitions = "\n".join(f"def {name}({_parameters(functions[name])}) -> Any: ..." for name in names)
    return f"{HEAD}__all__ = [\n{listed}]\n\n{definitions}\n"


def _parameters(function: Any) -> str:
    if not hasattr(function, "op"):
        return ", ".join(str(p) for p in _kinds(function))
    op = function.op
    if op.arity is None:
        parts = ["*arrays: Operand"]
    else:
        names = "x y z".split() if isinstance(op.forward, np.ufunc) else list(inspect.signature(op.forward).parameters)
        parts = [f"{name}: Operand" for name in names[: op.arity]]
    required = missing(op.defaults)
    return ", ".join(parts + [f"{k}: Any" if k in required else f"{k}: Any = {v!r}" for k, v in op.defaults.items()])


def _kinds(function: Any) -> list[str]:
    """The parameters of a function that is written out, as it annotates them."""
    parameters = inspect.signature(function).parameters.values()
    parts = [_kind(p) for p in parameters]
    keyword = [i for i, p in enumerate(parameters) if p.kind is p.KEYWORD_ONLY]
    spread = any(p.kind is p.VAR_POSITIONAL for p in parameters)
    return [*parts[: keyword[0]], "*", *parts[keyword[0] :]] if keyword and not spread else parts


def _kind(p: inspect.Parameter) -> str:
    default = "" if p.default is p.empty else f" = {p.default!r}".replace("'", '"')
    return f"{'*' if p.kind is p.VAR_POSITIONAL else ''}{p.name}: {p.annotation}{default}"


if __name__ == "__main__":
    STUB.write_text(stub(), encoding="utf-8")
