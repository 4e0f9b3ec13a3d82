"""Nested tuples, lists and dicts of tensors: taken apart into a list and put together again."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

from tinygrad_cnn.errors import DtypeError
from tinygrad_cnn.tensor import Tensor
from tinygrad_cnn.types import FLOATING

Tree: TypeAlias = Any
"""Tensors in nested tuples, lists and dicts."""


def flatten(tree: Tree) -> tuple[list[Any], Callable[[Iterable[Any]], Tree]]:
    """The leaves of ``tree``, and the function that puts as many values in their places."""
    leaves: list[Any] = []

    def visit(node: Any) -> Callable[[Any], Any]:
        if isinstance(node, dict):
            parts = {k: visit(v) for k, v in node.items()}
            return lambda it: {k: build(it) for k, build in parts.items()}
        if isinstance(node, (tuple, list)):
            several = [visit(v) for v in node]
            kind: Any = type(node)
            if hasattr(kind, "_fields"):  # a named tuple takes its values one by one
                return lambda it: kind(*[build(it) for build in several])
            return lambda it: kind([build(it) for build in several])
        leaves.append(node)
        return next

    build = visit(tree)
    return leaves, lambda values: build(iter(values))


def transform(function: Callable[[Any], object], tree: Tree) -> Tree:
    """``tree`` with ``function`` of each leaf in its place."""
    leaves, build = flatten(tree)
    return build([function(leaf) for leaf in leaves])


def tensors(name: str, what: str, tree: Tree) -> list[Tensor]:
    """The leaves of ``tree``; TypeError unless all are floating tensors."""
    leaves, _ = flatten(tree)
    for leaf in leaves:
        if not isinstance(leaf, Tensor):
            raise DtypeError(f"{name}: {what} holds a {type(leaf).__name__}, expected tensors")
        if leaf.dtype.kind not in FLOATING:
            raise DtypeError(
                f"{name}: {what} holds a tensor of dtype {leaf.dtype}, expected a floating one"
            )
    return leaves
