"""How functions become machine code: compiled once on this machine, kept on disk, loaded again.

`kernel` marks a function and does nothing else. At an entry's first launch with some types of
arguments its machine code is looked for in `cache_folder`; only if it is not there is Numba
imported to make it (`numba_lowering`). Where the system has a linker the code is kept as a shared
library, which the system loads: a process whose kernels have been compiled before sees neither
Numba nor LLVM, and debuggers and profilers see functions in files. Elsewhere LLVM loads the object
code (`engine`).

The folder's name has a hash over all sources of ``kernels/jit``, the processor, the versions, and
the settings that sources may read from the environment (every variable that starts with
``TINYGRAD_CNN_JIT_``), so that a changed line never meets old machine code. A cache that cannot be
read or written is no cache, not an error.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import re
import shutil
import sys
import threading
import time
import warnings
from collections.abc import Callable, Collection
from contextlib import suppress
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar, cast

import platformdirs

from tinygrad_cnn.kernels.jit.compile import private, processor
from tinygrad_cnn.kernels.jit.compile.linker import link
from tinygrad_cnn.notices import PATIENCE, QUIET

F = TypeVar("F", bound=Callable[..., Any])

SUM = ("contract", "reassoc")  # LLVM's flags for loops that add along the vector

SETTINGS = "TINYGRAD_CNN_JIT_"  # environment: variables that may change what is compiled
NUMBA_SETTINGS = ("NUMBA_CPU_NAME", "NUMBA_CPU_FEATURES")  # for which processor Numba compiles
OLD = 30 * 24 * 3600  # seconds after which a folder that nobody uses is deleted
LOADER = "TINYGRAD_CNN_LOADER"  # environment: "llvm" leaves shared libraries alone (tests)


def user_cache_folder() -> Path:
    """Return this package's folder among the user's caches, by the platform's convention."""
    return platformdirs.user_cache_path("tinygrad_cnn", appauthor=False, opinion=False)


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


_refused: set[Path] = set()  # folders of which it has been said that they are not used


def _usable_folder() -> Path | None:
    """Return the cache folder, made if need be, or None if there can be none.

    Whoever writes to it decides what this process runs: it must be the user's, and nobody else may
    write to it or exchange it. Otherwise a warning says so, once.
    """
    folder = cache_folder()
    try:
        new = not folder.is_dir()
        for path in [*reversed(folder.parents), folder] if new else []:
            path.mkdir(mode=0o700, exist_ok=True)
        private.check_folder(folder, own=3)  # with `kernels` and the package's
        for other in folder.parent.iterdir() if new else []:  # nobody uses any more
            with suppress(OSError):
                if other != folder and other.is_dir() and time.time() - other.stat().st_mtime > OLD:
                    shutil.rmtree(other, ignore_errors=True)
    except OSError:
        return None
    except private.NotPrivate as danger:
        _refuse(folder, danger)
        return None
    return folder


def _refuse(folder: Path, danger: private.NotPrivate) -> None:
    """Say once why nothing is taken from the cache folder."""
    if folder in _refused:
        return
    _refused.add(folder)
    warnings.warn(
        f"{danger}: compiled kernels are neither read from {folder} nor kept there, so that "
        f"every process compiles them anew; make it yours alone (chown, chmod go-w), or, on "
        f"Linux, set XDG_CACHE_HOME to a folder that is",
        RuntimeWarning,
        stacklevel=2,
    )


class _Progress:
    """Says once in a process that kernels are being compiled, if that takes long."""

    def __init__(self) -> None:
        self.said = False
        self.depth = 0
        self.timer: threading.Timer | None = None

    def __enter__(self) -> None:
        self.depth += 1
        if self.said or self.timer or os.environ.get(QUIET):
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

Functions = Callable[[str], int]  # address by name, 0 if there is none


def _path(folder: Path, stem: str, suffix: str, content: bytes) -> Path:
    return folder / f"{stem}-{hashlib.sha256(content).hexdigest()[:32]}{suffix}"


def _find(folder: Path | None, stem: str, suffix: str) -> tuple[Path, bytes] | None:
    """Return a kernel's file that holds exactly what was written, and that; others go."""
    if folder:
        with suppress(OSError):
            for name in os.listdir(folder):
                if name.startswith(f"{stem}-") and name.endswith(suffix):
                    path = folder / name
                    try:
                        content = private.read(path)
                    except private.NotPrivate as danger:
                        _refuse(folder, danger)
                        continue
                    if _path(folder, stem, suffix, content) == path:
                        return path, content
                    path.unlink()
    return None


def _keep(folder: Path | None, stem: str, suffix: str, content: bytes | None) -> Path | None:
    """Put a file where no reader ever sees half of it; if that cannot be, there is none."""
    if folder and content is not None:
        path = _path(folder, stem, suffix, content)
        draft = folder / f".{path.name}.{os.getpid()}.{threading.get_ident()}"
        with suppress(OSError):
            try:
                draft.write_bytes(content)
                return draft.replace(path)
            finally:
                draft.unlink(missing_ok=True)
    return None


def machine_code(name: str, key: str, make: Callable[[str], bytes]) -> Functions:
    """Load machine code, from disk or else from ``make(symbol)``, which returns object code.

    Returns the function that gives the address of ``symbol + ending`` for an ending. `name` is for
    people who look into the folder; `key` says what is compiled, together with the folder's name.
    The object code stays beside the shared library: where that cannot be loaded (from a file
    system without programs), LLVM takes it.
    """
    mark = hashlib.sha256(f"{cache_folder().name}\n{key}".encode()).hexdigest()[:16]
    stem, symbol = f"{name}-{mark}", f"tinygrad_cnn_{re.sub('[^A-Za-z0-9]+', '_', name)}_{mark}"
    folder = _usable_folder()
    shared = folder if os.environ.get(LOADER) != "llvm" else None
    library = _find(shared, stem, ".so")
    functions = _open(library[0]) if library else None
    if functions is None:
        kept = _find(folder, stem, ".o")
        if kept:
            code = kept[1]
        else:
            with progress:
                code = make(symbol)
            _keep(folder, stem, ".o", code)
        path = _keep(shared, stem, ".so", link(code, shared)) if shared and not library else None
        functions = _open(path) if path else None
        if functions is None:
            from tinygrad_cnn.kernels.jit.compile.engine import load

            functions = load(code)
    return partial(_address, functions, symbol)


def _address(functions: Functions, symbol: str, ending: str) -> int:
    address = functions(symbol + ending)
    if not address:
        raise RuntimeError(f"machine code has no function {symbol + ending!r}")
    return address


def _open(path: Path) -> Functions | None:
    """Load a shared library, unless the system refuses to, and return where its functions are."""
    try:
        library: Any = ctypes.CDLL(str(path))
    except OSError:
        return None
    return lambda symbol: ctypes.cast(getattr(library, symbol, 0), ctypes.c_void_p).value or 0


class Kernel:
    """A function that can be compiled, and what `entry.run` knows about it."""

    def __init__(self, function: Callable[..., Any], options: dict[str, Any], entry: bool) -> None:
        self.function, self.options, self.entry = function, options, entry
        self.__name__, self.__doc__ = function.__name__, function.__doc__
        # How to launch it with arguments of some types: the latest, and all that there are.
        self.launch: Callable[..., int] = _not_yet
        self.launches: list[Callable[..., int]] = []
        self.made: set[tuple[Any, ...]] = set()  # for which types
        self.missing: set[str] = set()  # types for which there is no machine code and no compiler


def _not_yet(*args: object) -> int:
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
        by default, `SUM` for sums along the vector. Never ``nnan`` or ``ninf``.
    inline: always inlined where another kernel calls it.
    """

    def build(function: F) -> F:
        options: dict[str, Any] = {"fastmath": set(fastmath)}
        if inline:
            options["forceinline"] = True
        return cast(F, Kernel(function, options, entry))

    return build
