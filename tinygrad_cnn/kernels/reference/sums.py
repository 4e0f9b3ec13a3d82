"""Sums whose rounding error does not grow with how many numbers there are.

NumPy adds pairwise along the axis that is innermost in memory, and one number after the other along
all others, where the error of a float32 sum grows with their count: 20 million halves add up to
16777216/2. Here axes are taken in the order of memory whatever the caller's order is; along others
than the innermost at most `SHORT` numbers are added one after the other in their own precision, and
what comes of them in float64 (of float64 numbers: again in blocks of `SHORT`). The bounds are those
of Higham 1993, "The accuracy of floating point summation", section 3; docs/accuracy.md has them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from tinygrad_cnn.kernels.reference.layout import accumulation_dtype, as_array
from tinygrad_cnn.types import Array, DType

SHORT = 128  # numbers added one after the other, as many as NumPy's pairwise sum itself has
WIDE = 1 << 10  # numbers of a row from which on NumPy adds rows at the speed of memory
SMALL = 1 << 13  # numbers that are converted to float64 faster than anything is decided
TINY, HUGE = 1e-30, 1e38  # sums of squares in float32 are trusted between them

_WIDE = np.dtype(np.float64)
_add: Any = np.add.reduce  # whose overloads want a literal `keepdims`


class Memory(NamedTuple):
    """How to see an array in the order of its memory, neighbouring axes of one kind as one.

    ``x[part].transpose(order).reshape(shape)`` is a view; its sum over the axes that are
    `reduced`, `times` times, is that of x: `finished` gives it x's order.
    """

    part: tuple[slice, ...]
    order: tuple[int, ...]
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    reduced: tuple[bool, ...]
    times: int  # each number counts, where axes are stretched by broadcasting
    kept: tuple[int, ...]  # lengths of the other axes, in `order`
    back: tuple[int, ...]  # their order in x
    lengths: tuple[int, ...]  # theirs in x, stretched ones too
    ones: tuple[int, ...]  # shape of the result with axes of length 1 in place of the reduced ones


@lru_cache(maxsize=1024)
def memory_of(shape: tuple[int, ...], strides: tuple[int, ...], axes: tuple[int, ...]) -> Memory:
    """Return how the memory of an array of numbers is best summed over `axes`.

    >>> memory_of((2, 3, 4), (48, 16, 4), (1, 2))[2:4]
    ((2, 12), (48, 4))
    """
    part = tuple(
        slice(0, 1) if s == 0 else slice(None, None, -1) if s < 0 and a in axes else slice(None)
        for a, s in enumerate(strides)
    )
    order = tuple(sorted(range(len(shape)), key=lambda a: -abs(strides[a])))
    joined: list[tuple[int, int, bool]] = []  # length, stride, reduced
    for a in order:
        n, stride, reduced = shape[a], strides[a], a in axes
        if n == 1 or stride == 0:
            continue
        stride = abs(stride) if reduced else stride
        if joined and joined[-1][1:] == (n * stride, reduced):
            n *= joined.pop()[0]
        joined.append((n, stride, reduced))
    kept = [a for a in order if a not in axes]
    return Memory(
        part, order, tuple(n for n, _, _ in joined), tuple(s for _, s, _ in joined),
        tuple(r for _, _, r in joined),
        math.prod(shape[a] for a in axes if strides[a] == 0),
        tuple(shape[a] if strides[a] else 1 for a in kept),
        tuple(kept.index(a) for a in sorted(kept)),
        tuple(shape[a] for a in sorted(kept)),
        tuple(1 if a in axes else n for a, n in enumerate(shape)),
    )  # fmt: skip


def finished(total: Array, memory: Memory, *, keepdims: bool) -> Array:
    """Return sums of a view in the order of memory as those of the array that it is of."""
    if memory.times != 1:
        total = total * memory.times
    total = total.reshape(memory.kept).transpose(memory.back)
    if total.shape != memory.lengths:
        total = np.broadcast_to(total, memory.lengths).copy()
    return total.reshape(memory.ones) if keepdims else total


def _along(x: Array, axis: int) -> Array:
    """Return x summed along one axis, whose length becomes 1; the axes behind it are not summed."""
    n, inner = x.shape[axis], math.prod(x.shape[axis + 1 :])
    if inner == 1 or n <= SHORT:  # pairwise, or short
        return np.asarray(_add(x, axis, keepdims=True))
    lead, tail = x.shape[:axis], x.shape[axis + 1 :]
    wide = min(WIDE // inner, math.isqrt(n))
    dense = x.strides[axis:] == (inner * x.itemsize, x.itemsize)
    step = wide if wide > 1 and dense else SHORT
    blocks = n // step
    here = (slice(None),) * axis
    head, rest = x[(*here, slice(blocks * step))], x[(*here, slice(blocks * step, None))]
    if step == SHORT:  # rows of a block, then blocks
        found = np.asarray(_add(head.reshape(*lead, blocks, step, *tail), axis + 1))
    else:  # rows that are several short ones, then these
        found = _along(head.reshape(*lead, blocks, step * inner), axis).reshape(*lead, step, *tail)
    total = _along(found.astype(_WIDE, copy=False), axis)
    if n % step:
        total = total + _add(rest, axis, keepdims=True, dtype=_WIDE)
    return total


def _in_memory_order(x: Array, axes: tuple[int, ...], keepdims: bool) -> Array:
    memory = memory_of(x.shape, x.strides, axes)
    total = x[memory.part].transpose(memory.order).reshape(memory.shape)
    if x.dtype == np.float16:
        total = total.astype(np.float32)
    first = True
    for axis in reversed(range(total.ndim)):
        if memory.reduced[axis]:
            total = _along(total if first else total.astype(_WIDE, copy=False), axis)
            first = False
    if memory.times != 1:
        total = total.astype(_WIDE, copy=False)
    return finished(total, memory, keepdims=keepdims)


def _total(x: Array, axes: tuple[int, ...], keepdims: bool) -> Any:
    """Return the sum over sorted `axes` in x's dtype or a wider one."""
    half = x.dtype.char == "e"
    count, shape = 1, x.shape
    for axis in axes:
        count *= shape[axis]
    if count > SHORT and x.size and (half or not _is_one_loop(x, axes)):
        return _in_memory_order(x, axes, keepdims)
    return _add(x, axes, np.float32 if half else None, None, keepdims)


def _is_one_loop(x: Array, axes: tuple[int, ...]) -> bool:
    """Return whether all that is added lies together, so that NumPy adds it pairwise."""
    flags, ndim = x.flags, x.ndim
    return ndim == axes[-1] + 1 == axes[0] + len(axes) and flags.c_contiguous and flags.aligned


def sum(
    x: Array, axes: tuple[int, ...], keepdims: bool = False, divisor: float | None = None
) -> Array:
    """Return the sum of x over `axes` (sorted, none negative), or that by `divisor`, in x's dtype.

    It is rounded to that dtype once, at the end: nothing before can overflow in float16. Integers
    and bools give int64.

    >>> sum(np.full((3,), 3e4, np.float16), (0,), divisor=3).item()
    30000.0
    >>> sum(np.ones((1 << 25, 2), np.float32), (0,))
    array([3.3554432e+07, 3.3554432e+07], dtype=float32)
    """
    dtype = x.dtype
    if dtype.kind == "c":
        return _by_parts(lambda part: sum(part, axes, keepdims, divisor), x)
    if dtype.kind != "f":
        return np.asarray(_add(x, axes, np.int64, None, keepdims))
    total = _total(x, axes, keepdims)
    if divisor is not None:
        total = total / divisor
    return as_array(total.astype(dtype, copy=False))


def sum_squares(
    x: Array, axes: tuple[int, ...], keepdims: bool = False, centred: bool = False
) -> Array:
    """Return the sum of squares over `axes`, or of what is away from the mean there, in float64.

    The mean is taken first (two-pass algorithm: Chan, Golub and LeVeque 1983, "Algorithms for
    computing the sample variance", section 1).

    >>> sum_squares(np.float32([2.0**66, -(2.0**66)]), (0,)).item() == 2.0**133
    True
    >>> sum_squares(np.array([1001, 1003], np.float32), (0,), centred=True)
    array(2.)
    """
    if x.size > SMALL:
        if x.dtype != _WIDE:
            single = x.astype(accumulation_dtype(x), copy=False)
            found = _single_squares(single, axes, keepdims, centred)
            if found is not None:
                return found
        add: Any = _total
    else:
        add = _short
    x = x.astype(_WIDE, copy=False)
    if centred:
        x = x - add(x, axes, True) / _count(x, axes)
    return as_array(add(x * x, axes, keepdims))


def _short(x: Array, axes: tuple[int, ...], keepdims: bool) -> Any:
    return _add(x, axes, None, None, keepdims)


def _count(x: Array, axes: tuple[int, ...]) -> int:
    count = 1
    for axis in axes:
        count *= x.shape[axis]
    return count


def _single_squares(
    x: Array, axes: tuple[int, ...], keepdims: bool, centred: bool
) -> Array | None:  # fmt: skip
    """Return sums of squares that were taken in float32, or None if that has too short a range."""
    centre: Any = x.dtype.type(0)
    if not centred:
        total = np.asarray(_total(np.square(x), axes, True), _WIDE)
    else:
        count = _count(x, axes)
        mean = np.asarray(_total(x, axes, True), _WIDE) / count
        centre = mean.astype(x.dtype)
        away = x - centre
        total = np.asarray(_total(np.square(away, out=away), axes, True), _WIDE)
        # As sum((x - c)**2) = sum((x - mean)**2) + n*(mean - c)**2.
        total = np.maximum(total - count * np.square(mean - centre), 0)
    flat = total == 0
    if not np.all((total > TINY) & (total < HUGE) | flat):
        return None
    if flat.any() and np.any((x != centre) & flat):
        return None
    return total if keepdims else total.reshape([n for a, n in enumerate(x.shape) if a not in axes])


def cumsum(x: Array, axis: int) -> Array:
    """Return the running sum along an axis, in x's dtype; integers and bools give int64.

    Blocks of `SHORT` numbers have running sums of their own; that of the blocks, in float64, is
    added to them.

    >>> cumsum(np.ones((3, 2), np.float32), 0)
    array([[1., 1.],
           [2., 2.],
           [3., 3.]], dtype=float32)
    """
    n, dtype = x.shape[axis], x.dtype
    if dtype.kind == "c":
        return _by_parts(lambda part: cumsum(part, axis), x)
    if dtype.kind != "f":
        return np.add.accumulate(x, axis, np.int64)
    if dtype.char == "e":
        return cumsum(x.astype(np.float32), axis).astype(dtype)
    if n <= SHORT or x.size == 0:
        return np.add.accumulate(x, axis)
    lead, tail = x.shape[:axis], x.shape[axis + 1 :]
    out = np.empty(x.shape, x.dtype)
    here: tuple[Any, ...] = (slice(None),) * axis
    blocks = n // SHORT
    head, rest = (*here, slice(blocks * SHORT)), (*here, slice(blocks * SHORT, None))
    split = (*lead, blocks, SHORT, *tail)
    found = np.add.accumulate(
        x[head].reshape(split), axis + 1, out=out[head].reshape(split)
    )  # fmt: skip
    np.add.accumulate(x[rest], axis, out=out[rest])
    ends = np.add.accumulate(found[(*here, slice(None), -1)], axis, _WIDE).astype(dtype)
    found[(*here, slice(1, None))] += ends[(*here, slice(-1), None)]
    out[rest] += ends[(*here, slice(-1, None))]
    return out


def _by_parts(function: Callable[[Array], Array], x: Array) -> Array:
    """Return what a function that adds makes of complex numbers: of both parts apart."""
    real = function(x.real)
    out = np.empty(real.shape, x.dtype)
    out.real, out.imag = real, function(x.imag)
    return out


class RunningSum:
    """The sum of many arrays of one shape, `SHORT` of them in their own precision and then on in
    float64.

    >>> total = RunningSum((2,), np.float32)
    >>> for _ in range(1000):
    ...     total.add(np.full(2, 0.5, np.float32))
    >>> total.value()
    array([500., 500.], dtype=float32)
    """

    def __init__(self, shape: Sequence[int], dtype: DType | type) -> None:
        self.some = np.zeros(shape, dtype)
        self.count = 0
        self.exact: Array | None = None

    def add(self, part: Array) -> None:
        """Add an array."""
        self.some += part
        self.count += 1
        if self.count == SHORT:
            self.exact = self.some.astype(_WIDE) if self.exact is None else self.exact + self.some
            self.some.fill(0)
            self.count = 0

    def value(self) -> Array:
        """Return the sum of all arrays, in their dtype."""
        if self.exact is None:
            return self.some
        return (self.exact + self.some).astype(self.some.dtype)
