"""How functions become machine code: compiled at their first call, kept on disk for the next
process.

`kernel` is `numba.njit` with this package's settings and its own disk cache. Numba's cache watches
the file of a function, not the files of what it calls; here the folder's name has a hash over all
sources of ``kernels/jit``, the processor, the versions, and the settings that sources may read
from the environment (every variable that starts with ``TINYGRAD_CNN_JIT_``), so that a changed line
never meets old machine code. A cache that cannot be read or written is no cache, not an error.

This module imports Numba: nothing outside ``kernels/jit`` may import it at its top.
"""

from __future__ import annotations

import functools
import hashlib
import os
import sys
import threading
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, TypeVar, cast

import llvmlite
import llvmlite.binding as llvm
import numba
from numba.core import caching

__all__ = ["cache_folder", "kernel", "user_cache_folder"]

F = TypeVar("F", bound=Callable[..., Any])

QUIET = "TINYGRAD_CNN_QUIET"  # environment: any value but "" keeps the progress line away
SETTINGS = "TINYGRAD_CNN_JIT_"  # environment: variables that may change what is compiled
PATIENCE = 1.0  # seconds of compiling before anything is said

# OpenMP starts a parallel loop in 2 microseconds, Numba's own pool ("workqueue") in 150. This is
# an order of preference among what is installed; NUMBA_THREADING_LAYER still decides if it is set.
numba.config.THREADING_LAYER_PRIORITY = ["omp", "tbb", "workqueue"]


def user_cache_folder() -> Path:
    """Return this package's folder among the user's caches, by the platform's convention."""
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or os.path.expanduser("~\\AppData\\Local")
    elif sys.platform == "darwin":
        base = os.path.expanduser("~/Library/Caches")
    else:
        base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return Path(base) / "tinygrad_cnn"


@functools.cache
def cache_folder() -> Path:
    """Return the folder for machine code of these sources on this processor."""
    config = numba.config
    parts = [
        numba.__version__,
        llvmlite.__version__,
        sys.version,
        config.CPU_NAME or llvm.get_host_cpu_name(),
        config.CPU_FEATURES or llvm.get_host_cpu_features().flatten(),
        *sorted(f"{k}={v}" for k, v in os.environ.items() if k.startswith(SETTINGS)),
    ]
    for source in sorted(Path(__file__).parent.glob("*.py")):
        parts += [source.name, hashlib.sha256(source.read_bytes()).hexdigest()]
    key = hashlib.sha256("\n".join(map(str, parts)).encode()).hexdigest()[:20]
    return user_cache_folder() / "kernels" / key


class _Progress:
    """Says once in a process that kernels are being compiled, if that takes long."""

    def __init__(self) -> None:
        self.said = False
        self.depth = 0  # a kernel's compilation contains those of the kernels that it calls
        self.timer: threading.Timer | None = None

    def start(self) -> None:
        self.depth += 1
        if self.said or self.timer or os.environ.get(QUIET) or not sys.stderr.isatty():
            return
        self.timer = threading.Timer(PATIENCE, self.say)
        self.timer.name, self.timer.daemon = "tinygrad_cnn progress", True
        self.timer.start()

    def stop(self) -> None:
        self.depth = max(0, self.depth - 1)
        if self.timer and self.depth == 0:
            self.timer.cancel()
            self.timer = None

    def say(self) -> None:
        self.said = True
        print("tinygrad_cnn: compiling kernels for this CPU, once ...", file=sys.stderr)


_progress = _Progress()


class _Locator(caching._CacheLocator):  # type: ignore[misc] # Numba has no types
    """Where one function's machine code lies: all in one folder, told apart by file and line."""

    def __init__(self, function: Callable[..., Any]) -> None:
        code = function.__code__
        self._py_file, self._lineno = code.co_filename, code.co_firstlineno

    @classmethod
    def from_function(cls, py_func: Callable[..., Any], py_file: str) -> _Locator:
        return cls(py_func)

    def get_cache_path(self) -> str:
        return str(cache_folder())

    def get_source_stamp(self) -> str:
        return cache_folder().name

    def get_disambiguator(self) -> str:
        return str(self._lineno)


class _Implementation(caching.CompileResultCacheImpl):  # type: ignore[misc] # Numba has no types
    _locator_classes = (_Locator,)


class _Cache(caching.FunctionCache):  # type: ignore[misc] # Numba has no types
    """Numba's disk cache, of which nothing that goes wrong matters."""

    _impl_class = _Implementation

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        try:
            found = super().load_overload(sig, target_context)
        except Exception:  # cut off, foreign, unreadable: whatever a file can be
            found = None
        if found is None:
            _progress.start()
        return found

    def save_overload(self, sig: Any, data: Any) -> None:
        _progress.stop()
        try:
            super().save_overload(sig, data)
        except Exception:  # full, not ours, not there
            self.disable()


def kernel(
    *, parallel: bool = False, fastmath: Collection[str] = ("contract",), inline: bool = False
) -> Callable[[F], F]:
    """Return a decorator that compiles a function at its first call for each set of types.

    Kernels let go of the interpreter's lock and follow NumPy where a number is divided by zero;
    they check no bounds. Kernels may call each other, and `numba.extending.intrinsic` functions.

    Parameters
    ----------
    parallel: `numba.prange` shares its rounds among threads. Never call `numba.get_num_threads`
        in a kernel (that turns caching off): take the number of shares as an argument, from
        `tinygrad_cnn.kernels.threads.team`, and loop ``for part in prange(parts)`` over
        consecutive ranges, each with its own sums. Then a thread count has one result.
    fastmath: LLVM's flags that may change rounding: ``contract`` (multiply-add in one rounding)
        by default, ``reassoc`` for sums along the vector. Never ``nnan`` or ``ninf``.
    inline: always inlined where another kernel calls it.
    """

    def build(function: F) -> F:
        options: dict[str, Any] = {"forceinline": True} if inline else {}
        dispatcher = numba.njit(
            nogil=True,
            error_model="numpy",
            boundscheck=False,
            parallel=parallel,
            fastmath=set(fastmath),
            **options,
        )(function)
        try:
            dispatcher._cache = _Cache(function)
        except Exception:  # no home, or another Numba inside: compile every time
            pass
        return cast(F, dispatcher)

    return build
