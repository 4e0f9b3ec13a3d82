"""Softmax of rows, its logarithm and the cross entropy: rows are shared among threads.

A row stays in cache from one pass to the next: memory is read and written once. Sums along a row
run as in `rows`.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tinygrad_cnn.kernels.jit.compile.build import kernel
from tinygrad_cnn.kernels.jit.compile.entry import run
from tinygrad_cnn.kernels.jit.load.images import FLOAT32
from tinygrad_cnn.kernels.jit.pointwise.exponential import exp32
from tinygrad_cnn.kernels.jit.pointwise.rows import (
    exponentials,
    products,
    store_largest,
    sum_away,
    sum_exponentials,
)
from tinygrad_cnn.kernels.memory import empty
from tinygrad_cnn.kernels.threads import shares
from tinygrad_cnn.types import Array


@kernel(entry=True)
def _softmax(part: int, parts: int, x: Array, logarithm: int, y: Array) -> None:
    """Write the softmax of each row of x (rows, width), or its logarithm."""
    rows, width = x.shape
    for r in range(rows * part // parts, rows * (part + 1) // parts):
        row, target = x[r], y[r]
        store_largest(row.ctypes.data, width, target.ctypes.data)
        most = target[0]
        if logarithm:
            log = np.float32(np.log(sum_exponentials(row, most)))
            for j in range(width):
                target[j] = (row[j] - most) - log
        else:
            total = np.float32(exponentials(row, most, target))
            for j in range(width):
                target[j] /= total


@kernel(entry=True)
def _softmax_backward(part: int, parts: int, g: Array, y: Array, gx: Array) -> None:
    rows, width = y.shape
    for r in range(rows * part // parts, rows * (part + 1) // parts):
        grad, row, target = g[r], y[r], gx[r]
        through = np.float32(products(grad, row, np.float32(0))[1])
        for j in range(width):
            target[j] = row[j] * (grad[j] - through)


@kernel(entry=True)
def _log_softmax_backward(part: int, parts: int, g: Array, y: Array, gx: Array) -> None:
    rows, width = y.shape
    for r in range(rows * part // parts, rows * (part + 1) // parts):
        grad, row, target = g[r], y[r], gx[r]
        total = np.float32(sum_away(grad, np.float32(0)))
        for j in range(width):
            target[j] = grad[j] - exp32(row[j]) * total


@kernel(entry=True)
def _cross_entropy(
    part: int, parts: int, x: Array, labels: Array, smoothing: float, loss: Array, logs: Array
) -> None:
    """Write loss (rows,) and logs (rows, 2) of x (rows, width). Costs one read of the matrix."""
    rows, width = x.shape
    for r in range(rows * part // parts, rows * (part + 1) // parts):
        row, found = x[r], logs[r]
        store_largest(row.ctypes.data, width, found.ctypes.data)
        most = found[0]
        log = np.float32(np.log(sum_exponentials(row, most)))
        found[1] = log
        value = ((row[labels[r]] - most) - log) * np.float32(smoothing - 1)
        if smoothing:
            value -= np.float32((sum_away(row, most) / width - log) * smoothing)
        loss[r] = value


@kernel(entry=True)
def _cross_entropy_backward(
    part: int, parts: int, g: Array, x: Array, labels: Array, logs: Array, smoothing: float,
    gx: Array,
) -> None:  # fmt: skip
    """Write gx (rows, width). Costs a read and a write of the matrix."""
    rows, width = x.shape
    less, target = np.float32(smoothing / width), np.float32(1 - smoothing)
    for r in range(rows * part // parts, rows * (part + 1) // parts):
        row, out, factor = x[r], gx[r], g[r]
        most, log = logs[r, 0], logs[r, 1]
        for j in range(width):
            out[j] = (exp32((row[j] - most) - log) - less) * factor
        at = labels[r]
        out[at] = (exp32((row[at] - most) - log) - less - target) * factor


def _rows(x: Array, dim: int) -> Array | None:
    """Return x as a matrix of rows along its last axis, if `dim` is that, a copy if need be."""
    if x.size == 0 or dim != x.ndim - 1 or x.dtype != FLOAT32:
        return None
    return np.ascontiguousarray(x).reshape(-1, x.shape[-1])


def _of_rows(x: Array, dim: int, logarithm: bool) -> Array | None:
    rows = _rows(x, dim)
    if rows is None:
        return None
    y = empty(rows.shape, FLOAT32)
    run(_softmax, shares(2 * x.nbytes), rows, int(logarithm), y)
    return y.reshape(x.shape)


def _backward(entry: Callable[..., None], g: Array, y: Array, dim: int) -> Array | None:
    rows = _rows(y, dim)
    grads = None if g.shape != y.shape else _rows(g, dim)
    if rows is None or grads is None:
        return None
    gx = empty(rows.shape, FLOAT32)
    run(entry, shares(3 * y.nbytes), grads, rows, gx)
    return gx.reshape(y.shape)


def softmax(x: Array, dim: int) -> Array | None:
    """As `reference.softmax`, along the last axis."""
    return _of_rows(x, dim, logarithm=False)


def softmax_backward(g: Array, y: Array, dim: int) -> Array | None:
    """As `reference.softmax_backward`, along the last axis."""
    return _backward(_softmax_backward, g, y, dim)


def log_softmax(x: Array, dim: int) -> Array | None:
    """As `reference.log_softmax`, along the last axis."""
    return _of_rows(x, dim, logarithm=True)


def log_softmax_backward(g: Array, y: Array, dim: int) -> Array | None:
    """As `reference.log_softmax_backward`, along the last axis."""
    return _backward(_log_softmax_backward, g, y, dim)


def _labels(labels: Array, rows: Array) -> Array | None:
    """Return labels as 64-bit numbers, None if one is outside the rows."""
    if labels.shape != rows.shape[:1] or labels.min() < 0 or labels.max() >= rows.shape[1]:
        return None
    return np.ascontiguousarray(labels, np.int64)


def cross_entropy(x: Array, labels: Array, smoothing: float) -> tuple[Array, Array] | None:
    """As `reference.cross_entropy`."""
    rows = _rows(x, 1)
    named = None if rows is None else _labels(labels, rows)
    if rows is None or named is None:
        return None
    loss, logs = np.empty(len(rows), FLOAT32), np.empty((len(rows), 2), FLOAT32)
    run(_cross_entropy, shares(x.nbytes), rows, named, float(smoothing), loss, logs)
    return loss, logs


def cross_entropy_backward(
    g: Array, x: Array, labels: Array, logs: Array, smoothing: float
) -> Array | None:
    """As `reference.cross_entropy_backward`."""
    rows = _rows(x, 1)
    named = None if rows is None else _labels(labels, rows)
    if rows is None or named is None:
        return None
    grads, logs = np.ascontiguousarray(g, FLOAT32), np.ascontiguousarray(logs, FLOAT32)
    gx = empty(rows.shape, FLOAT32)
    parts = shares(2 * x.nbytes)
    run(_cross_entropy_backward, parts, grads, rows, named, logs, float(smoothing), gx)
    return gx
