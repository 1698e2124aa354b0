"""NumPy's other names of the table's functions."""

from tinygrad_mnist.op import FUNCTIONS

from . import arithmetic, choices, elementary, reductions, rounding, shapes, trigonometry

ROOMS = (arithmetic, choices, elementary, reductions, rounding, shapes, trigonometry)  # whose functions there are first

FUNCTIONS.update({
    name: FUNCTIONS[known]
    for known, names in {
        "sub": "subtract", "mul": "multiply", "div": "divide true_divide", "neg": "negative", "copy": "positive",
        "pow": "power", "abs": "absolute", "remainder": "mod", "deg2rad": "radians", "rad2deg": "degrees",
        "max": "amax", "min": "amin", "round": "around", "trunc": "fix", "arcsin": "asin", "arccos": "acos",
        "arctan": "atan", "arctan2": "atan2", "arcsinh": "asinh", "arccosh": "acosh", "arctanh": "atanh",
        "eq": "equal", "ne": "not_equal", "lt": "less", "le": "less_equal", "gt": "greater", "ge": "greater_equal",
        "concatenate": "concat", "transpose": "permute_dims",
    }.items()
    for name in names.split()
})  # fmt: skip
