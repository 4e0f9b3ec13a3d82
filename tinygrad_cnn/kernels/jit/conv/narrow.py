"""Convolutions with fewer filters than a vector has lanes, as in the first layers of a network.

`direct` would leave most lanes empty. Forward, outputs side by side are therefore computed as
one of so many times the filters: with 6 filters of 5x5, a window of 5x6 pixels and 12 filters, some
of whose taps are 0, gives 2 outputs at 0.6 of the cost. In the gradient of the weights the vectors
run along the windows, and single numbers of the output gradient are spread.
"""

from __future__ import annotations

import numpy as np

from tinygrad_cnn.kernels.conv_spec import Windows
from tinygrad_cnn.kernels.jit.compile.build import kernel
from tinygrad_cnn.kernels.jit.compile.entry import run
from tinygrad_cnn.kernels.jit.compile.vector import BYTES, TILE, Emitter, Value, instruction
from tinygrad_cnn.kernels.jit.conv.direct import add_up_weight, correlate, weight_share
from tinygrad_cnn.kernels.jit.conv.finite import note_finite
from tinygrad_cnn.kernels.jit.conv.plan import Geometry, plan_of
from tinygrad_cnn.kernels.jit.linear.products import row_step
from tinygrad_cnn.kernels.jit.load.images import COPY, Source, nchw
from tinygrad_cnn.kernels.jit.load.rows import collected
from tinygrad_cnn.kernels.jit.norm.moments import channel_moments
from tinygrad_cnn.kernels.memory import scratch
from tinygrad_cnn.kernels.reference.layout import all_finite
from tinygrad_cnn.types import Array

LANES = TILE.lanes
FEW_FILTERS = 6  # whose gradients are spread over a vector of window depths


@kernel(entry=True)
def _join(
    part: int, parts: int, w: Array, bias: Array, step: int, joined: Array, shift: Array
) -> None:
    """Lay filters w (kh, kw, c, f) beside each other, `step` columns apart, into joined
    (kh, wide, c, block, f), and so often the bias (f,), if there is one, into shift.
    """
    kh, kw, depth, filters = w.shape
    joined[:] = 0
    for i in range(kh):
        for j in range(kw):
            for d in range(depth):
                for b in range(joined.shape[3]):
                    for f in range(filters):
                        joined[i, b * step + j, d, b, f] = w[i, j, d, f]
    for k in range(shift.size):
        shift[k] = bias[k % bias.size]


def correlate_few(
    x: Source, w: Array, bias: Array | None, out: Array, windows: Windows, parts: int,
    block: int, *, moments: bool = False,
) -> tuple[tuple[Array, Array] | None, bool]:  # fmt: skip
    """Do as `correlate` for one group and C-contiguous out (n, oh, ow, f), `block` outputs at once.

    A NaN or an infinity would spread to the outputs that are computed together with it: if there is
    one, which their mean tells, they are computed one by one.
    """
    n, oh, ow, f = out.shape
    (kh, kw), (sh, sw) = windows.kernel, windows.stride
    wide = kw + (block - 1) * sw
    split = w[0]  # (kh, kw, c, f)
    joined = np.empty((kh, wide, split.shape[2], block, f), np.float32)
    shift = np.empty(0 if bias is None else block * f, np.float32)
    run(_join, 1, split, shift[:0] if bias is None else bias, sw, joined, shift)
    whole, rest = ow // block * block, ow % block
    wider = windows._replace(kernel=(kh, wide), size=(oh, ow // block), stride=(sh, sw * block))
    found, _ = correlate(
        x, joined.reshape(1, kh, wide, -1, block * f),
        None if bias is None else shift,
        out[:, :, :whole].reshape(n, oh, ow // block, block * f),  # a view
        wider, parts, moments=True,
    )  # fmt: skip
    if found is not None:
        note_finite(found[0])
    if found is None or not all_finite(found[0]):
        return correlate(x, w, bias, out, windows, parts, moments=moments)
    if rest:
        origin = (windows.origin[0], windows.origin[1] + whole * sw)
        others = windows._replace(size=(oh, rest), origin=origin)
        correlate(x, w, bias, out[:, :, whole:], others, parts)
    return channel_moments(nchw(out)) if moments else None, False


@instruction
def weight_sum_turned(
    e: Emitter, x: Value, sources: Value, g: Value, g_step: Value, count: Value, gw: Value,
    gw_step: Value, valid: Value,
) -> None:  # fmt: skip
    """Add to ``gw[f, k]`` the sum over p < count of ``g[p, f] x[sources[p] + k]``.

    For `FEW_FILTERS` filters f, of which `valid` exist (the others are the last one again), and
    `TILE.lanes` depths k.
    """
    builder = e.builder
    filters = [builder.mul(f, e.whole(BYTES)) for f in e.up_to(valid, FEW_FILTERS)]
    with e.loop(count, [g, *[e.zero] * FEW_FILTERS]) as pixel:
        g_now, *sums = pixel.values
        window = [e.load(e.add(x, e.table(sources, pixel.index)))]
        places = [builder.add(g_now, distance) for distance in filters]
        pixel.next = [e.add(g_now, g_step), *row_step(e, places, window, sums)]
    for f, total in enumerate(pixel.results[1:]):
        with builder.if_then(e.more(valid, f)):
            at = e.add(gw, builder.mul(gw_step, e.whole(f)))
            e.store(builder.fadd(e.load(at), total), at)


@kernel()
def _narrow_piece(
    g: Geometry, at: int, source: int, taps: Array, grad: int, pixels: int, f: int, sums: Array,
    depth: int,
) -> None:  # fmt: skip
    line = sums.size // f * BYTES
    for tap in range(g.tap_count):
        for k in range(0, depth, LANES):
            for first in range(0, f, FEW_FILTERS):
                weight_sum_turned(
                    at + taps[tap] + k * BYTES, source, grad + first * BYTES, f * BYTES, pixels,
                    sums.ctypes.data + first * line + (tap * depth + k) * BYTES, line, f - first,
                )  # fmt: skip


_weight_share = weight_share(_narrow_piece)


def correlate_few_weight(
    x: Source, grad: Source, windows: Windows, parts: int, *, bias: bool = False
) -> tuple[Array, Array | None]:
    """Do as `correlate_weight` for one group."""
    f, (kh, kw), c = grad.other.shape[3], windows.kernel, x.other.shape[3]
    together = windows.dilation[1] == 1 or kw == 1
    count, depth = (kh, kw * c) if together else (kh * kw, c)
    padded = depth + -depth % LANES
    rest = LANES if depth % LANES else 0  # read beyond a window
    plan = plan_of(x.other.shape, windows, (0, 0, 0), parts, rest, True, x.mode[0] != COPY)
    with scratch() as take:
        gw, gbias = add_up_weight(
            _weight_share, x, grad, plan, parts, f * count * padded, padded, take, bias=bias
        )
        shares = gw.reshape(parts, f, count, padded)
        taps = shares[..., :depth].reshape(parts, f, kh, kw, c)
        return collected(taps.transpose(0, 1, 4, 2, 3)), gbias
