"""The values where places on each of the last axes cross: borders and nearest pixels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tinygrad_cnn.kernels.reference.adding_at import add_at
from tinygrad_cnn.types import Array


def take_mesh(x: Array, places: Sequence[Array]) -> Array:
    """Return ``x[..., i, j]`` for all places i and j of the last axes, any number of them.

    >>> take_mesh(np.array([[1, 2], [3, 4]]), (np.array([1, 0]), np.array([0, 0, 1])))
    array([[3, 3, 4],
           [1, 1, 2]])
    """
    for axis, index in enumerate(places, start=x.ndim - len(places)):
        x = np.take(x, index, axis)
    return np.ascontiguousarray(x)


def add_mesh(g: Array, places: Sequence[Array], size: Sequence[int]) -> Array:
    """Return the adjoint of `take_mesh`: zeros with last axes of `size`, and g added at places.

    >>> add_mesh(np.array([1.0, 2.0, 3.0]), (np.array([1, 0, 1]),), (3,))
    array([2., 4., 0.])
    """
    for axis, (index, n) in enumerate(zip(places, size, strict=True), start=g.ndim - len(places)):
        out = np.zeros((*g.shape[:axis], n, *g.shape[axis + 1 :]), g.dtype)
        add_at(out, (slice(None),) * axis + (index,), g)
        g = out
    return g
