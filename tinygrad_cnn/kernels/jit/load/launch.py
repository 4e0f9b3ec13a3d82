"""From NumPy arrays to a running kernel: views in the order of memory, shares, threads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tinygrad_cnn.kernels import threads
from tinygrad_cnn.kernels.jit.compile.build import kernel
from tinygrad_cnn.kernels.jit.compile.entry import run
from tinygrad_cnn.kernels.jit.compile.vector import BYTES
from tinygrad_cnn.kernels.jit.load.transpose import transpose_pixels
from tinygrad_cnn.kernels.jit.threads.pool import MOST
from tinygrad_cnn.kernels.memory import empty
from tinygrad_cnn.kernels.reference.layout import Array, as_nhwc

PIECE = 4096  # numbers that are put in another order at a time
LEAST_SHARE = 1 << 16  # bytes read and written by a share that is worth waking a thread

FLOAT32 = np.dtype(np.float32)


def shares(nbytes: int) -> int:
    """Return among how many threads to share work that reads and writes `nbytes`."""
    return max(1, min(threads.team(), nbytes // LEAST_SHARE, MOST))


def images(x: Array) -> Array | None:
    """Return x (n, c, h, w) as an (n, h, w, c) view, or None if it lies otherwise in memory or is
    not float32.
    """
    if x.ndim != 4 or x.dtype != FLOAT32 or x.size == 0:
        return None
    image = x.transpose(0, 2, 3, 1)
    flags = image.flags
    return image if flags.c_contiguous and flags.aligned else None


@kernel(entry=True)
def _to_channels_last(part: int, parts: int, x: Array, out: Array) -> None:
    """Write x (n, c, pixels) to out (n, pixels, c), in pieces that stay in the nearest cache."""
    n, pixels, c = out.shape
    step = max(64, PIECE // c // 64 * 64)
    pieces = (pixels + step - 1) // step
    for piece in range(n * pieces * part // parts, n * pieces * (part + 1) // parts):
        image, start = piece // pieces, piece % pieces * step
        count = min(step, pixels - start)
        transpose_pixels(
            out.ctypes.data + (image * pixels + start) * c * BYTES, c * BYTES, 0,
            x.ctypes.data + (image * c * pixels + start) * BYTES, pixels * BYTES, count, count, c,
        )  # fmt: skip


def images_like(g: Array, dtype: Any = FLOAT32) -> Array:
    """Return g (n, c, h, w) as (n, h, w, c), copied if need be."""
    image = g.transpose(0, 2, 3, 1)
    flags = image.flags
    if flags.c_contiguous and flags.aligned and g.dtype == dtype:
        return image
    flags = g.flags
    plain = flags.c_contiguous and flags.aligned and g.dtype == dtype == FLOAT32 and g.size
    if not plain:
        image = as_nhwc(g, np.dtype(dtype))
        return image if image.flags.aligned else image.copy()
    n, c, h, w = g.shape
    out = empty((n, h, w, c), FLOAT32)
    planes, target = g.reshape(n, c, h * w), out.reshape(n, h * w, c)
    run(_to_channels_last, shares(2 * g.nbytes), planes, target)
    return out


def images_of(x: Array) -> Array | None:
    """Return x (n, c, h, w) as (n, h, w, c), copied if need be, or None if it is not float32 or
    has no numbers.
    """
    return images_like(x) if x.ndim == 4 and x.dtype == FLOAT32 and x.size else None


def new_images(n: int, h: int, w: int, c: int, dtype: Any = FLOAT32) -> Array:
    """Return uninitialised (n, h, w, c)."""
    return empty((n, h, w, c), dtype)


def nchw(image: Array) -> Array:
    """Return (n, h, w, c) as the caller sees it, (n, c, h, w)."""
    return image.transpose(0, 3, 1, 2)


def dense(x: Array) -> tuple[Array, Callable[[Array], Array]] | None:
    """Return a dense float32 x as (count,) numbers in the order of memory, and the function that
    gives such numbers x's shape; None if x is anything else.
    """
    flags = x.flags
    if x.dtype != FLOAT32 or x.size == 0 or not flags.aligned:
        return None
    shape = x.shape
    if flags.c_contiguous:
        return x.reshape(-1), lambda numbers: numbers.reshape(shape)
    image = images(x)
    if image is None:
        return None
    order = image.shape
    return image.reshape(-1), lambda numbers: numbers.reshape(order).transpose(0, 3, 1, 2)
