"""Draws programs: from Hypothesis, so that failures shrink, or from a seed, which is faster."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from hypothesis import strategies as st

import tinygrad_cnn as tg
from tinygrad_cnn.testing.draws import HypothesisDraw

from .drawing import Drawing, gradients_share_memory
from .instructions import CLOSING, GROUPS, OPENING, SEES, WEIGHTS
from .run import Run, differentiates, on_its_own, torch

_LONGEST = 40
_ALWAYS = ("create", "backward")
UNRECORDED = "with T.no_grad(): "


@dataclass(frozen=True)
class Statement:
    """One line of a program, and the instruction that it was made from."""

    text: str
    instruction: str


def draw_program(draw: Any, off: Collection[str] = (), without: str = "") -> list[Statement]:
    """A program from the groups of instructions that are not ``off``, ``without`` those in which
    this regular expression is found.

    Each program uses some of the groups only, so that what seldom comes together does in some.
    """
    groups = [g for g in GROUPS if g not in off]
    groups = [g for g in groups if g in _ALWAYS or draw.integer(0, 2) > 0]
    groups = [g for g in groups for _ in range(WEIGHTS.get(g, 1))]
    module = torch or tg
    statements: list[Statement] = []
    with on_its_own(module, "reference"):
        run = Run(module, "float32")
        drawing = Drawing(draw, run, off)

        views = [line for name in SEES for line in GROUPS[name]]

        def add(instruction: str, prefix: str = "") -> None:
            if instruction in views and (prefix or not module.is_grad_enabled()):
                return
            if without and re.search(without, instruction):
                return
            text = drawing.fill(instruction)
            if text is not None:
                statements.append(Statement(prefix + text, prefix + instruction))
                raised = run.execute(prefix + text)
                drawing.note_expanded()
                if differentiates(text) and (raised or gradients_share_memory(run)):
                    names = [f'"{name}"' for name in run.variables() if name[0] in "xm"]
                    text = f"forget({', '.join(names)})"
                    statements.append(Statement(text, "forget"))
                    run.execute(text)

        for _ in range(2):
            add(draw.choice(OPENING))
        while draw.integer(0, 59) and len(statements) < _LONGEST:
            unrecorded = draw.integer(0, 9) == 9
            add(draw.choice(GROUPS[draw.choice(groups)]), UNRECORDED if unrecorded else "")
        if not module.is_grad_enabled():
            add("T.set_grad_enabled(True)")
        for _ in range(3):
            add(CLOSING)
    return statements


@st.composite
def programs(draw: Any, off: Collection[str] = (), without: str = "") -> list[Statement]:
    """Programs that shrink: to fewer statements, first lines of the table, newest tensors."""
    return draw_program(HypothesisDraw(SimpleNamespace(draw=draw)), off, without)
