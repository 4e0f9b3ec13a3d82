"""Files that are either the old one or the new one, whatever happens in between."""

import contextlib
import errno
import itertools
import os
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, TypeAlias

from tinygrad_cnn.kernels.forks import in_child

if sys.platform != "win32":
    import fcntl

Buffers: TypeAlias = Sequence[bytes | memoryview]
"""The bytes of a file, in pieces that lie wherever they do."""

_counter = itertools.count()
_CHUNK = 1 << 20  # bytes that are compared at a time
_held: set[int] = set()  # descriptors of the folders that this process holds


def write_atomically(path: str | os.PathLike[str], data: bytes | str | Buffers) -> None:
    """Write ``data`` to ``path`` so that a reader sees the old file or the new one, never a part.

    The bytes go to a hidden file in the same folder, reach the disk and are read again before
    ``os.replace`` gives them their name, so that neither a killed process nor a power cut leaves
    half a file. Text is written as UTF-8, pieces one behind the other. Hidden files that processes
    left behind which died while they wrote to ``path`` are removed; the hidden file of a living one
    is locked, and stays.

    Raises
    ------
    OSError
        The folder is missing, not writable or full, or the disk gives other bytes back; ``path`` is
        then what it was before.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_atomically(f"{folder}/a.txt", "hello")
    ...     Path(f"{folder}/a.txt").read_text()
    'hello'
    """
    target = Path(path)
    text = data.encode() if isinstance(data, str) else data
    content = [text] if isinstance(text, bytes) else text
    while not _written(target, content):
        pass
    _sync_folder(target.parent)
    _remove_leftovers(target)


def make_folder(path: Path, *, exist_ok: bool = True) -> None:
    """Make a folder and those above it; a power cut does not lose their names either."""
    new = [p for p in (path, *path.parents) if not p.exists()]
    path.mkdir(parents=True, exist_ok=exist_ok)
    for made in new:
        _sync_folder(made.parent)


@contextlib.contextmanager
def holding(folder: Path) -> Iterator[bool]:
    """Inside, no other `holding` of ``folder`` gets True, in any process; False if one has.

    The system lets go when the process ends, however it ends. Where it has no such locks (Windows,
    some network file systems) the answer is always True.
    """
    if os.name != "posix":
        yield True
        return
    descriptor = os.open(folder, os.O_RDONLY)
    _held.add(descriptor)
    try:
        yield _lock(descriptor, if_unknown=True)
    finally:
        _held.discard(descriptor)
        os.close(descriptor)


def _let_go() -> None:
    """In a forked process: what the parent holds is not to be held until the child ends."""
    while _held:
        os.close(_held.pop())


in_child(_let_go)


def _written(target: Path, content: Buffers) -> bool:
    """Write the file under a name of its own and rename it; False if it is to be tried again."""
    temporary = target.with_name(f".{target.name}.{os.getpid()}-{next(_counter)}.tmp")
    try:
        with open(temporary, "x+b") as file:  # not `mkstemp`: the user's umask should hold
            if os.name == "posix":
                _lock(file.fileno(), if_unknown=True)
                if not os.fstat(file.fileno()).st_nlink:
                    return False  # `_remove_leftovers` was faster than the lock
            for piece in content:
                file.write(piece)
            file.flush()
            os.fsync(file.fileno())
            _compare(file, content)
            if os.name != "posix":
                file.close()  # Windows renames no open files
            os.replace(temporary, target)
    except FileExistsError:  # of a dead process with this number
        return False
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return True


def _compare(file: BinaryIO, content: Buffers) -> None:
    """Raise OSError unless the file has this content."""
    file.seek(0)
    chunks = (
        piece[start : start + _CHUNK] for piece in content for start in range(0, len(piece), _CHUNK)
    )
    for chunk in (*chunks, b""):
        if file.read(len(chunk) or 1) != chunk:
            raise OSError(errno.EIO, "what was written is not what the disk gives back", file.name)


def _remove_leftovers(target: Path) -> None:
    """Remove hidden files of processes that died while they wrote to ``target``."""
    pattern = re.compile(rf"\.{re.escape(target.name)}\.\d+-\d+\.tmp")
    with contextlib.suppress(OSError), os.scandir(target.parent) as entries:
        found = [entry.path for entry in entries if pattern.fullmatch(entry.name)]
        for path in found:
            _remove_if_dead(path)


def _remove_if_dead(path: str) -> None:
    with contextlib.suppress(OSError):
        if os.name != "posix":
            os.unlink(path)  # Windows refuses where the file is open
            return
        descriptor = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_NOFOLLOW)
        try:
            if _lock(descriptor, if_unknown=False):
                os.unlink(path)
        finally:
            os.close(descriptor)


def _lock(descriptor: int, *, if_unknown: bool) -> bool:
    """Whether the lock of an open file is ours now; ``if_unknown`` where there are no locks."""
    if sys.platform == "win32":
        return if_unknown
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return if_unknown
    return True


def _sync_folder(folder: Path) -> None:
    """Make the new name itself durable, where the system can (Windows cannot open folders)."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError:  # a file system without fsync for folders; the file itself is on the disk
        pass
    finally:
        os.close(descriptor)
