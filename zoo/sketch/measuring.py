"""What is measured of a network while it trains: the points of the page's curves, and what it makes of each class."""

from __future__ import annotations

import numpy as np

from tinygrad_mnist import nn, train
from tinygrad_mnist.mode import enable_grad
from tinygrad_mnist.optim import Optimizer
from tinygrad_mnist.tensor import Array, Tensor, leaf

from .seeing import SATURATED, Numbers, evaluation, finite, layers_of, rms, slopes, weighted
from .subjects import Subject

SAMPLE = 1000
"""On how many validation digits, the first ones, cost and accuracy are measured while the network trains."""

LOOKED_INTO = 100
"""On how many of these the slopes of all neurons are measured."""


def measured(subject: Subject, step: int) -> tuple[Numbers, Numbers]:
    """How a training stands after a step.

    Returns:
        A point of the curves, on the first `SAMPLE` validation digits: `step`; `cost`; `validation`, the share that is
        right; `gradients`, the RMS of the last step's, by parameter; `velocity` (see `velocity_of`); `saturated`, the
        share of saturated neurons by layer, on `LOOKED_INTO` digits. And what concerns the classes, as `by_class` says.
    """
    training, data = subject.training, subject.data
    split = data.validation if len(data.validation) else data.train
    images, labels = split.images[:SAMPLE], split.labels[:SAMPLE]
    targets = np.eye(data.n_classes, dtype=np.float32)[labels]
    with np.errstate(all="ignore"), evaluation(training.model):
        outputs = train.evaluate(training.model, images)
        cost = subject.cost(leaf(outputs), leaf(targets)).item()
        shown = subject.probabilities(outputs)
        layers = _slopes_of(training.model, images[:LOOKED_INTO])
    point = {
        "step": step,
        "cost": finite(cost),
        "validation": float(np.mean(shown.argmax(1) == labels)),
        "gradients": gradients(training.model),
        "velocity": velocity_of(training.optimizer),
        "saturated": {name: float(np.mean(np.abs(slope) < SATURATED)) for name, (_, slope) in layers.items()},
    }
    sigmoids = layers.get("outputs", ("", None))[0] == "sigmoid"
    return point, by_class(shown, labels, data.n_classes, sigmoids)


def by_class(outputs: Array, labels: Array, n_classes: int, sigmoids: bool) -> Numbers:
    """What a network makes of each class.

    Args:
        outputs: as they are shown, of shape (n, n_classes).
        labels: what the n digits are.
        n_classes: how many there are.
        sigmoids: whether the outputs are those of sigmoids.

    Returns:
        `recall`: of the digits of each class, the share that is recognized; `precision`: of the digits that the
        network takes for each class, the share that it is right about; None where there are none. And `lost`, the
        classes that are never recognized (less than one digit in a hundred) because their own output is saturated:
        `label`, the median `output` on images of their own, and its `slope` σ' = a (1 - a).
    """
    answers = np.nan_to_num(outputs, nan=-np.inf).argmax(1)
    recall, precision, lost = list[float | None](), list[float | None](), list[Numbers]()
    for c in range(n_classes):
        own, taken = labels == c, answers == c
        recall.append(float(taken[own].mean()) if own.any() else None)
        precision.append(float(own[taken].mean()) if taken.any() else None)
        if sigmoids and own.any() and taken[own].mean() < 0.01:
            a = float(np.median(outputs[own, c]))
            if a * (1 - a) < SATURATED:
                lost.append({"label": c, "output": a, "slope": a * (1 - a)})
    return {"recall": recall, "precision": precision, "lost": lost}


def neuron(subject: Subject, number: int) -> Numbers:
    """What a neuron of the first hidden layer says: its mean activation on the digits of each class.

    Returns:
        `neuron`, its number; `digits`, on how many it was measured; `means`, by class, None where there is no digit;
        or None for all, if the first weights do not lead to a hidden layer of single neurons.
    """
    model, data = subject.training.model, subject.data
    split = data.validation if len(data.validation) else data.train
    labels = split.labels[:SAMPLE]
    with np.errstate(all="ignore"), evaluation(model):
        said = _hidden(model, split.images[:SAMPLE], number)
    if said is None:
        return {"neuron": number, "digits": 0, "means": None}
    means = [finite(said[labels == c].mean()) if (labels == c).any() else None for c in range(data.n_classes)]
    return {"neuron": number, "digits": len(labels), "means": means}


def _hidden(model: nn.Module, images: Array, number: int) -> Array | None:
    """The activations of a neuron of the first hidden layer; None if there is none."""
    for some in (images[:1], images):  # of one image first: where weights are kernels, many would take much memory
        with enable_grad():
            outputs = model(Tensor(some.astype(np.float32)))
        found, layers = weighted(outputs), layers_of(outputs)
        if not found or found[0][1].ndim != 2 or len(layers) < 2 or layers[0][1].ndim != 2:
            return None
    return layers[0][1].data[:, number]


def _slopes_of(model: nn.Module, images: Array) -> dict[str, tuple[str, Array]]:
    """For each layer, by name, its activation function and the slopes of its neurons on some images."""
    with enable_grad():
        outputs = model(Tensor(images.astype(np.float32)))
    found = [(name, node, slopes(node)) for name, node in layers_of(outputs)]
    return {name: (node.op.name, slope) for name, node, slope in found if node.op and slope is not None}


def velocity_of(optimizer: Optimizer) -> float | None:
    """How long the velocity is that moves the weights, in lengths of the last step's gradient: ‖v‖ / ‖∂C/∂w‖.

    With momentum μ it tends to 1 / (1 - μ) where all gradients agree; None of an optimizer without a velocity.
    """
    parts = [
        (state["velocity"], p.grad.data)
        for p, state in optimizer.state.items()
        if "velocity" in state and isinstance(p.grad, Tensor)
    ]
    if not parts:
        return None
    with np.errstate(all="ignore"):
        v, g = (np.sqrt(sum(np.sum(np.square(x, dtype=np.float64)) for x in each)) for each in zip(*parts, strict=True))
        return finite(v / g)


def gradients(model: nn.Module) -> dict[str, float | None]:
    """The RMS of the gradients of the last step, by parameter; None before the first."""
    with np.errstate(all="ignore"):
        return {
            name: finite(rms(p.grad.data)) if isinstance(p.grad, Tensor) else None
            for name, p in model.named_parameters()
        }
