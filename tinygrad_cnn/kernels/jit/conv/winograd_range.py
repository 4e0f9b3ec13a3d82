"""Whether numbers lie close enough together for Winograd's transforms.

The transforms mix the pixels of a tile, and the nine taps of a filter, before anything is summed. A
NaN or an infinity then reaches outputs that never see it, and so does the rounding of a number that
is far larger than those around it: of 1e6 among numbers of size 1, an error of 0.1. What is found
here on the way is computed directly instead.

* A strip, which is a row of tiles, is *wide* if a transformed number exceeds `2**PIXEL_RANGE` times
  what its windows sum, ``sqrt(sum of x**2)`` over one of them. That is taken of 2x2 pixels at two
  places of a tile, from tile to tile in turn; the geometric mean over the tiles is little moved by
  an outlier, and of the two places the smaller one counts. Ordinary images and gradients have
  ratios of `2**2` to `2**8`.
* A filter is wide if one number exceeds `2**FILTER_RANGE` times the norm of those at even places,
  or of those at odd ones: an outlier is in one of both.
* Both are wide if they hold a NaN or an infinity, or if the largest number is so large or small
  that products with the other operand could leave float32's range.

So the error of outputs that the transforms compute is bounded by ``eps * 2**PIXEL_RANGE`` times
what a typical window of their row sums, whatever the images are. All is decided on the bits of
numbers, which are, but for a piecewise linear interpolation, their logarithms.
"""

from __future__ import annotations

import numpy as np

from tinygrad_cnn.kernels.jit.compile.build import kernel
from tinygrad_cnn.kernels.jit.compile.vector import BYTES, TILE, Emitter, Value, instruction
from tinygrad_cnn.types import Array

PIXEL_RANGE = 9
BATCH_FACTOR = 2.0**12  # for sums over a whole batch
FILTER_RANGE = 13
LANES = TILE.lanes

# A part's notes, as 32-bit words: the largest magnitudes by lanes, and a sum of squares.
POWER = LANES
NOTES = LANES + 2


def _bits(value: float) -> int:
    return int(np.float32(value).view(np.int32))


ONE = _bits(1)
OCTAVE = 1 << 23  # by as much do the bits of twice a number exceed its own
PIXEL_LIMIT, FILTER_LIMIT = 2 * PIXEL_RANGE * OCTAVE, 2 * FILTER_RANGE * OCTAVE
# In between, products with the other operand, and squares of images, are ordinary numbers.
SMALLEST, LARGEST = 2.0**-60, 2.0**50
LEAST, MOST, LEAST_FILTER = _bits(SMALLEST), _bits(LARGEST), _bits(2.0**-30)
WINDOW = int(np.log2(9 / 4) * OCTAVE)  # squares in a window, for one of those in 2x2 pixels


@instruction
def pixel_power(
    e: Emitter, above: Value, below: Value, pixel: Value, blocks: Value, to: Value
) -> None:
    """Write the sum of squares over two pixels at `above` and two at `below`, of whole vectors."""
    b = e.builder
    with e.loop(blocks, [e.zero, e.zero]) as turn:
        along, found = b.mul(turn.index, e.whole(e.width)), []
        for at, total in zip((above, below), turn.values, strict=True):
            for place in e.steps(b.add(at, along), pixel, 2):
                value = e.load(place)
                total = e.fma(value, value, total)
            found.append(total)
        turn.next = found
    e.store_sums(b.fadd(*turn.results), to)


@instruction
def pixel_peaks(
    e: Emitter, x: Value, step: Value, pixels: Value, blocks: Value, peaks: Value
) -> None:
    """Bring the largest magnitudes at `peaks` up to those of pixels of whole vectors."""
    b = e.builder
    with e.loop(pixels, [x, e.magnitudes(e.load(peaks))]) as pixel:
        at, peak = pixel.values
        with e.loop(blocks, [at, peak]) as turn:
            place, largest = turn.values
            largest = e.largest(largest, e.magnitudes(e.load(place)))
            turn.next = [e.add(place, e.width), largest]
        pixel.next = [b.add(at, step), turn.results[1]]
    e.store(b.bitcast(pixel.results[1], e.type), peaks)


@instruction
def filter_powers(e: Emitter, w: Value, count: Value, peaks: Value, powers: Value) -> None:
    """Write the largest magnitudes of `count` numbers, and the sums of squares of those at even
    places and of those at odd ones.
    """
    b = e.builder
    whole = b.udiv(count, e.whole(e.lanes))
    rest = e.first_lanes(b.sub(count, b.mul(whole, e.whole(e.lanes))))

    def look(state: list[Value], mask: Value = None) -> list[Value]:
        at, peak, total = state
        value = e.load(at, mask)
        peak = e.largest(peak, e.magnitudes(value))
        return [e.add(at, e.width), peak, e.fma(value, value, total)]

    with e.loop(whole, [w, e.no_magnitude, e.zero]) as turn:
        turn.next = look(turn.values)
    _, peak, total = look(turn.results, rest)
    e.store(b.bitcast(peak, e.type), peaks)
    e.store_sums(total, powers, 2)


@kernel()
def is_wide(peak: int, level: int, limit: int) -> bool:
    """Return whether a magnitude exceeds the root of a sum of squares by more than half of `limit`;
    all are bits.
    """
    return peak > MOST or level == 0 or 2 * (peak - ONE) > level - ONE + limit


@kernel()
def is_wide_strip(peak: int, level: int) -> bool:
    """Return whether a strip cannot be transformed."""
    return peak > 0 and (peak < LEAST or is_wide(peak, level, PIXEL_LIMIT))


@kernel()
def strip_peak(notes: Array) -> int:
    """Return the largest of the magnitudes that a part has noted."""
    peak = 0
    for lane in range(LANES):
        peak = max(peak, notes[lane])
    return peak


@kernel()
def strip_level(
    ring: int, base: int, side: int, tile: int, line: int, pixel: int, tiles: int, notes: Array
) -> int:
    """Return the typical sum of squares in a window of a strip, as bits; 0 if there is nothing.

    Its `side` rows are those of `ring` from `base` on, `line` apart; tiles are `tile` pixels apart.
    """
    sums, counts = 0, 0
    blocks, at = pixel // (LANES * BYTES), notes.ctypes.data + POWER * BYTES
    start = (side - tile) // 2
    for place in (start, start + tile // 2):  # of the 2x2 pixels in a tile
        above = base + place - (side if base + place >= side else 0)
        below = above + 1 if above + 1 < side else 0
        above, below = ring + above * line, ring + below * line
        # Every second tile, and the only one at both places.
        first = 1 if place > start and tiles > 1 else 0
        total, count = 0, 0
        for k in range(first, tiles, 2):
            across = (tile * k + place) * pixel
            pixel_power(above + across, below + across, pixel, blocks, at)
            power = notes[POWER]
            if power > 0:
                total, count = total + power, count + 1
        if count > 0 and (counts == 0 or total * counts < sums * count):
            sums, counts = total, count
    return sums // counts + WINDOW if counts > 0 else 0


@kernel()
def note_filters(w: Array, size: int, low: int, high: int, notes: Array) -> float:
    """Return the largest magnitude of filters [low, high) of `size` numbers, as bits; infinity if
    one of them is wide.
    """
    most = 0
    at = notes.ctypes.data
    for f in range(low, high):
        filter_powers(w.ctypes.data + f * size * BYTES, size, at, at + POWER * BYTES)
        peak, one, other = strip_peak(notes), notes[POWER], notes[POWER + 1]
        level = min(one, other) if min(one, other) > 0 else max(one, other)
        if peak >= LEAST_FILTER and is_wide(peak, level, FILTER_LIMIT):
            return np.inf
        most = max(most, peak)
    return np.float64(most)


@kernel()
def suits(noted: Array) -> bool:
    """Return whether filters can be transformed, from what `note_filters` says of all shares."""
    most = noted[0]
    for part in range(1, noted.size):
        most = max(most, noted[part])
    return bool(most == 0 or LEAST_FILTER <= most < np.inf)


@kernel()
def sum_up(notes: Array, numbers: Array, strips: int, whole: Array) -> None:
    """Bring `whole` (3,) up to what is noted of some strips: the largest number, the sum of their
    typical sums of squares, and how many there are.

    `numbers` are the bits of `notes` as numbers.
    """
    for strip in range(strips):
        largest = numbers[NOTES + 2 * strip]
        if not largest <= whole[0]:  # NaN too
            whole[0] = np.inf if np.isnan(largest) else largest
        whole[1] += numbers[NOTES + 2 * strip + 1]
    whole[2] += strips


@kernel()
def are_apart(whole: Array) -> bool:
    """Return whether a batch, of whose shares there are rows of `sum_up`, is too wide to be summed
    up in transformed numbers.

    What counts for such a sum is what is typical of the batch.
    """
    most, power, count = 0.0, 0.0, 0.0
    for share in range(whole.shape[0]):
        most = max(most, whole[share, 0])
        power += whole[share, 1]
        count += whole[share, 2]
    if most == 0:
        return False
    typical = np.sqrt(power / count)
    return not (SMALLEST <= most <= LARGEST and most <= BATCH_FACTOR * typical)
