"""What a forked process must not inherit: locks that are held, and work that is half done.

A child has one thread, and a copy of everything as it was. A lock that another thread of the
parent held is held for ever there, so every lock that outlives a call is made `free_in_child`. What
is changed under such a lock is changed without a call between, so that it is whole at every fork;
where that cannot be, as while something is imported or compiled, a fork waits: `whole`.

>>> lock = free_in_child(threading.Lock())
>>> with lock, whole():
...     print("the child would find nothing half done")
the child would find nothing half done
"""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

L = TypeVar("L")

MOST_WAIT = 60.0  # seconds that a fork waits; what takes longer is stuck
_PAUSE = 0.001

_locks: weakref.WeakSet[Any] = weakref.WeakSet()
_gate = threading.RLock()  # held while a process forks, and where `_working` changes
_working: dict[int, int] = {}  # threads inside `whole`, and how deep


def free_in_child(lock: L) -> L:
    """Return the lock (an event has one too); nobody holds it in a process forked from now on.

    >>> lock = free_in_child(threading.RLock())
    >>> renew()
    """
    _locks.add(lock)
    return lock


def renew() -> None:
    """Let go of all locks, as in a child, but those that this thread holds itself."""
    for lock in tuple(_locks):
        if not (hasattr(lock, "_is_owned") and lock._is_owned()):
            lock._at_fork_reinit()


@contextmanager
def whole() -> Iterator[None]:
    """Inside, no other thread forks. For work on threads where no signal handler runs."""
    me = threading.get_ident()
    with _gate:
        _working[me] = _working.get(me, 0) + 1
    try:
        yield
    finally:
        with _gate:
            _working[me] -= 1
            if not _working[me]:
                del _working[me]


def _before() -> None:
    """Wait until no other thread is inside `whole`, and keep all from entering."""
    end = time.monotonic() + MOST_WAIT
    while True:
        _gate.acquire()
        if not _working.keys() - {threading.get_ident()} or time.monotonic() > end:
            return
        _gate.release()
        time.sleep(_PAUSE)


def _in_parent() -> None:
    _gate.release()


def _in_child() -> None:
    _gate._at_fork_reinit()  # type: ignore[attr-defined]
    for thread in _working.keys() - {threading.get_ident()}:
        del _working[thread]
    renew()


def in_child(work: Callable[[], object]) -> None:
    """Have ``work()`` called in every process that is forked from now on, where systems fork."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=work)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before, after_in_parent=_in_parent, after_in_child=_in_child)
