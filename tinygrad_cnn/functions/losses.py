"""Losses, with PyTorch's arguments and reductions."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from tinygrad_cnn.autograd import promotion
from tinygrad_cnn.autograd.variable import Variable, wrap
from tinygrad_cnn.errors import ArgumentError, DtypeError, PositionError, ShapeError
from tinygrad_cnn.functions.activation import softplus
from tinygrad_cnn.functions.convert import one_dtype, to_tensor
from tinygrad_cnn.functions.elementwise import abs, add, div, mul, square, sub, to, where
from tinygrad_cnn.functions.export import export
from tinygrad_cnn.functions.linear_algebra import linear
from tinygrad_cnn.functions.reduction import mean, sum
from tinygrad_cnn.functions.shaping import broadcast_tensors, reshape
from tinygrad_cnn.kernels.checks import check_labels
from tinygrad_cnn.kernels.fp_errors import ignore_fp_errors
from tinygrad_cnn.kernels.tape import do
from tinygrad_cnn.notices import warn
from tinygrad_cnn.ops import index as indexing
from tinygrad_cnn.ops import loss as losses
from tinygrad_cnn.ops import reduce as reductions
from tinygrad_cnn.ops.choice import pieces
from tinygrad_cnn.types import FLOATING, Array, DTypeLike, TensorLike

if TYPE_CHECKING:
    from tinygrad_cnn.tensor import Tensor


def legacy_reduction(reduction: str, size_average: bool | None, reduce: bool | None) -> str:
    """What the two older arguments mean; ``reduction`` if they are not given."""
    if size_average is None and reduce is None:
        return reduction
    averages = "mean" if size_average is None or size_average else "sum"
    meant = averages if reduce is None or reduce else "none"
    warn(f"`size_average` and `reduce` are old names: use reduction={meant!r} instead")
    return meant


def reduce_loss(name: str, loss: Tensor, reduction: str) -> Tensor:
    """``loss`` as it is (``"none"``), its ``"mean"`` or its ``"sum"``."""
    if reduction == "mean":
        return mean(loss)
    if reduction == "sum":
        return sum(loss)
    if reduction == "none":
        return loss
    raise ArgumentError(f"{name}: `reduction` is {reduction!r}, expected 'none', 'mean' or 'sum'")


def _classes_last(name: str, x: Tensor, target: Tensor) -> int:
    """The class axis of ``x`` ((c,) or (n, c, ...)), after a check against ``target``."""
    shape, ndim = x._value.shape, x._value.ndim
    if not ndim:
        raise ShapeError(f"{name}: `input` has no dimensions, expected (c,) or (n, c, ...)")
    dim = 0 if ndim == 1 else 1
    if target._value.shape != shape[:dim] + shape[dim + 1 :]:
        raise ShapeError(
            f"{name}: `target` has shape {target.shape}, expected "
            f"{shape[:dim] + shape[dim + 1 :]} for `input` {shape}"
        )
    return dim


def _integers(name: str, target: Tensor) -> Array:
    dtype = target._value.dtype
    if dtype.kind not in "iu":
        raise DtypeError(f"{name}: `target` has dtype {dtype}, expected integers (class numbers)")
    return target._given


def _labels(name: str, target: Tensor, c: int, ignore_index: int) -> tuple[Array, Array | None]:
    """Class numbers fit for indexing, and where they count (None if everywhere)."""
    return do(_class_numbers, _integers(name, target), c, ignore_index, name)


def _class_numbers(
    labels: Array, c: int, ignore_index: int, name: str
) -> tuple[Array, Array | None]:
    check_labels(name, labels, c, ignore_index)
    if labels.size and not c:
        raise PositionError(f"{name}: `input` has 0 classes, expected at least one")
    ignored = labels == ignore_index
    counts = None
    if ignored.any():
        counts = ~ignored
        labels = np.where(ignored, 0, labels)
    return labels.astype(np.int64), counts  # in memory of its own, whether any is ignored or not


def _of_labels(weight: Array, labels: Array) -> Array:
    found: Array = weight[labels]
    return found


def _class_weight(name: str, weight: TensorLike | None, x: Tensor, c: int) -> Tensor | None:
    if weight is None:
        return None
    if isinstance(weight, Variable):
        one_dtype(name, x, weight=weight)
    weight = to_tensor(weight)
    if weight._value.shape != (c,):
        raise ShapeError(
            f"{name}: `weight` has shape {weight.shape}, expected ({c},), one for each class"
        )
    return to(weight, x._value.dtype)


def _weigh(
    name: str,
    picked: Tensor,
    weights: Array | None,
    counts: Array | None,
    reduction: str,
    dtype: DTypeLike,
) -> Tensor:
    """Reduce one loss for each target, with class weights and ignored targets."""
    if weights is None and counts is None:
        return reduce_loss(name, picked, reduction)
    w = np.ones(picked._value.shape, dtype) if weights is None else weights
    if counts is not None:
        w = w * counts
        picked = where(wrap(counts), picked, 0.0)  # an ignored loss may be inf
    loss = mul(picked, wrap(w)) if weights is not None else picked
    if reduction == "mean":
        return _over(loss, do(_total, w))
    return reduce_loss(name, loss, reduction)


@ignore_fp_errors
def _over(loss: Tensor, total: float) -> Tensor:
    """The sum of the losses by ``total``; of float16, whose sum may overflow, in float32."""
    dtype = loss._value.dtype
    wide = to(loss, np.float32) if promotion.is_half(dtype) else loss
    return to(mul(sum(wide), float(np.reciprocal(np.float64(total)))), dtype)


@export(method=False, nn=True)
def nll_loss(
    input: TensorLike,
    target: TensorLike,
    weight: TensorLike | None = None,
    size_average: bool | None = None,
    ignore_index: int = -100,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """Minus the log-probability of the right class.

    Parameters
    ----------
    input
        Log-probabilities (n, c), (c,) or (n, c, ...).
    target
        Class numbers (n,), () or (n, ...), integers.
    weight
        One weight for each class; ``"mean"`` divides by the sum of the weights used.
    ignore_index
        Targets of this value count for nothing.
    """
    reduction = legacy_reduction(reduction, size_average, reduce)
    x, target = to_tensor(input), to_tensor(target)
    dim = _classes_last("nll_loss", x, target)
    c = x._value.shape[dim]
    weight = _class_weight("nll_loss", weight, x, c)
    labels, counts = _labels("nll_loss", target, c, ignore_index)
    picked = -_pick(pieces(x), labels, dim)
    weights = None if weight is None else do(_of_labels, weight._given, labels)
    return _weigh("nll_loss", picked, weights, counts, reduction, x._value.dtype)


def _pick(x: Tensor, labels: Array, dim: int) -> Tensor:
    """``x[n, labels[n, ...], ...]``."""
    at = indexing.gather(x, np.expand_dims(labels, dim), dim=dim)
    return at.squeeze(dim)


@export(method=False, nn=True)
def cross_entropy(
    input: TensorLike,
    target: TensorLike,
    weight: TensorLike | None = None,
    size_average: bool | None = None,
    ignore_index: int = -100,
    reduce: bool | None = None,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """Softmax and minus the log-probability of the right class, in one.

    Parameters
    ----------
    input
        Scores (logits) (n, c), (c,) or (n, c, ...).
    target
        Class numbers (n,), () or (n, ...), integers; or probabilities of the shape of ``input``.
    weight
        One weight for each class.
    ignore_index
        Class-number targets of this value count for nothing.
    label_smoothing
        The share of the target's probability that is spread evenly over all classes.

    Raises
    ------
    ValueError, IndexError, TypeError
        Shapes that do not fit, a class number out of range, a target of the wrong dtype.

    Examples
    --------
    >>> import tinygrad_cnn as tg
    >>> tg.nn.functional.cross_entropy(tg.zeros(2, 10), tg.tensor([3, 7]))
    tensor(2.3026)
    """
    reduction = legacy_reduction(reduction, size_average, reduce)
    name = "cross_entropy"
    x, target = to_tensor(input), to_tensor(target)
    if not 0 <= label_smoothing <= 1:
        raise ArgumentError(f"{name}: `label_smoothing` is {label_smoothing}, expected 0 to 1")
    soft = target._value.dtype.kind in FLOATING and target._value.shape == x._value.shape
    if soft and ignore_index >= 0:
        raise ArgumentError(
            f"{name}: `ignore_index` is {ignore_index}, but `target` holds probabilities"
        )
    dim = (0 if x._value.ndim == 1 else 1) if soft else _classes_last(name, x, target)
    c = x._value.shape[dim]
    weight = _class_weight(name, weight, x, c)
    if not soft and weight is None and x.ndim == 2 and x.dtype.kind in FLOATING:
        return _one_pass(name, x, target, ignore_index, reduction, label_smoothing)
    logp = reductions.log_softmax(x, dim=dim)
    if soft:
        return _soft_cross_entropy(logp, target, weight, dim, reduction, label_smoothing)
    labels, counts = _labels(name, target, c, ignore_index)
    weights = None if weight is None else do(_of_labels, weight._given, labels)
    hard = _weigh(name, -_pick(logp, labels, dim), weights, counts, reduction, x._value.dtype)
    if not label_smoothing:
        return hard
    spread = logp if weight is None else mul(logp, _along(weight, logp, dim))
    even = -sum(spread, dim)
    if counts is not None:
        even = where(wrap(counts), even, 0.0)
    if reduction == "mean":
        if weights is None:
            n = even._value.size if counts is None else do(_total, counts)
        else:
            n = do(_total, weights if counts is None else weights * counts)
        even = _over(even, n)
    else:
        even = reduce_loss(name, even, reduction)
    return add(mul(hard, 1 - label_smoothing), mul(even, label_smoothing / c))


@export(top=False, method=False, nn=True)
def linear_cross_entropy(
    input: TensorLike,
    linear_weight: TensorLike,
    target: TensorLike,
    *,
    linear_bias: TensorLike | None = None,
    weight: TensorLike | None = None,
    reduction: str = "mean",
    ignore_index: int | None = None,
    label_smoothing: float = 0.0,
    options: object = None,
) -> Tensor:
    """`cross_entropy` of ``linear(input, linear_weight, linear_bias)``.

    Weights may have more axes, (c, ..., d), for scores (n, c, ...). ``options``, by which PyTorch
    trades time for memory, change nothing.

    >>> import tinygrad_cnn as tg
    >>> x, w = tg.ones(1, 2), tg.zeros(4, 2)
    >>> tg.nn.functional.linear_cross_entropy(x, w, tg.tensor([3]))
    tensor(1.3863)
    """
    x, w = to_tensor(input), to_tensor(linear_weight)
    if w.ndim > 2 and x.ndim == 1:
        raise ShapeError(
            f"linear_cross_entropy: `input` has shape {x.shape}, expected (n, d) beside "
            f"`linear_weight` {w.shape}"
        )
    flat = linear(x, reshape(w, math.prod(w.shape[:-1]), w.shape[-1]))
    scores = reshape(flat, *x.shape[:-1], *w.shape[:-1])
    if linear_bias is not None:
        scores = add(scores, linear_bias)
    ignored = -100 if ignore_index is None else ignore_index
    return cross_entropy(
        scores,
        target,
        weight,
        ignore_index=ignored,
        reduction=reduction,
        label_smoothing=label_smoothing,
    )


def _one_pass(
    name: str, x: Tensor, target: Tensor, ignore_index: int, reduction: str, smoothing: float
) -> Tensor:
    """Cross-entropy of scores (n, c) for labels (n,), the usual case."""
    labels = _integers(name, target)
    if reduction not in ("none", "mean", "sum"):
        return reduce_loss(name, x, reduction)  # raises
    return losses.softmax_cross_entropy(
        x, labels, smoothing=smoothing, ignored=ignore_index, reduction=reduction
    )


def _total(weights: Array) -> float:
    """A number, so that what follows is not recorded."""
    return float(np.add.reduce(weights, None, dtype=np.float64))


def _along(weight: Tensor, x: Tensor, dim: int) -> Tensor:
    shape = [1] * x._value.ndim
    shape[dim] = -1
    return weight.reshape(shape)


def _soft_cross_entropy(
    logp: Tensor,
    target: Tensor,
    weight: Tensor | None,
    dim: int,
    reduction: str,
    label_smoothing: float,
) -> Tensor:
    if label_smoothing:
        c = logp._value.shape[dim]
        target = add(mul(target, 1 - label_smoothing), label_smoothing / c)
    if weight is not None:
        target = mul(target, _along(weight, logp, dim))
    loss = -sum(mul(logp, target), dim)
    if reduction == "mean":
        return mul(sum(loss), 1.0 / loss._value.size if loss._value.size else np.nan)
    return reduce_loss("cross_entropy", loss, reduction)


def same_shape(name: str, input: TensorLike, target: TensorLike) -> tuple[Tensor, Tensor]:
    """Both as tensors; ValueError unless they have one shape."""
    x, target = to_tensor(input), to_tensor(target)
    if x._value.shape != target._value.shape:
        raise ShapeError(
            f"{name}: `input` has shape {x.shape} but `target` {target.shape}; they "
            f"must be the same (use expand() if broadcasting is meant)"
        )
    return x, target


def one_shape(name: str, input: TensorLike, target: TensorLike) -> tuple[Tensor, Tensor]:
    """Both stretched to their common shape, with PyTorch's warning if they differ."""
    x, target = to_tensor(input), to_tensor(target)
    if x._value.shape == target._value.shape:
        return x, target
    try:
        first, second = broadcast_tensors(x, target)
    except ValueError:
        return same_shape(name, x, target)  # raises
    warn(
        f"{name}: `input` has shape {x.shape} but `target` {target.shape}, so that both are "
        f"stretched to {first.shape}, which is hardly meant; reshape one of them"
    )
    return first, second


def like_input(name: str, weight: TensorLike, input: TensorLike) -> Tensor:
    """``weight`` as a tensor; ValueError unless it has the shape of ``input``."""
    w, shape = to_tensor(weight), to_tensor(input).shape
    if w.shape != shape:
        raise ShapeError(f"{name}: `weight` has shape {w.shape}, expected {shape} as `input`")
    return w


def _weighed(
    name: str, loss: Tensor, weight: TensorLike | None, input: TensorLike, reduction: str
) -> Tensor:
    """``loss``, each element times its weight, if given; the mean is by the sum of the weights."""
    if weight is None:
        return reduce_loss(name, loss, reduction)
    w = like_input(name, weight, input)
    if reduction == "mean":
        return div(sum(mul(loss, w)), sum(w))
    return reduce_loss(name, mul(loss, w), reduction)


@export(method=False, nn=True)
def mse_loss(
    input: TensorLike,
    target: TensorLike,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    weight: TensorLike | None = None,
) -> Tensor:
    """Squared difference of tensors of the same shape, each times its ``weight``.

    Other shapes that broadcast give a warning.

    >>> import tinygrad_cnn as tg
    >>> tg.nn.functional.mse_loss(tg.tensor([1.0, 2.0]), tg.tensor([1.0, 4.0]))
    tensor(2.)
    """
    reduction = legacy_reduction(reduction, size_average, reduce)
    x, target = one_shape("mse_loss", input, target)
    return _weighed("mse_loss", square(sub(x, target)), weight, input, reduction)


@export(method=False, nn=True)
def l1_loss(
    input: TensorLike,
    target: TensorLike,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    weight: TensorLike | None = None,
) -> Tensor:
    """Absolute difference of tensors of the same shape, each times its ``weight``.

    Other shapes that broadcast give a warning.
    """
    reduction = legacy_reduction(reduction, size_average, reduce)
    x, target = one_shape("l1_loss", input, target)
    return _weighed("l1_loss", abs(sub(x, target)), weight, input, reduction)


@export(method=False, nn=True)
def binary_cross_entropy_with_logits(
    input: TensorLike,
    target: TensorLike,
    weight: TensorLike | None = None,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    pos_weight: TensorLike | None = None,
) -> Tensor:
    """Sigmoid and cross-entropy of yes-or-no targets (0 to 1, same shape), in one.

    ``weight`` scales every loss, ``pos_weight`` the positive targets'; both broadcast.
    """
    reduction = legacy_reduction(reduction, size_average, reduce)
    name = "binary_cross_entropy_with_logits"
    x, target = same_shape(name, input, target)
    # -t log σ(x) - (1 - t) log(1 - σ(x)), by log σ(x) = -softplus(-x)
    negative = softplus(-x, threshold=np.inf)
    if pos_weight is None:
        loss = add(mul(sub(1, target), x), negative)
    else:
        scale = add(mul(sub(pos_weight, 1), target), 1)
        loss = add(mul(sub(1, target), x), mul(scale, negative))
    if weight is not None:
        loss = mul(loss, weight)
    return reduce_loss(name, loss, reduction)
