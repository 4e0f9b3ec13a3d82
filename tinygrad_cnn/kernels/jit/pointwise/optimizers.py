"""Steps of optimisers: all parameters in one launch and one pass over their memory.

Parameters, gradients and states stay where they are; a table says where that is and how many
numbers each has. The numbers of all parameters together are shared among threads in consecutive
ranges. A step reads and writes each number once, where NumPy's formulas pass over it up to ten
times and are called for every parameter.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeAlias

import numpy as np

from tinygrad_cnn.kernels.jit.compile.build import kernel
from tinygrad_cnn.kernels.jit.compile.entry import run
from tinygrad_cnn.kernels.jit.compile.vector import BYTES, Emitter, Value, instruction
from tinygrad_cnn.kernels.jit.pointwise.sums import line_squares
from tinygrad_cnn.kernels.jit.threads.pool_words import HEAD
from tinygrad_cnn.kernels.memory import table_of
from tinygrad_cnn.kernels.tape import placed
from tinygrad_cnn.kernels.threads import shares
from tinygrad_cnn.types import Array

Formula: TypeAlias = Callable[[Emitter, list[Value], list[Value]], dict[int, Value]]

ALIGNED = 16  # numbers: ranges of threads start at multiples, which is no more than tidy


# The formulas; those from ADAM on count steps.
PLAIN, MOMENTUM, NESTEROV, AVERAGE, SCALE, ADAM, AMSGRAD = range(7)
HALF = 2.0**64  # by which a factor that is no normal number is larger, and then smaller again
TINY = float(np.finfo(np.float32).tiny)


def _sgd(
    e: Emitter, arrays: list[Value], numbers: list[Value], *, momentum: bool, nesterov: bool
) -> dict[int, Value]:
    """``d = sign*g + decay*w``; ``b = momentum*b + keep*d``; ``w -= lr*(b or d + momentum*b)``."""
    w, g = arrays[:2]
    sign, decay, keep, factor, down = numbers
    d = e.fma(w, decay, e.builder.fmul(g, sign))
    if not momentum:
        return {0: e.fma(d, down, w)}
    b = e.fma(arrays[2], factor, e.builder.fmul(d, keep))
    way = e.fma(b, factor, d) if nesterov else b
    return {0: e.fma(way, down, w), 2: b}


def _adam(e: Emitter, arrays: list[Value], numbers: list[Value]) -> dict[int, Value]:
    """``d = sign*g + decay*w``; ``m += (1 - beta1)*(d - m)``; ``v = beta2*v + (1 - beta2)*d*d``;
    ``w = keep*w - size*m/(sqrt(v)/root + eps)``, with the largest v so far if there is one.
    """
    b = e.builder
    w, g, m, v, *largest = arrays
    sign, decay, keep, new1, beta2, new2, root, eps, down = numbers
    d = e.fma(w, decay, b.fmul(g, sign))
    m = e.fma(b.fsub(d, m), new1, m)
    v = e.fma(b.fmul(d, new2), d, b.fmul(v, beta2))  # d*d alone overflows earlier
    made = {2: m, 3: v}
    for old in largest:  # NaN stays, as in `numpy.maximum`
        v = b.select(b.fcmp_unordered(">", v, old), v, old)
        v = made[4] = b.select(b.fcmp_unordered("uno", old, old), old, v)
    way = b.fdiv(m, b.fadd(b.fdiv(e.sqrt(v), root), eps))
    return {0: e.fma(way, down, b.fmul(w, keep)), **made}


def _count(e: Emitter, arrays: list[Value], numbers: list[Value]) -> dict[int, Value]:
    """``count += 1``."""
    return {0: e.builder.fadd(arrays[0], numbers[0])}


def _average(e: Emitter, arrays: list[Value], numbers: list[Value]) -> dict[int, Value]:
    """``mean += share*(w - mean)``."""
    mean, w = arrays
    return {0: e.fma(e.builder.fsub(w, mean), numbers[0], mean)}


def _scale(e: Emitter, arrays: list[Value], numbers: list[Value]) -> dict[int, Value]:
    """``g = g*first*second``."""
    return {0: e.builder.fmul(e.builder.fmul(arrays[0], numbers[0]), numbers[1])}


def _step(arrays: int, wanted: int, formula: Formula) -> Any:
    """Return the instruction that steps `count` numbers, from `first` on, of a row's arrays.

    The formula gets an emitter, vectors of the arrays and the `wanted` numbers, and returns the new
    vectors by array.
    """

    def step(e: Emitter, row: Value, first: Value, count: Value, numbers: Value) -> None:
        skip = e.builder.mul(first, e.whole(BYTES))
        places = [  # an array object has its data pointer at HEAD
            e.add(e.table(e.add(e.table(row, k), HEAD), 0), skip) for k in range(arrays)
        ]
        constants = [e.spread(e.add(numbers, k * BYTES)) for k in range(wanted)]

        def write(distance: Value, mask: Value) -> None:
            at = [e.add(place, distance) for place in places]
            for k, value in formula(e, [e.load(place, mask) for place in at], constants).items():
                e.store(value, at[k], mask)

        e.channel_blocks(count, write)

    return instruction(step)


_plain_step = _step(2, 5, partial(_sgd, momentum=False, nesterov=False))
_momentum_step = _step(3, 5, partial(_sgd, momentum=True, nesterov=False))
_nesterov_step = _step(3, 5, partial(_sgd, momentum=True, nesterov=True))
_adam_step = _step(4, 9, _adam)
_amsgrad_step = _step(5, 9, _adam)
_count_step = _step(1, 1, _count)
_average_step = _step(2, 1, _average)
_scale_step = _step(1, 2, _scale)


@kernel(entry=True)
def _share(part: int, parts: int, table: Array, numbers: Array, total: int, which: int) -> None:
    """Step a share of all numbers; `table` is one of `memory.table_of`.

    Costs three reads and two writes of each number (two and one without momentum; Adam four and
    three).
    """
    columns = table.shape[1]
    if which >= ADAM and part == 0:
        for r in range(table.shape[0]):
            place = table.ctypes.data + (r * columns + columns - 2) * 8
            _count_step(place, 0, 1, numbers.ctypes.data + 9 * 4)
    low = total * part // parts // ALIGNED * ALIGNED
    high = total * (part + 1) // parts // ALIGNED * ALIGNED if part + 1 < parts else total
    start = 0
    for r in range(table.shape[0]):
        size = table[r, columns - 1]
        first, last = max(low - start, 0), min(high - start, size)
        if first < last:
            row, at = table.ctypes.data + r * columns * 8, numbers.ctypes.data
            if which == AMSGRAD:
                _amsgrad_step(row, first, last - first, at)
            elif which == ADAM:
                _adam_step(row, first, last - first, at)
            elif which == NESTEROV:
                _nesterov_step(row, first, last - first, at)
            elif which == MOMENTUM:
                _momentum_step(row, first, last - first, at)
            elif which == AVERAGE:
                _average_step(row, first, last - first, at)
            elif which == SCALE:
                _scale_step(row, first, last - first, at)
            else:
                _plain_step(row, first, last - first, at)
        start += size


def _launch(which: int, passes: int, rows: Sequence[tuple[Array, ...]], numbers: Array) -> None:
    """Change all rows in place; a number costs so many `passes` over it, of 4 bytes each."""
    table = table_of(rows)
    placed(table, rows)
    total = int(table[:, -1].sum())
    run(_share, shares(4 * passes * total), table, numbers, total, which)


# Each takes rows, whose arrays are of one size, float32 and C-contiguous, and the float32 numbers
# of its formula; a step's count is a 0-d array at the end of a row. `optim` has the formulas.

sgd = partial(_launch, PLAIN, 3)
"""Rows (w, g) and numbers (sign, decay, 1, 0, -lr)."""

momentum = partial(_launch, MOMENTUM, 3)
"""Rows (w, g, buffer) and numbers (sign, decay, 1 - dampening, momentum, -lr)."""

nesterov = partial(_launch, NESTEROV, 3)
"""As `momentum`."""

average = partial(_launch, AVERAGE, 3)
"""Rows (mean, w) and the share of w, a number."""

adam = partial(_launch, ADAM, 4)
"""Rows (w, g, m, v, count) and numbers (sign, decay, keep, 1 - beta1, beta2, 1 - beta2, root, eps,
-size, 1).
"""

amsgrad = partial(_launch, AMSGRAD, 5)
"""Rows (w, g, m, v, largest v, count), else as `adam`."""


@kernel(entry=True)
def _squares_share(part: int, parts: int, x: Array, exact: Array) -> None:
    exact[part] = line_squares(x[x.size * part // parts : x.size * (part + 1) // parts], 0.0)


@kernel(entry=True)
def _factor_share(
    part: int, parts: int, exact: Array, most: float, norm: Array, numbers: Array
) -> None:
    """Write the root of the sum of exact (count,), and the factors that make it `most` at most."""
    total = 0.0
    for k in range(exact.size):
        total += exact[k]
    length = np.sqrt(total)
    factor = most / (length + 1e-6)
    if factor >= 1:  # NaN is not
        factor = 1.0
    norm[0] = length
    small = 0 < factor < TINY
    numbers[0] = factor * HALF if small else factor
    numbers[1] = 1 / HALF if small else 1.0


def clip(rows: Sequence[tuple[Array, ...]], most: float, norm: Array) -> None:
    """Scale all rows (g,) in place so that their joint norm is `most` at most, and write what it
    was to norm ().
    """
    parts = [shares(g.nbytes) for (g,) in rows]
    exact, numbers = np.empty(sum(parts)), np.empty(2, np.float32)
    start = 0
    for (g,), count in zip(rows, parts, strict=True):
        run(_squares_share, count, g.reshape(-1), exact[start : start + count])
        start += count
    run(_factor_share, 1, exact, float(most), norm.reshape(1), numbers)
    _launch(SCALE, 2, rows, numbers)
