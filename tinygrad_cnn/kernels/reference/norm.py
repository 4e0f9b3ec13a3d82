"""Batch and layer normalisation with accurate statistics, in few passes over memory."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from tinygrad_cnn.kernels.checks import (
    Pair,
    PoolSpec,
    check_channels,
    check_layer_norm,
    check_shape,
    shape_of,
)
from tinygrad_cnn.kernels.memory import Take, empty, scratch
from tinygrad_cnn.kernels.reference.channels import Channels, affine
from tinygrad_cnn.kernels.reference.layout import BLOCK_BYTES, accumulation_dtype, rows_per_chunk
from tinygrad_cnn.kernels.reference.max_pool import max_pool2d_scatter
from tinygrad_cnn.kernels.reference.sums import sum
from tinygrad_cnn.types import Array, DType


def _moments(channels: Channels) -> tuple[Array, Array]:
    """Return mean and biased variance per channel, float64 (c,), in one pass over memory.

    Numbers are first moved by the mean of a sample taken all over the array, so that a large mean
    cancels nothing (Chan, Golub and LeVeque 1983, "Algorithms for computing the sample variance",
    section 3: shifted data).
    """
    matrix, count = channels.matrix, max(channels.count, 1)
    sample = matrix[:: max(1, len(matrix) // 16)]
    pilot = np.zeros(channels.c)
    if sample.size:
        pilot = channels.fold(sample.mean(0)) * (channels.c / matrix.shape[1])
        pilot = pilot.astype(matrix.dtype).astype(np.float64)
        pilot[~np.isfinite(pilot)] = 0  # an infinity makes the mean infinite, not NaN
    row = channels.spread(pilot)

    def parts(block: slice, take: Take) -> Sequence[Array]:
        part = matrix[block]
        moved = np.subtract(part, row, out=take(part.shape, part.dtype))
        return moved, np.multiply(moved, moved, out=take(part.shape, part.dtype))

    first, second = channels.sums(parts)
    away = first / count
    return pilot + away, np.maximum(second / count - away * away, 0)


def are_far(mean: Array, invstd: Array, limit: float, count: int) -> bool:
    """Return whether a mean is more than `limit` deviations away from 0, or something not finite.

    They are those of `count` numbers in all.

    >>> are_far(np.float32([3, -9]), np.float32([1, 2]), 10, 4)
    True
    """
    return not ((np.abs(mean) * invstd).max() <= limit and invstd.min() > 0)


def channel_numbers(
    mean: Array, var: Array, weight: Array | None, bias: Array | None, eps: float, count: int,
    limit: float | None = None,
) -> tuple[Array, Array, Array, bool | None, tuple[Any, ...] | None]:  # fmt: skip
    """Return ``1/sqrt(var + eps)``; scale and shift (c,) of the normalisation by these moments;
    whether these `are_far`, None without a `limit`; and what a compiled kernel had better know.

    It is one of images with `count` numbers in a channel.

    >>> channel_numbers(np.float32([1]), np.float32([4]), None, np.float32([3]), 0.0, 9)[:3]
    (array([0.5], dtype=float32), array([0.5], dtype=float32), array([2.5], dtype=float32))
    """
    invstd = 1 / np.sqrt(var + var.dtype.type(eps))
    scale = invstd if weight is None else invstd * weight
    far = None if limit is None else are_far(mean, invstd, limit, count)
    return invstd, scale, -mean * scale if bias is None else bias - mean * scale, far, None


def move_statistics(
    running_mean: Array | None, running_var: Array | None, mean: Array, var: Array,
    momentum: float, count: int,
) -> None:  # fmt: skip
    """Move running statistics (c,), in place, by the share `momentum` towards a batch's mean and
    unbiased variance; `var` is the biased one of `count` numbers.

    >>> running = np.zeros(1)
    >>> move_statistics(None, running, np.ones(1), np.ones(1), 0.5, 2)
    >>> running
    array([1.])
    """
    for running, seen in ((running_mean, mean), (running_var, var * (count / (count - 1)))):
        if running is not None:
            running *= 1 - momentum
            running += momentum * seen


def channel_moments(x: Array) -> tuple[Array, Array]:
    """Return mean and biased variance of every channel of x (n, c, ...), each (c,), in x's dtype,
    or float32 for float16.

    >>> channel_moments(np.array([[1.0], [3.0]]))
    (array([2.]), array([1.]))
    """
    check_channels("channel_moments", x.shape)
    dtype = accumulation_dtype(x)
    mean, var = _moments(Channels.of(x, dtype))
    return mean.astype(dtype), var.astype(dtype)


def batch_norm(
    x: Array, weight: Array | None, bias: Array | None, *, eps: float
) -> tuple[Array, Array, Array, Array]:
    """Normalise every channel of x (n, c, ...) to mean 0 and variance 1, then scale and shift it.

    Ioffe and Szegedy 2015, "Batch normalization: accelerating deep network training", algorithm 1.

    Returns
    -------
    y of x's shape, and per channel (c,): mean, ``1/sqrt(var + eps)`` and the biased variance.
    These have x's dtype, or float32 for float16.

    >>> y, mean, invstd, var = batch_norm(np.array([[1.0], [3.0]]), None, None, eps=0.0)
    >>> y.ravel(), mean, invstd, var
    (array([-1.,  1.]), array([2.]), array([1.]), array([1.]))
    """
    check_channels("batch_norm", x.shape, weight=shape_of(weight), bias=shape_of(bias))
    dtype = accumulation_dtype(x)
    channels = Channels.of(x, dtype)
    mean, var = _moments(channels)
    invstd = 1 / np.sqrt(var + eps)
    scale = invstd if weight is None else invstd * weight
    shift = -mean * scale if bias is None else bias - mean * scale
    y = channels.restore(affine(channels, scale, shift), x.dtype)
    return y, mean.astype(dtype), invstd.astype(dtype), var.astype(dtype)


def batch_norm_backward(
    g: Array, x: Array, weight: Array | None, mean: Array, invstd: Array
) -> tuple[Array, Array, Array]:
    """Return the gradients (gx, gweight, gbias) of `batch_norm` for the gradient g of its output.

    With ``z = (x - mean)*invstd``: ``gbias = sum g``, ``gweight = sum g*z`` and
    ``gx = weight*invstd*(g - gbias/m - z*gweight/m)`` over the m numbers of a channel (Ioffe and
    Szegedy 2015, section 3). `gweight` and `gbias` are those of a weight of 1 and a bias of 0
    where there are none.
    """
    check_shape("batch_norm_backward", "g", g.shape, x.shape)
    check_channels("batch_norm_backward", x.shape, weight=shape_of(weight), mean=mean.shape)
    dtype = accumulation_dtype(x)
    channels, grads = Channels.of(x, dtype), Channels.of(g, dtype)
    centre = channels.spread(mean)

    def parts(block: slice, take: Take) -> Sequence[Array]:
        grad = grads.matrix[block]
        product = np.subtract(channels.matrix[block], centre, out=take(grad.shape, dtype))
        product *= grad
        return grad, product

    gbias, gweight = channels.sums(parts)
    gweight = gweight * invstd
    scale = invstd.astype(np.float64) if weight is None else invstd * weight.astype(np.float64)
    count = max(channels.count, 1)
    scales = channels.spread(scale)
    slope = -scale * invstd * gweight / count
    slopes = channels.spread(slope)
    shifts = channels.spread(-scale * gbias / count - slope * mean)
    gx = channels.empty()

    def work(share: Sequence[slice]) -> None:
        for block in share:
            target = gx[block]
            with scratch() as take:
                product = np.multiply(grads.matrix[block], scales, out=take(target.shape, dtype))
                np.multiply(channels.matrix[block], slopes, out=target)
                target += product
                target += shifts

    channels.split(work)
    kind = x.dtype if weight is None else weight.dtype
    return channels.restore(gx, x.dtype), gweight.astype(kind), gbias.astype(kind)


def channel_gradient(
    g: Array,
    x: Array,
    a: Array | float,
    b: Array | float,
    d: Array | float,
    e: Array | float,
    f: Array | float,
    places: Array | None = None,
    kernel_size: Pair = (0, 0),
) -> Array:
    """Return ``(g where x*e + f > 0 or NaN, else 0)*a + x*b + d``, for x (n, c, h, w).

    The gradient of batch normalisation in its input, and of the ReLU behind it. The numbers are
    one per channel (c,), or one for all. With `places` g is that of a max pooling behind both,
    whose windows tile x: it counts at its places, and is 0 elsewhere.

    >>> x = np.array([[[[-1.0, 2.0]]]])
    >>> channel_gradient(np.ones((1, 1, 1, 2)), x, 3, 10, 0, 1, 0)
    array([[[[-10.,  23.]]]])
    """
    if places is not None:
        tiles = PoolSpec(kernel_size, kernel_size).window()
        g = max_pool2d_scatter(g, places, size=(x.shape[2], x.shape[3]), **tiles)
    a, b, d, e, f = (np.asarray(v, x.dtype).reshape(-1, 1, 1) for v in (a, b, d, e, f))
    beside = np.where(b == 0, x.dtype.type(0), x * b)
    return np.asarray(np.where(x * e + f <= 0, x.dtype.type(0), g) * a + beside + d)


def _rows(x: Array, ndim: int, dtype: DType) -> Array:
    """Return x as a matrix: one row per normalised group of the last `ndim` axes."""
    width = int(np.prod(x.shape[x.ndim - ndim :]))
    return np.ascontiguousarray(x, dtype).reshape(x.size // max(width, 1), width)


def layer_norm(
    x: Array, weight: Array | None, bias: Array | None, *, ndim: int, eps: float
) -> tuple[Array, Array, Array]:
    """Normalise x over its last `ndim` axes to mean 0 and variance 1, then scale and shift every
    element.

    Ba, Kiros and Hinton 2016, "Layer normalization", equation 4. Weight and bias have the shape of
    these axes.

    Returns
    -------
    y of x's shape, C-contiguous; mean and ``1/sqrt(var + eps)`` with those axes of length 1
    (float32 for float16).

    >>> y, mean, invstd = layer_norm(np.array([[1.0, 3.0]]), None, None, ndim=1, eps=0.0)
    >>> y, mean, invstd
    (array([[-1.,  1.]]), array([[2.]]), array([[1.]]))
    """
    check_layer_norm("layer_norm", x.shape, ndim, weight=shape_of(weight), bias=shape_of(bias))
    dtype = accumulation_dtype(x)
    matrix = _rows(x, ndim, dtype)
    rows, width = matrix.shape
    y = empty(matrix.shape, dtype)
    mean, invstd = np.empty((rows, 1), dtype), np.empty((rows, 1), dtype)
    scales, shifts = (
        None if p is None else np.ascontiguousarray(p, dtype).reshape(width) for p in (weight, bias)
    )
    step = rows_per_chunk(rows, width * dtype.itemsize, BLOCK_BYTES)
    for start in range(0, rows if width else 0, step):
        block = slice(start, min(rows, start + step))
        target = y[block]
        mean[block] = matrix[block].mean(1, keepdims=True)
        np.subtract(matrix[block], mean[block], out=target)
        with scratch() as take:
            squares = np.multiply(target, target, out=take(target.shape, dtype))
            var = squares.mean(1, keepdims=True)
        invstd[block] = 1 / np.sqrt(var + eps)
        target *= invstd[block]
        if scales is not None:
            target *= scales
        if shifts is not None:
            target += shifts
    outer = (*x.shape[: x.ndim - ndim], *(1,) * ndim)
    return (
        y.reshape(x.shape).astype(x.dtype, copy=False),
        mean.reshape(outer),
        invstd.reshape(outer),
    )


def layer_norm_backward(
    g: Array, x: Array, weight: Array | None, mean: Array, invstd: Array, *, ndim: int
) -> tuple[Array, Array, Array]:
    """Return the gradients (gx, gweight, gbias) of `layer_norm` for the gradient g of its output.

    With ``z = (x - mean)*invstd`` and ``u = g*weight``: ``gx = invstd*(u - mean(u) -
    z*mean(u*z))`` over each row, ``gweight = sum g*z`` and ``gbias = sum g`` over the rows.
    """
    check_shape("layer_norm_backward", "g", g.shape, x.shape)
    check_layer_norm("layer_norm_backward", x.shape, ndim, weight=shape_of(weight))
    dtype = accumulation_dtype(x)
    matrix, grads = _rows(x, ndim, dtype), _rows(g, ndim, dtype)
    rows, width = matrix.shape
    centre, factor = mean.reshape(rows, 1), invstd.reshape(rows, 1)
    scales = None if weight is None else np.ascontiguousarray(weight, dtype).reshape(width)
    gx = empty(matrix.shape, dtype)
    gweight, gbias = np.zeros(width, np.float64), np.zeros(width, np.float64)
    step = rows_per_chunk(rows, width * dtype.itemsize, BLOCK_BYTES)
    for start in range(0, rows if width else 0, step):
        block = slice(start, min(rows, start + step))
        grad, target = grads[block], gx[block]
        with scratch() as take:
            z = np.subtract(matrix[block], centre[block], out=take(grad.shape, dtype))
            z *= factor[block]
            product = np.multiply(grad, z, out=take(grad.shape, dtype))
            gweight += sum(product, (0,))
            gbias += sum(grad, (0,))
            np.multiply(grad, 1 if scales is None else scales, out=target)
            slope = np.multiply(target, z, out=product).mean(1, keepdims=True)
            target -= target.mean(1, keepdims=True)
            z *= slope
            target -= z
            target *= factor[block]
    shape, kind = x.shape[x.ndim - ndim :], x.dtype if weight is None else weight.dtype
    return (
        gx.reshape(x.shape).astype(x.dtype, copy=False),
        gweight.reshape(shape).astype(kind),
        gbias.reshape(shape).astype(kind),
    )


def group_norm(
    x: Array, weight: Array | None, bias: Array | None, *, groups: int, eps: float
) -> tuple[Array, Array, Array, Array]:
    """Normalise x (n, c, ...) in each sample over each of so many groups of channels.

    Wu and He 2018, "Group normalization". Weight and bias are (c,).

    Returns
    -------
    y of x's shape, C-contiguous; mean, ``1/sqrt(var + eps)`` and biased variance, (n, groups)
    (float32 for float16).

    >>> y, mean, *_ = group_norm(np.array([[1.0, 3.0, 5.0, 9.0]]), None, None, groups=2, eps=0.0)
    >>> y, mean
    (array([[-1.,  1., -1.,  1.]]), array([[2., 7.]]))
    """
    n, c = x.shape[:2]
    plane = math.prod(x.shape[2:])
    rows = x.reshape(n, groups, c // groups * plane).astype(accumulation_dtype(x))
    mean = rows.mean(2, keepdims=True)
    y = rows - mean
    var = (y * y).mean(2, keepdims=True)
    invstd = 1 / np.sqrt(var + eps)
    y *= invstd
    y = y.reshape(n, c, plane)
    if weight is not None:
        y *= weight[:, None]
    if bias is not None:
        y += bias[:, None]
    return y.reshape(x.shape).astype(x.dtype, copy=False), mean[..., 0], invstd[..., 0], var[..., 0]


def group_norm_backward(
    g: Array, x: Array, weight: Array | None, mean: Array, invstd: Array, *, groups: int
) -> tuple[Array, Array, Array]:
    """Return the gradients (gx, gweight, gbias) of `group_norm` for the gradient g of its output,
    as `layer_norm_backward` has them.
    """
    check_shape("group_norm_backward", "g", g.shape, x.shape)
    n, c = x.shape[:2]
    plane = math.prod(x.shape[2:])
    dtype = accumulation_dtype(x)
    factor = invstd[..., None]
    rows = x.reshape(n, groups, c // groups * plane).astype(dtype)
    z = (rows - mean[..., None]) * factor
    grads = g.reshape(n, c, plane).astype(dtype)
    gbias, gweight = sum(grads, (0, 2)), sum(grads * z.reshape(grads.shape), (0, 2))
    u = (grads if weight is None else grads * weight[:, None]).reshape(z.shape)
    gx = factor * (u - u.mean(2, keepdims=True) - z * (u * z).mean(2, keepdims=True))
    kind = x.dtype if weight is None else weight.dtype
    return (
        gx.reshape(x.shape).astype(x.dtype, copy=False),
        gweight.astype(kind),
        gbias.astype(kind),
    )
