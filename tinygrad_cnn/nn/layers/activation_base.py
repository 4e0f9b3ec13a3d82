"""What activation layers share: how their arguments are kept and shown."""

from __future__ import annotations

from typing import ClassVar

from tinygrad_cnn.nn.module.core import Module


class InplaceLayer(Module):
    """A layer whose only argument is ``inplace``."""

    def __init__(self, inplace: bool = False) -> None:
        super().__init__()
        self.inplace = inplace

    def extra_repr(self) -> str:
        """Return the argument if it is set."""
        return "inplace=True" if self.inplace else ""


class SettingsLayer(Module):
    """A layer whose line in `repr` lists the attributes named in ``shown``."""

    shown: ClassVar[tuple[str, ...]] = ()
    inplace: bool = False

    def extra_repr(self) -> str:
        """Return the arguments."""
        text = ", ".join(f"{name}={getattr(self, name)!r}" for name in self.shown)
        return text + (", inplace=True" if self.inplace else "")
