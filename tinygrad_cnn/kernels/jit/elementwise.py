"""Kernels that treat every number alike: one pass over memory, shared among threads."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..memory import empty
from ..reference.layout import Array
from .build import kernel
from .launch import FLOAT32, dense, images_like, run, shares

__all__ = ["relu", "relu_backward"]


@kernel(entry=True)
def _relu(part: int, parts: int, x: Array, y: Array) -> None:
    """Write ``max(x, 0)``, NaN where x is NaN; x, y (count,). Costs one read and one write."""
    zero = np.float32(0)
    source = x[x.size * part // parts : x.size * (part + 1) // parts]
    target = y[x.size * part // parts : x.size * (part + 1) // parts]
    for i in range(source.size):
        value = source[i]
        target[i] = zero if value <= zero else value


@kernel(entry=True)
def _relu_backward(part: int, parts: int, g: Array, y: Array, gx: Array) -> None:
    """Write g where y is positive or NaN, else 0; all (count,). Costs two reads and one write."""
    zero = np.float32(0)
    first, last = y.size * part // parts, y.size * (part + 1) // parts
    grads, outputs, target = g[first:last], y[first:last], gx[first:last]
    for i in range(target.size):
        grad = grads[i]
        target[i] = zero if outputs[i] <= zero else grad


def relu(x: Array) -> Any:
    """As `reference.relu`, for dense arrays, channels first or last."""
    found = dense(x)
    if found is None:
        return NotImplemented
    numbers, restore = found
    y = empty(numbers.shape, FLOAT32)
    run(_relu, shares(2 * y.nbytes), numbers, y)
    return restore(y)


def relu_backward(g: Array, y: Array) -> Any:
    """As `reference.relu_backward`, for a dense y; g is copied if it lies otherwise."""
    found = dense(y)
    if found is None or g.shape != y.shape or g.dtype != FLOAT32:
        return NotImplemented
    outputs, restore = found
    same = images_like(g) if g.ndim == 4 and not y.flags.c_contiguous else np.ascontiguousarray(g)
    gx = empty(outputs.shape, FLOAT32)
    run(_relu_backward, shares(3 * gx.nbytes), same.reshape(-1), outputs, gx)
    return restore(gx)
