"""The reverse walk: one traversal that carries gradients from results back to what made them.

Nodes are visited newest first. A node is always newer than its inputs' nodes, so all consumers of
a value have run before its own rule does: no recursion, no sorting pass.
"""

from __future__ import annotations

import functools
import heapq
import reprlib
import warnings
from collections.abc import Callable, Iterable, Sequence
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_cnn import kernels
from tinygrad_cnn.autograd.anomaly import MASKS
from tinygrad_cnn.autograd.anomaly import check as check_gradient
from tinygrad_cnn.autograd.events import observe, watching
from tinygrad_cnn.autograd.function import FunctionCtx, OutputPart
from tinygrad_cnn.autograd.graph import Walk, walking
from tinygrad_cnn.autograd.layout import memory_of
from tinygrad_cnn.autograd.modes import (
    is_anomaly_check_nan_enabled,
    is_anomaly_enabled,
    recording,
    set_grad_enabled,
)
from tinygrad_cnn.autograd.node import GradientEdge, GraphNode, Leaf, Node
from tinygrad_cnn.autograd.variable import Variable, depend, in_order, wrap
from tinygrad_cnn.errors import ArgumentError, DtypeError
from tinygrad_cnn.kernels import lazy
from tinygrad_cnn.kernels.fp_errors import ignore_fp_errors, within
from tinygrad_cnn.kernels.tape import do, made, taping
from tinygrad_cnn.kernels.threads import with_fresh_stack
from tinygrad_cnn.types import Args

if TYPE_CHECKING:
    from tinygrad_cnn.tensor import Tensor

_HOLDS_NOTHING = frozenset([int, float, bool, type(None)])
MOST_NESTED = 20  # walks inside walks on one thread's stack

_depth: ContextVar[int] = ContextVar("tinygrad_cnn.walks", default=0)


def backward(
    tensors: Variable | Sequence[Variable],
    grad_tensors: Variable | Sequence[Variable | None] | None = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    inputs: Variable | Sequence[Variable] | None = None,
) -> None:
    """Add the gradients of ``tensors`` to the ``.grad`` of the leaves they were made from.

    Parameters
    ----------
    tensors
        One or several results; gradients from all of them are summed.
    grad_tensors
        The gradient of each, of its shape; may be left out for one-element tensors (then 1).
    retain_graph
        Keep what the rules saved, for another walk. Default: ``create_graph``.
    create_graph
        Record the walk itself, so that the gradients can be differentiated.
    inputs
        Collect gradients only here (leaves, or results, whose ``.grad`` is then set too).

    Raises
    ------
    RuntimeError
        A tensor does not require gradients, a gradient is missing, of the wrong shape, or the
        graph was already used and freed.
    """
    roots = roots_of("backward", as_list("backward", tensors), grad_tensors)
    targets = None
    if inputs is not None:
        targets = targets_of("backward", as_list("backward", inputs))
        if not targets:
            raise RuntimeError("backward: `inputs` is empty, so there is nothing to collect")
    owned = Ownership(roots)

    def arrive(leaf: Leaf, g: Tensor) -> None:
        accumulate(leaf.tensor(), leaf, g, owned, create_graph)

    if targets is None:
        _walk(roots, None, retain_graph, create_graph, arrive)
        return
    found = _walk(roots, targets, retain_graph, create_graph)
    with set_grad_enabled(create_graph):
        for t in as_list("backward", inputs):  # type: ignore[arg-type]  # it is not None here
            at = t.current_node()
            if at in found:
                accumulate(t, at, found.pop(at), owned, create_graph)


def grad(
    outputs: Variable | Sequence[Variable],
    inputs: Variable | GradientEdge | Sequence[Variable | GradientEdge],
    grad_outputs: Variable | Sequence[Variable | None] | None = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    only_inputs: bool = True,
    allow_unused: bool | None = None,
    is_grads_batched: bool = False,
    materialize_grads: bool = False,
) -> Args:
    """The gradients of ``outputs`` with respect to ``inputs``; touches no ``.grad``.

    Only the rules on paths from inputs to outputs run.

    Parameters
    ----------
    inputs
        Tensors, or places in the graph (`graph.get_gradient_edge`).
    grad_outputs
        The gradient of each output, of its shape; may be left out for one-element outputs.
    only_inputs
        Changes nothing, as in PyTorch; False gives a warning.
    allow_unused
        Return None for an input that no output was made from, instead of raising.
    is_grads_batched
        ``grad_outputs`` have a first dimension more, and so have the gradients: one walk for each
        element of it.
    materialize_grads
        Return zeros for such an input.

    Raises
    ------
    RuntimeError
        As `backward`, and for unused inputs.

    Examples
    --------
    >>> import tinygrad_cnn as tg
    >>> x = tg.tensor(3.0, requires_grad=True)
    >>> (dx,) = tg.autograd.grad(x**3, x, create_graph=True)
    >>> (ddx,) = tg.autograd.grad(dx, x)
    >>> dx.item(), ddx.item()
    (27.0, 18.0)
    """
    if not only_inputs:
        warnings.warn(
            "grad: `only_inputs` is False, which changes nothing; use backward() for all leaves",
            FutureWarning,
            stacklevel=2,
        )
    if materialize_grads and allow_unused is False:
        raise ArgumentError("grad: `materialize_grads` is True, so `allow_unused` cannot be False")
    wanted = as_list("grad", inputs)
    if not wanted:
        raise ArgumentError("grad: `inputs` is empty, so that no gradient is asked for")
    if is_grads_batched:
        options = (create_graph, only_inputs, allow_unused, False, materialize_grads)
        return _batched_grad(outputs, wanted, grad_outputs, retain_graph, options)
    roots = roots_of("grad", as_list("grad", outputs), grad_outputs)
    targets = targets_of("grad", wanted)
    found = _walk(roots, targets, retain_graph, create_graph)
    owned = Ownership(roots)
    out: list[Tensor | None] = []
    for i, t in enumerate(wanted):
        node = t.current_node()
        assert node is not None
        g = found.get(node)
        if g is not None:
            out.append(g if create_graph else owned.take(g))
        elif materialize_grads and isinstance(t, Variable):
            zeros = wrap(np.zeros_like(t._array))
            zeros.want_gradient(create_graph)
            out.append(zeros)
        elif allow_unused:
            out.append(None)
        else:
            what = f"(shape {t._value.shape})" if isinstance(t, Variable) else t.node
            raise RuntimeError(
                f"grad: `inputs[{i}]` {what} was not used to make `outputs`; "
                f"allow_unused=True returns None for it, materialize_grads=True zeros"
            )
    return tuple(out)


def _batched_grad(
    outputs: Variable | Sequence[Variable],
    inputs: list[Tensor],
    grad_outputs: Variable | Sequence[Variable | None] | None,
    retain_graph: bool | None,
    options: Args,
) -> Args:
    """The gradients for every element of a batch of gradients of the outputs."""
    given = [] if grad_outputs is None else as_list("grad", grad_outputs)
    shapes = [None if u is None else tuple(u.shape) for u in given]
    sizes = {s[:1] for s in shapes if s is not None}
    if len(sizes) != 1 or sizes & {(), (0,)}:
        raise ArgumentError(
            f"grad: `grad_outputs` has the shapes {shapes}, expected one first dimension, not 0, "
            f"as `is_grads_batched` is True"
        )
    ((size,),) = sizes
    rows = []
    for k in range(size):
        keep = True if k + 1 < size else retain_graph
        us = [None if u is None else u[k] for u in given]
        rows.append(grad(outputs, inputs, us, keep, *options))
    # NumPy's function on tensors: the engine itself has no operation
    columns: Iterable[Args] = zip(*rows, strict=True)
    return tuple(None if column[0] is None else np.stack(column) for column in columns)


# ---- the walk ------------------------------------------------------------------------------


def _walk(
    roots: dict[GraphNode, Tensor],
    targets: set[GraphNode] | None,
    retain_graph: bool | None,
    create_graph: bool,
    arrive: Callable[[Leaf, Tensor], None] | None = None,
) -> dict[GraphNode, Tensor]:
    """The gradients of ``targets`` by node; ``arrive(leaf, g)`` gets those of all leaves.

    Where a rule starts a walk whose rules start another, Python's stack is not the limit: every so
    many of them go on in a fresh thread.
    """
    keep = create_graph if retain_graph is None else retain_graph
    useful = None if targets is None else _paths_to(targets, roots)
    if taping:
        taping[0].walked(roots, useful)
    args = (roots, targets, useful, keep, create_graph, arrive)
    visit = functools.partial(within, recording, create_graph, _visit, args, {})
    depth = _depth.get()
    if depth % MOST_NESTED == MOST_NESTED - 1:
        visit = functools.partial(with_fresh_stack, visit)
    if watching:
        visit = functools.partial(observe, "walk", "reverse walk", visit, (), {})
    walk = Walk(tuple(roots), useful, keep)
    visit = functools.partial(within, walking, walk, visit, (), {})
    found = within(_depth, depth + 1, visit, (), {})
    for function in walk.after:
        function()
    return found


@ignore_fp_errors
def _visit(
    roots: dict[GraphNode, Tensor],
    targets: set[GraphNode] | None,
    useful: set[GraphNode] | None,
    retain_graph: bool,
    create_graph: bool,
    arrive: Callable[[Leaf, Tensor], None] | None,
    began: int = 0,
    leave: Callable[[Node, int, Tensor], None] | None = None,
) -> dict[GraphNode, Tensor]:
    # A node and its gradient, by the negative of the time: the newest comes first off a heap.
    pending: dict[int, list[Any]] = {}
    walk = walking.get()
    if walk is not None and not began:
        walk.pending = pending
    queue: list[int] = []
    for root, start in roots.items():
        pending[-root.time] = [root, start]
        queue.append(-root.time)
    heapq.heapify(queue)
    found: dict[GraphNode, Tensor] = {}
    # Sums that this walk itself allocated, and may therefore add to in place.
    sums: set[int] = set()
    anomaly = is_anomaly_enabled() and is_anomaly_check_nan_enabled()
    masks: dict[int, Node] = {}  # by the time of a node what masked its gradient, for anomalies
    while queue:
        time = heapq.heappop(queue)
        node, g = pending.pop(time)
        parents = node.parents
        if useful is None:
            wanted = node.wanted
            goes_on = True
        else:
            assert targets is not None
            wanted = tuple([p in useful for p in parents])
            goes_on = any(wanted)
            if goes_on and node in targets:
                found[node] = g  # as PyTorch: what hooks return goes further down only
        if node.hooks:
            g = _run_hooks(node, g)
        if targets is not None and not goes_on and node in targets:
            found[node] = g
        if type(node) is Leaf:
            if arrive is not None:
                arrive(node, g)
            continue
        if node.retain is not None:
            _retain(node, g)
        if not goes_on:
            continue
        if node.saved is None:
            raise RuntimeError(
                f"{node.op.name}: the graph was already walked and what it saved was freed; "
                f"pass retain_graph=True to the first backward() or grad() call"
            )
        if watching:
            gradients = observe(
                "rule", node.op.name, node.op.pullback, (node, g, wanted, create_graph), {}
            )
        else:
            gradients = node.op.pullback(node, g, wanted, create_graph)
        if node.post_hooks:
            gradients = _run_post_hooks(node, g, gradients)
        if not retain_graph and node.saved:
            _free(node)
        if node.parents is not parents:  # it turned out to stand for several (`programs.training`)
            parents, wanted = node.parents, node.wanted
        shapes, dtypes = node.shapes, node.dtypes
        for i, gx in enumerate(gradients):
            if gx is None or not wanted[i]:
                continue
            parent = parents[i]
            if not isinstance(gx, Variable):
                gx = _fit(node, i, gx)
            else:
                value: Any = gx._value
                if value.shape != shapes[i] or value.dtype != dtypes[i]:
                    gx = _fit(node, i, gx)  # type: ignore[arg-type]  # it is a Tensor
            at = -parent.time
            if anomaly:
                mask = node if node.op.name in MASKS else masks.get(time)
                if mask is not None:
                    masks.setdefault(at, mask)
                check_gradient(node, i, gx, g, masks.get(time))
            if parent.time < began:
                assert leave is not None
                leave(node, i, gx)
                continue
            waiting = pending.get(at)
            if waiting is None:
                pending[at] = [parent, gx]
                heapq.heappush(queue, at)
                continue
            before = waiting[1]
            if at in sums and not create_graph:
                total = before._array
                do(kernels.add_, total, gx._array, writes=(total,))
            else:
                waiting[1] = before + gx if create_graph else total_of(before, gx)
                if isinstance(before, Variable):
                    sums.add(at)
        g = gradients = gx = value = before = waiting = None  # they may be large
    return found


VISIT = _visit.__wrapped__.__code__  # type: ignore[attr-defined]
"""Code in whose frames ``node`` is what a walk has come to."""


def walk_part(
    roots: dict[GraphNode, Tensor],
    began: int,
    useful: set[GraphNode] | None,
    retain_graph: bool,
    create_graph: bool,
    leave: Callable[[Node, int, Tensor], None],
) -> None:
    """Go on with a walk through the nodes made since ``began`` alone.

    ``leave(node, i, g)`` gets every gradient that leaves them, by way of input ``i`` of a node, in
    the order in which a walk through all would have met them. Nodes are gone through if they are
    ``useful``, by default all.
    """
    targets: set[GraphNode] | None = None if useful is None else set()
    _visit(roots, targets, useful, retain_graph, create_graph, None, began, leave)


def _free(node: Node) -> None:
    """Let go of the tensors that a node keeps; what has none can be walked again."""
    assert node.saved is not None
    for value in node.saved.values():
        if isinstance(value, FunctionCtx):
            value.free()
        elif type(value) not in _HOLDS_NOTHING:
            node.saved = None
            return


def total_of(a: Tensor, b: Tensor) -> Tensor:
    """The sum of two gradients; lazy, if their reader may have more to compute with it."""
    if isinstance(a, Variable) and isinstance(b, Variable):
        found = lazy.add_gradients(a._operand(), b._operand())
        if found is not None:
            depend(found, "add", (a, b))
            return wrap(found)
    total: Tensor = a + b
    return total


def _fit(node: Node, i: int, gx: Tensor) -> Tensor:
    """The gradient in its input's shape and dtype."""
    if not isinstance(gx, Variable):
        return gx  # parts of a multi-output function's gradient, which has no one shape
    shape = node.shapes[i]
    known = gx._value
    if known.shape != shape:
        if not node.op.broadcasts:
            raise AssertionError(
                f"{node.op.name}: its rule {i} gave a gradient of shape {known.shape} for an "
                f"input of shape {shape}"
            )
        gx = gx.sum_to_size(shape)
    if known.dtype != node.dtypes[i]:
        gx = gx.to(node.dtypes[i])
    return gx


def _paths_to(targets: set[GraphNode], roots: dict[GraphNode, Tensor]) -> set[GraphNode]:
    """The nodes from which some target can be reached (targets included)."""
    seen: set[GraphNode] = set(roots)
    stack: list[GraphNode] = list(roots)
    oldest = min((t.time for t in targets), default=0)
    while stack:
        for p in stack.pop().parents:
            if p is not None and p not in seen and p.time >= oldest:
                seen.add(p)
                stack.append(p)
    useful = set(targets)
    split = {t.parents[0] for t in targets if isinstance(t.op, OutputPart)}
    for node in sorted(seen, key=lambda n: n.time):  # inputs before what was made from them
        if isinstance(node.op, OutputPart) and node.parents[0] in split:
            useful.add(node)  # as PyTorch, which has one node for all outputs of a function
        elif any(p in useful for p in node.parents):
            useful.add(node)
    return useful


def _run_hooks(node: GraphNode, g: Tensor) -> Tensor:
    assert node.hooks is not None
    for hook in tuple(node.hooks.values()):
        new: Tensor | None = hook(g)
        if new is None:
            continue
        if not isinstance(new, Variable) or new._value.shape != g._value.shape:
            what = new._value.shape if isinstance(new, Variable) else type(new).__name__
            raise RuntimeError(
                f"a hook on the output of {node.name()} returned {what}, expected None or a "
                f"tensor of shape {g._value.shape}"
            )
        if new._value.dtype != g._value.dtype:
            raise RuntimeError(
                f"a hook on the output of {node.name()} returned {new._value.dtype}, expected None "
                f"or a tensor of {g._value.dtype}"
            )
        g = new
    return g


def _run_post_hooks(node: Node, g: Tensor, gradients: Args) -> Args:
    assert node.post_hooks is not None
    for hook in tuple(node.post_hooks.values()):
        new = hook(gradients, (g,))
        if new is None:
            continue
        new = tuple(new) if isinstance(new, (tuple, list)) else (new,)
        if len(new) != len(gradients):
            raise RuntimeError(
                f"a hook on {node.name()} returned {len(new)} gradients, expected {len(gradients)}"
            )
        gradients = new
    return gradients


def _retain(node: Node, g: Tensor) -> None:
    assert node.retain is not None
    tensor = node.retain()
    if tensor is not None:
        kept = wrap(do(np.ndarray.copy, g._array)) if g.node is None else g
        tensor._grad = kept if tensor._grad is None else tensor._grad + kept


# ---- both ends: what a walk starts from, and where the gradients it finds are put -------------


class Ownership:
    """Sees to it that no two gradients handed out share memory with each other or with a root."""

    def __init__(self, roots: dict[GraphNode, Tensor]) -> None:
        self.taken = {id(memory_of(g._array)) for g in roots.values() if isinstance(g, Variable)}

    def take(self, g: Tensor) -> Tensor:
        """``g``, copied if its memory is not its own alone."""
        array = g._array
        memory = memory_of(array)
        if memory.nbytes != array.nbytes or id(memory) in self.taken or not array.flags.writeable:
            return wrap(do(np.ndarray.copy, array))
        self.taken.add(id(memory))
        return g if g.view_of is None else wrap(array)


def accumulate(
    tensor: Variable | None, node: GraphNode | None, g: Tensor, owned: Ownership, create_graph: bool
) -> None:
    """Add ``g`` to the tensor's ``.grad``."""
    if tensor is None:  # nobody is left who could read it
        return
    node_now = tensor.node if tensor.view_of is None else tensor.current_node()
    if node_now is not None:  # it still wants its gradient
        before: Tensor | None = tensor._grad  # type: ignore[assignment]  # so is every Variable
        if create_graph:
            tensor._grad = g * 1 if before is None else before + g  # memory of its own
        elif before is None:
            tensor._grad = _laid_out(owned.take(g))
        elif before._array.flags.writeable:
            # The writer says whether it was added to a gradient, or to zeros (`viz.diagnose`).
            fresh = before.storage.writer in ("zero_", "fill_", "zero_grad")
            by = "backward into zeros" if fresh else "backward"
            total = before._written_by(by)
            do(np.add, total, g._array, total, writes=(total,))
        else:
            tensor._grad = wrap(do(np.add, before._array, g._array))
    if type(node) is Leaf and node.post_hooks:
        for hook in tuple(node.post_hooks.values()):
            hook(tensor, g)


def _laid_out(g: Tensor) -> Tensor:
    """``g``, row by row unless it lies as images do between kernels."""
    array = g._array
    if array.flags.c_contiguous or (ordered := in_order(array)) is array:
        return g
    return wrap(ordered)


def as_list(
    name: str,
    value: Variable | GradientEdge | Iterable[Variable | GradientEdge | None],
) -> list[Tensor]:
    """One tensor, or several, as a list; Nones stay.

    Raises
    ------
    DtypeError
        It is neither.
    """
    if not isinstance(value, (Variable, GradientEdge, Iterable)):
        raise DtypeError(f"{name}: got {reprlib.repr(value)}, expected a tensor or several")
    found: Any = [value] if isinstance(value, (Variable, GradientEdge)) else list(value)
    tensors: list[Tensor] = found  # every Variable is a Tensor
    return tensors


def roots_of(
    name: str,
    outputs: list[Tensor],
    given: Variable | Sequence[Variable | None] | None,
) -> dict[GraphNode, Tensor]:
    """The gradient to start from at each output's node."""
    gradients = as_list(name, [None] * len(outputs) if given is None else given)
    if len(gradients) != len(outputs):
        raise RuntimeError(f"{name}: {len(gradients)} gradients given for {len(outputs)} outputs")
    roots: dict[GraphNode, Tensor] = {}
    g: Tensor | None
    for i, (out, g) in enumerate(zip(outputs, gradients, strict=True)):
        node = _node_of(name, f"output {i}", out)
        if node is None:
            raise RuntimeError(
                f"{name}: output {i} (shape {out._value.shape}) does not require gradients: none "
                f"of the tensors it was made from has requires_grad=True, or it was made under "
                f"no_grad() or detached"
            )
        if isinstance(out, GradientEdge):
            if not isinstance(g, Variable):
                raise RuntimeError(f"{name}: output {i} is a place in the graph; pass its gradient")
            roots[node] = roots[node] + g if node in roots else g
            continue
        if g is None:
            if out._value.size != 1:
                raise RuntimeError(
                    f"{name}: output {i} has shape {out._value.shape}; its gradient can only be "
                    f"left out for a single number, pass one of that shape"
                )
            if out._value.dtype.kind == "c":
                raise RuntimeError(
                    f"{name}: output {i} is {out._value.dtype}; its gradient can only be left out "
                    f"for a real number, such as its real part or abs()"
                )
            g = wrap(made(np.ones_like(out._array)))
        elif not isinstance(g, Variable):
            raise DtypeError(f"{name}: gradient {i} is a {type(g).__name__}, expected a Tensor")
        elif g._value.shape != out._value.shape:
            raise RuntimeError(
                f"{name}: gradient {i} has shape {g._value.shape} but its output {out._value.shape}"
            )
        if g._value.dtype != out._value.dtype:
            if "c" in (g._value.dtype.kind, out._value.dtype.kind) and (
                g._value.dtype.kind != out._value.dtype.kind
            ):
                raise RuntimeError(
                    f"{name}: gradient {i} is {g._value.dtype} but its output {out._value.dtype}; "
                    f"either both are complex or none"
                )
            g = g.to(out._value.dtype)
        roots[node] = roots[node] + g if node in roots else g
    return roots


def _node_of(name: str, what: str, tensor: Any) -> GraphNode | None:
    try:
        node: GraphNode | None = tensor.current_node()
    except AttributeError:
        raise DtypeError(f"{name}: {what} is {reprlib.repr(tensor)}, expected a tensor") from None
    return node


def targets_of(name: str, inputs: Sequence[Variable]) -> set[GraphNode]:
    """The nodes at which gradients are wanted."""
    nodes: set[GraphNode] = set()
    for i, t in enumerate(inputs):
        node = _node_of(name, f"`inputs[{i}]`", t)
        if node is None:
            raise RuntimeError(
                f"{name}: `inputs[{i}]` (shape {t._value.shape}) does not require gradients"
            )
        nodes.add(node)
    return nodes
