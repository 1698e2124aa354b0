"""Choices and comparisons. At a kink or tie a derivative is a convention: each is stated."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from tinygrad_mnist.composed import composed
from tinygrad_mnist.op import NONZERO, OpFunction, binary, publish, ternary, unary
from tinygrad_mnist.tensor import Operand, Tensor


def chosen(x: Any, out: Any) -> Any:
    """Where an extremum was taken from: x is equal to it, or is the NaN that it became."""
    return (x == out) | (x != x)


def _extremum_of_two_dx(g: Any, out: Any, x: Any, y: Any) -> Any:
    return where(chosen(x, out), where(chosen(y, out), g / 2, g), 0)


def _extremum_of_two_dy(g: Any, out: Any, x: Any, y: Any) -> Any:
    return _extremum_of_two_dx(g, out, y, x)


def _number_of_two_dx(g: Any, out: Any, x: Any, y: Any) -> Any:
    return where(x == out, where(y == out, g / 2, g), 0)


def _number_of_two_dy(g: Any, out: Any, x: Any, y: Any) -> Any:
    return _number_of_two_dx(g, out, y, x)


# fmt: off
sign = unary("sign", np.sign, None, doc="-1, 0 or 1; no derivative")
abs = unary("abs", np.abs,
            lambda g, out, x: g * sign(x),
            sign="|·|", domain=(NONZERO,), c="ABS({x})", doc="|x|; abs'(0) = 0")
relu = unary("relu", lambda x: np.maximum(x, 0),
             lambda g, out, x: where(x <= 0, 0, g),
             domain=(NONZERO,), doc="max(x, 0); relu'(0) = 0")
leaky_relu = unary("leaky_relu", lambda x, slope=0.01: np.where(x > 0, x, slope * x),
                   lambda g, out, x, slope: where(x > 0, g, slope * g),
                   domain=(NONZERO,), doc="x for x > 0, else slope x; leaky_relu'(0) = slope")
maximum = binary("maximum", np.maximum,
                 _extremum_of_two_dx, _extremum_of_two_dy,
                 sign="max", c="({x} > {y} || {x} != {x} ? {x} : {y})",
                 doc="the larger of x and y; ties split the gradient equally, and a NaN gets it")
minimum = binary("minimum", np.minimum,
                 _extremum_of_two_dx, _extremum_of_two_dy,
                 sign="min", c="({x} < {y} || {x} != {x} ? {x} : {y})",
                 doc="the smaller of x and y; ties split the gradient equally, and a NaN gets it")
fmax = binary("fmax", np.fmax,
              _number_of_two_dx, _number_of_two_dy,
              c="M_LIBM2(fmax, {x}, {y})",
              doc="the larger of x and y, but for NaN the other one; ties split the gradient equally, a NaN gets none")
fmin = binary("fmin", np.fmin,
              _number_of_two_dx, _number_of_two_dy,
              c="M_LIBM2(fmin, {x}, {y})",
              doc="the smaller of x and y, but for NaN the other one; ties split the gradient equally, a NaN gets none")
copysign: OpFunction = binary("copysign", np.copysign,
                  lambda g, out, x, y: where(copysign(1, y) > 0, g, -g) * sign(x),
                  None,
                  domain=(NONZERO, NONZERO), c="M_LIBM2(copysign, {x}, {y})",
                  doc="|x| with the sign of y; no derivative in y, and 0 at x = 0")
heaviside = binary("heaviside", np.heaviside,
                   None,
                   lambda g, out, x, y: where(x == 0, g, 0),
                   doc="0 for x < 0, 1 for x > 0, and y at 0; no derivative in x")
where: OpFunction = ternary("where", lambda condition, x, y: np.where(condition, x, y),
                None,
                lambda g, out, condition, x, y: where(condition, g, 0),
                lambda g, out, condition, x, y: where(condition, 0, g),
                numpy=(np.where,), c="({x} ? {y} : {z})",
                doc="""x where the condition holds, else y: the branch not taken gets gradient 0.

    But 0 times the infinite slope inside that branch is NaN: where(x > 0, sqrt(x), 0) has the gradient NaN at 0. Choose
    the operand first, as in where(x > 0, sqrt(where(x > 0, x, 1)), 0).""")


def _clipped(x: Any, a_min: Any, a_max: Any) -> Any:
    if isinstance(x, int | float):  # of which np.clip would make a float64
        x = np.asarray(x, np.result_type(x, a_min, a_max))
    return np.clip(x, a_min, a_max)


_clip = ternary("clip", _clipped,
                lambda g, out, x, a_min, a_max: where(out == x, g, 0),     # on the border: x
                lambda g, out, x, a_min, a_max: where((out == x) | (out == a_max), 0, where(out == a_min, g, 0)),
                lambda g, out, x, a_min, a_max: where(out == x, 0, where(out == a_max, g, 0)),
                doc="min(max(x, a_min), a_max); on a border the gradient goes to x")

for _name, _ufunc, _sign, _c in (("eq", np.equal, "=", "=="), ("ne", np.not_equal, "≠", "!="),
                                 ("lt", np.less, "<", "<"), ("le", np.less_equal, "≤", "<="),
                                 ("gt", np.greater, ">", ">"), ("ge", np.greater_equal, "≥", ">="),
                                 ("bitwise_and", np.bitwise_and, "∧", "&"), ("bitwise_or", np.bitwise_or, "∨", "|"),
                                 ("bitwise_xor", np.bitwise_xor, "⊕", "^"),
                                 ("logical_and", np.logical_and, "∧", "&&"), ("logical_or", np.logical_or, "∨", "||")):
    binary(_name, _ufunc, None, None, sign=_sign, c=f"({{x}} {_c} {{y}})",
           doc=f"{_ufunc.__name__}, elementwise; no derivative")
logical_not = unary("logical_not", np.logical_not, None, sign="¬", doc="whether x is 0; no derivative")
invert = unary("invert", np.invert, None, sign="¬", doc="not x, elementwise; no derivative")
# fmt: on


@composed(None, np.clip)
def clip(
    x: Operand,
    a_min: Operand | None = None,
    a_max: Operand | None = None,
    *,
    min: Operand | None = None,
    max: Operand | None = None,
) -> Any:
    """min(max(x, a_min), a_max), where None is no bound; on a border the gradient goes to x.

    `min` and `max` are NumPy's newer names of the bounds.
    """
    if (a_min is not None and min is not None) or (a_max is not None and max is not None):
        raise TypeError("clip: a bound is given twice; use a_min and a_max, or min and max")
    a_min, a_max = (min if a_min is None else a_min), (max if a_max is None else a_max)
    lowest, highest = -math.inf, math.inf
    dtype = x.dtype if isinstance(x, np.ndarray | Tensor) else np.asarray(x).dtype
    if dtype.kind in "iu":
        lowest, highest = np.iinfo(dtype).min, np.iinfo(dtype).max
    return _clip(x, lowest if a_min is None else a_min, highest if a_max is None else a_max)


def select(condlist: Sequence[Any], choicelist: Sequence[Operand], default: Operand = 0) -> Any:
    """Of several choices the first whose condition holds; as with `where` the others get gradient 0."""
    if len(condlist) != len(choicelist) or not len(condlist):
        raise ValueError(f"select: expected as many choices as conditions, got {len(choicelist)} and {len(condlist)}")
    if any(c.dtype != bool for c in (x if isinstance(x, Tensor) else np.asarray(x) for x in condlist)):
        raise TypeError("select: expected conditions that are true or false; compare first, as in x > 0")
    selected: Any = default
    for condition, choice in zip(reversed(condlist), reversed(choicelist), strict=True):
        selected = where(condition, choice, selected)
    return selected


publish(select, np.select)
