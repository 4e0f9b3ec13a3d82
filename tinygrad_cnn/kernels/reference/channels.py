"""Arrays (n, c, ...) as a matrix whose columns have a channel each, and what needs only that.

With channels last in memory several pixels share one row; with channels first a row is one image.
Either way a number per channel becomes one row vector (`Channels.spread`), a pass over the array
has long inner loops, and a column sum folds to channels (`Channels.fold`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeVar

import numpy as np

from tinygrad_cnn.kernels import threads
from tinygrad_cnn.kernels.checks import check_channels
from tinygrad_cnn.kernels.memory import Take, empty, scratch
from tinygrad_cnn.kernels.reference.layout import BLOCK_BYTES, accumulation_dtype, as_nhwc
from tinygrad_cnn.kernels.reference.sums import SHORT, sum
from tinygrad_cnn.types import Array, DType

R = TypeVar("R")

LONG_ROW = (
    8192  # numbers: from here on NumPy adds a row to a matrix as fast as a matrix to a matrix
)


@lru_cache
def _repeat(pixels: int, c: int) -> int:
    """Return how many pixels to put in a row: a divisor, if possible one that makes a long row but
    not a huge one.
    """
    least = -(-LONG_ROW // max(c, 1))
    longer = (k for k in range(least, min(4 * least, pixels) + 1) if pixels % k == 0)
    shorter = (k for k in range(min(least, pixels), 1, -1) if pixels % k == 0)
    return next(longer, next(shorter, 1))


@dataclass(frozen=True)
class Channels:
    """A matrix (rows, width) of an array's numbers; the channel depends on the column only."""

    matrix: Array
    c: int
    repeat: int  # columns are (repeat, c): channels last; 0: they are (c, pixels)
    shape: tuple[int, ...]

    @classmethod
    def of(cls, x: Array, dtype: DType, *, keep_order: bool = False) -> Channels:
        """View x (n, c, ...) so, after copying it if it is neither dense nor of `dtype`.

        Images are put channels last, unless `keep_order` and they are channels first and dense
        already.
        """
        c = x.shape[1]
        if x.ndim == 4 and not (keep_order and x.flags.c_contiguous):
            dense = as_nhwc(x, dtype)
        elif x.ndim == 2 or (x.ndim == 4 and x.shape[2] == x.shape[3] == 1):
            dense = np.ascontiguousarray(x, dtype)
        else:
            matrix = np.ascontiguousarray(x, dtype).reshape(x.shape[0], -1 if x.size else 0)
            return cls(matrix, c, 0, x.shape)
        repeat = _repeat(dense.size // max(c, 1), c)
        return cls(dense.reshape(-1 if dense.size else 0, repeat * c), c, repeat, x.shape)

    @property
    def count(self) -> int:
        """How many numbers each channel has."""
        return self.matrix.size // max(self.c, 1)

    def spread(self, value: Array) -> Array:
        """Return one number per channel (c,) as a row (width,) of the matrix' dtype."""
        row = value.astype(self.matrix.dtype, copy=False)
        if self.repeat:
            return np.tile(row, self.repeat)
        return np.repeat(row, self.matrix.shape[1] // max(self.c, 1))

    def fold(self, row: Array) -> Array:
        """Sum a row (width,) to one number per channel (c,), in float64."""
        if self.repeat:
            return np.asarray(row.reshape(self.repeat, self.c).sum(0, dtype=np.float64))
        return np.asarray(row.reshape(self.c, -1 if self.c else 0).sum(1, dtype=np.float64))

    def sums(self, parts: Callable[[slice, Take], Sequence[Array]]) -> list[Array]:
        """Return sums per channel (c,) of matrices that `parts` makes, in scratch memory, of each
        block of rows.

        At most `SHORT` rows of a block are added in their own precision, then all is float64.
        """
        width, dtype = self.matrix.shape[1], self.matrix.dtype

        def column_sums(part: Array, ones: Array) -> Array:
            if len(part) <= SHORT:
                return np.asarray(ones @ part)  # BLAS: twice as fast as np.sum
            return sum(part, (0,))

        def work(share: Sequence[slice]) -> list[Array]:
            rows: list[list[Array]] = []
            for block in share:
                with scratch() as take:
                    found = parts(block, take)
                    ones = np.ones(block.stop - block.start, dtype)
                    rows.append([column_sums(part, ones) for part in found])
            return [
                self.fold(np.add.reduce(column, axis=0, dtype=np.float64))
                for column in zip(*rows, strict=True)
            ]

        if width == 0 or len(self.matrix) == 0:
            with scratch() as take:
                return [np.zeros(self.c) for _ in parts(slice(0, 0), take)]
        shares = self.split(work)
        return [np.asarray(np.add.reduce(column)) for column in zip(*shares, strict=True)]

    def split(self, work: Callable[[Sequence[slice]], R]) -> list[R]:
        """Call `work` with ranges of rows that stay in cache, some for each thread."""
        rows, width = self.matrix.shape
        tasks = blocks(rows, width, self.matrix.itemsize)
        return threads.split(tasks, work, 2 * self.matrix.nbytes)

    def empty(self) -> Array:
        """Return an uninitialised matrix for a result of the same shape and order."""
        return empty(self.matrix.shape, self.matrix.dtype)

    def restore(self, matrix: Array, dtype: DType) -> Array:
        """Return a result matrix as an array of the original shape (n, c, ...)."""
        result = matrix.astype(dtype, copy=False)
        if len(self.shape) == 4 and self.repeat:
            n, c, h, w = self.shape
            return result.reshape(n, h, w, c).transpose(0, 3, 1, 2)
        return result.reshape(self.shape)


def blocks(rows: int, width: int, itemsize: int) -> list[slice]:
    """Return ranges of a matrix' rows that stay in cache, as many for each thread.

    With several threads they are larger: every NumPy call gives up and takes back the
    interpreter's lock, and waking a thread that waits for it takes longer than a pass over a block
    that fits the cache well.
    """
    if width * rows == 0:
        return []
    team = threads.count()
    budget = BLOCK_BYTES if team == 1 else 4 * BLOCK_BYTES
    parts = -(-rows * width * itemsize // budget)
    step = max(1, rows // min(rows, parts + -parts % team))
    return [slice(start, min(rows, start + step)) for start in range(0, rows, step)]


def affine(channels: Channels, scale: Array, shift: Array) -> Array:
    """Return the matrix of ``x*scale + shift`` with one scale and shift per channel."""
    y = channels.empty()
    scales, shifts = channels.spread(scale), channels.spread(shift)

    def work(share: Sequence[slice]) -> None:
        for block in share:
            target = y[block]
            np.multiply(channels.matrix[block], scales, out=target)
            target += shifts

    channels.split(work)
    return y


def channel_affine(x: Array, scale: Array, shift: Array, *, relu: bool = False) -> Array:
    """Return ``x*scale + shift`` for x (n, c, ...), scale and shift (c,): batch normalisation in
    evaluation. With `relu`, 0 where that is negative.

    >>> channel_affine(np.ones((1, 2)), np.array([2.0, 3.0]), np.array([0.5, 0.0]))
    array([[2.5, 3. ]])
    """
    check_channels("channel_affine", x.shape, scale=scale.shape, shift=shift.shape)
    channels = Channels.of(x, accumulation_dtype(x))
    y = channels.restore(affine(channels, scale, shift), x.dtype)
    return np.maximum(y, 0, out=y) if relu else y
