"""Graphs that grow step after step, as with ``total += loss``, and the line that lets them grow."""

from __future__ import annotations

import sys
import warnings
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from tinygrad_cnn.autograd import events
from tinygrad_cnn.autograd.events import Call
from tinygrad_cnn.autograd.graph import walking
from tinygrad_cnn.autograd.node import Node, clock
from tinygrad_cnn.autograd.variable import Variable
from tinygrad_cnn.instrument.places import Line, line_above

STEPS = 16  # in a row whose graphs are alive: then they pile up
EVERY = 4  # steps of which one's graph is followed
SAMPLE = 32  # nodes of a step's graph that are followed


class GrowingGraph(UserWarning):
    """The graphs of past steps are kept, and all that they were made of."""


class Watchdog:
    """Follows some nodes of every fourth step's graph by weak references; warns once.

    Only where those of `STEPS` steps are alive is a step looked at operation by operation: one
    that takes a result of an earlier step ties this step's graph to the others.
    """

    def __init__(self) -> None:
        self.samples: deque[list[weakref.ref[Node]]] = deque(maxlen=STEPS // EVERY + 1)
        self.steps = self.newest = 0
        self.ties: list[Line] = []
        self.made: dict[int, Line] = {}  # lines by the time of the node that they made
        self.looking = self.warned = False

    def step(self, roots: Iterable[Any]) -> None:
        """Note the end of a step whose graph ends in these nodes."""
        if self.warned:
            return
        if self.looking:
            self._warn(self._sample(roots))
            return
        self.steps += 1
        if self.steps % EVERY == 0:
            self.samples.append([weakref.ref(node) for node in self._sample(roots)])
            full = len(self.samples) == self.samples.maxlen
            if full and all(any(ref() is not None for ref in sample) for sample in self.samples):
                self.looking = True
        self.newest = clock()  # nodes of the next step are later

    def _sample(self, roots: Iterable[Any]) -> list[Node]:
        found = [node for node in roots if type(node) is Node]
        for node in found:
            if len(found) >= SAMPLE:
                break
            found += [n for n in node.parents if type(n) is Node and n.time > self.newest]
        return found[:SAMPLE]

    def look(self, call: Call, go: Callable[..., Any]) -> Any:
        """Note where an operation of the step that is looked at ties graphs together."""
        result = go()
        if call.kind == "operation":
            outputs = result if isinstance(result, tuple) else (result,)
            nodes = [t.node for t in outputs if isinstance(t, Variable) and type(t.node) is Node]
            line = line_above(sys._getframe(1)) if nodes else None
            if line is not None:
                self.made[nodes[0].time] = line
                if any(type(n) is Node and n.time <= self.newest for n in nodes[0].parents):
                    self.ties.append(line)
        return result

    def _warn(self, nodes: list[Node]) -> None:
        self.looking, self.warned = False, True
        line = self.ties[0] if self.ties else None
        if line is not None:
            why = "adds this step's graph to that of the steps before; add loss.item() or detach()"
        else:
            line = next((self.made[n.time] for n in nodes if n.time in self.made), None)
            why = "makes a result that is kept after each step; keep .item() or .detach() of it"
        where = f"{line.file}:{line.line} ({line.function}) " if line else "something "
        text = f"the graphs of the last {STEPS} steps are alive, and memory grows: {where}{why}"
        place = (line.file, line.line) if line else (__file__, 0)
        self.samples.clear()
        self.made.clear()
        warnings.warn_explicit(text, GrowingGraph, *place)


@contextmanager
def watch() -> Iterator[None]:
    """Inside, warn once (`GrowingGraph`) if the graphs of the steps pile up, and name the line.

    A step is a call of ``backward``. `train.fit` watches always. In this block operations take a
    microsecond or two more, and compiled functions run as usual instead of being replayed.

    Examples
    --------
    >>> import tinygrad_cnn as tg
    >>> w, total = tg.ones(3, requires_grad=True), 0.0
    >>> with tg.memory.watch():
    ...     for _ in range(100):
    ...         loss = (w * w).sum()
    ...         loss.backward()
    ...         total += loss.item()  # and not: total += loss
    """
    dog = Watchdog()

    def observe(call: Call, go: Callable[..., Any]) -> Any:
        if call.kind == "walk":
            dog.step(walking.get().roots)  # type: ignore[union-attr]
        return dog.look(call, go) if dog.looking else go()

    events.watch(observe)
    try:
        yield
    finally:
        events.unwatch(observe)


class StepWatch:
    """The same for a loop that knows its steps: nothing is observed until graphs pile up."""

    def __init__(self) -> None:
        self.dog, self.observing = Watchdog(), False

    def step(self, loss: Variable) -> None:
        """Note the end of a step."""
        self.dog.step([loss.node])
        if self.dog.looking != self.observing:
            self.observing = self.dog.looking
            (events.watch if self.observing else events.unwatch)(self.dog.look)

    def close(self) -> None:
        """No step follows."""
        if self.observing:
            self.observing = False
            events.unwatch(self.dog.look)
