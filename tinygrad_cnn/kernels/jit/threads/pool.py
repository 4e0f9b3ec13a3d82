"""Threads that run the parts of launches: Python starts them, machine code tells them what to do.

A worker is a Python thread inside one compiled function, without the interpreter's lock, that looks
for parts to run (`pool_code`). After some `PATIENCE` without any it sleeps, so that an idle process
uses no processor, and whoever launches next wakes it. All that threads share is one block of words.
"""

from __future__ import annotations

import atexit
import ctypes
import sys
import threading
import time
from typing import Any

import numpy as np

from tinygrad_cnn.kernels import threads
from tinygrad_cnn.kernels.forks import free_in_child, in_child
from tinygrad_cnn.kernels.jit.compile.build import Code, machine_code
from tinygrad_cnn.kernels.jit.threads.pool_words import (
    BUSY,
    FUNCTIONS,
    IDLE,
    LAUNCHED,
    LONG,
    POST,
    SLEEPING,
    SPINS,
    STATE_BYTES,
    STOP,
    TICKET,
    TURNS,
    WAIT,
    WAITING,
    YIELD,
)

PATIENCE = 30e-6  # seconds of active waiting: on a busy machine they are taken from others
PATIENT_TURNS = 7  # of a worker: it covers the time in Python between two layers' kernels
LONG_PART = 100e-6  # seconds from which on a part is long
ALWAYS = 1 << 62  # ticks: no part is long, the launching thread takes what it finds
TRIAL = 1000  # rounds of waiting that are timed

_memory = np.zeros(STATE_BYTES + 3 * 64, np.uint8)
STATE: int = _memory.ctypes.data + -_memory.ctypes.data % 64  # its address, on a cache line
_SEMAPHORES = STATE + STATE_BYTES  # room for two, 64 bytes each


def _make(symbol: str) -> bytes:
    from tinygrad_cnn.kernels.jit.threads.pool_code import pool_code

    return pool_code(symbol)


_places = machine_code(Code("pool", "pool"), _make, [f"_{name}" for name in FUNCTIONS])
# Functions that let go of the interpreter's lock.
launch = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_char_p)(_places[0])
_work, _spin = (ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64)(at) for at in _places[1:3])
replay = ctypes.CFUNCTYPE(ctypes.c_int64, *(ctypes.c_int64,) * 3)(_places[3])
# One that keeps it.
compare = ctypes.PYFUNCTYPE(ctypes.c_int64, *(ctypes.c_int64,) * 3)(_places[4])


def _at(place: int) -> ctypes.c_int64:
    return ctypes.c_int64.from_address(STATE + place)


_sleeping, _stop, _spins, _busy, _ticket = map(_at, (SLEEPING, STOP, SPINS, BUSY, TICKET))
_long = _at(LONG)


def _prepare_semaphores() -> None:
    """Make two semaphores, and put what the machine code needs of them into the state.

    Raises
    ------
    OSError, AttributeError: this system has none that we know. Then there are no workers, and who
        launches runs all parts alone.
    """
    if sys.platform == "win32":
        library: Any = ctypes.WinDLL("kernel32")
        library.CreateSemaphoreW.restype = ctypes.c_void_p
        wait, post = library.WaitForSingleObject, library.ReleaseSemaphore
        give_way = library.SwitchToThread
        handles = [library.CreateSemaphoreW(None, 0, 1 << 30, None) for _ in range(2)]
    elif sys.platform == "darwin":
        library = ctypes.CDLL(None)
        library.dispatch_semaphore_create.restype = ctypes.c_void_p
        wait, post = library.dispatch_semaphore_wait, library.dispatch_semaphore_signal
        give_way = library.sched_yield
        handles = [library.dispatch_semaphore_create(ctypes.c_long(0)) for _ in range(2)]
    else:
        library = ctypes.CDLL(None)
        wait, post, give_way = library.sem_wait, library.sem_post, library.sched_yield
        handles = [_SEMAPHORES, _SEMAPHORES + 64]
        for handle in handles:
            if library.sem_init(ctypes.c_void_p(handle), 0, 0):
                raise OSError("sem_init failed")
    functions = (ctypes.cast(f, ctypes.c_void_p).value or 0 for f in (wait, post, give_way))
    words: list[int] = [*functions, *handles]
    if not all(words):
        raise OSError("no semaphores")
    for place, word in zip((WAIT, POST, YIELD, IDLE, LAUNCHED), words, strict=True):
        _at(place).value = int(word)


class _Workers:
    """The threads of this process."""

    def __init__(self) -> None:
        self.threads: list[threading.Thread] = []
        self.lock = free_in_child(threading.Lock())
        self.most = threads.MOST_PARTS - 1

    def start(self, count: int) -> None:
        """Start threads until there are so many, or as many as the system allows.

        Called where no signal handler runs (`threads.run_in_fresh_thread`).
        """
        global ready_for
        with self.lock:
            if not _spins.value:
                try:
                    _prepare_semaphores()
                except (OSError, AttributeError):
                    self.most = 0
                _measure()
            while len(self.threads) < min(count, self.most):
                name = f"tinygrad_cnn worker {len(self.threads) + 1}"
                thread = threading.Thread(target=_work, args=(STATE,), name=name, daemon=True)
                try:
                    thread.start()
                except RuntimeError:
                    self.most = len(self.threads)
                    break
                self.threads.append(thread)
            if not self.most:
                _long.value = ALWAYS
            ready_for = max(ready_for, count + 1)

    def stop(self) -> None:
        """End all threads; a launch after that runs its parts alone."""
        with self.lock:
            self.most = 0
        _long.value = ALWAYS
        _stop.value = 1
        if self.threads:
            post = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_int64)
            for _ in self.threads:
                post(_at(POST).value)(_at(IDLE).value, 1, 0)
        for thread in self.threads:
            thread.join(1.0)


_workers = _Workers()
ready_for = 1
"""Parts for which threads have been asked for: of more, `ready` must know before a launch."""


def _measure() -> None:
    """Find out how many rounds of waiting, and how many ticks a long part."""
    trials = []
    for _ in range(5):
        start = time.perf_counter()
        ticks = _spin(TRIAL)
        trials.append((time.perf_counter() - start, ticks))
    seconds, ticks = min(trials)
    _at(TURNS).value = PATIENT_TURNS
    _spins.value = max(TRIAL, int(TRIAL * PATIENCE / seconds))
    _long.value = int(ticks * LONG_PART / seconds)


def ready(parts: int) -> None:
    """See to it that so many threads, with this one, look for parts to run."""
    threads.run_in_fresh_thread(lambda: _workers.start(parts - 1))


def _after_fork() -> None:
    """Start over in a child process, which has none of its parent's threads."""
    global _workers, ready_for
    _workers, ready_for = _Workers(), 1
    _sleeping.value = _busy.value = _stop.value = _at(WAITING).value = 0
    _spins.value = 0
    _ticket.value &= ~0xFFFFFFFF  # no parts, whatever its parent was doing


def _at_exit() -> None:
    _workers.stop()


atexit.register(_at_exit)
in_child(_after_fork)
