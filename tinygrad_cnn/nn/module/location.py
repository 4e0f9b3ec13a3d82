"""Where in the tree of modules the program is: found from the call stack, and only when asked."""

from __future__ import annotations

import itertools
import sys
from types import CodeType, FrameType
from typing import TYPE_CHECKING

from tinygrad_cnn.autograd.anomaly import tellers

if TYPE_CHECKING:
    from tinygrad_cnn.nn.module.core import Module

#: Code of the function through which every module is called; hooks.py enters it once.
CALL_CODES: set[CodeType] = set()
#: The errors whose text gets the module's path. Others (``KeyboardInterrupt``, ...) pass untouched.
LOCATED_ERRORS = (ValueError, TypeError, RuntimeError, IndexError)


def running_modules() -> list[Module]:
    """Return the modules whose call is in progress in this thread, the outermost first.

    Nothing is kept while modules run: the call stack is read when this function is called.

    >>> from tinygrad_cnn import nn
    >>> nn.running_modules()
    []
    """
    return _modules_above(sys._getframe(1))


def current_module_path() -> str | None:
    """Return the dotted path of the running module, seen from the outermost one that runs.

    ``""`` stands for the outermost module itself and ``None`` for "no module is running".

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn
    >>> class Tell(nn.Module):
    ...     def forward(self, x):
    ...         print(nn.current_module_path())
    ...         return x
    >>> y = nn.Sequential(nn.Identity(), nn.Sequential(Tell()))(tg.ones(2))
    1.0
    """
    modules = _modules_above(sys._getframe(1))
    return path_of(modules) if modules else None


def _modules_above(frame: FrameType | None) -> list[Module]:
    found: list[Module] = []
    while frame is not None:
        if frame.f_code in CALL_CODES:
            found.append(frame.f_locals["self"])
        frame = frame.f_back
    return found[::-1]


def path_of(modules: list[Module]) -> str:
    """Join the names under which each module holds the next one."""
    names = []
    for outer, inner in itertools.pairwise(modules):
        if outer is not inner:  # a module may call itself, as when a hook calls it again
            names.append(next((n for n, m in outer.named_modules() if m is inner), None))
    # A module that nobody registered (kept in a plain list) has no name to give.
    return ".".join("?" if name is None else name for name in names)


def _named(frame: FrameType) -> str | None:
    """The running module as errors name it: ``features.3 (Conv2d)``."""
    modules = _modules_above(frame)
    if not modules:
        return None
    path, kind = path_of(modules), type(modules[-1]).__name__
    return f"{path} ({kind})" if path else kind


tellers.append(_named)


def locate(error: BaseException, frame: FrameType) -> None:
    """Add `` [in features.3 (Conv2d)]`` to the text of ``error``, once, where it was raised.

    The innermost module's call comes here first, while the calls around it are still on the
    stack, so that the whole path is known; the outer ones find the mark and leave.
    """
    if getattr(error, "_module_path", None) is not None:
        return
    error._module_path = path_of(_modules_above(frame))  # type: ignore[attr-defined]  # the mark
    where = f"in {_named(frame)}"
    if len(error.args) == 1 and isinstance(error.args[0], str):
        error.args = (f"{error.args[0]} [{where}]",)
    else:  # an error with several or no arguments formats itself: leave them alone
        error.add_note(where)
