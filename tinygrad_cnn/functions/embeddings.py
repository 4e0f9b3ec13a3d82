"""Rows of a table that integers name, one by one or a bag at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tinygrad_cnn.autograd.function import Function, FunctionCtx
from tinygrad_cnn.autograd.units import check
from tinygrad_cnn.errors import ArgumentError, DtypeError, PositionError, ShapeError
from tinygrad_cnn.functions.creation import arange, zeros
from tinygrad_cnn.functions.export import export
from tinygrad_cnn.functions.indexing import gather, index_add, index_select
from tinygrad_cnn.kernels.tape import do
from tinygrad_cnn.ops.elementwise import mul
from tinygrad_cnn.ops.embedding import bag_sum
from tinygrad_cnn.types import Array, DType

if TYPE_CHECKING:
    from tinygrad_cnn.tensor import Tensor


@export(top=False, method=False, nn=True)
def embedding(
    input: Tensor,
    weight: Tensor,
    padding_idx: int | None = None,
    max_norm: float | None = None,
    norm_type: float = 2.0,
    scale_grad_by_freq: bool = False,
    sparse: bool = False,
) -> Tensor:
    """Return the rows of ``weight`` that ``input`` names.

    Shapes: input (...) of ints, weight (rows, d), result (..., d). Row ``padding_idx`` gets no
    gradient. With ``max_norm``, rows that are looked up and longer, in the norm of order
    ``norm_type``, are first shortened to it, in place. With ``scale_grad_by_freq`` the gradient of
    a row is divided by how often ``input`` names it. ``sparse`` is PyTorch's and changes nothing.

    Raises
    ------
    TypeError
        ``input`` does not hold integers.
    ValueError
        ``weight`` is no matrix, or ``padding_idx`` is outside it.
    IndexError
        A number in ``input`` is outside the table.

    Examples
    --------
    >>> import tinygrad_cnn as tg
    >>> embedding(tg.tensor([1, 0, 1]), tg.tensor([[1.0, 2.0], [3.0, 4.0]]))
    tensor([[3., 4.],
            [1., 2.],
            [3., 4.]])
    """
    index = _checked("embedding", input, weight)
    padding_idx = _padding("embedding", padding_idx, weight)
    if max_norm is not None:
        _shorten(weight, index, max_norm, norm_type)
    found = _rows(input.reshape(-1), weight, padding_idx, scale_grad_by_freq)
    return found.reshape(*index.shape, weight.shape[1])


@export(top=False, method=False, nn=True)
def embedding_bag(
    input: Tensor,
    weight: Tensor,
    offsets: Tensor | None = None,
    max_norm: float | None = None,
    norm_type: float = 2.0,
    scale_grad_by_freq: bool = False,
    mode: str = "mean",
    sparse: bool = False,
    per_sample_weights: Tensor | None = None,
    include_last_offset: bool = False,
    padding_idx: int | None = None,
) -> Tensor:
    """Reduce, bag by bag, the rows of ``weight`` that ``input`` names; empty bags give zeros.

    Shapes: input (bags, n) of ints, or (total,) with ``offsets`` (bags,), where each bag begins
    (and, with ``include_last_offset``, where the last one ends); weight (rows, d), result (bags,
    d). ``mode`` is "sum", "mean" or "max"; ``per_sample_weights``, of the input's shape, are
    factors of the rows of a sum. Row ``padding_idx`` counts nowhere. The other arguments are those
    of `embedding`.

    Raises
    ------
    TypeError
        ``input`` does not hold integers.
    ValueError
        Shapes do not fit, ``mode`` is unknown, an argument needs another mode.
    IndexError
        A number in ``input`` is outside the table.

    Examples
    --------
    >>> import tinygrad_cnn as tg
    >>> table = tg.tensor([[1.0, 2.0], [3.0, 4.0]])
    >>> embedding_bag(tg.tensor([0, 1, 1]), table, tg.tensor([0, 2]), mode="sum")
    tensor([[4., 6.],
            [3., 4.]])
    """
    me = "embedding_bag"
    if mode not in ("sum", "mean", "max"):
        raise ArgumentError(f"{me}: `mode` is {mode!r} but 'sum', 'mean' or 'max' is expected")
    if mode != "sum" and per_sample_weights is not None:
        raise ArgumentError(
            f"{me}: `per_sample_weights` is given and `mode` is {mode!r} but 'sum' is expected"
        )
    if mode == "max" and scale_grad_by_freq:
        raise ArgumentError(f"{me}: `scale_grad_by_freq` is set but `mode` is 'max'")
    index = _checked(me, input, weight)
    padding_idx = _padding(me, padding_idx, weight)
    if max_norm is not None:
        _shorten(weight, index, max_norm, norm_type)
    starts = _starts(me, index, offsets, include_last_offset)
    bags, flat = len(starts) - 1, input.reshape(-1)[: starts[-1]]
    bag = np.repeat(np.arange(bags), np.diff(starts))
    factors = None
    if per_sample_weights is not None:
        if per_sample_weights.shape != index.shape:
            raise ShapeError(
                f"{me}: `per_sample_weights` has shape {per_sample_weights.shape} but that of "
                f"`input`, {index.shape}, is expected"
            )
        factors = per_sample_weights.reshape(-1)[: starts[-1]]
    if padding_idx is not None:
        kept = np.flatnonzero(flat._array != padding_idx)
        flat, bag = flat[kept], bag[kept]
        factors = None if factors is None else factors[kept]
        starts = np.searchsorted(bag, np.arange(bags + 1))
    if mode == "max":
        rows = _rows(flat, weight, None, scale_grad_by_freq)
        out = zeros((bags, weight.shape[1]), dtype=weight.dtype)
        if not flat.numel():
            return out
        filled, first = np.unique(bag, return_index=True)
        return index_add(out, 0, filled, gather(rows, 0, _largest(rows._array, bag, filled, first)))
    if scale_grad_by_freq:
        rows = _rows(flat, weight, None, scale_grad_by_freq)
        flat, weight = arange(len(bag)), rows
    out = bag_sum(weight, flat, starts, factors)
    if mode == "mean":
        sizes = np.maximum(np.diff(starts), 1).astype(weight.dtype)
        out = out / sizes[:, None]
    return out


class _ScaledGradient(Function):
    """The identity, whose gradient is multiplied by a constant."""

    @staticmethod
    def forward(ctx: FunctionCtx, x: Tensor, factor: Array) -> Tensor:
        ctx.factor = factor  # type: ignore[attr-defined]  # any attribute may be set
        return x.clone()

    @staticmethod
    def backward(ctx: FunctionCtx, g: Tensor) -> tuple[Tensor, None]:
        return mul(g, ctx.factor), None  # type: ignore[attr-defined]


def _rows(flat: Tensor, weight: Tensor, padding_idx: int | None, by_frequency: bool) -> Tensor:
    """The rows (n, d) that ``flat`` (n,) names."""
    found = index_select(weight, 0, flat)
    if padding_idx is None and not by_frequency:
        return found
    factor = do(_factors, flat._given, weight.dtype, padding_idx, by_frequency)
    out: Tensor = _ScaledGradient.apply(found, factor)
    return out


def _factors(index: Array, dtype: DType, padding_idx: int | None, by_frequency: bool) -> Array:
    """What the gradients of rows (n,) are multiplied by: (n, 1)."""
    factor = np.ones(index.size, dtype)
    if by_frequency:
        factor /= np.bincount(index, minlength=1)[index] if index.size else 1
    if padding_idx is not None:
        factor[index == padding_idx] = 0
    return factor[:, None]


def _checked(name: str, input: Tensor, weight: Tensor) -> Array:
    """The numbers of the rows, all of them inside the table."""
    if input.dtype.kind not in "iu":
        raise DtypeError(f"{name}: `input` has dtype {input.dtype} but integers are expected")
    if weight.ndim != 2:
        raise ShapeError(
            f"{name}: `weight` has shape {weight.shape} but a matrix (rows, d) is expected"
        )
    check(_in_table, name, input, *weight.shape)
    found: Array = input._given
    return found


def _in_table(name: str, index: Array, rows: int, d: int) -> None:
    outside = (index < 0) | (index >= rows)
    if outside.any():
        raise PositionError(
            f"{name}: `input` holds {index[outside].flat[0]} but 0 to {rows - 1} is expected "
            f"(weight {(rows, d)})"
        )


def _padding(name: str, padding_idx: int | None, weight: Tensor) -> int | None:
    rows = weight.shape[0]
    if padding_idx is None:
        return None
    if not -rows <= padding_idx < rows:
        raise ArgumentError(
            f"{name}: `padding_idx` is {padding_idx} but {-rows} to {rows - 1} is expected"
        )
    return padding_idx % rows


def _shorten(weight: Tensor, index: Array, max_norm: float, norm_type: float) -> None:
    """Scale the rows that ``index`` names, in place, to a norm of at most ``max_norm``."""
    named = np.unique(index)
    norms = np.linalg.norm(weight._array[named], norm_type, axis=1)
    long = norms > max_norm
    if long.any():
        factor = (max_norm / (norms[long] + 1e-7)).astype(weight.dtype)
        weight._written_by("embedding")[named[long]] *= factor[:, None]


def _starts(name: str, index: Array, offsets: Tensor | None, ends: bool) -> Array:
    """Where each bag begins in the flat input, and where the last one ends."""
    if index.ndim == 2:
        if offsets is not None:
            raise ArgumentError(f"{name}: `offsets` is given but `input` has 2 axes: bags and rows")
        evenly: Array = np.arange(index.shape[0] + 1) * index.shape[1]
        return evenly
    if index.ndim != 1 or offsets is None or offsets.ndim != 1:
        raise ShapeError(
            f"{name}: `input` has shape {index.shape} and `offsets` "
            f"{None if offsets is None else offsets.shape} but (bags, n), or (total,) and (bags,), "
            f"are expected"
        )
    starts = offsets._array if ends else np.append(offsets._array, index.size)
    if not starts.size or starts[0] != 0 or (np.diff(starts) < 0).any() or starts[-1] > index.size:
        raise ArgumentError(
            f"{name}: `offsets` is {offsets.tolist()} but numbers that start at 0, do not fall and "
            f"end within {index.size} are expected"
        )
    return starts


def _largest(rows: Array, bag: Array, filled: Array, first: Array) -> Array:
    """For each bag that is ``filled``, and each column, the first row with the largest value."""
    most = np.maximum.reduceat(rows, first)  # (n, d) → (filled, d)
    at = np.searchsorted(filled, bag)
    where = np.where((rows == most[at]) | np.isnan(rows), np.arange(len(rows))[:, None], len(rows))
    place: Array = np.minimum.reduceat(where, first)
    return place
