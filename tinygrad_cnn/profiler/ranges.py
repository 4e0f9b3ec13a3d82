"""PyTorch's names around a profile: labels for a range of code, and when to record."""

from __future__ import annotations

import enum
from collections.abc import Callable
from contextlib import ContextDecorator
from typing import Self

from tinygrad_cnn.autograd.arguments import need
from tinygrad_cnn.errors import ArgumentError
from tinygrad_cnn.profiler.events import Event
from tinygrad_cnn.profiler.session import Session, here


class ProfilerActivity(enum.Enum):
    """What PyTorch can record; here it is always what the CPU does."""

    CPU = 0
    XPU = 1
    CUDA = 3


class ProfilerAction(enum.Enum):
    """What a profile does during a step."""

    NONE = 0
    WARMUP = 1
    RECORD = 2
    RECORD_AND_SAVE = 3


class record_function(ContextDecorator):
    """Give a ``with`` block, or a decorated function, a row of its own in open profiles.

    The row has the time that no operation in the block accounts for. ``args`` is ignored.

    Examples
    --------
    >>> import tinygrad_cnn as tg
    >>> with tg.profiler.profile() as p:
    ...     with tg.profiler.record_function("twice"):
    ...         x = tg.ones(2) * 2
    >>> [(e.name, e.kind) for e in p.events]
    [('twice', 'range'), ('mul', 'operation')]
    """

    def __init__(self, name: str, args: str | None = None) -> None:
        need("record_function", "name", name, "str")
        self.name = name
        self._open: list[tuple[Session, Event] | None] = []

    def _recreate_cm(self) -> Self:
        return type(self)(self.name)

    def __enter__(self) -> Self:
        session = here.session
        recorded = session is not None and bool(session.recordings)
        self._open.append((session, session.begin_range(self.name)) if recorded else None)  # type: ignore[union-attr, arg-type]  # it is not None then
        return self

    def __exit__(self, *error: object) -> None:
        found = self._open.pop()
        if found is not None:
            session, event = found
            session.end_range(event)


def schedule(
    *, wait: int, warmup: int, active: int, repeat: int = 0, skip_first: int = 0
) -> Callable[[int], ProfilerAction]:
    """When to record, by the number of the step: after ``skip_first`` steps, cycles of ``wait``
    and ``warmup`` steps that are not recorded and ``active`` ones that are.

    ``repeat`` is the number of cycles; 0 goes on for ever.

    Raises
    ------
    ValueError
        A number is negative, or ``active`` is 0.

    Examples
    --------
    >>> when = schedule(wait=1, warmup=0, active=2, repeat=1)
    >>> [when(step).name for step in range(4)]
    ['NONE', 'RECORD', 'RECORD_AND_SAVE', 'NONE']
    """
    if min(wait, warmup, repeat, skip_first) < 0 or active < 1:
        raise ArgumentError(
            f"schedule: `wait`, `warmup`, `active`, `repeat` and `skip_first` are {wait}, "
            f"{warmup}, {active}, {repeat} and {skip_first}, expected none negative and some "
            f"active steps"
        )
    cycle = wait + warmup + active

    def action(step: int) -> ProfilerAction:
        step -= skip_first
        if step < 0 or (repeat and step >= repeat * cycle):
            return ProfilerAction.NONE
        at = step % cycle
        if at < wait:
            return ProfilerAction.NONE
        if at < wait + warmup:
            return ProfilerAction.WARMUP
        return ProfilerAction.RECORD if at < cycle - 1 else ProfilerAction.RECORD_AND_SAVE

    return action
