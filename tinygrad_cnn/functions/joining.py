"""Joining, splitting and taking parts of tensors."""

from __future__ import annotations

import itertools
import operator
from typing import TYPE_CHECKING

import numpy as np

from tinygrad_cnn.autograd import promotion
from tinygrad_cnn.errors import ArgumentError, AxisError, DtypeError, PositionError, ShapeError
from tinygrad_cnn.functions.convert import axis, numpy_names, several, to_tensor
from tinygrad_cnn.functions.elementwise import to
from tinygrad_cnn.functions.export import export
from tinygrad_cnn.functions.shaping import expand, integers, ravel, reshape, transpose, unsqueeze
from tinygrad_cnn.kernels.tape import made
from tinygrad_cnn.ops import index as indexing
from tinygrad_cnn.ops import shape as ops
from tinygrad_cnn.types import Sizes, TensorLike, Tensors

if TYPE_CHECKING:
    from tinygrad_cnn.tensor import Tensor


@export("concat", "concatenate", method=False)
@numpy_names
def cat(tensors: Tensors, dim: int = 0) -> Tensor:
    """Tensors one after another along ``dim``; their other sides must agree.

    >>> import tinygrad_cnn as tg
    >>> tg.cat([tg.zeros(1, 2), tg.ones(1, 2)])
    tensor([[0., 0.],
            [1., 1.]])
    """
    xs = several("cat", tensors)
    if not xs:
        raise ArgumentError("cat: `tensors` is empty, expected at least one")
    dtype = promotion.common_dtype([x._given for x in xs])
    if len(xs) > 1:  # an old habit of PyTorch's: a tensor of shape (0,) goes with anything
        first = next((x for x in xs if x.shape != (0,)), xs[0])._value
    else:
        first = xs[0]._value
    if not first.ndim:
        raise ShapeError("cat: tensors without dimensions cannot be joined; see stack()")
    d = axis("cat", dim, first.ndim)
    nothing = (*first.shape[:d], 0, *first.shape[d + 1 :])
    xs = [reshape(x, nothing) if x.shape == (0,) else x for x in xs]
    for i, x in enumerate(xs):
        shape = x._value.shape
        if (
            len(shape) != first.ndim
            or shape[:d] + shape[d + 1 :] != first.shape[:d] + first.shape[d + 1 :]
        ):
            raise ShapeError(
                f"cat: tensor {i} has shape {shape}, which does not fit {first.shape} but along "
                f"axis {d}"
            )
    return ops.cat(*[to(x, dtype) for x in xs], dim=d)


@export(method=False)
@numpy_names
def stack(tensors: Tensors, dim: int = 0) -> Tensor:
    """Tensors of one shape along a new axis ``dim``."""
    xs = several("stack", tensors)
    if not xs:
        raise ArgumentError("stack: `tensors` is empty, expected at least one")
    for i, x in enumerate(xs):
        if x._value.shape != xs[0]._value.shape:
            raise ShapeError(
                f"stack: tensor {i} has shape {x.shape}, expected {xs[0].shape} as the first one"
            )
    d = axis("stack", dim, xs[0]._value.ndim + 1)
    return cat([unsqueeze(x, d) for x in xs], d)


@export(method=False)
def hstack(tensors: Tensors) -> Tensor:
    """Tensors side by side: along the second axis, vectors along the first."""
    xs = several("hstack", tensors)
    xs = [reshape(x, 1) if not x._value.ndim else x for x in xs]
    if not xs:
        raise ArgumentError("hstack: `tensors` is empty, expected at least one")
    return cat(xs, 0 if xs[0]._value.ndim == 1 else 1)


@export("row_stack", method=False)
def vstack(tensors: Tensors) -> Tensor:
    """Tensors on top of each other; vectors are rows."""
    xs = several("vstack", tensors)
    return cat([reshape(x, 1, -1) if x._value.ndim < 2 else x for x in xs], 0)


@export()
@numpy_names
def narrow(input: TensorLike, dim: int, start: int, length: int) -> Tensor:
    """The part of ``input`` from ``start`` of ``length`` along ``dim``; shares memory."""
    x = to_tensor(input)
    d = axis("narrow", dim, x._value.ndim)
    if not x._value.ndim:
        raise AxisError("narrow: `input` has no dimensions to narrow")
    n = x._value.shape[d]
    if getattr(start, "dtype", None) is np.dtype(bool):
        raise DtypeError(f"narrow: `start` is {start!r}, expected an integer")
    start, length = integers("narrow", (start, length))
    start = start + n if start < 0 else start
    if not (0 <= start and length >= 0 and start + length <= n):
        raise PositionError(
            f"narrow: {start} to {start + length} is not inside axis {d} of length {n}"
        )
    return indexing.getitem(x, index=(slice(None),) * d + (slice(start, start + length),))


@export()
@numpy_names
def select(input: TensorLike, dim: int, index: int) -> Tensor:
    """The slice number ``index`` along ``dim``; shares memory."""
    x = to_tensor(input)
    d = axis("select", dim, x._value.ndim)
    n = x._value.shape[d] if x._value.ndim else 0
    if not -n <= index < n:
        raise PositionError(f"select: `index` is {index}, but axis {d} of {x.shape} has {n}")
    return indexing.getitem(x, index=(slice(None),) * d + (operator.index(index),))


@export()
def split(tensor: TensorLike, split_size_or_sections: Sizes, dim: int = 0) -> tuple[Tensor, ...]:
    """Parts along ``dim``: of one size (the last may be smaller) or of given sizes."""
    x = to_tensor(tensor)
    if not x._value.ndim:
        raise AxisError("split: `tensor` has no dimensions to take apart")
    d = axis("split", dim, x._value.ndim)
    n = x._value.shape[d]
    if isinstance(split_size_or_sections, (int, np.integer)):
        size = int(split_size_or_sections)
        if size < 0 or (size == 0 and n):
            raise ArgumentError(
                f"split: `split_size_or_sections` is {size}, expected a positive size"
            )
        sections = [min(size, n - s) for s in range(0, n, size)] if n else [0]
    else:
        sections = list(integers("split", (split_size_or_sections,)))
        if sum(sections) != n or any(s < 0 for s in sections):
            raise ShapeError(
                f"split: sections {sections} do not add up to {n}, the side of axis {d}"
            )
    starts = np.cumsum([0, *sections])
    parts = zip(starts, sections, strict=False)
    return _together("split", [narrow(x, d, int(s), k) for s, k in parts])


def _together(name: str, views: list[Tensor]) -> tuple[Tensor, ...]:
    """Views that one call returns: as in PyTorch none of them can be changed in place."""
    for v in views:
        if v.view_of is not None:
            v.view_of.several = name
    return tuple(views)


@export()
@numpy_names
def chunk(input: TensorLike, chunks: int, dim: int = 0) -> tuple[Tensor, ...]:
    """At most ``chunks`` parts of ``input`` along ``dim``, of one size but for the last."""
    x = to_tensor(input)
    if not isinstance(chunks, (int, np.integer)) or chunks < 1:
        raise ArgumentError(f"chunk: `chunks` is {chunks!r}, expected an integer, at least 1")
    if not x._value.ndim:
        raise AxisError("chunk: `input` has no dimensions to take apart")
    n = x._value.shape[axis("chunk", dim, x._value.ndim)]
    return split(x, max(1, -(-n // chunks)) if n else [0] * chunks, dim)


@export()
@numpy_names
def unbind(input: TensorLike, dim: int = 0) -> tuple[Tensor, ...]:
    """All slices of ``input`` along ``dim``."""
    x = to_tensor(input)
    if not x._value.ndim:
        raise AxisError("unbind: `input` has no dimensions to take apart")
    n = x._value.shape[axis("unbind", dim, x._value.ndim)]
    return _together("unbind", [select(x, dim, i) for i in range(n)])


@export(method=False)
def meshgrid(*tensors: TensorLike, indexing: str = "ij") -> tuple[Tensor, ...]:
    """Coordinate grids from vectors; ``indexing`` is ``"ij"`` or ``"xy"``."""
    if len(tensors) == 1 and isinstance(tensors[0], (tuple, list)):
        tensors = tuple(tensors[0])
    if indexing not in ("ij", "xy"):
        raise ArgumentError(f"meshgrid: `indexing` is {indexing!r}, expected 'ij' or 'xy'")
    xs = [ravel(x) for x in tensors]
    shape = tuple(x._value.size for x in xs)
    grids = tuple(
        expand(reshape(x, (1,) * i + (-1,) + (1,) * (len(xs) - i - 1)), shape)
        for i, x in enumerate(xs)
    )
    if indexing == "xy" and len(xs) > 1:
        return tuple(transpose(grid, 0, 1) for grid in grids)
    return grids


@export(method=False)
def cartesian_prod(*tensors: TensorLike) -> Tensor:
    """All choices of one value from each vector, as rows; of one vector, the vector itself.

    >>> import tinygrad_cnn as tg
    >>> tg.cartesian_prod(tg.tensor([1, 2]), tg.tensor([3, 4]))
    tensor([[1, 3],
            [1, 4],
            [2, 3],
            [2, 4]])
    """
    xs = several("cartesian_prod", tensors)
    if not xs or any(x._value.ndim != 1 for x in xs):
        shapes = [x.shape for x in xs]
        raise ShapeError(f"cartesian_prod: shapes {shapes}, expected at least one vector")
    return stack([ravel(x) for x in meshgrid(*xs)], 1) if len(xs) > 1 else xs[0]


@export()
def combinations(input: TensorLike, r: int = 2, with_replacement: bool = False) -> Tensor:
    """All choices of ``r`` values of a vector, in its order, as rows (count, r).

    >>> import tinygrad_cnn as tg
    >>> tg.combinations(tg.tensor([1, 2, 3]))
    tensor([[1, 2],
            [1, 3],
            [2, 3]])
    """
    x = to_tensor(input)
    if x._value.ndim != 1 or r < 0:
        raise ArgumentError(
            f"combinations: `input` has shape {x.shape} and `r` is {r}, expected a vector and a "
            f"number that is not negative"
        )
    choose = itertools.combinations_with_replacement if with_replacement else itertools.combinations
    if not r:
        return x[:0].clone()
    places = np.array(list(choose(range(x._value.size), r)), np.int64).reshape(-1, r)
    return indexing.getitem(x, index=made(places))


@export()
def split_with_sizes(input: TensorLike, split_sizes: Sizes, dim: int = 0) -> tuple[Tensor, ...]:
    """`split` into parts of given sizes."""
    return split(input, list(integers("split_with_sizes", (split_sizes,))), dim)
