"""What `detect_anomaly` keeps of every operation, and says of a gradient that contains NaN."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import FrameType
from typing import TYPE_CHECKING

import numpy as np

from tinygrad_cnn.autograd.variable import Variable
from tinygrad_cnn.types import Array

if TYPE_CHECKING:
    from tinygrad_cnn.autograd.node import Node

MASKS = {"where", "clamp", "relu", "leaky_relu", "maximum", "minimum"}
"""Operations that take one branch: the gradient of the other is 0 where they do."""

tellers: list[Callable[[FrameType], str | None]] = []
"""Functions that name the module running in a frame, above this floor."""

_OURS = os.path.join(os.path.dirname(os.path.dirname(__file__)), "")


@dataclass
class Record:
    """Where an operation ran, and on what."""

    stack: str
    line: str
    module: str | None
    inputs: list[str]


def record_of(names: Sequence[str], arrays: Sequence[object]) -> Record:
    """The record of the operation that is running; it calls this by way of `Op.record`."""
    frame = sys._getframe(3)
    found = traceback.extract_stack(frame)
    theirs = [f for f in found if not f.filename.startswith(_OURS)] or found
    at = theirs[-1]
    module = next((path for tell in tellers if (path := tell(frame)) is not None), None)
    return Record(
        "".join(traceback.format_list(found)),
        f"{at.filename}:{at.lineno} in {at.name}: {at.line}",
        module,
        [
            f"`{names[min(i, len(names) - 1)]}` {describe(a)}"
            for i, a in enumerate(arrays)
            if isinstance(a, np.ndarray)
        ],
    )


def describe(x: Array) -> str:
    """Shape, range and how much of it is not finite.

    >>> describe(np.array([1.0, 3.0, np.nan]))
    'of shape (3,) from 1 to 3, 1 NaN'
    """
    text = f"of shape {x.shape}"
    if x.dtype.kind not in "iuf":
        return f"{text}, {x.dtype}"
    nans, infinite = int(np.isnan(x).sum()), int(np.isinf(x).sum())
    if x.size > nans:
        text += f" from {np.nanmin(x):g} to {np.nanmax(x):g}"
    counts = [f"{n} {what}" for n, what in ((nans, "NaN"), (infinite, "infinite")) if n]
    return ", ".join([text, *counts])


def _where(node: Node) -> str:
    """Where an operation ran, in a line."""
    if node.trace is None:
        return node.op.name
    return f"{node.op.name}{_module(node)} at {node.trace.line}"


def _module(node: Node) -> str:
    return f" in {node.trace.module}" if node.trace is not None and node.trace.module else ""


def check(node: Node, i: int, gx: object, g: object, mask: Node | None) -> None:
    """Raise RuntimeError if the gradient of input ``i`` contains NaN.

    ``g`` is the gradient of the node's output, ``mask`` the last operation of `MASKS` that it came
    through.
    """
    if not isinstance(gx, Variable) or not np.isnan(gx._array).any():
        return
    args = getattr(node.op, "args", ())
    name = f"input `{args[min(i, len(args) - 1)]}`" if args else f"input {i}"
    bad = np.isnan(gx._array)
    lines = [
        f"{node.op.name}: its gradient for {name}, of shape {gx._array.shape}, contains NaN in "
        f"{int(bad.sum())} of {bad.size} numbers{_module(node)}"
    ]
    if isinstance(g, Variable):
        lines.append(f"The gradient that came to it is {describe(g._array)}.")
        lines.append(_cause(node, bad, g._array, mask))
    if node.trace is not None:
        lines += [f"Its argument {text}." for text in node.trace.inputs]
        lines.append(f"Its forward pass ran at {node.trace.line}")
        lines.append(f"Called from:\n{node.trace.stack}")
    raise RuntimeError("\n".join(line for line in lines if line))


def _cause(node: Node, bad: Array, g: Array, mask: Node | None) -> str:
    """Why there is NaN, as far as it can be told."""
    if np.isnan(g).any():
        return "That has NaN already: look at what was computed from its result."
    if node.trace is not None and any("NaN" in text for text in node.trace.inputs):
        return "Its arguments have NaN already: look at what they were computed from."
    zeros = g == 0
    masked = zeros[bad].all() if g.shape == bad.shape else zeros.any()
    if mask is None or not masked:
        return ""
    return (
        f"It comes from a masked branch: {_where(mask)}\n  does not take these numbers, so their "
        f"gradient is 0, and 0 times the infinite derivative of {node.op.name} is NaN. Mask its "
        f"argument instead: where(ok, {node.op.name}(where(ok, x, 1)), 0)."
    )
