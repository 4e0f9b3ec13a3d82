"""Sums and products of arrays of one shape, number by number."""

from __future__ import annotations

import numpy as np

from .layout import Array

__all__ = ["add", "add_", "leaky_relu", "leaky_relu_backward", "mul"]


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
