"""NumPy's sums, extrema, means and order statistics on tensors, with NumPy's arguments."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tinygrad_cnn import functions as f
from tinygrad_cnn.functions.numpy_protocol.moving import sort
from tinygrad_cnn.functions.numpy_protocol.serving import (
    NO_VALUE,
    Unserved,
    as_tensor,
    numbers,
    positions,
    promoted,
    serves,
)

Reduction = Callable[..., Any]


def _given(value: Any) -> bool:
    return value is not NO_VALUE and value is not None


def _in(x: Any, dtype: Any) -> Any:
    return x if dtype is None else f.to(x, dtype)


def _reduced(x: Any, reduce: Reduction, axis: Any, keepdims: Any) -> Any:
    """``reduce`` over axes as NumPy names them; over none of them it is ``x``."""
    dims = positions(axis, x.ndim)
    keep = bool(keepdims) and keepdims is not NO_VALUE
    return reduce(x, dims, keep) if dims or not x.ndim else f.clone(x)


def _plain(
    reduce: Reduction, start: Callable[..., Any], *names: str, clean: Reduction | None = None
) -> Reduction:
    """Serve a sum or a product: ``start`` brings in the number that NumPy starts with."""

    @serves(*names)
    def call(
        a: Any, axis: Any = None, dtype: Any = None, *, keepdims: Any = False,
        initial: Any = NO_VALUE, where: Any = NO_VALUE,
    ) -> Any:  # fmt: skip
        x = _in(a if clean is None else clean(a), dtype)
        if where is not NO_VALUE and where is not True:
            neutral = 0 if reduce is f.sum else 1
            x = f.where(f.to(as_tensor(where), np.bool_), x, f.full((), neutral, dtype=x.dtype))
        out = _reduced(x, reduce, axis, keepdims)
        return start(out, initial) if _given(initial) else out

    return call


def _without_nan(value: float) -> Reduction:
    return lambda a: f.where(f.isnan(a), f.full((), value, dtype=a.dtype), a)


_sum = _plain(f.sum, f.add, "sum")
_plain(f.prod, f.mul, "prod")
_plain(f.sum, f.add, "nansum", clean=_without_nan(0))
_plain(f.prod, f.mul, "nanprod", clean=_without_nan(1))


def _extreme(reduce: Reduction, start: Reduction, *names: str) -> None:
    @serves(*names)
    def call(a: Any, axis: Any = None, *, keepdims: Any = False, initial: Any = NO_VALUE) -> Any:
        out = _reduced(a, reduce, axis, keepdims)
        return start(out, as_tensor(initial).to(out.dtype)) if _given(initial) else out


_extreme(f.amax, f.maximum, "max", "amax")
_extreme(f.amin, f.minimum, "min", "amin")


def _nan_extreme(name: str, reduce: Reduction, empty: float) -> None:
    @serves(name)
    def call(a: Any, axis: Any = None, *, keepdims: Any = False) -> Any:
        none = _reduced(f.to(f.isnan(a), np.int64), f.amin, axis, keepdims)
        out = _reduced(_without_nan(empty)(a), reduce, axis, keepdims)
        return f.where(none != 0, f.full((), np.nan, dtype=a.dtype), out)


_nan_extreme("nanmax", f.amax, -np.inf)
_nan_extreme("nanmin", f.amin, np.inf)


@serves("ptp")
def _ptp(a: Any, axis: Any = None, *, keepdims: Any = False) -> Any:
    return _reduced(a, f.amax, axis, keepdims) - _reduced(a, f.amin, axis, keepdims)


@serves("mean")
def mean(a: Any, axis: Any = None, dtype: Any = None, *, keepdims: Any = False) -> Any:
    """`numpy.mean`."""
    return _reduced(_in(a, dtype), f.mean, axis, keepdims)


def _freedom(ddof: Any, correction: Any) -> Any:
    return correction if _given(correction) else ddof


def _spread(reduce: Reduction, name: str) -> None:
    @serves(name)
    def call(
        a: Any, axis: Any = None, dtype: Any = None, *, ddof: float = 0, keepdims: Any = False,
        correction: Any = NO_VALUE,
    ) -> Any:  # fmt: skip
        n = _freedom(ddof, correction)
        x, dims = _in(a, dtype), positions(axis, a.ndim)
        if not dims and x.ndim:
            return reduce(f.unsqueeze(x, -1), -1, correction=n)
        return reduce(x, dims, keepdim=keepdims is True, correction=n)


_spread(f.var, "var")
_spread(f.std, "std")


def _counted(a: Any, axis: Any, keepdims: bool) -> Any:
    return _reduced(
        f.to(~f.isnan(a), a.dtype if a.dtype.kind == "f" else np.float64), f.sum, axis, keepdims
    )


@serves("nanmean")
def _nanmean(a: Any, axis: Any = None, dtype: Any = None, *, keepdims: Any = False) -> Any:
    x = _in(a, dtype)
    keep = keepdims is True
    return _reduced(_without_nan(0)(x), f.sum, axis, keep) / _counted(x, axis, keep)


def _nanvar(
    a: Any, axis: Any = None, dtype: Any = None, *, ddof: float = 0, keepdims: Any = False,
    correction: Any = NO_VALUE,
) -> Any:  # fmt: skip
    x, keep = _in(a, dtype), keepdims is True
    away = _without_nan(0)(f.abs(x - _nanmean(x, axis, keepdims=True)))
    n = _counted(x, axis, keep) - _freedom(ddof, correction)
    return _reduced(f.square(away), f.sum, axis, keep) / f.where(n <= 0, np.nan, n)


serves("nanvar")(_nanvar)
serves("nanstd")(lambda *args, **kwargs: f.sqrt(_nanvar(*args, **kwargs)))


@serves("average")
def _average(
    a: Any, axis: Any = None, weights: Any = None, returned: bool = False, *, keepdims: Any = False
) -> Any:
    keep, dims = keepdims is True, positions(axis, a.ndim)
    if weights is None:
        out = mean(a, axis, keepdims=keep)
        scale: Any = np.asarray(a.numel() / max(out.numel(), 1), a.dtype)
    else:
        a, w = promoted(a, weights)
        if w.shape != a.shape:
            order = np.argsort(axis if isinstance(axis, (tuple, list)) else (axis,))
            w = f.permute(w, tuple(order.tolist()))
            w = f.reshape(w, [n if d in dims else 1 for d, n in enumerate(a.shape)])
        w = f.broadcast_to(w, a.shape)
        scale = f.sum(w, dims, keep)
        out = f.sum(f.mul(a, w), dims, keep) / scale
    return (out, f.broadcast_to(as_tensor(scale), out.shape)) if returned else out


# ---- running -------------------------------------------------------------------------------


def _running(reduce: Reduction, *names: str, clean: Reduction | None = None) -> Reduction:
    @serves(*names)
    def call(a: Any, axis: Any = None, dtype: Any = None) -> Any:
        x = _in(a if clean is None else clean(a), dtype)
        return reduce(f.ravel(x), 0) if axis is None else reduce(x, *positions(axis, x.ndim))

    return call


_cumsum = _running(f.cumsum, "cumsum")
_cumprod = _running(f.cumprod, "cumprod")
_running(f.cumsum, "nancumsum", clean=_without_nan(0))
_running(f.cumprod, "nancumprod", clean=_without_nan(1))


def _cumulative(name: str, running: Reduction, first: Reduction) -> None:
    @serves(name)
    def call(
        x: Any, /, *, axis: Any = None, dtype: Any = None, include_initial: bool = False
    ) -> Any:
        if axis is None and x.ndim > 1:
            raise ValueError(f"np.{name}: `axis` must be given for {x.ndim} axes")
        (d,) = positions(-1 if axis is None else axis, max(x.ndim, 1))
        out = running(x if x.ndim else f.ravel(x), d, dtype)
        if not include_initial:
            return out
        shape = [1 if i == d else n for i, n in enumerate(out.shape)]
        return f.cat([first(shape, dtype=out.dtype), out], d)


_cumulative("cumulative_sum", _cumsum, f.zeros)
_cumulative("cumulative_prod", _cumprod, f.ones)


# ---- order statistics ----------------------------------------------------------------------


def _ranks(n: int, q: Any, method: str) -> Any:
    """Where NumPy finds the shares ``q`` of n sorted numbers: between which two, and how far."""
    return np.quantile(np.arange(n, dtype=np.float64), q, method=method)  # type: ignore[call-overload]


def _lines(a: Any, axis: Any) -> tuple[Any, list[int]]:
    """The numbers along some axes, as the last one, and the shape with 1 for these."""
    dims = positions(axis, a.ndim)
    rest = [d for d in range(a.ndim) if d not in dims]
    kept = [1 if d in dims else n for d, n in enumerate(a.shape)]
    return f.reshape(f.permute(a, (*rest, *dims)), (*(a.shape[d] for d in rest), -1)), kept


def _shaped(out: Any, shares: Any, kept: list[int], keepdims: Any) -> Any:
    """A result (…, Q) as NumPy's: the axes of q come first."""
    out = f.movedim(out, -1, 0)  # (Q, …)
    return f.reshape(out, (*shares.shape, *(kept if keepdims is True else out.shape[1:])))


def _quantile(theirs: Callable[..., Any], scale: float) -> Reduction:
    def call(
        a: Any, q: Any, axis: Any = None, overwrite_input: bool = False, method: str = "linear",
        keepdims: Any = False, *, weights: Any = None, interpolation: Any = None,
    ) -> Any:  # fmt: skip
        if weights is not None:
            raise Unserved("`weights` is not served")
        dtype = theirs(np.zeros(1, a.dtype), numbers(q), method=method).dtype
        shares = np.asarray(numbers(q), np.float64) / scale
        lines, kept = _lines(a, axis)
        ranks = np.asarray(_ranks(lines.shape[-1], shares.ravel(), method))
        low = np.floor(ranks).astype(np.int64)
        share = f.to(as_tensor(ranks - low), dtype)
        ordered = f.to(sort(lines), dtype)
        below, above = ordered[..., low], ordered[..., np.ceil(ranks).astype(np.int64)]
        out = below + f.where(share > 0, (above - below) * share, f.zeros((), dtype=dtype))
        out = f.where(f.isnan(ordered[..., -1:]), f.full((), np.nan, dtype=dtype), out)
        return _shaped(out, shares, kept, keepdims)

    return call


_NAN_METHODS = ("linear", "lower", "higher", "nearest", "midpoint")


def _nanquantile(theirs: Callable[..., Any], scale: float) -> Reduction:
    def call(
        a: Any, q: Any, axis: Any = None, overwrite_input: bool = False, method: str = "linear",
        keepdims: Any = False, *, weights: Any = None, interpolation: Any = None,
    ) -> Any:  # fmt: skip
        if weights is not None or method not in _NAN_METHODS:
            raise Unserved(f"`weights`, and a `method` other than {_NAN_METHODS}, are not served")
        dtype = theirs(np.zeros(1, a.dtype), numbers(q), method=method).dtype
        shares = np.asarray(numbers(q), np.float64) / scale
        lines, kept = _lines(f.to(a, dtype), axis)
        flat = as_tensor(shares.ravel().astype(dtype))
        out = f.movedim(f.nanquantile(lines, flat, -1, interpolation=method), 0, -1)
        return _shaped(out, shares, kept, keepdims)

    return call


quantile, _nan = serves("quantile")(_quantile(np.quantile, 1)), _nanquantile(np.nanquantile, 1)
serves("nanquantile")(_nan)
serves("percentile")(_quantile(np.percentile, 100))
serves("nanpercentile")(_nanquantile(np.nanpercentile, 100))


@serves("median")
def _median(a: Any, axis: Any = None, overwrite_input: bool = False, keepdims: Any = False) -> Any:
    return quantile(a, 0.5, axis, keepdims=keepdims)


@serves("nanmedian")
def _nanmedian(
    a: Any, axis: Any = None, overwrite_input: bool = False, keepdims: Any = False
) -> Any:
    return _nan(a, 0.5, axis, keepdims=keepdims)


# ---- of two variables ----------------------------------------------------------------------


@serves("cov")
def _cov(
    m: Any, y: Any = None, rowvar: bool = True, bias: bool = False, ddof: Any = None,
    fweights: Any = None, aweights: Any = None, *, dtype: Any = None,
) -> Any:  # fmt: skip
    inexact = np.result_type(m.dtype, np.float64) if dtype is None else dtype
    x = f.to(m, inexact)
    x = x if x.ndim > 1 else f.reshape(x, (1, -1))
    x = x if rowvar or x.shape[0] == 1 else f.transpose(x, 0, 1)
    if y is not None:
        other = f.to(as_tensor(y), inexact)
        other = other if other.ndim > 1 else f.reshape(other, (1, -1))
        other = other if rowvar or other.shape[0] == 1 else f.transpose(other, 0, 1)
        x = f.cat([x, other], 0)
    n = (0 if bias else 1) if ddof is None else ddof
    weights = {
        k: as_tensor(numbers(v)) for k, v in (("fweights", fweights), ("aweights", aweights))
        if v is not None
    }  # fmt: skip
    return f.squeeze(f.cov(x, correction=n, **weights))


@serves("corrcoef")
def _corrcoef(x: Any, y: Any = None, rowvar: bool = True, *, dtype: Any = None) -> Any:
    c = _cov(x, y, rowvar, dtype=dtype)
    if not c.ndim:
        return c / c
    s = f.sqrt(f.real(f.diagonal(c)))
    out = c / s[:, None] / s[None, :]
    return f.clamp(out, -1, 1) if out.dtype.kind == "f" else out
