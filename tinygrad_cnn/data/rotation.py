"""`RandomRotation`: turn each image of a batch about its centre."""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tinygrad_cnn.data.keyed import Random
from tinygrad_cnn.data.transforms import Images, check_images, one_or_many
from tinygrad_cnn.errors import ArgumentError

# Bytes are interpolated in integers, three channels at once: each has 21 bits of a 64-bit word, 8
# for the value and 13 for the weights of the four neighbours.
_WEIGHT: Final = 13
_LANE: Final = 8 + _WEIGHT
_PART: Final = 16  # images turned together: what is computed for them stays in the cache


class RandomRotation:
    """Turn each image about its centre by an angle drawn from ``[-degrees, degrees]``.

    Bilinear (as ``scipy.ndimage`` with order 1); beyond the border the image is mirrored, edge
    included. Of bytes, the weights are rounded to 1/8192.

    Examples
    --------
    >>> RandomRotation(15)(np.ones((2, 3, 8, 8), np.float32), np.random.default_rng(0)).dtype
    dtype('float32')
    """

    def __init__(self, degrees: float) -> None:
        if not (math.isfinite(degrees) and degrees >= 0):
            raise ArgumentError(f"RandomRotation: `degrees` must be finite and >= 0, got {degrees}")
        self.degrees = degrees

    @one_or_many
    def __call__(self, images: Images, rng: Random) -> Images:
        """Return ``images`` (n, c, h, w), each turned."""
        check_images("RandomRotation", images)
        n, c, h, w = images.shape
        angle = np.deg2rad(rng.uniform(-self.degrees, self.degrees, (n, 1, 1)))
        at = _bytes_at if images.dtype == np.uint8 and c <= 3 else _floats_at
        out = np.empty((n, h, w, c), images.dtype)
        for start in range(0, n, _PART):
            part = slice(start, start + _PART)
            rows, columns = _positions(angle[part], h, w)
            at(images[part], rows, columns, out[part])
        return out.transpose(0, 3, 1, 2)

    def __repr__(self) -> str:
        return f"RandomRotation(degrees={self.degrees})"


def _positions(angle: Images, h: int, w: int) -> tuple[Images, Images]:
    """Rows and columns (n, h, w) where pixels of images turned by ``angle`` (n, 1, 1) come from."""
    cos, sin = np.cos(angle), np.sin(angle)
    dy = (np.arange(h) - (h - 1) / 2)[:, None]
    dx = np.arange(w) - (w - 1) / 2
    rows = _mirror(cos * dy + sin * dx + (h - 1) / 2, h)
    return rows, _mirror(cos * dx - sin * dy + (w - 1) / 2, w)


def _mirror(position: Images, size: int) -> Images:
    """Fold positions into [0, size - 1] as ``scipy.ndimage``'s ``reflect`` (d c b a | a b c d)."""
    folded = position + 0.5
    turns = np.floor(folded / (2 * size))  # by hand: `numpy.mod` takes five times as long
    turns *= 2 * size
    folded -= turns
    np.minimum(folded, 2 * size - folded, out=folded)
    folded -= 0.5
    clipped: Images = folded.clip(0, size - 1, out=folded)
    return clipped


def _floats_at(images: Images, rows: Images, columns: Images, out: Images) -> None:
    """Put values of ``images`` (n, c, h, w) at positions (n, h, w) into ``out`` (n, h, w, c)."""
    from scipy import ndimage  # here, to keep the package's import light

    n, c, h, w = images.shape
    # Positions never leave their image, so images one below the other are one image.
    rows = rows + h * np.arange(n)[:, None, None]
    work = np.float64 if images.dtype == np.float64 else np.float32
    for channel in range(c):
        tower = images[:, channel].reshape(n * h, w).astype(work, copy=False)
        turned = ndimage.map_coordinates(tower, (rows, columns), work, order=1, mode="nearest")
        out[..., channel] = np.rint(turned) if images.dtype == np.uint8 else turned


def _bytes_at(images: Images, rows: Images, columns: Images, out: Images) -> None:
    """The same for bytes with up to three channels, in integers."""
    n, c, h, w = images.shape
    packed = np.zeros((n, h, w), np.uint64)
    for channel in range(c):
        packed |= images[:, channel].astype(np.uint64) << np.uint64(channel * _LANE)
    flat = packed.ravel()
    top, down = _split(rows, h)
    left, right = _split(columns, w)
    corner = (top + h * np.arange(n)[:, None, None]) * w + left  # (n, h, w), in the flat image
    both = (down * right) >> np.uint64(_WEIGHT)  # rounded down, so that no weight is negative
    total = np.full((n, h, w), sum(1 << (k * _LANE + _WEIGHT - 1) for k in range(c)), np.uint64)
    whole = np.uint64(1 << _WEIGHT)
    below, beside = (w if h > 1 else 0), (1 if w > 1 else 0)
    total += flat.take(corner) * (whole - down - right + both)
    total += flat.take(corner + beside) * (right - both)
    total += flat.take(corner + below) * (down - both)
    total += flat.take(corner + below + beside) * both
    for channel in range(c):
        out[..., channel] = total >> np.uint64(channel * _LANE + _WEIGHT)


def _split(position: Images, size: int) -> tuple[NDArray[np.int64], NDArray[np.uint64]]:
    """The place before each position and the weight of the next one, 0 to 2**13."""
    before = np.minimum(position.astype(np.int64), max(size - 2, 0))
    after = np.rint((position - before) * float(1 << _WEIGHT)).astype(np.uint64)
    return before, after
