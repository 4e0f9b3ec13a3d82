"""Micro-kernels of a plain matrix product: panels packed densely, and blocks of results.

The scheme is that of `products` (Goto and van de Geijn 2008, "Anatomy of high-performance matrix
multiplication"), for operands whose rows and columns are evenly spaced.

All arguments are addresses, distances in bytes, or counts.
"""

from __future__ import annotations

from tinygrad_cnn.kernels.jit.compile.vector import TILE, Emitter, Value, instruction
from tinygrad_cnn.kernels.jit.linear.products import row_step, side_by_side


def up_to(e: Emitter, valid: Value, step: Value, count: int) -> list[Value]:
    """Return 0, step, 2*step, ...; those after the last valid one are that one again."""
    return [e.builder.mul(row, step) for row in e.up_to(valid, count)]


@instruction
def tile_product(
    e: Emitter, left: Value, left_row: Value, left_step: Value, panel: Value, start: Value,
    start_row: Value, out: Value, out_row: Value, depth: Value, valid: Value, columns: Value,
    width: Value,
) -> None:  # fmt: skip
    """Write ``out[r, :] = start[r, :] + sum over k of left[r, k] panel[k, :]``.

    For `TILE.rows` rows and as many columns as the dense panel (depth, columns) of `width` true
    ones has, of which the first `valid` and `columns` are read and written.
    """
    b, rows = e.builder, TILE.rows

    def product(vectors: int) -> None:
        masks = e.masks(columns, vectors)
        distances = up_to(e, valid, left_row, rows)
        before = [b.add(start, distance) for distance in up_to(e, valid, start_row, rows)]
        with e.loop(depth, [left, panel, *[e.zero] * (rows * vectors)]) as step:
            left_now, panel_now, *sums = step.values
            loaded = [e.load(at) for at in side_by_side(e, panel_now, vectors)]
            spread = [b.add(left_now, distance) for distance in distances]
            after = [e.add(left_now, left_step), e.add(panel_now, vectors * e.width)]
            step.next = [*after, *row_step(e, spread, loaded, sums)]
        sums = []
        for i, value in enumerate(step.results[2:]):
            r, v = divmod(i, vectors)
            sums.append(b.fadd(e.load(e.add(before[r], v * e.width), masks[v]), value))
        places = e.steps(out, out_row, rows)
        e.store_block(sums, lambda r: places[r], rows, valid, columns)

    e.by_width(width, product)


@instruction
def copy_panel(
    e: Emitter, source: Value, step: Value, panel: Value, count: Value, columns: Value
) -> None:
    """Write `count` rows, `step` apart, as a dense panel of `TILE.columns` columns, or `TILE.lanes`
    if that suffices: `columns` numbers of each, then zeros.
    """

    def copy(vectors: int) -> None:
        masks = e.masks(columns, vectors)
        with e.loop(count, [source, panel]) as row:
            at, to = row.values
            for v in range(vectors):
                e.store(e.load(e.add(at, v * e.width), masks[v]), e.add(to, v * e.width))
            row.next = [e.add(at, step), e.add(to, vectors * e.width)]

    e.by_width(columns, copy)


def transposed(e: Emitter, rows: list[Value]) -> list[Value]:
    """Return the columns of a square of vectors: halves change places, then quarters, ..."""
    lanes, s = len(rows), len(rows) // 2
    rows = list(rows)
    while s:
        upper = [lane if not lane & s else lanes + lane - s for lane in range(lanes)]
        lower = [lane + s if not lane & s else lanes + lane for lane in range(lanes)]
        for i in range(lanes):
            if not i & s:
                a, b = rows[i], rows[i + s]
                rows[i], rows[i + s] = e.shuffle(a, b, upper), e.shuffle(a, b, lower)
        s //= 2
    return rows


@instruction
def transpose_block(
    e: Emitter, source: Value, source_step: Value, target: Value, target_step: Value, rows: Value,
    columns: Value, stored: Value,
) -> None:  # fmt: skip
    """Write ``target[c, r] = source[r, c]`` for a square of `TILE.lanes` rows and columns.

    Only the first `rows` rows and `columns` columns are read; of each of these columns the first
    `stored` numbers are written, the last row again and again beyond `rows`.
    """
    b, lanes = e.builder, e.lanes
    full = b.and_(e.more(rows, lanes - 1), e.more(columns, lanes - 1))
    places = e.steps(target, target_step, lanes)
    with b.if_else(full) as (whole, part):
        with whole:
            loaded = [e.load(at) for at in e.steps(source, source_step, lanes)]
            for at, value in zip(places, transposed(e, loaded), strict=True):
                e.store(value, at)
        with part:
            present, mask = e.first_lanes(columns), e.first_lanes(stored)
            distances = up_to(e, rows, source_step, lanes)
            loaded = [e.load(b.add(source, distance), present) for distance in distances]
            for r, value in enumerate(transposed(e, loaded)):
                with b.if_then(e.more(columns, r)):
                    e.store(value, places[r], mask)
