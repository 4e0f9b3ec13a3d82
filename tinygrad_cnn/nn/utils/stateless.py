"""Calling a module with other parameters, under PyTorch's older path."""

from tinygrad_cnn.func.modules import functional_call

__all__ = ["functional_call"]
