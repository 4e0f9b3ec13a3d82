"""Which dtype an operation computes in: PyTorch's promotion rules on NumPy dtypes.

They differ from NumPy's: an integer never widens a float (``int64 + float32`` is float32), and a
0-d tensor, like a Python number, only decides the dtype if it is of a higher category
(bool < integer < float < complex) than all tensors with dimensions.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_cnn.errors import DtypeError
from tinygrad_cnn.types import FLOATING, DType, DTypeLike

_CATEGORY = {"b": 0, "i": 1, "u": 1, "f": 2, "V": 2, "c": 3}  # V is bfloat16
FLOAT, _COMPLEX = 2, 3
_INT64 = np.dtype(np.int64)
_BOOL = np.dtype(np.bool_)
_default_float: DType = np.dtype(np.float32)


def get_default_dtype() -> DType:
    """The dtype of tensors made from Python floats: float32 unless changed."""
    return _default_float


def set_default_dtype(dtype: DTypeLike) -> None:
    """Make ``dtype`` (a floating one) the dtype of tensors made from Python floats.

    Raises
    ------
    TypeError
        ``dtype`` is not floating.
    """
    global _default_float
    wanted = np.dtype(dtype)
    if wanted.kind not in FLOATING or wanted.itemsize > 8:
        raise DtypeError(
            f"set_default_dtype: `dtype` is {wanted} but a floating dtype up to float64 is expected"
        )
    _default_float = wanted if wanted.isnative else wanted.newbyteorder("=")


def category(dtype: DType, name: str = "tensor") -> int:
    """0 for bool, 1 for integers, 2 for floats, 3 for complex; TypeError for others."""
    try:
        return _CATEGORY[dtype.kind]
    except KeyError:
        raise DtypeError(
            f"{name}: dtype {dtype} is not supported (bool, integers, bfloat16, float16 to "
            f"float64, complex64 and complex128 are)"
        ) from None


def is_half(dtype: DType) -> bool:
    """Whether it is float16 or bfloat16."""
    return dtype.itemsize == 2 and dtype.kind in FLOATING


def complex_dtype(dtype: DType) -> DType:
    """The complex dtype of numbers whose parts are of a floating ``dtype``."""
    return np.promote_types(dtype, np.complex64)


def _widest(dtypes: list[DType]) -> DType:
    """The common dtype of equals: the widest of the highest category present.

    Parts of complex numbers are as wide as the floats beside them.
    """
    top = max(category(d) for d in dtypes)
    out: DType | None = None
    for d in dtypes:
        if category(d) == top or (top == _COMPLEX and category(d) == FLOAT):
            out = d if out is None else np.promote_types(out, d)
    assert out is not None
    return out


def common_dtype(values: list[Any]) -> DType:
    """The dtype in which arrays and Python numbers are computed together.

    ``values`` are arrays (anything with ``dtype`` and ``ndim``) and Python's numbers.
    """
    with_dims: list[DType] = []
    zero_dim: list[DType] = []
    numbers: list[DType] = []
    for v in values:
        dtype = getattr(v, "dtype", None)
        if dtype is not None:
            (with_dims if v.ndim else zero_dim).append(dtype)
        elif isinstance(v, bool):
            numbers.append(_BOOL)
        elif isinstance(v, int):
            numbers.append(_INT64)
        elif isinstance(v, complex):
            numbers.append(complex_dtype(_default_float))
        else:
            numbers.append(_default_float)
    out: DType | None = None
    for group in (with_dims, zero_dim, numbers):
        if group:
            dtype = _widest(group)
            if out is None or category(dtype) > category(out):
                both = out is not None and category(out) == FLOAT  # and this one is complex
                out = complex_dtype(out) if out is not None and both else dtype
    assert out is not None, "common_dtype needs at least one value"
    return out
