"""Softmax along one axis, its logarithm, and the cross entropy of rows of scores."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_cnn.kernels.checks import check_labels
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


def cross_entropy(
    x: Array, labels: Array, smoothing: float, ignored: int, reduction: str
) -> tuple[Array, Array, Array]:
    """Return the losses (n,) of scores x (n, c), or by `reduction` their ``"sum"`` or ``"mean"``,
    then what the gradient needs, in float32 for float16.

    That is each row's largest score and the logarithm of the sum of ``exp(x - largest)``, (n, 2),
    and (1,) what a loss counts for in the result. Rows whose label is `ignored` count for nothing.

    >>> loss, _, share = cross_entropy(np.zeros((2, 4)), np.array([0, -1]), 0.0, -1, "mean")
    >>> float(loss / np.log(2)), float(share[0])
    (2.0, 1.0)
    """
    n, c = x.shape
    check_labels("cross_entropy", labels, c, ignored)
    counts = labels != ignored
    x = x.astype(accumulation_dtype(x), copy=False)
    most = _largest(x, 1, keepdims=True, initial=-np.inf)
    z = x - most
    logs = np.log(sum(np.exp(z), (1,), True))
    z -= logs
    loss = z[np.arange(n), np.where(counts, labels, 0)] * x.dtype.type(smoothing - 1)
    if smoothing:
        loss -= sum(z, (1,)) * x.dtype.type(smoothing / c)
    loss[~counts] = 0
    count = np.count_nonzero(counts) if reduction == "mean" else 1
    share = np.asarray([1 / count if count else np.nan], x.dtype)
    out = loss if reduction == "none" else sum(loss, (0,)) * share[0]
    return np.asarray(out), np.concatenate((most, logs), axis=1), share


def cross_entropy_backward(
    g: Array, x: Array, labels: Array, logs: Array, share: Array, smoothing: float, ignored: int
) -> Array:
    """Return the gradient of `cross_entropy` in x, for that of its result, g (n,) or (): softmax
    minus the target's probabilities.

    >>> logs, share = np.log([[1.0, 2.0]]), np.ones(1)
    >>> cross_entropy_backward(np.ones(()), np.zeros((1, 2)), np.array([0]), logs, share, 0.0, -1)
    array([[-0.5,  0.5]])
    """
    n, c = x.shape
    counts = labels != ignored
    gx = np.exp((x - logs[:, :1]) - logs[:, 1:])
    if smoothing:
        gx -= gx.dtype.type(smoothing / c)
    gx[np.arange(n), np.where(counts, labels, 0)] -= gx.dtype.type(1 - smoothing)
    gx *= np.broadcast_to(g.astype(logs.dtype) * share[0], n)[:, None]
    gx[~counts] = 0
    return np.asarray(gx, logs.dtype)
