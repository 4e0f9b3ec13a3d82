"""A program in two halves: a forward pass, and the backward pass that may follow."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.lib.array_utils import byte_bounds

from tinygrad_cnn.kernels.fp_errors import ignoring_fp_errors
from tinygrad_cnn.kernels.memory import empty
from tinygrad_cnn.programs.memory import CONSTANT, LOCAL, Region, bytes_of
from tinygrad_cnn.programs.program import Handout, Instance, Program
from tinygrad_cnn.programs.unit import Unit
from tinygrad_cnn.types import Array


class Halves(Instance):
    """A program with memory, whose second half runs later, or never, or several times."""

    def __init__(self, program: Program) -> None:
        super().__init__(program)
        self.found: list[Array | None] = []
        self.before = [(array, array.copy()) for array in program.changed]
        local, others = _spoilt(program)
        self.spoilt = [self.arena[low:high] for low, high in local]
        self.spoilt += [self._memory(region) for region in others]

    def forward(self, timed: bool) -> None:
        """Do the first half, once `check` has been called with its arrays."""
        for array, copy in self.before:
            np.copyto(copy, array)
        self.prepare()
        self._begin()
        steps = self.steps[self.program.checks : self.half]
        ignoring_fp_errors(self._follow, (steps, timed), {})

    def undo(self) -> None:
        """Have what the first half has changed outside as it was before."""
        for array, copy in self.before:
            np.copyto(array, copy)

    def backward(self, given: Sequence[Array], keeps: bool, timed: bool) -> list[Array | None]:
        """Do the second half with gradients of the results; return those of the edges.

        If it ``keeps`` what the first half left, the second can be done again.

        Raises
        ------
        Diverged
            It would do something else with these numbers.
        """
        former = [part.copy() for part in self.spoilt] if keeps else []
        for to, array in zip(self.inputs[self.program.given :], given, strict=True):
            np.copyto(to, array)
        self.found = [None] * self.program.edges
        try:
            ignoring_fp_errors(self._follow, (self.steps[self.half :], timed), {})
        finally:
            for part, content in zip(self.spoilt, former, strict=False):
                part[...] = content
            found, self.found = self.found, []
        return found

    def _call(self, unit: Unit, timed: bool) -> None:
        if isinstance(unit, Handout):
            self.found[unit.edge] = own(self._view(unit.given))
        else:
            super()._call(unit, timed)


def own(array: Array, exactly: bool = False) -> Array:
    """A copy in memory of its own, which lies there as the array does.

    If not ``exactly``, without large gaps.
    """
    if array.flags.c_contiguous:
        out = empty(array.shape, array.dtype)
        np.copyto(out, array)
        return out
    low, high = byte_bounds(array)
    if high - low > 2 * array.nbytes and not exactly:
        return array.copy(order="K")
    room = empty((high - low,), np.uint8)
    room[...] = bytes_of(low, high - low)
    start = array.__array_interface__["data"][0] - low
    out = np.ndarray(array.shape, array.dtype, room, start, array.strides)
    if any(s == 0 and n > 1 for s, n in zip(array.strides, array.shape, strict=True)):
        out.flags.writeable = False  # one number stands for many
    return out


def _spoilt(program: Program) -> tuple[list[tuple[int, int]], list[Region]]:
    """What the second half overwrites of what the first one left: places, and other regions."""
    split = program.split
    regions = program.regions
    kept = [r for r in regions if r.kind == LOCAL and r.nbytes and r.first < split <= r.last]
    late = [r for r in regions if r.kind == LOCAL and r.nbytes and r.last >= split]
    written = {ref.region for unit in program.units[split:] for ref in unit.writes}
    spoilt = [
        (r.offset, r.offset + r.nbytes)
        for r in kept
        if r in written
        or any(
            s.first > r.last and s.offset < r.offset + r.nbytes and r.offset < s.offset + s.nbytes
            for s in late
        )
    ]
    others = [r for r in regions if r.kind == CONSTANT and r.written and r.last >= split]
    return spoilt, others
