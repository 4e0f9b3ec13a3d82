"""Elementwise operations: arithmetic, powers, exponentials, trigonometry, choices between values."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tinygrad_cnn.autograd.op import op
from tinygrad_cnn.autograd.samples import Draw, ErrorSample, Sample, binary, unary
from tinygrad_cnn.autograd.variable import wrap

__all__ = [
    "abs",
    "acos",
    "add",
    "asin",
    "atan",
    "atan2",
    "cast",
    "clamp",
    "clone",
    "cos",
    "cosh",
    "div",
    "erf",
    "exp",
    "exp2",
    "expm1",
    "log",
    "log1p",
    "log2",
    "log10",
    "maximum",
    "minimum",
    "mul",
    "neg",
    "pow",
    "pow_scalar",
    "reciprocal",
    "remainder",
    "round",
    "rsqrt",
    "sign",
    "sin",
    "sinh",
    "sqrt",
    "square",
    "step",
    "sub",
    "tan",
    "tanh",
    "where",
]

Array = np.ndarray[Any, Any]


def raw(x: Any) -> Any:
    """The array of a tensor; a number as it is."""
    return getattr(x, "array", x)


def zeros_like(g: Any) -> Any:
    """Zeros of the shape and dtype of ``g``, as a constant."""
    return wrap(np.zeros_like(g.array))


_NO_BROADCAST = (ErrorSample((np.zeros((2, 3)), np.zeros((4,))), {}, ValueError, "do not broadcast"),)

# ---- arithmetic ----------------------------------------------------------------------------


@op(
    vjp=(lambda g: g, lambda g: g),
    broadcasts=True,
    promotes="common",
    quiet=True,
    samples=binary(),
    errors=_NO_BROADCAST,
)
def add(a: Array, b: Array) -> Array:
    """Elementwise sum ``a + b``."""
    return np.add(a, b)


@op(
    vjp=(lambda g: g, lambda g: -g),
    broadcasts=True,
    promotes="common",
    quiet=True,
    samples=binary(),
    errors=_NO_BROADCAST,
)
def sub(a: Array, b: Array) -> Array:
    """Elementwise difference ``a - b``."""
    return np.subtract(a, b)


@op(
    vjp=(lambda g, b: g * b, lambda g, a: g * a),
    broadcasts=True,
    promotes="common",
    quiet=True,
    samples=binary(),
    errors=_NO_BROADCAST,
)
def mul(a: Array, b: Array) -> Array:
    """Elementwise product ``a * b``."""
    return np.multiply(a, b)


@op(
    vjp=(lambda g, b: g / b, lambda g, a, b: -(g / b) * (a / b)),
    broadcasts=True,
    promotes="float",
    quiet=True,
    samples=lambda draw: Sample(
        (draw.array((s := draw.broadcast_shapes())[0]), draw.distinct(s[1]))
    ),
    errors=_NO_BROADCAST,
)
def div(a: Array, b: Array) -> Array:
    """Elementwise quotient ``a / b``; integers give floats."""
    return np.true_divide(a, b)


@op(
    vjp=(lambda g: g, lambda g, a, b: -g * wrap(np.floor(raw(a) / raw(b)))),
    broadcasts=True,
    promotes="common",
    quiet=True,
    samples=lambda draw: Sample(
        # whole quotients plus 0.3: away from the jumps
        ((b := draw.distinct(draw.shape())) * (draw.integer(-3, 3) + 0.3), b)
    ),
    errors=_NO_BROADCAST,
)
def remainder(a: Array, b: Array) -> Array:
    """Elementwise ``a - b * floor(a / b)``, with the sign of ``b``."""
    return np.remainder(a, b)


@op(vjp=lambda g: -g, samples=unary())
def neg(x: Array) -> Array:
    """Elementwise ``-x``."""
    return np.negative(x)


@op(vjp=lambda g: g, samples=unary())
def clone(x: Array) -> Array:
    """A copy of ``x`` with memory of its own."""
    return x.copy(order="K")


@op(
    vjp=lambda g, dtypes: cast(g, dtype=dtypes[0]),
    quiet=True,
    samples=lambda draw: Sample((draw.array(draw.shape()),), {"dtype": np.dtype(np.float64)}),
)
def cast(x: Array, *, dtype: Any) -> Array:
    """``x`` in another dtype."""
    return x.astype(dtype)


# ---- powers and roots ----------------------------------------------------------------------


def _pow_exponent(g: Any, a: Any, b: Any, y: Any) -> Any:
    # d/db a**b = a**b log(a), which tends to 0 with a for b > 0: there 0 * log(0) is meant as 0.
    safe = where(wrap(raw(a) == 0), 1.0, a)
    return g * y * log(safe)


@op(
    vjp=(lambda g, a, b: g * b * pow(a, b - 1.0), _pow_exponent),
    broadcasts=True,
    promotes="common",
    quiet=True,
    samples=binary(0.3, 2.0),
    errors=_NO_BROADCAST,
)
def pow(a: Array, b: Array) -> Array:
    """Elementwise ``a ** b``."""
    if isinstance(b, np.ndarray) and b.dtype.kind in "iu" and (b < 0).any():
        raise ValueError(f"pow: `b` holds {b.min()} but integers have no negative integer powers")
    return np.power(a, b)


def _whole_power(x: Array, n: int) -> Array:
    """``x ** n`` by squaring: a few products in place of a call to pow() for every element."""
    out: Array | None = None
    base = x
    while True:
        if n & 1:
            out = base if out is None else out * base
        n >>= 1
        if not n:
            return x.copy() if out is x else np.asarray(out)
        base = base * base


def _pow_scalar_rule(g: Any, x: Any, exponent: float) -> Any:
    if exponent == 0:
        return zeros_like(g)
    if exponent == 1:
        return g
    if exponent == 2:
        return g * (2.0 * x)
    return g * (exponent * pow_scalar(x, exponent=exponent - 1))


@op(
    vjp=_pow_scalar_rule,
    quiet=True,
    samples=lambda draw: Sample(
        (draw.array(draw.shape(), 0.3, 2.0),),
        {"exponent": draw.choice((-2, -1, -0.5, 0, 0.5, 1, 1.7, 2, 3, 5))},
    ),
)
def pow_scalar(x: Array, *, exponent: float) -> Array:
    """Elementwise ``x ** exponent`` for one number ``exponent``."""
    if exponent == 0.5:
        return np.sqrt(x)
    if exponent == -1:
        return np.reciprocal(x) if x.dtype.kind == "f" else np.power(x, exponent)
    if 1 <= exponent <= 16 and exponent == int(exponent):
        return _whole_power(x, int(exponent))
    return np.power(x, exponent)


@op(vjp=lambda g, x: g * (2.0 * x), quiet=True, samples=unary())
def square(x: Array) -> Array:
    """Elementwise ``x * x``."""
    return np.square(x)


@op(vjp=lambda g, y: g / (2.0 * y), promotes="float", quiet=True, samples=unary(0.3, 2.0))
def sqrt(x: Array) -> Array:
    """Elementwise square root; NaN below 0."""
    return np.sqrt(x)


@op(vjp=lambda g, y: g * (-0.5 * y * y * y), promotes="float", quiet=True, samples=unary(0.3, 2.0))
def rsqrt(x: Array) -> Array:
    """Elementwise ``1 / sqrt(x)``."""
    return np.reciprocal(np.sqrt(x))


@op(vjp=lambda g, y: -g * y * y, promotes="float", quiet=True, samples=unary(away_from=0))
def reciprocal(x: Array) -> Array:
    """Elementwise ``1 / x``."""
    return np.reciprocal(x)


# ---- exponentials and logarithms -----------------------------------------------------------


@op(vjp=lambda g, y: g * y, promotes="float", quiet=True, samples=unary())
def exp(x: Array) -> Array:
    """Elementwise exponential ``e**x``."""
    return np.exp(x)


@op(vjp=lambda g, y: g * y * math.log(2), promotes="float", quiet=True, samples=unary())
def exp2(x: Array) -> Array:
    """Elementwise ``2**x``."""
    return np.exp2(x)


@op(vjp=lambda g, y: g * (y + 1.0), promotes="float", quiet=True, samples=unary())
def expm1(x: Array) -> Array:
    """Elementwise ``e**x - 1``, accurate near 0."""
    return np.expm1(x)


@op(vjp=lambda g, x: g / x, promotes="float", quiet=True, samples=unary(0.3, 3.0))
def log(x: Array) -> Array:
    """Elementwise natural logarithm; -inf at 0, NaN below."""
    return np.log(x)


@op(vjp=lambda g, x: g / (x * math.log(2)), promotes="float", quiet=True, samples=unary(0.3, 3.0))
def log2(x: Array) -> Array:
    """Elementwise logarithm to base 2."""
    return np.log2(x)


@op(vjp=lambda g, x: g / (x * math.log(10)), promotes="float", quiet=True, samples=unary(0.3, 3.0))
def log10(x: Array) -> Array:
    """Elementwise logarithm to base 10."""
    return np.log10(x)


@op(vjp=lambda g, x: g / (x + 1.0), promotes="float", quiet=True, samples=unary(-0.6, 2.0))
def log1p(x: Array) -> Array:
    """Elementwise ``log(1 + x)``, accurate near 0."""
    return np.log1p(x)


def _erf_rule(g: Any, x: Any) -> Any:
    return g * (2.0 / math.sqrt(math.pi) * exp(-square(x)))


@op(vjp=_erf_rule, promotes="float", samples=unary())
def erf(x: Array) -> Array:
    """Elementwise error function ``2/√π ∫₀ˣ exp(-t²) dt``."""
    from scipy import special  # loading it takes longer than loading all of this package

    return np.asarray(special.erf(x), dtype=x.dtype)


# ---- trigonometry --------------------------------------------------------------------------


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


@op(vjp=lambda g, x: -g * rsqrt(1.0 - x * x), promotes="float", quiet=True, samples=unary(-0.8, 0.8))
def acos(x: Array) -> Array:
    """Elementwise inverse cosine, in radians."""
    return np.arccos(x)


@op(vjp=lambda g, x: g / (1.0 + x * x), promotes="float", quiet=True, samples=unary())
def atan(x: Array) -> Array:
    """Elementwise inverse tangent, in radians."""
    return np.arctan(x)


@op(
    vjp=(
        lambda g, a, b: g * b / (a * a + b * b),
        lambda g, a, b: -g * a / (a * a + b * b),
    ),
    broadcasts=True,
    promotes="float",
    quiet=True,
    samples=binary(0.3, 2.0),
    errors=_NO_BROADCAST,
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


# ---- choices -------------------------------------------------------------------------------


@op(vjp=lambda g, x: g * wrap(np.sign(x.array)), samples=unary(away_from=0))
def abs(x: Array) -> Array:
    """Elementwise absolute value; the derivative at 0 is 0."""
    return np.abs(x)


@op(vjp=zeros_like, samples=unary(away_from=0))
def sign(x: Array) -> Array:
    """Elementwise -1, 0 or 1; its derivative is 0."""
    return np.sign(x)


@op(vjp=zeros_like, samples=lambda draw: Sample((draw.integer(-3, 3) + draw.array(draw.shape(), 0.1, 0.4),), {"kind": draw.choice(("floor", "ceil", "trunc"))}))
def step(x: Array, *, kind: str) -> Array:
    """Elementwise ``floor``, ``ceil`` or ``trunc``; its derivative is 0."""
    return x.copy() if x.dtype.kind in "iub" else np.asarray(getattr(np, kind)(x))


@op(vjp=zeros_like, samples=lambda draw: Sample((draw.integer(-3, 3) + draw.array(draw.shape(), 0.1, 0.4),)))
def round(x: Array, *, decimals: int = 0) -> Array:
    """Elementwise nearest multiple of ``10**-decimals``, half to even; its derivative is 0."""
    return np.round(x, decimals)


def _share(a: Any, b: Any) -> Any:
    """1 where a > b, ½ where they are equal, 0 elsewhere."""
    x, y = raw(a), raw(b)
    dtype = x.dtype if isinstance(x, np.ndarray) else y.dtype
    return wrap((np.greater(x, y) + np.float16(0.5) * np.equal(x, y)).astype(dtype))


@op(
    vjp=(lambda g, a, b: g * _share(a, b), lambda g, a, b: g * _share(b, a)),
    broadcasts=True,
    promotes="common",
    samples=binary(distinct=True),
    errors=_NO_BROADCAST,
)
def maximum(a: Array, b: Array) -> Array:
    """Elementwise larger value (NaN if either is); equal values share the gradient."""
    return np.maximum(a, b)


@op(
    vjp=(lambda g, a, b: g * _share(b, a), lambda g, a, b: g * _share(a, b)),
    broadcasts=True,
    promotes="common",
    samples=binary(distinct=True),
    errors=_NO_BROADCAST,
)
def minimum(a: Array, b: Array) -> Array:
    """Elementwise smaller value (NaN if either is); equal values share the gradient."""
    return np.minimum(a, b)


def _where_samples(draw: Draw) -> Sample:
    c, a, b = draw.broadcast_shapes(3)
    return Sample((draw.array(c) > 0, draw.array(a), draw.array(b)))


@op(
    vjp=(
        None,
        lambda g, condition: where(condition, g, 0.0),
        lambda g, condition: where(condition, 0.0, g),
    ),
    broadcasts=True,
    samples=_where_samples,
)
def where(condition: Array, a: Array, b: Array) -> Array:
    """Elementwise ``a`` where ``condition`` (bool) holds, else ``b``, both of one dtype."""
    return np.where(condition, a, b)


def _clamp_rule(g: Any, x: Any, min: float | None, max: float | None) -> Any:
    inside = np.ones(x.array.shape, np.bool_)
    if min is not None:
        inside &= x.array >= min
    if max is not None:
        inside &= x.array <= max
    return where(wrap(inside), g, 0.0)


def _clamp_samples(draw: Draw) -> Sample:
    bounds = draw.choice(({"min": -0.505}, {"max": 0.505}, {"min": -0.505, "max": 0.755}))
    return Sample((draw.distinct(draw.shape()),), bounds)


@op(vjp=_clamp_rule, samples=_clamp_samples)
def clamp(x: Array, *, min: float | None = None, max: float | None = None) -> Array:
    """Elementwise ``x`` limited to ``[min, max]``; the derivative at a bound is 1."""
    return np.clip(x, min, max)
