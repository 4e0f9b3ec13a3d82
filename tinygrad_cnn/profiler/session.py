"""The recorder of one thread: opens and closes events around what the engine does."""

from __future__ import annotations

import sys
import threading
import weakref
from collections.abc import Callable, Iterable
from time import perf_counter_ns
from typing import Any

import numpy as np

from tinygrad_cnn.autograd.function import FunctionCtx
from tinygrad_cnn.autograd.node import Leaf, Node, SavedValue
from tinygrad_cnn.autograd.variable import Variable, memory_of
from tinygrad_cnn.instrument.flops import FLOPS, flops, joint_flops
from tinygrad_cnn.instrument.places import Labels, lines_above
from tinygrad_cnn.kernels.memory import memory_allocated
from tinygrad_cnn.profiler.events import Event

_NOBODY = -1


class Session:
    """What happens in one thread while at least one profile is open there.

    Its clock stands still during the recorder's own work, so that an event's duration, and that of
    every event around it, is what it would be without a profiler.
    """

    def __init__(self) -> None:
        self.recordings: list[list[Event]] = []  # of the open profiles
        self.with_lines = 0  # how many of them want lines
        self.outermost = _NOBODY  # id of the frame in which the first of those was opened
        self.modules: list[Any] = []  # the running ones
        self.labels: tuple[str, ...] = ()  # and their names
        self._label = Labels()
        self._open: list[Event] = []
        self._forward: dict[int, Event] = {}  # by the time stamp of the node that was recorded
        self._kept: weakref.WeakValueDictionary[int, Any] = weakref.WeakValueDictionary()
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

    def enter_modules(self, modules: list[Any]) -> None:
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

    def operation(
        self, run: Callable[..., Any], op: Any, args: tuple[Any, ...], params: dict[str, Any]
    ) -> Any:
        """The forward pass of an operation."""
        since = perf_counter_ns()
        event = self._opened(op.name, "operation")
        sources = _memories(args)
        event.input_shapes = tuple(getattr(a, "shape", ()) for a in args)
        if self.with_lines:
            event.lines = self._lines()
        self._begin(event, since)
        result = None
        try:
            result = run(op, *args, **params)
        finally:
            since = self._end(event)
            if isinstance(result, Variable):
                if op.name in FLOPS:
                    shape = result._value.shape
                    event.flops = flops(op.name, event.input_shapes, shape, params)
                event.allocated = _new_bytes([result], sources)
                if type(result.node) is Node and result.node.op is op:
                    self._recorded(event, result.node)
            self._done(event)
            self._resume(since)
        return result

    def function(self, run: Callable[..., Any], cls: type[Any], args: tuple[Any, ...]) -> Any:
        """The forward pass of a `Function`."""
        since = perf_counter_ns()
        event = self._opened(cls.__name__, "operation")
        sources = _memories(args)
        event.input_shapes = tuple(getattr(a, "shape", ()) for a in args)
        if self.with_lines:
            event.lines = self._lines()
        self._begin(event, since)
        result = None
        try:
            result = run(*args)
        finally:
            since = self._end(event)
            outputs = result if isinstance(result, tuple) else (result,)
            event.allocated = _new_bytes(outputs, sources)
            nodes = [t.node for t in outputs if isinstance(t, Variable)]
            # An output's node is a part of the function's.
            found = [n.parents[0] for n in nodes if type(n) is Node and n.parents]
            for node in found[:1]:
                if type(node) is Node and node.name() == cls.__name__:
                    self._recorded(event, node)
            self._done(event)
            self._resume(since)
        return result

    def pullback(
        self,
        run: Callable[..., Any],
        op: Any,
        node: Node,
        g: Any,
        wanted: tuple[bool, ...],
        recording: bool,
    ) -> Any:
        """The derivative rule of an operation."""
        since = perf_counter_ns()
        forward = self._forward.get(node.time)
        event = self._opened(op.name, "operation", "backward")
        event.input_shapes = node.shapes
        if forward is not None:
            event.modules, event.lines = forward.modules, forward.lines
            event.sequence = node.time
        sources = _memories([g])
        self._begin(event, since)
        gradients: tuple[Any, ...] = ()
        try:
            gradients = run(op, node, g, wanted, recording)
            if not recording and getattr(op, "joint", None) is not None:
                event.flops = joint_flops(op.name, node.shapes, wanted, g._value.shape)
        finally:
            since = self._end(event)
            event.allocated = _new_bytes(gradients, sources)
            self._done(event)
            self._resume(since)
        return gradients

    def within(
        self,
        name: str,
        kind: str,
        phase: str | None,
        run: Callable[..., Any],
        *args: Any,
        **kw: Any,
    ) -> Any:
        """A walk, an optimiser's step or the closure that one calls."""
        since = perf_counter_ns()
        event = self._opened(name, kind, phase)
        if kind == "closure":  # what runs in it is counted as if it stood outside of the step
            event.depth -= 1
        self._begin(event, since)
        try:
            return run(*args, **kw)
        finally:
            since = self._end(event)
            self._done(event)
            self._resume(since)

    def module(
        self, run: Callable[..., Any], module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        """The call of a module."""
        since = perf_counter_ns()
        outside = self.labels
        self.enter_modules([module])
        event = self._begin(self._opened(type(module).__name__, "module"), since)
        try:
            return run(module, *args, **kwargs)
        finally:
            since = self._end(event)
            self.modules.pop()
            self.labels = outside
            self._done(event)
            self._resume(since)

    # ---- details ---------------------------------------------------------------------------

    def _lines(self) -> tuple[Any, ...]:
        if self._open and self._open[-1].kind == "operation":
            return self._open[-1].lines  # called by a rule: the line of the rule's operation
        return lines_above(sys._getframe(1), self.outermost)

    def _recorded(self, event: Event, node: Node) -> None:
        """Remember whose node it is, and count what it keeps."""
        event.sequence = node.time
        self._forward[node.time] = event
        for value in _held_by(node):
            array = value._value if isinstance(value, SavedValue | Variable) else value
            if not isinstance(array, np.ndarray):
                continue
            memory = memory_of(array)
            if not isinstance(value, SavedValue):  # made by the forward pass for its rules
                event.allocated += array.nbytes
            elif type(value.node) is Leaf:  # a parameter lives anyway
                continue
            if self._kept.get(id(memory)) is not memory:
                self._kept[id(memory)] = memory
                event.kept += array.nbytes


def _held_by(node: Node) -> list[Any]:
    """Everything that a node keeps for its rule."""
    held: list[Any] = []
    for value in (node.saved or {}).values():
        if isinstance(value, list):
            held += value
        elif isinstance(value, FunctionCtx):
            held += [v for v, _ in value._saved or ()]
        else:
            held.append(value)
    return held


def _memories(tensors: Iterable[Any]) -> set[int]:
    """Which memory these tensors have, as numbers."""
    values = [t._value for t in tensors if isinstance(t, Variable)]
    return {id(memory_of(value)) for value in values if isinstance(value, np.ndarray)}


def _new_bytes(results: Iterable[Any], sources: set[int]) -> int:
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
    if session is None or not session.recordings:
        session = here.session = Session()
    return session
