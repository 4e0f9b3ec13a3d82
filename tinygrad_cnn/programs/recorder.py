"""Recording a function: what it does to arrays, unit by unit.

A unit is a function of arrays that the engine hands over (`kernels.tape`): an operation's forward
pass, a derivative rule, a sum of gradients, a change in place. Its arrays are named by the memory
they lie in, so that the same can be done in other memory. Whether a unit consists of launches of
compiled kernels alone is tried out: on other numbers, in other memory, its launches have to give
what the function gives, bit by bit. If they do not, the function itself will be called again.

Whatever could make a replay differ from a call ends the recording with a `Refused`: numbers that
Python looks at, arrays of unknown origin, changes that nobody announces.
"""

from __future__ import annotations

import io
import random
import sys
import threading
import types
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from tinygrad_cnn.autograd.layout import memory_of
from tinygrad_cnn.autograd.modes import is_recording
from tinygrad_cnn.autograd.node import GraphNode, Leaf, Node, clock
from tinygrad_cnn.autograd.variable import Variable
from tinygrad_cnn.kernels import tape
from tinygrad_cnn.kernels.forks import free_in_child, in_child
from tinygrad_cnn.kernels.fp_errors import ignoring_fp_errors
from tinygrad_cnn.kernels.lazy import Lazy
from tinygrad_cnn.kernels.memory import here
from tinygrad_cnn.kernels.streams import Stream
from tinygrad_cnn.optim.optimizer import Optimizer
from tinygrad_cnn.programs import loops
from tinygrad_cnn.programs.guards import is_users
from tinygrad_cnn.programs.memory import (
    CONSTANT,
    EXTERNAL,
    INPUT,
    LOCAL,
    Address,
    LazyRef,
    Parts,
    Ref,
    Regions,
    Table,
    describe,
)
from tinygrad_cnn.programs.origins import Origins
from tinygrad_cnn.programs.trial import copied, try_out
from tinygrad_cnn.programs.unit import Count, Launch, Look, Refused, Unit, bytes_at
from tinygrad_cnn.types import Array

_PLAIN = (int, float, complex, str, tuple, type(None))
_PACKAGE = str(Path(__file__).parents[1])
_ENGINE = frozenset(
    [
        *(
            str(Path(__file__).parents[1] / "autograd" / f"{name}.py")
            for name in "backward function graph layout node op units variable".split()
        ),
        *map(str, Path(__file__).parent.glob("*.py")),
    ]
)
_lock = free_in_child(threading.Lock())
_EFFECTS = frozenset(["print", "input", "open", "exec", "eval", "setattr", "delattr"])
_CHANGES = frozenset(
    "append extend insert pop remove clear sort reverse update setdefault popitem add discard "
    "__setitem__ __delitem__".split()
)
_OUTSIDE = frozenset(["time", "random", "_random", "posix", "nt", "_io", "io", "_socket"])
_NUMPYS = (np.random.Generator, np.random.RandomState, np.random.BitGenerator)
_SOURCES = (random.Random, *_NUMPYS)


class Recorder:
    """The tape of one call. A context manager, in which this thread is recorded."""

    def __init__(
        self,
        inputs: Sequence[Array],
        externals: Sequence[Variable],
        arrays: Sequence[Array] = (),
        known: Sequence[Any] = (),
        given: Sequence[GraphNode] = (),
    ) -> None:
        self.began, self.given = clock(), set(given)  # and the nodes of arguments
        self.externals, self.arrays = externals, arrays
        self.known = {id(value) for value in known}
        found = [value for value in known if isinstance(value, _NUMPYS)]
        self.numpys = [(source, _position(source)) for source in (*found, None)]
        self.thread = threading.get_ident()
        self.units: list[Unit] = []
        self.regions = Regions()
        self.current: Unit | None = None
        self.trying = False
        self.origins, self.outside = Origins(), sys._getframe(1).f_code
        self.learns = False  # gradients are wanted
        self.reason = ""
        self.code: types.CodeType | None = None  # of the function
        self.ran: set[types.CodeType] = set()  # code of the user's
        self.line: int | None = None  # in it, where it was refused
        self.sources: list[Any] = []  # of random numbers
        self.hooks = False  # on gradients of tensors that were there before
        self.optimizers: Sequence[Optimizer] = ()
        self.options: list[Any] = []  # theirs, as they are unless the function itself changes any
        self.written: dict[int, tuple[Variable, str]] = {}
        self.dropped_at: dict[
            int, int
        ] = {}  # leaves whose gradient nobody read: after how many units
        self.leaves = [t for t in externals if type(t.node) is Leaf]
        self.before = {id(t): t._grad for t in self.leaves}
        self.announced: dict[int, tuple[Array, str]] = {}
        self.launches: list[tuple[Any, int, tuple[Any, ...]]] = []  # in what is called again
        self.tables: dict[int, tuple[Array, Sequence[tuple[Array, ...]]]] = {}  # of a unit
        self.tops: dict[int, tuple[Array, int]] = {}  # how much of work space was in use
        for array in (*(tensor._array for tensor in externals), *arrays):
            if self.regions.find(array) is None:
                self.regions.add(EXTERNAL, array, whole=True)
        for array in inputs:
            if self.regions.find(array) is None:
                self.regions.add(INPUT, array, whole=False)

    # ---- switching it on -------------------------------------------------------------------

    def __enter__(self) -> Recorder:
        _lock.acquire()
        self.plain = Variable._array, Variable._written_by
        tape.taping.append(self)  # as long as anything is replaced: a forked child puts it back
        Variable._array = property(self._read(Variable._array.fget))  # type: ignore[attr-defined,method-assign,assignment]
        Variable._written_by = self._write(Variable._written_by)  # type: ignore[method-assign,assignment]
        sys.setprofile(self._called)
        return self

    def __exit__(self, *error: object) -> None:
        if self in tape.taping:  # not in a child that was forked meanwhile, where nothing is held
            self._end()
            _lock.release()

    def _end(self) -> None:
        """Put everything back as it was."""
        if sys.getprofile() == self._called:  # that of this thread
            sys.setprofile(None)
        Variable._array, Variable._written_by = self.plain  # type: ignore[method-assign]
        tape.taping.remove(self)

    def _idle(self) -> bool:
        """Whether what runs now is no unit's, but would be recorded."""
        free = self.current is None and not self.trying and not self.reason
        return free and threading.get_ident() == self.thread

    def _running(self) -> Unit | None:
        """The unit that this thread runs, if what it does is noted."""
        unit = self.current
        noted = unit is not None and not unit.opaque and threading.get_ident() == self.thread
        return unit if noted else None

    def refuse(self, why: str) -> None:
        """Give up: the function goes on as usual."""
        if not self.reason:
            self.reason = f"{why} ({where()})"
            self.line = _line_in(self.code)

    def _read(self, read: Callable[[Variable], Array]) -> Callable[[Variable], Array]:
        def array(tensor: Variable) -> Array:
            if self._idle():
                code = sys._getframe(1).f_code
                if code.co_name == "array" or not (
                    code.co_filename in _ENGINE or code.co_name == "detach"
                ):
                    self.refuse(f"{code.co_name} looks at a tensor's numbers")
            return read(tensor)

        return array

    def _write(self, write: Callable[[Variable, str], Array]) -> Callable[[Variable, str], Array]:
        def written(tensor: Variable, by: str) -> Array:
            array = write(tensor, by)
            if self._idle():
                self.announced[id(array)] = (array, by)
                self.written[id(tensor)] = (tensor, by)
            return array

        return written

    def _called(self, frame: types.FrameType, event: str, called: Any) -> None:
        """Look at what the user's code calls: a replay would not call it."""
        if event == "call" and is_users(frame.f_code.co_filename):
            self.ran.add(frame.f_code)
        if event != "c_call" or not self._idle():
            return
        file = frame.f_code.co_filename
        if file.startswith(_PACKAGE):
            return
        owner = getattr(called, "__self__", None)
        module = getattr(called, "__module__", None)
        if is_users(file):
            if module == "builtins" and called.__name__ in _EFFECTS:
                self.refuse(f"it calls {called.__name__}()")
            elif isinstance(owner, (list, dict, set)) and id(owner) in self.known:
                if called.__name__ in _CHANGES:
                    self.refuse(f"it changes a {type(owner).__name__} by {called.__name__}()")
            elif module in _OUTSIDE or isinstance(owner, io.IOBase):
                self.refuse(f"it calls {called.__qualname__}()")
        if isinstance(owner, _SOURCES):
            self.refuse(f"it calls {called.__qualname__}()")

    # ---- what the engine tells -------------------------------------------------------------

    def unit(
        self,
        function: Callable[..., Any],
        arrays: Sequence[Any],
        params: Mapping[str, Any],
        writes: tuple[Array, ...],
    ) -> Any:
        """Return ``function(*arrays, **params)``."""
        if not self._idle():
            return ignoring_fp_errors(function, arrays, params)
        name = getattr(function, "__name__", type(function).__name__)
        if name == "ignoring_fp_errors":
            name = getattr(arrays[0], "__name__", name)
        unit = Unit(function, name)
        unit.origin = self.origins.here(self.outside, name)
        unit.args = describe(tuple(arrays), self.operand)
        unit.params = describe(dict(params), self.operand)
        self._settle(writes)
        unit.writes = tuple([self.operand(array) for array in writes])
        if self.reason:
            return ignoring_fp_errors(function, arrays, params)
        before = [(ref, copied(bytes_at(ref.region))) for ref in unit.writes]
        self.current = unit
        try:
            result = _as_arrays(ignoring_fp_errors(function, arrays, params))
            if not (unit.code or unit.writes or unit.draws):
                result = self._by_loops(unit, arrays, params, result)
            unit.out = describe(result, self._result)
            for lazy in {id(ref.lazy): ref for ref in _lazies(unit.args)}.values():
                if lazy.expr[0] != "load" and lazy.lazy.expr[0] == "load":
                    unit.beside.append((lazy, describe(lazy.lazy.expr[1], self._result)))
            for key, value in params.items():
                if type(value) is list and value:
                    unit.filled[key] = describe(value, self._result)
        except BaseException:
            self.refuse(f"{name} raised an error")  # by which the function may have gone on
            raise
        finally:
            self.current = None
            self.tables.clear()
        if _has_numbers(unit.out):
            self.refuse(f"{name} returns a number that it computes from arrays")
        elif unit.born or unit.writes or unit.results() or unit.code:
            self.units.append(unit)
            if unit.stream is not None and len(unit.code) == unit.stream.launches:
                unit.native, unit.prepared = True, unit.stream  # to try it would draw
            elif unit.code and not (unit.has_addresses or unit.draws):
                self.trying = True
                self.learns = self.learns or is_recording()
                try_out(unit, before, keeps=not self.learns)
                self.trying = False
        twins: dict[int, Lazy] = {}
        for lazy in _lazies((unit.args, unit.params, unit.out, *unit.beside, unit.filled)):
            lazy.let_go(twins)
        self.regions.loosen()
        return result

    def _by_loops(
        self, unit: Unit, arrays: Sequence[Any], params: Mapping[str, Any], result: Any
    ) -> Any:
        """The result, of launches of NumPy's loops if there are any that give it."""
        mark = self.regions.mark()
        with suppress(Exception):  # whatever it is, the unit is called
            found = loops.launched(unit.function, arrays, params)
            if unit.code and loops.same(result, found):
                unit.of_loops = True
                return found
        unit.code.clear()
        unit.born.clear()
        self.regions.forget(mark)
        return result

    def again(self, function: Callable[..., Any], args: Sequence[Any]) -> None:
        """Call ``function(*args)``, which a replay will do too, or make its launches."""
        if not self._idle():
            function(*args)
            return
        unit = Unit(function, getattr(function, "__qualname__", repr(function)))
        unit.origin = self.origins.here(self.outside, unit.name)
        unit.args, unit.opaque = tuple(args), True
        unit.gradients = self.gradients()
        self._settle(())
        self._look_at_options()
        self.current = unit
        try:
            result = function(*args)
        finally:
            launches, self.launches, self.current = self.launches, [], None
            self.options = options_of(self.optimizers)  # a replay changes them likewise
        if result is not None and len(launches) == result.launches:
            for array in result.memory:
                if self.regions.find(array) is None:
                    self.regions.add(EXTERNAL, array, whole=True)
            unit.code += [
                Launch(k, n, self._described(args, self.operand)) for k, n, args in launches
            ]
            unit.prepared = result
        self.tables.clear()
        self.units.append(unit)
        self.regions.loosen()

    def launched(self, kernel: Any, parts: int, args: tuple[Any, ...]) -> None:
        """Note a launch."""
        if self._idle():
            self.refuse(f"the kernel {kernel.__name__} runs outside of an operation")
        unit = self._running()
        if unit is None:
            if self.current is not None and threading.get_ident() == self.thread:
                self.launches.append((kernel, parts, args))
            return
        stack = here.stack
        root, top = memory_of(stack.block), stack.block.ctypes.data + stack.top
        former = self.tops.get(id(root), (root, 0))[1]
        self.tops[id(root)] = root, max(former, top)  # kept alive: an id is not used again
        unit.code.append(Launch(kernel, parts, self._described(args, self._result)))

    def _described(self, args: tuple[Any, ...], ref: Callable[[Array], Any]) -> Any:
        """The arguments of a launch, with the rows of a table in its place."""

        def of(array: Array) -> Any:
            table = self.tables.get(id(array))
            return ref(array) if table is None else Table(describe(table[1], ref))

        return describe(args, of, self._address)

    def counted(self, array: Array) -> None:
        """Note that one was added to a number."""
        if (unit := self._running()) is not None:
            unit.code.append(Count(self._result(array)))

    def placed(self, table: Array, rows: Sequence[tuple[Array, ...]]) -> None:
        """Note a table of addresses, which is made anew for arrays that lie elsewhere."""
        if self.current is not None and threading.get_ident() == self.thread:
            self.tables[id(table)] = table, rows

    def looked(self, array: Array) -> None:
        """Note the numbers that decide how it goes on."""
        if (unit := self._running()) is not None:
            unit.code.append(Look(self._result(array)))

    def made(self, array: Array) -> None:
        """Note an array that is the same every time."""
        if self._idle() and self.regions.find(array) is None:
            region = self.regions.add(CONSTANT, array, whole=True)
            region.content = bytes_at(region).copy()

    def drawn(self, source: Any, stream: Stream | None = None) -> None:
        """Random numbers have to be drawn again each time: by a unit."""
        if self._idle():
            self.refuse(f"{sys._getframe(2).f_code.co_name} draws random numbers")
        elif self.current is not None and threading.get_ident() == self.thread:
            self.current.stream = None if self.current.draws else stream  # a single one
            self.current.draws = True
            if stream is not None and self.regions.find(stream.place) is None:
                self.regions.add(EXTERNAL, stream.place, whole=True)
            if not any(source is s for s in self.sources):
                self.sources.append(source)

    def left_out(self, what: str) -> None:
        """Give up, if this thread is recorded."""
        if threading.get_ident() == self.thread:
            self.refuse(what)

    def walked(self, roots: Iterable[GraphNode], useful: set[GraphNode] | None) -> None:
        """See to it that what is walked was made by the call, or is where its graph ends."""
        if not self._idle():
            return
        if self.hooks:
            self.refuse("it walks a graph to a tensor that has hooks")
        stack = list(roots)
        seen = set(stack)
        while stack:
            node = stack.pop()
            if node in self.given or (type(node) is Node and node.time < self.began):
                self.refuse("it walks a graph that an argument, or something else, came with")
                return
            for parent in node.parents:
                if parent is None or parent in seen:
                    continue
                if useful is None or parent in useful:
                    seen.add(parent)
                    stack.append(parent)

    def more(self, inputs: Sequence[Array]) -> None:
        """Go on in this thread, with more arguments."""
        self.thread = threading.get_ident()
        for array in inputs:
            self.regions.add(INPUT, array, whole=False)

    def dropped(self, tensor: Variable) -> None:
        """Note that a gradient is about to be replaced, and whether anybody has used it before."""
        if self._idle() and self.before.get(id(tensor), self) is tensor._grad:
            self.dropped_at[id(tensor)] = len(self.units)

    # ---- arrays ----------------------------------------------------------------------------

    def _settle(self, writes: tuple[Array, ...]) -> None:
        """See to it that whoever announced a change makes it in a unit."""
        for array in writes:
            self.announced.pop(id(array), None)
        for _, by in self.announced.values():
            self.refuse(f"{by} changes a tensor in a way that is not recorded")
        self.announced.clear()

    def operand(self, array: Array) -> Any:
        """The reference of an array that somebody gets."""
        if array.dtype.kind == "V":
            self.refuse("bfloat16 is in use")
        region = self.regions.find(array)
        if region is None:
            if array.size:
                self.refuse("an operation gets an array that was computed outside of operations")
            region = self.regions.add(CONSTANT, array, whole=True)
        return self.regions.ref(array, region)

    def _address(self, number: int) -> Any:
        ref = self.regions.at(number)
        if ref is None:
            assert self.current is not None
            self.current.has_addresses = True
            return number
        return Address(ref)

    def _result(self, array: Array) -> Ref:
        region = self.regions.find(array)
        if region is None:
            assert self.current is not None
            fixed = not memory_of(array).flags.writeable  # a table that is kept
            region = self.regions.add(CONSTANT if fixed else LOCAL, array, whole=True)
            region.shared = region.root is memory_of(here.stack.block)
            if not fixed:
                self.current.born.add(region)
        return self.regions.ref(array, region)

    def gradients(self) -> list[tuple[Variable, Ref | None]]:
        """The leaves whose ``.grad`` is another object than before, or none, and where it lies."""
        found: list[tuple[Variable, Ref | None]] = []
        for leaf in self.leaves:
            gradient = leaf._grad
            dropped = gradient is None and id(leaf) in self.dropped_at
            if gradient is self.before[id(leaf)] and not dropped:
                continue
            ref = None if gradient is None else self.operand(gradient._array)
            found.append((leaf, ref))
        return found

    def check(self) -> None:
        """Check that nothing is left half recorded."""
        self._settle(())
        self._look_at_options()
        if any(_position(source) != before for source, before in self.numpys):
            self.refuse("it draws NumPy's random numbers")  # of which a profiler is not told
        if self.reason:
            raise Refused(self.reason)

    def watch_options(self, optimizers: Sequence[Optimizer]) -> None:
        """See to it that the function does not change options itself: replays read them."""
        self.optimizers, self.options = optimizers, options_of(optimizers)

    def _look_at_options(self) -> None:
        if options_of(self.optimizers) != self.options:
            self.refuse("it changes objects, an optimiser's options, which a replay would not")

    def finish(self) -> None:
        """Be the recording that a program is made of."""
        self.check()
        self.written = {
            key: (tensor, by)
            for key, (tensor, by) in self.written.items()
            if (region := self.regions.find(tensor._array)) is not None and region.kind == EXTERNAL
        }
        for region in self.regions.order:
            region.high = min(region.high, self.tops.get(id(region.root), (None, region.high))[1])


def options_of(optimizers: Sequence[Optimizer]) -> list[Any]:
    """Names and values of all options; what is no plain value by its identity."""
    return [
        (name, value if isinstance(value, _PLAIN) else id(value))
        for optimizer in optimizers
        for group in optimizer.param_groups
        for name, value in group.items()
    ]


def needs_of(recorder: Recorder) -> list[tuple[Variable, Variable | None]]:
    """The gradients on which a recording depends: that they are those that were there."""
    active = any(u.opaque for u in recorder.units) or recorder.gradients()
    needs: list[tuple[Variable, Variable | None]] = []
    for leaf in recorder.leaves:
        before = recorder.before[id(leaf)]
        region = None if before is None else recorder.regions.find(before._array)
        used = region is not None and any(
            ref.region is region for u in recorder.units for ref in (*u.operands(), *u.work())
        )
        if used or (active and id(leaf) not in recorder.dropped_at):
            needs.append((leaf, before))
    return needs


def _after_fork() -> None:
    """Nobody records in a child process, whichever thread of its parent did and was forked."""
    for recorder in tuple(tape.taping):
        if isinstance(recorder, Recorder):
            recorder.refuse("the process was forked")
            recorder._end()
        else:
            tape.taping.remove(recorder)


in_child(_after_fork)


def _line_in(code: types.CodeType | None) -> int | None:
    """The line at which a function is that is being called, the outermost call of it."""
    line, frame = None, sys._getframe(1)
    while frame is not None:
        if frame.f_code is code:
            line = frame.f_lineno
        frame = frame.f_back  # type: ignore[assignment]
    return line


def where() -> str:
    """The line of the user's that is being run."""
    frame = sys._getframe(1)
    while frame is not None and frame.f_code.co_filename.startswith(_PACKAGE):
        frame = frame.f_back  # type: ignore[assignment]
    if frame is None:
        return "at an unknown line"
    return f"{Path(frame.f_code.co_filename).name}, line {frame.f_lineno}"


def _position(source: Any) -> Any:
    """Where a source of NumPy's random numbers is; without one, that of `numpy.random`."""
    if isinstance(source, np.random.RandomState) or source is None:
        return _plain((source or np.random).get_state(legacy=False))
    return _plain(getattr(source, "bit_generator", source).state)


def _plain(state: Any) -> Any:
    if isinstance(state, dict):
        return {name: _plain(part) for name, part in state.items()}
    return state.tobytes() if isinstance(state, np.ndarray) else state


def _as_arrays(value: Any) -> Any:
    """Numbers of NumPy's, which its functions return for 0-d arrays, as these."""
    if isinstance(value, np.generic):
        return np.asarray(value)
    if type(value) is tuple:
        return tuple([_as_arrays(part) for part in value])
    return value


def _has_numbers(template: Any) -> bool:
    if isinstance(template, (float, complex, np.generic, np.ndarray)):
        return True
    if type(template) is Parts:
        return any(_has_numbers(part) for part in template.parts)
    if type(template) in (tuple, list):
        return any(_has_numbers(part) for part in template)
    return False


def _lazies(template: Any) -> Iterator[LazyRef]:
    kind = type(template)
    if kind is LazyRef:
        yield template
        template = (*template.expr, template.stats)
    elif kind is Parts:
        template = template.parts
    elif kind is dict:
        template = tuple(template.values())
    if type(template) is tuple:
        for part in template:
            yield from _lazies(part)
