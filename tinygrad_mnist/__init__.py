"""Automatic differentiation on NumPy: tensors, a table of derivatives, networks and optimizers.

>>> from tinygrad_mnist import Tensor, sigmoid
>>> a, b, c = (Tensor(value, requires_grad=True) for value in (2.0, -1.0, 0.5))
>>> y = sigmoid(a * b + c)
>>> y.backward()
>>> a.grad, b.grad, c.grad
(Tensor(-0.14914647, dtype=float32), Tensor(0.29829293, dtype=float32), Tensor(0.14914647, dtype=float32))

`import tinygrad_mnist as tg` is all that `tg.nn`, `tg.optim`, `tg.train` and the other modules need: they are imported
when they are first asked for.
"""

import builtins as _builtins
import importlib as _importlib
from typing import TYPE_CHECKING as _TYPE_CHECKING
from typing import Any as _Any

from . import installation as installation  # first: while NumPy is imported Ctrl-C ends a command of ours quietly

# isort: split
from . import display as _display  # noqa: F401 (what notebooks show)
from . import interop as interop  # teaches NumPy's functions what to do with Tensors
from . import ops as ops
from . import pytorch as _pytorch  # noqa: F401 (what is said of PyTorch's names)
from .backward import grad as grad
from .mode import enable_grad as enable_grad
from .mode import no_grad as no_grad
from .nn import summary as summary
from .op import OPS as OPS
from .op import Domain as Domain
from .op import binary as binary
from .op import ternary as ternary
from .op import unary as unary
from .op import variadic as variadic
from .ops import *  # noqa: F403 (the functions of the table)
from .replay import compile as compile
from .tensor import Tensor as Tensor
from .version import __version__ as __version__

if _TYPE_CHECKING:  # what `__getattr__` imports, for editors
    from . import checkpoint as checkpoint
    from . import functional as functional
    from . import gradcheck as gradcheck
    from . import losses as losses
    from . import mnist as mnist
    from . import nn as nn
    from . import optim as optim
    from . import replay as replay
    from . import testing as testing
    from . import threads as threads
    from . import train as train
    from . import visualize as visualize

_MODULES = (
    "checkpoint", "functional", "gradcheck", "losses", "mnist", "nn", "optim", "replay", "testing", "threads", "train",
    "visualize",
)  # fmt: skip

# What `from tinygrad_mnist import *` brings: no modules, and Python's own abs, max, min, pow, sum and compile stay.
__all__ = [
    "OPS", "Domain", "Tensor", "binary", "enable_grad", "grad", "no_grad", "summary", "ternary", "unary", "variadic",
    *(name for name in ops.__all__ if name not in dir(_builtins)),
]  # fmt: skip


def __getattr__(name: str) -> _Any:
    if name in _MODULES:
        return _importlib.import_module(f".{name}", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULES})
