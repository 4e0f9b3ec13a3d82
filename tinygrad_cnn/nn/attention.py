"""PyTorch's choice of an implementation of attention, which may be made and changes nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum
from typing import Any

from tinygrad_cnn.errors import DtypeError

__all__ = [
    "SDPBackend",
    "sdpa_kernel",
]


class SDPBackend(IntEnum):
    """PyTorch's implementations of `scaled_dot_product_attention`."""

    ERROR = -1
    MATH = 0
    FLASH_ATTENTION = 1
    EFFICIENT_ATTENTION = 2
    CUDNN_ATTENTION = 3
    OVERRIDEABLE = 4


@contextmanager
def sdpa_kernel(
    backends: SDPBackend | list[SDPBackend], set_priority: bool = False
) -> Iterator[None]:
    """Nothing in this block: attention is computed as everywhere.

    Raises
    ------
    TypeError
        ``backends`` is no `SDPBackend` and no list of them.

    Examples
    --------
    >>> with sdpa_kernel([SDPBackend.FLASH_ATTENTION, SDPBackend.MATH]):
    ...     pass
    """
    given: list[Any] = backends if isinstance(backends, list) else [backends]
    if not all(isinstance(b, SDPBackend) for b in given):
        raise DtypeError(f"sdpa_kernel: `backends` is {backends!r}, expected SDPBackend or a list")
    yield
