"""Where tensors live: on the CPU. What programs written for PyTorch say about devices is taken."""

from __future__ import annotations

from typing import TypeAlias

from tinygrad_cnn.errors import ArgumentError


class device:  # PyTorch's name
    """The CPU; as `torch.device`, ``"cpu"`` and ``"cpu:0"`` are two that are not equal.

    Around statements (``with device("cpu"):``) it changes nothing.

    Parameters
    ----------
    type
        ``"cpu"``, ``"cpu:0"``, or a device.
    index
        Its number, unless ``type`` says it.

    Raises
    ------
    ValueError
        It is another device than the CPU.

    Examples
    --------
    >>> import tinygrad_cnn as tg
    >>> tg.device("cpu"), str(tg.device("cpu:0"))
    (device(type='cpu'), 'cpu:0')
    >>> tg.zeros(2).device == tg.device("cpu")
    True
    """

    __slots__ = ("index", "type")

    type: str
    index: int | None

    def __init__(self, type: str | device, index: int | None = None) -> None:
        kind, colon, number = str(type).partition(":")
        if kind != "cpu" or (colon and index is not None):
            raise _refused("device", "type", type)
        if colon:
            if not number.isdecimal():
                raise _refused("device", "type", type)
            index = int(number)
        if index not in (None, 0):
            raise _refused("device", "index", index)
        object.__setattr__(self, "type", kind)
        object.__setattr__(self, "index", index)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"device: `{name}` cannot be set")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, device) and self.index == other.index

    def __hash__(self) -> int:
        return hash((self.type, self.index))

    def __reduce__(self) -> tuple[object, tuple[str, int | None]]:
        return device, (self.type, self.index)

    def __repr__(self) -> str:
        index = "" if self.index is None else f", index={self.index}"
        return f"device(type={self.type!r}{index})"

    def __str__(self) -> str:
        return self.type if self.index is None else f"{self.type}:{self.index}"

    def __enter__(self) -> device:
        return self

    def __exit__(self, *error: object) -> None:
        return None


DeviceLike: TypeAlias = device | str | int | None
"""What a user may write for a device; None for the one there is."""

CPU = device("cpu")


def check_device(device: DeviceLike, name: str, argument: str = "device") -> None:
    """Raise ValueError, for the function ``name``, unless ``device`` is None or the CPU.

    Examples
    --------
    >>> check_device("cuda", "zeros")
    Traceback (most recent call last):
    tinygrad_cnn.errors.ArgumentError: zeros: `device` is 'cuda', but tensors live on 'cpu' only
    """
    if device is None or device is CPU or device == "cpu" or type(device) is type(CPU):
        return
    if device != "cpu:0":
        raise _refused(name, argument, device)


def _refused(name: str, argument: str, value: object) -> ArgumentError:
    """The error that says that there is no such device."""
    return ArgumentError(f"{name}: `{argument}` is {value!r}, but tensors live on 'cpu' only")
