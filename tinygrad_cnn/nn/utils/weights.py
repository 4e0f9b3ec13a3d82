"""Older names of weight and spectral normalisation, and layers made without drawing weights."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import TypeVar

from tinygrad_cnn.errors import ArgumentError
from tinygrad_cnn.nn.module.core import Module
from tinygrad_cnn.nn.utils import parametrizations
from tinygrad_cnn.nn.utils.parametrize import is_parametrized, remove_parametrizations

M = TypeVar("M", bound=Module)


def weight_norm(module: M, name: str = "weight", dim: int | None = 0) -> M:
    """Train a tensor's norms, ``NAME_g``, and directions, ``NAME_v``, apart.

    The state's keys are those of PyTorch's older function; `parametrizations.weight_norm` is the
    newer one.

    >>> from tinygrad_cnn import nn
    >>> sorted(weight_norm(nn.Linear(2, 3)).state_dict())
    ['bias', 'weight_g', 'weight_v']
    """
    _only_once("weight_norm", module, name)
    parametrizations.weight_norm(module, name, dim)
    _rename(module, name, {"original0": f"{name}_g", "original1": f"{name}_v"})
    return module


def remove_weight_norm(module: M, name: str = "weight") -> M:
    """Undo `weight_norm`: ``NAME`` is a parameter again.

    Raises
    ------
    ValueError
        There is no such normalisation.

    >>> from tinygrad_cnn import nn
    >>> sorted(remove_weight_norm(weight_norm(nn.Linear(2, 3))).state_dict())
    ['bias', 'weight']
    """
    return _removed("remove_weight_norm", module, name)


def spectral_norm(
    module: M,
    name: str = "weight",
    n_power_iterations: int = 1,
    eps: float = 1e-12,
    dim: int | None = None,
) -> M:
    """Divide a tensor by its largest singular value; see `parametrizations.spectral_norm`.

    The state's keys are those of PyTorch's older function: ``NAME_orig``, ``NAME_u``, ``NAME_v``.

    >>> from tinygrad_cnn import nn
    >>> sorted(spectral_norm(nn.Linear(2, 3)).state_dict())
    ['bias', 'weight_orig', 'weight_u', 'weight_v']
    """
    _only_once("spectral_norm", module, name)
    parametrizations.spectral_norm(module, name, n_power_iterations, eps, dim)
    module.parametrizations[name][0].v_first = True
    names = {"original": f"{name}_orig", "0._u": f"{name}_u", "0._v": f"{name}_v"}
    _rename(module, name, names)
    return module


def remove_spectral_norm(module: M, name: str = "weight") -> M:
    """Undo `spectral_norm`: ``NAME`` is a parameter again.

    Raises
    ------
    ValueError
        There is no such normalisation.

    >>> from tinygrad_cnn import nn
    >>> sorted(remove_spectral_norm(spectral_norm(nn.Linear(2, 3))).state_dict())
    ['bias', 'weight']
    """
    return _removed("remove_spectral_norm", module, name)


def skip_init(module_cls: Callable[..., M], *args: object, **kwargs: object) -> M:
    """Return ``module_cls(*args, **kwargs)`` without drawing weights: they hold any values.

    Raises
    ------
    ValueError
        The class takes no ``device``, and so draws its weights elsewhere.

    >>> from tinygrad_cnn import nn
    >>> skip_init(nn.Linear, 2, 3).weight.shape
    Size([3, 2])
    """
    if "device" not in inspect.signature(module_cls).parameters:
        raise ArgumentError(f"skip_init: {module_cls} takes no `device` argument")
    if not isinstance(module_cls, type):
        return module_cls(*args, **kwargs)
    quick = type(module_cls.__name__, (module_cls,), {"reset_parameters": lambda self: None})
    made: M = quick(*args, **kwargs)
    made.__class__ = module_cls
    return made


def _only_once(by: str, module: Module, name: str) -> None:
    if name in module.__dict__.get("_renamed", ()):
        raise ArgumentError(f"{by}: `{name}` of {type(module).__name__} is normalised already")


def _rename(module: Module, name: str, names: dict[str, str]) -> None:
    """Save and load what a parametrization holds under older names."""
    inner = f"parametrizations.{name}."

    # Deep copies share these: they are about no module in particular.
    def saved(owner: Module, state: dict[str, object], prefix: str, *rest: object) -> None:
        for new, old in names.items():
            if (key := prefix + inner + new) in state:
                state[prefix + old] = state.pop(key)

    def loaded(state: dict[str, object], prefix: str, *rest: object) -> None:
        for new, old in names.items():
            if (key := prefix + old) in state:
                state[prefix + inner + new] = state.pop(key)

    hooks = (
        module._register_state_dict_hook(saved).id,
        module._register_load_state_dict_pre_hook(loaded).id,
    )
    module.__dict__.setdefault("_renamed", {})[name] = (hooks, tuple(names.values()))
    for new, old in names.items():
        setattr(type(module), old, _reached(inner + new))


def _reached(path: str) -> property:
    """A property that reads the tensor at ``path``."""
    owner, _, leaf = path.rpartition(".")

    def get(self: Module) -> object:
        return getattr(self.get_submodule(owner), leaf)

    return property(get)


def _removed(by: str, module: M, name: str) -> M:
    if not is_parametrized(module, name):
        raise ArgumentError(f"{by}: `{name}` of {type(module).__name__} is not normalised")
    hooks, properties = module.__dict__.get("_renamed", {}).pop(name, ((), ()))
    for table, number in zip(
        (module._state_dict_hooks, module._load_state_dict_pre_hooks), hooks, strict=False
    ):
        table.pop(number, None)
    for old in properties:
        if old in vars(type(module)):
            delattr(type(module), old)
    remove_parametrizations(module, name)
    return module
