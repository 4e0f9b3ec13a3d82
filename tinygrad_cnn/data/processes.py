"""Processes that build the batches of a `DataLoader`.

Each has two pipes of its own: a lock that all share would stay locked when its holder is killed.
Numbered batches are dealt in turn, so that it is known who answers next; samples' random numbers
belong to their indices, so that it makes no difference who reads them.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import queue
import random
import signal
import threading
import time
import traceback
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from typing import TYPE_CHECKING, Any, Final, NoReturn

import numpy as np

from tinygrad_cnn.autograd.modes import recording
from tinygrad_cnn.autograd.promotion import get_default_dtype, set_default_dtype
from tinygrad_cnn.data import packing
from tinygrad_cnn.data.reading import END, Reader, Reading, WorkerInfo, of_thread
from tinygrad_cnn.errors import DtypeError
from tinygrad_cnn.kernels import choice
from tinygrad_cnn.kernels.threads import get_num_threads, set_num_threads
from tinygrad_cnn.ops.random import manual_seed

if TYPE_CHECKING:
    from multiprocessing.context import BaseContext
    from multiprocessing.process import BaseProcess

_PATIENCE: Final = 2.0  # seconds for a worker to finish its batch, when it is told to end
_ORPHAN: Final = 5.0  # the same, when whoever asked is gone

_HELD: Final = (signal.SIGINT, signal.SIGTERM)

_consumers: weakref.WeakSet[Connection] = weakref.WeakSet()
"""The consumer's ends of all pipes. A forked worker closes its copies: as long as anybody has one
open, workers do not see that the consumer is gone."""


@dataclass(frozen=True)
class _Member:
    process: BaseProcess
    tasks: Connection
    results: Connection


class Processes:
    """Worker processes, of one epoch or of several."""

    def __init__(self, reading: Reading, count: int, context: str | BaseContext, seed: int) -> None:
        if multiprocessing.current_process().daemon:
            raise RuntimeError(
                "DataLoader: `multiprocessing_context` is given in a daemon process (such as a "
                "worker), which may start no processes; use num_workers=0, or threads"
            )
        if isinstance(context, str):
            context = multiprocessing.get_context(context)
        self.members: list[_Member] = []
        self.turns = count
        self.epoch = 0
        self.broken = False  # whether the pipes may hold half a message
        self.answered = False
        self.close = weakref.finalize(self, _end, self.members, os.getpid())
        try:
            for number in range(count):
                self._start(context, reading, number, seed)
        except BaseException:
            self.close()
            raise

    def _start(self, context: BaseContext, reading: Reading, number: int, seed: int) -> None:
        asked, tasks = context.Pipe(duplex=False)
        results, answers = context.Pipe()  # both ways: a socket, for descriptors
        _consumers.update((tasks, results))
        # The data set by itself: Reading's other parts are small.
        args = (reading, number, self.turns, seed, get_num_threads(), asked, answers)
        process = context.Process(  # type: ignore[attr-defined]  # each kind of context has one
            target=_main, args=args, name=f"DataLoader-{number}", daemon=True
        )
        try:
            with _held(process):
                process.start()
        except (pickle.PicklingError, AttributeError, TypeError, RuntimeError) as error:
            tasks.close()
            results.close()
            _explain(reading, error)
            raise
        finally:
            asked.close()
            answers.close()
        self.members.append(_Member(process, tasks, results))

    def begin(self) -> None:
        """Start a new epoch: what is left of the former one is skipped."""
        self.epoch += 1

    def submit(self, turn: int, seed: int, indices: Any) -> None:
        """Ask a worker for the batch of ``indices``."""
        former, self.broken = self.broken, True
        try:
            self.members[turn].tasks.send((self.epoch, seed, _settings(), indices))
        except OSError:
            self._lost(self.members[turn])
        self.broken = former

    def result(self, turn: int, asked: object, timeout: float) -> Any:
        """The batch that was asked for."""
        member = self.members[turn]
        others = [m.process.sentinel for m in self.members]
        limit = time.monotonic() + timeout
        self.broken = True
        while True:
            left = max(limit - time.monotonic(), 0) if timeout else None
            ready = wait([member.results, *others], left)
            if not ready:
                for m in self.members:
                    m.process.terminate()
                raise RuntimeError(
                    f"DataLoader: no batch within the `timeout` of {timeout} seconds"
                )
            if member.results not in ready and not member.results.poll():
                self._lost(next(m for m in self.members if m.process.sentinel in ready))
            try:
                (epoch, kind), data, buffers = packing.receive(member.results)
            except (EOFError, OSError):
                self._lost(member)
            self.answered = True
            if epoch == self.epoch:
                break
        self.broken = False
        if kind == "end":
            return END
        value = packing.unpack(data, buffers)
        if kind == "error":
            raise value
        return value

    def _lost(self, member: _Member) -> NoReturn:
        """Say how a worker ended."""
        process = member.process
        process.join(_PATIENCE)
        code = process.exitcode
        if code is None:
            how = "closed its connection"
        elif code < 0:
            how = f"was killed by {signal.Signals(-code).name}"
            if -code == getattr(signal, "SIGKILL", 9):
                how += ", as the system does when memory runs out"
        else:
            how = f"ended with exit code {code}"
            if not self.answered:
                how += (
                    " before its first batch; what it printed says why. Where workers are not "
                    'forked, a script\'s start must be behind `if __name__ == "__main__":`'
                )
        raise RuntimeError(f"DataLoader: worker {process.name!r} (process {process.pid}) {how}")

    def end(self, keep: bool) -> Processes | None:
        """End the processes, unless they can be kept."""
        if keep and not self.broken:
            return self
        self.close()
        return None


@contextmanager
def _held(process: BaseProcess) -> Iterator[None]:
    """Signals that come while a process starts wait until it has its own handlers (`_main`).

    A server of forks would keep the mask for whatever else it forks: there, nothing is held.
    """
    method = getattr(process, "_start_method", None)
    if method == "forkserver" or not hasattr(signal, "pthread_sigmask"):
        yield
        return
    if method == "spawn":  # which starts it too, and whose start lets signals through again
        resource_tracker.ensure_running()
    former = signal.pthread_sigmask(signal.SIG_BLOCK, _HELD)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, former)


def _explain(reading: Reading, error: Exception) -> None:
    """Raise an error that names what cannot be pickled, if that is it."""
    for name in ("dataset", "collate_fn", "transform", "worker_init_fn"):
        value = getattr(reading, name)
        try:
            pickle.dumps(value)
        except Exception as why:
            if str(why) == str(error):
                raise DtypeError(
                    f"DataLoader: `{name}` ({type(value).__name__}) cannot be pickled, which "
                    f"processes that are not forked need: {why}. Define functions and classes at "
                    'the top of a module, or use multiprocessing_context="fork", or None for '
                    "threads"
                ) from error


def _end(members: list[_Member], owner: int) -> None:
    """End the processes: those that do not stop are stopped."""
    if os.getpid() != owner:  # forked since: they are another's
        return
    for member in members:
        member.tasks.close()
        member.results.close()
    steps: list[tuple[Callable[[BaseProcess], None], float]] = [
        (lambda process: None, _PATIENCE),
        (lambda process: process.terminate(), 1.0),
        (lambda process: process.kill(), 5.0),
    ]
    for stop, seconds in steps:
        limit = time.monotonic() + seconds
        for member in members:
            if member.process.exitcode is None:
                stop(member.process)
        for member in members:
            member.process.join(max(limit - time.monotonic(), 0))
    members.clear()


def _settings() -> tuple[Any, ...]:
    """What the consumer has set and a worker must have too."""
    kernels, algorithm = str(choice.chosen.get()), str(choice.algorithm.get())
    return recording.get(), get_default_dtype().str, kernels, algorithm


def _set(settings: tuple[Any, ...]) -> None:
    record, dtype, kernels, algorithm = settings
    recording.set(record)
    set_default_dtype(dtype)
    choice.chosen.set(kernels)
    choice.algorithm.set(algorithm)


# ---- in the worker --------------------------------------------------------------------------


def _main(
    reading: Reading,
    number: int,
    count: int,
    seed: int,
    threads: int,
    asked: Connection,
    answers: Connection,
) -> None:
    for end in list(_consumers):
        end.close()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the consumer's, who ends the workers
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # not the program's own handler
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _HELD)
    if get_num_threads() != threads:
        set_num_threads(threads)
    own = (seed + number) % 2**64
    random.seed(own)
    np.random.seed(np.random.SeedSequence(own).generate_state(4))  # noqa: NPY002
    manual_seed(own)
    reader = of_thread.reader = Reader(
        reading.dataset, WorkerInfo(number, count, 0, reading.dataset)
    )
    tasks = _Tasks(asked)
    epoch, settings = 0, None
    while (task := tasks.next()) is not None:
        its_epoch, seed, its_settings, indices = task
        if its_epoch != epoch:
            epoch = its_epoch
            reader.begin(seed)
        if its_settings != settings:
            settings = its_settings
            _set(settings)
        kind = "batch"
        try:
            batch = reading.work(seed, indices)
            if batch is END:
                batch, kind = None, "end"
            packed = packing.pack(batch)
        except BaseException as error:  # the consumer's to handle, as where it reads itself
            packed, kind = packing.pack(_told(error)), "error"
        try:
            packing.send(answers, (epoch, kind), packed)
        except OSError:  # nobody reads
            return
        del task, indices, packed  # or its arrays would live until the next one is there
        batch = None


def _told(error: BaseException) -> BaseException:
    """An exception that can be sent, with its traceback as a note."""
    name = multiprocessing.current_process().name
    lines = "".join(traceback.format_exception(error))
    note = f"in the worker {name!r} (process {os.getpid()}):\n\n{lines}"
    try:
        # what this library packed, between its own processes
        sent: BaseException = pickle.loads(pickle.dumps(error))  # nosec B301
        if type(sent) is not type(error):
            raise TypeError
    except Exception:  # not every exception can be pickled
        sent = RuntimeError(f"{type(error).__qualname__}: {error}")
    sent.add_note(note)
    return sent


class _Tasks:
    """What the worker is asked for, read as it comes, so that the consumer never waits."""

    def __init__(self, source: Connection) -> None:
        self.source = source
        self.latest = 0  # epoch
        self.closed = False
        self.queue: queue.SimpleQueue[Any] = queue.SimpleQueue()
        threading.Thread(target=self._read, name="DataLoader tasks", daemon=True).start()

    def _read(self) -> None:
        try:
            while True:
                task = self.source.recv()
                self.latest = task[0]
                self.queue.put(task)
        except (EOFError, OSError):
            self.closed = True
            self.queue.put(None)
        time.sleep(_ORPHAN)  # the worker has ended by then, unless it hangs
        os._exit(1)

    def next(self) -> Any:
        """The next task; None if there is nobody who asks any more."""
        while True:
            task = self.queue.get()
            if self.closed or task is None:
                return None
            if task[0] == self.latest:
                return task
