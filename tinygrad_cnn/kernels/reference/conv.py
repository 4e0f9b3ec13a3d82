"""Convolution and its two adjoints as matrix products over chunks of windows."""

from __future__ import annotations

from functools import lru_cache
from math import gcd
from typing import Any

import numpy as np

from tinygrad_cnn.kernels.algorithm import conv_algorithm
from tinygrad_cnn.kernels.checks import Padding, Pair, check_conv2d, check_image, check_shape
from tinygrad_cnn.kernels.fp_errors import ignoring_fp_errors
from tinygrad_cnn.kernels.reference.correlate import Windows, correlate, correlate_weight
from tinygrad_cnn.kernels.reference.depthwise import correlate_depthwise, correlate_depthwise_weight
from tinygrad_cnn.kernels.reference.layout import (
    Array,
    accumulation_dtype,
    all_finite,
    as_nchw,
    as_nhwc,
    empty_nhwc,
)
from tinygrad_cnn.kernels.reference.strict import correlate_taps, correlate_weight_taps
from tinygrad_cnn.kernels.reference.sums import sum
from tinygrad_cnn.kernels.reference.winograd import (
    correlate_winograd,
    correlate_winograd_weight,
    wide_filters,
    wide_images,
)

FEWEST_CHANNELS = 16  # on both sides, from which Winograd's transforms pay


def supports_winograd(windows: Windows, c: int, f: int) -> bool:
    """Return whether to use Winograd's algorithm, for c channels in and f out."""
    wanted = conv_algorithm()
    if wanted == "direct" or windows.kernel != (3, 3) or windows.dilation != (1, 1):
        return False
    if windows.groups != 1 or windows.stride != (1, 1) or 0 in windows.size or c * f == 0:
        return False
    return wanted == "winograd" or (min(c, f) >= FEWEST_CHANNELS and min(windows.size) >= 4)


def conv2d(
    x: Array,
    w: Array,
    b: Array | None = None,
    *,
    stride: Pair,
    padding: Padding,
    dilation: Pair,
    groups: int,
) -> Array:
    """Correlate images with filters: ``y[n,f,p,q] = b[f] + sum x[n,c,p*sh+i*dh-top,q*sw+j*dw-left]
    w[f,c,i,j]``.

    Parameters
    ----------
    x: images (n, c, h, w).
    w: filters (f, c/groups, kh, kw).
    b: one number per filter (f,), or None.
    stride, dilation: (rows, columns).
    padding: ((top, bottom), (left, right)) zeros around every image.
    groups: filter block k of `groups` sees channel block k only.

    Returns
    -------
    y (n, f, oh, ow), channels last in memory, with the size of `conv2d_output_size`.

    Raises
    ------
    ValueError: shapes or parameters do not fit.

    >>> x, w = np.ones((1, 2, 4, 4), np.float32), np.ones((3, 2, 3, 3), np.float32)
    >>> y = conv2d(x, w, stride=(1, 1), padding=((1, 1), (0, 0)), dilation=(1, 1), groups=1)
    >>> y[0, 0]
    array([[12., 12.],
           [18., 18.],
           [18., 18.],
           [12., 12.]], dtype=float32)
    """
    size = check_conv2d(
        "conv2d", x.shape, w.shape,
        stride=stride, padding=padding, dilation=dilation, groups=groups,
    )  # fmt: skip
    f, depth, kh, kw = w.shape
    if b is not None:
        check_shape("conv2d", "bias", b.shape, (f,))
    dtype = np.result_type(x, w)
    inner = accumulation_dtype(x, w)
    image = as_nhwc(x, inner)
    out = empty_nhwc(x.shape[0], *size, f, inner)
    origin = (-padding[0][0], -padding[1][0])
    windows = Windows((kh, kw), size, origin, stride, dilation, groups)
    bias = None if b is None else b.astype(inner, copy=False)
    split = w.reshape(groups, f // groups, depth, kh, kw).transpose(0, 3, 4, 2, 1)
    single = inner == x.dtype == np.float32
    _correlate(image, split.astype(inner, copy=False), bias, out, windows, single=single)
    return as_nchw(out, dtype)


def _correlate(
    x: Array, w: Array, bias: Array | None, out: Array, windows: Windows, *, single: bool
) -> None:
    """Write the correlation of x (n, h, w, c) with w (groups, kh, kw, c/groups, f/groups) to out
    (n, oh, ow, f), the fastest way; `single` says that all are float32.
    """
    groups, kh, kw, depth, each = w.shape
    if not all_finite(w):  # they must not meet the zeros around the images
        correlate_taps(x, w, bias, out, windows)
        return
    fast = single and supports_winograd(windows, depth, each)
    if depth == each == 1 and not fast:
        taps = w[..., 0, 0].transpose(1, 2, 0)  # (kh, kw, groups)
        correlate_depthwise(x, np.ascontiguousarray(taps), bias, out, windows)
        return
    matrix = np.ascontiguousarray(w).reshape(groups, kh * kw * depth, each)
    if not fast:
        correlate(x, matrix, bias, out, windows)
        return
    filters = w[0].transpose(3, 2, 0, 1)  # (f, c, kh, kw)
    wide = np.full(len(x), True) if wide_filters(filters) else wide_images(x)
    if not wide.any():
        correlate_winograd(x, filters, bias, out, windows.origin)
        return
    if not wide.all():
        ignoring_fp_errors(correlate_winograd, (x, filters, bias, out, windows.origin), {})
    again = np.empty((int(wide.sum()), *out.shape[1:]), out.dtype)
    correlate(x[wide], matrix, bias, again, windows)
    out[wide] = again


@lru_cache(maxsize=512)
def phase(
    kernel: int, stride: int, dilation: int, padding: int, residue: int
) -> tuple[tuple[int, ...], int, int]:
    """Return (taps, origin, step) by which the pixels y = residue (mod stride) read the output
    gradient.

    Pixel y is read by tap i of output p where ``p*stride + i*dilation - padding == y``; the taps
    with ``residue + padding - i*dilation`` divisible by the stride are evenly spaced, so with them
    in reverse order the pixels of one residue are an ordinary correlation of the output gradient.
    """
    found = [i for i in range(kernel) if (residue + padding - i * dilation) % stride == 0][::-1]
    if not found:
        return (), 0, 1
    return (
        tuple(found),
        (residue + padding - found[0] * dilation) // stride,
        dilation // gcd(stride, dilation),
    )


def conv2d_input(
    g: Array,
    w: Array,
    *,
    size: Pair,
    stride: Pair,
    padding: Padding,
    dilation: Pair,
    groups: int,
) -> Array:
    """Return the adjoint of `conv2d` in `x`: the gradient (n, c, h, w) for g (n, f, oh, ow) and
    size (h, w).

    With stride 1 it is one correlation with the filters turned round; in general one per residue
    of the pixel's place modulo the stride, so no multiplication by an inserted zero is ever made
    (Dumoulin and Visin 2016, "A guide to convolution arithmetic for deep learning", section 4,
    without the zeros).

    >>> g, w = np.ones((1, 1, 2, 2)), np.arange(4.0).reshape(1, 1, 2, 2)
    >>> options = {"padding": ((0, 0), (0, 0)), "dilation": (1, 1), "groups": 1}
    >>> conv2d_input(g, w, size=(5, 4), stride=(2, 2), **options)[0, 0]
    array([[0., 1., 0., 1.],
           [2., 3., 2., 3.],
           [0., 1., 0., 1.],
           [2., 3., 2., 3.],
           [0., 0., 0., 0.]])
    """
    check_image("conv2d_input", "g", g.shape)
    f, depth, kh, kw = w.shape if w.ndim == 4 else (0, 0, 0, 0)
    n, c, (h, wide) = g.shape[0], depth * groups, size
    out_size = check_conv2d(
        "conv2d_input", (n, c, h, wide), w.shape,
        stride=stride, padding=padding, dilation=dilation, groups=groups,
    )  # fmt: skip
    check_shape("conv2d_input", "g", g.shape, (n, f, *out_size))
    dtype = np.result_type(g, w)
    inner = accumulation_dtype(g, w)
    grad = as_nhwc(g, inner)
    out = empty_nhwc(n, h, wide, c, inner)
    split = w.reshape(groups, f // groups, depth, kh, kw).transpose(
        0, 3, 4, 1, 2
    )  # (G, kh, kw, f/G, c/G)
    single = inner == g.dtype == np.float32
    for ry, rx in np.ndindex(*stride):
        target = out[:, ry :: stride[0], rx :: stride[1]]
        rows, y0, dy = phase(kh, stride[0], dilation[0], padding[0][0], ry)
        columns, x0, dx = phase(kw, stride[1], dilation[1], padding[1][0], rx)
        if not rows or not columns:
            target[...] = 0
            continue
        kernel, dims = (len(rows), len(columns)), (target.shape[1], target.shape[2])
        windows = Windows(kernel, dims, (y0, x0), (1, 1), (dy, dx), groups)
        chosen = split[:, rows][:, :, columns].astype(inner, copy=False)
        _correlate(grad, chosen, None, target, windows, single=single)
    return as_nchw(out, dtype)


def conv2d_weight(
    g: Array,
    x: Array,
    *,
    kernel_size: Pair,
    stride: Pair,
    padding: Padding,
    dilation: Pair,
    groups: int,
    bias: bool = False,
) -> Any:
    """Return the adjoint of `conv2d` in `w`: the gradient (f, c/groups, kh, kw) for g (n, f, oh,
    ow), x (n, c, h, w); with `bias` a pair of it and the adjoint in the bias, g's sums (f,).

    >>> g, x = np.ones((1, 1, 2, 2)), np.arange(9.0).reshape(1, 1, 3, 3)
    >>> options = {"stride": (1, 1), "padding": ((0, 0), (0, 0)), "dilation": (1, 1), "groups": 1}
    >>> conv2d_weight(g, x, kernel_size=(2, 2), **options)[0, 0]
    array([[ 8., 12.],
           [20., 24.]])
    """
    check_image("conv2d_weight", "g", g.shape)
    check_image("conv2d_weight", "x", x.shape)
    f, c = g.shape[1], x.shape[1]
    depth, (kh, kw) = c // max(groups, 1), kernel_size
    size = check_conv2d(
        "conv2d_weight", x.shape, (f, depth, kh, kw),
        stride=stride, padding=padding, dilation=dilation, groups=groups,
    )  # fmt: skip
    check_shape("conv2d_weight", "g", g.shape, (x.shape[0], f, *size))
    dtype = np.result_type(g, x)
    inner = accumulation_dtype(g, x)
    origin = (-padding[0][0], -padding[1][0])
    windows = Windows((kh, kw), size, origin, stride, dilation, groups)
    image, grad = as_nhwc(x, inner), as_nhwc(g, inner)
    split = _correlate_weight(image, grad, windows, single=inner == g.dtype == np.float32)
    if not all_finite(split) and not all_finite(grad):  # the same as with filters, in `_correlate`
        split = correlate_weight_taps(image, grad, windows)
    gw = split.transpose(0, 4, 3, 1, 2).reshape(f, depth, kh, kw)
    gw = np.ascontiguousarray(gw, dtype)
    return (gw, sum(g, (0, 2, 3))) if bias else gw


def _correlate_weight(x: Array, g: Array, windows: Windows, *, single: bool) -> Array:
    """Return the adjoint of `_correlate` in w, for g (n, oh, ow, f)."""
    c, f, groups = x.shape[3], g.shape[3], windows.groups
    shape = (groups, *windows.kernel, c // groups, f // groups)
    fast = single and supports_winograd(windows, c, f)
    if c == f == groups and not fast:
        taps = correlate_depthwise_weight(x, g, windows)  # (kh, kw, groups)
        return taps.transpose(2, 0, 1).reshape(shape)
    if not fast:
        return correlate_weight(x, g, windows).reshape(shape)
    wide = wide_images(x) | wide_images(g)
    if not wide.any():
        gw = correlate_winograd_weight(x, g, windows.origin)
    else:
        gw = correlate_weight(x[wide], g[wide], windows).reshape(3, 3, c, f).transpose(3, 2, 0, 1)
        if not wide.all():
            gw = gw + correlate_winograd_weight(x[~wide], g[~wide], windows.origin)
    return gw.transpose(2, 3, 1, 0)[None]  # from (f, c, 3, 3)
