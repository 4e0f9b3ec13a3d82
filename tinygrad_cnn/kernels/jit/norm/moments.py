"""Means and variances of channels, gathered where the numbers are in cache anyway.

Sums are of numbers from which a pilot has been taken off, the mean of a few of them, so that a
large mean does not cancel the variance (Chan, Golub and LeVeque 1983, "Algorithms for computing
the sample variance", section 3). They are float32 over `CHUNK` pixels and float64 over a share of
the work; the shares' sums are joined in their order: a thread count has one result. An infinity
makes the mean of its channel infinite, and no other.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from tinygrad_cnn.kernels.jit.compile.build import kernel
from tinygrad_cnn.kernels.jit.compile.entry import run
from tinygrad_cnn.kernels.jit.compile.vector import BYTES, Emit, Emitter, Value, instruction
from tinygrad_cnn.kernels.jit.load.launch import FLOAT32, images_of, shares
from tinygrad_cnn.kernels.memory import Take, scratch
from tinygrad_cnn.kernels.reference.layout import Array

CHAINS = 4  # pixels whose sums run side by side: a sum has to wait for the one before
CHUNK = 512  # pixels added in float32
SAMPLE = 16  # pixels of a pilot


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


@instruction
def moment_pixels(
    _: Value,
    x: Value,
    step: Value,
    pixels: Value,
    channels: Value,
    pilot: Value,
    sums: Value,
    line: Value,
) -> Emit:
    """Add to `sums` those of ``x - pilot`` over some pixels, and `line` on those of its squares."""

    def emit(e: Emitter, values: list[Value]) -> None:
        x, step, pixels, channels, pilot, sums, line = values
        b = e.builder
        whole = b.udiv(pixels, e.whole(CHAINS))
        rest = b.sub(pixels, b.mul(whole, e.whole(CHAINS)))

        def block(along: Value, mask: Value) -> None:
            centre = e.load(b.add(pilot, along), mask)

            def turn(at: Value, totals: list[Value], chains: int) -> list[Value]:
                found = []
                for k, place in enumerate(e.steps(at, step, chains)):
                    away = b.fsub(e.load(place, mask), centre)
                    found.append(b.fadd(totals[2 * k], away))
                    found.append(e.fma(away, away, totals[2 * k + 1]))
                return found

            at, joined = b.add(x, along), [e.zero, e.zero]
            if mask is None:
                with e.loop(whole, [at, *[e.zero] * (2 * CHAINS)]) as group:
                    at, *totals = group.values
                    after = b.add(at, b.mul(step, e.whole(CHAINS)))
                    group.next = [after, *turn(at, totals, CHAINS)]
                at, *totals = group.results
                for which in (0, 1):
                    row = totals[which::2]
                    joined[which] = b.fadd(b.fadd(row[0], row[1]), b.fadd(row[2], row[3]))
            with e.loop(rest if mask is None else pixels, [at, *joined]) as pixel:
                pixel.next = [
                    b.add(pixel.values[0], step), *turn(pixel.values[0], pixel.values[1:], 1)
                ]  # fmt: skip
            for which, total in enumerate(pixel.results[1:]):
                to = b.add(b.add(sums, along), b.mul(line, e.whole(which)))
                e.store(b.fadd(e.load(to, mask), total), to, mask)

        e.channel_blocks(channels, block)

    return emit


@kernel()
def start(part: int, sums: Gathered) -> None:
    """Begin a share."""
    sums.exact[part] = 0
    sums.single[part] = 0
    sums.counts[part] = 0


@kernel()
def gather(
    part: int,
    x: int,
    step: int,
    pixels: int,
    low: int,
    high: int,
    sums: Gathered,
) -> None:
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
    part: int,
    x: int,
    step: int,
    pixels: int,
    low: int,
    high: int,
    sums: Gathered,
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


def channel_moments(x: Array) -> Any:
    """Return mean and biased variance (c,) of x (n, c, h, w) over all but its channels.

    float32; copied if its channels are not last in memory. Costs one read of the array.

    >>> x = np.array([[[[1.0, 3.0]], [[5.0, 5.0]]]], np.float32)
    >>> [value.tolist() for value in channel_moments(x)]
    [[2.0, 5.0], [1.0, 0.0]]
    """
    image = images_of(x)
    if image is None or x.dtype != FLOAT32:
        return NotImplemented
    parts = shares(image.nbytes)
    with scratch() as take:
        sums = gathered(parts, image.shape[-1], take)
        run(_moments_share, parts, image.reshape(-1), sums)
        return finish(sums)
