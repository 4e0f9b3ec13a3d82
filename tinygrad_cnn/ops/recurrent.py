"""Recurrence: one layer of an RNN, GRU or LSTM in one direction, through all steps.

What does not depend on the step before, the product of inputs and weights, is done outside for all
steps at once. Here the steps follow each other, each with one matrix product.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, TypeVar

import numpy as np

from tinygrad_cnn.autograd.node import Saved
from tinygrad_cnn.autograd.registry import op
from tinygrad_cnn.autograd.samples import Draw, ErrorSample, Sample
from tinygrad_cnn.errors import ShapeError
from tinygrad_cnn.ops.activation import relu, sigmoid
from tinygrad_cnn.ops.linalg import linear
from tinygrad_cnn.ops.shape import cat
from tinygrad_cnn.ops.trigonometry import tanh
from tinygrad_cnn.types import Array

if TYPE_CHECKING:
    from tinygrad_cnn.tensor import Tensor

_T = TypeVar("_T", Array, "Tensor")

GATES = {"tanh": 1, "relu": 1, "gru": 3, "lstm": 4}
"""How many gates, rows of ``w`` for each hidden unit, a cell of each kind has."""


class _Step(NamedTuple):
    """Rows ``start`` to ``stop`` of the data: one step of the sequences that are long enough."""

    start: int
    stop: int

    @property
    def size(self) -> int:
        return self.stop - self.start


def _steps(sizes: tuple[int, ...], reverse: bool) -> list[_Step]:
    """The steps in the order of computation."""
    ends = np.cumsum(sizes).tolist()
    steps = [_Step(end - size, end) for size, end in zip(sizes, ends, strict=True)]
    return steps[::-1] if reverse else steps


def _previous(y: Array, state: Array, step: _Step, before: _Step | None) -> Array:
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


def _columns(gates: _T, hidden: int) -> list[_T]:
    """Views of each gate: (rows, gates * hidden) → (rows, hidden)."""
    return [gates[:, k : k + hidden] for k in range(0, gates.shape[1], hidden)]


# ---- in ordinary operations ----------------------------------------------------------------


def _cell(
    x: Tensor, state: Tensor, w: Tensor, b: Tensor | None, p: Tensor | None, mode: str
) -> Tensor:
    """One step: the new state from the input's part of the gates and the state before."""
    gates = GATES[mode]
    hidden = w.shape[0] // gates
    h = state[:, : w.shape[1]]
    from_h = linear(h, w, b)
    if mode in ("tanh", "relu"):
        return (tanh if mode == "tanh" else relu)(x + from_h)
    if mode == "gru":
        (x0, x1, x2), (h0, h1, h2) = _columns(x, hidden), _columns(from_h, hidden)
        update = sigmoid(x1 + h1)
        new = tanh(x2 + sigmoid(x0 + h0) * h2)
        mixed: Tensor = (1 - update) * new + update * h
        return mixed
    enter, keep, new, emit = _columns(x + from_h, hidden)
    c = sigmoid(keep) * state[:, w.shape[1] :] + sigmoid(enter) * tanh(new)
    out = sigmoid(emit) * tanh(c)
    return cat(out if p is None else linear(out, p), c, dim=1)


def _reference(
    x: Tensor,
    state: Tensor,
    w: Tensor,
    b: Tensor | None = None,
    p: Tensor | None = None,
    *,
    mode: str,
    sizes: tuple[int, ...],
    reverse: bool,
) -> Tensor:
    found: dict[int, Tensor] = {}
    before: Tensor | None = None
    for start, stop in _steps(sizes, reverse):
        n = stop - start
        have = 0 if before is None else min(before.shape[0], n)
        parts = [] if before is None else [before[:have]]
        if have < n:
            parts.append(state[have:n])
        before = _cell(x[start:stop], cat(*parts, dim=0), w, b, p, mode)
        found[start] = before
    return cat(*[found[start] for start in sorted(found)], dim=0)


# ---- fused ---------------------------------------------------------------------------------


def _backward(
    g: Array,
    state: Array,
    w: Array,
    b: Array | None,
    p: Array | None,
    y: Array,
    gates: Array,
    inner: Array | None,
    mode: str,
    sizes: tuple[int, ...],
    reverse: bool,
) -> tuple[Array | None, ...]:
    steps = _steps(sizes, reverse)
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
        before = _previous(y, state, step, steps[i - 1] if i else None)
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
        None if b is None else from_h.sum(0),
        None if p is None else g_out.T @ out,
    )


def _samples(draw: Draw) -> Sample:
    mode = draw.choice(("tanh", "lstm", "gru", "relu"))
    n, hidden = draw.integer(1, 3), draw.integer(1, 3)
    sizes = tuple(sorted((draw.integer(1, n) for _ in range(draw.integer(0, 2))), reverse=True))
    width = draw.integer(1, 3) if mode == "lstm" and draw.choice((False, True)) else None
    rows, seen = GATES[mode] * hidden, hidden if width is None else width
    return Sample(
        (
            draw.array((n + sum(sizes), rows)),
            draw.array((n, seen + hidden * (mode == "lstm"))),
            draw.array((rows, seen)),
            draw.array((rows,)) if draw.choice((False, True)) else None,
            None if width is None else draw.array((width, hidden)),
        ),
        {"mode": mode, "sizes": (n, *sizes), "reverse": draw.choice((False, True))},
    )


@op(
    fused=_backward,
    reference=_reference,
    ignore_fp_errors=True,
    samples=_samples,
    errors=(
        ErrorSample(
            (np.zeros((2, 4)), np.zeros((2, 2)), np.zeros((4, 3))),
            {"mode": "lstm", "sizes": (2,), "reverse": False},
            ValueError,
            "recurrence: `state` has shape",
        ),
    ),
)
def recurrence(
    x: Array,
    state: Array,
    w: Array,
    b: Array | None = None,
    p: Array | None = None,
    *,
    mode: str,
    sizes: tuple[int, ...],
    reverse: bool,
) -> Saved:
    """The states after every step of a recurrent layer, one row for each row of ``x``.

    ``mode`` is "tanh", "relu", "gru" or "lstm". ``x`` (rows, gates * hidden) is the inputs' part of
    the gates: the first ``sizes[0]`` rows are the first step, and so on; sizes do not grow, so that
    sequences end one after the other. ``state`` (sizes[0], width) is where each sequence starts,
    ``w`` (gates * hidden, width) and ``b`` make the state's part of the gates. An LSTM's states are
    ``h`` and ``c`` side by side (width + hidden), and ``p`` (width, hidden) projects ``h``. With
    ``reverse`` the steps are taken from the last to the first. Gates are in PyTorch's order.
    """
    hidden, width = w.shape[0] // GATES[mode], w.shape[1]
    wanted = (sizes[0], width + hidden * (mode == "lstm"))
    if state.shape != wanted or len(x) != sum(sizes):
        raise ShapeError(
            f"recurrence: `state` has shape {state.shape} and `x` {x.shape} but {wanted} and "
            f"({sum(sizes)}, {w.shape[0]}) are expected"
        )
    y = np.empty((len(x), wanted[1]), x.dtype)
    gates = np.empty_like(x, order="C")
    inner = np.empty((len(x), hidden), x.dtype) if mode == "gru" else None
    before: _Step | None = None
    wt = np.ascontiguousarray(w.T)
    for step in _steps(sizes, reverse):
        rows = slice(step.start, step.stop)
        last, act = _previous(y, state, step, before), gates[rows]
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
    return Saved(y, gates=gates, inner=inner)
