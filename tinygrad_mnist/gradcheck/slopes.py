"""Measuring: the slopes of a function along lines through one place, and those that backward() gives."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache, partial
from typing import Any, NamedTuple

import numpy as np

from tinygrad_mnist.backward import grad
from tinygrad_mnist.tensor import Array, Tensor, read_only

from .arguments import Names
from .errors import GradientError, VerdictError, expect_finite, shown
from .steps import Measured, Outcome, Sides, settled
from .watching import Lines, all_read_only, graph, watched_by

STEPS = 2.0 ** -np.r_[13:56:6, 67:1016:12]  # of central differences: powers of two, so that x ± h is exact for short x
COMPLEX_STEPS = 2.0 ** -np.array([66, 200, 500, 1022])  # the squares are nothing beside 1, or else beside a tiny x
EVERY_ENTRY = 32  # inputs up to this size are checked entry by entry,
DIRECTIONS = 3  # larger ones along so many random directions

ROUNDING = 64 * float(np.finfo(np.float64).eps)  # of some dozens of operations, relative to their results,
UNDERFLOW = 64 * float(np.finfo(np.float64).smallest_subnormal)  # and where those are hardly more than 0
COARSE = 1e-3  # the largest part of a slope that rounding may leave uncertain,
NOTHING = 1e-7  # unless that is less than this part of the largest slope; differences of gradients leave some 1e-9
NEARBY = 1 / 8  # how far off a result is looked at, to know whether it depends on x

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


class Slope(NamedTuple):
    """The slope of L along the direction d of x: by backward(), and what became of measuring it."""

    x: Tensor
    d: Array
    given: float
    outcome: Outcome

    @property
    def right(self) -> bool:
        """Whether they agree."""
        return self.outcome.right

    @property
    def true(self) -> float:
        """The slope as measured."""
        return self.outcome.measured.slope

    @property
    def gap(self) -> float:
        """How far they are apart; at a kink, how far its sides are."""
        gap = self.outcome.kink[-1].gap if self.outcome.kink else abs(self.given - self.true)
        return gap if np.isfinite(gap) else np.inf


class Slopes:
    """The slopes of L = Σ v f(x), of a function f called `name`, in one place.

    Args:
        name: of f.
        names: the Tensors x, and what to call them.
        results: what to call the Tensors that f gives.
        record: computes f(x) with its graph,
        evaluate: and the same values again.
        rtol: how far a given slope may be from the measured one, relative to it.
        seed: of v and of the directions.

    Raises:
        GradientError: f is not finite or not repeatable here, a gradient has another shape or dtype than its Tensor, or
            a rule writes into what it is given.
    """

    def __init__(
        self,
        name: str,
        names: Names,
        results: Sequence[str],
        record: Compute,
        evaluate: Compute,
        rtol: float,
        seed: int,
    ) -> None:
        self.name, self.names, self.results, self.rng = name, names, results, np.random.default_rng(seed)
        self.record, self.evaluate, self.rtol = record, evaluate, rtol
        lines = Lines()
        with np.errstate(all="ignore"), watched_by(lines):
            self.outputs = record()
        for out in self.outputs:
            expect_finite(out.data, name, names)
        self.nodes = graph(self.outputs)
        self._weigh([random_numbers(self.rng, out.shape) for out in self.outputs])
        self._expect_a_repeatable_value()
        self.analytic = {node.op.name for node in self.nodes if node.op} <= ANALYTIC
        self.analytic = self.analytic and all(
            self._is_analytic(line, bool(lines.leaving)) for line in self._random_lines(names)
        )

    @property
    def method(self) -> str:
        """How slopes are measured."""
        return "complex step" if self.analytic else "central differences"

    def all(self) -> Iterator[Slope]:
        """Those that are to be compared."""
        return (self.along(x, d) for x in self.names for d in self._directions(x))

    def along(self, x: Tensor, d: Array) -> Slope:
        """The slope along the direction d of x."""
        given = _along({x: d}, self.gradients)
        measure = self._by_complex_steps if self.analytic else self._by_differences
        return Slope(x, d, given, measure({x: d}, given, self.rtol))

    def of_one_number(self, slope: Slope) -> tuple[Slope, str]:
        """The slope of that number in f(x) which is farthest off, an entry of the Jacobian, and the number's name.

        If it is right by itself, the slope of all, and no name.
        """
        places = np.arange(sum(v.size for v in self.v))
        kinked, one, found = bool(slope.outcome.kink), self, slope
        if not kinked and not np.isfinite(slope.given):  # 0 * nan is nan: every number seems to be off
            return slope, ""
        while places.size > 1:
            halves = [(some, other := self._reweighed(some), other.along(slope.x, slope.d)) for some in _halves(places)]
            places, one, found = max(
                halves, key=lambda half: half[2].gap if bool(half[2].outcome.kink) == kinked else -1.0
            )
        if found.right or kinked != bool(found.outcome.kink):
            return slope, ""
        return found, one.results[0]

    def _reweighed(self, places: Array) -> Slopes:
        """The slopes of these numbers in f(x) only, counted through; of a single one as it is."""
        chosen = np.zeros(sum(v.size for v in self.v))
        weights = np.concatenate([v.ravel() for v in self.v])
        chosen[places] = weights[places] if places.size > 1 else 1
        other = copy.copy(self)
        ends = np.cumsum([v.size for v in self.v])
        parts = np.split(chosen, ends[:-1])
        other._weigh([part.reshape(v.shape) for part, v in zip(parts, self.v, strict=True)])
        if places.size == 1:
            i = int(np.searchsorted(ends, places[0], "right"))
            other.results = [self.results[i] + str(np.argwhere(other.v[i])[0].tolist() or "")]
        return other

    def too_coarse(self, slope: Slope, largest: float) -> bool:
        """Whether rounding hides so much of the slope that agreement says nothing of it."""
        noise = slope.outcome.measured.noise
        if noise <= max(NOTHING * largest, COARSE * max(abs(slope.given), abs(slope.true))):
            return False
        return self._hides({slope.x: slope.d}, noise, max(abs(slope.given), abs(slope.true)))

    def _hides(self, line: Line, noise: float, slope: float) -> bool:
        """Whether so much noise hides what some result on the way contributes to the slope.

        A slope may be 0 of parts that are not, as that of a softmax's sum is. What changes by less than the last digits
        of L, as a saturated tanh, is nothing.
        """
        h = NEARBY * _scale(line)
        here, there = (graph(self._recorded(line, step)) for step in (0, h))
        parts = [slope]
        if [x.shape for x in here] == [x.shape for x in there] == [x.shape for x in self.nodes]:
            with np.errstate(all="ignore"):
                parts += [
                    float(np.sum(np.abs((b.data - a.data) * self.gradients[x]))) / h
                    for x, a, b in zip(self.nodes, here, there, strict=True)
                ]
        largest = float(np.nanmax(parts))
        return noise > COARSE * largest > COARSE * min(self.rounding, 1e-12)

    def _weigh(self, v: list[Array]) -> None:
        self.v = v
        self.gradients = self._backward(v)
        self.rounding = self._rounding(self.gradients)

    def _backward(self, v: Sequence[Array]) -> dict[Tensor, Array]:
        """The gradients of Σ v f(x), with respect to x and to all results on the way."""
        gradients: dict[Tensor, Array] = {x: np.zeros(x.shape) for x in (*self.names, *self.nodes)}
        with np.errstate(all="ignore"), all_read_only(self.name):
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
                raise VerdictError(has_others + shown(self.names))

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
            yield {x: random_numbers(self.rng, x.shape) / max(x.size, 1) ** 0.5 * (n == size) for x, n in sizes.items()}

    # How the slope along a line is measured, and compared with the given one.

    def _is_analytic(self, line: Line, leaks: bool) -> bool:
        """Whether complex steps and differences measure the same: f may leave the graph, and drop imaginary parts."""
        for h in COMPLEX_STEPS * _scale(line):
            try:
                with warnings.catch_warnings(action="error", category=np.exceptions.ComplexWarning):
                    slope, other = (self._complex_step(line, step)[0] for step in (h, -h))
            except Exception:  # whatever it does with complex arrays there
                return False
            # At a tie the imaginary parts decide which branch is taken, and with -h they take another one.
            if abs(slope - other) <= 1e-6 * abs(slope) + self.rounding:
                found, right, kink = self._by_differences(line, slope, 1e-6)
                # Nearer to a kink than can be measured, one side is as good as the other.
                if right or any(side.agrees(slope, 1e-6) for sides in kink for side in sides):
                    return not (leaks and found.noise > COARSE * abs(slope) and self._hides(line, found.noise, slope))
        return False

    def _by_complex_steps(self, line: Line, given: float, rtol: float) -> Outcome:
        steps = COMPLEX_STEPS * _scale(line)
        slope, changed = self._complex_step(line, steps[0])
        noise = lost = 0.0
        if abs(slope - given) > rtol * max(abs(slope), abs(given)):
            # What is huge beside the step takes no part in its rounding.
            noise, lost = self._noise(line, given, changed, 1, 1e8 * _scale(line))

        def measured(h: float) -> Measured:
            by_step = slope if h == steps[0] else self._complex_step(line, h)[0]
            return Measured(by_step, 0.0, noise + lost + UNDERFLOW / h, STEPS[0] * _scale(line))

        best = measured(steps[0])
        for h in () if best.agrees(given, rtol) else steps[1:]:  # narrower ones, where something is tiny
            now = measured(h)
            if best.agrees(now.slope, rtol, now.uncertain):
                break
            best = now._replace(spread=rtol * abs(best.slope))
        return Outcome(best, best.agrees(given, rtol))

    def _complex_step(self, line: Line, h: float) -> tuple[float, list[Array]]:
        parts = [out.imag for out in self._moved(line, 1j * h)]
        return self._change(parts) / h, [part != 0 for part in parts]

    def _by_differences(self, line: Line, given: float, rtol: float) -> Outcome:
        steps = STEPS * _scale(line)
        steps = np.r_[steps[0], steps[1:][steps[1:] >= _finest(line)]]
        at = lru_cache(16)(partial(self._moved, line))

        def central(h: float) -> float:
            return self._change(at(h), at(-h)) / (2 * h)

        def one_sided(h: float) -> float:
            return (4 * self._change(at(h), at(0)) - self._change(at(2 * h), at(0))) / (2 * h)

        def extrapolated(measure: Callable[[float], float], h: float) -> Measured:
            near, far = measure(h), measure(2 * h)
            grown = self._growth(at(0), [at(step) for step in (-2 * h, 2 * h)]) / abs(h)
            return Measured((4 * near - far) / 3, abs(near - far) + grown, noise / abs(h) + lost, abs(h))

        first = Measured(central(steps[0]), 0.0, 0.0, steps[0])
        if first.agrees(given, rtol):
            # A slope of 0 may be all that rounding has left of another one.
            return Outcome(first if given else first._replace(noise=self.rounding / steps[0]), True)
        here, h = at(0), float(steps[0])
        others = [at(step) for step in (h, -h, 2 * h)]  # of two alone rounding may make the same by chance
        changed = [np.any([a != b for b in ends], axis=0) for a, *ends in zip(here, *others, strict=True)]
        noise, lost = self._noise(line, given, changed, steps[0])

        def sides(h: float) -> Sides:
            return Sides(extrapolated(one_sided, -h), extrapolated(one_sided, h))

        return settled(given, rtol, steps, partial(extrapolated, central), sides)

    def _noise(
        self, line: Line, given: float, changed: list[Array], h: float, cap: float = np.inf
    ) -> tuple[float, float]:
        """What rounding does to L: to those outputs that change along the line; and the slope of the others."""
        gradients = self._backward([v * where for v, where in zip(self.v, changed, strict=True)])
        lost = abs(given - _along(line, gradients))
        return self._rounding(gradients, cap), lost if lost <= self.rounding / h else 0.0

    def _growth(self, here: list[Array], ends: list[list[Array]]) -> float:
        """What rounding does to L besides, where f is larger than here."""
        with np.errstate(all="ignore"):
            more = [np.fmax(0, np.maximum(*map(np.abs, there)) - abs(x)) for x, *there in zip(here, *ends, strict=True)]
            return ROUNDING * float(sum(np.sum(abs(v) * m) for v, m in zip(self.v, more, strict=True)))

    def _moved(self, line: Line, step: complex = 0) -> list[Array]:
        """f(x + step d)."""
        with _shifted(line, step):
            return [np.array(out.data) for out in self.evaluate()]

    def _recorded(self, line: Line, step: float) -> Sequence[Tensor]:
        """f(x + step d), with its graph."""
        with _shifted(line, step):
            return self.record()

    def _change(self, new: Sequence[Array], old: Sequence[Array] | None = None) -> float:
        """The change of L, which as a difference of two sums would be lost beside large outputs that do not change."""
        with np.errstate(all="ignore"):
            changes = new if old is None else [a - b for a, b in zip(new, old, strict=True)]
            return float(sum(np.sum(v * change) for v, change in zip(self.v, changes, strict=True)))


@contextmanager
def _shifted(line: Line, step: complex) -> Iterator[None]:
    held = {x: x._array for x in line}
    try:
        for x, d in line.items():
            x._array = read_only(held[x] + step * d)  # the setter of x.data would refuse complex numbers
        with np.errstate(all="ignore"):
            yield
    finally:
        for x, data in held.items():
            x._array = data


def _halves(places: Array) -> list[Array]:
    return np.array_split(places, 2)


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
    return np.maximum(np.frexp(x._array)[1] - 4, 0)


def _scale(line: Line) -> float:
    """By how much steps along it have to be wider."""
    return 2.0 ** max(int(np.max(_exponents(x), where=d != 0, initial=0)) for x, d in line.items())


def _finest(line: Line) -> float:
    """The narrowest step along it that all entries take: what is narrower is lost beside their last digits."""
    moved = [np.spacing(np.abs(x._array[d != 0])) / np.abs(d[d != 0]) for x, d in line.items()]
    return 4 * float(max(np.max(part, initial=0) for part in moved))


def random_numbers(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Numbers between 0.5 and 1.5 with either sign, none of which could hide a mistake; but 1 for a single number."""
    return np.ones(shape) if shape == () else rng.uniform(0.5, 1.5, shape) * rng.choice([-1.0, 1.0], shape)
