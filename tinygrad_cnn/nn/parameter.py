"""Kinds of tensors that modules own, under the names of ``torch.nn.parameter``."""

from tinygrad_cnn.nn.module.parameter import (
    Buffer,
    Parameter,
    UninitializedBuffer,
    UninitializedParameter,
    is_lazy,
)

__all__ = ["Buffer", "Parameter", "UninitializedBuffer", "UninitializedParameter", "is_lazy"]
