"""Trigonometric and hyperbolic functions."""

# A rule may name its own operation, whose type mypy does not know yet at that place.
# mypy: disable-error-code="has-type"

from __future__ import annotations

import cmath
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_cnn import kernels
from tinygrad_cnn.autograd.registry import op
from tinygrad_cnn.autograd.samples import binary, unary
from tinygrad_cnn.autograd.units import computed
from tinygrad_cnn.ops import forms
from tinygrad_cnn.ops.choice import NO_BROADCAST, where
from tinygrad_cnn.ops.conjugate import conj, is_complex
from tinygrad_cnn.ops.elementwise import rsqrt
from tinygrad_cnn.types import Array

if TYPE_CHECKING:
    from tinygrad_cnn.tensor import Tensor


@op(
    complex="whole",
    vjp=lambda g, x: g * conj(cos(x)),
    promotes="float",
    ignore_fp_errors=True,
    samples=unary(),
    oracle=cmath.sin,
    onnx="Sin",
)
def sin(x: Array) -> Array:
    """Elementwise sine of an angle in radians."""
    return np.sin(x)


@op(
    complex="whole",
    vjp=lambda g, x: -g * conj(sin(x)),
    promotes="float",
    ignore_fp_errors=True,
    samples=unary(),
    oracle=cmath.cos,
    onnx="Cos",
)
def cos(x: Array) -> Array:
    """Elementwise cosine of an angle in radians."""
    return np.cos(x)


@op(
    complex="whole",
    vjp=lambda g, y: g * conj(1.0 + y * y),
    promotes="float",
    ignore_fp_errors=True,
    samples=unary(-1.2, 1.2),
    oracle=cmath.tan,
    onnx="Tan",
)
def tan(x: Array) -> Array:
    """Elementwise tangent of an angle in radians."""
    return np.tan(x)


@op(
    complex="whole",
    vjp=lambda g, x: g * conj(rsqrt(1.0 - x * x)),
    promotes="float",
    ignore_fp_errors=True,
    samples=unary(-0.8, 0.8),
    oracle=cmath.asin,
    onnx="Asin",
)
def asin(x: Array) -> Array:
    """Elementwise inverse sine, in radians."""
    return np.arcsin(x)


@op(
    complex="whole",
    vjp=lambda g, x: -g * conj(rsqrt(1.0 - x * x)),
    promotes="float",
    ignore_fp_errors=True,
    samples=unary(-0.8, 0.8),
    oracle=cmath.acos,
    onnx="Acos",
)
def acos(x: Array) -> Array:
    """Elementwise inverse cosine, in radians."""
    return np.arccos(x)


@op(
    complex="whole",
    vjp=lambda g, x: g / conj(1.0 + x * x),
    promotes="float",
    ignore_fp_errors=True,
    samples=unary(),
    oracle=cmath.atan,
    onnx="Atan",
)
def atan(x: Array) -> Array:
    """Elementwise inverse tangent, in radians."""
    return np.arctan(x)


@op(
    complex="whole",
    vjp=lambda g, x: g * conj(rsqrt(1.0 + x * x)),
    promotes="float",
    ignore_fp_errors=True,
    samples=unary(),
    oracle=cmath.asinh,
    onnx="Asinh",
)
def asinh(x: Array) -> Array:
    """Elementwise inverse hyperbolic sine."""
    return np.arcsinh(x)


def _acosh_rule(g: Tensor, x: Tensor) -> Tensor:
    if is_complex(x):  # each root has its branch cut; sums take -0j for 0j there, as in PyTorch
        slope = rsqrt(x + 1.0) * rsqrt(x + (-1.0))
    else:
        slope = rsqrt(x * x - 1.0)
    result: Tensor = g * conj(slope)
    return result


@op(
    complex="whole",
    vjp=_acosh_rule,
    promotes="float",
    ignore_fp_errors=True,
    samples=unary(1.3, 3.0),
    oracle=cmath.acosh,
    onnx="Acosh",
)
def acosh(x: Array) -> Array:
    """Elementwise inverse hyperbolic cosine; of real numbers NaN below 1."""
    return np.arccosh(x)


@op(
    complex="whole",
    vjp=lambda g, x: g / conj(1.0 - x * x),
    promotes="float",
    ignore_fp_errors=True,
    samples=unary(-0.8, 0.8),
    oracle=cmath.atanh,
    onnx="Atanh",
)
def atanh(x: Array) -> Array:
    """Elementwise inverse hyperbolic tangent; infinite at -1 and 1."""
    return np.arctanh(x)


@op(
    vjp=(lambda g, a, y: g * (a / y), lambda g, b, y: g * (b / y)),
    broadcasts=True,
    promotes="common",
    ignore_fp_errors=True,
    samples=binary(distinct=True),
    errors=NO_BROADCAST,
    oracle=math.hypot,
    onnx=lambda o, a, b: o.Sqrt(a * a + b * b),
)
def hypot(a: Array, b: Array) -> Array:
    """Elementwise ``sqrt(a² + b²)``, without overflow."""
    return np.hypot(a, b)


def _square_distance(a: Tensor, b: Tensor) -> Tensor:
    """``a² + b²``, but 1 at the origin, where the angle's derivative is meant as 0."""
    square = a * a + b * b
    return where(computed(np.equal, square, 0), 1.0, square)


@op(
    vjp=(
        lambda g, a, b: g * b / _square_distance(a, b),
        lambda g, a, b: -g * a / _square_distance(a, b),
    ),
    broadcasts=True,
    promotes="float",
    ignore_fp_errors=True,
    samples=binary(0.3, 2.0),
    errors=NO_BROADCAST,
    oracle=math.atan2,
)
def atan2(a: Array, b: Array) -> Array:
    """Elementwise angle of the point (x=``b``, y=``a``), in radians."""
    return np.arctan2(a, b)


# Of sinc's slope near 0: the coefficients of its series in (pi*x)**2, the highest power first.
_SINC_SERIES = [(-1) ** k * 2 * k / math.factorial(2 * k + 1) for k in range(10, 0, -1)]
_NEAR = 0.5


def _is_near(x: Array) -> Array:
    return np.abs(x) < _NEAR


def _sinc_slope(x: Tensor) -> Tensor:
    """``(cos(pi*x) - sinc(x)) / x``; near 0, where it cancels, by its series."""
    u = math.pi**2 * x * x
    series: Any = 0.0
    for coefficient in _SINC_SERIES:
        series = series * u + coefficient
    near = computed(_is_near, x)
    far = where(near, _NEAR, x)
    return where(near, math.pi**2 * x * series, (cos(math.pi * far) - sinc(far)) / far)


@op(
    complex="whole",
    vjp=lambda g, x: g * conj(_sinc_slope(x)),
    promotes="float",
    ignore_fp_errors=True,
    samples=unary(-2.0, 2.0),
    oracle=lambda x: cmath.sin(math.pi * x) / (math.pi * x) if x else 1.0,
    onnx=forms.sinc,
)
def sinc(x: Array) -> Array:
    """Elementwise ``sin(pi*x) / (pi*x)``, 1 at 0."""
    angle = np.pi * x
    return np.where(angle == 0, np.ones_like(angle), np.sin(angle) / angle)


@op(
    complex="whole",
    vjp=lambda g, x: g * conj(cosh(x)),
    promotes="float",
    ignore_fp_errors=True,
    samples=unary(),
    oracle=cmath.sinh,
    onnx="Sinh",
)
def sinh(x: Array) -> Array:
    """Elementwise hyperbolic sine."""
    return np.sinh(x)


@op(
    complex="whole",
    vjp=lambda g, x: g * conj(sinh(x)),
    promotes="float",
    ignore_fp_errors=True,
    samples=unary(),
    oracle=cmath.cosh,
    onnx="Cosh",
)
def cosh(x: Array) -> Array:
    """Elementwise hyperbolic cosine."""
    return np.cosh(x)


@op(
    complex="whole",
    vjp=(lambda g, y: g * conj(1.0 - y * y),),
    array_vjp=lambda g, y: (kernels.activate_backward(g, y, "tanh"),),
    promotes="float",
    samples=unary(),
    oracle=cmath.tanh,
    onnx="Tanh",
)
def tanh(x: Array) -> Array:
    """Elementwise hyperbolic tangent."""
    return kernels.activate(x, "tanh")
