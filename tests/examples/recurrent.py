"""A recurrent network that reads a digit row by row, from top to bottom, as a sequence of 28 vectors of 28 pixels.

hₜ = tanh(xₜ W + hₜ₋₁ U + b) (Elman, 1990); the class is read off the last h. `python -m tests.examples.recurrent`
"""

from typing import Any

import numpy as np

from tinygrad_mnist import mnist, nn, optim, stack, tanh, train
from tinygrad_mnist.command import Parser
from tinygrad_mnist.losses import cross_entropy


class Recurrent(nn.Module):
    """(n, 784) pixels -> (n, 10) logits."""

    def __init__(self, rng, hidden=96):
        self.of_row = nn.Linear(28, hidden, init="xavier", rng=rng)
        self.of_state = nn.Linear(hidden, hidden, init="scaled", bias=False, rng=rng)
        self.norm, self.output = nn.LayerNorm(2 * hidden), nn.Linear(2 * hidden, 10, rng=rng)

    def forward(self, images):
        rows = self.of_row(images.reshape(-1, 28, 28))  # of all rows at once: they do not depend on the state
        states = [tanh(rows[:, 0])]
        for t in range(1, 28):
            states.append(tanh(rows[:, t] + self.of_state(states[-1])))
        return self.output(self.norm(stack([states[-1], states[13]], 1).reshape(len(images), -1)))


def main(epochs=3):
    model = Recurrent(rng := np.random.default_rng(0))
    settings: Any = {"cost": cross_entropy, "optimizer": optim.Momentum(model.parameters(), lr=0.01), "batch_size": 32}
    for epoch in train.fit(model, mnist.load(), epochs=epochs, rng=rng, backend="numpy", **settings):
        print(f"epoch {epoch.epoch}  cost {epoch.cost:.3f}  test {epoch.test:.2%}", flush=True)


if __name__ == "__main__":
    Parser("python -m tests.examples.recurrent", __doc__).parse_args()
    main()
