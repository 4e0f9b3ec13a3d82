"""The recorder of one thread: opens and closes events around what the engine does."""

from __future__ import annotations

import sys
import threading
import weakref
from collections.abc import Callable, Iterable
from time import perf_counter_ns
from typing import Any

import numpy as np

from tinygrad_cnn.autograd.events import Call
from tinygrad_cnn.autograd.function import OutputPart, _FunctionDerivative
from tinygrad_cnn.autograd.layout import memory_of
from tinygrad_cnn.autograd.node import Leaf, Node, SavedValue
from tinygrad_cnn.autograd.op import Op
from tinygrad_cnn.autograd.variable import Variable
from tinygrad_cnn.instrument.flops import FLOPS, flops, joint_flops
from tinygrad_cnn.instrument.kept import kept_values, memories
from tinygrad_cnn.instrument.places import Labels, Line, lines_above
from tinygrad_cnn.kernels.memory import memory_allocated
from tinygrad_cnn.nn import Module
from tinygrad_cnn.profiler.events import Event
from tinygrad_cnn.types import Array

Go = Callable[..., Any]
_NOBODY = -1
_SPANS = {  # kind and phase of an event, by the kind of the call
    "walk": ("walk", "backward"),
    "step": ("optimizer", "optimizer"),
    "closure": ("closure", "forward"),
    "load": ("load", "forward"),
}


class Session:
    """What happens in one thread while at least one profile is open there.

    It also takes what programs launch for the calls that they stand for.

    Its clock stands still during the recorder's own work, so that an event's duration, and that of
    every event around it, is what it would be without a profiler.
    """

    takes_launches = True

    def __init__(self) -> None:
        self.recordings: list[list[Event]] = []  # of the open profiles
        self.profiles = 0  # how many are open, also while they do not record
        self.with_lines = 0  # how many of them want lines
        self.outermost = _NOBODY  # id of the frame in which the first of those was opened
        self.modules: list[Module] = []  # the running ones
        self.labels: tuple[str, ...] = ()  # and their names
        self._label = Labels()
        self._open: list[Event] = []
        self._forward: dict[int, Event] = {}  # by the time stamp of the node that was recorded
        self._kept: weakref.WeakValueDictionary[int, Array] = weakref.WeakValueDictionary()
        self._zero = perf_counter_ns()
        self._lost = 0

    def now(self) -> float:
        """Seconds since the session began, without the recorder's own work."""
        return (perf_counter_ns() - self._zero - self._lost) * 1e-9

    @property
    def depth(self) -> int:
        """How many operations are running inside each other."""
        if not self._open:
            return 0
        last = self._open[-1]
        return last.depth + (last.kind in ("operation", "optimizer"))

    def enter_modules(self, modules: list[Module]) -> None:
        """Take over modules that were already running when the session began."""
        for module in modules:
            self.modules.append(module)
            self.labels = (*self.labels, self._label.of(self.modules))

    # ---- events ----------------------------------------------------------------------------

    def _begin(self, event: Event, since: int) -> Event:
        """Start an event; ``since`` is when the recorder's work on it began."""
        for events in self.recordings:
            events.append(event)
        self._open.append(event)
        now = perf_counter_ns()
        self._lost += now - since
        event.start = (now - self._zero - self._lost) * 1e-9
        return event

    def _end(self, event: Event) -> int:
        """End an event; `_resume` follows, with what is returned, once its details are known."""
        now = perf_counter_ns()
        event.duration = (now - self._zero - self._lost) * 1e-9 - event.start
        if event in self._open:
            del self._open[self._open.index(event) :]
        if self._open and self._open[-1].depth == event.depth:
            self._open[-1].elsewhere += event.duration
        return now

    def _resume(self, since: int) -> None:
        self._lost += perf_counter_ns() - since

    def _opened(self, name: str, kind: str, phase: str | None = None) -> Event:
        if phase is None:
            phase = self._open[-1].phase if self._open else "forward"
        return Event(name, kind, phase, self.labels, depth=self.depth)

    def _done(self, event: Event) -> None:
        event.in_use = memory_allocated()
        if event.flops and self._open and self._open[-1].kind == "operation":
            self._open[-1].flops = (self._open[-1].flops or 0) + event.flops

    # ---- what is recorded ------------------------------------------------------------------

    def observe(self, call: Call, go: Go) -> Any:
        """Make the call with ``go`` and record it."""
        if call.kind == "operation":
            return self._operation(call, go)
        if call.kind == "rule":
            return self._rule(call, go)
        if call.kind == "module":
            return self._module(call, go)
        if call.kind == "launch":
            return self._launch(call, go)
        if call.kind in _SPANS:
            return self._within(call, go)
        return go()

    def _operation(self, call: Call, go: Go) -> Any:
        """The forward pass of an operation or of a `Function`."""
        since = perf_counter_ns()
        event = self._opened(call.name, "operation")
        sources = _memories(call.args)
        event.input_shapes = tuple(getattr(a, "shape", ()) for a in call.args)
        if self.with_lines:
            event.lines = self._lines()
        self._begin(event, since)
        result = None
        try:
            result = go()
        finally:
            since = self._end(event)
            outputs = result if isinstance(result, tuple) else (result,)
            event.allocated = _new_bytes(outputs, sources)
            if call.name in FLOPS and isinstance(result, Variable):
                shape = result._value.shape
                event.flops = flops(call.name, event.input_shapes, shape, call.params)
            node = _node_of(outputs)
            if node is not None and node.name() == call.name:
                self._recorded(event, node)
            self._done(event)
            self._resume(since)
        return result

    def _rule(self, call: Call, go: Go) -> Any:
        """The derivative rule of an operation or of a `Function`."""
        since = perf_counter_ns()
        op = getattr(call.run, "__self__", None)
        if not isinstance(op, Op | _FunctionDerivative):
            return go()
        node, g, wanted, recording = call.args
        forward = self._forward.get(node.time)
        event = self._opened(call.name, "operation", "backward")
        event.input_shapes = node.shapes
        if forward is not None:
            event.modules, event.lines = forward.modules, forward.lines
            event.sequence = node.time
        sources = _memories([g])
        self._begin(event, since)
        gradients: tuple[object, ...] = ()
        try:
            gradients = go()
            if not recording and getattr(op, "array_vjp", None) is not None:
                event.flops = joint_flops(op.name, node.shapes, wanted, g._value.shape)
        finally:
            since = self._end(event)
            event.allocated = _new_bytes(gradients, sources)
            self._done(event)
            self._resume(since)
        return gradients

    def _launch(self, call: Call, go: Go) -> Any:
        """What a compiled function's program does for an operation, in its forward pass or rule."""
        since = perf_counter_ns()
        unit = call.run.unit  # type: ignore[attr-defined]  # a program's
        _, phase, modules = unit.origin
        kind = "optimizer" if phase == "optimizer" else "operation"
        event = self._opened(call.name, kind, phase)
        event.modules, event.input_shapes = (*self.labels, *modules), unit.shapes
        self._begin(event, since)
        try:
            return go()
        finally:
            since = self._end(event)
            self._done(event)
            self._resume(since)

    def _within(self, call: Call, go: Go) -> Any:
        """A walk, an optimiser's step, the closure that one calls, or the wait for a batch."""
        since = perf_counter_ns()
        kind, phase = _SPANS[call.kind]
        event = self._opened(call.name, kind, phase)
        if kind == "closure":  # what runs in it is counted as if it stood outside of the step
            event.depth -= 1
        self._begin(event, since)
        try:
            return go(blind=kind == "load")  # what workers do is not this thread's
        finally:
            since = self._end(event)
            self._done(event)
            self._resume(since)

    def _module(self, call: Call, go: Go) -> Any:
        """The call of a module."""
        since = perf_counter_ns()
        outside = self.labels
        self.enter_modules([call.run.__self__])  # type: ignore[attr-defined]  # a bound method
        event = self._begin(self._opened(call.name, "module"), since)
        try:
            return go()
        finally:
            since = self._end(event)
            self.modules.pop()
            self.labels = outside
            self._done(event)
            self._resume(since)

    def begin_range(self, name: str) -> Event:
        """Begin an event that the user names; `end_range` follows."""
        since = perf_counter_ns()
        return self._begin(self._opened(name, "range"), since)

    def end_range(self, event: Event) -> None:
        """End it."""
        since = self._end(event)
        self._done(event)
        self._resume(since)

    # ---- details ---------------------------------------------------------------------------

    def _lines(self) -> tuple[Line, ...]:
        if self._open and self._open[-1].kind == "operation":
            return self._open[-1].lines  # called by a rule: the line of the rule's operation
        return lines_above(sys._getframe(1), self.outermost)

    def _recorded(self, event: Event, node: Node) -> None:
        """Remember whose node it is, and count what it keeps."""
        event.sequence = node.time
        self._forward[node.time] = event
        for value in kept_values(node):
            if isinstance(value, SavedValue) and type(value.node) is Leaf:
                continue  # a parameter lives anyway
            for memory in memories(value):
                if not isinstance(value, SavedValue):  # made by the forward pass for its rules
                    event.allocated += memory.nbytes
                if self._kept.get(id(memory)) is not memory:
                    self._kept[id(memory)] = memory
                    event.kept += memory.nbytes


def _node_of(outputs: tuple[object, ...]) -> Node | None:
    """The node of a call with these results; an output of a `Function` has one that is a part."""
    for t in outputs:
        if isinstance(t, Variable) and type(t.node) is Node:
            node = t.node
            if not isinstance(node.op, OutputPart):
                return node
            whole = node.parents[0]
            return whole if isinstance(whole, Node) else None
    return None


def _memories(tensors: Iterable[object]) -> set[int]:
    """Which memory these tensors have, as numbers."""
    values = [t._value for t in tensors if isinstance(t, Variable)]
    return {id(memory_of(value)) for value in values if isinstance(value, np.ndarray)}


def _new_bytes(results: Iterable[object], sources: set[int]) -> int:
    """Bytes of the results that share no memory with the sources or with each other.

    What is yet to be computed has none.
    """
    seen = set(sources)
    total = 0
    for result in results:
        if isinstance(result, Variable) and isinstance(result._value, np.ndarray):
            memory = memory_of(result._value)
            if id(memory) not in seen:
                seen.add(id(memory))
                total += memory.nbytes
    return total


class _Here(threading.local):
    session: Session | None = None


here = _Here()


def current() -> Session:
    """The calling thread's session, a new one if none is open."""
    session = here.session
    if session is None or not session.profiles:
        session = here.session = Session()
    return session
