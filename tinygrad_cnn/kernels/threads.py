"""Shares of one kernel call on several threads: NumPy lets go of the interpreter while it computes.

One number, `set_num_threads`, holds for BLAS, for the shares of NumPy kernels (`split`) and for
compiled kernels (`team`). Until it is set, as many threads work as BLAS is set to use
(``OPENBLAS_NUM_THREADS`` and the like, by default all processors), and BLAS itself is held at one
thread meanwhile: two levels of threads would fight for the same processors. A convolution is then
faster than with BLAS's threads alone, because gathering and transforming run in parallel too.
Where `threadpoolctl` does not know NumPy's BLAS, NumPy kernels have one thread unless a number is
set.

Shares are consecutive and fixed by the number of threads, so the same call always gives the same
bits.

Workers are our own, not `concurrent.futures`' executor, because of what a signal handler raises in
the thread that asks. In `submit`, `cancel` or `result` it may come right after a condition's
``__enter__``, written in Python, has its lock: nobody lets go of it, and the worker waits for ever.
Here the thread that asks calls only functions of C, which no handler interrupts.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from contextvars import copy_context
from functools import cache, partial
from queue import SimpleQueue
from typing import Any, TypeVar

from tinygrad_cnn.errors import ArgumentError
from tinygrad_cnn.kernels.choice import KernelError
from tinygrad_cnn.kernels.forks import free_in_child, in_child, whole

T = TypeVar("T")
R = TypeVar("R")

MOST = 8  # threads of a NumPy kernel: beyond, they mostly wait for the interpreter
MOST_PARTS = 1024  # of a launch of a compiled kernel
LEAST_SHARE = 1 << 16  # bytes read and written by a part that is worth waking a thread
PRODUCTS_PER_BYTE = 3  # multiply-adds that take as long
LEAST_BYTES = (
    1 << 19
)  # read and written by a call that is worth a hand-over of some 50 microseconds

_OF_NUMPY = r"numpy(\.libs|[/\\]\.dylibs)"  # the folder with the libraries of NumPy's wheel
Count = tuple[Callable[[], int], Callable[[int], object]] | tuple[None, None]


@cache
def _count_of_blas() -> Count:
    """Return what gets and what sets the number of threads of NumPy's BLAS, if that is known."""
    with whole():  # it walks the list of libraries, under a lock of the system's
        from threadpoolctl import ThreadpoolController  # here: only who computes needs it

        libraries = ThreadpoolController().lib_controllers
    found = [each for each in libraries if each.user_api == "blas"]
    if not found:
        return None, None
    # SciPy's wheel may have another.
    library = min(found, key=lambda each: not re.search(_OF_NUMPY, each.filepath))
    if library.internal_api != "openblas":
        return library.get_num_threads, library.set_num_threads
    # Its own functions: a tenth of the time, and on any thread.
    for name in library.check_symbols:
        if hasattr(library.dynlib, name):
            put = name.replace("_get_", "_set_")
            return getattr(library.dynlib, name), getattr(library.dynlib, put)
    return None, None


class _Blas:
    """How many threads BLAS uses; as long as somebody holds it at one thread, one."""

    def __init__(self) -> None:
        self.lock = free_in_child(threading.Lock())
        self.holders: set[object] = set()
        self.former: int | None = None  # while it is not in force

    @property
    def get(self) -> Callable[[], int] | None:
        return _count_of_blas()[0]

    def threads(self) -> int:
        get, _ = _count_of_blas()
        with self.lock:
            return self.former or (get() if get else 1)

    def choose(self, number: int) -> None:
        """Set the number of threads outside of `one_blas_thread`."""
        _, put = _count_of_blas()
        with self.lock:
            if self.former is not None:
                self.former = number
            elif put:
                put(number)

    def hold(self, holder: object) -> None:
        get, put = _count_of_blas()
        with self.lock:
            if not self.holders and get and put:
                self.former = self.former or get()
                put(1)
            self.holders.add(holder)

    def settle(self) -> None:
        """Give BLAS its threads back if nobody holds it any more."""
        _, put = _count_of_blas()
        with self.lock:
            if not self.holders and put and self.former is not None:
                put(self.former)
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


class _Here(threading.local):
    is_worker = False


_here = _Here()
_blas = _Blas()
_jobs: SimpleQueue[_Job] = SimpleQueue()
_workers: list[threading.Thread] = []
_workers_lock = free_in_child(threading.Lock())


def _work(jobs: SimpleQueue[_Job]) -> None:
    _here.is_worker = True
    while True:
        jobs.get().run()


def _after_fork() -> None:
    """Start over in a child process, which has none of its parent's threads."""
    global _jobs
    _workers.clear()
    _jobs = SimpleQueue()
    _blas.holders = set()


in_child(_after_fork)


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
        _chosen.team = _blas.threads() if _blas.get else processors()
    return _chosen.team


def shares(nbytes: int, products: int = 0) -> int:
    """Return on how many threads a compiled kernel reads and writes `nbytes`, for so many
    multiply-adds.
    """
    worth = max(nbytes, products // PRODUCTS_PER_BYTE)
    return max(1, min(_chosen.team or team(), worth // LEAST_SHARE, MOST_PARTS))


def processor_numbers() -> list[int]:
    """Return the numbers of the processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def number_is_chosen() -> bool:
    """Return whether the user has said how many threads there are to be."""
    wanted = "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS"
    return _chosen.number is not None or any(os.environ.get(name) for name in wanted)


def processors() -> int:
    """Return how many processors this process may use, or fewer if OMP_NUM_THREADS says so."""
    most = len(processor_numbers())
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
    work's own fault, and what is raised here while it runs, which it goes on to do, is not. No
    thread forks meanwhile: the child would wait for ever for what is imported.

    Raises
    ------
    KernelError: because of what `work` raised, or for want of a thread. MemoryError as it is.

    >>> run_in_fresh_thread(lambda: 1 + 1)
    2
    """

    def undisturbed() -> R:
        with whole():
            return work()

    result, failure = _outcome(undisturbed)
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
    job = _Job(partial(copy_context().run, work))
    thread = threading.Thread(target=job.run, name="tinygrad_cnn apart")
    try:
        thread.start()
    except RuntimeError as error:
        if _raised_in(error, threading.__name__):
            raise KernelError(str(error)) from error
        raise
    thread.join()
    failure, job.error = job.error, None
    return job.result, failure


def one_blas_thread(work: Callable[[], R]) -> R:
    """Return ``work()``, during which BLAS computes on the calling thread alone.

    OpenBLAS's own threads, once woken, spin for some 25 ms before they sleep again: a small
    product on all processors slows down everything that follows it.

    >>> import numpy as np
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
    """Return ``work()``; the jobs have then ended too, on workers."""
    interruption = None
    try:
        put = _jobs.put
        for job in jobs:
            job.given = True  # no signal handler runs between this and the next line's call
            put(job)
        return work()
    finally:
        # Nobody may still write when this call is left: what a signal handler raises meanwhile is
        # raised afterwards. No function of Python: a handler can run as one is entered.
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


def _workers_for(number: int) -> int:
    """See to it that so many workers are there; return how many are, if the system allows fewer."""

    def start() -> None:
        with _workers_lock:
            while len(_workers) < number:
                worker = threading.Thread(
                    target=_work, args=(_jobs,), name="tinygrad_cnn kernels", daemon=True
                )
                worker.start()
                _workers.append(worker)

    if len(_workers) < number:
        with suppress(KernelError):
            run_in_fresh_thread(start)
    return min(number, len(_workers))
