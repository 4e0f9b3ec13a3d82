"""Normalisation of sets of planes: a group of a sample's channels, or a channel of all samples.

A group stays in cache from its sums to its result, so that memory is read and written once. Every
plane has its own sums, which are added in one order whatever the number of threads.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from tinygrad_cnn.kernels.jit.compile.build import kernel
from tinygrad_cnn.kernels.jit.compile.entry import run
from tinygrad_cnn.kernels.jit.load.images import FLOAT32, parameter
from tinygrad_cnn.kernels.jit.pointwise.rows import deviations, products, sum_away
from tinygrad_cnn.kernels.memory import empty
from tinygrad_cnn.kernels.threads import shares
from tinygrad_cnn.types import Array


class Planes(NamedTuple):
    """Which planes belong to a set: so many `planes`, `step` apart; sets begin `between` apart."""

    planes: int
    between: int
    step: int


@kernel(entry=True)
def _normalise(
    part: int, parts: int, x: Array, set: Planes, weight: Array, bias: Array, eps: float,
    y: Array, stats: Array,
) -> None:  # fmt: skip
    """Normalise sets of the planes of x (n*c, plane); `stats` (3, sets) gets mean,
    1/sqrt(var + eps) and var.
    """
    plane, c, sets = x.shape[1], weight.size, stats.shape[1]
    width = set.planes * plane
    for r in range(sets * part // parts, sets * (part + 1) // parts):
        first, stop = r * set.between, r * set.between + set.planes * set.step
        total, off, squares = 0.0, 0.0, 0.0
        for k in range(first, stop, set.step):
            total += sum_away(x[k], np.float32(0))
        centre = np.float32(total / width)
        for k in range(first, stop, set.step):
            plain, square = deviations(x[k], centre)
            off += plain
            squares += square
        off /= width  # by which the centre, a rounded mean, is off
        var = max(squares / width - off * off, 0.0)
        factor = np.float32(1 / np.sqrt(var + eps))
        stats[0, r], stats[1, r], stats[2, r] = centre, factor, var
        for k in range(first, stop, set.step):
            source, target = x[k], y[k]
            scale, shift = factor * weight[k % c], bias[k % c]
            for j in range(plane):
                target[j] = (source[j] - centre) * scale + shift


@kernel(entry=True)
def _backward(
    part: int, parts: int, g: Array, x: Array, set: Planes, weight: Array, mean: Array,
    invstd: Array, gx: Array, sums: Array,
) -> None:  # fmt: skip
    """Write gx (n*c, plane), and to `sums` (2, n*c) float64 those over planes of g and of
    ``g*(x - mean)/std``; mean, invstd (sets,).
    """
    plane, c, sets = x.shape[1], weight.size, mean.size
    width = set.planes * plane
    for r in range(sets * part // parts, sets * (part + 1) // parts):
        first, stop = r * set.between, r * set.between + set.planes * set.step
        centre, factor = mean[r], invstd[r]
        plain, product = 0.0, 0.0
        for k in range(first, stop, set.step):
            total, away = products(g[k], x[k], centre)
            away *= factor
            sums[0, k], sums[1, k] = total, away
            plain += total * weight[k % c]
            product += away * weight[k % c]
        shift = np.float32(-plain / width * factor)
        slope = np.float32(-product / width * factor * factor)
        for k in range(first, stop, set.step):
            grad, source, target = g[k], x[k], gx[k]
            scale = factor * weight[k % c]
            for j in range(plane):
                target[j] = grad[j] * scale + ((source[j] - centre) * slope + shift)


@kernel(entry=True)
def _affine(part: int, parts: int, x: Array, scale: Array, shift: Array, y: Array) -> None:
    """Write ``x*scale + shift`` for planes x (n*c, plane). Costs one read and one write."""
    c, planes = scale.size, x.shape[0]
    for k in range(planes * part // parts, planes * (part + 1) // parts):
        source, target = x[k], y[k]
        factor, more = scale[k % c], shift[k % c]
        for j in range(source.size):
            target[j] = source[j] * factor + more


def _planes(x: Array) -> Array:
    return np.ascontiguousarray(x).reshape(x.shape[0] * x.shape[1], -1)


def _groups(shape: tuple[int, ...], groups: int) -> Planes:
    some = shape[1] // groups
    return Planes(planes=some, between=some, step=1)


def _channels(shape: tuple[int, ...]) -> Planes:
    return Planes(planes=shape[0], between=1, step=shape[1])


def _normalised(
    x: Array, weight: Array | None, bias: Array | None, sets: int, planes: Planes, eps: float
) -> tuple[Array, Array] | None:
    c = x.shape[1]
    scale, shift = parameter(weight, 1, (c,)), parameter(bias, 0, (c,))
    if scale is None or shift is None:
        return None
    numbers = _planes(x)
    y, stats = empty(numbers.shape, FLOAT32), np.empty((3, sets), FLOAT32)
    run(_normalise, shares(2 * x.nbytes), numbers, planes, scale, shift, float(eps), y, stats)
    return y.reshape(x.shape), stats


def _gradients(
    g: Array, x: Array, weight: Array | None, mean: Array, invstd: Array, planes: Planes
) -> tuple[Array, Array, Array] | None:
    n, c = x.shape[:2]
    scale = parameter(weight, 1, (c,))
    if scale is None or {a.dtype for a in (g, x, mean, invstd)} != {FLOAT32}:
        return None
    numbers = _planes(x)
    gx, sums = empty(numbers.shape, FLOAT32), np.empty((2, n * c))
    centre, factor = (np.ascontiguousarray(a).reshape(-1) for a in (mean, invstd))
    run(
        _backward, shares(3 * x.nbytes), _planes(g), numbers, planes, scale, centre, factor, gx,
        sums,
    )  # fmt: skip
    gbias, gweight = sums.reshape(2, n, c).sum(1).astype(FLOAT32)
    return gx.reshape(x.shape), gweight, gbias


def group_norm(
    x: Array, weight: Array | None, bias: Array | None, *, groups: int, eps: float
) -> tuple[Array, Array, Array, Array] | None:
    """As `reference.group_norm`; an x that is not C-contiguous is copied."""
    if x.ndim < 2 or x.size == 0 or groups < 1 or x.shape[1] % groups:
        return None
    n = len(x)
    found = _normalised(x, weight, bias, n * groups, _groups(x.shape, groups), eps)
    if found is None:
        return None
    mean, invstd, var = found[1].reshape(3, n, groups)
    return found[0], mean, invstd, var


def group_norm_backward(
    g: Array, x: Array, weight: Array | None, mean: Array, invstd: Array, *, groups: int
) -> tuple[Array, Array, Array] | None:
    """As `reference.group_norm_backward`; arrays that are not C-contiguous are copied."""
    if x.ndim < 2 or x.size == 0 or g.shape != x.shape:
        return None
    return _gradients(g, x, weight, mean, invstd, _groups(x.shape, groups))


def batch_norm_planes(
    x: Array, weight: Array | None, bias: Array | None, eps: float
) -> tuple[Array, Array, Array, Array] | None:
    """As `reference.batch_norm`, for planes that are long enough for vectors."""
    found = _normalised(x, weight, bias, x.shape[1], _channels(x.shape), eps)
    return None if found is None else (found[0], found[1][0], found[1][1], found[1][2])


def batch_norm_planes_backward(
    g: Array, x: Array, weight: Array | None, mean: Array, invstd: Array
) -> tuple[Array, Array, Array] | None:
    """As `reference.batch_norm_backward`, for such planes."""
    return _gradients(g, x, weight, mean, invstd, _channels(x.shape))


def affine_planes(x: Array, scale: Array, shift: Array) -> Array:
    """As `reference.channel_affine`, for such planes and parameters in a row."""
    numbers = _planes(x)
    y = empty(numbers.shape, FLOAT32)
    run(_affine, shares(2 * x.nbytes), numbers, scale, shift, y)
    return y.reshape(x.shape)
