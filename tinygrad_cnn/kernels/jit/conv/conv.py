"""Convolution and its two adjoints in machine code, by the algorithm that `choose` says.

Some of it is computed a second time, for numbers that the fast ways cannot take. Some images, by
direct convolution, whose numbers are too far apart for Winograd's transforms (`winograd_range`).
Everything, tap by tap (`reference.strict`), if filters are infinite or NaN and have met the zeros
around the images: a look at the first output of every filter tells, because it was multiplied with
all taps. Of the filters' gradient, a gradient that is lost has reached the first tap of its filter,
and an input some tap of the first filter of its group.

Float32 only, and no empty arrays: None says that NumPy's kernels must do it. Inputs and
gradients may be `Lazy`: they are computed as they are read. Padding is zeros around what they stand
for.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from tinygrad_cnn.kernels.checks import Pair
from tinygrad_cnn.kernels.choice import ConvAlgorithm, algorithm
from tinygrad_cnn.kernels.conv_spec import (
    ConvSpec,
    Phase,
    Shape,
    Slices,
    Windows,
    conv2d_input_windows,
    conv2d_weight_windows,
    conv2d_windows,
    phases,
)
from tinygrad_cnn.kernels.jit.compile.vector import BYTES
from tinygrad_cnn.kernels.jit.conv import depthwise, direct, narrow, winograd, winograd_weight
from tinygrad_cnn.kernels.jit.conv.choose import Choice, choose
from tinygrad_cnn.kernels.jit.conv.few_pixels import correlate_few_pixels, units_of
from tinygrad_cnn.kernels.jit.conv.finite import note_finite
from tinygrad_cnn.kernels.jit.conv.pack import Filters, pack, packed_shape, slots_of
from tinygrad_cnn.kernels.jit.conv.planar import correlate_planes, correlate_planes_weight
from tinygrad_cnn.kernels.jit.load.images import (
    FLOAT32,
    SCATTERED,
    Images,
    Planes,
    Source,
    are_planes,
    images_like,
    nchw,
    planar_source,
    planes_of,
    some_images,
    source_of,
)
from tinygrad_cnn.kernels.jit.load.rows import ordered
from tinygrad_cnn.kernels.jit.norm.moments import channel_moments
from tinygrad_cnn.kernels.lazy import Affine, Lazy, load, lower, realize
from tinygrad_cnn.kernels.memory import empty, scratch
from tinygrad_cnn.kernels.reference.layout import all_finite
from tinygrad_cnn.kernels.reference.strict import correlate_taps, correlate_weight_taps
from tinygrad_cnn.kernels.tape import taping
from tinygrad_cnn.kernels.threads import shares, team
from tinygrad_cnn.types import Array

LONGEST_TABLE = 1 << 16  # output columns or taps: plans have a table of them


def all_float32(x: Images, y: Images, b: Array | None) -> bool:
    """Return whether the compiled kernels compute with arrays of these dtypes."""
    return x.dtype == y.dtype == FLOAT32 and (b is None or b.dtype == FLOAT32)


def _correlate(
    choice: Choice, x: Source, w: Array, bias: Array | None, out: Array, windows: Windows,
    parts: int, *, moments: bool = False,
) -> tuple[tuple[Array, Array] | None, bool]:  # fmt: skip
    """Write the correlation of x with w (groups, kh, kw, c/groups, f/groups) to out; return its
    moments, if wanted and known, and whether a filter may be lost.
    """
    if choice.algorithm == "depthwise":
        taps = w[..., 0, 0].transpose(1, 2, 0)  # (kh, kw, f)
        depthwise.correlate_depthwise(x, ordered(taps), bias, out, windows, parts)
        return None, look_lost(out)
    if choice.algorithm == "narrow":
        return narrow.correlate_few(
            x, w, bias, out, windows, parts, choice.block, moments=moments
        )  # fmt: skip
    return direct.correlate(x, w, bias, out, windows, parts, moments=moments)


def _turned(w: Array, taps: Slices, groups: int) -> Array:
    """Return the taps of filters (f, c/groups, kh, kw) that a phase of the adjoint needs."""
    return _grouped(w[:, :, *taps], groups, turned=True)


def _grouped(w: Array, groups: int, *, turned: bool = False) -> Array:
    """Return filters (f, c/groups, kh, kw) as (groups, kh, kw, c/groups, f/groups), or, for the
    adjoint, with the last two exchanged.
    """
    split = w.reshape(groups, w.shape[0] // groups, *w.shape[1:])
    return split.transpose(0, 3, 4, 1, 2) if turned else split.transpose(0, 3, 4, 2, 1)


class Plan(NamedTuple):
    """What shapes, options and the number of threads decide of a correlation."""

    windows: Windows
    parts: int
    choice: Choice
    key: tuple[Any, ...]
    """By which `choose` made the choice."""


def _plan(*key: Any) -> Plan:
    return Plan(key[3], key[4], choose(*key), key)


def _too_large(windows: Windows) -> bool:
    (kh, kw), (_, ow) = windows.kernel, windows.size
    return max(ow, kh * kw) > LONGEST_TABLE


@lru_cache(maxsize=1024)
def _forward_plan(
    x: Shape, w: Shape, b: Shape | None, spec: ConvSpec, threads: int, wanted: ConvAlgorithm,
    keep: bool,
) -> Plan | None:  # fmt: skip
    """Return how `conv2d` goes about it; None where it does not."""
    windows = conv2d_windows(x, w, spec, "conv2d", b)
    if 0 in (*x, *w, *(b or ())) or _too_large(windows):
        return None
    outputs = x[0] * math.prod(windows.size)
    parts = shares((math.prod(x) + outputs * w[0]) * BYTES, outputs * math.prod(w))
    return _plan("forward", x, w[0], windows, parts, wanted, True, True, False, keep)


@lru_cache(maxsize=1024)
def _input_plans(
    g: Shape, w: Shape, size: Pair, spec: ConvSpec, threads: int, wanted: ConvAlgorithm
) -> tuple[tuple[Phase, ...], tuple[Slices, ...], tuple[Plan, ...], Array, list[int]] | None:
    """Return the phases of `conv2d_input`, what none reads, how to go about each phase, and how
    their taps are packed (`slots_of`).
    """
    (kh, kw), (h, wide) = conv2d_input_windows(g, w, size, spec).kernel, size
    if 0 in (*g, *w) or max(wide, kh * kw) > LONGEST_TABLE:
        return None
    c, dense = w[1] * spec.groups, spec.stride == (1, 1)
    nbytes = (math.prod(g) + g[0] * h * wide * c) * BYTES
    parts = shares(nbytes, math.prod(g) // g[1] * math.prod(w))
    read, unread = phases((kh, kw), size, spec)
    plans = [
        _plan("input", g, c, windows, parts, wanted, dense, len(read) == 1)
        for _, _, windows in read
    ]
    return read, unread, tuple(plans), *slots_of((kh, kw), [taps for _, taps, _ in read])


@lru_cache(maxsize=1024)
def _weight_plan(
    g: Shape, x: Shape, kernel: Pair, spec: ConvSpec, threads: int, wanted: ConvAlgorithm,
    by_planes: bool,
) -> Plan | None:  # fmt: skip
    """Return how `conv2d_weight` goes about it; None where it does not."""
    windows = conv2d_weight_windows(g, x, kernel, spec)
    if 0 in (*g, *x) or _too_large(windows):
        return None
    parts = shares((math.prod(x) + math.prod(g)) * BYTES)  # each with sums of its own
    n, c, h, w = x
    products = math.prod(g) * c // spec.groups * math.prod(kernel)
    many = shares(0, products)
    if many > parts and units_of((n, h, w, c), g[1], windows, many):
        parts = many
    return _plan("weight", x, g[1], windows, parts, wanted, True, True, by_planes)


def _planes(x: Images, plan: Plan) -> tuple[Choice, Planes | None]:
    """Return what to do with x, and its planes if it is done plane by plane."""
    choice = plan.choice
    if choice.algorithm != "planar":
        return choice, None
    planes = planes_of(x)
    if planes.kind == SCATTERED:
        choice = choose(*plan.key, scattered=True)
    return choice, planes if choice.algorithm == "planar" else None


def _image(x: Images, choice: Choice) -> Source:
    return planar_source(x) if choice.as_it_lies else source_of(x)


def conv2d(
    x: Images, w: Array, b: Array | None = None, *, spec: ConvSpec, moments: bool = False,
    keep: bool = False,
) -> Array | Lazy | None:  # fmt: skip
    """Correlate images with filters, as `reference.conv2d`.

    With `moments` the result is a load that knows them: mean and biased variance (f,) of the
    outputs. With `keep`, what is computed of w alone may be kept for the next call with the same
    array.
    """
    shape, groups = x.shape, spec.groups
    plan = _forward_plan(
        shape, w.shape, None if b is None else b.shape, spec, team(), algorithm.get(), keep
    )
    if plan is None or not all_float32(x, w, b):
        return None
    windows, parts = plan.windows, plan.parts
    bias = None if b is None else ordered(b)
    choice, planes = _planes(x, plan)
    found: tuple[Array, ...] | None
    if planes is not None:
        y, found = correlate_planes(planes, shape, w, bias, windows, parts, moments=moments)
        out = y.transpose(0, 2, 3, 1)  # (n, oh, ow, f)
        lost = look_lost(out)
    else:
        out = empty((shape[0], *windows.size, w.shape[0]), FLOAT32)
        image = _image(x, choice)
        if choice.algorithm == "winograd":
            found, wide, lost = winograd.correlate_winograd(
                image, ordered(w), bias, out, windows.origin, parts, choice.block,
                moments=moments, keep=keep,
            )  # fmt: skip
            if wide is not None:
                directly(wide, image, _grouped(w, groups), bias, out, windows, parts)
        else:
            filters = _grouped(w, groups)
            found, lost = _correlate(
                choice, image, filters, bias, out, windows, parts, moments=moments
            )  # fmt: skip
        y = nchw(out)
    if lost and strictly(x, _grouped(w, groups), bias, out, windows):
        found = None
    return load(y, moments=found or channel_moments(y)) if moments else y


def conv2d_input(
    g: Images, w: Array, *, size: Pair, spec: ConvSpec, relu_input: Images | None = None
) -> Array | Lazy | None:
    """Return the adjoint of `conv2d` in `x`, as `reference.conv2d_input`.

    If x was `relu_input`, a normalisation with its ReLU, the result may be a load with the sums
    that the normalisation before will need (`winograd.correlate_winograd`).
    """
    shape, groups, dense = g.shape, spec.groups, spec.stride == (1, 1)
    plans = _input_plans(shape, w.shape, size, spec, team(), algorithm.get())
    if plans is None or not all_float32(g, w, None):
        return None
    read, unread, each, slots, first = plans
    choices = [plan.choice for plan in each]
    if dense:  # only then plane by plane
        choices[0], planes = _planes(g, each[0])
    if dense and planes is not None:
        _, taps, windows = read[0]
        turned = w[:, :, *taps].transpose(1, 0, 2, 3)  # (c, f, kh, kw)
        gx, _ = correlate_planes(planes, shape, turned, None, windows, each[0].parts)
        image = gx.transpose(0, 2, 3, 1)  # (n, h, w, c)
        if look_lost(image):
            strictly(g, _grouped(turned, 1), None, image, windows)
        return gx
    out = empty((shape[0], *size, w.shape[1] * groups), FLOAT32)
    grad = _image(g, choices[0]) if len(read) == 1 else source_of(g)  # each phase reads it
    gate = lower(relu_input) if type(relu_input) is Lazy and dense else None
    gated = relu_input if type(gate) is Affine and gate.relu else None
    sums, parts = None, each[0].parts if read else 1
    with scratch() as take:
        packed = None
        if choices and choices[0].algorithm == "direct":  # so are all phases
            filters = _grouped(w, groups, turned=True)
            shape_of_all = packed_shape(groups, math.prod(filters.shape[1:4]), filters.shape[4])
            packed = take(shape_of_all, FLOAT32)
            pack(filters, packed, slots)
        for k, (pixels, taps, windows) in enumerate(read):
            target, choice = out if dense else out[:, *pixels], choices[k]
            if packed is not None:
                some = Filters(packed, w[:, 0].size // groups, first[k] * (w.shape[0] // groups))
                _, lost = direct.correlate(grad, some, None, target, windows, parts)
            elif choice.algorithm == "winograd":
                mask = None if gated is None else source_of(gated)
                sums, wide, lost = winograd.correlate_winograd(
                    grad, ordered(w), None, target, windows.origin, parts, turned=True, mask=mask
                )
                if wide is not None:
                    directly(wide, grad, _turned(w, taps, groups), None, target, windows, parts)
            else:
                turned = _turned(w, taps, groups)
                _, lost = _correlate(choice, grad, turned, None, target, windows, parts)
            if lost:
                strictly(g, _turned(w, taps, groups), None, target, windows)
                sums = None
    for pixels in unread:
        out[:, *pixels] = 0
    return nchw(out) if sums is None else load(nchw(out), relu_sums=(relu_input, *sums))


def conv2d_weight(
    g: Images, x: Images, *, kernel_size: Pair, spec: ConvSpec, bias: bool = False
) -> Array | tuple[Array, Array | None] | None:
    """Return the adjoint of `conv2d` in `w`, as `reference.conv2d_weight`.

    With `bias` the result is (gw, gbias): also the sums of g over each channel (f,).
    """
    plan = _weight_plan(
        g.shape, x.shape, kernel_size, spec, team(), algorithm.get(), _lie_by_planes(x, g)
    )
    if plan is None or not all_float32(g, x, None):
        return None
    gw, gbias, lost = _weight(g, x, plan, bias=bias)
    if lost is None:
        lost = look_lost_weight(gw, plan.windows.groups)
    if lost:
        strictly_weight(g, x, gw, plan.windows)
    return (gw, gbias) if bias else gw


def _lie_by_planes(*arrays: Images) -> bool:
    """Return whether all lie plane by plane in memory, as far as they are computed."""
    for a in arrays:
        if type(a) is Lazy and not a.is_realized:
            return False
        if not are_planes(realize(a)):
            return False
    return True


def _weight(
    g: Images, x: Images, plan: Plan, *, bias: bool
) -> tuple[Array, Array | None, bool | None]:  # fmt: skip
    """Return the gradients of the filters (f, c/groups, kh, kw) and, if wanted, of the bias; and
    whether a filter or a channel may be lost, if that is known.
    """
    windows, parts = plan.windows, plan.parts
    choice, planes = _planes(x, plan)
    if planes is not None:
        return *correlate_planes_weight(
            planes, x.shape, planes_of(g), g.shape[1], windows, parts, bias=bias
        ), None  # fmt: skip
    image = _image(x, choice)
    if choice.algorithm == "several":
        return *depthwise.correlate_several_weight(
            image, realize(g), windows, parts, bias=bias
        ), None  # fmt: skip
    grad = planar_source(g)
    if choice.algorithm == "depthwise":
        taps, gbias = depthwise.correlate_depthwise_weight(image, grad, windows, parts, bias=bias)
        return ordered(taps[:, :, None].transpose(3, 2, 0, 1)), gbias, None
    if choice.algorithm == "narrow":
        return *narrow.correlate_few_weight(image, grad, windows, parts, bias=bias), None
    found = None
    if choice.algorithm == "winograd":
        found = winograd_weight.correlate_winograd_weight(
            image, grad, windows.origin, parts, bias=bias
        )
    if found is not None:
        return found
    units = units_of(image.other.shape, grad.other.shape[3], windows, parts)
    if units is not None:
        return *correlate_few_pixels(image, grad, windows, units, parts, bias=bias), None
    return *direct.correlate_weight(image, grad, windows, parts, bias=bias), None


# ---- again, for numbers that the fast ways cannot take --------------------------------------


def directly(
    which: Array, x: Source, w: Array, bias: Array | None, out: Array, windows: Windows, parts: int
) -> None:
    """Do as `direct.correlate` for the images of a mask (n,)."""
    edges = np.flatnonzero(np.diff(which, prepend=False, append=False))
    for first, stop in edges.reshape(-1, 2).tolist():
        some = some_images(x, first, stop)
        direct.correlate(some, w, bias, out[first:stop], windows, parts)


def look_lost(out: Array) -> bool:
    """Return whether filters may be infinite or NaN, by their first outputs out (n, oh, ow, f)."""
    first = out[0, 0, 0]
    if taping:
        note_finite(first)
    return not math.isfinite(first.dot(first))


def strictly(x: Images, w: Array, bias: Array | None, out: Array, windows: Windows) -> bool:
    """Correct out (n, oh, ow, f), the correlation of x with w (groups, kh, kw, c/groups, f/groups);
    return whether there was anything to correct.
    """
    if all_finite(w):
        return False
    correlate_taps(images_like(realize(x)), w, bias, out, windows)
    return True


def look_lost_weight(gw: Array, groups: int) -> bool:
    """Return whether gradients may be infinite or NaN, by those of each filter's first tap, and of
    the first filter of each group, in gw (f, c/groups, kh, kw).
    """
    column, rows = gw[:, 0, 0, 0], gw[:: gw.shape[0] // groups]
    note_finite(column, rows)
    return not (math.isfinite(np.vdot(column, column)) and math.isfinite(np.vdot(rows, rows)))


def strictly_weight(g: Images, x: Images, gw: Array, windows: Windows) -> None:
    """Correct gw (f, c/groups, kh, kw), the gradient of the filters."""
    if all_finite(gw):
        return
    found = correlate_weight_taps(images_like(realize(x)), images_like(realize(g)), windows)
    split = found.transpose(0, 4, 3, 1, 2)  # (groups, f/groups, c/groups, kh, kw)
    gw[...] = split.reshape(gw.shape)
