"""Names of ``torch.utils``."""

from tinygrad_cnn.utils import checkpoint, data, dlpack

__all__ = ["checkpoint", "data", "dlpack"]
