"""Saying that kernels are being compiled, and how many, if it takes long."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from tinygrad_cnn.notices import PATIENCE, QUIET

EVERY = 5.0  # seconds between lines where standard error is no terminal
REFRESH = 0.2  # seconds between pictures of the bar on a terminal
WIDTH = 24  # of the bar
WHAT = "compiling kernels for this CPU, once"

Counts = tuple[int, int]  # kernels done, and how many there will be


class Progress:
    """Shows counts while inside: as a bar in a terminal, elsewhere a line every few seconds.

    ``show`` takes them instead while there is one (`shown_by`).
    """

    def __init__(self) -> None:
        self.show: Callable[[int, int], None] | None = None
        self.watch: Callable[[bool], None] | None = None  # told when it begins and ends
        self.counts: Callable[[], Counts] = lambda: (0, 0)
        self._depth = 0
        self._end = threading.Event()
        self._thread: threading.Thread | None = None
        self._patience = PATIENCE  # once in a process

    def __enter__(self) -> None:
        self._depth += 1
        if self._depth == 1 and self.watch:
            self.watch(True)
        if self._depth == 1 and (self.show or not os.environ.get(QUIET)):
            self._end = threading.Event()
            self._thread = threading.Thread(target=self._tell, args=(self._end,), daemon=True)
            self._thread.name = "tinygrad_cnn progress"
            self._thread.start()

    def __exit__(self, *error: object) -> None:
        self._depth = max(0, self._depth - 1)
        if self._depth == 0:
            self._end.set()
            if self._thread:
                self._thread.join(1.0)  # so that it writes before who goes on
            if self.watch:
                self.watch(False)

    def _tell(self, end: threading.Event) -> None:
        if end.wait(self._patience):
            return
        show, stream = self.show, sys.stderr
        self._patience = 0.0
        with suppress(OSError, ValueError):  # nobody reads it
            bar = show is None and stream.isatty()
            while True:
                counts = self.counts()
                if show:
                    show(*counts)
                else:
                    text = f"tinygrad_cnn: {WHAT}{line(*counts, bar=bar)}"
                    print(f"\r\x1b[2K{text}" if bar else text, end="" if bar else "\n",
                          file=stream, flush=True)  # fmt: skip
                if end.wait(EVERY if not (bar or show) else REFRESH):
                    break
            if show:
                show(0, 0)
            elif bar:
                print("\r\x1b[2K", end="", file=stream, flush=True)
        if not (show or bar):
            self._patience = EVERY  # of compiling until the next line


def line(done: int, total: int, *, bar: bool) -> str:
    """Return counts as words, or as a bar.

    Examples
    --------
    >>> line(3, 12, bar=False)
    ': 3 of about 12 ...'
    >>> line(0, 0, bar=False)
    ' ...'
    """
    if total <= 0:
        return " ..."
    done = min(done, total)
    if not bar:
        return f": {done} of about {total} ..."
    full = WIDTH * done // total
    return f" {'━' * full}{'╌' * (WIDTH - full)} {done}/{total}"


progress = Progress()


@contextmanager
def shown_by(show: Callable[[int, int], None]) -> Iterator[None]:
    """Inside, call ``show(done, total)`` again and again while kernels are being compiled, and
    ``show(0, 0)`` after that, instead of writing to standard error.
    """
    former, progress.show = progress.show, show
    try:
        yield
    finally:
        progress.show = former
