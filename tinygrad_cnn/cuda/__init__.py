"""What programs written for PyTorch ask of CUDA before they use the CPU.

>>> import tinygrad_cnn as tg
>>> tg.device("cuda" if tg.cuda.is_available() else "cpu")
device(type='cpu')
"""

from importlib import import_module
from typing import Any


def is_available() -> bool:
    """Whether tensors can be on a graphics processor: never."""
    return False


is_initialized = is_bf16_supported = is_available


def device_count() -> int:
    """How many graphics processors there are: none."""
    return 0


def manual_seed(seed: int) -> None:
    """Nothing: no random numbers are drawn on a graphics processor."""


manual_seed_all = manual_seed


def empty_cache() -> None:
    """Nothing: no memory of a graphics processor is held."""


def __getattr__(name: str) -> Any:
    if name == "amp":  # it needs much that needs this
        return import_module(f"{__name__}.amp")
    raise AttributeError(
        f"cuda: there is no `{name}`, as tensors live on 'cpu' only; ask cuda.is_available() first"
    )
