"""Elementwise functions. What needs no arguments beside the tensor is the operation itself."""

from __future__ import annotations

import math
import numbers
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_cnn.autograd import promotion
from tinygrad_cnn.autograd.layout import memory_format, order_of
from tinygrad_cnn.autograd.rounding import limits_of
from tinygrad_cnn.autograd.units import computed
from tinygrad_cnn.autograd.variable import Variable, wrap
from tinygrad_cnn.errors import ArgumentError, DtypeError
from tinygrad_cnn.functions.convert import (
    broadcast_shape,
    dtype_of,
    older_call,
    operand,
    to_tensor,
    unary,
)
from tinygrad_cnn.functions.export import export
from tinygrad_cnn.functions.written import number
from tinygrad_cnn.kernels.tape import do
from tinygrad_cnn.ops import choice
from tinygrad_cnn.ops import elementwise as ops
from tinygrad_cnn.ops import trigonometry as trig
from tinygrad_cnn.types import FLOATING, INEXACT, Array, DType, DTypeLike, TensorLike

if TYPE_CHECKING:
    from tinygrad_cnn.tensor import Tensor

abs = unary(choice.abs, "absolute", inplace=True, numpy=(np.absolute, np.fabs))
acos = unary(trig.acos, "arccos", inplace=True, numpy=np.arccos)
acosh = unary(trig.acosh, "arccosh", inplace=True, numpy=np.arccosh)
asin = unary(trig.asin, "arcsin", inplace=True, numpy=np.arcsin)
asinh = unary(trig.asinh, "arcsinh", inplace=True, numpy=np.arcsinh)
atan = unary(trig.atan, "arctan", inplace=True, numpy=np.arctan)
atanh = unary(trig.atanh, "arctanh", inplace=True, numpy=np.arctanh)
cos = unary(trig.cos, inplace=True, numpy=np.cos)
cosh = unary(trig.cosh, inplace=True, numpy=np.cosh)
erf = unary(ops.erf, inplace=True)
exp = unary(ops.exp, inplace=True, numpy=np.exp)
exp2 = unary(ops.exp2, inplace=True, numpy=np.exp2)
expm1 = unary(ops.expm1, inplace=True, numpy=np.expm1)
log = unary(ops.log, inplace=True, numpy=np.log)
log1p = unary(ops.log1p, inplace=True, numpy=np.log1p)
log2 = unary(ops.log2, inplace=True, numpy=np.log2)
log10 = unary(ops.log10, inplace=True, numpy=np.log10)
neg = unary(ops.neg, "negative", inplace=True, numpy=np.negative)
reciprocal = unary(ops.reciprocal, inplace=True, numpy=np.reciprocal)
rsqrt = unary(ops.rsqrt, inplace=True)
sign = unary(choice.sign, inplace=True, numpy=np.sign)
sin = unary(trig.sin, inplace=True, numpy=np.sin)
sinc = unary(trig.sinc, inplace=True, numpy=np.sinc)
sinh = unary(trig.sinh, inplace=True, numpy=np.sinh)
sqrt = unary(ops.sqrt, inplace=True, numpy=np.sqrt)
square = unary(ops.square, inplace=True, numpy=np.square)
tan = unary(trig.tan, inplace=True, numpy=np.tan)
tanh = unary(trig.tanh, inplace=True, nn=True, numpy=np.tanh)


def _two(x: TensorLike, other: TensorLike) -> tuple[Any, Any]:
    """Two operands, at least one of which is a tensor or an array."""
    a, b = operand(x), operand(other)
    if isinstance(a, (bool, int, float)) and isinstance(b, (bool, int, float)):
        a = to_tensor(a)
    return a, b


def _times(name: str, a: Any, b: Any, alpha: float) -> Any:
    """``b * alpha``, where a sum with ``a`` is to have the dtype that it has without alpha."""
    factor = operand(alpha)
    if factor == 1 and type(factor) is int:
        return b
    dtype = promotion.common_dtype([getattr(v, "_value", v) for v in (a, b)])
    if dtype.kind not in INEXACT and isinstance(factor, float):
        raise DtypeError(f"{name}: `alpha` is {factor}, expected an integer for {dtype}")
    if dtype.kind != "b" and isinstance(factor, bool):
        raise DtypeError(f"{name}: `alpha` is {factor}, expected a number for {dtype}")
    scaled = b * factor if isinstance(b, (bool, int, float, complex)) else ops.mul(b, factor)
    return to(scaled, dtype) if dtype.kind == "b" else scaled


def _bool_kind(v: Any) -> bool:
    if isinstance(v, Variable):
        return bool(v._value.dtype.kind == "b")
    return v.dtype.kind == "b" if isinstance(v, np.ndarray) else isinstance(v, bool)


@export(numpy=np.positive)
def clone(input: TensorLike, *, memory_format: memory_format | None = None) -> Tensor:
    """A copy of ``input`` in memory of its own.

    It lies there as ``input`` does, or in row-major order with a ``memory_format`` of
    ``contiguous_format``; others change nothing.
    """
    out: Tensor = ops.clone(to_tensor(input))
    if order_of(memory_format) == "C":
        out._value = do(np.ascontiguousarray, out._given)
    return out


@export(numpy=np.add)
def add(input: TensorLike, other: TensorLike, *, alpha: float = 1) -> Tensor:
    """``input + alpha * other``, broadcasting.

    >>> import tinygrad_cnn as tg
    >>> tg.add(tg.tensor([1.0, 2.0]), tg.tensor([10.0, 20.0]), alpha=2)
    tensor([21., 42.])
    """
    a, b = _two(input, other)
    return ops.add(a, _times("add", a, b, alpha))


@export("subtract", inplace=True, numpy=np.subtract)
def sub(input: TensorLike, other: TensorLike, *, alpha: float = 1) -> Tensor:
    """``input - alpha * other``, broadcasting; bools are refused as in NumPy and PyTorch."""
    a, b = _two(input, other)
    if _bool_kind(a) or _bool_kind(b):
        name = "input" if _bool_kind(a) else "other"
        raise DtypeError(
            f"sub: `{name}` is bool, expected numbers; use ^ or logical_not() for bools"
        )
    return ops.sub(a, _times("sub", a, b, alpha))


@export(method=False)
def rsub(input: TensorLike, other: TensorLike, *, alpha: float = 1) -> Tensor:
    """``other - alpha * input``."""
    return sub(other, input, alpha=alpha)


@export("multiply", inplace=True, numpy=np.multiply)
def mul(input: TensorLike, other: TensorLike) -> Tensor:
    """``input * other``, broadcasting."""
    return ops.mul(*_two(input, other))


@export("divide", "true_divide", inplace=True, numpy=np.divide)
def div(input: TensorLike, other: TensorLike, *, rounding_mode: str | None = None) -> Tensor:
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
    dtype = promotion.common_dtype([v._value if isinstance(v, Variable) else v for v in (a, b)])
    if dtype.kind in FLOATING:
        return trunc(ops.div(a, b))
    return computed(_towards_zero, floor_divide(a, b), a, b, dtype)


def _towards_zero(down: Array, a: Any, b: Any, dtype: DType) -> Array:
    """The quotients of integers, by those that are rounded down."""
    inexact = np.not_equal(np.multiply(down, b), a)
    quotients: Array = (down + (inexact & (down < 0))).astype(dtype)
    return quotients


@export(inplace=True, numpy=np.floor_divide)
def floor_divide(input: TensorLike, other: TensorLike) -> Tensor:
    """``floor(input / other)`` in the operands' common dtype; its derivative is 0."""
    a, b = _two(input, other)
    if _bool_kind(a) and _bool_kind(b):
        raise DtypeError("floor_divide: both operands are bool, expected numbers")
    return ops.floor_divide(a, b)


@export(inplace=True, numpy=np.remainder)
def remainder(input: TensorLike, other: TensorLike) -> Tensor:
    """``input - other * floor(input / other)``, with the sign of ``other``."""
    return ops.remainder(*_two(input, other))


@export(inplace=True, numpy=np.fmod)
def fmod(input: TensorLike, other: TensorLike) -> Tensor:
    """``input - other * trunc(input / other)``, with the sign of ``input``."""
    return ops.fmod(*_two(input, other))


@export(inplace=True, numpy=np.power)
def pow(input: TensorLike, exponent: TensorLike) -> Tensor:
    """``input ** exponent``, broadcasting.

    >>> import tinygrad_cnn as tg
    >>> tg.pow(tg.tensor([1.0, 2.0, 3.0]), 2)
    tensor([1., 4., 9.])
    """
    exponent = operand(exponent)
    if isinstance(exponent, (bool, int, float)) and not isinstance(input, (bool, int, float)):
        base = to_tensor(input)
        kind = base._value.dtype.kind
        if kind in FLOATING and not (exponent == 2):
            return ops.pow_scalar(base, exponent=float(exponent))
        if exponent == 2 and (kind in FLOATING or (kind in "iu" and isinstance(exponent, int))):
            return ops.square(base)
        if kind in "iu" and isinstance(exponent, int) and exponent < 0:
            raise ArgumentError(f"pow: `exponent` is {exponent}, but integers have no such power")
    return ops.pow(*_two(input, exponent))


@export("arctan2", inplace=True, numpy=np.arctan2)
def atan2(input: TensorLike, other: TensorLike) -> Tensor:
    """Angle in radians of the points (``other``, ``input``)."""
    return trig.atan2(*_two(input, other))


@export(inplace=True, numpy=np.hypot)
def hypot(input: TensorLike, other: TensorLike) -> Tensor:
    """``sqrt(input² + other²)``, without overflow.

    >>> import tinygrad_cnn as tg
    >>> tg.hypot(tg.tensor(3.0), tg.tensor(4.0))
    tensor(5.)
    """
    return trig.hypot(*_two(input, other))


@export(numpy=np.maximum)
def maximum(input: TensorLike, other: TensorLike) -> Tensor:
    """Elementwise larger value; equal values share the gradient."""
    return choice.maximum(*_two(input, other))


@export(numpy=np.minimum)
def minimum(input: TensorLike, other: TensorLike) -> Tensor:
    """Elementwise smaller value; equal values share the gradient."""
    return choice.minimum(*_two(input, other))


@export(numpy=np.fmax)
def fmax(input: TensorLike, other: TensorLike) -> Tensor:
    """Elementwise larger value, or the one that is not NaN; of equal ones the first."""
    return _better("fmax", np.greater_equal, input, other)


@export(numpy=np.fmin)
def fmin(input: TensorLike, other: TensorLike) -> Tensor:
    """Elementwise smaller value, or the one that is not NaN; of equal ones the first."""
    return _better("fmin", np.less_equal, input, other)


def _better(name: str, than: np.ufunc, input: TensorLike, other: TensorLike) -> Tensor:
    a, b = to_tensor(input), to_tensor(other)
    broadcast_shape(name, a, b)
    for x in (a, b):
        if x._value.dtype.kind == "c":
            raise DtypeError(f"{name}: {x.dtype} has no order, expected a real dtype")
    result: Tensor = where(computed(_holds, than, a, b), a, b)
    return result


def _holds(than: np.ufunc, a: Any, b: Any) -> Array:
    """Where ``than(a, b)`` holds, or ``b`` is NaN."""
    found: Array = than(a, b) | np.isnan(b)
    return found


@export(method=False)
def where(condition: TensorLike, input: Any = None, other: Any = None) -> Any:
    """``input`` where ``condition`` holds, else ``other``, broadcasting.

    With ``condition`` alone: the indices where it holds, as ``nonzero(as_tuple=True)``.

    >>> import tinygrad_cnn as tg
    >>> x = tg.tensor([-1.0, 2.0])
    >>> tg.where(x > 0, x, 0.0)
    tensor([0., 2.])
    """
    condition = to_tensor(condition)
    if input is None and other is None:
        return tuple(wrap(i) for i in np.nonzero(np.atleast_1d(condition._array)))
    if condition._value.dtype == np.uint8:  # as in PyTorch, which warns
        condition = to(condition, np.bool_)
    if condition._value.dtype.kind != "b":
        raise DtypeError(f"where: `condition` has dtype {condition.dtype}, expected bool")
    a, b = operand(input), operand(other)
    dtype = promotion.common_dtype([v._value if isinstance(v, Variable) else v for v in (a, b)])
    return choice.where(condition, to(a, dtype), to(b, dtype))


@export(inplace=True)
def masked_fill(input: TensorLike, mask: TensorLike, value: TensorLike) -> Tensor:
    """``input`` with ``value`` (a number) where ``mask`` (bool, broadcast) holds."""
    x = to_tensor(input)
    mask = to_tensor(mask)
    if mask._value.dtype.kind != "b":
        raise DtypeError(f"masked_fill: `mask` has dtype {mask.dtype}, expected bool")
    return choice.where(mask, number("masked_fill", value, x._value.dtype), x)


@export("clip", inplace=True)
def clamp(
    input: TensorLike, min: TensorLike | None = None, max: TensorLike | None = None
) -> Tensor:
    """``input`` limited from below by ``min`` and from above by ``max`` (numbers or tensors)."""
    x = to_tensor(input)
    if min is None and max is None:
        raise ArgumentError("clamp: at least one of `min` and `max` must be given")
    numbers = (bool, int, float, type(None))
    if isinstance(min, numbers) and isinstance(max, numbers):
        if x._value.dtype.kind not in FLOATING and any(isinstance(v, float) for v in (min, max)):
            x = to(x, promotion.get_default_dtype())
        if min is not None and max is not None and min > max:
            min = max
        return choice.clamp(x, min=min, max=max)
    if min is not None:
        x = where(_beyond(np.less, x, min), min, x)
    if max is not None:
        x = where(_beyond(np.greater, x, max), max, x)
    return x


def _beyond(than: np.ufunc, x: Tensor, bound: TensorLike) -> Tensor:
    """Where ``bound`` takes the place of ``x``: a NaN does so too."""
    limit = operand(bound)
    broadcast_shape("clamp", x._value, limit._value if isinstance(limit, Variable) else limit)
    return computed(_holds, than, x, limit)


@export(inplace=True)
def clamp_min(input: TensorLike, min: TensorLike) -> Tensor:
    """``input`` limited from below."""
    return clamp(input, min=min)


@export(inplace=True)
def clamp_max(input: TensorLike, max: TensorLike) -> Tensor:
    """``input`` limited from above."""
    return clamp(input, max=max)


@export(inplace=True, numpy=np.floor)
def floor(input: TensorLike) -> Tensor:
    """Largest integer not above ``input``; its derivative is 0."""
    return choice.step(to_tensor(input), kind="floor")


@export(inplace=True, numpy=np.ceil)
def ceil(input: TensorLike) -> Tensor:
    """Smallest integer not below ``input``; its derivative is 0."""
    return choice.step(to_tensor(input), kind="ceil")


@export("fix", inplace=True, numpy=np.trunc)
def trunc(input: TensorLike) -> Tensor:
    """The integer next to ``input`` towards 0; its derivative is 0."""
    return choice.step(to_tensor(input), kind="trunc")


@export(inplace=True)
def frac(input: TensorLike) -> Tensor:
    """``input - trunc(input)``."""
    return sub(input, trunc(input))


@export(inplace=True, numpy=np.rint)
def round(input: TensorLike, *, decimals: int = 0) -> Tensor:
    """Nearest multiple of ``10**-decimals``, half to even; its derivative is 0."""
    return choice.round(to_tensor(input), decimals=decimals)


@export(inplace=True)
def lerp(input: TensorLike, end: TensorLike, weight: TensorLike) -> Tensor:
    """``input + weight * (end - input)``, from ``end`` where that is nearer, as PyTorch does.

    >>> import tinygrad_cnn as tg
    >>> tg.lerp(tg.tensor([0.0, tg.inf]), tg.tensor([8.0, 1.0]), 0.75)
    tensor([6., inf])
    """
    start: Any = input
    part: Any = weight
    if not isinstance(weight, numbers.Number):
        near = computed(_below_half, to_tensor(weight))
        start, part = where(near, input, end), where(near, weight, sub(weight, 1))
    elif not _below_half(weight):
        start, part = end, part - 1
    return add(start, mul(sub(end, input), part))


def _below_half(weight: Any) -> Any:
    return np.abs(weight) < 0.5


@export(inplace=True)
@older_call("value")
def addcmul(
    input: TensorLike, tensor1: TensorLike, tensor2: TensorLike, *, value: float = 1
) -> Tensor:
    """``input + value * tensor1 * tensor2``."""
    return add(input, mul(tensor1, tensor2), alpha=value)


def check_addcdiv(name: str, tensor1: TensorLike, tensor2: TensorLike) -> None:
    """Refuse to divide integers, of which PyTorch has meant other things over time."""
    dtypes = [to_tensor(t)._value.dtype for t in (tensor1, tensor2)]
    if all(dtype.kind not in INEXACT for dtype in dtypes):
        raise DtypeError(
            f"{name}: `tensor1` and `tensor2` are {dtypes[0]} and {dtypes[1]}, expected a floating "
            f"or complex dtype; add div(tensor1, tensor2), or what it gives with a rounding_mode"
        )


@export(inplace=True)
@older_call("value")
def addcdiv(
    input: TensorLike, tensor1: TensorLike, tensor2: TensorLike, *, value: float = 1
) -> Tensor:
    """``input + value * tensor1 / tensor2``; of the tensors one at least is floating or complex."""
    check_addcdiv("addcdiv", tensor1, tensor2)
    return add(input, div(tensor1, tensor2), alpha=value)


@export(numpy=np.logaddexp)
def logaddexp(input: TensorLike, other: TensorLike) -> Tensor:
    """``log(exp(input) + exp(other))``, without overflow."""
    return ops.logaddexp(*_two(input, other))


@export(inplace=True)
def nan_to_num(
    input: TensorLike, nan: float = 0.0, posinf: float | None = None, neginf: float | None = None
) -> Tensor:
    """``input`` with NaN, inf and -inf replaced (by 0 and the dtype's extreme numbers)."""
    x = to_tensor(input)
    if x._value.dtype.kind not in FLOATING:
        return clone(x)
    limits = limits_of(x._value.dtype)
    high = float(limits.max) if posinf is None else posinf
    low = float(limits.min) if neginf is None else neginf
    out: Tensor = where(computed(np.isnan, x), nan, x)
    out = where(computed(np.equal, x, math.inf), high, out)
    out = where(computed(np.equal, x, -math.inf), low, out)
    return out


@export(top=False, method=False)
def to(input: TensorLike, dtype: DTypeLike = None, *, copy: bool = False) -> Tensor:
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
