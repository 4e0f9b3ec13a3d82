"""Names of ``torch.utils``."""

from tinygrad_cnn.utils import checkpoint, data

__all__ = ["checkpoint", "data"]
