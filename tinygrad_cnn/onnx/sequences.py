"""Readers of recurrent operators."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

import tinygrad_cnn.functions as f
from tinygrad_cnn.functions.recurrent import recurrent
from tinygrad_cnn.onnx.node import Node, Reader
from tinygrad_cnn.onnx.units import GATES
from tinygrad_cnn.tensor import Tensor

_USUAL = {"LSTM": ["Sigmoid", "Tanh", "Tanh"], "GRU": ["Sigmoid", "Tanh"], "RNN": ["Tanh"]}


def _ours(v: Tensor, kind: str, h: int) -> Tensor:
    """Rows of gates in PyTorch's order."""
    order = np.argsort(GATES[kind])
    rows = np.concatenate([np.arange(g * h, (g + 1) * h) for g in order])
    return v if kind == "RNN" else f.index_select(v, 0, f.tensor(rows))


def _layer(
    n: Node,
    x: Tensor,
    w: Tensor,
    r: Tensor,
    b: Tensor | None = None,
    sequence_lens: Tensor | None = None,
    initial_h: Tensor | None = None,
    initial_c: Tensor | None = None,
    *,
    activations: Sequence[Any] | None = None,
    direction: str = "forward",
    hidden_size: int | None = None,
    layout: int = 0,
) -> tuple[Tensor, ...]:
    kind, directions, h = n.kind, w.shape[0], r.shape[-1]
    names = [a.decode() if isinstance(a, bytes) else a for a in activations or ()]
    relu = kind == "RNN" and names == ["Relu"] * directions
    if names and not relu and names != _USUAL[kind] * directions:
        raise n.refuse(f"the activations {names} are not read")
    if sequence_lens is not None and (sequence_lens.numpy() != x.shape[layout]).any():
        raise n.refuse("sequences of several lengths are not read")
    x = f.transpose(x, 0, 1) if layout else x
    state_h, state_c = initial_h, initial_c
    if layout:
        state_h, state_c = (s if s is None else f.transpose(s, 0, 1) for s in (state_h, state_c))
    x = f.flip(x, (0,)) if direction == "reverse" else x
    length, batch, features = x.shape
    weights: list[Any] = []
    for i in range(directions):
        row: list[Any] = [_ours(v[i], kind, h) for v in (w, r)]
        half = 0 if b is None else b.shape[1] // 2
        row += [None, None] if b is None else [
            _ours(v, kind, h) for v in (b[i, :half], b[i, half:])
        ]  # fmt: skip
        weights.append([*row, None])
    state = None
    if state_h is not None or state_c is not None:
        zeros = f.zeros((directions, batch, h), dtype=x.dtype)
        state_h = zeros if state_h is None else state_h
        state = state_h, (zeros if state_c is None else state_c) if kind == "LSTM" else None
    mode = {"LSTM": "lstm", "GRU": "gru"}.get(kind, "relu" if relu else "tanh")
    rows = x.reshape(length * batch, features)
    y, end = recurrent(mode, rows, state, weights, [batch] * length, directions=directions)
    y = y.reshape(length, batch, directions, h).transpose(1, 2)  # (steps, direction, n, h)
    y = f.flip(y, (0,)) if direction == "reverse" else y
    found = [y, *(s for s in end if s is not None)]
    if layout:
        found = [f.permute(y, (2, 0, 1, 3)), *(f.transpose(s, 0, 1) for s in found[1:])]
    return tuple(found)


def _lstm(
    n: Node,
    x: Tensor,
    w: Tensor,
    r: Tensor,
    b: Tensor | None = None,
    sequence_lens: Tensor | None = None,
    initial_h: Tensor | None = None,
    initial_c: Tensor | None = None,
    p: Tensor | None = None,
    input_forget: int = 0,
    **how: Any,
) -> tuple[Tensor, ...]:
    if input_forget or p is not None:
        raise n.refuse("coupled gates and peepholes are not read")
    return _layer(n, x, w, r, b, sequence_lens, initial_h, initial_c, **how)


def _gru(
    n: Node,
    x: Tensor,
    w: Tensor,
    r: Tensor,
    b: Tensor | None = None,
    sequence_lens: Tensor | None = None,
    initial_h: Tensor | None = None,
    linear_before_reset: int = 0,
    **how: Any,
) -> tuple[Tensor, ...]:
    if not linear_before_reset:
        raise n.refuse("`linear_before_reset=0` is not read")
    return _layer(n, x, w, r, b, sequence_lens, initial_h, **how)


OPERATORS: dict[str, Reader] = {"LSTM": _lstm, "GRU": _gru, "RNN": _layer}
"""By ONNX's names."""
