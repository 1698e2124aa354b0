"""What NumPy's own functions do with Tensors: those of the table record, queries answer plainly, all others refuse."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from . import ops
from .convert import kind_of
from .counterpart import parameters, takes_any_number
from .keywords import WITH_KEYWORDS
from .op import NUMPY, serving
from .ops.indexing import ARRAY
from .tensor import Tensor, has_tensors, read_only, values

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
if hasattr(np, "astype"):  # not in NumPy 2.0
    NUMPY[np.astype] = ops.astype


def _array_ufunc(self: Tensor, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
    """Serve `np.exp(t)`, `array * t` and other ufuncs, or refuse; never return an ndarray that lost its gradient."""
    if method == "__call__":
        if (ours := serving(ufunc)) is not None:
            if "out" in kwargs and not _would_lose(inputs, kwargs["out"]):  # A @= t has axes= too
                others = {key: _arrays(value) for key, value in kwargs.items() if key != "out"}
                return ufunc(*(values(x) if isinstance(x, Tensor) else x for x in inputs), out=kwargs["out"], **others)
            if kwargs:
                inputs = _of_dtype(_spelled(ufunc), inputs, kwargs)
            return ours(*inputs)
        if ufunc in QUERIES and not kwargs:
            self._read()  # who watches must know
            return ufunc(*_arrays(inputs))
    raise _not_served(_spelled(ufunc) if method == "__call__" else f"{_spelled(ufunc)}.{method}")


def _would_lose(inputs: Any, out: Any) -> bool:
    """Whether a ufunc that writes into arrays would lose a gradient, as w.data -= lr * w.grad does not."""
    tracked = any(has_tensors(x) or (isinstance(x, Tensor) and x.requires_grad) for x in inputs)
    return tracked or any(isinstance(array, Tensor) for array in out)


def _array_function(self: Tensor, function: Callable[..., Any], types: Any, args: Any, kwargs: Any) -> Any:
    """Serve `np.sum(t, axis=0)`, `np.where(c, t, u)` and NumPy's other functions, or refuse."""
    if (ours := serving(function)) is not None:
        if kwargs or len(args) > 1:
            return _translated(function, ours, args, kwargs)
        return ours(*args)
    if function in QUERIES:
        if function not in SHAPES:
            self._read()  # who watches must know
        return function(*_arrays(args), **_arrays(kwargs))
    raise _not_served(_spelled(function))


FORMER = {"newshape": "shape"}
"""What arguments were named in NumPy 2.0: np.reshape's."""


def _translated(function: Any, ours: Any, args: Any, kwargs: Any) -> Any:
    """Call ours with the arguments of a function of NumPy: operands in their places, all else by name.

    NumPy's third argument of np.sum(x, axis, dtype) is not our third; and its operands have names, as in np.sum(a=x).
    """
    names = parameters(function) or {}
    if not names or takes_any_number(function):
        operands, given = list(args), dict(kwargs)
    else:
        given = dict(zip(names, args, strict=False)) | kwargs
        required = [name for name, default in names.items() if default is inspect.Parameter.empty and name != "kwargs"]
        arity = ours.op.arity if hasattr(ours, "op") else len(required)
        operands = [given.pop(name) for name in list(names)[:arity] if name in given]
    chosen = {name: x for name, x in given.items() if name not in names or not _is_default(x, names[name])}
    chosen |= {FORMER[name]: chosen.pop(name) for name in FORMER.keys() & chosen.keys()}
    if not (unknown := chosen.keys() - (parameters(ours) or {})):
        return ours(*operands, **chosen)
    name, more = _spelled(function), WITH_KEYWORDS.get(ours)
    served = unknown & (parameters(more) or {}).keys() if more is not None else set()
    operands = _of_dtype(name, operands, {key: chosen.pop(key) for key in unknown - served})
    if not served:
        return ours(*operands, **chosen)
    try:
        return more(*operands, **chosen)  # type: ignore[misc]
    except (TypeError, ValueError, IndexError) as error:
        raise kind_of(error)(f"{name}: {error}").with_traceback(error.__traceback__) from None


def _of_dtype(name: str, operands: Any, keywords: Mapping[str, Any]) -> Any:
    """Operands in the dtype in which NumPy would compute, if that is what the keywords ask for; others are refused."""
    for key, value in sorted(keywords.items(), key=lambda item: item[0] != "out"):  # which is what @= is about
        if key != "dtype":
            raise TypeError(f"{name}: {key}= is not taken with Tensors; {KEYWORD_REMEDIES.get(key, LEAVE_OUT)}")
        if np.dtype(value).kind != "f":
            raise TypeError(
                f"{name}: expected a floating dtype=, through which gradients flow, got {np.dtype(value)}; "
                "convert the result with .astype()"
            )
    dtype = keywords.get("dtype")
    return operands if dtype is None else [_converted(x, np.dtype(dtype)) for x in operands]


def _converted(x: Any, dtype: np.dtype[Any]) -> Any:
    if isinstance(x, list | tuple):
        return [_converted(item, dtype) for item in x]
    return ops.astype(x, dtype=dtype) if isinstance(x, Tensor | np.ndarray) else x  # numbers give way


def _is_default(value: Any, default: Any) -> bool:
    return value is default or (isinstance(value, str | bool) and value == default)


def _spelled(function: Callable[..., Any]) -> str:
    """A function's name as one calls it; that of a ufunc, which does not tell where it is, as SciPy has it or NumPy."""
    if isinstance(function, np.ufunc):
        for prefix, module in (("np.", np), ("scipy.special.", sys.modules.get("scipy.special"))):
            if getattr(module, function.__name__, None) is function:
                return prefix + function.__name__
        return function.__name__
    return f"{function.__module__}.{function.__name__}".replace("numpy.", "np.", 1)


def _arrays(value: Any) -> Any:
    """The same arguments, with the array in place of each Tensor."""
    if isinstance(value, Tensor):
        return read_only(value._array)  # as out= it would be changed unnoticed
    if isinstance(value, list | tuple):
        arrays = map(_arrays, value)
        return type(value)._make(arrays) if hasattr(value, "_make") else type(value)(arrays)  # of a named tuple
    if isinstance(value, dict):
        return {key: _arrays(item) for key, item in value.items()}
    return value


LEAVE_OUT = "leave it out, or use t.numpy() for the values alone"
KEYWORD_REMEDIES = {
    "out": "nothing is written into a Tensor: use the result, or t.numpy() for the values alone",
    "where": "choose afterwards, as in np.where(mask, np.exp(t), 0), or use t.numpy() for the values alone",
}
REMEDIES = {
    "np.copyto": "fill with broadcast_to(), choose with where()",
    "np.add.reduce": "use np.sum()",
    "np.multiply.reduce": "use np.prod()",
    "np.maximum.reduce": "use np.max()",
    "np.minimum.reduce": "use np.min()",
    "np.add.accumulate": "use np.cumsum()",
    "np.multiply.accumulate": "use np.cumprod()",
    "np.multiply.outer": "use np.multiply(t[..., None], u)",
    "np.add.at": "use np.bincount(places, weights=t)",
}


def _not_served(name: str) -> TypeError:
    remedy = f"{REMEDIES[name]}, " if name in REMEDIES else ""
    return TypeError(
        f"{name} is not in the table of derivatives; {remedy}"
        f"{'or ' if remedy else 'use '}t.numpy() for the values alone, or define it as an op"
    )


Tensor.__array_ufunc__ = _array_ufunc  # declared in tensor.py
Tensor.__array_function__ = _array_function
