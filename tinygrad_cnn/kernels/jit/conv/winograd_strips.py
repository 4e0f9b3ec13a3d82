"""Tiles of images on their way to Winograd's planes: strips of tiles through rows in the nearest
cache.

A strip is a row of tiles, 4 rows of outputs (or 2). The rows of pixels that its patches cover are
copied to a ring of 6 rows (4), with zeros where they lie outside of the image, and with batch
normalisation and the rectifier applied where those are lazy (`load.fill`); 2 of them serve the next
strip again.
A job is some strips: as many tiles as have their planes in a second-level cache.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from tinygrad_cnn.kernels.checks import Pair
from tinygrad_cnn.kernels.jit.compile.build import kernel
from tinygrad_cnn.kernels.jit.compile.vector import BYTES, TILE
from tinygrad_cnn.kernels.jit.conv.winograd_range import NOTES, pixel_peaks, strip_level, strip_peak
from tinygrad_cnn.kernels.jit.conv.winograd_transforms import (
    gradient_strip,
    patch_strip,
    patch_strip_2,
)
from tinygrad_cnn.kernels.jit.linear.products import clear_bytes
from tinygrad_cnn.kernels.jit.load.fill import fill_row
from tinygrad_cnn.kernels.jit.load.images import Pixels
from tinygrad_cnn.types import Array

LANES, ROWS, COLUMNS = TILE.lanes, TILE.rows, TILE.columns
JOB_BYTES = 5 << 18  # of the planes of one job
MOST_TILES = 64  # of one job, and least 3 tiles of registers
SKEW = 16  # floats between planes: distances of a power of two would share few lines of the cache
# Transformed filters and their sums are as large as all planes of few tiles, and dear to move
# between processors; then each thread rather transforms all tiles for its share of the filters.
SPLIT_TILES = 1  # up to as many for a filter


class Strips(NamedTuple):
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
    segments: int  # strips beside each other
    width: int  # tiles of a strip
    strips: int  # of a job
    tiles: int  # of a job: a multiple of ROWS
    jobs: int
    wide_c: int  # channels, padded to whole vectors
    wide_f: int
    split: int  # whether the threads share the filters, each with all tiles, and not the tiles
    framed: int  # whether there are pixels that are in the middle of no patch
    tile: int  # outputs along the side of one: 4, or 2


def padded(count: int, unit: int) -> int:
    return count + -count % unit


@lru_cache(maxsize=512)
def strips_of(
    shape: tuple[int, ...], size: Pair, f: int, origin: Pair, parts: int, tile: int = 4
) -> Strips:  # fmt: skip
    """Plan images of `shape` (n, h, w, c) and outputs of `size` and f channels."""
    n, h, w, c = shape
    down, across = -(-size[0] // tile), -(-size[1] // tile)
    wide_c, wide_f = padded(c, LANES), padded(f, LANES)
    split = parts > 1 and wide_f >= parts * COLUMNS and n * down * across <= SPLIT_TILES * f
    most = min(
        MOST_TILES, max(3 * ROWS, JOB_BYTES // ((tile + 2) ** 2 * BYTES * (wide_c + wide_f)))
    )
    segments = -(-across // most)
    width = -(-across // segments)
    total = n * down * segments
    jobs = padded(-(-total // max(1, most // width)), 1 if split else parts)
    strips = -(-total // jobs)
    top, left = origin
    covered = max(top, left) < 0 and top + tile * down >= h - 1 and left + tile * across >= w - 1
    return Strips(
        n, h, w, c, *size, f, *origin, down, across, segments, width, strips,
        padded(strips * width, ROWS), -(-total // strips), wide_c, wide_f,
        int(split), int(not covered), tile,
    )  # fmt: skip


class Work(NamedTuple):
    """Room of all threads, a row of each array for one of them."""

    ring: Array  # of pixels
    space: Array  # for the planes of a job
    notes: Array


def note_count(g: Strips) -> int:
    """Return how many words a thread notes about the strips of a job."""
    return NOTES + 2 * g.strips


def ring_floats(g: Strips) -> int:
    """Return how many floats the ring takes, for the wider one of inputs and outputs."""
    return (g.tile + 2) * (g.tile * g.width + 2) * max(g.wide_c, g.wide_f)


@kernel()
def place_of(strip: int, g: Strips) -> tuple[int, int, int, int]:
    """Return (image, tile row, first tile column, tiles) of a strip."""
    image, rest = divmod(strip, g.segments * g.down)
    segment, row = divmod(rest, g.down)
    return image, row, segment * g.width, min(g.width, g.across - segment * g.width)


@kernel()
def share_of(part: int, parts: int, g: Strips) -> tuple[int, int, int, int]:
    """Return a thread's share: (first job, last job + 1, first filter, last filter + 1)."""
    if g.split == 0:
        return g.jobs * part // parts, g.jobs * (part + 1) // parts, 0, g.f
    panels = (g.wide_f + COLUMNS - 1) // COLUMNS
    last = panels * (part + 1) // parts * COLUMNS
    return 0, g.jobs, panels * part // parts * COLUMNS, min(g.f, last)


@kernel()
def planes_of(
    job: int, g: Strips, gradient: int, low: int, high: int, x: Pixels, ring: int, planes: int,
    plane: int, notes: Array,
) -> int:  # fmt: skip
    """Transform a job's tiles of the inputs, or of the output's gradients, to planes
    (tiles, channels), 36 or 16, for channels [low, high); return how many tiles there are.

    Each strip's largest magnitude and typical sum of squares (`winograd_range`) are written to
    `notes`, from `NOTES` on.
    """
    tile = g.tile
    if gradient:
        c, wide, h, w, top, left, side = g.f, g.wide_f * BYTES, g.oh, g.ow, 0, 0, tile
    else:
        c, wide, h, w, top, left, side = g.c, g.wide_c * BYTES, g.h, g.w, g.top, g.left, tile + 2
    # low is a multiple of the vectors' lanes
    planes += low * BYTES
    pixel = (high - low + LANES - 1) // LANES * LANES * BYTES
    line = (tile * g.width + 2) * pixel
    blocks, peaks = pixel // (LANES * BYTES), notes.ctypes.data
    if pixel > (high - low) * BYTES:
        clear_bytes(ring, side * line)  # the channels that pad a pixel stay 0
    count, base = 0, 0
    last = min(g.n * g.segments * g.down, (job + 1) * g.strips)
    for strip in range(job * g.strips, last):
        image, row, column, across = place_of(strip, g)
        first = 0
        if not gradient and row > 0 and count > 0:
            first, base = 2, (base + tile) % side
        else:
            base = 0
        for i in range(first, side):
            fill_row(
                ring + (base + i) % side * line, pixel, tile * row + top + i,
                tile * column + left, tile * across + side - tile, image, h, w, c, low, high, x,
            )  # fmt: skip
        to = planes + count * wide
        if gradient:
            gradient_strip(ring, base, line, pixel, across, to, wide, plane, peaks)
        else:
            if tile == 4:
                patch_strip(ring, base, line, pixel, across, to, wide, plane, peaks)
            else:
                patch_strip_2(ring, base, line, pixel, across, to, wide, plane, peaks)
            if g.framed:
                end = tile * across + 1
                pixel_peaks(ring, line, side, blocks, peaks)
                pixel_peaks(ring + end * pixel, line, side, blocks, peaks)
                pixel_peaks(ring + base * line, pixel, end, blocks, peaks)
                pixel_peaks(ring + (base + side - 1) % side * line, pixel, end, blocks, peaks)
        place = NOTES + 2 * (strip - job * g.strips)
        notes[place] = strip_peak(notes)
        notes[place + 1] = strip_level(ring, base, side, tile, line, pixel, across, notes)
        count += across
    return count
