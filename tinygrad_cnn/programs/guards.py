"""What a recording depends on besides its arguments: everything that its function can reach.

`reach` walks from a function through its globals, closures, objects, containers, modules and
optimisers, and writes down what it finds: `State.facts` are equal if and only if a recording made
in one state may be replayed in the other. The walk is repeated only if `State.holds` notices a
change: attributes of modules are counted where they are set, the rest is compared by identity.

Values of arrays are no facts, nor are options of optimisers, which are read whenever they step.
"""

from __future__ import annotations

import functools
import sys
import sysconfig
import types
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from operator import attrgetter, is_, itemgetter, methodcaller
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from tinygrad_cnn.autograd.node import GraphNode, Leaf
from tinygrad_cnn.autograd.variable import Variable
from tinygrad_cnn.nn.module.attributes import changes
from tinygrad_cnn.nn.module.core import Module
from tinygrad_cnn.nn.module.hooks import HOOKS, everywhere
from tinygrad_cnn.optim.optimizer import Optimizer
from tinygrad_cnn.programs.words import Words, cell_place, slot_place, words
from tinygrad_cnn.types import Array

_PACKAGE = str(Path(__file__).parents[1])
_LIBRARIES = tuple({sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib")})
_IMPORTS = "<frozen "  # a call may import something
_VALUES = (int, float, complex, str, bytes, type(None), np.dtype, np.generic, slice, range)
_FUNCTIONS = (types.FunctionType, staticmethod, classmethod, property)
_CONTAINERS = (list, tuple, set, frozenset, dict, deque)
_DECORATED = (types.FunctionType, types.MethodType, Module, Variable)
_VALUE, _NODE, _CONTENTS = attrgetter("_value"), attrgetter("node"), attrgetter("cell_contents")
_HOOKS = attrgetter("hooks", "post_hooks")
_ANY = frozenset(
    ["getattr", "hasattr", "vars", "dir", "__dict__", "__getattribute__", "eval", "exec"]
)
_MOST = 20_000  # objects that are looked at
_LONGEST = 1_000  # elements of a container
_MOST_SEARCHES = 16  # for places in memory: a list may have its members elsewhere at every call


# A namespace, what reads names of it, and what these stood for.
Space: TypeAlias = tuple[Mapping[str, Any], Callable[[Any], Any], dict[str, Any]]


class Unreadable(Exception):
    """There is something that cannot be looked at, or too much."""


class State:
    """What a function can reach, as it was when this was made."""

    def __init__(self) -> None:
        self.roots: tuple[Any, ...] = ()
        self.facts: list[Any] = []
        self.tensors: list[Variable] = []
        self.arrays: list[Array] = []
        self.hooked: list[str] = []  # modules and optimisers with hooks
        self.tensor_hooks = False  # whether there are some on gradients of tensors
        self.optimizers: list[Optimizer] = []
        self.epoch = changes.count
        self.number = 0  # the same for states that are equal
        self.keep: list[Any] = []
        self.names: list[tuple[Mapping[str, Any], str, Any]] = []
        self.cells: list[tuple[types.CellType, Any]] = []
        self.containers: list[Any] = []
        self.holders: list[Mapping[str, Any]] = []  # attributes: new ones may hide a class's
        self.key: tuple[Any, ...] = ()
        # What is compared at every call, for C code to walk through: objects and what to get of
        # each, nodes and that they have no hooks, spaces and their names, containers.
        self.same: list[tuple[Callable[[Any], Any], list[Any], list[Any]]] = []
        self.nodes: list[GraphNode] = []
        self.bare: list[tuple[None, None]] = []
        self.spaces: list[Space] = []
        self.lengths: list[tuple[Mapping[str, Any], int]] = []  # of the holders
        self.full: list[tuple[Any, list[Any]]] = []
        self.words: Words | None = None  # most of it, in so far as machine code can compare it
        self.others: list[Any] = []  # containers that it cannot
        self.other_spaces: list[Space] = []
        self.other_lengths: list[tuple[Mapping[str, Any], int]] = []
        self.compare_all: Callable[[], bool] | None = None  # where that is all there is
        self.searches = 0

    def close(self) -> None:
        """Note what is compared at every call."""
        self.nodes = [t.node for t in self.tensors if t.node is not None]
        self.bare = [(None, None)] * len(self.nodes)
        self.tensor_hooks = any(map(_has_hooks, self.nodes))
        self.hooked += [type(o).__name__ for o in self.optimizers if o.has_hooks]
        values = [t._value for t in self.tensors]
        places = tuple([(id(t._value), t.node is None) for t in self.tensors])
        self.key = (tuple(self.facts), (places, self.tensor_hooks))
        self.keep += values
        self.same = [
            (_VALUE, self.tensors, values),
            (_NODE, self.tensors, [t.node for t in self.tensors]),
            (_CONTENTS, [cell for cell, _ in self.cells], [value for _, value in self.cells]),
        ]
        self.full = [(held, list(held)) for held in self.containers]
        self.lengths = [(held, len(held)) for held in self.holders]
        spaces: dict[int, tuple[Mapping[str, Any], dict[str, Any]]] = {}
        for space, name, value in self.names:
            spaces.setdefault(id(space), (space, {}))[1][name] = value
        for space, found in spaces.values():
            self.spaces.append((space, _getter(space, tuple(found)), found))
        self._compare_apart()

    def _compare_apart(self) -> None:
        """Compare all in Python."""
        self.words, self.others, self.other_spaces = None, self.full, self.spaces
        self.compare_all = None
        self.other_lengths = self.lengths

    def _find_words(self) -> None:
        """Have machine code compare what it can."""
        self._compare_apart()
        if self.searches == _MOST_SEARCHES or list(map(_HOOKS, self.nodes)) != self.bare:
            return
        found = words()
        if found is None:
            return
        self.searches += 1
        bare = [None] * len(self.nodes)
        slots = (
            (slot_place(Variable, "_value"), *self.same[0][1:]),
            (slot_place(Variable, "node"), *self.same[1][1:]),
            (cell_place(), *self.same[2][1:]),
            (slot_place(Leaf, "hooks"), self.nodes, bare),
            (slot_place(Leaf, "post_hooks"), self.nodes, bare),
        )
        for place, holders, values in slots:
            if place is None:
                return
            found.slots(place, holders, values)
        self.others = [pair for pair in self.full if not found.container(*pair)]
        self.other_spaces = [s for s in self.spaces if not found.names(s[0], s[2])]
        self.other_lengths = [pair for pair in self.lengths if not found.length(*pair)]
        found.close()
        self.words = found
        if not (self.others or self.other_spaces or self.other_lengths or self.optimizers):
            self.compare_all = found.are_same

    def holds(self) -> bool:
        """Whether nothing has changed since."""
        if self.epoch != changes.count:
            return False
        if self.compare_all is not None and self.compare_all():
            return True
        try:
            if self.words is None or not self.words.are_same():
                if not self._refers_to_same():
                    return False
                self._find_words()
            for space, get, values in self.other_spaces:
                if not all(map(is_, get(space), values.values())):
                    return False
            if not _are_as_long(self.other_lengths) or not _are_same(self.others):
                return False
        except (KeyError, ValueError, RuntimeError):  # gone, or changing in another thread
            return False
        return not (self.optimizers and any(o.has_hooks for o in self.optimizers))

    def _refers_to_same(self) -> bool:
        """Whether what machine code can compare is as it was."""
        for get, held, values in self.same:
            if not all(map(is_, map(get, held), values)):
                return False
        for space, get_all, found in self.spaces:
            if not all(map(is_, get_all(space), found.values())):
                return False
        if not _are_as_long(self.lengths):
            return False
        hooks = list(map(_HOOKS, self.nodes)) != self.bare and any(map(_has_hooks, self.nodes))
        return hooks is self.tensor_hooks and _are_same(self.full)


def _are_as_long(pairs: list[tuple[Mapping[str, Any], int]]) -> bool:
    return all(len(held) == length for held, length in pairs)


def _are_same(containers: list[tuple[Any, list[Any]]]) -> bool:
    """Whether containers have the members that they had."""
    for held, members in containers:
        if len(held) != len(members) or not all(map(is_, held, members)):
            return False
    return True


def _getter(space: Mapping[str, Any], names: tuple[str, ...]) -> Callable[[Any], Any]:
    """What reads names of a space, in C if reading a plain dictionary is all that it takes."""
    if type(space) not in (dict, types.MappingProxyType):
        return lambda space: [space.get(name) for name in names]
    return itemgetter(*names) if len(names) > 1 else itemgetter(*names, *names)  # a tuple


def _has_hooks(node: GraphNode) -> bool:
    return bool(node.hooks or node.post_hooks)


def reach(*roots: Any, ran: set[types.CodeType] | None = None) -> State:
    """Everything that calls of functions can depend on, but for their arguments.

    If ``ran`` is given, that calls depend on in which no other code of the user's than this runs:
    what a class's other methods read, and what only the Python between two parts writes, is none
    of it.

    Raises
    ------
    Unreadable
        An iterator is among it, or an object without a ``__dict__``, or there is too much.
    """
    walk = _Walk(ran)
    walk.state.roots = roots
    for root in roots:
        walk.visit(root)
    walk.read_attributes()
    walk.state.holders = [held for held, _ in walk.holders]
    walk.state.close()
    return walk.state


class _Walk:
    def __init__(self, ran: set[types.CodeType] | None) -> None:
        self.state, self.ran = State(), ran
        self.seen: set[int] = set()
        self.wanted: set[str] = set()  # attributes that the functions seen so far name
        self.holders: list[tuple[Mapping[str, Any], set[str]]] = []  # and which were looked at

    def visit(self, value: Any) -> None:
        facts = self.state.facts
        if isinstance(value, _VALUES):
            facts.append((type(value), repr(value)))
            return
        facts.append((type(value), id(value)))
        if id(value) in self.seen:
            return
        self.seen.add(id(value))
        self.state.keep.append(value)
        if len(self.seen) > _MOST:
            raise Unreadable(f"it can reach more than {_MOST} objects")
        if isinstance(value, Variable):
            self.state.tensors.append(value)
        elif isinstance(value, np.ndarray):
            self.state.arrays.append(value)
        elif isinstance(value, Module):
            self.module(value)
        elif isinstance(value, Optimizer):
            self.state.optimizers.append(value)
            members = [group["params"] for group in value.param_groups]
            self.state.containers += [value.param_groups, *members]
            for params in members:
                self.state.facts.append(len(params))
                for param in params:
                    self.visit(param)
        elif isinstance(value, types.FunctionType):
            self.function(value)
        elif hasattr(value, "__next__"):
            raise Unreadable(f"it can reach a {type(value).__name__}, which may go on")
        elif isinstance(value, types.MethodType):
            self.visit(value.__func__)
            self.visit(value.__self__)
        elif isinstance(value, (attrgetter, methodcaller)):
            for name in value.__reduce__()[1]:
                self.wanted |= set(name.split(".")) if isinstance(name, str) else set()
        elif isinstance(value, functools.partial):
            for part in (value.func, value.args, value.keywords):
                self.visit(part)
        elif isinstance(value, (staticmethod, classmethod)):
            self.visit(value.__func__)
        elif isinstance(value, property):
            self.visit(value.fget)
        elif isinstance(value, _CONTAINERS):
            self.container(value)
        elif isinstance(value, types.ModuleType):
            if is_users(getattr(value, "__file__", None)):
                self.holders.append((vars(value), set()))
        elif isinstance(value, type):
            self.kind(value)
        elif is_users(_file_of(type(value))):
            if not hasattr(value, "__dict__"):
                raise Unreadable(f"it can reach a {type(value).__name__}, which has no __dict__")
            self.visit(type(value))
            self.holders.append((vars(value), set()))

    def module(self, module: Module) -> None:
        held, state = vars(module), self.state
        if everywhere or any(held.get(name) for name in HOOKS[:4]):
            state.hooked.append(type(module).__name__)
        self.visit(type(module))
        for name, value in held.items():
            if name in HOOKS or name == "_non_persistent_buffers_set":
                continue
            state.facts.append(name)
            if name in ("_parameters", "_buffers", "_modules"):
                for key, member in value.items():
                    state.facts.append(key)
                    self.visit(member)
            else:
                self.visit(value)

    def kind(self, kind: type) -> None:
        """A class: what the functions of the user's reach, and what is read of it itself."""
        for base in kind.__mro__:
            if is_users(_file_of(base)):
                self.holders.append((vars(base), set()))
                for member in vars(base).values():
                    if isinstance(member, _FUNCTIONS):
                        self.visit(member)

    def function(self, function: types.FunctionType) -> None:
        state = self.state
        users = is_users(function.__code__.co_filename)
        if users and self.ran is not None and function.__code__ not in self.ran:
            return
        for cell in function.__closure__ or ():
            with suppress(ValueError):  # it is empty
                value = cell.cell_contents
                if users or isinstance(value, _DECORATED):  # by a library's decorator
                    state.cells.append((cell, value))
                    self.visit(value)
        if not users:
            return
        names = _names(function.__code__)
        self.wanted |= names
        space = function.__globals__
        for name in sorted(names & space.keys()):
            value = space[name]
            state.names.append((space, name, value))
            state.facts.append(name)
            self.visit(value)
        for value in (*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()):
            self.visit(value)

    def read_attributes(self) -> None:
        """Look at what the functions name, of all objects, until no more names come up."""
        going = True
        while going:
            going = False
            for held, known in tuple(self.holders):
                for name in sorted((self.wanted & held.keys()) - known):
                    going = True
                    known.add(name)
                    self.state.names.append((held, name, held[name]))
                    self.state.facts.append(name)
                    self.visit(held[name])

    def container(self, held: Any) -> None:
        state = self.state
        state.facts.append(len(held))
        if not isinstance(held, (tuple, frozenset)):
            state.containers.append(held)
        if len(held) > _LONGEST:
            return
        if isinstance(held, dict):
            state.facts.append(tuple(map(repr, held)))
            state.names += [(held, name, value) for name, value in held.items()]
        for part in list(held.values() if isinstance(held, dict) else held):
            self.visit(part)


def may_read_anything(ran: set[types.CodeType]) -> bool:
    """Whether code could read attributes that it does not name."""
    return any(_ANY & _names(code) for code in ran)


def _names(code: types.CodeType) -> set[str]:
    """What code names: also in strings, for ``getattr``."""
    names = set(code.co_names)
    for part in code.co_consts:
        if isinstance(part, types.CodeType):
            names |= _names(part)
        elif isinstance(part, str):
            names.add(part)
    return names


def _file_of(kind: type) -> str | None:
    return getattr(sys.modules.get(kind.__module__), "__file__", None) or (
        "<user>" if kind.__module__ == "__main__" else None
    )


@functools.cache
def is_users(file: str | None) -> bool:
    """Whether code is neither ours nor of a library."""
    if file is None:
        return False
    return not file.startswith((_PACKAGE, _IMPORTS, *_LIBRARIES))
