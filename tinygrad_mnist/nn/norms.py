"""Layers that bring values to mean 0 and variance 1, over an example's features or over the batch."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from tinygrad_mnist import ops
from tinygrad_mnist.convert import in_one_line, is_real
from tinygrad_mnist.tensor import Tensor

from .buffer import Buffer
from .initializers import check_sizes
from .module import Module, options_text, shape_of


def normalized(x: Any, mean: Any, variance: Any, eps: float) -> Any:
    """(x - mean) / √(variance + eps)."""
    return (x - mean) / ops.sqrt(variance + eps)


class LayerNorm(Module):
    """y = (x - μ) / √(σ² + eps) · weight + bias, with mean μ and variance σ² over the last axes of each example.

    Ba, Kiros and Hinton, 2016. σ² is the mean of (x - μ)². It computes the same in training and in evaluation.

    Args:
        shape: of the last axes: (h, w), or a number for one axis. `weight` and `bias` have that shape.
        eps: what keeps the root from 0.
        affine: whether there are a weight (ones at first) and a bias (zeros).
        dtype: of these.

    >>> LayerNorm(2)(np.array([[1.0, 3.0]], np.float32))
    Tensor([[-0.999995,  0.999995]], dtype=float32, op=add)
    """

    def __init__(
        self, shape: int | tuple[int, ...], eps: float = 1e-5, *, affine: bool = True, dtype: DTypeLike = np.float32
    ) -> None:
        self.shape = shape if isinstance(shape, tuple) else (shape,)
        self.eps = eps
        self.weight, self.bias = _affine("LayerNorm", self.shape, eps, affine, dtype)

    def forward(self, x: Any) -> Any:
        """The normalized input, of its shape (..., *shape)."""
        if shape_of("LayerNorm", x)[-len(self.shape) :] != self.shape:
            raise ValueError(f"LayerNorm: expected inputs whose last axes are {self.shape}, got shape {x.shape}")
        axes = tuple(range(-len(self.shape), 0))
        y = normalized(x, ops.mean(x, axes, True), ops.var(x, axes, True), self.eps)
        return y if self.weight is None else y * self.weight + self.bias

    def extra_repr(self) -> str:
        """The sizes of the last axes."""
        return f"{self.shape[0] if len(self.shape) == 1 else self.shape}{', affine=False' * (self.weight is None)}"


class _BatchNorm(Module):
    """What BatchNorm1d and BatchNorm2d share."""

    dims: tuple[int, ...]  # how many axes an input may have

    def __init__(
        self,
        n: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        *,
        affine: bool = True,
        dtype: DTypeLike = np.float32,
    ) -> None:
        self.n, self.eps, self.momentum = n, eps, momentum
        if momentum is not None and not (is_real(momentum) and 0 <= momentum <= 1):
            raise ValueError(
                f"{type(self).__name__}: expected a momentum from 0 to 1, or None, got {in_one_line(momentum)}"
            )
        self.weight, self.bias = _affine(type(self).__name__, (n,), eps, affine, dtype)
        self.running_mean, self.running_var = Buffer(np.zeros(n, dtype)), Buffer(np.ones(n, dtype))
        self.num_batches_tracked = Buffer(0, dtype=np.int64)

    def forward(self, x: Any) -> Any:
        """The normalized input, of its shape."""
        if len(shape_of(type(self).__name__, x)) not in self.dims or x.shape[1] != self.n:
            given = " or ".join(f"(n, {self.n}{', ...' * (k > 2)}) with {k} axes" for k in self.dims)
            raise ValueError(f"{type(self).__name__}: expected an input of shape {given}, got shape {x.shape}")
        around = (1, self.n) + (1,) * (x.ndim - 2)  # as which a number for each channel broadcasts against x
        if self.training:
            axes = (0, *range(2, x.ndim))
            mean, variance = ops.mean(x, axes, True), ops.var(x, axes, True)
            self._track(mean.reshape(self.n), variance.reshape(self.n), x.size // self.n)
        else:
            mean, variance = self.running_mean.reshape(around), self.running_var.reshape(around)
        y = normalized(x, mean, variance, self.eps)
        return y if self.weight is None else y * self.weight.reshape(around) + self.bias.reshape(around)

    def _track(self, mean: Any, variance: Any, count: int) -> None:
        """Let a batch's statistics, of so many values a channel, into the running ones."""
        if count < 2:
            raise ValueError(
                f"{type(self).__name__}: got {count} value for each channel, which has no variance; "
                "train with larger batches, or evaluate: model.eval()"
            )
        self.num_batches_tracked.assign(self.num_batches_tracked + 1)
        share = 1 / self.num_batches_tracked if self.momentum is None else self.momentum
        self.running_mean.assign((1 - share) * self.running_mean + share * mean)
        self.running_var.assign((1 - share) * self.running_var + share * (count / (count - 1)) * variance)

    def extra_repr(self) -> str:
        """The number of channels, and whatever is not the default."""
        return f"{self.n}{options_text(self, eps=1e-5, momentum=0.1)}{', affine=False' * (self.weight is None)}"


class BatchNorm1d(_BatchNorm):
    """y = (x - μ) / √(σ² + eps) · weight + bias, with mean μ and variance σ² of each channel over the batch.

    Ioffe and Szegedy, 2015. Inputs have shape (n, channels) or (n, channels, length). In training σ² is the mean of
    (x - μ)², and the Buffers `running_mean` and `running_var` move towards the batch's mean and its unbiased variance
    (divided by one less than the number of values): running <- (1 - momentum) running + momentum new. In evaluation the
    running statistics take the place of μ and σ². All is as in PyTorch.

    A layer before it needs no bias, `Linear(..., bias=False)`: μ takes it out again; its gradient is only rounding.

    Args:
        n: the number of channels.
        eps: what keeps the root from 0.
        momentum: the share of the newest batch in the running statistics; None: that of one of all batches so far.
        affine: whether there are a weight (ones at first) and a bias (zeros), one for each channel.
        dtype: of these and of the Buffers.

    Raises:
        ValueError: an input of another shape; or in training of one value a channel.

    >>> norm = BatchNorm1d(2)
    >>> norm(np.array([[0.0, 1.0], [2.0, 5.0]], np.float32)).numpy().round(2)
    array([[-1., -1.],
           [ 1.,  1.]], dtype=float32)
    >>> norm.running_mean, norm.running_var
    (Tensor([0.1, 0.3], dtype=float32), Tensor([1.1, 1.7], dtype=float32))
    """

    dims = (2, 3)


class BatchNorm2d(_BatchNorm):
    """`BatchNorm1d` of images of shape (n, channels, height, width): mean and variance over batch and pixels.

    >>> BatchNorm2d(3)(np.random.default_rng(0).random((4, 3, 2, 2), np.float32)).shape
    (4, 3, 2, 2)
    """

    dims = (4,)


def _affine(name: str, shape: tuple[int, ...], eps: float, affine: bool, dtype: DTypeLike) -> Any:
    """A weight of ones and a bias of zeros, or None and None; a ValueError for a norm that cannot be."""
    if not is_real(eps) or not 0 <= eps < math.inf:
        raise ValueError(f"{name}: expected a number eps >= 0, got {in_one_line(eps)}")
    check_sizes(name, shape)
    if not affine:
        return None, None
    ones, zeros = np.ones(shape, dtype), np.zeros(shape, dtype)
    return Tensor(ones, requires_grad=True, name="weight"), Tensor(zeros, requires_grad=True, name="bias")
