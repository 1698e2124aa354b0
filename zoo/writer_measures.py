"""How well the writer writes: read by a network that never saw a written digit, and compared with what it learned from.

digits held out         cost in nats a patch; ln 64 = 4.16 would be a guess
read as asked           the share of its digits that zoo.network3 reads as the class that was asked for
real digits             the same of real digits, and of real digits through the codebook, which is the most it can be
classes                 argmax p(image | class) on real digits: who can write can read
copies                  in how many patches a digit differs from the nearest training digit
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from tinygrad_mnist import mnist, nn, train
from tinygrad_mnist.tensor import Array
from tinygrad_mnist.train import CheckpointError

from .base import BaseNetwork
from .consistency import model_of
from .patches import CODES
from .training import activations, settings_of
from .transformer import Writer, class_likelihoods, log_likelihood, write

MOST = 1000
"""How many digits of each kind are measured on."""


class Reader:
    """A network of the zoo that says which digits it reads; a CheckpointError if it is none, or of other images."""

    network: BaseNetwork
    model: nn.Module

    def __init__(self, file: Path, writer: Writer) -> None:
        checkpoint = train.load(file)
        self.network, about = settings_of(checkpoint), checkpoint.settings["data"]
        if (tuple(about["image_shape"]), about["n_classes"]) != (writer.image_shape, writer.n_classes):
            raise CheckpointError(
                f"{file}: reads {about['n_classes']} classes of images of {about['image_shape'][0]} x "
                f"{about['image_shape'][1]}, the writer writes others; name one that was trained on the same data"
            )
        self.model = model_of(checkpoint, self.network)

    def read(self, images: Array) -> Array:
        """The class of each image, shape (n, pixels) -> (n,)."""
        return activations(self.network, self.model, images).argmax(1)


def written(writer: Writer, classes: Array, rng: np.random.Generator, temperature: float) -> Array:
    """Digits of these classes, as symbols (n, 1 + patches); a hundred are written at once."""
    start = CODES + np.asarray(classes)[:, None]
    return np.concatenate([write(writer, start[i : i + 100], rng, temperature) for i in range(0, len(start), 100)])


def differences(symbols: Array, known: Array) -> Array:
    """In how many patches each digit differs from the nearest of the known ones: (n, 1 + p), (m, 1 + p) -> (n,)."""
    codes = known[:, 1:].astype(np.uint8)
    return np.array([(codes != row).sum(1).min() for row in symbols[:, 1:].astype(np.uint8)])


def report(
    writer: Writer, data: mnist.Dataset, reader: Reader | None, rng: np.random.Generator, temperature: float, most: int
) -> Iterator[str]:
    """Measure, and yield a line for each result.

    Args:
        writer: what is measured.
        data: what it learned from.
        reader: who reads; None if there is none.
        rng: draws what is written.
        temperature: at which it writes.
        most: how many digits of each kind.
    """
    held_out = data.validation[:most]
    cost = -log_likelihood(writer, writer.encoded(held_out.images, held_out.labels)).mean() / writer.length
    yield f"held-out cost         {cost:.3f} nats a patch, on {len(held_out):,} validation digits"
    classes = np.arange(most) % writer.n_classes
    ours = written(writer, classes, rng, temperature)
    real = data.test if data.test is not None else data.validation
    real = real[:most]
    symbols = writer.encoded(real.images, real.labels)
    if reader is not None:
        right = reader.read(writer.decoded(ours)) == classes
        yield f"read as asked         {right.mean():.1%} of {most:,} written at temperature {temperature:g}"
        worst = min(range(writer.n_classes), key=lambda c: right[classes == c].mean() if (classes == c).any() else 1)
        yield f"  the hardest         {right[classes == worst].mean():.1%} of its {worst}"
        coded, plain = (reader.read(images) == real.labels for images in (writer.decoded(symbols), real.images))
        yield f"real digits           {coded.mean():.1%} through the codebook, {plain.mean():.1%} as they are"
    likelihoods = class_likelihoods(writer, symbols)
    share = (likelihoods.argmax(1) == real.labels).mean()
    yield f"argmax p(image|class) {share:.1%} of {len(real):,} real digits"
    known = writer.encoded(data.train.images, data.train.labels)
    for name, some in (("written digits", ours), ("real digits", symbols)):
        apart = differences(some, known)
        yield (
            f"copies                {name} differ from the nearest training digit in {np.median(apart):g} of "
            f"{writer.length} patches (median), {(apart == 0).sum()} of {len(apart):,} in none"
        )
