"""Losses that are worth an operation of their own."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from tinygrad_cnn import kernels
from tinygrad_cnn.autograd.node import Saved
from tinygrad_cnn.autograd.registry import op
from tinygrad_cnn.autograd.samples import Draw, Sample
from tinygrad_cnn.autograd.variable import wrap
from tinygrad_cnn.ops import forms
from tinygrad_cnn.ops.choice import where
from tinygrad_cnn.ops.index import gather
from tinygrad_cnn.ops.reduce import log_softmax, sum
from tinygrad_cnn.ops.shape import reshape
from tinygrad_cnn.types import Array, Gradients

if TYPE_CHECKING:
    from tinygrad_cnn.tensor import Tensor


def _reference(
    x: Tensor, labels: Tensor, *, smoothing: float, ignored: int, reduction: str
) -> Tensor:
    known = labels._array
    counts = known != ignored
    logp = log_softmax(x, dim=1)
    at = gather(logp, reshape(wrap(np.where(counts, known, 0)), shape=(-1, 1)), dim=1)
    loss = reshape(at, shape=(-1,)) * (smoothing - 1)
    if smoothing:
        loss = loss - sum(logp, dim=(1,)) * (smoothing / x._value.shape[1])
    loss = where(wrap(counts), loss, 0.0)
    if reduction == "none":
        return loss
    count = np.count_nonzero(counts) if reduction == "mean" else 1
    result: Tensor = sum(loss, dim=(0,)) * (1 / count if count else math.nan)
    return result


def _backward(
    g: Array,
    x: Array,
    labels: Array,
    logs: Array,
    share: Array,
    smoothing: float,
    ignored: int,
) -> Gradients:
    return kernels.cross_entropy_backward(g, x, labels, logs, share, smoothing, ignored), None


def _samples(draw: Draw) -> Sample:
    n, c = draw.integer(1, 3), draw.integer(1, 4)
    labels = np.asarray([draw.integer(0, c - 1) for _ in range(n)], np.int64)
    params = {
        "smoothing": draw.choice((0.0, 0.1)),
        "ignored": draw.choice((-100, 0)) if labels.any() else -100,  # a mean of none is NaN
        "reduction": draw.choice(("none", "sum", "mean")),
    }
    return Sample((draw.array((n, c)), labels), params)


@op(
    fused=_backward,
    reference=_reference,
    ignore_fp_errors=True,
    samples=_samples,
    onnx=forms.cross_entropy,
)
def softmax_cross_entropy(
    x: Array, labels: Array, *, smoothing: float, ignored: int, reduction: str
) -> Saved:
    """Minus the log-probability of class ``labels`` (n,) under the scores ``x`` (n, c) → (n,).

    The share ``smoothing`` of a target's probability is spread evenly over all classes (Szegedy et
    al., 2016, section 7). Where a label is ``ignored`` the loss is 0 and does not count for the
    mean. With the ``reduction`` ``"sum"`` or ``"mean"`` the result is that of all losses.
    """
    loss, logs, share = kernels.cross_entropy(x, labels, smoothing, ignored, reduction)
    return Saved(np.asarray(loss, x.dtype), logs=logs, share=share)
