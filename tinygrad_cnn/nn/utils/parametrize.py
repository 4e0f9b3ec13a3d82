"""Parameters that are computed from others, under the names of ``torch.nn.utils.parametrize``."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any

from tinygrad_cnn.autograd import no_grad
from tinygrad_cnn.autograd.arguments import checked
from tinygrad_cnn.errors import ArgumentError, DtypeError, ShapeError
from tinygrad_cnn.nn.layers.containers import ModuleDict, ModuleList
from tinygrad_cnn.nn.module.core import Module
from tinygrad_cnn.nn.module.parameter import Parameter
from tinygrad_cnn.tensor import Tensor

__all__ = [
    "ParametrizationList",
    "cached",
    "is_parametrized",
    "register_parametrization",
    "remove_parametrizations",
    "type_before_parametrizations",
]

_kept: ContextVar[dict[Module, Tensor] | None] = ContextVar("kept", default=None)


@contextlib.contextmanager
def cached() -> Iterator[None]:
    """Compute each parametrised tensor once within the context.

    >>> from tinygrad_cnn import nn
    >>> layer = nn.utils.parametrizations.weight_norm(nn.Linear(2, 3))
    >>> with cached():
    ...     layer.weight is layer.weight
    True
    """
    token = _kept.set({} if _kept.get() is None else _kept.get())
    try:
        yield
    finally:
        _kept.reset(token)


class ParametrizationList(ModuleList):
    """The steps that make one tensor, and what they make it from: ``original``, or ``original0``,
    ``original1``, ... if the first step's ``right_inverse`` returns several tensors.

    >>> from tinygrad_cnn import nn
    >>> layer = nn.utils.parametrizations.weight_norm(nn.Linear(2, 3))
    >>> [name for name, _ in layer.parametrizations.weight.named_parameters()]
    ['original0', 'original1']
    """

    def __init__(self, modules: list[Module], original: Tensor, unsafe: bool = False) -> None:
        super().__init__(modules)
        self.unsafe = unsafe
        new: Any = original
        with no_grad():
            for module in reversed(modules):
                if hasattr(module, "right_inverse"):
                    new = module.right_inverse(new)
        self.is_tensor = isinstance(new, Tensor)
        self.ntensors = 1 if self.is_tensor else len(new)
        parts = [new] if self.is_tensor else list(new)
        for i, part in enumerate(parts):
            name = "original" if self.is_tensor else f"original{i}"
            if isinstance(original, Parameter):
                whole = original if part is original else Parameter(part.detach())
                setattr(self, name, whole.requires_grad_(original.requires_grad))
            else:
                self.register_buffer(name, part)
        if not unsafe:
            _check_alike(self(), original)

    def _originals(self) -> list[Tensor]:
        if self.is_tensor:
            return [self.original]
        return [getattr(self, f"original{i}") for i in range(self.ntensors)]

    def right_inverse(self, value: Tensor) -> None:
        """Set the originals so that the result is ``value``."""
        new: Any = value
        with no_grad():
            for module in reversed(self._held()):
                if not hasattr(module, "right_inverse"):
                    raise ArgumentError(
                        f"parametrize: {type(module).__name__} has no `right_inverse`, so that the "
                        f"tensor cannot be assigned"
                    )
                new = module.right_inverse(new)
            for original, part in zip(
                self._originals(), [new] if self.is_tensor else new, strict=True
            ):
                original.copy_(part)

    def forward(self) -> Tensor:
        """Compute the tensor."""
        first, *others = self._held()
        out: Tensor = first(*self._originals())
        for module in others:
            out = module(out)
        return out


def _check_alike(made: Tensor, tensor: Tensor) -> None:
    if made.shape != tensor.shape or made.dtype != tensor.dtype:
        raise (ShapeError if made.shape != tensor.shape else DtypeError)(
            f"register_parametrization: the result has shape {made.shape} and dtype "
            f"{made.dtype} but those of the tensor, {tensor.shape} and {tensor.dtype}, "
            f"are expected; pass unsafe=True to allow it"
        )


@checked
def register_parametrization(
    module: Module, tensor_name: str, parametrization: Module, *, unsafe: bool = False
) -> Module:
    """Have ``module.NAME`` computed by ``parametrization`` from then on.

    What it is computed from is trained and saved, as ``parametrizations.NAME.original``. Further
    parametrizations are applied to the result of those before. ``right_inverse`` of a
    parametrization, if there is one, makes the original from a value that is assigned. ``unsafe``
    allows results of another shape or dtype.

    Raises
    ------
    ValueError
        There is no such tensor, or the result has another shape.

    >>> import tinygrad_cnn as tg
    >>> from tinygrad_cnn import nn
    >>> class Symmetric(nn.Module):
    ...     def forward(self, x):
    ...         return x.triu() + x.triu(1).T
    >>> layer = register_parametrization(nn.Linear(3, 3), "weight", Symmetric())
    >>> bool((layer.weight == layer.weight.T).all()), list(layer.state_dict())
    (True, ['bias', 'parametrizations.weight.original'])
    """
    parametrization.train(module.training)
    if is_parametrized(module, tensor_name):
        steps = module.parametrizations[tensor_name]
        if not unsafe:
            before = getattr(module, tensor_name)
            _check_alike(parametrization(before), before)
        steps.append(parametrization)
        return module
    held = module._parameters if tensor_name in module._parameters else module._buffers
    original = held.get(tensor_name)
    if original is None:
        raise ArgumentError(
            f"register_parametrization: {type(module).__name__} has no parameter or buffer "
            f"`{tensor_name}`"
        )
    steps = ParametrizationList([parametrization], original, unsafe)
    del held[tensor_name]
    if not hasattr(module, "parametrizations"):
        _specialise(module)
        module.parametrizations = ModuleDict()
    module.parametrizations[tensor_name] = steps
    setattr(type(module), tensor_name, _computed(tensor_name))
    return module


def _specialise(module: Module) -> None:
    """Give the module a class of its own, for the properties that compute its tensors."""
    base = type(module)

    def reduce(self: Module, protocol: object) -> str:
        raise RuntimeError(
            f"{base.__name__} has parametrized tensors and cannot be pickled; save its state_dict()"
        )

    def deepcopy(self: Module, memo: dict[int, object]) -> Module:
        new = base.__new__(base)
        memo[id(self)] = new
        new.__dict__.update(copy.deepcopy(self.__dict__, memo))
        _specialise(new)
        for name, value in vars(type(self)).items():
            if isinstance(value, property):
                setattr(type(new), name, value)
        return new

    own = {"__reduce_ex__": reduce, "__deepcopy__": deepcopy, "__module__": base.__module__}
    module.__class__ = type(f"Parametrized{base.__name__}", (base,), own)


def _computed(name: str) -> property:
    def get(self: Module) -> Tensor:
        kept = _kept.get()
        steps = self.parametrizations[name]
        if kept is None:
            return steps()  # type: ignore[no-any-return]  # a tensor
        if steps not in kept:
            kept[steps] = steps()
        return kept[steps]

    def put(self: Module, value: Tensor) -> None:
        self.parametrizations[name].right_inverse(value)

    return property(get, put)


def is_parametrized(module: Module, tensor_name: str | None = None) -> bool:
    """Whether a tensor of ``module``, or the one of that name, is computed by a parametrization.

    >>> from tinygrad_cnn import nn
    >>> is_parametrized(nn.Linear(2, 3))
    False
    """
    known = module.__dict__.get("_modules", {}).get("parametrizations")
    if not isinstance(known, ModuleDict):
        return False
    return len(known) > 0 if tensor_name is None else tensor_name in known


def remove_parametrizations(
    module: Module, tensor_name: str, leave_parametrized: bool = True
) -> Module:
    """Make ``module.NAME`` an ordinary tensor again: the computed one, or the original.

    Raises
    ------
    ValueError
        It has no parametrization, or several originals and ``leave_parametrized`` is False.

    >>> from tinygrad_cnn import nn
    >>> layer = nn.utils.parametrizations.weight_norm(nn.Linear(2, 3))
    >>> sorted(remove_parametrizations(layer, "weight").state_dict())
    ['bias', 'weight']
    """
    if not is_parametrized(module, tensor_name):
        raise ArgumentError(
            f"remove_parametrizations: `{tensor_name}` of {type(module).__name__} has none"
        )
    steps = module.parametrizations[tensor_name]
    if not leave_parametrized and not steps.is_tensor:
        raise ArgumentError(
            "remove_parametrizations: `leave_parametrized` is False but there are several originals"
        )
    original = steps._originals()[0]
    value: Tensor = original
    if leave_parametrized:
        with no_grad():
            value = getattr(module, tensor_name).detach().clone()
        if isinstance(original, Parameter):
            value = Parameter(value, original.requires_grad)
    delattr(type(module), tensor_name)
    del module.parametrizations[tensor_name]
    if isinstance(original, Parameter):
        module.register_parameter(tensor_name, value)  # type: ignore[arg-type]  # one
    else:
        module.register_buffer(tensor_name, value)
    if not len(module.parametrizations):
        del module.parametrizations
        module.__class__ = type(module).__mro__[1]
    return module


def type_before_parametrizations(module: Module) -> type:
    """Return the module's class without parametrizations.

    >>> from tinygrad_cnn import nn
    >>> type_before_parametrizations(nn.utils.parametrizations.weight_norm(nn.Linear(2, 3)))
    <class 'tinygrad_cnn.nn.layers.linear.Linear'>
    """
    return type(module).__mro__[1] if is_parametrized(module) else type(module)
