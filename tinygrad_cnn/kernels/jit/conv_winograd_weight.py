"""The gradient of the weights of a 3x3 convolution by minimal filtering.

The adjoint of `conv_winograd` in the filters: patches of the input and tiles of the output's
gradient become 36 planes each, ``B' x B`` and ``A g A'``, whose products over the tiles are added
up for every pair of channels and transformed to taps at the end, ``G' m G``. So 36*c*f
multiply-adds for a tile instead of 144*c*f, as in the other direction.
"""

from __future__ import annotations

import numpy as np

from ..checks import Pair
from ..memory import scratch
from ..reference.layout import Array
from .build import kernel
from .conv_winograd import SKEW, Tiles, from_images, padded, tiles_of
from .launch import run
from .products import plane_sum, plane_sum_narrow
from .transforms import weight_transform
from .vector import BYTES, TILE

__all__ = ["correlate_winograd_weight"]

LANES, ROWS, COLUMNS = TILE.lanes, TILE.rows, TILE.columns


@kernel(entry=True)
def _weight_share(
    part: int,
    parts: int,
    g: Tiles,
    x: Array,
    grad: Array,
    du: Array,
    space: Array,
    zeros: Array,
) -> None:
    plane_v, plane_d = g.tiles * g.wide_c + SKEW, g.tiles * g.wide_f + SKEW
    sums = du[part]
    sums[:] = 0
    plane = sums.size // 36
    v = space[part].ctypes.data
    d = v + 36 * plane_v * BYTES
    total = g.n * g.down * g.across
    for job in range(g.jobs * part // parts, g.jobs * (part + 1) // parts):
        first = job * g.tiles
        count = min(g.tiles, total - first)
        from_images(
            first, count, g, x, False, g.c, g.wide_c, g.h, g.w, g.top, g.left, v,
            plane_v * BYTES, zeros.ctypes.data,
        )  # fmt: skip
        from_images(
            first, count, g, grad, True, g.f, g.wide_f, g.oh, g.ow, 0, 0, d,
            plane_d * BYTES, zeros.ctypes.data,
        )  # fmt: skip
        for e in range(36):
            for column in range(0, g.wide_f, COLUMNS):
                b = d + (e * plane_d + column) * BYTES
                for c in range(0, g.c, ROWS):
                    a = v + (e * plane_v + c) * BYTES
                    to = sums.ctypes.data + (e * plane + c * g.wide_f + column) * BYTES
                    if g.wide_f - column > LANES:
                        plane_sum(
                            a, BYTES, g.wide_c * BYTES, b, g.wide_f * BYTES,
                            to, g.wide_f * BYTES, count,
                        )  # fmt: skip
                    else:
                        plane_sum_narrow(
                            a, BYTES, g.wide_c * BYTES, b, g.wide_f * BYTES,
                            to, g.wide_f * BYTES, count,
                        )  # fmt: skip


@kernel(entry=True)
def _taps(
    part: int,
    parts: int,
    g: Tiles,
    du: Array,
    taps: Array,
    gw: Array,
) -> None:
    plane = du.shape[1] // 36
    for c in range(g.c * part // parts, g.c * (part + 1) // parts):
        _taps_row(c, du.shape[0], g, du, plane, taps[part], gw)


@kernel()
def _taps_row(
    c: int,
    parts: int,
    g: Tiles,
    du: Array,
    plane: int,
    taps: Array,
    gw: Array,
) -> None:
    """Add the threads' sums for input channel c and transform them to taps."""
    for e in range(36):
        start = e * plane + c * g.wide_f
        for other in range(1, parts):
            for o in range(g.wide_f):
                du[0, start + o] += du[other, start + o]
    weight_transform(
        du.ctypes.data + c * g.wide_f * BYTES, plane * BYTES, taps.ctypes.data,
        g.wide_f * BYTES, g.wide_f // LANES,
    )  # fmt: skip
    for o in range(g.f):
        for k in range(9):
            gw[(o * g.c + c) * 9 + k] = taps[k * g.wide_f + o]


def correlate_winograd_weight(x: Array, grad: Array, origin: Pair, parts: int) -> Array:
    """Return the adjoint of `correlate_winograd` in w, (f, c, 3, 3), for grad (n, oh, ow, f).

    Both arrays are C-contiguous. Each thread has its own sums of 36*c*f numbers.
    """
    f = grad.shape[3]
    g = tiles_of(x.shape, (grad.shape[1], grad.shape[2]), f, origin, parts)
    gw = np.empty((f, g.c, 3, 3), np.float32)
    plane = padded(g.c, ROWS) * g.wide_f + SKEW
    floats = 36 * (g.tiles * (g.wide_c + g.wide_f) + 2 * SKEW) + ROWS
    with scratch() as take:
        space = take((parts, floats), np.float32)
        du = take((parts, 36 * plane), np.float32)
        taps = take((parts, 9 * g.wide_f), np.float32)
        zeros = np.zeros(max(g.wide_c, g.wide_f), np.float32)
        run(_weight_share, parts, g, x.reshape(-1), grad.reshape(-1), du, space, zeros)
        run(_taps, parts, g, du, taps, gw.reshape(-1))
    return gw
