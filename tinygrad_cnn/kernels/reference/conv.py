"""Convolution and its two adjoints as matrix products over chunks of windows."""

from __future__ import annotations

from math import gcd
from typing import Any

import numpy as np

from ..algorithm import conv_algorithm
from ..checks import Padding, Pair, check_conv2d, check_image, check_shape
from .correlate import Windows, correlate, correlate_weight
from .depthwise import correlate_depthwise, correlate_depthwise_weight
from .layout import Array, accumulation_dtype, as_nchw, as_nhwc, empty_nhwc
from .sums import sum
from .winograd import correlate_winograd, correlate_winograd_weight

__all__ = ["conv2d", "conv2d_input", "conv2d_weight", "minimal", "phase"]

FEWEST_CHANNELS = 16  # on both sides, from which Winograd's transforms pay


def _exact(inner: np.dtype[Any]) -> bool:
    """Return whether products that cancel by definition must not be computed at all."""
    return conv_algorithm() == "direct" or inner != np.float32


def minimal(windows: Windows, c: int, f: int) -> bool:
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
    if inner == x.dtype == np.float32 and minimal(windows, groups * depth, f):
        correlate_winograd(image, w, bias, out, origin)
    elif depth == 1 and f == groups:
        taps = w[:, 0].transpose(1, 2, 0)  # (kh, kw, f)
        correlate_depthwise(image, taps.astype(inner, order="C"), bias, out, windows)
    else:
        split = w.reshape(groups, f // groups, depth, kh, kw).transpose(0, 3, 4, 2, 1)
        matrix = split.astype(inner, order="C").reshape(groups, kh * kw * depth, f // groups)
        correlate(image, matrix, bias, out, windows, exact=_exact(inner))
    return as_nchw(out, dtype)


def phase(
    kernel: int, stride: int, dilation: int, padding: int, residue: int
) -> tuple[list[int], int, int]:
    """Return (taps, origin, step) by which the pixels y = residue (mod stride) read the output
    gradient.

    Pixel y is read by tap i of output p where ``p*stride + i*dilation - padding == y``; the taps
    with ``residue + padding - i*dilation`` divisible by the stride are evenly spaced, so with them
    in reverse order the pixels of one residue are an ordinary correlation of the output gradient.
    """
    found = [i for i in range(kernel) if (residue + padding - i * dilation) % stride == 0][::-1]
    if not found:
        return [], 0, 1
    return (
        found,
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
    for ry, rx in np.ndindex(*stride):
        target = out[:, ry :: stride[0], rx :: stride[1]]
        rows, y0, dy = phase(kh, stride[0], dilation[0], padding[0][0], ry)
        columns, x0, dx = phase(kw, stride[1], dilation[1], padding[1][0], rx)
        if not rows or not columns:
            target[...] = 0
            continue
        kernel, dims = (len(rows), len(columns)), (target.shape[1], target.shape[2])
        windows = Windows(kernel, dims, (y0, x0), (1, 1), (dy, dx), groups)
        if inner == g.dtype == np.float32 and minimal(windows, f, c):
            turned = w[:, :, rows][:, :, :, columns].swapaxes(0, 1)  # (c, f, 3, 3)
            correlate_winograd(grad, turned, None, target, (y0, x0))
            continue
        chosen = split[:, rows][:, :, columns].astype(inner, copy=False)
        if depth == 1 and f == groups:
            turned = chosen[..., 0, 0].transpose(1, 2, 0)
            correlate_depthwise(grad, np.ascontiguousarray(turned), None, target, windows)
        else:
            shape = (groups, len(rows) * len(columns) * (f // groups), depth)
            matrix = np.ascontiguousarray(chosen).reshape(shape)
            correlate(grad, matrix, None, target, windows, exact=_exact(inner))
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
    if inner == g.dtype == np.float32 and minimal(windows, c, f):
        gw = correlate_winograd_weight(image, grad, origin)
    elif depth == 1 and f == groups:
        gw = correlate_depthwise_weight(image, grad, windows)[:, :, None].transpose(3, 2, 0, 1)
    else:
        matrix = correlate_weight(image, grad, windows, exact=_exact(inner))  # (G, kh*kw*c/G, f/G)
        split = matrix.reshape(groups, kh, kw, depth, f // groups)
        gw = split.transpose(0, 4, 3, 1, 2).reshape(f, depth, kh, kw)
    gw = np.ascontiguousarray(gw, dtype)
    return (gw, sum(g, (0, 2, 3))) if bias else gw
