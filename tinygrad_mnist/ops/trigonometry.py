"""Angles, triangles, and their hyperbolic counterparts. A slope that the textbook writes with x² does not overflow."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tinygrad_mnist.op import NONZERO, POSITIVE, REALS, Domain, OpFunction, binary, unary

from .choices import abs, where
from .elementary import sqrt

_INSIDE = Domain(-0.875, 0.875)


def _by_radius(x: Any, y: Any, length: Any) -> Any:
    """A length over the distance of a point from the origin; 0 at the origin, which has no direction."""
    radius = hypot(x, y)
    return where(radius == 0, 0, length / where(radius == 0, 1, radius))


_SINC = [(-1) ** k * 2 * k * math.pi ** (2 * k) / math.factorial(2 * k + 1) for k in range(1, 12)]
"""Of the series of sinc'(x) the coefficients of x, x³, x⁵, ..."""


def _sinc_dx(g: Any, out: Any, x: Any) -> Any:
    # (cos πx - sinc x) / x; near 0, where that difference has no digits, the series.
    near = abs(x) < 0.375
    small, series = where(near, x, 0), 0.0
    for coefficient in reversed(_SINC):
        series = series * (small * small) + coefficient
    return g * where(near, small * series, (cos(math.pi * x) - out) / where(near, 1, x))


# fmt: off
sin = unary("sin", np.sin,
            lambda g, out, x: g * cos(x),
            c="M_LIBM(sin, {x})", doc="sin x")
cos: OpFunction = unary("cos", np.cos,
            lambda g, out, x: -g * sin(x),
            c="M_LIBM(cos, {x})", doc="cos x")
tan = unary("tan", np.tan,
            lambda g, out, x: g * (1 + out * out),
            domain=(Domain(-1.25, 1.25),), c="M_LIBM(tan, {x})", doc="tan x")
sinh = unary("sinh", np.sinh,
             lambda g, out, x: g * cosh(x),
             c="M_LIBM(sinh, {x})", doc="sinh x")
cosh: OpFunction = unary("cosh", np.cosh,
             lambda g, out, x: g * sinh(x),
             c="M_LIBM(cosh, {x})", doc="cosh x")
sinc = unary("sinc", lambda x: np.sinc(x), _sinc_dx,
             numpy=(np.sinc,), doc="sin πx / πx, 1 at 0")
hypot: OpFunction = binary("hypot", np.hypot,
               lambda g, out, x, y: g * _by_radius(x, y, x),
               lambda g, out, x, y: g * _by_radius(x, y, y),
               domain=(REALS, NONZERO), c="M_LIBM2(hypot, {x}, {y})",
               doc="√(x² + y²), right where x² overflows; its derivatives at the origin are 0")
arcsin = unary("arcsin", np.arcsin,
               lambda g, out, x: g / sqrt((1 - x) * (1 + x)),
               domain=(_INSIDE,), c="M_LIBM(asin, {x})", doc="the angle with sine x; its derivative at ±1 is infinite")
arccos = unary("arccos", np.arccos,
               lambda g, out, x: -g / sqrt((1 - x) * (1 + x)),
               domain=(_INSIDE,), c="M_LIBM(acos, {x})",
               doc="the angle with cosine x; its derivative at ±1 is infinite")
arctan = unary("arctan", np.arctan,
               lambda g, out, x: g / hypot(1, x) / hypot(1, x),
               c="M_LIBM(atan, {x})", doc="the angle with tangent x")
arctan2 = binary("arctan2", np.arctan2,
                 lambda g, out, y, x: g * _by_radius(x, y, _by_radius(x, y, x)),
                 lambda g, out, y, x: -g * _by_radius(x, y, _by_radius(x, y, y)),
                 domain=(REALS, POSITIVE),
                 c="M_LIBM2(atan2, {x}, {y})",
                 doc="the angle of the point (x, y), of which y comes first; its derivatives at the origin are 0")
arcsinh = unary("arcsinh", np.arcsinh,
                lambda g, out, x: g / hypot(1, x),
                c="M_LIBM(asinh, {x})", doc="the number with sinh x")
arccosh = unary("arccosh", np.arccosh,
                lambda g, out, x: g / sqrt(x - 1) / sqrt(x + 1),
                domain=(Domain(1.25, 4),), c="M_LIBM(acosh, {x})",
                doc="the number >= 0 with cosh x; its derivative at 1 is infinite")
arctanh = unary("arctanh", np.arctanh,
                lambda g, out, x: g / ((1 - x) * (1 + x)),
                domain=(_INSIDE,), c="M_LIBM(atanh, {x})",
                doc="the number with tanh x; its derivative at ±1 is infinite")
deg2rad: OpFunction = unary("deg2rad", np.deg2rad,
                lambda g, out, x: deg2rad(g),
                numpy=(np.radians,), doc="degrees as radians: x π / 180")
rad2deg: OpFunction = unary("rad2deg", np.rad2deg,
                lambda g, out, x: rad2deg(g),
                numpy=(np.degrees,), doc="radians as degrees: x 180 / π")
