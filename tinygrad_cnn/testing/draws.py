"""What `Draw` is bound to: a NumPy generator (examples, benchmarks) or Hypothesis (tests)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from types import SimpleNamespace
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from tinygrad_cnn.testing.types import Shape
from tinygrad_cnn.types import Array

if TYPE_CHECKING:
    from hypothesis.strategies import DataObject

T = TypeVar("T")


class _Draw:
    """Everything that follows from a source of integers; see `tinygrad_cnn.autograd.Draw`."""

    def integer(self, low: int, high: int) -> int:
        """An integer from ``low`` to ``high``, both included."""
        raise NotImplementedError  # each source draws in its own way

    def choice(self, options: Sequence[T]) -> T:
        """One of ``options``; the first is the simplest."""
        return options[self.integer(0, len(options) - 1)]

    def shape(self, min_dims: int = 0, max_dims: int = 3, min_side: int = 0) -> Shape:
        """A shape with sides of at most 4, a side of 0 being rare."""
        n = self.integer(min_dims, max_dims)
        sides = [max(min_side, self.choice((1, 2, 3, 4, 2, 3, 1, 0))) for _ in range(n)]
        return tuple(sides)

    def broadcast_shapes(self, n: int = 2) -> tuple[Shape, ...]:
        """``n`` shapes that broadcast together."""
        full = self.shape(max_dims=3)
        shapes = []
        for _ in range(n):
            kept = full[self.integer(0, len(full)) :]
            shapes.append(tuple(1 if self.choice((False, False, True)) else s for s in kept))
        return tuple(shapes)

    def generator(self) -> np.random.Generator:
        """A NumPy generator with a drawn seed."""
        return np.random.default_rng(self.integer(0, 2**32 - 1))

    def array(self, shape: Shape, low: float = -2.0, high: float = 2.0) -> Array:
        """Float64 values spread evenly over ``[low, high]``."""
        return np.asarray(self.generator().uniform(low, high, shape))

    def distinct(self, shape: Shape, low: float = -2.0, high: float = 2.0) -> Array:
        """Evenly spaced values in random order, none of them close to another nor to 0."""
        n = math.prod(shape)
        grid = low + (high - low) * (np.arange(n) + 0.5) / max(n, 1)
        if low < 0 < high:  # keep clear of 0 by as much as of each other
            gap = (high - low) / max(n, 1) / 4
            grid = grid + np.where(grid >= 0, gap, -gap)
        return np.asarray(self.generator().permutation(grid).reshape(shape))

    def index(self, shape: Shape) -> object:
        """An index expression for an array of ``shape`` (no side of 0)."""
        kind = self.choice(("basic", "integers", "mask", "mixed"))
        rng = self.generator()
        if kind == "mask":
            return rng.random(shape) < 0.5
        if kind == "integers":
            size = tuple(self.shape(max_dims=2, min_side=1))
            return tuple(rng.integers(-n, n, size) for n in shape[: self.integer(1, len(shape))])
        parts: list[object] = [self._basic(n) for n in shape[: self.integer(0, len(shape))]]
        if kind == "mixed":
            at = self.integer(0, len(parts) - 1) if parts else 0
            parts[at : at + 1] = [rng.integers(-shape[at], shape[at], (self.integer(1, 3),))]
        if self.choice((False, True)):
            parts.append(Ellipsis)
        if self.choice((False, False, True)):
            parts.insert(self.integer(0, len(parts)), None)
        return tuple(parts)

    def _basic(self, n: int) -> int | slice:
        if self.choice((False, True)):
            return self.integer(-n, n - 1)
        start, stop = self.integer(-n, n), self.integer(-n, n)
        return slice(start, stop, self.choice((1, 2, -1, -2)))


class GeneratorDraw(_Draw):
    """Choices from a NumPy generator.

    >>> from tinygrad_cnn.autograd import REGISTRY
    >>> sample = REGISTRY["matmul"].samples(GeneratorDraw(0))
    >>> [a.ndim for a in sample.args]
    [2, 2]
    """

    def __init__(self, seed: int = 0) -> None:
        self._rng = np.random.default_rng(seed)

    def integer(self, low: int, high: int) -> int:
        """An integer from ``low`` to ``high``, both included."""
        return int(self._rng.integers(low, high + 1))


class HypothesisDraw(_Draw):
    """Choices from Hypothesis; ``data`` is what its strategy ``data()`` gives a test.

    Failing cases shrink to the simplest: small shapes, first options. Arrays shrink by their seed.
    """

    def __init__(self, data: DataObject | SimpleNamespace) -> None:
        from hypothesis import strategies

        self._draw = data.draw
        self._integers = strategies.integers

    def integer(self, low: int, high: int) -> int:
        """An integer from ``low`` to ``high``, both included."""
        return int(self._draw(self._integers(low, high)))

    def generator(self) -> np.random.Generator:
        """A NumPy generator with a drawn seed: one of few, which shrinks in few steps."""
        return np.random.default_rng(self.integer(0, 1023))


class EdgeDraw(_Draw):
    """Choices of another source, but shapes without axes, or with a side of 0, where allowed.

    Attributes
    ----------
    met
        Whether a shape of the wanted kind has been drawn.
    """

    def __init__(self, source: _Draw, kind: str) -> None:
        self._source, self._kind = source, kind
        self.met = False

    def integer(self, low: int, high: int) -> int:
        """An integer from ``low`` to ``high``, both included."""
        return int(self._source.integer(low, high))

    def shape(self, min_dims: int = 0, max_dims: int = 3, min_side: int = 0) -> Shape:
        """() for the kind "0-d", a shape with a side of 0 for "empty"."""
        if self._kind == "0-d" and min_dims == 0:
            self.met = True
            return ()
        shape = super().shape(max(min_dims, self._kind == "empty"), max_dims, min_side)
        if self._kind == "empty" and min_side == 0 and shape:
            self.met = True
            at = self.integer(0, len(shape) - 1)
            shape = (*shape[:at], 0, *shape[at + 1 :])
        return shape

    def broadcast_shapes(self, n: int = 2) -> tuple[Shape, ...]:
        """``n`` shapes that broadcast together; for "empty" none is stretched over the 0."""
        if self._kind == "empty":
            return (self.shape(),) * n
        return super().broadcast_shapes(n)
