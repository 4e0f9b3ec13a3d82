"""Depthwise convolution: with one channel per group there is no matrix product, only shifted
multiply-adds.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tinygrad_cnn.kernels import threads
from tinygrad_cnn.kernels.conv_spec import Windows
from tinygrad_cnn.kernels.memory import Take, scratch
from tinygrad_cnn.kernels.reference.layout import CHUNK_BYTES, Chunk, chunks, crop, taps
from tinygrad_cnn.kernels.reference.sums import RunningSum, sum
from tinygrad_cnn.types import Array


def _chunks(x: Array, windows: Windows) -> list[Chunk]:
    """Return chunks such that input, output and products stay in cache."""
    oh, ow = windows.size
    return chunks(x.shape[0], oh, ow * x.shape[3] * x.itemsize, CHUNK_BYTES // 4)


def _shifted(x: Array, windows: Windows, chunk: Chunk, take: Take) -> Array:
    """Return the chunk's windows (n, oh, ow, kh, kw, c) as a view of x with zeros around it."""
    top, bottom = windows.extent(0, chunk.rows.start, chunk.rows.stop)
    left, right = windows.extent(1, 0, windows.size[1])
    area = crop(x[chunk.images], top, bottom, left, right, 0, take)
    size = (chunk.shape[1], windows.size[1])
    return taps(area, windows.kernel, size, windows.stride, windows.dilation)


def correlate_depthwise(
    x: Array, w: Array, bias: Array | None, out: Array, windows: Windows
) -> None:
    """Write the correlation of x (n, h, w, c) with w (kh, kw, c), channel by channel, to out (n,
    oh, ow, c).
    """

    def work(share: Sequence[Chunk]) -> None:
        for chunk in share:
            target = out[chunk.images, chunk.rows]
            with scratch() as take:
                view = _shifted(x, windows, chunk, take)
                product = take(target.shape, out.dtype)
                np.multiply(view[:, :, :, 0, 0], w[0, 0], out=target)
                for i, j in list(np.ndindex(windows.kernel))[1:]:
                    np.multiply(view[:, :, :, i, j], w[i, j], out=product)
                    target += product
                if bias is not None:
                    target += bias

    threads.split(_chunks(x, windows), work, x.nbytes + out.nbytes)


def correlate_depthwise_weight(x: Array, g: Array, windows: Windows) -> Array:
    """Return the adjoint of `correlate_depthwise` in w, (kh, kw, c), for g (n, oh, ow, c)."""
    c = x.shape[3]

    def work(share: Sequence[Chunk]) -> Array:
        total = RunningSum((*windows.kernel, c), g.dtype)
        for chunk in share:
            part = g[chunk.images, chunk.rows]
            with scratch() as take:
                view = _shifted(x, windows, chunk, take)
                product, found = take(part.shape, g.dtype), take((*windows.kernel, c), g.dtype)
                for i, j in np.ndindex(windows.kernel):
                    np.multiply(view[:, :, :, i, j], part, out=product)
                    found[i, j] = sum(product.reshape(-1, c), (0,))
                total.add(found)
        return total.value()

    first, *others = threads.split(_chunks(x, windows), work, x.nbytes + g.nbytes)
    for other in others:
        first += other
    return first
