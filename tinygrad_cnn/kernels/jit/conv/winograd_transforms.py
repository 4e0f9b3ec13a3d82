"""The transforms of Winograd's F(4x4, 3x3) and F(2x2, 3x3), a vector of channels at a time.

``y = A' [(G w G') * (B' x B)] A`` after Lavin and Gray 2016, "Fast algorithms for convolutional
neural networks", sections 4.1 and 4.2, with the matrices of interpolation at 0, 1, -1, 2, -2 and
infinity, or at 0, 1, -1 and infinity. Each is applied to columns, then rows, by the fewest
additions known (common terms are shared), and stays in registers from the load of the pixels to the
store of the result.

All arguments are addresses, distances in bytes, or counts.
"""

from __future__ import annotations

from collections.abc import Callable

from tinygrad_cnn.kernels.jit.compile.vector import Emitter, Value, instruction

Transform = Callable[[Emitter, list[Value]], list[Value]]


def _patch(e: Emitter, d: list[Value]) -> list[Value]:
    """B' d: 6 pixels to 6 frequencies."""
    b, k = e.builder, e.constant
    p, q = e.fma(k(-4), d[2], d[4]), e.fma(k(-4), d[1], d[3])
    r, s = b.fsub(d[4], d[2]), b.fsub(d[3], d[1])
    return [
        e.fma(k(4), d[0], e.fma(k(-5), d[2], d[4])),
        b.fadd(p, q),
        b.fsub(p, q),
        e.fma(k(2), s, r),
        e.fma(k(-2), s, r),
        e.fma(k(4), d[1], e.fma(k(-5), d[3], d[5])),
    ]


def _output(e: Emitter, m: list[Value]) -> list[Value]:
    """A' m: 6 frequencies to 4 outputs."""
    b, k = e.builder, e.constant
    p, q = b.fadd(m[1], m[2]), b.fsub(m[1], m[2])
    r, s = b.fadd(m[3], m[4]), b.fsub(m[3], m[4])
    return [
        b.fadd(b.fadd(m[0], p), r),
        e.fma(k(2), s, q),
        e.fma(k(4), r, p),
        b.fadd(e.fma(k(8), s, q), m[5]),
    ]


def _gradient(e: Emitter, y: list[Value]) -> list[Value]:
    """A y: gradients of 4 outputs to those of 6 frequencies."""
    b, k = e.builder, e.constant
    p, q = b.fadd(y[0], y[2]), b.fadd(y[1], y[3])
    r, s = e.fma(k(4), y[2], y[0]), b.fmul(k(2), e.fma(k(4), y[3], y[1]))
    return [y[0], b.fadd(p, q), b.fsub(p, q), b.fadd(r, s), b.fsub(r, s), y[3]]


def _filter(e: Emitter, w: list[Value]) -> list[Value]:
    """G w: 3 taps to 6 frequencies."""
    b, k = e.builder, e.constant
    p, q = b.fmul(k(-1 / 6), b.fadd(w[0], w[2])), b.fmul(k(1 / 6), w[1])
    r, s = e.fma(k(1 / 24), w[0], b.fmul(k(1 / 6), w[2])), b.fmul(k(1 / 12), w[1])
    return [b.fmul(k(1 / 4), w[0]), b.fsub(p, q), b.fadd(p, q), b.fadd(r, s), b.fsub(r, s), w[2]]


def _weight(e: Emitter, m: list[Value]) -> list[Value]:
    """G' m: gradients of 6 frequencies to those of 3 taps."""
    b, k = e.builder, e.constant
    p, q = b.fadd(m[1], m[2]), b.fsub(m[2], m[1])
    r, s = b.fadd(m[3], m[4]), b.fsub(m[3], m[4])
    return [
        e.fma(k(1 / 4), m[0], e.fma(k(-1 / 6), p, b.fmul(k(1 / 24), r))),
        e.fma(k(1 / 6), q, b.fmul(k(1 / 12), s)),
        b.fadd(e.fma(k(-1 / 6), p, b.fmul(k(1 / 6), r)), m[5]),
    ]


def _patch_2(e: Emitter, d: list[Value]) -> list[Value]:
    """B' d: 4 pixels to 4 frequencies."""
    b = e.builder
    return [b.fsub(d[0], d[2]), b.fadd(d[1], d[2]), b.fsub(d[2], d[1]), b.fsub(d[1], d[3])]


def _output_2(e: Emitter, m: list[Value]) -> list[Value]:
    """A' m: 4 frequencies to 2 outputs."""
    b = e.builder
    return [b.fadd(m[0], b.fadd(m[1], m[2])), b.fsub(b.fsub(m[1], m[2]), m[3])]


def _filter_2(e: Emitter, w: list[Value]) -> list[Value]:
    """G w: 3 taps to 4 frequencies."""
    b, half = e.builder, e.constant(1 / 2)
    p, q = b.fmul(half, b.fadd(w[0], w[2])), b.fmul(half, w[1])
    return [w[0], b.fadd(p, q), b.fsub(p, q), w[2]]


def _both(e: Emitter, apply: Transform, square: list[list[Value]]) -> list[Value]:
    """Apply a transform to the columns, then the rows, of a square; return the rows in a row."""
    columns = [apply(e, list(column)) for column in zip(*square, strict=True)]
    rows = [apply(e, list(row)) for row in zip(*columns, strict=True)]
    return [value for row in rows for value in row]


def _strip(
    e: Emitter, apply: Transform, side: int, apart: int, watched: tuple[int, int], ring: Value,
    base: Value, row: Value, pixel: Value, tiles: Value, planes: Value, wide: Value, plane: Value,
    peaks: Value,
) -> None:  # fmt: skip
    """Transform the squares of a strip of pixels, so far `apart`, to planes.

    The largest magnitudes in the planes of the `watched` frequencies, of both axes, are noted.
    """
    noted = [(apart + 2) * i + j for i in watched for j in watched]
    b, rows = e.builder, []
    for i in range(side):
        slot = e.add(base, i)
        slot = b.select(e.more(slot, side - 1), e.add(slot, -side), slot)
        rows.append(b.add(ring, b.mul(slot, row)))
    columns = e.steps(e.whole(0), pixel, side)
    blocks = b.udiv(pixel, e.whole(e.width))
    with e.loop(tiles, [e.whole(0), planes, e.no_magnitude]) as tile:
        along, to, _ = tile.values
        with e.loop(blocks, tile.values) as turn:
            x, target, peak = turn.values
            square = []
            for start in rows:
                at = b.add(start, x)
                square.append([e.load(b.add(at, column)) for column in columns])
            for place, value in enumerate(_both(e, apply, square)):
                e.store(value, target)
                target = b.add(target, plane)
                if place in noted:
                    peak = e.largest(peak, e.magnitudes(value))
            turn.next = [e.add(x, e.width), e.add(turn.values[1], e.width), peak]
        after = [b.add(along, b.mul(pixel, e.whole(apart))), b.add(to, wide)]
        tile.next = [*after, turn.results[2]]
    e.store(b.bitcast(tile.results[2], e.type), peaks)


# Of the patches, each pixel of the 4x4 or 2x2 in the middle is in the frequencies +-1, with a
# weight of 1, 4 or 16; of the gradients, in +-2, with one from 1 to 64. Where it is next to one
# that cancels it in one of these planes, another one sees it.


@instruction
def patch_strip(
    e: Emitter, ring: Value, base: Value, row: Value, pixel: Value, tiles: Value, planes: Value,
    wide: Value, plane: Value, peaks: Value,
) -> None:  # fmt: skip
    """Write 36 planes ``B' d B`` for 6x6 pixels d, 4 apart, in rows of whole vectors.

    The rows are those of `ring` from `base` on, the first after the sixth. A tile's channels
    are `wide` bytes after those of the tile before. A vector of the largest magnitudes in some of
    the planes, as whole numbers, goes to `peaks`.
    """
    _strip(e, _patch, 6, 4, (1, 2), ring, base, row, pixel, tiles, planes, wide, plane, peaks)


@instruction
def patch_strip_2(
    e: Emitter, ring: Value, base: Value, row: Value, pixel: Value, tiles: Value, planes: Value,
    wide: Value, plane: Value, peaks: Value,
) -> None:  # fmt: skip
    """Write 16 planes for 4x4 pixels, 2 apart, as `patch_strip`."""
    _strip(e, _patch_2, 4, 2, (1, 2), ring, base, row, pixel, tiles, planes, wide, plane, peaks)


@instruction
def gradient_strip(
    e: Emitter, ring: Value, base: Value, row: Value, pixel: Value, tiles: Value, planes: Value,
    wide: Value, plane: Value, peaks: Value,
) -> None:  # fmt: skip
    """Write 36 planes ``A d A'`` for 4x4 output gradients d side by side, as `patch_strip`."""
    _strip(e, _gradient, 4, 4, (3, 4), ring, base, row, pixel, tiles, planes, wide, plane, peaks)


def _outputs(
    e: Emitter, apply: Transform, tile: int, planes: Value, plane: Value, bias: Value, y: Value,
    row: Value, pixel: Value, rows: Value, columns: Value, channels: Value,
) -> None:  # fmt: skip
    b, side = e.builder, tile + 2
    full = b.and_(e.more(rows, tile - 1), e.more(columns, tile - 1))

    def block(along: Value, mask: Value) -> None:
        found = e.steps(b.add(planes, along), plane, side * side)
        square = [[e.load(found[side * i + j]) for j in range(side)] for i in range(side)]
        shift = e.load(b.add(bias, along))
        outputs = [b.fadd(value, shift) for value in _both(e, apply, square)]
        places = [
            at
            for start in e.steps(b.add(y, along), row, tile)
            for at in e.steps(start, pixel, tile)
        ]
        with b.if_else(full) as (whole, part):
            with whole:
                for value, at in zip(outputs, places, strict=True):
                    e.store(value, at, mask)
            with part:
                for index, (value, at) in enumerate(zip(outputs, places, strict=True)):
                    i, j = divmod(index, tile)
                    with b.if_then(b.and_(e.more(rows, i), e.more(columns, j))):
                        e.store(value, at, mask)

    e.channel_blocks(channels, block)


@instruction
def output_transform(
    e: Emitter, planes: Value, plane: Value, bias: Value, y: Value, row: Value, pixel: Value,
    rows: Value, columns: Value, channels: Value,
) -> None:  # fmt: skip
    """Write ``A' m A + bias`` of 36 planes to 4x4 outputs, of which (rows, columns) exist."""
    _outputs(e, _output, 4, planes, plane, bias, y, row, pixel, rows, columns, channels)


@instruction
def output_transform_2(
    e: Emitter, planes: Value, plane: Value, bias: Value, y: Value, row: Value, pixel: Value,
    rows: Value, columns: Value, channels: Value,
) -> None:  # fmt: skip
    """Write ``A' m A + bias`` of 16 planes to 2x2 outputs, as `output_transform`."""
    _outputs(e, _output_2, 2, planes, plane, bias, y, row, pixel, rows, columns, channels)


def _dense(
    e: Emitter, apply: Transform, side: int, source: Value, before: Value, target: Value,
    after: Value, blocks: Value,
) -> None:  # fmt: skip
    """Transform planes, `before` apart, to planes, `after` apart: whole vectors."""
    b = e.builder
    with e.loop(blocks) as turn:
        along = b.mul(turn.index, e.whole(e.width))
        loaded = [e.load(at) for at in e.steps(b.add(source, along), before, side * side)]
        square = [loaded[i * side : (i + 1) * side] for i in range(side)]
        results = _both(e, apply, square)
        places = e.steps(b.add(target, along), after, len(results))
        for value, at in zip(results, places, strict=True):
            e.store(value, at)


@instruction
def filter_transform(
    e: Emitter, taps: Value, tap: Value, planes: Value, plane: Value, blocks: Value
) -> None:
    """Write 36 planes ``G w G'`` of 9 taps, for `blocks` vectors of filters."""
    _dense(e, _filter, 3, taps, tap, planes, plane, blocks)


@instruction
def filter_transform_2(
    e: Emitter, taps: Value, tap: Value, planes: Value, plane: Value, blocks: Value
) -> None:
    """Write 16 planes ``G w G'`` of 9 taps, as `filter_transform`."""
    _dense(e, _filter_2, 3, taps, tap, planes, plane, blocks)


@instruction
def weight_transform(
    e: Emitter, planes: Value, plane: Value, taps: Value, tap: Value, blocks: Value
) -> None:
    """Write 9 taps ``G' m G`` of 36 planes: the adjoint of `filter_transform`."""
    _dense(e, _weight, 6, planes, plane, taps, tap, blocks)
