"""Hypothesis strategies for arrays, operands of any op and compositions of several, and what must hold of them.

An op is tested by the same lines whether it is ours or yours:

    @given(operands(softsign))
    def test_softsign(case):
        check(case)

Functions that are no ops are tested with `arrays` and `check_derivatives`. Where they have kinks (|x| at 0, a Huber
cost at 1) there is no derivative, and `arrays` draws 0, 1 and -1 most often: `values=Domain(-4, 4, away=(-1, 1))`. On a
busy machine an example may take longer than the 200 ms that hypothesis allows: `@settings(deadline=None)`.

This package needs hypothesis; nothing else in tinygrad_mnist imports it.
"""

try:
    import hypothesis as hypothesis
except ModuleNotFoundError as error:
    raise ModuleNotFoundError("tinygrad_mnist.testing needs hypothesis: pip install hypothesis") from error

from tinygrad_mnist.op import NONZERO as NONZERO
from tinygrad_mnist.op import POSITIVE as POSITIVE
from tinygrad_mnist.op import REALS as REALS
from tinygrad_mnist.op import Domain as Domain

from . import table as table  # what the ops of our own table are tested with
from .cases import Case as Case
from .cases import elementwise as elementwise
from .cases import operands as operands
from .cases import operands_of as operands_of
from .checks import check as check
from .checks import check_derivatives as check_derivatives
from .checks import check_op as check_op
from .composition import Composition as Composition
from .composition import Line as Line
from .composition import compositions as compositions
from .strategies import LAYOUTS as LAYOUTS
from .strategies import arrays as arrays
from .strategies import axes as axes
from .strategies import broadcastable as broadcastable
from .strategies import broadcastable_shapes as broadcastable_shapes
from .strategies import grid as grid
from .strategies import indices as indices
from .strategies import laid_out as laid_out
from .strategies import matmul_operands as matmul_operands
from .strategies import shapes as shapes
