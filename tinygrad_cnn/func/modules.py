"""Modules as functions: called with other parameters than their own, and stacked."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tinygrad_cnn import functions as f
from tinygrad_cnn.autograd.arguments import checked
from tinygrad_cnn.errors import ArgumentError
from tinygrad_cnn.tensor import Tensor

if TYPE_CHECKING:
    from tinygrad_cnn.nn.module.core import Module
    from tinygrad_cnn.nn.module.hooks import Kwargs


@checked
def functional_call(
    module: Module,
    parameters_and_buffers: Mapping[str, Tensor] | Sequence[Mapping[str, Tensor]],
    args: object = None,
    kwargs: Mapping[str, object] | None = None,
    *,
    tie_weights: bool = True,
    strict: bool = False,
) -> Any:
    """Call ``module`` with the given tensors in place of its parameters and buffers of these names.

    Gradients flow to the given tensors; the module's own are back in place afterwards.

    Parameters
    ----------
    parameters_and_buffers
        One dictionary, or a tuple of several, such as one of parameters and one of buffers.
    args, kwargs
        Those of the call: a tuple, or the only one.
    tie_weights
        All names of a shared parameter mean the given one.
    strict
        All names must be given.

    Raises
    ------
    ValueError
        A name is unknown, given by two dictionaries, or, with ``strict``, missing.

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn
    >>> layer, w = nn.Linear(2, 1, bias=False), tg.ones(1, 2, requires_grad=True)
    >>> functional_call(layer, {"weight": w}, tg.ones(1, 2))
    tensor([[2.]], grad_fn=<linear>)
    """
    tensors: dict[str, Tensor] = {}
    given = parameters_and_buffers
    for part in (given,) if isinstance(given, Mapping) else given:
        twice = sorted(set(tensors) & set(part))
        if twice:
            raise ArgumentError(f"functional_call: {twice} are given by two dictionaries")
        tensors |= part
    inputs = args if isinstance(args, tuple) else () if args is None else (args,)
    with _swapped(module, tensors, tie_weights, strict):
        return module(*inputs, **(kwargs or {}))


@checked
def stack_module_state(
    models: Sequence[Module],
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The parameters of several modules of one class, stacked by name, and their buffers.

    A parameter of shape s becomes a leaf of shape (modules, *s), which requires gradients if all
    of them do. With `vmap` over them, `functional_call` runs the whole ensemble.

    Raises
    ------
    ValueError
        There is no module, they are of several classes, not all in training or all in evaluation,
        or parameters of one name differ in ``requires_grad``.

    >>> import tinygrad_cnn as tg
    >>> params, buffers = tg.func.stack_module_state([tg.nn.Linear(2, 3) for _ in range(4)])
    >>> params["weight"].shape, buffers
    (Size([4, 3, 2]), {})
    """
    if not models:
        raise ArgumentError("stack_module_state: `models` is empty, expected at least one")
    if len({type(m) for m in models}) > 1 or len({m.training for m in models}) > 1:
        raise ArgumentError(
            f"stack_module_state: `models` holds {sorted({type(m).__name__ for m in models})}, "
            f"training {sorted({m.training for m in models})}; expected one class in one mode"
        )
    stacked: list[dict[str, Tensor]] = []
    for names in ("named_parameters", "named_buffers"):
        every = [dict(getattr(m, names)()) for m in models]
        found: dict[str, Tensor] = {}
        for name in every[0]:
            wanted = {part[name].requires_grad for part in every}
            if len(wanted) > 1:
                raise ArgumentError(
                    f"stack_module_state: `{name}` requires gradients in some of `models` only"
                )
            found[name] = f.stack([part[name] for part in every]).detach()
            found[name].requires_grad = wanted.pop()
        stacked.append(found)
    return stacked[0], stacked[1]


@contextlib.contextmanager
def _swapped(
    module: Module, tensors: Mapping[str, Tensor], tie: bool, strict: bool
) -> Iterator[None]:
    places: dict[str, tuple[Kwargs, str]] = {}
    for path, owner in module.named_modules(remove_duplicate=False):
        members: tuple[Kwargs, ...] = (owner._parameters, owner._buffers)
        for held in members:
            for name, value in held.items():
                if value is not None:
                    places[f"{path}.{name}" if path else name] = (held, name)
    unknown = sorted(set(tensors) - set(places))
    missing = sorted(set(places) - set(tensors)) if strict else []
    if unknown or missing:
        raise ArgumentError(
            f"functional_call: {type(module).__name__} has no {unknown or 'others'}"
            + (f", and {missing} are missing" if missing else "")
        )
    own = {name: held[key] for name, (held, key) in places.items()}
    given = dict(tensors)
    if tie:
        by_tensor = {id(own[name]): value for name, value in tensors.items()}
        given |= {n: by_tensor[id(t)] for n, t in own.items() if id(t) in by_tensor}
        given |= dict(tensors)
    try:
        for name, value in given.items():
            held, key = places[name]
            held[key] = value
        yield
    finally:
        for name in given:
            held, key = places[name]
            held[key] = own[name]
