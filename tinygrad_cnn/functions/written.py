"""What is written into a tensor, in its dtype."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_cnn.autograd.rounding import limits_of
from tinygrad_cnn.autograd.variable import Variable
from tinygrad_cnn.errors import DtypeError, ShapeError
from tinygrad_cnn.functions.convert import to_tensor
from tinygrad_cnn.kernels.tape import made
from tinygrad_cnn.types import FLOATING, DType, TensorLike

if TYPE_CHECKING:
    from tinygrad_cnn.tensor import Tensor


def number(name: str, value: TensorLike, dtype: DType) -> Tensor:
    """``value``, one number that fills places of a tensor, in its ``dtype``.

    Raises
    ------
    ValueError
        It is more than one number.
    TypeError
        ``dtype`` cannot hold it: it is complex, or too large. A tensor is cast.
    """
    if isinstance(value, complex) and not value.imag and dtype.kind != "c":
        value = value.real
    if isinstance(value, (int, float)) and dtype.kind in FLOATING and math.isfinite(value):
        if abs(value) > float(limits_of(dtype).max):
            raise DtypeError(f"{name}: `value` is {value}, which does not fit into {dtype}")
    found = to_tensor(value, dtype if isinstance(value, (bool, int, float)) else None)
    if found._value.ndim:
        raise ShapeError(f"{name}: `value` has shape {found.shape}, expected a number")
    if found._value.dtype.kind == "c" and dtype.kind not in "bc":
        raise DtypeError(f"{name}: `value` is complex, expected a number for {dtype}")
    return found if found._value.dtype == dtype else found.to(dtype)


def wrapped(value: Any, dtype: DType) -> Any:
    """A Python number in ``dtype``, in which it wraps around as in PyTorch; others as they are."""
    numbers = (bool, int, float, complex)
    return made(np.asarray(value).astype(dtype)) if isinstance(value, numbers) else value


def written(
    name: str, source: TensorLike, dtype: DType, argument: str = "source", index: Any = ()
) -> Tensor:
    """What is written by an index, which is of the tensor's ``dtype``.

    Numbers are cast, and a tensor of one number for an ``index`` that is one mask.

    Raises
    ------
    TypeError
        It is a tensor of another dtype.
    """
    if isinstance(source, Variable) and source._value.dtype != dtype:
        arrays = [p for p in index if isinstance(p, np.ndarray)]
        one_mask = len(arrays) == 1 and arrays[0].dtype == bool
        if not (one_mask and source._value.size == 1):
            raise DtypeError(
                f"{name}: `{argument}` is {source._value.dtype}, expected {dtype}, the dtype of "
                f"the tensor that it is written to"
            )
    found = to_tensor(source, dtype)
    return found if found._value.dtype == dtype else found.to(dtype)
