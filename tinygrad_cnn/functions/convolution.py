"""Convolution of signals, images and volumes, written once for 1, 2 and 3 dimensions."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from tinygrad_cnn import kernels
from tinygrad_cnn.errors import ArgumentError, DtypeError, ShapeError
from tinygrad_cnn.functions.convert import one_dtype, own, pair, to_tensor
from tinygrad_cnn.functions.export import export
from tinygrad_cnn.functions.padding import pad
from tinygrad_cnn.functions.shaping import permute, reshape, squeeze, unsqueeze
from tinygrad_cnn.kernels.tape import made
from tinygrad_cnn.ops import conv as ops
from tinygrad_cnn.ops.resample import resample, spread
from tinygrad_cnn.types import Array, Sizes, TensorLike

if TYPE_CHECKING:
    from tinygrad_cnn.tensor import Tensor

Border = tuple[tuple[int, int], ...]
Ints = tuple[int, ...]
_FORMS = {
    1: "(n, c, l) or (c, l)",
    2: "(n, c, h, w) or (c, h, w)",
    3: "(n, c, d, h, w) or without n",
}


def _border(name: str, padding: Sizes | str, kernel: Ints, stride: Ints, dilation: Ints) -> Border:
    """``padding`` as (before, after) for each axis."""
    if isinstance(padding, str):
        if padding == "valid":
            return ((0, 0),) * len(kernel)
        if padding != "same":
            raise ArgumentError(
                f"{name}: `padding` is {padding!r}, expected 'same', 'valid' or integers"
            )
        if max(stride) != 1:
            shown = stride if len(stride) > 1 else stride[0]
            raise ArgumentError(f"{name}: `padding` 'same' needs stride 1, not {shown}")
        total = [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
        return tuple([(t // 2, t - t // 2) for t in total])
    sides = pair(name, "padding", padding, len(kernel))
    if min(sides) < 0:
        raise ArgumentError(f"{name}: `padding` is {padding!r}, which must not be negative")
    return tuple(zip(sides, sides, strict=True))


def with_batch(name: str, x: TensorLike, n: int) -> tuple[Tensor, bool]:
    """``x`` (n, c, …) with ``n`` axes of space, and whether it came without a batch axis."""
    x = to_tensor(x)
    if x.ndim == n + 1:
        return unsqueeze(x, 0), True
    if x.ndim != n + 2:
        raise ShapeError(f"{name}: `input` has shape {x.shape}, expected {_FORMS[n]}")
    return x, False


def _weights(
    name: str, x: Tensor, weight: TensorLike, bias: TensorLike | None
) -> tuple[Tensor, Tensor | None]:
    weight = to_tensor(weight)
    bias = None if bias is None else to_tensor(bias)
    if weight._value.ndim != x._value.ndim:
        raise ShapeError(f"{name}: `weight` has shape {weight.shape}, expected {x.ndim} dimensions")
    one_dtype(name, x, weight=weight, bias=bias)
    return weight, bias


def _conv(
    name: str,
    n: int,
    input: TensorLike,
    weight: TensorLike,
    bias: TensorLike | None,
    stride: Sizes,
    padding: Sizes | str,
    dilation: Sizes,
    groups: int,
) -> Tensor:
    x, single = with_batch(name, input, n)
    w, bias = _weights(name, x, weight, bias)
    strides, spacing = pair(name, "stride", stride, n), pair(name, "dilation", dilation, n)
    border = _border(name, padding, w._value.shape[2:], strides, spacing)
    if n == 1:  # images of one row
        spec = kernels.conv_spec((1, *strides), ((0, 0), *border), (1, *spacing), groups)
        out = own(squeeze(ops.conv2d(unsqueeze(x, 2), unsqueeze(w, 2), bias, spec=spec), 2))
    else:
        spec = kernels.conv_spec(strides[-2:], border[-2:], spacing[-2:], groups)
        if n == 2:
            out = ops.conv2d(x, w, bias, spec=spec)
        else:
            out = _conv3d(x, w, bias, spec, strides[0], border[0], spacing[0])
    return own(squeeze(out, 0)) if single else out


def window_places(
    name: str, size: int, k: int, stride: int, border: tuple[int, int], dilation: int
) -> Array:
    """The places that windows along an axis read (windows, k); beyond the ends in the border.

    Raises
    ------
    ValueError
        No window fits, or what must be positive is not.
    """
    if min(k, stride, dilation) < 1:
        raise ArgumentError(
            f"{name}: a window has size {k}, stride {stride} and dilation {dilation}, expected at "
            f"least 1 each"
        )
    count = (size + sum(border) - dilation * (k - 1) - 1) // stride + 1
    if count < 1:
        raise ShapeError(
            f"{name}: a window of size {k} with dilation {dilation} does not fit into a side of "
            f"{size} with padding {border}"
        )
    return np.arange(count)[:, None] * stride + np.arange(k) * dilation - border[0]


def one_by_one(places: Array, size: int) -> dict[str, Array]:
    """The parameters of `resample` that read ``places``, in order, and 0 where there is none."""
    flat = places.reshape(-1, 1)
    there = (flat >= 0) & (flat < size)
    return {"index": made(np.where(there, flat, 0)), "weight": made(there.astype(np.float64))}


def _conv3d(
    x: Tensor,
    w: Tensor,
    bias: Tensor | None,
    spec: kernels.ConvSpec,
    stride: int,
    border: tuple[int, int],
    dilation: int,
) -> Tensor:
    """Images whose channels are those of the kd frames that a filter sees."""
    (n, c, d, *size), (f, cg, kd, *kernel) = x.shape, w.shape
    places = window_places("conv3d", d, kd, stride, border, dilation)
    od = len(places)
    if spec.groups == 1:  # channels change places with frames before these are repeated
        frames = reshape(permute(x, 0, 2, 1, 3, 4), n, d, c * math.prod(size))
        frames = resample(frames, dim=1, **one_by_one(places, d))  # (n, od kd, c h w)
        w = permute(w, 0, 2, 1, 3, 4)  # (f, kd, c, kh, kw)
    else:
        frames = resample(x, dim=2, **one_by_one(places, d))  # (n, c, od kd, h, w)
        frames = permute(reshape(frames, n, c, od, kd, *size), 0, 2, 1, 3, 4, 5)
    images = reshape(frames, n * od, c * kd, *size)
    out = ops.conv2d(images, reshape(w, f, cg * kd, *kernel), bias, spec=spec)
    out = reshape(out, n, od, *out.shape[1:])  # (n, od, f, oh, ow)
    return own(permute(out, 0, 2, 1, 3, 4))  # (n, f, od, oh, ow)


@export(method=False, nn=True)
def conv1d(
    input: TensorLike,
    weight: TensorLike,
    bias: TensorLike | None = None,
    stride: Sizes = 1,
    padding: Sizes | str = 0,
    dilation: Sizes = 1,
    groups: int = 1,
) -> Tensor:
    """Cross-correlation of signals (n, c, l) or (c, l) with filters (f, c / groups, k).

    The arguments are those of `conv2d`.
    """
    return _conv("conv1d", 1, input, weight, bias, stride, padding, dilation, groups)


@export(method=False, nn=True)
def conv2d(
    input: TensorLike,
    weight: TensorLike,
    bias: TensorLike | None = None,
    stride: Sizes = 1,
    padding: Sizes | str = 0,
    dilation: Sizes = 1,
    groups: int = 1,
) -> Tensor:
    """Cross-correlation of images with filters.

    Parameters
    ----------
    input
        (n, c, h, w) or (c, h, w).
    weight
        (f, c / groups, kh, kw).
    bias
        (f,) or None.
    stride, padding, dilation
        An integer or one for each axis; ``padding`` also ``"same"`` or ``"valid"``.

    Returns
    -------
    Tensor
        (n, f, oh, ow) with ``oh = (h + 2 padding - dilation (kh - 1) - 1) // stride + 1``.

    Raises
    ------
    ValueError
        Shapes that do not fit, a kernel larger than the padded image, a stride below 1.
    TypeError
        Different dtypes.

    Examples
    --------
    >>> import tinygrad_cnn as tg
    >>> x = tg.ones(1, 3, 5, 5)
    >>> tg.nn.functional.conv2d(x, tg.ones(2, 3, 3, 3), padding=1).shape
    Size([1, 2, 5, 5])
    """
    return _conv("conv2d", 2, input, weight, bias, stride, padding, dilation, groups)


@export(method=False, nn=True)
def conv3d(
    input: TensorLike,
    weight: TensorLike,
    bias: TensorLike | None = None,
    stride: Sizes = 1,
    padding: Sizes | str = 0,
    dilation: Sizes = 1,
    groups: int = 1,
) -> Tensor:
    """Cross-correlation of volumes (n, c, d, h, w) with filters (f, c / groups, kd, kh, kw).

    The arguments are those of `conv2d`.

    >>> import tinygrad_cnn as tg
    >>> tg.nn.functional.conv3d(tg.ones(1, 2, 4, 5, 5), tg.ones(3, 2, 2, 3, 3)).shape
    Size([1, 3, 3, 3, 3])
    """
    return _conv("conv3d", 3, input, weight, bias, stride, padding, dilation, groups)


# ---- transposed ----------------------------------------------------------------------------


def _conv_transpose(
    n: int,
    input: TensorLike,
    weight: TensorLike,
    bias: TensorLike | None,
    stride: Sizes,
    padding: Sizes,
    output_padding: Sizes,
    groups: int,
    dilation: Sizes,
) -> Tensor:
    name = f"conv_transpose{n}d"
    x, single = with_batch(name, input, n)
    w, bias = _weights(name, x, weight, bias)
    strides, spacing = pair(name, "stride", stride, n), pair(name, "dilation", dilation, n)
    extra = pair(name, "output_padding", output_padding, n)
    kernel = w._value.shape[2:]
    if isinstance(padding, str):
        raise DtypeError(f"{name}: `padding` is {padding!r}, expected integers")
    border = _border(name, padding, kernel, strides, spacing)
    if x.shape[1] != w._value.shape[0]:
        raise ShapeError(
            f"{name}: `input` has {x.shape[1]} channels but `weight` expects {w._value.shape[0]} "
            f"(x {x.shape}, weight {w.shape})"
        )
    for o, s, d in zip(extra, strides, spacing, strict=True):
        if not 0 <= o < max(s, d):
            raise ArgumentError(
                f"{name}: `output_padding` is {output_padding!r}, which must be smaller "
                f"than stride {strides} or dilation {spacing}"
            )
    f = w._value.shape[1] * groups
    if bias is not None and bias._value.shape != (f,):
        raise ShapeError(f"{name}: `bias` has shape {bias.shape}, expected ({f},)")
    # What `output_padding` adds is cut off less at the far end; beyond the padding it is zeros.
    far = [max(0, o - after) for o, (_, after) in zip(extra, border, strict=True)]
    border = tuple([(b, max(0, a - o)) for o, (b, a) in zip(extra, border, strict=True)])
    size = tuple([
        (m - 1) * s - sum(p) + d * (k - 1) + 1
        for m, s, p, d, k in zip(x.shape[2:], strides, border, spacing, kernel, strict=True)
    ])  # fmt: skip
    if min(size) < 1:
        raise ShapeError(
            f"{name}: the output would have size {size} (x {x.shape}, weight {w.shape}, padding "
            f"{padding})"
        )
    if n == 1:  # images of one row
        x, w = unsqueeze(x, 2), unsqueeze(w, 2)
        strides, spacing, border = (1, *strides), (1, *spacing), ((0, 0), *border)
    spec = kernels.conv_spec(strides[-2:], border[-2:], spacing[-2:], groups, "conv2d_input")
    if n < 3:
        out = ops.conv2d_input(x, w, size=(1, *size)[-2:], spec=spec)
        out = own(squeeze(out, 2)) if n == 1 else out
    else:
        out = _conv_transpose3d(x, w, size, spec, strides[0], border[0], spacing[0])
    if any(far):
        out = pad(out, [v for o in reversed(far) for v in (0, o)])
    if bias is not None:
        out = out + reshape(bias, f, *(1,) * n)
    return own(squeeze(out, 0)) if single else out


def _conv_transpose3d(
    x: Tensor,
    w: Tensor,
    size: Ints,
    spec: kernels.ConvSpec,
    stride: int,
    border: tuple[int, int],
    dilation: int,
) -> Tensor:
    """The adjoint of `_conv3d`, step by step backwards."""
    (n, c, d, *hw), (_, fg, kd, *kernel) = x.shape, w.shape
    f = fg * spec.groups
    images = reshape(permute(x, 0, 2, 1, 3, 4), n * d, c, *hw)
    places = window_places("conv_transpose3d", size[0], kd, stride, border, dilation)
    taps = one_by_one(places, size[0])
    if spec.groups == 1:
        w = permute(w, 0, 2, 1, 3, 4)  # (c, kd, f, kh, kw)
    out = ops.conv2d_input(images, reshape(w, c, fg * kd, *kernel), size=size[1:], spec=spec)
    if spec.groups == 1:
        frames = reshape(out, n, d * kd, f * math.prod(size[1:]))
        out = reshape(spread(frames, dim=1, size=size[0], **taps), n, size[0], f, *size[1:])
        return own(permute(out, 0, 2, 1, 3, 4))  # (n, f, d, h, w)
    out = permute(reshape(out, n, d, f, kd, *size[1:]), 0, 2, 1, 3, 4, 5)
    frames = reshape(out, n, f, d * kd, *size[1:])
    return spread(frames, dim=2, size=size[0], **taps)


@export(method=False, nn=True)
def conv_transpose1d(
    input: TensorLike,
    weight: TensorLike,
    bias: TensorLike | None = None,
    stride: Sizes = 1,
    padding: Sizes = 0,
    output_padding: Sizes = 0,
    groups: int = 1,
    dilation: Sizes = 1,
) -> Tensor:
    """The adjoint of `conv1d`: signals (n, c, l), ``weight`` (c, f / groups, k)."""
    return _conv_transpose(
        1, input, weight, bias, stride, padding, output_padding, groups, dilation
    )


@export(method=False, nn=True)
def conv_transpose2d(
    input: TensorLike,
    weight: TensorLike,
    bias: TensorLike | None = None,
    stride: Sizes = 1,
    padding: Sizes = 0,
    output_padding: Sizes = 0,
    groups: int = 1,
    dilation: Sizes = 1,
) -> Tensor:
    """The adjoint of `conv2d`, which spreads every pixel over a kernel.

    ``input`` (n, c, h, w), ``weight`` (c, f / groups, kh, kw) → (n, f, oh, ow) with
    ``oh = (h - 1) stride - 2 padding + dilation (kh - 1) + output_padding + 1``.
    """
    return _conv_transpose(
        2, input, weight, bias, stride, padding, output_padding, groups, dilation
    )


@export(method=False, nn=True)
def conv_transpose3d(
    input: TensorLike,
    weight: TensorLike,
    bias: TensorLike | None = None,
    stride: Sizes = 1,
    padding: Sizes = 0,
    output_padding: Sizes = 0,
    groups: int = 1,
    dilation: Sizes = 1,
) -> Tensor:
    """The adjoint of `conv3d`: volumes (n, c, d, h, w), ``weight`` (c, f / groups, kd, kh, kw)."""
    return _conv_transpose(
        3, input, weight, bias, stride, padding, output_padding, groups, dilation
    )
