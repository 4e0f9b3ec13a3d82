"""What NumPy's functions do with tensors: ``np.exp(t)`` is differentiable, or says why not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tinygrad_cnn import functions as f
from tinygrad_cnn.autograd.variable import Variable, wrap
from tinygrad_cnn.errors import ArgumentError
from tinygrad_cnn.functions.export import EXPORTS
from tinygrad_cnn.types import Dims, Params, TensorLike

# NumPy's functions that have the arguments of ours.
_SAME = {theirs: e.function for e in EXPORTS.values() for theirs in e.numpy}


def _population(spread: Callable[..., Any]) -> Callable[..., Any]:
    """NumPy's var and std divide by n unless told otherwise."""

    def call(x: TensorLike, axis: Dims = None, ddof: float = 0, keepdims: bool = False) -> Any:
        return spread(x, axis, keepdim=keepdims, correction=ddof)

    return call


def _norm(x: Any, ord: float | str | None = None, axis: Dims = None, keepdims: bool = False) -> Any:
    ndim = x.ndim if axis is None else len(np.atleast_1d(axis))
    if ord is not None and ndim > 1:
        raise ArgumentError("np.linalg.norm: `ord` is for vectors here; leave it out for matrices")
    return f.norm(x, "fro" if ord is None else ord, axis, keepdims)


def _pad(x: Any, pad_width: Any, mode: str = "constant", constant_values: float = 0) -> Any:
    if mode != "constant":
        raise ArgumentError(
            f"np.pad: `mode` is {mode!r}, expected 'constant'; see tg.pad for others"
        )
    pairs = np.broadcast_to(pad_width, (x.ndim, 2))[::-1]  # tg.pad begins with the last axis
    return f.pad(x, tuple(int(n) for n in pairs.ravel()), value=constant_values)


_FUNCTIONS: dict[Any, Callable[..., Any]] = {
    **_SAME,
    np.clip: lambda x, a_min=None, a_max=None: f.clamp(x, a_min, a_max),
    np.concatenate: lambda xs, axis=0: f.cat(xs, axis),
    np.cumsum: lambda x, axis=None: f.cumsum(f.ravel(x), 0) if axis is None else f.cumsum(x, axis),
    np.diff: lambda x, n=1, axis=-1: f.diff(x, n, axis),
    np.expand_dims: lambda x, axis: f.unsqueeze(x, axis),
    np.flip: lambda x, axis=None: f.flip(x, tuple(range(x.ndim)) if axis is None else axis),
    np.linalg.norm: _norm,
    np.ones_like: lambda x, dtype=None: f.ones_like(x, dtype=dtype),
    np.outer: lambda a, b: f.outer(f.ravel(a), f.ravel(b)),
    np.pad: _pad,
    np.repeat: lambda x, repeats, axis=None: f.repeat_interleave(x, repeats, axis),
    np.reshape: lambda x, shape: f.reshape(x, shape),
    np.roll: lambda x, shift, axis=None: f.roll(x, shift, axis),
    np.round: lambda x, decimals=0: f.round(x, decimals=decimals),
    np.sort: lambda x, axis=-1: f.sort(x, axis).values,
    np.squeeze: lambda x, axis=None: f.squeeze(x, axis),
    np.stack: lambda xs, axis=0: f.stack(xs, axis),
    np.std: _population(f.std),
    np.tensordot: lambda a, b, axes=2: f.tensordot(a, b, axes),
    np.tile: lambda x, reps: f.tile(x, reps),
    np.transpose: lambda x, axes=None: f.permute(
        x, tuple(reversed(range(x.ndim))) if axes is None else axes
    ),
    np.tril: lambda x, k=0: f.tril(x, k),
    np.triu: lambda x, k=0: f.triu(x, k),
    np.var: _population(f.var),
    np.zeros_like: lambda x, dtype=None: f.zeros_like(x, dtype=dtype),
}


def _unwrap(value: Any, name: str) -> Any:
    """Arrays in place of tensors; TypeError where a gradient would be lost."""
    if isinstance(value, Variable):
        if value.current_node() is not None:
            raise TypeError(
                f"{name} has no derivative here, and its argument requires gradients: use the "
                f"tensor's own function, or pass detach() to compute without gradients"
            )
        return value.array
    if isinstance(value, (list, tuple)):
        return type(value)(_unwrap(v, name) for v in value)
    return value


def _wrap(value: Any) -> Any:
    if isinstance(value, (np.ndarray, np.generic)):
        result = wrap(value)
        result.storage.expose()  # NumPy may have returned a view of an argument
        return result
    if isinstance(value, tuple):
        return tuple(_wrap(v) for v in value)
    return value


def apply_ufunc(ufunc: np.ufunc, method: str, inputs: tuple[Any, ...], kwargs: Params) -> Any:
    """``Tensor.__array_ufunc__``."""
    known = _SAME.get(ufunc)
    if known is not None and method == "__call__" and not kwargs:
        return known(*inputs)
    name = f"np.{ufunc.__name__}" + ("" if method == "__call__" else f".{method}")
    out = kwargs.get("out")
    arrays = [_unwrap(v, name) for v in inputs]
    plain = {k: _unwrap(v, name) for k, v in kwargs.items()}
    result = getattr(ufunc, method)(*arrays, **plain)
    if out is None:
        return _wrap(result)
    for t in out:
        if isinstance(t, Variable):
            t._written_by(name)
    return out[0] if len(out) == 1 else out


def apply_function(function: Any, args: tuple[Any, ...], kwargs: Params) -> Any:
    """``Tensor.__array_function__``."""
    known = _FUNCTIONS.get(function)
    if known is not None:
        return known(*args, **kwargs)
    name = f"{function.__module__}.{function.__name__}".replace("numpy", "np", 1)
    plain = {k: _unwrap(v, name) for k, v in kwargs.items()}
    return _wrap(function(*_unwrap(tuple(args), name), **plain))
