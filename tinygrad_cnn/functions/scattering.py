"""Writing parts into a copy of a tensor, and reductions of what is written to one place."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_cnn.autograd.arguments import checked
from tinygrad_cnn.autograd.units import check, computed
from tinygrad_cnn.autograd.variable import wrap
from tinygrad_cnn.errors import ArgumentError, DtypeError, PositionError, ShapeError
from tinygrad_cnn.functions.arranging import strided_params
from tinygrad_cnn.functions.convert import axis, numpy_names, own, to_tensor
from tinygrad_cnn.functions.elementwise import add, div, mul, to, where
from tinygrad_cnn.functions.export import export
from tinygrad_cnn.functions.indexing import gather, in_range, index_put, scatter_add
from tinygrad_cnn.functions.joining import select
from tinygrad_cnn.functions.padding import diagonal
from tinygrad_cnn.functions.shaping import expand, permute, reshape
from tinygrad_cnn.kernels.tape import do, made
from tinygrad_cnn.ops import index as ops
from tinygrad_cnn.types import FLOATING, INEXACT, Array, DType, TensorLike

if TYPE_CHECKING:
    from tinygrad_cnn.tensor import Tensor


def _places(name: str, index: TensorLike, n: int) -> Array:
    """Integers that may count from the end, as places from 0 to n - 1."""
    places = to_tensor(index)._given
    if places.dtype.kind not in "iu":
        raise DtypeError(f"{name}: `index` has dtype {places.dtype}, expected integers")
    return do(_in_range, name, places, n)


def _in_range(name: str, places: Array, n: int) -> Array:
    if places.size and not -n <= places.min() <= places.max() < n:
        bad = places.min() if places.min() < -n else places.max()
        raise PositionError(f"{name}: `index` holds {bad}, expected {-n} to {n - 1}")
    found: Array = places % n if n else places.copy()
    return found


@export()
def take(input: TensorLike, index: TensorLike) -> Tensor:
    """The elements of ``input``, flattened, that ``index`` names, in the shape of ``index``.

    >>> import tinygrad_cnn as tg
    >>> tg.take(tg.tensor([[4, 5], [6, 7]]), tg.tensor([0, -1]))
    tensor([4, 7])
    """
    x = to_tensor(input)
    return own(ops.getitem(reshape(x, -1), index=_places("take", index, x.numel())))


@export(inplace=True)
def put(
    input: TensorLike, index: TensorLike, source: TensorLike, accumulate: bool = False
) -> Tensor:
    """A copy of ``input`` with ``source`` at the places ``index`` of the flattened tensor.

    With ``accumulate`` it is added to what is there.
    """
    x, values = to_tensor(input), to_tensor(source)
    places = _places("put", index, x.numel()).reshape(-1)
    if values.dtype != x.dtype:
        raise DtypeError(f"put: `source` is {values.dtype}, expected {x.dtype} as `input`")
    if values.numel() != places.size:
        raise ShapeError(
            f"put: `source` has {values.numel()} elements, expected {places.size} as `index`"
        )
    flat = index_put(reshape(x, -1), (places,), reshape(values, -1), accumulate)
    return own(reshape(flat, x.shape))


def _put(name: str, x: Tensor, index: Any, src: TensorLike) -> Tensor:
    source = to(src, x.dtype)
    shape = np.shape(x._given[index])
    if source.shape != shape:
        raise ShapeError(f"{name}: `src` has shape {source.shape}, expected {shape}")
    return ops.put(x, source, index=index)


@export()
@numpy_names
def select_scatter(input: TensorLike, src: TensorLike, dim: int, index: int) -> Tensor:
    """A copy of ``input`` with ``src`` as its slice number ``index`` along ``dim``.

    >>> import tinygrad_cnn as tg
    >>> tg.select_scatter(tg.zeros(2, 2), tg.ones(2), 0, 1)
    tensor([[0., 0.],
            [1., 1.]])
    """
    x = to_tensor(input)
    select(x, dim, index)  # raises where there is none
    lead = (slice(None),) * axis("select_scatter", dim, x.ndim)
    return _put("select_scatter", x, (*lead, operator.index(index)), src)


@export()
@numpy_names
def slice_scatter(
    input: TensorLike,
    src: TensorLike,
    dim: int = 0,
    start: int | None = None,
    end: int | None = None,
    step: int = 1,
) -> Tensor:
    """A copy of ``input`` with ``src`` as its slices ``start:end:step`` along ``dim``."""
    x = to_tensor(input)
    if step < 1:
        raise ArgumentError(f"slice_scatter: `step` is {step}, expected at least 1")
    lead = (slice(None),) * axis("slice_scatter", dim, x.ndim)
    return _put("slice_scatter", x, (*lead, slice(start, end, step)), src)


@export()
def diagonal_scatter(
    input: TensorLike, src: TensorLike, offset: int = 0, dim1: int = 0, dim2: int = 1
) -> Tensor:
    """A copy of ``input`` with ``src`` as its `diagonal`."""
    x = to_tensor(input)
    shown = diagonal(x, offset, dim1, dim2)  # raises where there is none
    source = to(src, x.dtype)
    if source.shape != shown.shape:
        raise ShapeError(
            f"diagonal_scatter: `src` has shape {source.shape}, expected {shown.shape}"
        )
    a, b = axis("diagonal_scatter", dim1, x.ndim), axis("diagonal_scatter", dim2, x.ndim)
    order = (*(d for d in range(x.ndim) if d not in (a, b)), a, b)
    moved = ops.overwrite(permute(x, order), source, steps=((ops.diagonal, {"offset": offset}),))
    return own(permute(moved, *np.argsort(order).tolist()))


# ---- reductions ----------------------------------------------------------------------------


@export(inplace=True)
@numpy_names
def scatter_reduce(
    input: TensorLike,
    dim: int,
    index: TensorLike,
    src: TensorLike,
    reduce: str,
    *,
    include_self: bool = True,
) -> Tensor:
    """What `scatter` writes to one place, reduced by ``"sum"``, ``"prod"``, ``"mean"``, …

    ``reduce`` may also be ``"amax"`` or ``"amin"``, where equal values share the gradient. What
    was there counts too, unless ``include_self`` is False.

    >>> import tinygrad_cnn as tg
    >>> index, src = tg.tensor([0, 0, 1]), tg.tensor([1.0, 2.0, 3.0])
    >>> tg.scatter_reduce(tg.ones(3), 0, index, src, "sum")
    tensor([4., 4., 1.])
    """
    return _reduced("scatter_reduce", to_tensor(input), dim, index, src, reduce, include_self)


@export(inplace=True)
@numpy_names
def index_reduce(
    input: TensorLike,
    dim: int,
    index: TensorLike,
    source: TensorLike,
    reduce: str,
    *,
    include_self: bool = True,
) -> Tensor:
    """What `index_copy` writes to one slice, reduced by ``"prod"``, ``"mean"``, ``"amax"``, …"""
    x, values, places = to_tensor(input), to_tensor(source), to_tensor(index)
    if not x.ndim:
        x, values = reshape(x, 1), reshape(values, -1)
        whole = index_reduce(x, 0, places, values, reduce, include_self=include_self)
        return own(reshape(whole, ()))
    d = axis("index_reduce", dim, x.ndim)
    shape = (*x.shape[:d], places.numel(), *x.shape[d + 1 :])
    if values.shape != shape:
        raise ShapeError(f"index_reduce: `source` has shape {values.shape}, expected {shape}")
    check(in_range, "index_reduce", places, x.shape[d])
    line = reshape(places, *(1,) * d, -1, *(1,) * (x.ndim - d - 1))
    wide = computed(np.ascontiguousarray, expand(line, shape))
    return _reduced("index_reduce", x, d, wide, values, reduce, include_self)


def _reduced(
    name: str,
    x: Tensor,
    dim: int,
    index: TensorLike,
    src: TensorLike,
    reduce: str,
    include_self: bool,
) -> Tensor:
    if reduce not in ("sum", "prod", "mean", "amax", "amin"):
        raise ArgumentError(
            f"{name}: `reduce` is {reduce!r}, expected 'sum', 'prod', 'mean', 'amax' or 'amin'"
        )
    places, values = to_tensor(index), to_tensor(src)
    if not x.ndim:
        axis(name, dim, 0)
        lines = reshape(x, 1), 0, reshape(places, -1), reshape(values, -1)
        return own(reshape(_reduced(name, *lines, reduce, include_self), ()))
    d = axis(name, dim, x.ndim)
    ones = wrap(made(np.ones(places.shape, np.int64)))
    hits = scatter_add(wrap(made(np.zeros(x.shape, np.int64))), d, places, ones)  # checks shapes
    if values.dtype != x.dtype:
        raise DtypeError(f"{name}: `src` is {values.dtype}, expected {x.dtype} as `input`")
    if values.shape != places.shape:
        values = ops.getitem(values, index=tuple(slice(n) for n in places.shape))
    hit = computed(np.greater, hits, 0)
    if reduce in ("amax", "amin"):
        if x.dtype.kind == "c":
            raise DtypeError(f"{name}: `reduce` is {reduce!r}, but {x.dtype} has no order")
        return _extreme(x, d, places, values, reduce, hit, include_self)
    if not include_self:
        x = where(hit, to(1 if reduce == "prod" else 0, x.dtype), x)
    if reduce == "prod":
        return _product(x, d, places, values)
    total = scatter_add(x, d, places, values)
    if reduce == "sum":
        return total
    counts = computed(_counted, hits, include_self, x.dtype)
    return div(total, counts) if x.dtype.kind in INEXACT else total // counts


def _counted(hits: Array, more: bool, dtype: DType) -> Array:
    counts: Array = np.maximum(hits + more, 1).astype(dtype)
    return counts


def _product(x: Tensor, d: int, index: Tensor, src: Tensor) -> Tensor:
    """``x`` times each first value written to a place, times each second one, …"""
    mesh = ops.mesh(index._array, d)
    flat = np.broadcast_to(
        np.ravel_multi_index(mesh, x.shape) if index.numel() else 0, index.shape
    ).reshape(-1)
    order = np.argsort(flat, kind="stable")
    ordered = flat[order]
    rank = np.empty(flat.size, np.int64)  # of a value among those written to the same place
    rank[order] = np.arange(flat.size) - np.searchsorted(ordered, ordered)
    out, values = reshape(x, -1), reshape(src, -1)
    for k in range(int(rank.max(initial=-1)) + 1):
        now = np.flatnonzero(rank == k)
        ones = wrap(made(np.ones(out.shape, x.dtype)))
        out = mul(out, ops.put(ones, ops.getitem(values, index=now), index=flat[now]))
    return own(reshape(out, x.shape), x)


def _extreme(
    x: Tensor, d: int, index: Tensor, src: Tensor, reduce: str, hit: Tensor, include_self: bool
) -> Tensor:
    choose = np.maximum if reduce == "amax" else np.minimum
    worst: Any = -math.inf if reduce == "amax" else math.inf
    if x.dtype.kind in "iu":
        worst = np.iinfo(x.dtype).min if reduce == "amax" else np.iinfo(x.dtype).max
    elif x.dtype.kind == "b":
        worst = reduce == "amin"
    if not include_self:
        x = where(hit, to(worst, x.dtype), x)
    out = computed(_best, x, index, src, d, choose)
    if x.dtype.kind not in FLOATING:
        return out
    # Constants but for the gradient, which those that are equal to the result share.
    mine = computed(np.equal, x, out)
    if not include_self:
        mine = mine & ~hit
    theirs = computed(np.equal, src, gather(out, d, index))
    counts = scatter_add(to(mine, np.int64), d, index, to(theirs, np.int64))
    share = computed(_even_share, counts, x.dtype)
    changes = add(
        mul(where(mine, x - x.detach(), 0.0), share),
        scatter_add(
            wrap(made(np.zeros(x.shape, x.dtype))),
            d,
            index,
            mul(where(theirs, src - src.detach(), 0.0), gather(share, d, index)),
        ),
    )
    return add(out, where(computed(np.isfinite, out), changes, 0.0))


def _best(x: Array, index: Array, src: Array, d: int, choose: np.ufunc) -> Array:
    best = x.copy()
    choose.at(best, ops.mesh(index, d), src)
    return best


def _even_share(counts: Array, dtype: DType) -> Array:
    share: Array = (1 / np.maximum(counts, 1)).astype(dtype)
    return share


@export()
@checked
def as_strided_scatter(
    input: TensorLike,
    src: TensorLike,
    size: Sequence[int],
    stride: Sequence[int],
    storage_offset: int | None = None,
) -> Tensor:
    """A copy of ``input`` with ``src`` where `as_strided` finds its elements.

    The gradient of ``input`` is 0 where ``src`` was written, which PyTorch's is not.
    """
    x = to_tensor(input)
    params = strided_params("as_strided_scatter", x, size, stride, storage_offset)
    source = to(src, x.dtype)
    sides, steps = params["size"], params["stride"]
    if source.shape != sides:
        raise ShapeError(f"as_strided_scatter: `src` has shape {source.shape}, expected {sides}")
    if any(n > 1 and not step for n, step in zip(sides, steps, strict=True)):
        raise ArgumentError(
            f"as_strided_scatter: `stride` is {steps}, but one place cannot hold several elements"
        )
    return ops.overwrite(x, source, steps=((ops.strided, params),))
