"""Activation functions with rules of their own; the others are compositions in `functions`."""

# A rule may name its own operation, whose type mypy does not know yet at that place.
# mypy: disable-error-code="has-type"

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from tinygrad_cnn import kernels
from tinygrad_cnn.autograd.registry import op
from tinygrad_cnn.autograd.samples import Draw, Sample, unary
from tinygrad_cnn.autograd.units import computed
from tinygrad_cnn.errors import ArgumentError
from tinygrad_cnn.kernels import lazy
from tinygrad_cnn.kernels.lazy import Lazy
from tinygrad_cnn.ops import forms
from tinygrad_cnn.ops.choice import where
from tinygrad_cnn.ops.conjugate import conj
from tinygrad_cnn.ops.elementwise import erf, exp, square
from tinygrad_cnn.ops.trigonometry import tanh
from tinygrad_cnn.types import Array

if TYPE_CHECKING:
    from tinygrad_cnn.tensor import Tensor


def _relu_backward_samples(draw: Draw) -> Sample:
    shape = draw.shape()
    return Sample((draw.array(shape), np.maximum(draw.distinct(shape), 0)))


@op(
    vjp=(lambda g, out: relu_backward(g, out), None),
    lazy=("dy", "out"),
    samples=_relu_backward_samples,
    oracle=lambda dy, out: dy if out > 0 else 0.0,
)
def relu_backward(dy: Array | Lazy, out: Array | Lazy) -> Array | Lazy:
    """``dy`` where ``out``, a relu's output, is positive, else 0: linear in ``dy``."""
    return lazy.select(dy, out)


@op(
    vjp=(lambda g, y: relu_backward(g, y),),
    array_vjp=lambda g, y: (lazy.select(g, y),),
    piecewise=True,
    lazy=("x", "g", "y"),
    samples=unary(away_from=0),
    oracle=lambda x: max(x, 0.0),
    onnx="Relu",
)
def relu(x: Array | Lazy) -> Array | Lazy:
    """Elementwise ``max(x, 0)``; the derivative at 0 is 0."""
    return lazy.relu(x)


@op(
    vjp=(lambda g, x, negative_slope: where(computed(np.greater, x, 0), g, g * negative_slope),),
    ignore_fp_errors=True,
    array_vjp=lambda g, x, negative_slope: (kernels.leaky_relu_backward(x, g, negative_slope),),
    piecewise=True,
    samples=lambda draw: Sample(
        (draw.distinct(draw.shape()),), {"negative_slope": draw.choice((0.01, 0.3, -0.2))}
    ),
    oracle=lambda x, negative_slope: x if x > 0 else negative_slope * x,
    onnx=lambda o, x, negative_slope: o.LeakyRelu(x, alpha=float(negative_slope)),
)
def leaky_relu(x: Array, *, negative_slope: float = 0.01) -> Array:
    """Elementwise ``x`` if positive, else ``negative_slope * x``."""
    return kernels.leaky_relu(x, negative_slope)


def _elu_rule(g: Tensor, x: Tensor, alpha: float, scale: float, input_scale: float) -> Tensor:
    # Of values that are not negative, zeros, whose second derivative is 0 as in PyTorch.
    below = where(computed(np.greater_equal, x, 0), 0.0, x * input_scale)
    slope = alpha * scale * input_scale * exp(below)
    return where(computed(np.less_equal, x, 0), g * slope, g * scale)  # NaN as in PyTorch


def _elu_samples(draw: Draw) -> Sample:
    scales = draw.choice(({}, {"scale": 1.3}, {"input_scale": 0.6}))
    return Sample((draw.distinct(draw.shape()),), {"alpha": draw.choice((1.0, 0.5, 1.7)), **scales})


def _elu_numbers(alpha: float, scale: float, input_scale: float) -> tuple[float, ...]:
    return scale, alpha * scale, input_scale, alpha * scale * input_scale


@op(
    vjp=(_elu_rule,),
    array_vjp=lambda g, x, alpha, scale, input_scale: (
        kernels.activate_backward(g, x, "elu", _elu_numbers(alpha, scale, input_scale)),
    ),
    ignore_fp_errors=True,
    samples=_elu_samples,
    oracle=lambda x, alpha, scale=1.0, input_scale=1.0: (
        scale * (x if x > 0 else alpha * (math.exp(input_scale * x) - 1))
    ),
    onnx=forms.elu,
)
def elu(x: Array, *, alpha: float = 1.0, scale: float = 1.0, input_scale: float = 1.0) -> Array:
    """Elementwise ``scale * x`` if positive, else ``scale * alpha * (exp(input_scale * x) - 1)``.

    Clevert et al., 2015; scaled Klambauer et al., 2017 (selu), and Barron, 2017 (celu).
    """
    return kernels.activate(x, "elu", _elu_numbers(alpha, scale, input_scale))


@op(
    complex="whole",
    vjp=(lambda g, y: g * conj(y * (1.0 - y)),),
    array_vjp=lambda g, y: (kernels.activate_backward(g, y, "sigmoid"),),
    promotes="float",
    ignore_fp_errors=True,
    samples=unary(-4, 4),
    onnx="Sigmoid",
)
def sigmoid(x: Array) -> Array:
    """Elementwise ``1 / (1 + exp(-x))``."""
    return kernels.activate(x, "sigmoid")


def _silu_rule(g: Tensor, x: Tensor) -> Tensor:
    s = sigmoid(x)
    result: Tensor = g * conj(s * (1.0 + x * (1.0 - s)))
    return result


@op(
    complex="whole",
    vjp=(_silu_rule,),
    array_vjp=lambda g, x: (kernels.activate_backward(g, x, "silu"),),
    ignore_fp_errors=True,
    samples=unary(-4, 4),
    onnx=lambda o, x: x * o.Sigmoid(x),
)
def silu(x: Array) -> Array:
    """Elementwise ``x * sigmoid(x)`` (Elfwing et al., 2017)."""
    return kernels.activate(x, "silu")


def _mish_rule(g: Tensor, x: Tensor) -> Tensor:
    small = square(sigmoid(-x))  # tanh(softplus(x)) = (1 - small)/(1 + small)
    more = 1.0 + small
    result: Tensor = g * ((1.0 - small) / more + x * (4.0 * small / square(more)) * sigmoid(x))
    return result


@op(
    vjp=(_mish_rule,),
    array_vjp=lambda g, x: (kernels.activate_backward(g, x, "mish"),),
    ignore_fp_errors=True,
    samples=unary(-4, 4),
    oracle=lambda x: x * math.tanh(math.log1p(math.exp(x))),
    onnx="Mish",
)
def mish(x: Array) -> Array:
    """Elementwise ``x * tanh(softplus(x))`` (Misra, 2019)."""
    return kernels.activate(x, "mish")


def _is_outside(x: Array, low: float, high: float) -> Array:
    return (x <= low) | (x >= high)


def _is_inside(x: Array, low: float, high: float) -> Array:
    return (x > low) & (x < high)


def _is_above(x: Array, beta: float, threshold: float) -> Array:
    return x * beta > threshold


def _hardtanh_samples(draw: Draw) -> Sample:
    bounds = draw.choice(({}, {"low": -0.75, "high": 0.5}))
    return Sample((draw.distinct(draw.shape()),), bounds)


@op(
    vjp=(lambda g, x, low, high: where(computed(_is_outside, x, low, high), 0.0, g),),
    array_vjp=lambda g, x, low, high: (kernels.activate_backward(g, x, "hardtanh", (low, high)),),
    piecewise=True,
    ignore_fp_errors=True,
    samples=_hardtanh_samples,
    oracle=lambda x, low=-1.0, high=1.0: min(max(x, low), high),
    onnx=lambda o, x, low, high: o.Clip(x, float(low), float(high)),
)
def hardtanh(x: Array, *, low: float = -1.0, high: float = 1.0) -> Array:
    """Elementwise ``min(max(x, low), high)``; the derivative at both is 0."""
    return kernels.activate(x, "hardtanh", (low, high))


def _around_three(draw: Draw) -> Sample:
    return Sample((draw.distinct(draw.shape(), -4, 4) + draw.choice((-3, 3)),))


@op(
    vjp=(lambda g, x: where(computed(_is_inside, x, -3, 3), g / 6.0, 0.0),),
    array_vjp=lambda g, x: (kernels.activate_backward(g, x, "hardsigmoid"),),
    piecewise=True,
    ignore_fp_errors=True,
    samples=_around_three,
    oracle=lambda x: min(max(x + 3, 0.0), 6.0) / 6,
    onnx=lambda o, x: o.HardSigmoid(x, alpha=1 / 6, beta=0.5),
)
def hardsigmoid(x: Array) -> Array:
    """Elementwise ``min(max(x + 3, 0), 6) / 6``; the derivative at -3 and 3 is 0."""
    return kernels.activate(x, "hardsigmoid")


def _hardswish_rule(g: Tensor, x: Tensor) -> Tensor:
    inside = g * (x / 3.0 + 0.5)
    return where(
        computed(np.less_equal, x, -3), 0.0, where(computed(np.greater_equal, x, 3), g, inside)
    )


@op(
    vjp=(_hardswish_rule,),
    array_vjp=lambda g, x: (kernels.activate_backward(g, x, "hardswish"),),
    ignore_fp_errors=True,
    samples=_around_three,
    oracle=lambda x: x * min(max(x + 3, 0.0), 6.0) / 6,
    onnx="HardSwish",
)
def hardswish(x: Array) -> Array:
    """Elementwise ``x * hardsigmoid(x)`` (Howard et al., 2019); derivatives 0 at -3, 1 at 3."""
    return kernels.activate(x, "hardswish")


_CUBIC = 0.044715
_ROOT_2_OVER_PI = math.sqrt(2 / math.pi)
_GELU = {"none": "gelu", "tanh": "gelu_tanh"}


def _gelu_rule(g: Tensor, x: Tensor, approximate: str) -> Tensor:
    if approximate == "tanh":
        if x._value.dtype == np.float16:  # whose range the cube leaves
            x = x.to(np.float32)
        t = tanh(_ROOT_2_OVER_PI * (x + _CUBIC * x * square(x)))
        inner = _ROOT_2_OVER_PI * (1.0 + 3 * _CUBIC * square(x))
        slope = 0.5 * (1.0 + t) + 0.5 * x * (1.0 - square(t)) * inner
    else:
        density = exp(-0.5 * square(x)) * (1 / math.sqrt(2 * math.pi))
        slope = 0.5 * (1.0 + erf(x * math.sqrt(0.5))) + x * density
    result: Tensor = g * slope
    return result


@op(
    vjp=(_gelu_rule,),
    array_vjp=lambda g, x, approximate: (kernels.activate_backward(g, x, _GELU[approximate]),),
    ignore_fp_errors=True,
    samples=lambda draw: Sample(
        (draw.array(draw.shape()),), {"approximate": draw.choice(("none", "tanh"))}
    ),
    onnx=forms.gelu,
)
def gelu(x: Array, *, approximate: str = "none") -> Array:
    """Elementwise ``x * Φ(x)``, Φ the normal distribution's (Hendrycks & Gimpel, 2016).

    ``approximate="tanh"`` uses their formula with tanh.
    """
    if approximate not in _GELU:
        raise ArgumentError(f"gelu: `approximate` is {approximate!r}, expected 'none' or 'tanh'")
    return kernels.activate(x, _GELU[approximate])


def _softplus_rule(g: Tensor, x: Tensor, beta: float, threshold: float) -> Tensor:
    return where(computed(_is_above, x, beta, threshold), g, g * sigmoid(x * beta))


@op(
    vjp=(_softplus_rule,),
    array_vjp=lambda g, x, beta, threshold: (
        kernels.activate_backward(g, x, "softplus", (beta, threshold)),
    ),
    ignore_fp_errors=True,
    samples=lambda draw: Sample((draw.array(draw.shape()),), {"beta": draw.choice((1.0, 2.5))}),
    onnx=forms.softplus,
)
def softplus(x: Array, *, beta: float = 1.0, threshold: float = 20.0) -> Array:
    """Elementwise ``log(1 + exp(beta * x)) / beta``; ``x`` where ``beta * x > threshold``."""
    return kernels.activate(x, "softplus", (beta, threshold))
