"""Polynomials, functions of the caller's, numbers between endpoints: NumPy's, on tensors."""

from __future__ import annotations

import builtins
from collections.abc import Callable
from typing import Any

import numpy as np

from tinygrad_cnn import functions as f
from tinygrad_cnn.functions.numpy_protocol.arithmetic import convolve
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

# ---- polynomials ---------------------------------------------------------------------------


@serves("polyval")
def _polyval(p: Any, x: Any) -> Any:
    p, x = promoted(p, x)
    out = f.zeros_like(x)
    for c in f.unbind(p, 0):
        out = out * x + c
    return out


def _joined(a: Any, b: Any) -> list[Any]:
    a, b = (f.atleast_1d(v) for v in arrays(a, b))
    n = builtins.max(a.numel(), b.numel())
    return [f.cat([f.zeros(n - v.numel(), dtype=v.dtype), v]) for v in (a, b)]


serves("polyadd")(lambda a1, a2: f.add(*_joined(a1, a2)))
serves("polysub")(lambda a1, a2: f.sub(*_joined(a1, a2)))


def _trimmed(a: Any) -> Any:
    held = a.detach().array
    return a[builtins.min(len(held) - len(np.trim_zeros(held, "f")), len(held) - 1) :]


@serves("polymul")
def _polymul(a1: Any, a2: Any) -> Any:
    return convolve(*(_trimmed(f.atleast_1d(v)) for v in arrays(a1, a2)))


@serves("polyder")
def _polyder(p: Any, m: int = 1) -> Any:
    for _ in range(m):
        n = p.numel() - 1
        p = f.mul(*promoted(p[:-1], np.arange(n, 0, -1)))
    return p


@serves("polyint")
def _polyint(p: Any, m: int = 1, k: Any = None) -> Any:
    constants = list(np.broadcast_to(0.0 if k is None else numbers(k), (m,)))
    for c in constants:
        p, powers = promoted(p, np.arange(p.numel(), 0, -1))
        p = f.cat([p / powers, f.full((1,), c.item(), dtype=p.dtype)])
    return p


@serves("polydiv")
def _polydiv(u: Any, v: Any) -> Any:
    w = f.atleast_1d(as_tensor(u)) + 0.0
    w, v = arrays(w, f.atleast_1d(as_tensor(v)))
    m, n = w.numel() - 1, v.numel() - 1
    rest, parts = w, []
    for k in range(m - n + 1):
        d = rest[k] / v[0]
        parts.append(d)
        step = f.cat([f.zeros(k, dtype=w.dtype), v * d, f.zeros(m - n - k, dtype=w.dtype)])
        rest = rest - step
    quotient = f.stack(parts) if parts else f.zeros(1, dtype=w.dtype)
    held = rest.detach().array
    large = np.flatnonzero(~np.isclose(held, 0, rtol=1e-14))
    lead = large[0] if large.size else len(held) - 1
    return quotient, rest[lead:]


@serves("poly")
def _poly(seq_of_zeros: Any) -> Any:
    x = as_tensor(seq_of_zeros)
    if x.ndim == 2:
        raise Unserved("a matrix is not served: give the eigenvalues, np.linalg.eigvals(x)")
    out = f.ones(1, dtype=x.dtype)
    for zero in f.unbind(f.atleast_1d(x), 0):
        out = convolve(out, f.stack([f.ones((), dtype=x.dtype), -zero]))
    return out


@serves("vander")
def _vander(x: Any, N: Any = None, increasing: bool = False) -> Any:
    return f.vander(f.to(x, np.promote_types(x.dtype, np.int64)), N, increasing)


# ---- by the caller's functions, and of endpoints -------------------------------------------


@serves("apply_along_axis")
def _apply_along_axis(
    func1d: Callable[..., Any], axis: int, arr: Any, *args: Any, **kwargs: Any
) -> Any:
    (d,) = positions(axis, arr.ndim)
    lines = f.movedim(arr, d, -1)
    parts = [
        as_tensor(func1d(lines[i], *args, **kwargs)) for i in np.ndindex(tuple(lines.shape[:-1]))
    ]
    out = f.reshape(f.stack(promoted(*parts)), (*lines.shape[:-1], *parts[0].shape))
    at = out.ndim - parts[0].ndim
    for i in range(parts[0].ndim):
        out = f.movedim(out, at + i, d + i)
    return out


@serves("apply_over_axes")
def _apply_over_axes(func: Callable[..., Any], a: Any, axes: Any) -> Any:
    for axis in np.atleast_1d(axes).tolist():
        out = as_tensor(func(a, axis))
        a = out if out.ndim == a.ndim else f.unsqueeze(out, *positions(axis, a.ndim))
    return a


@serves("piecewise")
def _piecewise(x: Any, condlist: Any, funclist: Any, *args: Any, **kw: Any) -> Any:
    held = np.asarray(numbers(condlist), np.bool_)
    conditions = list(held.reshape((-1, *x.shape)))
    choices = list(funclist)
    out = f.zeros_like(x)
    if len(choices) == len(conditions) + 1:
        out = _chosen(x, ~np.any(conditions, 0), choices.pop(), out, args, kw)
    for condition, choice in zip(conditions, choices, strict=True):
        out = _chosen(x, condition, choice, out, args, kw)
    return out


def _chosen(x: Any, condition: Any, choice: Any, out: Any, args: Any, kw: Any) -> Any:
    value = choice(x[condition], *args, **kw) if callable(choice) else choice
    (value,) = promoted(value, dtype=x.dtype)
    return f.index_put(out, (as_tensor(condition),), value)


def _between(name: str, steps: Callable[..., Any]) -> None:
    """Serve a function of two endpoints, which may have gradients."""

    @serves(name)
    def call(
        start: Any, stop: Any, num: int = 50, endpoint: bool = True, *args: Any, **kwargs: Any
    ) -> Any:
        options = dict(zip(_ARGUMENTS[name], args, strict=False), **kwargs)
        retstep, axis = options.pop("retstep", False), options.pop("axis", 0)
        dtype, base = options.pop("dtype", None), options.pop("base", 10.0)
        ends = (start, stop) if name != "geomspace" else map(as_tensor, (start, stop))
        inexact = np.result_type(dtype_of_all(ends), 1.0)
        a, b = f.broadcast_tensors(*promoted(start, stop, dtype=inexact))
        share = as_tensor(np.linspace(0, 1, num, endpoint).astype(a.dtype))
        share = f.reshape(share, (-1,) + (1,) * a.ndim)
        out = steps(a, b, share, base)
        out = f.movedim(out if dtype is None else f.to(out, dtype), 0, axis)
        return (out, (b - a) / builtins.max(num - bool(endpoint), 1)) if retstep else out


_ARGUMENTS = {
    "linspace": ("retstep", "dtype", "axis", "device"),
    "logspace": ("base", "dtype", "axis"),
    "geomspace": ("dtype", "axis"),
}
_between("linspace", lambda a, b, t, base: a + (b - a) * t)
_between("logspace", lambda a, b, t, base: f.pow(as_tensor(base), a + (b - a) * t))
_between("geomspace", lambda a, b, t, base: a * f.pow(b / a, t))


@serves("bincount")
def _bincount(x: Any, /, weights: Any = None, minlength: int = 0) -> Any:
    places = as_tensor(numbers(x))
    if weights is None:
        return as_tensor(np.bincount(places.array, minlength=minlength))
    n = builtins.max(minlength, int(places.array.max(initial=-1)) + 1)
    w = f.to(as_tensor(weights), np.float64)
    return f.index_add(f.zeros(n, dtype=np.float64), 0, f.to(places, np.int64), w)
