"""NumPy's ufuncs on tensors: calls, and their methods ``reduce``, ``accumulate``, ``outer``…"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from tinygrad_cnn import functions as f
from tinygrad_cnn.autograd.variable import Variable
from tinygrad_cnn.functions.numpy_protocol.serving import (
    SERVED,
    Unserved,
    as_tensor,
    numbers,
    positions,
    serves,
)
from tinygrad_cnn.types import DType, Params

_OPERATORS = frozenset(
    getattr(np, name)
    for name in """add subtract multiply divide floor_divide remainder power matmul
    bitwise_and bitwise_or bitwise_xor left_shift right_shift
    equal not_equal less less_equal greater greater_equal""".split()
)
_WHOLE: dict[Any, Callable[..., Any]] = {
    np.add: f.sum,
    np.multiply: f.prod,
    np.maximum: f.amax,
    np.minimum: f.amin,
}
_NEVER_MIND: Params = {"order": "K", "subok": True, "casting": "same_kind", "where": True}
_AS_IF_NOT_GIVEN: Params = {**_NEVER_MIND, "out": None, "dtype": None, "signature": None}


@serves("sign")
def _sign(x: Any) -> Any:
    if x.dtype.kind == "c":
        return f.where(x == 0, f.zeros((), dtype=x.dtype), f.sgn(x))
    return f.where(f.isnan(x), f.full((), np.nan, dtype=x.dtype), f.sign(x))


@serves("rint")
def _rint(x: Any) -> Any:
    return f.round(x) if x.dtype.kind != "c" else f.complex(f.round(x.real), f.round(x.imag))


@serves("cbrt")
def _cbrt(x: Any) -> Any:
    return f.copysign(f.pow(f.abs(x), 1 / 3), x)


@serves("divmod")
def _divmod(a: Any, b: Any) -> Any:
    return f.floor_divide(a, b), f.remainder(a, b)


@serves("modf")
def _modf(x: Any) -> Any:
    whole = f.trunc(x)
    return f.where(f.isinf(x), f.copysign(f.zeros_like(x), x), x - whole), whole


serves("degrees", "rad2deg")(f.rad2deg)
serves("radians", "deg2rad")(f.deg2rad)
serves("float_power")(f.float_power)
serves("heaviside")(f.heaviside)
serves("ldexp")(f.ldexp)
serves("frexp")(lambda x: tuple(f.frexp(x)))
serves("signbit")(f.signbit)
serves("vecdot", "linalg.vecdot")(
    lambda a, b, axis=-1: f.sum(f.mul(f.conj(as_tensor(a)), as_tensor(b)), axis)
)
serves("matvec")(lambda a, b: f.squeeze(f.matmul(a, f.unsqueeze(b, -1)), -1))
serves("vecmat")(lambda a, b: f.squeeze(f.matmul(f.unsqueeze(f.conj(a), -2), b), -2))


def is_operator(ufunc: np.ufunc) -> bool:
    """Whether one of Python's operators of two arrays calls it."""
    return ufunc in _OPERATORS


def _loop(ufunc: np.ufunc, inputs: tuple[Any, ...], dtype: Any, casting: Any) -> list[DType]:
    """The dtypes that NumPy brings the inputs to."""
    kinds = [
        type(v) if type(v) in (int, float, complex) else as_tensor(v).dtype for v in inputs
    ] + [None] * ufunc.nout
    params: Params = {"casting": casting}
    if dtype is not None:
        params["signature"] = (None,) * ufunc.nin + (np.dtype(dtype),) * ufunc.nout
    return list(ufunc.resolve_dtypes(tuple(kinds), **params)[: ufunc.nin])


def call(ufunc: np.ufunc, inputs: tuple[Any, ...], kwargs: Params) -> Any:
    """The ufunc of ``inputs`` by our functions, in NumPy's dtypes.

    Python's operators of arrays call it too, so ``array + tensor`` is ``tensor + array``.

    Raises
    ------
    Unserved
        An argument of NumPy's is not served.
    """
    ours = SERVED.get(ufunc)
    if ours is None:
        raise Unserved("it is not served")
    if not kwargs:
        if ufunc in _OPERATORS and isinstance(inputs[0], (np.ndarray, np.generic)):
            return ours(*inputs)
        dtypes = {x._value.dtype if isinstance(x, Variable) else None for x in inputs}
        if len(dtypes) == 1:  # tensors of one inexact dtype: nothing is brought together
            return ours(*inputs)
    rest = {k: v for k, v in kwargs.items() if _AS_IF_NOT_GIVEN.get(k, NotImplemented) is not v}
    dtype, casting = rest.pop("dtype", None), rest.pop("casting", "same_kind")
    rest = {k: v for k, v in rest.items() if k == "where" or _NEVER_MIND.get(k) != v}
    extra = {k: rest.pop(k) for k in ("axis",) if k in rest and ufunc.__name__ == "vecdot"}
    if rest:
        raise Unserved(f"`{next(iter(rest))}` is not served")
    loop = _loop(ufunc, inputs, dtype, casting)
    return ours(*(f.to(as_tensor(v), d) for v, d in zip(inputs, loop, strict=True)), **extra)


def _folded(ufunc: np.ufunc, parts: Any) -> Any:
    return functools.reduce(lambda a, b: call(ufunc, (a, b), {}), parts)


def _reduce(
    ufunc: np.ufunc,
    array: Any,
    axis: Any = 0,
    dtype: Any = None,
    out: None = None,
    keepdims: bool = False,
    initial: Any = None,
) -> Any:
    x = as_tensor(array) if dtype is None else f.to(as_tensor(array), dtype)
    dims = positions(axis, x.ndim)
    whole = _WHOLE.get(ufunc)
    if whole is not None and initial is None:
        return whole(x, dims, keepdims) if dims else x.clone()
    for d in sorted(dims, reverse=True):
        first = (
            ()
            if initial is None or len(dims) > 1
            else (f.broadcast_to(initial, x.shape[:d] + x.shape[d + 1 :]),)
        )
        x = _folded(ufunc, (*first, *f.unbind(x, d)))
    if initial is not None and len(dims) != 1:
        x = call(ufunc, (initial, x), {})
    for d in sorted(dims) if keepdims else ():
        x = f.unsqueeze(x, d)
    return x


def _accumulate(
    ufunc: np.ufunc, array: Any, axis: int = 0, dtype: Any = None, out: None = None
) -> Any:
    x = as_tensor(array) if dtype is None else f.to(as_tensor(array), dtype)
    (d,) = positions(axis, x.ndim)
    if ufunc is np.add:
        return f.cumsum(x, d)
    so_far: list[Any] = []
    for part in f.unbind(x, d):
        so_far.append(part if not so_far else call(ufunc, (so_far[-1], part), {}))
    return f.stack(so_far, d) if so_far else x.clone()


def _reduceat(
    ufunc: np.ufunc, array: Any, indices: Any, axis: int = 0, dtype: Any = None, out: None = None
) -> Any:
    x = as_tensor(array)
    (d,) = positions(axis, x.ndim)
    starts = np.asarray(numbers(indices)).tolist()
    parts = []
    for start, end in zip(starts, [*starts[1:], x.shape[d]], strict=True):
        part = f.narrow(x, d, start, max(end - start, 1))
        parts.append(_reduce(ufunc, part, d, dtype))
    return f.stack(parts, d)


def _outer(ufunc: np.ufunc, a: Any, b: Any, /, **kwargs: Any) -> Any:
    left, right = as_tensor(a), as_tensor(b)
    wide = f.reshape(left, left.shape + (1,) * right.ndim)
    return call(ufunc, (wide if left.ndim or right.ndim else a, right), kwargs)


METHODS: dict[str, Callable[..., Any]] = {
    "reduce": _reduce,
    "accumulate": _accumulate,
    "reduceat": _reduceat,
    "outer": _outer,
}


def method(ufunc: np.ufunc, name: str, inputs: tuple[Any, ...], kwargs: Params) -> Any:
    """A method of the ufunc, such as ``np.add.reduce``, by our functions.

    Raises
    ------
    Unserved
        The ufunc, or an argument of NumPy's, is not served.
    """
    if ufunc not in SERVED:
        raise Unserved("it is not served")
    if name not in METHODS:
        raise Unserved("it changes its first argument in place; use index_add or index_put")
    rest = {k: v for k, v in kwargs.items() if not (k == "where" and v is True)}
    if rest.get("out") is not None or "where" in rest:
        raise Unserved(f"`{'where' if 'where' in rest else 'out'}` is not served")
    return METHODS[name](ufunc, *inputs, **rest)
