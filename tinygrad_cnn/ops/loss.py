"""Losses that are worth an operation of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tinygrad_cnn import kernels
from tinygrad_cnn.autograd.node import Saved
from tinygrad_cnn.autograd.registry import op
from tinygrad_cnn.autograd.samples import Draw, Sample
from tinygrad_cnn.ops.choice import where
from tinygrad_cnn.ops.index import gather
from tinygrad_cnn.ops.reduce import log_softmax, sum
from tinygrad_cnn.ops.shape import reshape
from tinygrad_cnn.types import Array, Gradients

if TYPE_CHECKING:
    from tinygrad_cnn.tensor import Tensor


def _reference(
    x: Tensor, labels: Tensor, counts: Tensor | None, *, smoothing: float, factor: float | None
) -> Tensor:
    logp = log_softmax(x, dim=1)
    at = gather(logp, reshape(labels, shape=(-1, 1)), dim=1)
    loss = reshape(at, shape=(-1,)) * (smoothing - 1)
    if smoothing:
        loss = loss - sum(logp, dim=(1,)) * (smoothing / x._value.shape[1])
    if counts is not None:
        loss = where(counts, loss, 0.0)
    result: Tensor = loss if factor is None else sum(loss, dim=(0,)) * factor
    return result


def _backward(
    g: Array,
    x: Array,
    labels: Array,
    counts: Array | None,
    logs: Array,
    smoothing: float,
    factor: float | None,
) -> Gradients:
    scale = np.asarray(g, logs.dtype) if factor is None else logs.dtype.type(float(g) * factor)
    each = np.full(len(x), scale) if factor is not None else scale
    gx = kernels.cross_entropy_backward(each, x, labels, logs, smoothing)
    if counts is not None:
        gx[~counts] = 0
    return gx, None, None


def _samples(draw: Draw) -> Sample:
    n, c = draw.integer(1, 3), draw.integer(1, 4)
    labels = np.asarray([draw.integer(0, c - 1) for _ in range(n)], np.int64)
    counts = np.asarray([draw.choice((False, True)) for _ in range(n)])
    params = {"smoothing": draw.choice((0.0, 0.1)), "factor": draw.choice((None, 1.0, 0.5))}
    return Sample(
        (draw.array((n, c)), labels, counts if draw.choice((False, True)) else None), params
    )


@op(fused=_backward, reference=_reference, ignore_fp_errors=True, samples=_samples)
def softmax_cross_entropy(
    x: Array,
    labels: Array,
    counts: Array | None = None,
    *,
    smoothing: float,
    factor: float | None,
) -> Saved:
    """Minus the log-probability of class ``labels`` (n,) under the scores ``x`` (n, c) → (n,).

    The share ``smoothing`` of a target's probability is spread evenly over all classes (Szegedy et
    al., 2016, section 7). Where ``counts`` (n,) is False the loss is 0. With a ``factor`` the
    result is that times the sum.
    """
    loss, logs = kernels.cross_entropy(x, labels, smoothing)
    if counts is not None:
        loss[~counts] = 0
    out = loss if factor is None else kernels.sum(loss, (0,)) * loss.dtype.type(factor)
    return Saved(np.asarray(out, x.dtype), logs=logs)
