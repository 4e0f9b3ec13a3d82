"""Recurrent layers: a step is one launch, in which each thread has hidden units of its own.

For its units a thread takes the product of the states and the weights, which are packed once for
all steps, and goes on to their gates while these are in cache. Backwards it takes, for its units,
the product that carries the gradient over from the step after, and goes on to the gradients of the
gates. So threads meet once in a step, and none of them splits a sum: any number of them gives the
same bits.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from tinygrad_cnn.kernels.jit.compile.build import kernel
from tinygrad_cnn.kernels.jit.compile.entry import run
from tinygrad_cnn.kernels.jit.compile.vector import BYTES
from tinygrad_cnn.kernels.jit.linear.matmul import product_of
from tinygrad_cnn.kernels.jit.linear.panels import copy_panel
from tinygrad_cnn.kernels.jit.linear.times_panel import COLUMNS, pack_transposed, times_panel
from tinygrad_cnn.kernels.jit.load.images import FLOAT32
from tinygrad_cnn.kernels.jit.pointwise import sums
from tinygrad_cnn.kernels.jit.pointwise.exponential import sigmoid32, tanh32
from tinygrad_cnn.kernels.memory import empty, scratch
from tinygrad_cnn.kernels.reference import sum
from tinygrad_cnn.kernels.reference.recurrent import GATES, Step, previous, steps_of
from tinygrad_cnn.kernels.threads import shares
from tinygrad_cnn.types import Array

KINDS = {"tanh": 0, "relu": 1, "gru": 2, "lstm": 3}
RELU, GRU, LSTM = 1, 2, 3


class Cell(NamedTuple):
    """A cell: its kind, gates, hidden units, and how many numbers a state has."""

    kind: int
    gates: int
    hidden: int
    width: int


@kernel(entry=True)
def _pack(part: int, parts: int, cell: Cell, w: Array, panels: Array) -> None:
    """Write w (gates * hidden, hidden) as panels of the product with states: for each `COLUMNS`
    hidden units one of each gate, (blocks, gates, hidden, COLUMNS).
    """
    hidden, blocks = cell.hidden, panels.shape[0]
    for block in range(blocks * part // parts, blocks * (part + 1) // parts):
        first = block * COLUMNS
        for gate in range(cell.gates):
            at = w.ctypes.data + (gate * hidden + first) * hidden * BYTES
            panel = panels[block, gate].ctypes.data
            pack_transposed(at, hidden * BYTES, panel, hidden, min(COLUMNS, hidden - first))


@kernel(entry=True)
def _pack_backward(part: int, parts: int, cell: Cell, w: Array, panels: Array) -> None:
    """Write w as panels of the product with gates: (blocks, gates * hidden, COLUMNS)."""
    hidden, blocks = cell.hidden, panels.shape[0]
    for block in range(blocks * part // parts, blocks * (part + 1) // parts):
        first = block * COLUMNS
        copy_panel(
            w.ctypes.data + first * BYTES, hidden * BYTES, panels[block].ctypes.data,
            cell.gates * hidden, min(COLUMNS, hidden - first),
        )  # fmt: skip


@kernel(inline=True)  # so that LLVM sees where `out` is one of them
def _add(a: Array, b: Array, out: Array) -> None:
    for j in range(out.size):
        out[j] = a[j] + b[j]


@kernel()
def _sigmoid(row: Array) -> None:
    for j in range(row.size):
        row[j] = sigmoid32(row[j])


@kernel()
def _tanh(row: Array) -> None:
    for j in range(row.size):
        row[j] = tanh32(row[j])


@kernel()
def _gru(
    reset: Array, update: Array, new: Array, x: Array, inner: Array, before: Array, y: Array
) -> None:
    for j in range(new.size):
        new[j] = tanh32(x[j] + reset[j] * inner[j])
    for j in range(new.size):
        y[j] = new[j] + update[j] * (before[j] - new[j])


@kernel()
def _lstm(
    enter: Array, keep: Array, new: Array, emit: Array, before: Array, c: Array, y: Array
) -> None:
    for j in range(new.size):
        c[j] = keep[j] * before[j] + enter[j] * new[j]
    for j in range(new.size):
        y[j] = emit[j] * tanh32(c[j])


@kernel(entry=True)
def _forward(
    part: int, parts: int, cell: Cell, panels: Array, x: Array, before: Array, bias: Array,
    gates: Array, inner: Array, y: Array,
) -> None:  # fmt: skip
    """One step: x, gates (n, gates * hidden), before, y (n, width), of a GRU inner (n, hidden)."""
    kind, hidden, blocks, n = cell.kind, cell.hidden, panels.shape[0], x.shape[0]
    row, state_row = cell.gates * hidden * BYTES, cell.width * BYTES
    first_block, end_block = blocks * part // parts, blocks * (part + 1) // parts
    for block in range(first_block, end_block):
        first = block * COLUMNS
        width = min(COLUMNS, hidden - first)
        for gate in range(cell.gates):
            at = (gate * hidden + first) * BYTES
            start, start_row = x.ctypes.data + at, row
            out, out_row = gates.ctypes.data + at, row
            if kind == GRU and gate == 2:
                start, start_row = bias.ctypes.data + at, 0
                out, out_row = inner.ctypes.data + first * BYTES, hidden * BYTES
            times_panel(
                before.ctypes.data, state_row, BYTES, panels[block, gate].ctypes.data, hidden,
                start, start_row, out, out_row, n, width,
            )  # fmt: skip
    low, high = first_block * COLUMNS, min(hidden, end_block * COLUMNS)
    summed = min(cell.gates, 2) if kind == GRU else cell.gates
    for r in range(n):
        act, last, now = gates[r], before[r], y[r]
        for gate in range(summed):
            summands = act[gate * hidden + low : gate * hidden + high]
            _add(summands, bias[gate * hidden + low : gate * hidden + high], summands)
        one = act[low:high]
        if kind == LSTM:
            two, three = (
                act[hidden + low : hidden + high],
                act[2 * hidden + low : 2 * hidden + high],
            )
            four = act[3 * hidden + low : 3 * hidden + high]
            _sigmoid(one)
            _sigmoid(two)
            _tanh(three)
            _sigmoid(four)
            _lstm(one, two, three, four, last[hidden + low : hidden + high],
                  now[hidden + low : hidden + high], now[low:high])  # fmt: skip
        elif kind == GRU:
            two, three = (
                act[hidden + low : hidden + high],
                act[2 * hidden + low : 2 * hidden + high],
            )
            _sigmoid(one)
            _sigmoid(two)
            _gru(one, two, three, x[r, 2 * hidden + low : 2 * hidden + high], inner[r, low:high],
                 last[low:high], now[low:high])  # fmt: skip
        else:
            target = now[low:high]
            if kind == RELU:
                for j in range(target.size):
                    value = one[j]
                    target[j] = np.float32(0) if value <= np.float32(0) else value
            else:
                for j in range(target.size):
                    target[j] = tanh32(one[j])


@kernel()
def _plain_backward(kind: int, gh: Array, y: Array, to: Array) -> None:
    if kind == RELU:
        for j in range(to.size):
            value = gh[j]
            to[j] = value if y[j] > np.float32(0) else value * np.float32(0)
    else:
        for j in range(to.size):
            to[j] = gh[j] * (np.float32(1) - y[j] * y[j])


@kernel()
def _gru_backward(
    gh: Array, reset: Array, update: Array, new: Array, inner: Array, h: Array, to_reset: Array,
    to_update: Array, to_new: Array, from_reset: Array, from_update: Array, from_new: Array,
    carried: Array,
) -> None:  # fmt: skip
    one = np.float32(1)
    for j in range(gh.size):
        to_new[j] = gh[j] * (one - update[j]) * (one - new[j] * new[j])
    for j in range(gh.size):
        value = to_new[j] * inner[j] * reset[j] * (one - reset[j])
        to_reset[j] = value
        from_reset[j] = value
    for j in range(gh.size):
        value = gh[j] * (h[j] - new[j]) * update[j] * (one - update[j])
        to_update[j] = value
        from_update[j] = value
    for j in range(gh.size):
        from_new[j] = to_new[j] * reset[j]
    for j in range(gh.size):
        carried[j] = gh[j] * update[j]


@kernel()
def _lstm_backward(
    gh: Array, gc: Array, enter: Array, keep: Array, new: Array, emit: Array, c: Array,
    before: Array, to_enter: Array, to_keep: Array, to_new: Array, to_emit: Array, carried: Array,
) -> None:  # fmt: skip
    """`gc` is the gradient that c has without what comes through h, and becomes the whole."""
    one = np.float32(1)
    for j in range(gh.size):
        shown = tanh32(c[j])
        to_emit[j] = gh[j] * shown * emit[j] * (one - emit[j])
        gc[j] += gh[j] * emit[j] * (one - shown * shown)
    for j in range(gh.size):
        to_enter[j] = gc[j] * new[j] * enter[j] * (one - enter[j])
    for j in range(gh.size):
        to_keep[j] = gc[j] * before[j] * keep[j] * (one - keep[j])
    for j in range(gh.size):
        to_new[j] = gc[j] * enter[j] * (one - new[j] * new[j])
    for j in range(gh.size):
        carried[j] = gc[j] * keep[j]


@kernel(entry=True)
def _backward(
    part: int, parts: int, cell: Cell, panels: Array, after: Array, g: Array, before: Array,
    gates: Array, inner: Array, y: Array, gx: Array, from_h: Array, carried: Array, space: Array,
) -> None:  # fmt: skip
    """One step: carry the gradients `after`, of the gates of the step after, over to `carried`,
    then write those of this step's gates, unless there is no g: that is the end.

    Shapes: after (m, gates * hidden) of the first m sequences, gates, gx, from_h (n, gates *
    hidden), g, before, y, carried (n, width), space (parts, 2, hidden).
    """
    kind, hidden, blocks = cell.kind, cell.hidden, panels.shape[0]
    depth, state_row = cell.gates * hidden, cell.width * BYTES
    first_block, end_block = blocks * part // parts, blocks * (part + 1) // parts
    for block in range(first_block, end_block):
        first = block * COLUMNS
        out = carried.ctypes.data + first * BYTES
        start, start_row = space[part].ctypes.data, 0
        if kind == GRU:
            start, start_row = out, state_row
        else:
            space[part, 0, :COLUMNS] = 0
        times_panel(
            after.ctypes.data, depth * BYTES, BYTES, panels[block].ctypes.data, depth, start,
            start_row, out, state_row, after.shape[0], min(COLUMNS, hidden - first),
        )  # fmt: skip
    low, high = first_block * COLUMNS, min(hidden, end_block * COLUMNS)
    gh, gc = space[part, 0, low:high], space[part, 1, low:high]
    for r in range(g.shape[0]):
        act, to, held = gates[r], gx[r], carried[r]
        _add(g[r, low:high], held[low:high], gh)
        one = act[low:high]
        if kind == LSTM:
            cells = held[hidden + low : hidden + high]
            _add(g[r, hidden + low : hidden + high], cells, gc)
            _lstm_backward(
                gh, gc, one, act[hidden + low : hidden + high],
                act[2 * hidden + low : 2 * hidden + high],
                act[3 * hidden + low : 3 * hidden + high], y[r, hidden + low : hidden + high],
                before[r, hidden + low : hidden + high], to[low:high],
                to[hidden + low : hidden + high], to[2 * hidden + low : 2 * hidden + high],
                to[3 * hidden + low : 3 * hidden + high], cells,
            )  # fmt: skip
        elif kind == GRU:
            back = from_h[r]
            _gru_backward(
                gh, one, act[hidden + low : hidden + high],
                act[2 * hidden + low : 2 * hidden + high], inner[r, low:high],
                before[r, low:high], to[low:high], to[hidden + low : hidden + high],
                to[2 * hidden + low : 2 * hidden + high], back[low:high],
                back[hidden + low : hidden + high], back[2 * hidden + low : 2 * hidden + high],
                held[low:high],
            )  # fmt: skip
        else:
            _plain_backward(kind, gh, y[r, low:high], to[low:high])


def _cell(w: Array, state: Array, mode: str) -> Cell | None:
    """What is computed, or None for what is left to NumPy: other layouts, nothing to compute."""
    gates, hidden = GATES[mode], w.shape[1]
    fits = state.size > 0 and w.size > 0 and {w.dtype, state.dtype} == {FLOAT32}
    if not fits or len(w) != gates * hidden:
        return None
    return Cell(KINDS[mode], gates, hidden, state.shape[1])


def _parts(cell: Cell, n: int) -> int:
    """How many threads share a step of n sequences: as for a product of that many numbers."""
    blocks = -(-cell.hidden // COLUMNS)
    work = BYTES * n * cell.gates * cell.hidden * max(cell.hidden, 16)
    return min(blocks, shares(work // 64))


def _row(b: Array | None, cell: Cell) -> Array | None:
    """The bias of all gates, zeros where there is none; None if it does not fit."""
    if b is None:
        return np.zeros(cell.gates * cell.hidden, FLOAT32)
    return np.ascontiguousarray(b) if b.dtype == FLOAT32 else None


def recurrence(
    x: Array, state: Array, w: Array, b: Array | None, p: Array | None, *,
    mode: str, sizes: tuple[int, ...], reverse: bool,
) -> tuple[Array, Array, Array | None] | None:  # fmt: skip
    """As `reference.recurrence`, without a projection."""
    cell = _cell(w, state, mode)
    bias = None if cell is None else _row(b, cell)
    if cell is None or bias is None or p is not None or x.dtype != FLOAT32:
        return None
    x, state, w = np.ascontiguousarray(x), np.ascontiguousarray(state), np.ascontiguousarray(w)
    y, gates = empty((len(x), cell.width), FLOAT32), empty(x.shape, FLOAT32)
    inner = empty((len(x), cell.hidden), FLOAT32) if mode == "gru" else None
    kept = gates if inner is None else inner
    blocks, parts = -(-cell.hidden // COLUMNS), _parts(cell, sizes[0])
    with scratch() as take:
        panels = take((blocks, cell.gates, cell.hidden, COLUMNS), FLOAT32)
        run(_pack, parts, cell, w, panels)
        before: Step | None = None
        for step in steps_of(sizes, reverse):
            rows = slice(*step)
            run(
                _forward, parts, cell, panels, x[rows], previous(y, state, step, before), bias,
                gates[rows], kept[rows], y[rows],
            )  # fmt: skip
            before = step
    return y, gates, inner


def recurrence_backward(
    g: Array, state: Array, w: Array, b: Array | None, p: Array | None, y: Array, gates: Array,
    inner: Array | None, *, mode: str, sizes: tuple[int, ...], reverse: bool,
) -> tuple[Array | None, ...] | None:  # fmt: skip
    """As `reference.recurrence_backward`, without a projection."""
    cell = _cell(w, state, mode)
    saved = [a for a in (g, y, gates, inner) if a is not None]
    if cell is None or p is not None or {a.dtype for a in saved} != {FLOAT32}:
        return None
    g, state, w, y, gates = map(np.ascontiguousarray, (g, state, w, y, gates))
    kept = gates if inner is None else np.ascontiguousarray(inner)
    gx = empty(gates.shape, FLOAT32)
    from_h = empty(gates.shape, FLOAT32) if mode == "gru" else gx  # gradient of w @ h + b
    h_before, gstate = empty((len(y), cell.hidden), FLOAT32), np.zeros(state.shape, FLOAT32)
    steps = steps_of(sizes, reverse)
    blocks, parts = -(-cell.hidden // COLUMNS), _parts(cell, sizes[0])
    with scratch() as take:
        panels = take((blocks, cell.gates * cell.hidden, COLUMNS), FLOAT32)
        space = take((parts, 2, blocks * COLUMNS), FLOAT32)
        run(_pack_backward, parts, cell, w, panels)
        after = from_h[:0]
        for i in range(len(steps) - 1, -1, -1):
            step = steps[i]
            rows = slice(*step)
            before = previous(y, state, step, steps[i - 1] if i else None)
            h_before[rows] = before[:, : cell.hidden]
            run(
                _backward, parts, cell, panels, after, g[rows], before, gates[rows], kept[rows],
                y[rows], gx[rows], from_h[rows], gstate, space,
            )  # fmt: skip
            after = from_h[rows]
        nothing = g[:0]
        run(
            _backward, parts, cell, panels, after, nothing, nothing, gates, kept, y, gx, from_h,
            gstate, space,
        )  # fmt: skip
    gb = None
    if b is not None:
        gb = sums.sum(from_h, (0,))
        gb = sum(from_h, (0,)) if gb is None else gb
    return gx, gstate, product_of(from_h.T, h_before), gb, None
