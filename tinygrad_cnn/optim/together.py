"""A group's parameters, stepped by one launch of a compiled kernel; and the same done again.

An optimiser says by which formula (`Optimizer.form`), and with which numbers (`Optimizer.numbers`).
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from itertools import chain
from operator import attrgetter, is_, itemgetter
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from tinygrad_cnn import kernels
from tinygrad_cnn.autograd.promotion import get_default_dtype
from tinygrad_cnn.autograd.variable import written_by
from tinygrad_cnn.functions import from_numpy, zeros
from tinygrad_cnn.tensor import Tensor
from tinygrad_cnn.types import Array

if TYPE_CHECKING:
    from tinygrad_cnn.optim.optimizer import Group, Optimizer, State

_VALUE = attrgetter("_value")


class Form(NamedTuple):
    """How a group is stepped: by which formula of `kernels.step`, with which state."""

    formula: str
    kept: tuple[str, ...] = ()
    """Names of the state in the formula's rows, after the parameter and its gradient. It begins
    with zeros; "step" comes last, if there is one."""

    @property
    def counts(self) -> bool:
        """Whether steps are counted."""
        return self.kept[-1:] == ("step",)

    def first_state(self, w: Array) -> State:
        """The state of a parameter before its first step."""
        kept = {n: from_numpy(np.zeros_like(w)) for n in self.kept if n != "step"}
        return {"step": new_step(), **kept} if self.counts else kept


class Launched(NamedTuple):
    """A group that one launch has stepped."""

    group: Group
    form: Form
    params: Sequence[Tensor]  # those with gradients
    states: Sequence[State]
    numbers: Array  # of the launch


def new_step() -> Tensor:
    """A count of steps as PyTorch keeps it: 0-d, float64 if that is the default dtype."""
    return zeros((), dtype=np.float64 if get_default_dtype() == np.float64 else np.float32)


def step_together(
    optimizer: Optimizer, given: Sequence[tuple[Tensor, Array]], arrays: Sequence[Array],
    group: Group, by: str,
) -> Launched | None:  # fmt: skip
    """Step all parameters of a group, given with their gradients, and their ``arrays``, in one
    launch, if a compiled kernel can; else do nothing.
    """
    form = optimizer.form(group)
    if form is None or not given:
        return None
    params = [p for p, _ in given]
    states = [optimizer.state[p] for p in params]
    there = [s.get(name) is not None for s in states for name in form.kept]
    first = not any(there)
    if first:  # kept once the step is done
        states = [form.first_state(p._array) for p in params]
    elif not all(there):
        return None
    steps = _steps(form, states)
    if steps is None:
        return None
    numbers = np.array(optimizer.numbers(group, steps + 1, bool(form.kept) and first), np.float32)
    held = [written_by([s[name] for s in states], by) for name in form.kept]
    rows = list(zip(arrays, [g for _, g in given], *held, strict=True))
    if not kernels.step(form.formula, rows, numbers):
        return None
    if first:
        for param, state in zip(params, states, strict=True):
            optimizer.state[param].update(state)
        states = [optimizer.state[p] for p in params]
    return Launched(group, form, params, states, numbers)


def _steps(form: Form, states: Sequence[State]) -> float | None:
    """How often parameters were stepped; None if not all as often. 0 if nobody counts."""
    if not form.counts:
        return 0.0
    steps = set(map(float, [s["step"]._array for s in states]))
    return steps.pop() if len(steps) == 1 else None


class PreparedStep:
    """An optimiser's step whose launches are made by somebody else (`kernels.tape.Prepared`)."""

    lock = nullcontext()

    def __init__(self, optimizer: Optimizer, parts: Sequence[Launched]) -> None:
        self.optimizer, self.parts, self.launches = optimizer, parts, len(parts)
        self.state, self.groups = optimizer.state, list(optimizer.param_groups)
        self.members = [list(group["params"]) for group in self.groups]
        self.entries = list(self.state.values())
        self.misses = 0
        self.held: list[tuple[itemgetter[str], Sequence[State], list[Tensor]]] = []
        for part in parts:
            for name in part.form.kept:
                get = itemgetter(name)
                self.held.append((get, part.states, list(map(get, part.states))))
        self.tensors = list(chain.from_iterable(held for _, _, held in self.held))
        self.tensors += [p for part in parts for p in part.params]
        self.arrays = [t._array for t in self.tensors]
        self.memory = [*self.arrays, *(part.numbers for part in parts)]

    def ready(self) -> bool:
        """Write the numbers of the next step, unless that is not what was launched."""
        self.misses += 1
        if not self._is_same():
            return False
        optimizer, found = self.optimizer, []
        for part in self.parts:
            steps = _steps(part.form, part.states)
            if steps is None:
                return False
            found.append(optimizer.numbers(part.group, steps + 1, False))
        self.misses = 0
        by = f"{type(optimizer).__name__}.step"
        for tensor in self.tensors:
            tensor.storage.written(by)
        for part, numbers in zip(self.parts, found, strict=True):
            part.numbers[...] = numbers
        optimizer.step_count += 1
        return True

    def _is_same(self) -> bool:
        optimizer = self.optimizer
        if optimizer.state is not self.state or not _same(optimizer.param_groups, self.groups):
            return False
        if not _same(list(optimizer.state.values()), self.entries):
            return False
        for group, members in zip(self.groups, self.members, strict=True):
            if not _same(group["params"], members):
                return False
        try:
            for get, states, held in self.held:
                if not all(map(is_, map(get, states), held)):
                    return False
        except KeyError:
            return False
        if not all(map(is_, map(_VALUE, self.tensors), self.arrays)):
            return False
        return all(optimizer.form(part.group) == part.form for part in self.parts)


def _same(found: Sequence[Any], known: Sequence[Any]) -> bool:
    return len(found) == len(known) and all(map(is_, found, known))
