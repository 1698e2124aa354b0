"""A batch-normalized network: each hidden layer's weighted inputs have mean 0 and variance 1 over the batch.

Ioffe and Szegedy, 2015. It stands a learning rate of 0.5, ten times that of the others. `python -m
tests.examples.normalized`
"""

from typing import Any

import numpy as np

from tinygrad_mnist import mnist, nn, optim, train
from tinygrad_mnist.command import Parser
from tinygrad_mnist.losses import cross_entropy


def layer(n_in, n_out, rng):
    """A layer without biases, which the norm would take out again, and has itself."""
    return nn.Linear(n_in, n_out, init="he", bias=False, rng=rng), nn.BatchNorm1d(n_out), nn.ReLU()


def network(rng, hidden=64):
    """(n, 784) pixels -> (n, 10) logits."""
    return nn.Sequential(*layer(784, hidden, rng), *layer(hidden, hidden, rng), nn.Linear(hidden, 10, rng=rng))


def main(epochs=3):
    rng = np.random.default_rng(0)
    model = network(rng)
    settings: Any = {"cost": cross_entropy, "optimizer": optim.SGD(model.parameters(), lr=0.5), "batch_size": 32}
    for epoch in train.fit(model, mnist.load(), epochs=epochs, rng=rng, backend="numpy", **settings):
        print(f"epoch {epoch.epoch}  cost {epoch.cost:.3f}  test {epoch.test:.2%}", flush=True)


if __name__ == "__main__":
    Parser("python -m tests.examples.normalized", __doc__).parse_args()
    main()
