"""Sides that follow the batch's size: found by running a model on batches of several sizes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np


class Unlike(Exception):
    """Values of several runs are neither equal nor follow the batch's size; says in what."""


@dataclass(frozen=True)
class Side:
    """``times * batch + more``."""

    times: int
    more: int = 0

    def __mul__(self, other: int) -> Side:
        return Side(self.times * other, self.more * other)

    def __add__(self, other: int) -> Side:
        return Side(self.times, self.more + other)

    def __sub__(self, other: int) -> Side:
        return Side(self.times, self.more - other)

    __rmul__, __radd__ = __mul__, __add__

    def __str__(self) -> str:
        """As ONNX names it: ``batch``, ``49*batch``, ``batch + 1``."""
        text = "batch" if self.times == 1 else f"{self.times}*batch"
        return f"{text} {'+' if self.more > 0 else '-'} {abs(self.more)}" if self.more else text


def merged(sizes: Sequence[int], values: Sequence[Any]) -> Any:
    """One value for what several runs, on batches of these sizes, have in one place.

    Equal values are that value; integers that follow the batch's size are a `Side`; tuples, lists,
    dicts and slices are merged part by part.

    Raises
    ------
    Unlike
        They differ otherwise.
    """
    first = values[0]
    if any(type(v) is not type(first) for v in values):
        raise Unlike(" and ".join(sorted({type(v).__name__ for v in values})))
    if isinstance(first, (tuple, list)):
        if any(len(v) != len(first) for v in values):
            raise Unlike(f"{type(first).__name__}s of {_listed(map(len, values))} values")
        parts = [merged(sizes, v) for v in zip(*values, strict=True)]
        if isinstance(first, tuple) and hasattr(first, "_fields"):
            return type(first)(*parts)
        return tuple(parts) if isinstance(first, tuple) else parts
    if isinstance(first, Mapping):
        if any(list(v) != list(first) for v in values):
            raise Unlike("names")
        return {k: merged(sizes, [v[k] for v in values]) for k in first}
    if isinstance(first, slice):
        return slice(*merged(sizes, [(v.start, v.stop, v.step) for v in values]))
    if type(first) is int:
        return _side(sizes, values)
    if isinstance(first, np.ndarray):
        if all(_same(first, v) for v in values):
            return first
        raise Unlike(f"arrays of shape {_listed(v.shape for v in values)}")
    if all(v is first or v == first or (v != v and first != first) for v in values):
        return first
    raise Unlike(_listed(values))


def _same(a: np.ndarray, b: np.ndarray) -> bool:
    return a.shape == b.shape and a.dtype == b.dtype and a.tobytes() == b.tobytes()


def _side(sizes: Sequence[int], values: Sequence[int]) -> int | Side:
    if all(v == values[0] for v in values):
        return values[0]
    if sizes[0] != sizes[1]:
        times, rest = divmod(values[1] - values[0], sizes[1] - sizes[0])
        more = values[0] - times * sizes[0]
        fits = all(v == times * n + more for n, v in zip(sizes, values, strict=True))
        if fits and not rest and times > 0:
            return Side(times, more)
    raise Unlike(_listed(values))


def _listed(values: Any) -> str:
    return ", ".join(map(str, values))


def mapped(value: Any, function: Callable[[Any], Any]) -> Any:
    """A nested value with ``function`` of all that is in its tuples, lists and dicts."""
    if isinstance(value, tuple):
        parts = [mapped(v, function) for v in value]
        return type(value)(*parts) if hasattr(value, "_fields") else tuple(parts)
    if isinstance(value, list):
        return [mapped(v, function) for v in value]
    if isinstance(value, dict):
        return {k: mapped(v, function) for k, v in value.items()}
    return function(value)
