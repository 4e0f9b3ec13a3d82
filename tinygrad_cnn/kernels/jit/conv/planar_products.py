"""The inner loops of `planar`: sums of products along the pixels, in registers."""

from __future__ import annotations

from tinygrad_cnn.kernels.jit.compile.vector import BYTES, TILE, Emitter, Value, instruction
from tinygrad_cnn.kernels.jit.linear.products import row_step, side_by_side

LANES = TILE.lanes
VECTORS = 2 if LANES == 8 else 4  # and taps of the gradient: times 6 filters, in registers
STEP = VECTORS * LANES
MANY, FEW = 6, 4  # filters of a block


@instruction
def tap_sum(
    e: Emitter, x: Value, taps: Value, count: Value, w: Value, bias: Value, out: Value, line: Value,
    filters: Value, pixels: Value,
) -> None:  # fmt: skip
    """Write ``out[f, p] = bias[f] + sum over t < count of x[taps[t] + p] w[t, f]``.

    For `MANY` or `FEW` filters f, `line` apart, and `STEP` or `LANES` pixels p; w (count, filters)
    is packed densely.
    """

    def add_up(filters: int, vectors: int) -> None:
        shifts = [e.spread(e.add(bias, f * BYTES)) for f in range(filters)]
        with e.loop(count, [w, *[shift for shift in shifts for _ in range(vectors)]]) as tap:
            w_now, *sums = tap.values
            at = e.add(x, e.table(taps, tap.index))
            loaded = [e.load(place) for place in side_by_side(e, at, vectors)]
            numbers = [e.add(w_now, f * BYTES) for f in range(filters)]
            tap.next = [e.add(w_now, filters * BYTES), *row_step(e, numbers, loaded, sums)]
        places = e.steps(out, line, filters)
        for i, value in enumerate(tap.results[1:]):
            e.store(value, e.add(places[i // vectors], i % vectors * e.width))

    def by_pixels(filters: int) -> None:
        wide = e.more(pixels, LANES)
        e.either(wide, lambda wide: add_up(filters, VECTORS if wide else 1))

    e.either(e.more(filters, FEW), lambda many: by_pixels(MANY if many else FEW))


@instruction
def pixel_sum(
    e: Emitter, x: Value, taps: Value, g: Value, line: Value, count: Value, sums: Value,
    filters: Value,
) -> None:  # fmt: skip
    """Add to the vectors ``sums[f, k]`` those of ``g[f, p] x[taps[k] + p]`` over `count` vectors.

    For `MANY` or `FEW` filters f, `line` apart, and `VECTORS` taps k; the lanes stay apart.
    """
    b = e.builder

    def add_up(filters: int) -> None:
        windows = [b.add(x, e.table(taps, k)) for k in range(VECTORS)]
        places = side_by_side(e, sums, filters * VECTORS)
        with e.loop(count, [e.zero] * len(places)) as turn:
            along = b.mul(turn.index, e.whole(e.width))
            loaded = [e.load(b.add(window, along)) for window in windows]
            found = []
            for f, at in enumerate(e.steps(b.add(g, along), line, filters)):
                grad = e.load(at)
                for k, value in enumerate(loaded):
                    found.append(e.fma(grad, value, turn.values[f * VECTORS + k]))
            turn.next = found
        for value, place in zip(turn.results, places, strict=True):
            e.store(b.fadd(e.load(place), value), place)

    e.either(e.more(filters, FEW), lambda many: add_up(MANY if many else FEW))
