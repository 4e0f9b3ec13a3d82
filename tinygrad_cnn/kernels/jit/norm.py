"""Batch normalisation and what else has one number per channel, channels last.

Memory is read as rows of `width` numbers, a whole number of pixels, so that inner loops are long
enough for vector registers with few channels too; the last row may be shorter. A row vector then
has each channel's number `width/c` times.

Sums are float32 over `BLOCK` rows, then float64: about as accurate as adding in float64, at the
speed of memory. The rows are shared among threads in consecutive ranges, whose sums are added in
their order: a thread count has one result.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import prange

from ..memory import empty
from ..pending import Pending
from ..reference.layout import Array
from .build import kernel
from .launch import FLOAT32, images, images_like, images_of, nchw, readable, run, shares

__all__ = ["batch_norm", "batch_norm_backward", "channel_affine", "channel_sum"]

BLOCK = 128  # rows added in float32
WIDTH = 256  # numbers in a row, at least: 4 to 16 vector registers
SAMPLE = 16  # pixels whose mean is taken off before squares are added


@kernel()
def _spread(value: Array, row: Array) -> None:
    """Write one number per channel (c,) to a row (width,) again and again."""
    for start in range(0, row.size, value.size):
        for c in range(value.size):
            row[start + c] = value[c]


@kernel()
def _fold(sums: Array, total: Array) -> None:
    """Add sums (parts, width) up to one number per channel (c,), in float64."""
    total[:] = 0
    for part in range(sums.shape[0]):
        for start in range(0, sums.shape[1], total.size):
            for c in range(total.size):
                total[c] += sums[part, start + c]


@kernel()
def _add(block: Array, sums: Array) -> None:
    """Add a block's sums (width,) float32 to `sums` float64, and clear it."""
    for j in range(block.size):
        sums[j] += block[j]
        block[j] = 0


@kernel()
def _pilot(x: Array, mean: Array) -> None:
    """Write the mean of a few pixels taken all over x (pixels*c,) for each channel, (c,)."""
    c = mean.size
    pixels = x.size // c
    count = min(SAMPLE, pixels)
    mean[:] = 0
    for i in range(count):
        pixel = x[i * pixels // count * c : (i * pixels // count + 1) * c]
        for k in range(c):
            mean[k] += pixel[k] / np.float32(count)


@kernel(parallel=True)
def _batch_norm(
    x: Array, weight: Array, bias: Array, eps: float, width: int, y: Array, stats: Array, parts: int
) -> None:
    """Normalise x (pixels*c,); `stats` (3, c) gets mean, 1/sqrt(var + eps) and var.

    Moments of data shifted by the mean of a sample (Chan, Golub and LeVeque 1983, section 3), one
    pass; then ``(x - mean)*scale + bias``, backwards through each share, whose end is still in
    cache. Costs two reads and one write of the array.
    """
    c = weight.size
    count = x.size // c
    rows = (x.size + width - 1) // width
    pilot, centre = np.empty(c, np.float32), np.empty(width, np.float32)
    _pilot(x, pilot)
    _spread(pilot, centre)
    first, second = np.zeros((parts, width)), np.zeros((parts, width))
    for part in prange(parts):
        low, high = rows * part // parts, rows * (part + 1) // parts
        sums, squares = np.zeros(width, np.float32), np.zeros(width, np.float32)
        for start in range(low, high, BLOCK):
            for r in range(start, min(high, start + BLOCK)):
                row = x[r * width : (r + 1) * width]
                for j in range(row.size):
                    away = row[j] - centre[j]
                    sums[j] += away
                    squares[j] += away * away
            _add(sums, first[part])
            _add(squares, second[part])
    total, total_squares = np.empty(c), np.empty(c)
    _fold(first, total)
    _fold(second, total_squares)
    mean, scale = np.empty(c, np.float32), np.empty(c, np.float32)
    for k in range(c):
        away_mean = total[k] / count
        var = max(total_squares[k] / count - away_mean * away_mean, 0.0)
        invstd = 1 / np.sqrt(var + eps)
        stats[0, k] = mean[k] = pilot[k] + away_mean
        stats[1, k], stats[2, k] = invstd, var
        scale[k] = invstd * weight[k]
    scales, shifts = np.empty(width, np.float32), np.empty(width, np.float32)
    _spread(mean, centre)
    _spread(scale, scales)
    _spread(bias, shifts)
    for part in prange(parts):
        low, high = rows * part // parts, rows * (part + 1) // parts
        for back in range(high - low):
            r = high - 1 - back
            source, target = x[r * width : (r + 1) * width], y[r * width : (r + 1) * width]
            for j in range(source.size):
                target[j] = (source[j] - centre[j]) * scales[j] + shifts[j]


@kernel(parallel=True)
def _batch_norm_backward(
    g: Array, x: Array, weight: Array, mean: Array, invstd: Array, width: int,
    gx: Array, gweight: Array, gbias: Array, parts: int,
) -> None:  # fmt: skip
    """Write the three gradients (Ioffe and Szegedy 2015, section 3) for g, x (pixels*c,).

    One pass adds g and g*(x - mean); the other writes
    ``g*scale + (x - mean)*slope + shift``. Costs four reads and one write of the array.
    """
    c = weight.size
    count = x.size // c
    rows = (x.size + width - 1) // width
    centre = np.empty(width, np.float32)
    _spread(mean, centre)
    first, second = np.zeros((parts, width)), np.zeros((parts, width))
    for part in prange(parts):
        low, high = rows * part // parts, rows * (part + 1) // parts
        sums, products = np.zeros(width, np.float32), np.zeros(width, np.float32)
        for start in range(low, high, BLOCK):
            for r in range(start, min(high, start + BLOCK)):
                grad, row = g[r * width : (r + 1) * width], x[r * width : (r + 1) * width]
                for j in range(row.size):
                    sums[j] += grad[j]
                    products[j] += grad[j] * (row[j] - centre[j])
            _add(sums, first[part])
            _add(products, second[part])
    total, total_products = np.empty(c), np.empty(c)
    _fold(first, total)
    _fold(second, total_products)
    scale, slope = np.empty(c, np.float32), np.empty(c, np.float32)
    shift = np.empty(c, np.float32)
    for k in range(c):
        factor = np.float64(invstd[k]) * weight[k]
        inner = total_products[k] * invstd[k]
        gweight[k], gbias[k] = inner, total[k]
        scale[k] = factor
        slope[k] = -factor * invstd[k] * inner / count
        shift[k] = -factor * total[k] / count
    scales, slopes = np.empty(width, np.float32), np.empty(width, np.float32)
    shifts = np.empty(width, np.float32)
    _spread(scale, scales)
    _spread(slope, slopes)
    _spread(shift, shifts)
    for part in prange(parts):
        low, high = rows * part // parts, rows * (part + 1) // parts
        for back in range(high - low):
            r = high - 1 - back
            grad, row = g[r * width : (r + 1) * width], x[r * width : (r + 1) * width]
            target = gx[r * width : (r + 1) * width]
            for j in range(row.size):
                away = (row[j] - centre[j]) * slopes[j]
                target[j] = grad[j] * scales[j] + (away + shifts[j])


@kernel(parallel=True)
def _channel_affine(
    x: Array, scale: Array, shift: Array, least: float, width: int, y: Array, parts: int
) -> None:
    """Write ``x*scale + shift``, and `least` where that is less, for x (pixels*c,).

    Costs one read and one write of the array.
    """
    bound = np.float32(least)
    rows = (x.size + width - 1) // width
    scales, shifts = np.empty(width, np.float32), np.empty(width, np.float32)
    _spread(scale, scales)
    _spread(shift, shifts)
    for part in prange(parts):
        for r in range(rows * part // parts, rows * (part + 1) // parts):
            source, target = x[r * width : (r + 1) * width], y[r * width : (r + 1) * width]
            for j in range(source.size):
                value = source[j] * scales[j] + shifts[j]
                target[j] = bound if value < bound else value


@kernel(parallel=True)
def _channel_sum(g: Array, width: int, total: Array, parts: int) -> None:
    """Write the sum over all pixels of g (pixels*c,) to `total` (c,) float64. Costs one read."""
    rows = (g.size + width - 1) // width
    sums = np.zeros((parts, width))
    for part in prange(parts):
        low, high = rows * part // parts, rows * (part + 1) // parts
        block = np.zeros(width, np.float32)
        for start in range(low, high, BLOCK):
            for r in range(start, min(high, start + BLOCK)):
                row = g[r * width : (r + 1) * width]
                for j in range(row.size):
                    block[j] += row[j]
            _add(block, sums[part])
    _fold(sums, total)


def _width(c: int) -> int:
    return -(-WIDTH // c) * c


def _pixels(x: Array) -> Array | None:
    """Return x (n, c) or (n, c, h, w) with its channels last in memory, copied if need be, or
    None.
    """
    if x.ndim == 2:
        flags = x.flags
        usable = flags.c_contiguous and flags.aligned and x.dtype == FLOAT32 and x.size
        return readable(x) if usable else None
    return images_of(x)


def _seen(image: Array) -> Array:
    """Return (n, c) or (n, h, w, c) as the caller sees it."""
    return image if image.ndim == 2 else nchw(image)


def _vector(value: Array | None, default: float, c: int) -> Array | None:
    """Return a number per channel (c,) as kernels want it, or None if it does not fit."""
    if value is None:
        return np.full(c, default, np.float32)
    if value.shape != (c,) or value.dtype != FLOAT32:
        return None
    return readable(np.ascontiguousarray(value))


def batch_norm(x: Array, weight: Array | None, bias: Array | None, *, eps: float) -> Any:
    """As `reference.batch_norm`, for parameters of float32; x is copied if its channels are not
    last in memory.
    """
    image = _pixels(x)
    if image is None:
        return NotImplemented
    c = image.shape[-1]
    scale, shift = _vector(weight, 1, c), _vector(bias, 0, c)
    if scale is None or shift is None:
        return NotImplemented
    y, stats = empty(image.shape, FLOAT32), np.empty((3, c), np.float32)
    parts = shares(3 * y.nbytes)
    run(
        _batch_norm, parts, image.reshape(-1), scale, shift, float(eps), _width(c), y.reshape(-1),
        stats,
    )  # fmt: skip
    return _seen(y), stats[0], stats[1], stats[2]


def batch_norm_backward(
    g: Array, x: Array, weight: Array | None, mean: Array, invstd: Array
) -> Any:
    """As `reference.batch_norm_backward`; g and x are copied if their channels are not last."""
    if isinstance(g, Pending):
        return NotImplemented
    image = _pixels(x)
    if image is None or g.shape != x.shape or g.dtype != FLOAT32:
        return NotImplemented
    c = image.shape[-1]
    scale, centre = _vector(weight, 1, c), _vector(mean, 0, c)
    factor = _vector(invstd, 1, c)
    if scale is None or centre is None or factor is None:
        return NotImplemented
    grads = images_like(g) if g.ndim == 4 else readable(np.ascontiguousarray(g))
    gx, gweight, gbias = empty(image.shape, FLOAT32), np.empty(c, FLOAT32), np.empty(c, FLOAT32)
    run(
        _batch_norm_backward, shares(5 * gx.nbytes), grads.reshape(-1), image.reshape(-1), scale,
        centre, factor, _width(c), gx.reshape(-1), gweight, gbias,
    )  # fmt: skip
    return _seen(gx), gweight, gbias


def channel_affine(x: Array, scale: Array, shift: Array, *, relu: bool = False) -> Any:
    """As `reference.channel_affine`, for float32; x is copied if its channels are not last."""
    image = _pixels(x)
    if image is None:
        return NotImplemented
    c = image.shape[-1]
    scales, shifts = _vector(scale, 1, c), _vector(shift, 0, c)
    if scales is None or shifts is None:
        return NotImplemented
    y = empty(image.shape, FLOAT32)
    least = 0.0 if relu else -np.inf
    run(
        _channel_affine, shares(2 * y.nbytes), image.reshape(-1), scales, shifts, least, _width(c),
        y.reshape(-1),
    )  # fmt: skip
    return _seen(y)


def channel_sum(g: Array) -> Any:
    """As `reference.channel_sum`, for channels last; NumPy sums channels first as fast."""
    image = _pixels(g) if g.ndim == 2 else images(g)
    if image is None:
        return NotImplemented
    c = image.shape[-1]
    total = np.empty(c)
    run(_channel_sum, shares(g.nbytes), image.reshape(-1), _width(c), total)
    return total.astype(FLOAT32)
