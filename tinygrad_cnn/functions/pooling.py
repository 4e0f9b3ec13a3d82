"""Pooling of signals, images and volumes. What is separable is done by the kernels for images."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_cnn import kernels
from tinygrad_cnn.autograd.units import check, computed
from tinygrad_cnn.autograd.variable import wrap
from tinygrad_cnn.errors import ArgumentError, DtypeError, ShapeError
from tinygrad_cnn.functions.activation import relu
from tinygrad_cnn.functions.convert import own, pair, to_tensor
from tinygrad_cnn.functions.convolution import window_places, with_batch
from tinygrad_cnn.functions.elementwise import abs, add, mul, pow, sign
from tinygrad_cnn.functions.export import export
from tinygrad_cnn.functions.shaping import reshape, squeeze, unsqueeze
from tinygrad_cnn.kernels.tape import do, made
from tinygrad_cnn.ops import index as indexing
from tinygrad_cnn.ops import pool as ops
from tinygrad_cnn.ops.random import draw
from tinygrad_cnn.ops.resample import resample
from tinygrad_cnn.types import FLOATING, Array, OutputSize, Params, Sizes, TensorLike

if TYPE_CHECKING:
    from tinygrad_cnn.tensor import Tensor

Ints = tuple[int, ...]


def _strides(name: str, stride: Sizes | None, kernel: Ints) -> Ints:
    given = stride is not None and stride not in ([], ())
    return pair(name, "stride", stride, len(kernel)) if given else kernel


def _window(
    name: str,
    n: int,
    kernel_size: Sizes,
    stride: Sizes | None,
    padding: Sizes,
    dilation: Sizes | None = None,
) -> dict[str, Ints]:
    kernel = pair(name, "kernel_size", kernel_size, n)
    out = {"kernel_size": kernel, "stride": _strides(name, stride, kernel)}
    out["padding"] = pair(name, "padding", padding, n)
    if dilation is not None:
        out["dilation"] = pair(name, "dilation", dilation, n)
    return out


def _on_rows(window: dict[str, Ints]) -> dict[str, Ints]:
    """A window of signals as one of images of one row."""
    return {k: (int(k != "padding"), *v) for k, v in window.items()}


def _result(out: Tensor, single: bool) -> Tensor:
    return own(squeeze(out, 0)) if single else out


def _maxima(y: Tensor, where: Array, single: bool) -> tuple[Tensor, Tensor]:
    return _result(y, single), wrap(where[0] if single else where)


# ---- maxima --------------------------------------------------------------------------------


def _max_pool(
    n: int,
    input: TensorLike,
    kernel_size: Sizes,
    stride: Sizes | None,
    padding: Sizes,
    dilation: Sizes,
    ceil_mode: bool,
    return_indices: bool,
) -> Any:
    name = f"max_pool{n}d"
    x, single = with_batch(name, input, n)
    if x.dtype.kind in "bc":
        raise DtypeError(f"{name}: `input` is {x.dtype}, expected floating numbers or integers")
    pair(name, "dilation", dilation, n)  # which may not be left out
    window = _window(name, n, kernel_size, stride, padding, dilation)
    if n == 3:
        y, where = _max_pool3d(x, window, bool(ceil_mode), return_indices)
    else:
        params: Params = _on_rows(window) if n == 1 else window
        params["ceil_mode"] = bool(ceil_mode)
        images = unsqueeze(x, 2) if n == 1 else x
        y, where = ops.max_pool2d(images, **params), None
        if return_indices:
            where = _plane_index(images, params)
        if n == 1:
            y = own(squeeze(y, 2))
            where = None if where is None else where[:, :, 0]
    return _result(y, single) if where is None else _maxima(y, where, single)


def _plane_index(x: Tensor, params: Params) -> Array:
    """Where each maximum is, as ``row * w + column``."""
    return do(_chosen, x._given, **params)


def _chosen(x: Array, **params: Any) -> Array:
    _, chosen = kernels.max_pool2d(x, **params)
    return kernels.max_pool2d_plane_index(chosen, size=x.shape[2:], **params)


def _max_pool3d(
    x: Tensor, window: dict[str, Ints], ceil_mode: bool, return_indices: bool
) -> tuple[Tensor, Array | None]:
    """Of each frame, then along the frames."""
    n, c, d, h, w = x.shape
    within: Params = {k: v[1:] for k, v in window.items()}
    along: Params = {k: (v[0], int(k != "padding")) for k, v in window.items()}
    within["ceil_mode"] = along["ceil_mode"] = ceil_mode
    frames = reshape(x, n, c * d, h, w)
    best = ops.max_pool2d(frames, **within)
    oh, ow = best.shape[2:]
    columns = reshape(best, n, c, d, oh * ow)
    y = ops.max_pool2d(columns, **along)
    out = own(reshape(y, n, c, y.shape[2], oh, ow))
    if not return_indices:
        return out, None
    place = _plane_index(frames, within).reshape(n, c, d, oh * ow)
    frame = _plane_index(columns, along) // (oh * ow)  # (n, c, od, oh ow)
    where = frame * (h * w) + np.take_along_axis(place, frame, 2)
    return out, where.reshape(out.shape)


@export(method=False, nn=True)
def max_pool1d(
    input: TensorLike,
    kernel_size: Sizes,
    stride: Sizes | None = None,
    padding: Sizes = 0,
    dilation: Sizes = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """Largest value of each window of signals (n, c, l) or (c, l); see `max_pool2d`."""
    return _max_pool(1, input, kernel_size, stride, padding, dilation, ceil_mode, return_indices)


@export(method=False, nn=True)
def max_pool2d(
    input: TensorLike,
    kernel_size: Sizes,
    stride: Sizes | None = None,
    padding: Sizes = 0,
    dilation: Sizes = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """Largest value of each window; the first of equal ones gets the gradient.

    With ``return_indices`` also where it was, as ``row * w + column`` of the input plane.

    >>> import tinygrad_cnn as tg
    >>> x = tg.arange(16.0).reshape(1, 1, 4, 4)
    >>> tg.nn.functional.max_pool2d(x, 2)
    tensor([[[[ 5.,  7.],
              [13., 15.]]]])
    """
    return _max_pool(2, input, kernel_size, stride, padding, dilation, ceil_mode, return_indices)


@export(method=False, nn=True)
def max_pool3d(
    input: TensorLike,
    kernel_size: Sizes,
    stride: Sizes | None = None,
    padding: Sizes = 0,
    dilation: Sizes = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """Largest value of each window of volumes (n, c, d, h, w); see `max_pool2d`."""
    return _max_pool(3, input, kernel_size, stride, padding, dilation, ceil_mode, return_indices)


def _picked(x: Tensor, where: Array, single: bool, return_indices: bool) -> Any:
    """The values at ``where`` (n, c, …), which counts along the flattened axes of space."""
    n, c = x.shape[:2]
    flat = reshape(x, n, c, math.prod(x.shape[2:]))
    places = where.reshape(n, c, math.prod(where.shape[2:])).astype(np.int64, copy=False)
    found = indexing.gather(flat, places, dim=2)
    y = own(reshape(found, where.shape))
    return _maxima(y, where, single) if return_indices else _result(y, single)


def _output_size(name: str, output_size: OutputSize, x: Tensor) -> Ints:
    sides = x.shape[2:]
    given = output_size if isinstance(output_size, (tuple, list)) else (output_size,) * len(sides)
    if len(given) == len(sides):
        given = tuple(m if s is None else s for s, m in zip(given, sides, strict=True))
    out = pair(name, "output_size", given, len(sides))
    if min(out) < 0:
        raise ArgumentError(f"{name}: `output_size` is {output_size!r}, which must not be negative")
    return out


def _adaptive_max_pool(
    n: int, input: TensorLike, output_size: OutputSize, return_indices: bool
) -> Any:
    name = f"adaptive_max_pool{n}d"
    x, single = with_batch(name, input, n)
    size = _output_size(name, output_size, x)
    if not math.prod(x.shape[1:]):
        raise ShapeError(f"{name}: `input` has shape {x.shape}, but only the batch can be empty")
    whole = math.prod(size) > 0 and not any(np.remainder(x.shape[2:], size))
    if whole and not return_indices:  # windows that tile the input
        kernel = [m // k for m, k in zip(x.shape[2:], size, strict=True)]
        return _result(_max_pool(n, x, kernel, None, 0, 1, False, False), single)
    where = do(kernels.adaptive_max_index, x._given, size)
    return _picked(x, where, single, return_indices)


@export(method=False, nn=True)
def adaptive_max_pool1d(
    input: TensorLike, output_size: OutputSize, return_indices: bool = False
) -> Any:
    """Maxima of ``output_size`` near-equal windows of signals; see `adaptive_max_pool2d`."""
    return _adaptive_max_pool(1, input, output_size, return_indices)


@export(method=False, nn=True)
def adaptive_max_pool2d(
    input: TensorLike, output_size: OutputSize, return_indices: bool = False
) -> Any:
    """Maxima of a grid of ``output_size`` near-equal windows; None keeps a side.

    With ``return_indices`` also where they were, counted along the flattened axes of space.

    >>> import tinygrad_cnn as tg
    >>> tg.nn.functional.adaptive_max_pool2d(tg.arange(9.0).reshape(1, 3, 3), 2)
    tensor([[[4., 5.],
             [7., 8.]]])
    """
    return _adaptive_max_pool(2, input, output_size, return_indices)


@export(method=False, nn=True)
def adaptive_max_pool3d(
    input: TensorLike, output_size: OutputSize, return_indices: bool = False
) -> Any:
    """Maxima of ``output_size`` near-equal windows of volumes; see `adaptive_max_pool2d`."""
    return _adaptive_max_pool(3, input, output_size, return_indices)


def _starts(samples: Array, size: int, out: int, kernel: int) -> Array:
    """Where the windows of each plane begin (n, c, out) (Graham, 2014, section 2)."""
    if out == 1:
        return np.full((*samples.shape, 1), size - kernel)
    alpha = (size - kernel) / (out - 1)
    steps = np.arange(out)
    starts = ((steps + samples[..., None]) * alpha).astype(np.int64)
    starts -= (samples[..., None] * alpha).astype(np.int64)
    starts[..., -1] = size - kernel
    return starts


def _fractional_max_pool(
    n: int,
    input: TensorLike,
    kernel_size: Sizes,
    output_size: OutputSize,
    output_ratio: float | Sequence[float] | None,
    return_indices: bool,
    random_samples: TensorLike | None,
) -> Any:
    name = f"fractional_max_pool{n}d"
    x, single = with_batch(name, input, n)
    kernel = pair(name, "kernel_size", kernel_size, n)
    if min(kernel) < 1:
        raise ArgumentError(f"{name}: `kernel_size` is {kernel}, expected at least 1")
    if (output_size is None) == (output_ratio is None):
        raise ArgumentError(f"{name}: one of `output_size` and `output_ratio` is expected")
    if output_size is None:
        ratios = output_ratio if isinstance(output_ratio, (tuple, list)) else (output_ratio,) * n
        if len(ratios) != n:
            raise ArgumentError(
                f"{name}: `output_ratio` is {output_ratio!r}, expected a number or {n} of them"
            )
        output_size = [int(m * r) for m, r in zip(x.shape[2:], ratios, strict=True)]
    size = pair(name, "output_size", output_size, n)
    if any(o < 1 or o + k - 1 > m for o, k, m in zip(size, kernel, x.shape[2:], strict=True)):
        raise ShapeError(f"{name}: {size} windows of {kernel} do not fit into `input` {x.shape}")
    batch, c = x.shape[:2]
    if random_samples is None:
        samples = draw(None, "random", (batch, c, n))
    else:
        samples = to_tensor(random_samples)._given
        if samples.shape[1:] != (c, n) or len(samples) < batch:
            raise ShapeError(
                f"{name}: `_random_samples` has shape {samples.shape}, expected {(batch, c, n)}"
            )
        samples = samples[:batch]
    return _picked(x, do(_largest, x._given, samples, kernel, size), single, return_indices)


def _largest(x: Array, samples: Array, kernel: Ints, size: Ints) -> Array:
    """Where, in each plane, the largest number of each window is."""
    (batch, c), n = x.shape[:2], x.ndim - 2
    if n == 2:  # PyTorch's order: width, height; but depth, height, width
        samples = samples[..., ::-1]
    base: Array = np.zeros((batch, c, *(1,) * n), np.int64)
    strides = [math.prod(x.shape[3 + i :]) for i in range(n)]
    for i, (m, o, k) in enumerate(zip(x.shape[2:], size, kernel, strict=True)):
        starts = _starts(samples[..., i], m, o, k) * strides[i]
        base = base + starts.reshape(batch, c, *(1,) * i, o, *(1,) * (n - 1 - i))
    taps = np.zeros(1, np.int64)
    for k, stride in zip(kernel, strides, strict=True):
        taps = (taps[:, None] + np.arange(k) * stride).ravel()
    every = base[..., None] + taps  # (n, c, …, taps)
    flat = x.reshape(batch, c, math.prod(x.shape[2:]))
    spread = every.reshape(batch, c, math.prod(every.shape[2:]))
    values = np.take_along_axis(flat, spread, 2).reshape(every.shape)
    chosen = np.argmax(values, -1)[..., None]
    return np.take_along_axis(every, chosen, -1)[..., 0]


@export(method=False, nn=True)
def fractional_max_pool2d(
    input: TensorLike,
    kernel_size: Sizes,
    output_size: OutputSize = None,
    output_ratio: float | Sequence[float] | None = None,
    return_indices: bool = False,
    _random_samples: TensorLike | None = None,
) -> Any:
    """Largest value of ``output_size`` windows whose places are random (Graham, 2014).

    ``output_ratio`` gives their number as a share of each side.
    """
    return _fractional_max_pool(
        2, input, kernel_size, output_size, output_ratio, return_indices, _random_samples
    )


@export(method=False, nn=True)
def fractional_max_pool3d(
    input: TensorLike,
    kernel_size: Sizes,
    output_size: OutputSize = None,
    output_ratio: float | Sequence[float] | None = None,
    return_indices: bool = False,
    _random_samples: TensorLike | None = None,
) -> Any:
    """`fractional_max_pool2d` of volumes."""
    return _fractional_max_pool(
        3, input, kernel_size, output_size, output_ratio, return_indices, _random_samples
    )


def _max_unpool(
    n: int,
    input: TensorLike,
    indices: TensorLike,
    kernel_size: Sizes,
    stride: Sizes | None,
    padding: Sizes,
    output_size: Sequence[int] | None,
) -> Tensor:
    name = f"max_unpool{n}d"
    x, single = with_batch(name, input, n)
    where, _ = with_batch(name, indices, n)
    if where.dtype.kind not in "iu":
        raise DtypeError(f"{name}: `indices` is {where.dtype}, expected integers")
    if where.shape != x.shape:
        raise ShapeError(f"{name}: `indices` has shape {where.shape}, expected {x.shape}")
    window = _window(name, n, kernel_size, stride, padding)
    size = tuple([
        (m - 1) * s - 2 * p + k
        for m, k, s, p in zip(x.shape[2:], *window.values(), strict=True)
    ])  # fmt: skip
    if output_size is not None:
        given = tuple(output_size) if isinstance(output_size, (tuple, list)) else (output_size,)
        wanted = pair(name, "output_size", given[-n:], n)
        for w, s, stride_ in zip(wanted, size, window["stride"], strict=True):
            if not s - stride_ < w < s + stride_:
                raise ShapeError(
                    f"{name}: `output_size` is {given}, expected sides that differ "
                    f"from {size} by less than the stride {window['stride']}"
                )
        size = wanted
    batch, c = x.shape[:2]
    flat = where._given.reshape(batch, c, math.prod(x.shape[2:]))
    check(_inside, name, flat, size)
    empty = wrap(made(np.zeros((batch, c, math.prod(size)), x.dtype)))
    values = reshape(x, batch, c, flat.shape[2])
    out = indexing.scatter_add(empty, wrap(flat), values, dim=2)
    # As in PyTorch a value that is put somewhere twice is there once, but has both gradients.
    out = add(out, computed(_less, empty, flat, values, out))
    return _result(own(reshape(out, batch, c, *size)), single)


def _inside(name: str, flat: Array, size: tuple[int, ...]) -> None:
    if flat.size and not 0 <= flat.min() <= flat.max() < math.prod(size):
        raise ShapeError(
            f"{name}: `indices` holds {flat.min()} to {flat.max()}, which do not all lie in an "
            f"output of {size}"
        )


def _less(empty: Array, flat: Array, values: Array, out: Array) -> Array:
    once: Array = indexing.scatter.forward(empty, flat, values, dim=2)
    return np.where(once == out, -0.0, once - out).astype(out.dtype)


@export(method=False, nn=True)
def max_unpool1d(
    input: TensorLike,
    indices: TensorLike,
    kernel_size: Sizes,
    stride: Sizes | None = None,
    padding: Sizes = 0,
    output_size: Sequence[int] | None = None,
) -> Tensor:
    """The inverse of `max_pool1d`, as far as there is one; see `max_unpool2d`."""
    return _max_unpool(1, input, indices, kernel_size, stride, padding, output_size)


@export(method=False, nn=True)
def max_unpool2d(
    input: TensorLike,
    indices: TensorLike,
    kernel_size: Sizes,
    stride: Sizes | None = None,
    padding: Sizes = 0,
    output_size: Sequence[int] | None = None,
) -> Tensor:
    """Zeros with the values of ``input`` at the ``indices`` that `max_pool2d` returned.

    ``output_size`` says which of the sizes that give the same output was the input's.
    """
    return _max_unpool(2, input, indices, kernel_size, stride, padding, output_size)


@export(method=False, nn=True)
def max_unpool3d(
    input: TensorLike,
    indices: TensorLike,
    kernel_size: Sizes,
    stride: Sizes | None = None,
    padding: Sizes = 0,
    output_size: Sequence[int] | None = None,
) -> Tensor:
    """The inverse of `max_pool3d`, as far as there is one; see `max_unpool2d`."""
    return _max_unpool(3, input, indices, kernel_size, stride, padding, output_size)


# ---- averages ------------------------------------------------------------------------------


def _averages(name: str, x: Tensor) -> None:
    if x.dtype.kind not in FLOATING:
        raise DtypeError(f"{name}: `input` is {x.dtype}, expected a floating dtype")


def _avg_pool(
    name: str,
    n: int,
    input: TensorLike,
    kernel_size: Sizes,
    stride: Sizes | None,
    padding: Sizes,
    ceil_mode: bool,
    count_include_pad: bool,
    divisor_override: int | None = None,
) -> Tensor:
    x, single = with_batch(name, input, n)
    _averages(name, x)
    window = _window(name, n, kernel_size, stride, padding)
    params: Params = _on_rows(window) if n == 1 else {k: v[-2:] for k, v in window.items()}
    params["ceil_mode"] = bool(ceil_mode)
    params["count_include_pad"] = bool(count_include_pad)
    params["divisor_override"] = divisor_override
    if n == 1:
        out = own(squeeze(ops.avg_pool2d(unsqueeze(x, 2), **params), 2))
    elif n == 2:
        out = ops.avg_pool2d(x, **params)
    else:  # of each frame, then along the frames
        batch, c, d, h, w = x.shape
        frames = ops.avg_pool2d(reshape(x, batch, c * d, h, w), **params)
        k, s, p = (window[name][0] for name in ("kernel_size", "stride", "padding"))
        index, weight = _depth_means(name, d, k, s, p, bool(ceil_mode), bool(count_include_pad))
        if divisor_override is not None:
            weight = made((weight != 0).astype(np.float64))  # frames have been divided
        frames = reshape(frames, batch, c, d, *frames.shape[2:])
        out = resample(frames, index=index, weight=weight, dim=2)
    return _result(out, single)


def _depth_means(
    name: str, size: int, k: int, stride: int, padding: int, ceil_mode: bool, with_padding: bool
) -> tuple[Array, Array]:
    """The places of windows along an axis, and their weights in a mean."""
    if not 0 <= padding <= k // 2:
        raise ArgumentError(f"{name}: `padding` is {padding}, expected 0 to half of the kernel {k}")
    far = padding
    if ceil_mode:  # a last window that begins in the input or before it
        windows = -(-(size + 2 * padding - k) // max(stride, 1)) + 1
        windows -= (windows - 1) * stride >= size + padding
        far = (windows - 1) * stride + k - size - padding
    places = window_places(name, size, k, stride, (padding, far), 1)
    there = (places >= 0) & (places < size)
    counts = np.sum(places < size + padding if with_padding else there, 1, keepdims=True)
    return made(np.where(there, places, 0)), made(there / np.maximum(counts, 1))


@export(method=False, nn=True)
def avg_pool1d(
    input: TensorLike,
    kernel_size: Sizes,
    stride: Sizes | None = None,
    padding: Sizes = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Tensor:
    """Mean of each window of signals (n, c, l) or (c, l); see `avg_pool2d`."""
    return _avg_pool(
        "avg_pool1d", 1, input, kernel_size, stride, padding, ceil_mode, count_include_pad
    )


@export(method=False, nn=True)
def avg_pool2d(
    input: TensorLike,
    kernel_size: Sizes,
    stride: Sizes | None = None,
    padding: Sizes = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Tensor:
    """Mean of each window; zeros in the padding count unless ``count_include_pad`` is False."""
    return _avg_pool(
        "avg_pool2d",
        2,
        input,
        kernel_size,
        stride,
        padding,
        ceil_mode,
        count_include_pad,
        divisor_override,
    )


@export(method=False, nn=True)
def avg_pool3d(
    input: TensorLike,
    kernel_size: Sizes,
    stride: Sizes | None = None,
    padding: Sizes = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Tensor:
    """Mean of each window of volumes (n, c, d, h, w); see `avg_pool2d`."""
    return _avg_pool(
        "avg_pool3d",
        3,
        input,
        kernel_size,
        stride,
        padding,
        ceil_mode,
        count_include_pad,
        divisor_override,
    )


def area_means(size: int, out: int) -> dict[str, Array]:
    """The parameters of `resample` for the means of ``out`` near-equal windows of an axis."""
    starts, stops = (places[:, None] for places in kernels.near_equal(size, out))
    index = starts + np.arange((stops - starts).max(initial=0))
    weight = np.where(index < stops, 1 / (stops - starts), 0.0)
    return {"index": made(np.minimum(index, size - 1)), "weight": made(weight)}


def _adaptive_avg_pool(n: int, input: TensorLike, output_size: OutputSize) -> Tensor:
    name = f"adaptive_avg_pool{n}d"
    x, single = with_batch(name, input, n)
    _averages(name, x)
    size = _output_size(name, output_size, x)
    if n == 1:
        out = ops.adaptive_avg_pool2d(unsqueeze(x, 2), output_size=(1, *size))
        out = own(squeeze(out, 2))
    elif n == 2:
        out = ops.adaptive_avg_pool2d(x, output_size=size)
    else:
        batch, c, d, h, w = x.shape
        frames = reshape(x, batch, c * d, h, w)
        frames = ops.adaptive_avg_pool2d(frames, output_size=size[1:])
        frames = reshape(frames, batch, c, d, *size[1:])
        out = resample(frames, dim=2, **area_means(d, size[0]))
    return _result(out, single)


@export(method=False, nn=True)
def adaptive_avg_pool1d(input: TensorLike, output_size: OutputSize) -> Tensor:
    """Means of ``output_size`` near-equal windows of signals (n, c, l) or (c, l)."""
    return _adaptive_avg_pool(1, input, output_size)


@export(method=False, nn=True)
def adaptive_avg_pool2d(input: TensorLike, output_size: OutputSize) -> Tensor:
    """Means over a grid of ``output_size`` near-equal windows; None keeps a side."""
    return _adaptive_avg_pool(2, input, output_size)


@export(method=False, nn=True)
def adaptive_avg_pool3d(input: TensorLike, output_size: OutputSize) -> Tensor:
    """Means over a grid of ``output_size`` near-equal windows of volumes (n, c, d, h, w)."""
    return _adaptive_avg_pool(3, input, output_size)


# ---- norms ---------------------------------------------------------------------------------


def _lp_pool(
    n: int,
    input: TensorLike,
    norm_type: float,
    kernel_size: Sizes,
    stride: Sizes | None,
    ceil_mode: bool,
) -> Tensor:
    name = f"lp_pool{n}d"
    if not norm_type:
        raise ArgumentError(f"{name}: `norm_type` is {norm_type}, expected a number other than 0")
    powers = pow(to_tensor(input), norm_type)
    taps = math.prod(pair(name, "kernel_size", kernel_size, n))
    mean = _avg_pool(name, n, powers, kernel_size, stride, 0, ceil_mode, True)
    return pow(mul(mul(sign(mean), relu(abs(mean))), taps), 1 / norm_type)


@export(method=False, nn=True)
def lp_pool1d(
    input: TensorLike,
    norm_type: float,
    kernel_size: Sizes,
    stride: Sizes | None = None,
    ceil_mode: bool = False,
) -> Tensor:
    """``sum(x**p) ** (1 / p)`` of each window of signals, p the ``norm_type``."""
    return _lp_pool(1, input, norm_type, kernel_size, stride, ceil_mode)


@export(method=False, nn=True)
def lp_pool2d(
    input: TensorLike,
    norm_type: float,
    kernel_size: Sizes,
    stride: Sizes | None = None,
    ceil_mode: bool = False,
) -> Tensor:
    """``sum(x**p) ** (1 / p)`` of each window of images, p the ``norm_type``.

    >>> import tinygrad_cnn as tg
    >>> tg.nn.functional.lp_pool2d(tg.tensor([[[3.0, 4.0]]]), 2, (1, 2))
    tensor([[[5.]]])
    """
    return _lp_pool(2, input, norm_type, kernel_size, stride, ceil_mode)


@export(method=False, nn=True)
def lp_pool3d(
    input: TensorLike,
    norm_type: float,
    kernel_size: Sizes,
    stride: Sizes | None = None,
    ceil_mode: bool = False,
) -> Tensor:
    """``sum(x**p) ** (1 / p)`` of each window of volumes, p the ``norm_type``."""
    return _lp_pool(3, input, norm_type, kernel_size, stride, ceil_mode)
