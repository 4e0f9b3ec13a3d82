"""Activation functions and their gradients: one pass over memory, on vectors, on all threads."""

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
from tinygrad_cnn.kernels.jit.pointwise.exponential import (
    exp,
    expm1,
    log1p_exp,
    normal,
    sigmoid,
    tanh,
    tanh_softplus,
)
from tinygrad_cnn.kernels.memory import empty
from tinygrad_cnn.kernels.tape import fixed
from tinygrad_cnn.kernels.threads import shares
from tinygrad_cnn.types import Array

# Twice what gelu's formula takes tanh of, over x: a polynomial in x**2
TWICE_INNER = (2 * math.sqrt(2 / math.pi), 2 * math.sqrt(2 / math.pi) * 0.044715)
PARAMETERS = 4

Form = Callable[[Emitter, Value, Sequence[Value]], Value]  # of x and parameters
Slope = Callable[[Emitter, Value, Value, Sequence[Value]], Value]  # of g too


def _elu(e: Emitter, x: Value, numbers: Sequence[Value]) -> Value:
    scale, low, inner, _ = numbers
    below = e.builder.fmul(low, expm1(e, e.builder.fmul(e.where(x, ">", e.zero, e.zero, x), inner)))
    return e.where(x, ">", e.zero, e.builder.fmul(x, scale), below)


def _elu_slope(e: Emitter, g: Value, x: Value, numbers: Sequence[Value]) -> Value:
    scale, _, inner, slope = numbers
    below = e.builder.fmul(g, e.builder.fmul(slope, exp(e, e.builder.fmul(x, inner))))
    return e.where(x, "<=", e.zero, below, e.builder.fmul(g, scale))


def _gelu(e: Emitter, x: Value, numbers: Sequence[Value]) -> Value:
    return e.builder.fmul(x, normal(e, x)[0])


def _gelu_slope(e: Emitter, g: Value, x: Value, numbers: Sequence[Value]) -> Value:
    below, density = normal(e, x)
    return e.builder.fmul(g, e.fma(x, density, below))


def _gelu_tanh(e: Emitter, x: Value, numbers: Sequence[Value]) -> Value:
    inner = e.polynomial(e.builder.fmul(x, x), TWICE_INNER)  # (1 + tanh(z)) / 2 is sigmoid(2 z)
    return e.builder.fmul(x, sigmoid(e, e.builder.fmul(x, inner)))


def _gelu_tanh_slope(e: Emitter, g: Value, x: Value, numbers: Sequence[Value]) -> Value:
    b, square = e.builder, e.builder.fmul(x, x)
    s = sigmoid(e, b.fmul(x, e.polynomial(square, TWICE_INNER)))
    inner = e.polynomial(square, (TWICE_INNER[0], 3 * TWICE_INNER[1]))
    rise = b.fmul(b.fmul(s, b.fsub(e.one, s)), inner)
    return b.fmul(g, e.fma(x, rise, s))


def _mish_slope(e: Emitter, g: Value, x: Value, numbers: Sequence[Value]) -> Value:
    b, t = e.builder, tanh_softplus(e, x)
    rise = b.fmul(sigmoid(e, x), b.fsub(e.one, b.fmul(t, t)))
    return b.fmul(g, e.fma(x, rise, t))


def _sigmoid_slope(e: Emitter, g: Value, y: Value, numbers: Sequence[Value]) -> Value:
    b = e.builder  # of the result y, as that of tanh
    return b.fmul(g, b.fmul(y, b.fsub(e.one, y)))


def _tanh_slope(e: Emitter, g: Value, y: Value, numbers: Sequence[Value]) -> Value:
    b = e.builder
    return b.fmul(g, b.fsub(e.one, b.fmul(y, y)))


def _silu_slope(e: Emitter, g: Value, x: Value, numbers: Sequence[Value]) -> Value:
    b, s = e.builder, sigmoid(e, x)
    return b.fmul(g, b.fmul(s, e.fma(x, b.fsub(e.one, s), e.one)))


def _softplus(e: Emitter, x: Value, numbers: Sequence[Value]) -> Value:
    beta, threshold = numbers[:2]
    z = e.builder.fmul(x, beta)
    return e.where(z, ">", threshold, x, e.builder.fdiv(log1p_exp(e, z), beta))


def _softplus_slope(e: Emitter, g: Value, x: Value, numbers: Sequence[Value]) -> Value:
    z = e.builder.fmul(x, numbers[0])
    return e.where(z, ">", numbers[1], g, e.builder.fmul(g, sigmoid(e, z)))


def _hardtanh_slope(e: Emitter, g: Value, x: Value, numbers: Sequence[Value]) -> Value:
    low, high = numbers[:2]
    return e.where(x, "<=", low, e.zero, e.where(x, ">=", high, e.zero, g))


def _hardsigmoid_slope(e: Emitter, g: Value, x: Value, numbers: Sequence[Value]) -> Value:
    three, rise = e.constant(3.0), e.builder.fdiv(g, e.constant(6.0))
    rise = e.where(x, "<", three, rise, e.zero)
    return e.where(x, ">", e.builder.fneg(three), rise, e.zero)


def _hardsigmoid(e: Emitter, x: Value, numbers: Sequence[Value]) -> Value:
    six = e.constant(6.0)
    return e.builder.fdiv(e.limited(e.builder.fadd(x, e.constant(3.0)), e.zero, six), six)


def _hardswish(e: Emitter, x: Value, numbers: Sequence[Value]) -> Value:
    six = e.constant(6.0)
    gate = e.limited(e.builder.fadd(x, e.constant(3.0)), e.zero, six)
    return e.builder.fdiv(e.builder.fmul(x, gate), six)


def _hardswish_slope(e: Emitter, g: Value, x: Value, numbers: Sequence[Value]) -> Value:
    b, three = e.builder, e.constant(3.0)
    rise = b.fmul(g, e.fma(x, e.constant(1 / 3), e.constant(0.5)))
    rise = e.where(x, ">=", three, g, rise)
    return e.where(x, "<=", b.fneg(three), e.zero, rise)


FORMS: dict[str, Form] = {
    "elu": _elu,
    "gelu": _gelu,
    "gelu_tanh": _gelu_tanh,
    "hardsigmoid": _hardsigmoid,
    "hardswish": _hardswish,
    "hardtanh": lambda e, x, numbers: e.limited(x, *numbers[:2]),
    "mish": lambda e, x, numbers: e.builder.fmul(x, tanh_softplus(e, x)),
    "sigmoid": lambda e, x, numbers: sigmoid(e, x),
    "silu": lambda e, x, numbers: e.builder.fmul(x, sigmoid(e, x)),
    "softplus": _softplus,
    "tanh": lambda e, x, numbers: tanh(e, x),
}
SLOPES: dict[str, Slope] = {
    "elu": _elu_slope,
    "gelu": _gelu_slope,
    "gelu_tanh": _gelu_tanh_slope,
    "hardsigmoid": _hardsigmoid_slope,
    "hardswish": _hardswish_slope,
    "hardtanh": _hardtanh_slope,
    "mish": _mish_slope,
    "sigmoid": _sigmoid_slope,
    "silu": _silu_slope,
    "softplus": _softplus_slope,
    "tanh": _tanh_slope,
}


def entry_of(name: str, write: Callable[..., Value]) -> Any:
    """Return the kernel that writes ``write(vectors, *, parameters)`` of arrays (count,)."""

    @instruction
    def form(e: Emitter, a: Value, b: Value, numbers: Value, out: Value, count: Value) -> None:
        parameters = [e.spread(at) for at in e.steps(numbers, e.whole(BYTES), PARAMETERS)]

        def block(along: Value, mask: Value) -> None:
            found = write(e, *[e.load(e.add(at, along), mask) for at in (a, b)], parameters)
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
    return lambda e, x, _, numbers: form(e, x, numbers)


_FORWARD = {name: entry_of(name, _of_one(form)) for name, form in FORMS.items()}
_BACKWARD = {name: entry_of(f"{name}_backward", slope) for name, slope in SLOPES.items()}


def _parameters(numbers: tuple[float, ...]) -> Array:
    found = np.zeros(PARAMETERS, FLOAT32)
    found[: len(numbers)] = numbers
    return fixed(found)


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
