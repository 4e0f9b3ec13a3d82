"""Kernels that treat every number alike: one pass over memory, shared among threads."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_cnn.kernels.jit.compile.build import kernel
from tinygrad_cnn.kernels.jit.compile.entry import run
from tinygrad_cnn.kernels.jit.load.launch import FLOAT32, dense, images_like, shares
from tinygrad_cnn.kernels.jit.norm.gradient_sums import gate
from tinygrad_cnn.kernels.jit.pointwise.arithmetic import affine_sum
from tinygrad_cnn.kernels.lazy import Lazy, realize, summands
from tinygrad_cnn.kernels.memory import empty
from tinygrad_cnn.kernels.reference.layout import Array


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


def relu(x: Array | Lazy) -> Any:
    """As `reference.relu`, for dense arrays, channels first or last, and sums."""
    if type(x) is Lazy:
        expr = x.expr
        found = affine_sum(*expr[1:], relu=True) if expr[0] == "add" else NotImplemented
        if found is not NotImplemented:
            return found
    found = dense(realize(x))
    if found is None:
        return NotImplemented
    numbers, restore = found
    y = empty(numbers.shape, FLOAT32)
    run(_relu, shares(2 * y.nbytes), numbers, y)
    return restore(y)


def relu_backward(g: Array | Lazy, y: Array) -> Any:
    """As `reference.relu_backward`, for a dense y; g is copied if it lies otherwise."""
    found = dense(y)
    if found is None or g.shape != y.shape or g.dtype != FLOAT32:
        return NotImplemented
    outputs, restore = found
    last = g.ndim == 4 and not y.flags.c_contiguous
    grads = [images_like(a) if last else np.ascontiguousarray(a) for a in summands(g)]
    entry = _total_backward if len(grads) == 2 else _relu_backward
    gx = empty(outputs.shape, FLOAT32)
    run(entry, shares(3 * gx.nbytes), *[a.reshape(-1) for a in grads], outputs, gx)
    return restore(gx)
