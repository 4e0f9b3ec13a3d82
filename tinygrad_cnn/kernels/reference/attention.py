"""Attention in blocks of queries: the matrix of all weights is never made.

Shapes and arguments are those of `ops.attention.attention`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from tinygrad_cnn.types import Array

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


def kept(shape: tuple[int, ...], dropout_p: float, seed: int, number: int, like: Array) -> Array:
    """Factors of the weights of a block: 0 for those that dropout leaves out."""
    draws = np.random.default_rng((seed, number)).random(shape, np.float32)
    scale = 0.0 if dropout_p == 1 else 1 / (1 - dropout_p)
    factors: Array = (draws >= dropout_p) * like.dtype.type(scale)
    return factors


def attention(
    q: Array,
    k: Array,
    v: Array,
    mask: Array | None,
    *,
    scale: float,
    causal: bool,
    dropout_p: float,
    seed: int,
    block: int,
) -> tuple[Array, Array]:
    """Return the result, and the logarithms of the sums of exponentials (..., l, 1).

    >>> q, v = np.zeros((1, 1)), np.array([[1.0], [3.0]])
    >>> how = {"scale": 1.0, "causal": False, "dropout_p": 0.0, "seed": 0, "block": 8}
    >>> attention(q, v, v, None, **how)[0]
    array([[2.]])
    """
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
            weights *= kept(weights.shape, dropout_p, seed, number, weights)
        y[at] = np.matmul(weights, v[at[:-1]][..., : weights.shape[-1], :])
    return y, logs


def attention_backward(
    g: Array,
    q: Array,
    k: Array,
    v: Array,
    mask: Array | None,
    y: Array,
    logs: Array,
    needs: tuple[bool, ...],
    *,
    scale: float,
    causal: bool,
    dropout_p: float,
    seed: int,
    block: int,
) -> tuple[Array | None, ...]:
    """Return the gradients of `attention` in q, k, v and mask.

    >>> q, v = np.zeros((1, 1)), np.array([[1.0], [3.0]])
    >>> how = {"scale": 1.0, "causal": False, "dropout_p": 0.0, "seed": 0, "block": 8}
    >>> y, logs = attention(q, v, v, None, **how)
    >>> attention_backward(np.ones((1, 1)), q, v, v, None, y, logs, (True,) * 4, **how)[2]
    array([[0.5],
           [0.5]])
    """
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
            factors = kept(weights.shape, dropout_p, seed, number, weights)
            g_weights *= factors
            gv[part] += np.matmul(np.swapaxes(weights * factors, -1, -2), g[at])
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
