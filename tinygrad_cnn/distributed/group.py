"""The process group: all ranks, and what they are about to do together.

Before ranks exchange anything they agree that all are about to do the same, with tensors of the
same shape and dtype (`Group.meet`): what differs is an error on all of them, and nobody hangs.
"""

from __future__ import annotations

import atexit
import hashlib
import os
import platform
from collections import deque
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import numpy as np

from tinygrad_cnn.distributed import mpi
from tinygrad_cnn.distributed.watch import Watch, present
from tinygrad_cnn.errors import ArgumentError
from tinygrad_cnn.kernels import threads
from tinygrad_cnn.kernels.forks import in_child
from tinygrad_cnn.version import __version__

TIMEOUT = 20.0  # seconds; PyTorch waits for half an hour
_ENVIRONMENT = "TINYGRAD_CNN_TIMEOUT"

Started = tuple[Any, Callable[[], None]]
"""A request of MPI's, and what is to be done when it is complete."""


class Work:
    """An exchange that goes on meanwhile: what ``async_op=True`` returns.

    The tensors belong to it until `wait`. Without a ``start`` there is nothing left to do.
    """

    def __init__(
        self, group: Group, doing: str = "", start: Callable[[], Started] | None = None
    ) -> None:
        self._group, self._doing, self._start = group, doing, start
        self._meeting = None if start is None else group.meeting(doing)
        self._request: Any = None
        self._finish: Callable[[], None] = lambda: None
        self._done = start is None
        if start is not None:
            group.queue.append(self)

    def _begin(self) -> None:
        """Start the exchange once all have agreed on it."""
        meeting, self._meeting = self._meeting, None
        if meeting is not None and self._start is not None:
            meeting.hold()
            self._request, self._finish = self._start()

    def wait(self, timeout: timedelta | None = None) -> bool:
        """Return when the tensors have what they are to have.

        Raises
        ------
        RuntimeError
            Another rank is about to do something else.
        """
        if self._done:
            return True
        queue = self._group.queue
        while queue and self._meeting is not None:  # data go in the same order on all ranks
            queue.popleft()._begin()
        if self._request is not None:
            self._group.watch.wait(self._request, self._doing)
            self._finish()
        self._request, self._done = None, True
        return True

    def is_completed(self) -> bool:
        """Whether `wait` would return at once."""
        if self._done:
            return True
        queue = self._group.queue
        while queue and queue[0]._ready():
            queue.popleft()._begin()
        if self._meeting is None and self._request is not None and self._request.Test():
            self._finish()
            self._request, self._done = None, True
        return self._done

    def _ready(self) -> bool:
        return self._meeting is not None and self._meeting.complete()


class Meeting:
    """All ranks say what they are about to do."""

    def __init__(self, group: Group, doing: str) -> None:
        self.group, self.doing = group, doing
        digest = hashlib.blake2b(doing.encode(), digest_size=7).digest()
        number = int.from_bytes(digest, "little")
        self._limits = np.array([number, -number], np.int64)  # the largest and the smallest
        self._request = group.words.Iallreduce(group.mpi.IN_PLACE, self._limits, op=group.mpi.MAX)

    def complete(self) -> bool:
        """Whether all are there."""
        return bool(self._request.Test())

    def gather(self) -> None:
        """Return when all are there."""
        self.group.wait(self._request, self.doing)

    def hold(self, compare: Callable[[list[str]], str] | None = None) -> None:
        """Return when all are there, and about to do the same.

        ``compare`` words the error where all do the same but with something that differs.
        """
        group = self.group
        self.gather()
        if self._limits[0] == -self._limits[1]:
            return
        said = group.texts(self.doing)
        name = self.doing.split(":")[0]
        if compare is not None and all(text.split(":")[0] == name for text in said):
            raise RuntimeError(compare(said))
        detail = "; ".join(_by_ranks(said))
        raise RuntimeError(f"{name}: the ranks are about to do different things: {detail}")


def _by_ranks(said: list[str]) -> list[str]:
    """What is said, each once, with the ranks that say it."""
    ranks: dict[str, list[str]] = {}
    for rank, text in enumerate(said):
        ranks.setdefault(text, []).append(str(rank))
    few = {text: (r if len(r) < 9 else [*r[:8], "…"]) for text, r in ranks.items()}
    return [f"rank {', '.join(r)}: {text}" for text, r in few.items()]


class Group:
    """The ranks that compute together; there is one group, of all.

    Attributes
    ----------
    rank, size
        the number of this process, and how many there are.
    on_host
        how many of them are on this host.
    """

    def __init__(self, library: Any, timeout: float) -> None:
        self.mpi = library
        self.watch = Watch(library, timeout)
        self.data, self.words = library.COMM_WORLD.Dup(), library.COMM_WORLD.Dup()
        self.rank: int = self.watch.rank
        self.size: int = self.watch.size
        self.on_host = self.watch.on_host
        self.queue: deque[Work] = deque()

    def meeting(self, doing: str) -> Meeting:
        """Begin to say what this rank is about to do; it waits for nobody yet."""
        return Meeting(self, doing)

    def meet(self, doing: str, compare: Callable[[list[str]], str] | None = None) -> None:
        """Return when all ranks are about to do the same; ``compare`` is for `Meeting.hold`.

        Raises
        ------
        RuntimeError
            They are not; it says what each is about to do, and is raised on all of them.
        """
        while self.queue:
            self.queue.popleft()._begin()
        self.meeting(doing).hold(compare)

    def texts(self, text: str) -> list[str]:
        """A text of each rank; all call this together."""
        data = np.frombuffer(text.encode(), np.uint8)
        sizes = np.zeros(self.size, np.int64)
        self.wait(self.words.Iallgather(np.array([data.size], np.int64), sizes), text)
        every = np.empty(int(sizes.sum()), np.uint8)
        byte = self.mpi.BYTE
        self.wait(self.words.Iallgatherv([data, byte], [every, sizes.tolist(), None, byte]), text)
        ends = np.cumsum(sizes)
        parts = zip(ends - sizes, ends, strict=True)
        return [bytes(every[a:b]).decode() for a, b in parts]

    def wait(self, request: Any, doing: str) -> None:
        """Return when ``request`` is done."""
        self.watch.wait(request, doing)


WORLD: list[Group] = []
"""The group of this process, if it is in one."""


def world(name: str, group: Group | None = None) -> Group:
    """The group, for the operation ``name``.

    Raises
    ------
    RuntimeError
        There is none yet.
    ValueError
        ``group`` is another.
    """
    if not WORLD:
        raise ArgumentError(f"{name}: there is no process group: call init_process_group() first")
    if group is not None and group is not WORLD[0]:
        raise ArgumentError(f"{name}: `group` is {group!r}, expected None: there is one, of all")
    return WORLD[0]


def init_process_group(
    backend: str | None = None,
    init_method: str | None = None,
    timeout: timedelta | None = None,
    world_size: int = -1,
    rank: int = -1,
) -> None:
    """Make this process a rank of those that ``mpiexec`` has started; all of them call this.

    Parameters
    ----------
    backend
        ``"mpi"``, which is also the default.
    init_method
        taken as PyTorch takes it: ``"env://"``; MPI knows who takes part.
    timeout
        how long to wait for a rank that does not come, before the run is ended with an error that
        names it; 20 seconds, or those of the environment variable ``TINYGRAD_CNN_TIMEOUT``.
        `taking_long` announces what takes longer on one rank.
    world_size, rank
        what MPI says, if they are given.

    Raises
    ------
    RuntimeError
        There is a group already, mpi4py is not installed, or the ranks have different versions of
        this package or of NumPy.
    ValueError
        An argument is another than MPI has.

    Examples
    --------
    >>> import tinygrad_cnn as tg
    >>> tg.distributed.is_initialized()
    False
    """
    name = "init_process_group"
    if WORLD:
        raise RuntimeError(f"{name}: there is a process group already")
    if backend not in (None, "mpi"):
        raise ArgumentError(f"{name}: `backend` is {backend!r}, expected 'mpi'")
    if init_method not in (None, "env://"):
        raise ArgumentError(f"{name}: `init_method` is {init_method!r}, expected 'env://'")
    seconds = _seconds(timeout)
    library = mpi.import_mpi()
    for given, known, what in (
        (world_size, library.COMM_WORLD.Get_size(), "world_size"),
        (rank, library.COMM_WORLD.Get_rank(), "rank"),
    ):
        if given not in (-1, known):
            raise ArgumentError(f"{name}: `{what}` is {given}, but MPI's is {known}")
    group = Group(library, seconds)
    WORLD.append(group)
    present.append(group.watch)
    atexit.register(_at_exit)
    python = platform.python_version()
    try:
        group.meet(f"{name}: tinygrad_cnn {__version__}, NumPy {np.__version__}, Python {python}")
    except RuntimeError:
        WORLD.clear()
        atexit.unregister(_at_exit)
        atexit.register(group.watch.close)
        raise
    _share_processors(group)


def _share_processors(group: Group) -> None:
    """Use as many threads as there are processors for each rank, if the user has not said how many.

    Ranks that the launcher has bound to processors of their own have these.
    """
    mine = threads.processor_numbers()
    text = f"{group.watch.host} {mine}"
    sharing = group.texts(text).count(text)
    if sharing > 1 and not threads.number_is_chosen():
        threads.set_num_threads(max(1, len(mine) // sharing))


def _seconds(timeout: timedelta | float | None) -> float:
    given: Any = os.environ.get(_ENVIRONMENT) or TIMEOUT if timeout is None else timeout
    try:
        seconds = given.total_seconds() if isinstance(given, timedelta) else float(given)
    except (TypeError, ValueError):
        seconds = 0.0
    if not seconds > 0:
        what = "`timeout`" if timeout is not None else f"the environment's {_ENVIRONMENT}"
        raise ArgumentError(
            f"init_process_group: {what} is {given!r}, expected a positive timedelta or number of "
            f"seconds"
        )
    return seconds


def destroy_process_group(group: Group | None = None) -> None:
    """Leave the group, when all ranks have come to this; at the end of a program it is done so.

    Raises
    ------
    RuntimeError
        There is no group, or another rank is about to do something else.
    """
    world("destroy_process_group", group).meet("destroy_process_group")
    _forget()


def _forget() -> None:
    group = WORLD.pop()
    present.clear()
    group.watch.close()
    atexit.unregister(_at_exit)


def _at_exit() -> None:
    group = WORLD[0]
    try:
        group.meet("the end of the program")
    except RuntimeError as error:
        group.watch.failed(error, lambda: None)
    _forget()


in_child(WORLD.clear)


def is_initialized() -> bool:
    """Whether this process is in a group."""
    return bool(WORLD)


def get_rank(group: Group | None = None) -> int:
    """The number of this process, from 0."""
    return world("get_rank", group).rank


def get_world_size(group: Group | None = None) -> int:
    """How many processes there are."""
    return world("get_world_size", group).size


def get_backend(group: Group | None = None) -> str:
    """``"mpi"``."""
    world("get_backend", group)
    return "mpi"
