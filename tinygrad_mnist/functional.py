"""Derivatives of functions: gradients, Jacobians, Hessians, and their products with vectors.

Each takes a function, what to call it with, and `argnums`, the place (or a tuple of places) of the arguments to
differentiate with respect to: at first the first. Such an argument is

- an array, a Tensor or a number, of floating dtype (a number and a list's numbers are float32, as in `Tensor`);
- a list, tuple (also a named one) or dict of these, in which each is differentiated for itself;
- a Module: with respect to its parameters, as a dict by their names.

Results are made up as the argument is; for several arguments there is a tuple of them. The other arguments are passed
on as they are. The function returns one Tensor; a Module is a function too.

Where one of these functions calls another, whatever it computes can be differentiated; elsewhere with
`create_graph=True`, as for `grad`. They record in `no_grad()` too, and touch no `.grad`.
"""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from . import ops
from .backward import grad
from .convert import described, in_one_line
from .mode import enable_grad
from .nn import Module
from .tensor import Tensor, leaf

_here = threading.local()  # how many of these functions are running around this one, in this thread


def value_and_grad(
    function: Callable[..., Any], *arguments: Any, argnums: int | tuple[int, ...] = 0, create_graph: bool = False
) -> tuple[Tensor, Any]:
    """f(x) and its gradient ∇f(x), of a function that returns one number. One forward and one reverse pass.

    Raises:
        TypeError: an argument cannot be differentiated, or the function does not return a Tensor.
        ValueError: it returns more than one number, or an argument has nothing to differentiate.

    >>> value_and_grad(lambda x: (x**3).sum(), np.array([1.0, 2.0]))
    (Tensor(9., dtype=float64, op=sum), Tensor([ 3., 12.], dtype=float64))
    >>> from tinygrad_mnist.losses import mse_loss
    >>> from tinygrad_mnist.nn import Linear
    >>> layer, x, y = Linear(2, 1, rng=np.random.default_rng(0)), np.ones((4, 2), "f"), np.ones((4, 1), "f")
    >>> cost, gradient = value_and_grad(lambda layer, x: mse_loss(layer(x), y), layer, x)
    >>> {name: g.shape for name, g in gradient.items()}
    {'weight': (2, 1), 'bias': (1,)}
    """
    with _Call("value_and_grad", function, arguments, argnums, create_graph) as call:
        out = call.number()
        return out, call.like(grad(out, call.leaves, retain_graph=True, create_graph=call.graph))


def vjp(
    function: Callable[..., Any],
    *arguments: Any,
    cotangent: Any,
    argnums: int | tuple[int, ...] = 0,
    create_graph: bool = False,
) -> tuple[Tensor, Any]:
    """f(x) and the vector-Jacobian product Jᵀ u, for a cotangent u of the shape of f(x). One reverse pass.

    Raises:
        ValueError: the cotangent has another shape. Otherwise as `value_and_grad`.

    >>> vjp(lambda x: x**2, np.array([1.0, 2.0]), cotangent=np.array([1.0, 10.0]))[1]
    Tensor([ 2., 40.], dtype=float64)
    """
    with _Call("vjp", function, arguments, argnums, create_graph) as call:
        out = call.output()
        if np.shape(cotangent) != out.shape:
            raise ValueError(f"vjp: expected a cotangent of the output's shape {out.shape}, got {described(cotangent)}")
        return out, call.like(grad(out, call.leaves, cotangent, retain_graph=True, create_graph=call.graph))


def jvp(
    function: Callable[..., Any],
    *arguments: Any,
    tangent: Any,
    argnums: int | tuple[int, ...] = 0,
    create_graph: bool = False,
) -> tuple[Tensor, Tensor]:
    """f(x) and the Jacobian-vector product J v: how f(x) changes when x moves along the tangent v.

    By two reverse passes, as there is no forward mode here: Jᵀ u is linear in u, and its derivative with respect to u,
    along v, is J v. The tangent is made up as the argument is; that of a Module is a dict of arrays by name.

    Raises:
        ValueError: the tangent is made up otherwise. Otherwise as `value_and_grad`.

    >>> jvp(lambda x: x**2, np.array([1.0, 2.0]), tangent=np.array([1.0, 10.0]))[1]
    Tensor([ 2., 40.], dtype=float64)
    """
    with _Call("jvp", function, arguments, argnums, create_graph) as call:
        out = call.output()
        v = call.tangents(tangent)
        u = Tensor(np.ones(out.shape, out.dtype), requires_grad=True)
        gradients = grad(out, call.leaves, u, create_graph=True)
        return out, grad(_product(gradients, v), u, retain_graph=True, create_graph=call.graph)


def hvp(
    function: Callable[..., Any],
    *arguments: Any,
    tangent: Any,
    argnums: int | tuple[int, ...] = 0,
    create_graph: bool = False,
) -> tuple[Tensor, Any]:
    """f(x) and the Hessian-vector product H v, of a function that returns one number: the gradient of ∇f(x) · v.

    Two reverse passes, whatever the number of parameters: H itself is never made. Arguments and errors as for `jvp`.

    >>> hvp(lambda x: (x**3).sum(), np.array([1.0, 2.0]), tangent=np.array([1.0, 10.0]))[1]
    Tensor([  6., 120.], dtype=float64)
    """
    with _Call("hvp", function, arguments, argnums, create_graph) as call:
        out = call.number()
        gradients = grad(out, call.leaves, create_graph=True)
        product = _product(gradients, call.tangents(tangent))
        return out, call.like(grad(product, call.leaves, retain_graph=True, create_graph=call.graph))


def jacobian(
    function: Callable[..., Any], *arguments: Any, argnums: int | tuple[int, ...] = 0, create_graph: bool = False
) -> Any:
    """J = ∂f(x)/∂x, of shape f(x).shape + x.shape: one reverse pass for each number in f(x).

    Errors as for `value_and_grad`.

    >>> jacobian(lambda x: x[:1] * x, np.array([2.0, 3.0]))
    Tensor([[4., 0.],
            [3., 2.]], dtype=float64)
    """
    with _Call("jacobian", function, arguments, argnums, create_graph) as call:
        return call.like(_rows(call.output(), call.leaves, call.graph))


def hessian(
    function: Callable[..., Any], *arguments: Any, argnums: int | tuple[int, ...] = 0, create_graph: bool = False
) -> Any:
    """H = ∂²f(x)/∂x∂x, of shape x.shape + x.shape, of a function that returns one number: the Jacobian of the gradient.

    One reverse pass for each number in x, after that of the gradient. Of an argument of several parts there are the
    second derivatives of each with each: `hessian(f, layer)["weight"]["bias"]`. Errors as for `value_and_grad`.

    >>> hessian(lambda x: x[0] ** 2 * x[1], np.array([2.0, 3.0]))
    Tensor([[6., 4.],
            [4., 0.]], dtype=float64)
    """
    with _Call("hessian", function, arguments, argnums, create_graph) as call:
        gradients = grad(call.number(), call.leaves, create_graph=True)
        return call.like([call.like(_rows(g, call.leaves, call.graph)) for g in gradients])


class _Call:
    """One call of a function, with those arguments that are differentiated opened to their Tensors.

    Attributes:
        leaves: the Tensors that are differentiated with respect to.
        graph: whether what is computed of them is to be differentiated in its turn.
    """

    def __init__(
        self,
        name: str,
        function: Callable[..., Any],
        arguments: tuple[Any, ...],
        argnums: int | tuple[int, ...],
        create_graph: bool,
    ) -> None:
        self.name, self.function, self.arguments, self.argnums = name, function, list(arguments), argnums
        if not callable(function):
            raise TypeError(f"{name}: expected a function of arrays, Tensors or Modules, got {in_one_line(function)}")
        places = argnums if isinstance(argnums, tuple) else (argnums,)
        if not all(isinstance(i, int) and 0 <= i < len(arguments) for i in places) or len(set(places)) < len(places):
            raise ValueError(
                f"{name}: expected argnums that are places of the {len(arguments)} arguments given, got {argnums!r}; "
                f"call it as {name}(f, x)"
            )
        self.graph = create_graph or getattr(_here, "depth", 0) > 0
        self.places = places

    def __enter__(self) -> _Call:
        self.recording = enable_grad()
        self.recording.__enter__()
        _here.depth = getattr(_here, "depth", 0) + 1
        try:
            opened = [self._opened(self.arguments[i], f"argument {i}") for i in self.places]
        except BaseException:
            self.__exit__()
            raise
        for i, (argument, _) in zip(self.places, opened, strict=True):
            self.arguments[i] = argument
        parts = tuple(part for _, part in opened)
        self.structure = parts if isinstance(self.argnums, tuple) else parts[0]
        self.leaves = list(_leaves(self.structure))
        if not self.leaves or len(set(self.leaves)) < len(self.leaves):
            self.__exit__()
            what = "one parameter twice" if self.leaves else "nothing to differentiate"
            raise ValueError(f"{self.name}: there is {what} in argnums {self.argnums}; choose other arguments")
        return self

    def __exit__(self, *exception: object) -> None:
        _here.depth -= 1
        self.recording.__exit__(*exception)

    def _opened(self, argument: Any, name: str) -> tuple[Any, Any]:
        """An argument as the function gets it, and its Tensors, made up as it is."""
        if isinstance(argument, Module):
            return argument, dict(argument.named_parameters())
        if isinstance(argument, dict):
            both = [self._opened(x, f"{name}[{key!r}]") for key, x in argument.items()]
            return _like(argument, [x for x, _ in both]), _like(argument, [t for _, t in both])
        if isinstance(argument, list | tuple):
            both = [self._opened(x, f"{name}[{i}]") for i, x in enumerate(argument)]
            return _like(argument, [x for x, _ in both]), _like(argument, [t for _, t in both])
        if isinstance(argument, Tensor) and argument.requires_grad:
            t = ops.copy(argument)  # in the graph of the argument, but another than itself, which f may use besides
            return t, t
        try:
            t = Tensor(argument, requires_grad=True)
        except (TypeError, ValueError):
            raise TypeError(
                f"{self.name}: expected {name} to be floating numbers or a Module, got {described(argument)}; "
                "choose the arguments to differentiate with argnums="
            ) from None
        return t, t

    def output(self) -> Tensor:
        """What the function returns."""
        out = self.function(*self.arguments)
        if not isinstance(out, Tensor):
            raise TypeError(
                f"{self.name}: expected a function that returns a Tensor, got {described(out)}; "
                "leave out .numpy(), .item() and float(), and take one part of several"
            )
        if not out.requires_grad:
            raise ValueError(f"{self.name}: the function's result does not depend on what is differentiated")
        return out

    def number(self) -> Tensor:
        """What it returns, which has to be one number."""
        out = self.output()
        if out.size != 1:
            raise ValueError(
                f"{self.name}: expected a function that returns one number, got shape {out.shape}; "
                "reduce it, as with .sum(), or use jacobian"
            )
        return out

    def like(self, parts: list[Any]) -> Any:
        """These, one for each of the leaves, made up as the arguments are."""
        return _filled(self.structure, iter(parts))

    def tangents(self, tangent: Any) -> list[Any]:
        """The parts of a tangent, one for each of the leaves."""
        return list(_matched(self.name, self.structure, tangent, "tangent"))


def _leaves(structure: Any) -> Iterator[Tensor]:
    if isinstance(structure, Tensor):
        yield structure
    else:
        for part in structure.values() if isinstance(structure, dict) else structure:
            yield from _leaves(part)


def _filled(structure: Any, parts: Iterator[Any]) -> Any:
    if isinstance(structure, Tensor):
        return next(parts)
    inside = structure.values() if isinstance(structure, dict) else structure
    return _like(structure, [_filled(x, parts) for x in inside])


def _like(container: Any, parts: list[Any]) -> Any:
    """A list, tuple, also a named one, or dict of a kind and of the same keys, with these parts."""
    if isinstance(container, dict):
        made = copy.copy(container)  # which keeps what an OrderedDict or a defaultdict is
        made.update(zip(container, parts, strict=True))
        return made
    if hasattr(container, "_make"):
        return container._make(parts)
    return tuple(parts) if isinstance(container, tuple) else parts


def _matched(name: str, structure: Any, given: Any, where: str) -> Iterator[Any]:
    """The parts of what is given, in the order of the structure's leaves."""
    if isinstance(structure, Tensor):
        if isinstance(given, dict | list) or np.shape(given) != structure.shape:
            raise ValueError(f"{name}: expected a {where} of shape {structure.shape}, got {described(given)}")
        yield ops.astype(given, structure.dtype)
    elif isinstance(structure, dict):
        if not isinstance(given, dict) or given.keys() != structure.keys():
            raise ValueError(f"{name}: expected a {where} that is a dict of {', '.join(map(str, structure))}")
        for key, x in structure.items():
            yield from _matched(name, x, given[key], f"{where}[{key!r}]")
    else:
        if not isinstance(given, list | tuple) or len(given) != len(structure):
            raise ValueError(f"{name}: expected a {where} of {len(structure)} parts, got {described(given)}")
        for i, x in enumerate(structure):
            yield from _matched(name, x, given[i], f"{where}[{i}]")


def _product(gradients: list[Tensor], tangents: list[Any]) -> Tensor:
    """Σ g · v over all parts."""
    products = [(g * v).sum() for g, v in zip(gradients, tangents, strict=True)]
    total = products[0]
    for product in products[1:]:
        total = total + product
    return total


def _rows(out: Tensor, leaves: list[Tensor], create_graph: bool) -> list[Tensor]:
    """∂out/∂x for each of the leaves x, of shape out.shape + x.shape."""
    seeds = np.eye(out.size, dtype=out.dtype).reshape(out.size, *out.shape)
    rows = [grad(out, leaves, seed, retain_graph=True, create_graph=create_graph) for seed in seeds]
    if not rows:
        return [leaf(np.zeros(out.shape + x.shape, x.dtype)) for x in leaves]
    return [
        ops.stack(list(parts)).reshape(out.shape + x.shape)
        for x, parts in zip(leaves, zip(*rows, strict=True), strict=True)
    ]
