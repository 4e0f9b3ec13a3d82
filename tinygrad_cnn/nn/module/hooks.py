"""Calling a module, and the functions a user may hang before, after and behind its forward pass."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from typing import Any, TypeAlias

from tinygrad_cnn.autograd import RemovableHandle
from tinygrad_cnn.autograd.events import observe, watching
from tinygrad_cnn.errors import DtypeError
from tinygrad_cnn.nn.module.attributes import Members
from tinygrad_cnn.nn.module.backward_hooks import BackwardHook, BackwardPreHook, Passage
from tinygrad_cnn.nn.module.explain import explained
from tinygrad_cnn.nn.module.location import CALL_CODES, LOCATED_ERRORS, locate

Hook: TypeAlias = Callable[..., Any]
Args: TypeAlias = tuple[Any, ...]
Kwargs: TypeAlias = dict[str, Any]

HOOKS = (
    "_forward_pre_hooks",
    "_forward_hooks",
    "_backward_pre_hooks",
    "_backward_hooks",
    "_state_dict_pre_hooks",
    "_state_dict_hooks",
    "_load_state_dict_pre_hooks",
    "_load_state_dict_post_hooks",
)
"""The attributes of a module that hold hooks."""


class HookTable(Members):
    """Hooks by number, each with a flag: does it take more arguments than others of its kind?

    ``always`` holds the numbers of those that are called after an error too.
    """

    __slots__ = ("__weakref__", "always")

    def __init__(self) -> None:
        super().__init__()
        self.always: set[int] = set()

    def add(
        self,
        hook: Hook,
        *,
        flag: Any = False,
        prepend: bool = False,
        always: bool = False,
    ) -> RemovableHandle:
        """Register ``hook`` behind (or before) those that are there."""
        if not callable(hook):
            raise DtypeError(f"a hook is {hook!r}, expected a function")
        handle = RemovableHandle(self)
        if always:
            self.always.add(handle.id)
        later = list(self.items()) if prepend else []
        if prepend:
            self.clear()
        self[handle.id] = (hook, flag)
        self.update(later)
        return handle


everywhere = HookTable()
"""Hooks of all modules; the flag of each has the kind, one of `HOOKS`, before it."""


class CallMixin:
    """The part of `Module` that runs ``forward``."""

    _forward_pre_hooks: HookTable
    _forward_hooks: HookTable
    _backward_pre_hooks: HookTable
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
            if watching:
                run, name = self._call_with_hooks, type(self).__name__
                return observe("module", name, run, (args, kwargs), {})
            if (
                self._forward_pre_hooks
                or self._forward_hooks
                or self._backward_hooks
                or self._backward_pre_hooks
                or everywhere
            ):
                return self._call_with_hooks(args, kwargs)
            return self.forward(*args, **kwargs)
        except (*LOCATED_ERRORS, AttributeError) as error:
            better = explained(self, error, args, kwargs)  # type: ignore[arg-type]  # a Module
            if better is not None:
                locate(better, sys._getframe())
                raise better from error
            if not isinstance(error, AttributeError):
                locate(error, sys._getframe())
            raise

    def _call_with_hooks(self, args: Args, kwargs: Kwargs) -> Any:
        output: Any = None
        called: set[int] = set()
        try:
            args, kwargs = self._changed_arguments(args, kwargs)
            passage = None
            hooks = [hook for _, hook, _ in self._all_hooks("_backward_hooks")]
            pre_hooks = [hook for _, hook, _ in self._all_hooks("_backward_pre_hooks")]
            if hooks or pre_hooks:
                passage = Passage(self, hooks, pre_hooks)
                args = passage.enter(args)
            output = self.forward(*args, **kwargs)
            for number, hook, with_kwargs in self._all_hooks("_forward_hooks"):
                called.add(number)
                changed = hook(self, args, *(kwargs,) * with_kwargs, output)
                if changed is not None:
                    output = changed
            return output if passage is None else passage.leave(output)
        except Exception:
            left = (self._forward_hooks.always | everywhere.always) - called
            for number, hook, with_kwargs in self._all_hooks("_forward_hooks"):
                if number in left:
                    try:
                        hook(self, args, *(kwargs,) * with_kwargs, output)
                    except Exception as error:
                        warnings.warn(
                            f"forward hook: called after an error, it raised another one: {error}",
                            stacklevel=3,
                        )
            raise

    def _all_hooks(self, kind: str) -> list[tuple[int, Hook, bool]]:
        """Numbers, functions and flags of the hooks of a kind, those of all modules first."""
        shared = [(n, hook, flag[1]) for n, (hook, flag) in everywhere.items() if flag[0] == kind]
        return shared + [(n, *own) for n, own in getattr(self, kind).items()]

    def _changed_arguments(self, args: Args, kwargs: Kwargs) -> tuple[Args, Kwargs]:
        """What the hooks before the forward pass make of its arguments."""
        for _, hook, with_kwargs in self._all_hooks("_forward_pre_hooks"):
            if with_kwargs:
                changed = hook(self, args, kwargs)
                if changed is not None:
                    if not (isinstance(changed, tuple) and len(changed) == 2):
                        raise DtypeError(
                            f"forward pre-hook: expected None or (args, kwargs), got "
                            f"{type(changed).__name__}"
                        )
                    args, kwargs = changed
            else:
                changed = hook(self, args)
                if changed is not None:
                    args = changed if isinstance(changed, tuple) else (changed,)
        return args, kwargs

    def register_forward_pre_hook(
        self, hook: Hook, *, prepend: bool = False, with_kwargs: bool = False
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
        self,
        hook: Hook,
        *,
        prepend: bool = False,
        with_kwargs: bool = False,
        always_call: bool = False,
    ) -> RemovableHandle:
        """Call ``hook(module, args, output)`` after each `forward`.

        What it returns, unless None, replaces the output. With ``with_kwargs`` it is called as
        ``hook(module, args, kwargs, output)``. With ``always_call`` it is called after an error
        too, with None for the output.

        >>> import tinygrad_cnn as tg
        >>> from tinygrad_cnn import nn
        >>> layer, shapes = nn.Linear(3, 2), []
        >>> handle = layer.register_forward_hook(lambda m, args, y: shapes.append(y.shape))
        >>> _ = layer(tg.ones(5, 3))
        >>> shapes
        [Size([5, 2])]
        """
        return self._forward_hooks.add(hook, flag=with_kwargs, prepend=prepend, always=always_call)

    def register_full_backward_hook(
        self, hook: BackwardHook, prepend: bool = False
    ) -> RemovableHandle:
        """Call ``hook(module, grad_input, grad_output)`` when the module's gradient is known.

        ``grad_input`` and ``grad_output`` are tuples with one entry per positional argument and per
        output, None where an entry is no tensor or an output has no gradient. What the hook
        returns, unless None, replaces ``grad_input``. Outputs must be a tensor or a tuple or list
        of them. If no argument requires a gradient, the hook is called with Nones, and a warning.
        As in PyTorch, neither arguments nor outputs may be changed in place.

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

    def register_backward_hook(self, hook: BackwardHook) -> RemovableHandle:
        """Do as `register_full_backward_hook`, which is the newer name."""
        return self.register_full_backward_hook(hook)

    def register_full_backward_pre_hook(
        self, hook: BackwardPreHook, prepend: bool = False
    ) -> RemovableHandle:
        """Call ``hook(module, grad_output)`` when the gradients of the module's outputs are known.

        What it returns, unless None, replaces them.

        >>> import tinygrad_cnn as tg
        >>> from tinygrad_cnn import nn
        >>> layer = nn.ReLU()
        >>> handle = layer.register_full_backward_pre_hook(lambda module, gy: (gy[0] * 10,))
        >>> x = tg.ones(2, requires_grad=True)
        >>> layer(x).sum().backward()
        >>> x.grad
        tensor([10., 10.])
        """
        return self._backward_pre_hooks.add(hook, prepend=prepend)


CALL_CODES.add(CallMixin.__call__.__code__)
