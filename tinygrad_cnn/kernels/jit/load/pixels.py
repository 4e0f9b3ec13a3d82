"""Pixels on their way into scratch memory: what is still to be done to them is done as they are
read.

A `Source` says where numbers lie and what they stand for, in the few ways that training needs
(`lazy.lower`). The kernels copy rows of it, with zeros around the image, to memory that
stays in the nearest caches, and compute from there.

All arguments of instructions are addresses, distances in bytes, or counts.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from tinygrad_cnn.kernels.jit.compile.build import kernel
from tinygrad_cnn.kernels.jit.compile.vector import BYTES, Emit, Emitter, Value, instruction
from tinygrad_cnn.kernels.jit.linear.products import clear_bytes, copy_bytes
from tinygrad_cnn.kernels.jit.load.launch import FLOAT32, images_like
from tinygrad_cnn.kernels.jit.load.transpose import transpose_pixels
from tinygrad_cnn.kernels.lazy import Affine, Gradient, Lazy, lower, realize
from tinygrad_cnn.kernels.reference.layout import Array

# What a source stands for, with the numbers of a channel in the rows of its table:
COPY = 0  # x
AFFINE = 1  # max(x*a + b, d); d is 0 for a rectifier, else minus infinity
GRADIENT = 2  # (x where other*e + f > 0, else 0)*a + other*b + d
PLANAR = 3  # x, which lies plane by plane in memory; its mode has what is between images and planes

TOGETHER = 4  # pixels of a round


# One of the above; kh and kw of the windows in which x is scattered, or 0; address of the index. Of
# what is planar: 0; bytes from one image to the next, and from one plane.
Mode = tuple[int, int, int, int]
Images = Array | Lazy
Compute = Callable[[Emitter, Value, Value, list[Value]], Value]


class Source(NamedTuple):
    """Images in memory and what is to be made of their numbers."""

    # (n, h, w, c), C-contiguous unless it is planar; where it is scattered, (n, h/kh, w/kw, c)
    x: Array
    other: Array  # (n, h, w, c), or x again where there is none
    table: Array  # (5, c): numbers per channel
    mode: Mode
    places: Array | None = None  # uint8 of x's shape: where in its window a number goes


class Pixels(NamedTuple):
    """A source as kernels take it: x and other as one row of floats each."""

    x: Array
    other: Array
    table: Array
    mode: Mode


def table_of(c: int, *rows: Array | float) -> Array:
    """Return a `Source`'s table (5, c) that begins with such rows."""
    table = np.empty((5, c), np.float32)
    for i, row in enumerate(rows):
        table[i] = row
    return table


@lru_cache(maxsize=64)
def _no_table(c: int) -> Array:
    return table_of(c, 1, -0.0, -np.inf)  # leaves every number as it is, -0 too


def source_of(x: Images) -> Source:
    """Return float32 x (n, c, h, w) as a source; what is not channels last is copied, and what
    cannot be computed on the way is realized.
    """
    found = lower(x)
    source = gradient_source(found) if type(found) is Gradient else None
    if source is not None:
        return source
    if type(found) is Affine:
        image, c = images_like(found.x), found.x.shape[1]
        table = table_of(c, found.scale, found.shift, 0 if found.relu else -np.inf)
        return Source(image, image, table, (AFFINE, 0, 0, 0))
    image = images_like(realize(x))
    return Source(image, image, _no_table(image.shape[3]), (COPY, 0, 0, 0))


def planar_source(x: Images) -> Source:
    """Return x as `source_of`, but an array whose planes are dense as it is, without a copy."""
    if type(x) is Lazy and x.is_realized:
        x = x.realize()
    if not isinstance(x, np.ndarray) or not x.flags.aligned:
        return source_of(x)
    image = x.transpose(0, 2, 3, 1)  # (n, h, w, c)
    h, w = x.shape[2:]
    dense = (w == 1 or x.strides[3] == BYTES) and (h == 1 or x.strides[2] == w * BYTES)
    if not dense or image.flags.c_contiguous:
        return source_of(x)
    return Source(image, image, table_of(x.shape[1]), (PLANAR, 0, x.strides[0], x.strides[1]))


def gradient_source(found: Gradient) -> Source | None:
    """Return a gradient as a source; None if its windows do not tile the image."""
    image = images_like(found.x)
    h, w, c = image.shape[1:]
    table = table_of(c, *found[2:7])
    g = found.g
    if found.places is None:
        return Source(images_like(g), image, table, (GRADIENT, 0, 0, 0))
    kh, kw = found.kernel_size
    tiled = g.shape[2:] == (h // kh, w // kw) and h % kh == 0 and w % kw == 0
    if not tiled or found.places.dtype != np.uint8 or g.dtype != FLOAT32:
        return None
    places = images_like(found.places, np.uint8)
    mode = (GRADIENT, kh, kw, places.ctypes.data)
    return Source(images_like(g), image, table, mode, places)


def some_images(source: Source, first: int, stop: int) -> Source:
    """Return images [first, stop) of a source."""
    x, other, table, mode, places = source
    if places is not None:
        places = places[first:stop]
        mode = (*mode[:3], places.ctypes.data)
    return Source(x[first:stop], other[first:stop], table, mode, places)


def pixels_of(source: Source) -> Pixels:
    """Return a source, which the caller keeps, as kernels take it."""
    if source.mode[0] == PLANAR:
        numbers = source.x[0, :, :, 0].reshape(-1)  # the first plane
        return Pixels(numbers, numbers, source.table, source.mode)
    return Pixels(source.x.reshape(-1), source.other.reshape(-1), source.table, source.mode)


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
    _: Value,
    target: Value,
    target_step: Value,
    x: Value,
    other: Value,
    step: Value,
    pixels: Value,
    channels: Value,
    table: Value,
    line: Value,
    mode: Value,
) -> Emit:
    """Write what `mode` makes of a row of pixels; the table's rows are `line` apart."""

    def emit(e: Emitter, values: list[Value]) -> None:
        target, target_step, x, other, step, pixels, channels, table, line, mode = values
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

    return emit


@instruction
def scatter_pixels(
    _: Value,
    target: Value,
    target_step: Value,
    x: Value,
    index: Value,
    other: Value,
    step: Value,
    pixels: Value,
    channels: Value,
    table: Value,
    line: Value,
    first: Value,
    kw: Value,
    tap: Value,
) -> Emit:
    """Write what `GRADIENT` makes of a row of pixels whose x is scattered in windows.

    x and `index` are those of the first pixel's window, of whose kw columns it is number `first`;
    `tap` is the place in a window of its row's first pixel.
    """

    def emit(e: Emitter, values: list[Value]) -> None:
        (target, target_step, x, index, other, step, pixels, channels, table, line, first, kw,
         tap) = values  # fmt: skip
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

    return emit


@kernel()
def fill_row(
    target: int,
    wide: int,
    y: int,
    first: int,
    pixels: int,
    image: int,
    h: int,
    w: int,
    c: int,
    low: int,
    high: int,
    source: Pixels,
) -> None:
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
