"""Micro-kernels of a plain matrix product: panels packed densely, and blocks of results.

The scheme is that of `products` (Goto and van de Geijn 2008, "Anatomy of high-performance matrix
multiplication"), for operands whose rows and columns are evenly spaced.

All arguments are addresses, distances in bytes, or counts.
"""

from __future__ import annotations

from tinygrad_cnn.kernels.jit.compile.vector import TILE, Emit, Emitter, Value, instruction
from tinygrad_cnn.kernels.jit.linear.products import row_step


def up_to(e: Emitter, valid: Value, step: Value, count: int) -> list[Value]:
    """Return 0, step, 2*step, ...; those after the last valid one are that one again."""
    b = e.builder
    last = e.add(valid, -1)
    inside = [
        b.select(b.icmp_signed("<", e.whole(r), last), e.whole(r), last) for r in range(count)
    ]
    return [b.mul(row, step) for row in inside]


def _masks(e: Emitter, columns: Value, vectors: int) -> list[Value]:
    return [
        e.first_lanes(e.builder.sub(columns, e.whole(v * e.lanes))) for v in range(vectors)
    ]  # fmt: skip


def _tile_product(vectors: int) -> Emit:
    rows = TILE.rows

    def emit(e: Emitter, values: list[Value]) -> None:
        left, left_row, left_step, panel, start, start_row, out, out_row, depth, valid, columns = (
            values
        )
        b = e.builder
        masks = _masks(e, columns, vectors)
        distances = up_to(e, valid, left_row, rows)
        before = [b.add(start, distance) for distance in up_to(e, valid, start_row, rows)]
        with e.loop(depth, [left, panel, *[e.zero] * (rows * vectors)]) as step:
            left_now, panel_now, *sums = step.values
            loaded = [e.load(e.add(panel_now, v * e.width)) for v in range(vectors)]
            spread = [b.add(left_now, distance) for distance in distances]
            step.next = [
                e.add(left_now, left_step), e.add(panel_now, vectors * e.width),
                *row_step(e, spread, loaded, sums),
            ]  # fmt: skip
        sums = []
        for i, value in enumerate(step.results[2:]):
            r, v = divmod(i, vectors)
            first = e.load(e.add(before[r], v * e.width), masks[v])
            sums.append(b.fadd(first, value))
        places = e.steps(out, out_row, rows)
        full = b.and_(
            b.icmp_signed(">=", valid, e.whole(rows)),
            b.icmp_signed(">=", columns, e.whole(vectors * e.lanes)),
        )
        with b.if_else(full) as (whole, part):
            with whole:
                for i, value in enumerate(sums):
                    e.store(value, e.add(places[i // vectors], i % vectors * e.width))
            with part:
                for r in range(rows):
                    with b.if_then(b.icmp_signed(">", valid, e.whole(r))):
                        for v in range(vectors):
                            at = e.add(places[r], v * e.width)
                            e.store(sums[r * vectors + v], at, masks[v])

    return emit


_wide_tile, _narrow_tile = _tile_product(TILE.vectors), _tile_product(1)


@instruction
def tile_product(
    _: Value,
    left: Value,
    left_row: Value,
    left_step: Value,
    panel: Value,
    start: Value,
    start_row: Value,
    out: Value,
    out_row: Value,
    depth: Value,
    valid: Value,
    columns: Value,
) -> Emit:
    """Write ``out[r, :] = start[r, :] + sum over k of left[r, k] panel[k, :]``.

    For `TILE.rows` rows and `TILE.columns` columns, of which the first `valid` and `columns` are
    read and written; the panel (depth, TILE.columns) is dense.
    """
    return _wide_tile


@instruction
def tile_product_narrow(
    _: Value,
    left: Value,
    left_row: Value,
    left_step: Value,
    panel: Value,
    start: Value,
    start_row: Value,
    out: Value,
    out_row: Value,
    depth: Value,
    valid: Value,
    columns: Value,
) -> Emit:
    """Do as `tile_product` for `TILE.lanes` columns."""
    return _narrow_tile


def _copy_panel(vectors: int) -> Emit:
    def emit(e: Emitter, values: list[Value]) -> None:
        source, step, panel, count, columns = values
        masks = _masks(e, columns, vectors)
        with e.loop(count, [source, panel]) as row:
            at, to = row.values
            for v in range(vectors):
                e.store(e.load(e.add(at, v * e.width), masks[v]), e.add(to, v * e.width))
            row.next = [e.add(at, step), e.add(to, vectors * e.width)]

    return emit


_wide_copy, _narrow_copy = _copy_panel(TILE.vectors), _copy_panel(1)


@instruction
def copy_panel(
    _: Value, source: Value, step: Value, panel: Value, count: Value, columns: Value
) -> Emit:
    """Write `count` rows, `step` apart, as a dense panel: `columns` numbers of each, then zeros."""
    return _wide_copy


@instruction
def copy_panel_narrow(
    _: Value, source: Value, step: Value, panel: Value, count: Value, columns: Value
) -> Emit:
    """Do as `copy_panel` for a panel of `TILE.lanes` columns."""
    return _narrow_copy


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


def _transpose(e: Emitter, values: list[Value]) -> None:
    source, source_step, target, target_step, rows, columns, stored = values
    b, lanes = e.builder, e.lanes
    full = b.and_(
        b.icmp_signed(">=", rows, e.whole(lanes)), b.icmp_signed(">=", columns, e.whole(lanes))
    )
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
                with b.if_then(b.icmp_signed(">", columns, e.whole(r))):
                    e.store(value, places[r], mask)


@instruction
def transpose_block(
    _: Value,
    source: Value,
    source_step: Value,
    target: Value,
    target_step: Value,
    rows: Value,
    columns: Value,
    stored: Value,
) -> Emit:
    """Write ``target[c, r] = source[r, c]`` for a square of `TILE.lanes` rows and columns.

    Only the first `rows` rows and `columns` columns are read; of each of these columns the first
    `stored` numbers are written, the last row again and again beyond `rows`.
    """
    return _transpose
