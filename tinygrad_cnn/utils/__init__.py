"""What stands under ``torch.utils`` in PyTorch."""
