"""The geometry of convolutions: what was asked for, checked once, and where its windows lie.

All is kept by its arguments: a network has few shapes, and asks for them several times in a step.
"""

from __future__ import annotations

import itertools
from functools import lru_cache
from math import gcd
from operator import index
from typing import NamedTuple

from tinygrad_cnn.errors import ArgumentError, ShapeError
from tinygrad_cnn.kernels.checks import Padding, Pair, check_image, check_positive, check_shape

Shape = tuple[int, ...]
Slices = tuple[slice, slice]


class ConvSpec(NamedTuple):
    """How the windows of a convolution lie over images of any size. `conv_spec` checks it."""

    stride: Pair = (1, 1)
    padding: Padding = ((0, 0), (0, 0))  # ((top, bottom), (left, right)) zeros around every image
    dilation: Pair = (1, 1)
    groups: int = 1  # block k of the filters sees block k of the channels only

    def output_size(self, size: Pair, kernel_size: Pair, operation: str = "conv2d") -> Pair:
        """Return how many windows fit below and beside each other in images of `size` (h, w).

        Raises
        ------
        ShapeError: none fits.

        >>> ConvSpec((2, 1), ((2, 2), (0, 0))).output_size((32, 32), (5, 5))
        (16, 28)
        """
        check_positive(operation, "kernel_size", kernel_size)
        out = []
        for axis in (0, 1):
            room = size[axis] + sum(self.padding[axis])
            span = (kernel_size[axis] - 1) * self.dilation[axis] + 1
            if span > room:
                raise ShapeError(
                    f"{operation}: `weight` covers {span} {('rows', 'columns')[axis]} but the "
                    f"padded `x` has only {room} (x {tuple(size)}, kernel {tuple(kernel_size)}, "
                    f"padding {self.padding}, dilation {self.dilation})"
                )
            out.append((room - span) // self.stride[axis] + 1)
        return out[0], out[1]


@lru_cache(maxsize=512, typed=True)  # 2.0 groups are not 2
def conv_spec(
    stride: Pair = (1, 1),
    padding: Padding = ((0, 0), (0, 0)),
    dilation: Pair = (1, 1),
    groups: int = 1,
    operation: str = "conv2d",
) -> ConvSpec:
    """Return the `ConvSpec` of arguments, the same one each time.

    Raises
    ------
    ShapeError, ArgumentError: one is not positive, or the padding negative.
    TypeError: `groups` is no integer.

    >>> conv_spec(stride=(2, 2)).stride
    (2, 2)
    """
    try:
        groups = index(groups)
    except TypeError:
        raise TypeError(f"{operation}: `groups` is {groups!r}, expected an integer") from None
    if groups < 1:
        raise ArgumentError(f"{operation}: `groups` is {groups}, expected a positive integer")
    check_positive(operation, "stride", stride)
    check_positive(operation, "dilation", dilation)
    if min(padding[0] + padding[1]) < 0:
        raise ArgumentError(
            f"{operation}: `padding` is {padding}, expected ((top, bottom), (left, right)), "
            "none negative"
        )
    return ConvSpec(stride, padding, dilation, groups)


class Windows(NamedTuple):
    """Where the windows lie: output (p, q), tap (i, j) reads pixel ``origin + (p, q)*stride + (i,
    j)*dilation``.

    Pixels outside of the image count as 0; the origin of a padded convolution is negative.
    """

    kernel: Pair
    size: Pair
    origin: Pair
    stride: Pair
    dilation: Pair
    groups: int

    def extent(self, axis: int, start: int, stop: int) -> Pair:
        """Return the range of pixels on `axis` that outputs [start, stop) read."""
        first = self.origin[axis] + start * self.stride[axis]
        last = self.origin[axis] + (stop - 1) * self.stride[axis]
        return first, last + (self.kernel[axis] - 1) * self.dilation[axis] + 1

    def pointwise(self, h: int, w: int) -> bool:
        """Return whether every output reads just the pixel at its own place."""
        return (
            self.kernel == (1, 1)
            and self.origin == (0, 0)
            and self.stride == (1, 1)
            and self.size == (h, w)
        )


@lru_cache(maxsize=512)
def conv2d_windows(
    x: Shape, w: Shape, spec: ConvSpec, operation: str = "conv2d", bias: Shape | None = None
) -> Windows:
    """Return the windows over x (n, c, h, w) with filters w (f, c/groups, kh, kw).

    `bias` is the shape of a number per filter, if there are any.

    Raises
    ------
    ShapeError: the shapes do not fit.
    """
    check_image(operation, "x", x)
    if len(w) != 4:
        raise ShapeError(
            f"{operation}: `weight` has shape {tuple(w)}, expected 4 dimensions "
            "(f, c/groups, kh, kw)"
        )
    shapes, groups = f"(x {tuple(x)}, weight {tuple(w)})", spec.groups
    if x[1] % groups:
        raise ShapeError(
            f"{operation}: `x` has {x[1]} channels, not a multiple of groups={groups} {shapes}"
        )
    if w[0] % groups:
        raise ShapeError(
            f"{operation}: `weight` has {w[0]} filters, not a multiple of groups={groups} {shapes}"
        )
    if x[1] != w[1] * groups:
        each = f" in each of {groups} groups, {w[1] * groups} in all" if groups > 1 else ""
        raise ShapeError(
            f"{operation}: `x` has {x[1]} channels but `weight` expects {w[1]}{each} {shapes}"
        )
    kernel = (w[2], w[3])
    size = spec.output_size((x[2], x[3]), kernel, operation)
    if bias is not None:
        check_shape(operation, "bias", bias, w[:1])
    origin = (-spec.padding[0][0], -spec.padding[1][0])
    return Windows(kernel, size, origin, spec.stride, spec.dilation, groups)


@lru_cache(maxsize=512)
def conv2d_input_windows(g: Shape, w: Shape, size: Pair, spec: ConvSpec) -> Windows:
    """Return the windows over images of `size` (h, w) that have the gradients g (n, f, oh, ow)."""
    check_image("conv2d_input", "g", g)
    f, depth = w[:2] if len(w) == 4 else (0, 0)
    windows = conv2d_windows((g[0], depth * spec.groups, *size), w, spec, "conv2d_input")
    check_shape("conv2d_input", "g", g, (g[0], f, *windows.size))
    return windows


@lru_cache(maxsize=512)
def conv2d_weight_windows(g: Shape, x: Shape, kernel_size: Pair, spec: ConvSpec) -> Windows:
    """Return the windows over x (n, c, h, w) that have the gradients g (n, f, oh, ow)."""
    check_image("conv2d_weight", "g", g)
    check_image("conv2d_weight", "x", x)
    w = (g[1], x[1] // spec.groups, *kernel_size)
    windows = conv2d_windows(x, w, spec, "conv2d_weight")
    check_shape("conv2d_weight", "g", g, (x[0], g[1], *windows.size))
    return windows


class Phase(NamedTuple):
    """Pixels of images, as many apart as the stride, that the same taps of a convolution read."""

    pixels: Slices
    taps: Slices  # from the last to the first, as in a correlation of the gradients
    windows: Windows  # of that correlation


def _phase(
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


def _evenly(places: tuple[int, ...]) -> slice:
    """Return the slice that takes evenly spaced places, in descending order."""
    step = places[1] - places[0] if len(places) > 1 else -1
    stop = places[-1] + step
    return slice(places[0], stop if stop >= 0 else None, step)


@lru_cache(maxsize=512)
def phases(
    kernel: Pair, size: Pair, spec: ConvSpec
) -> tuple[tuple[Phase, ...], tuple[Slices, ...]]:
    """Return the correlations that together are the adjoint in images of `size` (h, w), and the
    pixels that no tap reads.
    """
    read, unread = [], []
    (sh, sw), (dh, dw), ((top, _), (left, _)) = spec.stride, spec.dilation, spec.padding
    for ry, rx in itertools.product(range(min(sh, size[0])), range(min(sw, size[1]))):
        rows, y0, step_y = _phase(kernel[0], sh, dh, top, ry)
        columns, x0, step_x = _phase(kernel[1], sw, dw, left, rx)
        pixels = slice(ry, None, sh), slice(rx, None, sw)
        if not rows or not columns:
            unread.append(pixels)
            continue
        windows = Windows(
            (len(rows), len(columns)), (-(-(size[0] - ry) // sh), -(-(size[1] - rx) // sw)),
            (y0, x0), (1, 1), (step_y, step_x), spec.groups,
        )  # fmt: skip
        read.append(Phase(pixels, (_evenly(rows), _evenly(columns)), windows))
    return tuple(read), tuple(unread)
