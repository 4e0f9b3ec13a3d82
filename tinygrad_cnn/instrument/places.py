"""Where in the user's program an operation runs: labels of modules, lines of source."""

from __future__ import annotations

import functools
import os
import sysconfig
from collections.abc import Iterator
from types import FrameType
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from tinygrad_cnn.nn.module.location import CALL_CODES, path_of

if TYPE_CHECKING:
    from tinygrad_cnn.nn import Module


class Line(NamedTuple):
    """A line of the user's source that was running, and the function it belongs to.

    ``first`` is the function's first line. ``direct`` says that the operation ran in this function
    or in plain functions called from it, and not in a module that it called.
    """

    file: str
    line: int
    function: str
    first: int
    direct: bool


class Labels:
    """Names of running modules: ``MiniVGG.features.0.0 (Conv2d)``, ``MiniVGG`` for the outermost.

    A second outermost module of the same class is called ``MiniVGG#2``.
    """

    def __init__(self) -> None:
        self._roots: dict[int, str] = {}
        self._known: dict[tuple[int, ...], str] = {}
        self._alive: list[Module] = []  # so that no other module gets the id of one that we know

    def of(self, modules: list[Module]) -> str:
        """The label of the last one; the others are those it runs in, the outermost first."""
        key = tuple(map(id, modules))
        label = self._known.get(key)
        if label is None:
            self._alive.extend(modules)
            root = self._root(modules[0])
            path = path_of(modules)
            label = f"{root}.{path} ({type(modules[-1]).__name__})" if path else root
            self._known[key] = label
        return label

    def _root(self, module: Module) -> str:
        if id(module) not in self._roots:
            name = type(module).__name__
            same = sum(r.partition("#")[0] == name for r in self._roots.values())
            self._roots[id(module)] = f"{name}#{same + 1}" if same else name
        return self._roots[id(module)]


_NOT_THE_USERS = tuple(
    os.path.join(folder, "")
    for folder in (
        os.path.dirname(os.path.dirname(__file__)),
        os.path.dirname(np.__file__),
    )
)
_STANDARD = os.path.join(sysconfig.get_paths()["stdlib"], "")
_INSTALLED = tuple(os.path.join(sysconfig.get_paths()[k], "") for k in ("purelib", "platlib"))
# Before Python 3.12 these have frames of their own, inside of one that is at the same line.
_COMPREHENSIONS = ("<listcomp>", "<setcomp>", "<dictcomp>", "<genexpr>")


@functools.cache
def _is_users(file: str) -> bool:
    """Whether a file is the user's own or that of a package in which models may be."""
    if file.startswith("<frozen") or file.startswith(_NOT_THE_USERS):
        return False
    return not file.startswith(_STANDARD) or file.startswith(_INSTALLED)


def lines_above(frame: FrameType | None, outermost: int) -> tuple[Line, ...]:
    """The user's lines that are running in ``frame`` and its callers, up to the frame with the id
    ``outermost``, the innermost first.
    """
    return tuple(_lines(frame, outermost))


def line_above(frame: FrameType | None) -> Line | None:
    """The innermost of the user's lines that are running in ``frame`` and its callers."""
    return next(_lines(frame, 0), None)


def _lines(frame: FrameType | None, outermost: int) -> Iterator[Line]:
    direct = True
    while frame is not None:
        code = frame.f_code
        if code in CALL_CODES:
            direct = False
        elif code.co_name not in _COMPREHENSIONS and _is_users(code.co_filename):
            line = frame.f_lineno or code.co_firstlineno
            name = code.co_qualname.replace("<locals>.", "")
            yield Line(code.co_filename, line, name, code.co_firstlineno, direct)
        if id(frame) == outermost:
            break
        frame = frame.f_back
