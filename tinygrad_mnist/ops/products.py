"""Products of all kinds, of vectors, matrices and arrays of more axes."""

from __future__ import annotations

import functools
import math
import string
from collections.abc import Sequence
from typing import Any

import numpy as np

from tinygrad_mnist.composed import composed, together
from tinygrad_mnist.convert import described
from tinygrad_mnist.op import OpFunction, variadic
from tinygrad_mnist.tensor import Operand

from .choices import where
from .decompositions import inv
from .images import windows
from .matrices import matmul
from .moves import diagonal, moveaxis
from .reductions import sum as sum_over
from .shapes import broadcast_to, pad, reshape, transpose


def _einsum_rule(g: Any, out: Any, *arrays: Any, position: int, subscripts: str, optimize: Any) -> Any:
    """What is given stands in the place of the operand, and the operand in that of the result."""
    inputs, result = subscripts.split("->")
    terms = inputs.split(",")
    wanted, terms[position] = terms[position], result
    x = arrays[position]
    others = (*arrays[:position], g, *arrays[position + 1 :])
    part = _einsum(*others, subscripts=f"{','.join(terms)}->{wanted}", optimize=optimize)
    shape = np.broadcast_shapes(part.shape, x.shape)  # where the others have size 1
    return part if part.shape == shape else broadcast_to(part, shape)


# fmt: off
_einsum: OpFunction = variadic("einsum",
                   lambda *arrays, subscripts, optimize=False: np.einsum(subscripts, *arrays, optimize=optimize),
                   _einsum_rule,
                   sign="Σ", view=True,
                   doc="sums of products along named axes; each name is in the result or in two operands")
# fmt: on


@composed(np.einsum)
def einsum(subscripts: Any, *operands: Any, optimize: Any = False) -> Any:
    """Sums of products along named axes, in Einstein's notation: einsum("ij,jk->ik", x, y) is x @ y.

    Instead of letters there may be numbers: einsum(x, [0, 1], y, [1, 2], [0, 2]) is the same.
    """
    if not isinstance(subscripts, str):
        subscripts, operands = _from_lists([subscripts, *operands])
    arrays = together(*operands)
    terms, result = _named(subscripts.replace(" ", ""), [x.ndim for x in arrays])
    for i, x in enumerate(arrays):
        term, others = terms[i], result + "".join(terms[:i] + terms[i + 1 :])
        for name in sorted(set(term)):
            while term.count(name) > 1:  # the diagonal
                first = term.index(name)
                second = term.index(name, first + 1)
                if x.shape[first] != x.shape[second]:
                    raise ValueError(f"axes of one name, {name!r}, differ in size in an operand of shape {x.shape}")
                x = diagonal(x, 0, first, second)
                term = term[:first] + term[first + 1 : second] + term[second + 1 :] + name
        alone = tuple(k for k, name in enumerate(term) if name not in others)
        arrays[i] = sum_over(x, alone) if alone else x
        terms[i] = "".join(name for name in term if name in others)
    return _einsum(*arrays, subscripts=f"{','.join(terms)}->{result}", optimize=optimize)


def _from_lists(given: list[Any]) -> tuple[str, tuple[Any, ...]]:
    """The subscripts and the operands of einsum's other form, in which a list of numbers follows each operand."""
    result = f"->{_letters(given.pop())}" if len(given) % 2 else ""
    return ",".join(map(_letters, given[1::2])) + result, tuple(given[::2])


def _letters(axes: Any) -> str:
    if not isinstance(axes, list | tuple) or not all(i is ... or (isinstance(i, int) and 0 <= i < 52) for i in axes):
        raise TypeError("expected a text such as 'ij,jk->ik' first, or a list of numbers after each operand")
    return "".join("..." if i is ... else string.ascii_letters[(i + 26) % 52] for i in axes)  # A is before a


def _named(subscripts: str, dims: Sequence[int]) -> tuple[list[str], str]:
    """The names of all axes of the operands and of the result, those of ... and of a result not said among them."""
    inputs, arrow, result = subscripts.partition("->")
    terms = inputs.split(",")
    if len(terms) != len(dims):
        raise ValueError(f"{len(terms)} terms in {subscripts!r} for {len(dims)} operands; give each operand a term")
    spare = [name for name in string.ascii_letters if name not in subscripts]
    more = [n - len(term.replace("...", "")) for term, n in zip(terms, dims, strict=True)]
    if any(n < 0 or (n and "..." not in term) for term, n in zip(terms, more, strict=True)):
        raise ValueError(f"the terms of {subscripts!r} do not fit operands of {', '.join(map(str, dims))} axes")
    widest = max(more)
    dots = "".join(spare[:widest])
    terms = [term.replace("...", dots[widest - n :]) for term, n in zip(terms, more, strict=True)]
    if not arrow:
        result = "..." + "".join(sorted(name for name in set(inputs) - {".", ","} if inputs.count(name) == 1))
    if dots and "..." not in result:
        raise ValueError(f"the result of {subscripts!r} lacks the axes of ...; write them there, or name them")
    return terms, result.replace("...", dots)


@composed(np.tensordot, np.linalg.tensordot)
def tensordot(a: Operand, b: Operand, axes: Any = 2) -> Any:
    """The sum of products over pairs of axes: so many last ones of a and first ones of b, or those that are named."""
    x, y = together(a, b)
    if isinstance(axes, int | np.integer):
        axes = (range(x.ndim - axes, x.ndim), range(axes))
    over_x, over_y = (
        [int(axis) for axis in np.atleast_1d(list(one) if isinstance(one, range) else one)] for one in axes
    )
    over_x, over_y = (
        [np.lib.array_utils.normalize_axis_index(axis, z.ndim) for axis in over]
        for z, over in ((x, over_x), (y, over_y))
    )
    summed = [x.shape[i] for i in over_x]
    if summed != [y.shape[i] for i in over_y]:
        raise ValueError(f"axes {over_x} of shape {x.shape} and axes {over_y} of shape {y.shape} differ in size")
    free_x, free_y = ([i for i in range(z.ndim) if i not in over] for z, over in ((x, over_x), (y, over_y)))
    rows, columns = [x.shape[i] for i in free_x], [y.shape[i] for i in free_y]
    left = reshape(transpose(x, (*free_x, *over_x)), (math.prod(rows), math.prod(summed)))
    right = reshape(transpose(y, (*over_y, *free_y)), (math.prod(summed), math.prod(columns)))
    return reshape(left @ right, (*rows, *columns))


@composed(np.dot)
def dot(a: Operand, b: Operand) -> Any:
    """The product of vectors or matrices, or by a number; of more axes the sum over a's last and b's last but one."""
    x, y = together(a, b)
    if x.ndim == 0 or y.ndim == 0:
        return x * y
    return matmul(x, y) if x.ndim <= 2 and y.ndim <= 2 else tensordot(x, y, (-1, max(y.ndim - 2, 0)))


@composed(np.inner)
def inner(a: Operand, b: Operand) -> Any:
    """The sum of products over the last axes; of a number and an array their product."""
    x, y = together(a, b)
    return x * y if x.ndim == 0 or y.ndim == 0 else tensordot(x, y, (-1, -1))


@composed(np.vdot)
def vdot(a: Operand, b: Operand) -> Any:
    """The sum of products of all elements."""
    x, y = together(a, b)
    return reshape(x, -1) @ reshape(y, -1)


@composed(np.outer, np.linalg.outer)
def outer(a: Operand, b: Operand) -> Any:
    """The products of every element of one with every element of the other, as a matrix."""
    x, y = together(a, b)
    return reshape(x, (-1, 1)) * reshape(y, (1, -1))


@composed(np.kron)
def kron(a: Operand, b: Operand) -> Any:
    """The Kronecker product: every element of a times all of b, as blocks."""
    x, y = together(a, b)
    ndim = max(x.ndim, y.ndim)
    outside, inside = ((1,) * (ndim - z.ndim) + z.shape for z in (x, y))
    x = reshape(x, tuple(n for pair in zip(outside, (1,) * ndim, strict=True) for n in pair))
    y = reshape(y, tuple(n for pair in zip((1,) * ndim, inside, strict=True) for n in pair))
    return reshape(x * y, tuple(n * m for n, m in zip(outside, inside, strict=True)))


@composed(np.cross, np.linalg.cross)
def cross(a: Operand, b: Operand, axisa: int = -1, axisb: int = -1, axisc: int = -1, axis: int | None = None) -> Any:
    """The cross product of vectors of three numbers."""
    if axis is not None:
        axisa = axisb = axisc = axis
    x, y = together(a, b)
    x, y = moveaxis(x, axisa, -1), moveaxis(y, axisb, -1)
    if x.shape[-1] != 3 or y.shape[-1] != 3:
        raise ValueError(f"expected vectors of three numbers, got {x.shape[-1]} and {y.shape[-1]}")
    after, before = [1, 2, 0], [2, 0, 1]
    product = x[..., after] * y[..., before] - x[..., before] * y[..., after]
    return moveaxis(product, -1, axisc)


@composed(np.vecdot, np.linalg.vecdot)
def vecdot(x1: Operand, x2: Operand, axis: int = -1) -> Any:
    """The sum of products of vectors along an axis."""
    x, y = together(x1, x2)
    return sum_over(moveaxis(x, axis, -1) * moveaxis(y, axis, -1), -1)


@composed(getattr(np, "matvec", None))
def matvec(x1: Operand, x2: Operand) -> Any:
    """Matrices times vectors."""
    x, y = together(x1, x2)
    if x.ndim < 2 or y.ndim < 1:
        raise ValueError(f"expected matrices and vectors, got shapes {x.shape} and {y.shape}")
    return (x @ y[..., None])[..., 0]


@composed(getattr(np, "vecmat", None))
def vecmat(x1: Operand, x2: Operand) -> Any:
    """Vectors times matrices."""
    x, y = together(x1, x2)
    if x.ndim < 1 or y.ndim < 2:
        raise ValueError(f"expected vectors and matrices, got shapes {x.shape} and {y.shape}")
    return (x[..., None, :] @ y)[..., 0, :]


def _correlated(long: Any, short: Any) -> Any:
    """The products of one vector with another wherever they overlap."""
    n = short.size
    return windows(pad(long, n - 1)[None], (1, n))[0, :, 0, :] @ short


def _cut(full: Any, lengths: tuple[int, int], mode: str) -> Any:
    """The part of a whole convolution that a mode asks for."""
    longer, shorter = max(lengths), min(lengths)
    starts = {"full": (0, longer + shorter - 1), "same": ((shorter - 1) // 2, longer)}
    starts["valid"] = shorter - 1, longer - shorter + 1
    if mode not in starts:
        raise ValueError(f"expected mode 'full', 'same' or 'valid', got {mode!r}")
    start, length = starts[mode]
    return full[start : start + length]


def _vectors(*operands: Any) -> list[Any]:
    vectors = [reshape(x, 1) if x.ndim == 0 else x for x in together(*operands)]
    if any(x.ndim != 1 or x.size == 0 for x in vectors):
        raise ValueError(f"expected vectors, got shapes {' and '.join(str(x.shape) for x in vectors)}")
    return vectors


@composed(np.convolve)
def convolve(a: Operand, v: Operand, mode: str = "full") -> Any:
    """The convolution of two vectors: the coefficients of the product of two polynomials."""
    x, y = _vectors(a, v)
    x, y = (y, x) if y.size > x.size else (x, y)
    return _cut(_correlated(x, y[::-1]), (x.size, y.size), mode)


@composed(np.correlate)
def correlate(a: Operand, v: Operand, mode: str = "valid") -> Any:
    """The products of a vector with another that is moved along it."""
    x, y = _vectors(a, v)
    swapped = y.size > x.size
    part = _cut(_correlated(y, x) if swapped else _correlated(x, y), (x.size, y.size), mode)
    return part[::-1] if swapped else part


@composed(np.linalg.multi_dot)
def multi_dot(arrays: Sequence[Operand]) -> Any:
    """The product of several matrices, the first and last of which may be vectors, in the cheapest order."""
    factors = together(*arrays)
    if len(factors) < 2:
        raise ValueError(f"expected at least two arrays, got {len(factors)}")
    sizes = [x.shape[0] if x.ndim == 2 else 1 if i == 0 else x.size for i, x in enumerate(factors)]
    sizes.append(factors[-1].shape[1] if factors[-1].ndim == 2 else 1)

    @functools.cache
    def cheapest(first: int, last: int) -> tuple[int, int]:
        """The least number of products for the factors from first to last, and after which of them to cut."""
        if first == last:
            return 0, first
        ends = sizes[first] * sizes[last + 1]
        return min(
            (cheapest(first, k)[0] + cheapest(k + 1, last)[0] + ends * sizes[k + 1], k) for k in range(first, last)
        )

    def product(first: int, last: int) -> Any:
        if first == last:
            return factors[first]
        k = cheapest(first, last)[1]
        return matmul(product(first, k), product(k + 1, last))

    return product(0, len(factors) - 1)


@composed(np.linalg.matrix_power)
def matrix_power(a: Any, n: int) -> Any:
    """A square matrix multiplied by itself n times; its inverse, if n is negative."""
    if a.ndim < 2 or a.shape[-1] != a.shape[-2]:
        raise np.linalg.LinAlgError(f"expected square matrices, got shape {a.shape}")
    if not isinstance(n, int | np.integer):
        raise TypeError(f"expected a whole number as the exponent, got {described(n)}")
    if n < 0:
        a, n = inv(a), -n
    if n == 0:  # a constant
        return where(np.zeros(a.shape, bool), a, np.broadcast_to(np.eye(a.shape[-1], dtype=a.dtype), a.shape))
    if n == 1:
        return a[...]
    half = matrix_power(a, n // 2)
    return half @ half @ a if n % 2 else half @ half
