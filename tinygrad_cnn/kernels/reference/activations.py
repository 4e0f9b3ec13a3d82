"""Activation functions and their gradients in x, or in the result y where that says more.

Each piece of a piecewise one is chosen by a comparison that is false of NaN.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from tinygrad_cnn.kernels.checks import check_shape
from tinygrad_cnn.types import Array

CUBIC = 0.044715
ROOT_2_OVER_PI = math.sqrt(2 / math.pi)


def _sigmoid(x: Array) -> Any:
    # exp of a non-positive number only: never overflows, and small results stay exact
    right = x.real >= 0
    small = np.exp(np.where(right, -x, x) if x.dtype.kind == "c" else -np.abs(x))
    return np.where(right, 1, small) / (1 + small)


def _softplus(x: Array) -> Array:
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


def _elu(x: Array, scale: float, low: float, inner: float, slope: float) -> Array:
    below = low * np.expm1(np.minimum(x, 0) * inner)
    return np.where(x > 0, x if scale == 1 else x * scale, below)


def _elu_slope(
    g: Array, x: Array, scale: float, low: float, inner: float, slope: float
) -> Array:  # fmt: skip
    below = np.where(x > 0, 0, x * inner)
    return np.where(x <= 0, g * (slope * np.exp(below)), g * scale)


def _normal(x: Array) -> Array:
    from scipy import special

    return np.asarray(special.ndtr(x), x.dtype)


def _gelu_slope(g: Array, x: Array) -> Any:
    density = np.exp(-0.5 * x * x) * (1 / math.sqrt(2 * math.pi))
    return g * (_normal(x) + x * density)


def _gelu_tanh(x: Array) -> Any:
    # (1 + tanh(a)) / 2 = sigmoid(2*a), which cancels nothing where it is small
    return x * _sigmoid(2 * ROOT_2_OVER_PI * (x + CUBIC * x * x * x))


def _gelu_tanh_slope(g: Array, x: Array) -> Any:
    wide = x.astype(np.float32) if x.dtype == np.float16 else x  # whose range the cube leaves
    square = wide * wide
    s = _sigmoid(2 * ROOT_2_OVER_PI * (wide + CUBIC * wide * square))
    inner = ROOT_2_OVER_PI * (1 + 3 * CUBIC * square)
    return g * (s + 2 * wide * s * (1 - s) * inner)


def _silu_slope(g: Array, x: Array) -> Any:
    s = _sigmoid(x)
    return g * np.conj(s * (1 + x * (1 - s)))


def _mish_slope(g: Array, x: Array) -> Any:
    t = np.tanh(_softplus(x))
    return g * (t + x * (1 - t * t) * _sigmoid(x))


def _hardswish_slope(g: Array, x: Array) -> Array:
    return np.where(x <= -3, 0, np.where(x >= 3, g, g * (x / 3 + 0.5)))


FORMS: dict[str, Callable[..., Array]] = {
    "elu": _elu,
    "gelu": lambda x: x * _normal(x),
    "gelu_tanh": _gelu_tanh,
    "hardsigmoid": lambda x: np.clip(x + 3, 0, 6) / 6,
    "hardswish": lambda x: x * np.clip(x + 3, 0, 6) / 6,
    "hardtanh": lambda x, low, high: np.clip(x, low, high),
    "mish": lambda x: x * np.tanh(_softplus(x)),
    "sigmoid": _sigmoid,
    "silu": lambda x: x * _sigmoid(x),
    "softplus": lambda x, beta, threshold: np.where(
        x * beta > threshold, x, _softplus(x * beta) / beta
    ),
    "tanh": np.tanh,
}
SLOPES: dict[str, Callable[..., Array]] = {
    "elu": _elu_slope,
    "gelu": _gelu_slope,
    "gelu_tanh": _gelu_tanh_slope,
    "hardsigmoid": lambda g, x: np.where((x > -3) & (x < 3), g / 6, 0),
    "hardswish": _hardswish_slope,
    "hardtanh": lambda g, x, low, high: np.where((x <= low) | (x >= high), 0, g),
    "mish": _mish_slope,
    "sigmoid": lambda g, y: g * np.conj(y * (1 - y)),
    "silu": _silu_slope,
    "softplus": lambda g, x, beta, threshold: np.where(
        x * beta > threshold, g, g * _sigmoid(x * beta)
    ),
    "tanh": lambda g, y: g * np.conj(1 - y * y),
}


def activate(x: Array, name: str, numbers: tuple[float, ...] = ()) -> Array:
    """Return the activation function `name` of x, with parameters.

    >>> activate(np.array([-4.0, 0.5]), "hardtanh", (-1.0, 1.0))
    array([-1. ,  0.5])
    """
    return np.asarray(FORMS[name](x, *numbers), x.dtype)


def activate_backward(g: Array, x: Array, name: str, numbers: tuple[float, ...] = ()) -> Array:
    """Return the gradient behind `activate`; of sigmoid and tanh x is the result.

    >>> activate_backward(np.array([3.0, 5.0]), np.array([-4.0, 0.5]), "hardtanh", (-1.0, 1.0))
    array([0., 5.])
    """
    check_shape("activate_backward", "g", g.shape, x.shape)
    return np.asarray(SLOPES[name](g, x, *numbers), x.dtype)
