"""Who takes part in the benchmark: all contestants by name, and which of them can here."""

from __future__ import annotations

import importlib

from tinygrad_mnist import native

from .by_hand import HandWritten, PerExample, StraightLine
from .contestant import Contestant
from .ours import Compiled, Eager, Native
from .peers import HipsAutograd, Jax, JaxScan, PyTorch

CONTESTANTS: dict[str, type[Contestant]] = {
    "numpy": HandWritten,
    "eager": Eager,
    "compiled": Compiled,
    "c": Native,
    "straight": StraightLine,
    "book": PerExample,
    "torch": PyTorch,
    "jax": Jax,
    "scan": JaxScan,
    "autograd": HipsAutograd,
}


def installed(name: str) -> bool:
    """Whether all that a contestant needs is there."""
    try:
        return all(importlib.import_module(module) for module in CONTESTANTS[name].needs) and (
            name != "c" or bool(native.compiler())
        )
    except (ImportError, native.NativeError):
        return False
