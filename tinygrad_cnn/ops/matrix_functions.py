"""Functions of matrices: determinants, the exponential, the pseudo-inverse.

Batches of matrices lie along the last two axes. Where nothing else is said, rules are those of
M. B. Giles, "Collected matrix derivative results for forward and reverse mode algorithmic
differentiation" (2008), with transposes conjugated for complex matrices.
"""

# A rule may name its own operation, whose type mypy does not know yet at that place.
# mypy: disable-error-code="has-type"

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_cnn.autograd.registry import op
from tinygrad_cnn.autograd.samples import Draw, Sample
from tinygrad_cnn.autograd.units import one_unit
from tinygrad_cnn.autograd.variable import wrap
from tinygrad_cnn.kernels.tape import made
from tinygrad_cnn.ops.conjugate import conj
from tinygrad_cnn.ops.factorizations import cofactors
from tinygrad_cnn.ops.linalg import matmul
from tinygrad_cnn.ops.linear_systems import has_digits, inv, lost_direction, mH, square_samples
from tinygrad_cnn.ops.shape import cat
from tinygrad_cnn.types import Array


@one_unit
def _det_rule(g: Any, x: Any, y: Any) -> Any:
    g = g[..., None, None]
    inverse = inv(x, check=False)
    if has_digits(x._array, inverse._array):
        return g * conj(y)[..., None, None] * mH(inverse)
    # Beside M = x + u vᴴ, which has an inverse: det(x) = det(M) (1 - vᴴ M⁻¹ u).
    u, v = map(wrap, lost_direction(x._array))
    whole = x + matmul(u, mH(v))
    inverse = inv(whole, check=False)
    if not has_digits(whole._array, inverse._array):  # the rank is n - 2 or less
        return g * cofactors(x, det)
    left, right = matmul(mH(inverse), v), matmul(inverse, u)  # (..., n, 1)
    rest = 1.0 - matmul(mH(v), right)  # (..., 1, 1)
    scale = conj(det(whole))[..., None, None]
    return g * scale * (conj(rest) * mH(inverse) + matmul(left, mH(right)))


def _det_samples(draw: Draw) -> Sample:
    (x,) = square_samples(draw).args
    if x.shape[-1] > 1 and draw.choice((False, False, True)):  # of rank n - 1
        x = x + 1j * draw.array(x.shape, -0.4, 0.4) if draw.choice((False, True)) else x
        x[..., -1, :] = -2 * x[..., 0, :]
    return Sample((x,))


@op(complex="whole", vjp=_det_rule, ignore_fp_errors=True, samples=_det_samples)
def det(x: Array) -> Array:
    """Determinants: (..., n, n) → (...)."""
    return np.asarray(np.linalg.det(x))


@op(
    complex="whole",
    vjp=lambda g, x: g[..., None, None] * mH(inv(x, check=False)),
    ignore_fp_errors=True,
    samples=square_samples,
)
def log_det(x: Array) -> Array:
    """Logarithms of determinants: of their sizes for real matrices, the complex one for others."""
    sign, log_size = np.linalg.slogdet(x)
    return np.asarray(log_size + 1j * np.angle(sign) if x.dtype.kind == "c" else log_size)


@op(
    vjp=lambda g, shapes: wrap(made(np.zeros(shapes[0], g._value.dtype))),
    piecewise=True,
    ignore_fp_errors=True,
    samples=square_samples,
)
def det_sign(x: Array) -> Array:
    """The signs of determinants of real matrices, whose derivative is 0."""
    return np.asarray(np.linalg.slogdet(x)[0])


def _exp_rule(g: Any, x: Any) -> Any:
    """The block above the diagonal of exp([[xᴴ, g], [0, xᴴ]]).

    A. H. Al-Mohy and N. J. Higham, "Computing the Fréchet derivative of the matrix exponential"
    (2009).
    """
    n, last = x._value.shape[-1], x._value.ndim - 1
    xh = mH(x)
    top = cat(xh, g, dim=last)
    bottom = cat(xh * 0.0, xh, dim=last)
    return matrix_exp(cat(top, bottom, dim=last - 1))[..., :n, n:]


def _exp_samples(draw: Draw) -> Sample:
    n = draw.integer(0, 3)
    return Sample((draw.array((*draw.shape(max_dims=1), n, n), -1.0, 1.0),))


@op(complex="whole", vjp=_exp_rule, ignore_fp_errors=True, samples=_exp_samples)
def matrix_exp(x: Array) -> Array:
    """The exponentials of matrices: (..., n, n) → (..., n, n)."""
    from scipy.linalg import expm

    return np.asarray(expm(x), x.dtype) if x.size else x.copy()


def _pinv_rule(g: Any, x: Any, y: Any) -> Any:
    """G. H. Golub and V. Pereyra, "The differentiation of pseudo-inverses" (1973).

    With P the pseudo-inverse, dP = -P dA P + P Pᴴ dAᴴ (I - A P) + (I - P A) dAᴴ Pᴴ P.
    """
    yh, gh = mH(y), mH(g)
    out = -matmul(yh, matmul(g, yh))
    left = matmul(gh, matmul(y, yh))  # (m, n) of an x (m, n): gᴴ P Pᴴ
    right = matmul(matmul(yh, y), gh)  # Pᴴ P gᴴ
    out = out + left - matmul(x, matmul(y, left))
    return out + right - matmul(matmul(right, y), x)


def _pinv_samples(draw: Draw) -> Sample:
    m, n = draw.integer(1, 3), draw.integer(1, 3)
    x = np.eye(m, n) * 2 + draw.array((*draw.shape(max_dims=1), m, n), -0.5, 0.5)
    return Sample((x, np.array(0.0), np.array(1e-15)))


@op(complex="whole", vjp=(_pinv_rule, None, None), ignore_fp_errors=True, samples=_pinv_samples)
def pinv(x: Array, atol: Array, rtol: Array, *, hermitian: bool = False) -> Array:
    """Pseudo-inverses (Moore and Penrose): (..., m, n) → (..., n, m).

    Singular values up to ``max(atol, rtol * the largest)`` count as 0. Of
    ``hermitian`` matrices only the lower triangle is read; as in PyTorch, the rule is the same.
    """
    if hermitian:
        below = np.tril(x, -1)
        x = (
            below
            + np.conj(np.swapaxes(below, -1, -2))
            + x.real * np.eye(x.shape[-1], dtype=x.real.dtype)
        )
    u, s, vh = np.linalg.svd(x, full_matrices=False)
    largest = s.max(-1, initial=0.0)
    cutoff = np.maximum(atol, rtol * largest)[..., None]
    kept = s > cutoff
    inverse = np.where(kept, 1 / np.where(kept, s, 1), 0).astype(s.dtype)
    v = np.conj(np.swapaxes(vh, -1, -2)) * inverse[..., None, :]
    return np.asarray(np.matmul(v, np.conj(np.swapaxes(u, -1, -2))), x.dtype)
