"""Filters in panels, the order in which the products of `direct` read them.

A user's filters have their taps side by side, (f, c, kh, kw): squares of taps and filters change
places in registers on the way. In which order the taps follow one another is free: those of all
phases of a strided convolution's gradient are packed in one launch, each phase's together.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from tinygrad_cnn.kernels.conv_spec import Slices
from tinygrad_cnn.kernels.jit.compile.build import kernel
from tinygrad_cnn.kernels.jit.compile.entry import run
from tinygrad_cnn.kernels.jit.compile.vector import BYTES, TILE
from tinygrad_cnn.kernels.jit.linear.panels import copy_panel
from tinygrad_cnn.kernels.jit.linear.products import clear_bytes
from tinygrad_cnn.kernels.jit.load.transpose import transpose_pixels, transpose_taps
from tinygrad_cnn.kernels.tape import fixed
from tinygrad_cnn.kernels.threads import shares
from tinygrad_cnn.types import Array

LANES, COLUMNS = TILE.lanes, TILE.columns

# How the weights of a filter, or column, lie in memory:
ANYHOW = 0
TAP_BY_TAP = 1  # the taps of a channel side by side, as a user has them
ROW_BY_ROW = 2  # those of all channels together, and in this order
BESIDE = 3  # the columns side by side


class Filters(NamedTuple):
    """Packed filters, and which of their taps are meant."""

    packed: Array  # (groups, rows*columns): panel by panel, each (rows, columns)
    rows: int  # of a panel
    first: int  # row


@kernel(entry=True)
def _pack(part: int, parts: int, w: Array, order: int, slots: Array, packed: Array) -> None:
    """Cut w (groups, kh, kw, depth, columns) into panels, tap t to slot `slots[t]`.

    Threads share the channels of all panels.
    """
    groups, kh, kw, depth, columns = w.shape
    taps, channel, step = kh * kw, w.strides[3], w.strides[4]
    padded = packed.shape[1] // (taps * depth)
    panels = (padded + COLUMNS - 1) // COLUMNS
    count = groups * panels * depth
    row, last = count * part // parts, count * (part + 1) // parts
    while row < last:
        panel, low = row // depth, row % depth
        high = min(depth, low + last - row)
        row += high - low
        g, first = panel // panels, panel % panels * COLUMNS
        width = min(COLUMNS, padded - first)
        true = min(width, columns - first)
        line = width * BYTES
        target = packed[g].ctypes.data + first * taps * depth * BYTES + low * line
        if true < width:
            for tap in range(taps):
                clear_bytes(target + tap * depth * line, (high - low) * line)
        at = w[g].ctypes.data + first * step + low * channel
        if order == ROW_BY_ROW:
            transpose_pixels(
                target, depth * line, line - taps * depth * line, at, step, (high - low) * taps,
                taps, true,
            )  # fmt: skip
        elif order == TAP_BY_TAP:
            for d in range(high - low):
                transpose_taps(
                    target + d * line, slots.ctypes.data, depth * line, at + d * channel, step,
                    taps, true,
                )  # fmt: skip
        elif order == BESIDE:
            for tap in range(taps):
                copy_panel(
                    at + tap // kw * w.strides[1] + tap % kw * w.strides[2], channel,
                    target + slots[tap] * depth * line, high - low, true,
                )  # fmt: skip
        else:
            rows = packed[g, first * taps * depth : (first + width) * taps * depth]
            for d in range(low, high):
                for i in range(kh):
                    for j in range(kw):
                        to = (slots[i * kw + j] * depth + d) * width
                        for lane in range(true):
                            rows[to + lane] = w[g, i, j, d, first + lane]


@lru_cache(maxsize=256)
def _in_order(taps: int) -> Array:
    return _table(list(range(taps)))


def _table(slots: list[int]) -> Array:
    return fixed(np.array(slots + [0] * LANES, np.int64))


def slots_of(kernel_size: tuple[int, int], phases: list[Slices]) -> tuple[Array, list[int]]:
    """Return to which slot each tap goes, so that those of each phase follow one another in the
    phase's order, and each phase's first slot.

    >>> row = slice(0, 1)
    >>> slots, first = slots_of((1, 3), [(row, slice(2, None, -2)), (row, slice(1, 2))])
    >>> slots[:3].tolist(), first
    ([1, 2, 0], [0, 2])
    """
    kh, kw = kernel_size
    order: list[int] = []
    first = []
    for rows, columns in phases:
        first.append(len(order))
        order += [i * kw + j for i in range(kh)[rows] for j in range(kw)[columns]]
    order += sorted(set(range(kh * kw)) - set(order))
    return _table([order.index(tap) for tap in range(kh * kw)]), first


def _order(w: Array, *, plain: bool) -> int:
    """Return how w (groups, kh, kw, depth, columns) lies in memory, where that is of use."""
    _, kh, kw, depth, _ = w.shape
    _, row, column, channel, side = w.strides
    if side == BYTES:
        return BESIDE
    if (kw > 1 and column != BYTES) or (kh > 1 and row != kw * BYTES):
        return ANYHOW
    together = depth == 1 or channel == kh * kw * BYTES
    return ROW_BY_ROW if plain and together else TAP_BY_TAP


def packed_shape(groups: int, rows: int, columns: int) -> tuple[int, int]:
    """Return what packed filters of so many weights (rows) and columns take."""
    return groups, rows * (columns + -columns % LANES)


def pack(w: Array, packed: Array, slots: Array | None = None) -> None:
    """Cut filters (groups, kh, kw, depth, columns) into panels of `COLUMNS` columns, in packed, of
    `packed_shape`.

    The last panel has `LANES` columns if no more are left, and zeros after the last true one; each
    is dense, (kh*kw*depth, columns). Taps go to `slots`, or stay in their order.
    """
    order = _order(w, plain=slots is None)
    if slots is None:
        slots = _in_order(w.shape[1] * w.shape[2])
    run(_pack, shares(2 * w.nbytes), w, order, slots, packed)
