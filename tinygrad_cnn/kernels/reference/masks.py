"""Masks of random numbers."""

from __future__ import annotations

import numpy as np

from tinygrad_cnn.kernels.streams import Stream
from tinygrad_cnn.types import Array


def draw_mask(numbers: Array, shape: tuple[int, ...], stream: Stream) -> Array:
    """Return 0 with the probability that is the first of two numbers (2,), else the second one.

    >>> from types import SimpleNamespace
    >>> stream = SimpleNamespace(numpy=np.random.default_rng(0))
    >>> draw_mask(np.array([0.5, 2.0], np.float32), (6,), stream)
    array([2., 2., 2., 0., 0., 0.], dtype=float32)
    """
    draws = stream.numpy.random(shape, dtype=np.float32)
    mask: Array = (draws >= numbers[0]) * numbers[1]
    return mask
