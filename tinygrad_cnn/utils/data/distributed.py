"""Names of ``torch.utils.data.distributed``."""

from tinygrad_cnn.data import DistributedSampler

__all__ = ["DistributedSampler"]
