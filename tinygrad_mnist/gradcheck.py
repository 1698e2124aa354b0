"""Gradient checks: whether backward() computes the derivative of what the function computes.

The output of f is contracted with fixed random numbers v to one number, L = Σ v f(x). (A plain sum would hide mistakes:
the outputs of softmax always add up to 1.) The slope of L along a direction d is measured without any calculus,

    complex step          Im L(x + ihd) / h                     exact up to rounding, where f is analytic
    central differences   D(h) = (L(x + hd) - L(x - hd)) / 2h   of which (4 D(h) - D(2h)) / 3 has an error of O(h⁴)

and compared with Σ d ∂L/∂x, where ∂L/∂x is what backward() gives. The directions are all axes, so that every entry is
checked; for large inputs a few random ones. All is done in float64.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from .backward import grad
from .mode import no_grad
from .tensor import Array, Tensor, leaf, read_only

STEP = 2.0**-13  # of central differences; a power of two, so that x ± h is exact for short x
COMPLEX_STEP = 1e-20  # its square is nothing beside 1
EVERY_ENTRY = 32  # inputs up to this size are checked entry by entry,
DIRECTIONS = 3  # larger ones along so many random directions

ANALYTIC = frozenset(
    """
    add sub mul div neg copy pow exp log sqrt tanh sigmoid matmul linear sum mean logsumexp softmax log_softmax reshape
    transpose broadcast_to getitem scatter concatenate stack pad windows fold conv2d
    quadratic_cost cross_entropy_cost softmax_cross_entropy
    relu leaky_relu maximum minimum where clip max min max_pool2d
    """.split()
)
"""Ops whose forward takes complex arrays and is analytic there. (Those of the last line between their kinks: complex
numbers are ordered by their real parts first, so they take the branch that the real parts take.)"""


Compute = Callable[[], Sequence[Tensor]]


class GradientError(AssertionError):
    """A gradient is not the derivative. The message says in which entries, what it is and what it should be."""


class _VerdictError(GradientError):
    """The verdict of a comparison, before the cause is looked for."""


class Agreement(NamedTuple):
    """What a check did that found nothing wrong: how slopes were measured, and how many were compared."""

    method: str
    compared: int


def check_gradients(
    f: Callable[..., Any], *inputs: Any, parameters: Any = None, rtol: float = 1e-8, seed: int = 0
) -> Agreement:
    """Check the gradients of f with respect to all its inputs, and to parameters, at these values.

    Args:
        f: a function of Tensors that returns a Tensor of any shape: an op, a cost, a Module.
        *inputs: what f is called with. Floating arrays, Tensors and numbers are checked, as Tensors in float64; all
            else (integers, labels, options) is passed on as it is.
        parameters: Tensors that f uses, to be checked too: an iterable of them or a Module. If f is a Module: its own.
            They are float64 during the check, and afterwards what they were before, to the last bit.
        rtol: how far a gradient may be from the measured slope, relative to it. What the measurement leaves uncertain
            (rounding, and the difference between two step widths) is allowed for besides.
        seed: of the random v and directions.

    Raises:
        GradientError: a gradient is wrong, or f has no finite or no repeatable value here.
        TypeError: there is nothing to check, or f does not return a Tensor in float64.

    >>> from tinygrad_mnist import OPS, sigmoid, unary
    >>> check_gradients(sigmoid, np.array([-1.0, 0.0, 2.0]))
    Agreement(method='complex step', compared=3)
    >>> cube = unary("cube", lambda x: x**3, lambda g, out, x: g * 2 * x**2)
    >>> check_gradients(lambda x: cube(x).sum(), np.array([0.0, 1.0, 2.0]))
    Traceback (most recent call last):
    tinygrad_mnist.gradcheck.GradientError: f: the gradient is wrong in 2 of 3 entries
      entry             backward() gives    it should be  relative error
      input 0[1]                       2               3           0.333
      input 0[2]                       8              12           0.333
    Each of them is 0.6667 times what it should be.
    input 0 = array([0., 1., 2.])
    The cause is <op cube>: the gradient is wrong in 2 of 3 entries
      entry             backward() gives    it should be  relative error
      input 0[1]               -1.539573        -2.30936           0.333
    >>> del OPS["cube"]
    """
    with _in_float64(check_gradients, f, inputs, parameters) as (names, arguments):

        def outputs() -> list[Tensor]:
            return [_output(f, arguments)]

        return _Slopes(_name(f), names, outputs, no_grad(outputs), seed).compare("gradient", rtol)


def check_second_derivatives(
    f: Callable[..., Any], *inputs: Any, parameters: Any = None, rtol: float = 1e-8, seed: int = 0
) -> Agreement:
    """Check that gradients can be differentiated again: `grad(..., create_graph=True)` against slopes of `grad(...)`.

    The gradients Σ v ∂f/∂x, which are taken for right (`check_gradients` checks them), are differentiated with respect
    to all inputs, all parameters and v. Arguments and errors are those of `check_gradients`.

    >>> check_second_derivatives(lambda x, y: x**3 * y, np.array([0.5, -1.0]), 2.0)
    Agreement(method='central differences', compared=5)
    """
    with _in_float64(check_second_derivatives, f, inputs, parameters) as (names, arguments):
        wanted = list(names)
        with np.errstate(all="ignore"):
            out = _output(f, arguments)
        _expect_finite(out.data, _name(f), names)
        v = leaf(_random(np.random.default_rng(seed), out.shape))
        v.requires_grad = True
        names[v] = "upstream gradient"

        def gradients(create_graph: bool = False) -> list[Tensor]:
            out = _output(f, arguments)
            if not out.requires_grad:
                return [leaf(np.zeros(x.shape)) for x in wanted]
            return list(grad(out, wanted, v, create_graph=create_graph))

        recorded = partial(gradients, create_graph=True)
        return _Slopes(_name(f), names, recorded, gradients, seed).compare("second derivative", rtol)


class _Slope(NamedTuple):
    """The slope of L along the direction d of x: by backward(), as measured, and whether these agree."""

    x: Tensor
    d: Array
    given: float
    measured: float
    right: bool

    @property
    def gap(self) -> float:
        gap = abs(self.given - self.measured)
        return gap if np.isfinite(gap) else np.inf


class _Slopes:
    """The slopes of L = Σ v f(x), of a function f called `name`, in one place.

    Args:
        name: of f.
        names: the Tensors x, and what to call them.
        record: computes f(x) with its graph,
        evaluate: and the same values again.
        seed: of v and of the directions.
    """

    def __init__(self, name: str, names: dict[Tensor, str], record: Compute, evaluate: Compute, seed: int) -> None:
        self.name, self.names, self.evaluate, self.rng = name, names, evaluate, np.random.default_rng(seed)
        with np.errstate(all="ignore"):
            outputs = record()
        self.v = [_random(self.rng, out.shape) for out in outputs]
        self.value = self._contracted(outputs)
        _expect_finite(self.value, name, names)
        nodes = _graph(outputs)
        self.ops = {node.op.name for node in nodes if node.op is not None}
        self.gradients: dict[Tensor, Array] = {x: np.zeros(x.shape) for x in (*names, *nodes)}
        for out, v in zip(outputs, self.v, strict=True):
            # A rule that ignores g would be right where g is 1, as that of a single number is.
            scale = 1.375 if out.shape == () else 1.0
            parts = grad(out, list(self.gradients), v * scale, retain_graph=True) if out.requires_grad else ()
            for x, g in zip(self.gradients, parts, strict=bool(parts)):
                if (g.shape, g.dtype) != (x.shape, x.dtype):
                    called = names.get(x, f"a result of {x.op}")
                    raise GradientError(f"{name}: the gradient of {called}, {x.dtype}{x.shape}, is {g.dtype}{g.shape}")
                self.gradients[x] = self.gradients[x] + g.data / scale
        # Rounding changes every result on the way by ε of itself, and so L by ε times result times gradient.
        with np.errstate(all="ignore"):
            size = sum(float(np.nansum((x.data * g) ** 2)) for x, g in self.gradients.items()) ** 0.5
        self.rounding = 64 * float(np.finfo(np.float64).eps) * size

    def compare(self, what: str, rtol: float) -> Agreement:
        """Measure all slopes and compare; a GradientError with the verdict if any is wrong."""
        self._expect_a_repeatable_value()
        analytic = self.ops <= ANALYTIC and self._is_analytic()
        measures = [self._complex_step] if analytic else [self._difference, self._extrapolated]

        def slope(x: Tensor, d: Array) -> _Slope:
            with np.errstate(all="ignore"):
                given = float(np.sum(self.gradients[x][d != 0] * d[d != 0]))
            for measure in measures:  # the second one only if the first does not settle it
                measured, uncertain = measure({x: d})
                allowed = rtol * max(abs(given), abs(measured)) + uncertain
                if right := abs(given - measured) <= allowed < np.inf:
                    break
            return _Slope(x, d, given, measured, right)

        slopes = [slope(x, d) for x in self.names for d in self._directions(x)]
        wrong = [_narrowed(s, slope) for s in slopes if not s.right]
        if wrong:
            verdict = _verdict(f"{self.name}: the {what}", self.names, wrong, len(slopes))
            raise _VerdictError(verdict + self._kink(wrong[0]) + _values(self.names))
        return Agreement("complex step" if analytic else "central differences", len(slopes))

    def _expect_a_repeatable_value(self) -> None:
        once, again = self._total(0, {}), self._total(0, {})
        if once != again:
            raise GradientError(
                f"{self.name} gives a different value on a second call; make it repeatable, as with module.eval() "
                "or a generator that is seeded in each call"
            )
        if not np.isclose(once, self.value, rtol=1e-9, atol=np.nan_to_num(self.rounding)):
            raise _VerdictError(f"{self.name} has other values when they are recorded as a graph{_values(self.names)}")

    def _kink(self, wrong: _Slope) -> str:
        """A hint, if the slope is another one on either side, or there is none."""
        above, below = (float(self._total(h, {wrong.x: wrong.d}) - self.value) / h + 0 for h in (2 * STEP, -2 * STEP))
        if not np.isfinite(above - below):
            return f"\nf is not finite within {2 * STEP:.1g} of these inputs; check it farther from its poles."
        if abs(above - below) > 0.1 * max(abs(above), abs(below)):
            return f"\nThe slope is {below:.4g} below and {above:.4g} above this entry: f has a kink or a jump there."
        return ""

    def _directions(self, x: Tensor) -> Iterator[Array]:
        if x.size > EVERY_ENTRY:
            for _ in range(DIRECTIONS):
                yield _random(self.rng, x.shape) / x.size**0.5
        else:
            for index in np.ndindex(x.shape):
                d = np.zeros(x.shape)
                d[index] = 1
                yield d

    def _is_analytic(self) -> bool:
        """Whether complex steps and differences measure the same: f may leave the graph, and drop imaginary parts."""
        everywhere = {x: _random(self.rng, x.shape) / max(x.size, 1) ** 0.5 for x in self.names}
        try:
            with warnings.catch_warnings(action="error", category=np.exceptions.ComplexWarning):
                exact, _ = self._complex_step(everywhere)
        except Exception:  # whatever it does with complex arrays there
            return False
        measured, uncertain = self._extrapolated(everywhere)
        return bool(abs(exact - measured) <= 1e-6 * abs(measured) + uncertain)

    # Each way to measure returns the slope, and how uncertain it is.

    def _complex_step(self, direction: dict[Tensor, Array]) -> tuple[float, float]:
        slope = float(np.imag(self._total(1j * COMPLEX_STEP, direction))) / COMPLEX_STEP
        return slope, self.rounding + COMPLEX_STEP

    def _difference(self, direction: dict[Tensor, Array], h: float = STEP) -> tuple[float, float]:
        return float(self._total(h, direction) - self._total(-h, direction)) / (2 * h), self.rounding / h

    def _extrapolated(self, direction: dict[Tensor, Array]) -> tuple[float, float]:
        (near, rounding), (far, _) = self._difference(direction), self._difference(direction, 2 * STEP)
        return (4 * near - far) / 3, abs(near - far) + rounding

    def _total(self, step: complex, direction: dict[Tensor, Array]) -> Any:
        """L(x + step d)."""
        held = {x: x.data for x in direction}
        try:
            for x, d in direction.items():
                x._data = read_only(held[x] + step * d)  # the setter of x.data would refuse complex numbers
            with np.errstate(all="ignore"):
                return self._contracted(self.evaluate())
        finally:
            for x, data in held.items():
                x._data = data

    def _contracted(self, outputs: Sequence[Tensor]) -> Any:
        return sum(np.sum(v * out.data) for v, out in zip(self.v, outputs, strict=True))


def _narrowed(wrong: _Slope, slope: Callable[[Tensor, Array], _Slope]) -> _Slope:
    """Of a slope that is wrong in some direction the worst axis: the worse half of the entries, until one is left."""
    while (places := np.flatnonzero(wrong.d)).size > 1:
        half = wrong.d.copy()
        half.flat[places[: places.size // 2]] = 0
        wrong = max(slope(wrong.x, half), slope(wrong.x, wrong.d - half), key=lambda s: s.gap)
    return slope(wrong.x, np.abs(np.sign(wrong.d)))


def _verdict(title: str, names: dict[Tensor, str], wrong: list[_Slope], compared: int) -> str:
    """What is wrong, the worst first, and what that looks like."""
    checked = "slopes (random directions for large inputs)" if any(x.size > EVERY_ENTRY for x in names) else "entries"
    lines = [f"{title} is wrong in {len(wrong)} of {compared} {checked}"]
    lines += [f"  {'entry':16}{'backward() gives':>18}{'it should be':>16}{'relative error':>16}"]
    errors = [s.gap / max(abs(s.given), abs(s.measured)) if s.gap < np.inf else np.inf for s in wrong]
    for error, s in sorted(zip(errors, wrong, strict=True), key=lambda pair: -pair[0])[:5]:
        entry = names[s.x] + str(np.argwhere(s.d)[0].tolist() or "")
        lines += [f"  {entry:16}{s.given:18.7g}{s.measured:16.7g}{error:16.3g}"]
    ratios = [s.given / s.measured + 0 for s in wrong if s.measured]
    if len(wrong) == len(ratios) > 1 and max(ratios) - min(ratios) <= 1e-4 * abs(ratios[0]):
        lines += [f"Each of them is {ratios[0]:.4g} times what it should be."]
        if ratios[0] == 0:
            lines[-1] = "No gradient gets there: an op on the way has no rule for this input, or leaves the graph."
    return "\n".join(lines)


def _expect_finite(value: Any, name: str, names: dict[Tensor, str]) -> None:
    if not np.all(np.isfinite(value)):
        raise GradientError(f"{name} is not finite here; check it where it is defined{_values(names)}")


def _values(names: dict[Tensor, str]) -> str:
    return "".join(f"\n{name} = {x.data!r}" for x, name in names.items() if x.size <= 16)


def _cause(check: Callable[..., Agreement], f: Callable[..., Any], arguments: list[Any]) -> str:
    """The first op on the way to f's output that is wrong by itself, with the operands that it has there."""
    if hasattr(f, "op"):
        return ""
    for node in sorted(_graph([_output(f, arguments)]), key=lambda node: node._created):
        op: Any = partial(_apply_again, node)
        op.op, op.__name__ = node.op, str(node.op)
        try:
            check(op, *(x.data for x in node.inputs or () if _is_tracked(x)))
        except GradientError as error:
            return "\nThe cause is " + "\n".join(str(error).splitlines()[:3])
        except TypeError:  # in lower precision it cannot be measured
            continue
    return "\nEvery op in f is right by itself; look for detach(), .data or a change in place."


def _apply_again(node: Any, *operands: Tensor) -> Any:
    """The op that made a result, applied to other operands in place of those that have a gradient."""
    given = iter(operands)
    return node.op.function(*(next(given) if _is_tracked(x) else x for x in node.inputs), **node.params)


def _is_tracked(x: Any) -> bool:
    return isinstance(x, Tensor) and x.requires_grad


def _graph(outputs: Sequence[Tensor]) -> list[Tensor]:
    """All results on the way to the outputs."""
    found: dict[Tensor, None] = {}
    pending: list[Any] = list(outputs)
    while pending:
        node = pending.pop()
        if isinstance(node, Tensor) and node.op is not None and node not in found:
            found[node] = None
            pending.extend(node.inputs or ())
    return list(found)


@contextmanager
def _in_float64(
    check: Callable[..., Agreement], f: Callable[..., Any], inputs: Sequence[Any], parameters: Any
) -> Iterator[tuple[dict[Tensor, str], list[Any]]]:
    """The Tensors to check, with their names, and the arguments of f. Afterwards all parameters are as before.

    In between they are read-only, so that whoever writes into one is found out.
    """
    names: dict[Tensor, str] = {}
    arguments = list(inputs)
    for i, x in enumerate(inputs):
        if isinstance(x, Tensor | np.ndarray | np.floating | float) and np.asarray(x).dtype.kind == "f":
            arguments[i] = leaf(read_only(np.asarray(x, np.float64)))
            arguments[i].requires_grad = True
            names[arguments[i]] = getattr(x, "name", None) or f"input {i}"
    source = f if parameters is None and hasattr(f, "named_parameters") else parameters or ()
    named = source.named_parameters() if hasattr(source, "named_parameters") else ((p.name, p) for p in source)
    held: dict[Tensor, Array] = {}
    for i, (name, p) in enumerate(named):
        if p.op is not None:
            raise TypeError(
                f"parameters: expected leaves, got the result of {p.op.name}; pass what it is computed from"
            )
        if p.requires_grad:
            held[p] = p.data
            names[p] = name or f"parameter {i}"
    if not names:
        raise TypeError("nothing to check: pass floating arrays or Tensors, or parameters= that require gradients")
    try:
        for p, array in held.items():
            p._data = read_only(array.astype(np.float64))
        yield names, arguments
    except _VerdictError as verdict:
        raise GradientError(f"{verdict}{_cause(check, f, arguments)}") from None
    finally:
        for p, array in held.items():
            p._data = array


def _output(f: Callable[..., Any], arguments: list[Any]) -> Tensor:
    out = f(*arguments)
    if not isinstance(out, Tensor):
        raise TypeError(
            f"{_name(f)} returned {type(out).__name__}, expected a Tensor; compute it with ops from Tensors"
        )
    if not np.can_cast(np.float64, out.dtype):
        raise TypeError(f"{_name(f)} returned {out.dtype} for float64, too coarse to measure; do not convert inside")
    return out


def _name(f: Callable[..., Any]) -> str:
    name = getattr(f, "__name__", type(f).__name__)
    return "f" if name == "<lambda>" else str(name)


def _random(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Numbers between 0.5 and 1.5 with either sign, none of which could hide a mistake; but 1 for a single number."""
    return np.ones(shape) if shape == () else rng.uniform(0.5, 1.5, shape) * rng.choice([-1.0, 1.0], shape)
