"""NumPy by hand: backpropagation as a person writes it for whole mini-batches, and as the book does for one example."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_mnist.tensor import Array

from .contestant import LR, Contestant, Parameters


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


class StraightLine(Contestant):
    """The same for a network of one hidden layer, written out: no loop over layers, and np.dot in place of @."""

    name = "NumPy by hand, written out"

    def __init__(self, parameters: Parameters) -> None:
        super().__init__(parameters)
        (self.w1, self.w2), (self.b1, self.b2) = self.weights, self.biases

    def step(self, x: Array, y: Array) -> Any:
        """Forward, cost, backward, update."""
        w1, b1, w2, b2 = self.w1, self.b1, self.w2, self.b2
        hidden = sigmoid(np.dot(x, w1) + b1)
        output = sigmoid(np.dot(hidden, w2) + b2)
        error = output - y
        cost = 0.5 * np.sum(error * error) / len(x)
        delta2 = error / len(x) * output * (1 - output)
        delta1 = np.dot(delta2, w2.T) * hidden * (1 - hidden)
        w2 -= LR * np.dot(hidden.T, delta2)
        b2 -= LR * delta2.sum(axis=0)
        w1 -= LR * np.dot(x.T, delta1)
        b1 -= LR * delta1.sum(axis=0)
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
