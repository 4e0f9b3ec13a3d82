"""Ctrl-C between two batches, not inside one: nothing is left half written, and nothing is lost.

Python raises `KeyboardInterrupt` at whatever instruction the main thread has reached: between
``open`` and its ``with``, or in a destructor, where it is printed and forgotten. A run therefore
notes the signal and stops at the next `check`.
"""

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

from tinygrad_cnn.kernels.forks import free_in_child

_noted = free_in_child(threading.Event())


@contextlib.contextmanager
def deferred() -> Iterator[None]:
    """Inside, a first Ctrl-C waits for `check` or the end of the block; a second one does not.

    Does nothing outside the main thread, where no signal arrives, and where the program has put a
    handler of its own in place of Python's.
    """
    main = threading.current_thread() is threading.main_thread()
    if not main or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return

    def note(_number: int, _frame: FrameType | None) -> None:
        _noted.set()
        signal.signal(signal.SIGINT, signal.default_int_handler)

    signal.signal(signal.SIGINT, note)
    try:
        yield
        check()
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        _noted.clear()


def note() -> None:
    """Have `check` stop: another rank was interrupted."""
    _noted.set()


def pending() -> bool:
    """Whether Ctrl-C was pressed inside `deferred`: the last chance to save something."""
    return _noted.is_set()


def check() -> None:
    """Stop here if Ctrl-C was pressed inside `deferred`.

    Raises
    ------
    KeyboardInterrupt
        It was.
    """
    if _noted.is_set():
        _noted.clear()
        raise KeyboardInterrupt
