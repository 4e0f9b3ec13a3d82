"""Shares of one kernel call on several threads: NumPy lets go of the interpreter while it computes.

As many threads work as BLAS is set to use (``OPENBLAS_NUM_THREADS`` and the like, by default all
processors), and BLAS itself is held at one thread meanwhile: two levels of threads would fight for
the same processors. A convolution is then faster than with BLAS's threads alone, because gathering
and transforming run in parallel too. Where NumPy's BLAS is not OpenBLAS, there is one thread and
everything works as before.

Shares are consecutive and fixed by the number of threads, so the same call always gives the same
bits.
"""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Callable, Sequence
from contextvars import copy_context
from functools import partial
from queue import SimpleQueue
from typing import Any, TypeVar

import numpy as np

__all__ = ["count", "one_blas_thread", "split"]

T = TypeVar("T")
R = TypeVar("R")

MOST = 8  # threads: beyond, they mostly wait for the interpreter
LEAST_BYTES = (
    1 << 19
)  # read and written by a call that is worth a hand-over of some 50 microseconds

# Names under which builds of NumPy export OpenBLAS's functions (64-bit integers, scipy's wheels,
# system libraries).
_NAMES = ("scipy_openblas_{}64_", "scipy_openblas_{}", "openblas_{}64_", "openblas_{}")


def _openblas(name: str) -> Callable[..., int] | None:
    """Return OpenBLAS's function `name` in the library that NumPy itself has loaded, or None."""
    try:
        library = ctypes.CDLL(np._core._multiarray_umath.__file__)  # type: ignore[attr-defined] # private
    except (AttributeError, OSError):
        return None
    for pattern in _NAMES:
        try:
            function: Callable[..., int] = getattr(library, pattern.format(name))
        except AttributeError:
            continue
        return function
    return None


class _Blas:
    """How many threads BLAS uses; while any thread of ours is inside ``with``, one."""

    def __init__(self) -> None:
        get, put = _openblas("get_num_threads"), _openblas("set_num_threads")
        self.get = get if put else None
        self.put = put if get else None
        self.lock = threading.Lock()
        self.inside = 0
        self.former = 1

    def threads(self) -> int:
        with self.lock:
            return self.former if self.inside else self.get() if self.get else 1

    def __enter__(self) -> None:
        with self.lock:
            if self.inside == 0 and self.get and self.put:
                self.former = self.get()
                self.put(1)
            self.inside += 1

    def __exit__(self, *error: object) -> None:
        with self.lock:
            self.inside -= 1
            if self.inside == 0 and self.put:
                self.put(self.former)


class _Worker:
    """A daemon thread that runs one function after the other."""

    def __init__(self) -> None:
        self.jobs: SimpleQueue[tuple[Callable[[], Any], SimpleQueue[Any]]] = SimpleQueue()
        threading.Thread(target=self._run, name="tinygrad_cnn kernels", daemon=True).start()

    def _run(self) -> None:
        _here.is_worker = True
        while True:
            job, answer = self.jobs.get()
            try:
                answer.put((job(), None))
            except BaseException as error:  # raised again in the thread that asked
                answer.put((None, error))
            del job, answer  # or the last arrays would live until the next job


class _Here(threading.local):
    is_worker = False


_here = _Here()
_blas = _Blas()
_workers: list[_Worker] = []
_workers_lock = threading.Lock()


def _after_fork() -> None:
    """Start over in a child process, which has none of its parent's threads."""
    global _workers_lock
    _workers.clear()
    _workers_lock = threading.Lock()
    _blas.lock, _blas.inside = threading.Lock(), 0


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def count() -> int:
    """Return how many threads share the work of a large kernel call."""
    return max(1, min(_blas.threads(), MOST))


def one_blas_thread() -> _Blas:
    """Return a context in which BLAS computes on the calling thread alone.

    OpenBLAS's own threads, once woken, spin for some 25 ms before they sleep again: a small
    product on all processors slows down everything that follows it.

    >>> with one_blas_thread():
    ...     (np.ones((2, 3)) @ np.ones(3)).tolist()
    [3.0, 3.0]
    """
    return _blas


def split(tasks: Sequence[T], work: Callable[[Sequence[T]], R], nbytes: int) -> list[R]:
    """Call `work` on consecutive shares of `tasks`, on one thread each, and return the results in
    order.

    `nbytes` is what the tasks read and write in all: little work stays on this thread, in one
    share.

    >>> split(range(10), sum, nbytes=0)
    [45]
    """
    parts = 1 if nbytes < LEAST_BYTES or _here.is_worker else min(count(), len(tasks))
    if parts <= 1:
        with _blas:
            return [work(tasks)]
    with _workers_lock:
        while len(_workers) < parts - 1:
            _workers.append(_Worker())
    edges = [len(tasks) * k // parts for k in range(parts + 1)]
    answers: list[SimpleQueue[Any]] = []
    with _blas:
        for k in range(1, parts):
            share, context = (
                tasks[edges[k] : edges[k + 1]],
                copy_context(),
            )  # NumPy's errstate is in there
            answers.append(SimpleQueue())
            _workers[k - 1].jobs.put((partial(context.run, work, share), answers[-1]))
        try:
            results = [work(tasks[: edges[1]])]
        finally:
            rest = [
                answer.get() for answer in answers
            ]  # nobody may still write when this call is left
    for result, error in rest:
        if error is not None:
            raise error
        results.append(result)
    return results
