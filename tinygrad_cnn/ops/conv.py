"""Convolution: three maps, linear in each argument, that are each other's derivative rules.

``conv2d(x, w)``, its adjoint in x ``conv2d_input(dy, w)`` (PyTorch's transposed convolution) and
its adjoint in w ``conv2d_weight(dy, x)``. As in every deep-learning library, what is called
convolution is a cross-correlation: the kernel is not flipped.
"""

# A rule may name its own operation, whose type mypy does not know yet at that place.
# mypy: disable-error-code="has-type"

from __future__ import annotations

import numpy as np

from tinygrad_cnn import kernels
from tinygrad_cnn.autograd.modes import is_recording
from tinygrad_cnn.autograd.registry import op
from tinygrad_cnn.autograd.samples import Draw, ErrorSample, Sample
from tinygrad_cnn.kernels.conv_spec import ConvSpec, conv_spec
from tinygrad_cnn.kernels.lazy import Lazy, realize
from tinygrad_cnn.ops import forms
from tinygrad_cnn.ops.norm import channel_sum
from tinygrad_cnn.types import Array, Gradients, Shape, Shapes

Pair = tuple[int, int]

_PLAIN = {"spec": ConvSpec()}


def _geometry(draw: Draw) -> tuple[tuple[int, ...], tuple[int, ...], ConvSpec]:
    """Shapes of x and w, and a convolution, that fit together."""
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
    return x, (f * groups, c, *kernel), conv_spec(stride, padding, dilation, groups)


def _conv2d_samples(draw: Draw) -> Sample:
    x, w, spec = _geometry(draw)
    bias = draw.array(w[:1]) if draw.choice((False, True)) else None
    return Sample((draw.array(x), draw.array(w), bias), {"spec": spec})


def _output(x: Shape, w: Shape, spec: ConvSpec) -> tuple[int, ...]:
    """The shape of the result."""
    return (x[0], w[0], *spec.output_size((x[2], x[3]), (w[2], w[3])))


def _conv2d_joint(
    g: Array | Lazy,
    x: Array | Lazy,
    w: Array,
    shapes: Shapes,
    spec: ConvSpec,
    needs: tuple[bool, ...],
) -> Gradients:
    gx = gw = gbias = None
    if needs[0]:
        gx = kernels.conv2d_input(g, w, size=shapes[0][2:], spec=spec, relu_input=x)
    with_bias = len(needs) > 2 and needs[2]
    if needs[1]:
        gw = kernels.conv2d_weight(g, x, kernel_size=shapes[1][2:], spec=spec, bias=with_bias)
        if with_bias:
            gw, gbias = gw
    elif with_bias:
        gbias = kernels.sum(realize(g), (0, 2, 3))
    return gx, gw, gbias


@op(
    vjp=(
        lambda g, w, shapes, spec: conv2d_input(g, w, size=shapes[0][2:], spec=spec),
        lambda g, x, shapes, spec: conv2d_weight(g, x, kernel_size=shapes[1][2:], spec=spec),
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
    onnx=forms.conv2d,
)
def conv2d(
    x: Array | Lazy, w: Array, bias: Array | None = None, *, spec: ConvSpec
) -> Array | Lazy:  # fmt: skip
    """Cross-correlation of ``x`` (n, c, h, w) with ``w`` (f, c/groups, kh, kw) → (n, f, oh, ow).

    ``bias`` (f,) is added. ``spec`` has stride, padding, dilation and groups.
    """
    training = is_recording()
    moments = training and kernels.fuses(x)  # for a normalisation that may follow
    out: Array | Lazy = kernels.conv2d(x, w, bias, spec=spec, moments=moments, keep=not training)
    return out


def _conv2d_input_samples(draw: Draw) -> Sample:
    x, w, spec = _geometry(draw)
    dy = draw.array(_output(x, w, spec))
    return Sample((dy, draw.array(w)), {"size": x[2:], "spec": spec})


@op(
    vjp=(
        lambda g, w, spec: conv2d(g, w, spec=spec),
        lambda g, dy, shapes, spec: conv2d_weight(dy, g, kernel_size=shapes[1][2:], spec=spec),
    ),
    piecewise=True,
    ignore_fp_errors=True,
    samples=_conv2d_input_samples,
    onnx=forms.conv2d_input,
)
def conv2d_input(dy: Array, w: Array, *, size: Pair, spec: ConvSpec) -> Array:
    """The adjoint of `conv2d` in ``x``: ``dy`` (n, f, oh, ow) → (n, c, h, w), ``size`` (h, w)."""
    gx: Array = kernels.conv2d_input(dy, w, size=size, spec=spec)
    return gx


def _conv2d_weight_samples(draw: Draw) -> Sample:
    x, w, spec = _geometry(draw)
    dy = draw.array(_output(x, w, spec))
    return Sample((dy, draw.array(x)), {"kernel_size": w[2:], "spec": spec})


@op(
    vjp=(
        lambda g, x, spec: conv2d(x, g, spec=spec),
        lambda g, dy, shapes, spec: conv2d_input(dy, g, size=shapes[1][2:], spec=spec),
    ),
    piecewise=True,
    lazy=("x",),
    ignore_fp_errors=True,
    samples=_conv2d_weight_samples,
)
def conv2d_weight(dy: Array, x: Array | Lazy, *, kernel_size: Pair, spec: ConvSpec) -> Array:
    """The adjoint of `conv2d` in ``w``: ``dy`` (n, f, oh, ow), ``x`` → (f, c/groups, kh, kw)."""
    gw: Array = kernels.conv2d_weight(dy, x, kernel_size=kernel_size, spec=spec)
    return gw
