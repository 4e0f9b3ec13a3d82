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

from tinygrad_cnn.kernels.jit.compile.build import kernel
from tinygrad_cnn.kernels.jit.compile.entry import run
from tinygrad_cnn.kernels.jit.load.images import (
    FLOAT32,
    ZERO,
    images_like,
    images_of,
    nchw,
    parameter,
)
from tinygrad_cnn.kernels.jit.norm.group_norm import affine_planes, batch_norm_planes
from tinygrad_cnn.kernels.memory import empty, scratch
from tinygrad_cnn.kernels.tape import looked
from tinygrad_cnn.kernels.threads import shares
from tinygrad_cnn.types import Array

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
    """Write the mean of a few pixels taken all over x (pixels*c,) for each channel, (c,).

    0 where that is not finite: of numbers that are moved by it the mean is still the right one.
    """
    c = mean.size
    pixels = x.size // c
    count = min(SAMPLE, pixels)
    mean[:] = 0
    for i in range(count):
        pixel = x[i * pixels // count * c : (i * pixels // count + 1) * c]
        for k in range(c):
            mean[k] += pixel[k] / np.float32(count)
    for k in range(c):
        if not np.isfinite(mean[k]):
            mean[k] = 0


@kernel(entry=True)
def _moments(part: int, parts: int, x: Array, c: int, space: Array, sums: Array) -> None:
    """Add x (pixels*c,), shifted by the mean of a sample, and its squares, to `sums`.

    `sums` is (2, parts, width) float64; `space` (parts, 3, width) float32 gets, first of each
    part's rows, that mean. Costs one read of the array.
    """
    width = space.shape[2]
    centre, added, squares = space[part, 0], space[part, 1], space[part, 2]
    _pilot(x, added[:c])
    _spread(added[:c], centre)
    added[:] = 0
    squares[:] = 0
    sums[0, part] = 0
    sums[1, part] = 0
    rows = (x.size + width - 1) // width
    low, high = rows * part // parts, rows * (part + 1) // parts
    for start in range(low, high, BLOCK):
        for r in range(start, min(high, start + BLOCK)):
            row = x[r * width : (r + 1) * width]
            for j in range(row.size):
                away = row[j] - centre[j]
                added[j] += away
                squares[j] += away * away
        _add(added, sums[0, part])
        _add(squares, sums[1, part])


@kernel(entry=True)
def _normalise(
    part: int, parts: int, x: Array, weight: Array, bias: Array, eps: float, space: Array,
    sums: Array, totals: Array, y: Array, stats: Array,
) -> None:  # fmt: skip
    """Normalise x (pixels*c,), after `_moments`; `stats` (3, c) gets mean, 1/sqrt(var + eps), var.

    Moments of shifted data (Chan, Golub and LeVeque 1983, section 3), added up by each part for
    itself (`totals` (parts, 2, c) float64); then ``(x - mean)*scale + bias``, backwards through
    each share, whose end is still in cache. Costs one read and one write of the array.
    """
    c, width = weight.size, space.shape[2]
    count = x.size // c
    centre, scales, shifts = space[part, 0], space[part, 1], space[part, 2]
    total, total_squares = totals[part, 0], totals[part, 1]
    _fold(sums[0], total)
    _fold(sums[1], total_squares)
    for k in range(c):
        away_mean = total[k] / count
        var = max(total_squares[k] / count - away_mean * away_mean, 0.0)
        invstd = 1 / np.sqrt(var + eps)
        centre[k] += away_mean
        scales[k] = invstd * weight[k]
        if part == 0:
            stats[0, k], stats[1, k], stats[2, k] = centre[k], invstd, var
    _spread(centre[:c], centre)
    _spread(scales[:c], scales)
    _spread(bias, shifts)
    rows = (x.size + width - 1) // width
    low, high = rows * part // parts, rows * (part + 1) // parts
    for back in range(high - low):
        r = high - 1 - back
        source, target = x[r * width : (r + 1) * width], y[r * width : (r + 1) * width]
        for j in range(source.size):
            target[j] = (source[j] - centre[j]) * scales[j] + shifts[j]


@kernel(entry=True)
def _products(
    part: int, parts: int, g: Array, x: Array, mean: Array, space: Array, sums: Array
) -> None:
    """Add g and ``g*(x - mean)``, both (pixels*c,), to `sums` (2, parts, width) float64.

    `space` (parts, 4, width) float32 gets the mean, first of each part's rows. Costs two reads.
    """
    width = space.shape[2]
    centre, added, products = space[part, 0], space[part, 1], space[part, 2]
    _spread(mean, centre)
    added[:] = 0
    products[:] = 0
    sums[0, part] = 0
    sums[1, part] = 0
    rows = (x.size + width - 1) // width
    low, high = rows * part // parts, rows * (part + 1) // parts
    for start in range(low, high, BLOCK):
        for r in range(start, min(high, start + BLOCK)):
            grad, row = g[r * width : (r + 1) * width], x[r * width : (r + 1) * width]
            for j in range(row.size):
                added[j] += grad[j]
                products[j] += grad[j] * (row[j] - centre[j])
        _add(added, sums[0, part])
        _add(products, sums[1, part])


@kernel(entry=True)
def _batch_norm_backward(
    part: int, parts: int, g: Array, x: Array, weight: Array, invstd: Array, space: Array,
    sums: Array, totals: Array, gx: Array, gweight: Array, gbias: Array,
) -> None:  # fmt: skip
    """Write the three gradients (Ioffe and Szegedy 2015, section 3), after `_products`.

    ``g*scale + (x - mean)*slope + shift``; `totals` is (parts, 2, c) float64. Costs two reads and
    one write of the array.
    """
    c, width = weight.size, space.shape[2]
    count = x.size // c
    centre, scales = space[part, 0], space[part, 1]
    slopes, shifts = space[part, 2], space[part, 3]
    total, total_products = totals[part, 0], totals[part, 1]
    _fold(sums[0], total)
    _fold(sums[1], total_products)
    for k in range(c):
        factor = np.float64(invstd[k]) * weight[k]
        inner = total_products[k] * invstd[k]
        if part == 0:
            gweight[k], gbias[k] = inner, total[k]
        scales[k] = factor
        slopes[k] = -factor * invstd[k] * inner / count
        shifts[k] = -factor * total[k] / count
    _spread(scales[:c], scales)
    _spread(slopes[:c], slopes)
    _spread(shifts[:c], shifts)
    rows = (x.size + width - 1) // width
    low, high = rows * part // parts, rows * (part + 1) // parts
    for back in range(high - low):
        r = high - 1 - back
        grad, row = g[r * width : (r + 1) * width], x[r * width : (r + 1) * width]
        target = gx[r * width : (r + 1) * width]
        for j in range(row.size):
            away = (row[j] - centre[j]) * slopes[j]
            target[j] = grad[j] * scales[j] + (away + shifts[j])


@kernel(entry=True)
def _channel_affine(
    part: int, parts: int, x: Array, scale: Array, shift: Array, least: float, space: Array,
    y: Array,
) -> None:  # fmt: skip
    """Write ``x*scale + shift``, and `least` where that is less, for x (pixels*c,).

    `space` is (parts, 2, width) float32. Costs one read and one write of the array.
    """
    width = space.shape[2]
    scales, shifts = space[part, 0], space[part, 1]
    _spread(scale, scales)
    _spread(shift, shifts)
    rows = (x.size + width - 1) // width
    bound = np.float32(least)
    for r in range(rows * part // parts, rows * (part + 1) // parts):
        source, target = x[r * width : (r + 1) * width], y[r * width : (r + 1) * width]
        for j in range(source.size):
            value = source[j] * scales[j] + shifts[j]
            target[j] = bound if value < bound else value


def _width(c: int) -> int:
    return -(-WIDTH // c) * c


def _pixels(x: Array) -> Array | None:
    """Return x (n, c) or (n, c, h, w) with its channels last in memory, copied if need be, or
    None.
    """
    if x.ndim == 2:
        flags = x.flags
        usable = flags.c_contiguous and flags.aligned and x.dtype == FLOAT32 and x.size
        return x if usable else None
    return images_of(x)


def lie_by_planes(x: Array) -> bool:
    """Return whether x is signals or volumes in C order, which nothing wants channels last."""
    fits = x.ndim in (3, 5) and x.dtype == FLOAT32 and x.size > 0
    return bool(fits and x.flags.c_contiguous and x.flags.aligned)


def as_images(x: Array) -> Array:
    """Return signals (n, c, l) or volumes (n, c, d, h, w) as (n, c, h', w')."""
    return x.reshape(*x.shape[:2], -1, x.shape[-1])


def _seen(image: Array) -> Array:
    """Return (n, c) or (n, h, w, c) as the caller sees it."""
    return image if image.ndim == 2 else nchw(image)


def batch_norm(
    x: Array, weight: Array | None, bias: Array | None, *, eps: float
) -> tuple[Array, Array, Array, Array] | None:
    """As `reference.batch_norm`, for parameters of float32; x is copied if its channels are not
    last in memory.
    """
    if lie_by_planes(x):
        return batch_norm_planes(x, weight, bias, eps)
    if x.ndim in (3, 5) and x.size:
        found = batch_norm(as_images(x), weight, bias, eps=eps)
        return None if found is None else (found[0].reshape(x.shape), *found[1:])
    image = _pixels(x)
    if image is None:
        return None
    c = image.shape[-1]
    scale, shift = parameter(weight, 1, (c,)), parameter(bias, 0, (c,))
    if scale is None or shift is None:
        return None
    y, stats = empty(image.shape, FLOAT32), np.empty((3, c), np.float32)
    parts, width, numbers = shares(3 * y.nbytes), _width(c), image.reshape(-1)
    with scratch() as take:
        space, sums = take((parts, 3, width), FLOAT32), take((2, parts, width), np.float64)
        totals = take((parts, 2, c), np.float64)
        run(_moments, parts, numbers, c, space, sums)
        run(
            _normalise, parts, numbers, scale, shift, float(eps), space, sums, totals,
            y.reshape(-1), stats,
        )  # fmt: skip
    return _seen(y), stats[0], stats[1], stats[2]


def batch_norm_backward(
    g: Array, x: Array, weight: Array | None, mean: Array, invstd: Array
) -> tuple[Array, Array, Array] | None:
    """As `reference.batch_norm_backward`; g and x are copied if their channels are not last."""
    image = _pixels(x)
    if image is None or g.shape != x.shape or g.dtype != FLOAT32:
        return None
    c = image.shape[-1]
    scale, centre = parameter(weight, 1, (c,)), parameter(mean, 0, (c,))
    factor = parameter(invstd, 1, (c,))
    if scale is None or centre is None or factor is None:
        return None
    grads = images_like(g) if g.ndim == 4 else np.ascontiguousarray(g)
    gx, gweight, gbias = empty(image.shape, FLOAT32), np.empty(c, FLOAT32), np.empty(c, FLOAT32)
    parts, width = shares(5 * gx.nbytes), _width(c)
    grads, numbers = grads.reshape(-1), image.reshape(-1)
    with scratch() as take:
        space, sums = take((parts, 4, width), FLOAT32), take((2, parts, width), np.float64)
        totals = take((parts, 2, c), np.float64)
        run(_products, parts, grads, numbers, centre, space, sums)
        run(
            _batch_norm_backward, parts, grads, numbers, scale, factor, space, sums, totals,
            gx.reshape(-1), gweight, gbias,
        )  # fmt: skip
    return _seen(gx), gweight, gbias


@kernel()
def _is_far(mean: float, invstd: float, limit: float) -> bool:
    return not (abs(mean) * invstd <= np.float32(limit) and invstd > 0)


@kernel(entry=True, fastmath=())
def _numbers_share(
    part: int, parts: int, mean: Array, var: Array, weight: Array, bias: Array, eps: float,
    limit: float, found: Array, far: Array,
) -> None:  # fmt: skip
    """Write ``1/sqrt(var + eps)``, scale, shift, 0, scale and shift to found (6, c)."""
    far[0] = 0
    for k in range(mean.size):
        # Rounded like the operations that are recorded where gradients are wanted.
        invstd = np.float32(1) / np.sqrt(var[k] + np.float32(eps))
        scale = invstd * weight[k]
        shift = bias[k] - mean[k] * scale
        found[0, k], found[1, k], found[2, k], found[3, k] = invstd, scale, shift, 0
        found[4, k], found[5, k] = scale, shift
        if _is_far(mean[k], invstd, limit):
            far[0] = 1


@kernel(entry=True)
def _far_share(
    part: int, parts: int, mean: Array, invstd: Array, limit: float, found: Array
) -> None:  # fmt: skip
    found[0] = 0
    for k in range(mean.size):
        if _is_far(mean[k], invstd[k], limit):
            found[0] = 1


def are_far(mean: Array, invstd: Array, limit: float, count: int) -> bool | None:
    """As `reference.are_far`, for two arrays of float32."""
    if mean.shape != invstd.shape or invstd.dtype != FLOAT32:
        return None
    found = np.empty(1, np.uint8)
    numbers = np.ascontiguousarray(mean), np.ascontiguousarray(invstd)
    run(_far_share, 1, numbers[0].reshape(-1), numbers[1].reshape(-1), float(limit), found)
    return bool(looked(found)[0])


def channel_numbers(
    mean: Array, var: Array, weight: Array | None, bias: Array | None, eps: float, count: int,
    limit: float | None = None,
) -> tuple[Array, Array, Array, bool | None, tuple[Any, ...] | None] | None:  # fmt: skip
    """As `reference.channel_numbers`, for float32; with what `kept_table` keeps for a rectifier."""
    shape = mean.shape
    centre, spread = parameter(mean, 0, shape), parameter(var, 1, shape)
    scale, shift = parameter(weight, 1, shape), parameter(bias, 0, shape)
    if centre is None or spread is None or scale is None or shift is None:
        return None
    found, far = np.empty((6, mean.size), FLOAT32), np.empty(1, np.uint8)
    run(
        _numbers_share, 1, centre, spread, scale, shift, float(eps), float(limit or 0), found, far
    )  # fmt: skip
    invstd, factor, addend = found[0], found[1], found[2]
    if limit is None:
        return invstd, factor, addend, None, None
    return invstd, factor, addend, bool(looked(far)[0]), (
        (factor, addend, ZERO, factor, addend), found[1:],
    )  # fmt: skip


@kernel(entry=True)
def _move_share(
    part: int, parts: int, running_mean: Array, running_var: Array, mean: Array, var: Array,
    share: float, unbiased: float,
) -> None:  # fmt: skip
    for k in range(mean.size):
        running_mean[k] = (1 - share) * running_mean[k] + share * mean[k]
        running_var[k] = (1 - share) * running_var[k] + share * (unbiased * var[k])


def move_statistics(
    running_mean: Array | None, running_var: Array | None, mean: Array, var: Array,
    momentum: float, count: int,
) -> bool | None:  # fmt: skip
    """As `reference.move_statistics`, for four rows of float32; then True."""
    arrays = (running_mean, running_var, mean, var)
    for a in arrays:
        if a is None or a.dtype != FLOAT32 or a.shape != mean.shape or not a.flags.c_contiguous:
            return None
    run(_move_share, 1, *arrays, float(momentum), count / (count - 1))
    return True


def channel_affine(x: Array, scale: Array, shift: Array, *, relu: bool = False) -> Array | None:
    """As `reference.channel_affine`, for float32; x is copied if its channels are not last."""
    planes = lie_by_planes(x) and not relu
    if x.ndim in (3, 5) and x.size and not planes:
        found = channel_affine(as_images(x), scale, shift, relu=relu)
        return None if found is None else found.reshape(x.shape)
    image = x if planes else _pixels(x)
    if image is None:
        return None
    c = x.shape[1]
    scales, shifts = parameter(scale, 1, (c,)), parameter(shift, 0, (c,))
    if scales is None or shifts is None:
        return None
    if planes:
        return affine_planes(x, scales, shifts)
    y = empty(image.shape, FLOAT32)
    parts, least = shares(2 * y.nbytes), 0.0 if relu else -np.inf
    with scratch() as take:
        space = take((parts, 2, _width(c)), FLOAT32)
        run(_channel_affine, parts, image.reshape(-1), scales, shifts, least, space, y.reshape(-1))
    return _seen(y)
