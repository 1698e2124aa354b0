"""Gradient checks: whether backward() computes the derivative of what the function computes.

The output of f is contracted with fixed random numbers v to one number, L = Σ v f(x). (A plain sum would hide mistakes:
the outputs of softmax always add up to 1.) The slope of L along a direction d is measured without any calculus,

    complex step          Im L(x + ihd) / h                     exact up to rounding, where f is analytic
    central differences   D(h) = (L(x + hd) - L(x - hd)) / 2h   of which (4 D(h) - D(2h)) / 3 has an error of O(h⁴)

and compared with Σ d ∂L/∂x, where ∂L/∂x is what backward() gives. The directions are all axes, so that every entry is
checked; for large inputs a few random ones. They are as long as what they change is large. All is done in float64.

What does not agree is measured again with narrower steps (`steps`). If they give the same, the gradient is wrong: then
single numbers of x and of f(x) are looked for, and the op that is the cause (`verdict`). Where f has no derivative, at
a kink or a jump, or rounding hides it, nothing can be compared: the error says so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np

from tinygrad_mnist.backward import grad
from tinygrad_mnist.convert import in_one_line, is_real, is_whole
from tinygrad_mnist.mode import no_grad
from tinygrad_mnist.nn import Module
from tinygrad_mnist.tensor import Tensor, leaf

from .arguments import Argnums, Names, in_float64, name_of, output
from .errors import GradientError as GradientError
from .errors import UnmeasurableError as UnmeasurableError
from .errors import VerdictError, expect_finite
from .slopes import ANALYTIC as ANALYTIC
from .slopes import DIRECTIONS as DIRECTIONS
from .slopes import EVERY_ENTRY as EVERY_ENTRY
from .slopes import Slopes, random_numbers
from .verdict import Agreement as Agreement
from .verdict import cause, compare


def check_gradients(
    f: Callable[..., Any],
    *inputs: Any,
    parameters: Any = None,
    argnums: Argnums = None,
    rtol: float = 1e-8,
    seed: int = 0,
) -> Agreement:
    """Check the gradients of f with respect to all its inputs, and to parameters, at these values.

    Args:
        f: a function of Tensors that returns a Tensor of any shape: an op, a cost, a Module.
        *inputs: what f is called with. Floating arrays, Tensors and numbers are checked, as Tensors in float64; so are
            those in lists, tuples and dicts that hold arrays, and the parameters of Modules. All else (integers,
            labels, options, lists of plain numbers) is passed on as it is.
        parameters: Tensors that f uses, to be checked too: an iterable of them or a Module. If f is a Module: its own.
            They are float64 during the check, and afterwards what they were before, to the last bit.
        argnums: the places of those inputs that are to be checked, one or a tuple; the others are constants.
        rtol: how far a gradient may be from the measured slope, relative to it. What the measurement leaves uncertain
            (rounding, and the difference between two step widths) is allowed for besides, up to 1/1000 of the slope.
        seed: of the random v and directions.

    Returns:
        How slopes were measured, and how many were compared: none if all inputs are empty.

    Raises:
        GradientError: a gradient is wrong, a rule writes into what it is given, or f is not repeatable. The numbers
            shown are entries of the Jacobian: of that number in f(x) which is farthest off.
        UnmeasurableError: a GradientError that says nothing of gradients: f has no finite value here; no derivative, as
            at a kink (relu at 0, a tie of max), where what ops give is a convention; or one that rounding hides, as
            beside a large number that is added. Check it elsewhere.
        TypeError: there is nothing to check, f is no function, or it does not return a Tensor in float64.
        ValueError: an input to be checked is not finite, argnums are no places, or rtol or seed no such numbers.

    >>> from tinygrad_mnist import OPS, sigmoid, unary
    >>> check_gradients(sigmoid, np.array([-1.0, 0.0, 2.0]))
    Agreement(method='complex step', compared=3)
    >>> cube = unary("cube", lambda x: x**3, lambda g, out, x: g * 2 * x**2)
    >>> def f(x):
    ...     return cube(x).sum()
    >>> check_gradients(f, np.array([0.0, 1.0, 2.0]))
    Traceback (most recent call last):
    tinygrad_mnist.gradcheck.GradientError: f: the gradient is wrong in 2 of 3 entries
      entry             backward() gives    it should be  relative error
      x[1]                             2               3           0.333
      x[2]                             8              12           0.333
    Each of them is 0.6667 times what it should be.
    x = array([0., 1., 2.])
    The cause is <op cube>: the gradient is wrong in 2 of 3 entries
      entry           of                backward() gives    it should be  relative error
      input 0[1]      cube[1]                          2               3           0.333
    It is called at <doctest tinygrad_mnist.gradcheck.check_gradients[3]>:2: return cube(x).sum()
    >>> del OPS["cube"]
    """
    with _arguments(check_gradients, f, inputs, parameters, argnums, rtol, seed) as (names, arguments):

        def outputs() -> list[Tensor]:
            return [output(f, arguments)]

        name = name_of(f)
        return compare(Slopes(name, names, [name], outputs, no_grad(outputs), rtol, seed), "gradient")


def check_second_derivatives(
    f: Callable[..., Any],
    *inputs: Any,
    parameters: Any = None,
    argnums: Argnums = None,
    rtol: float = 1e-8,
    seed: int = 0,
) -> Agreement:
    """Check that gradients can be differentiated again: `grad(..., create_graph=True)` against slopes of `grad(...)`.

    The gradients Σ v ∂f/∂x, which are taken for right (`check_gradients` checks them), are differentiated with respect
    to all inputs, all parameters and v. Arguments and errors are those of `check_gradients`.

    >>> check_second_derivatives(lambda x, y: x**3 * y, np.array([0.5, -1.0]), 2.0)
    Agreement(method='central differences', compared=5)
    """
    with _arguments(check_second_derivatives, f, inputs, parameters, argnums, rtol, seed) as (names, arguments):
        wanted = dict(names)
        with np.errstate(all="ignore"):
            out = output(f, arguments)
        expect_finite(out.data, name_of(f), names)
        v = leaf(random_numbers(np.random.default_rng(seed), out.shape))
        v.requires_grad = True
        names[v] = "upstream gradient"

        def gradients(create_graph: bool = False) -> list[Tensor]:
            out = output(f, arguments)
            if not out.requires_grad:
                return [leaf(np.zeros(x.shape)) for x in wanted]
            return list(grad(out, list(wanted), v, create_graph=create_graph))

        recorded, results = partial(gradients, create_graph=True), [f"gradient of {x}" for x in wanted.values()]
        return compare(Slopes(name_of(f), names, results, recorded, gradients, rtol, seed), "second derivative")


@contextmanager
def _arguments(
    check: Callable[..., Agreement],
    f: Callable[..., Any],
    inputs: Sequence[Any],
    parameters: Any,
    argnums: Argnums,
    rtol: float,
    seed: int,
) -> Iterator[tuple[Names, list[Any]]]:
    """The Tensors to check, with their names, and the arguments of f; to a verdict inside the cause is added."""
    name = check.__name__
    if not callable(f) or (isinstance(f, type) and issubclass(f, Module)):
        remedy = f"; make one: {f.__name__}(...)" if isinstance(f, type) else ""
        raise TypeError(f"{name}: expected a function of Tensors or a Module, got {in_one_line(f)}{remedy}")
    if not is_real(rtol) or not 0 <= rtol < np.inf:
        raise ValueError(f"{name}: expected a number rtol >= 0, got {in_one_line(rtol)}")
    if not is_whole(seed, 0):
        raise ValueError(f"{name}: expected a whole number seed >= 0, got {in_one_line(seed)}")
    with in_float64(f, inputs, parameters, argnums) as (names, arguments), np.errstate(all="ignore"):
        try:
            yield names, arguments
        except VerdictError as verdict:
            raise GradientError(f"{verdict}{cause(check, f, arguments)}") from None
