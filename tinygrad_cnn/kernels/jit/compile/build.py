"""How functions become machine code: compiled once on this machine, kept on disk, loaded again.

`kernel` marks a function and does nothing else. At an entry's first launch with some types of
arguments its object code is looked for in `cache_folder`; only if it is not there is Numba imported
to make it (`compiling`). A process whose kernels have been compiled before sees neither Numba nor,
where the package has a loader of its own (`elf`), LLVM.

The folder's name has a hash over all sources of ``kernels/jit``, the processor, the versions, and
the settings that sources may read from the environment (every variable that starts with
``TINYGRAD_CNN_JIT_``), so that a changed line never meets old machine code. A cache that cannot be
read or written is no cache, not an error.
"""

from __future__ import annotations

import functools
import hashlib
import os
import shutil
import sys
import threading
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar, cast

from tinygrad_cnn.kernels.jit.compile import processor

F = TypeVar("F", bound=Callable[..., Any])

QUIET = "TINYGRAD_CNN_QUIET"  # environment: any value but "" keeps the progress line away
SETTINGS = "TINYGRAD_CNN_JIT_"  # environment: variables that may change what is compiled
NUMBA_SETTINGS = ("NUMBA_CPU_NAME", "NUMBA_CPU_FEATURES")  # for which processor Numba compiles
PATIENCE = 1.0  # seconds of compiling before anything is said
OLD = 30 * 24 * 3600  # seconds after which a folder that nobody uses is deleted
HEADER = b"tinygrad_cnn machine code 1\n"


def user_cache_folder() -> Path:
    """Return this package's folder among the user's caches, by the platform's convention."""
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or os.path.expanduser("~\\AppData\\Local")
    elif sys.platform == "darwin":
        base = os.path.expanduser("~/Library/Caches")
    else:
        base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return Path(base) / "tinygrad_cnn"


def _llvmlite_version() -> str:
    """Return what tells llvmlite's version, without importing it if that is possible."""
    spec = find_spec("llvmlite")
    if spec and spec.origin:
        with suppress(OSError):
            return Path(spec.origin).with_name("_version.py").read_text(encoding="utf-8")
    import llvmlite

    return str(llvmlite.__version__)


@functools.cache
def cache_folder() -> Path:
    """Return the folder for machine code of these sources on this processor.

    Numba's version is not in its name, so that code is found without Numba; llvmlite's, which
    belongs to one version of Numba, is.
    """
    parts = [
        _llvmlite_version(),
        sys.version,
        processor.identity(),
        *(os.environ.get(name, "") for name in NUMBA_SETTINGS),
        *sorted(f"{k}={v}" for k, v in os.environ.items() if k.startswith(SETTINGS)),
    ]
    for source in sorted(Path(__file__).parents[1].rglob("*.py")):
        parts += [source.name, hashlib.sha256(source.read_bytes()).hexdigest()]
    key = hashlib.sha256("\n".join(map(str, parts)).encode()).hexdigest()[:20]
    folder = user_cache_folder() / "kernels" / key
    with suppress(OSError):
        os.utime(folder)  # somebody still uses it
    return folder


def _make_folder() -> Path:
    """Return the cache folder; if it must be made, others that nobody uses any more go."""
    folder = cache_folder()
    if folder.is_dir():
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    for other in folder.parent.iterdir():
        with suppress(OSError):
            if other != folder and other.is_dir() and time.time() - other.stat().st_mtime > OLD:
                shutil.rmtree(other, ignore_errors=True)
    return folder


class _Progress:
    """Says once in a process that kernels are being compiled, if that takes long."""

    def __init__(self) -> None:
        self.said = False
        self.depth = 0
        self.timer: threading.Timer | None = None

    def __enter__(self) -> None:
        self.depth += 1
        if self.said or self.timer or os.environ.get(QUIET) or not sys.stderr.isatty():
            return
        self.timer = threading.Timer(PATIENCE, self.say)
        self.timer.name, self.timer.daemon = "tinygrad_cnn progress", True
        self.timer.start()

    def __exit__(self, *error: object) -> None:
        self.depth = max(0, self.depth - 1)
        if self.timer and self.depth == 0:
            self.timer.cancel()
            self.timer = None

    def say(self) -> None:
        self.said = True
        print("tinygrad_cnn: compiling kernels for this CPU, once ...", file=sys.stderr)


progress = _Progress()


def _read(path: Path, key: str) -> bytes | None:
    """Return what the file of `key` holds, or None if it is not exactly what was written."""
    try:
        content = path.read_bytes()
    except OSError:
        return None
    head, code = content[: len(HEADER) + 130], content[len(HEADER) + 130 :]
    return code if head == _header(key, code) else None


def _header(key: str, code: bytes) -> bytes:
    return HEADER + f"{key}\n{hashlib.sha256(code).hexdigest()}\n".encode()


def _write(path: Path, key: str, code: bytes) -> None:
    """Put a file where no reader ever sees half of it; if that cannot be, there is none."""
    with suppress(OSError):
        _make_folder()
        draft = path.with_name(f"{path.name}.{os.getpid()}.{threading.get_ident()}")
        try:
            draft.write_bytes(_header(key, code) + code)
            draft.replace(path)
        finally:
            draft.unlink(missing_ok=True)


def machine_code(name: str, key: str, make: Callable[[str], bytes]) -> tuple[bytes, str]:
    """Return object code and the symbol that it defines: from disk, or else from ``make(symbol)``.

    `name` is for people who look into the folder; `key` says what is compiled, together with the
    folder's name.
    """
    folder = cache_folder()
    mark = hashlib.sha256(f"{folder.name}\n{key}".encode()).hexdigest()
    symbol = f"tinygrad_cnn_{mark[:24]}"
    path = folder / f"{name}-{mark[:16]}.o"
    code = _read(path, mark)
    if code is None:
        with progress:
            code = make(symbol)
        _write(path, mark, code)
    return code, symbol


class Kernel:
    """A function that can be compiled, and what `launch` knows about it as an entry."""

    def __init__(self, function: Callable[..., Any], options: dict[str, Any], entry: bool) -> None:
        self.function, self.options, self.entry = function, options, entry
        self.__name__, self.__doc__ = function.__name__, function.__doc__
        # How to launch it with arguments of some types: the latest, and all that there are.
        self.launch: Callable[..., int] = _not_yet
        self.launches: list[Callable[..., int]] = []
        self.made: set[tuple[Any, ...]] = set()  # for which types
        self.missing: set[str] = set()  # types for which there is no machine code and no compiler


def _not_yet(*args: Any) -> int:
    return 1  # as machine code says of arguments of other types than its own


def kernel(
    *, entry: bool = False, fastmath: Collection[str] = ("contract",), inline: bool = False
) -> Callable[[F], F]:
    """Return a decorator for functions that are compiled when they are first needed.

    Kernels follow NumPy where a number is divided by zero; they check no bounds, raise no errors
    and make no arrays, only views: work space comes from their caller (`scratch`). They may call
    other kernels and the instructions of `vector`.

    Parameters
    ----------
    entry: Python may launch it: ``run(kernel, parts, *args)`` calls ``kernel(part, parts, *args)``
        for every part, on any thread, in any order. Arguments are arrays, integers, floats, and
        tuples or named tuples of integers; all that is known about an array's memory is its
        layout at the launch. Each part takes a consecutive range and has its own sums: then a
        number of parts has one result.
    fastmath: LLVM's flags that may change rounding: ``contract`` (multiply-add in one rounding)
        by default, ``reassoc`` for sums along the vector. Never ``nnan`` or ``ninf``.
    inline: always inlined where another kernel calls it.
    """

    def build(function: F) -> F:
        options: dict[str, Any] = {"fastmath": set(fastmath)}
        if inline:
            options["forceinline"] = True
        return cast(F, Kernel(function, options, entry))

    return build
