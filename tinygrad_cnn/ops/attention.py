"""Attention, fused and in blocks of queries: the matrix of all weights is never made."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from tinygrad_cnn import kernels
from tinygrad_cnn.autograd.node import Saved
from tinygrad_cnn.autograd.registry import op
from tinygrad_cnn.autograd.samples import Draw, ErrorSample, Sample
from tinygrad_cnn.errors import ShapeError
from tinygrad_cnn.kernels.reference.attention import BLOCK as BLOCK
from tinygrad_cnn.kernels.reference.attention import blocks as blocks
from tinygrad_cnn.kernels.reference.attention import kept
from tinygrad_cnn.ops import forms
from tinygrad_cnn.ops.linalg import matmul
from tinygrad_cnn.ops.reduce import softmax
from tinygrad_cnn.types import Array

if TYPE_CHECKING:
    from tinygrad_cnn.tensor import Tensor


def _reference(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: Tensor | None = None,
    *,
    scale: float,
    causal: bool,
    dropout_p: float,
    seed: int,
    block: int,
) -> Tensor:
    scores = matmul(q, k.mT) * scale
    shape = scores.shape
    if mask is not None:
        floating = mask.dtype.kind == "f"
        scores = scores + mask if floating else scores.masked_fill(~mask, -math.inf)
    if causal:
        scores = scores.masked_fill(np.triu(np.ones(shape[-2:], bool), 1), -math.inf)
    blind = (scores == -math.inf).all(-1, keepdim=True)  # queries that see no key
    weights = softmax(scores.masked_fill(blind, 0.0), dim=len(shape) - 1).masked_fill(blind, 0.0)
    if dropout_p:
        factors = np.zeros(shape, q.dtype)
        for number, at in enumerate(blocks(shape, block, causal)):
            keys = min(shape[-1], at[-1].stop) if causal else shape[-1]
            part = factors[(*at, slice(0, keys))]
            part[:] = kept(part.shape, dropout_p, seed, number, factors)
        weights = weights * factors
    return matmul(weights, v)


def _backward(
    g: Array,
    q: Array,
    k: Array,
    v: Array,
    mask: Array | None,
    y: Array,
    logs: Array,
    needs: tuple[bool, ...],
    scale: float,
    causal: bool,
    dropout_p: float,
    seed: int,
    block: int,
) -> tuple[Array | None, ...]:
    found: tuple[Array | None, ...] = kernels.attention_backward(
        g, q, k, v, mask, y, logs, needs,
        scale=scale, causal=causal, dropout_p=dropout_p, seed=seed, block=block,
    )  # fmt: skip
    return found


def _samples(draw: Draw) -> Sample:
    lead = draw.shape(max_dims=2, min_side=1)
    queries, keys, width = (draw.integer(1, 4) for _ in range(3))
    kind = draw.choice((None, "float", "bool"))
    mask = None
    if kind is not None:
        shape = tuple(n if draw.choice((True, False)) else 1 for n in (*lead, queries, keys))
        mask = draw.array(shape[draw.integer(0, len(lead)) :])
        mask = mask > -1 if kind == "bool" else mask
    return Sample(
        (
            draw.array((*lead, queries, width)),
            draw.array((*lead, keys, width)),
            draw.array((*lead, keys, draw.integer(1, 3))),
            mask,
        ),
        {
            "scale": draw.choice((0.5, 1.5)),
            "causal": draw.choice((False, True)),
            "dropout_p": draw.choice((0.0, 0.5)),
            "seed": draw.integer(0, 9),
            "block": draw.choice((BLOCK, 4)),
        },
    )


@op(
    fused=_backward,
    reference=_reference,
    ignore_fp_errors=True,
    samples=_samples,
    errors=(
        ErrorSample(
            (np.zeros((2, 3)), np.zeros((2, 4)), np.zeros((2, 4)), None),
            {"scale": 1.0, "causal": False, "dropout_p": 0.0, "seed": 0, "block": BLOCK},
            ValueError,
            "attention: `q` has shape",
        ),
    ),
    onnx=forms.attention,
)
def attention(
    q: Array,
    k: Array,
    v: Array,
    mask: Array | None = None,
    *,
    scale: float,
    causal: bool,
    dropout_p: float,
    seed: int,
    block: int,
) -> Saved:
    """``softmax(scale * q @ k.T + mask) @ v``: for each query a mean of ``v``, weighed by the keys.

    Shapes: ``q`` (..., l, e), ``k`` (..., s, e), ``v`` (..., s, d), result (..., l, d); ``mask``
    broadcasts to (..., l, s), adds if floating and, if bool, says which keys are seen. ``causal``
    hides key j from query i < j. A query that sees no key gets zeros. A share ``dropout_p`` of the
    weights, drawn from ``seed``, is left out. ``block`` weights are held at a time: rows are
    normalised one by one, and in the backward pass computed again from the saved normalisers (Dao
    et al., "FlashAttention", 2022, algorithm 4).
    """
    if q.shape[:-2] != k.shape[:-2] or k.shape[:-1] != v.shape[:-1] or q.shape[-1] != k.shape[-1]:
        raise ShapeError(
            f"attention: `q` has shape {q.shape}, `k` {k.shape} and `v` {v.shape} but (..., l, e), "
            f"(..., s, e) and (..., s, d) are expected"
        )
    y, logs = kernels.attention(
        q, k, v, mask, scale=scale, causal=causal, dropout_p=dropout_p, seed=seed, block=block
    )
    return Saved(y, logs=logs)
