"""Borders, triangles and diagonals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from tinygrad_cnn.autograd.rounding import wide
from tinygrad_cnn.autograd.variable import wrap
from tinygrad_cnn.errors import ArgumentError, ShapeError
from tinygrad_cnn.functions.convert import axis, to_tensor
from tinygrad_cnn.functions.export import export
from tinygrad_cnn.functions.shaping import integers, movedim
from tinygrad_cnn.kernels.tape import made
from tinygrad_cnn.ops import index as indexing
from tinygrad_cnn.ops import shape as ops
from tinygrad_cnn.ops.resample import take_mesh
from tinygrad_cnn.types import Array, TensorLike

if TYPE_CHECKING:
    from tinygrad_cnn.tensor import Tensor


@export(method=False, nn=True)
def pad(
    input: TensorLike, pad: Sequence[int], mode: str = "constant", value: float | None = None
) -> Tensor:
    """``input`` with a border; ``pad`` is (left, right, top, bottom, …) from the last axis on.

    ``mode`` is ``"constant"`` (``value``, default 0), ``"reflect"``, ``"replicate"`` or
    ``"circular"``. Negative widths cut off.

    >>> import tinygrad_cnn as tg
    >>> tg.pad(tg.ones(2), (1, 2), value=7)
    tensor([7., 1., 1., 7., 7.])
    """
    x = to_tensor(input)
    widths = integers("pad", (pad,))
    if len(widths) % 2 or len(widths) > 2 * x._value.ndim:
        raise ShapeError(
            f"pad: `pad` is {widths}, expected pairs for at most {x.ndim} axes, the last first"
        )
    pairs = [(0, 0)] * x._value.ndim
    for i in range(len(widths) // 2):
        pairs[-1 - i] = (widths[2 * i], widths[2 * i + 1])
    if mode == "constant":
        return _pad_constant(x, pairs, 0.0 if value is None else value)
    if mode not in ("reflect", "replicate", "circular"):
        raise ArgumentError(
            f"pad: `mode` is {mode!r}, expected 'constant', 'reflect', 'replicate' or 'circular'"
        )
    if value:
        raise ArgumentError(f"pad: `value` is {value}, which only mode 'constant' takes")
    if mode != "circular":
        x = wide(x)
    first = next((d for d, pair in enumerate(pairs) if any(pair)), len(pairs))
    places = tuple(
        _border_index(mode, n, *pair)
        for n, pair in zip(x._value.shape[first:], pairs[first:], strict=True)
    )
    return take_mesh(x, places=places) if places else x


def _pad_constant(x: Tensor, pairs: list[tuple[int, int]], value: float) -> Tensor:
    cut = tuple(
        slice(max(0, -b), max(0, -b, n + min(0, a)))
        for n, (b, a) in zip(x._value.shape, pairs, strict=True)
    )
    if any(b < 0 or a < 0 for b, a in pairs):
        if any(n + b + a < 0 for n, (b, a) in zip(x._value.shape, pairs, strict=True)):
            raise ShapeError(f"pad: widths {pairs} cut more off than `input` {x.shape} has")
        x = indexing.getitem(x, index=cut)
    return ops.pad(x, width=tuple((max(0, b), max(0, a)) for b, a in pairs), value=value)


def _border_index(mode: str, n: int, before: int, after: int) -> Array:
    # What is cut off does not come back from the other side.
    start, kept = max(0, -before), n + min(0, before) + min(0, after)
    limit = {"reflect": n - 1, "circular": kept, "replicate": math.inf if n else -1}[mode]
    least = 0 if mode == "circular" else 1
    if max(before, after) > limit or n + before + after < least:
        raise ArgumentError(
            f"pad: widths ({before}, {after}) do not fit mode {mode!r} and side {n}"
        )
    place = np.arange(-before, n + after)
    if mode == "replicate":
        return made(np.clip(place, 0, n - 1))
    if mode == "circular":
        return made(start + (place - start) % kept)
    folded = np.abs(place)
    return made(np.where(folded >= n, 2 * (n - 1) - folded, folded))


@export(inplace=True)
def tril(input: TensorLike, diagonal: int = 0) -> Tensor:
    """The lower triangle of the last two axes, zeros elsewhere."""
    return ops.tril(_matrix("tril", input), diagonal=diagonal)


@export(inplace=True)
def triu(input: TensorLike, diagonal: int = 0) -> Tensor:
    """The upper triangle of the last two axes, zeros elsewhere."""
    return ops.triu(_matrix("triu", input), diagonal=diagonal)


def _matrix(name: str, x: TensorLike) -> Tensor:
    x = to_tensor(x)
    if x._value.ndim < 2:
        raise ShapeError(f"{name}: `input` has shape {x.shape}, expected at least 2 axes")
    return x


@export()
def diagonal(input: TensorLike, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Tensor:
    """The diagonal of the axes ``dim1`` and ``dim2``, as a last axis; shares memory."""
    x = _matrix("diagonal", input)
    if axis("diagonal", dim1, x.ndim) == axis("diagonal", dim2, x.ndim):
        raise ShapeError(f"diagonal: `dim1` and `dim2` are one axis, {dim1} and {dim2}")
    return indexing.diagonal(movedim(x, (dim1, dim2), (-2, -1)), offset=offset)


_diagonal = diagonal  # `diag` has a parameter of that name


@export()
def diag(input: TensorLike, diagonal: int = 0) -> Tensor:
    """A matrix with the vector ``input`` on its diagonal, or the diagonal of a matrix."""
    x = to_tensor(input)
    if x._value.ndim == 2:
        return _diagonal(x, diagonal).clone()
    if x._value.ndim != 1:
        raise ShapeError(f"diag: `input` has shape {x.shape}, expected a vector or a matrix")
    n = x._value.size + abs(diagonal)
    i = np.arange(x._value.size)
    index = (made(i - min(diagonal, 0)), made(i + max(diagonal, 0)))
    return indexing.put(wrap(made(np.zeros((n, n), x._value.dtype))), x, index=index)
