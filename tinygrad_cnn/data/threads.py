"""Threads that build the batches of a `DataLoader`."""

from __future__ import annotations

import contextvars
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any

from tinygrad_cnn.data.reading import Reader, Reading, of_thread


def _begin(readers: deque[Reader]) -> None:
    of_thread.reader = readers.popleft()


class Threads:
    """The workers of one epoch.

    Numbered samples are read by whoever is free, who is one `turns`; a stream by its own worker.
    """

    def __init__(self, reading: Reading, readers: Sequence[Reader], seed: int) -> None:
        self.reading, self.readers = reading, readers
        for reader in readers:
            reader.begin(seed)
        groups = [[reader] for reader in readers] if reading.iterable else [readers]
        self.pools = [ThreadPoolExecutor(len(g), "DataLoader", _begin, (deque(g),)) for g in groups]
        self.late = False

    @property
    def turns(self) -> int:
        """How many take turns."""
        return len(self.pools)

    def submit(self, turn: int, seed: int, indices: Any) -> Future[Any]:
        """Ask for the batch of ``indices``."""
        # Workers see the consumer's context (grad mode and so on) as the plain loop does.
        run = contextvars.copy_context().run
        return self.pools[turn].submit(run, self.reading.work, seed, indices)

    def result(self, turn: int, asked: Future[Any], timeout: float) -> Any:
        """The batch that was asked for."""
        if timeout and not wait([asked], timeout).done:
            self.late = True
            raise RuntimeError(f"DataLoader: no batch within the `timeout` of {timeout} seconds")
        return asked.result()

    def end(self, keep: bool) -> Sequence[Reader] | None:
        """End the threads, and return what the next ones may read with."""
        for pool in self.pools:
            pool.shutdown(wait=False, cancel_futures=True)
        for pool in () if self.late else self.pools:
            pool.shutdown(wait=True)
        return self.readers if keep and not self.late else None
