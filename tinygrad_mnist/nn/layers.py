"""Layers: what most networks are made of. Norms, attention and functions between layers have rooms of their own."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from tinygrad_mnist import ops
from tinygrad_mnist.convert import in_one_line, is_real, is_whole, kept
from tinygrad_mnist.op import binary, unary
from tinygrad_mnist.ops.images import pair
from tinygrad_mnist.ops.indexing import ARRAY
from tinygrad_mnist.tensor import Array

from .initializers import check_sizes, initial, initial_bias
from .module import Module, options_text, shape_of


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

    def extra_repr(self) -> str:
        """Numbers of inputs and outputs."""
        return "{}, {}{}".format(*self.weight.shape, ", bias=False" if self.bias is None else "")


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
        height, width = pair("size", kept(size))
        shape, area = (n_out, n_in, height, width), height * width
        check_sizes("weights", shape)  # before they are multiplied
        self.weight = initial(shape, n_in * area, n_out * area, init, rng, dtype)
        self.bias = initial_bias((n_out, 1, 1), bias, rng, dtype)
        self.stride, self.padding = _pixels("stride", stride), _pixels("padding", padding, 0)

    def forward(self, x: Any) -> Any:
        """conv2d(x, weight) + bias."""
        maps = ops.conv2d(x, self.weight, stride=self.stride, padding=self.padding)
        return maps if self.bias is None else maps + self.bias

    def extra_repr(self) -> str:
        """Numbers of channels and kernels, the kernel's size, and whatever else is not the default."""
        n_out, n_in, height, width = self.weight.shape
        size = height if height == width else (height, width)
        options = f"{options_text(self, stride=1, padding=0)}{', bias=False' if self.bias is None else ''}"
        return f"{n_in}, {n_out}, {size}{options}"


def _pixels(name: str, value: Any, least: int = 1) -> int | tuple[int, int]:
    """A number of pixels, or (down, right) where these differ; a ValueError now, not when images come."""
    down, right = pair(name, kept(value), least)
    return down if down == right else (down, right)


class _Pool2d(Module):
    """What the layers share that take windows of `size` pixels, `stride` apart (default: side by side)."""

    def __init__(self, size: int | tuple[int, int] = 2, stride: int | tuple[int, int] | None = None) -> None:
        self.size, self.stride = _pixels("size", size), None if stride is None else _pixels("stride", stride)

    def extra_repr(self) -> str:
        """The window's size, and the stride if there is one."""
        return f"{self.size}{options_text(self, stride=None)}"


class MaxPool2d(_Pool2d):
    """The largest value of each window of `size` pixels, windows `stride` apart (default: side by side)."""

    def forward(self, x: Any) -> Any:
        """max_pool2d(x)."""
        return ops.max_pool2d(x, size=self.size, stride=self.stride)


class AvgPool2d(_Pool2d):
    """The mean of each window of `size` pixels, windows `stride` apart (default: side by side).

    >>> AvgPool2d(2)(np.array([[[[1.0, 2.0], [3.0, 6.0]]]]))
    array([[[[3.]]]])
    """

    def forward(self, x: Any) -> Any:
        """The means, of shape (n, channels, rows, columns)."""
        return ops.mean(
            ops.windows(x, size=self.size, stride=self.size if self.stride is None else self.stride), (-2, -1)
        )


class Flatten(Module):
    """(n, ...) -> (n, all else)."""

    def forward(self, x: Any) -> Any:
        """The rows of the batch, each flat."""
        shape = shape_of("Flatten", x)
        if not shape:
            raise ValueError("Flatten: expected a batch, of shape (n, ...), got shape (); add an axis: x[None]")
        return ops.reshape(x, (shape[0], math.prod(shape[1:])))


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
        if not is_real(p) or not 0 <= p < 1:
            raise ValueError(f"Dropout: expected a probability 0 <= p < 1, got {in_one_line(p)}")
        if not isinstance(rng, np.random.Generator):
            raise TypeError(f"rng: expected a numpy.random.Generator, as from np.random.default_rng(seed), got {rng!r}")
        self.p, self.rng = p, rng

    def forward(self, x: Any) -> Any:
        """The input with some of its elements dropped."""
        shape_of("Dropout", x)
        if not self.training or self.p == 0:
            return x
        return x * dropout_mask(x, p=self.p, rng=self.rng)

    def extra_repr(self) -> str:
        """The probability."""
        return f"{self.p}"


def _rows(weight: Array, indices: Array, padding_idx: int | None = None) -> Array:
    if indices.dtype.kind not in "iu":
        raise TypeError(f"expected integers, each the number of a row, got {indices.dtype}")
    if indices.size and not 0 <= indices.min() <= indices.max() < len(weight):
        raise IndexError(
            f"{len(weight)} rows need indices from 0 to {len(weight) - 1}, got {indices.min()} to {indices.max()}"
        )
    return weight[indices]


def _rows_dweight(g: Any, out: Any, weight: Any, indices: Any, padding_idx: int | None) -> Any:
    if padding_idx is not None:
        g = ops.where((indices == padding_idx)[..., None], 0, g)
    return ops.scatter(g, indices, index=(ARRAY,), shape=weight.shape)


# An op, so that a compiled step looks at the indices of each call.
embedding = binary(
    "embedding",
    _rows,
    _rows_dweight,
    None,
    domain=None,
    doc="for each integer index a row of the weight; the row padding_idx gets no gradient",
)


class Embedding(Module):
    """A vector for each of `n` things, such as words: indices of shape (...) -> (..., size), row i of `weight` for i.

    The rows of `weight`, shape (n, size), start from N(0, 1).

    Args:
        n: the number of things; indices are 0..n-1.
        size: of a vector.
        padding_idx: the row that stands for nothing: it starts at 0 and gets no gradient.
        rng: the generator to draw from.
        dtype: of the weight.

    Raises:
        IndexError: when it is called, an index that is none of 0..n-1.

    >>> letters = Embedding(26, 3, rng=np.random.default_rng(0))
    >>> letters(np.array([[0, 1, 2, 0]])).shape
    (1, 4, 3)
    """

    def __init__(
        self,
        n: int,
        size: int,
        *,
        padding_idx: int | None = None,
        rng: np.random.Generator,
        dtype: DTypeLike = np.float32,
    ) -> None:
        check_sizes("Embedding", (n, size))
        if padding_idx is not None and not (is_whole(padding_idx, 0) and padding_idx < n):
            raise ValueError(f"Embedding: expected padding_idx to be a row, 0 to {n - 1}, got {padding_idx!r:.60}")
        self.weight = initial((n, size), n, size, "normal", rng, dtype)
        self.padding_idx = padding_idx
        if padding_idx is not None:
            self.weight.data[padding_idx] = 0

    def forward(self, indices: Any) -> Any:
        """weight[indices]."""
        return embedding(
            self.weight,
            np.asarray(indices) if isinstance(indices, int | float | np.integer | list | tuple) else indices,
            padding_idx=self.padding_idx,
        )

    def extra_repr(self) -> str:
        """The number of vectors and their size."""
        return "{}, {}{}".format(*self.weight.shape, options_text(self, padding_idx=None))


class Sequential(Module):
    """One layer after the other. A layer is a Module or any function of a Tensor: `Sequential(Linear(...), relu)`.

    Its layers are the list `layers`. It is indexed as that is, and a slice is a Sequential of the same layers:

    >>> network = Sequential(Flatten(), Dropout(0.2, rng=np.random.default_rng(0)), np.exp)
    >>> len(network), network[1], network[:2]
    (3, Dropout(0.2), Sequential(
      layers.0: Flatten()
      layers.1: Dropout(0.2)
    ))
    """

    def __init__(self, *layers: Callable[[Any], Any]) -> None:
        for layer in layers:
            if not callable(layer):
                raise TypeError(
                    f"Sequential: expected Modules or functions, got {in_one_line(layer)}; unpack a list with *"
                )
        self.layers = list(layers)

    def __len__(self) -> int:
        return len(self.layers)

    def __iter__(self) -> Iterator[Callable[[Any], Any]]:
        return iter(self.layers)

    def __getitem__(self, index: int | slice) -> Any:
        return Sequential(*self.layers[index]) if isinstance(index, slice) else self.layers[index]

    def forward(self, x: Any) -> Any:
        """layers[-1](... layers[0](x))."""
        for layer in self.layers:
            x = layer(x)
        return x
