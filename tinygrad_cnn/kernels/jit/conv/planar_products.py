"""The inner loops of `conv_planes`: sums of products along the pixels, in registers."""

from __future__ import annotations

from tinygrad_cnn.kernels.jit.compile.vector import BYTES, TILE, Emit, Emitter, Value, instruction
from tinygrad_cnn.kernels.jit.linear.products import row_step

LANES = TILE.lanes
VECTORS = 2 if LANES == 8 else 4  # and taps of the gradient: times 6 filters, in registers
STEP = VECTORS * LANES
MANY, FEW = 6, 4  # filters of a block


def _sum_of_taps(filters: int, vectors: int) -> Emit:
    def emit(e: Emitter, values: list[Value]) -> None:
        x, taps, count, w, bias, out, line = values
        first = [
            value
            for value in (e.spread(e.add(bias, f * BYTES)) for f in range(filters))
            for _ in range(vectors)
        ]
        with e.loop(count, [w, *first]) as tap:
            w_now, *sums = tap.values
            at = e.add(x, e.table(taps, tap.index))
            loaded = [e.load(e.add(at, v * e.width)) for v in range(vectors)]
            numbers = [e.add(w_now, f * BYTES) for f in range(filters)]
            tap.next = [e.add(w_now, filters * BYTES), *row_step(e, numbers, loaded, sums)]
        places = e.steps(out, line, filters)
        for i, value in enumerate(tap.results[1:]):
            e.store(value, e.add(places[i // vectors], i % vectors * e.width))

    return emit


_many_taps, _few_taps = _sum_of_taps(MANY, VECTORS), _sum_of_taps(FEW, VECTORS)
_many_taps_narrow, _few_taps_narrow = _sum_of_taps(MANY, 1), _sum_of_taps(FEW, 1)


@instruction
def tap_sum(
    _: Value, x: Value, taps: Value, count: Value, w: Value, bias: Value, out: Value, line: Value
) -> Emit:
    """Write ``out[f, p] = bias[f] + sum over t < count of x[taps[t] + p] w[t, f]``.

    For `MANY` filters f, `line` apart, and `STEP` pixels p; w (count, MANY) is packed densely.
    """
    return _many_taps


@instruction
def tap_sum_few(
    _: Value, x: Value, taps: Value, count: Value, w: Value, bias: Value, out: Value, line: Value
) -> Emit:
    """Do as `tap_sum` for `FEW` filters."""
    return _few_taps


@instruction
def tap_sum_narrow(
    _: Value, x: Value, taps: Value, count: Value, w: Value, bias: Value, out: Value, line: Value
) -> Emit:
    """Do as `tap_sum` for `LANES` pixels."""
    return _many_taps_narrow


@instruction
def tap_sum_few_narrow(
    _: Value, x: Value, taps: Value, count: Value, w: Value, bias: Value, out: Value, line: Value
) -> Emit:
    """Do as `tap_sum_few` for `LANES` pixels."""
    return _few_taps_narrow


def _sum_of_pixels(filters: int) -> Emit:
    def emit(e: Emitter, values: list[Value]) -> None:
        x, taps, g, line, count, sums = values
        b = e.builder
        windows = [b.add(x, e.table(taps, k)) for k in range(VECTORS)]
        places = [e.add(sums, i * e.width) for i in range(filters * VECTORS)]
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

    return emit


_many_pixels, _few_pixels = _sum_of_pixels(MANY), _sum_of_pixels(FEW)


@instruction
def pixel_sum(
    _: Value, x: Value, taps: Value, g: Value, line: Value, count: Value, sums: Value
) -> Emit:
    """Add to the vectors ``sums[f, k]`` those of ``g[f, p] x[taps[k] + p]`` over `count` vectors.

    For `MANY` filters f, `line` apart, and `VECTORS` taps k; the lanes stay apart.
    """
    return _many_pixels


@instruction
def pixel_sum_few(
    _: Value, x: Value, taps: Value, g: Value, line: Value, count: Value, sums: Value
) -> Emit:
    """Do as `pixel_sum` for `FEW` filters."""
    return _few_pixels
