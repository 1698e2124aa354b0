"""Images: x of shape (..., channels, height, width)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from tinygrad_mnist.op import OpFunction, binary, unary
from tinygrad_mnist.tensor import Array

from .arithmetic import astype
from .choices import chosen
from .reductions import sum


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
    if np.ndim(x) != 4 or np.ndim(kernel) != 4 or x.shape[1] != kernel.shape[1]:
        raise ValueError("expected images (n, channels, h, w) and kernels (k, channels, i, j)")
    patches = _windows(x, kernel.shape[2:], stride, padding)  # n, channels, rows, columns, i, j
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
    taken = astype(chosen(windows(x, size, step), out[..., None, None]), g.dtype)
    return fold(g[..., None, None] * taken / sum(taken, (-2, -1), True), x.shape, size, step)


# fmt: off
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
