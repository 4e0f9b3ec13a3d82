"""Recurrent networks: layers of cells, in one or both directions, one above the other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from tinygrad_cnn.errors import DtypeError, ShapeError
from tinygrad_cnn.functions.creation import zeros
from tinygrad_cnn.functions.joining import cat, stack
from tinygrad_cnn.functions.normalization import dropout
from tinygrad_cnn.ops.linalg import linear
from tinygrad_cnn.ops.recurrent import GATES, recurrence

if TYPE_CHECKING:
    from tinygrad_cnn.tensor import Tensor

Weights = Sequence["Tensor | None"]
"""Of one layer in one direction: w_ih, w_hh, b_ih, b_hh (or None), w_hr (or None)."""
State = tuple["Tensor", "Tensor | None"]
"""h, and c of an LSTM."""


def recurrent(
    mode: str,
    input: Tensor,
    state: State | None,
    weights: Sequence[Weights],
    sizes: Sequence[int],
    *,
    directions: int = 1,
    dropout_p: float = 0.0,
) -> tuple[Tensor, State]:
    """Run a stack of recurrent layers over sequences that are packed step by step.

    Shapes: input (rows, features), where the first ``sizes[0]`` rows are the first step of all
    sequences and so on, sizes not growing; h (layers * directions, sizes[0], width) and c (...,
    hidden) the states to start from, by default zeros; output (rows, directions * width).
    ``weights`` are those of each layer and direction, forwards first. The output of each layer but
    the last loses the share ``dropout_p`` of its values.

    Returns
    -------
    output, (h, c)
        The last layer's output, and the states at the end of each sequence; c is None unless
        ``mode`` is "lstm".
    """
    n = sizes[0]
    steps = tuple(int(size) for size in sizes)
    last_h, last_c = [], []
    x = input
    for at in range(0, len(weights), directions):
        outputs = []
        for direction in range(directions):
            w_ih, w_hh, b_ih, b_hh, w_hr = weights[at + direction]
            assert w_ih is not None
            assert w_hh is not None
            width = w_hh.shape[1]
            if state is None:
                cells = w_hh.shape[0] // GATES[mode] if mode == "lstm" else 0
                start = zeros((n, width + cells), dtype=input.dtype)
            else:
                h, c = state
                start = (
                    h[at + direction]
                    if c is None
                    else cat([h[at + direction], c[at + direction]], 1)
                )
            inner = b_hh
            if b_ih is not None and b_hh is not None and mode != "gru":
                b_ih, inner = b_ih + b_hh, None  # only a GRU's gates tell them apart
            gates = linear(x, w_ih, b_ih)  # (rows, features) → (rows, gates)
            reverse = direction == 1
            y = recurrence(gates, start, w_hh, inner, w_hr, mode=mode, sizes=steps, reverse=reverse)
            end = _ends(y, steps, reverse)
            outputs.append(y[:, :width] if mode == "lstm" else y)
            last_h.append(end[:, :width] if mode == "lstm" else end)
            last_c.append(end[:, width:])
        x = outputs[0] if directions == 1 else cat(outputs, 1)
        if dropout_p and at + directions < len(weights):
            x = dropout(x, dropout_p, True)
    return x, (stack(last_h), stack(last_c) if mode == "lstm" else None)


def cell(mode: str, input: Tensor, state: State, weights: Weights) -> State:
    """One step of one layer: (n, features) and h (n, width), c (n, hidden) to the next state."""
    h, c = state
    stacked = (h.unsqueeze(0), None if c is None else c.unsqueeze(0))
    _, (h, c) = recurrent(mode, input, stacked, [[*weights, None]], [input.shape[0]])
    return h[0], None if c is None else c[0]


def check_input(name: str, input: Tensor, features: int, weight: Tensor) -> None:
    """Refuse an input whose last axis or dtype is not that of the weight."""
    if input.shape[-1] != features:
        raise ShapeError(
            f"{name}: `input` has shape {input.shape} but {features} features are expected along "
            f"the last axis"
        )
    if input.dtype != weight.dtype:
        raise DtypeError(
            f"{name}: `input` has dtype {input.dtype} but that of the weights, {weight.dtype}, is "
            f"expected"
        )


def _ends(y: Tensor, sizes: tuple[int, ...], reverse: bool) -> Tensor:
    """The row of each sequence's last step: (rows, width) → (n, width)."""
    n = sizes[0]
    if reverse:
        return y[:n]
    if sizes[-1] == n:
        return y[y.shape[0] - n :]
    rows, start = [0] * n, 0
    for size in sizes:
        rows[:size] = range(start, start + size)
        start += size
    return y[rows]
