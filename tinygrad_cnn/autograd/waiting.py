"""Results that wait to be computed by what reads them (`tinygrad_cnn.kernels.pending`)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tinygrad_cnn.autograd.node import Node
from tinygrad_cnn.autograd.variable import Variable, hold, owns
from tinygrad_cnn.kernels.pending import Affine, Held, Pending, Total

__all__ = ["mark_fused", "rely", "waits"]


def mark_fused(out: Variable, arrays: list[Any]) -> None:
    """Say on the node of ``out`` what was, or will be, computed together with what."""
    node = out.node
    if type(node) is not Node:
        return
    if out.pending is not None:
        node.fused = "computed by what reads it"
        return
    waiting = [x for x in arrays if isinstance(x, (Affine, Total)) and x.made is None]
    names = [" and ".join(x.names) for x in waiting]
    if names:
        node.fused = f"computes {', '.join(names)} of its input"


def waits(pending: Pending | None) -> bool:
    """Whether this stands for numbers that nobody has computed yet."""
    return pending is not None and pending.made is None and type(pending) is not Held


def rely(result: Affine | Total, out: Variable, args: Sequence[Any]) -> None:
    """Let ``result`` wait if nobody can change what it is computed from, else compute it."""
    # Each of these has beside its own reference to its array one in `result`, and one in the list
    # of the arrays of the call.
    relied = [a for a in args if isinstance(a, Variable) and a.pending is None]
    if type(result) is Affine:
        relied = relied[:1]
    if all(owns(a, 2) for a in relied):
        for a in relied:
            hold(a, result)
    else:
        out.array  # noqa: B018  # reading computes it
