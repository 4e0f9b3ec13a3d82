"""NumPy's functions that move numbers in their own way, by one gather; those that sort and find.

What moves numbers (`numpy.insert`, `numpy.choose`, `numpy.pad`…) is asked of NumPy once, with the
places of the numbers for the numbers: the result says which goes where.
"""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np

from tinygrad_cnn import functions as f
from tinygrad_cnn.autograd.variable import Variable
from tinygrad_cnn.functions.numpy_protocol.serving import (
    Unserved,
    as_tensor,
    dtype_of_all,
    numbers,
    numpys,
    serves,
)
from tinygrad_cnn.types import Params

# ---- gathered ------------------------------------------------------------------------------


def gathered(sources: list[Any], places: Any, dtype: Any) -> Any:
    """The numbers of ``sources``, laid one after another, at ``places``: 0 is a zero."""
    flat = [f.to(f.ravel(x), dtype) for x in sources]
    return f.cat([f.zeros(1, dtype=dtype), *flat])[np.asarray(places, np.int64)]


def _numbered(value: Any, sources: list[Any]) -> Any:
    """``value`` with places for its numbers; lists of arrays stay lists."""
    if isinstance(value, (list, tuple)) and any(np.ndim(v) for v in value):
        return [_numbered(v, sources) for v in value]
    x = as_tensor(value)
    start = 1 + sum(s.numel() for s in sources)
    sources.append(x)
    return np.arange(start, start + x.numel()).reshape(x.shape)


def _moves(name: str, *data: str, first: bool = False, defaults: Params | None = None) -> None:
    """Serve a function that moves the numbers of its arguments ``data``; the dtype is NumPy's for
    all of them, or that of the first.
    """
    theirs = numpys(name)
    if theirs is None:
        return
    signature = inspect.signature(theirs)

    def move(*args: Any, **kwargs: Any) -> Any:
        given = signature.bind(*args, **kwargs).arguments
        if given.get("out") is not None:
            raise Unserved("`out` is not served")
        for key, value in (defaults or {}).items():
            given.setdefault(key, value)
        sources: list[Any] = []
        numbered = {k: _numbered(given[k], sources) for k in data if k in given}
        rest = {k: numbers(v) for k, v in given.items() if k not in data}
        call = signature.bind_partial()
        call.arguments.update(
            {k: {**rest, **numbered}[k] for k in signature.parameters if k in given}
        )
        found = theirs(*call.args, **call.kwargs)
        kept = [given[k] for k in data if k in given]
        if first:
            dtype = sources[0].dtype
        else:
            leaves = [v for k in kept for v in (k if isinstance(k, (list, tuple)) else [k])]
            dtype = dtype_of_all(leaves if name == "select" else map(as_tensor, leaves))
        if isinstance(found, (list, tuple)):
            return type(found)([gathered(sources, p, dtype) for p in found])
        return gathered(sources, found, dtype)

    move.__name__ = name
    serves(name, layout=True)(move)


_moves("append", "arr", "values")
_moves("choose", "choices")
_moves("compress", "a")
_moves("delete", "arr", first=True)
_moves("diag", "v", first=True)
_moves("diagflat", "v", first=True)
_moves("extract", "arr", first=True)
_moves("fliplr", "m", first=True)
_moves("flipud", "m", first=True)
_moves("insert", "arr", "values", first=True)
_moves("repeat", "a", first=True)
_moves("resize", "a", first=True)
_moves("rot90", "m", first=True)
_moves("select", "choicelist", "default", defaults={"default": 0})
_moves("take", "a", first=True)
_moves("take_along_axis", "arr", first=True)
_moves("tile", "A", first=True)
_moves("tril", "m", first=True)
_moves("triu", "m", first=True)
_moves("fft.fftshift", "x", first=True)
_moves("fft.ifftshift", "x", first=True)


@serves("trim_zeros", layout=True)
def _trim_zeros(filt: Any, trim: Any = "fb", axis: Any = None) -> Any:
    x = as_tensor(filt)
    held = x.detach().array
    params: Params = {} if axis is None else {"axis": axis}
    if held.ndim < 2:
        lead = len(held) - len(np.trim_zeros(held, "f")) if "f" in trim.lower() else 0
        kept = len(np.trim_zeros(held, trim, **params))
        return x[lead : lead + kept]
    raise Unserved("several axes are not served")


_PAD_VALUES = ("edge", "reflect", "symmetric", "wrap", "empty")


@serves("pad")
def _pad(array: Any, pad_width: Any, mode: Any = "constant", **kwargs: Any) -> Any:
    x = as_tensor(array)
    if mode in _PAD_VALUES and kwargs.get("reflect_type", "even") == "even":
        places = np.arange(1, x.numel() + 1).reshape(x.shape)
        return gathered([x], np.pad(places, pad_width, mode, **kwargs), x.dtype)
    if mode != "constant":
        raise Unserved(f"`mode` is {mode!r}, expected 'constant' or one of {_PAD_VALUES}")
    places = np.pad(np.arange(1, x.numel() + 1).reshape(x.shape), pad_width)
    inside = gathered([x], places, x.dtype)
    values = kwargs.get("constant_values", 0)
    if isinstance(values, Variable) or np.any(np.asarray(values) != 0):
        held = numbers(values)
        ground = np.pad(np.zeros(x.shape, x.dtype), pad_width, constant_values=held)
        return f.where(places > 0, inside, ground)
    return inside


# ---- sorted and found ----------------------------------------------------------------------


def _by_order(x: Any, order: Any, axis: int | None) -> Any:
    return f.take_along_dim(f.ravel(x) if axis is None else x, order, -1 if axis is None else axis)


@serves("sort")
def sort(a: Any, axis: int | None = -1, kind: Any = None, order: None = None, **stable: Any) -> Any:
    """`numpy.sort`."""
    return _by_order(a, np.argsort(a.detach().array, axis, kind, order, **stable), axis)


@serves("partition")
def _partition(a: Any, kth: Any, axis: int | None = -1, kind: Any = "introselect") -> Any:
    return _by_order(a, np.argpartition(a.detach().array, kth, axis, kind), axis)


@serves("sort_complex")
def _sort_complex(a: Any) -> Any:
    return f.to(sort(a, 0), a.dtype if a.dtype.kind == "c" else np.complex128)


def found_in(sources: list[Any], values: Any) -> Any:
    """``values``, each of which is among the numbers of ``sources``, with gradients to the first
    place where it is.
    """
    dtype = np.asarray(values).dtype
    pool = np.concatenate([s.detach().array.astype(dtype).ravel() for s in sources])
    order = np.argsort(pool, kind="stable")
    at = np.minimum(np.searchsorted(pool[order], values), max(len(pool) - 1, 0))
    return gathered(sources, order[at] + 1, dtype)


def _set_of(name: str, *data: str) -> None:
    """Serve a function of sets, whose first result is some of the numbers of ``data``."""
    theirs = numpys(name)
    if theirs is None:
        return
    signature = inspect.signature(theirs)

    def of_sets(*args: Any, **kwargs: Any) -> Any:
        call = signature.bind(*args, **kwargs)
        sources = [as_tensor(call.arguments[k]) for k in data]
        for key, value in zip(data, sources, strict=True):
            call.arguments[key] = value.detach().array
        found = theirs(*call.args, **call.kwargs)
        if not isinstance(found, tuple):
            return found_in(sources, found)
        rest = [as_tensor(v) for v in found[1:]]
        make = getattr(type(found), "_make", tuple)
        return make([found_in(sources, found[0]), *rest])

    serves(name)(of_sets)


for _name in ("unique", "unique_all", "unique_counts", "unique_inverse", "unique_values"):
    _set_of(_name, "ar" if _name == "unique" else "x")
for _name in ("union1d", "intersect1d", "setdiff1d", "setxor1d"):
    _set_of(_name, "ar1", "ar2")
