"""Recurrence step by step, each with one matrix product: RNN, GRU and LSTM.

Shapes and arguments are those of `recurrence`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from tinygrad_cnn.kernels.reference.sums import sum
from tinygrad_cnn.types import Array

GATES = {"tanh": 1, "relu": 1, "gru": 3, "lstm": 4}
"""How many gates, rows of ``w`` for each hidden unit, a cell of each kind has."""


class Step(NamedTuple):
    """Rows ``start`` to ``stop`` of the data: one step of the sequences that are long enough."""

    start: int
    stop: int

    @property
    def size(self) -> int:
        return self.stop - self.start


def steps_of(sizes: tuple[int, ...], reverse: bool) -> list[Step]:
    """The steps in the order of computation."""
    ends = np.cumsum(sizes).tolist()
    steps = [Step(end - size, end) for size, end in zip(sizes, ends, strict=True)]
    return steps[::-1] if reverse else steps


def previous(y: Array, state: Array, step: Step, before: Step | None) -> Array:
    """The state that ``step`` starts from: results of the step before, or initial states."""
    if before is None:
        return state[: step.size]
    known = y[before.start : before.stop][: step.size]
    if len(known) == step.size:
        return known
    return np.concatenate((known, state[len(known) : step.size]))


def _sigmoid(x: Array) -> Array:
    """1 / (1 + exp(-x)), in place: columns that need it not cost less than gaps between rows."""
    x *= -1  # NumPy 2.4's `negative` in place is wrong for columns of float32
    np.exp(x, out=x)
    x += 1
    return np.reciprocal(x, out=x)


def _columns(gates: Array, hidden: int) -> list[Array]:
    """Return views of each gate: (rows, gates * hidden) → (rows, hidden)."""
    return [gates[:, k : k + hidden] for k in range(0, gates.shape[1], hidden)]


def recurrence(
    x: Array,
    state: Array,
    w: Array,
    b: Array | None,
    p: Array | None,
    *,
    mode: str,
    sizes: tuple[int, ...],
    reverse: bool,
) -> tuple[Array, Array, Array | None]:
    """Return the states after every step, the gates, and what a GRU's new state takes from the
    state before; see `ops.recurrent.recurrence`.

    >>> x, state, w = np.zeros((1, 1)), np.zeros((1, 1)), np.ones((1, 1))
    >>> recurrence(x, state, w, None, None, mode="tanh", sizes=(1,), reverse=False)[0]
    array([[0.]])
    """
    hidden, width = w.shape[0] // GATES[mode], w.shape[1]
    y = np.empty((len(x), state.shape[1]), x.dtype)
    gates = np.empty_like(x, order="C")
    inner = np.empty((len(x), hidden), x.dtype) if mode == "gru" else None
    before: Step | None = None
    wt = np.ascontiguousarray(w.T)
    for step in steps_of(sizes, reverse):
        rows = slice(step.start, step.stop)
        last, act = previous(y, state, step, before), gates[rows]
        h = last[:, :width]
        np.matmul(h, wt, out=act)
        if b is not None:
            act += b
        if mode == "gru":
            assert inner is not None
            inner[rows] = act[:, 2 * hidden :]
            act += x[rows]
            reset, update, new = _columns(_sigmoid(act), hidden)
            np.multiply(inner[rows], reset, out=new)
            new += x[rows, 2 * hidden :]
            np.tanh(new, out=new)
            y[rows] = new + update * (h - new)
        else:
            act += x[rows]
            if mode == "lstm":
                candidate = np.tanh(act[:, 2 * hidden : 3 * hidden])
                enter, keep, new, emit = _columns(_sigmoid(act), hidden)
                new[:] = candidate
                c = y[rows, width:]
                np.multiply(keep, last[:, width:], out=c)
                c += enter * candidate
                shown = emit * np.tanh(c)
                y[rows, :width] = shown if p is None else shown @ p.T
            elif mode == "tanh":
                np.tanh(act, out=y[rows])
            else:
                np.maximum(act, 0, out=y[rows])
        before = step
    return y, gates, inner


def recurrence_backward(
    g: Array,
    state: Array,
    w: Array,
    b: Array | None,
    p: Array | None,
    y: Array,
    gates: Array,
    inner: Array | None,
    *,
    mode: str,
    sizes: tuple[int, ...],
    reverse: bool,
) -> tuple[Array | None, ...]:
    """Return the gradients of `recurrence` in x, state, w, b and p.

    >>> y, gates, one = np.zeros((1, 1)), np.zeros((1, 1)), np.ones((1, 1))
    >>> how = {"mode": "tanh", "sizes": (1,), "reverse": False}
    >>> recurrence_backward(one, y, one, None, None, y, gates, None, **how)[0]
    array([[1.]])
    """
    steps = steps_of(sizes, reverse)
    hidden, width = w.shape[0] // GATES[mode], w.shape[1]
    gx = np.empty((len(y), w.shape[0]), y.dtype)
    from_h = np.empty_like(gx) if mode == "gru" else gx  # gradient of w @ h + b
    h_before = np.empty((len(y), width), y.dtype)
    out = np.empty((len(y), 0 if p is None else hidden), y.dtype)  # what `p` projects
    g_out = np.empty((len(y), width), y.dtype)
    gstate = np.zeros(state.shape, y.dtype)
    for i in range(len(steps) - 1, -1, -1):
        step = steps[i]
        rows = slice(step.start, step.stop)
        before = previous(y, state, step, steps[i - 1] if i else None)
        h = h_before[rows] = before[:, :width]
        carried = gstate[: step.size]  # gradient of the states that this step made
        gh = g[rows, :width] + carried[:, :width]
        act, to = gates[rows], gx[rows]
        if mode in ("tanh", "relu"):
            now = y[rows]
            to[:] = gh * ((now > 0) if mode == "relu" else 1 - now * now)
        elif mode == "gru":
            reset, update, new = _columns(act, hidden)
            assert inner is not None
            g_new = gh * (1 - update) * (1 - new * new)
            to[:, :hidden] = g_new * inner[rows] * reset * (1 - reset)
            to[:, hidden : 2 * hidden] = gh * (h - new) * update * (1 - update)
            to[:, 2 * hidden :] = g_new
            from_h[rows] = to
            from_h[rows, 2 * hidden :] *= reset
        else:
            enter, keep, new, emit = _columns(act, hidden)
            shown = np.tanh(y[rows, width:])
            if p is not None:
                out[rows] = emit * shown
                g_out[rows] = gh
                gh = gh @ p
            gc = gh * emit * (1 - shown * shown) + g[rows, width:] + carried[:, width:]
            to[:, :hidden] = gc * new * enter * (1 - enter)
            to[:, hidden : 2 * hidden] = gc * before[:, width:] * keep * (1 - keep)
            to[:, 2 * hidden : 3 * hidden] = gc * enter * (1 - new * new)
            to[:, 3 * hidden :] = gh * shown * emit * (1 - emit)
            carried[:, width:] = gc * keep
        np.matmul(from_h[rows], w, out=carried[:, :width])
        if mode == "gru":
            carried[:, :width] += gh * update
    return (
        gx,
        gstate,
        from_h.T @ h_before,
        None if b is None else sum(from_h, (0,)),
        None if p is None else g_out.T @ out,
    )
