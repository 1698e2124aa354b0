"""Gradients that are made shorter where they are too long."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from tinygrad_mnist.convert import in_one_line, is_real
from tinygrad_mnist.mode import no_grad
from tinygrad_mnist.ops import minimum, sqrt
from tinygrad_mnist.tensor import Tensor, leaf

from .group import in_order


def clip_grad_norm(parameters: Iterable[Tensor], max_norm: float) -> Tensor:
    """Scale all gradients, seen as one vector, down to the length `max_norm` if it is longer; return its length before.

    Called between `backward()` and `step()`: g <- g min(1, max_norm / (norm + 1e-6)), norm = √(Σ g²) over all elements
    of all gradients, as PyTorch's clip_grad_norm_ computes it. Parameters without a gradient are left out. Where the
    norm is infinite, finite elements become 0 and infinite ones NaN; where it is NaN, all do.

    Pascanu, Mikolov and Bengio, "On the Difficulty of Training Recurrent Neural Networks", 2013.

    Args:
        parameters: Tensors, as of `network.parameters()`; or one.
        max_norm: a number >= 0.

    Raises:
        ValueError: a `max_norm` below 0, or not a number.
        TypeError: something that is not a Tensor.

    >>> w = Tensor([1.0, 1.0], requires_grad=True, dtype=np.float64)
    >>> (w * np.array([3.0, 4.0])).sum().backward()
    >>> clip_grad_norm([w], max_norm=1.0)
    Tensor(5., dtype=float64)
    >>> w.grad.numpy().round(3).tolist()
    [0.6, 0.8]
    """
    members = in_order("clip_grad_norm", parameters)
    for p in members:
        if not isinstance(p, Tensor):
            raise TypeError(f"clip_grad_norm: expected Tensors, got {in_one_line(p)}; pass network.parameters()")
    if not is_real(max_norm) or not max_norm >= 0:
        raise ValueError(f"clip_grad_norm: expected a number max_norm >= 0, got {in_one_line(max_norm)}")
    with no_grad():
        clipped = [(p, p.grad) for p in dict.fromkeys(members) if p.grad is not None]
        squares = [(g * g).sum() for _, g in clipped]
        norm = sqrt(sum(squares[1:], squares[0])) if squares else leaf(np.zeros((), np.float32))
        factor = minimum(float(max_norm) / (norm + 1e-6), 1)
        for p, g in clipped:
            p.grad = g * (factor if factor.dtype == g.dtype else factor.astype(g.dtype))
    return norm
