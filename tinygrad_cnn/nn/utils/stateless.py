"""Calling a module with other parameters than its own, under ``torch.nn.utils.stateless``."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

from tinygrad_cnn.errors import ArgumentError
from tinygrad_cnn.nn.module.core import Module
from tinygrad_cnn.nn.module.hooks import Kwargs
from tinygrad_cnn.tensor import Tensor


def functional_call(
    module: Module,
    parameters_and_buffers: Mapping[str, Tensor],
    args: object = (),
    kwargs: Mapping[str, object] | None = None,
    *,
    tie_weights: bool = True,
    strict: bool = False,
) -> Any:
    """Call ``module`` with the given tensors in place of its parameters and buffers of these names.

    Gradients flow to the given tensors; the module's own are back in place afterwards. With
    ``tie_weights`` all names of a shared parameter mean the given one; with ``strict`` all must be
    given.

    Raises
    ------
    ValueError
        A name is unknown, or, with ``strict``, missing.

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn
    >>> layer, w = nn.Linear(2, 1, bias=False), tg.ones(1, 2, requires_grad=True)
    >>> functional_call(layer, {"weight": w}, tg.ones(1, 2))
    tensor([[2.]], grad_fn=<linear>)
    """
    with _swapped(module, parameters_and_buffers, tie_weights, strict):
        return module(*(args if isinstance(args, tuple) else (args,)), **(kwargs or {}))


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
