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


@pytest.mark.skipif(os.name != "posix", reason="needs SIGKILL")
def test_kills_lose_nothing() -> None:
    assert "kills: 6 kills of " in dose("kills", 6)


@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux's limits on memory")
def test_hostile_files_raise_what_is_documented() -> None:
    said = dose("files", 150)
    assert "files: 1950 files" in said
