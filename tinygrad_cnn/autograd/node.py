"""What a recorded graph is made of: nodes (operations) and leaves (tensors made by the user).

References point one way, from a result to what it was made from: a node holds its parents' nodes
and the values that its derivative rules name, never the tensors, and a leaf knows its tensor only
weakly. So a graph holds no cycle and dies by reference count as soon as its last result does.
"""

from __future__ import annotations

import itertools
import weakref
from itertools import repeat
from operator import is_not
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn, Protocol, TypeAlias

from tinygrad_cnn.autograd.hooks import Hooks, RemovableHandle, add_hook
from tinygrad_cnn.kernels.lazy import Lazy, realize
from tinygrad_cnn.types import AnyFunction, Args, Array, Params

if TYPE_CHECKING:
    from collections.abc import Callable

    from tinygrad_cnn.autograd.anomaly import Record
    from tinygrad_cnn.autograd.variable import Storage, Variable
    from tinygrad_cnn.tensor import Tensor

_NONE = repeat(None)

clock = itertools.count(1).__next__
"""Creation time: an operation's node is always newer than the nodes of its inputs."""


class Saved:
    """What a forward pass hands to its rules beside the output: indices, statistics, masks."""

    __slots__ = ("out", "residuals")

    def __init__(self, out: Array, **residuals: Any) -> None:
        self.out = out
        self.residuals = residuals


class SavedValue:
    """A tensor's values kept for a rule, with the node it came from and the version it had."""

    __slots__ = ("_value", "node", "seen", "storage")

    def __init__(self, value: Array | Lazy, node: GraphNode | None, storage: Storage) -> None:
        self._value = value
        self.node = node
        self.storage = storage
        self.seen = storage.version

    @property
    def _array(self) -> Array:
        """The values, realized."""
        array: Array = realize(self._value)
        return array

    def check(self, op: str, name: str) -> None:
        """Raise RuntimeError if the values were changed in place since they were saved."""
        if self.storage.version != self.seen:
            self.fail(op, name)

    def fail(self, op: str, name: str) -> NoReturn:
        """Raise the error that says so."""
        what, storage = "its output" if name == "y" else f"`{name}`", self.storage
        raise RuntimeError(
            f"{op}: its derivative needs {what} (shape {self._value.shape}) as the forward pass "
            f"saw it, but {storage.writer} changed it in place afterwards (version {self.seen} was "
            f"saved, now {storage.version}); use the out-of-place form, or change a clone()"
        )


class Derivative(Protocol):
    """What a node needs of its operation: a name, and the inputs' gradients from ``g``."""

    name: str
    broadcasts: bool

    def pullback(
        self, node: Node, g: Variable, wanted: tuple[bool, ...], recording: bool
    ) -> Gradients:
        """Gradients for the inputs that are ``wanted``, in the order of the arguments."""
        ...


_METADATA: weakref.WeakKeyDictionary[Any, Params] = weakref.WeakKeyDictionary()


class _Hooked:
    """What users may attach to nodes of both kinds."""

    __slots__ = ("hooks", "post_hooks")
    hooks: Hooks | None
    post_hooks: Hooks | None

    @property
    def metadata(self) -> Params:
        """A dictionary of the user's, for as long as the node lives."""
        return _METADATA.setdefault(self, {})

    name: Callable[[], str]
    """What the node is called."""

    def register_hook(self, fn: AnyFunction) -> RemovableHandle:
        """Call ``fn(grad_inputs, grad_outputs)`` after the rules; both are tuples.

        A tuple that it returns takes the place of ``grad_inputs``.
        """
        if self.post_hooks is None:
            self.post_hooks = Hooks()
        return add_hook(self.post_hooks, fn)

    def register_prehook(self, fn: AnyFunction) -> RemovableHandle:
        """Call ``fn(grad_outputs)`` before the rules; a tuple that it returns takes their place."""
        if self.hooks is None:
            self.hooks = Hooks()

        def hook(g: Tensor) -> Tensor | None:
            found = fn((g,))
            if found is not None and (not isinstance(found, tuple) or len(found) != 1):
                raise RuntimeError(
                    f"a hook before {self.name()} returned {type(found).__name__}, expected None "
                    f"or a tuple of one gradient"
                )
            return None if found is None else found[0]

        return add_hook(self.hooks, hook)


class Node(_Hooked):
    """One recorded operation; PyTorch's ``grad_fn``."""

    __slots__ = (
        "__weakref__",
        "dtypes",
        "fused",
        "op",
        "params",
        "parents",
        "retain",
        "saved",
        "shapes",
        "time",
        "trace",
        "wanted",
    )

    def __init__(
        self,
        op: Derivative,
        parents: Parents,
        shapes: tuple[tuple[int, ...], ...],
        dtypes: Args,
        params: Params,
        saved: Params,
    ) -> None:
        self.op = op
        self.time = clock()
        self.parents = parents
        self.wanted = tuple(map(is_not, parents, _NONE))  # of which inputs gradients are
        self.shapes = shapes
        self.dtypes = dtypes
        self.params = params
        self.saved: Params | None = saved
        self.hooks: Hooks | None = None
        self.post_hooks: Hooks | None = None
        self.retain: weakref.ref[Variable] | None = None
        self.trace: Record | None = None  # of `detect_anomaly`
        self.fused: str | None = None  # for people: what it was computed together with

    def name(self) -> str:
        """The operation's name."""
        return self.op.name

    @property
    def next_functions(self) -> tuple[tuple[GraphNode | None, int], ...]:
        """The nodes of the inputs, as PyTorch lists them: pairs of node and output number."""
        return tuple((p, 0) for p in self.parents)

    def __repr__(self) -> str:
        return f"<{self.op.name}>"


class Leaf(_Hooked):
    """Where the gradient of a tensor that the user created ends up; PyTorch's AccumulateGrad."""

    __slots__ = ("__weakref__", "dtype", "shape", "tensor", "time")

    op = None
    parents: tuple[()] = ()
    wanted: tuple[()] = ()
    next_functions: tuple[()] = ()

    def __init__(self, tensor: Variable) -> None:
        self.time = clock()
        self.tensor: Callable[[], Variable | None] = weakref.ref(tensor)
        self.shape: tuple[int, ...] = tensor._value.shape
        self.dtype = tensor._value.dtype
        self.hooks: Hooks | None = None
        self.post_hooks: Hooks | None = None

    def name(self) -> str:
        """A fixed name: a leaf runs no operation."""
        return "leaf"

    def __repr__(self) -> str:
        return f"<leaf {self.shape}>"

    def register_hook(self, fn: AnyFunction) -> RemovableHandle:
        """Call ``fn((), (gradient,))`` after ``.grad`` has taken the gradient."""
        if self.post_hooks is None:
            self.post_hooks = Hooks()
        return add_hook(self.post_hooks, lambda tensor, g: fn((), (g,)))


GraphNode = Node | Leaf


class GradientEdge(NamedTuple):
    """A place in the graph at which a gradient can be asked for, as from a tensor."""

    node: GraphNode
    output_nr: int = 0

    def current_node(self) -> GraphNode:
        """The node."""
        return self.node


Parents: TypeAlias = tuple[GraphNode | None, ...]
Gradients: TypeAlias = "tuple[Tensor | None, ...]"
"""Those of the inputs; None where there is none, or it is not wanted."""
