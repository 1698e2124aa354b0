"""Images as symbols: cut into patches of 4 x 4 pixels, each of which is replaced by the nearest of 64 in a codebook.

A digit of MNIST becomes 7 x 7 = 49 symbols, row by row from the upper left, as a text is a row of letters. The codebook
is found by k-means (Lloyd, "Least Squares Quantization in PCM", 1982): take each patch to the nearest entry, move each
entry to the mean of its patches, and again. Images as codes out of a book, which a network then writes, are the idea of
van den Oord, Vinyals and Kavukcuoglu, "Neural Discrete Representation Learning", 2017; there the book is learned too.
"""

from __future__ import annotations

import math

import numpy as np

from tinygrad_mnist.tensor import Array

SIDE = 4
"""Pixels along the side of a patch."""

CODES = 64
"""Entries of a codebook."""

_AT_ONCE = 1000
"""How many images are encoded at once: their distances take 13 MB; those of all of MNIST's would take 600 MB."""


def grid_of(shape: tuple[int, int]) -> tuple[int, int]:
    """Rows and columns of patches in images of a shape.

    Raises:
        ValueError: the images cannot be cut into patches.

    >>> grid_of((28, 28))
    (7, 7)
    """
    rows, columns = shape
    if min(shape) < SIDE or rows % SIDE or columns % SIDE:
        raise ValueError(
            f"images of {rows} x {columns} pixels cannot be cut into patches of {SIDE} x {SIDE}; pad them to multiples"
        )
    return rows // SIDE, columns // SIDE


def cut(images: Array, shape: tuple[int, int]) -> Array:
    """Images, shape (n, pixels), as patches, shape (n, patches, 16); `joined` is the way back."""
    rows, columns = grid_of(shape)
    apart = images.reshape(-1, rows, SIDE, columns, SIDE).swapaxes(2, 3)
    return apart.reshape(len(images), rows * columns, SIDE * SIDE)


def joined(patches: Array, shape: tuple[int, int]) -> Array:
    """Patches, shape (n, patches, 16), as images, shape (n, pixels)."""
    rows, columns = grid_of(shape)
    apart = patches.reshape(-1, rows, columns, SIDE, SIDE).swapaxes(2, 3)
    return apart.reshape(len(patches), rows * SIDE * columns * SIDE)


def codebook_of(images: Array, shape: tuple[int, int], rng: np.random.Generator, rounds: int = 15) -> Array:
    """The codebook for images like these, by k-means: float32 (64, 16). Entry 0 is blank, whatever the images.

    On 3,000 digits 15 rounds take 0.4 s; what is lost is shown by `python -m zoo.writer --measure`: a network reads
    real digits that went through the codebook nearly as well as the digits themselves.

    Raises:
        ValueError: there is nothing on the images.
    """
    patches = cut(images, shape).reshape(-1, SIDE * SIDE).astype(np.float32)
    inked = patches[patches.any(1)]
    if not len(inked):
        raise ValueError("all images are blank, of which there is nothing to learn; look at them with visualize.digit")
    some = rng.choice(len(inked), CODES - 1, replace=len(inked) < CODES - 1)
    codebook = np.concatenate([np.zeros((1, SIDE * SIDE), np.float32), inked[some]])
    for _ in range(rounds):
        nearest = _nearest(patches, codebook)
        counts = np.bincount(nearest, minlength=CODES)
        for pixel in range(SIDE * SIDE):
            sums = np.bincount(nearest, patches[:, pixel], CODES)
            codebook[counts > 0, pixel] = sums[counts > 0] / counts[counts > 0]
        codebook[0] = 0
    return codebook


def encode(images: Array, shape: tuple[int, int], codebook: Array) -> Array:
    """The codes of images, shape (n, pixels) -> int64 (n, patches)."""
    parts = [
        _nearest(cut(part, shape).reshape(-1, SIDE * SIDE), codebook).reshape(len(part), math.prod(grid_of(shape)))
        for part in (images[i : i + _AT_ONCE] for i in range(0, max(len(images), 1), _AT_ONCE))
    ]
    return np.concatenate(parts)


def decode(codes: Array, shape: tuple[int, int], codebook: Array) -> Array:
    """The images that codes stand for, shape (n, patches) -> (n, pixels)."""
    return joined(codebook[codes], shape)


def _nearest(patches: Array, codebook: Array) -> Array:
    """The entry with the smallest |x - c|² = |x|² - 2 x c + |c|², of which |x|² is the same for all."""
    return (np.square(codebook).sum(1) - 2 * (patches @ codebook.T)).argmin(1)
