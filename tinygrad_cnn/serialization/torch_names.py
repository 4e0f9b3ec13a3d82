"""PyTorch's names for the memory of tensors and for dtypes, in its files."""

from __future__ import annotations

from typing import NamedTuple

from tinygrad_cnn.functions.convert import dtype_of
from tinygrad_cnn.types import DType

STORAGES = {
    "DoubleStorage": "float64", "FloatStorage": "float32", "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16", "LongStorage": "int64", "IntStorage": "int32",
    "ShortStorage": "int16", "CharStorage": "int8", "ByteStorage": "uint8",
    "BoolStorage": "bool", "ComplexDoubleStorage": "complex128",
    "ComplexFloatStorage": "complex64",
}  # fmt: skip
"""Classes of memory, each for numbers of one dtype."""

DTYPES = (*STORAGES.values(), "uint16", "uint32", "uint64")
"""Dtypes that tensors can have; those without a class of memory lie in plain bytes."""


class StorageType(NamedTuple):
    """A class of memory by the name of its numbers' dtype; None for bytes."""

    name: str | None

    @property
    def dtype(self) -> DType:
        """The dtype of its numbers."""
        return dtype_of(self.name or "uint8")
