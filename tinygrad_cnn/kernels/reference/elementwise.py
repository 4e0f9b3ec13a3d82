"""Kernels that treat every number alike: rectifiers, sums, products; NaN and infinities stay."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tinygrad_cnn.kernels import threads
from tinygrad_cnn.kernels.checks import check_shape
from tinygrad_cnn.kernels.memory import scratch
from tinygrad_cnn.kernels.reference.channels import blocks
from tinygrad_cnn.kernels.reference.layout import bits_of, empty_like, mask_where, new_array
from tinygrad_cnn.types import Array

Shape = tuple[int, ...]

SMALL = 1 << 14  # bytes: below this, one call to NumPy costs less than any preparation


def relu(x: Array) -> Array:
    """Return ``max(x, 0)``, keeping NaN, in x's order in memory.

    >>> relu(np.array([-1.0, 2.0, np.nan]))
    array([ 0.,  2., nan])
    """
    if x.nbytes < SMALL:
        return np.asarray(np.maximum(x, x.dtype.type(0)))
    y = empty_like(x)
    source, target = _flat(y, x, y)

    def work(share: Sequence[slice]) -> None:
        for block in share:
            np.maximum(source[block], x.dtype.type(0), out=target[block])

    threads.split(_blocks(target), work, 2 * y.nbytes)
    return y


def _flat(like: Array, *arrays: Array) -> list[Array]:
    """View arrays, which may have to be copied, as rows of numbers in the order of `like` in
    memory.
    """
    order = sorted(range(like.ndim), key=lambda axis: -like.strides[axis])
    return [a.transpose(order).reshape(-1) for a in arrays]


def _blocks(flat: Array) -> list[slice]:
    return blocks(len(flat), 1, flat.itemsize)


def relu_backward(g: Array, y: Array) -> Array:
    """Return g where the output y of `relu` is positive or NaN, else 0 (as PyTorch's
    threshold_backward).

    >>> relu_backward(np.array([5.0, 6.0, 7.0]), np.array([0.0, 2.0, np.nan]))
    array([0., 6., 7.])
    """
    check_shape("relu_backward", "g", g.shape, y.shape)
    if y.nbytes < SMALL:
        return np.asarray(np.where(np.less_equal(y, 0), g.dtype.type(0), g))
    gx = empty_like(y, g.dtype)
    grads, outputs, results = _flat(gx, g, y, gx)
    bits = bits_of(g.dtype)

    def work(share: Sequence[slice]) -> None:
        for block in share:
            with scratch() as take:
                off = np.less_equal(outputs[block], 0, out=take(outputs[block].shape, bool))
                mask = mask_where(np.logical_not(off, out=off), bits, take)
                np.bitwise_and(mask, grads[block].view(bits), out=results[block].view(bits))

    threads.split(_blocks(results), work, 3 * gx.nbytes)
    return gx


def add(a: Array, b: Array) -> Array:
    """Return ``a + b``.

    >>> add(np.array([1.0, 2.0]), np.array([3.0, 4.0]))
    array([4., 6.])
    """
    return np.asarray(np.add(a, b))


def add_(a: Array, b: Array) -> Array:
    """Add b to a in place, and return a.

    >>> total = np.array([1.0, 2.0])
    >>> add_(total, np.array([3.0, 4.0])) is total, total
    (True, array([4., 6.]))
    """
    return np.asarray(np.add(a, b, out=a))


def mul(a: Array, b: Array) -> Array:
    """Return ``a * b``.

    >>> mul(np.array([1.0, 2.0]), np.array([3.0, 4.0]))
    array([3., 8.])
    """
    return np.asarray(np.multiply(a, b))


def embed(x: Array, shape: Shape, start: Shape, step: Shape) -> Array:
    """Return zeros of `shape`, and in them x: from `start` on, every `step`-th place of each axis.

    The result's channels are last in memory if those of x are.

    >>> embed(np.array([1, 2]), (5,), (1,), (2,))
    array([0, 1, 0, 2, 0])
    """
    out = new_array(shape, x)
    out.fill(0)
    places = zip(start, x.shape, step, strict=True)
    out[tuple(slice(first, first + n * every, every) for first, n, every in places)] = x
    return out


def in_rows(x: Array) -> Array:
    """Return x in C order.

    >>> in_rows(np.ones((2, 3)).T).flags.c_contiguous
    True
    """
    return np.ascontiguousarray(x)


def leaky_relu(x: Array, slope: float) -> Array:
    """Return x where it is positive, else ``x * slope``, NaN where x is NaN.

    >>> leaky_relu(np.array([-1.0, 2.0]), 0.5)
    array([-0.5,  2. ])
    """
    return np.where(x > 0, x, x * slope)


def leaky_relu_backward(x: Array, g: Array, slope: float) -> Array:
    """Return g where x, the argument of `leaky_relu`, is positive, else ``g * slope``.

    >>> leaky_relu_backward(np.array([-1.0, 2.0]), np.array([3.0, 3.0]), 0.5)
    array([1.5, 3. ])
    """
    return np.where(x > 0, g, g * slope)
