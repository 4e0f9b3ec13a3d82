"""Calls that are replayed for training: `Pair`, a program in two halves, and `ReplayedCall`."""

from __future__ import annotations

import weakref
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from operator import attrgetter, is_
from typing import Any, NamedTuple

import numpy as np

from tinygrad_cnn.autograd.modes import enable_grad
from tinygrad_cnn.autograd.node import Gradients, Node, SavedValue, clock
from tinygrad_cnn.autograd.variable import Variable, wrap
from tinygrad_cnn.programs.halves import Halves, own
from tinygrad_cnn.programs.inner import InnerGraph, tensors_in
from tinygrad_cnn.programs.memory import Diverged, TooLate
from tinygrad_cnn.programs.plan import Plan, Way, keeps, modes, node_of, unusual, way_of
from tinygrad_cnn.programs.program import Program
from tinygrad_cnn.programs.results import Build, New, built_of, result_of
from tinygrad_cnn.types import Array

MOST_FREE = 8
MOST_WAYS = 4
"""Instances that wait to be used again, and ways of backward passes that are recorded."""

_VALUE, _VERSION = attrgetter("_value"), attrgetter("version")


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
        instance = self.instance()
        return {} if instance is None else instance.seconds

    def instance(self) -> Halves | None:
        """One of its instances."""
        self._collect()
        notes = list(self.lent.values())
        return self.free[0] if self.free else notes[0].instance if notes else None

    def _collect(self) -> None:
        while self.returned:
            note = self.returned.popleft()
            self.lent.pop(id(note), None)
            if len(self.free) < MOST_FREE:
                self.free.append(note.instance)

    def replay(self, leaves: Sequence[Any], arrays: list[Array], args: Any, kwargs: Any) -> Any:
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
                if plan.again:
                    raise TooLate(str(unit)) from None
                instance.undo()
                for source, former in zip(plan.sources_of_chance, chance, strict=True):
                    source.set_state(former)
                raise
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
        node = plan.node(call, leaves)
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
        "__weakref__", "args", "chance", "instance", "kwargs", "nodes", "pair", "spent", "storages",
        "time", "versions",
    )  # fmt: skip

    def __init__(
        self,
        pair: Pair,
        instance: Halves,
        args: Any,
        kwargs: Any,
        leaves: Sequence[Any],
        chance: list[Any],
    ) -> None:
        self.pair, self.instance, self.chance = pair, instance, chance
        times = [clock() for _ in range(pair.plan.length)]  # of the nodes that are not made
        self.time = times[0]
        self.nodes = [node_of(leaf) for leaf in leaves]
        numbers = {id(leaf): i for i, leaf in enumerate(leaves)}
        self.args, self.kwargs = _numbered(args, numbers), _numbered(kwargs, numbers)
        self.spent = False
        self.storages: list[Any] = []
        self.versions: list[int] = []

    def watch(self, leaves: Sequence[Any], results: list[Any]) -> None:
        """Remember how often memory was changed that the backward pass will read."""
        found = {"argument": lambda i: leaves[i].storage, "result": results.__getitem__}
        self.storages = [
            found[w.place[0]](w.place[1]) if type(w.place) is tuple else w.place
            for w in self.pair.watched
        ]
        self.versions = list(map(_VERSION, self.storages))

    def backward(
        self, node: Node, gradients: Mapping[int, Any], wanted: tuple[bool, ...], recording: bool
    ) -> Gradients | InnerGraph:
        """Gradients of the edges, or the graph that is to be walked for them."""
        pair = self.pair
        self._check()
        why = unusual(recording)
        if not why:
            arrays = {i: gradients[i]._array for i in sorted(gradients)}
            way = way_of(arrays, wanted, node)
            if self.spent:
                raise RuntimeError(
                    f"{pair.plan.name}: the graph was already walked, up to an error, and what it "
                    f"saved was freed; pass retain_graph=True to the first backward() or grad()"
                )
            if modes() != pair.plan.modes:
                why = "threads or kernels are others than in the forward pass"
            elif not all(map(is_, map(_VALUE, pair.plan.tensors), pair.values)):
                why = "a tensor's memory was replaced"
            elif way == pair.way:
                found = self._replayed(list(arrays.values()))
                if found is not None:
                    return found
                why = "with other numbers it does something else"
            else:
                pair.missed(way)
                why = "gradients came for other results, in another layout or to other tensors"
        pair.otherwise[why] += 1
        return self._again(why)

    def _replayed(self, given: list[Array]) -> Gradients | None:
        pair, keep = self.pair, keeps()
        self.spent = not keep  # the memory is used otherwise from now on, also after an error
        try:
            found = self.instance.backward(given, keep, timed=pair.backwards == 1)
        except Diverged:
            return None
        pair.backwards += 1
        return tuple([None if g is None else wrap(g) for g in found])

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
