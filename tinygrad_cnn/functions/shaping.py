"""Shape, order and joining of tensors."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_cnn.autograd.layout import memory_of
from tinygrad_cnn.autograd.variable import wrap
from tinygrad_cnn.errors import ArgumentError, AxisError, DtypeError, ShapeError
from tinygrad_cnn.functions.convert import (
    axes,
    axis,
    dtype_of,
    numpy_names,
    own,
    size_of,
    to_tensor,
)
from tinygrad_cnn.functions.export import export
from tinygrad_cnn.ops import index as indexing
from tinygrad_cnn.ops import shape as ops
from tinygrad_cnn.ops.elementwise import clone
from tinygrad_cnn.types import Array, Dims, DType, DTypeLike, Size, Sizes, TensorLike

if TYPE_CHECKING:
    from tinygrad_cnn.tensor import Tensor

_NO_COPY = np.lib.NumpyVersion(np.__version__) >= "2.1.0"  # `reshape` can be asked for a view


def integers(name: str, size: tuple[Sizes, ...], named: Sizes | None = None) -> tuple[int, ...]:
    """The integers that a call such as ``f(x, 2, 3)``, ``f(x, (2, 3))`` or ``f(x, shape=(2, 3))``
    means.
    """
    if named is not None and not size:
        size = (named,)
    if len(size) == 1 and isinstance(size[0], (tuple, list)):
        size = tuple(size[0])
    try:
        return tuple(map(operator.index, size))  # type: ignore[arg-type]  # or TypeError
    except TypeError:
        raise DtypeError(f"{name}: got {size!r}, expected integers") from None


def _target(name: str, x: Tensor, shape: tuple[int, ...]) -> tuple[int, ...]:
    """``shape`` with its one -1, if any, worked out; ValueError if the elements do not fit."""
    n = x._value.size
    if shape.count(-1) == 1 and (known := -math.prod(shape)) > 0 and n % known == 0:
        shape = tuple([n // known if s == -1 else s for s in shape])
    if (shape and min(shape) < 0) or math.prod(shape) != n:
        raise ShapeError(
            f"{name}: `shape` is {shape}, but `input` {x.shape} has {n} elements to fit in it"
        )
    return shape


@export()
def reshape(input: TensorLike, *sizes: Sizes, shape: Sizes | None = None) -> Tensor:
    """``input`` in another shape, one side of which may be -1; shares memory where it can.

    >>> import tinygrad_cnn as tg
    >>> tg.arange(6).reshape(2, -1)
    tensor([[0, 1, 2],
            [3, 4, 5]])
    """
    x = to_tensor(input)
    wanted = _target("reshape", x, integers("reshape", sizes, shape))
    _in_rows(x, wanted)
    return ops.reshape(x, shape=wanted)


def view(
    input: TensorLike, *sizes: Any, shape: Sizes | None = None, dtype: DTypeLike = None
) -> Tensor:
    """``input`` in another shape, or its bytes as another dtype, in the same memory.

    Where the sizes of the dtypes differ, the last axis becomes longer or shorter. No gradient
    passes from one dtype to another.

    Examples
    --------
    >>> import tinygrad_cnn as tg
    >>> tg.tensor([1.0, 2.0]).view(tg.int32)
    tensor([1065353216, 1073741824], dtype=int32)

    Raises
    ------
    RuntimeError
        The elements do not lie in memory such that this is possible.
    """
    x = to_tensor(input)
    if dtype is None and len(sizes) == 1 and isinstance(sizes[0], (np.dtype, type)):
        (dtype,), sizes = sizes, ()
    if dtype is not None:
        return _as_dtype(x, dtype_of(dtype, "view"))
    out = reshape(x, *sizes, shape=shape)
    if out.storage is not x.storage and x.numel():
        raise RuntimeError(
            f"view: a tensor of shape {x.shape} and strides {x.stride()} cannot be seen in shape "
            f"{out.shape} without a copy; use reshape()"
        )
    return out


def _as_dtype(x: Tensor, dtype: DType | None) -> Tensor:
    """The bytes of ``x`` as numbers of another dtype."""
    if dtype is None or dtype == x._value.dtype:
        return x
    try:
        seen = x.array.view(dtype)
    except ValueError:
        raise ShapeError(
            f"view: `dtype` is {dtype}, which numbers of {x.dtype} in shape {x.shape} and strides "
            f"{x.stride()} cannot be seen as"
        ) from None
    out = wrap(seen, None, x.storage)
    x.storage.shared_by(x, out)
    return out


def _in_rows(x: Tensor, shape: tuple[int, ...]) -> None:
    """Have ``x`` such in memory that ``shape`` is a view of it, if it is one in PyTorch."""
    array = x._given
    if not array.flags.c_contiguous and not _is_view(array, shape):
        x.in_rows()


def _is_view(array: Array, shape: tuple[int, ...]) -> bool:
    """Whether ``array.reshape(shape)`` shares memory with the array; without a copy since NumPy
    2.1.
    """
    if _NO_COPY:
        try:
            array.reshape(shape, copy=False)
        except ValueError:
            return False
        return True
    return memory_of(array.reshape(shape)) is memory_of(array)


@export()
def reshape_as(input: TensorLike, other: TensorLike) -> Tensor:
    """``input`` in the shape of ``other``."""
    return reshape(input, to_tensor(other)._value.shape)


@export()
def flatten(input: TensorLike, start_dim: int = 0, end_dim: int = -1) -> Tensor:
    """``input`` with the axes from ``start_dim`` to ``end_dim`` made one."""
    x = to_tensor(input)
    shape = x._value.shape
    n = max(len(shape), 1)
    start, end = axis("flatten", start_dim, n), axis("flatten", end_dim, n)
    if not shape:
        return reshape(x, 1)
    if start == end:
        return x
    if start > end:
        raise ArgumentError(f"flatten: `start_dim` {start_dim} comes after `end_dim` {end_dim}")
    wanted = (*shape[:start], math.prod(shape[start : end + 1]), *shape[end + 1 :])
    _in_rows(x, wanted)
    return ops.reshape(x, shape=wanted)


@export()
def ravel(input: TensorLike) -> Tensor:
    """``input`` with one axis."""
    return reshape(input, -1)


@export()
@numpy_names
def unflatten(input: TensorLike, dim: int, sizes: Sequence[int]) -> Tensor:
    """``input`` with the axis ``dim`` split into ``sizes``, one of which may be -1."""
    x = to_tensor(input)
    shape = x._value.shape
    d = axis("unflatten", dim, len(shape))
    part = tuple(sizes)
    known = math.prod(s for s in part if s != -1)
    if part.count(-1) == 1 and known and shape[d] % known == 0:
        part = tuple(shape[d] // known if s == -1 else s for s in part)
    if math.prod(part) != shape[d] or any(s < 0 for s in part):
        raise ShapeError(
            f"unflatten: `sizes` is {tuple(sizes)}, but axis {d} has {shape[d]} elements"
        )
    return reshape(x, *shape[:d], *part, *shape[d + 1 :])


@export()
def permute(input: TensorLike, *order: Sizes, dims: Sizes | None = None) -> Tensor:
    """``input`` with its axes in another order: ``permute(x, 2, 0, 1)`` or ``(x, (2, 0, 1))``."""
    x = to_tensor(input)
    given = integers("permute", order, dims)
    n = x._value.ndim
    wanted = tuple(axis("permute", d, n) for d in given)
    if sorted(wanted) != list(range(n)):
        raise ShapeError(f"permute: `dims` is {given}, expected each of the {n} axes once")
    return ops.permute(x, dims=wanted)


@export(inplace="view")
def transpose(input: TensorLike, dim0: int, dim1: int) -> Tensor:
    """``input`` with two axes swapped."""
    x = to_tensor(input)
    order = list(range(x._value.ndim))
    if not order:
        axis("transpose", dim0, 0), axis("transpose", dim1, 0)
        return ops.permute(x, dims=())
    a, b = axis("transpose", dim0, len(order)), axis("transpose", dim1, len(order))
    order[a], order[b] = order[b], order[a]
    return ops.permute(x, dims=tuple(order))


@export("swapdims", inplace="view")
def swapaxes(input: TensorLike, axis0: int, axis1: int) -> Tensor:
    """`transpose` by NumPy's name."""
    return transpose(input, axis0, axis1)


@export(inplace="view")
def t(input: TensorLike) -> Tensor:
    """The transpose of a matrix; a vector or a number stays what it is."""
    x = to_tensor(input)
    if x._value.ndim > 2:
        raise ShapeError(f"t: `input` has {x.ndim} axes, expected at most 2; see transpose()")
    return ops.permute(x, dims=tuple(reversed(range(x._value.ndim))))


@export("moveaxis")
def movedim(input: TensorLike, source: Sizes, destination: Sizes) -> Tensor:
    """``input`` with the axes ``source`` moved to ``destination``."""
    x = to_tensor(input)
    n = x._value.ndim
    source = source if isinstance(source, (tuple, list)) else (source,)
    destination = destination if isinstance(destination, (tuple, list)) else (destination,)
    src = [axis("movedim", d, n) for d in source]
    dst = [axis("movedim", d, n) for d in destination]
    if len(src) != len(dst) or len(set(src)) != len(src) or len(set(dst)) != len(dst):
        raise ArgumentError(f"movedim: {tuple(source)} cannot be moved to {tuple(destination)}")
    order = [d for d in range(n) if d not in src]
    for to_, from_ in sorted(zip(dst, src, strict=True)):
        order.insert(to_, from_)
    return ops.permute(x, dims=tuple(order))


@export(inplace="view")
@numpy_names
def squeeze(input: TensorLike, dim: Dims = None) -> Tensor:
    """``input`` without its axes of length 1 (only those in ``dim``, if given)."""
    x = to_tensor(input)
    chosen = set(axes("squeeze", dim, x._value.ndim)) if dim != () else set()
    shape = tuple(n for i, n in enumerate(x._value.shape) if n != 1 or i not in chosen)
    return ops.reshape(x, shape=shape)


@export(inplace="view")
@numpy_names
def unsqueeze(input: TensorLike, dim: int) -> Tensor:
    """``input`` with an axis of length 1 put in at ``dim``."""
    x = to_tensor(input)
    d = axis("unsqueeze", dim, x._value.ndim + 1)
    return ops.reshape(x, shape=(*x._value.shape[:d], 1, *x._value.shape[d:]))


@export()
def expand(input: TensorLike, *shape: Sizes) -> Tensor:
    """``input`` stretched to ``shape`` without taking memory; -1 keeps a side."""
    x = to_tensor(input)
    wanted = integers("expand", shape)
    lead = len(wanted) - x._value.ndim
    full = tuple(
        x._value.shape[i - lead] if s == -1 and i >= lead else s for i, s in enumerate(wanted)
    )
    ok = lead >= 0 and all(
        i < lead or s == x._value.shape[i - lead] or x._value.shape[i - lead] == 1
        for i, s in enumerate(full)
    )
    if not ok or any(s < 0 for s in full):
        raise ShapeError(f"expand: `input` of shape {x.shape} cannot be stretched to {wanted}")
    return ops.expand(x, shape=full)


@export()
def broadcast_to(input: TensorLike, shape: Sequence[int]) -> Tensor:
    """``input`` stretched to ``shape``."""
    return expand(input, tuple(shape))


@export()
def expand_as(input: TensorLike, other: TensorLike) -> Tensor:
    """``input`` stretched to the shape of ``other``."""
    return expand(input, to_tensor(other)._value.shape)


@export(method=False)
def broadcast_shapes(*shapes: Sizes) -> Size:
    """The shape that tensors of these shapes (a number is a vector's) broadcast to.

    >>> import tinygrad_cnn as tg
    >>> tg.broadcast_shapes((2, 1), (3,), 3)
    Size([2, 3])
    """
    each = [size_of("broadcast_shapes", (s,)) for s in shapes]
    try:
        return Size(np.broadcast_shapes(*each))
    except ValueError:
        raise ShapeError(f"broadcast_shapes: shapes {each} do not broadcast") from None


@export(method=False)
def broadcast_tensors(*tensors: TensorLike) -> tuple[Tensor, ...]:
    """All tensors stretched to their common shape."""
    xs = [to_tensor(x) for x in tensors]
    shapes = [x._value.shape for x in xs]
    try:
        shape = np.broadcast_shapes(*shapes)
    except ValueError:
        raise ShapeError(
            f"broadcast_tensors: shapes {shapes} of `tensors` do not broadcast, expected equal "
            "sides, counted from the last, or sides of 1"
        ) from None
    return tuple(expand(x, shape) for x in xs)


@export()
def sum_to_size(input: TensorLike, *size: Sizes) -> Tensor:
    """``input`` summed down to ``size``, the reverse of broadcasting."""
    x = to_tensor(input)
    shape = integers("sum_to_size", size)
    lead = x._value.ndim - len(shape)
    if lead < 0 or any(n not in (1, x._value.shape[i + lead]) for i, n in enumerate(shape)):
        raise ShapeError(f"sum_to_size: `input` of shape {x.shape} cannot be summed to {shape}")
    if x._value.dtype.kind in "biu" and (not shape or shape != x._value.shape):
        x = x.to(np.int64)  # as `sum`
    return ops.sum_to(x, shape=shape)


@export()
def repeat(input: TensorLike, *repeats: Sizes) -> Tensor:
    """``input`` laid side by side, ``repeats[i]`` times along axis i (new axes come first)."""
    x = to_tensor(input)
    times = integers("repeat", repeats)
    lead = len(times) - x._value.ndim
    if lead < 0 or any(n < 0 for n in times):
        raise ArgumentError(
            f"repeat: `repeats` is {times}, expected at least {x.ndim} numbers, none negative"
        )
    shape = (1,) * lead + x._value.shape
    between = tuple(v for n in shape for v in (1, n))
    stretched = tuple(v for r, n in zip(times, shape, strict=True) for v in (r, n))
    out = ops.expand(ops.reshape(x, shape=between), shape=stretched)
    whole = tuple(r * n for r, n in zip(times, shape, strict=True))
    result = ops.reshape(out, shape=whole)
    # nothing was repeated: still a copy, as everywhere else
    return clone(result) if result.view_of is not None else result


@export()
def tile(input: TensorLike, *dims: Sizes) -> Tensor:
    """`repeat` with missing numbers taken as 1."""
    x = to_tensor(input)
    times = integers("tile", dims)
    return repeat(x, (1,) * (x._value.ndim - len(times)) + times)


@export()
@numpy_names
def repeat_interleave(
    input: TensorLike,
    repeats: TensorLike,
    dim: int | None = None,
    *,
    output_size: int | None = None,
) -> Tensor:
    """Each slice along ``dim`` ``repeats`` times in a row (flattened first if ``dim`` is None).

    ``output_size``, if given, must be how many slices that makes.
    """
    x = ravel(input) if dim is None else to_tensor(input)
    d = axis("repeat_interleave", 0 if dim is None else dim, x._value.ndim)
    times = to_tensor(repeats)._array
    if (
        times.dtype.kind not in "iu"
        or times.size not in (1, x._value.shape[d])
        or (times < 0).any()
    ):
        raise ShapeError(
            f"repeat_interleave: `repeats` is {repeats!r}, expected one integer or "
            f"{x._value.shape[d]}, none negative"
        )
    index = np.repeat(np.arange(x._value.shape[d]), times)
    if output_size not in (None, len(index)):
        raise ArgumentError(
            f"repeat_interleave: `output_size` is {output_size}, but `repeats` makes {len(index)}"
        )
    return indexing.index_select(x, index, dim=d)


@export()
def flip(input: TensorLike, *axes_: Sizes, dims: Sizes | None = None) -> Tensor:
    """``input`` reversed along axes: ``flip(x, 0, 1)`` or ``flip(x, (0, 1))``."""
    x = to_tensor(input)
    if not axes_ and dims is None:
        raise DtypeError("flip: `dims` is missing: the axes along which to reverse")
    given = integers("flip", axes_, dims)
    return ops.flip(x, dims=axes("flip", given, x._value.ndim) if given else ())


@export()
def roll(input: TensorLike, shifts: Sizes, dims: Sizes | None = None) -> Tensor:
    """``input`` shifted along ``dims`` (flattened meanwhile if None); what leaves enters again."""
    x = to_tensor(input)
    by = integers("roll", (shifts,))
    if dims is None and len(by) == 1:
        flat = ops.roll(ravel(x), shifts=by, dims=(0,))
        return own(ops.reshape(flat, shape=x._value.shape))
    along = () if dims is None else integers("roll", (dims,))
    along = tuple(axis("roll", d, x._value.ndim) for d in along)
    if len(by) != len(along) or not by or not x._value.ndim:
        raise AxisError(
            f"roll: `shifts` is {shifts} and `dims` is {dims}, expected one shift for each axis "
            f"of `input` {x.shape} that is rolled"
        )
    return ops.roll(x, shifts=by, dims=along)
