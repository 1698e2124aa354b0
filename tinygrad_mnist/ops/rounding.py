"""Whole numbers near x, which have no derivative, and what is left when one divides."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_mnist.composed import composed
from tinygrad_mnist.op import Domain, binary, publish, unary
from tinygrad_mnist.tensor import Operand, Tensor

from .arithmetic import astype
from .choices import abs

_DIVIDENDS, _DIVISORS = Domain(2.5, 3.25), Domain(1.75, 2.25)  # whose quotients are no whole numbers

# fmt: off
floor = unary("floor", np.floor, None, c="M_LIBM(floor, {x})", doc="the largest whole number <= x; no derivative")
ceil = unary("ceil", np.ceil, None, c="M_LIBM(ceil, {x})", doc="the smallest whole number >= x; no derivative")
trunc = unary("trunc", np.trunc, None, numpy=(np.fix,), c="M_LIBM(trunc, {x})",
              doc="x without its fraction; no derivative")
rint = unary("rint", np.rint, None, c="M_LIBM(rint, {x})",
             doc="the nearest whole number, of two the even one; no derivative")
round = unary("round", lambda x, decimals=0: np.round(x, decimals), None,
              numpy=(np.round, np.around), doc="x to so many decimals, of two the even one; no derivative")
floor_divide = binary("floor_divide", np.floor_divide, None, None,
                      sign="//", domain=(_DIVIDENDS, _DIVISORS), doc="the largest whole number <= x / y; no derivative")
remainder = binary("remainder", np.remainder,
                   lambda g, out, x, y: g,
                   lambda g, out, x, y: -g * floor_divide(x, y),
                   sign="mod", domain=(_DIVIDENDS, _DIVISORS),
                   doc="x - y floor(x / y), with the sign of y; where it jumps, the derivative from above: 1 in x")
fmod = binary("fmod", np.fmod,
              lambda g, out, x, y: g,
              lambda g, out, x, y: -g * rint((x - out) / y),
              domain=(_DIVIDENDS, _DIVISORS),
              c="M_LIBM2(fmod, {x}, {y})",
              doc="x - y trunc(x / y), with the sign of x; where it jumps, the derivative in x is 1")
# fmt: on


@composed(np.fabs)
def fabs(x: Operand) -> Any:
    """|x| as floating numbers, of whole numbers too."""
    return abs(x if isinstance(x, Tensor) and x.dtype.kind == "f" else astype(x, dtype=np.float64))


def divmod(x: Operand, y: Operand) -> tuple[Any, Any]:
    """The quotient, a whole number, which has no derivative, and the remainder."""
    return floor_divide(x, y), remainder(x, y)


publish(divmod, np.divmod)
