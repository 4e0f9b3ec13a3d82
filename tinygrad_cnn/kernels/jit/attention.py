"""Attention, a head at a time: keys and values are packed once, and queries go by in blocks.

The scores of a block stay in cache from the product with the keys to that with the values (Dao et
al., "FlashAttention", 2022); a row of them is whole, so that its sum has one order. Forward,
threads share the blocks of all heads, backward the heads, whose gradients are sums over blocks: any
number of threads gives the same bits. Arrays are read where they lie, and results lie in memory as
the queries, keys and values do, so that a layer's views of them cost no copies.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.lib.stride_tricks import as_strided

from tinygrad_cnn.kernels.jit.compile.build import kernel
from tinygrad_cnn.kernels.jit.compile.entry import run
from tinygrad_cnn.kernels.jit.compile.vector import BYTES
from tinygrad_cnn.kernels.jit.linear.products import clear_bytes, copy_bytes
from tinygrad_cnn.kernels.jit.linear.times_panel import (
    COLUMNS,
    pack_columns,
    pack_transposed,
    times_panel,
    times_panels,
)
from tinygrad_cnn.kernels.jit.load.images import FLOAT32
from tinygrad_cnn.kernels.jit.pointwise.rows import Number, exponentials, store_largest
from tinygrad_cnn.kernels.memory import empty, scratch
from tinygrad_cnn.kernels.threads import shares
from tinygrad_cnn.types import Array

BLOCK = 64  # queries of a block: each score is used for as many values
LARGEST = 1 << 17  # scores of a block: half a megabyte, a part of the second-level cache
FEWEST = 16  # queries of a block, however many keys there are


class Sizes(NamedTuple):
    """What is computed: heads, queries, keys, numbers of a key and of a value; queries of a block
    and numbers from one row of its scores to the next.
    """

    heads: int
    queries: int
    keys: int
    width: int
    depth: int
    causal: int
    masked: int
    block: int
    line: int


class Lines(NamedTuple):
    """Distances in bytes from one row to the next."""

    q: int
    k: int
    v: int
    y: int
    mask: int
    g: int = 0
    gq: int = 0
    gk: int = 0
    gv: int = 0


@kernel()
def _add_mask(row: Array, mask: Array) -> None:
    for j in range(row.size):
        hidden = mask[j] == np.float32(-np.inf)
        value = row[j] + mask[j]
        row[j] = mask[j] if hidden else value


@kernel()
def _scale(row: Array, factor: Number) -> None:
    for j in range(row.size):
        row[j] *= factor


@kernel()
def _through_softmax(grads: Array, weights: Array, through: Number, scale: Number) -> None:
    for j in range(grads.size):
        grads[j] = weights[j] * (grads[j] - through) * scale


@kernel()
def _pack_keys(p: Sizes, at: int, row: int, panels: int, width: int) -> None:
    for first in range(0, p.keys, COLUMNS):
        pack_transposed(
            at + first * row, row, panels + first * width * BYTES, width,
            min(COLUMNS, p.keys - first),
        )  # fmt: skip


@kernel()
def _products(
    p: Sizes, left: int, left_row: int, panels: int, width: int, zeros: int, scores: int, rows: int,
    seen: int,
) -> None:  # fmt: skip
    """Write the products of rows and the keys, or values, that they see."""
    for first in range(0, seen, COLUMNS):
        times_panel(
            left, left_row, BYTES, panels + first * width * BYTES, width, zeros, 0,
            scores + first * BYTES, p.line * BYTES, rows, min(COLUMNS, p.keys - first),
        )  # fmt: skip


@kernel(entry=True)
def _attention(
    part: int, parts: int, p: Sizes, lines: Lines, scale: float, q: Array, k: Array, v: Array,
    mask: Array, y: Array, starts: Array, logs: Array, space: Array,
) -> None:  # fmt: skip
    """Write y and logs (heads, queries); `starts` (5, heads): at which byte each head starts."""
    own = space[part]
    zeros, spot, factors = own[:COLUMNS], own[COLUMNS : 2 * COLUMNS], own[2 * COLUMNS :][: p.block]
    zeros[:] = 0
    place = 2 * COLUMNS + p.block
    padded = (p.keys + COLUMNS - 1) // COLUMNS * COLUMNS
    keys = own[place : place + padded * p.width]
    values = own[place + padded * p.width :]
    values_size = (p.depth + COLUMNS - 1) // COLUMNS * COLUMNS * p.keys
    scores = values[values_size : values_size + p.block * p.line]
    extra = values[values_size + p.block * p.line :][: p.line]
    found = values[values_size + (p.block + 1) * p.line :]
    blocks = (p.queries + p.block - 1) // p.block
    tasks, packed = p.heads * blocks, -1
    for task in range(tasks * part // parts, tasks * (part + 1) // parts):
        head, first = task // blocks, task % blocks * p.block
        if head != packed:
            _pack_keys(p, k.ctypes.data + starts[1, head], lines.k, keys.ctypes.data, p.width)
            _scale(keys, np.float32(scale))
            pack_columns(
                v.ctypes.data + starts[2, head], lines.v, values.ctypes.data, p.keys, p.depth
            )
            packed = head
        rows = min(p.block, p.queries - first)
        seen = min(p.keys, first + rows) if p.causal else p.keys
        _products(
            p, q.ctypes.data + starts[0, head] + first * lines.q, lines.q, keys.ctypes.data,
            p.width, zeros.ctypes.data, scores.ctypes.data, rows, seen,
        )  # fmt: skip
        for r in range(rows):
            count = min(seen, first + r + 1) if p.causal else seen
            row = scores[r * p.line : r * p.line + count]
            if p.masked:
                source = mask.ctypes.data + starts[3, head] + (first + r) * lines.mask
                copy_bytes(extra.ctypes.data, source, count * BYTES)
                _add_mask(row, extra[:count])
            store_largest(row.ctypes.data, count, spot.ctypes.data)
            most = spot[0]
            if most == np.float32(-np.inf):
                most = np.float32(0)
            total = exponentials(row, most, row)
            scores[r * p.line + count : r * p.line + seen] = 0
            logs[head, first + r] = np.inf if total == 0 else most + np.log(total)
            factors[r] = 1 if total == 0 else 1 / total
        times_panels(
            scores.ctypes.data, p.line * BYTES, BYTES, values.ctypes.data, seen, zeros.ctypes.data,
            0, found.ctypes.data, p.depth * BYTES, rows, p.depth, p.keys,
        )  # fmt: skip
        for r in range(rows):
            row = found[r * p.depth : (r + 1) * p.depth]
            _scale(row, factors[r])
            target = y.ctypes.data + starts[4, head] + (first + r) * lines.y
            copy_bytes(target, row.ctypes.data, p.depth * BYTES)


@kernel(entry=True)
def _attention_backward(
    part: int, parts: int, p: Sizes, lines: Lines, scale: float, q: Array, k: Array, v: Array,
    mask: Array, g: Array, gq: Array, gk: Array, gv: Array, starts: Array, logs: Array,
    through: Array, space: Array,
) -> None:  # fmt: skip
    """Write gq, gk, gv; logs and through are (heads, queries)."""
    own = space[part]
    zeros = own[:COLUMNS]
    zeros[:] = 0
    none = zeros.ctypes.data
    padded = (p.keys + COLUMNS - 1) // COLUMNS * COLUMNS
    widest = (p.width + COLUMNS - 1) // COLUMNS * COLUMNS
    deepest = (p.depth + COLUMNS - 1) // COLUMNS * COLUMNS
    place = COLUMNS
    turned_keys = own[place : place + padded * p.width]
    place += padded * p.width
    turned_values = own[place : place + padded * p.depth]
    place += padded * p.depth
    keys = own[place : place + widest * p.keys]
    place += widest * p.keys
    q_panels = own[place : place + widest * p.block]
    place += widest * p.block
    g_panels = own[place : place + deepest * p.block]
    place += deepest * p.block
    weights, grads = own[place:][: p.block * p.line], own[place + p.block * p.line :]
    extra = own[place + 2 * p.block * p.line :]
    line = p.line * BYTES
    for head in range(p.heads * part // parts, p.heads * (part + 1) // parts):
        k_at, v_at = k.ctypes.data + starts[1, head], v.ctypes.data + starts[2, head]
        gk_at, gv_at = gk.ctypes.data + starts[6, head], gv.ctypes.data + starts[7, head]
        _pack_keys(p, k_at, lines.k, turned_keys.ctypes.data, p.width)
        _scale(turned_keys, np.float32(scale))
        _pack_keys(p, v_at, lines.v, turned_values.ctypes.data, p.depth)
        pack_columns(k_at, lines.k, keys.ctypes.data, p.keys, p.width)
        for key in range(p.keys):
            clear_bytes(gk_at + key * lines.gk, p.width * BYTES)
            clear_bytes(gv_at + key * lines.gv, p.depth * BYTES)
        for first in range(0, p.queries, p.block):
            rows = min(p.block, p.queries - first)
            seen = min(p.keys, first + rows) if p.causal else p.keys
            q_at = q.ctypes.data + starts[0, head] + first * lines.q
            g_at = g.ctypes.data + starts[4, head] + first * lines.g
            _products(
                p, q_at, lines.q, turned_keys.ctypes.data, p.width, none, weights.ctypes.data,
                rows, seen,
            )  # fmt: skip
            _products(
                p, g_at, lines.g, turned_values.ctypes.data, p.depth, none, grads.ctypes.data,
                rows, seen,
            )  # fmt: skip
            for r in range(rows):
                count = min(seen, first + r + 1) if p.causal else seen
                start = r * p.line
                row = weights[start : start + count]
                if p.masked:
                    source = mask.ctypes.data + starts[3, head] + (first + r) * lines.mask
                    copy_bytes(extra.ctypes.data, source, count * BYTES)
                    _add_mask(row, extra[:count])
                exponentials(row, logs[head, first + r], row)
                _through_softmax(
                    grads[start : start + count], row, through[head, first + r],
                    np.float32(scale),
                )  # fmt: skip
                weights[start + count : start + seen] = 0
                grads[start + count : start + seen] = 0
            pack_columns(g_at, lines.g, g_panels.ctypes.data, rows, p.depth)
            pack_columns(q_at, lines.q, q_panels.ctypes.data, rows, p.width)
            times_panels(
                weights.ctypes.data, BYTES, line, g_panels.ctypes.data, rows, gv_at, lines.gv,
                gv_at, lines.gv, seen, p.depth, rows,
            )  # fmt: skip
            times_panels(
                grads.ctypes.data, BYTES, line, q_panels.ctypes.data, rows, gk_at, lines.gk,
                gk_at, lines.gk, seen, p.width, rows,
            )  # fmt: skip
            times_panels(
                grads.ctypes.data, line, BYTES, keys.ctypes.data, seen, none, 0,
                gq.ctypes.data + starts[5, head] + first * lines.gq, lines.gq, rows, p.width,
                p.keys,
            )  # fmt: skip


def _readable(a: Array) -> Array:
    """An array whose rows are dense, a copy if need be."""
    plain = a.strides[-1] == BYTES and all(s % BYTES == 0 for s in a.strides) and a.flags.aligned
    return a if plain else np.ascontiguousarray(a)


def _like(a: Array) -> Array:
    """New memory of the same shape, its axes in the order that those of `a` have."""
    order = sorted(range(a.ndim), key=lambda axis: -abs(a.strides[axis]))
    if order[-1] != a.ndim - 1:  # rows must be dense
        return empty(a.shape, FLOAT32)
    back = sorted(range(a.ndim), key=order.__getitem__)
    return empty(tuple(a.shape[axis] for axis in order), FLOAT32).transpose(back)


def _starts(*arrays: Array) -> Array:
    """Where each head starts in each array, in bytes: (arrays, heads)."""
    rows = []
    for a in arrays:
        total = np.zeros(1, np.int64)
        for n, stride in zip(a.shape[:-2], a.strides[:-2], strict=True):
            total = (total[:, None] + np.arange(n, dtype=np.int64) * stride).reshape(-1)
        rows.append(total)
    return np.stack(rows)


def _first(a: Array) -> Array:
    """The first number of an array, as an array: what kernels take as its address."""
    return as_strided(a, (1,), (BYTES,))


def _numbers(mask: Array, shape: tuple[int, ...]) -> Array | None:
    """A mask as numbers to add, in the shape of all weights; None where it holds others."""
    if mask.dtype.kind == "b":
        mask = np.where(mask, FLOAT32.type(0), FLOAT32.type(-np.inf))
    if mask.dtype != FLOAT32:
        return None
    if mask.ndim and mask.shape[-1] != shape[-1]:
        mask = np.broadcast_to(mask, (*mask.shape[:-1], shape[-1]))
    return np.broadcast_to(_readable(np.atleast_1d(mask)), shape)


def _sizes(
    q: Array, k: Array, v: Array, mask: Array | None, dropout_p: float, causal: bool
) -> Sizes | None:
    """What is computed, or None for what is left to NumPy: dropout, other dtypes, no keys."""
    given = {q.dtype, k.dtype, v.dtype} == {FLOAT32} and not dropout_p
    if not given or 0 in (q.size, k.size, v.size):
        return None
    queries, keys = q.shape[-2], k.shape[-2]
    line = -(-keys // COLUMNS) * COLUMNS + 16  # not a power of two, whose multiples share lines
    block = min(BLOCK, queries, max(FEWEST, LARGEST // line))
    return Sizes(
        math.prod(q.shape[:-2]), queries, keys, q.shape[-1], v.shape[-1], int(causal),
        int(mask is not None), block, line,
    )  # fmt: skip


def attention(
    q: Array, k: Array, v: Array, mask: Array | None, *,
    scale: float, causal: bool, dropout_p: float, seed: int, block: int,
) -> tuple[Array, Array] | None:  # fmt: skip
    """As `reference.attention`, without dropout."""
    p = _sizes(q, k, v, mask, dropout_p, causal)
    added = q if mask is None or p is None else _numbers(mask, (*q.shape[:-1], p.keys))
    if p is None or added is None:
        return None
    q, k, v = map(_readable, (q, k, v))
    y = _like(q) if v.shape[-1] == q.shape[-1] else empty((*q.shape[:-1], p.depth), FLOAT32)
    logs = np.empty((*q.shape[:-1], 1), FLOAT32)
    lines = Lines(*(a.strides[-2] for a in (q, k, v, y, added)))
    parts = min(p.heads * -(-p.queries // p.block), shares(p.heads * p.queries * p.keys * BYTES))
    padded, deepest = p.line - 16, -(-p.depth // COLUMNS) * COLUMNS
    floats = 2 * COLUMNS + p.block + padded * p.width + deepest * p.keys
    floats += (p.block + 1) * p.line + p.block * p.depth
    with scratch() as take:
        run(
            _attention, parts, p, lines, float(scale), *map(_first, (q, k, v, added, y)),
            _starts(q, k, v, added, y), logs.reshape(p.heads, p.queries),
            take((parts, floats), FLOAT32),
        )  # fmt: skip
    return y, logs


def attention_backward(
    g: Array, q: Array, k: Array, v: Array, mask: Array | None, y: Array, logs: Array,
    needs: tuple[bool, ...], *,
    scale: float, causal: bool, dropout_p: float, seed: int, block: int,
) -> tuple[Array | None, ...] | None:  # fmt: skip
    """As `reference.attention_backward`, without dropout and a mask that needs a gradient."""
    p = _sizes(q, k, v, mask, dropout_p, causal)
    added = q if mask is None or p is None else _numbers(mask, (*q.shape[:-1], p.keys))
    other = {g.dtype, y.dtype, logs.dtype} != {FLOAT32} or (mask is not None and needs[3])
    if p is None or added is None or other:
        return None
    through = np.einsum("...i,...i->...", g, y)
    g, q, k, v = map(_readable, (g, q, k, v))
    gq, gk, gv = map(_like, (q, k, v))
    lines = Lines(*(a.strides[-2] for a in (q, k, v, y, added, g, gq, gk, gv)))
    parts = min(p.heads, shares(2 * p.heads * p.queries * p.keys * BYTES))
    padded, widest, deepest = p.line - 16, *(-(-n // COLUMNS) * COLUMNS for n in (p.width, p.depth))
    floats = COLUMNS + padded * (p.width + p.depth) + widest * p.keys
    floats += p.block * (widest + deepest) + (2 * p.block + 1) * p.line
    with scratch() as take:
        run(
            _attention_backward, parts, p, lines, float(scale),
            *map(_first, (q, k, v, added, g, gq, gk, gv)),
            _starts(q, k, v, added, g, gq, gk, gv),
            np.ascontiguousarray(logs).reshape(p.heads, p.queries),
            np.ascontiguousarray(through, FLOAT32).reshape(p.heads, p.queries),
            take((parts, floats), FLOAT32),
        )  # fmt: skip
    return gq, gk, gv, None
