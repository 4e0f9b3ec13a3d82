"""Trying units on other numbers in other memory: do a unit's launches alone do what it does?"""

from __future__ import annotations

import numpy as np

from tinygrad_cnn.kernels.memory import trim_store
from tinygrad_cnn.programs.early import find_early
from tinygrad_cnn.programs.memory import LOCAL, Ref, Region, Views, room, same_bits
from tinygrad_cnn.programs.unit import Unit, bytes_at, make
from tinygrad_cnn.types import Array

LARGE = 1 << 20  # bytes of operands, for which memory is worth a call to the system

# Bytes may be anybody's numbers: NaN, of floating ones. Other integers may be used as an index.
_RUBBISH = {np.dtype(np.uint8): 255}


class Trial:
    """A unit's results on other numbers than it had, as its function computes them."""

    RUBBISH = (np.nan, -3.0)  # what no launch writes is not to be right by chance

    OTHERS = (-1.0, 0.0, 1e30)  # by which a function may go another way

    def __init__(self, unit: Unit, before: list[tuple[Ref, Array]], factor: float = 0.75) -> None:
        self.unit, self.exactly = unit, factor == 0.75
        self.given = {ref.region for ref in unit.operands()}
        self.changed = {ref.region for ref in unit.writes}
        written = {ref.region: content for ref, content in before}
        self.content: dict[Region, Array] = {}  # of what it is given, with other numbers
        for ref in unit.operands():
            if ref.region not in self.content:
                content = written.get(ref.region)  # a copy
                content = copied(bytes_at(ref.region)) if content is None else content
                self.content[ref.region] = content
                _vary(ref.view(self.content[ref.region]), factor)
        found = self.views()
        unit.call(found)
        self.right = {ref: found[ref] for ref in (*unit.results(), *unit.writes)}

    def views(self, rubbish: float | None = None) -> Views:
        """Arrays for the unit, with other numbers; ``rubbish`` is where it has yet to write."""
        memory: dict[Region, Array] = {}
        views: Views = {}
        unit = self.unit
        for ref in (*unit.operands(), *unit.work(), *unit.results()):
            region = ref.region
            if region not in memory:
                if region in self.content:
                    content = self.content[region]
                    memory[region] = copied(content) if region in self.changed else content
                elif region.kind == LOCAL:
                    memory[region] = room(region.nbytes)
                else:
                    memory[region] = copied(bytes_at(region))
            views[ref] = ref.view(memory[region])
        if rubbish is not None:
            self.spoil(views, rubbish)
        return views

    def spoil(self, views: Views, rubbish: float) -> None:
        """Put rubbish where the unit's launches may, or should, have yet to write."""
        for ref in (*self.unit.work(), *self.unit.results()):
            if ref.region.kind == LOCAL and ref.region not in self.given:
                views[ref][...] = rubbish if ref.dtype.kind in "fc" else _RUBBISH.get(ref.dtype, 0)

    def succeeds(self, rubbish: float) -> bool:
        """Whether the unit's launches alone give its results."""
        found = self.views(rubbish)
        for step in self.unit.code:
            make(step, found)
        return self.is_right(found)

    def is_right(self, found: Views) -> bool:
        """Whether the results are those of the function, bit by bit."""
        same = same_bits if self.exactly else _alike
        return all(same(right, found[ref]) for ref, right in self.right.items())


def try_out(unit: Unit, before: list[tuple[Ref, Array]], *, keeps: bool) -> None:
    """Find out whether a unit's launches alone do what its function does.

    ``before`` has the contents of what it changes in place. If the recording ``keeps`` what it
    finds, look for early launches too.
    """
    large = sum(region.nbytes for region in {ref.region for ref in unit.operands()}) > LARGE
    if large:
        trim_store(0)  # what the call no longer needs is for this
    try:
        trial = Trial(unit, before)
        if large:
            trim_store(0)
        if not all(map(trial.succeeds, trial.RUBBISH)):
            return
        if unit.of_loops:
            others = (Trial(unit, before, factor) for factor in Trial.OTHERS)
            if not all(other.succeeds(np.nan) for other in others):
                return
        unit.native = True
        if keeps:
            unit.early = find_early(trial)
    except Exception:  # whatever it is, the unit is called as usual, or all its launches are made
        return


def copied(content: Array) -> Array:
    """A copy of some bytes."""
    copy = room(content.size)
    copy[...] = content
    return copy


def _vary(array: Array, factor: float) -> None:
    """Put other numbers of the same kind into an array."""
    if array.size > 1:
        array[...] = np.roll(array, 1)
    if array.dtype.kind in "fc":
        with np.errstate(all="ignore"):
            np.multiply(array, factor, out=array, casting="same_kind")


def _alike(a: Array, b: Array) -> bool:
    """Whether numbers are the same, or both NaN."""
    return same_bits(a, b) or np.array_equal(a, b, equal_nan=a.dtype.kind in "fc")
