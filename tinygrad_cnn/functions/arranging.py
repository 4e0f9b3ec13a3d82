"""Rotations, diagonals, windows along an axis, and parts by number."""

from __future__ import annotations

import itertools
import math
import operator
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from tinygrad_cnn.autograd.layout import extent_of, has_gaps, memory_of, steps_of
from tinygrad_cnn.autograd.promotion import common_dtype
from tinygrad_cnn.autograd.variable import wrap
from tinygrad_cnn.errors import ArgumentError, AxisError, ShapeError
from tinygrad_cnn.functions.convert import axis, numpy_names, own, several, to_tensor
from tinygrad_cnn.functions.elementwise import mul, sub, to
from tinygrad_cnn.functions.export import export
from tinygrad_cnn.functions.joining import cat, narrow, split
from tinygrad_cnn.functions.padding import diagonal
from tinygrad_cnn.functions.padding import pad as with_border
from tinygrad_cnn.functions.reduction import sum
from tinygrad_cnn.functions.shaping import (
    broadcast_tensors,
    flip,
    integers,
    movedim,
    reshape,
    transpose,
    unsqueeze,
)
from tinygrad_cnn.kernels.tape import made
from tinygrad_cnn.ops import index as indexing
from tinygrad_cnn.types import Array, Params, TensorLike, Tensors

if TYPE_CHECKING:
    from tinygrad_cnn.tensor import Tensor

Where: TypeAlias = "int | Sequence[int] | Tensor"


# ---- parts ---------------------------------------------------------------------------------


@export()
@numpy_names
def tensor_split(input: TensorLike, indices_or_sections: Where, dim: int = 0) -> tuple[Tensor, ...]:
    """``input`` in so many parts along ``dim``, of nearly one size, or cut before each index.

    >>> import tinygrad_cnn as tg
    >>> tg.tensor_split(tg.arange(5), 2)
    (tensor([0, 1, 2]), tensor([3, 4]))
    """
    return _parts("tensor_split", to_tensor(input), indices_or_sections, dim)


def _parts(name: str, x: Tensor, where: Where, dim: int) -> tuple[Tensor, ...]:
    if not x.ndim:
        raise AxisError(f"{name}: `input` has no dimensions to take apart")
    n = x.shape[axis(name, dim, x.ndim)]
    given: Any = where if isinstance(where, (int, list, tuple)) else to_tensor(where).tolist()
    if isinstance(given, int):
        if given < 1:
            raise ArgumentError(f"{name}: {given} parts are asked for, expected at least 1")
        sizes = [n // given + (i < n % given) for i in range(given)]
        return split(x, sizes, dim)
    cuts = [0, *(min(max(i + n if i < 0 else i, 0), n) for i in integers(name, (given,))), n]
    lead = (slice(None),) * axis(name, dim, x.ndim)
    pairs = itertools.pairwise(cuts)
    return tuple(indexing.getitem(x, index=(*lead, slice(a, max(a, b)))) for a, b in pairs)


def _split_axis(name: str, x: TensorLike, where: Where, dim: int, least: int) -> tuple[Tensor, ...]:
    x = to_tensor(x)
    if x.ndim < least:
        raise ShapeError(f"{name}: `input` has shape {x.shape}, expected at least {least} axes")
    d = 0 if x.ndim == 1 else dim
    if isinstance(where, int) and (where < 1 or x.shape[d] % where):
        raise ArgumentError(f"{name}: {where} parts of one size of {x.shape[d]} are not possible")
    return _parts(name, x, where, d)


@export()
def hsplit(input: TensorLike, indices_or_sections: Where) -> tuple[Tensor, ...]:
    """`tensor_split` along the second axis (the only one of a vector), in equal parts."""
    return _split_axis("hsplit", input, indices_or_sections, 1, 1)


@export()
def vsplit(input: TensorLike, indices_or_sections: Where) -> tuple[Tensor, ...]:
    """`tensor_split` along the first axis, in equal parts."""
    return _split_axis("vsplit", input, indices_or_sections, 0, 2)


@export()
def dsplit(input: TensorLike, indices_or_sections: Where) -> tuple[Tensor, ...]:
    """`tensor_split` along the third axis, in equal parts."""
    return _split_axis("dsplit", input, indices_or_sections, 2, 3)


# ---- turning -------------------------------------------------------------------------------


@export()
def flipud(input: TensorLike) -> Tensor:
    """``input`` reversed along its first axis."""
    return _flipped("flipud", input, 0)


@export()
def fliplr(input: TensorLike) -> Tensor:
    """``input`` reversed along its second axis."""
    return _flipped("fliplr", input, 1)


def _flipped(name: str, input: TensorLike, dim: int) -> Tensor:
    x = to_tensor(input)
    if x.ndim <= dim:
        raise ShapeError(f"{name}: `input` has shape {x.shape}, expected at least {dim + 1} axes")
    return flip(x, dim)


@export()
def rot90(input: TensorLike, k: int = 1, dims: Sequence[int] = (0, 1)) -> Tensor:
    """``input`` turned by ``k`` right angles in the plane of two axes, from the first on.

    >>> import tinygrad_cnn as tg
    >>> tg.rot90(tg.tensor([[1, 2], [3, 4]]))
    tensor([[2, 4],
            [1, 3]])
    """
    x = to_tensor(input)
    given = integers("rot90", (dims,))
    if len(given) != 2:
        raise ArgumentError(f"rot90: `dims` is {dims}, expected two axes")
    a, b = (axis("rot90", d, x.ndim) for d in given)
    if a == b:
        raise ArgumentError(f"rot90: `dims` is {dims}, expected two different axes")
    if k % 4 == 0:
        return x.clone()
    if k % 4 == 2:
        return flip(x, a, b)
    return own(transpose(flip(x, b), a, b)) if k % 4 == 1 else flip(transpose(x, a, b), b)


# ---- diagonals -----------------------------------------------------------------------------


@export()
def trace(input: TensorLike) -> Tensor:
    """The sum of the diagonal of a matrix."""
    x = to_tensor(input)
    if x.ndim != 2:
        raise ShapeError(f"trace: `input` has shape {x.shape}, expected a matrix")
    return sum(diagonal(x))


@export()
def diag_embed(input: TensorLike, offset: int = 0, dim1: int = -2, dim2: int = -1) -> Tensor:
    """Matrices, in the axes ``dim1`` and ``dim2``, with the last axis of ``input`` as diagonal.

    >>> import tinygrad_cnn as tg
    >>> tg.diag_embed(tg.ones(2))
    tensor([[1., 0.],
            [0., 1.]])
    """
    x = to_tensor(input)
    if not x.ndim:
        raise AxisError("diag_embed: `input` has no dimensions, expected at least 1")
    a, b = axis("diag_embed", dim1, x.ndim + 1), axis("diag_embed", dim2, x.ndim + 1)
    if a == b:
        raise ArgumentError(f"diag_embed: `dim1` and `dim2` are one axis, {dim1} and {dim2}")
    n = x.shape[-1] + abs(offset)
    i = np.arange(x.shape[-1])
    index = (..., made(i + max(-offset, 0)), made(i + max(offset, 0)))
    out = indexing.put(wrap(made(np.zeros((*x.shape[:-1], n, n), x.dtype))), x, index=index)
    return own(movedim(out, (-2, -1), (a, b)))


@export()
def diagflat(input: TensorLike, offset: int = 0) -> Tensor:
    """A matrix with the flattened ``input`` on its diagonal."""
    return diag_embed(reshape(to_tensor(input), -1), offset)


# ---- windows -------------------------------------------------------------------------------


@export(top=False, method="unfold")
def unfold_axis(input: TensorLike, dimension: int, size: int, step: int) -> Tensor:
    """All slices of ``size`` along ``dimension``, ``step`` apart; the elements are the last axis.

    The result is a copy, not a view as PyTorch's.

    >>> import tinygrad_cnn as tg
    >>> tg.arange(4).unfold(0, 2, 1)
    tensor([[0, 1],
            [1, 2],
            [2, 3]])
    """
    x = to_tensor(input)
    d = axis("unfold", dimension, x.ndim)
    n = x.shape[d] if x.ndim else 1
    if size < 0 or size > n or step < 1:
        raise ArgumentError(
            f"unfold: `size` is {size} and `step` {step}, expected 0 to {n} and at least 1"
        )
    if not x.ndim:
        return narrow(reshape(x, 1), 0, 0, size)
    return indexing.windows(x, dim=d, size=size, step=step)


@export(inplace="view")
def as_strided(
    input: TensorLike,
    size: Sequence[int],
    stride: Sequence[int],
    storage_offset: int | None = None,
) -> Tensor:
    """What lies ``stride`` elements apart in the memory of ``input``, from ``storage_offset`` on.

    A view. As in PyTorch, the memory (the storage) is that of the whole tensor of which ``input``
    is a view, ``storage_offset`` is counted from its beginning, and elements need not be among
    those of ``input``. Gradients reach ``input`` where they are.

    Raises
    ------
    ValueError
        Numbers are negative, or as many are not given for both; or they reach beyond the memory.

    >>> import tinygrad_cnn as tg
    >>> x = tg.arange(6)
    >>> x[2:].as_strided((2, 2), (1, 2))
    tensor([[2, 4],
            [3, 5]])
    """
    x = to_tensor(input)
    params = strided_params("as_strided", x, size, stride, storage_offset)
    out: Tensor = indexing.strided(x, **params)
    if x.view_of is not None and out.view_of is not None:
        # The way from the base, on which it does not matter how ``input`` looks into it.
        base: Any = x.view_of.base
        start = params["start"] + x.offset_in_storage() - base.offset_in_storage()
        params = {**params, "start": start, "steps": steps_of(base._given)}
        out.view_of.steps = ((indexing.strided, params),)
        out.view_of.detour = True
    return out


def strided_params(
    name: str, x: Tensor, size: Sequence[int], stride: Sequence[int], storage_offset: int | None
) -> Params:
    """The parameters of `ops.index.strided`."""
    sides, steps = tuple(map(operator.index, size)), tuple(map(operator.index, stride))
    at = x.offset_in_storage()
    offset = at if storage_offset is None else operator.index(storage_offset)
    if len(sides) != len(steps) or min((*sides, *steps, offset)) < 0:
        raise ArgumentError(
            f"{name}: `size` is {sides}, `stride` {steps} and `storage_offset` {offset}, expected "
            f"as many sides as strides, and no negative number"
        )
    elements = x.bytes_in_storage() // x._value.dtype.itemsize
    if extent_of(sides, steps) and offset + extent_of(sides, steps) > elements:
        raise ShapeError(
            f"{name}: `size` {sides}, `stride` {steps} and `storage_offset` {offset} reach beyond "
            f"the {elements} elements of the memory of `input`"
        )
    if not x._value.size:  # it has no place in memory
        offset = at
    if has_gaps(memory_of(x._given)):
        raise ArgumentError(f"{name}: `input` is in another library's memory, which has gaps")

    return {
        "size": sides,
        "stride": steps,
        "start": offset - at,
        "steps": steps_of(x._given),
    }


# ---- products ------------------------------------------------------------------------------


@export()
def kron(input: TensorLike, other: TensorLike) -> Tensor:
    """The Kronecker product: ``other``, once for each element of ``input``, times it.

    >>> import tinygrad_cnn as tg
    >>> tg.kron(tg.tensor([1, 2]), tg.tensor([1, 1]))
    tensor([1, 1, 2, 2])
    """
    a, b = to_tensor(input), to_tensor(other)
    n = max(a.ndim, b.ndim)
    left, right = (1,) * (n - a.ndim) + a.shape, (1,) * (n - b.ndim) + b.shape
    a = reshape(a, [v for m in left for v in (m, 1)])
    b = reshape(b, [v for m in right for v in (1, m)])
    return own(reshape(mul(a, b), [p * q for p, q in zip(left, right, strict=True)]))


@export()
@numpy_names
def cross(input: TensorLike, other: TensorLike, dim: int | None = None) -> Tensor:
    """The cross product of vectors along ``dim``; by default the first axis of size 3.

    >>> import tinygrad_cnn as tg
    >>> tg.cross(tg.tensor([1, 0, 0]), tg.tensor([0, 1, 0]))
    tensor([0, 0, 1])
    """
    a, b = broadcast_tensors(input, other)
    if dim is None:
        if 3 not in a.shape:
            raise ShapeError(f"cross: `input` has shape {a.shape}, expected an axis of size 3")
        d = a.shape.index(3)
    else:
        d = axis("cross", dim, a.ndim)
    if not a.ndim or a.shape[d] != 3:
        raise ShapeError(f"cross: axis {d} of `input` {a.shape} must have size 3")
    turn, back = made(np.array([1, 2, 0])), made(np.array([2, 0, 1]))

    def turned(x: Tensor, order: Array) -> Tensor:
        return indexing.index_select(x, order, dim=d)

    return sub(mul(turned(a, turn), turned(b, back)), mul(turned(a, back), turned(b, turn)))


# ---- joining -------------------------------------------------------------------------------


@export(method=False)
def atleast_1d(*tensors: TensorLike) -> Any:
    """Tensors, or a list of them, with at least one axis."""
    return _at_least(tensors, lambda x: reshape(x, 1) if not x.ndim else x)


@export(method=False)
def atleast_2d(*tensors: TensorLike) -> Any:
    """Tensors, or a list of them, with at least two axes, new ones first."""
    return _at_least(tensors, lambda x: reshape(x, 1, -1) if x.ndim < 2 else x)


@export(method=False)
def atleast_3d(*tensors: TensorLike) -> Any:
    """Tensors, or a list of them, with at least three axes; a vector becomes (1, n, 1)."""
    return _at_least(tensors, _deep)


def _at_least(tensors: Any, wide: Callable[[Tensor], Tensor]) -> Any:
    if len(tensors) == 1 and not isinstance(tensors[0], (tuple, list)):
        return wide(to_tensor(tensors[0]))
    given = tensors[0] if len(tensors) == 1 else tensors
    return tuple(wide(to_tensor(x)) for x in given)


@export(method=False)
def column_stack(tensors: Tensors) -> Tensor:
    """Vectors and numbers as columns, and matrices, side by side."""
    xs = several("column_stack", tensors)
    return cat([reshape(x, -1, 1) if x.ndim < 2 else x for x in xs], 1)


@export(method=False)
def dstack(tensors: Tensors) -> Tensor:
    """Tensors one behind the other, along the third axis."""
    return cat([_deep(x) for x in several("dstack", tensors)], 2)


def _deep(x: Tensor) -> Tensor:
    return reshape(x, 1, -1, 1) if x.ndim < 2 else unsqueeze(x, -1) if x.ndim == 2 else x


@export(method=False)
def block_diag(*tensors: TensorLike) -> Tensor:
    """A matrix with matrices (vectors are rows) along its diagonal.

    >>> import tinygrad_cnn as tg
    >>> tg.block_diag(tg.tensor([[1]]), tg.tensor([2, 3]))
    tensor([[1, 0, 0],
            [0, 2, 3]])
    """
    xs = [to_tensor(x) for x in tensors]
    dtype = common_dtype([x._given for x in xs]) if xs else np.float32
    blocks = [reshape(to(x, dtype), 1, -1) if x.ndim < 2 else to(x, dtype) for x in xs]
    if any(b.ndim > 2 for b in blocks):
        shapes = [b.shape for b in blocks]
        raise ShapeError(f"block_diag: shapes {shapes}, expected at most 2 axes each")
    width = math.fsum(b.shape[1] for b in blocks)
    rows, before = [], 0
    for b in blocks:
        after = int(width) - before - b.shape[1]
        zeros = [wrap(made(np.zeros((b.shape[0], n), dtype))) for n in (before, after)]
        rows.append(cat([zeros[0], b, zeros[1]], 1))
        before += b.shape[1]
    return cat(rows, 0) if rows else wrap(made(np.zeros((1, 0), dtype)))


@export(method=False)
def constant_pad_nd(input: TensorLike, pad: Sequence[int], value: float = 0) -> Tensor:
    """`nn.functional.pad` with one number."""
    return with_border(input, pad, value=value)
