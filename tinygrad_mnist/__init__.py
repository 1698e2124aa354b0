"""Automatic differentiation on NumPy: tensors, a table of derivatives, networks and optimizers.

>>> from tinygrad_mnist import Tensor, sigmoid
>>> a, b, c = (Tensor(value, requires_grad=True) for value in (2.0, -1.0, 0.5))
>>> y = sigmoid(a * b + c)
>>> y.backward()
>>> a.grad, b.grad, c.grad
(Tensor(-0.14914647, dtype=float32), Tensor(0.29829293, dtype=float32), Tensor(0.14914647, dtype=float32))
"""

import builtins as _builtins

from . import display as _display  # noqa: F401 (what notebooks show)
from . import interop as interop  # teaches NumPy's functions what to do with Tensors
from .backward import grad as grad
from .mode import enable_grad as enable_grad
from .mode import no_grad as no_grad
from .op import OPS as OPS
from .op import Domain as Domain
from .op import binary as binary
from .op import ternary as ternary
from .op import unary as unary
from .op import variadic as variadic
from .ops import *  # noqa: F403 (the functions of the table)
from .replay import compile as compile
from .tensor import Tensor as Tensor

# `from tinygrad_mnist import *` leaves Python's own abs, max, min, pow, sum and compile alone.
__all__ = [name for name in dir() if not name.startswith("_") and name not in dir(_builtins)]
