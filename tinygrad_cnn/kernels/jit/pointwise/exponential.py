"""exp, tanh and the logistic function of float32 numbers, for the loops of compiled kernels.

LLVM has no vectors of the C library's. These are without branches, so that it makes vectors of
them: x = n*log(2) + r, a polynomial for exp(r) - 1 on |r| <= log(2)/2, and 2**n made of bits
(Muller et al., "Handbook of Floating-Point Arithmetic", 2018, section 10.2). Errors, over numbers
of all exponents (``tests/kernels/test_jit_softmax.py``): where the result is a normal number
`exp32` is within 1.5 units in the last place, `sigmoid32` and `tanh32` within 2.5; 0, infinity and
NaN are what they are in NumPy.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from tinygrad_cnn.kernels.jit.compile.vector import Value, number_instruction

if TYPE_CHECKING:
    from tinygrad_cnn.kernels.jit.compile.emitter import Numbers
else:
    Numbers = Any  # importing it would import LLVM

LARGEST = 89.0  # exp of it is infinite
SMALLEST = -104.0  # exp of it is 0
LOG2_HIGH, LOG2_LOW = 0.693359375, -2.12194440e-4  # log(2); few bits, so that n*high is exact
# (exp(r) - 1 - r) / r**2 (Moshier, Cephes library, expf.c)
POLYNOMIAL = (
    1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1,
    5.0000001201e-1,
)  # fmt: skip


def _reduced(e: Numbers, x: Value) -> tuple[Value, Value]:
    """Return ``exp(r) - 1`` and the whole number n of ``x = n*log(2) + r``."""
    n, whole = e.nearest(x, 1 / math.log(2))
    r = e.fma(n, e.constant(-LOG2_HIGH), x)
    r = e.fma(n, e.constant(-LOG2_LOW), r)
    return e.fma(e.polynomial(r, POLYNOMIAL), e.builder.fmul(r, r), r), whole


def _exp(e: Numbers, x: Value) -> Value:
    x = e.at_least(e.at_most(x, LARGEST), SMALLEST)
    less_one, whole = _reduced(e, x)
    first, second = map(e.power_of_two, e.half(whole))  # 2**n alone may not be a normal number
    product = e.builder.fmul(e.builder.fadd(less_one, e.constant(1.0)), first)
    return e.builder.fmul(product, second)


@number_instruction
def exp32(e: Numbers, x: Value) -> Value:
    """Return exp(x)."""
    return _exp(e, x)


@number_instruction
def sigmoid32(e: Numbers, x: Value) -> Value:
    """Return ``1 / (1 + exp(-x))``, small numbers too, where x is far below 0."""
    small = _exp(e, e.builder.fneg(e.absolute(x)))
    one = e.constant(1.0)
    above = e.builder.fcmp_ordered(">=", x, e.constant(0.0))
    return e.builder.fdiv(e.builder.select(above, one, small), e.builder.fadd(one, small))


@number_instruction
def tanh32(e: Numbers, x: Value) -> Value:
    """Return tanh(x), which is ``-t / (2 + t)`` for ``t = exp(-2*|x|) - 1``, with the sign of x."""
    twice = e.at_least(e.builder.fmul(e.absolute(x), e.constant(-2.0)), -40.0)
    less_one, whole = _reduced(e, twice)
    scale = e.power_of_two(whole)
    t = e.fma(less_one, scale, e.builder.fsub(scale, e.constant(1.0)))
    size = e.builder.fdiv(e.builder.fneg(t), e.builder.fadd(t, e.constant(2.0)))
    return e.with_sign(size, x)
