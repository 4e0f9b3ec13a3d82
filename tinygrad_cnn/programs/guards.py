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
from pathlib import Path
from typing import Any

import numpy as np

from tinygrad_cnn.autograd.node import GraphNode
from tinygrad_cnn.autograd.variable import Variable
from tinygrad_cnn.nn.module.attributes import changes
from tinygrad_cnn.nn.module.core import Module
from tinygrad_cnn.nn.module.hooks import HOOKS
from tinygrad_cnn.optim.optimizer import Optimizer
from tinygrad_cnn.types import Array

_PACKAGE = str(Path(__file__).parents[1])
_LIBRARIES = tuple({sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib")})
_VALUES = (int, float, complex, str, bytes, type(None), type, np.dtype, np.generic, slice, range)
_MOST = 20_000  # objects that are looked at
_LONGEST = 1_000  # elements of a container


class Unreadable(Exception):
    """There is too much to look at."""


class State:
    """What a function can reach, as it was when this was made."""

    def __init__(self) -> None:
        self.facts: list[Any] = []
        self.tensors: list[Variable] = []
        self.arrays: list[Array] = []
        self.hooked: list[str] = []  # modules with hooks
        self.optimizers: list[Optimizer] = []
        self.epoch = changes.count
        self.keep: list[Any] = []
        self.names: list[tuple[dict[str, Any], str, Any]] = []
        self.cells: list[tuple[types.CellType, Any]] = []
        self.containers: list[tuple[Any, tuple[int, ...]]] = []
        self.values: list[tuple[Variable, Any, GraphNode | None]] = []
        self.key: tuple[Any, ...] = ()

    def close(self) -> None:
        """Note what is compared at every call."""
        self.values = [(t, t._value, t.node) for t in self.tensors]
        places = tuple((id(t._value), t.node is None) for t in self.tensors)
        self.key = (tuple(self.facts), places)
        self.keep += [t._value for t in self.tensors]

    def holds(self) -> bool:
        """Whether nothing has changed since."""
        if self.epoch != changes.count:
            return False
        for tensor, value, node in self.values:
            if tensor._value is not value or tensor.node is not node:
                return False
        for space, name, value in self.names:
            if space.get(name) is not value:
                return False
        for cell, value in self.cells:
            if cell.cell_contents is not value:
                return False
        return all(tuple(map(id, held)) == ids for held, ids in self.containers)


def reach(*roots: Any) -> State:
    """Everything that calls of functions can depend on, but for their arguments."""
    walk = _Walk()
    for root in roots:
        walk.visit(root)
    walk.state.close()
    return walk.state


class _Walk:
    def __init__(self) -> None:
        self.state = State()
        self.seen: set[int] = set()
        self.wanted: set[str] = set()  # attributes that the functions seen so far name

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
            for group in value.param_groups:
                for param in group["params"]:
                    self.visit(param)
        elif isinstance(value, types.FunctionType):
            self.function(value)
        elif hasattr(value, "__next__"):
            raise Unreadable(f"it can reach a {type(value).__name__}, which may go on")
        elif isinstance(value, types.MethodType):
            self.visit(value.__func__)
            self.visit(value.__self__)
        elif isinstance(value, functools.partial):
            self.visit((value.func, value.args, value.keywords))
        elif isinstance(value, (list, tuple, set, frozenset, dict)):
            self.container(value)
        elif isinstance(value, types.ModuleType):
            if is_users(getattr(value, "__file__", None)):
                self.attributes(vars(value))
        elif hasattr(value, "__dict__") and is_users(_file_of(type(value))):
            self.methods(type(value))
            self.attributes(vars(value))

    def module(self, module: Module) -> None:
        held, state = vars(module), self.state
        if any(held.get(name) for name in HOOKS[:4]):
            state.hooked.append(type(module).__name__)
        self.methods(type(module))
        for name, value in held.items():
            if name in HOOKS:
                continue
            state.facts.append(name)
            if name in ("_parameters", "_buffers", "_modules"):
                for key, member in value.items():
                    state.facts.append(key)
                    self.visit(member)
            else:
                self.visit(value)

    def methods(self, kind: type) -> None:
        """A class of the user's: its functions, and what these reach."""
        for base in kind.__mro__:
            if is_users(_file_of(base)):
                for member in vars(base).values():
                    if isinstance(member, types.FunctionType):
                        self.visit(member)

    def function(self, function: types.FunctionType) -> None:
        if not is_users(function.__code__.co_filename):
            return
        state = self.state
        names = _names(function.__code__)
        self.wanted |= names
        space = function.__globals__
        for name in sorted(names & space.keys()):
            value = space[name]
            state.names.append((space, name, value))
            state.facts.append(name)
            self.visit(value)
        for cell in function.__closure__ or ():
            try:
                value = cell.cell_contents
            except ValueError:  # it is empty
                continue
            state.cells.append((cell, value))
            self.visit(value)
        for value in (*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()):
            self.visit(value)

    def attributes(self, held: dict[str, Any]) -> None:
        for name in sorted(self.wanted & held.keys()):
            value = held[name]
            self.state.names.append((held, name, value))
            self.state.facts.append(name)
            self.visit(value)

    def container(self, held: Any) -> None:
        self.state.facts.append(len(held))
        if len(held) > _LONGEST:
            return
        parts = list(held.values()) if isinstance(held, dict) else list(held)
        if isinstance(held, dict):
            self.state.facts.append(tuple(map(repr, held)))
            self.state.names += [(held, name, value) for name, value in held.items()]
        elif isinstance(held, list):
            self.state.containers.append((held, tuple(map(id, held))))
        for part in parts:
            self.visit(part)


def _names(code: types.CodeType) -> set[str]:
    names = set(code.co_names)
    for part in code.co_consts:
        if isinstance(part, types.CodeType):
            names |= _names(part)
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
    return not file.startswith((_PACKAGE, *_LIBRARIES))
