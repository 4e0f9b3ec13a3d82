"""Full backward hooks: identity operations around a module that see its gradients pass."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tinygrad_cnn.autograd import Function
from tinygrad_cnn.tensor import Tensor

__all__ = ["BackwardHook", "watch"]

BackwardHook = Callable[[Any, tuple[Any, ...], tuple[Any, ...]], Any]


class _Passage:
    """One call of a module: what its hooks need to know when the gradients come."""

    def __init__(self, module: Any, hooks: Sequence[BackwardHook]) -> None:
        self.module = module
        self.hooks = hooks
        self.grad_output: tuple[Any, ...] = ()
        self.watches_input = False

    def run(self, grad_input: tuple[Any, ...]) -> tuple[Any, ...]:
        """Call the hooks, each with what the one before it returned."""
        for hook in self.hooks:
            changed = hook(self.module, grad_input, self.grad_output)
            if changed is not None:
                changed = changed if isinstance(changed, tuple | list) else (changed,)
                if len(changed) != len(grad_input):
                    raise RuntimeError(
                        f"full backward hook: returned {len(changed)} gradients but the module "
                        f"({type(self.module).__name__}) has {len(grad_input)} inputs"
                    )
                grad_input = tuple(changed)
        return grad_input


class _InputTap(Function):
    """Hand the inputs on; on the way back, run the hooks."""

    @staticmethod
    def forward(ctx: Any, passage: _Passage, *values: Any) -> Any:
        ctx.set_materialize_grads(False)
        ctx.passage = passage
        return values

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        return (None, *ctx.passage.run(gradients))


class _OutputTap(Function):
    """Hand the outputs on; on the way back, note their gradients."""

    @staticmethod
    def forward(ctx: Any, passage: _Passage, *values: Any) -> Any:
        ctx.set_materialize_grads(False)
        ctx.passage = passage
        return values

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        passage = ctx.passage
        passage.grad_output = gradients
        if not passage.watches_input:  # no gradient will reach the inputs: this is the moment
            passage.run((None,) * len(gradients))
        return (None, *gradients)


def watch(
    module: Any, hooks: Sequence[BackwardHook], args: tuple[Any, ...]
) -> tuple[tuple[Any, ...], Callable[[Any], Any]]:
    """Return the arguments to call ``forward`` with and the function its output must go through."""
    passage = _Passage(module, hooks)
    passage.watches_input = any(isinstance(a, Tensor) and a.requires_grad for a in args)
    if passage.watches_input:
        args = tuple(_InputTap.apply(passage, *args))

    def finish(output: Any) -> Any:
        if isinstance(output, Tensor):
            return _OutputTap.apply(passage, output)[0]
        if isinstance(output, tuple | list):
            return type(output)(_OutputTap.apply(passage, *output))
        raise TypeError(
            f"full backward hook: {type(module).__name__} returned a {type(output).__name__} but "
            f"a tensor or a tuple or list of tensors is expected"
        )

    return args, finish
