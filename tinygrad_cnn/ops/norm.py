"""Normalisation: fused both ways, each with a reference in ordinary operations."""

# A rule may name its own operation, whose type mypy does not know yet at that place.
# mypy: disable-error-code="has-type"

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_cnn import kernels
from tinygrad_cnn.autograd.node import Saved
from tinygrad_cnn.autograd.registry import op
from tinygrad_cnn.autograd.samples import Draw, ErrorSample, Sample
from tinygrad_cnn.kernels.lazy import Lazy, realize, scale_shift, stays_lazy
from tinygrad_cnn.kernels.reference.layout import accumulation_dtype
from tinygrad_cnn.ops import forms
from tinygrad_cnn.ops.elementwise import mul, rsqrt, square
from tinygrad_cnn.ops.reduce import mean
from tinygrad_cnn.ops.shape import expand, reshape
from tinygrad_cnn.types import Array, Gradients, Shapes

if TYPE_CHECKING:
    from tinygrad_cnn.tensor import Tensor


FAR = 512.0
"""Deviations from 0 from which on a mean is rounded too coarsely in float32."""


def _is_far(x: Array | Lazy, mean: Array, invstd: Array) -> bool:
    """Whether numbers of this mean and deviation need float64, or their squares overflow."""
    if not mean.size or mean.dtype == np.float64:
        return False
    return kernels.are_far(mean, invstd, FAR, x.size)


def _wide(*arrays: Any) -> list[Any]:
    return [None if a is None else a.astype(np.float64) for a in arrays]


def _backward(
    kernel: Any, g: Any, x: Any, weight: Array | None, mean: Array, invstd: Array, **how: int
) -> Gradients:
    """The gradients, in float64 if the forward pass kept a mean in it."""
    if mean.dtype == x.dtype or mean.dtype != np.float64:
        found: Gradients = kernel(g, x, weight, mean, invstd, **how)
        return found
    dtypes = x.dtype, *(x.dtype if weight is None else weight.dtype,) * 2
    found = kernel(*_wide(realize(g), realize(x), weight, mean, invstd), **how)
    pairs: Any = zip(found, dtypes, strict=True)
    return tuple(a.astype(dtype) for a, dtype in pairs)


def _per_channel(v: Tensor, ndim: int) -> Tensor:
    """``v`` (c,) as (c, 1, 1), to broadcast against (n, c, h, w)."""
    return reshape(v, shape=(v.shape[0], *(1,) * (ndim - 2)))


def _channel_samples(draw: Draw) -> Sample:
    shape = draw.shape(min_dims=2, max_dims=4)
    return Sample((draw.array(shape),))


def _channel_sum_rule(g: Tensor, shapes: Shapes) -> Tensor:
    return expand(_per_channel(g, len(shapes[0])), shape=shapes[0])


@op(
    vjp=_channel_sum_rule,
    ignore_fp_errors=True,
    samples=_channel_samples,
    onnx=lambda o, x: o.reduce("ReduceSum", x, (0, *range(2, len(x.shape))), False),
)
def channel_sum(x: Array) -> Array:
    """Sum of ``x`` (n, c, ...) over all axes but the second → (c,)."""
    total: Array = kernels.sum(x, (0, *range(2, x.ndim)))
    return total


def _affine_samples(draw: Draw) -> Sample:
    shape = draw.shape(min_dims=2, max_dims=4)
    c = shape[1:2]
    shift = draw.array(c) if draw.choice((False, True)) else None
    return Sample((draw.array(shape), draw.array(c), shift))


@op(
    vjp=(
        lambda g, scale: channel_affine(g, scale),
        lambda g, x: channel_sum(mul(g, x)),
        lambda g: channel_sum(g),
    ),
    lazy=("x",),
    piecewise=True,  # as a normalisation's, the gradient in x has a graph though it is constant
    ignore_fp_errors=True,
    samples=_affine_samples,
    onnx=forms.channel_affine,
)
def channel_affine(
    x: Array | Lazy, scale: Array, shift: Array | None = None, *, owned: bool = False
) -> Array | Lazy:
    """``x * scale + shift``, one scale and one shift (c,) for each channel of ``x`` (n, c, ...).

    Both are copied where they are needed later, unless they are ``owned`` by nobody else.
    """
    shift = np.zeros_like(scale) if shift is None else shift
    if stays_lazy(x, scale, shift):
        if not owned:
            scale, shift = scale.copy(), shift.copy()
        return scale_shift(x, scale, shift)  # type: ignore[arg-type]
    found: Array = kernels.channel_affine(realize(x), scale, shift)
    return found


# ---- batch norm ----------------------------------------------------------------------------


def _batch_norm_reference(
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    *,
    eps: float,
    statistics: list[Array] | None = None,
) -> Tensor:
    ndim = x.ndim
    dim = (0, *range(2, ndim))
    centred = x - mean(x, dim=dim, keepdim=True)
    y = centred * rsqrt(mean(square(centred), dim=dim, keepdim=True) + eps)
    if weight is not None:
        y = y * _per_channel(weight, ndim)
    result: Tensor = y if bias is None else y + _per_channel(bias, ndim)
    return result


def _batch_norm_backward(
    g: Array | Lazy, x: Array | Lazy, weight: Array | None, mean: Array, invstd: Array
) -> Gradients:
    return _backward(kernels.batch_norm_backward, g, x, weight, mean, invstd)


def _batch_norm_samples(draw: Draw) -> Sample:
    shape = draw.shape(min_dims=2, max_dims=4, min_side=2)
    c = shape[1:2]
    weight = draw.array(c) if draw.choice((False, True)) else None
    bias = draw.array(c) if draw.choice((False, True)) else None
    return Sample((draw.distinct(shape), weight, bias), {"eps": 0.1})


@op(
    fused=_batch_norm_backward,
    reference=_batch_norm_reference,
    piecewise=True,  # as PyTorch's rule, which takes all inputs: gradients depend on each
    lazy=("g", "x"),
    ignore_fp_errors=True,
    samples=_batch_norm_samples,
    onnx=forms.batch_norm,
)
def batch_norm(
    x: Array | Lazy,
    weight: Array | None = None,
    bias: Array | None = None,
    *,
    eps: float,
    statistics: list[Array] | None = None,
) -> Saved:
    """``x`` (n, c, ...) with mean 0 and variance 1 in each channel, times ``weight`` plus ``bias``.

    Ioffe & Szegedy, 2015. The variance is the biased one. A list given as ``statistics`` receives
    the batch's mean and variance, each (c,).
    """
    y: Any
    if stays_lazy(x, weight, bias):
        known = x.stats and x.stats.get("moments")  # type: ignore[union-attr]
        mean, var = known or kernels.channel_moments(realize(x))
        count = x.size // x.shape[1]
        invstd, scale, shift, far, table = kernels.channel_numbers(
            mean, var, weight, bias, eps, count, FAR
        )
        y = scale_shift(x, scale, shift)  # type: ignore[arg-type]
        y.table = table
    else:
        y, mean, invstd, var = kernels.batch_norm(realize(x), weight, bias, eps=eps)
        far = _is_far(x, mean, invstd)
    if far:
        wide = _wide(realize(x), weight, bias)
        y, mean, invstd, var = kernels.batch_norm(*wide, eps=eps)
        y = y.astype(x.dtype)
    if statistics is not None:
        kept = np.dtype(np.float32) if x.dtype == np.float16 else x.dtype
        statistics.extend((mean.astype(kept, copy=False), var.astype(kept, copy=False)))
    return Saved(y, mean=mean, invstd=invstd)


# ---- layer norm ----------------------------------------------------------------------------


def _layer_norm_reference(
    x: Tensor, weight: Tensor | None, bias: Tensor | None, *, ndim: int, eps: float
) -> Tensor:
    dim = tuple(range(x._value.ndim - ndim, x._value.ndim))
    centred = x - mean(x, dim=dim, keepdim=True)
    y = centred * rsqrt(mean(square(centred), dim=dim, keepdim=True) + eps)
    if weight is not None:
        y = y * weight
    result: Tensor = y if bias is None else y + bias
    return result


def _layer_norm_backward(
    g: Array, x: Array, weight: Array | None, mean: Array, invstd: Array, ndim: int
) -> Gradients:
    return _backward(kernels.layer_norm_backward, g, x, weight, mean, invstd, ndim=ndim)


def _layer_norm_samples(draw: Draw) -> Sample:
    shape = draw.shape(min_dims=1, max_dims=3, min_side=2)
    ndim = draw.integer(1, len(shape))
    part = shape[len(shape) - ndim :]
    weight = draw.array(part) if draw.choice((False, True)) else None
    bias = draw.array(part) if draw.choice((False, True)) else None
    return Sample((draw.distinct(shape), weight, bias), {"ndim": ndim, "eps": 0.1})


@op(
    fused=_layer_norm_backward,
    reference=_layer_norm_reference,
    piecewise=True,
    ignore_fp_errors=True,
    samples=_layer_norm_samples,
    errors=(
        ErrorSample(
            (np.zeros((2, 3)), np.zeros(2), None),
            {"ndim": 1, "eps": 1e-5},
            ValueError,
            "layer_norm",
        ),
    ),
    onnx=forms.layer_norm,
)
def layer_norm(
    x: Array, weight: Array | None = None, bias: Array | None = None, *, ndim: int, eps: float
) -> Saved:
    """``x`` with mean 0 and variance 1 over its last ``ndim`` axes, times ``weight`` plus ``bias``.

    Ba, Kiros & Hinton, 2016. ``weight`` and ``bias`` have the shape of these axes.
    """
    y, mean, invstd = kernels.layer_norm(x, weight, bias, ndim=ndim, eps=eps)
    if _is_far(x, mean, invstd):
        y, mean, invstd = kernels.layer_norm(*_wide(x, weight, bias), ndim=ndim, eps=eps)
        y = y.astype(x.dtype)
    return Saved(y, mean=mean, invstd=invstd)


# ---- group norm ----------------------------------------------------------------------------


def _group_norm_reference(
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    *,
    groups: int,
    eps: float,
    statistics: list[Array] | None = None,
) -> Tensor:
    shape = tuple(x.shape)
    rows = reshape(x, shape=(shape[0], groups, math.prod(shape[1:]) // groups))
    centred = rows - mean(rows, dim=(2,), keepdim=True)
    y = centred * rsqrt(mean(square(centred), dim=(2,), keepdim=True) + eps)
    y = reshape(y, shape=shape)
    if weight is not None:
        y = y * _per_channel(weight, len(shape))
    result: Tensor = y if bias is None else y + _per_channel(bias, len(shape))
    return result


def _group_norm_backward(
    g: Array, x: Array, weight: Array | None, mean: Array, invstd: Array, groups: int
) -> Gradients:
    return _backward(kernels.group_norm_backward, g, x, weight, mean, invstd, groups=groups)


def _group_norm_samples(draw: Draw) -> Sample:
    groups, each = draw.integer(1, 2), draw.integer(1, 2)
    c = (groups * each,)
    shape = (draw.integer(1, 2), *c, *draw.shape(min_dims=1, max_dims=2, min_side=2))
    weight = draw.array(c) if draw.choice((False, True)) else None
    bias = draw.array(c) if draw.choice((False, True)) else None
    return Sample((draw.distinct(shape), weight, bias), {"groups": groups, "eps": 0.1})


@op(
    fused=_group_norm_backward,
    reference=_group_norm_reference,
    piecewise=True,
    ignore_fp_errors=True,
    samples=_group_norm_samples,
    onnx=forms.group_norm,
)
def group_norm(
    x: Array,
    weight: Array | None = None,
    bias: Array | None = None,
    *,
    groups: int,
    eps: float,
    statistics: list[Array] | None = None,
) -> Saved:
    """``x`` (n, c, ...) with mean 0 and variance 1 in each sample and group of channels.

    Wu & He, 2018. Times ``weight`` plus ``bias``, both (c,). A list given as ``statistics``
    receives the means and biased variances, each (n, groups).
    """
    y, mean, invstd, var = kernels.group_norm(x, weight, bias, groups=groups, eps=eps)
    if _is_far(x, mean, invstd):
        wide = _wide(x, weight, bias)
        y, mean, invstd, var = kernels.group_norm(*wide, groups=groups, eps=eps)
        y = y.astype(x.dtype)
    if statistics is not None:
        kept = accumulation_dtype(x)
        statistics.extend((mean.astype(kept, copy=False), var.astype(kept, copy=False)))
    return Saved(y, mean=mean, invstd=invstd)
