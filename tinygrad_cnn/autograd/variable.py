"""The engine's view of a tensor: an array, the node that made it, and who shares its memory."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from tinygrad_cnn.autograd.modes import enable_grad
from tinygrad_cnn.autograd.node import GraphNode, Leaf
from tinygrad_cnn.kernels.pending import Affine, Held, Pending, Total

if TYPE_CHECKING:
    from tinygrad_cnn.autograd.op import Op

__all__ = ["Variable", "View", "boxed", "hold", "memory_of", "owns", "wrap"]


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
        The values. Whoever changes them in place calls `bump`. Not set while they are ``pending``:
        then reading it computes them.
    pending
        What stands for values that are not computed yet, else None.
    node
        The operation that made this tensor, its `Leaf` if the user did and wants a gradient, or
        None for a constant. Read it through `current_node`, as a write to shared memory may have
        made it stale.
    version
        ``[number of in-place changes, who made the last]``, shared by all views of one memory.
    box
        ``[array]`` if a node has kept the array: all nodes that do share it, and so there is one
        reference to the array more, however many they are.
    """

    __slots__ = ("__weakref__", "_grad", "array", "box", "node", "pending", "version", "view_of")

    tensor_type: ClassVar[type[Variable]]
    """The class of every result: set once, by the module that defines it."""

    array: np.ndarray[Any, Any]
    pending: Pending | None
    node: GraphNode | None
    version: list[Any]
    view_of: View | None
    box: list[Any] | None
    _grad: Variable | None

    if not TYPE_CHECKING:  # for mypy, every name would be an attribute

        def __getattr__(self, name: str) -> Any:
            if name == "array":  # its slot is empty
                array = self.array = self.pending.compute()
                self.pending = None
                return array
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

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
    if isinstance(array, np.ndarray):
        out.array = array
        out.pending = None
    elif isinstance(array, Pending):
        out.pending = array
    else:  # a ufunc on 0-d arrays returns a NumPy scalar: tensors always hold arrays
        out.array = np.asarray(array)
        out.pending = None
    out.node = node
    out.version = [0, None]
    out.view_of = out.box = None
    out._grad = None
    return out


def boxed(tensor: Variable) -> list[Any]:
    """The box with the array of ``tensor``, for a node to keep."""
    box = tensor.box
    if box is None or box[0] is not tensor.array:
        box = tensor.box = [tensor.array]
    return box


def hold(tensor: Variable, promised: Affine | Total) -> None:
    """Let ``promised``, computed from the values of ``tensor``, rely on their staying as they are.

    From now on whoever reads ``tensor.array``, through which alone they can be changed, has
    ``promised`` computed first.
    """
    held = Held(tensor.array)
    promised.hold(held)
    tensor.pending = held
    del tensor.array


def owns(tensor: Variable, known: int) -> bool:
    """Whether nobody has the array of ``tensor``, or a view of its memory, but itself, nodes that
    keep it, and ``known`` more references to the array.
    """
    if tensor.pending is not None or tensor.view_of is not None:
        return False
    box = tensor.box
    known += box is not None and box[0] is tensor.array
    array, memory = _references(tensor)
    return array <= _OWN[0] + known and memory <= _OWN[1]


def _references(tensor: Variable) -> tuple[int, int]:
    """How often the array of ``tensor`` is referred to, and at most a memory it is a view of."""
    part: Any = tensor.array
    count, most = sys.getrefcount(part), 0
    while (part := getattr(part, "base", None)) is not None:
        most = max(most, sys.getrefcount(part))
    return count, most


def memory_of(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The first array of which ``array`` is a view (itself if it is none)."""
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array


class _Alone(Variable):
    """A tensor that shares its array with nobody, to count what counting itself refers to."""

    __slots__ = ()

    def __init__(self) -> None:
        self.array = np.empty(4)[:2]


_OWN = _references(_Alone())
