"""Layers: what most networks are made of."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from tinygrad_mnist import ops
from tinygrad_mnist.op import unary

from .initializers import initial, initial_bias
from .module import Module


class Linear(Module):
    """y = x W + b, for x of shape (..., n_in); `weight` W has shape (n_in, n_out), `bias` b (n_out,) or is None.

    Nielsen writes w a + b for one example a as a column: his w is this W transposed, so that a whole batch of rows is
    one product.

    Args:
        n_in: the number of inputs, the layer's fan-in.
        n_out: the number of outputs.
        init: a name in `INITIALIZERS`, how weights start.
        bias: how biases start: "zeros"; "normal", from N(0, 1) as in the book; False for none. True is "zeros".
        rng: the generator to draw from: the weights, then the biases.
        dtype: of the parameters.
    """

    def __init__(
        self,
        n_in: int,
        n_out: int,
        *,
        init: str = "scaled",
        bias: str | bool = "zeros",
        rng: np.random.Generator,
        dtype: DTypeLike = np.float32,
    ) -> None:
        self.weight = initial((n_in, n_out), n_in, n_out, init, rng, dtype)
        self.bias = initial_bias((n_out,), bias, rng, dtype)

    def forward(self, x: Any) -> Any:
        """The weighted inputs x W + b."""
        return ops.matmul(x, self.weight) if self.bias is None else ops.linear(x, self.weight, self.bias)

    def __repr__(self) -> str:
        return "Linear({}, {}{})".format(*self.weight.shape, ", bias=False" if self.bias is None else "")


class Conv2d(Module):
    """Cross-correlation with `n_out` kernels, plus a bias each: (n, n_in, h, w) -> (n, n_out, rows, columns).

    `weight` has shape (n_out, n_in, height, width), `bias` (n_out, 1, 1) or is None.

    Args:
        n_in: the number of channels of the images.
        n_out: the number of kernels.
        size: of a kernel, in pixels: a number or (height, width).
        stride: between neighbouring windows, in pixels.
        padding: pixels of 0 on every side.
        init: a name in `INITIALIZERS`; the fan-in is n_in times the kernel's pixels.
        bias: how biases start, "zeros" or "normal"; False for none, as for `Linear`.
        rng: the generator to draw from.
        dtype: of the parameters.
    """

    def __init__(
        self,
        n_in: int,
        n_out: int,
        size: int | tuple[int, int],
        *,
        stride: int | tuple[int, int] = 1,
        padding: int | tuple[int, int] = 0,
        init: str = "he",
        bias: str | bool = "zeros",
        rng: np.random.Generator,
        dtype: DTypeLike = np.float32,
    ) -> None:
        height, width = size if isinstance(size, tuple) else (size, size)
        shape, area = (n_out, n_in, height, width), height * width
        self.weight = initial(shape, n_in * area, n_out * area, init, rng, dtype)
        self.bias = initial_bias((n_out, 1, 1), bias, rng, dtype)
        self.stride, self.padding = stride, padding

    def forward(self, x: Any) -> Any:
        """conv2d(x, weight) + bias."""
        maps = ops.conv2d(x, self.weight, stride=self.stride, padding=self.padding)
        return maps if self.bias is None else maps + self.bias


class MaxPool2d(Module):
    """The largest value of each window of `size` pixels, windows `stride` apart (default: side by side)."""

    def __init__(self, size: int | tuple[int, int] = 2, stride: int | tuple[int, int] | None = None) -> None:
        self.size, self.stride = size, stride

    def forward(self, x: Any) -> Any:
        """max_pool2d(x)."""
        return ops.max_pool2d(x, size=self.size, stride=self.stride)


class Flatten(Module):
    """(n, ...) -> (n, all else)."""

    def forward(self, x: Any) -> Any:
        """The rows of the batch, each flat."""
        return ops.reshape(x, (len(x), math.prod(x.shape[1:])))


# An op, so that a compiled step draws anew at each call.
dropout_mask = unary(
    "dropout_mask",
    lambda x, p, rng: ((rng.random(x.shape) >= p) / (1 - p)).astype(x.dtype if x.dtype.kind == "f" else np.float32),
    None,
    domain=None,
    doc="for each x 0 with probability p, else 1 / (1 - p), drawn from the Generator rng; no derivative",
)


class Dropout(Module):
    """In training, 0 with probability p and else x / (1 - p), so that the expected value is unchanged; in evaluation x.

    Srivastava et al., 2014; Nielsen's chapter 3.
    """

    def __init__(self, p: float = 0.5, *, rng: np.random.Generator) -> None:
        if not 0 <= p < 1:
            raise ValueError(f"Dropout: expected a probability 0 <= p < 1, got {p}")
        if not isinstance(rng, np.random.Generator):
            raise TypeError(f"rng: expected a numpy.random.Generator, as from np.random.default_rng(seed), got {rng!r}")
        self.p, self.rng = p, rng

    def forward(self, x: Any) -> Any:
        """The input with some of its elements dropped."""
        if not self.training or self.p == 0:
            return x
        return x * dropout_mask(x, p=self.p, rng=self.rng)


class Sequential(Module):
    """One layer after the other. A layer is a Module or any function of a Tensor: `Sequential(Linear(...), relu)`."""

    def __init__(self, *layers: Callable[[Any], Any]) -> None:
        for layer in layers:
            if not callable(layer):
                raise TypeError(f"Sequential: expected Modules or functions, got {layer!r:.60}; unpack a list with *")
        self.layers = list(layers)

    def forward(self, x: Any) -> Any:
        """layers[-1](... layers[0](x))."""
        for layer in self.layers:
            x = layer(x)
        return x
