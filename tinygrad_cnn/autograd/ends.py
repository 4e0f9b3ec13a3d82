"""Both ends of a walk: what it starts from, and where the gradients it finds are put."""

from __future__ import annotations

from typing import Any, cast

import numpy as np

from tinygrad_cnn.autograd.node import GraphNode, Leaf
from tinygrad_cnn.autograd.variable import Variable, in_order, memory_of, wrap

__all__ = [
    "Ownership",
    "accumulate",
    "roots_of",
    "several",
    "several_or_none",
    "targets_of",
]


class Ownership:
    """Sees to it that no two gradients handed out share memory with each other or with a root."""

    def __init__(self, roots: dict[GraphNode, Any]) -> None:
        self.taken = {id(memory_of(g._array)) for g in roots.values() if isinstance(g, Variable)}

    def take(self, g: Any) -> Any:
        """``g``, copied if its memory is not its own alone."""
        array = g._array
        memory = memory_of(array)
        if memory.nbytes != array.nbytes or id(memory) in self.taken or not array.flags.writeable:
            return wrap(array.copy())
        self.taken.add(id(memory))
        return g if g.view_of is None else wrap(array)


def accumulate(
    tensor: Variable | None, node: GraphNode | None, g: Any, owned: Ownership, create_graph: bool
) -> None:
    """Add ``g`` to the tensor's ``.grad``."""
    if tensor is None:  # nobody is left who could read it
        return
    if tensor.current_node() is not None:  # it still wants its gradient
        before: Any = tensor._grad
        if create_graph:
            tensor._grad = g * 1 if before is None else before + g  # memory of its own
        elif before is None:
            tensor._grad = _laid_out(owned.take(g))
        elif before._array.flags.writeable:
            np.add(before._array, g._array, out=before._written_by("backward"))
        else:
            tensor._grad = wrap(before._array + g._array)
    if type(node) is Leaf and node.post_hooks:
        for hook in tuple(node.post_hooks.values()):
            hook(tensor)


def _laid_out(g: Any) -> Any:
    """``g``, row by row unless it lies as images do between kernels."""
    array = g._value
    if type(array) is not np.ndarray or (ordered := in_order(array)) is array:
        return g
    return wrap(ordered)


def several(value: Any) -> list[Variable]:
    """One tensor, or several, as a list."""
    return [value] if isinstance(value, Variable) else list(value)


def several_or_none(value: Any) -> list[Variable | None] | None:
    """The same for gradients, which may be left out."""
    return None if value is None else [value] if isinstance(value, Variable) else list(value)


def roots_of(
    name: str, outputs: list[Variable], gradients: list[Variable | None] | None
) -> dict[GraphNode, Any]:
    """The gradient to start from at each output's node."""
    if gradients is None:
        gradients = [None] * len(outputs)
    if len(gradients) != len(outputs):
        raise RuntimeError(f"{name}: {len(gradients)} gradients given for {len(outputs)} outputs")
    roots: dict[GraphNode, Any] = {}
    for i, (out, g) in enumerate(zip(outputs, gradients, strict=True)):
        node = out.current_node()
        if node is None:
            raise RuntimeError(
                f"{name}: output {i} (shape {out._value.shape}) does not require gradients: none "
                f"of the tensors it was made from has requires_grad=True, or it was made under "
                f"no_grad() or detached"
            )
        if g is None:
            if out._value.size != 1:
                raise RuntimeError(
                    f"{name}: output {i} has shape {out._value.shape}; its gradient can only be "
                    f"left out for a single number, pass one of that shape"
                )
            g = wrap(np.ones_like(out._array))
        elif not isinstance(g, Variable):
            raise TypeError(f"{name}: gradient {i} is a {type(g).__name__}, expected a Tensor")
        elif g._value.shape != out._value.shape:
            raise RuntimeError(
                f"{name}: gradient {i} has shape {g._value.shape} but its output {out._value.shape}"
            )
        if g._value.dtype != out._value.dtype:
            g = cast(Any, g).to(out._value.dtype)  # an operation of Tensor
        roots[node] = roots[node] + g if node in roots else g
    return roots


def targets_of(name: str, inputs: list[Variable]) -> set[GraphNode]:
    """The nodes at which gradients are wanted."""
    nodes: set[GraphNode] = set()
    for i, t in enumerate(inputs):
        node = t.current_node()
        if node is None:
            raise RuntimeError(
                f"{name}: `inputs[{i}]` (shape {t._value.shape}) does not require gradients"
            )
        nodes.add(node)
    return nodes
