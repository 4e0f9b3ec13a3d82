"""Anti-aliased drawing of many small images at once: signed distances, blending, keyed noise.

A signed distance is negative inside a shape and positive outside, in units of length; a pixel whose
centre lies ``d`` pixels from the edge is covered by about ``clip(0.5 - d, 0, 1)``.
Distances to circle, heart, moon and vesica follow Inigo Quilez, "2D distance functions".
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tinygrad_cnn.data.keyed import Words, words

Floats = NDArray[np.float32]


def uniforms(key: Words, count: int) -> Floats:
    """Return ``count`` numbers in [0, 1) for each key (n, count)."""
    return (words(key, 0, count) >> np.uint64(40)).astype(np.float32) * np.float32(2**-24)


def noise_bytes(key: Words, count: int) -> NDArray[np.uint8]:
    """Return ``count`` random bytes for each key (n, count), unrelated to its ``uniforms``."""
    drawn = words(key, 1 << 20, -(-count // 8)).astype("<u8", copy=False)
    return drawn.view(np.uint8)[:, :count]


def coverage(distance: Floats) -> Floats:
    """Return how much of each pixel lies inside, from its signed distance in pixels."""
    inside = np.float32(0.5) - distance
    return np.clip(inside, 0, 1, out=inside)


def blend(canvas: Floats, color: Floats, alpha: Floats) -> None:
    """Paint ``color`` (n, 3) over ``canvas`` (n, 3, p) in place with opacity ``alpha`` (n, p)."""
    paint = color[:, :, None] - canvas  # (n, 3, p)
    paint *= alpha[:, None, :]
    canvas += paint


def capsule(x: Floats, y: Floats, half_length: Floats, radius: Floats) -> Floats:
    """Signed distance to a line along x with round ends (a dot when ``half_length`` is 0)."""
    dx = np.maximum(np.abs(x) - half_length, 0)
    distance: Floats = np.sqrt(dx * dx + y * y) - radius
    return distance


def circle(x: Floats, y: Floats, radius: float = 0.85) -> Floats:
    """Signed distance to a circle about the origin."""
    distance: Floats = np.sqrt(x * x + y * y) - np.float32(radius)
    return distance


def polygon(x: Floats, y: Floats, corners: Sequence[tuple[float, float]]) -> Floats:
    """Signed distance to a simple polygon given by its corners in either direction."""
    nearest = np.full_like(x, np.inf)  # squared
    outside = np.ones(x.shape, np.bool_)
    for (ax, ay), (bx, by) in zip(corners, [*corners[1:], corners[0]], strict=True):
        ex, ey = bx - ax, by - ay
        px, py = x - np.float32(ax), y - np.float32(ay)
        along = np.clip((px * np.float32(ex) + py * np.float32(ey)) / (ex * ex + ey * ey), 0, 1)
        # Even-odd rule: a ray from the point towards +x crosses this edge.
        if ey != 0:
            crosses = (y >= min(ay, by)) & (y < max(ay, by))
            crosses &= px < py * np.float32(ex / ey)
            outside ^= crosses
        px -= along * np.float32(ex)
        py -= along * np.float32(ey)
        px *= px
        py *= py
        px += py
        np.minimum(nearest, px, out=nearest)
    return np.where(outside, np.float32(1), np.float32(-1)) * np.sqrt(nearest)


def leaf(x: Floats, y: Floats, height: float = 1.0, width: float = 0.5) -> Floats:
    """Signed distance to the overlap of two equal discs, pointed at (0, -height), (0, height)."""
    x, y = np.abs(x), np.abs(y)
    d = np.float32((height * height - width * width) / (2 * width))  # centres at (-d, 0) and (d, 0)
    arc = np.sqrt(np.square(x + d) + y * y) - np.float32(d + width)
    tip = np.sqrt(x * x + np.square(y - np.float32(height)))
    distance: Floats = np.where((y - np.float32(height)) * d > x * np.float32(height), tip, arc)
    return distance


def crescent(
    x: Floats, y: Floats, radius: float = 0.95, bite: float = 0.78, offset: float = 0.48
) -> Floats:
    """Signed distance to a disc about the origin less one of radius ``bite`` about (offset, 0)."""
    y = np.abs(y)
    a = (radius**2 - bite**2 + offset**2) / (2 * offset)
    b = np.sqrt(max(radius**2 - a * a, 0))  # the horns are at (a, -b) and (a, b)
    horn = np.sqrt(np.square(x - np.float32(a)) + np.square(y - np.float32(b)))
    outer = circle(x, y, radius)
    inner = np.float32(bite) - np.sqrt(np.square(x - np.float32(offset)) + y * y)
    at_horn = offset * (x * np.float32(b) - y * np.float32(a)) > (
        np.float32(offset**2) * np.maximum(np.float32(b) - y, 0)
    )
    distance: Floats = np.where(at_horn, horn, np.maximum(outer, inner))
    return distance


def heart(x: Floats, y: Floats, scale: float = 1.6) -> Floats:
    """Signed distance to a heart about the origin whose point is at (0, scale / 2)."""
    s = np.float32(scale)
    x, y = (
        np.divide(np.abs(x), s),
        np.float32(0.5) - np.divide(y, s),
    )  # tip at (0, 0), lobes towards +y
    lobe = np.sqrt(np.square(x - np.float32(0.25)) + np.square(y - np.float32(0.75)))
    lobe -= np.float32(2**0.5 / 4)
    notch = np.square(x) + np.square(y - 1)
    fold = np.float32(0.5) * np.maximum(x + y, 0)
    side = np.square(x - fold) + np.square(y - fold)
    body = np.sqrt(np.minimum(notch, side)) * np.sign(x - y)
    distance: Floats = np.where(x + y > 1, lobe, body) * s
    return distance
