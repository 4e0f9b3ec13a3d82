"""Signals: `windows`, as in ``torch.signal``."""

from tinygrad_cnn.signal import windows

__all__ = ["windows"]
