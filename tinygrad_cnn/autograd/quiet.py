"""Calls without NumPy's floating-point warnings."""

from __future__ import annotations

import contextvars
from collections.abc import Callable
from typing import Any

import numpy as np

__all__ = ["quietly"]


def _find_warnings() -> tuple[contextvars.ContextVar[Any], Any] | None:
    """The variable in which NumPy keeps what to do on floating-point errors, and its value for
    ignoring all; None if this NumPy has no such variable.
    """
    context = contextvars.copy_context()
    context.run(np.seterr, all="ignore")
    for variable, value in context.items():
        if variable.name == "numpy.ufunc.extobj":
            return variable, value
    return None


_warnings = _find_warnings()


def quietly(function: Callable[..., Any], arrays: list[Any], params: dict[str, Any]) -> Any:
    """``function(*arrays, **params)`` without NumPy's floating-point warnings.

    As inside `numpy.errstate`, at a fraction of its cost.
    """
    if _warnings is None:
        with np.errstate(all="ignore"):
            return function(*arrays, **params)
    variable, ignore = _warnings
    token = variable.set(ignore)
    try:
        return function(*arrays, **params)
    finally:
        variable.reset(token)
