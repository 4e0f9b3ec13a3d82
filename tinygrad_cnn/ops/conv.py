"""Convolution: three maps, linear in each argument, that are each other's derivative rules.

``conv2d(x, w)``, its adjoint in x ``conv2d_input(dy, w)`` (PyTorch's transposed convolution) and
its adjoint in w ``conv2d_weight(dy, x)``. As in every deep-learning library, what is called
convolution is a cross-correlation: the kernel is not flipped.
"""

# A rule may name its own operation, whose type mypy does not know yet at that place.
# mypy: disable-error-code="has-type"

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_cnn import kernels
from tinygrad_cnn.autograd.modes import is_recording
from tinygrad_cnn.autograd.registry import op
from tinygrad_cnn.autograd.samples import Draw, ErrorSample, Sample
from tinygrad_cnn.kernels.lazy import Lazy, realize
from tinygrad_cnn.ops.norm import channel_sum

Array = np.ndarray[Any, Any]
Pair = tuple[int, int]
Border = tuple[Pair, Pair]

_PLAIN = {"stride": (1, 1), "padding": ((0, 0), (0, 0)), "dilation": (1, 1), "groups": 1}


def _geometry(draw: Draw) -> tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]]:
    """Shapes of x and w, and parameters, that fit together."""
    groups = draw.choice((1, 1, 2))
    stride = (draw.integer(1, 2), draw.integer(1, 2))
    dilation = (draw.integer(1, 2), draw.integer(1, 2))
    kernel = (draw.integer(1, 3), draw.integer(1, 2))
    padding = tuple((draw.integer(0, 1), draw.integer(0, 2)) for _ in range(2))
    size = tuple(
        max(1, d * (k - 1) + 1 - sum(p)) + draw.integer(0, 2)
        for d, k, p in zip(dilation, kernel, padding, strict=True)
    )
    c, f = draw.integer(1, 2), draw.integer(1, 2)
    x = (draw.integer(1, 2), c * groups, *size)
    params = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    return x, (f * groups, c, *kernel), params


def _conv2d_samples(draw: Draw) -> Sample:
    x, w, params = _geometry(draw)
    bias = draw.array(w[:1]) if draw.choice((False, True)) else None
    return Sample((draw.array(x), draw.array(w), bias), params)


def _shared(params: dict[str, Any]) -> dict[str, Any]:
    """The parameters that all three maps have."""
    return {k: params[k] for k in ("stride", "padding", "dilation", "groups")}


def _to_filters(shapes: Any, params: dict[str, Any]) -> dict[str, Any]:
    """Parameters for `conv2d_weight`, from an operation whose second input is the filters."""
    return {"kernel_size": shapes[1][2:], **_shared(params)}


def _conv2d_joint(g: Any, x: Any, w: Array, shapes: Any, params: Any, needs: Any) -> Any:
    gx = gw = gbias = None
    if needs[0]:
        gx = kernels.conv2d_input(g, w, size=shapes[0][2:], relu_input=x, **_shared(params))
    with_bias = len(needs) > 2 and needs[2]
    if needs[1]:
        gw = kernels.conv2d_weight(g, x, bias=with_bias, **_to_filters(shapes, params))
        if with_bias:
            gw, gbias = gw
    elif with_bias:
        gbias = kernels.sum(realize(g), (0, 2, 3))
    return gx, gw, gbias


@op(
    vjp=(
        lambda g, w, shapes, params: conv2d_input(g, w, size=shapes[0][2:], **params),
        lambda g, x, shapes, params: conv2d_weight(g, x, **_to_filters(shapes, params)),
        lambda g: channel_sum(g),
    ),
    array_vjp=_conv2d_joint,
    piecewise=True,
    lazy=("g", "x"),
    ignore_fp_errors=True,
    samples=_conv2d_samples,
    errors=(
        ErrorSample(
            (np.zeros((1, 3, 8, 8)), np.zeros((4, 2, 3, 3)), None),
            _PLAIN,
            ValueError,
            "conv2d: `x` has 3 channels",
        ),
        ErrorSample(
            (np.zeros((1, 2, 2, 2)), np.zeros((4, 2, 3, 3)), None), _PLAIN, ValueError, "conv2d"
        ),
    ),
)
def conv2d(
    x: Array | Lazy,
    w: Array,
    bias: Array | None = None,
    *,
    stride: Pair,
    padding: Border,
    dilation: Pair,
    groups: int,
) -> Array | Lazy:
    """Cross-correlation of ``x`` (n, c, h, w) with ``w`` (f, c/groups, kh, kw) → (n, f, oh, ow).

    ``bias`` (f,) is added. ``padding`` is ((top, bottom), (left, right)), filled with zeros.
    """
    training = is_recording()
    out: Array | Lazy = kernels.conv2d(
        x, w, bias, stride=stride, padding=padding, dilation=dilation, groups=groups,
        moments=training and kernels.fuses(x),  # for a normalisation that may follow
        keep=not training,
    )  # fmt: skip
    return out


def _size(kernel: Any, params: dict[str, Any], x: Any) -> Pair:
    return kernels.conv2d_output_size(
        x[2:],
        kernel[2:],
        stride=params["stride"],
        padding=params["padding"],
        dilation=params["dilation"],
    )


def _conv2d_input_samples(draw: Draw) -> Sample:
    x, w, params = _geometry(draw)
    dy = draw.array((x[0], w[0], *_size(w, params, x)))
    return Sample((dy, draw.array(w)), {"size": x[2:], **params})


@op(
    vjp=(
        lambda g, w, params: conv2d(g, w, **_shared(params)),
        lambda g, dy, shapes, params: conv2d_weight(dy, g, **_to_filters(shapes, params)),
    ),
    piecewise=True,
    ignore_fp_errors=True,
    samples=_conv2d_input_samples,
)
def conv2d_input(
    dy: Array,
    w: Array,
    *,
    size: Pair,
    stride: Pair,
    padding: Border,
    dilation: Pair,
    groups: int,
) -> Array:
    """The adjoint of `conv2d` in ``x``: ``dy`` (n, f, oh, ow) → (n, c, h, w), ``size`` (h, w)."""
    gx: Array = kernels.conv2d_input(
        dy, w, size=size, stride=stride, padding=padding, dilation=dilation, groups=groups
    )
    return gx


def _conv2d_weight_samples(draw: Draw) -> Sample:
    x, w, params = _geometry(draw)
    dy = draw.array((x[0], w[0], *_size(w, params, x)))
    return Sample((dy, draw.array(x)), {"kernel_size": w[2:], **params})


@op(
    vjp=(
        lambda g, x, params: conv2d(x, g, **_shared(params)),
        lambda g, dy, shapes, params: conv2d_input(dy, g, size=shapes[1][2:], **_shared(params)),
    ),
    piecewise=True,
    lazy=("x",),
    ignore_fp_errors=True,
    samples=_conv2d_weight_samples,
)
def conv2d_weight(
    dy: Array,
    x: Array | Lazy,
    *,
    kernel_size: Pair,
    stride: Pair,
    padding: Border,
    dilation: Pair,
    groups: int,
) -> Array:
    """The adjoint of `conv2d` in ``w``: ``dy`` (n, f, oh, ow), ``x`` → (f, c/groups, kh, kw)."""
    gw: Array = kernels.conv2d_weight(
        dy,
        x,
        kernel_size=kernel_size,
        stride=stride,
        padding=padding,
        dilation=dilation,
        groups=groups,
    )
    return gw
