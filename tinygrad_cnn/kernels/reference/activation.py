"""The rectifier: exact for NaN and infinities, one pass over memory each way."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tinygrad_cnn.kernels import threads
from tinygrad_cnn.kernels.checks import check_shape
from tinygrad_cnn.kernels.memory import scratch
from tinygrad_cnn.kernels.reference.channels import blocks
from tinygrad_cnn.kernels.reference.layout import bits_of, empty_like, mask_where
from tinygrad_cnn.types import Array

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
