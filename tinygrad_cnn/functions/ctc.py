"""The loss of sequences whose alignment is not known."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from tinygrad_cnn.autograd.variable import wrap
from tinygrad_cnn.errors import ArgumentError, PositionError, ShapeError
from tinygrad_cnn.functions.convert import to_tensor
from tinygrad_cnn.functions.elementwise import exp, where
from tinygrad_cnn.functions.export import export
from tinygrad_cnn.functions.indexing import gather
from tinygrad_cnn.functions.joining import stack
from tinygrad_cnn.functions.losses import reduce_loss
from tinygrad_cnn.functions.padding import pad
from tinygrad_cnn.functions.reduction import logsumexp, mean, sum
from tinygrad_cnn.types import Array, TensorLike

if TYPE_CHECKING:
    from tinygrad_cnn.tensor import Tensor


def _lengths(name: str, argument: str, value: TensorLike, n: int, most: int) -> Array:
    found = np.asarray(to_tensor(value)._array).reshape(-1)
    if found.dtype.kind not in "iu" or found.shape != (n,):
        raise ShapeError(f"{name}: `{argument}` is {value!r}, expected {n} integers")
    if found.size and (found.min() < 0 or found.max() > most):
        raise ArgumentError(f"{name}: `{argument}` is {found.tolist()}, expected 0 to {most}")
    return found.astype(np.int64)


def _padded_targets(name: str, targets: Array, lengths: Array) -> Array:
    """Targets (n, s), from a matrix or from one vector with all of them."""
    if targets.ndim == 2 and len(targets) == len(lengths):
        return targets
    if targets.ndim != 1 or targets.size < lengths.sum():
        raise ShapeError(
            f"{name}: `targets` has shape {targets.shape}, expected ({len(lengths)}, s) or "
            f"({lengths.sum()},)"
        )
    out = np.zeros((len(lengths), int(lengths.max(initial=0))), np.int64)
    starts = np.cumsum(lengths) - lengths
    for row, start, length in zip(out, starts, lengths, strict=True):
        row[:length] = targets[start : start + length]
    return out


@export(method=False, nn=True)
def ctc_loss(
    log_probs: Tensor,
    targets: Tensor,
    input_lengths: TensorLike,
    target_lengths: TensorLike,
    blank: int = 0,
    reduction: str = "mean",
    zero_infinity: bool = False,
) -> Tensor:
    """Minus the log-probability of label sequences, summed over all alignments.

    Graves et al., 2006: an alignment names a label or the blank at each time; repetitions, then
    blanks, are taken out.

    Parameters
    ----------
    log_probs
        (t, n, c) or (t, c): log-probabilities of c labels, one of them the ``blank``. As in
        PyTorch the gradient is right together with that of the `log_softmax` which made them.
    targets
        (n, s), or all targets in one vector.
    input_lengths, target_lengths
        How much of each sequence counts.
    reduction
        ``"mean"`` divides each loss by its target's length and takes the mean over the batch.
    zero_infinity
        Whether targets too long for their input count as 0, with gradient 0, and not as infinity.

    Raises
    ------
    ValueError, IndexError
        Shapes, lengths or labels that do not fit.

    Examples
    --------
    >>> import tinygrad_cnn as tg
    >>> even = tg.full((2, 1, 2), 0.5).log()
    >>> ctc_loss(even, tg.tensor([[1]]), [2], [1])  # "1 1", "1 -" and "- 1" of four
    tensor(0.2877)
    """
    name = "ctc_loss"
    x, single = to_tensor(log_probs), log_probs.ndim == 2
    if single:
        x = x.unsqueeze(1)
    if x.ndim != 3:
        raise ShapeError(f"{name}: `log_probs` has shape {x.shape}, expected (t, n, c) or (t, c)")
    t, n, c = x.shape
    if not 0 <= blank < c:
        raise PositionError(f"{name}: `blank` is {blank}, expected 0 to {c - 1}")
    within = _lengths(name, "input_lengths", input_lengths, n, t)
    given = to_tensor(targets)._array
    most = given.shape[-1] if given.ndim else 0
    lengths = _lengths(name, "target_lengths", target_lengths, n, most)
    labels = _padded_targets(name, given.reshape(1, -1) if single else given, lengths)
    if not labels.shape[1]:
        labels = np.zeros((n, 1), np.int64)  # of which nothing is used
    used = labels[np.arange(labels.shape[1]) < lengths[:, None]]
    if used.size and not 0 <= used.min() <= used.max() < c:
        raise PositionError(f"{name}: `targets` holds {used.min()} to {used.max()}, c is {c}")

    # Graves' lattice: a blank, a label, a blank, …, a label, a blank
    line = np.full((n, 2 * labels.shape[1] + 1), blank, np.int64)
    line[:, 1::2] = np.clip(labels, 0, c - 1)
    skips = np.zeros(line.shape, np.bool_)
    skips[:, 2:] = (line[:, 2:] != blank) & (line[:, 2:] != line[:, :-2])
    index = np.broadcast_to(line, (t, *line.shape))
    emitted = gather(x, 2, wrap(np.ascontiguousarray(index)))  # (t, n, line)
    begins = np.arange(line.shape[1]) < np.where(lengths > 0, 2, 1)[:, None]
    alpha = where(wrap(begins), emitted[0], -math.inf) if t else wrap(np.where(begins, 0, -np.inf))
    for step in range(1, t):
        one = pad(alpha, (1, -1), value=-math.inf)
        two = where(wrap(skips), pad(alpha, (2, -2), value=-math.inf), -math.inf)
        moved = logsumexp(stack([alpha, one, two]), 0) + emitted[step]
        alpha = where(wrap((step < within)[:, None]), moved, alpha)
    ends = np.stack([2 * lengths, np.maximum(2 * lengths - 1, 0)], 1)
    last = gather(alpha, 1, wrap(ends))
    last = where(wrap(np.stack([lengths >= 0, lengths > 0], 1)), last, -math.inf)
    loss = -logsumexp(last, 1)

    # PyTorch's gradient in log_probs has the softmax's own, exp(log_probs), added.
    counts = np.arange(t)[:, None, None] < within[:, None]
    extra = sum(where(wrap(counts), exp(x), 0.0), (0, 2))
    infinite = wrap(np.isinf(loss._array))
    loss = loss + where(infinite, 0.0, extra - extra.detach())
    if zero_infinity:
        loss = where(infinite, 0.0, loss)
    if reduction == "mean":
        return mean(loss / wrap(np.maximum(lengths, 1).astype(loss.dtype)))
    return reduce_loss(name, loss[0] if single else loss, reduction)
