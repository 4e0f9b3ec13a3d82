"""Comparisons, logic and tests of values. Their results are bools, which have no derivative."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_cnn.autograd import promotion
from tinygrad_cnn.autograd.units import computed
from tinygrad_cnn.autograd.variable import Variable, wrap
from tinygrad_cnn.errors import ArgumentError, DtypeError, ShapeError
from tinygrad_cnn.functions.convert import broadcast_shape, one_dtype, operand, to_tensor
from tinygrad_cnn.functions.export import export
from tinygrad_cnn.functions.written import wrapped
from tinygrad_cnn.kernels.fp_errors import ignoring_fp_errors
from tinygrad_cnn.kernels.tape import do
from tinygrad_cnn.types import Array, DType, TensorLike

if TYPE_CHECKING:
    from tinygrad_cnn.tensor import Tensor


def _in_dtype(a: Any, b: Any, dtype: DType) -> tuple[Array, Array]:
    return np.asarray(a, dtype), np.asarray(b, dtype)


def _apply(
    name: str, ufunc: np.ufunc, x: TensorLike, other: TensorLike, kinds: str = "biufV"
) -> Tensor:
    values = []
    for v in (operand(x), operand(other)):
        values.append(v._given if isinstance(v, Variable) else v)
    a, b = values
    da, db = getattr(a, "dtype", None), getattr(b, "dtype", None)
    if da is not db and (da is not None and db is not None and da != db):
        dtype = promotion.common_dtype(values)
        a, b = do(_in_dtype, a, b, dtype)
    elif kinds == "biu":
        dtype = promotion.common_dtype(values)
        a, b = wrapped(a, dtype), wrapped(b, dtype)
    for argument, v in (("input", a), ("other", b)):
        dtype = np.asarray(v).dtype
        if dtype.kind not in kinds:
            raise DtypeError(
                f"{name}: `{argument}` is {dtype}, which has no order; expected real numbers"
            )
    try:
        return wrap(do(ignoring_fp_errors, ufunc, (a, b), {}))
    except ValueError as error:
        if "broadcast" not in str(error):
            raise
        raise ShapeError(
            f"{name}: shapes {np.shape(a)} and {np.shape(b)} do not broadcast"
        ) from None


@export(inplace=True, numpy=np.equal)
def eq(input: TensorLike, other: TensorLike) -> Tensor:
    """Elementwise ``input == other``."""
    return _apply("eq", np.equal, input, other, "biufVc")


@export("not_equal", inplace=True, numpy=np.not_equal)
def ne(input: TensorLike, other: TensorLike) -> Tensor:
    """Elementwise ``input != other``."""
    return _apply("ne", np.not_equal, input, other, "biufVc")


@export("less", inplace=True, numpy=np.less)
def lt(input: TensorLike, other: TensorLike) -> Tensor:
    """Elementwise ``input < other``."""
    return _apply("lt", np.less, input, other)


@export("less_equal", inplace=True, numpy=np.less_equal)
def le(input: TensorLike, other: TensorLike) -> Tensor:
    """Elementwise ``input <= other``."""
    return _apply("le", np.less_equal, input, other)


@export("greater", inplace=True, numpy=np.greater)
def gt(input: TensorLike, other: TensorLike) -> Tensor:
    """Elementwise ``input > other``."""
    return _apply("gt", np.greater, input, other)


@export("greater_equal", inplace=True, numpy=np.greater_equal)
def ge(input: TensorLike, other: TensorLike) -> Tensor:
    """Elementwise ``input >= other``."""
    return _apply("ge", np.greater_equal, input, other)


@export(inplace=True, numpy=np.logical_and)
def logical_and(input: TensorLike, other: TensorLike) -> Tensor:
    """Whether both are true (not 0)."""
    return _apply("logical_and", np.logical_and, input, other, "biufVc")


@export(inplace=True, numpy=np.logical_or)
def logical_or(input: TensorLike, other: TensorLike) -> Tensor:
    """Whether either is true (not 0)."""
    return _apply("logical_or", np.logical_or, input, other, "biufVc")


@export(inplace=True, numpy=np.logical_xor)
def logical_xor(input: TensorLike, other: TensorLike) -> Tensor:
    """Whether exactly one is true (not 0)."""
    return _apply("logical_xor", np.logical_xor, input, other, "biufVc")


@export(inplace=True, numpy=np.logical_not)
def logical_not(input: TensorLike) -> Tensor:
    """Whether it is false (0)."""
    return computed(np.logical_not, to_tensor(input))


@export(inplace=True, numpy=np.bitwise_and)
def bitwise_and(input: TensorLike, other: TensorLike) -> Tensor:
    """Bit by bit and, of bools or integers."""
    return _apply("bitwise_and", np.bitwise_and, input, other, "biu")


@export(inplace=True, numpy=np.bitwise_or)
def bitwise_or(input: TensorLike, other: TensorLike) -> Tensor:
    """Bit by bit or, of bools or integers."""
    return _apply("bitwise_or", np.bitwise_or, input, other, "biu")


@export(inplace=True, numpy=np.bitwise_xor)
def bitwise_xor(input: TensorLike, other: TensorLike) -> Tensor:
    """Bit by bit exclusive or, of bools or integers."""
    return _apply("bitwise_xor", np.bitwise_xor, input, other, "biu")


@export(inplace=True, numpy=np.invert)
def bitwise_not(input: TensorLike) -> Tensor:
    """Every bit inverted, of bools or integers."""
    x = to_tensor(input)
    if x._value.dtype.kind not in "biu":
        raise DtypeError(f"bitwise_not: `input` is {x.dtype}, expected bool or an integer dtype")
    return computed(np.invert, x)


@export(numpy=np.isnan)
def isnan(input: TensorLike) -> Tensor:
    """Whether it is NaN."""
    return computed(np.isnan, to_tensor(input))


@export(numpy=np.isinf)
def isinf(input: TensorLike) -> Tensor:
    """Whether it is inf or -inf."""
    return computed(np.isinf, to_tensor(input))


@export(numpy=np.isfinite)
def isfinite(input: TensorLike) -> Tensor:
    """Whether it is neither infinite nor NaN."""
    return computed(np.isfinite, to_tensor(input))


@export()
def isclose(
    input: TensorLike,
    other: TensorLike,
    rtol: float = 1e-5,
    atol: float = 1e-8,
    equal_nan: bool = False,
) -> Tensor:
    """Whether ``|input - other| <= atol + rtol * |other|``."""
    if rtol < 0 or atol < 0:
        raise ArgumentError(
            f"isclose: `rtol` and `atol` are {rtol} and {atol}, expected none negative"
        )
    first, second = to_tensor(input), to_tensor(other)
    if isinstance(input, Variable) and isinstance(other, Variable):
        one_dtype("isclose", first, other=second)
    broadcast_shape("isclose", first._value, second._value)
    return computed(np.isclose, first, second, rtol=rtol, atol=atol, equal_nan=equal_nan)


@export()
def allclose(
    input: TensorLike,
    other: TensorLike,
    rtol: float = 1e-5,
    atol: float = 1e-8,
    equal_nan: bool = False,
) -> bool:
    """Whether `isclose` holds everywhere."""
    return bool(isclose(input, other, rtol, atol, equal_nan)._array.all())


@export()
def equal(input: TensorLike, other: TensorLike) -> bool:
    """Whether both have the same shape and the same values."""
    return bool(np.array_equal(to_tensor(input)._array, to_tensor(other)._array))
