"""Factorizations of matrices. Each gives its factors as one array, whose parts are views.

Batches of matrices lie along the last two axes.
"""

# A rule may name its own operation, whose type mypy does not know yet at that place.
# mypy: disable-error-code="has-type"

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_cnn.autograd.registry import op
from tinygrad_cnn.autograd.samples import Draw, ErrorSample, Sample
from tinygrad_cnn.autograd.units import computed
from tinygrad_cnn.autograd.variable import wrap
from tinygrad_cnn.errors import ArgumentError, LinAlgError
from tinygrad_cnn.kernels.tape import do, made
from tinygrad_cnn.ops.choice import where
from tinygrad_cnn.ops.complex import imag_part, real
from tinygrad_cnn.ops.conjugate import conj
from tinygrad_cnn.ops.index import diagonal, gather
from tinygrad_cnn.ops.linalg import _mT as mT
from tinygrad_cnn.ops.linalg import matmul
from tinygrad_cnn.ops.linear_systems import (
    check_phases,
    mH,
    over,
    phase_term,
    singular,
    solve,
    solve_triangular,
)
from tinygrad_cnn.ops.reduce import prod
from tinygrad_cnn.ops.shape import cat, tril, triu
from tinygrad_cnn.types import Array

# ---- shared by the rules -------------------------------------------------------------------


def column_scaled(x: Any, s: Any) -> Any:
    """``x @ diag(s)``."""
    return x * s[..., None, :]


def _eye(x: Any) -> Any:
    return wrap(made(np.eye(x._value.shape[-1], dtype=x._value.dtype)))


def _only_diagonal(s: Any) -> Any:
    return s[..., None] * _eye(s)


def _skew(x: Any) -> Any:
    return x - mH(x)


def _differences(s: Any) -> Any:
    """``s[j] - s[i]``, and 1 where i = j."""
    return s[..., None, :] - s[..., None] + _eye(s)


def _spread(draw: Draw, m: int, n: int) -> Array:
    """Matrices (m, n) whose singular values lie apart."""
    u, _, vh = np.linalg.svd(draw.array((*draw.shape(max_dims=1), m, n)), full_matrices=False)
    return np.asarray((u * (1.3 + np.arange(min(m, n)))[::-1]) @ vh)


# ---- Cholesky ------------------------------------------------------------------------------


def _hermitian(x: Array, triangle: str) -> Array:
    return np.asarray((x + np.conj(np.swapaxes(x, -1, -2))) / 2) if triangle == "both" else x


def _cholesky_rule(g: Any, y: Any) -> Any:
    """I. Murray, "Differentiation of the Cholesky decomposition" (2016)."""
    inner = tril(matmul(mH(y), g))
    halved = inner - 0.5 * _only_diagonal(diagonal(inner))
    inverse = solve_triangular(y, _eye(y), upper=False, unitriangular=False)
    out = matmul(mH(inverse), matmul(halved, inverse))
    return 0.5 * (out + mH(out))


def _positive_samples(draw: Draw) -> Sample:
    n = draw.integer(0, 3)
    x = draw.array((*draw.shape(max_dims=1), n, n), -1.0, 1.0)
    return Sample((x @ np.swapaxes(x, -1, -2) + 2 * np.eye(n),))


def cholesky_info(x: Array) -> Array:
    """The order of the first leading minor that is not positive, by matrix; 0 if all are."""
    from scipy.linalg import get_lapack_funcs

    (potrf,) = get_lapack_funcs(("potrf",), (x,))
    info = np.zeros(x.shape[:-2], np.int32)
    if x.size:
        for at in np.ndindex(info.shape):
            info[at] = potrf(x[at], lower=True)[1]
    return info


@op(
    complex="whole",
    vjp=_cholesky_rule,
    ignore_fp_errors=True,
    samples=_positive_samples,
    errors=(ErrorSample((-np.eye(2),), {}, RuntimeError, "is not positive definite"),),
)
def cholesky(x: Array, *, triangle: str = "both", check: bool = True) -> Array:
    """Lower triangular L with ``L @ Lᴴ = x``; NaN, without ``check``, where there is none.

    Of ``x`` the ``"lower"`` or ``"upper"`` triangle is read, or the mean of ``"both"``. As in
    PyTorch, the gradient is that of both in any case.
    """
    x = _hermitian(x, triangle)
    if triangle == "upper":
        x = np.conj(np.swapaxes(x, -1, -2))
    try:
        return np.linalg.cholesky(x)
    except np.linalg.LinAlgError:
        info = cholesky_info(x)
    if check:
        at = tuple(int(i) for i in np.argwhere(info)[0])
        why = f"is not positive definite (the leading minor of order {info[at]} is not)"
        raise singular("cholesky", at, why)
    out = np.full_like(x, np.nan)
    out[info == 0] = np.linalg.cholesky(x[info == 0])
    return out


# ---- QR ------------------------------------------------------------------------------------


def qr_parts(y: Any, m: int) -> tuple[Any, Any]:
    """Q (..., m, k) and R (..., k, n) of the array that `qr` gives."""
    return y[..., :m, :], mT(y[..., m:, :])


def _qr_rule(g: Any, y: Any, shapes: Any, mode: str) -> Any:
    """The gradient of a QR factorization.

    S. F. Walter and L. Lehmann, "Algorithmic differentiation of linear algebra functions with
    application in optimum experimental design" (2010). Of a wide matrix (X, Y) = Q (U, V) only X
    is factorized: V is Qᴴ Y.
    """
    m, n = shapes[0][-2:]
    if mode == "r":
        raise ArgumentError("qr: the derivative of mode 'r' needs Q; use mode 'reduced'")
    (q, r), (gq, gr) = qr_parts(y, m), qr_parts(g, m)
    if q._value.shape[-1] > n:
        raise ArgumentError(
            "qr: the derivative of mode 'complete' is not defined for more rows than columns, as "
            "the last columns of Q are free; use mode 'reduced'"
        )
    u, gu = r[..., :m], gr[..., :m]  # (..., k, k)
    if m < n:
        v, gv = r[..., m:], gr[..., m:]  # (..., k, n - k)
        gq = gq + matmul(q, matmul(v, mH(gv)))
    upper = triu(matmul(gu, mH(u)) - matmul(mH(q), gq))
    both = upper + mH(upper)
    both = both - 0.5 * _only_diagonal(diagonal(both))
    out = mH(solve_triangular(u, mH(gq + matmul(q, both)), upper=True, unitriangular=False))
    return cat(out, matmul(q, gv), dim=len(shapes[0]) - 1) if m < n else out


def _qr_samples(draw: Draw) -> Sample:
    m, n = draw.integer(1, 3), draw.integer(1, 3)
    x = np.eye(m, n) * 2 + draw.array((*draw.shape(max_dims=1), m, n), -0.5, 0.5)
    return Sample((x,), {"mode": draw.choice(("reduced", "complete")) if m <= n else "reduced"})


@op(complex="whole", vjp=_qr_rule, ignore_fp_errors=True, samples=_qr_samples)
def qr(x: Array, *, mode: str = "reduced") -> Array:
    """``Q @ R = x`` with orthonormal columns of Q and R upper triangular.

    Q (..., m, k) and below it the transpose of R (..., k, n): (..., m, n) → (..., m + n, k). In
    mode "r" there are zeros for Q.
    """
    if mode == "r":
        r: Any = np.linalg.qr(x, "r")
        q = np.zeros((*x.shape[:-1], r.shape[-2]), x.dtype)
    else:
        q, r = np.linalg.qr(x, mode)  # type: ignore[call-overload]
    return np.concatenate([q, np.swapaxes(r, -1, -2)], -2)


# ---- LU ------------------------------------------------------------------------------------


def lu_parts(y: Any, n: int) -> tuple[Any, Any]:
    """L (..., m, k) and U (..., k, n) of the array that `lu` gives."""
    m = y._value.shape[-2]
    k = min(m, n)
    lower = tril(y[..., :k], diagonal=-1)
    return lower + wrap(made(np.eye(m, k, dtype=y._value.dtype))), triu(y[..., :k, :n])


def lu_numbers(y: Any, n: int) -> tuple[Array, Array]:
    """Of the array that `lu` gives the order of the rows (..., m) and LAPACK's pivots (..., k)."""
    k = min(y._value.shape[-2], n)
    return _order(y, n), do(_as_integers, y._given[..., :k, n + 1], np.int32)


def _order(y: Any, n: int) -> Array:
    return do(_as_integers, y._given[..., n], np.int64)


def _as_integers(numbers: Array, dtype: Any) -> Array:
    return numbers.real.astype(dtype)


def _lu_rule(g: Any, y: Any, shapes: Any) -> Any:
    """The gradient of P L U = x.

    F. de Hoog, R. Anderssen and M. Lukas, "Differentiation of matrix functionals using triangular
    factorization" (2011), with L or U of any shape: what lies beyond the square part of a wide or
    a high matrix is a product with the inverse of one factor.
    """
    m, n = shapes[0][-2:]
    k = min(m, n)
    lower, upper = lu_parts(y, n)
    gl, gu = g[..., :k], g[..., :k, :n]  # of which the other triangles are not used below
    l1, u1 = lower[..., :k, :], upper[..., :k]
    inner_l, inner_u = matmul(mH(l1), gl[..., :k, :]), matmul(gu[..., :k], mH(u1))
    if n > k:
        inner_l = inner_l - matmul(gu[..., k:], mH(upper[..., k:]))
    if m > k:
        inner_u = inner_u - matmul(mH(lower[..., k:, :]), gl[..., k:, :])
    inner = tril(inner_l, diagonal=-1) + triu(inner_u)
    last = len(shapes[0]) - 1

    def left(x: Any) -> Any:  # L₁⁻ᴴ x
        return solve_triangular(mH(l1), x, upper=True, unitriangular=True)

    def right(x: Any) -> Any:  # x U₁⁻ᴴ
        return mH(solve_triangular(u1, mH(x), upper=True, unitriangular=False))

    out = right(left(inner))
    if n > k:
        out = cat(out, left(gu[..., k:]), dim=last)
    if m > k:
        out = cat(out, right(gl[..., k:, :]), dim=last - 1)
    rows = computed(_inverse_order, wrap(_order(y, n)), shapes[0])  # back to the order of x
    return gather(out, rows, dim=last - 1)


def _inverse_order(order: Array, shape: Any) -> Array:
    return np.broadcast_to(np.argsort(order, -1)[..., None], shape)


def lu_info(y: Array, n: int) -> Array:
    """Where, counted from 1, the first pivot is 0, by matrix; 0 if none is."""
    pivots = np.diagonal(y[..., :n], axis1=-2, axis2=-1)
    return np.where((pivots == 0).any(-1), (pivots == 0).argmax(-1) + 1 if pivots.size else 0, 0)


@op(
    complex="whole",
    vjp=_lu_rule,
    ignore_fp_errors=True,
    samples=lambda draw: Sample((np.roll(_qr_samples(draw).args[0], 1, -2),)),
)
def lu(x: Array, *, pivot: bool = True) -> Array:
    """``P @ L @ U = x`` with L lower triangular of unit diagonal and U upper triangular.

    (..., m, n) → (..., m, n + 2): L below and U on and above the diagonal, then a column with the
    order of the rows, and one with LAPACK's pivots, counted from 1.
    """
    from scipy.linalg import get_lapack_funcs

    (getrf,) = get_lapack_funcs(("getrf",), (x,))
    m, n = x.shape[-2:]
    out = np.zeros((*x.shape[:-1], n + 2), x.dtype)
    out[..., n] = np.arange(m)
    for at in np.ndindex(x.shape[:-2] if m and n else (0,)):
        factors, swaps = (getrf(x[at])[:2]) if pivot else _without_pivots(x[at])
        out[at][:, :n], out[at][:, n] = factors, order_of(swaps + 1, m)
        out[at][: len(swaps), n + 1] = swaps + 1
    return out


def order_of(pivots: Array, m: int) -> Array:
    """The order of m rows after exchanges ``pivots``, counted from 1: (..., k) → (..., m)."""
    out = np.empty((*pivots.shape[:-1], m), np.int64)
    for at in np.ndindex(pivots.shape[:-1]):
        out[at] = np.arange(m)
        for i, j in enumerate(pivots[at] - 1):
            out[at][[i, j]] = out[at][[j, i]]
    return out


def _without_pivots(x: Array) -> tuple[Array, Array]:
    x, k = x.copy(), min(x.shape)
    for i in range(k):
        x[i + 1 :, i] /= x[i, i]
        x[i + 1 :, i + 1 :] -= np.outer(x[i + 1 :, i], x[i, i + 1 :])
    return x, np.arange(k)


def ldl(x: Array, hermitian: bool) -> tuple[Array, Array, Array]:
    """LAPACK's factors L and D of symmetric matrices in one matrix, its pivots, and where, counted
    from 1, D is 0. The lower triangle is read.
    """
    from scipy.linalg import get_lapack_funcs

    kind = "hetrf" if hermitian and x.dtype.kind == "c" else "sytrf"
    (factorize,) = get_lapack_funcs((kind,), (x,))
    out, lead = np.zeros_like(x), x.shape[:-2]
    pivots, info = np.zeros(x.shape[:-1], np.int32), np.zeros(lead, np.int32)
    for at in np.ndindex(lead if x.size else (0,)):
        factors, pivots[at], info[at] = factorize(x[at], lower=1)
        out[at] = np.tril(factors)
    return out, pivots, info


# ---- singular values and eigenvalues -------------------------------------------------------


def converged(name: str, function: Any, x: Array, *args: Any) -> Any:
    """``function(x, *args)`` of LAPACK, whose iterations end unless ``x`` is not finite."""
    try:
        return function(x, *args)
    except np.linalg.LinAlgError:
        what = "" if np.isfinite(x).all() else ": a matrix holds NaN or infinity"
        raise LinAlgError(f"{name}: the iteration did not converge{what}") from None


def svd_parts(y: Any, m: int, n: int) -> tuple[Any, Any, Any]:
    """U (..., m, k), S (..., k) and Vᴴ (..., k, n) of the array that `svd` gives."""
    return y[..., :m, :], real(y[..., m, :]), mT(y[..., m + 1 :, :])


def _svd_rule(g: Any, y: Any, shapes: Any) -> Any:
    """J. Townsend, "Differentiating the singular value decomposition" (2016), and, for complex
    matrices, Z.-Q. Wan and S.-X. Zhang, "Automatic differentiation for complex valued SVD" (2019).
    """
    m, n = shapes[0][-2:]
    (u, s, vh), (gu, gs, gvh) = svd_parts(y, m, n), svd_parts(g, m, n)
    k = s._value.shape[-1]
    of_u, of_v = matmul(mH(u), gu), matmul(vh, mH(gvh))
    skew_u, skew_v = _skew(of_u), _skew(of_v)
    gap = _differences(s) * (s[..., None, :] + s[..., None])  # s[j]² - s[i]², not 0 where i = j
    inner = over(column_scaled(skew_u, s) + s[..., None] * skew_v, gap) + _only_diagonal(gs)
    check_phases("svd", of_u, of_v)
    inner = inner + phase_term(skew_u, s)
    out = matmul(u, inner)
    if m > k:
        out = out + over(gu - matmul(u, of_u), s[..., None, :])
    out = matmul(out, vh)
    if n > k:
        out = out + matmul(u, over(gvh - matmul(mH(of_v), vh), s[..., None]))
    return out


def _svd_samples(draw: Draw) -> Sample:
    return Sample((_spread(draw, draw.integer(1, 3), draw.integer(1, 3)),))


@op(complex="apart", vjp=_svd_rule, ignore_fp_errors=True, samples=_svd_samples)
def svd(x: Array, *, given: Any = None) -> Array:
    """``U @ diag(S) @ Vᴴ = x`` with orthonormal columns, S descending, or the factors ``given``.

    U (..., m, k), below it S, and below that V (not conjugated): (..., m, n) → (..., m+1+n, k).
    """
    u, s, vh = converged("svd", np.linalg.svd, x, False) if given is None else given
    return np.concatenate([u, s[..., None, :], np.swapaxes(vh, -1, -2)], -2)


def eigh_parts(y: Any) -> tuple[Any, Any]:
    """The eigenvalues (..., n) and vectors (..., n, n) of the array that `eigh` gives."""
    return real(y[..., 0, :]), y[..., 1:, :]


def _eigh_rule(g: Any, y: Any) -> Any:
    """M. B. Giles, "Collected matrix derivative results" (2008), section 3.1."""
    (values, vectors), (g_values, g_vectors) = eigh_parts(y), eigh_parts(g)
    inner = matmul(mH(vectors), g_vectors)
    check_phases("eigh", inner)
    skew = _skew(inner)
    inner = over(0.5 * skew, _differences(values)) + _only_diagonal(g_values)
    return matmul(vectors, matmul(inner, mH(vectors)))


def _eigh_samples(draw: Draw) -> Sample:
    n = draw.integer(1, 3)
    q, _ = np.linalg.qr(draw.array((*draw.shape(max_dims=1), n, n)))
    x = (q * (np.arange(n) - 0.7)) @ np.swapaxes(q, -1, -2)
    return Sample((np.asarray((x + np.swapaxes(x, -1, -2)) / 2),))


@op(complex="apart", vjp=_eigh_rule, ignore_fp_errors=True, samples=_eigh_samples)
def eigh(x: Array, *, triangle: str = "both") -> Array:
    """The eigenvalues, ascending, of Hermitian matrices, and below them the eigenvectors.

    (..., n, n) → (..., n + 1, n). For ``triangle`` see `cholesky`.
    """
    values, vectors = converged(
        "eigh", np.linalg.eigh, _hermitian(x, triangle), "U" if triangle == "upper" else "L"
    )
    return np.concatenate([values[..., None, :], vectors], -2, dtype=x.dtype)


def eig_parts(y: Any) -> tuple[Any, Any]:
    """The eigenvalues (..., n) and vectors (..., n, n) of the array that `eig` gives."""
    return y[..., 0, :], y[..., 1:, :]


def _largest(vectors: Array) -> Array:
    """The row of each vector's largest component, in every row: (..., n, n)."""
    at = np.abs(vectors).argmax(-2)[..., None]  # (..., n, 1)
    return np.broadcast_to(at, vectors.shape)


def _eig_rule(g: Any, y: Any, phases: str) -> Any:
    """C. Boeddeker et al., "On the computation of complex-valued gradients with application to
    statistically optimum beamforming" (2017), section 4.18, for vectors of length 1.
    """
    (values, vectors), (g_values, g_vectors) = eig_parts(y), eig_parts(g)
    inner = matmul(mH(vectors), g_vectors)
    on_diagonal = diagonal(inner)
    if phases == "free":
        check_phases("eig", inner)
    inner = inner - column_scaled(matmul(mH(vectors), vectors), real(on_diagonal))
    if phases == "lapack":  # that of the largest component stays real
        rows = computed(_largest, vectors)
        rows = gather(vectors, rows, dim=vectors._value.ndim - 2)  # those of the largest
        inner = inner - column_scaled(mH(rows), 1j * imag_part(on_diagonal) / diagonal(rows))
    inner = over(inner, conj(_differences(values))) + _only_diagonal(g_values)
    return solve(mH(vectors), matmul(inner, mH(vectors)))


def _eig_samples(draw: Draw) -> Sample:
    n = draw.integer(1, 3)
    x = draw.array((*draw.shape(max_dims=1), n, n), -0.3, 0.3)
    return Sample((x + np.diag(2.0 * np.arange(n) - 1.0),), {"phases": "lapack"})


@op(complex="whole", vjp=_eig_rule, ignore_fp_errors=True, samples=_eig_samples)
def eig(x: Array, *, phases: str = "free") -> Array:
    """The complex eigenvalues of square matrices, and below them the eigenvectors.

    (..., n, n) → (..., n + 1, n). The rule refuses gradients that depend on the vectors' phases,
    if these are "free", or gives those of the phases that "lapack" chooses.
    """
    values, vectors = converged("eig", np.linalg.eig, x)
    dtype = np.complex64 if x.dtype.itemsize == 4 or x.dtype == np.complex64 else np.complex128
    return np.concatenate([values[..., None, :], vectors], -2, dtype=dtype)


# ---- cofactors -----------------------------------------------------------------------------


def all_but_one(s: Any) -> Any:
    """For each element of the last axis the product of all others: (..., n) → (..., n)."""
    n = s._value.shape[-1]
    rows = where(wrap(made(np.eye(n, dtype=np.bool_))), 1.0, s[..., None, :])  # (..., n, n)
    return prod(rows, dim=(rows._value.ndim - 1,))


def cofactors(x: Any, det: Any) -> Any:
    """The conjugate matrices of cofactors, by singular values, none of which is divided by.

    Where two of them are 0, so are all cofactors; as in PyTorch, their derivatives are NaN there.
    """
    u, s, vh = svd_parts(svd(x), *x._value.shape[-2:])
    scale = conj(det(u) * det(vh))[..., None]  # (..., 1)
    return matmul(column_scaled(u, scale * all_but_one(s)), vh)
