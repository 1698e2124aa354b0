"""Elements by their order: sorted, and those at given ranks. Of equal ones the earlier comes first, NaN last of all."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tinygrad_mnist.composed import composed, together
from tinygrad_mnist.convert import in_one_line
from tinygrad_mnist.op import binary, unary
from tinygrad_mnist.tensor import Array, Operand, Tensor, values

from .arithmetic import astype
from .choices import minimum, where
from .indexing import getitem
from .moves import take, take_along_axis
from .reductions import mean, sum
from .rounding import floor
from .scans import kept_and_reduced, rows
from .shapes import concatenate, reshape, stack


def _ranks(x: Array, axis: Any = -1) -> Array:
    return np.argsort(np.argsort(x, axis, kind="stable"), -1 if axis is None else axis)


# fmt: off
ranks = unary("ranks", _ranks, None, domain=None,
              doc="the place that each element has when they are sorted; no derivative")
sort = unary("sort", lambda x, axis=-1, kind=None, stable=None:
                 np.sort(x, axis, kind or ("stable" if stable is None else None), stable=stable),
             lambda g, out, x, axis, kind, stable: take_along_axis(g, ranks(x, axis), axis).reshape(x.shape),
             numpy=(np.sort,), domain=None,
             doc="the elements in order along the axis, None is flat; of equal ones the first comes first")
_intervals = binary("intervals", lambda x, xp: np.clip(np.searchsorted(xp, x, "right"), 1, len(xp) - 1), None, None,
                    domain=None, doc="for each x the number of the first point that is larger; no derivative")
# fmt: on


def _ordered(a: Any, axis: Any) -> Any:
    """What a reduction is over as one axis, the last, in order; all NaN where there is one."""
    ordered = sort(rows(a, axis))
    last = ordered[..., -1:]
    return where(last == last, ordered, last)


def _shaped(x: Any, a: Any, axis: Any, keepdims: bool, leading: tuple[int, ...] = ()) -> Any:
    """A result without the axes of a reduction, or with them as axes of size 1."""
    kept, _ = kept_and_reduced(a, axis)
    sizes = (a.shape[i] if i in kept else 1 for i in range(a.ndim) if keepdims or i in kept)
    return reshape(x, (*leading, *sizes))


@composed(np.median)
def median(a: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """The middle element over the axes, or the mean of the two; of equal ones the earlier gets the gradient."""
    ordered = _ordered(a, axis)
    n = ordered.shape[-1]
    return _shaped(mean(ordered[..., (n - 1) // 2 : n // 2 + 1], -1), a, axis, keepdims)


@composed(np.nanmedian)
def nanmedian(a: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """The median over the axes without NaN; NaN where all are."""
    ordered = sort(rows(a if a.dtype.kind == "f" else astype(a, np.float64), axis))
    if not ordered.shape[-1]:
        return _shaped(mean(ordered, -1), a, axis, keepdims)
    counts = sum(ordered == ordered, -1, True)
    low, high = (take_along_axis(ordered, n // 2, -1) for n in (counts - 1, counts))
    return _shaped((low + high) / 2, a, axis, keepdims)


@composed(np.quantile)
def quantile(a: Any, q: Any, axis: Any = None, keepdims: bool = False, method: str = "linear") -> Any:
    """The elements below which a part q of the others lies; `method` says what lies between elements, as in NumPy."""
    parts = _parts(q)
    ordered = _ordered(a, axis)
    found = [_at(ordered, part, method) for part in parts.ravel().tolist()]
    if parts.ndim == 0:
        return _shaped(found[0], a, axis, keepdims)
    return _shaped(stack(found), a, axis, keepdims, parts.shape)


def _parts(q: Any) -> Array:
    if isinstance(q, Tensor):
        raise TypeError(f"expected q as numbers, to which no gradient flows, got {in_one_line(q)}; pass t.numpy()")
    parts = np.asarray(q, float)
    if not np.all((parts >= 0) & (parts <= 1)):
        raise ValueError(f"expected q from 0 to 1 (percentiles from 0 to 100), got {parts}")
    return parts


def _at(ordered: Any, part: float, method: str) -> Any:
    n = ordered.shape[-1]
    place = part * (n - 1)
    if method != "linear":  # where NumPy finds it among 0, 1, ... n - 1, whatever the method
        place = float(np.quantile(np.arange(n, dtype=float), part, method=method))  # type: ignore[call-overload]
    low = math.floor(place)
    below, above = ordered[..., low], ordered[..., min(low + 1, ordered.shape[-1] - 1)]
    step, share = above - below, place - low
    return above - step * (1 - share) if share >= 0.5 else below + step * share  # either end is met exactly


@composed(np.percentile)
def percentile(a: Any, q: Any, axis: Any = None, keepdims: bool = False, method: str = "linear") -> Any:
    """The elements below which q % of the others lie."""
    return quantile(a, q if isinstance(q, Tensor) else np.divide(q, 100), axis, keepdims, method)


@composed(np.nanquantile)
def nanquantile(a: Any, q: Any, axis: Any = None, keepdims: bool = False, method: str = "linear") -> Any:
    """The quantiles over the axes without NaN, with straight lines between elements; NaN where all are."""
    parts = _parts(q)
    if method != "linear":
        raise ValueError(f"expected method 'linear', got {method!r}; the others are there without NaN, as quantile")
    ordered = sort(rows(a if a.dtype.kind == "f" else astype(a, np.float64), axis))
    if not ordered.shape[-1]:
        raise ValueError(f"expected elements, got shape {a.shape}")
    last = sum(ordered == ordered, -1, True) - 1
    found = [_among(ordered, part, where(last < 0, 0, last)) for part in parts.ravel().tolist()]
    if parts.ndim == 0:
        return _shaped(found[0], a, axis, keepdims)
    return _shaped(stack(found), a, axis, keepdims, parts.shape)


def _among(ordered: Any, part: float, last: Any) -> Any:
    """As `_at`, among as many elements of each row as are numbers."""
    place = last * part
    low = astype(floor(place), np.intp)
    below, above = take_along_axis(ordered, low, -1), take_along_axis(ordered, minimum(low + 1, last), -1)
    step, share = above - below, astype(place - low, ordered.dtype)
    return where(share >= 0.5, above - step * (1 - share), below + step * share)[..., 0]


@composed(np.nanpercentile)
def nanpercentile(a: Any, q: Any, axis: Any = None, keepdims: bool = False, method: str = "linear") -> Any:
    """The percentiles over the axes without NaN, with straight lines between elements; NaN where all are."""
    return nanquantile(a, q if isinstance(q, Tensor) else np.divide(q, 100), axis, keepdims, method)


@composed(np.unique)
def unique(
    ar: Any,
    return_index: bool = False,
    return_inverse: bool = False,
    return_counts: bool = False,
    axis: int | None = None,
    *,
    equal_nan: bool = True,
) -> Any:
    """The different elements, in order; of equal ones the first gets the gradient. The other answers are arrays."""
    asked: Any = {"return_inverse": return_inverse, "return_counts": return_counts, "equal_nan": equal_nan}
    _, index, *others = np.unique(values(ar), return_index=True, axis=axis, **asked)
    found = reshape(ar, -1)[index] if axis is None else take(ar, index, axis)
    answers = (found, *[index] * return_index, *others)
    return answers if len(answers) > 1 else found


@composed(np.interp)
def interp(
    x: Operand,
    xp: Any,
    fp: Any,
    left: Operand | None = None,
    right: Operand | None = None,
    period: float | None = None,
) -> Any:
    """Values at x of straight lines through points (xp, fp), xp in order.

    At a point the derivative in x is the one to its right.
    Outside of the points the value is the first or last one of fp, or `left` and `right`, with the derivative 0 in x.
    """
    if np.ndim(xp) != 1 or np.shape(xp) != np.shape(fp) or np.size(xp) < 2:
        raise ValueError(f"expected xp and fp as two vectors of one length >= 2, got {np.shape(xp)} and {np.shape(fp)}")
    x, xp, fp = together(x, xp, fp)
    if period is not None:
        x, xp = x % period, xp % period
        order = np.argsort(values(xp))
        xp, fp = xp[order], fp[order]
        xp, fp = concatenate([xp[-1:] - period, xp, xp[:1] + period]), concatenate([fp[-1:], fp, fp[:1]])
    elif isinstance(xp, np.ndarray) and np.any(np.diff(xp) < 0):
        raise ValueError(f"expected xp in increasing order, got {in_one_line(xp)}; sort the points, or pass period=")
    i = _intervals(x, xp)
    (x0, f0), (x1, f1) = ((getitem(xp, j), getitem(fp, j)) for j in (i - 1, i))
    inside = f0 + (x - x0) * ((f1 - f0) / (x1 - x0))
    ends = (fp[0] if left is None else left), (fp[-1] if right is None else right)
    return where(x < xp[0], ends[0], where(x > xp[-1], ends[1], where(x == xp[-1], fp[-1], inside)))
