"""Reading and writing by index."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_cnn.autograd.units import check, computed
from tinygrad_cnn.autograd.variable import Variable, wrap
from tinygrad_cnn.errors import ArgumentError, DtypeError, PositionError, ShapeError
from tinygrad_cnn.functions.convert import axis, broadcasts, numpy_names, own, size_of, to_tensor
from tinygrad_cnn.functions.elementwise import add, mul, to
from tinygrad_cnn.functions.export import export
from tinygrad_cnn.functions.inplace import write
from tinygrad_cnn.functions.shaping import broadcast_tensors, expand, reshape
from tinygrad_cnn.functions.subscript import array_part, parse
from tinygrad_cnn.functions.written import number, wrapped, written
from tinygrad_cnn.kernels.tape import do
from tinygrad_cnn.ops import index as ops
from tinygrad_cnn.types import Array, DTypeLike, TensorLike

if TYPE_CHECKING:
    from tinygrad_cnn.tensor import Tensor


def getitem(x: Any, index: Any) -> Tensor:
    """``x[index]``, read as PyTorch does: numbers, slices, ``...`` and None first, then arrays.

    Without arrays (tensors, lists, masks) in the index the result shares memory with ``x``.
    """
    x = to_tensor(x)
    try:
        first, second = parse(index, x.shape)
        if second is None:
            return ops.getitem(x, index=... if first is None else first)
        return ops.getitem(x if first is None else ops.getitem(x, index=first), index=second)
    except (IndexError, ValueError) as error:
        raise _bad_index(x, error) from None


def _bad_index(x: Tensor, error: Exception) -> IndexError:
    reason = str(error).removeprefix("index: ")
    return IndexError(f"index: {reason} (the tensor has shape {x.shape})")


def setitem(x: Tensor, index: Any, value: TensorLike) -> None:
    """``x[index] = value``, differentiable in both; ``value`` is broadcast.

    Numbers and, if the index has no arrays, tensors are cast to the dtype of ``x``. Where an index
    repeats, the last value written stays, and only it gets a gradient.
    """
    if index is False:  # nothing is written, and PyTorch does not look at the value either
        return
    try:
        first, second = parse(index, x.shape)
        if second is not None and first is not None:
            x, first = ops.getitem(x, index=first), None
        index = ... if first is second is None else second if first is None else first
        target_shape = np.shape(x._given[index])
    except (IndexError, ValueError) as error:
        raise _bad_index(x, error) from None
    source = to(value, x.dtype) if second is None else _values(x, value, second)
    while source.ndim > len(target_shape) and source.shape[0] == 1:  # as PyTorch allows
        source = source[0]
    if not broadcasts(source.shape, target_shape):
        raise ShapeError(
            f"x[i] = v: v has shape {source.shape}, which does not broadcast to "
            f"{target_shape}, the shape of x[i] (x {x.shape})"
        )
    with x.changing():
        write(x, index, source, "x[i] = v")


def _values(x: Tensor, value: TensorLike, index: tuple[Any, ...]) -> Tensor:
    return written("x[i] = v", value, x.dtype, "v", index)


def _index_tensor(name: str, index: TensorLike) -> Tensor:
    index = to_tensor(index)
    if index._value.dtype.kind not in "iu":
        raise DtypeError(f"{name}: `index` has dtype {index.dtype}, expected integers")
    return index


def in_range(name: str, index: Array, n: int) -> None:
    if index.size and (index.min() < 0 or index.max() >= n):
        bad = int(index.min()) if index.min() < 0 else int(index.max())
        raise PositionError(f"{name}: `index` holds {bad}, expected 0 to {n - 1}")


def _gather_shapes(name: str, x: Tensor, index: Tensor, d: int) -> None:
    a, b = x._value.shape, index._value.shape
    if len(a) != len(b) or any(m > n for i, (n, m) in enumerate(zip(a, b, strict=True)) if i != d):
        raise ShapeError(
            f"{name}: `index` has shape {b}, which must have as many axes as {a} and, but for axis "
            f"{d}, be no longer along any"
        )
    check(in_range, name, index, a[d] if a else 1)


@export()
@numpy_names
def gather(input: TensorLike, dim: int, index: TensorLike, *, sparse_grad: bool = False) -> Tensor:
    """``out[i, j, k] = input[i, index[i, j, k], k]`` (for ``dim=1``), of the shape of ``index``.

    Gradients are dense, whatever ``sparse_grad``, which is PyTorch's, says.

    >>> import tinygrad_cnn as tg
    >>> tg.gather(tg.tensor([[1, 2], [3, 4]]), 1, tg.tensor([[1], [0]]))
    tensor([[2],
            [3]])
    """
    x, index = to_tensor(input), _index_tensor("gather", index)
    d = axis("gather", dim, x._value.ndim)
    if not index.numel():  # as in PyTorch, of any number of axes
        return own(reshape(reshape(x, -1)[:0].clone(), index.shape))
    if not x._value.ndim and index._value.ndim < 2:
        return own(reshape(gather(reshape(x, 1), 0, reshape(index, -1)), index._value.shape))
    _gather_shapes("gather", x, index, d)
    return ops.gather(x, index, dim=d)


def _from_start(places: Array, n: int) -> Array:
    """Places among ``n``, of which the negative ones are counted from the end."""
    return np.where(places < 0, places + n, places)


@export()
@numpy_names
def take_along_dim(input: TensorLike, indices: TensorLike, dim: int | None = None) -> Tensor:
    """`gather` with ``indices`` broadcast against ``input`` (flattened if ``dim`` is None)."""
    x, indices = to_tensor(input), _index_tensor("take_along_dim", indices)
    if dim is None:
        return gather(x.reshape(-1), 0, indices.reshape(-1))
    d = axis("take_along_dim", dim, x._value.ndim)
    if indices.ndim != x.ndim:
        raise ShapeError(
            f"take_along_dim: `indices` has shape {indices.shape}, expected {x.ndim} axes as "
            f"`input` {x.shape}"
        )
    indices = computed(_from_start, indices, x._value.shape[d])
    a, b = list(x._value.shape), list(indices._value.shape)
    try:
        shape = list(np.broadcast_shapes([*a[:d], 1, *a[d + 1 :]], [*b[:d], 1, *b[d + 1 :]]))
    except ValueError:
        raise ShapeError(
            f"take_along_dim: `indices` has shape {tuple(b)}, which must broadcast to `input` "
            f"{tuple(a)} but for axis {d}"
        ) from None
    shape_x, shape_i = list(shape), list(shape)
    shape_x[d], shape_i[d] = a[d], b[d]
    return gather(x.expand(shape_x), d, indices.expand(shape_i))


def _source(name: str, source: Any, index: Tensor, dtype: DTypeLike) -> Tensor:
    if isinstance(source, Variable) and source._value.dtype != dtype:
        raise DtypeError(f"{name}: `src` is {source.dtype}, expected {dtype} as `input`")
    source = to(source, dtype)
    if not source._value.ndim and index._value.ndim:
        source = source.expand(index._value.shape)
    if source._value.ndim != index._value.ndim or any(
        m > n for n, m in zip(source._value.shape, index._value.shape, strict=True)
    ):
        raise ShapeError(
            f"{name}: `src` has shape {source.shape}, smaller than `index` {index.shape}"
        )
    if source._value.shape != index._value.shape:
        return getitem(source, tuple(slice(n) for n in index._value.shape))
    out: Tensor = source
    return out


@export(inplace=True)
@numpy_names
def scatter_add(input: TensorLike, dim: int, index: TensorLike, src: TensorLike) -> Tensor:
    """A copy of ``input`` with ``out[i, index[i, j, k], k] += src[i, j, k]`` (for ``dim=1``)."""
    x, index = to_tensor(input), _index_tensor("scatter_add", index)
    d = axis("scatter_add", dim, x._value.ndim)
    if not x._value.ndim:
        return own(reshape(scatter_add(reshape(x, 1), 0, reshape(index, -1), src), ()))
    _gather_shapes("scatter_add", x, index, d)
    return ops.scatter_add(x, index, _source("scatter_add", src, index, x._value.dtype), dim=d)


@export(inplace=True)
@numpy_names
def scatter(
    input: TensorLike,
    dim: int,
    index: TensorLike,
    src: TensorLike | None = None,
    *,
    value: float | None = None,
    reduce: str | None = None,
) -> Tensor:
    """A copy of ``input`` with ``out[i, index[i, j, k], k] = src[i, j, k]`` (for ``dim=1``).

    With a ``reduce`` of ``"add"`` or ``"multiply"``, what is there is changed so.
    """
    x, index = to_tensor(input), _index_tensor("scatter", index)
    d = axis("scatter", dim, x._value.ndim)
    if not x._value.ndim:
        flat = scatter(reshape(x, 1), 0, reshape(index, -1), src, value=value, reduce=reduce)
        return own(reshape(flat, ()))
    _gather_shapes("scatter", x, index, d)
    source = _source("scatter", value if src is None else src, index, x._value.dtype)
    if reduce is None:
        return ops.scatter(x, index, source, dim=d)
    if reduce not in ("add", "multiply"):
        raise ArgumentError(f"scatter: `reduce` is {reduce!r}, expected 'add' or 'multiply'")
    from tinygrad_cnn.functions.scattering import scatter_reduce  # which needs this file

    how = "sum" if reduce == "add" else "prod"
    return scatter_reduce(x, d, index, expand(source, index.shape), how)


@export()
@numpy_names
def index_select(input: TensorLike, dim: int, index: TensorLike) -> Tensor:
    """The slices of ``input`` along ``dim`` that ``index`` (k,) lists, in its order."""
    x, index = to_tensor(input), _index_tensor("index_select", index)
    d = axis("index_select", dim, x._value.ndim)
    if index._value.ndim > 1 or (not x._value.ndim and index._value.size != 1):
        raise ShapeError(
            f"index_select: `index` has shape {index.shape}, expected a vector (of one index for "
            f"an `input` without dimensions)"
        )
    check(in_range, "index_select", index, x._value.shape[d] if x._value.ndim else 1)
    if not x._value.ndim:
        return x.clone()
    return ops.index_select(x, index.reshape(-1), dim=d)


@export(inplace=True)
@numpy_names
def index_add(
    input: TensorLike, dim: int, index: TensorLike, source: TensorLike, *, alpha: float = 1
) -> Tensor:
    """``input`` with ``alpha`` times slice i of ``source`` added to its slice ``index[i]``."""
    x, index = to_tensor(input), _vector("index_add", index)
    source = written("index_add", source, x._value.dtype)
    if not x.ndim:  # one slice: itself
        axis("index_add", dim, 0)
        if source.ndim:
            raise ShapeError(f"index_add: `source` has shape {source.shape}, expected ()")
        return own(index_add(reshape(x, 1), 0, index, reshape(source, 1), alpha=alpha)[0])
    d = axis("index_add", dim, x._value.ndim)
    shape = (*x._value.shape[:d], index._value.size, *x._value.shape[d + 1 :])
    if source._value.shape != shape:
        raise ShapeError(f"index_add: `source` has shape {source.shape}, expected {shape}")
    check(in_range, "index_add", index, x._value.shape[d])
    factor = wrapped(alpha, x._value.dtype)
    return ops.index_add(x, index, source if alpha == 1 else mul(source, factor), dim=d)


@export()
def masked_select(input: TensorLike, mask: TensorLike) -> Tensor:
    """The values of ``input`` where ``mask`` (bool, broadcast with it) holds, as a vector."""
    x, mask = to_tensor(input), to_tensor(mask)
    if mask._value.dtype.kind != "b":
        raise DtypeError(f"masked_select: `mask` has dtype {mask.dtype}, expected bool")
    x, mask = broadcast_tensors(x, mask)
    return getitem(x, mask)


@export()
def nonzero(input: TensorLike, *, as_tuple: bool = False) -> Any:
    """Where ``input`` is not 0: a tensor (count, ndim), or one index vector per axis."""
    found = np.nonzero(np.atleast_1d(to_tensor(input)._array))
    if as_tuple:
        return tuple(wrap(i) for i in found)
    table = (
        np.stack(found, 1)
        if to_tensor(input)._value.ndim
        else np.zeros((len(found[0]), 0), np.int64)
    )
    return wrap(table)


@export(method=False, nn=True)
def one_hot(tensor: TensorLike, num_classes: int = -1) -> Tensor:
    """Class numbers (...) as rows of one 1 among zeros (..., num_classes), int64.

    >>> import tinygrad_cnn as tg
    >>> tg.nn.functional.one_hot(tg.tensor([1, 0]), 3)
    tensor([[0, 1, 0],
            [1, 0, 0]])
    """
    labels = _index_tensor("one_hot", tensor)
    if num_classes < 1 and not labels._value.size:
        raise ShapeError(
            f"one_hot: `num_classes` is {num_classes}, and no label in `tensor` {labels.shape} "
            f"says how many there are"
        )
    if num_classes != -1 or not labels._value.size:
        return computed(_one_hot, labels, max(num_classes, 0))
    return computed(_one_hot, labels, int(labels._array.max()) + 1)


def _one_hot(labels: Array, n: int) -> Array:
    in_range("one_hot", labels, n)
    rows: Array = (labels[..., None] == np.arange(n)).astype(np.int64)
    return rows


# ---- compositions --------------------------------------------------------------------------


@export(inplace=True)
def index_put(
    input: TensorLike, indices: Any, values: TensorLike, accumulate: bool = False
) -> Tensor:
    """``input`` with ``values`` written to (or, with ``accumulate``, added at) ``indices``.

    ``indices`` is a tuple with one index for each axis.
    """
    x = to_tensor(input)
    try:
        index = tuple([p if isinstance(p, slice) else array_part(p) for p in indices])
        values = written("index_put", values, x._value.dtype, "values", () if accumulate else index)
        shape = np.shape(x._given[index])
        if accumulate:
            return add(x, ops.ungetitem(expand(values, shape), index=index, shape=x._value.shape))
        return ops.put(x, values, index=index)
    except (IndexError, ValueError) as error:
        raise _bad_index(x, error) from None


def _vector(name: str, index: TensorLike, from_end: int | None = None) -> Tensor:
    """``index``, a vector or one number, as a vector; negative ones count from ``from_end``."""
    index = _index_tensor(name, index)
    if index._value.ndim > 1:
        raise ShapeError(f"{name}: `index` has shape {index.shape}, expected a vector or a number")
    index = index if index._value.ndim else reshape(index, 1)
    return index if from_end is None else computed(_from_start, index, from_end)


def _along_axis(name: str, x: Tensor, dim: int, index: TensorLike) -> tuple[Any, ...]:
    d = axis(name, dim, x._value.ndim)
    index = _vector(name, index, x._value.shape[d] if name == "index_fill" else None)
    check(in_range, name, index, x._value.shape[d])
    return (slice(None),) * d + (index._given,)


@export(inplace=True)
@numpy_names
def index_fill(input: TensorLike, dim: int, index: TensorLike, value: TensorLike) -> Tensor:
    """A copy of ``input`` with one number in the slices along ``dim`` that ``index`` lists."""
    x = to_tensor(input)
    value = number("index_fill", value, x._value.dtype)
    if not x.ndim:  # one slice: itself
        axis("index_fill", dim, 0)
        return own(index_fill(reshape(x, 1), 0, index, value)[0])
    return index_put(x, _along_axis("index_fill", x, dim, index), value)


@export(inplace=True)
@numpy_names
def index_copy(input: TensorLike, dim: int, index: TensorLike, source: TensorLike) -> Tensor:
    """A copy of ``input`` with slice i of ``source`` at slice ``index[i]`` along ``dim``."""
    x = to_tensor(input)
    if not x.ndim:
        axis("index_copy", dim, 0)
        return own(index_copy(reshape(x, 1), 0, index, reshape(to_tensor(source), -1))[0])
    places, source = _along_axis("index_copy", x, dim, index), to_tensor(source)
    source = source if source.ndim else reshape(source, 1)
    shape = np.shape(x._given[places])
    if source.shape != shape:
        raise ShapeError(f"index_copy: `source` has shape {source.shape}, expected {shape}")
    return index_put(x, places, source)


@export(inplace=True)
def masked_scatter(input: TensorLike, mask: TensorLike, source: TensorLike) -> Tensor:
    """A copy of ``input`` with the values of ``source``, in order, where ``mask`` (bool) holds."""
    x, mask = to_tensor(input), to_tensor(mask)
    source = written("masked_scatter", source, x._value.dtype)
    if mask._value.dtype.kind != "b":
        raise DtypeError(f"masked_scatter: `mask` has dtype {mask.dtype}, expected bool")
    x, mask = broadcast_tensors(x, mask)
    count = int(np.count_nonzero(mask._array))
    if count > source._value.size:
        raise ArgumentError(
            f"masked_scatter: `mask` holds in {count} places, but `source` has {source.numel()} "
            f"values"
        )
    return index_put(x, (mask,), reshape(source, -1)[:count])


@export()
def argwhere(input: TensorLike) -> Tensor:
    """Where ``input`` is not 0, as a tensor (count, ndim)."""
    where: Tensor = nonzero(input)
    return where


@export(method=False)
def isin(
    elements: TensorLike,
    test_elements: TensorLike,
    *,
    assume_unique: bool = False,
    invert: bool = False,
) -> Tensor:
    """For each of ``elements``, whether it is one of ``test_elements``, or with ``invert`` is none.

    ``assume_unique`` promises that neither has a value twice.
    """
    given = to_tensor(elements), to_tensor(test_elements)
    return computed(np.isin, *given, assume_unique=assume_unique, invert=invert)


@export(method=False)
def unravel_index(indices: TensorLike, shape: Any) -> tuple[Tensor, ...]:
    """Indices into a flattened tensor of ``shape`` as one index for each of its axes.

    >>> import tinygrad_cnn as tg
    >>> tg.unravel_index(tg.tensor([1, 5]), (2, 3))
    (tensor([0, 1]), tensor([1, 2]))
    """
    places = _index_tensor("unravel_index", indices)
    sides = size_of("unravel_index", tuple(shape) if isinstance(shape, (tuple, list)) else (shape,))
    return tuple(map(wrap, do(_unraveled, places._given, sides)))


def _unraveled(places: Array, sides: tuple[int, ...]) -> tuple[Array, ...]:
    n = int(np.prod(sides))
    if places.size and (places.min() < -n or places.max() >= n):
        raise PositionError(
            f"unravel_index: `indices` reach from {places.min()} to {places.max()}, but `shape` "
            f"{sides} has {n} places"
        )
    out = []
    places = places.astype(np.int64)
    for side in reversed(sides):
        out.append(np.asarray(places % side))
        places = places // side
    return tuple(out[::-1])


@export()
def nonzero_static(input: TensorLike, *, size: int, fill_value: int = -1) -> Tensor:
    """`nonzero` of ``size`` rows: the rest is left out, and what is missing ``fill_value``."""
    (size,) = size_of("nonzero_static", (size,))
    return computed(_first_found, to_tensor(input), size, fill_value)


def _first_found(x: Array, size: int, fill_value: int) -> Array:
    found = np.argwhere(x)[:size]
    out = np.full((size, x.ndim), fill_value, np.int64)
    out[: len(found)] = found
    return out


@export()
def fill(input: TensorLike, value: TensorLike) -> Tensor:
    """A copy of ``input`` with one number everywhere."""
    x = to_tensor(input)
    return ops.put(x, number("fill", value, x._value.dtype), index=...)
