"""Launches whose results stay the same until somebody changes a model's parameters.

Where nothing is trained, filters are transformed for every batch, for nothing. A launch that reads
only tensors that were there before, and what such launches wrote, is early: a program makes it when
it first runs, and again when one of these tensors was changed. What it writes gets memory of its
own. Nobody knows which of its arguments a kernel writes, so this is tried out, as everything is:
with the early launches made once, in memory of their own, all others have to give what the function
gives, whatever lay in the rest of the memory.
"""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Sequence
from operator import attrgetter
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.lib.array_utils import byte_bounds

from tinygrad_cnn.autograd.layout import memory_of
from tinygrad_cnn.autograd.variable import Storage, Variable
from tinygrad_cnn.kernels.memory import ALIGNMENT, SMALLEST_STORED, aligned
from tinygrad_cnn.programs.memory import EXTERNAL, LOCAL, Ref, Region, Views, room
from tinygrad_cnn.programs.unit import Launch, Unit, make
from tinygrad_cnn.types import Array

if TYPE_CHECKING:
    from tinygrad_cnn.programs.trial import Trial


_WRITINGS = attrgetter("exposed", "version", "settled")


class Span(NamedTuple):
    """A piece of a region, in bytes from its beginning."""

    region: Region
    low: int
    high: int

    def meets(self, other: Span) -> bool:
        """Whether they have a byte in common."""
        return self.region is other.region and self.low < other.high and other.low < self.high

    def holds(self, other: Span) -> bool:
        """Whether it has all of the other one."""
        return self.region is other.region and self.low <= other.low and other.high <= self.high


class Early:
    """The early launches of a unit.

    Attributes
    ----------
    steps
        Their numbers in the unit's code.
    reads
        Regions of what the unit was given, among their arguments.
    own, others
        By the arrays of the early launches, and of all others: the span in whose memory they lie.
    """

    def __init__(self, unit: Unit, steps: set[int], reads: set[Region]) -> None:
        self.steps, self.reads = steps, reads
        results = {ref.region for ref in unit.results()}
        self.is_whole = len(steps) == len(unit.code) and not unit.writes
        mine = [ref for n in steps for ref in _rooms(unit, n)]
        if self.is_whole:  # what others use stays where it is
            mine = [ref for ref in mine if ref.region not in results]
        spans = _joined([_span(ref) for ref in mine])
        self.own = {ref: s for ref in mine for s in spans if s.meets(_span(ref))}
        left = [ref for n in range(len(unit.code)) if n not in steps for ref in _rooms(unit, n)]
        self.others = {ref: s for ref in left for s in spans if s.holds(_span(ref))}

    @property
    def spans(self) -> list[Span]:
        """What gets memory of its own."""
        return list(dict.fromkeys(self.own.values()))

    def memory(self) -> dict[Span, Array]:
        """New memory, with room for the vectors at its end."""
        return {span: aligned(span.high - span.low + ALIGNMENT) for span in self.spans}

    def views(self, plain: Views, memory: dict[Span, Array]) -> tuple[Views, Views]:
        """Arrays of the early launches and of all others, where not those of ``plain``."""
        own, others = (
            {ref: ref.view(memory[span], span.low) for ref, span in part.items()}
            for part in (self.own, self.others)
        )
        return ChainMap(own, plain), ChainMap(others, plain)  # type: ignore[return-value]


def find_early(trial: Trial) -> Early | None:
    """The early launches of a unit that consists of launches, if there are any."""
    unit = trial.unit
    if any(ref.is_address for ref in unit.work()):  # nobody knows how much memory is there
        return None
    steps: set[int] = set()
    reads: set[Region] = set()
    busy: list[Span] = []
    written = {ref.region for ref in unit.writes}
    for number, step in enumerate(unit.code):
        rooms = _rooms(unit, number)
        given = {ref.region for ref in step.refs()} - {ref.region for ref in rooms}
        spans = [_span(ref) for ref in rooms]
        stays = all((r.is_fixed or r.stays) and r not in written for r in given)
        if isinstance(step, Launch) and stays and not any(s.meets(b) for s in spans for b in busy):
            steps.add(number)
            reads |= {r for r in given if r.kind in (EXTERNAL, LOCAL)}
        else:
            busy += spans
    if not steps:
        return None
    early = Early(unit, steps, reads)
    right = None
    while right is None:
        right = _is_right(trial, early)
    if not right:
        return None
    if early.is_whole:
        for region in unit.born:
            region.stays = True
    return early


def _is_right(trial: Trial, early: Early) -> bool | None:
    """Try it out; what others write, they write where they did before: if that was not known, it
    is from now on, and None says that it is to be tried again.
    """
    unit = trial.unit
    memory, guards = _guarded(early.spans)
    for rubbish in trial.RUBBISH:
        found = trial.views(rubbish)
        own, others = early.views(found, memory)
        for ref in early.own:
            own[ref][...] = found[ref]  # rubbish too
        for number in sorted(early.steps):
            make(unit.code[number], own)
        if not early.is_whole:
            trial.spoil(found, -2.0)
        before = {span: array.copy() for span, array in memory.items()}
        for number, step in enumerate(unit.code):
            if number not in early.steps:
                make(step, others)
        if any(guard.any() for guard in guards):
            return False
        changed = {s for s, array in memory.items() if not np.array_equal(array, before[s])}
        if changed:
            early.others = {ref: s for ref, s in early.others.items() if s not in changed}
            return None
        if not trial.is_right(found):
            return False
        del found, own, others, before
    return True


def _guarded(spans: list[Span]) -> tuple[dict[Span, Array], list[Array]]:
    """Memory for the spans, and what lies before and after each.

    A kernel that gets the first number of an array knows by itself where the others are: how far it
    goes is seen there.
    """
    memory: dict[Span, Array] = {}
    guards: list[Array] = []
    for span in spans:
        count, beside = span.high - span.low, span.region.nbytes + ALIGNMENT
        beside += -beside % ALIGNMENT
        whole = room(beside + count + beside)
        guards += [whole[:beside], whole[beside + count :]]
        if count + 2 * beside < SMALLEST_STORED:
            whole[...] = 0
        memory[span] = whole[beside : beside + count]
    return memory, guards


def _rooms(unit: Unit, number: int) -> list[Ref]:
    """The arrays of a step that lie in memory which the unit has to itself."""
    given = {ref.region for ref in unit.operands()}
    refs = unit.code[number].refs()
    return [ref for ref in refs if ref.region.kind == LOCAL and ref.region not in given]


def _span(ref: Ref) -> Span:
    """Where an array lies: all of its region, unless others have work space there."""
    if not ref.region.shared:
        return Span(ref.region, 0, ref.region.nbytes)
    assert ref.array is not None  # while it is recorded
    low, high = byte_bounds(ref.array)
    return Span(ref.region, low - ref.region.low, high - ref.region.low)


def _joined(spans: list[Span]) -> list[Span]:
    """The spans, those that overlap as one."""
    joined: list[Span] = []
    for span in sorted(spans, key=lambda s: (s.region.index, s.low)):
        if joined and joined[-1].meets(span):
            last = joined.pop()
            span = Span(last.region, last.low, max(last.high, span.high))
        joined.append(span)
    return joined


# ---- in a program --------------------------------------------------------------------------


class Stamps:
    """Whether tensors were written to since."""

    def __init__(self, storages: Sequence[Storage]) -> None:
        self.storages = storages

    def now(self) -> list[tuple[bool, int, int]]:
        """Whether somebody may write to each without telling, and how often it was written to."""
        return list(map(_WRITINGS, self.storages))

    @staticmethod
    def are_told(stamp: list[tuple[bool, int, int]]) -> bool:
        """Whether an equal stamp will say that nothing was changed."""
        return not any(exposed for exposed, _, _ in stamp)


def accepted(
    units: Sequence[Unit], tensors: Sequence[Variable], arrays: Sequence[Array]
) -> tuple[list[Unit], Stamps]:
    """The units whose early launches a program makes early, and what they depend on."""
    if any(unit.opaque for unit in units):  # it may change anything
        return [], Stamps([])
    others = {id(memory_of(array)) for array in arrays}
    owners: dict[int, list[Storage]] = {}
    for tensor in tensors:
        storage = tensor.storage
        root = storage if storage.memory is None else storage.memory
        owners.setdefault(id(memory_of(tensor._array)), []).append(root)
    good: set[Region] = set()
    found: list[Unit] = []
    storages: dict[int, Storage] = {}
    for unit in units:
        early = unit.early
        if early is None or any(not _stays(r, good, owners, others) for r in early.reads):
            continue
        found.append(unit)
        for region in early.reads:
            storages |= {id(s): s for s in owners.get(id(region.root), ())}
        if early.is_whole:
            good |= {r for r in unit.born if not r.written}
    return found, Stamps(list(storages.values()))


def _stays(
    region: Region, good: set[Region], owners: dict[int, list[Storage]], others: set[int]
) -> bool:
    if region.kind == LOCAL:
        return region in good
    root = id(region.root)
    known = owners.get(root, ())
    return (
        bool(known)
        and root not in others
        and not region.written
        and not any(storage.exposed for storage in known)
    )
