"""Questions about dtypes, answered by PyTorch's rules: they differ from NumPy's."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_cnn.autograd.promotion import category, common_dtype
from tinygrad_cnn.functions.convert import to_tensor
from tinygrad_cnn.functions.export import export
from tinygrad_cnn.types import DType, DTypeLike, TensorLike


@export(method=False)
def promote_types(type1: DTypeLike, type2: DTypeLike) -> DType:
    """The dtype in which tensors of two dtypes, both with dimensions, are computed together.

    Examples
    --------
    >>> import tinygrad_cnn as tg
    >>> tg.promote_types(tg.int64, tg.float16), tg.promote_types(tg.uint8, tg.int8)
    (dtype('float16'), dtype('int16'))
    """
    return common_dtype([np.empty(0, type1), np.empty(0, type2)])


@export(method=False)
def result_type(tensor1: TensorLike, tensor2: TensorLike) -> DType:
    """The dtype in which two tensors or numbers are computed together.

    A number or a tensor without dimensions only counts if it is of a higher category (bool,
    integer, floating, complex) than all that have dimensions.

    Examples
    --------
    >>> import tinygrad_cnn as tg
    >>> tg.result_type(tg.ones(2, dtype=tg.int8), 3), tg.result_type(tg.ones(2, dtype=tg.int8), 1.0)
    (dtype('int8'), dtype('float32'))
    """
    return common_dtype([_operand(tensor1), _operand(tensor2)])


@export(method=False)
def can_cast(from_: DTypeLike, to: DTypeLike) -> bool:
    """Whether a result of one dtype may be written in place into a tensor of another.

    Examples
    --------
    >>> import tinygrad_cnn as tg
    >>> tg.can_cast(tg.float64, tg.float32), tg.can_cast(tg.float32, tg.int64)
    (True, False)
    """
    source, target = np.dtype(from_), np.dtype(to)
    return category(source, "can_cast") <= category(target, "can_cast")


def _operand(value: TensorLike) -> Any:
    return value if isinstance(value, bool | int | float | complex) else to_tensor(value)._value
