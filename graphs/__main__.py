"""List the figures: `python -m graphs`. Each is made by a command of its own."""

import importlib
import pkgutil
import sys
from pathlib import Path

from tinygrad_mnist.command import Parser, guarded

from .networks import listed


def main() -> int:
    """Print what each command draws. Wrong usage exits with 2."""
    names = [module.name for module in pkgutil.iter_modules([str(Path(__file__).parent)])]
    commands = {}
    for name in sorted({*names} - {"__main__"}, key=str.lower):
        figure = getattr(importlib.import_module(f"{__package__}.{name}"), "FIGURE", None)
        if figure is not None:
            commands[f"graphs.{name}"] = figure.title
    commands["graphs.pictures"] = "The computation graphs and the page in README"
    commands["graphs.speed"] = "A training step beside NumPy by hand and other frameworks"
    Parser("python -m graphs", __doc__, commands=[*commands]).parse_args()
    print(listed(commands))
    return 0


if __name__ == "__main__":
    sys.exit(guarded(main))
