"""Where the maxima of near-equal windows are."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np

from tinygrad_cnn.types import Array


def near_equal(size: int, out: int) -> tuple[Array, Array]:
    """Return where `out` near-equal windows of an axis begin, and where they end.

    >>> near_equal(5, 2)
    (array([0, 2]), array([3, 5]))
    """
    windows = np.arange(out + 1) * size
    return windows[:-1] // max(out, 1), -(-windows[1:] // max(out, 1))


def adaptive_max_index(x: Array, size: Sequence[int]) -> Array:
    """Return where the maxima of `size` windows of x (n, c, ...) are, counted along the last axes,
    which are flattened.

    Of equal maxima the first is chosen; a NaN is larger than any number, and of several the last is
    chosen, as PyTorch does.

    >>> adaptive_max_index(np.array([[[3, 1, 2, 3, 0]]]), (2,))
    array([[[0, 3]]])
    """
    space, found = x.shape[2:], []
    flat = x.reshape(*x.shape[:2], math.prod(space))
    axes = [
        [np.arange(start, stop) for start, stop in zip(*near_equal(m, k), strict=True)]
        for m, k in zip(space, size, strict=True)
    ]
    for places in itertools.product(*axes):
        where = np.ravel_multi_index(np.ix_(*places), space).ravel()
        values = flat[:, :, where]
        best = np.argmax(values, 2)
        if values.dtype.kind in "fV":
            lost = np.isnan(values)
            last = lost.shape[2] - 1 - np.argmax(lost[:, :, ::-1], 2)
            best = np.where(lost.any(2), last, best)
        found.append(where[best])  # (n, c)
    if not found:
        return np.zeros((*x.shape[:2], *size), np.int64)
    return np.stack(found, -1).reshape(*x.shape[:2], *size)
