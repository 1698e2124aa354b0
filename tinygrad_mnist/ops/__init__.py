"""The table of derivatives: for each op what it computes, and for each of its inputs one rule of calculus.

A rule answers: given `g`, the gradient of the loss with respect to the op's output, what is the gradient with respect
to this input? (Mathematicians call it a vector-Jacobian product, vjp.) It is called as
`rule(g, out, *inputs, **params)` and is written with operators, methods of arrays and functions of this table only. So
the same rule *computes* when given arrays, and *records* a graph of its own when given Tensors, from which derivatives
of any order follow. From `ops/arithmetic.py`:

    mul = binary("mul", np.multiply,
                 lambda g, out, x, y: g * y,      # d/dx
                 lambda g, out, x, y: g * x,      # d/dy
                 sign="×", doc="x y, elementwise")

No rule undoes broadcasting (the backward driver does, for all of them), and no rule writes into an array it was given.

The rooms of the table, each of which uses only those before it: arithmetic, choices (and comparisons), elementary
(functions of one number, and powers), trigonometry, logarithms, rounding, matrices, shapes, scans, reductions,
indexing, images, moves, joins, decompositions, products, sorting, statistics, differences, and NumPy's other names.
`sum`, `max`, `min`, `abs`, `pow`, `round` and `divmod` are functions there; Python's own are in `builtins`. A row with
a lambda that refers to the row itself is annotated `: OpFunction`, since type checkers could not infer its type. A row
is all that an op needs: its function is here, and in the package, because it is a row (`ops/__init__.pyi`, written from
the table, tells type checkers). What needs no rule of its own is a function made of ops, in the same rooms, to which
`composed` gives NumPy's name. How an op is made and applied: `op.py`.
"""

from tinygrad_mnist.op import FUNCTIONS
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

__all__ = [name for name, function in FUNCTIONS.items() if function.__module__.startswith(f"{__name__}.")]
globals().update({name: FUNCTIONS[name] for name in __all__})
