"""Shape, order and joining of tensors."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_cnn.autograd import promotion
from tinygrad_cnn.autograd.variable import wrap
from tinygrad_cnn.functions.convert import axes, axis, numpy_names, to_tensor
from tinygrad_cnn.functions.elementwise import to
from tinygrad_cnn.ops import index as indexing
from tinygrad_cnn.ops import shape as ops
from tinygrad_cnn.ops.elementwise import clone

if TYPE_CHECKING:
    from tinygrad_cnn.tensor import Tensor

__all__ = [
    "broadcast_tensors",
    "broadcast_to",
    "cat",
    "chunk",
    "concat",
    "diag",
    "diagonal",
    "expand",
    "expand_as",
    "flatten",
    "flip",
    "hstack",
    "meshgrid",
    "movedim",
    "narrow",
    "pad",
    "permute",
    "ravel",
    "repeat",
    "repeat_interleave",
    "reshape",
    "reshape_as",
    "roll",
    "select",
    "split",
    "squeeze",
    "stack",
    "sum_to_size",
    "swapaxes",
    "t",
    "tile",
    "transpose",
    "tril",
    "triu",
    "unbind",
    "unflatten",
    "unsqueeze",
    "vstack",
]


def _sizes(name: str, size: tuple[Any, ...], named: Any = None) -> tuple[int, ...]:
    """The integers that a call such as ``f(x, 2, 3)``, ``f(x, (2, 3))`` or ``f(x, shape=(2, 3))``
    means."""
    if named is not None and not size:
        size = (named,)
    if len(size) == 1 and isinstance(size[0], (tuple, list)):
        size = tuple(size[0])
    try:
        return tuple(operator.index(n) for n in size)
    except TypeError:
        raise TypeError(f"{name}: `shape` is {size!r}, expected integers") from None


def _target(name: str, x: Tensor, shape: tuple[int, ...]) -> tuple[int, ...]:
    """``shape`` with its one -1, if any, worked out; ValueError if the elements do not fit."""
    n = x.array.size
    free = [i for i, s in enumerate(shape) if s == -1]
    known = math.prod(s for s in shape if s != -1)
    if len(free) == 1 and known > 0 and n % known == 0:
        shape = tuple(n // known if s == -1 else s for s in shape)
    if any(s < 0 for s in shape) or math.prod(shape) != n:
        raise ValueError(
            f"{name}: `shape` is {shape}, but `input` {x.array.shape} has {n} elements to fit in it"
        )
    return shape


def reshape(input: Any, *sizes: Any, shape: Any = None) -> Tensor:
    """``input`` in another shape, one side of which may be -1; shares memory where it can.

    The method ``view`` is the same: image batches lie channels-last inside, so that flattening
    one has to copy, which `view` therefore does too.

    >>> import tinygrad_cnn as tg
    >>> tg.arange(6).reshape(2, -1)
    tensor([[0, 1, 2],
            [3, 4, 5]])
    """
    x = to_tensor(input)
    return ops.reshape(x, shape=_target("reshape", x, _sizes("reshape", sizes, shape)))  # type: ignore[no-any-return]


def reshape_as(input: Any, other: Any) -> Tensor:
    """``input`` in the shape of ``other``."""
    return reshape(input, to_tensor(other).array.shape)


def flatten(input: Any, start_dim: int = 0, end_dim: int = -1) -> Tensor:
    """``input`` with the axes from ``start_dim`` to ``end_dim`` made one."""
    x = to_tensor(input)
    shape = x.array.shape
    if not shape:
        return reshape(x, 1)
    start, end = axis("flatten", start_dim, len(shape)), axis("flatten", end_dim, len(shape))
    if start > end:
        raise ValueError(f"flatten: `start_dim` {start_dim} comes after `end_dim` {end_dim}")
    middle = math.prod(shape[start : end + 1])
    return ops.reshape(x, shape=(*shape[:start], middle, *shape[end + 1 :]))  # type: ignore[no-any-return]


def ravel(input: Any) -> Tensor:
    """``input`` with one axis."""
    return reshape(input, -1)


def unflatten(input: Any, dim: int, sizes: Sequence[int]) -> Tensor:
    """``input`` with the axis ``dim`` split into ``sizes``, one of which may be -1."""
    x = to_tensor(input)
    shape = x.array.shape
    d = axis("unflatten", dim, len(shape))
    part = tuple(sizes)
    known = math.prod(s for s in part if s != -1)
    if part.count(-1) == 1 and known and shape[d] % known == 0:
        part = tuple(shape[d] // known if s == -1 else s for s in part)
    if math.prod(part) != shape[d] or any(s < 0 for s in part):
        raise ValueError(
            f"unflatten: `sizes` is {tuple(sizes)}, but axis {d} has {shape[d]} elements"
        )
    return ops.reshape(x, shape=(*shape[:d], *part, *shape[d + 1 :]))  # type: ignore[no-any-return]


def permute(input: Any, *order: Any, dims: Any = None) -> Tensor:
    """``input`` with its axes in another order: ``permute(x, 2, 0, 1)`` or ``(x, (2, 0, 1))``."""
    x = to_tensor(input)
    given = _sizes("permute", order, dims)
    n = x.array.ndim
    wanted = tuple(axis("permute", d, n) for d in given)
    if sorted(wanted) != list(range(n)):
        raise ValueError(f"permute: `dims` is {given}, expected each of the {n} axes once")
    return ops.permute(x, dims=wanted)  # type: ignore[no-any-return]


def transpose(input: Any, dim0: int, dim1: int) -> Tensor:
    """``input`` with two axes swapped."""
    x = to_tensor(input)
    order = list(range(x.array.ndim))
    if not order:
        return ops.permute(x, dims=())  # type: ignore[no-any-return]
    a, b = axis("transpose", dim0, len(order)), axis("transpose", dim1, len(order))
    order[a], order[b] = order[b], order[a]
    return ops.permute(x, dims=tuple(order))  # type: ignore[no-any-return]


def swapaxes(input: Any, axis0: int, axis1: int) -> Tensor:
    """`transpose` by NumPy's name."""
    return transpose(input, axis0, axis1)


def t(input: Any) -> Tensor:
    """The transpose of a matrix; a vector or a number stays what it is."""
    x = to_tensor(input)
    if x.array.ndim > 2:
        raise ValueError(f"t: `input` has {x.array.ndim} axes, expected at most 2; see transpose()")
    return ops.permute(x, dims=tuple(reversed(range(x.array.ndim))))  # type: ignore[no-any-return]


def movedim(input: Any, source: Any, destination: Any) -> Tensor:
    """``input`` with the axes ``source`` moved to ``destination``."""
    x = to_tensor(input)
    n = x.array.ndim
    source = source if isinstance(source, (tuple, list)) else (source,)
    destination = destination if isinstance(destination, (tuple, list)) else (destination,)
    src = [axis("movedim", d, n) for d in source]
    dst = [axis("movedim", d, n) for d in destination]
    if len(src) != len(dst) or len(set(src)) != len(src) or len(set(dst)) != len(dst):
        raise ValueError(f"movedim: {tuple(source)} cannot be moved to {tuple(destination)}")
    order = [d for d in range(n) if d not in src]
    for to_, from_ in sorted(zip(dst, src, strict=True)):
        order.insert(to_, from_)
    return ops.permute(x, dims=tuple(order))  # type: ignore[no-any-return]


def squeeze(input: Any, dim: Any = None) -> Tensor:
    """``input`` without its axes of length 1 (only those in ``dim``, if given)."""
    x = to_tensor(input)
    chosen = set(axes("squeeze", dim, x.array.ndim)) if dim != () else set()
    shape = tuple(n for i, n in enumerate(x.array.shape) if n != 1 or i not in chosen)
    return ops.reshape(x, shape=shape)  # type: ignore[no-any-return]


def unsqueeze(input: Any, dim: int) -> Tensor:
    """``input`` with an axis of length 1 put in at ``dim``."""
    x = to_tensor(input)
    d = axis("unsqueeze", dim, x.array.ndim + 1)
    return ops.reshape(x, shape=(*x.array.shape[:d], 1, *x.array.shape[d:]))  # type: ignore[no-any-return]


def expand(input: Any, *shape: Any) -> Tensor:
    """``input`` stretched to ``shape`` without taking memory; -1 keeps a side."""
    x = to_tensor(input)
    wanted = _sizes("expand", shape)
    lead = len(wanted) - x.array.ndim
    full = tuple(
        x.array.shape[i - lead] if s == -1 and i >= lead else s for i, s in enumerate(wanted)
    )
    ok = lead >= 0 and all(
        i < lead or s == x.array.shape[i - lead] or x.array.shape[i - lead] == 1
        for i, s in enumerate(full)
    )
    if not ok or any(s < 0 for s in full):
        raise ValueError(
            f"expand: `input` of shape {x.array.shape} cannot be stretched to {wanted}"
        )
    return ops.expand(x, shape=full)  # type: ignore[no-any-return]


def broadcast_to(input: Any, shape: Sequence[int]) -> Tensor:
    """``input`` stretched to ``shape``."""
    return expand(input, tuple(shape))


def expand_as(input: Any, other: Any) -> Tensor:
    """``input`` stretched to the shape of ``other``."""
    return expand(input, to_tensor(other).array.shape)


def broadcast_tensors(*tensors: Any) -> tuple[Tensor, ...]:
    """All tensors stretched to their common shape."""
    xs = [to_tensor(x) for x in tensors]
    shapes = [x.array.shape for x in xs]
    try:
        shape = np.broadcast_shapes(*shapes)
    except ValueError:
        raise ValueError(f"broadcast_tensors: shapes {shapes} do not broadcast") from None
    return tuple(expand(x, shape) for x in xs)


def sum_to_size(input: Any, *size: Any) -> Tensor:
    """``input`` summed down to ``size``, the reverse of broadcasting."""
    x = to_tensor(input)
    shape = _sizes("sum_to_size", size)
    lead = x.array.ndim - len(shape)
    if lead < 0 or any(n not in (1, x.array.shape[i + lead]) for i, n in enumerate(shape)):
        raise ValueError(
            f"sum_to_size: `input` of shape {x.array.shape} cannot be summed to {shape}"
        )
    return ops.sum_to(x, shape=shape)  # type: ignore[no-any-return]


def repeat(input: Any, *repeats: Any) -> Tensor:
    """``input`` laid side by side, ``repeats[i]`` times along axis i (new axes come first)."""
    x = to_tensor(input)
    times = _sizes("repeat", repeats)
    lead = len(times) - x.array.ndim
    if lead < 0 or any(n < 0 for n in times):
        raise ValueError(
            f"repeat: `repeats` is {times}, expected at least {x.array.ndim} numbers, none negative"
        )
    shape = (1,) * lead + x.array.shape
    between = tuple(v for n in shape for v in (1, n))
    stretched = tuple(v for r, n in zip(times, shape, strict=True) for v in (r, n))
    out = ops.expand(ops.reshape(x, shape=between), shape=stretched)
    whole = tuple(r * n for r, n in zip(times, shape, strict=True))
    result = ops.reshape(out, shape=whole)
    # nothing was repeated: still a copy, as everywhere else
    return clone(result) if result.view_of is not None else result  # type: ignore[no-any-return]


def tile(input: Any, *dims: Any) -> Tensor:
    """`repeat` with missing numbers taken as 1."""
    x = to_tensor(input)
    times = _sizes("tile", dims)
    return repeat(x, (1,) * (x.array.ndim - len(times)) + times)


def repeat_interleave(input: Any, repeats: Any, dim: int | None = None) -> Tensor:
    """Each slice along ``dim`` ``repeats`` times in a row (flattened first if ``dim`` is None)."""
    x = ravel(input) if dim is None else to_tensor(input)
    d = axis("repeat_interleave", 0 if dim is None else dim, x.array.ndim)
    times = to_tensor(repeats).array
    if times.dtype.kind not in "iu" or times.size not in (1, x.array.shape[d]) or (times < 0).any():
        raise ValueError(
            f"repeat_interleave: `repeats` is {repeats!r}, expected one integer or "
            f"{x.array.shape[d]}, none negative"
        )
    index = np.repeat(np.arange(x.array.shape[d]), times)
    return indexing.index_select(x, index, dim=d)  # type: ignore[no-any-return]


def flip(input: Any, *axes_: Any, dims: Any = None) -> Tensor:
    """``input`` reversed along axes: ``flip(x, 0, 1)`` or ``flip(x, (0, 1))``."""
    x = to_tensor(input)
    given = _sizes("flip", axes_, dims)
    return ops.flip(x, dims=axes("flip", given, x.array.ndim) if given else ())  # type: ignore[no-any-return]


def roll(input: Any, shifts: Any, dims: Any = None) -> Tensor:
    """``input`` shifted along ``dims`` (flattened meanwhile if None); what leaves enters again."""
    x = to_tensor(input)
    if dims is None:
        flat = ops.roll(ravel(x), shifts=(int(shifts),), dims=(0,))
        return ops.reshape(flat, shape=x.array.shape)  # type: ignore[no-any-return]
    by = tuple(shifts) if isinstance(shifts, (tuple, list)) else (shifts,)
    along = tuple(dims) if isinstance(dims, (tuple, list)) else (dims,)
    if len(by) != len(along):
        raise ValueError(f"roll: {len(by)} `shifts` for {len(along)} `dims`")
    return ops.roll(x, shifts=by, dims=tuple(axis("roll", d, x.array.ndim) for d in along))  # type: ignore[no-any-return]


# ---- joining and splitting -----------------------------------------------------------------


@numpy_names
def cat(tensors: Sequence[Any], dim: int = 0) -> Tensor:
    """Tensors one after another along ``dim``; their other sides must agree.

    >>> import tinygrad_cnn as tg
    >>> tg.cat([tg.zeros(1, 2), tg.ones(1, 2)])
    tensor([[0., 0.],
            [1., 1.]])
    """
    xs = [to_tensor(x) for x in tensors]
    if not xs:
        raise ValueError("cat: `tensors` is empty, expected at least one")
    dtype = promotion.common_dtype([x.array for x in xs])
    if len(xs) > 1:  # an old habit of PyTorch's: a tensor of shape (0,) goes with anything
        xs = [x for x in xs if x.array.shape != (0,)] or xs[:1]
    first = xs[0].array
    if not first.ndim:
        raise ValueError("cat: tensors without dimensions cannot be joined; see stack()")
    d = axis("cat", dim, first.ndim)
    for i, x in enumerate(xs):
        shape = x.array.shape
        if (
            len(shape) != first.ndim
            or shape[:d] + shape[d + 1 :] != first.shape[:d] + first.shape[d + 1 :]
        ):
            raise ValueError(
                f"cat: tensor {i} has shape {shape}, which does not fit {first.shape} but along "
                f"axis {d}"
            )
    return ops.cat(*[to(x, dtype) for x in xs], dim=d)  # type: ignore[no-any-return]


concat = cat


@numpy_names
def stack(tensors: Sequence[Any], dim: int = 0) -> Tensor:
    """Tensors of one shape along a new axis ``dim``."""
    xs = [to_tensor(x) for x in tensors]
    if not xs:
        raise ValueError("stack: `tensors` is empty, expected at least one")
    for i, x in enumerate(xs):
        if x.array.shape != xs[0].array.shape:
            raise ValueError(
                f"stack: tensor {i} has shape {x.array.shape}, expected {xs[0].array.shape} as the "
                f"first one"
            )
    d = axis("stack", dim, xs[0].array.ndim + 1)
    return cat([unsqueeze(x, d) for x in xs], d)


def hstack(tensors: Sequence[Any]) -> Tensor:
    """Tensors side by side: along the second axis, vectors along the first."""
    xs = [to_tensor(x) for x in tensors]
    xs = [reshape(x, 1) if not x.array.ndim else x for x in xs]
    if not xs:
        raise ValueError("hstack: `tensors` is empty, expected at least one")
    return cat(xs, 0 if xs[0].array.ndim == 1 else 1)


def vstack(tensors: Sequence[Any]) -> Tensor:
    """Tensors on top of each other; vectors are rows."""
    xs = [to_tensor(x) for x in tensors]
    return cat([reshape(x, 1, -1) if x.array.ndim < 2 else x for x in xs], 0)


def narrow(input: Any, dim: int, start: int, length: int) -> Tensor:
    """The part of ``input`` from ``start`` of ``length`` along ``dim``; shares memory."""
    x = to_tensor(input)
    d = axis("narrow", dim, x.array.ndim)
    n = x.array.shape[d]
    start = start + n if start < 0 else start
    if not (0 <= start and length >= 0 and start + length <= n):
        raise IndexError(
            f"narrow: {start} to {start + length} is not inside axis {d} of length {n}"
        )
    return indexing.getitem(x, index=(slice(None),) * d + (slice(start, start + length),))  # type: ignore[no-any-return]


def select(input: Any, dim: int, index: int) -> Tensor:
    """The slice number ``index`` along ``dim``; shares memory."""
    x = to_tensor(input)
    d = axis("select", dim, x.array.ndim)
    n = x.array.shape[d] if x.array.ndim else 0
    if not -n <= index < n:
        raise IndexError(f"select: `index` is {index}, but axis {d} of {x.array.shape} has {n}")
    return indexing.getitem(x, index=(slice(None),) * d + (operator.index(index),))  # type: ignore[no-any-return]


def split(tensor: Any, split_size_or_sections: Any, dim: int = 0) -> tuple[Tensor, ...]:
    """Parts of ``tensor`` along ``dim``: of one size (the last may be smaller) or of given sizes."""
    x = to_tensor(tensor)
    if not x.array.ndim:
        raise ValueError("split: `tensor` has no dimensions to take apart")
    d = axis("split", dim, x.array.ndim)
    n = x.array.shape[d]
    if isinstance(split_size_or_sections, (int, np.integer)):
        size = int(split_size_or_sections)
        if size < 0 or (size == 0 and n):
            raise ValueError(f"split: `split_size_or_sections` is {size}, expected a positive size")
        sections = [min(size, n - s) for s in range(0, n, size)] if n else [0]
    else:
        sections = [operator.index(s) for s in split_size_or_sections]
        if sum(sections) != n or any(s < 0 for s in sections):
            raise ValueError(
                f"split: sections {sections} do not add up to {n}, the side of axis {d}"
            )
    starts = np.cumsum([0, *sections])
    return tuple(narrow(x, d, int(s), k) for s, k in zip(starts, sections, strict=False))


def chunk(input: Any, chunks: int, dim: int = 0) -> tuple[Tensor, ...]:
    """At most ``chunks`` parts of ``input`` along ``dim``, of one size but for the last."""
    x = to_tensor(input)
    if chunks < 1:
        raise ValueError(f"chunk: `chunks` is {chunks}, expected at least 1")
    n = x.array.shape[axis("chunk", dim, x.array.ndim)]
    return split(x, max(1, -(-n // chunks)) if n else [0] * chunks, dim)


def unbind(input: Any, dim: int = 0) -> tuple[Tensor, ...]:
    """All slices of ``input`` along ``dim``."""
    x = to_tensor(input)
    if not x.array.ndim:
        raise ValueError("unbind: `input` has no dimensions to take apart")
    return tuple(select(x, dim, i) for i in range(x.array.shape[axis("unbind", dim, x.array.ndim)]))


def meshgrid(*tensors: Any, indexing: str = "ij") -> tuple[Tensor, ...]:
    """Coordinate grids from vectors; ``indexing`` is ``"ij"`` or ``"xy"``."""
    if len(tensors) == 1 and isinstance(tensors[0], (tuple, list)):
        tensors = tuple(tensors[0])
    if indexing not in ("ij", "xy"):
        raise ValueError(f"meshgrid: `indexing` is {indexing!r}, expected 'ij' or 'xy'")
    xs = [ravel(x) for x in tensors]
    shape = tuple(x.array.size for x in xs)
    grids = tuple(
        expand(reshape(x, (1,) * i + (-1,) + (1,) * (len(xs) - i - 1)), shape)
        for i, x in enumerate(xs)
    )
    if indexing == "xy" and len(xs) > 1:
        return tuple(transpose(grid, 0, 1) for grid in grids)
    return grids


# ---- padding and triangles -----------------------------------------------------------------


def pad(
    input: Any, pad: Sequence[int], mode: str = "constant", value: float | None = None
) -> Tensor:
    """``input`` with a border; ``pad`` is (left, right, top, bottom, …) from the last axis on.

    ``mode`` is ``"constant"`` (``value``, default 0; negative widths cut off), ``"reflect"``,
    ``"replicate"`` or ``"circular"``.

    >>> import tinygrad_cnn as tg
    >>> tg.pad(tg.ones(2), (1, 2), value=7)
    tensor([7., 1., 1., 7., 7.])
    """
    x = to_tensor(input)
    widths = _sizes("pad", tuple(pad))
    if len(widths) % 2 or len(widths) > 2 * x.array.ndim:
        raise ValueError(
            f"pad: `pad` is {widths}, expected pairs for at most {x.array.ndim} axes, the last first"
        )
    pairs = [(0, 0)] * x.array.ndim
    for i in range(len(widths) // 2):
        pairs[-1 - i] = (widths[2 * i], widths[2 * i + 1])
    if mode == "constant":
        return _pad_constant(x, pairs, 0.0 if value is None else value)
    if mode not in ("reflect", "replicate", "circular"):
        raise ValueError(
            f"pad: `mode` is {mode!r}, expected 'constant', 'reflect', 'replicate' or 'circular'"
        )
    for d, (before, after) in enumerate(pairs):
        if before or after:
            index = _border_index(mode, x.array.shape[d], before, after)
            x = indexing.index_select(x, index, dim=d)
    return x


def _pad_constant(x: Tensor, pairs: list[tuple[int, int]], value: float) -> Tensor:
    cut = tuple(
        slice(max(0, -b), max(0, -b, n + min(0, a)))
        for n, (b, a) in zip(x.array.shape, pairs, strict=True)
    )
    if any(b < 0 or a < 0 for b, a in pairs):
        if any(n + b + a < 0 for n, (b, a) in zip(x.array.shape, pairs, strict=True)):
            raise ValueError(f"pad: widths {pairs} cut more off than `input` {x.array.shape} has")
        x = indexing.getitem(x, index=cut)
    return ops.pad(x, width=tuple((max(0, b), max(0, a)) for b, a in pairs), value=value)  # type: ignore[no-any-return]


def _border_index(mode: str, n: int, before: int, after: int) -> np.ndarray[Any, Any]:
    limit = {"reflect": n - 1, "circular": n, "replicate": math.inf if n else -1}[mode]
    if before > limit or after > limit:
        raise ValueError(
            f"pad: widths ({before}, {after}) are too large for mode {mode!r} and side {n}"
        )
    place = np.arange(-before, n + after)
    if mode == "replicate":
        return np.clip(place, 0, n - 1)
    if mode == "circular":
        return place % n
    folded = np.abs(place)
    return np.where(folded >= n, 2 * (n - 1) - folded, folded)


def tril(input: Any, diagonal: int = 0) -> Tensor:
    """The lower triangle of the last two axes, zeros elsewhere."""
    return ops.tril(_matrix("tril", input), diagonal=diagonal)  # type: ignore[no-any-return]


def triu(input: Any, diagonal: int = 0) -> Tensor:
    """The upper triangle of the last two axes, zeros elsewhere."""
    return ops.triu(_matrix("triu", input), diagonal=diagonal)  # type: ignore[no-any-return]


def _matrix(name: str, x: Any) -> Tensor:
    x = to_tensor(x)
    if x.array.ndim < 2:
        raise ValueError(f"{name}: `input` has shape {x.array.shape}, expected at least 2 axes")
    return x


def diagonal(input: Any, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Tensor:
    """The diagonal of the axes ``dim1`` and ``dim2``, as a last axis (a copy)."""
    x = _matrix("diagonal", input)
    x = movedim(x, (dim1, dim2), (0, 1))
    rows, columns = x.array.shape[:2]
    n = max(0, min(rows + min(offset, 0), columns - max(offset, 0)))
    i = np.arange(n)
    picked = indexing.getitem(x, index=(i - min(offset, 0), i + max(offset, 0)))
    return movedim(picked, 0, -1)


_diagonal = diagonal  # `diag` has a parameter of that name


def diag(input: Any, diagonal: int = 0) -> Tensor:
    """A matrix with the vector ``input`` on its diagonal, or the diagonal of the matrix ``input``."""
    x = to_tensor(input)
    if x.array.ndim == 2:
        return _diagonal(x, diagonal)  # type: ignore[no-any-return]
    if x.array.ndim != 1:
        raise ValueError(f"diag: `input` has shape {x.array.shape}, expected a vector or a matrix")
    n = x.array.size + abs(diagonal)
    i = np.arange(x.array.size)
    index = (i - min(diagonal, 0), i + max(diagonal, 0))
    return indexing.put(wrap(np.zeros((n, n), x.array.dtype)), x, index=index)  # type: ignore[no-any-return]
