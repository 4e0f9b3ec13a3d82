"""Pooling over windows. Choosing (max) and averaging are linear once the choice is made."""

# A rule may name its own operation, whose type mypy does not know yet at that place.
# mypy: disable-error-code="has-type"

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tinygrad_cnn import kernels
from tinygrad_cnn.autograd.node import Saved
from tinygrad_cnn.autograd.registry import op
from tinygrad_cnn.autograd.samples import Draw, ErrorSample, Sample
from tinygrad_cnn.kernels.lazy import Lazy, realize, unpool
from tinygrad_cnn.ops import forms
from tinygrad_cnn.types import Array, Params, Shapes

if TYPE_CHECKING:
    from tinygrad_cnn.tensor import Tensor

Pair = tuple[int, int]


def _window(draw: Draw) -> tuple[tuple[int, ...], Params]:
    kernel = (draw.integer(1, 3), draw.integer(1, 3))
    dilation = (draw.integer(1, 2), draw.integer(1, 2))
    padding = (draw.integer(0, kernel[0] // 2), draw.integer(0, kernel[1] // 2))
    size = tuple(
        max(d, d * (k - 1) + 1 - 2 * p) + draw.integer(0, 2)  # no window lies in the padding
        for k, d, p in zip(kernel, dilation, padding, strict=True)
    )
    params = {
        "kernel_size": kernel,
        "stride": (draw.integer(1, 3), draw.integer(1, 3)),
        "padding": padding,
        "dilation": dilation,
        "ceil_mode": draw.choice((False, True)),
    }
    return (draw.integer(1, 2), draw.integer(1, 2), *size), params


def _max_pool2d_samples(draw: Draw) -> Sample:
    shape, params = _window(draw)
    return Sample((draw.distinct(shape),), params)


def _choice_rule(g: Tensor, index: Tensor, shapes: Shapes, params: Params) -> Tensor:
    return max_pool2d_scatter(g, index, size=shapes[0][2:], **params)


def _without_size(params: Params) -> Params:
    return {k: v for k, v in params.items() if k != "size"}


@op(
    vjp=_choice_rule,
    piecewise=True,
    lazy=("x",),
    samples=_max_pool2d_samples,
    errors=(
        ErrorSample(
            (np.zeros((1, 1, 4, 4)),),
            {
                "kernel_size": (2, 2),
                "stride": (2, 2),
                "padding": (2, 2),
                "dilation": (1, 1),
                "ceil_mode": False,
            },
            ValueError,
            "max_pool2d: `padding`",
        ),
    ),
    onnx=forms.max_pool2d,
)
def max_pool2d(
    x: Array | Lazy,
    *,
    kernel_size: Pair,
    stride: Pair,
    padding: Pair,
    dilation: Pair,
    ceil_mode: bool,
) -> Saved:
    """Largest value of each window of ``x`` (n, c, h, w); the first of equal ones is chosen."""
    y, index = kernels.max_pool2d(
        x,
        kernel_size=kernel_size,
        stride=stride,
        padding=padding,
        dilation=dilation,
        ceil_mode=ceil_mode,
    )
    return Saved(y, index=index)


def _chosen(draw: Draw) -> tuple[Array, Array, Params]:
    shape, params = _window(draw)
    x = draw.distinct(shape)
    return x, kernels.max_pool2d(x, **params)[1], params


def _gather_samples(draw: Draw) -> Sample:
    x, index, params = _chosen(draw)
    return Sample((draw.array(x.shape), index), params)


@op(vjp=(_choice_rule, None), samples=_gather_samples)
def max_pool2d_gather(
    x: Array,
    index: Array,
    *,
    kernel_size: Pair,
    stride: Pair,
    padding: Pair,
    dilation: Pair,
    ceil_mode: bool,
) -> Array:
    """From each window of ``x`` the value that `max_pool2d` chose when it made ``index``."""
    return kernels.max_pool2d_gather(
        x,
        index,
        kernel_size=kernel_size,
        stride=stride,
        padding=padding,
        dilation=dilation,
        ceil_mode=ceil_mode,
    )


def _scatter_samples(draw: Draw) -> Sample:
    x, index, params = _chosen(draw)
    return Sample((draw.array(index.shape), index), {"size": x.shape[2:], **params})


@op(
    vjp=(lambda g, index, params: max_pool2d_gather(g, index, **_without_size(params)), None),
    lazy=("dy",),
    ignore_fp_errors=True,
    samples=_scatter_samples,
)
def max_pool2d_scatter(
    dy: Array | Lazy,
    index: Array,
    *,
    size: Pair,
    kernel_size: Pair,
    stride: Pair,
    padding: Pair,
    dilation: Pair,
    ceil_mode: bool,
) -> Array | Lazy:
    """The adjoint of `max_pool2d_gather`: each value of ``dy`` goes to the place chosen for it."""
    tiled = kernel_size == stride and padding == (0, 0) and dilation == (1, 1)
    tiled = tiled and size == tuple(n * k for n, k in zip(dy.shape[2:], kernel_size, strict=True))
    if tiled and index.dtype == np.uint8 and type(dy) is Lazy and kernels.fuses(dy):
        return unpool(dy, index, size, kernel_size)
    return kernels.max_pool2d_scatter(
        realize(dy),
        index,
        size=size,
        kernel_size=kernel_size,
        stride=stride,
        padding=padding,
        dilation=dilation,
        ceil_mode=ceil_mode,
    )


# ---- averages ------------------------------------------------------------------------------


def _average_window(draw: Draw) -> tuple[tuple[int, ...], Params]:
    shape, params = _window(draw)
    del params["dilation"]
    params["count_include_pad"] = draw.choice((True, False))
    params["divisor_override"] = draw.choice((None, None, 3))
    return shape, params


def _avg_pool2d_samples(draw: Draw) -> Sample:
    shape, params = _average_window(draw)
    return Sample((draw.array(shape),), params)


@op(
    vjp=lambda g, shapes, params: avg_pool2d_input(g, size=shapes[0][2:], **params),
    piecewise=True,
    ignore_fp_errors=True,
    samples=_avg_pool2d_samples,
    onnx=forms.avg_pool2d,
)
def avg_pool2d(
    x: Array,
    *,
    kernel_size: Pair,
    stride: Pair,
    padding: Pair,
    ceil_mode: bool,
    count_include_pad: bool,
    divisor_override: int | None,
) -> Array:
    """Mean of each window of ``x`` (n, c, h, w), as PyTorch counts what lies in the padding."""
    return kernels.avg_pool2d(
        x,
        kernel_size=kernel_size,
        stride=stride,
        padding=padding,
        ceil_mode=ceil_mode,
        count_include_pad=count_include_pad,
        divisor_override=divisor_override,
    )


def _avg_pool2d_input_samples(draw: Draw) -> Sample:
    shape, params = _average_window(draw)
    out = kernels.avg_pool2d(np.zeros(shape), **params).shape
    return Sample((draw.array(out),), {"size": shape[2:], **params})


@op(
    vjp=lambda g, params: avg_pool2d(g, **_without_size(params)),
    ignore_fp_errors=True,
    samples=_avg_pool2d_input_samples,
)
def avg_pool2d_input(
    dy: Array,
    *,
    size: Pair,
    kernel_size: Pair,
    stride: Pair,
    padding: Pair,
    ceil_mode: bool,
    count_include_pad: bool,
    divisor_override: int | None,
) -> Array:
    """The adjoint of `avg_pool2d`: ``dy`` (n, c, oh, ow) spread over its windows → (n, c, h, w)."""
    return kernels.avg_pool2d_input(
        dy,
        size=size,
        kernel_size=kernel_size,
        stride=stride,
        padding=padding,
        ceil_mode=ceil_mode,
        count_include_pad=count_include_pad,
        divisor_override=divisor_override,
    )


def _adaptive_samples(draw: Draw) -> Sample:
    shape = tuple(draw.integer(1, n) for n in (2, 2, 5, 5))
    size = (draw.integer(1, 4), draw.integer(1, 4))
    return Sample((draw.array(shape),), {"output_size": size})


@op(
    vjp=lambda g, shapes: adaptive_avg_pool2d_input(g, size=shapes[0][2:]),
    piecewise=lambda params: tuple(params["output_size"]) != (1, 1),  # a mean, in PyTorch
    ignore_fp_errors=True,
    samples=_adaptive_samples,
    onnx=forms.adaptive_avg_pool2d,
)
def adaptive_avg_pool2d(x: Array, *, output_size: Pair) -> Array:
    """Means of ``x`` (n, c, h, w) over a grid of ``output_size`` near-equal windows."""
    return kernels.adaptive_avg_pool2d(x, output_size=output_size)


def _adaptive_input_samples(draw: Draw) -> Sample:
    shape = tuple(draw.integer(1, n) for n in (2, 2, 4, 4))
    return Sample((draw.array(shape),), {"size": (draw.integer(1, 5), draw.integer(1, 5))})


@op(
    vjp=lambda g, shapes: adaptive_avg_pool2d(g, output_size=shapes[0][2:]),
    ignore_fp_errors=True,
    samples=_adaptive_input_samples,
)
def adaptive_avg_pool2d_input(dy: Array, *, size: Pair) -> Array:
    """The adjoint of `adaptive_avg_pool2d`: ``dy`` spread over windows of ``size`` (h, w)."""
    return kernels.adaptive_avg_pool2d_input(dy, size=size)
