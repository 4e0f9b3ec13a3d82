"""Where the maxima of near-equal windows are."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from tinygrad_cnn.kernels.jit.compile.build import kernel
from tinygrad_cnn.kernels.jit.compile.entry import run
from tinygrad_cnn.kernels.jit.load.images import FLOAT32
from tinygrad_cnn.kernels.memory import empty
from tinygrad_cnn.kernels.threads import shares
from tinygrad_cnn.types import Array


@kernel(entry=True)
def _index(part: int, parts: int, x: Array, out: Array) -> None:
    """Write out (planes, od, oh, ow) of x (planes, d, h, w). Costs one read."""
    planes, od, oh, ow = out.shape
    _, d, h, w = x.shape
    for line in range(planes * od * oh * part // parts, planes * od * oh * (part + 1) // parts):
        frame, i = divmod(line, oh)
        plane, f = divmod(frame, od)
        target = out[plane, f, i]
        for j in range(ow):
            left, right = j * w // ow, ((j + 1) * w + ow - 1) // ow
            front, back = f * d // od, ((f + 1) * d + od - 1) // od
            top, bottom = i * h // oh, ((i + 1) * h + oh - 1) // oh
            place = (front * h + top) * w + left
            best, lost = x[plane, front, top, left], False
            for a in range(front, back):
                for b in range(top, bottom):
                    row, start = x[plane, a, b, left:right], (a * h + b) * w + left
                    for k in range(row.size):
                        value = row[k]
                        lost |= value != value
                        if value > best:
                            best, place = value, start + k
            if lost:  # the last NaN
                for a in range(front, back):
                    for b in range(top, bottom):
                        for k in range(left, right):
                            if x[plane, a, b, k] != x[plane, a, b, k]:
                                place = (a * h + b) * w + k
            target[j] = place


def adaptive_max_index(x: Array, size: Sequence[int]) -> Array | None:
    """As `reference.adaptive_max_index`."""
    if x.dtype != FLOAT32 or not x.size or not math.prod(size) or not 1 <= len(size) <= 3:
        return None
    ones = (1,) * (3 - len(size))
    planes = np.ascontiguousarray(x).reshape(-1, *ones, *x.shape[2:])
    out = empty((len(planes), *ones, *size), np.int64)
    run(_index, shares(x.nbytes + out.nbytes), planes, out)
    return out.reshape(*x.shape[:2], *size)
