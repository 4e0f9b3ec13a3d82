"""Average pooling, sliding and adaptive, on (n, h, w, c) arrays.

One pair of kernels does both: a window is a range of rows and a range of columns, and a divisor.
The inner loop runs over the channels. A window of kh x kw pixels costs kh*kw reads, from cache
where windows overlap. Windows of more than `SHORT` pixels are added in float64.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Unpack

import numpy as np

from tinygrad_cnn.kernels.checks import Pair
from tinygrad_cnn.kernels.fp_errors import ignore_fp_errors
from tinygrad_cnn.kernels.jit.compile.build import kernel
from tinygrad_cnn.kernels.jit.compile.entry import run
from tinygrad_cnn.kernels.jit.load.images import FLOAT32, images_like, images_of, nchw
from tinygrad_cnn.kernels.memory import empty, scratch
from tinygrad_cnn.kernels.reference.avg_pool import AvgPoolSpec, AvgPoolWindow, spans, window_areas
from tinygrad_cnn.kernels.reference.sums import SHORT
from tinygrad_cnn.kernels.threads import shares
from tinygrad_cnn.types import Array


@kernel(entry=True)
def _avg_pool2d(
    part: int, parts: int, x: Array, rows: Array, columns: Array, factor: Array, y: Array
) -> None:
    """Write window sums of x (n, h, w, c) times `factor` (oh, ow) to y (n, oh, ow, c).

    `rows` (oh, 2) and `columns` (ow, 2) are the windows' ranges. Costs one read of x.
    """
    n, oh, ow, c = y.shape
    for line in range(n * oh * part // parts, n * oh * (part + 1) // parts):
        m, p = line // oh, line % oh
        for q in range(ow):
            target = y[m, p, q]
            target[:] = 0
            for i in range(rows[p, 0], rows[p, 1]):
                for j in range(columns[q, 0], columns[q, 1]):
                    pixel = x[m, i, j]
                    for k in range(c):
                        target[k] += pixel[k]
            scale = factor[p, q]
            for k in range(c):
                target[k] *= scale


@kernel(entry=True)
def _avg_pool2d_long(
    part: int, parts: int, x: Array, rows: Array, columns: Array, factor: Array, y: Array,
    space: Array,
) -> None:  # fmt: skip
    """Do as `_avg_pool2d`, but add in float64; space is (parts, c) float64."""
    n, oh, ow, c = y.shape
    total = space[part]
    for window in range(n * oh * ow * part // parts, n * oh * ow * (part + 1) // parts):
        m, p, q = window // (oh * ow), window // ow % oh, window % ow
        total[:] = 0
        for i in range(rows[p, 0], rows[p, 1]):
            for j in range(columns[q, 0], columns[q, 1]):
                pixel = x[m, i, j]
                for k in range(c):
                    total[k] += pixel[k]
        for k in range(c):
            y[m, p, q, k] = total[k] * factor[p, q]


@kernel(entry=True)
def _avg_pool2d_input(
    part: int, parts: int, g: Array, rows: Array, columns: Array, factor: Array, gx: Array
) -> None:
    """Add g (n, oh, ow, c) times `factor` to the pixels of its windows in gx (n, h, w, c).

    Images are shared among threads. Costs one write of gx and one of its windows' pixels.
    """
    n, oh, ow, c = g.shape
    for m in range(n * part // parts, n * (part + 1) // parts):
        gx[m] = 0
        for p in range(oh):
            for q in range(ow):
                grad, scale = g[m, p, q], factor[p, q]
                for i in range(rows[p, 0], rows[p, 1]):
                    for j in range(columns[q, 0], columns[q, 1]):
                        pixel = gx[m, i, j]
                        for k in range(c):
                            pixel[k] += grad[k] * scale


@lru_cache(maxsize=256)
def _sliding(spec: AvgPoolSpec, size: Pair, out: Pair) -> tuple[Array, Array, Array]:
    """Return the pixels [start, stop) of the windows along both axes, (oh, 2) and (ow, 2) int64,
    and one over their divisors.
    """
    found = []
    for axis in (0, 1):
        start = np.arange(out[axis], dtype=np.int64) * spec.stride[axis] - spec.padding[axis]
        edges = np.stack([start, start + spec.kernel_size[axis]], axis=1)
        found.append(np.clip(edges, 0, size[axis]))
    return found[0], found[1], _factor(spec.divisor(size, out, FLOAT32), *out)


@ignore_fp_errors
def _factor(divisor: Array, oh: int, ow: int) -> Array:
    """Return one over the divisor of each window, (oh, ow) float32."""
    wide = divisor.reshape(oh, ow) if divisor.ndim else np.full((oh, ow), divisor)
    return (1 / wide.astype(np.float64)).astype(np.float32)


def _pool(x: Array, rows: Array, columns: Array, factor: Array, most: int) -> Array | None:
    """Return the sums of windows of at most `most` pixels times their factors."""
    image = images_of(x)
    if image is None:
        return None
    n, _, _, c = image.shape
    oh, ow = len(rows), len(columns)
    y = empty((n, oh, ow, c), FLOAT32)
    parts = shares(x.nbytes + y.nbytes)
    if most <= SHORT:
        run(_avg_pool2d, parts, image, rows, columns, factor, y)
    else:
        with scratch() as take:
            space = take((parts, c), np.float64)
            run(_avg_pool2d_long, parts, image, rows, columns, factor, y, space)
    return nchw(y)


def _pool_input(
    g: Array, size: Pair, rows: Array, columns: Array, factor: Array, most: int
) -> Array | None:
    """Return the gradients of pixels that are in at most `most` windows."""
    n, c = g.shape[:2]
    if most > SHORT:
        return None  # windows that all but coincide
    gx = empty((n, *size, c), FLOAT32)
    parts = shares(gx.nbytes + g.nbytes)
    run(_avg_pool2d_input, parts, images_like(g), rows, columns, factor, gx)
    return nchw(gx)


def avg_pool2d(x: Array, **window: Unpack[AvgPoolWindow]) -> Array | None:
    """As `reference.avg_pool2d`; x is copied if its channels are not last in memory."""
    if x.ndim != 4 or x.size == 0:
        return None
    spec, size = AvgPoolSpec(**window), (x.shape[2], x.shape[3])
    out = spec.output_size("avg_pool2d", x.shape)
    return _pool(x, *_sliding(spec, size, out), math.prod(spec.kernel_size))


def avg_pool2d_input(g: Array, *, size: Pair, **window: Unpack[AvgPoolWindow]) -> Array | None:
    """As `reference.avg_pool2d_input`, for every layout; g is copied if need be."""
    if g.ndim != 4 or g.size == 0:
        return None
    spec = AvgPoolSpec(**window)
    out = spec.output_size("avg_pool2d_input", (*g.shape[:2], *size))
    if g.shape[2:] != out:
        return None
    most = math.prod(-(-k // s) for k, s in zip(spec.kernel_size, spec.stride, strict=True))
    return _pool_input(g, size, *_sliding(spec, size, out), most)


@lru_cache(maxsize=256)
def _adaptive(size: Pair, out: Pair) -> tuple[Array, Array, Array]:
    rows, columns = (spans(size[a], out[a]) for a in (0, 1))
    areas = window_areas(rows, columns, FLOAT32)
    return np.array(rows), np.array(columns), _factor(areas, *out)


def adaptive_avg_pool2d(x: Array, *, output_size: Pair) -> Array | None:
    """As `reference.adaptive_avg_pool2d`; x is copied if its channels are not last."""
    if x.ndim != 4 or x.size == 0 or min(output_size) < 1:
        return None
    h, w = x.shape[2:]
    most = (h // output_size[0] + 2) * (w // output_size[1] + 2)
    return _pool(x, *_adaptive((h, w), output_size), most)


def adaptive_avg_pool2d_input(g: Array, *, size: Pair) -> Array | None:
    """As `reference.adaptive_avg_pool2d_input`, for every layout; g is copied if need be."""
    if g.ndim != 4 or g.size == 0 or min(size) < 1:
        return None
    oh, ow = g.shape[2:]
    most = (oh // size[0] + 2) * (ow // size[1] + 2)
    return _pool_input(g, size, *_adaptive(size, (oh, ow)), most)
