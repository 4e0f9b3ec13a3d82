"""Sums of products over many pixels: some hundred in float32, then float64.

The micro-kernels add the products of a piece of pixels in registers, and the pieces' sums to
float32 numbers in memory. These are added to float64 totals (`spill`) after every `PIECES` pieces:
so no number is added to with more than `PIECE` + `PIECES` roundings to float32. Where a share has
fewer pieces there are no totals, and no memory for them.
"""

from __future__ import annotations

import numpy as np

from tinygrad_cnn.kernels.jit.compile.build import kernel
from tinygrad_cnn.kernels.memory import Take
from tinygrad_cnn.kernels.reference.layout import Array

PIECE = 1024  # pixels
PIECES = 128


def totals_of(sums: Array, pieces: int, take: Take) -> Array:
    """Return float64 totals (parts, count), or (parts, 0), for sums (parts, ...) of so many pieces
    of a share.
    """
    parts = len(sums)
    return take((parts, sums.size // parts if pieces > PIECES else 0), np.float64)


@kernel()
def spill(pieces: int, sums: Array, totals: Array) -> None:
    """Add a share's sums (count,) to its totals if so many pieces are a multiple of `PIECES`."""
    if totals.size == 0 or pieces % PIECES:
        return
    for i in range(totals.size):
        totals[i] += sums[i]
        sums[i] = 0


@kernel()
def settle(sums: Array, totals: Array) -> None:
    """Round what a share has in its totals, and in its sums (count,), to these."""
    for i in range(totals.size):
        sums[i] = totals[i] + sums[i]
