"""Derivatives of functions: gradients, Jacobians, Hessians, and their products with vectors.

Each takes a function, what to call it with, and `argnums`, the place (or a tuple or list of places) of the arguments to
differentiate with respect to: at first the first; -1 is the last. Such an argument is

- an array, a Tensor or a number, of floating dtype (Python's numbers are float32, as in `Tensor`);
- a list, tuple (also a named one) or dict of these, in which each is differentiated for itself;
- a Module: with respect to its parameters, as a dict by their names.

Results are made up as the argument is; for several arguments there is a tuple of them. The other arguments are passed
on as they are, and so are keyword arguments. The function returns one Tensor; a Module is a function too. Where that
Tensor does not depend on an argument, as a constant or np.floor(x) do not, the derivatives are zeros.

Where one of these functions calls another, whatever it computes can be differentiated, f(x) included; elsewhere with
`create_graph=True`, as for `grad`, and without it results are plain numbers, which keep no graph. They record in
`no_grad()` too, and touch no `.grad`.
"""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from . import ops
from .backward import grad
from .convert import described, in_one_line
from .mode import enable_grad
from .nn import Module
from .tensor import Tensor

_here = threading.local()  # how many of these functions are running around this one, in this thread


def value_and_grad(
    function: Callable[..., Any],
    *arguments: Any,
    argnums: int | Sequence[int] = 0,
    create_graph: bool = False,
    **keywords: Any,
) -> tuple[Tensor, Any]:
    """f(x) and its gradient ∇f(x), of a function that returns one number. One forward and one reverse pass.

    Raises:
        TypeError: an argument cannot be differentiated, or the function does not return a floating Tensor.
        ValueError: it returns more than one number, or an argument has nothing to differentiate.

    >>> value_and_grad(lambda x: (x**3).sum(), np.array([1.0, 2.0]))
    (Tensor(9., dtype=float64), Tensor([ 3., 12.], dtype=float64))
    >>> from tinygrad_mnist.losses import mse_loss
    >>> from tinygrad_mnist.nn import Linear
    >>> layer, x, y = Linear(2, 1, rng=np.random.default_rng(0)), np.ones((4, 2), "f"), np.ones((4, 1), "f")
    >>> cost, gradient = value_and_grad(lambda layer, x: mse_loss(layer(x), y), layer, x)
    >>> {name: g.shape for name, g in gradient.items()}
    {'weight': (2, 1), 'bias': (1,)}
    """
    with _Call("value_and_grad", function, arguments, argnums, create_graph, keywords) as call:
        out = call.number()
        return call.value(out), call.like(_gradients(out, call.leaves, None, call.graph))


def vjp(
    function: Callable[..., Any],
    *arguments: Any,
    cotangent: Any,
    argnums: int | Sequence[int] = 0,
    create_graph: bool = False,
    **keywords: Any,
) -> tuple[Tensor, Any]:
    """f(x) and the vector-Jacobian product Jᵀ u, for a cotangent u of the shape of f(x). One reverse pass.

    Raises:
        ValueError: the cotangent has another shape. Otherwise as `value_and_grad`.

    >>> vjp(lambda x: x**2, np.array([1.0, 2.0]), cotangent=np.array([1.0, 10.0]))[1]
    Tensor([ 2., 40.], dtype=float64)
    """
    with _Call("vjp", function, arguments, argnums, create_graph, keywords) as call:
        out = call.output()
        if np.shape(cotangent) != out.shape:
            raise ValueError(f"vjp: expected a cotangent of the output's shape {out.shape}, got {described(cotangent)}")
        return call.value(out), call.like(_gradients(out, call.leaves, cotangent, call.graph))


def jvp(
    function: Callable[..., Any],
    *arguments: Any,
    tangent: Any,
    argnums: int | Sequence[int] = 0,
    create_graph: bool = False,
    **keywords: Any,
) -> tuple[Tensor, Tensor]:
    """f(x) and the Jacobian-vector product J v: how f(x) changes when x moves along the tangent v.

    By two reverse passes, as there is no forward mode here: Jᵀ u is linear in u, and its derivative with respect to u,
    along v, is J v. The tangent is made up as the argument is; that of a Module is a dict of arrays by name.

    Raises:
        ValueError: the tangent is made up otherwise. Otherwise as `value_and_grad`.

    >>> jvp(lambda x: x**2, np.array([1.0, 2.0]), tangent=np.array([1.0, 10.0]))[1]
    Tensor([ 2., 40.], dtype=float64)
    """
    with _Call("jvp", function, arguments, argnums, create_graph, keywords) as call:
        out = call.output()
        v = call.tangents(tangent)
        u = Tensor(np.ones(out.shape, out.dtype), requires_grad=True)
        gradients = _gradients(out, call.leaves, u, create_graph=True)
        return call.value(out), _gradients(_product(gradients, v), [u], None, call.graph)[0]


def hvp(
    function: Callable[..., Any],
    *arguments: Any,
    tangent: Any,
    argnums: int | Sequence[int] = 0,
    create_graph: bool = False,
    **keywords: Any,
) -> tuple[Tensor, Any]:
    """f(x) and the Hessian-vector product H v, of a function that returns one number: the gradient of ∇f(x) · v.

    Two reverse passes, whatever the number of parameters: H itself is never made. Arguments and errors as for `jvp`.

    >>> hvp(lambda x: (x**3).sum(), np.array([1.0, 2.0]), tangent=np.array([1.0, 10.0]))[1]
    Tensor([  6., 120.], dtype=float64)
    """
    with _Call("hvp", function, arguments, argnums, create_graph, keywords) as call:
        out = call.number()
        gradients = _gradients(out, call.leaves, None, create_graph=True)
        product = _product(gradients, call.tangents(tangent))
        return call.value(out), call.like(_gradients(product, call.leaves, None, call.graph))


def jacobian(
    function: Callable[..., Any],
    *arguments: Any,
    argnums: int | Sequence[int] = 0,
    create_graph: bool = False,
    **keywords: Any,
) -> Any:
    """J = ∂f(x)/∂x, of shape f(x).shape + x.shape: one reverse pass for each number in f(x).

    Errors as for `value_and_grad`.

    >>> jacobian(lambda x: x[:1] * x, np.array([2.0, 3.0]))
    Tensor([[4., 0.],
            [3., 2.]], dtype=float64)
    """
    with _Call("jacobian", function, arguments, argnums, create_graph, keywords) as call:
        return call.like(_rows(call.output(), call.leaves, call.graph))


def hessian(
    function: Callable[..., Any],
    *arguments: Any,
    argnums: int | Sequence[int] = 0,
    create_graph: bool = False,
    **keywords: Any,
) -> Any:
    """H = ∂²f(x)/∂x∂x, of shape x.shape + x.shape, of a function that returns one number: the Jacobian of the gradient.

    One reverse pass for each number in x, after that of the gradient. Of an argument of several parts there are the
    second derivatives of each with each: `hessian(f, layer)["weight"]["bias"]`. Errors as for `value_and_grad`.

    >>> hessian(lambda x: x[0] ** 2 * x[1], np.array([2.0, 3.0]))
    Tensor([[6., 4.],
            [4., 0.]], dtype=float64)
    """
    with _Call("hessian", function, arguments, argnums, create_graph, keywords) as call:
        gradients = _gradients(call.number(), call.leaves, None, create_graph=True)
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
        argnums: int | Sequence[int],
        create_graph: bool,
        keywords: dict[str, Any],
    ) -> None:
        self.name, self.function, self.arguments, self.keywords = name, function, list(arguments), keywords
        self.several = isinstance(argnums, list | tuple)
        if not callable(function):
            raise TypeError(f"{name}: expected a function of arrays, Tensors or Modules, got {in_one_line(function)}")
        given: Any = argnums if self.several else (argnums,)
        count = len(arguments)
        if not all(isinstance(i, int | np.integer) and -count <= i < count for i in given):
            raise ValueError(
                f"{name}: expected argnums that are places of the {count} arguments given, got {argnums!r}; "
                f"call it as {name}(f, x)"
            )
        self.graph = create_graph or getattr(_here, "depth", 0) > 0
        self.places = [int(i) % count for i in given]
        if len(set(self.places)) < len(self.places):
            raise ValueError(f"{name}: expected argnums that name each argument once, got {argnums!r}")

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
        self.structure = parts if self.several else parts[0]
        self.leaves = list(_leaves(self.structure))
        if not self.leaves or len(set(self.leaves)) < len(self.leaves):
            self.__exit__()
            what = "one parameter twice" if self.leaves else "nothing to differentiate"
            raise ValueError(f"{self.name}: there is {what} in the arguments {self.places}; choose others by argnums=")
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
        if isinstance(argument, np.floating):
            argument = np.asarray(argument)  # which keeps its dtype
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
        out = self.function(*self.arguments, **self.keywords)
        if not isinstance(out, Tensor):
            raise TypeError(
                f"{self.name}: expected a function that returns a Tensor, got {described(out)}; "
                "leave out .numpy(), .item() and float(), and take one part of several"
            )
        if out.dtype.kind != "f":
            raise TypeError(
                f"{self.name}: expected a function that returns floating numbers, got {described(out)}; "
                "whole numbers and booleans have no derivative"
            )
        return out

    def value(self, out: Tensor) -> Tensor:
        """What the function returned, as it is handed out: in its graph if that is to be differentiated."""
        return out if self.graph else out.detach()

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


def _gradients(out: Tensor, inputs: list[Tensor], gradient: Any, create_graph: bool) -> list[Tensor]:
    """`grad`, with zeros of a constant too. Graphs are kept: what the function used may be in a graph of the user's."""
    if out.requires_grad:
        found: list[Tensor] = grad(out, inputs, gradient, retain_graph=True, create_graph=create_graph)
        return found
    return [Tensor(np.zeros(x.shape, x.dtype), requires_grad=create_graph) for x in inputs]


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
        vector = given if isinstance(given, Tensor) else _array(given)
        if vector is None or vector.shape != structure.shape:
            raise ValueError(f"{name}: expected a {where} of shape {structure.shape}, got {described(given)}")
        yield ops.astype(vector, structure.dtype)
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


def _array(given: Any) -> Any:
    """Real numbers, or lists of them, as an array; None of what is something else."""
    try:
        array = np.asarray(given)
    except (TypeError, ValueError):
        return None
    return array if array.dtype.kind in "biuf" else None


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
    rows = [_gradients(out, leaves, seed, create_graph) for seed in seeds] if out.requires_grad else []
    if not rows:
        return [Tensor(np.zeros(out.shape + x.shape, x.dtype), requires_grad=create_graph) for x in leaves]
    return [
        ops.stack(list(parts)).reshape(out.shape + x.shape)
        for x, parts in zip(leaves, zip(*rows, strict=True), strict=True)
    ]
