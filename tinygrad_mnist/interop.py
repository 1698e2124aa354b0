"""What NumPy's own functions do with Tensors: those of the table record, queries answer plainly, all others refuse."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from . import ops
from .op import NUMPY, serving
from .ops.indexing import ARRAY
from .tensor import Tensor, read_only, values

QUERIES = frozenset(
    getattr(np, name)
    for name in """
    all allclose any argmax argmin argpartition argsort argwhere array_equal array_equiv array_repr array_str
    array2string can_cast count_nonzero digitize empty_like flatnonzero isclose iscomplex iscomplexobj
    isfinite isin isinf isnan isneginf isposinf isreal isrealobj lexsort logical_xor may_share_memory min_scalar_type
    nanargmax nanargmin ndim nonzero ones_like
    result_type searchsorted shape shares_memory signbit size tril_indices_from triu_indices_from zeros_like
    """.split()
) | {np.linalg.matrix_rank}
"""NumPy's functions whose answer has no derivative in any argument: on Tensors they answer in plain NumPy."""

SHAPES = frozenset((np.shape, np.ndim, np.size, np.zeros_like, np.ones_like, np.empty_like, np.result_type))
"""Those that do not look at the values."""


def _where(condition: Any, x: Any = None, y: Any = None) -> Any:
    """np.where: the op of three arguments; of one, as NumPy has it, the places where it is not 0."""
    return np.nonzero(condition) if x is None and y is None else ops.where(condition, x, y)


def _full_like(
    a: Any, fill_value: Any, dtype: Any = None, order: Any = "K", subok: bool = True, shape: Any = None
) -> Any:
    """np.full_like, which is linear in the value."""
    like = np.empty_like(_arrays(a), dtype, order, subok, shape)
    if not isinstance(fill_value, Tensor):
        return np.full_like(like, fill_value)
    return ops.astype(ops.broadcast_to(fill_value, like.shape), like.dtype)


def _bincount(x: Any, weights: Any = None, minlength: int = 0) -> Any:
    """np.bincount, which is linear in the weights."""
    places = values(x).astype(np.intp, casting="safe")
    counts = np.bincount(places, minlength=minlength)
    if weights is None:
        return counts
    if np.shape(weights) != places.shape:
        raise ValueError(f"np.bincount: expected weights of shape {places.shape}, got {np.shape(weights)}")
    weights = weights if weights.dtype.kind == "f" else ops.astype(weights, np.float64)
    return ops.scatter(weights, places, index=(ARRAY,), shape=counts.shape)


NUMPY.update(
    {
        np.where: _where,
        np.full_like: _full_like,
        np.bincount: _bincount,
    }
)


def _array_ufunc(self: Tensor, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
    """Serve `np.exp(t)`, `array * t` and other ufuncs, or refuse; never return an ndarray that lost its gradient."""
    if method == "__call__" and kwargs.keys() == {"out"} and _writes_values(ufunc, inputs, kwargs["out"]):
        return ufunc(*(x.numpy() if isinstance(x, Tensor) else x for x in inputs), **kwargs)
    if method == "__call__" and not kwargs:
        if (ours := serving(ufunc)) is not None:
            return ours(*inputs)
        if ufunc in QUERIES:
            self._values()  # who watches must know
            return ufunc(*_arrays(inputs))
    raise _no_derivative(ufunc.__name__ if method == "__call__" else f"{ufunc.__name__}.{method}", kwargs)


def _writes_values(ufunc: np.ufunc, inputs: Any, out: Any) -> bool:
    """Whether an array is written to with no gradient in it that could be lost, as in w.data -= lr * w.grad."""
    tracked = any(isinstance(x, Tensor) and x.requires_grad for x in inputs)
    return serving(ufunc) is not None and not tracked and not any(isinstance(array, Tensor) for array in out)


def _array_function(self: Tensor, function: Callable[..., Any], types: Any, args: Any, kwargs: Any) -> Any:
    """Serve `np.sum(t, axis=0)`, `np.where(c, t, u)` and NumPy's other functions, or refuse."""
    if (ours := serving(function)) is not None:
        if kwargs or len(args) > 1:
            args, kwargs = _translated(function, ours, args, kwargs)
        return ours(*args, **kwargs)
    if function in QUERIES:
        if function not in SHAPES:
            self._values()  # who watches must know
        return function(*_arrays(args), **_arrays(kwargs))
    raise _no_derivative(_spelled(function), ())


def _translated(function: Any, ours: Any, args: Any, kwargs: Any) -> tuple[list[Any], dict[str, Any]]:
    """The arguments of a function of NumPy as ours takes them: operands in their places, all else by name.

    NumPy's third argument of np.sum(x, axis, dtype) is not our third; and its operands have names, as in np.sum(a=x).
    """
    names = _parameters(function)
    if names is None:
        return args, kwargs
    if _takes_any_number(function):
        operands, given = list(args), dict(kwargs)
    else:
        given = dict(zip(names, args, strict=False)) | kwargs
        required = [name for name, default in names.items() if default is inspect.Parameter.empty and name != "kwargs"]
        arity = ours.op.arity if hasattr(ours, "op") else len(required)
        operands = [given.pop(name) for name in list(names)[:arity] if name in given]
    chosen = {name: x for name, x in given.items() if name not in names or not _is_default(x, names[name])}
    if unknown := chosen.keys() - (_parameters(ours) or {}):
        raise _no_derivative(_spelled(function), sorted(unknown))
    return operands, chosen


def _is_default(value: Any, default: Any) -> bool:
    return value is default or (isinstance(value, str | bool) and value == default)


@functools.cache
def _parameters(function: Any) -> dict[str, Any] | None:
    """The parameters of a function with their defaults; None if it does not tell, as one that is written in C."""
    try:
        return {p.name: p.default for p in inspect.signature(function).parameters.values()}
    except ValueError:
        return None


@functools.cache
def _takes_any_number(function: Any) -> bool:
    """Whether its operands are arguments of its own, as those of np.einsum and np.meshgrid."""
    return any(p.kind is p.VAR_POSITIONAL for p in inspect.signature(function).parameters.values())


def _spelled(function: Callable[..., Any]) -> str:
    return f"{function.__module__}.{function.__name__}".removeprefix("numpy.")


def _arrays(value: Any) -> Any:
    """The same arguments, with the array in place of each Tensor."""
    if isinstance(value, Tensor):
        return read_only(value._array)  # as out= it would be changed unnoticed
    if isinstance(value, list | tuple):
        return type(value)(map(_arrays, value))
    if isinstance(value, dict):
        return {key: _arrays(item) for key, item in value.items()}
    return value


REMEDIES = {"copyto": "fill with broadcast_to(), choose with where()"}


def _no_derivative(what: str, kwargs: Iterable[str]) -> TypeError:
    if kwargs:
        return TypeError(
            f"np.{what}: gradients cannot follow {', '.join(kwargs)}=; "
            "use an operator that makes a new Tensor, or t.numpy() for the values alone"
        )
    remedy = f"{REMEDIES[what]}, " if what in REMEDIES else ""
    return TypeError(
        f"np.{what} is not in the table of derivatives; {remedy}"
        f"{'or ' if remedy else 'use '}t.numpy() for the values alone, or define it as an op"
    )


Tensor.__array_ufunc__ = _array_ufunc  # declared in tensor.py
Tensor.__array_function__ = _array_function
