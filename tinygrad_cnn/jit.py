"""What programs written for PyTorch say to its compiler. Nothing is compiled."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from typing import Any, TypeVar

__all__ = [
    "export",
    "ignore",
    "is_scripting",
    "is_tracing",
    "script",
    "trace",
    "unused",
]

_T = TypeVar("_T")


@functools.cache
def _warn(name: str) -> None:
    warnings.warn(
        f"jit.{name}: nothing is compiled; what was given is returned as it is", stacklevel=3
    )


def script(obj: _T, *args: Any, **kwargs: Any) -> _T:
    """``obj`` (a function, class or module) as it is; the first time with a warning.

    Examples
    --------
    >>> import warnings
    >>> with warnings.catch_warnings():
    ...     warnings.simplefilter("ignore")
    ...     script(abs) is abs
    True
    """
    _warn("script")
    return obj


def trace(func: _T, example_inputs: Any = None, *args: Any, **kwargs: Any) -> _T:
    """``func`` (a function or module) as it is, not called; the first time with a warning."""
    _warn("trace")
    return func


def export(fn: _T) -> _T:
    """``fn`` as it is."""
    return fn


def unused(fn: _T) -> _T:
    """``fn`` as it is."""
    return fn


def ignore(drop: Any = False, **kwargs: Any) -> Any:
    """A decorator, with arguments or without, that leaves the function as it is."""
    return drop if callable(drop) else _same


def _same(function: Callable[..., Any]) -> Callable[..., Any]:
    return function


def is_scripting() -> bool:
    """Whether this is being compiled: never."""
    return False


def is_tracing() -> bool:
    """Whether this is being traced: never."""
    return False
