"""Micro-kernels: blocks of a matrix product in registers, for operands wherever they lie.

The scheme is Goto and van de Geijn's (2008, "Anatomy of high-performance matrix multiplication"):
`TILE.rows` x `TILE.columns` results stay in registers while their inner products run; one operand
is read vector by vector, of the other single numbers are spread over a vector. Here the second
operand's rows are windows of an image, found through tables of distances, so that a convolution
needs no matrix of windows in memory ("implicit GEMM", Chetlur et al. 2014, "cuDNN").

All arguments are addresses, distances in bytes, or counts.
"""

from __future__ import annotations

from tinygrad_cnn.kernels.jit.compile.vector import BYTES, TILE, Emit, Emitter, Value, instruction

# Windows of a product with `TILE.lanes` filters. Eight sums in two units of 4 cycles leave no
# time to lose; the addresses of more than ten windows do not fit into the general registers.
NARROW_ROWS = 10 if TILE.lanes == 16 else TILE.rows


def row_step(e: Emitter, rows: list[Value], columns: list[Value], sums: list[Value]) -> list[Value]:
    """Return the sums after one more step of the inner products."""
    found = []
    for r, address in enumerate(rows):
        spread = e.spread(address)
        for v, vector in enumerate(columns):
            found.append(e.fma(spread, vector, sums[r * len(columns) + v]))
    return found


def windows_at(e: Emitter, x: Value, sources: Value, valid: Value, rows: int) -> list[Value]:
    """Return where the windows start; those after the last valid one are that one again."""
    b = e.builder
    last = e.add(valid, -1)
    found = []
    for r in range(rows):
        index = b.select(b.icmp_signed("<", e.whole(r), last), e.whole(r), last)
        found.append(b.add(x, e.table(sources, index)))
    return found


def _window_product(vectors: int, rows: int) -> Emit:
    def emit(e: Emitter, values: list[Value]) -> None:
        x, sources, taps, count, depth, w, bias, y, targets, valid, columns = values
        builder = e.builder
        start = windows_at(e, x, sources, valid, rows)
        first = [e.load(e.add(bias, v * e.width)) for v in range(vectors)] * rows
        with e.loop(count, [w, *first]) as tap:
            offset = e.table(taps, tap.index)
            windows = [builder.add(address, offset) for address in start]
            with e.loop(depth, tap.values) as step:
                w_now, *sums = step.values
                along = builder.mul(step.index, e.whole(BYTES))
                loaded = [e.load(e.add(w_now, v * e.width)) for v in range(vectors)]
                places = [builder.add(address, along) for address in windows]
                step.next = [
                    e.add(w_now, vectors * e.width), *row_step(e, places, loaded, sums)
                ]  # fmt: skip
            tap.next = step.results
        sums = tap.results[1:]
        full = builder.and_(
            builder.icmp_signed(">=", valid, e.whole(rows)),
            builder.icmp_signed(">=", columns, e.whole(vectors * e.lanes)),
        )
        with builder.if_else(full) as (whole, part):
            with whole:
                for r in range(rows):
                    at = e.add(y, e.table(targets, r))
                    for v in range(vectors):
                        e.store(sums[r * vectors + v], e.add(at, v * e.width))
            with part:
                masks = [
                    e.first_lanes(builder.sub(columns, e.whole(v * e.lanes)))
                    for v in range(vectors)
                ]
                for r in range(rows):
                    with builder.if_then(builder.icmp_signed(">", valid, e.whole(r))):
                        at = e.add(y, e.table(targets, r))
                        for v in range(vectors):
                            e.store(sums[r * vectors + v], e.add(at, v * e.width), masks[v])

    return emit


_wide_windows = _window_product(TILE.vectors, TILE.rows)
_narrow_windows = _window_product(1, NARROW_ROWS)


@instruction
def window_product(
    _: Value,
    x: Value,
    sources: Value,
    taps: Value,
    count: Value,
    depth: Value,
    w: Value,
    bias: Value,
    y: Value,
    targets: Value,
    valid: Value,
    columns: Value,
) -> Emit:
    """Write ``y[targets[r], :] = bias + sum over t, k of x[sources[r] + taps[t] + k] w[t, k, :]``.

    For `TILE.rows` windows r and `TILE.columns` filters, of which the first `valid` and `columns`
    are written; w (count, depth, TILE.columns) and bias (TILE.columns,) are packed densely.
    """
    return _wide_windows


@instruction
def window_product_narrow(
    _: Value,
    x: Value,
    sources: Value,
    taps: Value,
    count: Value,
    depth: Value,
    w: Value,
    bias: Value,
    y: Value,
    targets: Value,
    valid: Value,
    columns: Value,
) -> Emit:
    """Do as `window_product` for `NARROW_ROWS` windows and `TILE.lanes` filters."""
    return _narrow_windows


def _weight_sum(vectors: int, masked: bool) -> Emit:
    rows = TILE.rows

    def emit(e: Emitter, values: list[Value]) -> None:
        x, sources, g, g_step, count, gw, gw_step, valid, columns = values
        builder = e.builder
        mask = e.first_lanes(columns) if masked else None
        places = e.steps(gw, gw_step, rows)
        with e.loop(count, [g, *[e.zero] * (rows * vectors)]) as pixel:
            g_now, *sums = pixel.values
            loaded = [e.load(e.add(g_now, v * e.width), mask) for v in range(vectors)]
            window = e.add(x, e.table(sources, pixel.index))
            depths = [e.add(window, r * BYTES) for r in range(rows)]
            pixel.next = [e.add(g_now, g_step), *row_step(e, depths, loaded, sums)]
        sums = pixel.results[1:]
        for r in range(rows):
            with builder.if_then(builder.icmp_signed(">", valid, e.whole(r))):
                for v in range(vectors):
                    at = e.add(places[r], v * e.width)
                    e.store(builder.fadd(e.load(at), sums[r * vectors + v]), at)

    return emit


_wide_weights = _weight_sum(TILE.vectors, False)
_narrow_weights, _masked_weights = _weight_sum(1, False), _weight_sum(1, True)


@instruction
def weight_sum(
    _: Value,
    x: Value,
    sources: Value,
    g: Value,
    g_step: Value,
    count: Value,
    gw: Value,
    gw_step: Value,
    valid: Value,
    columns: Value,
) -> Emit:
    """Add to ``gw[r, :]`` the sum over p < count of ``x[sources[p] + r] g[p, :]``.

    For `TILE.rows` depths r, of which the first `valid` are written, and `TILE.columns` filters.
    """
    return _wide_weights


@instruction
def weight_sum_narrow(
    _: Value,
    x: Value,
    sources: Value,
    g: Value,
    g_step: Value,
    count: Value,
    gw: Value,
    gw_step: Value,
    valid: Value,
    columns: Value,
) -> Emit:
    """Do as `weight_sum` for `TILE.lanes` filters."""
    return _narrow_weights


@instruction
def weight_sum_masked(
    _: Value,
    x: Value,
    sources: Value,
    g: Value,
    g_step: Value,
    count: Value,
    gw: Value,
    gw_step: Value,
    valid: Value,
    columns: Value,
) -> Emit:
    """Do as `weight_sum_narrow`, reading `columns` filters of g only."""
    return _masked_weights


def _plane_product(vectors: int, add: bool) -> Emit:
    rows = TILE.rows

    def emit(e: Emitter, values: list[Value]) -> None:
        a, a_row, a_step, b, b_step, out, out_row, depth = values
        places = e.steps(out, out_row, rows)
        distances = e.steps(e.whole(0), a_row, rows)
        with e.loop(depth, [a, b, *[e.zero] * (rows * vectors)]) as step:
            a_now, b_now, *sums = step.values
            loaded = [e.load(e.add(b_now, v * e.width)) for v in range(vectors)]
            spread = [e.add(a_now, distance) for distance in distances]
            step.next = [
                e.add(a_now, a_step), e.add(b_now, b_step), *row_step(e, spread, loaded, sums)
            ]  # fmt: skip
        for i, value in enumerate(step.results[2:]):
            at = e.add(places[i // vectors], i % vectors * e.width)
            e.store(e.builder.fadd(e.load(at), value) if add else value, at)

    return emit


_wide_product, _narrow_product = _plane_product(TILE.vectors, False), _plane_product(1, False)
_wide_sum, _narrow_sum = _plane_product(TILE.vectors, True), _plane_product(1, True)


@instruction
def plane_product(
    _: Value,
    a: Value,
    a_row: Value,
    a_step: Value,
    b: Value,
    b_step: Value,
    out: Value,
    out_row: Value,
    depth: Value,
) -> Emit:
    """Write the product of a (TILE.rows, depth) and b (depth, TILE.columns), each evenly spaced."""
    return _wide_product


@instruction
def plane_product_narrow(
    _: Value,
    a: Value,
    a_row: Value,
    a_step: Value,
    b: Value,
    b_step: Value,
    out: Value,
    out_row: Value,
    depth: Value,
) -> Emit:
    """Do as `plane_product` for `TILE.lanes` columns."""
    return _narrow_product


@instruction
def plane_sum(
    _: Value,
    a: Value,
    a_row: Value,
    a_step: Value,
    b: Value,
    b_step: Value,
    out: Value,
    out_row: Value,
    depth: Value,
) -> Emit:
    """Add the product of `plane_product` to what is there."""
    return _wide_sum


@instruction
def plane_sum_narrow(
    _: Value,
    a: Value,
    a_row: Value,
    a_step: Value,
    b: Value,
    b_step: Value,
    out: Value,
    out_row: Value,
    depth: Value,
) -> Emit:
    """Do as `plane_sum` for `TILE.lanes` columns."""
    return _narrow_sum


@instruction
def copy_bytes(
    _: Value,
    target: Value,
    source: Value,
    count: Value,
) -> Emit:
    """Copy `count` bytes."""
    return lambda e, values: e.copy(*values)


@instruction
def clear_bytes(
    _: Value,
    target: Value,
    count: Value,
) -> Emit:
    """Write `count` zeros."""
    return lambda e, values: e.clear(*values)
