"""Shares of one kernel call on several threads: NumPy lets go of the interpreter while it computes.

One number, `set_num_threads`, holds for BLAS, for the shares of NumPy kernels (`split`) and for
compiled kernels (`team`). Until it is set, as many threads work as BLAS is set to use
(``OPENBLAS_NUM_THREADS`` and the like, by default all processors), and BLAS itself is held at one
thread meanwhile: two levels of threads would fight for the same processors. A convolution is then
faster than with BLAS's threads alone, because gathering and transforming run in parallel too.
Where NumPy's BLAS is not OpenBLAS, NumPy kernels have one thread, as before, unless a number is
set.

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
from typing import Any, TypeVar, cast

import numpy as np

__all__ = [
    "apart",
    "count",
    "get_num_threads",
    "one_blas_thread",
    "set_num_threads",
    "split",
    "team",
]

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

    def choose(self, number: int) -> None:
        """Set the number of threads outside of ``with``."""
        with self.lock:
            if self.inside:
                self.former = number
            elif self.put:
                self.put(number)

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


class _Chosen:
    """What `set_num_threads` was given, and what `team` found out."""

    number: int | None = None
    team: int | None = None


_chosen = _Chosen()


def count() -> int:
    """Return how many threads share the work of a large call of a NumPy kernel."""
    return max(1, min(_chosen.number or _blas.threads(), MOST))


def team() -> int:
    """Return how many threads share the work of a large call of a compiled kernel."""
    if _chosen.team is None:
        _chosen.team = _blas.threads() if _blas.get else _processors()
    return _chosen.team


def _processors() -> int:
    """Return how many processors this process may use, or fewer if OMP_NUM_THREADS says so."""
    if hasattr(os, "sched_getaffinity"):
        most = len(os.sched_getaffinity(0))
    else:
        most = os.cpu_count() or 1
    wanted = os.environ.get("OMP_NUM_THREADS", "")
    return max(1, min(most, int(wanted))) if wanted.isdecimal() else most


def get_num_threads() -> int:
    """Return how many threads a kernel call may use.

    >>> get_num_threads() >= 1
    True
    """
    return _chosen.number or team()


def set_num_threads(number: int) -> int:
    """Let every kernel, and BLAS, use at most `number` threads and return the former number.

    Sums are shared among threads in fixed parts: the same number always gives the same bits,
    another number may round differently. It holds for the whole process.

    Raises
    ------
    ValueError: not a positive integer.

    >>> former = set_num_threads(1)
    >>> set_num_threads(former)
    1
    """
    if isinstance(number, bool) or not isinstance(number, int) or number < 1:
        raise ValueError(f"set_num_threads: `number` is {number!r}, expected a positive integer")
    former = get_num_threads()
    _chosen.number = _chosen.team = number
    _blas.choose(number)
    return former


def apart(work: Callable[[], R]) -> R:
    """Return ``work()``, called on a thread of its own that then ends.

    What importing and compiling leave behind in reference cycles holds on to the frames that were
    active, and so to all arrays of a training step, until Python looks for cycles. A fresh
    thread's frames hold none.

    >>> apart(lambda: 1 + 1)
    2
    """
    answer: SimpleQueue[Any] = SimpleQueue()

    def run() -> None:
        try:
            answer.put((work(), None))
        except BaseException as error:  # raised again in the thread that asked
            answer.put((None, error))

    thread = threading.Thread(target=copy_context().run, args=(run,), name="tinygrad_cnn apart")
    thread.start()
    thread.join()
    result, error = answer.get()
    if error is not None:
        raise error
    return cast(R, result)


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
