"""Max pooling, and gather and scatter at the maxima, on (n, h, w, c) arrays.

A window's pixels are rows of c numbers, and the inner loop runs over the channels: vector
registers whatever the window. Windows inside the image, of 2 x 2 pixels, keep their maxima in
registers; others keep them in the output's own row, which stays in the nearest cache.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_cnn.kernels.checks import Pair, check_pool2d
from tinygrad_cnn.kernels.jit.compile.build import kernel
from tinygrad_cnn.kernels.jit.compile.entry import run
from tinygrad_cnn.kernels.jit.compile.vector import BYTES, TILE
from tinygrad_cnn.kernels.jit.load.launch import FLOAT32, images_like, images_of, nchw, shares
from tinygrad_cnn.kernels.jit.load.pixels import COPY, Pixels, fill_row, pixels_of, source_of
from tinygrad_cnn.kernels.jit.norm.planar import max_pool_planes
from tinygrad_cnn.kernels.lazy import Lazy
from tinygrad_cnn.kernels.memory import empty, scratch
from tinygrad_cnn.kernels.reference.layout import Array

Window = tuple[int, int, int, int, int, int, int, int]  # (kh, kw, sy, sx, top, left, dy, dx)


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
def _first_inside(start: int, dilation: int) -> int:
    """Return the first tap of a window from pixel `start` that is not before the first pixel."""
    return 0 if start >= 0 else (-start + dilation - 1) // dilation


@kernel(entry=True)
def _max_pool2d(part: int, parts: int, x: Array, window: Window, y: Array, index: Array) -> None:
    """Write y, index (n, oh, ow, c) for x (n, h, w, c). Costs one read of x, one write of y.

    PyTorch's comparisons (ATen/native/cpu/MaxPoolKernel.cpp): the first maximum, the last NaN, the
    first tap after the padding where nothing is larger than minus infinity.
    """
    kh, kw, sy, sx, top, left, dy, dx = window
    n, oh, ow, c = y.shape
    h, w = x.shape[1], x.shape[2]
    twos = kh == kw == sy == sx == 2 and top == left == 0 and dy == dx == 1
    twos = twos and 2 * oh <= h and 2 * ow <= w
    for line in range(n * oh * part // parts, n * oh * (part + 1) // parts):
        image, p = x[line // oh], line % oh
        best, place = y[line // oh, p], index[line // oh, p]
        if twos:
            _row_of_twos(image[2 * p], image[2 * p + 1], best, place)
            continue
        row = p * sy - top
        i0 = _first_inside(row, dy)
        for q in range(ow):
            column = q * sx - left
            j0 = _first_inside(column, dx)
            target, where = best[q], place[q]
            target[:] = -np.inf
            where[:] = i0 * kw + j0
            for i in range(i0, kh):
                if row + i * dy >= h:
                    break
                for j in range(j0, kw):
                    if column + j * dx >= w:
                        break
                    pixel = image[row + i * dy, column + j * dx]
                    tap = i * kw + j
                    for k in range(c):
                        value, most, before = pixel[k], target[k], where[k]
                        larger = (value > most) | (value != value)
                        target[k] = value if larger else most
                        where[k] = tap if larger else before


@kernel(entry=True)
def _source_share(
    part: int,
    parts: int,
    x: Pixels,
    size: Pair,
    window: Window,
    y: Array,
    index: Array,
    space: Array,
) -> None:
    """Do as `_max_pool2d` for a source of images (n, *size, c): the rows under a row of windows
    are computed in `space` (parts, kh, w, c) first.
    """
    kh, kw, sy, sx, top, left, dy, dx = window
    n, oh, ow, c = y.shape
    h, w = size
    rows = space[part]
    twos = kh == kw == sy == sx == 2 and top == left == 0 and dy == dx == 1
    twos = twos and 2 * oh <= h and 2 * ow <= w
    for line in range(n * oh * part // parts, n * oh * (part + 1) // parts):
        row = line % oh * sy - top
        for i in range(kh):
            if 0 <= row + i * dy < h:
                fill_row(
                    rows[i].ctypes.data, c * BYTES, row + i * dy, 0, w, line // oh, h, w, c, 0, c,
                    x,
                )  # fmt: skip
        best, place = y[line // oh, line % oh], index[line // oh, line % oh]
        if twos:
            _row_of_twos(rows[0], rows[1], best, place)
            continue
        i0 = _first_inside(row, dy)
        for q in range(ow):
            column = q * sx - left
            j0 = _first_inside(column, dx)
            target, where = best[q], place[q]
            target[:] = -np.inf
            where[:] = i0 * kw + j0
            for i in range(i0, kh):
                if row + i * dy >= h:
                    break
                for j in range(j0, kw):
                    if column + j * dx >= w:
                        break
                    pixel, tap = rows[i, column + j * dx], i * kw + j
                    for k in range(c):
                        value, most, before = pixel[k], target[k], where[k]
                        larger = (value > most) | (value != value)
                        target[k] = value if larger else most
                        where[k] = tap if larger else before


@kernel(entry=True)
def _gather(part: int, parts: int, x: Array, index: Array, window: Window, y: Array) -> None:
    """Write x (n, h, w, c) at the places `index` to y (n, oh, ow, c); 0 for places outside."""
    kh, kw, sy, sx, top, left, dy, dx = window
    n, oh, ow, c = y.shape
    h, w = x.shape[1], x.shape[2]
    for line in range(n * oh * part // parts, n * oh * (part + 1) // parts):
        image, p = x[line // oh], line % oh
        for q in range(ow):
            target, where = y[line // oh, p, q], index[line // oh, p, q]
            target[:] = 0
            row, column = p * sy - top, q * sx - left
            for i in range(_first_inside(row, dy), kh):
                if row + i * dy >= h:
                    break
                for j in range(_first_inside(column, dx), kw):
                    if column + j * dx >= w:
                        break
                    pixel = image[row + i * dy, column + j * dx]
                    tap = i * kw + j
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
def _scatter(part: int, parts: int, g: Array, index: Array, window: Window, gx: Array) -> None:
    """Add g (n, oh, ow, c) up at its places in gx (n, h, w, c); images are shared among threads."""
    kh, kw, sy, sx, top, left, dy, dx = window
    n, oh, ow, c = g.shape
    h, w = gx.shape[1], gx.shape[2]
    zero = np.float32(0)
    for m in range(n * part // parts, n * (part + 1) // parts):
        image = gx[m]
        image[:] = 0
        for p in range(oh):
            for q in range(ow):
                grad, where = g[m, p, q], index[m, p, q]
                row, column = p * sy - top, q * sx - left
                for i in range(_first_inside(row, dy), kh):
                    if row + i * dy >= h:
                        break
                    for j in range(_first_inside(column, dx), kw):
                        if column + j * dx >= w:
                            break
                        pixel = image[row + i * dy, column + j * dx]
                        tap = i * kw + j
                        for k in range(c):
                            value = grad[k]
                            pixel[k] += value if where[k] == tap else zero


def _window(kernel_size: Pair, stride: Pair, padding: Pair, dilation: Pair) -> Window:
    return (*kernel_size, *stride, *padding, *dilation)


def _index_dtype(kernel_size: Pair) -> Any:
    return np.uint8 if kernel_size[0] * kernel_size[1] <= 256 else np.int32


def max_pool2d(
    x: Array | Lazy,
    *,
    kernel_size: Pair,
    stride: Pair,
    padding: Pair,
    dilation: Pair,
    ceil_mode: bool,
) -> Any:
    """As `reference.max_pool2d`; x is copied if its channels are not last."""
    if x.ndim != 4 or x.dtype != FLOAT32 or x.size == 0:
        return NotImplemented
    oh, ow = check_pool2d(
        "max_pool2d", x.shape, kernel_size=kernel_size, stride=stride, padding=padding,
        dilation=dilation, ceil_mode=ceil_mode,
    )  # fmt: skip
    if kernel_size == stride == (2, 2) and padding == (0, 0) and dilation == (1, 1):
        found = max_pool_planes(x, oh, ow) if x.shape[1] < TILE.lanes else None
        if found is not None:
            return found
    source = source_of(x)
    n, c = x.shape[:2]
    y = empty((n, oh, ow, c), FLOAT32)
    index = empty((n, oh, ow, c), _index_dtype(kernel_size))
    window = _window(kernel_size, stride, padding, dilation)
    parts = shares(x.nbytes + y.nbytes)
    if source.mode[0] == COPY:
        run(_max_pool2d, parts, source.x, window, y, index)
        return nchw(y), nchw(index)
    with scratch() as take:
        space = take((parts, kernel_size[0], x.shape[3], c), FLOAT32)
        run(_source_share, parts, pixels_of(source), x.shape[2:], window, y, index, space)
    return nchw(y), nchw(index)


def max_pool2d_gather(
    x: Array, index: Array, *, kernel_size: Pair, stride: Pair, padding: Pair, dilation: Pair,
    ceil_mode: bool,
) -> Any:  # fmt: skip
    """As `reference.max_pool2d_gather`; x and `index` are copied if need be."""
    image = images_of(x)
    if image is None or index.dtype != _index_dtype(kernel_size):
        return NotImplemented
    oh, ow = check_pool2d(
        "max_pool2d_gather", x.shape, kernel_size=kernel_size, stride=stride, padding=padding,
        dilation=dilation, ceil_mode=ceil_mode,
    )  # fmt: skip
    n, c = x.shape[:2]
    if index.shape != (n, c, oh, ow):
        return NotImplemented
    y = empty((n, oh, ow, c), FLOAT32)
    places = images_like(index, index.dtype)
    window = _window(kernel_size, stride, padding, dilation)
    run(_gather, shares(x.nbytes + y.nbytes), image, places, window, y)
    return nchw(y)


def max_pool2d_scatter(
    g: Array, index: Array, *, size: Pair, kernel_size: Pair, stride: Pair, padding: Pair,
    dilation: Pair, ceil_mode: bool,
) -> Any:  # fmt: skip
    """As `reference.max_pool2d_scatter`, for every layout; g and `index` are copied if need be."""
    if g.ndim != 4 or g.size == 0 or index.dtype != _index_dtype(kernel_size):
        return NotImplemented
    n, c = g.shape[:2]
    oh, ow = check_pool2d(
        "max_pool2d_scatter", (n, c, *size), kernel_size=kernel_size, stride=stride,
        padding=padding, dilation=dilation, ceil_mode=ceil_mode,
    )  # fmt: skip
    if not g.shape == index.shape == (n, c, oh, ow):
        return NotImplemented
    grads, places = images_like(g), images_like(index, index.dtype)
    gx = empty((n, *size, c), FLOAT32)
    parts = shares(gx.nbytes + g.nbytes)
    kh, kw = kernel_size
    inside = padding == (0, 0) and oh * kh <= size[0] and ow * kw <= size[1]
    if kernel_size == stride and dilation == (1, 1) and inside:
        run(_scatter_tiles, parts, grads, places, kh, kw, gx)
    else:
        window = _window(kernel_size, stride, padding, dilation)
        run(_scatter, parts, grads, places, window, gx)
    return nchw(gx)
