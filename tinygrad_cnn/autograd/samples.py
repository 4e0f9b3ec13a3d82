"""What an operation's samples are written in: a small protocol that several sources of choice fit.

``samples(draw)`` asks ``draw`` for sizes, choices and arrays and returns a `Sample`. Property tests
bind ``draw`` to Hypothesis; documentation and benchmarks bind it to a NumPy generator. Nothing here
imports either.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from tinygrad_cnn.types import Args, Array, Params


class Draw(Protocol):
    """A source of choices. Arrays are float64 and well spread, so that no two values are close."""

    def integer(self, low: int, high: int) -> int:
        """An integer, both ends included."""
        ...

    def choice(self, options: Sequence[Any]) -> Any:
        """One of ``options``."""
        ...

    def shape(self, min_dims: int = 0, max_dims: int = 3, min_side: int = 0) -> tuple[int, ...]:
        """A shape with small sides."""
        ...

    def broadcast_shapes(self, n: int = 2) -> tuple[tuple[int, ...], ...]:
        """``n`` shapes that broadcast together."""
        ...

    def array(self, shape: tuple[int, ...], low: float = -2.0, high: float = 2.0) -> Array:
        """Values between ``low`` and ``high``."""
        ...

    def distinct(self, shape: tuple[int, ...], low: float = -2.0, high: float = 2.0) -> Array:
        """Values no two of which are close to each other, nor to zero: for kinks and maxima."""
        ...

    def index(self, shape: tuple[int, ...]) -> Any:
        """An index expression for an array of this shape: basic, integer, boolean or mixed."""
        ...


@dataclass(frozen=True)
class Sample:
    """Valid arguments of an operation: arrays by position, parameters by keyword."""

    args: Args
    params: Params = field(default_factory=dict)

    def __post_init__(self) -> None:
        # arithmetic on a 0-d array gives a NumPy scalar; operations take arrays
        args = tuple(np.asarray(a) if isinstance(a, np.generic) else a for a in self.args)
        object.__setattr__(self, "args", args)


@dataclass(frozen=True)
class ErrorSample:
    """Arguments that an operation must refuse, with the exception and a part of its message."""

    args: Args
    params: Params
    error: type[Exception]
    match: str


def unary(
    low: float = -2.0, high: float = 2.0, away_from: float | None = None
) -> Callable[[Draw], Sample]:
    """Samples of one array of any shape with values in ``[low, high]``.

    ``away_from=0`` keeps values well apart from 0, where the function has a kink.
    """

    def samples(draw: Draw) -> Sample:
        shape = draw.shape()
        if away_from is None:
            return Sample((draw.array(shape, low, high),))
        return Sample((draw.distinct(shape, low, high) + away_from,))

    return samples


def binary(
    low: float = -2.0, high: float = 2.0, distinct: bool = False
) -> Callable[[Draw], Sample]:
    """Samples of two arrays that broadcast; ``distinct`` keeps all values of both apart."""

    def samples(draw: Draw) -> Sample:
        a, b = draw.broadcast_shapes(2)
        if distinct:
            n = int(np.prod(a))
            both = draw.distinct((n + int(np.prod(b)),), low, high)
            return Sample((both[:n].reshape(a), both[n:].reshape(b)))
        return Sample((draw.array(a, low, high), draw.array(b, low, high)))

    return samples
