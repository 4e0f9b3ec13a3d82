"""Whether machine code in a folder can come from nobody but this user, and reading it.

Whoever can write to the folder, or exchange it or a folder or link on the way to it, decides what
this process runs. The system's own user (0) can anyway.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path

_LINKS = 40  # on the way to a folder; as many as Linux follows


class NotPrivate(Exception):
    """Others could have put machine code where it was looked for; the message says how."""


def check_folder(folder: Path, own: int) -> None:
    """Refuse a folder that others can write to or exchange; the last ``own`` are the user's own.

    Folders above may be the system's too, and everybody's like ``/tmp``, where nobody can exchange
    what is another's. Of a link counts whose it is, and all that is on the way to its goal.

    Raises
    ------
    NotPrivate
        It is not the user's alone.
    OSError
        There is no such folder.
    """
    if not hasattr(os, "geteuid"):
        return  # not POSIX: the platform's folder is private
    user = os.geteuid()
    for path in [folder, *folder.parents][:own]:
        _check(path, path.stat(), {user}, sticky=False)
    for path, info in _passed(folder):
        if stat.S_ISLNK(info.st_mode):
            if info.st_uid not in (user, 0):
                raise NotPrivate(f"the link {path} belongs to another user")
        else:
            _check(path, info, {user, 0}, sticky=True)


def _check(path: Path, info: os.stat_result, users: set[int], *, sticky: bool) -> None:
    if info.st_uid not in users:
        raise NotPrivate(f"{path} belongs to another user")
    if info.st_mode & 0o022 and not (sticky and info.st_mode & stat.S_ISVTX):
        raise NotPrivate(f"others can write to {path}")


def _passed(path: Path) -> Iterator[tuple[Path, os.stat_result]]:
    """Every folder and every link on the way to ``path``, and itself."""
    path, links = Path(os.path.abspath(path)), 0
    at, names = Path(path.anchor), list(reversed(path.parts[1:]))
    yield at, at.lstat()
    while names:
        name = names.pop()
        if name == "..":
            at = at.parent
            continue
        info = (at / name).lstat()
        yield at / name, info
        if stat.S_ISLNK(info.st_mode):
            links += 1
            if links > _LINKS:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path))
            goal = Path(os.readlink(at / name))
            names += reversed(goal.parts[1:] if goal.anchor else goal.parts)
            at = Path(goal.anchor) if goal.anchor else at
        else:
            at /= name


def read(path: Path) -> bytes:
    """The content of a plain file of this user's.

    Raises
    ------
    NotPrivate
        It is a link, a pipe or a device, or another user's.
    OSError
        There is no such file.
    """
    plain = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    try:
        descriptor = os.open(path, plain | getattr(os, "O_NOFOLLOW", 0))
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO):  # a link; a socket
            raise NotPrivate(f"{path} is no plain file") from error
        raise
    with open(descriptor, "rb") as file:
        info = os.fstat(descriptor)
        if not stat.S_ISREG(info.st_mode):
            raise NotPrivate(f"{path} is no plain file")
        if hasattr(os, "geteuid") and info.st_uid != os.geteuid():
            raise NotPrivate(f"{path} belongs to another user")
        return file.read()
