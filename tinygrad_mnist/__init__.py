"""Automatic differentiation on NumPy: tensors, a table of derivatives, networks and optimizers.

>>> from tinygrad_mnist import Tensor, sigmoid
>>> a, b, c = (Tensor(value, requires_grad=True) for value in (2.0, -1.0, 0.5))
>>> y = sigmoid(a * b + c)
>>> y.backward()
>>> a.grad, b.grad, c.grad
(Tensor(-0.14914647, dtype=float32), Tensor(0.29829293, dtype=float32), Tensor(0.14914647, dtype=float32))
"""

import builtins as _builtins

from . import interop as interop  # attaches operators and methods to Tensor
from .backward import enable_grad as enable_grad
from .backward import grad as grad
from .backward import no_grad as no_grad
from .ops import OPS as OPS
from .ops import Domain as Domain
from .ops import abs as abs
from .ops import binary as binary
from .ops import clip as clip
from .ops import concatenate as concatenate
from .ops import conv2d as conv2d
from .ops import exp as exp
from .ops import leaky_relu as leaky_relu
from .ops import linear as linear
from .ops import log as log
from .ops import log_softmax as log_softmax
from .ops import logsumexp as logsumexp
from .ops import matmul as matmul
from .ops import max as max
from .ops import max_pool2d as max_pool2d
from .ops import maximum as maximum
from .ops import mean as mean
from .ops import min as min
from .ops import minimum as minimum
from .ops import pad as pad
from .ops import relu as relu
from .ops import reshape as reshape
from .ops import sigmoid as sigmoid
from .ops import softmax as softmax
from .ops import softplus as softplus
from .ops import sqrt as sqrt
from .ops import stack as stack
from .ops import sum as sum
from .ops import tanh as tanh
from .ops import ternary as ternary
from .ops import transpose as transpose
from .ops import unary as unary
from .ops import variadic as variadic
from .ops import where as where
from .replay import compile as compile
from .tensor import Tensor as Tensor

# `from tinygrad_mnist import *` leaves Python's own abs, max, min, sum and compile alone.
__all__ = [name for name in dir() if not name.startswith("_") and name not in dir(_builtins)]
