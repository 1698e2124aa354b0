"""Strategies for shapes, arrays and indices.

Values are short binary fractions (0, 1, -2, 0.75, ...): a failing example can be read, and x ± h is exact. Operands of
ops keep away from the kinks, poles and ties that their domains name, by construction; nothing is drawn to be thrown
away. Of a function of your own nothing is known: say `arrays(values=Domain(-4, 4, away=(-1, 1)))`.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from hypothesis.strategies import SearchStrategy
from numpy.typing import DTypeLike

from tinygrad_mnist.convert import in_one_line, is_real, is_whole
from tinygrad_mnist.ops import REALS, Domain
from tinygrad_mnist.tensor import Array, read_only

Shape = tuple[int, ...]
Made = TypeVar("Made")


def as_shape(name: str, shape: Any) -> Shape:
    """What a strategy of this name was given as a shape; a TypeError if it is none.

    >>> as_shape("axes", 3)
    Traceback (most recent call last):
    TypeError: axes: expected a shape, a tuple such as (2, 3), got 3
    """
    if not isinstance(shape, tuple) or not all(is_whole(n, 0) for n in shape):
        raise TypeError(f"{name}: expected a shape, a tuple such as (2, 3), got {in_one_line(shape)}")
    return shape


def _kept(function: Callable[..., Made]) -> Any:
    """What a function has made is kept; but for arguments that cannot be looked up, as a wrong one may be.

    Strategies that are drawn from again and again are kept, as hypothesis looks through each new one before its first
    draw: that was a third of the time that operands took.
    """
    remembered = functools.lru_cache(maxsize=1024, typed=True)(function)

    @functools.wraps(function)
    def made(*args: Any, **kwargs: Any) -> Made:
        can_be_looked_up = True
        try:
            hash((args, *kwargs.values()))
        except TypeError:
            can_be_looked_up = False
        return (remembered if can_be_looked_up else function)(*args, **kwargs)

    return made


def grid(*domains: Domain) -> list[list[float]]:
    """For each domain numbers in it, the simplest first: some dozens of equal distance, multiples of a power of 1/2.

    No number is given to two domains: where x equals y, max(x, y) has a kink.

    >>> [numbers[:5] for numbers in grid(Domain(-1, 1, away=(0.0,)))]
    [[1.0, -1.0, 0.5, -0.5, 0.25]]
    >>> [numbers[:5] for numbers in grid(REALS, REALS)]
    [[0.0, 1.0, -1.0, 2.0, -2.0], [0.25, -0.25, 0.75, -0.75, 1.25]]
    """
    return [list(numbers) for numbers in _grid(domains)]


@_kept
def _grid(domains: tuple[Domain, ...]) -> tuple[tuple[float, ...], ...]:
    parts = 2 ** (len(domains) - 1).bit_length()
    bounds, steps = [], []
    for domain in domains:
        if not isinstance(domain, Domain):
            raise TypeError(f"grid: expected a Domain, such as Domain(-4, 4, away=(0,)), got {in_one_line(domain)}")
        low, high, away = domain
        if not (is_real(low) and is_real(high) and isinstance(away, list | tuple) and all(map(is_real, away))):
            raise TypeError(f"grid: expected a domain of numbers, such as Domain(-4, 4, away=(0,)), got {domain!r:.90}")
        if not low < high:
            raise ValueError(f"grid: expected a domain with low < high, got {low} and {high}")
        low = low if low > -math.inf else min(-4.0, high - 8)
        high = high if high < math.inf else max(4.0, low + 8)
        step = 0.25 * parts
        while high - low < 8 * step:
            step /= 2
        while high - low > 64 * step:
            step *= 2
        bounds.append((low, high))
        steps.append(step)
    gap = min(steps) / parts
    dealt = []
    for i, ((low, high), step, domain) in enumerate(zip(bounds, steps, domains, strict=True)):
        start = i * gap
        multiples = range(math.ceil((low - start) / step), math.floor((high - start) / step) + 1)
        numbers = [start + k * step for k in multiples]
        numbers = [x for x in numbers if low <= x <= high and all(abs(x - point) >= gap for point in domain.away)]
        if not numbers:
            raise ValueError(f"grid: no numbers are left in {domain}")
        dealt.append(tuple(sorted(numbers, key=lambda x: (x.as_integer_ratio()[1], abs(x), x < 0))))
    return tuple(dealt)


@_kept
def _one_of(*values: str | int) -> SearchStrategy[Any]:
    return st.sampled_from(values)


@_kept
def _elements(kind: np.dtype[Any], numbers: tuple[float, ...]) -> SearchStrategy[Any]:
    if kind.kind == "f":
        return st.sampled_from((*numbers[:3] * (len(numbers) // 8), *numbers))  # often 0, 1 and -1
    return st.booleans() if kind.kind == "b" else st.integers(0 if kind.kind == "u" else -4, 4)


@_kept
def _filled(kind: np.dtype[Any], shape: Shape, elements: SearchStrategy[Any]) -> SearchStrategy[Array]:
    return hnp.arrays(kind, shape, elements=elements, fill=st.nothing())


@_kept
@st.composite
def shapes(draw: st.DrawFn, min_dims: int = 0, max_dims: int = 3, min_side: int = 0, max_side: int = 3) -> Shape:
    """Shapes, 0-d and empty ones among them; most have several axes and sides longer than 1."""
    bounds: list[Any] = [min_dims, max_dims, min_side, max_side]
    if not (all(is_whole(n, 0) for n in bounds) and min_dims <= max_dims and min_side <= max_side):
        given = "dims {} to {} and sides {} to {}".format(*map(in_one_line, bounds))
        raise ValueError(
            "shapes: expected whole numbers 0 <= min_dims <= max_dims and 0 <= min_side <= max_side, "
            f"got {given}; give both bounds"
        )
    dims = [n for n in range(min_dims, max_dims + 1) for _ in range(min(n + 1, 3))]
    sides = [n for n in (*range(1, max_side + 1), *[*range(2, max_side + 1)] * 3, 0) if n >= min_side]
    return tuple(draw(_one_of(*sides)) for _ in range(draw(_one_of(*dims))))


@_kept
@st.composite
def broadcastable_shapes(draw: st.DrawFn, n: int, whole: Shape | None = None) -> list[Shape]:
    """As many shapes that broadcast together, to the shape that may be given as `whole`."""
    if not is_whole(n, 1):
        raise ValueError(
            f"broadcastable_shapes: expected a whole number of at least 1, of shapes, got {in_one_line(n)}"
        )
    whole = draw(shapes()) if whole is None else as_shape("broadcastable_shapes", whole)
    sizes = [list(whole) for _ in range(n)]
    some = [chosen for k in range(n) for chosen in itertools.combinations(sizes, k)]  # but not all of them
    some += some[1:]
    for axis in range(len(whole)):
        for size in some[draw(_one_of(*range(len(some))))]:
            size[axis] = 1
    for size in sizes if n > 1 else ():
        while size[:1] == [1] and draw(st.booleans()):
            del size[0]
    return [tuple(size) for size in sizes]


LAYOUTS = ("plain", "read-only", "transposed", "reversed", "strided")
"""Ways in which the same values can lie in memory."""


_LAYOUT = _one_of(*LAYOUTS, "broadcast")


def laid_out(array: Array, layout: str) -> Array:
    """The same values in memory of another of the `LAYOUTS`; a ValueError for an unknown one, a TypeError for no array.

    >>> laid_out(np.arange(3.0), "reversed").strides
    (-8,)
    """
    if not isinstance(array, np.ndarray):
        raise TypeError(f"laid_out: expected a NumPy array, got {in_one_line(array)}; make one with np.array(...)")
    if not isinstance(layout, str) or layout not in LAYOUTS:
        raise ValueError(f"laid_out: expected one of {', '.join(LAYOUTS)}, got {in_one_line(layout)}")
    if layout == "read-only":
        array = read_only(array)
    elif layout == "transposed":
        array = array.T.copy().T
    elif layout == "reversed":
        array = np.asarray(np.flip(np.flip(array).copy()))
    elif layout == "strided" and array.ndim > 0:
        array = np.repeat(array, 2, axis=-1)[..., ::2]
    return array


@st.composite
def arrays(
    draw: st.DrawFn,
    shape: Shape | SearchStrategy[Shape] | None = None,
    dtype: Any = np.float64,
    *,
    values: Domain | Sequence[float] = REALS,
    distinct: bool = False,
) -> Array:
    """Arrays of any shape, dtype and layout: 0-d, empty, transposed, reversed, strided, read-only, and broadcast views.

    Args:
        draw: passed by hypothesis.
        shape: a shape or a strategy of shapes; by default any.
        dtype: a dtype or a strategy of dtypes: floating, integer or boolean.
        values: a domain or a list of numbers, for floating dtypes. By default 0, 1 and -1 are the most frequent: where
            a function of your own has kinks or poles, draw away from them, `values=Domain(-4, 4, away=(-1, 1))`.
        distinct: no two values are equal, nor near: they are 1/8 apart if `values` says nothing else. At a tie the
            maximum has a kink.

    Raises:
        TypeError: the shape, dtype or values are not of these kinds.
        ValueError: there are not so many distinct numbers in `values` as the shape needs.
    """
    if not isinstance(shape, tuple | SearchStrategy | None):
        raise TypeError(f"arrays: expected a shape such as (3,), or a strategy of shapes, got {in_one_line(shape)}")
    size = as_shape(
        "arrays", draw(shape) if isinstance(shape, SearchStrategy) else draw(shapes()) if shape is None else shape
    )
    kind = _dtype(draw(dtype) if isinstance(dtype, SearchStrategy) else dtype)
    numbers = _numbers(values)
    layout = draw(_one_of(*LAYOUTS) if distinct else _LAYOUT)
    if distinct:
        n = math.prod(size)
        if values is not REALS and kind.kind == "f":
            numbers = list(dict.fromkeys(numbers))
            if len(numbers) < n:
                raise ValueError(
                    f"arrays: expected values with {n} distinct numbers for the shape {size}, got {len(numbers)}; "
                    "ask for a smaller shape"
                )
            return laid_out(np.array(draw(st.permutations(numbers))[:n], kind).reshape(size), layout)
        order = np.array(draw(st.permutations(range(n))), kind).reshape(size)
        return laid_out(np.asarray((order - n // 2) / kind.type(8) if kind.kind == "f" else order), layout)
    # Numbers of a list are not kept: those of [-0.0] would be those of [0.0].
    elements = (_elements if isinstance(values, Domain) else _elements.__wrapped__)(kind, tuple(numbers))
    return _array(draw, size, kind, elements, layout)


def _array(draw: st.DrawFn, size: Shape, kind: np.dtype[Any], elements: SearchStrategy[Any], layout: str) -> Array:
    repeated = [layout == "broadcast" and draw(st.booleans()) for _ in size]
    smaller = tuple(min(n, 1) if again else n for n, again in zip(size, repeated, strict=True))
    array = draw(_filled(kind, smaller, elements))
    return np.broadcast_to(array, size) if layout == "broadcast" else laid_out(array, layout)


def _dtype(dtype: Any) -> np.dtype[Any]:
    """The dtype of `arrays`."""
    try:
        kind = np.dtype(dtype)
    except TypeError:
        kind = np.dtype(object)
    if dtype is None or kind.kind not in "fiub":
        raise TypeError(
            f"arrays: expected a floating, integer or boolean dtype, or a strategy, got {in_one_line(dtype)}"
        )
    return kind


def _numbers(values: Any) -> list[float]:
    """The values of `arrays`, one by one."""
    if isinstance(values, Domain):
        return grid(values)[0]
    listed = list(values) if isinstance(values, Sequence | np.ndarray) and np.ndim(values) == 1 else []
    if not listed or not all(map(is_real, listed)):
        what = "a Domain, such as Domain(-4, 4, away=(0,)), or a list of numbers"
        raise TypeError(f"arrays: expected values that are {what}, got {in_one_line(values)}")
    return listed


@st.composite
def broadcastable(draw: st.DrawFn, *domains: Domain, dtype: DTypeLike = np.float64) -> tuple[Array, ...]:
    """Arrays that broadcast together, one for each domain, of which no two ever hold the same number."""
    if not domains or not all(isinstance(domain, Domain) for domain in domains):
        raise TypeError(f"broadcastable: expected a Domain for each array, such as REALS, got {domains!r}")
    sizes = draw(broadcastable_shapes(len(domains)))
    turn = draw(st.integers(0, len(domains) - 1))  # so that each operand can be 0
    numbers = _grid((*domains[turn:], *domains[:turn]))
    numbers = numbers[-turn:] + numbers[:-turn] if turn else numbers
    kind = np.dtype(dtype)
    pairs = zip(sizes, numbers, strict=True)
    return tuple(_array(draw, size, kind, _elements(kind, own), draw(_LAYOUT)) for size, own in pairs)


@st.composite
def matmul_operands(draw: st.DrawFn, dtype: DTypeLike = np.float64) -> tuple[Array, Array]:
    """Operands of a matrix product: vectors, matrices, and stacks of matrices whose first axes broadcast."""
    stack = draw(st.sampled_from(((), (2,), (2, 2), (2,), (2, 2), (3,), (1, 2), (0,))))
    left, right = draw(broadcastable_shapes(2, stack))
    n, k, m = draw(shapes(min_dims=3))
    vector = st.sampled_from((False, False, False, True))
    x = (k,) if draw(vector) else (*left, n, k)
    y = (k,) if draw(vector) else (*right, k, m)
    return draw(arrays(x, dtype)), draw(arrays(y, dtype))


def axes(shape: Shape, *, empty: bool = True) -> SearchStrategy[Any]:
    """Axes to reduce an array of this shape over: None, a number counted from either end, or a tuple of several.

    Args:
        shape: of the array.
        empty: whether axes of length 0 may be among them; the maximum and the mean of nothing are not defined.
    """
    usable = [i for i, n in enumerate(as_shape("axes", shape)) if n > 0 or empty]
    either_end = {i: st.sampled_from((i, i - len(shape))) for i in usable}
    choices: list[SearchStrategy[Any]] = [st.none()] if len(usable) == len(shape) else []
    choices += either_end.values()
    several = st.lists(st.sampled_from(usable), unique=True) if usable else st.just([])
    choices += [several.flatmap(lambda chosen: st.tuples(*(either_end[i] for i in chosen)))]
    return st.one_of(choices)


_SLICES = (slice(None), slice(None, None, -1), slice(1, None), slice(None, -1), slice(None, None, 2))


@st.composite
def indices(draw: st.DrawFn, shape: Shape) -> Any:
    """Indices into an array of this shape: slices, integers, None, ..., masks, and integer arrays, also mixed."""
    as_shape("indices", shape)
    kind = draw(st.sampled_from(("mixed", "basic", "mixed", "mask")))
    if kind == "basic":
        return draw(hnp.basic_indices(shape, allow_newaxis=True))
    if kind == "mask":
        return draw(arrays(shape[: draw(st.integers(0, len(shape)))], bool))
    length = draw(st.integers(1, 3))  # of all arrays in the index, so that they broadcast
    parts: list[Any] = []
    for n in shape[: draw(st.integers(0, len(shape)))]:
        place = st.integers(-n, n - 1)
        choices: list[SearchStrategy[Any]] = [st.sampled_from(_SLICES), st.slices(n)]
        if n > 0:
            choices += [st.lists(place, min_size=length, max_size=length).map(np.array), place]
        parts.append(draw(st.one_of(choices)))
    if draw(st.booleans()):
        parts.insert(draw(st.integers(0, len(parts))), None)
    return (*parts, ...) if draw(st.booleans()) else tuple(parts)


def apart(x: Any, y: Any) -> bool:
    """Whether no two numbers meet, in any way to broadcast."""
    return bool(np.all(np.abs(np.subtract.outer(x, y)) >= 1 / 16))


def shapes_of_size(size: int) -> list[Shape]:
    """All shapes of arrays with so many elements and up to 3 axes."""
    sides = range(size + 1) if size else range(3)
    return [shape for n in range(4) for shape in itertools.product(sides, repeat=n) if math.prod(shape) == size]


def in_domain(x: Any, domain: Domain) -> bool:
    """Whether all numbers are in the domain; the bounds of `REALS` are for drawing only."""
    inside = domain[:2] == REALS[:2] or bool(np.all((domain.low <= x) & (x <= domain.high)))
    return inside and all(apart(x, point) for point in domain.away)
