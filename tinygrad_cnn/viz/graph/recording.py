"""`Recording`: watches operations while they run and notes them as plain data."""

from __future__ import annotations

import functools
import sys
import time
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from tinygrad_cnn import autograd
from tinygrad_cnn.autograd import Leaf, Op, RemovableHandle, is_grad_enabled
from tinygrad_cnn.autograd.events import Call, unwatch, watch
from tinygrad_cnn.autograd.function import OutputPart
from tinygrad_cnn.autograd.hooks import Hooks, add_hook
from tinygrad_cnn.instrument.flops import flops
from tinygrad_cnn.instrument.places import line_above
from tinygrad_cnn.nn.module.location import path_of, running_modules
from tinygrad_cnn.tensor import Tensor
from tinygrad_cnn.types import Array
from tinygrad_cnn.viz.graph.measures import compute, constancy, measure, norm_of, silent_share
from tinygrad_cnn.viz.graph.notes import Notes
from tinygrad_cnn.viz.graph.records import Edge, ModuleCall, Node
from tinygrad_cnn.viz.graph.text import parameters_text
from tinygrad_cnn.viz.graph.text import place as place_text

if TYPE_CHECKING:
    from tinygrad_cnn.nn import Module

Go = Callable[..., Any]
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
        self._stack: list[_Running] = []
        self._counts: dict[int, int] = {}
        self._alive: list[Module] = []  # so that their ids stay theirs while we watch
        self._handles: list[RemovableHandle] = []
        self._backward_calls: dict[int, int] = {}
        self._rules: list[int | None] = []  # whose rules run, by place in `nodes`
        self._walks = 0
        self.constant_inputs: list[tuple[str, str]] = []  # of the model
        if model is not None:
            for path, module in model.named_modules():
                self._paths[id(module)] = path
                self._alive.append(module)

    # ---- the block -------------------------------------------------------------------------

    def __enter__(self) -> Self:
        if self._runs:
            raise RuntimeError("Recording: it is running already; make another one")
        self._runs = True
        for module in running_modules():
            self._enter(module)
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
        self.refresh()
        for handle in self._handles:
            handle.remove()
        for held in (self._handles, self._alive, self._paths, self._counts, self._stack):
            held.clear()

    def _observe(self, call: Call, go: Go) -> Any:
        if call.kind in ("operation", "detach"):
            return self._operation(call, go)
        if call.kind == "module":
            module = call.run.__self__  # type: ignore[attr-defined]  # a bound method
            if self.health and self._paths.get(id(module)) == "" and not self._stack:
                self._look_at_inputs(call)
            self._enter(module)
            try:
                return go()
            finally:
                self._stack.pop()
        if call.kind == "walk":
            self.refresh()  # before the walk frees what the nodes keep
            self._walks += 1
            try:
                return go()
            finally:
                self._walks -= 1
        if call.kind == "rule":
            return self._rule(call, go)
        return go(blind=call.kind == "load")

    def _look_at_inputs(self, call: Call) -> None:
        args, kwargs = call.args
        named = {f"argument {i}": a for i, a in enumerate(args)} if len(args) > 1 else {}
        named |= {"input": args[0]} if len(args) == 1 else {}
        for name, value in {**named, **kwargs}.items():
            why = constancy(value) if isinstance(value, Tensor) else ""
            if why:
                self.constant_inputs.append((f"{name} of {call.name}", why))

    # ---- operations ------------------------------------------------------------------------

    def _operation(self, call: Call, go: Go) -> Any:
        sources = [self._find(a) for a in call.args]
        base = _base(call.args)
        before = None if base is None else self.find(base)
        place = line_above(sys._getframe(1))
        if self.timed:
            compute(call.args)
        started = time.perf_counter()
        out = go(blind=True)
        if self.timed:
            compute(out)
        elapsed = time.perf_counter() - started
        made = None
        if call.name == "put" and out.node is None and call.params["index"] is Ellipsis:
            made = sources[1] if call.args[1].shape == out.shape else None
        if made is not None:  # the operation before it has made the values
            node = self.nodes[made]
            self.remember(out, made)
        else:
            line = "" if place is None else place_text(*place[:3])
            node = self._note(call, sources, line)
            node.forward_seconds = elapsed if self.timed else None
            self._note_result(node, call, out)
        if base is not None and before is not None and out is call.args[0] and out.node is None:
            self._overwrite(base, before, node)
        return out

    def _find(self, argument: object) -> int | None:
        if isinstance(argument, Tensor):
            return self.find(argument)
        if isinstance(argument, np.ndarray):
            return self.source(argument, "constant", "")
        return None

    def _note(self, call: Call, sources: list[int | None], line: str) -> Node:
        """A new node for the call, with edges to what it read."""
        op = call.run if isinstance(call.run, Op) else None
        names = () if op is None else op.args
        numbers = {
            names[i] if i < len(names) else f"argument {i}": a
            for i, a in enumerate(call.args)
            if isinstance(a, (bool, int, float, str))
        }
        node = self.add(Node(0, "operation", call.name, line=line))
        node.phase = "backward" if self._walks else "forward"
        defaults = {} if op is None else op.defaults
        node.params = parameters_text({**numbers, **call.params}, defaults)
        node.call = self._current_call()
        for slot, (argument, source) in enumerate(zip(call.args, sources, strict=True)):
            if source is not None:
                self.edges.append(Edge(source, node.id, slot, argument.shape, str(argument.dtype)))
        return node

    def _note_result(self, node: Node, call: Call, out: Any) -> None:
        outputs = out if isinstance(out, (tuple, list)) else (out,)
        results = [t for t in outputs if isinstance(t, Tensor)]
        for t in results:
            self.remember(t, node.id)
        if results:
            first = results[0]
            node.shape, node.dtype = first.shape, str(first.dtype)
            shapes = [a.shape if isinstance(a, Tensor) else np.shape(a) for a in call.args]
            node.flops = flops(node.name, shapes, node.shape, call.params)
            made = next((t.node for t in results if t.node is not None), None)
            node.recorded = made is not None
            if isinstance(made, autograd.Node):
                if isinstance(made.op, OutputPart):  # of a Function, whose own node is behind it
                    made = made.parents[0]
                assert isinstance(made, autograd.Node)
                self._by_time[made.time] = node.id
                self._made[node.id] = weakref.ref(made)
            if self.health:
                measure(node, first)
                if node.name in ("linear", "conv2d"):
                    node.silent = silent_share(call.args)
        if not node.recorded and any(
            isinstance(a, Tensor) and a.node is not None for a in call.args
        ):
            node.cut = self._why_cut(node)

    def _overwrite(self, base: Tensor, before: int, made: Node) -> None:
        """Note that a view of ``base`` was changed by ``made``, and ``base`` with it."""
        node = self.add(Node(0, "operation", "overwrite", made.call, made.phase, line=made.line))
        node.shape, node.dtype, node.flops = base.shape, str(base.dtype), 0
        self.edges.append(Edge(before, node.id, 0, node.shape, node.dtype))
        self.edges.append(Edge(made.id, node.id, 1, made.shape, made.dtype))
        self.remember(base, node.id)

    @staticmethod
    def _why_cut(node: Node) -> str:
        if node.name == "detach":
            return "detach"
        if not is_grad_enabled():
            return "no_grad"
        return "integer" if node.dtype is not None and "float" not in node.dtype else "unrecorded"

    # ---- modules ---------------------------------------------------------------------------

    def _enter(self, module: Module) -> None:
        key = id(module)
        if key not in self._counts:
            self._alive.append(module)
        self._counts[key] = self._counts.get(key, 0) + 1
        self._stack.append(_Running(module, self._counts[key]))

    def _current_call(self) -> int | None:
        """The innermost module call. It is noted, with those around it, if it is new."""
        if self._walks:
            at = next((r for r in self._rules if r is not None), None)  # the outermost one
            return None if at is None else self._backward_call(self.nodes[at].call)
        parent: int | None = None
        for depth, running in enumerate(self._stack):
            if running.call is None:
                module = running.module
                path = self._paths.get(id(module))
                if path is None:
                    path = path_of([r.module for r in self._stack[: depth + 1]])
                    if self._paths and not depth:
                        path = type(module).__name__  # not a part of the model
                made = ModuleCall(
                    len(self.calls),
                    path,
                    type(module).__name__,
                    running.number,
                    parent,
                    " ".join(module.extra_repr().split()),
                    layer=type(module).__module__.startswith(_LAYERS) and not module._modules,
                )
                self.calls.append(made)
                running.call = made.id
            parent = running.call
        return parent

    def _backward_call(self, call: int | None) -> int | None:
        """The box for the derivative rules of the operations of ``call``."""
        chain = []
        while call is not None:
            chain.append(call)
            call = self.calls[call].parent
        parent: int | None = None
        for c in reversed(chain):
            if c not in self._backward_calls:
                new = replace(self.calls[c], id=len(self.calls), parent=parent, phase="backward")
                self._backward_calls[c] = new.id
                self.calls.append(new)
            parent = self._backward_calls[c]
        return parent

    # ---- gradients -------------------------------------------------------------------------

    def _rule(self, call: Call, go: Go) -> Any:
        """A derivative rule: its time, and the norm of the gradient that it is given."""
        engine_node, g = call.args[:2]
        at = self._by_time.get(engine_node.time)
        node = None if at is None else self.nodes[at]
        if node is not None and self.health:
            _measure_gradient(node, g)
        if self.timed:
            compute(g)
        self._rules.append(at)
        started = time.perf_counter()
        try:
            gradients = go()
            if self.timed:
                compute(gradients)
        finally:
            self._rules.pop()
        if node is not None and self.timed:
            elapsed = time.perf_counter() - started
            node.backward_seconds = (node.backward_seconds or 0.0) + elapsed
        return gradients

    def source(self, tensor: Tensor | Array, kind: str, name: str) -> int:
        """A new node for a tensor that no operation made, watched if gradients flow to it."""
        at = super().source(tensor, kind, name)
        if self.health and isinstance(tensor, Tensor):
            measure(self.nodes[at], tensor)
            leaf = tensor.node
            if self._runs and isinstance(leaf, Leaf):  # it outlives the recording
                if leaf.hooks is None:
                    leaf.hooks = Hooks()
                hook = functools.partial(_measure_gradient, self.nodes[at])
                self._handles.append(add_hook(leaf.hooks, hook))
        return at


@dataclass(slots=True)
class _Running:
    """A module whose call is in progress: the how many-th it is, and its place in ``calls``."""

    module: Module
    number: int
    call: int | None = None


def _measure_gradient(node: Node, g: object) -> None:
    if isinstance(g, Tensor):
        node.gradient_norm = norm_of(g._array)
        node.nan_gradient = not np.isfinite(node.gradient_norm)


def _base(args: tuple[object, ...]) -> Tensor | None:
    """The tensor into whose memory the first argument looks, if it is a view."""
    view = getattr(args[0], "view_of", None) if args else None
    return None if view is None else view.base
