"""Transformed filters that are kept from one call to the next, while nobody changed the filters.

In inference the same filters are transformed for every batch, for nothing. What `kept` hands out
was made from exactly the bits that the filters have now: they are compared with a copy at every
call, one read of both, because there are many ways to change an array without telling anybody (an
optimiser's step, `load_state_dict`, NumPy). The copy and the planes are made at the second call for
the same array, not at the first, and are let go with the array, or when a call does not want them.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable

import numpy as np

from tinygrad_cnn.kernels.jit.compile.build import kernel
from tinygrad_cnn.kernels.jit.compile.entry import run
from tinygrad_cnn.kernels.memory import aligned, caches
from tinygrad_cnn.kernels.threads import shares
from tinygrad_cnn.types import Array

LIMIT = 64 << 20  # bytes of copies and planes in all: when they are used up, no more are kept
PIECE = 4096  # numbers that are compared before it is asked whether they differ


@kernel(entry=True)
def _differ(part: int, parts: int, a: Array, b: Array, found: Array) -> None:
    """Write to found (parts,) whether a and b (count,), of int32, differ. Costs two reads."""
    first, last = a.size * part // parts, a.size * (part + 1) // parts
    different = np.int32(0)
    for start in range(first, last, PIECE):
        end = min(last, start + PIECE)
        left, right = a[start:end], b[start:end]
        for i in range(left.size):
            different |= left[i] ^ right[i]
        if different != 0:
            break
    found[part] = different != 0


class _Entry:
    """What is known of one array of filters: nothing but that it was here, until `planes`."""

    __slots__ = ("copy", "layout", "planes", "ref")

    def __init__(self, ref: weakref.ref[Array]) -> None:
        self.ref = ref
        self.layout: tuple[int, ...] = ()
        self.copy: Array | None = None
        self.planes: Array | None = None

    def fits(self, w: Array, layout: tuple[int, ...]) -> bool:
        """Whether the planes are those of the present numbers in w, bit by bit."""
        copy = self.copy
        if copy is None or self.layout != layout or copy.size != w.size:
            return False
        parts = shares(2 * copy.nbytes)
        found = np.empty(parts, np.int32)
        run(_differ, parts, w.reshape(-1).view(np.int32), copy, found)
        return not found.any()

    def nbytes(self) -> int:
        """Bytes of copy and planes."""
        planes, copy = self.planes, self.copy
        return 0 if planes is None or copy is None else planes.nbytes + copy.nbytes


_entries: dict[int, _Entry] = {}  # by the array's address, which only a living array owns


def kept_bytes() -> int:
    """Return the bytes that all copies and planes take."""
    return sum(entry.nbytes() for entry in tuple(_entries.values()))


caches.append(_entries.clear)


def forget(w: Array) -> None:
    """Let go of what is kept of w."""
    if _entries:
        _entries.pop(id(w), None)


def _entry_of(w: Array) -> tuple[_Entry, bool]:
    """Return the entry of this very array, and whether it is new."""
    key = id(w)
    entry = _entries.get(key)
    if entry is not None and entry.ref() is w:
        return entry, False

    def gone(ref: weakref.ref[Array]) -> None:
        present = _entries.get(key)
        if present is not None and present.ref is ref:  # not that of a later array at this address
            del _entries[key]

    entry = _entries[key] = _Entry(weakref.ref(w, gone))
    return entry, True


def kept(
    w: Array, layout: tuple[int, ...], count: int, make: Callable[[Array, Array], object]
) -> Array | None:
    """Return the planes (count,) of filters w, or None where the caller had better use work space.

    w is float32 and C-contiguous. `layout` is what the planes depend on beside the numbers in w;
    ``make(numbers, planes)`` writes those of numbers like w's. Nobody writes to the result.
    """
    entry, new = _entry_of(w)
    planes = entry.planes
    if planes is not None:
        if entry.fits(w, layout):
            return planes
        # Back to the beginning: whoever changes them before every call pays for no copies.
        entry.planes = entry.copy = None
        return None
    if new or kept_bytes() + w.nbytes + w.itemsize * count > LIMIT:
        return None
    copy, planes = w.reshape(-1).copy(), aligned(w.itemsize * count).view(w.dtype)
    make(copy, planes)  # from the copy: another thread may be writing to w
    later = _Entry(entry.ref)  # in one piece, as another thread may be reading the entry
    later.layout, later.copy, later.planes = layout, copy.view(np.int32), planes
    _entries[id(w)] = later
    return planes
