"""Who takes part in the benchmark: all contestants by name, and which of them can here."""

from __future__ import annotations

import importlib

from .by_hand import HandWritten, PerExample
from .contestant import Contestant
from .ours import Compiled, Eager
from .peers import HipsAutograd, Jax, JaxScan, PyTorch

CONTESTANTS: dict[str, type[Contestant]] = {
    "numpy": HandWritten,
    "eager": Eager,
    "compiled": Compiled,
    "book": PerExample,
    "torch": PyTorch,
    "jax": Jax,
    "scan": JaxScan,
    "autograd": HipsAutograd,
}


def installed(name: str) -> bool:
    """Whether all that a contestant needs can be imported."""
    try:
        return all(importlib.import_module(module) for module in CONTESTANTS[name].needs)
    except ImportError:
        return False
