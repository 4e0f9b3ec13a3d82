"""exp and what is made of it, for float32 numbers or vectors of them, without branches.

x = n*log(2) + r, a polynomial for exp(r) - 1 on |r| <= log(2)/2, and 2**n made of bits (Muller et
al., "Handbook of Floating-Point Arithmetic", 2018, section 10.2). LLVM makes vectors of loops that
call `exp32`, `sigmoid32` and `tanh32`, as it cannot of the C library's functions; other kernels
write the formulas for an `Arithmetic` on vectors.

Each function states its error: units in the last place of a result that is a normal number, on
processors with a fused multiply-add, over numbers of all exponents
(``tests/kernels/test_jit_exponential.py``). Other results are within 4e-45. 0, infinity and NaN are
what they are in NumPy, with their signs.
"""

from __future__ import annotations

import math

from tinygrad_cnn.kernels.jit.compile.vector import Arithmetic, Value, number_instruction

LARGEST, SMALLEST = 89.0, -104.0  # exp of them is infinite, and 0
LOG2_HIGH, LOG2_LOW = 0.693359375, -2.12194440e-4  # log(2); few bits, so that n*high is exact
# (exp(r) - 1 - r) / r**2 (Moshier, Cephes library, expf.c)
EXPONENTIAL = (
    5.0000001201e-1, 1.6666665459e-1, 4.1665795894e-2, 8.3334519073e-3, 1.3981999507e-3,
    1.9875691500e-4,
)  # fmt: skip
# atanh(s) = s * polynomial(s**2), for s up to 1/3; least squares at Chebyshev's nodes
INVERSE_TANH = (1.0, 0.33333157968, 0.20012426862, 0.13980709418, 0.14087328631)
# Phi(-x) = exp(-x**2 / 2) * t * polynomial(t), t = 1 / (1 + MILLS * x), for x >= 0: the form of
# Abramowitz and Stegun 1964, 7.1.26; least squares at Chebyshev's nodes
MILLS = 0.35
NORMAL = (
    0.1396214, 0.139861909, 0.119832552, 0.105509281, -0.0231129301, 0.159178763, -0.255718347,
    0.143973702, -0.0291463461,
)  # fmt: skip


def _reduced(e: Arithmetic, x: Value, rest: Value = None) -> tuple[Value, Value]:
    """Return ``exp(r) - 1`` and the whole number n of ``x + rest = n*log(2) + r``."""
    n, whole = e.nearest(x, 1 / math.log(2))
    r = e.fma(n, e.constant(-LOG2_HIGH), x)
    r = e.fma(n, e.constant(-LOG2_LOW), r)
    r = r if rest is None else e.builder.fadd(r, rest)
    return e.fma(e.polynomial(r, EXPONENTIAL), e.builder.fmul(r, r), r), whole


def _exp(e: Arithmetic, x: Value, rest: Value = None) -> Value:
    """Return ``exp(x + rest)``, for a rest that x is too large to hold."""
    x = e.at_least(e.at_most(x, LARGEST), SMALLEST)
    less_one, whole = _reduced(e, x, rest)
    first, second = map(e.power_of_two, e.half(whole))  # 2**n alone may not be a normal number
    return e.builder.fmul(e.fma(less_one, first, first), second)


def exp(e: Arithmetic, x: Value) -> Value:
    """Return exp(x): 1.1 units."""
    return _exp(e, x)


def expm1(e: Arithmetic, x: Value) -> Value:
    """Return ``exp(x) - 1``: 1.5 units."""
    b = e.builder
    less_one, whole = _reduced(e, e.at_least(e.at_most(x, LARGEST), SMALLEST))
    half, rest = e.half(whole)
    first, second = e.power_of_two(half), e.power_of_two(rest)
    one = e.power_of_two(b.neg(rest))  # times second it is 1
    return e.with_sign(b.fmul(e.fma(less_one, first, b.fsub(first, one)), second), x)


def sigmoid(e: Arithmetic, x: Value) -> Value:
    """Return ``1 / (1 + exp(-x))``, small numbers too, where x is far below 0: 2.5 units."""
    small = exp(e, e.builder.fneg(e.absolute(x)))
    above = e.where(x, ">=", e.zero, e.one, small)
    return e.builder.fdiv(above, e.builder.fadd(e.one, small))


def tanh(e: Arithmetic, x: Value) -> Value:
    """Return tanh(x), which is ``-t / (2 + t)`` for ``t = exp(-2*|x|) - 1``, with the sign of x:
    2.5 units.
    """
    b = e.builder
    twice = e.at_least(b.fmul(e.absolute(x), e.constant(-2.0)), -40.0)
    less_one, whole = _reduced(e, twice)
    scale = e.power_of_two(whole)
    t = e.fma(less_one, scale, b.fsub(scale, e.one))
    return e.with_sign(b.fdiv(t, b.fadd(t, e.constant(2.0))), x)


def log1p_exp(e: Arithmetic, x: Value) -> Value:
    """Return ``log(1 + exp(x))``: 4 units."""
    b = e.builder
    small = exp(e, b.fneg(e.absolute(x)))
    s = b.fdiv(small, b.fadd(small, e.constant(2.0)))  # log1p(small) = 2 atanh(s)
    log = b.fmul(b.fadd(s, s), e.polynomial(b.fmul(s, s), INVERSE_TANH))
    return b.fadd(e.where(x, "<=", e.zero, e.zero, x), log)


def tanh_softplus(e: Arithmetic, x: Value) -> Value:
    """Return ``tanh(log(1 + exp(x)))``, n / (n + 2) for n = exp(x)**2 + 2*exp(x): 4.5 units."""
    b, two = e.builder, e.constant(2.0)
    power = exp(e, e.at_most(x, 20.0))  # where it is 1
    n = b.fmul(power, b.fadd(power, two))
    return b.fdiv(n, b.fadd(n, two))


def normal(e: Arithmetic, x: Value) -> tuple[Value, Value]:
    """Return the normal distribution function and its density: 6 units."""
    b = e.builder
    size = e.at_most(e.absolute(x), 20.0)  # where both are 0
    half = b.fmul(size, e.constant(-0.5))
    power = b.fmul(half, size)
    bell = _exp(e, power, e.fma(half, size, b.fneg(power)))  # with the square's rounding error
    t = b.fdiv(e.one, e.fma(size, e.constant(MILLS), e.one))
    below = b.fmul(b.fmul(bell, t), e.polynomial(t, NORMAL))
    density = b.fmul(bell, e.constant(1 / math.sqrt(2 * math.pi)))
    return e.where(x, ">", e.zero, b.fsub(e.one, below), below), density


exp32, sigmoid32, tanh32 = map(number_instruction, (exp, sigmoid, tanh))
