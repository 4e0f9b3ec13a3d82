"""Elementwise functions. What needs no arguments beside the tensor is the operation itself."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_cnn.autograd import promotion
from tinygrad_cnn.autograd.variable import Variable, wrap
from tinygrad_cnn.functions.convert import operand, to_tensor
from tinygrad_cnn.ops import elementwise as ops
from tinygrad_cnn.ops.elementwise import (
    abs,
    acos,
    asin,
    atan,
    clone,
    cos,
    cosh,
    erf,
    exp,
    exp2,
    expm1,
    log,
    log1p,
    log2,
    log10,
    neg,
    reciprocal,
    rsqrt,
    sign,
    sin,
    sinh,
    sqrt,
    square,
    tan,
    tanh,
)

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


def _two(x: Any, other: Any) -> tuple[Any, Any]:
    """Two operands, at least one of which is a tensor or an array."""
    a, b = operand(x), operand(other)
    if isinstance(a, (bool, int, float)) and isinstance(b, (bool, int, float)):
        a = to_tensor(a)
    return a, b


def _bool_kind(v: Any) -> bool:
    if isinstance(v, Variable):
        v = v.array
    return v.dtype.kind == "b" if isinstance(v, np.ndarray) else isinstance(v, bool)


def add(x: Any, other: Any, *, alpha: float = 1) -> Tensor:
    """``x + alpha * other``, broadcasting.

    >>> import tinygrad_cnn as tg
    >>> tg.add(tg.tensor([1.0, 2.0]), tg.tensor([10.0, 20.0]), alpha=2)
    tensor([21., 42.])
    """
    a, b = _two(x, other)
    return ops.add(a, b if alpha == 1 else ops.mul(to_tensor(b), alpha))  # type: ignore[no-any-return]


def sub(x: Any, other: Any, *, alpha: float = 1) -> Tensor:
    """``x - alpha * other``, broadcasting; bools are refused as in NumPy and PyTorch."""
    a, b = _two(x, other)
    if _bool_kind(a) and _bool_kind(b):
        raise TypeError("sub: both operands are bool; use ^ or logical_not()")
    return ops.sub(a, b if alpha == 1 else ops.mul(to_tensor(b), alpha))  # type: ignore[no-any-return]


def rsub(x: Any, other: Any) -> Tensor:
    """``other - x``."""
    return sub(other, x)


def mul(x: Any, other: Any) -> Tensor:
    """``x * other``, broadcasting."""
    return ops.mul(*_two(x, other))  # type: ignore[no-any-return]


def div(x: Any, other: Any, *, rounding_mode: str | None = None) -> Tensor:
    """``x / other``, broadcasting; integers give floats unless rounded.

    ``rounding_mode`` is None, ``"floor"`` or ``"trunc"``.
    """
    if rounding_mode is None:
        return ops.div(*_two(x, other))  # type: ignore[no-any-return]
    if rounding_mode not in ("floor", "trunc"):
        raise ValueError(
            f"div: `rounding_mode` is {rounding_mode!r}, expected None, 'floor' or 'trunc'"
        )
    if rounding_mode == "floor":
        return floor_divide(x, other)
    a, b = _two(x, other)
    dtype = promotion.common_dtype([getattr(v, "array", v) for v in (a, b)])
    return to(trunc(ops.div(a, b)), dtype)


def floor_divide(x: Any, other: Any) -> Tensor:
    """``floor(x / other)`` in the operands' common dtype; its derivative is 0."""
    a, b = (to_tensor(v) if not isinstance(v, (bool, int, float)) else v for v in _two(x, other))
    values = [getattr(v, "array", v) for v in (a, b)]
    dtype = promotion.common_dtype(values)
    if dtype.kind == "b":
        raise TypeError("floor_divide: both operands are bool, expected numbers")
    if dtype.kind in "iu" and not np.all(np.asarray(values[1])):
        raise ZeroDivisionError("floor_divide: `other` holds 0, and integers cannot be infinite")
    with np.errstate(all="ignore"):
        return wrap(np.floor_divide(*[np.asarray(v, dtype) for v in values]))  # type: ignore[no-any-return]


def remainder(x: Any, other: Any) -> Tensor:
    """``x - other * floor(x / other)``, with the sign of ``other``."""
    return ops.remainder(*_two(x, other))  # type: ignore[no-any-return]


def fmod(x: Any, other: Any) -> Tensor:
    """``x - other * trunc(x / other)``, with the sign of ``x``."""
    a, b = (to_tensor(v) for v in _two(x, other))
    return sub(a, mul(b, trunc(div(a, b)).detach()))


def pow(x: Any, exponent: Any) -> Tensor:
    """``x ** exponent``, broadcasting.

    >>> import tinygrad_cnn as tg
    >>> tg.pow(tg.tensor([1.0, 2.0, 3.0]), 2)
    tensor([1., 4., 9.])
    """
    if isinstance(exponent, (bool, int, float)) and not isinstance(x, (bool, int, float)):
        base = to_tensor(x)
        kind = base.array.dtype.kind
        if kind == "f" and not (exponent == 2):
            return ops.pow_scalar(base, exponent=float(exponent))  # type: ignore[no-any-return]
        if exponent == 2 and kind in "fiu":
            return ops.square(base)  # type: ignore[no-any-return]
        if kind in "iu" and isinstance(exponent, int) and exponent < 0:
            raise ValueError(f"pow: `exponent` is {exponent}, but integers have no such power")
    return ops.pow(*_two(x, exponent))  # type: ignore[no-any-return]


def atan2(x: Any, other: Any) -> Tensor:
    """Angle in radians of the points (``other``, ``x``)."""
    return ops.atan2(*_two(x, other))  # type: ignore[no-any-return]


def maximum(x: Any, other: Any) -> Tensor:
    """Elementwise larger value; equal values share the gradient."""
    return ops.maximum(*_two(x, other))  # type: ignore[no-any-return]


def minimum(x: Any, other: Any) -> Tensor:
    """Elementwise smaller value; equal values share the gradient."""
    return ops.minimum(*_two(x, other))  # type: ignore[no-any-return]


def where(condition: Any, x: Any = None, other: Any = None) -> Any:
    """``x`` where ``condition`` holds, else ``other``, broadcasting.

    With ``condition`` alone: the indices where it holds, as ``nonzero(as_tuple=True)``.

    >>> import tinygrad_cnn as tg
    >>> x = tg.tensor([-1.0, 2.0])
    >>> tg.where(x > 0, x, 0.0)
    tensor([0., 2.])
    """
    condition = to_tensor(condition)
    if x is None and other is None:
        return tuple(wrap(i) for i in np.nonzero(condition.array))
    if condition.array.dtype.kind != "b":
        raise TypeError(f"where: `condition` has dtype {condition.array.dtype}, expected bool")
    a, b = operand(x), operand(other)
    dtype = promotion.common_dtype([getattr(v, "array", v) for v in (a, b)])
    a, b = (v if v.array.dtype == dtype else to(v, dtype) for v in (to_tensor(a), to_tensor(b)))
    return ops.where(condition, a, b)


def masked_fill(x: Any, mask: Any, value: Any) -> Tensor:
    """``x`` with ``value`` (a number or a 0-d tensor) where ``mask`` (bool, broadcast) holds."""
    x = to_tensor(x)
    mask = to_tensor(mask)
    if mask.array.dtype.kind != "b":
        raise TypeError(f"masked_fill: `mask` has dtype {mask.array.dtype}, expected bool")
    value = to_tensor(value)
    if value.array.ndim:
        raise ValueError(f"masked_fill: `value` has shape {value.array.shape}, expected a number")
    return ops.where(mask, to(value, x.array.dtype), x)  # type: ignore[no-any-return]


def clamp(x: Any, min: Any = None, max: Any = None) -> Tensor:
    """``x`` limited from below by ``min`` and from above by ``max`` (numbers or tensors)."""
    x = to_tensor(x)
    if min is None and max is None:
        raise ValueError("clamp: at least one of `min` and `max` must be given")
    numbers = (bool, int, float, type(None))
    if isinstance(min, numbers) and isinstance(max, numbers):
        if x.array.dtype.kind != "f" and any(isinstance(v, float) for v in (min, max)):
            x = to(x, promotion.get_default_dtype())
        if min is not None and max is not None and min > max:
            min = max
        return ops.clamp(x, min=min, max=max)  # type: ignore[no-any-return]
    if min is not None:
        min = to_tensor(min)
        x = where(wrap(x.array < min.array), min, x)
    if max is not None:
        max = to_tensor(max)
        x = where(wrap(x.array > max.array), max, x)
    return x


def floor(x: Any) -> Tensor:
    """Largest integer not above ``x``; its derivative is 0."""
    return ops.step(to_tensor(x), kind="floor")  # type: ignore[no-any-return]


def ceil(x: Any) -> Tensor:
    """Smallest integer not below ``x``; its derivative is 0."""
    return ops.step(to_tensor(x), kind="ceil")  # type: ignore[no-any-return]


def trunc(x: Any) -> Tensor:
    """The integer next to ``x`` towards 0; its derivative is 0."""
    return ops.step(to_tensor(x), kind="trunc")  # type: ignore[no-any-return]


def frac(x: Any) -> Tensor:
    """``x - trunc(x)``."""
    return sub(x, trunc(x))


def round(x: Any, *, decimals: int = 0) -> Tensor:
    """Nearest multiple of ``10**-decimals``, half to even; its derivative is 0."""
    return ops.round(to_tensor(x), decimals=decimals)  # type: ignore[no-any-return]


def lerp(x: Any, end: Any, weight: Any) -> Tensor:
    """``x + weight * (end - x)``."""
    return add(x, mul(sub(end, x), weight))


def addcmul(x: Any, tensor1: Any, tensor2: Any, *, value: float = 1) -> Tensor:
    """``x + value * tensor1 * tensor2``."""
    return add(x, mul(tensor1, tensor2), alpha=value)


def addcdiv(x: Any, tensor1: Any, tensor2: Any, *, value: float = 1) -> Tensor:
    """``x + value * tensor1 / tensor2``."""
    return add(x, div(tensor1, tensor2), alpha=value)


def logaddexp(x: Any, other: Any) -> Tensor:
    """``log(exp(x) + exp(other))``, without overflow."""
    a, b = (to_tensor(v) for v in _two(x, other))
    top = maximum(a, b).detach()
    top = where(top.isinf(), 0.0, top)
    return add(log(add(exp(sub(a, top)), exp(sub(b, top)))), top)


def nan_to_num(
    x: Any, nan: float = 0.0, posinf: float | None = None, neginf: float | None = None
) -> Tensor:
    """``x`` with NaN, inf and -inf replaced (by 0 and the dtype's largest and smallest numbers)."""
    x = to_tensor(x)
    if x.array.dtype.kind != "f":
        return clone(x)  # type: ignore[no-any-return]
    limits = np.finfo(x.array.dtype)
    high = float(limits.max) if posinf is None else posinf
    low = float(limits.min) if neginf is None else neginf
    out = where(wrap(np.isnan(x.array)), nan, x)
    out = where(wrap(x.array == math.inf), high, out)
    return where(wrap(x.array == -math.inf), low, out)  # type: ignore[no-any-return]


def to(x: Any, dtype: Any = None, *, copy: bool = False) -> Tensor:
    """``x`` in another dtype: ``x`` itself if it has it already (unless ``copy``).

    ``dtype`` may also be another tensor, whose dtype is taken, or the device ``"cpu"``.
    """
    x = to_tensor(x)
    if isinstance(dtype, Variable):
        dtype = dtype.array.dtype
    if isinstance(dtype, str) and dtype == "cpu":
        dtype = None
    wanted = x.array.dtype if dtype is None else np.dtype(dtype)
    if wanted.kind not in "biuf" or wanted.itemsize > 8:
        raise TypeError(f"to: `dtype` is {wanted}, expected bool, an integer or a float dtype")
    if wanted == x.array.dtype:
        return clone(x) if copy else x  # type: ignore[no-any-return]
    return ops.cast(x, dtype=wanted)  # type: ignore[no-any-return]
