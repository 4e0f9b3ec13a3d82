"""A small dose of every part; the whole: ``python -m tests.faults``."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def dose(part: str, count: int) -> str:
    """Run a part in a process of its own; what it said."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.faults", part, "--count", str(count)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (ROOT, *sys.path)))},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.mark.skipif(os.name != "posix", reason="needs signals and limits of processes")
@pytest.mark.parametrize(
    ("part", "kind"), [("kills", "kill"), ("interrupts", "interrupt"), ("disks", "full")]
)
def test_a_run_that_is_struck_ends_as_an_undisturbed_one(part: str, kind: str) -> None:
    assert f"{kind}: 4 of " in dose(part, 4)


@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux's limits on memory")
def test_hostile_files_raise_what_is_documented() -> None:
    said = dose("files", 150)
    assert "files: 2400 files" in said


@pytest.mark.skipif(os.name != "posix", reason="needs signals and limits of processes")
@pytest.mark.parametrize(
    ("part", "count"),
    [
        ("caches", 60),
        ("compiling", 1),
        ("threads", 3),
        ("forks", 8),
        ("readers", 60),
        ("memory", 60),
    ],
)
def test_audits_hold(part: str, count: int) -> None:
    if part in ("caches", "compiling"):
        pytest.importorskip("numba", reason="Numba is not installed: pip install numba")
    assert f"{part}: {count} " in dose(part, count)
