"""A step of a convolutional network, that of `zoo.custom`: ours, and as users of PyTorch and JAX write it."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import numpy as np

from tinygrad_mnist import compile
from tinygrad_mnist.losses import softmax_cross_entropy
from tinygrad_mnist.optim import SGD
from tinygrad_mnist.tensor import Array

from ..networks import Convolutional

LR = 0.05


def network() -> Convolutional:
    """The network that all begin with."""
    return Convolutional((28, 28), 10, np.random.default_rng(0))


class Eager:
    """Ours, op by op."""

    backend = "eager"

    def __init__(self) -> None:
        self.network = network()
        self.optimizer = SGD(self.network.parameters(), lr=LR)
        self.step = compile(self.train, backend=self.backend)

    def train(self, x: Any, y: Any) -> Any:
        """An ordinary training step."""
        cost = softmax_cross_entropy(self.network(x), y)
        self.optimizer.zero_grad()
        cost.backward()
        self.optimizer.step()
        return cost


class Compiled(Eager):
    """Ours, recorded and replayed."""

    backend = "numpy"


class Native(Eager):
    """Ours, recorded and replayed in C."""

    backend = "c"


class PyTorch:
    """PyTorch, eager, with one thread."""

    def __init__(self) -> None:
        torch = self.torch = importlib.import_module("torch")
        torch.set_num_threads(1)
        ours = network()
        made = [torch.nn.Conv2d(1, 8, 5), torch.nn.Conv2d(8, 16, 5), torch.nn.Linear(256, 10)]
        with torch.no_grad():
            arrays = [p.data for p in ours.parameters()]  # writable, without which from_numpy warns
            for layer, weight, bias in zip(made, arrays[::2], arrays[1::2], strict=True):
                layer.weight.copy_(torch.from_numpy(weight.T.copy() if weight.ndim == 2 else weight))
                layer.bias.copy_(torch.from_numpy(bias.reshape(-1)))
        first, second, output = made
        pool, relu = torch.nn.MaxPool2d(2), torch.nn.ReLU()
        self.network = torch.nn.Sequential(first, relu, pool, second, relu, pool, torch.nn.Flatten(), output)
        self.optimizer = torch.optim.SGD(self.network.parameters(), lr=LR)
        self.forward: Callable[..., Any] = self.cost

    def cost(self, x: Any, y: Any) -> Any:
        """Cross-entropy of softmax."""
        return self.torch.nn.functional.cross_entropy(self.network(x), y)

    def step(self, x: Array, y: Array) -> Any:
        """An ordinary training step."""
        cost = self.forward(self.torch.from_numpy(x).reshape(-1, 1, 28, 28), self.torch.from_numpy(y))
        self.optimizer.zero_grad()
        cost.backward()
        self.optimizer.step()
        return cost.detach()  # of one that requires gradients float() warns


class TorchCompiled(PyTorch):
    """The same with the network and its cost compiled."""

    def __init__(self) -> None:
        super().__init__()
        self.torch._dynamo.reset()
        self.forward = self.torch.compile(self.cost, dynamic=False)


class Jax:
    """JAX: a step compiled by jit."""

    def __init__(self) -> None:
        self.jax = importlib.import_module("jax")
        state = {name: self.jax.numpy.array(p.numpy()) for name, p in network().named_parameters()}
        self.state, self.jitted = state, self.jax.jit(self.trained, donate_argnums=0)

    def cost(self, state: Any, x: Any, y: Any) -> Any:
        """Cross-entropy of softmax."""
        lax, a = self.jax.lax, x.reshape(-1, 1, 28, 28)
        for name in ("first", "second"):
            a = lax.conv_general_dilated(a, state[f"{name}.weight"], (1, 1), "VALID") + state[f"{name}.bias"]
            a = lax.reduce_window(self.jax.nn.relu(a), -np.inf, lax.max, (1, 1, 2, 2), (1, 1, 2, 2), "VALID")
        z = a.reshape(len(x), -1) @ state["output.weight"] + state["output.bias"]
        return -(y * self.jax.nn.log_softmax(z)).sum() / len(x)

    def trained(self, state: Any, x: Any, y: Any) -> Any:
        """New parameters and the cost."""
        value, gradients = self.jax.value_and_grad(self.cost)(state, x, y)
        return self.jax.tree.map(lambda p, g: p - LR * g, state, gradients), value

    def step(self, x: Array, y: Array) -> Any:
        """Waits for the cost."""
        self.state, cost = self.jitted(self.state, x, y)
        return cost.block_until_ready()


STEPS: dict[str, Any] = {
    "eager": Eager,
    "compiled": Compiled,
    "c": Native,
    "torch": PyTorch,
    "torchc": TorchCompiled,
    "jax": Jax,
}
"""Who takes part, by the names of the contestants."""
