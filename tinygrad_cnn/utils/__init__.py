"""Names of ``torch.utils``."""

from tinygrad_cnn.utils import data

__all__ = ["data"]
