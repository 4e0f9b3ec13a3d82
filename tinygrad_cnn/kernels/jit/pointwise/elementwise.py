"""Kernels that treat every number alike: one pass over memory, on all threads.

NumPy's are as good on one thread, but memory feeds several faster than one, and a fresh result's
page faults cost more than the arithmetic. Arrays of one layout only: dense, channels first or last.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tinygrad_cnn.kernels.jit.compile.build import kernel
from tinygrad_cnn.kernels.jit.compile.entry import run
from tinygrad_cnn.kernels.jit.compile.vector import BYTES
from tinygrad_cnn.kernels.jit.load.images import (
    FLOAT32,
    dense,
    images,
    images_like,
    images_of,
    nchw,
)
from tinygrad_cnn.kernels.jit.norm.moments import gate
from tinygrad_cnn.kernels.jit.pointwise.epilogue import sum_row
from tinygrad_cnn.kernels.lazy import Affine, Lazy, lower, realize, summands
from tinygrad_cnn.kernels.memory import empty, scratch
from tinygrad_cnn.kernels.threads import shares
from tinygrad_cnn.types import Array

WIDTH = 256  # numbers in a row of pixels, at least: 4 to 16 vector registers


@kernel(entry=True)
def _add(part: int, parts: int, a: Array, b: Array, out: Array) -> None:
    """Write ``a + b``, all (count,). Costs two reads and one write."""
    first, last = out.size * part // parts, out.size * (part + 1) // parts
    left, right, target = a[first:last], b[first:last], out[first:last]
    for i in range(target.size):
        target[i] = left[i] + right[i]


@kernel(entry=True)
def _add_to(part: int, parts: int, a: Array, b: Array) -> None:
    """Add b to a, both (count,). Costs two reads and one write."""
    first, last = a.size * part // parts, a.size * (part + 1) // parts
    target, source = a[first:last], b[first:last]
    for i in range(target.size):
        target[i] += source[i]


@kernel(entry=True)
def _mul(part: int, parts: int, a: Array, b: Array, out: Array) -> None:
    """Write ``a * b``, all (count,). Costs two reads and one write."""
    first, last = out.size * part // parts, out.size * (part + 1) // parts
    left, right, target = a[first:last], b[first:last], out[first:last]
    for i in range(target.size):
        target[i] = left[i] * right[i]


@kernel(entry=True)
def _leaky(part: int, parts: int, x: Array, g: Array, slope: float, out: Array) -> None:
    """Write g where x is positive, else ``g * slope``; all (count,). Two reads and one write."""
    first, last = out.size * part // parts, out.size * (part + 1) // parts
    source, grad, target = x[first:last], g[first:last], out[first:last]
    zero, factor = np.float32(0), np.float32(slope)
    for i in range(target.size):
        value = grad[i]
        small = value * factor
        target[i] = value if source[i] > zero else small


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
def _relu_backward(
    part: int, parts: int, a: Array, b: Array, two: int, y: Array, gx: Array
) -> None:
    """Write the gradient, a or ``a + b`` of `two`, where y is positive or NaN, else 0; (count,).

    Costs two or three reads and one write.
    """
    first, last = y.size * part // parts, y.size * (part + 1) // parts
    gate(a[first:last], b[first:last], two, y[first:last], gx[first:last])


@kernel(entry=True)
def _affine_add(
    part: int, parts: int, x: Array, scale: Array, shift: Array, inner: int, b: Array,
    relu: int, space: Array, out: Array,
) -> None:  # fmt: skip
    """Write what an `Epilogue` is, for x, b, out (pixels*c,); scale, shift (c,).

    `space` (parts, 2, width) holds both again and again, so that rows are long. Costs two reads
    and one write.
    """
    width, c = space.shape[2], scale.size
    scales, shifts = space[part, 0], space[part, 1]
    for start in range(0, width, c):
        for k in range(c):
            scales[start + k] = scale[k]
            shifts[start + k] = shift[k]
    rows = (x.size + width - 1) // width
    for r in range(rows * part // parts, rows * (part + 1) // parts):
        at = r * width * BYTES
        sum_row(
            out.ctypes.data + at, x.ctypes.data + at, scales.ctypes.data, shifts.ctypes.data,
            b.ctypes.data + at, min(width, x.size - r * width), inner, relu,
        )  # fmt: skip


def two(a: Array, b: Array) -> tuple[Array, Array, Callable[[Array], Array]] | None:
    """Return both as (count,) numbers in the same order, and what gives a's shape back to such
    numbers; None if their order in memory differs.
    """
    if a.shape != b.shape or b.dtype != FLOAT32:
        return None
    found = dense(a)
    if found is None:
        return None
    other = dense(b)
    if other is None:
        return None
    first, second = a.flags.c_contiguous, b.flags.c_contiguous
    if first == second or (images(a) is None) == (images(b) is None):  # or both, with one channel
        return found[0], other[0], found[1]
    if a.ndim != 4:
        return None
    # One has its channels last, and convolutions want what is made of it in that order.
    if second:
        return found[0], images_like(b).reshape(-1), found[1]
    return images_like(a).reshape(-1), other[0], other[1]


def _combined(entry: Callable[..., None], a: Array, b: Array, *numbers: float) -> Array | None:
    found = two(a, b)
    if found is None:
        return None
    left, right, restore = found
    out = empty(left.shape, FLOAT32)
    run(entry, shares(3 * out.nbytes), left, right, *numbers, out)
    return restore(out)


def _with_affine(a: Affine, b: Array, relu: bool) -> Array | None:
    """Return ``a + b``, and 0 where it is negative if `relu`; None for other layouts."""
    image, other = images(a.x), images_of(b)
    if image is None or other is None or image.shape != other.shape:
        return None
    out, c = empty(image.shape, FLOAT32), image.shape[3]
    parts = shares(3 * out.nbytes)
    with scratch() as take:
        run(
            _affine_add, parts, image.reshape(-1), a.scale, a.shift, int(a.relu),
            other.reshape(-1), int(relu), take((parts, 2, -(-WIDTH // c) * c), FLOAT32),
            out.reshape(-1),
        )  # fmt: skip
    return nchw(out)


def affine_sum(a: Array | Lazy, b: Array | Lazy, *, relu: bool) -> Array | None:
    """Return ``a + b``, and 0 where it is negative if `relu`, where one of both is an affine
    function of its channels that is computed on the way; else None.
    """
    if type(a) is not Lazy or a.is_realized:
        a, b = b, a
    moved = lower(a)
    return _with_affine(moved, realize(b), relu) if type(moved) is Affine else None


def add(a: Array | Lazy, b: Array | Lazy) -> Array | None:
    """As `reference.add`, for arrays of one layout."""
    found = affine_sum(a, b, relu=False)
    return _combined(_add, realize(a), realize(b)) if found is None else found


def add_(a: Array, b: Array) -> Array | None:
    """As `reference.add_`, for arrays of one layout."""
    if not a.flags.writeable or (a.ndim == 4 and a.strides != b.strides):
        return None
    found = two(a, b)
    if found is None:
        return None
    run(_add_to, shares(3 * a.nbytes), found[0], found[1])
    return a


def mul(a: Array, b: Array) -> Array | None:
    """As `reference.mul`, for arrays of one layout."""
    return _combined(_mul, a, b)


def leaky_relu(x: Array, slope: float) -> Array | None:
    """As `reference.leaky_relu`, for dense arrays."""
    return _combined(_leaky, x, x, float(slope))


def leaky_relu_backward(x: Array, g: Array, slope: float) -> Array | None:
    """As `reference.leaky_relu_backward`, for arrays of one layout."""
    return _combined(_leaky, x, g, float(slope))


def relu(x: Array | Lazy) -> Array | None:
    """As `reference.relu`, for dense arrays, channels first or last, and sums."""
    if type(x) is Lazy:
        expr = x.expr
        total = affine_sum(*expr[1:], relu=True) if expr[0] == "add" else None
        if total is not None:
            return total
    found = dense(realize(x))
    if found is None:
        return None
    numbers, restore = found
    y = empty(numbers.shape, FLOAT32)
    run(_relu, shares(2 * y.nbytes), numbers, y)
    return restore(y)


def relu_backward(g: Array | Lazy, y: Array) -> Array | None:
    """As `reference.relu_backward`, for a dense y; g is copied if it lies otherwise."""
    found = dense(y)
    if found is None or g.shape != y.shape or g.dtype != FLOAT32:
        return None
    outputs, restore = found
    last = g.ndim == 4 and not y.flags.c_contiguous
    grads = [images_like(a) if last else np.ascontiguousarray(a) for a in summands(g)]
    gx, two = empty(outputs.shape, FLOAT32), int(len(grads) == 2)
    rows = grads[0].reshape(-1), grads[-1].reshape(-1)
    run(_relu_backward, shares(3 * gx.nbytes), *rows, two, outputs, gx)
    return restore(gx)
