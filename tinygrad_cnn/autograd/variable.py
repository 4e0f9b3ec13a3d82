"""The engine's view of a tensor: an array, the node that made it, and who shares its memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from tinygrad_cnn.autograd.modes import enable_grad
from tinygrad_cnn.autograd.node import GraphNode, Leaf

if TYPE_CHECKING:
    from tinygrad_cnn.autograd.op import Op

__all__ = ["Variable", "View", "memory_of", "wrap"]


class View:
    """How a tensor looks into another one's memory: the operations that lead from base to view.

    ``node`` is the base's node when the view's own node was made. When the base has been written
    to since (through itself or through another view), the view's history is replayed from the
    base's new one. ``tracked`` is False for a view made while nothing was recorded.
    """

    __slots__ = ("base", "node", "steps", "tracked")

    def __init__(
        self,
        base: Variable,
        steps: tuple[tuple[Op, dict[str, Any]], ...],
        tracked: bool,
    ) -> None:
        self.base = base
        self.node = base.node
        self.steps = steps
        self.tracked = tracked


class Variable:
    """What the engine knows of a tensor. `Tensor` adds the operations.

    Attributes
    ----------
    array
        The values. Whoever changes them in place calls `bump`.
    node
        The operation that made this tensor, its `Leaf` if the user did and wants a gradient, or
        None for a constant. Read it through `current_node`, as a write to shared memory may have
        made it stale.
    version
        ``[number of in-place changes, who made the last]``, shared by all views of one memory.
    """

    __slots__ = ("__weakref__", "_grad", "array", "node", "version", "view_of")

    tensor_type: ClassVar[type[Variable]]
    """The class of every result: set once, by the module that defines it."""

    array: np.ndarray[Any, Any]
    node: GraphNode | None
    version: list[Any]
    view_of: View | None
    _grad: Variable | None

    def current_node(self) -> GraphNode | None:
        """The node of this tensor's present value."""
        view = self.view_of
        if view is not None and view.tracked:
            node = view.base.node
            if node is not view.node and type(node) is not Leaf:
                with enable_grad():
                    again: Any = view.base
                    for op, params in view.steps:
                        again = op(again, **params)
                self.node = again.node
                view.node = node
        return self.node

    def bump(self, by: str) -> None:
        """Say that the values were changed in place, and by what."""
        self.version[0] += 1
        self.version[1] = by

    def want_gradient(self, wanted: bool) -> None:
        """Make this a leaf that collects a gradient, or a constant.

        Raises
        ------
        RuntimeError
            The dtype cannot have gradients, or the tensor is a result whose gradient is not
            optional.
        """
        node = self.current_node()
        if wanted:
            if self.array.dtype.kind != "f":
                raise RuntimeError(
                    f"requires_grad: dtype is {self.array.dtype} but only floating tensors can "
                    f"require gradients"
                )
            if node is None:
                self.node = Leaf(self)
        elif type(node) is Leaf:
            self.node = None
        elif node is not None:
            raise RuntimeError(
                f"requires_grad: this tensor is the result of {node.name()}; its flag can only be "
                f"changed on leaves. Use detach() for a constant with the same values"
            )


_new = object.__new__


def wrap(array: Any, node: GraphNode | None = None) -> Any:
    """A tensor around ``array`` (not copied), made by ``node``."""
    out: Any = _new(Variable.tensor_type)
    # A ufunc on 0-d arrays returns a NumPy scalar: tensors always hold arrays.
    out.array = array if isinstance(array, np.ndarray) else np.asarray(array)
    out.node = node
    out.version = [0, None]
    out.view_of = None
    out._grad = None
    return out


def memory_of(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The first array of which ``array`` is a view (itself if it is none)."""
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array
