"""Trigonometric and hyperbolic functions."""

# A rule may name its own operation, whose type mypy does not know yet at that place.
# mypy: disable-error-code="has-type"

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_cnn.autograd.registry import op
from tinygrad_cnn.autograd.samples import binary, unary
from tinygrad_cnn.autograd.variable import wrap
from tinygrad_cnn.ops.choice import NO_BROADCAST, where
from tinygrad_cnn.ops.elementwise import rsqrt

__all__ = [
    "acos",
    "asin",
    "atan",
    "atan2",
    "cos",
    "cosh",
    "sin",
    "sinh",
    "tan",
    "tanh",
]

Array = np.ndarray[Any, Any]


@op(vjp=lambda g, x: g * cos(x), promotes="float", quiet=True, samples=unary())
def sin(x: Array) -> Array:
    """Elementwise sine of an angle in radians."""
    return np.sin(x)


@op(vjp=lambda g, x: -g * sin(x), promotes="float", quiet=True, samples=unary())
def cos(x: Array) -> Array:
    """Elementwise cosine of an angle in radians."""
    return np.cos(x)


@op(vjp=lambda g, y: g * (1.0 + y * y), promotes="float", quiet=True, samples=unary(-1.2, 1.2))
def tan(x: Array) -> Array:
    """Elementwise tangent of an angle in radians."""
    return np.tan(x)


@op(vjp=lambda g, x: g * rsqrt(1.0 - x * x), promotes="float", quiet=True, samples=unary(-0.8, 0.8))
def asin(x: Array) -> Array:
    """Elementwise inverse sine, in radians."""
    return np.arcsin(x)


@op(
    vjp=lambda g, x: -g * rsqrt(1.0 - x * x), promotes="float", quiet=True, samples=unary(-0.8, 0.8)
)
def acos(x: Array) -> Array:
    """Elementwise inverse cosine, in radians."""
    return np.arccos(x)


@op(vjp=lambda g, x: g / (1.0 + x * x), promotes="float", quiet=True, samples=unary())
def atan(x: Array) -> Array:
    """Elementwise inverse tangent, in radians."""
    return np.arctan(x)


def _square_distance(a: Any, b: Any) -> Any:
    """``a² + b²``, but 1 at the origin, where the angle's derivative is meant as 0."""
    square = a * a + b * b
    return where(wrap(square._array == 0), 1.0, square)


@op(
    vjp=(
        lambda g, a, b: g * b / _square_distance(a, b),
        lambda g, a, b: -g * a / _square_distance(a, b),
    ),
    broadcasts=True,
    promotes="float",
    quiet=True,
    samples=binary(0.3, 2.0),
    errors=NO_BROADCAST,
)
def atan2(a: Array, b: Array) -> Array:
    """Elementwise angle of the point (x=``b``, y=``a``), in radians."""
    return np.arctan2(a, b)


@op(vjp=lambda g, x: g * cosh(x), promotes="float", quiet=True, samples=unary())
def sinh(x: Array) -> Array:
    """Elementwise hyperbolic sine."""
    return np.sinh(x)


@op(vjp=lambda g, x: g * sinh(x), promotes="float", quiet=True, samples=unary())
def cosh(x: Array) -> Array:
    """Elementwise hyperbolic cosine."""
    return np.cosh(x)


@op(vjp=lambda g, y: g * (1.0 - y * y), promotes="float", samples=unary())
def tanh(x: Array) -> Array:
    """Elementwise hyperbolic tangent."""
    return np.tanh(x)
