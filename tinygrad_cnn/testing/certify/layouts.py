"""The same values in every layout in memory that an array can have."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_cnn.types import Array

LAYOUTS = ("contiguous", "transposed", "sliced", "negative", "channels-last", "read-only")


def laid_out(a: Array, layout: str) -> Array:
    """``a`` in a layout of `LAYOUTS`; one that its number of axes does not allow is left out.

    ``transposed`` is column-major, ``sliced`` has gaps, ``negative`` runs backwards along every
    axis, ``channels-last`` has the second of four axes varying fastest, ``read-only`` is a
    broadcast view that owns nothing and cannot be written to.

    >>> laid_out(np.zeros((2, 3, 4, 5)), "channels-last").strides
    (480, 8, 120, 24)
    """
    if layout not in LAYOUTS:
        raise ValueError(f"laid_out: `layout` is {layout!r}, expected one of {LAYOUTS}")
    if layout == "transposed":
        return np.array(a, order="F")
    if layout == "sliced":
        wide = np.zeros([*(2 * n for n in a.shape), 2], a.dtype)
        every_second: Any = (*(slice(None, None, 2) for _ in a.shape), ..., 0)
        out: Array = wide[every_second]
        out[...] = a
        return out
    if layout == "negative" and a.ndim:
        return np.flip(np.flip(a).copy())
    if layout == "channels-last" and a.ndim == 4:
        return a.transpose(0, 2, 3, 1).copy().transpose(0, 3, 1, 2)  # memory (n, h, w, c)
    if layout == "read-only":
        return np.broadcast_to(a[None], (2, *a.shape))[1] if a.ndim else np.broadcast_to(a, ())
    return np.array(a)
