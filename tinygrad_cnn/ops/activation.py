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
from tinygrad_cnn.autograd.variable import wrap
from tinygrad_cnn.errors import ArgumentError
from tinygrad_cnn.kernels import lazy
from tinygrad_cnn.kernels.lazy import Lazy
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
    vjp=lambda g, y: relu_backward(g, y),
    piecewise=True,
    lazy=("x",),
    samples=unary(away_from=0),
    oracle=lambda x: max(x, 0.0),
)
def relu(x: Array | Lazy) -> Array | Lazy:
    """Elementwise ``max(x, 0)``; the derivative at 0 is 0."""
    return lazy.relu(x)


@op(
    vjp=(lambda g, x, negative_slope: where(wrap(x._array > 0), g, g * negative_slope),),
    ignore_fp_errors=True,
    array_vjp=lambda g, x, negative_slope: (kernels.leaky_relu_backward(x, g, negative_slope),),
    piecewise=True,
    samples=lambda draw: Sample(
        (draw.distinct(draw.shape()),), {"negative_slope": draw.choice((0.01, 0.3, -0.2))}
    ),
    oracle=lambda x, negative_slope: x if x > 0 else negative_slope * x,
)
def leaky_relu(x: Array, *, negative_slope: float = 0.01) -> Array:
    """Elementwise ``x`` if positive, else ``negative_slope * x``."""
    return kernels.leaky_relu(x, negative_slope)


def _elu_rule(g: Tensor, x: Tensor, alpha: float, scale: float, input_scale: float) -> Tensor:
    positive = wrap(~(x._array <= 0))  # and NaN, as in PyTorch
    # Of values that are not negative, zeros, whose second derivative is 0 as in PyTorch.
    below = where(wrap(x._array >= 0), 0.0, x * input_scale)
    return where(positive, g * scale, g * (alpha * scale * input_scale * exp(below)))


def _elu_samples(draw: Draw) -> Sample:
    scales = draw.choice(({}, {"scale": 1.3}, {"input_scale": 0.6}))
    return Sample((draw.distinct(draw.shape()),), {"alpha": draw.choice((1.0, 0.5, 1.7)), **scales})


@op(
    vjp=_elu_rule,
    ignore_fp_errors=True,
    samples=_elu_samples,
    oracle=lambda x, alpha, scale=1.0, input_scale=1.0: (
        scale * (x if x > 0 else alpha * (math.exp(input_scale * x) - 1))
    ),
)
def elu(x: Array, *, alpha: float = 1.0, scale: float = 1.0, input_scale: float = 1.0) -> Array:
    """Elementwise ``scale * x`` if positive, else ``scale * alpha * (exp(input_scale * x) - 1)``.

    Clevert et al., 2015; scaled Klambauer et al., 2017 (selu), and Barron, 2017 (celu).
    """
    below = alpha * scale * np.expm1(np.minimum(x, 0) * input_scale)
    return np.where(x > 0, x if scale == 1 else x * scale, below)


def _sigmoid(x: Array) -> Array:
    # exp of a non-positive number only: never overflows, and small results stay exact
    right = x.real >= 0
    small = np.exp(np.where(right, -x, x) if x.dtype.kind == "c" else -np.abs(x))
    return np.asarray(np.where(right, 1, small) / (1 + small), dtype=x.dtype)


@op(
    complex="whole",
    vjp=lambda g, y: g * conj(y * (1.0 - y)),
    promotes="float",
    ignore_fp_errors=True,
    samples=unary(-4, 4),
)
def sigmoid(x: Array) -> Array:
    """Elementwise ``1 / (1 + exp(-x))``."""
    return _sigmoid(x)


def _silu_rule(g: Tensor, x: Tensor) -> Tensor:
    s = sigmoid(x)
    result: Tensor = g * conj(s * (1.0 + x * (1.0 - s)))
    return result


@op(complex="whole", vjp=_silu_rule, ignore_fp_errors=True, samples=unary(-4, 4))
def silu(x: Array) -> Array:
    """Elementwise ``x * sigmoid(x)`` (Elfwing et al., 2017)."""
    return x * _sigmoid(x)


_CUBIC = 0.044715
_ROOT_2_OVER_PI = math.sqrt(2 / math.pi)


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
    vjp=_gelu_rule,
    ignore_fp_errors=True,
    samples=lambda draw: Sample(
        (draw.array(draw.shape()),), {"approximate": draw.choice(("none", "tanh"))}
    ),
)
def gelu(x: Array, *, approximate: str = "none") -> Array:
    """Elementwise ``x * Φ(x)``, Φ the normal distribution's (Hendrycks & Gimpel, 2016).

    ``approximate="tanh"`` uses their formula with tanh.
    """
    if approximate == "tanh":
        inner = _ROOT_2_OVER_PI * (x + _CUBIC * x * x * x)
        return np.asarray(0.5 * x * (1 + np.tanh(inner)), dtype=x.dtype)
    if approximate != "none":
        raise ArgumentError(f"gelu: `approximate` is {approximate!r}, expected 'none' or 'tanh'")
    return np.asarray(0.5 * x * (1 + erf.forward(x * math.sqrt(0.5))), dtype=x.dtype)


def _softplus_rule(g: Tensor, x: Tensor, beta: float, threshold: float) -> Tensor:
    return where(wrap(x._array * beta > threshold), g, g * sigmoid(x * beta))


@op(
    vjp=_softplus_rule,
    ignore_fp_errors=True,
    samples=lambda draw: Sample((draw.array(draw.shape()),), {"beta": draw.choice((1.0, 2.5))}),
)
def softplus(x: Array, *, beta: float = 1.0, threshold: float = 20.0) -> Array:
    """Elementwise ``log(1 + exp(beta * x)) / beta``; ``x`` where ``beta * x > threshold``."""
    z = x * beta
    smooth = (np.maximum(z, 0) + np.log1p(np.exp(-np.abs(z)))) / beta
    return np.asarray(np.where(z > threshold, x, smooth), dtype=x.dtype)
