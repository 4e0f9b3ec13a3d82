"""Tensors of one file that share memory: which they are, and how they come to share it again.

Each is stored under its own name, so that other programs read it as it is. Beside, the tree says in
which memory each lies and where, and loading lays them out so.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.lib.array_utils import byte_bounds

from tinygrad_cnn.autograd.layout import view_on
from tinygrad_cnn.errors import ArgumentError
from tinygrad_cnn.functions.copying import Memory, rebuild
from tinygrad_cnn.tensor import Tensor
from tinygrad_cnn.types import Array


class Span(NamedTuple):
    """The numbers of arrays that overlap one another, and between which addresses they lie."""

    low: int
    high: int
    members: list[int]


def spans(arrays: Sequence[Array]) -> list[Span]:
    """Which arrays lie in one memory: in the order of their addresses; those of no numbers in none.

    Examples
    --------
    >>> x = np.zeros(4)
    >>> sorted(span.members for span in spans([x[:3], x[2:], np.zeros(1)]))
    [[0, 1], [2]]
    """
    out: list[Span] = []
    found = sorted((*byte_bounds(array), i) for i, array in enumerate(arrays) if array.size)
    for low, high, member in found:
        if out and low < out[-1].high:
            last = out[-1]
            out[-1] = Span(last.low, max(last.high, high), [*last.members, member])
        else:
            out.append(Span(low, high, [member]))
    return out


def mark(tensors: Sequence[tuple[Array, dict[str, Any]]]) -> bool:
    """Add a "part" to the entry of each array that overlaps another; False if none does.

    A part is ``[number of the memory, its bytes, offset there, strides]``.
    """
    shared = [span for span in spans([array for array, _ in tensors]) if len(span.members) > 1]
    for number, (low, high, members) in enumerate(shared):
        for array, entry in (tensors[i] for i in members):
            offset = array.__array_interface__["data"][0] - low
            entry["part"] = [number, high - low, offset, array.strides]
    return bool(shared)


class Shared:
    """The memories of a file, filled as the tensors on them are asked for."""

    def __init__(self) -> None:
        self._memories: dict[int, Memory] = {}
        self._tensors: dict[Any, Tensor] = {}

    def tensor(
        self, values: Array, number: int, size: int, offset: int, strides: Sequence[int]
    ) -> Tensor:
        """The tensor of ``values`` in its place; the same one if it was asked for before."""
        memory = self._memories.get(number)
        if memory is None:
            try:
                memory = self._memories[number] = Memory(np.zeros(size, np.uint8))
            except MemoryError:  # of gaps between tensors there may be any number
                raise ArgumentError(f"its tensors lie in {size} bytes of memory") from None
        layout = (values.dtype, values.shape, tuple(strides), offset)
        found = self._tensors.get((number, layout))
        if found is None:
            place = view_on(memory.flat, layout)
            place.flags.writeable = True
            np.copyto(place, values)
            found = self._tensors[number, layout] = rebuild(Tensor, memory, layout, False)
        return found
