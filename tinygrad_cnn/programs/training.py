"""Calls through which gradients are to come back: recorded in two halves, replayed in two.

The first such call runs as usual, recorded, but its graph is handed out as one node (`FirstCall`).
When a backward pass comes to it, the walk through the graph is recorded too. From then on a call is
the program's first half, and makes one node (`ReplayedCall`) that has the program's memory until
it is freed; a backward pass that comes in the same way is the second half. One that does not runs
the function again as it ran then, for a graph that can be walked.
"""

from __future__ import annotations

import sys
import weakref
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from operator import attrgetter, is_
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from tinygrad_cnn.autograd.events import watching
from tinygrad_cnn.autograd.function import OutputPart
from tinygrad_cnn.autograd.graph import packing, walking
from tinygrad_cnn.autograd.modes import enable_grad, is_anomaly_enabled
from tinygrad_cnn.autograd.node import Gradients, GraphNode, Node, SavedValue, clock
from tinygrad_cnn.autograd.variable import Variable, wrap
from tinygrad_cnn.kernels import memory
from tinygrad_cnn.kernels.tape import taping
from tinygrad_cnn.programs.halves import Halves, own
from tinygrad_cnn.programs.inner import InnerGraph, tensors_in
from tinygrad_cnn.programs.memory import Diverged, Ref, TooLate
from tinygrad_cnn.programs.program import Program
from tinygrad_cnn.programs.recorder import Recorder, needs_of
from tinygrad_cnn.programs.results import Build, New, built_of, result_of
from tinygrad_cnn.programs.unit import Refused
from tinygrad_cnn.types import Array

if TYPE_CHECKING:
    from tinygrad_cnn.programs.compiled import CompiledFunction
    from tinygrad_cnn.programs.guards import State
    from tinygrad_cnn.programs.results import Description

MOST_FREE = 8
MOST_WAYS = 4
"""Instances that wait to be used again, and ways of backward passes that are recorded."""

_VALUE, _VERSION = attrgetter("_value"), attrgetter("version")
Way = tuple[Any, ...]
"""Of which results gradients come, how these lie, and which edges want some."""


class _Derivative:
    """Of a whole call."""

    broadcasts = False

    def __init__(self, name: str, blank: list[tuple[tuple[int, ...], Any]]) -> None:
        self.name, self.blank = name, blank  # shapes and dtypes of the results

    def pullback(self, node: Node, g: Any, wanted: tuple[bool, ...], recording: bool) -> Gradients:
        """Gradients of the edges."""
        assert node.saved is not None
        gradients: Mapping[int, Any] = g if isinstance(g, dict) else {0: g}
        call: FirstCall | ReplayedCall = node.saved["call"]
        found = call.backward(gradients, wanted, recording)
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
        Of each edge where it leads: the number of an argument, or the node itself.
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
        self.template, self.refs = described.template, described.refs
        self.name = f"compiled {owner.name()}"
        tensors = list(tensors_in(result))
        self.ends = [n for n, t in enumerate(tensors) if any(t is e for e in described.live)]
        ends = [t.current_node() for t in described.live]
        graph = InnerGraph(ends, recorder.began)  # type: ignore[arg-type]  # they are nodes
        if graph.odd:
            raise Refused(graph.odd)
        nodes = list(map(_node_of, leaves))
        given: dict[Any, Any] = {n: i for i, n in enumerate(nodes) if n is not None}
        if len(given) < sum(node is not None for node in nodes):
            raise Refused("two arguments are the same node of a graph")
        self.sources = [given.get(p, p) for p in graph.parents]
        self.shapes, self.dtypes = graph.shapes, graph.dtypes
        self.plain = [not isinstance(leaf, Variable) for leaf in leaves]
        self.tensors = state.tensors
        self.storages = {id(t.storage): t.storage for t in state.tensors}
        self.arguments = {id(t.storage): i for i, t in enumerate(leaves) if isinstance(t, Variable)}
        self.results = {id(t.storage): i for i, t in enumerate(described.live)}
        self.blank = [(t._value.shape, t._value.dtype) for t in described.live]
        self.derivative = _Derivative(self.name, self.blank)
        self.length = len(graph.nodes)
        self.needs = needs_of(recorder)
        self.dropped = [tensor for tensor, _ in recorder.gradients()]
        self.again = ""  # why the function cannot be run again
        if any(unit.opaque for unit in recorder.units):
            self.again = "it changes more than arrays"
        self.sources_of_chance = list(recorder.sources)

    def node(self, call: Any, parents: tuple[GraphNode | None, ...]) -> Node:
        """The node of a call."""
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


def _node_of(leaf: Any) -> GraphNode | None:
    return leaf.current_node() if isinstance(leaf, Variable) else None


def _unusual(recording: bool) -> str:
    """Why a backward pass is not recorded, nor replayed."""
    if recording:
        return "its gradients are to be differentiated (create_graph=True)"
    if is_anomaly_enabled():
        return "anomalies are looked for"
    if watching:
        return "it is being watched, by the profiler or a drawing"
    if packing() is not None:
        return "what is saved for the derivatives goes through hooks"
    return ""


def _way(arrays: Mapping[int, Array], wanted: tuple[bool, ...]) -> Way:
    """How a backward pass comes to a call."""
    lie = [(i, a.dtype, a.strides, a.flags.aligned) for i, a in arrays.items()]
    return tuple(lie), wanted


def _keeps() -> bool:
    walk = walking.get()
    return walk is None or walk.keeps


# ---- the call that is recorded -----------------------------------------------------------------


class FirstCall:
    """A call that ran as usual, and whose backward pass is to be recorded."""

    def __init__(self, plan: Plan, recorder: Recorder, inputs: list[Ref], ends: list[Node]) -> None:
        self.plan, self.inputs = plan, inputs
        self.graph = InnerGraph(ends, recorder.began)
        self.recorder: Recorder | None = recorder
        self.split = len(recorder.units)
        recorder.regions.loosen()

    def result(self, live: Sequence[Variable], result: Any) -> Any:
        """The result, whose tensors lead to one node."""
        node = self.plan.node(self, self.graph.parents)
        ends = [self.plan.end(node, number) for number in range(len(live))]

        def with_end(value: Any) -> Any:
            for tensor, end in zip(live, ends, strict=True):
                if value is tensor:
                    return wrap(tensor._value, end, tensor.storage)
            built = None if isinstance(value, Variable) else built_of(value)
            return value if built is None else built[0](list(map(with_end, built[1])))

        return with_end(result)

    def backward(
        self, gradients: Mapping[int, Any], wanted: tuple[bool, ...], recording: bool
    ) -> Gradients | InnerGraph:
        """Gradients of the edges, or the graph that is to be walked for them."""
        recorder = self.recorder
        why = _unusual(recording)
        if recorder is None or taping or why or sys.getprofile() is not None:
            if recorder is not None and self.plan.key in self.plan.owner.waiting:
                self.plan.owner.waiting[self.plan.key].why = why
            return self.graph
        self.recorder = None  # once it was walked, another walk is the usual one
        plan, owner = self.plan, self.plan.owner
        arrays = {i: gradients[i]._array for i in sorted(gradients)}
        way = _way(arrays, wanted)
        saved = list(self.graph.saved(list(arrays), wanted))
        copies = {i: own(array, exactly=True) for i, array in arrays.items()}
        with owner.lock:
            with recorder:
                recorder.more(list(copies.values()))
                given = {i: wrap(copy) for i, copy in copies.items()}
                found = self.graph.walk(given, wanted, _keeps(), False)
                edges = [None if g is None else recorder.operand(g._array) for g in found]
            try:
                recorder.finish()
                more = [recorder.operand(copy) for copy in copies.values()]
                program = Program(recorder, self.inputs, [], plan.refs, self.split, more, edges)
                watched = [(plan.place(v), op, name, v._value.shape) for v, op, name in saved]
                pair = Pair(plan, program, way, sorted(arrays), watched)
                if owner.fullgraph and pair.python():
                    raise Refused(
                        f"{pair.python()[0].name} is called in Python, between two parts of the "
                        f"program"
                    )
                memory.clear()
                owner.recorded(plan.key, pair)
            except Refused as error:
                owner.refused(plan.key, str(error))
        return found


class Waiting:
    """A signature whose first call was recorded, and no backward pass has come to it yet.

    Where none ever comes, recording is tried again after 2, 4, 8 … calls.
    """

    def __init__(self) -> None:
        self.tries = self.calls = 0
        self.why = ""  # backward passes that came were not recorded
        self.first: Callable[[], FirstCall | None] = lambda: None

    def began(self, call: FirstCall) -> None:
        """A call was recorded."""
        self.tries, self.calls = self.tries + 1, 0
        self.first = weakref.ref(call)

    def is_due(self) -> bool:
        """Whether the next call is to be recorded."""
        self.calls += 1
        call = self.first()
        return (call is None or call.recorder is None) and self.calls >= 1 << min(self.tries, 20)


# ---- calls that are replayed -------------------------------------------------------------------


class _Watched(NamedTuple):
    """A saved value that somebody else can change: its place, and names for the error."""

    place: Any
    op: str
    name: str
    shape: tuple[int, ...]


class _Note(weakref.ref["ReplayedCall"]):
    """What goes back when a call's node is freed."""

    __slots__ = ("instance",)
    instance: Halves


class Pair:
    """A forward pass and a backward pass that can be replayed."""

    def __init__(
        self, plan: Plan, program: Program, way: Way, ends: list[int], saved: list[Any]
    ) -> None:
        self.plan, self.program, self.way, self.ends = plan, program, way, ends
        self.watched = [_Watched(*entry) for entry in saved if entry[0] is not None]
        self.values = [t._value for t in plan.tensors]
        self.free: list[Halves] = [Halves(program)]
        self.lent: dict[int, _Note] = {}
        self.returned: deque[_Note] = deque()
        self.replays = self.backwards = self.misses = 0
        self.otherwise: Counter[str] = Counter()
        """Why backward passes ran the function again."""

    def fits(self) -> bool:
        """Whether the gradients that it reads are those that were there."""
        return all(tensor._grad is grad for tensor, grad in self.plan.needs)

    def python(self) -> list[Any]:
        """The units that are called in Python."""
        return [u for u in self.program.units if u.is_python]

    def is_current(self) -> bool:
        """Whether what it has prepared is still of use: it has nothing."""
        return True

    def remarks(self) -> list[str]:
        """What else there is to tell."""
        lines = [f"  backward passes: {self.backwards} replayed"]
        for why, count in self.otherwise.items():
            lines.append(f"  backward passes as usual, after another forward pass: {count}, {why}")
        return lines

    def seconds(self) -> dict[Any, float]:
        """What each part in Python took, in seconds, when the program ran for the second time."""
        self._collect()
        return self.free[0].seconds if self.free else {}

    def _collect(self) -> None:
        while self.returned:
            note = self.returned.popleft()
            self.lent.pop(id(note), None)
            if len(self.free) < MOST_FREE:
                self.free.append(note.instance)

    def replay(self, leaves: list[Any], arrays: list[Array], args: Any, kwargs: Any) -> Any:
        """Do the first half, and return what the function would.

        Raises
        ------
        Diverged
            The function would do something else with these numbers; nothing was changed.
        TooLate
            It would, but this was found out when memory had been changed.
        """
        self._collect()
        try:
            instance = self.free.pop()
        except IndexError:
            instance = Halves(self.program)
        plan = self.plan
        try:
            instance.check(arrays)
            chance = [source.get_state() for source in plan.sources_of_chance]
            try:
                instance.forward(timed=self.replays == 1)
            except Diverged as unit:
                raise TooLate(str(unit)) from None
        except BaseException:
            self.free.append(instance)
            raise
        self.replays += 1
        for tensor in plan.dropped:
            tensor._grad = None
        call = ReplayedCall(self, instance, args, kwargs, leaves, chance)
        note = _Note(call, self.returned.append)
        note.instance = instance
        self.lent[id(note)] = note
        parents = [s if type(s) is not int else _node_of(leaves[s]) for s in plan.sources]
        node = plan.node(call, tuple(parents))
        storages: list[Any] = [None] * len(plan.blank)

        def new(template: New) -> Any:
            out = instance.made(template)
            if template.live is not None:
                out.node = plan.end(node, template.live)
                storages[template.live] = out.storage
            return out

        result = result_of(plan.template, leaves, new)
        call.watch(leaves, storages)
        return result

    def missed(self, way: Way) -> None:
        """A backward pass came in another way: see to it that there is a program for that too."""
        self.misses += 1
        self.plan.owner.missed(self.plan.key, self, way)


class ReplayedCall:
    """A call that was replayed: what its backward pass needs."""

    __slots__ = (
        "__weakref__", "args", "chance", "instance", "kwargs", "nodes", "pair", "storages", "time",
        "versions",
    )  # fmt: skip

    def __init__(
        self,
        pair: Pair,
        instance: Halves,
        args: Any,
        kwargs: Any,
        leaves: list[Any],
        chance: list[Any],
    ) -> None:
        self.pair, self.instance, self.chance = pair, instance, chance
        times = [clock() for _ in range(pair.plan.length)]  # of the nodes that are not made
        self.time = times[0]
        self.nodes = [_node_of(leaf) for leaf in leaves]
        numbers = {id(leaf): i for i, leaf in enumerate(leaves)}
        self.args, self.kwargs = _numbered(args, numbers), _numbered(kwargs, numbers)
        self.storages: list[Any] = []
        self.versions: list[int] = []

    def watch(self, leaves: list[Any], results: list[Any]) -> None:
        """Remember how often memory was changed that the backward pass will read."""
        found = {"argument": lambda i: leaves[i].storage, "result": results.__getitem__}
        self.storages = [
            found[w.place[0]](w.place[1]) if type(w.place) is tuple else w.place
            for w in self.pair.watched
        ]
        self.versions = list(map(_VERSION, self.storages))

    def backward(
        self, gradients: Mapping[int, Any], wanted: tuple[bool, ...], recording: bool
    ) -> Gradients | InnerGraph:
        """Gradients of the edges, or the graph that is to be walked for them."""
        pair = self.pair
        self._check()
        why = _unusual(recording)
        if not why:
            arrays = {i: gradients[i]._array for i in sorted(gradients)}
            way = _way(arrays, wanted)
            if way == pair.way and all(map(is_, map(_VALUE, pair.plan.tensors), pair.values)):
                given = list(arrays.values())
                with suppress(Diverged):
                    timed = pair.backwards == 1
                    found = self.instance.backward(given, _keeps(), timed)
                    pair.backwards += 1
                    return tuple([None if g is None else wrap(g) for g in found])
                why = "with other numbers it does something else"
            else:
                pair.missed(way)
                why = "gradients came for other results, in another layout or to other tensors"
        pair.otherwise[why] += 1
        return self._again(why)

    def _check(self) -> None:
        """Raise RuntimeError if what the rules need was changed in place."""
        if list(map(_VERSION, self.storages)) == self.versions:
            return
        for watched, storage, version in zip(
            self.pair.watched, self.storages, self.versions, strict=True
        ):
            if storage.version != version:
                like = np.broadcast_to(np.empty(()), watched.shape)
                saved = SavedValue(like, None, storage)
                saved.seen = version
                saved.fail(watched.op, watched.name)

    def _again(self, why: str) -> InnerGraph:
        """The graph of the call, which is made again: of the same numbers, also random ones."""
        plan, instance = self.pair.plan, self.instance
        refused = plan.again
        inputs = self.instance.inputs
        tensors = [
            own(array) if plain else wrap(own(array), node)
            for array, node, plain in zip(inputs, self.nodes, plan.plain, strict=False)
        ]
        args, kwargs = _restored(self.args, tensors), _restored(self.kwargs, tensors)
        if not refused and not plan.owner.is_unchanged(plan.number, args, kwargs):
            refused = "what the function reads was changed after its forward pass"
        if refused:
            raise RuntimeError(
                f"{plan.name}: {why}, so the forward pass has to be run again for this backward "
                f"pass, which is impossible: {refused}. Call the function without compile()"
            )
        for tensor in plan.tensors:
            tensor.storage.compute_waiting()
        now = [array.copy() for array, _ in instance.before]
        states = [source.get_state() for source in plan.sources_of_chance]
        versions = [(t.storage, t.storage.version) for t in plan.tensors]
        try:
            for array, before in instance.before:
                array[...] = before
            for source, state in zip(plan.sources_of_chance, self.chance, strict=True):
                source.set_state(state)
            began = clock()
            with enable_grad():
                result = plan.owner.function(*args, **kwargs)
        finally:
            for (array, _), content in zip(instance.before, now, strict=True):
                array[...] = content
            for source, state in zip(plan.sources_of_chance, states, strict=True):
                source.set_state(state)
            for storage, version in versions:
                storage.version = version
        found = list(tensors_in(result))
        ends: list[Any] = [found[number].current_node() for number in plan.ends]
        graph = InnerGraph(ends, began)
        if graph.odd or graph.shapes != plan.shapes:
            raise RuntimeError(
                f"{plan.name}: run again, for its backward pass, the function did something else "
                f"than before; call it without compile()"
            )
        graph.made_at(self.time)
        return graph


class _Number(NamedTuple):
    """An argument that is a tensor or an array."""

    number: int


def _numbered(value: Any, numbers: dict[int, int]) -> Any:
    """Arguments with numbers in the places of tensors and arrays."""
    if id(value) in numbers:
        return _Number(numbers[id(value)])
    built = None if isinstance(value, Variable) else built_of(value)
    return (
        value
        if built is None
        else Build(built[0], tuple([_numbered(v, numbers) for v in built[1]]))
    )


def _restored(value: Any, tensors: Sequence[Any]) -> Any:
    kind = type(value)
    if kind is _Number:
        return tensors[value.number]
    if kind is Build:
        return value.make([_restored(part, tensors) for part in value.parts])
    return value
