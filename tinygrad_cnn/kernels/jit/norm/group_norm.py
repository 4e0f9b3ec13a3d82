"""Normalisation of groups of channels in each sample: rows of planes, one after the other.

A row stays in cache from its sums to its result, so that memory is read and written once. Every
plane has its own sums, which are added in one order whatever the number of threads.
"""

from __future__ import annotations

import numpy as np

from tinygrad_cnn.kernels.jit.compile.build import kernel
from tinygrad_cnn.kernels.jit.compile.entry import run
from tinygrad_cnn.kernels.jit.load.images import FLOAT32, parameter
from tinygrad_cnn.kernels.jit.norm.layer_norm import PIECE, SUM, Number, _sum, _sum_squares
from tinygrad_cnn.kernels.memory import empty
from tinygrad_cnn.kernels.threads import shares
from tinygrad_cnn.types import Array


@kernel(fastmath=SUM)
def _products(grad: Array, row: Array, mean: Number) -> tuple[float, float]:
    """Return the sums of grad and of ``grad*(row - mean)``."""
    plain, product = np.float64(0), np.float64(0)
    for start in range(0, row.size, PIECE):
        g, x = grad[start : start + PIECE], row[start : start + PIECE]
        first, second = np.float32(0), np.float32(0)
        for j in range(x.size):
            first += g[j]
            second += g[j] * (x[j] - mean)
        plain += first
        product += second
    return plain, product


@kernel(entry=True)
def _group_norm(
    part: int, parts: int, x: Array, rows: Array, weight: Array, bias: Array, eps: float, y: Array,
    stats: Array,
) -> None:  # fmt: skip
    """Normalise groups of x (n, c, plane), which are `rows` (n*groups, width) of the same memory.

    Wu and He 2018, section 3.1. `stats` (3, n*groups) gets mean, 1/sqrt(var + eps) and var.
    """
    n, c, plane = x.shape
    count, width = rows.shape
    groups = count // n
    some = c // groups
    for r in range(count * part // parts, count * (part + 1) // parts):
        centre = np.float32(_sum(rows[r]) / width)
        var = _sum_squares(rows[r], centre) / width
        factor = np.float32(1 / np.sqrt(var + eps))
        stats[0, r], stats[1, r], stats[2, r] = centre, factor, var
        image, first = r // groups, r % groups * some
        for k in range(first, first + some):
            source, target = x[image, k], y[image, k]
            scale, shift = factor * weight[k], bias[k]
            for j in range(plane):
                target[j] = (source[j] - centre) * scale + shift


@kernel(entry=True)
def _group_norm_backward(
    part: int, parts: int, g: Array, x: Array, groups: int, weight: Array, mean: Array,
    invstd: Array, gx: Array, sums: Array,
) -> None:  # fmt: skip
    """Write gx (n, c, plane), and to `sums` (2, n, c) float64 those over planes of g and of
    ``g*(x - mean)/std``; mean, invstd (n*groups,).
    """
    n, c, plane = x.shape
    some = c // groups
    width = some * plane
    for r in range(n * groups * part // parts, n * groups * (part + 1) // parts):
        image, first = r // groups, r % groups * some
        centre, factor = mean[r], invstd[r]
        plain, product = 0.0, 0.0
        for k in range(first, first + some):
            total, away = _products(g[image, k], x[image, k], centre)
            away *= factor
            sums[0, image, k], sums[1, image, k] = total, away
            plain += total * weight[k]
            product += away * weight[k]
        shift = np.float32(-plain / width * factor)
        slope = np.float32(-product / width * factor * factor)
        for k in range(first, first + some):
            grad, source, target = g[image, k], x[image, k], gx[image, k]
            scale = factor * weight[k]
            for j in range(plane):
                target[j] = grad[j] * scale + ((source[j] - centre) * slope + shift)


def _planes(x: Array) -> Array:
    return np.ascontiguousarray(x).reshape(*x.shape[:2], -1)


def group_norm(
    x: Array, weight: Array | None, bias: Array | None, *, groups: int, eps: float
) -> tuple[Array, Array, Array, Array] | None:
    """As `reference.group_norm`; an x that is not C-contiguous is copied."""
    if x.ndim < 2 or x.size == 0 or groups < 1 or x.shape[1] % groups:
        return None
    n, c = x.shape[:2]
    scale, shift = parameter(weight, 1, (c,)), parameter(bias, 0, (c,))
    if scale is None or shift is None:
        return None
    planes = _planes(x)
    y, stats = empty(planes.shape, FLOAT32), np.empty((3, n * groups), FLOAT32)
    rows = planes.reshape(n * groups, -1)
    run(_group_norm, shares(2 * x.nbytes), planes, rows, scale, shift, float(eps), y, stats)
    mean, invstd, var = stats.reshape(3, n, groups)
    return y.reshape(x.shape), mean, invstd, var


def group_norm_backward(
    g: Array, x: Array, weight: Array | None, mean: Array, invstd: Array, *, groups: int
) -> tuple[Array, Array, Array] | None:
    """As `reference.group_norm_backward`; arrays that are not C-contiguous are copied."""
    fits = x.ndim >= 2 and x.size and g.shape == x.shape
    if not fits or {a.dtype for a in (g, x, mean, invstd)} != {FLOAT32}:
        return None
    n, c = x.shape[:2]
    scale = parameter(weight, 1, (c,))
    if scale is None:
        return None
    planes = _planes(x)
    gx, sums = empty(planes.shape, FLOAT32), np.empty((2, n, c))
    centre, factor = (np.ascontiguousarray(a).reshape(-1) for a in (mean, invstd))
    run(
        _group_norm_backward, shares(3 * x.nbytes), _planes(g), planes, groups, scale, centre,
        factor, gx, sums,
    )  # fmt: skip
    gbias, gweight = sums.sum(1).astype(FLOAT32)
    return gx.reshape(x.shape), gweight, gbias
