"""`tinygrad_cnn.linalg`: factorizations, singular values and eigenvalues of matrices."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from tinygrad_cnn.autograd.pieces import without_derivative
from tinygrad_cnn.autograd.units import computed
from tinygrad_cnn.autograd.variable import wrap
from tinygrad_cnn.errors import ArgumentError, LinAlgError, ShapeError
from tinygrad_cnn.functions.convert import own, to_tensor
from tinygrad_cnn.functions.export import export
from tinygrad_cnn.functions.joining import cat
from tinygrad_cnn.functions.linalg_systems import matrices, same_dtypes
from tinygrad_cnn.functions.padding import tril, triu
from tinygrad_cnn.kernels.tape import do, made
from tinygrad_cnn.ops import factorizations as ops
from tinygrad_cnn.ops import linear_systems
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


class LDLFactor(NamedTuple):
    """What `ldl_factor` returns: L and D in one matrix, and LAPACK's pivots from 1."""

    LD: Tensor
    pivots: Tensor


class LDLFactorInfo(NamedTuple):
    """What `ldl_factor_ex` returns; ``info`` is not 0 where D is singular."""

    LD: Tensor
    pivots: Tensor
    info: Tensor


class GeQRF(NamedTuple):
    """What `geqrf` returns: R and, below it, the vectors of reflections; and their factors."""

    a: Tensor
    tau: Tensor


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
    return CholeskyInfo(factor, computed(_cholesky_info, x, factor, upper))


def _cholesky_info(x: Array, factor: Array, upper: bool) -> Array:
    if np.isfinite(factor).all():  # where there is none, it is NaN
        return np.zeros(x.shape[:-2], np.int32)
    return ops.cholesky_info(np.conj(np.swapaxes(x, -1, -2)) if upper else x)


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
    return QR(wrap(made(np.empty(0, x._value.dtype))) if mode == "r" else own(q), own(r))


def _lu(name: str, A: TensorLike, pivot: bool) -> tuple[Any, Array, Array, int]:
    x = matrices(name, A)
    n = x._value.shape[-1]
    packed = ops.lu(x, pivot=pivot)
    order, pivots = ops.lu_numbers(packed, n)
    return packed, order, pivots, n


def _permutation(order: Array, dtype: Any) -> Tensor:
    """P with ``(P @ x)[order[i]] = x[i]``."""
    m = order.shape[-1]
    return wrap(do(_permuting, order, m, dtype))


def _permuting(order: Array, m: int, dtype: Any) -> Array:
    return np.asarray(np.arange(m)[:, None] == order[..., None, :], dtype)


def lu(A: TensorLike, *, pivot: bool = True) -> LU:
    """``P @ L @ U = A``: a permutation, lower triangular with ones, and upper triangular.

    (..., m, n) → (..., m, m), (..., m, k), (..., k, n) with k = min(m, n). Without ``pivot`` rows
    are not exchanged, and P is empty.
    """
    packed, order, _, n = _lu("lu", A, pivot)
    lower, upper = ops.lu_parts(packed, n)
    dtype = packed._value.dtype
    return LU(_permutation(order, dtype) if pivot else wrap(made(np.empty(0, dtype))), lower, upper)


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
    info = computed(_lu_info, packed, n, check_errors)
    return LUFactorInfo(own(packed[..., :n]), wrap(pivots), info)


def _lu_info(packed: Array, n: int, check_errors: bool) -> Array:
    info = ops.lu_info(packed, n)
    if check_errors and info.any():
        raise LinAlgError(f"lu_factor: pivot {info[info != 0].flat[0]} is 0: `A` is singular")
    return np.asarray(info, np.int32)


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
    nothing = wrap(made(np.empty(0, factors._value.dtype)))
    order, lower, upper = nothing, nothing, nothing
    if unpack_pivots:
        if pivots._value.shape[-1:] != (min(m, n),):
            raise ShapeError(
                f"lu_unpack: `LU_pivots` has shape {pivots.shape}, expected (..., {min(m, n)})"
            )
        order = _permutation(do(ops.order_of, pivots._given, m), factors._value.dtype)
    if unpack_data:
        k = min(m, n)
        eye = wrap(made(np.eye(m, k, dtype=factors._value.dtype)))
        lower = tril(factors[..., :k], -1) + eye
        upper = triu(factors[..., :k, :])
    return LU(order, lower, upper)


def ldl_factor(A: TensorLike, *, hermitian: bool = False) -> LDLFactor:
    """``L @ D @ Lᵀ = A`` of symmetric matrices, as `ldl_solve` takes them.

    Only the lower triangle is read. With ``hermitian`` it is ``L @ D @ Lᴴ`` of Hermitian ones. The
    matrix holds D, of blocks of one or two rows, and L below it; a block of two has equal negative
    pivots. As in PyTorch there is no derivative.

    Raises
    ------
    tinygrad_cnn.linalg.LinAlgError
        D is singular.

    Examples
    --------
    >>> import tinygrad_cnn as tg
    >>> A = tg.tensor([[4.0, 2.0], [2.0, 2.0]])
    >>> LD, pivots = tg.linalg.ldl_factor(A)
    >>> LD
    tensor([[4.0000, 0.0000],
            [0.5000, 1.0000]])
    >>> tg.linalg.ldl_solve(LD, pivots, A)
    tensor([[1., 0.],
            [0., 1.]])
    """
    return LDLFactor(*ldl_factor_ex(A, hermitian=hermitian, check_errors=True)[:2])


def _ldl(x: Array, hermitian: bool, check_errors: bool) -> tuple[Array, Array, Array]:
    factors, pivots, info = ops.ldl(x, hermitian)
    if check_errors and info.any():
        raise LinAlgError(
            f"ldl_factor: column {info[info != 0].flat[0]} of D is 0: `A` is singular"
        )
    return factors, pivots, np.asarray(info)


def ldl_factor_ex(
    A: TensorLike, *, hermitian: bool = False, check_errors: bool = False
) -> LDLFactorInfo:
    """`ldl_factor`, and ``info`` in place of an error: which column of D, from 1, is 0."""
    x = matrices("ldl_factor", A, square=True)
    factors, pivots, info = do(_ldl, x._given, hermitian, check_errors)
    return LDLFactorInfo(without_derivative("ldl_factor", factors, x), wrap(pivots), wrap(info))


def ldl_solve(
    LD: TensorLike, pivots: TensorLike, B: TensorLike, *, hermitian: bool = False
) -> Tensor:
    """``X`` with ``A @ X = B`` from the factors of A that `ldl_factor` returned.

    (..., n, n), (..., n), (..., n, k) → (..., n, k); batches broadcast. ``B`` has a derivative,
    which PyTorch has not, if the factors do not require one: they have none.
    """
    factors, b = matrices("ldl_solve", LD, square=True, argument="LD"), to_tensor(B)
    swaps = to_tensor(pivots)
    same_dtypes("ldl_solve", LD=factors, B=b)
    shape = factors._value.shape
    if swaps._value.dtype.kind != "i" or swaps._value.shape != shape[:-1]:
        raise ShapeError(
            f"ldl_solve: `pivots` is {swaps.dtype} of shape {swaps.shape}, expected int32 of shape "
            f"{shape[:-1]}, as `LD` has shape {shape}"
        )
    if b.ndim < 2 or b._value.shape[-2] != shape[-1]:
        raise ShapeError(f"ldl_solve: `B` has shape {b.shape}, expected (..., {shape[-1]}, k)")
    lead = np.broadcast_shapes(shape[:-2], b._value.shape[:-2])
    out: Tensor = linear_systems.ldl_solve(
        np.broadcast_to(factors._array, (*lead, *shape[-2:])),
        np.broadcast_to(swaps._array, (*lead, shape[-1])),
        b.expand((*lead, *b._value.shape[-2:])),
        hermitian=hermitian,
    )
    if factors.current_node() is not None:
        return without_derivative("ldl_solve", out._array, factors, b)
    return out


@export()
def geqrf(input: TensorLike) -> GeQRF:
    """R of the QR factorization and, in place of Q, the reflections that `ormqr` multiplies by.

    (..., m, n) → (..., m, n) with R on and above the diagonal and Householder's vectors below it,
    and their factors (..., min(m, n)). As in PyTorch there is no derivative; `linalg.qr` has one.
    """
    x = matrices("geqrf", input, argument="input")
    m, n = x._value.shape[-2:]
    if x._value.size:
        h, tau = np.linalg.qr(x._array, "raw")
    else:
        h, tau = np.zeros((*x.shape[:-2], n, m)), np.zeros((*x.shape[:-2], min(m, n)))
    h, tau = (np.asarray(a, x._value.dtype) for a in (np.swapaxes(h, -1, -2), tau))
    return GeQRF(
        without_derivative("geqrf", np.ascontiguousarray(h), x),
        without_derivative("geqrf", tau, x),
    )


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
    eye = wrap(made(np.eye(m, n, dtype=x._value.dtype)))
    return _reflected(x, t, eye.expand((*x._value.shape[:-2], m, n)))


def _reflected(x: Tensor, tau: Tensor, out: Any, *, inverse: bool = False) -> Tensor:
    """``H₁ H₂ ... Hₖ @ out``, or with ``inverse`` the product's conjugate transpose times it."""
    m, n = x._value.shape[-2:]
    k = tau._value.shape[-1]
    if not k:
        return out.clone()  # type: ignore[no-any-return]
    vectors = tril(x, -1) + wrap(made(np.eye(m, n, dtype=x._value.dtype)))
    factors = tau.conj() if inverse else tau
    for i in range(k) if inverse else reversed(range(k)):
        v = vectors[..., i : i + 1]  # (..., m, 1)
        out = out - factors[..., i : i + 1, None] * (v @ (mH(v) @ out))
    return out  # type: ignore[no-any-return]


@export()
def ormqr(
    input: TensorLike,
    tau: TensorLike,
    other: TensorLike,
    left: bool = True,
    transpose: bool = False,
) -> Tensor:
    """``Q @ other`` with the square Q that reflections give, as `geqrf` returns them.

    Parameters
    ----------
    input
        Matrices (..., m, k) whose columns below the diagonal hold the vectors.
    tau
        Their factors (..., min(m, k)).
    other
        Matrices (..., m, n), or (..., n, m) if not ``left``.
    left
        Whether Q stands at the left.
    transpose
        Whether the (conjugate) transpose of Q is taken.

    Examples
    --------
    >>> import tinygrad_cnn as tg
    >>> A = tg.tensor([[3.0, 1.0], [4.0, 2.0]])
    >>> tg.ormqr(*tg.geqrf(A), A, transpose=True).round(decimals=4)
    tensor([[-5.0000, -2.2000],
            [ 0.0000,  0.4000]])
    """
    x, t = matrices("ormqr", input, argument="input"), to_tensor(tau)
    c = matrices("ormqr", other, argument="other")
    same_dtypes("ormqr", input=x, tau=t, other=c)
    (m, k), lead = x._value.shape[-2:], x._value.shape[:-2]
    fits = c._value.shape[-2 if left else -1] == m and c._value.shape[:-2] == lead
    if not fits or t._value.shape != (*lead, min(m, k)):
        wanted = "(..., m, n)" if left else "(..., n, m)"
        raise ShapeError(
            f"ormqr: `input` has shape {x.shape}, `tau` {t.shape} and `other` {c.shape}, expected "
            f"(..., m, k), (..., min(m, k)) and {wanted}"
        )
    x = x[..., : min(m, k)]
    if left:
        return _reflected(x, t, c, inverse=transpose)
    return own(mH(_reflected(x, t, mH(c), inverse=not transpose)), c)
