"""`numpy.linalg` and `numpy.fft` on tensors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tinygrad_cnn import functions as f
from tinygrad_cnn.functions import fourier, linalg_factorizations, linalg_norms, linalg_systems
from tinygrad_cnn.functions.numpy_protocol.serving import (
    Unserved,
    as_tensor,
    numbers,
    positions,
    promoted,
    serves,
)
from tinygrad_cnn.functions.numpy_protocol.ufuncs import call

factorizations, norms, systems = linalg_factorizations, linalg_norms, linalg_systems

serves("linalg.det")(lambda a: systems.det(a))
serves("linalg.inv")(lambda a: systems.inv(a))
serves("linalg.slogdet")(lambda a: systems.slogdet(a))
serves("linalg.eig")(lambda a: factorizations.eig(a))
serves("linalg.eigvals")(lambda a: factorizations.eigvals(a))
serves("linalg.eigh")(lambda a, UPLO="L": factorizations.eigh(a, UPLO))
serves("linalg.eigvalsh")(lambda a, UPLO="L": factorizations.eigvalsh(a, UPLO))
serves("linalg.svdvals")(lambda x, /: factorizations.svdvals(x))
serves("linalg.cholesky")(lambda a, /, *, upper=False: factorizations.cholesky(a, upper=upper))
serves("linalg.matrix_power")(lambda a, n: systems.matrix_power(a, n))
serves("linalg.tensorinv")(lambda a, ind=2: systems.tensorinv(a, ind))
serves("linalg.cond")(lambda x, p=None: norms.cond(x, p))
serves("linalg.multi_dot")(lambda arrays: norms.multi_dot(promoted(*arrays)))
serves("linalg.matmul")(lambda x1, x2, /: call(np.matmul, (x1, x2), {}))


@serves("linalg.tensorsolve")
def _tensorsolve(a: Any, b: Any, axes: Any = None) -> Any:
    a, b = promoted(a, b)
    return systems.tensorsolve(a, b, axes)


@serves("linalg.solve")
def _solve(a: Any, b: Any) -> Any:
    a, b = promoted(a, b)
    if b.ndim == 1:
        return f.squeeze(systems.solve(a, f.unsqueeze(b, -1)), -1)
    batch = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    return systems.solve(*(f.broadcast_to(x, (*batch, *x.shape[-2:])) for x in (a, b)))


@serves("linalg.svd")
def _svd(
    a: Any, full_matrices: bool = True, compute_uv: bool = True, hermitian: bool = False
) -> Any:
    if hermitian:
        raise Unserved("`hermitian` is not served: use np.linalg.eigh")
    return factorizations.svd(a, full_matrices) if compute_uv else factorizations.svdvals(a)


@serves("linalg.qr")
def _qr(a: Any, mode: str = "reduced") -> Any:
    if mode not in ("reduced", "complete", "r"):
        raise Unserved(f"`mode` is {mode!r}, expected 'reduced', 'complete' or 'r'")
    return factorizations.qr(a).R if mode == "r" else factorizations.qr(a, mode)


@serves("linalg.pinv")
def _pinv(a: Any, rcond: Any = None, hermitian: bool = False, *, rtol: Any = None) -> Any:
    limit = rcond if rtol is None or rtol is np._NoValue else rtol
    # NumPy's own: 1e-15 of the largest singular value
    return systems.pinv(a, rtol=1e-15 if limit is None else numbers(limit), hermitian=hermitian)


@serves("linalg.lstsq")
def _lstsq(a: Any, b: Any, rcond: Any = None) -> Any:
    a, b = promoted(a, b)
    rest = np.linalg.lstsq(a.detach().array, b.detach().array, rcond)
    if rest[2] < min(a.shape):
        raise Unserved("`a` has not full rank, where the solution has no derivative")
    x = systems.pinv(a, rtol=1e-15) @ b
    residuals = f.sum(f.square(f.abs(b - a @ x)), 0)
    residuals = (
        (f.reshape(residuals, (1,)) if b.ndim == 1 else residuals) if rest[1].size else rest[1]
    )
    return x, as_tensor(residuals), rest[2], factorizations.svdvals(a)


@serves("linalg.cross")
def _cross(x1: Any, x2: Any, /, *, axis: int = -1) -> Any:
    return norms.cross(*promoted(x1, x2), dim=axis)


@serves("linalg.norm")
def _norm(x: Any, ord: Any = None, axis: Any = None, keepdims: bool = False) -> Any:
    if axis is None and ord is None:
        out = norms.vector_norm(f.ravel(x), 2)
        return f.reshape(out, (1,) * x.ndim) if keepdims else out
    dims = positions(axis, x.ndim) if axis is not None else tuple(range(x.ndim))
    if len(dims) == 1:
        return norms.vector_norm(x, 2 if ord is None else ord, dims, keepdims)
    if len(dims) != 2:
        raise ValueError(f"np.linalg.norm: `axis` is {axis}, expected one axis or two")
    return norms.matrix_norm(x, "fro" if ord in (None, "f") else ord, dims, keepdims)


@serves("linalg.vector_norm")
def _vector_norm(x: Any, /, *, axis: Any = None, keepdims: bool = False, ord: Any = 2) -> Any:
    dims = positions(axis, x.ndim)
    return norms.vector_norm(x, ord, dims, keepdims) if x.ndim else f.abs(x)


@serves("linalg.matrix_norm")
def _matrix_norm(x: Any, /, *, keepdims: bool = False, ord: Any = "fro") -> Any:
    return norms.matrix_norm(x, ord, (-2, -1), keepdims)


# ---- numpy.fft -----------------------------------------------------------------------------


def _wide(a: Any) -> Any:
    """As NumPy, half precision is transformed in float32."""
    return f.to(a, np.float32) if a.dtype == np.float16 else a


def _line(name: str, transform: Callable[..., Any]) -> None:
    @serves(f"fft.{name}")
    def call(a: Any, n: Any = None, axis: int = -1, norm: Any = None) -> Any:
        return transform(_wide(a), n, axis, norm)


def _box(name: str, transform: Callable[..., Any], default: Any) -> None:
    @serves(f"fft.{name}")
    def call(a: Any, s: Any = None, axes: Any = default, norm: Any = None) -> Any:
        dims = axes if axes is not None else None if s is None else tuple(range(-len(s), 0))
        return transform(_wide(a), s, dims, norm)


for _name in ("fft", "ifft", "rfft", "irfft", "hfft", "ihfft"):
    _line(_name, getattr(fourier, _name))
for _name in ("fft2", "ifft2", "rfft2", "irfft2"):
    _box(_name, getattr(fourier, _name), (-2, -1))
for _name in ("fftn", "ifftn", "rfftn", "irfftn"):
    _box(_name, getattr(fourier, _name), None)
