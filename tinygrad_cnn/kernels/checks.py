"""Geometry of sliding windows, and the errors of the kernels: every message names operation and
shapes.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from tinygrad_cnn.errors import ArgumentError, ShapeError

Pair = tuple[int, int]
Padding = tuple[Pair, Pair]  # ((top, bottom), (left, right))


def check_positive(operation: str, name: str, value: Sequence[int]) -> None:
    """Raise unless `value` is two positive integers."""
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
        check_positive(operation, name, value)
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
