"""What the call stack tells about an operation that is about to run. Read only while watching."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from types import FrameType
from typing import TYPE_CHECKING, Any

from tinygrad_cnn.autograd.backward import backward, grad
from tinygrad_cnn.autograd.function import _FunctionDerivative
from tinygrad_cnn.autograd.op import Op
from tinygrad_cnn.nn.module.location import CALL_CODES
from tinygrad_cnn.viz.graph.text import place

if TYPE_CHECKING:
    from tinygrad_cnn.nn import Module

_PACKAGE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))) + os.sep
_RULES = {Op.pullback.__code__, _FunctionDerivative.pullback.__code__}
_WALKS = {backward.__code__, grad.__code__}


@dataclass(slots=True)
class Where:
    """The modules that run (outermost first), the user's line, and the rule that runs.

    ``rule`` is the creation time of the node whose derivative rule called the operation.
    """

    modules: list[Module] = field(default_factory=list)
    line: str = ""
    backward: bool = False
    rule: int | None = None


def look(frame: FrameType | None) -> Where:
    """What the stack from ``frame`` upwards says."""
    where = Where()
    caller: Any = None
    while frame is not None:
        code = frame.f_code
        if code in CALL_CODES:
            where.modules.append(frame.f_locals["self"])
        elif code in _RULES:
            where.rule = frame.f_locals["node"].time  # the outermost one stays
        elif code in _WALKS:
            where.backward = True
        elif caller is None and not code.co_filename.startswith(_PACKAGE):
            caller = frame
        frame = frame.f_back
    where.modules.reverse()
    if caller is not None:
        where.line = place(caller.f_code.co_filename, caller.f_lineno, caller.f_code.co_name)
    return where
