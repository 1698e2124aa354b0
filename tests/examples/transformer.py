"""A small transformer (Vaswani et al., 2017) on a digit's 28 rows: `python -m tests.examples.transformer`."""

from typing import Any

import numpy as np

from tinygrad_mnist import Tensor, mnist, nn, optim, train
from tinygrad_mnist.command import Parser
from tinygrad_mnist.losses import cross_entropy


class Block(nn.Module):
    def __init__(self, size, heads, rng):
        self.norm, self.attention = nn.LayerNorm(size), nn.MultiheadAttention(size, heads, rng=rng)
        self.layers = nn.Sequential(
            nn.LayerNorm(size), nn.Linear(size, 2 * size, rng=rng), nn.GELU("tanh"), nn.Linear(2 * size, size, rng=rng)
        )

    def forward(self, x):
        x = x + self.attention(self.norm(x))
        return x + self.layers(x)


class Transformer(nn.Module):
    def __init__(self, rng, size=32, heads=4):
        self.of_row = nn.Linear(28, size, rng=rng)
        self.places = Tensor(rng.standard_normal((28, size)).astype("f") * 0.1, requires_grad=True)
        self.blocks = nn.Sequential(*(Block(size, heads, rng) for _ in range(2)))
        self.output = nn.Sequential(nn.LayerNorm(size), nn.Linear(size, 10, rng=rng))

    def forward(self, images):
        return self.output(self.blocks(self.of_row(images.reshape(-1, 28, 28)) + self.places).mean(1))


if __name__ == "__main__":
    Parser("python -m tests.examples.transformer", __doc__).parse_args()
    model = Transformer(rng := np.random.default_rng(0))
    settings: Any = {"cost": cross_entropy, "optimizer": optim.Momentum(model.parameters(), lr=0.1), "batch_size": 32}
    for epoch in train.fit(model, mnist.load(), epochs=3, rng=rng, backend="numpy", **settings):
        print(f"epoch {epoch.epoch}  cost {epoch.cost:.3f}  test {epoch.test:.2%}", flush=True)
