"""Tensors of one file that share memory: which they are, and how they come to share it again.

Each is stored under its own name, so that other programs read it as it is. Beside, the tree says in
which memory each lies and where, and loading lays them out so.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.lib.array_utils import byte_bounds

from tinygrad_cnn.autograd.layout import view_on
from tinygrad_cnn.functions.copying import Memory, rebuild
from tinygrad_cnn.tensor import Tensor
from tinygrad_cnn.types import Array


def mark(tensors: Sequence[tuple[Array, dict[str, Any]]]) -> bool:
    """Add a "part" to the entry of each array that overlaps another; False if none does.

    A part is ``[number of the memory, its bytes, offset there, strides]``.
    """
    spans = sorted(
        ((*byte_bounds(array), array, entry) for array, entry in tensors if array.size),
        key=lambda span: span[:2],
    )
    groups: list[list[tuple[int, int, Array, dict[str, Any]]]] = []
    end = 0
    for span in spans:
        if groups and span[0] < end:
            groups[-1].append(span)
        else:
            groups.append([span])
        end = max(end, span[1])
    shared = [group for group in groups if len(group) > 1]
    for number, group in enumerate(shared):
        low, high = group[0][0], max(span[1] for span in group)
        for _, _, array, entry in group:
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
                raise ValueError(f"its tensors lie in {size} bytes of memory") from None
        layout = (values.dtype, values.shape, tuple(strides), offset)
        found = self._tensors.get((number, layout))
        if found is None:
            place = view_on(memory.flat, layout)
            place.flags.writeable = True
            np.copyto(place, values)
            found = self._tensors[number, layout] = rebuild(Tensor, memory, layout, False)
        return found
