"""PyTorch's names for the CPU."""

from tinygrad_cnn.cpu import amp


def is_available() -> bool:
    """Whether tensors can be on the CPU: always."""
    return True


def device_count() -> int:
    """How many CPUs there are, to PyTorch: one."""
    return 1


def synchronize(device: object = None) -> None:
    """Nothing: operations are done when they return."""


__all__ = ["amp", "device_count", "is_available", "synchronize"]
