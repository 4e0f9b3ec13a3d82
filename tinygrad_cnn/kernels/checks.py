"""Geometry of sliding windows, and the errors of the kernels: every message names operation and
shapes.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from tinygrad_cnn.errors import ArgumentError, ShapeError

Pair = tuple[int, int]
Padding = tuple[Pair, Pair]  # ((top, bottom), (left, right))


def _check_positive(operation: str, name: str, value: Sequence[int]) -> None:
    if len(value) != 2 or min(value) < 1:
        raise ShapeError(
            f"{operation}: `{name}` is {tuple(value)}, expected two positive integers "
            "(rows, columns)"
        )


def check_image(operation: str, name: str, shape: Sequence[int]) -> None:
    """Raise unless `shape` is that of a batch of images (n, c, h, w)."""
    if len(shape) != 4:
        raise ShapeError(
            f"{operation}: `{name}` has shape {tuple(shape)}, expected 4 dimensions (n, c, h, w)"
        )


def check_shape(operation: str, name: str, shape: Sequence[int], expected: Sequence[int]) -> None:
    """Raise unless `shape` is exactly `expected`."""
    if tuple(shape) != tuple(expected):
        raise ShapeError(
            f"{operation}: `{name}` has shape {tuple(shape)}, expected {tuple(expected)}"
        )


def conv2d_output_size(
    size: Pair, kernel_size: Pair, *, stride: Pair, padding: Padding, dilation: Pair
) -> Pair:
    """Return how many windows of a convolution fit below and beside each other.

    >>> padding = ((2, 2), (0, 0))
    >>> conv2d_output_size((32, 32), (5, 5), stride=(2, 1), padding=padding, dilation=(1, 1))
    (16, 28)
    """
    return _output_size("conv2d", size, kernel_size, stride, padding, dilation)


@lru_cache(maxsize=512)  # a network has few shapes, and checks them several times in every step
def _output_size(
    operation: str, size: Pair, kernel_size: Pair, stride: Pair, padding: Padding, dilation: Pair
) -> Pair:
    for name, value in (("kernel_size", kernel_size), ("stride", stride), ("dilation", dilation)):
        _check_positive(operation, name, value)
    if min(padding[0] + padding[1]) < 0:
        raise ArgumentError(
            f"{operation}: `padding` is {padding}, expected ((top, bottom), (left, right)), "
            "none negative"
        )
    out = []
    for axis in (0, 1):
        room = size[axis] + sum(padding[axis])
        span = (kernel_size[axis] - 1) * dilation[axis] + 1
        if span > room:
            raise ShapeError(
                f"{operation}: `weight` covers {span} {('rows', 'columns')[axis]} but the "
                f"padded `x` has only {room} (x {tuple(size)}, kernel {tuple(kernel_size)}, "
                f"padding {padding}, dilation {tuple(dilation)})"
            )
        out.append((room - span) // stride[axis] + 1)
    return out[0], out[1]


@lru_cache(maxsize=512)
def check_conv2d(
    operation: str,
    x: tuple[int, ...],
    w: tuple[int, ...],
    *,
    stride: Pair,
    padding: Padding,
    dilation: Pair,
    groups: int,
) -> Pair:
    """Check the shapes x (n, c, h, w), w (f, c/groups, kh, kw) and return the output's (oh, ow)."""
    check_image(operation, "x", x)
    if len(w) != 4:
        raise ShapeError(
            f"{operation}: `weight` has shape {tuple(w)}, expected 4 dimensions "
            "(f, c/groups, kh, kw)"
        )
    shapes = f"(x {tuple(x)}, weight {tuple(w)})"
    if groups < 1:
        raise ArgumentError(f"{operation}: `groups` is {groups}, expected a positive integer")
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
    size, kernel_size = (x[2], x[3]), (w[2], w[3])
    return _output_size(operation, size, kernel_size, stride, padding, dilation)


def _pool_length(
    size: int, kernel: int, stride: int, padding: int, dilation: int, ceil_mode: bool
) -> int:
    reach = size + 2 * padding - dilation * (kernel - 1) - 1
    length = -(-reach // stride) + 1 if ceil_mode else reach // stride + 1
    if ceil_mode and (length - 1) * stride >= size + padding:
        length -= 1  # the last window must start inside the input or the padding before it
    return length


def pool2d_output_size(
    size: Pair, *, kernel_size: Pair, stride: Pair, padding: Pair, dilation: Pair, ceil_mode: bool
) -> Pair:
    """Return the output size of pooling, by PyTorch's rule (ATen/native/Pool.h,
    pooling_output_shape).

    >>> options = {"padding": (0, 0), "dilation": (1, 1), "ceil_mode": True}
    >>> pool2d_output_size((5, 5), kernel_size=(2, 2), stride=(2, 2), **options)
    (3, 3)
    """
    return check_pool2d(
        "pool2d",
        (1, 1, *size),
        kernel_size=kernel_size,
        stride=stride,
        padding=padding,
        dilation=dilation,
        ceil_mode=ceil_mode,
    )


def check_pool2d(
    operation: str,
    x: Sequence[int],
    *,
    kernel_size: Pair,
    stride: Pair,
    padding: Pair,
    dilation: Pair,
    ceil_mode: bool,
) -> Pair:
    """Check a pooling of x (n, c, h, w) and return the output's (oh, ow)."""
    return _pool2d_size(operation, tuple(x), kernel_size, stride, padding, dilation, ceil_mode)


@lru_cache(maxsize=512)
def _pool2d_size(
    operation: str,
    x: tuple[int, ...],
    kernel_size: Pair,
    stride: Pair,
    padding: Pair,
    dilation: Pair,
    ceil_mode: bool,
) -> Pair:
    check_image(operation, "x", x)
    for name, value in (("kernel_size", kernel_size), ("stride", stride), ("dilation", dilation)):
        _check_positive(operation, name, value)
    if len(padding) != 2 or min(padding) < 0:
        raise ShapeError(
            f"{operation}: `padding` is {tuple(padding)}, expected two integers (rows, columns), "
            "none negative"
        )
    if any(2 * p > k for p, k in zip(padding, kernel_size, strict=True)):
        raise ArgumentError(
            f"{operation}: `padding` is {tuple(padding)}, expected at most half of "
            f"`kernel_size` {tuple(kernel_size)}"
        )
    oh, ow = (
        _pool_length(*arguments, ceil_mode)
        for arguments in zip(x[2:], kernel_size, stride, padding, dilation, strict=True)
    )
    if min(oh, ow) < 1:
        raise ShapeError(
            f"{operation}: the output would be {oh} x {ow}, expected at least 1 x 1 "
            f"(x {tuple(x)}, kernel {tuple(kernel_size)}, padding {tuple(padding)}, "
            f"dilation {tuple(dilation)})"
        )
    return oh, ow


def check_batch_norm(
    operation: str, x: Sequence[int], weight: Sequence[int] | None, bias: Sequence[int] | None
) -> None:
    """Raise unless x is (n, c, ...), and weight and bias are (c,) where given."""
    if len(x) < 2:
        raise ShapeError(
            f"{operation}: `x` has shape {tuple(x)}, expected at least 2 dimensions (n, c, ...)"
        )
    for name, shape in (("weight", weight), ("bias", bias)):
        if shape is not None and tuple(shape) != (x[1],):
            raise ShapeError(
                f"{operation}: `{name}` has shape {tuple(shape)}, expected ({x[1]},) for the "
                f"channels of `x` {tuple(x)}"
            )


def check_layer_norm(
    operation: str,
    x: Sequence[int],
    ndim: int,
    weight: Sequence[int] | None,
    bias: Sequence[int] | None,
) -> None:
    """Raise unless the last `ndim` axes of x exist and weight and bias have their shape where
    given.
    """
    if not 1 <= ndim <= len(x):
        raise ArgumentError(
            f"{operation}: `ndim` is {ndim}, expected 1 to {len(x)} for `x` {tuple(x)}"
        )
    for name, shape in (("weight", weight), ("bias", bias)):
        if shape is not None and tuple(shape) != tuple(x[len(x) - ndim :]):
            raise ShapeError(
                f"{operation}: `{name}` has shape {tuple(shape)}, expected "
                f"{tuple(x[len(x) - ndim :])}, the last axes of `x` {tuple(x)}"
            )
