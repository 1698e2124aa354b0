"""What there is, as commands: `python -m tinygrad_mnist`."""

import importlib.util
import sys

from .command import Parser, guarded

TEXT = """\
Automatic differentiation on NumPy, and the MNIST networks of Nielsen's book.

    python -m {0}zoo.network2     train a network, and watch it learn
    python -m {0}zoo              all four of the book's, and one table
    python -m {0}zoo.predict      which digit an image shows
    python -m {0}zoo.custom       convolutions: an example to start from
    python -m {0}graphs           lists the figures, each made by a command
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
    Parser("python -m tinygrad_mnist", __doc__).parse_args()
    inside = importlib.util.find_spec("tinygrad_mnist.zoo") is not None and importlib.util.find_spec("zoo") is None
    print(TEXT.format("tinygrad_mnist." if inside else ""), end="")
    return 0


if __name__ == "__main__":
    sys.exit(guarded(main))
