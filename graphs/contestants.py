"""Who takes part in the benchmark: a training step of ours, of NumPy by hand, and of other frameworks.

Each contestant is made with parameters (weights of shape (n_in, n_out) and biases, for every layer), changes them in
`step`, which returns the cost, and shows them in `parameters`. Everything runs in one thread.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from tinygrad_mnist import Tensor, nn, ops, optim
from tinygrad_mnist.losses import quadratic_cost
from tinygrad_mnist.replay import compile
from tinygrad_mnist.tensor import Array

# Read by JAX when it is imported, in its contestant.
os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1")
os.environ.setdefault("JAX_PLATFORMS", "cpu")

Parameters = list[tuple[Array, Array]]
LR = 0.5


class Contestant:
    """One implementation of a training step."""

    name = ""
    needs: tuple[str, ...] = ()  # modules that must be installed

    def __init__(self, parameters: Parameters) -> None:
        self.weights = [w.copy() for w, _ in parameters]
        self.biases = [b.copy() for _, b in parameters]

    def step(self, x: Array, y: Array) -> Any:
        """Train with one mini-batch, and return its cost."""
        raise TypeError(f"{type(self).__name__}: define step()")

    def epoch(self, batches: Sequence[tuple[Array, Array]]) -> Any:
        """Train with many, and wait until it is done."""
        for x, y in batches:
            cost = self.step(x, y)
        return cost

    def parameters(self) -> Parameters:
        """What the weights and biases are now."""
        return [(np.asarray(w), np.asarray(b)) for w, b in zip(self.weights, self.biases, strict=True)]


def sigmoid(z: Any) -> Any:
    """1 / (1 + e^-z), as one writes it."""
    return 1 / (1 + np.exp(-z))


class HandWritten(Contestant):
    """Backpropagation for whole mini-batches, as a person writes it with NumPy for any number of layers."""

    name = "NumPy by hand"

    def step(self, x: Array, y: Array) -> Any:
        """Forward, cost, backward, update."""
        activations = [x]
        for w, b in zip(self.weights, self.biases, strict=True):
            activations.append(sigmoid(activations[-1] @ w + b))
        output = activations[-1]
        cost = 0.5 * np.sum((output - y) ** 2) / len(x)

        delta = (output - y) / len(x) * output * (1 - output)
        gradients = []
        for layer in reversed(range(len(self.weights))):
            a = activations[layer]
            gradients.append((a.T @ delta, delta.sum(axis=0)))
            if layer > 0:
                delta = (delta @ self.weights[layer].T) * a * (1 - a)

        for w, b, (dw, db) in zip(self.weights, self.biases, reversed(gradients), strict=True):
            w -= LR * dw
            b -= LR * db
        return cost


class PerExample(Contestant):
    """The book's algorithm: backpropagation for one example, a column, after the other; gradients are added up."""

    name = "the book's code"

    def __init__(self, parameters: Parameters) -> None:
        self.weights = [np.ascontiguousarray(w.T) for w, _ in parameters]
        self.biases = [b[:, None].copy() for _, b in parameters]

    def step(self, x: Array, y: Array) -> Any:
        """The sum over the examples, then the update."""
        sum_w = [np.zeros_like(w) for w in self.weights]
        sum_b = [np.zeros_like(b) for b in self.biases]
        cost = 0.0
        for column, target in zip(x[:, :, None], y[:, :, None], strict=True):
            example_cost, nabla_w, nabla_b = self.backpropagate(column, target)
            sum_w = [total + one for total, one in zip(sum_w, nabla_w, strict=True)]
            sum_b = [total + one for total, one in zip(sum_b, nabla_b, strict=True)]
            cost += example_cost
        self.weights = [w - LR / len(x) * g for w, g in zip(self.weights, sum_w, strict=True)]
        self.biases = [b - LR / len(x) * g for b, g in zip(self.biases, sum_b, strict=True)]
        return cost / len(x)

    def backpropagate(self, x: Array, y: Array) -> tuple[Any, list[Array], list[Array]]:
        """The cost of one example and its gradients."""
        activations, weighted = [x], []
        for w, b in zip(self.weights, self.biases, strict=True):
            weighted.append(w @ activations[-1] + b)
            activations.append(sigmoid(weighted[-1]))
        cost = 0.5 * np.sum((activations[-1] - y) ** 2)
        delta = (activations[-1] - y) * self.slope(weighted[-1])
        nabla_w, nabla_b = [delta @ activations[-2].T], [delta]
        for layer in range(2, len(self.weights) + 1):
            delta = self.weights[-layer + 1].T @ delta * self.slope(weighted[-layer])
            nabla_w.insert(0, delta @ activations[-layer - 1].T)
            nabla_b.insert(0, delta)
        return cost, nabla_w, nabla_b

    @staticmethod
    def slope(z: Array) -> Any:
        """The derivative of the sigmoid."""
        return sigmoid(z) * (1 - sigmoid(z))

    def parameters(self) -> Parameters:
        """As rows again."""
        return [(w.T, b[:, 0]) for w, b in zip(self.weights, self.biases, strict=True)]


class Eager(Contestant):
    """Ours, op by op."""

    name = "ours, eager"

    def __init__(self, parameters: Parameters) -> None:
        rng = np.random.default_rng(0)
        layers: list[Any] = []
        for w, b in parameters:
            layer = nn.Linear(*w.shape, rng=rng)
            layer.load_state_dict({"weight": w, "bias": b})
            layers += [layer, ops.sigmoid]
        self.network = nn.Sequential(*layers)
        self.optimizer = optim.SGD(self.network.parameters(), lr=LR)

    def train(self, x: Any, y: Any) -> Tensor:
        """An ordinary training step."""
        cost = quadratic_cost(self.network(x), y)
        self.optimizer.zero_grad()
        cost.backward()
        self.optimizer.step()
        return cost

    def step(self, x: Array, y: Array) -> Any:
        """The step with Tensors."""
        return self.train(Tensor(x), Tensor(y))

    def parameters(self) -> Parameters:
        """The network's."""
        arrays = [p.numpy() for p in self.network.parameters()]
        return list(zip(arrays[::2], arrays[1::2], strict=True))


class Compiled(Eager):
    """Ours, recorded and replayed."""

    name = "ours, compiled"

    def __init__(self, parameters: Parameters) -> None:
        super().__init__(parameters)
        self.compiled = compile(self.train)

    def step(self, x: Array, y: Array) -> Any:
        """The program with arrays."""
        return self.compiled(x, y)


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

    def step(self, x: Array, y: Array) -> Any:
        """An ordinary training step."""
        output = self.network(self.torch.from_numpy(x))
        cost = 0.5 * ((output - self.torch.from_numpy(y)) ** 2).sum() / len(x)
        self.optimizer.zero_grad()
        cost.backward()
        self.optimizer.step()
        return cost

    def parameters(self) -> Parameters:
        """With the weights turned as ours are."""
        arrays = [p.detach().numpy() for p in self.network.parameters()]
        return [(w.T, b) for w, b in zip(arrays[::2], arrays[1::2], strict=True)]


class Jax(Contestant):
    """JAX: a step compiled by jit."""

    name = "JAX jit"
    needs = ("jax",)

    def __init__(self, parameters: Parameters) -> None:
        self.jax = importlib.import_module("jax")
        self.state = [(self.jax.numpy.array(w), self.jax.numpy.array(b)) for w, b in parameters]
        self.jitted = self.jax.jit(self.train, donate_argnums=0)

    def train(self, parameters: Any, x: Any, y: Any) -> Any:
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
        self.scan = self.jax.jit(
            lambda state, xs, ys: self.jax.lax.scan(lambda s, xy: self.train(s, *xy), state, (xs, ys)), donate_argnums=0
        )

    def epoch(self, batches: Sequence[tuple[Array, Array]]) -> Any:
        """All of it in one call."""
        self.state, costs = self.scan(self.state, *map(np.stack, zip(*batches, strict=True)))
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


CONTESTANTS: dict[str, type[Contestant]] = {
    "numpy": HandWritten,
    "eager": Eager,
    "compiled": Compiled,
    "book": PerExample,
    "torch": PyTorch,
    "jax": Jax,
    "scan": JaxScan,
    "autograd": HipsAutograd,
}


def installed(name: str) -> bool:
    """Whether all that a contestant needs can be imported."""
    try:
        return all(importlib.import_module(module) for module in CONTESTANTS[name].needs)
    except ImportError:
        return False
