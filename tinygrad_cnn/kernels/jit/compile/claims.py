"""Who compiles what: a claim holds until it is given back, or its process ends, however it does.

Claims are locks on single bytes of one empty file, which the system takes back from the dead. Where
there are none, as on Windows, everybody compiles for himself.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    CAN_CLAIM = False
else:
    CAN_CLAIM = True

FILE = "claims.lock"  # in the cache folder
_PLACES = 1 << 48  # bytes that may be locked; the file stays empty


@contextmanager
def claimed(folder: Path | None, what: str, *, wait: bool, file: str = FILE) -> Iterator[bool]:
    """Inside, True: no other process has the claim on `what`, or False: another has it.

    With `wait` it is waited for. A process may have one claim of a file at a time: it would lose
    all when one is given back.
    """
    opened = _open(folder, file)
    try:
        yield opened is None or _lock(opened, what, wait)
    finally:
        if opened is not None:
            os.close(opened)


def _open(folder: Path | None, file: str) -> int | None:
    if folder and CAN_CLAIM:
        with suppress(OSError):
            return os.open(folder / file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    return None


def _lock(file: int, what: str, wait: bool) -> bool:
    place = int.from_bytes(hashlib.sha256(what.encode()).digest()[:8], "big") % _PLACES
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB), 1, place)
    except (BlockingIOError, PermissionError):
        return False
    except OSError:
        return True  # this file system has no locks
    return True
