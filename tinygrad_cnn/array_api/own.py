"""Functions of the array API standard that are not NumPy's by another name."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from tinygrad_cnn import functions as f
from tinygrad_cnn.autograd.devices import DeviceLike, check_device
from tinygrad_cnn.autograd.promotion import complex_dtype, get_default_dtype
from tinygrad_cnn.autograd.variable import Variable
from tinygrad_cnn.errors import ArgumentError
from tinygrad_cnn.functions.numpy_protocol.serving import as_tensor, positions
from tinygrad_cnn.types import DType

if TYPE_CHECKING:
    from tinygrad_cnn.tensor import Tensor

F = TypeVar("F", bound=Callable[..., Any])
OWN: dict[str, Callable[..., Any]] = {}


def _own(function: F) -> F:
    OWN[function.__name__] = function
    return function


# ---- creation ------------------------------------------------------------------------------


def _sides(shape: Any) -> tuple[int, ...]:
    return tuple(shape) if isinstance(shape, (tuple, list)) else (operator.index(shape),)


def _filled(name: str) -> None:
    make = getattr(f, name)

    def of_shape(shape: Any, dtype: Any = None, device: DeviceLike = None) -> Tensor:
        out: Tensor = make(_sides(shape), dtype=dtype, device=device)
        return out

    def like(x: Any, dtype: Any = None, device: DeviceLike = None) -> Tensor:
        return of_shape(tuple(x.shape), dtype or x.dtype, device)

    OWN[name], OWN[f"{name}_like"] = of_shape, like


for _name in ("empty", "ones", "zeros"):
    _filled(_name)


def _kind_of(value: Any) -> DType:
    """The dtype of a tensor made of a number."""
    if isinstance(value, (Variable, np.generic)):
        return value.dtype
    if isinstance(value, bool):
        return np.dtype(np.bool_)
    if isinstance(value, int):
        return np.dtype(np.int64)
    real = get_default_dtype()
    return complex_dtype(real) if isinstance(value, complex) else real


@_own
def full(shape: Any, fill_value: Any, dtype: Any = None, device: DeviceLike = None) -> Tensor:
    check_device(device, "full")
    value = f.to(as_tensor(fill_value), dtype or _kind_of(fill_value))
    out: Tensor = f.broadcast_to(value, _sides(shape)).clone()
    return out


@_own
def full_like(x: Any, fill_value: Any, dtype: Any = None, device: DeviceLike = None) -> Tensor:
    return full(tuple(x.shape), fill_value, dtype or x.dtype, device)


@_own
def arange(
    start: Any, stop: Any = None, step: Any = 1, dtype: Any = None, device: DeviceLike = None
) -> Tensor:
    check_device(device, "arange")
    start, stop = (0, start) if stop is None else (start, stop)
    wanted = dtype or _kind_of(start + stop + step)
    return as_tensor(np.arange(start, stop, step).astype(wanted))


@_own
def linspace(
    start: Any, stop: Any, num: int, dtype: Any = None, device: DeviceLike = None,
    endpoint: bool = True,
) -> Tensor:  # fmt: skip
    check_device(device, "linspace")
    wanted = np.dtype(dtype or _kind_of(start * 1.0 + stop))
    if any(isinstance(v, Variable) for v in (start, stop)):
        return f.to(np.linspace(start, stop, num, endpoint), wanted)
    return as_tensor(np.linspace(start, stop, num, endpoint, dtype=wanted))


@_own
def eye(
    n_rows: int, n_cols: int | None = None, k: int = 0, dtype: Any = None,
    device: DeviceLike = None,
) -> Tensor:  # fmt: skip
    check_device(device, "eye")
    return as_tensor(np.eye(n_rows, n_cols, k, dtype or get_default_dtype()))


@_own
def asarray(
    obj: Any, dtype: Any = None, device: DeviceLike = None, copy: bool | None = None
) -> Tensor:
    """`tinygrad_cnn.asarray`; a tensor keeps its gradient."""
    if isinstance(obj, Variable):
        if copy is False and dtype is not None and np.dtype(dtype) != obj.dtype:
            raise ArgumentError(f"asarray: `copy` is False, but {obj.dtype} is not {dtype}")
        out = obj if dtype is None else f.to(obj, dtype)  # type: ignore[arg-type]
        return f.clone(out) if copy and out is obj else out  # type: ignore[arg-type,return-value]
    return f.asarray(obj, dtype=dtype, device=device, copy=copy)


def from_dlpack(x: Any, /, *, device: DeviceLike = None, copy: bool | None = None) -> Tensor:
    """`tinygrad_cnn.from_dlpack`."""
    return f.from_dlpack(x, device=device, copy=copy)


# ---- dtypes --------------------------------------------------------------------------------


@_own
def astype(x: Any, dtype: Any, copy: bool = True, device: DeviceLike = None) -> Tensor:
    check_device(device, "astype")
    out = f.to(x, dtype)
    return out.clone() if copy and out is x else out


@_own
def can_cast(from_: Any, to: Any) -> bool:
    return np.can_cast(getattr(from_, "dtype", from_), to)


@_own
def result_type(*arrays_and_dtypes: Any) -> DType:
    return np.result_type(*(getattr(v, "dtype", v) for v in arrays_and_dtypes))


# ---- what NumPy has otherwise --------------------------------------------------------------


@_own
def reshape(x: Any, shape: Any, copy: bool | None = None) -> Tensor:
    if copy is False:
        try:
            return x.view(tuple(shape))  # type: ignore[no-any-return]
        except RuntimeError as error:
            raise ArgumentError(f"reshape: `copy` is False, but it takes one: {error}") from None
    out = f.reshape(x, tuple(shape))
    return out.clone() if copy else out


@_own
def unstack(x: Any, axis: int = 0) -> tuple[Tensor, ...]:
    return f.unbind(x, *positions(axis, x.ndim))


def _cumulative(name: str, first: Any) -> None:
    running = getattr(np, name)

    def call(x: Any, axis: Any = None, dtype: Any = None, include_initial: bool = False) -> Any:
        if axis is None and x.ndim > 1:
            raise ArgumentError(f"{name}: `axis` must be given for {x.ndim} axes")
        x = x if x.ndim else f.reshape(x, (1,))
        (d,) = positions(-1 if axis is None else axis, x.ndim)
        out = running(x, axis=d, dtype=dtype)
        if not include_initial:
            return out
        shape = tuple(1 if i == d else n for i, n in enumerate(out.shape))
        return f.cat([first(shape, dtype=out.dtype), out], d)

    OWN[{"cumsum": "cumulative_sum", "cumprod": "cumulative_prod"}[name]] = call


_cumulative("cumsum", f.zeros)
_cumulative("cumprod", f.ones)


@_own
def clip(x: Any, min: Any = None, max: Any = None) -> Any:
    """The dtype stays that of ``x``."""
    low, high = (v if v is None else f.to(as_tensor(v), x.dtype) for v in (min, max))
    return x.clone() if min is None and max is None else np.clip(x, low, high)


@_own
def diff(x: Any, axis: int = -1, n: int = 1, prepend: Any = None, append: Any = None) -> Any:
    ends = {k: v for k, v in (("prepend", prepend), ("append", append)) if v is not None}
    return np.diff(x, n, axis, **ends)


@_own
def sort(x: Any, axis: int = -1, descending: bool = False, stable: bool = True) -> Any:
    if not descending:
        return np.sort(x, axis, kind="stable" if stable else None)
    return f.take_along_dim(x, argsort(x, axis, True, stable), axis)


@_own
def argsort(x: Any, axis: int = -1, descending: bool = False, stable: bool = True) -> Any:
    kind: Any = "stable" if stable else None
    if not descending:
        return np.argsort(x, axis, kind=kind)
    backwards = np.argsort(f.flip(x, axis), axis, kind=kind)  # equal ones in reverse order
    return f.flip(x.shape[axis] - 1 - backwards, axis)


@_own
def take_along_axis(x: Any, indices: Any, axis: int = -1) -> Any:
    return np.take_along_axis(x, indices, axis)


@_own
def broadcast_arrays(*arrays: Any) -> list[Any]:
    return list(f.broadcast_tensors(*arrays))


@_own
def meshgrid(*arrays: Any, indexing: Any = "xy") -> list[Any]:
    return list(np.meshgrid(*arrays, indexing=indexing))
