"""How update formulas go over memory: in pieces that stay in the cache, with reused scratch."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import numpy as np

from tinygrad_cnn.types import Array, DType

#: Values per piece. An update reads each array several times: a piece of this size is still in the
#: cache at the second time, which about halves the time for parameters of a million values.
BLOCK = 65536


class Scratch(threading.local):
    """Memory for intermediate results, one piece per dtype and thread, used again and again."""

    def __init__(self) -> None:
        self._held: dict[tuple[DType, int], Array] = {}

    def like(self, array: Array, slot: int = 0) -> Array:
        """Return memory of the array's shape and dtype; the next call for the slot reuses it."""
        key = (array.dtype, slot)
        held = self._held.get(key)
        if held is None or held.size < array.size:
            held = self._held[key] = np.empty(max(array.size, BLOCK), array.dtype)
        return held[: array.size].reshape(array.shape)


def blocks(read: Array, *written: Array) -> Iterator[tuple[Array, ...]]:
    """Yield ``(read, *written)``, arrays of one shape, in matching pieces that stay in the cache.

    Pieces of the arrays to be written are views; ``read`` is copied if it is laid out otherwise.
    If one of the written arrays is not contiguous, everything comes whole.
    """
    if not all([a.flags.c_contiguous for a in written]):
        yield (read, *written)
        return
    flat = tuple([a.reshape(-1) for a in (read, *written)])
    if read.size <= BLOCK:
        yield flat
        return
    for start in range(0, read.size, BLOCK):
        yield tuple([a[start : start + BLOCK] for a in flat])
