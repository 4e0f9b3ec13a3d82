"""Readers of operators that take images apart and put them together at other places."""

# Operators of tensors are methods whose types mypy does not know.
# mypy: disable-error-code="no-any-return"

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

import tinygrad_cnn.functions as f
from tinygrad_cnn.onnx.node import Node, Reader, ints
from tinygrad_cnn.onnx.values import Axes
from tinygrad_cnn.ops.resample import resample
from tinygrad_cnn.tensor import Tensor
from tinygrad_cnn.types import Array

Ints = Sequence[int]

# ---- resizing ------------------------------------------------------------------------------


def _positions(
    mode: str, out: int, size: int, scale: float, start: float, end: float, whole: float
) -> Array:
    """Where the places of a result are among those of the input."""
    at = np.arange(out, dtype=np.float64)
    if mode == "align_corners":
        return at * ((size - 1) / (whole - 1)) if whole > 1 else at * 0
    if mode == "asymmetric":
        return at / scale
    if mode == "pytorch_half_pixel":
        return (at + 0.5) / scale - 0.5 if out > 1 else at * 0
    if mode == "half_pixel_symmetric":
        return size / 2 * (1 - out / whole) + (at + 0.5) / scale - 0.5
    if mode == "tf_crop_and_resize":
        if out == 1:
            return np.array([0.5 * (start + end) * (size - 1)])
        return start * (size - 1) + at * (end - start) * (size - 1) / (out - 1)
    return (at + 0.5) / scale - 0.5


def _cubic(distance: Array, a: float) -> Array:
    x = np.abs(distance)
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = ((a * x - 5 * a) * x + 8 * a) * x - 4 * a
    return np.where(x <= 1, near, np.where(x < 2, far, 0.0))


def _taps(
    mode: str, at: Array, size: int, nearest: str, a: float, outside: int, shrink: float
) -> tuple[Array, Array]:
    """For each place the places it is made of, and their weights."""
    if mode == "nearest":
        down = {
            "floor": np.floor(at),
            "ceil": np.ceil(at),
            "round_prefer_ceil": np.floor(at + 0.5),
        }.get(nearest, np.ceil(at - 0.5))
        return np.clip(down, 0, size - 1).astype(np.int64)[:, None], np.ones((len(at), 1))
    reach = (1 if mode == "linear" else 2) / shrink
    first = np.floor(at - reach).astype(np.int64)[:, None]
    places = first + np.arange(int(2 * math.ceil(reach)) + 2)
    away = (places - at[:, None]) * shrink
    weights = np.maximum(0, 1 - np.abs(away)) if mode == "linear" else _cubic(away, a)
    if outside:
        weights = weights * ((places >= 0) & (places < size))
    if outside or shrink != 1:
        weights = weights / weights.sum(1, keepdims=True)
    return np.clip(places, 0, size - 1), weights


def _resize(
    n: Node,
    x: Tensor,
    roi: Tensor | None = None,
    scales: Tensor | None = None,
    sizes: Tensor | None = None,
    antialias: int = 0,
    axes: Axes = None,
    coordinate_transformation_mode: str = "half_pixel",
    cubic_coeff_a: float = -0.75,
    exclude_outside: int = 0,
    extrapolation_value: float = 0.0,
    keep_aspect_ratio_policy: str = "stretch",
    mode: str = "nearest",
    nearest_mode: str = "round_prefer_floor",
) -> Tensor:
    places = list(range(x.ndim)) if axes is None else [a % x.ndim for a in axes]
    sides = [x.shape[d] for d in places]
    if scales is not None and scales.numel():
        factors = [float(v) for v in scales.detach().numpy().reshape(-1)]
        outs = [math.floor(m * s) for m, s in zip(sides, factors, strict=True)]
    elif sizes is not None:
        outs = ints(sizes)
        factors = [out / m for out, m in zip(outs, sides, strict=True)]
        if keep_aspect_ratio_policy != "stretch":
            pick = min if keep_aspect_ratio_policy == "not_larger" else max
            factors = [pick(factors)] * len(factors)
            outs = [math.floor(m * s + 0.5) for m, s in zip(sides, factors, strict=True)]
    else:
        raise n.refuse("neither `scales` nor `sizes` are given")
    crop = coordinate_transformation_mode == "tf_crop_and_resize"
    window = roi.detach().numpy().reshape(2, -1) if crop and roi is not None else None
    beyond: list[tuple[int, Array]] = []
    for i, (d, size, out, scale) in enumerate(zip(places, sides, outs, factors, strict=True)):
        start, end = (0.0, 1.0) if window is None else map(float, window[:, i])
        if out == size and scale == 1 and not (crop and (start, end) != (0, 1)):
            continue
        at = _positions(coordinate_transformation_mode, out, size, scale, start, end, size * scale)
        shrink = min(scale, 1.0) if antialias and mode != "nearest" else 1.0
        index, weight = _taps(mode, at, size, nearest_mode, cubic_coeff_a, exclude_outside, shrink)
        x = resample(x, index=index, weight=weight, dim=d) if mode != "nearest" else (
            f.index_select(x, d, f.tensor(index[:, 0]))
        )  # fmt: skip
        if crop:
            beyond.append((d, (at < 0) | (at > size - 1)))
    for d, lost in beyond:
        mask = f.tensor(lost.reshape(-1, *(1,) * (x.ndim - 1 - d)))
        x = f.where(mask, f.full_like(x, extrapolation_value), x)
    return x


def _upsample(n: Node, x: Tensor, scales: Any = None, mode: str = "nearest") -> Tensor:
    scales = scales if isinstance(scales, Tensor) else f.tensor(np.array(scales, np.float32))
    return _resize(
        n, x, None, scales, mode=mode, coordinate_transformation_mode="asymmetric",
        nearest_mode="floor",
    )  # fmt: skip


# ---- images from places and from columns ---------------------------------------------------

_SAMPLED = {"linear": "bilinear", "cubic": "bicubic"}  # names before version 20


def _grid_sample(
    n: Node,
    x: Tensor,
    grid: Tensor,
    align_corners: int = 0,
    mode: str = "linear",
    padding_mode: str = "zeros",
) -> Tensor:
    if x.ndim == 5 and mode == "cubic":
        raise n.refuse("the mode 'cubic' is not read for volumes")
    return f.grid_sample(x, grid, _SAMPLED.get(mode, mode), padding_mode, bool(align_corners))


def _col2im(
    n: Node,
    x: Tensor,
    image_shape: Tensor,
    block_shape: Tensor,
    dilations: Ints | None = None,
    pads: Ints | None = None,
    strides: Ints | None = None,
) -> Tensor:
    size, block = ints(image_shape), ints(block_shape)
    if len(size) != 2:
        raise n.refuse(f"images of {len(size)} axes are not read, expected 2")
    top, left, bottom, right = pads or [0] * 4
    whole = size[0] + top + bottom, size[1] + left + right
    y = f.fold(x, whole, tuple(block), tuple(dilations or (1, 1)), 0, tuple(strides or (1, 1)))
    return y[..., top : top + size[0], left : left + size[1]]


OPERATORS: dict[str, Reader] = {
    "Resize": _resize,
    "Upsample": _upsample,
    "GridSample": _grid_sample,
    "Col2Im": _col2im,
}
"""By ONNX's names."""
