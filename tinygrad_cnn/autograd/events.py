"""Watching operations as they run: the one seam of the engine that drawings are made through.

While nobody watches, an operation pays for one look at an empty list. While a thread watches, every
call of an operation, of a `Function` and of ``detach`` is handed to its observer, which runs it.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

Observer = Callable[[str, Callable[..., Any], tuple[Any, ...], dict[str, Any]], Any]
"""``observer(name, run, args, params)`` returns ``run(*args, **params)`` and notes what it likes.

It sets `observer` to None meanwhile, so that what runs inside a call is not handed to it too.
"""

watching: list[Any] = []
"""Not empty while some thread watches: all that the hot path asks."""

observer: ContextVar[Observer | None] = ContextVar("tinygrad_cnn.observer", default=None)
"""Who watches in this thread or task."""
