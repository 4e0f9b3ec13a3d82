"""Losses that compare: scores with a margin, pairs and triplets of vectors, sets of labels."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from tinygrad_cnn.autograd.variable import wrap
from tinygrad_cnn.errors import ArgumentError, DtypeError, PositionError, ShapeError
from tinygrad_cnn.functions.activation import relu, softplus
from tinygrad_cnn.functions.convert import to_tensor
from tinygrad_cnn.functions.distance import pairwise_distance
from tinygrad_cnn.functions.elementwise import clamp_min, minimum, mul, where
from tinygrad_cnn.functions.export import export
from tinygrad_cnn.functions.indexing import gather
from tinygrad_cnn.functions.losses import legacy_reduction, reduce_loss
from tinygrad_cnn.functions.nn_activation import logsigmoid
from tinygrad_cnn.functions.reduction import sum
from tinygrad_cnn.types import Array, TensorLike

if TYPE_CHECKING:
    from tinygrad_cnn.tensor import Tensor


@export(method=False, nn=True)
def margin_ranking_loss(
    input1: Tensor,
    input2: Tensor,
    target: Tensor,
    margin: float = 0,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """``max(0, margin - target * (input1 - input2))``: where target is 1, input1 should be larger.

    >>> import tinygrad_cnn as tg
    >>> margin_ranking_loss(tg.ones(1), tg.tensor([3.0]), tg.ones(1))
    tensor(2.)
    """
    reduction = legacy_reduction(reduction, size_average, reduce)
    loss = clamp_min(-target * (input1 - input2) + margin, 0)
    return reduce_loss("margin_ranking_loss", loss, reduction)


@export(method=False, nn=True)
def hinge_embedding_loss(
    input: Tensor,
    target: Tensor,
    margin: float = 1.0,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """``input`` where ``target`` is 1, ``max(0, margin - input)`` where it is -1.

    >>> import tinygrad_cnn as tg
    >>> hinge_embedding_loss(tg.tensor([0.25, 0.25]), tg.tensor([1.0, -1.0]), reduction="none")
    tensor([0.2500, 0.7500])
    """
    reduction = legacy_reduction(reduction, size_average, reduce)
    target = to_tensor(target)
    far = where(target != 1, clamp_min(margin - input, 0), 0.0)
    loss = far + where(target != -1, input, 0.0)
    return reduce_loss("hinge_embedding_loss", loss, reduction)


@export(method=False, nn=True)
def cosine_embedding_loss(
    input1: Tensor,
    input2: Tensor,
    target: Tensor,
    margin: float = 0,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """``1 - cos`` of pairs whose ``target`` is 1, ``max(0, cos - margin)`` of those of -1.

    Inputs (n, d) and target (n,), or (d,) and ().

    >>> import tinygrad_cnn as tg
    >>> x = tg.tensor([[1.0, 0.0]])
    >>> cosine_embedding_loss(x, x, -tg.ones(1))
    tensor(1.)
    """
    name = "cosine_embedding_loss"
    reduction = legacy_reduction(reduction, size_average, reduce)
    sides = {input1.shape[:-1], input2.shape[:-1]} - {(1,), target.shape}
    if (
        target.ndim > 1
        or {input1.ndim, input2.ndim} != {target.ndim + 1}
        or (sides and target.shape != (1,))
    ):
        raise ShapeError(
            f"{name}: `input1`, `input2` and `target` have shapes {input1.shape}, {input2.shape} "
            f"and {target.shape}, expected (n, d) twice and (n,), or (d,) twice and ()"
        )
    lengths = ((input1 * input1).sum(-1) + 1e-12) * ((input2 * input2).sum(-1) + 1e-12)
    cos = (input1 * input2).sum(-1) / lengths.sqrt()
    loss = where(target == 1, 1 - cos, 0.0) + where(target == -1, clamp_min(cos - margin, 0), 0.0)
    return reduce_loss(name, loss, reduction)


@export(top=False, method=False, nn=True)
def soft_margin_loss(
    input: Tensor,
    target: Tensor,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """``log(1 + exp(-target * input))``, targets 1 or -1.

    >>> import tinygrad_cnn as tg
    >>> soft_margin_loss(tg.zeros(1), tg.ones(1))
    tensor(0.6931)
    """
    reduction = legacy_reduction(reduction, size_average, reduce)
    loss = softplus(-target * input, threshold=np.inf)
    return reduce_loss("soft_margin_loss", loss, reduction)


def _classes(name: str, x: TensorLike, target: TensorLike, labels: bool) -> tuple[Tensor, Array]:
    """``input`` (n, c) and class numbers (n,), or (n, c) unless ``labels``; both without n too."""
    x, found = to_tensor(x), to_tensor(target)._array
    if not x.ndim:  # one class
        x, found = x.reshape(1), found.reshape(1) if found.size == 1 and not labels else found
    wanted = x.shape[:-1] if labels else x.shape
    if not 0 < x.ndim < 3 or found.shape not in (wanted, (1,) if x.ndim == 1 else wanted):
        raise ShapeError(
            f"{name}: `input` has shape {x.shape} and `target` {found.shape}, expected (n, c) and "
            f"{'(n,)' if labels else '(n, c)'}, or both without n"
        )
    if found.dtype.kind not in "iu":
        raise DtypeError(f"{name}: `target` has dtype {found.dtype}, expected integers")
    c = x.shape[-1]
    if found.size and (found.min() < (0 if labels else -1) or found.max() >= c):
        bad = found.min() if found.min() < 0 else found.max()
        raise PositionError(f"{name}: `target` holds {bad}, expected class numbers below {c}")
    return x.reshape(-1, c), found.reshape(-1, 1 if labels else c)


@export(top=False, method=False, nn=True)
def multi_margin_loss(
    input: Tensor,
    target: Tensor,
    p: int = 1,
    margin: float = 1.0,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """The mean over classes of ``max(0, margin - input[target] + input[class]) ** p``.

    ``input`` (n, c) and ``target`` (n,), or (c,) and (). ``weight`` (c,) is for the target's class.

    >>> import tinygrad_cnn as tg
    >>> multi_margin_loss(tg.tensor([[0.5, 0.0]]), tg.tensor([0]))
    tensor(0.2500)
    """
    name = "multi_margin_loss"
    reduction = legacy_reduction(reduction, size_average, reduce)
    if p not in (1, 2):
        raise ArgumentError(f"{name}: `p` is {p}, expected 1 or 2")
    x, labels = _classes(name, input, target, labels=True)
    c = x.shape[1]
    if weight is not None and weight.shape != (c,):
        raise ShapeError(f"{name}: `weight` has shape {weight.shape}, expected ({c},)")
    other = labels != np.arange(c)  # (n, c)
    loss = relu(margin - gather(x, 1, labels) + x)
    loss = loss if p == 1 else loss * loss
    if weight is not None:
        loss = loss * weight[wrap(labels)]
    loss = sum(where(wrap(other), loss, 0.0), 1) / c
    return reduce_loss(name, loss.reshape(input.shape[:-1]), reduction)


@export(top=False, method=False, nn=True)
def multilabel_margin_loss(
    input: Tensor,
    target: Tensor,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """``max(0, 1 - input[j] + input[i])``, summed over classes j in ``target``, i not, by c.

    ``input`` and ``target`` (n, c) or (c,): class numbers up to the first -1.

    >>> import tinygrad_cnn as tg
    >>> multilabel_margin_loss(tg.tensor([0.5, 0.0, 0.0]), tg.tensor([0, -1, 2]))
    tensor(0.3333)
    """
    name = "multilabel_margin_loss"
    reduction = legacy_reduction(reduction, size_average, reduce)
    x, labels = _classes(name, input, target, labels=False)
    n, c = labels.shape
    valid = np.cumprod(labels >= 0, 1).astype(np.bool_)  # those before the first -1
    within = np.zeros((n, c + 1), np.bool_)
    within[np.arange(n)[:, None], np.where(valid, labels, c)] = True
    chosen = gather(x, 1, np.where(valid, labels, 0))
    loss = relu(1 - chosen.unsqueeze(2) + x.unsqueeze(1))  # (n, target, class)
    counts = valid[:, :, None] & ~within[:, None, :c]
    loss = sum(where(wrap(counts), loss, 0.0), (1, 2)) / c
    return reduce_loss(name, loss.reshape(input.shape[:-1]), reduction)


@export(top=False, method=False, nn=True)
def multilabel_soft_margin_loss(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """The mean over classes of the cross-entropy of yes-or-no targets, from logits (n, c).

    >>> import tinygrad_cnn as tg
    >>> multilabel_soft_margin_loss(tg.zeros(1, 2), tg.tensor([[1.0, 0.0]]))
    tensor(0.6931)
    """
    reduction = legacy_reduction(reduction, size_average, reduce)
    if not input.ndim:
        raise ShapeError("multilabel_soft_margin_loss: `input` has shape (), expected (n, c)")
    loss = -(target * logsigmoid(input) + (1 - target) * logsigmoid(-input))
    if weight is not None:
        loss = mul(loss, weight)
    loss = sum(loss, -1) / input.shape[-1]
    return reduce_loss("multilabel_soft_margin_loss", loss, reduction)


@export(method=False, nn=True)
def triplet_margin_loss(
    anchor: Tensor,
    positive: Tensor,
    negative: Tensor,
    margin: float = 1.0,
    p: float = 2,
    eps: float = 1e-6,
    swap: bool = False,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """``max(0, margin + d(anchor, positive) - d(anchor, negative))``, d the p-norm's distance.

    With ``swap`` the negative's distance from the positive counts if it is less. Balntas et al.,
    2016.

    >>> import tinygrad_cnn as tg
    >>> a = tg.zeros(1, 2)
    >>> triplet_margin_loss(a, tg.tensor([[3.0, 4.0]]), a)
    tensor(6.0000)
    """
    reduction = legacy_reduction(reduction, size_average, reduce)

    def distance(x1: Tensor, x2: Tensor) -> Tensor:
        return pairwise_distance(x1, x2, p, eps)

    return _triplet(
        "triplet_margin_loss", (anchor, positive, negative), distance, margin, swap, reduction
    )


@export(top=False, method=False, nn=True)
def triplet_margin_with_distance_loss(
    anchor: Tensor,
    positive: Tensor,
    negative: Tensor,
    *,
    distance_function: Callable[[Tensor, Tensor], Tensor] | None = None,
    margin: float = 1.0,
    swap: bool = False,
    reduction: str = "mean",
) -> Tensor:
    """`triplet_margin_loss` with any distance; by default `pairwise_distance`."""
    return _triplet(
        "triplet_margin_with_distance_loss",
        (anchor, positive, negative),
        distance_function or pairwise_distance,
        margin,
        swap,
        reduction,
    )


def _triplet(
    name: str,
    vectors: tuple[Tensor, Tensor, Tensor],
    distance: Callable[[Tensor, Tensor], Tensor],
    margin: float,
    swap: bool,
    reduction: str,
) -> Tensor:
    anchor, positive, negative = vectors
    if not anchor.ndim == positive.ndim == negative.ndim:
        raise ShapeError(
            f"{name}: `anchor`, `positive` and `negative` have shapes "
            f"{anchor.shape}, {positive.shape} and {negative.shape}, expected as many axes"
        )
    if margin <= 0:
        raise ArgumentError(f"{name}: `margin` is {margin}, expected a positive number")
    near, far = distance(anchor, positive), distance(anchor, negative)
    if swap:
        far = minimum(far, distance(positive, negative))
    return reduce_loss(name, clamp_min(margin + near - far, 0), reduction)
