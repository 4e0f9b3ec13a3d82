"""The gradient of the filters where there are fewer pixels than filters: threads share the result.

`direct` shares the pixels among threads, whose sums are added at the end: with a single small image
that takes longer than the products. Here each thread has all pixels for its part of the result, a
number of units, and writes it once. A unit is all taps of some channels, for a panel of filters;
where channels are so few that the columns of a window are merged, of all channels. Its sums stay in
the nearest caches, in the order of the result's numbers, until they change places with the filters.

No sum is shared, so that any number of threads gives the same bits.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from tinygrad_cnn.kernels.conv_spec import Windows
from tinygrad_cnn.kernels.jit.compile.build import kernel
from tinygrad_cnn.kernels.jit.compile.entry import run
from tinygrad_cnn.kernels.jit.compile.vector import BYTES, TILE
from tinygrad_cnn.kernels.jit.conv.plan import (
    PIECE,
    Geometry,
    Plan,
    Tables,
    area,
    gradients,
    plan_of,
)
from tinygrad_cnn.kernels.jit.linear.products import weight_sum
from tinygrad_cnn.kernels.jit.load.images import COPY, Pixels, Source
from tinygrad_cnn.kernels.jit.load.transpose import transpose_pixels
from tinygrad_cnn.kernels.jit.norm.moments import (
    NO_SUMS,
    Gathered,
    finish_sums,
    gather_sums,
    gathered,
    start,
)
from tinygrad_cnn.kernels.memory import Room, Take, workspace
from tinygrad_cnn.types import Array

LANES, ROWS, COLUMNS = TILE.lanes, TILE.rows, TILE.columns
MOST_PIXELS = 1 << 14  # whose products are added in float32, piece by piece
MERGED = 1.1  # times the rows that merged columns take, which single ones may take too
UNEVEN = 1.3  # times an even share that the largest one may be


class Units(NamedTuple):
    """How the result (groups, f/groups, c/groups, taps) is cut."""

    total: int
    blocks: int  # of channels, in a group
    panels: int  # of filters, in a group
    channels: int  # of a unit
    each: int  # filters of a group
    depth: int  # channels of a group
    taps: int  # of a channel
    merged: int  # whether the taps of a row, of all channels, are one in the tables
    floats: int  # sums of a unit


@lru_cache(maxsize=512)
def units_of(shape: tuple[int, ...], f: int, windows: Windows, parts: int) -> Units | None:
    """Return how `parts` threads share the result, for images (n, h, w, c); None if they should
    rather share the pixels.
    """
    n, h, w, c = shape
    groups, (kh, kw) = windows.groups, windows.kernel
    outputs, taps = n * math.prod(windows.size), kh * kw
    depth, each = c // groups, f // groups
    if outputs > MOST_PIXELS or depth * taps * f < n * h * w * c + outputs * f:
        return None
    together = groups == 1 and (windows.dilation[1] == 1 or kw == 1)
    alone = kw * (depth + -depth % ROWS)
    merged = together and alone > MERGED * (kw * depth + -(kw * depth) % ROWS)
    channels = depth if merged else ROWS if taps > 1 else 2 * ROWS
    blocks, panels = -(-depth // channels), -(-each // COLUMNS)
    count = groups * blocks * panels
    if -(-count // parts) * parts > UNEVEN * count:
        return None
    return Units(
        count, blocks, panels, channels, each, depth, taps, int(merged), channels * taps * COLUMNS
    )


@kernel()
def _add(
    k: int, low: int, first: int, u: Units, g: Geometry, at: int, source: int, taps: Array,
    grad: int, pixels: int, f: int, sums: int,
) -> None:  # fmt: skip
    """Add the products of some pixels to the sums of a unit: channels from `low` on and filters
    from `first` on, of group k.
    """
    line = COLUMNS * BYTES
    step, high = line * u.taps, min(u.depth, low + u.channels)
    if u.merged:
        step, high = line, g.depth
    grad += (k * u.each + first) * BYTES
    for tap in range(g.tap_count):
        row = sums + tap * line * (g.depth if u.merged else 1)
        for d in range(low, high, ROWS):
            window = at + taps[tap] + (k * u.depth + d) * BYTES
            weight_sum(
                window, source, grad, f * BYTES, pixels, row + (d - low) * step, step, high - d,
                u.each - first,
            )  # fmt: skip


@kernel()
def _write(k: int, low: int, first: int, u: Units, sums: int, gw: int) -> None:
    """Write a unit's sums to the result, filter by filter."""
    line, filter_bytes = COLUMNS * BYTES, u.depth * u.taps * BYTES
    filters, channels = min(COLUMNS, u.each - first), min(u.channels, u.depth - low)
    to = gw + (k * u.each + first) * filter_bytes + low * u.taps * BYTES
    if u.merged == 0:
        transpose_pixels(to, filter_bytes, 0, sums, line, filters, filters, channels * u.taps)
        return
    for d in range(channels):
        transpose_pixels(
            to + d * u.taps * BYTES, filter_bytes, 0, sums + d * line, u.depth * line, filters,
            filters, u.taps,
        )  # fmt: skip


@kernel(entry=True)
def _units_share(
    part: int, parts: int, g: Geometry, u: Units, x: Pixels, grad: Pixels, f: int, gw: Array,
    tables: Tables, space: Array, beside: Array, sums: Array, wanted: int, gathering: Gathered,
) -> None:  # fmt: skip
    first_unit, last_unit = u.total * part // parts, u.total * (part + 1) // parts
    vectors = (f + LANES - 1) // LANES
    low_f = vectors * part // parts * LANES  # whose bias is taken here
    high_f = min(f, vectors * (part + 1) // parts * LANES)
    own, line = sums[part], f * BYTES
    own[:] = 0
    if wanted:
        start(part, gathering)
    for job in range(g.jobs):
        at, images, rows = area(job, g, x, space[part])
        pixels = images * rows * g.ow
        grads = gradients(job, g, pixels, f, grad, beside[part])
        if wanted and high_f > low_f:
            gather_sums(part, grads + low_f * BYTES, line, pixels, low_f, high_f, gathering)
        for unit in range(first_unit, last_unit):
            block, first = unit // u.panels, unit % u.panels * COLUMNS
            k, low = block // u.blocks, block % u.blocks * u.channels
            to = own.ctypes.data
            if g.jobs > 1:
                to += (unit - first_unit) * u.floats * BYTES
            elif unit > first_unit:
                own[:] = 0
            for pixel in range(0, pixels, PIECE):
                _add(
                    k, low, first, u, g, at, tables.sources.ctypes.data + 8 * pixel, tables.taps,
                    grads + pixel * line, min(PIECE, pixels - pixel), f, to,
                )  # fmt: skip
            if job == g.jobs - 1:
                _write(k, low, first, u, to, gw.ctypes.data)


def plan_units(x: Source, u: Units, windows: Windows) -> Plan:
    """Plan all windows for each thread."""
    depth = windows.kernel[1] * u.depth if u.merged else u.depth
    rest = ROWS if depth % ROWS else 0
    lazy = x.mode[0] != COPY
    return plan_of(x.other.shape, windows, (0, 0, 0), 1, rest, bool(u.merged), lazy, True)


def correlate_few_pixels(
    x: Source, grad: Source, windows: Windows, u: Units, parts: int, *, bias: bool = False
) -> tuple[Array, Array | None]:
    """Do as `direct.correlate_weight`, by `units_of` these images."""
    f, c = grad.other.shape[3], x.other.shape[3]
    plan = plan_units(x, u, windows)
    held = 1 if plan.geometry.jobs == 1 else -(-u.total // parts)
    copied = plan.job_pixels * f if grad.mode[0] != COPY else 0
    with workspace(_room(parts, plan.floats, copied, held * u.floats, f if bias else 0)) as lent:
        space, beside, own, sums = lent
        gw = np.empty((f, c // windows.groups, *windows.kernel), np.float32)
        run(
            _units_share, parts, plan.geometry, u, x.pixels, grad.pixels, f, gw.reshape(-1),
            plan.tables, space, beside, own, int(bias), sums,
        )  # fmt: skip
        return gw, finish_sums(sums) if bias else None


@lru_cache(maxsize=512)
def _room(parts: int, floats: int, copied: int, own: int, biases: int) -> Room:
    """Return the threads' work space: areas of pixels, gradients, sums, and those of biases."""

    def make(take: Take) -> tuple[Array, Array, Array, Gathered]:
        return (
            take((parts, floats), np.float32),
            take((parts, copied), np.float32),
            take((parts, own), np.float32),
            gathered(parts, biases, take) if biases else NO_SUMS,
        )

    return Room(make)
