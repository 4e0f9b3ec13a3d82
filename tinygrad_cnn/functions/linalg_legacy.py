"""Factorizations under the names and with the arguments that stand in ``torch`` itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from tinygrad_cnn.autograd.variable import wrap
from tinygrad_cnn.errors import ArgumentError
from tinygrad_cnn.functions import linalg_factorizations as linalg
from tinygrad_cnn.functions import linalg_norms, linalg_systems
from tinygrad_cnn.functions.convert import to_tensor
from tinygrad_cnn.functions.export import export
from tinygrad_cnn.functions.linalg_systems import matrices
from tinygrad_cnn.functions.sampling import randn
from tinygrad_cnn.kernels.tape import made
from tinygrad_cnn.ops.linear_systems import mH
from tinygrad_cnn.types import TensorLike

if TYPE_CHECKING:
    from tinygrad_cnn.tensor import Tensor


class SVDWithV(NamedTuple):
    """What `tinygrad_cnn.svd` returns: ``U @ diag(S) @ Vᴴ``, with V and not its transpose."""

    U: Tensor
    S: Tensor
    V: Tensor


class TriangularSolution(NamedTuple):
    """What `triangular_solve` returns: the solution and a copy of the matrix."""

    solution: Tensor
    cloned_coefficient: Tensor


@export()
def inverse(input: TensorLike) -> Tensor:
    """The inverses of square matrices, as `linalg.inv`."""
    return linalg_systems.inv(input)


@export()
def det(input: TensorLike) -> Tensor:
    """The determinants of square matrices, as `linalg.det`."""
    return linalg_systems.det(input)


@export()
def slogdet(input: TensorLike) -> linalg_systems.SignLogAbsDet:
    """Sign and logarithm of the size of determinants, as `linalg.slogdet`."""
    return linalg_systems.slogdet(input)


@export()
def matrix_power(input: TensorLike, n: int) -> Tensor:
    """Square matrices to an integer power, as `linalg.matrix_power`."""
    return linalg_systems.matrix_power(input, n)


@export()
def orgqr(input: TensorLike, tau: TensorLike) -> Tensor:
    """Products of Householder's reflections, as `linalg.householder_product`."""
    return linalg.householder_product(input, tau)


@export()
def cholesky(input: TensorLike, upper: bool = False) -> Tensor:
    """The Cholesky factor of positive definite matrices, as `linalg.cholesky`."""
    return linalg.cholesky(input, upper=upper)


@export()
def qr(input: TensorLike, some: bool = True) -> linalg.QR:
    """The QR factorization, reduced or (``some=False``) complete, as `linalg.qr`."""
    return linalg.qr(input, "reduced" if some else "complete")


@export()
def svd(input: TensorLike, some: bool = True, compute_uv: bool = True) -> SVDWithV:
    """Singular values and vectors, as `linalg.svd`, but with V in place of its transpose.

    With ``some=False`` U and V are square; without ``compute_uv`` they are zeros.
    """
    x = matrices("svd", input, argument="input")
    u, s, vh = linalg.svd(x, full_matrices=not some)
    if not compute_uv:
        m, n = x._value.shape[-2:]
        lead, dtype = x._value.shape[:-2], x._value.dtype
        return SVDWithV(
            wrap(made(np.zeros((*lead, m, m), dtype))),
            s,
            wrap(made(np.zeros((*lead, n, n), dtype))),
        )
    return SVDWithV(u, s, mH(vh))


@export()
def pinverse(input: TensorLike, rcond: float = 1e-15) -> Tensor:
    """The pseudo-inverses of matrices, as `linalg.pinv`."""
    return linalg_systems.pinv(input, rcond)


@export()
def lu(A: TensorLike, pivot: bool = True, get_infos: bool = False) -> Any:
    """``(LU, pivots)`` as `linalg.lu_factor` and, with ``get_infos``, where a pivot is 0."""
    found = linalg.lu_factor_ex(A, pivot=pivot)
    return found if get_infos else linalg.LUFactor(*found[:2])


@export()
def lu_solve(b: TensorLike, LU_data: TensorLike, LU_pivots: TensorLike) -> Tensor:
    """``X`` with ``A @ X = b`` from the factors of A, as `linalg.lu_solve`."""
    return linalg_systems.lu_solve(LU_data, LU_pivots, b)


@export()
def triangular_solve(
    b: TensorLike,
    A: TensorLike,
    upper: bool = True,
    transpose: bool = False,
    unitriangular: bool = False,
) -> TriangularSolution:
    """``X`` with ``A @ X = b`` of triangles of A, or its transpose: `linalg.solve_triangular`."""
    a = matrices("triangular_solve", A, square=True)
    x = linalg_systems.solve_triangular(
        a.transpose(-1, -2) if transpose else a,
        b,
        upper=upper != transpose,
        unitriangular=unitriangular,
    )
    return TriangularSolution(x, a.clone())


@export(method=False)
def vander(x: TensorLike, N: int | None = None, increasing: bool = False) -> Tensor:
    """The powers of a vector side by side, descending unless ``increasing``."""
    out = linalg_norms.vander(x, N=1 if N == 0 else N)
    if N == 0:
        return out[..., :0]
    return out if increasing else out.flip(-1)


@export(method=False)
def svd_lowrank(
    A: TensorLike, q: int | None = 6, niter: int | None = 2, M: TensorLike | None = None
) -> SVDWithV:
    """The ``q`` largest singular values of ``A - M`` and their vectors, about, by random numbers.

    N. Halko, P.-G. Martinsson and J. A. Tropp, "Finding structure with randomness" (2011),
    algorithm 5.1: exact where the rank is at most ``q``.

    Parameters
    ----------
    A
        Matrices (..., m, n).
    q
        How many values; some more than the rank that is expected.
    niter
        How often the directions are improved.
    M
        Matrices that broadcast to the shape of ``A``.

    Returns
    -------
    SVDWithV
        U (..., m, q), S (..., q) and V (..., n, q).
    """
    x = matrices("svd_lowrank", A)
    count, times = 6 if q is None else q, 2 if niter is None else niter
    m, n = x._value.shape[-2:]
    if not 0 <= count <= min(m, n) or times < 0:
        raise ArgumentError(
            f"svd_lowrank: `q` is {q} and `niter` {niter}, expected 0 to {min(m, n)} as `A` has "
            f"shape {x.shape}, and a number that is not negative"
        )
    if M is not None:
        x = x - to_tensor(M).expand(x._value.shape)
    tall = mH(x) if m < n else x
    q_ = linalg.qr(tall @ randn(tall._value.shape[-1], count, dtype=x._value.dtype)).Q
    for _ in range(times):
        q_ = linalg.qr(tall @ linalg.qr(mH(tall) @ q_).Q).Q
    u, s, vh = linalg.svd(mH(q_) @ tall, False)
    u, v = q_ @ u, mH(vh)
    return SVDWithV(v, s, u) if m < n else SVDWithV(u, s, v)


@export(method=False)
def pca_lowrank(
    A: TensorLike, q: int | None = None, center: bool = True, niter: int = 2
) -> SVDWithV:
    """`svd_lowrank` of matrices (..., m, n) of m samples, less, with ``center``, their mean.

    The columns of V are the principal directions; ``S**2 / (m - 1)`` are the variances along them.
    ``q`` is at most min(m, n), and that or 6 by default.
    """
    x = matrices("pca_lowrank", A)
    count = min(6, *x._value.shape[-2:]) if q is None else q
    return svd_lowrank(x - x.mean(-2, keepdim=True) if center else x, count, niter)
