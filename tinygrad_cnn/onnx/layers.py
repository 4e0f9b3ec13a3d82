"""Readers of operators on images, of normalisations, and of what is random in training."""

# Operators of tensors are methods whose types mypy does not know.
# mypy: disable-error-code="no-any-return"

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

import tinygrad_cnn.functions as f
from tinygrad_cnn.onnx.node import Node, Reader, number
from tinygrad_cnn.ops.resample import resample
from tinygrad_cnn.tensor import Tensor

Ints = Sequence[int]


def _spatial(n: Node, x: Tensor) -> int:
    """How many axes of space images have."""
    axes = x.ndim - 2
    if not 1 <= axes <= 3:
        raise n.refuse(f"images of shape {tuple(x.shape)} are not read, expected 1 to 3 axes")
    return axes


def _borders(
    n: Node,
    size: Ints,
    kernel: Ints,
    stride: Ints,
    dilation: Ints,
    auto_pad: str,
    pads: Ints | None,
) -> list[tuple[int, int]]:
    """The padding (before, after) along each axis of space."""
    if auto_pad in ("", "NOTSET"):
        given = [0] * 2 * len(size) if pads is None else list(pads)
        return list(zip(given[: len(size)], given[len(size) :], strict=True))
    if auto_pad == "VALID":
        return [(0, 0)] * len(size)
    out = []
    for m, k, s, d in zip(size, kernel, stride, dilation, strict=True):
        total = max(0, (-(-m // s) - 1) * s + d * (k - 1) + 1 - m)
        small, large = total // 2, total - total // 2
        out.append((small, large) if auto_pad == "SAME_UPPER" else (large, small))
    return out


def _padded(x: Tensor, borders: Sequence[tuple[int, int]], value: float = 0.0) -> Tensor:
    flat = [side for pair in reversed(borders) for side in pair]
    return f.pad(x, tuple(flat), value=value) if any(flat) else x


def _even(borders: Sequence[tuple[int, int]]) -> bool:
    return all(b == a for b, a in borders)


# ---- convolution ---------------------------------------------------------------------------


def _conv(
    n: Node,
    x: Tensor,
    w: Tensor,
    b: Tensor | None = None,
    auto_pad: str = "NOTSET",
    dilations: Ints | None = None,
    group: int = 1,
    kernel_shape: Ints | None = None,
    pads: Ints | None = None,
    strides: Ints | None = None,
) -> Tensor:
    axes = _spatial(n, x)
    stride, dilation = strides or [1] * axes, dilations or [1] * axes
    borders = _borders(n, x.shape[2:], w.shape[2:], stride, dilation, auto_pad, pads)
    padding: Any = 0
    if _even(borders):
        padding = tuple(before for before, _ in borders)
    else:
        x = _padded(x, borders)
    conv = (f.conv1d, f.conv2d, f.conv3d)[axes - 1]
    return conv(x, w, b, tuple(stride), padding, tuple(dilation), group)


def _conv_transpose(
    n: Node,
    x: Tensor,
    w: Tensor,
    b: Tensor | None = None,
    auto_pad: str = "NOTSET",
    dilations: Ints | None = None,
    group: int = 1,
    kernel_shape: Ints | None = None,
    output_padding: Ints | None = None,
    output_shape: Ints | None = None,
    pads: Ints | None = None,
    strides: Ints | None = None,
) -> Tensor:
    axes = _spatial(n, x)
    stride, dilation = strides or [1] * axes, dilations or [1] * axes
    extra = output_padding or [0] * axes
    whole = [  # without any padding
        (m - 1) * s + d * (k - 1) + 1 + e
        for m, k, s, d, e in zip(x.shape[2:], w.shape[2:], stride, dilation, extra, strict=True)
    ]
    if output_shape is None and auto_pad.startswith("SAME"):
        output_shape = [m * s for m, s in zip(x.shape[2:], stride, strict=True)]
    if output_shape is None:
        borders = _borders(n, x.shape[2:], w.shape[2:], stride, dilation, "NOTSET", pads)
    else:
        borders = []
        for full, wanted in zip(whole, output_shape, strict=True):
            if wanted > full:  # zeros at the end
                borders.append((0, full - wanted))
                continue
            small, large = (full - wanted) // 2, (full - wanted) - (full - wanted) // 2
            upper = auto_pad == "SAME_UPPER" or auto_pad != "SAME_LOWER"
            borders.append((small, large) if upper else (large, small))
    conv = (f.conv_transpose1d, f.conv_transpose2d, f.conv_transpose3d)[axes - 1]
    if _even(borders) and all(before >= 0 for before, _ in borders):
        padding = tuple(before for before, _ in borders)
        return conv(x, w, b, tuple(stride), padding, tuple(extra), group, tuple(dilation))
    y = conv(x, w, None, tuple(stride), 0, tuple(extra), group, tuple(dilation))
    y = _padded(y, [(-before, -after) for before, after in borders])
    return y if b is None else y + b.reshape(-1, *(1,) * axes)


# ---- pooling -------------------------------------------------------------------------------


def _windows(
    n: Node,
    x: Tensor,
    kernel: Ints,
    stride: Ints,
    dilation: Ints,
    auto_pad: str,
    pads: Ints | None,
    ceil_mode: int,
) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """The padding, and what is added after it so that the last windows fit too."""
    borders = _borders(n, x.shape[2:], kernel, stride, dilation, auto_pad, pads)
    more = []
    for m, k, s, d, (before, after) in zip(
        x.shape[2:], kernel, stride, dilation, borders, strict=True
    ):
        room = m + before + after - (d * (k - 1) + 1)
        count = (-(-room // s) if ceil_mode else room // s) + 1
        if ceil_mode and (count - 1) * s >= m + before:  # it would begin in the padding
            count -= 1
        more.append((0, max(0, (count - 1) * s - room)))
    return borders, more


def _max_pool(
    n: Node,
    x: Tensor,
    kernel_shape: Ints = (),
    auto_pad: str = "NOTSET",
    ceil_mode: int = 0,
    dilations: Ints | None = None,
    pads: Ints | None = None,
    storage_order: int = 0,
    strides: Ints | None = None,
) -> Any:
    axes = _spatial(n, x)
    stride, dilation = strides or [1] * axes, dilations or [1] * axes
    borders, more = _windows(n, x, kernel_shape, stride, dilation, auto_pad, pads, ceil_mode)
    wide = [(b, a + m) for (b, a), (_, m) in zip(borders, more, strict=True)]
    pool = (f.max_pool1d, f.max_pool2d, f.max_pool3d)[axes - 1]
    indices = len(n.outputs) > 1
    plain = _even(wide) and all(2 * b <= k for (b, _), k in zip(wide, kernel_shape, strict=True))
    padding: Any = tuple(b for b, _ in wide) if plain else 0
    if not plain:
        low = -math.inf if x.dtype.kind == "f" else np.iinfo(x.dtype).min
        x, size = _padded(x, wide, low), x.shape[2:]
    else:
        size = x.shape[2:]
    found = pool(x, tuple(kernel_shape), tuple(stride), padding, tuple(dilation), False, indices)
    if not indices:
        return found
    y, where = found
    places: list[Any] = []
    rest = where
    for side in reversed(x.shape[2:]):
        places.insert(0, rest % side)
        rest = f.div(rest, side, rounding_mode="floor")
    if not plain:
        places = [p - b for p, (b, _) in zip(places, wide, strict=True)]
    order = list(zip(places, size, strict=True))
    flat: Any = 0
    for place, side in reversed(order) if storage_order else order:
        flat = flat * side + place
    planes = f.arange(x.shape[0] * x.shape[1]).reshape(*x.shape[:2], *(1,) * axes)
    return y, flat + planes * math.prod(size)


def _average_pool(
    n: Node,
    x: Tensor,
    kernel_shape: Ints = (),
    auto_pad: str = "NOTSET",
    ceil_mode: int = 0,
    count_include_pad: int = 0,
    dilations: Ints | None = None,
    pads: Ints | None = None,
    strides: Ints | None = None,
) -> Tensor:
    axes = _spatial(n, x)
    stride, dilation = strides or [1] * axes, dilations or [1] * axes
    borders, more = _windows(n, x, kernel_shape, stride, dilation, auto_pad, pads, ceil_mode)
    counted = f.ones((1, 1, *x.shape[2:]), dtype=x.dtype)
    counted = _padded(counted, borders, float(bool(count_include_pad)))
    sums = _window_sums(_padded(_padded(x, borders), more), kernel_shape, stride, dilation)
    return sums / _window_sums(_padded(counted, more), kernel_shape, stride, dilation)


def _window_sums(x: Tensor, kernel: Ints, stride: Ints, dilation: Ints) -> Tensor:
    """Sums over windows, one axis after the other."""
    for axis, (k, s, d) in enumerate(zip(kernel, stride, dilation, strict=True), start=2):
        last = x.shape[axis] - d * (k - 1)
        lead = (slice(None),) * axis
        parts = [x[(*lead, slice(i * d, i * d + last, s))] for i in range(k)]
        x = parts[0]
        for part in parts[1:]:
            x = x + part
    return x


def _lp_pool(
    n: Node,
    x: Tensor,
    kernel_shape: Ints = (),
    auto_pad: str = "NOTSET",
    ceil_mode: int = 0,
    dilations: Ints | None = None,
    p: int = 2,
    pads: Ints | None = None,
    strides: Ints | None = None,
) -> Tensor:
    axes = _spatial(n, x)
    stride, dilation = strides or [1] * axes, dilations or [1] * axes
    borders, more = _windows(n, x, kernel_shape, stride, dilation, auto_pad, pads, ceil_mode)
    powers = f.pow(f.abs(_padded(_padded(x, borders), more)), p)
    return f.pow(_window_sums(powers, kernel_shape, stride, dilation), 1 / p)


def _space(x: Tensor) -> tuple[int, ...]:
    return tuple(range(2, x.ndim))


def _global_average_pool(n: Node, x: Tensor) -> Tensor:
    return f.adaptive_avg_pool2d(x, 1) if x.ndim == 4 else f.mean(x, _space(x), keepdim=True)


# ---- normalisation -------------------------------------------------------------------------


def _batch_normalization(
    n: Node,
    x: Tensor,
    scale: Tensor,
    b: Tensor,
    mean: Tensor,
    var: Tensor,
    epsilon: float = 1e-5,
    momentum: float = 0.9,
    training_mode: int = 0,
    spatial: int = 1,
) -> Any:
    if not spatial:
        raise n.refuse("statistics for each place (spatial=0) are not read")
    if training_mode:  # a node that says so gives the new statistics, and keeps none
        dims = (0, *_space(x))
        seen, spread = f.mean(x, dims), f.var(x, dims, correction=0)
        y = f.batch_norm(x, None, None, scale, b, True, 0.0, epsilon)
        new = mean * momentum + seen * (1 - momentum), var * momentum + spread * (1 - momentum)
        return (y, *new)[: len(n.outputs)]
    scale, b = (v if v.dtype == x.dtype else v.to(x.dtype) for v in (scale, b))
    return f.batch_norm(x, mean, var, scale, b, n.training, 1 - momentum, epsilon)


def _layer_normalization(
    n: Node,
    x: Tensor,
    scale: Tensor,
    b: Tensor | None = None,
    axis: int = -1,
    epsilon: float = 1e-5,
    stash_type: int = 1,
) -> Any:
    axis %= x.ndim
    shape = tuple(x.shape[axis:])
    scale, b = f.expand(scale, shape), None if b is None else f.expand(b, shape)
    y = f.layer_norm(x, shape, scale, b, epsilon)
    if len(n.outputs) == 1:
        return y
    dims = tuple(range(axis, x.ndim))
    mean = f.mean(x, dims, keepdim=True)
    return y, mean, f.rsqrt(f.var(x, dims, correction=0, keepdim=True) + epsilon)


def _rms_normalization(
    n: Node,
    x: Tensor,
    scale: Tensor,
    axis: int = -1,
    epsilon: float = 1e-5,
    stash_type: int = 1,
) -> Tensor:
    return f.rms_norm(x, tuple(x.shape[axis % x.ndim :]), None, epsilon) * scale


def _instance_normalization(
    n: Node, x: Tensor, scale: Tensor, b: Tensor, epsilon: float = 1e-5
) -> Tensor:
    return f.group_norm(x, x.shape[1], scale, b, epsilon)


def _group_normalization(
    n: Node,
    x: Tensor,
    scale: Tensor,
    b: Tensor,
    num_groups: int,
    epsilon: float = 1e-5,
    stash_type: int = 1,
) -> Tensor:
    if n.opset < 21:  # then one for each group
        each = x.shape[1] // num_groups
        scale, b = (f.repeat_interleave(v, each) for v in (scale, b))
    return f.group_norm(x, num_groups, scale, b, epsilon)


def _lrn(
    n: Node, x: Tensor, size: int, alpha: float = 1e-4, beta: float = 0.75, bias: float = 1.0
) -> Tensor:
    c, before = x.shape[1], (size - 1) // 2
    places = np.arange(c)[:, None] + np.arange(size) - before
    there = (places >= 0) & (places < c)
    near = resample(f.square(x), index=np.where(there, places, 0), weight=there * 1.0, dim=1)
    return x / f.pow(near * (alpha / size) + bias, beta)


def _mean_variance(n: Node, x: Tensor, axes: Ints = (0, 2, 3)) -> Tensor:
    away = x - f.mean(x, tuple(axes), keepdim=True)
    return away / (f.sqrt(f.mean(f.square(away), tuple(axes), keepdim=True)) + 1e-9)


def _dropout(
    n: Node,
    x: Tensor,
    ratio: Any = 0.5,
    training_mode: Tensor | None = None,
    seed: int | None = None,
) -> Any:
    """In training, as `nn.Dropout`; what a node says of that is for who runs the file as it is."""
    if not n.training and training_mode is not None and bool(number(training_mode)):
        if float(0.5 if ratio is None else number(ratio)):
            raise n.refuse("random numbers in evaluation (`training_mode`) are not read")
    y = f.dropout(x, 0.5 if ratio is None else float(number(ratio)), n.training)
    return y if len(n.outputs) == 1 else (y, f.ones(tuple(x.shape), dtype=np.bool_))


OPERATORS: dict[str, Reader] = {
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "MaxPool": _max_pool,
    "AveragePool": _average_pool,
    "LpPool": _lp_pool,
    "GlobalAveragePool": _global_average_pool,
    "GlobalMaxPool": lambda n, x: f.amax(x, _space(x), keepdim=True),
    "GlobalLpPool": lambda n, x, p=2: f.pow(f.sum(f.pow(f.abs(x), p), _space(x), True), 1 / p),
    "BatchNormalization": _batch_normalization,
    "LayerNormalization": _layer_normalization,
    "RMSNormalization": _rms_normalization,
    "InstanceNormalization": _instance_normalization,
    "GroupNormalization": _group_normalization,
    "LRN": _lrn,
    "MeanVarianceNormalization": _mean_variance,
    "Dropout": _dropout,
}
"""By ONNX's names."""
