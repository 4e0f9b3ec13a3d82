"""Pruning: a parameter times a mask of zeros and ones, under the names of ``torch.nn.utils.prune``.

A pruned parameter ``NAME`` lives on as ``NAME_orig``, with the buffer ``NAME_mask`` beside it. The
attribute ``NAME`` is their product, computed anew before every forward pass. Pruning it again takes
more of what is left.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from tinygrad_cnn.autograd import no_grad
from tinygrad_cnn.errors import ArgumentError, ShapeError
from tinygrad_cnn.functions import cat, linalg_norms, ones_like, rand
from tinygrad_cnn.nn.module.core import Module
from tinygrad_cnn.nn.parameter import Parameter
from tinygrad_cnn.tensor import Tensor

__all__ = [
    "L1Unstructured",
    "RandomUnstructured",
    "custom_from_mask",
    "global_unstructured",
    "identity",
    "is_pruned",
    "l1_unstructured",
    "ln_structured",
    "random_structured",
    "random_unstructured",
    "remove",
]

Amount = float | int
"""A part of what is left, a float from 0 to 1, or a count."""


class _Mask:
    """The hook that multiplies before the forward pass."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, module: Module, args: object = ()) -> None:
        product = getattr(module, f"{self.name}_orig") * getattr(module, f"{self.name}_mask")
        object.__setattr__(module, self.name, product)


def is_pruned(module: Module) -> bool:
    """Whether the module or one below it has a pruned parameter."""
    return any(isinstance(h[0], _Mask) for m in module.modules() for h in _hooks(m).values())


def identity(module: Module, name: str) -> Module:
    """Prune nothing, but have a mask."""
    return _mask(module, name, lambda weight, mask: mask)


def custom_from_mask(module: Module, name: str, mask: Tensor) -> Module:
    """Prune what is 0 in ``mask``.

    Raises
    ------
    ValueError
        ``mask`` has another shape than the parameter, or there is none of this name.
    """
    shape = _present(module, name)[0].shape
    if mask.shape != shape:
        raise ArgumentError(f"custom_from_mask: `mask` has shape {mask.shape}, expected {shape}")
    return _mask(module, name, lambda weight, old: old * mask.to(old.dtype))


def l1_unstructured(
    module: Module, name: str, amount: Amount, importance_scores: Tensor | None = None
) -> Module:
    """Prune the numbers of the least absolute value, or of the least importance.

    Raises
    ------
    ValueError
        ``amount`` is out of range, or there is no parameter of this name.

    Examples
    --------
    >>> import tinygrad_cnn as tg
    >>> layer = tg.nn.Linear(2, 1, bias=False)
    >>> with tg.no_grad():
    ...     _ = layer.weight.copy_(tg.tensor([[3.0, -1.0]]))
    >>> _ = l1_unstructured(layer, "weight", amount=1)
    >>> layer.weight.tolist(), [name for name, _ in layer.named_parameters()]
    ([[3.0, -0.0]], ['weight_orig'])
    """
    return _unstructured(module, name, amount, lambda w: _scores(w, importance_scores))


def _scores(weight: Tensor, given: Tensor | None) -> Tensor:
    """What says how important each number of a parameter is: itself unless given."""
    if given is not None and given.shape != weight.shape:
        raise ShapeError(
            f"prune: `importance_scores` has shape {given.shape}, expected {weight.shape}"
        )
    return weight if given is None else given


def random_unstructured(module: Module, name: str, amount: Amount) -> Module:
    """Prune numbers drawn at random."""
    return _unstructured(module, name, amount, lambda w: rand(w.shape) + 1)


def ln_structured(
    module: Module,
    name: str,
    amount: Amount,
    n: float,
    dim: int,
    importance_scores: Tensor | None = None,
) -> Module:
    """Prune the slices along ``dim`` whose n-norm is least.

    Raises
    ------
    ValueError
        ``amount`` is out of range, or there is no parameter of this name.
    """

    def norms(w: Tensor, mask: Tensor) -> Tensor:
        if w.ndim < 2:
            raise ShapeError(f"prune: a parameter of shape {w.shape} has no slices")
        scores = _scores(w, importance_scores) * mask
        return linalg_norms.vector_norm(scores.movedim(dim, 0).flatten(1), n, 1)

    return _structured(module, name, amount, dim, norms)


def random_structured(module: Module, name: str, amount: Amount, dim: int) -> Module:
    """Prune slices along ``dim`` that are drawn at random."""
    return _structured(module, name, amount, dim, lambda w, mask: rand(w.shape[dim]) + 1)


def global_unstructured(
    parameters: Iterable[tuple[Module, str]],
    pruning_method: Any,
    importance_scores: dict[tuple[Module, str], Tensor] | None = None,
    **kwargs: Any,
) -> None:
    """Prune the least numbers of several parameters taken together.

    ``pruning_method`` is `L1Unstructured` or `RandomUnstructured`; ``amount`` follows by name.
    """
    places, given = list(parameters), importance_scores or {}
    with no_grad():
        masks = [_present(m, n)[1] for m, n in places]
        scores = [given.get((m, n), _present(m, n)[0]).reshape(-1) for m, n in places]
        flat = cat([mask.reshape(-1) for mask in masks])
        flat = _pruned(flat, pruning_method.scores(cat(scores)), kwargs["amount"])
    start = 0
    for (module, name), mask in zip(places, masks, strict=True):
        part = flat[start : start + mask.numel()].reshape(mask.shape)
        custom_from_mask(module, name, part)
        start += mask.numel()


class L1Unstructured:
    """For `global_unstructured`: the least absolute values."""

    scores = staticmethod(lambda w: w)


class RandomUnstructured:
    """For `global_unstructured`: numbers drawn at random."""

    scores = staticmethod(lambda w: rand(w.shape) + 1)


def remove(module: Module, name: str) -> Module:
    """Make a pruned parameter an ordinary one again, with zeros where it was pruned.

    Raises
    ------
    ValueError
        The parameter is not pruned.
    """
    for number, entry in _hooks(module).items():
        if isinstance(entry[0], _Mask) and entry[0].name == name:
            with no_grad():
                weight, mask = _present(module, name)
                weight.copy_(weight * mask)
            del _hooks(module)[number], module._parameters[f"{name}_orig"]
            del module._buffers[f"{name}_mask"], module.__dict__[name]
            module.register_parameter(name, weight)
            return module
    raise ArgumentError(f"remove: `name` is {name!r}, which is not pruned")


def _hooks(module: Module) -> Any:
    return module._forward_pre_hooks


def _present(module: Module, name: str) -> tuple[Parameter, Tensor]:
    """The parameter and its mask, of ones if it is not pruned."""
    orig = module._parameters.get(f"{name}_orig")
    if isinstance(orig, Parameter):
        return orig, getattr(module, f"{name}_mask")
    weight = module._parameters.get(name)
    if not isinstance(weight, Parameter):
        raise ArgumentError(
            f"prune: `name` is {name!r}, expected one of {sorted(module._parameters)}"
        )
    return weight, ones_like(weight.detach())


def _mask(module: Module, name: str, change: Callable[[Tensor, Tensor], Tensor]) -> Module:
    """Have a mask, or another one."""
    with no_grad():
        weight, old = _present(module, name)
        mask = change(weight.detach(), old)
    if f"{name}_orig" not in module._parameters:
        del module._parameters[name]
        module.register_parameter(f"{name}_orig", weight)
        module.register_buffer(f"{name}_mask", mask)
        module.register_forward_pre_hook(_Mask(name))
    else:
        setattr(module, f"{name}_mask", mask)
    _Mask(name)(module)
    return module


def _count(amount: Amount, left: int) -> int:
    """How many of ``left`` are to be pruned."""
    whole = isinstance(amount, int)
    if isinstance(amount, bool) or not 0 <= amount <= (left if whole else 1):
        raise ArgumentError(
            f"prune: `amount` is {amount!r}, expected a float from 0 to 1 or a count up to {left}"
        )
    return int(amount) if whole else round(amount * left)


def _pruned(mask: Tensor, scores: Tensor, amount: Amount) -> Tensor:
    """``mask`` with zeros for the least absolute scores of what is left."""
    left = (mask.reshape(-1) != 0).nonzero().squeeze(-1)
    count = _count(amount, len(left))
    order = scores.detach().abs().reshape(-1)[left].argsort(stable=True)
    flat = mask.reshape(-1).clone()
    flat[left[order[:count]]] = 0
    return flat.reshape(mask.shape)


def _unstructured(
    module: Module, name: str, amount: Amount, scores: Callable[[Tensor], Tensor]
) -> Module:
    return _mask(module, name, lambda w, mask: _pruned(mask, scores(w), amount))


def _structured(
    module: Module,
    name: str,
    amount: Amount,
    dim: int,
    scores: Callable[[Tensor, Tensor], Tensor],
) -> Module:
    def change(w: Tensor, mask: Tensor) -> Tensor:
        first = mask.movedim(dim, 0)  # slices first
        some = (first.flatten(1) != 0).any(1).to(mask.dtype)
        kept = _pruned(some, scores(w, mask), amount)
        shape = (-1, *(1,) * (mask.ndim - 1))
        out: Tensor = (first * kept.reshape(shape)).movedim(0, dim)
        return out

    return _mask(module, name, change)
