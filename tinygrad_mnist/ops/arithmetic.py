"""Arithmetic, broadcasting as NumPy does.

(The rows of the table are aligned by hand, in all its rooms.)
"""

import numpy as np

from tinygrad_mnist.op import NONZERO, REALS, OpFunction, binary, unary

# fmt: off
add = binary("add", np.add,
             lambda g, out, x, y: g,                                       # d(x + y)/dx = 1
             lambda g, out, x, y: g,
             sign="+", c="{x} + {y}", doc="x + y")
sub = binary("sub", np.subtract,
             lambda g, out, x, y: g,
             lambda g, out, x, y: -g,
             sign="−", c="{x} - {y}", doc="x - y")
mul = binary("mul", np.multiply,
             lambda g, out, x, y: g * y,
             lambda g, out, x, y: g * x,
             sign="×", c="{x} * {y}", doc="x y, elementwise")
div = binary("div", np.divide,
             lambda g, out, x, y: g / y,
             lambda g, out, x, y: -g * out / y,                            # -x / y^2 = -out / y
             sign="÷", domain=(REALS, NONZERO), c="{x} / {y}", doc="x / y")
neg = unary("neg", np.negative,
            lambda g, out, x: -g,
            sign="−", c="-{x}", doc="-x")
copy = unary("copy", lambda x: np.array(x),
             lambda g, out, x: g,
             numpy=(np.copy, np.positive), c="{x}", doc="the values of x in memory of their own")
astype: OpFunction = unary("astype", lambda x, dtype: np.asarray(x).astype(dtype),
               lambda g, out, x, dtype: astype(g, dtype=x.dtype),
               doc="x converted to another floating dtype; conversion to integers and booleans has no derivative")
