"""Networks: modules that hold parameters and buffers, and the ways to draw their first values."""

from __future__ import annotations

import math
import reprlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from . import ops
from .convert import described
from .mode import changed, mode
from .op import unary
from .tensor import Array, Tensor, last_change, tick

INITIALIZERS: dict[str, Callable[[int, int], float]] = {
    "normal": lambda fan_in, fan_out: 1.0,
    "scaled": lambda fan_in, fan_out: 1 / math.sqrt(fan_in),
    "xavier": lambda fan_in, fan_out: math.sqrt(2 / (fan_in + fan_out)),
    "he": lambda fan_in, fan_out: math.sqrt(2 / fan_in),
}
"""The standard deviation of a layer's first weights, which are drawn from N(0, deviation²).

normal: Nielsen's first network (chapter 1). scaled: N(0, 1/fan_in), his chapter 3, which keeps neurons from saturating
at the start. xavier: Glorot and Bengio, 2010. he: He et al., 2015, for relu.

Biases start at 0 with all of them, unless a layer's `bias` says otherwise: from N(0, 1), they cost a small transformer
and a recurrent network 7 to 17 points of accuracy after two epochs.
"""


def initial(
    shape: tuple[int, ...], fan_in: int, fan_out: int, init: str, rng: np.random.Generator, dtype: DTypeLike
) -> Tensor:
    """First weights of a layer, as a Tensor that requires gradients; a ValueError for an unknown `init`."""
    if init not in INITIALIZERS:
        raise ValueError(f"init: expected one of {', '.join(INITIALIZERS)}, got {init!r}")
    if not isinstance(rng, np.random.Generator):
        raise TypeError(f"rng: expected a numpy.random.Generator, as from np.random.default_rng(seed), got {rng!r}")
    if not all(isinstance(n, int | np.integer) and n >= 1 for n in shape):
        raise ValueError(f"weights: expected sizes that are whole numbers of at least 1, got {shape}")
    values = rng.standard_normal(shape) * INITIALIZERS[init](fan_in, fan_out)
    return Tensor(values.astype(dtype), requires_grad=True, name="weight")


def initial_bias(shape: tuple[int, ...], bias: str | bool, rng: np.random.Generator, dtype: DTypeLike) -> Any:
    """First biases of a layer: a Tensor that requires gradients, of zeros or drawn from N(0, 1), or None for False.

    Raises:
        ValueError: `bias` is not "zeros", "normal", False, or True, which is "zeros".
    """
    if not isinstance(bias, str | bool) or bias not in ("zeros", "normal", True, False):
        raise ValueError(f"bias: expected 'zeros', 'normal' or False for none, got {bias!r}")
    if bias is False:
        return None
    values = rng.standard_normal(shape) if bias == "normal" else np.zeros(shape)
    return Tensor(values.astype(dtype), requires_grad=True, name="bias")


class Buffer(Tensor):
    """Values that a Module keeps and that are no parameter, such as a running mean: in `state_dict`, without gradient.

    It has memory of its own. `assign` sets its values, in a compiled step too.

    >>> mean = Buffer([0.0, 0.0])
    >>> mean.assign(0.9 * mean + 0.1 * Tensor([5.0, 10.0]))
    >>> mean
    Tensor([0.5, 1. ], dtype=float32)
    """

    __slots__ = ()

    def __init__(self, data: Any, *, dtype: DTypeLike | None = None, name: str | None = None) -> None:
        super().__init__(data, dtype=dtype, name=name)
        self._array = self._array.copy()

    def assign(self, value: Tensor | Array | float) -> None:
        """Set the values, in place, in the Buffer's dtype; no gradient flows to where they come from.

        Raises:
            ValueError: they have another shape.
            TypeError: they are no real numbers, or the Buffer is of integers and they are not.
        """
        array = value._array if isinstance(value, Tensor) else np.asarray(value)
        if array.shape != self.shape:
            raise ValueError(f"Buffer.assign: expected values of shape {self.shape}, got {described(value)}")
        if array.dtype.kind not in "biuf" or not np.can_cast(array.dtype, self.dtype, "same_kind"):
            raise TypeError(f"Buffer.assign: expected values for {self.dtype}, got {described(value)}; convert them")
        if mode.observer is not None:
            mode.observer.assigning(self, value)
        np.copyto(self._array, array, casting="same_kind")
        last_change(self)[0] = tick()

    @property
    def requires_grad(self) -> bool:
        """False."""
        return False

    @requires_grad.setter
    def requires_grad(self, value: bool) -> None:
        if value:
            raise TypeError("requires_grad: a Buffer is no parameter; use a Tensor for what gradients flow to")

    def __copy__(self) -> Buffer:
        return Buffer(self._array, name=self.name)

    def __reduce__(self) -> tuple[Any, ...]:
        return _buffer_again, (self._values(), self.name)


def _buffer_again(data: Array, name: str | None) -> Buffer:
    return Buffer(data, name=name)


_ABSENT = object()


class Module:
    """A part of a network, which holds parameters.

    Subclasses set Tensors, Buffers and Modules (or lists and dicts of them) as attributes, and define `forward`. The
    parameters are found by attribute, and named after it: `hidden.weight`, `layers.0.bias`.

    >>> class Perceptron(Module):
    ...     def __init__(self, rng):
    ...         self.hidden = Linear(784, 30, rng=rng)
    ...         self.output = Linear(30, 10, rng=rng)
    ...
    ...     def forward(self, x):
    ...         return ops.sigmoid(self.output(ops.sigmoid(self.hidden(x))))
    >>> network = Perceptron(np.random.default_rng(0))
    >>> [(name, p.shape) for name, p in network.named_parameters()]
    [('hidden.weight', (784, 30)), ('hidden.bias', (30,)), ('output.weight', (30, 10)), ('output.bias', (10,))]
    """

    training = True

    def forward(self, *inputs: Any) -> Any:
        """Compute the module's output; to be defined by every subclass."""
        raise TypeError(f"{type(self).__name__}: define forward(self, x), which computes the output")

    def __call__(self, *inputs: Any, **options: Any) -> Any:
        """The same as `forward`."""
        return self.forward(*inputs, **options)

    def __setattr__(self, name: str, value: Any) -> None:
        before = self.__dict__.get(name, _ABSENT)
        object.__setattr__(self, name, value)
        if before is not value:
            changed(f"sets the attribute {name!r} of a {type(self).__name__}", self)

    def __delattr__(self, name: str) -> None:
        object.__delattr__(self, name)
        changed(f"deletes the attribute {name!r} of a {type(self).__name__}", self)

    def named_parameters(self) -> Iterator[tuple[str, Tensor]]:
        """Every parameter (a leaf that requires gradients) with its name; one that is used twice comes once."""
        return ((name, t) for name, t in named(self, Tensor) if t.requires_grad and t.op is None)

    def parameters(self) -> list[Tensor]:
        """All parameters, in the order of their names."""
        return [parameter for _, parameter in self.named_parameters()]

    def modules(self) -> list[Module]:
        """The module and all modules inside it."""
        return [module for _, module in named(self, Module)]

    def train(self, training: bool = True) -> Module:
        """Switch to training (dropout drops), or with False to evaluation; returns the module."""
        for module in self.modules():
            module.training = training
        return self

    def eval(self) -> Module:
        """Switch to evaluation: `train(False)`."""
        return self.train(False)

    def zero_grad(self) -> None:
        """Set the gradient of every parameter to None."""
        for parameter in self.parameters():
            parameter.grad = None

    def state_dict(self) -> dict[str, Array]:
        """A copy of the values of every Tensor in the module by name, frozen ones included; results are left out."""
        return {name: tensor.data.copy() for name, tensor in self._state()}

    def _state(self) -> Iterator[tuple[str, Tensor]]:
        names = set()
        for name, t in named(self, Tensor):
            if t.op is None:
                if name in names:
                    raise ValueError(f"state_dict: two Tensors of this {type(self).__name__} are named {name!r}")
                names.add(name)
                yield name, t

    def load_state_dict(self, state: Mapping[str, Array]) -> None:
        """Load values from `state_dict()`: all, or, with a ValueError naming the key, none."""
        own = dict(self._state())
        arrays = {key: np.asarray(value) for key, value in state.items()}
        for key in own.keys() ^ state.keys():
            where = "is missing from the state" if key in own else f"is not in this {type(self).__name__}"
            raise ValueError(f"load_state_dict: {key!r} {where}; expected the keys {', '.join(own)}")
        for key, tensor in own.items():
            if (array := arrays[key]).shape != tensor.shape:
                raise ValueError(f"load_state_dict: {key!r} has shape {array.shape}, expected {tensor.shape}")
            if array.dtype.kind not in "biuf":
                raise ValueError(f"load_state_dict: {key!r} has dtype {array.dtype}, expected real numbers")
        for key, tensor in own.items():
            tensor.data = arrays[key].astype(tensor.dtype)

    @reprlib.recursive_repr("...")
    def __repr__(self) -> str:
        inside = [f"{name}={value!r}" for name, value in vars(self).items() if isinstance(value, Module | list)]
        return f"{type(self).__name__}({', '.join(inside)})"


def named(root: Any, kind: type) -> Iterator[tuple[str, Any]]:
    """Everything of a kind that attributes, lists, tuples and dicts lead to, each once, with its dotted name."""
    seen = set()
    stack = [("", root)]
    while stack:
        name, value = stack.pop()
        inside: Any = ()
        if isinstance(value, Module):
            inside = vars(value).items()
        elif isinstance(value, list | tuple):
            inside = enumerate(value)
        elif isinstance(value, dict):
            inside = value.items()
        elif not isinstance(value, Tensor):
            continue
        if id(value) not in seen:
            seen.add(id(value))
            if isinstance(value, kind):
                yield name, value
            stack.extend(reversed([(f"{name}.{key}" if name else str(key), item) for key, item in inside]))


class Linear(Module):
    """y = x W + b, for x of shape (..., n_in); `weight` W has shape (n_in, n_out), `bias` b (n_out,) or is None.

    Nielsen writes w a + b for one example a as a column: his w is this W transposed, so that a whole batch of rows is
    one product.

    Args:
        n_in: the number of inputs, the layer's fan-in.
        n_out: the number of outputs.
        init: a name in `INITIALIZERS`, how weights start.
        bias: how biases start: "zeros"; "normal", from N(0, 1) as in the book; False for none. True is "zeros".
        rng: the generator to draw from: the weights, then the biases.
        dtype: of the parameters.
    """

    def __init__(
        self,
        n_in: int,
        n_out: int,
        *,
        init: str = "scaled",
        bias: str | bool = "zeros",
        rng: np.random.Generator,
        dtype: DTypeLike = np.float32,
    ) -> None:
        self.weight = initial((n_in, n_out), n_in, n_out, init, rng, dtype)
        self.bias = initial_bias((n_out,), bias, rng, dtype)

    def forward(self, x: Any) -> Any:
        """The weighted inputs x W + b."""
        return ops.matmul(x, self.weight) if self.bias is None else ops.linear(x, self.weight, self.bias)

    def __repr__(self) -> str:
        return "Linear({}, {}{})".format(*self.weight.shape, ", bias=False" if self.bias is None else "")


class Conv2d(Module):
    """Cross-correlation with `n_out` kernels, plus a bias each: (n, n_in, h, w) -> (n, n_out, rows, columns).

    `weight` has shape (n_out, n_in, height, width), `bias` (n_out, 1, 1) or is None.

    Args:
        n_in: the number of channels of the images.
        n_out: the number of kernels.
        size: of a kernel, in pixels: a number or (height, width).
        stride: between neighbouring windows, in pixels.
        padding: pixels of 0 on every side.
        init: a name in `INITIALIZERS`; the fan-in is n_in times the kernel's pixels.
        bias: how biases start, "zeros" or "normal"; False for none, as for `Linear`.
        rng: the generator to draw from.
        dtype: of the parameters.
    """

    def __init__(
        self,
        n_in: int,
        n_out: int,
        size: int | tuple[int, int],
        *,
        stride: int | tuple[int, int] = 1,
        padding: int | tuple[int, int] = 0,
        init: str = "he",
        bias: str | bool = "zeros",
        rng: np.random.Generator,
        dtype: DTypeLike = np.float32,
    ) -> None:
        height, width = size if isinstance(size, tuple) else (size, size)
        shape, area = (n_out, n_in, height, width), height * width
        self.weight = initial(shape, n_in * area, n_out * area, init, rng, dtype)
        self.bias = initial_bias((n_out, 1, 1), bias, rng, dtype)
        self.stride, self.padding = stride, padding

    def forward(self, x: Any) -> Any:
        """conv2d(x, weight) + bias."""
        maps = ops.conv2d(x, self.weight, stride=self.stride, padding=self.padding)
        return maps if self.bias is None else maps + self.bias


class MaxPool2d(Module):
    """The largest value of each window of `size` pixels, windows `stride` apart (default: side by side)."""

    def __init__(self, size: int | tuple[int, int] = 2, stride: int | tuple[int, int] | None = None) -> None:
        self.size, self.stride = size, stride

    def forward(self, x: Any) -> Any:
        """max_pool2d(x)."""
        return ops.max_pool2d(x, size=self.size, stride=self.stride)


class Flatten(Module):
    """(n, ...) -> (n, all else)."""

    def forward(self, x: Any) -> Any:
        """The rows of the batch, each flat."""
        return ops.reshape(x, (len(x), math.prod(x.shape[1:])))


# An op, so that a compiled step draws anew at each call.
dropout_mask = unary(
    "dropout_mask",
    lambda x, p, rng: ((rng.random(x.shape) >= p) / (1 - p)).astype(x.dtype if x.dtype.kind == "f" else np.float32),
    None,
    domain=None,
    doc="for each x 0 with probability p, else 1 / (1 - p), drawn from the Generator rng; no derivative",
)


class Dropout(Module):
    """In training, 0 with probability p and else x / (1 - p), so that the expected value is unchanged; in evaluation x.

    Srivastava et al., 2014; Nielsen's chapter 3.
    """

    def __init__(self, p: float = 0.5, *, rng: np.random.Generator) -> None:
        if not 0 <= p < 1:
            raise ValueError(f"Dropout: expected a probability 0 <= p < 1, got {p}")
        if not isinstance(rng, np.random.Generator):
            raise TypeError(f"rng: expected a numpy.random.Generator, as from np.random.default_rng(seed), got {rng!r}")
        self.p, self.rng = p, rng

    def forward(self, x: Any) -> Any:
        """The input with some of its elements dropped."""
        if not self.training or self.p == 0:
            return x
        return x * dropout_mask(x, p=self.p, rng=self.rng)


class _Activation(Module):
    """A function of the table as a layer without parameters."""

    function: Callable[..., Any]

    def forward(self, x: Any) -> Any:
        """The function, elementwise."""
        return type(self).function(x)


class Sigmoid(_Activation):
    """1 / (1 + e^-x)."""

    function = ops.sigmoid


class Tanh(_Activation):
    """tanh x."""

    function = ops.tanh


class ReLU(_Activation):
    """max(x, 0)."""

    function = ops.relu


class Softmax(_Activation):
    """e^x / Σ e^x along the last axis."""

    function = ops.softmax


class Sequential(Module):
    """One layer after the other. A layer is a Module or any function of a Tensor: `Sequential(Linear(...), relu)`."""

    def __init__(self, *layers: Callable[[Any], Any]) -> None:
        for layer in layers:
            if not callable(layer):
                raise TypeError(f"Sequential: expected Modules or functions, got {layer!r:.60}; unpack a list with *")
        self.layers = list(layers)

    def forward(self, x: Any) -> Any:
        """layers[-1](... layers[0](x))."""
        for layer in self.layers:
            x = layer(x)
        return x
