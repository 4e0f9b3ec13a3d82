"""Direct convolution of any geometry, as a matrix product whose rows are windows left in place.

Every output pixel is a row of a product with the packed filters; the row is not gathered but read
where it lies, through three small tables: where each window of a job starts (`sources`), where its
taps are from there (`taps`), and where its result goes (`targets`). Strides, dilation, groups and
the phases of a transposed convolution only change the tables (Chetlur et al. 2014, "cuDNN:
efficient primitives for deep learning", section 3, without the copy to shared memory).

The work is 2*kh*kw*c/groups*f operations per output pixel, and a pass over the input in cache where
it is padded (`conv_plan`). Rounding is that of a plain sum in float32.
"""

from __future__ import annotations

import numpy as np

from tinygrad_cnn.kernels.conv_spec import Windows
from tinygrad_cnn.kernels.jit.compile.build import kernel
from tinygrad_cnn.kernels.jit.compile.entry import run
from tinygrad_cnn.kernels.jit.compile.spilling import PIECE, settle, spill, totals_of
from tinygrad_cnn.kernels.jit.compile.vector import BYTES, TILE
from tinygrad_cnn.kernels.jit.conv.filters import pack
from tinygrad_cnn.kernels.jit.conv.plan import (
    Geometry,
    Tables,
    area,
    first_of,
    gradient_floats,
    gradients,
    pieces_of,
    plan_of,
)
from tinygrad_cnn.kernels.jit.linear.products import (
    NARROW_ROWS,
    weight_sum,
    weight_sum_masked,
    weight_sum_narrow,
    window_product,
    window_product_narrow,
)
from tinygrad_cnn.kernels.jit.load.pixels import COPY, Pixels, Source, pixels_of
from tinygrad_cnn.kernels.jit.load.transpose import transpose_pixels
from tinygrad_cnn.kernels.jit.norm.moments import (
    CHUNK,
    Gathered,
    finish,
    finish_sums,
    flush,
    gather,
    gather_sums,
    gathered,
    start,
)
from tinygrad_cnn.kernels.memory import scratch
from tinygrad_cnn.kernels.reference.layout import Array

LANES, ROWS, COLUMNS = TILE.lanes, TILE.rows, TILE.columns


@kernel(entry=True)
def _product_share(
    part: int,
    parts: int,
    g: Geometry,
    x: Pixels,
    w: Array,
    bias: Array,
    out: Array,
    strides: tuple[int, ...],
    tables: Tables,
    space: Array,
    wanted: int,
    gathering: Gathered,
) -> None:
    filters = bias.shape[1]  # padded, of one group
    each = strides[2] // g.groups  # true filters of one group
    size = g.tap_count * g.depth
    if wanted:
        start(part, gathering)
    source, target = tables.sources.ctypes.data, tables.targets.ctypes.data
    tap = tables.taps.ctypes.data
    for job in range(g.jobs * part // parts, g.jobs * (part + 1) // parts):
        at, images, rows = area(job, g, x, space[part])
        pixels = images * rows * g.ow
        y = out.ctypes.data + job // g.bands * g.images * strides[0]
        y += job % g.bands * g.rows * strides[1]
        for k in range(g.groups):
            window = at + k * g.depth * BYTES
            for first in range(0, filters, COLUMNS):
                matrix = w.ctypes.data + (k * size * filters + first * size) * BYTES
                shift = bias.ctypes.data + (k * filters + first) * BYTES
                to = y + (k * each + first) * BYTES
                left = each - first
                if filters - first > LANES:
                    for p in range(0, pixels, ROWS):
                        window_product(
                            window, source + 8 * p, tap, g.tap_count, g.depth, matrix, shift, to,
                            target + 8 * p, pixels - p, left,
                        )  # fmt: skip
                else:
                    for p in range(0, pixels, NARROW_ROWS):
                        window_product_narrow(
                            window, source + 8 * p, tap, g.tap_count, g.depth, matrix, shift, to,
                            target + 8 * p, pixels - p, left,
                        )  # fmt: skip
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


def correlate(
    x: Source, w: Array, bias: Array | None, out: Array, windows: Windows, parts: int,
    *, moments: bool = False,
) -> tuple[Array, Array] | None:  # fmt: skip
    """Write the correlation of x (n, h, w, c) with w to out.

    w is (groups, kh, kw, c/groups, f/groups) with any strides; x is C-contiguous; out
    (n, oh, ow, f) has its filters together and else any strides: it may be every second pixel of
    an image. Returns the outputs' mean and variance (f,) if `moments`, for out whose pixels follow
    one another in a row.
    """
    plan = plan_of(x.other.shape, windows, out.strides[:3], parts, 0, True, x.mode[0] != COPY)
    f = out.shape[3]
    shift = pack_row(bias, windows.groups, f)
    with scratch() as take:
        packed = pack(w, take)
        space = take((parts, plan.floats), np.float32)
        sums = gathered(parts, f if moments else 1, take)
        run(
            _product_share, parts, plan.geometry, pixels_of(x), packed, shift, first_of(out),
            (out.strides[0], out.strides[1], f),
            plan.tables, space, int(moments), sums,
        )  # fmt: skip
        return finish(sums) if moments else None


def pack_row(row: Array | None, groups: int, f: int) -> Array:
    """Return one number per filter (f,) as (groups, f/groups padded to vectors); zeros for None."""
    each = f // groups
    packed = np.zeros((groups, each + -each % LANES), np.float32)
    if row is not None:
        packed[:, :each] = row.reshape(groups, each)
    return packed


@kernel()
def _weight_piece(
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
                    to = sums.ctypes.data + (row * filters + first) * BYTES
                    column, left = grad + (k * each + first) * BYTES, each - first
                    valid = g.depth - d
                    if left >= COLUMNS:
                        weight_sum(window, source, column, step, pixels, to, line, valid, left)
                        continue
                    if left >= LANES:
                        weight_sum_narrow(
                            window, source, column, step, pixels, to, line, valid, left
                        )
                        to, column, left = to + LANES * BYTES, column + LANES * BYTES, left - LANES
                    if left > 0:
                        weight_sum_masked(
                            window, source, column, step, pixels, to, line, valid, left
                        )


@kernel(entry=True)
def _weight_share(
    part: int,
    parts: int,
    g: Geometry,
    x: Pixels,
    grad: Pixels,
    f: int,
    gw: Array,
    totals: Array,
    width: int,
    tables: Tables,
    space: Array,
    beside: Array,
    wanted: int,
    gathering: Gathered,
) -> None:
    sums, total, pieces = gw[part], totals[part], 0
    sums[:] = 0
    total[:] = 0
    if wanted:
        start(part, gathering)
    for job in range(g.jobs * part // parts, g.jobs * (part + 1) // parts):
        at, images, rows = area(job, g, x, space[part])
        pixels = images * rows * g.ow
        first_grad = gradients(job, g, pixels, f, grad, beside[part])
        if wanted:
            gather_sums(part, first_grad, f * BYTES, pixels, 0, f, gathering)
        for first in range(0, pixels, PIECE):
            _weight_piece(
                g, at, tables.sources.ctypes.data + 8 * first, tables.taps,
                first_grad + first * f * BYTES, min(PIECE, pixels - first), f, sums, width,
            )  # fmt: skip
            pieces += 1
            spill(pieces, sums, total)
    settle(sums, total)


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
    f = grad.other.shape[3]
    groups, (kh, kw) = windows.groups, windows.kernel
    merged = groups == 1 and (windows.dilation[1] == 1 or kw == 1)
    depth = (kw if merged else 1) * x.other.shape[3] // groups
    rest = ROWS if depth % ROWS else 0
    plan = plan_of(x.other.shape, windows, (0, 0, 0), parts, rest, True, x.mode[0] != COPY)
    each = f // groups
    padded = each + -each % LANES
    rows = groups * kh * kw * (x.other.shape[3] // groups)
    with scratch() as take:
        space = take((parts, plan.floats), np.float32)
        beside = take((parts, gradient_floats(plan.geometry, grad)), np.float32)
        sums = gathered(parts, f if bias else 1, take)
        gw = take((parts, (rows + ROWS) * padded), np.float32)
        totals = totals_of(gw, pieces_of(plan.geometry, parts), take)
        run(
            _weight_share, parts, plan.geometry, pixels_of(x), pixels_of(grad), f, gw, totals,
            padded, plan.tables, space, beside, int(bias), sums,
        )  # fmt: skip
        result = np.empty((f, x.other.shape[3] // groups, kh, kw), np.float32)
        split = result.reshape(groups, each, -1, kh * kw)
        run(_collect, parts, gw.reshape(parts, rows + ROWS, padded), split)
        return result, finish_sums(sums) if bias else None
