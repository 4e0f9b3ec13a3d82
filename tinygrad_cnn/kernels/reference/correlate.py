"""The one loop under all convolutions: gather windows of a cache-sized chunk, multiply matrices.

Unlike textbook im2col (Chellapilla et al. 2006, "High performance convolutional neural networks
for document processing") the matrix of windows never exists as a whole: it is made chunk by chunk
in scratch memory that stays in the second-level cache, so main memory sees every input and output
once.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tinygrad_cnn.kernels import threads
from tinygrad_cnn.kernels.conv_spec import Windows
from tinygrad_cnn.kernels.memory import Take, scratch
from tinygrad_cnn.kernels.reference.layout import Chunk, all_finite, chunks, crop, taps
from tinygrad_cnn.kernels.reference.sums import RunningSum
from tinygrad_cnn.types import Array


def _neighbours(windows: Windows, f: int) -> int:
    """Return how many outputs side by side to compute as one of so many times the filters.

    A product with few columns leaves the processor's vectors empty, and neighbouring windows share
    most of their pixels: with 6 filters of 5x5, 4 neighbours read 8 columns instead of 20 and
    multiply with 24 columns instead of 6, many of them 0 (so that a NaN would spread to its
    neighbours). The measure is the cost of a window, in multiplications: 48 for every number that
    is gathered and loaded, one for each filter.
    """
    if windows.dilation[1] != 1 or windows.groups != 1 or windows.kernel[1] == 1:
        return 1

    def cost(block: int) -> float:
        return (windows.kernel[1] + (block - 1) * windows.stride[1]) * (f + 48 / block)

    return min((block for block in range(1, 9) if windows.size[1] % block == 0), key=cost)


def _widened(windows: Windows, block: int) -> Windows:
    """Return the windows that cover `block` neighbours each."""
    (kh, kw), (sh, sw), (oh, ow) = windows.kernel, windows.stride, windows.size
    wide = (kh, kw + (block - 1) * sw)
    return windows._replace(kernel=wide, size=(oh, ow // block), stride=(sh, sw * block))


def _neighbour_taps(wide: Array, windows: Windows, block: int) -> list[Array]:
    """View a matrix for widened windows (1, kh*kw'*c, block*f) as filters (kh, kw, c, f)."""
    (kh, kw), sw, f = windows.kernel, windows.stride[1], wide.shape[2] // block
    split = wide.reshape(kh, kw + (block - 1) * sw, -1, block, f)
    return [split[:, b * sw : b * sw + kw, :, b] for b in range(block)]


def _chunks(x: Array, windows: Windows) -> list[Chunk]:
    taps_bytes = windows.kernel[0] * windows.kernel[1] * x.shape[3] * x.itemsize
    return chunks(x.shape[0], windows.size[0], windows.size[1] * taps_bytes)


def _columns(x: Array, windows: Windows, chunk: Chunk, take: Take) -> Array:
    """Return the windows of a chunk as a matrix per group: (groups, pixels, kh*kw*c/groups)."""
    (kh, kw), ow, groups = windows.kernel, windows.size[1], windows.groups
    depth = x.shape[3] // groups
    pixels = chunk.shape[0] * chunk.shape[1] * ow
    if windows.pointwise(*x.shape[1:3]):
        part = x[chunk.images, chunk.rows]
        return part.reshape(pixels, groups, depth).transpose(1, 0, 2)
    columns = take((groups, pixels, kh * kw * depth), x.dtype)
    top, bottom = windows.extent(0, chunk.rows.start, chunk.rows.stop)
    with scratch() as lend:
        area = crop(x[chunk.images], top, bottom, *windows.extent(1, 0, ow), 0, lend)
        view = taps(area, (kh, kw), (chunk.shape[1], ow), windows.stride, windows.dilation)
        split = view.reshape(*view.shape[:5], groups, depth) if groups > 1 else view[..., None, :]
        shape = (groups, *chunk.shape, ow, kh, kw, depth)
        np.copyto(columns.reshape(shape), split.transpose(5, 0, 1, 2, 3, 4, 6))
    return columns


def _grouped(pixels: Array, groups: int) -> Array:
    """View (n, oh, ow, f) as (groups, pixels, f/groups); its rows are merely far apart, which BLAS
    takes.
    """
    f = pixels.shape[3]
    count = pixels.shape[0] * pixels.shape[1] * pixels.shape[2]
    return pixels.reshape(count, groups, f // groups).transpose(1, 0, 2)


def correlate(x: Array, w: Array, bias: Array | None, out: Array, windows: Windows) -> None:
    """Write the correlation of x (n, h, w, c) with w (groups, kh*kw*c/groups, f/groups) to out (n,
    oh, ow, f).

    x is C-contiguous; out may have any strides and is written without a copy if it is C-contiguous.
    """
    if out.size == 0:
        return
    if x.size == 0:
        out[...] = 0 if bias is None else bias
        return
    block = _neighbours(windows, out.shape[3]) if out.flags.c_contiguous else 1
    if block > 1 and all_finite(x):
        n, oh, ow, f = out.shape
        wider = _widened(windows, block)
        wide = np.zeros((1, w.shape[1] // windows.kernel[1] * wider.kernel[1], block * f), w.dtype)
        for taps_of_one in _neighbour_taps(wide, windows, block):
            taps_of_one[...] = w.reshape(taps_of_one.shape)
        bias = None if bias is None else np.tile(bias, block)
        out, w, windows = out.reshape(n, oh, ow // block, block * f), wide, wider

    def work(share: Sequence[Chunk]) -> None:
        for chunk in share:
            target = out[chunk.images, chunk.rows]  # (n', oh', ow, f)
            with scratch() as take:
                columns = _columns(x, windows, chunk, take)
                direct = target.flags.c_contiguous
                product = target if direct else take(target.shape, out.dtype)
                np.matmul(columns, w, out=_grouped(product, windows.groups))
                if bias is not None:
                    product += bias
                if not direct:
                    target[...] = product

    threads.split(_chunks(x, windows), work, x.nbytes + out.nbytes)


def correlate_weight(x: Array, g: Array, windows: Windows) -> Array:
    """Return the adjoint of `correlate` in w, (groups, kh*kw*c/groups, f/groups), for g (n, oh,
    ow, f).

    Both x (n, h, w, c) and g are C-contiguous.
    """
    n, oh, ow, f = g.shape
    block = _neighbours(windows, f) if g.size else 1
    if block == 1:
        return _weight_products(x, g, windows)
    wider, grads = _widened(windows, block), g.reshape(n, oh, ow // block, block * f)
    wide = _weight_products(x, grads, wider)
    summed = np.add.reduce(_neighbour_taps(wide, windows, block))  # (kh, kw, c, f)
    return np.asarray(summed).reshape(1, -1, f)


def _weight_products(x: Array, g: Array, windows: Windows) -> Array:
    """Return what `correlate_weight` does, from the windows as they are."""
    groups, (kh, kw) = windows.groups, windows.kernel
    shape = (groups, kh * kw * (x.shape[3] // groups), g.shape[3] // groups)
    if x.size == 0 or g.size == 0:
        return np.zeros(shape, g.dtype)

    def work(share: Sequence[Chunk]) -> Array:
        total = RunningSum(shape, g.dtype)
        for chunk in share:
            with scratch() as take:
                columns = _columns(x, windows, chunk, take)
                part = take(shape, g.dtype)
                grads = _grouped(g[chunk.images, chunk.rows], groups)
                total.add(np.matmul(columns.transpose(0, 2, 1), grads, out=part))
        return total.value()

    first, *others = threads.split(_chunks(x, windows), work, x.nbytes + g.nbytes)
    for other in others:
        first += other
    return first
