"""Resizing, sampling and rearranging signals, images and volumes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, SupportsFloat

import numpy as np

from tinygrad_cnn.autograd.arguments import checked
from tinygrad_cnn.autograd.units import computed
from tinygrad_cnn.autograd.variable import wrap
from tinygrad_cnn.errors import ArgumentError, DtypeError, ShapeError
from tinygrad_cnn.functions.convert import one_dtype, own, pair, to_tensor
from tinygrad_cnn.functions.convolution import one_by_one, window_places
from tinygrad_cnn.functions.elementwise import clone, mul, where
from tinygrad_cnn.functions.export import export
from tinygrad_cnn.functions.joining import stack
from tinygrad_cnn.functions.linear_algebra import matmul
from tinygrad_cnn.functions.pooling import area_means
from tinygrad_cnn.functions.shaping import reshape, transpose, unsqueeze
from tinygrad_cnn.kernels.tape import do, made
from tinygrad_cnn.ops.resample import resample, sample_taps, spread, take_mesh
from tinygrad_cnn.types import FLOATING, Array, Sizes

if TYPE_CHECKING:
    from tinygrad_cnn.tensor import Tensor

# ---- resizing ------------------------------------------------------------------------------

_LINEAR = {3: "linear", 4: "bilinear", 5: "trilinear"}


@export(top=False, method=False, nn=True)
def interpolate(
    input: Tensor,
    size: Sizes | None = None,
    scale_factor: float | Sequence[float] | None = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
    recompute_scale_factor: bool | None = None,
    antialias: bool = False,
) -> Tensor:
    """Resize the axes after the second.

    Parameters
    ----------
    input
        (n, c, ...), with 1 to 3 axes of space.
    size, scale_factor
        One of them: a number, or one for each axis.
    mode
        ``"nearest"`` (the pixel that a new one begins in), ``"nearest-exact"`` (that its centre
        lies in), ``"area"`` (the mean of the pixels that it covers), ``"linear"``,
        ``"bilinear"``, ``"trilinear"`` for 1, 2 and 3 axes, or ``"bicubic"`` (Keys, 1981).
    align_corners
        Whether the centres of the corners stay where they are, or the outer edges; for the linear
        and cubic modes.
    recompute_scale_factor
        Whether the scale is computed anew from the sizes, which are whole numbers.
    antialias
        Widen the filters of ``"bilinear"`` and ``"bicubic"`` where the image becomes smaller.

    Returns
    -------
    Tensor
        (n, c, *size).

    Raises
    ------
    ValueError
        Arguments that do not go together, or not with the shape of ``input``.

    Examples
    --------
    >>> import tinygrad_cnn as tg
    >>> interpolate(tg.tensor([[[1.0, 2.0]]]), scale_factor=2)
    tensor([[[1., 1., 2., 2.]]])
    >>> interpolate(tg.tensor([[[1.0, 2.0]]]), size=3, mode="linear", align_corners=True)
    tensor([[[1.0000, 1.5000, 2.0000]]])
    """
    x = to_tensor(input)
    if not 3 <= x.ndim <= 5:
        raise ShapeError(f"interpolate: `input` has shape {x.shape} but (n, c, ...) is expected")
    if (size is None) == (scale_factor is None):
        raise ArgumentError("interpolate: one of `size` and `scale_factor` is expected")
    _mode_fits(mode, x, align_corners, antialias)
    old = x.shape[2:]
    scales: list[float | None] = [None] * len(old)
    if size is not None:
        if recompute_scale_factor:
            raise ArgumentError("interpolate: `recompute_scale_factor` needs `scale_factor`")
        sizes = list(pair("interpolate", "size", size, len(old)))
    else:
        factors = _factors(scale_factor, len(old))
        sizes = [int(have * factor) for have, factor in zip(old, factors, strict=True)]
        if not recompute_scale_factor:
            scales = [1.0 / factor for factor in factors]
    if min(sizes) < 1:
        raise ShapeError(f"interpolate: the result would have size {tuple(sizes)}")
    corners = bool(align_corners)
    sides = list(zip(old, sizes, scales, strict=True))
    if mode in ("nearest", "nearest-exact"):
        shift = 0.5 if mode == "nearest-exact" else 0.0
        return take_mesh(x, places=tuple(_nearest(*side, shift) for side in sides))
    along = list(enumerate(sides, start=2))
    if x.dtype == np.uint8:
        along.reverse()  # bytes are rounded after each axis, in PyTorch's order
    for axis, (have, want, scale) in along:
        if mode == "area":
            taps = area_means(have, want)
        elif antialias:
            taps = _smooth_taps(have, want, scale, corners, mode == "bicubic")
        else:
            taps = _taps(have, want, scale, corners, mode == "bicubic")
        x = (
            _resample_bytes(x, axis, **taps)
            if x.dtype == np.uint8
            else resample(x, dim=axis, **taps)
        )
    return clone(x) if x is input else x


def _mode_fits(mode: str, x: Tensor, align_corners: bool | None, antialias: bool) -> None:
    modes = ("nearest", "nearest-exact", "area", "linear", "bilinear", "bicubic", "trilinear")
    if mode not in modes:
        raise ArgumentError(f"interpolate: `mode` is {mode!r} but one of {modes} is expected")
    if mode.startswith("near") or mode == "area":
        if align_corners is not None:
            raise ArgumentError(f"interpolate: `align_corners` does not go with mode {mode!r}")
    elif mode != _LINEAR[x.ndim] and (mode, x.ndim) != ("bicubic", 4):
        raise ShapeError(f"interpolate: mode {mode!r} does not fit `input` of shape {x.shape}")
    if antialias and mode not in ("bilinear", "bicubic"):
        raise ArgumentError(f"interpolate: `antialias` does not go with mode {mode!r}")
    whole = mode.startswith("near") or (x.dtype == np.uint8 and mode in ("bilinear", "bicubic"))
    if x.dtype.kind not in FLOATING and not whole:
        raise DtypeError(f"interpolate: `input` is {x.dtype}, expected a floating dtype")


def _resample_bytes(x: Tensor, axis: int, index: Array, weight: Array) -> Tensor:
    """Images of bytes along an axis, in PyTorch's fixed-point numbers, rounded to bytes.

    Weights have 16 bits, with as many of them behind the point as the largest leaves.
    """
    bits = 0
    while bits < 22 and int(0.5 + weight.max() * (1 << (bits + 1))) < 1 << 15:
        bits += 1
    scaled = np.trunc(weight * (1 << bits) + np.copysign(0.5, weight)).astype(np.int32)
    shape = [1] * x.ndim
    shape[axis] = -1
    total = np.full((), (1 << bits) >> 1, np.int32)
    for at, by in zip(index.T, scaled.T, strict=True):
        total = total + x._array.take(at, axis) * by.reshape(shape)
    return wrap(np.clip(total >> bits, 0, 255).astype(np.uint8))


def _nearest(have: int, want: int, scale: float | None, shift: float) -> Array:
    step = np.float32(have / want if scale is None else scale)  # PyTorch, too, counts in float32
    source = np.floor((np.arange(want, dtype=np.float32) + np.float32(shift)) * step)
    return made(np.minimum(source.astype(np.int64), have - 1))


def _cubic_near(x: Any, a: float) -> Any:
    """Keys' kernel at distances ``x`` from 0 to 1."""
    return ((a + 2) * x - (a + 3)) * x * x + 1


def _cubic_far(x: Any, a: float) -> Any:
    """The same from 1 to 2."""
    return ((a * x - 5 * a) * x + 8 * a) * x - 4 * a


def _cubic(x: Array, a: float) -> Array:
    """The same at any distances, 0 beyond 2."""
    x = np.abs(x)
    return np.where(x < 1, _cubic_near(x, a), np.where(x < 2, _cubic_far(x, a), 0.0))


def _source(have: int, want: int, scale: float | None, corners: bool) -> tuple[Array, float]:
    """Where the new pixels' centres lie among the old ones, and the distance between them."""
    if corners:
        step = (have - 1) / (want - 1) if want > 1 else 0.0
        return np.arange(want) * step, step
    step = have / want if scale is None else scale
    return (np.arange(want) + 0.5) * step - 0.5, step


def _taps(
    have: int, want: int, scale: float | None, corners: bool, cubic: bool
) -> dict[str, Array]:
    """The parameters of `resample` for linear or cubic interpolation along an axis."""
    at, _ = _source(have, want, scale, corners)
    if not cubic:
        at = np.maximum(at, 0)
    first = np.floor(at).astype(np.int64)[:, None]
    offsets = np.arange(-1, 3) if cubic else np.arange(2)
    distance = at[:, None] - (first + offsets)
    weight = _cubic(distance, -0.75) if cubic else 1 - np.abs(distance)
    return {"index": made(np.clip(first + offsets, 0, have - 1)), "weight": made(weight)}


def _smooth_taps(
    have: int, want: int, scale: float | None, corners: bool, cubic: bool
) -> dict[str, Array]:
    """The same with filters as wide as the distance between new pixels, if that is above 1."""
    _, step = _source(have, want, scale, corners)
    width = max(step, 1.0)
    support = (2 if cubic else 1) * width
    centre = (np.arange(want)[:, None] + 0.5) * step
    low = np.maximum((centre - support + 0.5).astype(np.int64), 0)
    high = np.minimum((centre + support + 0.5).astype(np.int64), have)
    index = low + np.arange(int((high - low).max()))
    distance = (index - centre + 0.5) / width
    weight = _cubic(distance, -0.5) if cubic else np.maximum(0, 1 - np.abs(distance))
    weight = np.where(index < high, weight, 0.0)
    return {
        "index": np.minimum(index, have - 1),
        "weight": weight / weight.sum(1, keepdims=True),
    }


@export(top=False, method=False, nn=True)
def upsample(
    input: Tensor,
    size: Sizes | None = None,
    scale_factor: float | Sequence[float] | None = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
) -> Tensor:
    """`interpolate`, by its older name."""
    return interpolate(input, size, scale_factor, mode, align_corners)


@export(top=False, method=False, nn=True)
def upsample_nearest(
    input: Tensor,
    size: Sizes | None = None,
    scale_factor: float | Sequence[float] | None = None,
) -> Tensor:
    """`interpolate` in mode ``"nearest"``."""
    return interpolate(input, size, scale_factor)


@export(top=False, method=False, nn=True)
def upsample_bilinear(
    input: Tensor,
    size: Sizes | None = None,
    scale_factor: float | Sequence[float] | None = None,
) -> Tensor:
    """`interpolate` in mode ``"bilinear"`` with corners aligned."""
    return interpolate(input, size, scale_factor, "bilinear", True)


# ---- sampling at any place -----------------------------------------------------------------


@export(top=False, method=False, nn=True)
@checked
def affine_grid(theta: Tensor, size: Sequence[int], align_corners: bool = False) -> Tensor:
    """The places, for `grid_sample`, of pixels moved by affine maps.

    ``theta`` (n, 2, 3) and ``size`` (n, c, h, w) give (n, h, w, 2); (n, 3, 4) and (n, c, d, h, w)
    give (n, d, h, w, 3). Jaderberg et al., 2015.

    >>> import tinygrad_cnn as tg
    >>> affine_grid(tg.tensor([[[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]]), (1, 1, 1, 2))
    tensor([[[[-0.5000,  0.0000],
              [ 0.5000,  0.0000]]]])
    """
    theta, n = to_tensor(theta), len(size) - 2
    if n not in (2, 3) or theta.shape != (size[0], n, n + 1):
        raise ShapeError(
            f"affine_grid: `theta` has shape {theta.shape} and `size` is {tuple(size)}, expected "
            f"(n, 2, 3) and (n, c, h, w), or (n, 3, 4) and (n, c, d, h, w)"
        )
    if min(size) < 1:
        raise ShapeError(f"affine_grid: `size` is {tuple(size)}, expected positive integers")
    steps = []
    for m in size[2:]:
        line = np.linspace(-1, 1, m) if m > 1 else np.zeros(m)
        steps.append(line if align_corners else line * ((m - 1) / m))
    axes = np.meshgrid(*steps, indexing="ij")[::-1]  # x first
    base = np.stack([*axes, np.ones(tuple(size[2:]))], -1).reshape(-1, n + 1)
    grid = matmul(wrap(base.astype(theta.dtype)), transpose(theta, 1, 2))  # (n, points, n)
    return own(reshape(grid, size[0], *size[2:], n))


@export(top=False, method=False, nn=True)
def grid_sample(
    input: Tensor,
    grid: Tensor,
    mode: str = "bilinear",
    padding_mode: str = "zeros",
    align_corners: bool | None = None,
) -> Tensor:
    """The values of images or volumes at given places.

    Parameters
    ----------
    input
        (n, c, h, w) or (n, c, d, h, w).
    grid
        (n, oh, ow, 2) or (n, od, oh, ow, 3): x, y (and z) from -1 to 1.
    mode
        ``"bilinear"``, ``"nearest"``, or, for images, ``"bicubic"``.
    padding_mode
        What lies outside: ``"zeros"``, the ``"border"``, or the image in ``"reflection"``.
    align_corners
        Whether -1 and 1 are the centres of the corner pixels, or (by default) their outer edges.

    Returns
    -------
    Tensor
        (n, c, oh, ow) or (n, c, od, oh, ow).

    Raises
    ------
    ValueError
        Shapes that do not fit, or an unknown mode.

    Examples
    --------
    >>> import tinygrad_cnn as tg
    >>> image = tg.tensor([[[[0.0, 1.0], [2.0, 3.0]]]])
    >>> grid_sample(image, tg.zeros(1, 1, 1, 2))
    tensor([[[[1.5000]]]])
    """
    x, grid = to_tensor(input), to_tensor(grid)
    n = x.ndim - 2
    modes = ("bilinear", "nearest", "bicubic")[: 3 if n == 2 else 2]
    if mode not in modes:
        raise ArgumentError(f"grid_sample: `mode` is {mode!r} but one of {modes} is expected")
    if padding_mode not in ("zeros", "border", "reflection"):
        raise ArgumentError(
            f"grid_sample: `padding_mode` is {padding_mode!r}, expected 'zeros', 'border' or "
            f"'reflection'"
        )
    if n not in (2, 3) or grid.ndim != x.ndim or grid.shape[-1] != n or len(grid) != len(x):
        raise ShapeError(
            f"grid_sample: `input` has shape {x.shape} and `grid` {grid.shape}, expected "
            f"(n, c, h, w) and (n, oh, ow, 2), or (n, c, d, h, w) and (n, od, oh, ow, 3)"
        )
    if not math.prod(x.shape[2:]):
        raise ShapeError(f"grid_sample: `input` has shape {x.shape}, expected pixels")
    one_dtype("grid_sample", x, grid=grid)
    corners, out = bool(align_corners), grid.shape[1:-1]
    flat = reshape(grid, len(x), math.prod(out), n)
    places = [_unnormalised(flat[:, :, n - 1 - i], m, corners) for i, m in enumerate(x.shape[2:])]
    lines = [
        _line(at, m, mode, padding_mode, corners) for at, m in zip(places, x.shape[2:], strict=True)
    ]
    batch, c = x.shape[:2]
    pixels = reshape(x, batch, c, math.prod(x.shape[2:]))
    (index, weight), *others = lines  # of the taps (n, t, points), the last axis's change first
    for (place, factor), m in zip(others, x.shape[3:], strict=True):
        index, near = index[:, :, None], place[:, None]  # (n, t, 1, points), (n, 1, k, points)
        outside = (index < 0) | (near < 0)
        index = index * m + near
        np.copyto(index, -1, where=outside)
        weight = unsqueeze(weight, 2) * unsqueeze(factor, 1)
        taps = index.shape[1] * index.shape[2]
        index = index.reshape(batch, taps, index.shape[3])
        weight = reshape(weight, batch, taps, index.shape[2])
    return own(reshape(sample_taps(pixels, wrap(index), weight), batch, c, *out))


def _unnormalised(at: Tensor, size: int, corners: bool) -> Tensor:
    """From -1 … 1 to pixels."""
    result: Tensor = (at + 1) * ((size - 1) / 2) if corners else ((at + 1) * size - 1) * 0.5
    return result


def _line(at: Tensor, size: int, mode: str, padding: str, corners: bool) -> tuple[Array, Tensor]:
    """Pixels along one axis (places (n, taps, points), -1 for none) with their weights."""
    if mode == "bicubic":  # each pixel is padded, not the place
        first = computed(_floor, at)
        near = [_padded(first + k, size, padding, corners) for k in range(-1, 3)]
        weights = _cubic_weights(at - first)
        return do(_existing, stack(near, 1)._given, size), stack(weights, 1)
    at = _padded(at, size, padding, corners)
    if mode == "nearest":
        nearest = do(_nearest_existing, at._given, size)
        return nearest, wrap(made(np.ones(nearest.shape, at.dtype)))
    first = computed(_floor, at)
    share = at - first
    existing = do(_existing, stack([first, first + 1], 1)._given, size)
    return existing, stack([1 - share, share], 1)


def _floor(at: Array) -> Array:
    return np.floor(_finite(at))


def _nearest_existing(at: Array, size: int) -> Array:
    return _existing(np.rint(_finite(at))[:, None], size)


def _finite(values: Array) -> Array:
    bound = values.dtype.type(2.0**31) if values.dtype.itemsize > 2 else values.dtype.type(2.0**15)
    result: Array = np.fmin(np.fmax(values, -bound), bound)  # NaN lies outside
    return result


def _existing(place: Array, size: int) -> Array:
    """Places as integers, -1 outside."""
    return np.where((place >= 0) & (place < size), place, -1).astype(np.int64)


def _cubic_weights(t: Tensor) -> list[Tensor]:
    a = -0.75
    return [_cubic_far(t + 1, a), _cubic_near(t, a), _cubic_near(1 - t, a), _cubic_far(2 - t, a)]


def _padded(at: Tensor, size: int, padding: str, corners: bool) -> Tensor:
    """``at``, brought into the image as ``padding`` says; the derivative at its ends is 0."""
    if padding == "zeros":
        return at
    if padding == "reflection":
        low, span = (0.0, size - 1.0) if corners else (-0.5, float(size))
        if not span:
            return mul(at, 0)
        at = at - low
        at = at * computed(_side, at)
        turned, even = map(wrap, do(_flips, at._given, span))
        at = at - turned
        at = where(even, at, span - at) + low
    result: Tensor = where(computed(_inside, at, size), at, computed(np.clip, at, 0, size - 1))
    return result


def _side(at: Array) -> Array:
    return np.where(at < 0, -1, 1).astype(at.dtype)


def _flips(at: Array, span: float) -> tuple[Array, Array]:
    """How far places are beyond the image, in whole widths of it; whether these are even."""
    flips = np.floor(_finite(at) / span)
    return (flips * span).astype(at.dtype), flips % 2 == 0


def _inside(at: Array, size: int) -> Array:
    inside: Array = (at > 0) & (at < size - 1)
    return inside


# ---- pixels and channels -------------------------------------------------------------------


@export(method=False, nn=True)
def channel_shuffle(input: Tensor, groups: int) -> Tensor:
    """The channels of ``input`` (n, c, ...), one of each of ``groups`` groups in turn.

    Zhang et al., 2017.

    >>> import tinygrad_cnn as tg
    >>> channel_shuffle(tg.arange(4.0).reshape(1, 4, 1), 2).flatten()
    tensor([0., 2., 1., 3.])
    """
    x = to_tensor(input)
    _require_image("channel_shuffle", x)
    n, c, *rest = x.shape
    if groups < 1 or c % groups:
        raise ShapeError(
            f"channel_shuffle: `groups` is {groups} but must divide the {c} channels of `input` "
            f"{x.shape}"
        )
    out = transpose(reshape(x, n, groups, c // groups, *rest), 1, 2)
    return own(reshape(out, *x.shape), x)


@export(method=False, nn=True)
def pixel_shuffle(input: Tensor, upscale_factor: int) -> Tensor:
    """Channels become pixels: (..., c * r * r, h, w) to (..., c, h * r, w * r).

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


@export(method=False, nn=True)
def pixel_unshuffle(input: Tensor, downscale_factor: int) -> Tensor:
    """Pixels become channels: (..., c, h * r, w * r) to (..., c * r * r, h, w).

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
    kernel_size: Sizes,
    dilation: Sizes = 1,
    padding: Sizes = 0,
    stride: Sizes = 1,
) -> Tensor:
    """All windows of an image, as columns.

    ``input`` (n, c, h, w) or (c, h, w) → (n, c * kh * kw, positions).

    >>> import tinygrad_cnn as tg
    >>> unfold(tg.ones(2, 3, 5, 5), 3).shape
    Size([2, 27, 9])
    """
    if input.ndim == 3:
        return unfold(input.unsqueeze(0), kernel_size, dilation, padding, stride).squeeze(0)
    if input.ndim != 4:
        raise ShapeError(f"unfold: `input` has shape {input.shape} but (n, c, h, w) is expected")
    n, c, h, w = input.shape
    rows, columns = _windows("unfold", (h, w), kernel_size, dilation, padding, stride)
    taps = one_by_one(_pixels(rows, columns, w), h * w)
    out = resample(reshape(input, n, c, h * w), dim=2, **taps)
    return own(reshape(out, n, c * rows.shape[1] * columns.shape[1], len(rows) * len(columns)))


@export(top=False, method=False, nn=True)
def fold(
    input: Tensor,
    output_size: Sizes,
    kernel_size: Sizes,
    dilation: Sizes = 1,
    padding: Sizes = 0,
    stride: Sizes = 1,
) -> Tensor:
    """Columns added up into images: the adjoint of `unfold`.

    ``input`` (n, c * kh * kw, positions), or without n, → (n, c, *output_size).

    >>> import tinygrad_cnn as tg
    >>> fold(tg.ones(1, 4, 4), (3, 3), 2)[0, 0]
    tensor([[1., 2., 1.],
            [2., 4., 2.],
            [1., 2., 1.]])
    """
    if input.ndim == 2:
        whole = fold(input.unsqueeze(0), output_size, kernel_size, dilation, padding, stride)
        return whole.squeeze(0)
    h, w = pair("fold", "output_size", output_size)
    rows, columns = _windows("fold", (h, w), kernel_size, dilation, padding, stride)
    (oh, kh), (ow, kw) = rows.shape, columns.shape
    if input.ndim != 3 or input.shape[1] % (kh * kw) or input.shape[2] != oh * ow:
        raise ShapeError(
            f"fold: `input` has shape {input.shape} but (n, c * {kh * kw}, {oh * ow}) is expected "
            f"for output_size {(h, w)}"
        )
    n, c = input.shape[0], input.shape[1] // (kh * kw)
    taps = one_by_one(_pixels(rows, columns, w), h * w)
    out = spread(reshape(input, n, c, kh * kw * oh * ow), dim=2, size=h * w, **taps)
    return own(reshape(out, n, c, h, w))


def _pixels(rows: Array, columns: Array, width: int) -> Array:
    """The pixels (kh, kw, oh, ow) of windows of ``rows`` (oh, kh) and ``columns`` (ow, kw), counted
    row by row, -1 in the padding.
    """
    y, x = rows.T[:, None, :, None], columns.T[None, :, None, :]
    result: Array = np.where((y >= 0) & (x >= 0) & (x < width), y * width + x, -1)
    return result


def _windows(
    name: str,
    size: tuple[int, int],
    kernel_size: Sizes,
    dilation: Sizes,
    padding: Sizes,
    stride: Sizes,
) -> list[Array]:
    """The rows (oh, kh) and the columns (ow, kw) of all windows."""
    kernel, spacing = pair(name, "kernel_size", kernel_size), pair(name, "dilation", dilation)
    border, strides = pair(name, "padding", padding), pair(name, "stride", stride)
    return [
        window_places(name, m, k, s, (p, p), d)
        for m, k, s, p, d in zip(size, kernel, strides, border, spacing, strict=True)
    ]


def _factors(value: Any, n: int) -> list[float]:
    values = list(value) if isinstance(value, tuple | list) else [value] * n
    positive = [isinstance(v, SupportsFloat) and 0 < float(v) < math.inf for v in values]
    if positive != [True] * n:
        raise ArgumentError(
            f"interpolate: `scale_factor` is {value!r} but one positive number or {n} are expected"
        )
    return [float(v) for v in values]


def _require_image(name: str, input: Tensor) -> None:
    if input.ndim < 3:
        raise ShapeError(f"{name}: `input` has shape {input.shape} but (..., c, h, w) is expected")
