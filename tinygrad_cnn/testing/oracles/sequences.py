"""Oracles of recurrence, attention and bags of rows: by definition, number by number."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from tinygrad_cnn.ops.attention import blocks
from tinygrad_cnn.types import Array


def _logistic(v: float) -> float:
    return 1 / (1 + math.exp(-v))


def _product(rows: Array, v: list[float]) -> list[float]:
    return [math.fsum(a * b for a, b in zip(row, v, strict=True)) for row in rows.tolist()]


def _cell(
    x: list[float], state: list[float], w: Array, b: Array | None, p: Array | None, mode: str
) -> list[float]:
    """The state of one sequence after one step."""
    n = w.shape[0] // {"tanh": 1, "relu": 1, "gru": 3, "lstm": 4}[mode]
    h, c = state[: w.shape[1]], state[w.shape[1] :]
    part = _product(w, h)
    if b is not None:
        part = [a + s for a, s in zip(part, b.tolist(), strict=True)]
    if mode == "gru":
        new = []
        for k in range(n):
            reset = _logistic(x[k] + part[k])
            update = _logistic(x[n + k] + part[n + k])
            candidate = math.tanh(x[2 * n + k] + reset * part[2 * n + k])
            new.append((1 - update) * candidate + update * h[k])
        return new
    total = [a + s for a, s in zip(x, part, strict=True)]
    if mode != "lstm":
        return [math.tanh(v) if mode == "tanh" else max(v, 0.0) for v in total]
    c = [
        _logistic(total[n + k]) * c[k] + _logistic(total[k]) * math.tanh(total[2 * n + k])
        for k in range(n)
    ]
    h = [_logistic(total[3 * n + k]) * math.tanh(c[k]) for k in range(n)]
    return (h if p is None else _product(p, h)) + c


def _recurrence(
    x: Array,
    state: Array,
    w: Array,
    b: Array | None = None,
    p: Array | None = None,
    *,
    mode: str,
    sizes: tuple[int, ...],
    reverse: bool,
) -> Array:
    """Sequence by sequence, each through its own steps."""
    out = np.empty((len(x), state.shape[1]))
    starts = [sum(sizes[:t]) for t in range(len(sizes))]
    for i in range(sizes[0]):
        rows = [start + i for start, size in zip(starts, sizes, strict=True) if i < size]
        now = state[i].tolist()
        for row in reversed(rows) if reverse else rows:
            now = _cell(x[row].tolist(), now, w, b, p, mode)
            out[row] = now
    return out


def _attention(
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
) -> Array:
    """Query by query. Which weights are drawn together follows from the blocks."""
    out = np.zeros((*q.shape[:-1], v.shape[-1]))
    shape = (*q.shape[:-1], k.shape[-2])
    masks = None if mask is None else np.broadcast_to(mask, shape)
    factors = np.ones(shape)
    for number, part in enumerate(blocks(shape, block, causal) if dropout_p else ()):
        seen = (*part, slice(0, part[-1].stop if causal else None))
        draws = np.random.default_rng((seed, number)).random(factors[seen].shape, np.float32)
        factors[seen] = np.where(draws < dropout_p, 0.0, 1 / (1 - dropout_p))
    for at in np.ndindex(q.shape[:-1]):
        scores = [scale * s for s in _product(k[at[:-1]], q[at].tolist())]
        for j in range(len(scores)):
            bias = 0.0 if masks is None else masks[at][j]
            hidden = isinstance(bias, np.bool_) and not bias
            scores[j] += 0.0 if isinstance(bias, np.bool_) else bias
            if hidden or (causal and j > at[-1]):
                scores[j] = -math.inf
        most = max(scores)
        if most > -math.inf:
            weights = [math.exp(s - most) for s in scores]
            left = [w * f for w, f in zip(weights, factors[at].tolist(), strict=True)]
            out[at] = np.array(_product(v[at[:-1]].T, left)) / math.fsum(weights)
    return out


def _bag_sum(weight: Array, rows: Array, starts: Array, factors: Array | None = None) -> Array:
    times = [1.0] * len(rows) if factors is None else factors.tolist()
    out = [
        [
            math.fsum(times[i] * column[rows[i]] for i in range(*ends))
            for column in weight.T.tolist()
        ]
        for ends in zip(starts[:-1].tolist(), starts[1:].tolist(), strict=True)
    ]
    return np.array(out).reshape(len(starts) - 1, weight.shape[1])


SEQUENCE_ORACLES: dict[str, Callable[..., Any]] = {
    "attention": _attention,
    "bag_sum": _bag_sum,
    "recurrence": _recurrence,
}
"""By name, as `ORACLES`."""
