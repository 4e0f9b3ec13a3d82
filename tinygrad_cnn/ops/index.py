"""Reading and writing by index. Reading's rule is writing and adding, and the other way round."""

# A rule may name its own operation, whose type mypy does not know yet at that place.
# mypy: disable-error-code="has-type"

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_cnn import kernels
from tinygrad_cnn.autograd.layout import (
    elements_at,
    extent_of,
    memory_of,
    places_of,
    steps_of,
    view_on,
)
from tinygrad_cnn.autograd.registry import op
from tinygrad_cnn.autograd.samples import Draw, ErrorSample, Sample
from tinygrad_cnn.autograd.units import computed
from tinygrad_cnn.autograd.variable import Variable, wrap
from tinygrad_cnn.kernels.reference.layout import new_array
from tinygrad_cnn.kernels.tape import made
from tinygrad_cnn.ops import index_forms as forms
from tinygrad_cnn.ops.shape import permute
from tinygrad_cnn.types import Array, DType, Params, Shape, Shapes

if TYPE_CHECKING:
    from tinygrad_cnn.tensor import Tensor


def is_basic(index: Any) -> bool:
    """Whether an index is made of integers, slices, ... and None: NumPy then returns a view."""
    parts = index if isinstance(index, tuple) else (index,)
    return not any(isinstance(p, (np.ndarray, list, bool, np.bool_)) for p in parts)


# ---- any index expression ------------------------------------------------------------------


def _getitem_samples(draw: Draw) -> Sample:
    shape = draw.shape(min_dims=1, min_side=1)
    return Sample((draw.array(shape),), {"index": draw.index(shape)})


@op(
    complex="parts",
    vjp=lambda g, index, shapes: ungetitem(g, index=index, shape=shapes[0]),
    view=True,
    samples=_getitem_samples,
    errors=(
        ErrorSample((np.zeros((2, 3)),), {"index": (0, 0, 0)}, IndexError, "too many indices"),
        ErrorSample((np.zeros((2, 3)),), {"index": 5}, IndexError, "out of bounds"),
    ),
    onnx=forms.getitem,
)
def getitem(x: Array, *, index: Any) -> Array:
    """``x[index]``: basic, integer, boolean and mixed indexing as NumPy's."""
    out = x[index]
    if isinstance(out, np.ndarray):
        # What arrays of indices pick lies in an order that depends on where they stand.
        shares = out.flags.c_contiguous or memory_of(out) is memory_of(x)
        return out if shares else np.ascontiguousarray(out)
    # a single element: NumPy copies it unless asked for an array with "..."
    return np.asarray(x[(*index, ...) if isinstance(index, tuple) else (index, ...)])


def _ungetitem_samples(draw: Draw) -> Sample:
    shape = draw.shape(min_dims=1, min_side=1)
    index = draw.index(shape)
    return Sample((draw.array(np.empty(shape)[index].shape),), {"index": index, "shape": shape})


def _evenly(index: Any, shape: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[int, ...]] | None:
    """The first place and the step on each axis, if an index is slices with positive steps."""
    parts = index if isinstance(index, tuple) else (index,)
    if len(parts) > len(shape) or not shape or not all(type(p) is slice for p in parts):
        return None
    parts = parts + (slice(None),) * (len(shape) - len(parts))
    ranges = [range(n)[p] for p, n in zip(parts, shape, strict=True)]
    if any(r.step < 1 for r in ranges):
        return None
    return tuple(r.start for r in ranges), tuple(r.step for r in ranges)


@op(
    complex="parts",
    vjp=lambda g, index: getitem(g, index=index),
    ignore_fp_errors=True,
    samples=_ungetitem_samples,
)
def ungetitem(x: Array, *, index: Any, shape: tuple[int, ...]) -> Array:
    """Zeros of ``shape`` with ``x`` added at ``index``; repeated places add up."""
    places = _evenly(index, shape)
    if places is not None:
        return kernels.embed(x, shape, *places)
    out = new_array(shape, x)
    out.fill(0)
    if is_basic(index):
        out[index] = x
    else:
        kernels.add_at(out, index, x)
    return out


def _winners(index: Any, shape: tuple[int, ...], size: tuple[int, ...]) -> Any:
    """Which of the ``size`` values written to ``index`` are there afterwards, as a bool array.

    Where a place is written several times, the last value stays.
    """
    n = int(np.prod(size))
    place = np.full(shape, -1, np.int64)
    number = np.arange(n).reshape(size)
    place[index] = number
    return place[index] == number


def _put_value_rule(g: Tensor, index: Any, shapes: Shapes) -> Tensor:
    part = getitem(g, index=index)
    if not is_basic(index):
        part = part * wrap(_winners(index, shapes[0], part._value.shape).astype(g._value.dtype))
    return part


def _put_samples(draw: Draw) -> Sample:
    shape = draw.shape(min_dims=1, min_side=1)
    index = draw.index(shape)
    part = np.empty(shape)[index].shape
    value = draw.array(part if draw.choice((True, False)) else part[1:])
    return Sample((draw.array(shape), value), {"index": index})


@op(
    complex="parts",
    vjp=(lambda g, index: put(g, 0.0, index=index), _put_value_rule),
    broadcasts=True,
    samples=_put_samples,
    onnx=forms.put,
)
def put(x: Array, value: Array, *, index: Any) -> Array:
    """A copy of ``x`` with ``value``, broadcast, written to ``index``."""
    out = x.copy(order="K")
    out[index] = value
    return out


# ---- by place in memory --------------------------------------------------------------------


def _times(places: Array) -> Array:
    """How often each place is there."""
    return np.asarray(np.bincount(places.ravel(), minlength=1)[places])


def _in_a_copy(x: Array, *, size: Any, stride: Any, start: int, steps: Any) -> tuple[Array, Array]:
    """``x`` copied to where its elements lie ``steps`` apart, with zeros around it as far as
    `strided` reaches, and what `strided` sees there.
    """
    before = max(0, -start)
    reach = max(extent_of(x.shape, steps), start + extent_of(size, stride))
    item = x.itemsize
    flat = np.zeros((before + reach) * item, np.uint8)
    copy = np.ndarray(x.shape, x.dtype, flat, before * item, [s * item for s in steps])
    copy[...] = x
    times = _times(places := places_of(before, x.shape, steps))
    if x.dtype.kind in "fc" and (times > 1).any():  # one place for several: their mean
        every = flat.view(x.dtype)
        every.fill(0)
        np.add.at(every, places, x / times)
    offset = (before + start) * item
    return copy, view_on(flat, (x.dtype, size, tuple(s * item for s in stride), offset))


def _strided_rule(
    g: Tensor, shapes: Shapes, size: Any, stride: Any, start: int, steps: Any
) -> Tensor:
    """As in PyTorch, an element that ``x`` has several times has a part of the sum at each."""
    seen, places = places_of(start, size, stride), places_of(0, shapes[0], steps)
    before = max(0, -start)
    n = before + max(extent_of(shapes[0], steps), start + extent_of(size, stride))
    flat = ungetitem(g, index=seen + before, shape=(n,))
    times = _times(places)
    out: Tensor = getitem(flat, index=places + before) / wrap(times.astype(g._value.dtype))
    return out


def _strided_samples(draw: Draw) -> Sample:
    x = draw.array(draw.shape(min_dims=1, min_side=2))
    params = {
        "size": (draw.integer(0, 3), draw.integer(1, 4)),
        "stride": (draw.integer(0, 4), draw.integer(1, 4)),
        "start": draw.integer(-4, 4),  # also where ``x`` is not
        "steps": tuple(draw.choice((3, 3, 0)) * s for s in steps_of(x)),
    }
    return Sample((x,), params)


@op(complex="parts", vjp=_strided_rule, view=True, samples=_strided_samples)
def strided(
    x: Array, *, size: tuple[int, ...], stride: tuple[int, ...], start: int, steps: tuple[int, ...]
) -> Array:
    """The elements ``stride`` apart along each axis, from ``start`` after the first one of ``x``.

    They need not be among those of ``x``, which lie ``steps`` apart in the same memory.
    """
    if steps_of(x) != steps:  # not where the view was made: the same numbers, in another order
        return _in_a_copy(x, size=size, stride=stride, start=start, steps=steps)[1]
    return elements_at(x, start, size, stride)


def _windows_rule(g: Tensor, shapes: Shapes, dim: int, size: int, step: int) -> Tensor:
    n = len(shapes[0])
    places = made(np.arange(g._value.shape[dim])[:, None] * step + np.arange(size))
    index = (slice(None),) * dim + (places,)
    order = (*range(dim + 1), n, *range(dim + 1, n))
    return ungetitem(permute(g, dims=order), index=index, shape=shapes[0])


def _windows_samples(draw: Draw) -> Sample:
    shape = draw.shape(min_dims=1, min_side=1)
    dim = draw.integer(0, len(shape) - 1)
    params = {"dim": dim, "size": draw.integer(0, shape[dim]), "step": draw.integer(1, 2)}
    return Sample((draw.array(shape),), params)


@op(
    complex="parts",
    vjp=_windows_rule,
    view=True,
    samples=_windows_samples,
    onnx=forms.windows,
)
def windows(x: Array, *, dim: int, size: int, step: int) -> Array:
    """Windows of ``size`` along ``dim``, ``step`` apart, as a last axis: (..., n, ..., size)."""
    steps = steps_of(x)
    shape = (*x.shape[:dim], (x.shape[dim] - size) // step + 1, *x.shape[dim + 1 :], size)
    apart = (*steps[:dim], steps[dim] * step, *steps[dim + 1 :], steps[dim])
    return elements_at(x, 0, shape, apart)


# ---- writing through a view ----------------------------------------------------------------


def _follow(x: Array, steps: Any) -> Array:
    for step, params in steps:
        x = step.forward(x, **params)
    return x


def _replay_samples(draw: Draw) -> Sample:
    shape = draw.shape(min_dims=2, min_side=1)
    n = shape[0]
    return Sample((draw.array(shape),), {"steps": ((getitem, {"index": slice(n // 2, n)}),)})


def _zeros(shape: tuple[int, ...], like: Tensor) -> Tensor:
    return wrap(made(np.zeros(shape, like._value.dtype)))


@op(
    complex="parts",
    vjp=lambda g, steps, shapes: overwrite(_zeros(shapes[0], g), g, steps=steps),
    samples=_replay_samples,
)
def replay(x: Array, *, steps: Any) -> Array:
    """What a view made of ``x`` by ``steps`` (view operations and their parameters) shows."""
    return _follow(x, steps).copy()


def _overwrite_samples(draw: Draw) -> Sample:
    sample = _replay_samples(draw)
    part = _follow(sample.args[0], sample.params["steps"])
    return Sample((sample.args[0], draw.array(part.shape)), sample.params)


@op(
    complex="parts",
    vjp=(
        lambda g, steps, shapes: overwrite(g, _zeros(shapes[1], g), steps=steps),
        lambda g, steps: replay(g, steps=steps),
    ),
    samples=_overwrite_samples,
)
def overwrite(x: Array, value: Array, *, steps: Any) -> Array:
    """A copy of ``x`` with ``value`` written through the view made by ``steps``."""
    if steps and steps[0][0] is strided:
        out, part = _in_a_copy(x, **steps[0][1])
        steps = steps[1:]
    else:
        out = part = x.copy()
    _follow(part, steps)[...] = value
    return out


Variable.overwrite = overwrite


def _diagonal_samples(draw: Draw) -> Sample:
    shape = draw.shape(min_dims=2)
    return Sample((draw.array(shape),), {"offset": draw.integer(-2, 2)})


def _diagonal_rule(g: Tensor, shapes: Shapes, params: Params) -> Tensor:
    return overwrite(_zeros(shapes[0], g), g, steps=((diagonal, params),))


@op(
    complex="parts",
    vjp=_diagonal_rule,
    view=True,
    samples=_diagonal_samples,
    onnx=forms.diagonal,
)
def diagonal(x: Array, *, offset: int = 0) -> Array:
    """The diagonal of the last two axes, ``offset`` columns to the right → (..., n)."""
    rows, columns = x.shape[-2:]
    top, left = max(-offset, 0), max(offset, 0)
    n = max(0, min(rows - top, columns - left))
    square = x[..., top : top + n, left : left + n]
    return np.asarray(np.einsum("...ii->...i", square))  # a view


# ---- along one axis ------------------------------------------------------------------------


def mesh(index: Array, dim: int) -> tuple[Array, ...]:
    """The full index that has ``index`` at ``dim`` and every position elsewhere."""
    grid: list[Array] = list(np.ogrid[tuple(slice(n) for n in index.shape)])
    grid[dim] = index
    return tuple(grid)


def _draw_gather(draw: Draw, unique: bool = False) -> tuple[tuple[int, ...], Array, int]:
    shape = draw.shape(min_dims=1, min_side=1)
    dim = draw.integer(0, len(shape) - 1)
    size = tuple(draw.integer(1, n) for n in shape)
    flat = [draw.integer(0, shape[dim] - 1) for _ in range(int(np.prod(size)))]
    return shape, np.array(flat, np.int64).reshape(size), dim


def _gather_samples(draw: Draw) -> Sample:
    shape, index, dim = _draw_gather(draw)
    return Sample((draw.array(shape), index), {"dim": dim})


def _gather_rule(g: Tensor, index: Tensor, dim: int, shapes: Shapes) -> Tensor:
    return scatter_add(_zeros(shapes[0], g), index, g, dim=dim)


def _gather_gradients(g: Array, index: Array, dim: int, shapes: Shapes) -> tuple[Array, None]:
    shape = shapes[0]
    if _on_lines(shape, index, dim) and g.dtype.kind == "f":
        lines = (math.prod(shape[:-1]), 1, index.shape[-1])
        ones = np.ones(lines, g.dtype)
        found = kernels.spread_taps(g.reshape(lines), index.reshape(lines), ones, shape[-1])
        return found.reshape(shape), None
    out = np.zeros(shape, g.dtype)
    kernels.add_at(out, mesh(index, dim), g)
    return out, None


def _on_lines(shape: tuple[int, ...], index: Array, dim: int) -> bool:
    """Whether `gather` takes from every line of the last axis, in order."""
    return dim == len(shape) - 1 and index.shape[:-1] == shape[:-1] and index.size > 0


@op(
    complex="parts",
    vjp=(_gather_rule, None),
    array_vjp=_gather_gradients,
    samples=_gather_samples,
    onnx=lambda o, x, index, dim: o.GatherElements(x, index, axis=dim),
)
def gather(x: Array, index: Array, *, dim: int) -> Array:
    """``out[i, j, k] = x[i, index[i, j, k], k]`` (for ``dim=1``), of the shape of ``index``."""
    if _on_lines(x.shape, index, dim) and index.min() >= 0 and index.max() < x.shape[dim]:
        starts = np.arange(0, x.size, x.shape[dim]).reshape(*x.shape[:-1], 1)
        return np.take(x, index + starts)
    return np.asarray(x[mesh(index, dim)])


def _scatter_samples(draw: Draw) -> Sample:
    shape, index, dim = _draw_gather(draw)
    return Sample((draw.array(shape), index, draw.array(index.shape)), {"dim": dim})


@op(
    complex="parts",
    vjp=(lambda g: g, None, lambda g, index, dim: gather(g, index, dim=dim)),
    ignore_fp_errors=True,
    samples=_scatter_samples,
    onnx=lambda o, x, index, source, dim: o.ScatterElements(
        x, index, source, axis=dim, reduction="add"
    ),
)
def scatter_add(x: Array, index: Array, source: Array, *, dim: int) -> Array:
    """A copy of ``x`` with ``out[i, index[i, j, k], k] += source[i, j, k]`` (for ``dim=1``)."""
    out = x.copy()
    kernels.add_at(out, mesh(index, dim), source)
    return out


def _staying(index: Array, dim: int, shape: Shape, dtype: DType) -> Array:
    """1 for each place that is not written again later, else 0."""
    stays: Array = _winners(mesh(index, dim), shape, index.shape).astype(dtype)
    return stays


def _scatter_source_rule(g: Tensor, index: Tensor, dim: int) -> Tensor:
    part = gather(g, index, dim=dim)
    shape, dtype = g._value.shape, g._value.dtype
    result: Tensor = part * computed(_staying, index, dim, shape, dtype)
    return result


@op(
    complex="parts",
    vjp=(
        lambda g, index, dim, shapes: scatter(g, index, _zeros(shapes[1], g), dim=dim),
        None,
        _scatter_source_rule,
    ),
    samples=_scatter_samples,
    onnx=lambda o, x, index, source, dim: o.ScatterElements(x, index, source, axis=dim),
)
def scatter(x: Array, index: Array, source: Array, *, dim: int) -> Array:
    """A copy of ``x`` with ``out[i, index[i, j, k], k] = source[i, j, k]`` (for ``dim=1``)."""
    out = x.copy()
    out[mesh(index, dim)] = source
    return out


def _select_samples(draw: Draw) -> Sample:
    shape = draw.shape(min_dims=1, min_side=1)
    dim = draw.integer(0, len(shape) - 1)
    index = np.array([draw.integer(0, shape[dim] - 1) for _ in range(draw.integer(0, 4))], np.int64)
    return Sample((draw.array(shape), index), {"dim": dim})


def _select_gradients(g: Array, index: Array, dim: int, shapes: Shapes) -> tuple[Array, None]:
    shape = shapes[0]
    if dim == 0 and len(shape) == 2:  # an embedding's: bags of one row each
        return kernels.bag_sum_backward(g, index, np.arange(len(index) + 1), None, shape[0]), None
    out = np.zeros(shape, g.dtype)
    kernels.add_at(out, (slice(None),) * dim + (index,), g)
    return out, None


@op(
    complex="parts",
    vjp=(
        lambda g, index, dim, shapes: index_add(_zeros(shapes[0], g), index, g, dim=dim),
        None,
    ),
    array_vjp=_select_gradients,
    samples=_select_samples,
    onnx=lambda o, x, index, dim: o.Gather(x, index, axis=dim),
)
def index_select(x: Array, index: Array, *, dim: int) -> Array:
    """The slices of ``x`` along ``dim`` whose numbers ``index`` (k,) lists."""
    return np.take(x, index, axis=dim)


def _index_add_samples(draw: Draw) -> Sample:
    sample = _select_samples(draw)
    (x, index), dim = sample.args, sample.params["dim"]
    shape = (*x.shape[:dim], len(index), *x.shape[dim + 1 :])
    return Sample((x, index, draw.array(shape)), sample.params)


@op(
    complex="parts",
    vjp=(lambda g: g, None, lambda g, index, dim: index_select(g, index, dim=dim)),
    ignore_fp_errors=True,
    samples=_index_add_samples,
)
def index_add(x: Array, index: Array, source: Array, *, dim: int) -> Array:
    """A copy of ``x`` with slice i of ``source`` added to its slice ``index[i]`` along ``dim``."""
    out = x.copy()
    place: Any = (slice(None),) * dim + (index,)
    kernels.add_at(out, place, source)
    return out
