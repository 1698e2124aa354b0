"""Tensor: an array that remembers how it was computed.

A Tensor holds a NumPy array and, when a gradient may be asked for, three links to the computation graph: the op that
made it, the inputs of that op, and the op's parameters. There is no mathematics here: its operators and methods are ops
of the table in `ops/`, and `backward.py` walks the links.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from .convert import Array as Array
from .convert import as_array, described
from .convert import read_only as read_only
from .mode import changed, mode

Operand: TypeAlias = "Tensor | Array | float"

NO_PARAMS: Mapping[str, Any] = {}
_new = object.__new__

# One clock orders what happens: a result in a graph notes when it was made, and every Tensor when its data was last
# changed in place. So going by age is a topological order of the graph (inputs are older than the result), and an input
# that was changed after the result was made no longer holds what the derivative needs.
tick = itertools.count(1).__next__

ATTRIBUTES: dict[str, list[tuple[str, Callable[[Any], Any]]]] = {}
"""For each function of the table the attributes of Tensor, operators and methods, that `op.py` makes of it."""


class _Attribute:
    """Stands in the class until the table is made."""

    def __init__(self, name: str, wrap: Callable[[Any], Any]) -> None:
        self.name, self.wrap = name, wrap

    def __set_name__(self, owner: type, attribute: str) -> None:
        ATTRIBUTES.setdefault(self.name, []).append((attribute, self.wrap))


def table(name: str, wrap: Callable[[Any], Any] = lambda function: function) -> Any:
    """An operator or method that is the function of this name in the table."""
    return _Attribute(name, wrap)


def _swapped(function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda self, other: function(other, self)


def _comparable(function: Callable[..., Any]) -> Callable[..., Any]:
    """Leave comparisons with what is not numeric (`t == None`) to Python."""
    known = (Tensor, np.ndarray, np.generic, float, int, complex, list, tuple)
    return lambda self, other: function(self, other) if isinstance(other, known) else NotImplemented


def _spread(function: Callable[..., Any]) -> Callable[..., Any]:
    """Let a method that takes a tuple take its items as well: x.reshape(2, 3) as x.reshape((2, 3))."""

    def spread(self: Tensor, *items: Any, **params: Any) -> Any:
        whole = not items or (len(items) == 1 and not isinstance(items[0], int))
        return function(self, *(items if whole else [items]), **params)

    spread.__doc__ = function.__doc__
    return spread


class Tensor:
    """A NumPy array that can be differentiated through.

    Args:
        data: an array, whose dtype is kept and whose memory is **shared, not copied** (write into the array and the
            Tensor changes too; pass a copy if that is not wanted); or numbers and lists, which become float32.
        requires_grad: whether `backward()` stores d output / d this in `.grad`. Floating dtypes only.
        dtype: convert to this dtype (a copy, unless it already is).
        name: shown in the repr and in pictures.

    Raises:
        TypeError: `data` is not numeric, or gradients are asked of a dtype that has none.

    >>> x = Tensor([1.0, 2.0, 3.0], requires_grad=True)
    >>> (x * x).sum().backward()
    >>> x.grad
    Tensor([2., 4., 6.], dtype=float32)
    """

    __slots__ = (
        "__weakref__",
        "_array",
        "_changed",  # a cell with the time of the last change in place, shared with views; None: never changed
        "_created",  # the time when the op was applied; of a leaf when it began to require gradients, or 0
        "_grad",
        "_requires_grad",
        "inputs",  # of the op: Tensors and Python numbers; () for a leaf; None once the graph has been freed
        "name",
        "op",  # the op that made this Tensor; None for a leaf
        "origin",  # the call and the line of code that made it: set while somebody watches, missing else
        "params",  # the op's keyword parameters
    )

    _array: Array
    _changed: list[int] | None
    _created: int
    _grad: Tensor | None
    _requires_grad: bool
    inputs: Any
    name: str | None
    op: Any
    origin: Any
    params: Mapping[str, Any]

    def __init__(
        self,
        data: ArrayLike,
        requires_grad: bool = False,
        *,
        dtype: DTypeLike | None = None,
        name: str | None = None,
    ) -> None:
        if isinstance(data, Tensor) and data._requires_grad:
            raise TypeError("Tensor: the data is a Tensor that requires gradients; use it as it is, or its .detach()")
        if has_tensors(data):
            raise TypeError("Tensor: the data is a list of Tensors; join them with stack() or concatenate()")
        self._array = as_array(data._array if isinstance(data, Tensor) else data, dtype)
        self._created = 0
        self._grad = self._changed = self.op = None
        self.inputs, self.params = (), NO_PARAMS
        self.name = name
        self._requires_grad = False
        if requires_grad:
            self._require(requires_grad)
        if isinstance(data, Tensor):
            self._share_changes(data)

    # --- what it holds ---

    @property
    def data(self) -> Array:
        """The array itself, writable and shared.

        Assign (`t.data = array`) or augment (`t.data -= array`) to change a Tensor between steps: such a change is
        noticed, and a later backward pass that needed the former values is refused. Writing into elements
        (`t.data[0] = 1`) cannot be noticed.
        """
        return self._read()

    @data.setter
    def data(self, value: Array) -> None:
        if value is not self._array and (
            not isinstance(value, np.ndarray) or (value.shape, value.dtype) != (self.shape, self.dtype)
        ):
            raise TypeError(
                f"Tensor.data: expected an array of shape {self.shape} and dtype {self.dtype}, got {described(value)}; "
                "of a Tensor take its .data; make a new Tensor for other shapes or dtypes"
            )
        self._read()
        self._array = value
        last_change(self)[0] = tick()

    def _read(self) -> Array:
        """The array, for whoever looks at the values."""
        if mode.observer is not None:
            mode.observer.read(self)
        return self._array

    def _share_changes(self, source: Tensor) -> None:
        """Know of all changes in place of another Tensor that has the same array."""
        self._changed = last_change(source)
        if mode.observer is not None:
            mode.observer.shared(self, source)

    @property
    def grad(self) -> Tensor | None:
        """What backward passes added up, of this shape and dtype; None before, and of results: use grad(out, x)."""
        return self._grad

    @grad.setter
    def grad(self, value: Tensor | None) -> None:
        if value is not None and (
            not isinstance(value, Tensor) or (value.shape, value.dtype) != (self.shape, self.dtype)
        ):
            raise TypeError(
                f"Tensor.grad: expected None or a Tensor of shape {self.shape} and dtype {self.dtype}, "
                f"got {described(value)}"
            )
        if value is None and mode.observer is not None:
            mode.observer.cleared([self])
        self._grad = value

    @property
    def requires_grad(self) -> bool:
        """Whether gradients flow to this Tensor. Can be set on leaves: False freezes a parameter."""
        return self._requires_grad

    @requires_grad.setter
    def requires_grad(self, value: bool) -> None:
        if self.op is not None and not value:
            raise RuntimeError(
                f"requires_grad = False: this Tensor is the result of {self.op.name}; use .detach() instead"
            )
        if value:
            self._require(value)
        self._requires_grad = bool(value)
        changed("sets requires_grad", self)

    def _require(self, wish: bool = True) -> None:
        if not isinstance(wish, bool | np.bool):
            raise TypeError(f"requires_grad: expected True or False, got {wish!r:.60}; a dtype goes to dtype=")
        if not (self.dtype.kind == "f" and self.dtype.isnative):
            raise TypeError(
                f"requires_grad: only floating dtypes in native byte order have gradients, got {self.dtype}; "
                "pass dtype=np.float32"
            )
        self._created = self._created if self._requires_grad else tick()  # earlier results did not record it
        self._requires_grad = True

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the data."""
        return self._array.shape

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return self._array.ndim

    @property
    def size(self) -> int:
        """The number of elements."""
        return self._array.size

    @property
    def dtype(self) -> np.dtype[Any]:
        """The dtype of the data, and of the gradient."""
        return self._array.dtype

    def item(self) -> Any:
        """The value of a Tensor with one element as a Python number; a ValueError for other sizes."""
        if self.size != 1:
            raise ValueError(f"item: expected one element, got shape {self.shape}; index it or reduce it first")
        return self._read().item()

    def numpy(self) -> Array:
        """The values as a read-only view: no copy, and no way to change the Tensor unnoticed."""
        return read_only(self._read())

    def tolist(self) -> Any:
        """The values as Python's numbers, in lists of lists."""
        return self._read().tolist()

    def detach(self) -> Tensor:
        """The same values, sharing their memory, outside the graph: gradients stop here."""
        result = leaf(self._array)
        result.name = self.name
        result._share_changes(self)
        return result

    def zero_grad(self) -> None:
        """Set `.grad` to None."""
        self.grad = None

    def __repr__(self) -> str:
        values = np.array2string(self._read(), separator=", ", prefix="Tensor(")
        notes = [f"dtype={self.dtype}"]
        if self.name is not None:
            notes.append(f"name={self.name!r}")
        if self.op is not None:
            notes.append(f"op={self.op.name}")
        elif self._requires_grad:
            notes.append("requires_grad=True")
        return f"Tensor({values}, {', '.join(notes)})"

    def __format__(self, specification: str) -> str:
        return format(self.item(), specification) if specification else repr(self)

    # --- operators and methods: ops of the table ---

    __add__ = table("add")
    __radd__ = table("add", _swapped)
    __sub__ = table("sub")
    __rsub__ = table("sub", _swapped)
    __mul__ = table("mul")
    __rmul__ = table("mul", _swapped)
    __truediv__ = table("div")
    __rtruediv__ = table("div", _swapped)
    __floordiv__ = table("floor_divide")
    __rfloordiv__ = table("floor_divide", _swapped)
    __mod__ = table("remainder")
    __rmod__ = table("remainder", _swapped)
    __divmod__ = table("divmod")
    __rdivmod__ = table("divmod", _swapped)
    __pow__ = table("pow")
    __rpow__ = table("pow", _swapped)
    __matmul__ = table("matmul")
    __rmatmul__ = table("matmul", _swapped)
    __neg__ = table("neg")
    __pos__ = table("copy")
    __abs__ = abs = table("abs")
    __round__ = round = table("round")
    __eq__ = table("eq", _comparable)
    __ne__ = table("ne", _comparable)
    __lt__ = table("lt", _comparable)
    __le__ = table("le", _comparable)
    __gt__ = table("gt", _comparable)
    __ge__ = table("ge", _comparable)
    __and__ = table("bitwise_and")
    __rand__ = table("bitwise_and", _swapped)
    __or__ = table("bitwise_or")
    __ror__ = table("bitwise_or", _swapped)
    __xor__ = table("bitwise_xor")
    __rxor__ = table("bitwise_xor", _swapped)
    __invert__ = table("invert")
    __getitem__ = table("getitem")
    T = table("transpose", property)
    reshape = table("reshape", _spread)
    transpose = table("transpose", _spread)
    astype, copy, clip = map(table, "astype copy clip".split())
    sum, mean, max, min, prod = map(table, "sum mean max min prod".split())
    var, std, cumsum, cumprod = map(table, "var std cumsum cumprod".split())
    logsumexp, softmax, log_softmax = map(table, "logsumexp softmax log_softmax".split())
    exp, log, sqrt, tanh, sigmoid, relu = map(table, "exp log sqrt tanh sigmoid relu".split())
    flatten, ravel, squeeze, swapaxes = map(table, "flatten ravel squeeze swapaxes".split())
    dot, diagonal, trace, repeat, take = map(table, "dot diagonal trace repeat take".split())
    argmax, argmin, argsort, any, all = np.argmax, np.argmin, np.argsort, np.any, np.all
    backward: Callable[..., None]  # the chain rule: backward.py
    __array_ufunc__: Callable[..., Any]  # what NumPy's functions do with Tensors: interop.py
    __array_function__: Callable[..., Any]

    @property
    def mT(self) -> Tensor:  # noqa: N802 (NumPy's name)
        """The last two axes exchanged."""
        return self.transpose((*range(self.ndim - 2), -1, -2))

    # --- Python's protocols ---

    # Equality is elementwise (an op of the table), so identity is what sets and dictionaries go by.
    __hash__ = object.__hash__

    def __len__(self) -> int:
        if self.ndim == 0:
            raise TypeError("a 0-d Tensor has no length and cannot be iterated over; use .item()")
        return len(self._array)

    def __iter__(self) -> Iterator[Tensor]:
        return (self[i] for i in range(len(self)))

    def __bool__(self) -> bool:
        if self.size != 1:
            raise ValueError(
                f"bool: a Tensor of shape {self.shape} is neither true nor false; use np.any(t) or np.all(t)"
            )
        return bool(self._read().item())

    def __float__(self) -> float:
        return float(self.item())

    def __int__(self) -> int:
        return int(self.item())

    def __copy__(self) -> Tensor:
        """Of a result the op `copy`, in the graph; of a leaf another leaf that shares its memory."""
        if self.op is not None:
            return self.copy()
        twin = self.detach()
        twin._requires_grad, twin._created = self._requires_grad, self._created
        return twin

    def _refuse_results(self) -> None:
        if self.op is not None:
            raise TypeError(f"deepcopy, pickle: this result of {self.op.name} belongs to a graph; use .detach() first")

    def __reduce__(self) -> tuple[Any, ...]:
        self._refuse_results()
        return _restore, (self._read(), self._created > 0, self.name, self._grad, self._requires_grad)

    def __setitem__(self, key: Any, value: Any) -> None:
        if self._requires_grad or (isinstance(value, Tensor) and value._requires_grad):
            raise RuntimeError(
                "item assignment: a Tensor in a graph cannot be changed in place; use where(mask, new, old), or "
                "stack() to put results together; between steps t.data = array, which backward() notices"
            )
        if isinstance(value, np.ndarray) and has_tensors(value):
            raise TypeError("item assignment: got an array of Tensors; join them with stack() first")
        self._read()[key] = value._array if isinstance(value, Tensor) else value
        last_change(self)[0] = tick()

    def _refuse_in_place(self, other: Any) -> Any:
        if self._requires_grad:
            raise RuntimeError(
                "in-place operator: a Tensor that requires gradients cannot be changed in place; write t = t + u"
                + (", or t.data -= lr * t.grad for an update outside the graph" if self.op is None else "")
            )
        return NotImplemented  # Python then computes t = t + u

    __iadd__ = __isub__ = __imul__ = __itruediv__ = __ifloordiv__ = __imod__ = _refuse_in_place
    __ipow__ = __imatmul__ = __iand__ = __ior__ = __ixor__ = _refuse_in_place

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> Array:
        # NumPy does not tell why it asks: np.asarray(t), np.sum([t, u]) and buffer[1:4] = t all come here, and what it
        # computes would lose its gradient without a word.
        if self._requires_grad:
            raise TypeError(
                "NumPy asked for the bare values of a Tensor that requires gradients, which would be lost: to look at "
                "them use t.numpy(), to compute with several Tensors stack() or concatenate(), with a matrix A @ t"
            )
        return np.array(self.numpy(), dtype=dtype, copy=copy)


def leaf(data: Array) -> Tensor:
    """A Tensor around a numeric array: 0.2 µs, where Tensor(data) with its checks takes 0.9; `apply` then links it."""
    tensor = _new(Tensor)
    tensor._array = data
    tensor._grad = tensor._changed = tensor.name = tensor.op = None
    tensor._requires_grad = False
    tensor._created = 0
    tensor.inputs = ()
    tensor.params = NO_PARAMS
    return tensor


def last_change(tensor: Tensor) -> list[int]:
    """When the Tensor was last changed in place: a list of one number, which its views share."""
    if tensor._changed is None:
        tensor._changed = [0]
    return tensor._changed


def values(x: Any) -> Array:
    """The bare values of a Tensor, an array or a number, where no derivative is wanted: to look at, or to compare."""
    return x.numpy() if isinstance(x, Tensor) else np.asarray(x)


def _restore(data: Array, parameter: bool, name: str | None, grad: Tensor | None, requires_grad: bool = True) -> Tensor:
    """Make a Tensor anew from what `__reduce__` kept of it."""
    tensor = Tensor(data, parameter, name=name)
    tensor.grad, tensor._requires_grad = grad, parameter and requires_grad
    return tensor


def has_tensors(data: Any) -> bool:
    """Whether an element of a list (of lists) or of an array of objects is a Tensor: NumPy would take float() of it."""
    if isinstance(data, np.ndarray) and data.dtype.kind == "O":
        data = data.ravel().tolist()
    return isinstance(data, list | tuple) and any(isinstance(item, Tensor) or has_tensors(item) for item in data)
