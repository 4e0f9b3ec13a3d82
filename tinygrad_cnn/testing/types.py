"""Names for types that stand in many signatures here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

AnyCallable: TypeAlias = Callable[..., Any]
Arguments: TypeAlias = Sequence[Any]
"""Positional arguments of an operation: arrays, tensors, numbers, None."""

Params: TypeAlias = dict[str, Any]
"""Keyword arguments of an operation."""

Shape: TypeAlias = tuple[int, ...]
