"""Products of a few rows and a packed panel of columns, inside kernels that do more than a product.

The scheme is that of `panels`. All arguments are addresses, distances in bytes, or counts.
"""

from __future__ import annotations

from tinygrad_cnn.kernels.jit.compile.build import kernel
from tinygrad_cnn.kernels.jit.compile.vector import BYTES, TILE
from tinygrad_cnn.kernels.jit.linear.matmul import DEPTH
from tinygrad_cnn.kernels.jit.linear.panels import copy_panel, tile_product, transpose_block

LANES, ROWS, COLUMNS = TILE.lanes, TILE.rows, TILE.columns


@kernel()
def pack_transposed(at: int, row: int, panel: int, depth: int, width: int) -> None:
    """Write `width` rows of `depth` numbers as the columns of a panel."""
    size = COLUMNS if width > LANES else LANES
    for k in range(0, depth, LANES):
        for column in range(0, size, LANES):
            # Columns that do not exist are copies of the last: no number of unknown origin.
            first = min(column, width - 1)
            transpose_block(
                at + first * row + k * BYTES, row, panel + (k * size + column) * BYTES,
                size * BYTES, width - first, depth - k, LANES,
            )  # fmt: skip


@kernel()
def pack_columns(at: int, row: int, panels: int, depth: int, width: int) -> None:
    """Write a matrix (depth, width) as panels of `COLUMNS` columns, one after the other."""
    for first in range(0, width, COLUMNS):
        panel = panels + first * depth * BYTES
        copy_panel(at + first * BYTES, row, panel, depth, min(COLUMNS, width - first))


@kernel()
def times_panel(
    left: int, left_row: int, left_step: int, panel: int, depth: int, start: int, start_row: int,
    out: int, out_row: int, rows: int, width: int,
) -> None:  # fmt: skip
    """Write ``start + left @ panel`` (rows, width) to `out`."""
    size = COLUMNS if width > LANES else LANES
    for k in range(0, depth, DEPTH):
        count = min(DEPTH, depth - k)
        for row in range(0, rows, ROWS):
            to = out + row * out_row
            begin, begin_row = to, out_row
            if k == 0:
                begin, begin_row = start + row * start_row, start_row
            tile_product(
                left + row * left_row + k * left_step, left_row, left_step,
                panel + k * size * BYTES, begin, begin_row, to, out_row, count, rows - row, width,
                width,
            )  # fmt: skip


@kernel()
def times_panels(
    left: int, left_row: int, left_step: int, panels: int, depth: int, start: int, start_row: int,
    out: int, out_row: int, rows: int, width: int, length: int,
) -> None:  # fmt: skip
    """Write ``start + left @ right`` (rows, width) for panels that are `length` deep, of which the
    first `depth` rows count.
    """
    for first in range(0, width, COLUMNS):
        begin = start + first * BYTES if start_row else start
        times_panel(
            left, left_row, left_step, panels + first * length * BYTES, depth, begin, start_row,
            out + first * BYTES, out_row, rows, min(COLUMNS, width - first),
        )  # fmt: skip
