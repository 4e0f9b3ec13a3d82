"""Where arrays of a recording lie: regions of memory, and templates that name places in them."""

from __future__ import annotations

import ctypes
import mmap
import weakref
from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.lib.array_utils import byte_bounds

from tinygrad_cnn.autograd.layout import memory_of
from tinygrad_cnn.autograd.node import Saved
from tinygrad_cnn.autograd.variable import Variable, wrap
from tinygrad_cnn.kernels.lazy import Lazy
from tinygrad_cnn.kernels.memory import ALIGNMENT, SMALLEST_STORED, aligned, table_of
from tinygrad_cnn.types import Array

INPUT, EXTERNAL, CONSTANT, LOCAL = "input", "external", "constant", "local"


class Diverged(Exception):
    """A function does something else with these numbers than it did when it was recorded."""


class TooLate(RuntimeError):
    """A replay turned out to be something else than the call after it had changed memory."""

    def __init__(self, unit: str) -> None:
        super().__init__(
            f"compile: with these numbers {unit} gives something of another kind than when it "
            f"was recorded (another shape, say), and memory has been changed meanwhile; call "
            f"the function without compile()"
        )


class Region:
    """Memory that arrays share.

    ``kind`` is `INPUT` (an argument's), `EXTERNAL` (of tensors that were there before: they stay
    where they are), `CONSTANT` (made by the function, the same each time) or `LOCAL` (computed).
    ``root`` is an array that keeps the memory alive, until the recorder lets go of it (`loosen`);
    ``low`` and ``high`` are addresses.
    """

    __slots__ = (
        "alive", "content", "first", "floats", "high", "index", "kept", "kind", "last", "low",
        "offset", "root", "shared", "stays", "written",
    )  # fmt: skip

    def __init__(self, kind: str, root: Array, low: int, high: int) -> None:
        self.kind, self.low, self.high = kind, low, high
        self.root: Array | None = root
        self.alive: Callable[[], Array | None] = weakref.ref(root)
        self.content: Array | None = None  # of a constant
        self.written = False  # by a unit that did not make it
        self.shared = False  # work space, of several arrays
        self.stays = False  # it depends on nothing but what was there before
        self.kept = False  # the user may hold on to it
        self.floats = False  # there are some in it
        self.first = self.last = -1  # units that use it
        self.offset = self.index = 0

    @property
    def is_fixed(self) -> bool:
        """Whether it stays where it was recorded."""
        return self.kind == EXTERNAL or (self.kind == CONSTANT and not self.written)

    @property
    def is_work(self) -> bool:
        """Whether kernels have it as work space, of one unit or of several."""
        return self.shared or self.first == self.last

    @property
    def nbytes(self) -> int:
        """How large it is."""
        return self.high - self.low


class Ref:
    """An array of the recording: how it lies in its region, and, while it is recorded, itself."""

    __slots__ = ("array", "at", "dtype", "is_address", "region", "shape", "strides")

    def __init__(self, array: Array, region: Region) -> None:
        self.array: Array | None = array
        self.region = region
        self.is_address = False  # of memory whose end nobody knows
        self.shape, self.dtype, self.strides = array.shape, array.dtype, array.strides
        self.at: int = array.__array_interface__["data"][0] - region.low

    def view(self, memory: Array, start: int = 0) -> Array:
        """An array in ``memory``, the region from ``start`` on, as this one lies there."""
        if 0 in self.shape:
            return np.empty(self.shape, self.dtype)
        return np.ndarray(self.shape, self.dtype, memory, self.at - start, self.strides)


Views: TypeAlias = "dict[Ref, Array]"
"""Arrays that stand for those of the recording."""


class LazyRef:
    """A `Lazy`, as it was before a function got it, or as one returned it."""

    __slots__ = ("expr", "lazy", "stats")

    def __init__(self, lazy: Lazy, expr: tuple[Any, ...], stats: Any) -> None:
        self.lazy, self.expr, self.stats = lazy, expr, stats

    def let_go(self, twins: dict[int, Lazy]) -> None:
        """Have a lazy one without arrays in the place of the one that was recorded."""
        like = self.lazy
        if id(like) not in twins:
            twin = twins[id(like)] = Lazy((), like)
            twin.shape, twin.size, twin.names = like.shape, like.size, like.names
        self.lazy = twins[id(like)]


class TensorRef(NamedTuple):
    """A tensor around an array."""

    array: Any


class Address(NamedTuple):
    """Where an array lies, as a number."""

    ref: Ref


class Table(NamedTuple):
    """The table of arrays' addresses (`kernels.memory.table_of`) that a launch gets."""

    rows: Any


class Parts(NamedTuple):
    """A list, tuple, named tuple or dictionary with arrays in it."""

    make: Callable[[list[Any]], Any]
    parts: tuple[Any, ...]


TEMPLATES = (Address, Ref, LazyRef, TensorRef, Table, Parts)
ADDRESSES = 1 << 32  # numbers from here on are addresses, among a launch's arguments


def _gone() -> None:
    """The array of a region when nothing is recorded any more."""


class Regions:
    """All memory that a recording has met, by the arrays that own it."""

    def __init__(self) -> None:
        self.by_root: dict[int, list[Region]] = {}
        self.order: list[Region] = []
        self.refs: dict[int, tuple[weakref.ref[Array], Ref]] = {}
        self.held: list[Ref | Region] = []  # while a unit is recorded
        self.used = self.peak = 0  # bytes of what was computed
        self.fixed: list[Ref] = []

    def add(self, kind: str, array: Array, *, whole: bool) -> Region:
        """The region around an array's owner, or, if not ``whole``, around the array alone."""
        root = memory_of(array)
        region = Region(kind, root, *byte_bounds(root if whole else array))
        region.index = len(self.order)
        known = self.by_root.get(id(root), [])
        self.by_root[id(root)] = [*(r for r in known if r.alive() is root), region]
        self.order.append(region)
        self.held.append(region)
        if kind == LOCAL:
            self._count(region.nbytes)
            region.alive = weakref.ref(root, lambda _: self._count(-region.nbytes))
        return region

    def _count(self, nbytes: int) -> None:
        self.used += nbytes
        self.peak = max(self.peak, self.used)

    def ref(self, array: Array, region: Region) -> Ref:
        """The reference of an array, which is kept alive until `loosen`."""
        found = self.refs.get(id(array))
        if found is None or found[0]() is not array:
            found = weakref.ref(array), Ref(array, region)
            self.refs[id(array)] = found
        found[1].array = array
        self.held.append(found[1])
        return found[1]

    def at(self, address: int) -> Ref | None:
        """A reference of the byte at an address, if it is in known memory."""
        for region in self.order:
            if region.low <= address < region.high and region.alive() is not None:
                found = Ref(bytes_of(address, 1), region)
                found.is_address = True
                self.held.append(found)
                return found
        return None

    def loosen(self) -> None:
        """Let go of arrays whose memory is the recording's own, as the function does."""
        for held in self.held:
            if isinstance(held, Region):
                if held.kind == LOCAL and not held.shared:
                    held.root = None
            elif held.region.is_fixed:
                self.fixed.append(held)
            else:
                held.array = None
        self.held.clear()

    def mark(self) -> tuple[int, int]:
        """What there is, for `forget`."""
        return len(self.order), len(self.held)

    def forget(self, mark: tuple[int, int]) -> None:
        """Forget the regions that were added since, which nothing uses."""
        gone = self.order[mark[0] :]
        del self.order[mark[0] :], self.held[mark[1] :]
        for root, known in tuple(self.by_root.items()):
            self.by_root[root] = [region for region in known if region not in gone]
        self.refs = {at: found for at, found in self.refs.items() if found[1].region not in gone}

    def let_go(self) -> None:
        """Let go of all arrays but those that stay where they are."""
        self.loosen()
        for ref in self.fixed:
            if not ref.region.is_fixed:
                ref.array = None
        for region in self.order:
            region.alive = _gone
            if not region.is_fixed:
                region.root = None
        self.refs.clear()
        self.by_root.clear()
        self.fixed.clear()

    def find(self, array: Array) -> Region | None:
        """The region that an array lies in, if it is known."""
        root = memory_of(array)
        known = [r for r in self.by_root.get(id(root), ()) if r.alive() is root]
        if len(known) == 1 and known[0].kind != INPUT:
            return known[0]
        low, high = byte_bounds(array)
        for region in known:
            if region.low <= low and high <= region.high:
                return region
        return None


def room(nbytes: int) -> Array:
    """New memory, which goes back to the system: a recording is no larger than a usual call."""
    if nbytes < SMALLEST_STORED:
        return aligned(nbytes)
    return np.frombuffer(mmap.mmap(-1, nbytes + ALIGNMENT), np.uint8, nbytes)


def bytes_of(address: int, count: int) -> Array:
    """So many bytes of memory."""
    raw: Any = (ctypes.c_uint8 * count).from_address(address)
    found: Array = np.frombuffer(raw, np.uint8)
    return found


def describe(value: Any, ref: Callable[[Array], Any], at: Callable[[int], Any] = int) -> Any:
    """A template of a value: with references for its arrays, or itself if it has none.

    ``at`` is called with numbers so large that they are addresses.
    """
    kind = type(value)
    if isinstance(value, np.ndarray):
        return ref(value)
    if kind is int:
        return value if value < ADDRESSES else at(value)
    if kind is Lazy:
        expr = tuple([describe(part, ref) for part in value.expr])
        return LazyRef(value, expr, describe(value.stats, ref))
    if isinstance(value, Variable):
        return TensorRef(describe(value._value, ref))
    if kind is Saved:
        parts = [describe(value.out, ref), describe(value.residuals, ref)]
        return Parts(lambda made: Saved(made[0], **made[1]), tuple(parts))
    if isinstance(value, (list, tuple)):
        parts = [describe(part, ref, at) for part in value]
        if kind is not list and not any(isinstance(part, TEMPLATES) for part in parts):
            return value  # a list may be filled by who gets it
        if isinstance(value, tuple) and kind is not tuple:
            return Parts(lambda made: kind(*made), tuple(parts))
        return Parts(kind, tuple(parts))
    if isinstance(value, dict):
        keys = tuple(value)
        parts = [describe(part, ref) for part in value.values()]
        if not any(isinstance(part, TEMPLATES) for part in parts):
            return value
        return Parts(lambda made: dict(zip(keys, made, strict=True)), tuple(parts))
    return value


def build(template: Any, views: Views, memo: dict[int, Any]) -> Any:
    """The value of a template, with arrays of ``views``.

    ``memo`` has the lazy ones by those of the recording: one for each; and the rows of tables,
    which live as long as it does.
    """
    kind = type(template)
    if kind is Ref:
        return views[template]
    if kind is Address:
        return views[template.ref].ctypes.data
    if kind is Parts:
        return template.make([build(part, views, memo) for part in template.parts])
    if kind is LazyRef:
        like = template.lazy
        if id(like) not in memo:
            lazy = Lazy(tuple([build(part, views, memo) for part in template.expr]), like)
            lazy.shape, lazy.size, lazy.names = like.shape, like.size, like.names
            memo[id(like)] = lazy
            if template.stats is not None:
                lazy.stats = build(template.stats, views, memo)
        return memo[id(like)]
    if kind is TensorRef:
        return wrap(build(template.array, views, memo))
    if kind is Table:
        table = table_of(rows := build(template.rows, views, memo))
        memo[id(table)] = rows, table
        return table
    return template


def refs_of(template: Any) -> list[Ref]:
    """All references in a template."""
    kind = type(template)
    if kind is Ref:
        return [template]
    if kind is Address:
        return [template.ref]
    if kind is Parts:
        return [ref for part in template.parts for ref in refs_of(part)]
    if kind is LazyRef:
        return [ref for part in (*template.expr, template.stats) for ref in refs_of(part)]
    if kind is TensorRef:
        return refs_of(template.array)
    if kind is Table:
        return refs_of(template.rows)
    return []


def put(template: Any, found: Any, views: Views, born: frozenset[Region]) -> None:
    """Write what a function returned now to where it lay when it was recorded.

    Only regions ``born`` then are written to: other results are views of what it was given.

    Raises
    ------
    Diverged
        The result is of another kind now.
    """
    kind = type(template)
    if kind is Ref:
        if type(found) is Lazy:
            found = found.realize()
        if not isinstance(found, (np.ndarray, np.generic)) or found.shape != template.shape:
            raise Diverged
        if found.dtype != template.dtype:
            raise Diverged
        if template.region in born:
            np.copyto(views[template], found)
        elif not (np.may_share_memory(found, views[template]) or same_bits(found, views[template])):
            raise Diverged  # it was a view of what the function was given
    elif kind is LazyRef:
        if type(found) is not Lazy:
            put(template.expr[1], found, views, born)  # it is a load
            return
        if template.expr[0] == "load" != found.expr[0]:
            put(template.expr[1], found.realize(), views, born)
            return
        for part, now in zip(template.expr, found.expr, strict=True):
            put(part, now, views, born)
        if template.stats is not None:
            put(template.stats, found.stats, views, born)
    elif kind is TensorRef:
        put(template.array, found._value, views, born)
    elif kind is Parts:
        if found is None:
            raise Diverged
        for part, now in zip(template.parts, _parts_of(found), strict=True):
            put(part, now, views, born)
    elif template is not found and (found is None or template is None or template != found):
        raise Diverged


def same_bits(a: Array | np.generic, b: Array) -> bool:
    """Whether two arrays of one shape have the same numbers, bit by bit."""
    return a.tobytes() == b.tobytes()


def _parts_of(value: Any) -> Any:
    if type(value) is Saved:
        return value.out, value.residuals
    return value.values() if isinstance(value, dict) else value
