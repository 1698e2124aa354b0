"""Functions made of ops that serve NumPy's: of arrays alone NumPy itself computes, and errors are in one line."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from .convert import kind_of, weak
from .counterpart import counterpart, parameters, takes_any_number
from .op import publish
from .tensor import Tensor, has_tensors

Function = TypeVar("Function", bound=Callable[..., Any])


def composed(*numpy: Any) -> Callable[[Function], Function]:
    """Publish a function that is made of ops as what serves NumPy's functions: a decorator.

    Args:
        *numpy: NumPy's functions, the first of which computes where there is no Tensor; None for one that this version
            of NumPy does not have.
    """

    def publish_it(function: Function) -> Function:
        plainly = numpy[0] or function

        @functools.wraps(function)
        def served(*args: Any, **params: Any) -> Any:
            known = (parameters(function) or {}) if params else {}
            unknown = params.keys() - known.keys()
            if unknown and (numpys := counterpart(filter(None, numpy), unknown)):  # which leads to interop.py
                required = sum(default is inspect.Parameter.empty for default in known.values())
                places = len(args) if takes_any_number(function) else required
                by_name = dict(zip(list(known)[places:], args[places:], strict=False))
                return numpys(*args[:places], **by_name, **params)
            try:
                if any(isinstance(x, Tensor) or has_tensors(x) for x in (*args, *params.values())):
                    return function(*args, **params)
                answer = plainly(*args, **params)
                return np.asarray(answer) if isinstance(answer, np.generic) else answer
            except (AttributeError, TypeError, ValueError, IndexError) as error:
                if str(error).startswith(function.__name__):
                    raise
                raise kind_of(error)(f"{function.__name__}: {error}").with_traceback(error.__traceback__) from None

        publish(served, *filter(None, numpy))
        return served  # type: ignore[return-value]

    return publish_it


def plain(*parameters: Any) -> None:
    """Refuse Tensors among parameters."""
    if any(isinstance(x, Tensor) or has_tensors(x) for x in parameters):
        raise TypeError("places and counts are parameters, to which no gradient flows; pass integers, or t.numpy()")


def together(*operands: Any, caller: str = "") -> list[Any]:
    """Operands as Tensors and arrays: Python's numbers, and lists of them, give way to the dtypes of the others.

    Errors begin with the caller, if it is no composed function, whose errors do so anyway.
    """
    if any(has_tensors(x) for x in operands):
        raise TypeError(
            f"{caller and f'{caller}: '}got a list of Tensors; join them with stack() or concatenate() first"
        )
    arrays: list[Any] = [x if isinstance(x, Tensor | np.ndarray) else np.asarray(x) for x in operands]
    known = [a.dtype for x, a in zip(operands, arrays, strict=True) if x is a]
    return [a if x is a else weak(a, known) for x, a in zip(operands, arrays, strict=True)]
