"""Activation functions and their gradients: one pass over memory, on vectors, on all threads.

The exponential is reduced to ``2**n * exp(r)`` with ``|r| <= log(2)/2`` (Cody and Waite 1980,
chapter 6), and r's to a polynomial; what else is needed is made of it. Coefficients are fitted by
least squares at Chebyshev's nodes, to relative errors below float32's rounding.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tinygrad_cnn.kernels.jit.compile.build import kernel
from tinygrad_cnn.kernels.jit.compile.entry import run
from tinygrad_cnn.kernels.jit.compile.vector import BYTES, Emitter, Value, instruction
from tinygrad_cnn.kernels.jit.load.images import FLOAT32, dense
from tinygrad_cnn.kernels.jit.pointwise.elementwise import two
from tinygrad_cnn.kernels.memory import empty
from tinygrad_cnn.kernels.threads import shares
from tinygrad_cnn.types import Array

LOG2_HIGH, LOG2_LOW = (
    0.693359375,
    -2.12194440e-4,
)  # the first has so few bits that n times it is exact
LOWEST, HIGHEST = -104.0, 89.0  # exp is 0 below and infinite above
# expm1(r) = r + r**2 * polynomial(r)
EXPONENTIAL = (0.5, 0.16666666719, 0.04166646416, 0.00833329834, 0.00139337332, 0.00019899392)
# atanh(s) = s * polynomial(s**2), for s up to 1/3
INVERSE_TANH = (1.0, 0.33333157968, 0.20012426862, 0.13980709418, 0.14087328631)
# Phi(-x) = exp(-x**2 / 2) * t * polynomial(t), t = 1 / (1 + MILLS * x), for x >= 0: the form of
# Abramowitz and Stegun 1964, 7.1.26
MILLS = 0.3
NORMAL = (
    0.11963246, 0.12070612, 0.10020427, 0.12763927, -0.05202943, 0.2046694, -0.15629815, 0.03547603,
)  # fmt: skip


# Twice what gelu's formula takes tanh of, over x: a polynomial in x**2
TWICE_INNER = (2 * math.sqrt(2 / math.pi), 2 * math.sqrt(2 / math.pi) * 0.044715)
PARAMETERS = 4


class Numbers:
    """The functions of vectors that activations are made of, written by an `Emitter`.

    NaN gives NaN: each choice is by a comparison that is false of it.
    """

    def __init__(self, e: Emitter) -> None:
        self.e, self.b = e, e.builder
        self.one = e.constant(1.0)

    def polynomial(self, x: Value, coefficients: Sequence[float]) -> Value:
        """Return the sum of ``coefficients[i] * x**i``."""
        total = self.e.constant(coefficients[-1])
        for c in coefficients[-2::-1]:
            total = self.e.fma(total, x, self.e.constant(c))
        return total

    def where(self, x: Value, sign: str, y: Value, this: Value, other: Value) -> Value:
        """Return `this` where ``x sign y``, else `other`."""
        return self.b.select(self.b.fcmp_ordered(sign, x, y), this, other)

    def limited(self, x: Value, low: Value, high: Value) -> Value:
        """Return x, `low` where it is not above that, `high` where it is not below."""
        return self.where(x, "<=", low, low, self.where(x, ">=", high, high, x))

    def _reduced(self, x: Value) -> tuple[Value, Value, Value]:
        """Return expm1(r) and powers of two with ``exp(x) = exp(r) * first * second``."""
        b, e = self.b, self.e
        x = self.limited(x, e.constant(LOWEST), e.constant(HIGHEST))
        n = e.nearest(b.fmul(x, e.constant(1 / math.log(2))))
        r = e.fma(n, e.constant(-LOG2_HIGH), x)
        r = e.fma(n, e.constant(-LOG2_LOW), r)
        half = e.nearest(b.fmul(n, e.constant(0.5)))  # 2**n itself may have no float32
        small = e.fma(b.fmul(r, r), self.polynomial(r, EXPONENTIAL), r)
        return small, half, b.fsub(n, half)

    def exp(self, x: Value) -> Value:
        small, first, second = self._reduced(x)
        factor = self.e.power_of_two(first)
        return self.b.fmul(self.e.fma(factor, small, factor), self.e.power_of_two(second))

    def expm1(self, x: Value) -> Value:
        b, e = self.b, self.e
        small, first, second = self._reduced(x)
        factor, less = e.power_of_two(first), e.power_of_two(b.fneg(second))
        return b.fmul(e.fma(factor, small, b.fsub(factor, less)), e.power_of_two(second))

    def sigmoid(self, x: Value) -> Value:
        b = self.b
        small = self.exp(b.fneg(self.e.absolute(x)))  # of what is not positive: never overflows
        above = self.where(x, ">=", self.e.zero, self.one, small)
        return b.fdiv(above, b.fadd(self.one, small))

    def log1p_exp(self, x: Value) -> Value:
        """Return ``log(1 + exp(x))``."""
        b, e = self.b, self.e
        small = self.exp(b.fneg(e.absolute(x)))
        s = b.fdiv(small, b.fadd(small, e.constant(2.0)))  # log1p(small) = 2 atanh(s)
        log = b.fmul(b.fadd(s, s), self.polynomial(b.fmul(s, s), INVERSE_TANH))
        return b.fadd(self.where(x, "<=", e.zero, e.zero, x), log)

    def normal(self, x: Value) -> tuple[Value, Value]:
        """Return the normal distribution function and its density."""
        b, e = self.b, self.e
        bell = self.exp(b.fmul(b.fmul(x, x), e.constant(-0.5)))
        t = b.fdiv(self.one, e.fma(e.absolute(x), e.constant(MILLS), self.one))
        below = b.fmul(b.fmul(bell, t), self.polynomial(t, NORMAL))
        density = b.fmul(bell, e.constant(1 / math.sqrt(2 * math.pi)))
        return self.where(x, ">", e.zero, b.fsub(self.one, below), below), density

    def tanh_softplus(self, x: Value) -> Value:
        """Return ``tanh(log(1 + exp(x)))``: ``n / (n + 2)`` with ``n = exp(x)**2 + 2 exp(x)``."""
        b, e = self.b, self.e
        most = e.constant(20.0)  # where it is 1
        power = self.exp(self.where(x, ">", most, most, x))
        n = b.fmul(power, b.fadd(power, e.constant(2.0)))
        return b.fdiv(n, b.fadd(n, e.constant(2.0)))

    def tanh(self, x: Value) -> Value:
        b, e = self.b, self.e
        size = e.absolute(x)
        grown = self.expm1(
            self.where(size, ">", e.constant(20.0), e.constant(40.0), b.fadd(size, size))
        )
        return e.with_sign(b.fdiv(grown, b.fadd(grown, e.constant(2.0))), x)


Form = Callable[[Numbers, Value, Sequence[Value]], Value]  # of x and parameters
Slope = Callable[[Numbers, Value, Value, Sequence[Value]], Value]  # of g too


def _elu(m: Numbers, x: Value, numbers: Sequence[Value]) -> Value:
    scale, low, inner, _ = numbers
    below = m.b.fmul(low, m.expm1(m.b.fmul(m.where(x, ">", m.e.zero, m.e.zero, x), inner)))
    return m.where(x, ">", m.e.zero, m.b.fmul(x, scale), below)


def _elu_slope(m: Numbers, g: Value, x: Value, numbers: Sequence[Value]) -> Value:
    scale, _, inner, slope = numbers
    below = m.b.fmul(g, m.b.fmul(slope, m.exp(m.b.fmul(x, inner))))
    return m.where(x, "<=", m.e.zero, below, m.b.fmul(g, scale))


def _gelu(m: Numbers, x: Value, numbers: Sequence[Value]) -> Value:
    return m.b.fmul(x, m.normal(x)[0])


def _gelu_slope(m: Numbers, g: Value, x: Value, numbers: Sequence[Value]) -> Value:
    below, density = m.normal(x)
    return m.b.fmul(g, m.e.fma(x, density, below))


def _gelu_tanh(m: Numbers, x: Value, numbers: Sequence[Value]) -> Value:
    inner = m.polynomial(m.b.fmul(x, x), TWICE_INNER)  # (1 + tanh(z)) / 2 is sigmoid(2 z)
    return m.b.fmul(x, m.sigmoid(m.b.fmul(x, inner)))


def _gelu_tanh_slope(m: Numbers, g: Value, x: Value, numbers: Sequence[Value]) -> Value:
    b, square = m.b, m.b.fmul(x, x)
    s = m.sigmoid(b.fmul(x, m.polynomial(square, TWICE_INNER)))
    inner = m.polynomial(square, (TWICE_INNER[0], 3 * TWICE_INNER[1]))
    rise = b.fmul(b.fmul(s, b.fsub(m.one, s)), inner)
    return b.fmul(g, m.e.fma(x, rise, s))


def _mish_slope(m: Numbers, g: Value, x: Value, numbers: Sequence[Value]) -> Value:
    b, t = m.b, m.tanh_softplus(x)
    rise = b.fmul(m.sigmoid(x), b.fsub(m.one, b.fmul(t, t)))
    return b.fmul(g, m.e.fma(x, rise, t))


def _silu_slope(m: Numbers, g: Value, x: Value, numbers: Sequence[Value]) -> Value:
    b, s = m.b, m.sigmoid(x)
    return b.fmul(g, b.fmul(s, m.e.fma(x, b.fsub(m.one, s), m.one)))


def _softplus(m: Numbers, x: Value, numbers: Sequence[Value]) -> Value:
    beta, threshold = numbers[:2]
    z = m.b.fmul(x, beta)
    return m.where(z, ">", threshold, x, m.b.fdiv(m.log1p_exp(z), beta))


def _softplus_slope(m: Numbers, g: Value, x: Value, numbers: Sequence[Value]) -> Value:
    z = m.b.fmul(x, numbers[0])
    return m.where(z, ">", numbers[1], g, m.b.fmul(g, m.sigmoid(z)))


def _hardtanh_slope(m: Numbers, g: Value, x: Value, numbers: Sequence[Value]) -> Value:
    low, high = numbers[:2]
    return m.where(x, "<=", low, m.e.zero, m.where(x, ">=", high, m.e.zero, g))


def _hardsigmoid_slope(m: Numbers, g: Value, x: Value, numbers: Sequence[Value]) -> Value:
    three, rise = m.e.constant(3.0), m.b.fdiv(g, m.e.constant(6.0))
    rise = m.where(x, "<", three, rise, m.e.zero)
    return m.where(x, ">", m.b.fneg(three), rise, m.e.zero)


def _hardsigmoid(m: Numbers, x: Value, numbers: Sequence[Value]) -> Value:
    six = m.e.constant(6.0)
    return m.b.fdiv(m.limited(m.b.fadd(x, m.e.constant(3.0)), m.e.zero, six), six)


def _hardswish(m: Numbers, x: Value, numbers: Sequence[Value]) -> Value:
    six = m.e.constant(6.0)
    gate = m.limited(m.b.fadd(x, m.e.constant(3.0)), m.e.zero, six)
    return m.b.fdiv(m.b.fmul(x, gate), six)


def _hardswish_slope(m: Numbers, g: Value, x: Value, numbers: Sequence[Value]) -> Value:
    b, three = m.b, m.e.constant(3.0)
    rise = b.fmul(g, m.e.fma(x, m.e.constant(1 / 3), m.e.constant(0.5)))
    rise = m.where(x, ">=", three, g, rise)
    return m.where(x, "<=", b.fneg(three), m.e.zero, rise)


FORMS: dict[str, Form] = {
    "elu": _elu,
    "gelu": _gelu,
    "gelu_tanh": _gelu_tanh,
    "hardsigmoid": _hardsigmoid,
    "hardswish": _hardswish,
    "hardtanh": lambda m, x, numbers: m.limited(x, *numbers[:2]),
    "mish": lambda m, x, numbers: m.b.fmul(x, m.tanh_softplus(x)),
    "sigmoid": lambda m, x, numbers: m.sigmoid(x),
    "silu": lambda m, x, numbers: m.b.fmul(x, m.sigmoid(x)),
    "softplus": _softplus,
    "tanh": lambda m, x, numbers: m.tanh(x),
}
SLOPES: dict[str, Slope] = {
    "elu": _elu_slope,
    "gelu": _gelu_slope,
    "gelu_tanh": _gelu_tanh_slope,
    "hardsigmoid": _hardsigmoid_slope,
    "hardswish": _hardswish_slope,
    "hardtanh": _hardtanh_slope,
    "mish": _mish_slope,
    # of the result
    "sigmoid": lambda m, g, y, numbers: m.b.fmul(g, m.b.fmul(y, m.b.fsub(m.one, y))),
    "silu": _silu_slope,
    "softplus": _softplus_slope,
    "tanh": lambda m, g, y, numbers: m.b.fmul(g, m.b.fsub(m.one, m.b.fmul(y, y))),
}


def _entry(name: str, write: Callable[..., Value]) -> Any:
    """Return the kernel that writes ``write(vectors, *, parameters)`` of arrays (count,)."""

    @instruction
    def form(e: Emitter, a: Value, b: Value, numbers: Value, out: Value, count: Value) -> None:
        parameters = [e.spread(at) for at in e.steps(numbers, e.whole(BYTES), PARAMETERS)]
        maths = Numbers(e)

        def block(along: Value, mask: Value) -> None:
            found = write(maths, *[e.load(e.add(at, along), mask) for at in (a, b)], parameters)
            e.store(found, e.add(out, along), mask)

        e.channel_blocks(count, block)

    def share(part: int, parts: int, a: Array, b: Array, numbers: Array, out: Array) -> None:
        first, last = out.size * part // parts, out.size * (part + 1) // parts
        form(
            a.ctypes.data + first * BYTES, b.ctypes.data + first * BYTES, numbers.ctypes.data,
            out.ctypes.data + first * BYTES, last - first,
        )  # fmt: skip

    share.__name__ = share.__qualname__ = f"_{name}"  # by which machine code is kept
    return kernel(entry=True)(share)


def _of_one(form: Form) -> Callable[..., Value]:
    return lambda m, x, _, numbers: form(m, x, numbers)


_FORWARD = {name: _entry(name, _of_one(form)) for name, form in FORMS.items()}
_BACKWARD = {name: _entry(f"{name}_backward", slope) for name, slope in SLOPES.items()}


def _parameters(numbers: tuple[float, ...]) -> Array:
    found = np.zeros(PARAMETERS, FLOAT32)
    found[: len(numbers)] = numbers
    return found


def activate(x: Array, name: str, numbers: tuple[float, ...] = ()) -> Array | None:
    """As `reference.activate`, for dense arrays."""
    found = dense(x)
    if found is None:
        return None
    values, restore = found
    y = empty(values.shape, FLOAT32)
    run(_FORWARD[name], shares(2 * y.nbytes), values, values, _parameters(numbers), y)
    return restore(y)


def activate_backward(
    g: Array, x: Array, name: str, numbers: tuple[float, ...] = ()
) -> Array | None:
    """As `reference.activate_backward`, for a dense x and g in its order, or copied into it."""
    found = None if x.dtype != FLOAT32 else two(x, g)
    if found is None:
        return None
    values, grads, restore = found
    gx = empty(values.shape, FLOAT32)
    run(_BACKWARD[name], shares(3 * gx.nbytes), grads, values, _parameters(numbers), gx)
    return restore(gx)
