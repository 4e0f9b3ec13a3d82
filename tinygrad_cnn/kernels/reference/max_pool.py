"""Max pooling and its linear relatives: gather at the maxima, and scatter back to them.

The index of a maximum is its place in the window, ``i*kw + j``, one byte for every usual window.
Given the index, the forward pass is linear in x (gather) and its adjoint is scatter, so
derivatives of any order are these two. Selection by index works on the bits of the numbers (``x &
mask``): exact for infinities and NaN.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Unpack

import numpy as np

from tinygrad_cnn.kernels import threads
from tinygrad_cnn.kernels.checks import (
    Pair,
    PoolSpec,
    PoolWindow,
    check_image,
    check_pool2d,
    check_shape,
)
from tinygrad_cnn.kernels.memory import Take, empty, scratch
from tinygrad_cnn.kernels.reference.layout import (
    CHUNK_BYTES,
    Chunk,
    as_nchw,
    as_nhwc,
    bits_of,
    chunks,
    crop,
    mask_where,
    taps,
)
from tinygrad_cnn.types import Array, DType


def _chunks(image: Array, oh: int, stride: int) -> list[Chunk]:
    """Return chunks of output rows, by the input that they read."""
    n, _, w, c = image.shape
    return chunks(n, oh, stride * w * c * image.itemsize, CHUNK_BYTES)


def _lowest(dtype: DType) -> float:
    return -np.inf if dtype.kind in "fV" else float(np.iinfo(dtype).min)


def max_pool2d(x: Array, **window: Unpack[PoolWindow]) -> tuple[Array, Array]:
    """Return the maximum of every window of x (n, c, h, w) and where in the window it is.

    Padding counts as minus infinity and is never chosen. Of equal maxima the first in row-major
    order is chosen; a NaN is larger than any number, and of several the last is chosen, as PyTorch
    does.

    Returns
    -------
    y (n, c, oh, ow) and index of the same shape, ``i*kw + j``, uint8 where that suffices, else
    int32; both channels last in memory.

    Raises
    ------
    ValueError: shapes or parameters do not fit.

    >>> x = np.array([[[[1.0, 5.0, 2.0, 2.0], [3.0, 4.0, 2.0, 2.0]]]])
    >>> y, index = max_pool2d(
    ...     x, kernel_size=(2, 2), stride=(2, 2), padding=(0, 0), dilation=(1, 1), ceil_mode=False
    ... )
    >>> y.tolist(), index.tolist()
    ([[[[5.0, 2.0]]]], [[[[1, 0]]]])
    """
    spec = PoolSpec(**window)
    oh, ow = check_pool2d("max_pool2d", x.shape, spec)
    n, c = x.shape[:2]
    image = as_nhwc(x)
    y = empty((n, oh, ow, c), x.dtype)
    index = empty((n, oh, ow, c), index_dtype(spec.kernel_size))
    low = _lowest(x.dtype)
    left, right = spec.extent(1, 0, ow)

    def work(share: Sequence[Chunk]) -> None:
        for chunk in share:
            top, bottom = spec.extent(0, chunk.rows.start, chunk.rows.stop)
            best, place = y[chunk.images, chunk.rows], index[chunk.images, chunk.rows]
            size = (best.shape[1], ow)
            with scratch() as take:
                area = crop(image[chunk.images], top, bottom, left, right, low, take)
                view = _taps(area, size, spec)
                _maxima(view, best, place, take)
                if best.size and not best.min() > low:  # a NaN, or nothing above the padding
                    real = np.zeros((2, *area.shape[1:3], 1), bool)
                    real[0, max(-top, 0) : x.shape[2] - top, max(-left, 0) : x.shape[3] - left] = (
                        True
                    )
                    real[1, max(-top, 0) :, max(-left, 0) :] = True  # not before the first pixel
                    inside, after = _taps(real, size, spec)
                    _maxima_with_nan(view, inside, after, best, place)

    threads.split(_chunks(image, oh, spec.stride[0]), work, x.nbytes)
    return as_nchw(y, x.dtype), as_nchw(index, index.dtype)


def _taps(area: Array, size: Pair, spec: PoolSpec) -> Array:
    return taps(area, spec.kernel_size, size, spec.stride, spec.dilation)


@cache
def index_dtype(kernel_size: Pair) -> DType:
    """Return the dtype of places in windows."""
    return np.dtype(np.uint8 if kernel_size[0] * kernel_size[1] <= 256 else np.int32)


def _maxima(view: Array, best: Array, place: Array, take: Take) -> None:
    """Write maxima and their first places in windows (n, oh, ow, kh, kw, c) without NaN."""
    offsets = list(np.ndindex(view.shape[3:5]))
    np.copyto(best, view[:, :, :, 0, 0])
    for i, j in offsets[1:]:
        np.maximum(best, view[:, :, :, i, j], out=best)
    # Horner's rule from the last tap to the first: place_k = (x_k is not the maximum) *
    # (place_{k+1} + 1)
    place[...] = 0
    differs = take(best.shape, bool)
    for i, j in offsets[-2::-1]:
        np.not_equal(view[:, :, :, i, j], best, out=differs)
        place += 1
        place *= differs.view(np.uint8)


def _maxima_with_nan(view: Array, inside: Array, after: Array, best: Array, place: Array) -> None:
    """As `_maxima`, with PyTorch's comparisons (ATen/native/cpu/MaxPoolKernel.cpp).

    `inside` (oh, ow, kh, kw, 1) tells pixels from padding; where nothing is larger than minus
    infinity the first tap `after` the padding on top and left is the place.
    """
    oh, ow, kh, kw, _ = after.shape
    best[...] = _lowest(best.dtype)
    place[...] = np.argmax(after.reshape(oh, ow, kh * kw), axis=2)[..., None]
    for i, j in np.ndindex(kh, kw):
        value = view[:, :, :, i, j]
        chosen = ((value > best) | (value != value)) & inside[:, :, i, j]
        np.copyto(best, value, where=chosen)
        np.copyto(place, i * kw + j, where=chosen)


def _mask(place: Array, tap: int, bits: DType, take: Take) -> Array:
    """Return integers with all bits set where the place is `tap`, and 0 elsewhere."""
    return mask_where(np.equal(place, tap, out=take(place.shape, bool)), bits, take)


def max_pool2d_gather(x: Array, index: Array, **window: Unpack[PoolWindow]) -> Array:
    """Return x (n, c, h, w) at the places `index` (n, c, oh, ow) that `max_pool2d` has found:
    linear in x.
    """
    spec = PoolSpec(**window)
    oh, ow = check_pool2d("max_pool2d_gather", x.shape, spec)
    n, c = x.shape[:2]
    check_shape("max_pool2d_gather", "index", index.shape, (n, c, oh, ow))
    image, places = as_nhwc(x), as_nhwc(index)
    bits = bits_of(x.dtype)
    y = empty((n, oh, ow, c), x.dtype)
    left, right = spec.extent(1, 0, ow)

    def work(share: Sequence[Chunk]) -> None:
        for chunk in share:
            top, bottom = spec.extent(0, chunk.rows.start, chunk.rows.stop)
            place = places[chunk.images, chunk.rows]
            target = y[chunk.images, chunk.rows].view(bits)
            with scratch() as take:
                area = crop(image[chunk.images], top, bottom, left, right, 0, take).view(bits)
                view = _taps(area, (target.shape[1], ow), spec)
                target[...] = 0
                for tap, (i, j) in enumerate(np.ndindex(*spec.kernel_size)):
                    with scratch() as lend:
                        mask = _mask(place, tap, bits, lend)
                        mask &= view[:, :, :, i, j]
                        target |= mask

    threads.split(_chunks(image, oh, spec.stride[0]), work, x.nbytes)
    return as_nchw(y, x.dtype)


def max_pool2d_scatter(
    g: Array, index: Array, *, size: Pair, **window: Unpack[PoolWindow]
) -> Array:
    """Return the adjoint of `max_pool2d_gather`: g (n, c, oh, ow) added up at its places in (n, c,
    h, w).
    """
    check_image("max_pool2d_scatter", "g", g.shape)
    n, c = g.shape[:2]
    h, w = size
    spec = PoolSpec(**window)
    oh, ow = check_pool2d("max_pool2d_scatter", (n, c, h, w), spec)
    check_shape("max_pool2d_scatter", "g", g.shape, (n, c, oh, ow))
    check_shape("max_pool2d_scatter", "index", index.shape, g.shape)
    grad, places = as_nhwc(g), as_nhwc(index)
    bits = bits_of(g.dtype)
    gx = empty((n, h, w, c), g.dtype)
    (top, bottom), (left, right) = spec.extent(0, 0, oh), spec.extent(1, 0, ow)
    whole = (top, bottom, left, right) == (0, h, 0, w)
    tiled = whole and spec.kernel_size == spec.stride and spec.dilation == (1, 1)

    def work(share: Sequence[Chunk]) -> None:
        for chunk in share:
            images = chunk.images
            target, part = gx[images], grad[images].view(bits)
            with scratch() as take:
                if not whole:
                    shape = (len(target), max(bottom, h) - top, max(right, w) - left, c)
                    target = take(shape, g.dtype)
                if not tiled:
                    target[...] = 0
                view = _taps(target, (oh, ow), spec)
                for tap, (i, j) in enumerate(np.ndindex(*spec.kernel_size)):
                    with scratch() as lend:
                        mask = _mask(places[images], tap, bits, lend)
                        if tiled:
                            np.bitwise_and(mask, part, out=view[:, :, :, i, j].view(bits))
                        else:
                            mask &= part
                            view[:, :, :, i, j] += mask.view(g.dtype)
                if not whole:
                    gx[images] = target[:, -top : h - top, -left : w - left]

    threads.split(chunks(n, 1, h * w * c * g.itemsize, CHUNK_BYTES), work, gx.nbytes)
    return as_nchw(gx, g.dtype)


def max_pool2d_plane_index(index: Array, *, size: Pair, **window: Unpack[PoolWindow]) -> Array:
    """Return `index` (n, c, oh, ow) as places in the flat plane of h*w pixels, int64, like torch's
    return_indices.
    """
    check_image("max_pool2d_plane_index", "index", index.shape)
    n, c = index.shape[:2]
    spec = PoolSpec(**window)
    oh, ow = check_pool2d("max_pool2d_plane_index", (n, c, *size), spec)
    check_shape("max_pool2d_plane_index", "index", index.shape, (n, c, oh, ow))
    i, j = np.divmod(index.astype(np.int64), spec.kernel_size[1])
    stride, padding, dilation = spec.stride, spec.padding, spec.dilation
    y = i * dilation[0] + (np.arange(oh) * stride[0] - padding[0])[:, None]  # (n, c, oh, ow)
    x = j * dilation[1] + (np.arange(ow) * stride[1] - padding[1])
    return np.asarray(y * size[1] + x)
