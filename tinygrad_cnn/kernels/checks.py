"""Geometry of sliding windows, and the errors of the kernels: every message names operation and
shapes.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple, TypedDict, Unpack, cast

from tinygrad_cnn.errors import ArgumentError, PositionError, ShapeError
from tinygrad_cnn.types import Array

Shape = Sequence[int]

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


def check_labels(operation: str, labels: Array, c: int, ignored: int) -> None:
    """Raise unless all labels but those that are `ignored` are numbers of c classes."""
    wrong = labels[((labels < 0) | (labels >= c)) & (labels != ignored)]
    if wrong.size:
        bad = wrong.min() if wrong.min() < 0 else wrong.max()
        raise PositionError(
            f"{operation}: `target` holds {bad}, expected class numbers from 0 to {c - 1}"
        )


def check_shape(operation: str, name: str, shape: Sequence[int], expected: Sequence[int]) -> None:
    """Raise unless `shape` is exactly `expected`."""
    if tuple(shape) != tuple(expected):
        raise ShapeError(
            f"{operation}: `{name}` has shape {tuple(shape)}, expected {tuple(expected)}"
        )


class PoolWindow(TypedDict):
    """The fields of `PoolSpec`, as keyword arguments of a pooling."""

    kernel_size: Pair
    stride: Pair
    padding: Pair
    dilation: Pair
    ceil_mode: bool


class PoolSpec(NamedTuple):
    """How the windows of a pooling lie over images of any size. `check_pool2d` checks it."""

    kernel_size: Pair
    stride: Pair
    padding: Pair = (0, 0)
    dilation: Pair = (1, 1)
    ceil_mode: bool = False

    def window(self) -> PoolWindow:
        """Return it as keyword arguments."""
        return cast(PoolWindow, self._asdict())

    def length(self, size: int, axis: int) -> int:
        """Return how many windows there are along an axis of so many pixels."""
        kernel, stride, padding, dilation = (field[axis] for field in self[:4])
        reach = size + 2 * padding - dilation * (kernel - 1) - 1
        length = -(-reach // stride) + 1 if self.ceil_mode else reach // stride + 1
        if self.ceil_mode and (length - 1) * stride >= size + padding:
            length -= 1  # the last window must start inside the input or the padding before it
        return length

    def extent(self, axis: int, start: int, stop: int) -> Pair:
        """Return the range of pixels on `axis` that outputs [start, stop) read."""
        kernel, stride, padding, dilation = (field[axis] for field in self[:4])
        first = start * stride - padding
        return first, (stop - 1) * stride - padding + (kernel - 1) * dilation + 1


def pool2d_output_size(size: Pair, **window: Unpack[PoolWindow]) -> Pair:
    """Return the output size of pooling, by PyTorch's rule (ATen/native/Pool.h,
    pooling_output_shape).

    >>> options = {"padding": (0, 0), "dilation": (1, 1), "ceil_mode": True}
    >>> pool2d_output_size((5, 5), kernel_size=(2, 2), stride=(2, 2), **options)
    (3, 3)
    """
    return check_pool2d("pool2d", (1, 1, *size), PoolSpec(**window))


@lru_cache(maxsize=512)
def check_pool2d(operation: str, x: tuple[int, ...], spec: PoolSpec) -> Pair:
    """Check a pooling of x (n, c, h, w) and return the output's (oh, ow)."""
    check_image(operation, "x", x)
    kernel_size, stride, padding, dilation, _ = spec
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
    oh, ow = spec.length(x[2], 0), spec.length(x[3], 1)
    if min(oh, ow) < 1:
        raise ShapeError(
            f"{operation}: the output would be {oh} x {ow}, expected at least 1 x 1 "
            f"(x {tuple(x)}, kernel {tuple(kernel_size)}, padding {tuple(padding)}, "
            f"dilation {tuple(dilation)})"
        )
    return oh, ow


def _check_parameters(
    operation: str, expected: tuple[int, ...], of: str, parameters: dict[str, Shape | None]
) -> None:
    for name, shape in parameters.items():
        if shape is not None and tuple(shape) != expected:
            raise ShapeError(
                f"{operation}: `{name}` has shape {tuple(shape)}, expected {expected}{of}"
            )


def check_channels(operation: str, x: Shape, **parameters: Shape | None) -> None:
    """Raise unless x is (n, c, ...), and parameters are (c,) where given."""
    if len(x) < 2:
        raise ShapeError(
            f"{operation}: `x` has shape {tuple(x)}, expected at least 2 dimensions (n, c, ...)"
        )
    of = f" for the channels of `x` {tuple(x)}"
    _check_parameters(operation, (x[1],), of, parameters)


def check_layer_norm(operation: str, x: Shape, ndim: int, **parameters: Shape | None) -> None:
    """Raise unless the last `ndim` axes of x exist and parameters have their shape where given."""
    if not 1 <= ndim <= len(x):
        raise ArgumentError(
            f"{operation}: `ndim` is {ndim}, expected 1 to {len(x)} for `x` {tuple(x)}"
        )
    of = f", the last axes of `x` {tuple(x)}"
    _check_parameters(operation, tuple(x[len(x) - ndim :]), of, parameters)


def shape_of(parameter: Array | None) -> Shape | None:
    """Return the shape of an array, if there is one."""
    return None if parameter is None else parameter.shape
