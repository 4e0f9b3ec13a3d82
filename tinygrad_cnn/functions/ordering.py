"""Searching and putting in order. The functions along an axis return values and indices."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from tinygrad_cnn.autograd.units import computed
from tinygrad_cnn.autograd.variable import wrap
from tinygrad_cnn.errors import ShapeError
from tinygrad_cnn.functions.convert import axis, numpy_names, own, to_tensor
from tinygrad_cnn.functions.elementwise import maximum, minimum, mul
from tinygrad_cnn.functions.export import export
from tinygrad_cnn.functions.reduction import amax, amin, has_order, not_empty
from tinygrad_cnn.kernels.tape import made
from tinygrad_cnn.ops import index as indexing
from tinygrad_cnn.ops.shape import reshape
from tinygrad_cnn.types import Array, TensorLike

if TYPE_CHECKING:
    from tinygrad_cnn.tensor import Tensor


class ValuesIndices(NamedTuple):
    """What a search along one axis returns: the values found and where they were."""

    values: Tensor
    indices: Tensor


def _arg(name: str, x: TensorLike, dim: Any, keepdim: bool) -> Tensor:
    x = to_tensor(x)
    has_order(name, x)
    find = getattr(np, name)
    if dim is None:
        not_empty(name, x, tuple(range(x._value.ndim)))
        out = computed(_found, x, find, None, False)
        return own(reshape(out, shape=(1,) * x._value.ndim)) if keepdim else out
    d = axis(name, dim, x._value.ndim)
    if not x._value.ndim:
        return wrap(made(np.zeros((), np.int64)))
    not_empty(name, x, (d,))
    return computed(_found, x, find, d, keepdim)


def _found(x: Array, find: Any, axis: int | None, keepdims: bool) -> Array:
    return np.asarray(find(x, axis=axis, keepdims=keepdims), np.int64)


@export()
@numpy_names
def argmax(input: TensorLike, dim: int | None = None, keepdim: bool = False) -> Tensor:
    """Index of the largest value along ``dim`` (in the flattened tensor if None); the first one.

    >>> import tinygrad_cnn as tg
    >>> tg.argmax(tg.tensor([[1, 5], [7, 2]]), dim=1)
    tensor([1, 0])
    """
    return _arg("argmax", input, dim, keepdim)


@export()
@numpy_names
def argmin(input: TensorLike, dim: int | None = None, keepdim: bool = False) -> Tensor:
    """Index of the smallest value along ``dim`` (in the flattened tensor if None): the first."""
    return _arg("argmin", input, dim, keepdim)


def _along(x: Tensor, index: Tensor, d: int, keepdim: bool) -> ValuesIndices:
    """The values of ``x`` at ``index`` (which keeps the axis), and the index."""
    if not x._value.ndim:
        return ValuesIndices(x.clone(), index)
    values = indexing.gather(x, index, dim=d)
    if keepdim:
        return ValuesIndices(values, index)
    shape = tuple(n for i, n in enumerate(x._value.shape) if i != d)
    return ValuesIndices(own(reshape(values, shape=shape)), wrap(index._given.reshape(shape)))


@export()
@numpy_names
def max(
    input: TensorLike, dim: Any = None, keepdim: bool = False, *, other: TensorLike | None = None
) -> Any:
    """The largest value; along one axis its index too; with a tensor as ``dim``: `maximum`.

    >>> import tinygrad_cnn as tg
    >>> values, indices = tg.max(tg.tensor([[1, 5], [7, 2]]), dim=1)
    >>> values, indices
    (tensor([5, 7]), tensor([1, 0]))
    """
    if other is not None or hasattr(dim, "shape"):
        return maximum(input, dim if other is None else other)
    if dim is None:
        return amax(input)
    x = to_tensor(input)
    has_order("max", x)
    d = axis("max", dim, x._value.ndim)
    return _along(x, argmax(x, d, keepdim=True), d, keepdim)


@export()
@numpy_names
def min(
    input: TensorLike, dim: Any = None, keepdim: bool = False, *, other: TensorLike | None = None
) -> Any:
    """The smallest value; along one axis its index too; with a tensor as ``dim``: `minimum`."""
    if other is not None or hasattr(dim, "shape"):
        return minimum(input, dim if other is None else other)
    if dim is None:
        return amin(input)
    x = to_tensor(input)
    has_order("min", x)
    d = axis("min", dim, x._value.ndim)
    return _along(x, argmin(x, d, keepdim=True), d, keepdim)


def _order(values: Array, d: int, descending: bool) -> Array:
    if not descending:
        return np.argsort(values, axis=d, kind="stable").astype(np.int64, copy=False)
    # a stable descending order: sort the reversed sequence upwards and read both backwards
    back = np.argsort(np.flip(values, d), axis=d, kind="stable")
    return np.flip(values.shape[d] - 1 - back, d)


@export()
@numpy_names
def sort(
    input: TensorLike, dim: int = -1, descending: bool = False, stable: bool = True
) -> ValuesIndices:
    """``input`` in order along ``dim``, with the indices; equal values keep their order.

    >>> import tinygrad_cnn as tg
    >>> tg.sort(tg.tensor([3, 1, 2])).values
    tensor([1, 2, 3])
    """
    x = to_tensor(input)
    has_order("sort", x)
    d = axis("sort", dim, x._value.ndim)
    if not x._value.ndim:
        return ValuesIndices(x.clone(), wrap(made(np.zeros((), np.int64))))
    index = computed(_order, x, d, descending)
    return ValuesIndices(indexing.gather(x, index, dim=d), index)


@export()
@numpy_names
def argsort(
    input: TensorLike, dim: int = -1, descending: bool = False, stable: bool = True
) -> Tensor:
    """The indices that put ``input`` in order along ``dim``."""
    return sort(input, dim, descending).indices


def _first_of(values: Array, d: int, descending: bool, k: int) -> Array:
    return np.ascontiguousarray(np.take(_order(values, d, descending), range(k), axis=d))


@export()
@numpy_names
def topk(
    input: TensorLike, k: int, dim: int = -1, largest: bool = True, sorted: bool = True
) -> ValuesIndices:
    """The ``k`` largest (or smallest) values along ``dim``, best first, with their indices."""
    x = to_tensor(input)
    has_order("topk", x)
    d = axis("topk", dim, x._value.ndim)
    if not isinstance(k, (int, np.integer)) or not 0 <= k <= (
        x._value.shape[d] if x._value.ndim else 1
    ):
        raise ShapeError(f"topk: `k` is {k!r}, but `input` has shape {x.shape} (dim {d})")
    if not x._value.ndim:
        return sort(x)
    where = computed(_first_of, x, d, largest, k)
    return ValuesIndices(indexing.gather(x, where, dim=d), where)


@export()
@numpy_names
def median(input: TensorLike, dim: int | None = None, keepdim: bool = False) -> Any:
    """The middle value (the lower of two); along one axis its index too.

    Of all values, those that are equal to it share the gradient.
    """
    x = to_tensor(input)
    has_order("median", x)
    if dim is None:
        flat = reshape(x, shape=(x._value.size,))
        return of_equals(flat, median(flat, 0).values) if x._value.size else of_nothing(flat)
    d = axis("median", dim, x._value.ndim)
    if not x._value.ndim:
        return sort(x)
    not_empty("median", x, (d,))
    return _along(x, computed(_middle, x, d), d, keepdim)


def of_equals(flat: Tensor, value: Tensor) -> Tensor:
    """A value of a vector; those that are equal to it share the gradient."""
    found, numbers = value._array, flat._array
    hit = np.isnan(numbers) if np.isnan(found) else numbers == found
    return amax(indexing.getitem(flat, index=hit))


def of_nothing(flat: Tensor) -> Tensor:
    """The median of an empty vector: NaN, as PyTorch casts it, or the least integer."""
    dtype = flat._value.dtype
    if dtype.kind in "biu":
        return wrap(np.array(True if dtype.kind == "b" else np.iinfo(dtype).min, dtype))
    return mul(flat.sum(), np.nan)


def _middle(x: Array, d: int) -> Array:
    """Where the middle value is along an axis, or the first NaN."""
    order, n = _order(x, d, False), x.shape[d]
    missing = np.add.reduce(np.isnan(x), d, keepdims=True)  # NaN is sorted to the end
    middle = np.where(missing, n - missing, (n - 1) // 2)
    return np.take_along_axis(order, middle, d)


class MinMax(NamedTuple):
    """What `aminmax` returns."""

    min: Tensor
    max: Tensor


@export()
@numpy_names
def aminmax(input: TensorLike, *, dim: int | None = None, keepdim: bool = False) -> MinMax:
    """`amin` and `amax`."""
    return MinMax(amin(input, dim, keepdim), amax(input, dim, keepdim))


# ---- counting ------------------------------------------------------------------------------


@export()
def bincount(input: TensorLike, weights: TensorLike | None = None, minlength: int = 0) -> Tensor:
    """How often 0, 1, 2, … occur in a vector of integers, or the sums of their ``weights``."""
    x = to_tensor(input)._array
    if x.ndim != 1 or x.dtype.kind not in "iu" or (x.size and x.min() < 0):
        raise ShapeError(
            f"bincount: `input` has shape {x.shape} and dtype {x.dtype}, expected a vector of "
            f"integers, none negative"
        )
    given = None if weights is None else to_tensor(weights)._array
    if given is not None and given.shape != x.shape:
        raise ShapeError(f"bincount: `weights` has shape {given.shape}, expected {x.shape}")
    out = np.bincount(x.astype(np.int64), given, minlength)
    single = given is not None and given.dtype == np.float32
    return wrap(out.astype(np.float32) if single else out)


@export()
def unique(
    input: TensorLike,
    sorted: bool = True,
    return_inverse: bool = False,
    return_counts: bool = False,
    dim: int | None = None,
) -> Any:
    """The values, or slices along ``dim``, that occur, in order.

    On request also where each went, and how often each occurs.
    """
    x = to_tensor(input)._array
    d = None if dim is None or not x.ndim else axis("unique", dim, x.ndim)
    values, inverse, counts = np.unique(
        x, return_inverse=True, return_counts=True, axis=d, equal_nan=d is None
    )
    out = [wrap(values)]
    if return_inverse:
        out.append(wrap(inverse.reshape(x.shape if dim is None else -1)))
    if return_counts:
        out.append(wrap(counts))
    return out[0] if len(out) == 1 else tuple(out)
