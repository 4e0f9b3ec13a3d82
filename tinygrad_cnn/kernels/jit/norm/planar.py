"""Max pooling of 2 x 2 pixels, and the sums for the normalisation before it, plane by plane.

For images with few channels, as `images.Planes` has them. What is pooled may be an affine function
with a rectifier, which is computed on the way; the gradient behind the pooling has one number for
four pixels, and the sums need no more of them than those that were chosen.
"""

from __future__ import annotations

import numpy as np

from tinygrad_cnn.kernels.jit.compile.build import kernel
from tinygrad_cnn.kernels.jit.compile.entry import run
from tinygrad_cnn.kernels.jit.compile.vector import BYTES, TILE, Emitter, Value, instruction
from tinygrad_cnn.kernels.jit.load.images import FLOAT32, Planes, affine_table, are_planes, nchw
from tinygrad_cnn.kernels.lazy import Affine, Lazy, lower
from tinygrad_cnn.kernels.memory import empty, scratch
from tinygrad_cnn.kernels.threads import shares
from tinygrad_cnn.types import Array

LANES = TILE.lanes
CHAIN = 128  # numbers that a lane adds in float32


@instruction
def pool_row(
    e: Emitter, above: Value, below: Value, windows: Value, numbers: Value, line: Value,
    best: Value, place: Value,
) -> None:  # fmt: skip
    """Write maxima and places in their windows of ``max(x*scale + shift, least)``.

    For a row of windows of 2 x 2, of whose pixels the rows are `above` and `below`; the first
    three `numbers` are `line` apart.
    """
    b = e.builder
    scale, shift, least = (e.spread(at) for at in e.steps(numbers, line, 3))

    def block(along: Value, mask: Value) -> None:
        number = b.udiv(along, e.whole(BYTES))
        count = None if mask is None else b.sub(windows, number)
        twice = b.add(along, along)
        found = []
        for row in (above, below):
            for value in e.pairs(b.add(row, twice), count):
                moved = e.fma(value, scale, shift)
                small = b.fcmp_ordered("<=", moved, least)  # NaN stays NaN
                found.append(b.select(small, least, moved))
        most, tap = found[0], e.byte_constant(0)
        for k, value in enumerate(found[1:], 1):
            larger = b.or_(b.fcmp_ordered(">", value, most), b.fcmp_unordered("!=", value, value))
            most = b.select(larger, value, most)
            tap = b.select(larger, e.byte_constant(k), tap)
        e.store(most, b.add(best, along), mask)
        e.store_bytes(tap, b.add(place, number), mask)

    e.channel_blocks(windows, block)


@kernel(entry=True)
def _pool_share(
    part: int, parts: int, x: Array, numbers: Array, y: Array, index: Array, space: Array
) -> None:
    """Write y (n, h/2*w/2*c) and index (n, c, h/2, w/2); `numbers` (5, c) as for `pool_row`."""
    n, c, oh, ow = index.shape
    row = space[part]
    for image in range(n * part // parts, n * (part + 1) // parts):
        for k in range(c):
            for p in range(oh):
                above = ((image * c + k) * 2 * oh + 2 * p) * 2 * ow * BYTES
                pool_row(
                    x.ctypes.data + above, x.ctypes.data + above + 2 * ow * BYTES, ow,
                    numbers.ctypes.data + k * BYTES, c * BYTES,
                    row.ctypes.data + (k * oh + p) * ow * BYTES,
                    index.ctypes.data + ((image * c + k) * oh + p) * ow,
                )  # fmt: skip
        target = y[image]
        for q in range(oh * ow):
            for k in range(c):
                target[q * c + k] = row[k * oh * ow + q]


def max_pool_planes(x: Array | Lazy, oh: int, ow: int) -> tuple[Array, Array] | None:
    """Return maxima and places of 2 x 2 windows that tile x (n, c, 2*oh, 2*ow), else None.

    The maxima are channels last, as convolutions with more filters want them; the places are not.
    """
    found = lower(x)
    inner = found.x if type(found) is Affine else found
    n, c = x.shape[:2]
    if not isinstance(inner, np.ndarray) or not are_planes(inner):
        return None
    if x.shape[2:] != (2 * oh, 2 * ow) or c == 1:
        return None
    numbers = affine_table(x, c, found if type(found) is Affine else None)
    y, index = empty((n, oh, ow, c), FLOAT32), empty((n, c, oh, ow), np.uint8)
    parts = shares(x.nbytes + y.nbytes)
    with scratch() as take:
        space = take((parts, c * oh * ow), FLOAT32)
        run(_pool_share, parts, inner, numbers, y.reshape(n, -1), index, space)
    return nchw(y), index


@instruction
def sums_row(
    e: Emitter, g: Value, index: Value, above: Value, below: Value, windows: Value, table: Value,
    line: Value, centre: Value, sums: Value,
) -> None:  # fmt: skip
    """Add to two vectors `sums` those of g and of ``g*(x - centre)`` over a row of windows.

    x is the pixel of its window that `index` names; g counts where ``x*e + f`` is positive, e and f
    being numbers 3 and 4 of the table, which are `line` apart.
    """
    b = e.builder
    a, d = (e.spread(at) for at in e.steps(table, line, 5)[3:])
    mean = e.spread(centre)

    def block(along: Value, mask: Value) -> None:
        number = b.udiv(along, e.whole(BYTES))
        count = None if mask is None else b.sub(windows, number)
        twice = b.add(along, along)
        pixels = [v for row in (above, below) for v in e.pairs(b.add(row, twice), count)]
        places = b.add(index, number)
        value = pixels[0]
        for k, pixel in enumerate(pixels[1:], 1):
            value = b.select(e.bytes_equal(places, e.whole(k), mask), pixel, value)
        off = b.fcmp_ordered("<=", e.fma(value, a, d), e.zero)
        grad = b.select(off, e.zero, e.load(b.add(g, along), mask))
        e.store(b.fadd(e.load(sums), grad), sums)
        to = e.add(sums, e.width)
        away = b.fsub(value, mean)
        if mask is not None:
            away = b.select(mask, away, e.zero)
        e.store(e.fma(grad, away, e.load(to)), to)

    e.channel_blocks(windows, block)


@kernel()
def _flush(sums: Array, k: int, exact: Array) -> None:
    """Add the lanes' sums (2*LANES,) to those of channel k, exact (2, c), and clear them."""
    for lane in range(LANES):
        exact[0, k] += sums[lane]
        exact[1, k] += sums[LANES + lane]
        sums[lane] = sums[LANES + lane] = 0


@kernel(entry=True)
def _sums_share(
    part: int, parts: int, g: Array, index: Array, x: Array, table: Array, mean: Array,
    space: Array, exact: Array,
) -> None:  # fmt: skip
    """Write a share's sums (2, c) to `exact` (parts, 2, c): float32 in some rows of a plane,
    float64 beyond.
    """
    n, c, oh, ow = g.shape
    exact[part] = 0
    sums, some = space[part], max(1, CHAIN * LANES // ow)
    for image in range(n * part // parts, n * (part + 1) // parts):
        for k in range(c):
            sums[:] = 0
            for p in range(oh):
                if p % some == 0:
                    _flush(sums, k, exact[part])
                window = ((image * c + k) * oh + p) * ow
                above = x.ctypes.data + window * 4 * BYTES
                sums_row(
                    g.ctypes.data + window * BYTES, index.ctypes.data + window,
                    above, above + 2 * ow * BYTES, ow, table.ctypes.data + k * BYTES, c * BYTES,
                    mean.ctypes.data + k * BYTES, sums.ctypes.data,
                )  # fmt: skip
            _flush(sums, k, exact[part])


def add_up_planes(planes: Planes, x: Array, mean: Array) -> Array:
    """Return the sums over each channel of a scattered gradient and of ``g*(x - mean)``.

    float64 (parts, 2, c), as shares of the work have them; g is masked as `planes` says.
    """
    n, c, h, w = x.shape
    half = (n, c, h // 2, w // 2)
    parts = shares(x.nbytes)
    exact = np.empty((parts, 2, c))
    with scratch() as take:
        run(
            _sums_share, parts, planes.x.reshape(half), planes.places.reshape(half), x,
            planes.table, mean, take((parts, 2 * LANES), FLOAT32), exact,
        )  # fmt: skip
    return exact
