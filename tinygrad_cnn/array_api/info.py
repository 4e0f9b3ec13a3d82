"""What the array API standard asks about devices and dtypes."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np

from tinygrad_cnn.autograd.devices import CPU, DeviceLike, check_device, device
from tinygrad_cnn.autograd.promotion import complex_dtype, get_default_dtype
from tinygrad_cnn.errors import ArgumentError
from tinygrad_cnn.types import DType

_KINDS = {
    "bool": ("bool",),
    "signed integer": ("int8", "int16", "int32", "int64"),
    "unsigned integer": ("uint8", "uint16", "uint32", "uint64"),
    "real floating": ("float32", "float64"),
    "complex floating": ("complex64", "complex128"),
}
_KINDS["integral"] = _KINDS["signed integer"] + _KINDS["unsigned integer"]
_KINDS["numeric"] = _KINDS["integral"] + _KINDS["real floating"] + _KINDS["complex floating"]


class __array_namespace_info__:
    """Devices, dtypes and defaults of the namespace.

    >>> from tinygrad_cnn import array_api
    >>> info = array_api.__array_namespace_info__()
    >>> info.default_dtypes()["real floating"], info.devices()
    (dtype('float32'), [device(type='cpu')])
    """

    def capabilities(self) -> dict[str, Any]:
        """What not every library can do."""
        return {"boolean indexing": True, "data-dependent shapes": True, "max dimensions": 64}

    def default_device(self) -> device:
        """The CPU."""
        return CPU

    def devices(self) -> list[device]:
        """The CPU alone."""
        return [CPU]

    def default_dtypes(self, *, device: DeviceLike = None) -> dict[str, DType]:
        """The dtypes of tensors that are made without one."""
        check_device(device, "default_dtypes")
        real = get_default_dtype()
        return {
            "real floating": real,
            "complex floating": complex_dtype(real),
            "integral": np.dtype(np.int64),
            "indexing": np.dtype(np.int64),
        }

    def dtypes(
        self, *, device: DeviceLike = None, kind: str | tuple[str, ...] | None = None
    ) -> dict[str, DType]:
        """All dtypes of a kind, or of several, by name.

        Raises
        ------
        ValueError
            There is no such kind.
        """
        check_device(device, "dtypes")
        kinds = ("bool", "numeric") if kind is None else (kind,) if isinstance(kind, str) else kind
        unknown = [k for k in kinds if k not in _KINDS]
        if unknown:
            raise ArgumentError(f"dtypes: `kind` is {unknown[0]!r}, expected one of {list(_KINDS)}")
        return {name: np.dtype(name) for k in kinds for name in _KINDS[k]}


def _dtype(type: Any) -> DType:
    dtype: DType = np.dtype(getattr(type, "dtype", type))
    return dtype


def finfo(type: Any, /) -> SimpleNamespace:
    """Limits of a floating dtype, or of a tensor's: ``bits``, ``eps``, ``max``, ``min``,
    ``smallest_normal``, ``dtype``.
    """
    found = np.finfo(_dtype(type))
    return SimpleNamespace(
        bits=found.bits,
        eps=float(found.eps),
        max=float(found.max),
        min=float(found.min),
        smallest_normal=float(found.smallest_normal),
        dtype=np.dtype(found.dtype),
    )


def iinfo(type: Any, /) -> SimpleNamespace:
    """Limits of an integer dtype, or of a tensor's: ``bits``, ``max``, ``min``, ``dtype``."""
    dtype = _dtype(type)
    found = np.iinfo(dtype)
    return SimpleNamespace(bits=found.bits, max=int(found.max), min=int(found.min), dtype=dtype)
