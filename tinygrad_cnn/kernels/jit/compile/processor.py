"""Which processor this is: what the cache's key and the width of vectors need to know of it.

LLVM can tell, but importing it costs a tenth of a second and tens of megabytes, and a process whose
kernels are on disk needs nothing else of it. Linux tells as well, in ``/proc/cpuinfo``, with the
names that LLVM uses for vector instructions; what LLVM compiles for follows from what stands there.
Elsewhere LLVM is asked.
"""

from __future__ import annotations

import functools
import platform
import sys
from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")
# Lines that say which processor it is; others change while it runs.
LINES = ("vendor_id", "cpu family", "model", "model name", "stepping", "flags")


@functools.cache
def _described() -> dict[str, str] | None:
    """Return what Linux says of the first processor, or None where it does not."""
    if sys.platform != "linux" or platform.machine() != "x86_64":
        return None
    text = b""
    try:
        with CPUINFO.open("rb", buffering=0) as file:
            while b"\n\n" not in text:  # a machine may have hundreds of them
                more = file.read(4096)
                if not more:
                    break
                text += more
    except OSError:
        return None
    pairs = (line.partition(":") for line in text.decode("ascii", "replace").splitlines())
    found: dict[str, str] = {}
    for name, _, value in pairs:
        found.setdefault(name.strip(), value.strip())
    return {name: found[name] for name in LINES} if all(map(found.get, LINES)) else None


@functools.cache
def identity() -> str:
    """Return what decides which machine code LLVM makes for this processor."""
    found = _described()
    if found:
        return "\n".join(found.values())
    import llvmlite.binding as llvm

    return f"{llvm.get_host_cpu_name()}\n{llvm.get_host_cpu_features().flatten()}"


@functools.cache
def features() -> frozenset[str]:
    """Return the names of the processor's abilities (``avx2``, ``fma``, ...)."""
    found = _described()
    if found:
        return frozenset(found["flags"].split())
    import llvmlite.binding as llvm

    return frozenset(name for name, there in llvm.get_host_cpu_features().items() if there)
