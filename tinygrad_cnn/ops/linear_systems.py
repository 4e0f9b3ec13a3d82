"""Linear systems and inverses. Batches of matrices lie along the last two axes.

The rules are those of M. B. Giles, "Collected matrix derivative results for forward and reverse
mode algorithmic differentiation" (2008), with transposes conjugated for complex matrices.
"""

# A rule may name its own operation, whose type mypy does not know yet at that place.
# mypy: disable-error-code="has-type"

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_cnn.autograd.registry import op
from tinygrad_cnn.autograd.samples import Draw, ErrorSample, Sample
from tinygrad_cnn.autograd.units import one_unit
from tinygrad_cnn.autograd.variable import wrap
from tinygrad_cnn.errors import ArgumentError, LinAlgError, ShapeError
from tinygrad_cnn.kernels.tape import made
from tinygrad_cnn.ops.choice import where
from tinygrad_cnn.ops.conjugate import conj, is_complex
from tinygrad_cnn.ops.linalg import _mT as mT
from tinygrad_cnn.ops.linalg import matmul
from tinygrad_cnn.ops.shape import tril, triu
from tinygrad_cnn.types import Array


def mH(x: Any) -> Any:  # PyTorch's name for the conjugate transpose
    """The matrices' conjugate transposes."""
    return conj(mT(x))


def well_conditioned(draw: Draw, shape: tuple[int, ...]) -> Array:
    """Square matrices whose diagonal is larger than the rest of its row."""
    x = draw.array(shape, -0.5, 0.5)
    return np.asarray(x + (0.7 + 0.6 * shape[-1]) * np.eye(shape[-1]))


def square_samples(draw: Draw) -> Sample:
    n = draw.integer(0, 3)
    return Sample((well_conditioned(draw, (*draw.shape(max_dims=1), n, n)),))


def _system_samples(draw: Draw) -> Sample:
    n, k = draw.integer(0, 3), draw.integer(0, 3)
    a, b = draw.broadcast_shapes() if draw.choice((False, True)) else ((), ())
    return Sample((well_conditioned(draw, (*a, n, n)), draw.array((*b, n, k))))


def singular(name: str, at: tuple[int, ...], why: str = "is singular") -> LinAlgError:
    """The error about the matrix number ``at`` of a batch."""
    place = f" {list(at)} of the batch" if at else ""
    return LinAlgError(f"{name}: the matrix{place} {why}")


def first_singular(a: Array) -> tuple[int, ...]:
    """The number in its batch of the first matrix without an inverse."""
    bad = np.linalg.slogdet(a)[0] == 0
    return tuple(int(i) for i in np.argwhere(bad)[0]) if bad.any() else ()


def _check_system(name: str, a: Array, b: Array) -> None:
    if a.shape[-1] != a.shape[-2] or a.shape[-1] != b.shape[-2]:
        raise ShapeError(
            f"{name}: `a` has shape {a.shape} and `b` {b.shape}, expected (..., n, n) and "
            f"(..., n, k)"
        )


@op(
    complex="whole",
    vjp=(lambda g, a, y: -matmul(solve(mH(a), g), mH(y)), lambda g, a: solve(mH(a), g)),
    broadcasts=True,
    promotes="common",
    ignore_fp_errors=True,
    samples=_system_samples,
    errors=(
        ErrorSample((np.zeros((2, 2)), np.ones((2, 1))), {}, RuntimeError, "is singular"),
        ErrorSample((np.zeros((2, 3)), np.ones((2, 1))), {}, ValueError, "solve: `a` has shape"),
    ),
)
def solve(a: Array, b: Array) -> Array:
    """``x`` with ``a @ x = b``: (..., n, n), (..., n, k) → (..., n, k); batches broadcast."""
    _check_system("solve", a, b)
    try:
        return np.linalg.solve(a, b)
    except np.linalg.LinAlgError:
        raise singular("solve", first_singular(a)) from None


def _triangle(x: Any, upper: bool, unitriangular: bool) -> Any:
    shift = int(unitriangular)
    return triu(x, diagonal=shift) if upper else tril(x, diagonal=-shift)


def _triangular_rule(g: Any, a: Any, y: Any, upper: bool, unitriangular: bool, whole: bool) -> Any:
    gb = solve_triangular(mH(a), g, upper=not upper, unitriangular=unitriangular, whole=whole)
    out = -matmul(gb, mH(y))
    return out if whole else _triangle(out, upper, unitriangular)


def _triangular_samples(draw: Draw) -> Sample:
    kind = {"upper": draw.choice((False, True)), "unitriangular": draw.choice((False, True))}
    return Sample(_system_samples(draw).args, kind)


@op(
    complex="whole",
    vjp=(
        _triangular_rule,
        lambda g, a, upper, unitriangular, whole: solve_triangular(
            mH(a), g, upper=not upper, unitriangular=unitriangular, whole=whole
        ),
    ),
    broadcasts=True,
    promotes="common",
    ignore_fp_errors=True,
    samples=_triangular_samples,
    errors=(
        ErrorSample(
            (np.eye(2), np.ones((3, 1))),
            {"upper": True, "unitriangular": False},
            ValueError,
            "solve_triangular: `a` has shape",
        ),
    ),
)
def solve_triangular(
    a: Array, b: Array, *, upper: bool, unitriangular: bool, whole: bool = False
) -> Array:
    """``x`` with ``a @ x = b``, where only one triangle of ``a`` is read; inf where it is singular.

    With ``unitriangular`` the diagonal is taken as ones. With ``whole`` the other triangle has a
    gradient too: that of a matrix which happens to be 0 there.
    """
    from scipy.linalg import get_blas_funcs

    _check_system("solve_triangular", a, b)
    (trsm,) = get_blas_funcs(("trsm",), (a,))
    lead = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    a = np.broadcast_to(a, (*lead, *a.shape[-2:]))
    b = np.broadcast_to(b, (*lead, *b.shape[-2:]))
    out = np.empty(b.shape, b.dtype)
    if out.size:
        for at in np.ndindex(lead):
            out[at] = trsm(1.0, a[at], b[at], lower=not upper, diag=unitriangular)
    return out


def _ldl_rule(g: Any, factors: Any, pivots: Any, hermitian: bool) -> Any:
    if hermitian:
        return ldl_solve(factors, pivots, g, hermitian=True)
    return conj(ldl_solve(factors, pivots, conj(g), hermitian=False))


def _ldl_samples(draw: Draw) -> Sample:
    x = well_conditioned(draw, (2, 2))
    x[1, 0] = draw.choice((0.3, 4.0))
    pivots = np.array(draw.choice(([1, 2], [2, 2], [-2, -2])))
    factors = np.broadcast_to(np.tril(x), (*draw.shape(max_dims=1), 2, 2))
    b = draw.array((*factors.shape[:-1], draw.integer(0, 3)))
    return Sample(
        (factors.copy(), np.broadcast_to(pivots, factors.shape[:-1]).copy(), b),
        {"hermitian": draw.choice((False, True))},
    )


@op(
    complex="whole",
    vjp=(None, None, _ldl_rule),
    ignore_fp_errors=True,
    samples=_ldl_samples,
)
def ldl_solve(factors: Array, pivots: Array, b: Array, *, hermitian: bool) -> Array:
    """``x`` with ``a @ x = b`` from what `ldl` made of ``a``; the factors have no derivative."""
    x = b.astype(np.result_type(factors, b))
    for at in np.ndindex(x.shape[:-2] if x.size else (0,)):
        _ldl_solve_one(factors[at], pivots[at], x[at], hermitian)
    return x


def _ldl_solve_one(a: Array, pivots: Array, x: Array, hermitian: bool) -> None:
    """By the blocks of one or two columns in which LAPACK's sytrf and hetrf go."""
    blocks, k = [], 0
    while k < len(a):
        blocks.append(slice(k, k + 1 + int(pivots[k] < 0)))
        k = blocks[-1].stop
    for block in blocks:
        last, other = block.stop - 1, abs(pivots[block.stop - 1]) - 1
        x[[last, other]] = x[[other, last]]
        x[block.stop :] -= a[block.stop :, block] @ x[block]
        d = np.tril(a[block, block])
        if hermitian:
            np.fill_diagonal(d, np.diagonal(d).real)
        d = d + np.triu(np.conj(d.T) if hermitian else d.T, 1)
        x[block] = np.linalg.solve(d, x[block]) if len(d) > 1 else x[block] / d
    for block in reversed(blocks):
        below = a[block.stop :, block].T
        x[block] -= (np.conj(below) if hermitian else below) @ x[block.stop :]
        last, other = block.stop - 1, abs(pivots[block.stop - 1]) - 1
        x[[last, other]] = x[[other, last]]


@op(
    complex="whole",
    vjp=lambda g, y: -matmul(mH(y), matmul(g, mH(y))),
    ignore_fp_errors=True,
    samples=square_samples,
    errors=(ErrorSample((np.zeros((2, 3, 3)),), {}, RuntimeError, r"inv: the matrix \[0\]"),),
)
def inv(x: Array, *, check: bool = True) -> Array:
    """The inverse matrices; without ``check`` NaN where there is none."""
    try:
        return np.linalg.inv(x)
    except np.linalg.LinAlgError:
        if check:
            raise singular("inv", first_singular(x)) from None
    regular = np.linalg.slogdet(x)[0] != 0
    out = np.full_like(x, np.nan)
    out[regular] = np.linalg.inv(x[regular])
    return out


def lost_direction(x: Array) -> tuple[Array, Array]:
    """Vectors u, v (..., n, 1), for which ``x + u vᴴ`` has an inverse if ``x`` is of rank n - 1."""
    u, s, vh = np.linalg.svd(x)
    largest = np.where(s[..., :1] == 0, 1, s[..., :1])[..., None].astype(s.dtype)
    return u[..., -1:] * largest, np.conj(vh[..., -1, :])[..., None]


def has_digits(x: Array, inverse: Array) -> bool:
    """Whether inverses of matrices have correct digits, by their condition in the 1-norm."""
    sizes = [np.abs(a).sum(-2).max(-1, initial=0.0) for a in (x, inverse)]
    return bool(np.all(sizes[0] * sizes[1] < 1e-2 / np.finfo(x.dtype).eps))


# ---- for the rules of factorizations -------------------------------------------------------


@one_unit
def over(x: Any, e: Any) -> Any:
    """``x / e``, where 0 / 0 is 0: a loss that a factor does not enter has no part in it."""
    both = (x._array == 0) & (e._array == 0)
    if not both.any():
        return x / e
    return x / where(wrap(both), wrap(np.ones((), e._value.dtype)), e)


def phase_term(skew: Any, s: Any) -> Any:
    """What phases of complex singular vectors, ``skew`` on its diagonal, add along the values."""
    if not is_complex(skew):
        return 0.0
    eye = wrap(made(np.eye(s._value.shape[-1], dtype=s._value.dtype)))
    return over(skew * eye, 2.0 * s[..., None])


@one_unit
def check_phases(name: str, *inner: Any) -> None:
    """Raise an error unless ``inner``, the products of vectors with their gradients, has a real
    diagonal in sum: complex vectors are free up to phases, on which a loss must not depend.
    """
    phases = sum(np.diagonal(x._array, axis1=-2, axis2=-1).imag for x in inner)
    if not np.allclose(phases, 0, 1e-2, 1e-2):
        raise ArgumentError(
            f"{name}: the loss depends on the phases of complex vectors, which are free, so its "
            f"derivative is not defined; use their sizes or products that do not depend on it"
        )
