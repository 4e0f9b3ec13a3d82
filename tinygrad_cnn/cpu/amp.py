"""PyTorch's older names of `tinygrad_cnn.amp` for the CPU."""

from __future__ import annotations

from typing import Any

from tinygrad_cnn import amp


class autocast(amp.autocast):  # PyTorch's name
    """``amp.autocast("cpu", ...)``."""

    def __init__(self, enabled: bool = True, dtype: Any = None, cache_enabled: bool = True) -> None:
        super().__init__("cpu", dtype, enabled, cache_enabled)


class GradScaler(amp.GradScaler):
    """``amp.GradScaler("cpu", ...)``."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__("cpu", *args, **kwargs)
