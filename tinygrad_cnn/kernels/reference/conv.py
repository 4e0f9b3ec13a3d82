"""Convolution and its two adjoints as matrix products over chunks of windows."""

from __future__ import annotations

import numpy as np

from tinygrad_cnn.kernels.checks import Pair, shape_of
from tinygrad_cnn.kernels.choice import ConvAlgorithm, conv_algorithm
from tinygrad_cnn.kernels.conv_spec import (
    ConvSpec,
    Windows,
    conv2d_input_windows,
    conv2d_weight_windows,
    conv2d_windows,
    phases,
)
from tinygrad_cnn.kernels.fp_errors import ignoring_fp_errors
from tinygrad_cnn.kernels.reference.correlate import correlate, correlate_weight
from tinygrad_cnn.kernels.reference.depthwise import correlate_depthwise, correlate_depthwise_weight
from tinygrad_cnn.kernels.reference.layout import (
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
from tinygrad_cnn.types import Array

FEWEST_CHANNELS = 16  # on both sides, from which Winograd's transforms pay


def supports_winograd(windows: Windows, c: int, f: int, wanted: ConvAlgorithm) -> bool:
    """Return whether to use Winograd's algorithm, for c channels in and f out."""
    if wanted == "direct" or windows.kernel != (3, 3) or windows.dilation != (1, 1):
        return False
    if windows.groups != 1 or windows.stride != (1, 1) or 0 in windows.size or c * f == 0:
        return False
    return wanted == "winograd" or (min(c, f) >= FEWEST_CHANNELS and min(windows.size) >= 4)


def conv2d(x: Array, w: Array, b: Array | None = None, *, spec: ConvSpec) -> Array:
    """Correlate images with filters: ``y[n,f,p,q] = b[f] + sum x[n,c,p*sh+i*dh-top,q*sw+j*dw-left]
    w[f,c,i,j]``.

    Parameters
    ----------
    x: images (n, c, h, w).
    w: filters (f, c/groups, kh, kw).
    b: one number per filter (f,), or None.
    spec: stride, padding, dilation and groups.

    Returns
    -------
    y (n, f, oh, ow), channels last in memory, with the size of `ConvSpec.output_size`.

    Raises
    ------
    ValueError: shapes do not fit.

    >>> x, w = np.ones((1, 2, 4, 4), np.float32), np.ones((3, 2, 3, 3), np.float32)
    >>> conv2d(x, w, spec=ConvSpec(padding=((1, 1), (0, 0))))[0, 0]
    array([[12., 12.],
           [18., 18.],
           [18., 18.],
           [12., 12.]], dtype=float32)
    """
    windows, groups = conv2d_windows(x.shape, w.shape, spec, "conv2d", shape_of(b)), spec.groups
    f, depth, kh, kw = w.shape
    dtype = np.result_type(x, w)
    inner = accumulation_dtype(x, w)
    image = as_nhwc(x, inner)
    out = empty_nhwc(x.shape[0], *windows.size, f, inner)
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
    fast = single and supports_winograd(windows, depth, each, conv_algorithm())
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


def conv2d_input(g: Array, w: Array, *, size: Pair, spec: ConvSpec) -> Array:
    """Return the adjoint of `conv2d` in `x`: the gradient (n, c, h, w) for g (n, f, oh, ow) and
    size (h, w).

    With stride 1 it is one correlation with the filters turned round; in general one per residue
    of the pixel's place modulo the stride, so no multiplication by an inserted zero is ever made
    (Dumoulin and Visin 2016, "A guide to convolution arithmetic for deep learning", section 4,
    without the zeros).

    >>> g, w = np.ones((1, 1, 2, 2)), np.arange(4.0).reshape(1, 1, 2, 2)
    >>> conv2d_input(g, w, size=(5, 4), spec=ConvSpec(stride=(2, 2)))[0, 0]
    array([[0., 1., 0., 1.],
           [2., 3., 2., 3.],
           [0., 1., 0., 1.],
           [2., 3., 2., 3.],
           [0., 0., 0., 0.]])
    """
    conv2d_input_windows(g.shape, w.shape, size, spec)
    f, depth, kh, kw = w.shape
    groups = spec.groups
    dtype = np.result_type(g, w)
    inner = accumulation_dtype(g, w)
    grad = as_nhwc(g, inner)
    out = empty_nhwc(g.shape[0], *size, depth * groups, inner)
    split = w.reshape(groups, f // groups, depth, kh, kw)
    split = split.transpose(0, 3, 4, 1, 2)  # (G, kh, kw, f/G, c/G)
    single = inner == g.dtype == np.float32
    read, unread = phases((kh, kw), size, spec)
    for pixels in unread:
        out[:, *pixels] = 0
    for pixels, taps, windows in read:
        chosen = split[:, *taps].astype(inner, copy=False)
        _correlate(grad, chosen, None, out[:, *pixels], windows, single=single)
    return as_nchw(out, dtype)


def conv2d_weight(
    g: Array, x: Array, *, kernel_size: Pair, spec: ConvSpec, bias: bool = False
) -> Array | tuple[Array, Array]:
    """Return the adjoint of `conv2d` in `w`: the gradient (f, c/groups, kh, kw) for g (n, f, oh,
    ow), x (n, c, h, w); with `bias` a pair of it and the adjoint in the bias, g's sums (f,).

    >>> g, x = np.ones((1, 1, 2, 2)), np.arange(9.0).reshape(1, 1, 3, 3)
    >>> conv2d_weight(g, x, kernel_size=(2, 2), spec=ConvSpec())[0, 0]
    array([[ 8., 12.],
           [20., 24.]])
    """
    windows = conv2d_weight_windows(g.shape, x.shape, kernel_size, spec)
    dtype = np.result_type(g, x)
    inner = accumulation_dtype(g, x)
    image, grad = as_nhwc(x, inner), as_nhwc(g, inner)
    split = _correlate_weight(image, grad, windows, single=inner == g.dtype == np.float32)
    if not all_finite(split) and not all_finite(grad):  # the same as with filters, in `_correlate`
        split = correlate_weight_taps(image, grad, windows)
    gw = split.transpose(0, 4, 3, 1, 2).reshape(g.shape[1], x.shape[1] // spec.groups, *kernel_size)
    gw = np.ascontiguousarray(gw, dtype)
    return (gw, sum(g, (0, 2, 3))) if bias else gw


def _correlate_weight(x: Array, g: Array, windows: Windows, *, single: bool) -> Array:
    """Return the adjoint of `_correlate` in w, for g (n, oh, ow, f)."""
    c, f, groups = x.shape[3], g.shape[3], windows.groups
    shape = (groups, *windows.kernel, c // groups, f // groups)
    fast = single and supports_winograd(windows, c, f, conv_algorithm())
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
