"""Weighted sums of a few places, which each point of the result has for itself."""

from __future__ import annotations

import numpy as np

from tinygrad_cnn.kernels.reference.adding_at import add_at
from tinygrad_cnn.kernels.reference.sums import sum
from tinygrad_cnn.types import Array


def _picked(x: Array, index: Array) -> Array:
    """Return x (n, c, m) at index (n, p), 0 where that is -1 → (n, c, p)."""
    there = index[:, None] >= 0
    return np.where(there, np.take_along_axis(x, np.maximum(index, 0)[:, None], 2), 0)


def sample_taps(x: Array, index: Array, weight: Array) -> Array:
    """Return ``out[n, c, p] = sum_t weight[n, t, p] * x[n, c, index[n, t, p]]``; -1 reads nothing.

    >>> x = np.array([[[1.0, 2.0, 5.0]]])
    >>> sample_taps(x, np.array([[[0, 2], [1, -1]]]), np.array([[[1.0, 1.0], [0.5, 0.5]]]))
    array([[[2., 5.]]])
    """
    out = np.zeros((*x.shape[:2], index.shape[2]), x.dtype)
    for k in range(index.shape[1]):
        out += weight[:, k, None] * _picked(x, index[:, k])
    return out


def spread_taps(g: Array, index: Array, weight: Array, size: int) -> Array:
    """Return the adjoint of `sample_taps` in x: ``out[n, c, index[n, t, p]] += weight * g``.

    >>> index, weight = np.array([[[0, 2], [1, -1]]]), np.array([[[1.0, 1.0], [0.5, 0.5]]])
    >>> spread_taps(np.array([[[1.0, 2.0]]]), index, weight, 3)
    array([[[1. , 0.5, 2. ]]])
    """
    n, c, _ = g.shape
    out = np.zeros((n, c, size + 1), g.dtype)  # the last place is for what reads nothing
    source = g[:, :, None] * weight[:, None]  # (n, c, t, p)
    places = np.where(index < 0, size, index)[:, None]
    images, channels = np.ogrid[:n, :c]
    add_at(out, (images[..., None, None], channels[..., None, None], places), source)
    return np.ascontiguousarray(out[:, :, :size])


def weigh_taps(g: Array, x: Array, index: Array) -> Array:
    """Return the adjoint of `sample_taps` in the weights: ``out = sum_c g * x[n, c, index]``.

    >>> weigh_taps(np.ones((1, 1, 2)), np.array([[[1.0, 2.0, 5.0]]]), np.array([[[0, -1]]]))
    array([[[1., 0.]]])
    """
    parts = [sum(g * _picked(x, index[:, k]), (1,)) for k in range(index.shape[1])]
    return np.stack(parts, 1)
