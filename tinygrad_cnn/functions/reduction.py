"""Reductions. ``dim`` is an axis, several, or None for all; NumPy's names are accepted too."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from tinygrad_cnn.autograd.variable import wrap
from tinygrad_cnn.functions.convert import axes, axis, numpy_names, to_tensor
from tinygrad_cnn.functions.elementwise import maximum, minimum, pow, sqrt, to
from tinygrad_cnn.ops import index as indexing
from tinygrad_cnn.ops import reduce as ops
from tinygrad_cnn.ops.elementwise import abs
from tinygrad_cnn.ops.shape import reshape

if TYPE_CHECKING:
    from tinygrad_cnn.tensor import Tensor

__all__ = [
    "all",
    "amax",
    "amin",
    "any",
    "argmax",
    "argmin",
    "argsort",
    "count_nonzero",
    "cumsum",
    "logsumexp",
    "max",
    "mean",
    "median",
    "min",
    "norm",
    "prod",
    "sort",
    "std",
    "std_mean",
    "sum",
    "topk",
    "var",
    "var_mean",
]


class ValuesIndices(NamedTuple):
    """What a search along one axis returns: the values found and where they were."""

    values: Any
    indices: Any


@numpy_names
def sum(x: Any, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    """Sum over ``dim``; integers and bools give int64.

    >>> import tinygrad_cnn as tg
    >>> tg.sum(tg.ones(2, 3), dim=1)
    tensor([3., 3.])
    """
    x = to_tensor(x) if dtype is None else to(x, dtype)
    return ops.sum(x, dim=axes("sum", dim, x.array.ndim), keepdim=keepdim)  # type: ignore[no-any-return]


def _floating(name: str, x: Any, dtype: Any = None) -> Tensor:
    x = to_tensor(x) if dtype is None else to(x, dtype)
    if x.array.dtype.kind != "f":
        raise TypeError(
            f"{name}: `x` is {x.array.dtype}, expected a floating dtype (x.float() makes one)"
        )
    return x


@numpy_names
def mean(x: Any, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    """Mean over ``dim`` of a floating tensor."""
    x = _floating("mean", x, dtype)
    return ops.mean(x, dim=axes("mean", dim, x.array.ndim), keepdim=keepdim)  # type: ignore[no-any-return]


@numpy_names
def prod(x: Any, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    """Product over ``dim``; integers and bools give int64."""
    x = to_tensor(x) if dtype is None else to(x, dtype)
    return ops.prod(x, dim=axes("prod", dim, x.array.ndim), keepdim=keepdim)  # type: ignore[no-any-return]


def _correction(unbiased: bool | None, correction: float | None) -> float:
    if unbiased is not None and correction is not None:
        raise ValueError("var: `unbiased` and `correction` say the same thing; give one")
    return (1.0 if unbiased else 0.0) if unbiased is not None else 1 if correction is None else correction


@numpy_names
def var(
    x: Any,
    dim: Any = None,
    unbiased: bool | None = None,
    keepdim: bool = False,
    *,
    correction: float | None = None,
) -> Tensor:
    """Variance over ``dim``, with ``n - correction`` (default ``n - 1``) below the line.

    >>> import tinygrad_cnn as tg
    >>> tg.var(tg.tensor([1.0, 2.0, 3.0]))
    tensor(1.)
    """
    if isinstance(dim, bool):  # var(x, unbiased), as PyTorch allows
        dim, unbiased = None, dim
    x = _floating("var", x)
    dims = axes("var", dim, x.array.ndim)
    return ops.var(x, dim=dims, correction=_correction(unbiased, correction), keepdim=keepdim)  # type: ignore[no-any-return]


@numpy_names
def std(
    x: Any,
    dim: Any = None,
    unbiased: bool | None = None,
    keepdim: bool = False,
    *,
    correction: float | None = None,
) -> Tensor:
    """Square root of `var`."""
    return sqrt(var(x, dim, unbiased, keepdim, correction=correction))  # type: ignore[no-any-return]


@numpy_names
def var_mean(x: Any, dim: Any = None, keepdim: bool = False, *, correction: float = 1) -> Any:
    """`var` and `mean`."""
    return var(x, dim, None, keepdim, correction=correction), mean(x, dim, keepdim)


@numpy_names
def std_mean(x: Any, dim: Any = None, keepdim: bool = False, *, correction: float = 1) -> Any:
    """`std` and `mean`."""
    return std(x, dim, None, keepdim, correction=correction), mean(x, dim, keepdim)


def _not_empty(name: str, x: Tensor, dims: tuple[int, ...]) -> None:
    for d in dims:
        if x.array.shape[d] == 0:
            raise IndexError(
                f"{name}: `x` has shape {x.array.shape}, and there is no value to choose along "
                f"axis {d}"
            )


@numpy_names
def amax(x: Any, dim: Any = None, keepdim: bool = False) -> Tensor:
    """Largest value over ``dim``; equal ones share the gradient."""
    x = to_tensor(x)
    dims = axes("amax", dim, x.array.ndim)
    _not_empty("amax", x, dims)
    return ops.amax(x, dim=dims, keepdim=keepdim)  # type: ignore[no-any-return]


@numpy_names
def amin(x: Any, dim: Any = None, keepdim: bool = False) -> Tensor:
    """Smallest value over ``dim``; equal ones share the gradient."""
    x = to_tensor(x)
    dims = axes("amin", dim, x.array.ndim)
    _not_empty("amin", x, dims)
    return ops.amin(x, dim=dims, keepdim=keepdim)  # type: ignore[no-any-return]


def _arg(name: str, x: Any, dim: Any, keepdim: bool) -> Tensor:
    x = to_tensor(x)
    find = getattr(np, name)
    if dim is None:
        _not_empty(name, x, tuple(range(x.array.ndim)))
        out = np.asarray(find(x.array), np.int64)
        return wrap(out.reshape((1,) * x.array.ndim) if keepdim else out)  # type: ignore[no-any-return]
    d = axis(name, dim, x.array.ndim)
    if not x.array.ndim:
        return wrap(np.zeros((), np.int64))  # type: ignore[no-any-return]
    _not_empty(name, x, (d,))
    return wrap(np.asarray(find(x.array, axis=d, keepdims=keepdim), np.int64))  # type: ignore[no-any-return]


@numpy_names
def argmax(x: Any, dim: int | None = None, keepdim: bool = False) -> Tensor:
    """Index of the largest value along ``dim`` (in the flattened tensor if None); the first one.

    >>> import tinygrad_cnn as tg
    >>> tg.argmax(tg.tensor([[1, 5], [7, 2]]), dim=1)
    tensor([1, 0])
    """
    return _arg("argmax", x, dim, keepdim)


@numpy_names
def argmin(x: Any, dim: int | None = None, keepdim: bool = False) -> Tensor:
    """Index of the smallest value along ``dim`` (in the flattened tensor if None); the first one."""
    return _arg("argmin", x, dim, keepdim)


def _along(x: Tensor, index: Tensor, d: int, keepdim: bool) -> ValuesIndices:
    """The values of ``x`` at ``index`` (which keeps the axis), and the index."""
    if not x.array.ndim:
        return ValuesIndices(x.clone(), index)
    values = indexing.gather(x, index, dim=d)
    if keepdim:
        return ValuesIndices(values, index)
    shape = tuple(n for i, n in enumerate(x.array.shape) if i != d)
    return ValuesIndices(reshape(values, shape=shape), wrap(index.array.reshape(shape)))


@numpy_names
def max(x: Any, dim: Any = None, keepdim: bool = False) -> Any:
    """The largest value; along one axis its index too; with a tensor as ``dim``: `maximum`.

    >>> import tinygrad_cnn as tg
    >>> values, indices = tg.max(tg.tensor([[1, 5], [7, 2]]), dim=1)
    >>> values, indices
    (tensor([5, 7]), tensor([1, 0]))
    """
    if dim is None:
        return amax(x)
    if hasattr(dim, "shape"):
        return maximum(x, dim)
    x = to_tensor(x)
    d = axis("max", dim, x.array.ndim)
    return _along(x, argmax(x, d, keepdim=True), d, keepdim)


@numpy_names
def min(x: Any, dim: Any = None, keepdim: bool = False) -> Any:
    """The smallest value; along one axis its index too; with a tensor as ``dim``: `minimum`."""
    if dim is None:
        return amin(x)
    if hasattr(dim, "shape"):
        return minimum(x, dim)
    x = to_tensor(x)
    d = axis("min", dim, x.array.ndim)
    return _along(x, argmin(x, d, keepdim=True), d, keepdim)


@numpy_names
def any(x: Any, dim: Any = None, keepdim: bool = False) -> Tensor:
    """Whether any value is true (not 0)."""
    x = to_tensor(x)
    return wrap(np.any(x.array, axis=axes("any", dim, x.array.ndim), keepdims=keepdim))  # type: ignore[no-any-return]


@numpy_names
def all(x: Any, dim: Any = None, keepdim: bool = False) -> Tensor:
    """Whether all values are true (not 0)."""
    x = to_tensor(x)
    return wrap(np.all(x.array, axis=axes("all", dim, x.array.ndim), keepdims=keepdim))  # type: ignore[no-any-return]


@numpy_names
def count_nonzero(x: Any, dim: Any = None) -> Tensor:
    """How many values are not 0."""
    x = to_tensor(x)
    return wrap(np.asarray(np.count_nonzero(x.array, axis=axes("count_nonzero", dim, x.array.ndim)), np.int64))  # type: ignore[no-any-return]


@numpy_names
def norm(x: Any, p: Any = "fro", dim: Any = None, keepdim: bool = False) -> Tensor:
    """Vector norm ``sum(|x|**p)**(1/p)`` over ``dim``; ``p`` may be inf, -inf, 0 or ``"fro"`` (2).

    The derivative at 0 is 0.
    """
    x = _floating("norm", x)
    dims = axes("norm", dim, x.array.ndim)
    if p in ("fro", None) or p == 2:
        return ops.norm2(x, dim=dims, keepdim=keepdim)  # type: ignore[no-any-return]
    if not isinstance(p, (int, float)):
        raise ValueError(f"norm: `p` is {p!r}, expected a number or 'fro'")
    size = abs(x)
    if p == math.inf:
        return ops.amax(size, dim=dims, keepdim=keepdim)  # type: ignore[no-any-return]
    if p == -math.inf:
        return ops.amin(size, dim=dims, keepdim=keepdim)  # type: ignore[no-any-return]
    if p == 0:
        return ops.sum(to(wrap(x.array != 0), x.array.dtype), dim=dims, keepdim=keepdim)  # type: ignore[no-any-return]
    if p == 1:
        return ops.sum(size, dim=dims, keepdim=keepdim)  # type: ignore[no-any-return]
    return pow(ops.sum(pow(size, p), dim=dims, keepdim=keepdim), 1 / p)


@numpy_names
def logsumexp(x: Any, dim: Any = None, keepdim: bool = False) -> Tensor:
    """``log(sum(exp(x)))`` over ``dim``, without overflow."""
    x = to_tensor(x)
    return ops.logsumexp(x, dim=axes("logsumexp", dim, x.array.ndim), keepdim=keepdim)  # type: ignore[no-any-return]


@numpy_names
def cumsum(x: Any, dim: int, *, dtype: Any = None) -> Tensor:
    """Running sum along ``dim``; integers and bools give int64."""
    x = to_tensor(x) if dtype is None else to(x, dtype)
    d = axis("cumsum", dim, x.array.ndim)
    if not x.array.ndim:
        return ops.sum(x, dim=(), keepdim=False)  # type: ignore[no-any-return]
    return ops.cumsum(x, dim=d)  # type: ignore[no-any-return]


# ---- order ---------------------------------------------------------------------------------


def _order(x: Tensor, d: int, descending: bool) -> np.ndarray[Any, Any]:
    values = x.array
    if not descending:
        return np.argsort(values, axis=d, kind="stable")
    # a stable descending order: sort the reversed sequence upwards and read both backwards
    back = np.argsort(np.flip(values, d), axis=d, kind="stable")
    return np.flip(values.shape[d] - 1 - back, d)


@numpy_names
def sort(x: Any, dim: int = -1, descending: bool = False, stable: bool = True) -> ValuesIndices:
    """``x`` in order along ``dim``, with the indices; equal values keep their order.

    >>> import tinygrad_cnn as tg
    >>> tg.sort(tg.tensor([3, 1, 2])).values
    tensor([1, 2, 3])
    """
    x = to_tensor(x)
    d = axis("sort", dim, x.array.ndim)
    if not x.array.ndim:
        return ValuesIndices(x.clone(), wrap(np.zeros((), np.int64)))
    index = wrap(_order(x, d, descending).astype(np.int64))
    return ValuesIndices(indexing.gather(x, index, dim=d), index)


@numpy_names
def argsort(x: Any, dim: int = -1, descending: bool = False, stable: bool = True) -> Tensor:
    """The indices that put ``x`` in order along ``dim``."""
    return sort(x, dim, descending).indices  # type: ignore[no-any-return]


@numpy_names
def topk(x: Any, k: int, dim: int = -1, largest: bool = True, sorted: bool = True) -> ValuesIndices:
    """The ``k`` largest (or smallest) values along ``dim``, best first, with their indices."""
    x = to_tensor(x)
    d = axis("topk", dim, x.array.ndim)
    if not 0 <= k <= (x.array.shape[d] if x.array.ndim else 1):
        raise ValueError(f"topk: `k` is {k}, but `x` has shape {x.array.shape} (dim {d})")
    if not x.array.ndim:
        return sort(x)
    index = np.take(_order(x, d, largest), range(k), axis=d)
    where = wrap(np.ascontiguousarray(index).astype(np.int64))
    return ValuesIndices(indexing.gather(x, where, dim=d), where)


@numpy_names
def median(x: Any, dim: int | None = None, keepdim: bool = False) -> Any:
    """The middle value (the lower of two); along one axis its index too."""
    x = to_tensor(x)
    if dim is None:
        flat = reshape(x, shape=(x.array.size,))
        _not_empty("median", flat, (0,))
        return sort(flat).values[(x.array.size - 1) // 2]
    d = axis("median", dim, x.array.ndim)
    if not x.array.ndim:
        return sort(x)
    _not_empty("median", x, (d,))
    index = np.take(_order(x, d, False), [(x.array.shape[d] - 1) // 2], axis=d)
    return _along(x, wrap(index.astype(np.int64)), d, keepdim)
