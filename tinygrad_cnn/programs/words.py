"""Whether objects still refer to the same others, compared by machine code, word by word.

CPython keeps what a slot, a cell or a list refers to as an address, a word of memory at a place
that stays the same while the object lives. Where these places are is tried out. Comparing hundreds
of them takes a microsecond or two, and needs none of Python's memory in the caches. Whoever does
not find them compares in Python: other interpreters, and CPython without its lock.
"""

from __future__ import annotations

import ctypes
import functools
import gc
import itertools
import sys
import types
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

WORD = 8  # bytes
_HEAD = object.__basicsize__  # what comes first in every object
_TABLE = _HEAD + 2 * WORD  # in a dictionary, after two counts
_LARGEST = 1 << 13  # words of a table that is searched


class Words:
    """Places in memory, and what stands there.

    What they are of, and what they refer to, has to be kept alive as long as they are compared.
    """

    def __init__(self) -> None:
        self._places: list[int] = []
        self._words: list[int] = []

    def add(self, address: int, words: Iterable[int]) -> None:
        """Compare from now on what stands from an address on, too."""
        words = list(words)
        self._places += range(address, address + WORD * len(words), WORD)
        self._words += words

    def slots(self, place: int, holders: Sequence[Any], values: Sequence[Any]) -> None:
        """What the slots, or cells, of objects refer to."""
        for holder, value in zip(holders, values, strict=True):
            self.add(id(holder) + place, [id(value)])

    def container(self, held: Any, members: list[Any]) -> bool:
        """What a container had; return whether there are places for all of that."""
        head = id(held) + _HEAD
        if type(held) is list:  # first where its members are, then these
            start = _words_at(head, 2)[1]
            self.add(head, [len(members), start])
            self.add(start, map(id, members))
            return True
        if type(held) is set and not members:
            self.add(head + WORD, [0])
            return True
        return False

    def length(self, space: Any, count: int) -> bool:
        """How many names a namespace has; return whether there is a place for that."""
        space = _dictionary(space)
        if type(space) is dict:
            self.add(id(space) + _HEAD, [count])
        return type(space) is dict

    def names(self, space: Any, values: dict[str, Any]) -> bool:
        """What a namespace has under names; return whether there are places for all of that.

        Its table is where it was, or it has another one; in it a value follows its key.
        """
        space = _dictionary(space)
        if type(space) is not dict:
            return False
        table, others = _words_at(id(space) + _TABLE, 2)
        size = (space.__sizeof__() - dict.__basicsize__) // WORD
        if others or not 0 < size <= _LARGEST:  # 0: others have the same table
            return False
        places = {pair: n + 1 for n, pair in enumerate(itertools.pairwise(_words_at(table, size)))}
        keys = {key: id(key) for key in space}
        found = [places.get((keys.get(name, 0), id(value)), 0) for name, value in values.items()]
        if 0 in found:
            return False
        self.add(id(space) + _TABLE, [table])
        for place, value in zip(found, values.values(), strict=True):
            self.add(table + WORD * place, [id(value)])
        return True

    def close(self) -> None:
        """No more is added."""
        from tinygrad_cnn.kernels.jit.threads.pool import compare

        self._count = len(self._words)
        self._table = np.array([self._places, self._words], np.int64)
        places, words = (row.ctypes.data for row in self._table)
        self._compare = functools.partial(compare, places, words, self._count)

    def are_same(self) -> bool:
        """Whether everything is as it was."""
        first_other: int = self._compare()
        return first_other == self._count


def _dictionary(space: Any) -> Any:
    """What a class's namespace is a view of."""
    return gc.get_referents(space)[0] if type(space) is types.MappingProxyType else space


def words() -> Words | None:
    """Places to be filled in; None where nothing is compared in this way (yet)."""
    used = "tinygrad_cnn.kernels.jit.threads.pool" in sys.modules  # compiled kernels are
    return Words() if used and _is_known() else None


@functools.cache
def _is_known() -> bool:
    """Whether lists and cells are laid out as expected, and one thread at a time runs Python."""
    locked: bool = getattr(sys, "_is_gil_enabled", lambda: True)()
    if sys.implementation.name != "cpython" or not locked or tuple.__itemsize__ != WORD:
        return False
    if dict.__basicsize__ != _TABLE + 2 * WORD:
        return False
    held, members = [object(), object(), object()], {object(), object()}
    names = {"first": 1, "second": 2, "third": 3}
    length, first = _words_at(id(held) + _HEAD, 2)
    return (
        length == len(held)
        and _words_at(first, len(held)) == list(map(id, held))
        and _words_at(id(members) + _HEAD + WORD, 1) == [len(members)]
        and _words_at(id(names) + _HEAD, 1) == [len(names)]
        and cell_place() is not None
    )


def _words_at(address: int, count: int) -> list[int]:
    words: list[int] = np.frombuffer(ctypes.string_at(address, WORD * count), np.int64).tolist()
    return words


@functools.cache
def cell_place() -> int | None:
    """Where a cell has what is in it."""
    value = object()
    return _place(types.CellType(value), value)


@functools.cache
def slot_place(kind: type, name: str) -> int | None:
    """Where objects of a class, and of those derived from it, have what a slot refers to."""
    value: Any = object()
    holder: Any = object.__new__(kind)
    getattr(kind, name).__set__(holder, value)
    return _place(holder, value)


def _place(holder: Any, value: Any) -> int | None:
    """Where in an object another's address stands; None unless it is there once."""
    words = _words_at(id(holder), type(holder).__basicsize__ // WORD)
    return WORD * words.index(id(value)) if words.count(id(value)) == 1 else None
