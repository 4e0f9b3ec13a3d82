"""What the kernels must compute, as loops over pixels that follow the definitions and share no
code with them.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from tinygrad_cnn.kernels import ConvSpec

Array = npt.NDArray[Any]


def conv2d_loops(x: Array, w: Array, b: Array | None, spec: ConvSpec) -> Array:
    """Cross-correlation by definition."""
    stride, padding, dilation, groups = spec
    (n, _, h, wide), (f, depth, kh, kw) = x.shape, w.shape
    (top, bottom), (left, right) = padding
    oh = (h + top + bottom - (kh - 1) * dilation[0] - 1) // stride[0] + 1
    ow = (wide + left + right - (kw - 1) * dilation[1] - 1) // stride[1] + 1
    y = np.zeros((n, f, oh, ow), np.result_type(x, w))
    for k, p, q, i, j in np.ndindex(f, oh, ow, kh, kw):
        row = p * stride[0] + i * dilation[0] - top
        column = q * stride[1] + j * dilation[1] - left
        if 0 <= row < h and 0 <= column < wide:
            first = k // (f // groups) * depth
            y[:, k, p, q] += x[:, first : first + depth, row, column] @ w[k, :, i, j]
    return y if b is None else y + b[:, None, None]


def pooled_length(size: int, k: int, stride: int, pad: int, dilation: int, ceil: bool) -> int:
    """Number of windows, counted one by one: each fits, or with `ceil` begins before the end of
    the input.
    """
    count = 0
    while True:
        start = count * stride - pad
        fits = start + (k - 1) * dilation < size + pad
        overhangs = (
            ceil
            and start < size
            and (count - 1) * stride - pad + (k - 1) * dilation + 1 < size + pad
        )
        if not fits and not overhangs:
            return count
        count += 1


def max_pool2d_loops(
    x: Array, *, kernel_size: Any, stride: Any, padding: Any, dilation: Any, ceil_mode: bool
) -> tuple[Array, Array, Array]:
    """Maximum, place in the window and place in the plane of every window (first maximum; last
    NaN).
    """
    n, c, h, w = x.shape
    oh, ow = (
        pooled_length(x.shape[2 + a], kernel_size[a], stride[a], padding[a], dilation[a], ceil_mode)
        for a in (0, 1)
    )
    y = np.full((n, c, oh, ow), -np.inf)
    index, plane = np.zeros(y.shape, np.int64), np.zeros(y.shape, np.int64)
    for at in np.ndindex(y.shape):
        found = False
        for i, j in np.ndindex(*kernel_size):
            row = at[2] * stride[0] + i * dilation[0] - padding[0]
            column = at[3] * stride[1] + j * dilation[1] - padding[1]
            if 0 <= row < h and 0 <= column < w:
                value = float(x[at[0], at[1], row, column])
                if not found or value > y[at] or math.isnan(value):
                    y[at], index[at], plane[at] = value, i * kernel_size[1] + j, row * w + column
                    found = True
    return y, index, plane


def avg_pool2d_loops(
    x: Array,
    *,
    kernel_size: Any,
    stride: Any,
    padding: Any,
    ceil_mode: bool,
    count_include_pad: bool,
    divisor_override: int | None,
) -> Array:
    """Mean of every window; of what lies in the padding only zeros are counted, of what lies
    beyond nothing.
    """
    n, c, h, w = x.shape
    oh, ow = (
        pooled_length(x.shape[2 + a], kernel_size[a], stride[a], padding[a], 1, ceil_mode)
        for a in (0, 1)
    )
    y = np.zeros((n, c, oh, ow))
    for p, q in np.ndindex(oh, ow):
        total, pixels, padded = np.zeros((n, c)), 0, 0
        for i, j in np.ndindex(*kernel_size):
            row, column = p * stride[0] + i - padding[0], q * stride[1] + j - padding[1]
            if 0 <= row < h and 0 <= column < w:
                total += x[:, :, row, column]
                pixels += 1
            if row < h + padding[0] and column < w + padding[1]:
                padded += 1
        y[:, :, p, q] = total / (divisor_override or (padded if count_include_pad else pixels))
    return y


def adaptive_avg_pool2d_loops(x: Array, output_size: Any) -> Array:
    """Mean over the pixels whose cell overlaps the window's interval of the plane."""
    n, c, h, w = x.shape
    oh, ow = output_size
    y = np.zeros((n, c, oh, ow))
    for p, q in np.ndindex(oh, ow):
        rows = [r for r in range(h) if r * oh < (p + 1) * h and (r + 1) * oh > p * h]
        columns = [s for s in range(w) if s * ow < (q + 1) * w and (s + 1) * ow > q * w]
        y[:, :, p, q] = np.mean([[x[:, :, r, s] for s in columns] for r in rows], axis=(0, 1))
    return y


def batch_norm_loops(
    x: Array, weight: Array | None, bias: Array | None, eps: float
) -> tuple[Array, Array, Array]:
    """Normalised channels, mean and biased variance, in extended precision, channel by channel."""
    y = np.empty(x.shape, np.longdouble)
    means, variances = [], []
    for k in range(x.shape[1]):
        values = x[:, k].astype(np.longdouble)
        mean = values.sum() / values.size
        variance = ((values - mean) ** 2).sum() / values.size
        scaled = (values - mean) / np.sqrt(variance + eps)
        y[:, k] = scaled * (1 if weight is None else weight[k]) + (0 if bias is None else bias[k])
        means.append(mean)
        variances.append(variance)
    return y, np.array(means), np.array(variances)


def layer_norm_loops(
    x: Array, weight: Array | None, bias: Array | None, ndim: int, eps: float
) -> Array:
    """Normalised groups of the last `ndim` axes, group by group."""
    y = np.empty(x.shape)
    outer = x.shape[: x.ndim - ndim]
    for at in np.ndindex(*outer):
        values = x[at].astype(np.float64)
        scaled = (values - values.mean()) / math.sqrt(values.var() + eps)
        y[at] = scaled * (1 if weight is None else weight) + (0 if bias is None else bias)
    return y


LAYOUTS = ("nchw", "nhwc", "sliced", "reversed", "swapped")


def laid_out(x: Array, layout: str) -> Array:
    """Return a read-only array equal to x whose memory is ordered in one of `LAYOUTS`."""
    order = (0, *range(2, x.ndim), 1)
    if layout == "nhwc":
        y = np.array(x.transpose(order), order="C").transpose(np.argsort(order))
    elif layout == "sliced":
        big = np.full([2 * s + 1 for s in x.shape], 7, x.dtype)
        y = big[tuple(slice(1, None, 2) for _ in x.shape)]
        y[...] = x
    elif layout == "reversed":
        flip = tuple(slice(None, None, -1) for _ in x.shape)
        y = np.array(x[flip], order="C")[flip]
    elif layout == "swapped":
        y = np.array(x.swapaxes(0, -1), order="C").swapaxes(0, -1)
    else:
        y = x.copy()
    y.flags.writeable = False
    return y


def is_channels_last(y: Array) -> bool:
    """Whether the memory of an image batch (n, c, h, w) is a dense (n, h, w, c)."""
    return y.transpose(0, 2, 3, 1).flags.c_contiguous


def randoms(seed: int, *shapes: tuple[int, ...], dtype: Any = np.float64) -> list[Array]:
    """Independent standard normal arrays."""
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(shape).astype(dtype) for shape in shapes]


def assert_adjoint(ax: Array, y: Array, x: Array, aty: Array) -> None:
    """Assert <Ax, y> = <x, A^T y> to a few roundings of the terms."""
    left, right = np.vdot(ax, y), np.vdot(x, aty)
    scale = np.abs(ax * y).sum() + np.abs(x * aty).sum()
    assert abs(left - right) <= 1e-13 * scale + 1e-300, (left, right)


TOLERANCE = {"float64": 1e-12, "float32": 2e-5, "float16": 4e-3}
