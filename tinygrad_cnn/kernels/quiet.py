"""Calls without NumPy's floating-point warnings.

Warnings are as before afterwards, even if a signal handler raises at the worst of moments: what
`numpy.errstate` does on leaving is a function of Python, which can be kept from beginning.
"""

from __future__ import annotations

import contextvars
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from typing import Any, TypeVar, cast

import numpy as np

__all__ = ["quiet", "quietly"]

F = TypeVar("F", bound=Callable[..., Any])


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


def quietly(
    function: Callable[..., Any], arrays: Sequence[Any], params: Mapping[str, Any]
) -> Any:  # fmt: skip
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


def quiet(function: F) -> F:
    """Return a function all of whose calls are `quietly`."""

    @wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        return quietly(function, args, kwargs)

    return cast(F, call)
