"""PyTorch's older names of `tinygrad_cnn.amp` for CUDA: disabled, as none is here."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from tinygrad_cnn import amp
from tinygrad_cnn.types import AnyFunction, DTypeLike


class autocast(amp.autocast):  # PyTorch's name
    """``amp.autocast("cuda", ...)``."""

    def __init__(self, enabled: bool = True, dtype: Any = None, cache_enabled: bool = True) -> None:
        super().__init__("cuda", dtype, enabled, cache_enabled)


class GradScaler(amp.GradScaler):
    """``amp.GradScaler("cuda", ...)``."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__("cuda", *args, **kwargs)


def custom_fwd(
    fwd: AnyFunction | None = None, *, cast_inputs: DTypeLike = None
) -> Callable[..., Any]:
    """``amp.custom_fwd`` for "cuda"."""
    return amp.custom_fwd(fwd, device_type="cuda", cast_inputs=cast_inputs)


custom_bwd = functools.partial(amp.custom_bwd, device_type="cuda")
