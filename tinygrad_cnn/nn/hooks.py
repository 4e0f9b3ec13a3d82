"""Calling a module, and the functions a user may hang before, after and behind its forward pass."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from tinygrad_cnn.autograd import RemovableHandle
from tinygrad_cnn.nn.backward import BackwardHook, watch
from tinygrad_cnn.nn.location import CALL_CODES, LOCATED_ERRORS, locate

__all__ = ["HOOKS", "CallMixin", "HookTable"]


HOOKS = (
    "_forward_pre_hooks",
    "_forward_hooks",
    "_backward_hooks",
    "_state_dict_pre_hooks",
    "_state_dict_hooks",
    "_load_state_dict_pre_hooks",
    "_load_state_dict_post_hooks",
)
"""The attributes of a module that hold hooks."""


class HookTable(dict[int, tuple[Callable[..., Any], bool]]):
    """Hooks by number, each with a flag: does it take more arguments than others of its kind?"""

    __slots__ = ("__weakref__",)

    def add(
        self, hook: Callable[..., Any], *, flag: bool = False, prepend: bool = False
    ) -> RemovableHandle:
        """Register ``hook`` behind (or before) those that are there."""
        handle = RemovableHandle(self)
        later = list(self.items()) if prepend else []
        if prepend:
            self.clear()
        self[handle.id] = (hook, flag)
        self.update(later)
        return handle


class CallMixin:
    """The part of `Module` that runs ``forward``."""

    _forward_pre_hooks: HookTable
    _forward_hooks: HookTable
    _backward_hooks: HookTable

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Compute the module's output. Every subclass defines this."""
        raise NotImplementedError(
            f"{type(self).__name__}: no `forward` is defined; write "
            f"`def forward(self, x): ...` in the class (its exact name, inside the class body)"
        )

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run `forward` and the hooks; an error raised inside names the module's path."""
        try:
            if self._forward_pre_hooks or self._forward_hooks or self._backward_hooks:
                return self._call_with_hooks(args, kwargs)
            return self.forward(*args, **kwargs)
        except LOCATED_ERRORS as error:
            locate(error, sys._getframe())
            raise

    def _call_with_hooks(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        for hook, with_kwargs in tuple(self._forward_pre_hooks.values()):
            if with_kwargs:
                changed = hook(self, args, kwargs)
                if changed is not None:
                    if not (isinstance(changed, tuple) and len(changed) == 2):
                        raise TypeError(
                            f"forward pre-hook: expected None or (args, kwargs), got "
                            f"{type(changed).__name__}"
                        )
                    args, kwargs = changed
            else:
                changed = hook(self, args)
                if changed is not None:
                    args = changed if isinstance(changed, tuple) else (changed,)
        backward: list[BackwardHook] = [hook for hook, _ in self._backward_hooks.values()]
        pending = None
        if backward:
            args, pending = watch(self, backward, args)
        output = self.forward(*args, **kwargs)
        for hook, with_kwargs in tuple(self._forward_hooks.values()):
            changed = hook(self, args, kwargs, output) if with_kwargs else hook(self, args, output)
            if changed is not None:
                output = changed
        return pending(output) if pending is not None else output

    def register_forward_pre_hook(
        self, hook: Callable[..., Any], *, prepend: bool = False, with_kwargs: bool = False
    ) -> RemovableHandle:
        """Call ``hook(module, args)`` before each `forward`.

        What it returns, unless None, replaces the positional arguments. With ``with_kwargs`` it is
        called as ``hook(module, args, kwargs)`` and may return ``(args, kwargs)``. ``prepend`` puts
        it before the hooks that are already there.

        Returns
        -------
        RemovableHandle
            Its ``remove()`` takes the hook away again.

        >>> import tinygrad_cnn as tg
        >>> from tinygrad_cnn import nn
        >>> layer = nn.Identity()
        >>> handle = layer.register_forward_pre_hook(lambda module, args: (args[0] + 1,))
        >>> layer(tg.zeros(2))
        tensor([1., 1.])
        >>> handle.remove()
        """
        return self._forward_pre_hooks.add(hook, flag=with_kwargs, prepend=prepend)

    def register_forward_hook(
        self, hook: Callable[..., Any], *, prepend: bool = False, with_kwargs: bool = False
    ) -> RemovableHandle:
        """Call ``hook(module, args, output)`` after each `forward`.

        What it returns, unless None, replaces the output. With ``with_kwargs`` it is called as
        ``hook(module, args, kwargs, output)``.

        >>> import tinygrad_cnn as tg
        >>> from tinygrad_cnn import nn
        >>> layer, shapes = nn.Linear(3, 2), []
        >>> handle = layer.register_forward_hook(lambda m, args, y: shapes.append(y.shape))
        >>> _ = layer(tg.ones(5, 3))
        >>> shapes
        [(5, 2)]
        """
        return self._forward_hooks.add(hook, flag=with_kwargs, prepend=prepend)

    def register_full_backward_hook(
        self, hook: BackwardHook, prepend: bool = False
    ) -> RemovableHandle:
        """Call ``hook(module, grad_input, grad_output)`` when the module's gradient is known.

        ``grad_input`` and ``grad_output`` are tuples with one entry per positional argument and per
        output, None where an entry is no tensor or has no gradient. What the hook returns, unless
        None, replaces ``grad_input``. Outputs must be a tensor or a tuple or list of them.

        >>> import tinygrad_cnn as tg
        >>> from tinygrad_cnn import nn
        >>> layer, seen = nn.ReLU(), []
        >>> handle = layer.register_full_backward_hook(
        ...     lambda module, gx, gy: seen.append((gx[0].tolist(), gy[0].tolist()))
        ... )
        >>> x = tg.tensor([-1.0, 2.0], requires_grad=True)
        >>> (3 * layer(x)).sum().backward()
        >>> seen
        [([0.0, 3.0], [3.0, 3.0])]
        """
        return self._backward_hooks.add(hook, prepend=prepend)


CALL_CODES.add(CallMixin.__call__.__code__)
