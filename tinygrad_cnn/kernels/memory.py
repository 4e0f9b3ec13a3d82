"""Memory that is used again instead of being asked of the operating system at every step.

A fresh array of several megabytes costs one page fault per 4 KB when it is first written, which for
an element-wise pass is as dear as the arithmetic. Two remedies live here:

* `scratch` lends short-lived work space to one kernel call: a stack per thread, released on
  leaving the ``with`` block. Chunk after chunk works in the same lines of the processor's cache.
* `empty` makes an array that owns its memory like any other, except that the memory goes to a
  bounded store when the last view of it dies, and the next array of that size starts from there.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

__all__ = ["Take", "clear", "empty", "scratch", "set_store_limit", "stored_bytes"]

Array = npt.NDArray[Any]

ALIGNMENT = 64  # bytes: a cache line, and a whole AVX-512 register
SCRATCH_LIMIT = (
    64 << 20
)  # bytes a thread keeps between calls; larger requests are served and let go
SMALLEST_STORED = 1 << 18  # bytes: below this malloc itself reuses memory without page faults


class Take(Protocol):
    """What `scratch` hands out: a function that cuts one uninitialised array off the stack."""

    def __call__(self, shape: tuple[int, ...], dtype: npt.DTypeLike) -> Array: ...


def _nbytes(shape: tuple[int, ...], dtype: np.dtype[Any]) -> int:
    count = dtype.itemsize
    for length in shape:
        count *= length
    return count


def _aligned(nbytes: int) -> npt.NDArray[np.uint8]:
    """Return `nbytes` uninitialised bytes that start on a cache line."""
    raw = np.empty(nbytes + ALIGNMENT, np.uint8)
    skip = -raw.ctypes.data % ALIGNMENT
    return raw[skip : skip + nbytes]


class _Stack(threading.local):
    """One thread's scratch memory: `block[:top]` is in use, `peak` is the most ever wanted at
    once.
    """

    def __init__(self) -> None:
        self.block: npt.NDArray[np.uint8] = _aligned(0)
        self.top = 0
        self.peak = 0

    def take(self, shape: tuple[int, ...], dtype: npt.DTypeLike) -> Array:
        kind = np.dtype(dtype)
        nbytes = _nbytes(shape, kind)
        start = self.top
        self.top += nbytes + -nbytes % ALIGNMENT
        self.peak = max(self.peak, self.top)
        if self.top > len(
            self.block
        ):  # does not fit: this once from malloc, next time from a larger block
            return _aligned(nbytes).view(kind).reshape(shape)
        return self.block[start : start + nbytes].view(kind).reshape(shape)


_stack = _Stack()


@contextmanager
def scratch() -> Iterator[Take]:
    """Lend work space to the calling thread until the ``with`` block ends.

    The arrays are uninitialised, start on a cache line and must not outlive the block. Blocks nest.

    >>> with scratch() as take:
    ...     a, b = take((2, 3), np.float32), take((4,), np.uint8)
    ...     a.shape, b.dtype.name, np.may_share_memory(a, b)
    ((2, 3), 'uint8', False)
    """
    stack = _stack
    start = stack.top
    if start == 0 and len(stack.block) < min(stack.peak, SCRATCH_LIMIT):
        stack.block = _aligned(min(stack.peak, SCRATCH_LIMIT))
    try:
        yield stack.take
    finally:
        stack.top = start


class _Lease:
    """The base of an array made by `empty` and of all its views; its end means that none is left.

    A plain object and not an array: NumPy shortens chains of arrays to the first one's base and
    would forget it.
    """

    __slots__ = ("__array_interface__", "memory")

    def __init__(self, memory: Array, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        self.memory = memory
        self.__array_interface__ = {
            "version": 3,
            "shape": shape,
            "typestr": dtype.str,
            "data": (memory.ctypes.data, False),
        }

    def __del__(self) -> None:
        if _store is not None:  # as it is while the interpreter shuts down
            _store.give_back(self.memory)


class _Store:
    """Bytes of dead arrays by size, oldest first out when there are more than `limit`."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.held = 0
        self.by_size: dict[int, list[Array]] = {}
        self.order: deque[int] = deque()  # sizes in the order in which they came back
        # A finaliser can run at any bytecode, also while this thread holds the lock: so
        # `give_back` only appends (atomic) and tidies up if the lock happens to be free.
        self.returned: deque[Array] = deque()
        self.lock = threading.Lock()

    def give_back(self, memory: Array) -> None:
        self.returned.append(memory)
        if self.lock.acquire(blocking=False):
            try:
                self._sort_in()
            finally:
                self.lock.release()

    def _sort_in(self) -> None:
        while self.returned:
            memory = self.returned.popleft()
            self.by_size.setdefault(memory.nbytes, []).append(memory)
            self.order.append(memory.nbytes)
            self.held += memory.nbytes
        while self.held > self.limit:
            size = self.order.popleft()
            self.by_size[size].pop(0)
            self.held -= size

    def find(self, size: int) -> Array | None:
        with self.lock:
            self._sort_in()
            shelf = self.by_size.get(size)
            if not shelf:
                return None
            self.held -= size
            self.order.remove(size)
            return shelf.pop()  # the latest: most likely still in cache


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
    kind = np.dtype(dtype)
    nbytes = _nbytes(shape, kind)
    if nbytes < SMALLEST_STORED:
        return np.empty(shape, kind)
    size = _rounded(nbytes)
    memory = _store.find(size)
    if memory is None:
        memory = _aligned(
            size
        )  # NumPy's own start 16 bytes off: vector loads then straddle cache lines
    return np.asarray(_Lease(memory, shape, kind))


def stored_bytes() -> int:
    """Return how many bytes wait in the store for their next array."""
    return _store.held


def set_store_limit(nbytes: int) -> int:
    """Bound the store at `nbytes` (0 turns it off) and return the former bound."""
    former, _store.limit = _store.limit, nbytes
    with _store.lock:
        _store._sort_in()
    return former


def clear() -> None:
    """Give the memory in the store, and this thread's scratch space, back to the system."""
    set_store_limit(set_store_limit(0))
    if _stack.top == 0:
        _stack.block, _stack.peak = _aligned(0), 0
