"""The gradient of the weights of a 3x3 convolution by minimal filtering.

The adjoint of `winograd` in the filters: patches of the input and tiles of the output's
gradient become 36 planes each, ``B' x B`` and ``A g A'``, whose products over the tiles are added
up for every pair of channels and transformed to taps at the end, ``G' m G``. So 36*c*f
multiply-adds for a tile instead of 144*c*f, as in the other direction.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from tinygrad_cnn.kernels.checks import Pair
from tinygrad_cnn.kernels.jit.compile.build import kernel
from tinygrad_cnn.kernels.jit.compile.entry import run
from tinygrad_cnn.kernels.jit.compile.vector import BYTES, TILE
from tinygrad_cnn.kernels.jit.conv.winograd_range import are_apart, sum_up
from tinygrad_cnn.kernels.jit.conv.winograd_strips import (
    SKEW,
    Strips,
    Work,
    note_count,
    padded,
    planes_of,
    ring_floats,
    share_of,
    strips_of,
)
from tinygrad_cnn.kernels.jit.conv.winograd_transforms import weight_transform
from tinygrad_cnn.kernels.jit.linear.products import plane_sum
from tinygrad_cnn.kernels.jit.load.images import Pixels, Source
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
from tinygrad_cnn.kernels.tape import looked
from tinygrad_cnn.types import Array

LANES, ROWS, COLUMNS = TILE.lanes, TILE.rows, TILE.columns


BIAS_PLANE = 7  # frequency (1, 1): the sum of a tile
APART, LOST = 1, 2  # found out about the numbers


@kernel()
def weight_job(
    part: int, job: int, low: int, high: int, g: Strips, x: Pixels, grad: Pixels, sums: Array,
    work: Work, numbers: Array, whole: Array, wanted: int, gathering: Gathered,
) -> None:  # fmt: skip
    """Add one job to a share's sums of products (36 planes) for filters [low, high), and to those
    of the gradients.
    """
    plane_v, plane_d = g.tiles * g.wide_c + SKEW, g.tiles * g.wide_f + SKEW
    plane = sums.size // 36
    ring, v, notes = work.ring[part].ctypes.data, work.space[part].ctypes.data, work.notes[part]
    d = v + 36 * plane_v * BYTES
    strips = min(g.strips, g.n * g.segments * g.down - job * g.strips)
    count = planes_of(job, g, 0, 0, g.c, x, ring, v, plane_v * BYTES, notes)
    sum_up(notes, numbers[part], strips, whole[0, part])
    planes_of(job, g, 1, low, high, grad, ring, d, plane_d * BYTES, notes)
    sum_up(notes, numbers[part], strips, whole[1, part])
    if wanted:
        tile_sums = d + (BIAS_PLANE * plane_d + low) * BYTES
        gather_sums(part, tile_sums, g.wide_f * BYTES, count, low, high, gathering)
    for e in range(36):
        for column in range(low, high, COLUMNS):
            b = d + (e * plane_d + column) * BYTES
            for c in range(0, g.c, ROWS):
                a = v + (e * plane_v + c) * BYTES
                to = sums.ctypes.data + (e * plane + c * g.wide_f + column) * BYTES
                plane_sum(
                    a, BYTES, g.wide_c * BYTES, b, g.wide_f * BYTES,
                    to, g.wide_f * BYTES, count, g.wide_f - column,
                )  # fmt: skip


@kernel(entry=True)
def _weight_share(
    part: int, parts: int, g: Strips, x: Pixels, grad: Pixels, du: Array, work: Work,
    numbers: Array, whole: Array, wanted: int, gathering: Gathered,
) -> None:  # fmt: skip
    first, end, low, high = share_of(part, parts, g)
    sums = du[part] if g.split == 0 else du[0]
    last = min(g.wide_f, (high + COLUMNS - 1) // COLUMNS * COLUMNS)
    plane = sums.size // 36
    for e in range(36):
        for c in range(0, plane - SKEW, g.wide_f):
            sums[e * plane + c + low : e * plane + c + last] = 0
    whole[:, part] = 0
    if wanted:
        start(part, gathering)
    for job in range(first, end):
        weight_job(
            part, job, low, high, g, x, grad, sums, work, numbers, whole, wanted, gathering
        )  # fmt: skip


@kernel()
def _taps_row(c: int, low: int, high: int, g: Strips, du: Array, taps: Array, gw: Array) -> None:
    """Add the threads' sums for input channel c and filters [low, high); make them taps."""
    plane = du.shape[1] // 36
    for e in range(36):
        at = e * plane + c * g.wide_f
        for other in range(1, du.shape[0]):
            for o in range(low, high):
                du[0, at + o] += du[other, at + o]
    weight_transform(
        du.ctypes.data + (c * g.wide_f + low) * BYTES, plane * BYTES,
        taps.ctypes.data + low * BYTES, g.wide_f * BYTES, (high - low + LANES - 1) // LANES,
    )  # fmt: skip
    transpose_pixels(
        gw.ctypes.data + (low * g.c + c) * 9 * BYTES, g.c * 9 * BYTES, 0,
        taps.ctypes.data + low * BYTES, g.wide_f * BYTES, high - low, high - low, 9,
    )  # fmt: skip


@kernel(entry=True)
def _taps_share(
    part: int, parts: int, g: Strips, du: Array, taps: Array, gw: Array, whole: Array, found: Array
) -> None:
    """Write the share's filters, and to found (parts,) 0; `APART` if the batch does not suit the
    transforms, `LOST` if a filter or a channel may be (`conv`).
    """
    found[part] = 0
    if are_apart(whole[0]) or are_apart(whole[1]):
        found[part] = APART
        return
    _, _, low, high = share_of(part, parts, g)
    first, last = g.c * part // parts, g.c * (part + 1) // parts
    if g.split:
        first, last = 0, g.c
    for c in range(first, last):
        _taps_row(c, low, high, g, du, taps[part], gw)
    total = np.float32(0)
    if low == 0:  # the first filter
        for i in range(first * 9, last * 9):
            total += gw[i] - gw[i]
    if first == 0 < last:  # the first tap of each
        for o in range(low, high):
            at = o * g.c * 9
            total += gw[at] - gw[at]
    if total != 0:
        found[part] = LOST


def plane_floats(g: Strips) -> int:
    """Return how many floats the planes of a job take."""
    return 36 * (g.tiles * (g.wide_c + g.wide_f) + 2 * SKEW) + ROWS


def sum_floats(g: Strips) -> int:
    """Return how many floats the sums of a share take."""
    return 36 * (padded(g.c, ROWS) * g.wide_f + SKEW)


class _Lent(NamedTuple):
    """The work space of a call."""

    work: Work
    numbers: Array  # `work.notes` as numbers
    du: Array
    whole: Array
    taps: Array
    found: Array
    sums: Gathered


@lru_cache(maxsize=512)
def _room(g: Strips, parts: int, bias: bool) -> Room:
    def make(take: Take) -> _Lent:
        ring = take((parts, ring_floats(g)), np.float32)
        space = take((parts, plane_floats(g)), np.float32)
        notes = take((parts, note_count(g)), np.int32)
        return _Lent(
            Work(ring, space, notes),
            notes.view(np.float32),
            take((1 if g.split else parts, sum_floats(g)), np.float32),
            take((2, parts, 3), np.float64),
            take((parts, 9 * g.wide_f), np.float32),
            take((parts,), np.int32),
            gathered(parts, g.f, take) if bias else NO_SUMS,
        )

    return Room(make)


def correlate_winograd_weight(
    x: Source, grad: Source, origin: Pair, parts: int, *, bias: bool = False
) -> tuple[Array, Array | None, bool] | None:
    """Return the adjoint of `correlate_winograd` in w (f, c, 3, 3), in the bias (f,) or None, and
    whether a filter or a channel may be lost (`conv`).

    For grad (n, oh, ow, f). Each thread has its own sums of 36*c*f numbers. Returns None if the
    numbers do not suit the transforms.
    """
    _, oh, ow, f = grad.other.shape
    g = strips_of(x.other.shape, (oh, ow), f, origin, parts)
    with workspace(_room(g, parts, bias)) as lent:
        work, numbers, du, whole, taps, found, sums = lent
        run(
            _weight_share, parts, g, x.pixels, grad.pixels, du, work, numbers, whole,
            int(bias), sums,
        )  # fmt: skip
        gw = np.empty((g.f, g.c, 3, 3), np.float32)
        run(_taps_share, parts, g, du, taps, gw.reshape(-1), whole, found)
        notes = looked(found).tolist()
        if APART in notes:
            return None
        return gw, finish_sums(sums) if bias else None, LOST in notes
