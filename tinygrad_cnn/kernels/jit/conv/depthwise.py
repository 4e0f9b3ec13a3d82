"""Depthwise convolution: one filter per channel, so vectors of channels and no matrix product.

Eight pixels at a time share the loaded weights (or five taps the loaded gradients); else as
`conv_direct`, with its plans and jobs. The work is that of memory: some kh*kw vector loads from
first-level cache for as many multiply-adds.
"""

from __future__ import annotations

import numpy as np

from tinygrad_cnn.kernels.conv_spec import Windows
from tinygrad_cnn.kernels.jit.compile.build import kernel
from tinygrad_cnn.kernels.jit.compile.entry import run
from tinygrad_cnn.kernels.jit.compile.spilling import PIECE, settle, spill, totals_of
from tinygrad_cnn.kernels.jit.compile.vector import BYTES, Emit, Emitter, Value, instruction
from tinygrad_cnn.kernels.jit.conv.plan import (
    Geometry,
    Tables,
    area,
    first_of,
    gradient_floats,
    gradients,
    pieces_of,
    plan_of,
)
from tinygrad_cnn.kernels.jit.linear.products import windows_at
from tinygrad_cnn.kernels.jit.load.pixels import COPY, Pixels, Source, pixels_of
from tinygrad_cnn.kernels.jit.norm.moments import (
    Gathered,
    finish_sums,
    gather_sums,
    gathered,
    start,
)
from tinygrad_cnn.kernels.memory import scratch
from tinygrad_cnn.kernels.reference.layout import Array

PIXELS = 8  # side by side that share the loaded weights
TAPS = 5  # whose sums stay in registers


@instruction
def depthwise_windows(
    _: Value,
    x: Value,
    sources: Value,
    taps: Value,
    count: Value,
    w: Value,
    w_step: Value,
    bias: Value,
    y: Value,
    targets: Value,
    valid: Value,
    channels: Value,
) -> Emit:
    """Write ``y[targets[r], c] = bias[c] + sum over t of x[sources[r] + taps[t], c] w[t, c]``.

    For `PIXELS` windows r, of which the first `valid` are written, and every channel c.
    """

    def emit(e: Emitter, values: list[Value]) -> None:
        x, sources, taps, count, w, w_step, bias, y, targets, valid, channels = values
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
                with builder.if_then(builder.icmp_signed(">", valid, e.whole(r))):
                    e.store(total, builder.add(places[r], along), mask)

        e.channel_blocks(channels, block)

    return emit


@instruction
def depthwise_weights(
    _: Value,
    x: Value,
    sources: Value,
    taps: Value,
    valid: Value,
    g: Value,
    g_step: Value,
    count: Value,
    gw: Value,
    gw_step: Value,
    channels: Value,
) -> Emit:
    """Add to ``gw[t, c]`` the sum over p < count of ``x[sources[p] + taps[t], c] g[p, c]``.

    For `TAPS` taps t, of which the first `valid` are written, and every channel c.
    """

    def emit(e: Emitter, values: list[Value]) -> None:
        x, sources, taps, valid, g, g_step, count, gw, gw_step, channels = values
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
                with builder.if_then(builder.icmp_signed(">", valid, e.whole(t))):
                    at = builder.add(places[t], along)
                    e.store(builder.fadd(e.load(at, mask), total), at, mask)

        e.channel_blocks(channels, block)

    return emit


@kernel(entry=True)
def _share(
    part: int,
    parts: int,
    g: Geometry,
    x: Pixels,
    w: Array,
    bias: Array,
    out: Array,
    strides: tuple[int, ...],
    tables: Tables,
    space: Array,
) -> None:
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
    x: Source, w: Array, bias: Array | None, out: Array, geometry: Windows, parts: int
) -> None:
    """Write the correlation of x (n, h, w, c) with w (kh, kw, c), channel by channel, to out.

    x and w are C-contiguous; out (n, oh, ow, c) has its channels together and else any strides.
    """
    plan = plan_of(x.other.shape, geometry, out.strides[:3], parts, 0, False, x.mode[0] != COPY)
    shift = np.zeros(out.shape[3], np.float32) if bias is None else bias
    with scratch() as take:
        space = take((parts, plan.floats), np.float32)
        run(
            _share, parts, plan.geometry, pixels_of(x), w.reshape(-1), shift, first_of(out),
            out.strides[:2], plan.tables, space,
        )  # fmt: skip


@kernel(entry=True)
def _weight_share(
    part: int,
    parts: int,
    g: Geometry,
    x: Pixels,
    grad: Pixels,
    gw: Array,
    totals: Array,
    tables: Tables,
    space: Array,
    beside: Array,
    wanted: int,
    gathering: Gathered,
) -> None:
    sums, total, pieces = gw[part], totals[part], 0
    sums[:] = 0
    total[:] = 0
    if wanted:
        start(part, gathering)
    line = g.c * BYTES
    for job in range(g.jobs * part // parts, g.jobs * (part + 1) // parts):
        at, images, rows = area(job, g, x, space[part])
        pixels = images * rows * g.ow
        first_grad = gradients(job, g, pixels, g.c, grad, beside[part])
        if wanted:
            gather_sums(part, first_grad, line, pixels, 0, g.c, gathering)
        for p in range(0, pixels, PIECE):
            for tap in range(0, g.tap_count, TAPS):
                depthwise_weights(
                    at, tables.sources.ctypes.data + 8 * p, tables.taps.ctypes.data + 8 * tap,
                    g.tap_count - tap, first_grad + p * line, line, min(PIECE, pixels - p),
                    sums.ctypes.data + tap * line, line, g.c,
                )  # fmt: skip
            pieces += 1
            spill(pieces, sums, total)
    settle(sums, total)


def correlate_depthwise_weight(
    x: Source, grad: Source, geometry: Windows, parts: int, *, bias: bool = False
) -> tuple[Array, Array | None]:
    """Return the adjoint of `correlate_depthwise` in w, (kh, kw, c).

    x (n, h, w, c) and grad (n, oh, ow, c) are C-contiguous. Each thread has its own sums.
    """
    plan = plan_of(x.other.shape, geometry, (0, 0, 0), parts, 0, False, x.mode[0] != COPY)
    shape = (*geometry.kernel, x.other.shape[3])
    with scratch() as take:
        space = take((parts, plan.floats), np.float32)
        beside = take((parts, gradient_floats(plan.geometry, grad)), np.float32)
        sums = gathered(parts, x.other.shape[3] if bias else 1, take)
        gw = take((parts, *shape), np.float32)
        totals = totals_of(gw, pieces_of(plan.geometry, parts), take)
        run(
            _weight_share, parts, plan.geometry, pixels_of(x), pixels_of(grad),
            gw.reshape(parts, -1), totals, plan.tables, space, beside, int(bias), sums,
        )  # fmt: skip
        # one share after the other
        return np.asarray(gw.sum(0)), finish_sums(sums) if bias else None
