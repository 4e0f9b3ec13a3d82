"""Sums of rows of a table, a bag at a time, without a copy of the rows.

Threads share the bags or, of the table's gradient, its columns, so that all may add to one row: any
number of threads gives the same bits. `SHORT` numbers are added in float32, more in float64.
"""

from __future__ import annotations

import numpy as np

from tinygrad_cnn.kernels.jit.compile.build import kernel
from tinygrad_cnn.kernels.jit.compile.entry import run
from tinygrad_cnn.kernels.jit.load.images import FLOAT32
from tinygrad_cnn.kernels.memory import empty, scratch
from tinygrad_cnn.kernels.reference.sums import SHORT
from tinygrad_cnn.kernels.tape import looked
from tinygrad_cnn.kernels.threads import shares
from tinygrad_cnn.types import Array

COLUMNS = 16  # of the table that a thread has at least: a line of the cache


@kernel(entry=True)
def _bag_sum(
    part: int, parts: int, weight: Array, rows: Array, starts: Array, factors: Array, out: Array,
    space: Array,
) -> None:  # fmt: skip
    """Write out (bags, d); there are no factors (0,) or (k,); space is (parts, d) float64."""
    bags, d = out.shape
    total, scaled = space[part], factors.size > 0
    for b in range(bags * part // parts, bags * (part + 1) // parts):
        target, first, last = out[b], starts[b], starts[b + 1]
        target[:] = 0
        total[:] = 0
        for start in range(first, last, SHORT):
            end = min(last, start + SHORT)
            single = start
            if not scaled:  # four rows at a time: memory brings them at once
                single = end - (end - start) % 4
                for i in range(start, single, 4):
                    one, two = weight[rows[i]], weight[rows[i + 1]]
                    three, four = weight[rows[i + 2]], weight[rows[i + 3]]
                    for j in range(d):
                        target[j] = (((target[j] + one[j]) + two[j]) + three[j]) + four[j]
            for i in range(single, end):
                row = weight[rows[i]]
                factor = factors[i] if scaled else np.float32(1)
                for j in range(d):
                    target[j] += row[j] * factor
            if last - first > SHORT:
                for j in range(d):
                    total[j] += target[j]
                target[:] = 0
        if last - first > SHORT:
            for j in range(d):
                target[j] = total[j]


@kernel(entry=True)
def _add_rows(
    part: int, parts: int, g: Array, rows: Array, starts: Array, factors: Array, slots: Array,
    often: Array, wide: Array, out: Array,
) -> None:  # fmt: skip
    """Write out (n, d): for each entry, the row of g (bags, d) of its bag is added to the row that
    it names. Rows that are named `often` have a row of `wide`, float64, which `slots` (n,) tells.
    """
    d, scaled, any_often = out.shape[1], factors.size > 0, often.size > 0
    blocks = (d + COLUMNS - 1) // COLUMNS
    low, high = blocks * part // parts * COLUMNS, min(d, blocks * (part + 1) // parts * COLUMNS)
    for r in range(out.shape[0]):
        out[r, low:high] = 0
    for b in range(g.shape[0]):
        source = g[b, low:high]
        for i in range(starts[b], starts[b + 1]):
            factor = factors[i] if scaled else np.float32(1)
            if any_often and slots[rows[i]] >= 0:
                total = wide[slots[rows[i]], low:high]
                for j in range(source.size):
                    total[j] += source[j] * factor
            else:
                target = out[rows[i], low:high]
                for j in range(source.size):
                    target[j] += source[j] * factor
    for k in range(often.size):
        total, target = wide[k, low:high], out[often[k], low:high]
        for j in range(target.size):
            target[j] = total[j]


def _entries(
    rows: Array, starts: Array, factors: Array | None, count: int
) -> tuple[Array, Array, Array] | None:
    """Return what is named, from where on and times what, as kernels take it; None if a row is not
    in the table, or factors are of another dtype.
    """
    if rows.size == 0 or looked(rows).min() < 0 or rows.max() >= count or len(rows) != starts[-1]:
        return None
    if factors is None:
        factors = np.empty(0, FLOAT32)
    if factors.dtype != FLOAT32:
        return None
    numbers = (np.ascontiguousarray(a, np.int64) for a in (rows, starts))
    return (*numbers, np.ascontiguousarray(factors))  # type: ignore[return-value]


def bag_sum(weight: Array, rows: Array, starts: Array, factors: Array | None) -> Array | None:
    """As `reference.bag_sum`."""
    entries = _entries(rows, starts, factors, len(weight))
    if entries is None or weight.size == 0:
        return None
    weight = np.ascontiguousarray(weight)
    out = empty((len(starts) - 1, weight.shape[1]), FLOAT32)
    parts = min(len(out), shares(rows.size * weight.shape[1] * weight.itemsize))
    with scratch() as take:
        run(_bag_sum, parts, weight, *entries, out, take((parts, weight.shape[1]), np.float64))
    return out


def bag_sum_backward(
    g: Array, rows: Array, starts: Array, factors: Array | None, count: int
) -> Array | None:
    """As `reference.bag_sum_backward`."""
    entries = _entries(rows, starts, factors, count)
    if entries is None or g.size == 0:
        return None
    counts = np.bincount(entries[0], minlength=count)
    often = np.flatnonzero(counts > SHORT)
    slots = np.full(count if often.size else 0, -1, np.int64)
    if often.size:
        slots[often] = np.arange(often.size)
    out = empty((count, g.shape[1]), FLOAT32)
    parts = min(-(-g.shape[1] // COLUMNS), shares(out.nbytes + 2 * rows.size * g.shape[1] * 4))
    wide = np.zeros((often.size, g.shape[1]))
    run(_add_rows, parts, np.ascontiguousarray(g), *entries, slots, often, wide, out)
    return out
