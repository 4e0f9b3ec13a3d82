"""Convolution and its two adjoints in machine code: which algorithm for which shape.

Float32 only, and no empty arrays: `NotImplemented` says that NumPy's kernels must do it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..algorithm import conv_algorithm
from ..checks import Padding, Pair, check_conv2d, check_image, check_shape
from ..pending import Pending
from ..reference.conv import minimal, phase
from ..reference.correlate import Windows
from ..reference.layout import Array
from . import conv_depthwise, conv_direct, conv_few, conv_winograd, conv_winograd_weight
from .launch import FLOAT32, images_like, nchw, new_images, shares

__all__ = ["conv2d", "conv2d_input", "conv2d_weight", "supports_conv2d"]

LONGEST_TABLE = 1 << 16  # output columns or taps: plans have a table of them


def supports_conv2d(*arrays: Array | None) -> bool:
    """Return whether the compiled kernels compute with these arrays: float32, none empty."""
    return all(a is None or (a.dtype == FLOAT32 and a.size > 0) for a in arrays)


def _correlate(
    x: Array, w: Array, bias: Array | None, out: Array, windows: Windows, parts: int
) -> None:
    """Correlate directly; several outputs at once where filters are few and rounding is free."""
    exact = conv_algorithm() == "direct"  # a NaN must stay in its windows
    if exact or windows.groups > 1 or not out.flags.c_contiguous:
        conv_direct.correlate(x, w, bias, out, windows, parts)
    else:
        conv_few.correlate_few(x, w, bias, out, windows, parts)


def _few(f: int, depth: int) -> bool:
    """Return whether vectors along windows of `depth` are fuller than along f filters."""
    lanes, few = conv_few.LANES, conv_few.FEW_FILTERS
    along = (f + -f % few) * (depth + -depth % lanes)
    rows = conv_direct.ROWS
    return along < (depth + -depth % rows) * (f + -f % lanes)


def _evenly(places: list[int]) -> slice:
    """Return the slice that takes evenly spaced places, in descending order."""
    step = places[1] - places[0] if len(places) > 1 else -1
    stop = places[-1] + step
    return slice(places[0], stop if stop >= 0 else None, step)


def _plain(w: Array) -> Array:
    return np.ascontiguousarray(w)


def conv2d(
    x: Array,
    w: Array,
    b: Array | None = None,
    *,
    stride: Pair,
    padding: Padding,
    dilation: Pair,
    groups: int,
    moments: bool = False,
) -> Any:
    """Correlate images with filters, as `reference.conv2d`."""
    if isinstance(x, Pending):
        return NotImplemented
    size = check_conv2d(
        "conv2d", x.shape, w.shape,
        stride=stride, padding=padding, dilation=dilation, groups=groups,
    )  # fmt: skip
    f, depth, kh, kw = w.shape
    if b is not None:
        check_shape("conv2d", "bias", b.shape, (f,))
    if not supports_conv2d(x, w, b) or max(size[1], kh * kw) > LONGEST_TABLE:
        return NotImplemented
    image = images_like(x)
    out = new_images(x.shape[0], *size, f)
    origin = (-padding[0][0], -padding[1][0])
    windows = Windows((kh, kw), size, origin, stride, dilation, groups)
    parts = shares(image.nbytes + out.nbytes)
    bias = None if b is None else _plain(b)
    if minimal(windows, x.shape[1], f):
        conv_winograd.correlate_winograd(image, _plain(w), bias, out, origin, parts)
    elif depth == 1 and f == groups:
        taps = w[:, 0].transpose(1, 2, 0)  # (kh, kw, f)
        conv_depthwise.correlate_depthwise(image, _plain(taps), bias, out, windows, parts)
    else:
        split = _plain(w).reshape(groups, f // groups, depth, kh, kw)
        _correlate(image, split.transpose(0, 3, 4, 2, 1), bias, out, windows, parts)
    if moments:
        from ..dispatch import channel_moments

        return nchw(out), channel_moments(nchw(out))
    return nchw(out)


def conv2d_input(
    g: Array,
    w: Array,
    *,
    size: Pair,
    stride: Pair,
    padding: Padding,
    dilation: Pair,
    groups: int,
) -> Any:
    """Return the adjoint of `conv2d` in `x`, as `reference.conv2d_input`."""
    if isinstance(g, Pending):
        return NotImplemented
    check_image("conv2d_input", "g", g.shape)
    f, depth, kh, kw = w.shape if w.ndim == 4 else (0, 0, 0, 0)
    n, c, (h, wide) = g.shape[0], depth * groups, size
    out_size = check_conv2d(
        "conv2d_input", (n, c, h, wide), w.shape,
        stride=stride, padding=padding, dilation=dilation, groups=groups,
    )  # fmt: skip
    check_shape("conv2d_input", "g", g.shape, (n, f, *out_size))
    if not supports_conv2d(g, w) or max(wide, kh * kw) > LONGEST_TABLE:
        return NotImplemented
    grad = images_like(g)
    out = new_images(n, h, wide, c)
    parts = shares(grad.nbytes + out.nbytes)
    for ry, rx in np.ndindex(*stride):
        target = out[:, ry :: stride[0], rx :: stride[1]]
        if target.size == 0:
            continue
        rows, y0, dy = phase(kh, stride[0], dilation[0], padding[0][0], ry)
        columns, x0, dx = phase(kw, stride[1], dilation[1], padding[1][0], rx)
        if not rows or not columns:
            target[...] = 0
            continue
        dims = (target.shape[1], target.shape[2])
        windows = Windows((len(rows), len(columns)), dims, (y0, x0), (1, 1), (dy, dx), groups)
        if minimal(windows, f, c) and (kh, kw) == (3, 3):
            conv_winograd.correlate_winograd(
                grad, _plain(w), None, target, (y0, x0), parts, turned=True
            )
            continue
        chosen = w[:, :, _evenly(rows), _evenly(columns)]  # (f, c/G, kh', kw')
        if depth == 1 and f == groups:
            taps = chosen[:, 0].transpose(1, 2, 0)  # (kh', kw', f)
            conv_depthwise.correlate_depthwise(grad, _plain(taps), None, target, windows, parts)
        else:
            split = chosen.reshape(groups, f // groups, depth, len(rows), len(columns))
            _correlate(grad, split.transpose(0, 3, 4, 1, 2), None, target, windows, parts)
    return nchw(out)


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
    """Return the adjoint of `conv2d` in `w`, as `reference.conv2d_weight`."""
    if isinstance(x, Pending) or isinstance(g, Pending):
        return NotImplemented
    if bias:
        from ..dispatch import channel_sum

        options = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
        gw = conv2d_weight(g, x, kernel_size=kernel_size, **options)
        return gw if gw is NotImplemented else (gw, channel_sum(g))
    check_image("conv2d_weight", "g", g.shape)
    check_image("conv2d_weight", "x", x.shape)
    f, c = g.shape[1], x.shape[1]
    depth, (kh, kw) = c // max(groups, 1), kernel_size
    size = check_conv2d(
        "conv2d_weight", x.shape, (f, depth, kh, kw),
        stride=stride, padding=padding, dilation=dilation, groups=groups,
    )  # fmt: skip
    check_shape("conv2d_weight", "g", g.shape, (x.shape[0], f, *size))
    if not supports_conv2d(g, x) or max(size[1], kh * kw) > LONGEST_TABLE:
        return NotImplemented
    origin = (-padding[0][0], -padding[1][0])
    windows = Windows((kh, kw), size, origin, stride, dilation, groups)
    image, grad = images_like(x), images_like(g)
    parts = shares(image.nbytes + grad.nbytes)
    if minimal(windows, c, f):
        return conv_winograd_weight.correlate_winograd_weight(image, grad, origin, parts)
    if depth == 1 and f == groups:
        taps = conv_depthwise.correlate_depthwise_weight(image, grad, windows, parts)
        return np.ascontiguousarray(taps[:, :, None].transpose(3, 2, 0, 1))
    if groups == 1 and _few(f, kw * c):
        return conv_few.correlate_few_weight(image, grad, windows, parts)
    return conv_direct.correlate_weight(image, grad, windows, parts)
