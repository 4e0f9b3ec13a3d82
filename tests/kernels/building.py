"""Kernels of a test's own, and the folder where their machine code is kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

SOURCE = """
from typing import NamedTuple
from tinygrad_cnn.kernels.jit.compile.build import kernel

class Line(NamedTuple):
    slope: int
    offsets: object

class Points(NamedTuple):
    x: object
    line: Line
    range: tuple

@kernel(entry=True)
def add_line(part, parts, points, out):
    for i in range(points.range[0] + part, points.range[1], parts):
        out[i] += points.line.slope * points.x[i] + points.line.offsets[i]

FACTOR = 2

@kernel(inline=True)
def doubled(value):
    return value * FACTOR

@kernel(entry=True)
def add_doubles(part, parts, x, out):
    for i in range(x.size * part // parts, x.size * (part + 1) // parts):
        out[i] += doubled(x[i])
"""


def works(kernel: Any) -> None:
    """Check the kernel's result."""
    from tinygrad_cnn.kernels.jit.compile import entry  # here: it needs LLVM

    out = np.ones(7, np.float32)
    entry.run(kernel, 3, np.arange(7, dtype=np.float32), out)
    np.testing.assert_array_equal(out, 1 + 2 * np.arange(7))


def files(cache: Path, suffix: str = "") -> list[Path]:
    """What is kept there."""
    there = cache.rglob(f"*{suffix}")
    return [path for path in there if path.is_file() and path.suffix != ".lock"]
