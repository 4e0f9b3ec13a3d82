"""PyTorch's older place of `tinygrad_cnn.profiler`, whose names it has."""

import importlib
from typing import Any


def __getattr__(name: str) -> Any:
    """A name of `tinygrad_cnn.profiler`, which is imported when it is first used."""
    if name.startswith("__"):
        raise AttributeError(name)
    return getattr(importlib.import_module("tinygrad_cnn.profiler"), name)
