"""A process that compiles kernels ahead of another: ``worker.py FOLDER SLOT``, started by `ahead`.

It reads messages from its standard input, a line of JSON each: ``wanted`` is a list of signatures
in the order in which they will be needed, ``busy`` says whether the other process waits for
machine code at the moment, ``last`` that nothing will follow. The end of the input is its own.
"""

from __future__ import annotations

import _thread
import json
import os
import signal
import sys
import threading
import time
import types
from pathlib import Path

PATIENCE = 8.0  # seconds without anything missing
GRACE = 3.0  # seconds to tidy up


class Orders:
    """What the other process has said last."""

    def __init__(self) -> None:
        self.wanted: list[str] = []
        self.busy, self.since, self.last = True, time.monotonic(), False
        self.news = threading.Event()

    def read(self) -> None:
        """Read messages as they come, and at the end have this process end."""
        for line in sys.stdin.buffer:
            message = json.loads(line)
            self.wanted = message.get("wanted", self.wanted)
            self.busy, self.since = message.get("busy", self.busy), time.monotonic()
            self.last = message.get("last", self.last)
            self.news.set()
        _thread.interrupt_main()
        time.sleep(GRACE)
        os._exit(0)

    def over(self) -> bool:
        """Return whether nobody waits any more."""
        return not self.busy and time.monotonic() - self.since > PATIENCE


def work(orders: Orders, expected: str, slot: str) -> None:
    """Compile what is wanted until the other process ends, or wants nothing more."""
    from tinygrad_cnn.kernels.jit.compile import ahead, build, claims, signature

    folder = build.usable_folder()
    if folder is None or expected not in ("", str(folder)):
        return
    with claims.claimed(folder, slot, wait=False, file=ahead.SLOTS) as mine:
        done: set[str] = set()
        while mine and not orders.over():
            orders.news.clear()
            wanted = next((each for each in orders.wanted if each not in done), None)
            if wanted is not None:
                done.add(wanted)
                signature.prepare(wanted)
            elif orders.last:
                return
            else:
                orders.news.wait(1.0)


def main() -> None:
    """Import kernels alone: the rest of the package takes longer than many a kernel."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    orders = Orders()
    threading.Thread(target=orders.read, daemon=True).start()
    package = types.ModuleType("tinygrad_cnn")
    package.__path__ = [str(Path(__file__).parents[3])]
    sys.modules["tinygrad_cnn"] = package
    try:
        work(orders, *sys.argv[1:3])
    except KeyboardInterrupt:
        pass


if __name__ == "__main__":
    main()
    os._exit(0)  # the other thread has the lock of standard input
