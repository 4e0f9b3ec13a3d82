"""Convolution, pooling and normalisation by definition: loops over windows and channels."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import TypedDict, Unpack

import numpy as np

from tinygrad_cnn.kernels import ConvSpec
from tinygrad_cnn.testing.types import AnyCallable, Shape
from tinygrad_cnn.types import Array


def _taps(w: Shape, size: Shape, out: Shape, spec: ConvSpec) -> Iterator[tuple[int, ...]]:
    """Every product in a cross-correlation: filter, channel in it and in x, both places, tap."""
    f, depth, kh, kw = w
    for k, c, i, j, r, s in itertools.product(*map(range, (f, depth, *out, kh, kw))):
        row = i * spec.stride[0] + r * spec.dilation[0] - spec.padding[0][0]
        column = j * spec.stride[1] + s * spec.dilation[1] - spec.padding[1][0]
        if 0 <= row < size[0] and 0 <= column < size[1]:
            channel = k // (f // spec.groups) * depth + c
            yield k, c, channel, i, j, row, column, r, s


def _conv2d(x: Array, w: Array, bias: Array | None, *, spec: ConvSpec) -> Array:
    out = tuple(
        (n + sum(pad) - d * (k - 1) - 1) // s + 1
        for n, k, s, pad, d in zip(
            x.shape[2:], w.shape[2:], spec.stride, spec.padding, spec.dilation, strict=True
        )
    )
    y = np.zeros((len(x), len(w), *out))
    for k, c, channel, i, j, row, column, r, s in _taps(w.shape, x.shape[2:], out, spec):
        y[:, k, i, j] += x[:, channel, row, column] * w[k, c, r, s]
    return y if bias is None else y + bias[:, None, None]


def _conv2d_input(dy: Array, w: Array, *, size: Shape, spec: ConvSpec) -> Array:
    x = np.zeros((len(dy), w.shape[1] * spec.groups, *size))
    for k, c, channel, i, j, row, column, r, s in _taps(w.shape, size, dy.shape[2:], spec):
        x[:, channel, row, column] += dy[:, k, i, j] * w[k, c, r, s]
    return x


def _conv2d_weight(dy: Array, x: Array, *, kernel_size: Shape, spec: ConvSpec) -> Array:
    w = np.zeros((dy.shape[1], x.shape[1] // spec.groups, *kernel_size))
    for k, c, channel, i, j, row, column, r, s in _taps(w.shape, x.shape[2:], dy.shape[2:], spec):
        w[k, c, r, s] += dy[:, k, i, j] @ x[:, channel, row, column]
    return w


# ---- pooling -------------------------------------------------------------------------------

Pair = tuple[int, int]
Place = tuple[int, ...]
Window = tuple[int, int, list[Pair], int]


class Pooling(TypedDict, total=False):
    """The parameters of pooling; not every operation has all of them."""

    kernel_size: Pair
    stride: Pair
    padding: Pair
    dilation: Pair
    ceil_mode: bool
    count_include_pad: bool
    divisor_override: int | None


def _windows(size: Shape, p: Pooling) -> Iterator[Window]:
    """Every window: its place, the places in the plane that it covers, and how many with padding.

    With ``ceil_mode`` a window may hang over the end, if it begins inside the plane or the padding
    before it.
    """
    dilation = p.get("dilation", (1, 1))
    axes = []
    for n, k, s, pad, d in zip(
        size, p["kernel_size"], p["stride"], p["padding"], dilation, strict=True
    ):
        starts: list[Pair] = []
        for start in itertools.count(-pad, s):
            end = start + d * (k - 1)
            whole = end < n + pad
            hangs = p["ceil_mode"] and start < n and bool(starts) and starts[-1][1] < n + pad - 1
            if not whole and not hangs:
                break
            starts.append((start, end))
        axes.append(
            [
                (
                    [t for t in range(start, end + 1, d) if 0 <= t < n],
                    len([t for t in range(start, end + 1, d) if t < n + pad]),
                )
                for start, end in starts
            ]
        )
    for (i, (rows, high)), (j, (columns, wide)) in itertools.product(*map(enumerate, axes)):
        yield i, j, list(itertools.product(rows, columns)), high * wide


def _shape(x: Array, windows: list[Window]) -> Shape:
    last = max((w[:2] for w in windows), default=(-1, -1))
    return (*x.shape[:2], last[0] + 1, last[1] + 1)


def _chosen(index: Array, size: Shape, p: Pooling) -> Iterator[tuple[Place, Place]]:
    """Every place in the result of max pooling, with the place in the plane chosen for it."""
    for at in np.ndindex(index.shape):
        tap = divmod(int(index[at]), p["kernel_size"][1])
        place = tuple(
            k * s + t * d - pad
            for k, s, t, d, pad in zip(
                at[2:], p["stride"], tap, p["dilation"], p["padding"], strict=True
            )
        )
        if all(0 <= k < n for k, n in zip(place, size, strict=True)):
            yield at, (*at[:2], *place)


def _max_pool2d_gather(x: Array, index: Array, **p: Unpack[Pooling]) -> Array:
    y = np.zeros(index.shape)
    for at, place in _chosen(index, x.shape[2:], p):
        y[at] = x[place]
    return y


def _max_pool2d_scatter(dy: Array, index: Array, *, size: Shape, **p: Unpack[Pooling]) -> Array:
    x = np.zeros((*dy.shape[:2], *size))
    for at, place in _chosen(index, size, p):
        x[place] += dy[at]
    return x


def _max_pool2d(x: Array, **p: Unpack[Pooling]) -> Array:
    windows = list(_windows(x.shape[2:], p))
    y = np.empty(_shape(x, windows))
    for i, j, places, _ in windows:
        for n, c in np.ndindex(x.shape[:2]):
            y[n, c, i, j] = max((x[n, c][at] for at in places), default=-math.inf)
    return y


def _average(x: Array, **p: Unpack[Pooling]) -> Array:
    windows = list(_windows(x.shape[2:], p))
    y = np.empty(_shape(x, windows))
    for i, j, places, padded in windows:
        total = sum((x[:, :, r, s] for r, s in places), start=np.zeros(x.shape[:2]))
        y[:, :, i, j] = total / _divisor(places, padded, p)
    return y


def _average_input(dy: Array, *, size: Shape, **p: Unpack[Pooling]) -> Array:
    x = np.zeros((*dy.shape[:2], *size))
    for i, j, places, padded in _windows(size, p):
        for r, s in places:
            x[:, :, r, s] += dy[:, :, i, j] / _divisor(places, padded, p)
    return x


def _divisor(places: list[Pair], padded: int, p: Pooling) -> float:
    if p["divisor_override"] is not None:
        return float(p["divisor_override"])
    return float(padded if p["count_include_pad"] else len(places)) or math.nan


def _grid(n: int, parts: int) -> list[range]:
    return [range(k * n // parts, -(-(k + 1) * n // parts)) for k in range(parts)]


def _adaptive(x: Array, *, output_size: Shape) -> Array:
    y = np.empty((*x.shape[:2], *output_size))
    for i, rows in enumerate(_grid(x.shape[2], output_size[0])):
        for j, columns in enumerate(_grid(x.shape[3], output_size[1])):
            y[:, :, i, j] = x[:, :, list(rows)][:, :, :, list(columns)].mean((2, 3))
    return y


def _adaptive_input(dy: Array, *, size: Shape) -> Array:
    x = np.zeros((*dy.shape[:2], *size))
    for i, rows in enumerate(_grid(size[0], dy.shape[2])):
        for j, columns in enumerate(_grid(size[1], dy.shape[3])):
            for r, s in itertools.product(rows, columns):
                x[:, :, r, s] += dy[:, :, i, j] / (len(rows) * len(columns))
    return x


# ---- normalisation -------------------------------------------------------------------------


def _normal(v: Array, eps: float) -> Array:
    values = v.ravel().tolist()
    centre = math.fsum(values) / len(values)
    spread = math.fsum((a - centre) ** 2 for a in values) / len(values)
    return np.asarray((v - centre) / math.sqrt(spread + eps))


def _batch_norm(x: Array, weight: Array | None, bias: Array | None, *, eps: float) -> Array:
    y = np.empty(x.shape)
    for c in range(x.shape[1]):
        scale = 1.0 if weight is None else weight[c]
        y[:, c] = _normal(x[:, c], eps) * scale + (0.0 if bias is None else bias[c])
    return y


def _layer_norm(
    x: Array, weight: Array | None, bias: Array | None, *, ndim: int, eps: float
) -> Array:
    y = np.empty(x.shape)
    for at in np.ndindex(x.shape[: x.ndim - ndim]):
        scaled = _normal(x[at], eps) * (1.0 if weight is None else weight)
        y[at] = scaled + (0.0 if bias is None else bias)
    return y


def _group_norm(
    x: Array, weight: Array | None, bias: Array | None, *, groups: int, eps: float
) -> Array:
    y = np.empty(x.shape)
    some = x.shape[1] // groups
    for n, group in np.ndindex(len(x), groups):
        channels = slice(group * some, (group + 1) * some)
        y[n, channels] = _normal(x[n, channels], eps)
    return _channel_affine(y, np.ones(x.shape[1]) if weight is None else weight, bias)


def _channel_sum(x: Array) -> Array:
    return np.array([math.fsum(x[:, c].ravel().tolist()) for c in range(x.shape[1])])


def _channel_affine(x: Array, scale: Array, shift: Array | None) -> Array:
    y = np.empty(x.shape)
    for c in range(x.shape[1]):
        y[:, c] = x[:, c] * scale[c] + (0.0 if shift is None else shift[c])
    return y


IMAGE_ORACLES: dict[str, AnyCallable] = {
    "conv2d": _conv2d,
    "conv2d_input": _conv2d_input,
    "conv2d_weight": _conv2d_weight,
    "max_pool2d": _max_pool2d,
    "max_pool2d_gather": _max_pool2d_gather,
    "max_pool2d_scatter": _max_pool2d_scatter,
    "avg_pool2d": _average,
    "avg_pool2d_input": _average_input,
    "adaptive_avg_pool2d": _adaptive,
    "adaptive_avg_pool2d_input": _adaptive_input,
    "batch_norm": _batch_norm,
    "layer_norm": _layer_norm,
    "group_norm": _group_norm,
    "channel_sum": _channel_sum,
    "channel_affine": _channel_affine,
}
