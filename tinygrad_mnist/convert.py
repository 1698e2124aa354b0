"""Numbers in whatever form they come, as NumPy arrays; and values in words, for errors."""

from __future__ import annotations

from collections.abc import Iterable
from numbers import Number
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[Any]


def as_array(data: Any, dtype: Any) -> Array:
    """The data of a Tensor: an array as it is, numbers and lists as float32.

    Raises:
        TypeError: they are no numbers, or their meaning would be lost.
    """
    if type(data) is np.ndarray and dtype is None and data.dtype.kind in "biufc":
        return data
    if isinstance(data, np.ma.MaskedArray):
        raise TypeError("Tensor: the data is a masked array, whose mask would be lost; fill it first: data.filled(0)")
    try:
        array = np.asarray(data, dtype=dtype)
    except (TypeError, ValueError) as error:
        raise TypeError(f"Tensor: cannot make an array of {described(data)}: {error}") from None
    from_python = dtype is None and isinstance(data, Number | np.generic | list | tuple)
    if array.dtype.kind not in ("biuf" if from_python else "biufc"):
        raise TypeError(f"Tensor: expected real numbers, got dtype {array.dtype} from {described(data)}")
    return array.astype(np.float32) if from_python else array


def operand(op: str, x: Any, operands: Iterable[Any]) -> Any:
    """One of an op's operands, which is not a Tensor, as the op takes it beside the others.

    NumPy scalars become Python numbers, and a list's numbers take the dtype of floating arrays: float32 stays float32.
    """
    if isinstance(x, np.generic) and x.dtype.kind in "biufc":
        x = x.item()
        return float(x) if isinstance(x, np.floating) else x  # longdouble's item is a longdouble
    if isinstance(x, float) and type(x) is not float:
        return +x  # NumPy would take a class of its own for a float64
    if isinstance(x, np.ndarray) and x.dtype.kind in "biufc" and not isinstance(x, np.ma.MaskedArray):
        return np.asarray(x)  # a subclass, as np.matrix, multiplies in its own way
    if isinstance(x, float | int | complex):
        return x
    if isinstance(x, list | tuple):
        if _holds_tensors(x):
            raise TypeError(f"{op}: got a list of Tensors; join them with stack() or concatenate() first")
        try:
            array = np.asarray(x)
        except (TypeError, ValueError) as error:
            raise kind_of(error)(f"{op}: {error}") from None
        if array.dtype.kind in "biufc":
            return weak(array, [other.dtype for other in operands if isinstance(other, np.ndarray)])
    kind = type(x).__qualname__
    if isinstance(x, np.ma.MaskedArray):
        kind = "masked array, whose mask would be lost"
    elif isinstance(x, np.ndarray):
        kind = f"array of dtype {x.dtype}"
    elif type(x).__module__ not in ("builtins", "__main__"):
        kind = f"{type(x).__module__}.{kind}"  # others have a Tensor too: torch.Tensor
    raise TypeError(f"{op}: expected Tensors, numbers, or arrays or lists of numbers, got {kind} {str(x)[:40]!r}")


def _holds_tensors(x: Any) -> bool:
    """Whether there are Tensors in a list (of lists), of whatever library: NumPy would take their values."""
    return any(map(_holds_tensors, x)) if isinstance(x, list | tuple) else hasattr(x, "requires_grad")


def weak(array: Array, dtypes: Iterable[np.dtype[Any]]) -> Array:
    """A list's numbers beside arrays of these dtypes: if any is floating, they give way to it as a number does."""
    if array.dtype.kind in "iuf" and any(dtype.kind in "fc" for dtype in dtypes):
        return array.astype(np.result_type(*dtypes, 0.0 if array.dtype.kind == "f" else 0))
    return array


def numbers(op: str, data: Any) -> Array:
    """What a forward function returned, as an array: NumPy's functions return scalars for 0-d arrays."""
    array = np.asarray(data)
    if array.dtype.kind not in "biufc":
        raise TypeError(f"{op}: forward returned {array.dtype} {str(data)[:40]!r}, expected an array of numbers")
    return array


def computed(op: str, data: Any, inputs: Iterable[Any]) -> Array:
    """What a forward function returned for inputs of which none is a Tensor, as an array, of which NumPy makes many.

    Raises:
        TypeError: it is one of objects, as of None, which a layer returns that lacks its return.
    """
    array = np.asarray(data)
    if array.dtype.kind == "O" and not any(isinstance(x, np.ndarray) for x in inputs):
        given = ", ".join(map(in_one_line, inputs))
        raise TypeError(f"{op}: expected Tensors, numbers, or arrays or lists of numbers, got {given}")
    return array


def shape_of(x: Any) -> tuple[int, ...]:
    """The shape of an operand; () of what has none, as lists of lists of several lengths."""
    try:
        return np.shape(x)
    except ValueError:
        return ()


def kept(value: Any) -> Any:
    """A parameter as nobody can change it before the backward pass: numbers plain, lists as tuples, arrays copied."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, list | tuple):
        return tuple(map(kept, value))
    return value.copy() if isinstance(value, np.ndarray) else value


def read_only(array: Any) -> Array:
    """The same memory, not to be written to by way of this."""
    view = np.asarray(array).view()
    view.flags.writeable = False
    return view


def kind_of(error: Exception) -> type[Exception]:
    """The kind of error that says the same in other words."""
    kinds: tuple[type[Exception], ...] = (np.linalg.LinAlgError, TypeError, ValueError, IndexError)
    if isinstance(error, AttributeError):  # of an operand that is none, as None has no method dot
        return TypeError
    return next((kind for kind in kinds if isinstance(error, kind)), type(error))


def is_real(x: Any) -> bool:
    """Whether it is a real number, and no int of more digits than a float can hold."""
    if isinstance(x, int):
        return not isinstance(x, bool) and abs(x) < 2**1023
    return isinstance(x, float | np.integer | np.floating)


def is_whole(x: Any, least: int) -> bool:
    """Whether it is a whole number, not below another."""
    return isinstance(x, int | np.integer) and not isinstance(x, bool) and bool(x >= least)


def described(value: Any) -> str:
    """A value in a few words: its type, and its shape and dtype or the beginning of its text."""
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        return f"{type(value).__name__} of shape {value.shape} and dtype {value.dtype}"
    text = repr(value)
    return f"{type(value).__name__} {text if len(text) <= 40 else text[:37] + '...'}"


def in_one_line(x: object) -> str:
    """What an error says that it got: its repr without line breaks, as of Modules, at most 60 characters of it."""
    return " ".join(repr(x).split())[:60]
