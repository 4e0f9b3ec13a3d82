"""3x3 convolution with stride 1 by minimal filtering: 36 products for 16 outputs instead of 144.

Winograd's F(4x4, 3x3) after Lavin and Gray 2016, "Fast algorithms for convolutional neural
networks", sections 4.2 and 5. A job is a number of tiles (4x4 outputs each) in the order of the
images: their patches are transformed to 36 planes (tiles, c), 36 matrix products with the
transformed filters give 36 planes (tiles, f), and these become outputs. All of it stays in the
thread's second-level cache; main memory sees inputs and outputs once. Images are channels last and
of any size: a pixel outside of them is read from a row of zeros, one beyond the output is not
written.

Per tile, 2*36*c*f floating-point operations in products instead of 2*144*c*f, and some 13 c + 9 f
vector operations times 16 in transforms: worth it from about 16 channels on both sides. The
transforms add and subtract large numbers, so that the error is some ten times that of a direct
convolution.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..checks import Pair
from ..memory import scratch
from ..reference.layout import Array
from .build import kernel
from .conv_plan import first_of
from .launch import run
from .products import plane_product, plane_product_narrow
from .transforms import (
    filter_transform,
    gradient_transform,
    output_transform,
    patch_transform,
)
from .vector import BYTES, TILE

__all__ = ["SKEW", "Tiles", "correlate_winograd", "from_images", "padded", "tiles_of"]

LANES, ROWS, COLUMNS = TILE.lanes, TILE.rows, TILE.columns
JOB_BYTES = 5 << 18  # of the planes of one job
MOST_TILES = 64  # of one job, and least 3 tiles of registers
FILTER_BLOCK = 8  # input channels whose filters are transformed together
SKEW = 16  # floats between planes: distances of a power of two would share few lines of the cache


class Tiles(NamedTuple):
    """The numbers of a convolution, and of its jobs."""

    n: int
    h: int
    w: int
    c: int
    oh: int
    ow: int
    f: int
    top: int  # of the first window in the image: negative in the padding
    left: int
    down: int  # tiles of an image below each other
    across: int
    tiles: int  # of a job: a multiple of ROWS
    jobs: int
    wide_c: int  # channels, padded to whole vectors
    wide_f: int


def padded(count: int, unit: int) -> int:
    return count + -count % unit


def tiles_of(shape: tuple[int, ...], size: Pair, f: int, origin: Pair, parts: int) -> Tiles:
    n, h, w, c = shape
    down, across = -(-size[0] // 4), -(-size[1] // 4)
    wide_c, wide_f = padded(c, LANES), padded(f, LANES)
    total = n * down * across
    most = min(MOST_TILES, max(3 * ROWS, JOB_BYTES // (36 * BYTES * (wide_c + wide_f))))
    jobs = padded(-(-total // most), parts)
    tiles = padded(-(-total // jobs), ROWS)
    return Tiles(
        n, h, w, c, *size, f, *origin, down, across, tiles, -(-total // tiles), wide_c, wide_f
    )


@kernel()
def _filters_block(
    d: int,
    count: int,
    w: Array,
    per_depth: int,
    per_lane: int,
    turned: bool,
    lanes: int,
    wide: int,
    planes: Array,
    plane: int,
    taps: Array,
) -> None:
    """Transform the filters of input channels [d, d + count), and lay them into panels.

    `FILTER_BLOCK` channels at a time, as in PyTorch's order their taps lie together.
    """
    for lane in range(lanes):
        for i in range(count):
            start = (d + i) * per_depth + lane * per_lane
            for k in range(9):
                taps[(i * 9 + k) * wide + lane] = w[start + (8 - k if turned else k)]
    for i in range(count):
        for k in range(9):
            for lane in range(lanes, wide):
                taps[(i * 9 + k) * wide + lane] = 0
        for first in range(0, wide, COLUMNS):
            width = min(COLUMNS, wide - first)
            to = first * (plane - SKEW) // wide + (d + i) * width
            filter_transform(
                taps.ctypes.data + (i * 9 * wide + first) * BYTES, wide * BYTES,
                planes.ctypes.data + to * BYTES, plane * BYTES, width // LANES,
            )  # fmt: skip


@kernel(entry=True)
def _filters(
    part: int,
    parts: int,
    w: Array,
    depth: int,
    per_depth: int,
    per_lane: int,
    turned: bool,
    lanes: int,
    wide: int,
    planes: Array,
    plane: int,
    taps: Array,
) -> None:
    last = depth * (part + 1) // parts
    for d in range(depth * part // parts, last, FILTER_BLOCK):
        _filters_block(
            d, min(FILTER_BLOCK, last - d), w, per_depth, per_lane, turned, lanes, wide,
            planes, plane, taps[part],
        )  # fmt: skip


@kernel()
def from_images(
    first: int,
    count: int,
    g: Tiles,
    x: Array,
    gradient: bool,
    c: int,
    wide: int,
    h: int,
    w: int,
    top: int,
    left: int,
    planes: int,
    plane: int,
    zeros: int,
) -> None:
    """Transform tiles [first, first + count) of images (n, h, w, c) to planes (tiles, wide)."""
    row, pixel = w * c * BYTES, c * BYTES
    for t in range(count):
        image, place = divmod(first + t, g.down * g.across)
        y, column = 4 * (place // g.across) + top, 4 * (place % g.across) + left
        at, to = x.ctypes.data + image * h * row, planes + t * wide * BYTES
        if gradient:
            gradient_transform(at, y, column, h, w, row, pixel, zeros, to, plane, c)
        else:
            patch_transform(at, y, column, h, w, row, pixel, zeros, to, plane, c)


@kernel(entry=True)
def _product_share(
    part: int,
    parts: int,
    g: Tiles,
    x: Array,
    u: Array,
    bias: Array,
    out: Array,
    strides: tuple[int, ...],
    space: Array,
    zeros: Array,
) -> None:
    plane_v, plane_m = g.tiles * g.wide_c + SKEW, g.tiles * g.wide_f + SKEW
    plane_u = g.c * g.wide_f + SKEW
    v = space[part].ctypes.data
    m = v + 36 * plane_v * BYTES
    total = g.n * g.down * g.across
    for job in range(g.jobs * part // parts, g.jobs * (part + 1) // parts):
        first = job * g.tiles
        count = min(g.tiles, total - first)
        from_images(
            first, count, g, x, False, g.c, g.wide_c, g.h, g.w, g.top, g.left, v,
            plane_v * BYTES, zeros.ctypes.data,
        )  # fmt: skip
        for e in range(36):
            for column in range(0, g.wide_f, COLUMNS):
                width = min(COLUMNS, g.wide_f - column)
                panel = u.ctypes.data + (e * plane_u + column * g.c) * BYTES
                for t in range(0, count, ROWS):
                    a = v + (e * plane_v + t * g.wide_c) * BYTES
                    to = m + (e * plane_m + t * g.wide_f + column) * BYTES
                    if width > LANES:
                        plane_product(
                            a, g.wide_c * BYTES, BYTES, panel, width * BYTES,
                            to, g.wide_f * BYTES, g.c,
                        )  # fmt: skip
                    else:
                        plane_product_narrow(
                            a, g.wide_c * BYTES, BYTES, panel, width * BYTES,
                            to, g.wide_f * BYTES, g.c,
                        )  # fmt: skip
        for t in range(count):
            image, place = divmod(first + t, g.down * g.across)
            row, column = 4 * (place // g.across), 4 * (place % g.across)
            at = out.ctypes.data + image * strides[0] + row * strides[1] + column * strides[2]
            output_transform(
                m + t * g.wide_f * BYTES, plane_m * BYTES, bias.ctypes.data, at, strides[1],
                strides[2], g.oh - row, g.ow - column, g.f,
            )  # fmt: skip


def correlate_winograd(
    x: Array,
    w: Array,
    bias: Array | None,
    out: Array,
    origin: Pair,
    parts: int,
    *,
    turned: bool = False,
) -> None:
    """Write the 3x3 correlation of x (n, h, w, c) with w (f, c, 3, 3) to out (n, oh, ow, f).

    If `turned`, w is (c, f, 3, 3) and is rotated by half a turn: the adjoint in the input. x and w
    are C-contiguous; out may have any strides, its filters lying together.
    """
    f = out.shape[3]
    g = tiles_of(x.shape, (out.shape[1], out.shape[2]), f, origin, parts)
    plane = g.c * g.wide_f + SKEW
    strides = (9 * f, 9) if turned else (9, 9 * g.c)
    shift = np.zeros(g.wide_f, np.float32)
    if bias is not None:
        shift[:f] = bias
    with scratch() as take:
        u = take((36 * plane,), np.float32)
        taps = take((parts, FILTER_BLOCK * 9 * g.wide_f), np.float32)
        run(_filters, parts, w.reshape(-1), g.c, *strides, turned, f, g.wide_f, u, plane, taps)
        floats = 36 * (g.tiles * (g.wide_c + g.wide_f) + 2 * SKEW)
        space = take((parts, floats), np.float32)
        zeros = np.zeros(g.wide_c, np.float32)
        run(
            _product_share, parts, g, x.reshape(-1), u, shift, first_of(out), out.strides[:3],
            space, zeros,
        )  # fmt: skip
