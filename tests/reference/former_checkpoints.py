"""How `former_SGD.npz`, `former_Momentum.npz`, `former_Nesterov.npz` and `former_Adam.npz` were made.

They are checkpoints of the former format, "tinygrad_mnist checkpoint 1", in which an optimizer kept one array for a
parameter, its velocity, and files held them by position. They were written by version 0.1.0 with the lines below, after
three steps; `former_checkpoints.json` has the parameters in hexadecimal after three steps more, which a later version
must come to, to the bit. All of it is elementwise float32, so that no processor computes it otherwise.

    python -m tests.reference.former_checkpoints    # with version 0.1.0 alone
"""

import json
from pathlib import Path

import numpy as np

from tinygrad_mnist import Tensor, nn, train
from tinygrad_mnist.optim import SGD, Momentum, Nesterov, StepLR

HERE = Path(__file__).parent


class Pair(nn.Module):
    """Two parameters of different shapes."""

    def __init__(self):
        self.weight = Tensor(np.linspace(-1, 1, 6, dtype=np.float32).reshape(3, 2), requires_grad=True)
        self.bias = Tensor(np.array([0.5, -0.25], np.float32), requires_grad=True)


def made(kind, **options):
    """A model, its optimizer of two groups, a schedule and a generator."""
    model = Pair()
    groups = [{"params": [model.weight], "weight_decay": 0.01}, {"params": [model.bias], "lr": 0.3}]
    optimizer = kind(groups, lr=0.1, **options)
    return model, optimizer, StepLR(optimizer, 2, 0.5), np.random.default_rng(7)


def steps(count, model, optimizer, schedule, rng):
    """Some steps with gradients that the generator draws."""
    for _ in range(count):
        for p in model.parameters():
            p.grad = Tensor((rng.integers(-999, 999, p.shape) / 1000).astype(np.float32))
        optimizer.step()
        schedule.step()


def main():
    """Write the files."""
    from zoo.custom import Adam

    after = {}
    for kind in (SGD, Momentum, Nesterov, Adam):
        parts = made(kind)
        steps(3, *parts)
        model, optimizer, schedule, rng = parts
        train.save(HERE / f"former_{kind.__name__}.npz", model, optimizer, schedule=schedule, rng=rng)
        steps(3, *parts)
        after[kind.__name__] = {name: array.tobytes().hex() for name, array in model.state_dict().items()}
    (HERE / "former_checkpoints.json").write_text(json.dumps(after, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
