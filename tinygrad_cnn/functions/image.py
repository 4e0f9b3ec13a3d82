"""Rearrangements of images: resizing, shuffling between pixels and channels, windows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_cnn.errors import ArgumentError, ShapeError
from tinygrad_cnn.functions.convert import own
from tinygrad_cnn.functions.creation import from_numpy
from tinygrad_cnn.functions.export import export
from tinygrad_cnn.functions.padding import pad
from tinygrad_cnn.types import Array

if TYPE_CHECKING:
    from tinygrad_cnn.tensor import Tensor


@export(top=False, method=False, nn=True)
def interpolate(
    input: Tensor,
    size: int | Sequence[int] | None = None,
    scale_factor: float | Sequence[float] | None = None,
    mode: str = "nearest",
) -> Tensor:
    """Resize the axes after the second by taking, for each new pixel, the one it falls into.

    Shapes: input (n, c, ...), result (n, c, *size). Give ``size`` or ``scale_factor``, one number
    or one per axis. ``mode`` is "nearest"; others are not there yet.

    Raises
    ------
    ValueError
        Both or none of ``size`` and ``scale_factor`` are given, their number is wrong, ``mode`` is
        not "nearest", ``input`` has fewer than 3 axes.

    >>> import tinygrad_cnn as tg
    >>> interpolate(tg.tensor([[[1.0, 2.0]]]), scale_factor=2)
    tensor([[[1., 1., 2., 2.]]])
    """
    if mode != "nearest":
        raise ArgumentError(f"interpolate: `mode` is {mode!r} but 'nearest' is expected")
    if input.ndim < 3:
        raise ShapeError(
            f"interpolate: `input` has shape {input.shape} but (n, c, ...) is expected"
        )
    if (size is None) == (scale_factor is None):
        raise ArgumentError("interpolate: one of `size` and `scale_factor` is expected")
    old = input.shape[2:]
    if size is not None:
        sizes = _per_axis("size", size, len(old))
        scales = [have / want for have, want in zip(old, sizes, strict=True)]
    else:
        factors = _per_axis("scale_factor", scale_factor, len(old))
        sizes = [int(have * factor) for have, factor in zip(old, factors, strict=True)]
        scales = [1.0 / factor for factor in factors]
    out = input
    for axis, (want, scale) in enumerate(zip(sizes, scales, strict=True), start=2):
        # As PyTorch: positions are computed in float32.
        source = np.floor(np.arange(want, dtype=np.float32) * np.float32(scale)).astype(np.int64)
        out = out.index_select(axis, from_numpy(np.minimum(source, old[axis - 2] - 1)))
    return out


@export(top=False, method=False, nn=True)
def pixel_shuffle(input: Tensor, upscale_factor: int) -> Tensor:
    """Turn channels into pixels: (..., c * r * r, h, w) to (..., c, h * r, w * r).

    Raises
    ------
    ValueError
        The number of channels is no multiple of r², ``input`` has fewer than 3 axes.

    >>> import tinygrad_cnn as tg
    >>> pixel_shuffle(tg.arange(4.0).reshape(4, 1, 1), 2)
    tensor([[[0., 1.],
             [2., 3.]]])
    """
    r = upscale_factor
    _require_image("pixel_shuffle", input)
    *batch, channels, h, w = input.shape
    if r < 1 or channels % (r * r):
        raise ShapeError(
            f"pixel_shuffle: `input` has {channels} channels but a multiple of upscale_factor² = "
            f"{r * r} is expected (input {input.shape})"
        )
    c = channels // (r * r)
    b, n = tuple(batch), len(batch)
    out = input.reshape(*b, c, r, r, h, w)  # (..., c, ry, rx, h, w)
    out = out.permute(*range(n), n, n + 3, n + 1, n + 4, n + 2)  # (..., c, h, ry, w, rx)
    return own(out.reshape(*b, c, h * r, w * r), input)


@export(top=False, method=False, nn=True)
def pixel_unshuffle(input: Tensor, downscale_factor: int) -> Tensor:
    """Turn pixels into channels: (..., c, h * r, w * r) to (..., c * r * r, h, w).

    Raises
    ------
    ValueError
        r does not divide height and width, ``input`` has fewer than 3 axes.

    >>> import tinygrad_cnn as tg
    >>> pixel_unshuffle(tg.arange(4.0).reshape(1, 2, 2), 2).shape
    Size([4, 1, 1])
    """
    r = downscale_factor
    _require_image("pixel_unshuffle", input)
    *batch, c, height, width = input.shape
    if r < 1 or height % r or width % r:
        raise ShapeError(
            f"pixel_unshuffle: `downscale_factor` is {r} but must divide height and width (input "
            f"{input.shape})"
        )
    h, w = height // r, width // r
    b, n = tuple(batch), len(batch)
    out = input.reshape(*b, c, h, r, w, r)  # (..., c, h, ry, w, rx)
    out = out.permute(*range(n), n, n + 2, n + 4, n + 1, n + 3)  # (..., c, ry, rx, h, w)
    return own(out.reshape(*b, c * r * r, h, w), input)


@export(top=False, method=False, nn=True)
def unfold(
    input: Tensor,
    kernel_size: int | Sequence[int],
    dilation: int | Sequence[int] = 1,
    padding: int | Sequence[int] = 0,
    stride: int | Sequence[int] = 1,
) -> Tensor:
    """Return all windows of an image as columns.

    Shapes: input (n, c, h, w) or (c, h, w), result (n, c * kh * kw, positions).

    Raises
    ------
    ValueError
        ``input`` has another number of axes, or the window does not fit.

    >>> import tinygrad_cnn as tg
    >>> unfold(tg.ones(2, 3, 5, 5), 3).shape
    Size([2, 27, 9])
    """
    if input.ndim == 3:
        return unfold(input.unsqueeze(0), kernel_size, dilation, padding, stride).squeeze(0)
    if input.ndim != 4:
        raise ShapeError(f"unfold: `input` has shape {input.shape} but (n, c, h, w) is expected")
    n, c = input.shape[:2]
    rows, columns, py, px = _windows(
        "unfold", (input.shape[2], input.shape[3]), kernel_size, dilation, padding, stride
    )
    padded = pad(input, [px, px, py, py]) if py or px else input
    picked = padded[:, :, rows, columns]  # (n, c, kh * kw, positions)
    return picked.reshape(n, c * rows.shape[0], rows.shape[1])


@export(top=False, method=False, nn=True)
def fold(
    input: Tensor,
    output_size: int | Sequence[int],
    kernel_size: int | Sequence[int],
    dilation: int | Sequence[int] = 1,
    padding: int | Sequence[int] = 0,
    stride: int | Sequence[int] = 1,
) -> Tensor:
    """Add columns up into images: the transpose of `unfold`.

    Shapes: input (n, c * kh * kw, positions) or without n, result (n, c, *output_size).

    Raises
    ------
    ValueError
        ``input`` does not have the shape that `unfold` gives for these arguments.

    >>> import tinygrad_cnn as tg
    >>> fold(tg.ones(1, 4, 4), (3, 3), 2)[0, 0]
    tensor([[1., 2., 1.],
            [2., 4., 2.],
            [1., 2., 1.]])
    """
    if input.ndim == 2:
        whole = fold(input.unsqueeze(0), output_size, kernel_size, dilation, padding, stride)
        return whole.squeeze(0)
    h, w = _pair("output_size", output_size)
    rows, columns, py, px = _windows("fold", (h, w), kernel_size, dilation, padding, stride)
    taps, positions = rows.shape
    if input.ndim != 3 or input.shape[1] % taps or input.shape[2] != positions:
        raise ShapeError(
            f"fold: `input` has shape {input.shape} but (n, c * {taps}, {positions}) is expected "
            f"for output_size {(h, w)}"
        )
    n, c = input.shape[0], input.shape[1] // taps
    height, width = h + 2 * py, w + 2 * px
    flat = from_numpy((rows * width + columns).reshape(-1))  # (taps * positions,)
    values = input.reshape(n * c, taps * positions)
    index = flat.expand(n * c, taps * positions)
    whole = input.new_zeros((n * c, height * width)).scatter_add(1, index, values)
    return whole.reshape(n, c, height, width)[:, :, py : py + h, px : px + w]


def _windows(
    name: str, size: tuple[int, int], kernel_size: Any, dilation: Any, padding: Any, stride: Any
) -> tuple[Array, Array, int, int]:
    """Row and column, in the padded image, of every tap of every window: (kh * kw, positions)."""
    (kh, kw), (dh, dw) = _pair("kernel_size", kernel_size), _pair("dilation", dilation)
    (py, px), (sh, sw) = _pair("padding", padding), _pair("stride", stride)
    oh = (size[0] + 2 * py - dh * (kh - 1) - 1) // sh + 1
    ow = (size[1] + 2 * px - dw * (kw - 1) - 1) // sw + 1
    if oh < 1 or ow < 1:
        raise ShapeError(
            f"{name}: a window of {(kh, kw)} with dilation {(dh, dw)} does not fit into an image "
            f"of {size} with padding {(py, px)}"
        )
    rows = np.arange(kh)[:, None] * dh + np.arange(oh) * sh  # (kh, oh)
    columns = np.arange(kw)[:, None] * dw + np.arange(ow) * sw  # (kw, ow)
    shape = (kh, kw, oh, ow)
    rows = np.broadcast_to(rows[:, None, :, None], shape)
    columns = np.broadcast_to(columns[None, :, None, :], shape)
    return rows.reshape(kh * kw, oh * ow), columns.reshape(kh * kw, oh * ow), py, px


def _pair(name: str, value: int | Sequence[int]) -> tuple[int, int]:
    first, second = _per_axis(name, value, 2)
    return first, second


def _per_axis(name: str, value: Any, n: int) -> list[Any]:
    values = list(value) if isinstance(value, tuple | list) else [value] * n
    if len(values) != n:
        raise ArgumentError(f"`{name}` is {value} but one number or {n} are expected")
    return values


def _require_image(name: str, input: Tensor) -> None:
    if input.ndim < 3:
        raise ShapeError(f"{name}: `input` has shape {input.shape} but (..., c, h, w) is expected")
