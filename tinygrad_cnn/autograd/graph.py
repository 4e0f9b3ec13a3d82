"""PyTorch's ``torch.autograd.graph``: hooks on what is saved for rules, and on several tensors.

While `saved_tensors_hooks` is entered, everything that an operation keeps for its rules is given to
the pack hook instead, and the graph holds what that returns; a rule that asks for it gets what the
unpack hook makes of that.
"""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np

from tinygrad_cnn.autograd.arguments import need
from tinygrad_cnn.autograd.hooks import Hooks, RemovableHandle
from tinygrad_cnn.autograd.modes import no_grad
from tinygrad_cnn.autograd.node import GradientEdge, GraphNode, Node, SavedValue
from tinygrad_cnn.autograd.variable import Storage, Variable, wrap
from tinygrad_cnn.errors import ArgumentError, DtypeError
from tinygrad_cnn.types import AnyFunction, Params

if TYPE_CHECKING:
    from tinygrad_cnn.tensor import Tensor

__all__ = [
    "GradientEdge",
    "Node",
    "disable_saved_tensors_hooks",
    "get_gradient_edge",
    "register_multi_grad_hook",
    "save_on_cpu",
    "saved_tensors_hooks",
]

Pair = tuple[AnyFunction, AnyFunction]
_packing: ContextVar[Pair | None] = ContextVar("tinygrad_cnn.packing", default=None)
_disabled: ContextVar[str | None] = ContextVar("tinygrad_cnn.packing_disabled", default=None)

packing = _packing.get  # asked for each recorded operation
walking: ContextVar[Walk | None] = ContextVar("tinygrad_cnn.walking", default=None)
"""The reverse walk that runs now."""


class Packed:
    """What a pack hook made of a saved tensor, with the node that the tensor came from."""

    __slots__ = ("_check", "_packed", "_unpack", "node")

    def __init__(self, value: Any, node: GraphNode | None, storage: Storage, hooks: Pair) -> None:
        given, version = wrap(value, None, storage), storage.version
        with no_grad():
            self._packed = hooks[0](given)
        if storage.version != version:
            raise RuntimeError("saved_tensors_hooks: the pack hook changed its tensor in place")
        self._unpack, self.node = hooks[1], node
        self._check: SavedValue | None = None
        if isinstance(self._packed, Variable) and self._packed.storage is storage:
            self._check = SavedValue(value, node, storage)  # still the same memory

    def keep_apart(self, storage: Storage) -> None:
        """Copy what is kept if it lies in ``storage``, which is about to be overwritten."""
        if self._check is not None and self._check.storage is storage:
            own = wrap(self._packed._array.copy())
            self._packed._value, self._packed.storage = own._value, own.storage
            self._check = None

    def unpack(self, op: str, name: str, node: GraphNode | None) -> Tensor:
        """The tensor, made by ``node``."""
        if self._check is not None:
            self._check.check(op, name)
        with no_grad():
            found = self._unpack(self._packed)
        if not isinstance(found, Variable):
            raise DtypeError(
                f"saved_tensors_hooks: the unpack hook returned a {type(found).__name__}, "
                f"expected a Tensor"
            )
        return wrap(found._value, node, found.storage)


def packed(value: object) -> object:
    """``value`` packed by the present hooks if it is a tensor's or an array; else itself."""
    hooks = packing()
    if hooks is None:
        return value
    if type(value) is list:
        return [packed(v) for v in value]
    if isinstance(value, (SavedValue, Variable)):
        return Packed(value._value, value.node, value.storage, hooks)
    if isinstance(value, np.ndarray):
        return Packed(value, None, Storage(), hooks)
    return value


def pack_all(saved: Params) -> None:
    """Pack what a node keeps, by name."""
    for name, value in saved.items():
        saved[name] = packed(value)


class saved_tensors_hooks:
    """In this block, keep ``pack_hook(tensor)`` wherever the graph would keep a tensor.

    ``unpack_hook`` gets that when the tensor is needed, and returns a tensor of the same values,
    shape and dtype. Of nested blocks the innermost one counts. Masks, indices and statistics that
    an operation keeps are given to the hooks too, as tensors; what they are differs from PyTorch.

    Raises
    ------
    RuntimeError
        The pack hook changed its tensor in place, or hooks are disabled.
    TypeError
        A hook is no function, or the unpack hook did not return a tensor (raised in the backward
        pass).

    Examples
    --------
    >>> import tinygrad_cnn as tg
    >>> x = tg.tensor([2.0], requires_grad=True)
    >>> with tg.autograd.graph.saved_tensors_hooks(lambda t: t.numpy().tolist(), tg.tensor):
    ...     y = x.exp()
    >>> y.backward()
    >>> x.grad
    tensor([7.3891])
    """

    def __init__(
        self, pack_hook: Callable[[Tensor], Any], unpack_hook: Callable[[Any], Tensor]
    ) -> None:
        need("saved_tensors_hooks", "pack_hook", pack_hook, "AnyFunction")
        need("saved_tensors_hooks", "unpack_hook", unpack_hook, "AnyFunction")
        self.pack_hook, self.unpack_hook = pack_hook, unpack_hook
        self._before: list[Pair | None] = []

    def __enter__(self) -> Self:
        message = _disabled.get()
        if message is not None:
            raise RuntimeError(message)
        self._before.append(_packing.get())
        _packing.set((self.pack_hook, self.unpack_hook))
        return self

    def __exit__(self, *error: object) -> None:
        _packing.set(self._before.pop())


class save_on_cpu(saved_tensors_hooks):
    """Changes nothing: all tensors are on the CPU. ``pin_memory`` and ``device_type`` are taken."""

    def __init__(self, pin_memory: bool = False, device_type: str = "cuda") -> None:
        super().__init__(lambda t: t, lambda t: t)


@contextmanager
def disable_saved_tensors_hooks(error_message: str) -> Iterator[None]:
    """Have `saved_tensors_hooks` raise RuntimeError with this message inside the block.

    Raises
    ------
    RuntimeError
        Hooks are active already.
    """
    if _packing.get() is not None:
        raise RuntimeError(error_message)
    token = _disabled.set(error_message)
    try:
        yield
    finally:
        _disabled.reset(token)


def get_gradient_edge(tensor: Tensor) -> GradientEdge:
    """The place in the graph where the gradient of ``tensor`` arrives.

    `grad` takes it among its inputs in the place of the tensor, which need not live on.

    Raises
    ------
    RuntimeError
        ``tensor`` does not require gradients.

    Examples
    --------
    >>> import tinygrad_cnn as tg
    >>> x = tg.tensor([2.0], requires_grad=True)
    >>> y = x * x
    >>> edge = tg.autograd.graph.get_gradient_edge(y)
    >>> tg.autograd.grad(y.exp(), edge)
    (tensor([54.5981]),)
    """
    node = tensor.current_node()
    if node is None:
        raise RuntimeError(
            f"get_gradient_edge: `tensor` (shape {tensor.shape}) does not require gradients"
        )
    return GradientEdge(node)


class Walk:
    """A reverse walk: what it starts from, and the nodes that it wants gradients of, if not all.

    ``keeps`` says whether what it walks can be walked again; ``after`` are functions to be called
    when it has come to its end; ``pending`` has what waits to be added to, by the negative of the
    time of the node that it is for.
    """

    __slots__ = ("__weakref__", "after", "keeps", "nodes", "pending", "roots")

    def __init__(
        self, roots: Sequence[GraphNode], nodes: set[GraphNode] | None, keeps: bool
    ) -> None:
        self.roots = roots
        self.nodes = nodes
        self.after: list[Callable[[], None]] = []
        self.keeps = keeps
        self.pending: dict[int, Any] = {}

    def visited(self) -> set[GraphNode]:
        """The nodes that it comes by."""
        seen, stack = set(self.roots), list(self.roots)
        while stack:
            for p in stack.pop().parents:
                if p is not None and p not in seen and (self.nodes is None or p in self.nodes):
                    seen.add(p)
                    stack.append(p)
        return seen


class _Handles(RemovableHandle):
    """Removes several hooks."""

    __slots__ = ("_handles",)

    def __init__(self, handles: tuple[RemovableHandle, ...]) -> None:
        super().__init__(Hooks())
        self._handles = handles

    def remove(self) -> None:
        for handle in self._handles:
            handle.remove()


def register_multi_grad_hook(
    tensors: Sequence[Tensor], fn: AnyFunction, *, mode: Literal["all", "any"] = "all"
) -> RemovableHandle:
    """Call ``fn`` in each backward pass with the gradients of several tensors.

    Parameters
    ----------
    fn
        With ``mode="all"`` it gets the list of gradients once all that this pass computes are
        there, None for a tensor that it does not reach; with ``"any"`` the first gradient that
        comes. What it returns is ignored.

    Raises
    ------
    ArgumentError
        ``mode`` is neither.

    Examples
    --------
    >>> import tinygrad_cnn as tg
    >>> a, b, c = (tg.tensor(v, requires_grad=True) for v in (2.0, 3.0, 4.0))
    >>> handle = tg.autograd.graph.register_multi_grad_hook((a, b, c), print)
    >>> (a * b).backward()
    [tensor(3.), tensor(2.), None]
    """
    if mode not in ("all", "any"):
        raise ArgumentError(
            f"register_multi_grad_hook: `mode` is {mode!r}, expected 'all' or 'any'"
        )
    many = list(tensors)
    nodes = [t.current_node() for t in many]
    state: weakref.WeakKeyDictionary[Walk, dict[str, Any]] = weakref.WeakKeyDictionary()

    def arrived(number: int, g: Tensor) -> None:
        walk = walking.get()
        assert walk is not None
        now = state.get(walk)
        if now is None:
            visited = walk.visited() if mode == "all" else set()
            state[walk] = now = {
                "grads": [None] * len(many),
                "left": sum(n in visited for n in nodes) if mode == "all" else 1,
            }
        now["grads"][number] = g
        now["left"] -= 1
        if now["left"] == 0:
            fn(now["grads"] if mode == "all" else g)

    hooks = [functools.partial(arrived, i) for i in range(len(many))]
    return _Handles(tuple(t.register_hook(hook) for t, hook in zip(many, hooks, strict=True)))
