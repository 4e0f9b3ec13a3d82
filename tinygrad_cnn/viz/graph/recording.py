"""`Recording`: watches operations while they run and notes them as plain data."""

from __future__ import annotations

import sys
import time
import weakref
from collections.abc import Callable, Mapping
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from tinygrad_cnn import autograd
from tinygrad_cnn.autograd import Leaf, Op, RemovableHandle, is_grad_enabled
from tinygrad_cnn.autograd.events import Call, unwatch, watch
from tinygrad_cnn.autograd.function import OutputPart
from tinygrad_cnn.autograd.hooks import Hooks, add_hook
from tinygrad_cnn.instrument.flops import flops
from tinygrad_cnn.nn.module.location import path_of
from tinygrad_cnn.tensor import Tensor
from tinygrad_cnn.viz.graph.frames import Where, look
from tinygrad_cnn.viz.graph.measures import compute, measure, norm_of
from tinygrad_cnn.viz.graph.notes import Notes
from tinygrad_cnn.viz.graph.records import Edge, ModuleCall, Node
from tinygrad_cnn.viz.graph.text import parameters_text

if TYPE_CHECKING:
    from tinygrad_cnn.nn import Module

_LAYERS = "tinygrad_cnn.nn."


class Recording(Notes):
    """Notes what runs in a ``with`` block; `graph` makes a `Graph` of the notes.

    Every call of an operation is noted, whether the engine records it or not, with the modules that
    run, the line that called it and, if no gradient can flow back through it, why. Afterwards
    the notes are plain data: no tensor, module or node of the engine stays alive because of them.

    Parameters
    ----------
    model
        Its parameters, buffers and modules go by their paths.
    names
        Names for other tensors, such as inputs.
    timed
        Measure each operation and, in a backward pass, each derivative rule. Every result is
        computed at once, so nothing runs fused with anything.
    health
        Measure the norm of each result and of its gradient, its zeros, NaN and Inf. Slow.

    Examples
    --------
    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn
    >>> model = nn.Sequential(nn.Linear(3, 2), nn.ReLU())
    >>> with tg.viz.Recording(model) as recording:
    ...     loss = model(tg.ones(1, 3)).sum()
    >>> graph = recording.graph(loss)
    >>> [(graph.path(node), node.name) for node in graph.operations()]
    [('0', 'linear'), ('1', 'relu'), ('', 'sum')]
    """

    def __init__(
        self,
        model: Module | None = None,
        names: Mapping[str, Tensor] | None = None,
        *,
        timed: bool = False,
        health: bool = False,
    ) -> None:
        super().__init__(model, names)
        self.timed, self.health = timed, health
        self._runs = False
        self._paths: dict[int, str] = {}
        self._call_ids: dict[tuple[Any, ...], int] = {}
        self._counts: dict[int, int] = {}
        self._alive: list[Any] = []  # modules, so that their ids stay theirs while we watch
        self._handles: list[RemovableHandle] = []
        self._gradient: tuple[int, float] | None = None  # whose rule runs, and since when
        if model is not None:
            for path, module in model.named_modules():
                self._paths[id(module)] = path
                self._alive.append(module)

    # ---- the block -------------------------------------------------------------------------

    def __enter__(self) -> Self:
        if self._runs:
            raise RuntimeError("Recording: it is running already; make another one")
        self._runs = True
        watch(self._observe)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        unwatch(self._observe)
        self._runs = False
        self.finish()
        self.refresh()
        for handle in self._handles:
            handle.remove()
        for held in (self._handles, self._alive, self._paths, self._counts, self._call_ids):
            held.clear()
        self._owned.clear()
        self._kept.clear()

    # ---- one operation ---------------------------------------------------------------------

    def _observe(self, call: Call, go: Callable[..., Any]) -> Any:
        if call.kind not in ("operation", "detach"):
            return go()
        name, run, args, params = call[1:]
        where = look(sys._getframe(1))
        sources = [self._find(a) for a in args]
        if self.timed:
            compute(args)
        started = time.perf_counter()
        out = go(blind=True)
        if self.timed:
            compute(out)
        elapsed = time.perf_counter() - started
        node = self._note(name, run, args, params, where, sources)
        node.forward_seconds = elapsed if self.timed else None
        self._note_result(node, run, args, params, out, sources)
        return out

    def _find(self, argument: Any) -> int | None:
        if isinstance(argument, Tensor):
            return self.find(argument)
        if isinstance(argument, np.ndarray):
            return self.source(argument, "constant", "")
        return None

    def _note(
        self,
        name: str,
        run: Any,
        args: tuple[Any, ...],
        params: dict[str, Any],
        where: Where,
        sources: list[int | None],
    ) -> Node:
        """A new node for the call, with edges to what it read."""
        names = run.args if isinstance(run, Op) else ()
        defaults = run.defaults if isinstance(run, Op) else {}
        numbers = {
            names[i] if i < len(names) else f"argument {i}": a
            for i, a in enumerate(args)
            if isinstance(a, (bool, int, float, str))
        }
        node = Node(0, "operation", name, line=where.line)
        node.phase = "backward" if where.backward else "forward"
        node.params = parameters_text({**numbers, **params}, defaults)
        node.call = self._call(where)
        self.add(node)
        for slot, (argument, source) in enumerate(zip(args, sources, strict=True)):
            if source is not None:
                self.edges.append(Edge(source, node.id, slot, argument.shape, str(argument.dtype)))
        return node

    def _note_result(
        self,
        node: Node,
        run: Any,
        args: tuple[Any, ...],
        params: dict[str, Any],
        out: Any,
        sources: list[int | None],
    ) -> None:
        outputs = out if isinstance(out, (tuple, list)) else (out,)
        results = [t for t in outputs if isinstance(t, Tensor)]
        for t in results:
            self.remember(t, node.id)
        if results:
            first = results[0]
            node.shape, node.dtype = first.shape, str(first.dtype)
            shapes = [a.shape if isinstance(a, Tensor) else np.shape(a) for a in args]
            made = next((t.node for t in results if t.node is not None), None)
            node.flops = flops(node.name, shapes, node.shape, params)
            node.recorded = made is not None
            if isinstance(made, autograd.Node):
                if isinstance(made.op, OutputPart):  # of a Function, whose own node is behind it
                    made = made.parents[0]
                assert isinstance(made, autograd.Node)
                self._by_time[made.time] = node.id
                self._made[node.id] = weakref.ref(made)
                node.kept_bytes = self.kept_bytes(node.id, made, sources)
                if self.timed or self.health:
                    self._watch_gradient(made, node.id)
            if self.health:
                measure(node, first)
        if not node.recorded and any(isinstance(a, Tensor) and a.node is not None for a in args):
            node.cut = self._why_cut(node)

    @staticmethod
    def _why_cut(node: Node) -> str:
        if node.name == "detach":
            return "detach"
        if not is_grad_enabled():
            return "no_grad"
        return "integer" if node.dtype is not None and "float" not in node.dtype else "unrecorded"

    # ---- modules ---------------------------------------------------------------------------

    def _call(self, where: Where) -> int | None:
        """The innermost module call, noted with those around it."""
        if where.backward:
            at = None if where.rule is None else self._by_time.get(where.rule)
            return None if at is None else self._backward_call(self.nodes[at].call)
        parent: int | None = None
        for depth, module in enumerate(where.modules):
            number = self._number(module)
            key = (id(module), number, parent)
            if key not in self._call_ids:
                path = self._paths.get(id(module))
                if path is None:
                    path = path_of(where.modules[: depth + 1])
                    if self._paths and not depth:
                        path = type(module).__name__  # not a part of the model
                made = ModuleCall(0, path, type(module).__name__, number, parent, _settings(module))
                made.layer = type(module).__module__.startswith(_LAYERS) and not module._modules
                self._call_ids[key] = self._new_call(made)
            parent = self._call_ids[key]
        return parent

    def _number(self, module: Module) -> int:
        """Which call of ``module`` this is, of those in which an operation was seen."""
        key = id(module)
        if key not in self._counts:
            self._counts[key] = 1
            self._alive.append(module)

            def count(module: Module, args: Any) -> None:
                self._counts[id(module)] += 1

            self._handles.append(module.register_forward_pre_hook(count))
        return self._counts[key]

    def _backward_call(self, call: int | None) -> int | None:
        """The box for the derivative rules of the operations of ``call``."""
        chain = []
        while call is not None:
            chain.append(call)
            call = self.calls[call].parent
        parent: int | None = None
        for c in reversed(chain):
            key = ("backward", c)
            if key not in self._call_ids:
                it = self.calls[c]
                self._call_ids[key] = self._new_call(replace(it, parent=parent, phase="backward"))
            parent = self._call_ids[key]
        return parent

    def _new_call(self, call: ModuleCall) -> int:
        call.id = len(self.calls)
        self.calls.append(call)
        return call.id

    # ---- gradients -------------------------------------------------------------------------

    def _watch_gradient(self, made: autograd.Node | Leaf, at: int) -> None:
        """Have the engine say when the gradient of a node's result is complete."""

        def arrived(g: Any) -> None:
            if not self._runs:
                return
            self.finish()
            if self.health and isinstance(g, Tensor):
                norm = norm_of(g._array)
                self.nodes[at].gradient_norm = norm
                self.nodes[at].nan_gradient = not np.isfinite(norm)
            self._gradient = (at, time.perf_counter())

        if made.hooks is None:
            made.hooks = Hooks()
        handle = add_hook(made.hooks, arrived)
        if isinstance(made, Leaf):  # it outlives the recording
            self._handles.append(handle)

    def finish(self) -> None:
        """Say that the backward pass is over: the time of the last rule ends here."""
        if self._gradient is not None and self.timed:
            at, since = self._gradient
            node = self.nodes[at]
            elapsed = time.perf_counter() - since
            if node.kind == "operation":
                node.backward_seconds = (node.backward_seconds or 0.0) + elapsed
        self._gradient = None

    def source(self, tensor: Any, kind: str, name: str) -> int:
        """A new node for a tensor that no operation made, watched if gradients flow to it."""
        at = super().source(tensor, kind, name)
        if self.health and isinstance(tensor, Tensor):
            measure(self.nodes[at], tensor)
        if (self.timed or self.health) and isinstance(tensor, Tensor) and self._runs:
            leaf = tensor.node
            if isinstance(leaf, Leaf):
                self._watch_gradient(leaf, at)
        return at


def _settings(module: Module) -> str:
    """What its ``repr`` says between the parentheses, in one line."""
    return " ".join(module.extra_repr().split())
