"""What is checked: the arguments and parameters of a function that are Tensors in float64 while it is, and their names.

Everything floating among the arguments is checked: arrays, Tensors and numbers; those in lists, tuples and dicts;
and the parameters of Modules.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from tinygrad_mnist.convert import described, in_one_line
from tinygrad_mnist.mode import enable_grad
from tinygrad_mnist.nn import Module
from tinygrad_mnist.tensor import Array, Tensor, leaf, read_only, values

Names = dict[Tensor, str]
Argnums = int | tuple[int, ...] | None


@contextmanager
def in_float64(
    f: Callable[..., Any], inputs: Sequence[Any], parameters: Any, argnums: Argnums
) -> Iterator[tuple[Names, list[Any]]]:
    """The Tensors to check, with their names, and the arguments of f. Afterwards all parameters are as before.

    In between they are read-only, so that whoever writes into one is found out.
    """
    arguments, names, modules = opened(f, inputs, argnums, np.float64)
    named = _named(f if parameters is None and hasattr(f, "named_parameters") else parameters)
    named += [(f"{place}.{name}", p) for place, module in modules for name, p in module.named_parameters()]
    held: dict[Tensor, tuple[Array, Tensor | None]] = {}
    for i, (name, p) in enumerate(named):
        if p.op is not None:
            raise TypeError(
                f"parameters: expected leaves, got the result of {p.op.name}; pass what it is computed from"
            )
        if p.requires_grad and p not in held:
            held[p] = p.data, p.grad
            names[p] = name or f"parameter {i}"
    if not names:
        raise TypeError("nothing to check: pass floating arrays or Tensors, or parameters= that require gradients")
    try:
        for p, (array, _) in held.items():
            p._array = read_only(array.astype(np.float64))
        with enable_grad():  # the caller may be inside no_grad()
            yield names, arguments
    finally:
        for p, (array, gradient) in held.items():
            p._array, p._grad = array, gradient


def _named(parameters: Any) -> list[tuple[str | None, Tensor]]:
    """Parameters to be checked too, with their names."""
    if hasattr(parameters, "named_parameters") and not isinstance(parameters, type):
        return list(parameters.named_parameters())
    given = [] if parameters is None else parameters
    listed: list[Any] = [None]
    if isinstance(given, Iterable) and not isinstance(given, Tensor | Mapping):
        listed = list(given)
    if not all(isinstance(p, Tensor) for p in listed):
        raise TypeError(
            f"parameters: expected a Module or a list of Tensors, got {in_one_line(parameters)}; "
            "pass the network itself, or [w, b]"
        )
    return [(p.name, p) for p in listed]


def opened(
    f: Callable[..., Any], inputs: Sequence[Any], argnums: Argnums, dtype: Any = None
) -> tuple[list[Any], Names, list[tuple[str, Module]]]:
    """The arguments of f with Tensors in place of what is to be checked; those Tensors by name; the Modules by name.

    Args:
        f: the function; what its signature calls an argument is its name, if it is not a Tensor with a name.
        inputs: what it is to be called with.
        argnums: the places of those to be checked; None: of all that are floating.
        dtype: of the Tensors; None: their own.
    """
    places = range(len(inputs)) if argnums is None else argnums if isinstance(argnums, tuple) else (argnums,)
    if not all(isinstance(i, int) and 0 <= i < len(inputs) for i in places):
        raise ValueError(f"argnums: expected places of the {len(inputs)} arguments given, got {argnums!r}")
    arguments, names, modules = list(inputs), dict[Tensor, str](), list[tuple[str, Module]]()

    def variable(x: Any, name: str) -> Any:
        if isinstance(x, Module):
            modules.append((name, x))
        elif isinstance(x, dict):
            return {key: variable(part, f"{name}[{key!r}]") for key, part in x.items()}
        elif isinstance(x, list | tuple):
            parts = [variable(part, f"{name}[{i}]") for i, part in enumerate(x)]
            return type(x)(*parts) if hasattr(x, "_fields") else type(x)(parts)
        elif _is_floating(x):
            # A leaf of the bare values, whatever graph they come from: the derivatives asked for end here.
            t = leaf(read_only(np.asarray(values(x), dtype)))
            infinite = t.size - np.count_nonzero(np.isfinite(t.data))
            if infinite:
                raise ValueError(
                    f"{name} is not finite in {infinite} of {t.size} entries, where nothing can be measured; "
                    "choose the arguments to check with argnums="
                )
            t.requires_grad = True
            names[t] = getattr(x, "name", None) or name
            return t
        return x

    for i in places:
        name = _called(f, inputs)[i]
        # A list of plain numbers may be an option, such as bounds: it is opened if it is asked for.
        if argnums is not None or _is_floating(inputs[i]) or _holds_arrays(inputs[i]):
            found = len(names) + len(modules)
            arguments[i] = variable(inputs[i], name)
            if argnums is not None and found == len(names) + len(modules):
                raise TypeError(f"argnums: expected {name} to be floating, got {described(inputs[i])}; convert it")
    return arguments, names, modules


def _is_floating(x: Any) -> bool:
    return isinstance(x, Tensor | np.ndarray | np.floating | float) and (isinstance(x, float) or x.dtype.kind == "f")


def _holds_arrays(x: Any) -> bool:
    """Whether arrays, Tensors or Modules are in it."""
    if isinstance(x, dict | list | tuple):
        return any(map(_holds_arrays, x.values() if isinstance(x, dict) else x))
    return isinstance(x, Module) or (isinstance(x, Tensor | np.ndarray) and x.dtype.kind == "f")


def _called(f: Callable[..., Any], inputs: Sequence[Any]) -> list[str]:
    """What the signature of f calls its arguments."""
    plain = [f"input {i}" for i in range(len(inputs))]
    try:
        parameters = inspect.signature(getattr(f, "forward", f)).parameters.values()
    except (TypeError, ValueError):  # as of functions that are written in C
        return plain
    positional = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    return (positional + plain[len(positional) :])[: len(inputs)]


def output(f: Callable[..., Any], arguments: Sequence[Any]) -> Tensor:
    """What f returns, which has to be a Tensor in float64."""
    out = f(*arguments)
    if not isinstance(out, Tensor):
        remedy = "take one part of it" if isinstance(out, tuple | list | dict) else "compute it with ops from Tensors"
        raise TypeError(f"{name_of(f)} returned {type(out).__name__}, expected a Tensor; {remedy}")
    if not np.can_cast(np.float64, out.dtype):
        raise TypeError(f"{name_of(f)} returned {out.dtype} for float64, too coarse to measure; do not convert inside")
    return out


def name_of(f: Callable[..., Any]) -> str:
    """What messages call it."""
    name = getattr(f, "__name__", type(f).__name__)
    return "f" if name == "<lambda>" else str(name)
