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
from contextlib import suppress
from contextvars import copy_context
from functools import partial
from queue import SimpleQueue
from typing import Any, TypeVar

import numpy as np

from tinygrad_cnn.errors import ArgumentError
from tinygrad_cnn.kernels.choice import KernelError

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
    """How many threads BLAS uses; as long as somebody holds it at one thread, one."""

    def __init__(self) -> None:
        get, put = _openblas("get_num_threads"), _openblas("set_num_threads")
        self.get = get if put else None
        self.put = put if get else None
        self.lock = threading.Lock()
        self.holders: set[object] = set()
        self.former: int | None = None  # while it is not in force

    def threads(self) -> int:
        with self.lock:
            return self.former or (self.get() if self.get else 1)

    def choose(self, number: int) -> None:
        """Set the number of threads outside of `one_blas_thread`."""
        with self.lock:
            if self.former is not None:
                self.former = number
            elif self.put:
                self.put(number)

    def hold(self, holder: object) -> None:
        with self.lock:
            if not self.holders and self.get and self.put:
                self.former = self.former or self.get()
                self.put(1)
            self.holders.add(holder)

    def settle(self) -> None:
        """Give BLAS its threads back if nobody holds it any more."""
        with self.lock:
            if not self.holders and self.put and self.former is not None:
                self.put(self.former)
                self.former = None


class _Job:
    """A call on another thread."""

    __slots__ = ("call", "ended", "error", "given", "lock", "result")

    def __init__(self, call: Callable[[], Any]) -> None:
        self.call: Callable[[], Any] | None = call
        self.given = self.ended = False
        self.result: Any = None
        self.error: BaseException | None = None
        self.lock = threading.Lock()
        self.lock.acquire()

    def run(self) -> None:
        try:
            assert self.call is not None
            self.result = self.call()
        except BaseException as error:  # raised again in the thread that asked
            self.error = error
        self.call = None  # or its arrays would live until the next job
        self.ended = True
        self.lock.release()


def _wait_for(jobs: Sequence[_Job]) -> None:
    """Wait until all that were given to a thread have ended, and only then raise what a signal
    handler has raised meanwhile.
    """
    interruption = None
    waiting = True
    while waiting:
        try:
            for job in jobs:
                while job.given and not job.ended:
                    job.lock.acquire()
            waiting = False
        except BaseException as error:
            interruption = error
    if interruption is not None:
        try:
            raise interruption
        finally:
            del interruption  # which knows this frame


class _Worker:
    """A daemon thread that runs one function after the other."""

    def __init__(self) -> None:
        self.jobs: SimpleQueue[_Job] = SimpleQueue()
        threading.Thread(target=self._run, name="tinygrad_cnn kernels", daemon=True).start()

    def _run(self) -> None:
        _here.is_worker = True
        while True:
            self.jobs.get().run()


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
    _blas.lock, _blas.holders = threading.Lock(), set()


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
        raise ArgumentError(f"set_num_threads: `number` is {number!r}, expected a positive integer")
    former = get_num_threads()
    _chosen.number = _chosen.team = number
    _blas.choose(number)
    return former


def _raised_in(error: BaseException, module: str) -> bool:
    """Return whether a module's own code raised an error, or a function of C that it called; not a
    signal handler that Python ran meanwhile.
    """
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return trace is not None and trace.tb_frame.f_globals.get("__name__") == module


def run_in_fresh_thread(work: Callable[[], R]) -> R:
    """Return ``work()``, called on a thread of its own that then ends.

    What importing and compiling leave behind in reference cycles holds on to the frames that were
    active, and so to all arrays of a training step, until Python looks for cycles. A fresh
    thread's frames hold none. Nor do signal handlers run on it: what goes wrong there is the
    work's own fault, and what is raised here while it runs, which it goes on to do, is not.

    Raises
    ------
    KernelError: because of what `work` raised, or for want of a thread. MemoryError as it is.

    >>> run_in_fresh_thread(lambda: 1 + 1)
    2
    """
    result, failure = _outcome(work)
    if failure is None:
        return result
    if isinstance(failure, KernelError | MemoryError) or not isinstance(failure, Exception):
        raise failure
    raise KernelError(f"{type(failure).__name__}: {failure}") from failure


def with_fresh_stack(work: Callable[[], R]) -> R:
    """Return ``work()``, called on a thread of its own, whose stack is empty.

    >>> with_fresh_stack(lambda: 1 + 1)
    2
    """
    result, failure = _outcome(work)
    if failure is not None:
        raise failure
    return result


def _outcome(work: Callable[[], R]) -> tuple[R, BaseException | None]:
    """What ``work()`` returned on a thread of its own, and what it raised."""
    answer: list[tuple[Any, BaseException | None]] = []

    def run() -> None:
        try:
            answer.append((work(), None))
        except BaseException as error:  # raised again in the thread that asked
            answer.append((None, error))

    thread = threading.Thread(target=copy_context().run, args=(run,), name="tinygrad_cnn apart")
    try:
        thread.start()
    except RuntimeError as error:
        if _raised_in(error, threading.__name__):
            raise KernelError(str(error)) from error
        raise
    thread.join()
    return answer[0]


def one_blas_thread(work: Callable[[], R]) -> R:
    """Return ``work()``, during which BLAS computes on the calling thread alone.

    OpenBLAS's own threads, once woken, spin for some 25 ms before they sleep again: a small
    product on all processors slows down everything that follows it.

    >>> one_blas_thread(lambda: (np.ones((2, 3)) @ np.ones(3)).tolist())
    [3.0, 3.0]
    """
    holder = object()
    try:
        _blas.hold(holder)
        return work()
    finally:
        # A function of C, which nothing keeps from being called; what comes after it, a signal
        # handler may, and then BLAS has one thread until the next call of this.
        _blas.holders.discard(holder)
        _blas.settle()


def split(tasks: Sequence[T], work: Callable[[Sequence[T]], R], nbytes: int) -> list[R]:
    """Call `work` on consecutive shares of `tasks`, on one thread each, and return the results in
    order.

    `nbytes` is what the tasks read and write in all: little work stays on this thread, in one
    share.

    >>> split(range(10), sum, nbytes=0)
    [45]
    """
    parts = 1 if nbytes < LEAST_BYTES or _here.is_worker else min(count(), len(tasks))
    if parts > 1:
        parts = 1 + _workers_for(parts - 1)
    if parts <= 1:
        return one_blas_thread(lambda: [work(tasks)])
    edges = [len(tasks) * k // parts for k in range(parts + 1)]
    shares = [tasks[edges[k] : edges[k + 1]] for k in range(parts)]
    # NumPy's errstate is in the context
    jobs = [_Job(partial(copy_context().run, work, share)) for share in shares[1:]]
    results = one_blas_thread(lambda: [_with_workers(jobs, partial(work, shares[0]))])
    for job in jobs:
        failure, job.error = job.error, None
        if failure is not None:
            raise failure
        results.append(job.result)
    return results


def _with_workers(jobs: Sequence[_Job], work: Callable[[], R]) -> R:
    """Return ``work()``; the jobs have then ended too, on a worker each."""
    try:
        for worker, job in zip(tuple(_workers), jobs, strict=False):
            job.given = True  # no signal handler runs between this and the next line's call
            worker.jobs.put(job)
        return work()
    finally:
        _wait_for(jobs)  # nobody may still write when this call is left


def _workers_for(number: int) -> int:
    """See to it that so many workers are there; return how many are, if the system allows fewer."""

    def start() -> None:
        with _workers_lock:
            while len(_workers) < number:
                _workers.append(_Worker())

    if len(_workers) < number:
        with suppress(KernelError):
            run_in_fresh_thread(start)
    return min(number, len(_workers))
