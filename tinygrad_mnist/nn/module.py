"""Module: a part of a network, whose parameters are found by attribute."""

from __future__ import annotations

import functools
import reprlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Self

import numpy as np

from tinygrad_mnist.convert import described, in_one_line
from tinygrad_mnist.mode import changed
from tinygrad_mnist.tensor import Array, Tensor

from .buffer import Buffer

_ABSENT = object()


def shape_of(name: str, x: Any) -> tuple[int, ...]:
    """The shape of what a layer of this name is called with; a TypeError if it is no Tensor and no array."""
    if not isinstance(x, Tensor | np.ndarray):
        raise TypeError(f"{name}: expected a Tensor or an array, got {in_one_line(x)}; make one: np.array(...)")
    return x.shape


class Module:
    """A part of a network, which holds parameters.

    Subclasses set Tensors, Buffers and Modules (or lists and dicts of them) as attributes, and define `forward`. The
    parameters are found by attribute, and named after it: `hidden.weight`, `layers.0.bias`.

    >>> from tinygrad_mnist import nn, ops
    >>> class Perceptron(nn.Module):
    ...     def __init__(self, rng):
    ...         self.hidden = nn.Linear(784, 30, rng=rng)
    ...         self.output = nn.Linear(30, 10, rng=rng)
    ...
    ...     def forward(self, x):
    ...         return ops.sigmoid(self.output(ops.sigmoid(self.hidden(x))))
    >>> network = Perceptron(np.random.default_rng(0))
    >>> [(name, p.shape) for name, p in network.named_parameters()]
    [('hidden.weight', (784, 30)), ('hidden.bias', (30,)), ('output.weight', (30, 10)), ('output.bias', (10,))]

    A parameter of one's own is a Tensor that requires gradients:

    >>> class Scale(nn.Module):
    ...     def __init__(self, n):
    ...         self.factor = Tensor(np.ones(n), requires_grad=True)
    ...
    ...     def forward(self, x):
    ...         return x * self.factor
    >>> Scale(3)
    Scale(factor=(3,))
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
        if _is_parameter(before) and not (value is None or _is_parameter(value) or isinstance(value, Buffer)):
            raise TypeError(
                f"{type(self).__name__}.{name} is a parameter, and would be none any more as {_in_words(value)}; write "
                f"{name}.data = array for new values, or set a Tensor with requires_grad=True, or None"
            )
        object.__setattr__(self, name, value)
        if before is not value:
            changed(f"sets the attribute {name!r} of a {type(self).__name__}", self)

    def __delattr__(self, name: str) -> None:
        object.__delattr__(self, name)
        changed(f"deletes the attribute {name!r} of a {type(self).__name__}", self)

    def named_parameters(self, *, frozen: bool = False) -> Iterator[tuple[str, Tensor]]:
        """Every parameter (a leaf that requires gradients) with its name; one that is used twice comes once.

        Those that are frozen, `requires_grad = False`, are left out, unless `frozen` says to take them along.
        """
        return ((n, t) for n, t in named(self, Tensor) if _is_parameter(t) and (frozen or t.requires_grad))

    def parameters(self, *, frozen: bool = False) -> list[Tensor]:
        """All parameters, in the order of their names, in a list.

        **Without those that are frozen**, of which there is no gradient, and so nothing for an optimizer to do:
        `parameters(frozen=True)` has them too, and `requires_grad_()` thaws them.

        >>> from tinygrad_mnist import nn
        >>> layer = nn.Linear(2, 3, rng=np.random.default_rng(0))
        >>> layer.weight.requires_grad = False
        >>> len(layer.parameters()), len(layer.parameters(frozen=True)), len(layer.requires_grad_().parameters())
        (1, 2, 2)
        """
        return [parameter for _, parameter in self.named_parameters(frozen=frozen)]

    def requires_grad_(self, requires_grad: bool = True) -> Self:
        """Freeze all parameters (False), or let them train, those that are frozen too (True); returns the module.

        Tensors that have never required gradients, constants and Buffers, stay so. An optimizer that was made while
        parameters were frozen does not know them: `optimizer.add_group({"params": ...})`, or make it anew.
        """
        for parameter in self.parameters(frozen=True):
            parameter.requires_grad = requires_grad
        return self

    def modules(self) -> list[Module]:
        """The module and all modules inside it."""
        return [module for _, module in named(self, Module)]

    def children(self) -> list[Module]:
        """The modules directly inside it: its attributes, and what lists, tuples and dicts among them hold."""
        children = [value for _, value in _attributes(self) if isinstance(value, Module)]
        return list(dict.fromkeys(children))

    def apply(self, function: Callable[[Module], Any]) -> Module:
        """Call a function with every module inside, parts before what they are parts of; returns the module.

        >>> from tinygrad_mnist import nn
        >>> network = nn.Sequential(nn.Dropout(0.5, rng=np.random.default_rng(0)), nn.Sigmoid())
        >>> network.apply(lambda module: print(type(module).__name__))
        Dropout
        Sigmoid
        Sequential
        Sequential(
          layers.0: Dropout(0.5)
          layers.1: Sigmoid()
        )
        """
        if not callable(function):
            raise TypeError(f"apply: expected a function of a Module, got {in_one_line(function)}")
        called: set[int] = set()

        def visit(module: Module) -> None:
            called.add(id(module))
            for child in module.children():
                if id(child) not in called:
                    visit(child)
            function(module)

        visit(self)
        return self

    def train(self, training: bool = True) -> Module:
        """Switch to training (dropout drops), or with False to evaluation; returns the module."""
        given: Any = training
        if not isinstance(given, bool | np.bool):
            what = f"expected True or False, got {in_one_line(given)}"
            raise TypeError(f"train: {what}; it switches between training and evaluation, train.fit(model, ...) trains")
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
        if not isinstance(state, Mapping):
            raise TypeError(
                f"load_state_dict: expected arrays by name, as of state_dict(), got {in_one_line(state)}; "
                "of a file np.load(path), of a checkpoint train.load(path).model"
            )
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

    def extra_repr(self) -> str:
        """What the repr says of the module itself: numbers, texts and truths by value, Tensors by their shapes.

        To be defined by modules that know a shorter way, as Linear(784, 30).
        """
        own = [(name, value) for name, value in _attributes(self) if not _is_part(value)]
        return ", ".join(f"{name}={value.shape if isinstance(value, Tensor) else repr(value)}" for name, value in own)

    @reprlib.recursive_repr("...")
    def __repr__(self) -> str:
        lines = [f"{name}: {_part_text(part)}" for name, part in _attributes(self) if _is_part(part)]
        head = f"{type(self).__name__}({self.extra_repr()}"
        return "\n  ".join([head, *(line.replace("\n", "\n  ") for line in lines)]) + ("\n)" if lines else ")")


def _is_parameter(value: Any) -> bool:
    """Whether it is a leaf that requires gradients; or did once, and is frozen."""
    return isinstance(value, Tensor) and value.op is None and value._created > 0


def _in_words(value: Any) -> str:
    """What it is, for an error."""
    if not isinstance(value, Tensor):
        return described(value)
    return f"the result of {value.op.name}" if value.op is not None else "a Tensor that requires no gradients"


def _attributes(module: Module) -> Iterator[tuple[str, Any]]:
    """What a repr can show of a module's attributes, and of what their lists, tuples and dicts hold, with names."""
    opened: set[int] = set()
    stack = [(name, value) for name, value in reversed(vars(module).items()) if name != "training"]
    while stack:
        name, value = stack.pop()
        if isinstance(value, Module) or (isinstance(value, Tensor) and value.op is None):
            yield name, value
        elif _is_part(value) or _is_plain(value):
            if not name.startswith("_"):
                yield name, value
        elif isinstance(value, dict | list | tuple) and id(value) not in opened:
            opened.add(id(value))
            inside = value.items() if isinstance(value, dict) else enumerate(value)
            stack.extend(reversed([(f"{name}.{key}", item) for key, item in inside]))


def _is_part(value: Any) -> bool:
    """Whether it computes something: a module or a function, but no class."""
    return callable(value) and not isinstance(value, type)


def _is_plain(value: Any) -> bool:
    """Whether it is a number, a truth, a short text or a few of them: what has a repr without an address."""
    if isinstance(value, list | tuple):
        return 0 < len(value) <= 8 and all(_is_plain(item) for item in value)
    return isinstance(value, bool | int | float | np.number) or (isinstance(value, str) and len(value) <= 40)


def options_text(module: Module, **defaults: Any) -> str:
    """Those attributes that are not the default, for a layer's `extra_repr`: ", stride=2"."""
    given = {name: getattr(module, name) for name in defaults}
    return "".join(f", {name}={value}" for name, value in given.items() if value != defaults[name])


def _part_text(part: Any) -> str:
    """A module by its repr, a function by its name, without an address."""
    if isinstance(part, Module):
        return repr(part)
    if isinstance(part, functools.partial):
        given = [*(("", x) for x in part.args), *((f"{key}=", x) for key, x in part.keywords.items())]
        options = ", ".join(f"{key}{repr(x) if _is_plain(x) else '...'}" for key, x in given)
        return f"{_part_text(part.func)}({options})"
    name = getattr(part, "__qualname__", None) or getattr(part, "__name__", type(part).__name__)
    return str(name).rpartition("<locals>.")[2]


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
