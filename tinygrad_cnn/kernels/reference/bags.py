"""Sums of rows of a table that integers name, a bag at a time."""

from __future__ import annotations

import numpy as np

from tinygrad_cnn.kernels.reference.adding_at import add_at
from tinygrad_cnn.types import Array


def bag_sum(weight: Array, rows: Array, starts: Array, factors: Array | None) -> Array:
    """Return the sums (bags, d) of the rows of weight (n, d) that rows (k,) names, times factors
    (k,); bag b has the entries from ``starts[b]`` to ``starts[b + 1]``.

    >>> table = np.array([[1.0, 2.0], [3.0, 4.0]])
    >>> bag_sum(table, np.array([0, 1, 1]), np.array([0, 2, 3]), None)
    array([[4., 6.],
           [3., 4.]])
    """
    found = weight[rows]
    if factors is not None:
        found *= factors[:, None]
    out = np.zeros((len(starts) - 1, weight.shape[1]), weight.dtype)
    add_at(out, bag_of(starts), found)
    return out


def bag_sum_backward(
    g: Array, rows: Array, starts: Array, factors: Array | None, count: int
) -> Array:
    """Return the gradient of `bag_sum` in its table of `count` rows, for g (bags, d).

    >>> bag_sum_backward(np.ones((1, 1)), np.array([0, 0]), np.array([0, 2]), None, 2)
    array([[2.],
           [0.]])
    """
    found = g[bag_of(starts)]
    if factors is not None:
        found *= factors[:, None]
    out = np.zeros((count, g.shape[1]), g.dtype)
    add_at(out, rows, found)
    return out


def bag_of(starts: Array) -> Array:
    """Return the bag of each entry.

    >>> bag_of(np.array([0, 2, 2, 3]))
    array([0, 0, 2])
    """
    return np.repeat(np.arange(len(starts) - 1), np.diff(starts))
