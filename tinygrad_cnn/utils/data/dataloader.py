"""Names of ``torch.utils.data.dataloader``."""

from tinygrad_cnn.data import DataLoader, default_collate, default_convert, get_worker_info

__all__ = ["DataLoader", "default_collate", "default_convert", "get_worker_info"]
