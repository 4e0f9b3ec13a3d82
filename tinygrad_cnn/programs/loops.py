"""Functions of NumPy's as launches: which of its loops a function has run, found by calling it.

What the engine calls is mostly one or some calls of ufuncs. They are seen by giving it arrays of a
class that NumPy asks first (NEP 13 and NEP 18). Each is called, and its loop launched, which writes
the same numbers to the same place; the launches are recorded like those of other kernels, and tried
out like them (`trial`): whatever this has missed, the function is called as it was.
"""

from __future__ import annotations

import ctypes
import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.lib.array_utils import byte_bounds

from tinygrad_cnn.autograd.layout import bytes_of, memory_of
from tinygrad_cnn.kernels.fp_errors import ignoring_fp_errors
from tinygrad_cnn.kernels.tape import fixed
from tinygrad_cnn.programs.memory import same_bits
from tinygrad_cnn.types import Array

KINDS = frozenset("?bBhHiIlLqQefd")  # dtypes whose loops round alike wherever arrays lie
MOST_INPUTS = 3
MOST_AXES = 16
_HEAD = object.__basicsize__  # of a ufunc; after it come the fields of `PyUFuncObject`


# Attributes that copy no numbers, or are defined here.
_ALLOWED = frozenset(
    "T astype base clip copy dtype flags imag itemsize mT nbytes ndim ravel real reshape shape "
    "size squeeze strides swapaxes transpose view __class__ __dict__ __getitem__ __len__".split()
)


# Arguments of ufuncs that say nothing.
_AS_USUAL = {"where": True, "casting": "unsafe", "subok": False, "keepdims": False}


class Untraceable(Exception):
    """Something else than calls of ufuncs is done."""


class Traced(np.ndarray):
    """An array of which every use is either launched or raises `Untraceable`."""

    def __array_ufunc__(
        self, ufunc: np.ufunc, method: str, *inputs: Any, out: Any = None, **kwargs: Any
    ) -> Any:
        if ufunc.nout != 1 or ufunc.signature is not None:
            raise Untraceable
        values, target = [_plain(value) for value in inputs], out and _plain(out[0])
        kwargs = {k: v for k, v in kwargs.items() if v is not None and v != _AS_USUAL.get(k)}
        if method == "reduce" and target is None:
            return _reduce(ufunc, *values, **kwargs)
        if method != "__call__" or kwargs:
            raise Untraceable
        return _call(ufunc, values, target)

    def __array_function__(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        own = _FUNCTIONS.get(func)
        if own is not None:
            return own(*args, **kwargs)
        if func not in _VIEWS:
            raise Untraceable
        return super().__array_function__(func, types, args, kwargs)

    def astype(  # type: ignore[override]
        self, dtype: Any, order: Any = "K", casting: Any = "unsafe", **kwargs: Any
    ) -> Any:
        if kwargs.get("copy") is False and np.dtype(dtype) == self.dtype:
            return self
        return _cast(_plain(self), np.dtype(dtype), order)

    def copy(self, order: Any = "C") -> Any:
        return _copied(_plain(self), order)

    def __getattribute__(self, name: str) -> Any:
        if name in _ALLOWED or name.startswith("__array"):
            return super().__getattribute__(name)
        raise Untraceable

    def _unknown(self, *args: Any, **kwargs: Any) -> Any:
        raise Untraceable

    __bool__ = __int__ = __float__ = __complex__ = __index__ = __iter__ = _unknown
    __setitem__ = __contains__ = _unknown

    def __getitem__(self, index: Any) -> Any:
        if any(isinstance(part, (np.ndarray, list)) for part in _parts(index)):
            raise Untraceable
        return super().__getitem__(index)


def launched(function: Callable[..., Any], arrays: Sequence[Any], params: Mapping[str, Any]) -> Any:
    """``function(*arrays, **params)``, with launches for all that it computes.

    Raises
    ------
    Untraceable
        There are none.
    """
    if function is np.ascontiguousarray:  # which asks no class
        function = _ascontiguousarray
    given = _map(_traced, tuple(arrays)), _map(_traced, dict(params))
    return _map(_plain, ignoring_fp_errors(function, *given))


def same(one: Any, other: Any) -> bool:
    """Whether two results are of one kind, and have the same numbers, bit by bit."""
    if isinstance(one, np.ndarray):
        if type(other) is not np.ndarray:
            return False
        like = (one.shape, one.dtype, one.strides) == (other.shape, other.dtype, other.strides)
        return like and same_bits(one, other)
    if type(one) in (tuple, list) and type(other) is type(one):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one is other)


def _map(change: Callable[[Any], Any], value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return change(value)
    if type(value) in (tuple, list):
        return type(value)([_map(change, part) for part in value])
    if type(value) is dict:
        return {name: _map(change, part) for name, part in value.items()}
    if value is None or isinstance(value, (bool, int, float, complex, str, np.dtype, type)):
        return value
    if callable(value):
        return value
    raise Untraceable


def _parts(index: Any) -> tuple[Any, ...]:
    return index if isinstance(index, tuple) else (index,)


def _traced(array: Array) -> Any:
    return array.view(Traced)


def _plain(value: Any) -> Any:
    return value.view(np.ndarray) if type(value) is Traced else value


# ---- what is launched ----------------------------------------------------------------------


def _kernels() -> Any:
    """The kernels, once they are needed: without machine code there are none."""
    from tinygrad_cnn.kernels.jit.pointwise import ufuncs

    return ufuncs


def _call(ufunc: np.ufunc, values: list[Any], out: Array | None) -> Any:
    """A ufunc of arrays, and of Python's numbers; written to out, if that is given."""
    if len(values) > MOST_INPUTS:
        raise Untraceable
    asked = [v.dtype if isinstance(v, (np.ndarray, np.generic)) else type(v) for v in values]
    try:
        dtypes = ufunc.resolve_dtypes((*asked, None))
    except TypeError:
        raise Untraceable from None
    for n, (value, dtype) in enumerate(zip(values, dtypes, strict=False)):
        if not isinstance(value, np.ndarray):
            values[n] = fixed(np.asarray(value, dtype))
        elif value.dtype != dtype:
            values[n] = _plain(_cast(value, dtype, "K"))
    if ufunc is np.power and dtypes[0].kind in "iu":  # whose loop raises an error
        raise Untraceable
    result = np.asarray(ufunc(*values))
    if out is None:
        _launch(ufunc, values, result)
        return result.view(Traced)
    if out.shape != result.shape or any(np.may_share_memory(v, out) for v in values):
        raise Untraceable  # what is changed in place has to be made anew each time
    _launch(ufunc, values, out)
    return out.view(Traced)


def _reduce(
    ufunc: np.ufunc, x: Any, axis: Any = None, dtype: Any = None, keepdims: Any = False
) -> Any:
    """A ufunc along axes: its loop adds, so to say, to what stands in the result."""
    result = np.asarray(ufunc.reduce(x, axis=axis, dtype=dtype, keepdims=keepdims))
    axes = range(x.ndim) if axis is None else axis if isinstance(axis, tuple) else (axis,)
    gone = {a % max(1, x.ndim) for a in axes}
    if x.dtype != result.dtype:
        x = _plain(_cast(x, result.dtype, "K"))
    out = result.reshape([1 if a in gone else n for a, n in enumerate(x.shape)])  # a view
    if ufunc.identity is not None:
        first: Array = fixed(np.asarray(ufunc.identity, out.dtype))
    elif ufunc in (np.maximum, np.minimum):  # of a number with itself they are this number
        first = x[tuple([slice(0, 1) if a in gone else slice(None) for a in range(x.ndim)])]
    else:
        raise Untraceable
    # The operands of both are x, what there is at first, and the result.
    copy = _copying(out)
    start = _plan(copy, [*[first] * copy.nin, out], out.shape, out, [*[1] * copy.nin, 3])
    plan = _plan(ufunc, [out, x, out], x.shape, x, [3, 0, 3])
    _run(plan, [x, first, first, out], 0, start)  # in one share
    return result.view(Traced)


def _launch(ufunc: np.ufunc, values: Sequence[Array], out: Array) -> None:
    """Have the loop run that writes ``ufunc(*values)`` to out, where it stands already."""
    operands = [*values, out]
    plan = _plan(ufunc, operands, out.shape, out, [*range(len(values)), MOST_INPUTS])
    memory = [*values, *[out] * (MOST_INPUTS + 1 - len(values))]
    _run(plan, memory, sum(a.itemsize for a in operands) * out.size)


def _plan(
    ufunc: np.ufunc, operands: Sequence[Array], shape: Any, leading: Array, numbers: Sequence[int]
) -> Array:
    """How a loop goes through operands of a shape, in the order of one, each in the memory of this
    number.
    """
    found = _loops(ufunc).get("".join(a.dtype.char for a in operands))
    if found is None or not all(a.dtype.isnative and a.flags.aligned and a.size for a in operands):
        raise Untraceable
    strides = [np.broadcast_to(a, shape).strides for a in operands]
    sizes, steps = _nest(shape, strides, leading.strides)
    if len(sizes) > MOST_AXES:
        raise Untraceable
    plan = [*found, len(operands), len(sizes), *sizes]
    for array, number, each in zip(operands, numbers, steps, strict=True):
        plan += [number, array.ctypes.data - byte_bounds(array)[0], *each]
    return fixed(np.array(plan, np.int64))


def _run(plan: Array, memory: Sequence[Array], nbytes: int, *start: Array) -> None:
    flat = []
    for array in memory:
        root, (low, high) = memory_of(array), byte_bounds(array)
        first = byte_bounds(root)[0]
        flat.append(bytes_of(root)[low - first : high - first])
    _kernels().loop(plan, flat, nbytes, *start)


def _nest(
    shape: Sequence[int], strides: Sequence[Sequence[int]], leading: Sequence[int]
) -> tuple[list[int], list[Any]]:
    """The axes of operands as NumPy goes through them: in the order in which the leading one lies
    in memory, and those as one that lie like one in all operands.
    """
    order = sorted(range(len(shape)), key=lambda axis: -abs(leading[axis]))
    order = [axis for axis in order if shape[axis] != 1]
    sizes: list[int] = []
    steps: list[list[int]] = [[] for _ in strides]
    for axis in order:
        n, each = shape[axis], [s[axis] for s in strides]
        if sizes and all(known[-1] == n * step for known, step in zip(steps, each, strict=True)):
            sizes[-1] *= n
            for known, step in zip(steps, each, strict=True):
                known[-1] = step
        else:
            sizes.append(n)
            for known, step in zip(steps, each, strict=True):
                known.append(step)
    return (sizes, steps) if sizes else ([1], [[0] for _ in strides])


@functools.cache
def _loops(ufunc: np.ufunc) -> dict[str, tuple[int, int]]:
    """Addresses of a ufunc's loops, and of their data, by the characters of the dtypes."""
    fields = np.frombuffer(ctypes.string_at(id(ufunc) + _HEAD, 64), np.int64)
    counts = fields.view(np.int32)[[0, 1, 2, 8]].tolist()
    kinds = [kind.replace("->", "") for kind in ufunc.types]
    if counts != [ufunc.nin, ufunc.nout, ufunc.nargs, len(kinds)]:
        return {}
    codes = [np.dtype(char).num for kind in kinds for char in kind]
    if ctypes.string_at(int(fields[6]), len(codes)) != bytes(codes):
        return {}
    words = [ctypes.string_at(int(at), 8 * len(kinds)) for at in fields[2:4]]
    functions, data = (np.frombuffer(word, np.int64).tolist() for word in words)
    found: dict[str, tuple[int, int]] = {}
    for kind, function, more in zip(kinds, functions, data, strict=True):
        if function and set(kind) <= set(KINDS):
            found.setdefault(kind, (function, more))
    return found


def _cast(a: Array, dtype: np.dtype[Any], order: str) -> Any:
    if a.dtype == dtype:
        return _copied(a, order)
    result = a.astype(dtype, order=order)  # type: ignore[call-overload]
    flat, out = a.reshape(-1, order="A"), result.reshape(-1, order="A")
    real = {a.dtype.kind, dtype.kind} <= set("bif") and "e" not in (a.dtype.char, dtype.char)
    if not (real and np.may_share_memory(flat, a) and np.may_share_memory(out, result)):
        raise Untraceable
    if a.strides != tuple(s * a.itemsize // dtype.itemsize for s in result.strides):
        raise Untraceable
    _kernels().cast(flat, out)
    return result.view(Traced)


def _copied(a: Array, order: Any) -> Any:
    result = a.copy(order=order)
    _copy_to(a, result)
    return result.view(Traced)


def _copying(a: Array) -> np.ufunc:
    """A ufunc that gives what it gets, once or twice."""
    return np.logical_or if a.dtype.kind == "b" else np.positive


def _copy_to(a: Array, out: Array) -> None:
    copy = _copying(a)
    _launch(copy, [a] * copy.nin, out)


def _where(condition: Any, *values: Any) -> Any:
    which, *plain = map(_plain, (condition, *values))
    if len(plain) != 2 or not isinstance(which, np.ndarray) or which.dtype != bool:
        raise Untraceable
    result = np.where(which, *plain)
    both = [v if isinstance(v, np.ndarray) else fixed(np.asarray(v, result.dtype)) for v in plain]
    operands = [v.reshape(-1) for v in (which, *both, result)]
    for array, flat in zip((which, *both, result), operands, strict=True):
        same = array.flags.c_contiguous and array.dtype in (result.dtype, which.dtype)
        if not same or flat.size not in (1, result.size):
            raise Untraceable
    if which.size != result.size or any(v.dtype != result.dtype for v in both) or not result.size:
        raise Untraceable
    _kernels().select(*operands)
    return result.view(Traced)


def _concatenate(arrays: Any, axis: int | None = 0, **kwargs: Any) -> Any:
    parts = [_plain(a) for a in arrays]
    if kwargs or axis is None or len({a.dtype for a in parts}) != 1:
        raise Untraceable
    result = np.concatenate(parts, axis)
    at = 0
    for part in parts:
        place = [slice(None)] * result.ndim
        place[axis] = slice(at, at + part.shape[axis])
        at += part.shape[axis]
        if part.size:
            _copy_to(part, result[tuple(place)])
    return result.view(Traced)


def _ascontiguousarray(a: Any, dtype: Any = None) -> Any:
    if dtype is not None or a.flags.c_contiguous:
        return a
    return _copied(_plain(a), "C")


def _place_of(find: Any) -> Callable[..., Any]:
    """What `numpy.argmax` or `numpy.argmin` does."""

    def place(a: Any, axis: int | None = None, out: Any = None, *, keepdims: bool = False) -> Any:
        x = _plain(a)
        result = np.asarray(find(x, axis=axis, keepdims=keepdims))
        if not (x.flags.c_contiguous and x.dtype.char in "fd" and x.size) or out is not None:
            raise Untraceable
        at = 0 if axis is None else axis % x.ndim
        shape = (1, x.size, 1) if axis is None else (math.prod(x.shape[:at]), x.shape[at], -1)
        _kernels().place(x.reshape(shape), result.reshape(-1), largest=find is np.argmax)
        return result.view(Traced)

    return place


_FUNCTIONS: dict[Any, Callable[..., Any]] = {
    np.argmax: _place_of(np.argmax),
    np.argmin: _place_of(np.argmin),
    np.where: _where,
    np.concatenate: _concatenate,
    np.copy: lambda a, order="K", subok=False: _copied(_plain(a), order),
}
_VIEWS = {
    np.reshape, np.transpose, np.broadcast_to, np.expand_dims, np.squeeze, np.moveaxis, np.swapaxes,
    np.ravel, np.atleast_1d, np.flip, np.clip, np.shape, np.ndim, np.size, np.stack, np.result_type,
    np.iscomplexobj, np.may_share_memory,
}  # fmt: skip
