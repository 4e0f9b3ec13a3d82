"""Reductions, running sums and the softmax family. ``dim`` is a tuple of axes, none negative."""

# A rule may name its own operation, whose type mypy does not know yet at that place.
# mypy: disable-error-code="has-type, no-any-return"

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_cnn import kernels
from tinygrad_cnn.autograd.registry import op
from tinygrad_cnn.autograd.samples import Draw, Sample
from tinygrad_cnn.autograd.units import computed, one_unit
from tinygrad_cnn.autograd.variable import in_order, wrap
from tinygrad_cnn.kernels.reference.layout import accumulation_dtype, as_array
from tinygrad_cnn.kernels.tape import made
from tinygrad_cnn.ops import forms
from tinygrad_cnn.ops.choice import where
from tinygrad_cnn.ops.conjugate import conj
from tinygrad_cnn.ops.elementwise import exp, log_add_exp
from tinygrad_cnn.ops.shape import expand, flip, reshape
from tinygrad_cnn.types import Array, DType, Shapes

if TYPE_CHECKING:
    from tinygrad_cnn.tensor import Tensor

Dims = tuple[int, ...]

# Their overloads want a literal `keepdims`.
_add: Any = np.add.reduce
_multiply: Any = np.multiply.reduce
_largest: Any = np.maximum.reduce
_smallest: Any = np.minimum.reduce


def _kept(shape: tuple[int, ...], dim: Dims) -> tuple[int, ...]:
    """``shape`` with 1 in place of the reduced axes."""
    return tuple(1 if i in dim else n for i, n in enumerate(shape))


def _count(shape: tuple[int, ...], dim: Dims) -> int:
    return math.prod(shape[i] for i in dim)


def _spread(g: Tensor, shapes: Shapes, dim: Dims, keepdim: bool) -> Tensor:
    """``g``, the gradient of a reduced result, in the shape of what was reduced."""
    shape = shapes[0]
    return expand(g if keepdim else reshape(g, shape=_kept(shape, dim)), shape=shape)


def _draw_dims(draw: Draw, shape: tuple[int, ...]) -> Dims:
    options: list[Dims] = [tuple(range(len(shape)))]
    options += [(i,) for i in range(len(shape))]
    if len(shape) == 3:
        options += [(0, 2)]
    return tuple(draw.choice(options))


def _samples(min_side: int = 0, distinct: bool = False, one_dim: bool = False) -> Any:
    def samples(draw: Draw) -> Sample:
        shape = draw.shape(min_dims=1 if one_dim else 0, min_side=min_side)
        x = draw.distinct(shape) if distinct else draw.array(shape)
        if one_dim:
            return Sample((x,), {"dim": draw.integer(0, len(shape) - 1)})
        keep = draw.choice((False, True))
        return Sample((x,), {"dim": _draw_dims(draw, shape), "keepdim": keep})

    return samples


@op(
    complex="parts",
    vjp=_spread,
    ignore_fp_errors=True,
    samples=_samples(),
    onnx=forms.sum,
)
def sum(x: Array, *, dim: Dims, keepdim: bool = False) -> Array:
    """Sum over ``dim``; integers and bools give int64."""
    return in_order(kernels.sum(x, dim, keepdim))


def _mean_rule(g: Tensor, shapes: Shapes, dim: Dims, keepdim: bool) -> Tensor:
    return _spread(g / _count(shapes[0], dim), shapes, dim, keepdim)


@op(
    complex="parts",
    vjp=_mean_rule,
    ignore_fp_errors=True,
    samples=_samples(min_side=1),
    onnx=lambda o, x, dim, keepdim: o.reduce("ReduceMean", x, dim, keepdim),
)
def mean(x: Array, *, dim: Dims, keepdim: bool = False) -> Array:
    """Mean over ``dim``; NaN of nothing."""
    return in_order(kernels.sum(x, dim, keepdim, _count(x.shape, dim)))


@one_unit
def _prod_rule(g: Tensor, x: Tensor, y: Tensor, shapes: Shapes, dim: Dims, keepdim: bool) -> Tensor:
    shape = shapes[0]
    g = _spread(g, shapes, dim, keepdim)
    if np.all(x._array != 0):
        return g * conj(_spread(y, shapes, dim, keepdim) / x)
    # Products of all others, by brute force: n copies of the n reduced elements, each with the
    # element itself replaced by 1. Exact at zeros, to any order.
    rest = [i for i in range(len(shape)) if i not in dim]
    n = _count(shape, dim)
    front = x.permute((*rest, *dim)).reshape((*(shape[i] for i in rest), 1, n))
    copies = where(wrap(made(np.eye(n, dtype=np.bool_))), 1.0, front)  # (rest..., n, n)
    others = prod(copies, dim=(len(rest) + 1,))  # (rest..., n)
    back = others.reshape((*(shape[i] for i in rest), *(shape[i] for i in dim)))
    inverse = np.argsort([*rest, *dim])
    return g * conj(back.permute(tuple(int(i) for i in inverse)))


def _prod_samples(draw: Draw) -> Sample:
    shape = draw.shape()
    x = draw.distinct(shape)
    if x.size and draw.choice((False, True)):
        x = x + 1j * draw.array(shape, -0.4, 0.4) if draw.choice((False, False, True)) else x
        x.flat[0] = 0.0
    return Sample((x,), {"dim": _draw_dims(draw, shape), "keepdim": draw.choice((False, True))})


@op(
    complex="whole",
    vjp=_prod_rule,
    ignore_fp_errors=True,
    samples=_prod_samples,
    onnx=forms.prod,
)
def prod(x: Array, *, dim: Dims, keepdim: bool = False) -> Array:
    """Product over ``dim``; integers and bools give int64."""
    inner = np.int64 if x.dtype.kind in "biu" else accumulation_dtype(x)
    found = np.asarray(_multiply(x, dim, dtype=inner, keepdims=keepdim))
    return found.astype(x.dtype, copy=False) if x.dtype.kind == "f" else found


def _var_rule(
    g: Tensor, x: Tensor, shapes: Shapes, dim: Dims, correction: float, keepdim: bool
) -> Tensor:
    n = max(_count(shapes[0], dim) - correction, 0)
    dtype = x._value.dtype
    wide = x.to(np.float64) if dtype.kind == "f" else x  # in which a large mean is not rounded
    away = (wide - mean(wide, dim=dim, keepdim=True)).to(dtype)
    return _spread(g * (2.0 / n if n else math.nan), shapes, dim, keepdim) * away


def _var_samples(draw: Draw) -> Sample:
    shape = draw.shape(min_dims=1, min_side=2)
    params = {"dim": _draw_dims(draw, shape), "correction": draw.choice((0, 1))}
    return Sample((draw.array(shape),), {**params, "keepdim": draw.choice((False, True))})


def _variance(x: Array, dim: Dims, correction: float, keepdim: bool) -> Array:
    if x.dtype.kind == "c":
        return _variance(x.real, dim, correction, keepdim) + _variance(
            x.imag, dim, correction, keepdim
        )
    total = kernels.sum_squares(x, dim, keepdim, True)
    n = _count(x.shape, dim)
    return total / np.float64(max(n - correction, 0) if n else 0)


@op(
    complex="whole",
    vjp=_var_rule,
    ignore_fp_errors=True,
    samples=_var_samples,
    onnx=forms.var,
)
def var(x: Array, *, dim: Dims, correction: float = 1, keepdim: bool = False) -> Array:
    """Mean squared distance from the mean over ``dim``, divided by ``n - correction``."""
    return as_array(_variance(x, dim, correction, keepdim).astype(x.real.dtype, copy=False))


def _std_rule(
    g: Tensor, x: Tensor, y: Tensor, shapes: Shapes, dim: Dims, correction: float, keepdim: bool
) -> Tensor:
    flat = computed(np.equal, y, 0)
    half = where(flat, 0.0, g) / (2.0 * where(flat, 1.0, y))
    return _var_rule(half, x, shapes, dim, correction, keepdim)


def _std_samples(draw: Draw) -> Sample:
    sample = _var_samples(draw)
    return Sample((draw.distinct(sample.args[0].shape),), sample.params)


@op(
    complex="whole",
    vjp=_std_rule,
    ignore_fp_errors=True,
    samples=_std_samples,
    onnx=lambda o, x, dim, correction, keepdim: o.Sqrt(forms.var(o, x, dim, correction, keepdim)),
)
def std(x: Array, *, dim: Dims, correction: float = 1, keepdim: bool = False) -> Array:
    """Square root of `var`; the derivative at 0 is 0."""
    return as_array(
        np.sqrt(_variance(x, dim, correction, keepdim)).astype(x.real.dtype, copy=False)
    )


def _extreme_rule(
    g: Tensor, x: Tensor, y: Tensor, shapes: Shapes, dim: Dims, keepdim: bool
) -> Tensor:
    share = computed(_shares, x, y, dim, g._value.dtype)
    return _spread(g, shapes, dim, keepdim) * share


def _shares(x: Array, y: Array, dim: Dims, dtype: DType) -> Array:
    """How much of the gradient belongs to each number: that of the extreme ones, evenly."""
    extreme = y.reshape(_kept(x.shape, dim))
    hit = x == extreme
    hit |= np.isnan(x) & np.isnan(extreme)
    share: Array = (hit / np.maximum(_add(hit, dim, keepdims=True), 1)).astype(dtype)
    return share


@op(
    vjp=_extreme_rule,
    samples=_samples(min_side=1, distinct=True),
    onnx=lambda o, x, dim, keepdim: o.reduce("ReduceMax", x, dim, keepdim),
)
def amax(x: Array, *, dim: Dims, keepdim: bool = False) -> Array:
    """Largest value over ``dim``; equal ones share the gradient evenly."""
    return np.asarray(_largest(x, dim, keepdims=keepdim))


@op(
    vjp=_extreme_rule,
    samples=_samples(min_side=1, distinct=True),
    onnx=lambda o, x, dim, keepdim: o.reduce("ReduceMin", x, dim, keepdim),
)
def amin(x: Array, *, dim: Dims, keepdim: bool = False) -> Array:
    """Smallest value over ``dim``; equal ones share the gradient evenly."""
    return np.asarray(_smallest(x, dim, keepdims=keepdim))


def _norm2_rule(
    g: Tensor, x: Tensor, y: Tensor, shapes: Shapes, dim: Dims, keepdim: bool
) -> Tensor:
    at_zero = computed(np.equal, y, 0)
    unit = x / _spread(where(at_zero, 1.0, y), shapes, dim, keepdim)  # where 1/y is infinite too
    return _spread(where(at_zero, 0.0, g), shapes, dim, keepdim) * unit


@op(
    vjp=_norm2_rule,
    ignore_fp_errors=True,
    samples=_samples(distinct=True),
    onnx=lambda o, x, dim, keepdim: o.reduce("ReduceL2", x, dim, keepdim) if dim else o.Abs(x),
)
def norm2(x: Array, *, dim: Dims, keepdim: bool = False) -> Array:
    """Euclidean length ``sqrt(sum(x**2))`` over ``dim``; the derivative at 0 is 0."""
    return as_array(np.sqrt(kernels.sum_squares(x, dim, keepdim)).astype(x.dtype, copy=False))


@op(
    complex="parts",
    vjp=lambda g, dim: flip(cumsum(flip(g, dims=(dim,)), dim=dim), dims=(dim,)),
    ignore_fp_errors=True,
    samples=_samples(one_dim=True),
    onnx=lambda o, x, y, dim: o.CumSum(o.cast(x, y.dtype), np.array(dim)),
)
def cumsum(x: Array, *, dim: int) -> Array:
    """Running sum along the axis ``dim``; integers and bools give int64."""
    return kernels.cumsum(x, dim)


@one_unit
def _cumprod_rule(g: Tensor, x: Tensor, y: Tensor, shapes: Shapes, dim: int) -> Tensor:
    if np.all(x._array != 0):
        return flip(cumsum(flip(g * conj(y), dims=(dim,)), dim=dim), dims=(dim,)) / conj(x)
    # as in _prod_rule, for each of the n products: the other factors, with ones from its end on
    n, last = shapes[0][dim], len(shapes[0]) - 1
    front = x.transpose(dim, last)  # (..., n)
    lead = front._value.shape[:-1]
    used = wrap(made(np.tri(n, dtype=np.bool_)))
    factors = where(used, front.reshape((*lead, 1, n)), 1.0)  # (..., product, factor)
    products = prod(factors, dim=(last + 1,))  # (..., product)
    again = _prod_rule(
        g.transpose(dim, last), factors, products, ((*lead, n, n),), (last + 1,), False
    )
    return sum(where(used, again, 0.0), dim=(last,)).transpose(dim, last)


def _cumprod_samples(draw: Draw) -> Sample:
    shape = draw.shape(min_dims=1)
    x = draw.distinct(shape)
    if x.size and draw.choice((False, True)):
        x = x + 1j * draw.array(shape, -0.4, 0.4) if draw.choice((False, False, True)) else x
        x.flat[0] = 0.0
    return Sample((x,), {"dim": draw.integer(0, len(shape) - 1)})


@op(complex="whole", vjp=_cumprod_rule, ignore_fp_errors=True, samples=_cumprod_samples)
def cumprod(x: Array, *, dim: int) -> Array:
    """Running product along the axis ``dim``; integers and bools give int64."""
    return np.cumprod(x, dim, dtype=np.int64 if x.dtype.kind in "biu" else None)


def _by_their_sum(share: Tensor, *dim: int) -> Tensor:
    """``exp(x - logsumexp(x))`` with the sum 1, as far as it has any.

    Beside large numbers the logarithm of how many there are is lost in logsumexp(x).
    """
    total = sum(share, dim=dim, keepdim=True)
    return share / where(computed(_is_known, total), total, 1.0)


def _is_known(total: Array) -> Array:
    known: Array = np.isfinite(total) & (total != 0)
    return known


def _used(y: Array, n: int) -> Array:
    """Which numbers enter which sums: (..., i, j) where i <= j, and the sum is not empty."""
    used: Array = np.tri(n, dtype=np.bool_).T & ~np.isneginf(y.real)
    return used


def _logcumsumexp_rule(g: Tensor, x: Tensor, y: Tensor, shapes: Shapes, dim: int) -> Tensor:
    # The shares exp(x_i - y_j), i <= j, are at most 1: nothing overflows, in memory of n² numbers.
    n, last = shapes[0][dim], len(shapes[0]) - 1
    x, y, g = (v.transpose(dim, last) for v in (x, y, g))
    lead = x._value.shape[:-1]
    y = y.reshape((*lead, 1, n))
    used = computed(_used, y, n)
    share = exp(where(used, x.reshape((*lead, n, 1)) - y.detach(), -math.inf))
    share = _by_their_sum(share, last)  # (..., i, j)
    return sum(conj(share) * g.reshape((*lead, 1, n)), dim=(last + 1,)).transpose(dim, last)


@op(
    complex="whole",
    vjp=_logcumsumexp_rule,
    promotes="float",
    ignore_fp_errors=True,
    samples=_samples(one_dim=True),
)
def logcumsumexp(x: Array, *, dim: int) -> Array:
    """Running ``log(sum(exp(x)))`` along the axis ``dim``, without overflow."""
    if x.dtype.kind != "c":
        return np.logaddexp.accumulate(x, axis=dim, dtype=x.dtype)
    out = np.array(x)
    lines = np.moveaxis(out, dim, 0)
    for k in range(1, len(lines)):
        lines[k] = log_add_exp(lines[k - 1], lines[k])
    return out


# ---- softmax -------------------------------------------------------------------------------


def _is_empty(y: Array) -> Array:
    return np.isneginf(y.real)


def _logsumexp_rule(
    g: Tensor, x: Tensor, y: Tensor, shapes: Shapes, dim: Dims, keepdim: bool
) -> Tensor:
    y = _spread(where(computed(_is_empty, y), 0.0, y), shapes, dim, keepdim).detach()
    return _spread(g, shapes, dim, keepdim) * conj(_by_their_sum(exp(x - y), *dim))


@op(
    complex="whole",
    vjp=_logsumexp_rule,
    promotes="float",
    ignore_fp_errors=True,
    samples=_samples(min_side=1),
    onnx=forms.logsumexp,
)
def logsumexp(x: Array, *, dim: Dims, keepdim: bool = False) -> Array:
    """``log(sum(exp(x)))`` over ``dim``, without overflow."""
    dtype = x.dtype
    x = x.astype(accumulation_dtype(x), copy=False)
    top = _largest(x.real, dim, keepdims=True, initial=-np.inf)
    top = np.where(np.isfinite(top), top, np.zeros_like(top))
    out = (np.log(kernels.sum(np.exp(x - top), dim, True)) + top).astype(dtype, copy=False)
    return out if keepdim else out.reshape([n for i, n in enumerate(x.shape) if i not in dim])


def _softmax_rule(g: Tensor, y: Tensor, dim: int) -> Tensor:
    return y * (g - sum(g * y, dim=(dim,), keepdim=True))


@op(
    vjp=(_softmax_rule,),
    array_vjp=lambda g, y, dim: (kernels.softmax_backward(g, y, dim),),
    promotes="float",
    ignore_fp_errors=True,
    samples=_samples(one_dim=True),
    onnx=lambda o, x, dim: o.Softmax(x, axis=dim),
)
def softmax(x: Array, *, dim: int) -> Array:
    """``exp(x) / sum(exp(x))`` along the axis ``dim``, without overflow; NaN beside infinity."""
    return kernels.softmax(x, dim)


def _log_softmax_rule(g: Tensor, y: Tensor, dim: int) -> Tensor:
    return g - exp(y) * sum(g, dim=(dim,), keepdim=True)


@op(
    vjp=(_log_softmax_rule,),
    array_vjp=lambda g, y, dim: (kernels.log_softmax_backward(g, y, dim),),
    promotes="float",
    ignore_fp_errors=True,
    samples=_samples(one_dim=True),
    onnx=lambda o, x, dim: o.LogSoftmax(x, axis=dim),
)
def log_softmax(x: Array, *, dim: int) -> Array:
    """``x - logsumexp(x)`` along the axis ``dim``; NaN beside infinity."""
    return kernels.log_softmax(x, dim)
