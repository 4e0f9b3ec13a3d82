"""Convolution that multiplies nothing but what its definition names: tap by tap.

Padding is no input. The fast ways multiply the zeros that stand for it all the same, and numbers
that are dropped afterwards; that is right unless the other factor is infinite or NaN. Then these do
it again: for each tap, the part of the outputs whose window has a pixel there, in one matrix
product. Slower by a small factor, and only for numbers that are lost anyway.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tinygrad_cnn.kernels.conv_spec import Windows
from tinygrad_cnn.kernels.fp_errors import ignore_fp_errors
from tinygrad_cnn.kernels.threads import one_blas_thread
from tinygrad_cnn.types import Array


def _overlap(windows: Windows, axis: int, tap: int, length: int) -> tuple[slice, slice]:
    """Return the outputs along an axis whose windows have an existing pixel at a tap, and these."""
    stride, start = windows.stride[axis], windows.origin[axis] + tap * windows.dilation[axis]
    first = max(0, -(start // stride))
    stop = max(first, min(windows.size[axis], (length - 1 - start) // stride + 1))
    pixel = first * stride + start
    return slice(first, stop), slice(pixel, pixel + (stop - first) * stride, stride)


def _taps(windows: Windows, size: tuple[int, ...]) -> Iterator[tuple[int, int, Array, Array]]:
    """Yield (i, j, indices of outputs, indices of pixels), each for (n, h, w, c), of all taps."""
    for i, j in np.ndindex(windows.kernel):
        rows, ys = _overlap(windows, 0, i, size[0])
        columns, xs = _overlap(windows, 1, j, size[1])
        if rows.stop > rows.start and columns.stop > columns.start:
            yield i, j, (slice(None), rows, columns), (slice(None), ys, xs)  # type: ignore[misc]


def _by_group(pixels: Array, groups: int) -> Array:
    """Return (n, h, w, c) as (groups, pixels, c/groups)."""
    return pixels.reshape(-1, groups, pixels.shape[3] // groups).transpose(1, 0, 2)


@ignore_fp_errors
def correlate_taps(x: Array, w: Array, bias: Array | None, out: Array, windows: Windows) -> None:
    """Write the correlation of x (n, h, w, c) with w (groups, kh, kw, c/groups, f/groups) to out
    (n, oh, ow, f).
    """
    out[...] = 0 if bias is None else bias
    for i, j, outputs, pixels in _taps(windows, x.shape[1:3]):
        product = _product(_by_group(x[pixels], windows.groups), w[:, i, j])
        target = out[outputs]
        target += product.transpose(1, 0, 2).reshape(target.shape)  # from (groups, pixels, f')


@ignore_fp_errors
def correlate_weight_taps(x: Array, g: Array, windows: Windows) -> Array:
    """Return the adjoint of `correlate_taps` in w, for g (n, oh, ow, f)."""
    groups = windows.groups
    shape = (groups, *windows.kernel, x.shape[3] // groups, g.shape[3] // groups)
    gw = np.zeros(shape, np.result_type(x, g))
    for i, j, outputs, pixels in _taps(windows, x.shape[1:3]):
        left, right = _by_group(x[pixels], groups), _by_group(g[outputs], groups)
        gw[:, i, j] = _product(left.transpose(0, 2, 1), right)
    return gw


def _product(left: Array, right: Array) -> Array:
    return one_blas_thread(lambda: np.matmul(left, right))
