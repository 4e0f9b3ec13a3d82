"""Rows of images into scratch memory: what is still to be done to them is done as they are read.

All arguments of instructions are addresses, distances in bytes, or counts.
"""

from __future__ import annotations

from collections.abc import Callable

from tinygrad_cnn.kernels.jit.compile.build import kernel
from tinygrad_cnn.kernels.jit.compile.vector import BYTES, Emitter, Value, instruction
from tinygrad_cnn.kernels.jit.linear.products import clear_bytes, copy_bytes
from tinygrad_cnn.kernels.jit.load.images import (
    COPY,
    GRADIENT,
    PLANAR,
    PLANES,
    SCATTERED,
    Pixels,
    Planes,
)
from tinygrad_cnn.kernels.jit.load.transpose import transpose_pixels
from tinygrad_cnn.types import Array

TOGETHER = 4  # pixels of a round

Compute = Callable[[Emitter, Value, Value, list[Value]], Value]


def _affine(e: Emitter, x: Value, _: Value, rows: list[Value]) -> Value:
    value = e.fma(x, rows[0], rows[1])  # NaN stays NaN
    return e.builder.select(e.builder.fcmp_ordered("<=", value, rows[2]), rows[2], value)


def _gradient(e: Emitter, x: Value, other: Value, rows: list[Value]) -> Value:
    off = e.builder.fcmp_ordered("<=", e.fma(other, rows[3], rows[4]), e.zero)
    return e.fma(e.builder.select(off, e.zero, x), rows[0], with_other(e, other, rows))


def with_other(e: Emitter, other: Value, rows: list[Value]) -> Value:
    """Return ``other*b + d``; d where b is 0, whatever other is."""
    unused = e.builder.fcmp_ordered("==", rows[1], e.zero)
    return e.builder.select(unused, rows[2], e.fma(other, rows[1], rows[2]))


@instruction
def fill_pixels(
    e: Emitter, target: Value, target_step: Value, x: Value, other: Value, step: Value,
    pixels: Value, channels: Value, table: Value, line: Value, mode: Value,
) -> None:  # fmt: skip
    """Write what `mode` makes of a row of pixels; the table's rows are `line` apart."""
    b = e.builder

    def pixel_loop(compute: Compute, inputs: int, numbers: int) -> None:
        def block(along: Value, mask: Value) -> None:
            places = e.steps(b.add(table, along), line, numbers)
            rows = [e.load(place, mask) for place in places]

            def some(count: Value, start: list[Value], together: int) -> list[Value]:
                with e.loop(count, start) as turn:
                    to, *sources = (
                        e.steps(at, distance, together + 1)
                        for at, distance in zip(turn.values, distances, strict=True)
                    )
                    for k in range(together):
                        loaded = [e.load(found[k], mask) for found in sources]
                        value = compute(e, loaded[0], loaded[-1], rows)
                        e.store(value, to[k], mask)
                    turn.next = [found[together] for found in (to, *sources)]
                return turn.results

            distances = [target_step, step, step][: 1 + inputs]
            start = [b.add(at, along) for at in (target, x, other)[: 1 + inputs]]
            if mask is None:
                start = some(groups, start, TOGETHER)
            some(rest if mask is None else pixels, start, 1)

        e.channel_blocks(channels, block)

    groups = b.udiv(pixels, e.whole(TOGETHER))
    rest = b.sub(pixels, b.mul(groups, e.whole(TOGETHER)))
    with b.if_else(b.icmp_signed("==", mode, e.whole(GRADIENT))) as (two, one):
        with two:
            pixel_loop(_gradient, 2, 5)
        with one:
            pixel_loop(_affine, 1, 3)


@instruction
def scatter_pixels(
    e: Emitter, target: Value, target_step: Value, x: Value, index: Value, other: Value,
    step: Value, pixels: Value, channels: Value, table: Value, line: Value, first: Value, kw: Value,
    tap: Value,
) -> None:  # fmt: skip
    """Write what `GRADIENT` makes of a row of pixels whose x is scattered in windows.

    x and `index` are those of the first pixel's window, of whose kw columns it is number `first`;
    `tap` is the place in a window of its row's first pixel.
    """
    b = e.builder
    apart = b.udiv(step, e.whole(BYTES))  # bytes of the index between pixels

    def block(along: Value, mask: Value) -> None:
        rows = [e.load(place, mask) for place in e.steps(b.add(table, along), line, 5)]
        number = b.udiv(along, e.whole(BYTES))
        start = [b.add(at, along) for at in (target, x, other)]
        with e.loop(pixels, [*start, b.add(index, number), first]) as turn:
            to, at, beside, places, column = turn.values
            here = e.bytes_equal(places, b.add(tap, column), mask)
            grad = b.select(here, e.load(at, mask), e.zero)
            e.store(_gradient(e, grad, e.load(beside, mask), rows), to, mask)
            after = e.add(column, 1)
            over = b.icmp_signed("==", after, kw)
            turn.next = [
                b.add(to, target_step),
                b.select(over, b.add(at, step), at),
                b.add(beside, step),
                b.select(over, b.add(places, apart), places),
                b.select(over, e.whole(0), after),
            ]

    e.channel_blocks(channels, block)


@kernel()
def fill_row(
    target: int, wide: int, y: int, first: int, pixels: int, image: int, h: int, w: int, c: int,
    low: int, high: int, source: Pixels,
) -> None:  # fmt: skip
    """Write pixels [first, first + pixels) of row y of an image to `target`, `wide` bytes each.

    Channels [low, high) of c. Pixels outside of the image (h, w) are 0, whatever the source makes
    of 0. What follows a pixel's channels is left as it is, except beside the image, where it is 0.
    """
    x, other, table, mode = source.x, source.other, source.table, source.mode
    start, stop = max(first, 0), min(first + pixels, w)
    if y < 0 or y >= h or stop <= start:
        clear_bytes(target, pixels * wide)
        return
    if start > first:
        clear_bytes(target, (start - first) * wide)
    if first + pixels > stop:
        clear_bytes(target + (stop - first) * wide, (first + pixels - stop) * wide)
    if mode[0] == PLANAR:
        transpose_pixels(
            target + (start - first) * wide, wide, 0,
            x.ctypes.data + image * mode[2] + low * mode[3] + (y * w + start) * BYTES, mode[3],
            stop - start, stop - start, high - low,
        )  # fmt: skip
        return
    at = (((image * h + y) * w + start) * c + low) * BYTES
    if mode[1] > 0:
        kh, kw = mode[1], mode[2]
        window = ((image * (h // kh) + y // kh) * (w // kw) + start // kw) * c + low
        scatter_pixels(
            target + (start - first) * wide, wide, x.ctypes.data + window * BYTES,
            mode[3] + window, other.ctypes.data + at, c * BYTES, stop - start, high - low,
            table.ctypes.data + low * BYTES, table.shape[1] * BYTES, start % kw, kw, y % kh * kw,
        )  # fmt: skip
        return
    if mode[0] == COPY and wide == c * BYTES:
        copy_bytes(target + (start - first) * wide, x.ctypes.data + at, (stop - start) * wide)
        return
    fill_pixels(
        target + (start - first) * wide, wide, x.ctypes.data + at, other.ctypes.data + at,
        c * BYTES, stop - start, high - low, table.ctypes.data + low * BYTES,
        table.shape[1] * BYTES, mode[0],
    )  # fmt: skip


@instruction
def scatter_row(
    e: Emitter, target: Value, x: Value, index: Value, other: Value, windows: Value, table: Value,
    line: Value, tap: Value,
) -> None:  # fmt: skip
    """Write what `GRADIENT` makes of the row of pixels under a row of windows of 2 x 2.

    x, `index` are those of the first window, `other` that of the first pixel; `tap` is the place in
    a window of the row's first pixel; the numbers of the table are `line` apart.
    """
    b = e.builder
    rows = [e.spread(place) for place in e.steps(table, line, 5)]

    def block(along: Value, mask: Value) -> None:
        number = b.udiv(along, e.whole(BYTES))
        count = None if mask is None else b.sub(windows, number)
        twice = b.add(along, along)
        grads, places = e.load(b.add(x, along), mask), b.add(index, number)
        found = []
        for k, beside in enumerate(e.pairs(b.add(other, twice), count)):
            here = e.bytes_equal(places, e.add(tap, k), mask)
            off = b.fcmp_ordered("<=", e.fma(beside, rows[3], rows[4]), e.zero)
            grad = b.select(off, e.zero, b.select(here, grads, e.zero))
            found.append(e.fma(grad, rows[0], with_other(e, beside, rows)))
        e.store_pairs(found[0], found[1], b.add(target, twice), count)

    e.channel_blocks(windows, block)


@kernel()
def _fill_scattered(
    image: int, target: Array, plane: int, width: int, c: int, h: int, w: int, images: Planes
) -> None:  # fmt: skip
    x, other, places, table = images.x, images.other, images.places, images.table
    half = w // 2
    for k in range(c):
        for i in range(h):
            window = ((image * c + k) * (h // 2) + i // 2) * half
            scatter_row(
                target.ctypes.data + (k * plane + i * width) * BYTES,
                x.ctypes.data + window * BYTES, places.ctypes.data + window,
                other.ctypes.data + ((image * c + k) * h + i) * w * BYTES, half,
                table.ctypes.data + k * BYTES, c * BYTES, i % 2 * 2,
            )  # fmt: skip


@kernel()
def fill_planes(
    image: int, target: Array, plane: int, width: int, top: int, left: int, height: int,
    c: int, h: int, w: int, images: Planes, row: Array,
) -> None:  # fmt: skip
    """Write an image's planes (h, w) to `target`, `plane` floats apart, rows `width` apart.

    Row 0 and column 0 of a target are pixel (top, left), which may lie outside of the image; there
    are `height` rows, and what is not in the image is left as it is. `row` (w*c) is work space.
    Of `SCATTERED` images no pixel is outside of the target.
    """
    x, kind = images.x, images.kind
    if kind == SCATTERED:
        inside = target[-top * width - left :]
        _fill_scattered(image, inside, plane, width, c, h, w, images)
        return
    pixels = Pixels(x, images.other, images.table, images.mode)
    low, high = max(top, 0), min(top + height, h)
    start, stop = max(left, 0), min(left + width, w)
    if stop <= start:
        return
    count = stop - start
    for y in range(low, high):
        at = (y - top) * width + start - left
        if kind == PLANES:
            for k in range(c):
                first = ((image * c + k) * h + y) * w + start
                source, to = x[first : first + count], target[k * plane + at :]
                for p in range(count):
                    to[p] = source[p]
            continue
        fill_row(row.ctypes.data, c * BYTES, y, start, count, image, h, w, c, 0, c, pixels)
        for k in range(c):
            to = target[k * plane + at :]
            for p in range(count):
                to[p] = row[p * c + k]
