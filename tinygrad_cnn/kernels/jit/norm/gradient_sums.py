"""Sums over the channels of a gradient, which its normalisation needs before anything else.

They are taken while the gradient is in the nearest caches: in a pass of their own, behind a
convolution that has just written it (`conv_winograd`), or behind the sum of two gradients and the
rectifier's mask, as where a residual block begins (`add_gated`).
"""

from __future__ import annotations

import numpy as np

from tinygrad_cnn.kernels.jit.compile.build import kernel
from tinygrad_cnn.kernels.jit.compile.vector import BYTES, Emit, Emitter, Value, instruction
from tinygrad_cnn.kernels.reference.layout import Array

CHAINS = 2  # pixels whose sums run side by side
CHUNK_BYTES = 1 << 14  # of each array that is read at a time: stays in the nearest cache
MOST_PIXELS = 512  # whose sums are float32


def plain_table(c: int) -> Array:
    """Return a table (5, c) that leaves every gradient as it is."""
    return np.array([[1], [0], [0], [0], [1]], np.float32).repeat(c, 1)


@instruction
def gradient_sums(
    _: Value,
    g: Value,
    x: Value,
    step: Value,
    pixels: Value,
    channels: Value,
    table: Value,
    line: Value,
    centre: Value,
    sums: Value,
    width: Value,
) -> Emit:
    """Add to `sums` those of g, and `width` on those of ``g*(x - centre)``, over some pixels.

    Where ``x*e + f`` is positive, e and f being rows 3 and 4 of `table`, which are `line` apart.
    """

    def emit(e: Emitter, values: list[Value]) -> None:
        g, x, step, pixels, channels, table, line, centre, sums, width = values
        b = e.builder
        whole = b.udiv(pixels, e.whole(CHAINS))
        rest = b.sub(pixels, b.mul(whole, e.whole(CHAINS)))

        def block(along: Value, mask: Value) -> None:
            mean = e.load(b.add(centre, along), mask)
            rows = e.steps(b.add(table, along), line, 5)
            a, d = e.load(rows[3], mask), e.load(rows[4], mask)

            def turn(places: list[Value], totals: list[Value], chains: int) -> list[Value]:
                found = []
                grads, inputs = (e.steps(place, step, chains) for place in places)
                for k in range(chains):
                    grad, value = e.load(grads[k], mask), e.load(inputs[k], mask)
                    off = b.fcmp_ordered("<=", e.fma(value, a, d), e.zero)
                    grad = b.select(off, e.zero, grad)
                    found.append(b.fadd(totals[2 * k], grad))
                    found.append(e.fma(grad, b.fsub(value, mean), totals[2 * k + 1]))
                return found

            places, joined = [b.add(g, along), b.add(x, along)], [e.zero, e.zero]
            if mask is None:
                with e.loop(whole, [*places, *[e.zero] * (2 * CHAINS)]) as group:
                    places, totals = group.values[:2], group.values[2:]
                    after = [b.add(place, b.mul(step, e.whole(CHAINS))) for place in places]
                    group.next = [*after, *turn(places, totals, CHAINS)]
                places, totals = group.results[:2], group.results[2:]
                joined = [b.fadd(totals[k], totals[2 + k]) for k in (0, 1)]
            with e.loop(rest if mask is None else pixels, [*places, *joined]) as pixel:
                places, totals = pixel.values[:2], pixel.values[2:]
                after = [b.add(place, step) for place in places]
                pixel.next = [*after, *turn(places, totals, 1)]
            for k, total in enumerate(pixel.results[2:]):
                to = b.add(b.add(sums, along), b.mul(width, e.whole(k)))
                e.store(b.fadd(e.load(to, mask), total), to, mask)

        e.channel_blocks(channels, block)

    return emit


@kernel()
def add_pixels(
    g: int, x: int, step: int, pixels: int, table: int, line: int, centre: int, exact: Array,
    single: Array,
) -> None:  # fmt: skip
    """Add the `gradient_sums` of pixels to exact (2, c) float64, of `MOST_PIXELS` at a time.

    `single` (2, c) float32 is work space, 0 before and after.
    """
    c = exact.shape[1]
    for first in range(0, pixels, MOST_PIXELS):
        gradient_sums(
            g + first * step, x + first * step, step, min(MOST_PIXELS, pixels - first), c, table,
            line, centre, single.ctypes.data, c * BYTES,
        )  # fmt: skip
        for row in range(2):
            for k in range(c):
                exact[row, k] += single[row, k]
                single[row, k] = 0


@kernel()
def gate(a: Array, b: Array, two: int, y: Array, out: Array) -> None:
    """Write a, or ``a + b`` if `two`, where y is positive or NaN, else 0; all (count,)."""
    zero = np.float32(0)
    if two:
        for i in range(out.size):
            total = a[i] + b[i]
            out[i] = zero if y[i] <= zero else total
    else:
        for i in range(out.size):
            grad = a[i]
            out[i] = zero if y[i] <= zero else grad


@kernel(entry=True)
def add_gated(
    part: int,
    parts: int,
    a: Array,
    b: Array,
    two: int,
    y: Array,
    x: Array,
    table: Array,
    mean: Array,
    out: Array,
    exact: Array,
    single: Array,
) -> None:
    """Write `gate` of a and b to out, and its sums with x, as `gradient_sums`, to exact[part].

    All images are (pixels*c,), mean (c,), table `plain_table`, exact (parts, 2, c) float64 and
    single the same in float32. Costs four reads and one write.
    """
    c = mean.size
    exact[part] = 0
    single[part] = 0
    step = c * BYTES
    pixels, chunk = x.size // c, max(16, CHUNK_BYTES // step)
    low, high = pixels * part // parts, pixels * (part + 1) // parts
    line = table.shape[1] * BYTES
    for first in range(low, high, chunk):
        count = min(chunk, high - first)
        start, stop = first * c, (first + count) * c
        gate(a[start:stop], b[start:stop], two, y[start:stop], out[start:stop])
        add_pixels(
            out.ctypes.data + start * BYTES, x.ctypes.data + start * BYTES, step, count,
            table.ctypes.data, line, mean.ctypes.data, exact[part], single[part],
        )  # fmt: skip
