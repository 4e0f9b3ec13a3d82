"""Pixels of images that lie plane by plane, (n, c, h, w), on their way to channels last.

Squares of as many channels as pixels change places in registers. Where numbers are needed once,
they go straight into scratch memory that stays in a near cache (`fill.fill_row`,
`plan.area`): an array of another order in between would cost a write and a read of main
memory, for many convolutions of a user's images more than they take themselves.

All arguments of instructions are addresses, distances in bytes, or counts.
"""

from __future__ import annotations

from tinygrad_cnn.kernels.jit.compile.vector import BYTES, Emitter, Value, instruction
from tinygrad_cnn.kernels.jit.linear.panels import transposed, up_to


@instruction
def transpose_pixels(
    e: Emitter, target: Value, step: Value, skip: Value, x: Value, plane: Value, pixels: Value,
    width: Value, channels: Value,
) -> None:  # fmt: skip
    """Write ``target[p, c] = x[c, p]`` for `pixels` pixels in rows of `width`.

    Channels are `plane` apart in x; pixels are `step` apart in the target, and a row's first one is
    `skip` further from the row before. What follows a pixel's channels is left as it is.
    """
    b, lanes = e.builder, e.lanes
    squares = b.udiv(pixels, e.whole(lanes))
    rest = b.sub(pixels, b.mul(squares, e.whole(lanes)))

    def places(first: Value, column: Value) -> tuple[list[Value], Value, Value]:
        """Where the next pixels go, and place and column of the one after them."""
        found = []
        for _ in range(lanes):
            found.append(first)
            after = e.add(column, 1)
            over = b.icmp_signed("==", after, width)
            column = b.select(over, e.whole(0), after)
            first = b.add(first, b.add(step, b.select(over, skip, e.whole(0))))
        return found, first, column

    def block(along: Value, mask: Value) -> None:
        """Write a vector of channels, `along` bytes from the first one, of all pixels."""
        channel = b.udiv(along, e.whole(BYTES))
        start = b.add(x, b.mul(channel, plane))
        if mask is None:
            distances = [b.mul(plane, e.whole(r)) for r in range(lanes)]
        else:  # channels that do not exist are the last one again
            distances = up_to(e, b.sub(channels, channel), plane, lanes)
        with e.loop(squares, [start, b.add(target, along), e.whole(0)]) as turn:
            at, to, column = turn.values
            loaded = [e.load(b.add(at, distance)) for distance in distances]
            found, after, column = places(to, column)
            for place, value in zip(found, transposed(e, loaded), strict=True):
                e.store(value, place, mask)
            turn.next = [e.add(at, e.width), after, column]
        at, to, column = turn.results
        with b.if_then(e.more(rest, 0)):
            present = e.first_lanes(rest)
            loaded = [e.load(b.add(at, distance), present) for distance in distances]
            found = places(to, column)[0]
            for k, value in enumerate(transposed(e, loaded)):
                with b.if_then(e.more(rest, k)):
                    e.store(value, found[k], mask)

    e.channel_blocks(channels, block)
