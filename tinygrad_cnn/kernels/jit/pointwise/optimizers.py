"""Steps of optimisers: all parameters in one launch and one pass over their memory.

Parameters, gradients and states stay where they are; a table says where that is and how many
numbers each has. The numbers of all parameters together are shared among threads in consecutive
ranges. A step reads and writes each number once, where NumPy's formulas pass over it up to ten
times and are called for every parameter.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tinygrad_cnn.kernels.jit.compile.build import kernel
from tinygrad_cnn.kernels.jit.compile.entry import run
from tinygrad_cnn.kernels.jit.compile.vector import BYTES, Emit, Emitter, Value, instruction
from tinygrad_cnn.kernels.jit.load.launch import shares
from tinygrad_cnn.kernels.jit.threads.pool_words import HEAD
from tinygrad_cnn.kernels.reference.layout import Array

ALIGNED = 16  # numbers: ranges of threads start at multiples, which is no more than tidy


def _places(e: Emitter, row: Value, first: Value, count: int) -> list[Value]:
    """Return the addresses of number `first` of the `count` arrays of a row."""
    skip = e.builder.mul(first, e.whole(BYTES))
    return [
        e.add(e.table(e.add(e.table(row, k), HEAD), 0), skip)  # an array object's data pointer
        for k in range(count)
    ]


def _each(e: Emitter, values: list[Value], arrays: int, wanted: int, formula: Any) -> None:
    """Let `formula` make new vectors of those of a row's arrays, and write them.

    `values` are the row, the first number, their count, and the address of the formula's `wanted`
    numbers. It gets the arrays' vectors and these numbers, and returns new vectors by array.
    """
    row, first, count, numbers = values
    places = _places(e, row, first, arrays)
    constants = [e.spread(e.add(numbers, k * BYTES)) for k in range(wanted)]

    def write(distance: Value, mask: Value) -> None:
        at = [e.add(place, distance) for place in places]
        for k, value in formula([e.load(place, mask) for place in at], constants).items():
            e.store(value, at[k], mask)

    e.channel_blocks(count, write)


def _sgd_step(momentum: bool, nesterov: bool) -> Any:
    """Return the instruction that steps `count` numbers of the arrays w, g and, with momentum, b.

    ``d = sign*g + decay*w``; ``b = momentum*b + keep*d``; ``w -= lr*(b or d + momentum*b)``.
    """

    def step(_: Value, row: Value, first: Value, count: Value, numbers: Value) -> Emit:
        def emit(e: Emitter, values: list[Value]) -> None:
            def formula(arrays: list[Value], constants: list[Value]) -> dict[int, Value]:
                w, g = arrays[:2]
                sign, decay, keep, factor, down = constants
                d = e.fma(w, decay, e.builder.fmul(g, sign))
                if not momentum:
                    return {0: e.fma(d, down, w)}
                b = e.fma(arrays[2], factor, e.builder.fmul(d, keep))
                way = e.fma(b, factor, d) if nesterov else b
                return {0: e.fma(way, down, w), 2: b}

            _each(e, values, 3 if momentum else 2, 5, formula)

        return emit

    return instruction(step)


_plain_step, _momentum_step = _sgd_step(False, False), _sgd_step(True, False)
_nesterov_step = _sgd_step(True, True)


@instruction
def _adam_step(_: Value, row: Value, first: Value, count: Value, numbers: Value) -> Emit:
    """Step `count` numbers of the arrays w, g, m and v.

    ``d = sign*g + decay*w``; ``m += (1 - beta1)*(d - m)``; ``v = beta2*v + (1 - beta2)*d*d``;
    ``w = keep*w - size*m/(sqrt(v)/root + eps)``.
    """

    def emit(e: Emitter, values: list[Value]) -> None:
        builder = e.builder

        def formula(arrays: list[Value], constants: list[Value]) -> dict[int, Value]:
            w, g, m, v = arrays
            sign, decay, keep, new1, beta2, new2, root, eps, down = constants
            d = e.fma(w, decay, builder.fmul(g, sign))
            m = e.fma(builder.fsub(d, m), new1, m)
            v = e.fma(builder.fmul(d, d), new2, builder.fmul(v, beta2))
            under = builder.fadd(builder.fdiv(e.sqrt(v), root), eps)
            way = builder.fdiv(m, under)
            return {0: e.fma(way, down, builder.fmul(w, keep)), 2: m, 3: v}

        _each(e, values, 4, 9, formula)

    return emit


@kernel(entry=True)
def _sgd(
    part: int, parts: int, table: Array, numbers: Array, total: int, momentum: bool, nesterov: bool
) -> None:
    """Step a share of all numbers; `table` (arrays, 4) has addresses of array objects and sizes.

    Costs three reads and two writes of each number (two and one without momentum).
    """
    low = total * part // parts // ALIGNED * ALIGNED
    high = total * (part + 1) // parts // ALIGNED * ALIGNED if part + 1 < parts else total
    start = 0
    for r in range(table.shape[0]):
        size = table[r, 3]
        first, last = max(low - start, 0), min(high - start, size)
        if first < last:
            row = table.ctypes.data + r * table.shape[1] * 8
            if nesterov:
                _nesterov_step(row, first, last - first, numbers.ctypes.data)
            elif momentum:
                _momentum_step(row, first, last - first, numbers.ctypes.data)
            else:
                _plain_step(row, first, last - first, numbers.ctypes.data)
        start += size


@kernel(entry=True)
def _adam(part: int, parts: int, table: Array, numbers: Array, total: int) -> None:
    """Step a share of all numbers; `table` (arrays, 5) has addresses of array objects and sizes.

    Costs four reads and three writes of each number.
    """
    low = total * part // parts // ALIGNED * ALIGNED
    high = total * (part + 1) // parts // ALIGNED * ALIGNED if part + 1 < parts else total
    start = 0
    for r in range(table.shape[0]):
        size = table[r, 4]
        first, last = max(low - start, 0), min(high - start, size)
        if first < last:
            row = table.ctypes.data + r * table.shape[1] * 8
            _adam_step(row, first, last - first, numbers.ctypes.data)
        start += size


def _table(rows: Sequence[tuple[Array, ...]], width: int) -> tuple[Array, int]:
    """Return the table of the arrays, with room for `width` in a row, and their whole size."""
    words: list[int] = []
    total = 0
    for row in rows:
        words.extend(map(id, row))
        words.extend([0] * (width - len(row)))
        words.append(row[0].size)
        total += row[0].size
    return np.array(words, np.int64).reshape(-1, width + 1), total


def sgd(
    rows: Sequence[tuple[Array, ...]],
    *,
    lr: float,
    momentum: float,
    keep: float,
    decay: float,
    nesterov: bool,
    maximize: bool,
) -> None:
    """Step every row (w, g), or (w, g, b) with momentum, in place (`optim.SGD` has the formula).

    The arrays of a row have one size, float32, C-contiguous.
    """
    table, total = _table(rows, 3)
    numbers = np.array([-1.0 if maximize else 1.0, decay, keep, momentum, -lr], np.float32)
    with_buffer = len(rows[0]) == 3
    run(_sgd, shares(12 * total), table, numbers, total, with_buffer, with_buffer and nesterov)


def adam(
    rows: Sequence[tuple[Array, ...]],
    *,
    size: float,
    beta1: float,
    beta2: float,
    root: float,
    eps: float,
    decay: float,
    shrink: float,
    maximize: bool,
) -> None:
    """Step every row (w, g, m, v) in place (`optim.Adam` has the formula); arrays as for `sgd`."""
    table, total = _table(rows, 4)
    sign = -1.0 if maximize else 1.0
    numbers = np.array(
        [sign, decay, shrink, 1.0 - beta1, beta2, 1.0 - beta2, root, eps, -size], np.float32
    )
    run(_adam, shares(16 * total), table, numbers, total)
