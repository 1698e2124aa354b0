"""The proof that the framework replaces hand-coded backpropagation.

Beside it stands the algorithm of the book, chapters 1 to 3, in plain NumPy: one example at a time, as columns, with
the four equations of backpropagation written out. Same digits, same start, float64: the same gradients, and the same
weights after 200 mini-batches.
"""

import itertools

import numpy as np
import pytest

from tinygrad_mnist import mnist, nn, sigmoid
from tinygrad_mnist.losses import cross_entropy_cost, quadratic_cost
from tinygrad_mnist.optim import SGD

SIZES = (784, 30, 10)


class ByHand:
    """The book's network: weights of shape (neurons, inputs), biases and activations as columns."""

    def __init__(self, weights, biases, cost):
        self.weights = [w.T.copy() for w in weights]
        self.biases = [b[:, None].copy() for b in biases]
        self.cost = cost

    def backpropagation(self, x, y):
        """The gradient of one example's cost with respect to biases and weights."""
        activation, activations, slopes = x, [x], []
        for w, b in zip(self.weights, self.biases, strict=True):
            activation = 1 / (1 + np.exp(-(w @ activation + b)))
            activations.append(activation)
            slopes.append(activation * (1 - activation))
        delta = activations[-1] - y  # (BP1): the slope of the cost, times σ'(z), which cross-entropy cancels
        if self.cost == "quadratic":
            delta = delta * slopes[-1]
        bias_gradients, weight_gradients = [delta], [delta @ activations[-2].T]  # (BP3), (BP4)
        for layer in range(2, len(self.weights) + 1):
            delta = (self.weights[-layer + 1].T @ delta) * slopes[-layer]  # (BP2)
            bias_gradients.insert(0, delta)
            weight_gradients.insert(0, delta @ activations[-layer - 1].T)
        return bias_gradients, weight_gradients

    def gradient(self, images, targets):
        """The mean over a mini-batch."""
        of_biases = [np.zeros_like(b) for b in self.biases]
        of_weights = [np.zeros_like(w) for w in self.weights]
        for x, y in zip(images, targets, strict=True):
            bias_parts, weight_parts = self.backpropagation(x[:, None], y[:, None])
            of_biases = [total + part for total, part in zip(of_biases, bias_parts, strict=True)]
            of_weights = [total + part for total, part in zip(of_weights, weight_parts, strict=True)]
        return [b / len(images) for b in of_biases], [w / len(images) for w in of_weights]

    def step(self, images, targets, eta):
        of_biases, of_weights = self.gradient(images, targets)
        self.biases = [b - eta * g for b, g in zip(self.biases, of_biases, strict=True)]
        self.weights = [w - eta * g for w, g in zip(self.weights, of_weights, strict=True)]


COSTS = {"quadratic": (quadratic_cost, 3.0), "cross-entropy": (cross_entropy_cost, 0.5)}
EACH_COST = pytest.mark.parametrize("cost", COSTS)


@pytest.fixture(scope="module")
def digits():
    return mnist.load().head(2000).train


def both(sizes, cost, init="normal"):
    """The framework's network and the book's, with the same weights."""
    rng = np.random.default_rng(0)
    layers = [nn.Linear(n_in, n_out, init=init, rng=rng, dtype=np.float64) for n_in, n_out in itertools.pairwise(sizes)]
    network = nn.Sequential(*(part for layer in layers for part in (layer, sigmoid)))
    return network, layers, ByHand([layer.weight.data for layer in layers], [layer.bias.data for layer in layers], cost)


@EACH_COST
@pytest.mark.parametrize("sizes", [SIZES, (784, 10), (784, 20, 15, 10)], ids=str)
@pytest.mark.parametrize("init", ["normal", "scaled"])
def test_gradients_are_those_of_backpropagation(digits, cost, sizes, init):
    network, layers, book = both(sizes, cost, init)
    images, targets = digits.images[:10].astype(np.float64), np.eye(10)[digits.labels[:10]]
    COSTS[cost][0](network(images), targets).backward()
    of_biases, of_weights = book.gradient(images, targets)
    for layer, b, w in zip(layers, of_biases, of_weights, strict=True):
        np.testing.assert_allclose(layer.weight.grad.data, w.T, rtol=1e-12, atol=1e-12 * np.abs(w).max())
        np.testing.assert_allclose(layer.bias.grad.data, b[:, 0], rtol=1e-12, atol=1e-12 * np.abs(b).max())


@EACH_COST
def test_weights_after_200_mini_batches_are_those_of_the_book(digits, cost):
    network, layers, book = both(SIZES, cost)
    start = layers[0].weight.data.copy()
    function, eta = COSTS[cost]
    optimizer = SGD(network.parameters(), lr=eta)
    rows = np.eye(10)
    batches = list(mnist.batches(digits, 10, np.random.default_rng(1)))
    assert len(batches) == 200
    for images, labels in batches:
        x, y = images.astype(np.float64), rows[labels]
        optimizer.zero_grad()
        function(network(x), y).backward()
        optimizer.step()
        book.step(x, y, eta)
    # Rounding differs (a sum of examples, a product of matrices), and 200 steps may magnify it: to 4e-15 here.
    for layer, b, w in zip(layers, book.biases, book.weights, strict=True):
        np.testing.assert_allclose(layer.weight.data, w.T, rtol=0, atol=1e-12)
        np.testing.assert_allclose(layer.bias.data, b[:, 0], rtol=0, atol=1e-12)
    assert np.abs(layers[0].weight.data - start).max() > 0.1
