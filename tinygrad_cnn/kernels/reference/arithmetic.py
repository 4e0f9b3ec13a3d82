"""Sums and products of arrays of one shape, number by number."""

from __future__ import annotations

import numpy as np

from tinygrad_cnn.kernels.reference.layout import new_array
from tinygrad_cnn.types import Array

Shape = tuple[int, ...]


def add(a: Array, b: Array) -> Array:
    """Return ``a + b``.

    >>> add(np.array([1.0, 2.0]), np.array([3.0, 4.0]))
    array([4., 6.])
    """
    return np.asarray(np.add(a, b))


def add_(a: Array, b: Array) -> Array:
    """Add b to a in place, and return a.

    >>> total = np.array([1.0, 2.0])
    >>> add_(total, np.array([3.0, 4.0])) is total, total
    (True, array([4., 6.]))
    """
    return np.asarray(np.add(a, b, out=a))


def mul(a: Array, b: Array) -> Array:
    """Return ``a * b``.

    >>> mul(np.array([1.0, 2.0]), np.array([3.0, 4.0]))
    array([3., 8.])
    """
    return np.asarray(np.multiply(a, b))


def embed(x: Array, shape: Shape, start: Shape, step: Shape) -> Array:
    """Return zeros of `shape`, and in them x: from `start` on, every `step`-th place of each axis.

    The result's channels are last in memory if those of x are.

    >>> embed(np.array([1, 2]), (5,), (1,), (2,))
    array([0, 1, 0, 2, 0])
    """
    out = new_array(shape, x)
    out.fill(0)
    places = zip(start, x.shape, step, strict=True)
    out[tuple(slice(first, first + n * every, every) for first, n, every in places)] = x
    return out


def leaky_relu(x: Array, slope: float) -> Array:
    """Return x where it is positive, else ``x * slope``, NaN where x is NaN.

    >>> leaky_relu(np.array([-1.0, 2.0]), 0.5)
    array([-0.5,  2. ])
    """
    return np.where(x > 0, x, x * slope)


def leaky_relu_backward(x: Array, g: Array, slope: float) -> Array:
    """Return g where x, the argument of `leaky_relu`, is positive, else ``g * slope``.

    >>> leaky_relu_backward(np.array([-1.0, 2.0]), np.array([3.0, 3.0]), 0.5)
    array([1.5, 3. ])
    """
    return np.where(x > 0, g, g * slope)
