"""Small arrays for other kernels, and from them: numbers per channel as tables and padded rows, the
sums of threads, copies in another order.

Each is made in a launch: between the launches of a training step NumPy computes nothing, so that
who repeats the launches repeats the step.
"""

from __future__ import annotations

from functools import lru_cache
from operator import is_
from typing import TypeAlias

import numpy as np

from tinygrad_cnn.kernels.jit.compile.build import kernel
from tinygrad_cnn.kernels.jit.compile.entry import run
from tinygrad_cnn.kernels.lazy import Lazy
from tinygrad_cnn.kernels.memory import empty
from tinygrad_cnn.kernels.tape import fixed, taping
from tinygrad_cnn.kernels.threads import shares
from tinygrad_cnn.types import Array

Number: TypeAlias = Array | float

AXES = 4  # of what is collected


@lru_cache(maxsize=1024)
def constant(value: float, *shape: int) -> Array:
    """Return an array of one number, float32; nobody writes to it. 0 and -0 are one."""
    return fixed(np.full(shape, value, np.float32))


_ZERO = constant(0.0, 1)


@kernel()
def _put(row: Array, target: Array) -> None:
    """Write a row and zeros after it; of one number, this again and again."""
    if row.size == 1:
        for k in range(target.size):
            target[k] = row[0]
        return
    for k in range(row.size):
        target[k] = row[k]
    for k in range(row.size, target.size):
        target[k] = 0


def row_of(number: Number) -> Array:
    """Return numbers in a row as they are, and one number as a row of one."""
    return number if isinstance(number, np.ndarray) else constant(number, 1)


@kernel(entry=True)
def _table_share(
    part: int, parts: int, a: Array, b: Array, d: Array, e: Array, f: Array, table: Array
) -> None:
    _put(a, table[0])
    _put(b, table[1])
    _put(d, table[2])
    _put(e, table[3])
    _put(f, table[4])


def table_of(
    c: int, a: Number, b: Number, d: Number, e: Number = _ZERO, f: Number = _ZERO
) -> Array:  # fmt: skip
    """Return a table (5, c) of rows (c,), or of one number again and again.

    >>> table_of(2, np.float32([3, 4]), 5, 0)[:3].tolist()
    [[3.0, 4.0], [5.0, 5.0], [0.0, 0.0]]
    """
    table = np.empty((5, c), np.float32)
    run(_table_share, 1, row_of(a), row_of(b), row_of(d), row_of(e), row_of(f), table)
    return table


def kept_table(x: object, c: int, *numbers: Number) -> Array:
    """Return `table_of` numbers with which x is computed: if it is a `Lazy`, the one that the last
    reader made of them. Who records has each reader make its own.
    """
    if type(x) is not Lazy or taping:
        return table_of(c, *numbers)
    known = x.table
    if known is None or not all(map(is_, known[0], numbers)):
        known = x.table = numbers, table_of(c, *numbers)
    return known[1]


@kernel(entry=True)
def _padded_share(part: int, parts: int, row: Array, out: Array) -> None:
    groups = out.shape[0]
    each = row.size // groups
    for k in range(groups):
        for i in range(out.shape[1]):
            out[k, i] = row[k * each + i] if i < each else np.float32(0)


def padded_row(row: Array | None, groups: int, width: int) -> Array:
    """Return one number per filter, (groups*each,), as (groups, width), and zeros after each group;
    nothing but zeros for None. Nobody writes to it.

    >>> padded_row(np.float32([1, 2]), 2, 3).tolist()
    [[1.0, 0.0, 0.0], [2.0, 0.0, 0.0]]
    """
    if row is None:
        return constant(0, groups, width)
    out = np.empty((groups, width), np.float32)
    run(_padded_share, 1, row, out)
    return out


@kernel(entry=True)
def _collected_share(part: int, parts: int, x: Array, out: Array) -> None:
    """Write the sums of x (shares, a, b, c, d) over shares to out, in a row."""
    count, a, b, c, d = x.shape
    for line in range(a * b * part // parts, a * b * (part + 1) // parts):
        i, j = line // b, line % b
        for k in range(c):
            at = (line * c + k) * d
            for m in range(d):
                total = x[0, i, j, k, m]
                for share in range(1, count):
                    total += x[share, i, j, k, m]
                out[at + m] = total


def collected(x: Array) -> Array:
    """Return the sums of float32 x (shares, ...) over its first axis, one share after the other,
    in C order; at most `AXES` axes remain.

    >>> collected(np.float32([[1, 2], [3, 4]])).tolist()
    [4.0, 6.0]
    """
    shape = x.shape[1:]
    out = empty(shape, np.float32)
    wide = x[:, *(None,) * (AXES - len(shape))]
    run(_collected_share, shares(2 * out.nbytes), wide, out.reshape(-1))
    return out


def ordered(x: Array) -> Array:
    """Return x in C order: itself, or a copy.

    >>> ordered(np.float32([[1, 2], [3, 4]]).T).tolist()
    [[1.0, 3.0], [2.0, 4.0]]
    """
    flags = x.flags
    if flags.c_contiguous and flags.aligned:
        return x
    if x.dtype != np.float32 or x.ndim > AXES or x.size == 0 or not flags.aligned:
        return np.array(x, order="C")
    return collected(x[None])
