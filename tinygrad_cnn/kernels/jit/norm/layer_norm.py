"""Layer normalisation of the rows of a matrix, shared among threads by rows."""

from __future__ import annotations

import numpy as np

from tinygrad_cnn.kernels.jit.compile.build import kernel
from tinygrad_cnn.kernels.jit.compile.entry import run
from tinygrad_cnn.kernels.jit.load.images import FLOAT32, parameter
from tinygrad_cnn.kernels.jit.pointwise.rows import sum_away, sum_squares, weighted_products
from tinygrad_cnn.kernels.memory import empty, scratch
from tinygrad_cnn.kernels.threads import shares
from tinygrad_cnn.types import Array

BLOCK = 64  # rows whose gradients of weight and bias are added in float32


@kernel(entry=True)
def _layer_norm(
    part: int, parts: int, x: Array, weight: Array, bias: Array, eps: float, y: Array,
    mean: Array, invstd: Array,
) -> None:  # fmt: skip
    """Normalise the rows of x (rows, width) (Ba, Kiros and Hinton 2016, equation 4).

    Mean first, then squares of what is away from it; a row stays in cache, so that memory is read
    and written once.
    """
    rows, width = x.shape
    for r in range(rows * part // parts, rows * (part + 1) // parts):
        row, target = x[r], y[r]
        centre = np.float32(sum_away(row, np.float32(0)) / width)
        factor = np.float32(1 / np.sqrt(sum_squares(row, centre) / width + eps))
        mean[r], invstd[r] = centre, factor
        for j in range(width):
            target[j] = (row[j] - centre) * factor * weight[j] + bias[j]


@kernel(entry=True)
def _layer_norm_backward(
    part: int, parts: int, g: Array, x: Array, weight: Array, mean: Array, invstd: Array,
    gx: Array, sums: Array, space: Array,
) -> None:  # fmt: skip
    """Write gx (rows, width) and each share's gradients of weight and bias, `sums`
    (2, parts, width) float64. Costs two reads and one write of the matrix.

    `space` is (parts, 2, width) float32.
    """
    rows, width = x.shape
    low, high = rows * part // parts, rows * (part + 1) // parts
    gweight, gbias = space[part, 0], space[part, 1]
    gweight[:] = 0
    gbias[:] = 0
    totals, plain = sums[0, part], sums[1, part]
    for start in range(low, high, BLOCK):
        for r in range(start, min(high, start + BLOCK)):
            grad, row, target = g[r], x[r], gx[r]
            centre, factor = mean[r], invstd[r]
            first, second = weighted_products(grad, row, weight, centre)
            shift = np.float32(-first / width * factor)
            slope = np.float32(-second / width * factor * factor * factor)
            for j in range(width):
                value, away = grad[j], row[j] - centre
                gweight[j] += value * (away * factor)
                gbias[j] += value
                target[j] = value * weight[j] * factor + (away * slope + shift)
        for j in range(width):
            totals[j] += gweight[j]
            plain[j] += gbias[j]
            gweight[j] = 0
            gbias[j] = 0


def _rows(x: Array, width: int) -> Array:
    return np.ascontiguousarray(x).reshape(-1, width)


def layer_norm(
    x: Array, weight: Array | None, bias: Array | None, *, ndim: int, eps: float
) -> tuple[Array, Array, Array] | None:
    """As `reference.layer_norm`; an x that is not C-contiguous is copied."""
    if x.size == 0 or not 1 <= ndim <= x.ndim:
        return None
    inner = x.shape[x.ndim - ndim :]
    scale, shift = parameter(weight, 1, inner), parameter(bias, 0, inner)
    if scale is None or shift is None:
        return None
    matrix = _rows(x, scale.size)
    y = empty(matrix.shape, FLOAT32)
    mean, invstd = np.empty(len(matrix), FLOAT32), np.empty(len(matrix), FLOAT32)
    run(_layer_norm, shares(2 * x.nbytes), matrix, scale, shift, float(eps), y, mean, invstd)
    outer = (*x.shape[: x.ndim - ndim], *(1,) * ndim)
    return y.reshape(x.shape), mean.reshape(outer), invstd.reshape(outer)


def layer_norm_backward(
    g: Array, x: Array, weight: Array | None, mean: Array, invstd: Array, *, ndim: int
) -> tuple[Array, Array, Array] | None:
    """As `reference.layer_norm_backward`; arrays that are not C-contiguous are copied."""
    fits = x.size and 1 <= ndim <= x.ndim and g.shape == x.shape
    if not fits or {a.dtype for a in (g, x, mean, invstd)} != {FLOAT32}:
        return None
    inner = x.shape[x.ndim - ndim :]
    scale = parameter(weight, 1, inner)
    if scale is None:
        return None
    matrix, grads = _rows(x, scale.size), _rows(g, scale.size)
    centre, factor = _rows(mean, 1).reshape(-1), _rows(invstd, 1).reshape(-1)
    gx = empty(matrix.shape, FLOAT32)
    parts = shares(3 * x.nbytes)
    sums = np.zeros((2, parts, scale.size))
    with scratch() as take:
        space = take((parts, 2, scale.size), FLOAT32)
        run(_layer_norm_backward, parts, grads, matrix, scale, centre, factor, gx, sums, space)
    gweight, gbias = sums.sum(1).astype(FLOAT32).reshape(2, *inner)
    return gx.reshape(x.shape), gweight, gbias
