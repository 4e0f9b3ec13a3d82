"""Running a model to look at it: its results, and everything as it was before."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TypeVar

import numpy as np

from tinygrad_cnn.nn import Module
from tinygrad_cnn.ops.random import default_generator
from tinygrad_cnn.tensor import Tensor
from tinygrad_cnn.types import FLOATING

T = TypeVar("T")


def reachable(starts: Iterable[T], after: Callable[[T], Iterable[T]]) -> set[T]:
    """``starts``, and what follows them, step by step, by ``after``.

    >>> sorted(reachable([4], lambda n: [n // 2] if n else []))
    [0, 1, 2, 4]
    """
    found = set(starts)
    stack = list(found)
    while stack:
        for item in after(stack.pop()):
            if item not in found:
                found.add(item)
                stack.append(item)
    return found


def tensors_in(value: object) -> list[Tensor]:
    """The tensors in nested tuples, lists and dicts, in their order."""
    found: list[Tensor] = []
    stack: list[object] = [value]
    while stack:
        item = stack.pop()
        if isinstance(item, Tensor):
            found.append(item)
        elif isinstance(item, Mapping):
            stack.extend(reversed(list(item.values())))
        elif isinstance(item, (tuple, list)):
            stack.extend(reversed(item))
    return found


@contextlib.contextmanager
def unchanged(model: Module) -> Iterator[None]:
    """Put buffers and random numbers back to what they were, whatever happens inside."""
    state = default_generator.get_state()
    before = [
        (module, name, buffer, buffer._array.copy(), buffer.storage.version, buffer.storage.writer)
        for module in model.modules()
        for name, buffer in module._buffers.items()
        if buffer is not None
    ]
    try:
        yield
    finally:
        default_generator.set_state(state)
        for module, name, buffer, values, version, writer in before:
            if not np.array_equal(
                buffer._array, values, equal_nan=buffer._value.dtype.kind in FLOATING
            ):
                np.copyto(buffer._written_by("unchanged"), values)
            buffer.storage.version, buffer.storage.writer = version, writer
            module._buffers[name] = buffer
