"""`tinygrad_cnn.linalg`: factorizations, singular values and eigenvalues of matrices."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from tinygrad_cnn.autograd.variable import wrap
from tinygrad_cnn.errors import ArgumentError, LinAlgError, ShapeError
from tinygrad_cnn.functions.convert import own, to_tensor
from tinygrad_cnn.functions.export import export
from tinygrad_cnn.functions.joining import cat
from tinygrad_cnn.functions.linalg_systems import matrices
from tinygrad_cnn.functions.padding import tril, triu
from tinygrad_cnn.ops import factorizations as ops
from tinygrad_cnn.ops.linear_systems import mH
from tinygrad_cnn.types import Array, TensorLike

if TYPE_CHECKING:
    from tinygrad_cnn.tensor import Tensor


class CholeskyInfo(NamedTuple):
    """What `cholesky_ex` returns; ``info`` is not 0 where a matrix is not positive definite."""

    L: Tensor
    info: Tensor


class QR(NamedTuple):
    """What `qr` returns: ``Q @ R``."""

    Q: Tensor
    R: Tensor


class LU(NamedTuple):
    """What `lu` returns: ``P @ L @ U``."""

    P: Tensor
    L: Tensor
    U: Tensor


class LUFactor(NamedTuple):
    """What `lu_factor` returns: both triangles in one matrix, and LAPACK's pivots from 1."""

    LU: Tensor
    pivots: Tensor


class LUFactorInfo(NamedTuple):
    """What `lu_factor_ex` returns; ``info`` is not 0 where a pivot is 0."""

    LU: Tensor
    pivots: Tensor
    info: Tensor


class SVD(NamedTuple):
    """What `svd` returns: ``U @ diag(S) @ Vh``."""

    U: Tensor
    S: Tensor
    Vh: Tensor


class Eigen(NamedTuple):
    """What `eigh` and `eig` return; the vectors are columns."""

    eigenvalues: Tensor
    eigenvectors: Tensor


def cholesky(A: TensorLike, *, upper: bool = False) -> Tensor:
    """Lower triangular ``L`` with ``L @ Lᴴ = A``, or upper triangular with ``Lᴴ @ L = A``.

    Only one triangle of the Hermitian matrices ``A`` is read. The gradient is Hermitian.

    Raises
    ------
    tinygrad_cnn.linalg.LinAlgError
        A matrix is not positive definite.

    Examples
    --------
    >>> import tinygrad_cnn as tg
    >>> tg.linalg.cholesky(tg.tensor([[4.0, 2.0], [2.0, 5.0]]))
    tensor([[2., 0.],
            [1., 2.]])
    """
    return _cholesky(matrices("cholesky", A, square=True), upper, True)


def _cholesky(x: Tensor, upper: bool, check: bool) -> Tensor:
    lower: Tensor = ops.cholesky(x, triangle="upper" if upper else "lower", check=check)
    return own(mH(lower)) if upper else lower


def cholesky_ex(A: TensorLike, *, upper: bool = False, check_errors: bool = False) -> CholeskyInfo:
    """`cholesky`, and ``info`` in place of an error: NaN where there is no factor.

    ``info`` is the order of the first leading minor that is not positive.
    """
    x = matrices("cholesky_ex", A, square=True)
    factor = _cholesky(x, upper, check_errors)
    if np.isfinite(factor._array).all():  # where there is none, it is NaN
        return CholeskyInfo(factor, wrap(np.zeros(x._value.shape[:-2], np.int32)))
    array = np.conj(np.swapaxes(x._array, -1, -2)) if upper else x._array
    return CholeskyInfo(factor, wrap(ops.cholesky_info(array)))


def qr(A: TensorLike, mode: str = "reduced") -> QR:
    """``Q @ R = A`` with orthonormal columns of Q and R upper triangular.

    Parameters
    ----------
    A
        Matrices (..., m, n).
    mode
        "reduced": Q (..., m, k), R (..., k, n) with k = min(m, n); "complete": k = m; "r": only R,
        without a derivative.

    Raises
    ------
    RuntimeError
        In the backward pass, for "r", and for "complete" with more rows than columns.
    """
    x = matrices("qr", A)
    if mode not in ("reduced", "complete", "r"):
        raise ArgumentError(f"qr: `mode` is {mode!r}, expected 'reduced', 'complete' or 'r'")
    q, r = ops.qr_parts(ops.qr(x, mode=mode), x._value.shape[-2])
    return QR(wrap(np.empty(0, x._value.dtype)) if mode == "r" else own(q), own(r))


def _lu(name: str, A: TensorLike, pivot: bool) -> tuple[Any, Array, Array, int]:
    x = matrices(name, A)
    n = x._value.shape[-1]
    packed = ops.lu(x, pivot=pivot)
    order, pivots = ops.lu_numbers(packed, n)
    return packed, order, pivots, n


def _permutation(order: Array, dtype: Any) -> Tensor:
    """P with ``(P @ x)[order[i]] = x[i]``."""
    m = order.shape[-1]
    return wrap(np.asarray(np.arange(m)[:, None] == order[..., None, :], dtype))


def lu(A: TensorLike, *, pivot: bool = True) -> LU:
    """``P @ L @ U = A``: a permutation, lower triangular with ones, and upper triangular.

    (..., m, n) → (..., m, m), (..., m, k), (..., k, n) with k = min(m, n). Without ``pivot`` rows
    are not exchanged, and P is empty.
    """
    packed, order, _, n = _lu("lu", A, pivot)
    lower, upper = ops.lu_parts(packed, n)
    dtype = packed._value.dtype
    return LU(_permutation(order, dtype) if pivot else wrap(np.empty(0, dtype)), lower, upper)


def lu_factor(A: TensorLike, *, pivot: bool = True) -> LUFactor:
    """The triangles of `lu` in one matrix, and the exchanges of rows, as `lu_solve` takes them.

    Raises
    ------
    tinygrad_cnn.linalg.LinAlgError
        A pivot is 0.
    """
    return LUFactor(*lu_factor_ex(A, pivot=pivot, check_errors=True)[:2])


def lu_factor_ex(A: TensorLike, *, pivot: bool = True, check_errors: bool = False) -> LUFactorInfo:
    """`lu_factor`, and ``info`` in place of an error: which pivot, counted from 1, is 0."""
    packed, _, pivots, n = _lu("lu_factor", A, pivot)
    info = ops.lu_info(packed._array, n)
    if check_errors and info.any():
        raise LinAlgError(f"lu_factor: pivot {info[info != 0].flat[0]} is 0: `A` is singular")
    return LUFactorInfo(own(packed[..., :n]), wrap(pivots), wrap(np.asarray(info, np.int32)))


@export(method=False)
def lu_unpack(
    LU_data: TensorLike,
    LU_pivots: TensorLike,
    unpack_data: bool = True,
    unpack_pivots: bool = True,
) -> LU:
    """``P, L, U`` of what `lu_factor` returned; what is not unpacked is empty."""
    factors, pivots = matrices("lu_unpack", LU_data, argument="LU_data"), to_tensor(LU_pivots)
    if pivots._value.dtype != np.int32:
        raise ArgumentError(f"lu_unpack: `LU_pivots` is {pivots.dtype}, expected int32")
    m, n = factors._value.shape[-2:]
    nothing = wrap(np.empty(0, factors._value.dtype))
    order, lower, upper = nothing, nothing, nothing
    if unpack_pivots:
        if pivots._value.shape[-1:] != (min(m, n),):
            raise ShapeError(
                f"lu_unpack: `LU_pivots` has shape {pivots.shape}, expected (..., {min(m, n)})"
            )
        order = _permutation(ops.order_of(pivots._array, m), factors._value.dtype)
    if unpack_data:
        k = min(m, n)
        eye = wrap(np.eye(m, k, dtype=factors._value.dtype))
        lower = tril(factors[..., :k], -1) + eye
        upper = triu(factors[..., :k, :])
    return LU(order, lower, upper)


def svd(A: TensorLike, full_matrices: bool = True, *, driver: str | None = None) -> SVD:
    """Singular values, descending, and vectors: ``U @ diag(S) @ Vh = A``.

    Parameters
    ----------
    A
        Matrices (..., m, n).
    full_matrices
        U is (..., m, m) and Vh (..., n, n), else (..., m, k) and (..., k, n) with k = min(m, n).
        The further vectors have no derivative.
    driver
        As in PyTorch, only for CUDA.

    Raises
    ------
    RuntimeError
        In the backward pass, if the loss depends on the phases of complex vectors, which are free.
    """
    x = matrices("svd", A)
    if driver is not None:
        raise ArgumentError(f"svd: `driver` is {driver!r}, which is for CUDA only")
    m, n = x._value.shape[-2:]
    k = min(m, n)
    if not full_matrices or m == n:
        u, s, vh = ops.svd_parts(ops.svd(x), m, n)
        return SVD(own(u), own(s), own(vh))
    whole = ops.converged("svd", np.linalg.svd, x._array)
    given = (whole[0][..., :k], whole[1], whole[2][..., :k, :])
    u, s, vh = ops.svd_parts(ops.svd(x, given=given), m, n)
    if m > k:
        u = cat((u, wrap(whole[0][..., k:])), -1)
    if n > k:
        vh = cat((vh, wrap(whole[2][..., k:, :])), -2)
    return SVD(own(u), own(s), own(vh))


def svdvals(A: TensorLike, *, driver: str | None = None) -> Tensor:
    """The singular values of matrices, descending: (..., m, n) → (..., min(m, n))."""
    return svd(matrices("svdvals", A), False, driver=driver).S


def eigh(A: TensorLike, UPLO: str = "L") -> Eigen:
    """The eigenvalues, ascending, and vectors of Hermitian matrices (..., n, n).

    Parameters
    ----------
    UPLO
        Which triangle is read, "L" or "U". The gradient is Hermitian.

    Raises
    ------
    RuntimeError
        In the backward pass, if the loss depends on the phases of complex vectors, which are free.

    Examples
    --------
    >>> import tinygrad_cnn as tg
    >>> tg.linalg.eigh(tg.tensor([[2.0, 1.0], [1.0, 2.0]])).eigenvalues
    tensor([1., 3.])
    """
    x = matrices("eigh", A, square=True)
    if not isinstance(UPLO, str) or UPLO.upper() not in ("L", "U"):
        raise ArgumentError(f"eigh: `UPLO` is {UPLO!r}, expected 'L' or 'U'")
    triangle = "lower" if UPLO.upper() == "L" else "upper"
    values, vectors = ops.eigh_parts(ops.eigh(x, triangle=triangle))
    return Eigen(own(values), own(vectors))


def eigvalsh(A: TensorLike, UPLO: str = "L") -> Tensor:
    """The eigenvalues, ascending, of Hermitian matrices."""
    return eigh(matrices("eigvalsh", A, square=True), UPLO).eigenvalues


def eig(A: TensorLike) -> Eigen:
    """The complex eigenvalues, in no order, and vectors of square matrices (..., n, n).

    Raises
    ------
    RuntimeError
        In the backward pass, if the loss depends on the vectors' phases, which are free.
    """
    values, vectors = ops.eig_parts(ops.eig(matrices("eig", A, square=True)))
    return Eigen(own(values), own(vectors))


def eigvals(A: TensorLike) -> Tensor:
    """The complex eigenvalues of square matrices."""
    return eig(matrices("eigvals", A, square=True)).eigenvalues


def householder_product(A: TensorLike, tau: TensorLike) -> Tensor:
    """The first n columns of ``H₁ H₂ ... Hₖ`` with ``Hᵢ = I - tauᵢ vᵢ vᵢᴴ``.

    Parameters
    ----------
    A
        Matrices (..., m, n) with m ≥ n whose columns below the diagonal hold the vectors, which
        are 1 on it and 0 above.
    tau
        (..., k) with k ≤ n.
    """
    x, t = matrices("householder_product", A), to_tensor(tau)
    m, n = x._value.shape[-2:]
    k = t._value.shape[-1] if t._value.ndim else -1
    if m < n or k > n or t._value.shape[:-1] != x._value.shape[:-2]:
        raise ShapeError(
            f"householder_product: `A` has shape {x.shape} and `tau` {t.shape}, expected "
            f"(..., m, n) and (..., k) with k ≤ n ≤ m"
        )
    eye = wrap(np.eye(m, n, dtype=x._value.dtype))
    vectors = tril(x, -1) + eye
    out: Any = eye.expand((*x._value.shape[:-2], m, n))
    for i in reversed(range(k)):
        v = vectors[..., i : i + 1]  # (..., m, 1)
        out = out - t[..., i : i + 1, None] * (v @ (mH(v) @ out))
    return out.clone() if not k else out  # type: ignore[no-any-return]
