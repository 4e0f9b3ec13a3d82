"""Reductions. ``dim`` is an axis, several, or None for all; NumPy's names are accepted too."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_cnn.autograd import promotion
from tinygrad_cnn.autograd.units import computed
from tinygrad_cnn.errors import ArgumentError, DtypeError, PositionError, ShapeError
from tinygrad_cnn.functions.compare import ne
from tinygrad_cnn.functions.convert import axes, axis, floating, inexact, numpy_names, to_tensor
from tinygrad_cnn.functions.elementwise import abs, mul, pow, sign, sub, to, where
from tinygrad_cnn.functions.export import export
from tinygrad_cnn.kernels.fp_errors import ignore_fp_errors
from tinygrad_cnn.ops import reduce as ops
from tinygrad_cnn.ops.conjugate import is_complex
from tinygrad_cnn.ops.index import getitem
from tinygrad_cnn.types import Array, Dims, DTypeLike, TensorLike

if TYPE_CHECKING:
    from tinygrad_cnn.tensor import Tensor


@export()
@numpy_names
def sum(
    input: TensorLike, dim: Dims = None, keepdim: bool = False, *, dtype: DTypeLike = None
) -> Tensor:
    """Sum over ``dim``; integers and bools give int64.

    >>> import tinygrad_cnn as tg
    >>> tg.sum(tg.ones(2, 3), dim=1)
    tensor([3., 3.])
    """
    x = to_tensor(input) if dtype is None else to(input, dtype)
    out = ops.sum(x, dim=axes("sum", dim, x._value.ndim), keepdim=keepdim)
    return out if dtype is None else to(out, dtype)


def _floating(name: str, x: TensorLike, dtype: DTypeLike = None) -> Tensor:
    return floating(name, to_tensor(x) if dtype is None else to(x, dtype))


@export()
@numpy_names
def mean(
    input: TensorLike, dim: Dims = None, keepdim: bool = False, *, dtype: DTypeLike = None
) -> Tensor:
    """Mean over ``dim`` of a floating or complex tensor."""
    x = to_tensor(input) if dtype is None else to(input, dtype)
    return ops.mean(inexact("mean", x), dim=axes("mean", dim, x._value.ndim), keepdim=keepdim)


@export()
@numpy_names
def prod(
    input: TensorLike, dim: Dims = None, keepdim: bool = False, *, dtype: DTypeLike = None
) -> Tensor:
    """Product over ``dim``; integers and bools give int64."""
    x = to_tensor(input) if dtype is None else to(input, dtype)
    out = ops.prod(x, dim=axes("prod", dim, x._value.ndim), keepdim=keepdim)
    return out if dtype is None else to(out, dtype)


def correction_of(unbiased: bool | None, correction: float | None) -> float:
    if unbiased is not None and correction is not None:
        raise ArgumentError("var: `unbiased` and `correction` say the same thing; give one")
    return (
        (1.0 if unbiased else 0.0)
        if unbiased is not None
        else 1
        if correction is None
        else correction
    )


@export()
@numpy_names
def var(
    input: TensorLike,
    dim: Dims = None,
    unbiased: bool | None = None,
    keepdim: bool = False,
    *,
    correction: float | None = None,
) -> Tensor:
    """Variance over ``dim``, with ``n - correction`` (default ``n - 1``) below the line.

    That of complex numbers is real: their mean squared distance from their mean.

    >>> import tinygrad_cnn as tg
    >>> tg.var(tg.tensor([1.0, 2.0, 3.0]))
    tensor(1.)
    """
    if isinstance(dim, bool):  # var(x, unbiased), as PyTorch allows
        dim, unbiased = None, dim
    x = inexact("var", to_tensor(input))
    dims = axes("var", dim, x._value.ndim)
    return ops.var(x, dim=dims, correction=correction_of(unbiased, correction), keepdim=keepdim)


@export()
@numpy_names
def std(
    input: TensorLike,
    dim: Dims = None,
    unbiased: bool | None = None,
    keepdim: bool = False,
    *,
    correction: float | None = None,
) -> Tensor:
    """Square root of `var`; the derivative where it is 0 is 0."""
    if isinstance(dim, bool):
        dim, unbiased = None, dim
    x = inexact("std", to_tensor(input))
    dims = axes("std", dim, x._value.ndim)
    return ops.std(x, dim=dims, correction=correction_of(unbiased, correction), keepdim=keepdim)


@export(method=False)
@numpy_names
def var_mean(
    input: TensorLike,
    dim: Dims = None,
    unbiased: bool | None = None,
    keepdim: bool = False,
    *,
    correction: float | None = None,
) -> tuple[Tensor, Tensor]:
    """`var` and `mean`."""
    if isinstance(dim, bool):
        dim, unbiased = None, dim
    return var(input, dim, unbiased, keepdim, correction=correction), mean(input, dim, keepdim)


@export(method=False)
@numpy_names
def std_mean(
    input: TensorLike,
    dim: Dims = None,
    unbiased: bool | None = None,
    keepdim: bool = False,
    *,
    correction: float | None = None,
) -> tuple[Tensor, Tensor]:
    """`std` and `mean`."""
    if isinstance(dim, bool):
        dim, unbiased = None, dim
    return std(input, dim, unbiased, keepdim, correction=correction), mean(input, dim, keepdim)


def has_order(name: str, x: Tensor) -> None:
    """Refuse complex numbers, of which none is larger than another."""
    if is_complex(x):
        raise DtypeError(
            f"{name}: `input` is {x.dtype}, expected real numbers: complex ones have no order"
        )


def not_empty(name: str, x: Tensor, dims: tuple[int, ...]) -> None:
    for d in dims:
        if x._value.shape[d] == 0:
            raise PositionError(
                f"{name}: `input` has shape {x.shape}, and there is no value to choose along "
                f"axis {d}"
            )


@export()
@numpy_names
def amax(input: TensorLike, dim: Dims = None, keepdim: bool = False) -> Tensor:
    """Largest value over ``dim``; equal ones share the gradient."""
    x = to_tensor(input)
    dims = axes("amax", dim, x._value.ndim)
    not_empty("amax", x, dims)
    return ops.amax(x, dim=dims, keepdim=keepdim)


@export()
@numpy_names
def amin(input: TensorLike, dim: Dims = None, keepdim: bool = False) -> Tensor:
    """Smallest value over ``dim``; equal ones share the gradient."""
    x = to_tensor(input)
    dims = axes("amin", dim, x._value.ndim)
    not_empty("amin", x, dims)
    return ops.amin(x, dim=dims, keepdim=keepdim)


@export()
@numpy_names
def any(input: TensorLike, dim: Dims = None, keepdim: bool = False) -> Tensor:
    """Whether any value is true (not 0)."""
    return _truth("any", np.any, input, dim, keepdim)


@export()
@numpy_names
def all(input: TensorLike, dim: Dims = None, keepdim: bool = False) -> Tensor:
    """Whether all values are true (not 0)."""
    return _truth("all", np.all, input, dim, keepdim)


def _truth(
    name: str, found: Callable[..., Any], input: TensorLike, dim: Dims, keepdim: bool
) -> Tensor:
    x = to_tensor(input)
    dtype = np.uint8 if x._value.dtype == np.uint8 else np.bool_  # PyTorch's former bools
    none = isinstance(dim, (list, tuple)) and not dim  # unlike in sums, no axis is none
    dims = () if none else axes(name, dim, x._value.ndim)
    return computed(_in_dtype, x, found, dtype, axis=dims, keepdims=keepdim)


@export()
@numpy_names
def count_nonzero(input: TensorLike, dim: Dims = None) -> Tensor:
    """How many values are not 0."""
    x = to_tensor(input)
    dims = axes("count_nonzero", dim, x._value.ndim)
    return computed(_in_dtype, x, np.count_nonzero, np.int64, axis=dims)


def _in_dtype(x: Array, function: Callable[..., Any], dtype: DTypeLike, **params: Any) -> Array:
    return np.asarray(function(x, **params), dtype)


@export()
@numpy_names
def norm(
    input: TensorLike,
    p: float | str | None = "fro",
    dim: Dims = None,
    keepdim: bool = False,
    *,
    dtype: DTypeLike = None,
) -> Tensor:
    """Vector norm ``sum(|x|**p)**(1/p)`` over ``dim``; ``p`` may be inf, -inf, 0 or ``"fro"`` (2).

    With ``"nuc"`` it is the sum of singular values of matrices, by default of the last two axes.

    The derivative at 0 is 0. With a negative ``p`` the norm is 0 where any value is.

    >>> import tinygrad_cnn as tg
    >>> x = tg.tensor([0.0, 9.0, -16.0], requires_grad=True)
    >>> y = tg.norm(x, 0.5)
    >>> y.backward()
    >>> y, x.grad
    (tensor(49., grad_fn=<where>), tensor([ 0.0000,  2.3333, -1.7500]))
    """
    if p == "nuc":
        from tinygrad_cnn.functions.linalg_norms import matrix_norm  # which needs this file

        return matrix_norm(input, p, (-2, -1) if dim is None else dim, keepdim, dtype=dtype)
    x = to_tensor(input)
    x = _floating("norm", abs(x) if is_complex(x) else x, dtype)
    dims = axes("norm", dim, x._value.ndim)
    if p in ("fro", None) or p == 2:
        return ops.norm2(x, dim=dims, keepdim=keepdim)
    if not isinstance(p, (int, float)):
        raise ArgumentError(f"norm: `p` is {p!r}, expected a number or 'fro'")
    size = abs(x)
    if p < 0 or math.isinf(p):
        not_empty("norm", x, dims)
    if p == math.inf:
        return ops.amax(size, dim=dims, keepdim=keepdim)
    if p == -math.inf:
        return ops.amin(size, dim=dims, keepdim=keepdim)
    if p == 0:  # how many are not 0: NaN is not
        counted = where(computed(np.isnan, size), 1.0, sign(size))
        return ops.sum(counted, dim=dims, keepdim=keepdim)
    if p == 1:
        return ops.sum(size, dim=dims, keepdim=keepdim)
    if promotion.is_half(x._value.dtype):  # in which powers overflow
        return to(norm(to(x, np.float32), p, dims, keepdim), x._value.dtype)
    if p < 1:  # the slope of |x|**p at 0 is infinite
        zero = computed(np.equal, size, 0)
        powers = where(zero, 0.0 if p > 0 else math.inf, pow(where(zero, 1.0, size), p))
    else:
        powers = pow(size, p)
    total = ops.sum(powers, dim=dims, keepdim=keepdim)
    zero = computed(np.equal, total, 0)
    root = pow(where(zero, 1.0, total), 1 / p)
    out: Tensor = where(zero, 0.0, root)
    return out


@export()
@numpy_names
def logsumexp(input: TensorLike, dim: Dims = None, keepdim: bool = False) -> Tensor:
    """``log(sum(exp(input)))`` over ``dim``, without overflow."""
    x = to_tensor(input)
    return ops.logsumexp(x, dim=axes("logsumexp", dim, x._value.ndim), keepdim=keepdim)


@export(inplace=True)
@numpy_names
def cumsum(input: TensorLike, dim: int, *, dtype: DTypeLike = None) -> Tensor:
    """Running sum along ``dim``; integers and bools give int64."""
    x = to_tensor(input) if dtype is None else to(input, dtype)
    d = axis("cumsum", dim, x._value.ndim)
    out = ops.cumsum(x, dim=d) if x._value.ndim else ops.sum(x, dim=(), keepdim=False)
    return out if dtype is None else to(out, dtype)


@export(inplace=True)
@numpy_names
def cumprod(input: TensorLike, dim: int, *, dtype: DTypeLike = None) -> Tensor:
    """Running product along ``dim``; integers and bools give int64."""
    x = to_tensor(input) if dtype is None else to(input, dtype)
    d = axis("cumprod", dim, x._value.ndim)
    out = ops.cumprod(x, dim=d) if x._value.ndim else ops.prod(x, dim=(), keepdim=False)
    return out if dtype is None else to(out, dtype)


@export()
@numpy_names
def nansum(
    input: TensorLike, dim: Dims = None, keepdim: bool = False, *, dtype: DTypeLike = None
) -> Tensor:
    """`sum` of what is not NaN."""
    if to_tensor(input)._value.dtype.kind == "c":
        raise DtypeError(f"nansum: `input` is {to_tensor(input).dtype}, expected a real dtype")
    x = to_tensor(input) if dtype is None else to(input, dtype)
    return sum(where(computed(np.isnan, x), 0, x), dim, keepdim, dtype=dtype)


@export()
@numpy_names
def nanmean(
    input: TensorLike, dim: Dims = None, keepdim: bool = False, *, dtype: DTypeLike = None
) -> Tensor:
    """`mean` of what is not NaN."""
    x = _floating("nanmean", input, dtype)
    if promotion.is_half(x._value.dtype):  # in which the sum, and the count, overflow
        return to(nanmean(to(x, np.float32), dim, keepdim), x._value.dtype)
    dims = axes("nanmean", dim, x._value.ndim)
    return mul(nansum(x, dim, keepdim), computed(_share_of_seen, x, dims, keepdim))


@ignore_fp_errors
def _share_of_seen(x: Array, dims: tuple[int, ...], keepdims: bool) -> Array:
    seen = np.sum(~np.isnan(x), axis=dims, keepdims=keepdims)
    share: Array = np.reciprocal(np.asarray(seen, x.dtype))
    return share


@export()
@numpy_names
def diff(
    input: TensorLike,
    n: int = 1,
    dim: int = -1,
    prepend: TensorLike | None = None,
    append: TensorLike | None = None,
) -> Tensor:
    """Differences of neighbours along ``dim``, taken ``n`` times.

    ``prepend`` and ``append`` are joined to ``input`` before; where ``n`` is 0 nothing happens.
    """
    x = to_tensor(input)
    d = axis("diff", dim, x._value.ndim)
    if not x._value.ndim:
        raise ShapeError("diff: `input` has no dimensions, so its values have no neighbours")
    if n < 0:
        raise ArgumentError(f"diff: `n` is {n}, which must not be negative")
    if n and (prepend is not None or append is not None):
        from tinygrad_cnn.functions.joining import cat  # which needs this file

        x = cat([v for v in (prepend, x, append) if v is not None], d)
    lead = (slice(None),) * d
    change = ne if x._value.dtype.kind == "b" else sub
    for _ in range(min(n, x._value.shape[d])):  # there is nothing left then
        x = change(getitem(x, index=(*lead, slice(1, None))), getitem(x, index=(*lead, slice(-1))))
    return x
