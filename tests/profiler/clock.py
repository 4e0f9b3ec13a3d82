"""A clock that only the test moves, and operations that take a known time on it."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_cnn.autograd import Op
from tinygrad_cnn.profiler import session

__all__ = ["Clock", "stand_still"]


class Clock:
    """Nanoseconds that pass when told to."""

    def __init__(self) -> None:
        self.ns = 0

    def __call__(self) -> int:
        return self.ns

    def work(self, milliseconds: float) -> None:
        self.ns += round(milliseconds * 1e6)

    def operation(self, name: str, forward: float, backward: float) -> Any:
        """The identity, which takes so many milliseconds."""

        def run(x: Any) -> Any:
            """Copy, slowly."""
            self.work(forward)
            return np.array(x)

        def rule(g: Any) -> Any:
            self.work(backward)
            return g

        run.__name__ = name
        return Op(run, rule)


def stand_still(monkeypatch: Any) -> Clock:
    """Give the profiler this clock."""
    clock = Clock()
    monkeypatch.setattr(session, "perf_counter_ns", clock)
    return clock
