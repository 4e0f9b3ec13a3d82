"""Weighted sums of a few places, which each point of the result has for itself.

Threads share channels or points, never a sum: any number of them gives the same bits.
"""

from __future__ import annotations

import numpy as np

from tinygrad_cnn.kernels.jit.compile.build import kernel
from tinygrad_cnn.kernels.jit.compile.entry import run
from tinygrad_cnn.kernels.jit.load.images import FLOAT32
from tinygrad_cnn.kernels.memory import empty, scratch
from tinygrad_cnn.kernels.threads import shares
from tinygrad_cnn.types import Array

CHANNELS = 4  # for which the taps of a point are read once
POINTS = 256  # whose sums over channels stay in the cache


@kernel()
def _sample_one(x: Array, places: Array, factors: Array, out: Array) -> None:
    """Add to out (p,) what one tap of each point has of x (m,)."""
    for p in range(out.size):
        if places[p] >= 0:
            out[p] += factors[p] * x[places[p]]


@kernel()
def _sample_four(x: Array, index: Array, weight: Array, out: Array) -> None:
    """Add to out (4, p) what four taps of each point (4, p) have of x (4, m)."""
    x0, x1, x2, x3 = x[0], x[1], x[2], x[3]
    to0, to1, to2, to3 = out[0], out[1], out[2], out[3]
    a0, a1, a2, a3 = index[0], index[1], index[2], index[3]
    w0, w1, w2, w3 = weight[0], weight[1], weight[2], weight[3]
    for p in range(to0.size):
        i, j, k, m = a0[p], a1[p], a2[p], a3[p]
        q, r, s, t = w0[p], w1[p], w2[p], w3[p]
        if min(min(i, j), min(k, m)) >= 0:
            one = (((to0[p] + q * x0[i]) + r * x0[j]) + s * x0[k]) + t * x0[m]
            two = (((to1[p] + q * x1[i]) + r * x1[j]) + s * x1[k]) + t * x1[m]
            three = (((to2[p] + q * x2[i]) + r * x2[j]) + s * x2[k]) + t * x2[m]
            four = (((to3[p] + q * x3[i]) + r * x3[j]) + s * x3[k]) + t * x3[m]
            to0[p], to1[p], to2[p], to3[p] = one, two, three, four
        else:
            for tap in range(4):
                place, factor = index[tap, p], weight[tap, p]
                if place >= 0:
                    to0[p] += factor * x0[place]
                    to1[p] += factor * x1[place]
                    to2[p] += factor * x2[place]
                    to3[p] += factor * x3[place]


@kernel(entry=True)
def _sample(part: int, parts: int, x: Array, index: Array, weight: Array, out: Array) -> None:
    """Write out (n, c, p) of x (n, c, m); index and weight are (n, t, p)."""
    n, c = out.shape[:2]
    taps = index.shape[1]
    groups = (c + CHANNELS - 1) // CHANNELS
    for line in range(n * groups * part // parts, n * groups * (part + 1) // parts):
        b, group = divmod(line, groups)
        first = group * CHANNELS
        last = min(first + CHANNELS, c)
        out[b, first:last] = 0
        done = taps // 4 * 4 if last - first == CHANNELS else 0
        for k in range(0, done, 4):
            _sample_four(
                x[b, first:last], index[b, k : k + 4], weight[b, k : k + 4], out[b, first:last]
            )
        for channel in range(first, last):
            for k in range(done, taps):
                _sample_one(x[b, channel], index[b, k], weight[b, k], out[b, channel])


@kernel(entry=True)
def _spread(
    part: int, parts: int, g: Array, index: Array, weight: Array, space: Array, out: Array
) -> None:
    """Write out (n, c, m) of g (n, c, p); space is (parts, m) float64."""
    n, c, size = out.shape
    total = space[part]
    for line in range(n * c * part // parts, n * c * (part + 1) // parts):
        b, channel = divmod(line, c)
        source, target = g[b, channel], out[b, channel]
        total[:] = 0
        for k in range(index.shape[1]):
            places, factors = index[b, k], weight[b, k]
            for p in range(places.size):
                if places[p] >= 0:
                    total[places[p]] += source[p] * factors[p]
        for j in range(size):
            target[j] = total[j]


@kernel(entry=True)
def _weigh(
    part: int, parts: int, g: Array, x: Array, index: Array, space: Array, out: Array
) -> None:
    """Write out (n, t, p) of g (n, c, p) and x (n, c, m); space is (parts, POINTS) float64."""
    n, taps, points = out.shape
    blocks = (points + POINTS - 1) // POINTS
    for line in range(n * blocks * part // parts, n * blocks * (part + 1) // parts):
        b, block = divmod(line, blocks)
        first = block * POINTS
        last = min(first + POINTS, points)
        for k in range(taps):
            places, target = index[b, k, first:last], out[b, k, first:last]
            total = space[part, : last - first]
            total[:] = 0
            for channel in range(x.shape[1]):
                values, source = x[b, channel], g[b, channel, first:last]
                for p in range(places.size):
                    if places[p] >= 0:
                        total[p] += source[p] * values[places[p]]
            for p in range(places.size):
                target[p] = total[p]


def _ready(index: Array, *arrays: Array) -> list[Array] | None:
    """Return arrays as kernels take them; None if one is empty or of another dtype."""
    if index.size == 0 or any(a.size == 0 or a.dtype != FLOAT32 for a in arrays):
        return None
    places = np.ascontiguousarray(index, np.int64)
    return [places, *(np.ascontiguousarray(a) for a in arrays)]


def sample_taps(x: Array, index: Array, weight: Array) -> Array | None:
    """As `reference.sample_taps`."""
    found = _ready(index, x, weight)
    if found is None:
        return None
    places, values, factors = found
    out = empty((*x.shape[:2], index.shape[2]), FLOAT32)
    run(_sample, shares(index.shape[1] * out.nbytes), values, places, factors, out)
    return out


def spread_taps(g: Array, index: Array, weight: Array, size: int) -> Array | None:
    """As `reference.spread_taps`, with sums in float64."""
    found = _ready(index, g, weight)
    if found is None or not size:
        return None
    places, source, factors = found
    out = empty((*g.shape[:2], size), FLOAT32)
    parts = shares(index.shape[1] * g.nbytes + out.nbytes)
    with scratch() as take:
        run(_spread, parts, source, places, factors, take((parts, size), np.float64), out)
    return out


def weigh_taps(g: Array, x: Array, index: Array) -> Array | None:
    """As `reference.weigh_taps`, with sums in float64."""
    found = _ready(index, g, x)
    if found is None:
        return None
    places, source, values = found
    out = empty(index.shape, FLOAT32)
    parts = shares(index.shape[1] * g.nbytes)
    with scratch() as take:
        run(_weigh, parts, source, values, places, take((parts, POINTS), np.float64), out)
    return out
