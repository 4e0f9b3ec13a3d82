"""Shared libraries of object code, by whichever linker the system has."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

COMMANDS = (
    "cc -shared -nostartfiles -o {library} {code} -lm",
    "ld -shared -o {library} {code}",
    "ld.lld -shared -o {library} {code}",
    "lld -flavor gnu -shared -o {library} {code}",
)
NOTE = "linker.txt"  # in the cache folder: the linkers there were, and the command that worked
PATIENCE = 60  # seconds for linking, which takes some hundredths

_found: dict[Path, str] = {}  # by cache folder: the command that works, or ""


def link(code: bytes, folder: Path) -> bytes | None:
    """Return the shared library with all of this object code, or None if no linker makes it.

    Which command works is tried once, with the first code, and noted in the cache folder.
    """
    there = [] if sys.platform == "win32" else [c for c in COMMANDS if shutil.which(c.split()[0])]
    note, mark = folder / NOTE, " | ".join(there)
    if folder not in _found:
        with suppress(OSError, ValueError):
            seen, command = note.read_text(encoding="utf-8").split("\n")
            if seen == mark and command in ("", *there):
                _found[folder] = command
    if folder in _found:
        return _run(_found[folder], code) if _found[folder] else None
    for command in there:
        library = _run(command, code)
        if library is not None:
            break
    else:
        command, library = "", None
    _found[folder] = command
    with suppress(OSError):
        note.write_text(f"{mark}\n{command}", encoding="utf-8")
    return library


def _run(command: str, code: bytes) -> bytes | None:
    quiet = subprocess.DEVNULL
    with (
        suppress(OSError, subprocess.SubprocessError),
        TemporaryDirectory(prefix="tinygrad_cnn", ignore_cleanup_errors=True) as folder,
    ):
        files = {"code": os.path.join(folder, "code.o"), "library": os.path.join(folder, "code.so")}
        Path(files["code"]).write_bytes(code)
        words = [word.format(**files) for word in command.split()]
        subprocess.run(words, stdin=quiet, stdout=quiet, stderr=quiet, timeout=PATIENCE, check=True)
        return Path(files["library"]).read_bytes()
    return None
