"""NumPy's own loops, started from machine code, for programs.

A ufunc has a loop in C for each combination of dtypes (NumPy's "UFunc API", `PyUFuncObject`): it
gets addresses, a count and steps, and needs nothing of Python. The threads run it on their parts of
the operands, and the numbers are NumPy's, bit by bit.
"""

from __future__ import annotations

import numpy as np

from tinygrad_cnn.kernels.jit.compile.build import kernel
from tinygrad_cnn.kernels.jit.compile.entry import run
from tinygrad_cnn.kernels.jit.compile.vector import Emitter, Value, instruction
from tinygrad_cnn.kernels.memory import scratch
from tinygrad_cnn.kernels.tape import fixed
from tinygrad_cnn.kernels.threads import shares
from tinygrad_cnn.types import Array

# Words of a plan: loop and its data, operands, axes; then the shape, and for each operand the
# number of its memory, its distance from there, and its strides.
LOOP, DATA, OPERANDS, AXES, SHAPE = 0, 1, 2, 3, 4
# Words of a share: addresses, steps, where operands begin, a count.
VECTOR = 64  # numbers: shares begin at a multiple, so that all but the last are whole vectors
STEPS, BEGIN, COUNT, WORDS = 4, 8, 12, 16
NONE = fixed(np.empty(0, np.int64))


@instruction
def call_loop(
    e: Emitter, loop: Value, args: Value, count: Value, steps: Value, data: Value
) -> None:
    """Call ``loop(args, count, steps, data)``, all of them addresses."""
    e.call_function(loop, [args, count, steps, data])


@kernel()
def _follow(
    part: int, parts: int, plan: Array, a: Array, b: Array, c: Array, out: Array, own: Array
) -> None:
    operands, axes = plan[OPERANDS], plan[AXES]
    rows, length = 1, plan[SHAPE + axes - 1]
    for axis in range(axes - 1):
        rows *= plan[SHAPE + axis]
    low, high, first, last = rows * part // parts, rows * (part + 1) // parts, 0, length
    if rows == 1:
        low, high, first, last = 0, 1, length * part // parts, length * (part + 1) // parts
        first -= first % VECTOR
        last -= last % VECTOR if part + 1 < parts else 0
    own[BEGIN], own[BEGIN + 1], own[BEGIN + 2] = a.ctypes.data, b.ctypes.data, c.ctypes.data
    own[BEGIN + 3] = out.ctypes.data
    own[COUNT] = last - first
    at = own.ctypes.data
    for row in range(low, high):
        for k in range(operands):
            place = SHAPE + axes + k * (axes + 2)
            steps = place + 2
            own[STEPS + k] = plan[steps + axes - 1]
            address = own[BEGIN + plan[place]] + plan[place + 1] + first * own[STEPS + k]
            rest = row
            for axis in range(axes - 2, -1, -1):
                address += rest % plan[SHAPE + axis] * plan[steps + axis]
                rest //= plan[SHAPE + axis]
            own[k] = address
        call_loop(plan[LOOP], at, at + 8 * COUNT, at + 8 * STEPS, plan[DATA])


@kernel(entry=True)
def _loop(
    part: int, parts: int, start: Array, plan: Array, a: Array, b: Array, c: Array, out: Array,
    space: Array,
) -> None:  # fmt: skip
    if start.size:
        _follow(part, parts, start, a, b, c, out, space[part])
    _follow(part, parts, plan, a, b, c, out, space[part])


def loop(plan: Array, memory: list[Array], nbytes: int, start: Array = NONE) -> None:
    """Run a loop by a plan (int64) on memory (uint8): four arrays, of which it writes the last; the
    operands have so many bytes together. By `start` it gets numbers to start with.
    """
    parts = shares(nbytes)
    with scratch() as take:
        run(_loop, parts, start, plan, *memory, take((parts, WORDS), np.int64))


@kernel(entry=True)
def _cast(part: int, parts: int, a: Array, out: Array) -> None:
    for i in range(out.size * part // parts, out.size * (part + 1) // parts):
        out[i] = a[i]


@kernel(entry=True)
def _select(
    part: int, parts: int, which: Array, a: Array, a_step: int, b: Array, b_step: int, out: Array
) -> None:
    for i in range(out.size * part // parts, out.size * (part + 1) // parts):
        out[i] = a[i * a_step] if which[i] else b[i * b_step]


def cast(a: Array, out: Array) -> None:
    """Write the numbers of a to out, both (count,)."""
    run(_cast, shares(a.nbytes + out.nbytes), a, out)


def select(which: Array, a: Array, b: Array, out: Array) -> None:
    """Write a where `which` (bool) holds, else b; all (count,), or a, b (1,)."""
    steps = (int(a.size == out.size), int(b.size == out.size))
    run(_select, shares(3 * out.nbytes), which, a, steps[0], b, steps[1], out)


@kernel(entry=True)
def _place(part: int, parts: int, x: Array, sign: float, out: Array) -> None:
    count, inner = x.shape[1], x.shape[2]
    for k in range(out.size * part // parts, out.size * (part + 1) // parts):
        row, column = k // inner, k % inner
        best, found = x[row, 0, column] * sign, 0
        for i in range(1, count):
            value = x[row, i, column] * sign
            if value > best or (value != value and best == best):  # the first NaN
                best, found = value, i
        out[k] = found


def place(x: Array, out: Array, *, largest: bool) -> None:
    """Write where along the middle axis of x (rows, count, columns), floating, the largest number
    is, or the smallest: the first one, or the first NaN; out (rows * columns,), int64.
    """
    run(_place, shares(x.nbytes), x, 1.0 if largest else -1.0, out)
