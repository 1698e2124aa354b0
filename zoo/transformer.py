"""A causal transformer: from a class, and the patches of a digit so far, the next patch. `zoo.writer` trains it.

    Attention(Q, K, V) = softmax(Q Kᵀ / √d) V        with Q = X W_query,  K = X W_key,  V = X W_value

Every place of the sequence, a row of X, asks a question, its row of Q. Each place has a key that says what it is about:
q·k says how well they fit, softmax makes weights of that which add up to 1, and the place takes in the mean of what the
others have to tell, the rows of V, by these weights. √d keeps q·k, a sum of d products, from making softmax all but a
maximum, which would have no slope. *Causal*: a place sees itself and what was before it, never what it is to predict.
Each of several heads asks with a part of Q, K and V of its own.

    symbols ── embedding ─┐                                            ┌─ x + attention(norm(x))   places exchange
                          + ──> block ──> block ──> norm ──> logits    ┤
    places  ── embedding ─┘                                            └─ x + mlp(norm(x))         each place thinks

- Embeddings: attention alone does not know which row is where, so each place has a vector, learned like the symbols'.
- x + ...: whatever a block adds, the gradient goes past it unchanged, so that depth costs nothing.
- norm: every place's vector to mean 0 and variance 1, before a block's part ("pre-norm": it trains without tricks).
- mlp: relu neurons, four times as many as the vector is long.

Vaswani et al., "Attention Is All You Need", 2017; the norm first and last as in Radford et al., "Language Models are
Unsupervised Multitask Learners", 2019.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_mnist import Tensor, nn, no_grad, ops
from tinygrad_mnist.losses import softmax_cross_entropy
from tinygrad_mnist.nn import scaled_dot_product_attention
from tinygrad_mnist.tensor import Array, values

from .patches import CODES, SIDE, decode, encode, grid_of


class Block(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x)): places exchange what they know, then each thinks for itself."""

    def __init__(self, size: int, heads: int, rng: np.random.Generator) -> None:
        self.norm = nn.LayerNorm(size)
        self.attention = nn.MultiheadAttention(size, heads, causal=True, rng=rng)
        wide = nn.Linear(size, 4 * size, init="he", rng=rng)
        self.mlp = nn.Sequential(nn.LayerNorm(size), wide, ops.relu, nn.Linear(4 * size, size, rng=rng))

    def forward(self, x: Any) -> Any:
        """(n, places, size) -> (n, places, size)."""
        x = x + self.attention(self.norm(x))
        return x + self.mlp(x)


class Writer(nn.Module):
    """What comes next, after a class and the patches so far: symbols (n, places) -> logits (n, places, 64).

    Symbols 0 to 63 are the entries of the codebook, and 64 + c is the class c, which comes first.

    Args:
        image_shape: rows and columns of pixels, multiples of 4.
        n_classes: how many classes there are.
        size: of the vector at each place, d_model; divisible by `heads`.
        heads: of the attention.
        blocks: how many follow each other.
        rng: draws the first weights.
    """

    def __init__(
        self,
        image_shape: tuple[int, int] = (28, 28),
        n_classes: int = 10,
        size: int = 64,
        heads: int = 4,
        blocks: int = 2,
        *,
        rng: np.random.Generator,
    ) -> None:
        self.image_shape, self.n_classes = image_shape, n_classes
        rows, columns = grid_of(image_shape)
        self.length = rows * columns
        self.codebook = nn.Buffer(np.zeros((CODES, SIDE * SIDE), np.float32))
        self.symbols = nn.Embedding(CODES + n_classes, size, rng=rng)
        self.places = nn.Embedding(self.length, size, rng=rng)
        self.blocks = nn.Sequential(*(Block(size, heads, rng) for _ in range(blocks)))
        self.output = nn.Sequential(nn.LayerNorm(size), nn.Linear(size, CODES, rng=rng))

    def forward(self, symbols: Any) -> Any:
        """The logits of the next patch, at each place of (n, places) symbols."""
        return self.output(self.blocks(self.embedded(symbols)))

    def embedded(self, symbols: Any) -> Any:
        """What the blocks begin with: at each place a vector for what is there, and one for where it is."""
        return self.symbols(symbols) + self.places.weight[: symbols.shape[1]]

    def cost(self, symbols: Any) -> Any:
        """The mean of -ln p(next patch), in nats a patch, of digits (n, 1 + patches): all places learn at once."""
        logits = self(symbols[:, :-1])
        return softmax_cross_entropy(logits.reshape(-1, CODES), symbols[:, 1:].reshape(-1))

    def encoded(self, images: Array, classes: Array) -> Array:
        """Images, and of each the class, as symbols: (n, pixels) and (n,) -> int64 (n, 1 + patches)."""
        codes = encode(images, self.image_shape, self.codebook.numpy())
        return np.concatenate([CODES + np.asarray(classes)[:, None], codes], axis=1)

    def decoded(self, symbols: Array) -> Array:
        """The images of (n, 1 + patches) symbols: (n, pixels)."""
        return decode(symbols[:, 1:], self.image_shape, self.codebook.numpy())


def write(writer: Writer, start: Array, rng: np.random.Generator, temperature: float = 0.7) -> Array:
    """Go on with symbols, shape (n, places), to the last patch: (n, 1 + patches).

    Each next patch is drawn from softmax(logits / temperature): at 1 as the network believes, below 1 more of what is
    likely, at 0 always the likeliest.
    """
    symbols = np.asarray(start)
    while symbols.shape[1] <= writer.length:
        with no_grad():
            logits = values(writer(Tensor(symbols)))[:, -1].astype(np.float64)
        noise = rng.gumbel(size=logits.shape)  # the largest of logits + Gumbel's noise is drawn as softmax says
        symbols = np.column_stack([symbols, (logits + temperature * noise).argmax(1)])
    return symbols


def log_likelihood(writer: Writer, symbols: Array) -> Array:
    """The logarithm of p(patches | class) of each digit, the sum over its patches: (n, 1 + patches) -> (n,)."""
    parts = []
    with no_grad():
        for part in (symbols[i : i + 100] for i in range(0, len(symbols), 100)):
            logarithms = values(ops.log_softmax(writer(Tensor(part[:, :-1]))))
            parts.append(np.take_along_axis(logarithms, part[:, 1:, None], -1).sum((1, 2), dtype=np.float64))
    return np.concatenate(parts)


def class_likelihoods(writer: Writer, symbols: Array) -> Array:
    """The same for every class, whatever class the symbols begin with: (n, 1 + patches) -> (n, classes).

    By Bayes' rule the largest is the likeliest class, if all are equally frequent: who can write can read.
    """
    columns = []
    for label in range(writer.n_classes):
        asked = symbols.copy()
        asked[:, 0] = CODES + label
        columns.append(log_likelihood(writer, asked))
    return np.stack(columns, 1)


def attention_of(writer: Writer, symbols: Array) -> Array:
    """Where each head looks: (n, places) -> weights (blocks, n, heads, places, places), rows sum to 1.

    They are what `scaled_dot_product_attention` weighs values by, so with the identity as values it returns them.
    """
    maps = []
    blocks: list[Any] = writer.blocks.layers
    with no_grad():
        x = writer.embedded(Tensor(symbols))
        for block in blocks:
            inputs, attention = block.norm(x), block.attention
            query, key = (
                ops.swapaxes(layer(inputs).reshape((*x.shape[:2], attention.heads, -1)), 1, 2)
                for layer in (attention.query, attention.key)
            )
            maps.append(values(scaled_dot_product_attention(query, key, np.eye(x.shape[1], dtype="f"), causal=True)))
            x = block(x)
    return np.stack(maps)
