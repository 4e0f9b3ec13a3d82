"""Attention, fused and in blocks of queries: the matrix of all weights is never made."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from tinygrad_cnn.autograd.node import Saved
from tinygrad_cnn.autograd.registry import op
from tinygrad_cnn.autograd.samples import Draw, ErrorSample, Sample
from tinygrad_cnn.errors import ShapeError
from tinygrad_cnn.ops.linalg import matmul
from tinygrad_cnn.ops.reduce import softmax
from tinygrad_cnn.types import Array

if TYPE_CHECKING:
    from tinygrad_cnn.tensor import Tensor

BLOCK = 1 << 18
"""How many weights are held at a time."""
CAUSAL_BLOCKS = 4  # at least: the keys behind a block's last query are not looked at

_Block = tuple[slice, ...]


def blocks(shape: tuple[int, ...], block: int, causal: bool) -> Iterator[_Block]:
    """Parts of the axes before the last of ``shape`` (..., l, s), of ``block`` weights or a row."""
    if 0 in shape:
        return
    sizes = list(shape[:-1])
    if causal:
        sizes[-1] = math.ceil(sizes[-1] / CAUSAL_BLOCKS)
    axis = 0
    while axis < len(sizes) - 1 and math.prod(sizes[axis + 1 :]) * shape[-1] > block:
        axis += 1
    if causal:  # rows are always cut
        sizes[:axis] = [1] * axis
    inner = math.prod(sizes[axis + 1 :]) * shape[-1]
    steps = [*[1] * axis, max(1, min(sizes[axis], block // inner)), *sizes[axis + 1 :]]
    counts = [math.ceil(n / step) for n, step in zip(shape[:-1], steps, strict=True)]
    for at in np.ndindex(*counts):
        yield tuple(
            slice(i * step, min((i + 1) * step, n))
            for i, step, n in zip(at, steps, shape[:-1], strict=True)
        )


def _of(mask: Array, at: _Block, keys: int) -> tuple[slice, ...]:
    """Where in ``mask``, whose axes may be 1 long, the block's part is."""
    part = (*at, slice(0, keys))[-mask.ndim :]
    return tuple(p if n > 1 else slice(None) for p, n in zip(part, mask.shape, strict=True))


def _scores(
    q: Array, k: Array, mask: Array | None, at: _Block, scale: float, causal: bool
) -> Array:
    """Products of the block's queries and the keys they may see, with -inf where they may not."""
    rows = at[-1]
    keys = min(k.shape[-2], rows.stop) if causal else k.shape[-2]
    scores: Array = np.matmul(
        q[at] * q.dtype.type(scale), np.swapaxes(k[at[:-1]][..., :keys, :], -1, -2)
    )
    if mask is not None:
        part = mask[_of(mask, at, keys)]
        if part.dtype.kind == "b":
            np.copyto(scores, -np.inf, where=~part)
        else:
            scores += part
    if causal:
        np.copyto(
            scores, -np.inf, where=np.arange(keys) > np.arange(rows.start, rows.stop)[:, None]
        )
    return scores


def _kept(shape: tuple[int, ...], dropout_p: float, seed: int, number: int, like: Array) -> Array:
    """Factors of the weights of a block: 0 for those that dropout leaves out."""
    draws = np.random.default_rng((seed, number)).random(shape, np.float32)
    scale = 0.0 if dropout_p == 1 else 1 / (1 - dropout_p)
    factors: Array = (draws >= dropout_p) * like.dtype.type(scale)
    return factors


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
            part[:] = _kept(part.shape, dropout_p, seed, number, factors)
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
    gq, gk, gv = (
        np.zeros_like(q, order="C"),
        np.zeros_like(k, order="C"),
        np.zeros_like(v, order="C"),
    )
    gmask = np.zeros_like(mask, order="C") if mask is not None and needs[3] else None
    through = (g * y).sum(-1, keepdims=True)  # (..., l, 1)
    shape = (*q.shape[:-1], k.shape[-2])
    for number, at in enumerate(blocks(shape, block, causal)):
        weights = _scores(q, k, mask, at, scale, causal)
        weights -= logs[at]
        np.exp(weights, out=weights)
        part = (*at[:-1], slice(0, weights.shape[-1]))  # the keys that are seen
        g_weights = np.matmul(g[at], np.swapaxes(v[part], -1, -2))
        if dropout_p:
            kept = _kept(weights.shape, dropout_p, seed, number, weights)
            g_weights *= kept
            gv[part] += np.matmul(np.swapaxes(weights * kept, -1, -2), g[at])
        else:
            gv[part] += np.matmul(np.swapaxes(weights, -1, -2), g[at])
        g_weights -= through[at]
        g_weights *= weights
        if gmask is not None:
            where = _of(gmask, at, weights.shape[-1])
            summed = tuple(i - gmask.ndim for i, n in enumerate(gmask.shape) if n == 1)
            lead = tuple(range(g_weights.ndim - gmask.ndim))
            gmask[where] += g_weights.sum(lead).sum(summed, keepdims=True)
        g_weights *= q.dtype.type(scale)
        gq[at] = np.matmul(g_weights, k[part])
        gk[part] += np.matmul(np.swapaxes(g_weights, -1, -2), q[at])
    return gq, gk, gv, gmask


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
    y = np.zeros((*q.shape[:-1], v.shape[-1]), q.dtype)
    logs = np.zeros((*q.shape[:-1], 1), q.dtype)  # of the sums of exponentials
    for number, at in enumerate(blocks((*q.shape[:-1], k.shape[-2]), block, causal)):
        weights = _scores(q, k, mask, at, scale, causal)
        most = weights.max(-1, keepdims=True)
        np.copyto(most, 0, where=most == -np.inf)
        weights -= most
        np.exp(weights, out=weights)
        total = weights.sum(-1, keepdims=True)
        blind = total == 0
        logs[at] = np.where(blind, np.inf, most + np.log(total))
        weights /= np.where(blind, 1, total)
        if dropout_p:
            weights *= _kept(weights.shape, dropout_p, seed, number, weights)
        y[at] = np.matmul(weights, v[at[:-1]][..., : weights.shape[-1], :])
    return Saved(y, logs=logs)
