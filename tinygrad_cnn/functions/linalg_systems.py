"""`tinygrad_cnn.linalg`: linear systems, inverses, determinants, functions of matrices."""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Any, NamedTuple, SupportsIndex

import numpy as np

from tinygrad_cnn.autograd.rounding import in_its_dtype, wide
from tinygrad_cnn.autograd.units import computed
from tinygrad_cnn.autograd.variable import wrap
from tinygrad_cnn.errors import ArgumentError, DtypeError, ShapeError
from tinygrad_cnn.functions.convert import own, to_tensor
from tinygrad_cnn.functions.export import export
from tinygrad_cnn.functions.linear_algebra import matmul
from tinygrad_cnn.kernels.tape import do, made
from tinygrad_cnn.ops import factorizations, linear_systems, matrix_functions
from tinygrad_cnn.ops.conjugate import is_complex
from tinygrad_cnn.ops.linear_systems import mH
from tinygrad_cnn.types import Array, TensorLike

if TYPE_CHECKING:
    from tinygrad_cnn.tensor import Tensor


class InverseInfo(NamedTuple):
    """What `inv_ex` returns; ``info`` is not 0 where a matrix has no inverse."""

    inverse: Tensor
    info: Tensor


class ResultInfo(NamedTuple):
    """What `solve_ex` returns; ``info`` is not 0 where a matrix is singular."""

    result: Tensor
    info: Tensor


class SignLogAbsDet(NamedTuple):
    """What `slogdet` returns: a determinant is ``sign * exp(logabsdet)``."""

    sign: Tensor
    logabsdet: Tensor


class LeastSquares(NamedTuple):
    """What `lstsq` returns; what the driver does not compute is empty."""

    solution: Tensor
    residuals: Tensor
    rank: Tensor
    singular_values: Tensor


def matrices(
    name: str, A: TensorLike, *, square: bool = False, argument: str = "A", half: bool = False
) -> Tensor:
    """``A`` as a tensor of (square) matrices of float32, float64 or complex numbers, or float16.

    Raises
    ------
    TypeError
        It is of another dtype.
    ValueError
        It has less than two axes, or is not square.
    """
    x: Tensor = wide(to_tensor(A))
    if x._value.dtype.kind not in "fc" or (x._value.dtype == np.float16 and not half):
        raise DtypeError(
            f"{name}: `{argument}` is {x.dtype}, expected float32, float64, complex64 or complex128"
        )
    shape = x._value.shape
    if len(shape) < 2 or (square and shape[-1] != shape[-2]):
        what = "(..., n, n)" if square else "(..., m, n)"
        raise ShapeError(f"{name}: `{argument}` has shape {shape}, expected {what}")
    return x


def same_dtypes(name: str, **tensors: Any) -> None:
    """Raise TypeError unless the tensors, by the names of arguments, are of one dtype."""
    dtypes = {n: x._value.dtype for n, x in tensors.items()}
    if len(set(dtypes.values())) > 1:
        said = ", ".join(f"`{n}` is {d}" for n, d in dtypes.items())
        raise DtypeError(f"{name}: {said}, expected one dtype")


def _info(x: Tensor) -> Tensor:
    """Where, counted from 1, the first pivot of each matrix is 0; 0 if none is."""
    n = x._value.shape[-1]
    return computed(_first_zero, x, n)


def _first_zero(x: Array, n: int) -> Array:
    factors = factorizations.lu.forward(x)
    return np.asarray(factorizations.lu_info(factors, n), np.int32)


def inv(A: TensorLike) -> Tensor:
    """The inverses of square matrices (..., n, n).

    Raises
    ------
    tinygrad_cnn.linalg.LinAlgError
        A matrix is singular.

    Examples
    --------
    >>> import tinygrad_cnn as tg
    >>> tg.linalg.inv(tg.tensor([[2.0, 0.0], [0.0, 4.0]]))
    tensor([[0.5000, 0.0000],
            [0.0000, 0.2500]])
    """
    out: Tensor = linear_systems.inv(matrices("inv", A, square=True))
    return out


def inv_ex(A: TensorLike, *, check_errors: bool = False) -> InverseInfo:
    """The inverses, and ``info`` in place of an error: NaN where a matrix has none."""
    x = matrices("inv_ex", A, square=True)
    return InverseInfo(linear_systems.inv(x, check=check_errors), _info(x))


def solve(A: TensorLike, B: TensorLike, *, left: bool = True) -> Tensor:
    """``X`` with ``A @ X = B`` (``X @ A = B`` unless ``left``).

    Parameters
    ----------
    A
        Square matrices (..., n, n).
    B
        Matrices (..., n, k), whose batch broadcasts with that of ``A``; or vectors: (n,), or of the
        shape of ``A`` without its last axis.

    Raises
    ------
    tinygrad_cnn.linalg.LinAlgError
        A matrix is singular.

    Examples
    --------
    >>> import tinygrad_cnn as tg
    >>> A, b = tg.tensor([[2.0, 1.0], [0.0, 4.0]]), tg.tensor([4.0, 8.0])
    >>> tg.linalg.solve(A, b)
    tensor([1., 2.])
    """
    a, b = matrices("solve", A, square=True), to_tensor(B)
    same_dtypes("solve", A=a, B=b)
    vector = b._value.ndim == 1 or b._value.shape == a._value.shape[:-1]
    if vector:
        if not left:
            raise ArgumentError("solve: `left` is False, but `B` is a vector")
        b = b.unsqueeze(-1)
    if b._value.ndim < 2:
        raise ShapeError(f"solve: `B` has shape {b.shape}, expected (..., n, k)")
    out: Any
    if left:
        out = linear_systems.solve(a, b)
    else:
        out = linear_systems.solve(a.transpose(-1, -2), b.transpose(-1, -2)).transpose(-1, -2)
    return own(out.squeeze(-1) if vector else out)


def solve_ex(
    A: TensorLike, B: TensorLike, *, left: bool = True, check_errors: bool = False
) -> ResultInfo:
    """`solve`, and ``info`` in place of an error: NaN where a matrix is singular."""
    a = matrices("solve_ex", A, square=True)
    info = _info(a)
    if check_errors or not info._array.any():
        return ResultInfo(solve(a, B, left=left), info)
    bad = wrap(info._array[..., None, None] != 0)
    eye = wrap(made(np.eye(a._value.shape[-1], dtype=a._value.dtype)))
    out = solve(a.masked_fill(bad, 0.0) + bad * eye, B, left=left)
    lost = bad if out._value.ndim > info._value.ndim + 1 else bad.squeeze(-1)
    return ResultInfo(out.masked_fill(lost, float("nan")), info)


def solve_triangular(
    A: TensorLike,
    B: TensorLike,
    *,
    upper: bool,
    left: bool = True,
    unitriangular: bool = False,
) -> Tensor:
    """``X`` with ``A @ X = B`` (``X @ A = B`` unless ``left``) for triangular matrices.

    Only the ``upper``, or else the lower, triangle of ``A`` (..., n, n) is read, and with
    ``unitriangular`` its diagonal is taken as ones. ``B`` is (..., n, k). A singular matrix gives
    infinities.
    """
    a = matrices("solve_triangular", A, square=True)
    b = matrices("solve_triangular", B, argument="B")
    same_dtypes("solve_triangular", A=a, B=b)
    kind = {"unitriangular": unitriangular}
    if left:
        out: Tensor = linear_systems.solve_triangular(a, b, upper=upper, **kind)
        return out
    a, b = a.transpose(-1, -2), b.transpose(-1, -2)
    return own(linear_systems.solve_triangular(a, b, upper=not upper, **kind).transpose(-1, -2))


def det(A: TensorLike) -> Tensor:
    """The determinants of square matrices: (..., n, n) → (...)."""
    out: Tensor = matrix_functions.det(matrices("det", A, square=True))
    return out


def slogdet(A: TensorLike) -> SignLogAbsDet:
    """Sign (or phase) and logarithm of the size of determinants, which cannot overflow.

    Examples
    --------
    >>> import tinygrad_cnn as tg
    >>> sign, logabsdet = tg.linalg.slogdet(-tg.eye(3) * 1e30)
    >>> sign.item(), round(logabsdet.item(), 3)
    (-1.0, 207.233)
    """
    x = matrices("slogdet", A, square=True)
    log_det = matrix_functions.log_det(x)
    if not is_complex(x):
        return SignLogAbsDet(matrix_functions.det_sign(x), log_det)
    zero = computed(np.isneginf, log_det.real)
    phase = (1j * log_det.imag).exp()
    return SignLogAbsDet(phase.masked_fill(zero, 0.0), log_det.real)


@export()
def logdet(input: TensorLike) -> Tensor:
    """The logarithm of determinants; NaN where one is negative, -inf where it is 0."""
    sign, log_size = slogdet(matrices("logdet", input, square=True))
    if is_complex(sign):
        out: Tensor = log_size + sign.log()
        return out
    return log_size.masked_fill(sign < 0, float("nan"))


def _cutoffs(
    x: Tensor, atol: Any, rtol: Any, shape: tuple[int, ...]
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Below which singular values of matrices of ``shape`` count as 0: as such, and relatively."""
    absolute = to_tensor(0.0 if atol is None else atol)._given
    if rtol is not None:
        return absolute, to_tensor(rtol)._given
    eps = max(shape[-2:]) * float(np.finfo(x._value.dtype).eps)
    return absolute, do(_unless, absolute, eps)


def _unless(absolute: Array, relative: float) -> Array:
    """``relative``, or 0 where something else than 0 is given."""
    return np.where(absolute > 0, 0.0, relative)


def pinv(
    A: TensorLike,
    rcond: Any = None,
    hermitian: bool = False,
    *,
    atol: Any = None,
    rtol: Any = None,
) -> Tensor:
    """The pseudo-inverses (Moore and Penrose) of matrices: (..., m, n) → (..., n, m).

    Parameters
    ----------
    rcond
        An older name of ``rtol``.
    hermitian
        The matrices are Hermitian: only their lower triangles are read.
    atol, rtol
        Singular values up to ``max(atol, rtol * the largest)`` count as 0. Default of ``rtol``:
        ``max(m, n)`` rounding units, or 0 where ``atol`` is above 0.
    """
    x = matrices("pinv", A, square=hermitian)
    atol, rtol = _cutoffs(x, atol, rcond if rtol is None else rtol, x._value.shape)
    out: Tensor = matrix_functions.pinv(x, atol, rtol, hermitian=hermitian)
    return out


@export()
def matrix_exp(A: TensorLike) -> Tensor:
    """The exponentials of square matrices: ``I + A + A @ A / 2 + ...``."""
    out: Tensor = matrix_functions.matrix_exp(matrices("matrix_exp", A, square=True))
    return out


def matrix_power(A: TensorLike, n: int) -> Tensor:
    """Square matrices to an integer power; of the inverses where ``n`` is negative."""
    x = to_tensor(A)
    if x._value.ndim < 2 or x._value.shape[-1] != x._value.shape[-2]:
        raise ShapeError(f"matrix_power: `A` has shape {x.shape}, expected (..., n, n)")
    if not isinstance(n, SupportsIndex):
        raise DtypeError(f"matrix_power: `n` is {n!r}, expected an integer")
    times = operator.index(n)
    if times < 0:
        x, times = inv(x), -times
    if not times:
        eye = np.eye(x._value.shape[-1], dtype=x._value.dtype)
        return wrap(made(np.broadcast_to(eye, x._value.shape).copy()))
    out: Any = None
    while True:
        if times & 1:
            out = x if out is None else matmul(out, x)
        times >>= 1
        if not times:
            return out.clone() if out is x and n == 1 else out
        x = matmul(x, x)


_DRIVERS = (None, "gels", "gelsy", "gelsd", "gelss")


@in_its_dtype
def lstsq(
    A: TensorLike, B: TensorLike, rcond: float | None = None, *, driver: str | None = None
) -> LeastSquares:
    """Least squares: ``X`` for which the norm of ``A @ X - B`` is smallest.

    By the pseudo-inverse, so that the shortest solution is found where there are several.

    Parameters
    ----------
    A
        Matrices (..., m, n).
    B
        Matrices (..., m, k), or vectors (..., m).
    rcond
        Singular values up to this times the largest count as 0. Default: ``max(m, n)`` rounding
        units.
    driver
        The name of one of LAPACK's: it says which of the other results are given. The default,
        "gelsy", and "gelsd" and "gelss" give the rank, "gels", "gelsd" and "gelss" residuals where
        all columns are independent, and "gelsd" and "gelss" singular values.
    """
    a, b = matrices("lstsq", A), to_tensor(B)
    same_dtypes("lstsq", A=a, B=b)
    if driver not in _DRIVERS:
        raise ArgumentError(f"lstsq: `driver` is {driver!r}, expected one of {_DRIVERS[1:]}")
    vector = b._value.ndim == a._value.ndim - 1
    if vector:
        b = b.unsqueeze(-1)
    m, n = a._value.shape[-2:]
    if b._value.ndim < 2 or b._value.shape[-2] != m:
        raise ShapeError(f"lstsq: `A` has shape {a.shape} and `B` {b.shape}, expected {m} rows")
    solution = matmul(pinv(a, rcond), b)
    residuals = values = wrap(made(np.empty(0, a._array.real.dtype)))
    rank = np.empty(0, np.int64)
    if driver != "gels":
        found = np.linalg.svd(a._array, compute_uv=False)
        _, relative = _cutoffs(a, None, rcond, a._value.shape)
        rank = np.asarray((found > relative * found.max(-1, initial=0.0, keepdims=True)).sum(-1))
        values = wrap(found) if driver in _DRIVERS[3:] else values
    if m > n and driver in _DRIVERS[1:2] + _DRIVERS[3:] and (rank == n).all():  # true of none
        off = (matmul(a, solution) - b).abs()
        residuals = (off * off).sum(-2)
    return LeastSquares(
        own(solution.squeeze(-1)) if vector else solution, residuals, wrap(rank), values
    )


@in_its_dtype
def lu_solve(
    LU: TensorLike, pivots: TensorLike, B: TensorLike, *, left: bool = True, adjoint: bool = False
) -> Tensor:
    """``X`` with ``A @ X = B`` from the factors of A that `lu_factor` gave.

    With ``adjoint`` the conjugate transpose of A; with ``left=False`` ``X @ A = B``.
    """
    from tinygrad_cnn.functions.linalg_factorizations import lu_unpack

    factors, b = matrices("lu_solve", LU, square=True), matrices("lu_solve", B, argument="B")
    same_dtypes("lu_solve", LU=factors, B=b)
    if not left:
        return own(mH(lu_solve(factors, pivots, mH(b), adjoint=not adjoint)))
    order, _, _ = lu_unpack(factors, pivots)  # P with P L U = A
    if adjoint:
        half = solve_triangular(mH(factors), b, upper=False)
        return matmul(order, solve_triangular(mH(factors), half, upper=True, unitriangular=True))
    half = solve_triangular(
        factors, matmul(order.transpose(-1, -2), b), upper=False, unitriangular=True
    )
    return solve_triangular(factors, half, upper=True)


@export()
def cholesky_solve(B: TensorLike, L: TensorLike, upper: bool = False) -> Tensor:
    """``X`` with ``A @ X = B`` from the factor of `cholesky`: A is ``L @ Lᴴ``, or ``Lᴴ @ L``."""
    factor = matrices("cholesky_solve", L, square=True, argument="L")
    b = matrices("cholesky_solve", B, argument="B")
    same_dtypes("cholesky_solve", B=b, L=factor)
    lower: Any = mH(factor) if upper else factor
    # as in PyTorch, the gradient of a factor is that of a whole matrix
    half = linear_systems.solve_triangular(lower, b, upper=False, unitriangular=False, whole=True)
    out: Tensor = linear_systems.solve_triangular(
        mH(lower), half, upper=True, unitriangular=False, whole=True
    )
    return out


@export()
def cholesky_inverse(L: TensorLike, upper: bool = False) -> Tensor:
    """The inverse of ``L @ Lᴴ`` (of ``Lᴴ @ L`` with ``upper``), of which L is the factor."""
    factor = matrices("cholesky_inverse", L, square=True, argument="L")
    eye = np.broadcast_to(np.eye(factor._value.shape[-1], dtype=factor._value.dtype), factor.shape)
    return cholesky_solve(wrap(made(eye.copy())), factor, upper)


def tensorinv(A: TensorLike, ind: int = 2) -> Tensor:
    """The inverse of ``A`` as a map between tensors: of `tensordot` with ``ind`` axes.

    The first ``ind`` sides of ``A`` and the others must have one product.
    """
    x = to_tensor(A)
    shape = x._value.shape
    if not isinstance(ind, int) or ind <= 0:
        raise ArgumentError(f"tensorinv: `ind` is {ind!r}, expected a positive integer")
    first, rest = shape[:ind], shape[ind:]
    n = int(np.prod(first))
    if n != int(np.prod(rest)):
        raise ShapeError(
            f"tensorinv: `A` has shape {shape}, but the products of {first} and {rest} differ"
        )
    return own(inv(x.reshape(n, n)).reshape((*rest, *first)))


def tensorsolve(A: TensorLike, B: TensorLike, dims: Any = None) -> Tensor:
    """``X`` with ``tensordot(A, X, X.ndim) = B``; the axes ``dims`` of A are moved to its end."""
    a, b = to_tensor(A), to_tensor(B)
    if dims is not None:
        a = a.movedim(tuple(dims), tuple(range(-len(dims), 0)))
    rest = a._value.shape[b._value.ndim :]
    n = int(np.prod(rest))
    if a._value.size != n * n or b._value.size != n:
        raise ShapeError(
            f"tensorsolve: `A` has shape {a.shape} and `B` {b.shape}, expected as many equations "
            f"as unknowns"
        )
    return own(solve(a.reshape(n, n), b.reshape(n)).reshape(rest))


def matrix_rank(
    A: TensorLike,
    tol: Any = None,
    hermitian: bool = False,
    *,
    atol: Any = None,
    rtol: Any = None,
) -> Tensor:
    """How many singular values of each matrix are above ``max(atol, rtol * the largest)``.

    Parameters
    ----------
    tol
        An older name of ``atol``, without ``rtol``.
    hermitian
        The matrices are Hermitian: their eigenvalues' sizes are counted.
    atol, rtol
        As in `pinv`.
    """
    x = matrices("matrix_rank", A, square=hermitian)
    if tol is not None:
        atol, rtol = tol, 0.0
    absolute, relative = _cutoffs(x, atol, rtol, x._value.shape)
    return computed(_rank, x, absolute, relative, hermitian)


def _rank(x: Array, absolute: Array, relative: Array, hermitian: bool) -> Array:
    if hermitian:
        values = np.abs(np.linalg.eigvalsh(x))
    else:
        values = np.linalg.svd(x, compute_uv=False)
    cutoff = np.maximum(absolute, relative * values.max(-1, initial=0.0))
    return np.asarray((values > cutoff[..., None]).sum(-1))
