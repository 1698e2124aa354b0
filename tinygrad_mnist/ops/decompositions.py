"""Linear algebra: inverses, determinants, decompositions, norms; of matrices and of stacks of matrices.

Derivatives are those of what NumPy computes. Of a symmetric matrix it reads one triangle alone, so that triangle alone
gets a gradient, for both places of each pair. Where a decomposition is not unique (equal eigenvalues or singular
values, of which one has the vectors; a matrix whose rank is about to change), there is no derivative: it is infinite or
NaN. The sign of vectors is free: only what does not depend on it has a meaning.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tinygrad_mnist.composed import composed, together
from tinygrad_mnist.op import NUMPY, OpFunction, binary, unary
from tinygrad_mnist.tensor import Array, Operand, values

from .arithmetic import astype
from .choices import abs as absolute
from .choices import where
from .moves import atleast_1d, diagonal, matrix_transpose, moveaxis, swapaxes, trace, tril, triu
from .reductions import max as largest
from .reductions import min as smallest
from .reductions import sum as sum_over
from .shapes import concatenate, reshape, transpose


def _eye(x: Any) -> Array:
    """The identity, as large as the last axis."""
    return np.eye(x.shape[-1], dtype=bool)


def _one_triangle(s: Any, lower: bool = True) -> Any:
    """The gradient of one triangle of a matrix, of which a symmetric matrix was made that has the gradient s."""
    both = where(_eye(s), s, s + s.mT)
    return tril(both) if lower else triu(both)


def _gaps(values: Any) -> Any:
    """1 / (v_j - v_i), and 0 for i = j."""
    same = _eye(values)
    return where(same, 0, 1 / where(same, 1, values[..., None, :] - values[..., :, None]))


def _cofactors(x: Array) -> Array:
    # det(x) inv(x).T, for singular matrices too: those of a rotation are the rotation, those of a diagonal matrix the
    # products of the other numbers.
    u, s, v = np.linalg.svd(x)
    others = np.where(_eye(s), 1, s[..., None, :]).prod(-1)
    return (np.linalg.det(u) * np.linalg.det(v))[..., None, None] * (u.conj() * others[..., None, :]) @ v.conj()


def _cholesky_dx(g: Any, out: Any, x: Any) -> Any:
    middle = tril(out.mT @ g)
    middle = where(_eye(x), middle / 2, middle)
    return _one_triangle(solve(out.mT, solve(out.mT, middle.mT).mT))


def _qr(x: Array) -> Array:
    q, r = np.linalg.qr(x)
    return np.concatenate([q.mT, r], -1)


def _qr_dx(g: Any, out: Any, x: Any) -> Any:
    m = x.shape[-2]
    q, r, gq, gr = out[..., :m].mT, out[..., m:], g[..., :m].mT, g[..., m:]
    middle = r @ gr.mT - gq.mT @ q
    symmetric = tril(middle) + tril(middle, -1).mT
    return solve(r, (gq + q @ symmetric).mT).mT


def _eigvalsh_dx(g: Any, out: Any, x: Any, UPLO: str) -> Any:  # noqa: N803 (NumPy's name)
    v = _eigenvectors(x, UPLO)
    return _one_triangle((v * g[..., None, :]) @ v.mT, UPLO in "Ll")


def _eigenvectors_dx(g: Any, out: Any, x: Any, UPLO: str) -> Any:  # noqa: N803
    return _one_triangle(out @ (_gaps(eigvalsh(x, UPLO)) * (out.mT @ g)) @ out.mT, UPLO in "Ll")


def _singular_vectors(x: Array) -> Array:
    u, _, v = np.linalg.svd(x, full_matrices=False)
    return np.concatenate([u, v.mT], -2)


def _svdvals_dx(g: Any, out: Any, x: Any) -> Any:
    m, vectors = x.shape[-2], singular_vectors(x)
    return (vectors[..., :m, :] * g[..., None, :]) @ vectors[..., m:, :].mT


def _singular_vectors_dx(g: Any, out: Any, x: Any) -> Any:
    m, s = x.shape[-2], svdvals(x)
    u, v, gu, gv = out[..., :m, :], out[..., m:, :], g[..., :m, :], g[..., m:, :]
    s, gaps = s[..., None, :], _gaps(s * s)
    turned_u, turned_v = gaps * (u.mT @ gu), gaps * (v.mT @ gv)
    inside = (turned_u + turned_u.mT) * s + s.mT * (turned_v + turned_v.mT)
    slope = u @ inside @ v.mT
    if u.shape[-2] > u.shape[-1]:  # else there is nothing outside, of which rounding / s would make something at s = 0
        slope = slope + ((gu - u @ (u.mT @ gu)) / s) @ v.mT
    if v.shape[-2] > v.shape[-1]:
        slope = slope + (u / s) @ (gv - v @ (v.mT @ gv)).mT
    return slope


def _pinv_of(x: Array, rcond: Any = None) -> Array:
    if rcond is None:
        return np.linalg.pinv(x)
    s = np.linalg.svd(x, compute_uv=False)
    sizes = s / np.where(s[..., :1] > 0, s[..., :1], 1)
    if np.any((sizes <= np.asarray(rcond)[..., None]) & (sizes > math.sqrt(np.finfo(s.dtype).eps))):
        raise ValueError(f"rcond={rcond} drops singular values that are not nearly 0, of which there is no derivative")
    return np.linalg.pinv(x, rcond)


def _pinv_dx(g: Any, out: Any, x: Any, rcond: Any) -> Any:
    p, q, h = out, out.mT, g.mT
    left, right = h @ p @ q, q @ p @ h  # of x's rows and columns that are in no inverse
    return (left - x @ (p @ left)) + (right - right @ p @ x) - q @ g @ q


# fmt: off
inv = unary("inv", lambda x: np.linalg.inv(x),
            lambda g, out, x: -out.mT @ g @ out.mT,
            numpy=(np.linalg.inv,), domain=None, doc="the inverse of square matrices")
_solve: OpFunction = binary("solve", lambda x, y: np.linalg.solve(x, y),
                lambda g, out, x, y: -_solve(x.mT, g) @ out.mT,
                lambda g, out, x, y: _solve(x.mT, g),
                domain=None, doc="the solution z of x z = y")
cofactors = unary("cofactors", _cofactors,
                  lambda g, out, x: (trace(out @ g.mT, 0, -2, -1)[..., None, None] * out - out @ g.mT @ out)
                      / det(x)[..., None, None],
                  domain=None, doc="det(x) inv(x).T, for singular matrices too; there it has no derivative itself")
det: OpFunction = unary("det", lambda x: np.linalg.det(x),
            lambda g, out, x: g[..., None, None] * cofactors(x),
            numpy=(np.linalg.det,), domain=None, doc="the determinant of square matrices")
_slogdet = unary("slogdet", lambda x: np.stack(np.linalg.slogdet(x), -1),
                 lambda g, out, x: g[..., 1, None, None] * inv(x).mT,
                 domain=None, doc="the sign of the determinant, and the logarithm of its size")
_cholesky = unary("cholesky", lambda x: np.linalg.cholesky(x),
                  _cholesky_dx,
                  domain=None, doc="the lower triangle L with L L.T = x, of symmetric positive definite matrices")
_q_and_r = unary("qr", _qr, _qr_dx,
                 domain=None, doc="Q.T beside R of Q R = x, of matrices with independent columns")
eigvalsh: OpFunction = unary("eigvalsh", lambda x, UPLO="L": np.linalg.eigvalsh(x, UPLO),  # noqa: N803
                 _eigvalsh_dx,
                 numpy=(np.linalg.eigvalsh,), domain=None, doc="the eigenvalues of symmetric matrices, ascending")
_eigenvectors = unary("eigenvectors", lambda x, UPLO="L": np.linalg.eigh(x, UPLO)[1],  # noqa: N803
                      _eigenvectors_dx,
                      domain=None, doc="the eigenvectors of symmetric matrices, as columns; of different eigenvalues")
svdvals = unary("svdvals", lambda x: np.linalg.svd(x, compute_uv=False),
                _svdvals_dx,
                numpy=(np.linalg.svdvals,), domain=None, doc="the singular values of matrices, descending")
singular_vectors: OpFunction = unary("singular_vectors", _singular_vectors,
                         _singular_vectors_dx,
                         domain=None, doc="U above V of U S V.T = x; of different singular values that are not 0")
_pinv = unary("pinv", _pinv_of, _pinv_dx,
              domain=None, doc="the pseudo-inverse of matrices; where their rank is constant")
# fmt: on

_ONE = np.eye(1)
QRResult: Any = type(np.linalg.qr(_ONE))
SlogdetResult: Any = type(np.linalg.slogdet(_ONE))
EighResult: Any = type(np.linalg.eigh(_ONE))
SVDResult: Any = type(np.linalg.svd(_ONE))
"""NumPy's own named tuples."""


@composed(np.linalg.solve)
def solve(a: Operand, b: Operand) -> Any:
    """The solution x of a x = b, where b is a vector or has vectors as its columns."""
    x, y = together(a, b)
    if x.ndim < 2 or y.ndim < 1 or x.shape[-1] != y.shape[0 if y.ndim == 1 else -2]:
        raise ValueError(f"shapes {x.shape} and {y.shape} do not fit; expected square matrices and vectors or columns")
    return _solve(x, y[:, None])[..., 0] if y.ndim == 1 else _solve(x, y)


@composed(np.linalg.slogdet)
def slogdet(a: Any) -> Any:
    """The sign of the determinant and the logarithm of its size, where it would overflow itself; not of 0."""
    both = _slogdet(a)
    return SlogdetResult(both[..., 0], both[..., 1])


@composed(np.linalg.cholesky)
def cholesky(a: Any, *, upper: bool = False) -> Any:
    """The triangle L with L L.T = a, or U with U.T U = a; only that triangle of a is read, and gets a gradient."""
    return swapaxes(_cholesky(swapaxes(a, -1, -2)), -1, -2) if upper else _cholesky(a)


@composed(np.linalg.qr)
def qr(a: Any, mode: str = "reduced") -> Any:
    """Orthonormal columns Q and an upper triangle R, of which a = Q R; mode "r" gives R alone.

    The columns of a, or the first of them if it is wider than high, must be independent.
    """
    if mode not in ("reduced", "r"):
        raise ValueError(f"expected mode 'reduced' or 'r', got {mode!r}; further columns of Q have no derivative")
    if a.ndim < 2:
        raise np.linalg.LinAlgError(f"expected matrices, got shape {a.shape}")
    m, n = a.shape[-2:]
    both = _q_and_r(a[..., :m] if n > m else a)
    q, r = matrix_transpose(both[..., :m]), both[..., m:]
    if n > m:
        r = concatenate([r, matrix_transpose(q) @ a[..., m:]], -1)
    return r if mode == "r" else QRResult(q, r)


@composed(np.linalg.eigh)
def eigh(a: Any, UPLO: str = "L") -> Any:  # noqa: N803 (NumPy's name)
    """Eigenvalues, ascending, and eigenvectors of symmetric matrices; vectors of equal eigenvalues have no derivative.

    Only the lower triangle (UPLO="L") or the upper one ("U") is read, and gets a gradient.
    """
    return EighResult(eigvalsh(a, UPLO), _eigenvectors(a, UPLO))


@composed(np.linalg.svd)
def svd(a: Any, full_matrices: bool = True, compute_uv: bool = True) -> Any:
    """U, the singular values S, descending, and V.T, with a = U S V.T; vectors of equal values have no derivative."""
    if not compute_uv:
        return svdvals(a)
    if a.ndim < 2:
        raise np.linalg.LinAlgError(f"expected matrices, got shape {a.shape}")
    m, n = a.shape[-2:]
    if full_matrices and m != n:
        raise ValueError(f"vectors of no singular value have no derivative, shape {a.shape}; pass full_matrices=False")
    vectors = singular_vectors(a)
    return SVDResult(vectors[..., :m, :], svdvals(a), swapaxes(vectors[..., m:, :], -1, -2))


@composed(np.linalg.pinv)
def pinv(a: Any, rcond: Any = None, *, rtol: Any = None) -> Any:
    """The pseudo-inverse of matrices, which has a derivative where their rank does not change; `rtol` is `rcond`."""
    if rcond is not None and rtol is not None:
        raise ValueError("expected rcond or rtol, which are one, got both")
    return _pinv(a, rtol if rcond is None else rcond)


@composed(np.linalg.lstsq)
def lstsq(a: Operand, b: Operand, rcond: float | None = None) -> tuple[Any, Any, int, Any]:
    """The x for which a x is nearest to b, the squared distances, the rank and the singular values of a."""
    x, y = together(a, b)
    if x.ndim != 2 or y.ndim not in (1, 2):
        raise np.linalg.LinAlgError(f"expected a matrix and a vector or columns, got shapes {x.shape} and {y.shape}")
    m, n = x.shape
    if y.dtype.kind == "f" and x.dtype != (dtype := np.result_type(x.dtype, y.dtype)):
        x = astype(x, dtype)
    s = svdvals(x)
    if rcond is None:
        rcond = float(np.finfo(s.dtype).eps) * max(m, n)
    rank = int(np.sum(values(s) > rcond * np.max(values(s), initial=0)))
    solution = _pinv(x, rcond) @ y
    distances = atleast_1d(sum_over((y - x @ solution) ** 2, 0))
    return solution, distances if rank == n < m else distances[:0], rank, s


@composed(np.linalg.cond)
def cond(x: Any, p: Any = None) -> Any:
    """How much a matrix can stretch one vector more than another: its norm times that of its inverse."""
    if p in (None, 2, -2):
        s = svdvals(x)
        return s[..., -1] / s[..., 0] if p == -2 else s[..., 0] / s[..., -1]
    return matrix_norm(x, ord=p) * matrix_norm(inv(x), ord=p)


@composed(np.linalg.tensorinv)
def tensorinv(a: Any, ind: int = 2) -> Any:
    """The inverse of an array as a matrix, whose rows are the first axes and whose columns are the others."""
    if ind <= 0:
        raise ValueError(f"expected a positive number of axes, got {ind}")
    rows = int(np.prod(a.shape[:ind]))
    return reshape(inv(reshape(a, (rows, -1))), (*a.shape[ind:], *a.shape[:ind]))


@composed(np.linalg.tensorsolve)
def tensorsolve(a: Operand, b: Operand, axes: Any = None) -> Any:
    """The solution x of tensordot(a, x, x.ndim) = b."""
    x, y = together(a, b)
    if axes is not None:
        x = moveaxis(x, axes, range(x.ndim - len(axes), x.ndim))
    return reshape(_solve(reshape(x, (y.size, -1)), reshape(y, (-1, 1))), x.shape[y.ndim :])


# --- norms ---

# fmt: off
_length = unary("norm", lambda x, axis=None: np.linalg.norm(x, None, axis, keepdims=True),
                lambda g, out, x, axis: g * where(out == 0, 0, x / where(out == 0, 1, out)),
                sign="‖·‖", domain=None, doc="the square root of the sum of squares; its derivatives at 0 are 0")
# fmt: on


@composed(np.linalg.norm)
def norm(x: Any, ord: Any = None, axis: Any = None, keepdims: bool = False) -> Any:
    """The norm of vectors (an axis), of matrices (two), or of all elements. Its derivative at 0 is 0 by convention."""
    axes = np.lib.array_utils.normalize_axis_tuple(range(x.ndim) if axis is None else axis, x.ndim)
    x = x if x.dtype.kind == "f" else astype(x, np.float64)
    if len(axes) not in (1, 2) and not (ord is None and axis is None):
        raise ValueError(f"expected one axis (vectors) or two (matrices), got shape {x.shape} and axis={axis}")
    if ord is None:
        result = _length(x, axes if len(axes) == 2 else axis)
    else:
        result = _of_vectors(x, ord, axes[0]) if len(axes) == 1 else _of_matrices(moveaxis(x, axes, (-2, -1)), ord)
    return _without(result, x, axes, keepdims)


def _without(result: Any, x: Any, axes: tuple[int, ...], keepdims: bool) -> Any:
    """A norm along axes of x in its shape."""
    sizes = tuple(1 if i in axes else n for i, n in enumerate(x.shape) if keepdims or i not in axes)
    return result if result.shape == sizes else reshape(result, sizes)


def _of_vectors(x: Any, ord: Any, axis: int) -> Any:
    if isinstance(ord, str):
        raise ValueError(f"expected a number as the order of a norm of vectors, got {ord!r}")
    if ord == 2:
        return _length(x, axis)
    if ord == 0:
        return sum_over(astype(x != 0, x.dtype), axis, True)
    size = absolute(x)
    if ord in (np.inf, -np.inf):
        return (largest if ord > 0 else smallest)(size, axis, True)
    if ord == 1:
        return sum_over(size, axis, True)
    total = sum_over(size**ord, axis, True)
    return where(total == 0, 0 if ord > 0 else np.inf, where(total == 0, 1, total) ** (1 / ord))


def _of_matrices(x: Any, ord: Any) -> Any:
    if ord in ("fro", "f"):
        return _length(x, (-2, -1))
    if ord == "nuc":
        return sum_over(svdvals(x), -1)
    if ord not in (1, -1, 2, -2, np.inf, -np.inf):
        raise ValueError(f"expected 'fro', 'nuc', 1, 2, inf or their negatives as the order of a norm, got {ord!r}")
    sizes = svdvals(x) if ord in (2, -2) else sum_over(absolute(x), -2 if ord in (1, -1) else -1)
    return (largest if ord > 0 else smallest)(sizes, -1)


@composed(np.linalg.matrix_norm)
def matrix_norm(x: Any, *, keepdims: bool = False, ord: Any = "fro") -> Any:
    """The norm of matrices, which are the last two axes."""
    return norm(x, ord, (-2, -1), keepdims)


@composed(np.linalg.vector_norm)
def vector_norm(x: Any, *, axis: Any = None, keepdims: bool = False, ord: Any = 2) -> Any:
    """The norm of vectors along an axis, of all elements, or of those of several axes together."""
    axes = np.lib.array_utils.normalize_axis_tuple(range(x.ndim) if axis is None else axis, x.ndim)
    rest = [i for i in range(x.ndim) if i not in axes]
    vectors = reshape(transpose(x, (*rest, *axes)), (*(x.shape[i] for i in rest), -1))
    return _without(norm(vectors, ord, -1), x, axes, keepdims)


def _last_trace(x: Any, *, offset: int = 0) -> Any:
    """np.linalg.trace, which takes the last two axes."""
    return trace(x, offset, -2, -1)


def _last_diagonal(x: Any, *, offset: int = 0) -> Any:
    """np.linalg.diagonal, which takes the last two axes."""
    return diagonal(x, offset, -2, -1)


NUMPY.update(
    {
        np.linalg.trace: _last_trace,
        np.linalg.diagonal: _last_diagonal,
        np.linalg.matrix_transpose: matrix_transpose,
    }
)
