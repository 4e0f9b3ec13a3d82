"""Sums of float32 numbers, and of their squares, over any axes of any array: all in float64.

So a sum of n numbers is off by n*2**-53 of the sum of their magnitudes, at most, and by one
rounding to float32 at the end; memory is read at its full speed all the same.

An array is seen as (m, r, k, l, j) in the order of its memory (`reference.sums.memory_of`), summed
over r and l. Neighbouring results, some k and j, are a unit, whose sums stay in the nearest cache.
Threads share the units, or if these are too few or too narrow, r or l.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from tinygrad_cnn.kernels.jit.compile.build import SUM, kernel
from tinygrad_cnn.kernels.jit.compile.entry import run
from tinygrad_cnn.kernels.jit.compile.vector import BYTES
from tinygrad_cnn.kernels.jit.load.images import FLOAT32
from tinygrad_cnn.kernels.memory import empty, scratch
from tinygrad_cnn.kernels.reference.sums import Memory, finished, memory_of
from tinygrad_cnn.kernels.tape import fixed
from tinygrad_cnn.kernels.threads import shares
from tinygrad_cnn.types import Array, DType

FLOAT64 = np.dtype(np.float64)
ROW = 256  # numbers of a row, at least, where short rows that lie together are read as one
UNIT = 1024  # results of a unit
NEAR = 1 << 10  # bytes that a thread reads in one go, at least
UNITS, OUTER, INNER = 0, 1, 2  # what threads share


class Plan(NamedTuple):
    """Lengths and strides, in numbers, of an array (m, r, k, l, j), and how threads share it.

    The numbers of j lie together, or where j is 1, those of l.
    """

    m: int
    m_step: int
    r: int
    r_step: int
    k: int
    k_step: int
    l: int  # noqa: E741
    l_step: int
    j: int
    row: int  # numbers that are added as one row, several of j; 0: one j after the other
    some_k: int  # of a unit
    some_j: int
    shared: int


@kernel(fastmath=SUM)
def line_sum(x: Array) -> float:
    """Return the sum of x (count,) in float64."""
    total = np.float64(0)
    for i in range(x.size):
        total += np.float64(x[i])
    return total


@kernel(fastmath=SUM)
def line_squares(x: Array, centre: float) -> float:
    """Return the sum of (x - centre)**2 in float64."""
    total = np.float64(0)
    for i in range(x.size):
        away = np.float64(x[i]) - centre
        total += away * away
    return total


@kernel()
def _rows(x: Array, at: int, count: int, step: int, target: Array) -> None:
    """Add `count` rows of x to target (width,) float64; the first begins at `at`."""
    width, r = target.size, 0
    while r + 4 <= count:
        one, two = x[at : at + width], x[at + step : at + step + width]
        at += 2 * step
        three, four = x[at : at + width], x[at + step : at + step + width]
        at += 2 * step
        for j in range(width):
            low = np.float64(one[j]) + np.float64(two[j])
            target[j] += low + (np.float64(three[j]) + np.float64(four[j]))
        r += 4
    while r < count:
        one = x[at : at + width]
        for j in range(width):
            target[j] += np.float64(one[j])
        at += step
        r += 1


@kernel()
def _rows_squares(
    x: Array, at: int, count: int, step: int, centre: Array, target: Array
) -> None:  # fmt: skip
    """Add the squares of `count` rows of x, less centre (width,), to target (width,) float64."""
    width, r = target.size, 0
    while r + 2 <= count:
        one, two = x[at : at + width], x[at + step : at + step + width]
        for j in range(width):
            away, other = np.float64(one[j]) - centre[j], np.float64(two[j]) - centre[j]
            target[j] += away * away + other * other
        at += 2 * step
        r += 2
    if r < count:
        one = x[at : at + width]
        for j in range(width):
            away = np.float64(one[j]) - centre[j]
            target[j] += away * away


@kernel()
def _columns(
    x: Array, at: int, count: int, step: int, squared: int, centre: Array, target: Array
) -> None:
    """Add `count` rows of x, or their squares about centre, to target (width,)."""
    if squared:
        _rows_squares(x, at, count, step, centre, target)
    else:
        _rows(x, at, count, step, target)


@kernel()
def _joined_unit(
    x: Array, g: Plan, at: int, first_r: int, last_r: int, count: int, squared: int,
    centre: Array, target: Array, wide: Array,
) -> None:  # fmt: skip
    """Do as `_unit` for one k, adding several rows along l at once; wide is (2, row) float64."""
    middle, sums = wide[0], wide[1]
    sums[:] = 0
    if squared:
        for i in range(g.row):
            middle[i] = centre[i % g.j]
    whole = count * g.j // g.row
    rest = count * g.j - whole * g.row
    for r in range(first_r, last_r):
        place = at + r * g.r_step
        _columns(x, place, whole, g.row, squared, middle, sums)
        _columns(x, place + whole * g.row, 1, 0, squared, middle, sums[:rest])
    for i in range(g.row):
        target[i % g.j] += sums[i]


@kernel()
def _unit(
    x: Array, g: Plan, at: int, first_r: int, last_r: int, count: int, squared: int,
    centre: Array, target: Array,
) -> None:  # fmt: skip
    """Add to target the sums of a unit, whose numbers begin at `at`, over some r and `count` l."""
    each = min(g.some_j, target.size)
    for r in range(first_r, last_r):
        for i in range(target.size // each):
            place = at + r * g.r_step + i * g.k_step
            if g.j > 1:
                middle = centre[i * each : (i + 1) * each] if squared else centre
                _columns(
                    x, place, count, g.l_step, squared, middle, target[i * each : (i + 1) * each]
                )
            elif squared:
                target[i] += line_squares(x[place : place + count], centre[i])
            else:
                target[i] += line_sum(x[place : place + count])


@kernel(entry=True)
def _share(
    part: int, parts: int, x: Array, g: Plan, first: int, squared: int, centre: Array,
    exact: Array, wide: Array,
) -> None:  # fmt: skip
    """Write a share's sums to exact (parts or 1, m*k*j) float64; x[first] is the first number.

    centre (m*k*j,) is taken off before numbers are squared; wide is (parts, 2, row) float64. Costs
    one read.
    """
    across, along = (g.k + g.some_k - 1) // g.some_k, (g.j + g.some_j - 1) // g.some_j
    low, high, first_r, last_r, first_l, last_l = 0, g.m * across * along, 0, g.r, 0, g.l
    sums = exact[0]
    if g.shared == UNITS:
        low, high = high * part // parts, high * (part + 1) // parts
    else:
        sums = exact[part]
    if g.shared == OUTER:
        first_r, last_r = g.r * part // parts, g.r * (part + 1) // parts
    if g.shared == INNER:
        first_l, last_l = g.l * part // parts, g.l * (part + 1) // parts
    for unit in range(low, high):
        outer, inner = divmod(unit, across * along)
        k, j = inner // along * g.some_k, inner % along * g.some_j
        start = (outer * g.k + k) * g.j + j
        stop = start + min(g.some_k, g.k - k) * min(g.some_j, g.j - j)
        at = first + outer * g.m_step + k * g.k_step + j + first_l * g.l_step
        middle, target = centre[start:stop] if squared else centre, sums[start:stop]
        target[:] = 0
        if g.row:
            _joined_unit(
                x, g, at, first_r, last_r, last_l - first_l, squared, middle, target, wide[part]
            )
        else:
            _unit(x, g, at, first_r, last_r, last_l - first_l, squared, middle, target)


@lru_cache(maxsize=1024)
def _plan_of(
    shape: tuple[int, ...], strides: tuple[int, ...], reduced: tuple[bool, ...], parts: int
) -> Plan | None:
    """Return the plan for an array in the order of its memory, or None if it has too many axes or
    its numbers lie apart, where NumPy is as fast.
    """
    if not strides or strides[-1] != BYTES or any(s % BYTES for s in strides):
        return None
    axes = [(n, s // BYTES, r) for n, s, r in zip(shape, strides, reduced, strict=True)]
    found = []
    for wanted in (False, True, False, True, False):  # j, l, k, r, m
        fits = axes and axes[-1][2] == wanted
        found.append(axes.pop()[:2] if fits else (1, 0))
    if axes:
        return None
    (j, _), (l, l_step), (k, k_step), (r, r_step), (m, m_step) = found  # noqa: E741
    row = j * -(-ROW // j) if 1 < j < ROW and l_step == j and l * j > ROW else 0
    # Units, if threads can share them and each reads enough in one go.
    some_j = min(UNIT, -(-j // parts) if j * BYTES >= parts * NEAR else j)
    some_k = 1
    if some_j == j and not row:
        some_k = min(max(1, UNIT // j), k)
        if m < parts and k // parts * l * j * BYTES >= NEAR:
            some_k = min(some_k, -(-k // parts))
    units = m * -(-k // some_k) * -(-j // some_j)
    shared = UNITS
    if units < 4 * parts and units % parts:
        shared = OUTER if r >= l and r >= parts else INNER if l >= parts else UNITS
    return Plan(m, m_step, r, r_step, k, k_step, l, l_step, j, row, some_k, some_j, shared)


def _numbers(x: Array, memory: Memory) -> tuple[Array, int]:
    """Return x's memory as a row of numbers, and the place of the first one in it."""
    if x.flags.c_contiguous:
        return x.reshape(-1), 0
    view = x[memory.part].transpose(memory.order)
    if view.flags.c_contiguous:
        return view.reshape(-1), 0
    extent, first = 1, 0
    for n, stride in zip(memory.shape, memory.strides, strict=True):
        extent += abs(stride) // BYTES * (n - 1)
        first -= min(stride, 0) // BYTES * (n - 1)
    corner = view[tuple(slice(-1, None) if s < 0 else slice(1) for s in view.strides)]
    return np.lib.stride_tricks.as_strided(corner, (extent,), (BYTES,)), first


@lru_cache(maxsize=64)
def _zeros(count: int) -> Array:
    return fixed(np.zeros(count))


def _seen(x: Array, axes: tuple[int, ...]) -> tuple[Memory, Plan, int] | None:
    """Return how x lies in memory, a plan for it and the number of shares, or None."""
    if x.size == 0 or not x.flags.aligned:
        return None
    memory, parts = memory_of(x.shape, x.strides, axes), shares(x.nbytes)
    plan = _plan_of(memory.shape, memory.strides, memory.reduced, parts)
    return None if plan is None else (memory, plan, parts)


@kernel(entry=True)
def _finish_share(part: int, parts: int, exact: Array, divisor: float, out: Array) -> None:
    """Add up the shares' sums, exact (shares, count), in their order, and divide."""
    for i in range(out.size * part // parts, out.size * (part + 1) // parts):
        total = exact[0, i]
        for share in range(1, exact.shape[0]):
            total += exact[share, i]
        out[i] = total / divisor


def _sums(
    numbers: Array, first: int, plan: Plan, parts: int, centre: Array | None,
    divisor: float = 1.0, dtype: DType = FLOAT64,
) -> Array:  # fmt: skip
    """Return the sums (m*k*j,) of numbers, or of their squares about `centre`, over a divisor."""
    count = plan.m * plan.k * plan.j
    exact = np.empty((1 if plan.shared == UNITS else parts, count))
    middle, wide = (exact[0] if centre is None else centre), np.empty((parts, 2, plan.row))
    run(_share, parts, numbers, plan, first, int(centre is not None), middle, exact, wide)
    out = np.empty(count, dtype)
    run(_finish_share, shares(exact.nbytes), exact, float(divisor), out)
    return out


def sum(
    x: Array, axes: tuple[int, ...], keepdims: bool = False, divisor: float | None = None
) -> Array | None:
    """As `reference.sum`, where at most five axes remain in the order of memory."""
    found = _seen(x, axes)
    if found is None:
        return None
    memory, plan, parts = found
    over = 1.0 if divisor is None else divisor
    total = _sums(*_numbers(x, memory), plan, parts, None, over, FLOAT32)
    return finished(total, memory, keepdims=keepdims)


def sum_squares(
    x: Array, axes: tuple[int, ...], keepdims: bool = False, centred: bool = False
) -> Array | None:
    """As `reference.sum_squares`; costs one read of x, two if `centred`."""
    found = _seen(x, axes)
    if found is None:
        return None
    memory, plan, parts = found
    numbers = _numbers(x, memory)
    if centred:
        centre = _sums(*numbers, plan, parts, None, plan.r * plan.l)
    else:
        centre = _zeros(plan.m * plan.k * plan.j)
    return finished(_sums(*numbers, plan, parts, centre), memory, keepdims=keepdims)


CHAIN = 64  # numbers of a running sum, of which four go side by side: each add waits for the last


@kernel()
def _running(x: Array, out: Array, space: Array) -> None:
    """Write the running sum of x (count,) to out; space is (4*CHAIN,) float64."""
    before, step = np.float64(0), 4 * CHAIN
    whole = x.size // step * step
    for start in range(0, whole, step):
        piece, target = x[start : start + step], out[start : start + step]
        one, two, three, four = np.float64(0), np.float64(0), np.float64(0), np.float64(0)
        for i in range(CHAIN):
            one += piece[i]
            two += piece[CHAIN + i]
            three += piece[2 * CHAIN + i]
            four += piece[3 * CHAIN + i]
            space[i], space[CHAIN + i] = one, two
            space[2 * CHAIN + i], space[3 * CHAIN + i] = three, four
        second = before + one
        third = second + two
        last = third + three
        for i in range(CHAIN):
            target[i] = before + space[i]
            target[CHAIN + i] = second + space[CHAIN + i]
            target[2 * CHAIN + i] = third + space[2 * CHAIN + i]
            target[3 * CHAIN + i] = last + space[3 * CHAIN + i]
        before = last + four
    for i in range(whole, x.size):
        before += x[i]
        out[i] = before


@kernel(entry=True)
def _cumsum_share(
    part: int, parts: int, x: Array, n: int, j: int, some: int, out: Array, space: Array
) -> None:
    """Write running sums of x, (count, n, j) in a row, along n to out: float64, then float32.

    A unit is `some` j; space is (parts, UNIT) float64. Costs one read and one write.
    """
    along = (j + some - 1) // some
    units = x.size // (n * j) * along
    for unit in range(units * part // parts, units * (part + 1) // parts):
        at = unit // along * n * j + unit % along * some
        if j == 1:
            _running(x[at : at + n], out[at : at + n], space[part])
            continue
        width = min(some, j - unit % along * some)
        before = space[part, :width]
        before[:] = 0
        for _ in range(n):
            row, target = x[at : at + width], out[at : at + width]
            for k in range(width):
                before[k] += row[k]
                target[k] = before[k]
            at += j


def cumsum(x: Array, axis: int) -> Array | None:
    """As `reference.cumsum`, for C-contiguous x."""
    if x.size == 0 or not (x.flags.c_contiguous and x.flags.aligned):
        return None
    n, j = x.shape[axis], math.prod(x.shape[axis + 1 :])
    out = empty(x.shape, FLOAT32)
    parts = shares(2 * x.nbytes)
    some = min(UNIT, -(-j // parts) if x.size // (n * j) < parts else j)
    with scratch() as take:
        run(
            _cumsum_share, parts, x.reshape(-1), n, j, some, out.reshape(-1),
            take((parts, UNIT), FLOAT64),
        )  # fmt: skip
    return out
