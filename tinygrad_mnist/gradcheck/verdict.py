"""Judging: which slopes are wrong, in words, and which op is the cause."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from tinygrad_mnist.tensor import Tensor

from .arguments import Names, output
from .errors import GradientError, UnmeasurableError, VerdictError, shown
from .slopes import EVERY_ENTRY, Slope, Slopes
from .watching import Lines, graph, watched_by


class Agreement(NamedTuple):
    """What a check did that found nothing wrong: how slopes were measured, and how many were compared.

    They are none if all arrays are empty.
    """

    method: str
    compared: int


def compare(slopes: Slopes, what: str) -> Agreement:
    """Measure all slopes and compare; a GradientError with the verdict if any is wrong, or cannot be measured."""
    found = list(slopes.all())
    wrong = [worst for s in found if not s.right and (worst := _worst(s, slopes))]
    if kinks := [s for s in wrong if s.outcome.kink]:
        wrong = [s for s in wrong if not s.outcome.kink]
        if not wrong:
            raise UnmeasurableError(_no_derivative(slopes, kinks[0]) + shown(slopes.names))
    if wrong:
        raise VerdictError(_verdict(f"{slopes.name}: the {what}", slopes, wrong, len(found)) + shown(slopes.names))
    largest = max((max(abs(s.given), abs(s.true)) for s in found), default=0.0)
    for s in found:
        if slopes.too_coarse(s, largest):
            noise = s.outcome.measured.noise
            raise UnmeasurableError(
                f"{slopes.name}: the {what} of {_entry(slopes.names, s)} cannot be checked: rounding hides slopes "
                f"below {noise:.1g}, and backward() gives {s.given:.4g}; check it without the large numbers that are "
                f"added to small ones{shown(slopes.names)}"
            )
    return Agreement(slopes.method, len(found))


def _worst(wrong: Slope, slopes: Slopes) -> Slope | None:
    """The worst entry in a direction along which the slope is wrong.

    One beside a kink may be right by itself: then the direction is tried without it. None, if that is right; the whole
    direction, if no entry is wrong by itself.
    """
    rest = wrong
    for _ in range(EVERY_ENTRY):
        worst = _narrowed(rest, slopes)
        if not worst.right:
            return worst
        rest = slopes.along(rest.x, np.where(worst.d, 0, rest.d))
        if rest.right:
            return None
    return wrong


def _narrowed(wrong: Slope, slopes: Slopes) -> Slope:
    """Of a slope that is wrong in some direction the worst axis: the worse half of the entries, until one is left."""
    while (places := np.flatnonzero(wrong.d)).size > 1:
        half = wrong.d.copy()
        half.flat[places[: places.size // 2]] = 0
        wrong = max(slopes.along(wrong.x, half), slopes.along(wrong.x, wrong.d - half), key=lambda s: s.gap)
    return slopes.along(wrong.x, np.abs(np.sign(wrong.d)))


def _entry(names: Names, s: Slope) -> str:
    return names[s.x] + (str(np.argwhere(s.d)[0].tolist() or "") if np.count_nonzero(s.d) == 1 else "")


def _no_derivative(slopes: Slopes, s: Slope) -> str:
    """That there is a kink, a jump or the end of a domain, where no gradient is right or wrong."""
    s, result = slopes.of_one_number(s)
    first, last = s.outcome.kink[0], s.outcome.kink[-1]
    what = f"{result or slopes.name} has no derivative with respect to {_entry(slopes.names, s)} here: "
    remedy = f"what ops give there ({s.given:.4g}) is a convention; move the inputs away from there"
    below, above = last.below.slope, last.above.slope
    if not np.isfinite(above - below):
        return f"{what}it is not finite right beside these inputs, as at a pole or the end of a domain; {remedy}"
    if last.gap > 4 * first.gap:
        return f"{what}it jumps there; {remedy}"
    return f"{what}it has a kink, with slope {below + 0:.4g} below and {above + 0:.4g} above; {remedy}"


def _verdict(title: str, slopes: Slopes, wrong: list[Slope], compared: int) -> str:
    """What is wrong, the worst first, and what that looks like."""
    names = slopes.names
    checked = "slopes (random directions for large inputs)" if any(x.size > EVERY_ENTRY for x in names) else "entries"
    worst = sorted(wrong, key=lambda s: -float(f"{_error(s):.3g}"))[:5]
    rows = [slopes.of_one_number(s) for s in worst]
    several = sum(v.size for v in slopes.v) > 1  # whose rows are entries of the Jacobian
    lines = [f"{title} is wrong in {len(wrong)} of {compared} {checked}"]
    entries = [_entry(names, s) for s, _ in rows]
    width = max(16, *(len(text) + 2 for text in entries), *(len(result) + 2 for _, result in rows))
    heads = f"{'backward() gives':>18}{'it should be':>16}{'relative error':>16}"
    lines += [f"  {'entry':{width}}" + f"{'of':{width}}" * several + heads]
    for entry, (s, result) in zip(entries, rows, strict=True):
        given, true = s.given, s.true
        digits = next((n for n in range(7, 17) if f"{given:.{n}g}" != f"{true:.{n}g}"), 17)
        of = f"{result or 'all, weighted':{width}}" * several
        lines += [f"  {entry:{width}}{of}{given:18.{digits}g}{true:16.{digits}g}{_error(s):16.3g}"]
    ratios = [s.given / s.true + 0 for s in wrong if s.true and s.gap < np.inf]
    if len(wrong) == len(ratios) > 1:
        first, span = ratios[0], max(ratios) - min(ratios)
        if first == span == 0:
            lines += ["No gradient gets there: an op on the way has no rule for this input, or leaves the graph."]
        elif span <= min(1e-4 * abs(first), 0.1 * abs(first - 1)):
            digits = next((n for n in range(4, 17) if float(f"{first:.{n}g}") != 1), 17)
            lines += [f"Each of them is {first:.{digits}g} times what it should be."]
    return "\n".join(lines)


def _error(s: Slope) -> float:
    return s.gap / max(abs(s.given), abs(s.true)) if s.gap < np.inf else np.inf


def cause(check: Callable[..., Agreement], f: Callable[..., Any], arguments: Sequence[Any]) -> str:
    """The first op on the way to f's output that is wrong by itself, where it is called, and with which operands."""
    if hasattr(f, "op"):
        return ""
    lines = Lines()
    with np.errstate(all="ignore"), watched_by(lines):
        out = output(f, arguments)
    for node in graph([out]):
        op: Any = partial(_apply_again, node)
        op.op, op.__name__ = node.op, node.op.name
        try:
            check(op, *(x.data for x in node.inputs or () if _is_tracked(x)))
        except UnmeasurableError as error:
            if "not finite" not in str(error):
                continue
            found = (
                f", which is not finite at or beside its operands: even where its result is not used, the gradient "
                f"is 0 * nan\nGive it other operands there, as in {node.op.name}(where(usable, x, 1))"
            )
        except GradientError as error:
            found = "\n".join(str(error).splitlines()[:3]).removeprefix(node.op.name)
        except (TypeError, ValueError):  # in lower precision it cannot be measured, nor at what is not finite
            continue
        else:
            continue
        called = lines.made.get(node)
        return f"\nThe cause is {node.op}{found}" + f"\nIt is called at {called}" * bool(called)
    hint = (
        "\nEvery op in f is right by itself; look for detach(), .data, .numpy(), .item(), float(), or a change in place"
    )
    return hint + (f", as at {next(iter(lines.leaving))}" if lines.leaving else "")


def _apply_again(node: Any, *operands: Tensor) -> Any:
    """The op that made a result, applied to other operands in place of those that have a gradient."""
    given = iter(operands)
    return node.op.function(*(next(given) if _is_tracked(x) else x for x in node.inputs), **node.params)


def _is_tracked(x: Any) -> bool:
    return isinstance(x, Tensor) and x.requires_grad
