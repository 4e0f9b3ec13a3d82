"""Read the pickles of CIFAR-10's python version without trusting them."""

from __future__ import annotations

import io
import math
import pickle
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray


class _DType:
    """Stands in for the ``numpy.dtype`` of bytes: the only one these files contain."""

    __slots__ = ()

    def __init__(self, code: bytes | str, *flags: object) -> None:
        if code not in (b"u1", "u1"):
            raise pickle.UnpicklingError(f"refused an array of dtype {code!r} (only u1)")

    def __setstate__(self, state: object) -> None:
        """Ignore byte order and the like: single bytes have none."""


class _NDArray:
    """Stands in for ``numpy.ndarray``: takes its state as checked data, not as memory."""

    __slots__ = ("array",)
    array: NDArray[np.uint8]

    def __setstate__(self, state: tuple[int, tuple[int, ...], _DType, bool, bytes]) -> None:
        _, shape, dtype, fortran, raw = state
        if not isinstance(dtype, _DType) or len(raw) != math.prod(shape):
            raise pickle.UnpicklingError(f"an array of shape {shape} has {len(raw)} bytes")
        order: Any = "F" if fortran else "C"
        self.array = np.frombuffer(raw, np.uint8).reshape(shape, order=order)


def _reconstruct(kind: object, shape: object, code: object) -> _NDArray:
    if kind is not _NDArray:
        raise pickle.UnpicklingError("refused an array that is not a numpy.ndarray")
    return _NDArray()


def _encode(text: str, encoding: str) -> bytes:
    """Python 3 writes bytes at protocol 2 as ``_codecs.encode(text, 'latin1')``."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"refused encoding {encoding!r} (only latin1)")
    return text.encode("latin1")


_KNOWN: Final[dict[tuple[str, str], object]] = {
    ("_codecs", "encode"): _encode,
    ("numpy", "dtype"): _DType,
    ("numpy", "ndarray"): _NDArray,
    ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy._core.multiarray", "_reconstruct"): _reconstruct,
}


class _Unpickler(pickle.Unpickler):
    """Knows five names, each bound to a stand-in of this module, and imports nothing."""

    def find_class(self, module: str, name: str) -> object:
        try:
            return _KNOWN[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"refused `{module}.{name}`") from None


def _plain(value: object) -> object:
    """Return ``value`` with stand-ins replaced by arrays and text keys by bytes keys."""
    if isinstance(value, dict):
        keys = [key.encode() if isinstance(key, str) else key for key in value]
        return dict(zip(keys, map(_plain, value.values()), strict=True))
    return value.array if isinstance(value, _NDArray) else value


def load_trusting_nothing(data: bytes) -> dict[bytes, object]:
    """Return the dictionary pickled in ``data``, by Python 2 or 3; its keys are bytes.

    Allowed are Python's plain values and uint8 arrays. Any other class or function is refused by
    name before it is even looked up.

    Raises
    ------
    ValueError
        something was refused, or the data are not such a pickle.

    Examples
    --------
    >>> load_trusting_nothing(pickle.dumps({b"labels": [3, 1]}, protocol=2))
    {b'labels': [3, 1]}
    >>> load_trusting_nothing(pickle.dumps(print))
    Traceback (most recent call last):
    ValueError: refused `builtins.print`
    """
    try:
        value = _plain(_Unpickler(io.BytesIO(data), encoding="bytes").load())
    except Exception as error:  # malformed pickles raise nearly anything
        raise ValueError(str(error) or type(error).__name__) from error
    if not isinstance(value, dict):
        raise ValueError(f"holds a {type(value).__name__}, not a dictionary")
    return value
