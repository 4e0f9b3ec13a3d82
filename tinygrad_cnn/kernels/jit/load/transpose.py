"""Pixels of images that lie plane by plane, (n, c, h, w), on their way to channels last.

Squares of as many channels as pixels change places in registers. Where numbers are needed once,
they go straight into scratch memory that stays in a near cache (`fill.fill_row`,
`plan.area`): an array of another order in between would cost a write and a read of main
memory, for many convolutions of a user's images more than they take themselves.

All arguments of instructions are addresses, distances in bytes, or counts.
"""

from __future__ import annotations

from collections.abc import Callable

from tinygrad_cnn.kernels.jit.compile.vector import BYTES, Emitter, Value, instruction
from tinygrad_cnn.kernels.jit.linear.panels import transposed, up_to

State = list[Value]
Places = Callable[[State], tuple[list[Value], State]]


def _transpose(
    e: Emitter, x: Value, plane: Value, pixels: Value, channels: Value, first: State, places: Places
) -> None:
    """Write ``x[c, p]`` to where ``places(state)`` says that the next pixels go, and what the state
    is after them; `first` is that of pixel 0.
    """
    b, lanes = e.builder, e.lanes
    squares = b.udiv(pixels, e.whole(lanes))
    rest = b.sub(pixels, b.mul(squares, e.whole(lanes)))

    def block(along: Value, mask: Value) -> None:
        """Write a vector of channels, `along` bytes from the first one, of all pixels."""
        channel = b.udiv(along, e.whole(BYTES))
        start = b.add(x, b.mul(channel, plane))
        if mask is None:
            distances = [b.mul(plane, e.whole(r)) for r in range(lanes)]
        else:  # channels that do not exist are the last one again
            distances = up_to(e, b.sub(channels, channel), plane, lanes)
        with e.loop(squares, [start, *first]) as turn:
            at, *state = turn.values
            loaded = [e.load(b.add(at, distance)) for distance in distances]
            found, after = places(state)
            for place, value in zip(found, transposed(e, loaded), strict=True):
                e.store(value, b.add(place, along), mask)
            turn.next = [e.add(at, e.width), *after]
        at, *state = turn.results
        with b.if_then(e.more(rest, 0)):
            present = e.first_lanes(rest)
            loaded = [e.load(b.add(at, distance), present) for distance in distances]
            found, _ = places(state)
            for k, value in enumerate(transposed(e, loaded)):
                with b.if_then(e.more(rest, k)):
                    e.store(value, b.add(found[k], along), mask)

    e.channel_blocks(channels, block)


@instruction
def transpose_pixels(
    e: Emitter, target: Value, step: Value, skip: Value, x: Value, plane: Value, pixels: Value,
    width: Value, channels: Value,
) -> None:  # fmt: skip
    """Write ``target[p, c] = x[c, p]`` for `pixels` pixels in rows of `width`.

    Channels are `plane` apart in x; pixels are `step` apart in the target, and a row's first one is
    `skip` further from the row before. What follows a pixel's channels is left as it is.
    """
    b = e.builder

    def places(state: State) -> tuple[list[Value], State]:
        first, column = state
        found = []
        for _ in range(e.lanes):
            found.append(first)
            after = e.add(column, 1)
            over = b.icmp_signed("==", after, width)
            column = b.select(over, e.whole(0), after)
            first = b.add(first, b.add(step, b.select(over, skip, e.whole(0))))
        return found, [first, column]

    _transpose(e, x, plane, pixels, channels, [target, e.whole(0)], places)


@instruction
def transpose_taps(
    e: Emitter, target: Value, slots: Value, step: Value, x: Value, plane: Value, taps: Value,
    channels: Value,
) -> None:  # fmt: skip
    """Write ``target[slots[t], c] = x[c, t]`` for some taps, which are `step` apart in the target.

    The table of slots goes on by `TILE.lanes` - 1 numbers of any kind.
    """
    b = e.builder

    def places(state: State) -> tuple[list[Value], State]:
        at = state[0]
        found = [b.add(target, b.mul(e.table(at, k), step)) for k in range(e.lanes)]
        return found, [e.add(at, 8 * e.lanes)]

    _transpose(e, x, plane, taps, channels, [slots], places)
