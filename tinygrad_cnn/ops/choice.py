"""Choices between values, and functions that are constant between jumps."""

# A rule may name its own operation, whose type mypy does not know yet at that place.
# mypy: disable-error-code="has-type"

from __future__ import annotations

import builtins
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_cnn.autograd.registry import op
from tinygrad_cnn.autograd.samples import Draw, ErrorSample, Sample, binary, unary
from tinygrad_cnn.autograd.units import computed
from tinygrad_cnn.autograd.variable import wrap
from tinygrad_cnn.kernels.tape import made
from tinygrad_cnn.ops import forms
from tinygrad_cnn.ops.conjugate import is_complex
from tinygrad_cnn.types import Array

if TYPE_CHECKING:
    from tinygrad_cnn.tensor import Tensor


def raw(x: Any) -> Any:
    """The array of a tensor; a number as it is."""
    return getattr(x, "array", x)


def zeros_like(g: Tensor) -> Tensor:
    """Zeros of the shape and dtype of ``g``, as a constant."""
    return wrap(made(np.zeros_like(g._given)))


NO_BROADCAST = (
    ErrorSample((np.zeros((2, 3)), np.zeros((4,))), {}, ValueError, "do not broadcast"),
)


def _sign(x: Array) -> Array:
    return x.copy() if x.dtype.kind == "b" else np.subtract(x > 0, x < 0, dtype=x.dtype)


def _abs_rule(g: Any, x: Any) -> Any:
    if is_complex(x):
        from tinygrad_cnn.ops.complex import sgn  # made of operations that need this file

        return g * sgn(x)
    return g * computed(_sign, x)


@op(
    complex="whole",
    vjp=_abs_rule,
    piecewise=True,
    samples=unary(away_from=0),
    oracle=builtins.abs,
    onnx="Abs",
)
def abs(x: Array) -> Array:
    """Elementwise absolute value; the derivative at 0 is 0."""
    return np.abs(x)


@op(
    vjp=zeros_like,
    samples=unary(away_from=0),
    oracle=lambda x: math.copysign(1.0, x) if x else 0.0,
    onnx=forms.sign,
)
def sign(x: Array) -> Array:
    """Elementwise -1, 0 (of NaN too) or 1; its derivative is 0."""
    return _sign(x)


@op(
    vjp=zeros_like,
    samples=lambda draw: Sample(
        (draw.integer(-3, 3) + draw.array(draw.shape(), 0.1, 0.4),),
        {"kind": draw.choice(("floor", "ceil", "trunc"))},
    ),
    oracle=lambda x, kind: getattr(math, kind)(x),
    onnx=forms.step,
)
def step(x: Array, *, kind: str) -> Array:
    """Elementwise ``floor``, ``ceil`` or ``trunc``; its derivative is 0."""
    return x.copy() if x.dtype.kind in "iub" else np.asarray(getattr(np, kind)(x))


@op(
    vjp=zeros_like,
    samples=lambda draw: Sample((draw.integer(-3, 3) + draw.array(draw.shape(), 0.1, 0.4),)),
    oracle=lambda x, decimals=0: builtins.round(x, decimals),
    onnx=forms.round,
)
def round(x: Array, *, decimals: int = 0) -> Array:
    """Elementwise nearest multiple of ``10**-decimals``, half to even; its derivative is 0."""
    return x.copy() if x.dtype.kind == "b" else np.round(x, decimals)


def _share(a: Tensor, b: Tensor) -> Tensor:
    """1 where a > b, ½ where they are equal, 0 where a < b; 1 where either is NaN, as PyTorch."""
    return computed(_shares, a, b)


def _shares(x: Any, y: Any) -> Array:
    dtype = x.dtype if isinstance(x, np.ndarray) else y.dtype
    share: Array = (~np.less(x, y) - np.float16(0.5) * np.equal(x, y)).astype(dtype)
    return share


@op(
    vjp=(lambda g, a, b: g * _share(a, b), lambda g, a, b: g * _share(b, a)),
    broadcasts=True,
    promotes="common",
    samples=binary(distinct=True),
    errors=NO_BROADCAST,
    oracle=max,
    onnx="Max",
)
def maximum(a: Array, b: Array) -> Array:
    """Elementwise larger value (NaN if either is); equal values share the gradient."""
    return np.maximum(a, b)


@op(
    vjp=(lambda g, a, b: g * _share(b, a), lambda g, a, b: g * _share(a, b)),
    broadcasts=True,
    promotes="common",
    samples=binary(distinct=True),
    errors=NO_BROADCAST,
    oracle=min,
    onnx="Min",
)
def minimum(a: Array, b: Array) -> Array:
    """Elementwise smaller value (NaN if either is); equal values share the gradient."""
    return np.minimum(a, b)


@op(
    complex="parts",
    vjp=lambda g: g,
    view=True,
    piecewise=True,
    samples=unary(),
    oracle=lambda x: x,
    onnx=lambda o, x: x,
)
def pieces(x: Array) -> Array:
    """``x`` itself, at the beginning of a composition that is linear in pieces."""
    return x.view()


def _where_samples(draw: Draw) -> Sample:
    c, a, b = draw.broadcast_shapes(3)
    return Sample((draw.array(c) > 0, draw.array(a), draw.array(b)))


@op(
    complex="parts",
    vjp=(
        None,
        lambda g, condition: where(condition, g, 0.0),
        lambda g, condition: where(condition, 0.0, g),
    ),
    broadcasts=True,
    samples=_where_samples,
    onnx="Where",
)
def where(condition: Array, a: Array, b: Array) -> Array:
    """Elementwise ``a`` where ``condition`` (bool) holds, else ``b``, both of one dtype."""
    return np.where(condition, a, b)


def _clamp_rule(g: Tensor, x: Tensor, min: float | None, max: float | None) -> Tensor:
    return where(computed(_inside, x, min, max), g, 0.0)


def _inside(x: Array, min: float | None, max: float | None) -> Array:
    inside = np.ones(x.shape, np.bool_)
    if min is not None:
        inside &= x >= min
    if max is not None:
        inside &= x <= max
    return inside


def _clamp_samples(draw: Draw) -> Sample:
    bounds = draw.choice(({"min": -0.505}, {"max": 0.505}, {"min": -0.505, "max": 0.755}))
    return Sample((draw.distinct(draw.shape()),), bounds)


@op(
    vjp=_clamp_rule,
    samples=_clamp_samples,
    onnx=forms.clamp,
)
def clamp(x: Array, *, min: float | None = None, max: float | None = None) -> Array:
    """Elementwise ``x`` limited to ``[min, max]``; the derivative at a bound is 1."""
    return np.clip(x, min, max)
