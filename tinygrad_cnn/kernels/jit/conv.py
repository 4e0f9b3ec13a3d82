"""Convolution and its two adjoints in machine code: which algorithm for which shape.

Float32 only, and no empty arrays: `NotImplemented` says that NumPy's kernels must do it. Inputs and
gradients may be `Lazy`: they are computed as they are read. Padding is zeros around what they stand
for.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..algorithm import conv_algorithm
from ..checks import Padding, Pair, check_conv2d, check_image, check_shape
from ..lazy import Affine, Lazy, load, lower, realize
from ..reference.conv import phase
from ..reference.correlate import Windows
from ..reference.layout import Array
from . import conv_depthwise, conv_direct, conv_few, conv_winograd, conv_winograd_weight
from .conv_choice import Images, few, image_source, minimal_pays, planar_source
from .conv_planes import (
    correlate_planes,
    correlate_planes_weight,
    readable,
    worthwhile,
    worthwhile_weight,
)
from .launch import FLOAT32, nchw, new_images, shares
from .moments import channel_moments
from .pixels import Source, source_of
from .planes import are_planes, planes_of
from .vector import BYTES

__all__ = ["Images", "conv2d", "conv2d_input", "conv2d_weight", "supports_conv2d"]

MOST_TIMES = 4  # filters per channel that are done one after the other
LONGEST_TABLE = 1 << 16  # output columns or taps: plans have a table of them


def supports_conv2d(*arrays: Images | None) -> bool:
    """Return whether the compiled kernels compute with these arrays: float32, none empty."""
    return all(a is None or (a.dtype == FLOAT32 and a.size > 0) for a in arrays)


def _correlate(
    x: Source, w: Array, bias: Array | None, out: Array, windows: Windows, parts: int,
    *, moments: bool = False,
) -> tuple[Array, Array] | None:  # fmt: skip
    """Correlate directly; several outputs at once where filters are few and rounding is free."""
    exact = conv_algorithm() == "direct"  # a NaN must stay in its windows
    if exact or windows.groups > 1 or not out.flags.c_contiguous:
        return conv_direct.correlate(x, w, bias, out, windows, parts, moments=moments)
    return conv_few.correlate_few(x, w, bias, out, windows, parts, moments=moments)


def _by_planes(
    x: Images, w: Array, bias: Array | None, windows: Windows, *, moments: bool = False
) -> tuple[Array, tuple[Array, Array] | None] | None:
    """Correlate x with w (f, c, kh, kw) plane by plane if that is faster and rounding is free."""
    n, c = x.shape[:2]
    f = w.shape[0]
    size = windows.size[0] * windows.size[1]
    parts = shares(x.nbytes + n * f * size * BYTES)
    exact = conv_algorithm() == "direct"  # a NaN must stay in its windows
    if exact or not worthwhile(x.shape, f, windows, parts) or minimal_pays(windows, n, c, f):
        return None
    planes = planes_of(x)
    if not readable(planes, x.shape, f, windows):
        return None
    return correlate_planes(planes, x.shape, w, bias, windows, parts, moments=moments)


def _several_depthwise(x: Source, g: Array, windows: Windows, parts: int, *, bias: bool) -> Any:
    """Return what `conv2d_weight` does for a few filters per channel: each alone is depthwise."""
    f, c = g.shape[1], windows.groups
    gw, gbias = np.empty((f, 1, *windows.kernel), np.float32), np.empty(f, np.float32)
    for k in range(f // c):
        grad = planar_source(g[:, k :: f // c])
        taps, sums = conv_depthwise.correlate_depthwise_weight(x, grad, windows, parts, bias=bias)
        gw[k :: f // c, 0] = taps.transpose(2, 0, 1)  # from (kh, kw, c)
        if sums is not None:
            gbias[k :: f // c] = sums
    return (gw, gbias) if bias else gw


def _evenly(places: list[int]) -> slice:
    """Return the slice that takes evenly spaced places, in descending order."""
    step = places[1] - places[0] if len(places) > 1 else -1
    stop = places[-1] + step
    return slice(places[0], stop if stop >= 0 else None, step)


def _plain(w: Array) -> Array:
    return np.ascontiguousarray(w)


def conv2d(
    x: Images,
    w: Array,
    b: Array | None = None,
    *,
    stride: Pair,
    padding: Padding,
    dilation: Pair,
    groups: int,
    moments: bool = False,
    keep: bool = False,
) -> Any:
    """Correlate images with filters, as `reference.conv2d`.

    With `moments` the result is a load that knows them: mean and biased variance (f,) of the
    outputs. With `keep`, what is computed of w alone may be kept for the next call with the same
    array.
    """
    size = check_conv2d(
        "conv2d", x.shape, w.shape,
        stride=stride, padding=padding, dilation=dilation, groups=groups,
    )  # fmt: skip
    f, depth, kh, kw = w.shape
    if b is not None:
        check_shape("conv2d", "bias", b.shape, (f,))
    if not supports_conv2d(x, w, b) or max(size[1], kh * kw) > LONGEST_TABLE:
        return NotImplemented
    origin = (-padding[0][0], -padding[1][0])
    windows = Windows((kh, kw), size, origin, stride, dilation, groups)
    planar = _by_planes(x, w, b, windows, moments=moments)
    if planar is not None:
        return load(planar[0], moments=planar[1]) if moments else planar[0]
    out = new_images(x.shape[0], *size, f)
    parts = shares(x.nbytes + out.nbytes)
    image = image_source(x, windows, parts)
    bias = None if b is None else _plain(b)
    found = None
    if minimal_pays(windows, x.shape[0], x.shape[1], f):
        found = conv_winograd.correlate_winograd(
            image, _plain(w), bias, out, origin, parts, moments=moments, keep=keep
        )
    elif depth == 1 and f == groups:
        taps = w[:, 0].transpose(1, 2, 0)  # (kh, kw, f)
        conv_depthwise.correlate_depthwise(image, _plain(taps), bias, out, windows, parts)
    else:
        split = _plain(w).reshape(groups, f // groups, depth, kh, kw)
        filters = split.transpose(0, 3, 4, 2, 1)
        found = _correlate(image, filters, bias, out, windows, parts, moments=moments)
    y = nchw(out)
    return load(y, moments=found or channel_moments(y)) if moments else y


def conv2d_input(
    g: Images,
    w: Array,
    *,
    size: Pair,
    stride: Pair,
    padding: Padding,
    dilation: Pair,
    groups: int,
    relu_input: Images | None = None,
) -> Any:
    """Return the adjoint of `conv2d` in `x`, as `reference.conv2d_input`.

    If x was `relu_input`, a normalisation with its ReLU, the result may be a load with the sums
    that the normalisation before will need (`conv_winograd.correlate_winograd`).
    """
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
    if stride == (1, 1) and groups == 1:
        origin = ((kh - 1) * dilation[0], (kw - 1) * dilation[1])
        origin = (padding[0][0] - origin[0], padding[1][0] - origin[1])
        whole = Windows((kh, kw), size, origin, (1, 1), dilation, 1)
        turned = w[:, :, ::-1, ::-1].transpose(1, 0, 2, 3)  # (c, f, kh, kw)
        planar = _by_planes(g, turned, None, whole)
        if planar is not None:
            return planar[0]
    out = new_images(n, h, wide, c)
    parts = shares(g.nbytes + out.nbytes)
    once = min(kh, stride[0]) * min(kw, stride[1]) == 1  # else each phase reads g
    size_of_phase = (-(-h // stride[0]), -(-wide // stride[1]))
    windows = Windows((kh, kw), size_of_phase, (0, 0), (1, 1), dilation, groups)
    grad = image_source(g, windows, parts) if once else source_of(g)
    mask = lower(relu_input) if type(relu_input) is Lazy and stride == (1, 1) else None
    mask = mask if type(mask) is Affine and mask.relu else None
    sums = None
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
        if minimal_pays(windows, n, f, c) and (kh, kw) == (3, 3):
            sums = conv_winograd.correlate_winograd(
                grad, _plain(w), None, target, (y0, x0), parts, turned=True, mask=mask
            )
            continue
        chosen = w[:, :, _evenly(rows), _evenly(columns)]  # (f, c/G, kh', kw')
        if depth == 1 and f == groups:
            taps = chosen[:, 0].transpose(1, 2, 0)  # (kh', kw', f)
            conv_depthwise.correlate_depthwise(grad, _plain(taps), None, target, windows, parts)
        else:
            split = chosen.reshape(groups, f // groups, depth, len(rows), len(columns))
            _correlate(grad, split.transpose(0, 3, 4, 1, 2), None, target, windows, parts)
    return nchw(out) if sums is None else load(nchw(out), relu_sums=(relu_input, *sums))


def conv2d_weight(
    g: Images,
    x: Images,
    *,
    kernel_size: Pair,
    stride: Pair,
    padding: Padding,
    dilation: Pair,
    groups: int,
    bias: bool = False,
) -> Any:
    """Return the adjoint of `conv2d` in `w`, as `reference.conv2d_weight`.

    With `bias` the result is (gw, gbias): also the sums of g over each channel (f,).
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
    if not supports_conv2d(g, x) or max(size[1], kh * kw) > LONGEST_TABLE:
        return NotImplemented
    origin = (-padding[0][0], -padding[1][0])
    windows = Windows((kh, kw), size, origin, stride, dilation, groups)
    parts = shares(x.nbytes + g.nbytes)
    free = conv_algorithm() != "direct" and not minimal_pays(windows, x.shape[0], c, f)
    better = worthwhile(x.shape, f, windows, parts)
    if not better and not any(type(a) is Lazy and not a.is_realized for a in (x, g)):
        both = are_planes(realize(x)) and are_planes(realize(g))
        better = both and worthwhile_weight(x.shape, f, windows, parts)
    if free and better:
        planes, gradient = planes_of(x), planes_of(g)
        if readable(planes, x.shape, f, windows):
            found = correlate_planes_weight(
                planes, x.shape, gradient, f, windows, parts, bias=bias
            )  # fmt: skip
            return found if bias else found[0]
    image = image_source(x, windows, parts)
    if depth == 1 and 1 < groups < f <= MOST_TIMES * groups:
        return _several_depthwise(image, realize(g), windows, parts, bias=bias)
    grad = planar_source(g)
    if minimal_pays(windows, x.shape[0], c, f):
        found = conv_winograd_weight.correlate_winograd_weight(
            image, grad, origin, parts, bias=bias
        )
    elif depth == 1 and f == groups:
        taps, gbias = conv_depthwise.correlate_depthwise_weight(
            image, grad, windows, parts, bias=bias
        )
        found = np.ascontiguousarray(taps[:, :, None].transpose(3, 2, 0, 1)), gbias
    elif groups == 1 and few(f, kw * c):
        found = conv_few.correlate_few_weight(image, grad, windows, parts, bias=bias)
    else:
        found = conv_direct.correlate_weight(image, grad, windows, parts, bias=bias)
    return found if bias else found[0]
