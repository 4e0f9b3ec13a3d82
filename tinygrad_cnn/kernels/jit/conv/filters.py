"""Filters of direct convolution, cut into the panels that its micro-kernels read densely."""

from __future__ import annotations

import numpy as np

from tinygrad_cnn.kernels.jit.compile.build import kernel
from tinygrad_cnn.kernels.jit.compile.entry import run
from tinygrad_cnn.kernels.jit.compile.vector import BYTES, TILE
from tinygrad_cnn.kernels.jit.linear.panels import copy_panel, copy_panel_narrow
from tinygrad_cnn.kernels.jit.load.launch import shares
from tinygrad_cnn.kernels.jit.load.transpose import transpose_pixels
from tinygrad_cnn.kernels.memory import Take
from tinygrad_cnn.kernels.reference.layout import Array

LANES, COLUMNS = TILE.lanes, TILE.columns

# How the weights of a filter, or column, lie in memory:
ANYHOW = 0
TAP_BY_TAP = 1  # together, the taps of a channel side by side, as a user has them
BESIDE = 2  # a single tap, whose columns lie side by side


@kernel(entry=True)
def _pack(part: int, parts: int, w: Array, order: int, step: int, packed: Array) -> None:
    """Cut w (groups, kh, kw, depth, columns) into panels; columns are `step` bytes apart."""
    groups, kh, kw, depth, columns = w.shape
    padded = packed.shape[1] // (kh * kw * depth)
    panels = (padded + COLUMNS - 1) // COLUMNS
    for panel in range(groups * panels * part // parts, groups * panels * (part + 1) // parts):
        g, first = panel // panels, panel % panels * COLUMNS
        width = min(COLUMNS, padded - first)
        true = min(width, columns - first)
        target = packed[g, first * kh * kw * depth : (first + width) * kh * kw * depth]
        if order == TAP_BY_TAP:
            if true < width:
                target[:] = 0
            line = width * BYTES
            transpose_pixels(
                target.ctypes.data, depth * line, line - kh * kw * depth * line,
                w[g].ctypes.data + first * step, step, depth * kh * kw, kh * kw, true,
            )  # fmt: skip
        elif order == BESIDE:
            at, distance = w[g].ctypes.data + first * BYTES, w.strides[3]
            if width > LANES:
                copy_panel(at, distance, target.ctypes.data, depth, true)
            else:
                copy_panel_narrow(at, distance, target.ctypes.data, depth, true)
        else:
            for d in range(depth):
                for i in range(kh):
                    for j in range(kw):
                        at = ((i * kw + j) * depth + d) * width
                        for lane in range(true):
                            target[at + lane] = w[g, i, j, d, first + lane]
                        for lane in range(true, width):
                            target[at + lane] = 0


def _order(w: Array) -> int:
    """Return how w (groups, kh, kw, depth, columns) lies in memory, where that is of use."""
    _, kh, kw, depth, _ = w.shape
    *_, row, column, inner, side = w.strides
    if side == BYTES and kh * kw == 1:
        return BESIDE
    together = (kw == 1 or column == BYTES) and (kh == 1 or row == kw * BYTES)
    return TAP_BY_TAP if together and (depth == 1 or inner == kh * kw * BYTES) else ANYHOW


def pack(w: Array, take: Take) -> Array:
    """Return filters (groups, kh, kw, depth, columns) cut into panels of `COLUMNS` columns.

    The last panel has `LANES` columns if no more are left, and zeros after the last true one; each
    is dense, (kh*kw*depth, columns).
    """
    groups, kh, kw, depth, columns = w.shape
    packed = take((groups, kh * kw * depth * (columns + -columns % LANES)), np.float32)
    run(_pack, shares(2 * w.nbytes), w, _order(w), w.strides[4], packed)
    return packed
