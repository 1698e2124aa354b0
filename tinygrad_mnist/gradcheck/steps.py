"""How narrow a step has to be: what measurements with several steps say of a slope.

What does not agree at once is measured with narrower and narrower steps. Where the slopes on both sides of x agree,
there is no kink within a step: of such steps that which leaves least uncertain counts. Where they differ, a kink lies
within the step, or the end of the domain: if a narrower step has it outside, the slope is that of the side where x
lies, which wider steps have measured better; if none has, until rounding is all that is measured, x has no derivative.
Steps along which f turns or grows out of all proportion, as sin(1e9 x) does, measure nothing: narrower ones have to.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from tinygrad_mnist.tensor import Array


class Measured(NamedTuple):
    """A slope as it was measured; how far two widths are apart, and what rounding may have done; the narrower one."""

    slope: float
    spread: float
    noise: float
    width: float

    @property
    def uncertain(self) -> float:
        """By how much the slope may be another one."""
        return self.spread + self.noise

    @property
    def tells(self) -> bool:
        """Whether it says anything: two widths that differ by more than the slope do not."""
        return bool(self.spread <= abs(self.slope) < np.inf)

    def agrees(self, slope: float, rtol: float, uncertain: float = 0.0) -> bool:
        """Whether that is the same slope, as far as can be told."""
        allowed = rtol * max(abs(self.slope), abs(slope)) + self.uncertain + uncertain
        return self.slope == slope or abs(self.slope - slope) <= allowed < np.inf


class Sides(NamedTuple):
    """The slopes below and above x, measured apart."""

    below: Measured
    above: Measured

    @property
    def gap(self) -> float:
        """How far they are apart."""
        return abs(self.above.slope - self.below.slope)

    def meet(self, rtol: float) -> bool:
        """Whether they are the same."""
        return self.above.agrees(self.below.slope, rtol, self.below.uncertain)


class Outcome(NamedTuple):
    """A slope as measured, and whether the given one agrees; where x is at a kink, the sides, the narrowest last."""

    measured: Measured
    right: bool
    kink: tuple[Sides, ...] = ()


def settled(
    given: float,
    rtol: float,
    steps: Array,
    central: Callable[[float], Measured],
    sides: Callable[[float], Sides],
) -> Outcome:
    """The slope, measured with narrower and narrower steps, as the head of this module tells."""
    best: Measured | None = None
    kink: list[Sides] = []
    largest = abs(given) if np.isfinite(given) else 0.0
    for h in steps:
        now, beside = central(h), sides(h)
        largest = max([largest, *(abs(m.slope) for m in (now, *beside) if m.tells)])
        if now.noise > 0.1 * (kink[-1].gap if kink and np.isfinite(kink[-1].gap) else largest):
            break
        if not (now.tells or all(side.tells or np.isnan(side.slope) for side in beside)):  # NaN: the domain's end
            continue
        if beside.meet(rtol):
            wider = (
                side
                for pair in kink
                for side in pair
                if now.uncertain < pair.gap and side.agrees(now.slope, 0, now.uncertain)
            )
            now = min([now, *wider], key=lambda m: m.uncertain)
            if best is None or now.uncertain < best.uncertain or not now.agrees(best.slope, 0, best.uncertain):
                best = now
            if best.agrees(given, rtol) and best.spread <= max(best.noise, 1e-6 * largest):
                break
        elif best is not None and beside.gap <= 1e6 * now.noise:  # no kink in a wider step: rounding, underestimated
            break
        else:
            best = None
            kink.append(beside)
    if best is None and kink:
        return Outcome(kink[-1].above, False, tuple(kink))
    best = best or now
    return Outcome(best, best.agrees(given, rtol))
