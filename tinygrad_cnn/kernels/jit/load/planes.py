"""Images with few channels, plane by plane, on their way into scratch memory.

With fewer channels than a vector has lanes, vectors along the channels are mostly empty. Vectors
along the pixels of a plane are full whatever the channels; results with few channels are therefore
(n, c, h, w) in memory, and what reads them takes them so (`conv_planes`, `norm_planes`).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from tinygrad_cnn.kernels.jit.compile.build import kernel
from tinygrad_cnn.kernels.jit.compile.vector import BYTES, Emit, Emitter, Value, instruction
from tinygrad_cnn.kernels.jit.load.launch import FLOAT32
from tinygrad_cnn.kernels.jit.load.pixels import (
    Mode,
    Pixels,
    fill_row,
    pixels_of,
    source_of,
    table_of,
    with_other,
)
from tinygrad_cnn.kernels.lazy import Gradient, Lazy, lower
from tinygrad_cnn.kernels.reference.layout import Array

# How the numbers lie:
PLANES = 0  # x (n, c, h, w), as they are
SCATTERED = 1  # `pixels.GRADIENT` of x (n, c, h/2, w/2), `other` (n, c, h, w), index like x
PIXELS = 2  # channels last, a `Source`

_NO_PLACES = np.zeros(1, np.uint8)
_NO_TABLE = np.zeros((5, 1), np.float32)


class Planes(NamedTuple):
    """Images as kernels take them: rows of numbers, and what they stand for."""

    x: Array
    other: Array
    places: Array
    table: Array  # (5, c)
    mode: Mode  # may point to the places
    kind: int


def are_planes(x: Array, dtype: object = FLOAT32) -> bool:
    """Return whether x (n, c, h, w) lies plane by plane in memory."""
    flags = x.flags
    return x.dtype == dtype and flags.c_contiguous and flags.aligned


def scattered_planes(x: Gradient) -> Planes | None:
    """Return the gradient behind pooling of 2 x 2 pixels, if all of it lies plane by plane."""
    g, index = x.g, x.places
    if index is None or x.kernel_size != (2, 2):
        return None
    h, w = x.x.shape[2:]
    fits = g.shape[2:] == (h // 2, w // 2) and h % 2 == w % 2 == 0 and are_planes(index, np.uint8)
    if not fits or not are_planes(g) or not are_planes(x.x):
        return None
    return Planes(
        g.reshape(-1), x.x.reshape(-1), index.reshape(-1), table_of(x.x.shape[1], *x[2:7]),
        (0, 0, 0, 0), SCATTERED,
    )  # fmt: skip


def planes_of(x: Array | Lazy) -> Planes:
    """Return float32 x (n, c, h, w) for kernels; what cannot be computed on the way is realized."""
    found = lower(x)
    if isinstance(found, np.ndarray) and are_planes(found):
        numbers = found.reshape(-1)
        return Planes(numbers, numbers, _NO_PLACES, _NO_TABLE, (0, 0, 0, 0), PLANES)
    if type(found) is Gradient:
        planes = scattered_planes(found)
        if planes is not None:
            return planes
    source = source_of(x)
    numbers, other, table, mode = pixels_of(source)
    places = _NO_PLACES if source.places is None else source.places.reshape(-1)
    return Planes(numbers, other, places, table, mode, PIXELS)


@instruction
def scatter_row(
    _: Value,
    target: Value,
    x: Value,
    index: Value,
    other: Value,
    windows: Value,
    table: Value,
    line: Value,
    tap: Value,
) -> Emit:
    """Write what `GRADIENT` makes of the row of pixels under a row of windows of 2 x 2.

    x, `index` are those of the first window, `other` that of the first pixel; `tap` is the place in
    a window of the row's first pixel; the numbers of the table are `line` apart.
    """

    def emit(e: Emitter, values: list[Value]) -> None:
        target, x, index, other, windows, table, line, tap = values
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

    return emit


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
