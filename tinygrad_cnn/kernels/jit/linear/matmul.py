"""Matrix products of linear layers on threads of our own.

Each thread takes results for itself, a panel of columns after the other: it packs that panel of
the right operand, then goes over all rows of the left one, which is read where it lies, by rows or
by columns (Goto and van de Geijn 2008, section 4, with the small operand packed). A product is
computed as ``(b.T @ a.T).T`` where less must be packed and put in order that way.

A vector times a matrix is one read of the matrix, by rows or by columns.

The products of `DEPTH` numbers are added to each other first, then what comes of them. Shares are
fixed by the number of threads, and none of them splits a sum, so that a product has one result.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from tinygrad_cnn.kernels import reference
from tinygrad_cnn.kernels.jit.compile.build import SUM, kernel
from tinygrad_cnn.kernels.jit.compile.entry import run
from tinygrad_cnn.kernels.jit.compile.vector import BYTES, TILE
from tinygrad_cnn.kernels.jit.linear.panels import copy_panel, tile_product, transpose_block
from tinygrad_cnn.kernels.jit.load.images import FLOAT32
from tinygrad_cnn.kernels.jit.pointwise import sums
from tinygrad_cnn.kernels.memory import empty, scratch
from tinygrad_cnn.kernels.reference.product import LONG, in_pieces
from tinygrad_cnn.kernels.threads import shares
from tinygrad_cnn.types import Array

LANES, ROWS, COLUMNS = TILE.lanes, TILE.rows, TILE.columns
DEPTH = 1024  # of a panel: 128 KB, a part of the second-level cache
MIN_JIT_SIZE = 1 << 21  # multiplications of `matmul`: below, BLAS is done before threads are awake
MOST = 1 << 27  # multiplications: from here on BLAS is woken with all its threads, and as fast
THIN = 128  # of a side: much memory is read for the arithmetic, and BLAS is slow
NARROWEST = 2  # rows or columns: below, it is a matrix times a vector
LEAST_ROWS = 1 << 19  # numbers of a matrix whose rows `matmul` multiplies by a vector
BLOCK = 256  # results whose sums stay in the nearest cache


class Plan(NamedTuple):
    """Sides of a product and distances, in bytes, between neighbours in its operands."""

    rows: int
    columns: int
    depth: int
    left_row: int
    left_step: int  # along the depth
    right_step: int
    right_column: int
    out_row: int
    flipped: int  # the result is wanted transposed
    by_rows: int  # how it is shared among threads
    bias: int  # whether there is one
    block: int  # depth of a panel


@kernel(inline=True)
def _pack(g: Plan, at: int, panel: int, count: int, width: int) -> None:
    """Write `count` rows of `width` columns of the right operand, which start at `at`."""
    size = COLUMNS if width > LANES else LANES
    if g.right_column == BYTES:
        copy_panel(at, g.right_step, panel, count, width)
        return
    for k in range(0, count, LANES):
        for column in range(0, size, LANES):
            # Columns that do not exist are copies of the last: no number of unknown origin.
            first = min(column, width - 1)
            transpose_block(
                at + first * g.right_column + k * BYTES, g.right_column,
                panel + (k * size + column) * BYTES, size * BYTES, width - first, count - k, LANES,
            )  # fmt: skip


@kernel(entry=True)
def _product(
    part: int, parts: int, g: Plan, left: Array, right: Array, bias: Array, out: Array, space: Array
) -> None:
    tiles, panels = (g.rows + ROWS - 1) // ROWS, (g.columns + COLUMNS - 1) // COLUMNS
    low, high, panel, end = 0, g.rows, 0, panels
    if g.by_rows:
        low, high = tiles * part // parts * ROWS, min(g.rows, tiles * (part + 1) // parts * ROWS)
    else:
        panel, end = panels * part // parts, panels * (part + 1) // parts
    own = space[part]
    own[:COLUMNS] = 0
    zeros = own.ctypes.data
    packed = zeros + COLUMNS * BYTES
    result = packed + g.block * COLUMNS * BYTES
    for first in range(panel * COLUMNS, min(g.columns, end * COLUMNS), COLUMNS):
        width = min(COLUMNS, g.columns - first)
        target, line, written = out.ctypes.data + first * BYTES, g.out_row, width
        if g.flipped:
            target, line, written = result, COLUMNS * BYTES, COLUMNS
        for k in range(0, g.depth, g.block):
            count = min(g.block, g.depth - k)
            at = right.ctypes.data + k * g.right_step + first * g.right_column
            _pack(g, at, packed, count, width)
            for row in range(low, high, ROWS):
                to = target + (row - (low if g.flipped else 0)) * line
                start, start_row = to, line
                if k == 0:
                    start, start_row = zeros, 0
                    if g.bias and not g.flipped:
                        start = bias.ctypes.data + first * BYTES
                source = left.ctypes.data + row * g.left_row + k * g.left_step
                tile_product(
                    source, g.left_row, g.left_step, packed, start, start_row, to, line,
                    count, high - row, written, width,
                )  # fmt: skip
        if g.flipped:
            for row in range(low, high, LANES):
                for column in range(0, width, LANES):
                    transpose_block(
                        result + (row - low) * line + column * BYTES, line,
                        out.ctypes.data + (first + column) * g.out_row + row * BYTES, g.out_row,
                        high - row, width - column, high - row,
                    )  # fmt: skip
            if g.bias:
                for column in range(first, first + width):
                    target_row = out[column]
                    for row in range(low, high):
                        target_row[row] += bias[row]


@kernel(entry=True, fastmath=SUM)
def _rows_times(
    part: int, parts: int, matrix: Array, vector: Array, shifted: int, bias: Array, out: Array
) -> None:
    """Write each row of matrix (m, k) times vector (k,), plus bias (m,), to out (m,).

    Four rows at a time, the last ones several times: so many streams are fetched from memory.
    """
    low, high = out.size * part // parts, out.size * (part + 1) // parts
    for i in range(low, high, 4):
        i1, i2, i3 = min(i + 1, high - 1), min(i + 2, high - 1), min(i + 3, high - 1)
        total = total1 = total2 = total3 = np.float64(0)
        for first in range(0, vector.size, DEPTH):
            last = first + DEPTH
            row, row1, row2, row3 = (
                matrix[i, first:last], matrix[i1, first:last],
                matrix[i2, first:last], matrix[i3, first:last],
            )  # fmt: skip
            other = vector[first:last]
            some = some1 = some2 = some3 = np.float32(0)
            for k in range(other.size):
                some += row[k] * other[k]
                some1 += row1[k] * other[k]
                some2 += row2[k] * other[k]
                some3 += row3[k] * other[k]
            total, total1 = total + some, total1 + some1
            total2, total3 = total2 + some2, total3 + some3
        out[i], out[i1], out[i2], out[i3] = total, total1, total2, total3
    if shifted:
        for i in range(low, high):
            out[i] += bias[i]


@kernel(entry=True)
def _times_rows(part: int, parts: int, vector: Array, matrix: Array, out: Array) -> None:
    """Write a vector (k,) times matrix (k, m) to out (m,)."""
    last = out.size * (part + 1) // parts
    for first in range(out.size * part // parts, last, BLOCK):
        stop = min(last, first + BLOCK)
        target = out[first:stop]
        target[:] = 0
        for i in range(vector.size):
            row, factor = matrix[i, first:stop], vector[i]
            for j in range(target.size):
                target[j] += factor * row[j]


@kernel(entry=True)
def _outer(part: int, parts: int, column: Array, row: Array, out: Array) -> None:
    """Write a column (n,) times a row (m,) to out (n, m), row by row. Costs one write."""
    for i in range(column.size * part // parts, column.size * (part + 1) // parts):
        target, factor = out[i], column[i]
        for j in range(row.size):
            target[j] = np.float32(0) + factor * row[j]  # -0 becomes 0, as in any sum


def _even(a: Array) -> tuple[Array, int, int] | None:
    """Return a's numbers in their order in memory, and the distances between its rows and columns;
    None if they have no such order.
    """
    flags = a.flags
    if a.dtype != FLOAT32 or not flags.aligned:
        return None
    rows, columns = a.shape
    if flags.c_contiguous:
        return a, columns * BYTES, BYTES
    return (a.T, BYTES, rows * BYTES) if flags.f_contiguous else None


def _waste(count: int, step: int, parts: int) -> float:
    """Return how much longer the longest share is than an even one."""
    tiles = -(-count // step)
    return -(-tiles // parts) * parts * step / count


def _one_row(a: Array, b: Array, bias: Array | None) -> Array | None:
    """Return what `_multiply` does for one row a (1, k), if b's rows or columns are dense."""
    matrix, flags = _even(b), a.flags
    if matrix is None or not (flags.c_contiguous and flags.aligned and a.dtype == FLOAT32):
        return None
    out = empty((1, b.shape[1]), FLOAT32)
    if b.flags.f_contiguous:
        shifted, shift = int(bias is not None), out[0] if bias is None else bias
        run(_rows_times, shares(b.nbytes), b.T, a[0], shifted, shift, out[0])
        return out
    if bias is not None or len(b) > DEPTH:  # whose sums would be long
        return None
    run(_times_rows, shares(b.nbytes), a[0], b, out[0])
    return out


def _pays(a: Array, b: Array) -> bool:
    """Return whether a product of any two matrices is faster than BLAS's."""
    (n, k), m = a.shape, b.shape[1]
    if n == 1:
        return bool(b.flags.f_contiguous and b.size >= LEAST_ROWS)
    return bool(n * k * m >= MIN_JIT_SIZE and min(n, m) >= NARROWEST)


def _multiply(a: Array, b: Array, bias: Array | None = None) -> Array | None:
    """Return a (n, k) times b (k, m), plus bias (m,), or None for what only BLAS does."""
    (n, k), m = a.shape, b.shape[1]
    if k > LONG and n > 1 and a.dtype == b.dtype == FLOAT32:
        total = in_pieces(product_of, a, b)
        return total if bias is None else np.add(total, bias, out=total)
    if n == 1:
        return _one_row(a, b, bias)
    if k == 1 and bias is None and a.dtype == b.dtype == FLOAT32:
        out = empty((n, m), FLOAT32)
        run(_outer, shares(out.nbytes), a[:, 0], b[0], out)
        return out
    work = n * k * m
    if work >= MOST and min(n, k, m) > THIN:
        return None
    left, right = _even(a), _even(b)
    if left is None or right is None:
        return None
    # Turned round, all that is packed is `a`, and the large operand is read along its rows.
    flipped = right[1] == BYTES and k * m > 2 * n * (k + m)
    rows, columns = (m, n) if flipped else (n, m)
    if flipped:  # b.T @ a.T
        left, right = (right[0], right[2], right[1]), (left[0], left[2], left[1])
    parts = shares(BYTES * (n * k + k * m + n * m), work)
    by_rows = parts > 1 and _waste(columns, COLUMNS, parts) > 1.2 * _waste(rows, ROWS, parts)
    out = empty((n, m), FLOAT32)
    block = min(k, DEPTH)
    plan = Plan(
        rows, columns, k, left[1], left[2], right[1], right[2], m * BYTES, int(flipped),
        int(by_rows), int(bias is not None), block,
    )  # fmt: skip
    floats = COLUMNS * (1 + block + LANES + (rows + ROWS + LANES) * flipped)
    with scratch() as take:
        space = take((parts, floats), FLOAT32)
        shift = space[0] if bias is None else bias
        run(_product, parts, plan, left[0], right[0], shift, out, space)
    return out


def matmul(a: Array, b: Array) -> Array | None:
    """As `reference.matmul`, for two matrices that lie together in memory, by rows or columns."""
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[0] or not _pays(a, b):
        return None
    return _multiply(a, b) if a.size and b.size else None


def linear(x: Array, w: Array, bias: Array | None = None) -> Array | None:
    """As `reference.linear`, for matrices as `matmul` takes them."""
    if x.ndim != 2 or w.ndim != 2 or x.shape[1] != w.shape[1] or not (x.size and w.size):
        return None
    if bias is not None:
        flags = bias.flags
        plain = flags.c_contiguous and flags.aligned and bias.dtype == FLOAT32
        if not plain or bias.shape != w.shape[:1]:
            return None
    return _multiply(x, w.T, bias)


def product_of(a: Array, b: Array) -> Array:
    out = _multiply(a, b)
    return reference.matmul(a, b) if out is None else out


def linear_backward(
    g: Array, x: Array | None, w: Array | None, needs: tuple[bool, bool, bool]
) -> tuple[Array | None, Array | None, Array | None] | None:
    """As `reference.linear_backward`; what BLAS is faster at it does."""
    if g.size == 0 or any(a is not None and a.size == 0 for a in (x, w)):
        return None
    gx = gw = gbias = None
    if needs[0] and w is not None:
        gx = product_of(g, w)
    if needs[1] and x is not None:
        gw = product_of(g.T, x)
    if needs[2]:
        gbias = sums.sum(g, (0,))
        if gbias is None:
            gbias = reference.sum(g, (0,))
    return gx, gw, gbias
