"""How functions become machine code: compiled once on this machine, kept on disk, loaded again.

`kernel` marks a function and does nothing else. At an entry's first launch with some types of
arguments its machine code is looked for in the package (`prebuilt`) and in `cache_folder`; only if
it is not there is Numba imported to make it (`numba_lowering`), while other processes make what
will be needed next (`ahead`). Where the system has a linker the code is kept as a shared
library, which the system loads: a process whose kernels have been compiled before sees neither
Numba nor LLVM, and debuggers and profilers see functions in files. Elsewhere LLVM loads the object
code (`engine`).

The folder's name has a hash over all sources of ``kernels/jit``, the processor, the versions, and
the settings that sources may read from the environment (every variable that starts with
``TINYGRAD_CNN_JIT_``), so that a changed line never meets old machine code. A cache that cannot be
read or written is no cache, not an error.
"""

from __future__ import annotations

import functools
import hashlib
import os
import re
import shutil
import sys
import threading
import time
import warnings
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar, cast

import platformdirs

from tinygrad_cnn.kernels.jit.compile import known, prebuilt, private, processor
from tinygrad_cnn.kernels.jit.compile.claims import claimed
from tinygrad_cnn.kernels.jit.compile.linker import link
from tinygrad_cnn.kernels.jit.compile.prebuilt import (
    LOADER,
    NUMBA_SETTINGS,
    SETTINGS,
    Functions,
    open_library,
    sources_key,
)

F = TypeVar("F", bound=Callable[..., Any])

SUM = ("contract", "reassoc")  # LLVM's flags for loops that add along the vector

MARK = 12  # digits of a hash in files' names
OLD = 30 * 24 * 3600  # seconds after which a folder that nobody uses is deleted


def user_cache_folder() -> Path:
    """Return this package's folder among the user's caches, by the platform's convention."""
    return platformdirs.user_cache_path("tinygrad_cnn", appauthor=False, opinion=False)


def _llvmlite_version() -> str:
    """Return what tells llvmlite's version, without importing it if that is possible."""
    spec = find_spec("llvmlite")
    if spec and spec.origin:
        with suppress(OSError):
            return Path(spec.origin).with_name("_version.py").read_text(encoding="utf-8")
    try:
        import llvmlite
    except ImportError:
        return ""
    return str(llvmlite.__version__)


@functools.cache
def cache_folder() -> Path:
    """Return the folder for machine code of these sources on this processor.

    Numba's version is not in its name, so that code is found without Numba; llvmlite's, which
    belongs to one version of Numba, is.
    """
    parts = [
        sources_key(),
        _llvmlite_version(),
        sys.version,
        processor.identity(),
        *(os.environ.get(name, "") for name in NUMBA_SETTINGS),
        *sorted(f"{k}={v}" for k, v in os.environ.items() if k.startswith(SETTINGS)),
    ]
    key = hashlib.sha256("\n".join(map(str, parts)).encode()).hexdigest()[:20]
    folder = user_cache_folder() / "kernels" / key
    with suppress(OSError):
        os.utime(folder)  # somebody still uses it
    return folder


_refused: set[Path] = set()  # folders of which it has been said that they are not used


def usable_folder() -> Path | None:
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


@dataclass(frozen=True)
class Code:
    """Machine code by what it is made of.

    `name` is for people who look into the folder; `signature` tells it from others of a version's,
    and `details` what else may differ between processes of one version. `by_signature` says that
    others can make it who know no more than that (`signature.found`).
    """

    name: str
    signature: str
    details: str = ""
    by_signature: bool = False

    @property
    def stem(self) -> str:
        """The beginning of its files' names."""
        return beginning(self.name, self.signature) + _mark(self.signature + self.details)

    @property
    def symbol(self) -> str:
        """The beginning of its functions' names."""
        return "tinygrad_cnn_" + re.sub("[^A-Za-z0-9]+", "_", self.stem)


def _mark(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:MARK]


def beginning(name: str, signature: str) -> str:
    """Return how the names of files begin that have machine code of a signature."""
    return f"{name}-{_mark(signature)}"


def beginning_of_file(path: Path) -> str:
    """Return what `beginning` gave for a file's signature."""
    return path.name.rpartition("-")[0][:-MARK]


Make = Callable[[str], bytes]
met: list[str] = []  # the signatures of machine code that this process uses, in order


def machine_code(code: Code, make: Make, endings: Sequence[str] = ("",)) -> list[int]:
    """Load machine code and return the addresses of its functions, ``code.symbol + ending``.

    It is in the package (`prebuilt`), or on disk, or else made: ``make(symbol)`` returns object
    code. That stays beside the shared library: where this cannot be loaded (from a file system
    without programs), LLVM takes it.
    """
    symbols = [code.symbol + ending for ending in endings]
    from_package = prebuilt.functions()
    places = [from_package(symbol) for symbol in symbols] if from_package else []
    if not (places and all(places)):
        functions = _functions(code, make)
        places = [functions(symbol) for symbol in symbols]
    for symbol, place in zip(symbols, places, strict=True):
        if not place:
            raise RuntimeError(f"machine code has no function {symbol!r}")
    met.append(code.signature)
    return places


def _functions(code: Code, make: Make) -> Functions:
    folder = usable_folder()
    shared = folder if os.environ.get(LOADER) != "llvm" else None
    library = _find(shared, code.stem, ".so")
    functions = open_library(library[0]) if library else None
    if functions is None:
        if _find(folder, code.stem, ".o"):
            content, path = complete(folder, shared, code, make)
        else:
            from tinygrad_cnn.kernels.jit.compile import ahead  # here: mostly all is on disk

            with ahead.compiling(folder, code):
                content, path = _made(folder, shared, code, make, ahead.help_along)
        functions = open_library(path) if path and not library else None
        if functions is None:
            from tinygrad_cnn.kernels.jit.compile.engine import load

            functions = load(content)
    return functions


def _made(
    folder: Path | None, shared: Path | None, code: Code, make: Make, meanwhile: Callable[[], bool]
) -> tuple[bytes, Path | None]:
    """Return object code and the shared library, which this or another process makes.

    While another process is at it, ``meanwhile()`` does something else, as long as it returns True.
    """
    busy = True
    while True:
        with claimed(folder, code.stem, wait=not busy) as mine:
            if mine:
                return complete(folder, shared, code, make)
        busy = meanwhile()


def complete(
    folder: Path | None, shared: Path | None, code: Code, make: Make
) -> tuple[bytes, Path | None]:
    """Return object code and the shared library; what is not on disk is made."""
    kept = _find(folder, code.stem, ".o")
    content = kept[1] if kept else make(code.symbol)
    if not kept:
        _keep(folder, code.stem, ".o", content)
        if code.by_signature:
            known.note(folder, code.signature)
    library = _find(shared, code.stem, ".so")
    if library:
        return content, library[0]
    return content, _keep(shared, code.stem, ".so", link([content], shared)) if shared else None


def prepare(code: Code, make: Make) -> bool:
    """Have machine code on disk; return whether that was left to this process."""
    folder = usable_folder()
    if folder is None:
        return False
    with claimed(folder, code.stem, wait=False) as mine:
        if mine:
            complete(folder, folder, code, make)
        return mine


ENTRIES: dict[str, Kernel] = {}  # those that Python may launch, by module and name


class Kernel:
    """A function that can be compiled, and what `entry.run` knows about it."""

    def __init__(self, function: Callable[..., Any], options: dict[str, Any], entry: bool) -> None:
        self.function, self.options, self.entry = function, options, entry
        self.__name__, self.__doc__ = function.__name__, function.__doc__
        self.__module__ = function.__module__
        # How to launch it with arguments of some types: the latest, and all that there are.
        self.launch: Callable[..., int] = _not_yet
        self.launches: list[Callable[..., int]] = []
        self.made: set[tuple[Any, ...]] = set()  # for which types
        self.missing: set[Code] = set()  # for which there is no machine code and no compiler
        if entry:
            ENTRIES[f"{function.__module__}:{function.__qualname__}"] = self


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
