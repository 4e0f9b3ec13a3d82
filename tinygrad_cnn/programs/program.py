"""What a recording becomes: instructions for machine code, and the Python that stays between them.

All arrays of a program that nobody else sees lie in one arena: a region has its place there from
the first unit that uses it to the last. `Instance` is a program with memory of its own; what runs
on several threads at once has one for each.
"""

from __future__ import annotations

import functools
import time
import weakref
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeAlias

import numpy as np

from tinygrad_cnn.autograd.events import is_watched, observe, watching
from tinygrad_cnn.autograd.node import Node
from tinygrad_cnn.autograd.registry import REGISTRY
from tinygrad_cnn.autograd.variable import Variable, wrap, writings
from tinygrad_cnn.kernels.fp_errors import ignoring_fp_errors
from tinygrad_cnn.kernels.memory import ALIGNMENT, Lease, aligned, stored_bytes, trim_store
from tinygrad_cnn.programs.early import accepted
from tinygrad_cnn.programs.epilogues import join
from tinygrad_cnn.programs.memory import (
    CONSTANT,
    EXTERNAL,
    INPUT,
    LOCAL,
    Diverged,
    LazyRef,
    Parts,
    Ref,
    Region,
    Views,
    build,
)
from tinygrad_cnn.programs.recorder import Recorder
from tinygrad_cnn.programs.trial import LARGE
from tinygrad_cnn.programs.unit import Count, Launch, Look, Refused, Unit
from tinygrad_cnn.types import Array

Word: TypeAlias = tuple[int, int, int, int]  # an instruction


class Program:
    """The units of a recording, and where their arrays lie.

    Attributes
    ----------
    inputs, given
        The arguments' arrays, in order; and how many of them there are when the first half runs,
        as the others are gradients.
    gradients
        Tensors, and what ``.grad`` each has afterwards: a reference, or None.
    place, dropped
        The number of each unit; and of the last one before a gradient is dropped, by its tensor.
    touched
        The number of the first unit that changes what is seen outside.
    written
        Tensors that are changed in place, and by what.
    early, stamps
        Units with launches that are made when the tensors of ``stamps`` were changed.
    arena_bytes, kept_bytes
        Memory of an instance, and how much of it is gradients, which the caller may hold on to.
    usual_bytes
        The most that the call had at a time when it was recorded.
    split, edges
        How many units are the first half (`halves`), by default all; and how many gradients the
        second half hands out.
    is_plain
        Whether a run is one call into machine code, which reads arguments and writes results, and
        changes nothing else.
    regions, changed
        Where arrays lie; and those that were there before and that the first half changes.
    """

    def __init__(
        self,
        recorder: Recorder,
        inputs: Sequence[Ref],
        gradients: Sequence[tuple[Variable, Ref | None]],
        results: Sequence[Ref],
        split: int | None = None,
        later: Sequence[Ref] = (),
        found: Sequence[Ref | None] = (),
    ) -> None:
        regions = recorder.regions
        half = len(recorder.units) if split is None else split
        before, after = (
            [u for u in part if u.opaque or not _is_view(u)]
            for part in (recorder.units[:half], recorder.units[half:])
        )
        first, self.checks = _checks_first(before)
        self.split, self.edges = len(first), len(found)
        self.units = _with_handouts(first, after, found)
        for ref in (ref for unit in self.units for ref in unit.writes):
            ref.region.written = True
        self.early, self.stamps = accepted(self.units, recorder.externals, recorder.arrays)
        join(self.units, self.early, len(self.units) if split is None else self.split)
        self.inputs, self.given = [*inputs, *later], len(inputs)
        self.gradients = list(gradients)
        self.written = list(recorder.written.values())
        for ref in (g for _, g in gradients if g is not None):
            ref.region.kept = True
        self.place = {unit: number for number, unit in enumerate(self.units)}
        touching = (n for n, unit in enumerate(self.units) if _touches(unit))
        self.touched = next(touching, len(self.units))
        self.dropped = {
            leaf: max([self.place.get(u, 0) for u in recorder.units[:count]], default=-1)
            for leaf, count in recorder.dropped_at.items()
        }
        for number, unit in enumerate(self.units):
            for ref in (*unit.operands(), *unit.work(), *unit.results(), *_seen(unit)):
                _use(ref.region, number)
                ref.region.floats |= ref.dtype.kind == "f"
        self.results = list(results)
        for ref in results:
            _use(ref.region, len(self.units) if split is None else self.split - 1)
        self.begun: dict[Region, int] = {}  # when gradients are written to
        for leaf, gradient in self.gradients:
            if gradient is not None:
                region = gradient.region
                self.begun.setdefault(region, region.first)
                _use(region, len(self.units))
                if self.dropped.get(id(leaf), -1) >= 0:  # an error gives back that of the last run
                    region.first = 0
        for unit in self.early:
            if unit.early is not None and unit.early.is_whole:
                for region in unit.born:
                    region.first, region.last = 0, len(self.units)
        local = [r for r in regions.order if r.kind == LOCAL and r.last >= 0]
        self.arena_bytes = _place(local)
        self.kept = [r for r in local if r.kept]
        self.kept_bytes = sum(r.nbytes for r in self.kept)
        self.constants = [r for r in regions.order if r.kind == CONSTANT and r.written]
        self.usual_bytes = regions.peak
        others = (self.checks, self.gradients, self.written, self.constants)
        self.is_plain = (
            split is None
            and bool(self.units)
            and not any(others)
            and all(unit.native and unit.prepared is None for unit in self.units)
            and all(map(_is_dense, (*inputs, *results)))
        )
        self.regions = regions.order
        changed = dict.fromkeys(r for u in first for r in u.writes if r.region.kind == EXTERNAL)
        self.changed = [r.array for r in changed if r.array is not None and split is not None]
        regions.let_go()


class Handout(Unit):
    """Gives the gradient of an edge away, as soon as nothing adds to it any more."""

    def __init__(self, given: Ref, edge: int) -> None:
        super().__init__(np.copy, "hand out")
        self.args = Parts(tuple, (given,))
        self.given, self.edge = given, edge

    @property
    def is_python(self) -> bool:
        """It is none of the function's."""
        return False


def _with_handouts(first: list[Unit], rest: list[Unit], found: Sequence[Ref | None]) -> list[Unit]:
    """All units, with those among the ``rest`` that hand out what was ``found``."""
    last: dict[Region, int] = {}
    for number, unit in enumerate(rest):
        for ref in (*unit.operands(), *unit.work(), *unit.results()):
            last[ref.region] = number
    after: dict[int, list[Unit]] = {}
    for edge, given in enumerate(found):
        if given is not None:
            at = last.get(given.region, len(rest) - 1)
            after.setdefault(at, []).append(Handout(given, edge))
    units = list(first) if rest else [*first, *after.get(-1, ())]
    for number, unit in enumerate(rest):
        units += [unit, *after.get(number, ())]
    return units


def inputs_of(recorder: Recorder, arrays: Sequence[Array]) -> list[Ref]:
    """Where arguments lie. They have memory of their own, as those of later calls may.

    Raises
    ------
    Refused
        They have not, or one of them is changed.
    """
    refs = [recorder.operand(array) for array in arrays]
    external = [r for r in recorder.regions.order if r.kind == EXTERNAL]
    end = 0
    for region in sorted((ref.region for ref in refs), key=lambda r: r.low):
        others = any(r.low < region.high and region.low < r.high for r in external)
        if region.kind != INPUT or others:
            raise Refused("an argument is reached in another way too")
        if region.low < end and region.nbytes:
            raise Refused("arguments share memory")
        end = max(end, region.high)
    for unit in recorder.units:
        if any(ref.region.kind == INPUT for ref in unit.writes):
            raise Refused(f"{unit.name} changes an argument in place")
    return refs


def _touches(unit: Unit) -> bool:
    """Whether a unit changes what is seen outside, or from where random numbers come."""
    outside = any(ref.region.kind == EXTERNAL for ref in unit.writes)
    return outside or unit.opaque or unit.draws or unit.prepared is not None


def _is_view(unit: Unit) -> bool:
    """Whether a unit computes nothing: its results are views of what it got, or lazy.

    A check returns what it got too, but has to be made again.
    """
    if unit.born or unit.writes or unit.code or unit.draws or unit.beside:
        return False
    lazy = unit.out.parts[0] if type(unit.out) is Parts and unit.out.parts else unit.out
    if type(lazy) is LazyRef and lazy.expr[0] != "load":
        return True
    return unit.function is np.ascontiguousarray or unit.function in _views()


@functools.cache
def _views() -> frozenset[Any]:
    return frozenset([op.forward for op in REGISTRY.values() if op.view])


def _checks_first(units: list[Unit]) -> tuple[list[Unit], int]:
    """The units in another order, and how many come first: what Python computes of arguments alone.

    If it fails there, or turns out otherwise than before, nothing has been changed yet.
    """
    known: set[Region] = set()
    first, rest = [], []
    for unit in units:
        pure = not (unit.native or unit.opaque or unit.writes or unit.draws or unit.code)
        if pure and all(r.region.kind == INPUT or r.region in known for r in unit.operands()):
            known |= unit.born
            first.append(unit)
        else:
            rest.append(unit)
            known.difference_update(ref.region for ref in unit.writes)  # not as they were
    return first + rest, len(first)


def _seen(unit: Unit) -> list[Ref]:
    """Gradients that a call looks at."""
    return [ref for _, ref in unit.gradients if ref is not None]


def _use(region: Region, number: int) -> None:
    if region.first < 0:
        region.first = number
    region.last = max(region.last, number)


def _place(regions: list[Region]) -> int:
    """Give each region its offset in one arena, and return the arena's size.

    The largest first, or work space last, whichever takes less; each as low as no region lies that
    is in use at the same time. No work space lies where integers were: as floats these are
    subnormal numbers, with which a kernel computes many times slower in lanes that nobody reads.
    """
    by_size = sorted(regions, key=lambda r: (-r.nbytes, r.index))
    orders = [by_size, sorted(by_size, key=lambda r: r.is_work)]
    return _place_in(min(orders, key=_place_in))


def _is_dense(ref: Ref) -> bool:
    """Whether an array's numbers lie together, in whatever order."""
    nbytes = ref.dtype.itemsize
    for stride, length in sorted(zip(ref.strides, ref.shape, strict=True)):
        if length != 1 and stride != nbytes:
            return False
        nbytes *= length
    return bool(nbytes > 0)


def _place_in(order: list[Region]) -> int:
    placed: list[Region] = []
    size = 0
    for region in order:
        lead = at = _lead(region)
        for other in sorted(placed, key=lambda r: r.offset):
            mixed = (region.is_work and not other.floats) or (other.is_work and not region.floats)
            if not mixed and (other.last < region.first or region.last < other.first):
                continue
            if at + _padded(region) <= other.offset:
                break
            at = max(at, other.offset + _padded(other) + lead)
        region.offset = at
        placed.append(region)
        size = max(size, at + _padded(region))
    return size + ALIGNMENT  # kernels read whole vectors, a little beyond the end


def _padded(region: Region) -> int:
    return region.nbytes + -(_lead(region) + region.nbytes) % ALIGNMENT


def _lead(region: Region) -> int:
    # the arrays in a work space begin on cache lines, and the space itself anywhere
    return region.low % ALIGNMENT if region.is_work else 0


class Instance:
    """A program with memory."""

    def __init__(self, program: Program) -> None:
        self.program = program
        if program.arena_bytes > LARGE:  # instead of what the usual call had
            trim_store(max(0, stored_bytes() - program.arena_bytes))
        self.arena = aligned(program.arena_bytes)
        self.memory: dict[Region, Array] = {}
        self.places = {r: slice(r.offset, r.offset + _padded(r)) for r in program.kept}
        self.views: Views = {}
        self.inputs = [self._view(ref) for ref in program.inputs]
        self.given_to = self.inputs[: program.given]
        self.lease: Callable[[], Lease | None] = lambda: None
        self.lent: Array | None = None
        self.tensors: dict[Ref, Variable] = {}
        self.given: list[tuple[Variable, Variable | None, Ref | None]] = []
        self.former: list[tuple[Variable, Ref | None]] = []  # what was taken back
        self.now = -1  # the number of the unit that is called
        self.constants = [(self._memory(r), r.content) for r in program.constants]
        self.blocks: list[Any] = []
        self.spans: list[Array] = []  # what early launches write
        self.stamp: Any = None  # when they were made
        self.looked = -1  # how often anything had been written when that was last compared
        self.steps: list[tuple[Unit | None, int, int]] = []
        self.owners: list[Unit | None] = []
        self.half = 0  # the number of the first step of the second half
        words: list[Word] = []
        self.plain: tuple[int, int] | None = None  # the instructions of a run, if it is plain
        results = [self._view(ref) for ref in program.results] if program.is_plain else []
        self.new = list(map(_maker, results))
        slots = np.zeros(len(self.inputs) + len(results), np.int64)
        self.slots = slots.data  # addresses of array objects: a plain run's
        late: dict[Unit, list[Word]] = {}
        for unit in program.early:
            soon, late[unit] = self._early(unit)
            self.owners += [unit] * len(soon)
            words += soon
        self.early = len(words)
        if program.is_plain:
            words += _transfers(self.inputs, slots)
            self.owners += [None] * len(self.inputs)
        for number, unit in enumerate(program.units):
            if number == program.split:
                self.half = len(self.steps)
            first = len(words)
            if unit.prepared is not None or not unit.native:
                views = self._views_of(unit)
                words += self._words(unit.code, views) if unit.prepared is not None else ()
                self.owners += [unit] * (len(words) - first)
                self.steps.append((unit, first, len(words)))
                continue
            words += late[unit] if unit in late else self._words(unit.code, self._views_of(unit))
            self.owners += [unit] * (len(words) - first)
            if self.steps[self.half :] and self.steps[-1][0] is None:
                first = self.steps.pop()[1]
            self.steps.append((None, first, len(words)))
        if program.is_plain:
            words += _transfers(results, slots[len(self.inputs) :], back=True)
            self.owners += [None] * len(results)
            self.plain = (self.early, len(words))
        if words:
            from tinygrad_cnn.kernels.jit.threads.pool import replay

            self.replay = replay
        self.table = np.array(words, np.int64)  # (instructions, INSTRUCTION_WORDS)
        self.address = self.table.ctypes.data
        self.ends = self._ends()
        self.seconds: dict[Unit, float] = {}
        steps = self.steps[program.checks :]
        self.whole = steps[0][1:] if len(steps) == 1 and steps[0][0] is None else None

    # ---- memory ----------------------------------------------------------------------------

    def _memory(self, region: Region) -> Array:
        """The memory of a region that does not stay where it was."""
        if region not in self.memory:
            if region.kind == LOCAL:
                self.memory[region] = self.arena[region.offset : region.offset + _padded(region)]
            else:
                self.memory[region] = aligned(region.nbytes + ALIGNMENT)
        return self.memory[region]

    def _view(self, ref: Ref) -> Array:
        if ref not in self.views:
            if ref.region.is_fixed:
                assert ref.array is not None
                self.views[ref] = ref.array
            else:
                self.views[ref] = ref.view(self._memory(ref.region))
        return self.views[ref]

    def made(self, template: Any) -> Variable:
        """A result (`results.New`), which has memory of its own."""
        return around(self._view(template.ref).copy(order="K"), template)

    def _gradient(self, ref: Ref) -> Variable:
        """The tensor around an array, one and the same in a run."""
        if ref not in self.tensors:
            place = self.places.get(ref.region)
            if place is None:
                array = self._view(ref)
            else:
                assert self.lent is not None
                array = ref.view(self.lent[place])
            self.tensors[ref] = wrap(array)
        return self.tensors[ref]

    def _views_of(self, unit: Unit) -> Views:
        """All views, with those of a unit among them."""
        for ref in (*unit.operands(), *unit.work(), *unit.results()):
            self._view(ref)
        return self.views

    def release(self) -> bool:
        """Take back the gradients of the last run; return whether nobody else holds any."""
        self.former = [(t, ref) for t, gradient, ref in self.given if t._grad is gradient]
        self.given = []
        for tensor, _ in self.former:
            tensor._grad = None
        return self.lease() is None

    def _lend(self) -> None:
        """Get ready to hand out gradients: arrays whose memory is the lease's."""
        lease = Lease()
        lease.note = self.arena
        self.lease = weakref.ref(lease)
        self.lent = lease.array(self.arena.shape, self.arena.dtype, self.arena.ctypes.data)

    # ---- instructions ----------------------------------------------------------------------

    def _words(self, code: Sequence[Launch | Count | Look], views: Views) -> list[Word]:
        # here, since who has no compiled kernels has no instructions either
        from tinygrad_cnn.kernels.jit.threads.pool_words import COUNT, EXPECT, LAUNCH

        words: list[Word] = []
        for step in code:
            if isinstance(step, Launch):
                memo: dict[int, Any] = {}
                args = build(step.args, views, memo)
                block = np.frombuffer(step.launch.block_of(step.parts, *args), np.uint8).copy()
                self.blocks.append((block, args, memo))
                words.append((LAUNCH, block.ctypes.data, 0, 0))
            elif isinstance(step, Count):
                words.append((COUNT, views[step.at].ctypes.data, 0, 0))
            else:
                at = views[step.at]
                words.append((EXPECT, at.ctypes.data, step.expected.ctypes.data, at.nbytes))
        return words

    def _early(self, unit: Unit) -> tuple[list[Word], list[Word]]:
        """The instructions of a unit's early launches, and the others."""
        early = unit.early
        assert early is not None
        memory = early.memory()
        self.spans += memory.values()
        own, others = early.views(self._views_of(unit), memory)
        soon = [step for number, step in enumerate(unit.code) if number in early.steps]
        late = [step for number, step in enumerate(unit.code) if number not in early.steps]
        return self._words(soon, own), self._words(late, others)

    def _ends(self) -> list[int]:
        """For each instruction, the number of the first that is not its unit's."""
        ends = [0] * len(self.owners)
        for at in range(len(ends) - 1, -1, -1):
            same = at + 1 < len(ends) and self.owners[at + 1] is self.owners[at]
            ends[at] = ends[at + 1] if same else at + 1
        return ends

    # ---- running ---------------------------------------------------------------------------

    def check(self, given: Sequence[Array]) -> None:
        """Take the arrays ``given``, and do what comes first: so far nobody sees a change."""
        for to, array in zip(self.given_to, given, strict=True):
            to[...] = array
        if self.program.checks:
            ignoring_fp_errors(self._follow, (self.steps[: self.program.checks], False), {})

    def run_plainly(self, given: Sequence[Array]) -> list[Array]:
        """Run what is plain, with arrays laid out as when it was recorded; return the results."""
        assert self.plain is not None
        results = [new() for new in self.new]
        slots, slot = self.slots, 0
        for array in (*given, *results):
            slots[slot] = id(array)
            slot += 1
        self._begin()
        first, last = self.plain
        at = self.replay(self.address, first, last)
        if at < last:
            ignoring_fp_errors(self._turn, (at, last, False), {})
        return results

    def prepare(self) -> None:
        """Have constants as they were, and tell of what will be changed."""
        for memory, content in self.constants:
            assert content is not None
            memory[: content.nbytes] = content
        for tensor, by in self.program.written:
            tensor.storage.written(by)
            tensor._saved = None

    def run(self, timed: bool = False) -> None:
        """Do the rest of what was recorded."""
        if self.places:
            self._lend()
        self.prepare()
        try:
            self._begin()
            if self.whole is None or watching:
                ignoring_fp_errors(self._follow, (self.steps[self.program.checks :], timed), {})
            else:
                at = self.replay(self.address, *self.whole)
                if at < self.whole[1]:
                    ignoring_fp_errors(self._turn, (at, self.whole[1], timed), {})
            for tensor, ref in self.program.gradients:
                gradient = None if ref is None else self._gradient(ref)
                self.given.append((tensor, gradient, ref))
                tensor._grad = gradient
        except BaseException:
            self._give_back()
            raise
        finally:
            self.lent, self.tensors = None, {}

    @property
    def is_untouched(self) -> bool:
        """Whether a unit that failed did so before anything was changed that is seen outside."""
        return self.now < self.program.touched

    def _begin(self) -> None:
        """Make the early launches, if what they read was changed since."""
        if self.early and self.looked != writings.count:
            stamps = self.program.stamps
            self.looked, looked = -1, writings.count
            stamp = stamps.now()
            if stamp != self.stamp:
                self.stamp = None
                self.replay(self.address, 0, self.early)
                self.stamp = stamp if stamps.are_told(stamp) else None
            if self.stamp is not None:
                self.looked = looked

    def _give_back(self) -> None:
        """After an error: what a usual call would not have dropped yet, and is still there."""
        for tensor, ref in self.former:
            after = self.program.dropped.get(id(tensor), -1) >= self.now
            if after and ref is not None and self.program.begun[ref.region] > self.now:
                tensor._grad = self._gradient(ref)

    def _follow(self, steps: Sequence[tuple[Unit | None, int, int]], timed: bool) -> None:
        if watching and is_watched():
            self._follow_watched(steps, timed)
            return
        for step in steps:
            self._follow_one(step, timed)

    def _follow_one(self, step: tuple[Unit | None, int, int], timed: bool) -> None:
        unit, at, end = step
        if unit is None:
            if (at := self.replay(self.address, at, end)) < end:
                self._turn(at, end, timed)
        elif unit.prepared is None or not unit.prepared.ready():
            self._call(unit, timed)
        else:
            with unit.prepared.lock:
                at = self.replay(self.address, at, end)
            assert at == end  # it looks at no numbers

    def _follow_watched(self, steps: Sequence[tuple[Unit | None, int, int]], timed: bool) -> None:
        """Do as `_follow`, unit by unit, and tell who watches."""
        for step in steps:
            unit, at, end = step
            if unit is not None:
                _tell(unit, partial(self._follow_one, step, timed))
                continue
            while at < end:
                unit, stop = self.owners[at], min(self.ends[at], end)
                assert unit is not None
                _tell(unit, partial(self._follow_one, (None, at, stop), timed))
                at = stop

    def _turn(self, at: int, end: int, timed: bool) -> None:
        """Go on where a unit has to go another way with these numbers."""
        while at < end:
            unit = self.owners[at]
            assert unit is not None  # who looks at numbers is one
            self._call(unit, timed)
            at = self.replay(self.address, self.ends[at], end)

    def _call(self, unit: Unit, timed: bool) -> None:
        self.now = self.program.place[unit]
        start = time.perf_counter() if timed else 0.0
        if unit.opaque:
            for tensor, ref in unit.gradients:
                tensor._grad = None if ref is None else self._gradient(ref)
            unit.function(*unit.args)
        else:
            try:
                unit.call(self.views)
            except Diverged:
                raise Diverged(unit.name) from None
        if timed:
            spent = time.perf_counter() - start
            self.seconds[unit] = self.seconds.get(unit, 0.0) + spent
        if unit.then is not None:
            self._call(unit.then, timed)


def _maker(like: Array) -> Callable[[], Array]:
    """What makes arrays laid out like one."""
    if like.flags.c_contiguous:
        return partial(np.empty, like.shape, like.dtype)
    return partial(np.empty_like, like)


def _transfers(arrays: Sequence[Array], slots: Array, *, back: bool = False) -> list[Word]:
    """Instructions to fetch arguments, or to deliver results, of array objects in ``slots``."""
    from tinygrad_cnn.kernels.jit.threads.pool_words import DELIVER, FETCH

    kind, at = DELIVER if back else FETCH, slots.ctypes.data
    return [(kind, a.ctypes.data, at + slots.itemsize * n, a.nbytes) for n, a in enumerate(arrays)]


def around(array: Array, template: Any) -> Variable:
    """A result (`results.New`) whose memory this is."""
    out = wrap(array)
    if template.op is not None:
        out.node = Node(template.op, (), (), (), {}, {})
        out.node.saved = None  # the graph was walked
    return out


class _Told:
    """What a unit does, for those who watch."""

    def __init__(self, unit: Unit, do: Callable[[], None]) -> None:
        self.unit, self.do = unit, do

    def __call__(self) -> None:
        self.do()


def _tell(unit: Unit, do: Callable[[], None]) -> None:
    observe("launch", unit.origin.name or unit.name, _Told(unit, do), (), {})
