"""What is the same for all calls that are recorded for training, and their node in a graph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tinygrad_cnn.autograd.events import wants_calls, watching
from tinygrad_cnn.autograd.function import OutputPart
from tinygrad_cnn.autograd.graph import packing, walking
from tinygrad_cnn.autograd.modes import is_anomaly_enabled
from tinygrad_cnn.autograd.node import Gradients, GraphNode, Node, SavedValue
from tinygrad_cnn.autograd.promotion import get_default_dtype
from tinygrad_cnn.autograd.variable import Variable
from tinygrad_cnn.kernels import choice, threads
from tinygrad_cnn.kernels.choice import algorithm
from tinygrad_cnn.programs.inner import InnerGraph, tensors_in
from tinygrad_cnn.programs.recorder import Recorder, needs_of
from tinygrad_cnn.programs.unit import Refused
from tinygrad_cnn.types import Array

if TYPE_CHECKING:
    from tinygrad_cnn.programs.compiled import CompiledFunction
    from tinygrad_cnn.programs.guards import State
    from tinygrad_cnn.programs.results import Description

Way = tuple[Any, ...]
"""Of which results gradients come, how these lie, and which edges want some."""


class _Derivative:
    """Of a whole call."""

    broadcasts = False

    def __init__(
        self, name: str, blank: list[tuple[tuple[int, ...], Any]], shared: list[int]
    ) -> None:
        self.name, self.blank = name, blank  # shapes and dtypes of the results
        self.shared = shared  # edges that lead where others do, one for each such place

    def pullback(self, node: Node, g: Any, wanted: tuple[bool, ...], recording: bool) -> Gradients:
        """Gradients of the edges."""
        assert node.saved is not None
        gradients: Mapping[int, Any] = g if isinstance(g, dict) else {0: g}
        found: Gradients | InnerGraph
        found = node.saved["call"].backward(node, gradients, wanted, recording)
        if isinstance(found, InnerGraph):
            _expand(node, found)
            return node.op.pullback(node, g, node.wanted, recording)
        return found


class _Through:
    """Of a call whose graph is walked itself: gradients of results go to the nodes behind them."""

    broadcasts = False

    def __init__(self, name: str, count: int) -> None:
        self.name, self.count = name, count

    def pullback(self, node: Node, g: Any, wanted: tuple[bool, ...], recording: bool) -> Gradients:
        """The gradients of the results."""
        return tuple(map(g.get, range(self.count))) if isinstance(g, dict) else (g,)


def _expand(node: Node, graph: InnerGraph) -> None:
    """Have a node lead to all those that it stands for; the walk that runs will go there."""
    ends: tuple[Any, ...] = tuple(graph.ends)
    walk = walking.get()
    if walk is not None and walk.nodes is not None:
        graph.extend(walk.nodes)
    blank = node.op.blank  # type: ignore[attr-defined]  # a _Derivative
    node.shapes, node.dtypes = tuple([s for s, _ in blank]), tuple([d for _, d in blank])
    node.parents, node.wanted = ends, (True,) * len(ends)
    node.op, node.saved = _Through(node.op.name, len(ends)), {}


class Plan:
    """What is the same for all calls of a signature that are recorded for training.

    Attributes
    ----------
    owner, key
        The compiled function, and the signature.
    template, count
        The result, and how many tensors in it have a graph.
    sources
        Of each edge where it leads: the number of an argument, or a tensor that was there before.
    ends
        Numbers of the tensors of the result, all counted, that have a graph.
    """

    def __init__(
        self,
        owner: CompiledFunction,
        key: Any,
        state: State,
        recorder: Recorder,
        described: Description,
        result: Any,
        leaves: Sequence[Any],
    ) -> None:
        self.owner, self.key, self.number = owner, key, state.number
        self.modes = modes()
        self.template, self.refs = described.template, described.refs
        self.name = f"compiled {owner.name()}"
        tensors = list(tensors_in(result))
        self.ends = [n for n, t in enumerate(tensors) if any(t is e for e in described.live)]
        ends = [t.current_node() for t in described.live]
        graph = InnerGraph(ends, recorder.began)  # type: ignore[arg-type]  # they are nodes
        if graph.odd:
            raise Refused(graph.odd)
        nodes = list(map(node_of, leaves))
        given: dict[Any, Any] = {n: i for i, n in enumerate(nodes) if n is not None}
        if len(given) < sum(node is not None for node in nodes):
            raise Refused("two arguments are the same node of a graph")
        outside = {node_of(t): t for t in state.tensors}
        try:
            self.sources = [given[p] if p in given else outside[p] for p in graph.parents]
        except KeyError:
            raise Refused("it uses a graph that it did not make") from None
        self.shapes, self.dtypes = graph.shapes, graph.dtypes
        self.plain = [not isinstance(leaf, Variable) for leaf in leaves]
        self.tensors = state.tensors
        self.storages = {id(t.storage): t.storage for t in state.tensors}
        self.arguments = {id(t.storage): i for i, t in enumerate(leaves) if isinstance(t, Variable)}
        self.results = {id(t.storage): i for i, t in enumerate(described.live)}
        self.blank = [(t._value.shape, t._value.dtype) for t in described.live]
        shared = sorted({i for n, i in enumerate(graph.first) if n != i})
        self.derivative = _Derivative(self.name, self.blank, shared)
        self.length = len(graph.nodes)
        self.needs = needs_of(recorder)
        self.dropped = [tensor for tensor, _ in recorder.gradients()]
        self.again = ""  # why the function cannot be run again
        if any(unit.opaque for unit in recorder.units):
            self.again = "it changes more than arrays"
        self.sources_of_chance = list(recorder.sources)

    def node(self, call: Any, leaves: Sequence[Any]) -> Node:
        """The node of a call."""
        parents = tuple([node_of(leaves[s] if type(s) is int else s) for s in self.sources])
        return Node(self.derivative, parents, self.shapes, self.dtypes, {}, {"call": call})

    def end(self, node: Node, number: int) -> Node:
        """The node of a result."""
        if len(self.blank) == 1:
            return node
        shape, dtype = self.blank[number]
        return Node(OutputPart(self.name, number), (node,), (shape,), (dtype,), {}, {})

    def place(self, saved: SavedValue) -> Any:
        """Whose memory a saved value lies in, if others can change it: a storage, or a number."""
        root = id(saved.storage)
        if root in self.results:
            return "result", self.results[root]
        if root in self.arguments:
            return "argument", self.arguments[root]
        return self.storages.get(root)


def node_of(leaf: Any) -> GraphNode | None:
    return leaf.current_node() if isinstance(leaf, Variable) else None


def modes() -> tuple[Any, ...]:
    """On what else than arguments and objects computing depends."""
    return choice.chosen.get(), algorithm.get(), threads.team(), get_default_dtype()


def unusual(recording: bool) -> str:
    """Why a pass is neither recorded nor replayed: a backward one, if it is ``recording``."""
    if recording:
        return "its gradients are to be differentiated (create_graph=True)"
    if is_anomaly_enabled():
        return "anomalies are looked for"
    if watching and wants_calls():
        return "it is being watched, by a drawing or a trace"
    if packing() is not None:
        return "what is saved for the derivatives goes through hooks"
    return ""


def way_of(arrays: Mapping[int, Array], wanted: tuple[bool, ...], node: Node) -> Way:
    """How a backward pass comes to the node of a call.

    Its last part says whether the walk has come to no node before to which several edges lead.
    """
    lie = [(i, a.dtype, a.strides, a.flags.aligned) for i, a in arrays.items()]
    walk = walking.get()
    shared = node.op.shared  # type: ignore[attr-defined]  # a _Derivative
    parents = node.parents
    sums = walk is not None and not any(-parents[i].time in walk.pending for i in shared)
    return tuple(lie), wanted, sums


def keeps() -> bool:
    walk = walking.get()
    return walk is None or walk.keeps
