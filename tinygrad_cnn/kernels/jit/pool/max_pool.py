"""Max pooling, and gather and scatter at the maxima, on (n, h, w, c) arrays.

A window's pixels are rows of c numbers, and the inner loop runs over the channels: vector
registers whatever the window. Windows inside the image, of 2 x 2 pixels, keep their maxima in
registers; others keep them in the output's own row, which stays in the nearest cache.
"""

from __future__ import annotations

from typing import Unpack

import numpy as np

from tinygrad_cnn.kernels.checks import Pair, PoolSpec, PoolWindow, check_pool2d
from tinygrad_cnn.kernels.jit.compile.build import kernel
from tinygrad_cnn.kernels.jit.compile.entry import run
from tinygrad_cnn.kernels.jit.compile.vector import BYTES, TILE
from tinygrad_cnn.kernels.jit.load.fill import fill_row
from tinygrad_cnn.kernels.jit.load.images import (
    COPY,
    FLOAT32,
    Pixels,
    images_like,
    images_of,
    nchw,
    source_of,
)
from tinygrad_cnn.kernels.jit.norm.planar import max_pool_planes
from tinygrad_cnn.kernels.lazy import Lazy
from tinygrad_cnn.kernels.memory import empty, scratch
from tinygrad_cnn.kernels.reference.max_pool import index_dtype
from tinygrad_cnn.kernels.threads import shares
from tinygrad_cnn.types import Array

TWOS = PoolSpec((2, 2), (2, 2))


@kernel()
def _row_of_twos(above: Array, below: Array, best: Array, place: Array) -> None:
    """Write maxima and places of 2 x 2 windows side by side: above, below (w, c), best (ow, c)."""
    for q in range(best.shape[0]):
        a, b, d, e = above[2 * q], above[2 * q + 1], below[2 * q], below[2 * q + 1]
        target, where = best[q], place[q]
        for k in range(target.size):
            most, tap = a[k], np.uint8(0)
            value = b[k]
            larger = (value > most) | (value != value)
            most, tap = value if larger else most, np.uint8(1) if larger else tap
            value = d[k]
            larger = (value > most) | (value != value)
            most, tap = value if larger else most, np.uint8(2) if larger else tap
            value = e[k]
            larger = (value > most) | (value != value)
            most, tap = value if larger else most, np.uint8(3) if larger else tap
            target[k], where[k] = most, tap


@kernel()
def _inside(start: int, taps: int, dilation: int, size: int) -> tuple[int, int]:
    """Return the taps [first, stop) of a window from pixel `start` that are pixels of an image."""
    first = 0 if start >= 0 else (-start + dilation - 1) // dilation
    return first, max(first, min(taps, (size - start + dilation - 1) // dilation))


@kernel(inline=True)
def _row_of_windows(
    rows: Array, base: int, step: int, p: int, h: int, spec: PoolSpec, best: Array, place: Array
) -> None:
    """Write maxima and places of the windows of row p, best (ow, c).

    Tap i of them is row ``base + i*step`` of rows (rows, w, c), of an image of h rows.
    """
    (kh, kw), (sy, sx), (top, left), (dy, dx), _ = spec
    ow, w = best.shape[0], rows.shape[1]
    if kh == kw == sy == sx == 2 and top == left == 0 and dy == dx == 1:
        if 2 * p + 2 <= h and 2 * ow <= w:
            _row_of_twos(rows[base], rows[base + step], best, place)
            return
    i0, i1 = _inside(p * sy - top, kh, dy, h)
    for q in range(ow):
        column = q * sx - left
        j0, j1 = _inside(column, kw, dx, w)
        target, where = best[q], place[q]
        target[:] = -np.inf
        where[:] = i0 * kw + j0
        for i in range(i0, i1):
            for j in range(j0, j1):
                pixel, tap = rows[base + i * step, column + j * dx], i * kw + j
                for k in range(target.size):
                    value, most, before = pixel[k], target[k], where[k]
                    larger = (value > most) | (value != value)
                    target[k] = value if larger else most
                    where[k] = tap if larger else before


@kernel(entry=True)
def _max_pool2d(part: int, parts: int, x: Array, spec: PoolSpec, y: Array, index: Array) -> None:
    """Write y, index (n, oh, ow, c) for x (n, h, w, c). Costs one read of x, one write of y.

    PyTorch's comparisons (ATen/native/cpu/MaxPoolKernel.cpp): the first maximum, the last NaN, the
    first tap after the padding where nothing is larger than minus infinity.
    """
    n, oh, h = y.shape[0], y.shape[1], x.shape[1]
    for line in range(n * oh * part // parts, n * oh * (part + 1) // parts):
        image, p = divmod(line, oh)
        first = p * spec.stride[0] - spec.padding[0]
        _row_of_windows(
            x[image], first, spec.dilation[0], p, h, spec, y[image, p], index[image, p]
        )  # fmt: skip


@kernel(entry=True)
def _source_share(
    part: int, parts: int, x: Pixels, size: Pair, spec: PoolSpec, y: Array, index: Array,
    space: Array,
) -> None:  # fmt: skip
    """Do as `_max_pool2d` for a source of images (n, *size, c): the rows under a row of windows
    are computed in `space` (parts, kh, w, c) first.
    """
    n, oh, _, c = y.shape
    h, w = size
    rows = space[part]
    for line in range(n * oh * part // parts, n * oh * (part + 1) // parts):
        image, p = divmod(line, oh)
        first, dy = p * spec.stride[0] - spec.padding[0], spec.dilation[0]
        low, high = _inside(first, rows.shape[0], dy, h)
        for i in range(low, high):
            fill_row(
                rows[i].ctypes.data, c * BYTES, first + i * dy, 0, w, image, h, w, c, 0, c, x
            )  # fmt: skip
        _row_of_windows(rows, 0, 1, p, h, spec, y[image, p], index[image, p])


@kernel(entry=True)
def _gather(part: int, parts: int, x: Array, index: Array, spec: PoolSpec, y: Array) -> None:
    """Write x (n, h, w, c) at the places `index` to y (n, oh, ow, c); 0 for places outside."""
    (kh, kw), (sy, sx), (top, left), (dy, dx), _ = spec
    n, oh, ow, c = y.shape
    h, w = x.shape[1], x.shape[2]
    for line in range(n * oh * part // parts, n * oh * (part + 1) // parts):
        image, p = x[line // oh], line % oh
        row = p * sy - top
        i0, i1 = _inside(row, kh, dy, h)
        for q in range(ow):
            target, where = y[line // oh, p, q], index[line // oh, p, q]
            target[:] = 0
            column = q * sx - left
            j0, j1 = _inside(column, kw, dx, w)
            for i in range(i0, i1):
                for j in range(j0, j1):
                    pixel, tap = image[row + i * dy, column + j * dx], i * kw + j
                    for k in range(c):
                        value, kept, place = pixel[k], target[k], where[k]
                        target[k] = value if place == tap else kept


@kernel(entry=True)
def _scatter_tiles(
    part: int, parts: int, g: Array, index: Array, kh: int, kw: int, gx: Array
) -> None:
    """Write g (n, oh, ow, c) at its places in gx (n, h, w, c), where windows tile the image and
    each pixel has one writer. Costs one read of g and one write of gx.
    """
    n, oh, ow, c = g.shape
    h = gx.shape[1]
    lines = (h + kh - 1) // kh  # of windows, and what remains below them
    zero = np.float32(0)
    for line in range(n * lines * part // parts, n * lines * (part + 1) // parts):
        image, p = gx[line // lines], line % lines
        for i in range(min(kh, h - p * kh)):
            target = image[p * kh + i]
            if p >= oh:
                target[:] = 0
                continue
            grads, places = g[line // lines, p], index[line // lines, p]
            for q in range(ow):
                grad, place = grads[q], places[q]
                for j in range(kw):
                    pixel, tap = target[q * kw + j], i * kw + j
                    for k in range(c):
                        value = grad[k]
                        pixel[k] = value if place[k] == tap else zero
            target[ow * kw :] = 0


@kernel(entry=True)
def _scatter(part: int, parts: int, g: Array, index: Array, spec: PoolSpec, gx: Array) -> None:
    """Add g (n, oh, ow, c) up at its places in gx (n, h, w, c); images are shared among threads."""
    (kh, kw), (sy, sx), (top, left), (dy, dx), _ = spec
    n, oh, ow, c = g.shape
    h, w = gx.shape[1], gx.shape[2]
    zero = np.float32(0)
    for m in range(n * part // parts, n * (part + 1) // parts):
        image = gx[m]
        image[:] = 0
        for p in range(oh):
            row = p * sy - top
            i0, i1 = _inside(row, kh, dy, h)
            for q in range(ow):
                grad, where = g[m, p, q], index[m, p, q]
                column = q * sx - left
                j0, j1 = _inside(column, kw, dx, w)
                for i in range(i0, i1):
                    for j in range(j0, j1):
                        pixel, tap = image[row + i * dy, column + j * dx], i * kw + j
                        for k in range(c):
                            value = grad[k]
                            pixel[k] += value if where[k] == tap else zero


def max_pool2d(x: Array | Lazy, **window: Unpack[PoolWindow]) -> tuple[Array, Array] | None:
    """As `reference.max_pool2d`; x is copied if its channels are not last."""
    shape = x.shape
    if len(shape) != 4 or x.dtype != FLOAT32 or x.size == 0:
        return None
    spec = PoolSpec(**window)
    oh, ow = check_pool2d("max_pool2d", shape, spec)
    n, c, h, w = shape
    if c < TILE.lanes and spec[:4] == TWOS[:4]:
        found = max_pool_planes(x, oh, ow)
        if found is not None:
            return found
    source = source_of(x)
    y = empty((n, oh, ow, c), FLOAT32)
    index = empty((n, oh, ow, c), index_dtype(spec.kernel_size))
    parts = shares(x.nbytes + y.nbytes)
    if source.mode[0] == COPY:
        run(_max_pool2d, parts, source.x, spec, y, index)
        return nchw(y), nchw(index)
    with scratch() as take:
        space = take((parts, spec.kernel_size[0], w, c), FLOAT32)
        run(_source_share, parts, source.pixels, (h, w), spec, y, index, space)
    return nchw(y), nchw(index)


def max_pool2d_gather(x: Array, index: Array, **window: Unpack[PoolWindow]) -> Array | None:
    """As `reference.max_pool2d_gather`; x and `index` are copied if need be."""
    image, spec = images_of(x), PoolSpec(**window)
    if image is None or index.dtype != index_dtype(spec.kernel_size):
        return None
    oh, ow = check_pool2d("max_pool2d_gather", x.shape, spec)
    n, c = x.shape[:2]
    if index.shape != (n, c, oh, ow):
        return None
    y = empty((n, oh, ow, c), FLOAT32)
    places = images_like(index, index.dtype)
    run(_gather, shares(x.nbytes + y.nbytes), image, places, spec, y)
    return nchw(y)


def max_pool2d_scatter(
    g: Array, index: Array, *, size: Pair, **window: Unpack[PoolWindow]
) -> Array | None:
    """As `reference.max_pool2d_scatter`, for every layout; g and `index` are copied if need be."""
    spec = PoolSpec(**window)
    if g.ndim != 4 or g.size == 0 or index.dtype != index_dtype(spec.kernel_size):
        return None
    n, c = g.shape[:2]
    oh, ow = check_pool2d("max_pool2d_scatter", (n, c, *size), spec)
    if not g.shape == index.shape == (n, c, oh, ow):
        return None
    grads, places = images_like(g), images_like(index, index.dtype)
    gx = empty((n, *size, c), FLOAT32)
    parts = shares(gx.nbytes + g.nbytes)
    kh, kw = spec.kernel_size
    inside = spec.padding == (0, 0) and oh * kh <= size[0] and ow * kw <= size[1]
    if spec.kernel_size == spec.stride and spec.dilation == (1, 1) and inside:
        run(_scatter_tiles, parts, grads, places, kh, kw, gx)
    else:
        run(_scatter, parts, grads, places, spec, gx)
    return nchw(gx)
