"""Recurrence: one layer of an RNN, GRU or LSTM in one direction, through all steps.

What does not depend on the step before, the product of inputs and weights, is done outside for all
steps at once. Here the steps follow each other, each with one matrix product.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tinygrad_cnn import kernels
from tinygrad_cnn.autograd.node import Saved
from tinygrad_cnn.autograd.registry import op
from tinygrad_cnn.autograd.samples import Draw, ErrorSample, Sample
from tinygrad_cnn.errors import ShapeError
from tinygrad_cnn.kernels.reference.recurrent import GATES as GATES
from tinygrad_cnn.kernels.reference.recurrent import steps_of
from tinygrad_cnn.ops.activation import relu, sigmoid
from tinygrad_cnn.ops.linalg import linear
from tinygrad_cnn.ops.shape import cat
from tinygrad_cnn.ops.trigonometry import tanh
from tinygrad_cnn.types import Array

if TYPE_CHECKING:
    from tinygrad_cnn.tensor import Tensor


def _columns(gates: Tensor, hidden: int) -> list[Tensor]:
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
    for start, stop in steps_of(sizes, reverse):
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
    found: tuple[Array | None, ...] = kernels.recurrence_backward(
        g, state, w, b, p, y, gates, inner, mode=mode, sizes=sizes, reverse=reverse
    )
    return found


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
    y, gates, inner = kernels.recurrence(x, state, w, b, p, mode=mode, sizes=sizes, reverse=reverse)
    return Saved(y, gates=gates, inner=inner)
