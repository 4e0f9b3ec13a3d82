"""What all tensors of one memory share: its version, who has it, and what waits to read it.

A result may be lazy: to be computed from the memory of other tensors later (`kernels.lazy`). So
that nobody can tell, every write to that memory, from wherever, goes through `Storage.written`, and
whoever hands the memory itself to somebody who may write without telling calls `Storage.expose`:
both compute first what waits. From memory that was exposed once, nothing waits to be computed.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, TypeVar

from tinygrad_cnn.kernels.lazy import Lazy
from tinygrad_cnn.types import Array, Params

if TYPE_CHECKING:
    from tinygrad_cnn.autograd.node import SavedValue
    from tinygrad_cnn.autograd.variable import Variable

T = TypeVar("T")

_MANY = 8  # references from which on those that are gone are looked for


class Storage:
    """Shared by a tensor, its views, what is detached from it, and what nodes keep of it.

    Attributes
    ----------
    version
        How often the memory was changed in place.
    writer
        What did so last.
    exposed
        Whether somebody else may write to the memory: the public ``.array``, ``.numpy()``, the
        owner of an array that a user gave.
    stats
        ``(array, what a kernel found out about its numbers)`` while nobody has written since.
    memory
        The storage whose memory this is, if versions are counted apart (``.data``); else None.
    """

    # Of the class, as most storages keep them all their life, and one is made for every result.
    version = 0
    writer = ""
    exposed = False
    stats: tuple[Any, Params] | None = None
    memory: Storage | None = None
    dependents: list[weakref.ref[Lazy]] | None = None
    sharers: list[weakref.ref[Variable]] | None = None

    def with_own_version(self) -> Storage:
        """A storage of the same memory whose versions are counted apart."""
        new = Storage()
        new.memory = self if self.memory is None else self.memory
        return new

    def waits(self, lazy: Lazy) -> None:
        """Remember that ``lazy`` is yet to be computed from this memory."""
        root = self if self.memory is None else self.memory
        root.dependents = _appended(root.dependents, lazy)

    def shared_by(self, tensor: Variable, other: Variable) -> None:
        """Remember that both tensors have this memory."""
        root = self if self.memory is None else self.memory
        if root.sharers is None:
            root.sharers = [weakref.ref(tensor)]
        root.sharers = _appended(root.sharers, other)

    def tensors(self) -> list[Variable]:
        """All tensors that are known to share this memory; none if it is a single one's."""
        root = self if self.memory is None else self.memory
        return [t for ref in root.sharers or () if (t := ref()) is not None]

    def settle(self) -> None:
        """Compute all that waits to read this memory, and forget what was known of its numbers."""
        root = self if self.memory is None else self.memory
        root.stats = None
        waiting = root.dependents
        if waiting is not None:
            root.dependents = None
            while waiting:  # the latest first: what it stands for may be all that is ever read
                lazy = waiting.pop()()
                if lazy is not None:
                    lazy.realize()

    def expose(self) -> None:
        """Say that somebody who tells nobody may write from now on."""
        root = self if self.memory is None else self.memory
        root.exposed = True
        self.settle()

    @property
    def is_exposed(self) -> bool:
        """Whether somebody else may write to the memory."""
        return self.exposed if self.memory is None else self.memory.exposed

    def written(self, by: str) -> None:
        """Say that the numbers are about to be changed in place, and by what."""
        if self.dependents or self.stats or self.memory:
            self.settle()
        self.version += 1
        self.writer = by


def _appended(refs: list[weakref.ref[T]] | None, new: T) -> list[weakref.ref[T]]:
    """The list with a reference to ``new``; without those that are gone, if it has grown long."""
    if refs is None:
        return [weakref.ref(new)]
    if len(refs) >= _MANY:
        refs = [ref for ref in refs if ref() is not None]
    refs.append(weakref.ref(new))
    return refs


def operand(value: Array | Lazy, storage: Storage) -> Array | Lazy:
    """A tensor's value for an operation that can wait for it: a `Lazy`, or the array where no
    result may wait to be computed from it.
    """
    if type(value) is Lazy or value.ndim != 4:
        return value
    if storage.exposed if storage.memory is None else storage.memory.exposed:
        return value
    lazy = Lazy(("load", value), value)
    stats = storage.stats
    if stats is not None and stats[0] is value:
        lazy.stats = stats[1]
    return lazy


def depend(lazy: Lazy, name: str, operands: Iterable[Variable | SavedValue]) -> None:
    """Let ``lazy``, made by the operation ``name`` from ``operands``, wait for a reader.

    Operands have a `Storage` as ``storage`` and an array or a `Lazy` as ``_value``.
    """
    names: tuple[str, ...] = (name,)
    for x in operands:  # what these wait for themselves computes them first, before it changes
        x.storage.waits(lazy)
        if type(x._value) is Lazy:
            names = x._value.names + names
    lazy.names = names
