"""The modes under the name of ``torch.autograd.grad_mode``."""

from tinygrad_cnn.autograd.modes import enable_grad, inference_mode, no_grad, set_grad_enabled

__all__ = ["enable_grad", "inference_mode", "no_grad", "set_grad_enabled"]
