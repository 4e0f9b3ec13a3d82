"""Linear algebra by definition, matrix by matrix, in plain loops; complex numbers too.

Signs and phases of vectors are free: where an oracle has to have those of LAPACK it turns its own
vectors to lie along LAPACK's.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from tinygrad_cnn.types import Array


def _each(function: Callable[..., Any]) -> Callable[..., Array]:
    """``function`` of one matrix, of each in a batch of the first argument."""

    def on_arrays(x: Array, *rest: Any, **params: Any) -> Array:
        lead = x.shape[:-2]
        out = [np.asarray(function(x[at], *rest, **params)) for at in np.ndindex(lead)]
        shape = out[0].shape if out else np.shape(function(np.eye(*x.shape[-2:]), *rest, **params))
        return np.array(out).reshape((*lead, *shape))

    return on_arrays


def _eliminated(a: Array, b: Array) -> Array:
    """``x`` with ``a @ x = b`` by Gauss and Jordan's elimination."""
    a, b = a.copy(), b.copy()
    for i in range(len(a)):
        pivot = i + int(np.argmax(np.abs(a[i:, i])))
        a[[i, pivot]], b[[i, pivot]] = a[[pivot, i]], b[[pivot, i]]
        a[i], b[i] = a[i] / a[i, i], b[i] / a[i, i]
        for j in range(len(a)):
            if j != i:
                a[j], b[j] = a[j] - a[j, i] * a[i], b[j] - a[j, i] * b[i]
    return b


def _solve(a: Array, b: Array) -> Array:
    lead = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    a, b = np.broadcast_to(a, (*lead, *a.shape[-2:])), np.broadcast_to(b, (*lead, *b.shape[-2:]))
    out = np.empty(b.shape, np.result_type(a, b))
    for at in np.ndindex(lead):
        out[at] = _eliminated(a[at], b[at])
    return out


def _solve_triangular(a: Array, b: Array, *, upper: bool, unitriangular: bool) -> Array:
    a = np.triu(a) if upper else np.tril(a)
    if unitriangular:
        a = a * (1 - np.eye(a.shape[-1])) + np.eye(a.shape[-1])
    return _solve(a, b)


def _inv(x: Array, check: bool = True) -> Array:
    return _eliminated(x, np.eye(len(x), dtype=x.dtype))


def _det(x: Array) -> Any:
    """Leibniz's sum over all permutations."""
    total = 0
    for order in itertools.permutations(range(len(x))):
        swaps = sum(a > b for a, b in itertools.combinations(order, 2))
        total = total + (-1) ** swaps * math.prod(x[i, j] for i, j in enumerate(order))
    return np.asarray(total, x.dtype)


def _ldl_solve(factors: Array, pivots: Array, b: Array, *, hermitian: bool) -> Array:
    """By the product of the swaps, the factors below the diagonal and the blocks on it."""
    out = np.empty(b.shape, np.result_type(factors, b))
    for at in np.ndindex(b.shape[:-2]):
        a, n, k = factors[at], factors.shape[-1], 0
        left, middle = np.eye(n, dtype=a.dtype), np.zeros_like(a)
        while k < n:
            stop = k + 1 + int(pivots[at][k] < 0)
            swap, below = np.eye(n), np.eye(n, dtype=a.dtype)
            one, other = stop - 1, abs(pivots[at][stop - 1]) - 1
            swap[[one, other]] = swap[[other, one]]
            below[stop:, k:stop] = a[stop:, k:stop]
            left = left @ swap @ below
            for i, j in itertools.product(range(k, stop), repeat=2):
                middle[i, j] = a[max(i, j), min(i, j)]
                if hermitian:
                    middle[i, j] = middle[i, j].real if i == j else middle[i, j]
                    middle[i, j] = np.conj(middle[i, j]) if i < j else middle[i, j]
            k = stop
        right = np.conj(left.T) if hermitian else left.T
        out[at] = _eliminated(left @ middle @ right, b[at])
    return out


def _log_det(x: Array) -> Any:
    return np.log(_det(x)) if x.dtype.kind == "c" else math.log(abs(_det(x)))


def _matrix_exp(x: Array) -> Array:
    """The series, of a thousandth of the matrix, to its 1024th power by squaring."""
    term = out = np.eye(len(x), dtype=x.dtype)
    for k in range(1, 20):
        term = term @ x / 1024 / k
        out = out + term
    for _ in range(10):
        out = out @ out
    return out


def _pinv(x: Array, atol: Array, rtol: Array, hermitian: bool = False) -> Array:
    """Of a matrix of full rank."""
    h = x.conj().T
    return _inv(h @ x) @ h if len(x) >= len(h) else h @ _inv(x @ h)


def _cholesky(x: Array, triangle: str = "both", check: bool = True) -> Array:
    out = np.zeros(x.shape, x.dtype)
    x = (x + x.conj().T) / 2
    for i in range(len(x)):
        for j in range(i + 1):
            rest = x[i, j] - sum(out[i, k] * np.conj(out[j, k]) for k in range(j))
            out[i, j] = np.sqrt(rest) if i == j else rest / out[j, j]
    return out


def _qr(x: Array, mode: str = "reduced") -> Array:
    """By Householder's reflections, with LAPACK's signs."""
    m, n = x.shape
    q, r = np.eye(m, dtype=x.dtype), x.copy()
    for i in range(min(m, n)):
        v = r[i:, i].copy()
        if m - i == 1 and not np.iscomplexobj(x):
            break
        beta = -math.copysign(math.sqrt(sum(abs(z) ** 2 for z in v)), v[0].real)
        tau = (beta - v[0]) / beta
        v = v / (v[0] - beta)
        v[0] = 1
        r[i:] -= np.conj(tau) * np.outer(v, v.conj() @ r[i:])
        q[:, i:] -= tau * np.outer(q[:, i:] @ v, v.conj())
    k = m if mode == "complete" else min(m, n)
    return np.concatenate([q[:, :k], np.triu(r)[:k].T])


def _lu(x: Array, pivot: bool = True) -> Array:
    (m, n), a = x.shape, x.copy()
    order, pivots = list(range(m)), np.zeros(m)
    for i in range(min(m, n)):
        j = i + int(np.argmax([abs(z.real) + abs(z.imag) for z in a[i:, i]])) if pivot else i
        order[i], order[j], pivots[i] = order[j], order[i], j + 1
        a[[i, j]] = a[[j, i]]
        for r in range(i + 1, m):
            a[r, i] /= a[i, i]
            a[r, i + 1 :] -= a[r, i] * a[i, i + 1 :]
    return np.concatenate([a, np.array(order)[:, None], pivots[:, None]], 1)


def _rotated(x: Array) -> tuple[Array, Array]:
    """Eigenvalues, ascending, and vectors of a Hermitian matrix, by Jacobi's rotations."""
    n = len(x)
    a, v = x.astype(complex), np.eye(n, dtype=complex)
    for _ in range(30):
        for p, q in itertools.combinations(range(n), 2):
            if abs(a[p, q]) < 1e-300:
                continue
            phase = a[p, q] / abs(a[p, q])
            angle = 0.5 * math.atan2(2 * abs(a[p, q]), (a[q, q] - a[p, p]).real)
            turn = np.eye(n, dtype=complex)
            turn[p, p], turn[p, q] = math.cos(angle), math.sin(angle) * phase
            turn[q, p], turn[q, q] = -math.sin(angle) * np.conj(phase), math.cos(angle)
            a, v = turn.conj().T @ a @ turn, v @ turn
    values = a.diagonal().real
    order = np.argsort(values)
    return values[order], v[:, order]


def _along(vectors: Array, lapack: Array) -> Array:
    """The columns times the phases that have them lie along LAPACK's."""
    inner = (vectors.conj() * lapack).sum(0)
    return np.asarray(vectors * inner / np.abs(inner))


def _as(x: Array, out: Array) -> Array:
    return out if x.dtype.kind == "c" else out.real


def _eigh(x: Array, triangle: str = "both") -> Array:
    values, vectors = _rotated(x)
    return _as(x, np.concatenate([values[None], _along(vectors, np.linalg.eigh(x)[1])]))


def _svd(x: Array, given: Any = None) -> Array:
    k = min(x.shape)
    values, v = _rotated(x.conj().T @ x)
    s, v = np.sqrt(values[::-1][:k]), v[:, ::-1][:, :k]
    v = _along(v, np.linalg.svd(x, full_matrices=False)[2].conj().T)
    return _as(x, np.concatenate([x @ v / s, s[None], v.conj()]))


def _eig(x: Array, phases: str = "free") -> Array:
    """Zeros of the characteristic polynomial, of two or three distinct ones; inverse iteration."""
    values, lapack = np.linalg.eig(x)
    found = np.array(values, complex)
    columns = []
    for i, near in enumerate(values):
        v = np.ones(len(x), complex)
        for _ in range(4):  # inverse iteration, begun a little beside LAPACK's value
            v = _eliminated(x - (near + 1e-3) * np.eye(len(x)), v[:, None])[:, 0]
            v = v / math.sqrt(sum(abs(z) ** 2 for z in v))
        found[i] = np.conj(v) @ x @ v
        for _ in range(3):  # Rayleigh's quotient
            v = _eliminated(x - (found[i] + 1e-7) * np.eye(len(x)), v[:, None])[:, 0]
            v = v / math.sqrt(sum(abs(z) ** 2 for z in v))
            found[i] = np.conj(v) @ x @ v
        columns.append(v)
    vectors = np.array(columns).T.reshape(x.shape)
    return np.concatenate([found[None], _along(vectors, lapack)])


def _kernel(n: int, sign: int, norm: str, inverse: bool) -> Array:
    at = np.arange(n)
    divisor = {
        "backward": n if inverse else 1,
        "ortho": math.sqrt(n),
        "forward": 1 if inverse else n,
    }
    kernel: Array = np.exp(sign * 2j * math.pi * np.outer(at, at) / n) / divisor[norm]
    return kernel


def _dft(x: Array, *, dims: Any, inverse: bool, norm: str) -> Array:
    """By the matrix of exponentials, axis by axis."""
    out = x.astype(complex)
    for d in dims:
        kernel = _kernel(x.shape[d], 1 if inverse else -1, norm, inverse)
        out = np.moveaxis(np.tensordot(kernel, out, (1, d)), 0, d)
    return out


def _real_dft(x: Array, *, dims: Any, inverse: bool, norm: str) -> Array:
    whole = _dft(x, dims=dims, inverse=inverse, norm=norm)
    return np.take(whole, range(x.shape[dims[-1]] // 2 + 1), dims[-1])


def _half_dft(x: Array, *, dims: Any, n: int, inverse: bool, norm: str) -> Array:
    """The real parts of sums in which what has a conjugate partner counts twice."""
    *others, last = dims
    x = np.moveaxis(_dft(x, dims=others, inverse=inverse, norm=norm), last, -1)
    twice = np.array([1 if k in (0, n / 2) else 2 for k in range(n // 2 + 1)])
    kernel = _kernel(n, 1 if inverse else -1, norm, inverse)[: n // 2 + 1]
    return np.moveaxis(((x * twice) @ kernel).real, -1, last)


MATRIX_ORACLES: dict[str, Callable[..., Any]] = {
    "solve": _solve,
    "solve_triangular": _solve_triangular,
    "ldl_solve": _ldl_solve,
    "inv": _each(_inv),
    "det": _each(_det),
    "det_sign": _each(lambda x: np.sign(_det(x))),
    "log_det": _each(_log_det),
    "matrix_exp": _each(_matrix_exp),
    "pinv": _each(_pinv),
    "cholesky": _each(_cholesky),
    "qr": _each(_qr),
    "lu": _each(_lu),
    "svd": _each(_svd),
    "eigh": _each(_eigh),
    "eig": _each(_eig),
    "as_parts": lambda x: np.stack([x.real, x.imag], -1),
    "from_parts": lambda x: x[..., 0] + 1j * x[..., 1],
    "dft": _dft,
    "real_dft": _real_dft,
    "half_dft": _half_dft,
}
