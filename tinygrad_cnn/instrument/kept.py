"""What the engine keeps alive for the backward pass."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tinygrad_cnn.autograd import Node
from tinygrad_cnn.autograd.function import FunctionCtx
from tinygrad_cnn.autograd.layout import memory_of
from tinygrad_cnn.autograd.node import SavedValue
from tinygrad_cnn.autograd.variable import Variable
from tinygrad_cnn.kernels.lazy import Lazy
from tinygrad_cnn.types import Array


def kept_values(node: Node) -> Iterator[object]:
    """What ``node`` keeps for its rule: saved tensors, and what the forward pass made for it."""
    for value in (node.saved or {}).values():
        if isinstance(value, FunctionCtx):
            yield from (v for v, _ in value._saved or ())
        elif isinstance(value, list):
            yield from value
        else:
            yield value


def is_freed(node: Node) -> bool:
    """Whether a backward pass has freed what ``node`` kept."""
    saved = node.saved
    return saved is None or any(
        isinstance(value, FunctionCtx) and value._saved is None for value in saved.values()
    )


def memories(value: object) -> list[Array]:
    """The arrays that own the memory which ``value`` keeps alive, whole ones, not parts.

    ``value`` is a tensor, what a rule keeps of one, an array or a `Lazy`. What is yet to be
    computed has no memory of its own, but keeps that of what it will be computed from.
    """
    if isinstance(value, (SavedValue, Variable)):
        value = value._value
    found, stack = [], [value]
    while stack:
        item = stack.pop()
        if isinstance(item, Lazy):
            stack.extend(item.expr[1:])
        elif isinstance(item, np.ndarray):
            found.append(memory_of(item))
    return found
