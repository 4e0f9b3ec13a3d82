"""Settings of PyTorch's that may be made and asked for; they change nothing."""

from __future__ import annotations

from tinygrad_cnn.autograd import devices
from tinygrad_cnn.autograd.devices import DeviceLike, check_device
from tinygrad_cnn.errors import ArgumentError

_PRECISIONS = ("highest", "high", "medium")
_made = {"precision": "highest", "deterministic": False, "warn_only": False}


def set_float32_matmul_precision(precision: str) -> None:
    """Nothing but to remember it: products of float32 are always computed in float32.

    Raises
    ------
    ValueError
        ``precision`` is not "highest", "high" or "medium".
    """
    if precision not in _PRECISIONS:
        raise ArgumentError(
            f"set_float32_matmul_precision: `precision` is {precision!r}, expected one of "
            f"{', '.join(_PRECISIONS)}"
        )
    _made["precision"] = precision


def get_float32_matmul_precision() -> str:
    """What `set_float32_matmul_precision` was given."""
    return str(_made["precision"])


def use_deterministic_algorithms(mode: bool, *, warn_only: bool = False) -> None:
    """Nothing but to remember it: every operation gives the same result every time."""
    _made.update(deterministic=bool(mode), warn_only=bool(warn_only))


def are_deterministic_algorithms_enabled() -> bool:
    """What `use_deterministic_algorithms` was given."""
    return bool(_made["deterministic"])


def is_deterministic_algorithms_warn_only_enabled() -> bool:
    """Whether it was given ``warn_only``."""
    return bool(_made["warn_only"])


def set_default_device(device: DeviceLike) -> None:
    """Nothing: tensors live on the CPU, and another device is refused.

    Raises
    ------
    ValueError
        ``device`` is not the CPU.
    """
    check_device(device, "set_default_device")


def get_default_device() -> devices.device:
    """The CPU."""
    return devices.CPU
