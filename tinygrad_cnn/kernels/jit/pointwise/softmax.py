"""Softmax of rows, its logarithm and the cross entropy: rows are shared among threads.

A row stays in cache from one pass to the next: memory is read and written once. Sums along a row
run as in `rows`.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tinygrad_cnn.kernels.checks import check_labels
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
from tinygrad_cnn.kernels.tape import looked
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
    part: int, parts: int, x: Array, labels: Array, smoothing: float, ignored: int, loss: Array,
    logs: Array, seen: Array,
) -> None:  # fmt: skip
    """Write loss (rows,) and logs (rows, 2) of x (rows, width). Costs one read of the matrix.

    A share's sum of losses, the number of them, and of labels that are none of x's columns go to
    seen (parts, 3).
    """
    rows, width = x.shape
    total, count, wrong = np.float64(0), 0, 0
    for r in range(rows * part // parts, rows * (part + 1) // parts):
        row, found, label = x[r], logs[r], labels[r]
        store_largest(row.ctypes.data, width, found.ctypes.data)
        most = found[0]
        log = np.float32(np.log(sum_exponentials(row, most)))
        found[1] = log
        loss[r] = 0
        if label == ignored:
            continue
        if label < 0 or label >= width:
            wrong += 1
            continue
        value = ((row[label] - most) - log) * np.float32(smoothing - 1)
        if smoothing:
            value -= np.float32((sum_away(row, most) / width - log) * smoothing)
        loss[r] = value
        total += value
        count += 1
    seen[part, 0], seen[part, 1], seen[part, 2] = total, count, wrong


@kernel(entry=True)
def _reduced(
    part: int, parts: int, seen: Array, mean: int, out: Array, share: Array, wrong: Array
) -> None:
    """Write the sum of all losses to out (1,), or their mean, and one loss' share of it."""
    total = count = missed = 0.0
    for k in range(seen.shape[0]):
        total, count, missed = total + seen[k, 0], count + seen[k, 1], missed + seen[k, 2]
    each = 1.0
    if mean:
        each = 1 / count if count > 0 else np.nan
    share[0], wrong[0] = each, int(missed)
    out[0] = total / count if mean and count > 0 else total * each


@kernel(entry=True)
def _cross_entropy_backward(
    part: int, parts: int, g: Array, x: Array, labels: Array, logs: Array, share: Array,
    smoothing: float, ignored: int, gx: Array,
) -> None:  # fmt: skip
    """Write gx (rows, width); g is (rows,) or (1,). Costs a read and a write of the matrix."""
    rows, width = x.shape
    less, target = np.float32(smoothing / width), np.float32(1 - smoothing)
    for r in range(rows * part // parts, rows * (part + 1) // parts):
        row, out, at = x[r], gx[r], labels[r]
        if at == ignored:
            out[:] = 0
            continue
        factor = g[r if g.size > 1 else 0] * share[0]
        most, log = logs[r, 0], logs[r, 1]
        for j in range(width):
            out[j] = (exp32((row[j] - most) - log) - less) * factor
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
    """Return labels in a row, None if there is not one for each row."""
    if labels.shape != rows.shape[:1] or labels.dtype.kind not in "iu":
        return None
    return np.ascontiguousarray(labels)


def cross_entropy(
    x: Array, labels: Array, smoothing: float, ignored: int, reduction: str
) -> tuple[Array, Array, Array] | None:
    """As `reference.cross_entropy`."""
    rows = _rows(x, 1)
    named = None if rows is None else _labels(labels, rows)
    if rows is None or named is None:
        return None
    loss, logs = np.empty(len(rows), FLOAT32), np.empty((len(rows), 2), FLOAT32)
    out, share, wrong = np.empty((), FLOAT32), np.empty(1, FLOAT32), np.empty(1, np.int64)
    parts = shares(x.nbytes)
    seen = np.empty((parts, 3))
    run(_cross_entropy, parts, rows, named, float(smoothing), ignored, loss, logs, seen)
    run(_reduced, 1, seen, int(reduction == "mean"), out.reshape(1), share, wrong)
    if looked(wrong)[0]:
        check_labels("cross_entropy", labels, rows.shape[1], ignored)
    return loss if reduction == "none" else out, logs, share


def cross_entropy_backward(
    g: Array, x: Array, labels: Array, logs: Array, share: Array, smoothing: float, ignored: int
) -> Array | None:
    """As `reference.cross_entropy_backward`."""
    rows = _rows(x, 1)
    named = None if rows is None else _labels(labels, rows)
    if rows is None or named is None or g.dtype != FLOAT32:
        return None
    grads = np.ascontiguousarray(g).reshape(-1)
    gx = empty(rows.shape, FLOAT32)
    run(
        _cross_entropy_backward, shares(2 * x.nbytes), grads, rows, named, logs, share,
        float(smoothing), ignored, gx,
    )  # fmt: skip
    return gx
