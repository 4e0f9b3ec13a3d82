"""Micro-kernels: blocks of a matrix product in registers, for operands wherever they lie.

The scheme is Goto and van de Geijn's (2008, "Anatomy of high-performance matrix multiplication"):
`TILE.rows` x `TILE.columns` results stay in registers while their inner products run; one operand
is read vector by vector, of the other single numbers are spread over a vector. Here the second
operand's rows are windows of an image, found through tables of distances, so that a convolution
needs no matrix of windows in memory ("implicit GEMM", Chetlur et al. 2014, "cuDNN").

All arguments are addresses, distances in bytes, or counts. Where no more than `TILE.lanes` columns
exist, they are computed in tiles of one vector.
"""

from __future__ import annotations

from tinygrad_cnn.kernels.jit.compile.vector import BYTES, TILE, Emitter, Value, instruction

# Windows of a product with `TILE.lanes` filters. Eight sums in two units of 4 cycles leave no
# time to lose; the addresses of more than ten windows do not fit into the general registers.
NARROW_ROWS = 10 if TILE.lanes == 16 else TILE.rows
LINE = 64  # bytes of a cache line
AHEAD = 4096  # bytes of the filters that are fetched ahead


def row_step(e: Emitter, rows: list[Value], columns: list[Value], sums: list[Value]) -> list[Value]:
    """Return the sums after one more step of the inner products."""
    found = []
    for r, address in enumerate(rows):
        spread = e.spread(address)
        for v, vector in enumerate(columns):
            found.append(e.fma(spread, vector, sums[r * len(columns) + v]))
    return found


def side_by_side(e: Emitter, address: Value, vectors: int) -> list[Value]:
    """Return the addresses of so many vectors."""
    return [e.add(address, v * e.width) for v in range(vectors)]


def windows_at(e: Emitter, x: Value, sources: Value, valid: Value, rows: int) -> list[Value]:
    """Return where the windows start; those after the last valid one are that one again."""
    return [e.builder.add(x, e.table(sources, index)) for index in e.up_to(valid, rows)]


@instruction
def window_product(
    e: Emitter, x: Value, sources: Value, taps: Value, count: Value, depth: Value, w: Value,
    bias: Value, y: Value, targets: Value, valid: Value, columns: Value,
) -> None:  # fmt: skip
    """Write ``y[targets[r], :] = bias + sum over t, k of x[sources[r] + taps[t] + k] w[t, k, :]``.

    For `TILE.rows` windows r and `TILE.columns` filters, or `NARROW_ROWS` windows and `TILE.lanes`
    filters, of which the first `valid` and `columns` are written; w (count, depth, filters) and
    bias are packed densely.
    """
    b = e.builder

    def product(vectors: int) -> None:
        rows = TILE.rows if vectors > 1 else NARROW_ROWS
        start = windows_at(e, x, sources, valid, rows)
        first = [e.load(at) for at in side_by_side(e, bias, vectors)] * rows
        with e.loop(count, [w, *first]) as tap:
            offset = e.table(taps, tap.index)
            windows = [b.add(address, offset) for address in start]
            with e.loop(depth, tap.values) as step:
                w_now, *sums = step.values
                along = b.mul(step.index, e.whole(BYTES))
                loaded = [e.load(at) for at in side_by_side(e, w_now, vectors)]
                for line in range(0, vectors * e.width, LINE):
                    e.prefetch(e.add(w_now, AHEAD + line))
                places = [b.add(address, along) for address in windows]
                after = e.add(w_now, vectors * e.width)
                step.next = [after, *row_step(e, places, loaded, sums)]
            tap.next = step.results
        e.store_block(
            tap.results[1:], lambda r: e.add(y, e.table(targets, r)), rows, valid, columns
        )

    e.by_width(columns, product)


@instruction
def weight_sum(
    e: Emitter, x: Value, sources: Value, g: Value, g_step: Value, count: Value, gw: Value,
    gw_step: Value, valid: Value, columns: Value,
) -> None:  # fmt: skip
    """Add to ``gw[r, :]`` the sum over p < count of ``x[sources[p] + r] g[p, :]``.

    For `TILE.rows` depths r, of which the first `valid` are written, and `TILE.columns` filters;
    of these, g has `columns`, and gw whole vectors.
    """
    b, rows = e.builder, TILE.rows

    def add(g: Value, gw: Value, vectors: int, mask: Value = None) -> None:
        places = e.steps(gw, gw_step, rows)
        with e.loop(count, [g, *[e.zero] * (rows * vectors)]) as pixel:
            g_now, *sums = pixel.values
            loaded = [e.load(at, mask) for at in side_by_side(e, g_now, vectors)]
            window = e.add(x, e.table(sources, pixel.index))
            depths = [e.add(window, r * BYTES) for r in range(rows)]
            pixel.next = [e.add(g_now, g_step), *row_step(e, depths, loaded, sums)]
        sums = pixel.results[1:]
        for r in range(rows):
            with b.if_then(e.more(valid, r)):
                for v, at in enumerate(side_by_side(e, places[r], vectors)):
                    e.store(b.fadd(e.load(at), sums[r * vectors + v]), at)

    def whole_or_parts(whole: bool) -> None:
        if whole:
            add(g, gw, TILE.vectors)
            return
        for v in range(TILE.vectors):  # vector by vector
            left = e.add(columns, -v * e.lanes)
            here = (e.add(g, v * e.width), e.add(gw, v * e.width))
            with b.if_then(e.more(left, e.lanes - 1)):
                add(*here, 1)
            with b.if_then(b.and_(e.more(left, 0), e.less(left, e.lanes))):
                add(*here, 1, e.first_lanes(left))

    e.either(e.more(columns, TILE.columns - 1), whole_or_parts)


def _plane_product(
    e: Emitter, a: Value, a_row: Value, a_step: Value, b: Value, b_step: Value, out: Value,
    out_row: Value, depth: Value, *, vectors: int, add: bool, ahead: Value = None,
) -> None:  # fmt: skip
    places = [
        at for row in e.steps(out, out_row, TILE.rows) for at in side_by_side(e, row, vectors)
    ]
    distances = e.steps(e.whole(0), a_row, TILE.rows)
    with e.loop(depth, [a, b, *[e.zero] * len(places)]) as step:
        a_now, b_now, *sums = step.values
        loaded = [e.load(at) for at in side_by_side(e, b_now, vectors)]
        for line in range(0, vectors * e.width, LINE) if ahead is not None else ():
            e.prefetch(e.add(e.builder.add(b_now, ahead), line))
        spread = [e.add(a_now, distance) for distance in distances]
        after = [e.add(a_now, a_step), e.add(b_now, b_step)]
        step.next = [*after, *row_step(e, spread, loaded, sums)]
    for at, value in zip(places, step.results[2:], strict=True):
        e.store(e.builder.fadd(e.load(at), value) if add else value, at)


@instruction
def plane_product(
    e: Emitter, a: Value, a_row: Value, a_step: Value, b: Value, b_step: Value, out: Value,
    out_row: Value, depth: Value, columns: Value, ahead: Value,
) -> None:  # fmt: skip
    """Write the product of a (TILE.rows, depth) and b (depth, columns), each evenly spaced.

    Of whole vectors: of `columns` as many as a tile has, or one. What lies so many bytes `ahead` of
    b is fetched meanwhile.
    """
    operands = (a, a_row, a_step, b, b_step, out, out_row, depth)
    e.by_width(
        columns,
        lambda vectors: _plane_product(e, *operands, vectors=vectors, add=False, ahead=ahead),
    )


@instruction
def plane_sum(
    e: Emitter, a: Value, a_row: Value, a_step: Value, b: Value, b_step: Value, out: Value,
    out_row: Value, depth: Value, columns: Value,
) -> None:  # fmt: skip
    """Add the product of `plane_product` to what is there."""
    operands = (a, a_row, a_step, b, b_step, out, out_row, depth)
    e.by_width(columns, lambda vectors: _plane_product(e, *operands, vectors=vectors, add=True))


@instruction
def copy_bytes(e: Emitter, target: Value, source: Value, count: Value) -> None:
    """Copy `count` bytes."""
    e.copy(target, source, count)


@instruction
def clear_bytes(e: Emitter, target: Value, count: Value) -> None:
    """Write `count` zeros."""
    e.clear(target, count)
