"""`Notes`: from tensors and the engine's nodes to the nodes and edges of a `Graph`."""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from tinygrad_cnn import autograd
from tinygrad_cnn.autograd import Leaf, Op
from tinygrad_cnn.autograd.function import OutputPart
from tinygrad_cnn.autograd.node import GraphNode
from tinygrad_cnn.instrument.flops import flops
from tinygrad_cnn.instrument.kept import is_freed, kept_values, memories
from tinygrad_cnn.instrument.running import reachable
from tinygrad_cnn.tensor import Tensor
from tinygrad_cnn.types import Array
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
        # By tensor: its node in the engine when it was noted, and ours.
        self._by_tensor: dict[int, tuple[weakref.ref[Tensor], int | None, int]] = {}
        self._given: list[weakref.ref[Array]] = []  # memory that was an argument of adopted nodes
        self._made: dict[int, weakref.ref[autograd.Node]] = {}  # the engine's nodes of ours
        self._labels: dict[int, tuple[weakref.ref[Tensor], str, str]] = {}
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

    def graph(self, outputs: Tensor | Iterable[Tensor] | None = None) -> Graph:
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
        """Read what the engine's nodes hold by now: what is kept, and what ran together.

        A node whose rule has run, and which has let go of everything, keeps its figures.
        """
        counted = {
            id(memory)
            for known, _, at in self._by_tensor.values()
            if self.nodes[at].kind != "operation" and (tensor := known()) is not None
            for memory in memories(tensor)
        }
        counted.update(id(memory) for ref in self._given if (memory := ref()) is not None)
        for at, reference in sorted(self._made.items(), key=lambda item: item[0]):
            made = reference()
            if made is None:
                continue
            self.nodes[at].fused = made.fused
            if is_freed(made):
                continue
            kept = {id(m): m.nbytes for value in kept_values(made) for m in memories(value)}
            self.nodes[at].kept_bytes = sum(n for key, n in kept.items() if key not in counted)
            counted.update(kept)

    def ancestors(self, ids: list[int]) -> set[int]:
        """The nodes from which one of ``ids`` can be reached, and these."""
        sources: dict[int, list[int]] = {}
        for edge in self.edges:
            sources.setdefault(edge.target, []).append(edge.source)
        return reachable(ids, lambda i: sources.get(i, ()))

    # ---- tensors ---------------------------------------------------------------------------

    def find(self, tensor: Tensor) -> int:
        """The node that made ``tensor``, noted now if it is new."""
        node = tensor.current_node()
        known = self._by_tensor.get(id(tensor))
        if known is not None and known[0]() is tensor and known[1] == _time(node):
            return known[2]
        if isinstance(node, autograd.Node):
            if node.time not in self._by_time:
                self._adopt(node, tensor.shape, str(tensor.dtype))
            return self._by_time[node.time]
        if node is not None and node.time in self._by_time:
            return self._by_time[node.time]
        label = self._labels.get(id(tensor))
        kind, name = "constant", ""
        if label is not None and label[0]() is tensor:
            kind, name = label[1:]
        elif node is not None:
            kind, name = "input", "leaf"
        return self.source(tensor, kind, name)

    def source(self, tensor: Tensor | Array, kind: str, name: str) -> int:
        """A new node for a tensor (or array) that no operation made."""
        new = self.add(Node(0, kind, name, shape=tensor.shape, dtype=str(tensor.dtype)))
        if isinstance(tensor, Tensor):
            if kind == "constant" and tensor.shape == ():
                new.params["value"] = f"{tensor.item():g}"
            new.recorded = tensor.node is not None
            self.remember(tensor, new.id)
        return new.id

    def node_of(self, operation: str) -> Node | None:
        """The last operation of that name."""
        return next((n for n in reversed(self.nodes) if n.name == operation), None)

    def add(self, node: Node) -> Node:
        """Put ``node`` behind all others."""
        node.id = len(self.nodes)
        self.nodes.append(node)
        return node

    def remember(self, tensor: Tensor, at: int) -> None:
        """Note that node ``at`` made ``tensor``."""
        self._by_tensor[id(tensor)] = (weakref.ref(tensor), _time(tensor.node), at)
        if tensor.node is not None:
            self._by_time[tensor.node.time] = at

    # ---- what was recorded before ------------------------------------------------------------

    def _adopt(self, newest: autograd.Node, shape: Shape, dtype: str) -> None:
        """Note ``newest`` and what it was made from, as far as the engine's nodes still tell."""
        found: dict[int, GraphNode] = {newest.time: newest}
        results: dict[int, tuple[Shape, str]] = {newest.time: (shape, dtype)}
        stack = [newest]
        while stack:
            node = stack.pop()
            for i, parent in enumerate(node.parents):
                if parent is None:
                    continue
                if node.shapes[i] != () or node.dtypes[i] is not None:
                    results.setdefault(parent.time, (node.shapes[i], str(node.dtypes[i])))
                if parent.time not in found and parent.time not in self._by_time:
                    found[parent.time] = parent
                    if isinstance(parent, autograd.Node):
                        stack.append(parent)
        for moment, made in sorted(found.items(), key=lambda item: item[0]):
            if isinstance(made, Leaf):
                self._adopt_leaf(made)
            elif isinstance(made.op, OutputPart):  # one of a function's several results
                whole = made.parents[0]
                assert whole is not None
                at = self._by_time[moment] = self._by_time[whole.time]
                self.nodes[at].shape, self.nodes[at].dtype = results[moment]
            else:
                self._adopt_operation(made, *results[moment])

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
                names = getattr(node.op, "args", ())
                held = (node.saved or {}).get(names[i]) if i < len(names) else None
                self._given += [weakref.ref(memory) for memory in memories(held)]
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


def _time(node: autograd.Node | Leaf | None) -> int | None:
    return None if node is None else node.time
