"""List the figures: `python -m graphs`."""

import importlib
import pkgutil
import sys
from pathlib import Path

from tinygrad_mnist.command import Parser, guarded
from tinygrad_mnist.installation import told


def main() -> int:
    """Print a line for each figure and its command."""
    Parser("python -m graphs", __doc__).parse_args()
    for module in sorted(pkgutil.iter_modules([str(Path(__file__).parent)]), key=lambda module: module.name.lower()):
        if module.name != "__main__":
            figure = getattr(importlib.import_module(f"{__package__}.{module.name}"), "FIGURE", None)
            if figure is not None:
                print(told(f"python -m graphs.{module.name:<16} {figure.title}"))
    print(told("python -m graphs.pictures         The computation graphs and the page in README"))
    print(told("python -m graphs.speed            A training step beside NumPy by hand and other frameworks"))
    return 0


if __name__ == "__main__":
    sys.exit(guarded(main))
