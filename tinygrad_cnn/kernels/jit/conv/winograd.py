"""3x3 convolution with stride 1 by minimal filtering: 36 products for 16 outputs instead of 144.

Winograd's F(4x4, 3x3) after Lavin and Gray 2016, "Fast algorithms for convolutional neural
networks", sections 4.2 and 5. A job is a number of tiles (4x4 outputs each) in strips
(`winograd_strips`): their patches are transformed to 36 planes (tiles, c), 36 matrix products with
the transformed filters give 36 planes (tiles, f), and these become outputs, whose means and
variances are gathered while they are there. All of it stays in the thread's second-level cache;
main memory sees inputs and outputs once. Images are channels last and of any size.

Per tile, 2*36*c*f floating-point operations in products instead of 2*144*c*f, and some 13 c + 9 f
vector operations times 16 in transforms: worth it from about 16 channels on both sides. The
transforms add and subtract large numbers, so that the error is some ten times that of a direct
convolution.

F(2x2, 3x3) is the same with tiles of 2x2 outputs and 16 planes: 16 products for 4 outputs instead
of 36. Its transformed filters are less than half as large, and reading them is most of the work for
few tiles.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from tinygrad_cnn.kernels.checks import Pair
from tinygrad_cnn.kernels.jit.compile.build import kernel
from tinygrad_cnn.kernels.jit.compile.entry import run
from tinygrad_cnn.kernels.jit.compile.vector import BYTES, TILE
from tinygrad_cnn.kernels.jit.conv.filter_cache import forget, kept
from tinygrad_cnn.kernels.jit.conv.finite import excess
from tinygrad_cnn.kernels.jit.conv.winograd_range import NOTES, is_wide_strip, note_filters, suits
from tinygrad_cnn.kernels.jit.conv.winograd_strips import (
    SKEW,
    Strips,
    Work,
    note_count,
    place_of,
    planes_of,
    ring_floats,
    share_of,
    strips_of,
)
from tinygrad_cnn.kernels.jit.conv.winograd_transforms import (
    filter_transform,
    filter_transform_2,
    output_transform,
    output_transform_2,
)
from tinygrad_cnn.kernels.jit.linear.products import plane_product
from tinygrad_cnn.kernels.jit.load.images import Pixels, Source, first_of
from tinygrad_cnn.kernels.jit.load.rows import constant, padded_row
from tinygrad_cnn.kernels.jit.load.transpose import transpose_pixels
from tinygrad_cnn.kernels.jit.norm.moments import (
    NO_SUMS,
    Gathered,
    finish,
    flush,
    gather,
    gathered,
    gradient_sums,
    start,
)
from tinygrad_cnn.kernels.jit.pointwise.epilogue import NONE, Epilogue, conclude
from tinygrad_cnn.kernels.memory import Room, Take, scratch, workspace
from tinygrad_cnn.kernels.tape import looked, taping
from tinygrad_cnn.types import Array

LANES, ROWS, COLUMNS = TILE.lanes, TILE.rows, TILE.columns
MOMENTS, MASKED_SUMS = 1, 2  # what is gathered of the outputs
SOME, ALL = 1, 2  # of the images are to be computed directly
LOST = 4  # among the first outputs is an infinity or a NaN
FILTER_BLOCK = 8  # input channels whose filters are transformed together


@kernel()
def _filters_block(
    d: int, count: int, low: int, high: int, g: Strips, w: Array, turned: int, planes: Array,
    taps: Array,
) -> None:  # fmt: skip
    """Transform filters [low, high) of input channels [d, d + count), and lay them into panels.

    `FILTER_BLOCK` channels at a time, as in PyTorch's order their taps lie together.
    """
    wide, plane = g.wide_f, g.c * g.wide_f + SKEW
    line, numbers = wide * BYTES, w.ctypes.data
    if turned:  # each channel's taps by themselves, the last one first
        for i in range(count):
            transpose_pixels(
                taps.ctypes.data + (i * 9 + 8) * line + low * BYTES, -line, 0,
                numbers + ((d + i) * g.f + low) * 9 * BYTES, 9 * BYTES, 9, 9, high - low,
            )  # fmt: skip
    else:
        transpose_pixels(
            taps.ctypes.data + low * BYTES, line, 0, numbers + (low * g.c + d) * 9 * BYTES,
            9 * g.c * BYTES, 9 * count, 9 * count, high - low,
        )  # fmt: skip
    last = min(wide, (high + COLUMNS - 1) // COLUMNS * COLUMNS)
    for i in range(count):
        for k in range(9):
            for lane in range(high, last):
                taps[(i * 9 + k) * wide + lane] = 0
        for first in range(low, last, COLUMNS):
            width = min(COLUMNS, wide - first)
            to = first * g.c + (d + i) * width
            source = taps.ctypes.data + (i * 9 * wide + first) * BYTES
            target, vectors = planes.ctypes.data + to * BYTES, width // LANES
            if g.tile == 4:
                filter_transform(source, wide * BYTES, target, plane * BYTES, vectors)
            else:
                filter_transform_2(source, wide * BYTES, target, plane * BYTES, vectors)


@kernel(entry=True)
def _filters_share(
    part: int, parts: int, g: Strips, w: Array, turned: int, planes: Array, taps: Array,
    notes: Array, noted: Array,
) -> None:  # fmt: skip
    count, size = (g.c, g.f * 9) if turned else (g.f, g.c * 9)  # as they lie in memory
    noted[part] = note_filters(
        w, size, count * part // parts, count * (part + 1) // parts, notes[part]
    )
    _, _, low, high = share_of(part, parts, g)
    first, last = g.c * part // parts, g.c * (part + 1) // parts
    if g.split:
        first, last = 0, g.c
    for d in range(first, last, FILTER_BLOCK):
        count = min(FILTER_BLOCK, last - d)
        _filters_block(d, count, low, high, g, w, turned, planes, taps[part])


class Wanted(NamedTuple):
    """What is gathered of the outputs: nothing, `MOMENTS` or `MASKED_SUMS`, of what lies beside."""

    what: int
    beside: Array
    numbers: Array  # (5, f), of which the last two rows are scale and shift
    centre: Array  # (f,)
    sums: Gathered


@kernel()
def input_job(
    part: int, job: int, low: int, high: int, g: Strips, x: Pixels, u: Array, bias: Array,
    out: Array, strides: tuple[int, ...], work: Work, wide: Array, wanted: Wanted,
    epilogue: Epilogue,
) -> None:  # fmt: skip
    """Compute filters [low, high) of the outputs of one job; wide (n + 1,) is the share's."""
    v, notes, sums = work.space[part].ctypes.data, work.notes[part], wanted.sums
    plane_v, plane_m = g.tiles * g.wide_c + SKEW, g.tiles * g.wide_f + SKEW
    plane_u = g.c * g.wide_f + SKEW
    tile = g.tile
    frequencies = (tile + 2) * (tile + 2)
    m = v + frequencies * plane_v * BYTES
    ring = work.ring[part].ctypes.data
    count = planes_of(job, g, 0, 0, g.c, x, ring, v, plane_v * BYTES, notes)
    for e in range(frequencies):
        for column in range(low, high, COLUMNS):
            width = min(COLUMNS, g.wide_f - column)
            panel = u.ctypes.data + (e * plane_u + column * g.c) * BYTES
            ahead = (plane_u - (column - low) * g.c) * BYTES  # to what is needed next
            if column + COLUMNS < high:
                ahead = COLUMNS * g.c * BYTES
            for t in range(0, count, ROWS):
                a = v + (e * plane_v + t * g.wide_c) * BYTES
                to = m + (e * plane_m + t * g.wide_f + column) * BYTES
                plane_product(
                    a, g.wide_c * BYTES, BYTES, panel, width * BYTES,
                    to, g.wide_f * BYTES, g.c, width, ahead,
                )  # fmt: skip
    last = min(g.n * g.segments * g.down, (job + 1) * g.strips)
    t = 0
    for strip in range(job * g.strips, last):
        image, row, first, across = place_of(strip, g)
        note = NOTES + 2 * (strip - job * g.strips)
        if is_wide_strip(notes[note], notes[note + 1]):
            wide[image] = wide[g.n] = SOME
        row, first = tile * row, tile * first
        at = out.ctypes.data + image * strides[0] + row * strides[1] + first * strides[2]
        at += low * BYTES
        for k in range(across):
            source, to = m + (t * g.wide_f + low) * BYTES, at + tile * k * strides[2]
            if tile == 4:
                output_transform(
                    source, plane_m * BYTES, bias.ctypes.data + low * BYTES, to, strides[1],
                    strides[2], g.oh - row, g.ow - first - 4 * k, high - low,
                )  # fmt: skip
            else:
                output_transform_2(
                    source, plane_m * BYTES, bias.ctypes.data + low * BYTES, to, strides[1],
                    strides[2], g.oh - row, g.ow - first - 2 * k, high - low,
                )  # fmt: skip
            t += 1
        if epilogue.wanted:  # the outputs are dense
            for i in range(min(tile, g.oh - row)):
                pixels = min(tile * across, g.ow - first)
                conclude(epilogue, out, at + i * strides[1], pixels, low, high)
        if wanted.what == MASKED_SUMS:
            line, numbers = g.f * BYTES, wanted.numbers
            for i in range(min(tile, g.oh - row)):
                pixel = ((image * g.oh + row + i) * g.ow + first) * line + low * BYTES
                gradient_sums(
                    out.ctypes.data + pixel, wanted.beside.ctypes.data + pixel, line,
                    min(tile * across, g.ow - first), high - low, numbers.ctypes.data + low * BYTES,
                    line, wanted.centre.ctypes.data + low * BYTES,
                    sums.single[part, 1].ctypes.data + low * BYTES, line,
                )  # fmt: skip
        if wanted.what == MOMENTS:
            for i in range(min(tile, g.oh - row)):
                gather(
                    part, at + i * strides[1], strides[2], min(tile * across, g.ow - first),
                    low, high, sums,
                )  # fmt: skip
    if wanted.what:
        flush(part, sums)


@kernel(entry=True)
def _product_share(
    part: int, parts: int, g: Strips, x: Pixels, u: Array, suitable: Array, bias: Array, out: Array,
    strides: tuple[int, ...], work: Work, wide: Array, wanted: Wanted, epilogue: Epilogue,
) -> None:  # fmt: skip
    own = wide[part]
    own[:] = 0
    if not suits(suitable):
        own[g.n] = ALL
        return
    if wanted.what:
        start(part, wanted.sums)
    first, last, low, high = share_of(part, parts, g)
    for job in range(first, last):
        input_job(part, job, low, high, g, x, u, bias, out, strides, work, own, wanted, epilogue)
    if first == 0 < last:
        found = work.notes[part]
        excess(out.ctypes.data + low * BYTES, high - low, found.ctypes.data)
        if found[0] != 0:
            own[g.n] |= LOST


def _frequencies(g: Strips) -> int:
    return (g.tile + 2) ** 2


def _plane_floats(g: Strips) -> int:
    return _frequencies(g) * (g.c * g.wide_f + SKEW)


class Filters(NamedTuple):
    """Transformed filters, and the work space to make them."""

    planes: Array
    noted: Array  # what `note_filters` says of each share
    taps: Array
    notes: Array


def _transform(w: Array, turned: bool, g: Strips, to: Filters) -> None:
    """Transform filters w (f, c, 3, 3), or turned ones (c, f, 3, 3)."""
    run(
        _filters_share, len(to.noted), g, w.reshape(-1), int(turned), to.planes, to.taps, to.notes,
        to.noted,
    )  # fmt: skip


def _room_for_filters(g: Strips, parts: int, planes: Array, take: Take) -> Filters:
    return Filters(
        planes[: _plane_floats(g)],
        planes[_plane_floats(g) :],
        take((parts, FILTER_BLOCK * 9 * g.wide_f), np.float32),
        take((parts, note_count(g)), np.int32),
    )


def _kept_filters(w: Array, turned: bool, g: Strips, parts: int) -> tuple[Array, Array] | None:
    """Return planes and notes of filters from an earlier call (`filter_cache`)."""

    def make(numbers: Array, planes: Array) -> None:
        with scratch() as take:
            _transform(numbers, turned, g, _room_for_filters(g, parts, planes, take))

    count = _plane_floats(g)
    planes = kept(w, (g.c, g.f, g.tile, int(turned), parts), count + parts, make)
    return None if planes is None else (planes[:count], planes[count:])


class Lent(NamedTuple):
    """The work space of a call."""

    work: Work
    filters: Filters | None
    wide: Array
    wanted: Wanted  # of a call without mask


@lru_cache(maxsize=512)
def _room(g: Strips, parts: int, gathering: int, transforms: bool) -> Room:
    """Return the work space for a convolution, which transforms filters or has them."""
    zeros = constant(0, g.wide_f)

    def make(take: Take) -> Lent:
        filters, notes = None, None
        if transforms:
            planes = take((_plane_floats(g) + parts,), np.float32)
            filters = _room_for_filters(g, parts, planes, take)
            notes = filters.notes
        ring = take((parts, ring_floats(g)), np.float32)
        floats = _frequencies(g) * (g.tiles * (g.wide_c + g.wide_f) + 2 * SKEW)
        space = take((parts, floats), np.float32)
        if notes is None:
            notes = take((parts, note_count(g)), np.int32)
        sums = gathered(parts, g.f, take) if gathering else NO_SUMS
        wanted = Wanted(gathering, zeros, zeros.reshape(1, -1), zeros, sums)
        return Lent(Work(ring, space, notes), filters, take((parts, g.n + 1), np.uint8), wanted)

    return Room(make)


def correlate_winograd(
    x: Source,
    w: Array,
    bias: Array | None,
    out: Array,
    origin: Pair,
    parts: int,
    tile: int = 4,
    *,
    turned: bool = False,
    moments: bool = False,
    mask: Source | None = None,
    keep: bool = False,
) -> tuple[tuple[Array, ...] | None, Array | None, bool]:
    """Write the 3x3 correlation of x (n, h, w, c) with w (f, c, 3, 3) to out (n, oh, ow, f).

    If `turned`, w is (c, f, 3, 3) and is rotated by half a turn: the adjoint in the input. w is
    C-contiguous; out may have any strides, its filters lying together. If `keep`, the transformed
    filters are kept for the next call with the same array w. A tile has `tile` x `tile` outputs, 4
    or 2 along a side.

    Returns
    -------
    sums: the outputs' mean and variance (f,) if `moments`. For C-contiguous out and a `mask`, the
        input of a ReLU: the shares' sums of out where that is positive, and of its products with
        ``mask.x - centre``, float64 (parts, 2, f), and the centre (f,). Else None.
    wide: a mask (n,) of the images that the caller has to compute directly, after which the sums
        are none; or None.
    lost: whether a filter may be (`conv`).
    """
    n, f = out.shape[0], out.shape[3]
    g = strips_of(x.other.shape, (out.shape[1], out.shape[2]), f, origin, parts, tile)
    filters = None
    if keep and not taping:
        filters = _kept_filters(w, turned, g, parts)
    elif not turned:
        forget(w)
    gathering = MOMENTS if moments else 0 if mask is None else MASKED_SUMS
    with workspace(_room(g, parts, gathering, filters is None)) as lent:
        if filters is None:
            _transform(w, turned, g, lent.filters)
            filters = lent.filters[:2]
        wanted, wide = lent.wanted, lent.wide
        shift = padded_row(bias, 1, g.wide_f)[0]
        if mask is not None:
            _, single, counts = wanted.sums
            sums = Gathered(np.empty((parts, 2, f)), single, counts)
            wanted = Wanted(gathering, mask.pixels.x, mask.table, mask.x[0, 0, 0], sums)
        run(
            _product_share, parts, g, x.pixels, *filters, shift, first_of(out),
            out.strides[:3], lent.work, wide, wanted, NONE,
        )  # fmt: skip
        looked(wide)
        if any(wide[:, n].tolist()):
            most = wide.max(0)
            again = (most[:n] != 0) | (most[n] & ALL != 0)
            return None, again if again.any() else None, True
        if mask is not None:
            return (wanted.sums.exact, wanted.centre), None, False
        return (finish(wanted.sums) if moments else None), None, False
