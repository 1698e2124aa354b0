"""The runs of the figures: networks of the zoo, trained anew for a setting and a seed, and what each epoch came to."""

from __future__ import annotations

import functools
from dataclasses import asdict
from typing import Any

import numpy as np

from tinygrad_mnist import grad, mnist
from tinygrad_mnist.train import DivergedError

from .networks import COSTS, Training, network_class
from .sweep import Setting


@functools.cache
def digits(size: int | None = None) -> mnist.Dataset:
    """The data, with the first `size` training digits at most, None for all; read once a process.

    Raises:
        ValueError: there is nothing to validate on.
    """
    if size is not None:
        return digits().head(min(size, len(digits().train)))
    data = mnist.load()
    if len(data.validation) == 0:
        raise ValueError(f"figures need validation images, and {data.source} has fewer than 6 training images")
    return data


def train_network(setting: Setting, seed: int) -> dict[str, Any]:
    """Train a network of the zoo, anew, and return what each epoch came to.

    Args:
        setting: "network", the name of its module; "train_size", the number of digits; "gradients", whether to measure
            the gradients by layer; all else is a setting of the network itself.
        seed: of weights and order.

    Returns:
        "epochs": a dict for each, the fields of `train.Epoch`; "lost_classes": digits never answered in the end;
        "diverged": None, or how it failed; "gradients": at the start and after each epoch ||dC/db|| for each layer.
    """
    training = training_of(setting, seed)
    measured = [gradient_norms(training)] if setting.get("gradients") else []
    diverged = None
    try:
        for _ in training.fit():
            if setting.get("gradients"):
                measured.append(gradient_norms(training))
    except DivergedError as error:
        diverged = str(error)
    return {
        "epochs": [{k: round(v, 5) if isinstance(v, float) else v for k, v in asdict(epoch).items()}
                   for epoch in training.history],
        "lost_classes": [] if diverged else training.lost_classes(),
        "diverged": diverged,
        "gradients": measured,
    }  # fmt: skip


def training_of(setting: Setting, seed: int) -> Training:
    """The network of a setting with its data, ready to train."""
    own = {k: v for k, v in setting.items() if k not in ("network", "train_size", "gradients")}
    if "hidden" in own:
        own["hidden"] = tuple(own["hidden"])
    return Training(network_class(setting["network"])(**own, seed=seed), digits(setting.get("train_size")))


def gradient_norms(training: Training, n: int = 1000) -> list[float]:
    """||dC/db|| of each layer, the book's measure of how fast a layer learns (chapter 5), on n training digits."""
    split = training.data.train
    cost = COSTS[training.network.cost](training.model(split.images[:n]), split.labels[:n])
    biases = [p for name, p in training.model.named_parameters() if name.endswith("bias")]
    return [float(f"{np.linalg.norm(g.data):.5g}") for g in grad(cost, biases)]
