"""`Notes`: from tensors and the engine's nodes to the nodes and edges of a `Graph`."""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_cnn import autograd
from tinygrad_cnn.autograd import Leaf, Op
from tinygrad_cnn.autograd.function import OutputPart
from tinygrad_cnn.autograd.node import SavedValue
from tinygrad_cnn.instrument.flops import flops
from tinygrad_cnn.tensor import Tensor
from tinygrad_cnn.viz.graph.data import Graph
from tinygrad_cnn.viz.graph.records import Edge, ModuleCall, Node, Shape, numel
from tinygrad_cnn.viz.graph.text import parameters_text

if TYPE_CHECKING:
    from tinygrad_cnn.nn import Module


class Notes:
    """What is known of a computation so far. Knows tensors only weakly.

    ``names`` are tensors to be called inputs under these names; the parameters and buffers of
    ``model`` go by their paths.
    """

    def __init__(
        self, model: Module | None = None, names: Mapping[str, Tensor] | None = None
    ) -> None:
        self.nodes: list[Node] = []
        self.edges: list[Edge] = []
        self.calls: list[ModuleCall] = []
        self.title = "" if model is None else type(model).__name__
        self._by_time: dict[int, int] = {}  # an engine's node by its creation time: our node
        self._by_tensor: dict[int, tuple[weakref.ref[Any], int]] = {}
        self._made: dict[int, weakref.ref[autograd.Node]] = {}  # the engine's nodes of ours
        self._labels: dict[int, tuple[weakref.ref[Any], str, str]] = {}
        # Memory by the version that all views of it share: the user's own, and what was counted.
        self._owned: dict[int, Any] = {}
        self._kept: dict[int, Any] = {}
        if model is not None:
            for name, parameter in model.named_parameters():
                self._label(parameter, "parameter", name)
            for name, buffer in model.named_buffers():
                self._label(buffer, "buffer", name)
        for name, tensor in (names or {}).items():
            self._label(tensor, "input", name)

    def _label(self, tensor: Tensor, kind: str, name: str) -> None:
        self._labels[id(tensor)] = (weakref.ref(tensor), kind, name)

    # ---- the graph -------------------------------------------------------------------------

    def graph(self, outputs: Any = None) -> Graph:
        """What ``outputs`` (a tensor, or several) were made from; everything, if left out.

        Raises
        ------
        ValueError
            An output is a tensor of which nothing is known.
        """
        if outputs is None:
            read = {e.source for e in self.edges}
            ends = [n.id for n in self.nodes if n.kind == "operation" and n.id not in read]
            return self._part(set(range(len(self.nodes))), ends)
        tensors = [outputs] if isinstance(outputs, Tensor) else list(outputs)
        ends = [self.find(t) for t in tensors]
        return self._part(self.ancestors(ends), ends)

    def _part(self, wanted: set[int], ends: list[int]) -> Graph:
        self.refresh()
        ends = list(dict.fromkeys(ends))
        whole = Graph(self.nodes, self.edges, self.calls, ends, self.title)
        part = whole.select(lambda n: n.id in wanted)
        first: set[int] = set()  # a parameter counts where it is first read
        for edge in part.edges:
            source, target = part.nodes[edge.source], part.nodes[edge.target]
            if source.kind == "parameter" and source.id not in first:
                first.add(source.id)
                target.parameter_count += numel(source.shape)
        return part

    def refresh(self) -> None:
        """Read again what the engine may have said of its nodes since: what ran fused."""
        for at, reference in self._made.items():
            node = reference()
            if node is not None:
                self.nodes[at].fused = getattr(node, "fused", None)

    def ancestors(self, ids: list[int]) -> set[int]:
        """The nodes from which one of ``ids`` can be reached, and these."""
        sources: dict[int, list[int]] = {}
        for edge in self.edges:
            sources.setdefault(edge.target, []).append(edge.source)
        found, stack = set(ids), list(ids)
        while stack:
            for source in sources.get(stack.pop(), ()):
                if source not in found:
                    found.add(source)
                    stack.append(source)
        return found

    # ---- tensors ---------------------------------------------------------------------------

    def find(self, tensor: Tensor) -> int:
        """The node that made ``tensor``, noted now if it is new."""
        node = tensor.current_node()
        if isinstance(node, autograd.Node):
            if node.time not in self._by_time:
                self._adopt(node, tensor.shape, str(tensor.dtype))
            return self._by_time[node.time]
        known = self._by_tensor.get(id(tensor))
        if known is not None and known[0]() is tensor:
            return known[1]
        if node is not None and node.time in self._by_time:
            return self._by_time[node.time]
        label = self._labels.get(id(tensor))
        kind, name = "constant", ""
        if label is not None and label[0]() is tensor:
            kind, name = label[1:]
        elif node is not None:
            kind, name = "input", "leaf"
        return self.source(tensor, kind, name)

    def source(self, tensor: Any, kind: str, name: str) -> int:
        """A new node for a tensor (or array) that no operation made."""
        new = self.add(Node(0, kind, name, shape=tensor.shape, dtype=str(tensor.dtype)))
        if isinstance(tensor, Tensor):
            if kind == "constant" and tensor.shape == ():
                new.params["value"] = f"{tensor.item():g}"
            new.recorded = tensor.node is not None
            memory = _memory(tensor)
            self._owned[id(memory)] = memory
            self.remember(tensor, new.id)
        return new.id

    def add(self, node: Node) -> Node:
        """Put ``node`` behind all others."""
        node.id = len(self.nodes)
        self.nodes.append(node)
        return node

    def remember(self, tensor: Tensor, at: int) -> None:
        """Note that node ``at`` made ``tensor``."""
        self._by_tensor[id(tensor)] = (weakref.ref(tensor), at)
        if tensor.node is not None:
            self._by_time[tensor.node.time] = at

    def kept_bytes(self, at: int, node: autograd.Node, sources: list[int | None]) -> int | None:
        """Bytes that the engine's ``node`` keeps and that nothing before it kept."""
        saved = node.saved
        if saved is None:
            return None
        if not isinstance(node.op, Op):
            context = saved.get("ctx")
            return (
                None
                if context is None
                else sum(t.nbytes for t in context.saved_tensors if isinstance(t, Tensor))
            )
        total = 0
        args = node.op.args
        for name, value in saved.items():
            if name == "y":
                made = self.nodes[at]
                total += self._count(value, _bytes(made.shape, made.dtype))
            elif name in args:
                first = args.index(name)
                many = value if isinstance(value, list) else [value]
                for slot, one in enumerate(many, first):
                    source = sources[slot]
                    if source is not None and self.nodes[source].kind == "operation":
                        size = _bytes(node.shapes[slot], str(node.dtypes[slot]))
                        total += self._count(one, size)
            elif isinstance(value, np.ndarray):
                total += value.nbytes
        return total

    def _count(self, value: Any, size: int) -> int:
        """``size``, or 0 if the value's memory is the user's or was counted already."""
        if not isinstance(value, SavedValue):
            return 0
        memory = _memory(value)
        key = id(memory)
        if key in self._owned or key in self._kept:
            return 0
        self._kept[key] = memory  # alive, so that its id stays its own
        return size

    # ---- what was recorded before ------------------------------------------------------------

    def _adopt(self, newest: autograd.Node, shape: Shape, dtype: str) -> None:
        """Note ``newest`` and what it was made from, as far as the engine's nodes still tell."""
        found: dict[int, Any] = {newest.time: newest}
        results: dict[int, tuple[Shape, str]] = {newest.time: (shape, dtype)}
        stack: list[Any] = [newest]
        while stack:
            node = stack.pop()
            for i, parent in enumerate(node.parents):
                if parent is None:
                    continue
                if node.shapes[i] != () or node.dtypes[i] is not None:
                    results.setdefault(parent.time, (node.shapes[i], str(node.dtypes[i])))
                if parent.time not in found and parent.time not in self._by_time:
                    found[parent.time] = parent
                    stack.append(parent)
        for moment in sorted(found):
            node = found[moment]
            if isinstance(node, Leaf):
                self._adopt_leaf(node)
            elif isinstance(node.op, OutputPart):  # one of a function's several results
                at = self._by_time[moment] = self._by_time[node.parents[0].time]
                self.nodes[at].shape, self.nodes[at].dtype = results[moment]
            else:
                self._adopt_operation(node, *results[moment])

    def _adopt_leaf(self, leaf: Leaf) -> None:
        tensor = leaf.tensor()
        if tensor is not None:
            self._by_time[leaf.time] = self.find(tensor)  # type: ignore[arg-type]  # a Tensor
            return
        new = self.add(Node(0, "input", "leaf", shape=leaf.shape, dtype=str(leaf.dtype)))
        new.recorded = True
        self._by_time[leaf.time] = new.id

    def _adopt_operation(self, node: autograd.Node, shape: Shape, dtype: str) -> None:
        sources: list[int | None] = []
        for i, parent in enumerate(node.parents):
            if parent is not None:
                sources.append(self._by_time[parent.time])
            elif node.dtypes[i] is not None:
                constant = Node(0, "constant", "", shape=node.shapes[i], dtype=str(node.dtypes[i]))
                sources.append(self.add(constant).id)
            else:
                sources.append(None)
        op = node.op
        defaults = op.defaults if isinstance(op, Op) else {}
        new = Node(0, "operation", op.name, shape=shape, dtype=dtype, recorded=True)
        numbers = {
            name: value
            for name, value in (node.saved or {}).items()
            if isinstance(value, (bool, int, float))
        }
        new.params = parameters_text({**numbers, **node.params}, defaults)
        new.flops = flops(op.name, node.shapes, shape, {**defaults, **node.params})
        self.add(new)
        self._by_time[node.time] = new.id
        self._made[new.id] = weakref.ref(node)
        for i, source in enumerate(sources):
            if source is not None:
                self.edges.append(Edge(source, new.id, i, node.shapes[i], str(node.dtypes[i])))
        new.kept_bytes = self.kept_bytes(new.id, node, sources)


def _memory(value: Any) -> Any:
    """What has the memory of a tensor or of what a rule keeps: two that share it have one."""
    storage = value.storage
    return storage if storage.memory is None else storage.memory


def _bytes(shape: Shape | None, dtype: str | None) -> int:
    return numel(shape) * (np.dtype(dtype).itemsize if dtype else 0)
