"""Elementwise functions. What needs no arguments beside the tensor is the operation itself."""

# Operations and `wrap` are typed Any: the class Tensor is made of them, further up.
# mypy: disable-error-code="no-any-return"

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_cnn.autograd import promotion
from tinygrad_cnn.autograd.variable import Variable, wrap
from tinygrad_cnn.errors import ArgumentError, DtypeError, ShapeError
from tinygrad_cnn.functions.convert import dtype_of, operand, to_tensor, unary
from tinygrad_cnn.ops import choice
from tinygrad_cnn.ops import elementwise as ops
from tinygrad_cnn.ops import trigonometry as trig

if TYPE_CHECKING:
    from tinygrad_cnn.tensor import Tensor

__all__ = [
    "abs",
    "acos",
    "add",
    "addcdiv",
    "addcmul",
    "asin",
    "atan",
    "atan2",
    "ceil",
    "clamp",
    "clamp_max",
    "clamp_min",
    "clone",
    "cos",
    "cosh",
    "div",
    "erf",
    "exp",
    "exp2",
    "expm1",
    "floor",
    "floor_divide",
    "fmod",
    "frac",
    "lerp",
    "log",
    "log1p",
    "log2",
    "log10",
    "logaddexp",
    "masked_fill",
    "maximum",
    "minimum",
    "mul",
    "nan_to_num",
    "neg",
    "pow",
    "reciprocal",
    "remainder",
    "round",
    "rsqrt",
    "rsub",
    "sign",
    "sin",
    "sinh",
    "sqrt",
    "square",
    "sub",
    "tan",
    "tanh",
    "to",
    "trunc",
    "where",
]


abs = unary(choice.abs)
acos = unary(trig.acos)
asin = unary(trig.asin)
atan = unary(trig.atan)
clone = unary(ops.clone)
cos = unary(trig.cos)
cosh = unary(trig.cosh)
erf = unary(ops.erf)
exp = unary(ops.exp)
exp2 = unary(ops.exp2)
expm1 = unary(ops.expm1)
log = unary(ops.log)
log1p = unary(ops.log1p)
log2 = unary(ops.log2)
log10 = unary(ops.log10)
neg = unary(ops.neg)
reciprocal = unary(ops.reciprocal)
rsqrt = unary(ops.rsqrt)
sign = unary(choice.sign)
sin = unary(trig.sin)
sinh = unary(trig.sinh)
sqrt = unary(ops.sqrt)
square = unary(ops.square)
tan = unary(trig.tan)
tanh = unary(trig.tanh)


def _two(x: Any, other: Any) -> tuple[Any, Any]:
    """Two operands, at least one of which is a tensor or an array."""
    a, b = operand(x), operand(other)
    if isinstance(a, (bool, int, float)) and isinstance(b, (bool, int, float)):
        a = to_tensor(a)
    return a, b


def _times(name: str, a: Any, b: Any, alpha: Any) -> Any:
    """``b * alpha``, where a sum with ``a`` is to have the dtype that it has without alpha."""
    alpha = operand(alpha)
    if alpha == 1:
        return b
    dtype = promotion.common_dtype([getattr(v, "_value", v) for v in (a, b)])
    if dtype.kind != "f" and isinstance(alpha, float):
        raise DtypeError(f"{name}: `alpha` is {alpha}, expected an integer for operands of {dtype}")
    scaled = b * alpha if isinstance(b, (bool, int, float)) else ops.mul(b, alpha)
    return to(scaled, dtype) if dtype.kind == "b" else scaled


def _bool_kind(v: Any) -> bool:
    if isinstance(v, Variable):
        v = v._array
    return v.dtype.kind == "b" if isinstance(v, np.ndarray) else isinstance(v, bool)


def add(input: Any, other: Any, *, alpha: float = 1) -> Tensor:
    """``input + alpha * other``, broadcasting.

    >>> import tinygrad_cnn as tg
    >>> tg.add(tg.tensor([1.0, 2.0]), tg.tensor([10.0, 20.0]), alpha=2)
    tensor([21., 42.])
    """
    a, b = _two(input, other)
    return ops.add(a, _times("add", a, b, alpha))


def sub(input: Any, other: Any, *, alpha: float = 1) -> Tensor:
    """``input - alpha * other``, broadcasting; bools are refused as in NumPy and PyTorch."""
    a, b = _two(input, other)
    if _bool_kind(a) or _bool_kind(b):
        raise DtypeError("sub: an operand is bool; use ^ or logical_not()")
    return ops.sub(a, _times("sub", a, b, alpha))


def rsub(input: Any, other: Any, *, alpha: float = 1) -> Tensor:
    """``other - alpha * input``."""
    return sub(other, input, alpha=alpha)


def mul(input: Any, other: Any) -> Tensor:
    """``input * other``, broadcasting."""
    return ops.mul(*_two(input, other))


def div(input: Any, other: Any, *, rounding_mode: str | None = None) -> Tensor:
    """``input / other``, broadcasting; integers give floats unless rounded.

    ``rounding_mode`` is None, ``"floor"`` or ``"trunc"``.
    """
    if rounding_mode is None:
        return ops.div(*_two(input, other))
    if rounding_mode not in ("floor", "trunc"):
        raise ArgumentError(
            f"div: `rounding_mode` is {rounding_mode!r}, expected None, 'floor' or 'trunc'"
        )
    if rounding_mode == "floor":
        return floor_divide(input, other)
    a, b = _two(input, other)
    dtype = promotion.common_dtype([getattr(v, "array", v) for v in (a, b)])
    if dtype.kind == "f":
        return trunc(ops.div(a, b))
    down = floor_divide(a, b)._array
    inexact = down * choice.raw(b) != choice.raw(a)
    return wrap((down + (inexact & (down < 0))).astype(dtype))


def floor_divide(input: Any, other: Any) -> Tensor:
    """``floor(input / other)`` in the operands' common dtype; its derivative is 0."""
    a, b = _two(input, other)
    if _bool_kind(a) and _bool_kind(b):
        raise DtypeError("floor_divide: both operands are bool, expected numbers")
    return ops.floor_divide(a, b)


def remainder(input: Any, other: Any) -> Tensor:
    """``input - other * floor(input / other)``, with the sign of ``other``."""
    return ops.remainder(*_two(input, other))


def fmod(input: Any, other: Any) -> Tensor:
    """``input - other * trunc(input / other)``, with the sign of ``input``."""
    return ops.fmod(*_two(input, other))


def pow(input: Any, exponent: Any) -> Tensor:
    """``input ** exponent``, broadcasting.

    >>> import tinygrad_cnn as tg
    >>> tg.pow(tg.tensor([1.0, 2.0, 3.0]), 2)
    tensor([1., 4., 9.])
    """
    exponent = operand(exponent)
    if isinstance(exponent, (bool, int, float)) and not isinstance(input, (bool, int, float)):
        base = to_tensor(input)
        kind = base._value.dtype.kind
        if kind == "f" and not (exponent == 2):
            return ops.pow_scalar(base, exponent=float(exponent))
        if exponent == 2 and (kind == "f" or (kind in "iu" and isinstance(exponent, int))):
            return ops.square(base)
        if kind in "iu" and isinstance(exponent, int) and exponent < 0:
            raise ArgumentError(f"pow: `exponent` is {exponent}, but integers have no such power")
    return ops.pow(*_two(input, exponent))


def atan2(input: Any, other: Any) -> Tensor:
    """Angle in radians of the points (``other``, ``input``)."""
    return trig.atan2(*_two(input, other))


def maximum(input: Any, other: Any) -> Tensor:
    """Elementwise larger value; equal values share the gradient."""
    return choice.maximum(*_two(input, other))


def minimum(input: Any, other: Any) -> Tensor:
    """Elementwise smaller value; equal values share the gradient."""
    return choice.minimum(*_two(input, other))


def where(condition: Any, input: Any = None, other: Any = None) -> Any:
    """``input`` where ``condition`` holds, else ``other``, broadcasting.

    With ``condition`` alone: the indices where it holds, as ``nonzero(as_tuple=True)``.

    >>> import tinygrad_cnn as tg
    >>> x = tg.tensor([-1.0, 2.0])
    >>> tg.where(x > 0, x, 0.0)
    tensor([0., 2.])
    """
    condition = to_tensor(condition)
    if input is None and other is None:
        return tuple(wrap(i) for i in np.nonzero(condition._array))
    if condition._value.dtype.kind != "b":
        raise DtypeError(f"where: `condition` has dtype {condition.dtype}, expected bool")
    a, b = operand(input), operand(other)
    dtype = promotion.common_dtype([getattr(v, "array", v) for v in (a, b)])
    return choice.where(condition, to(a, dtype), to(b, dtype))


def masked_fill(input: Any, mask: Any, value: Any) -> Tensor:
    """``input`` with ``value`` (a number) where ``mask`` (bool, broadcast) holds."""
    x = to_tensor(input)
    mask = to_tensor(mask)
    if mask._value.dtype.kind != "b":
        raise DtypeError(f"masked_fill: `mask` has dtype {mask.dtype}, expected bool")
    if np.ndim(choice.raw(value)):
        raise ShapeError(f"masked_fill: `value` has shape {np.shape(value)}, expected a number")
    return choice.where(mask, to(value, x._value.dtype), x)


def clamp(input: Any, min: Any = None, max: Any = None) -> Tensor:
    """``input`` limited from below by ``min`` and from above by ``max`` (numbers or tensors)."""
    x = to_tensor(input)
    if min is None and max is None:
        raise ArgumentError("clamp: at least one of `min` and `max` must be given")
    numbers = (bool, int, float, type(None))
    if isinstance(min, numbers) and isinstance(max, numbers):
        if x._value.dtype.kind != "f" and any(isinstance(v, float) for v in (min, max)):
            x = to(x, promotion.get_default_dtype())
        if min is not None and max is not None and min > max:
            min = max
        return choice.clamp(x, min=min, max=max)
    if min is not None:
        x = where(_beyond(np.less, x, min), min, x)
    if max is not None:
        x = where(_beyond(np.greater, x, max), max, x)
    return x


def _beyond(than: Any, x: Tensor, bound: Any) -> Tensor:
    """Where ``bound`` takes the place of ``x``: a NaN does so too."""
    limit = choice.raw(operand(bound))
    try:
        return wrap(than(x._array, limit) | np.isnan(limit))
    except ValueError:
        shapes = f"{x.shape} and {np.shape(limit)}"
        raise ShapeError(f"clamp: shapes {shapes} do not broadcast") from None


def clamp_min(input: Any, min: Any) -> Tensor:
    """``input`` limited from below."""
    return clamp(input, min=min)


def clamp_max(input: Any, max: Any) -> Tensor:
    """``input`` limited from above."""
    return clamp(input, max=max)


def floor(input: Any) -> Tensor:
    """Largest integer not above ``input``; its derivative is 0."""
    return choice.step(to_tensor(input), kind="floor")


def ceil(input: Any) -> Tensor:
    """Smallest integer not below ``input``; its derivative is 0."""
    return choice.step(to_tensor(input), kind="ceil")


def trunc(input: Any) -> Tensor:
    """The integer next to ``input`` towards 0; its derivative is 0."""
    return choice.step(to_tensor(input), kind="trunc")


def frac(input: Any) -> Tensor:
    """``input - trunc(input)``."""
    return sub(input, trunc(input))


def round(input: Any, *, decimals: int = 0) -> Tensor:
    """Nearest multiple of ``10**-decimals``, half to even; its derivative is 0."""
    return choice.round(to_tensor(input), decimals=decimals)


def lerp(input: Any, end: Any, weight: Any) -> Tensor:
    """``input + weight * (end - input)``."""
    return add(input, mul(sub(end, input), weight))


def addcmul(input: Any, tensor1: Any, tensor2: Any, *, value: float = 1) -> Tensor:
    """``input + value * tensor1 * tensor2``."""
    return add(input, mul(tensor1, tensor2), alpha=value)


def addcdiv(input: Any, tensor1: Any, tensor2: Any, *, value: float = 1) -> Tensor:
    """``input + value * tensor1 / tensor2``."""
    return add(input, div(tensor1, tensor2), alpha=value)


def logaddexp(input: Any, other: Any) -> Tensor:
    """``log(exp(input) + exp(other))``, without overflow."""
    return ops.logaddexp(*_two(input, other))


def nan_to_num(
    input: Any, nan: float = 0.0, posinf: float | None = None, neginf: float | None = None
) -> Tensor:
    """``input`` with NaN, inf and -inf replaced (by 0 and the dtype's extreme numbers)."""
    x = to_tensor(input)
    if x._value.dtype.kind != "f":
        return clone(x)
    limits = np.finfo(x._value.dtype)
    high = float(limits.max) if posinf is None else posinf
    low = float(limits.min) if neginf is None else neginf
    out = where(wrap(np.isnan(x._array)), nan, x)
    out = where(wrap(x._array == math.inf), high, out)
    return where(wrap(x._array == -math.inf), low, out)


def to(input: Any, dtype: Any = None, *, copy: bool = False) -> Tensor:
    """``input`` in another dtype: ``input`` itself if it has it already (unless ``copy``).

    ``dtype`` may also be another tensor, whose dtype is taken, or the device ``"cpu"``.
    """
    if isinstance(dtype, Variable):
        dtype = dtype._value.dtype
    if dtype is None or (isinstance(dtype, str) and dtype == "cpu"):
        x = to_tensor(input)
        return clone(x) if copy else x
    wanted = dtype_of(dtype, "to")
    x = to_tensor(input, wanted)
    if wanted == x._value.dtype:
        return clone(x) if copy else x
    return ops.cast(x, dtype=wanted)
