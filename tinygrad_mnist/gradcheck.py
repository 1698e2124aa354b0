"""Gradient checks: whether backward() computes the derivative of what the function computes.

The output of f is contracted with fixed random numbers v to one number, L = Σ v f(x). (A plain sum would hide mistakes:
the outputs of softmax always add up to 1.) The slope of L along a direction d is measured without any calculus,

    complex step          Im L(x + ihd) / h                     exact up to rounding, where f is analytic
    central differences   D(h) = (L(x + hd) - L(x - hd)) / 2h   of which (4 D(h) - D(2h)) / 3 has an error of O(h⁴)

and compared with Σ d ∂L/∂x, where ∂L/∂x is what backward() gives. The directions are all axes, so that every entry is
checked; for large inputs a few random ones. They are as long as what they change is large. All is done in float64.

What does not agree is measured again with narrower steps. If they give the same, the gradient is wrong. If they do not,
there is a kink near x, or the end of the domain, and the slope that counts is that on the side where x lies.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache, partial
from typing import Any, NamedTuple

import numpy as np

from .backward import grad
from .mode import enable_grad, no_grad
from .tensor import Array, Tensor, leaf, read_only, values

STEPS = 2.0 ** -np.r_[13:56:6, 67:1016:12]  # of central differences: powers of two, so that x ± h is exact for short x
COMPLEX_STEPS = 2.0 ** -np.array([66, 200, 500, 1022])  # the squares are nothing beside 1, or else beside a tiny x
EVERY_ENTRY = 32  # inputs up to this size are checked entry by entry,
DIRECTIONS = 3  # larger ones along so many random directions

ROUNDING = 64 * float(np.finfo(np.float64).eps)  # of some dozens of operations, relative to their results,
UNDERFLOW = 64 * float(np.finfo(np.float64).smallest_subnormal)  # and where those are hardly more than 0
COARSE = 1e-4  # the largest uncertainty that a narrow step may have, relative to the largest slope about x

ANALYTIC = frozenset(
    """
    add sub mul div neg copy pow exp log sqrt tanh sigmoid matmul linear sum mean logsumexp softmax log_softmax reshape
    transpose broadcast_to getitem scatter concatenate stack pad windows fold conv2d diagonal einsum
    inv solve det cofactors prod cumsum cumprod
    sin cos tan arcsin arccos arctan sinh cosh arcsinh arccosh arctanh log1p expm1 log2 log10 exp2 square reciprocal
    quadratic_cost cross_entropy_cost softmax_cross_entropy
    relu leaky_relu maximum minimum where clip max min max_pool2d
    """.split()
)
"""Ops whose forward takes complex arrays and is analytic there. (Those of the last line between their kinks: complex
numbers are ordered by their real parts first, so they take the branch that the real parts take.)"""


Compute = Callable[[], Sequence[Tensor]]
Line = dict[Tensor, Array]  # through x: for every Tensor that changes along it a direction


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


class _Measured(NamedTuple):
    """A slope as it was measured; how far two widths are apart, and what rounding may have done; the narrower one."""

    slope: float
    spread: float
    noise: float
    width: float

    @property
    def uncertain(self) -> float:
        return self.spread + self.noise

    def agrees(self, slope: float, rtol: float, uncertain: float = 0.0) -> bool:
        allowed = rtol * max(abs(self.slope), abs(slope)) + self.uncertain + uncertain
        return self.slope == slope or abs(self.slope - slope) <= allowed < np.inf


class _Slope(NamedTuple):
    """The slope of L along the direction d of x: by backward(), as measured, and whether these agree."""

    x: Tensor
    d: Array
    given: float
    measured: _Measured
    right: bool

    @property
    def gap(self) -> float:
        gap = abs(self.given - self.measured.slope)
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
        self.name, self.names, self.rng = name, names, np.random.default_rng(seed)
        self.record, self.evaluate = record, evaluate
        with np.errstate(all="ignore"):
            self.outputs = record()
        for out in self.outputs:
            _expect_finite(out.data, name, names)
        self.v = [_random(self.rng, out.shape) for out in self.outputs]
        self.nodes = _graph(self.outputs)
        self.gradients = self._backward(self.v)
        self.rounding = self._rounding(self.gradients)

    def _backward(self, v: Sequence[Array]) -> dict[Tensor, Array]:
        """The gradients of Σ v f(x), with respect to x and to all results on the way."""
        gradients: dict[Tensor, Array] = {x: np.zeros(x.shape) for x in (*self.names, *self.nodes)}
        with np.errstate(all="ignore"):
            for out, weights in zip(self.outputs, v, strict=True):
                # A rule that ignores g would be right where g is 1, as that of a single number is.
                scale = 1.375 if out.shape == () else 1.0
                parts = grad(out, list(gradients), weights * scale, retain_graph=True) if out.requires_grad else ()
                for x, g in zip(gradients, parts, strict=bool(parts)):
                    if (g.shape, g.dtype) != (x.shape, x.dtype):
                        called = f"{self.names.get(x, f'a result of {x.op}')}, {x.dtype}{x.shape}"
                        raise GradientError(f"{self.name}: the gradient of {called}, is {g.dtype}{g.shape}")
                    gradients[x] = gradients[x] + g.data / scale
        return gradients

    def _rounding(self, gradients: dict[Tensor, Array], cap: float = np.inf) -> float:
        """What rounding does to L: of every result it changes ε, and so of L ε times the result times its gradient."""
        return ROUNDING * _norm(np.minimum(np.abs(x.data), cap) * g for x, g in gradients.items()) + UNDERFLOW

    def compare(self, what: str, rtol: float) -> Agreement:
        """Measure all slopes and compare; a GradientError with the verdict if any is wrong."""
        self._expect_a_repeatable_value()
        analytic = {node.op.name for node in self.nodes} <= ANALYTIC
        analytic = analytic and all(map(self._is_analytic, self._random_lines(self.names)))
        measure = self._by_complex_steps if analytic else self._by_differences

        def slope(x: Tensor, d: Array) -> _Slope:
            given = _along({x: d}, self.gradients)
            return _Slope(x, d, given, *measure({x: d}, given, rtol))

        slopes = [slope(x, d) for x in self.names for d in self._directions(x)]
        wrong = [worst for s in slopes if not s.right and (worst := _worst(s, slope))]
        if wrong:
            verdict = _verdict(f"{self.name}: the {what}", self.names, wrong, len(slopes))
            raise _VerdictError(verdict + self._kink(wrong[0]) + _values(self.names))
        return Agreement("complex step" if analytic else "central differences", len(slopes))

    def _expect_a_repeatable_value(self) -> None:
        try:
            once = self._moved({})
        except RuntimeError:  # f calls grad() itself, as a gradient penalty does, and so has a value only with a graph
            self.evaluate = self.record
            once = self._moved({})
        if not all(map(np.array_equal, once, self._moved({}))):
            raise GradientError(
                f"{self.name} gives a different value on a second call; make it repeatable, as with module.eval() "
                "or a generator that is seeded in each call"
            )
        for array, out in zip(once, self.outputs, strict=True):
            if array.shape != out.shape or not np.allclose(array, out.data, rtol=1e-9, atol=2 * self.rounding):
                has_others = f"{self.name} has other values when they are recorded as a graph"
                raise _VerdictError(has_others + _values(self.names))

    def _kink(self, wrong: _Slope) -> str:
        """A hint, if the slope is another one on either side, or there is none."""
        width, at = 2 * wrong.measured.width, partial(self._moved, {wrong.x: wrong.d})
        above, below = (self._change(at(h), at(0)) / h + 0 for h in (width, -width))
        if not np.isfinite(above - below):
            return f"\nf is not finite within {width:.1g} of these inputs; check it farther from its poles."
        if abs(above - below) > 0.1 * max(abs(above), abs(below)):
            return f"\nThe slope is {below:.4g} below and {above:.4g} above this entry: f has a kink or a jump there."
        return ""

    def _directions(self, x: Tensor) -> Iterator[Array]:
        if x.size > EVERY_ENTRY:
            for _ in range(DIRECTIONS):
                yield from (line[x] for line in self._random_lines([x]))
        else:
            for index in np.ndindex(x.shape):
                d = np.zeros(x.shape)
                d[index] = 1
                yield d

    def _random_lines(self, tensors: Iterable[Tensor]) -> Iterator[Line]:
        """Random directions that together change all entries; each only those for which the same steps are right."""
        sizes = {x: _exponents(x) // 8 for x in tensors}
        for size in sorted({size for n in sizes.values() for size in n.ravel().tolist()}):
            yield {x: _random(self.rng, x.shape) / max(x.size, 1) ** 0.5 * (n == size) for x, n in sizes.items()}

    # Each way to measure returns the slope, and whether the given one agrees with it.

    def _is_analytic(self, line: Line) -> bool:
        """Whether complex steps and differences measure the same: f may leave the graph, and drop imaginary parts."""
        for h in COMPLEX_STEPS * _scale(line):
            try:
                with warnings.catch_warnings(action="error", category=np.exceptions.ComplexWarning):
                    slope, other = (self._complex_step(line, step)[0] for step in (h, -h))
            except Exception:  # whatever it does with complex arrays there
                return False
            # At a tie the imaginary parts decide which branch is taken, and with -h they take another one.
            beside_kinks = abs(slope - other) <= 1e-6 * abs(slope) + self.rounding
            if beside_kinks and self._by_differences(line, slope, 1e-6, beside_kinks)[1]:
                return True
        return False

    def _by_complex_steps(self, line: Line, given: float, rtol: float) -> tuple[_Measured, bool]:
        steps = COMPLEX_STEPS * _scale(line)
        slope, changed = self._complex_step(line, steps[0])
        noise = lost = 0.0
        if abs(slope - given) > rtol * max(abs(slope), abs(given)):
            # What is huge beside the step takes no part in its rounding.
            noise, lost = self._noise(line, given, changed, 1, 1e8 * _scale(line))

        def measured(h: float) -> _Measured:
            by_step = slope if h == steps[0] else self._complex_step(line, h)[0]
            return _Measured(by_step, 0.0, noise + lost + UNDERFLOW / h, STEPS[0] * _scale(line))

        return _settled(given, rtol, steps, measured)

    def _complex_step(self, line: Line, h: float) -> tuple[float, list[Array]]:
        parts = [out.imag for out in self._moved(line, 1j * h)]
        return self._change(parts) / h, [part != 0 for part in parts]

    def _by_differences(
        self, line: Line, given: float, rtol: float, beside_kinks: bool = False
    ) -> tuple[_Measured, bool]:
        steps = STEPS * _scale(line)
        at = lru_cache(16)(partial(self._moved, line))

        def central(h: float) -> float:
            return self._change(at(h), at(-h)) / (2 * h)

        def one_sided(h: float) -> float:
            return (4 * self._change(at(h), at(0)) - self._change(at(2 * h), at(0))) / (2 * h)

        def extrapolated(measure: Callable[[float], float], h: float) -> _Measured:
            near, far = measure(h), measure(2 * h)
            return _Measured((4 * near - far) / 3, abs(near - far), noise / abs(h) + lost, abs(h))

        first = _Measured(central(steps[0]), 0.0, 0.0, steps[0])
        if first.agrees(given, rtol):
            return first, True
        changed = [a != b for a, b in zip(at(steps[0]), at(-steps[0]), strict=True)]
        noise, lost = self._noise(line, given, changed, steps[0])
        sides = partial(extrapolated, one_sided)
        return _settled(given, rtol, steps, partial(extrapolated, central), sides, beside_kinks)

    def _noise(
        self, line: Line, given: float, changed: list[Array], h: float, cap: float = np.inf
    ) -> tuple[float, float]:
        """What rounding does to L: to those outputs that change along the line; and the slope of the others."""
        gradients = self._backward([v * where for v, where in zip(self.v, changed, strict=True)])
        lost = abs(given - _along(line, gradients))
        return self._rounding(gradients, cap), lost if lost <= self.rounding / h else 0.0

    def _moved(self, line: Line, step: complex = 0) -> list[Array]:
        """f(x + step d)."""
        held = {x: x.data for x in line}
        try:
            for x, d in line.items():
                x._array = read_only(held[x] + step * d)  # the setter of x.data would refuse complex numbers
            with np.errstate(all="ignore"):
                return [np.array(out.data) for out in self.evaluate()]
        finally:
            for x, data in held.items():
                x._array = data

    def _change(self, new: Sequence[Array], old: Sequence[Array] | None = None) -> float:
        """The change of L, which as a difference of two sums would be lost beside large outputs that do not change."""
        with np.errstate(all="ignore"):
            changes = new if old is None else [a - b for a, b in zip(new, old, strict=True)]
            return float(sum(np.sum(v * change) for v, change in zip(self.v, changes, strict=True)))


def _settled(
    given: float, rtol: float, steps: Array, measured: Any, sides: Any = None, beside_kinks: bool = False
) -> tuple[_Measured, bool]:
    """The slope, measured with narrower and narrower steps until they agree, and whether the given one agrees too."""
    first = best = measured(steps[0])
    largest, gap, kinked = abs(first.slope), 0.0, sides is None
    for h in steps:
        now = measured(h) if h < steps[0] else first
        largest = np.fmax(largest, abs(now.slope))
        if best.agrees(now.slope, rtol, now.uncertain):
            if now.uncertain >= best.uncertain and now is not first and not gap:
                return best, best.agrees(given, rtol)
            best = min(best, now, key=lambda m: m.uncertain)
        elif (kinked or h >= steps[1]) and now.uncertain <= COARSE * largest:
            best = now
        right = best.agrees(given, rtol, 0 if best is first else rtol * largest)
        if right and best.spread <= max(best.noise, 1e-6 * largest):
            return best, True
        if abs(now.slope - given) + now.uncertain < gap:
            return now, True
        if not gap and sides and (kinked or h >= steps[1]) and not right:
            above, below = sides(h), sides(-h)
            span = abs(above.slope - below.slope)
            kinked = kinked or not span <= 0.01 * max(largest, abs(above.slope), abs(below.slope))
            for side in (above, below):
                if side.agrees(given, rtol) and side.uncertain <= COARSE * max(largest, span):
                    if beside_kinks:
                        return side, True
                    gap = (span - above.uncertain - below.uncertain) / 2
        if now.noise > max(largest, gap):
            break
    return first, first.agrees(given, rtol) or beside_kinks


def _along(line: Line, gradients: dict[Tensor, Array]) -> float:
    with np.errstate(all="ignore"):
        return float(sum(np.sum(gradients[x][d != 0] * d[d != 0]) for x, d in line.items()))


def _norm(arrays: Iterable[Array]) -> float:
    """The norm of all their finite numbers, without squares that overflow."""
    with np.errstate(all="ignore"):
        numbers = np.concatenate([np.zeros(1), *(np.abs(array).ravel() for array in arrays)])
        numbers = numbers[np.isfinite(numbers)]
        largest = float(np.max(numbers))
        return largest * float(np.linalg.norm(numbers / largest)) if largest else 0.0


def _exponents(x: Tensor) -> Any:
    """N for numbers from 2^(n + 3) to 2^(n + 4), which need steps 2^n times as wide; 0 for those smaller than 16."""
    return np.maximum(np.frexp(x.data)[1] - 4, 0)


def _scale(line: Line) -> float:
    """By how much steps along it have to be wider."""
    return 2.0 ** max(int(np.max(_exponents(x), where=d != 0, initial=0)) for x, d in line.items())


def _worst(wrong: _Slope, slope: Callable[[Tensor, Array], _Slope]) -> _Slope | None:
    """The worst entry in a direction along which the slope is wrong.

    One beside a kink may be right by itself: then the direction is tried without it. None, if that is right; the whole
    direction, if no entry is wrong by itself.
    """
    rest = wrong
    for _ in range(EVERY_ENTRY):
        worst = _narrowed(rest, slope)
        if not worst.right:
            return worst
        rest = slope(rest.x, np.where(worst.d, 0, rest.d))
        if rest.right:
            return None
    return wrong


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
    errors = [s.gap / max(abs(s.given), abs(s.measured.slope)) if s.gap < np.inf else np.inf for s in wrong]
    for error, s in sorted(zip(errors, wrong, strict=True), key=lambda pair: -float(f"{pair[0]:.3g}"))[:5]:
        entry = names[s.x] + str(np.argwhere(s.d)[0].tolist() or "") if np.count_nonzero(s.d) == 1 else names[s.x]
        given, true = s.given, s.measured.slope
        digits = next((n for n in range(7, 17) if f"{given:.{n}g}" != f"{true:.{n}g}"), 17)
        lines += [f"  {entry:16}{given:18.{digits}g}{true:16.{digits}g}{error:16.3g}"]
    ratios = [s.given / s.measured.slope + 0 for s in wrong if s.measured.slope and s.gap < np.inf]
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
    for node in _graph([_output(f, arguments)]):
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
    """All results on the way to the outputs, the oldest first."""
    found: dict[Tensor, None] = {}
    pending: list[Any] = list(outputs)
    while pending:
        node = pending.pop()
        if isinstance(node, Tensor) and node.op is not None and node not in found:
            found[node] = None
            pending.extend(node.inputs or ())
    return sorted(found, key=lambda node: node._created)


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
        if isinstance(x, Tensor | np.ndarray | np.floating | float) and values(x).dtype.kind == "f":
            # A leaf of the bare values, whatever graph they come from: the derivatives asked for end here.
            arguments[i] = leaf(read_only(np.asarray(values(x), np.float64)))
            arguments[i].requires_grad = True
            names[arguments[i]] = getattr(x, "name", None) or f"input {i}"
    source = f if parameters is None and hasattr(f, "named_parameters") else parameters or ()
    named = source.named_parameters() if hasattr(source, "named_parameters") else ((p.name, p) for p in source)
    held: dict[Tensor, tuple[Array, Tensor | None]] = {}
    for i, (name, p) in enumerate(named):
        if p.op is not None:
            raise TypeError(
                f"parameters: expected leaves, got the result of {p.op.name}; pass what it is computed from"
            )
        if p.requires_grad:
            held[p] = p.data, p.grad
            names[p] = name or f"parameter {i}"
    if not names:
        raise TypeError("nothing to check: pass floating arrays or Tensors, or parameters= that require gradients")
    try:
        for p, (array, _) in held.items():
            p._array = read_only(array.astype(np.float64))
        with enable_grad():  # the caller may be inside no_grad()
            yield names, arguments
    except _VerdictError as verdict:
        raise GradientError(f"{verdict}{_cause(check, f, arguments)}") from None
    finally:
        for p, (array, gradient) in held.items():
            p._array, p._grad = array, gradient


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
