"""3x3 convolution with stride 1 by minimal filtering: 36 products for 16 outputs instead of 144.

Winograd's F(4x4, 3x3) after Lavin and Gray 2016, "Fast algorithms for convolutional neural
networks", section 4.2: ``y = A' [(G w G') * (B' x B)] A`` for every tile of 6x6 pixels, with the
products summed over channels by 36 matrix products. The transforms of both axes at once are matrix
products too, with Kronecker products of the matrices of one axis: for NumPy one large product is
far cheaper than many small passes.

The transforms mix numbers, and with them their rounding errors: images and filters whose numbers
are too far apart for that are *wide*, and the caller's to compute directly.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.lib.stride_tricks import as_strided

from tinygrad_cnn.kernels import threads
from tinygrad_cnn.kernels.checks import Pair
from tinygrad_cnn.kernels.fp_errors import ignore_fp_errors
from tinygrad_cnn.kernels.memory import scratch
from tinygrad_cnn.kernels.reference.layout import Chunk, chunks, crop
from tinygrad_cnn.types import Array

TILE = 4  # outputs of a tile along one axis
PATCH = 6  # pixels it reads
WORK_BYTES = 1 << 21  # of patches in one chunk

_B: list[list[float]] = [
    [4, 0, -5, 0, 1, 0],
    [0, -4, -4, 1, 1, 0],
    [0, 4, -4, -1, 1, 0],
    [0, -2, -1, 2, 1, 0],
    [0, 2, -1, -2, 1, 0],
    [0, 4, 0, -5, 0, 1],
]
_G: list[list[float]] = [
    [1 / 4, 0, 0],
    [-1 / 6, -1 / 6, -1 / 6],
    [-1 / 6, 1 / 6, -1 / 6],
    [1 / 24, 1 / 12, 1 / 6],
    [1 / 24, -1 / 12, 1 / 6],
    [0, 0, 1],
]
_A: list[list[float]] = [
    [1, 1, 1, 1, 1, 0],
    [0, 1, -1, 2, -2, 0],
    [0, 1, 1, 4, 4, 0],
    [0, 1, -1, 8, -8, 1],
]

PIXELS = np.kron(_B, _B).astype(np.float32)  # (36, 36): patch to frequency
FILTERS = np.kron(_G, _G).astype(np.float32)  # (36, 9): taps to frequency
OUTPUTS = np.kron(_A, _A).astype(np.float32)  # (16, 36): frequency to tile


WEIGHT = 4  # of a pixel in a transformed number, of 1 to 16
PIXEL_RANGE, FILTER_RANGE = 2.0**9, 2.0**13
LEAST, MOST, LEAST_FILTER = 2.0**-60, 2.0**50, 2.0**-30


def _peak(x: Array) -> Array:
    """Return the largest magnitude for each entry of the first axis, NaN if there is one."""
    axes = tuple(range(1, x.ndim))
    peak: Array = np.maximum(x.max(axes, initial=0), -x.min(axes, initial=0))
    return peak.astype(np.float64)


@ignore_fp_errors
def wide_images(x: Array) -> Array:
    """Return a mask (n,) of the images of x (n, h, w, c) that are not to be transformed.

    Their largest number exceeds `PIXEL_RANGE` times what their windows typically sum, the root of a
    sum of squares, or float32's range in the products. What is typical is the geometric mean over
    every fourth pixel of every fourth row, or of others if that is less: whatever an outlier's
    place, it moves one of both little.
    """
    typical, peak = np.full(len(x), np.inf), _peak(x)
    for first in (0, 2):
        some = x[:, first::4, first::4]
        power = np.einsum("nhwc,nhwc->nhw", some, some)
        there = power > 0
        logs = np.log2(power, out=np.zeros(power.shape), where=there)
        mean = logs.sum((1, 2)) / there.sum((1, 2))  # NaN if there is nothing
        typical = np.fmin(typical, 2**mean)
    within = WEIGHT * peak <= PIXEL_RANGE * np.sqrt(9 * typical)
    suits = (peak >= LEAST) & (peak <= MOST) & np.isfinite(typical) & within
    wide: Array = ~suits & (peak != 0)
    return wide


@ignore_fp_errors
def wide_filters(w: Array) -> bool:
    """Return whether filters w (f, c, 3, 3) are not to be transformed: the largest number of one
    exceeds `FILTER_RANGE` times the norm of those at even places, or of those at odd ones, or those
    of all float32's range in the products.
    """
    flat = w.reshape(len(w), -1)
    peak, halves = _peak(flat), (flat[:, ::2], flat[:, 1::2])
    norms = [np.sqrt(np.einsum("fk,fk->f", half, half)) for half in halves]
    least = np.minimum(*norms)
    least = np.where(least > 0, least, np.maximum(*norms))
    within = (peak <= FILTER_RANGE * least) | (peak < LEAST_FILTER)
    suits = bool(within.all() and LEAST_FILTER <= peak.max() <= MOST)
    return not suits and bool(peak.max() != 0)


def _grid(chunk: Chunk, columns: int) -> tuple[int, int, int]:
    """Return how many (images, tile rows, tile columns) a chunk has; its rows are rows of tiles."""
    return (*chunk.shape, columns)


def _patches(x: Array, origin: Pair, chunk: Chunk, columns: int, out: Array) -> None:
    """Write the chunk's 6x6 patches of x (n, h, w, c) to out (36, tiles*c)."""
    top, bottom = (origin[0] + TILE * row for row in (chunk.rows.start, chunk.rows.stop))
    right = origin[1] + TILE * columns + PATCH - TILE
    with scratch() as take:
        area = crop(x[chunk.images], top, bottom + PATCH - TILE, origin[1], right, 0, take)
        np.copyto(
            out.reshape(PATCH, PATCH, *_grid(chunk, columns), x.shape[3]),
            _tiled(area, PATCH, chunk, columns),
        )


def _tiled(area: Array, side: int, chunk: Chunk, columns: int) -> Array:
    """View area (n, h, w, c) as its tiles of `side` pixels, 4 apart: (side, side, n, rows,
    columns, c).
    """
    sn, sy, sx, sc = area.strides
    shape = (side, side, *_grid(chunk, columns), area.shape[3])
    return as_strided(area, shape, (sy, sx, sn, TILE * sy, TILE * sx, sc))


def _chunks(n: int, size: Pair, depth: int) -> tuple[list[Chunk], int]:
    """Return chunks of tile rows, and the number of tile columns."""
    rows, columns = -(-size[0] // TILE), -(-size[1] // TILE)
    return chunks(n, rows, columns * PATCH * PATCH * depth * 4, WORK_BYTES), columns


def correlate_winograd(x: Array, w: Array, bias: Array | None, out: Array, origin: Pair) -> None:
    """Write the correlation of x (n, h, w, c) with w (f, c, 3, 3) to out (n, oh, ow, f), all
    float32.

    Output (0, 0) has its first tap on pixel `origin`; pixels outside of x count as 0.
    """
    f, c = w.shape[:2]
    n, oh, ow = out.shape[:3]
    tasks, columns = _chunks(n, (oh, ow), max(c, f))

    def work(share: Sequence[Chunk]) -> None:
        for chunk in share:
            grid = _grid(chunk, columns)
            tiles = grid[0] * grid[1] * grid[2]
            with scratch() as take:
                # Two buffers take turns, so that all four stages meet in cache.
                one, two = (take((36 * tiles * max(c, f),), np.float32) for _ in range(2))
                patches, pixels = (m[: 36 * tiles * c].reshape(36, tiles * c) for m in (one, two))
                _patches(x, origin, chunk, columns, patches)
                np.matmul(PIXELS, patches, out=pixels)
                products = one[: 36 * tiles * f].reshape(36, tiles, f)
                np.matmul(pixels.reshape(36, tiles, c), frequency, out=products)
                results = two[: 16 * tiles * f].reshape(16, tiles * f)
                np.matmul(OUTPUTS, products.reshape(36, -1), out=results)
                top, bottom = TILE * chunk.rows.start, min(oh, TILE * chunk.rows.stop)
                _untile(results, grid, bias, out[chunk.images, top:bottom], one)

    with scratch() as take:
        kernels = take((9, c, f), np.float32)
        np.copyto(kernels, w.transpose(2, 3, 1, 0).reshape(9, c, f))
        frequency = take((36, c, f), np.float32)
        taps, planes = kernels.reshape(9, -1), frequency.reshape(36, -1)
        threads.one_blas_thread(lambda: np.matmul(FILTERS, taps, out=planes))
        threads.split(tasks, work, x.nbytes + out.nbytes)


def _untile(
    results: Array, grid: tuple[int, int, int], bias: Array | None, target: Array, spare: Array
) -> None:
    """Write tiles (16, tiles*f) to an image (n, h, w, f), cutting off what reaches beyond it."""
    n, rows, columns = grid
    f = target.shape[3]
    spread = results.reshape(TILE, TILE, n, rows, columns, f).transpose(2, 3, 0, 4, 1, 5)
    full = (n, TILE * rows, TILE * columns, f)
    area = target
    if target.shape != full or not target.flags.c_contiguous:
        area = spare[: results.size].reshape(full)
    np.copyto(area.reshape(spread.shape), spread)  # (n, rows, 4, columns, 4, f)
    if area is not target:
        target[...] = area[:, : target.shape[1], : target.shape[2]]
    if bias is not None:
        target += bias


def correlate_winograd_weight(x: Array, g: Array, origin: Pair) -> Array:
    """Return the adjoint of `correlate_winograd` in w, (f, c, 3, 3), for g (n, oh, ow, f)."""
    n, oh, ow, f = g.shape
    c = x.shape[3]
    tasks, columns = _chunks(n, (oh, ow), max(c, f))

    def work(share: Sequence[Chunk]) -> Array:
        total = np.zeros((36, c, f), np.float32)
        for chunk in share:
            grid = _grid(chunk, columns)
            tiles = grid[0] * grid[1] * grid[2]
            with scratch() as take:
                pixels = take((36, tiles, c), np.float32)
                spare = take((36 * tiles * max(c, f),), np.float32)
                patches = spare[: 36 * tiles * c].reshape(36, tiles * c)
                _patches(x, origin, chunk, columns, patches)
                np.matmul(PIXELS, patches, out=pixels.reshape(36, -1))
                top, bottom = TILE * chunk.rows.start, TILE * chunk.rows.stop
                area = crop(g[chunk.images], top, bottom, 0, TILE * columns, 0, take)
                results = take((16, tiles * f), np.float32)
                np.copyto(results.reshape(TILE, TILE, *grid, f), _tiled(area, TILE, chunk, columns))
                products = spare[: 36 * tiles * f].reshape(36, tiles, f)
                np.matmul(OUTPUTS.T, results, out=products.reshape(36, -1))
                part = take((36, c, f), np.float32)
                total += np.matmul(pixels.transpose(0, 2, 1), products, out=part)
        return total

    first, *others = threads.split(tasks, work, x.nbytes + g.nbytes)
    for other in others:
        first += other
    gw: Array = threads.one_blas_thread(lambda: FILTERS.T @ first.reshape(36, c * f))
    return np.ascontiguousarray(gw.reshape(3, 3, c, f).transpose(3, 2, 0, 1))
