"""Attention: each place of a sequence takes a mean of all places, weighted by how well they fit."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from tinygrad_mnist import ops

from .initializers import check_sizes
from .layers import Linear
from .module import Module


def scaled_dot_product_attention(query: Any, key: Any, value: Any, mask: Any = None, *, causal: bool = False) -> Any:
    """softmax(Q Kᵀ / √d) V, of Vaswani et al., 2017, equation 1.

    Row i of the result is a mean of the rows of V, weighted by how well row i of Q fits each row of K.

    Args:
        query: Q, shape (..., n, d).
        key: K, shape (..., m, d).
        value: V, shape (..., m, k).
        mask: an array or list of truths that broadcasts to (..., n, m), True where row i may look at row j (as in
            PyTorch's function of this name); None: everywhere. What may look at nothing gets 0.
        causal: whether row i may look at the rows up to i only.

    >>> x = np.array([[1.0, 0.0], [0.0, 2.0]])
    >>> scaled_dot_product_attention(x, x, x, causal=True).round(3)
    array([[1.   , 0.   ],
           [0.056, 1.888]])
    """
    scores = query @ ops.swapaxes(key, -1, -2) / math.sqrt(query.shape[-1])
    mask = np.asarray(mask) if isinstance(mask, list) else mask
    if causal:
        earlier = np.tri(*scores.shape[-2:]) > 0
        mask = earlier if mask is None else earlier & mask
    if mask is None:
        return ops.softmax(scores) @ value
    if mask.dtype != bool:
        raise TypeError(f"attention: expected a mask of truths, True where to look, got {mask.dtype}; compare first")
    # The lowest number, not -inf: of a row of -inf the softmax is NaN, and so is its gradient.
    weights = ops.softmax(ops.where(mask, scores, float(np.finfo(scores.dtype).min)))
    return ops.where(mask, weights, 0) @ value


class MultiheadAttention(Module):
    """Attention of several heads: each sees its own projection of the input, and looks for something of its own.

    MultiHead(Q, K, V) = [head₁ ... headₕ] W_output, headᵢ = softmax(Qᵢ Kᵢᵀ / √d) Vᵢ with Qᵢ, Kᵢ and Vᵢ the i-th parts,
    d = size / heads wide, of Q W_query, K W_key and V W_value (and biases). Vaswani et al., 2017, section 3.2.2.

    Keys have no bias: it would add one number to all scores of a row, of which softmax sees nothing.

    Args:
        size: of the vectors, at each place of the sequences; divisible by `heads`.
        heads: their number h.
        causal: whether a place sees only what is not after it, as in a model that continues texts.
        init: a name in `INITIALIZERS`, for the four weights.
        bias: how biases start, as for `Linear`; False for none.
        rng: the generator to draw from.
        dtype: of the parameters.

    >>> attention = MultiheadAttention(8, 2, causal=True, rng=np.random.default_rng(0))
    >>> attention(np.ones((5, 28, 8), np.float32)).shape
    (5, 28, 8)
    """

    query: Linear
    key: Linear
    value: Linear
    output: Linear

    def __init__(
        self,
        size: int,
        heads: int,
        *,
        causal: bool = False,
        init: str = "xavier",
        bias: str | bool = "zeros",
        rng: np.random.Generator,
        dtype: DTypeLike = np.float32,
    ) -> None:
        check_sizes("MultiheadAttention", (size, heads))
        if size % heads:
            raise ValueError(f"MultiheadAttention: expected heads that divide the size {size}, got {heads!r}")
        self.heads, self.causal = heads, causal
        biases = {"query": bias, "key": False, "value": bias, "output": bias}
        for name, its in biases.items():
            setattr(self, name, Linear(size, size, init=init, bias=its, rng=rng, dtype=dtype))

    def forward(self, query: Any, key: Any = None, value: Any = None, mask: Any = None) -> Any:
        """What each place of `query`, shape (..., n, size), gathers from `key` and `value`, shape (..., m, size).

        Without `key` that is self-attention; without `value` the keys are the values. For the mask see
        `scaled_dot_product_attention`; for each head one of its own has a shape (..., heads, n, m).
        """
        key = query if key is None else key
        value = key if value is None else value
        q, k, v = self._split(self.query(query)), self._split(self.key(key)), self._split(self.value(value))
        heads = scaled_dot_product_attention(q, k, v, mask, causal=self.causal)
        return self.output(ops.swapaxes(heads, -2, -3).reshape(query.shape))

    def _split(self, x: Any) -> Any:
        """(..., n, size) -> (..., heads, n, size / heads)."""
        *batch, n, size = x.shape
        return ops.swapaxes(x.reshape((*batch, n, self.heads, size // self.heads)), -2, -3)

    def extra_repr(self) -> str:
        """The size, the number of heads, and whether it is causal."""
        return f"{self.query.weight.shape[0]}, {self.heads}{', causal=True' * self.causal}"
