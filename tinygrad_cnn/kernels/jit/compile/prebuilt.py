"""Machine code that comes with the package: a shared library for a level of the processor.

`tinygrad_cnn.kernels.prebuild` writes it. Its file's name has a hash over all that it was made of,
so that a changed source never meets it. Whose processor has it needs neither Numba nor LLVM.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import platform
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tinygrad_cnn.kernels.jit.compile import processor
from tinygrad_cnn.kernels.jit.compile.vector import LANES_SETTING, TILE

SETTINGS = "TINYGRAD_CNN_JIT_"  # environment: variables that may change what is compiled
NUMBA_SETTINGS = ("NUMBA_CPU_NAME", "NUMBA_CPU_FEATURES")  # for which processor Numba compiles
LOADER = "TINYGRAD_CNN_LOADER"  # environment: "cache" leaves the package's libraries alone, "llvm"
# the cache's too (tests)

FOLDER = Path(__file__).parents[2] / "prebuilt"
_V2 = frozenset({"cx16", "lahf_lm", "popcnt", "sse4_1", "sse4_2", "ssse3"})
_V3 = _V2 | {"avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "abm", "movbe", "xsave"}
_V4 = _V3 | {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"}
# Levels of x86-64 by LLVM's names: numbers in a vector (`vector.TILE`), and what Linux must name
# among the processor's abilities.
TARGETS = {"x86-64-v2": (4, _V2), "x86-64-v3": (8, _V3), "x86-64-v4": (16, _V4)}

Functions = Callable[[str], int]  # address by name, 0 if there is none


def open_library(path: Path) -> Functions | None:
    """Load a shared library, unless the system refuses to, and return where its functions are."""
    try:
        library: Any = ctypes.CDLL(str(path))
    except OSError:
        return None
    return lambda symbol: ctypes.cast(getattr(library, symbol, 0), ctypes.c_void_p).value or 0


def sources_key() -> str:
    """Return a hash over all sources of ``kernels/jit`` and the layout of Python's objects."""
    parts = [str(object.__basicsize__), sys.byteorder]
    for source in sorted(Path(__file__).parents[1].rglob("*.py")):
        parts += [source.name, hashlib.sha256(source.read_bytes()).hexdigest()]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:20]


def file_name(target: str) -> str:
    """Return the name of the library of these sources for a level of the processor."""
    return f"{target}-{sources_key()}.so"


def target_here() -> str | None:
    """Return the level whose machine code this process can run and would make itself, if any."""
    if sys.platform != "linux" or platform.machine() != "x86_64":
        return None
    for target, (lanes, wanted) in TARGETS.items():
        if lanes == TILE.lanes and wanted <= processor.features():
            return target
    return None


@functools.cache
def path_here() -> Path | None:
    """Return the package's library for this process, if it has one."""
    chosen = [os.environ.get(name) for name in (LOADER, *NUMBA_SETTINGS)]
    chosen += [k for k in os.environ if k.startswith(SETTINGS) and k != LANES_SETTING]
    target = None if any(chosen) or not FOLDER.is_dir() else target_here()
    path = FOLDER / file_name(target) if target else None
    return path if path and path.is_file() else None


@functools.cache
def functions() -> Functions | None:
    """Return where functions of the package's library are, if it has one that can be loaded."""
    path = path_here()
    return open_library(path) if path else None
