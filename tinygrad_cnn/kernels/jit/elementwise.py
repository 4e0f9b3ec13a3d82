"""Kernels that treat every number alike: one pass over memory, shared among threads."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..memory import empty
from ..pending import Affine, Total, computed
from ..reference.layout import Array
from .arithmetic import with_affine
from .build import kernel
from .gradient_sums import gate
from .launch import FLOAT32, dense, images_like, run, shares

__all__ = ["gradients", "relu", "relu_backward"]


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
    first, last = y.size * part // parts, y.size * (part + 1) // parts
    gate(g[first:last], g[first:last], 0, y[first:last], gx[first:last])


@kernel(entry=True)
def _total_backward(part: int, parts: int, a: Array, b: Array, y: Array, gx: Array) -> None:
    """The same for the gradient ``a + b``. Costs three reads and one write."""
    first, last = y.size * part // parts, y.size * (part + 1) // parts
    gate(a[first:last], b[first:last], 1, y[first:last], gx[first:last])


def relu(x: Array | Total) -> Any:
    """As `reference.relu`, for dense arrays, channels first or last, and sums with an `Affine`."""
    if isinstance(x, Total):
        if x.made is None:
            a, b = x.parts if isinstance(x.parts[0], Affine) else x.parts[::-1]
            if isinstance(a, Affine) and a.made is None:
                found = with_affine(a, computed(b), True)
                if found is not NotImplemented:
                    return found
        x = x.compute()
    found = dense(x)
    if found is None:
        return NotImplemented
    numbers, restore = found
    y = empty(numbers.shape, FLOAT32)
    run(_relu, shares(2 * y.nbytes), numbers, y)
    return restore(y)


def relu_backward(g: Array | Total, y: Array) -> Any:
    """As `reference.relu_backward`, for a dense y; g is copied if it lies otherwise."""
    found = dense(y)
    if found is None or g.shape != y.shape or g.dtype != FLOAT32:
        return NotImplemented
    outputs, restore = found
    last = g.ndim == 4 and not y.flags.c_contiguous
    grads = [images_like(a) if last else np.ascontiguousarray(a) for a in gradients(g)]
    entry = _total_backward if len(grads) == 2 else _relu_backward
    gx = empty(outputs.shape, FLOAT32)
    run(entry, shares(3 * gx.nbytes), *[a.reshape(-1) for a in grads], outputs, gx)
    return restore(gx)


def gradients(g: Array | Total) -> list[Array]:
    """Return what a gradient is the sum of: one array or two."""
    parts = g.parts if isinstance(g, Total) and g.made is None else (g,)
    return [computed(part) for part in parts]
