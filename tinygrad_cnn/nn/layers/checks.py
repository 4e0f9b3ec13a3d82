"""Checks of layer arguments, with errors that say what was expected."""

from __future__ import annotations

import numbers
import operator
from collections.abc import Sequence
from typing import TypeVar, cast

import numpy as np

from tinygrad_cnn.autograd.devices import DeviceLike, check_device
from tinygrad_cnn.errors import ArgumentError, DtypeError
from tinygrad_cnn.functions.convert import dtype_of, is_dtype
from tinygrad_cnn.tensor import Tensor
from tinygrad_cnn.types import FLOATING, DType, DTypeLike


def integer(owner: str, name: str, value: object, *, least: int) -> int:
    """Return ``value`` as an int of at least ``least``."""
    try:
        number = operator.index(value)  # type: ignore[arg-type]  # tried
    except TypeError:
        raise DtypeError(
            f"{owner}: `{name}` is {value!r} ({type(value).__name__}) but an int is expected"
        ) from None
    if number < least:
        raise ArgumentError(f"{owner}: `{name}` is {number} but at least {least} is expected")
    return number


def ntuple(owner: str, name: str, value: object, n: int, *, least: int) -> tuple[int, ...]:
    """Return ``value``, an int or n ints, as a tuple of n ints of at least ``least``."""
    if isinstance(value, tuple | list):
        if len(value) != n:
            raise ArgumentError(
                f"{owner}: `{name}` is {tuple(value)} but an int or {n} ints are expected"
            )
        return tuple(integer(owner, name, v, least=least) for v in value)
    return (integer(owner, name, value, least=least),) * n


_T = TypeVar("_T")


def filled(value: _T | Sequence[_T], n: int) -> tuple[_T, ...]:
    """Return ``value``, one or a sequence, as a tuple: of n equal ones, or as long as it was."""
    return tuple(value) if isinstance(value, tuple | list) else (cast("_T", value),) * n


def _real(owner: str, name: str, value: object) -> None:
    if isinstance(value, complex) or not isinstance(value, numbers.Number | np.generic | Tensor):
        raise DtypeError(
            f"{owner}: `{name}` is {value!r} ({type(value).__name__}) but a real number is expected"
        )


def probability(owner: str, name: str, value: float) -> float:
    """Return ``value``, which must be between 0 and 1."""
    _real(owner, name, value)
    if not 0 <= value <= 1:
        raise ArgumentError(
            f"{owner}: `{name}` is {value} but a number between 0 and 1 is expected"
        )
    return value


def flag(owner: str, name: str, value: bool) -> bool:
    """Return ``value``, which must be True or False."""
    if not isinstance(value, bool):
        raise DtypeError(f"{owner}: `{name}` is {value!r} but a bool is expected")
    return value


def positive(owner: str, name: str, value: float) -> float:
    """Return ``value``, which must be above 0."""
    if type(value) is float and value > 0:
        return value
    _real(owner, name, value)
    if not value > 0:
        raise ArgumentError(f"{owner}: `{name}` is {value} but a positive number is expected")
    return value


def choice(owner: str, name: str, value: str, among: tuple[str, ...]) -> str:
    """Return ``value``, which must be one of ``among``."""
    if value not in among:
        raise ArgumentError(
            f"{owner}: `{name}` is {value!r} but one of {', '.join(map(repr, among))} is expected"
        )
    return value


def float_dtype(owner: str, dtype: DTypeLike) -> DType:
    """Return the dtype of parameters: the default one unless given, always a floating one."""
    wanted = dtype_of(dtype, owner) if dtype is None or is_dtype(dtype) else None
    if wanted is None or wanted.kind not in FLOATING:
        raise DtypeError(f"{owner}: `dtype` is {dtype!r} but a floating dtype is expected")
    return wanted


def factory(owner: str, device: DeviceLike, dtype: DTypeLike) -> DType:
    """Return the dtype of parameters, and refuse devices that do not exist."""
    check_device(device, owner)
    return float_dtype(owner, dtype)
