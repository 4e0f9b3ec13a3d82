"""Hooks of all modules, under PyTorch's names in ``nn.modules.module``.

They are called before those of a module itself. Each function returns a handle whose ``remove()``
takes the hook away again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tinygrad_cnn.autograd import RemovableHandle
from tinygrad_cnn.autograd.hooks import add_hook
from tinygrad_cnn.nn.module.attributes import registering
from tinygrad_cnn.nn.module.hooks import Hook, everywhere

__all__ = [
    "register_module_backward_hook",
    "register_module_buffer_registration_hook",
    "register_module_forward_hook",
    "register_module_forward_pre_hook",
    "register_module_full_backward_hook",
    "register_module_full_backward_pre_hook",
    "register_module_module_registration_hook",
    "register_module_parameter_registration_hook",
]


def register_module_forward_pre_hook(hook: Hook) -> RemovableHandle:
    """Call ``hook(module, args)`` before each `forward` of any module."""
    return everywhere.add(hook, flag=("_forward_pre_hooks", False))


def register_module_forward_hook(
    hook: Hook, *, with_kwargs: bool = False, always_call: bool = False
) -> RemovableHandle:
    """Call ``hook(module, args, output)`` after each `forward` of any module.

    The options are those of `Module.register_forward_hook`.

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn
    >>> seen = []
    >>> with register_module_forward_hook(lambda m, args, y: seen.append(type(m).__name__)):
    ...     _ = nn.Sequential(nn.ReLU())(tg.ones(2))
    >>> seen
    ['ReLU', 'Sequential']
    """
    return everywhere.add(hook, flag=("_forward_hooks", with_kwargs), always=always_call)


def register_module_full_backward_hook(hook: Hook) -> RemovableHandle:
    """Call ``hook(module, grad_input, grad_output)`` when a module's gradient is known."""
    return everywhere.add(hook, flag=("_backward_hooks", False))


def register_module_backward_hook(hook: Hook) -> RemovableHandle:
    """Do as `register_module_full_backward_hook`, which is the newer name."""
    return register_module_full_backward_hook(hook)


def register_module_full_backward_pre_hook(hook: Hook) -> RemovableHandle:
    """Call ``hook(module, grad_output)`` when the gradients of a module's outputs are known."""
    return everywhere.add(hook, flag=("_backward_pre_hooks", False))


def register_module_parameter_registration_hook(hook: Callable[..., Any]) -> RemovableHandle:
    """Call ``hook(module, name, parameter)`` when a module gets a parameter.

    What it returns, unless None, is registered instead.
    """
    return add_hook(registering["parameter"], hook)


def register_module_buffer_registration_hook(hook: Callable[..., Any]) -> RemovableHandle:
    """Call ``hook(module, name, buffer)`` when a module gets a buffer.

    What it returns, unless None, is registered instead.
    """
    return add_hook(registering["buffer"], hook)


def register_module_module_registration_hook(hook: Callable[..., Any]) -> RemovableHandle:
    """Call ``hook(module, name, submodule)`` when a module gets a submodule.

    What it returns, unless None, is registered instead.
    """
    return add_hook(registering["module"], hook)
