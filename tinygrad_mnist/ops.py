"""The table of derivatives: for each op what it computes, and for each of its inputs one rule of calculus.

A rule answers: given `g`, the gradient of the loss with respect to the op's output, what is the gradient with respect
to this input? (Mathematicians call it a vector-Jacobian product, vjp.) It is called as
`rule(g, out, *inputs, **params)` and is written with operators, methods of arrays and functions of this table only. So
the same rule *computes* when given arrays, and *records* a graph of its own when given Tensors, from which derivatives
of any order follow.

(`sum`, `max`, `min`, `abs` and `pow` are ops from here on; Python's own are in `builtins`. A row whose rule refers to
the row itself, or to a later one, is annotated `: OpFunction`.)

No rule undoes broadcasting (the backward driver does, for all of them), and no rule writes into an array it was given.
How an op is made: `define.py`. How operators, methods and NumPy's own functions reach the table: `interop.py`.
"""

from __future__ import annotations

import builtins
import math
import operator
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from .define import OpFunction as OpFunction
from .define import binary as binary
from .define import ternary as ternary
from .define import unary as unary
from .define import variadic as variadic
from .op import NONZERO as NONZERO
from .op import OPS as OPS
from .op import POSITIVE as POSITIVE
from .op import REALS as REALS
from .op import Domain as Domain
from .op import Op as Op
from .tensor import Array, Operand, Tensor, mode

# ----------------------------------------------------------------------------------------------------------------------
# Arithmetic, broadcasting as NumPy does. (The table is aligned by hand.)
# fmt: off

add = binary("add", np.add,
             lambda g, out, x, y: g,                                       # d(x + y)/dx = 1
             lambda g, out, x, y: g,
             sign="+", doc="x + y")
sub = binary("sub", np.subtract,
             lambda g, out, x, y: g,
             lambda g, out, x, y: -g,
             sign="−", doc="x - y")
mul = binary("mul", np.multiply,
             lambda g, out, x, y: g * y,
             lambda g, out, x, y: g * x,
             sign="×", doc="x y, elementwise")
div = binary("div", np.divide,
             lambda g, out, x, y: g / y,
             lambda g, out, x, y: -g * out / y,                            # -x / y^2 = -out / y
             sign="÷", domain=(REALS, NONZERO), doc="x / y")
neg = unary("neg", np.negative,
            lambda g, out, x: -g,
            sign="−", doc="-x")
copy = unary("copy", lambda x: np.array(x),
             lambda g, out, x: g,
             numpy=(np.copy,), doc="the values of x in memory of their own")
astype: OpFunction = unary("astype", lambda x, dtype: np.asarray(x).astype(dtype),
               lambda g, out, x, dtype: astype(g, dtype=x.dtype),
               doc="x converted to another floating dtype; conversion to integers and booleans has no derivative")


def _pow_dx(g: Any, out: Any, x: Any, y: Any) -> Any:
    # y x^(y-1); at x = y = 0 with the exponent 0, since 0 * 0^-1 would be NaN where the derivative is 0.
    if isinstance(y, int | float):
        if y == 2:
            return g * (2 * x)
        return g * (y * x ** (y - 1 if y != 0 else 0))
    return g * (y * x ** where((x == 0) & (y == 0), 0, y - 1))


def _pow_dy(g: Any, out: Any, x: Any, y: Any) -> Any:
    # x^y ln x, for x > 0. At x = 0, y >= 0 by convention 0 (0 * ln 0 would be NaN); x < 0 has no derivative in y: NaN.
    if isinstance(x, int | float):
        return g * (out * (math.log(x) if x > 0 else 0.0 if x == 0 else math.nan))
    return g * (out * log(where(x > 0, x, where(x == 0, 1, math.nan))))


pow = binary("pow", operator.pow, _pow_dx, _pow_dy,
             numpy=(np.power,), sign="x ** y", domain=(POSITIVE, REALS), doc="x to the power of y")

# ----------------------------------------------------------------------------------------------------------------------
# Functions of one number

exp = unary("exp", np.exp,
            lambda g, out, x: g * out,
            doc="e^x")
log = unary("log", np.log,
            lambda g, out, x: g / x,
            sign="ln", domain=(POSITIVE,), doc="ln x, for x > 0")
sqrt = unary("sqrt", np.sqrt,
             lambda g, out, x: g * 0.5 / out,
             sign="√", domain=(POSITIVE,), doc="√x; its derivative at 0 is infinite")
tanh = unary("tanh", np.tanh,
             lambda g, out, x: g * (1 - out * out),
             doc="tanh x")


_ARRAYS = (np.ndarray, Tensor)  # made once: writing np.ndarray | Tensor below would take 0.2 µs at each call


def _real(x: Any) -> Any:
    """x, with integers as float64: unsigned ones cannot be negated."""
    return x if isinstance(x, _ARRAYS) and x.dtype.kind in "fc" else np.asarray(x, np.float64)


def _sigmoid(x: Array) -> Array:
    # Where exp(-x) overflows, 1 / (1 + inf) = 0 is right (to the smallest normal number). The form with tanh would lose
    # all digits at -20 in float32; the one with exp(-|x|) and where takes 5.4 µs against 3.7 (10 x 30 values).
    return 1 / (1 + mode.overflowing.run(np.exp, -_real(x)))


sigmoid = unary("sigmoid", _sigmoid,
                lambda g, out, x: g * (out * (1 - out)),
                sign="σ", doc="1 / (1 + e^-x)")
softplus = unary("softplus", lambda x: np.logaddexp(0, x),
                 lambda g, out, x: g * sigmoid(x),
                 doc="ln(1 + e^x), right at ±1000 too")

# ----------------------------------------------------------------------------------------------------------------------
# Choices. At a kink or tie a derivative is a convention: each is stated.


def _chosen(x: Any, out: Any) -> Any:
    """Where an extremum was taken from: x is equal to it, or is the NaN that it became."""
    return (x == out) | (x != x)


def _extremum_of_two_dx(g: Any, out: Any, x: Any, y: Any) -> Any:
    return where(_chosen(x, out), where(_chosen(y, out), g / 2, g), 0)


def _extremum_of_two_dy(g: Any, out: Any, x: Any, y: Any) -> Any:
    return _extremum_of_two_dx(g, out, y, x)


sign = unary("sign", np.sign, None, doc="-1, 0 or 1; no derivative")
abs = unary("abs", np.abs,
            lambda g, out, x: g * sign(x),
            sign="|·|", domain=(NONZERO,), doc="|x|; abs'(0) = 0")
relu = unary("relu", lambda x: np.maximum(x, 0),
             lambda g, out, x: where(x <= 0, 0, g),
             domain=(NONZERO,), doc="max(x, 0); relu'(0) = 0")
leaky_relu = unary("leaky_relu", lambda x, slope=0.01: np.where(x > 0, x, slope * x),
                   lambda g, out, x, slope: where(x > 0, g, slope * g),
                   domain=(NONZERO,), doc="x for x > 0, else slope x; leaky_relu'(0) = slope")
maximum = binary("maximum", np.maximum,
                 _extremum_of_two_dx, _extremum_of_two_dy,
                 sign="max", doc="the larger of x and y; ties split the gradient equally, and a NaN gets it")
minimum = binary("minimum", np.minimum,
                 _extremum_of_two_dx, _extremum_of_two_dy,
                 sign="min", doc="the smaller of x and y; ties split the gradient equally, and a NaN gets it")
where: OpFunction = ternary("where", lambda condition, x, y: np.where(condition, x, y),
                None,
                lambda g, out, condition, x, y: where(condition, g, 0),
                lambda g, out, condition, x, y: where(condition, 0, g),
                numpy=(np.where,), doc="""x where the condition holds, else y: the branch not taken gets gradient 0.

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

for _name, _ufunc, _sign in (("eq", np.equal, "="), ("ne", np.not_equal, "≠"), ("lt", np.less, "<"),
                             ("le", np.less_equal, "≤"), ("gt", np.greater, ">"), ("ge", np.greater_equal, "≥"),
                             ("bitwise_and", np.bitwise_and, "∧"), ("bitwise_or", np.bitwise_or, "∨"),
                             ("logical_and", np.logical_and, "∧"), ("logical_or", np.logical_or, "∨")):
    binary(_name, _ufunc, None, None, sign=_sign, doc=f"{_ufunc.__name__}, elementwise; no derivative")
logical_not = unary("logical_not", np.logical_not, None, sign="¬", doc="whether x is 0; no derivative")
invert = unary("invert", np.invert, None, sign="¬", doc="not x, elementwise; no derivative")

# ----------------------------------------------------------------------------------------------------------------------
# Matrices


def _matmul_dx(g: Any, out: Any, x: Any, y: Any) -> Any:
    if y.ndim == 1:
        return g[..., None] * y                     # out_i = Σ_k x_ik y_k
    if x.ndim == 1:
        return (y @ g[..., None])[..., 0]           # out_j = Σ_k x_k y_kj
    return g @ y.mT                                 # out_ij = Σ_k x_ik y_kj


def _matmul_dy(g: Any, out: Any, x: Any, y: Any) -> Any:
    if x.ndim == 1:
        return x * g if y.ndim == 1 else x[:, None] * g[..., None, :]
    if y.ndim == 1:
        return (x.mT @ g[..., None])[..., 0]
    return x.mT @ g


def _linear(x: Array, weight: Array, bias: Array) -> Array:
    product = x @ weight
    result = product + bias
    if weight.ndim != 2 or result.shape != product.shape:
        raise ValueError("expected a weight of shape (n_in, n_out) and a bias that broadcasts to x @ weight")
    return result


def _linear_dweight(g: Any, out: Any, x: Any, weight: Any, bias: Any) -> Any:
    if x.ndim != 2:  # all examples one below the other
        rows = math.prod(x.shape[:-1])
        x, g = x.reshape(rows, x.shape[-1]), g.reshape(rows, g.shape[-1])
    return x.T @ g


matmul = binary("matmul", np.matmul, _matmul_dx, _matmul_dy,
                sign="@", domain=None, doc="the matrix product x y, of vectors, matrices or stacks of matrices")
linear = ternary("linear", _linear,
                 lambda g, out, x, weight, bias: g @ weight.T,
                 _linear_dweight,
                 lambda g, out, x, weight, bias: g,
                 sign="x W + b", domain=None, doc="x @ weight + bias in one node, as a layer computes it")

# ----------------------------------------------------------------------------------------------------------------------
# Reductions over an axis, several (a tuple) or all (None)


def _kept(array: Any, x: Any, axis: Any, keepdims: bool) -> Any:
    """A result of reducing x, with the reduced axes kept as axes of size 1 so that it broadcasts against x."""
    if keepdims or axis is None:
        return array
    reduced = {a % builtins.max(x.ndim, 1) for a in (axis if isinstance(axis, tuple) else (axis,))}
    return array.reshape(tuple(1 if i in reduced else n for i, n in enumerate(x.shape)))


def _share(out: Any, x: Any) -> float:
    """1 / n, where each mean is of n elements."""
    return out.size / x.size if x.size else 1.0


def _extremum_dx(g: Any, out: Any, x: Any, axis: Any, keepdims: bool) -> Any:
    chosen = _chosen(x, _kept(out, x, axis, keepdims))
    return where(chosen, _kept(g, x, axis, keepdims) / sum(chosen, axis, True), 0)


def _top(x: Array, axis: Any) -> Array:
    """The maximum, which is subtracted before exp so that nothing overflows; 0 instead of an infinite one, or none."""
    if not x.size:
        return np.sum(x, axis, keepdims=True)
    top = np.max(x, axis, keepdims=True)
    return np.where(np.isfinite(top), top, 0)


def _logsumexp(x: Array, axis: Any = None, keepdims: bool = False) -> Array:
    x = _real(x)
    top = _top(x, axis)
    with np.errstate(divide="ignore"):  # ln 0 = -inf is right where all are -inf
        result = np.log(np.sum(np.exp(x - top), axis, keepdims=True)) + top
    return result if keepdims else np.squeeze(result, axis)


def _softmax(x: Array, axis: Any = -1) -> Array:
    x = _real(x)
    powers = np.exp(x - _top(x, axis))
    return powers / np.sum(powers, axis, keepdims=True)


def _log_softmax(x: Array, axis: Any = -1) -> Array:
    # x - logsumexp(x) would lose the digits of ln Σ when x is large: at 10^4 in float32 all but three.
    x = _real(x)
    shifted = x - _top(x, axis)
    if not x.size:
        return shifted
    return shifted - np.log(np.sum(np.exp(shifted), axis, keepdims=True))


sum = unary("sum", lambda x, axis=None, keepdims=False: np.add.reduce(x, axis, keepdims=keepdims),
            lambda g, out, x, axis, keepdims: broadcast_to(_kept(g, x, axis, keepdims), x.shape),
            numpy=(np.sum,), sign="Σ", domain=None, doc="the sum over the axes")
mean = unary("mean", lambda x, axis=None, keepdims=False: np.mean(x, axis, keepdims=keepdims),
             lambda g, out, x, axis, keepdims: broadcast_to(_kept(g, x, axis, keepdims) * _share(out, x), x.shape),
             numpy=(np.mean,), domain=None, doc="the mean over the axes")
max = unary("max", lambda x, axis=None, keepdims=False: np.max(x, axis, keepdims=keepdims),
            _extremum_dx,
            numpy=(np.max, np.amax), domain=None,
            doc="the largest over the axes; ties split the gradient equally, and a NaN gets it")
min = unary("min", lambda x, axis=None, keepdims=False: np.min(x, axis, keepdims=keepdims),
            _extremum_dx,
            numpy=(np.min, np.amin), domain=None,
            doc="the smallest over the axes; ties split the gradient equally, and a NaN gets it")
logsumexp = unary("logsumexp", _logsumexp,
                  lambda g, out, x, axis, keepdims: _kept(g, x, axis, keepdims) * softmax(x, axis),
                  domain=None, doc="ln Σ e^x over the axes, right for large x too; of nothing ln 0 = -inf")
softmax: OpFunction = unary("softmax", _softmax,
                lambda g, out, x, axis: out * (g - sum(g * out, axis, True)),
                domain=None, doc="e^x / Σ e^x along the axis")
log_softmax = unary("log_softmax", _log_softmax,
                    lambda g, out, x, axis: g - exp(out) * sum(g, axis, True),
                    domain=None, doc="ln(e^x / Σ e^x) along the axis")

# ----------------------------------------------------------------------------------------------------------------------
# Shape and place


def _broadcast_to(x: Array, shape: Any) -> Array:
    # A real array: filling one takes 0.8 µs, making np.broadcast_to's view of repeated memory 2.8 µs (10 x 30 values).
    result = np.empty(shape, np.asarray(x).dtype)
    if result.ndim < np.ndim(x):
        raise ValueError(f"shape {np.shape(x)} has more axes than {result.shape}")
    result[...] = x
    return result


def _getitem(x: Array, *arrays: Array, index: tuple[Any, ...]) -> Array:
    return x[_filled(index, arrays)]


def _scatter(x: Array, *arrays: Array, index: tuple[Any, ...], shape: tuple[int, ...]) -> Array:
    result = np.zeros(shape, x.dtype)
    if arrays:
        np.add.at(result, _filled(index, arrays), x)
    else:
        result[index] = x
    return result


class _Array:
    """The place of an array in an index, which is an input of the op: x[[0, 0], 1:] has the index (ARRAY, 1:)."""

    def __repr__(self) -> str:
        return "array"


ARRAY = _Array()


def _filled(index: tuple[Any, ...], arrays: Sequence[Any]) -> tuple[Any, ...]:
    """The index with the arrays put back into their places."""
    places = iter(arrays)
    return tuple(next(places) if part is ARRAY else part for part in index)


def _join_place(arrays: Sequence[Any], position: int, axis: int) -> tuple[Any, ...]:
    start = builtins.sum(x.shape[axis] for x in arrays[:position])
    return (*[slice(None)] * (axis % arrays[0].ndim), slice(start, start + arrays[position].shape[axis]))


def _pad(x: Array, pad_width: Any, mode: str = "constant", constant_values: float = 0) -> Array:
    if mode != "constant":
        raise ValueError(f"expected mode 'constant', got {mode!r}")
    return np.pad(x, pad_width, "constant", constant_values=constant_values)


def _pad_widths(x: Any, pad_width: Any) -> list[tuple[int, int]]:
    return [(int(a), int(b)) for a, b in np.broadcast_to(pad_width, (x.ndim, 2))]


def _inverse(axes: Any, ndim: int) -> tuple[int, ...] | None:
    """The order of axes that undoes another."""
    return None if axes is None else tuple(np.argsort([a % ndim for a in np.atleast_1d(axes)]).tolist())


reshape = unary("reshape", lambda x, shape: np.reshape(x, shape),
                lambda g, out, x, shape: g.reshape(x.shape),
                numpy=(np.reshape,), view=True, domain=None, doc="the same values in another shape")
transpose: OpFunction = unary("transpose", lambda x, axes=None: np.transpose(x, axes),
                  lambda g, out, x, axes: transpose(g, _inverse(axes, x.ndim)),
                  numpy=(np.transpose,), sign="T", view=True, domain=None, doc="the axes in another order")
broadcast_to: OpFunction = unary("broadcast_to", _broadcast_to,
                     lambda g, out, x, shape: g,
                     numpy=(np.broadcast_to,), domain=None, doc="x repeated to a larger shape")
_take = variadic("getitem", _getitem,
                 lambda g, out, x, *arrays, position, index: scatter(g, *arrays, index=index, shape=x.shape),
                 sign="[ ]", view=True, doc="x[index]")
scatter: OpFunction = variadic("scatter", _scatter,
                   lambda g, out, x, *arrays, position, index, shape: _take(g, *arrays, index=index),
                   doc="zeros of a shape with x added at the index, the reverse of getitem; repeated places add up")
_concatenate = variadic("concatenate", lambda *arrays, axis=0: np.concatenate(arrays, axis),
                        lambda g, out, *arrays, position, axis: g[_join_place(arrays, position, axis)],
                        doc="arrays joined along an axis")
_stack = variadic("stack", lambda *arrays, axis=0: np.stack(arrays, axis),
                  lambda g, out, *arrays, position, axis: g[(*[slice(None)] * (axis % g.ndim), position)],
                  doc="arrays joined along a new axis")
pad = unary("pad", _pad,
            lambda g, out, x, pad_width, mode, constant_values:
                g[tuple(slice(a, a + n) for n, (a, _) in zip(x.shape, _pad_widths(x, pad_width), strict=True))],
            numpy=(np.pad,), domain=None, doc="x with constant borders around it")

# ----------------------------------------------------------------------------------------------------------------------
# Images: x of shape (..., channels, height, width)


def _pair(name: str, value: Any, least: int = 1) -> tuple[int, int]:
    pair = value if isinstance(value, tuple) else (value, value)
    if len(pair) != 2 or not all(isinstance(n, int) and n >= least for n in pair):
        raise ValueError(f"expected a {name} of one or two whole numbers of at least {least}, got {value!r}")
    return pair


def _windows(x: Array, size: Any, stride: Any = 1, padding: Any = 0) -> Array:
    (down, right), (high, wide) = _pair("stride", stride), _pair("padding", padding, 0)
    if high or wide:
        x = np.pad(x, [(0, 0)] * (x.ndim - 2) + [(high, high), (wide, wide)])
    return sliding_window_view(x, _pair("size", size), (-2, -1))[..., ::down, ::right, :, :]


def _fold(x: Array, shape: tuple[int, ...], size: Any, stride: Any = 1, padding: Any = 0) -> Array:
    (down, right), (high, wide) = _pair("stride", stride), _pair("padding", padding, 0)
    *stack, height, width = shape
    rows, columns = x.shape[-4:-2]
    result = np.zeros((*stack, height + 2 * high, width + 2 * wide), x.dtype)
    for i, j in np.ndindex(_pair("size", size)):
        result[..., i : i + down * rows : down, j : j + right * columns : right] += x[..., i, j]
    return result[..., high : high + height, wide : wide + width]


def _conv2d(x: Array, kernel: Array, stride: Any = 1, padding: Any = 0) -> Array:
    if x.ndim != 4 or kernel.ndim != 4 or x.shape[1] != kernel.shape[1]:
        raise ValueError("expected images (n, channels, h, w) and kernels (k, channels, i, j)")
    patches = _windows(x, kernel.shape[2:], stride, padding)               # n, channels, rows, columns, i, j
    return np.moveaxis(np.tensordot(patches, kernel, ((1, 4, 5), (1, 2, 3))), -1, 1)


def _conv2d_dx(g: Any, out: Any, x: Any, kernel: Any, stride: Any, padding: Any) -> Any:
    (n, k, rows, columns), (_, *patch) = g.shape, kernel.shape
    patches = g.transpose(0, 2, 3, 1).reshape(-1, k) @ kernel.reshape(k, -1)
    patches = patches.reshape(n, rows, columns, *patch).transpose(0, 3, 1, 2, 4, 5)
    return fold(patches, x.shape, kernel.shape[2:], stride, padding)


def _conv2d_dkernel(g: Any, out: Any, x: Any, kernel: Any, stride: Any, padding: Any) -> Any:
    patches = windows(x, kernel.shape[2:], stride, padding).transpose(0, 2, 3, 1, 4, 5)
    weights = g.transpose(1, 0, 2, 3).reshape(len(kernel), -1) @ patches.reshape(-1, kernel[0].size)
    return weights.reshape(kernel.shape)


def _max_pool2d(x: Array, size: Any = 2, stride: Any = None) -> Array:
    return _windows(x, size, size if stride is None else stride).max((-2, -1))


def _max_pool2d_dx(g: Any, out: Any, x: Any, size: Any, stride: Any) -> Any:
    step = size if stride is None else stride
    chosen = astype(_chosen(windows(x, size, step), out[..., None, None]), g.dtype)
    return fold(g[..., None, None] * chosen / sum(chosen, (-2, -1), True), x.shape, size, step)


windows = unary("windows", _windows,
                lambda g, out, x, size, stride, padding: fold(g, x.shape, size, stride, padding),
                view=True, domain=None, doc="every window of a size: (..., h, w) -> (..., rows, columns, i, j)")
fold: OpFunction = unary("fold", _fold,
             lambda g, out, x, shape, size, stride, padding: windows(g, size, stride, padding),
             domain=None, doc="windows added up where they came from, the reverse of windows")
conv2d = binary("conv2d", _conv2d, _conv2d_dx, _conv2d_dkernel,
                sign="conv(x, W)", domain=None,
                doc="the cross-correlation of images (n, channels, h, w) with kernels (k, channels, i, j)")
max_pool2d = unary("max_pool2d", _max_pool2d, _max_pool2d_dx,
                   domain=None, doc="the largest of each window; ties split the gradient equally, and a NaN gets it")

# fmt: on
# ----------------------------------------------------------------------------------------------------------------------
# Functions whose arguments are not simply the op's inputs


def getitem(x: Tensor, index: Any) -> Tensor:
    """x[index]: slices, integers, None, integer and boolean arrays; a place that is taken twice gets both gradients."""
    parts, arrays = [], []
    for part in index if isinstance(index, tuple) else (index,):
        if not (part is None or part is ... or isinstance(part, slice | int | np.integer | np.bool)):
            if not isinstance(part, np.ndarray | Tensor):  # a list, or whatever else NumPy takes for one
                part = np.asarray(part, dtype=int if isinstance(part, list | tuple) and np.size(part) == 0 else None)
            if part.dtype.kind not in "iub":
                raise IndexError(
                    f"getitem: expected integers, slices, None, or arrays of integers or booleans, got {part!r:.60}"
                )
            arrays.append(part)
            part = ARRAY
        parts.append(part)
    return _take(x, *arrays, index=tuple(parts))


def concatenate(arrays: Sequence[Operand], axis: int | None = 0) -> Any:
    """Join arrays along an axis they have; with None, flat."""
    if axis is None:
        arrays, axis = [reshape(x, -1) for x in arrays], 0
    return _joined(_concatenate, arrays, axis)


def stack(arrays: Sequence[Operand], axis: int = 0) -> Any:
    """Join arrays of one shape along a new axis."""
    return _joined(_stack, arrays, axis)


_MANY = 32


def _joined(join: OpFunction, arrays: Sequence[Operand], axis: int) -> Any:
    """Many arrays are joined in groups, and the groups likewise: a node of n inputs costs n² in its backward pass.

    (Each of its n rules is called with all of them, and each part of the gradient is put into a whole one when it is
    differentiated again.)
    """
    arrays = list(arrays)
    if len(arrays) <= _MANY:
        return join(*arrays, axis=axis)
    groups = [arrays[i : i + _MANY] for i in range(0, len(arrays), _MANY)]
    return concatenate([join(*group, axis=axis) for group in groups], axis)


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
    dtype = x.dtype if isinstance(x, _ARRAYS) else np.asarray(x).dtype
    if dtype.kind in "iu":
        lowest, highest = np.iinfo(dtype).min, np.iinfo(dtype).max
    return _clip(x, lowest if a_min is None else a_min, highest if a_max is None else a_max)
