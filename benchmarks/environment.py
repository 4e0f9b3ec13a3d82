"""What a measurement was made on, as far as a reader needs it to make one's own."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import time
from pathlib import Path
from typing import Any

import numpy as np

VECTORS = {"AVX512F": "AVX-512", "AVX2": "AVX2", "SVE": "SVE", "NEON": "NEON"}  # best first
BUSY = 0.25  # processors in use by others from which on figures are not to be trusted
DIRTY = "-dirty"  # at the end of a commit's name: files were changed since
WRITTEN = (":(exclude)benchmarks/results", ":(exclude)docs", ":(exclude)README.md")


def busy() -> float | None:
    """Return the seconds that all processors have worked, or were taken away, since the start."""
    try:
        with open("/proc/stat", encoding="ascii") as file:
            user, nice, system, _, _, irq, soft, steal, *_ = map(int, file.readline().split()[1:])
    except (OSError, ValueError):
        return None
    return (user + nice + system + irq + soft + steal) / os.sysconf("SC_CLK_TCK")


class Neighbours:
    """How many processors other programs use while this process works, from here on."""

    def __init__(self) -> None:
        self.before, self.own, self.start = busy(), time.process_time(), time.perf_counter()

    def processors(self) -> float | None:
        """Return the mean number so far; None where that cannot be told."""
        now = busy()
        if self.before is None or now is None:
            return None
        others = now - self.before - (time.process_time() - self.own)
        return max(0.0, others) / (time.perf_counter() - self.start)


def commit() -> str:
    """Return the commit that is measured, with `DIRTY` if files were changed since; "" without git.

    Results and pages, which measuring itself writes, do not count.
    """
    git = ["git", "-C", str(Path(__file__).parents[1])]
    said = []
    for command in (
        ["describe", "--always"],
        ["status", "--porcelain", "--untracked-files=no", "--", ".", *WRITTEN],
    ):
        try:
            run = subprocess.run([*git, *command], capture_output=True, text=True, check=True)
        except (OSError, subprocess.CalledProcessError):
            return ""
        said.append(run.stdout.strip())
    name, changed = said
    return name + DIRTY * bool(changed)


def is_dirty(environment: dict[str, Any]) -> bool:
    """Whether a measurement was made with changes that no commit has."""
    return bool(environment["commit"].endswith(DIRTY))


def describe() -> dict[str, Any]:
    """Return processors, vector instructions, versions, and the commit that is measured."""
    features: dict[str, bool] = getattr(np._core._multiarray_umath, "__cpu_features__", {})
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "cpus": cpus,
        "machine": platform.machine(),
        "vector": next((name for key, name in VECTORS.items() if features.get(key)), ""),
        "system": platform.system(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "commit": commit(),
        "lanes": os.environ.get("TINYGRAD_CNN_JIT_LANES"),  # of ours, if not as many as there are
    }


def sentence(environment: dict[str, Any]) -> str:
    """Return what `describe` found in words."""
    e = environment
    vector = f" ({e['vector']})" if e["vector"] else ""
    if e.get("lanes"):
        vector += f", ours with vectors of {e['lanes']} numbers"
    name = e["commit"].removesuffix(DIRTY) or "unknown"
    changed = " and changes that were not committed: to be measured again" * is_dirty(e)
    return (
        f"{e['cpus']} processors, {e['machine']}{vector}, {e['system']}, Python {e['python']}, "
        f"NumPy {e['numpy']}, commit {name}{changed}"
    )


def write(path: str | None, result: dict[str, Any]) -> None:
    """Write a result as JSON, if a path is given; what stood there before goes only then."""
    if path is None:
        return
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    fresh = target.with_name(target.name + ".new")
    fresh.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    os.replace(fresh, target)
