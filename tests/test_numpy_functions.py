"""NumPy's functions that only move, join, multiply or decompose: on Tensors as on arrays, with right gradients."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import tinygrad_mnist as tg
from tinygrad_mnist import Tensor, grad, interop
from tinygrad_mnist.gradcheck import check_gradients

from .helpers import refused, variable

rng = np.random.default_rng(5)
OPERANDS: dict[str, Any] = {
    "o": np.array(1.5),
    "v": np.array([0.5, -1.25, 2.0]),
    "w": np.array([1.5, 0.75, -0.5, 1.0]),
    "m": rng.uniform(-2, 2, (2, 3)),
    "n": rng.uniform(-2, 2, (3, 2)),
    "s": np.array([[2.0, 0.3, -0.5], [0.1, -1.5, 0.2], [0.4, 0.6, 3.0]]),
    "p": np.array([[3.0, 0.5, 0.2], [0.5, 2.0, -0.3], [0.2, -0.3, 1.0]]),
    "x": rng.uniform(-2, 2, (2, 3, 4)),
    "y": rng.uniform(-2, 2, (4, 3, 2)),
    "q": rng.uniform(-1, 1, (2, 3, 3)) + 2 * np.eye(3),
    "e": np.zeros((0, 3)),
    "h": rng.uniform(-2, 2, (1, 1, 3, 1)),
}
CALLS = [
    line.strip()
    for line in """
    np.swapaxes(x, 0, 2)
    np.swapaxes(x, axis1=-1, axis2=0)
    np.swapaxes(e, 0, 1)
    np.moveaxis(x, 0, -1)
    np.moveaxis(x, (0, 1), (-1, 0))
    np.moveaxis(a=x, source=[2], destination=[0])
    np.rollaxis(x, 2)
    np.rollaxis(x, -2, start=3)
    np.matrix_transpose(x)
    np.linalg.matrix_transpose(m)
    np.transpose(x, (2, 0, 1))
    np.permute_dims(x, (2, 0, 1))
    np.squeeze(h)
    np.squeeze(h, 0)
    np.squeeze(h, axis=(0, -1))
    np.squeeze(o)
    np.expand_dims(m, 1)
    np.expand_dims(m, axis=(0, -1))
    np.expand_dims(o, 0)
    np.ravel(x)
    np.ravel(o)
    np.ravel(x, "F")
    np.ravel(m, order="F")
    x.flatten("F")
    np.ravel(e)
    np.atleast_1d(o)
    np.atleast_1d(o, v, 2.0)
    np.atleast_2d(v)
    np.atleast_2d(o, m)
    np.atleast_3d(v)
    np.atleast_3d(m)
    np.atleast_3d(o, x)
    np.broadcast_arrays(v, o, m)
    np.broadcast_arrays(m)
    np.meshgrid(v, w)
    np.meshgrid(v, w, indexing="ij")
    np.meshgrid(v, w, o, sparse=True)
    np.meshgrid(v)
    np.meshgrid(v, w, copy=False)
    np.flip(x)
    np.flip(x, 1)
    np.flip(x, axis=(0, -1))
    np.flip(o)
    np.fliplr(x)
    np.flipud(v)
    np.rot90(m)
    np.rot90(m, 2)
    np.rot90(m, k=-1)
    np.rot90(m, 4)
    np.rot90(x, 3, (1, 2))
    np.rot90(x, 1, axes=(2, 0))
    np.tile(v, 2)
    np.tile(m, (2, 1, 2))
    np.tile(o, 3)
    np.tile(m, reps=0)
    np.repeat(m, 2)
    np.repeat(m, 2, 1)
    np.repeat(m, [0, 2], axis=0)
    np.repeat(o, 3)
    np.roll(x, 1)
    np.roll(x, -2, 1)
    np.roll(x, (1, 5), axis=(0, 2))
    np.roll(e, 1)
    np.resize(m, (2, 4))
    np.resize(m, 4)
    np.delete(m, 1)
    np.delete(m, [0, 2], 1)
    np.delete(x, slice(1, 3), axis=2)
    np.delete(v, np.array([True, False, True]))
    np.diag(v)
    np.diag(v, 1)
    np.diag(v, k=-2)
    np.diag(m)
    np.diag(s, 1)
    np.diagflat(m)
    np.diagflat(v, -1)
    np.diagonal(s)
    np.diagonal(m, 1)
    np.diagonal(x, -1, 2, 1)
    np.linalg.diagonal(x, offset=1)
    np.trace(s)
    np.trace(x, 1)
    np.trace(x, offset=-1, axis1=1, axis2=2)
    np.linalg.trace(x)
    np.linalg.trace(x, offset=1)
    np.tril(s)
    np.tril(x, 1)
    np.tril(v)
    np.triu(m, k=-1)
    np.triu(e)
    np.triu(v, 1)
    np.take(m, [0, 0, 5])
    np.take(x, [[1, 0], [2, -1]], 1)
    np.take(x, 1, axis=-1)
    np.take(m, [], 0)
    np.take_along_axis(m, np.array([[0, 0, 2], [1, 1, 1]]), 1)
    np.take_along_axis(m, np.array([[1, 0, 1]]), axis=0)
    np.take_along_axis(m, np.array([3, 3]), None)
    np.take_along_axis(x, np.argsort(x, 1), 1)
    np.take_along_axis(x, np.argmax(x, 2, keepdims=True), -1)
    np.compress([True, False, True], m, axis=1)
    np.compress([False, True], v)
    np.compress(v > 0, v)
    np.extract(m > 0, m)
    np.pad(m, 1)
    np.pad(m, ((1, 0), (0, 2)), constant_values=2.5)
    np.pad(m, 2, "reflect")
    np.pad(v, (4, 1), mode="wrap")
    np.pad(x, ((0, 0), (1, 2), (0, 1)), "edge")
    np.pad(m, pad_width=1, mode="symmetric")
    np.vstack([m, v])
    np.vstack((v, v))
    np.vstack([o, 2.0])
    np.vstack(tup=[m, m])
    np.vstack(m)
    np.hstack([v, w])
    np.hstack([m, m])
    np.hstack([o, v])
    np.hstack(m)
    np.dstack([m, m])
    np.dstack([v, v])
    np.column_stack([v, n])
    np.column_stack((v, v))
    np.column_stack(m)
    np.concat([m, m])
    np.append(m, v)
    np.append(m, m, 0)
    np.append(v, [1.0, 2.0])
    np.append(v, 3)
    np.append(arr=m, values=m, axis=1)
    np.insert(v, 1, o)
    np.insert(m, 1, v, 0)
    np.insert(m, [0, 2], 5.0, axis=1)
    np.insert(m, [1], [[1.0], [2.0]], axis=1)
    np.insert(v, slice(0, 2), 9)
    np.insert(m, 2, o)
    np.insert(np.arange(3.0), 1, o)
    np.block([m, m])
    np.block([[m, m], [v, v]])
    np.block([[s, n], [m, np.zeros((2, 2))]])
    np.block([[m], [1.0, 2.0, o]])
    np.block([v, o])
    np.block(m)
    np.split(v, 3)
    np.split(w, [1, 3])
    np.split(x, 2, axis=2)
    np.split(x, [2, 1], 1)
    np.array_split(w, 3)
    np.array_split(x, 5, -1)
    np.hsplit(x, 3)
    np.hsplit(w, 2)
    np.vsplit(m, 2)
    np.dsplit(x, [1])
    np.dot(v, v)
    np.dot(m, v)
    np.dot(m, n)
    np.dot(o, m)
    np.dot(2.0, m)
    np.dot(m, [1.0, 2.0, 3.0])
    np.dot(x, w)
    np.dot(x, y.transpose(1, 0, 2))
    np.dot(m, x.transpose(2, 1, 0))
    np.dot(v, x[:, :, :1])
    np.dot(e, v)
    np.dot(np.ones((3, 2)), m)
    np.inner(v, v)
    np.inner(m, m)
    np.inner(x, w)
    np.inner(o, m)
    np.inner(m, 2.0)
    np.vdot(m, n)
    np.vdot(o, o)
    np.outer(v, w)
    np.outer(m, o)
    np.outer(v, 2.0)
    np.linalg.outer(v, w)
    np.tensordot(x, y, ([2], [0]))
    np.tensordot(x, y, axes=([2, 0], [0, 2]))
    np.tensordot(m, n, 1)
    np.tensordot(m, n, axes=0)
    np.tensordot(m, m)
    np.tensordot(m, n, (1, 0))
    np.linalg.tensordot(m, n, axes=1)
    np.tensordot(e, s, 1)
    np.tensordot(o, m, 0)
    np.einsum("ij,jk->ik", m, n)
    np.einsum("ij,jk", m, n)
    np.einsum("ii", s)
    np.einsum("ii->i", s)
    np.einsum("ij->", m)
    np.einsum("ij->ji", m)
    np.einsum("ji", m)
    np.einsum("ij,kj,k->i", m, m, m[:, 0], optimize=True)
    np.einsum("...ij,...jk->...ik", q, s)
    np.einsum("...i,...i", x, w)
    np.einsum("i...->...", x)
    np.einsum("...", m)
    np.einsum("i, i -> i", v, v)
    np.einsum("ij,ij->j", m, v[None])
    np.einsum("ij,ik->jk", m, m[:1])
    np.einsum("i,j->ij", v, w)
    np.einsum("iij->ij", q.transpose(1, 2, 0))
    np.einsum("iii->", q[:, :2, :2])
    np.einsum(",i", o, v)
    np.einsum("ijk,ilk->jl", x, x[:, :2])
    np.einsum("bij,bjk->bik", q, x)
    np.einsum(m, [0, 1], n, [1, 2])
    np.einsum(m, [1, 0], n, [0, 2], [2, 1])
    np.einsum(x, [..., 30, 2], w, [2])
    np.kron(m, n)
    np.kron(v, m)
    np.kron(x, v)
    np.kron(o, m)
    np.cross(v, v[::-1])
    np.cross(n.T, v)
    np.cross(n, n[::-1], axis=0)
    np.cross(n, m, axisa=0, axisb=1, axisc=0)
    np.linalg.cross(m, v)
    np.linalg.cross(n, n[::-1], axis=0)
    np.convolve(v, w)
    np.convolve(w, v, "same")
    np.convolve(v, w, "same")
    np.convolve(w, v, mode="valid")
    np.convolve(v, w, "valid")
    np.convolve(o, v)
    np.convolve(w, w[:2], "same")
    np.correlate(v, w)
    np.correlate(w, v)
    np.correlate(w, v, "full")
    np.correlate(v, w, "full")
    np.correlate(v, w, mode="same")
    np.correlate(w, v, "same")
    np.correlate(w, w[:2], "same")
    np.correlate(w[:2], w, "same")
    np.vecdot(m, v)
    np.linalg.vecdot(m, v)
    np.linalg.vecdot(n, n, axis=0)
    np.linalg.matmul(m, n)
    np.linalg.multi_dot([m, n])
    np.linalg.multi_dot([v, n, m, s, v])
    np.linalg.multi_dot([m, s, n, m])
    np.linalg.matrix_power(s, 0)
    np.linalg.matrix_power(s, 1)
    np.linalg.matrix_power(q, 5)
    np.linalg.matrix_power(s, n=-2)
    np.linalg.inv(s)
    np.linalg.inv(q)
    np.linalg.solve(s, v)
    np.linalg.solve(q, v)
    np.linalg.solve(s, n)
    np.linalg.solve(q, n)
    np.linalg.solve(q, x)
    np.linalg.solve(np.eye(3), v)
    np.linalg.det(s)
    np.linalg.det(q)
    np.linalg.slogdet(s)
    np.linalg.slogdet(q)
    np.linalg.cholesky(p)
    np.linalg.cholesky(p, upper=True)
    np.linalg.eigh(p)
    np.linalg.eigh(p, "U")
    np.linalg.eigh(s)
    np.linalg.eigvalsh(p)
    np.linalg.eigvalsh(s, UPLO="U")
    np.linalg.svd(m, full_matrices=False)
    np.linalg.svd(n, False)
    np.linalg.svd(s)
    np.linalg.svd(x, compute_uv=False)
    np.linalg.svdvals(x)
    np.linalg.qr(n)
    np.linalg.qr(m)
    np.linalg.qr(q)
    np.linalg.qr(x.transpose(0, 2, 1), mode="r")
    np.linalg.qr(x)
    np.linalg.pinv(m)
    np.linalg.pinv(x)
    np.linalg.pinv(m, 1e-3)
    np.linalg.pinv(m, rcond=1e-3)
    np.linalg.lstsq(n, v)
    np.linalg.lstsq(n, s)
    np.linalg.lstsq(m, v[:2], rcond=None)
    np.linalg.cond(s)
    np.linalg.cond(q, -2)
    np.linalg.cond(s, 1)
    np.linalg.cond(s, "fro")
    np.linalg.tensorinv(q.reshape(6, 3, 1)[:3, :, :].reshape(3, 3, 1), ind=1)
    np.linalg.tensorsolve(s.reshape(3, 3, 1), v)
    np.linalg.norm(v)
    np.linalg.norm(x)
    np.linalg.norm(o)
    np.linalg.norm(v, 1)
    np.linalg.norm(v, 2)
    np.linalg.norm(v, 3)
    np.linalg.norm(v, -1)
    np.linalg.norm(v, 0.5)
    np.linalg.norm(v, np.inf)
    np.linalg.norm(v, -np.inf)
    np.linalg.norm(x, axis=1)
    np.linalg.norm(x, axis=-1, keepdims=True)
    np.linalg.norm(x, 3, 0)
    np.linalg.norm(x, 1, axis=2, keepdims=True)
    np.linalg.norm(m, "fro")
    np.linalg.norm(m, "nuc")
    np.linalg.pinv(m, rtol=1e-12)
    np.linalg.norm(m, 1)
    np.linalg.norm(m, -1)
    np.linalg.norm(m, 2)
    np.linalg.norm(m, -2)
    np.linalg.norm(m, ord=np.inf)
    np.linalg.norm(m, -np.inf)
    np.linalg.norm(x, axis=(0, 2))
    np.linalg.norm(x, "fro", axis=(2, 0), keepdims=True)
    np.linalg.norm(x, 2, axis=(0, 1), keepdims=True)
    np.linalg.norm(x, 1, (0, 1))
    np.linalg.norm(x, np.inf, (0, 1))
    np.linalg.norm(x, keepdims=True)
    np.linalg.norm(e)
    np.linalg.norm(e, axis=1)
    np.linalg.matrix_norm(x)
    np.linalg.matrix_norm(x, ord="nuc", keepdims=True)
    np.linalg.vector_norm(x)
    np.linalg.vector_norm(x, axis=(0, 2), ord=3)
    np.linalg.vector_norm(x, axis=1, keepdims=True, ord=1)
    """.strip().splitlines()
]
if hasattr(np, "matvec"):  # NumPy 2.2
    CALLS += ["np.unstack(x)", "np.unstack(x, axis=-1)", "np.matvec(q, v)", "np.matvec(m, v)", "np.vecmat(v, q)"]


def operands_of(call: str, dtype: Any = np.float64) -> dict[str, Any]:
    """Those that the call names, as the compiler finds them."""
    names = compile(call, call, "eval").co_names
    return {name: x.astype(dtype) for name, x in OPERANDS.items() if name in names}


def parts(value: Any) -> list[Any]:
    return [part for item in value for part in parts(item)] if isinstance(value, list | tuple) else [value]


def called(call: str, operands: dict[str, Any]) -> Any:
    return eval(call, {"np": np, **operands})


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("call", CALLS)
def test_tensors_give_what_arrays_give(call, dtype):
    """Values, shapes, dtypes, and whether it is a list, a tuple or one of NumPy's named tuples."""
    arrays = operands_of(call, dtype)
    expected = called(call, arrays)
    for requires_grad in (True, False):
        tensors = {name: Tensor(x, requires_grad=requires_grad) for name, x in arrays.items()}
        result = called(call, tensors)
        assert type(result) is (type(expected) if isinstance(expected, list | tuple) else Tensor)
        assert len(parts(result)) == len(parts(expected))
        for a, b in zip(parts(result), parts(expected), strict=True):
            assert np.shape(a) == np.shape(b)
            if isinstance(a, Tensor):
                assert (a.dtype == np.asarray(b).dtype) or (dtype == np.float32 and a.dtype == np.float32)
                tolerance = 1e-12 if dtype == np.float64 else 2e-5
                assert_allclose(a.data, b, rtol=tolerance, atol=tolerance)
        tracked = [a for a in parts(result) if isinstance(a, Tensor) and a.requires_grad]
        assert bool(tracked) == requires_grad


@pytest.mark.parametrize("call", [call for call in CALLS if len(operands_of(call)) > 1])
def test_dtypes_are_promoted_as_numpy_does(call):
    arrays = operands_of(call)
    for single in arrays:
        mixed = {name: x.astype(np.float32) if name == single else x for name, x in arrays.items()}
        result = called(call, {name: Tensor(x, requires_grad=True) for name, x in mixed.items()})
        for a, b in zip(parts(result), parts(called(call, mixed)), strict=True):
            assert not isinstance(a, Tensor) or a.dtype == b.dtype
        flat = tg.concatenate([a for a in parts(result) if isinstance(a, Tensor)], axis=None)
        assert flat.requires_grad


@pytest.mark.parametrize("call", CALLS)
def test_gradients_are_slopes(call):
    arrays = operands_of(call)
    if not any(x.size for x in arrays.values()):
        return

    def flat(*tensors: Any) -> Any:
        result = parts(called(call, dict(zip(arrays, tensors, strict=True))))
        return tg.concatenate([r for r in result if isinstance(r, Tensor)], axis=None)

    check_gradients(flat, *arrays.values())


@pytest.mark.parametrize("call", CALLS)
def test_a_compiled_step_computes_the_same(call):
    arrays = operands_of(call)

    def step(*tensors: Any) -> Any:
        result = parts(called(call, dict(zip(arrays, tensors, strict=True))))
        flat = tg.concatenate([r for r in result if isinstance(r, Tensor)], axis=None)
        return flat, grad((flat * flat).sum(), list(tensors))

    other = [
        Tensor(x * 1.0625 + 0.03125 * np.eye(*x.shape) if x.ndim == 2 else x * 1.0625, requires_grad=True)
        for x in arrays.values()
    ]
    replayed = tg.compile(step)
    first = [Tensor(x, requires_grad=True) for x in arrays.values()]
    for tensors in (first, other, first):  # recorded, checked, replayed
        flat, gradients = replayed(*tensors)
        expected, slopes = step(*tensors)
        assert_array_equal(flat.data, expected.data)
        for a, b in zip(gradients, slopes, strict=True):
            assert_array_equal(a.data, b.data)


# --- special points ---


def slope(function: Any, *at: Any) -> Any:
    """The gradient of the sum of a function, with respect to the first argument."""
    x = variable(at[0])
    return grad(function(x, *at[1:]).sum(), x).data


def test_the_norm_at_zero_has_the_derivative_zero():
    assert_array_equal(slope(np.linalg.norm, np.zeros(3)), np.zeros(3))
    assert_array_equal(slope(lambda x: np.linalg.norm(x, axis=1), [[0.0, 0.0], [3.0, 4.0]]), [[0, 0], [0.6, 0.8]])
    for ord in (1, 2, 3, 1.5, np.inf):
        assert_array_equal(slope(np.linalg.norm, np.zeros(3), ord), np.zeros(3))
    assert_array_equal(slope(np.linalg.norm, np.zeros((2, 2)), "fro"), np.zeros((2, 2)))


@pytest.mark.parametrize("rank", [0, 1, 2, 3])
def test_the_determinant_of_singular_matrices_has_its_cofactors_as_gradient(rank):
    """Though no inverse exists; of minors that are computed one by one."""
    x = np.array([[2.0, 1.0, -1.0], [0.5, 3.0, 1.0], [1.0, -2.0, 0.5]])
    x[rank:] = x[0] * np.array([[2.0], [-1.0], [0.5]])[: 3 - rank] if rank else 0
    cofactors = np.zeros((3, 3))
    for i, j in np.ndindex(3, 3):
        cofactors[i, j] = (-1) ** (i + j) * np.linalg.det(np.delete(np.delete(x, i, 0), j, 1))
    assert_allclose(slope(np.linalg.det, x), cofactors, atol=1e-13)


def test_the_determinant_of_a_number_and_of_nothing():
    assert_array_equal(slope(np.linalg.det, [[0.0]]), [[1]])
    assert slope(np.linalg.det, np.zeros((0, 0))).shape == (0, 0)


def test_the_logarithm_of_a_determinant_that_overflows():
    x = 1e3 * np.eye(200)
    with np.errstate(over="ignore"):
        assert np.isinf(np.linalg.det(x))
    sign, size = np.linalg.slogdet(variable(-x))
    assert (sign.item(), size.item()) == (1, pytest.approx(200 * np.log(1e3)))
    assert_allclose(slope(lambda x: np.linalg.slogdet(x)[1], x), np.eye(200) / 1e3)


def test_values_of_equal_eigenvalues_and_singular_values_have_derivatives():
    """Only vectors have none."""
    assert_array_equal(slope(np.linalg.eigvalsh, np.eye(3)), np.eye(3))
    assert_allclose(slope(lambda x: np.linalg.eigh(x)[0], np.eye(3)), np.eye(3))
    for part in "lu":  # as LAPACK has it, which does not ask for capitals
        for function in (lambda x, part: np.linalg.eigh(x, part)[1] ** 2, np.linalg.eigvalsh):
            small, large = (slope(lambda x, f=function, p=p: f(x, p), OPERANDS["p"]) for p in (part, part.upper()))
            assert_allclose(small, large)
    assert_allclose(slope(np.linalg.svdvals, np.eye(3)), np.eye(3), atol=1e-15)
    assert_allclose(slope(lambda x: np.linalg.norm(x, "nuc"), 2 * np.eye(3)), np.eye(3), atol=1e-15)
    with np.errstate(all="ignore"):
        assert not np.isfinite(slope(lambda x: np.linalg.eigh(x)[1], np.eye(2))).all()


@pytest.mark.parametrize(("triangle", "call"), [
    (np.tril, np.linalg.eigvalsh),
        (np.tril, lambda x: np.linalg.eigvalsh(x, "l")), (np.triu, lambda x: np.linalg.eigvalsh(x, "U")),
    (np.tril, np.linalg.cholesky), (np.triu, lambda x: np.linalg.cholesky(x, upper=True)),
    (np.tril, lambda x: np.linalg.eigh(x)[1] ** 2), (np.triu, lambda x: np.linalg.eigh(x, "u")[1] ** 2),
])  # fmt: skip
def test_only_the_triangle_that_is_read_gets_a_gradient(triangle, call):
    x = variable(OPERANDS["p"] + 9 * (1 - triangle(np.ones((3, 3)))))
    out = call(x)
    assert_allclose(out.data, call(OPERANDS["p"]))
    weights = np.arange(1.0, 1 + out.size) ** 2  # without squares, a sum of squared eigenvectors is a constant
    (out * weights.reshape(out.shape)).sum().backward()
    assert_array_equal(x.grad.data, triangle(x.grad.data))
    assert np.all(x.grad.data[triangle(np.ones((3, 3), bool))] != 0)


def test_a_symmetric_matrix_that_was_computed_gets_the_gradient_of_both_triangles():
    """What one triangle gets is right for whoever made both of them."""
    check_gradients(lambda b: np.linalg.eigvalsh(b @ b.T), OPERANDS["s"])
    check_gradients(lambda b: np.linalg.cholesky(b @ b.T + np.eye(3)), OPERANDS["s"])


def test_pinv_of_a_matrix_that_lacks_a_rank():
    """Along the changes that keep the rank; and what would drop a value that is not 0 is refused."""
    x, y = np.array([[1.0, 2.0], [2.0, 4.0], [0.5, 1.0]]), np.array([1.0, -1.0])
    check_gradients(lambda u, v: np.linalg.pinv(np.outer(u, v)), x[:, 0], y)
    with refused(ValueError, "pinv", "rcond=0.6"):
        np.linalg.pinv(variable(np.diag([1.0, 0.5])), 0.6)


def test_powers_of_a_matrix_that_are_constant_have_gradient_zero():
    assert_array_equal(slope(np.linalg.matrix_power, OPERANDS["s"], 0), np.zeros((3, 3)))


def test_places_that_are_taken_twice_add_up():
    assert_array_equal(slope(np.take, [1.0, 2.0, 3.0], [0, 0, 2]), [2, 0, 1])
    assert_array_equal(slope(np.repeat, [1.0, 2.0], [3, 0]), [3, 0])
    assert_array_equal(slope(np.tile, [1.0, 2.0], (2, 2)), [4, 4])
    assert_array_equal(slope(lambda x: np.einsum("ii", x), np.eye(2)), np.eye(2))


def test_infinities_beside_the_zeros_that_are_put_in():
    """0 * inf would be NaN in the values, and in the gradient."""
    assert_array_equal(np.tril(variable([[1.0, np.inf], [np.nan, 2.0]])).data, [[1, 0], [np.nan, 2]])
    assert_array_equal(np.diag(variable([np.inf, 1.0])).data, [[np.inf, 0], [0, 1]])


@pytest.mark.parametrize(
    "call",
    [
        "np.swapaxes(x, 0, 1)", "np.moveaxis(x, 0, 2)", "np.squeeze(h)", "np.expand_dims(x, 0)", "np.ravel(x)",
        "np.atleast_2d(v)", "np.flip(x, 1)", "np.rot90(m)", "np.rot90(m, 4)", "np.diagonal(s)", "np.diag(s)",
        "np.split(x, 2, 2)[1]", "np.hsplit(m, 3)[0]", "np.matrix_transpose(x)", "x.squeeze()", "x.swapaxes(0, 1)",
        "x.ravel()", "x.diagonal()", "np.einsum('ij->ji', m)", "np.einsum('ii->i', s)",
    ],
)  # fmt: skip
def test_views_are_views_and_know_of_changes(call):
    operands = {name: Tensor(x.copy()) for name, x in operands_of(call).items()}
    result = called(call, operands)
    (x,) = operands.values()
    assert np.shares_memory(result.data, x.data)
    y = Tensor(np.ones(result.shape), requires_grad=True)
    z = (result * y).sum()
    x.data *= 2
    with refused(RuntimeError, "changed in place"):
        z.backward()


def test_methods_are_the_functions():
    x, m = variable(OPERANDS["x"]), variable(OPERANDS["m"])
    a, b = x.data, m.data
    pairs = [
        (x.flatten(), a.flatten()), (x.ravel(), a.ravel()), (x[None].squeeze(), a), (x[None].squeeze(0), a),
        (x.swapaxes(0, -1), a.swapaxes(0, -1)), (m.dot(b.T), b.dot(b.T)), (m.diagonal(1), b.diagonal(1)),
        (m.trace(), b.trace()), (x.repeat(2, axis=1), a.repeat(2, axis=1)), (x.take([0, 5]), a.take([0, 5])),
        (x.take([0], axis=2), a.take([0], axis=2)), (m.abs(), np.abs(b)),
    ]  # fmt: skip
    for ours, numpys in pairs:
        assert ours.requires_grad
        assert_array_equal(ours.data, numpys)
    assert not np.shares_memory(x.flatten().data, a)


def test_integers_and_booleans_keep_their_dtype():
    n, b = Tensor(np.arange(6).reshape(2, 3)), Tensor(np.array([[True, False], [False, True]]))
    for call in (np.tril, np.diagonal, np.fliplr, lambda x: np.roll(x, 1), lambda x: np.vstack([x, x]), np.diagflat):
        for t in (n, b):
            result = call(t)
            assert isinstance(result, Tensor)
            assert_array_equal(result.data, call(t.data))
            assert result.dtype == t.dtype
    for call in (np.trace, lambda x: np.dot(x, x.T), lambda x: np.einsum("ij->i", x), lambda x: np.append(x, 3)):
        assert_array_equal(call(n).data, call(n.data))
        assert call(n).dtype == call(n.data).dtype
    assert np.linalg.inv(Tensor(np.array([[2, 0], [0, 4]]))).data.tolist() == [[0.5, 0], [0, 0.25]]


def test_numbers_and_lists_beside_float32_leave_it_as_it_is():
    t = variable([1.0, 2.0], np.float32)
    for result in (
        np.append(t, 3.0), np.append(t, [3.0]), np.hstack([t, 1.5]), np.dot(t, [1.0, 2.0]), np.dot(t, 2.0),
        np.inner(t, np.float64(2)), np.outer([1.5], t), np.insert(t, 0, 0.5), np.kron(t, 2), np.block([t, 1.0]),
        np.convolve(t, [0.5, 0.5]), np.vstack([t, [1, 2]]), np.linalg.solve([[2.0, 0.0], [0.0, 1.0]], t),
    ):  # fmt: skip
        assert result.dtype == np.float32
    assert np.append(t, np.ones(1)).dtype == np.float64  # arrays are as NumPy has them


@pytest.mark.parametrize(
    ("kind", "call", "words"),
    [
        (ValueError, "np.swapaxes(m, 0, 5)", ["swapaxes", "axis 5", "dimension 2"]),
        (ValueError, "np.squeeze(m, 0)", ["squeeze", "size not equal to one"]),
        (ValueError, "np.ravel(m, 'K')", ["ravel", "'C'", "'F'", "'K'"]),
        (ValueError, "np.ravel(m, order='A')", ["ravel", "'C'", "'F'", "'A'"]),
        (TypeError, "np.tile(m, o)", ["tile", "parameters", "t.numpy()"]),
        (TypeError, "np.split(m, o)", ["split", "parameters"]),
        (TypeError, "np.insert(m, o, 1.0)", ["insert", "parameters"]),
        (TypeError, "np.atleast_1d(m, m, out=m)", ["atleast_1d", "out"]),
        (TypeError, "np.take(m, 0.5)", ["take", "integers", "0.5"]),
        (TypeError, "np.compress(v, v)", ["compress", "condition", "t != 0"]),
        (TypeError, "np.extract(v, [1.0, 2.0, 3.0])", ["extract", "condition", "t != 0"]),
        (TypeError, "np.take(m, m)", ["take", "integers", "Tensor of shape (2, 3)"]),
        (TypeError, "np.linalg.matrix_power(s, s)", ["matrix_power", "whole number", "Tensor of shape (3, 3)"]),
        (IndexError, "np.take(m, 9)", ["take", "9", "size 6"]),
        (ValueError, "np.take_along_axis(m, np.array([0]), 1)", ["take_along_axis", "(1,)", "(2, 3)"]),
        (ValueError, "np.diag(x)", ["diag", "(2, 3, 4)"]),
        (ValueError, "np.vstack([m, w])", ["vstack", "(2, 3)", "(1, 4)"]),
        (TypeError, "np.vstack([m, [v, v]])", ["vstack", "list of Tensors", "stack()"]),
        (ValueError, "np.pad(v, 1, 'mean')", ["pad", "'wrap'", "'mean'"]),
        (TypeError, "np.pad(v, 1, 'reflect', reflect_type='odd')", ["np.pad", "reflect_type="]),
        (TypeError, "np.pad(v, 1, constant_values=o)", ["pad", "parameters"]),
        (ValueError, "np.split(v, 2)", ["split", "equal division"]),
        (ValueError, "np.dot(m, m)", ["dot", "(2, 3)", "did you mean .T?"]),
        (TypeError, "np.dot(m, [v, v])", ["dot", "list of Tensors"]),
        (TypeError, "np.dot(m, 'a')", ["dot", "'a'"]),
        (ValueError, "np.tensordot(m, m, 1)", ["tensordot", "differ in size"]),
        (ValueError, "np.einsum('ij,jk', m)", ["einsum", "2 terms", "1 operands"]),
        (ValueError, "np.einsum('ijk', m)", ["einsum", "'ijk'", "2 axes"]),
        (ValueError, "np.einsum('ii', m)", ["einsum", "'i'", "(2, 3)"]),
        (ValueError, "np.einsum('i...->i', m)", ["einsum", "lacks the axes of ..."]),
        (TypeError, "np.einsum(m, m)", ["einsum", "'ij,jk->ik'"]),
        (ValueError, "np.cross(w, w)", ["cross", "three numbers", "4"]),
        (ValueError, "np.convolve(m, v)", ["convolve", "vectors", "(2, 3)"]),
        (ValueError, "np.convolve(v, v, 'half')", ["convolve", "'valid'", "'half'"]),
        (np.linalg.LinAlgError, "np.linalg.inv(m)", ["inv", "square", "(2, 3)"]),
        (np.linalg.LinAlgError, "np.linalg.inv(0 * s)", ["inv", "Singular"]),
        (np.linalg.LinAlgError, "np.linalg.cholesky(-p)", ["cholesky", "positive definite"]),
        (np.linalg.LinAlgError, "np.linalg.matrix_power(m, 2)", ["matrix_power", "square", "(2, 3)"]),
        (ValueError, "np.linalg.solve(s, w)", ["solve", "(3, 3)", "(4,)"]),
        (ValueError, "np.linalg.qr(n, 'complete')", ["qr", "'reduced'", "'complete'"]),
        (ValueError, "np.linalg.svd(m)", ["svd", "full_matrices=False"]),
        (ValueError, "np.linalg.norm(x, 2)", ["norm", "(2, 3, 4)", "axis=None"]),
        (ValueError, "np.linalg.norm(m, 3)", ["norm", "'fro'", "3"]),
        (ValueError, "np.linalg.norm(v, 'fro')", ["norm", "'fro'"]),
        (ValueError, "np.linalg.pinv(m, 1e-9, rtol=1e-9)", ["pinv", "rcond or rtol"]),
        (ValueError, "np.var(m, ddof=1, correction=1)", ["var", "ddof or correction"]),
        (ValueError, "np.nanstd(m, ddof=1, correction=1)", ["nanstd", "ddof or correction"]),
        (ValueError, "np.quantile(m, 0.5, method='middle')", ["quantile", "middle"]),
        (ValueError, "np.nanquantile(m, 0.5, method='lower')", ["nanquantile", "'linear'", "'lower'"]),
        (ValueError, "np.nanpercentile(m, 101)", ["nanpercentile", "0 to 100"]),
        *(
            (ValueError, f"{name}(v, v)", [name[3:], "(3,)"])
            for name in ("np.matvec", "np.vecmat")
            if hasattr(np, name[3:])
        ),
        (TypeError, "np.linalg.eig(s)", ["np.linalg.eig is not in the table"]),
    ],
)
def test_what_cannot_be_is_one_line(kind, call, words):
    operands = {name: variable(x) for name, x in operands_of(call).items()}
    with refused(kind, *words):
        called(call, operands)


def test_an_argument_may_have_its_name_of_numpy_2_0():
    def reshape(a: Any, newshape: Any, order: str = "C") -> None:
        """As it is there; what is given in its place has that name too."""

    t = variable(OPERANDS["v"])
    for args, kwargs in (((t, (3, 1)), {}), ((t,), {"newshape": (3, 1)})):
        assert interop._translated(reshape, tg.reshape, args, kwargs).shape == (3, 1)


def test_places_may_be_tensors_of_integers():
    """Those that a compiled step takes or computes; then places are read at each replay."""
    places: Any = Tensor(np.array([2, 0]))
    for x in (OPERANDS["v"], OPERANDS["v"].tolist(), variable(OPERANDS["v"])):
        for result in (tg.take(x, places), tg.take(x, places, 0), tg.take_along_axis(x, places, 0)):
            assert isinstance(result, Tensor)
            assert_array_equal(result.data, OPERANDS["v"][[2, 0]])
    step = tg.compile(lambda x, places: np.take(x, places, axis=0) * 2)
    for at in ([2, 0], [1, 1], [0, 2], [2, 2]):
        assert_array_equal(step(OPERANDS["v"], np.array(at)).data, 2 * OPERANDS["v"][at])


def test_kinds_of_numbers_are_numpys():
    """Norms, counts and sizes of whole numbers are floating, as NumPy has them."""
    n, b = np.array([[2, -3], [1, 5]]), np.array([True, False, True])
    calls: list[Any] = [
        lambda x: np.linalg.norm(x, 1), lambda x: np.linalg.norm(x, 0, axis=1), lambda x: np.linalg.norm(x),
        lambda x: np.nanmedian(x), lambda x: np.fabs(x), lambda x: np.bincount([0, 1, 1, 3], np.ravel(x)),
        lambda x: np.nanquantile(x, 0.25, axis=0), lambda x: np.cov(x),
    ]  # fmt: skip
    for call in calls:
        assert_allclose(call(Tensor(n)).data, call(n), rtol=1e-15)
        assert call(Tensor(n)).dtype == call(n).dtype
    assert np.nanmedian(Tensor(b)).item() == np.nanmedian(b)
    assert_array_equal(np.bincount(b, variable([1.0, 2.0, 4.0])).data, [2, 5])


def test_covariances_of_too_few_observations_are_no_numbers():
    for x in (np.ones((2, 1)), np.ones((2, 0)), np.ones(0)):
        with pytest.warns(RuntimeWarning):
            assert np.isnan(np.cov(variable(x)).data).all()


def test_ranks_and_triangles_are_queries():
    t = variable(OPERANDS["s"])
    assert np.linalg.matrix_rank(t) == 3
    assert [i.tolist() for i in np.tril_indices_from(t)] == [i.tolist() for i in np.tril_indices(3)]
