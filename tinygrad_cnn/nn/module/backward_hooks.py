"""Full backward hooks: identity operations around a module that see its gradients pass."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from tinygrad_cnn.autograd import Function
from tinygrad_cnn.autograd.modes import is_recording
from tinygrad_cnn.autograd.variable import View
from tinygrad_cnn.tensor import Tensor

Gradients: TypeAlias = tuple[Tensor | None, ...]
BackwardHook = Callable[[Any, Gradients, Gradients], Any]
BackwardPreHook = Callable[[Any, Gradients], Any]


class Passage:
    """One call of a module: what its hooks need to know when the gradients come.

    The hooks run once for the gradients of each walk through the outputs. A walk that reaches the
    inputs by another way, as that of a second derivative, finds none and passes.
    """

    def __init__(
        self, module: object, hooks: Sequence[BackwardHook], pre_hooks: Sequence[BackwardPreHook]
    ) -> None:
        self.module, self.hooks, self.pre_hooks = module, hooks, pre_hooks
        self.grad_output: Gradients | None = None
        self.inputs = 0  # how many there are
        self.watches_input = False

    def enter(self, args: tuple[object, ...]) -> tuple[object, ...]:
        """The arguments to call ``forward`` with."""
        self.inputs = len(args)
        self.watches_input = _lives(args)
        return _tapped(args, self._input_gradients, True) if self.watches_input else args

    def leave(self, output: Any) -> Any:
        """What the module returns for the ``output`` of ``forward``."""
        if isinstance(output, Tensor):
            return self.leave((output,))[0]
        if not isinstance(output, tuple | list):
            warnings.warn(
                f"full backward hook: {type(self.module).__name__} returned a "
                f"{type(output).__name__}, but only the gradients of a tensor or of a tuple or "
                f"list of tensors can be seen",
                stacklevel=4,
            )
            return output
        if not _lives(output):
            return output
        tapped: tuple[Any, ...] = _tapped(tuple(output), self._output_gradients, False)
        return type(output)(*tapped) if hasattr(output, "_fields") else type(output)(tapped)

    def _input_gradients(self, gradients: Gradients) -> Gradients:
        if self.grad_output is None:
            return gradients
        for hook in self.hooks:
            changed = hook(self.module, gradients, self.grad_output)
            gradients = self._changed("full backward hook", changed, gradients, "inputs")
        self.grad_output = None
        return gradients

    def _output_gradients(self, gradients: Gradients) -> Gradients:
        for hook in self.pre_hooks:
            changed = hook(self.module, gradients)
            gradients = self._changed("full backward pre-hook", changed, gradients, "outputs")
        self.grad_output = gradients
        if self.hooks and not self.watches_input:
            self._without_input(gradients)
        return gradients

    def _without_input(self, gradients: Gradients) -> None:
        """Run the hooks now: no gradient will reach the inputs."""
        self.grad_output = None
        name = type(self.module).__name__
        warnings.warn(
            f"full backward hook: no input of {name} requires a gradient, so it is called without "
            f"any, when those of the outputs are known",
            stacklevel=2,
        )
        for hook in self.hooks:
            changed = hook(self.module, (None,) * self.inputs, gradients)
            if changed is not None and any(g is not None for g in changed):
                raise RuntimeError(
                    f"full backward hook: returned gradients for the inputs of {name}, none of "
                    f"which requires one"
                )

    def _changed(self, kind: str, changed: Any, before: Gradients, what: str) -> Gradients:
        if changed is None:
            return before
        changed = changed if isinstance(changed, tuple | list) else (changed,)
        if len(changed) != len(before):
            raise RuntimeError(
                f"{kind}: returned {len(changed)} gradients but the module "
                f"({type(self.module).__name__}) has {len(before)} {what}"
            )
        return tuple(changed)


class _Tap(Function):
    """Hand tensors on; on the way back, hand their gradients to a function."""

    @staticmethod
    def forward(
        ctx: Any, see: Callable[[Gradients], Gradients], materialize: bool, *tensors: Tensor
    ) -> tuple[Tensor, ...]:
        ctx.see = see
        ctx.set_materialize_grads(materialize)
        ctx.mark_non_differentiable(*[t for t in tensors if not t.requires_grad])
        return tensors

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> Gradients:
        return (None, None, *ctx.see(gradients))


def _lives(values: Sequence[object]) -> bool:
    """Whether a gradient can come to one of ``values``."""
    return is_recording() and any(isinstance(v, Tensor) and v.requires_grad for v in values)


def _tapped(
    values: tuple[object, ...], see: Callable[[Gradients], Gradients], zeros: bool
) -> tuple[object, ...]:
    """``values`` whose tensors' gradients go through ``see``, with None for what is no tensor.

    ``zeros`` says that tensors that got no gradient have zeros and not None.
    """
    places = [i for i, v in enumerate(values) if isinstance(v, Tensor)]

    def see_all(gradients: Gradients) -> Gradients:
        whole: list[Tensor | None] = [None] * len(values)
        for place, g in zip(places, gradients, strict=True):
            whole[place] = g
        seen = see(tuple(whole))
        return tuple(seen[place] for place in places)

    out = list(values)
    for place, new in zip(
        places, _Tap.apply(see_all, zeros, *[values[i] for i in places]), strict=True
    ):
        if new.requires_grad:
            # As in PyTorch, not to be changed in place: it shares memory, but not the history.
            source = values[place]
            assert isinstance(source, Tensor)
            new.view_of = View(source, (), False)
        out[place] = new
    return tuple(out)
