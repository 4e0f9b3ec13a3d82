"""Whether there is an infinity or a NaN, as who records a program has to know."""

from __future__ import annotations

import numpy as np

from tinygrad_cnn.kernels.jit.compile.build import kernel
from tinygrad_cnn.kernels.jit.compile.entry import run
from tinygrad_cnn.kernels.jit.compile.vector import Emitter, Value, instruction
from tinygrad_cnn.kernels.tape import looked, taping
from tinygrad_cnn.types import Array


@instruction
def excess(e: Emitter, x: Value, count: Value, to: Value) -> None:
    """Write the sum of ``x - x`` over `count` numbers: 0, or NaN where one is infinite or NaN."""
    b, lanes = e.builder, e.whole(e.lanes)
    with e.loop(b.udiv(e.add(count, e.lanes - 1), lanes), [e.zero]) as turn:
        mask = e.first_lanes(b.sub(count, b.mul(turn.index, lanes)))
        value = e.load(b.add(x, b.mul(turn.index, e.whole(e.width))), mask)
        turn.next = [b.fadd(turn.values[0], b.fsub(value, value))]
    e.store_sums(turn.results[0], to)


@kernel(entry=True)
def _finite(part: int, parts: int, a: Array, found: Array) -> None:
    """Write to found (1,) whether all numbers in a (n,) are finite."""
    found[0] = 1
    for i in range(a.size):
        if not np.isfinite(a[i]):
            found[0] = 0


def note_finite(*arrays: Array) -> None:
    """Tell who records that it matters whether all numbers are finite."""
    if taping:
        for array in arrays:
            found = np.empty(1, np.uint8)
            run(_finite, 1, array.reshape(-1), found)
            looked(found)
