"""Convolutions with few filters, plane by plane: vectors run along the pixels.

An image's planes are copied to scratch memory with zeros around them, rows as wide as all windows
need. Then a window's tap is a distance, the same for every output: the outputs of all rows are one
long row, of which the last kernel - 1 of each image row are of no use and are dropped. For each
tap, vectors of neighbouring pixels are multiplied by the one number of each filter; in the gradient
of the weights, by vectors of the gradient, and the lanes are added up at the end.

A NaN spreads to what is computed together with it.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from tinygrad_cnn.kernels.conv_spec import Windows
from tinygrad_cnn.kernels.jit.compile.build import kernel
from tinygrad_cnn.kernels.jit.compile.entry import run
from tinygrad_cnn.kernels.jit.compile.vector import BYTES
from tinygrad_cnn.kernels.jit.conv.direct import settle, spill, totals_of
from tinygrad_cnn.kernels.jit.conv.plan import PIECE
from tinygrad_cnn.kernels.jit.conv.planar_products import (
    FEW,
    LANES,
    MANY,
    STEP,
    VECTORS,
    pixel_sum,
    tap_sum,
)
from tinygrad_cnn.kernels.jit.load.fill import fill_planes
from tinygrad_cnn.kernels.jit.load.images import FLOAT32, Planes
from tinygrad_cnn.kernels.jit.load.rows import ordered, padded_row
from tinygrad_cnn.kernels.jit.norm.moments import NO_SUMS, Gathered, finish, gathered
from tinygrad_cnn.kernels.jit.pointwise.sums import line_squares, line_sum
from tinygrad_cnn.kernels.memory import empty, scratch
from tinygrad_cnn.kernels.tape import fixed
from tinygrad_cnn.types import Array


class Geometry(NamedTuple):
    """The numbers of a convolution that kernels need, in pixels and floats."""

    n: int
    c: int
    h: int
    w: int
    f: int
    oh: int
    ow: int
    top: int  # of the first window in the image: negative in the padding
    left: int
    height: int  # of the area under all windows
    width: int  # from one row of the area, and of the outputs, to the next
    line: int  # floats from one plane of outputs to the next
    many: int  # blocks of filters
    few: int
    taps: int


@lru_cache(maxsize=256)
def _blocks(f: int) -> tuple[int, int]:
    """Return how many blocks of `MANY` and of `FEW` filters cover f: few idle ones, few blocks."""
    options = [(many, -(-max(0, f - MANY * many) // FEW)) for many in range(-(-f // MANY) + 1)]
    return min(options, key=lambda pair: (MANY * pair[0] + FEW * pair[1], sum(pair)))


@lru_cache(maxsize=256)
def geometry_of(shape: tuple[int, ...], f: int, windows: Windows) -> tuple[Geometry, Array, int]:
    """Return a geometry, the taps' distances in bytes, and the floats of an image's area."""
    n, c, h, w = shape
    (kh, kw), (oh, ow), (dh, dw) = windows.kernel, windows.size, windows.dilation
    height, width = oh + (kh - 1) * dh, ow + (kw - 1) * dw
    # The zeros at the end of a row are also those before the next one.
    left = windows.origin[1]
    width = max(ow, width - max(0, min(-left, left + width - w)))
    k, i, j = np.ogrid[:c, :kh, :kw]
    taps = (((k * height + i * dh) * width + j * dw) * BYTES).astype(np.int64).ravel()
    line = oh * width + -(oh * width) % LANES
    geometry = Geometry(
        n, c, h, w, f, oh, ow, *windows.origin, height, width, line, *_blocks(f), taps.size
    )
    table = fixed(np.concatenate([taps, taps[-1:].repeat(VECTORS)]))
    return geometry, table, c * height * width + STEP + width


@kernel(entry=True)
def _pack_share(part: int, parts: int, g: Geometry, w: Array, packed: Array) -> None:
    """Write filters w (f*taps,) as dense blocks (taps, filters of the block), side by side."""
    at = first = 0
    for block in range(g.many + g.few):
        filters = MANY if block < g.many else FEW
        for tap in range(g.taps):
            for f in range(first, first + filters):
                packed[at] = w[f * g.taps + tap] if f < g.f else np.float32(0)
                at += 1
        first += filters


@kernel()
def _gather(
    part: int, k: int, plane: Array, sums: Gathered
) -> None:  # fmt: skip
    """Add a plane to the sums of filter k; the first plane's mean is the pilot."""
    exact, single, counts = sums.exact, sums.single, sums.counts
    total = line_sum(plane)
    if counts[part, k] == 0:
        mean = np.float32(total / plane.size)
        single[part, 0, k] = mean if np.isfinite(mean) else np.float32(0)
        exact[part, 0, k] = exact[part, 1, k] = 0
    centre = np.float64(single[part, 0, k])
    exact[part, 0, k] += total - centre * plane.size
    exact[part, 1, k] += line_squares(plane, centre)
    counts[part, k] += plane.size


@kernel(entry=True)
def _share(
    part: int, parts: int, g: Geometry, x: Planes, w: Array, bias: Array, taps: Array, out: Array,
    space: Array, beside: Array, row: Array, wanted: int, sums: Gathered,
) -> None:  # fmt: skip
    area, results = space[part], beside[part]
    area[:] = 0
    if wanted:
        sums.counts[part] = 0
    line = g.line * BYTES
    for image in range(g.n * part // parts, g.n * (part + 1) // parts):
        fill_planes(
            image, area, g.height * g.width, g.width, g.top, g.left, g.height, g.c, g.h, g.w,
            x, row[part],
        )  # fmt: skip
        for block in range(g.many + g.few):
            many, filters = min(block, g.many), MANY if block < g.many else FEW
            first = MANY * many + FEW * (block - many)
            matrix, shift = w.ctypes.data + first * g.taps * BYTES, bias.ctypes.data + first * BYTES
            distances = taps.ctypes.data
            for p in range(0, g.line, STEP):
                at, to = area.ctypes.data + p * BYTES, results.ctypes.data + first * line
                to += p * BYTES
                if p + STEP <= g.line:
                    tap_sum(at, distances, g.taps, matrix, shift, to, line, filters, STEP)
                    continue
                for _ in range(p, g.line, LANES):
                    tap_sum(at, distances, g.taps, matrix, shift, to, line, filters, LANES)
                    at, to = at + LANES * BYTES, to + LANES * BYTES
        for f in range(g.f):
            target = out[image, f]
            for i in range(g.oh):
                start = f * g.line + i * g.width
                source, to_row = results[start : start + g.ow], target[i * g.ow : (i + 1) * g.ow]
                for p in range(g.ow):
                    to_row[p] = source[p]
            if wanted:
                _gather(part, f, target, sums)


def correlate_planes(
    x: Planes, shape: tuple[int, ...], w: Array, bias: Array | None, windows: Windows, parts: int,
    *, moments: bool = False,
) -> tuple[Array, tuple[Array, Array] | None]:  # fmt: skip
    """Return the correlation of x, images of `shape` (n, c, h, w), with w (f, c, kh, kw).

    It is (n, f, oh, ow), plane by plane in memory, with its mean and variance (f,) if `moments`.
    """
    f = w.shape[0]
    geometry, taps, area = geometry_of(shape, f, windows)
    planes = MANY * geometry.many + FEW * geometry.few
    shift = padded_row(bias, 1, planes)
    out = empty((shape[0], f, *windows.size), FLOAT32)
    with scratch() as take:
        space, beside = take((parts, area), FLOAT32), take((parts, planes * geometry.line), FLOAT32)
        row = take((parts, shape[1] * shape[3]), FLOAT32)
        sums = gathered(parts, f, take) if moments else NO_SUMS
        packed = take((planes * geometry.taps,), FLOAT32)
        run(_pack_share, 1, geometry, ordered(w).reshape(-1), packed)
        run(
            _share, parts, geometry, x, packed, shift, taps,
            out.reshape(shape[0], f, -1), space, beside, row, int(moments), sums,
        )  # fmt: skip
        return out, finish(sums) if moments else None


@kernel()
def _weight_piece(
    g: Geometry, area: int, grads: int, taps: Array, vectors: int, sums: Array
) -> None:  # fmt: skip
    """Add to `sums` the products of some vectors of pixels with their gradients."""
    line, planes = g.line * BYTES, MANY * g.many + FEW * g.few
    for block in range(g.many + g.few):
        many, filters = min(block, g.many), MANY if block < g.many else FEW
        first = MANY * many + FEW * (block - many)
        at = grads + first * line
        for tap in range(0, g.taps, VECTORS):
            to = sums.ctypes.data + (tap // VECTORS * planes + first) * VECTORS * LANES * BYTES
            places = taps.ctypes.data + 8 * tap
            pixel_sum(area, places, at, line, vectors, to, filters)


@kernel(entry=True)
def _weight_share(
    part: int, parts: int, g: Geometry, x: Planes, grad: Planes, taps: Array, space: Array,
    beside: Array, row: Array, sums: Array, totals: Array, wanted: int, biases: Array,
) -> None:  # fmt: skip
    area, grads = space[part], beside[part]
    area[:] = 0
    grads[:] = 0
    own, total, pieces = sums[part], totals[part], 0
    own[:] = 0
    total[:] = 0
    biases[part] = 0
    for image in range(g.n * part // parts, g.n * (part + 1) // parts):
        fill_planes(
            image, area, g.height * g.width, g.width, g.top, g.left, g.height, g.c, g.h, g.w,
            x, row[part],
        )  # fmt: skip
        fill_planes(
            image, grads, g.line, g.width, 0, 0, g.oh, g.f, g.oh, g.ow,
            grad, row[part],
        )  # fmt: skip
        if wanted:
            for f in range(g.f):
                biases[part, f] += line_sum(grads[f * g.line : (f + 1) * g.line])
        for p in range(0, g.line, PIECE * LANES):
            _weight_piece(
                g, area.ctypes.data + p * BYTES, grads.ctypes.data + p * BYTES, taps,
                min(PIECE, (g.line - p) // LANES), own,
            )  # fmt: skip
            pieces += 1
            spill(pieces, own, total)
    settle(own, total)


@kernel(entry=True)
def _weight_sums_share(
    part: int, parts: int, g: Geometry, sums: Array, biases: Array, gw: Array, gbias: Array
) -> None:
    """Add up what the threads have in sums (threads, count) and in biases (threads, f)."""
    planes = MANY * g.many + FEW * g.few
    for f in range(g.f * part // parts, g.f * (part + 1) // parts):
        for tap in range(g.taps):
            at = ((tap // VECTORS * planes + f) * VECTORS + tap % VECTORS) * LANES
            total = np.float64(0)
            for share in range(sums.shape[0]):
                for lane in range(LANES):
                    total += sums[share, at + lane]
            gw[f * g.taps + tap] = total
        if gbias.size:
            total = np.float64(0)
            for share in range(biases.shape[0]):
                total += biases[share, f]
            gbias[f] = total


def correlate_planes_weight(
    x: Planes, shape: tuple[int, ...], grad: Planes, f: int, windows: Windows, parts: int,
    *, bias: bool = False,
) -> tuple[Array, Array | None]:  # fmt: skip
    """Return the adjoint of `correlate_planes` in w (f, c, kh, kw), and in the bias (f,) or None.

    Each thread has its own sums.
    """
    geometry, taps, area = geometry_of(shape, f, windows)
    planes, groups = MANY * geometry.many + FEW * geometry.few, -(-geometry.taps // VECTORS)
    with scratch() as take:
        space, beside = take((parts, area), FLOAT32), take((parts, planes * geometry.line), FLOAT32)
        row = take((parts, max(shape[1] * shape[3], f * geometry.ow)), FLOAT32)
        count = groups * planes * VECTORS * LANES
        sums = take((parts, count), FLOAT32)
        pieces = -(-shape[0] // parts) * -(-geometry.line // (PIECE * LANES))
        biases = take((parts, f), np.float64)
        run(
            _weight_share, parts, geometry, x, grad, taps, space, beside, row, sums,
            totals_of(parts, count, pieces, take), int(bias), biases,
        )  # fmt: skip
        gw = np.empty((f, shape[1], *windows.kernel), FLOAT32)
        gbias = np.empty(f if bias else 0, FLOAT32)
        run(_weight_sums_share, 1, geometry, sums, biases, gw.reshape(-1), gbias)
        return gw, gbias if bias else None
