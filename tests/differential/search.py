"""Tries programs by number, in processes that may crash or hang."""

from __future__ import annotations

import faulthandler
import multiprocessing
import signal
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from typing import Any

from tinygrad_cnn.testing.draws import GeneratorDraw

from .compare import Difference, differences
from .instructions import GROUPS
from .known import known
from .programs import Statement, draw_program
from .shrink import shrink

_PATIENCE = 120.0  # seconds for one program, made small if it fails


@dataclass
class Outcome:
    """What came of one program.

    Attributes
    ----------
    seed
        Its number.
    length
        Statements before it was made smaller.
    statements, difference
        The smallest program that fails, and how; no difference if all agree.
    end
        How the process ended that tried it, if it did.
    known
        Why the difference stays, if it does.
    """

    seed: int
    length: int = 0
    statements: list[Statement] = field(default_factory=list)
    difference: Difference | None = None
    end: str = ""
    known: str | None = None

    @property
    def what(self) -> str:
        """What makes two failures the same one: what differs, and the instructions."""
        if self.difference is None:
            return self.end
        used = {s.instruction for s in self.statements} - {*GROUPS["create"], "{newx} = {x} * 1"}
        return "\n  ".join([self.difference.kind, *sorted(used)])


def attempt(
    seed: int, kernels: tuple[str, ...], off: tuple[str, ...] = (), without: str = ""
) -> Outcome:
    """Draw program number ``seed``, run it in every way, and make it smaller if it fails."""
    statements = draw_program(GeneratorDraw(seed), off, without)
    found = differences([s.text for s in statements], kernels)
    if not found:
        return Outcome(seed, len(statements))
    small, difference = shrink(statements, found[0])
    return Outcome(seed, len(statements), small, difference, known=known(small, difference))


def _work(pipe: Connection, *options: Any) -> None:
    faulthandler.enable()
    while (seed := pipe.recv()) is not None:
        pipe.send(attempt(seed, *options))


class _Worker:
    """A process and the program that it is busy with."""

    def __init__(self, *args: Any) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_work, args=(theirs, *args), daemon=True)
        self.process.start()
        theirs.close()
        self.seed, self.since = -1, 0.0

    def start(self, seed: int) -> None:
        self.seed, self.since = seed, time.monotonic()
        self.pipe.send(seed)

    def result(self) -> Outcome | None:
        """What came of it; None while it is running."""
        if self.pipe.poll():
            try:
                outcome: Outcome = self.pipe.recv()
                return outcome
            except EOFError:
                self.process.join()
                code = self.process.exitcode
                # We have no C++ that could call abort().
                aborted = "PyTorch aborted the process" if code == -signal.SIGABRT else None
                return Outcome(self.seed, end=f"the process ended with {code}", known=aborted)
        if time.monotonic() - self.since > _PATIENCE:
            self.process.kill()
            return Outcome(self.seed, end=f"nothing came for {_PATIENCE:.0f} s")
        return None


def search(seeds: Iterable[int], jobs: int, *options: Any) -> Iterator[Outcome]:
    """The outcomes of programs, as they come; ``options`` are `attempt`'s."""
    left = iter(seeds)
    busy = []
    for _, seed in zip(range(jobs), left, strict=False):
        worker = _Worker(*options)
        worker.start(seed)
        busy.append(worker)
    while busy:
        wait([worker.pipe for worker in busy], timeout=1.0)
        for worker in list(busy):
            outcome = worker.result()
            if outcome is None:
                continue
            yield outcome
            if outcome.end:
                busy.remove(worker)
                worker = _Worker(*options)
                busy.append(worker)
            seed = next(left, None)
            if seed is None:
                worker.pipe.send(None)
                busy.remove(worker)
            else:
                worker.start(seed)
