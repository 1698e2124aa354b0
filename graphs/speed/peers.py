"""Other frameworks, each as its users write a training step, in one thread; imported when one takes part."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tinygrad_mnist.tensor import Array

from .contestant import LR, Contestant, Parameters

# Read by JAX when it is imported, in its contestant.
os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1")
os.environ.setdefault("JAX_PLATFORMS", "cpu")


class PyTorch(Contestant):
    """PyTorch, eager, with one thread."""

    name = "PyTorch eager"
    needs = ("torch",)

    def __init__(self, parameters: Parameters) -> None:
        torch = self.torch = importlib.import_module("torch")
        torch.set_num_threads(1)
        layers = []
        for w, b in parameters:
            layer = torch.nn.Linear(*w.shape)
            with torch.no_grad():
                layer.weight.copy_(torch.from_numpy(w.T.copy()))
                layer.bias.copy_(torch.from_numpy(b))
            layers += [layer, torch.nn.Sigmoid()]
        self.network = torch.nn.Sequential(*layers)
        self.optimizer = torch.optim.SGD(self.network.parameters(), lr=LR)
        self.forward: Callable[..., Any] = self.cost

    def cost(self, x: Any, y: Any) -> Any:
        """The quadratic cost."""
        return 0.5 * ((self.network(x) - y) ** 2).sum() / len(x)

    def step(self, x: Array, y: Array) -> Any:
        """An ordinary training step."""
        cost = self.forward(self.torch.from_numpy(x), self.torch.from_numpy(y))
        self.optimizer.zero_grad()
        cost.backward()
        self.optimizer.step()
        return cost

    def parameters(self) -> Parameters:
        """With the weights turned as ours are."""
        arrays = [p.detach().numpy() for p in self.network.parameters()]
        return [(w.T, b) for w, b in zip(arrays[::2], arrays[1::2], strict=True)]


class TorchCompiled(PyTorch):
    """PyTorch with the network and its cost compiled: torch.compile, with one thread."""

    name = "torch.compile"

    def __init__(self, parameters: Parameters) -> None:
        super().__init__(parameters)
        os.environ["OMP_NUM_THREADS"] = "1"
        self.torch._dynamo.reset()  # else it compiles for sizes that change from the second size on
        self.forward = self.torch.compile(self.cost, dynamic=False)


class Jax(Contestant):
    """JAX: a step compiled by jit."""

    name = "JAX jit"
    needs = ("jax",)

    def __init__(self, parameters: Parameters) -> None:
        self.jax = importlib.import_module("jax")
        self.state = [(self.jax.numpy.array(w), self.jax.numpy.array(b)) for w, b in parameters]
        self.jitted = self.jax.jit(self.trained, donate_argnums=0)

    def trained(self, parameters: Any, x: Any, y: Any) -> Any:
        """New parameters and the cost."""

        def cost(parameters: Any) -> Any:
            a = x
            for w, b in parameters:
                a = self.jax.nn.sigmoid(a @ w + b)
            return 0.5 * ((a - y) ** 2).sum() / len(x)

        value, gradients = self.jax.value_and_grad(cost)(parameters)
        return self.jax.tree.map(lambda p, g: p - LR * g, parameters, gradients), value

    def step(self, x: Array, y: Array) -> Any:
        """Does not wait for the result."""
        self.state, cost = self.jitted(self.state, x, y)
        return cost

    def epoch(self, batches: Sequence[tuple[Array, Array]]) -> Any:
        """Waits once, at the end."""
        cost = super().epoch(batches)
        self.jax.block_until_ready(self.state)
        return cost

    def parameters(self) -> Parameters:
        """As arrays."""
        return [(np.asarray(w), np.asarray(b)) for w, b in self.state]


class JaxScan(Jax):
    """JAX: all steps of an epoch compiled as one loop."""

    name = "JAX scan"

    def __init__(self, parameters: Parameters) -> None:
        super().__init__(parameters)
        self.known: Any = None
        self.scan = self.jax.jit(
            lambda state, xs, ys: self.jax.lax.scan(lambda s, xy: self.trained(s, *xy), state, (xs, ys)),
            donate_argnums=0,
        )
        self.gathering = self.jax.jit(
            lambda state, x, y, rows: self.jax.lax.scan(lambda s, r: self.trained(s, x[r], y[r]), state, rows),
            donate_argnums=0,
        )

    def epoch(self, batches: Sequence[tuple[Array, Array]]) -> Any:
        """All of it in one call. Batches that came before are on the device already, as who writes a scan has them."""
        if batches is not self.known:
            self.known = batches
            self.data = [self.jax.device_put(np.stack(part)) for part in zip(*batches, strict=True)]
        self.state, costs = self.scan(self.state, *self.data)
        self.jax.block_until_ready(self.state)
        return costs[-1]

    def train_epoch(self, x: Array, y: Array, order: Array, size: int) -> Any:
        """The data is on the device from the first epoch on; only the order goes there."""
        if x is not self.known:
            self.known, self.data = x, [self.jax.device_put(part) for part in (x, y)]
        rows = order[: len(order) // size * size].reshape(-1, size)
        self.state, costs = self.gathering(self.state, *self.data, rows)
        self.jax.block_until_ready(self.state)
        return costs[-1]


class HipsAutograd(Contestant):
    """HIPS autograd."""

    name = "HIPS autograd"
    needs = ("autograd",)

    def __init__(self, parameters: Parameters) -> None:
        super().__init__(parameters)
        numpy = importlib.import_module("autograd.numpy")

        def cost(parameters: Any, x: Array, y: Array) -> Any:
            a = x
            for w, b in parameters:
                a = 1 / (1 + numpy.exp(-(numpy.dot(a, w) + b)))
            return 0.5 * numpy.sum((a - y) ** 2) / len(x)

        self.value_and_grad = importlib.import_module("autograd").value_and_grad(cost)

    def step(self, x: Array, y: Array) -> Any:
        """Gradients, then the update."""
        pairs = list(zip(self.weights, self.biases, strict=True))
        cost, gradients = self.value_and_grad(pairs, x, y)
        for (w, b), (dw, db) in zip(pairs, gradients, strict=True):
            w -= LR * dw
            b -= LR * db
        return cost
