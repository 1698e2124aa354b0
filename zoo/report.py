"""What a network gets wrong: the confusion matrix, the accuracy of each class, and the worst mistakes drawn as text."""

import numpy as np

from tinygrad_mnist import visualize
from tinygrad_mnist.command import columns
from tinygrad_mnist.dataset import Split
from tinygrad_mnist.tensor import Array

from .training import Training

WORST = 3
"""How many mistakes are drawn."""
LONGEST = 20
"""How many confusions are listed where the matrix is wider than the terminal."""


def report(training: Training) -> None:
    """Print it, of the test images, or of what there is in place of them."""
    kind, split = shown_split(training)
    outputs = training.activations(split.images)
    said = outputs.argmax(1)
    print(f"\n{kind} images: {np.count_nonzero(said == split.labels):,} of {len(split):,} right")
    print(table(confusion(split.labels, said, training.data.n_classes)))
    for i in worst(outputs, split.labels)[:WORST]:
        label = int(split.labels[i])
        print(f"\n{kind} image {i}: says {said[i]}, is {label}")
        print(visualize.digit(split.images[i], training.data.image_shape, activations=outputs[i], label=label))


def shown_split(training: Training) -> tuple[str, Split]:
    """The test images, or the validation images, or else those it was trained on; and what they are called."""
    data = training.data
    kinds = {"test": data.test, "validation": data.validation, "training": data.train}
    return next((kind, split) for kind, split in kinds.items() if split is not None and len(split))


def confusion(labels: Array, said: Array, n_classes: int) -> Array:
    """How many images of each class, a row, were taken for each class, a column.

    >>> confusion(np.array([0, 0, 1]), np.array([0, 1, 1]), 2).tolist()
    [[1, 1], [0, 1]]
    """
    counts = np.zeros((n_classes, n_classes), np.int64)
    np.add.at(counts, (labels, said), 1)
    return counts


def worst(outputs: Array, labels: Array) -> list[int]:
    """The images that are wrong, the most surely wrong first: by how much the answer is above the class that it is.

    >>> worst(np.array([[0.9, 0.8], [0.9, 0.1], [0.9, 0.1]]), np.array([1, 1, 0]))
    [1, 0]
    """
    own = outputs[np.arange(len(labels)), labels]
    by = outputs.max(1) - own
    order = np.argsort(-by, kind="stable")
    return [int(i) for i in order if outputs[i].argmax() != labels[i]]


def table(counts: Array) -> str:
    r"""The confusion matrix with the share of each class that is right; where it is too wide, its largest numbers.

    >>> print(table(np.array([[8, 2], [0, 9]])))
    is \ says  0  1     right
            0  8  2    80.0 %
            1  .  9   100.0 %
    """
    cell = max(len(str(counts.max(initial=0))), len(str(len(counts) - 1))) + 2
    totals = counts.sum(1)
    both = zip(counts.diagonal(), totals, strict=True)
    rights = [f"{100 * right / total:8.1f} %" if total else "         -" for right, total in both]
    if 9 + cell * len(counts) + 10 <= columns():
        head = "is \\ says" + "".join(f"{i:{cell}}" for i in range(len(counts))) + "     right"
        return "\n".join([head, *(
            f"{i:9}" + "".join(f"{n or '.':>{cell}}" for n in row) + right
            for i, (row, right) in enumerate(zip(counts.tolist(), rights, strict=True))
        )])  # fmt: skip
    lines = ["class     right"] + [f"{i:5} {right}" for i, right in enumerate(rights)]
    wrong = counts - np.diag(counts.diagonal())
    order = np.argsort(-wrong, axis=None, kind="stable")[:LONGEST]
    pairs = [divmod(int(place), len(counts)) for place in order if wrong.flat[place]]
    return "\n".join([*lines, "most often confused:"] + [f"{a:5} taken for {b}: {wrong[a, b]}" for a, b in pairs])
