"""Whoever waits for other ranks: for how long, and what is said when one of them does not come.

A rank that dies without a word is named by its `guardian`; then the launcher ends the others. One
that raises says so itself (`Watch.failed`) and ends all. For one that hangs the others wait
``timeout`` seconds; then they ask each other who is there, name who does not answer, and end the
run. Whoever is about to be away for longer tells the others first (`taking_long`), as the compiler
of kernels does.
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn

import numpy as np

from tinygrad_cnn.distributed import guardian
from tinygrad_cnn.distributed.mpi import place_on_host
from tinygrad_cnn.kernels.forks import in_child
from tinygrad_cnn.kernels.progress import progress

_ASK, _HERE, _BUSY, _BACK = 1, 2, 3, 4
_SIZE = 256  # bytes of a message
_ANSWERS = 1.5  # seconds in which whoever waits answers
_FORWARDED = 0.3  # seconds in which the launcher passes on what was printed, before it ends all
_TOGETHER = 1.0  # seconds in which all ranks fail together
_LONGEST = 1800.0  # seconds that `taking_long` may take
_SPIN, _NAP, _LONG_NAP = 2e-4, 2e-5, 5e-4  # seconds of looking without a pause; pauses after that
_LOOK = 0.1  # seconds between looks at what others say


class Watch:
    """Waiting for other ranks, and ending the run.

    Parameters
    ----------
    mpi
        the module ``mpi4py.MPI``.
    timeout
        seconds to wait for a rank.
    """

    def __init__(self, mpi: Any, timeout: float) -> None:
        self.mpi, self.timeout = mpi, timeout
        self.talk, self.together = mpi.COMM_WORLD.Dup(), mpi.COMM_WORLD.Dup()
        self.rank, self.size = self.talk.Get_rank(), self.talk.Get_size()
        self.host = mpi.Get_processor_name()
        on_host, self.on_host = place_on_host(mpi, self.talk)
        self.me = f"rank {self.rank} of {self.size} (process {os.getpid()} on {self.host})"
        self.busy: dict[int, tuple[str, float]] = {}  # others that are away: why, and since when
        self.here: dict[int, str] = {}  # who has answered, and what it is waiting in
        self._sent: list[tuple[Any, Any]] = []
        self._owner = os.getpid()
        self._line = self._guarded(on_host == 0)
        self._hook, sys.excepthook = sys.excepthook, self._uncaught
        self._depth = 0
        progress.watch = self._compiling

    # ---- waiting -----------------------------------------------------------------------------

    def wait(self, request: Any, doing: str, status: Any = None) -> None:
        """Return when ``request`` is done; ``doing`` says in which operation of this rank's.

        Ends the run if a rank does not come.
        """
        if request.Test(status):
            return
        begin = looked = time.monotonic()
        while True:
            now = time.monotonic()
            if now - begin > _SPIN:
                time.sleep(_NAP if now - begin < 0.05 else _LONG_NAP)
            if request.Test(status):
                return
            if now - looked > _LOOK:
                looked = now
                self._listen(doing)
                if now - begin > self.timeout and not self._excused(now):
                    self._give_up(request, doing, status)
                    return

    def _excused(self, now: float) -> bool:
        """Whether somebody has said that it will take longer."""
        return any(now - since < _LONGEST for _, since in self.busy.values())

    def _give_up(self, request: Any, doing: str, status: Any) -> None:
        """Ask who is there, and end the run; return if it is done after all."""
        self.here.clear()
        self._tell(_ASK, doing)
        end = time.monotonic() + _ANSWERS + 0.5 * self.rank  # so that one speaks, not all
        while time.monotonic() < end:
            self._listen(doing)
            time.sleep(0.01)
            if request.Test(status):
                return
        others = [r for r in range(self.size) if r != self.rank]
        away = [r for r in others if r not in self.here]
        waited = f"after {self.timeout:g} seconds of waiting in {doing}"
        if away:
            names = ", ".join(f"rank {r}" for r in away)
            what = f"{names} of {self.size} did not come: hung, or busy with something else"
        else:
            where = "; ".join(f"rank {r} in {self.here[r]}" for r in others)
            what = f"the ranks wait for one another: rank {self.rank} in {doing}; {where}"
        self.end(
            f"{what} ({waited}); init_process_group(timeout=...) or TINYGRAD_CNN_TIMEOUT, in "
            f"seconds, wait longer"
        )

    def _tell(self, kind: int, text: str) -> None:
        """Send a message to all others, and wait for nobody."""
        message = np.zeros(_SIZE, np.uint8)
        data = bytes([kind]) + text.encode()[: _SIZE - 1]
        message[: len(data)] = np.frombuffer(data, np.uint8)
        self._sent = [pair for pair in self._sent if not pair[0].Test()]
        for other in range(self.size):
            if other != self.rank:
                self._sent.append((self.talk.Isend([message, self.mpi.BYTE], other), message))

    def _listen(self, doing: str) -> None:
        """Read what others say, and answer."""
        status, message = self.mpi.Status(), np.empty(_SIZE, np.uint8)
        while self.talk.Iprobe(status=status):
            source = status.Get_source()
            self.talk.Recv([message, self.mpi.BYTE], source)
            kind, text = int(message[0]), bytes(message[1:]).rstrip(b"\0").decode(errors="replace")
            if kind == _ASK:
                self.here[source] = text
                self._tell(_HERE, doing)
            elif kind == _HERE:
                self.here[source] = text
            elif kind == _BUSY:
                self.busy[source] = text, time.monotonic()
            else:
                self.busy.pop(source, None)

    @contextlib.contextmanager
    def away(self, why: str) -> Iterator[None]:
        """Inside, others wait for longer than ``timeout``."""
        self._away(True, why)
        try:
            yield
        finally:
            self._away(False, why)

    def _away(self, begins: bool, why: str) -> None:
        self._depth += 1 if begins else -1
        if self._depth == int(begins) and os.getpid() == self._owner:
            self._tell(_BUSY if begins else _BACK, why)

    def _compiling(self, begins: bool) -> None:
        self._away(begins, "compiling kernels")

    # ---- ending ------------------------------------------------------------------------------

    def end(self, message: str | None, code: int = 1) -> NoReturn:
        """Say why, and end all ranks."""
        self._say(message)
        time.sleep(_FORWARDED)
        self.mpi.COMM_WORLD.Abort(code)
        os._exit(code)  # if that should return

    def failed(
        self,
        error: BaseException,
        tell: Callable[[], None],
        *,
        said: str | None = None,
        code: int = 1,
    ) -> NoReturn:
        """End all ranks, as this one cannot go on.

        ``tell`` prints what is to be seen of it: on every rank that fails alone, on the first one
        where all fail together. Where it prints all there is to say, that is ``said``, and is
        printed for a rank that fails alone with its number.
        """
        request = self.together.Ibarrier()
        limit = time.monotonic() + _TOGETHER
        while not (all_here := request.Test()) and time.monotonic() < limit:
            time.sleep(0.01)
        if all_here and self.rank:
            time.sleep(10.0)  # until the first one has told
            os._exit(code)
        if said is None or all_here:
            tell()
        sys.stdout.flush()
        sys.stderr.flush()
        who = "all ranks" if all_here and self.size > 1 else self.me
        line = " ".join((said or str(error)).split())[:300]
        kind = type(error).__name__ + (": " if line else "") if said is None else ""
        message = f"{who} failed: {kind}{line}; the run ends"
        self.end(None if said is not None and all_here else message, code)

    def _say(self, message: str | None) -> None:
        """Say why the run ends, if no other rank of this host has done so."""
        first = True
        with contextlib.suppress(OSError):
            self._line.sendall(guardian.MAY_I)
            first = self._line.recv(1) != guardian.NO
        if first and message is not None:
            with contextlib.suppress(OSError):
                os.write(2, f"tinygrad_cnn: {message}\n".encode())

    def _uncaught(
        self, kind: type[BaseException], error: BaseException, trace: TracebackType | None
    ) -> None:
        if os.getpid() != self._owner:
            self._hook(kind, error, trace)
            return
        self.failed(error, lambda: traceback.print_exception(kind, error, trace))

    def close(self, *, forked: bool = False) -> None:
        """Stop watching; the other ranks may go on without this one."""
        if not forked:
            with contextlib.suppress(OSError):
                self._line.sendall(guardian.GOODBYE)
            sys.excepthook = self._hook
        progress.watch = None
        self._line.close()

    # ---- the guardian ------------------------------------------------------------------------

    def _guarded(self, leads: bool) -> socket.socket:
        """Connect to the host's guardian, which the first rank there starts."""
        number = np.frombuffer(os.urandom(8), np.uint64).copy()
        self.talk.Bcast([number.view(np.uint8), self.mpi.BYTE], 0)
        name = f"tinygrad_cnn-{number[0]:016x}"
        place = f"\0{name}" if sys.platform == "linux" else f"{tempfile.gettempdir()}/{name}"
        if leads:
            with socket.socket(socket.AF_UNIX) as listener:
                listener.bind(place)
                listener.listen(self.on_host)
                command = [sys.executable, "-I", "-S", str(Path(guardian.__file__))]
                subprocess.run(  # nosec: this interpreter, a file of this package
                    command,
                    stdin=listener.fileno(),
                    stdout=subprocess.DEVNULL,
                    start_new_session=True,  # the launcher does not kill it with the rank
                    check=True,
                )
        self.talk.Barrier()
        line = socket.socket(socket.AF_UNIX)
        line.settimeout(_ANSWERS)
        line.connect(place)
        line.sendall(
            f"{self.me} died without a word: killed (SIGKILL, or by the system for want of "
            f"memory), or crashed; the run ends, and the last checkpoint is whole\n".encode()
        )
        self.talk.Barrier()
        if leads and sys.platform != "linux":
            os.unlink(place)
        return line


present: list[Watch] = []
"""The watch of this process, if it is in a group."""


@contextlib.contextmanager
def taking_long(why: str) -> Iterator[None]:
    """Inside, the other ranks wait for this one without a limit of time (half an hour).

    Where one rank does by itself what takes longer than ``timeout``: it downloads, validates,
    draws. Does nothing without a process group.

    Examples
    --------
    >>> with taking_long("downloading"):
    ...     print("done")
    done
    """
    with present[0].away(why) if present else contextlib.nullcontext():
        yield


def _after_fork() -> None:
    """A forked child is no rank."""
    for watch in present:
        watch.close(forked=True)
    present.clear()


in_child(_after_fork)
