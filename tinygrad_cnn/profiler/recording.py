"""`profile`: the block whose operations are recorded."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Self

from tinygrad_cnn.autograd.events import unwatch, watch
from tinygrad_cnn.errors import ArgumentError
from tinygrad_cnn.instrument.tables import TextTable
from tinygrad_cnn.nn.module.location import running_modules
from tinygrad_cnn.profiler.averages import Averages, averages_of
from tinygrad_cnn.profiler.events import Event
from tinygrad_cnn.profiler.ranges import ProfilerAction, ProfilerActivity
from tinygrad_cnn.profiler.session import Session, current, here
from tinygrad_cnn.profiler.trace import write_chrome_trace


class profile:
    """Record what the calling thread does in a ``with`` block, operation by operation.

    Forward passes, derivative rules and optimiser steps are recorded, with the modules they belong
    to. Blocks nest: the outer one sees everything. What other threads do is not recorded; a profile
    that is opened there records it. After an exception the profile holds what ran until then. While
    no profile is open, nothing is slower than without this module.

    The first call of a compiled kernel includes its compilation: run one step before the block.

    Parameters
    ----------
    with_stack
        Remember the lines of the user's source that led to each operation, for
        ``table(by="line")``; some microseconds more for every operation, which are not counted.

    schedule
        What to do in each step, such as `schedule` makes it: `step` says that the next one begins.
        Without, everything is recorded.
    on_trace_ready
        Is called with the profile at the end of each cycle of the schedule, without one at the end
        of the block. Then ``events`` has that cycle's.
    activities, record_shapes, profile_memory, with_flops, with_modules
        Change nothing: all of this is recorded always.

    Attributes
    ----------
    events
        List of `Event`, in the order in which they began.
    total
        Seconds from the block's begin to its end (so far, inside of it), without the profiler's own
        work.

    >>> import tinygrad_cnn as tg
    >>> w = tg.ones(3, 2, requires_grad=True)
    >>> with tg.profiler.profile() as p:
    ...     tg.matmul(tg.ones(4, 3), w).sum().backward()
    >>> [(e.name, e.phase) for e in p.events if e.kind == "operation" and e.depth == 0]
    [('matmul', 'forward'), ('sum', 'forward'), ('sum', 'backward'), ('matmul', 'backward')]
    >>> p.events[0].input_shapes, p.events[0].flops
    ((Size([4, 3]), Size([3, 2])), 48)
    """

    def __init__(
        self,
        *,
        with_stack: bool = False,
        schedule: Callable[[int], ProfilerAction] | None = None,
        on_trace_ready: Callable[[profile], object] | None = None,
        activities: Iterable[ProfilerActivity] | None = None,
        record_shapes: bool = False,
        profile_memory: bool = False,
        with_flops: bool = False,
        with_modules: bool = False,
    ) -> None:
        self.with_stack = with_stack
        self.on_trace_ready = on_trace_ready
        self.step_num = 0
        self._schedule = schedule
        self.events: list[Event] = []
        self._session: Session | None = None
        self._began = 0.0
        self._ended: float | None = None
        self._depth = 0

    def __enter__(self) -> Self:
        if self._session is not None:
            raise RuntimeError("profile: this one has been used; make another one for every block")
        session = self._session = current()
        if not session.profiles:
            session.enter_modules(running_modules())
        self._depth = session.depth
        if not session.profiles:
            watch(session.observe)
        session.profiles += 1
        if self._recording:
            session.recordings.append(self.events)
        if self.with_stack:
            if session.with_lines == 0:
                session.outermost = id(sys._getframe(1))
            session.with_lines += 1
        self._began = session.now()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        session = self._session
        assert session is not None
        self._ended = session.now()
        session.with_lines -= self.with_stack
        self._stop()
        session.profiles -= 1
        if not session.profiles:
            unwatch(session.observe)
            if here.session is session:
                here.session = None
        if self.on_trace_ready is not None and (self._schedule is None or self._recording):
            self.on_trace_ready(self)

    @property
    def _action(self) -> ProfilerAction:
        return ProfilerAction.RECORD if self._schedule is None else self._schedule(self.step_num)

    @property
    def _recording(self) -> bool:
        return self._action in (ProfilerAction.RECORD, ProfilerAction.RECORD_AND_SAVE)

    def _stop(self) -> None:
        assert self._session is not None
        held = self._session.recordings
        held[:] = [events for events in held if events is not self.events]

    def step(self) -> None:
        """Say that a step is over and the next one begins, for the ``schedule``.

        >>> import tinygrad_cnn as tg
        >>> from tinygrad_cnn.profiler import profile, schedule
        >>> with profile(
        ...     schedule=schedule(wait=1, warmup=1, active=1),
        ...     on_trace_ready=lambda p: print([e.name for e in p.events]),
        ... ) as p:
        ...     for function in (tg.exp, tg.sin, tg.cos):
        ...         x = function(tg.ones(2))
        ...         p.step()
        ['cos']
        """
        before, was_recording = self._action, self._recording
        self.step_num += 1
        if self._session is None or self._ended is not None:
            return
        if before is ProfilerAction.RECORD_AND_SAVE:
            self._stop()
            if self.on_trace_ready is not None:
                self.on_trace_ready(self)
            was_recording = False
        if self._recording and not was_recording:
            self.events.clear()
            self._session.recordings.append(self.events)
        elif was_recording and not self._recording:
            self._stop()

    @property
    def total(self) -> float:
        if self._session is None:
            return 0.0
        return (self._session.now() if self._ended is None else self._ended) - self._began

    def key_averages(self, by: str = "op") -> Averages:
        """Return sums over all events of one operation (``by="op"``), module (``"module"``: the
        innermost one) or source line (``"line"``: the innermost one of the user's).

        >>> import tinygrad_cnn as tg
        >>> with tg.profiler.profile() as p:
        ...     x = tg.ones(3).exp() + tg.ones(3).exp()
        >>> [(row.name, row.calls) for row in p.key_averages() if row.calls]
        [('exp', 2), ('add', 1)]
        """
        if by == "line" and not self.with_stack:
            raise ArgumentError(
                "profile: by='line' needs the lines; open it as profile(with_stack=True)"
            )
        return averages_of(self.events, self._depth, self.total, by)

    def table(self, by: str = "op", sort: str = "time", limit: int | None = None) -> TextTable:
        """Return `key_averages` as text, sorted by a column, at most ``limit`` rows of it.

        A notebook shows it as a table.
        """
        return self.key_averages(by).table(sort, limit)

    def export_chrome_trace(self, path: str | os.PathLike[str]) -> None:
        """Write all events as a JSON file for ``chrome://tracing`` or https://ui.perfetto.dev.

        Three tracks, forward, backward and optimiser, show operations inside the modules that they
        belong to, with arrows from forward to backward; a curve shows `memory_allocated`.
        """
        write_chrome_trace(path, self.events, self._began)

    save_chrome_trace = export_chrome_trace

    def __str__(self) -> str:
        return str(self.table())

    def _repr_html_(self) -> str:
        return self.table().html

    def __repr__(self) -> str:
        count = sum(e.kind == "operation" and e.depth == self._depth for e in self.events)
        return f"<profile: {count} operations, {self.total * 1e3:.3f} ms>"
