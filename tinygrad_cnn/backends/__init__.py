"""What programs written for PyTorch ask of its backends. None of them is here."""

from tinygrad_cnn.backends import cuda, cudnn, mps

__all__ = ["cuda", "cudnn", "mps"]
