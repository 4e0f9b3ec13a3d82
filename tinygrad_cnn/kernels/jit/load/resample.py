"""Sums of weighted places along an axis: windows, averages and interpolation.

The axis lies between those before it, among which lines are shared, and those after it, along which
vectors run; where nothing is after it they run along the results, whose places are gathered.
"""

from __future__ import annotations

import math

import numpy as np

from tinygrad_cnn.kernels.jit.compile.build import kernel
from tinygrad_cnn.kernels.jit.compile.entry import run
from tinygrad_cnn.kernels.jit.load.images import FLOAT32, images, nchw
from tinygrad_cnn.kernels.memory import empty
from tinygrad_cnn.kernels.reference.resample import LONG
from tinygrad_cnn.kernels.threads import shares
from tinygrad_cnn.types import Array

SHORT = 4  # numbers after the axis, below which vectors run along the results
IMAGE_AXES = (0, 3, 1, 2)  # of (n, c, h, w) in (n, h, w, c)


@kernel(entry=True)
def _rows(part: int, parts: int, x: Array, index: Array, weight: Array, out: Array) -> None:
    """Write out (lead, rows, tail) of x (lead, n, tail); `index` and `weight` are (rows, terms).

    Costs one write and as many reads, mostly from the cache, as there are terms.
    """
    lead, rows, tail = out.shape
    for line in range(lead * rows * part // parts, lead * rows * (part + 1) // parts):
        block, r = divmod(line, rows)
        target, source = out[block, r], x[block]
        started = False
        for k in range(index.shape[1]):
            factor = weight[r, k]
            if factor == 0:
                continue
            row = source[index[r, k]]
            if started:
                for j in range(tail):
                    target[j] += factor * row[j]
            else:
                for j in range(tail):
                    target[j] = factor * row[j]
            started = True
        if not started:
            target[:] = 0


@kernel(entry=True)
def _gathered(part: int, parts: int, x: Array, index: Array, weight: Array, out: Array) -> None:
    """Do as `_rows` for x (lead, n, tail) of short tails; `index` and `weight` are (terms, rows).

    Costs one write of the result and, for each term, one gathered read.
    """
    lead, rows, tail = out.shape
    zero = np.float32(0)
    for block in range(lead * part // parts, lead * (part + 1) // parts):
        for j in range(tail):
            source, target = x[block, :, j], out[block, :, j]
            if index.shape[0] == 2:  # linear interpolation
                for r in range(rows):
                    one, two = weight[0, r], weight[1, r]
                    first, second = source[index[0, r]] * one, source[index[1, r]] * two
                    target[r] = (zero if one == zero else first) + (zero if two == zero else second)
                continue
            for k in range(index.shape[0]):
                places, factors = index[k], weight[k]
                if k == 0:
                    for r in range(rows):
                        value, factor = source[places[r]], factors[r]
                        product = value * factor
                        target[r] = zero if factor == zero else product
                else:
                    for r in range(rows):
                        value, factor = source[places[r]], factors[r]
                        product = value * factor
                        target[r] += zero if factor == zero else product


def resample(x: Array, index: Array, weight: Array, dim: int) -> Array | None:
    """As `reference.resample`, for sums that are not long; an x that is not dense is copied."""
    rows, terms = index.shape
    if x.dtype != FLOAT32 or x.size == 0 or not 1 <= terms <= LONG or not rows:
        return None
    image = None if x.flags.c_contiguous else images(x)
    if image is not None:
        x, dim = image, IMAGE_AXES[dim]
    shape = (*x.shape[:dim], rows, *x.shape[dim + 1 :])
    lead, tail = math.prod(x.shape[:dim]), math.prod(x.shape[dim + 1 :])
    source = np.ascontiguousarray(x).reshape(lead, x.shape[dim], tail)
    out = empty((lead, rows, tail), FLOAT32)
    factors, places = weight.astype(np.float32), index.astype(np.uint64)
    parts = shares(x.nbytes + out.nbytes)
    if tail < SHORT:
        places, factors = np.ascontiguousarray(places.T), np.ascontiguousarray(factors.T)
        run(_gathered, parts, source, places, factors, out)
    else:
        run(_rows, parts, source, places, factors, out)
    found = out.reshape(shape)
    return found if image is None else nchw(found)
