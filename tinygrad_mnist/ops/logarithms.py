"""Logarithms and powers of other bases, of numbers near 1, and of sums."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tinygrad_mnist.composed import composed
from tinygrad_mnist.op import NONZERO, POSITIVE, Domain, binary, unary
from tinygrad_mnist.tensor import Operand

from .arithmetic import astype, mul, sub
from .choices import abs, where
from .elementary import exp, pow, sigmoid

_LN2, _LN10 = math.log(2), math.log(10)


def _difference(x: Any, y: Any) -> Any:
    """The difference; 0 for two that are the same infinity, of which NumPy would make NaN."""
    infinite = (x == y) & (abs(x) == math.inf)
    return sub(where(infinite, 0, x), where(infinite, 0, y))


# fmt: off
log1p = unary("log1p", np.log1p,
              lambda g, out, x: g / (1 + x),
              domain=(Domain(-0.75, 4),), c="M_LIBM(log1p, {x})", doc="ln(1 + x), with all digits near 0")
expm1 = unary("expm1", np.expm1,
              lambda g, out, x: g * exp(x),                                # out + 1 has lost its digits at -20
              c="M_LIBM(expm1, {x})", doc="e^x - 1, with all digits near 0")
log2 = unary("log2", np.log2,
             lambda g, out, x: g / x / _LN2,
             domain=(POSITIVE,), c="M_LIBM(log2, {x})", doc="the logarithm of base 2, for x > 0")
log10 = unary("log10", np.log10,
              lambda g, out, x: g / x / _LN10,
              domain=(POSITIVE,), c="M_LIBM(log10, {x})", doc="the logarithm of base 10, for x > 0")
exp2 = unary("exp2", np.exp2,
             lambda g, out, x: g * out * _LN2,
             c="M_LIBM(exp2, {x})", doc="2^x")
square = unary("square", np.square,
               lambda g, out, x: g * (2 * x),
               sign="x²", c="{x} * {x}", doc="x²")
reciprocal = unary("reciprocal", np.reciprocal,
                   lambda g, out, x: -g * out * out,
                   sign="1 / x", domain=(NONZERO,), c="1 / {x}",
                   doc="1 / x; of whole numbers, as in NumPy, a whole number")
cbrt = unary("cbrt", np.cbrt,
             lambda g, out, x: g / 3 * square(reciprocal(out)),             # at ∞, out² would make 0 · ∞ of slopes
             sign="∛", domain=(NONZERO,), c="M_LIBM(cbrt, {x})",
             doc="∛x, of negative numbers too; its derivative at 0 is infinite")
logaddexp = binary("logaddexp", np.logaddexp,
                   lambda g, out, x, y: g * sigmoid(_difference(x, y)),
                   lambda g, out, x, y: g * sigmoid(_difference(y, x)),
                   doc="ln(e^x + e^y), right at ±1000 too")
logaddexp2 = binary("logaddexp2", np.logaddexp2,
                    lambda g, out, x, y: g * sigmoid(mul(_difference(x, y), _LN2)),
                    lambda g, out, x, y: g * sigmoid(mul(_difference(y, x), _LN2)),
                    doc="log2(2^x + 2^y), right at ±1000 too")
# fmt: on


@composed(np.float_power)
def float_power(x: Operand, y: Operand) -> Any:
    """The power computed in float64, as NumPy does: the one function that is meant to promote."""
    return pow(astype(x, dtype=np.float64), y)
