"""Shared libraries of object code, by whichever linker the system has."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from tinygrad_cnn.kernels.jit.compile import private

COMMANDS = (
    "cc -shared -nostartfiles -o {library} {code} -lm",
    "ld -shared -o {library} {code}",
    "ld.lld -shared -o {library} {code}",
    "lld -flavor gnu -shared -o {library} {code}",
)
NOTE = "linker.txt"  # in the cache folder: the command that worked last
PATIENCE = 60  # seconds for linking, which takes some hundredths

_broken: set[str] = set()  # commands that have failed in this process


def link(codes: Sequence[bytes], folder: Path) -> bytes | None:
    """Return the shared library with all of this object code, or None if no linker makes it.

    The command that worked before, by the note in the cache folder, comes first.
    """
    note, noted = folder / NOTE, ""
    with suppress(OSError, UnicodeDecodeError, private.NotPrivate):
        noted = private.read(note).decode()
    for command in sorted(COMMANDS, key=lambda command: command != noted):
        if command not in _broken and sys.platform != "win32" and shutil.which(command.split()[0]):
            library = _run(command, codes)
            if library is None:
                _broken.add(command)
                continue
            if command != noted:
                with suppress(OSError):
                    note.unlink(missing_ok=True)  # it may be a link, or a pipe
                    note.write_text(command, encoding="utf-8")
            return library
    return None


def _run(command: str, codes: Sequence[bytes]) -> bytes | None:
    """Return what a command makes of object code, or None if it fails."""
    import subprocess  # here: most processes link nothing
    from tempfile import TemporaryDirectory

    quiet = subprocess.DEVNULL
    with (
        suppress(OSError, subprocess.SubprocessError),
        TemporaryDirectory(prefix="tinygrad_cnn", ignore_cleanup_errors=True) as folder,
    ):
        library, objects = Path(folder, "code.so"), []
        for number, code in enumerate(codes):
            objects.append(os.path.join(folder, f"code{number}.o"))
            Path(objects[-1]).write_bytes(code)
        words: list[str] = []
        for word in command.split():
            words += objects if word == "{code}" else [word.format(library=library)]
        # a list of arguments, no shell
        subprocess.run(  # nosec B603
            words, stdin=quiet, stdout=quiet, stderr=quiet, timeout=PATIENCE, check=True
        )
        return library.read_bytes()
    return None
