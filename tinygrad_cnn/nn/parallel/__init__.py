"""One model on several processes: names of ``torch.nn.parallel``."""

from tinygrad_cnn.nn.parallel.distributed import DistributedDataParallel

__all__ = ["DistributedDataParallel"]
