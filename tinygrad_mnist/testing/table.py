"""Operands of the ops of our own table that are not simply elementwise."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from hypothesis.strategies import SearchStrategy

from tinygrad_mnist import losses as losses  # its ops enter the table
from tinygrad_mnist import nn as nn  # likewise
from tinygrad_mnist import ops
from tinygrad_mnist.ops import NONZERO, OPS, POSITIVE, REALS, Domain
from tinygrad_mnist.tensor import Array, Tensor

from .cases import Case, elementwise, operands_of
from .strategies import (
    LAYOUTS,
    Shape,
    arrays,
    axes,
    broadcastable,
    broadcastable_shapes,
    indices,
    laid_out,
    matmul_operands,
    shapes,
    shapes_of_size,
)


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


@operands_of("bitwise_and", "bitwise_or", "bitwise_xor")
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


@operands_of("remainder", "fmod", "floor_divide")
@st.composite
def _remainder(draw: st.DrawFn) -> Case:
    """Quotients of either sign, no whole numbers: there is a jump."""
    x, y = draw(broadcastable(Domain(-4, 4), Domain(-4, 4, away=(0.0,))))
    if draw(st.booleans()) and y.size:
        y = y.flat[0]
    whole = np.rint(np.divide(*np.broadcast_arrays(x, y)))
    return Case((np.asarray(whole * y + y * 0.375), y if isinstance(y, np.ndarray) else y.item()))


@operands_of("prod")
def _prod() -> SearchStrategy[Case]:
    return _sum()


@operands_of("cumsum", "cumprod")
@st.composite
def _cumsum(draw: st.DrawFn) -> Case:
    x = draw(arrays())
    return Case((x,), {"axis": draw(st.sampled_from((None, *range(-x.ndim, x.ndim))))})


@operands_of("sort", "ranks")
@st.composite
def _sort(draw: st.DrawFn) -> Case:
    x = draw(arrays(shapes(min_dims=1), distinct=True))
    return Case((x,), {"axis": draw(st.sampled_from((None, *range(-x.ndim, x.ndim))))})


@operands_of("intervals")
@st.composite
def _intervals(draw: st.DrawFn) -> Case:
    return Case((draw(arrays()), np.arange(draw(st.integers(2, 4))) - 0.5))


@operands_of("var", "std")
@st.composite
def _var(draw: st.DrawFn) -> Case:
    """Never of equal elements, where the deviation has a kink."""
    x = draw(arrays(shapes(min_dims=1, min_side=2), distinct=True))
    axis = draw(axes(x.shape))
    params = {"keepdims": draw(st.booleans()), "ddof": draw(st.sampled_from((0, 1, 0.5)))}
    return Case((x,), {"axis": None if axis == () else axis, **params})


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
    shape = draw(st.sampled_from(shapes_of_size(x.size)))
    i = draw(st.integers(0, 2))
    if math.prod(shape[:i] + shape[i + 1 :]) and i < len(shape):
        shape = (*shape[:i], -1, *shape[i + 1 :])
    return Case((x,), {"shape": shape})


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


@operands_of("diagonal")
@st.composite
def _diagonal(draw: st.DrawFn) -> Case:
    x = draw(arrays(shapes(min_dims=2)))
    axis1, axis2 = draw(st.permutations(range(x.ndim)))[:2]
    return Case((x,), {"offset": draw(st.integers(-1, 1)), "axis1": axis1, "axis2": axis2 - x.ndim})


@operands_of("einsum")
@st.composite
def _einsum(draw: st.DrawFn) -> Case:
    """Up to three operands whose axes have names, some of size 1 where others are longer."""
    count = draw(st.sampled_from((1, 2, 2, 2, 3)))
    terms = [draw(st.permutations("ijkl"))[: draw(st.integers(1, 3))] for _ in range(count)]
    result = draw(st.permutations("ijkl"))[: draw(st.integers(0, 3))]
    terms = [[name for name in term if _others(name, i, terms, result)] for i, term in enumerate(terms)]
    result = [name for name in result if any(name in term for term in terms)]
    sizes = {name: draw(st.sampled_from((2, 3, 1, 2, 3, 0))) for name in "ijkl"}
    thin = st.sampled_from((False,) * 7 + (True,))
    args = [draw(arrays(tuple(min(sizes[name], 1) if draw(thin) else sizes[name] for name in term))) for term in terms]
    subscripts = f"{','.join(map(''.join, terms))}->{''.join(result)}"
    return Case(tuple(args), {"subscripts": subscripts})


def _others(name: str, i: int, terms: list[list[str]], result: list[str]) -> bool:
    return name in result or any(name in term for k, term in enumerate(terms) if k != i)


def _orthogonal(rng: np.random.Generator, stack: Shape, n: int) -> Array:
    return np.linalg.qr(rng.normal(size=(*stack, n, n)))[0]


@st.composite
def _matrices(draw: st.DrawFn, square: bool = True, symmetric: bool = False, values: tuple[float, ...] = ()) -> Array:
    """Matrices whose singular values or eigenvalues are known, and not near each other or 0."""
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    stack = draw(st.sampled_from(((), (), (), (2,), (1,), (0,))))
    m, n = draw(st.sampled_from(((2, 2), (3, 3), (2, 2), (1, 1), (2, 3), (3, 2), (1, 3))[: 4 if square else 7]))
    k = min(m, n)
    u, v = _orthogonal(rng, stack, m), _orthogonal(rng, stack, n)
    numbers = rng.permutation(values or (0.5, 1.25, 2.0, 3.0))[:k]
    x = np.asarray((u[..., :k] * numbers) @ (u.mT if symmetric else v[..., :k].mT))
    return laid_out(x, draw(st.sampled_from(LAYOUTS)))


@operands_of("inv", "det", "cofactors", "slogdet")
def _inv() -> SearchStrategy[Case]:
    return _matrices().map(lambda x: Case((x,)))


@operands_of("svdvals", "pinv")
def _svdvals() -> SearchStrategy[Case]:
    return _matrices(square=False).map(lambda x: Case((x,)))


@operands_of("qr")
def _qr() -> SearchStrategy[Case]:
    return _matrices(square=False).map(lambda x: Case((x if x.shape[-2] >= x.shape[-1] else x.mT,)))


@operands_of("cholesky")
def _cholesky() -> SearchStrategy[Case]:
    return _matrices(symmetric=True).map(lambda x: Case((x,)))


@operands_of("eigvalsh")
@st.composite
def _eigvalsh(draw: st.DrawFn) -> Case:
    x = draw(_matrices(symmetric=True, values=(-2.0, -0.75, 0.5, 2.0)))
    return Case((x,), {"UPLO": draw(st.sampled_from("LU"))})


@operands_of("eigenvectors")
def _eigenvectors() -> SearchStrategy[Case]:
    return _eigvalsh().map(lambda case: _steady("eigenvectors", case))


@operands_of("singular_vectors")
def _singular_vectors() -> SearchStrategy[Case]:
    return _svdvals().map(lambda case: _steady("singular_vectors", case))


def _steady(name: str, case: Case) -> Case:
    """Vectors with the signs that they have here: of a matrix as good as the same LAPACK may give the opposite ones."""
    here = OPS[name].forward(*case.args, **case.params)

    def steady(x: Any, **params: Any) -> Any:
        vectors = OPS[name].function(x, **params)
        return vectors * ops.sign(ops.sum(vectors * here.astype(vectors.dtype), -2, True))

    return Case(case.args, case.params, steady)


@operands_of("solve")
@st.composite
def _solve(draw: st.DrawFn) -> Case:
    x = draw(_matrices())
    stack, _ = draw(broadcastable_shapes(2, x.shape[:-2]))
    return Case((x, draw(arrays((*stack, x.shape[-1], draw(st.integers(0, 2)))))))


@operands_of("norm")
@st.composite
def _norm(draw: st.DrawFn) -> Case:
    x = draw(arrays(shapes(min_dims=1), values=NONZERO))
    pairs = itertools.permutations(range(x.ndim), 2)
    return Case((x,), {"axis": draw(st.sampled_from([None, *range(-x.ndim, x.ndim), *pairs]))})


@operands_of("embedding")
@st.composite
def _embedding(draw: st.DrawFn) -> Case:
    weight = draw(arrays(shapes(min_dims=2, max_dims=2, min_side=1)))
    indices = draw(hnp.arrays(np.int64, draw(shapes(max_dims=2)), elements=st.integers(0, len(weight) - 1)))
    unused = sorted(set(range(len(weight))) - set(indices.ravel().tolist()))  # the padding row has no gradient
    return Case((weight, indices), {"padding_idx": draw(st.sampled_from((None, *unused)))})


@operands_of("negative_log_likelihood")
@st.composite
def _negative_log_likelihood(draw: st.DrawFn) -> Case:
    shape = draw(shapes(min_dims=1, min_side=1))
    return Case((draw(arrays(shape)), draw(arrays(shape))))
