"""Where a unit of a recording comes from: module, pass, operation. It is read off the stack."""

from __future__ import annotations

import sys
from bisect import bisect_right
from types import CodeType, FrameType
from typing import Any, NamedTuple

from tinygrad_cnn.autograd.backward import VISIT
from tinygrad_cnn.autograd.node import clock
from tinygrad_cnn.autograd.registry import REGISTRY
from tinygrad_cnn.instrument.places import Labels
from tinygrad_cnn.nn.module.location import CALL_CODES
from tinygrad_cnn.optim.optimizer import STEP_CODES

_PUBLIC = ("tinygrad_cnn.functions.", "tinygrad_cnn.nn.utils.", "tinygrad_cnn.nn.functional")


class Origin(NamedTuple):
    """What a profile says of a unit; ``name`` is that of the operation whose rule it is part of, of
    the optimiser's step, of the public function that computes this without an operation, or "".
    """

    name: str = ""
    phase: str = "forward"
    modules: tuple[str, ...] = ()


class Origins:
    """Those of a recording that begins in a call of some code."""

    def __init__(self) -> None:
        self.labels = Labels()
        self.times: list[int] = []  # of forward units, and their modules
        self.modules: list[tuple[str, ...]] = []

    def here(self, outside: CodeType | None, name: str) -> Origin:
        """That of what runs now, called by what is ``outside``: an operation or a function."""
        frame: FrameType | None = sys._getframe(1)
        running: list[Any] = []
        public = "" if name in REGISTRY else None
        while frame is not None and frame.f_code is not outside:
            code = frame.f_code
            if public is None and _is_public(frame):
                public = code.co_name
            if code in CALL_CODES:
                running.append(frame.f_locals["self"])
            elif code is VISIT:
                node = frame.f_locals["node"]
                at = bisect_right(self.times, node.time) - 1
                op = getattr(node, "op", None)
                name = "" if op is None else op.name
                return Origin(name, "backward", self.modules[at] if at >= 0 else ())
            elif code in STEP_CODES:
                return Origin(f"{type(frame.f_locals['self']).__name__}.step", "optimizer")
            frame = frame.f_back
        running.reverse()
        found = tuple([self.labels.of(running[: n + 1]) for n in range(len(running))])
        self.times.append(clock())
        self.modules.append(found)
        return Origin(public or "", "forward", found)


def _is_public(frame: FrameType) -> bool:
    """Whether a function runs that users call, and that is no operation."""
    place, name = frame.f_globals.get("__name__", ""), frame.f_code.co_name
    return place.startswith(_PUBLIC) and not name.startswith(("_", "<")) and name not in REGISTRY
