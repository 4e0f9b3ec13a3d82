"""Order statistics, histograms, searching in order, and what occurs how often."""

from __future__ import annotations

import operator
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, SupportsIndex

import numpy as np

from tinygrad_cnn.autograd.units import check, computed
from tinygrad_cnn.autograd.variable import wrap
from tinygrad_cnn.errors import ArgumentError, ShapeError
from tinygrad_cnn.functions import reduction
from tinygrad_cnn.functions.complex import complex, conj, imag, is_complex, real
from tinygrad_cnn.functions.convert import axis, floating, numpy_names, own, to_tensor
from tinygrad_cnn.functions.elementwise import clamp, div, lerp, mul, sqrt, sub
from tinygrad_cnn.functions.export import export
from tinygrad_cnn.functions.linear_algebra import mm
from tinygrad_cnn.functions.ordering import ValuesIndices, of_equals, of_nothing, sort
from tinygrad_cnn.functions.padding import diagonal
from tinygrad_cnn.functions.reduction import has_order, not_empty
from tinygrad_cnn.functions.shaping import movedim, reshape, squeeze, transpose
from tinygrad_cnn.kernels.tape import do
from tinygrad_cnn.ops import index as indexing
from tinygrad_cnn.types import Array, DTypeLike, TensorLike

if TYPE_CHECKING:
    from tinygrad_cnn.tensor import Tensor


# ---- order statistics ----------------------------------------------------------------------


def _line(name: str, x: Tensor, dim: int) -> int:
    has_order(name, x)
    d = axis(name, dim, x.ndim)
    not_empty(name, x, (d,) if x.ndim else ())
    return d


def _found(x: Tensor, index: Array, d: int, keepdim: bool) -> ValuesIndices:
    """The values at ``index``, which has size 1 along ``d``."""
    values = indexing.gather(x, wrap(index), dim=d)
    if keepdim:
        return ValuesIndices(values, wrap(index))
    shape = x.shape[:d] + x.shape[d + 1 :]
    return ValuesIndices(own(reshape(values, shape)), wrap(index.reshape(shape)))


@export()
@numpy_names
def kthvalue(input: TensorLike, k: int, dim: int = -1, keepdim: bool = False) -> ValuesIndices:
    """The ``k``-th smallest value along ``dim``, counted from 1, and where it is.

    >>> import tinygrad_cnn as tg
    >>> tg.kthvalue(tg.tensor([3, 1, 2]), 2).values
    tensor(2)
    """
    x = to_tensor(input)
    d = _line("kthvalue", x, dim)
    n = x.shape[d] if x.ndim else 1
    if not isinstance(k, SupportsIndex) or not 1 <= operator.index(k) <= n:
        raise ArgumentError(f"kthvalue: `k` is {k!r}, expected an integer from 1 to {n}")
    k = operator.index(k)
    if not x.ndim:
        return sort(x)
    return _found(x, do(_kth, x._given, k, d), d, keepdim)


def _kth(x: Array, k: int, d: int) -> Array:
    return np.take(np.argsort(x, axis=d, kind="stable"), [k - 1], axis=d)


@export()
@numpy_names
def mode(input: TensorLike, dim: int = -1, keepdim: bool = False) -> ValuesIndices:
    """The most frequent value along ``dim``, the least of them, and where it is last.

    >>> import tinygrad_cnn as tg
    >>> tg.mode(tg.tensor([2, 1, 2, 3]))
    ValuesIndices(values=tensor(2), indices=tensor(2))
    """
    x = to_tensor(input)
    d = _line("mode", x, dim)
    if not x.ndim:
        return sort(x)
    return _found(x, do(_most_frequent, x._given, d), d, keepdim)


def _most_frequent(x: Array, d: int) -> Array:
    lines = np.moveaxis(x, d, -1)
    order = np.argsort(lines, axis=-1, kind="stable")
    ranked = np.take_along_axis(lines, order, -1)
    n = lines.shape[-1]
    fresh = np.ones(lines.shape, np.bool_)
    fresh[..., 1:] = ranked[..., 1:] != ranked[..., :-1]
    begin = np.maximum.accumulate(np.where(fresh, np.arange(n), 0), axis=-1)
    run = np.arange(n) - begin + 1  # how often the value has come up to here
    index = np.take_along_axis(order, np.argmax(run, -1)[..., None], -1)
    return np.moveaxis(index, -1, d)


@export()
@numpy_names
def nanmedian(input: TensorLike, dim: int | None = None, keepdim: bool = False) -> Any:
    """`median` of what is not NaN; along one axis its index too."""
    x = to_tensor(input)
    has_order("nanmedian", x)
    if dim is None:
        flat = reshape(x, -1)
        return of_equals(flat, nanmedian(flat, 0).values) if x.numel() else of_nothing(flat)
    d = _line("nanmedian", x, dim)
    if not x.ndim:
        return sort(x)
    return _found(x, do(_middle, x._given, d), d, keepdim)


def _middle(x: Array, d: int) -> Array:
    """Where the middle value of those that are not NaN is along an axis."""
    order = np.argsort(x, axis=d, kind="stable")  # NaN comes last
    count = np.sum(~np.isnan(x), axis=d, keepdims=True)
    return np.take_along_axis(order, np.maximum(count - 1, 0) // 2, d)


_INTERPOLATIONS = ("linear", "lower", "higher", "midpoint", "nearest")


@export()
@numpy_names
def quantile(
    input: TensorLike,
    q: TensorLike,
    dim: int | None = None,
    keepdim: bool = False,
    *,
    interpolation: str = "linear",
) -> Tensor:
    """The values below which the shares ``q`` of all values along ``dim`` lie.

    ``q`` is a number or a vector; a vector's results come along a new first axis. Between two
    values ``interpolation`` decides: ``"linear"``, ``"lower"``, ``"higher"``, ``"midpoint"`` or
    ``"nearest"``.

    >>> import tinygrad_cnn as tg
    >>> tg.quantile(tg.tensor([0.0, 1.0, 2.0]), 0.75)
    tensor(1.5000)
    """
    return _quantile("quantile", input, q, dim, keepdim, interpolation, skips_nan=False)


@export()
@numpy_names
def nanquantile(
    input: TensorLike,
    q: TensorLike,
    dim: int | None = None,
    keepdim: bool = False,
    *,
    interpolation: str = "linear",
) -> Tensor:
    """`quantile` of what is not NaN."""
    return _quantile("nanquantile", input, q, dim, keepdim, interpolation, skips_nan=True)


def _quantile(
    name: str,
    input: TensorLike,
    q: TensorLike,
    dim: int | None,
    keepdim: bool,
    interpolation: str,
    skips_nan: bool,
) -> Tensor:
    x = floating(name, to_tensor(input))
    portion = to_tensor(q, x.dtype)
    if not x.numel():
        raise ShapeError(f"{name}: `input` has shape {x.shape}, and there is no value to choose")
    if interpolation not in _INTERPOLATIONS:
        raise ArgumentError(
            f"{name}: `interpolation` is {interpolation!r}, expected one of {_INTERPOLATIONS}"
        )
    check(_are_shares, name, portion)
    kept = list(x.shape)
    if dim is None or not x.ndim:
        kept, lines = [1] * x.ndim, reshape(x, -1)
    else:
        d = axis(name, dim, x.ndim)
        kept[d], lines = 1, movedim(x, d, -1)
    not_empty(name, lines, (lines.ndim - 1,))
    ranked = sort(lines, -1).values  # (..., n), NaN last
    found = do(_ranks, lines._given, portion._given, interpolation, skips_nan)
    low, high, last, share = map(wrap, found)
    out = indexing.gather(ranked, low, dim=ranked.ndim - 1)
    if interpolation in ("linear", "midpoint"):
        above = indexing.gather(ranked, high, dim=ranked.ndim - 1)
        if interpolation == "midpoint":
            out = lerp(out, above, 0.5)
        else:  # which depends on q
            slope = mul(reshape(portion, -1), last)
            weight = share + slope - slope.detach()
            out = lerp(out, above, weight)
    out = movedim(out, -1, 0)  # (q, ...)
    if keepdim:
        out = reshape(out, len(out), *kept)
    return own(out) if portion.ndim else own(reshape(out, out.shape[1:]))


def _are_shares(name: str, q: Array) -> None:
    if q.ndim > 1 or not ((q >= 0) & (q <= 1)).all():
        raise ArgumentError(f"{name}: `q` is {q!r}, expected a number or a vector, 0 to 1")


def _ranks(
    lines: Array, shares: Array, interpolation: str, skips_nan: bool
) -> tuple[Array, Array, Array, Array]:
    """Of each quantile the places below and above among the ranked numbers (..., q), the number of
    steps from the first to the last of these, and the share of the one above.
    """
    missing = np.isnan(lines).sum(-1, keepdims=True)
    n = lines.shape[-1]
    last = np.maximum(n - missing - 1, 0) if skips_nan else np.full(missing.shape, n - 1)
    rank = shares.reshape(-1) * last  # (..., q)
    if not skips_nan:
        rank = np.where(missing > 0, n - 1, rank)  # where NaN stands
    if interpolation == "nearest":
        rank = np.rint(rank)
    low = np.floor(rank) if interpolation != "higher" else np.ceil(rank)
    places = low.astype(np.int64), np.ceil(rank).astype(np.int64)
    return *places, last.astype(lines.dtype), (rank - low).astype(lines.dtype)


@export()
def msort(input: TensorLike) -> Tensor:
    """``input`` in order along its first axis."""
    return sort(input, 0).values


# ---- searching -----------------------------------------------------------------------------


@export(method=False)
def searchsorted(
    sorted_sequence: TensorLike,
    input: TensorLike,
    *,
    out_int32: bool = False,
    right: bool = False,
    side: str | None = None,
    sorter: TensorLike | None = None,
) -> Tensor:
    """Where values would be put into sequences, the last axes, such that these stay in order.

    ``right`` (or ``side="right"``) means behind equal values. ``sorter`` says in what order the
    elements of a sequence that is not sorted would be.

    >>> import tinygrad_cnn as tg
    >>> tg.searchsorted(tg.tensor([1, 3, 5]), tg.tensor([3, 6]))
    tensor([1, 3])
    """
    name = "searchsorted"
    lines, values = to_tensor(sorted_sequence)._given, to_tensor(input)._given
    if side not in (None, "left", "right") or (side == "left" and right):
        raise ArgumentError(f"{name}: `side` is {side!r} and `right` {right}, which do not fit")
    if not lines.ndim or (lines.ndim > 1 and lines.shape[:-1] != values.shape[:-1]):
        raise ShapeError(
            f"{name}: `sorted_sequence` has shape {lines.shape} and `input` {values.shape}, "
            f"expected a vector or all axes but the last alike"
        )
    if sorter is not None:
        order = to_tensor(sorter)._given
        if order.shape != lines.shape or order.dtype.kind not in "iu":
            raise ShapeError(f"{name}: `sorter` has shape {order.shape}, expected {lines.shape}")
        lines = do(np.take_along_axis, lines, order, -1)
    where: Literal["left", "right"] = "right" if right or side == "right" else "left"
    return wrap(do(_searched, lines, values, where, np.int32 if out_int32 else np.int64))


def _searched(
    lines: Array, values: Array, where: Literal["left", "right"], dtype: DTypeLike
) -> Array:
    if lines.ndim == 1:
        return np.asarray(np.searchsorted(lines, values, where), dtype)
    out = np.empty(values.shape, dtype)
    for at in np.ndindex(lines.shape[:-1]):
        out[at] = np.searchsorted(lines[at], values[at], where)
    return out


@export(method=False)
def bucketize(
    input: TensorLike, boundaries: TensorLike, *, out_int32: bool = False, right: bool = False
) -> Tensor:
    """The number of the bucket, between sorted ``boundaries``, that each value falls into.

    >>> import tinygrad_cnn as tg
    >>> tg.bucketize(tg.tensor([0, 2, 9]), tg.tensor([1, 2, 3]))
    tensor([0, 1, 3])
    """
    bounds = to_tensor(boundaries)
    if bounds.ndim != 1:
        raise ShapeError(f"bucketize: `boundaries` has shape {bounds.shape}, expected a vector")
    return searchsorted(bounds, input, out_int32=out_int32, right=right)


# ---- histograms ----------------------------------------------------------------------------


class Histogram(NamedTuple):
    """What `histogram` returns."""

    hist: Tensor
    bin_edges: Tensor


def _edges(name: str, values: Array, bins: int, low: float, high: float) -> Array:
    if bins < 1 or low > high:
        raise ArgumentError(
            f"{name}: `bins` is {bins} and the range {low} to {high}, expected at least 1 and a "
            f"range"
        )
    if low == high and values.size:
        low, high = float(values.min()), float(values.max())
    if low == high:
        low, high = low - (1 if name == "histc" else 0.5), high + (1 if name == "histc" else 0.5)
    if not np.isfinite([low, high]).all():
        raise ArgumentError(f"{name}: the range is {low} to {high}, expected finite numbers")
    return np.linspace(low, high, bins + 1)


@export()
def histc(input: TensorLike, bins: int = 100, min: float = 0, max: float = 0) -> Tensor:
    """How many values lie in each of ``bins`` parts of one size of [min, max].

    If both are 0 they are the least and the largest value.

    >>> import tinygrad_cnn as tg
    >>> tg.histc(tg.tensor([1.0, 2.0, 1.0]), 2)
    tensor([2., 1.])
    """
    return computed(_histc, to_tensor(input), bins, min, max)


def _histc(x: Array, bins: int, low: float, high: float) -> Array:
    edges = _edges("histc", x, bins, low, high)
    counts, _ = np.histogram(x, bins, (edges[0], edges[-1]))
    return counts.astype(x.dtype)


@export()
def histogram(
    input: TensorLike,
    bins: int | TensorLike,
    *,
    range: Sequence[float] | None = None,
    weight: TensorLike | None = None,
    density: bool = False,
) -> Histogram:
    """How many values lie between edges, or their weights' sums, and the edges.

    ``bins`` is a number of parts of ``range`` or the edges themselves. With ``density`` the
    result's integral is 1.
    """
    x = floating("histogram", to_tensor(input))
    values = x._given.reshape(-1)
    if isinstance(bins, (int, np.integer)):
        low, high = (0.0, 0.0 if values.size else 1.0) if range is None else range
        edges = do(_edges, "histogram", values, int(bins), low, high)
    else:
        edges = to_tensor(bins)._given
        if edges.ndim != 1 or not edges.size:
            raise ShapeError(
                f"histogram: `bins` has shape {edges.shape}, expected a vector of edges"
            )
    given = None if weight is None else to_tensor(weight)._given.reshape(-1)
    if given is not None and given.shape != values.shape:
        raise ShapeError(f"histogram: `weight` has {given.size} values, expected {values.size}")
    return Histogram(*map(wrap, do(_histogram, values, edges, given, density)))


def _histogram(
    values: Array, edges: Array, weights: Array | None, density: bool
) -> tuple[Array, Array]:
    counts, _ = np.histogram(values, edges, weights=weights, density=density)
    return counts.astype(values.dtype), edges.astype(values.dtype)


# ---- what occurs ---------------------------------------------------------------------------


@export()
@numpy_names
def unique_consecutive(
    input: TensorLike,
    return_inverse: bool = False,
    return_counts: bool = False,
    dim: int | None = None,
) -> Any:
    """``input`` without elements, or slices along ``dim``, that equal the one before.

    On request also where each went, and how many there were.

    >>> import tinygrad_cnn as tg
    >>> tg.unique_consecutive(tg.tensor([1, 1, 2, 1]))
    tensor([1, 2, 1])
    """
    x = to_tensor(input)._array
    d = 0 if dim is None else axis("unique_consecutive", dim, x.ndim)
    lines = x.reshape(-1) if dim is None or not x.ndim else np.moveaxis(x, d, 0)
    rows = lines.reshape(len(lines), lines[:1].size)
    fresh = np.ones(len(lines), np.bool_)
    fresh[1:] = (rows[1:] != rows[:-1]).any(1)
    picked = lines[fresh]
    out = [wrap(picked.copy() if dim is None else np.moveaxis(picked, 0, d).copy())]
    inverse = np.cumsum(fresh) - 1
    if return_inverse:
        out.append(wrap(inverse.reshape(x.shape) if dim is None else inverse))
    if return_counts:
        out.append(wrap(np.bincount(inverse, minlength=len(picked))))
    return out[0] if len(out) == 1 else tuple(out)


# ---- covariance ----------------------------------------------------------------------------


def _weights(name: str, given: TensorLike | None, n: int, kinds: str) -> Tensor | None:
    if given is None:
        return None
    w = to_tensor(given)
    if w.shape != (n,) or w.dtype.kind not in kinds:
        raise ArgumentError(
            f"cov: `{name}` has shape {w.shape} and dtype {w.dtype}, expected {n} "
            f"{'integers' if kinds == 'iu' else 'floating numbers'}, one for each observation"
        )
    check(_not_negative, name, w)
    return w


def _not_negative(name: str, w: Array) -> None:
    if (w < 0).any():
        raise ArgumentError(f"cov: `{name}` holds {w.min()}, expected no negative number")


def _not_all_zero(w: Array) -> None:
    if not np.any(w):
        raise ArgumentError("cov: the weights sum to 0, so there is no mean")


@export()
def cov(
    input: TensorLike,
    *,
    correction: int = 1,
    fweights: TensorLike | None = None,
    aweights: TensorLike | None = None,
) -> Tensor:
    """The covariances of variables, the rows of ``input``, over observations, its columns.

    Parameters
    ----------
    input
        (variables, observations), or the observations of one variable.
    correction
        What is taken off the number of observations: 1 makes it unbiased.
    fweights, aweights
        How often each observation was made (integers); how much it counts.

    Examples
    --------
    >>> import tinygrad_cnn as tg
    >>> tg.cov(tg.tensor([[0.0, 1.0, 2.0], [2.0, 1.0, 0.0]]))
    tensor([[ 1., -1.],
            [-1.,  1.]])
    """
    x = to_tensor(input)
    if x.ndim > 2:
        raise ShapeError(f"cov: `input` has shape {x.shape}, expected at most 2 axes")
    x = reshape(x, 1, -1) if x.ndim < 2 else x
    n = x.shape[1]
    often, much = _weights("fweights", fweights, n, "iu"), _weights("aweights", aweights, n, "f")
    w = often if much is None else much if often is None else mul(often, much)
    total: Any = n if w is None else reduction.sum(w)
    if w is not None:
        check(_not_all_zero, w)
    mean = div(reduction.sum(x if w is None else mul(x, w), 1, keepdim=True), total)
    away = sub(x, mean)
    left = total
    if w is not None and much is not None and correction:
        left = sub(total, div(mul(correction, reduction.sum(mul(w, much))), total))
    else:
        left = total - correction
    if left <= 0:
        warnings.warn(
            f"cov: degrees of freedom are {float(left):g} with `correction` {correction} and {n} "
            f"observations, expected more than 0",
            stacklevel=2,
        )
        left = 0
    away_too = away if w is None else mul(away, w)
    product = mm(away, conj(transpose(away_too, 0, 1)))
    return own(squeeze(div(product, left)))


@export()
def corrcoef(input: TensorLike) -> Tensor:
    """Pearson's correlations of variables, the rows of ``input``, over its columns."""
    c = cov(input)
    if not c.ndim:
        return div(c, c)
    size = sqrt(real(diagonal(c)) if is_complex(c) else diagonal(c))
    out = div(div(c, reshape(size, -1, 1)), size)
    if is_complex(out):
        return complex(clamp(real(out), -1, 1), clamp(imag(out), -1, 1))
    return clamp(out, -1, 1)
