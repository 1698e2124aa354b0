"""Who takes part in the benchmark: all contestants by name, and which of them can here."""

from __future__ import annotations

import importlib

from tinygrad_mnist import native

from .by_hand import HandWritten, PerExample, StraightLine
from .contestant import Contestant
from .ours import Compiled, Eager, Native, Whole
from .peers import HipsAutograd, Jax, JaxScan, PyTorch, TorchCompiled

CONTESTANTS: dict[str, type[Contestant]] = {
    "numpy": HandWritten,
    "eager": Eager,
    "compiled": Compiled,
    "c": Native,
    "whole": Whole,
    "straight": StraightLine,
    "book": PerExample,
    "torch": PyTorch,
    "torchc": TorchCompiled,
    "jax": Jax,
    "scan": JaxScan,
    "autograd": HipsAutograd,
}


def installed(name: str) -> bool:
    """Whether all that a contestant needs is there."""
    try:
        return all(importlib.import_module(module) for module in CONTESTANTS[name].needs) and (
            name not in ("c", "whole") or bool(native.compiler())
        )
    except (ImportError, native.NativeError):
        return False
