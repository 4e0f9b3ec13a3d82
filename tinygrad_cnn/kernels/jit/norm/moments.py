"""Sums over the channels of images, taken where the numbers are in cache anyway.

Means and variances: sums are of numbers from which a pilot has been taken off, the mean of a few of
them, so that a large mean does not cancel the variance (Chan, Golub and LeVeque 1983, "Algorithms
for computing the sample variance", section 3). They are float32 over `CHUNK` pixels and float64
over a share of the work; the shares' sums are joined in their order: a thread count has one result.
An infinity makes the mean of its channel infinite, and no other.

The sums of a gradient, which its normalisation needs before anything else: in a pass of their own,
behind a convolution that has just written it (`conv.winograd`), or behind the sum of two gradients
and the rectifier's mask, as where a residual block begins (`add_gated`).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from tinygrad_cnn.kernels.jit.compile.build import kernel
from tinygrad_cnn.kernels.jit.compile.entry import run
from tinygrad_cnn.kernels.jit.compile.vector import BYTES, Emitter, Value, instruction
from tinygrad_cnn.kernels.jit.load.images import images_of
from tinygrad_cnn.kernels.memory import Take, scratch
from tinygrad_cnn.kernels.tape import fixed
from tinygrad_cnn.kernels.threads import shares
from tinygrad_cnn.types import Array

CHUNK = 512  # pixels added in float32
SAMPLE = 16  # pixels of a pilot
CHUNK_BYTES = 1 << 14  # of each array that is read at a time: stays in the nearest cache

Summands = Callable[[list[Value], list[Value]], list[Value]]


class Gathered(NamedTuple):
    """What shares of the work add up, a row of each array for a share."""

    exact: Array  # (parts, 2, c) float64: sums, sums of squares
    single: Array  # (parts, 3, c) float32: pilot, and the same sums over a job
    counts: Array  # (parts, c) int64: pixels


def gathered(parts: int, c: int, take: Take) -> Gathered:
    """Return room for the sums of `parts` shares over c channels."""
    return Gathered(
        take((parts, 2, c), np.float64), take((parts, 3, c), np.float32), take((parts, c), np.int64)
    )


NO_SUMS = gathered(1, 1, np.empty)  # for who gathers nothing


def _add_pixels(
    e: Emitter, images: list[Value], step: Value, pixels: Value, channels: Value, chains: int,
    sums: Value, line: Value, of_channels: Callable[[Value, Value], Summands],
) -> None:  # fmt: skip
    """Add two sums over some pixels of images to `sums` and, `line` on, the numbers after them.

    ``of_channels(distance, mask)`` returns, for a vector of channels, the function that adds the
    summands of a pixel, whose numbers it gets, to two sums. Those of `chains` pixels run side by
    side: each has to wait for the one before.
    """
    b, n = e.builder, len(images)
    whole = b.udiv(pixels, e.whole(chains))
    rest = b.sub(pixels, b.mul(whole, e.whole(chains)))

    def block(along: Value, mask: Value) -> None:
        add = of_channels(along, mask)

        def turn(carried: list[Value], chains: int) -> list[Value]:
            places, totals, found = carried[:n], carried[n:], []
            pixels_of = [e.steps(place, step, chains) for place in places]
            for k in range(chains):
                numbers = [e.load(steps[k], mask) for steps in pixels_of]
                found += add(numbers, totals[2 * k : 2 * k + 2])
            distance = b.mul(step, e.whole(chains))
            return [*(b.add(place, distance) for place in places), *found]

        carried = [*(b.add(image, along) for image in images), e.zero, e.zero]
        if mask is None:
            with e.loop(whole, [*carried[:n], *[e.zero] * (2 * chains)]) as group:
                group.next = turn(group.values, chains)
            carried, totals = group.results[:n], group.results[n:]
            while len(totals) > 2:  # pairs of chains, then pairs of these
                pairs = [totals[i : i + 4] for i in range(0, len(totals), 4)]
                totals = [b.fadd(pair[k], pair[2 + k]) for pair in pairs for k in (0, 1)]
            carried += totals
        with e.loop(rest if mask is None else pixels, carried) as pixel:
            pixel.next = turn(pixel.values, 1)
        for k, total in enumerate(pixel.results[n:]):
            to = b.add(b.add(sums, along), b.mul(line, e.whole(k)))
            e.store(b.fadd(e.load(to, mask), total), to, mask)

    e.channel_blocks(channels, block)


@instruction
def moment_pixels(
    e: Emitter, x: Value, step: Value, pixels: Value, channels: Value, pilot: Value, sums: Value,
    line: Value,
) -> None:  # fmt: skip
    """Add to `sums` those of ``x - pilot`` over some pixels, and `line` on those of its squares."""

    def of_channels(along: Value, mask: Value) -> Summands:
        centre = e.load(e.add(pilot, along), mask)

        def add(numbers: list[Value], totals: list[Value]) -> list[Value]:
            away = e.builder.fsub(numbers[0], centre)
            return [e.builder.fadd(totals[0], away), e.fma(away, away, totals[1])]

        return add

    _add_pixels(e, [x], step, pixels, channels, 4, sums, line, of_channels)


@instruction
def gradient_sums(
    e: Emitter, g: Value, x: Value, step: Value, pixels: Value, channels: Value, table: Value,
    line: Value, centre: Value, sums: Value, width: Value,
) -> None:  # fmt: skip
    """Add to `sums` those of g, and `width` on those of ``g*(x - centre)``, over some pixels.

    Where ``x*e + f`` is positive, e and f being rows 3 and 4 of `table`, which are `line` apart.
    """
    b = e.builder

    def of_channels(along: Value, mask: Value) -> Summands:
        mean = e.load(b.add(centre, along), mask)
        scale, shift = (e.load(at, mask) for at in e.steps(b.add(table, along), line, 5)[3:])

        def add(numbers: list[Value], totals: list[Value]) -> list[Value]:
            grad, value = numbers
            off = b.fcmp_ordered("<=", e.fma(value, scale, shift), e.zero)
            grad = b.select(off, e.zero, grad)
            return [b.fadd(totals[0], grad), e.fma(grad, b.fsub(value, mean), totals[1])]

        return add

    _add_pixels(e, [g, x], step, pixels, channels, 2, sums, width, of_channels)


@kernel()
def start(part: int, sums: Gathered) -> None:
    """Begin a share."""
    sums.exact[part] = 0
    sums.single[part] = 0
    sums.counts[part] = 0


@kernel()
def gather(part: int, x: int, step: int, pixels: int, low: int, high: int, sums: Gathered) -> None:
    """Add pixels, `step` bytes apart, to a share's sums: channels [low, high), the first at x.

    The mean of those that come first becomes the pilot.
    """
    single, counts = sums.single, sums.counts
    at, line = single[part].ctypes.data + low * BYTES, single.shape[2] * BYTES
    if counts[part, low] == 0:
        moment_pixels(x, step, pixels, high - low, at, at + line, line)  # the pilot is still 0
        for k in range(low, high):
            mean = single[part, 1, k] / np.float32(pixels)
            single[part, 0, k] = mean if np.isfinite(mean) else np.float32(0)
            single[part, 1, k] = single[part, 2, k] = 0
    moment_pixels(x, step, pixels, high - low, at, at + line, line)
    for k in range(low, high):
        counts[part, k] += pixels


@kernel()
def gather_sums(
    part: int, x: int, step: int, pixels: int, low: int, high: int, sums: Gathered
) -> None:
    """Add the sums of pixels to a share's, without pilot and squares, and end the job."""
    exact, single = sums.exact, sums.single
    at, line = single[part].ctypes.data + low * BYTES, single.shape[2] * BYTES
    for first in range(0, pixels, CHUNK):
        count = min(CHUNK, pixels - first)
        moment_pixels(x + first * step, step, count, high - low, at, at + line, line)
        for k in range(low, high):
            exact[part, 0, k] += single[part, 1, k]
            single[part, 1, k] = 0


@kernel()
def flush(part: int, sums: Gathered) -> None:
    """End a job: go on in float64."""
    exact, single = sums.exact, sums.single
    for row in range(2):
        for k in range(single.shape[2]):
            exact[part, row, k] += single[part, row + 1, k]
            single[part, row + 1, k] = 0


@kernel(entry=True)
def _finish_share(part: int, parts: int, sums: Gathered, mean: Array, var: Array) -> None:
    exact, single, counts = sums.exact, sums.single, sums.counts
    for k in range(mean.size):
        count, total, squares = 0, 0.0, 0.0
        for share in range(counts.shape[0]):
            count += counts[share, k]
            total += np.float64(single[share, 0, k]) * counts[share, k] + exact[share, 0, k]
        centre = total / count
        for share in range(counts.shape[0]):
            if counts[share, k]:
                away = exact[share, 0, k] / counts[share, k]
                theirs = exact[share, 1, k] - away * exact[share, 0, k]
                delta = single[share, 0, k] + away - centre
                squares += (0.0 if theirs < 0 else theirs) + counts[share, k] * delta * delta
        mean[k], var[k] = centre, squares / count


def finish(sums: Gathered) -> tuple[Array, Array]:
    """Return mean and biased variance (c,) of what all shares have gathered."""
    c = sums.single.shape[2]
    mean, var = np.empty(c, np.float32), np.empty(c, np.float32)
    run(_finish_share, 1, sums, mean, var)
    return mean, var


@kernel(entry=True)
def _finish_sums_share(part: int, parts: int, exact: Array, total: Array) -> None:
    for k in range(total.size):
        added = 0.0
        for share in range(exact.shape[0]):
            added += exact[share, 0, k]
        total[k] = added


def finish_sums(sums: Gathered) -> Array:
    """Return the sums (c,) of what all shares have gathered."""
    total = np.empty(sums.single.shape[2], np.float32)
    run(_finish_sums_share, 1, sums.exact, total)
    return total


@kernel(entry=True)
def _moments_share(part: int, parts: int, x: Array, sums: Gathered) -> None:
    start(part, sums)
    single, counts = sums.single, sums.counts
    c = single.shape[2]
    pixels, step = x.size // c, c * BYTES
    low, high = pixels * part // parts, pixels * (part + 1) // parts
    if low == high:
        return
    sample = min(SAMPLE, high - low)
    apart = (high - low) // sample
    gather(part, x.ctypes.data + low * step, apart * step, sample, 0, c, sums)
    single[part, 1:] = 0  # it was for the pilot
    counts[part] = high - low
    for first in range(low, high, CHUNK):
        count = min(CHUNK, high - first)
        at, line = single[part].ctypes.data, step
        moment_pixels(x.ctypes.data + first * step, step, count, c, at, at + line, line)
        flush(part, sums)


def channel_moments(x: Array) -> tuple[Array, Array] | None:
    """Return mean and biased variance (c,) of x (n, c, h, w) over all but its channels.

    float32; copied if its channels are not last in memory. Costs one read of the array.

    >>> x = np.array([[[[1.0, 3.0]], [[5.0, 5.0]]]], np.float32)
    >>> [value.tolist() for value in channel_moments(x)]
    [[2.0, 5.0], [1.0, 0.0]]
    """
    image = images_of(x)
    if image is None:
        return None
    parts = shares(image.nbytes)
    with scratch() as take:
        sums = gathered(parts, image.shape[-1], take)
        run(_moments_share, parts, image.reshape(-1), sums)
        return finish(sums)


# ---- of gradients -------------------------------------------------------------------------------


@lru_cache(maxsize=64)
def plain_table(c: int) -> Array:
    """Return a table (5, c) that leaves every gradient as it is; nobody writes to it."""
    return fixed(np.array([[1], [0], [0], [0], [1]], np.float32).repeat(c, 1))


@kernel()
def add_pixels(
    g: int, x: int, step: int, pixels: int, table: int, line: int, centre: int, exact: Array,
    single: Array,
) -> None:  # fmt: skip
    """Add the `gradient_sums` of pixels to exact (2, c) float64, of `CHUNK` at a time.

    `single` (2, c) float32 is work space, 0 before and after.
    """
    c = exact.shape[1]
    for first in range(0, pixels, CHUNK):
        gradient_sums(
            g + first * step, x + first * step, step, min(CHUNK, pixels - first), c, table,
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
    part: int, parts: int, a: Array, b: Array, two: int, y: Array, x: Array, table: Array,
    mean: Array, out: Array, exact: Array, single: Array,
) -> None:  # fmt: skip
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
