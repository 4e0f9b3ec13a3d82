"""Watching what runs: the one seam of the engine, for drawings and for the profiler.

While nobody watches, an operation, a derivative rule, a walk, a module's call, an optimiser's step
and a batch each pay for one look at an empty list. While a thread watches, each such call is handed
to its observers, one after the other, the newest first; the last of them runs it.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, NamedTuple

from tinygrad_cnn.types import AnyFunction, Args, Params


class Call(NamedTuple):
    """A call that is about to be made: ``run(*args, **params)``.

    ``kind`` is ``"operation"`` (of an `Op` or a `Function`), ``"detach"``, ``"rule"`` (a pullback),
    ``"walk"``, ``"module"``, ``"step"`` (of an optimiser), ``"closure"`` (which that calls),
    ``"load"`` (of a batch) or ``"launch"`` (of what a program does for an operation).
    """

    kind: str
    name: str
    run: AnyFunction
    args: Args
    params: Params


Observer = Callable[[Call, AnyFunction], Any]
"""``observer(call, go)`` returns ``go()``, which makes the call, and notes what it likes.

With ``go(blind=True)`` it is not told of what runs inside. Its own work is not observed.
"""

watching: list[Observer] = []
"""Not empty while some thread watches: all that the hot path asks."""

_observers: ContextVar[tuple[Observer, ...]] = ContextVar("tinygrad_cnn.observers", default=())
_told: ContextVar[object] = ContextVar("tinygrad_cnn.told", default=None)


def watch(observer: Observer) -> None:
    """Hand every call that this thread or task makes to ``observer``, until `unwatch`."""
    watching.append(observer)
    _observers.set((observer, *_observers.get()))


def unwatch(observer: Observer) -> None:
    """The end of `watch`."""
    watching.remove(observer)
    _observers.set(tuple([o for o in _observers.get() if o != observer]))


def observed(run: object) -> bool:
    """Whether a call of ``run`` is to be handed to `observe`: not if that makes it itself."""
    if _told.get() == run:
        _told.set(None)
        return False
    return is_watched()


def is_watched() -> bool:
    """Whether this thread is."""
    return bool(_observers.get())


def wants_calls() -> bool:
    """Whether somebody who watches this thread has to see every call: a program's launches, each a
    call of the kind ``"launch"``, do not do.
    """
    owners = (getattr(observer, "__self__", None) for observer in _observers.get())
    return not all(getattr(owner, "takes_launches", False) for owner in owners)


def observe(kind: str, name: str, run: AnyFunction, args: Args, params: Params) -> Any:
    """Return ``run(*args, **params)``, of which all observers are told."""
    observers = _observers.get()
    return _hand_on(Call(kind, name, run, args, params), observers, observers)


def _hand_on(call: Call, rest: tuple[Observer, ...], inside: tuple[Observer, ...]) -> Any:
    """Tell the ``rest`` of the observers; those ``inside`` are told of what the call makes."""
    if not rest:
        former, told = _observers.set(inside), _told.set(call.run)
        try:
            return call.run(*call.args, **call.params)
        finally:
            _told.reset(told)
            _observers.reset(former)
    me = rest[0]

    def go(blind: bool = False) -> Any:
        seeing = tuple([o for o in inside if o != me]) if blind else inside
        return _hand_on(call, rest[1:], seeing)

    former = _observers.set(())
    try:
        return me(call, go)
    finally:
        _observers.reset(former)
