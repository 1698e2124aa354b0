"""Images: x of shape (..., channels, height, width)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from tinygrad_mnist.op import OpFunction, binary, unary
from tinygrad_mnist.tensor import Array

from .arithmetic import astype
from .choices import chosen
from .reductions import sum


def pair(name: str, value: Any, least: int = 1) -> tuple[int, int]:
    """A number of pixels down and right, of one number or a tuple of two; a ValueError for what is neither."""
    both = value if isinstance(value, tuple) else (value, value)
    if len(both) != 2 or not all(isinstance(n, int) and n >= least for n in both):
        raise ValueError(f"expected a {name} of one or two whole numbers of at least {least}, got {value!r}")
    return both


def _windows(x: Array, size: Any, stride: Any = 1, padding: Any = 0) -> Array:
    (down, right), (high, wide) = pair("stride", stride), pair("padding", padding, 0)
    if np.ndim(x) < 2:
        raise ValueError(f"expected images of shape (..., h, w), got shape {np.shape(x)}")
    if high or wide:
        x = np.pad(x, [(0, 0)] * (x.ndim - 2) + [(high, high), (wide, wide)])
    rows, columns = pair("size", size)
    if rows > x.shape[-2] or columns > x.shape[-1]:
        padded = " with their padding" if high or wide else ""
        raise ValueError(
            f"expected images of at least {rows} x {columns}, the size of a window, got {x.shape[-2]} x {x.shape[-1]}"
            f"{padded}; choose a smaller size"
        )
    return sliding_window_view(x, (rows, columns), (-2, -1))[..., ::down, ::right, :, :]


def _fold(x: Array, shape: tuple[int, ...], size: Any, stride: Any = 1, padding: Any = 0) -> Array:
    (down, right), (high, wide) = pair("stride", stride), pair("padding", padding, 0)
    *stack, height, width = shape
    rows, columns = x.shape[-4:-2]
    # In the layout of x: where neighbours are those of other images, long runs are added, in half the time.
    result = np.zeros_like(x[..., 0, 0], shape=(*stack, height + 2 * high, width + 2 * wide))
    for i, j in np.ndindex(pair("size", size)):
        result[..., i : i + down * rows : down, j : j + right * columns : right] += x[..., i, j]
    return result[..., high : high + height, wide : wide + width]


def _conv2d(x: Array, kernel: Array, stride: Any = 1, padding: Any = 0) -> Array:
    if np.ndim(x) != 4 or np.ndim(kernel) != 4:
        raise ValueError("expected images (n, channels, h, w) and kernels (k, channels, i, j)")
    if x.shape[1] != kernel.shape[1]:
        n = x.shape[1]
        raise ValueError(f"the images have {n} channel{'s' * (n != 1)}, the kernels have {kernel.shape[1]}")
    patches = _windows(x, kernel.shape[2:], stride, padding)
    n, _, rows, columns, *_ = patches.shape
    return (_matrix(kernel) @ _columns(patches)).reshape(n, len(kernel), rows, columns)


def _columns(patches: Any) -> Any:
    """A column for each place: rows of an image's pixels are copied whole, in a fifth of the time of the patches'."""
    n, channels, rows, columns, i, j = patches.shape
    return patches.transpose(0, 1, 4, 5, 2, 3).reshape(n, channels * i * j, rows * columns)


def _matrix(kernel: Any) -> Any:
    """A row for each kernel."""
    return kernel.reshape(len(kernel), math.prod(kernel.shape[1:]))


def _conv2d_dx(g: Any, out: Any, x: Any, kernel: Any, stride: Any, padding: Any) -> Any:
    n, k, rows, columns = g.shape
    patches = _matrix(kernel).T @ g.transpose(1, 2, 3, 0).reshape(k, rows * columns * n)
    patches = patches.reshape(*kernel.shape[1:], rows, columns, n).transpose(5, 0, 3, 4, 1, 2)
    return fold(patches, x.shape, kernel.shape[2:], stride, padding)


def _conv2d_dkernel(g: Any, out: Any, x: Any, kernel: Any, stride: Any, padding: Any) -> Any:
    n, k, rows, columns = g.shape
    patches = windows(x, kernel.shape[2:], stride, padding)
    return sum(g.reshape(n, k, rows * columns) @ _columns(patches).mT, 0).reshape(kernel.shape)


def _max_pool2d(x: Array, size: Any = 2, stride: Any = None) -> Array:
    windows = _windows(x, size, size if stride is None else stride)
    result = windows[..., 0, 0].copy()
    for place in np.ndindex(windows.shape[-2:]):  # 4 calls for all windows take a twentieth of .max((-2, -1))
        np.maximum(result, windows[(..., *place)], out=result)
    return result


def _max_pool2d_dx(g: Any, out: Any, x: Any, size: Any, stride: Any) -> Any:
    step = size if stride is None else stride
    (down, right), axes = pair("size", size), range(x.ndim)
    elements = windows(x, size, step).transpose(x.ndim, x.ndim + 1, *axes)
    elements = elements.reshape(down * right, *out.shape)  # the first of all windows, the second of all, ...
    taken = astype(chosen(elements, out), g.dtype)
    shares = (taken * (g / sum(taken, 0))).reshape(down, right, *out.shape)
    return fold(shares.transpose(*(axis + 2 for axis in axes), 0, 1), x.shape, size, step)


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
