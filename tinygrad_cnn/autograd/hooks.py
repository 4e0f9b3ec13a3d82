"""Hooks and the handles that remove them."""

from __future__ import annotations

import itertools
import reprlib
import weakref
from collections.abc import Callable, MutableMapping
from typing import Any, Self

from tinygrad_cnn.errors import DtypeError
from tinygrad_cnn.types import AnyFunction

_next_id = itertools.count().__next__


class Hooks(dict[int, AnyFunction]):
    """Functions by number, in order of registration (a dict that weak references can point to)."""

    __slots__ = ("__weakref__",)


class RemovableHandle:
    """Takes one entry out of a registry of hooks; usable as a ``with`` block.

    ``registry`` maps numbers to functions. Only a weak reference to it is kept where its type
    allows one. The entry itself is made by the caller under ``handle.id``.
    """

    __slots__ = ("_registry", "id")

    def __init__(self, registry: MutableMapping[int, Any]) -> None:
        self.id = _next_id()
        self._registry: Callable[[], MutableMapping[int, Any] | None]
        try:
            self._registry = weakref.ref(registry)
        except TypeError:  # a plain dict takes no weak references
            self._registry = lambda: registry

    def remove(self) -> None:
        """Remove the hook; a second call does nothing."""
        registry = self._registry()
        if registry is not None:
            registry.pop(self.id, None)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.remove()


def add_hook(hooks: Hooks, function: AnyFunction, *, first: bool = False) -> RemovableHandle:
    """Register ``function``, as the ``first`` one if wanted; return the handle that removes it."""
    if not callable(function):
        raise DtypeError(f"a hook is {reprlib.repr(function)}, expected a function")
    handle = RemovableHandle(hooks)
    others = dict(hooks) if first else {}
    for number in others:
        del hooks[number]
    hooks[handle.id] = function
    hooks.update(others)
    return handle
