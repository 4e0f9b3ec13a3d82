"""`compile`: a function that is recorded when it is first called, and replayed from then on."""

from __future__ import annotations

import functools
import itertools
import sys
import threading
import types
import warnings
from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import numpy as np

from tinygrad_cnn.autograd.events import is_watched, watching
from tinygrad_cnn.autograd.modes import is_recording
from tinygrad_cnn.autograd.rounding import fast
from tinygrad_cnn.autograd.variable import Variable
from tinygrad_cnn.errors import DtypeError
from tinygrad_cnn.kernels import memory
from tinygrad_cnn.kernels.forks import free_in_child
from tinygrad_cnn.kernels.tape import taping
from tinygrad_cnn.nn.module.core import Module
from tinygrad_cnn.programs.cuts import Source, Uncut, source_of, unwrapped
from tinygrad_cnn.programs.guards import State, Unreadable, may_read_anything, reach
from tinygrad_cnn.programs.last_call import LastCall, is_simple
from tinygrad_cnn.programs.memory import Diverged, Ref, TooLate
from tinygrad_cnn.programs.plan import Plan, modes, unusual
from tinygrad_cnn.programs.program import Instance, Program, around, inputs_of
from tinygrad_cnn.programs.recorder import Recorder, needs_of
from tinygrad_cnn.programs.replayed import MOST_WAYS, Pair
from tinygrad_cnn.programs.results import Description, New, result_of
from tinygrad_cnn.programs.training import FirstCall, Waiting
from tinygrad_cnn.programs.unit import Refused
from tinygrad_cnn.types import Array

MOST_PROGRAMS = 16
MOST_INSTANCES = 8
MOST_MISSES = 3
MOST_RECORDINGS = 4
MOST_WASTED = 12
_numbers = itertools.count()
"""Signatures that a function keeps; instances of a program that wait to be used again; how many
times in a row an optimiser's step may be another than the recorded one before all is recorded anew;
programs of one signature, which differ in the gradients that they find; and recordings that may be
made without being replayed."""


class Recording:
    """A program, what it returns, and the gradients that it expects to find."""

    def __init__(
        self,
        program: Program,
        result: Any,
        needs: list[tuple[Variable, Variable | None]],
    ) -> None:
        self.program, self.result, self.needs = program, result, needs
        self.prepared = [u.prepared for u in program.units if u.prepared is not None]
        self.free: list[Instance] = [Instance(program)]
        self.replays = 0

    def is_current(self) -> bool:
        """Whether what it has prepared is still of use."""
        return all(prepared.misses < MOST_MISSES for prepared in self.prepared)

    def fits(self) -> bool:
        """Whether the gradients that it adds to are those that were there."""
        if not self.needs and not self.prepared:
            return True
        return all(tensor._grad is grad for tensor, grad in self.needs) and self.is_current()

    def replay(self, leaves: Sequence[Any], arrays: list[Array], args: Any, kwargs: Any) -> Any:
        """Run it, and return what the function would.

        Raises
        ------
        Diverged
            The function would do something else with these numbers; nothing was changed.
        TooLate
            It would, but this was found out when memory had been changed.
        """
        try:
            instance = self.free.pop()
        except IndexError:
            instance = Instance(self.program)
        plain = instance.plain is not None and not watching
        if not plain:
            instance.check(arrays)
            if not instance.release():
                instance = Instance(self.program)
                instance.check(arrays)
        try:
            if plain:
                found = instance.run_plainly(arrays)
                self.replays += 1
                if type(self.result) is New:
                    return around(found[0], self.result)
                made = iter(found)
                return result_of(self.result, leaves, lambda new: around(next(made), new))
            instance.run(timed=self.replays == 1)
            self.replays += 1
            return result_of(self.result, leaves, instance.made)
        except Diverged as unit:
            if instance.is_untouched:
                raise
            raise TooLate(str(unit)) from None
        finally:
            if len(self.free) < MOST_INSTANCES:
                self.free.append(instance)

    def remarks(self) -> list[str]:
        """What else there is to tell."""
        return []

    def instance(self) -> Instance | None:
        """One of its instances."""
        return self.free[0] if self.free else None

    def seconds(self) -> dict[Any, float]:
        """What each part in Python took, in seconds, when the program ran for the second time."""
        return self.free[0].seconds if self.free else {}


class Cut:
    """A function that is called in parts, and why."""

    def __init__(self, call: Callable[..., Any], why: str, parts: list[CompiledFunction]) -> None:
        self.call, self.why, self.parts = call, why, parts


class CompiledFunction:
    """A function whose calls are recorded and replayed; see `compile`."""

    def __init__(
        self,
        function: Callable[..., Any],
        fullgraph: bool = False,
        roots: tuple[Any, ...] = (),
        source: Source | None = None,
        title: str = "",
    ) -> None:
        functools.update_wrapper(self, function, updated=())
        self.source, self.title = source, title  # of a part of another function
        self.cuts: dict[int, Cut | None] = {}  # by the line
        self.cut: Cut | None = None  # once there is one, it serves all calls: its parts look
        self.function, self.fullgraph = function, fullgraph
        self.roots = roots
        self.programs: OrderedDict[Any, list[Recording | Pair] | Cut | str] = OrderedDict()
        self.last: LastCall | None = None  # which the next is compared with first
        self.waiting: dict[Any, Waiting] = {}  # whose backward pass is still to come
        self.anew: set[Any] = set()  # to be recorded again
        self.states: OrderedDict[Any, State] = OrderedDict()  # they keep alive what ids stand for
        self.latest: dict[tuple[int, ...], State] = {}  # by the objects among the arguments
        self.ran: set[types.CodeType] | None = set()  # the user's code in it; None if any may run
        self.calls = self.recordings = self.replayed = 0
        self.told: set[str] = set()
        self.lock = free_in_child(threading.RLock())

    def __repr__(self) -> str:
        return f"<compiled {self.name()}>"

    def name(self) -> str:
        """What is compiled, in a word."""
        function = self.function
        return self.title or getattr(function, "__qualname__", type(function).__name__)

    def __get__(self, owner: Any, kind: type | None = None) -> Any:
        return self if owner is None else functools.partial(self, owner)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function, or do again what it did."""
        if taping:  # it is part of another recording
            return self.function(*args, **kwargs)
        self.calls += 1
        last = self.last
        if last is not None and not kwargs:
            like = last.arrays(args)
            if like is not None and last.program.fits():
                return self._replay(last.program, args, like, args, kwargs)
        why = _unusual()
        if why:
            return self._usual(why, args, kwargs)
        if self.cut is not None:
            return self.cut.call(*args, **kwargs)
        leaves: list[Any] = []
        try:
            key, state = self._key(args, kwargs, leaves)
        except Unreadable as error:
            return self._usual(str(error), args, kwargs)
        if state.hooked:
            return self._usual(f"{state.hooked[0]} has hooks", args, kwargs)
        found = self.programs.get(key)
        if type(found) is str:
            return self._usual(found, args, kwargs)
        anew = key in self.anew
        for recording in () if anew else found or ():  # type: ignore[union-attr]
            if recording.fits():  # type: ignore[union-attr]
                if len(self.programs) > 1:
                    with suppress(KeyError):  # another thread may have let it go
                        self.programs.move_to_end(key)
                arrays = [a._array if isinstance(a, Variable) else a for a in leaves]
                if is_simple(args, kwargs):
                    self.last = LastCall(recording, state, args)
                return self._replay(recording, leaves, arrays, args, kwargs)
        if self.recordings >= MOST_WASTED + self.replayed:
            why = "it gets other arguments, or finds another state, at each call"
            self._keep(key, why)
            return self._usual(why, args, kwargs)
        if not anew and len(found or ()) == MOST_RECORDINGS and not any(r.replays for r in found):  # type: ignore[arg-type,union-attr]
            why = "the gradients that it finds are others at each call"
            self._keep(key, why)
            return self._usual(why, args, kwargs)
        waiting = self.waiting.get(key)
        if waiting is not None and not waiting.is_due():
            return self.function(*args, **kwargs)
        if watching and is_watched():  # it is recorded another time
            return self.function(*args, **kwargs)
        return self._record(key, state, args, kwargs, leaves)

    def _replay(
        self, program: Any, leaves: Sequence[Any], arrays: list[Array], args: Any, kwargs: Any
    ) -> Any:
        try:
            result = program.replay(leaves, arrays, args, kwargs)
        except Diverged as unit:
            why = f"with other numbers {unit} gives something of another kind"
            return self._usual(why, args, kwargs)
        self.replayed += 1
        return result

    def _key(self, args: Any, kwargs: Any, leaves: list[Any]) -> tuple[Any, State]:
        """What a call is known by, and what it can reach; its arrays are added to ``leaves``."""
        objects: list[Any] = []
        arguments = _key(args, leaves, objects), _key(kwargs, leaves, objects) if kwargs else ()
        state = self._state(objects)
        return (arguments, (is_recording(), *modes()), state.number), state

    def _state(self, objects: list[Any]) -> State:
        """What the function, and objects among its arguments, can reach now."""
        place = tuple(map(id, objects))
        state = self.latest.get(place)
        if state is not None and state.holds():
            return state
        state = reach(self.function, *self.roots, *objects, ran=self.ran)
        with self.lock:
            equal = self.states.get(state.key)
            state.number = next(_numbers) if equal is None else equal.number
            self.states[state.key] = state
            self.states.move_to_end(state.key)
            while len(self.states) > MOST_PROGRAMS:
                self.states.popitem(last=False)
            if len(self.latest) >= MOST_PROGRAMS:
                self.latest.clear()
            self.latest[place] = state
        return state

    def _usual(self, why: str, args: Any, kwargs: Any) -> Any:
        if self.fullgraph:
            raise RuntimeError(f"compile: fullgraph=True, but {self.name()} runs as usual: {why}")
        self._tell(why)
        return self.function(*args, **kwargs)

    def _tell(self, why: str) -> None:
        """Warn, once, that and why the function runs as usual."""
        if why not in self.told:
            self.told.add(why)
            text = f"compile: {self.name()} runs as usual: {why}"
            warnings.warn(text, RuntimeWarning, stacklevel=4)

    # ---- recording -------------------------------------------------------------------------

    def _record(self, key: Any, state: State, args: Any, kwargs: Any, leaves: list[Any]) -> Any:
        try:
            guards, state = state, reach(*state.roots)  # of whatever may run
        except Unreadable as error:
            return self._usual(str(error), args, kwargs)
        if state.hooked:
            return self._usual(f"{state.hooked[0]} has hooks", args, kwargs)
        variables = [leaf for leaf in leaves if isinstance(leaf, Variable)]
        nodes = [leaf.current_node() for leaf in variables]
        with self.lock:
            self.recordings += 1
            self.anew.discard(key)
            tensors = list(state.tensors)
            tensors += [t._grad for t in state.tensors if t._grad is not None]
            for tensor in (*tensors, *(a for a in leaves if isinstance(a, Variable))):
                tensor.storage.compute_waiting()  # which is none of what the function does
            arrays = [a._array if isinstance(a, Variable) else a for a in leaves]
            given = [node for node in nodes if node is not None]
            recorder = Recorder(arrays, tensors, state.arrays, state.keep, given)
            recorder.hooks = state.tensor_hooks
            recorder.watch_options(state.optimizers)
            inner = self._inner()[0]
            recorder.code = None if inner is None else inner.__code__
            before = [(t, t._value, t.node) for t in (*state.tensors, *variables)]
            described: Any = None
            with recorder:
                result = self.function(*args, **kwargs)
                gradients = recorder.gradients()
                try:
                    described = Description(result, state.tensors, leaves, recorder)
                except Refused as error:
                    recorder.refuse(str(error))
            if self._learn(recorder, state, described):
                key, guards = self._key(args, kwargs, [])
            try:
                recorder.check()
                inputs = inputs_of(recorder, arrays)
                if any(t._value is not value or t.node is not node for t, value, node in before):
                    raise Refused("it replaces the numbers of a tensor that it did not make")
                if reach(*state.roots).key[0] != state.key[0]:
                    raise Refused("it changes objects, which a replay would not")
                if described.live:
                    return self._first(key, guards, recorder, described, result, leaves, inputs)
                needs = needs_of(recorder)
                recorder.finish()
                program = Program(recorder, inputs, gradients, described.refs)
                python = [u.name for u in program.units if u.is_python]
                if self.fullgraph and python:
                    raise Refused(
                        f"{python[0]} is called in Python, between two parts of the program"
                    )
                found = self.programs.get(key, [])
                assert type(found) is list
                known = [recording for recording in found if recording.is_current()]
                memory.clear()  # what the call needed again and again, a program has of its own
                made = Recording(program, described.template, needs)
                self._keep(key, [made, *known[: MOST_RECORDINGS - 1]])
            except Refused as error:
                if self.fullgraph:
                    raise RuntimeError(f"compile: fullgraph=True, but {error}") from None
                cut = self._cut(recorder.line, str(error))
                self._keep(key, str(error) if cut is None else cut)
                self.cut = cut
                if cut is None:
                    self._tell(str(error))
        return result

    def _learn(self, recorder: Recorder, state: State, described: Description | None) -> bool:
        """Take the code into account that has run; return whether any is new.

        Whatever may run is taken into account where gradients come back through a call, and where
        code can read what it does not name.
        """
        if self.ran is None or (
            described is not None and not described.live and recorder.ran <= self.ran
        ):
            return False
        ran = self.ran | recorder.ran
        if described is None or described.live or may_read_anything(ran):
            self.ran = None
        else:
            self.ran = ran
            seen = {id(t) for t in reach(*state.roots, ran=ran).tensors}
            regions = {ref.region for u in recorder.units for ref in (*u.operands(), *u.work())}
            others = [t for t in state.tensors if id(t) not in seen]
            if any(recorder.regions.find(t._array) in regions for t in others):
                self.ran = None
        self.latest.clear()
        return True

    # ---- calls through which gradients come back -------------------------------------------

    def _first(
        self,
        key: Any,
        state: State,
        recorder: Recorder,
        described: Description,
        result: Any,
        leaves: list[Any],
        inputs: list[Ref],
    ) -> Any:
        """What a call returned that is recorded for training: its backward pass is still to come.

        Raises
        ------
        Refused
            It cannot be walked as one.
        """
        if any(ref is not None for _, ref in recorder.gradients()):
            raise Refused("it walks a graph, and returns another")
        plan = Plan(self, key, state, recorder, described, result, leaves)
        ends: list[Any] = [t.current_node() for t in described.live]
        first = FirstCall(plan, recorder, inputs, ends)
        self.waiting.setdefault(key, Waiting()).began(first)
        while len(self.waiting) > MOST_PROGRAMS:
            del self.waiting[next(iter(self.waiting))]
        return first.result(described.live, result, leaves)

    def recorded(self, key: Any, pair: Pair) -> None:
        """Have a forward and a backward pass to replay."""
        known = self.programs.get(key)
        self._keep(key, [pair, *(known if type(known) is list else [])[: MOST_WAYS - 1]])

    def refused(self, key: Any, why: str) -> None:
        """A backward pass could not be recorded."""
        if self.fullgraph:
            raise RuntimeError(f"compile: fullgraph=True, but {why}")
        self._keep(key, why)
        self._tell(why)

    def missed(self, key: Any, pair: Pair, way: Any) -> None:
        """A backward pass came in another way than that of its program."""
        known = self.programs.get(key)
        if type(known) is not list:
            return
        pairs = [p for p in known if isinstance(p, Pair)]
        if sum(p.misses for p in pairs) > sum(p.backwards for p in pairs) + MOST_WAYS:
            self.refused(key, "its backward passes come in ever new ways")
            return
        other = next((p for p in pairs if p.way == way), None)
        if other is not None:
            self._keep(key, [other, *(p for p in known if p is not other)])
        elif len(pairs) < MOST_WAYS:
            self.anew.add(key)
            self.last = None

    def is_unchanged(self, number: int, args: Any, kwargs: Any) -> bool:
        """Whether what the function can reach is as it was in a state."""
        objects: list[Any] = []
        _key(args, [], objects), _key(kwargs, [], objects)
        try:
            return self._state(objects).number == number
        except Unreadable:
            return False

    def _keep(self, key: Any, found: list[Recording | Pair] | Cut | str) -> None:
        """Have what serves calls of a key; the least recently used goes."""
        self.programs[key], self.last = found, None
        while len(self.programs) > MOST_PROGRAMS:
            self.programs.popitem(last=False)

    def _inner(self) -> tuple[types.FunctionType | None, Callable[[Any], Any]]:
        """The function of the user's that is called, and how to call another in its place."""
        module = self.function
        if not isinstance(module, Module):
            return unwrapped(module)
        if "forward" in vars(module):
            return None, lambda other: other
        inner, dress = unwrapped(type(module).forward)
        return inner, lambda other: functools.partial(dress(other), module)

    def _cut(self, line: int | None, why: str) -> Cut | None:
        """The function in parts, around the statement of a line; None if it has to run as usual."""
        inner, dress = self._inner()
        if inner is None:
            return None
        source = self.source or source_of(inner)
        if source is None:
            return None
        if line is None and "changes objects" in why:
            line = source.changing_line()
        if line is None:
            return None
        if line not in self.cuts:
            parts: list[CompiledFunction] = []

            def make(function: types.FunctionType, part: Source, title: str) -> Any:
                parts.append(CompiledFunction(function, source=part, title=title))
                return parts[-1]

            try:
                self.cuts[line] = Cut(dress(source.cut(line, make)), why, parts)
            except Uncut:
                self.cuts[line] = None
        return self.cuts[line]

    # ---- telling ---------------------------------------------------------------------------

    def explain(self) -> str:
        """What was recorded, what still runs in Python and why, memory, and how often."""
        from tinygrad_cnn.programs.explain import explain

        return explain(self)


def _unusual() -> str:
    """Why a call is neither recorded nor replayed."""
    if sys.getprofile() is not None:
        return "a profiler of Python is running"
    if fast.get() is not None:
        return "autocast is in use"
    return unusual(recording=False)


def _key(value: Any, leaves: list[Any], objects: list[Any]) -> Any:
    """What about an argument a recording depends on.

    Tensors and arrays are added to ``leaves``, and to ``objects`` what is to be looked into.
    """
    kind = type(value)
    if kind is tuple or kind is list:
        return kind, tuple([_key(part, leaves, objects) for part in value])
    if isinstance(value, (Variable, np.ndarray)):
        for number, leaf in enumerate(leaves):
            if leaf is value:
                return "the same as", number
        leaves.append(value)
        array: Any = value
        wants = False
        if kind is not np.ndarray and isinstance(value, Variable):
            array, wants = value._array, value.node is not None
        return kind, array.shape, array.dtype, array.strides, array.flags.aligned, wants
    if kind is dict:
        parts = [(name, _key(part, leaves, objects)) for name, part in value.items()]
        return kind, tuple(parts)
    if isinstance(value, tuple):
        return kind, tuple([_key(part, leaves, objects) for part in value])
    if value is None or isinstance(value, (bool, int, float, str, np.dtype)):
        return kind, repr(value) if isinstance(value, float) else value
    objects.append(value)
    return kind, id(value)


def compile(function: Any = None, *, fullgraph: bool = False) -> Any:
    """Record what ``function`` does to arrays when it is called first, and replay it from then on.

    A replay makes no operation, node or module call: most of it is one call into machine code. It
    gives the same bits as a usual call: results, gradients, parameters, running statistics, masks
    of dropout. Where that is not certain the function runs as usual, and a warning says once why:
    if it has hooks, for example. Results that require gradients have one node for the whole call,
    and the backward pass that comes to it is recorded and replayed too. Statements that ask for a
    tensor's numbers (``item()``, ``if loss > 1``), print or change objects run in Python, between
    programs of what comes before and after.

    Recorded anew is what is called with other shapes, dtypes, layouts or Python arguments, or after
    a change of what the function can reach: modules (also ``training``), parameters, buffers,
    containers, globals. Numbers are read at each replay: values of tensors however they were
    changed, learning rates, a schedule's steps.

    Parameters
    ----------
    function
        A function of tensors, or a `Module`. Left out, the result is a decorator.
    fullgraph
        Raise RuntimeError where something would run in Python.

    Returns
    -------
    CompiledFunction or Module
        It is called as ``function`` is. A module shares all its state with the one that was given.
        ``explain()`` tells what was recorded, what still runs in Python, and memory.

    Examples
    --------
    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn, optim
    >>> net = nn.Linear(3, 2)
    >>> sgd = optim.SGD(net.parameters(), lr=0.1)
    >>> @tg.compile
    ... def step(x, y):
    ...     sgd.zero_grad()
    ...     loss = nn.functional.mse_loss(net(x), y)
    ...     loss.backward()
    ...     sgd.step()
    ...     return loss
    >>> losses = [step(tg.ones(4, 3), tg.zeros(4, 2)).item() for _ in range(3)]
    >>> losses[0] > losses[1] > losses[2]
    True
    >>> print(step.explain().splitlines()[0])
    compiled step: 3 calls, 1 recorded, 2 replayed
    """
    if function is None:
        return functools.partial(compile, fullgraph=fullgraph)
    if isinstance(function, Module):
        return compiled_module(function, fullgraph)
    if not callable(function):
        raise DtypeError(f"compile: `function` is {function!r}, expected a function or a Module")
    return CompiledFunction(function, fullgraph)


def compiled_module(module: Module, fullgraph: bool) -> Module:
    """A module that shares everything with ``module``, and whose calls are recorded."""
    kind = type(module)
    call = CompiledFunction(module, fullgraph)
    functools.update_wrapper(call, module.forward, updated=())

    names = {
        "__call__": staticmethod(call.__call__),
        "__module__": kind.__module__,
        "__reduce_ex__": lambda self, protocol: (compiled_module, (module, fullgraph)),
        "explain": call.explain,
    }
    made = type(kind.__name__, (kind,), names)
    out: Module = object.__new__(made)
    out.__dict__ = module.__dict__
    return out
