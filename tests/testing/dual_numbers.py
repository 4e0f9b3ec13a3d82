"""An interpreter of tensor programs on scalar dual numbers: forward mode, by definition.

A dual number is a value and its partial derivatives with respect to the inputs. A tensor is a list
of places in a memory of dual numbers, so views and in-place changes need no thought: who writes to
a place has written for everybody who looks there. It shares no code and no idea with the engine.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True)
class Dual:
    """A number and its partial derivatives by input; those left out are 0."""

    value: float
    partials: dict[int, float] = field(default_factory=dict)

    def chain(self, value: float, slope: float) -> Dual:
        """A function of this number: its value, and its slope here."""
        return Dual(value, {k: slope * p for k, p in self.partials.items()})

    def __add__(self, other: Dual) -> Dual:
        keys = {**self.partials, **other.partials}
        total = {k: self.partials.get(k, 0.0) + other.partials.get(k, 0.0) for k in keys}
        return Dual(self.value + other.value, total)

    def __sub__(self, other: Dual) -> Dual:
        return self + other.chain(-other.value, -1.0)

    def __mul__(self, other: Dual) -> Dual:
        both = self.chain(0.0, other.value) + other.chain(0.0, self.value)
        return Dual(self.value * other.value, both.partials)


UNARY: dict[str, Callable[[Dual], Dual]] = {
    "neg": lambda a: a.chain(-a.value, -1.0),
    "square": lambda a: a * a,
    "tanh": lambda a: a.chain(math.tanh(a.value), 1 - math.tanh(a.value) ** 2),
    "sigmoid": lambda a: a.chain(
        1 / (1 + math.exp(-a.value)), math.exp(-a.value) / (1 + math.exp(-a.value)) ** 2
    ),
    "relu": lambda a: a.chain(max(a.value, 0.0), 1.0 if a.value > 0 else 0.0),
    "clone": lambda a: a,
}
BINARY: dict[str, Callable[[Dual, Dual], Dual]] = {
    "add": Dual.__add__,
    "sub": Dual.__sub__,
    "mul": Dual.__mul__,
}


class Memory:
    """Dual numbers by place. Tensors are arrays of places (and may be cut off from derivatives)."""

    def __init__(self) -> None:
        self.cells: list[Dual] = []
        self.inputs = 0

    def store(self, values: list[Dual], shape: tuple[int, ...]) -> Places:
        """New memory with these values."""
        start = len(self.cells)
        self.cells += values
        return Places(np.arange(start, len(self.cells)).reshape(shape))

    def leaf(self, values: np.ndarray, differentiable: bool, factor: float) -> Places:
        """New memory with numbers that are inputs; ``factor`` scales their derivatives."""
        duals = []
        for v in values.ravel().tolist():
            duals.append(Dual(v, {self.inputs: factor} if differentiable else {}))
            self.inputs += differentiable
        return self.store(duals, values.shape)

    def read(self, at: Places) -> list[Dual]:
        """The numbers at these places."""
        found = [self.cells[i] for i in at.index.ravel()]
        return [Dual(d.value) for d in found] if at.cut else found

    def values(self, at: Places) -> np.ndarray:
        """The plain values there."""
        return np.array([d.value for d in self.read(at)]).reshape(at.index.shape)

    def compute(
        self, function: Callable[..., Dual], *operands: Places, recording: bool, factor: float = 1.0
    ) -> list[Dual]:
        """A function of each element of operands of one shape; ``factor`` is a hook's."""
        results = [function(*duals) for duals in zip(*map(self.read, operands), strict=True)]
        return [d.chain(d.value, factor if recording else 0.0) for d in results]

    def write(self, at: Places, values: list[Dual], recording: bool) -> None:
        """Change the numbers there; unrecorded changes leave their derivatives as they were."""
        for i, d in zip(at.index.ravel(), values, strict=True):
            self.cells[i] = d if recording else Dual(d.value, self.cells[i].partials)


@dataclass(frozen=True)
class Places:
    """A tensor: where its numbers are, and whether derivatives are cut off (detached)."""

    index: np.ndarray
    cut: bool = False

    def view(self, look: Callable[[np.ndarray], np.ndarray], cut: bool = False) -> Places:
        """The same memory, seen otherwise."""
        return Places(np.asarray(look(self.index)), self.cut or cut)
