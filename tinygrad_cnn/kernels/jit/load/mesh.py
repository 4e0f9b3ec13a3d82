"""The values where places on each of the last axes cross: borders and nearest pixels.

Each row of the result is written at once, so that any number of threads gives the same bits.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeAlias

import numpy as np

from tinygrad_cnn.kernels.jit.compile.build import kernel
from tinygrad_cnn.kernels.jit.compile.entry import run
from tinygrad_cnn.kernels.jit.compile.vector import BYTES, Emitter, Value, instruction
from tinygrad_cnn.kernels.jit.linear.products import clear_bytes
from tinygrad_cnn.kernels.jit.load.images import FLOAT32, images, nchw
from tinygrad_cnn.kernels.memory import empty, scratch
from tinygrad_cnn.kernels.reference.resample import LONG
from tinygrad_cnn.kernels.tape import looked
from tinygrad_cnn.kernels.threads import shares
from tinygrad_cnn.types import Array

AXES = 3
TOGETHER = 4  # numbers of a round
Sizes: TypeAlias = tuple[int, int, int, int]


@instruction
def pick_numbers(e: Emitter, target: Value, source: Value, places: Value, count: Value) -> None:
    """Write to consecutive numbers those at `places`, integers counted from `source` on.

    One by one: processors whose microcode guards against Gather Data Sampling need longer for a
    gathered vector.
    """
    b = e.builder

    def some(rounds: Value, start: list[Value], together: int) -> list[Value]:
        with e.loop(rounds, start) as turn:
            to, listed = turn.values
            for k in range(together):
                at = b.add(source, b.shl(e.table(listed, k), e.whole(2)))
                e.copy(e.add(to, k * BYTES), at, e.whole(BYTES))
            turn.next = [e.add(to, together * BYTES), e.add(listed, together * 8)]
        return turn.results

    groups = b.udiv(count, e.whole(TOGETHER))
    after = some(groups, [target, places], TOGETHER)
    some(b.sub(count, b.mul(groups, e.whole(TOGETHER))), after, 1)


@instruction
def copy_numbers(e: Emitter, target: Value, source: Value, count: Value) -> None:
    """Copy numbers without a call: rows are short."""
    e.channel_blocks(
        count,
        lambda along, mask: e.store(e.load(e.add(source, along), mask), e.add(target, along), mask),
    )


@kernel(entry=True)
def _take(
    part: int, parts: int, x: Array, size: Sizes, frames: Array, rows: Array, columns: Array,
    low: int, high: int, out: Array, shape: Sizes,
) -> None:  # fmt: skip
    """Write out of `shape` (lead, d, h, w) of x of `size`.

    Columns [low, high) are consecutive places.

    Costs one write, and a read of each row that is not the one before again.
    """
    _, depth, height, width = size
    lead, d, h, w = shape
    first = columns[low]
    start, stop = lead * d * h * part // parts, lead * d * h * (part + 1) // parts
    frame, i = divmod(start, h)
    block, f = divmod(frame, d)
    for line in range(start, stop):
        to = out.ctypes.data + line * w * BYTES
        if i > 0 and line > start and rows[i] == rows[i - 1]:
            copy_numbers(to, to - w * BYTES, w)
        else:
            begin = ((block * depth + frames[f]) * height + rows[i]) * width
            source = x.ctypes.data + begin * BYTES
            pick_numbers(to, source, columns.ctypes.data, low)
            copy_numbers(to + low * BYTES, source + first * BYTES, high - low)
            pick_numbers(to + high * BYTES, source, columns.ctypes.data + high * 8, w - high)
        i += 1
        if i == h:
            i, f = 0, f + 1
            if f == d:
                f, block = 0, block + 1


@kernel(entry=True)
def _add(
    part: int, parts: int, g: Array, size: Sizes, frames: Array, frame_starts: Array, rows: Array,
    row_starts: Array, columns: Array, low: int, high: int, paired: bool,
    space: Array, out: Array, shape: Sizes,
) -> None:  # fmt: skip
    """Write out of `shape` (lead, d, h, w) for g of `size`.

    Frame f has the sum of frames[frame_starts[f] : frame_starts[f + 1]] of g, and so on for rows;
    columns [low, high) are consecutive places, or all are `paired`: 0, 0, 1, 1, ... `space` is
    (parts, columns of g).

    Costs one read and one write.
    """
    _, depth, height, width = size
    lead, d, h, w = shape
    total, first = space[part], np.int64(columns[low])
    last = first + high - low
    start, stop = lead * d * h * part // parts, lead * d * h * (part + 1) // parts
    frame, i = divmod(start, h)
    block, f = divmod(frame, d)
    for line in range(start, stop):
        to, source = out.ctypes.data + line * w * BYTES, total
        count = 0
        for a in range(frame_starts[f], frame_starts[f + 1]):
            for b in range(row_starts[i], row_starts[i + 1]):
                begin = ((block * depth + frames[a]) * height + rows[b]) * width
                one = g[begin : begin + width]
                if count == 0:
                    source = one
                elif count == 1:
                    for j in range(width):
                        total[j] = source[j] + one[j]
                    source = total
                else:
                    for j in range(width):
                        total[j] += one[j]
                count += 1
        if count == 0:
            clear_bytes(to, w * BYTES)
        elif paired:
            target = out[line * w : (line + 1) * w]
            for j in range(w):
                target[j] = source[2 * j] + source[2 * j + 1]
        else:
            clear_bytes(to, first * BYTES)
            copy_numbers(to + first * BYTES, source.ctypes.data + low * BYTES, last - first)
            clear_bytes(to + last * BYTES, (w - last) * BYTES)
            target = out[line * w : (line + 1) * w]
            for j in range(low):
                target[columns[j]] += source[j]
            for j in range(high, width):
                target[columns[j]] += source[j]
        i += 1
        if i == h:
            i, f = 0, f + 1
            if f == d:
                f, block = 0, block + 1


def _consecutive(places: Array) -> tuple[int, int]:
    """Return from where to where the longest run of consecutive places is, at least one."""
    breaks = np.flatnonzero(np.diff(places) != 1) + 1
    edges = np.concatenate(([0], breaks, [len(places)]))
    longest = int(np.argmax(np.diff(edges)))
    return int(edges[longest]), int(edges[longest + 1])


def _readers(places: Array, size: int) -> tuple[Array, Array] | None:
    """Return who reads each of `size` places, in order, and where each one's readers begin; None if
    there are more than `LONG` of one place.
    """
    counts = np.bincount(places, minlength=size)
    if counts.max() > LONG:
        return None
    return np.argsort(places, kind="stable"), np.concatenate(([0], np.cumsum(counts)))


def _three(places: Sequence[Array]) -> list[Array]:
    """Return the places on three axes, as kernels take them."""
    given = [np.ascontiguousarray(looked(p), np.int64) for p in places]
    return [np.zeros(1, np.int64)] * (AXES - len(given)) + given


def _fits(x: Array, places: Sequence[Array]) -> bool:
    return x.dtype == FLOAT32 and x.size > 0 and len(places) <= AXES and min(map(len, places)) > 0


def _shape(shape: Sequence[int], count: int) -> Sizes:
    """Return the sizes (lead, d, h, w) of an array of which the last `count` axes have places."""
    d, h, w = (1,) * (AXES - count) + tuple(shape[len(shape) - count :])
    return math.prod(shape[: len(shape) - count]), d, h, w


def _pixels(x: Array, count: int) -> Array | None:
    """Return x (n, c, h, w) as (n, h, w, c) if it lies so; channels are then an axis as any."""
    return None if x.flags.c_contiguous or count != 2 else images(x)


def take_mesh(x: Array, places: Sequence[Array]) -> Array | None:
    """As `reference.take_mesh`, on at most `AXES` axes; an x that is not dense is copied."""
    if not _fits(x, places):
        return None
    image = _pixels(x, len(places))
    if image is not None:
        x, places = image, (*places, np.arange(image.shape[3]))
    shape = (*x.shape[: x.ndim - len(places)], *map(len, places))
    frames, rows, columns = _three(places)
    whole, size = _shape(shape, len(places)), _shape(x.shape, len(places))
    out = empty((math.prod(whole),), FLOAT32)
    run(
        _take, shares(x.nbytes + out.nbytes), np.ascontiguousarray(x).reshape(-1), size, frames,
        rows, columns, *_consecutive(columns), out, whole,
    )  # fmt: skip
    found = out.reshape(shape)
    return found if image is None else nchw(found)


def add_mesh(g: Array, places: Sequence[Array], size: Sequence[int]) -> Array | None:
    """As `reference.add_mesh`, where no place occurs often; a g that is not dense is copied."""
    if not _fits(g, places) or not math.prod(size):
        return None
    image = _pixels(g, len(places))
    if image is not None:
        g, size, places = image, (*size, image.shape[3]), (*places, np.arange(image.shape[3]))
    shape = (*g.shape[: g.ndim - len(places)], *size)
    frames, rows, columns = _three(places)
    whole = _shape(shape, len(places))
    found = [_readers(p, n) for p, n in zip((frames, rows), whole[1:], strict=False)]
    if found[0] is None or found[1] is None or np.bincount(columns).max() > LONG:
        return None
    paired = np.array_equal(columns, np.arange(2 * whole[3]) // 2)
    out = empty((math.prod(whole),), FLOAT32)
    parts = shares(g.nbytes + out.nbytes)
    with scratch() as take:
        run(
            _add, parts, np.ascontiguousarray(g).reshape(-1), _shape(g.shape, len(places)),
            *found[0], *found[1], columns.astype(np.uint64), *_consecutive(columns), paired,
            take((parts, len(columns)), FLOAT32), out, whole,
        )  # fmt: skip
    result = out.reshape(shape)
    return result if image is None else nchw(result)
