"""Nodes of no operation: of gradients that are constant in pieces, and of what has no derivative.

A gradient that names no input has no graph back to it, and differentiating it again would be an
error. PyTorch gives zeros there, and so does this.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tinygrad_cnn.autograd.modes import is_recording
from tinygrad_cnn.autograd.node import Gradients, Node
from tinygrad_cnn.autograd.variable import Variable, wrap
from tinygrad_cnn.types import Array

if TYPE_CHECKING:
    from tinygrad_cnn.tensor import Tensor


class _Flat:
    """The derivative of a gradient in itself, which is 1, and in the inputs, which is 0."""

    name = "flat"
    broadcasts = False

    def pullback(
        self, node: Node, g: Variable, wanted: tuple[bool, ...], recording: bool
    ) -> Gradients:
        """``g``, and zeros for all inputs that want a gradient."""
        zeros = [
            wrap(np.zeros(shape, dtype)) if want else None
            for shape, dtype, want in zip(node.shapes, node.dtypes, wanted, strict=True)
        ]
        return (g, *zeros[1:])  # type: ignore[arg-type]  # every Variable is a Tensor


_FLAT = _Flat()


def flat_in_inputs(g: Variable, node: Node) -> Tensor:
    """``g``, a gradient that ``node``'s rule made, recorded as a function of its inputs too."""
    shapes = (g._value.shape, *node.shapes)
    dtypes = (g._value.dtype, *node.dtypes)
    made = Node(_FLAT, (g.current_node(), *node.parents), shapes, dtypes, {}, {})
    return wrap(g._value, made, g.storage)


class _Undefined:
    """A derivative that nobody knows, of the function ``name``."""

    broadcasts = False

    def __init__(self, name: str) -> None:
        self.name = name

    def pullback(
        self, node: Node, g: Variable, wanted: tuple[bool, ...], recording: bool
    ) -> Gradients:
        """Raise an error."""
        raise RuntimeError(f"{self.name}: it has no derivative")


def without_derivative(name: str, value: Array, *inputs: Variable) -> Tensor:
    """A tensor that ``name`` made of ``inputs``: it requires a gradient if these do, but asking
    for one is an error.
    """
    parents = tuple([x.current_node() for x in inputs])
    if not any(parents) or not is_recording():
        return wrap(value)
    shapes, dtypes = zip(*[(x._value.shape, x._value.dtype) for x in inputs], strict=True)
    return wrap(value, Node(_Undefined(name), parents, shapes, dtypes, {}, {}))
