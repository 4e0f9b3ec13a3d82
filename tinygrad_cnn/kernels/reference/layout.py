"""Images in memory: (n, c, h, w) to the caller, channels last underneath.

Inside the kernels an image batch is an (n, h, w, c) array: all channels of a pixel lie together,
so that a pixel is a row of a matrix product and a per-channel factor is a row vector.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided

from tinygrad_cnn.kernels import threads
from tinygrad_cnn.kernels.memory import Take, empty
from tinygrad_cnn.types import Array, DType

CHUNK_BYTES = 3 << 19  # work space of one chunk: stays in a second-level cache of 1 to 2 MB
# Of each array in one block of an element-wise pass: several of them fit in cache together.
BLOCK_BYTES = 1 << 19


def accumulation_dtype(*arrays: Array) -> DType:
    """Return the dtype to compute in: the common one, but float32 for float16."""
    dtype = np.result_type(*arrays)
    return np.dtype(np.float32) if dtype == np.float16 else dtype


def all_finite(x: Array) -> bool:
    """Return whether no number is infinite or NaN; of float32, mostly by one sum of squares.

    >>> all_finite(np.float32([1e30, 2])), all_finite(np.float32([1, np.inf]))
    (True, False)
    """
    if x.dtype == np.float32:
        power = threads.one_blas_thread(lambda: np.vdot(x, x))  # which has no warnings
        if math.isfinite(power):
            return True
    return bool(np.isfinite(x).all())


def as_array(x: Any) -> Array:
    """Return a number of NumPy's as an array (), and an array, of any class, as it is."""
    return x if isinstance(x, np.ndarray) else np.asarray(x)


def as_nhwc(x: Array, dtype: DType | None = None) -> Array:
    """Return x (n, c, h, w) as a C-contiguous (n, h, w, c) array: a view if it lies so, else a
    copy.
    """
    image = x.transpose(0, 2, 3, 1)  # (n, h, w, c)
    wanted = x.dtype if dtype is None else dtype
    if image.flags.c_contiguous and image.dtype == wanted:
        return image
    out = empty(image.shape, wanted)
    np.copyto(out, image, casting="unsafe")
    return out


def as_nchw(image: Array, dtype: DType) -> Array:
    """Return an (n, h, w, c) array as (n, c, h, w) of `dtype`, channels last in memory."""
    return image.astype(dtype, copy=False).transpose(0, 3, 1, 2)


def bits_of(dtype: DType) -> DType:
    """Return the signed integers as wide as `dtype`."""
    return np.dtype(f"i{dtype.itemsize}")


def mask_where(chosen: Array, bits: DType, take: Take) -> Array:
    """Turn a boolean scratch array, in place, to integers `bits` with all bits set where it was
    true.

    ``number_bits & mask`` then selects numbers as they are; a product with 0 and 1 would make NaN
    of infinities.
    """
    ones = chosen.view(np.int8)
    np.negative(ones, out=ones)
    if bits.itemsize == 1:
        return ones
    mask = take(chosen.shape, bits)
    np.copyto(mask, ones)  # sign extension
    return mask


def empty_like(x: Array, dtype: DType | None = None) -> Array:
    """Return an uninitialised dense array of x's shape, its axes in x's order in memory."""
    order = sorted(range(x.ndim), key=lambda axis: -abs(x.strides[axis]))
    return empty(tuple(x.shape[a] for a in order), dtype or x.dtype).transpose(np.argsort(order))


def new_array(shape: tuple[int, ...], x: Array) -> Array:
    """Return an uninitialised array of x's dtype, its channels last in memory if those of x
    (n, c, h, w) are: whoever combines the two finds them in one order.
    """
    if x.ndim == len(shape) == 4 and x.shape[1] > 1:
        channel, *sides = (abs(x.strides[axis]) for axis in (1, 2, 3))
        if channel < min(sides):
            n, c, h, w = shape
            return empty((n, h, w, c), x.dtype).transpose(0, 3, 1, 2)  # (n, c, h, w)
    return empty(shape, x.dtype)


def empty_nhwc(n: int, h: int, w: int, c: int, dtype: DType) -> Array:
    """Return an uninitialised C-contiguous (n, h, w, c) array."""
    return empty((n, h, w, c), dtype)


def rows_per_chunk(total: int, row_bytes: int, budget: int = CHUNK_BYTES) -> int:
    """Return how many of `total` rows of `row_bytes` fit into `budget`: at least 1."""
    return max(1, min(total, budget // max(row_bytes, 1)))


@dataclass(frozen=True)
class Chunk:
    """Some images, or some rows of one image."""

    images: slice
    rows: slice

    @property
    def shape(self) -> tuple[int, int]:
        """Number of images and of rows."""
        return self.images.stop - self.images.start, self.rows.stop - self.rows.start


def chunks(n: int, rows: int, row_bytes: int, budget: int = CHUNK_BYTES) -> list[Chunk]:
    """Cut n images of `rows` rows into chunks of about `budget` bytes, as many for each thread."""
    if n * rows == 0:
        return []
    images = rows_per_chunk(n, rows * row_bytes, budget)
    parts = -(-n // images)
    images = -(-n // min(n, parts + -parts % threads.count()))
    step = rows
    if images == 1:
        shared = -(-rows // threads.count()) if n == 1 else rows
        step = min(shared, rows_per_chunk(rows, row_bytes, budget))
    return [
        Chunk(slice(n0, min(n, n0 + images)), slice(p0, min(rows, p0 + step)))
        for n0 in range(0, n, images)
        for p0 in range(0, rows, step)
    ]


def crop(
    image: Array, top: int, bottom: int, left: int, right: int, fill: float, take: Take
) -> Array:
    """Return rows [top, bottom) and columns [left, right) of image (n, h, w, c), `fill` outside of
    it.

    A view where the range lies inside; otherwise a copy in scratch memory.
    """
    n, h, w, c = image.shape
    y0, y1, x0, x1 = max(top, 0), min(bottom, h), max(left, 0), min(right, w)
    inside = image[:, y0 : max(y1, y0), x0 : max(x1, x0)]
    if (y0, y1, x0, x1) == (top, bottom, left, right):
        return inside
    out = take((n, bottom - top, right - left, c), image.dtype)
    if y1 <= y0 or x1 <= x0:
        out[...] = fill
        return out
    y0, y1, x0, x1 = y0 - top, y1 - top, x0 - left, x1 - left
    out[:, :y0] = fill
    out[:, y1:] = fill
    out[:, y0:y1, :x0] = fill
    out[:, y0:y1, x1:] = fill
    out[:, y0:y1, x0:x1] = inside
    return out


def taps(
    image: Array,
    kernel: tuple[int, int],
    size: tuple[int, int],
    stride: tuple[int, int],
    dilation: tuple[int, int],
) -> Array:
    """Return the view (n, oh, ow, kh, kw, c) of image (n, h, w, c): every window's pixels.

    Writable if the image is; windows overlap, so never write through the whole view at once.
    """
    sn, sy, sx, sc = image.strides
    return as_strided(
        image,
        (image.shape[0], *size, *kernel, image.shape[3]),
        (sn, sy * stride[0], sx * stride[1], sy * dilation[0], sx * dilation[1], sc),
    )
