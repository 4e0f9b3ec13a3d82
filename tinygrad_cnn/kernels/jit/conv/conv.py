"""Convolution and its two adjoints in machine code: which algorithm for which shape.

Float32 only, and no empty arrays: `NotImplemented` says that NumPy's kernels must do it. Inputs and
gradients may be `Lazy`: they are computed as they are read. Padding is zeros around what they stand
for.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

from tinygrad_cnn.kernels.checks import Padding, Pair, check_conv2d, check_image, check_shape
from tinygrad_cnn.kernels.jit.compile.vector import BYTES
from tinygrad_cnn.kernels.jit.conv import (
    depthwise as conv_depthwise,
)
from tinygrad_cnn.kernels.jit.conv import (
    direct as conv_direct,
)
from tinygrad_cnn.kernels.jit.conv import (
    narrow as conv_few,
)
from tinygrad_cnn.kernels.jit.conv import (
    winograd as conv_winograd,
)
from tinygrad_cnn.kernels.jit.conv import (
    winograd_weight as conv_winograd_weight,
)
from tinygrad_cnn.kernels.jit.conv.choose import (
    Images,
    few,
    image_source,
    planar_source,
    winograd_pays,
)
from tinygrad_cnn.kernels.jit.conv.planar import (
    correlate_planes,
    correlate_planes_weight,
    readable,
    worthwhile,
    worthwhile_weight,
)
from tinygrad_cnn.kernels.jit.conv.recompute import directly, look_lost, strictly, strictly_weight
from tinygrad_cnn.kernels.jit.load.launch import FLOAT32, nchw, new_images, shares
from tinygrad_cnn.kernels.jit.load.pixels import Source, source_of
from tinygrad_cnn.kernels.jit.load.planes import are_planes, planes_of
from tinygrad_cnn.kernels.jit.norm.moments import channel_moments
from tinygrad_cnn.kernels.lazy import Affine, Lazy, load, lower, realize
from tinygrad_cnn.kernels.reference.conv import phase
from tinygrad_cnn.kernels.reference.correlate import Windows
from tinygrad_cnn.kernels.reference.layout import Array

MOST_TIMES = 4  # filters per channel that are done one after the other
LONGEST_TABLE = 1 << 16  # output columns or taps: plans have a table of them


def supports_conv2d(*arrays: Images | None) -> bool:
    """Return whether the compiled kernels compute with these arrays: float32, none empty."""
    for a in arrays:
        if a is not None and (a.dtype != FLOAT32 or a.size == 0):
            return False
    return True


def _correlate(
    x: Source, w: Array, bias: Array | None, out: Array, windows: Windows, parts: int,
    *, moments: bool = False,
) -> tuple[Array, Array] | None:  # fmt: skip
    """Correlate directly; several outputs at once where filters are few."""
    if windows.groups > 1 or not out.flags.c_contiguous:
        return conv_direct.correlate(x, w, bias, out, windows, parts, moments=moments)
    return conv_few.correlate_few(x, w, bias, out, windows, parts, moments=moments)


def _by_planes(
    x: Images, w: Array, bias: Array | None, windows: Windows, *, moments: bool = False
) -> tuple[Array, tuple[Array, Array] | None] | None:
    """Correlate x with w (f, c, kh, kw) plane by plane if that is faster."""
    n, c = x.shape[:2]
    f = w.shape[0]
    size = windows.size[0] * windows.size[1]
    parts = shares(x.nbytes + n * f * size * BYTES)
    if not worthwhile(x.shape, f, windows, parts) or winograd_pays(windows, n, c, f):
        return None
    planes = planes_of(x)
    if not readable(planes, x.shape, f, windows):
        return None
    return correlate_planes(planes, x.shape, w, bias, windows, parts, moments=moments)


def _several_depthwise(
    x: Source, g: Array, windows: Windows, parts: int, *, bias: bool
) -> tuple[Array, Array | None]:
    """Return what `conv2d_weight` does for a few filters per channel: each alone is depthwise."""
    f, c = g.shape[1], windows.groups
    gw, gbias = np.empty((f, 1, *windows.kernel), np.float32), np.empty(f, np.float32)
    for k in range(f // c):
        grad = planar_source(g[:, k :: f // c])
        taps, sums = conv_depthwise.correlate_depthwise_weight(x, grad, windows, parts, bias=bias)
        gw[k :: f // c, 0] = taps.transpose(2, 0, 1)  # from (kh, kw, c)
        if sums is not None:
            gbias[k :: f // c] = sums
    return gw, gbias if bias else None


def _evenly(places: tuple[int, ...]) -> slice:
    """Return the slice that takes evenly spaced places, in descending order."""
    step = places[1] - places[0] if len(places) > 1 else -1
    stop = places[-1] + step
    return slice(places[0], stop if stop >= 0 else None, step)


def _plain(w: Array) -> Array:
    return np.ascontiguousarray(w)


def _grouped(w: Array, groups: int, *, turned: bool = False) -> Array:
    """Return filters (f, c/groups, kh, kw) as (groups, kh, kw, c/groups, f/groups), or, for the
    adjoint, with the last two exchanged.
    """
    split = w.reshape(groups, w.shape[0] // groups, *w.shape[1:])
    return split.transpose(0, 3, 4, 1, 2) if turned else split.transpose(0, 3, 4, 2, 1)


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
    kh, kw = w.shape[2:]
    if b is not None:
        check_shape("conv2d", "bias", b.shape, w.shape[:1])
    if not supports_conv2d(x, w, b) or max(size[1], kh * kw) > LONGEST_TABLE:
        return NotImplemented
    origin = (-padding[0][0], -padding[1][0])
    windows = Windows((kh, kw), size, origin, stride, dilation, groups)
    bias = None if b is None else _plain(b)
    planar = _by_planes(x, w, b, windows, moments=moments)
    found: tuple[Array, ...] | None
    if planar is not None:
        y, found = planar
        out = y.transpose(0, 2, 3, 1)  # (n, oh, ow, f)
    else:
        out, found = _by_channels(x, w, bias, windows, moments=moments, keep=keep)
        y = nchw(out)
    if look_lost(out) and strictly(x, _grouped(w, groups), bias, out, windows):
        found = None
    return load(y, moments=found or channel_moments(y)) if moments else y


def _by_channels(
    x: Images, w: Array, bias: Array | None, windows: Windows, *, moments: bool, keep: bool
) -> tuple[Array, tuple[Array, ...] | None]:  # fmt: skip
    """Return the correlation (n, oh, ow, f), and its mean and variance (f,) if they are known."""
    f, depth, groups = w.shape[0], w.shape[1], windows.groups
    out = new_images(x.shape[0], *windows.size, f)
    parts = shares(x.nbytes + out.nbytes)
    image = image_source(x, windows, parts)
    found = None
    if winograd_pays(windows, x.shape[0], x.shape[1], f):
        found, wide = conv_winograd.correlate_winograd(
            image, _plain(w), bias, out, windows.origin, parts, moments=moments, keep=keep
        )
        if wide is not None:
            directly(wide, image, _grouped(w, groups), bias, out, windows, parts)
    elif depth == 1 and f == groups:
        taps = w[:, 0].transpose(1, 2, 0)  # (kh, kw, f)
        conv_depthwise.correlate_depthwise(image, _plain(taps), bias, out, windows, parts)
    else:
        found = _correlate(
            image, _grouped(w, groups), bias, out, windows, parts, moments=moments
        )  # fmt: skip
    return out, found


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
            gx = planar[0].transpose(0, 2, 3, 1)  # (n, h, w, c)
            if look_lost(gx):
                strictly(g, _grouped(turned, 1), None, gx, whole)
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
    for ry, rx in itertools.product(range(stride[0]), range(stride[1])):
        target = out if stride == (1, 1) else out[:, ry :: stride[0], rx :: stride[1]]
        if target.size == 0:
            continue
        rows, y0, dy = phase(kh, stride[0], dilation[0], padding[0][0], ry)
        columns, x0, dx = phase(kw, stride[1], dilation[1], padding[1][0], rx)
        if not rows or not columns:
            target[...] = 0
            continue
        dims = (target.shape[1], target.shape[2])
        windows = Windows((len(rows), len(columns)), dims, (y0, x0), (1, 1), (dy, dx), groups)
        chosen = w[:, :, _evenly(rows), _evenly(columns)]  # (f, c/G, kh', kw')
        if winograd_pays(windows, n, f, c) and (kh, kw) == (3, 3):
            sums, lost = conv_winograd.correlate_winograd(
                grad, _plain(w), None, target, (y0, x0), parts, turned=True, mask=mask
            )
            if lost is not None:
                filters = _grouped(chosen, groups, turned=True)
                directly(lost, grad, filters, None, target, windows, parts)
        elif depth == 1 and f == groups:
            taps = chosen[:, 0].transpose(1, 2, 0)  # (kh', kw', f)
            conv_depthwise.correlate_depthwise(grad, _plain(taps), None, target, windows, parts)
        else:
            filters = _grouped(chosen, groups, turned=True)
            _correlate(grad, filters, None, target, windows, parts)
        if look_lost(target):
            strictly(g, _grouped(chosen, groups, turned=True), None, target, windows)
            sums = None
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
    found = _weight(g, x, windows, bias=bias)
    strictly_weight(g, x, found[0], windows)
    return found if bias else found[0]


def _weight(g: Images, x: Images, windows: Windows, *, bias: bool) -> tuple[Array, Array | None]:
    """Return the gradients of the filters (f, c/groups, kh, kw) and, if wanted, of the bias."""
    (n, c), f, groups = x.shape[:2], g.shape[1], windows.groups
    parts = shares(x.nbytes + g.nbytes)
    minimal = winograd_pays(windows, n, c, f)
    better = worthwhile(x.shape, f, windows, parts)
    if not better and not any(type(a) is Lazy and not a.is_realized for a in (x, g)):
        both = are_planes(realize(x)) and are_planes(realize(g))
        better = both and worthwhile_weight(x.shape, f, windows, parts)
    if better and not minimal:
        planes, gradient = planes_of(x), planes_of(g)
        if readable(planes, x.shape, f, windows):
            return correlate_planes_weight(
                planes, x.shape, gradient, f, windows, parts, bias=bias
            )  # fmt: skip
    image = image_source(x, windows, parts)
    depthwise = c == groups > 1
    if depthwise and groups < f <= MOST_TIMES * groups:
        return _several_depthwise(image, realize(g), windows, parts, bias=bias)
    grad = planar_source(g)
    found = None
    if minimal:
        found = conv_winograd_weight.correlate_winograd_weight(
            image, grad, windows.origin, parts, bias=bias
        )
    elif c == f == groups:
        taps, gbias = conv_depthwise.correlate_depthwise_weight(
            image, grad, windows, parts, bias=bias
        )
        return np.ascontiguousarray(taps[:, :, None].transpose(3, 2, 0, 1)), gbias
    elif groups == 1 and few(f, windows.kernel[1] * c):
        found = conv_few.correlate_few_weight(image, grad, windows, parts, bias=bias)
    if found is None:
        found = conv_direct.correlate_weight(image, grad, windows, parts, bias=bias)
    return found
