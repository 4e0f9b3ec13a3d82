"""Special functions that have derivatives; their values are SciPy's."""

# A rule may name its own operation, whose type mypy does not know yet at that place.
# mypy: disable-error-code="has-type"

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_cnn.autograd.registry import op
from tinygrad_cnn.autograd.samples import Draw, Sample, binary, unary
from tinygrad_cnn.autograd.units import computed
from tinygrad_cnn.errors import ArgumentError
from tinygrad_cnn.ops.choice import NO_BROADCAST, sign, where, zeros_like
from tinygrad_cnn.ops.elementwise import exp, exp2, log, square
from tinygrad_cnn.types import Array

if TYPE_CHECKING:
    from tinygrad_cnn.tensor import Tensor


def scipy_special(name: str, *arrays: Array | float) -> Array:
    """SciPy's function on arrays, in the dtype of the last one."""
    from scipy import special  # loading it takes longer than loading all of this package

    return np.asarray(getattr(special, name)(*arrays), dtype=np.asarray(arrays[-1]).dtype)


# ---- error functions and the normal distribution -------------------------------------------


@op(
    vjp=lambda g, x: g * (exp(-square(x)) * (-2.0 / math.sqrt(math.pi))),
    promotes="float",
    ignore_fp_errors=True,
    samples=unary(),
    oracle=math.erfc,
    onnx=lambda o, x: -o.Erf(x) + 1,
)
def erfc(x: Array) -> Array:
    """Elementwise ``1 - erf(x)``, accurate where it is small."""
    return scipy_special("erfc", x)


@op(
    vjp=lambda g, x, y: g * (2.0 * x * y - 2.0 / math.sqrt(math.pi)),
    promotes="float",
    ignore_fp_errors=True,
    samples=unary(),
    oracle=lambda x: math.exp(x * x) * math.erfc(x),
)
def erfcx(x: Array) -> Array:
    """Elementwise ``exp(x²) erfc(x)``."""
    return scipy_special("erfcx", x)


@op(
    vjp=lambda g, y: g * (exp(square(y)) * (math.sqrt(math.pi) / 2)),
    promotes="float",
    ignore_fp_errors=True,
    samples=unary(-0.8, 0.8),
)
def erfinv(x: Array) -> Array:
    """Elementwise inverse of `erf`; infinite at -1 and 1, NaN beyond."""
    return scipy_special("erfinv", x)


@op(
    vjp=lambda g, y: g * (exp(0.5 * square(y)) * math.sqrt(2 * math.pi)),
    promotes="float",
    ignore_fp_errors=True,
    samples=unary(0.1, 0.9),
)
def ndtri(x: Array) -> Array:
    """Elementwise inverse of the normal distribution function."""
    return scipy_special("ndtri", x)


@op(
    vjp=lambda g, x: g * (math.sqrt(2 / math.pi) / erfcx(x * -math.sqrt(0.5))),
    promotes="float",
    ignore_fp_errors=True,
    samples=unary(),
    oracle=lambda x: math.log(math.erfc(-x * math.sqrt(0.5)) / 2),
)
def log_ndtr(x: Array) -> Array:
    """Elementwise logarithm of the normal distribution function."""
    return scipy_special("log_ndtr", x)


# ---- the gamma function --------------------------------------------------------------------


@op(
    vjp=lambda g, x: g * digamma(x),
    promotes="float",
    ignore_fp_errors=True,
    samples=unary(0.3, 4.0),
    oracle=math.lgamma,
)
def lgamma(x: Array) -> Array:
    """Elementwise logarithm of the absolute value of the gamma function."""
    return scipy_special("gammaln", x)


@op(
    vjp=lambda g, x: g * polygamma(x, n=1),
    promotes="float",
    ignore_fp_errors=True,
    samples=unary(0.3, 4.0),
)
def digamma(x: Array) -> Array:
    """Elementwise derivative of `lgamma`; minus infinity at 0."""
    out = scipy_special("psi", x)
    return np.where(x == 0, -np.copysign(np.asarray(np.inf, x.dtype), x), out)


def _polygamma_samples(draw: Draw) -> Sample:
    return Sample((draw.array(draw.shape(), 0.6, 3.0),), {"n": draw.integer(1, 2)})


@op(
    vjp=lambda g, x, n: g * polygamma(x, n=n + 1),
    promotes="float",
    ignore_fp_errors=True,
    samples=_polygamma_samples,
)
def polygamma(x: Array, *, n: int) -> Array:
    """Elementwise derivative number ``n``, above 0, of `digamma`."""
    if n < 1:
        raise ArgumentError(f"polygamma: `n` is {n}, expected at least 1")
    # (-1)ⁿ⁺¹ n! ζ(n + 1, x) (Abramowitz & Stegun, 6.4.10)
    wide = x.astype(np.float64, copy=False)
    out = (-1.0) ** (n + 1) * math.factorial(n) * scipy_special("zeta", n + 1.0, wide)
    if (wide < 0).any():  # ζ is not defined there: reflection leaves finitely many terms
        out = np.where(wide < 0, _polygamma_below(wide, n), out)
    return np.asarray(out, x.dtype)


def _polygamma_below(x: Array, n: int) -> Array:
    """The recurrence ψₙ(x) = ψₙ(x + k) - (-1)ⁿ n! Σ (x + i)⁻ⁿ⁻¹ up to a positive number."""
    steps = int(np.ceil(-np.min(x, initial=0.0, where=np.isfinite(x)))) + 1
    moved = np.where(x < 0, x + steps, 1.0)
    out = (-1.0) ** (n + 1) * math.factorial(n) * scipy_special("zeta", n + 1.0, moved)
    for i in range(steps):
        out = out - (-1.0) ** n * math.factorial(n) * (x + i) ** (-n - 1)
    return np.asarray(out)


@op(
    vjp=(None, lambda g, a, b: g * exp((a - 1.0) * log(b) - b - lgamma(a))),
    broadcasts=True,
    promotes="float",
    ignore_fp_errors=True,
    samples=binary(0.5, 3.0),
    errors=NO_BROADCAST,
)
def igamma(a: Array, b: Array) -> Array:
    """Elementwise share of the gamma function of ``a`` that lies below ``b``."""
    return scipy_special("gammainc", a, b)


@op(
    vjp=(None, lambda g, a, b: -g * exp((a - 1.0) * log(b) - b - lgamma(a))),
    broadcasts=True,
    promotes="float",
    ignore_fp_errors=True,
    samples=binary(0.5, 3.0),
    errors=NO_BROADCAST,
)
def igammac(a: Array, b: Array) -> Array:
    """Elementwise share of the gamma function of ``a`` that lies above ``b``."""
    return scipy_special("gammaincc", a, b)


# ---- modified Bessel functions -------------------------------------------------------------


def _over_x(values: Tensor, x: Tensor, at_zero: float) -> Tensor:
    """``values / x``, and ``at_zero``, its limit, where ``x`` is 0."""
    zero = computed(np.equal, x, 0)
    return where(zero, at_zero, values / where(zero, at_zero, x))


@op(
    vjp=lambda g, x: g * i1(x),
    promotes="float",
    ignore_fp_errors=True,
    samples=unary(),
)
def i0(x: Array) -> Array:
    """Elementwise modified Bessel function of the first kind and order 0."""
    return scipy_special("i0", x)


@op(
    vjp=lambda g, x, y: g * (i0(x) - _over_x(y, x, 0.5)),
    promotes="float",
    ignore_fp_errors=True,
    samples=unary(away_from=0),
)
def i1(x: Array) -> Array:
    """Elementwise modified Bessel function of the first kind and order 1."""
    return scipy_special("i1", x)


@op(
    vjp=lambda g, x, y: g * (i1e(x) - sign(x) * y),
    promotes="float",
    ignore_fp_errors=True,
    samples=unary(away_from=0),
)
def i0e(x: Array) -> Array:
    """Elementwise ``exp(-|x|) i0(x)``."""
    return scipy_special("i0e", x)


@op(
    vjp=lambda g, x, y: g * (i0e(x) - sign(x) * y - _over_x(y, x, 0.5)),
    promotes="float",
    ignore_fp_errors=True,
    samples=unary(away_from=0),
)
def i1e(x: Array) -> Array:
    """Elementwise ``exp(-|x|) i1(x)``."""
    return scipy_special("i1e", x)


# ---- of two arguments ----------------------------------------------------------------------


def _copysign_rule(g: Tensor, a: Tensor, y: Tensor) -> Tensor:
    turned = where(computed(_signs_differ, a, y), -g, g)
    return where(computed(np.equal, a, 0), 0.0, turned)


def _signs_differ(a: Any, b: Any) -> Array:
    differ: Array = np.signbit(a) != np.signbit(b)
    return differ


@op(
    vjp=(_copysign_rule, lambda g, b: zeros_like(g)),
    broadcasts=True,
    promotes="float",
    ignore_fp_errors=True,
    samples=binary(distinct=True),
    errors=NO_BROADCAST,
    oracle=math.copysign,
)
def copysign(a: Array, b: Array) -> Array:
    """Elementwise ``|a|`` with the sign of ``b``; the derivative at 0 is 0."""
    return np.copysign(a, b)


@op(
    vjp=(lambda g, a, b: g / (1.0 + exp2(b - a)), lambda g, a, b: g / (1.0 + exp2(a - b))),
    broadcasts=True,
    promotes="float",
    ignore_fp_errors=True,
    samples=binary(),
    errors=NO_BROADCAST,
    oracle=lambda a, b: math.log2(2.0**a + 2.0**b),
)
def logaddexp2(a: Array, b: Array) -> Array:
    """Elementwise ``log2(2**a + 2**b)``, without overflow."""
    return np.logaddexp2(a, b)


def _has_pole(a: Any, b: Any, pole: float) -> Array:
    """Whether a logarithm without a value is multiplied by 0."""
    found: Array = np.equal(a, 0) & np.less_equal(b, pole)
    return found


def _xlogy_rule(g: Tensor, a: Tensor, b: Tensor) -> Tensor:
    flat = computed(_has_pole, a, b, 0)
    return xlogy(where(flat, 0.0, g), b)


@op(
    vjp=(_xlogy_rule, lambda g, a, b: g * (a / b)),
    broadcasts=True,
    promotes="float",
    ignore_fp_errors=True,
    samples=binary(0.3, 3.0),
    errors=NO_BROADCAST,
    oracle=lambda a, b: a * math.log(b),
)
def xlogy(a: Array, b: Array) -> Array:
    """Elementwise ``a * log(b)``, 0 where ``a`` is 0 and ``b`` is not NaN."""
    return np.where(np.equal(a, 0) & ~np.isnan(b), np.zeros_like(a), a * np.log(b))


def _xlog1py_rule(g: Tensor, a: Tensor, b: Tensor) -> Tensor:
    flat = computed(_has_pole, a, b, -1)
    return xlog1py(where(flat, 0.0, g), b)


@op(
    vjp=(_xlog1py_rule, lambda g, a, b: g * (a / (b + 1.0))),
    broadcasts=True,
    promotes="float",
    ignore_fp_errors=True,
    samples=binary(-0.6, 2.0),
    errors=NO_BROADCAST,
    oracle=lambda a, b: a * math.log1p(b),
)
def xlog1py(a: Array, b: Array) -> Array:
    """Elementwise ``a * log(1 + b)``, 0 where ``a`` is 0 and ``b`` is not NaN."""
    return np.where(np.equal(a, 0) & ~np.isnan(b), np.zeros_like(a), a * np.log1p(b))
