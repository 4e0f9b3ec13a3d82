"""What a few steps of an optimiser would do, tried on copies of the parameters."""

from __future__ import annotations

import contextlib
import copy
import math
from collections.abc import Callable, Iterator

from tinygrad_cnn.autograd import grad
from tinygrad_cnn.autograd.variable import Storage
from tinygrad_cnn.instrument.running import unchanged
from tinygrad_cnn.nn import Module
from tinygrad_cnn.optim import Optimizer
from tinygrad_cnn.tensor import Tensor
from tinygrad_cnn.viz.graph.measures import norm_of

_STEPS = 5
_MOST_UPDATE = 1.0
_MOST_GROWTH = 3.0


def learning_rate(
    model: Module, rerun: Callable[[], Tensor] | None, optimizer: Optimizer
) -> tuple[tuple[str, ...], str] | None:
    """Whether the learning rate is too high: what it is about, and why.

    It is if one step changes a weight by more than its size (that of PyTorch's initial weights at
    least), or if a few steps on the same batch have the loss explode. An optimiser whose ``step``
    needs a closure, and which searches for the length of its step, is not tried.
    """
    rates = sorted({float(group["lr"]) for group in optimizer.param_groups if "lr" in group})
    what = (f"lr={', '.join(f'{r:g}' for r in rates)}",)
    weights = [(n, p) for n, p in model.named_parameters() if p.ndim > 1 and p.numel()]
    with _untouched(model, optimizer):
        before = [p._array.copy() for _, p in weights]
        try:
            losses = _steps(model, rerun, optimizer, 1)
        except TypeError:  # it needs a closure
            return None
        ratios = [
            norm_of(p._array - old) / max(norm_of(old), math.sqrt(p.shape[0] / 3))
            for (_, p), old in zip(weights, before, strict=True)
        ]
        losses += _steps(model, rerun, optimizer, _STEPS - 1)
    largest = max(ratios, default=0.0)
    if len(losses) > 1 and not all(map(math.isfinite, losses)):
        return what, f"within {_STEPS} steps on one batch the loss is not finite any more"
    if len(losses) > 1 and losses[-1] > _MOST_GROWTH * abs(losses[0]) + 1:
        return what, (
            f"{_STEPS} steps on one batch raise the loss from {losses[0]:.3g} to {losses[-1]:.3g}"
        )
    if largest > _MOST_UPDATE:
        name = weights[ratios.index(largest)][0]
        return what, f"one step changes {name} by {largest:.2g} times its size; 0.001 is usual"
    return None


def _steps(
    model: Module, rerun: Callable[[], Tensor] | None, optimizer: Optimizer, count: int
) -> list[float]:
    """The losses before each of so many steps; without ``rerun`` one step with what is there."""
    if rerun is None:
        if count == 1:
            optimizer.step()
        return []
    wanted = [p for p in model.parameters() if p.requires_grad]
    losses = []
    for _ in range(count):
        loss = rerun()
        losses.append(float(loss.detach().mean().item()))
        found = grad(loss, wanted, loss.new_ones(loss.shape), allow_unused=True)
        for p, g in zip(wanted, found, strict=True):
            p.grad = g
        optimizer.step()
    return losses


@contextlib.contextmanager
def _untouched(model: Module, optimizer: Optimizer) -> Iterator[None]:
    """Inside, parameters are copies in memory of their own; afterwards all is as it was."""
    held = {id(p): p for group in optimizer.param_groups for p in group["params"]}
    held |= {id(p): p for p in model.parameters()}
    before = [(p, p._value, p.storage, p._saved, p._grad) for p in held.values()]
    state = {p: copy.deepcopy(dict(values)) for p, values in optimizer.state.items()}
    counted = optimizer.step_count
    with unchanged(model):
        for p in held.values():
            p._value, p.storage, p._saved = p._array.copy(), Storage(), None
            p.grad = None if p.grad is None else p.grad.clone()
        try:
            yield
        finally:
            for p, value, storage, saved, gradient in before:
                p._value, p.storage, p._saved, p._grad = value, storage, saved, gradient
            optimizer.state.clear()
            optimizer.state.update(state)
            optimizer.step_count = counted
