"""Average pooling: box sums are separable, so a window of kh x kw costs kh + kw additions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, TypedDict, Unpack

import numpy as np

from tinygrad_cnn.errors import ArgumentError, ShapeError
from tinygrad_cnn.kernels import threads
from tinygrad_cnn.kernels.checks import Pair, PoolSpec, check_image, check_pool2d, check_shape
from tinygrad_cnn.kernels.memory import empty, scratch
from tinygrad_cnn.kernels.reference.layout import (
    CHUNK_BYTES,
    Chunk,
    accumulation_dtype,
    as_nchw,
    as_nhwc,
    chunks,
    crop,
)
from tinygrad_cnn.kernels.reference.sums import SHORT
from tinygrad_cnn.types import Array, DType


def _inner_dtype(x: Array, most: int) -> DType:
    """Return the dtype in which at most `most` numbers along an axis are added one by one."""
    return np.dtype(np.float64) if most > SHORT else accumulation_dtype(x)


def _steps(start: int, count: int, stride: int) -> slice:
    return slice(start, start + (count - 1) * stride + 1, stride)


class AvgPoolWindow(TypedDict):
    """The fields of `AvgPoolSpec`, as keyword arguments of a pooling."""

    kernel_size: Pair
    stride: Pair
    padding: Pair
    ceil_mode: bool
    count_include_pad: bool
    divisor_override: int | None


class AvgPoolSpec(NamedTuple):
    """How the windows of an average pooling lie, and what their sums are divided by."""

    kernel_size: Pair
    stride: Pair
    padding: Pair
    ceil_mode: bool
    count_include_pad: bool
    divisor_override: int | None

    def output_size(self, operation: str, x: tuple[int, ...]) -> Pair:
        """Check a pooling of x (n, c, h, w) and return the output's (oh, ow)."""
        spec = PoolSpec(self.kernel_size, self.stride, self.padding, (1, 1), self.ceil_mode)
        return check_pool2d(operation, x, spec)

    def _counts(self, axis: int, size: int, out: int) -> Array:
        """Return how many pixels each of `out` windows counts along one axis
        (ATen/native/cpu/AvgPoolKernel.cpp).
        """
        padding = self.padding[axis]
        start = np.arange(out) * self.stride[axis] - padding
        stop = np.minimum(start + self.kernel_size[axis], size + padding)
        if self.count_include_pad:
            return stop - start
        return np.asarray(np.minimum(stop, size) - np.maximum(start, 0))

    def divisor(self, size: Pair, out: Pair, dtype: DType) -> Array:
        """Return what the window sums are divided by, (oh, ow, 1), or () where all are equal."""
        if self.divisor_override is not None:
            if self.divisor_override == 0:
                raise ArgumentError(
                    "avg_pool2d: `divisor_override` is 0, expected another integer or None"
                )
            return np.asarray(self.divisor_override, dtype)
        area = np.outer(*(self._counts(a, size[a], out[a]) for a in (0, 1)))
        if area.min() == area.max():
            return np.asarray(area.flat[0], dtype)
        return area[:, :, None].astype(dtype)


def avg_pool2d(x: Array, **window: Unpack[AvgPoolWindow]) -> Array:
    """Return the mean of every window of x (n, c, h, w) as y (n, c, oh, ow), channels last in
    memory.

    The divisor follows PyTorch: the window's pixels, with padding if `count_include_pad`, but
    never what `ceil_mode` lets a window reach beyond the padding; or `divisor_override` for all
    windows.

    Raises
    ------
    ValueError: shapes or parameters do not fit.

    >>> x = np.arange(9.0).reshape(1, 1, 3, 3)
    >>> options = {"ceil_mode": True, "count_include_pad": True, "divisor_override": None}
    >>> avg_pool2d(x, kernel_size=(2, 2), stride=(2, 2), padding=(0, 0), **options)[0, 0]
    array([[2. , 3.5],
           [6.5, 8. ]])
    """
    spec = AvgPoolSpec(**window)
    kernel_size, stride, padding = spec[:3]
    oh, ow = spec.output_size("avg_pool2d", x.shape)
    n, c, h, w = x.shape
    inner = _inner_dtype(x, max(kernel_size))
    divisor = spec.divisor((h, w), (oh, ow), inner)
    image = as_nhwc(x, inner)
    y = empty((n, oh, ow, c), inner)
    left, right = -padding[1], (ow - 1) * stride[1] - padding[1] + kernel_size[1]

    def work(share: Sequence[Chunk]) -> None:
        for chunk in share:
            count = chunk.shape[1]
            top = chunk.rows.start * stride[0] - padding[0]
            bottom = top + (count - 1) * stride[0] + kernel_size[0]
            target = y[chunk.images, chunk.rows]
            with scratch() as take:
                area = crop(image[chunk.images], top, bottom, left, right, 0, take)
                tall = take((target.shape[0], count, right - left, c), inner)  # summed over rows
                np.copyto(tall, area[:, _steps(0, count, stride[0])])
                for i in range(1, kernel_size[0]):
                    tall += area[:, _steps(i, count, stride[0])]
                np.copyto(target, tall[:, :, _steps(0, ow, stride[1])])
                for j in range(1, kernel_size[1]):
                    target += tall[:, :, _steps(j, ow, stride[1])]
            target /= divisor[chunk.rows] if divisor.ndim else divisor

    tasks = chunks(n, oh, stride[0] * w * c * image.itemsize, CHUNK_BYTES // 2)
    threads.split(tasks, work, image.nbytes)
    return as_nchw(y, x.dtype)


def avg_pool2d_input(g: Array, *, size: Pair, **window: Unpack[AvgPoolWindow]) -> Array:
    """Return the adjoint of `avg_pool2d`: the gradient (n, c, h, w) for g (n, c, oh, ow) and size
    (h, w).
    """
    check_image("avg_pool2d_input", "g", g.shape)
    n, c = g.shape[:2]
    h, w = size
    spec = AvgPoolSpec(**window)
    kernel_size, stride, padding = spec[:3]
    oh, ow = spec.output_size("avg_pool2d_input", (n, c, h, w))
    check_shape("avg_pool2d_input", "g", g.shape, (n, c, oh, ow))
    inner = _inner_dtype(g, max(-(-k // s) for k, s in zip(kernel_size, stride, strict=True)))
    divisor = spec.divisor(size, (oh, ow), inner)
    grad = as_nhwc(g, inner)
    gx = empty((n, h, w, c), inner)
    tall = max((oh - 1) * stride[0] + kernel_size[0], h + padding[0])  # with padding and overhang
    wide = max((ow - 1) * stride[1] + kernel_size[1], w + padding[1])

    def work(share: Sequence[Chunk]) -> None:
        for chunk in share:
            count = chunk.shape[0]
            with scratch() as take:
                each = take((count, oh, ow, c), inner)
                np.divide(grad[chunk.images], divisor, out=each)
                across = take((count, oh, wide, c), inner)
                across[...] = 0
                for j in range(kernel_size[1]):
                    across[:, :, _steps(j, ow, stride[1])] += each
                area = take((count, tall, wide, c), inner)
                area[...] = 0
                for i in range(kernel_size[0]):
                    area[:, _steps(i, oh, stride[0])] += across
                inside = area[:, padding[0] : padding[0] + h, padding[1] : padding[1] + w]
                gx[chunk.images] = inside

    threads.split(chunks(n, 1, h * w * c * grad.itemsize, CHUNK_BYTES // 2), work, gx.nbytes)
    return as_nchw(gx, g.dtype)


def spans(size: int, out: int) -> list[Pair]:
    """Return the pixels [start, stop) of each of `out` windows of adaptive pooling
    (ATen/native/AdaptivePooling.h).
    """
    return [(p * size // out, -(-(p + 1) * size // out)) for p in range(out)]


def _check_adaptive(operation: str, size: Pair, output_size: Pair) -> None:
    if min(output_size) < 0:
        raise ArgumentError(
            f"{operation}: `output_size` is {tuple(output_size)}, expected two integers, "
            "none negative"
        )
    if min(size) < 1:
        raise ShapeError(
            f"{operation}: `x` has {size[0]} x {size[1]} pixels, expected at least 1 x 1"
        )


def adaptive_avg_pool2d(x: Array, *, output_size: Pair) -> Array:
    """Return y (n, c, oh, ow): the mean of x (n, c, h, w) over the windows that divide it into oh
    x ow.

    Window p of an axis covers pixels ``floor(p*h/oh)`` to ``ceil((p+1)*h/oh)``, as in PyTorch.

    >>> adaptive_avg_pool2d(np.arange(6.0).reshape(1, 1, 2, 3), output_size=(1, 2))[0, 0]
    array([[2., 3.]])
    """
    check_image("adaptive_avg_pool2d", "x", x.shape)
    n, c, h, w = x.shape
    _check_adaptive("adaptive_avg_pool2d", (h, w), output_size)
    inner = _inner_dtype(x, max(h // max(output_size[0], 1), w // max(output_size[1], 1)) + 2)
    image = as_nhwc(x, inner)
    oh, ow = output_size
    y = empty((n, oh, ow, c), inner)
    rows, columns = spans(h, oh), spans(w, ow)
    for chunk in chunks(n, 1, h * w * c * image.itemsize, CHUNK_BYTES // 2):
        target, area = y[chunk.images], image[chunk.images]
        with scratch() as take:
            tall = take((target.shape[0], oh, w, c), inner)
            for p, (start, stop) in enumerate(rows):
                np.add.reduce(area[:, start:stop], axis=1, out=tall[:, p])
            for q, (start, stop) in enumerate(columns):
                np.add.reduce(tall[:, :, start:stop], axis=2, out=target[:, :, q])
        target /= window_areas(rows, columns, inner)
    return as_nchw(y, x.dtype)


def window_areas(rows: list[Pair], columns: list[Pair], dtype: DType) -> Array:
    """Return the number of pixels of each window, (oh, ow, 1)."""
    tall, wide = ([stop - start for start, stop in each] for each in (rows, columns))
    return np.outer(tall, wide)[:, :, None].astype(dtype)


def adaptive_avg_pool2d_input(g: Array, *, size: Pair) -> Array:
    """Return the adjoint of `adaptive_avg_pool2d`: the gradient (n, c, h, w) for g (n, c, oh, ow)
    and size (h, w).
    """
    check_image("adaptive_avg_pool2d_input", "g", g.shape)
    n, c, oh, ow = g.shape
    h, w = size
    _check_adaptive("adaptive_avg_pool2d_input", size, (oh, ow))
    inner = _inner_dtype(g, max(-(-oh // h), -(-ow // w)) + 2)
    grad = as_nhwc(g, inner)
    gx = empty((n, h, w, c), inner)
    rows, columns = spans(h, oh), spans(w, ow)
    areas = window_areas(rows, columns, inner)
    for chunk in chunks(n, 1, h * w * c * grad.itemsize, CHUNK_BYTES // 2):
        target = gx[chunk.images]
        with scratch() as take:
            share = take((target.shape[0], oh, ow, c), inner)
            np.divide(grad[chunk.images], areas, out=share)
            across = take((target.shape[0], oh, w, c), inner)
            across[...] = 0
            for q, (start, stop) in enumerate(columns):
                across[:, :, start:stop] += share[:, :, q : q + 1]
            target[...] = 0
            for p, (start, stop) in enumerate(rows):
                target[:, start:stop] += across[:, p : p + 1]
    return as_nchw(gx, g.dtype)
