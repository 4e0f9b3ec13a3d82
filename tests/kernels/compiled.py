"""What tests of compiled kernels share: threads for the smallest work, other vector widths."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from tinygrad_cnn.kernels import threads
from tinygrad_cnn.kernels.jit.compile.vector import TILE, TILES

OTHER_WIDTHS = [lanes for lanes in TILES if lanes != TILE.lanes]


@contextmanager
def team(parts: int) -> Iterator[None]:
    """Share the smallest work among so many threads."""
    former = threads._chosen.team, threads.LEAST_SHARE
    threads._chosen.team, threads.LEAST_SHARE = parts, 1
    try:
        yield
    finally:
        threads._chosen.team, threads.LEAST_SHARE = former


def run_at_width(lanes: int, program: str) -> None:
    """Run a program whose kernels have vectors of so many lanes.

    Widths that this processor does not have are computed in pieces.
    """
    environment = {**os.environ, "TINYGRAD_CNN_JIT_LANES": str(lanes)}
    environment["PYTHONPATH"] = os.pathsep.join([os.path.dirname(__file__), *sys.path])
    check = (
        "from tinygrad_cnn.kernels.jit.compile.vector import TILE\n"
        f"assert TILE.lanes == {lanes}\n{program}"
    )
    done = subprocess.run(
        [sys.executable, "-c", check], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
