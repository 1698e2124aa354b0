"""Products of matrices."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tinygrad_mnist.op import binary, ternary
from tinygrad_mnist.tensor import Array


def _product(x: Any, y: Any) -> Any:
    """The matrix product; of a column and a row, as with batches of 1, by * in a quarter of the time of BLAS."""
    return x * y if x.ndim > 1 and x.shape[-1] == 1 else x @ y


def _matmul_dx(g: Any, out: Any, x: Any, y: Any) -> Any:
    if y.ndim == 1:
        return g[..., None] * y  # out_i = Σ_k x_ik y_k
    if x.ndim == 1:
        return (y @ g[..., None])[..., 0]  # out_j = Σ_k x_k y_kj
    return _product(g, y.mT)  # out_ij = Σ_k x_ik y_kj


def _matmul_dy(g: Any, out: Any, x: Any, y: Any) -> Any:
    if x.ndim == 1:
        return x * g if y.ndim == 1 else x[:, None] * g[..., None, :]
    if y.ndim == 1:
        return (x.mT @ g[..., None])[..., 0]
    return _product(x.mT, g)


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
    return _product(x.T, g)


def _alignment(x: tuple[int, ...], y: tuple[int, ...], *bias: tuple[int, ...]) -> str:
    """What is wrong with the shapes of a product, and the remedy."""
    if not x or not y:
        return f"expected vectors or matrices, got shapes {x} and {y}; use * for numbers"
    if (n := x[-1]) == (m := y[-2:][0]):
        return ""
    transposed = (len(y) >= 2 and n == y[-1]) or (len(x) == 2 and m == x[0])
    return f"shapes {x} and {y} do not align: {n} != {m}{'; did you mean .T?' if transposed else ''}"


# fmt: off
matmul = binary("matmul", np.matmul, _matmul_dx, _matmul_dy,
                numpy=(np.linalg.matmul,), sign="@", domain=None, hint=_alignment,
                doc="the matrix product x y, of vectors, matrices or stacks of matrices")
linear = ternary("linear", _linear,
                 lambda g, out, x, weight, bias: _product(g, weight.T),
                 _linear_dweight,
                 lambda g, out, x, weight, bias: g,
                 sign="x W + b", domain=None, hint=_alignment,
                 doc="x @ weight + bias in one node, as a layer computes it")
