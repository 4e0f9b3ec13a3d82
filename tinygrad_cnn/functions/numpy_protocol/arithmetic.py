"""NumPy's arithmetic on tensors: element by element, products, differences, areas."""

from __future__ import annotations

import builtins
from typing import Any

import numpy as np

from tinygrad_cnn import functions as f
from tinygrad_cnn.functions.numpy_protocol.serving import (
    Unserved,
    arrays,
    as_tensor,
    dtype_of_all,
    numbers,
    positions,
    promoted,
    serves,
)

# ---- element by element --------------------------------------------------------------------


@serves("clip")
def _clip(a: Any, a_min: Any = None, a_max: Any = None, *, min: Any = None, max: Any = None) -> Any:
    low, high = (p if q is None else q for p, q in ((a_min, min), (a_max, max)))
    low, high = (None if v is np._NoValue else v for v in (low, high))
    bounds = [v for v in (low, high) if v is not None]
    x, *ends = promoted(a, *bounds)
    last = iter(ends)
    return f.clamp(x, *(None if v is None else next(last) for v in (low, high)))


@serves("round", "around")
def _round(a: Any, decimals: int = 0) -> Any:
    if a.dtype.kind == "c":
        return f.complex(_round(f.real(a), decimals), _round(f.imag(a), decimals))
    return f.round(a, decimals=decimals)


serves("fix")(lambda x: f.trunc(x))


@serves("angle")
def _angle(z: Any, deg: bool = False) -> Any:
    return f.rad2deg(f.angle(z)) if deg else f.angle(z)


@serves("nan_to_num")
def _nan_to_num(
    x: Any, copy: bool = True, nan: Any = 0.0, posinf: Any = None, neginf: Any = None
) -> Any:
    if not copy:
        raise Unserved("`copy` is False, and it would change its argument in place")
    if x.dtype.kind == "c":
        parts = (f.nan_to_num(p, nan, posinf, neginf) for p in (f.real(x), f.imag(x)))
        return f.complex(*parts)
    return f.nan_to_num(x, nan, posinf, neginf)


@serves("unwrap")
def _unwrap(p: Any, discont: Any = None, axis: int = -1, *, period: float = 2 * np.pi) -> Any:
    held = p.detach().array
    moved = np.unwrap(held, discont, axis, period=period)
    return p + as_tensor((moved - held).astype(p.dtype))


@serves("ones_like", layout=True)
def _ones_like(a: Any, dtype: Any = None, *, shape: Any = None, device: Any = None) -> Any:
    return f.ones(a.shape if shape is None else shape, dtype=dtype or a.dtype)


@serves("zeros_like", layout=True)
def _zeros_like(a: Any, dtype: Any = None, *, shape: Any = None, device: Any = None) -> Any:
    return f.zeros(a.shape if shape is None else shape, dtype=dtype or a.dtype)


@serves("empty_like", layout=True)
def _empty_like(prototype: Any, dtype: Any = None, *, shape: Any = None, device: Any = None) -> Any:
    given = prototype.shape if shape is None else shape
    return f.empty(given, dtype=dtype or prototype.dtype)


@serves("full_like")
def _full_like(
    a: Any, fill_value: Any, dtype: Any = None, *, shape: Any = None, device: Any = None
) -> Any:
    (value,) = promoted(fill_value, dtype=dtype or as_tensor(a).dtype)
    wanted = tuple(as_tensor(a).shape) if shape is None else shape
    return f.broadcast_to(value, wanted if isinstance(wanted, tuple) else (wanted,)).clone()


# ---- products ------------------------------------------------------------------------------


def dot(a: Any, b: Any) -> Any:
    """`numpy.dot`: the last axis of ``a`` with the last but one of ``b``."""
    a, b = arrays(a, b)
    if not a.ndim or not b.ndim:
        return f.mul(a, b)
    return f.tensordot(a, b, ([a.ndim - 1], [builtins.max(b.ndim - 2, 0)]))


serves("dot")(dot)


@serves("inner")
def _inner(a: Any, b: Any, /) -> Any:
    a, b = arrays(a, b)
    if not a.ndim or not b.ndim:
        return f.mul(a, b)
    return f.tensordot(a, b, ([a.ndim - 1], [b.ndim - 1]))


@serves("vdot")
def _vdot(a: Any, b: Any, /) -> Any:
    a, b = arrays(a, b)
    return f.sum(f.mul(f.conj(f.ravel(a)), f.ravel(b)))


@serves("outer", "linalg.outer")
def _outer(a: Any, b: Any) -> Any:
    return f.outer(*(f.ravel(x) for x in arrays(a, b)))


@serves("tensordot", "linalg.tensordot")
def _tensordot(a: Any, b: Any, /, axes: Any = 2) -> Any:
    a, b = arrays(a, b)
    if isinstance(axes, (tuple, list)):
        axes = [list(x) if isinstance(x, (tuple, list)) else [x] for x in axes]
    return f.tensordot(a, b, axes)


@serves("kron")
def _kron(a: Any, b: Any) -> Any:
    return f.kron(*arrays(a, b))


@serves("einsum")
def _einsum(*operands: Any, optimize: Any = False, dtype: Any = None) -> Any:
    if isinstance(operands[0], str):
        return f.einsum(operands[0], *promoted(*operands[1:], dtype=dtype))
    arrays = promoted(*operands[: len(operands) // 2 * 2 : 2], dtype=dtype)
    rest = list(operands)
    rest[: len(arrays) * 2 : 2] = arrays
    return f.einsum(*rest)


@serves("cross")
def _cross(
    a: Any, b: Any, axisa: int = -1, axisb: int = -1, axisc: int = -1, axis: Any = None
) -> Any:
    if axis is not None:
        axisa = axisb = axisc = axis
    x, y = arrays(a, b)
    x, y = f.movedim(x, axisa, -1), f.movedim(y, axisb, -1)
    flat = x.shape[-1] == y.shape[-1] == 2

    def part(v: Any, i: int) -> Any:
        return v[..., i] if i < v.shape[-1] else f.zeros_like(v[..., 0])

    def turn(i: int, j: int) -> Any:
        return part(x, i) * part(y, j) - part(x, j) * part(y, i)

    if flat:
        return turn(0, 1)
    return f.movedim(f.stack([turn(1, 2), turn(2, 0), turn(0, 1)], -1), -1, axisc)


@serves("trace")
def _trace(a: Any, offset: int = 0, axis1: int = 0, axis2: int = 1, dtype: Any = None) -> Any:
    return f.sum(f.diagonal(a, offset, axis1, axis2), -1, dtype=dtype)


@serves("linalg.trace")
def _linalg_trace(x: Any, /, *, offset: int = 0, dtype: Any = None) -> Any:
    return _trace(x, offset, -2, -1, dtype)


def convolve(a: Any, v: Any, mode: str = "full") -> Any:
    """`numpy.convolve`, as a product with the matrix of shifts."""
    a, v = arrays(f.ravel(as_tensor(a)), f.ravel(as_tensor(v)))
    if not a.numel() or not v.numel():
        raise ValueError("np.convolve: `a` and `v` must not be empty")
    a, v = (v, a) if v.numel() > a.numel() else (a, v)
    n, m = a.numel(), v.numel()
    wide = f.cat([f.zeros(m - 1, dtype=a.dtype), a, f.zeros(m - 1, dtype=a.dtype)])
    rows = np.arange(n + m - 1)[:, None] + np.arange(m - 1, -1, -1)[None, :]  # (N+M-1, M)
    full = f.matmul(wide[rows], v)
    if mode == "full":
        return full
    if mode == "same":
        return full[(m - 1) // 2 : (m - 1) // 2 + n]
    if mode == "valid":
        return full[m - 1 : n]
    raise ValueError(f"np.convolve: `mode` is {mode!r}, expected 'full', 'same' or 'valid'")


serves("convolve")(convolve)


@serves("correlate")
def _correlate(a: Any, v: Any, mode: str = "valid") -> Any:
    a, v = arrays(a, v)
    return convolve(a, f.flip(f.conj(v), 0), mode)


# ---- differences and areas -----------------------------------------------------------------


@serves("diff")
def _diff(
    a: Any, n: int = 1, axis: int = -1, prepend: Any = np._NoValue, append: Any = np._NoValue
) -> Any:
    (d,) = positions(axis, a.ndim)

    def end(value: Any) -> Any:
        x = as_tensor(value)
        return (
            x if x.ndim else f.broadcast_to(x, [1 if i == d else s for i, s in enumerate(a.shape)])
        )

    parts = [end(v) for v in (prepend, a, append) if v is not np._NoValue]
    return f.diff(f.cat(promoted(*parts), d) if len(parts) > 1 else a, n, d)


@serves("ediff1d")
def _ediff1d(ary: Any, to_end: Any = None, to_begin: Any = None) -> Any:
    x = f.ravel(ary)
    ends = [None if v is None else f.to(f.ravel(as_tensor(v)), x.dtype) for v in (to_begin, to_end)]
    return f.cat([p for p in (ends[0], f.diff(x), ends[1]) if p is not None])


@serves("trapezoid")
def _trapezoid(y: Any, x: Any = None, dx: Any = 1.0, axis: int = -1) -> Any:
    (d,) = positions(axis, as_tensor(y).ndim)
    low = (slice(None),) * d + (slice(None, -1),)
    high = (slice(None),) * d + (slice(1, None),)
    if x is None:
        (y,) = promoted(y)
        return f.sum(f.mul(y[high] + y[low], dx), d) / 2
    y, x = promoted(y, x)
    if x.ndim == 1:
        x = f.reshape(x, [-1 if i == d else 1 for i in range(y.ndim)])
    return f.sum((y[high] + y[low]) * f.diff(x, 1, d), d) / 2


@serves("gradient")
def _gradient(f_: Any, *varargs: Any, axis: Any = None, edge_order: Any = 1) -> Any:
    dims = positions(axis, f_.ndim)
    gaps = [numbers(v) for v in varargs] or [1.0]
    gaps = gaps * len(dims) if len(gaps) == 1 else gaps
    if len(gaps) != len(dims):
        raise TypeError(f"np.gradient: {len(gaps)} spacings for {len(dims)} axes")
    out = []
    for d, gap in zip(dims, gaps, strict=True):
        flat = np.ndim(gap) == 0
        n = f_.shape[d]
        x = np.arange(n) * gap if flat else np.asarray(gap, np.float64)
        # NumPy's slopes of the unit vectors: the matrix of what is linear
        slopes: Any = np.gradient(np.eye(n), gap if flat else x, axis=0, edge_order=edge_order)
        matrix = as_tensor(slopes.astype(f_.dtype))  # (n, n)
        out.append(f.movedim(f.tensordot(matrix, f_, ([1], [d])), 0, d))
    return out[0] if len(out) == 1 else tuple(out)


@serves("interp")
def _interp(
    x: Any, xp: Any, fp: Any, left: Any = None, right: Any = None, period: Any = None
) -> Any:
    if period is not None:
        raise Unserved("`period` is not served")
    x, xp, fp = promoted(x, xp, fp, dtype=np.result_type(dtype_of_all([fp]), np.float64))
    at = x.detach().array
    known = xp.detach().array
    i = np.clip(np.searchsorted(known, at, "right") - 1, 0, builtins.max(len(known) - 2, 0))
    j = np.minimum(i + 1, len(known) - 1)
    slope = (fp[j] - fp[i]) / (xp[j] - xp[i]) if len(known) > 1 else f.zeros_like(fp[i])
    out = fp[i] + slope * (x - xp[i])
    low, high = promoted(
        fp[0] if left is None else left, fp[-1] if right is None else right, dtype=out.dtype
    )
    return f.where(at < known[0], low, f.where(at > known[-1], high, out))
