"""`Mutant`: an operation with one mistake."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tinygrad_cnn.autograd.op import Op


@dataclass(frozen=True)
class Mutant:
    """An operation with one mistake: its description, and how to make it.

    ``acted`` gets an element as soon as the mistake has changed something. Some cannot: there are
    no two axes to transpose in a vector.
    """

    operation: str
    change: str
    make: Callable[[], Op]
    acted: list[bool]

    @property
    def name(self) -> str:
        """Operation and change; the same from run to run."""
        return f"{self.operation}: {self.change}"


def like(op: Op, **changes: Any) -> Op:
    """A copy of the record with other attributes; it is not registered."""
    new = copy.copy(op)
    new.forget()
    for name, value in changes.items():
        setattr(new, name, value)
    return new
