"""Depthwise convolution: one filter per channel, so vectors of channels and no matrix product.

Eight pixels at a time share the loaded weights (or five taps the loaded gradients); else as
`direct`, with its plans and jobs. The work is that of memory: some kh*kw vector loads from
first-level cache for as many multiply-adds.
"""

from __future__ import annotations

import math

import numpy as np

from tinygrad_cnn.kernels.conv_spec import Windows
from tinygrad_cnn.kernels.jit.compile.build import kernel
from tinygrad_cnn.kernels.jit.compile.entry import run
from tinygrad_cnn.kernels.jit.compile.vector import BYTES, Emitter, Value, instruction
from tinygrad_cnn.kernels.jit.conv.direct import add_up_weight, weight_share
from tinygrad_cnn.kernels.jit.conv.plan import Geometry, Tables, area, plan_of
from tinygrad_cnn.kernels.jit.linear.products import windows_at
from tinygrad_cnn.kernels.jit.load.images import (
    COPY,
    Pixels,
    Source,
    first_of,
    planar_source,
)
from tinygrad_cnn.kernels.jit.load.rows import collected, constant
from tinygrad_cnn.kernels.memory import scratch
from tinygrad_cnn.types import Array

PIXELS = 8  # side by side that share the loaded weights
TAPS = 5  # whose sums stay in registers


@instruction
def depthwise_windows(
    e: Emitter, x: Value, sources: Value, taps: Value, count: Value, w: Value, w_step: Value,
    bias: Value, y: Value, targets: Value, valid: Value, channels: Value,
) -> None:  # fmt: skip
    """Write ``y[targets[r], c] = bias[c] + sum over t of x[sources[r] + taps[t], c] w[t, c]``.

    For `PIXELS` windows r, of which the first `valid` are written, and every channel c.
    """
    builder = e.builder
    windows = windows_at(e, x, sources, valid, PIXELS)
    places = [e.add(y, e.table(targets, r)) for r in range(PIXELS)]

    def block(along: Value, mask: Value) -> None:
        start = [e.load(builder.add(bias, along), mask)] * PIXELS
        with e.loop(count, [builder.add(w, along), *start]) as tap:
            w_now, *sums = tap.values
            weight = e.load(w_now, mask)
            offset = builder.add(e.table(taps, tap.index), along)
            tap.next = [e.add(w_now, w_step)] + [
                e.fma(e.load(builder.add(at, offset), mask), weight, total)
                for at, total in zip(windows, sums, strict=True)
            ]
        for r, total in enumerate(tap.results[1:]):
            with builder.if_then(e.more(valid, r)):
                e.store(total, builder.add(places[r], along), mask)

    e.channel_blocks(channels, block)


@instruction
def depthwise_weights(
    e: Emitter, x: Value, sources: Value, taps: Value, valid: Value, g: Value, g_step: Value,
    count: Value, gw: Value, gw_step: Value, channels: Value,
) -> None:  # fmt: skip
    """Add to ``gw[t, c]`` the sum over p < count of ``x[sources[p] + taps[t], c] g[p, c]``.

    For `TAPS` taps t, of which the first `valid` are written, and every channel c.
    """
    builder = e.builder
    origins = [e.add(x, e.table(taps, t)) for t in range(TAPS)]
    places = e.steps(gw, gw_step, TAPS)

    def block(along: Value, mask: Value) -> None:
        with e.loop(count, [builder.add(g, along), *[e.zero] * TAPS]) as pixel:
            g_now, *sums = pixel.values
            gradient = e.load(g_now, mask)
            offset = builder.add(e.table(sources, pixel.index), along)
            pixel.next = [e.add(g_now, g_step)] + [
                e.fma(e.load(builder.add(at, offset), mask), gradient, total)
                for at, total in zip(origins, sums, strict=True)
            ]
        for t, total in enumerate(pixel.results[1:]):
            with builder.if_then(e.more(valid, t)):
                at = builder.add(places[t], along)
                e.store(builder.fadd(e.load(at, mask), total), at, mask)

    e.channel_blocks(channels, block)


@kernel(entry=True)
def _share(
    part: int, parts: int, g: Geometry, x: Pixels, w: Array, bias: Array, out: Array,
    strides: tuple[int, ...], tables: Tables, space: Array,
) -> None:  # fmt: skip
    for job in range(g.jobs * part // parts, g.jobs * (part + 1) // parts):
        at, images, rows = area(job, g, x, space[part])
        pixels = images * rows * g.ow
        y = out.ctypes.data + job // g.bands * g.images * strides[0]
        y += job % g.bands * g.rows * strides[1]
        for p in range(0, pixels, PIXELS):
            depthwise_windows(
                at, tables.sources.ctypes.data + 8 * p, tables.taps.ctypes.data, g.tap_count,
                w.ctypes.data, g.c * BYTES, bias.ctypes.data, y,
                tables.targets.ctypes.data + 8 * p, pixels - p, g.c,
            )  # fmt: skip


def correlate_depthwise(
    x: Source, w: Array, bias: Array | None, out: Array, windows: Windows, parts: int
) -> None:
    """Write the correlation of x (n, h, w, c) with w (kh, kw, c), channel by channel, to out.

    x and w are C-contiguous; out (n, oh, ow, c) has its channels together and else any strides.
    """
    plan = plan_of(x.other.shape, windows, out.strides[:3], parts, 0, False, x.mode[0] != COPY)
    shift = constant(0, out.shape[3]) if bias is None else bias
    with scratch() as take:
        space = take((parts, plan.floats), np.float32)
        run(
            _share, parts, plan.geometry, x.pixels, w.reshape(-1), shift, first_of(out),
            out.strides[:2], plan.tables, space,
        )  # fmt: skip


@kernel()
def _depthwise_piece(
    g: Geometry, at: int, source: int, taps: Array, grad: int, pixels: int, f: int, sums: Array,
    width: int,
) -> None:  # fmt: skip
    line = g.c * BYTES
    for tap in range(0, g.tap_count, TAPS):
        depthwise_weights(
            at, source, taps.ctypes.data + 8 * tap, g.tap_count - tap, grad, line, pixels,
            sums.ctypes.data + tap * line, line, g.c,
        )  # fmt: skip


_weight_share = weight_share(_depthwise_piece)


def correlate_depthwise_weight(
    x: Source, grad: Source, windows: Windows, parts: int, *, bias: bool = False
) -> tuple[Array, Array | None]:
    """Return the adjoint of `correlate_depthwise` in w, (kh, kw, c), and in the bias (c,) or None.

    x (n, h, w, c) and grad (n, oh, ow, c) are C-contiguous. Each thread has its own sums.
    """
    plan = plan_of(x.other.shape, windows, (0, 0, 0), parts, 0, False, x.mode[0] != COPY)
    shape = (*windows.kernel, x.other.shape[3])
    with scratch() as take:
        gw, gbias = add_up_weight(
            _weight_share, x, grad, plan, parts, math.prod(shape), 0, take, bias=bias
        )
        return collected(gw).reshape(shape), gbias


def correlate_several_weight(
    x: Source, g: Array, windows: Windows, parts: int, *, bias: bool
) -> tuple[Array, Array | None]:
    """Return the gradients of filters (f, 1, kh, kw), a few for each channel, and of the bias, for
    g (n, f, oh, ow): one filter of each is depthwise.
    """
    f, c = g.shape[1], windows.groups
    gw, gbias = np.empty((f, 1, *windows.kernel), np.float32), np.empty(f, np.float32)
    for k in range(f // c):
        grad = planar_source(g[:, k :: f // c])
        taps, sums = correlate_depthwise_weight(x, grad, windows, parts, bias=bias)
        gw[k :: f // c, 0] = taps.transpose(2, 0, 1)  # from (kh, kw, c)
        if sums is not None:
            gbias[k :: f // c] = sums
    return gw, gbias if bias else None
