"""Direct convolution of any geometry, as a matrix product whose rows are windows left in place.

Every output pixel is a row of a product with the packed filters; the row is not gathered but read
where it lies, through three small tables: where each window of a job starts (`sources`), where its
taps are from there (`taps`), and where its result goes (`targets`). Strides, dilation, groups and
the phases of a transposed convolution only change the tables (Chetlur et al. 2014, "cuDNN:
efficient primitives for deep learning", section 3, without the copy to shared memory).

The work is 2*kh*kw*c/groups*f operations per output pixel, and a pass over the input in cache where
it is padded (`plan.area`). Rounding of outputs is that of a plain sum in float32.

In the gradient of the filters, the micro-kernels add the products of a piece of pixels in
registers, and the pieces' sums to float32 numbers in memory. These are added to float64 totals
(`spill`) after every `PIECES` pieces: so no number is added to with more than `PIECE` + `PIECES`
roundings to float32. Where a share has fewer pieces there are no totals, and no memory for them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from typing import TypeAlias

import numpy as np

from tinygrad_cnn.kernels.conv_spec import Windows
from tinygrad_cnn.kernels.jit.compile.build import kernel
from tinygrad_cnn.kernels.jit.compile.entry import run
from tinygrad_cnn.kernels.jit.compile.vector import BYTES, TILE
from tinygrad_cnn.kernels.jit.conv.finite import excess
from tinygrad_cnn.kernels.jit.conv.pack import Filters, pack, packed_shape
from tinygrad_cnn.kernels.jit.conv.plan import (
    PIECE,
    Geometry,
    Plan,
    Tables,
    area,
    gradients,
    plan_of,
)
from tinygrad_cnn.kernels.jit.linear.products import (
    NARROW_ROWS,
    weight_sum,
    window_product,
)
from tinygrad_cnn.kernels.jit.load.images import COPY, Pixels, Source, first_of
from tinygrad_cnn.kernels.jit.load.rows import padded_row
from tinygrad_cnn.kernels.jit.load.transpose import transpose_pixels
from tinygrad_cnn.kernels.jit.norm.moments import (
    CHUNK,
    NO_SUMS,
    Gathered,
    finish,
    finish_sums,
    flush,
    gather,
    gather_sums,
    gathered,
    start,
)
from tinygrad_cnn.kernels.jit.pointwise.epilogue import NONE, Epilogue, conclude
from tinygrad_cnn.kernels.memory import Room, Take, scratch, workspace
from tinygrad_cnn.kernels.tape import looked
from tinygrad_cnn.types import Array

LANES, ROWS, COLUMNS = TILE.lanes, TILE.rows, TILE.columns
PIECES = 128
Entry: TypeAlias = Callable[..., None]


@kernel(entry=True)
def _product_share(
    part: int, parts: int, g: Geometry, x: Pixels, w: Array, bias: Array, out: Array,
    strides: tuple[int, ...], tables: Tables, space: Array, wanted: int, gathering: Gathered,
    lost: Array, epilogue: Epilogue, size: int, skip: int,
) -> None:  # fmt: skip
    lost[part] = 0
    filters = bias.shape[1]  # padded, of one group
    each = strides[2] // g.groups  # true filters of one group
    if wanted:
        start(part, gathering)
    source, target = tables.sources.ctypes.data, tables.targets.ctypes.data
    tap = tables.taps.ctypes.data
    first_job, last_job = g.jobs * part // parts, g.jobs * (part + 1) // parts
    low, high = 0, filters
    if g.split:
        panels = (filters + COLUMNS - 1) // COLUMNS
        first_job, last_job = 0, g.jobs
        low = panels * part // parts * COLUMNS
        high = min(filters, panels * (part + 1) // parts * COLUMNS)
    for job in range(first_job, last_job):
        at, images, rows = area(job, g, x, space[part])
        pixels = images * rows * g.ow
        y = out.ctypes.data + job // g.bands * g.images * strides[0]
        y += job % g.bands * g.rows * strides[1]
        for k in range(g.groups):
            window = at + k * g.depth * BYTES
            for first in range(low, high, COLUMNS):
                ahead = (k * filters + first) * size + skip * min(COLUMNS, filters - first)
                matrix = w.ctypes.data + ahead * BYTES
                shift = bias.ctypes.data + (k * filters + first) * BYTES
                to = y + (k * each + first) * BYTES
                left = each - first
                windows = ROWS if left > LANES else NARROW_ROWS
                for p in range(0, pixels, windows):
                    window_product(
                        window, source + 8 * p, tap, g.tap_count, g.depth, matrix, shift, to,
                        target + 8 * p, pixels - p, left,
                    )  # fmt: skip
        last = strides[2] if g.groups > 1 else min(high, each)
        if job == 0:
            excess(y + low * BYTES, last - low, lost[part:].ctypes.data)
        if epilogue.wanted:  # the outputs are dense
            conclude(epilogue, out, y + low * BYTES, pixels, low, last)
        if wanted:
            line = strides[2] * BYTES
            whole = strides[1] == g.ow * line and strides[0] == g.oh * strides[1]
            run = pixels if whole else g.ow  # pixels without a gap
            for first in range(0, pixels, run):
                row = first // g.ow
                start_of_run = y + row // rows * strides[0] + row % rows * strides[1]
                for p in range(0, run, CHUNK):
                    count, at_run = min(CHUNK, run - p), start_of_run + p * line
                    gather(part, at_run, line, count, 0, strides[2], gathering)
                    flush(part, gathering)


def _pays_to_split(shape: tuple[int, ...], windows: Windows, f: int, parts: int) -> bool:
    """Return whether threads rather share the filters than the pixels: there are more of them.

    Then each has the same filters in its second-level cache at every call.
    """
    panels = -(-f // COLUMNS)
    taps = math.prod(windows.kernel) * shape[3] * f
    return parts > 1 == windows.groups and panels % parts == 0 and taps > math.prod(shape)


def correlate(
    x: Source, w: Array | Filters, bias: Array | None, out: Array, windows: Windows, parts: int,
    *, moments: bool = False,
) -> tuple[tuple[Array, Array] | None, bool]:  # fmt: skip
    """Write the correlation of x (n, h, w, c) with w to out.

    w is (groups, kh, kw, c/groups, f/groups) with any strides, or packed; x is C-contiguous; out
    (n, oh, ow, f) has its filters together and else any strides: it may be every second pixel of
    an image. Returns the outputs' mean and variance (f,) if `moments`, for out whose pixels follow
    one another in a row; and whether a filter may be lost (`conv`).
    """
    f = out.shape[3]
    each = f // windows.groups
    split = not moments and _pays_to_split(x.other.shape, windows, f, parts)
    plan = plan_of(
        x.other.shape, windows, out.strides[:3], parts, 0, True, x.mode[0] != COPY, split
    )  # fmt: skip
    shift = padded_row(bias, windows.groups, each + -each % LANES)
    rows = 0 if isinstance(w, Filters) else math.prod(w.shape[1:4])
    packed = packed_shape(windows.groups, rows, each)
    with workspace(_room(parts, plan.floats, f if moments else 0, packed)) as lent:
        space, sums, lost, own = lent
        if not isinstance(w, Filters):
            pack(w, own)
            w = Filters(own, rows, 0)
        run(
            _product_share, parts, plan.geometry, x.pixels, w.packed, shift, first_of(out),
            (out.strides[0], out.strides[1], f),
            plan.tables, space, int(moments), sums, lost, NONE, w.rows, w.first,
        )  # fmt: skip
        looked(lost)
        return finish(sums) if moments else None, any(lost.tolist())


@lru_cache(maxsize=512)
def _room(parts: int, floats: int, filters: int, packed: tuple[int, int]) -> Room:
    """Return the threads' work space: areas of pixels, sums of outputs if there are to be any, what
    `excess` of the first outputs is; and packed filters.
    """

    def make(take: Take) -> tuple[Array, Gathered, Array, Array]:
        return (
            take((parts, floats), np.float32),
            gathered(parts, filters, take) if filters else NO_SUMS,
            take((parts,), np.float32),
            take(packed, np.float32),
        )

    return Room(make)


def totals_of(parts: int, count: int, pieces: int, take: Take) -> Array:
    """Return float64 totals (parts, count) for the sums of so many pieces, or (parts, 0)."""
    return take((parts, count if pieces > PIECES else 0), np.float64)


@kernel()
def spill(pieces: int, sums: Array, totals: Array) -> None:
    """Add a share's sums (count,) to its totals if so many pieces are a multiple of `PIECES`."""
    if totals.size == 0 or pieces % PIECES:
        return
    for i in range(totals.size):
        totals[i] += sums[i]
        sums[i] = 0


@kernel()
def settle(sums: Array, totals: Array) -> None:
    """Round what a share has in its totals, and in its sums (count,), to these."""
    for i in range(totals.size):
        sums[i] = totals[i] + sums[i]


def weight_share(piece: Entry) -> Entry:
    """Return the entry that adds up, for a share of the jobs, what the kernel `piece` makes of the
    pixels' windows and gradients: to a row of gw (parts, count), and of totals like it or empty.

    ``piece(g, at, source, taps, grad, pixels, f, sums, width)`` gets the addresses of the windows'
    area, of the table of its pixels and of their gradients, and adds to `sums` (count,).
    """

    def share(
        part: int, parts: int, g: Geometry, x: Pixels, grad: Pixels, f: int, gw: Array,
        totals: Array, width: int, tables: Tables, space: Array, beside: Array, wanted: int,
        gathering: Gathered,
    ) -> None:  # fmt: skip
        sums, total, pieces = gw[part], totals[part], 0
        sums[:] = 0
        total[:] = 0
        if wanted:
            start(part, gathering)
        line = f * BYTES
        for job in range(g.jobs * part // parts, g.jobs * (part + 1) // parts):
            at, images, rows = area(job, g, x, space[part])
            pixels = images * rows * g.ow
            first_grad = gradients(job, g, pixels, f, grad, beside[part])
            if wanted:
                gather_sums(part, first_grad, line, pixels, 0, f, gathering)
            for first in range(0, pixels, PIECE):
                piece(
                    g, at, tables.sources.ctypes.data + 8 * first, tables.taps,
                    first_grad + first * line, min(PIECE, pixels - first), f, sums, width,
                )  # fmt: skip
                pieces += 1
                spill(pieces, sums, total)
        settle(sums, total)

    share.__name__ = share.__qualname__ = f"{piece.__name__}_share"  # by which it is found on disk
    share.__module__ = piece.__module__
    return kernel(entry=True)(share)


def add_up_weight(
    share: Entry, x: Source, grad: Source, plan: Plan, parts: int, count: int, width: int,
    take: Take, *, bias: bool,
) -> tuple[Array, Array | None]:  # fmt: skip
    """Run a `weight_share`; return the shares' sums (parts, count), and the bias' gradient."""
    f = grad.other.shape[3]
    space = take((parts, plan.floats), np.float32)
    copied = grad.mode[0] != COPY
    beside = take((parts, plan.job_pixels * f if copied else 0), np.float32)
    sums = gathered(parts, f, take) if bias else NO_SUMS
    gw = take((parts, count), np.float32)
    run(
        share, parts, plan.geometry, x.pixels, grad.pixels, f, gw,
        totals_of(parts, count, plan.pieces, take), width, plan.tables, space, beside, int(bias),
        sums,
    )  # fmt: skip
    return gw, finish_sums(sums) if bias else None


@kernel()
def _direct_piece(
    g: Geometry, at: int, source: int, taps: Array, grad: int, pixels: int, f: int, sums: Array,
    filters: int,
) -> None:  # fmt: skip
    """Add to `sums` (rows, filters) the products of some pixels' windows with their gradients."""
    each, step, line = f // g.groups, f * BYTES, filters * BYTES
    for k in range(g.groups):
        for tap in range(g.tap_count):
            for d in range(0, g.depth, ROWS):
                window = at + taps[tap] + (k * g.depth + d) * BYTES
                row = (k * g.tap_count + tap) * g.depth + d
                for first in range(0, each, COLUMNS):
                    weight_sum(
                        window, source, grad + (k * each + first) * BYTES, step, pixels,
                        sums.ctypes.data + (row * filters + first) * BYTES, line, g.depth - d,
                        each - first,
                    )  # fmt: skip


_direct_share = weight_share(_direct_piece)


@kernel(entry=True)
def _collect(part: int, parts: int, sums: Array, gw: Array) -> None:
    """Add the threads' sums, in their order, into gw (groups, f/groups, c/groups, kh*kw)."""
    groups, each, depth, taps = gw.shape
    low, high = depth * part // parts, depth * (part + 1) // parts
    for k in range(groups):
        if taps == 1:
            first_row = k * depth + low
            for row in range(first_row, k * depth + high):
                total_row = sums[0, row, :each]
                for other in range(1, sums.shape[0]):
                    for f in range(each):
                        total_row[f] += sums[other, row, f]
            transpose_pixels(
                gw[k, 0].ctypes.data + low * BYTES, depth * BYTES, 0,
                sums[0, first_row].ctypes.data, sums.shape[2] * BYTES, each, each, high - low,
            )  # fmt: skip
            continue
        for d in range(low, high):
            for first in range(0, each, LANES):
                for tap in range(taps):
                    row = (k * taps + tap) * depth + d
                    for f in range(first, min(each, first + LANES)):
                        total = sums[0, row, f]
                        for other in range(1, sums.shape[0]):
                            total += sums[other, row, f]
                        gw[k, f, d, tap] = total


def correlate_weight(
    x: Source, grad: Source, windows: Windows, parts: int, *, bias: bool = False
) -> tuple[Array, Array | None]:
    """Return the adjoint of `correlate` in w, as PyTorch orders it, (f, c/groups, kh, kw), and
    in the bias (f,) or None.

    x (n, h, w, c) and grad (n, oh, ow, f) are C-contiguous. Each thread has its own sums.
    """
    f, c = grad.other.shape[3], x.other.shape[3]
    groups, (kh, kw) = windows.groups, windows.kernel
    merged = groups == 1 and (windows.dilation[1] == 1 or kw == 1)
    depth = (kw if merged else 1) * c // groups
    rest = ROWS if depth % ROWS else 0
    plan = plan_of(x.other.shape, windows, (0, 0, 0), parts, rest, True, x.mode[0] != COPY)
    each = f // groups
    padded = each + -each % LANES
    rows = groups * kh * kw * (c // groups) + ROWS
    with scratch() as take:
        gw, gbias = add_up_weight(
            _direct_share, x, grad, plan, parts, rows * padded, padded, take, bias=bias
        )
        result = np.empty((f, c // groups, kh, kw), np.float32)
        split = result.reshape(groups, each, -1, kh * kw)
        run(_collect, parts, gw.reshape(parts, rows, padded), split)
        return result, gbias
