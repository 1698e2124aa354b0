"""Count NumPy's functions that work on Tensors: `python -m tests.count_numpy`, with --names what they are.

One counts if it returns a Tensor that requires gradients (or several, in a list or tuple) when it is called with one.
To find out, it is tried with arguments of many kinds. Of functions with several names, such as np.abs and np.absolute
or np.cross and np.linalg.cross, one counts; deprecated ones do not.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np

from tinygrad_mnist import Tensor
from tinygrad_mnist.op import serving


def calls(x: Any, m: Any) -> Iterator[tuple[Any, ...]]:
    """Arguments to try: x is a vector of numbers between 0 and 1, m a symmetric matrix, both Tensors."""
    places = np.array([0, 1, 1])
    yield from ((x,), (m,), (m, m), (x, x), (m, x), ([x, x],), ([m, m],), (m, 1), (m, 0, 1), (m, 0, -1), (m, -1, 0))
    yield from (("i->i", x), (x, places), (m, places[:, None]), (places, x), (x, 3), (x, (2, 3)), (x, [1, 2]))
    yield from ((x > 0.5, x, x), ([x > 0.5], [x]), (x, [x > 0.5], [x]), (x, 0, 1), (x, 1, x), (places, [x, x, x]))
    yield from ((x, np.arange(3.0), x), (x > 0.5, x), (x > 0.5, m), (m[None], 1), (m[None, None], m[0]), (x, x, x))


def works(function: Any) -> bool:
    """Whether it returns Tensors that require gradients, of any of these arguments."""
    x = Tensor(np.array([0.25, 0.5, 0.875]), requires_grad=True)
    m = Tensor(np.array([[2.0, 0.5, 0.25], [0.5, 1.5, 0.125], [0.25, 0.125, 3.0]]), requires_grad=True)
    for arguments in calls(x, m):
        try:
            if _tracked(function(*arguments)):
                return True
        except Exception:  # of whatever kind: it does not take these arguments, and perhaps others
            continue
    return False


def _tracked(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return any(map(_tracked, value))
    return isinstance(value, Tensor) and value.requires_grad


def working() -> list[str]:
    """The names of NumPy's functions that work on Tensors, one for each."""
    found: dict[str, Any] = {}
    known: set[Any] = set()
    with np.errstate(all="ignore"), warnings.catch_warnings(action="ignore"):
        warnings.simplefilter("error", DeprecationWarning)
        for prefix, module in (("np.", np), ("np.linalg.", np.linalg)):
            for name in dir(module):
                function = getattr(module, name)
                if not (isinstance(function, np.ufunc) or hasattr(function, "__wrapped__")):  # those that ask Tensors
                    continue
                aliases = {function, serving(function) or function}
                if aliases & known or (prefix != "np." and f"np.{name}" in found):
                    continue
                if works(function):
                    found[prefix + name] = function
                    known |= aliases
    return list(found)


if __name__ == "__main__":
    names = working()
    print(" ".join(names) if "--names" in sys.argv else len(names))
