"""Memory that is used again instead of being asked of the operating system at every step.

A fresh array of several megabytes costs one page fault per 4 KB when it is first written, which for
an element-wise pass is as dear as the arithmetic. Two remedies live here:

* `scratch` lends short-lived work space to one kernel call: a stack per thread, released on
  leaving the ``with`` block. Chunk after chunk works in the same lines of the processor's cache.
* `empty` makes an array that owns its memory like any other, except that the memory goes to a
  bounded store when the last view of it dies, and the next array of that size starts from there.

It also keeps the books: `memory_allocated`, `max_memory_allocated`, `reset_peak_memory_stats` and
`memory_stats` count, to the byte, the arrays from `empty` that some view keeps alive. What NumPy
allocates itself (arrays below `SMALLEST_STORED`, what the user made, results of plain NumPy calls),
scratch space and the transformed filters kept in inference are outside these counts.
"""

from __future__ import annotations

import ctypes
import math
import sys
import threading
import weakref
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from functools import lru_cache
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from tinygrad_cnn.kernels.forks import free_in_child
from tinygrad_cnn.types import Array, DType

ALIGNMENT = 64  # bytes: a cache line, and a whole AVX-512 register
SCRATCH_LIMIT = (
    64 << 20
)  # bytes a thread keeps between calls; larger requests are served and let go
MOST_VIEWS = 1 << 12  # arrays of scratch memory that are kept
SMALLEST_STORED = 1 << 18  # bytes: below this malloc itself reuses memory without page faults


caches: list[Callable[[], object]] = []
"""Functions that let go of what kernels keep from one call to the next; `clear` calls them."""


class Take(Protocol):
    """What `scratch` hands out: a function that cuts one uninitialised array off the stack."""

    def __call__(self, shape: tuple[int, ...], dtype: npt.DTypeLike) -> Array: ...


def aligned(nbytes: int) -> npt.NDArray[np.uint8]:
    """Return `nbytes` uninitialised bytes that start on a cache line."""
    raw = np.empty(nbytes + ALIGNMENT, np.uint8)
    skip = -raw.ctypes.data % ALIGNMENT
    return raw[skip : skip + nbytes]


@lru_cache(maxsize=1024)  # kernels ask for the same shapes at every step
def _measured(shape: tuple[int, ...], dtype: Hashable) -> tuple[DType, int]:
    """Return the dtype of such an array, and how many bytes it takes."""
    kind = np.dtype(dtype)  # type: ignore[call-overload]  # a dtype or a type
    return kind, kind.itemsize * math.prod(shape)


class _Stack:
    """One thread's scratch memory: `block[:top]` is in use, `peak` is the most ever wanted at
    once. Arrays that have been cut off the block are handed out again at the same place.
    """

    __slots__ = ("block", "peak", "top", "views")

    def __init__(self) -> None:
        self.top = 0
        self.renew(0)

    def renew(self, nbytes: int) -> None:
        """Start with another block."""
        self.block: npt.NDArray[np.uint8] = aligned(nbytes)
        self.peak = nbytes
        self.views: dict[tuple[Any, ...], tuple[Any, int]] = {}

    def cut(self, room: Room) -> Any:
        """Return what is made in a room; the same again at the same place."""
        key = room, self.top
        made = room.make(self.take)
        if self.top <= self.block.size:
            self.views[key] = made, self.top
        return made

    def take(self, shape: tuple[int, ...], dtype: npt.DTypeLike) -> Array:
        start = self.top
        key = shape, dtype, start
        known = self.views.get(key)
        if known is not None:
            array: Array
            array, self.top = known
            return array
        nbytes = _measured(shape, dtype)[1]  # type: ignore[arg-type]  # a dtype or a type
        nbytes += -nbytes % ALIGNMENT
        self.top = top = start + nbytes
        if top > self.peak:
            self.peak = top
        if top > self.block.size:  # does not fit: from malloc, next time from a larger block
            return np.ndarray(shape, dtype, aligned(nbytes))
        array = np.ndarray(shape, dtype, self.block, start)
        if len(self.views) >= MOST_VIEWS:
            self.views = {}
        self.views[key] = array, top
        return array


class Room:
    """Work space that is cut in the same way again and again: what ``make(take)`` returns."""

    __slots__ = ("make",)

    def __init__(self, make: Callable[[Take], Any]) -> None:
        self.make = make


class _Here(threading.local):
    def __init__(self) -> None:
        self.stack = _Stack()  # looked up once for every `scratch`: a thread's names are slow


here = _Here()
"""``here.stack`` is this thread's scratch memory.

An exception leaves ``with`` blocks properly, but for one that a signal handler raises in the very
call that should do so. Whoever calls kernels sees to it that `top` is then what it was.
"""


class scratch:
    """Lend work space to the calling thread until the ``with`` block ends.

    The arrays are uninitialised, start on a cache line and must not outlive the block. Blocks nest.

    >>> with scratch() as take:
    ...     a, b = take((2, 3), np.float32), take((4,), np.uint8)
    ...     a.shape, b.dtype.name, np.may_share_memory(a, b)
    ((2, 3), 'uint8', False)
    """

    __slots__ = ("stack", "start")

    def __enter__(self) -> Take:
        self.stack = stack = here.stack
        self.start = stack.top
        if self.start == 0 and stack.block.size < min(stack.peak, SCRATCH_LIMIT):
            stack.renew(min(stack.peak, SCRATCH_LIMIT))
        return stack.take

    def __exit__(self, *error: object) -> None:
        self.stack.top = self.start


class workspace(scratch):
    """Lend the arrays of a `Room`, as `scratch` does: asked for at once, and found at once.

    >>> room = Room(lambda take: (take((2, 3), np.float32), take((4,), np.uint8)))
    >>> with workspace(room) as (a, b):
    ...     a.shape, b.dtype.name
    ((2, 3), 'uint8')
    """

    __slots__ = ("room",)

    def __init__(self, room: Room) -> None:
        self.room = room

    def __enter__(self) -> Any:
        self.stack = stack = here.stack
        self.start = start = stack.top
        if start == 0 and stack.block.size < min(stack.peak, SCRATCH_LIMIT):
            stack.renew(min(stack.peak, SCRATCH_LIMIT))
        known = stack.views.get((self.room, start))
        if known is None:
            return stack.cut(self.room)
        made, stack.top = known
        return made


class Lease:
    """The base of an array and of all its views; its end means that none is left.

    ``note`` is what has to live as long.

    A plain object and not an array: NumPy shortens chains of arrays to the first one's base and
    would forget it.
    """

    __slots__ = ("__array_interface__", "__weakref__", "note")

    __array_interface__: dict[str, Any]
    note: object

    def array(self, shape: tuple[int, ...], kind: DType, address: int) -> Array:
        """Return the array of this lease, which lies at an address."""
        self.__array_interface__ = {
            "version": 3,
            "shape": shape,
            "typestr": kind.str,
            "data": (address, False),
        }
        return np.asarray(self)


class _Note(weakref.ref[Lease]):
    """What is booked for a lease; goes back to the store when that ends.

    By a function of C, unlike ``__del__``: what a signal handler raises in one that is Python's is
    lost.
    """

    __slots__ = ("memory", "size")

    memory: Array | None
    size: int


class _Store:
    """Bytes of dead arrays by size, oldest first out when there are more than `limit`."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.held = 0
        self.by_size: dict[int, list[Array]] = {}
        self.order: deque[int] = deque()  # sizes in the order in which they came back
        self.in_use = 0  # bytes of living arrays, once what is in `returned` is subtracted
        self.peak = 0
        self.count = 0  # arrays handed out since the process began
        # A lease can end at any bytecode, also while this thread holds the lock.
        self.returned: deque[_Note] = deque()
        self.lock = free_in_child(threading.Lock())

    # What belongs together is changed without a call between: a signal handler runs, and may raise,
    # after calls only.

    def _sort_in(self) -> None:
        while self.returned:
            note = self.returned[0]
            del self.returned[0]
            self.in_use -= note.size
            if note.memory is not None:
                shelf = self.by_size.get(note.size)
                if shelf is None:
                    shelf = self.by_size[note.size] = []
                shelf += [note.memory]
                self.order += (note.size,)
                self.held += note.size
        self._shrink(self.limit)

    def _shrink(self, nbytes: int) -> None:
        while self.held > nbytes:
            size = self.order[0]
            del self.order[0]
            del self.by_size[size][0]
            self.held -= size

    def book(self, lease: Lease, size: int) -> _Note:
        """Book memory of that size as in use until the lease ends, with the memory if there is."""
        lease.note = note = _Note(lease, self.returned.append)
        note.memory, note.size = None, 0
        with self.lock:
            self._sort_in()  # first, so that the peak is exact
            self.count += 1
            note.size = size
            self.in_use += size
            if self.in_use > self.peak:
                self.peak = self.in_use
            shelf = self.by_size.get(size)
            if shelf:
                note.memory = shelf[-1]  # the latest: most likely still in cache
                del shelf[-1]
                self.held -= size
                self.order.remove(size)
        return note

    def trim(self, nbytes: int) -> None:
        """Give back what came first, until no more than that waits."""
        with self.lock:
            self._sort_in()
            self._shrink(nbytes)

    def settle(self) -> None:
        """Book all that has come back."""
        with self.lock:
            self._sort_in()


_store: _Store = _Store(limit=512 << 20)


def _rounded(nbytes: int) -> int:
    """Round up to 1/8 of the power of two below, so that similar sizes share a shelf."""
    step = max(4096, 1 << max(nbytes.bit_length() - 4, 0))
    return nbytes + -nbytes % step


def empty(shape: tuple[int, ...], dtype: npt.DTypeLike) -> Array:
    """Return an uninitialised C-contiguous array whose memory is used again once it is dead.

    Small arrays are plain `numpy.empty`. The result never shares memory with a living array.

    >>> empty((2, 3), np.float32).shape
    (2, 3)
    """
    kind, nbytes = _measured(shape, dtype)  # type: ignore[arg-type]  # a dtype or a type
    if nbytes < SMALLEST_STORED:
        return np.empty(shape, kind)
    size, lease = _rounded(nbytes), Lease()
    note = _store.book(lease, size)
    memory = note.memory
    if memory is None:
        # NumPy's own start 16 bytes off: vector loads then straddle cache lines.
        note.memory = memory = aligned(size)
    return lease.array(shape, kind, memory.ctypes.data)


def table_of(rows: Sequence[tuple[Array, ...]]) -> Array:
    """Return the table (rows, arrays + 1), int64, by which a kernel finds arrays: the addresses of
    their objects, and how many numbers the first one of each row has.

    >>> table_of([(np.zeros(3), np.zeros(3))])[0, -1].item()
    3
    """
    return np.array([[*map(id, row), row[0].size] for row in rows], np.int64)


def stored_bytes() -> int:
    """Return how many bytes wait in the store for their next array."""
    _store.settle()
    return _store.held


def trim_store(nbytes: int) -> None:
    """Give memory that waits in the store back to the system, until at most `nbytes` wait.

    >>> trim_store(0)
    >>> stored_bytes()
    0
    """
    _store.trim(nbytes)
    if _malloc_trim is not None:  # else malloc keeps what it has got once
        _malloc_trim(0)


_malloc_trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None


def set_store_limit(nbytes: int) -> int:
    """Bound the store at `nbytes` (0 turns it off) and return the former bound."""
    former, _store.limit = _store.limit, nbytes
    _store.settle()
    return former


def clear() -> None:
    """Give the memory in the store, this thread's scratch space, and what kernels keep for later
    calls, back to the system.
    """
    for forget in caches:
        forget()
    stack = here.stack
    if stack.top == 0:
        stack.renew(0)
    trim_store(0)


# ---- accounting ----------------------------------------------------------------------------


def memory_allocated() -> int:
    """Return the bytes of all living arrays from `empty`, each rounded up to its shelf's size.

    These are the large results of kernels: activations, their gradients, what the derivative rules
    keep. Arrays below 256 KB, arrays that the user made and results of plain NumPy calls (most
    element-wise operations, small matrix products) are NumPy's own and are not counted.

    >>> import tinygrad_cnn as tg
    >>> before = tg.memory_allocated()
    >>> x = tg.relu(tg.ones(1024, 1024))  # 4 MB of float32
    >>> tg.memory_allocated() - before
    4194304
    """
    _store.settle()
    return _store.in_use


def max_memory_allocated() -> int:
    """Return the largest value that `memory_allocated` has had since the last
    `reset_peak_memory_stats`.
    """
    return _store.peak


def reset_peak_memory_stats() -> None:
    """Let the peak that `max_memory_allocated` returns start again from what is allocated now.

    >>> import tinygrad_cnn as tg
    >>> tg.reset_peak_memory_stats()
    >>> tg.max_memory_allocated() == tg.memory_allocated()
    True
    """
    with _store.lock:
        _store._sort_in()
        _store.peak = _store.in_use


def memory_stats() -> dict[str, int]:
    """Return all counts by name, in bytes where the name says so.

    ==================== ===========================================================================
    allocated_bytes      living arrays from `empty`: `memory_allocated`
    peak_allocated_bytes the most there has been: `max_memory_allocated`
    stored_bytes         dead arrays whose memory waits for the next array of that size
    reserved_bytes       both together: what is asked of the operating system
    scratch_bytes        the calling thread's work space, kept between calls of kernels
    allocations          arrays handed out by `empty` since the process began
    ==================== ===========================================================================

    >>> import tinygrad_cnn as tg
    >>> stats = tg.memory_stats()
    >>> stats["reserved_bytes"] == stats["allocated_bytes"] + stats["stored_bytes"]
    True
    """
    with _store.lock:
        _store._sort_in()
        return {
            "allocated_bytes": _store.in_use,
            "peak_allocated_bytes": _store.peak,
            "stored_bytes": _store.held,
            "reserved_bytes": _store.in_use + _store.held,
            "scratch_bytes": here.stack.block.nbytes,
            "allocations": _store.count,
        }
