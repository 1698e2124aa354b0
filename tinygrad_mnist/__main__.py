"""What there is, as commands: `python -m tinygrad_mnist`."""

import sys

from .command import Parser, guarded
from .installation import PROGRAMS, told

TEXT = """\
Automatic differentiation on NumPy, and the MNIST networks of Nielsen's book.

    python -m zoo.network2     train a network, and watch it learn
    python -m zoo              all four of the book's, and one table
    python -m zoo.predict      which digit an image shows
    python -m zoo.custom       convolutions: an example to start from
    python -m zoo.writer       a transformer that writes digits
    python -m zoo.sketch       a live page: draw a digit, watch a network learn
    python -m graphs           lists the figures, each made by a command
    python -m tinygrad_mnist.mnist DIR      download MNIST

--help after each of them tells more. In Python:

    from tinygrad_mnist import Tensor, visualize
    x = Tensor([1.0, 2.0], requires_grad=True)
    y = (x**2).sum()
    print(visualize.explain(y))    # the backward pass, as formulas
    y.backward()
    x.grad                         # 2x
"""


def main() -> int:
    """Print it. Wrong usage exits with 2."""
    programs = [name if name != "mnist" else "tinygrad_mnist.mnist" for name in PROGRAMS]
    Parser("python -m tinygrad_mnist", __doc__, commands=programs).parse_args()
    print(told(TEXT), end="")
    return 0


if __name__ == "__main__":
    sys.exit(guarded(main))
