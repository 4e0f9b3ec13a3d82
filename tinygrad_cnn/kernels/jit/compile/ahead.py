"""Processes that compile ahead of this one, which is compiling what it needs itself.

They are started where a kernel is missing of which it is known what follows (`known`), as many as
there are other processors, for all of a user's processes together. Each takes from the list that it
is sent, by its standard input, what is neither there nor claimed (`worker`). They end with this
process, and when it has missed nothing for some seconds.
"""

from __future__ import annotations

import atexit
import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from tinygrad_cnn.kernels.choice import has_numba
from tinygrad_cnn.kernels.forks import in_child
from tinygrad_cnn.kernels.jit.compile import build, known, signature
from tinygrad_cnn.kernels.jit.compile.build import Code
from tinygrad_cnn.kernels.jit.compile.claims import CAN_CLAIM, claimed
from tinygrad_cnn.kernels.jit.compile.vector import TILE
from tinygrad_cnn.kernels.progress import Counts, progress
from tinygrad_cnn.kernels.threads import processors
from tinygrad_cnn.notices import QUIET

COMPILERS = "TINYGRAD_CNN_COMPILERS"  # environment: the most processes that compile ahead, or 0
MOST = 8  # of them: each needs some 150 MB
WORTH = 3  # kernels to come that are worth starting one
SLOTS = "workers.lock"  # in the cache folder: which of the processes of a user there are
WORKER = Path(__file__).with_name("worker.py")


class Worker:
    """A process that compiles what it is told to."""

    def __init__(
        self,
        folder: Path | None,
        slot: str,
        settings: Mapping[str, str] | None = None,
        *,
        blocking: bool = False,
    ) -> None:
        """It ends at once unless `folder`, if it is given, is its cache folder too, and the claim
        `slot` on that is free. `settings` are variables of its environment.
        """
        reading, self._pipe = os.pipe()
        try:
            self.pid = _spawn(reading, [str(folder or ""), slot], settings or {})
        except BaseException:
            os.close(self._pipe)
            raise
        finally:
            os.close(reading)
        os.set_blocking(self._pipe, blocking)

    def tell(self, **message: object) -> None:
        """Send a message, unless it has ended or is stuck: then it is left to end."""
        content = json.dumps(message).encode() + b"\n"
        with suppress(OSError):
            while content and self._pipe >= 0:
                content = content[os.write(self._pipe, content) :]
        if content:
            self.end()

    def end(self) -> None:
        """Let it end: it reads the end of its standard input."""
        pipe, self._pipe = self._pipe, -1
        if pipe >= 0:
            os.close(pipe)

    def is_alive(self) -> bool:
        """Return whether it has not ended yet."""
        with suppress(ChildProcessError):
            return self._pipe >= 0 and os.waitpid(self.pid, os.WNOHANG)[0] == 0
        return False


def _spawn(standard_input: int, arguments: Sequence[str], settings: Mapping[str, str]) -> int:
    environment = {
        **os.environ,
        **settings,
        "PYTHONPATH": os.pathsep.join(dict.fromkeys(path for path in sys.path if path)),
        "OPENBLAS_NUM_THREADS": "1",
        COMPILERS: "0",
        QUIET: "1",
    }
    quiet = [(os.POSIX_SPAWN_OPEN, file, os.devnull, os.O_WRONLY, 0) for file in (1, 2)]
    return os.posix_spawn(
        sys.executable,
        [sys.executable, "-P", str(WORKER), *arguments],
        environment,
        file_actions=[(os.POSIX_SPAWN_DUP2, standard_input, 0), *quiet],
        setpgroup=0,  # Ctrl-C in a terminal is for this process
    )


def most_workers() -> int:
    """Return how many processes may compile ahead at a time."""
    wanted = os.environ.get(COMPILERS, "")
    most = int(wanted) if wanted.isdecimal() else min(processors() - 1, MOST)
    can = CAN_CLAIM and hasattr(os, "posix_spawn") and sys.executable and WORKER.is_file()
    return most if can and has_numba() else 0


class _State:
    """What this process has started, and what it expects."""

    def __init__(self) -> None:
        self.workers: list[Worker] = []
        self.folder: Path | None = None
        self.before: set[str] = set()  # beginnings of files' names, when the first was missing
        self.sent: set[str] = set()
        self.expected: list[str] = []
        self.tried: set[str] = set()

    def end(self) -> None:
        for worker in self.workers:
            worker.end()


_state = _State()


def _there(folder: Path | None) -> set[str]:
    """Return how the names begin of the files with object code."""
    if folder:
        with suppress(OSError):
            return {build.beginning_of_file(path) for path in folder.glob("[!.]*.o")}
    return set()


def _counts() -> Counts:
    there = _there(_state.folder)
    done = len(there - _state.before)
    return done, done + sum(signature.beginning_of(s) not in there for s in _state.expected)


@contextmanager
def compiling(folder: Path | None, code: Code) -> Iterator[None]:
    """Have what will be needed next compiled by others while this process compiles `code`."""
    _expect(folder, code.signature)
    try:
        with progress:
            yield
    finally:
        for worker in _state.workers:
            worker.tell(busy=False)


def _expect(folder: Path | None, missing: str) -> None:
    state = _state
    if folder != state.folder:
        state.folder, state.before = folder, _there(folder)
        progress.counts = _counts
    runs = known.runs(TILE.lanes).values()
    following = known.forecast(build.met, missing, list(runs), known.history(folder))
    state.expected = [missing, *following]
    state.workers = [worker for worker in state.workers if worker.is_alive()]
    left = len(following) - len(_there(folder) & set(map(signature.beginning_of, following)))
    wanted = min(most_workers(), left // WORTH) if folder else 0
    for number in range(wanted if not state.workers else 0):
        slot = str(number)
        with claimed(folder, slot, wait=False, file=SLOTS) as free:
            pass
        if free and folder:
            with suppress(OSError):
                state.workers.append(Worker(folder, slot))
                state.sent = set()
    news = {} if state.sent.issuperset(following) else {"wanted": following}
    state.sent.update(following)
    for worker in state.workers:
        worker.tell(busy=True, **news)


def help_along() -> bool:
    """Compile one of those that are expected and nobody is at; return whether there was one."""
    for name in _state.expected[1:]:
        if name not in _state.tried and signature.beginning_of(name) not in _there(_state.folder):
            _state.tried.add(name)
            if signature.prepare(name):
                return True
    return False


def _after_fork() -> None:
    """Leave the parent's processes to it."""
    global _state
    _state.end()
    _state = _State()


atexit.register(lambda: _state.end())
in_child(_after_fork)
