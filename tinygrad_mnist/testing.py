"""Hypothesis strategies for arrays, for the operands of any op and for whole programs, and what must hold of them.

An op is tested by the same three lines whether it is ours or yours:

    @given(operands(softsign))
    def test_softsign(case):
        check(case)

Values are short binary fractions (0, 1, -2, 0.75, ...): a failing example can be read, and x ± h is exact. They keep
away from kinks, poles and ties by construction; nothing is drawn to be thrown away. (This module needs hypothesis;
nothing else in the package imports it.)
"""

from __future__ import annotations

import inspect
import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, NamedTuple, TypeVar

import numpy as np

try:
    from hypothesis import given, settings
    from hypothesis import strategies as st
    from hypothesis.extra import numpy as hnp
    from hypothesis.strategies import SearchStrategy
except ModuleNotFoundError as error:
    raise ModuleNotFoundError('tinygrad_mnist.testing needs hypothesis: pip install -e ".[test]"') from error
from numpy.typing import DTypeLike

from . import losses as losses  # its ops enter the table
from . import nn as nn  # likewise
from . import ops
from .backward import grad
from .gradcheck import GradientError, check_gradients, check_second_derivatives
from .ops import NONZERO, OPS, POSITIVE, REALS, Domain, Op
from .tensor import Array, Tensor

Shape = tuple[int, ...]

# --- numbers and arrays -----------------------------------------------------------------------------------------------


def grid(*domains: Domain) -> list[list[float]]:
    """For each domain numbers in it, the simplest first: some dozens of equal distance, multiples of a power of 1/2.

    No number is given to two domains: where x equals y, max(x, y) has a kink.

    >>> [numbers[:5] for numbers in grid(Domain(-1, 1, away=(0.0,)))]
    [[1.0, -1.0, 0.5, -0.5, 0.25]]
    >>> [numbers[:5] for numbers in grid(REALS, REALS)]
    [[0.0, 1.0, -1.0, 2.0, -2.0], [0.25, -0.25, 0.75, -0.75, 1.25]]
    """
    parts = 2 ** (len(domains) - 1).bit_length()
    bounds, steps = [], []
    for low, high, _ in domains:
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
        numbers = [x for x in numbers if all(abs(x - point) >= gap for point in domain.away)]
        if not numbers:
            raise ValueError(f"grid: no numbers are left in {domain}")
        dealt.append(sorted(numbers, key=lambda x: (x.as_integer_ratio()[1], abs(x), x < 0)))
    return dealt


@st.composite
def shapes(draw: st.DrawFn, min_dims: int = 0, max_dims: int = 3, min_side: int = 0, max_side: int = 3) -> Shape:
    """Shapes, 0-d and empty ones among them; most have several axes and sides longer than 1."""
    dims = [n for n in range(min_dims, max_dims + 1) for _ in range(min(n + 1, 3))]
    sides = [n for n in (*range(1, max_side + 1), *[*range(2, max_side + 1)] * 3, 0) if n >= min_side]
    return tuple(draw(st.sampled_from(sides)) for _ in range(draw(st.sampled_from(dims))))


@st.composite
def broadcastable_shapes(draw: st.DrawFn, n: int, whole: Shape | None = None) -> list[Shape]:
    """As many shapes that broadcast together, to the shape that may be given as `whole`."""
    whole = draw(shapes()) if whole is None else whole
    sizes = [list(whole) for _ in range(n)]
    some = [chosen for k in range(n) for chosen in itertools.combinations(sizes, k)]  # but not all of them
    some += some[1:]
    for axis in range(len(whole)):
        for size in draw(st.sampled_from(some)):
            size[axis] = 1
    for size in sizes if n > 1 else ():
        while size[:1] == [1] and draw(st.booleans()):
            del size[0]
    return [tuple(size) for size in sizes]


LAYOUTS = ("plain", "read-only", "transposed", "reversed", "strided")
"""Ways in which the same values can lie in memory."""


def laid_out(array: Array, layout: str) -> Array:
    """The same values in memory of another of the `LAYOUTS`; a ValueError for an unknown one.

    >>> laid_out(np.arange(3.0), "reversed").strides
    (-8,)
    """
    if layout not in LAYOUTS:
        raise ValueError(f"laid_out: expected one of {', '.join(LAYOUTS)}, got {layout!r}")
    if layout == "read-only":
        array = _read_only(array)
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
        values: a domain or a list of numbers, for floating dtypes.
        distinct: no two values are equal or near: they are 1/8 apart, whatever `values` says. At a tie the maximum has
            a kink.
    """
    size = shape if isinstance(shape, tuple) else draw(shapes() if shape is None else shape)
    kind = np.dtype(draw(dtype) if isinstance(dtype, SearchStrategy) else dtype)
    layout = draw(st.sampled_from(LAYOUTS if distinct else (*LAYOUTS, "broadcast")))
    if distinct:
        n = math.prod(size)
        order = np.array(draw(st.permutations(range(n))), kind).reshape(size)
        return laid_out(np.asarray((order - n // 2) / kind.type(8) if kind.kind == "f" else order), layout)
    if kind.kind == "f":
        numbers = grid(values)[0] if isinstance(values, Domain) else list(values)
        elements = st.sampled_from(numbers[:3] * (len(numbers) // 8) + numbers)  # often 0, 1 and -1
    else:
        elements = st.booleans() if kind.kind == "b" else st.integers(0 if kind.kind == "u" else -4, 4)
    repeated = [layout == "broadcast" and draw(st.booleans()) for _ in size]
    smaller = tuple(min(n, 1) if again else n for n, again in zip(size, repeated, strict=True))
    array = draw(hnp.arrays(kind, smaller, elements=elements, fill=st.nothing()))
    return np.broadcast_to(array, size) if layout == "broadcast" else laid_out(array, layout)


@st.composite
def broadcastable(draw: st.DrawFn, *domains: Domain, dtype: DTypeLike = np.float64) -> tuple[Array, ...]:
    """Arrays that broadcast together, one for each domain, of which no two ever hold the same number."""
    sizes = draw(broadcastable_shapes(len(domains)))
    turn = draw(st.integers(0, len(domains) - 1))  # so that each operand can be 0
    numbers = grid(*domains[turn:], *domains[:turn])
    numbers = numbers[-turn:] + numbers[:-turn] if turn else numbers
    return tuple(draw(arrays(size, dtype, values=own)) for size, own in zip(sizes, numbers, strict=True))


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
    usable = [i for i, n in enumerate(shape) if n > 0 or empty]
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


# --- operands of an op ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Case:
    """An op with operands and parameters in its domain: one example to test it with.

    Args:
        args: the operands. Derivatives are checked for those that are floating arrays, if the op has a rule for them.
        params: the op's parameters.
        function: what to call with them, if it is not the op's own function.
        op: filled in by `operands`.
    """

    args: tuple[Any, ...]
    params: Mapping[str, Any] = field(default_factory=dict)
    function: Callable[..., Any] | None = None
    op: Op | None = None

    @property
    def places(self) -> list[int]:
        """The positions of the operands that have a derivative."""
        assert self.op is not None
        pairs = enumerate(zip(self.args, self.op.rules, strict=False))
        return [i for i, (x, rule) in pairs if rule and isinstance(x, np.ndarray) and x.dtype.kind == "f"]

    def __call__(self, *tensors: Any) -> Any:
        """The op applied, with these in place of the operands that have a derivative."""
        assert self.op is not None
        args = list(self.args)
        for i, tensor in zip(self.places, tensors, strict=True):
            args[i] = tensor
        return self.apply(*args)

    def apply(self, *args: Any) -> Any:
        """The op applied to these operands, all of them."""
        assert self.op is not None
        return (self.function or self.op.function)(*args, **self.params)

    @property
    def __name__(self) -> str:
        return self.op.name if self.op else "case"

    def __repr__(self) -> str:
        parts = [_text(x) for x in self.args] + [f"{key}={_text(value)}" for key, value in self.params.items()]
        return f"{self.__name__}({', '.join(parts)}){''.join(map(_notes, self.args))}"

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text(repr(self))  # hypothesis would print all fields


def _text(x: Any) -> str:
    """The value as Python writes it."""
    if isinstance(x, type):
        return x.__name__
    if isinstance(x, np.ndarray) and x.size == 0:
        return f"zeros({x.shape})" if x.dtype == float else f"zeros({x.shape}, {x.dtype})"
    return " ".join(repr(x).split())


def _notes(x: Any) -> str:
    """A comment, if it is an array that lies in memory in an unusual way."""
    if not isinstance(x, np.ndarray) or (x.flags.c_contiguous and x.flags.writeable):
        return ""
    return f"  # strides {x.strides}" + ", read-only" * (not x.flags.writeable)


_operands: dict[str, Callable[[], SearchStrategy[Case]]] = {}
CaseStrategy = TypeVar("CaseStrategy", bound=Callable[..., SearchStrategy[Case]])


def operands_of(*names: str) -> Callable[[CaseStrategy], CaseStrategy]:
    """Declare what ops are tested with: a decorator of a function without arguments that returns a strategy of `Case`.

    It is needed for ops that are not elementwise, or have required parameters. Elementwise ops need only `domain=` in
    the call that defines them.

    >>> from tinygrad_mnist import unary
    >>> double_rows = unary("double_rows", lambda x, row: np.where(np.arange(len(x)) == row, 2 * x.T, x.T).T,
    ...                     lambda g, out, x, row: double_rows(g, row=row), domain=None)
    >>> @operands_of("double_rows")
    ... @st.composite
    ... def double_rows_operands(draw):
    ...     x = draw(arrays(shapes(min_dims=1, min_side=1)))
    ...     return Case((x,), {"row": draw(st.integers(0, len(x) - 1))})
    >>> check_op(double_rows)
    >>> del OPS["double_rows"]
    """

    def register(strategy: CaseStrategy) -> CaseStrategy:
        for name in names:
            _operands[name] = strategy
        return strategy

    return register


def operands(op: Op | Callable[..., Any] | str) -> SearchStrategy[Case]:
    """Operands in the domain of an op, ours or a user's: the op itself, its function or its name.

    Raises:
        LookupError: there is no such op, or it is not known what to test it with.
    """
    name = op if isinstance(op, str) else op.name if isinstance(op, Op) else op.__name__
    if name not in OPS:
        raise LookupError(
            f"operands: there is no op {name!r} in OPS; define it with unary, binary, ternary or variadic"
        )
    found = OPS[name]
    strategy: SearchStrategy[Case]
    if name in _operands:
        strategy = _operands[name]()
    elif found.domain is None:
        raise LookupError(
            f"operands: nothing says what to test op {name!r} with; give domain= in the call that defines it if it is "
            f"elementwise, or declare a strategy with @testing.operands_of({name!r})"
        )
    elif any(default is inspect.Parameter.empty for default in found.defaults.values()):
        raise LookupError(
            f"operands: op {name!r} has required parameters; declare a strategy with @testing.operands_of({name!r})"
        )
    else:
        strategy = elementwise(*found.domain)
    return strategy.map(lambda case: replace(case, op=found))


@st.composite
def elementwise(draw: st.DrawFn, *domains: Domain) -> Case:
    """Operands that broadcast together, no two ever equal; one of several may be a Python number."""
    args: tuple[Any, ...] = draw(broadcastable(*domains))
    if len(args) > 1 and draw(st.integers(0, 5)) == 5:
        i = draw(st.integers(0, len(args) - 1))
        if args[i].size:
            args = (*args[:i], args[i].flat[0].item(), *args[i + 1 :])
    return Case(args)


@operands_of("astype")
@st.composite
def _astype(draw: st.DrawFn) -> Case:
    return Case((draw(arrays()),), {"dtype": draw(st.sampled_from((np.float64, np.longdouble)))})


@operands_of("pow")
@st.composite
def _pow(draw: st.DrawFn) -> Case:
    """A positive base to any power, any base to a whole power, and numbers on either side."""
    if draw(st.integers(0, 2)):
        return draw(elementwise(POSITIVE, REALS))
    exponent = draw(st.sampled_from((0, 1, 2, 3, -1, -2, 0.5)))
    base = REALS if exponent in (0, 1, 2, 3) else NONZERO if exponent in (-1, -2) else POSITIVE
    x = draw(arrays(values=base))
    if exponent != 0.5 and draw(st.booleans()):
        return Case((x, np.full(x.shape[-1:], exponent)))
    return Case((x, exponent))


@operands_of("leaky_relu")
@st.composite
def _leaky_relu(draw: st.DrawFn) -> Case:
    return Case((draw(arrays(values=NONZERO)),), draw(st.sampled_from(({}, {"slope": 0.25}, {"slope": 0.0}))))


@operands_of("where")
@st.composite
def _where(draw: st.DrawFn) -> Case:
    case = draw(elementwise(REALS, REALS, REALS))
    return Case((np.asarray(case.args[0] > 0), *case.args[1:]))


@operands_of("bitwise_and", "bitwise_or")
@st.composite
def _bitwise(draw: st.DrawFn) -> Case:
    return Case(tuple(np.asarray(x > 0) for x in draw(broadcastable(REALS, REALS))))


@operands_of("invert")
def _invert() -> SearchStrategy[Case]:
    return arrays(dtype=bool).map(lambda x: Case((x,)))


@operands_of("matmul")
def _matmul() -> SearchStrategy[Case]:
    return matmul_operands().map(Case)


@operands_of("linear")
@st.composite
def _linear(draw: st.DrawFn) -> Case:
    *rows, n_in, n_out = draw(shapes(min_dims=2, max_dims=4))
    bias, _ = draw(broadcastable_shapes(2, (*rows, n_out)))
    return Case((draw(arrays((*rows, n_in))), draw(arrays((n_in, n_out))), draw(arrays(bias))))


@operands_of("sum")
@st.composite
def _sum(draw: st.DrawFn, empty: bool = True, distinct: bool = False) -> Case:
    x = draw(arrays(distinct=distinct))
    return Case((x,), {"axis": draw(axes(x.shape, empty=empty)), "keepdims": draw(st.booleans())})


@operands_of("mean", "logsumexp")
def _mean() -> SearchStrategy[Case]:
    return _sum(empty=False)


@operands_of("max", "min")
def _extremum() -> SearchStrategy[Case]:
    return _sum(empty=False, distinct=True)


@operands_of("softmax", "log_softmax")
@st.composite
def _softmax(draw: st.DrawFn) -> Case:
    shape = list(draw(shapes(min_dims=1)))
    axis = draw(st.integers(-len(shape), len(shape) - 1))
    shape[axis] = max(shape[axis], 1)
    return Case((draw(arrays(tuple(shape))),), {"axis": axis})


@operands_of("reshape")
@st.composite
def _reshape(draw: st.DrawFn) -> Case:
    x = draw(arrays())
    shape = draw(st.sampled_from(_shapes_of_size(x.size)))
    i = draw(st.integers(0, 2))
    if math.prod(shape[:i] + shape[i + 1 :]) and i < len(shape):
        shape = (*shape[:i], -1, *shape[i + 1 :])
    return Case((x,), {"shape": shape})


def _shapes_of_size(size: int) -> list[Shape]:
    """All shapes of arrays with so many elements and up to 3 axes."""
    sides = range(size + 1) if size else range(3)
    return [shape for n in range(4) for shape in itertools.product(sides, repeat=n) if math.prod(shape) == size]


@operands_of("transpose")
@st.composite
def _transpose(draw: st.DrawFn) -> Case:
    x = draw(arrays())
    order = tuple(i - x.ndim * draw(st.booleans()) for i in draw(st.permutations(range(x.ndim))))
    return Case((x,), {"axes": draw(st.sampled_from((None, order)))})


@operands_of("broadcast_to")
@st.composite
def _broadcast_to(draw: st.DrawFn) -> Case:
    shape = draw(shapes())
    narrow, _ = draw(broadcastable_shapes(2, shape))
    return Case((draw(arrays(narrow)),), {"shape": shape})


@operands_of("getitem")
@st.composite
def _getitem(draw: st.DrawFn) -> Case:
    x = draw(arrays())
    return Case((x,), {"index": draw(indices(x.shape))}, ops.getitem)


@operands_of("scatter")
@st.composite
def _scatter(draw: st.DrawFn) -> Case:
    shape = draw(shapes())
    taken = ops.getitem(Tensor(np.zeros(shape), requires_grad=True), draw(indices(shape)))
    places = [x.data for x in taken.inputs[1:]]
    return Case((draw(arrays(taken.shape)), *places), {**taken.params, "shape": shape})


@operands_of("concatenate")
@st.composite
def _concatenate(draw: st.DrawFn) -> Case:
    shape = draw(shapes(min_dims=1))
    axis = draw(st.integers(-len(shape), len(shape) - 1))
    lengths = draw(st.lists(st.integers(0, 3), min_size=1, max_size=3))
    sizes = [tuple(n if i == axis % len(shape) else side for i, side in enumerate(shape)) for n in lengths]
    return Case(tuple(draw(arrays(size)) for size in sizes), {"axis": axis})


@operands_of("stack")
@st.composite
def _stack(draw: st.DrawFn) -> Case:
    shape = draw(shapes(max_dims=2))
    args = draw(st.lists(arrays(shape), min_size=1, max_size=3))
    return Case(tuple(args), {"axis": draw(st.integers(-len(shape) - 1, len(shape)))})


@operands_of("pad")
@st.composite
def _pad(draw: st.DrawFn) -> Case:
    x = draw(arrays())
    width = st.integers(0, 2)
    pair = st.tuples(width, width)
    choices: list[SearchStrategy[Any]] = [width, pair]
    if x.ndim:
        choices.append(st.lists(pair, min_size=x.ndim, max_size=x.ndim))
    return Case((x,), {"pad_width": draw(st.one_of(choices)), "constant_values": draw(st.sampled_from((0, 1.5)))})


_one_or_two = st.one_of(st.integers(1, 2), st.tuples(st.integers(1, 2), st.integers(1, 2)))
_none_or_one = st.one_of(st.integers(0, 1), st.tuples(st.integers(0, 1), st.integers(0, 1)))


@st.composite
def _image(draw: st.DrawFn, leading: Shape, distinct: bool = False) -> Array:
    return draw(arrays((*leading, draw(st.integers(2, 4)), draw(st.integers(2, 4))), distinct=distinct))


@operands_of("windows")
@st.composite
def _windows(draw: st.DrawFn) -> Case:
    x = draw(_image(draw(shapes(max_dims=2, max_side=2))))
    return Case((x,), {"size": draw(_one_or_two), "stride": draw(_one_or_two), "padding": draw(_none_or_one)})


@operands_of("fold")
@st.composite
def _fold(draw: st.DrawFn) -> Case:
    unfolded = draw(_windows())
    x = draw(arrays(OPS["windows"].forward(*unfolded.args, **unfolded.params).shape))
    return Case((x,), {"shape": unfolded.args[0].shape, **unfolded.params})


@operands_of("conv2d")
@st.composite
def _conv2d(draw: st.DrawFn) -> Case:
    channels = draw(st.integers(1, 2))
    x = draw(_image((draw(st.integers(0, 2)), channels)))
    kernel = draw(arrays((draw(st.integers(1, 2)), channels, draw(st.integers(1, 2)), draw(st.integers(1, 2)))))
    return Case((x, kernel), {"stride": draw(_one_or_two), "padding": draw(_none_or_one)})


@operands_of("max_pool2d")
@st.composite
def _max_pool2d(draw: st.DrawFn) -> Case:
    x = draw(_image(draw(shapes(max_dims=2, max_side=2)), distinct=True))
    return Case((x,), {"size": draw(_one_or_two), "stride": draw(st.one_of(st.none(), _one_or_two))})


@st.composite
def _batch(draw: st.DrawFn, outputs: Domain, targets: Domain) -> Case:
    """Outputs for a batch, and targets of the same shape."""
    shape = draw(shapes(min_dims=2, max_dims=2, min_side=1))
    return Case((draw(arrays(shape, values=outputs)), draw(arrays(shape, values=targets))))


@operands_of("quadratic_cost", "softmax_cross_entropy")
def _quadratic_cost() -> SearchStrategy[Case]:
    return _batch(REALS, REALS)


@operands_of("cross_entropy_cost")
def _cross_entropy_cost() -> SearchStrategy[Case]:
    return _batch(Domain(0.0625, 0.9375), Domain(0, 1))


@operands_of("one_hot")
@st.composite
def _one_hot(draw: st.DrawFn) -> Case:
    classes = draw(st.integers(1, 4))
    labels = draw(hnp.arrays(draw(st.sampled_from((np.int64, np.uint8))), draw(st.integers(0, 3)),
                             elements=st.integers(0, classes - 1)))  # fmt: skip
    return Case((labels,), {"classes": classes})


@operands_of("dropout_mask")
@st.composite
def _dropout_mask(draw: st.DrawFn) -> Case:
    rng = np.random.default_rng(draw(st.integers(0, 9)))
    return Case((draw(arrays()),), {"p": draw(st.sampled_from((0.0, 0.5, 0.9))), "rng": rng})


# --- what must hold ---------------------------------------------------------------------------------------------------


def check_derivatives(f: Callable[..., Any], *inputs: Any, parameters: Any = None) -> None:
    """Check that first and second derivatives are right, and gradients the same bits when they are recorded as a graph.

    For properties of functions of your own. Arguments and errors are those of `check_gradients`.

    >>> @given(arrays((2, 3)))
    ... def test_swish(x):
    ...     check_derivatives(lambda x: x * ops.sigmoid(x), x)
    >>> test_swish()
    """
    check_gradients(f, *inputs, parameters=parameters)
    check_second_derivatives(f, *inputs, parameters=parameters)
    tensors = [_variable(np.asarray(x)) if _is_floating(x) else x for x in inputs]
    used = getattr(f, "parameters", list)() if parameters is None else parameters
    used = used.parameters() if hasattr(used, "parameters") else used
    wanted = [x for x in (*tensors, *used) if isinstance(x, Tensor) and x.requires_grad]
    out = f(*tensors)
    if out.requires_grad:
        v = _upstream(out)
        computed = grad(out, wanted, v, retain_graph=True)
        recorded = grad(out, wanted, v, create_graph=True)
        for x, a, b in zip(wanted, computed, recorded, strict=True):
            if (a.dtype, a.data.tobytes()) != (b.dtype, b.data.tobytes()):
                raise GradientError(
                    f"the gradient of {x} is {a}, but {b} with create_graph=True; "
                    "rules must compute the same from Tensors as from arrays"
                )


def check(case: Case) -> None:
    """Check that all derivatives of an op are right at these operands: the property that every op must have.

    That is what `check_derivatives` checks, and f(x, x) too where x is in the domain of all operands; gradients in
    float32, which must have that dtype and the values that they have in float64; that no rule writes into what it is
    given; and for an op without rules, that its result requires no gradients.

    Raises:
        GradientError: one of these does not hold.
    """
    op = case.op
    if op is None:
        raise TypeError("check: expected a case drawn from operands(op)")
    variables = [case.args[i] for i in case.places]
    if not variables:
        operands = [Tensor(x, requires_grad=_is_floating(x)) if isinstance(x, np.ndarray) else x for x in case.args]
        if not op.differentiable and case.apply(*operands).requires_grad:
            raise GradientError(f"{op.name} has no rules, but its result requires gradients")
        return
    check_derivatives(case, *variables)
    if op.domain is not None and len(variables) > 1:
        x, domains = variables[0], [op.domain[i] for i in case.places]
        if all(_fits(x, domain) for domain in domains):

            def twice(x: Tensor) -> Any:
                return case(*[x] * len(domains))

            twice.__name__ = f"{op.name} of one Tensor in {len(domains)} places"
            check_derivatives(twice, x)
    _check_float32(case, variables)
    _check_rules_write_nothing(case, variables)


def check_op(op: Op | Callable[..., Any] | str) -> None:
    """Draw operands of an op and `check` it with them. Errors are those of `operands` and `check`.

    >>> check_op("tanh")
    """

    @settings(report_multiple_bugs=False)
    @given(operands(op))
    def holds(case: Case) -> None:
        check(case)

    holds()


def _check_float32(case: Case, variables: Sequence[Array]) -> None:
    single, double = ([_variable(x.astype(dtype)) for x in variables] for dtype in (np.float32, np.float64))
    out, exact = case(*single), case(*double)
    assert case.op is not None
    if out.dtype == exact.dtype and "dtype" not in case.op.defaults:
        raise GradientError(f"{case}: the result is {out.dtype} for float32 operands; float32 must stay float32")
    v = _upstream(exact)
    for i, (a, b) in enumerate(zip(grad(out, single, v), grad(exact, double, v), strict=True)):
        allowed = 1e-5 * np.max(np.abs(b.data), initial=1)
        if a.dtype != np.float32 or not np.all(np.abs(a.data - b.data) <= allowed):
            raise GradientError(f"{case}: the gradient of input {i} in float32 is {a!r}, in float64 {b!r}")


def _check_rules_write_nothing(case: Case, variables: Sequence[Array]) -> None:
    out = case(*map(_variable, variables))
    assert case.op is not None
    if out.op is not case.op:
        return
    frozen = [_read_only(x.data) if isinstance(x, Tensor) else x for x in out.inputs]
    for i, (x, rule) in enumerate(zip(out.inputs, case.op.rules, strict=False)):
        if rule is not None and isinstance(x, Tensor) and x.requires_grad:
            try:
                rule(_read_only(_upstream(out)), _read_only(out.data), *frozen, **out.params)
            except ValueError as error:
                if "read-only" not in str(error):
                    raise
                raise GradientError(f"{case}: the rule of input {i} writes into an array that it was given") from error


def _is_floating(x: Any) -> bool:
    return isinstance(x, np.ndarray | Tensor) and x.dtype.kind == "f"


def _variable(x: Array) -> Tensor:
    return Tensor(x, requires_grad=True)


def _upstream(out: Tensor) -> Array:
    """A gradient to begin with, of numbers that differ."""
    return np.linspace(0.75, 1.25, out.size, dtype=out.dtype).reshape(out.shape)


def _read_only(x: Array) -> Array:
    x = x.view()
    x.flags.writeable = False
    return x


def _fits(x: Any, domain: Domain) -> bool:
    """Whether all numbers are in the domain; the bounds of `REALS` are for drawing only."""
    inside = domain[:2] == REALS[:2] or bool(np.all((domain.low <= x) & (x <= domain.high)))
    return inside and all(_apart(x, point) for point in domain.away)


# --- programs ---------------------------------------------------------------------------------------------------------


class Line(NamedTuple):
    """One line of a program: a function of the table, its operands (names of values, or constants), its parameters."""

    function: str
    operands: tuple[Any, ...]
    params: Mapping[str, Any] = {}

    def run(self, values: Mapping[str, Any]) -> Any:
        """What the function returns."""
        operands = [values[x] if isinstance(x, str) else x for x in self.operands]
        if self.function in ("concatenate", "stack"):
            operands = [operands]
        return _function(self.function)(*operands, **self.params)

    def __str__(self) -> str:
        operands = ", ".join(x if isinstance(x, str) else _text(x) for x in self.operands)
        if self.function in ("concatenate", "stack"):
            operands = f"[{operands}]"
        return f"{self.function}({', '.join([operands, *(f'{key}={_text(x)}' for key, x in self.params.items())])})"


@dataclass(frozen=True, eq=False)
class Program:
    """Straight-line code over the table: a function of Tensors, one for each of its inputs, that prints as Python.

    >>> Program((np.array([1.0, 2.0]),), (Line("exp", ("a",)), Line("mul", ("t0", "a"))))
    a = array([1., 2.])
    t0 = exp(a)
    t1 = mul(t0, a)
    """

    inputs: tuple[Array, ...]
    lines: tuple[Line, ...]

    def __call__(self, *tensors: Any) -> Any:
        """The value of the last line."""
        values = dict(zip("abcdefgh", tensors, strict=False))
        for i, line in enumerate(self.lines):
            values[f"t{i}"] = line.run(values)
        return values[f"t{len(self.lines) - 1}"]

    def __repr__(self) -> str:
        text = [f"{name} = {_text(x)}{_notes(x)}" for name, x in zip("abcdefgh", self.inputs, strict=False)]
        return "\n".join(text + [f"t{i} = {line}" for i, line in enumerate(self.lines)])

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text("\n" + repr(self))


def _function(name: str) -> Callable[..., Any]:
    """The function that a line of a program calls."""
    return getattr(ops, name) if name in ("getitem", "concatenate", "stack") else OPS[name].function


@st.composite
def programs(draw: st.DrawFn, max_lines: int = 6) -> Program:
    """Programs of up to so many lines: every line uses the value before it, and others that were computed earlier.

    So there are shared subexpressions, broadcasting, reductions, indexing, views and products of matrices; every
    elementwise op in the table takes part, a user's too. No value is large, and none is near a kink or a pole of an op
    that is applied to it.
    """
    whole = draw(st.sampled_from(((2,), (), (3,), (2, 3), (2, 2), (3, 1), (2, 1, 2), (0, 2))))
    numbers = grid(*[REALS] * draw(st.sampled_from((1, 2, 3))))
    sizes = draw(broadcastable_shapes(len(numbers), whole))
    inputs = tuple(draw(arrays(size, values=own)) for size, own in zip(sizes, numbers, strict=True))
    values: dict[str, Array] = dict(zip("abc", inputs, strict=False))
    lines: list[Line] = []
    for i in range(draw(st.sampled_from(range(1, max_lines + 1)))):
        steps = _steps(draw, draw(st.sampled_from(_step_ops())), values)
        possible = [(step, value) for step in steps if (value := _value(step, values)) is not None]
        line, values[f"t{i}"] = draw(st.sampled_from(possible or [_bounded(values)]))
        lines.append(line)
    return Program(inputs, tuple(lines))


_STRUCTURAL = """
    where clip matmul sum mean logsumexp max min softmax log_softmax
    reshape transpose broadcast_to pad getitem concatenate stack
    """.split()
_SMOOTH = "add sub mul div pow".split()  # no kink where x equals y


def _step_ops() -> list[Op]:
    """The ops that programs are made of."""
    return [
        op
        for op in OPS.values()
        if op.name in _STRUCTURAL
        or (
            op.differentiable
            and op.domain
            and len(op.domain) < 3
            and inspect.Parameter.empty not in op.defaults.values()
        )
    ]


def _steps(draw: st.DrawFn, op: Op, values: Mapping[str, Array]) -> Iterator[Line]:
    """The lines with an op that could come next; some may have shapes that do not fit."""
    last, x = list(values.items())[-1]
    pairs = [pair for other in values for pair in ((last, other), (other, last))]
    line = partial(Line, op.name)
    match op.name:
        case "where":
            mask = draw(hnp.arrays(bool, x.shape))
            yield from (line((mask, *pair)) for pair in pairs)
        case "clip":
            bounds = ((-1.0, 0.5), (0.125, 2.0), (-3.0, -0.5))
            yield from (line((last, *pair)) for pair in bounds if all(_apart(x, bound) for bound in pair))
        case "matmul":
            weights = draw(arrays((x.shape[-1], 2) if x.ndim else ()))
            yield from (line(operands) for operands in [*pairs, (last, weights)])
        case "sum" | "mean" | "logsumexp" | "max" | "min":
            params = {"axis": draw(axes(x.shape, empty=op.name == "sum")), "keepdims": draw(st.booleans())}
            if op.name not in ("max", "min") or _distinct(x):
                yield line((last,), params)
        case "softmax" | "log_softmax":
            yield from (line((last,), {"axis": i}) for i, n in enumerate(x.shape) if n)
        case "reshape":
            yield line((last,), {"shape": draw(st.sampled_from(_shapes_of_size(x.size)))})
        case "transpose":
            yield line((last,), {"axes": tuple(draw(st.permutations(range(x.ndim))))})
        case "broadcast_to":
            yield line((last,), {"shape": (2, *x.shape)})
        case "pad":
            yield line((last,), {"pad_width": draw(st.sampled_from((1, (0, 1), (2, 0))))})
        case "getitem":
            yield line((last,), {"index": draw(indices(x.shape))})
        case "concatenate" | "stack":
            axis = draw(st.integers(-1, 0))
            yield from (line(pair, {"axis": axis}) for pair in pairs)
        case _ if op.domain is not None and len(op.domain) == 1:
            yield from [line((last,))] * _fits(x, op.domain[0])
        case _:
            number = draw(st.sampled_from((2.0, 0.5, -1.5)))
            for pair in [*pairs, (last, number), (number, last)]:
                operands = [values[name] if isinstance(name, str) else name for name in pair]
                if all(map(_fits, operands, op.domain or ())) and (op.name in _SMOOTH or _apart(*operands)):
                    yield line(pair)


def _value(line: Line, values: Mapping[str, Array]) -> Array | None:
    """The value of a line, if the shapes fit and it is small, in size and in its numbers."""
    try:
        value = np.asarray(line.run(values))
    except (ValueError, IndexError):
        return None
    return value if value.size <= 36 and np.max(np.abs(value), initial=0) <= 50 else None


def _bounded(values: Mapping[str, Array]) -> tuple[Line, Array]:
    line = Line("tanh", ([*values][-1],))
    return line, line.run(values)


def _apart(x: Any, y: Any) -> bool:
    """Whether no two numbers meet, in any way to broadcast."""
    return bool(np.all(np.abs(np.subtract.outer(x, y)) >= 1 / 16))


def _distinct(x: Array) -> bool:
    return bool(np.all(np.diff(np.sort(x, axis=None)) >= 1 / 16))
