"""Factorizations under the names and with the arguments that stand in ``torch`` itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from tinygrad_cnn.autograd.variable import wrap
from tinygrad_cnn.functions import linalg_factorizations as linalg
from tinygrad_cnn.functions import linalg_norms, linalg_systems
from tinygrad_cnn.functions.export import export
from tinygrad_cnn.functions.linalg_systems import matrices
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
            wrap(np.zeros((*lead, m, m), dtype)), s, wrap(np.zeros((*lead, n, n), dtype))
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
    out = linalg_norms.vander(x, N=N)
    return out if increasing else out.flip(-1)
