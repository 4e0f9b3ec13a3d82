"""Softmax along one axis, its logarithm, and the cross entropy of rows of scores."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_cnn.kernels.reference.layout import accumulation_dtype
from tinygrad_cnn.kernels.reference.sums import sum
from tinygrad_cnn.types import Array

_largest: Any = np.maximum.reduce


def _shifted(x: Array, dim: int) -> Array:
    """Return x minus its maximum along `dim`, all NaN if that is infinite; float32 for float16."""
    x = x.astype(accumulation_dtype(x), copy=False)
    return np.asarray(x - _largest(x, dim, keepdims=True, initial=-np.inf))


def softmax(x: Array, dim: int) -> Array:
    """Return ``exp(x) / sum(exp(x))`` along the axis `dim`.

    >>> softmax(np.zeros((1, 2)), 1)
    array([[0.5, 0.5]])
    """
    z = _shifted(x, dim)
    np.exp(z, out=z)
    z /= sum(z, (dim,), True)
    return z.astype(x.dtype, copy=False)


def softmax_backward(g: Array, y: Array, dim: int) -> Array:
    """Return the gradient of `softmax`, whose result is y.

    >>> softmax_backward(np.array([1.0, 0.0]), np.array([0.5, 0.5]), 0)
    array([ 0.25, -0.25])
    """
    return np.asarray(y * (g - sum(g * y, (dim,), True)), y.dtype)


def log_softmax(x: Array, dim: int) -> Array:
    """Return ``x - log(sum(exp(x)))`` along the axis `dim`.

    >>> np.exp(log_softmax(np.zeros((1, 2)), 1))
    array([[0.5, 0.5]])
    """
    z = _shifted(x, dim)
    z -= np.log(sum(np.exp(z), (dim,), True))
    return z.astype(x.dtype, copy=False)


def log_softmax_backward(g: Array, y: Array, dim: int) -> Array:
    """Return the gradient of `log_softmax`, whose result is y.

    >>> log_softmax_backward(np.array([1.0, 0.0]), np.log([0.5, 0.5]), 0)
    array([ 0.5, -0.5])
    """
    return np.asarray(g - np.exp(y) * sum(g, (dim,), True), y.dtype)


def cross_entropy(x: Array, labels: Array, smoothing: float) -> tuple[Array, Array]:
    """Return the losses (n,) of scores x (n, c), and (n, 2) each row's largest score and the
    logarithm of the sum of ``exp(x - largest)``; float32 for float16.

    >>> float(cross_entropy(np.zeros((1, 2)), np.array([0]), 0.0)[0][0] / np.log(2))
    1.0
    """
    n, c = x.shape
    x = x.astype(accumulation_dtype(x), copy=False)
    most = _largest(x, 1, keepdims=True, initial=-np.inf)
    z = x - most
    logs = np.log(sum(np.exp(z), (1,), True))
    z -= logs
    loss = z[np.arange(n), labels] * x.dtype.type(smoothing - 1)
    if smoothing:
        loss -= sum(z, (1,)) * x.dtype.type(smoothing / c)
    return loss, np.concatenate((most, logs), axis=1)


def cross_entropy_backward(
    g: Array, x: Array, labels: Array, logs: Array, smoothing: float
) -> Array:
    """Return the gradient of `cross_entropy` in x, for the losses' gradients g (n,): softmax minus
    the target's probabilities.

    >>> logs = np.log([[1.0, 2.0]])
    >>> cross_entropy_backward(np.ones(1), np.zeros((1, 2)), np.array([0]), logs, 0.0)
    array([[-0.5,  0.5]])
    """
    n, c = x.shape
    gx = np.exp((x - logs[:, :1]) - logs[:, 1:])
    if smoothing:
        gx -= gx.dtype.type(smoothing / c)
    gx[np.arange(n), labels] -= gx.dtype.type(1 - smoothing)
    gx *= g[:, None]
    return np.asarray(gx, logs.dtype)
